//! A part of the data on the device, and the evaluation of a network over it.

use std::sync::Arc;

use super::model::Evaluation;
use super::step;
use super::{Loss, TrainError};
use crate::data::{Dataset, Target};
use crate::graph::{Executor, OutputId, Plan, States};
use crate::nn::Mlp;
use crate::ops::TensorType;
use crate::ops::matmul::Precision;

/// Samples an evaluation handles at once.
const EVAL_BATCH: usize = 256;

/// Checks that network, loss and data fit, before anything is built.
pub(crate) fn check_fit(net: &Mlp, loss: Loss, data: &Dataset) -> Result<(), TrainError> {
    net.validate()?;
    let bad = |text: String| Err(TrainError::Mismatch(text));
    let (name, features) = (data.name(), data.features().cols);
    if features != net.inputs {
        return bad(format!(
            "{name} has {features} features, the network takes {}; build it for this data",
            net.inputs
        ));
    }
    match (data.target(), loss.takes_labels()) {
        (Target::None, _) => bad(format!("{name} has no target column; name it with --target")),
        (Target::Classes { names, .. }, true) if names.len() < 2 => {
            let class = names.first().map_or("", String::as_str);
            bad(format!("{name} has only one class, '{class}'; give data with at least two"))
        }
        (Target::Classes { names, .. }, true) if names.len() > net.outputs() => bad(format!(
            "{name} has {} classes, the network {} outputs; build it for this data",
            names.len(),
            net.outputs()
        )),
        (Target::Classes { .. }, true) => Ok(()),
        (Target::Values { .. }, true) => bad(format!(
            "{name} has numbers to predict, and cross-entropy needs classes; use mse, mae or huber"
        )),
        (Target::Classes { .. }, false) => {
            bad(format!("{name} has classes to predict, and this loss needs numbers; use cross-entropy"))
        }
        (Target::Values { outputs, .. }, false) if *outputs != net.outputs() => {
            bad(format!("{name} has {outputs} numbers to predict, the network {} outputs", net.outputs()))
        }
        (Target::Values { .. }, false) => Ok(()),
    }
}

/// Copies `data` to the device as the states `PART.x` and `PART.y`.
pub(crate) fn upload(states: &States, part: &str, data: &Dataset) -> Result<(), TrainError> {
    let (rows, x) = (data.rows(), data.features());
    states.write(&format!("{part}.x"), &TensorType::f32([rows, x.cols]), &x.values)?;
    let name = format!("{part}.y");
    match data.target() {
        Target::Classes { labels, .. } => states.write(&name, &TensorType::u32([rows]), labels)?,
        Target::Values { values, outputs, .. } => {
            states.write(&name, &TensorType::f32([rows, *outputs]), values)?;
        }
        Target::None => {}
    }
    Ok(())
}

/// The order `0, 1, ..` of the rows of part `part`.
pub(crate) fn upload_order(states: &States, part: &str, rows: usize) -> Result<(), TrainError> {
    let order: Vec<u32> = (0..rows as u32).collect();
    Ok(states.write(&format!("{part}.order"), &TensorType::u32([rows]), &order)?)
}

/// Zeroes the accumulators of `part`.
pub(crate) fn reset(states: &States, part: &str, loss: Loss, net: &Mlp) -> Result<(), TrainError> {
    states.write(&format!("{part}.loss_sum"), &TensorType::f32([1]), &[0f32])?;
    if loss.takes_labels() {
        let c = net.outputs();
        states.write(&format!("{part}.confusion"), &TensorType::u32([c, c]), &vec![0u32; c * c])?;
    }
    Ok(())
}

/// The accumulators of `part` after a pass over `rows` samples: (mean loss, confusion matrix).
pub(crate) fn totals(
    states: &States,
    part: &str,
    loss: Loss,
    rows: usize,
) -> Result<(f64, Vec<u32>), TrainError> {
    let sum: Vec<f32> = states.read(&format!("{part}.loss_sum"))?;
    let confusion = if loss.takes_labels() { states.read(&format!("{part}.confusion"))? } else { vec![] };
    Ok((f64::from(sum[0]) / rows as f64, confusion))
}

