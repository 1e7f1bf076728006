//! The oracle of the products: f64 on factors rounded as the precision says, and how far a kernel may be off.
//!
//! # The bound
//!
//! With `S = sum over k of |a b|`, computed for every element, the sum of products may be off by
//! [`sum_error`]` * |alpha| S`. The epilogue adds a few f32 roundings of its terms, the activation multiplies what came in
//! by its steepest slope, and the last rounding is that of C's element type.
//!
//! A sum of rows or columns has the errors of its terms, but for that last rounding, and its own: it is a tree of chains, no
//! deeper than twice the root of its length, and each level rounds by 2^-24 of the magnitudes at most.

use super::problem::{Extra, Name, Precision, Problem, Reduce};
use crate::device::{DType, E4m3, E5m2};
use half::{bf16, f16};

/// `x`, an element of a matrix of type `stored`, as a factor of this precision: rounded to nearest (tf32: halves away from zero,
/// as `cvt.rna.tf32`; e4m3: to at most 448).
pub fn rounded(precision: Precision, stored: DType, x: f64) -> f64 {
    match precision {
        Precision::Fp32 | Precision::Fp32Fast => x,
        Precision::Tf32 => {
            let bits = (x as f32).to_bits();
            let finite = bits & 0x7f80_0000 != 0x7f80_0000;
            let bits = if finite { bits.wrapping_add(0x1000) & !0x1fff } else { bits };
            f64::from(f32::from_bits(bits))
        }
        // By way of f32, for `from_f64` ignores the low half of the mantissa and so takes for a tie what is just above one.
        Precision::Bf16 => f64::from(bf16::from_f32(x as f32)),
        Precision::F16 => f64::from(f16::from_f32(x as f32)),
        Precision::Fp8 | Precision::Fp8Fast if stored.bytes() == 1 => x,
        Precision::Fp8 | Precision::Fp8Fast => f64::from(E4m3::from_f32(x as f32).to_f32()),
    }
}

/// Bound on the error of a sum of `k` products, in units of the sum of their magnitudes.
///
/// * f32: each of k roundings is at most 2^-24 of a partial sum; a random walk of them grows with the square root.
/// * tensor cores: their adder cuts off, 2^-23 of a partial sum each time 8 or 16 products are added.
/// * fp32-fast: partial sums leave the tensor cores for f32 registers after every 16 elements of k, so what grows is a walk
///   of f32 roundings. Of 3 x tf32, the product of the small parts is dropped and they are themselves rounded, 3 * 2^-22 of
///   a product, and the adder cuts off twice beside sums of full size, 2^-22: together 2^-20. Of bf16 x 6 what is dropped or
///   rounded is 2^-22, and there is one cut, 2^-23.
/// * fp8: the tensor cores add 32 products at a time, and cut them and the sum so far off at a unit `u`, 2^-13 of the largest.
///   *Terms of both signs*, as tests and the tuner draw them: a partial sum has the size of about `walk` terms, and the k
///   terms' cuts, of either sign, that of about `walk` units; the product is k terms times 2^-13, so 2^-13 of the magnitudes
///   whatever k, and 2^-10 leaves room. The sum itself is cut towards zero every time: k / 32 halves of a unit, 2^-19 walk of the
///   magnitudes, and with the same room 2^-16 walk. Promoted sums of 128 terms each (`Fp8`) have no more of the latter, and
///   err independently, so that their walk shrinks with the root of their number.
///   *Terms of one sign* all lose in one direction, up to `k u`: a long sum in the tensor cores (`Fp8Fast`) loses small terms
///   altogether, and this bound does not hold. Promoted sums lose at most 132 2^-13 < 2^-5 of the magnitudes, 128 terms and 4
///   partial sums cut, whatever the terms are.
pub fn sum_error(precision: Precision, k: usize) -> f64 {
    let walk = (k as f64).sqrt();
    match precision {
        Precision::Fp32 => 2f64.powi(-23) * walk,
        Precision::Tf32 | Precision::Bf16 | Precision::F16 => 2f64.powi(-22) * walk,
        Precision::Fp32Fast => 2f64.powi(-20) + 2f64.powi(-24) * (walk / 4.0).max(1.0),
        Precision::Fp8 => {
            let panels = (k as f64 / 128.0).max(1.0).sqrt();
            2f64.powi(-10) / panels + 2f64.powi(-24) * panels
        }
        Precision::Fp8Fast => 2f64.powi(-10) + 2f64.powi(-16) * walk,
    }
}

