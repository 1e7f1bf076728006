//! Losses, each fused with its gradient: one pass over the data gives both.
//!
//! Every operation has the outputs (loss `[1]`, gradient shaped like the predictions), the loss being the mean over rows
//! (`cross_entropy`) or elements (the others), as PyTorch's default reduction:
//!
//! ```text
//! cross_entropy(x[B,C], label[B], e)  -(1-e) ln p[label] - e/C sum ln p      (p - (1-e) [c = label] - e/C) / B,   p = softmax(x)
//! bce_with_logits(x, t)               max(x, 0) - x t + ln(1 + e^-|x|)       (sigmoid(x) - t) / n
//! mse(x, t)                           (x - t)^2                              2 (x - t) / n
//! mae(x, t)                           |x - t|                                sign(x - t) / n
//! huber(x, t, d)                      (x - t)^2 / 2 within d, else           clamp(x - t, -d, d) / n
//!                                     d (|x - t| - d / 2)
//! ```
//!
//! The builders return the loss; its vjp takes the second output, times the upstream gradient unless that is one. Targets
//! get gradients too, except class labels. A label of C or more is never used as an index: it makes the loss and the row's
//! gradient NaN (labels are checked where data is loaded). Sums are added in an order that depends on the shape alone.

use super::loss_cpu as cpu;
use super::reduce::{View, launch_sum, sum_workspace};
use super::softmax::row_launch;
use crate::device::{DType, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::ops::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::real::Real;
use gpu_kernels::collective::BLOCK;
use gpu_kernels::loss::{BCE, ELEMENTS_PER_BLOCK, HUBER, MAE, MAX_BLOCKS, MSE};

/// Partial sums of `blocks` blocks, as a row to reduce.
fn partials(blocks: usize) -> View {
    View { outer: 1, n: blocks, inner: 1 }
}

/// Workspace of [`finish`].
fn partial_workspace(blocks: usize) -> usize {
    if blocks == 1 { 0 } else { blocks + sum_workspace(partials(blocks)) }
}

/// Runs `first(scale, partial)`, whose `blocks` blocks write a partial sum each, and adds those to the mean over `count`
/// in output 0. One block writes the mean itself.
fn finish(
    ctx: &KernelCtx<'_>,
    blocks: usize,
    count: usize,
    first: impl FnOnce(f32, DevicePtrMut<f32>) -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let scale = 1.0 / count as f32;
    if blocks == 1 {
        return first(scale, ctx.output(0));
    }
    first(1.0, ctx.workspace)?;
    let rest = DevicePtrMut::new(ctx.workspace.address + 4 * blocks as u64);
    launch_sum(ctx.device, partials(blocks), scale, ctx.workspace.as_const(), ctx.output(0), rest)
}

/// The gradient with respect to the predictions: output 1, times what comes from above.
fn prediction_gradient(vjp: &mut Vjp<'_>, name: &'static str) -> Result<Option<(Value, Value)>, OpError> {
    if vjp.grad(1).is_some() {
        return Err(OpError::NotDifferentiable(name));
    }
    let Some(up) = vjp.grad(0) else { return Ok(None) };
    let own = vjp.output(1);
    let dx = if vjp.graph().is_ones(up) { own } else { vjp.graph().scale_by(own, up)? };
    Ok(Some((up, dx)))
}

/// Softmax cross-entropy of `[rows, n]` logits with class labels.
#[derive(Debug, Clone)]
pub(super) struct CrossEntropy {
    rows: usize,
    n: usize,
    smoothing: f32,
}

impl CrossEntropy {
    fn new(logits: &TensorType, labels: &TensorType, smoothing: f32) -> Result<CrossEntropy, OpError> {
        let fits = logits.dtype == DType::F32
            && labels.dtype == DType::U32
            && logits.rank() == 2
            && logits.len() <= u32::MAX as usize
            && labels.shape == logits.shape[..1];
        if !fits {
            let reason = "logits f32 [B, C] (fewer than 2^32) and labels u32 [B]";
            return Err(OpError::shape("cross_entropy", reason, &[logits.clone(), labels.clone()]));
        }
        if !(0.0..1.0).contains(&smoothing) {
            return Err(OpError::attribute(
                "cross_entropy",
                format!("label smoothing {smoothing}; it is in [0, 1)"),
            ));
        }
        Ok(CrossEntropy { rows: logits.shape[0], n: logits.shape[1], smoothing })
    }

    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let sum = cpu::cross_entropy(self.n, self.smoothing, ctx.input(0), ctx.integers(1), ctx.output(1));
        ctx.output(0)[0] = sum * T::of(1.0 / self.rows as f64);
    }

    fn blocks(&self) -> usize {
        row_launch(self.rows, self.n).1.grid[0] as usize
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn attributes(&self) -> String {
        format!("smoothing={}", self.smoothing)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x, labels]
                if *x == TensorType::f32([self.rows, self.n]) && *labels == TensorType::u32([self.rows]) =>
            {
                Ok(vec![TensorType::f32([1]), x.clone()])
            }
            _ => {
                let reason = format!("logits f32 [{}, {}] and labels u32 [{0}]", self.rows, self.n);
                Err(OpError::shape("cross_entropy", reason, inputs))
            }
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(6 * inputs[0].len() as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        partial_workspace(self.blocks())
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (log2, launch) = row_launch(self.rows, self.n);
        let (rows, n, inverse) = (self.rows as u32, self.n as u32, 1.0 / self.rows as f32);
        let (x, labels): (DevicePtr<f32>, DevicePtr<u32>) = (ctx.input(0), ctx.input(1));
        finish(ctx, self.blocks(), self.rows, |scale, partial| {
            let args = (rows, n, log2, self.smoothing, inverse, scale, x, labels, ctx.output(1), partial);
            ctx.launch(kernel!(loss::cross_entropy_rows), launch, args)
        })
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        match prediction_gradient(vjp, "cross_entropy")? {
            Some((_, dx)) => vjp.add(0, dx),
            None => Ok(()),
        }
    }
}

/// Which elementwise loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Bce,
    Mse,
    Mae,
    Huber(f32),
}

