//! The correctness gate: whether what a kernel wrote is the product, on the very shape that is measured.
//!
//! A small product is compared with the oracle element by element. A large one costs the oracle too much, and has
//!
//! * a grid of elements (first, last and random rows and columns) by the oracle, whatever the epilogue;
//! * all elements at once by Freivalds' check (R. Freivalds, "Probabilistic machines can use less running time", 1977),
//!   where the epilogue is linear: `C x = alpha op(A) (op(B) x) + ...` in f64 for [`VECTORS`] vectors x of random
//!   signs, which costs as much as reading the operands a few times.
//!
//! # The tolerance of Freivalds' check
//!
//! The oracle's bound on element j of a row is `e_j = ε S_j + rounding`, [`sum_error`] being ε and `S_j = Σ_k |a_k b_kj|`. A
//! right result errs independently of the signs, so that by Hoeffding's inequality the signed sum of a row's errors
//! passes [`SIGMAS`]` sqrt(Σ_j e_j²)` with a probability below `2 exp(-32) < 3e-14`. By Cauchy-Schwarz
//! `Σ_j S_j² <= |a|² |B|²` (Frobenius), which needs no product. An element that is wrong by more than twice the
//! tolerance is found for sure unless other elements of its row are wrong too; several errors of a row cancel for one
//! vector with a probability of at most a half.
//!
//! Sums of rows or columns are compared with the oracle too, or else with C, which passed: each of their terms is an
//! element of C before it was rounded, and the roundings' signs are independent as above.
//!
//! What the gate cannot see: with sums of thousands of terms the bounds, which are for the worst walk of roundings, are
//! wider than what one step less of precision does. That a kernel multiplies in the precision it says is a matter of the
//! property tests, at small K.

use rayon::prelude::*;

use super::super::reference::{self, Oracle, Values, rounded, spacing, sum_error, unit_roundoff};
use super::super::{Extra, Name, Precision, Problem, Reduce};
use super::operands::{Operands, bits};
use crate::device::DType;
use crate::ops::activation::Activation;

/// Multiplications up to which every element is compared with the oracle.
const SMALL: usize = 1 << 22;
/// Rows and columns of the grid of elements.
const GRID: (usize, usize) = (16, 48);
/// Products of a batch that have such a grid.
const GRIDS: usize = 4;
/// Vectors of signs.
pub const VECTORS: usize = 3;
/// The tolerance in units of the root of the sum of the errors' squares.
pub const SIGMAS: f64 = 8.0;

/// A vector of numbers a row: one for each vector of signs.
type Rows = Vec<[f64; VECTORS]>;

/// What a right result is; made once for all candidates of a problem.
pub struct Gate {
    problem: Problem,
    check: Check,
}

enum Check {
    /// Every element.
    All(Oracle),
    /// Elements of a grid, and sums of rows where the epilogue is linear.
    Some { grids: Vec<Grid>, sums: Option<Vec<Sums>> },
}

/// The elements where these rows and columns of product `z` meet.
struct Grid {
    z: usize,
    rows: Vec<usize>,
    cols: Vec<usize>,
    part: Problem,
    oracle: Oracle,
}

/// Signed sums of the rows of a product, and the part of their tolerance that does not depend on the result.
struct Sums {
    signs: Rows,
    want: Rows,
    tolerance: Vec<f64>,
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

impl Gate {
    /// The gate of these operands.
    pub fn new(operands: &Operands) -> Gate {
        let p = *operands.problem();
        let work = [p.m, p.n, p.k, p.batch].into_iter().fold(1usize, usize::saturating_mul);
        if work <= SMALL {
            let [a, b, c, bias, extra] =
                [&operands.a, &operands.b, &operands.c, &operands.bias, &operands.extra].map(|v| doubles(v));
            let values = Values { a: &a, b: &b, c: &c, bias: &bias, extra: &extra };
            return Gate { problem: p, check: Check::All(reference::product(&p, values)) };
        }
        let some = spread(p.batch, GRIDS, 0);
        let grids = some.into_par_iter().map(|z| grid(operands, z)).collect();
        let linear = p.activation == Activation::Identity && p.extra != Extra::Gradient;
        let sums = linear.then(|| (0..p.batch).map(|z| sums(operands, z)).collect());
        Gate { problem: p, check: Check::Some { grids, sums } }
    }

