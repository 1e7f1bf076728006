//! `f32` mathematics for kernels: polynomials in fused multiply-adds that compile for the GPU and for the host alike.
//!
//! The PTX back end has no `libdevice`, so the transcendental functions are written out here. Each is a range reduction
//! and a polynomial (weighted least squares at Chebyshev nodes, coefficients rounded one after the other), made of
//! selects, never branches: a warp does not diverge, and on the host a loop over a slice vectorises. The host's CPU
//! operations call the same functions, so `cpu` and the kernels round alike.
//!
//! | function     | largest error | method                                                 |
//! |--------------|---------------|--------------------------------------------------------|
//! | [`exp`]      | 1.1 ulp       | x = n ln 2 + r, degree 6 in r                          |
//! | [`exp_m1`]   | 1.6 ulp       | the same, 2^n (p(r) + 1) - 1 in one fused multiply-add |
//! | [`ln`]       | 1.1 ulp       | x = 2^e (1 + f), degree 11 in f                        |
//! | [`ln_1p`]    | 1.6 ulp       | f from x directly, so that nothing cancels             |
//! | [`tanh`]     | 2.6 ulp       | t / (t + 2) with t = e^2x - 1                          |
//! | [`sigmoid`]  | 2.6 ulp       | e / (1 + e) with e = e^-abs(x)                         |
//! | [`softplus`] | 2.1 ulp       | max(x, 0) + ln(1 + e^-abs(x))                          |
//! | [`erf`]      | 1.6 ulp       | odd polynomial up to 1, 1 - e^-q(x) beyond             |
//!
//! The bounds are asserted by the sweeps in this file's tests. Everywhere: NaN gives NaN; infinities give the limits;
//! subnormal arguments and results are kept, not flushed; odd functions keep the sign of zero. The only instructions
//! beyond add, multiply and `fma.rn` are the exact `div.rn` and `sqrt.rn`.

use core::f32::consts::LOG2_E;

/// Adding 1.5 * 2^23 to a number below 2^22 rounds it to an integer, which then sits in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the high one has 9 bits, so that `n * LN2_HI` is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// `a * b + c`, rounded once.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(target_arch = "nvptx64")]
    {
        core::f32::math::mul_add(a, b, c)
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        a.mul_add(b, c)
    }
}

/// Square root, correctly rounded.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    #[cfg(target_arch = "nvptx64")]
    {
        core::f32::math::sqrt(x)
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        x.sqrt()
    }
}

/// 2^n, for n in [-126, 127]; some float, and no panic, for every other n.
#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// n and e^r - 1, where `x = n ln 2 + r` and `|r| <= ln 2 / 2`. For |x| <= 110 or NaN.
#[inline(always)]
fn exp_parts(x: f32) -> (i32, f32) {
    let shifted = fma(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma(n, -LN2_LO, fma(n, -LN2_HI, x));
    let mut p = 1.957_637_9e-4;
    p = fma(p, r, 1.393_577_2e-3);
    p = fma(p, r, 8.333_889e-3);
    p = fma(p, r, 4.166_645_6e-2);
    p = fma(p, r, 1.666_666_4e-1);
    p = fma(p, r, 0.5);
    (shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32, fma(p * r, r, r))
}

/// e^x.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Past these ends the result is infinity or zero; NaN passes both comparisons by.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, t) = exp_parts(x);
    // 2^n in two factors: near the ends of the range one would overflow or flush early.
    let half = n >> 1;
    (t + 1.0) * pow2(half) * pow2(n.wrapping_sub(half))
}

/// e^x - 1, accurate near 0 too.
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    let c = if x > 89.0 { 89.0 } else { x };
    let c = if c < -20.0 { -20.0 } else { c };
    let (n, t) = exp_parts(c);
    // 2^n t + (2^n - 1), halved and doubled so that n = 128 stays in range.
    let s = pow2(n.wrapping_sub(1));
    let y = 2.0 * fma(t, s, s - 0.5);
    // Halving would lose a subnormal's last bit, and the sum the sign of zero.
    if x.abs() < 1e-8 {
        x
    } else {
        y
    }
}

