//! The nested cargo that compiles the kernel crate to assembly text.

use crate::builder::{CudaBuilder, DebugInfo, EmitOption};
use crate::{CudaBuilderError, NvvmArch, Toolchain};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "nvptx64-nvidia-cuda";

/// rustc's flags for `arch`, without paths: they are part of the lock's hash.
pub(crate) fn flags(builder: &CudaBuilder, arch: NvvmArch) -> Vec<String> {
    let mut llvm = vec![
        format!("-nvptx-fma-level={}", u8::from(builder.fma_contraction)),
        // Loops over an accumulator array must unroll fully: what is indexed by a variable lands in local memory.
        "-unroll-threshold=1200".into(),
    ];
    if builder.fast_sqrt {
        llvm.push("-nvptx-prec-sqrtf32=0".into());
    }
    if builder.fast_div {
        llvm.push("-nvptx-prec-divf32=1".into());
    }
    vec![
        format!("-Ctarget-cpu={arch}"),
        format!("-Ctarget-feature={}", arch.ptx_feature()),
        // With fat LTO the assembly text holds everything, so nothing is left to link.
        "-Clinker=true".into(),
        format!("-Cllvm-args={}", llvm.join(" ")),
    ]
}

/// The profile, as cargo's environment variables: they are part of the lock's hash too.
pub(crate) fn profile(builder: &CudaBuilder) -> Vec<(String, String)> {
    let checks = !builder.release;
    let lines = match builder.debug {
        DebugInfo::None if checks && builder.generate_line_info => "line-tables-only",
        DebugInfo::None => "false",
        DebugInfo::LineTables => "line-tables-only",
    };
    [
        ("OPT_LEVEL", if builder.nvvm_opts { "3" } else { "1" }.to_owned()),
        ("PANIC", "abort".into()),
        ("LTO", "fat".into()),
        ("CODEGEN_UNITS", "1".into()),
        ("INCREMENTAL", "false".into()),
        ("DEBUG", lines.into()),
        ("DEBUG_ASSERTIONS", checks.to_string()),
        ("OVERFLOW_CHECKS", checks.to_string()),
    ]
    .map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value))
    .to_vec()
}

/// Compiles for `arch` and returns the compiler's assembly text.
pub(crate) fn assembly(
    builder: &CudaBuilder,
    toolchain: &Toolchain,
    arch: NvvmArch,
    crates: &[PathBuf],
    target_dir: &Path,
) -> Result<String, CudaBuilderError> {
    fs::create_dir_all(target_dir).map_err(CudaBuilderError::io(target_dir))?;
    // A path that does not depend on the call, or cargo would compile again each time.
    let asm = target_dir.join("kernels.s");
    let krate =
        fs::canonicalize(&builder.path_to_crate).map_err(CudaBuilderError::io(&builder.path_to_crate))?;

    let mut rustflags = flags(builder, arch);
    rustflags.extend(remaps(&krate, crates, toolchain));
    let mut cargo = Command::new(&toolchain.cargo);
    isolate(&mut cargo);
    cargo
        .current_dir(&krate)
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--release", "--target", TARGET])
        .arg(if builder.alloc { "-Zbuild-std=core,alloc" } else { "-Zbuild-std=core" })
        .arg("--target-dir")
        .arg(target_dir)
        .args(&builder.build_args)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"))
        .env("CUDA_ARCH", arch.cuda_arch())
        .envs(profile(builder))
        .arg("--");
    let mut emit = OsString::from("--emit=asm=");
    emit.push(&asm);
    cargo.arg(emit);
    match builder.emit {
        Some(EmitOption::LlvmIr) => drop(cargo.arg("--emit=llvm-ir")),
        Some(EmitOption::Bitcode) => drop(cargo.arg("--emit=llvm-bc")),
        None => {}
    }
    let out = cargo.output().map_err(CudaBuilderError::io(&toolchain.cargo))?;
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    if !out.status.success() {
        return Err(CudaBuilderError::BuildFailed { arch, stderr });
    }
    fs::read_to_string(&asm).map_err(CudaBuilderError::io(&asm))
}

/// Paths that panic messages or line tables could carry, under names that are the same everywhere.
fn remaps(krate: &Path, crates: &[PathBuf], toolchain: &Toolchain) -> Vec<String> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut out = Vec::new();
    // rustc applies the last that matches: from the general to the special.
    if let Some(home) = cargo_home() {
        out.push(remap(&home, "/cargo"));
    }
    for folder in crates {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        out.push(remap(folder, &name));
    }
    out.push(remap(&workspace_root(krate), "."));
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    out.push(remap(&sources, "/rustc"));
    if let Ok(real) = fs::canonicalize(&sources) {
        out.push(remap(&real, "/rustc"));
    }
    out
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// The folder of the workspace `krate` belongs to: the nearest above with a `[workspace]`, or the crate's own.
pub(crate) fn workspace_root(krate: &Path) -> PathBuf {
    let is_root = |folder: &&Path| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    };
    krate.ancestors().find(is_root).unwrap_or(krate).to_owned()
}

/// Takes the outer cargo's settings from a nested command: they belong to the host program, its compiler and its flags.
pub(crate) fn isolate(cargo: &mut Command) {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    const REMOVED: [&str; 12] = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTUP_TOOLCHAIN",
        "MAKEFLAGS",
        "MFLAGS",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "PROFILE",
        "NUM_JOBS",
        "OPT_LEVEL",
        "DEBUG",
    ];
    for (key, _) in env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let outer = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept))
            || name.starts_with("RUSTC")
            || name.starts_with("CLIPPY_")
            || REMOVED.contains(&name);
        if outer {
            cargo.env_remove(&key);
        }
    }
    // The outer cargo puts its toolchain's libraries there; another rustc would load them, and look for its sysroot there.
    for variable in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        if let Some(paths) = env::var_os(variable) {
            let foreign = |path: &PathBuf| {
                let text = path.to_string_lossy();
                !(text.contains("rustlib") || text.contains("toolchains") || text.contains("target"))
            };
            match env::join_paths(env::split_paths(&paths).filter(foreign)) {
                Ok(kept) if !kept.is_empty() => drop(cargo.env(variable, kept)),
                _ => drop(cargo.env_remove(variable)),
            }
        }
    }
}
