//! Dynamic loss scaling for f16, wholly on the device: PyTorch's `GradScaler` in one operation.
//!
//! The smallest numbers of f16 are 2^-24 apart, and gradients are often smaller. So the loss is multiplied by a scale
//! before it is differentiated (the scale is the cotangent of the loss), and the gradients are divided by it before
//! anybody reads them:
//!
//! ```text
//! g = g / scale                                          for every gradient
//! overflow = 1 if a gradient is not finite, else 0       the optimiser then changes nothing
//! scale = scale / 2                                      after an overflow
//!         2 scale                                        after `interval` steps in a row without one
//! ```
//!
//! Scales are powers of two, so dividing rounds nothing above the smallest numbers. A step that is skipped does not count
//! for what depends on the number of the step (Adam's bias corrections, SGD's first step): `hyper` is corrected for the
//! steps taken. Learning rates follow the schedule all the same.
//!
//! Inputs: `n` gradients, `scale [1]`, `steps u32[2]` (good steps since the scale changed, steps taken), `hyper [8]`.
//! Outputs: the gradients, scale and steps in place of the old, `overflow [1]`, the corrected `hyper [8]`. No gradient.
//! Cost: 2 FLOP an element, read and written once. Kernels: one launch for all tensors' chunks, one to finish.

use gpu_kernels::optim::{
    CHUNK, GRAD_WEIGHT, HYPER_LEN, INV_SQRT_BIAS2, LR, NORM_WORDS, OPTIM_BLOCK, STEP_SIZE,
};
use gpu_kernels::scaler as kernels;

use super::cpu::{for_chunks, simd};
use super::optim::Optimizer;
use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, Slot, TensorType,
    Tolerance,
};
use crate::device::{DType, DeviceError, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;
use crate::real::Real;

/// The scale when training starts.
pub const FIRST_SCALE: f32 = 65536.0;
/// Good steps in a row after which the scale doubles.
pub const GROWTH_INTERVAL: u32 = 2000;

/// See the module's docs.
#[derive(Clone, Debug)]
struct Unscale {
    optimizer: Optimizer,
    /// How many gradients.
    tensors: usize,
    interval: u32,
}

impl Unscale {
    /// beta1, beta2 and the later weight of a gradient in SGD's buffer, as `hyper_after` takes them.
    fn constants(&self) -> (f64, f64, f64) {
        match self.optimizer {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                (beta1, beta2, 1.0)
            }
            Optimizer::Sgd { dampening, .. } => (0.0, 0.0, 1.0 - dampening),
            Optimizer::RmsProp { .. } => (0.0, 0.0, 1.0),
        }
    }

    /// What follows the gradients, once `overflow` is known.
    fn finish<T: Real>(&self, ctx: &CpuCtx<'_, T>, scale: &mut T, overflow: bool) {
        let n = self.tensors;
        let (steps, hyper, corrected) = (ctx.output_index(n + 1), ctx.input(n + 2), ctx.output(n + 3));
        ctx.output(n + 2)[0] = if overflow { T::ONE } else { T::ZERO };
        corrected.copy_from_slice(hyper);
        let (beta1, beta2, later) = self.constants();
        let (step_size, correction, weight) =
            kernels::hyper_after(hyper[LR].f64(), beta1, beta2, later, steps[1].wrapping_add(1));
        corrected[STEP_SIZE] = T::of(step_size);
        corrected[INV_SQRT_BIAS2] = T::of(correction);
        corrected[GRAD_WEIGHT] = T::of(weight);
        let after = kernels::scale_after(overflow, scale.f64() as f32, steps[0], steps[1], self.interval);
        *scale = T::of(f64::from(after.0));
        (steps[0], steps[1]) = (after.1, after.2);
    }
}

simd! {
    /// `x *= inverse`.
    fn multiply(x: &mut [f32], inverse: f32) {
        for x in x {
            *x *= inverse;
        }
    }
}

simd! {
    /// Counts into `bad` what is not finite in `x`.
    fn count(x: &[f32], bad: &mut u32) {
        for x in x {
            *bad |= u32::from(x.to_bits() & 0x7f80_0000 == 0x7f80_0000);
        }
    }
}

