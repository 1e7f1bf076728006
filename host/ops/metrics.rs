//! Metrics that run where the predictions are: correct predictions, the confusion matrix, and the sums behind R2.
//!
//! ```text
//! correct_count(x[B,C], label[B])        u32[1]     how many rows have their largest logit at their label
//! confusion(x[B,C], label[B], m[C,C])    m, in place: m[label, prediction] += 1
//! regression_sums(p, t)                  f32[3]     sum (p - t)^2, sum t, sum t^2
//! ```
//!
//! A row's prediction is the position of its largest logit: the lowest of equals; NaN is the largest. Labels of C or more are
//! never correct and are not counted in the matrix. R2 is `1 - S0 / (S2 - S1^2 / n)`; its denominator cancels
//! when the targets' mean is large against their spread, so standardise targets or shift them first: with sums exact to
//! about `log2(n) 2^-24`, R2 is off by that times `S2 / (S2 - S1^2 / n)`. Metrics have no gradient.

use super::reduce::{View, launch_sum, sum_workspace};
use super::reduce_cpu::argmax_rows;
use super::simd::{Body, LANES, load, simd, sum_lanes};
use super::softmax::row_launch;
use crate::device::{DType, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;
use crate::ops::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::real::Real;
use gpu_kernels::collective::BLOCK;
use gpu_kernels::loss::{ELEMENTS_PER_BLOCK, MAX_BLOCKS};

/// Calls `f(label, prediction)` for each row.
struct Predictions<'a, T, F> {
    n: usize,
    x: &'a [T],
    labels: &'a [u32],
    f: F,
}
impl<T: Real, F: FnMut(usize, usize)> Body for Predictions<'_, T, F> {
    type Out = ();
    #[inline(always)]
    fn run(mut self) {
        argmax_rows(self.n, self.x, |r, at| (self.f)(self.labels[r] as usize, at));
    }
}

fn classes(op: &'static str, inputs: &[TensorType]) -> Result<(usize, usize), OpError> {
    match inputs {
        [x, labels, ..]
            if x.dtype == DType::F32
                && x.rank() == 2
                && x.len() <= u32::MAX as usize
                && *labels == TensorType::u32([x.shape[0]]) =>
        {
            Ok((x.shape[0], x.shape[1]))
        }
        _ => Err(OpError::shape(op, "logits f32 [B, C] (fewer than 2^32) and labels u32 [B]", inputs)),
    }
}

/// How many rows are predicted right.
#[derive(Debug, Clone)]
struct CorrectCount {
    rows: usize,
    n: usize,
}

impl CorrectCount {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let mut count = 0;
        let f = |label, prediction| count += u32::from(label == prediction);
        simd(Predictions { n: self.n, x: ctx.input(0), labels: ctx.integers(1), f });
        ctx.output_index(0)[0] = count;
    }
}

impl Op for CorrectCount {
    fn name(&self) -> &'static str {
        "correct_count"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if inputs.len() != 2 || classes(self.name(), inputs)? != (self.rows, self.n) {
            let reason = format!("logits f32 [{}, {}] and their labels", self.rows, self.n);
            return Err(OpError::shape(self.name(), reason, inputs));
        }
        Ok(vec![TensorType::u32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        row_launch(self.rows, self.n).1.grid[0] as usize
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (log2, launch) = row_launch(self.rows, self.n);
        let (x, labels): (DevicePtr<f32>, DevicePtr<u32>) = (ctx.input(0), ctx.input(1));
        let blocks = launch.grid[0];
        let total: DevicePtrMut<u32> = ctx.output(0);
        let partial = if blocks == 1 { total } else { DevicePtrMut::new(ctx.workspace.address) };
        let args = (self.rows as u32, self.n as u32, log2, x, labels, partial);
        ctx.launch(kernel!(metrics::correct_rows), launch, args)?;
        if blocks > 1 {
            ctx.launch(
                kernel!(metrics::sum_counts),
                Launch::new(1, BLOCK),
                (blocks, partial.as_const(), total),
            )?;
        }
        Ok(())
    }
}

/// Counts predictions by true and predicted class, in place.
#[derive(Debug, Clone)]
struct Confusion {
    rows: usize,
    n: usize,
}

impl Confusion {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let n = self.n;
        let matrix = ctx.output_index(0);
        let f = |label, prediction| {
            if label < n {
                let count: &mut u32 = &mut matrix[label * n + prediction];
                *count = count.wrapping_add(1);
            }
        };
        simd(Predictions { n, x: ctx.input(0), labels: ctx.integers(1), f });
    }
}

impl Op for Confusion {
    fn name(&self) -> &'static str {
        "confusion"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [_, _, matrix]
                if classes(self.name(), inputs)? == (self.rows, self.n)
                    && *matrix == TensorType::u32([self.n, self.n]) =>
            {
                Ok(vec![matrix.clone()])
            }
            _ => Err(OpError::shape(
                self.name(),
                "logits f32 [B, C], labels u32 [B], counts u32 [C, C]",
                inputs,
            )),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 0)]
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (log2, launch) = row_launch(self.rows, self.n);
        let (x, labels): (DevicePtr<f32>, DevicePtr<u32>) = (ctx.input(0), ctx.input(1));
        let matrix: DevicePtrMut<u32> = ctx.output(0);
        ctx.launch(
            kernel!(metrics::confusion_rows),
            launch,
            (self.rows as u32, self.n as u32, log2, x, labels, matrix),
        )
    }
}

/// `[sum (p - t)^2, sum t, sum t^2]`.
#[derive(Debug, Clone)]
struct RegressionSums {
    n: usize,
}

