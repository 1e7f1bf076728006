//! [`FloatExt`]: libdevice's float functions that `std` does not have.

use crate::intrinsics as raw;

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! float_ext {
    ($($(#[$doc:meta])* $name:ident = $raw:ident, $raw_f32:ident;)*) => {
        /// Functions of libdevice that `std` does not have, for `f32` and `f64`, on the GPU and on the host.
        ///
        /// Errors: see [`intrinsics`](crate::intrinsics).
        pub trait FloatExt: Sized + private::Sealed {
            $($(#[$doc])* fn $name(self) -> Self;)*
            /// A fraction in [0.5, 1) (or 0) and an exponent: `self = fraction * 2^exponent`.
            fn frexp(self) -> (Self, i32);
            /// The exponent of `self` in base 2, without bias.
            fn unbiased_exp(self) -> i32;
            /// The Bessel function of the first kind of this order.
            fn jn(self, order: i32) -> Self;
            /// The Bessel function of the second kind of this order.
            fn yn(self, order: i32) -> Self;
            /// `self * 2^exp`.
            fn ldexp(self, exp: i32) -> Self;
            /// `self * 2^exp`.
            fn scale_by_n(self, exp: i32) -> Self;
            /// `self` within [0, 1]; NaN gives 0 for `f32`, as the hardware does, and NaN for `f64`.
            fn saturate(self) -> Self;
            /// The sine and the cosine of `self * pi`.
            fn sincospi(self) -> (Self, Self);
        }

        // SAFETY (both): the functions of `raw` have no precondition but valid pointers, and these get none.
        impl FloatExt for f64 {
            $(#[inline] fn $name(self) -> Self {
                // SAFETY: no precondition.
                unsafe { raw::$raw(self) }
            })*
            float_ext!(@common frexp, ilogb, jn, yn, ldexp, scalbn, sinpi, cospi);
            #[inline]
            fn saturate(self) -> Self {
                self.clamp(0.0, 1.0)
            }
        }

        impl FloatExt for f32 {
            $(#[inline] fn $name(self) -> Self {
                // SAFETY: no precondition.
                unsafe { raw::$raw_f32(self) }
            })*
            float_ext!(@common frexpf, ilogbf, jnf, ynf, ldexpf, scalbnf, sinpif, cospif);
            #[inline]
            fn saturate(self) -> Self {
                // SAFETY: no precondition.
                unsafe { raw::saturatef(self) }
            }
        }
    };
    (@common $frexp:ident, $ilogb:ident, $jn:ident, $yn:ident, $ldexp:ident, $scalbn:ident, $sinpi:ident, $cospi:ident) => {
        #[inline]
        fn frexp(self) -> (Self, i32) {
            let mut exponent = 0;
            // SAFETY: the pointer is valid.
            let fraction = unsafe { raw::$frexp(self, &mut exponent) };
            (fraction, exponent)
        }
        #[inline]
        fn unbiased_exp(self) -> i32 {
            // SAFETY: no precondition.
            unsafe { raw::$ilogb(self) }
        }
        #[inline]
        fn jn(self, order: i32) -> Self {
            // SAFETY: no precondition.
            unsafe { raw::$jn(order, self) }
        }
        #[inline]
        fn yn(self, order: i32) -> Self {
            // SAFETY: no precondition.
            unsafe { raw::$yn(order, self) }
        }
        #[inline]
        fn ldexp(self, exp: i32) -> Self {
            // SAFETY: no precondition.
            unsafe { raw::$ldexp(self, exp) }
        }
        #[inline]
        fn scale_by_n(self, exp: i32) -> Self {
            // SAFETY: no precondition.
            unsafe { raw::$scalbn(self, exp) }
        }
        #[inline]
        fn sincospi(self) -> (Self, Self) {
            // SAFETY: no precondition.
            unsafe { (raw::$sinpi(self), raw::$cospi(self)) }
        }
    };
}

float_ext! {
    /// The cosine of `self * pi`.
    cospi = cospi, cospif;
    /// The sine of `self * pi`.
    sinpi = sinpi, sinpif;
    /// erf, `2/sqrt(pi)` times the integral of `e^(-t^2)` from 0 to `self`.
    error_function = erf, erff;
    /// erfc, `1 - erf`, accurate where erf is near 1.
    complementary_error_function = erfc, erfcf;
    /// The `x` with `erfc(x) = self`, for `self` in [0, 2].
    inv_complementary_error_function = erfcinv, erfcinvf;
    /// `e^(self^2) * erfc(self)`.
    scaled_complementary_error_function = erfcx, erfcxf;
    /// The Bessel function of the first kind of order 0.
    j0 = j0, j0f;
    /// The Bessel function of the first kind of order 1.
    j1 = j1, j1f;
    /// The Bessel function of the second kind of order 0.
    y0 = y0, y0f;
    /// The Bessel function of the second kind of order 1.
    y1 = y1, y1f;
    /// The logarithm of the absolute value of the gamma function.
    log_gamma = lgamma, lgammaf;
    /// The gamma function.
    gamma = tgamma, tgammaf;
    /// `ln(1 + self)`.
    log1p = log1p, log1pf;
    /// The distribution function of the standard normal distribution.
    norm_cdf = normcdf, normcdff;
    /// The inverse of [`norm_cdf`](Self::norm_cdf), for `self` in [0, 1].
    inv_norm_cdf = normcdfinv, normcdfinvf;
    /// The reciprocal of the cube root.
    rcbrt = rcbrt, rcbrtf;
}
