//! Training: a network, data and options in; a model out.
//!
//! ```no_run
//! use ironwarp::{Device, data, nn, ops::activation::Activation, train::Trainer};
//! let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
//! let net = nn::mlp(64, [64, 64], Activation::Relu, 10);
//! let model = Trainer::new(net).epochs(40).fit(&Device::auto()?, &digits.train)?;
//! println!("{:.3}", model.evaluate(&digits.test)?.accuracy);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every random number is keyed by (seed, stream, step), and a checkpoint holds everything that changes: a run that was
//! killed and resumed ends with the same bits as one that was not.

mod checkpoint;
mod fit;
mod history;
mod model;
mod part;
mod schedule;
mod session;
pub mod step;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::DataError;
use crate::device::DeviceError;
use crate::nn::Mlp;
use crate::ops::OpError;
use crate::ops::matmul::Precision;
use crate::ops::optim::Optimizer;

pub use checkpoint::{CHECKPOINT_FILE, write_atomic};
pub use history::{EpochRecord, History};
pub use model::{Evaluation, Model, Prediction};
pub use schedule::Schedule;
pub use session::{Session, SharedData, StepRecord};
pub(crate) use session::{resolved_batch, resolved_loss};
pub use step::Loss;

/// Everything that decides a run's numbers, besides network and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Passes over the training part.
    pub epochs: usize,
    /// Samples of a minibatch; `None`: 64, or all when there are fewer. The last minibatch of an epoch may be smaller.
    pub batch: Option<usize>,
    /// Base learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Linear warm-up over this many epochs.
    pub warmup_epochs: f64,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// What is minimised; `None`: cross-entropy for classes, mean squared error for values.
    pub loss: Option<Loss>,
    /// Label smoothing of the default cross-entropy.
    pub smoothing: f32,
    /// Gradients are scaled down to this global norm.
    pub clip_norm: Option<f32>,
    /// Share of the training part that is set aside to watch, in [0, 1).
    pub validation: f64,
    /// Stop when the validation loss has not fallen for this many epochs, and return the best parameters.
    pub patience: Option<usize>,
    /// Key of every random number.
    pub seed: u64,
    /// How the factors of matrix products are rounded, in training and after it. Parameters, moments, sums and losses are f32
    /// whatever it is; `F16` trains with dynamic loss scaling.
    #[serde(default)]
    pub precision: Precision,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            epochs: 60,
            batch: None,
            learning_rate: 2e-3,
            schedule: Schedule::OneCycle,
            warmup_epochs: 0.0,
            optimizer: Optimizer::adam(),
            loss: None,
            smoothing: 0.0,
            clip_norm: None,
            validation: 0.0,
            patience: None,
            seed: 1,
            precision: Precision::Fp32,
        }
    }
}

impl Options {
    /// The learning rate of `step`, from 0, with `per_epoch` steps an epoch.
    pub(crate) fn rate(&self, step: u64, per_epoch: u64) -> f64 {
        let warmup = (self.warmup_epochs * per_epoch as f64).round() as u64;
        self.learning_rate * self.schedule.factor(step, self.epochs as u64 * per_epoch, per_epoch, warmup)
    }

    /// Checks ranges. Errors name the option and the range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let bad = |text: String| Err(TrainError::Options(text));
        if self.epochs == 0 {
            return bad("epochs is 0: give at least 1".into());
        }
        if self.batch == Some(0) {
            return bad("batch is 0: give at least 1".into());
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad(format!(
                "learning rate {}: give a positive number, such as 0.001",
                self.learning_rate
            ));
        }
        if !(0.0..1.0).contains(&self.validation) {
            return bad(format!(
                "validation share {}: give a number in [0, 1), such as 0.1",
                self.validation
            ));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return bad(format!("label smoothing {}: give a number in [0, 1), such as 0.1", self.smoothing));
        }
        if !(self.warmup_epochs.is_finite() && self.warmup_epochs >= 0.0) {
            return bad(format!("warm-up of {} epochs: give 0 or more", self.warmup_epochs));
        }
        if self.patience == Some(0) {
            return bad("patience is 0: give at least 1 epoch".into());
        }
        if self.patience.is_some() && self.validation == 0.0 {
            return bad("patience needs a validation share: set validation, such as 0.1".into());
        }
        if !Precision::TRAINING.contains(&self.precision) {
            let names = Precision::TRAINING.map(Precision::name).join(", ");
            return bad(format!("precision {}: networks are trained in one of {names}", self.precision));
        }
        match self.clip_norm {
            Some(c) if !(c.is_finite() && c > 0.0) => {
                bad(format!("gradient norm limit {c}: give a positive number"))
            }
            _ => Ok(()),
        }
    }
}