/// ln(1 + f) + e ln 2, for 1 + f in [sqrt(1/2), sqrt(2)).
#[inline(always)]
fn ln_parts(f: f32, e: f32) -> f32 {
    let mut p = 6.684_156e-2;
    p = fma(p, f, -0.116_551_46);
    p = fma(p, f, 0.119_054_13);
    p = fma(p, f, -0.124_097_47);
    p = fma(p, f, 0.142_175_63);
    p = fma(p, f, -0.166_677_27);
    p = fma(p, f, 0.200_022_26);
    p = fma(p, f, -0.250_000_15);
    p = fma(p, f, 0.333_333_1);
    p = fma(p, f, -0.5);
    let tail = fma(e, LN2_LO, p * f * f);
    fma(e, LN2_HI, f + tail)
}

/// The bits of sqrt(1/2): the mantissa's interval begins there.
const SQRT_HALF: u32 = 0x3f35_04f3;
const EXPONENT: u32 = 0xff80_0000;

/// Natural logarithm; NaN below zero, minus infinity at zero.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // Subnormals are brought into the normal range first.
    let tiny = x < f32::MIN_POSITIVE;
    let bits = (if tiny { x * 8_388_608.0 } else { x }).to_bits();
    let shift = bits.wrapping_sub(SQRT_HALF) & EXPONENT;
    let f = f32::from_bits(bits.wrapping_sub(shift)) - 1.0;
    let e = (shift as i32 >> 23) as f32 - if tiny { 23.0 } else { 0.0 };
    ln_ends(x, ln_parts(f, e))
}

/// ln(1 + x), accurate near 0 too; NaN below -1, minus infinity at -1.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    // 1 + x = 2^e (1 + f) with e from the rounded sum, but f from x itself: f = 2^-e x + (2^-e - 1).
    let shift = u.to_bits().wrapping_sub(SQRT_HALF) & EXPONENT;
    let scaled = f32::from_bits(x.to_bits().wrapping_sub(shift));
    // 4 * 2^-e, because 2^-128 is no normal number.
    let s4 = f32::from_bits(4f32.to_bits().wrapping_sub(shift));
    let f = scaled + fma(0.25, s4, -1.0);
    let y = ln_ends(u, ln_parts(f, (shift as i32 >> 23) as f32));
    // 2^-e would take a subnormal x apart, and the sum lose the sign of zero.
    if x.abs() < 1e-8 {
        x
    } else {
        y
    }
}

