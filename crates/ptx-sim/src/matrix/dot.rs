//! The arithmetic of the matrix unit: `D = A * B + C` on dense row-major matrices.
//!
//! Products are exact. Their sums depend on [`Accumulation`]; integers wrap (or saturate, once, at the end); f64 is a chain of
//! fused multiply-adds with k ascending, which is what IEEE 754 leaves no choice in.

use super::fragment::Shape;
use super::number::{Format, power};
use half::f16;

/// How tensor-core instructions sum float products (f64 excepted).
///
/// Sums run over blocks of k: 32 bytes of A's row each (16 elements of f16 and bf16, 8 of tf32, 32 of the 8-bit floats). With
/// f16 accumulators the sum is rounded to f16 after each block; within a block it is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accumulation {
    /// One f32 rounding (to nearest even) per product, k ascending: `acc = fma(a[k], b[k], acc)`.
    #[default]
    Sequential,
    /// As the hardware's adder: the accumulator and the products of a block are aligned to the largest exponent among them
    /// (of a product: the sum of its factors' exponents), cut off below 25 bits behind the binary point (13 for the 8-bit
    /// floats), added exactly, and cut off to f32.
    Truncating,
}

/// Columns computed together: every shape has a multiple of them.
const COLUMNS: usize = 8;

/// Elements of k that the unit sums at once.
fn block(format: Format, k: usize) -> usize {
    k.min(256 / format.bits() as usize)
}

/// Float matrices: `acc += a * b`, with `acc` in f32; `half` rounds it to f16 after each block.
pub(crate) fn floats(
    shape: Shape,
    format: Format,
    a: &[f32],
    b: &[f32],
    acc: &mut [f32],
    half: bool,
    mode: Accumulation,
) {
    let (m, n, k) = (shape.m as usize, shape.n as usize, shape.k as usize);
    let step = block(format, k);
    // Products of these fit f32, so a product and a sum are one fused operation.
    let exact = matches!(format, Format::F16 | Format::E4m3 | Format::E5m2);
    let bits = if matches!(format, Format::E4m3 | Format::E5m2) { 13 } else { 25 };
    for i in 0..m {
        let x = &a[i * k..][..k];
        for from in (0..n).step_by(COLUMNS) {
            let row = &mut acc[i * n + from..][..COLUMNS];
            let mut sum = [0.0; COLUMNS];
            sum.copy_from_slice(row);
            for start in (0..k).step_by(step) {
                let range = start..(start + step).min(k);
                let factors = |kk: usize| -> (f32, &[f32]) { (x[kk], &b[kk * n + from..][..COLUMNS]) };
                match mode {
                    Accumulation::Sequential if exact => {
                        for (x, y) in range.map(factors) {
                            for j in 0..COLUMNS {
                                sum[j] += x * y[j];
                            }
                        }
                    }
                    Accumulation::Sequential => {
                        // A sum of two numbers of at most 24 bits, rounded to f64 and then to f32, is as if rounded once
                        // [Figueroa 1995]; the product is exact in f64.
                        for (x, y) in range.map(factors) {
                            for j in 0..COLUMNS {
                                sum[j] = (sum[j] as f64 + x as f64 * y[j] as f64) as f32;
                            }
                        }
                    }
                    Accumulation::Truncating => {
                        for (j, s) in sum.iter_mut().enumerate() {
                            let products = range.clone().map(|kk| (x[kk], b[kk * n + from + j]));
                            *s = truncating(products, *s, bits);
                        }
                    }
                }
                if half {
                    sum.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
                }
            }
            row.copy_from_slice(&sum);
        }
    }
}

