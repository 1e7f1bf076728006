//! Repeating along an axis, and the other operations that undo a reduction's shape.
//!
//! With a tensor seen as `[outer, n, inner]`:
//!
//! ```text
//! expand    y[o, j, i] = scale x[o, i]            dx[o, i] = scale sum_j dy[o, j, i]    (sum_to)
//! sum_to    y[o, i] = scale sum_j x[o, j, i]      dx[o, j, i] = scale dy[o, i]          (expand)
//! max_grad  dx[o, j, i] = dy[o, i] [j = index[o, i]]                                    none
//! ```
//!
//! They are what the gradients of [`reduce`](super::reduce) are made of; `expand` is also there for users. Cost: each
//! element written once.

use super::reduce::{BUDGET, View, launch_sum, one_input, shape, shape_and_axis, sum_workspace};
use super::reduce_cpu as cpu;
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::ops::{
    Cost, CpuCtx, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::real::Real;
use gpu_kernels::collective::BLOCK;

/// Repeats along an axis: `y[o, j, i] = scale * x[o, i]`.
#[derive(Debug, Clone)]
pub(super) struct Expand {
    pub view: View,
    /// Shape before and after.
    pub from: Vec<usize>,
    pub shape: Vec<usize>,
    pub scale: f64,
}

impl Expand {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        cpu::expand(self.view, T::of(self.scale), ctx.input(0), ctx.output(0));
    }
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn attributes(&self) -> String {
        format!("shape={:?}, scale={}", self.shape, self.scale as f32)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one_input("expand", self.view.outputs(), inputs)?;
        if x.shape != self.from {
            return Err(OpError::shape("expand", format!("made for shape {:?}", self.from), inputs));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(self.view.len() as u64, inputs, outputs)
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let View { outer, n, inner } = self.view;
        let args = (outer as u32, n as u32, inner as u32, self.scale as f32, ctx.input(0), ctx.output(0));
        ctx.launch(kernel!(reduce::expand_axis), Launch::blocks_of(self.view.len(), BLOCK), args)
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let op =
            SumTo { view: self.view, from: self.shape.clone(), shape: self.from.clone(), scale: self.scale };
        let dx = vjp.graph().push1(op, &[dy])?;
        vjp.add(0, dx)
    }
}

/// The gradient of [`Expand`]: its inverse in shape, the scaled sum in value.
#[derive(Debug, Clone)]
struct SumTo {
    view: View,
    from: Vec<usize>,
    shape: Vec<usize>,
    scale: f64,
}

impl SumTo {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        cpu::sum(self.view, T::of(self.scale), ctx.input(0), ctx.output(0));
    }
}

impl Op for SumTo {
    fn name(&self) -> &'static str {
        "sum_to"
    }

    fn attributes(&self) -> String {
        format!("shape={:?}, scale={}", self.shape, self.scale as f32)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one_input("sum_to", self.view.len(), inputs)?;
        if x.shape != self.from {
            return Err(OpError::shape("sum_to", format!("made for shape {:?}", self.from), inputs));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(self.view.len() as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        sum_workspace(self.view)
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        launch_sum(ctx.device, self.view, self.scale as f32, ctx.input(0), ctx.output(0), ctx.workspace)
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let op =
            Expand { view: self.view, from: self.shape.clone(), shape: self.from.clone(), scale: self.scale };
        let dx = vjp.graph().push1(op, &[dy])?;
        vjp.add(0, dx)
    }
}

/// The gradient of max: inputs the positions of the maxima and the gradient of the maxima.
#[derive(Debug, Clone)]
pub(super) struct MaxGrad {
    pub view: View,
    /// Shape of the gradient.
    pub shape: Vec<usize>,
}

impl MaxGrad {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        cpu::scatter(self.view, ctx.integers(0), ctx.input(1), ctx.output(0));
    }
}

