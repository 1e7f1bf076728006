//! Many networks trained at once.
//!
//! ```no_run
//! use ironwarp::{Device, data, nn, ops::activation::Activation, train::Options};
//! use ironwarp::search::population::{Candidate, Population};
//! let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
//! let mut population = Population::new(&Device::auto()?, &digits.train, &digits.test)?;
//! let mut ids = vec![];
//! for width in [16, 32, 64] {
//!     let net = nn::mlp(64, [width], Activation::Relu, 10);
//!     ids.push(population.add(Candidate { net, options: Options { epochs: 5, ..Options::default() } })?);
//! }
//! for progress in population.advance(&ids, 5) {
//!     println!("{:?}", progress?.val_accuracy);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The data is prepared and copied to the device once. How the networks share the device depends on its kind:
//!
//! | device        | network                                          | how                                            |
//! |---------------|--------------------------------------------------|------------------------------------------------|
//! | `cpu`         | every one                                        | one a core (`cores.rs`), by the graph          |
//! | `sim`, `cuda` | no normalisation, fits a block's shared memory   | one a block, all in one launch (`chip.rs`)     |
//! | `sim`, `cuda` | no normalisation, larger                         | all at once, by grouped launches ([`Grouped`]) |
//! | `sim`, `cuda` | the others                                       | one after another, by the graph                |
//!
//! A network's numbers depend on itself, its options, the data and the kind of device alone: they are the same bits
//! whatever else is in the population, in which order, and on how many threads. On `cpu` they are those of
//! [`Trainer::fit`](crate::train::Trainer::fit). A network that fails (its loss is no number, it is too large) leaves the
//! others alone.

mod chip;
mod cores;
mod grouped;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::data::Dataset;
use crate::device::{Device, DeviceError, DeviceKind};
use crate::nn::Mlp;
use crate::ops::matmul::Precision;
use crate::train::{self, EpochRecord, History, Options, Session, SharedData, TrainError};

use chip::OnChip;
use cores::Cores;

pub use grouped::Grouped;

/// A network to train. `options.epochs` is the whole length of its schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The network.
    pub net: Mlp,
    /// Optimiser, learning rate and its schedule, batch, seed.
    pub options: Options,
}

/// A network of a population. Ids are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a network is after an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Mean loss over the epoch's minibatches, as they were trained on.
    pub train_loss: f64,
    /// Loss of the validation part, without label smoothing.
    pub val_loss: f64,
    /// Accuracy of the validation part, for classes.
    pub val_accuracy: Option<f64>,
    /// Coefficient of determination of the validation part, for values.
    pub val_r2: Option<f64>,
    /// Seconds of device time so far: of a network among others in one launch, its share of the launch.
    pub seconds: f64,
}

impl Progress {
    /// The failure of a network whose last step of an epoch, `steps` in all, took it where the validation part's loss is no
    /// number: the next step would show it.
    fn diverged(&self, validated: bool, steps: u64) -> Option<Failure> {
        let loss = self.val_loss as f32;
        let failure = Failure::Diverged { step: steps, epoch: self.epoch, loss };
        (validated && !self.val_loss.is_finite()).then_some(failure)
    }
}

/// The last epoch of a network, or why there is none; epoch 0 before the first.
fn outcome(failed: &Option<Failure>, history: &[Progress]) -> Result<Progress, Failure> {
    let before = Progress {
        epoch: 0,
        train_loss: f64::NAN,
        val_loss: f64::NAN,
        val_accuracy: None,
        val_r2: None,
        seconds: 0.0,
    };
    failed.clone().map_or_else(|| Ok(history.last().copied().unwrap_or(before)), Err)
}

/// The history of a model: what is known of each epoch of a network that trains with others.
fn records(history: &[Progress], data: &SharedData, options: &Options, batch: usize) -> History {
    let rows = data.train().rows();
    let per_epoch = rows.div_ceil(batch) as u64;
    let mut before = 0.0;
    let record = |p: &Progress| {
        let (step, seconds) = (p.epoch as u64 * per_epoch, p.seconds - before);
        before = p.seconds;
        EpochRecord {
            epoch: p.epoch,
            step,
            learning_rate: options.rate(step - 1, per_epoch),
            train_loss: p.train_loss,
            train_accuracy: None,
            val_loss: data.validation().map(|_| p.val_loss),
            val_accuracy: p.val_accuracy,
            val_r2: p.val_r2,
            seconds,
            samples_per_second: rows as f64 / seconds.max(1e-9),
        }
    };
    History { epochs: history.iter().map(record).collect() }
}

