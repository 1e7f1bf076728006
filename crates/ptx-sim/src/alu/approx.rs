//! Approximate functions. PTX documents error bounds, not bits; each value here is the f64 function rounded to f32,
//! inside every documented bound (`ex2` 2 ulp, `lg2` 2^-22, `sin`/`cos` 2^-20.9 in [-pi, pi], `tanh` 2^-11, `rsqrt`
//! 2^-22.9, `rcp`/`sqrt`/`div` 1 ulp and more). Real hardware differs in the last bits, so tests need those tolerances.

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