/// Half a unit in the last place of `dtype`, relative; for f16 there is an absolute floor too ([`spacing`]).
pub fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F32 | DType::U32 => 2f64.powi(-24),
        DType::Bf16 => 2f64.powi(-8),
        DType::F16 => 2f64.powi(-11),
        DType::E4m3 => 2f64.powi(-4),
        DType::E5m2 => 2f64.powi(-3),
    }
}

/// The distance of subnormal numbers of `dtype`.
pub fn spacing(dtype: DType) -> f64 {
    match dtype {
        DType::F32 | DType::U32 => 2f64.powi(-149),
        DType::Bf16 => 2f64.powi(-133),
        DType::F16 => 2f64.powi(-24),
        DType::E4m3 => 2f64.powi(-9),
        DType::E5m2 => 2f64.powi(-16),
    }
}

/// The operands in f64, each of its [`Problem::span`]; `bias` and `extra` empty where there are none.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// A.
    pub a: &'a [f64],
    /// B.
    pub b: &'a [f64],
    /// C before.
    pub c: &'a [f64],
    /// The bias.
    pub bias: &'a [f64],
    /// The extra operand.
    pub extra: &'a [f64],
}

/// C after the product, and how far each element may be off; between the rows it is C before, and 0.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The elements of C's span.
    pub want: Vec<f64>,
    /// The bound on each.
    pub bound: Vec<f64>,
    /// The sums of C's rows or columns, of the values before they are rounded; empty where the problem has none.
    pub sums: Vec<f64>,
    /// The bound on each.
    pub sums_bound: Vec<f64>,
}

/// The steepest slope of any activation with this parameter: SELU's is 1.76, the smooth ones stay below 1.2.
fn slope(parameter: f32) -> f64 {
    1.8f64.max(f64::from(parameter).abs())
}

/// The product by definition. The problem must have passed [`Problem::check`].
pub fn product(p: &Problem, x: Values<'_>) -> Oracle {
    let (mut want, mut bound) = (x.c.to_vec(), vec![0.0; x.c.len()]);
    let epsilon = 2f64.powi(-23);
    let none = || vec![0.0; p.batch * p.sums()];
    let (mut sums, mut sums_bound, mut sizes) = (none(), none(), none());
    let (a, b): (Vec<f64>, Vec<f64>) = (
        x.a.iter().map(|&v| rounded(p.precision, p.a, v)).collect(),
        x.b.iter().map(|&v| rounded(p.precision, p.b, v)).collect(),
    );
    for z in 0..p.batch {
        let (a, b) = (&a[z * p.stride_a..], &b[z * p.stride_b..]);
        for i in 0..p.m {
            for j in 0..p.n {
                let (mut sum, mut size) = (0.0, 0.0);
                for q in 0..p.k {
                    let at = if p.ta { q * p.lda + i } else { i * p.lda + q };
                    let bt = if p.tb { j * p.ldb + q } else { q * p.ldb + j };
                    let product = a[at] * b[bt];
                    sum += product;
                    size += product.abs();
                }
                let alpha = f64::from(p.alpha);
                let (mut y, mut scale) = (alpha * sum, (alpha * sum).abs());
                let mut error = sum_error(p.precision, p.k) * alpha.abs() * size;
                let at = z * p.stride_c + i * p.ldc + j;
                if p.beta != 0.0 {
                    let term = f64::from(p.beta) * x.c[at];
                    (y, scale) = (y + term, scale + term.abs());
                }
                if p.bias {
                    (y, scale) = (y + x.bias[j], scale + x.bias[j].abs());
                }
                // Three roundings on the way so far.
                error += 2.0 * epsilon * scale;
                let extra = || x.extra[z * p.stride_extra + i * p.ld_extra + j];
                match p.extra {
                    Extra::Gradient => {
                        let d = p.activation.derivative(extra());
                        // The derivative is in f32: 8 roundings of its own, of terms of order 1.
                        error = error * d.abs() + 8.0 * epsilon * (d.abs() + 1.0) * y.abs();
                        y *= d;
                    }
                    Extra::None | Extra::Residual => {
                        let t = p.activation.apply(y);
                        let own = 4.0 * epsilon * (t.abs() + y.abs().min(1.0));
                        error = error * slope(p.activation.param()) + own;
                        y = t;
                        if p.extra == Extra::Residual {
                            y += extra();
                            error += epsilon * (t.abs() + extra().abs());
                        }
                    }
                }
                want[at] = y;
                let of = match p.reduce {
                    Reduce::None => None,
                    Reduce::Rows => Some(z * p.n + j),
                    Reduce::Columns => Some(z * p.m + i),
                };
                if let Some(of) = of {
                    sums[of] += y;
                    sums_bound[of] += error;
                    sizes[of] += y.abs() + error;
                }
                bound[at] = error + 1.01 * unit_roundoff(p.c) * (y.abs() + error) + spacing(p.c);
            }
        }
    }
    let terms = if p.reduce == Reduce::Rows { p.m } else { p.n };
    for (bound, size) in sums_bound.iter_mut().zip(sizes) {
        *bound += epsilon * (terms as f64).sqrt() * size + spacing(DType::F32);
    }
    Oracle { want, bound, sums, sums_bound }
}

