//! Networks: functions that append operations to a graph.
//!
//! A network names its parameters as PyTorch does (`layers.0.weight`, shape `[out, in]`) and builds its forward pass from
//! them; it never sees a device. [`Mlp`] is a chain of dense layers, each with its own width, activation and dropout.

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Value};
use crate::ops::activation::Activation;
use crate::ops::random::Init;
use crate::ops::{OpError, TensorType};

/// A parameter of a network: its name, shape and initialiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// As PyTorch names it.
    pub name: String,
    /// Shape; a weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Inputs of one unit of the layer, for the initialiser.
    pub fan_in: usize,
    /// Units of the layer, for the initialiser.
    pub fan_out: usize,
}

/// One dense layer: `y = dropout(activation(norm(x · wᵀ + b)))`, plus `x` itself if it skips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Width of the output.
    pub units: usize,
    /// What follows the affine map.
    pub activation: Activation,
    /// Probability of dropping an output while training, in [0, 1).
    #[serde(default)]
    pub dropout: f32,
    /// What normalises the affine map's output.
    #[serde(default)]
    pub norm: Norm,
    /// Whether the layer's input is added to its output (He et al. 2015); needs as many inputs as `units`.
    #[serde(default)]
    pub skip: bool,
}

impl Dense {
    /// `units` outputs through `activation`, no dropout, no normalisation, no skip connection.
    pub fn new(units: usize, activation: Activation) -> Dense {
        Dense { units, activation, dropout: 0.0, norm: Norm::None, skip: false }
    }
}

/// How a layer normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Not at all.
    #[default]
    None,
    /// Over the features of a sample (Ba et al. 2016), with a gain and a shift per feature.
    Layer,
    /// Over the samples of a minibatch (Ioffe and Szegedy 2015), with a gain and a shift per feature and running
    /// statistics for inference.
    Batch,
}

/// How a forward pass is built.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Dropout on, keyed by the run's seed and the `step` value (`u32[4]`).
    Training {
        /// Key of the random numbers.
        seed: u64,
        /// The training step, as [`crate::ops`] passes it.
        step: Value,
    },
    /// Dropout off.
    Inference,
}

/// A multi-layer perceptron.
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

/// The initialiser of a network's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightInit {
    /// PyTorch's `nn.Linear`: weights and biases uniform within 1/sqrt(fan-in).
    #[default]
    Torch,
    /// He et al. 2015 with gain sqrt(2): normal, standard deviation sqrt(2/fan-in); biases zero.
    KaimingNormal,
    /// Glorot and Bengio 2010: uniform within sqrt(6/(fan-in + fan-out)); biases zero.
    XavierUniform,
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

    /// Number of trainable scalars.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum()
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
        let mut fan_in = self.inputs;
        for (i, layer) in self.layers.iter().enumerate() {
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
            fan_in = layer.units;
        }
        Ok(())
    }

    /// The parameters in order of definition: `layers.0.weight`, `layers.0.bias`, `layers.1.weight`, ...
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut fan_in = self.inputs;
        let mut out = vec![];
        for (i, layer) in self.layers.iter().enumerate() {
            let (fan_out, name) = (layer.units, |part: &str| format!("layers.{i}.{part}"));
            let (weight, bias) = match self.init {
                WeightInit::Torch => (Init::Torch, Init::Torch),
                WeightInit::KaimingNormal => (Init::KaimingNormal, Init::Zeros),
                WeightInit::XavierUniform => (Init::XavierUniform, Init::Zeros),
            };
            let parameter = |name, shape, init| Parameter { name, shape, init, fan_in, fan_out };
            out.push(parameter(name("weight"), vec![fan_out, fan_in], weight));
            out.push(parameter(name("bias"), vec![fan_out], bias));
            fan_in = fan_out;
        }
        out
    }

    /// The parameters as states of `graph`, in order.
    pub fn states(&self, graph: &mut Graph) -> Result<Vec<Value>, OpError> {
        self.parameters().into_iter().map(|p| graph.state(&p.name, TensorType::f32(p.shape))).collect()
    }

    /// A graph whose run initialises every parameter from `seed`; each has a stream of its own.
    pub fn init_graph(&self, seed: u64) -> Result<Graph, OpError> {
        self.validate()?;
        let mut graph = Graph::new();
        let states = self.states(&mut graph)?;
        for (stream, (p, state)) in self.parameters().iter().zip(states).enumerate() {
            let value = graph.init(&p.shape, p.init, p.fan_in, p.fan_out, seed, stream as u32)?;
            graph.assign(state, value)?;
        }
        Ok(graph)
    }

    /// Appends the forward pass of `x` `[batch, inputs]` with the parameters of [`states`](Mlp::states); the outputs
    /// `[batch, outputs]`.
    pub fn forward(
        &self,
        graph: &mut Graph,
        x: Value,
        parameters: &[Value],
        mode: Mode,
    ) -> Result<Value, OpError> {
        let mut h = x;
        for (i, layer) in self.layers.iter().enumerate() {
            h = graph.linear(h, parameters[2 * i], Some(parameters[2 * i + 1]))?;
            h = graph.activation(h, layer.activation)?;
            if let (Mode::Training { seed, step }, true) = (mode, layer.dropout > 0.0) {
                h = graph.dropout(h, layer.dropout, step, seed, DROPOUT_STREAM + i as u32)?;
            }
        }
        Ok(h)
    }
}

/// Dropout's streams start here, apart from the initialisers' (one a parameter).
pub(crate) const DROPOUT_STREAM: u32 = 1 << 20;