/// An elementwise loss over `n` pairs of prediction and target.
#[derive(Debug, Clone)]
pub(super) struct Elementwise {
    kind: Kind,
    n: usize,
}

impl Elementwise {
    fn new(kind: Kind, ty: &TensorType, target: &TensorType) -> Result<Elementwise, OpError> {
        let op = Elementwise { kind, n: ty.len() };
        if let Kind::Huber(delta) = kind
            && !(delta > 0.0 && delta.is_finite())
        {
            return Err(OpError::attribute("huber", format!("delta {delta}; it is positive and finite")));
        }
        op.infer(&[ty.clone(), target.clone()])?;
        Ok(op)
    }

    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let inverse = T::of(1.0 / self.n as f64);
        let (x, t, dx) = (ctx.input(0), ctx.input(1), ctx.output(1));
        let sum = match self.kind {
            Kind::Bce => cpu::elementwise(cpu::Bce, inverse, x, t, dx),
            Kind::Mse => cpu::elementwise(cpu::Mse, inverse, x, t, dx),
            Kind::Mae => cpu::elementwise(cpu::Mae, inverse, x, t, dx),
            Kind::Huber(delta) => cpu::elementwise(cpu::Huber(T::of(f64::from(delta))), inverse, x, t, dx),
        };
        ctx.output(0)[0] = sum * inverse;
    }

    fn blocks(&self) -> usize {
        self.n.div_ceil(ELEMENTS_PER_BLOCK as usize).min(MAX_BLOCKS as usize)
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Bce => "bce_with_logits",
            Kind::Mse => "mse",
            Kind::Mae => "mae",
            Kind::Huber(_) => "huber",
        }
    }

    fn attributes(&self) -> String {
        if let Kind::Huber(delta) = self.kind { format!("delta={delta}") } else { String::new() }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x, t] if x.dtype == DType::F32 && x == t && x.len() == self.n && self.n <= u32::MAX as usize => {
                Ok(vec![TensorType::f32([1]), x.clone()])
            }
            _ => {
                let reason = "predictions and targets, both f32 and of one shape (fewer than 2^32 elements)";
                Err(OpError::shape(self.name(), reason, inputs))
            }
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flop = if self.kind == Kind::Bce { 9 } else { 5 };
        Cost::streaming(flop * self.n as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        partial_workspace(self.blocks())
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (n, inverse, launch) =
            (self.n as u32, 1.0 / self.n as f32, Launch::new(self.blocks() as u32, BLOCK));
        let (x, t): (DevicePtr<f32>, DevicePtr<f32>) = (ctx.input(0), ctx.input(1));
        let dx: DevicePtrMut<f32> = ctx.output(1);
        let (kind, delta) = match self.kind {
            Kind::Bce => (BCE, 0.0),
            Kind::Mse => (MSE, 0.0),
            Kind::Mae => (MAE, 0.0),
            Kind::Huber(delta) => (HUBER, delta),
        };
        finish(ctx, self.blocks(), self.n, |scale, partial| {
            let args = (n, kind, delta, inverse, scale, x, t, dx, partial);
            ctx.launch(kernel!(loss::elementwise_loss), launch, args)
        })
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some((up, dx)) = prediction_gradient(vjp, self.name())? else { return Ok(()) };
        if vjp.needs(0) {
            vjp.add(0, dx)?;
        }
        if vjp.needs(1) {
            let dt = if self.kind == Kind::Bce {
                // d/dt of -x t, averaged.
                let x = vjp.input(0);
                let dt = vjp.graph().scale(x, -1.0 / self.n as f32)?;
                if vjp.graph().is_ones(up) { dt } else { vjp.graph().scale_by(dt, up)? }
            } else {
                // The others depend on the difference alone.
                vjp.graph().scale(dx, -1.0)?
            };
            vjp.add(1, dt)?;
        }
        Ok(())
    }
}

