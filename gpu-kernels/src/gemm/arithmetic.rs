//! How tensor cores multiply the factors of a panel: as they are, or as sums of narrower ones.
//!
//! A panel holds 64 bytes of K of each row and column, in shared memory; [`fragment`] reads it. A warp multiplies `MI`
//! fragments of 16 rows with `NJ` of 16 columns. Arrays of fragments and sums are indexed by constants once the loops are
//! unrolled.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::tensor::fragment;
use crate::ptx::{bf16_to_f32, f32_to_bf16x2, f32_to_tf32, mma_bf16, mma_f16, mma_tf32};

/// How the factors of a panel are multiplied.
pub(crate) trait Arithmetic {
    /// Bytes of a factor in memory.
    const BYTES: u32;

    /// `sums += A B` over one panel: `MI` fragments of 16 rows at `a`, `NJ` of 16 columns at `b`; `N8 = 2 NJ`,
    /// `ACC = MI N8`.
    ///
    /// # Safety
    /// - All lanes of the warp call it together; the panels are written.
    unsafe fn panel<
        const AKC: bool,
        const BKC: bool,
        const BM: u32,
        const BN: u32,
        const MI: usize,
        const NJ: usize,
        const N8: usize,
        const ACC: usize,
    >(
        a: u32,
        b: u32,
        sums: &mut [[f32; 4]; ACC],
    );
}

/// An arithmetic of one `mma` a fragment: factors prepared by `$factor`.
macro_rules! plain {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $multiply:ident, $factor:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Arithmetic for $name {
            const BYTES: u32 = $bytes;

            #[inline(always)]
            unsafe fn panel<
                const AKC: bool,
                const BKC: bool,
                const BM: u32,
                const BN: u32,
                const MI: usize,
                const NJ: usize,
                const N8: usize,
                const ACC: usize,
            >(
                a: u32,
                b: u32,
                sums: &mut [[f32; 4]; ACC],
            ) {
                let mut step = 0;
                while step < 2 {
                    let mut rows = [[0u32; 4]; MI];
                    let mut cols = [[0u32; 4]; NJ];
                    let mut i = 0;
                    while i < MI {
                        rows[i] = $factor(fragment::<AKC, BM>(a, i as u32, step));
                        i += 1;
                    }
                    let mut j = 0;
                    while j < NJ {
                        cols[j] = $factor(fragment::<BKC, BN>(b, j as u32, step));
                        j += 1;
                    }
                    let mut i = 0;
                    while i < MI {
                        let mut j = 0;
                        while j < NJ {
                            let c = cols[j];
                            $multiply(&mut sums[i * N8 + 2 * j], rows[i], [c[0], c[1]]);
                            $multiply(&mut sums[i * N8 + 2 * j + 1], rows[i], [c[2], c[3]]);
                            j += 1;
                        }
                        i += 1;
                    }
                    step += 1;
                }
            }
        }
    };
}

plain!(
    /// bf16 factors.
    Bf16, 2, mma_bf16, core::convert::identity
);
plain!(
    /// f16 factors.
    F16, 2, mma_f16, core::convert::identity
);
plain!(
    /// f32 factors, rounded to tf32.
    Tf32, 4, mma_tf32, to_tf32
);

/// Four f32 rounded to tf32.
#[inline(always)]
fn to_tf32(x: [u32; 4]) -> [u32; 4] {
    let round = |x: u32| f32_to_tf32(f32::from_bits(x));
    [round(x[0]), round(x[1]), round(x[2]), round(x[3])]
}

/// What four f32 are beyond their tf32 `big`, rounded to tf32.
#[inline(always)]
fn rest(x: [u32; 4], big: [u32; 4]) -> [u32; 4] {
    let rest = |x: u32, big: u32| f32_to_tf32(f32::from_bits(x) - f32::from_bits(big));
    [rest(x[0], big[0]), rest(x[1], big[1]), rest(x[2], big[2]), rest(x[3], big[3])]
}

/// Adds a partial sum, with f32's own rounding.
#[inline(always)]
fn promote(sum: &mut [f32; 4], partial: &[f32; 4]) {
    sum[0] += partial[0];
    sum[1] += partial[1];
    sum[2] += partial[2];
    sum[3] += partial[3];
}

/// f32 factors as `big + small`, two tf32: `small big + big small + big big`.
pub(crate) struct Tf32x3;

impl Arithmetic for Tf32x3 {
    const BYTES: u32 = 4;

