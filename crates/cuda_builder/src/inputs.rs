//! The hash of everything PTX is made from that the repository holds.
//!
//! * Of the kernel crate and of every crate it reaches through `path = "..."` dependencies (build dependencies included,
//!   development dependencies not): `build.rs`, every file under `src`, and `Cargo.toml` without its sections for
//!   development, lints, comments, and version.
//! * The edition that a crate takes from its workspace.
//! * The builder's flags and profile for each target, and the code that finishes the text.
//!
//! Line ends count as LF, so that a checkout on Windows has the same hash. Not covered: the versions of dependencies from
//! a registry (a project that depends on this one resolves its own), and the compiler; CI's `check` finds those.

use crate::CudaBuilderError;
use crate::compile::workspace_root;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The inputs of one kernel crate.
pub(crate) struct Inputs {
    /// The crates, the kernel crate first.
    pub crates: Vec<PathBuf>,
    /// The hash in hexadecimal.
    pub hash: String,
}

impl Inputs {
    /// Collects and hashes the inputs of the crate at `krate`; `settings` are lines that say how it is compiled.
    pub(crate) fn of(krate: &Path, settings: &[String]) -> Result<Self, CudaBuilderError> {
        let mut crates = Vec::new();
        collect(krate, &mut crates)?;
        let mut hasher = Sha256::new();
        let mut add = |name: &str, bytes: &[u8]| {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (number, folder) in crates.iter().enumerate() {
            for (name, path) in files(folder)? {
                let bytes = fs::read(&path).map_err(CudaBuilderError::io(&path))?;
                let bytes = without_cr(bytes);
                let name = format!("{number}/{name}");
                if name.ends_with("/Cargo.toml") {
                    let text = String::from_utf8_lossy(&bytes);
                    add(&name, relevant(&text, &workspace_root(folder)).as_bytes());
                } else {
                    add(&name, &bytes);
                }
            }
        }
        for line in settings {
            add("setting", line.as_bytes());
        }
        add("finish", &without_cr(include_bytes!("ptx.rs").to_vec()));
        Ok(Inputs { crates, hash: hex(&hasher.finalize()) })
    }
}

/// A hash in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn without_cr(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&b'\r') {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    for (i, &byte) in bytes.iter().enumerate() {
        if byte != b'\r' || bytes.get(i + 1) != Some(&b'\n') {
            out.push(byte);
        }
    }
    out
}

/// Adds `krate` and its path dependencies, depth first, each once.
fn collect(krate: &Path, crates: &mut Vec<PathBuf>) -> Result<(), CudaBuilderError> {
    let manifest = krate.join("Cargo.toml");
    let Ok(text) = fs::read_to_string(&manifest) else {
        return Err(CudaBuilderError::CratePathDoesntExist(krate.to_owned()));
    };
    let krate = fs::canonicalize(krate).map_err(CudaBuilderError::io(krate))?;
    if crates.contains(&krate) {
        return Ok(());
    }
    crates.push(krate.clone());
    let root = workspace_root(&krate);
    let shared = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    for (name, value) in dependencies(&text) {
        let (folder, path) = match string_of(&value, "path") {
            Some(path) => (&krate, Some(path)),
            None if value.contains("workspace") => (&root, workspace_dependency(&shared, &name)),
            None => continue,
        };
        if let Some(path) = path {
            collect(&folder.join(path), crates)?;
        }
    }
    Ok(())
}

/// The manifest's sections: header and lines, without comments and blank lines.
fn sections(manifest: &str) -> Vec<(String, Vec<String>)> {
    let mut out = vec![(String::new(), Vec::new())];
    for line in manifest.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            out.push((line.trim_matches(['[', ']']).to_owned(), Vec::new()));
        } else if let Some((_, lines)) = out.last_mut() {
            lines.push(line.to_owned());
        }
    }
    out
}

