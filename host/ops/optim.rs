//! Optimisers: one operation updates a whole list of parameters and their moments in place.
//!
//! With `g = scale * gradient (+ weight_decay p)`, for each element `p`:
//!
//! ```text
//! sgd      b = momentum b + w g;  p -= lr (nesterov: g + momentum b; else b; without momentum g)
//!          (w = 1 at the first step, then 1 - dampening)
//! rmsprop  v = alpha v + (1 - alpha) g^2;  d = g / (sqrt(v) + eps);  with momentum b = momentum b + d, d = b;  p -= lr d
//! adam     m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2
//!          p -= lr / (1 - beta1^t)  m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! adamw    the same, after p *= 1 - lr weight_decay
//! ```
//!
//! These are PyTorch's rules, in its order of operations up to the rounding of constants. Inputs: `n` parameters, their
//! `n` gradients, for each moment its `n` tensors, `hyper f32[8]` ([`Optimizer::hyper`]: learning rate and bias
//! corrections of this step), if gradients are clipped their factor `scale [1]`, and if the step may be skipped
//! `skip [1]`: not 0, and nothing changes. Outputs: the `n` new parameters and
//! the new moments, in the memory of the old. No gradient. Cost: 2 to 14 FLOP an element; Adam reads 16 bytes and writes 12.
//! Kernels: one launch for all tensors wherever they lie.

mod spec;
mod update;

use gpu_kernels::optim::{CHUNK, HYPER_LEN, OPTIM_BLOCK, UPDATE_WORDS};

pub use spec::Optimizer;

