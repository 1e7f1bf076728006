//! The build API of Rust-CUDA for rustc's own NVPTX back end: compiles a kernel crate to PTX from a build script.
//!
//! ```no_run
//! # fn main() -> Result<(), cuda_builder::CudaBuilderError> {
//! use cuda_builder::{CudaBuilder, NvvmArch};
//! // As with Rust-CUDA: one architecture, one file.
//! CudaBuilder::new("kernels").arch(NvvmArch::SM_80).copy_to("resources/kernels.ptx").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The compiler is a rustc with its `rust-src`, found by itself ([`Toolchain::find`]); no CUDA, no LLVM and no linker take
//! part. The kernel crate is an ordinary library: the builder makes it a `cdylib` for `nvptx64-nvidia-cuda` with fat LTO,
//! takes the assembly text, and finishes it ([`ptx`]: launch bounds, shared arrays, names without hashes).
//!
//! # PTX under a lock
//!
//! PTX can be committed, so that only somebody who changes a kernel needs the compiler:
//!
//! ```no_run
//! # fn main() -> Result<(), cuda_builder::CudaBuilderError> {
//! use cuda_builder::{CudaBuilder, NvvmArch};
//! let built = CudaBuilder::new("gpu-kernels")
//!     .archs([NvvmArch::SM_80, NvvmArch::SM_90A])
//!     .lock("gpu-kernels/ptx")
//!     .build_all()?;
//! for ptx in built {
//!     println!("cargo:rustc-env=KERNELS_{}={}", ptx.arch.target().to_uppercase(), ptx.path.display());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `gpu-kernels/ptx` then holds `sm_80.ptx`, `sm_90a.ptx` and `lock.toml`. While the lock's hash is the hash of the
//! sources, the committed files are used and no compiler is asked for; otherwise they are rebuilt in place. The environment
//! variable `IRONWARP_PTX` asks for more: `rebuild` compiles whatever the lock says; `check` compiles, and fails if the
//! committed PTX differs and the compiler is the recorded one, or uses the fresh PTX if it is another compiler.
//! What the hash covers is said in [`lock`].

mod arch;
mod builder;
mod compile;
mod error;
mod inputs;
pub mod lock;
pub mod ptx;
mod toolchain;

pub use arch::NvvmArch;
pub use builder::{CudaBuilder, DebugInfo, EmitOption, Ptx};
pub use error::CudaBuilderError;
pub use toolchain::Toolchain;
