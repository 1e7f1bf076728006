//! [`CudaBuilder`]: the options, and what `build` does.

use crate::inputs::Inputs;
use crate::lock::{self, Lock};
use crate::{CudaBuilderError, NvvmArch, Toolchain, compile, ptx};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// What debug information goes into the PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugInfo {
    /// None.
    None,
    /// `.loc` lines, for profilers and for the addresses of faults.
    LineTables,
}

/// Something to emit beside the PTX, into the build's target folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitOption {
    /// LLVM's text.
    LlvmIr,
    /// LLVM's bitcode.
    Bitcode,
}

/// One compiled (or committed) PTX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ptx {
    /// What it is for.
    pub arch: NvvmArch,
    /// Where it is.
    pub path: PathBuf,
}

/// What `IRONWARP_PTX` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Auto,
    Check,
    Rebuild,
}

impl Mode {
    fn from_env() -> Result<Self, CudaBuilderError> {
        match env::var("IRONWARP_PTX").as_deref() {
            Err(_) | Ok("" | "auto") => Ok(Self::Auto),
            Ok("check") => Ok(Self::Check),
            Ok("rebuild") => Ok(Self::Rebuild),
            Ok(other) => Err(CudaBuilderError::Mode(other.into())),
        }
    }
}

/// Compiles a kernel crate to PTX. The options are Rust-CUDA's, with their defaults where nothing else is said; new are
/// [`archs`](Self::archs), [`lock`](Self::lock), [`alloc`](Self::alloc) and [`build_all`](Self::build_all).
#[derive(Debug, Clone)]
pub struct CudaBuilder {
    pub(crate) path_to_crate: PathBuf,
    /// Whether to compile without checks; `true` by default. `false` turns on debug assertions and overflow checks, whose
    /// failures report kernel, file and line to the host, and ignores the [`lock`](Self::lock).
    pub release: bool,
    /// 32-bit PTX: not supported, an error when `true`.
    pub nvptx_32: bool,
    /// Where to copy the PTX to.
    pub ptx_file_copy_path: Option<PathBuf>,
    /// Whether debug builds carry line tables; `true` by default.
    pub generate_line_info: bool,
    /// Whether to optimise fully; `true` by default.
    pub nvvm_opts: bool,
    /// The architecture; `sm_80` by default (Rust-CUDA's default is older than what current compilers support).
    pub arch: NvvmArch,
    /// Flush denormals to zero: not supported, an error when `true`.
    pub ftz: bool,
    /// Approximate f32 square roots; `false` by default.
    pub fast_sqrt: bool,
    /// f32 division within 2 ulp instead of correctly rounded; `false` by default.
    pub fast_div: bool,
    /// Whether `a * b + c` becomes one fused instruction; `true` by default.
    pub fma_contraction: bool,
    /// Something to emit beside the PTX.
    pub emit: Option<EmitOption>,
    /// OptiX: not supported, an error when `true`.
    pub optix: bool,
    /// Without effect: there is no libdevice to replace `libm` by.
    pub override_libm: bool,
    /// Debug information in release builds; none by default.
    pub debug: DebugInfo,
    /// More arguments for cargo.
    pub build_args: Vec<String>,
    pub(crate) alloc: bool,
    archs: Vec<NvvmArch>,
    lock: Option<PathBuf>,
}

impl CudaBuilder {
    /// A builder for the crate in this folder.
    pub fn new(path_to_crate_root: impl AsRef<Path>) -> Self {
        Self {
            path_to_crate: path_to_crate_root.as_ref().to_owned(),
            release: true,
            nvptx_32: false,
            ptx_file_copy_path: None,
            generate_line_info: true,
            nvvm_opts: true,
            arch: NvvmArch::SM_80,
            ftz: false,
            fast_sqrt: false,
            fast_div: false,
            fma_contraction: true,
            emit: None,
            optix: false,
            override_libm: true,
            debug: DebugInfo::None,
            build_args: Vec::new(),
            alloc: false,
            archs: Vec::new(),
            lock: None,
        }
    }

