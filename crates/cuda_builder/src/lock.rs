//! The lock: a folder with one PTX file for each target and `lock.toml`, which says what they were made from.
//!
//! ```toml
//! # Made by cuda_builder from the kernel sources: do not edit. To rebuild: scripts/ptx-lock rebuild
//! inputs = "sha256 of the sources and flags"
//! rustc = "1.96.0 (ac68faa20) LLVM 22.1.8"
//!
//! [ptx]
//! "sm_80" = "sha256 of sm_80.ptx"
//! ```
//!
//! `inputs` covers the kernel crate, its path dependencies, the builder's flags and its treatment of the text; not
//! the compiler, which is recorded, and not the versions of registry dependencies.

use crate::inputs::hex;
use crate::{CudaBuilderError, NvvmArch};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The contents of a `lock.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The hash of the inputs.
    pub inputs: String,
    /// The compiler that made the PTX.
    pub rustc: String,
    /// For each target, the hash of its PTX.
    pub ptx: BTreeMap<NvvmArch, String>,
}

/// The lock's file in its folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("lock.toml")
}

/// The PTX of `arch` in the lock's folder.
pub fn ptx_file(folder: &Path, arch: NvvmArch) -> PathBuf {
    folder.join(format!("{arch}.ptx"))
}

/// The hash of a PTX text; line ends count as LF.
pub fn ptx_hash(ptx: &str) -> String {
    hex(&Sha256::digest(ptx.replace("\r\n", "\n")))
}

impl Lock {
    /// Reads a lock; `None` if there is none or if it is not one.
    pub fn read(folder: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(file(folder)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lock = Lock { inputs: String::new(), rustc: String::new(), ptx: BTreeMap::new() };
        for line in text.lines().map(str::trim) {
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            let value = value.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned();
            match key.trim() {
                "inputs" => lock.inputs = value,
                "rustc" => lock.rustc = value,
                key => drop(lock.ptx.insert(NvvmArch::from_target(key.trim_matches('"'))?, value)),
            }
        }
        (!lock.inputs.is_empty() && !lock.rustc.is_empty()).then_some(lock)
    }

    fn text(&self) -> String {
        let mut out = format!(
            "# Made by cuda_builder from the kernel sources: do not edit. To rebuild: scripts/ptx-lock rebuild\n\
             inputs = \"{}\"\nrustc = \"{}\"\n\n[ptx]\n",
            self.inputs, self.rustc
        );
        for (arch, hash) in &self.ptx {
            out.push_str(&format!("\"{arch}\" = \"{hash}\"\n"));
        }
        out
    }

    /// Whether the folder holds, unchanged, the PTX of `archs` made from these `inputs`.
    pub fn holds(&self, folder: &Path, inputs: &str, archs: &[NvvmArch]) -> bool {
        self.inputs == inputs
            && archs.iter().all(|&arch| {
                let committed = fs::read_to_string(ptx_file(folder, arch));
                committed.is_ok_and(|ptx| self.ptx.get(&arch) == Some(&ptx_hash(&ptx)))
            })
    }

    /// Writes PTX and lock into `folder`, each file at once, the lock last: an interrupted call leaves a lock that does
    /// not match, so the next build makes the files again.
    pub fn write(
        folder: &Path,
        inputs: &str,
        rustc: &str,
        ptx: &[(NvvmArch, String)],
    ) -> Result<(), CudaBuilderError> {
        fs::create_dir_all(folder).map_err(CudaBuilderError::io(folder))?;
        let mut lock = Lock { inputs: inputs.into(), rustc: rustc.into(), ptx: BTreeMap::new() };
        for (arch, text) in ptx {
            lock.ptx.insert(*arch, ptx_hash(text));
            replace(&ptx_file(folder, *arch), text)?;
        }
        replace(&file(folder), &lock.text())
    }
}

/// Gives `path` the contents `text` through a temporary file beside it, unless it has them already.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), CudaBuilderError> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || {
        fs::write(&temporary, text)?;
        // cargo runs a build script again when a watched file is newer than the script's start. These files are the
        // script's own output, so they are dated back.
        if let Some(earlier) = SystemTime::now().checked_sub(Duration::from_secs(3600)) {
            fs::File::options().write(true).open(&temporary)?.set_modified(earlier)?;
        }
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        CudaBuilderError::Io { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHS: [NvvmArch; 2] = [NvvmArch::SM_80, NvvmArch::SM_90A];

    fn written(folder: &Path) -> Lock {
        let ptx = ARCHS.map(|arch| (arch, format!(".target {arch}\n")));
        Lock::write(folder, "abc", "1.96.0 (x) LLVM 22", &ptx).unwrap();
        Lock::read(folder).unwrap()
    }

    #[test]
    fn a_lock_reads_back_and_holds_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let lock = written(folder);
        assert_eq!(lock.rustc, "1.96.0 (x) LLVM 22");
        assert!(lock.holds(folder, "abc", &ARCHS));
        assert!(!lock.holds(folder, "abd", &ARCHS), "other sources");
        assert!(!lock.holds(folder, "abc", &[NvvmArch::Compute89]), "a target that is not locked");
        fs::write(ptx_file(folder, NvvmArch::SM_80), ".target sm_80\r\n").unwrap();
        assert!(lock.holds(folder, "abc", &ARCHS), "line ends do not count");
        fs::write(ptx_file(folder, NvvmArch::SM_80), ".target sm_81\n").unwrap();
        assert!(!lock.holds(folder, "abc", &ARCHS), "edited PTX");
        fs::remove_file(ptx_file(folder, NvvmArch::SM_80)).unwrap();
        assert!(!lock.holds(folder, "abc", &ARCHS), "missing PTX");
        let names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
    }

    #[test]
    fn what_is_no_lock_reads_as_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Lock::read(folder.path()), None);
        for text in [
            "",
            "inputs = \"a\"\n",
            "inputs = a\nrustc = b\n",
            "inputs = \"a\"\nrustc = \"b\"\nsm_1 = \"c\"\n",
        ] {
            fs::write(file(folder.path()), text).unwrap();
            assert_eq!(Lock::read(folder.path()), None, "{text:?}");
        }
    }
}
