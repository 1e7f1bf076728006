//! How property tests draw products: extents around tiles, layouts, precisions, and the errors that are allowed.

use super::{Dims, KERNELS, MatMul};
use crate::device::Target;
use crate::ops::activation::{self, Activation};
use crate::ops::matmul::{Precision, candidates, reference};
use crate::ops::{Draw, OpEntry, Sample, SampleInput, Tolerance};

/// Extents around the edges of every tile, operands of at most 20 000 elements, and batches now and then.
pub(in crate::ops) fn draw_dims(d: &mut Draw) -> Dims {
    const MOST: usize = 20_000;
    let (m, n) = (d.dim(), d.dim());
    let k = d.dim_to(MOST / m.max(n));
    let n = n.min(MOST / m).max(1);
    let each = (m * k).max(k * n).max(m * n);
    let batch = if d.below(3) == 0 { Some(1 + d.below((MOST / each).clamp(1, 5))) } else { None };
    Dims { batch, m, n, k }
}

/// Stored operands with elements in [-1, 1].
pub(in crate::ops) fn operands(x: Dims, ta: bool, tb: bool) -> Vec<SampleInput> {
    let matrix = |t: bool, r: usize, c: usize| {
        let (r, c) = if t { (c, r) } else { (r, c) };
        SampleInput::uniform(x.batch.into_iter().chain([r, c]).collect::<Vec<_>>(), -1.0, 1.0)
    };
    vec![matrix(ta, x.m, x.k), matrix(tb, x.k, x.n)]
}

/// A sum of k terms below 1 in magnitude is wrong by a random walk of k roundings of partial sums, themselves about
/// sqrt(k): `eps sqrt(k) sqrt(k)` times a small constant; the absolute part has the second root. Tensor cores cut sums off,
/// always towards zero: there the bound is [`reference::sum_error`] times the sum of the magnitudes, at most k.
pub(in crate::ops) fn tolerance(precision: Precision, k: usize, factor: f64) -> Tolerance {
    if precision == Precision::Fp32 {
        return Tolerance::sum(2.0, k, factor * (k as f64).sqrt() + 1.0);
    }
    let root = (k as f64).sqrt();
    let sums = reference::sum_error(precision, k) / (f64::from(f32::EPSILON) * root);
    Tolerance::sum(sums + 2.0, k, factor * k as f64 + 1.0)
}

/// A precision: f32 first, and of the others those that every target has kernels for.
pub(in crate::ops) fn draw_precision(d: &mut Draw) -> Precision {
    let has = |p: Precision, t: Target| candidates(t).any(|c| c.precision == p);
    let everywhere = |p: &Precision| [Target::Sm80, Target::Sm90a].iter().all(|&t| has(*p, t));
    let some: Vec<Precision> = Precision::ALL.into_iter().filter(everywhere).collect();
    d.pick(&some)
}

/// How far rounding may move an element of a gradient of a product of factors in [-1, 1], from its cotangent in [-1, 1]: each
/// of its terms has two rounded factors, off by half a unit in the last place, or of f16's smallest numbers by 2^-25. 0 where
/// nothing is rounded.
pub(in crate::ops) fn gradient_bound(precision: Precision, d: Dims) -> f64 {
    if !precision.rounds() {
        return 0.0;
    }
    let u = precision.roundoff() + 2f64.powi(-25);
    d.m.max(d.n) as f64 * (2.0 * u + u * u)
}

fn sample_linear(d: &mut Draw, activation: Activation) -> Sample {
    let (ta, tb) = d.pick(&[(false, true), (false, false), (true, false), (true, true)]);
    let dims = draw_dims(d);
    let bias = activation == Activation::Identity || d.coin();
    let mut inputs = operands(dims, ta, tb);
    if bias {
        inputs.push(SampleInput::uniform([dims.n], -1.0, 1.0));
    }
    let precision = draw_precision(d);
    let op = MatMul { dims, ta, tb, bias, activation, precision };
    let slope = 2.0 * f64::from(activation.param().abs().max(1.0));
    let exact = MatMul { precision: Precision::Fp32, ..op };
    Sample::new(op, inputs, tolerance(precision, dims.k, slope))
        .unrounded(exact, gradient_bound(precision, dims))
}

pub(in crate::ops) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry {
            name: "matmul",
            kernels: KERNELS,
            sample: |d| {
                let (ta, tb) = d.pick(&[(false, false), (false, true), (true, false), (true, true)]);
                let dims = draw_dims(d);
                let precision = draw_precision(d);
                let op = MatMul { dims, ta, tb, bias: false, activation: Activation::Identity, precision };
                let exact = MatMul { precision: Precision::Fp32, ..op };
                let sample = Sample::new(op, operands(dims, ta, tb), tolerance(precision, dims.k, 1.0));
                sample.unrounded(exact, gradient_bound(precision, dims))
            },
            differentiable: true,
        },
        OpEntry {
            name: "linear",
            kernels: KERNELS,
            sample: |d| sample_linear(d, Activation::Identity),
            differentiable: true,
        },
        OpEntry {
            name: "linear_activation",
            kernels: KERNELS,
            sample: |d| {
                let activation = activation::draw(d);
                sample_linear(d, activation)
            },
            differentiable: false,
        },
    ]
}
