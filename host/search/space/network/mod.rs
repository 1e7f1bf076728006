//! Spaces of networks: which widths, activations, optimisers... a search may try.
//!
//! A [`NetworkSpace`] says what each setting of a multi-layer perceptron and its recipe may be. It becomes a generic
//! [`Space`](super::Space) ([`NetworkSpace::space`]), whose points samplers propose, and turns points into architectures and back.
//!
//! ```
//! use ironwarp::search::{rng::Rng, space::network::NetworkSpace};
//! use ironwarp::ops::{activation::Activation, optim::Optimizer};
//! let networks = NetworkSpace::mlp(64, 10)
//!     .depth(1..=4)
//!     .width([16, 32, 64, 128, 256])
//!     .activations([Activation::Relu, Activation::Gelu])
//!     .dropout(0.0..=0.5)
//!     .optimizers([Optimizer::adamw(), Optimizer::sgd()])
//!     .lr(1e-4..=3e-2)
//!     .max_params(50_000);
//! let space = networks.space()?;
//! let point = space.draw(&mut Rng::new(7, 0, 0))?;
//! let architecture = networks.decode(&point);
//! println!("{architecture}"); // 64 > 128 relu drop=0.2213 > 10 | adamw lr=0.002113 wd=0.01 batch=64
//! assert!(architecture.parameters() <= 50_000);
//! # Ok::<(), ironwarp::search::SearchError>(())
//! ```
//!
//! # Parameters
//!
//! A setting with one value is fixed and no parameter of the space. The others are, in this order:
//!
//! | parameter                            | exists                                     | setting                                |
//! |--------------------------------------|--------------------------------------------|----------------------------------------|
//! | `depth`                              |                                            | number of hidden layers                |
//! | `width.0`, `width.1`... or `width`   | where the depth reaches the layer          | units                                  |
//! | `activation.0`... or `activation`    | where the depth reaches the layer          | activation of a hidden layer           |
//! | `skip.1`, `skip.2`...                | where the depth reaches the layer          | whether it adds its input to its output|
//! | `dropout`, `norm`                    | where there is a hidden layer              | of all hidden layers                   |
//! | `init`                               |                                            | initialiser                            |
//! | `optimizer`                          |                                            |                                        |
//! | `momentum`                           | with `sgd`                                 |                                        |
//! | `lr`, `weight_decay`, `batch`        |                                            |                                        |
//! | `schedule`, `smoothing`              |                                            |                                        |
//!
//! A skip connection between layers of different widths is none. Numbers drawn from a range are rounded to four
//! significant digits.

mod codec;
mod file;
mod limits;
mod values;

use crate::nn::{Norm, WeightInit};
use crate::ops::activation::Activation;
use crate::ops::optim::Optimizer;
use crate::search::SearchError;
use crate::search::architecture::Recipe;
use crate::train::Schedule;

pub use limits::{Latency, LatencyModel, Limits, LinearLatency, measure};
pub use values::{Ints, Numbers};

/// What each setting of a network may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// Hidden layers.
    pub depth: Ints,
    /// Units of a hidden layer.
    pub width: Ints,
    /// Whether all hidden layers have the same width.
    pub shared_width: bool,
    /// Activation of a hidden layer.
    pub activation: Vec<Activation>,
    /// Whether all hidden layers have the same activation.
    pub shared_activation: bool,
    /// Dropout after every hidden layer.
    pub dropout: Numbers,
    /// Normalisation of every hidden layer.
    pub norm: Vec<Norm>,
    /// Whether each hidden layer but the first may add its input to its output.
    pub skip: bool,
    /// Initialiser of the weights.
    pub init: Vec<WeightInit>,
    /// Optimiser with its constants.
    pub optimizer: Vec<Optimizer>,
    /// Momentum of SGD; `None`: that of the optimiser.
    pub momentum: Option<Numbers>,
    /// Base learning rate.
    pub lr: Numbers,
    /// Weight decay of every optimiser; `None`: that of the optimiser.
    pub weight_decay: Option<Numbers>,
    /// Samples of a minibatch.
    pub batch: Ints,
    /// How the learning rate changes.
    pub schedule: Vec<Schedule>,
    /// Label smoothing.
    pub smoothing: Numbers,
    /// The most that a network may need.
    pub limits: Limits,
    /// Model of the latency, for its limit.
    pub latency_model: Option<LinearLatency>,
}

impl Default for Ranges {
    /// Everything fixed: two hidden layers of 64 with ReLU, no dropout, and the default [`Recipe`].
    fn default() -> Ranges {
        let r = Recipe::default();
        Ranges {
            depth: 2.into(),
            width: 64.into(),
            shared_width: false,
            activation: vec![Activation::Relu],
            shared_activation: false,
            dropout: 0.0.into(),
            norm: vec![Norm::None],
            skip: false,
            init: vec![WeightInit::default()],
            optimizer: vec![r.optimizer],
            momentum: None,
            lr: r.learning_rate.into(),
            weight_decay: None,
            batch: r.batch.into(),
            schedule: vec![r.schedule],
            smoothing: 0.0.into(),
            limits: Limits::default(),
            latency_model: None,
        }
    }
}