impl Op for Unscale {
    fn name(&self) -> &'static str {
        "unscale"
    }

    fn attributes(&self) -> String {
        format!("tensors={} growth_interval={} optimizer={}", self.tensors, self.interval, self.optimizer)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        let n = self.tensors;
        let scalar = TensorType::f32([1]);
        let rest = [scalar.clone(), TensorType::u32([2]), TensorType::f32([HYPER_LEN])];
        if n == 0 || inputs.len() != n + 3 || inputs[n..] != rest {
            let reason = "takes one or more gradients, the scale f32[1], steps u32[2] and hyper f32[8]";
            return Err(OpError::shape("unscale", reason, inputs));
        }
        if inputs[..n].iter().any(|t| t.dtype != DType::F32) {
            return Err(OpError::shape("unscale", "gradients are f32", inputs));
        }
        if self.interval == 0 {
            return Err(OpError::attribute("unscale", "the growth interval is 0; give at least 1 step"));
        }
        let [scale, steps, hyper] = rest;
        Ok(inputs[..n].iter().cloned().chain([scale, steps, scalar, hyper]).collect())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let elements: usize = inputs[..self.tensors].iter().map(TensorType::len).sum();
        Cost::streaming(2 * elements as u64, inputs, outputs)
    }

    fn in_place_pairs(&self, _inputs: usize) -> Vec<(usize, usize)> {
        // Gradients, scale and steps.
        (0..self.tensors + 2).map(|i| (i, i)).collect()
    }

    fn workspace(&self, inputs: &[TensorType], _outputs: &[TensorType]) -> usize {
        inputs[..self.tensors].iter().map(|t| t.len().div_ceil(CHUNK as usize)).sum()
    }

    fn table(&self, _inputs: &[Slot], outputs: &[Slot]) -> Vec<u64> {
        let chunks = outputs[..self.tensors].iter().flat_map(|slot| {
            (0..slot.len).step_by(CHUNK as usize).flat_map(|start| {
                [slot.address + 4 * start as u64, (slot.len - start).min(CHUNK as usize) as u64]
            })
        });
        chunks.collect()
    }

    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        let (scale, mut bad) = (ctx.output(self.tensors), 0);
        let inverse = 1.0 / scale[0];
        for i in 0..self.tensors {
            let g = ctx.output(i);
            count(g, &mut bad);
            for_chunks(g, |_, range| multiply(range, inverse));
        }
        self.finish(ctx, &mut scale[0], bad != 0);
    }

    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let (scale, mut bad) = (ctx.output(self.tensors), false);
        for i in 0..self.tensors {
            for g in ctx.output(i) {
                bad |= !g.is_finite();
                *g /= scale[0];
            }
        }
        self.finish(ctx, &mut scale[0], bad);
    }

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let (n, chunks) = (self.tensors, (ctx.table_len / NORM_WORDS) as u32);
        let scale = ctx.output::<f32>(n);
        let partial = (ctx.table, scale.as_const(), ctx.workspace);
        ctx.launch(kernel!(scaler::unscale_partial), Launch::new(chunks, OPTIM_BLOCK), partial)?;
        let (beta1, beta2, later) = self.constants();
        let args = (
            chunks,
            ctx.workspace.as_const(),
            self.interval,
            beta1,
            beta2,
            later,
            scale,
            ctx.output::<u32>(n + 1),
            ctx.input::<f32>(n + 2),
            ctx.output::<f32>(n + 2),
            ctx.output::<f32>(n + 3),
        );
        ctx.launch(kernel!(scaler::unscale_finish), Launch::new(1, OPTIM_BLOCK), args)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What [`Graph::unscale`] returns.
#[derive(Clone, Debug)]
pub struct Unscaled {
    /// The gradients of the loss itself.
    pub gradients: Vec<Value>,
    /// The scale of the next step, `[1]`.
    pub scale: Value,
    /// The counters after this step, `u32[2]`.
    pub steps: Value,
    /// 1 when a gradient is not finite, else 0, `[1]`: what an optimiser takes as
    /// [`Scaling::skip`](super::optim::Scaling).
    pub overflow: Value,
    /// `hyper` for the steps taken, `[8]`.
    pub hyper: Value,
}

impl Graph {
    /// Brings the gradients of a loss that was multiplied by `scale` back to their size; see the
    /// [module](crate::ops::scaler). `interval` good steps in a row double the scale ([`GROWTH_INTERVAL`]). Errors: no
    /// gradients, other types, `interval` 0.
    pub fn unscale(
        &mut self,
        optimizer: &Optimizer,
        grads: &[Value],
        scale: Value,
        steps: Value,
        hyper: Value,
        interval: u32,
    ) -> Result<Unscaled, OpError> {
        let n = grads.len();
        let inputs: Vec<Value> = grads.iter().copied().chain([scale, steps, hyper]).collect();
        let out = self.push(Unscale { optimizer: *optimizer, tensors: n, interval }, &inputs)?;
        Ok(Unscaled {
            gradients: out[..n].to_vec(),
            scale: out[n],
            steps: out[n + 1],
            overflow: out[n + 2],
            hyper: out[n + 3],
        })
    }
}

