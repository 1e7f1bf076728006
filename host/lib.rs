//! Ironwarp: deep learning and neural architecture search on NVIDIA GPUs, in Rust from end to end.
//!
//! The kernels (crate `gpu_kernels`) are `no_std` Rust compiled to PTX; this crate owns memory, launches, graphs and
//! training. Everything runs on three devices: `cpu` (native), `sim` (the shipped PTX under a sanitizer) and `cuda:N`.

pub mod data;
pub mod device;
pub mod graph;
mod hash;
pub mod nn;
pub mod ops;
pub mod real;
pub mod report;
pub mod search;
pub mod train;

pub use device::Device;
#[doc(hidden)]
pub use {cuda_std, gpu_kernels};
