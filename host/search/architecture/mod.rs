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
use crate::hash::fnv1a;
use crate::nn::Mlp;
use crate::ops::activation::Activation;
use crate::ops::matmul::Precision;
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
            precision: Precision::Fp32,
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

    /// Number of trainable scalars ([`Mlp::parameter_count`]).
    pub fn parameters(&self) -> u64 {
        self.net.parameter_count() as u64
    }

    /// Floating-point operations of a forward pass of one sample ([`Mlp::flop`]).
    pub fn flop(&self) -> u64 {
        self.net.flop()
    }

    /// Bytes that training holds at once ([`Mlp::training_bytes`]).
    pub fn memory(&self) -> u64 {
        self.net.training_bytes(self.recipe.batch, self.recipe.optimizer.moments())
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
