//! The options of `train`, and what they mean for the library.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ironwarp::data::Task;
use ironwarp::nn::{self, Mlp, Norm, WeightInit};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::Precision;
use ironwarp::ops::optim::Optimizer;
use ironwarp::search::SearchError;
use ironwarp::search::architecture::Architecture;
use ironwarp::train::{Loss, Options, Schedule, TrainError};

use crate::cli::args::{DataArgs, DeviceArg, READING, ScaleArg, Widths, widths};
use crate::cli::fail::usage_error;

const EXAMPLES: &str = "\
Examples:
  ironwarp train digits
  ironwarp train iris --hidden 32 --activation tanh --epochs 100 --seed 7
  ironwarp train houses.csv --target price --task regression --loss huber:1 --device cpu
  ironwarp train mnist/ --hidden 512,512 --dropout 0.2 --batch 128 --validation 0.1 --patience 5
  ironwarp train digits --out runs/digits --resume        go on after Ctrl-C or a crash
  ironwarp train digits --json | tail -n 1                for scripts
  ironwarp train digits --print-graph dot | dot -Tsvg > step.svg

DATA is digits, iris, wine, breast_cancer or diabetes (built in), or a file or folder: CSV, .npy, .npz, IDX, each also as .gz.";

/// Train a network on a data set, evaluate it on held-out rows, save it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A built-in data set, a file or a folder.
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
    #[command(flatten)]
    pub reading: DataArgs,
    /// Share of the rows held out for the test, in [0, 1); a file with a test part of its own keeps that.
    #[arg(
        long,
        value_name = "F",
        default_value_t = 0.2,
        allow_negative_numbers = true,
        help_heading = READING
    )]
    pub test_fraction: f64,
    /// How columns of numbers are scaled, by statistics of the training rows.
    #[arg(long, value_enum, default_value_t = ScaleArg::Standard, help_heading = READING)]
    pub scale: ScaleArg,

    /// Network and recipe as one text, as `search` prints them, such as "64 > 32 relu > 10 | adam lr=0.01 batch=32".
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = architecture,
        conflicts_with_all = [
            "hidden", "activation", "dropout", "norm", "skip", "init", "batch", "lr", "optimizer", "weight_decay",
            "momentum", "schedule", "warmup", "smoothing", "clip_norm",
        ],
        help_heading = "Network"
    )]
    architecture: Option<Architecture>,
    /// Widths of the hidden layers; 'none' for a linear model.
    #[arg(long, value_name = "N,N,...", default_value = "128,64", value_parser = widths, help_heading = "Network")]
    pub hidden: Widths,
    /// Activation of the hidden layers, such as relu, gelu, tanh, leaky_relu(0.2).
    #[arg(long, value_name = "NAME", default_value = "relu", value_parser = activation, help_heading = "Network")]
    pub activation: Activation,
    /// Probability of dropping a hidden unit while training, in [0, 1).
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.2,
        allow_negative_numbers = true,
        help_heading = "Network"
    )]
    pub dropout: f32,
    /// Normalisation in each hidden layer, before the activation.
    #[arg(long, value_enum, default_value_t = NormArg::None, help_heading = "Network")]
    pub norm: NormArg,
    /// Add the input of each hidden layer to its output where both are as wide.
    #[arg(long, help_heading = "Network")]
    pub skip: bool,
    /// Initialiser of the weights.
    #[arg(long, value_enum, default_value_t = InitArg::Torch, help_heading = "Network")]
    pub init: InitArg,

    /// Passes over the training rows.
    #[arg(long, value_name = "N", default_value_t = Options::default().epochs, help_heading = "Training")]
    pub epochs: usize,
    /// Rows of a minibatch [default: 64, or all when there are fewer].
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: Option<usize>,
    /// Learning rate [default: 0.002; 0.05 for sgd, 0.02 with momentum].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Training")]
    lr: Option<f64>,
    /// Optimiser.
    #[arg(long, value_enum, default_value_t = OptimizerArg::Adam, help_heading = "Training")]
    optimizer: OptimizerArg,
    /// Weight decay [default: the optimiser's own].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Training")]
    weight_decay: Option<f64>,
    /// Momentum of sgd, momentum, nesterov and rmsprop [default: 0.9 for momentum and nesterov].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Training")]
    momentum: Option<f64>,
    /// Learning-rate schedule: constant, step:EVERY:GAMMA (in epochs, as step:10:0.5), cosine or one-cycle.
    #[arg(long, value_name = "NAME", default_value = "one-cycle", help_heading = "Training")]
    schedule: Schedule,
    /// Epochs of linear warm-up before the schedule.
    #[arg(
        long,
        value_name = "EPOCHS",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Training"
    )]
    warmup: f64,
    /// Loss: cross-entropy, mse, mae, huber or huber:DELTA [default: cross-entropy for classes, mse for numbers].
    #[arg(long, value_name = "NAME", value_parser = loss_name, help_heading = "Training")]
    loss: Option<LossArg>,
    /// Label smoothing of cross-entropy, in [0, 1).
    #[arg(
        long,
        value_name = "F",
        default_value_t = 0.1,
        allow_negative_numbers = true,
        help_heading = "Training"
    )]
    smoothing: f32,
    /// Scale gradients down to this norm over all parameters.
    #[arg(long, value_name = "NORM", allow_negative_numbers = true, help_heading = "Training")]
    clip_norm: Option<f32>,
    /// How the factors of matrix products are rounded: fp32 (not at all), tf32, bf16, f16 (with loss scaling) or fp32-fast (f32's
    /// accuracy from tensor cores); parameters and sums are f32.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "fp32",
        value_parser = Precision::for_training,
        help_heading = "Training"
    )]
    pub precision: Precision,
    /// Share of the training rows set aside to watch, in [0, 1).
    #[arg(
        long,
        value_name = "F",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Training"
    )]
    validation: f64,
    /// Stop after this many epochs without progress on the validation rows, and keep the best epoch's model.
    #[arg(long, value_name = "EPOCHS", help_heading = "Training")]
    patience: Option<usize>,
    /// Key of every random number: the split, the initial weights, the shuffles, dropout.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArg,

    /// Directory of the run [default: runs/<data name>, or the next free runs/<data name>-N].
    #[arg(long, value_name = "DIR", help_heading = "Files and output")]
    pub out: Option<PathBuf>,
    /// Go on from the checkpoint in the run's directory; without --out, of the last run on this data.
    #[arg(long, help_heading = "Files and output")]
    pub resume: bool,
    /// The least time between checkpoints; 0 writes one after every epoch.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, allow_negative_numbers = true, help_heading = "Files and output")]
    pub checkpoint_interval: f64,
    /// The last line of stdout is one JSON object.
    #[arg(long, help_heading = "Files and output")]
    pub json: bool,
    /// No progress and no reports on stderr.
    #[arg(long, help_heading = "Files and output")]
    pub quiet: bool,
    /// Print the fused graph of a training step and what it needs, and stop.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Files and output")]
    pub print_graph: Option<GraphFormat>,
}

