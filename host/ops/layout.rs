//! Moving and converting elements: nothing here computes, so every result is exact.
//!
//! | operation     | formula                                                    | gradient                        |
//! |---------------|------------------------------------------------------------|---------------------------------|
//! | `copy`        | y = x                                                      | dy                              |
//! | `fill`        | y = value                                                  | (no inputs)                     |
//! | `cast`        | y = x rounded to the type: nearest even, NaN kept          | none: half types carry none     |
//! | `reshape`     | the same elements under another shape, in place            | dy under the old shape          |
//! | `transpose`   | y[.., j, i] = x[.., i, j]                                  | dy transposed                   |
//! | `permute`     | axis a of y is axis `axes[a]` of x                         | dy by the inverse permutation   |
//!
//! Cost: no FLOP; every element read and written once.

use std::any::Any;

use gpu_kernels::layout as kernels;

use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::device::{DType, DeviceError, DevicePtr, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::real::Real;

/// An element count as kernels take it.
pub(super) fn len_u32(kernel: &str, n: usize) -> Result<u32, DeviceError> {
    u32::try_from(n).map_err(|_| DeviceError::InvalidLaunch {
        kernel: kernel.into(),
        reason: format!("{n} elements; a tensor has at most {} on this device: split it", u32::MAX),
    })
}

/// Blocks for `n` elements of which a thread moves `each`.
pub(super) fn blocks(n: u32, each: u32) -> Launch {
    Launch::blocks_of(n.div_ceil(each), kernels::BLOCK)
}

/// The gradients' common case: one input, and one operation that takes dy back.
pub(super) fn pull_back(
    vjp: &mut Vjp<'_>,
    back: impl FnOnce(&mut Graph, Value) -> Result<Value, OpError>,
) -> Result<(), OpError> {
    let Some(dy) = vjp.grad(0) else { return Ok(()) };
    let dx = back(vjp.graph(), dy)?;
    vjp.add(0, dx)
}

/// The only input, `f32`, or what is wrong.
pub(super) fn one<'a>(op: &'static str, inputs: &'a [TensorType]) -> Result<&'a TensorType, OpError> {
    match inputs {
        [x] if x.dtype == DType::F32 => Ok(x),
        _ => Err(OpError::shape(op, "takes one f32 tensor", inputs)),
    }
}

/// `copy_f32` of output 0 from input 0, whose element `start` is the first.
pub(super) fn launch_copy(ctx: &KernelCtx<'_>, start: usize) -> Result<(), DeviceError> {
    let n = len_u32("copy_f32", ctx.outputs[0].len)?;
    let x = DevicePtr::<f32>::new(ctx.input::<f32>(0).address + 4 * start as u64);
    ctx.launch(kernel!(layout::copy_f32), blocks(n, kernels::VECTOR), (n, x, ctx.output::<f32>(0)))
}

/// y = x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copy;

impl Copy {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        ctx.output(0).copy_from_slice(ctx.input(0));
    }
}

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![one(self.name(), inputs)?.clone()])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        launch_copy(ctx, 0)
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        pull_back(vjp, |_, dy| Ok(dy))
    }
    generic_cpu!();
}

/// Every element is `value` (for `U32`, its integer part).
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// The value.
    pub value: f32,
    /// The result's type: `F32` or `U32`.
    pub ty: TensorType,
}

impl Fill {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        match self.ty.dtype {
            DType::U32 => ctx.output_index(0).fill(self.value as u32),
            _ => ctx.output(0).fill(T::of(f64::from(self.value))),
        }
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn attributes(&self) -> String {
        format!("value={}", self.value)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if !inputs.is_empty() {
            return Err(OpError::shape(self.name(), "takes no inputs", inputs));
        }
        if !matches!(self.ty.dtype, DType::F32 | DType::U32) || self.ty.shape.is_empty() || self.ty.is_empty()
        {
            return Err(OpError::attribute(self.name(), format!("cannot fill {}: use f32 or u32", self.ty)));
        }
        Ok(vec![self.ty.clone()])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = len_u32(self.name(), ctx.outputs[0].len)?;
        let shape = blocks(n, kernels::VECTOR);
        match self.ty.dtype {
            DType::U32 => {
                ctx.launch(kernel!(layout::fill_u32), shape, (n, self.value as u32, ctx.output::<u32>(0)))
            }
            _ => ctx.launch(kernel!(layout::fill_f32), shape, (n, self.value, ctx.output::<f32>(0))),
        }
    }
    fn vjp(&self, _: &mut Vjp<'_>) -> Result<(), OpError> {
        Ok(())
    }
    generic_cpu!();
}

