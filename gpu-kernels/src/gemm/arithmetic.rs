//! How tensor cores multiply the factors of a panel: as they are, or as sums of narrower ones.
//!
//! A panel holds 64 bytes of K of each row and column, in shared memory. A warp multiplies `MI` fragments of 16 rows with
//! `N8 / 2` of 16 columns, which it is handed by functions of a fragment's number and half of the panel's depth. Arrays of
//! fragments and sums are indexed by constants once the loops are unrolled.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use crate::ptx::{bf16_to_f32, f32_to_bf16x2, f32_to_tf32, mma_bf16, mma_f16, mma_tf32};

/// A lane's sums: `MI` fragments of 16 rows by `N8` of 8 columns.
pub(super) type Sums<const MI: usize, const N8: usize> = [[[f32; 4]; N8]; MI];

/// How the factors of a panel are multiplied.
pub(crate) trait Arithmetic {
    /// Bytes of a factor in memory.
    const BYTES: u32;

    /// `sums += A B` over one panel.
    ///
    /// # Safety
    /// - All lanes of the warp call it together; the panels are written.
    unsafe fn panel<const MI: usize, const N8: usize>(
        a: impl Fn(u32, u32) -> [u32; 4],
        b: impl Fn(u32, u32) -> [u32; 4],
        sums: &mut Sums<MI, N8>,
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
            unsafe fn panel<const MI: usize, const N8: usize>(
                a: impl Fn(u32, u32) -> [u32; 4],
                b: impl Fn(u32, u32) -> [u32; 4],
                sums: &mut Sums<MI, N8>,
            ) {
                let mut step = 0;
                while step < 2 {
                    let mut rows = [[0u32; 4]; MI];
                    let mut cols = [[0u32; 2]; N8];
                    let mut i = 0;
                    while i < MI {
                        rows[i] = $factor(a(i as u32, step));
                        i += 1;
                    }
                    let mut j = 0;
                    while j < N8 / 2 {
                        let c = $factor(b(j as u32, step));
                        (cols[2 * j], cols[2 * j + 1]) = ([c[0], c[1]], [c[2], c[3]]);
                        j += 1;
                    }
                    let mut i = 0;
                    while i < MI {
                        let mut n = 0;
                        while n < N8 {
                            $multiply(&mut sums[i][n], rows[i], cols[n]);
                            n += 1;
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

/// An arithmetic of f32 factors that are sums of narrower ones. `$rows` and `$cols` turn the two halves of a fragment into
/// `$parts` fragments for `mma`, of 16 rows and of twice 8 columns. `$terms` says which part of A is multiplied by which of
/// B: small terms first, as beside a large sum the adder would cut them off. What they add up to is added to `sums` with
/// f32's own rounding.
macro_rules! split {
    ($(#[$doc:meta])* $name:ident, $multiply:ident, $parts:literal, $rows:ident, $cols:ident, $terms:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Arithmetic for $name {
            const BYTES: u32 = 4;

            #[inline(always)]
            unsafe fn panel<const MI: usize, const N8: usize>(
                a: impl Fn(u32, u32) -> [u32; 4],
                b: impl Fn(u32, u32) -> [u32; 4],
                sums: &mut Sums<MI, N8>,
            ) {
                const TERMS: [(usize, usize); 6] = $terms;
                let mut cols = [[[0u32; 2]; N8]; $parts];
                let mut j = 0;
                while j < N8 / 2 {
                    let parts = $cols(b(j as u32, 0), b(j as u32, 1));
                    let mut part = 0;
                    while part < $parts {
                        [cols[part][2 * j], cols[part][2 * j + 1]] = parts[part];
                        part += 1;
                    }
                    j += 1;
                }
                let mut i = 0;
                while i < MI {
                    let rows: [[u32; 4]; $parts] = $rows(a(i as u32, 0), a(i as u32, 1));
                    let mut partial = [[0.0f32; 4]; N8];
                    let mut s = 0;
                    while s < TERMS.len() {
                        let mut n = 0;
                        while n < N8 {
                            $multiply(&mut partial[n], rows[TERMS[s].0], cols[TERMS[s].1][n]);
                            n += 1;
                        }
                        s += 1;
                    }
                    let mut n = 0;
                    while n < N8 {
                        let (sum, partial) = (&mut sums[i][n], partial[n]);
                        sum[0] += partial[0];
                        sum[1] += partial[1];
                        sum[2] += partial[2];
                        sum[3] += partial[3];
                        n += 1;
                    }
                    i += 1;
                }
            }
        }
    };
}

split!(
    /// f32 factors as `big + small`, two tf32: `small big + big small + big big`, each in two steps of 8 elements of K.
    Tf32x3, mma_tf32, 4, tf32_rows, tf32_cols, [(2, 0), (3, 1), (0, 2), (1, 3), (0, 0), (1, 1)]
);
split!(
    /// f32 factors as three bf16, of which six products are added.
    ///
    /// `ldmatrix` gives a lane elements t, t + 4, t + 8, t + 12 of K where `mma` wants 2t, 2t + 1, 2t + 8, 2t + 9; as both
    /// factors are permuted alike, the sum is the same.
    Bf16x6, mma_bf16, 3, bf16_rows, bf16_cols, [(2, 0), (0, 2), (1, 1), (1, 0), (0, 1), (0, 0)]
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

/// The two tf32 of each factor: big of either step, small of either step.
#[inline(always)]
fn tf32_rows(x: [u32; 4], y: [u32; 4]) -> [[u32; 4]; 4] {
    let (p, q) = (to_tf32(x), to_tf32(y));
    [p, q, rest(x, p), rest(y, q)]
}

/// As [`tf32_rows`], of twice 8 columns.
#[inline(always)]
fn tf32_cols(x: [u32; 4], y: [u32; 4]) -> [[[u32; 2]; 2]; 4] {
    let halves = |x: [u32; 4]| [[x[0], x[1]], [x[2], x[3]]];
    let [p, q, r, s] = tf32_rows(x, y);
    [halves(p), halves(q), halves(r), halves(s)]
}

/// Two f32, `low` and `high`, as the sum of three pairs of bf16.
#[inline(always)]
fn pairs(low: u32, high: u32) -> [u32; 3] {
    let (x, y) = (f32::from_bits(low), f32::from_bits(high));
    let first = f32_to_bf16x2(y, x);
    let (x, y) = (x - bf16_to_f32(first as u16), y - bf16_to_f32((first >> 16) as u16));
    let second = f32_to_bf16x2(y, x);
    let (x, y) = (x - bf16_to_f32(second as u16), y - bf16_to_f32((second >> 16) as u16));
    [first, second, f32_to_bf16x2(y, x)]
}

/// The three bf16 of each factor, the first ones first.
#[inline(always)]
fn bf16_rows(x: [u32; 4], y: [u32; 4]) -> [[u32; 4]; 3] {
    let (s, t, u, v) = (pairs(x[0], x[2]), pairs(x[1], x[3]), pairs(y[0], y[2]), pairs(y[1], y[3]));
    [[s[0], t[0], u[0], v[0]], [s[1], t[1], u[1], v[1]], [s[2], t[2], u[2], v[2]]]
}

/// As [`bf16_rows`], of twice 8 columns.
#[inline(always)]
fn bf16_cols(x: [u32; 4], y: [u32; 4]) -> [[[u32; 2]; 2]; 3] {
    let (s, t, u, v) = (pairs(x[0], x[1]), pairs(y[0], y[1]), pairs(x[2], x[3]), pairs(y[2], y[3]));
    [[[s[0], t[0]], [u[0], v[0]]], [[s[1], t[1]], [u[1], v[1]]], [[s[2], t[2]], [u[2], v[2]]]]
}
