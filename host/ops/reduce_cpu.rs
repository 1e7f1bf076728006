//! The CPU side of [`reduce`](super::reduce): vector loops over `[outer, n, inner]`.
//!
//! Rows (`inner == 1`) are summed in 32 accumulators. Columns are taken in tiles whose accumulators stay in registers while
//! the loop goes down n; chains of [`CHAIN`] rows are added to the totals, so that rounding errors grow with n / CHAIN.

use rayon::prelude::*;

use super::reduce::View;
use super::simd::{self, Body, MAX_TASKS, PARALLEL, simd, task_len, whole};
use crate::real::Real;

/// Rows added up before they are added to the total.
const CHAIN: usize = 128;

/// How the elements of a reduction combine.
trait Combine<T: Real>: Copy + Send + Sync {
    const START: T;
    fn join(a: T, b: T) -> T;
    fn row(x: &[T]) -> T;
}

#[derive(Clone, Copy)]
struct Sum;
impl<T: Real> Combine<T> for Sum {
    const START: T = T::ZERO;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
    #[inline(always)]
    fn row(x: &[T]) -> T {
        simd::sum(x)
    }
}

#[derive(Clone, Copy)]
struct Max;
impl<T: Real> Combine<T> for Max {
    const START: T = T::NEG_INFINITY;
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        // NaN wins, and stays: no comparison with it is true.
        if b > a || b.is_nan() { b } else { a }
    }
    #[inline(always)]
    fn row(x: &[T]) -> T {
        let mut acc = [T::NEG_INFINITY; simd::LANES];
        for chunk in x.chunks(simd::LANES) {
            for (a, &v) in acc.iter_mut().zip(chunk) {
                *a = <Max as Combine<T>>::join(*a, v);
            }
        }
        acc.into_iter().fold(T::NEG_INFINITY, <Max as Combine<T>>::join)
    }
}

/// `y[r] = scale * C(x[r, ..])`.
struct Rows<'a, T, C> {
    n: usize,
    scale: T,
    x: &'a [T],
    y: &'a mut [T],
    combine: C,
}
impl<T: Real, C: Combine<T>> Body for Rows<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let _ = self.combine;
        for (x, y) in self.x.chunks_exact(self.n).zip(self.y) {
            *y = C::row(x) * self.scale;
        }
    }
}

/// `y[i] = scale * C(x[.., first + i])` for one outer index.
struct Columns<'a, T, C> {
    inner: usize,
    first: usize,
    scale: T,
    x: &'a [T],
    y: &'a mut [T],
    combine: C,
}
impl<T: Real, C: Combine<T>> Columns<'_, T, C> {
    /// The tile of `W` columns from `at` on.
    #[allow(clippy::needless_range_loop)] // the indices name registers
    #[inline(always)]
    fn tile<const W: usize>(&mut self, at: usize) {
        let mut total = [C::START; W];
        for rows in self.x.chunks(CHAIN * self.inner) {
            let mut acc = [C::START; W];
            for row in rows.chunks_exact(self.inner) {
                let row: &[T; W] = row[self.first + at..][..W].try_into().expect("W elements");
                for w in 0..W {
                    acc[w] = C::join(acc[w], row[w]);
                }
            }
            for w in 0..W {
                total[w] = C::join(total[w], acc[w]);
            }
        }
        for w in 0..W {
            self.y[at + w] = total[w] * self.scale;
        }
    }
}
impl<T: Real, C: Combine<T>> Body for Columns<'_, T, C> {
    type Out = ();
    #[inline(always)]
    #[allow(clippy::int_plus_one)] // the width of a tile may be 1
    fn run(mut self) {
        let _ = self.combine;
        let width = self.y.len();
        let mut at = 0;
        macro_rules! tiles {
            ($($w:literal)*) => {$(
                while at + $w <= width {
                    self.tile::<$w>(at);
                    at += $w;
                }
            )*};
        }
        tiles!(128 32 8 2 1);
    }
}

/// Reduces every output, over threads where that pays. Scaling an infinite maximum by one changes nothing.
fn reduce<T: Real, C: Combine<T>>(v: View, scale: T, x: &[T], y: &mut [T], combine: C) {
    let parallel = v.len() > PARALLEL;
    if v.inner == 1 {
        if !parallel {
            simd(Rows { n: v.n, scale, x, y, combine });
        } else if v.outer == 1 {
            // One long row: pieces of a length that the size alone decides.
            let len = task_len(v.n, 1);
            let mut partial = [C::START; MAX_TASKS];
            x.par_chunks(len).zip(partial.par_iter_mut()).for_each(|(x, p)| {
                simd(Rows { n: x.len(), scale: T::ONE, x, y: std::slice::from_mut(p), combine });
            });
            y[0] = C::row(&partial[..v.n.div_ceil(len)]) * scale;
        } else {
            let rows = task_len(v.outer, v.n);
            x.par_chunks(rows * v.n)
                .zip(y.par_chunks_mut(rows))
                .for_each(|(x, y)| simd(Rows { n: v.n, scale, x, y, combine }));
        }
        return;
    }
    let slab = v.n * v.inner;
    let columns = |(x, y): (&[T], &mut [T])| {
        if !parallel || v.inner < 64 {
            return simd(Columns { inner: v.inner, first: 0, scale, x, y, combine });
        }
        // A column's order is the same in every tile, so the tiles may be of any width.
        let width = v.inner.div_ceil(8).next_multiple_of(32);
        y.par_chunks_mut(width).enumerate().for_each(|(k, y)| {
            simd(Columns { inner: v.inner, first: k * width, scale, x, y, combine });
        });
    };
    if parallel && v.outer > 1 {
        x.par_chunks(slab).zip(y.par_chunks_mut(v.inner)).for_each(columns);
    } else {
        x.chunks(slab).zip(y.chunks_mut(v.inner)).for_each(columns);
    }
}