use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, Slot, TensorType,
    Tolerance,
};
use crate::device::{DType, DeviceError, DevicePtr, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;
use crate::real::Real;
use update::{Apply, Update, apply_f32, apply_f64, shared};

/// One step of an optimiser; see the module's docs.
#[derive(Clone, Debug)]
struct Step {
    optimizer: Optimizer,
    /// How many parameters.
    tensors: usize,
    /// Whether there is an input with the factor of the gradients.
    clipped: bool,
    /// Whether the last input says if the step is skipped.
    skippable: bool,
}

impl Step {
    /// Where `hyper` is among the inputs.
    fn hyper(&self) -> usize {
        (2 + self.optimizer.moments()) * self.tensors
    }

    /// Where `skip` is among the inputs, if it is.
    fn skip(&self) -> Option<usize> {
        self.skippable.then(|| self.hyper() + 1 + usize::from(self.clipped))
    }

    fn run<T: Real>(&self, ctx: &CpuCtx<'_, T>, apply: Apply<T>) {
        if self.skip().is_some_and(|i| ctx.input(i)[0] != T::ZERO) {
            return;
        }
        let n = self.tensors;
        let scale = if self.clipped { ctx.input(self.hyper() + 1)[0] } else { T::ONE };
        let update = Update::new(&self.optimizer, ctx.input(self.hyper()), scale);
        for i in 0..n {
            // The outputs start out holding the parameters and moments (`in_place_pairs`).
            let moment =
                |k: usize| if k <= self.optimizer.moments() { ctx.output(k * n + i) } else { &mut [] };
            shared(&update, apply, ctx.output(i), ctx.input(n + i), moment(1), moment(2));
        }
    }
}

impl Op for Step {
    fn name(&self) -> &'static str {
        self.optimizer.name()
    }

    fn attributes(&self) -> String {
        let tensors = self.tensors;
        let clipped = match (self.clipped, self.skippable) {
            (false, false) => "",
            (true, false) => " clipped",
            (false, true) => " skippable",
            (true, true) => " clipped skippable",
        };
        match self.optimizer {
            Optimizer::Sgd { momentum, dampening, nesterov, weight_decay } => format!(
                "momentum={momentum} dampening={dampening} nesterov={nesterov} weight_decay={weight_decay} \
                 tensors={tensors}{clipped}"
            ),
            Optimizer::RmsProp { alpha, eps, momentum, weight_decay } => format!(
                "alpha={alpha} eps={eps} momentum={momentum} weight_decay={weight_decay} tensors={tensors}{clipped}"
            ),
            Optimizer::Adam { beta1, beta2, eps, weight_decay }
            | Optimizer::AdamW { beta1, beta2, eps, weight_decay } => format!(
                "betas=({beta1}, {beta2}) eps={eps} weight_decay={weight_decay} tensors={tensors}{clipped}"
            ),
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        self.optimizer.check()?;
        let n = self.tensors;
        let fail = |reason: &str| Err(OpError::shape(self.name(), reason, inputs));
        if n == 0
            || inputs.len() != self.hyper() + 1 + usize::from(self.clipped) + usize::from(self.skippable)
        {
            return fail(
                "takes one or more parameters, as many gradients and moments, hyper and perhaps scale and skip",
            );
        }
        if inputs[..n].iter().any(|t| t.dtype != DType::F32) {
            return fail("parameters are f32");
        }
        if (0..self.hyper()).any(|i| inputs[i] != inputs[i % n]) {
            return fail("gradients and moments have the parameters' shapes");
        }
        if inputs[self.hyper()] != TensorType::f32([HYPER_LEN]) {
            return fail("hyper is f32[8]");
        }
        if inputs[self.hyper() + 1..].iter().any(|t| *t != TensorType::f32([1])) {
            return fail("scale and skip are f32[1]");
        }
        Ok((0..self.hyper() - n).map(|i| inputs[i % n].clone()).collect())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flop = match self.optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => 2,
            Optimizer::Sgd { .. } => 5,
            Optimizer::RmsProp { .. } => 10,
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => 14,
        };
        let elements: usize = inputs[..self.tensors].iter().map(TensorType::len).sum();
        Cost::streaming(flop * elements as u64, inputs, outputs)
    }

    fn in_place_pairs(&self, _inputs: usize) -> Vec<(usize, usize)> {
        let n = self.tensors;
        let params = (0..n).map(|i| (i, i));
        params.chain((0..n * self.optimizer.moments()).map(|i| (2 * n + i, n + i))).collect()
    }

    fn table(&self, inputs: &[Slot], outputs: &[Slot]) -> Vec<u64> {
        let n = self.tensors;
        let mut words = Vec::new();
        for i in 0..n {
            let moment = |k: usize| outputs.get(k * n + i).map_or(0, |slot| slot.address);
            let addresses = [outputs[i].address, inputs[n + i].address, moment(1), moment(2)];
            for start in (0..outputs[i].len).step_by(CHUNK as usize) {
                words.extend(addresses.map(|a| if a == 0 { 0 } else { a + 4 * start as u64 }));
                words.push((outputs[i].len - start).min(CHUNK as usize) as u64);
            }
        }
        words
    }

    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        self.run(ctx, apply_f32);
    }

    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        self.run(ctx, apply_f64);
    }

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let launch = Launch::new((ctx.table_len / UPDATE_WORDS) as u32, OPTIM_BLOCK);
        let (table, hyper) = (ctx.table, ctx.input::<f32>(self.hyper()));
        let scale = if self.clipped { ctx.input::<f32>(self.hyper() + 1) } else { DevicePtr::new(0) };
        let skip = self.skip().map_or(DevicePtr::new(0), |i| ctx.input::<f32>(i));
        let decay = self.optimizer.coupled_weight_decay() as f32;
        match self.optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => {
                ctx.launch(kernel!(optim::sgd_step), launch, (table, hyper, scale, skip, decay))
            }
            Optimizer::Sgd { momentum, nesterov, .. } => {
                let args = (table, hyper, scale, skip, decay, momentum as f32, u32::from(nesterov));
                ctx.launch(kernel!(optim::sgd_momentum_step), launch, args)
            }
            Optimizer::RmsProp { alpha, eps, momentum, .. } => {
                let (a, rest, eps) = (alpha as f32, (1.0 - alpha) as f32, eps as f32);
                if momentum == 0.0 {
                    let args = (table, hyper, scale, skip, decay, a, rest, eps);
                    ctx.launch(kernel!(optim::rmsprop_step), launch, args)
                } else {
                    let args = (table, hyper, scale, skip, decay, a, rest, eps, momentum as f32);
                    ctx.launch(kernel!(optim::rmsprop_momentum_step), launch, args)
                }
            }
            Optimizer::Adam { beta1, beta2, eps, .. } | Optimizer::AdamW { beta1, beta2, eps, .. } => {
                let rest = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
                let args = (table, hyper, scale, skip, decay, rest.0, beta2 as f32, rest.1, eps as f32);
                ctx.launch(kernel!(optim::adam_step), launch, args)
            }
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What happens to gradients on their way into an optimiser.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scaling {
    /// Multiplies them, `[1]`.
    pub scale: Option<Value>,
    /// Where this is not 0, `[1]`, the step changes nothing.
    pub skip: Option<Value>,
}

