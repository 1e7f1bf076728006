//! The graphs of training: one whole step (gather, forward, loss, backward, clipping, optimiser, metrics) and one
//! evaluation, over the same states.
//!
//! Data lives on the device as the states `PART.x` and `PART.y`; a step reads row numbers from the epoch's permutation
//! `PART.order` at the offset that its `step` input carries, so a step needs no data from the host but two tiny inputs.
//!
//! Products round their factors to [`Options::precision`]; all else is f32. With `F16` the loss is scaled
//! ([`ops::scaler`](crate::ops::scaler)): the states `scaler.scale` and `scaler.steps`, which [`start_scaler`] sets before the
//! first step, and a step whose gradients overflow changes nothing but these.

use serde::{Deserialize, Serialize};

use super::Options;
use crate::device::DeviceError;
use crate::graph::{Graph, States, Value};
use crate::nn::{Mlp, Mode};
use crate::ops::matmul::Precision;
use crate::ops::optim::Scaling;
use crate::ops::scaler::{FIRST_SCALE, GROWTH_INTERVAL};
use crate::ops::{OpError, TensorType};

/// What a network is trained to minimise. All are means over a minibatch, as PyTorch's defaults are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Loss {
    /// Softmax cross-entropy over class labels, with label smoothing in [0, 1).
    CrossEntropy {
        /// Probability spread over all classes.
        smoothing: f32,
    },
    /// Binary cross-entropy on logits, each output a label of its own.
    BceWithLogits,
    /// Mean squared error.
    Mse,
    /// Mean absolute error.
    Mae,
    /// Huber loss.
    Huber {
        /// Where the quadratic part ends.
        delta: f32,
    },
}

impl Loss {
    /// Appends the loss of `outputs` against `target`; a scalar.
    pub fn append(&self, graph: &mut Graph, outputs: Value, target: Value) -> Result<Value, OpError> {
        match *self {
            Loss::CrossEntropy { smoothing } => graph.cross_entropy(outputs, target, smoothing),
            Loss::BceWithLogits => graph.bce_with_logits(outputs, target),
            Loss::Mse => graph.mse(outputs, target),
            Loss::Mae => graph.mae(outputs, target),
            Loss::Huber { delta } => graph.huber(outputs, target, delta),
        }
    }

    /// What evaluations measure: the same loss without label smoothing, which is a means of training.
    pub fn plain(self) -> Loss {
        match self {
            Loss::CrossEntropy { .. } => Loss::CrossEntropy { smoothing: 0.0 },
            other => other,
        }
    }

    /// Whether the target is class labels (`u32[batch]`), not values (`f32[batch, outputs]`).
    pub fn takes_labels(&self) -> bool {
        matches!(self, Loss::CrossEntropy { .. })
    }
}

/// Type of the target of `rows` samples.
pub(crate) fn target_type(loss: Loss, rows: usize, outputs: usize) -> TensorType {
    if loss.takes_labels() { TensorType::u32([rows]) } else { TensorType::f32([rows, outputs]) }
}

/// The rows of one minibatch of part `part` of `rows` samples: (x, y).
fn minibatch(
    graph: &mut Graph,
    net: &Mlp,
    loss: Loss,
    part: &str,
    rows: usize,
    batch: usize,
    step: Value,
) -> Result<(Value, Value), OpError> {
    let x = graph.state(&format!("{part}.x"), TensorType::f32([rows, net.inputs]))?;
    let y = graph.state(&format!("{part}.y"), target_type(loss, rows, net.outputs()))?;
    let order = graph.state(&format!("{part}.order"), TensorType::u32([rows]))?;
    graph.minibatch(x, y, order, step, batch)
}

/// The states of dynamic loss scaling, as training starts: needed where `options` ask for f16, nothing elsewhere.
pub fn start_scaler(states: &States, options: &Options) -> Result<(), DeviceError> {
    if options.precision != Precision::F16 {
        return Ok(());
    }
    states.write(SCALE, &TensorType::f32([1]), &[FIRST_SCALE])?;
    states.write(SCALER_STEPS, &TensorType::u32([2]), &[0u32, 0])
}

/// The loss scale, where so many steps in a row overflowed that none ever will not.
pub(super) fn hopeless_scale(states: &States, options: &Options) -> Result<Option<f32>, DeviceError> {
    if options.precision != Precision::F16 {
        return Ok(None);
    }
    // What still overflows after 116 halvings is above 2^116, or no number at all.
    Ok(states.read::<f32>(SCALE)?.first().copied().filter(|&scale| scale < 2f32.powi(-100)))
}