/// Whether `got` is `want` within `bound`. NaN equals NaN; what overflows `dtype` equals infinity.
pub fn close(dtype: DType, got: f64, want: f64, bound: f64) -> bool {
    if want.is_nan() || got.is_nan() || bound.is_nan() {
        return want.is_nan() == got.is_nan();
    }
    let most = match dtype {
        DType::F32 | DType::U32 => f64::from(f32::MAX),
        DType::Bf16 => f64::from(bf16::MAX),
        DType::F16 => f64::from(f16::MAX),
        DType::E4m3 => f64::from(E4m3::MAX.to_f32()),
        DType::E5m2 => f64::from(E5m2::MAX.to_f32()),
    };
    if got.is_infinite() {
        return got.signum() == want.signum() && want.abs() + bound >= most;
    }
    (got - want).abs() <= bound || (want.abs() > most && got.abs() == most && got.signum() == want.signum())
}

/// The first of `got` that is not what is wanted, by this bound: which, and a text about it.
fn first_off(dtype: DType, got: &[f64], want: &[f64], bound: &[f64]) -> Option<(usize, String)> {
    let all = got.iter().zip(want).zip(bound).enumerate();
    let (index, ((&got, &want), &bound)) =
        all.into_iter().find(|(_, ((g, w), b))| !close(dtype, **g, **w, **b))?;
    let off = (got - want).abs();
    Some((index, format!("got {got:e}, want {want:e}, off by {off:e}, allowed {bound:e}")))
}

/// The first element of `got`, C's span, that is off: where, what, and by how much.
pub fn mismatch(p: &Problem, got: &[f64], oracle: &Oracle) -> Option<String> {
    let (index, text) = first_off(p.c, got, &oracle.want, &oracle.bound)?;
    let (z, rest) = if p.batch > 1 { (index / p.stride_c, index % p.stride_c) } else { (0, index) };
    let (i, j) = (rest / p.ldc, rest % p.ldc);
    let span = p.span(Name::C).unwrap_or(0);
    Some(format!("C[{z}][{i}, {j}] of {p} (element {index} of {span}): {text}"))
}

/// The first of `got`, the sums, that is off.
pub fn sums_mismatch(p: &Problem, got: &[f64], oracle: &Oracle) -> Option<String> {
    if got.len() != oracle.sums.len() {
        return Some(format!("{} sums of {p}, want {}", got.len(), oracle.sums.len()));
    }
    let (index, text) = first_off(DType::F32, got, &oracle.sums, &oracle.sums_bound)?;
    let (z, at) = (index / p.sums(), index % p.sums());
    Some(format!("sum {at} of C[{z}] of {p}, reduced over {:?}: {text}", p.reduce))
}
