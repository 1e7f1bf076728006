//! The functions of CUDA's libdevice, under libdevice's names and signatures (`fabsf`, `fma_rn`, `double2int_rz`, ...).
//!
//! libdevice is part of NVIDIA's compiler, so these are other functions with the same contracts:
//!
//! * [`math`]: the C mathematics library, from the crate `libm` and, where that has none, [`special`]; they work on the
//!   host too;
//! * [`special`]: inverse error functions, normal distribution, multiples of pi;
//! * [`integer`]: bits and integers; on the host too;
//! * [`convert`] and [`rounding`]: single instructions with an explicit rounding mode; on the GPU only;
//! * [`fast`]: the hardware's approximations; on the GPU only.
//!
//! All are `unsafe` because they are so in Rust-CUDA, where they are foreign functions. Only those with a pointer
//! parameter have a precondition: the pointer is valid for a write. Kernels rather use
//! [`GpuFloat`](crate::GpuFloat) and [`FloatExt`](crate::FloatExt), which are safe.
#![allow(clippy::missing_safety_doc)] // see above: once for all

pub mod convert;
pub mod fast;
pub mod integer;
pub mod math;
pub mod rounding;
pub mod special;

pub use convert::*;
pub use fast::*;
pub use integer::*;
pub use math::*;
pub use rounding::*;

/// Functions that are one instruction: `CLASS <- CLASSES; name(args) -> type = "instruction";`.
macro_rules! instructions {
    ($out:ident <- $a:ident; $($name:ident($x:ident: $tx:ty) -> $ty:ty = $text:literal;)*) => {$(
        instructions!(@ $name [$x: $tx] $ty, concat!($text, " {}, {};"), $out, in($a) $x);
    )*};
    ($out:ident <- $a:ident $b:ident; $($name:ident($x:ident: $tx:ty, $y:ident: $ty2:ty) -> $ty:ty = $text:literal;)*) => {$(
        instructions!(@ $name [$x: $tx, $y: $ty2] $ty, concat!($text, " {}, {}, {};"), $out, in($a) $x, in($b) $y);
    )*};
    (
        $out:ident <- $a:ident $b:ident $c:ident;
        $($name:ident($x:ident: $tx:ty, $y:ident: $ty2:ty, $z:ident: $tz:ty) -> $ty:ty = $text:literal;)*
    ) => {$(
        instructions!(@ $name [$x: $tx, $y: $ty2, $z: $tz] $ty, concat!($text, " {}, {}, {}, {};"), $out,
            in($a) $x, in($b) $y, in($c) $z);
    )*};
    (@ $name:ident [$($arg:ident: $at:ty),*] $ty:ty, $text:expr, $out:ident, $($operands:tt)*) => {
        #[doc = concat!("libdevice's `", stringify!($name), "`.")]
        #[inline(always)]
        #[$crate::gpu_only]
        pub unsafe fn $name($($arg: $at),*) -> $ty {
            let out: $ty;
            // SAFETY: arithmetic on registers has no precondition.
            unsafe {
                core::arch::asm!($text, out($out) out, $($operands)*, options(pure, nomem, nostack, preserves_flags))
            };
            out
        }
    };
}
use instructions;
