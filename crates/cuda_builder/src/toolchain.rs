//! Finding a rustc that can make PTX: one that has its own sources, for the GPU's `core` is built from them.
//!
//! In order: the one that `IRONWARP_PTX_RUSTC` names (then no other); the current one; the other toolchains of rustup,
//! newest first; Debian's `/usr/bin/rustc`.

use crate::CudaBuilderError;
use crate::compile::isolate;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest rustc (1.N) whose back end and `core` have what `cuda_std` uses.
pub(crate) const MIN_MINOR: u32 = 95;

/// A compiler with its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that belongs to it, or the current one.
    pub cargo: PathBuf,
    /// Version, commit and LLVM: `1.96.0 (ac68faa20) LLVM 22.1.8`. The same text means the same PTX.
    pub version: String,
    /// Where its libraries and sources are.
    pub sysroot: PathBuf,
}

/// Where to look.
pub(crate) struct Places {
    /// `IRONWARP_PTX_RUSTC`.
    pub named: Option<PathBuf>,
    /// The current compiler: a path or a name on `PATH`.
    pub current: PathBuf,
    /// rustup's folder of toolchains.
    pub rustup: Option<PathBuf>,
    /// The distribution's compiler.
    pub system: PathBuf,
}

impl Places {
    pub(crate) fn from_env() -> Self {
        let home = env::var_os("HOME").map(PathBuf::from);
        let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from).or(home.map(|home| home.join(".rustup")));
        Places {
            named: env::var_os("IRONWARP_PTX_RUSTC").filter(|path| !path.is_empty()).map(PathBuf::from),
            current: env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from),
            rustup: rustup.map(|home| home.join("toolchains")),
            system: "/usr/bin/rustc".into(),
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = &self.named {
            return vec![named.clone()];
        }
        let mut all = vec![self.current.clone()];
        let entries = self.rustup.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
        let mut others: Vec<PathBuf> = entries.map(|entry| entry.path().join("bin/rustc")).collect();
        others.sort();
        others.reverse();
        all.extend(others);
        all.push(self.system.clone());
        all
    }
}

impl Toolchain {
    /// The first compiler that has its sources, among: the one that `IRONWARP_PTX_RUSTC` names, then no other; the current
    /// one; the other toolchains of rustup; the distribution's.
    pub fn find() -> Result<Self, CudaBuilderError> {
        Self::find_in(&Places::from_env())
    }

    pub(crate) fn find_in(places: &Places) -> Result<Self, CudaBuilderError> {
        let mut tried = String::new();
        for rustc in places.candidates() {
            match Self::inspect(&rustc) {
                Ok(toolchain) => return Ok(toolchain),
                Err(why) => tried.push_str(&format!("  {}: {why}\n", rustc.display())),
            }
        }
        if tried.ends_with('\n') {
            tried.pop();
        }
        let has_rustup = places.rustup.as_ref().is_some_and(|folder| folder.is_dir());
        let remedy = if has_rustup || !Path::new("/etc/debian_version").exists() {
            "rustup component add rust-src"
        } else {
            "apt-get install rustc-web rust-web-src"
        };
        Err(CudaBuilderError::NoCompiler { remedy, tried })
    }

    /// Whether `rustc` can make PTX; the error says why not.
    fn inspect(rustc: &Path) -> Result<Self, String> {
        let ask = |args: &[&str]| -> Result<String, String> {
            let mut command = Command::new(rustc);
            // The current rustc may be rustup's proxy, which has to choose the current toolchain.
            if rustc.components().count() > 1 {
                isolate(&mut command);
            }
            let out = command.args(args).output().map_err(|e| format!("cannot be run ({e})"))?;
            if !out.status.success() {
                return Err(format!("`{}` fails", args.join(" ")));
            }
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        };
        let verbose = ask(&["-vV"])?;
        let field = |key: &str| {
            verbose.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap_or("unknown")
        };
        let release = field("release");
        let minor = release.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap_or(0);
        if minor < MIN_MINOR {
            return Err(format!("version {release} is too old"));
        }
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
        if !sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
            return Err(format!("version {release} has no rust-src"));
        }
        let commit = field("commit-hash");
        let commit = commit.get(..9).unwrap_or(commit);
        let version = format!("{release} ({commit}) LLVM {}", field("LLVM version"));
        // Not through the PATH, where rustup's proxy would choose a toolchain of its own.
        let own = sysroot.join("bin/cargo");
        let cargo = if own.is_file() {
            own
        } else {
            env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
        };
        // The current rustc may be rustup's proxy: name the compiler itself.
        let own = sysroot.join("bin/rustc");
        let rustc = if own.is_file() { own } else { rustc.to_owned() };
        Ok(Toolchain { rustc, cargo, version, sysroot })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder that looks like a toolchain: a script as its rustc, and sources or not.
    fn fake(root: &Path, release: &str, sources: bool) -> PathBuf {
        let bin = root.join("bin");
        fs::create_dir_all(&bin).unwrap();
        if sources {
            let core = root.join("lib/rustlib/src/rust/library/core/src");
            fs::create_dir_all(&core).unwrap();
            fs::write(core.join("lib.rs"), "").unwrap();
        }
        let rustc = bin.join("rustc");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -vV ]; then printf 'rustc {release}\\ncommit-hash: 0123456789abcdef\\n\
             release: {release}\\nLLVM version: 22.1.8\\n'; else echo '{}'; fi\n",
            root.display()
        );
        fs::write(&rustc, script).unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        rustc
    }

    fn places(root: &Path) -> Places {
        Places {
            named: None,
            current: root.join("current/bin/rustc"),
            rustup: Some(root.join("toolchains")),
            system: root.join("system/bin/rustc"),
        }
    }

    #[test]
    fn the_first_with_sources_wins_in_the_documented_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let system = fake(&root.join("system"), "1.96.0", true);
        assert_eq!(Toolchain::find_in(&places(root)).unwrap().rustc, system);
        fake(&root.join("toolchains/a"), "1.97.0", false);
        let b = fake(&root.join("toolchains/b"), "1.96.1", true);
        assert_eq!(Toolchain::find_in(&places(root)).unwrap().rustc, b);
        let current = fake(&root.join("current"), "1.95.0", true);
        let found = Toolchain::find_in(&places(root)).unwrap();
        assert_eq!(found.rustc, current);
        assert_eq!(found.version, "1.95.0 (012345678) LLVM 22.1.8");
        let named = Places { named: Some(b.clone()), ..places(root) };
        assert_eq!(Toolchain::find_in(&named).unwrap().rustc, b);
    }

    #[test]
    fn none_found_says_the_command_and_why_each_candidate_failed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fake(&root.join("current"), "1.95.0", false);
        fake(&root.join("toolchains/old"), "1.80.0", true);
        let error = Toolchain::find_in(&places(root)).unwrap_err().to_string();
        assert!(error.contains("rustup component add rust-src"), "{error}");
        assert!(error.contains("current/bin/rustc: version 1.95.0 has no rust-src"), "{error}");
        assert!(error.contains("old/bin/rustc: version 1.80.0 is too old"), "{error}");
        assert!(error.contains("system/bin/rustc: cannot be run"), "{error}");
    }

    #[test]
    fn a_named_compiler_is_the_only_candidate() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fake(&root.join("system"), "1.96.0", true);
        let named = Places { named: Some(root.join("nowhere/rustc")), ..places(root) };
        let error = Toolchain::find_in(&named).unwrap_err().to_string();
        assert!(error.contains("nowhere/rustc") && !error.contains("system"), "{error}");
    }
}