impl Graph {
    /// Mean softmax cross-entropy of logits `[B, C]` with labels `u32 [B]` and label smoothing in [0, 1): `[1]`.
    pub fn cross_entropy(&mut self, logits: Value, labels: Value, smoothing: f32) -> Result<Value, OpError> {
        let op = CrossEntropy::new(self.ty(logits), self.ty(labels), smoothing)?;
        self.push1(op, &[logits, labels])
    }

    fn elementwise_loss(&mut self, kind: Kind, x: Value, t: Value) -> Result<Value, OpError> {
        let op = Elementwise::new(kind, self.ty(x), self.ty(t))?;
        self.push1(op, &[x, t])
    }

    /// Mean binary cross-entropy of logits with targets in [0, 1], of one shape: `[1]`.
    pub fn bce_with_logits(&mut self, logits: Value, targets: Value) -> Result<Value, OpError> {
        self.elementwise_loss(Kind::Bce, logits, targets)
    }

    /// Mean squared error: `[1]`.
    pub fn mse(&mut self, predictions: Value, targets: Value) -> Result<Value, OpError> {
        self.elementwise_loss(Kind::Mse, predictions, targets)
    }

    /// Mean absolute error: `[1]`. The gradient where both are equal is 0.
    pub fn mae(&mut self, predictions: Value, targets: Value) -> Result<Value, OpError> {
        self.elementwise_loss(Kind::Mae, predictions, targets)
    }

    /// Mean Huber loss: quadratic up to a difference of `delta` > 0, linear beyond: `[1]`.
    pub fn huber(&mut self, predictions: Value, targets: Value, delta: f32) -> Result<Value, OpError> {
        self.elementwise_loss(Kind::Huber(delta), predictions, targets)
    }
}

fn cross_entropy_sample(d: &mut Draw) -> Sample {
    let n = if d.below(8) == 7 { 1025 + d.below(1000) } else { d.dim() };
    let rows = d.dim_to(12_000 / n);
    let smoothing = d.pick(&[0.0, 0.1, 0.5, 0.999]);
    let large = d.below(4) == 3;
    let domain = if large { Domain::Uniform(-1e4, 1e4) } else { Domain::Uniform(-4.0, 4.0) };
    let logits = SampleInput::f32([rows, n], domain);
    let inputs = vec![if large { logits.constant() } else { logits }, SampleInput::index([rows], n as u32)];
    let op = CrossEntropy { rows, n, smoothing };
    // Sums over a row, then over the rows, of terms as large as the spread of the logits.
    let scale = if large { 2e4 } else { 8.0 };
    Sample::new(
        op,
        inputs,
        Tolerance::sum(2.0, n.max(rows), scale / rows as f64).absolute(scale / (rows as f64).sqrt()),
    )
}

fn elementwise_sample(d: &mut Draw, kind: Kind) -> Sample {
    let long = d.below(4) == 3;
    let shape = if long { vec![1024 + d.below(8000)] } else { vec![d.dim(), d.dim_to(100)] };
    let n = shape.iter().product();
    let target = match kind {
        Kind::Bce => Domain::Uniform(0.0, 1.0),
        // Differences from 1 to 9: off the kink at 0.
        Kind::Mae => Domain::Uniform(5.0, 9.0),
        // Differences away from delta are not needed: Huber's gradient is continuous.
        _ => Domain::Uniform(-4.0, 4.0),
    };
    let inputs = vec![SampleInput::uniform(shape.clone(), -4.0, 4.0), SampleInput::f32(shape, target)];
    // A loss is a mean of n terms of at most 64 (squares); sums of n terms lose sqrt(log n) roundings, covered by 4. The
    // gradient has a handful of roundings of values up to 16 / n.
    Sample::new(Elementwise { kind, n }, inputs, Tolerance::ulps(4.0).absolute(16.0 / n as f64))
}

fn huber_sample(d: &mut Draw) -> Sample {
    let delta = d.pick(&[1.0, 0.25, 3.0]);
    elementwise_sample(d, Kind::Huber(delta))
}

pub(super) fn entries() -> Vec<OpEntry> {
    let entry = |name, kernels, sample| OpEntry { name, kernels, sample, differentiable: true };
    vec![
        entry("cross_entropy", &["cross_entropy_rows", "sum_rows"], cross_entropy_sample),
        entry("bce_with_logits", &["elementwise_loss", "sum_rows"], |d| elementwise_sample(d, Kind::Bce)),
        entry("mse", &["elementwise_loss", "sum_rows"], |d| elementwise_sample(d, Kind::Mse)),
        entry("mae", &["elementwise_loss", "sum_rows"], |d| elementwise_sample(d, Kind::Mae)),
        entry("huber", &["elementwise_loss", "sum_rows"], huber_sample),
    ]
}
