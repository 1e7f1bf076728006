//! Rows of a tensor: by index ([`GatherRows`]) and by range ([`SliceRows`], [`PadRows`]).
//!
//! ```text
//! gather: y[i, :] = x[idx[i], :]          slice:  y[i, :] = x[start + i, :]
//!                                         pad:    y[start + i, :] = x[i, :], zero elsewhere
//! ```
//!
//! Gradients: a slice's is the padded dy, a pad's the sliced one. Gathers have none: data needs none.
//!
//! Indices are checked on the host where they enter a program; here they are clamped to the last row, so that no value in
//! an index tensor leads outside a buffer.
//!
//! Cost: no FLOP; B rows read and written.

use gpu_kernels::layout as kernels;

use super::layout::{any_values, blocks, draw_shape, entry, launch_copy, len_u32, one, pull_back};
use super::{
    Cost, CpuCtx, Domain, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::real::Real;

/// `y[i, :] = x[idx[i], :]`. Inputs: x `[N, D..]`, idx u32 `[B]`; output: `[B, D..]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatherRows;

impl GatherRows {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, idx, y) = (ctx.input(0), ctx.integers(1), ctx.output(0));
        let d = y.len() / idx.len();
        let last = x.len() / d - 1;
        for (y, &i) in y.chunks_exact_mut(d).zip(idx) {
            let i = (i as usize).min(last);
            y.copy_from_slice(&x[i * d..(i + 1) * d]);
        }
    }
}

impl Op for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        match inputs {
            [x, idx] if x.dtype == DType::F32 && idx.dtype == DType::U32 && idx.rank() == 1 => {
                let mut shape = x.shape.clone();
                shape[0] = idx.shape[0];
                Ok(vec![TensorType::f32(shape)])
            }
            _ => Err(OpError::shape(
                self.name(),
                "takes an f32 tensor and a vector of u32 row numbers",
                inputs,
            )),
        }
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flop: 0, bytes: (2 * outputs[0].bytes() + inputs[1].bytes()) as u64 }
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (total, b) = (len_u32(self.name(), ctx.outputs[0].len)?, ctx.inputs[1].len as u32);
        let d = total / b;
        let rows = len_u32(self.name(), ctx.inputs[0].len / d as usize)?;
        let each = if d.is_multiple_of(kernels::VECTOR) { kernels::VECTOR } else { 1 };
        ctx.launch(
            kernel!(layout::gather_rows),
            Launch::blocks_of(total.div_ceil(each), kernels::BLOCK),
            (rows, d, b, ctx.input::<f32>(0), ctx.input::<u32>(1), ctx.output::<f32>(0)),
        )
    }
    generic_cpu!();
}

/// Rows `start .. start + len` of x (a row is everything under an index of the first axis).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SliceRows {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

impl SliceRows {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let y = ctx.output(0);
        let from = self.start * (y.len() / self.len);
        y.copy_from_slice(&ctx.input(0)[from..from + y.len()]);
    }
}

impl Op for SliceRows {
    fn name(&self) -> &'static str {
        "slice_rows"
    }
    fn attributes(&self) -> String {
        format!("start={} len={}", self.start, self.len)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one(self.name(), inputs)?;
        if self.len == 0 || self.start.checked_add(self.len).is_none_or(|end| end > x.shape[0]) {
            let reason = format!(
                "rows {} to {} are not within the tensor",
                self.start,
                self.start.saturating_add(self.len)
            );
            return Err(OpError::shape(self.name(), reason, inputs));
        }
        let mut shape = x.shape.clone();
        shape[0] = self.len;
        Ok(vec![TensorType::f32(shape)])
    }
    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, outputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        launch_copy(ctx, self.start * (ctx.outputs[0].len / self.len))
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let (x, start) = (vjp.input(0), self.start);
        pull_back(vjp, |g, dy| {
            let total = g.shape(x)[0];
            g.pad_rows(dy, start, total)
        })
    }
    generic_cpu!();
}

