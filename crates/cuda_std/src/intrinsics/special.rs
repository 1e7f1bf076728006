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

/// e^(x^2) erfc(x), without overflow or underflow for x >= 0; at most 4 ulp.
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
    let series =
        1.0 - h * (1.0 - 3.0 * h * (1.0 - 5.0 * h * (1.0 - 7.0 * h * (1.0 - 9.0 * h * (1.0 - 11.0 * h)))));
    FRAC_1_SQRT_PI / x * series
}

/// The distribution function of the standard normal distribution, erfc(-x / sqrt 2) / 2; at most 4 ulp.
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

/// The inverse of [`normcdf`]; NaN outside of [0, 1]. At most 4 ulp where it is not near 0.
#[inline]
pub fn normcdfinv(p: f64) -> f64 {
    -SQRT_2 * erfcinv(2.0 * p)
}

/// The inverse of erf; NaN outside of [-1, 1]. At most 4 ulp.
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

/// The inverse of erfc; NaN outside of [0, 2]. At most 4 ulp where it is not near 0.
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

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static str, fn(f64) -> f64, &'static [(f64, f64)]);

    /// Arguments and values, the latter computed with 40 digits by mpmath.
    #[rustfmt::skip]
    #[allow(clippy::excessive_precision, clippy::approx_constant)]
    const GOLDEN: &[Case] = &[
        ("sinpi", sinpi, &[
            (-999999999999999.5, 1.0),
            (-7.3, 0.8090169943749471),
            (-0.25, -0.70710678118654752),
            (1e-300, 3.1415926535897933e-300),
            (0.3, 0.8090169943749474),
            (0.49999999, 0.99999999999999951),
            (0.75, 0.70710678118654752),
            (1.0001, -0.00031415926019123197),
            (123.4375, -0.98078528040323045),
        ]),
        ("cospi", cospi, &[
            (-7.3, -0.58778525229247358),
            (-0.25, 0.70710678118654752),
            (1e-300, 1.0),
            (0.3, 0.58778525229247316),
            (0.49999999, 3.1415926519361971e-8),
            (0.75, -0.70710678118654752),
            (1.0001, -0.9999999506519784),
            (123.4375, -0.19509032201612827),
            (1000000000000000.1, 0.92387953251128676),
        ]),
        ("erfcx", erfcx, &[
            (-26.0, 7.6577249314905684e+293),
            (-5.3, 3164914574749.3398),
            (-0.1, 1.1236433541992095),
            (0.0, 1.0),
            (1e-10, 0.99999999988716208),
            (0.7, 0.52593033734944096),
            (1.9, 0.26650937366167266),
            (3.3, 0.16400729757293263),
            (10.1, 0.055590487009239876),
            (24.9, 0.022639987776049506),
            (25.1, 0.022459875817581388),
            (100000.0, 5.6418958351954681e-6),
            (1e+300, 5.6418958354775626e-301),
        ]),
        ("normcdf", normcdf, &[
            (-37.1, 1.4047119663106221e-301),
            (-20.3, 6.4292444676983463e-92),
            (-8.2, 1.2019351542735858e-16),
            (-3.1, 0.0009676032132183566),
            (-1.7, 0.044565462758543044),
            (-0.4, 0.34457825838967583),
            (0.0, 0.5),
            (0.9, 0.81593987465324052),
            (5.0, 0.99999971334842812),
        ]),
        ("erfinv", erfinv, &[
            (-0.9999, -2.7510639057120797),
            (-0.6, -0.59511608144999482),
            (-0.3, -0.27246271472675435),
            (-1e-07, -8.8622692545276029e-8),
            (1e-300, 8.8622692545275804e-301),
            (2e-05, 1.7724538510911271e-5),
            (0.1, 0.088855990494257692),
            (0.499, 0.47582428088309235),
            (0.5001, 0.47704754059097569),
            (0.8, 0.90619380243682331),
            (0.999999, 3.4589107372754988),
        ]),
        ("erfcinv", erfcinv, &[
            (1e-300, 26.209469960516124),
            (1e-100, 15.065574702592646),
            (1e-20, 6.6015806223551426),
            (1e-05, 3.123413274340875),
            (0.01, 1.8213863677184497),
            (0.3, 0.73286907795921687),
            (0.51, 0.46586860023505734),
            (0.8, 0.17914345462129164),
            (1.3, -0.2724627147267544),
            (1.9, -1.1630871536766738),
        ]),
        ("normcdfinv", normcdfinv, &[
            (1e-300, -37.047096299361199),
            (1e-10, -6.3613409024040562),
            (0.001, -3.0902323061678135),
            (0.1, -1.2815515655446004),
            (0.3, -0.52440051270804082),
            (0.45, -0.12566134685507401),
            (0.7, 0.52440051270804066),
            (0.99, 2.3263478740408408),
        ]),
    ];

    fn ulps(got: f64, want: f64) -> f64 {
        if got.to_bits() == want.to_bits() {
            return 0.0;
        }
        let unit = libm::ldexp(1.0, libm::ilogb(want).max(-1022) - 52);
        libm::fabs(got - want) / unit
    }

    #[test]
    fn values_are_within_the_stated_error() {
        for (name, f, cases) in GOLDEN {
            let bound = if name.ends_with("pi") { 2.0 } else { 4.0 };
            for &(x, want) in *cases {
                let error = ulps(f(x), want);
                println!("{name}({x:e}): {error} ulp");
                assert!(error <= bound, "{name}({x:e}) = {:e}, not {want:e}: {error} ulp", f(x));
            }
        }
    }

    #[test]
    fn ends_give_the_limits() {
        let inf = f64::INFINITY;
        assert_eq!((erfcinv(0.0), erfcinv(2.0), erfcinv(1.0)), (inf, -inf, 0.0));
        assert_eq!((erfinv(1.0), erfinv(-1.0), erfinv(0.0)), (inf, -inf, 0.0));
        assert_eq!((normcdf(-inf), normcdf(inf), normcdfinv(0.0), normcdfinv(1.0)), (0.0, 1.0, -inf, inf));
        assert_eq!((erfcx(inf), erfcx(-30.0)), (0.0, inf));
        assert_eq!((sinpi(5.0), cospi(5.0), cospi(2.5)), (0.0, -1.0, 0.0));
        assert_eq!((logb(0.0), logb(-inf), logb(10.0), logb_f32(0.25)), (-inf, inf, 3.0, -2.0));
        for f in [sinpi, cospi, erfcx, normcdf, erfinv, erfcinv, normcdfinv, logb] {
            assert!(f(f64::NAN).is_nan());
        }
        assert!(
            erfinv(1.1).is_nan() && erfcinv(-0.1).is_nan() && normcdfinv(1.1).is_nan() && sinpi(inf).is_nan()
        );
    }
}