    /// Whether every element is compared with the oracle.
    #[cfg(test)]
    pub(super) fn sees_all(&self) -> bool {
        matches!(self.check, Check::All(_))
    }

    /// Whether `got`, the span of C, is the product; says what is wrong.
    pub fn check(&self, got: &[f32]) -> Result<(), String> {
        let p = &self.problem;
        let (grids, sums) = match &self.check {
            Check::All(oracle) => return reference::mismatch(p, &doubles(got), oracle).map_or(Ok(()), Err),
            Check::Some { grids, sums } => (grids, sums),
        };
        for grid in grids {
            let n = grid.cols.len();
            for (i, &row) in grid.rows.iter().enumerate() {
                for (j, &col) in grid.cols.iter().enumerate() {
                    let value = f64::from(got[grid.z * p.stride_c + row * p.ldc + col]);
                    let (want, bound) = (grid.oracle.want[i * n + j], grid.oracle.bound[i * n + j]);
                    if !reference::close(grid.part.c, value, want, bound) {
                        return Err(format!(
                            "C[{}][{row}, {col}] of {p}: got {value:e}, want {want:e}, off by {:e}, allowed {bound:e}",
                            grid.z,
                            (value - want).abs()
                        ));
                    }
                }
            }
        }
        for (z, sums) in sums.iter().flatten().enumerate() {
            let c = &got[z * p.stride_c..];
            let wrong = (0..p.m).into_par_iter().find_map_first(|i| sums.wrong(p, &c[i * p.ldc..][..p.n], i));
            if let Some((row, off, allowed)) = wrong {
                return Err(format!(
                    "row {row} of C[{z}] of {p}: its signed sum is off by {off:e}, allowed {allowed:e} (Freivalds)"
                ));
            }
        }
        Ok(())
    }
}

impl Gate {
    /// Whether `sums` are those of C's rows or columns, as the problem says; `got`, the span of C, has passed
    /// [`check`](Gate::check).
    pub fn check_sums(&self, got: &[f32], sums: &[f32]) -> Result<(), String> {
        let p = &self.problem;
        if let Check::All(oracle) = &self.check {
            return reference::sums_mismatch(p, &doubles(sums), oracle).map_or(Ok(()), Err);
        }
        let terms = if p.reduce == Reduce::Rows { p.m } else { p.n };
        let wrong = sums.par_iter().enumerate().find_map_first(|(index, &sum)| {
            let (z, at) = (index / p.sums(), index % p.sums());
            let (mut want, mut size, mut square) = (0.0, 0.0, 0.0);
            for other in 0..terms {
                let (i, j) = if p.reduce == Reduce::Rows { (other, at) } else { (at, other) };
                let x = f64::from(got[z * p.stride_c + i * p.ldc + j]);
                (want, size, square) = (want + x, size + x.abs(), square + x * x);
            }
            let terms = (terms as f64).sqrt();
            let rounded = SIGMAS * (unit_roundoff(p.c) * square.sqrt() + spacing(p.c) * terms);
            let allowed = 1.01 * rounded + 2f64.powi(-23) * terms * size;
            let off = (f64::from(sum) - want).abs();
            // What is no number passes no comparison.
            let fits = square.is_finite() && off <= allowed;
            (!fits).then(|| {
                let over = p.reduce;
                format!("sum {at} of C[{z}] of {p}, reduced over {over:?}: {sum:e}, off by {off:e}, allowed {allowed:e}")
            })
        });
        wrong.map_or(Ok(()), Err)
    }
}

impl Sums {
    /// Row `i`, by how much its sum is off, and the tolerance, where it is passed.
    fn wrong(&self, p: &Problem, row: &[f32], i: usize) -> Option<(usize, f64, f64)> {
        let (mut sum, mut square) = ([0.0; VECTORS], 0.0);
        for (&x, signs) in row.iter().zip(&self.signs) {
            let x = f64::from(x);
            square += x * x;
            sum.iter_mut().zip(signs).for_each(|(s, sign)| *s += sign * x);
        }
        let allowed = self.tolerance[i] + SIGMAS * rounding(p) * square.sqrt();
        let off = sum.iter().zip(&self.want[i]).map(|(s, w)| (s - w).abs());
        // What is no number passes no comparison, and nothing finite may hide behind an infinity.
        let fits = |off: &f64| square.is_finite() && *off <= allowed;
        off.into_iter().find(|off| !fits(off)).map(|off| (i, off, allowed))
    }
}

/// Roundings of an element of C relative to the terms it is summed of: a few of f32 in the epilogue, then C's own.
fn rounding(p: &Problem) -> f64 {
    3.0 * 2f64.powi(-22) + 1.01 * unit_roundoff(p.c)
}

/// At most `most` of 0..n in increasing order: first, last, and others by chance.
fn spread(n: usize, most: usize, seed: u64) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let others = (0..most as u64 - 2).map(|i| (bits(seed, i) % n as u64) as usize);
    let mut all: Vec<usize> = [0, n - 1].into_iter().chain(others).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The grid of product `z`: a small problem of its own, of the rows and columns chosen.
fn grid(o: &Operands, z: usize) -> Grid {
    let p = *o.problem();
    let rows = spread(p.m, GRID.0, 11 + z as u64);
    let cols = spread(p.n, GRID.1, 13 + z as u64);
    let (m, n) = (rows.len(), cols.len());
    let part = Problem {
        m,
        n,
        batch: 1,
        ta: false,
        tb: true,
        reduce: Reduce::None,
        lda: p.k,
        ldb: p.k,
        ldc: n,
        ld_extra: n,
        stride_a: m * p.k,
        stride_b: n * p.k,
        stride_c: m * n,
        stride_extra: m * n,
        ..p
    };
    let mut a = Vec::with_capacity(m * p.k);
    for &i in &rows {
        let at = |q: usize| z * p.stride_a + if p.ta { q * p.lda + i } else { i * p.lda + q };
        a.extend((0..p.k).map(|q| f64::from(o.a[at(q)])));
    }
    let mut b = Vec::with_capacity(n * p.k);
    for &j in &cols {
        let at = |q: usize| z * p.stride_b + if p.tb { j * p.ldb + q } else { q * p.ldb + j };
        b.extend((0..p.k).map(|q| f64::from(o.b[at(q)])));
    }
    let pick = |from: &[f32], ld: usize, stride: usize| -> Vec<f64> {
        if from.is_empty() {
            return vec![];
        }
        let at = |i: usize, j: usize| f64::from(from[z * stride + i * ld + j]);
        rows.iter().flat_map(|&i| cols.iter().map(move |&j| at(i, j))).collect()
    };
    let c = pick(&o.c, p.ldc, p.stride_c);
    let extra = pick(&o.extra, p.ld_extra, p.stride_extra);
    let bias: Vec<f64> = if p.bias { cols.iter().map(|&j| f64::from(o.bias[j])).collect() } else { vec![] };
    let values = Values { a: &a, b: &b, c: &c, bias: &bias, extra: &extra };
    let oracle = reference::product(&part, values);
    Grid { z, rows, cols, part, oracle }
}

/// What the signed sums of the rows of product `z` are.
fn sums(o: &Operands, z: usize) -> Sums {
    let p = *o.problem();
    let sign = |j: usize, v: u64| if bits(17 + v, (z * p.n + j) as u64) & 1 == 0 { 1.0 } else { -1.0 };
    let signs: Rows = (0..p.n).map(|j| std::array::from_fn(|v| sign(j, v as u64))).collect();
    let b = Matrix { values: &o.b[z * p.stride_b..], stored: p.b, ld: p.ldb, transposed: p.tb };
    let a = Matrix { values: &o.a[z * p.stride_a..], stored: p.a, ld: p.lda, transposed: p.ta };
    let (middle, squares_b) = b.times(p.precision, p.k, p.n, &signs);
    let (mut want, squares_a) = a.times(p.precision, p.m, p.k, &middle);
    let norm_b = squares_b.iter().sum::<f64>().sqrt();
    let (alpha, beta) = (f64::from(p.alpha), f64::from(p.beta));
    let name = |used: bool, name: Name| used.then_some(name);
    let terms =
        [name(p.beta != 0.0, Name::C), name(p.bias, Name::Bias), name(p.extra != Extra::None, Name::Extra)];
    let tolerance = want.par_iter_mut().zip(&squares_a).enumerate().map(|(i, (want, square_a))| {
        let product = sum_error(p.precision, p.k) * alpha.abs() * square_a.sqrt() * norm_b;
        // The terms beside the product; |alpha op(A) op(B)| is at most the result and these.
        let mut beside = 0.0;
        want.iter_mut().for_each(|w| *w *= alpha);
        for term in terms.iter().flatten() {
            let (row, factor) = match term {
                Name::Bias => (&o.bias[..], 1.0),
                Name::Extra => (&o.extra[z * p.stride_extra + i * p.ld_extra..], 1.0),
                _ => (&o.c[z * p.stride_c + i * p.ldc..], beta),
            };
            let mut square = 0.0;
            for (&x, signs) in row[..p.n].iter().zip(&signs) {
                let x = factor * f64::from(x);
                square += x * x;
                want.iter_mut().zip(signs).for_each(|(w, sign)| *w += sign * x);
            }
            beside += square.sqrt();
        }
        // The result's own size is added when it is known.
        let epilogue = rounding(&p) * 2.0 * beside + spacing(p.c) * (p.n as f64).sqrt();
        SIGMAS * (product * (1.0 + rounding(&p)) + epilogue)
    });
    let tolerance = tolerance.collect();
    Sums { signs, want, tolerance }
}

/// A stored matrix.
struct Matrix<'a> {
    values: &'a [f32],
    stored: DType,
    ld: usize,
    transposed: bool,
}

