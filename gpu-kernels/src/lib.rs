//! Ironwarp's kernels: `no_std` Rust compiled to PTX, one file for each operation family.
//!
//! The crate is also a dependency of the host program, which takes from it the signature of each kernel and its constants
//! (block sizes, tile sizes, shared-memory bytes), so that no number is written twice.
#![cfg_attr(target_arch = "nvptx64", no_std, feature(abi_ptx, asm_experimental_arch, link_llvm_intrinsics))]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]

pub mod ptx;
pub mod saxpy;
