//! The two float types a CPU implementation is written for: `f32` (what runs) and `f64` (the test oracle).
//!
//! Every operation's CPU code is generic over [`Real`], so that the oracle and the fast path are the same lines. The
//! transcendental functions of `f32` are the polynomials that the kernels use ([`gpu_kernels::math`], which states and
//! tests their errors in ulp): inside the loops of [`ops::cpu`](crate::ops) they inline and vectorise. `f64` uses the
//! standard library and `libm`.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use gpu_kernels::math;

/// A float type that operations compute in.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + bytemuck::Pod
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Negative infinity, the identity of `max`.
    const NEG_INFINITY: Self;
    /// Rounds `x` to this type.
    fn of(x: f64) -> Self;
    /// Widens to `f64`, exactly.
    fn f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1, accurate near 0.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), accurate near 0.
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// Magnitude.
    fn abs(self) -> Self;
    /// The larger; the other one when one is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller; the other one when one is NaN.
    fn min(self, other: Self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
    /// Cosine and sine of `2 pi self`, for `self` in [0, 1].
    fn sincos_2pi(self) -> (Self, Self);
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    fn of(x: f64) -> f64 {
        x
    }
    fn f64(self) -> f64 {
        self
    }
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    fn exp_m1(self) -> f64 {
        f64::exp_m1(self)
    }
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    fn ln_1p(self) -> f64 {
        f64::ln_1p(self)
    }
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    fn erf(self) -> f64 {
        libm::erf(self)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    fn max(self, other: f64) -> f64 {
        f64::max(self, other)
    }
    fn min(self, other: f64) -> f64 {
        f64::min(self, other)
    }
    fn mul_add(self, a: f64, b: f64) -> f64 {
        f64::mul_add(self, a, b)
    }
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    fn sincos_2pi(self) -> (f64, f64) {
        let (s, c) = (self * std::f64::consts::TAU).sin_cos();
        (c, s)
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        math::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> f32 {
        math::exp_m1(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        math::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> f32 {
        math::ln_1p(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        math::tanh(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        math::erf(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn max(self, other: f32) -> f32 {
        f32::max(self, other)
    }
    #[inline(always)]
    fn min(self, other: f32) -> f32 {
        f32::min(self, other)
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32) -> f32 {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
    #[inline(always)]
    fn sincos_2pi(self) -> (f32, f32) {
        let (s, c) = (self * std::f32::consts::TAU).sin_cos();
        (c, s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same generic lines in both types.
    fn values<T: Real>(x: T) -> [T; 8] {
        let (c, s) = Real::sincos_2pi(x);
        [x.exp(), x.exp_m1(), x.ln(), x.ln_1p(), x.tanh(), x.erf(), c, s]
    }

    #[test]
    fn f32_follows_f64() {
        // The bounds of `gpu_kernels::math`, for arguments in (0, 1]; sine and cosine against the absolute 2^-23.
        let bounds = [1.1, 1.6, 1.1, 1.6, 2.6, 1.6];
        for i in 1..=40_000u32 {
            let x = i as f32 / 40_000.0;
            let (got, want) = (values(x), values(f64::from(x)));
            for (k, (&got, want)) in got.iter().zip(want).enumerate() {
                let scale = bounds.get(k).map_or(8.0, |b| b * want.abs().max(1e-30));
                let error = (f64::from(got) - want).abs();
                assert!(error <= scale * f64::from(f32::EPSILON), "function {k} at {x}: {got} for {want}");
            }
        }
    }
}