/// Why training stopped without a model, or a model could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option is out of its range.
    #[error("{0}")]
    Options(String),
    /// Network and data do not fit, or the data cannot be trained on.
    #[error("{0}")]
    Mismatch(String),
    /// The loss is no longer a number.
    #[error(
        "training diverged: the loss is {loss} at step {step} (epoch {epoch}); use a learning rate below {learning_rate}{kept}"
    )]
    Diverged {
        /// Step (from 1) whose loss is not finite.
        step: u64,
        /// Its epoch (from 1).
        epoch: usize,
        /// The loss.
        loss: f32,
        /// The rate that was too high.
        learning_rate: f64,
        /// Where the last good state is, as text for the message; empty when nothing was saved.
        kept: String,
    },
    /// Gradients in f16 overflow whatever the loss is scaled by, so that every step is skipped.
    #[error(
        "training in f16 stands still: gradients are not finite at any loss scale (it is {scale:e} at step {step}); use bf16, or scale the data"
    )]
    Overflow {
        /// Steps done.
        step: u64,
        /// The loss scale by then.
        scale: f32,
    },
    /// The observer asked to stop; the state was saved if there is a directory.
    #[error("interrupted at step {step}{kept}")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Where the state is, as text for the message.
        kept: String,
    },
    /// A file that is not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {source}; check the path, the free space and the permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The graph could not be built.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The data is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl TrainError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> TrainError {
        TrainError::Io { path: path.into(), source }
    }
}

/// What an observer is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run begins (or goes on, at `epoch` epochs done).
    Start {
        /// Epochs done before.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Steps of an epoch.
        steps_per_epoch: u64,
        /// The plan of a step.
        plan: crate::graph::PlanSummary,
    },
    /// A step ended. `loss` is known where reading it is free: on `cpu` and `sim`.
    Step {
        /// Steps done in all.
        step: u64,
        /// Loss of the minibatch.
        loss: Option<f32>,
        /// Samples of the minibatch.
        samples: usize,
    },
    /// An epoch ended.
    Epoch(&'a EpochRecord),
    /// The validation loss has not fallen for the patience; the best parameters are those of `best`.
    EarlyStop {
        /// The best epoch.
        best: usize,
    },
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save the state and stop.
    Stop,
}

type Observer<'a> = Box<dyn FnMut(&Event<'_>) -> Control + Send + 'a>;

/// Trains a network; see the module's docs.
pub struct Trainer<'a> {
    pub(crate) net: Mlp,
    pub(crate) options: Options,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) resume: bool,
    pub(crate) observer: Option<Observer<'a>>,
}

impl<'a> Trainer<'a> {
    /// A trainer with default options.
    pub fn new(net: Mlp) -> Trainer<'a> {
        Trainer {
            net,
            options: Options::default(),
            directory: None,
            checkpoint_interval: Duration::from_secs(2),
            resume: false,
            observer: None,
        }
    }

    /// Other options, all at once.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
    /// The optimiser; [`Adam::new(1e-3)`](Adam) and its kin name a learning rate too.
    pub fn optimizer(mut self, with_rate: impl Into<OptimizerAndRate>) -> Self {
        let OptimizerAndRate { optimizer, learning_rate } = with_rate.into();
        self.options.optimizer = optimizer;
        self.options.learning_rate = learning_rate.unwrap_or(self.options.learning_rate);
        self
    }
    /// Passes over the training part.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.options.epochs = epochs;
        self
    }
    /// Samples of a minibatch.
    pub fn batch(mut self, batch: usize) -> Self {
        self.options.batch = Some(batch);
        self
    }
    /// Base learning rate.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.options.learning_rate = rate;
        self
    }
    /// How the learning rate changes.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.options.schedule = schedule;
        self
    }
    /// What is minimised.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.options.loss = Some(loss);
        self
    }
    /// Key of every random number.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }
    /// How the factors of matrix products are rounded.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }
    /// Share set aside to watch, and the epochs without progress after which to stop.
    pub fn early_stopping(mut self, validation: f64, patience: usize) -> Self {
        self.options.validation = validation;
        self.options.patience = Some(patience);
        self
    }
    /// Where checkpoints, metrics and the model are written.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }
    /// The least time between two checkpoints (2 s unless set); zero writes one after every epoch.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }
    /// Goes on from the directory's checkpoint, if it has one of the same network, options and data.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }
    /// Is told what happens, and may stop the run.
    pub fn observer(mut self, observer: impl FnMut(&Event<'_>) -> Control + Send + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }
}

/// An optimiser, perhaps with its learning rate.
#[derive(Clone, Debug)]
pub struct OptimizerAndRate {
    optimizer: Optimizer,
    learning_rate: Option<f64>,
}

impl From<Optimizer> for OptimizerAndRate {
    fn from(optimizer: Optimizer) -> Self {
        OptimizerAndRate { optimizer, learning_rate: None }
    }
}

macro_rules! named_optimizers {
    ($($(#[$doc:meta])* $name:ident => $make:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(f64);
        impl $name {
            /// With this learning rate and PyTorch's other defaults.
            pub fn new(learning_rate: f64) -> $name {
                $name(learning_rate)
            }
        }
        impl From<$name> for OptimizerAndRate {
            fn from(o: $name) -> Self {
                OptimizerAndRate { optimizer: Optimizer::$make(), learning_rate: Some(o.0) }
            }
        }
    )*};
}
named_optimizers!(
    /// Stochastic gradient descent without momentum.
    Sgd => sgd,
    /// RMSprop.
    RmsProp => rmsprop,
    /// Adam (Kingma and Ba 2015).
    Adam => adam,
    /// AdamW (Loshchilov and Hutter 2019).
    AdamW => adamw
);