/// y = x converted from `from` to `to`: `F32` to or from a half type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cast {
    /// x's type.
    pub from: DType,
    /// y's type.
    pub to: DType,
}

impl Cast {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        use half::{bf16, f16};
        match (self.from, self.to) {
            // In the oracle x holds f32 values, so its f64 rounds to f32 exactly.
            (DType::F32, DType::F16) => {
                for (y, x) in ctx.output_half(0).iter_mut().zip(ctx.input(0)) {
                    *y = f16::from_f32(x.f64() as f32).to_bits();
                }
            }
            (DType::F32, _) => {
                for (y, x) in ctx.output_half(0).iter_mut().zip(ctx.input(0)) {
                    *y = bf16::from_f32(x.f64() as f32).to_bits();
                }
            }
            (DType::F16, _) => {
                for (y, &x) in ctx.output(0).iter_mut().zip(ctx.half(0)) {
                    *y = T::of(f64::from(f16::from_bits(x).to_f32()));
                }
            }
            _ => {
                for (y, &x) in ctx.output(0).iter_mut().zip(ctx.half(0)) {
                    *y = T::of(f64::from(bf16::from_bits(x).to_f32()));
                }
            }
        }
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn attributes(&self) -> String {
        format!("to={}", self.to)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        use DType::{Bf16, F16, F32};
        let supported = matches!((self.from, self.to), (F32, F16 | Bf16) | (F16 | Bf16, F32));
        match inputs {
            [x] if x.dtype == self.from && supported => {
                Ok(vec![TensorType { dtype: self.to, shape: x.shape.clone() }])
            }
            _ => Err(OpError::shape(
                self.name(),
                format!("cannot cast to {}; f32 casts to and from f16 and bf16", self.to),
                inputs,
            )),
        }
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = len_u32(self.name(), ctx.outputs[0].len)?;
        let shape = blocks(n, 1);
        match (self.from, self.to) {
            (DType::F32, DType::F16) => ctx.launch(
                kernel!(layout::cast_f32_f16),
                shape,
                (n, ctx.input::<f32>(0), ctx.output::<u16>(0)),
            ),
            (DType::F32, _) => ctx.launch(
                kernel!(layout::cast_f32_bf16),
                shape,
                (n, ctx.input::<f32>(0), ctx.output::<u16>(0)),
            ),
            (DType::F16, _) => ctx.launch(
                kernel!(layout::cast_f16_f32),
                shape,
                (n, ctx.input::<u16>(0), ctx.output::<f32>(0)),
            ),
            _ => ctx.launch(
                kernel!(layout::cast_bf16_f32),
                shape,
                (n, ctx.input::<u16>(0), ctx.output::<f32>(0)),
            ),
        }
    }
    generic_cpu!();
}