/// The scale of the loss.
const SCALE: &str = "scaler.scale";
/// Good steps since the scale changed, steps taken.
const SCALER_STEPS: &str = "scaler.steps";

/// One training step on a minibatch of `batch` of the `rows` samples of part `train`.
///
/// Inputs `step` (`u32[4]`) and `hyper` (`f32[8]`); output `loss`. With `metrics`, the states `train.loss_sum` (sum of the
/// losses times the batch) and, for class labels, `train.confusion` accumulate over the epoch.
pub fn training_step(
    net: &Mlp,
    options: &Options,
    loss: Loss,
    rows: usize,
    batch: usize,
    metrics: bool,
) -> Result<Graph, OpError> {
    let mut graph = Graph::new();
    let g = &mut graph;
    g.autocast(options.precision);
    let states = net.states(g)?;
    let parameters = &states[..net.parameters().len()];
    let step = g.input("step", TensorType::u32([4]))?;
    let hyper = g.input("hyper", TensorType::f32([8]))?;
    let (x, y) = minibatch(g, net, loss, "train", rows, batch, step)?;
    let logits = net.forward(g, x, &states, Mode::Training { seed: options.seed, step })?;
    let value = loss.append(g, logits, y)?;
    let (gradients, hyper, skip) = if options.precision == Precision::F16 {
        let scale = g.state(SCALE, TensorType::f32([1]))?;
        let steps = g.state(SCALER_STEPS, TensorType::u32([2]))?;
        let scaled = g.vjps(&[(value, scale)], parameters)?;
        let after = g.unscale(&options.optimizer, &scaled, scale, steps, hyper, GROWTH_INTERVAL)?;
        g.assign(scale, after.scale)?;
        g.assign(steps, after.steps)?;
        (after.gradients, after.hyper, Some(after.overflow))
    } else {
        (g.gradients(value, parameters)?, hyper, None)
    };
    let scale = match options.clip_norm {
        Some(max) => Some(g.global_norm(&gradients, max)?.0),
        None => None,
    };
    g.optimizer_step(&options.optimizer, parameters, &gradients, hyper, Scaling { scale, skip })?;
    g.output("loss", value);
    if metrics {
        let sum = g.state("train.loss_sum", TensorType::f32([1]))?;
        let weighted = g.scale(value, batch as f32)?;
        let total = g.add(sum, weighted)?;
        g.assign(sum, total)?;
        if loss.takes_labels() {
            count(g, "train", logits, y, net.outputs())?;
        }
    }
    Ok(graph)
}

/// Accumulates the confusion matrix of `part`.
fn count(g: &mut Graph, part: &str, logits: Value, labels: Value, classes: usize) -> Result<(), OpError> {
    let matrix = g.state(&format!("{part}.confusion"), TensorType::u32([classes, classes]))?;
    let counted = g.confusion(logits, labels, matrix)?;
    g.assign(matrix, counted)
}

/// The evaluation of `batch` of the `rows` samples of part `part`: states `PART.loss_sum` and, for class labels,
/// `PART.confusion` accumulate; output `outputs` is what the network says, by products in `precision`.
pub fn evaluation(
    net: &Mlp,
    precision: Precision,
    loss: Loss,
    part: &str,
    rows: usize,
    batch: usize,
) -> Result<Graph, OpError> {
    let mut graph = Graph::new();
    let g = &mut graph;
    g.autocast(precision);
    let states = net.states(g)?;
    let step = g.input("step", TensorType::u32([4]))?;
    let (x, y) = minibatch(g, net, loss, part, rows, batch, step)?;
    let outputs = net.forward(g, x, &states, Mode::Inference)?;
    let value = loss.append(g, outputs, y)?;
    let sum = g.state(&format!("{part}.loss_sum"), TensorType::f32([1]))?;
    let weighted = g.scale(value, batch as f32)?;
    let total = g.add(sum, weighted)?;
    g.assign(sum, total)?;
    if loss.takes_labels() {
        count(g, part, outputs, y, net.outputs())?;
    }
    g.output("outputs", outputs);
    Ok(graph)
}

/// The forward pass alone, by products in `precision`: input `x` `[batch, inputs]`, output `outputs`.
pub fn inference(net: &Mlp, precision: Precision, batch: usize) -> Result<Graph, OpError> {
    let mut graph = Graph::new();
    graph.autocast(precision);
    let states = net.states(&mut graph)?;
    let x = graph.input("x", TensorType::f32([batch, net.inputs]))?;
    let outputs = net.forward(&mut graph, x, &states, Mode::Inference)?;
    graph.output("outputs", outputs);
    Ok(graph)
}
