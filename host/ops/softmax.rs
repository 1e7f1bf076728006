//! Softmax and log-softmax along the last axis, with the operations of their gradients.
//!
//! ```text
//! softmax       y = e^(x - m) / s,   m = max x,  s = sum e^(x - m)     dx = y (dy - sum y dy)
//! log_softmax   y = x - m - ln s                                      dx = dy - e^y sum dy
//! ```
//!
//! Any leading axes; rows of any length. Logits of any size: the largest is subtracted before the exponential. Minus
//! infinity gives 0 (log: minus infinity). A row with NaN or plus infinity, or of minus infinity alone, is NaN throughout, as in
//! PyTorch. Cost: about 4 operations an element (log: 3), each element read twice on a device, written once.

use rayon::prelude::*;

use super::simd::{self, Body, LANES, PARALLEL, load, max, simd, store, sum_lanes, task_len};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::ops::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::real::Real;
use gpu_kernels::collective::{BLOCK, LOG2_BLOCK};
use gpu_kernels::softmax::WARP_ROW;

/// Rows of kernels that give a group of threads to each: log2 of the group, and the launch.
pub(super) fn row_launch(rows: usize, n: usize) -> (u32, Launch) {
    let log2 =
        if n <= WARP_ROW as usize { n.div_ceil(2).next_power_of_two().min(32).ilog2() } else { LOG2_BLOCK };
    (log2, Launch::new((rows << log2).div_ceil(BLOCK as usize) as u32, BLOCK))
}

/// Rows and row length of a tensor; refuses what 32-bit positions cannot address.
pub(super) fn rows_of(op: &'static str, x: &TensorType) -> Result<(usize, usize), OpError> {
    if x.dtype != DType::F32 || x.len() > u32::MAX as usize {
        let reason = "an f32 tensor of less than 2^32 elements";
        return Err(OpError::shape(op, reason, std::slice::from_ref(x)));
    }
    let n = x.shape.last().copied().unwrap_or(1);
    Ok((x.len() / n, n))
}

/// Softmax or, with `log`, log-softmax of rows of `n`.
#[derive(Debug, Clone)]
struct Softmax {
    log: bool,
    n: usize,
}

/// Rows of `n` from `x` to `y`.
struct Forward<'a, T> {
    log: bool,
    n: usize,
    x: &'a [T],
    y: &'a mut [T],
}
impl<T: Real> Body for Forward<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Forward { log, n, x, y } = self;
        for start in (0..x.len()).step_by(n) {
            let m = max(&x[start..start + n]);
            let mut sums = [T::ZERO; LANES];
            for at in (0..n).step_by(LANES) {
                let d = load(&x[start + at..], n - at, T::NEG_INFINITY);
                let e: [T; LANES] = std::array::from_fn(|l| (d[l] - m).exp());
                for l in 0..LANES {
                    // Lanes past the row hold minus infinity; with m minus infinity too they would be NaN, as the row is.
                    sums[l] += e[l];
                }
                if !log {
                    store(&mut y[start + at..], n - at, e);
                }
            }
            // Infinity minus infinity: undefined rows become NaN.
            #[allow(clippy::eq_op)]
            let defined = m - m;
            let s = sum_lanes(sums) + defined;
            if log {
                let shift = s.ln();
                for at in (0..n).step_by(LANES) {
                    let x = load(&x[start + at..], n - at, T::ZERO);
                    store(&mut y[start + at..], n - at, std::array::from_fn(|l| (x[l] - m) - shift));
                }
            } else {
                let inverse = T::ONE / s;
                for y in &mut y[start..start + n] {
                    *y *= inverse;
                }
            }
        }
    }
}

impl Softmax {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (log, n, x, y) = (self.log, self.n, ctx.input(0), ctx.output(0));
        let rows = task_len(x.len() / n, n) * n;
        if x.len() > PARALLEL / 4 {
            x.par_chunks(rows).zip(y.par_chunks_mut(rows)).for_each(|(x, y)| simd(Forward { log, n, x, y }));
        } else {
            simd(Forward { log, n, x, y });
        }
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x] if rows_of(self.name(), x)?.1 == self.n => Ok(vec![x.clone()]),
            _ => Err(OpError::shape(self.name(), format!("one tensor with rows of {}", self.n), inputs)),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(4 * inputs[0].len() as u64, inputs, outputs)
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let rows = ctx.inputs[0].len / self.n;
        let (log2, launch) = row_launch(rows, self.n);
        let args = (rows as u32, self.n as u32, log2, ctx.input(0), ctx.output(0));
        if self.log {
            ctx.launch(kernel!(softmax::log_softmax_rows), launch, args)
        } else {
            ctx.launch(kernel!(softmax::softmax_rows), launch, args)
        }
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let y = vjp.output(0);
        let dx = vjp.graph().push1(Backward { log: self.log, n: self.n }, &[y, dy])?;
        vjp.add(0, dx)
    }
}

/// The gradient of [`Softmax`]: inputs its output y and the gradient dy.
#[derive(Debug, Clone)]
struct Backward {
    log: bool,
    n: usize,
}