/// Name and value of every dependency that takes part in a build.
fn dependencies(manifest: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (header, lines) in sections(manifest) {
        // [dependencies], [build-dependencies], [target.'cfg(..)'.dependencies], [dependencies.NAME]
        let header = header.replace("build-dependencies", "dependencies");
        if header.contains("dev-dependencies") || header.starts_with("workspace") {
            continue;
        }
        if header == "dependencies" || header.ends_with(".dependencies") {
            for line in lines {
                if let Some((name, value)) = line.split_once('=') {
                    // `name.workspace = true` and `name.path = ".."` too.
                    let (name, key) = name.trim().split_once('.').unwrap_or((name.trim(), ""));
                    out.insert(name.to_owned(), format!("{key} = {}", value.trim()));
                }
            }
        } else if let Some((_, name)) = header.split_once("dependencies.") {
            out.insert(name.to_owned(), lines.join(", "));
        }
    }
    out
}

/// `..` of `key = ".."` within an inline table or a list of lines.
fn string_of(value: &str, key: &str) -> Option<String> {
    value.split([',', '{', '}', '\n']).find_map(|part| {
        let (name, text) = part.rsplit_once('=')?;
        let text = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        // `= { path = "x" }` arrives here as ` path = "x" `.
        (name.trim().trim_start_matches('=').trim() == key).then(|| text.to_owned())
    })
}

/// The path of `[workspace.dependencies] name = { path = ".." }`.
fn workspace_dependency(root_manifest: &str, name: &str) -> Option<String> {
    sections(root_manifest).iter().find_map(|(header, lines)| match header.as_str() {
        "workspace.dependencies" => lines.iter().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| string_of(value, "path")).flatten()
        }),
        _ if *header == format!("workspace.dependencies.{name}") => string_of(&lines.join(", "), "path"),
        _ => None,
    })
}

