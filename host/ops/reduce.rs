//! Reductions along one axis or over everything.
//!
//! A tensor is seen as `[outer, n, inner]`, n being the reduced axis:
//!
//! ```text
//! sum     y[o, i] = sum_j x[o, j, i]           dx[o, j, i] = dy[o, i]                (expand)
//! mean    y[o, i] = sum_j x[o, j, i] / n       dx[o, j, i] = dy[o, i] / n            (expand)
//! max     y[o, i] = max_j x[o, j, i]           dx[o, j, i] = dy[o, i] [j = argmax]   (max_grad)
//! argmax  y[o, i] = the j of that maximum      none
//! ```
//!
//! `expand` and `max_grad` are in [`expand`](super::expand). The reduced axis disappears; a tensor of rank 1 reduces to shape `[1]`. NaN: max gives NaN where there is one, argmax
//! the first NaN; among equals argmax gives the lowest index (PyTorch leaves that open). Sums are trees, or chains of at
//! most a few hundred elements joined by trees, in an order that depends on the shape alone. Cost: one operation an
//! element, each element read once; a long axis with few outputs takes two kernels and `outer * chunks * inner` of workspace.

use crate::device::{Device, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::ops::expand::{Expand, MaxGrad};
use crate::ops::reduce_cpu as cpu;
use crate::ops::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::real::Real;
use gpu_kernels::collective::{BLOCK, LOG2_BLOCK};

/// A tensor seen as `[outer, n, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

impl View {
    /// `axis` of `shape` in the middle; `None`: all axes.
    pub fn of(op: &'static str, ty: &TensorType, axis: Option<usize>) -> Result<View, OpError> {
        if ty.len() > u32::MAX as usize {
            let reason = "a tensor of 2^32 elements or more; split it";
            return Err(OpError::shape(op, reason, std::slice::from_ref(ty)));
        }
        let Some(axis) = axis else { return Ok(View { outer: 1, n: ty.len(), inner: 1 }) };
        if axis >= ty.rank() {
            let reason = format!("axis {axis} of a tensor with {} axes; axes count from 0", ty.rank());
            return Err(OpError::shape(op, reason, std::slice::from_ref(ty)));
        }
        Ok(View {
            outer: ty.shape[..axis].iter().product(),
            n: ty.shape[axis],
            inner: ty.shape[axis + 1..].iter().product(),
        })
    }

    /// Elements before and after reducing.
    pub fn len(&self) -> usize {
        self.outer * self.n * self.inner
    }
    pub fn outputs(&self) -> usize {
        self.outer * self.inner
    }
}

/// How kernels walk a view: a pure function of the shape, because the order of the sums follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    /// Elements of n a block takes, and how many such pieces there are.
    chunk: u32,
    chunks: u32,
    /// log2 of the threads of a row, or of those along the columns.
    log2: u32,
    blocks: u32,
}

/// Blocks beyond which splitting an axis gains nothing: several for each multiprocessor of the largest GPUs.
const ENOUGH_BLOCKS: usize = 1024;

impl Walk {
    /// With `split`, a long axis with few outputs is cut into pieces.
    fn new(v: View, split: bool) -> Walk {
        let (log2, tiles, serial) = if v.inner == 1 {
            let log2 = match v.n {
                0..=1024 => v.n.div_ceil(4).next_power_of_two().min(32).ilog2(),
                _ => LOG2_BLOCK,
            };
            let tiles = (v.outer << log2).div_ceil(BLOCK as usize);
            // A warp's row is never split; a block's is when each thread would have more than 16 elements.
            (log2, tiles, if log2 == LOG2_BLOCK { BLOCK as usize * 16 } else { usize::MAX })
        } else {
            let wide = match v.n {
                0..=4 => BLOCK as usize,
                5..=16 => 64,
                _ => v.inner.next_power_of_two().min(32),
            };
            let columns = wide.min(v.outputs().next_power_of_two()).min(BLOCK as usize);
            let tiles = v.outputs().div_ceil(columns);
            (columns.ilog2(), tiles, (BLOCK as usize / columns) * 32)
        };
        let most = (ENOUGH_BLOCKS / tiles.max(1)).max(1);
        let chunks = if split { (v.n / serial).clamp(1, most) } else { 1 };
        let chunk = v.n.div_ceil(chunks);
        let chunks = v.n.div_ceil(chunk);
        let blocks =
            if v.inner == 1 { ((v.outer * chunks) << log2).div_ceil(BLOCK as usize) } else { tiles * chunks };
        Walk { chunk: chunk as u32, chunks: chunks as u32, log2, blocks: blocks as u32 }
    }

    fn launch(&self) -> Launch {
        Launch::new(self.blocks, BLOCK)
    }
}

