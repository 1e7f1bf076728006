//! What can go wrong, and what to do about it.

use crate::NvvmArch;
use std::io;
use std::path::PathBuf;

/// An error of [`CudaBuilder`](crate::CudaBuilder).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaBuilderError {
    /// The kernel crate has no `Cargo.toml` there.
    #[error("there is no crate at {}: no Cargo.toml", .0.display())]
    CratePathDoesntExist(PathBuf),
    /// [`copy_to`](crate::CudaBuilder::copy_to) failed.
    #[error("copying the PTX failed: {0}")]
    FailedToCopyPtxFile(#[source] io::Error),
    /// The kernels do not compile.
    #[error("the kernel crate does not compile for {arch}:\n{stderr}")]
    BuildFailed {
        /// The target that failed.
        arch: NvvmArch,
        /// The compiler's messages.
        stderr: String,
    },
    /// No rustc with its sources.
    #[error(
        "compiling kernels to PTX needs a rustc of at least 1.{min} with its sources (rust-src), and there is none.\n\
         To install one, run:  {remedy}\n\
         Tried:\n{tried}",
        min = crate::toolchain::MIN_MINOR
    )]
    NoCompiler {
        /// The one command that installs it.
        remedy: &'static str,
        /// Each candidate, and why not, a line each.
        tried: String,
    },
    /// `IRONWARP_PTX` is neither `auto`, `check` nor `rebuild`.
    #[error("IRONWARP_PTX is \"{0}\"; it can be auto, check or rebuild")]
    Mode(String),
    /// An option of Rust-CUDA that rustc's own back end does not have.
    #[error("{0}")]
    Unsupported(&'static str),
    /// `check` found sources that are newer than the committed PTX.
    #[error("{} is not of these kernel sources; rebuild it with:  IRONWARP_PTX=rebuild cargo build", .lock.display())]
    LockStale {
        /// The lock file.
        lock: PathBuf,
    },
    /// `check` compiled something else than what is committed, with the recorded compiler.
    #[error(
        "{} differs from what rustc {rustc} makes of its sources, first at line {line}:\n  committed: {committed}\n  \
         compiled:  {compiled}\nRebuild it with:  IRONWARP_PTX=rebuild cargo build", .path.display()
    )]
    PtxDiffers {
        /// The committed file.
        path: PathBuf,
        /// The compiler, the same on both sides.
        rustc: String,
        /// The first line that differs, counted from 1.
        line: usize,
        /// That line in the committed file.
        committed: String,
        /// That line in the compiled PTX.
        compiled: String,
    },
    /// The compiler's output is not what the builder expects.
    #[error("the compiler's PTX for {arch} cannot be used: {why}")]
    Ptx {
        /// The target.
        arch: NvvmArch,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl CudaBuilderError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