/// x as rows `start ..` of `total` rows, the others zero: the gradient of [`SliceRows`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadRows {
    /// The row of y that is row 0 of x.
    pub start: usize,
    /// Rows of y.
    pub total: usize,
}

impl PadRows {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, y) = (ctx.input(0), ctx.output(0));
        let from = self.start * (y.len() / self.total);
        let (before, rest) = y.split_at_mut(from);
        let (middle, after) = rest.split_at_mut(x.len());
        before.fill(T::ZERO);
        middle.copy_from_slice(x);
        after.fill(T::ZERO);
    }
}

impl Op for PadRows {
    fn name(&self) -> &'static str {
        "pad_rows"
    }
    fn attributes(&self) -> String {
        format!("start={} total={}", self.start, self.total)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let x = one(self.name(), inputs)?;
        if self.start.checked_add(x.shape[0]).is_none_or(|end| end > self.total) {
            let reason = format!("the rows do not fit into {} from row {}", self.total, self.start);
            return Err(OpError::shape(self.name(), reason, inputs));
        }
        let mut shape = x.shape.clone();
        shape[0] = self.total;
        Ok(vec![TensorType::f32(shape)])
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (n, total) = (ctx.inputs[0].len as u32, len_u32(self.name(), ctx.outputs[0].len)?);
        let start = (self.start * (ctx.outputs[0].len / self.total)) as u32;
        ctx.launch(
            kernel!(layout::pad_f32),
            blocks(total, 1),
            (start, n, total, ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let (x, start) = (vjp.input(0), self.start);
        pull_back(vjp, |g, dy| {
            let len = g.shape(x)[0];
            g.slice_rows(dy, start, len)
        })
    }
    generic_cpu!();
}

impl Graph {
    /// Rows `start .. start + len` of x.
    pub fn slice_rows(&mut self, x: Value, start: usize, len: usize) -> Result<Value, OpError> {
        self.push1(SliceRows { start, len }, &[x])
    }

    /// x as rows `start ..` of `total` rows, the others zero.
    pub fn pad_rows(&mut self, x: Value, start: usize, total: usize) -> Result<Value, OpError> {
        self.push1(PadRows { start, total }, &[x])
    }

    /// Rows `idx` u32 `[B]` of x `[N, D..]`: `[B, D..]`. An index past the end gives the last row.
    pub fn gather_rows(&mut self, x: Value, idx: Value) -> Result<Value, OpError> {
        self.push1(GatherRows, &[x, idx])
    }
}

pub(super) fn entries() -> Vec<OpEntry> {
    // Indices up to twice the number of rows: those past the end are clamped, on every device alike.
    vec![
        OpEntry {
            name: "gather_rows",
            kernels: &["gather_rows"],
            sample: |d| {
                let (rows, b) = (d.dim(), d.dim());
                let cols = d.dim_to((20_000 / rows.max(b)).max(1));
                let mut shape = vec![rows, cols];
                if d.below(4) == 0 {
                    shape = vec![rows, 2, cols.div_ceil(2)];
                }
                let bound = if d.coin() { 2 * rows } else { rows };
                let idx = SampleInput::index([b], bound as u32);
                Sample::new(GatherRows, vec![SampleInput::f32(shape, Domain::Special), idx], Tolerance::EXACT)
            },
            differentiable: false,
        },
        entry("slice_rows", &["copy_f32"], |d| {
            let shape = draw_shape(d, 3);
            let start = d.below(shape[0]);
            let len = 1 + d.below(shape[0] - start);
            Sample::new(SliceRows { start, len }, vec![any_values(d, shape)], Tolerance::EXACT)
        }),
        entry("pad_rows", &["pad_f32"], |d| {
            let shape = draw_shape(d, 3);
            let (start, after) = (d.below(9), d.below(9));
            let op = PadRows { start, total: start + shape[0] + after };
            Sample::new(op, vec![any_values(d, shape)], Tolerance::EXACT)
        }),
    ]
}
