//! Global-norm gradient clipping (Pascanu et al. 2013), with PyTorch's `clip_grad_norm_` formula:
//!
//! ```text
//! norm = sqrt(sum of g[i]^2 over all gradients)        scale = min(1, max_norm / (norm + 1e-6))
//! ```
//!
//! The gradients are not touched: `scale` goes to the optimiser, which multiplies as it reads. A NaN stays NaN in both
//! outputs, so a diverged step is not taken for a clipped one. Inputs: any number of `f32` tensors; outputs `scale [1]` and
//! `norm [1]`. No gradient. Cost: 2 FLOP an element, read once. Kernels: one launch for all tensors' chunks, one to finish;
//! sums in a fixed order.

use gpu_kernels::optim::{CHUNK, NORM_WORDS, OPTIM_BLOCK};
use multiversion::multiversion;

use super::{
    Cost, CpuCtx, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, Slot, TensorType, Tolerance,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;

/// Accumulators side by side.
const LANES: usize = 32;

#[derive(Clone, Debug)]
struct GlobalNorm {
    max_norm: f32,
}

/// The sum of squares, chunk by chunk: in single precision with [`LANES`] accumulators inside a chunk, in double precision
/// from chunk to chunk.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn sum_squares(x: &[f32]) -> f64 {
    let mut total = 0.0;
    for chunk in x.chunks(CHUNK as usize) {
        let mut sums = [0f32; LANES];
        let (groups, rest) = chunk.as_chunks::<LANES>();
        for group in groups {
            for (sum, x) in sums.iter_mut().zip(group) {
                *sum = x.mul_add(*x, *sum);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum = x.mul_add(*x, *sum);
        }
        total += f64::from(sums.iter().sum::<f32>());
    }
    total
}

impl GlobalNorm {
    /// (scale, norm) from the sum of squares.
    fn finish(&self, sum: f64) -> (f64, f64) {
        let norm = sum.sqrt();
        let factor = f64::from(self.max_norm) / (norm + 1e-6);
        (if factor > 1.0 { 1.0 } else { factor }, norm)
    }
}

impl Op for GlobalNorm {
    fn name(&self) -> &'static str {
        "global_norm"
    }

    fn attributes(&self) -> String {
        format!("max_norm={}", self.max_norm)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        if self.max_norm.is_nan() || self.max_norm <= 0.0 {
            let reason = format!("max_norm {} must be positive", self.max_norm);
            return Err(OpError::attribute("global_norm", reason));
        }
        if inputs.is_empty() || inputs.iter().any(|t| t.dtype != DType::F32) {
            return Err(OpError::shape("global_norm", "takes one or more f32 tensors", inputs));
        }
        Ok(vec![TensorType::f32([1]), TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let elements: usize = inputs.iter().map(TensorType::len).sum();
        Cost::streaming(2 * elements as u64, inputs, outputs)
    }

    fn workspace(&self, inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        inputs.iter().map(|t| t.len().div_ceil(CHUNK as usize)).sum()
    }

    fn table(&self, inputs: &[Slot], _outputs: &[Slot]) -> Vec<u64> {
        let chunks = inputs.iter().flat_map(|slot| {
            (0..slot.len).step_by(CHUNK as usize).flat_map(|start| {
                let len = (slot.len - start).min(CHUNK as usize) as u64;
                [slot.address + 4 * start as u64, len]
            })
        });
        chunks.collect()
    }

    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        let sum = (0..ctx.inputs()).map(|i| sum_squares(ctx.input(i))).sum();
        let (scale, norm) = self.finish(sum);
        ctx.output(0)[0] = scale as f32;
        ctx.output(1)[0] = norm as f32;
    }

    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let sum = (0..ctx.inputs()).map(|i| ctx.input(i).iter().map(|x| x * x).sum::<f64>()).sum();
        let (scale, norm) = self.finish(sum);
        ctx.output(0)[0] = scale;
        ctx.output(1)[0] = norm;
    }

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let chunks = (ctx.table_len / NORM_WORDS) as u32;
        let partial = Launch::new(chunks, OPTIM_BLOCK);
        ctx.launch(kernel!(optim::global_norm_partial), partial, (ctx.table, ctx.workspace))?;
        let args = (chunks, ctx.workspace.as_const(), self.max_norm, ctx.output(0), ctx.output(1));
        ctx.launch(kernel!(optim::global_norm_finish), Launch::new(1, OPTIM_BLOCK), args)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Graph {
    /// The norm of all `grads` together and the factor that brings it down to `max_norm`: `(scale [1], norm [1])`. Hand
    /// `scale` to [`optimizer_step`](Graph::optimizer_step). Errors: no gradients, `max_norm` not positive.
    pub fn global_norm(&mut self, grads: &[Value], max_norm: f32) -> Result<(Value, Value), OpError> {
        let outputs = self.push(GlobalNorm { max_norm }, grads)?;
        Ok((outputs[0], outputs[1]))
    }
}

fn sample(draw: &mut Draw) -> Sample {
    let tensors = 1 + draw.below(5);
    let range = draw.pick(&[1.0, 1e-3, 1e3]);
    let inputs = (0..tensors)
        .map(|_| {
            let shape = match draw.below(4) {
                0 => vec![draw.dim()],
                1 => vec![draw.dim_to(40), draw.dim_to(40)],
                2 => vec![draw.pick(&[1, 2, 3, 5])],
                // More than a chunk.
                _ => vec![draw.pick(&[4097, 4096, 4099])],
            };
            SampleInput::uniform(shape, -range, range).constant()
        })
        .collect();
    let max_norm = draw.pick(&[1.0, 0.1, 50.0, 1e6]);
    // Only positive terms: a sum's relative error is at most the number of roundings on a path, 16 in a thread, 8 in the
    // tree, 9 in the last kernel; the root halves it; then the root's own, one sum and one quotient.
    Sample::new(GlobalNorm { max_norm }, inputs, Tolerance::ulps(20.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "global_norm",
        kernels: &["global_norm_partial", "global_norm_finish"],
        sample,
        differentiable: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_brings_the_norm_down_and_never_up() {
        let op = GlobalNorm { max_norm: 2.0 };
        let (scale, norm) = op.finish(sum_squares(&[3.0, -4.0]));
        assert_eq!(norm, 5.0);
        assert_eq!(scale, 2.0 / 5.000001);
        assert_eq!(op.finish(sum_squares(&[0.3, 0.4])).0, 1.0);
        assert_eq!(op.finish(0.0), (1.0, 0.0));
        let (scale, norm) = op.finish(sum_squares(&[1.0, f32::NAN]));
        assert!(scale.is_nan() && norm.is_nan());
    }

    #[test]
    fn norm_and_scaled_gradients_are_pytorchs() {
        // Made by `tests/golden/optim.py`: gradients [3, -1, 0.5] and [2], clipped to 1.5.
        let op = GlobalNorm { max_norm: 1.5 };
        let (scale, norm) = op.finish(sum_squares(&[3.0, -1.0, 0.5]) + sum_squares(&[2.0]));
        assert!((norm - 3.7749171257019043).abs() < 1e-6);
        for (g, want) in [(3.0, 1.1920788288116455), (-1.0, -0.39735960960388184), (2.0, 0.7947192192077637)]
        {
            assert!((scale * g - want).abs() < 1e-6);
        }
    }

    #[test]
    fn long_sums_stay_exact() {
        // 2^20 + 5 squares of 1.5: every partial sum is a multiple of 0.25 that f32 holds.
        let n = (1 << 20) + 5;
        assert_eq!(sum_squares(&vec![1.5; n]), 2.25 * n as f64);
    }

    #[test]
    fn a_bound_that_is_not_positive_is_refused() {
        let mut graph = Graph::new();
        let g = graph.input("g", TensorType::f32([4])).unwrap();
        for bad in [0.0, -1.0, f32::NAN] {
            assert!(matches!(graph.global_norm(&[g], bad), Err(OpError::Attribute { .. })));
        }
        assert!(matches!(graph.global_norm(&[], 1.0), Err(OpError::Shape { .. })));
    }
}
