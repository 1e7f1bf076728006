//! The NVIDIA driver: contexts, memory, modules, launches, events and graphs.
//!
//! Everything rests on the registry's `cust` and on the driver library, which is loaded when the program
//! first asks for it (`loader.rs`): a program with CUDA built in starts, and runs its other devices, on a
//! machine that has neither a GPU nor a driver.
//!
//! # Building
//! CUDA is in a build when the cfg `ironwarp_cuda` is set, which this repository's `.cargo/config.toml` does,
//! or when the feature `cuda` is on. `cust`'s build script wants a CUDA toolkit; the same configuration
//! points it at `stub/`, whose `libcuda.so` is an empty linker script, and `trampolines.rs` defines the
//! symbols. So a checkout builds without a toolkit. A project of one's own that depends on this library
//! builds without CUDA until told otherwise:
//!
//! ```text
//! cargo build --config <path to ironwarp>/.cargo/config.toml
//! ```
//!
//! An environment variable `RUSTFLAGS` takes the place of the configured flags: add `--cfg ironwarp_cuda` to
//! it.
//!
//! # Running
//! The library is `libcuda.so.1`, found as the dynamic loader finds libraries. The environment variable
//! `IRONWARP_LIBCUDA` names another: a path, or a file name to search for.
//!
//! # What holds
//! * One `CudaContext` per process and device, shared by its clones, with one stream. Whatever is enqueued
//!   runs in the order it was enqueued in.
//! * Device memory is addressed by plain numbers; each range is checked against the live allocations before
//!   the driver sees it. What a kernel does with an address it is given is the one thing not checked here:
//!   `CudaContext::launch` is `unsafe` for that reason.
//! * A kernel that faults loses the context. Every later call says so, with the kernels that ran last
//!   ([`CudaError::Fault`]); the process goes on, and once everything made from the context is dropped the
//!   device can be opened again.

pub mod error;

#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod alloc;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod context;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
pub mod cublaslt;
#[cfg(all(test, any(feature = "cuda", ironwarp_cuda)))]
mod fake;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod graph;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod info;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod loader;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod memory;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod module;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod pinned;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod staging;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod sys;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod tensor_map;
#[cfg(all(test, any(feature = "cuda", ironwarp_cuda)))]
mod tests;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod trampolines;

#[cfg(any(feature = "cuda", ironwarp_cuda))]
pub use self::{
    alloc::AllocatorStats,
    context::{CudaContext, Event},
    graph::CudaGraph,
    info::CudaDeviceInfo,
    module::{CudaModule, KernelArg, KernelInfo},
    pinned::PinnedBuffer,
};
pub use error::{CudaError, DriverCode};

/// Whether CUDA is in this build. Whether it is on this machine, [`device_count`] says.
pub const fn compiled() -> bool {
    cfg!(any(feature = "cuda", ironwarp_cuda))
}

/// The number of GPUs the driver sees, at least one.
///
/// # Errors
/// [`CudaError::NotCompiled`], [`CudaError::NoDriver`], [`CudaError::NoGpu`] or
/// [`CudaError::DriverUnusable`]: there is no CUDA here, and why ([`CudaError::is_unavailable`]).
pub fn device_count() -> Result<usize, CudaError> {
    #[cfg(any(feature = "cuda", ironwarp_cuda))]
    return info::device_count();
    #[cfg(not(any(feature = "cuda", ironwarp_cuda)))]
    return Err(CudaError::NotCompiled);
}