/// The part of a manifest that can change the PTX.
fn relevant(manifest: &str, root: &Path) -> String {
    const IDLE: [&str; 9] = [
        "version",
        "description",
        "license",
        "rust-version",
        "authors",
        "repository",
        "readme",
        "keywords",
        "categories",
    ];
    let mut out = String::new();
    for (header, lines) in sections(manifest) {
        let idle_section = ["dev-dependencies", "lints", "profile", "workspace", "[bin", "[test", "[bench"];
        if idle_section.iter().any(|idle| header.contains(idle))
            || matches!(&*header, "bin" | "test" | "bench")
        {
            continue;
        }
        out.push_str(&format!("[{header}]\n"));
        for line in lines {
            let key = line.split(['=', '.']).next().unwrap_or_default().trim();
            if header == "package" && IDLE.contains(&key) {
                continue;
            }
            if header == "package" && key == "edition" && line.contains("workspace") {
                let text = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
                let inherited = sections(&text)
                    .into_iter()
                    .filter(|(header, _)| header == "workspace.package")
                    .flat_map(|(_, lines)| lines)
                    .find(|line| line.starts_with("edition"));
                out.push_str(&inherited.unwrap_or_default());
                out.push('\n');
                continue;
            }
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

/// The files of a crate that take part in a build: name with `/`, and path, sorted by name.
fn files(krate: &Path) -> Result<BTreeMap<String, PathBuf>, CudaBuilderError> {
    let mut out = BTreeMap::new();
    for name in ["Cargo.toml", "build.rs"] {
        let path = krate.join(name);
        if path.is_file() {
            out.insert(name.to_owned(), path);
        }
    }
    walk(&krate.join("src"), "src", &mut out)?;
    Ok(out)
}

fn walk(folder: &Path, name: &str, out: &mut BTreeMap<String, PathBuf>) -> Result<(), CudaBuilderError> {
    let io = || CudaBuilderError::io(folder);
    for entry in fs::read_dir(folder).map_err(io())? {
        let path = entry.map_err(io())?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        // Editors' and systems' own files are not sources.
        if file.starts_with('.') || file.ends_with('~') {
            continue;
        }
        let name = format!("{name}/{file}");
        if path.is_dir() {
            walk(&path, &name, out)?;
        } else {
            out.insert(name, path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A workspace: kernels -> std (by path) -> macros (by workspace), and a crate for tests only.
    fn workspace(root: &Path) {
        write(
            &root.join("Cargo.toml"),
            "[workspace]\nmembers = []\n[workspace.package]\nedition = \"2024\"\n\
             [workspace.dependencies]\nmacros = { path = \"crates/macros\" }\n",
        );
        let package = |name: &str, rest: &str| {
            format!("[package]\nname = \"{name}\"\nedition.workspace = true\n{rest}")
        };
        write(
            &root.join("kernels/Cargo.toml"),
            &package(
                "kernels",
                "version = \"0.1.0\"\n[dependencies]\nstd = { version = \"1\", path = \"../crates/std\" }\nhalf = \"2\"\n\
                 [dev-dependencies]\nonly = { path = \"../crates/only\" }\n",
            ),
        );
        write(&root.join("kernels/src/lib.rs"), "pub mod a;\n");
        write(&root.join("kernels/src/a.rs"), "pub fn a() {}\n");
        write(
            &root.join("crates/std/Cargo.toml"),
            &package("std", "[dependencies]\nmacros.workspace = true\n"),
        );
        write(&root.join("crates/std/src/lib.rs"), "\n");
        write(&root.join("crates/macros/Cargo.toml"), &package("macros", ""));
        write(&root.join("crates/macros/src/lib.rs"), "\n");
    }

    fn hash(root: &Path) -> String {
        Inputs::of(&root.join("kernels"), &["flags".into()]).unwrap().hash
    }

    #[test]
    fn path_dependencies_are_followed_and_tests_are_not() {
        let root = tempfile::tempdir().unwrap();
        workspace(root.path());
        let inputs = Inputs::of(&root.path().join("kernels"), &[]).unwrap();
        let names: Vec<_> = inputs.crates.iter().map(|c| c.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["kernels", "std", "macros"]);
    }

    #[test]
    fn the_hash_follows_what_ptx_is_made_of() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        workspace(root);
        let first = hash(root);
        assert_eq!(first, hash(root));
        assert_ne!(first, Inputs::of(&root.join("kernels"), &["other".into()]).unwrap().hash);

        // Each of these changes it, and taking the change back restores it.
        for (file, text) in [
            ("kernels/src/a.rs", "pub fn a() { }\n"),
            ("crates/macros/src/lib.rs", "// changed\n"),
            ("kernels/src/new/b.rs", "\n"),
            (
                "Cargo.toml",
                "[workspace]\n[workspace.package]\nedition = \"2021\"\n[workspace.dependencies]\nmacros = { path = \"crates/macros\" }\n",
            ),
        ] {
            let path = root.join(file);
            let old = fs::read_to_string(&path).ok();
            write(&path, text);
            assert_ne!(first, hash(root), "{file}");
            match old {
                Some(old) => write(&path, &old),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!(first, hash(root), "{file} restored");
        }
    }

    #[test]
    fn the_hash_ignores_place_line_ends_version_and_tests() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        workspace(one.path());
        workspace(&two.path().join("deep/er"));
        let two = two.path().join("deep/er");
        assert_eq!(hash(one.path()), hash(&two));
        write(&two.join("kernels/src/a.rs"), "pub fn a() {}\r\n");
        write(&two.join("kernels/src/.a.rs.swp"), "x");
        let manifest = fs::read_to_string(two.join("kernels/Cargo.toml")).unwrap();
        write(
            &two.join("kernels/Cargo.toml"),
            &manifest.replace("0.1.0", "0.2.0").replace("only = ", "# only = "),
        );
        assert_eq!(hash(one.path()), hash(&two));
    }

    #[test]
    fn a_missing_crate_is_named() {
        let root = tempfile::tempdir().unwrap();
        workspace(root.path());
        fs::remove_dir_all(root.path().join("crates/std")).unwrap();
        let error = Inputs::of(&root.path().join("kernels"), &[]).err().unwrap().to_string();
        assert!(error.contains("crates/std"), "{error}");
    }
}
