//! Training an epoch at a time: what [`Trainer::fit`](super::Trainer::fit) and a search's population are made of.
//!
//! ```no_run
//! use ironwarp::{Device, data, nn, ops::activation::Activation, train};
//! let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
//! let net = nn::mlp(64, [64], Activation::Relu, 10);
//! let options = train::Options { epochs: 5, ..train::Options::default() };
//! let mut session = train::Session::new(&Device::cpu(), net, options, &digits.train, Some(&digits.test))?;
//! while !session.finished() {
//!     println!("{:?}", session.epoch()?.val_accuracy);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A session's numbers depend on network, options and data alone. Any number of sessions may share their data
//! ([`SharedData`]), which is then prepared and copied to the device once; each has parameters, moments and an order of
//! its own.

use std::sync::Arc;
use std::time::Instant;

use super::part::{self, Evaluator};
use super::{EpochRecord, History, Loss, Model, Options, TrainError, checkpoint, step};
use crate::data::{Dataset, Task, permutation};
use crate::device::{Device, DeviceKind};
use crate::graph::{Executor, InputId, OutputId, Plan, PlanSummary, States};
use crate::nn::Mlp;
use crate::ops::TensorType;

/// Prepared data on a device, which any number of [`Session`]s read. Cheap to clone.
#[derive(Clone)]
pub struct SharedData {
    /// The states `train.x`, `train.y` and, with a validation part, `val.x`, `val.y`, `val.order`.
    states: States,
    train: Arc<Dataset>,
    validation: Option<Arc<Dataset>>,
    /// The validation part's numbers to predict; empty for classes.
    targets: Arc<[f32]>,
}

impl SharedData {
    /// Prepares both parts (raw data with the statistics of its own rows: split it before, so that both have the
    /// training part's) and copies them to `device`. Errors: the data cannot be prepared; no memory on the device.
    pub fn new(
        device: &Device,
        train: &Dataset,
        validation: Option<&Dataset>,
    ) -> Result<SharedData, TrainError> {
        let validation = validation.map(|part| part.clone().prepared()).transpose()?;
        SharedData::prepared(device, train.clone().prepared()?, validation)
    }

    /// The same of data that is prepared.
    pub(super) fn prepared(
        device: &Device,
        train: Dataset,
        validation: Option<Dataset>,
    ) -> Result<SharedData, TrainError> {
        let states = States::new(device);
        part::upload(&states, "train", &train)?;
        if let Some(validation) = &validation {
            part::upload(&states, "val", validation)?;
            part::upload_order(&states, "val", validation.rows())?;
        }
        let targets = validation.as_ref().and_then(|v| v.values()).unwrap_or_default().into();
        Ok(SharedData { states, train: Arc::new(train), validation: validation.map(Arc::new), targets })
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        self.states.device()
    }

    /// The training part, prepared.
    pub fn train(&self) -> &Dataset {
        &self.train
    }

    /// Where a part's tensor (`train.x`, `train.y`, `val.x`, `val.y`) lies, for as long as this lives.
    pub(crate) fn slot(&self, name: &str) -> Result<crate::ops::Slot, crate::device::DeviceError> {
        self.states.slot(name)
    }

    /// The validation part, prepared.
    pub fn validation(&self) -> Option<&Dataset> {
        self.validation.as_deref()
    }
}

/// A training step for one minibatch size.
struct StepExec {
    exec: Executor,
    hyper: InputId,
    step: InputId,
    loss: OutputId,
    batch: usize,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Steps done in all.
    pub step: u64,
    /// Loss of the minibatch, where reading it is free: on `cpu` and `sim`.
    pub loss: Option<f32>,
    /// Samples of the minibatch.
    pub samples: usize,
}

/// One network in training; see the module's docs.
pub struct Session {
    net: Mlp,
    options: Options,
    loss: Loss,
    states: States,
    rows: usize,
    /// Full minibatches, then the rest of an epoch (if any).
    steps: Vec<StepExec>,
    per_epoch: u64,
    plan: PlanSummary,
    validation: Option<Evaluator>,
    preprocessing: Option<Arc<crate::data::Preprocessing>>,
    /// Whole epochs done, and steps of the one under way.
    pub(super) epoch: usize,
    pub(super) step_in_epoch: u64,
    pub(super) history: History,
    /// When the epoch under way began, and at which of its steps (not 0 after a resume).
    began: Instant,
    first: u64,
    /// Whether reading the loss of a step costs nothing.
    watch: bool,
}

impl Session {
    /// A network with its initial parameters. `options.epochs` is the length of the schedule; `options.validation` and
    /// `options.patience` are [`Trainer`](super::Trainer)'s business and change nothing here. Errors: options, network
    /// and data do not fit; no memory on the device.
    pub fn new(
        device: &Device,
        net: Mlp,
        options: Options,
        train: &Dataset,
        validation: Option<&Dataset>,
    ) -> Result<Session, TrainError> {
        Session::on(&SharedData::new(device, train, validation)?, net, options)
    }