/// Workspace of [`launch_sum`], in elements.
pub(super) fn sum_workspace(v: View) -> usize {
    let walk = Walk::new(v, true);
    if walk.chunks > 1 { v.outputs() * walk.chunks as usize } else { 0 }
}

/// `y = scale * sum of x`, in one or two passes. Other operations finish their partial sums with it.
pub(super) fn launch_sum(
    device: &Device,
    v: View,
    scale: f32,
    x: DevicePtr<f32>,
    y: DevicePtrMut<f32>,
    workspace: DevicePtrMut<f32>,
) -> Result<(), DeviceError> {
    let pass = |v: View, walk: Walk, scale: f32, x: DevicePtr<f32>, y: DevicePtrMut<f32>| {
        let (outer, n, inner) = (v.outer as u32, v.n as u32, v.inner as u32);
        if inner == 1 {
            let args = (outer, n, walk.chunk, walk.chunks, walk.log2, scale, x, y);
            device.launch(kernel!(reduce::sum_rows), walk.launch(), args)
        } else {
            let args = (outer, n, inner, walk.chunk, walk.chunks, walk.log2, scale, x, y);
            device.launch(kernel!(reduce::sum_columns), walk.launch(), args)
        }
    };
    let walk = Walk::new(v, true);
    if walk.chunks == 1 {
        return pass(v, walk, scale, x, y);
    }
    pass(v, walk, 1.0, x, workspace)?;
    let rest = View { n: walk.chunks as usize, ..v };
    pass(rest, Walk::new(rest, false), scale, workspace.as_const(), y)
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sum,
    Mean,
    Max,
    ArgMax,
}

/// Sum, mean, max or argmax along an axis (`None`: over everything).
#[derive(Debug, Clone)]
pub(super) struct Reduce {
    kind: Kind,
    axis: Option<usize>,
    view: View,
}

impl Reduce {
    fn new(kind: Kind, axis: Option<usize>, ty: &TensorType) -> Result<Reduce, OpError> {
        Ok(Reduce { kind, axis, view: View::of(kind_name(kind), ty, axis)? })
    }

    /// What the sum is multiplied with.
    fn scale(&self) -> f64 {
        if self.kind == Kind::Mean { 1.0 / self.view.n as f64 } else { 1.0 }
    }

    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let x = ctx.input(0);
        match self.kind {
            Kind::Sum | Kind::Mean => cpu::sum(self.view, T::of(self.scale()), x, ctx.output(0)),
            Kind::Max => cpu::max(self.view, x, ctx.output(0)),
            Kind::ArgMax => cpu::argmax(self.view, x, ctx.output_index(0)),
        }
    }

    fn launch_max(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let pass = |v: View, walk: Walk, x: DevicePtr<f32>, y: DevicePtrMut<f32>| {
            let (outer, n, inner) = (v.outer as u32, v.n as u32, v.inner as u32);
            if inner == 1 {
                let args = (outer, n, walk.chunk, walk.chunks, walk.log2, x, y);
                ctx.launch(kernel!(reduce::max_rows), walk.launch(), args)
            } else {
                let args = (outer, n, inner, walk.chunk, walk.chunks, walk.log2, x, y);
                ctx.launch(kernel!(reduce::max_columns), walk.launch(), args)
            }
        };
        let walk = Walk::new(self.view, true);
        if walk.chunks == 1 {
            return pass(self.view, walk, ctx.input(0), ctx.output(0));
        }
        pass(self.view, walk, ctx.input(0), ctx.workspace)?;
        let rest = View { n: walk.chunks as usize, ..self.view };
        pass(rest, Walk::new(rest, false), ctx.workspace.as_const(), ctx.output(0))
    }

    fn launch_argmax(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        type Positions = (u32, u32, DevicePtr<f32>, DevicePtr<u32>, DevicePtrMut<f32>, DevicePtrMut<u32>);
        let pass = |v: View, walk: Walk, (again, keep, x, positions, y, index): Positions| {
            let (outer, n, inner) = (v.outer as u32, v.n as u32, v.inner as u32);
            if inner == 1 {
                let args =
                    (outer, n, walk.chunk, walk.chunks, walk.log2, again, keep, x, positions, y, index);
                ctx.launch(kernel!(reduce::argmax_rows), walk.launch(), args)
            } else {
                let args = (
                    outer,
                    n,
                    inner,
                    walk.chunk,
                    walk.chunks,
                    walk.log2,
                    again,
                    keep,
                    x,
                    positions,
                    y,
                    index,
                );
                ctx.launch(kernel!(reduce::argmax_columns), walk.launch(), args)
            }
        };
        let out: DevicePtrMut<u32> = ctx.output(0);
        let maxima = ctx.workspace;
        let walk = Walk::new(self.view, true);
        if walk.chunks == 1 {
            // Neither positions nor maxima are touched; any address will do for them.
            return pass(self.view, walk, (0, 0, ctx.input(0), out.as_const(), maxima, out));
        }
        let partial = self.view.outputs() * walk.chunks as usize;
        let positions = DevicePtrMut::<u32>::new(maxima.address + 4 * partial as u64);
        pass(self.view, walk, (0, 1, ctx.input(0), positions.as_const(), maxima, positions))?;
        let rest = View { n: walk.chunks as usize, ..self.view };
        let again = Walk::new(rest, false);
        pass(rest, again, (1, 0, maxima.as_const(), positions.as_const(), maxima, out))
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Sum => "sum",
        Kind::Mean => "mean",
        Kind::Max => "max",
        Kind::ArgMax => "argmax",
    }
}

