//! One kernel for each module of the device API, so that a test can see that all of it assembles.
#![cfg_attr(target_arch = "nvptx64", no_std, feature(abi_ptx, asm_experimental_arch))]
#![allow(unsafe_op_in_unsafe_fn, clippy::missing_safety_doc)]

#[cfg(feature = "all")]
mod all;

use cuda_std::assert_eq;
use cuda_std::prelude::*;

#[kernel]
pub unsafe fn probe_checks(n: usize, x: *mut [f32; 8]) {
    assert!(n != 5, "n is five");
    (*x)[n] = (n as u8 + 250) as f32;
}

#[kernel]
pub unsafe fn probe_assert(n: u32) {
    assert_eq!(n, 7u32, "n is {n}");
}
