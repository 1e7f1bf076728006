//! Kernels.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(core_float_math))]

pub mod math;
