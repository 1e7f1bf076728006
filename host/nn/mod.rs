//! Networks: functions that append operations to a graph.
//!
//! A network names its parameters as PyTorch does (`layers.0.weight`, shape `[out, in]`) and builds its forward pass from
//! them; it never sees a device. [`Mlp`] is a chain of dense layers, each with its own width, activation, dropout,
//! [normalisation](norm) and skip connection.

mod mlp;
pub mod norm;

use serde::{Deserialize, Serialize};

pub(crate) use mlp::DROPOUT_STREAM;
pub use mlp::{Mlp, mlp};

use crate::graph::Value;
use crate::ops::activation::Activation;
use crate::ops::random::Init;

/// A parameter (or another tensor) of a network: its name, shape and initialiser.
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
    /// Dropout on, keyed by the run's seed and the `step` value (`u32[4]`); minibatches are normalised by their own
    /// statistics, and running ones are updated.
    Training {
        /// Key of the random numbers.
        seed: u64,
        /// The training step, as [`crate::ops`] passes it.
        step: Value,
    },
    /// Dropout off; running statistics.
    Inference,
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