/// The three sums of a slice.
struct Sums<'a, T> {
    p: &'a [T],
    t: &'a [T],
}
impl<T: Real> Body for Sums<'_, T> {
    type Out = [T; 3];
    #[inline(always)]
    fn run(self) -> [T; 3] {
        /// Elements added up in the same accumulators.
        const PIECE: usize = 2048;
        let mut total = [T::ZERO; 3];
        for (p, t) in self.p.chunks(PIECE).zip(self.t.chunks(PIECE)) {
            let mut acc = [[T::ZERO; LANES]; 3];
            for at in (0..p.len()).step_by(LANES) {
                let n = p.len() - at;
                let (p, t) = (load(&p[at..], n, T::ZERO), load(&t[at..], n, T::ZERO));
                for l in 0..LANES {
                    let d = p[l] - t[l];
                    acc[0][l] += d * d;
                    acc[1][l] += t[l];
                    acc[2][l] += t[l] * t[l];
                }
            }
            for (total, acc) in total.iter_mut().zip(acc) {
                *total += sum_lanes(acc);
            }
        }
        total
    }
}

impl RegressionSums {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let sums = simd(Sums { p: ctx.input(0), t: ctx.input(1) });
        ctx.output(0).copy_from_slice(&sums);
    }

    fn blocks(&self) -> usize {
        self.n.div_ceil(ELEMENTS_PER_BLOCK as usize).min(MAX_BLOCKS as usize)
    }

    fn partials(&self) -> View {
        View { outer: 1, n: self.blocks(), inner: 3 }
    }
}

impl Op for RegressionSums {
    fn name(&self) -> &'static str {
        "regression_sums"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [p, t] if p.dtype == DType::F32 && p == t && p.len() == self.n && self.n <= u32::MAX as usize => {
                Ok(vec![TensorType::f32([3])])
            }
            _ => {
                let reason = "predictions and targets, both f32 and of one shape (fewer than 2^32 elements)";
                Err(OpError::shape(self.name(), reason, inputs))
            }
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(6 * self.n as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        if self.blocks() == 1 { 0 } else { 3 * self.blocks() + sum_workspace(self.partials()) }
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let blocks = self.blocks();
        let out: DevicePtrMut<f32> = ctx.output(0);
        let partial = if blocks == 1 { out } else { ctx.workspace };
        let (p, t): (DevicePtr<f32>, DevicePtr<f32>) = (ctx.input(0), ctx.input(1));
        let launch = Launch::new(blocks as u32, BLOCK);
        ctx.launch(kernel!(metrics::regression_partials), launch, (self.n as u32, p, t, partial))?;
        if blocks > 1 {
            let rest = DevicePtrMut::new(ctx.workspace.address + 12 * blocks as u64);
            launch_sum(ctx.device, self.partials(), 1.0, partial.as_const(), out, rest)?;
        }
        Ok(())
    }
}

impl Graph {
    /// How many rows of `logits [B, C]` are largest at their label: `u32 [1]`.
    pub fn correct_count(&mut self, logits: Value, labels: Value) -> Result<Value, OpError> {
        let (rows, n) = classes("correct_count", &self.types(&[logits, labels]))?;
        self.push1(CorrectCount { rows, n }, &[logits, labels])
    }

    /// Adds the rows of `logits [B, C]` to the confusion matrix `u32 [C, C]` (true class, predicted class), in place.
    pub fn confusion(&mut self, logits: Value, labels: Value, matrix: Value) -> Result<Value, OpError> {
        let (rows, n) = classes("confusion", &self.types(&[logits, labels]))?;
        self.push1(Confusion { rows, n }, &[logits, labels, matrix])
    }

    /// `[sum (p - t)^2, sum t, sum t^2]`: what mean squared error and R2 are made of.
    pub fn regression_sums(&mut self, predictions: Value, targets: Value) -> Result<Value, OpError> {
        let n = self.ty(predictions).len();
        self.push1(RegressionSums { n }, &[predictions, targets])
    }
}

fn classes_sample(d: &mut Draw) -> (usize, usize, Vec<SampleInput>) {
    let n = if d.below(8) == 7 { 1025 + d.below(500) } else { d.dim() };
    let rows = d.dim_to(12_000 / n);
    let domain = d.pick(&[Domain::Uniform(-4.0, 4.0), Domain::Special, Domain::Exactly(1.5)]);
    // Labels that are no class are not counted.
    let bound = n + d.pick(&[0, 3]);
    (rows, n, vec![SampleInput::f32([rows, n], domain).constant(), SampleInput::index([rows], bound as u32)])
}

fn correct_sample(d: &mut Draw) -> Sample {
    let (rows, n, inputs) = classes_sample(d);
    Sample::new(CorrectCount { rows, n }, inputs, Tolerance::EXACT)
}

fn confusion_sample(d: &mut Draw) -> Sample {
    let (rows, n, mut inputs) = classes_sample(d);
    inputs.push(SampleInput::index([n, n], 1000));
    Sample::new(Confusion { rows, n }, inputs, Tolerance::EXACT)
}

fn regression_sample(d: &mut Draw) -> Sample {
    let n = if d.coin() { 1024 + d.below(8000) } else { d.dim() };
    let input = |lo, hi| SampleInput::f32([n], Domain::Uniform(lo, hi)).constant();
    // Sums of n terms of at most 64.
    Sample::new(RegressionSums { n }, vec![input(-4.0, 4.0), input(-4.0, 4.0)], Tolerance::sum(2.0, n, 16.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    let entry = |name, kernels, sample| OpEntry { name, kernels, sample, differentiable: false };
    vec![
        entry("correct_count", &["correct_rows", "sum_counts"], correct_sample),
        entry("confusion", &["confusion_rows"], confusion_sample),
        entry("regression_sums", &["regression_partials", "sum_columns"], regression_sample),
    ]
}