/// The logarithm of `x` where it is no finite positive number, else `y`.
#[inline(always)]
fn ln_ends(x: f32, y: f32) -> f32 {
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 {
        y
    } else {
        f32::NAN
    }
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > 10.0 { 10.0 } else { a };
    let t = exp_m1(2.0 * a);
    let y = (t / (t + 2.0)).copysign(x);
    // Doubling and dividing could round a subnormal twice.
    if a < 1e-4 {
        x
    } else {
        y
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// ln(1 + e^x).
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    // `x < 0` is false for NaN, which then comes through the sum.
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p(exp(-x.abs()))
}

/// The error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    // Near 0: x + x p(x^2).
    let z = x * x;
    let mut p = 7.842_288e-5;
    p = fma(p, z, -8.006_793e-4);
    p = fma(p, z, 5.187_962_7e-3);
    p = fma(p, z, -2.685_364_3e-2);
    p = fma(p, z, 0.112_835_824);
    p = fma(p, z, -0.376_126_26);
    p = fma(p, z, 0.128_379_17);
    let near = fma(x, p, x);
    // Far: 1 - e^-q(a), with q = -ln erfc; from 3.93 on that is 1 in this precision.
    let b = if a > 3.93 { 3.93 } else { a };
    let mut q = 2.178_531e-5;
    q = fma(q, b, -4.425_4e-4);
    q = fma(q, b, 4.210_741_7e-3);
    q = fma(q, b, -2.522_554_3e-2);
    q = fma(q, b, 0.108_447_04);
    q = fma(q, b, 0.633_192_3);
    q = fma(q, b, 1.129_593);
    q = fma(q, b, -1.912_878_4e-4);
    let far = (1.0 - exp(-q)).copysign(x);
    if a > 1.0 {
        far
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance from `got` to `want` in units of `got`'s precision at `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got.to_bits() == rounded.to_bits() || (got.is_nan() && want.is_nan()) {
            return 0.0;
        }
        if got.is_nan() || want.is_nan() || got.is_infinite() && rounded.is_infinite() {
            return f64::INFINITY;
        }
        // Infinity is one step after the largest number.
        let clamp = |x: f64| x.clamp(-(2f64.powi(128)), 2f64.powi(128));
        let exponent = (want.abs().max(2f64.powi(-126)).log2().floor() as i32).min(127);
        (clamp(f64::from(got)) - clamp(want)).abs() / 2f64.powi(exponent - 23)
    }

    /// The largest error over every `step`-th bit pattern, and that argument.
    fn sweep(step: usize, f: impl Fn(f32) -> f32, oracle: impl Fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let error = ulps(f(x), oracle(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    fn softplus_64(x: f64) -> f64 {
        x.max(if x.is_nan() { x } else { 0.0 }) + (-x.abs()).exp().ln_1p()
    }

    type Function = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);

    /// Name, function, oracle, and the bound in ulp that the table above states.
    const FUNCTIONS: [Function; 8] = [
        ("exp", exp, f64::exp, 1.1),
        ("exp_m1", exp_m1, f64::exp_m1, 1.6),
        ("ln", ln, f64::ln, 1.1),
        ("ln_1p", ln_1p, f64::ln_1p, 1.6),
        ("tanh", tanh, f64::tanh, 2.6),
        ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.6),
        ("softplus", softplus, softplus_64, 2.1),
        ("erf", erf, libm::erf, 1.6),
    ];

    #[test]
    fn errors_stay_within_the_stated_bounds() {
        // IRONWARP_SWEEP=1 tries every float there is (a quarter of an hour).
        let step = std::env::var("IRONWARP_SWEEP").ok().and_then(|s| s.parse().ok());
        let step = step.unwrap_or(if cfg!(debug_assertions) { 9973 } else { 499 });
        let errors: Vec<_> =
            FUNCTIONS.iter().map(|&(name, f, oracle, bound)| (name, sweep(step, f, oracle), bound)).collect();
        for (name, (error, at), bound) in &errors {
            println!("{name}: {error:.3} ulp at {at:e}, bound {bound}");
        }
        for (name, (error, at), bound) in errors {
            assert!(error <= bound, "{name}({at:e}): {error} ulp, {bound} stated");
        }
    }

    #[test]
    fn special_values_give_the_limits() {
        let inf = f32::INFINITY;
        for (name, f, oracle, bound) in FUNCTIONS {
            assert!(f(f32::NAN).is_nan(), "{name}(NaN)");
            for x in [
                0.0,
                -0.0,
                1.0,
                -1.0,
                inf,
                -inf,
                f32::MAX,
                f32::MIN,
                f32::MIN_POSITIVE,
                -f32::MIN_POSITIVE,
                1e-45,
                -1e-45,
                88.72283,
                88.72284,
                -87.3,
                -103.9,
                -104.1,
                0.70710677,
                1.41,
                3.93,
                -3.93,
                10.0,
            ] {
                let (got, want) = (f(x), oracle(f64::from(x)));
                assert!(ulps(got, want) <= bound, "{name}({x:e}) = {got:e}, not {want:e}");
            }
        }
        for f in [exp_m1, ln_1p, tanh, erf] {
            assert!(f(-0.0).is_sign_negative() && f(0.0).is_sign_positive());
        }
        assert_eq!((sigmoid(-inf), sigmoid(inf), softplus(-inf), softplus(inf)), (0.0, 1.0, 0.0, inf));
        assert_eq!(
            (fma(3.0, 5.0, 7.0), sqrt(2.0), sqrt(-0.0).to_bits()),
            (22.0, 2f32.sqrt(), (-0f32).to_bits())
        );
    }
}