/// The same elements under another shape. In place: where x is not needed any more this costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The new shape.
    pub shape: Vec<usize>,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let [x] = inputs else { return Err(OpError::shape(self.name(), "takes one tensor", inputs)) };
        if self.shape.is_empty()
            || self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(x.len())
        {
            return Err(OpError::shape(
                self.name(),
                format!("{:?} has another number of elements", self.shape),
                inputs,
            ));
        }
        Ok(vec![TensorType { dtype: x.dtype, shape: self.shape.clone() }])
    }
    fn cost(&self, _: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::default()
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
    fn run_f32(&self, _: &CpuCtx<'_, f32>) {}
    fn run_f64(&self, _: &CpuCtx<'_, f64>) {}
    fn launch(&self, _: &KernelCtx<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let x = vjp.input(0);
        pull_back(vjp, |g, dy| {
            let shape = g.shape(x).to_vec();
            g.reshape(dy, &shape)
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The axes of x in another order: axis `a` of y is axis `axes[a]` of x. Also the transposition of matrices, which has a
/// kernel of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Permute {
    /// The order.
    axes: Vec<usize>,
    /// Extents of y.
    extents: [usize; kernels::MAX_RANK],
    /// Distance in x of neighbours along each axis of y.
    strides: [usize; kernels::MAX_RANK],
}

impl Permute {
    /// For an x of this shape. Errors: `axes` is no permutation of its axes, or there are more than 6.
    pub fn new(shape: &[usize], axes: &[usize]) -> Result<Permute, OpError> {
        let rank = shape.len();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..rank) || rank == 0 || rank > kernels::MAX_RANK {
            let reason = format!(
                "axes {axes:?} must be a permutation of the {rank} axes, at most {}",
                kernels::MAX_RANK
            );
            return Err(OpError::attribute("permute", reason));
        }
        // Padded in front with extent 1.
        let (mut extents, mut strides) = ([1; kernels::MAX_RANK], [0; kernels::MAX_RANK]);
        for (to, &axis) in (kernels::MAX_RANK - rank..).zip(axes) {
            extents[to] = shape[axis];
            strides[to] = shape[axis + 1..].iter().product();
        }
        Ok(Permute { axes: axes.to_vec(), extents, strides })
    }

    /// Whether only the last two axes are exchanged.
    fn is_transpose(&self) -> bool {
        let n = self.axes.len();
        n >= 2 && self.axes[..n - 2].iter().copied().eq(0..n - 2) && self.axes[n - 2] == n - 1
    }

    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, y) = (ctx.input(0), ctx.output(0));
        let [_, _, _, _, d4, d5] = self.extents;
        let s = self.strides;
        // Blocks of the two innermost axes, so that a transposition touches each cache line a few times at most.
        const BLOCK: usize = 16;
        let mut index = [0usize; 4];
        for plane in y.chunks_exact_mut(d4 * d5) {
            let base: usize = index.iter().zip(&s).map(|(i, s)| i * s).sum();
            for i0 in (0..d4).step_by(BLOCK) {
                for j0 in (0..d5).step_by(BLOCK) {
                    for i in i0..(i0 + BLOCK).min(d4) {
                        let from = base + i * s[4];
                        for j in j0..(j0 + BLOCK).min(d5) {
                            plane[i * d5 + j] = x[from + j * s[5]];
                        }
                    }
                }
            }
            for a in (0..4).rev() {
                index[a] += 1;
                if index[a] < self.extents[a] {
                    break;
                }
                index[a] = 0;
            }
        }
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn attributes(&self) -> String {
        format!("axes={:?}", self.axes)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one(self.name(), inputs)?;
        if Permute::new(&x.shape, &self.axes)? != *self {
            return Err(OpError::shape(self.name(), "made for another shape", inputs));
        }
        Ok(vec![TensorType::f32(self.axes.iter().map(|&a| x.shape[a]).collect::<Vec<_>>())])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = len_u32(self.name(), ctx.outputs[0].len)?;
        let (x, y) = (ctx.input::<f32>(0), ctx.output::<f32>(0));
        let [_, d1, d2, d3, d4, d5] = self.extents.map(|d| d as u32);
        if self.is_transpose() {
            // y is d4 x d5, so x is d5 x d4.
            let (rows, cols) = (d5, d4);
            let batch = n / (rows * cols);
            let (tile, side) = (kernels::TRANSPOSE_TILE, kernels::TRANSPOSE_ROWS);
            let tiles = rows.div_ceil(tile) as u64 * u64::from(cols.div_ceil(tile)) * u64::from(batch);
            let grid = tiles.min(i32::MAX as u64) as u32;
            return ctx.launch(
                kernel!(layout::transpose_2d),
                Launch::new(grid, (tile, side)),
                (batch, rows, cols, x, y),
            );
        }
        let [s0, s1, s2, s3, s4, s5] = self.strides.map(|s| s as u32);
        ctx.launch(
            kernel!(layout::permute_f32),
            blocks(n, 1),
            (n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, x, y),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let mut inverse = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            inverse[from] = to;
        }
        pull_back(vjp, |g, dy| g.permute(dy, &inverse))
    }
    generic_cpu!();
}

impl Graph {
    /// A copy of x.
    pub fn copy(&mut self, x: Value) -> Result<Value, OpError> {
        self.push1(Copy, &[x])
    }

    /// A tensor of `shape` full of `value`.
    pub fn fill(&mut self, value: f32, shape: &[usize]) -> Result<Value, OpError> {
        self.push1(Fill { value, ty: TensorType::f32(shape) }, &[])
    }

    /// x as `dtype`; x itself when it is of that type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Result<Value, OpError> {
        let from = self.ty(x).dtype;
        if from == dtype { Ok(x) } else { self.push1(Cast { from, to: dtype }, &[x]) }
    }

    /// The elements of x under another shape with as many.
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> Result<Value, OpError> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.push1(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// The matrix x `[M, N]`, or each of a batch, transposed: `[N, M]`.
    pub fn transpose(&mut self, x: Value) -> Result<Value, OpError> {
        let rank = self.shape(x).len();
        if rank < 2 {
            return Err(OpError::shape("transpose", "takes a matrix, or a batch of them", &self.types(&[x])));
        }
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 2, rank - 1);
        self.permute(x, &axes)
    }

    /// x with its axes in another order: axis `a` of the result is axis `axes[a]` of x.
    pub fn permute(&mut self, x: Value, axes: &[usize]) -> Result<Value, OpError> {
        let op = Permute::new(self.shape(x), axes)?;
        self.push1(op, &[x])
    }
}

/// A shape of rank 1 to `rank` with at most 20 000 elements.
pub(super) fn draw_shape(d: &mut Draw, rank: usize) -> Vec<usize> {
    let mut left = 20_000;
    (0..1 + d.below(rank))
        .map(|_| {
            let n = d.dim_to(left);
            left = (left / n).max(1);
            n
        })
        .collect()
}

/// Values that a copy must not change: special ones, or ordinary ones whose gradient is checked.
pub(super) fn any_values(d: &mut Draw, shape: Vec<usize>) -> SampleInput {
    if d.coin() { SampleInput::f32(shape, Domain::Special) } else { SampleInput::uniform(shape, -4.0, 4.0) }
}

pub(super) fn entry(
    name: &'static str,
    kernels: &'static [&'static str],
    sample: fn(&mut Draw) -> Sample,
) -> OpEntry {
    OpEntry { name, kernels, sample, differentiable: !matches!(name, "fill" | "cast") }
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![
        entry("copy", &["copy_f32"], |d| {
            let shape = draw_shape(d, 3);
            Sample::new(Copy, vec![any_values(d, shape)], Tolerance::EXACT)
        }),
        entry("fill", &["fill_f32", "fill_u32"], |d| {
            let shape = draw_shape(d, 3);
            let (ty, value) = if d.coin() {
                (TensorType::u32(shape), d.below(1 << 24) as f32)
            } else {
                (TensorType::f32(shape), d.float(-4.0, 4.0))
            };
            Sample::new(Fill { value, ty }, vec![], Tolerance::EXACT)
        }),
        entry("cast", &["cast_f32_f16", "cast_f16_f32", "cast_f32_bf16", "cast_bf16_f32"], |d| {
            use DType::{Bf16, F16, F32};
            let shape = draw_shape(d, 2);
            let (from, to) = d.pick(&[(F32, F16), (F16, F32), (F32, Bf16), (Bf16, F32)]);
            let x = if from == F32 {
                // Ordinary, special, around f16's subnormals, and around its overflow.
                let domains = [
                    Domain::Uniform(-8.0, 8.0),
                    Domain::Special,
                    Domain::Uniform(-1e-4, 1e-4),
                    Domain::Uniform(-7e4, 7e4),
                ];
                SampleInput::f32(shape, d.pick(&domains)).constant()
            } else {
                SampleInput {
                    ty: TensorType { dtype: from, shape },
                    domain: Domain::Bits,
                    differentiable: false,
                }
            };
            Sample::new(Cast { from, to }, vec![x], Tolerance::EXACT)
        }),
        entry("reshape", &[], |d| {
            let shape = draw_shape(d, 3);
            let n: usize = shape.iter().product();
            let first = (1..=n).filter(|f| n.is_multiple_of(*f)).collect::<Vec<_>>();
            let first = d.pick(&first);
            Sample::new(
                Reshape { shape: vec![first, n / first] },
                vec![any_values(d, shape)],
                Tolerance::EXACT,
            )
        }),
        entry("transpose", &["transpose_2d"], |d| {
            let (rows, cols) = (d.dim(), d.dim());
            let cols = cols.min(20_000 / rows);
            let batch =
                if d.below(3) == 0 { Some(1 + d.below((20_000 / (rows * cols)).clamp(1, 40))) } else { None };
            let mut shape = vec![rows, cols];
            let mut axes = vec![1, 0];
            if let Some(b) = batch {
                shape.insert(0, b);
                axes = vec![0, 2, 1];
            }
            let op = Permute::new(&shape, &axes).expect("a permutation");
            Sample::new(op, vec![any_values(d, shape)], Tolerance::EXACT)
        }),
        entry("permute", &["permute_f32", "transpose_2d"], |d| {
            let shape = draw_shape(d, kernels::MAX_RANK);
            let mut axes: Vec<usize> = (0..shape.len()).collect();
            for i in (1..axes.len()).rev() {
                axes.swap(i, d.below(i + 1));
            }
            let op = Permute::new(&shape, &axes).expect("a permutation");
            Sample::new(op, vec![any_values(d, shape)], Tolerance::EXACT)
        }),
    ]
}
