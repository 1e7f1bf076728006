//! Builds a kernel crate to PTX with rustc's own NVPTX back end: Rust-CUDA's `cuda_builder`, without its compiler of 2021.
//!
//! ```no_run
//! // build.rs
//! use cuda_builder::{Arch, CudaBuilder};
//! fn main() {
//!     let ptx = CudaBuilder::new("kernels").targets([Arch::Sm80]).lock("kernels/ptx").build().unwrap_or_else(|e| {
//!         eprintln!("error: {e}");
//!         std::process::exit(1)
//!     });
//!     println!("cargo::rustc-env=KERNELS_PTX={}", ptx.path(Arch::Sm80).unwrap().display());
//! }
//! ```
//!
//! What it needs is a rustc with its `rust-src` ([`toolchain`]); no CUDA toolkit, no LLVM, no linker. Each target is one
//! nested cargo run with `core` built from source and fat LTO, whose assembly output is the PTX; [`ptx`] then turns the
//! records of `cuda_std::launch_bounds` into directives. With a [lock](CudaBuilder::lock) the PTX is kept in the source
//! tree with the hash of what it was built from, and no compiler is needed until the kernels change.

pub mod lock;
pub mod ptx;
pub mod toolchain;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use lock::Lock;
use toolchain::Toolchain;

/// A GPU architecture that PTX is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// Compute capability 8.0 (Ampere) and everything later.
    Sm80,
    /// Compute capability 9.0 (Hopper) alone, with its own instructions.
    Sm90a,
}

/// Rust-CUDA's name of [`Arch`].
pub type NvvmArch = Arch;

impl Arch {
    /// As rustc and ptxas spell it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm90a => "sm_90a",
        }
    }

    fn features(self) -> &'static str {
        match self {
            Arch::Sm80 => "+ptx71",
            Arch::Sm90a => "+ptx80",
        }
    }
}

/// Why no PTX came out. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no compiler that can build for the GPU.
    #[error(
        "the kernels in {} changed (or were never built), and no rustc with its library sources was found to build \
         them: run `rustup component add rust-src`, or on Debian `apt-get install rustc-web rust-web-src`{tried}",
        kernels.display()
    )]
    NoCompiler {
        /// The kernel crate.
        kernels: PathBuf,
        /// What was looked at, for the message.
        tried: String,
    },
    /// The compiler refused the kernels.
    #[error("building {} for {arch} with {rustc} failed:\n{output}", kernels.display())]
    Compile {
        /// The kernel crate.
        kernels: PathBuf,
        /// Target.
        arch: &'static str,
        /// Compiler.
        rustc: String,
        /// What it printed.
        output: String,
    },
    /// The compiler ran, but no PTX is where it should be.
    #[error("building {} for {arch} left no PTX in {}", kernels.display(), folder.display())]
    NoOutput {
        /// The kernel crate.
        kernels: PathBuf,
        /// Target.
        arch: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A launch-bounds record that cannot be applied.
    #[error("launch bounds in {}: {reason}", kernels.display())]
    LaunchBounds {
        /// The kernel crate.
        kernels: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `IRONWARP_PTX=check` found other PTX than the locked.
    #[error("{}: {reason}; run scripts/ptx-lock and commit the result", file.display())]
    Differs {
        /// The locked file.
        file: PathBuf,
        /// The first difference.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BuildError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> BuildError {
        BuildError::Io { path: path.into(), source }
    }
}

/// The PTX files of a build.
#[derive(Clone, Debug)]
pub struct Ptx {
    files: BTreeMap<Arch, PathBuf>,
}

impl Ptx {
    /// The file for `arch`, absolute; `None` when that was no target.
    pub fn path(&self, arch: Arch) -> Option<&Path> {
        self.files.get(&arch).map(PathBuf::as_path)
    }
}

/// What to do about a locked build, from the environment variable `IRONWARP_PTX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Build only when the lock does not match.
    Auto,
    /// Build, and replace the locked files.
    Rebuild,
    /// Build, and fail when the same compiler gives other bytes.
    Check,
}

/// A build of one kernel crate. Methods as in Rust-CUDA's crate where they exist there.
#[derive(Clone, Debug)]
pub struct CudaBuilder {
    kernels: PathBuf,
    targets: Vec<Arch>,
    release: bool,
    fma_contraction: bool,
    copy_to: Option<PathBuf>,
    lock: Option<PathBuf>,
    target_dir: Option<PathBuf>,
}

impl CudaBuilder {
    /// A release build for [`Arch::Sm80`] of the crate in folder `kernels` (relative to the current directory, which in a
    /// build script is the package's folder).
    pub fn new(kernels: impl AsRef<Path>) -> CudaBuilder {
        CudaBuilder {
            kernels: kernels.as_ref().into(),
            targets: vec![Arch::Sm80],
            release: true,
            fma_contraction: true,
            copy_to: None,
            lock: None,
            target_dir: None,
        }
    }

