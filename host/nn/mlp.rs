//! The multi-layer perceptron.
//!
//! # Tensors
//!
//! The parameters are `layers.I.weight` and `layers.I.bias` of every layer, and after them `norms.I.weight` and
//! `norms.I.bias` of the layers that normalise. Batch normalisation has two more tensors, which no optimiser touches:
//! `norms.I.running_mean` and `norms.I.running_var`. In PyTorch these are the names of a module with the lists `layers` and
//! `norms`.

use serde::{Deserialize, Serialize};

use super::norm::{Affine, Running, batch_norm, layer_norm, running_norm};
use super::{Dense, Mode, Norm, Parameter, WeightInit};
use crate::graph::{Graph, Value};
use crate::ops::activation::Activation;
use crate::ops::random::Init;
use crate::ops::{OpError, TensorType};

/// A multi-layer perceptron: each [`Dense`] layer computes `dropout(activation(norm(x · wᵀ + b)))`, plus `x` where it
/// skips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mlp {
    /// Features of a sample.
    pub inputs: usize,
    /// The layers in order; the last one's units are the outputs.
    pub layers: Vec<Dense>,
    /// The initialiser of the weights; PyTorch's default (uniform within 1/sqrt(fan-in), biases too) unless set.
    #[serde(default)]
    pub init: WeightInit,
}

/// An MLP with `hidden` layers of `activation` and a linear output layer.
///
/// ```
/// use ironwarp::{nn, ops::activation::Activation};
/// let net = nn::mlp(64, [128, 64], Activation::Relu, 10);
/// assert_eq!(net.parameter_count(), 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10);
/// ```
pub fn mlp(inputs: usize, hidden: impl AsRef<[usize]>, activation: Activation, outputs: usize) -> Mlp {
    let mut layers: Vec<Dense> = hidden.as_ref().iter().map(|&units| Dense::new(units, activation)).collect();
    layers.push(Dense::new(outputs, Activation::Identity));
    Mlp { inputs, layers, init: WeightInit::default() }
}

impl Mlp {
    /// The same network with dropout `p` after every hidden layer.
    pub fn dropout(mut self, p: f32) -> Mlp {
        let hidden = self.layers.len().saturating_sub(1);
        self.layers[..hidden].iter_mut().for_each(|layer| layer.dropout = p);
        self
    }

    /// The same network with `norm` in every hidden layer.
    pub fn norm(mut self, norm: Norm) -> Mlp {
        let hidden = self.layers.len().saturating_sub(1);
        self.layers[..hidden].iter_mut().for_each(|layer| layer.norm = norm);
        self
    }

    /// The same network with a skip connection over every hidden layer that has as many inputs as outputs.
    pub fn skips(mut self) -> Mlp {
        let (hidden, mut fan_in) = (self.layers.len().saturating_sub(1), self.inputs);
        for layer in &mut self.layers[..hidden] {
            layer.skip = layer.units == fan_in;
            fan_in = layer.units;
        }
        self
    }

    /// The same network with another activation after its last layer.
    pub fn output_activation(mut self, activation: Activation) -> Mlp {
        if let Some(last) = self.layers.last_mut() {
            last.activation = activation;
        }
        self
    }

    /// The same network with another initialiser.
    pub fn init(self, init: WeightInit) -> Mlp {
        Mlp { init, ..self }
    }

