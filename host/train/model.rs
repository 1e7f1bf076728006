//! A trained network: evaluate, predict, save, load.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checkpoint::{self, FORMAT, SavedTensor};
use super::part::Evaluator;
use super::{History, Loss, Options, TrainError, step};
use crate::data::{Dataset, Preprocessing, TargetTransform};
use crate::device::Device;
use crate::graph::{Executor, Plan, States};
use crate::nn::Mlp;

/// How well a model does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean loss, without label smoothing.
    pub loss: f64,
    /// Share of samples whose most probable class is right; NaN for regression.
    pub accuracy: f64,
    /// Coefficient of determination; NaN for classification.
    pub r2: f64,
    /// Samples of true class `i` that were given class `j`; empty for regression.
    pub confusion: Vec<Vec<u32>>,
    /// Number of samples.
    pub samples: usize,
}

/// What a model says of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Row-major `[rows, outputs]`: class probabilities, or numbers in the units of the training data.
    pub outputs: Vec<f32>,
    /// Outputs of a row.
    pub width: usize,
    /// The most probable class of each row; empty for regression.
    pub labels: Vec<u32>,
    /// Names of the classes; empty for regression.
    pub classes: Vec<String>,
}

/// A trained network with what its data went through. Clones share the parameters, which nobody writes.
#[derive(Clone)]
pub struct Model {
    pub(crate) net: Mlp,
    pub(crate) loss: Loss,
    pub(crate) options: Options,
    pub(crate) preprocessing: Option<Arc<Preprocessing>>,
    pub(crate) states: States,
    /// The epochs it was trained for; empty in a model that was loaded.
    pub history: History,
}

/// What a model file says beside its tensors.
#[derive(Serialize, Deserialize)]
struct ModelInfo {
    format: u32,
    net: Mlp,
    loss: Loss,
    options: Options,
    preprocessing: Option<Preprocessing>,
}

impl Model {
    /// The network.
    pub fn net(&self) -> &Mlp {
        &self.net
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        self.states.device()
    }

    /// What data goes through before the network sees it.
    pub fn preprocessing(&self) -> Option<&Arc<Preprocessing>> {
        self.preprocessing.as_ref()
    }

    /// The options it was trained with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A parameter (or running statistic) by name (`layers.0.weight`), row-major. Error: no such parameter.
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>, TrainError> {
        Ok(self.states.read(name)?)
    }