/// Rows of a transposed matrix that are summed together: they are neighbours in memory.
const PANEL: usize = 256;

impl Matrix<'_> {
    /// op(X) times `vectors`, op(X) of `rows` x `cols` with its elements rounded as factors; and the sum of the squares of
    /// each row.
    fn times(&self, precision: Precision, rows: usize, cols: usize, vectors: &Rows) -> (Rows, Vec<f64>) {
        let add = |sum: &mut ([f64; VECTORS], f64), x: f32, vector: &[f64; VECTORS]| {
            let x = rounded(precision, self.stored, f64::from(x));
            sum.0.iter_mut().zip(vector).for_each(|(s, v)| *s += x * v);
            sum.1 += x * x;
        };
        let mut out = vec![([0.0; VECTORS], 0.0); rows];
        out.par_chunks_mut(PANEL).enumerate().for_each(|(panel, sums)| {
            let first = panel * PANEL;
            if self.transposed {
                for (q, vector) in vectors.iter().enumerate().take(cols) {
                    let stored = &self.values[q * self.ld + first..][..sums.len()];
                    sums.iter_mut().zip(stored).for_each(|(sum, &x)| add(sum, x, vector));
                }
            } else {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let stored = &self.values[(first + i) * self.ld..][..cols];
                    stored.iter().zip(vectors).for_each(|(&x, vector)| add(sum, x, vector));
                }
            }
        });
        out.into_iter().unzip()
    }
}