    /// More arguments for the nested cargo, `["--features", "x"]`.
    pub fn build_args(mut self, args: &[impl AsRef<str>]) -> Self {
        self.build_args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets [`debug`](Self#structfield.debug).
    pub fn debug(mut self, debug: DebugInfo) -> Self {
        self.debug = debug;
        self
    }

    /// Sets [`release`](Self#structfield.release).
    pub fn release(mut self, release: bool) -> Self {
        self.release = release;
        self
    }

    /// Sets [`nvptx_32`](Self#structfield.nvptx_32).
    pub fn nvptx_32(mut self, nvptx_32: bool) -> Self {
        self.nvptx_32 = nvptx_32;
        self
    }

    /// Sets [`generate_line_info`](Self#structfield.generate_line_info).
    pub fn generate_line_info(mut self, generate_line_info: bool) -> Self {
        self.generate_line_info = generate_line_info;
        self
    }

    /// Sets [`nvvm_opts`](Self#structfield.nvvm_opts).
    pub fn nvvm_opts(mut self, nvvm_opts: bool) -> Self {
        self.nvvm_opts = nvvm_opts;
        self
    }

    /// Sets the one architecture.
    pub fn arch(mut self, arch: NvvmArch) -> Self {
        self.arch = arch;
        self.archs.clear();
        self
    }

    /// Sets several architectures, for [`build_all`](Self::build_all).
    pub fn archs(mut self, archs: impl IntoIterator<Item = NvvmArch>) -> Self {
        self.archs = archs.into_iter().collect();
        self
    }

    /// Sets [`ftz`](Self#structfield.ftz).
    pub fn ftz(mut self, ftz: bool) -> Self {
        self.ftz = ftz;
        self
    }

    /// Sets [`fast_sqrt`](Self#structfield.fast_sqrt).
    pub fn fast_sqrt(mut self, fast_sqrt: bool) -> Self {
        self.fast_sqrt = fast_sqrt;
        self
    }

    /// Sets [`fast_div`](Self#structfield.fast_div).
    pub fn fast_div(mut self, fast_div: bool) -> Self {
        self.fast_div = fast_div;
        self
    }

    /// Sets [`fma_contraction`](Self#structfield.fma_contraction).
    pub fn fma_contraction(mut self, fma_contraction: bool) -> Self {
        self.fma_contraction = fma_contraction;
        self
    }

    /// Emits LLVM's text beside the PTX.
    pub fn emit_llvm_ir(mut self, emit_llvm_ir: bool) -> Self {
        self.emit = emit_llvm_ir.then_some(EmitOption::LlvmIr);
        self
    }

    /// Emits LLVM's bitcode beside the PTX.
    pub fn emit_llvm_bitcode(mut self, emit_llvm_bitcode: bool) -> Self {
        self.emit = emit_llvm_bitcode.then_some(EmitOption::Bitcode);
        self
    }

    /// Copies the PTX to this file.
    pub fn copy_to(mut self, path: impl AsRef<Path>) -> Self {
        self.ptx_file_copy_path = Some(path.as_ref().to_owned());
        self
    }

    /// Sets [`optix`](Self#structfield.optix).
    pub fn optix(mut self, optix: bool) -> Self {
        self.optix = optix;
        self
    }

    /// Sets [`override_libm`](Self#structfield.override_libm).
    pub fn override_libm(mut self, override_libm: bool) -> Self {
        self.override_libm = override_libm;
        self
    }

    /// Builds `alloc` too, for a kernel crate that uses `cuda_std`'s feature `alloc`.
    pub fn alloc(mut self, alloc: bool) -> Self {
        self.alloc = alloc;
        self
    }

    /// Keeps the PTX under a lock in this folder; see the [crate's docs](crate).
    pub fn lock(mut self, folder: impl AsRef<Path>) -> Self {
        self.lock = Some(folder.as_ref().to_owned());
        self
    }

    /// Compiles for the one architecture and returns the PTX file: the copied one if there is one.
    pub fn build(mut self) -> Result<PathBuf, CudaBuilderError> {
        self.archs = vec![self.arch];
        let copy = self.ptx_file_copy_path.clone();
        let built = self.build_all()?.remove(0).path;
        let Some(copy) = copy else { return Ok(built) };
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder).map_err(CudaBuilderError::FailedToCopyPtxFile)?;
        }
        fs::copy(&built, &copy).map_err(CudaBuilderError::FailedToCopyPtxFile)?;
        Ok(copy)
    }