fn sample(draw: &mut Draw) -> Sample {
    let tensors = 1 + draw.below(4);
    // Of many plain numbers none is special, of many special ones some: both cases occur.
    let domain = draw.pick(&[Domain::Uniform(-1e3, 1e3), Domain::Special]);
    let mut inputs: Vec<SampleInput> = (0..tensors)
        .map(|_| {
            let shape = match draw.below(3) {
                0 => vec![draw.dim()],
                1 => vec![draw.dim_to(40), draw.dim_to(40)],
                // More than a chunk.
                _ => vec![draw.pick(&[4097, 4096, 4099])],
            };
            SampleInput::f32(shape, domain).constant()
        })
        .collect();
    let scale = draw.pick(&[65536.0, 1.0, 0.25, f32::MAX / 1.5]);
    inputs.push(SampleInput::f32([1], Domain::Exactly(scale)));
    inputs.push(SampleInput::index([2], 4));
    inputs.push(SampleInput::f32([HYPER_LEN], Domain::Uniform(0.1, 1.0)).constant());
    let optimizer = draw.pick(&[
        Optimizer::adam(),
        Optimizer::rmsprop(),
        Optimizer::Sgd { momentum: 0.9, dampening: 0.25, nesterov: false, weight_decay: 0.0 },
    ]);
    let interval = draw.pick(&[1, 2, 3, 2000]);
    // The inverse of a scale that is no power of two, its product, and the rounding of a number from f64.
    Sample::new(Unscale { optimizer, tensors, interval }, inputs, Tolerance::ulps(2.0))
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "unscale",
        kernels: &["unscale_partial", "unscale_finish"],
        sample,
        differentiable: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_follows_pytorchs_rule() {
        // What torch.amp.GradScaler(init_scale=8, growth_interval=2) does on: good, good, overflow, good, overflow.
        let (mut scale, mut good, mut taken) = (8.0, 0, 0);
        let mut scales = vec![];
        for overflow in [false, false, true, false, true] {
            (scale, good, taken) = kernels::scale_after(overflow, scale, good, taken, 2);
            scales.push((scale, good));
        }
        assert_eq!(scales, [(8.0, 1), (16.0, 0), (8.0, 0), (8.0, 1), (4.0, 0)]);
        assert_eq!(taken, 3);
        assert_eq!(kernels::scale_after(false, f32::MAX, 0, 0, 1).0, f32::MAX);
    }

    #[test]
    fn corrections_are_those_of_the_optimiser() {
        for optimizer in [Optimizer::adam(), Optimizer::sgd().with_momentum(0.9), Optimizer::rmsprop()] {
            let op = Unscale { optimizer, tensors: 1, interval: 1 };
            let (beta1, beta2, later) = op.constants();
            for step in [1u32, 2, 3, 10, 1000, 123_456] {
                let lr = f64::from(0.002f32);
                let want = optimizer.hyper(u64::from(step), lr);
                let got = kernels::hyper_after(lr, beta1, beta2, later, step);
                let got = [got.0, got.1, got.2].map(|x| x as f32);
                for (got, index) in got.into_iter().zip([STEP_SIZE, INV_SQRT_BIAS2, GRAD_WEIGHT]) {
                    // Squaring and `powf` differ by a few roundings of f64: at most one of f32.
                    assert!((got - want[index]).abs() <= f32::EPSILON * want[index], "{optimizer} at {step}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut g = Graph::new();
        let grad = g.input("g", TensorType::f32([4])).expect("an input");
        let scale = g.input("scale", TensorType::f32([1])).expect("an input");
        let steps = g.input("steps", TensorType::u32([2])).expect("an input");
        let hyper = g.input("hyper", TensorType::f32([8])).expect("an input");
        let adam = Optimizer::adam();
        assert!(matches!(g.unscale(&adam, &[], scale, steps, hyper, 1), Err(OpError::Shape { .. })));
        assert!(matches!(g.unscale(&adam, &[grad], grad, steps, hyper, 1), Err(OpError::Shape { .. })));
        assert!(matches!(g.unscale(&adam, &[grad], scale, steps, hyper, 0), Err(OpError::Attribute { .. })));
    }
}
