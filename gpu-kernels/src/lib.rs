//! Ironwarp's kernels.
#![cfg_attr(
    target_arch = "nvptx64",
    no_std,
    feature(abi_ptx, asm_experimental_arch, core_float_math, link_llvm_intrinsics)
)]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]

pub mod activation;
pub mod elementwise;
pub mod math;
pub mod saxpy;
pub mod vector;