/// `y[o, i] = scale * sum of x[o, j, i]`.
pub(super) fn sum<T: Real>(v: View, scale: T, x: &[T], y: &mut [T]) {
    reduce(v, scale, x, y, Sum);
}

/// `y[o, i] = max of x[o, j, i]`, NaN where there is one.
pub(super) fn max<T: Real>(v: View, x: &[T], y: &mut [T]) {
    reduce(v, T::ONE, x, y, Max);
}

/// Position of the maximum: the first of equals, the first NaN; 0 of nothing.
#[inline(always)]
fn argmax_of<T: Real>(mut values: impl Iterator<Item = T>) -> usize {
    let Some(mut best) = values.next() else { return 0 };
    let mut at = 0;
    for (j, v) in (1..).zip(values) {
        if v > best || (v.is_nan() && !best.is_nan()) {
            (best, at) = (v, j);
        }
    }
    at
}

/// The least of the lanes, as a tree.
#[inline(always)]
fn min_lanes(a: [u32; simd::LANES]) -> u32 {
    let b: [u32; 8] = std::array::from_fn(|l| a[l].min(a[l + 8]));
    let c: [u32; 4] = std::array::from_fn(|l| b[l].min(b[l + 4]));
    c[0].min(c[2]).min(c[1].min(c[3]))
}

/// Calls `f(row, position of its maximum)`, as [`argmax_of`], for each row of `n`. Short rows are a vector each, without
/// branches: where the maximum is cannot be foretold.
#[allow(clippy::needless_range_loop)] // the indices name lanes
#[inline(always)]
pub(super) fn argmax_rows<T: Real>(n: usize, x: &[T], mut f: impl FnMut(usize, usize)) {
    const NONE: u32 = simd::LANES as u32;
    if n > simd::LANES {
        return x.chunks_exact(n).enumerate().for_each(|(r, x)| f(r, argmax_of(x.iter().copied())));
    }
    // In memory, or each lane becomes a branch.
    let mut class = [0u32; simd::LANES];
    class[..n].fill(1);
    for r in 0..x.len() / n {
        let x = whole(&x[r * n..]);
        let mut v = [T::ZERO; simd::LANES];
        for l in 0..simd::LANES {
            v[l] = if class[l] != 0 { x[l] } else { T::NEG_INFINITY };
        }
        let max = simd::max_lanes(v);
        let (mut at, mut nan) = ([NONE; simd::LANES], [NONE; simd::LANES]);
        for l in 0..simd::LANES {
            at[l] = if v[l] == max { l as u32 } else { NONE };
        }
        for l in 0..simd::LANES {
            nan[l] = if v[l].is_nan() { l as u32 } else { NONE };
        }
        let (at, nan) = (min_lanes(at), min_lanes(nan));
        f(r, (if nan < NONE { nan } else { at }) as usize);
    }
}

struct ArgMaxRows<'a, T> {
    v: View,
    x: &'a [T],
    y: &'a mut [u32],
}
impl<T: Real> Body for ArgMaxRows<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let View { n, inner, .. } = self.v;
        if inner == 1 {
            return argmax_rows(n, self.x, |r, at| self.y[r] = at as u32);
        }
        for (x, y) in self.x.chunks_exact(n * inner).zip(self.y.chunks_exact_mut(inner)) {
            for (i, y) in y.iter_mut().enumerate() {
                *y = argmax_of(x[i..].iter().step_by(inner).copied()) as u32;
            }
        }
    }
}

/// `y[o, i]` = position of the maximum of `x[o, .., i]`.
pub(super) fn argmax<T: Real>(v: View, x: &[T], y: &mut [u32]) {
    if v.len() > PARALLEL && v.outer > 1 {
        let slab = v.n * v.inner;
        let count = task_len(v.outer, slab);
        x.par_chunks(count * slab)
            .zip(y.par_chunks_mut(count * v.inner))
            .for_each(|(x, y)| simd(ArgMaxRows { v, x, y }));
    } else {
        simd(ArgMaxRows { v, x, y });
    }
}

/// `y[o, j, i] = scale * x[o, i]`.
pub(super) fn expand<T: Real>(v: View, scale: T, x: &[T], y: &mut [T]) {
    let slab = |(x, y): (&[T], &mut [T])| {
        if v.inner == 1 {
            y.fill(scale * x[0]);
            return;
        }
        for y in y.chunks_exact_mut(v.inner) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = scale * x;
            }
        }
    };
    let len = v.n * v.inner;
    if v.len() > PARALLEL && v.outer > 1 {
        x.par_chunks(v.inner).zip(y.par_chunks_mut(len)).with_min_len(task_len(v.outer, len)).for_each(slab);
    } else {
        x.chunks(v.inner).zip(y.chunks_mut(len)).for_each(slab);
    }
}

/// `dx[o, j, i] = dy[o, i]` where `j == index[o, i]`, else 0.
pub(super) fn scatter<T: Real>(v: View, index: &[u32], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    let rows = index.chunks_exact(v.inner).zip(dy.chunks_exact(v.inner));
    for (dx, (index, dy)) in dx.chunks_exact_mut(v.n * v.inner).zip(rows) {
        for (i, (&j, &g)) in index.iter().zip(dy).enumerate() {
            if (j as usize) < v.n {
                dx[j as usize * v.inner + i] = g;
            }
        }
    }
}
