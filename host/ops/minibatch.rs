//! The minibatch of a training step: rows of the data and of the answers, in the order of an epoch's permutation.
//!
//! ```text
//! r_i = perm[(step[2] + i) mod N]      xs[i, :] = x[r_i, :]      ys[i, :] = y[r_i, :]      i < B
//! ```
//!
//! `step` are the counters that every training step gets. Indices are clamped to the last row, so that no value in a
//! permutation leads outside a buffer. No gradient: data needs none.
//!
//! Cost: no FLOP; B rows of both read and written. One launch: each kernel of a small network's step costs as much as
//! starting it does.

use gpu_kernels::layout as kernels;

use super::layout::len_u32;
use super::{
    Cost, CpuCtx, Domain, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
    generic_cpu,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;
use crate::real::Real;

/// The rows of one minibatch. Inputs: x f32 `[N, D..]`, y `[N, E..]` of f32 or u32, perm u32 `[N]`, step u32 `[4]` (\[2\] is
/// the offset); outputs: `[B, D..]` and `[B, E..]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minibatch {
    /// Rows of a minibatch; past the permutation's end it starts over.
    pub batch: usize,
}

/// Rows `rows` of `x`, into `y`.
fn take<T: Copy>(rows: impl Iterator<Item = usize>, d: usize, x: &[T], y: &mut [T]) {
    for (y, row) in y.chunks_exact_mut(d).zip(rows) {
        y.copy_from_slice(&x[row * d..(row + 1) * d]);
    }
}

impl Minibatch {
    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>) {
        let (x, perm, step) = (ctx.input(0), ctx.integers(2), ctx.integers(3));
        let n = perm.len();
        let order = perm[step[2] as usize % n..].iter().chain(perm.iter().cycle());
        let rows = || order.clone().map(|&row| (row as usize).min(n - 1));
        take(rows(), x.len() / n, x, ctx.output(0));
        if ctx.dtype(1) == DType::U32 {
            let y = ctx.integers(1);
            take(rows(), y.len() / n, y, ctx.output_index(1));
        } else {
            let y = ctx.input(1);
            take(rows(), y.len() / n, y, ctx.output(1));
        }
    }
}

impl Op for Minibatch {
    fn name(&self) -> &'static str {
        "minibatch"
    }
    fn attributes(&self) -> String {
        format!("batch={}", self.batch)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if self.batch == 0 {
            return Err(OpError::attribute(self.name(), "a minibatch has at least one row"));
        }
        let rows =
            |t: &TensorType| TensorType { shape: [&[self.batch], &t.shape[1..]].concat(), ..t.clone() };
        match inputs {
            [x, y, perm, step]
                if x.dtype == DType::F32
                    && [DType::F32, DType::U32].contains(&y.dtype)
                    && perm.dtype == DType::U32
                    && perm.rank() == 1
                    && [x, y].iter().all(|t| t.rank() > 0 && t.shape[0] == perm.shape[0])
                    && *step == TensorType::u32([4]) =>
            {
                Ok(vec![rows(x), rows(y)])
            }
            _ => Err(OpError::shape(
                self.name(),
                "takes f32 data, f32 or u32 answers of as many rows, a u32 permutation of them and the step u32[4]",
                inputs,
            )),
        }
    }
    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        let bytes: usize = outputs.iter().map(|t| 2 * t.bytes()).sum();
        Cost { flop: 0, bytes: (bytes + 4 * self.batch) as u64 }
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (n, b) = (len_u32(self.name(), ctx.inputs[2].len)?, len_u32(self.name(), self.batch)?);
        let width = |k: usize| Ok::<_, DeviceError>(len_u32(self.name(), ctx.outputs[k].len)? / b);
        let (dx, dy) = (width(0)?, width(1)?);
        let each = if dx.is_multiple_of(kernels::VECTOR) { kernels::VECTOR } else { 1 };
        let all = (b * (dx / each)).saturating_add(b * dy);
        ctx.launch(
            kernel!(layout::minibatch),
            Launch::blocks_of(all, kernels::BLOCK),
            (
                n,
                b,
                dx,
                dy,
                ctx.input::<f32>(0),
                ctx.input::<u32>(1),
                ctx.input::<u32>(2),
                ctx.input::<u32>(3),
                ctx.output::<f32>(0),
                ctx.output::<u32>(1),
            ),
        )
    }
    generic_cpu!();
}

impl Graph {
    /// The rows of a step's minibatch: of x f32 `[N, D..]` and of the answers y `[N, E..]` (f32 or u32), out of an epoch's
    /// permutation u32 `[N]`, from the offset in `step` u32 `[4]`. `[batch, D..]` and `[batch, E..]`. Past the end it starts over.
    pub fn minibatch(
        &mut self,
        x: Value,
        y: Value,
        perm: Value,
        step: Value,
        batch: usize,
    ) -> Result<(Value, Value), OpError> {
        let out = self.push(Minibatch { batch }, &[x, y, perm, step])?;
        Ok((out[0], out[1]))
    }
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "minibatch",
        kernels: &["minibatch"],
        sample: |d| {
            let (n, batch) = (d.dim() * d.pick(&[1, 3]), d.dim() * d.pick(&[1, 4]));
            let cols = d.dim_to((20_000 / n.max(batch)).max(1));
            let x = SampleInput::f32([n, cols], Domain::Special);
            let y = match d.below(3) {
                0 => SampleInput::f32([n, 1 + d.below(5)], Domain::Special),
                _ => SampleInput::index([n], u32::MAX),
            };
            // Row numbers that are there, and some that are not: those past the end are clamped, on every device alike.
            let perm = match d.coin() {
                true => SampleInput { domain: Domain::Permutation, ..SampleInput::index([n], n as u32) },
                false => SampleInput::index([n], 2 * n as u32),
            };
            // Offsets inside the permutation, and any number.
            let bound = d.pick(&[n as u32, u32::MAX]);
            let step = SampleInput::index([4], bound);
            Sample::new(Minibatch { batch }, vec![x, y, perm, step], Tolerance::EXACT)
        },
        differentiable: false,
    }]
}