struct BackwardRows<'a, T> {
    log: bool,
    n: usize,
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}
impl<T: Real> Body for BackwardRows<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let BackwardRows { log, n, y, dy, dx } = self;
        for start in (0..y.len()).step_by(n) {
            let row = start..start + n;
            if log {
                let sum = simd::sum(&dy[row.clone()]);
                for at in (0..n).step_by(LANES) {
                    let (y, dy) =
                        (load(&y[start + at..], n - at, T::ZERO), load(&dy[start + at..], n - at, T::ZERO));
                    store(&mut dx[start + at..], n - at, std::array::from_fn(|l| dy[l] - y[l].exp() * sum));
                }
                continue;
            }
            let mut dots = [T::ZERO; LANES];
            for at in (0..n).step_by(LANES) {
                let (y, dy) =
                    (load(&y[start + at..], n - at, T::ZERO), load(&dy[start + at..], n - at, T::ZERO));
                for l in 0..LANES {
                    dots[l] += y[l] * dy[l];
                }
            }
            let dot = sum_lanes(dots);
            for ((dx, &y), &dy) in dx[row.clone()].iter_mut().zip(&y[row.clone()]).zip(&dy[row]) {
                *dx = y * (dy - dot);
            }
        }
    }
}

impl Backward {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (log, n, y, dy, dx) = (self.log, self.n, ctx.input(0), ctx.input(1), ctx.output(0));
        let rows = task_len(y.len() / n, n) * n;
        if y.len() > PARALLEL / 4 {
            y.par_chunks(rows)
                .zip(dy.par_chunks(rows))
                .zip(dx.par_chunks_mut(rows))
                .for_each(|((y, dy), dx)| simd(BackwardRows { log, n, y, dy, dx }));
        } else {
            simd(BackwardRows { log, n, y, dy, dx });
        }
    }
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_backward" } else { "softmax_backward" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [y, dy] if y == dy && rows_of(self.name(), y)?.1 == self.n => Ok(vec![y.clone()]),
            _ => {
                Err(OpError::shape(self.name(), format!("two equal tensors with rows of {}", self.n), inputs))
            }
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(4 * inputs[0].len() as u64, inputs, outputs)
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let rows = ctx.inputs[0].len / self.n;
        let (log2, launch) = row_launch(rows, self.n);
        let args = (rows as u32, self.n as u32, log2, ctx.input(0), ctx.input(1), ctx.output(0));
        if self.log {
            ctx.launch(kernel!(softmax::log_softmax_backward_rows), launch, args)
        } else {
            ctx.launch(kernel!(softmax::softmax_backward_rows), launch, args)
        }
    }
}

impl Graph {
    fn softmax_op(&mut self, x: Value, log: bool) -> Result<Value, OpError> {
        let (_, n) = rows_of(if log { "log_softmax" } else { "softmax" }, self.ty(x))?;
        self.push1(Softmax { log, n }, &[x])
    }

    /// Softmax along the last axis.
    pub fn softmax(&mut self, x: Value) -> Result<Value, OpError> {
        self.softmax_op(x, false)
    }

    /// Natural logarithm of the softmax along the last axis.
    pub fn log_softmax(&mut self, x: Value) -> Result<Value, OpError> {
        self.softmax_op(x, true)
    }
}

/// A shape of any rank whose rows are short (a part of a warp), long (a block), or one element.
fn shape(d: &mut Draw) -> (Vec<usize>, usize) {
    let n = if d.below(6) == 5 { 1025 + d.below(2000) } else { d.dim() };
    let mut shape = vec![n];
    let mut budget = 12_000 / n;
    for _ in 0..d.below(4) {
        let m = d.dim_to(budget.max(1));
        budget /= m;
        shape.insert(0, m);
    }
    (shape, n)
}

fn forward_sample(d: &mut Draw, log: bool) -> Sample {
    let (shape, n) = shape(d);
    let domain = d.pick(&[Domain::Uniform(-4.0, 4.0), Domain::Uniform(-1e4, 1e4), Domain::Special]);
    let scale = match (log, domain) {
        // Half a rounding of x - m times e^(x - m) is at most 1/e; a typical element is 1/n.
        (false, _) => 1.0 / n as f64,
        // x - m and ln s round at their own magnitude, however small the result.
        (true, Domain::Uniform(_, hi)) => 2.0 * f64::from(hi),
        (true, _) => 8.0,
    };
    let input = SampleInput::f32(shape, domain);
    // Finite differences see nothing but rounding where one logit outweighs all others by thousands.
    let input = if matches!(domain, Domain::Uniform(-4.0, _)) { input } else { input.constant() };
    Sample::new(Softmax { log, n }, vec![input], Tolerance::sum(4.0, n, scale))
}

fn backward_sample(d: &mut Draw, log: bool) -> Sample {
    let (shape, n) = shape(d);
    let y = if log { Domain::Uniform(-5.0, 0.0) } else { Domain::Uniform(0.0, 1.0) };
    let inputs = vec![
        SampleInput::f32(shape.clone(), y).constant(),
        SampleInput::uniform(shape, -1.0, 1.0).constant(),
    ];
    // A dot product of n terms of magnitude 1, times y.
    Sample::new(Backward { log, n }, inputs, Tolerance::sum(4.0, n, 1.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    let entry = |name, kernels, sample, differentiable| OpEntry { name, kernels, sample, differentiable };
    vec![
        entry("softmax", &["softmax_rows", "softmax_backward_rows"], |d| forward_sample(d, false), true),
        entry(
            "log_softmax",
            &["log_softmax_rows", "log_softmax_backward_rows"],
            |d| forward_sample(d, true),
            true,
        ),
        entry("softmax_backward", &["softmax_backward_rows"], |d| backward_sample(d, false), false),
        entry("log_softmax_backward", &["log_softmax_backward_rows"], |d| backward_sample(d, true), false),
    ]
}
