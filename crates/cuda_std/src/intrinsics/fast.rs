//! The hardware's approximations, as CUDA's `__expf` and its kin: a few instructions, an error of a few ulp in the middle of
//! the range and more at its ends (CUDA C++ Programming Guide, "Intrinsic Functions"). On the GPU only.

use super::instructions;
use core::f32::consts::{LOG2_10, LOG2_E};

instructions! { reg32 <- reg32;
    fast_log2f(x: f32) -> f32 = "lg2.approx.f32";
    fast_sinf(x: f32) -> f32 = "sin.approx.f32";
    fast_cosf(x: f32) -> f32 = "cos.approx.f32";
    ex2(x: f32) -> f32 = "ex2.approx.f32";
}

instructions! { reg32 <- reg32 reg32;
    fast_fdividef(x: f32, y: f32) -> f32 = "div.approx.f32";
}

macro_rules! combined {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $value:expr;)*) => {$(
        #[doc = concat!("libdevice's `", stringify!($name), "`.")]
        #[inline(always)]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: pointers are valid by the caller's contract; the rest has no precondition.
            unsafe { $value }
        }
    )*};
}

combined! {
    fast_expf(x: f32) -> f32 = ex2(x * LOG2_E);
    fast_exp10f(x: f32) -> f32 = ex2(x * LOG2_10);
    fast_logf(x: f32) -> f32 = fast_log2f(x) * core::f32::consts::LN_2;
    fast_log10f(x: f32) -> f32 = fast_log2f(x) * core::f32::consts::LOG10_2;
    fast_powf(x: f32, y: f32) -> f32 = ex2(y * fast_log2f(x));
    fast_tanf(x: f32) -> f32 = fast_fdividef(fast_sinf(x), fast_cosf(x));
    fast_sincosf(x: f32, sptr: *mut f32, cptr: *mut f32) -> () = {
        *sptr = fast_sinf(x);
        *cptr = fast_cosf(x);
    };
}