    /// The same on data that is on the device already.
    pub fn on(data: &SharedData, net: Mlp, options: Options) -> Result<Session, TrainError> {
        options.validate()?;
        let loss = resolved_loss(&options, &data.train);
        let batch = resolved_batch(&options, &net, loss, data)?;
        let rows = data.train.rows();
        let states = States::new(data.device());
        states.share(&data.states, &["train.x", "train.y"])?;
        let mut steps = vec![];
        let mut plan = PlanSummary::default();
        for batch in [batch, rows % batch] {
            if batch == 0 {
                continue;
            }
            let planned = Plan::new(&step::training_step(&net, &options, loss, rows, batch, true)?.fuse())?;
            if steps.is_empty() {
                plan = planned.summary();
            }
            let exec = Executor::new(&planned, &states)?;
            let (hyper, step, out) = (exec.input("hyper")?, exec.input("step")?, exec.output("loss")?);
            steps.push(StepExec { exec, hyper, step, loss: out, batch });
        }
        let validation = match data.validation() {
            Some(part) => {
                states.share(&data.states, &["val.x", "val.y", "val.order"])?;
                Some(Evaluator::bind(
                    &states,
                    "val",
                    part,
                    data.targets.clone(),
                    loss,
                    (&net, options.precision),
                )?)
            }
            None => None,
        };
        Executor::new(&Plan::new(&net.init_graph(options.seed)?)?, &states)?.run()?;
        step::start_scaler(&states, &options)?;
        part::reset(&states, "train", loss, &net)?;
        Ok(Session {
            net,
            loss,
            states,
            rows,
            steps,
            per_epoch: rows.div_ceil(batch) as u64,
            plan,
            validation,
            preprocessing: data.train.preprocessing().cloned(),
            epoch: 0,
            step_in_epoch: 0,
            history: History::default(),
            began: Instant::now(),
            first: 0,
            watch: !matches!(data.device().kind(), DeviceKind::Cuda(_)),
            options,
        })
    }

    /// The network.
    pub fn net(&self) -> &Mlp {
        &self.net
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What is minimised.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Epochs done.
    pub fn epochs_done(&self) -> usize {
        self.epoch
    }

    /// Whether all epochs of the schedule are done.
    pub fn finished(&self) -> bool {
        self.epoch >= self.options.epochs
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// Work and memory of a step.
    pub fn plan(&self) -> PlanSummary {
        self.plan
    }

    /// The epochs so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn states(&self) -> &States {
        &self.states
    }

    /// Trains one epoch and evaluates the validation part. Error: the loss diverges, or the device fails.
    pub fn epoch(&mut self) -> Result<EpochRecord, TrainError> {
        self.begin_epoch()?;
        while !self.epoch_ends() {
            self.step()?;
        }
        self.end_epoch()
    }

    /// Begins an epoch, or goes on with one that a checkpoint was taken in: shuffles the rows.
    pub(super) fn begin_epoch(&mut self) -> Result<(), TrainError> {
        self.began = Instant::now();
        self.first = self.step_in_epoch;
        let order = permutation(self.rows, self.options.seed, self.epoch as u64);
        Ok(self.states.write("train.order", &TensorType::u32([self.rows]), &order)?)
    }

    /// Whether every minibatch of the epoch was seen.
    pub(super) fn epoch_ends(&self) -> bool {
        self.step_in_epoch >= self.per_epoch
    }

    /// Steps done in all.
    pub fn steps_done(&self) -> u64 {
        self.epoch as u64 * self.per_epoch + self.step_in_epoch
    }

    /// One minibatch. Error: its loss is not finite (seen where reading it is free, else at the end of the epoch).
    pub(super) fn step(&mut self) -> Result<StepRecord, TrainError> {
        let step = self.steps_done();
        let hyper = self.options.optimizer.hyper(step + 1, self.learning_rate(step));
        let full = self.steps[0].batch;
        let offset = self.step_in_epoch as usize * full;
        let last = offset + full > self.rows;
        let s = &mut self.steps[usize::from(last)];
        s.exec.write(s.hyper, &hyper)?;
        s.exec.write(s.step, &[step as u32, (step >> 32) as u32, offset as u32, 0])?;
        s.exec.run()?;
        let samples = s.batch;
        let mut loss = None;
        if self.watch {
            let mut value = [0f32];
            s.exec.read(s.loss, &mut value)?;
            if !value[0].is_finite() {
                return Err(self.diverged(step + 1, value[0]));
            }
            loss = Some(value[0]);
        }
        self.step_in_epoch += 1;
        Ok(StepRecord { step: step + 1, loss, samples })
    }

    /// Ends an epoch: its means, and the validation part. Errors: the mean loss is not finite; every step is skipped.
    pub(super) fn end_epoch(&mut self) -> Result<EpochRecord, TrainError> {
        let (train_loss, confusion) = part::totals(&self.states, "train", self.loss, self.rows)?;
        let trained = self.began.elapsed().as_secs_f64();
        let step = (self.epoch as u64 + 1) * self.per_epoch;
        if !train_loss.is_finite() {
            return Err(self.diverged(step, train_loss as f32));
        }
        if let Some(scale) = step::hopeless_scale(&self.states, &self.options)? {
            return Err(TrainError::Overflow { step, scale });
        }
        let classes = self.net.outputs();
        let train_accuracy = self.loss.takes_labels().then(|| part::accuracy(&confusion, classes));
        let val = self.validation.as_mut().map(|v| v.run()).transpose()?.map(|(evaluation, _)| evaluation);
        self.epoch += 1;
        self.step_in_epoch = 0;
        part::reset(&self.states, "train", self.loss, &self.net)?;
        let samples = (self.per_epoch - self.first) as f64 / self.per_epoch as f64 * self.rows as f64;
        let record = EpochRecord {
            epoch: self.epoch,
            step,
            learning_rate: self.learning_rate(step - 1),
            train_loss,
            train_accuracy,
            val_loss: val.as_ref().map(|v| v.loss),
            val_accuracy: val.as_ref().map(|v| v.accuracy).filter(|a| !a.is_nan()),
            val_r2: val.as_ref().map(|v| v.r2).filter(|r| !r.is_nan()),
            seconds: self.began.elapsed().as_secs_f64(),
            samples_per_second: samples / trained.max(1e-9),
        };
        self.history.epochs.push(record.clone());
        Ok(record)
    }

    /// The learning rate of a step, from 0.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        self.options.rate(step, self.per_epoch)
    }

