//! The CPU side of [`loss`](super::loss): loss and gradient in one pass over a row, or a vector of elements.

use rayon::prelude::*;

use super::simd::{
    Body, LANES, MAX_TASKS, PARALLEL, load, max, max_lanes, simd, store, sum, sum_lanes, task_len, whole,
};
use crate::real::Real;

/// Rows of `n` logits; returns the sum of their losses.
struct Rows<'a, T> {
    n: usize,
    /// Weight of the label on top of `off`, the weight of every class.
    on: T,
    off: T,
    /// 1 / all rows.
    inverse_rows: T,
    x: &'a [T],
    labels: &'a [u32],
    dx: &'a mut [T],
}

impl<T: Real> Rows<'_, T> {
    /// Added to a row's sum of exponentials. Infinity minus infinity: undefined rows become NaN, and so do rows with a label
    /// that is no class.
    #[allow(clippy::eq_op)]
    #[inline(always)]
    fn poison(&self, max: T, label: usize) -> T {
        if label < self.n { max - max } else { T::of(f64::NAN) }
    }

    /// A row's loss without its logarithm: `d` is the label's logit less the row's largest, `diffs` the sum of all such.
    #[inline(always)]
    fn part(&self, d: T, diffs: impl FnOnce() -> T) -> T {
        let part = -self.on * d;
        // Without smoothing, a class of minus infinity must not count: 0 * infinity is NaN.
        if self.off != T::ZERO { part - self.off * diffs() } else { part }
    }

    /// Row `r` of more than [`LANES`] classes: (sum of exponentials, loss without its logarithm).
    #[inline(always)]
    fn long(&mut self, r: usize) -> (T, T) {
        let (n, off, scale) = (self.n, self.off, self.inverse_rows);
        let (start, label) = (r * n, self.labels[r] as usize);
        let x = &self.x[start..start + n];
        let m = max(x);
        let mut sums = [T::ZERO; LANES];
        let mut diffs = [T::ZERO; LANES];
        for at in (0..n).step_by(LANES) {
            let v = load(&self.x[start + at..], n - at, T::NEG_INFINITY);
            let mut e = [T::ZERO; LANES];
            for l in 0..LANES {
                let d = v[l] - m;
                e[l] = d.exp();
                sums[l] += e[l];
                diffs[l] += if l < n - at { d } else { T::ZERO };
            }
            store(&mut self.dx[start + at..], n - at, e);
        }
        let s = sum_lanes(sums) + self.poison(m, label);
        let inverse = T::ONE / s;
        for g in &mut self.dx[start..start + n] {
            *g = (*g * inverse - off) * scale;
        }
        if label >= n {
            return (s, T::ZERO);
        }
        self.dx[start + label] = self.dx[start + label] - self.on * scale;
        (s, self.part(x[label] - m, || sum_lanes(diffs)))
    }

    /// As [`long`](Rows::long) for the next [`LANES`] rows (or what there is, and `(1, 0)` for the others) of up to LANES
    /// classes, each a vector; `class` is 0 in the lanes that have none. (Read from memory, it selects; a comparison of
    /// lanes' numbers with `n` compiles to a branch for each.)
    #[allow(clippy::needless_range_loop)] // the indices name lanes
    #[inline(always)]
    fn short(&mut self, first: usize, class: &[u32; LANES]) -> ([T; LANES], [T; LANES]) {
        let (n, off, scale) = (self.n, self.off, self.inverse_rows);
        let rows = LANES.min(self.labels.len() - first);
        let (mut d, mut e) = ([[T::ZERO; LANES]; LANES], [[T::ZERO; LANES]; LANES]);
        let mut m = [T::ZERO; LANES];
        for l in 0..rows {
            let x = whole(&self.x[(first + l) * n..]);
            let mut v = [T::ZERO; LANES];
            for k in 0..LANES {
                v[k] = if class[k] != 0 { x[k] } else { T::NEG_INFINITY };
            }
            m[l] = max_lanes(v);
            // Not minus infinity where there is no class: what underflows is slow.
            for k in 0..LANES {
                d[l][k] = if class[k] != 0 { x[k] - m[l] } else { T::ZERO };
            }
        }
        for l in 0..LANES {
            for k in 0..LANES {
                e[l][k] = if class[k] != 0 { d[l][k].exp() } else { T::ZERO };
            }
        }
        let (mut s, mut part) = ([T::ONE; LANES], [T::ZERO; LANES]);
        for l in 0..rows {
            let (start, label) = ((first + l) * n, self.labels[first + l] as usize);
            s[l] = sum_lanes(e[l]) + self.poison(m[l], label);
            let inverse = T::ONE / s[l];
            for k in 0..LANES {
                e[l][k] = (e[l][k] * inverse - off) * scale;
            }
            store(&mut self.dx[start..], n, e[l]);
            if label < n {
                self.dx[start + label] = self.dx[start + label] - self.on * scale;
                part[l] = self.part(d[l][label], || sum_lanes(d[l]));
            }
        }
        (s, part)
    }
}