/// Why a network has no progress. One line each.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The loss is no longer a number.
    #[error("diverged: the loss is {loss} at step {step} (epoch {epoch}); use a lower learning rate")]
    Diverged {
        /// Step (from 1) whose loss is not finite, or the end of its epoch where steps are not watched.
        step: u64,
        /// Its epoch (from 1).
        epoch: usize,
        /// The loss.
        loss: f32,
    },
    /// The network does not fit the device's memory.
    #[error("too large: needs {bytes} bytes, {limit} are available; use a smaller network or batch")]
    TooLarge {
        /// Bytes needed, as [`Mlp::training_bytes`] counts them.
        bytes: u64,
        /// Bytes available to one network.
        limit: u64,
    },
    /// Network, options and data do not fit.
    #[error("{0}")]
    Invalid(String),
    /// No such network, or it was removed.
    #[error("there is no network {0} in the population; it may have been removed")]
    Unknown(Id),
    /// The device failed.
    #[error("{0}")]
    Device(String),
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Failure {
        match error {
            TrainError::Diverged { step, epoch, loss, .. } => Failure::Diverged { step, epoch, loss },
            TrainError::Device(error) => error.into(),
            other => Failure::Invalid(one_line(&other)),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        Failure::Device(one_line(&error))
    }
}

fn one_line(error: &dyn fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A parameter on the host, as PyTorch names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Such as `layers.0.weight`.
    pub name: String,
    /// Shape; a weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// Who trains a network.
enum Trained {
    /// The graph of a session, made when the network first advances.
    Graph(Option<Box<Session>>),
    /// The same, when its schedule is done: what it learnt, without the memory that training takes.
    Done(Box<train::Model>),
    /// A block of a launch that trains many.
    Chip(Box<OnChip>),
}

/// A network of the population.
struct Network {
    candidate: Candidate,
    by: Trained,
    /// One entry an epoch.
    history: Vec<Progress>,
    failed: Option<Failure>,
    seconds: f64,
}

impl Network {
    /// Multiply-adds of an epoch, up to a factor that all networks have in common: who has most begins first.
    fn work(&self) -> usize {
        self.candidate.net.parameter_count()
    }

    /// For a launch, where it is trained by one.
    fn entry(&mut self) -> Option<chip::Entry<'_>> {
        let Network { candidate, by, history, failed, seconds } = self;
        let Trained::Chip(chip) = by else { return None };
        Some(chip::Entry { candidate, chip, history, failed, seconds })
    }

    /// Trains by a session of its own, `epochs` more or as many as the schedule has left.
    fn advance_graph(&mut self, data: &SharedData, epochs: usize) {
        let Trained::Graph(session) = &mut self.by else { return };
        let began = Instant::now();
        let before = self.seconds;
        let mut run = || -> Result<(), Failure> {
            let session = match session {
                Some(session) => session,
                None => {
                    let Candidate { net, options } = self.candidate.clone();
                    session.insert(Box::new(Session::on(data, net, options)?))
                }
            };
            for _ in 0..epochs {
                if session.finished() {
                    break;
                }
                let record = session.epoch()?;
                let progress = Progress {
                    epoch: record.epoch,
                    train_loss: record.train_loss,
                    val_loss: record.val_loss.unwrap_or(f64::NAN),
                    val_accuracy: record.val_accuracy,
                    val_r2: record.val_r2,
                    seconds: before + began.elapsed().as_secs_f64(),
                };
                if let Some(failure) = progress.diverged(record.val_loss.is_some(), record.step) {
                    return Err(failure);
                }
                self.history.push(progress);
            }
            Ok(())
        };
        if let Err(error) = run() {
            self.failed = Some(error);
            // Nothing more is asked of it: its memory is free for others.
            *session = None;
        }
        if let Some(session) = session
            && session.finished()
            && let Ok(model) = session.model()
        {
            self.by = Trained::Done(Box::new(model));
        }
        self.seconds = before + began.elapsed().as_secs_f64();
    }
}

