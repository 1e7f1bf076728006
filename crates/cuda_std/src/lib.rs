//! The device API of Rust-CUDA for rustc's own NVPTX back end.
//!
//! Kernels written for Rust-CUDA's `cuda_std` 0.2 compile against this crate unchanged: same modules, same names, same
//! signatures. Rust-CUDA needs a compiler from 2021, LLVM 7 and libNVVM; this crate needs a rustc with its `rust-src`
//! and nothing else. `cuda_builder` drives that compiler.
//!
//! # A kernel crate
//!
//! ```
//! #![cfg_attr(target_arch = "nvptx64", no_std, feature(abi_ptx, asm_experimental_arch))]
//! # #![allow(unsafe_op_in_unsafe_fn)]
//! use cuda_std::prelude::*;
//!
//! /// `y[i] += a * x[i]` for `i < n`.
//! #[kernel]
//! pub unsafe fn saxpy(n: u32, a: f32, x: *const f32, y: *mut f32) {
//!     let i = thread::index_1d();
//!     if i < n {
//!         *y.add(i as usize) += a * *x.add(i as usize);
//!     }
//! }
//! ```
//!
//! The same crate compiles for the host, where device functions panic when called ("runs only on the GPU") and where
//! each kernel has a type of its own name that carries its signature ([`KernelSignature`]).
//!
//! # What differs from Rust-CUDA
//!
//! * No libdevice: float maths is in [`GpuFloat`] and [`FloatExt`], whose docs state the error of every function.
//! * `a * b + c` contracts to a fused multiply-add, as in CUDA C++ and in Rust-CUDA's default. It does so in the back
//!   end (`-nvptx-fma-level=1`; `CudaBuilder::fma_contraction(false)` turns it off), so it never changes what the host
//!   computes. Where one rounding is the point, write `a.mul_add(b, c)`: it is `fma.rn` under every setting.
//! * The prelude's `Box`, `Vec`, `String`... need the feature `alloc`, for a device heap is rarely what a kernel wants.
//! * [`println!`](crate::println) formats into a buffer of 512 bytes instead of the heap; longer text is cut.
//! * In debug builds (`CudaBuilder::release(false)`) a failed assertion, bounds check or overflow check calls
//!   `__assertfail` with its message, file, line and kernel, and the host sees the error; see [`io`].
//! * [`launch_bounds`] is new.
#![cfg_attr(
    target_arch = "nvptx64",
    no_std,
    feature(stdarch_nvptx, asm_experimental_arch, link_llvm_intrinsics, core_float_math, core_intrinsics)
)]
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]

extern crate self as cuda_std;

#[cfg(any(feature = "alloc", not(target_arch = "nvptx64")))]
extern crate alloc;

pub mod atomic;
pub mod cfg;
pub mod float;
mod float_ext;
pub mod intrinsics;
pub mod io;
mod kernel;
pub mod mem;
pub mod misc;
pub mod ptr;
pub mod shared;
pub mod thread;
pub mod warp;

pub use cuda_std_macros::*;
pub use float::GpuFloat;
pub use float_ext::FloatExt;
pub use half;
pub use half::{bf16, f16};
pub use kernel::KernelSignature;
pub use vek;

/// What a kernel needs: `use cuda_std::prelude::*;`.
pub mod prelude {
    pub use crate::f16;
    pub use crate::kernel;
    pub use crate::thread;
    // On the host std's own are there already.
    #[cfg(target_arch = "nvptx64")]
    pub use crate::{print, println};
    #[cfg(any(feature = "alloc", not(target_arch = "nvptx64")))]
    pub use alloc::{
        borrow::ToOwned,
        boxed::Box,
        format,
        rc::Rc,
        string::{String, ToString},
        vec::Vec,
    };
}