/// `--print-graph`.
#[derive(Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    /// One line a value.
    Text,
    /// Graphviz.
    Dot,
}

/// `--norm`.
#[derive(Clone, Copy, ValueEnum)]
pub enum NormArg {
    /// None.
    None,
    /// Over the features of a sample.
    Layer,
    /// Over the samples of a minibatch.
    Batch,
}

impl From<NormArg> for Norm {
    fn from(norm: NormArg) -> Norm {
        match norm {
            NormArg::None => Norm::None,
            NormArg::Layer => Norm::Layer,
            NormArg::Batch => Norm::Batch,
        }
    }
}

/// `--init`.
#[derive(Clone, Copy, ValueEnum)]
pub enum InitArg {
    /// PyTorch's default for linear layers.
    Torch,
    /// He et al. 2015, normal; biases 0.
    Kaiming,
    /// Glorot and Bengio 2010, uniform; biases 0.
    Xavier,
}

impl From<InitArg> for WeightInit {
    fn from(init: InitArg) -> WeightInit {
        match init {
            InitArg::Torch => WeightInit::Torch,
            InitArg::Kaiming => WeightInit::KaimingNormal,
            InitArg::Xavier => WeightInit::XavierUniform,
        }
    }
}

/// `--optimizer`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// Stochastic gradient descent.
    Sgd,
    /// With momentum 0.9.
    Momentum,
    /// With Nesterov momentum 0.9.
    Nesterov,
    /// RMSprop.
    Rmsprop,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
}

impl OptimizerArg {
    /// The optimiser. Errors: a momentum where there is none to set; constants out of range.
    pub fn build(self, momentum: Option<f64>, weight_decay: Option<f64>) -> Result<Optimizer> {
        let base = match self {
            OptimizerArg::Sgd => Optimizer::sgd(),
            OptimizerArg::Momentum => Optimizer::sgd().with_momentum(0.9),
            OptimizerArg::Nesterov => Optimizer::sgd().with_momentum(0.9).with_nesterov(),
            OptimizerArg::Rmsprop => Optimizer::rmsprop(),
            OptimizerArg::Adam => Optimizer::adam(),
            OptimizerArg::Adamw => Optimizer::adamw(),
        };
        if momentum.is_some() && matches!(self, OptimizerArg::Adam | OptimizerArg::Adamw) {
            let name = base.name();
            return Err(usage_error(format!(
                "--momentum is for sgd, momentum, nesterov and rmsprop; {name} has none"
            )));
        }
        let with_momentum = momentum.map_or(base, |m| base.with_momentum(m));
        let optimizer = weight_decay.map_or(with_momentum, |w| with_momentum.with_weight_decay(w));
        optimizer.check()?;
        Ok(optimizer)
    }

    /// The learning rate without `--lr`.
    fn default_rate(self) -> f64 {
        match self {
            OptimizerArg::Sgd => 0.05,
            OptimizerArg::Momentum | OptimizerArg::Nesterov => 0.02,
            _ => Options::default().learning_rate,
        }
    }
}