/// Networks in training on one device; see the module's docs.
pub struct Population {
    data: SharedData,
    networks: BTreeMap<Id, Network>,
    next: u64,
    cores: Option<Cores>,
    /// The data as kernels take it, where networks may train on the chip.
    parts: Option<chip::Parts>,
    /// Those that are trained by grouped launches.
    grouped: Option<Grouped>,
    limit: u64,
}

impl Population {
    /// An empty population on `device`. Raw data is prepared first, each part with the statistics of its own rows: give
    /// parts of one split. Errors: the data cannot be prepared; no memory on the device.
    pub fn new(device: &Device, train: &Dataset, validation: &Dataset) -> Result<Population, TrainError> {
        Ok(Population::on(SharedData::new(device, train, Some(validation))?))
    }

    /// The same on data that is on the device already; without a validation part, `val_loss` is NaN.
    pub fn on(data: SharedData) -> Population {
        let cores = (data.device().kind() == DeviceKind::Cpu).then(Cores::default);
        // Data without a target has no such parts, and no network that could be added.
        let parts = data.device().runs_kernels().then(|| chip::Parts::of(&data).ok()).flatten();
        let grouped = Grouped::on(data.clone()).ok();
        let (networks, limit) = (BTreeMap::new(), memory_of_one());
        Population { data, networks, next: 0, cores, parts, grouped, limit }
    }

    /// The same with `threads` cores on `cpu`, at least 1; unless set, as many as large operations use.
    pub fn threads(mut self, threads: usize) -> Population {
        if self.cores.is_some() {
            self.cores = Some(Cores::new(threads));
        }
        self
    }

    /// The same with room for `bytes` a network; unless set, a quarter of the machine's memory. What a network needs is
    /// [`Mlp::training_bytes`].
    pub fn memory_limit(mut self, bytes: u64) -> Population {
        self.limit = bytes;
        self
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.data.device()
    }

    /// The data.
    pub fn data(&self) -> &SharedData {
        &self.data
    }