    /// Loss and accuracy (or R2) on prepared data: a part of the same split, or what
    /// [`Preprocessing::apply`](crate::data::Preprocessing::apply) gives. Errors: the data does not fit the network.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, TrainError> {
        Ok(self.evaluator(data)?.run()?.0)
    }

    /// Each evaluation has data of its own on the device, and the model's parameters beside it.
    fn evaluator(&self, data: &Dataset) -> Result<Evaluator, TrainError> {
        let data = data.clone().prepared()?;
        let net = (&self.net, self.options.precision);
        Evaluator::new(&self.own_states()?, "eval", &data, self.loss, net)
    }

    /// A second set of states with the same parameters, so that evaluations leave nothing behind.
    fn own_states(&self) -> Result<States, TrainError> {
        let states = States::new(self.states.device());
        checkpoint::put_states(&states, &self.tensors()?)?;
        Ok(states)
    }

    pub(crate) fn tensors(&self) -> Result<Vec<SavedTensor>, TrainError> {
        let names: Vec<String> = self.net.tensors().into_iter().map(|p| p.name).collect();
        checkpoint::take_states(&self.states, |name| names.iter().any(|n| n == name))
    }

    /// What the network says of prepared data, target or not.
    pub fn predict(&self, data: &Dataset) -> Result<Prediction, TrainError> {
        let data = data.clone().prepared()?;
        let features = data.features();
        if features.cols != self.net.inputs {
            let (name, cols, want) = (data.name(), features.cols, self.net.inputs);
            return Err(TrainError::Mismatch(format!(
                "{name} has {cols} features, the network takes {want}"
            )));
        }
        let width = self.net.outputs();
        let mut outputs = vec![0f32; features.rows * width];
        let full = features.rows.min(256);
        for (start, batch) in [(0, full), (features.rows / full * full, features.rows % full)] {
            if batch == 0 {
                continue;
            }
            let plan = Plan::new(&step::inference(&self.net, self.options.precision, batch)?.fuse())?;
            let mut exec = Executor::new(&plan, &self.states)?;
            let (x, y) = (exec.input("x")?, exec.output("outputs")?);
            let end = if start == 0 { features.rows / full * full } else { features.rows };
            for row in (start..end).step_by(batch) {
                exec.write(x, &features.values[row * features.cols..(row + batch) * features.cols])?;
                exec.run()?;
                exec.read(y, &mut outputs[row * width..(row + batch) * width])?;
            }
        }
        let mut labels = vec![];
        match self.loss {
            Loss::CrossEntropy { .. } => {
                for row in outputs.chunks_mut(width) {
                    labels.push(softmax_in_place(row) as u32);
                }
            }
            Loss::BceWithLogits => outputs.iter_mut().for_each(|z| *z = 1.0 / (1.0 + (-*z).exp())),
            Loss::Mse | Loss::Mae | Loss::Huber { .. } => {
                if let Some(p) = &self.preprocessing {
                    p.restore_values(&mut outputs);
                }
            }
        }
        let classes = match (&self.preprocessing, self.loss.takes_labels()) {
            (Some(p), true) => {
                let names = p.classes();
                // Outputs beyond the classes of the data go by their numbers.
                names.iter().cloned().chain((names.len()..width).map(|c| c.to_string())).collect()
            }
            (None, true) => (0..width).map(|c| c.to_string()).collect(),
            _ => vec![],
        };
        Ok(Prediction { outputs, width, labels, classes })
    }

    /// Writes the model to `path` (safetensors, PyTorch's tensor names), atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        let info = ModelInfo {
            format: FORMAT,
            net: self.net.clone(),
            loss: self.loss,
            options: self.options.clone(),
            preprocessing: self.preprocessing.as_deref().cloned(),
        };
        checkpoint::save(path.as_ref(), "model", &self.tensors()?, &info)
    }

    /// Reads a model that [`save`](Model::save) wrote. Errors name the file and what is wrong with it.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Model, TrainError> {
        let path = path.as_ref();
        let (tensors, info): (_, ModelInfo) = checkpoint::load(path, "model")?;
        if info.format != FORMAT {
            let reason = format!("model format {}, this version reads {FORMAT}; train again", info.format);
            return Err(TrainError::File { path: path.into(), reason });
        }
        checkpoint::check_parameters(path, &info.net, &tensors)?;
        if let Some(p) = &info.preprocessing {
            // A network may have more outputs than the data has classes, as `fit` allows.
            let fits = match &p.target {
                TargetTransform::Classes { names, .. } => names.len() <= info.net.outputs(),
                TargetTransform::Values { names, offset, scale, .. } => {
                    [names.len(), offset.len(), scale.len()].iter().all(|&n| n == info.net.outputs())
                }
                TargetTransform::None => true,
            };
            if p.width() != info.net.inputs || !fits {
                let reason =
                    "its network and its data do not fit; the file is damaged, restore a copy or train again";
                return Err(TrainError::File { path: path.into(), reason: reason.into() });
            }
        }
        let states = States::new(device);
        checkpoint::put_states(&states, &tensors)?;
        Ok(Model {
            net: info.net,
            loss: info.loss,
            options: info.options,
            preprocessing: info.preprocessing.map(Arc::new),
            states,
            history: History::default(),
        })
    }
}

/// Softmax of a row; returns the place of its maximum.
fn softmax_in_place(row: &mut [f32]) -> usize {
    let mut best = 0;
    for (i, &z) in row.iter().enumerate() {
        if z > row[best] || (z.is_nan() && !row[best].is_nan()) {
            best = i;
        }
    }
    let max = row[best];
    let mut sum = 0.0;
    for z in row.iter_mut() {
        *z = (*z - max).exp();
        sum += *z;
    }
    row.iter_mut().for_each(|z| *z /= sum);
    best
}
