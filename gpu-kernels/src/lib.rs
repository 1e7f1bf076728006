//! Ironwarp's kernels.
#![cfg_attr(
    target_arch = "nvptx64",
    no_std,
    feature(abi_ptx, asm_experimental_arch, core_float_math, link_llvm_intrinsics)
)]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]

pub mod activation;
pub mod collective;
pub mod elementwise;
pub mod loss;
pub mod math;
pub mod metrics;
pub mod optim;
pub mod philox;
pub mod ptx;
mod quad;
pub mod random;
pub mod reduce;
pub mod softmax;
pub mod vector;