/// A space of multi-layer perceptrons for data of given inputs and outputs; see the module's docs.
#[derive(Clone, Debug)]
pub struct NetworkSpace {
    inputs: usize,
    outputs: usize,
    ranges: Ranges,
    latency: Option<Latency>,
    rows: Option<usize>,
}

impl NetworkSpace {
    /// The default network alone ([`Ranges::default`]), for the methods below to widen.
    pub fn mlp(inputs: usize, outputs: usize) -> NetworkSpace {
        NetworkSpace::new(inputs, outputs, Ranges::default())
    }

    /// A space of these ranges.
    pub fn new(inputs: usize, outputs: usize, ranges: Ranges) -> NetworkSpace {
        NetworkSpace { inputs, outputs, ranges, latency: None, rows: None }
    }

    /// What a search tries unless told otherwise, on `rows` samples to train on: 1 to 4 hidden layers of 16 to 256, one of
    /// four activations, dropout, AdamW or SGD with momentum, learning rate, weight decay, label smoothing, and minibatches
    /// of 16 to 256, but at most a quarter of the rows.
    pub fn default_for(inputs: usize, outputs: usize, rows: usize) -> NetworkSpace {
        let batches: Vec<usize> = [16, 32, 64, 128, 256].into_iter().filter(|b| *b <= rows / 4).collect();
        NetworkSpace::mlp(inputs, outputs)
            .depth(1..=4)
            .width([16, 32, 64, 128, 256])
            .activations([Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh])
            .shared_activation(true)
            .dropout(0.0..=0.5)
            .optimizers([Optimizer::adamw(), Optimizer::sgd()])
            .momentum(0.8..=0.98)
            .lr(1e-4..=3e-2)
            .weight_decay(1e-6..=1e-1)
            .smoothing(0.0..=0.2)
            .rows(rows)
            .batch(if batches.is_empty() { vec![rows.clamp(1, 16)] } else { batches })
    }

    /// Number of hidden layers.
    pub fn depth(mut self, depth: impl Into<Ints>) -> Self {
        self.ranges.depth = depth.into();
        self
    }
    /// Units of each hidden layer.
    pub fn width(mut self, width: impl Into<Ints>) -> Self {
        self.ranges.width = width.into();
        self
    }
    /// Whether all hidden layers have one width, not each its own.
    pub fn shared_width(mut self, shared: bool) -> Self {
        self.ranges.shared_width = shared;
        self
    }
    /// Activation of each hidden layer.
    pub fn activations(mut self, activations: impl IntoIterator<Item = Activation>) -> Self {
        self.ranges.activation = activations.into_iter().collect();
        self
    }
    /// Whether all hidden layers have one activation, not each its own.
    pub fn shared_activation(mut self, shared: bool) -> Self {
        self.ranges.shared_activation = shared;
        self
    }
    /// Dropout after the hidden layers.
    pub fn dropout(mut self, dropout: impl Into<Numbers>) -> Self {
        self.ranges.dropout = dropout.into();
        self
    }
    /// Normalisation of the hidden layers.
    pub fn norms(mut self, norms: impl IntoIterator<Item = Norm>) -> Self {
        self.ranges.norm = norms.into_iter().collect();
        self
    }
    /// Whether hidden layers may have skip connections.
    pub fn skips(mut self, skips: bool) -> Self {
        self.ranges.skip = skips;
        self
    }
    /// Initialisers of the weights.
    pub fn inits(mut self, inits: impl IntoIterator<Item = WeightInit>) -> Self {
        self.ranges.init = inits.into_iter().collect();
        self
    }
    /// Optimisers with their constants.
    pub fn optimizers(mut self, optimizers: impl IntoIterator<Item = Optimizer>) -> Self {
        self.ranges.optimizer = optimizers.into_iter().collect();
        self
    }
    /// Momentum where the optimiser is SGD.
    pub fn momentum(mut self, momentum: impl Into<Numbers>) -> Self {
        self.ranges.momentum = Some(momentum.into());
        self
    }
    /// Base learning rate; a range is logarithmic unless it says otherwise.
    pub fn lr(mut self, lr: impl Into<Numbers>) -> Self {
        self.ranges.lr = lr.into();
        self
    }
    /// Weight decay; a range from above 0 is logarithmic unless it says otherwise.
    pub fn weight_decay(mut self, weight_decay: impl Into<Numbers>) -> Self {
        self.ranges.weight_decay = Some(weight_decay.into());
        self
    }
    /// Samples of a minibatch.
    pub fn batch(mut self, batch: impl Into<Ints>) -> Self {
        self.ranges.batch = batch.into();
        self
    }
    /// Learning-rate schedules.
    pub fn schedules(mut self, schedules: impl IntoIterator<Item = Schedule>) -> Self {
        self.ranges.schedule = schedules.into_iter().collect();
        self
    }
    /// Label smoothing.
    pub fn smoothing(mut self, smoothing: impl Into<Numbers>) -> Self {
        self.ranges.smoothing = smoothing.into();
        self
    }
    /// At most so many parameters.
    pub fn max_params(mut self, most: u64) -> Self {
        self.ranges.limits.params = Some(most);
        self
    }
    /// At most so many floating-point operations in a forward pass of one sample.
    pub fn max_flop(mut self, most: u64) -> Self {
        self.ranges.limits.flop = Some(most);
        self
    }
    /// At most so many bytes while training.
    pub fn max_memory(mut self, most: u64) -> Self {
        self.ranges.limits.memory = Some(most);
        self
    }
    /// At most so many seconds for a forward pass of one sample, by a model that [`latency`](NetworkSpace::latency) gives.
    pub fn max_latency(mut self, most: f64) -> Self {
        self.ranges.limits.latency = Some(most);
        self
    }
    /// Samples to train on: larger minibatches are not allowed, and no training would take them.
    pub fn rows(mut self, rows: usize) -> Self {
        self.rows = Some(rows);
        self
    }
    /// What predicts or measures latencies: a [`LinearLatency`] or any function.
    pub fn latency(mut self, model: impl LatencyModel + 'static) -> Self {
        self.latency = Some(Latency::new(model));
        self
    }
    /// A linear model of latencies that is part of the space's file.
    pub fn latency_model(mut self, model: LinearLatency) -> Self {
        self.ranges.latency_model = Some(model);
        self
    }

