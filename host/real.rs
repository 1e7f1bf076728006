//! The two float types a CPU implementation is written for: `f32` (what runs) and `f64` (the test oracle).
//!
//! Every operation's CPU code is generic over [`Real`], so that the oracle and the fast path are the same lines. The
//! transcendental functions of `f32` are polynomials that inline into loops and vectorise; each states its error, found
//! by the exhaustive sweep in this file's tests. `f64` uses the standard library and `libm`.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

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

/// 2^n as an `f32`, for n in [-126, 127].
#[inline(always)]
fn pow2i(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// Splits `x` into `n ln 2 + r` with `|r| <= ln 2 / 2`, for |x| < 150.
#[inline(always)]
fn reduce_ln2(x: f32) -> (f32, f32) {
    const HI: f32 = 0.693_359_4; // 9 bits: n * HI is exact
    const LO: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer and vectorises everywhere.
    const MAGIC: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + MAGIC) - MAGIC;
    let r = n.mul_add(-HI, x);
    (n, n.mul_add(-LO, r))
}

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2: a minimax polynomial of degree 5.
#[inline(always)]
fn exp_tail(r: f32) -> f32 {
    let mut p = 1.984_127e-4_f32;
    p = p.mul_add(r, 1.388_889e-3);
    p = p.mul_add(r, 8.333_333e-3);
    p = p.mul_add(r, 4.166_666_7e-2);
    p = p.mul_add(r, 1.666_666_7e-1);
    p.mul_add(r, 0.5)
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
    /// Within 2 ulp; subnormal results keep their gradual underflow.
    #[inline(always)]
    fn exp(self) -> f32 {
        let x = if self > 89.0 { 89.0 } else if self < -104.0 { -104.0 } else { self };
        let (n, r) = reduce_ln2(x);
        let p = (exp_tail(r) * r).mul_add(r, r) + 1.0;
        // 2^n in two factors, so that results near the ends of the range neither overflow nor flush early.
        let n = n as i32;
        let half = n >> 1;
        p * pow2i(half) * pow2i(n - half)
    }
    /// Within 3 ulp.
    #[inline(always)]
    fn exp_m1(self) -> f32 {
        let x = if self > 89.0 { 89.0 } else if self < -20.0 { -20.0 } else { self };
        let (n, r) = reduce_ln2(x);
        let t = (exp_tail(r) * r).mul_add(r, r);
        let n = n as i32;
        let half = n >> 1;
        // e^x - 1 = 2^n (t + 1) - 1 = 2^n t + (2^n - 1); both factors of 2^n as in `exp`.
        let (a, b) = (pow2i(half), pow2i(n - half));
        let big = (t + 1.0) * a * b - 1.0;
        let scale = a * b;
        let small = t.mul_add(scale, scale - 1.0);
        if n > 30 { big } else { small }
    }
    /// Within 2 ulp.
    #[inline(always)]
    fn ln(self) -> f32 {
        // Subnormals are scaled into the normal range first.
        let tiny = self < f32::MIN_POSITIVE;
        let x = if tiny { self * 16_777_216.0 } else { self };
        let bits = x.to_bits();
        // The mantissa in [sqrt(1/2), sqrt(2)), the exponent beside it.
        let e = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
        let m = f32::from_bits(bits.wrapping_sub((e << 23) as u32));
        let e = e as f32 - if tiny { 24.0 } else { 0.0 };
        let y = ln_1p_core(m - 1.0, e);
        if self > 0.0 && self < f32::INFINITY {
            y
        } else if self == 0.0 {
            f32::NEG_INFINITY
        } else if self == f32::INFINITY {
            self
        } else {
            f32::NAN
        }
    }
    /// Within 3 ulp.
    #[inline(always)]
    fn ln_1p(self) -> f32 {
        let u = 1.0 + self;
        // ln(1+x) = ln(u) + (x - (u - 1)) / u: the second term restores what rounding u lost.
        let lost = if self > 1.0 { 1.0 - (u - self) } else { self - (u - 1.0) };
        let y = Real::ln(u) + lost / u;
        if Real::abs(self) < 1e-4 {
            self - 0.5 * self * self
        } else if u > 0.0 && u < f32::INFINITY {
            y
        } else {
            Real::ln(u)
        }
    }
    /// Within 4 ulp.
    #[inline(always)]
    fn tanh(self) -> f32 {
        let a = Real::abs(self);
        let a = if a > 10.0 { 10.0 } else { a };
        // tanh a = (e^2a - 1) / (e^2a + 1)
        let t = Real::exp_m1(2.0 * a);
        let y = t / (t + 2.0);
        if self.is_nan() { self } else { y.copysign(self) }
    }
    fn erf(self) -> f32 {
        libm::erff(self)
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

/// ln(1 + f) + e ln 2, for 1 + f in [sqrt(1/2), sqrt(2)): the series in s = f / (2 + f), as fdlibm arranges it.
#[inline(always)]
fn ln_1p_core(f: f32, e: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = 0.242_790_79_f32;
    p = p.mul_add(z, 0.284_987_87);
    p = p.mul_add(z, 0.400_009_72);
    p = p.mul_add(z, 0.666_666_6);
    let r = p * z;
    let half = 0.5 * f * f;
    e.mul_add(0.693_138_1, f - (half - (s * (half + r) + e * 9.058_001e-6)))
}