/// `--loss`, before smoothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossArg {
    CrossEntropy,
    Values(Loss),
}

fn loss_name(text: &str) -> Result<LossArg, String> {
    let (name, delta) = text.split_once(':').map_or((text, None), |(name, delta)| (name, Some(delta)));
    Ok(match (name, delta) {
        ("cross-entropy", None) => LossArg::CrossEntropy,
        ("mse", None) => LossArg::Values(Loss::Mse),
        ("mae", None) => LossArg::Values(Loss::Mae),
        ("huber", delta) => match delta.unwrap_or("1").parse::<f32>() {
            Ok(delta) if delta.is_finite() && delta > 0.0 => LossArg::Values(Loss::Huber { delta }),
            _ => return Err("the delta of huber is a positive number, as in huber:1.5".into()),
        },
        _ => return Err("use cross-entropy (for classes), mse, mae or huber:DELTA (for numbers)".into()),
    })
}

fn activation(text: &str) -> Result<Activation, String> {
    text.parse().map_err(|e: <Activation as std::str::FromStr>::Err| e.to_string())
}

fn architecture(text: &str) -> Result<Architecture, String> {
    text.parse().map_err(|e: SearchError| e.to_string())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=1e9).contains(&s) => Ok(s),
        _ => Err("give a number of seconds, 0 or more".into()),
    }
}

impl Args {
    /// The options of the run but for the loss, in range. Errors: usage.
    pub fn options(&self) -> Result<Options> {
        if let Some(architecture) = &self.architecture {
            let options = Options {
                validation: self.validation,
                patience: self.patience,
                precision: self.precision,
                ..architecture.options(self.epochs, self.seed)
            };
            options.validate()?;
            return Ok(options);
        }
        let options = Options {
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.lr.unwrap_or(self.optimizer.default_rate()),
            schedule: self.schedule,
            warmup_epochs: self.warmup,
            optimizer: self.optimizer.build(self.momentum, self.weight_decay)?,
            loss: None,
            smoothing: self.smoothing,
            clip_norm: self.clip_norm,
            validation: self.validation,
            patience: self.patience,
            seed: self.seed,
            precision: self.precision,
        };
        options.validate()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(usage_error(format!(
                "--dropout {}: give a probability in [0, 1), such as 0.1",
                self.dropout
            )));
        }
        Ok(options)
    }

    /// The network for data of these inputs and outputs. Errors: widths out of range; no layer for `--skip`.
    pub fn network(&self, inputs: usize, outputs: usize) -> Result<Mlp> {
        if let Some(Architecture { net, .. }) = &self.architecture {
            if (net.inputs, net.outputs()) != (inputs, outputs) {
                return Err(usage_error(format!(
                    "--architecture goes from {} inputs to {} outputs, and the data from {inputs} to {outputs}; give one for \
                     this data",
                    net.inputs,
                    net.outputs()
                )));
            }
            return Ok(net.clone());
        }
        let net = nn::mlp(inputs, &self.hidden.0, self.activation, outputs);
        let mut net = net.dropout(self.dropout).norm(self.norm.into()).init(self.init.into());
        if self.skip {
            net = net.skips();
            if !net.layers.iter().any(|layer| layer.skip) {
                return Err(usage_error(
                    "--skip: no hidden layer has as many inputs as outputs; give some the same width, as in --hidden 64,64",
                ));
            }
        }
        net.validate().map_err(TrainError::from)?;
        Ok(net)
    }

    /// The loss asked for. Error: it does not fit the task.
    pub fn loss(&self, task: Option<Task>) -> Result<Option<Loss>> {
        let smoothing = self.architecture.as_ref().map_or(self.smoothing, |a| a.recipe.smoothing);
        match (self.loss, task) {
            (None, _) => Ok(None),
            (Some(LossArg::CrossEntropy), Some(Task::Regression)) => Err(usage_error(
                "--loss cross-entropy is for classes, and the target is numbers; use mse, mae or huber",
            )),
            (Some(LossArg::Values(_)), Some(Task::Classification)) => {
                let text = "this --loss is for numbers, and the target is classes; use cross-entropy, or --task regression";
                Err(usage_error(text))
            }
            (Some(LossArg::CrossEntropy), _) => Ok(Some(Loss::CrossEntropy { smoothing })),
            (Some(LossArg::Values(loss)), _) => Ok(Some(loss)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_by_name() {
        assert_eq!(loss_name("huber:2.5"), Ok(LossArg::Values(Loss::Huber { delta: 2.5 })));
        assert_eq!(loss_name("huber"), Ok(LossArg::Values(Loss::Huber { delta: 1.0 })));
        for bad in ["", "hinge", "huber:0", "huber:nan", "mse:1"] {
            assert!(loss_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn momentum_is_refused_where_there_is_none() {
        assert!(OptimizerArg::Adam.build(Some(0.9), None).is_err());
        assert!(OptimizerArg::Sgd.build(Some(-1.0), None).is_err());
        assert!(OptimizerArg::Nesterov.build(None, Some(1e-4)).is_ok());
    }
}