    /// Compiles for every architecture, or takes the locked PTX, and returns the files in the order of
    /// [`archs`](Self::archs). In a build script it also tells cargo what to watch.
    pub fn build_all(self) -> Result<Vec<Ptx>, CudaBuilderError> {
        self.reject_unsupported()?;
        let mode = Mode::from_env()?;
        let archs = if self.archs.is_empty() { vec![self.arch] } else { self.archs.clone() };
        let inputs = Inputs::of(&self.path_to_crate, &self.settings(&archs))?;
        self.watch(&inputs, &archs);
        let locked = |folder: &Path| -> Vec<Ptx> {
            let file = |&arch| Ptx { arch, path: absolute(lock::ptx_file(folder, arch)) };
            archs.iter().map(file).collect()
        };
        let Some(folder) = self.lock.as_deref().filter(|_| self.release) else {
            return self.write(&self.compile(&Toolchain::find()?, &archs, &inputs)?);
        };
        let lock = Lock::read(folder);
        let holds = lock.as_ref().is_some_and(|lock| lock.holds(folder, &inputs.hash, &archs));
        match (mode, lock) {
            (Mode::Auto, _) if holds => Ok(locked(folder)),
            (Mode::Check, Some(lock)) if holds => {
                let toolchain = Toolchain::find()?;
                let fresh = self.compile(&toolchain, &archs, &inputs)?;
                if toolchain.version != lock.rustc {
                    // Another compiler, other PTX: it has to pass the tests, so the tests get it.
                    return self.write(&fresh);
                }
                same(folder, &toolchain, &fresh)?;
                Ok(locked(folder))
            }
            (Mode::Check, _) => Err(CudaBuilderError::LockStale { lock: lock::file(folder) }),
            (Mode::Auto | Mode::Rebuild, _) => {
                let toolchain = Toolchain::find()?;
                let fresh = self.compile(&toolchain, &archs, &inputs)?;
                Lock::write(folder, &inputs.hash, &toolchain.version, &fresh)?;
                Ok(locked(folder))
            }
        }
    }

    /// Whether the lock's folder holds the PTX of the sources as they are; no compiler is needed to know.
    pub fn is_locked(&self) -> Result<bool, CudaBuilderError> {
        let archs = if self.archs.is_empty() { vec![self.arch] } else { self.archs.clone() };
        let inputs = Inputs::of(&self.path_to_crate, &self.settings(&archs))?;
        let Some(folder) = &self.lock else { return Ok(false) };
        Ok(Lock::read(folder).is_some_and(|lock| lock.holds(folder, &inputs.hash, &archs)))
    }

    fn reject_unsupported(&self) -> Result<(), CudaBuilderError> {
        let reasons = [
            (self.nvptx_32, "nvptx_32: rustc's back end makes 64-bit PTX only"),
            (
                self.ftz,
                "ftz: rustc's back end keeps denormals; use `.ftz` instructions in the kernels that need it",
            ),
            (self.optix, "optix: rustc's back end makes CUDA kernels only"),
        ];
        match reasons.iter().find(|(asked, _)| *asked) {
            Some((_, why)) => Err(CudaBuilderError::Unsupported(why)),
            None => Ok(()),
        }
    }

    /// How the crate is compiled, as lines for the lock's hash.
    fn settings(&self, archs: &[NvvmArch]) -> Vec<String> {
        let mut out: Vec<String> = archs.iter().map(|&arch| compile::flags(self, arch).join(" ")).collect();
        out.extend(compile::profile(self).into_iter().map(|(key, value)| format!("{key}={value}")));
        out.push(format!("alloc={} args={}", self.alloc, self.build_args.join(" ")));
        out
    }

