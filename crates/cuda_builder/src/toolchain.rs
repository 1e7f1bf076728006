//! Finding a rustc that can build for the GPU: any with its library sources beside it.
//!
//! Looked at in this order: the variable [`RUSTC_VARIABLE`], the current rustc, the other toolchains of rustup, Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;

/// Names the compiler to use, past all others.
pub const RUSTC_VARIABLE: &str = "IRONWARP_PTX_RUSTC";

/// A capable compiler.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The program.
    pub rustc: PathBuf,
    /// What `rustc -V` says, and its LLVM.
    pub version: String,
}

impl Toolchain {
    /// The first capable compiler; `kernels` is for the error alone.
    ///
    /// # Errors
    /// [`BuildError::NoCompiler`] says which compilers were looked at and the one command that installs one.
    pub fn find(kernels: &Path) -> Result<Toolchain, BuildError> {
        let candidates = candidates();
        candidates.iter().find_map(|rustc| probe(rustc)).ok_or_else(|| {
            let list: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
            BuildError::NoCompiler {
                kernels: kernels.into(),
                tried: format!(" (without sources: {})", list.join(", ")),
            }
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(RUSTC_VARIABLE) {
        return vec![named.into()];
    }
    let mut list: Vec<PathBuf> = vec![];
    list.extend(std::env::var_os("RUSTC").map(PathBuf::from));
    list.push("rustc".into());
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup")));
    if let Some(toolchains) = home.and_then(|h| std::fs::read_dir(h.join("toolchains")).ok()) {
        let mut found: Vec<PathBuf> =
            toolchains.filter_map(|e| Some(e.ok()?.path().join("bin/rustc"))).filter(|p| p.exists()).collect();
        found.sort();
        list.extend(found);
    }
    list.push("/usr/bin/rustc".into());
    list.dedup();
    list
}

/// Asks `rustc` for its version and looks for its sources.
fn probe(rustc: &Path) -> Option<Toolchain> {
    let ask = |args: &[&str]| {
        let run = Command::new(rustc).args(args).env_remove("RUSTC_WORKSPACE_WRAPPER").output().ok()?;
        run.status.success().then(|| String::from_utf8_lossy(&run.stdout).into_owned())
    };
    let sysroot = ask(&["--print", "sysroot"])?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !core.exists() {
        return None;
    }
    let version = ask(&["-vV"])?;
    let first = version.lines().next()?.to_string();
    let llvm = version.lines().find_map(|l| l.strip_prefix("LLVM version: ")).unwrap_or("unknown");
    // The program as an absolute path: the nested cargo runs in another folder.
    let rustc = if rustc.components().count() > 1 { std::path::absolute(rustc).ok()? } else { rustc.into() };
    Some(Toolchain { rustc, version: format!("{first}, LLVM {llvm}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_without_sources_is_not_capable() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("rustc");
        std::fs::write(&script, format!("#!/bin/sh\necho {}\n", folder.path().display())).expect("writable");
        make_executable(&script);
        assert!(probe(&script).is_none());
        let core = folder.path().join("lib/rustlib/src/rust/library/core/src");
        std::fs::create_dir_all(&core).expect("writable");
        std::fs::write(core.join("lib.rs"), "").expect("writable");
        assert_eq!(probe(&script).expect("capable now").rustc, script);
    }

    #[test]
    fn the_error_names_the_command() {
        let text = BuildError::NoCompiler { kernels: "k".into(), tried: String::new() }.to_string();
        assert!(text.contains("rustup component add rust-src") && text.contains("apt-get install"), "{text}");
    }

    #[cfg(unix)]
    fn make_executable(path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("own file");
    }
}
