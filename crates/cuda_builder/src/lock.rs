//! PTX as a locked build product: which sources it came from, and whether they are still the same.
//!
//! The lock is a folder: `TARGET.ptx` for each target and [`FILE`], which holds the hash of every input (the kernel
//! crate, the crates it depends on by path, the flags), the compiler, and the hash of each `.ptx`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::BuildError;

/// Name of the lock file.
pub const FILE: &str = "lock.toml";

/// The contents of a lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Hash of the inputs.
    pub inputs: String,
    /// The compiler that built the PTX.
    pub rustc: String,
    /// Hash of each target's PTX.
    pub targets: BTreeMap<String, String>,
}

impl Lock {
    /// The lock in `folder`, if there is a readable one (a damaged lock is no lock: the PTX is then rebuilt).
    pub fn read(folder: &Path) -> Result<Option<Lock>, BuildError> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Lock::parse(&text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(BuildError::io(&path, e)),
        }
    }

    fn parse(text: &str) -> Option<Lock> {
        let mut lock = Lock { inputs: String::new(), rustc: String::new(), targets: BTreeMap::new() };
        let mut in_targets = false;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if line.starts_with('[') {
                in_targets = line == "[targets]";
                continue;
            }
            let (key, value) = line.split_once('=')?;
            let (key, value) = (key.trim(), value.trim().strip_prefix('"')?.strip_suffix('"')?.to_string());
            match key {
                _ if in_targets => drop(lock.targets.insert(key.into(), value)),
                "inputs" => lock.inputs = value,
                "rustc" => lock.rustc = value,
                _ => {}
            }
        }
        Some(lock)
    }

    /// Writes the lock into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), BuildError> {
        let mut text = format!(
            "# What the PTX beside this file was built from. Written by the build; scripts/ptx-lock checks it.\n\
             inputs = \"{}\"\nrustc = \"{}\"\n\n[targets]\n",
            self.inputs, self.rustc
        );
        self.targets.iter().for_each(|(name, hash)| text.push_str(&format!("{name} = \"{hash}\"\n")));
        write(&folder.join(FILE), text.as_bytes())
    }

    /// Whether `file` is the PTX that the lock knows for `target`.
    pub fn matches(&self, target: &str, file: &Path) -> bool {
        let text = std::fs::read(file);
        text.is_ok_and(|text| self.targets.get(target).is_some_and(|hash| *hash == sha256(&text)))
    }
}

/// Hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Replaces `path` by `bytes`, all or nothing.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let io = |e| BuildError::io(path, e);
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(()); // the time stamp stays, and nothing is rebuilt for it
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = std::fs::File::create(&temporary).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)
}

/// Every file that decides what the kernels compile to: manifests and sources of the kernel crate and of the crates it
/// depends on by path, sorted.
pub fn inputs(kernels: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut crates = vec![normal(kernels)];
    let mut files = vec![];
    let mut next = 0;
    while next < crates.len() {
        let folder = crates[next].clone();
        next += 1;
        let manifest = folder.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).map_err(|e| BuildError::io(&manifest, e))?;
        for path in dependency_paths(&text) {
            let dependency = normal(&folder.join(path));
            if !crates.contains(&dependency) {
                crates.push(dependency);
            }
        }
        files.push(manifest);
        sources(&folder.join("src"), &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// The values of `path = "..."` in a manifest's dependencies.
fn dependency_paths(manifest: &str) -> impl Iterator<Item = &str> {
    let mut dependencies = false;
    manifest.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            // Development and build dependencies do not reach the kernels.
            dependencies = line.contains("dependencies") && !line.contains("dev-") && !line.contains("build-");
        }
        let (_, rest) = line.split_once("path")?;
        let value = rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()?;
        dependencies.then_some(value)
    })
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    let entries = std::fs::read_dir(folder).map_err(|e| BuildError::io(folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| BuildError::io(folder, e))?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The path without `..`, as text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

/// The hash of `files` and `settings`; names count relative to the kernel crate, so that a checkout may lie anywhere.
pub fn hash(kernels: &Path, files: &[PathBuf], settings: &str) -> Result<String, BuildError> {
    // The deepest folder that holds everything.
    let root = files.iter().fold(normal(kernels), |root, file| {
        let mut root = root;
        while !file.starts_with(&root) && root.pop() {}
        root
    });
    let mut hasher = Sha256::new();
    hasher.update(settings);
    for file in files {
        let bytes = std::fs::read(file).map_err(|e| BuildError::io(file, e))?;
        let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// The package name in the crate's manifest.
pub fn crate_name(kernels: &Path) -> Result<String, BuildError> {
    let manifest = kernels.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| BuildError::io(&manifest, e))?;
    let name = text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("name")?.trim_start().strip_prefix('=')?;
        Some(rest.trim().trim_matches('"').to_string())
    });
    name.ok_or_else(|| BuildError::io(&manifest, std::io::Error::other("the manifest names no package")))
}