    pub(super) fn diverged(&self, step: u64, loss: f32) -> TrainError {
        let (epoch, learning_rate) = (self.epoch + 1, self.options.learning_rate);
        TrainError::Diverged { step, epoch, loss, learning_rate, kept: String::new() }
    }

    /// Error: the parameters are no longer numbers, which the next loss would show.
    pub(super) fn check_finite(&self) -> Result<(), TrainError> {
        for p in self.net.tensors() {
            if self.states.read::<f32>(&p.name)?.iter().any(|x| !x.is_finite()) {
                return Err(self.diverged(self.steps_done(), f32::NAN));
            }
        }
        Ok(())
    }

    /// A copy of the network as it is now; training goes on without it. Error: a parameter is not finite.
    pub fn model(&self) -> Result<Model, TrainError> {
        self.check_finite()?;
        let model = self.as_model(self.states.clone());
        let states = States::new(self.states.device());
        checkpoint::put_states(&states, &model.tensors()?)?;
        Ok(Model { states, ..model })
    }

    /// The network, which stays where it is.
    pub(super) fn into_model(self) -> Model {
        self.as_model(self.states.clone())
    }

    fn as_model(&self, states: States) -> Model {
        Model {
            net: self.net.clone(),
            loss: self.loss,
            options: self.options.clone(),
            preprocessing: self.preprocessing.clone(),
            states,
            history: self.history.clone(),
        }
    }
}

impl Model {
    /// A network of these parameters, in order of definition, that was trained on `data`.
    pub(crate) fn of(
        data: &SharedData,
        net: Mlp,
        options: Options,
        values: impl IntoIterator<Item = Vec<f32>>,
    ) -> Result<Model, TrainError> {
        let states = States::new(data.device());
        for (p, values) in net.parameters().into_iter().zip(values) {
            states.write(&p.name, &TensorType::f32(p.shape), &values)?;
        }
        Ok(Model {
            loss: resolved_loss(&options, &data.train),
            net,
            options,
            preprocessing: data.train.preprocessing().cloned(),
            states,
            history: History::default(),
        })
    }
}

/// The loss that `options` mean for this data.
pub(crate) fn resolved_loss(options: &Options, train: &Dataset) -> Loss {
    options.loss.unwrap_or(match train.task() {
        Some(Task::Regression) => Loss::Mse,
        _ => Loss::CrossEntropy { smoothing: options.smoothing },
    })
}

/// The minibatch that `options` mean for this data, once network, loss and data are known to fit.
pub(crate) fn resolved_batch(
    options: &Options,
    net: &Mlp,
    loss: Loss,
    data: &SharedData,
) -> Result<usize, TrainError> {
    part::check_fit(net, loss, data.train())?;
    if let Some(validation) = data.validation() {
        part::check_fit(net, loss.plain(), validation)?;
    }
    let rows = data.train().rows();
    let batch = options.batch.unwrap_or(rows.min(64));
    if batch > rows {
        let text =
            format!("a batch of {batch} is larger than the training data ({rows} rows); give at most {rows}");
        return Err(TrainError::Options(text));
    }
    Ok(batch)
}
