//! PTX instructions that Rust-CUDA's `cuda_std` does not have, each wrapped once in a small function.
//!
//! * [`warp`]: shuffles, votes and reductions across the lanes of a warp;
//! * [`math`]: approximate and fused f32 arithmetic, integer helpers;
//! * [`memory`]: loads and stores with an explicit state space and width;
//! * [`convert`]: f16, bf16 and tf32;
//! * [`cp_async`]: copies from global to shared memory that complete later;
//! * [`ldmatrix`], [`mma`]: fragments of matrices, and their products on tensor cores;
//! * [`mbarrier`], [`tma`], [`cluster`]: Hopper's barriers, tensor copies and clusters of blocks (sm_90);
//! * [`wgmma`]: products by a warpgroup (sm_90a).
//!
//! On the host every function exists and panics when called, naming itself; so the kernel crate compiles there. What is
//! a compiler intrinsic in LLVM (shuffles, votes) is called as one, not through `asm!`: LLVM then knows that all lanes
//! take part and leaves it in uniform control flow.

pub mod cluster;
pub mod convert;
pub mod cp_async;
pub mod ldmatrix;
pub mod math;
pub mod mbarrier;
pub mod memory;
pub mod mma;
pub mod tma;
pub mod warp;
pub mod wgmma;

pub use cluster::*;
pub use convert::*;
pub use cp_async::*;
pub use ldmatrix::*;
pub use math::*;
pub use mbarrier::*;
pub use memory::*;
pub use mma::*;
pub use tma::*;
pub use warp::*;
pub use wgmma::*;
