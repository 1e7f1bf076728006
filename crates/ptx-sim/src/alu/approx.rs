//! Approximate functions. PTX documents error bounds, not bits; each value here is the f64 function rounded to f32,
//! inside every documented bound (`ex2` 2 ulp, `lg2` 2^-22, `sin`/`cos` 2^-20.9 in [-pi, pi], `tanh` 2^-11, `rsqrt`
//! 2^-22.9, `rcp`/`sqrt` 1 ulp, `div` 2 ulp). Real hardware differs in the last bits, so tests need those tolerances.

/// The function a mnemonic with `.approx` stands for.
#[inline(always)]
pub(super) fn ex2(x: f32) -> f32 {
    (x as f64).exp2() as f32
}

#[inline(always)]
pub(super) fn lg2(x: f32) -> f32 {
    (x as f64).log2() as f32
}

#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    (x as f64).tanh() as f32
}

#[inline(always)]
pub(super) fn sin(x: f32) -> f32 {
    (x as f64).sin() as f32
}

#[inline(always)]
pub(super) fn cos(x: f32) -> f32 {
    (x as f64).cos() as f32
}

#[inline(always)]
pub(super) fn rsqrt(x: f32) -> f32 {
    (1.0 / (x as f64).sqrt()) as f32
}

/// `div.approx.f32` is a product with the reciprocal, which is zero for the largest divisors: 2^126 < |b| < 2^128 gives a
/// zero (NaN if `a` is infinite).
#[inline(always)]
pub(super) fn div(a: f32, b: f32) -> f32 {
    let large = b.is_finite() && b.abs() > f32::from_bits(0x7e80_0000);
    if large { a * 0f32.copysign(b) } else { (a as f64 / b as f64) as f32 }
}

/// `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64`: only the upper 32 bits of operand and result count, subnormal numbers are
/// zeros. The error is below 2^-20, that of a significand of 20 bits.
#[inline(always)]
pub(super) fn gross(a: f64, f: impl Fn(f64) -> f64) -> f64 {
    let flush = |x: f64| if x.is_subnormal() { 0f64.copysign(x) } else { x };
    let top = |x: f64| f64::from_bits(x.to_bits() >> 32 << 32);
    if a.is_nan() { a } else { top(flush(f(top(flush(a))))) }
}