/// Error: `built` is not byte for byte `locked`; says the first line that differs.
pub fn compare(locked: &Path, built: &Path) -> Result<(), BuildError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| BuildError::io(path, e));
    let (old, new) = (read(locked)?, read(built)?);
    if old == new {
        return Ok(());
    }
    let line = old.lines().zip(new.lines()).position(|(a, b)| a != b);
    let reason = match line {
        Some(n) => {
            let (a, b) = (old.lines().nth(n).unwrap_or(""), new.lines().nth(n).unwrap_or(""));
            format!("line {} is `{}`, a rebuild gives `{}`", n + 1, a.trim(), b.trim())
        }
        None => format!("{} bytes, a rebuild gives {}", old.len(), new.len()),
    };
    Err(BuildError::Differs { file: locked.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_in(folder: &Path, source: &str) -> PathBuf {
        let kernels = folder.join("kernels");
        std::fs::create_dir_all(kernels.join("src")).expect("writable");
        std::fs::create_dir_all(folder.join("dep/src")).expect("writable");
        let manifest = "[package]\nname = \"my-kernels\"\n[dependencies]\ndep = { path = \"../dep\" }\n";
        std::fs::write(kernels.join("Cargo.toml"), manifest).expect("writable");
        std::fs::write(kernels.join("src/lib.rs"), source).expect("writable");
        std::fs::write(folder.join("dep/Cargo.toml"), "[package]\nname = \"dep\"\n").expect("writable");
        std::fs::write(folder.join("dep/src/lib.rs"), "// dep").expect("writable");
        kernels
    }

    #[test]
    fn the_hash_sees_sources_dependencies_and_settings_but_not_the_place() {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (ka, kb) = (crate_in(a.path(), "// 1"), crate_in(b.path(), "// 1"));
        let of = |k: &Path, s: &str| hash(k, &inputs(k).expect("readable"), s).expect("readable");
        assert_eq!(inputs(&ka).expect("readable").len(), 4);
        assert_eq!(of(&ka, "x"), of(&kb, "x"));
        assert_ne!(of(&ka, "x"), of(&ka, "y"));
        let before = of(&ka, "x");
        std::fs::write(a.path().join("dep/src/lib.rs"), "// other").expect("writable");
        assert_ne!(of(&ka, "x"), before);
        assert_eq!(crate_name(&ka).expect("named"), "my-kernels");
    }

    #[test]
    fn a_lock_survives_its_file_and_notices_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sm_80.ptx");
        write(&file, b".version 7.1").expect("writable");
        let targets = BTreeMap::from([("sm_80".to_string(), sha256(b".version 7.1"))]);
        let lock = Lock { inputs: "abc".into(), rustc: "rustc 1.96.0, LLVM 22".into(), targets };
        lock.write(folder.path()).expect("writable");
        assert_eq!(Lock::read(folder.path()).expect("readable"), Some(lock.clone()));
        assert!(lock.matches("sm_80", &file));
        write(&file, b".version 7.2").expect("writable");
        assert!(!lock.matches("sm_80", &file));
        assert!(!lock.matches("sm_90a", &file));
        std::fs::write(folder.path().join(FILE), "inputs = broken").expect("writable");
        assert_eq!(Lock::read(folder.path()).expect("readable"), None);
    }

    #[test]
    fn a_difference_names_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, "one\ntwo\n").expect("writable");
        std::fs::write(&b, "one\nthree\n").expect("writable");
        let text = compare(&a, &b).expect_err("they differ").to_string();
        assert!(text.contains("line 2") && text.contains("three"), "{text}");
    }
}