/// The only input, which must be `f32` and have the view's length.
pub(super) fn one_input<'a>(
    op: &'static str,
    view: usize,
    inputs: &'a [TensorType],
) -> Result<&'a TensorType, OpError> {
    match inputs {
        [x] if x.dtype == crate::device::DType::F32 && x.len() == view => Ok(x),
        _ => Err(OpError::shape(op, format!("one f32 tensor of {view} elements"), inputs)),
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        kind_name(self.kind)
    }

    fn attributes(&self) -> String {
        self.axis.map_or("axis=all".into(), |axis| format!("axis={axis}"))
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one_input(self.name(), self.view.len(), inputs)?;
        if View::of(self.name(), x, self.axis)? != self.view {
            return Err(OpError::shape(self.name(), "made for another shape", inputs));
        }
        let mut shape = x.shape.clone();
        match self.axis {
            Some(axis) if shape.len() > 1 => drop(shape.remove(axis)),
            _ => shape = vec![1],
        }
        Ok(vec![if self.kind == Kind::ArgMax { TensorType::u32(shape) } else { TensorType::f32(shape) }])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(self.view.len() as u64, inputs, outputs)
    }

    fn workspace(&self, _inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        sum_workspace(self.view) * if self.kind == Kind::ArgMax { 2 } else { 1 }
    }

    generic_cpu!();

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        match self.kind {
            Kind::Sum | Kind::Mean => {
                let scale = self.scale() as f32;
                launch_sum(ctx.device, self.view, scale, ctx.input(0), ctx.output(0), ctx.workspace)
            }
            Kind::Max => self.launch_max(ctx),
            Kind::ArgMax => self.launch_argmax(ctx),
        }
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        let x = vjp.input(0);
        let shape = vjp.graph().shape(x).to_vec();
        let dx = match self.kind {
            Kind::Sum | Kind::Mean => {
                let op = Expand {
                    view: self.view,
                    from: vjp.graph().shape(dy).to_vec(),
                    shape,
                    scale: self.scale(),
                };
                vjp.graph().push1(op, &[dy])?
            }
            Kind::Max => {
                let argmax = Reduce { kind: Kind::ArgMax, ..self.clone() };
                let index = vjp.graph().push1(argmax, &[x])?;
                vjp.graph().push1(MaxGrad { view: self.view, shape }, &[index, dy])?
            }
            Kind::ArgMax => return Err(OpError::NotDifferentiable("argmax")),
        };
        vjp.add(0, dx)
    }
}

impl Graph {
    fn reduce(&mut self, kind: Kind, x: Value, axis: Option<usize>) -> Result<Value, OpError> {
        let op = Reduce::new(kind, axis, self.ty(x))?;
        self.push1(op, &[x])
    }

    /// Sum along `axis`, which disappears (rank 1: shape `[1]`).
    pub fn sum(&mut self, x: Value, axis: usize) -> Result<Value, OpError> {
        self.reduce(Kind::Sum, x, Some(axis))
    }

    /// Mean along `axis`, which disappears (rank 1: shape `[1]`).
    pub fn mean(&mut self, x: Value, axis: usize) -> Result<Value, OpError> {
        self.reduce(Kind::Mean, x, Some(axis))
    }

    /// Maximum along `axis`, which disappears (rank 1: shape `[1]`). NaN where there is one. The gradient goes to the
    /// first of equal maxima.
    pub fn max(&mut self, x: Value, axis: usize) -> Result<Value, OpError> {
        self.reduce(Kind::Max, x, Some(axis))
    }

    /// Position of the maximum along `axis`, as `u32`: the first of equals, the first NaN if there is one.
    pub fn argmax(&mut self, x: Value, axis: usize) -> Result<Value, OpError> {
        self.reduce(Kind::ArgMax, x, Some(axis))
    }

