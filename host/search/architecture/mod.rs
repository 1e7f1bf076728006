//! Architectures: a network and the recipe that trains it.
//!
//! An [`Architecture`] is what a point of a [`NetworkSpace`](crate::search::space::network::NetworkSpace) stands for. It has
//! a text of one line that a person can read and the program reads back to the same bits:
//!
//! ```
//! use ironwarp::search::architecture::Architecture;
//! let text = "64 > 128 relu drop=0.1 norm=layer > 128 gelu skip > 10 | adamw lr=0.0021 wd=0.0001 batch=64";
//! let architecture: Architecture = text.parse()?;
//! assert_eq!(architecture.to_string(), text);
//! assert_eq!(architecture.net.layers[1].units, 128);
//! # Ok::<(), ironwarp::search::SearchError>(())
//! ```
//!
//! Left of the bar stand the inputs and then the layers, each its width followed by what differs from a plain linear layer:
//! an activation, `drop=` (dropout), `norm=layer` or `norm=batch`, `skip`. Right of it stand the optimiser and the rest of the
//! recipe; what is not written has the default of [`Recipe`], optimisers' constants those of PyTorch.
//!
//! # Canonical form
//!
//! Two texts can mean the same training: `adamw` without weight decay is `adam`, a skip connection between different widths
//! is none, momentum 0 makes dampening idle. [`Architecture::canonical`] picks one of them, and
//! [`Architecture::hash`] is that of the canonical text. Only settings count that change no number of a training;
//! networks that can represent the same functions in another way (a permutation of units, two linear layers for one) stay
//! apart.

mod text;

use serde::{Deserialize, Serialize};

use super::SearchError;
use super::space::fnv1a;
use crate::nn::{Mlp, Norm};
use crate::ops::activation::Activation;
use crate::ops::optim::Optimizer;
use crate::train::{Options, Schedule};

pub(crate) use text::{number, optimizer_words, read_optimizer};

/// How a network is trained: what of [`train::Options`](Options) is part of an architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Base learning rate.
    pub learning_rate: f64,
    /// Samples of a minibatch.
    pub batch: usize,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Linear warm-up over this many epochs.
    pub warmup_epochs: f64,
    /// Label smoothing.
    pub smoothing: f32,
    /// Gradients are scaled down to this global norm.
    pub clip_norm: Option<f32>,
}

impl Default for Recipe {
    /// As [`Options::default`]; minibatches of 64.
    fn default() -> Recipe {
        let o = Options::default();
        Recipe {
            optimizer: o.optimizer,
            learning_rate: o.learning_rate,
            batch: o.batch.unwrap_or(64),
            schedule: o.schedule,
            warmup_epochs: o.warmup_epochs,
            smoothing: o.smoothing,
            clip_norm: o.clip_norm,
        }
    }
}

/// A network and the recipe that trains it. In serde's formats it is its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Architecture {
    /// The network.
    pub net: Mlp,
    /// How it is trained.
    pub recipe: Recipe,
}

/// Bytes of an f32.
const F32: u64 = 4;

impl Architecture {
    /// What [`Trainer`](crate::train::Trainer) takes, to train for `epochs` with random numbers of `seed`.
    pub fn options(&self, epochs: usize, seed: u64) -> Options {
        let r = &self.recipe;
        Options {
            epochs,
            batch: Some(r.batch),
            learning_rate: r.learning_rate,
            schedule: r.schedule,
            warmup_epochs: r.warmup_epochs,
            optimizer: r.optimizer,
            smoothing: r.smoothing,
            clip_norm: r.clip_norm,
            seed,
            loss: None,
            validation: 0.0,
            patience: None,
        }
    }

    /// Checks widths, probabilities and ranges. Errors name the setting and the remedy.
    pub fn validate(&self) -> Result<(), SearchError> {
        let bad = |e: String| SearchError::Options(format!("architecture: {e}"));
        self.net.validate().map_err(|e| bad(e.to_string()))?;
        if let Some(layer) = self.net.layers.iter().find(|l| !l.activation.param().is_finite()) {
            return Err(bad(format!("the parameter of {} must be finite", layer.activation.name())));
        }
        self.recipe.optimizer.check().map_err(|e| bad(e.to_string()))?;
        self.options(1, 0).validate().map_err(|e| bad(e.to_string()))
    }