impl Op for MaxGrad {
    fn name(&self) -> &'static str {
        "max_grad"
    }

    fn attributes(&self) -> String {
        format!("shape={:?}", self.shape)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [index, dy]
                if index.dtype == DType::U32
                    && dy.dtype == DType::F32
                    && index.shape == dy.shape
                    && dy.len() == self.view.outputs() =>
            {
                Ok(vec![TensorType::f32(self.shape.clone())])
            }
            _ => Err(OpError::shape("max_grad", "u32 positions and f32 gradients of one shape", inputs)),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let View { outer, n, inner } = self.view;
        let args = (outer as u32, n as u32, inner as u32, ctx.input(0), ctx.input(1), ctx.output(0));
        ctx.launch(kernel!(reduce::scatter_axis), Launch::blocks_of(self.view.len(), BLOCK), args)
    }
}

impl Graph {
    /// `n` copies of `x` along a new axis `axis` (which may be past the last): the inverse of a reduction's shape.
    pub fn expand(&mut self, x: Value, axis: usize, n: usize) -> Result<Value, OpError> {
        let from = self.shape(x).to_vec();
        if axis > from.len() || n == 0 {
            let reason = format!("axis {axis} (0 to {} allowed) with {n} copies (at least 1)", from.len());
            return Err(OpError::attribute("expand", reason));
        }
        let mut shape = from.clone();
        shape.insert(axis, n);
        if shape.iter().try_fold(1u32, |a, &d| a.checked_mul(u32::try_from(d).ok()?)).is_none() {
            return Err(OpError::attribute("expand", format!("shape {shape:?} has 2^32 elements or more")));
        }
        let view = View { outer: from[..axis].iter().product(), n, inner: from[axis..].iter().product() };
        self.push1(Expand { view, from, shape, scale: 1.0 }, &[x])
    }
}

fn expand_sample(d: &mut Draw) -> Sample {
    let rank = 1 + d.below(3);
    let from = shape(d, rank, 2000);
    let axis = d.below(rank + 1);
    let n = d.dim_to(BUDGET / from.iter().product::<usize>());
    let mut shape = from.clone();
    shape.insert(axis, n);
    let scale = d.pick(&[1.0, 0.5, -0.25]);
    let view = View { outer: from[..axis].iter().product(), n, inner: from[axis..].iter().product() };
    let input = SampleInput::uniform(from.clone(), -4.0, 4.0);
    Sample::new(Expand { view, from, shape, scale }, vec![input], Tolerance::EXACT)
}

fn sum_to_sample(d: &mut Draw) -> Sample {
    let (ty, axis) = shape_and_axis(d, BUDGET);
    let view = View::of("sum_to", &ty, axis).expect("drawn axes exist");
    let op = SumTo { view, from: ty.shape.clone(), shape: vec![view.outer, view.inner], scale: 0.5 };
    Sample::new(op, vec![SampleInput::uniform(ty.shape, -4.0, 4.0)], Tolerance::sum(2.0, view.n, 4.0))
}

fn max_grad_sample(d: &mut Draw) -> Sample {
    let (ty, axis) = shape_and_axis(d, BUDGET);
    let view = View::of("max_grad", &ty, axis).expect("drawn axes exist");
    let small = [view.outer, view.inner];
    let inputs =
        vec![SampleInput::index(small, view.n as u32), SampleInput::uniform(small, -4.0, 4.0).constant()];
    Sample::new(MaxGrad { view, shape: ty.shape }, inputs, Tolerance::EXACT)
}

pub(super) fn entries() -> Vec<OpEntry> {
    let entry = |name, kernels, sample, differentiable| OpEntry { name, kernels, sample, differentiable };
    vec![
        entry("expand", &["expand_axis"], expand_sample, true),
        entry("sum_to", &["sum_rows", "sum_columns"], sum_to_sample, true),
        entry("max_grad", &["scatter_axis"], max_grad_sample, false),
    ]
}
