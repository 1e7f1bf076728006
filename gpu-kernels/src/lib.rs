//! Ironwarp's kernels: `no_std` Rust, compiled to PTX.
//!
//! One file an operation family; the host crate's `ops` launches them. The crate also compiles for the host, which takes
//! from it the signature of each kernel, its constants, and the mathematics that both sides share.
#![cfg_attr(
    target_arch = "nvptx64",
    no_std,
    feature(abi_ptx, asm_experimental_arch, core_float_math, link_llvm_intrinsics, stdarch_nvptx)
)]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]

pub mod activation;
pub mod collective;
pub mod elementwise;
pub mod gemm;
pub mod grouped;
pub mod layout;
pub mod loss;
pub mod math;
pub mod metrics;
pub mod optim;
pub mod philox;
pub mod population;
pub mod ptx;
pub mod random;
pub mod reduce;
pub mod saxpy;
pub mod scaler;
pub mod score;
pub mod softmax;
pub mod vector;