    /// The one architecture that stands for all that train to the same numbers; see the module's docs.
    ///
    /// ```
    /// # use ironwarp::search::architecture::Architecture;
    /// let read = |text: &str| text.parse::<Architecture>();
    /// let a = read("8 > 16 relu drop=0 > 3 | adamw lr=0.01 wd=0 batch=32")?;
    /// let b = read("8 > 16 leaky_relu(0) > 3 | adam lr=0.01 batch=32 schedule=one-cycle")?;
    /// assert_eq!(a.canonical(), b.canonical());
    /// assert_eq!(a.hash(), b.hash());
    /// # Ok::<(), ironwarp::search::SearchError>(())
    /// ```
    pub fn canonical(&self) -> Architecture {
        let mut net = self.net.clone();
        let mut fan_in = net.inputs;
        for layer in &mut net.layers {
            layer.activation = match layer.activation {
                Activation::LeakyRelu(0.0) | Activation::Elu(0.0) => Activation::Relu,
                Activation::LeakyRelu(1.0) => Activation::Identity,
                other => other,
            };
            // Adding zero turns -0 into 0.
            layer.dropout += 0.0;
            layer.skip &= fan_in == layer.units;
            fan_in = layer.units;
        }
        let r = &self.recipe;
        let recipe = Recipe {
            optimizer: canonical_optimizer(r.optimizer),
            schedule: match r.schedule {
                Schedule::Step { gamma: 1.0, .. } => Schedule::Constant,
                other => other,
            },
            warmup_epochs: r.warmup_epochs + 0.0,
            smoothing: r.smoothing + 0.0,
            ..*r
        };
        Architecture { net, recipe }
    }

    /// FNV-1a, 64 bits, of the canonical text: the same on every machine and in every run.
    pub fn hash(&self) -> u64 {
        fnv1a(self.canonical().to_string().bytes())
    }

    /// Number of trainable scalars: weights, biases, and gain and shift of normalisations.
    pub fn parameters(&self) -> u64 {
        self.layers().map(|(fan_in, units, norm)| (fan_in + 1 + if norm { 2 } else { 0 }) * units).sum()
    }

    /// Floating-point operations of a forward pass of one sample: `2 m n` for each matrix product of `m x n` weights.
    /// Biases, activations and normalisations, which are linear in the widths, do not count.
    pub fn flop(&self) -> u64 {
        self.layers().map(|(fan_in, units, _)| 2 * fan_in * units).sum()
    }

    /// Bytes that training holds at once, in f32: each parameter with its gradient and the optimiser's moments, running
    /// statistics, and for a minibatch the inputs, what every layer keeps for the backward pass (the affine map's output, and
    /// the outputs of normalisation, activation and dropout where there are any) and the gradients on both sides of the
    /// widest layer. A model: it leaves out alignment, workspaces and the data set.
    pub fn memory(&self) -> u64 {
        let copies = 2 + self.recipe.optimizer.moments() as u64;
        let (mut sample, mut widest) = (self.net.inputs as u64, 0);
        let mut statistics = 0;
        for ((fan_in, units, norm), layer) in self.layers().zip(&self.net.layers) {
            let kept = 1
                + u64::from(norm)
                + u64::from(layer.activation != Activation::Identity)
                + u64::from(layer.dropout > 0.0)
                + u64::from(layer.skip);
            sample += kept * units;
            widest = widest.max(fan_in + units);
            statistics += if layer.norm == Norm::Batch { 2 * units } else { 0 };
        }
        F32 * (self.parameters() * copies + statistics + self.recipe.batch as u64 * (sample + widest))
    }

    /// (inputs, units, whether it normalises) of each layer.
    fn layers(&self) -> impl Iterator<Item = (u64, u64, bool)> {
        let inputs = std::iter::once(self.net.inputs).chain(self.net.layers.iter().map(|l| l.units));
        inputs.zip(&self.net.layers).map(|(i, l)| (i as u64, l.units as u64, l.norm != Norm::None))
    }
}

/// The optimiser without settings that do nothing.
fn canonical_optimizer(optimizer: Optimizer) -> Optimizer {
    match optimizer {
        Optimizer::Sgd { momentum, dampening, nesterov, weight_decay } => {
            let moves = momentum != 0.0;
            Optimizer::Sgd {
                momentum: momentum + 0.0,
                dampening: if moves { dampening + 0.0 } else { 0.0 },
                nesterov: nesterov && moves,
                weight_decay: weight_decay + 0.0,
            }
        }
        Optimizer::RmsProp { alpha, eps, momentum, weight_decay } => Optimizer::RmsProp {
            alpha: alpha + 0.0,
            eps: eps + 0.0,
            momentum: momentum + 0.0,
            weight_decay: weight_decay + 0.0,
        },
        // Without decay, decoupled or not is the same.
        Optimizer::AdamW { beta1, beta2, eps, weight_decay: 0.0 }
        | Optimizer::Adam { beta1, beta2, eps, weight_decay: 0.0 } => {
            Optimizer::Adam { beta1: beta1 + 0.0, beta2: beta2 + 0.0, eps: eps + 0.0, weight_decay: 0.0 }
        }
        Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
            Optimizer::Adam { beta1: beta1 + 0.0, beta2: beta2 + 0.0, eps: eps + 0.0, weight_decay }
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            Optimizer::AdamW { beta1: beta1 + 0.0, beta2: beta2 + 0.0, eps: eps + 0.0, weight_decay }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