impl From<Option<Value>> for Scaling {
    fn from(scale: Option<Value>) -> Scaling {
        Scaling { scale, skip: None }
    }
}

/// What [`Graph::optimizer`] returns.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The new parameters.
    pub params: Vec<Value>,
    /// The new moments: `moments[k][i]` is moment `k` of parameter `i`.
    pub moments: Vec<Vec<Value>>,
}

impl Graph {
    /// One step of `optimizer`. `moments[k][i]` is moment `k` (of [`Optimizer::moment_names`]) of parameter `i`; `hyper` is
    /// `f32[8]`, given before each run from [`Optimizer::hyper`]; `scaling` is the factor of the gradients (see
    /// [`global_norm`](Graph::global_norm)), if there is one, or a [`Scaling`].
    ///
    /// Errors: constants out of range; tensors that do not match.
    pub fn optimizer(
        &mut self,
        optimizer: &Optimizer,
        params: &[Value],
        grads: &[Value],
        moments: &[Vec<Value>],
        hyper: Value,
        scaling: impl Into<Scaling>,
    ) -> Result<Updated, OpError> {
        let n = params.len();
        if grads.len() != n || moments.len() != optimizer.moments() || moments.iter().any(|m| m.len() != n) {
            let reason = format!(
                "{n} parameters need as many gradients and {} moments each; {} gradients and {:?} moments given",
                optimizer.moments(),
                grads.len(),
                moments.iter().map(Vec::len).collect::<Vec<_>>()
            );
            return Err(OpError::attribute(optimizer.name(), reason));
        }
        let mut inputs = [params, grads].concat();
        inputs.extend(moments.iter().flatten());
        inputs.push(hyper);
        let Scaling { scale, skip } = scaling.into();
        inputs.extend(scale.into_iter().chain(skip));
        let (clipped, skippable) = (scale.is_some(), skip.is_some());
        let step = Step { optimizer: *optimizer, tensors: n, clipped, skippable };
        let outputs = self.push(step, &inputs)?;
        let (params, rest) = outputs.split_at(n);
        Ok(Updated { params: params.to_vec(), moments: rest.chunks(n).map(<[Value]>::to_vec).collect() })
    }

    /// As [`optimizer`](Graph::optimizer), for parameters that are states: makes the states of the moments, named
    /// `optim.PARAMETER.MOMENT` (zeros when training starts), and assigns parameters and moments their new values.
    /// Returns the moments' states.
    ///
    /// Errors: a parameter that is not a state; those of [`optimizer`](Graph::optimizer).
    pub fn optimizer_step(
        &mut self,
        optimizer: &Optimizer,
        params: &[Value],
        grads: &[Value],
        hyper: Value,
        scaling: impl Into<Scaling>,
    ) -> Result<Vec<Vec<Value>>, OpError> {
        let mut names = Vec::with_capacity(params.len());
        for &param in params {
            let name = self.states().find(|&(_, state)| state == param).map(|(name, _)| name.to_owned());
            names.push(name.ok_or_else(|| {
                OpError::Graph(format!("{optimizer}: a parameter of type {} is not a state", self.ty(param)))
            })?);
        }
        let mut moments = Vec::new();
        for moment in optimizer.moment_names() {
            let mut states = Vec::with_capacity(params.len());
            for (name, &param) in names.iter().zip(params) {
                let ty = self.ty(param).clone();
                states.push(self.state(&format!("optim.{name}.{moment}"), ty)?);
            }
            moments.push(states);
        }
        let updated = self.optimizer(optimizer, params, grads, &moments, hyper, scaling)?;
        for (&state, value) in params.iter().zip(updated.params) {
            self.assign(state, value)?;
        }
        for (&state, &value) in moments.iter().flatten().zip(updated.moments.iter().flatten()) {
            self.assign(state, value)?;
        }
        Ok(moments)
    }
}

