//! One network of a grouped population: its memory, and what it does in each step.

use super::super::{Candidate, Failure, Progress, Tensor};
use crate::device::{Buffer, Device, DeviceError};
use crate::nn::{DROPOUT_STREAM, Parameter};
use crate::ops::activation::Activation;
use crate::ops::grouped::{Dropout, Step, zeros};
use crate::train::Loss;

/// A parameter with its gradient and moments.
pub(super) struct Trainable {
    pub definition: Parameter,
    pub value: Buffer<f32>,
    pub gradient: Buffer<f32>,
    pub moments: Vec<Buffer<f32>>,
}

impl Trainable {
    /// The first value is the graph's for this stream: the same random numbers, bit for bit.
    fn new(
        device: &Device,
        definition: Parameter,
        seed: u64,
        stream: u32,
        moments: usize,
    ) -> Result<Trainable, DeviceError> {
        let mut values = vec![0f32; definition.shape.iter().product()];
        let distribution = definition.init.distribution(definition.fan_in, definition.fan_out);
        distribution.fill(&mut values, seed, stream);
        Ok(Trainable {
            value: device.buffer(&values)?,
            gradient: zeros(device, values.len())?,
            moments: (0..moments).map(|_| zeros(device, values.len())).collect::<Result<_, _>>()?,
            definition,
        })
    }
}

/// One dense layer: `y = dropout(h) + x`, `h = act(z)`, `z = x wᵀ + b`.
pub(super) struct Layer {
    pub units: usize,
    pub activation: Activation,
    pub dropout: Option<Dropout>,
    pub skip: bool,
    pub weight: Trainable,
    pub bias: Trainable,
    /// Activated output.
    pub h: Buffer<f32>,
    /// What comes before the activation, where its derivative needs that.
    pub z: Option<Buffer<f32>>,
    /// The output, where dropout or a skip connection makes it another than h.
    pub y: Option<Buffer<f32>>,
    /// Gradient of z.
    pub dz: Buffer<f32>,
    /// Gradient of the output, where the way from it to dz is a pass of its own.
    pub dy: Option<Buffer<f32>>,
}

/// A network of the population.
pub(super) struct Network {
    pub candidate: Candidate,
    pub loss: Loss,
    /// Rows of a minibatch; the last of an epoch may have fewer.
    pub batch: usize,
    /// Rows of an evaluation's step at most.
    pub evaluated: usize,
    /// Steps of an epoch.
    pub per_epoch: usize,
    /// In order; empty once it failed.
    pub layers: Vec<Layer>,
    /// The factor of its gradients, if they are clipped.
    pub scale: Option<Buffer<f32>>,
    /// Epochs done.
    pub epoch: usize,
    pub history: Vec<Progress>,
    pub failed: Option<Failure>,
    rows: usize,
    parameters: usize,
}

impl Network {
    /// A network with its initial parameters, for `rows` rows of training data in minibatches of `batch`, and `evaluated`
    /// rows a step of an evaluation. Error: no memory.
    pub fn new(
        device: &Device,
        candidate: Candidate,
        loss: Loss,
        batch: usize,
        rows: usize,
        evaluated: usize,
    ) -> Result<Network, DeviceError> {
        let Candidate { net, options } = &candidate;
        let (seed, moments) = (options.seed, options.optimizer.moments());
        let mut definitions = net.parameters().into_iter().enumerate();
        let mut trainable = || match definitions.next() {
            Some((stream, p)) => Trainable::new(device, p, seed, stream as u32, moments).map(Some),
            None => Ok(None),
        };
        let mut layers = vec![];
        let capacity = batch.max(evaluated);
        for (i, layer) in net.layers.iter().enumerate() {
            let (Some(weight), Some(bias)) = (trainable()?, trainable()?) else { break };
            let last = i + 1 == net.layers.len();
            let dropout = (layer.dropout > 0.0).then_some(Dropout {
                p: layer.dropout,
                seed,
                stream: DROPOUT_STREAM + i as u32,
            });
            let beyond = dropout.is_some() || layer.skip;
            let own_pass = beyond || (last && layer.activation != Activation::Identity);
            let room = |wanted: bool, rows: usize| {
                wanted.then(|| device.alloc::<f32>(rows * layer.units)).transpose()
            };
            let from_input = !layer.activation.grad_from_output();
            layers.push(Layer {
                units: layer.units,
                activation: layer.activation,
                dropout,
                skip: layer.skip,
                weight,
                bias,
                h: device.alloc(capacity * layer.units)?,
                z: room(from_input, batch)?,
                y: room(beyond, capacity)?,
                dz: device.alloc(batch * layer.units)?,
                dy: room(own_pass, batch)?,
            });
        }
        let scale = options.clip_norm.map(|_| zeros(device, 1)).transpose()?;
        let parameters = net.parameter_count();
        let per_epoch = rows.div_ceil(batch);
        Ok(Network {
            candidate,
            loss,
            batch,
            evaluated,
            per_epoch,
            layers,
            scale,
            epoch: 0,
            history: vec![],
            failed: None,
            rows,
            parameters,
        })
    }

    /// Whether all epochs of the schedule are done.
    pub fn finished(&self) -> bool {
        self.epoch >= self.candidate.options.epochs
    }

    /// Multiply-adds of an epoch, up to a factor that all networks have in common.
    pub fn work(&self) -> f64 {
        self.parameters as f64
    }

    /// Gives the memory back and remembers why.
    pub fn fail(&mut self, failure: Failure) {
        self.failed = Some(failure);
        self.layers.clear();
        self.scale = None;
    }

    /// What it does in step `at` of the epoch under way.
    pub fn step(&self, at: usize) -> Step {
        let options = &self.candidate.options;
        let step = (self.epoch * self.per_epoch + at) as u64;
        let offset = at * self.batch;
        Step {
            rows: self.batch.min(self.rows - offset),
            offset,
            step,
            hyper: options.optimizer.hyper(step + 1, options.rate(step, self.per_epoch as u64)),
        }
    }

    /// Its parameters as they are now, in order of definition.
    pub fn parameters(&self) -> Result<Vec<Tensor>, DeviceError> {
        let trainable = self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        trainable
            .map(|t| {
                let Parameter { name, shape, .. } = t.definition.clone();
                Ok(Tensor { name, shape, values: t.value.to_vec()? })
            })
            .collect()
    }
}