    /// The one architecture to build for.
    pub fn arch(mut self, arch: Arch) -> Self {
        self.targets = vec![arch];
        self
    }

    /// The architectures to build for, side by side.
    pub fn targets(mut self, targets: impl IntoIterator<Item = Arch>) -> Self {
        self.targets = targets.into_iter().collect();
        self.targets.sort_unstable();
        self.targets.dedup();
        self
    }

    /// Optimised and without checks (the default), or with debug assertions, bounds and overflow checks that report kernel,
    /// file and line to the host.
    pub fn release(mut self, release: bool) -> Self {
        self.release = release;
        self
    }

    /// Whether `a * b + c` becomes one fused multiply-add (the default, as in CUDA C++).
    pub fn fma_contraction(mut self, contract: bool) -> Self {
        self.fma_contraction = contract;
        self
    }

    /// Also copies the (first target's) PTX to this file.
    pub fn copy_to(mut self, path: impl AsRef<Path>) -> Self {
        self.copy_to = Some(path.as_ref().into());
        self
    }

    /// Keeps the PTX in this folder of the source tree, with a lock of what it was built from.
    pub fn lock(mut self, folder: impl AsRef<Path>) -> Self {
        self.lock = Some(folder.as_ref().into());
        self
    }

    /// Where the nested cargo builds; by default `$OUT_DIR/ptx`, or `target/ptx` outside a build script.
    pub fn target_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.target_dir = Some(folder.as_ref().into());
        self
    }

    /// Builds what is out of date. In a build script it also prints cargo's `rerun-if` lines.
    ///
    /// # Errors
    /// [`BuildError`]: no compiler, kernels that do not compile, files that cannot be written, a lock that does not hold.
    pub fn build(self) -> Result<Ptx, BuildError> {
        let kernels = std::path::absolute(&self.kernels).map_err(|e| BuildError::io(&self.kernels, e))?;
        let inputs = lock::inputs(&kernels)?;
        if std::env::var_os("OUT_DIR").is_some() {
            for name in ["IRONWARP_PTX", toolchain::RUSTC_VARIABLE] {
                println!("cargo::rerun-if-env-changed={name}");
            }
            inputs.iter().for_each(|file| println!("cargo::rerun-if-changed={}", file.display()));
        }
        let ptx = match &self.lock {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(|e| BuildError::io(folder, e))?;
                self.build_locked(&kernels, &inputs, &folder)?
            }
            None => self.build_into(&kernels, &self.output_dir(), &Toolchain::find(&kernels)?)?,
        };
        if let (Some(to), Some(from)) = (&self.copy_to, self.targets.first().and_then(|a| ptx.path(*a))) {
            let text = std::fs::read(from).map_err(|e| BuildError::io(from, e))?;
            lock::write(to, &text)?;
        }
        Ok(ptx)
    }

    fn output_dir(&self) -> PathBuf {
        match (&self.target_dir, std::env::var_os("OUT_DIR")) {
            (Some(folder), _) => folder.clone(),
            (None, Some(out)) => PathBuf::from(out).join("ptx"),
            (None, None) => PathBuf::from("target/ptx"),
        }
    }

    fn build_locked(&self, kernels: &Path, inputs: &[PathBuf], folder: &Path) -> Result<Ptx, BuildError> {
        let mode = match std::env::var("IRONWARP_PTX").as_deref() {
            Ok("rebuild") => Mode::Rebuild,
            Ok("check") => Mode::Check,
            _ => Mode::Auto,
        };
        let hash = lock::hash(kernels, inputs, &self.settings())?;
        let locked = Lock::read(folder)?;
        let file = |arch: Arch| folder.join(format!("{}.ptx", arch.name()));
        let fresh = locked.as_ref().is_some_and(|l| {
            l.inputs == hash && self.targets.iter().all(|&a| l.matches(a.name(), &file(a)))
        });
        let files = self.targets.iter().map(|&a| (a, file(a))).collect();
        if fresh && mode == Mode::Auto {
            return Ok(Ptx { files });
        }
        let toolchain = Toolchain::find(kernels)?;
        let built = self.build_into(kernels, &self.output_dir(), &toolchain)?;
        if let (Mode::Check, Some(locked)) = (mode, &locked) {
            if locked.inputs != hash {
                let reason = "the kernels' sources are not the ones this was built from".into();
                return Err(BuildError::Differs { file: folder.join(lock::FILE), reason });
            }
            if locked.rustc != toolchain.version {
                // Another compiler may give other PTX that is as good: whoever checks then tests what it gives.
                eprintln!("note: {} built this PTX, {} is here: not compared", locked.rustc, toolchain.version);
                return Ok(built);
            }
            for &arch in &self.targets {
                lock::compare(&file(arch), &built.files[&arch])?;
            }
            return Ok(Ptx { files });
        }
        let mut lock = Lock { inputs: hash, rustc: toolchain.version, targets: BTreeMap::new() };
        for &arch in &self.targets {
            let from = &built.files[&arch];
            let text = std::fs::read(from).map_err(|e| BuildError::io(from, e))?;
            lock::write(&file(arch), &text)?;
            lock.targets.insert(arch.name().into(), lock::sha256(&text));
        }
        lock.write(folder)?;
        Ok(Ptx { files })
    }

    /// Everything besides the sources that decides what comes out.
    fn settings(&self) -> String {
        let flags: Vec<String> = self.targets.iter().map(|&a| self.rustflags(a).join(" ")).collect();
        format!("{} release={} {}", env!("CARGO_PKG_VERSION"), self.release, flags.join("\n"))
    }

    fn rustflags(&self, arch: Arch) -> Vec<String> {
        let mut flags = vec![
            format!("-Ctarget-cpu={}", arch.name()),
            format!("-Ctarget-feature={}", arch.features()),
            "-Clinker=true".into(),
            // Loops over accumulators must unroll fully, or the arrays land in local memory.
            "-Cllvm-args=-unroll-threshold=4000".into(),
        ];
        if self.fma_contraction {
            flags.push("-Cllvm-args=-nvptx-fma-level=1".into());
        }
        flags
    }

    fn build_into(&self, kernels: &Path, out: &Path, toolchain: &Toolchain) -> Result<Ptx, BuildError> {
        let out = std::path::absolute(out).map_err(|e| BuildError::io(out, e))?;
        let results: Vec<Result<(Arch, PathBuf), BuildError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .targets
                .iter()
                .map(|&arch| {
                    let out = &out;
                    scope.spawn(move || Ok((arch, self.build_one(kernels, out, toolchain, arch)?)))
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a build thread does not panic")).collect()
        });
        Ok(Ptx { files: results.into_iter().collect::<Result<_, _>>()? })
    }

    fn build_one(
        &self,
        kernels: &Path,
        out: &Path,
        toolchain: &Toolchain,
        arch: Arch,
    ) -> Result<PathBuf, BuildError> {
        let target_dir = out.join(arch.name());
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        // What the outer cargo set for its own build must not reach the nested one.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().into_owned();
            let inherited = text.starts_with("CARGO_") && text != "CARGO_HOME"
                || text.starts_with("DEP_")
                || text.starts_with("RUSTC")
                || ["RUSTFLAGS", "RUSTDOCFLAGS", "TARGET", "HOST", "OUT_DIR", "PROFILE", "OPT_LEVEL", "DEBUG"]
                    .contains(&text.as_str());
            if inherited {
                cargo.env_remove(name);
            }
        }
        let checks = if self.release { "false" } else { "true" };
        cargo
            .current_dir(kernels)
            .args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "-Zbuild-std=core"])
            .args(["--target", "nvptx64-nvidia-cuda", "--target-dir"])
            .arg(&target_dir)
            .args(["--", "--emit=asm"])
            .env("RUSTC", &toolchain.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(arch).join("\u{1f}"))
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", checks)
            .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", checks);
        let run = cargo.output().map_err(|e| BuildError::io(Path::new("cargo"), e))?;
        if !run.status.success() {
            return Err(BuildError::Compile {
                kernels: kernels.into(),
                arch: arch.name(),
                rustc: toolchain.version.clone(),
                output: String::from_utf8_lossy(&run.stderr).into_owned(),
            });
        }
        let deps = target_dir.join("nvptx64-nvidia-cuda/release/deps");
        let missing =
            || BuildError::NoOutput { kernels: kernels.into(), arch: arch.name(), folder: deps.clone() };
        let assembly = newest_assembly(&deps, &lock::crate_name(kernels)?).ok_or_else(missing)?;
        let text = std::fs::read_to_string(&assembly).map_err(|e| BuildError::io(&assembly, e))?;
        let text = ptx::finish(&text)
            .map_err(|reason| BuildError::LaunchBounds { kernels: kernels.into(), reason })?;
        let file = out.join(format!("{}.ptx", arch.name()));
        lock::write(&file, text.as_bytes())?;
        Ok(file)
    }
}

/// The assembly file of crate `name` that was written last: older ones are of earlier sources.
fn newest_assembly(deps: &Path, name: &str) -> Option<PathBuf> {
    let stem = name.replace('-', "_");
    let ours = |path: &PathBuf| {
        let file = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        let rest = file.strip_prefix(&stem);
        path.extension().is_some_and(|e| e == "s") && rest.is_some_and(|r| r.is_empty() || r.starts_with('-'))
    };
    let files = std::fs::read_dir(deps).ok()?.filter_map(|e| Some(e.ok()?.path())).filter(ours);
    files.max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
}