/// Share of the diagonal; NaN when nothing was counted.
pub(crate) fn accuracy(confusion: &[u32], classes: usize) -> f64 {
    let total: u64 = confusion.iter().map(|&n| u64::from(n)).sum();
    let right: u64 = (0..classes).map(|c| u64::from(confusion[c * classes + c])).sum();
    right as f64 / total as f64
}

/// A network over one part, ready to be evaluated again and again.
pub(crate) struct Evaluator {
    part: &'static str,
    net: Mlp,
    loss: Loss,
    states: States,
    /// Executors with their batch and output: full batches, then the rest.
    runs: Vec<(Executor, OutputId, usize, usize)>,
    rows: usize,
    targets: Arc<[f32]>,
}

impl Evaluator {
    /// Uploads `data` as part `part` and builds what evaluates it by products in this precision.
    pub fn new(
        states: &States,
        part: &'static str,
        data: &Dataset,
        loss: Loss,
        (net, precision): (&Mlp, Precision),
    ) -> Result<Evaluator, TrainError> {
        check_fit(net, loss, data)?;
        upload(states, part, data)?;
        upload_order(states, part, data.rows())?;
        let targets = data.values().unwrap_or_default().into();
        Evaluator::bind(states, part, data, targets, loss, (net, precision))
    }

    /// Builds what evaluates the part `part` that lies in `states` and fits the network; `targets` are the numbers to predict.
    pub fn bind(
        states: &States,
        part: &'static str,
        data: &Dataset,
        targets: Arc<[f32]>,
        loss: Loss,
        (net, precision): (&Mlp, Precision),
    ) -> Result<Evaluator, TrainError> {
        let loss = loss.plain();
        let rows = data.rows();
        let batch = rows.min(EVAL_BATCH);
        let mut runs = vec![];
        for (batch, times) in [(batch, rows / batch), (rows % batch, 1)] {
            if batch > 0 {
                let plan = Plan::new(&step::evaluation(net, precision, loss, part, rows, batch)?.fuse())?;
                let exec = Executor::new(&plan, states)?;
                let output = exec.output("outputs")?;
                runs.push((exec, output, batch, times));
            }
        }
        Ok(Evaluator { part, net: net.clone(), loss, states: states.clone(), runs, rows, targets })
    }

    /// One pass: the evaluation and every output, `[rows, outputs]`.
    pub fn run(&mut self) -> Result<(Evaluation, Vec<f32>), TrainError> {
        reset(&self.states, self.part, self.loss, &self.net)?;
        let width = self.net.outputs();
        let mut outputs = vec![0f32; self.rows * width];
        let mut done = 0;
        for (exec, output, batch, times) in &mut self.runs {
            for _ in 0..*times {
                exec.set("step", &[0u32, 0, done as u32, 0])?;
                exec.run()?;
                exec.read(*output, &mut outputs[done * width..(done + *batch) * width])?;
                done += *batch;
            }
        }
        let (loss, confusion) = totals(&self.states, self.part, self.loss, self.rows)?;
        let accuracy = if self.loss.takes_labels() { accuracy(&confusion, width) } else { f64::NAN };
        let r2 = if self.loss.takes_labels() { f64::NAN } else { r2(&outputs, &self.targets, width) };
        let confusion = confusion.chunks(width).map(<[u32]>::to_vec).collect();
        Ok((Evaluation { loss, accuracy, r2, confusion, samples: self.rows }, outputs))
    }
}

/// Coefficient of determination, 1 - residual / total variance, averaged over outputs as scikit-learn does.
fn r2(outputs: &[f32], targets: &[f32], width: usize) -> f64 {
    let rows = (outputs.len() / width) as f64;
    let column = |v: &[f32], k: usize| -> Vec<f64> {
        v.iter().skip(k).step_by(width).map(|&x| f64::from(x)).collect()
    };
    let each = (0..width).map(|k| {
        let (p, t) = (column(outputs, k), column(targets, k));
        let mean = t.iter().sum::<f64>() / rows;
        let residual: f64 = p.iter().zip(&t).map(|(p, t)| (p - t) * (p - t)).sum();
        let total: f64 = t.iter().map(|t| (t - mean) * (t - mean)).sum();
        1.0 - residual / total
    });
    each.sum::<f64>() / width as f64
}