/// Exponent of a finite non-zero number: `2^e <= |v| < 2^(e + 1)`.
fn exponent(v: f32) -> i32 {
    ((v as f64).to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// The sum of products and `c` in an adder that keeps `bits` bits behind the binary point of the largest addend.
fn truncating(products: impl Iterator<Item = (f32, f32)> + Clone, c: f32, bits: i32) -> f32 {
    let mut largest = if c != 0.0 && c.is_finite() { exponent(c) } else { i32::MIN };
    let mut special = if c.is_finite() { 0.0 } else { c as f64 };
    for (x, y) in products.clone() {
        if !x.is_finite() || !y.is_finite() {
            special += x as f64 * y as f64;
        } else if x != 0.0 && y != 0.0 {
            largest = largest.max(exponent(x) + exponent(y));
        }
    }
    if special != 0.0 {
        return special as f32;
    }
    if largest == i32::MIN {
        return products.fold(c, |s, (x, y)| s + x * y);
    }
    let unit = power(bits - largest);
    let cut = |v: f64| (v * unit) as i64;
    let sum = products.fold(cut(c as f64), |s, (x, y)| s + cut(x as f64 * y as f64));
    let v = sum as f64 * power(largest - bits);
    let r = v as f32;
    if (r as f64).abs() > v.abs() && v.abs() < power(128) { toward_zero(r) } else { r }
}

/// The neighbour of a non-zero number that is nearer to zero.
fn toward_zero(v: f32) -> f32 {
    f32::from_bits(v.to_bits() - 1)
}

/// f64 matrices.
pub(crate) fn doubles(shape: Shape, a: &[f64], b: &[f64], acc: &mut [f64]) {
    let (m, n, k) = (shape.m as usize, shape.n as usize, shape.k as usize);
    for i in 0..m {
        for j in 0..n {
            let s = (0..k).fold(acc[i * n + j], |s, kk| a[i * k + kk].mul_add(b[kk * n + j], s));
            acc[i * n + j] = if s.is_nan() { f64::from_bits(0x7fff_ffff_ffff_ffff) } else { s };
        }
    }
}

/// What an integer multiplication does with a pair of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    Multiply,
    /// One-bit `.xor.popc`; `.and.popc` is a multiplication of bits.
    Xor,
}

/// Integer matrices; `saturate` clamps the exact result to i32, otherwise it wraps.
pub(crate) fn integers(
    shape: Shape,
    a: &[i32],
    b: &[i32],
    acc: &mut [i32],
    pairing: Pairing,
    saturate: bool,
) {
    let (m, n, k) = (shape.m as usize, shape.n as usize, shape.k as usize);
    for i in 0..m {
        for from in (0..n).step_by(COLUMNS) {
            let mut sums = [0i32; COLUMNS];
            for kk in 0..k {
                let x = a[i * k + kk];
                let y = &b[kk * n + from..][..COLUMNS];
                for j in 0..COLUMNS {
                    sums[j] += if pairing == Pairing::Xor { x ^ y[j] } else { x * y[j] };
                }
            }
            for (acc, s) in acc[i * n + from..].iter_mut().zip(sums) {
                *acc = if saturate { acc.saturating_add(s) } else { acc.wrapping_add(s) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truncating_adder_drops_what_falls_below_its_window() {
        let sum = |p: &[(f32, f32)], c| truncating(p.iter().copied(), c, 25);
        // 2^-25 of the largest addend is kept, though f32 cannot show it; two of them carry into what f32 shows.
        let tiny = 2f32.powi(-25);
        assert_eq!(sum(&[(tiny, 1.0)], 1.0), 1.0);
        assert_eq!(sum(&[(tiny, 1.0); 4], 1.0), 1.0 + 2f32.powi(-23));
        // Half of that is lost each time.
        assert_eq!(sum(&[(tiny / 2.0, 1.0); 16], 1.0), 1.0);
        // The result is cut off, not rounded.
        assert_eq!(sum(&[(tiny, 1.0); 7], 1.0), 1.0 + 2f32.powi(-23));
        assert_eq!(sum(&[(-tiny, 1.0)], 1.0), 1.0 - 2f32.powi(-24));
        assert_eq!(sum(&[(3.0, 5.0), (-3.0, 5.0)], 0.25), 0.25);
        assert_eq!(sum(&[(f32::INFINITY, 1.0)], 1.0), f32::INFINITY);
        assert!(sum(&[(f32::INFINITY, 0.0)], 1.0).is_nan());
        assert!(sum(&[(f32::INFINITY, 1.0), (f32::INFINITY, -1.0)], 1.0).is_nan());
    }
}