    /// Outputs of a sample.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(self.inputs, |layer| layer.units)
    }

    /// The layers, each with the number of its inputs.
    pub(crate) fn layers_with_inputs(&self) -> impl Iterator<Item = (usize, &Dense)> {
        let inputs = std::iter::once(self.inputs).chain(self.layers.iter().map(|layer| layer.units));
        inputs.zip(&self.layers)
    }

    /// Number of trainable scalars: weights, biases, and gain and shift of normalisations.
    pub fn parameter_count(&self) -> usize {
        let of = |(inputs, layer): (usize, &Dense)| {
            layer.units * (inputs + 1 + if layer.norm == Norm::None { 0 } else { 2 })
        };
        self.layers_with_inputs().map(of).sum()
    }

    /// Floating-point operations of a forward pass of one sample: `2 m n` for each matrix product of `m x n` weights.
    /// Biases, activations and normalisations, which are linear in the widths, do not count.
    pub fn flop(&self) -> u64 {
        self.layers_with_inputs().map(|(inputs, layer)| 2 * inputs as u64 * layer.units as u64).sum()
    }

    /// Bytes that training in minibatches of `batch` holds at once, in f32: each parameter with its gradient and the
    /// optimiser's `moments`, running statistics, and for a minibatch the inputs, what every layer keeps for the backward pass
    /// (the affine map's output, and the outputs of normalisation, activation, dropout and skip where there are any) and the
    /// gradients on both sides of the widest layer. A model: it leaves out alignment, workspaces and the data set.
    pub fn training_bytes(&self, batch: usize, moments: usize) -> u64 {
        let (mut sample, mut widest, mut statistics) = (self.inputs as u64, 0, 0);
        for (inputs, layer) in self.layers_with_inputs() {
            let (inputs, units) = (inputs as u64, layer.units as u64);
            let kept = 1
                + u64::from(layer.norm != Norm::None)
                + u64::from(layer.activation != Activation::Identity)
                + u64::from(layer.dropout > 0.0)
                + u64::from(layer.skip);
            sample += kept * units;
            widest = widest.max(inputs + units);
            statistics += if layer.norm == Norm::Batch { 2 * units } else { 0 };
        }
        let states = self.parameter_count() as u64 * (2 + moments as u64) + statistics;
        size_of::<f32>() as u64 * (states + batch as u64 * (sample + widest))
    }

    /// Checks widths and probabilities. Errors name the layer and the remedy.
    pub fn validate(&self) -> Result<(), OpError> {
        if self.inputs == 0 {
            return Err(OpError::attribute(
                "mlp",
                "the input has no features; give data with at least one column",
            ));
        }
        if self.layers.is_empty() {
            return Err(OpError::attribute("mlp", "there are no layers; give at least the output layer"));
        }
        for (i, (fan_in, layer)) in self.layers_with_inputs().enumerate() {
            if layer.units == 0 {
                return Err(OpError::attribute(
                    "mlp",
                    format!("layer {i} has width 0; give a width of at least 1"),
                ));
            }
            if fan_in.checked_mul(layer.units).is_none_or(|n| n > u32::MAX as usize / 4) {
                let reason = format!(
                    "layer {i} is {fan_in} x {} weights, too many; give a smaller width",
                    layer.units
                );
                return Err(OpError::attribute("mlp", reason));
            }
            if !(0.0..1.0).contains(&layer.dropout) {
                let reason = format!("layer {i} has dropout {}; give a probability in [0, 1)", layer.dropout);
                return Err(OpError::attribute("mlp", reason));
            }
            if layer.skip && fan_in != layer.units {
                let units = layer.units;
                return Err(OpError::attribute(
                    "mlp",
                    format!("layer {i} skips from width {fan_in} to {units}; give both the same width"),
                ));
            }
        }
        Ok(())
    }

    /// What is trained, in order of definition: `layers.0.weight`, `layers.0.bias`, `layers.1.weight`, ..., then
    /// `norms.0.weight`, `norms.0.bias`, ...
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut out = vec![];
        for (i, (fan_in, layer)) in self.layers_with_inputs().enumerate() {
            let (fan_out, name) = (layer.units, |part: &str| format!("layers.{i}.{part}"));
            let (weight, bias) = match self.init {
                WeightInit::Torch => (Init::Torch, Init::Torch),
                WeightInit::KaimingNormal => (Init::KaimingNormal, Init::Zeros),
                WeightInit::XavierUniform => (Init::XavierUniform, Init::Zeros),
            };
            let parameter = |name, shape, init| Parameter { name, shape, init, fan_in, fan_out };
            out.push(parameter(name("weight"), vec![fan_out, fan_in], weight));
            out.push(parameter(name("bias"), vec![fan_out], bias));
        }
        // After all the layers, so that those have the same streams of random numbers with and without them.
        out.extend(self.norm_tensors(|norm| norm != Norm::None, [("weight", 1.0), ("bias", 0.0)]));
        out
    }

    /// What belongs to the network but is not trained: the running statistics of batch normalisation.
    pub fn buffers(&self) -> Vec<Parameter> {
        self.norm_tensors(|norm| norm == Norm::Batch, [("running_mean", 0.0), ("running_var", 1.0)])
    }

    /// Everything that belongs to the network: parameters, then buffers.
    pub fn tensors(&self) -> Vec<Parameter> {
        let mut tensors = self.parameters();
        tensors.extend(self.buffers());
        tensors
    }

    /// Two tensors, with their first values, for each layer whose normalisation is `wanted`.
    fn norm_tensors(&self, wanted: fn(Norm) -> bool, parts: [(&str, f32); 2]) -> Vec<Parameter> {
        let layers = self.layers.iter().enumerate().filter(|(_, layer)| wanted(layer.norm));
        let tensor = |(i, layer): (usize, &Dense)| {
            parts.map(|(part, start)| Parameter {
                name: format!("norms.{i}.{part}"),
                shape: vec![layer.units],
                init: Init::Constant(start),
                fan_in: 1,
                fan_out: layer.units,
            })
        };
        layers.flat_map(tensor).collect()
    }

    /// The [`tensors`](Mlp::tensors) as states of `graph`, in order: first as many parameters as
    /// [`parameters`](Mlp::parameters), whose gradients may be asked for.
    pub fn states(&self, graph: &mut Graph) -> Result<Vec<Value>, OpError> {
        self.tensors().into_iter().map(|p| graph.state(&p.name, TensorType::f32(p.shape))).collect()
    }

    /// A graph whose run initialises every tensor, the parameters from `seed`; each has a stream of its own.
    pub fn init_graph(&self, seed: u64) -> Result<Graph, OpError> {
        self.validate()?;
        let mut graph = Graph::new();
        let states = self.states(&mut graph)?;
        for (stream, (p, state)) in self.tensors().iter().zip(states).enumerate() {
            let value = graph.init(&p.shape, p.init, p.fan_in, p.fan_out, seed, stream as u32)?;
            graph.assign(state, value)?;
        }
        Ok(graph)
    }

    /// Appends the forward pass of `x` `[batch, inputs]` with the [`states`](Mlp::states); the outputs
    /// `[batch, outputs]`. Error: not as many states as the network has.
    pub fn forward(
        &self,
        graph: &mut Graph,
        x: Value,
        states: &[Value],
        mode: Mode,
    ) -> Result<Value, OpError> {
        let norms = self.layers.iter().filter(|layer| layer.norm != Norm::None).count();
        let batch_norms = self.layers.iter().filter(|layer| layer.norm == Norm::Batch).count();
        let (linear, affine) = (2 * self.layers.len(), 2 * norms);
        if states.len() != linear + affine + 2 * batch_norms {
            let want = linear + affine + 2 * batch_norms;
            return Err(OpError::attribute(
                "mlp",
                format!("{} states, the network has {want}", states.len()),
            ));
        }
        let (linear, rest) = states.split_at(linear);
        let (affine, running) = rest.split_at(affine);
        let mut affine = affine.chunks_exact(2).map(|pair| Affine { gain: pair[0], shift: pair[1] });
        let mut running = running.chunks_exact(2).map(|pair| Running { mean: pair[0], variance: pair[1] });
        let mut h = x;
        for (i, (layer, pair)) in self.layers.iter().zip(linear.chunks_exact(2)).enumerate() {
            let input = h;
            h = graph.linear(h, pair[0], Some(pair[1]))?;
            h = match layer.norm {
                Norm::None => h,
                Norm::Layer => layer_norm(graph, h, take(&mut affine)?)?,
                Norm::Batch => {
                    let (affine, running) = (take(&mut affine)?, take(&mut running)?);
                    match mode {
                        Mode::Training { .. } => {
                            let (y, updated) = batch_norm(graph, h, affine, running)?;
                            if updated != running {
                                graph.assign(running.mean, updated.mean)?;
                                graph.assign(running.variance, updated.variance)?;
                            }
                            y
                        }
                        Mode::Inference => running_norm(graph, h, affine, running)?,
                    }
                }
            };
            h = graph.activation(h, layer.activation)?;
            if let (Mode::Training { seed, step }, true) = (mode, layer.dropout > 0.0) {
                h = graph.dropout(h, layer.dropout, step, seed, DROPOUT_STREAM + i as u32)?;
            }
            if layer.skip {
                h = graph.add(h, input)?;
            }
        }
        Ok(h)
    }
}

/// Dropout's streams start here, apart from the initialisers' (one a parameter).
pub(crate) const DROPOUT_STREAM: u32 = 1 << 20;

/// The next layer's tensors; there are as many as layers that need them.
fn take<T>(tensors: &mut impl Iterator<Item = T>) -> Result<T, OpError> {
    tensors.next().ok_or_else(|| OpError::attribute("mlp", "a normalisation lacks its tensors"))
}