    #[inline(always)]
    unsafe fn panel<
        const AKC: bool,
        const BKC: bool,
        const BM: u32,
        const BN: u32,
        const MI: usize,
        const NJ: usize,
        const N8: usize,
        const ACC: usize,
    >(
        a: u32,
        b: u32,
        sums: &mut [[f32; 4]; ACC],
    ) {
        // [step][fragment]
        let mut big = [[[0u32; 4]; NJ]; 2];
        let mut small = [[[0u32; 4]; NJ]; 2];
        let mut j = 0;
        while j < NJ {
            let mut s = 0;
            while s < 2 {
                let x = fragment::<BKC, BN>(b, j as u32, s as u32);
                big[s][j] = to_tf32(x);
                small[s][j] = rest(x, big[s][j]);
                s += 1;
            }
            j += 1;
        }
        let mut i = 0;
        while i < MI {
            let (x0, x1) = (fragment::<AKC, BM>(a, i as u32, 0), fragment::<AKC, BM>(a, i as u32, 1));
            let rows = [to_tf32(x0), to_tf32(x1)];
            let rests = [rest(x0, rows[0]), rest(x1, rows[1])];
            let mut partial = [[0.0f32; 4]; N8];
            let mut s = 0;
            // Small terms first: beside a large sum the adder would cut them off.
            while s < 6 {
                let mut n = 0;
                while n < N8 {
                    let (row, col) = match s / 2 {
                        0 => (rests[s % 2], big[s % 2][n / 2]),
                        1 => (rows[s % 2], small[s % 2][n / 2]),
                        _ => (rows[s % 2], big[s % 2][n / 2]),
                    };
                    mma_tf32(
                        &mut partial[n],
                        row,
                        if n % 2 == 0 { [col[0], col[1]] } else { [col[2], col[3]] },
                    );
                    n += 1;
                }
                s += 1;
            }
            let mut n = 0;
            while n < N8 {
                promote(&mut sums[i * N8 + n], &partial[n]);
                n += 1;
            }
            i += 1;
        }
    }
}

/// Two f32, `low` and `high`, as the sum of three pairs of bf16.
#[inline(always)]
fn split(low: u32, high: u32) -> [u32; 3] {
    let (x, y) = (f32::from_bits(low), f32::from_bits(high));
    let first = f32_to_bf16x2(y, x);
    let (x, y) = (x - bf16_to_f32(first as u16), y - bf16_to_f32((first >> 16) as u16));
    let second = f32_to_bf16x2(y, x);
    let (x, y) = (x - bf16_to_f32(second as u16), y - bf16_to_f32((second >> 16) as u16));
    [first, second, f32_to_bf16x2(y, x)]
}

/// f32 factors as three bf16, of which six products are added.
///
/// `ldmatrix` gives a lane elements t, t + 4, t + 8, t + 12 of K where `mma` wants 2t, 2t + 1, 2t + 8, 2t + 9; as both factors
/// are permuted alike, the sum is the same.
pub(crate) struct Bf16x6;

impl Arithmetic for Bf16x6 {
    const BYTES: u32 = 4;

    #[inline(always)]
    unsafe fn panel<
        const AKC: bool,
        const BKC: bool,
        const BM: u32,
        const BN: u32,
        const MI: usize,
        const NJ: usize,
        const N8: usize,
        const ACC: usize,
    >(
        a: u32,
        b: u32,
        sums: &mut [[f32; 4]; ACC],
    ) {
        // [part][fragment of 8 columns]
        let mut cols = [[[0u32; 2]; N8]; 3];
        let mut j = 0;
        while j < NJ {
            let (x, y) = (fragment::<BKC, BN>(b, j as u32, 0), fragment::<BKC, BN>(b, j as u32, 1));
            let (s, t, u, v) = (split(x[0], x[1]), split(y[0], y[1]), split(x[2], x[3]), split(y[2], y[3]));
            let mut part = 0;
            while part < 3 {
                cols[part][2 * j] = [s[part], t[part]];
                cols[part][2 * j + 1] = [u[part], v[part]];
                part += 1;
            }
            j += 1;
        }
        let mut i = 0;
        while i < MI {
            let (x, y) = (fragment::<AKC, BM>(a, i as u32, 0), fragment::<AKC, BM>(a, i as u32, 1));
            let (s, t, u, v) = (split(x[0], x[2]), split(x[1], x[3]), split(y[0], y[2]), split(y[1], y[3]));
            let rows = [[s[0], t[0], u[0], v[0]], [s[1], t[1], u[1], v[1]], [s[2], t[2], u[2], v[2]]];
            let mut partial = [[0.0f32; 4]; N8];
            // Which part of A times which part of B, the smallest first.
            const TERMS: [(usize, usize); 6] = [(2, 0), (0, 2), (1, 1), (1, 0), (0, 1), (0, 0)];
            let mut s = 0;
            while s < 6 {
                let mut n = 0;
                while n < N8 {
                    mma_bf16(&mut partial[n], rows[TERMS[s].0], cols[TERMS[s].1][n]);
                    n += 1;
                }
                s += 1;
            }
            let mut n = 0;
            while n < N8 {
                promote(&mut sums[i * N8 + n], &partial[n]);
                n += 1;
            }
            i += 1;
        }
    }
}