    /// Sum of all elements, shape `[1]`.
    pub fn sum_all(&mut self, x: Value) -> Result<Value, OpError> {
        self.reduce(Kind::Sum, x, None)
    }

    /// Mean of all elements, shape `[1]`.
    pub fn mean_all(&mut self, x: Value) -> Result<Value, OpError> {
        self.reduce(Kind::Mean, x, None)
    }
}

/// Most elements of a drawn tensor.
pub(super) const BUDGET: usize = 20_000;

/// A shape of `rank` axes with at most `budget` elements.
pub(super) fn shape(d: &mut Draw, rank: usize, mut budget: usize) -> Vec<usize> {
    (0..rank)
        .map(|_| {
            let n = d.dim_to(budget.max(1));
            budget /= n;
            n
        })
        .collect()
}

/// A shape and an axis (`None`: all): any rank up to 4, and the long rows and columns that take two kernels.
pub(super) fn shape_and_axis(d: &mut Draw, budget: usize) -> (TensorType, Option<usize>) {
    let long = budget == BUDGET;
    let (shape, axis) = match d.below(8) {
        7 if long => (vec![8192 + d.below(8192)], Some(0)),
        6 if long => (vec![2, 8192 + d.below(1000)], Some(1)),
        5 if long => (vec![512 + d.below(600), d.pick(&[10, 16, 17])], Some(0)),
        _ => {
            let rank = 1 + d.below(4);
            let shape = shape(d, rank, budget);
            let axis = d.below(rank + 1);
            (shape, (axis < rank).then_some(axis))
        }
    };
    (TensorType::f32(shape), axis)
}

fn reduce_sample(d: &mut Draw, kind: Kind) -> Sample {
    // Where two maxima of a row are close, a finite difference sees both: gradients are checked on small tensors.
    let small = kind == Kind::Max && d.coin();
    let (ty, axis) = shape_and_axis(d, if small { 48 } else { BUDGET });
    let op = Reduce::new(kind, axis, &ty).expect("drawn axes exist");
    let n = op.view.n;
    let uniform = SampleInput::f32(ty.shape.clone(), Domain::Uniform(-4.0, 4.0));
    let (input, tolerance) = match kind {
        // Chains of up to 128 terms uniform in [-4, 4], whose roundings are a random walk: 4 standard deviations of n errors of
        // 0.29 eps (uniform in half an ulp) of partial sums that average 4 / sqrt(3) * sqrt(128 / 2): 5.3 eps sqrt(n) 4.
        Kind::Sum => (uniform, Tolerance::sum(6.0, n, 4.0)),
        Kind::Mean => (uniform, Tolerance::sum(6.0, n, 4.0 / n as f64)),
        _ if small => (uniform, Tolerance::EXACT),
        _ => {
            let domain = d.pick(&[Domain::Uniform(-4.0, 4.0), Domain::Special, Domain::Exactly(-2.5)]);
            (SampleInput::f32(ty.shape, domain).constant(), Tolerance::EXACT)
        }
    };
    Sample::new(op, vec![input], tolerance)
}

pub(super) fn entries() -> Vec<OpEntry> {
    let sums: &[&str] = &["sum_rows", "sum_columns"];
    let entry = |name, kernels, sample, differentiable| OpEntry { name, kernels, sample, differentiable };
    vec![
        entry("sum", sums, |d| reduce_sample(d, Kind::Sum), true),
        entry("mean", sums, |d| reduce_sample(d, Kind::Mean), true),
        entry(
            "max",
            &["max_rows", "max_columns", "argmax_rows", "argmax_columns", "scatter_axis"],
            |d| reduce_sample(d, Kind::Max),
            true,
        ),
        entry("argmax", &["argmax_rows", "argmax_columns"], |d| reduce_sample(d, Kind::ArgMax), false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_cover_every_element_once() {
        for outer in [1, 2, 3, 33, 5000] {
            for n in [1, 4, 5, 16, 17, 1000, 1024, 1025, 4096, 100_003] {
                for inner in [1, 2, 10, 31, 33, 513] {
                    let v = View { outer, n, inner };
                    let w = Walk::new(v, true);
                    assert!(w.chunk as usize * w.chunks as usize >= n, "{v:?} {w:?}");
                    assert!((w.chunk as usize) * (w.chunks as usize - 1) < n, "an empty piece: {v:?} {w:?}");
                    let threads = w.blocks as usize * BLOCK as usize;
                    let outputs = if inner == 1 { threads >> w.log2 } else { (w.blocks as usize) << w.log2 };
                    assert!(outputs >= v.outputs() * w.chunks as usize, "{v:?} {w:?}");
                    assert!(w.log2 <= 5 || w.log2 == LOG2_BLOCK || inner > 1, "{v:?} {w:?}");
                }
            }
        }
    }
}
