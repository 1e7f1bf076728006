//! The CPU side of [`loss`](super::loss): loss and gradient in one pass over a row, or a vector of elements.

use rayon::prelude::*;

use super::simd::{
    Body, LANES, MAX_TASKS, PARALLEL, load, max, max_lanes, simd, store, sum, sum_lanes, task_len,
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
    /// Row `r`: (sum of exponentials, loss without its logarithm).
    #[inline(always)]
    fn row(&mut self, r: usize) -> (T, T) {
        let n = self.n;
        let start = r * n;
        let label = self.labels[r] as usize;
        let x = &self.x[start..];
        // A row of up to LANES classes stays in one vector from the logits to the gradient.
        let short = n <= LANES;
        let first = load(x, n, T::NEG_INFINITY);
        let m = if short { max_lanes(first) } else { max(&x[..n]) };
        let mut sums = [T::ZERO; LANES];
        let mut diffs = [T::ZERO; LANES];
        let mut e = [T::ZERO; LANES];
        for at in (0..n).step_by(LANES) {
            let v = if short { first } else { load(&x[at..], n - at, T::NEG_INFINITY) };
            for l in 0..LANES {
                let d = v[l] - m;
                e[l] = d.exp();
                sums[l] += e[l];
                diffs[l] += if l < n - at { d } else { T::ZERO };
            }
            if !short {
                store(&mut self.dx[start + at..], n - at, e);
            }
        }
        // Infinity minus infinity: undefined rows become NaN, and so do rows with a label that is no class.
        #[allow(clippy::eq_op)]
        let defined = m - m;
        let poison = if label < n { defined } else { T::of(f64::NAN) };
        let s = sum_lanes(sums) + poison;
        let inverse = T::ONE / s;
        let (off, scale) = (self.off, self.inverse_rows);
        if short {
            store(&mut self.dx[start..], n, std::array::from_fn(|l| (e[l] * inverse - off) * scale));
        } else {
            for g in &mut self.dx[start..start + n] {
                *g = (*g * inverse - off) * scale;
            }
        }
        if label >= n {
            return (s, T::ZERO);
        }
        self.dx[start + label] = self.dx[start + label] - self.on * scale;
        let mut part = -self.on * (x[label] - m);
        // Without smoothing, a class of minus infinity must not count: 0 * infinity is NaN.
        if off != T::ZERO {
            part += -off * sum_lanes(diffs);
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
        for first in (0..rows).step_by(LANES) {
            // The logarithms of LANES rows are one vector; that of a missing row is ln 1.
            let mut s = [T::ONE; LANES];
            let mut part = [T::ZERO; LANES];
            for l in 0..LANES.min(rows - first) {
                (s[l], part[l]) = self.row(first + l);
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