impl<T: Real> Body for Rows<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run(mut self) -> T {
        let mut total = [T::ZERO; LANES];
        let rows = self.labels.len();
        let mut class = [0; LANES];
        class[..self.n.min(LANES)].fill(1);
        for first in (0..rows).step_by(LANES) {
            // The logarithms of LANES rows are one vector; that of a missing row is ln 1.
            let (mut s, mut part) = ([T::ONE; LANES], [T::ZERO; LANES]);
            if self.n <= LANES {
                (s, part) = self.short(first, &class);
            } else {
                for l in 0..LANES.min(rows - first) {
                    (s[l], part[l]) = self.long(first + l);
                }
            }
            for l in 0..LANES {
                total[l] += s[l].ln() + part[l];
            }
        }
        sum_lanes(total)
    }
}

/// Writes the gradients of the mean loss to `dx`; returns the sum of the losses.
pub(super) fn cross_entropy<T: Real>(n: usize, smoothing: f32, x: &[T], labels: &[u32], dx: &mut [T]) -> T {
    let smoothing = f64::from(smoothing);
    let inverse_rows = T::of(1.0 / labels.len() as f64);
    let (on, off) = (T::of(1.0 - smoothing), T::of(smoothing / n as f64));
    if x.len() <= PARALLEL / 4 {
        return simd(Rows { n, on, off, inverse_rows, x, labels, dx });
    }
    let rows = task_len(labels.len(), n);
    let mut partial = [T::ZERO; MAX_TASKS];
    x.par_chunks(rows * n)
        .zip(labels.par_chunks(rows))
        .zip(dx.par_chunks_mut(rows * n))
        .zip(partial.par_iter_mut())
        .for_each(|(((x, labels), dx), p)| *p = simd(Rows { n, on, off, inverse_rows, x, labels, dx }));
    sum(&partial[..labels.len().div_ceil(rows)])
}

/// An elementwise loss and its derivative.
pub(super) trait Pointwise<T>: Copy + Send + Sync {
    /// (loss, derivative with respect to the prediction) of prediction `x` and target `t`.
    fn eval(self, x: T, t: T) -> (T, T);
}

#[derive(Clone, Copy)]
pub(super) struct Bce;
impl<T: Real> Pointwise<T> for Bce {
    #[inline(always)]
    fn eval(self, x: T, t: T) -> (T, T) {
        let negative = x < T::ZERO;
        let e = (-x.abs()).exp();
        // NaN is not negative, and comes through.
        let positive = if negative { T::ZERO } else { x };
        let sigmoid = (if negative { e } else { T::ONE }) / (T::ONE + e);
        ((positive - x * t) + e.ln_1p(), sigmoid - t)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Mse;
impl<T: Real> Pointwise<T> for Mse {
    #[inline(always)]
    fn eval(self, x: T, t: T) -> (T, T) {
        let d = x - t;
        (d * d, d + d)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Mae;
impl<T: Real> Pointwise<T> for Mae {
    #[inline(always)]
    fn eval(self, x: T, t: T) -> (T, T) {
        let d = x - t;
        let sign = if d < T::ZERO { -T::ONE } else { d };
        (d.abs(), if d > T::ZERO { T::ONE } else { sign })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Huber<T>(pub T);
impl<T: Real> Pointwise<T> for Huber<T> {
    #[inline(always)]
    fn eval(self, x: T, t: T) -> (T, T) {
        let (d, delta, half) = (x - t, self.0, T::of(0.5));
        let a = d.abs();
        let low = if d < -delta { -delta } else { d };
        let clamped = if d > delta { delta } else { low };
        (if a < delta { half * d * d } else { delta * (a - half * delta) }, clamped)
    }
}

struct Elements<'a, T, P> {
    loss: P,
    inverse: T,
    x: &'a [T],
    t: &'a [T],
    dx: &'a mut [T],
}
impl<T: Real, P: Pointwise<T>> Body for Elements<'_, T, P> {
    type Out = T;
    #[inline(always)]
    fn run(self) -> T {
        /// Elements added up in the same accumulators.
        const BLOCK: usize = 2048;
        let Elements { loss, inverse, x, t, dx } = self;
        let mut total = T::ZERO;
        for ((x, t), dx) in x.chunks(BLOCK).zip(t.chunks(BLOCK)).zip(dx.chunks_mut(BLOCK)) {
            let mut acc = [T::ZERO; LANES];
            for at in (0..x.len()).step_by(LANES) {
                let n = x.len() - at;
                let (x, t) = (load(&x[at..], n, T::ZERO), load(&t[at..], n, T::ZERO));
                let mut g = [T::ZERO; LANES];
                for l in 0..LANES {
                    let (value, derivative) = loss.eval(x[l], t[l]);
                    acc[l] += if l < n { value } else { T::ZERO };
                    g[l] = derivative * inverse;
                }
                store(&mut dx[at..], n, g);
            }
            total += sum_lanes(acc);
        }
        total
    }
}

/// Writes the gradients times `inverse` to `dx`; returns the sum of the losses.
pub(super) fn elementwise<T: Real, P: Pointwise<T>>(
    loss: P,
    inverse: T,
    x: &[T],
    t: &[T],
    dx: &mut [T],
) -> T {
    if x.len() <= PARALLEL / 4 {
        return simd(Elements { loss, inverse, x, t, dx });
    }
    let len = task_len(x.len(), 1);
    let mut partial = [T::ZERO; MAX_TASKS];
    x.par_chunks(len)
        .zip(t.par_chunks(len))
        .zip(dx.par_chunks_mut(len))
        .zip(partial.par_iter_mut())
        .for_each(|(((x, t), dx), p)| *p = simd(Elements { loss, inverse, x, t, dx }));
    sum(&partial[..x.len().div_ceil(len)])
}