    /// Number of networks.
    pub fn len(&self) -> usize {
        self.networks.len() + self.grouped.as_ref().map_or(0, Grouped::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a network in. Errors: it is too large, or network, options and data do not fit.
    pub fn add(&mut self, candidate: Candidate) -> Result<Id, Failure> {
        let Candidate { net, options } = &candidate;
        options.validate()?;
        options.optimizer.check().map_err(TrainError::from)?;
        if options.precision != Precision::Fp32 {
            let precision = options.precision;
            return Err(Failure::Invalid(format!(
                "populations and searches train in fp32, not in {precision}; set the precision to fp32, or train alone"
            )));
        }
        let loss = train::resolved_loss(options, self.data.train());
        let batch = train::resolved_batch(options, net, loss, &self.data)?;
        let bytes = net.training_bytes(batch, options.optimizer.moments());
        if bytes > self.limit {
            return Err(Failure::TooLarge { bytes, limit: self.limit });
        }
        let id = Id(self.next);
        let on_chip = self.parts.as_ref().and_then(|_| OnChip::place(self.device(), &candidate, loss, batch));
        let grouped = self.grouped.as_mut().filter(|_| on_chip.is_none() && Grouped::supports(&candidate));
        if let Some(grouped) = grouped {
            grouped.insert(id, candidate)?;
            self.next += 1;
            return Ok(id);
        }
        self.next += 1;
        let by = on_chip.map_or(Trained::Graph(None), |chip| Trained::Chip(Box::new(chip)));
        self.networks.insert(id, Network { candidate, by, history: vec![], failed: None, seconds: 0.0 });
        Ok(id)
    }

    /// Trains each of the networks `epochs` more, all at once, but none past the end of its schedule: one that is there
    /// says its last epoch again. One outcome for each of `ids`, in their order; a network that is named twice advances once.
    pub fn advance(&mut self, ids: &[Id], epochs: usize) -> Vec<Result<Progress, Failure>> {
        let mut chosen = ids.to_vec();
        chosen.sort_unstable();
        let mut networks: Vec<&mut Network> = self
            .networks
            .iter_mut()
            .filter(|(id, network)| chosen.binary_search(id).is_ok() && network.failed.is_none())
            .map(|(_, network)| network)
            .collect();
        networks.sort_by_key(|network| std::cmp::Reverse(network.work()));
        let data = &self.data;
        match (&self.cores, &self.parts) {
            (Some(cores), _) => cores.for_each(networks, |network| network.advance_graph(data, epochs)),
            (None, parts) => {
                let is_chip = |network: &&mut Network| matches!(network.by, Trained::Chip(_));
                let (together, alone): (Vec<_>, Vec<_>) = networks.into_iter().partition(is_chip);
                let together = together.into_iter().filter_map(Network::entry).collect();
                if let Some(parts) = parts {
                    chip::advance(data.device(), parts, together, epochs);
                }
                alone.into_iter().for_each(|network| network.advance_graph(data, epochs));
            }
        }
        if let Some(grouped) = &mut self.grouped {
            grouped.advance(ids, epochs);
        }
        ids.iter()
            .map(|&id| match self.grouped(id) {
                Some(grouped) => grouped.outcome(id),
                None => {
                    let network = self.network(id)?;
                    outcome(&network.failed, &network.history)
                }
            })
            .collect()
    }

    /// The grouped launches, if they train network `id`.
    fn grouped(&self, id: Id) -> Option<&Grouped> {
        self.grouped.as_ref().filter(|grouped| grouped.contains(id))
    }

    /// Forgets a network: what it held is free for others.
    pub fn remove(&mut self, id: Id) {
        self.networks.remove(&id);
        if let Some(grouped) = &mut self.grouped {
            grouped.remove(id);
        }
    }

    fn network(&self, id: Id) -> Result<&Network, Failure> {
        self.networks.get(&id).ok_or(Failure::Unknown(id))
    }

    /// A network's epochs so far.
    pub fn history(&self, id: Id) -> Result<&[Progress], Failure> {
        if let Some(grouped) = self.grouped(id) {
            return grouped.history(id);
        }
        Ok(&self.network(id)?.history)
    }

    /// A network's parameters (and running statistics) as they are now, in order of definition. Errors: no such network; it failed.
    pub fn parameters(&self, id: Id) -> Result<Vec<Tensor>, Failure> {
        if let Some(grouped) = self.grouped(id) {
            return grouped.parameters(id);
        }
        let network = self.network(id)?;
        if let (Trained::Chip(chip), None) = (&network.by, &network.failed) {
            return Ok(chip::named(&network.candidate.net, &chip.parameters(&network.candidate)?));
        }
        let model = self.model(id)?;
        let tensor = |p: crate::nn::Parameter| -> Result<Tensor, Failure> {
            let values = model.parameter(&p.name)?;
            Ok(Tensor { name: p.name, shape: p.shape, values })
        };
        model.net().tensors().into_iter().map(tensor).collect()
    }

    /// A network as it is now. Errors: no such network; it failed.
    pub fn model(&self, id: Id) -> Result<train::Model, Failure> {
        if let Some(grouped) = self.grouped(id) {
            return grouped.model(id);
        }
        let network = self.network(id)?;
        if let Some(failure) = &network.failed {
            return Err(failure.clone());
        }
        let Candidate { net, options } = &network.candidate;
        match &network.by {
            Trained::Graph(Some(session)) => Ok(session.model()?),
            Trained::Done(model) => Ok((**model).clone()),
            Trained::Graph(None) => Ok(Session::on(&self.data, net.clone(), options.clone())?.model()?),
            Trained::Chip(chip) => {
                let tensors = chip::named(net, &chip.parameters(&network.candidate)?);
                let values = tensors.into_iter().map(|t| t.values);
                let mut model = train::Model::of(&self.data, net.clone(), options.clone(), values)?;
                let batch = train::resolved_batch(options, net, model.loss, &self.data)?;
                model.history = records(&network.history, &self.data, options, batch);
                Ok(model)
            }
        }
    }
}

/// Bytes that one network may take: a quarter of the machine's memory where the system says how much that is. The number
/// is the machine's, not what is free at the moment, so that the same network is refused in every run.
fn memory_of_one() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    total.map_or(u64::MAX, |kib| kib.saturating_mul(1024) / 4)
}