    /// Features of a sample.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
    /// Outputs of the networks.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
    /// What each setting may be.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }
    /// Whether latencies are limited but nothing predicts them yet: [`LinearLatency::calibrate`] can.
    pub fn needs_latency(&self) -> bool {
        self.ranges.limits.latency.is_some() && self.latency_in_force().is_none()
    }

    /// What predicts latencies, if anything.
    pub fn latency_in_force(&self) -> Option<Latency> {
        self.latency.clone().or_else(|| self.ranges.latency_model.map(Latency::new))
    }

    /// Checks the ranges. Errors name the setting and the remedy.
    fn check(&self) -> Result<(), SearchError> {
        let r = &self.ranges;
        let bad = |text: String| Err(SearchError::Space(text));
        if self.inputs == 0 || self.outputs == 0 {
            return bad(format!(
                "networks from {} inputs to {} outputs: give at least 1",
                self.inputs, self.outputs
            ));
        }
        for (name, ints, least) in [("depth", &r.depth, 0), ("width", &r.width, 1), ("batch", &r.batch, 1)] {
            ints.domain().check().map_err(|e| SearchError::Space(format!("{name}: {e}")))?;
            if ints.bounds().0 < least {
                return bad(format!("{name} of 0: give at least {least}"));
            }
        }
        if r.depth.bounds().1 > MOST_LAYERS {
            return bad(format!("depth of {}: give at most {MOST_LAYERS}", r.depth.bounds().1));
        }
        let empty = [
            ("activation", r.activation.is_empty()),
            ("norm", r.norm.is_empty()),
            ("init", r.init.is_empty()),
            ("optimizer", r.optimizer.is_empty()),
            ("schedule", r.schedule.is_empty()),
        ];
        if let Some((name, _)) = empty.iter().find(|(_, empty)| *empty) {
            return bad(format!("{name} may be nothing: give at least one"));
        }
        if let Some(a) = r.activation.iter().find(|a| !a.param().is_finite()) {
            return bad(format!("activation {a}: give a finite number"));
        }
        for optimizer in &r.optimizer {
            optimizer.check().map_err(|e| SearchError::Space(e.to_string()))?;
        }
        // f32 for what a network holds as f32: 0.99999999 would round to 1.
        let fraction = |x: f64| (0.0..1.0).contains(&x) && (x as f32) < 1.0;
        r.dropout.within("dropout", "numbers in [0, 1)", fraction)?;
        r.smoothing.within("smoothing", "numbers in [0, 1)", fraction)?;
        r.lr.within("lr", "positive numbers, such as 0.001", |x| x.is_finite() && x > 0.0)?;
        let size = |x: f64| x.is_finite() && x >= 0.0;
        if let Some(momentum) = &r.momentum {
            momentum.within("momentum", "numbers of 0 or more, below 1", |x| (0.0..1.0).contains(&x))?;
        }
        if let Some(weight_decay) = &r.weight_decay {
            weight_decay.within("weight_decay", "numbers of 0 or more", size)?;
        }
        if let Some(latency) = r.limits.latency
            && !(latency.is_finite() && latency > 0.0)
        {
            return bad(format!("max_latency of {latency} s: give a positive number of seconds"));
        }
        Ok(())
    }
}

/// The most hidden layers that a space takes.
pub const MOST_LAYERS: usize = 64;

#[cfg(test)]
mod tests;