/// Draws tensors for `optimizer`.
fn sample(draw: &mut Draw, optimizer: Optimizer) -> Sample {
    let tensors = 1 + draw.below(5);
    let (clipped, skippable) = (draw.coin(), draw.coin());
    let shapes: Vec<Vec<usize>> = (0..tensors)
        .map(|_| match draw.below(4) {
            0 => vec![draw.dim()],
            1 => vec![draw.dim_to(20), draw.dim_to(20)],
            2 => vec![draw.pick(&[1, 2, 3, 5])],
            // More than a chunk.
            _ => vec![draw.pick(&[4097, 4096, 4099])],
        })
        .collect();
    let tensor = |shape: &Vec<usize>, lo, hi| SampleInput::uniform(shape.clone(), lo, hi).constant();
    let mut inputs: Vec<SampleInput> = shapes.iter().map(|s| tensor(s, -2.0, 2.0)).collect();
    inputs.extend(shapes.iter().map(|s| tensor(s, -2.0, 2.0)));
    for &moment in optimizer.moment_names() {
        // Mean squares are positive, and large enough that no quotient explodes.
        let (lo, hi) = if moment.contains("sq") { (0.5, 4.0) } else { (-1.0, 1.0) };
        inputs.extend(shapes.iter().map(|s| tensor(s, lo, hi)));
    }
    inputs.push(SampleInput::f32([HYPER_LEN], Domain::Uniform(0.1, 1.0)).constant());
    if clipped {
        inputs.push(SampleInput::uniform([1], 0.1, 1.0).constant());
    }
    if skippable {
        inputs.push(SampleInput::f32([1], Domain::Exactly(draw.pick(&[0.0, 1.0]))));
    }
    // Fewer than ten roundings on any path to a result, each relative to a term no larger than `scale`. With |p|, |g| <= 2,
    // weight decay <= 0.1 and momenta < 1, gradients and SGD's updates stay below 2.2 (1 + 1 + 2). A quotient's numerator is at most
    // 2.2; its root at least sqrt(0.5 * 0.5), times at least 0.1 in Adam; learning rates are at most 1.
    let scale = match optimizer {
        Optimizer::Sgd { .. } => 2.0 + 8.8,
        Optimizer::RmsProp { .. } => 2.0 + 2.2 / 0.5 + 1.0,
        Optimizer::Adam { .. } | Optimizer::AdamW { .. } => 2.0 + 2.2 / (0.5 * 0.1),
    };
    let step = Step { optimizer, tensors, clipped, skippable };
    Sample::new(step, inputs, Tolerance::ulps(5.0).absolute(scale))
}

fn sample_sgd(draw: &mut Draw) -> Sample {
    let momentum = draw.pick(&[0.0, 0.9, 0.5]);
    let nesterov = momentum > 0.0 && draw.coin();
    let dampening = if nesterov { 0.0 } else { draw.pick(&[0.0, 0.1]) };
    let weight_decay = draw.pick(&[0.0, 0.01, 0.1]);
    sample(draw, Optimizer::Sgd { momentum, dampening, nesterov, weight_decay })
}

fn sample_rmsprop(draw: &mut Draw) -> Sample {
    let (alpha, eps) = (draw.pick(&[0.99, 0.9, 0.5]), draw.pick(&[1e-8, 1e-3]));
    let (momentum, weight_decay) = (draw.pick(&[0.0, 0.9]), draw.pick(&[0.0, 0.01, 0.1]));
    sample(draw, Optimizer::RmsProp { alpha, eps, momentum, weight_decay })
}

/// beta1, beta2, eps, weight_decay.
fn draw_adam(draw: &mut Draw) -> [f64; 4] {
    let beta2 = draw.pick(&[0.999, 0.99, 0.5]);
    [draw.pick(&[0.9, 0.0, 0.5]), beta2, draw.pick(&[1e-8, 1e-3]), draw.pick(&[0.0, 0.01, 0.1])]
}

fn sample_adam(draw: &mut Draw) -> Sample {
    let [beta1, beta2, eps, weight_decay] = draw_adam(draw);
    sample(draw, Optimizer::Adam { beta1, beta2, eps, weight_decay })
}

fn sample_adamw(draw: &mut Draw) -> Sample {
    let [beta1, beta2, eps, weight_decay] = draw_adam(draw);
    sample(draw, Optimizer::AdamW { beta1, beta2, eps, weight_decay })
}

pub(super) fn entries() -> Vec<OpEntry> {
    let entry = |name, kernels, sample| OpEntry { name, kernels, sample, differentiable: false };
    vec![
        entry("sgd", &["sgd_step", "sgd_momentum_step"][..], sample_sgd as fn(&mut Draw) -> Sample),
        entry("rmsprop", &["rmsprop_step", "rmsprop_momentum_step"], sample_rmsprop),
        entry("adam", &["adam_step"], sample_adam),
        entry("adamw", &["adam_step"], sample_adamw),
    ]
}

#[cfg(test)]
mod tests;