    /// Tells cargo when the build script has to run again.
    fn watch(&self, inputs: &Inputs, archs: &[NvvmArch]) {
        if env::var_os("OUT_DIR").is_none() {
            return;
        }
        for name in ["IRONWARP_PTX", "IRONWARP_PTX_RUSTC"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        for krate in &inputs.crates {
            for name in ["Cargo.toml", "build.rs", "src"] {
                let path = krate.join(name);
                if path.exists() {
                    println!("cargo:rerun-if-changed={}", path.display());
                }
            }
        }
        if let Some(folder) = &self.lock {
            let files = archs.iter().map(|&arch| lock::ptx_file(folder, arch));
            for path in files.chain([lock::file(folder)]) {
                println!("cargo:rerun-if-changed={}", absolute(path).display());
            }
        }
    }

    /// Compiles for each architecture, at the same time, and finishes the text.
    fn compile(
        &self,
        toolchain: &Toolchain,
        archs: &[NvvmArch],
        inputs: &Inputs,
    ) -> Result<Vec<(NvvmArch, String)>, CudaBuilderError> {
        let base = self.target_dir();
        let one = |arch: NvvmArch| {
            let asm = compile::assembly(self, toolchain, arch, &inputs.crates, &base.join(arch.target()))?;
            let text = ptx::finish(&asm).map_err(|why| CudaBuilderError::Ptx { arch, why })?;
            Ok((arch, text))
        };
        thread::scope(|scope| {
            let all: Vec<_> = archs.iter().map(|&arch| scope.spawn(move || one(arch))).collect();
            // A panic of a thread is a bug of this crate: pass it on.
            all.into_iter()
                .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Where compiled files go: `target/ptx` of the outer build, whatever its profile, else of the crate's workspace.
    fn target_dir(&self) -> PathBuf {
        let from_out_dir = || {
            // target/[triple/]profile/build/package-hash/out
            let out = PathBuf::from(env::var_os("OUT_DIR")?);
            let build = out.ancestors().find(|folder| folder.ends_with("build"))?;
            Some(build.parent()?.parent()?.to_owned())
        };
        let target = from_out_dir()
            .or_else(|| env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
            .unwrap_or_else(|| compile::workspace_root(&absolute(self.path_to_crate.clone())).join("target"));
        // A folder for each kernel crate: cargo's own names for their files would do, but two crates build in parallel.
        let krate = self.path_to_crate.file_name().map_or_else(|| "kernels".into(), |name| name.to_owned());
        absolute(target).join("ptx").join(krate).join(if self.release { "release" } else { "debug" })
    }

    /// Writes compiled PTX into the target folder.
    fn write(&self, ptx: &[(NvvmArch, String)]) -> Result<Vec<Ptx>, CudaBuilderError> {
        let base = self.target_dir();
        ptx.iter()
            .map(|(arch, text)| {
                let path = base.join(format!("{arch}.ptx"));
                lock::replace(&path, text)?;
                Ok(Ptx { arch: *arch, path })
            })
            .collect()
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Fails at the first line in which a committed file differs from the compiled text.
fn same(folder: &Path, toolchain: &Toolchain, fresh: &[(NvvmArch, String)]) -> Result<(), CudaBuilderError> {
    for (arch, compiled) in fresh {
        let path = lock::ptx_file(folder, *arch);
        let committed = fs::read_to_string(&path).map_err(CudaBuilderError::io(&path))?.replace("\r\n", "\n");
        if committed == *compiled {
            continue;
        }
        let (mut a, mut b) = (committed.lines(), compiled.lines());
        let mut line = 1;
        loop {
            let (left, right) = (a.next(), b.next());
            if left != right || left.is_none() {
                let text = |side: Option<&str>| side.unwrap_or("(end of file)").to_owned();
                return Err(CudaBuilderError::PtxDiffers {
                    path,
                    rustc: toolchain.version.clone(),
                    line,
                    committed: text(left),
                    compiled: text(right),
                });
            }
            line += 1;
        }
    }
    Ok(())
}
