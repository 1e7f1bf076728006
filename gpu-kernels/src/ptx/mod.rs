//! PTX instructions that Rust-CUDA's `cuda_std` does not have, each wrapped once.

pub mod metrics;
pub mod reduce;
pub mod tile;
