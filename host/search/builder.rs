//! A whole search over networks: [`Search`] -> [`Found`].
//!
//! ```no_run
//! use std::time::Duration;
//! use ironwarp::search::{Search, metric::Metric, pruner::Asha, sampler::Evolution, space::network::NetworkSpace};
//! use ironwarp::{Device, data};
//! let device = Device::auto()?;
//! let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
//! let space = NetworkSpace::default_for(64, 10, digits.train.rows());
//! let found = Search::new(space)
//!     .sampler(Evolution::default())
//!     .pruner(Asha::default())
//!     .objectives([Metric::Accuracy, Metric::Parameters])
//!     .study("digits.db")
//!     .time(Duration::from_secs(60))
//!     .run(&device, &digits.train)?;
//! if let Some(best) = &found.best {
//!     println!("{}", best.architecture);
//!     let tested = found.test(&device, &best.architecture, (&digits.train, &digits.test), 5)?;
//!     println!("{:.3}", tested.metric.mean);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What sees which rows
//!
//! ```text
//! all rows = search part + test part                      the caller's split: a search is given the first alone
//! search part = training rows + validation rows           each trial trains on the first and is judged on the second
//! search part = folds                                     the finalists are compared by cross-validation over all of it
//! ```
//!
//! The default network ([`baseline`]) is trial 0 where the space has it, and always a finalist. The finalists are
//! compared in rounds, the better half going on; the winner has the best cross-validated metric in the end. [`Found::test`]
//! trains it on the whole search part and measures it on rows that nothing was selected on.

use std::path::PathBuf;
use std::time::Duration;

use super::architecture::Architecture;
use super::assess::{self, CrossValidation, Tested};
use super::estimate::Estimate;
use super::metric::Metric;
use super::networks::Networks;
use super::pruner::{Hyperband, Pruner};
use super::sampler::{Known, Nsga2, Sampler, Screened, Tpe};
use super::score::Minibatch;
use super::space::Point;
use super::space::network::{LinearLatency, NetworkSpace};
use super::study::{Budget, Event, Identity, Study, Summary};
use super::trial::{State, Trial};
use super::{SearchError, Setting};
use crate::data::{Dataset, Task};
use crate::device::{Device, DeviceKind};
use crate::ops::optim::Optimizer;
use crate::train::{Options, SharedData};

/// Where a study keeps its model of the latency.
const LATENCY: &str = "latency_model";

/// Samples that screening looks at.
const SCREEN_SAMPLES: usize = 64;

/// Folds that the finalists are compared on.
const FOLDS: usize = 5;

/// The network that a search is compared with: what `ironwarp train` trains without options. Its length is
/// [`baseline_epochs`].
pub fn baseline(inputs: usize, outputs: usize, rows: usize) -> Architecture {
    let batch = 64.min(rows.max(1));
    let text = format!(
        "{inputs} > 128 relu drop=0.2 > 64 relu drop=0.2 > {outputs} | adam lr=0.002 batch={batch} smoothing=0.1"
    );
    match text.parse() {
        Ok(architecture) => architecture,
        Err(e) => unreachable!("'{text}' is an architecture: {e}"),
    }
}

/// The point that is nearest to the [`baseline`] where a space has one: its network with AdamW and next to no decay.
fn default_in(space: &NetworkSpace, rows: usize) -> Option<Point> {
    let mut near = baseline(space.inputs(), space.outputs(), rows);
    space.encode(&near).or_else(|| {
        let least = space.ranges().weight_decay.as_ref()?.least();
        near.recipe.optimizer = Optimizer::adamw().with_weight_decay(least);
        space.encode(&near)
    })
}

/// How long the [`baseline`] is trained.
pub fn baseline_epochs() -> usize {
    Options::default().epochs
}

/// What happens, for a live view.
#[derive(Debug)]
pub enum Step<'a> {
    /// The study is open: it has so many trials from before.
    Opened {
        /// The study.
        study: &'a Study,
    },
    /// A trial began, ended or was given back.
    Trial(Event<'a>),
    /// The trials are over; so many finalists are compared.
    Comparing {
        /// Their number.
        finalists: usize,
    },
}

type Observer<'a> = Box<dyn Fn(Step<'_>) + Sync + 'a>;
type Stop<'a> = Box<dyn Fn() -> bool + Sync + 'a>;

/// A search to be run; see the module's docs.
pub struct Search<'a> {
    space: NetworkSpace,
    sampler: Option<Box<dyn Sampler>>,
    pruner: Box<dyn Pruner>,
    metrics: Vec<Metric>,
    epochs: usize,
    final_epochs: usize,
    validation: f64,
    finalists: usize,
    trials: Option<u64>,
    time: Option<Duration>,
    workers: Option<usize>,
    lag: Option<u64>,
    seed: u64,
    screen: u64,
    study: Option<PathBuf>,
    about: serde_json::Value,
    observer: Option<Observer<'a>>,
    stop: Option<Stop<'a>>,
}

impl<'a> Search<'a> {
    /// A search with multivariate TPE (NSGA-II for several objectives) and Hyperband, 600 trials of up to 27 epochs.
    pub fn new(space: NetworkSpace) -> Search<'a> {
        Search {
            space,
            sampler: None,
            pruner: Box::new(Hyperband::default()),
            metrics: vec![],
            epochs: 27,
            final_epochs: Options::default().epochs,
            validation: 0.25,
            finalists: 8,
            trials: None,
            time: None,
            workers: None,
            lag: None,
            seed: 1,
            screen: 1,
            study: None,
            about: serde_json::Value::Null,
            observer: None,
            stop: None,
        }
    }

    /// What proposes networks.
    pub fn sampler(self, sampler: impl Sampler + 'static) -> Self {
        self.boxed_sampler(Box::new(sampler))
    }
    /// As [`sampler`](Search::sampler), for one chosen at run time.
    pub fn boxed_sampler(mut self, sampler: Box<dyn Sampler>) -> Self {
        self.sampler = Some(sampler);
        self
    }
    /// What stops hopeless trials.
    pub fn pruner(self, pruner: impl Pruner + 'static) -> Self {
        self.boxed_pruner(Box::new(pruner))
    }
    /// As [`pruner`](Search::pruner), for one chosen at run time.
    pub fn boxed_pruner(mut self, pruner: Box<dyn Pruner>) -> Self {
        self.pruner = pruner;
        self
    }
    /// What is optimised; the first is learned, and what pruning looks at. Accuracy (classes) or R2 (numbers) unless set.
    pub fn objectives(mut self, metrics: impl IntoIterator<Item = Metric>) -> Self {
        self.metrics = metrics.into_iter().collect();
        self
    }
    /// Epochs of a trial that is not pruned.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }
    /// Epochs of the finalists' and the winner's training (60 unless set).
    pub fn final_epochs(mut self, epochs: usize) -> Self {
        self.final_epochs = epochs;
        self
    }
    /// Share of the rows that trials are judged on, in (0, 1).
    pub fn validation(mut self, share: f64) -> Self {
        self.validation = share;
        self
    }
    /// How many of the best trials' networks cross-validation compares, at least 1.
    pub fn finalists(mut self, finalists: usize) -> Self {
        self.finalists = finalists.max(1);
        self
    }
    /// Trials of the study in all; 600 unless a time is set.
    pub fn trials(mut self, trials: u64) -> Self {
        self.trials = Some(trials);
        self
    }
    /// Time for the trials of this run.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }
    /// Trials at once on `cpu`: as many as cores unless set. Changes no result.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }
    /// Trials that may run at once without waiting for each other ([`Setting::lag`]): 16 on `cpu`, 256 elsewhere unless set.
    pub fn lag(mut self, lag: u64) -> Self {
        self.lag = Some(lag.max(1));
        self
    }
    /// Key of every random number.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
    /// Of so many proposals the one is trained that scores best ([`Screened`]); 1, as unless set: no screening.
    pub fn screen(mut self, proposals: u64) -> Self {
        self.screen = proposals.max(1);
        self
    }
    /// The study's file, made or gone on with; in memory unless set.
    pub fn study(mut self, path: impl Into<PathBuf>) -> Self {
        self.study = Some(path.into());
        self
    }
    /// What a new study's file says of itself ([`Identity::about`]).
    pub fn about(mut self, about: serde_json::Value) -> Self {
        self.about = about;
        self
    }
    /// Is told what happens, from several threads.
    pub fn observer(mut self, observer: impl Fn(Step<'_>) + Sync + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }
    /// Is asked whether to stop; trials under way are given back, and nothing is compared any more.
    pub fn stop(mut self, stop: impl Fn() -> bool + Sync + 'a) -> Self {
        self.stop = Some(Box::new(stop));
        self
    }

    /// The model of the latency that the study was begun with, or else one measured now, which a new study keeps: what is
    /// allowed must not change from run to run.
    fn latency(&mut self, device: &Device) -> Result<LinearLatency, SearchError> {
        let known = self.study.as_ref().filter(|path| path.exists());
        let kept = known
            .and_then(|path| Study::open(path).ok()?.about().ok())
            .and_then(|about| serde_json::from_value(about.get(LATENCY)?.clone()).ok());
        if let Some(model) = kept {
            return Ok(model);
        }
        let model = LinearLatency::calibrate(device, self.space.inputs(), self.space.outputs())?;
        if self.about.is_null() {
            self.about = serde_json::json!({});
        }
        if let (Some(about), Ok(value)) = (self.about.as_object_mut(), serde_json::to_value(model)) {
            about.insert(LATENCY.into(), value);
        }
        Ok(model)
    }

    /// Searches on `data`, the search part (raw data is prepared first). Errors: options, space and data do not fit; the
    /// study's file is of another search or damaged; the device fails.
    pub fn run(mut self, device: &Device, data: &Dataset) -> Result<Found, SearchError> {
        let data = data.clone().prepared()?;
        let task = data.task().unwrap_or(Task::Classification);
        if self.metrics.is_empty() {
            self.metrics = vec![Metric::default_for(task)];
        }
        Metric::check(&self.metrics, task)?;
        if self.epochs == 0 || self.final_epochs == 0 {
            return Err(SearchError::Options("0 epochs: give at least 1".into()));
        }
        let (train, validation) = data.validation_split(self.validation, self.seed)?;
        // A measurement in each trial would differ from run to run: a model of it, kept with the study, does not.
        let wanted = self.metrics.contains(&Metric::Latency) && self.space.latency_in_force().is_none();
        if wanted || self.space.needs_latency() {
            let model = self.latency(device)?;
            self.space = self.space.latency_model(model);
        }
        let shared = SharedData::new(device, &train, Some(&validation))?;
        let setting = Setting {
            space: self.space.space()?,
            goals: self.metrics.iter().map(|m| m.goal()).collect(),
            seed: self.seed,
            steps: self.epochs as u64,
            lag: self.lag.unwrap_or(if device.runs_kernels() { 256 } else { 16 }),
        };
        let sampler: Box<dyn Sampler> = match self.sampler.take() {
            Some(sampler) => sampler,
            None if self.metrics.len() > 1 => Box::new(Nsga2::default()),
            None => Box::new(Tpe::default()),
        };
        let rows = train.rows();
        let known = default_in(&self.space, rows).into_iter().collect();
        let sampler = if self.screen > 1 {
            let batch = Minibatch::draw(&train, SCREEN_SAMPLES, self.seed);
            Box::new(Screened::new(sampler, self.space.clone(), batch, self.screen))
        } else {
            sampler
        };
        let sampler: Box<dyn Sampler> = Box::new(Known::new(known, sampler));
        let kind = match device.kind() {
            DeviceKind::Cuda(_) => "cuda".into(),
            kind => kind.to_string(),
        };
        let screened =
            if self.screen > 1 { format!(", best of {} by score", self.screen) } else { String::new() };
        let identity = Identity {
            sampler: format!("{}{screened}", sampler.name()),
            pruner: self.pruner.name().into(),
            data: data.name().into(),
            data_hash: data.hash(),
            objective: format!(
                "networks on {kind}, validation {}, {:?}",
                self.validation,
                self.space.ranges().limits
            ),
            about: self.about.take(),
        };
        let networks =
            Networks { space: self.space, data: shared, metrics: self.metrics, epochs: self.epochs };
        // A space without a point is found out before a file is made.
        setting.space.draw(&mut super::rng::Rng::new(self.seed, 0, 0))?;
        let study = match &self.study {
            Some(path) => Study::create_or_resume(path, setting, identity)?,
            None => Study::in_memory(setting)?,
        };
        let tell = |step: Step<'_>| {
            if let Some(observer) = &self.observer {
                observer(step);
            }
        };
        tell(Step::Opened { study: &study });
        let stop = || self.stop.as_ref().is_some_and(|stop| stop());
        let trials = self.trials.or(if self.time.is_none() { Some(DEFAULT_TRIALS) } else { None });
        let budget = Budget { trials, ..Budget::unlimited() }.stop(&stop);
        let budget = self.time.map_or(budget, |time| budget.time(time));
        let mut worker = study.worker(sampler, self.pruner);
        let summary = if device.runs_kernels() {
            let most = study.setting().lag as usize;
            worker.run_populations(most, &budget, &mut |trials| {
                for trial in &trials {
                    let (number, point, deaths) = (trial.number(), trial.point(), trial.deaths());
                    tell(Step::Trial(Event::Started { number, point, deaths }));
                }
                networks.train(trials, |trial| tell(Step::Trial(Event::Finished { trial })))
            })?
        } else {
            let threads = self.workers.unwrap_or_else(rayon::current_num_threads);
            worker.run(&networks, threads, &budget, &|event| tell(Step::Trial(event)))?
        };
        let mut found = Found {
            study,
            summary,
            metrics: networks.metrics.clone(),
            space: networks.space.clone(),
            final_epochs: self.final_epochs,
            seed: self.seed,
            rows,
            finalists: vec![],
            best: None,
        };
        if summary.stopped {
            return Ok(found);
        }
        let finalists = found.candidates(self.finalists)?;
        tell(Step::Comparing { finalists: finalists.len() });
        found.compare(device, &data, finalists, &stop)?;
        Ok(found)
    }
}

/// Trials of a search that is given neither a number nor a time.
pub const DEFAULT_TRIALS: u64 = 600;

/// A network that cross-validation measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalist {
    /// The trial that it was.
    pub trial: u64,
    /// The network and its recipe.
    pub architecture: Architecture,
    /// Its figures over the folds of the search part, for each round one after the other.
    pub cross: CrossValidation,
    /// Rounds that it was in: times that each fold was trained on, each from another seed.
    pub rounds: usize,
}

impl Finalist {
    /// Adds a round.
    fn add(&mut self, cross: CrossValidation) {
        let join = |a: &Estimate, b: Estimate| Estimate::of([a.values.clone(), b.values].concat());
        let metric = join(&self.cross.metric, cross.metric);
        let loss = join(&self.cross.loss, cross.loss);
        if let (Some(metric), Some(loss)) = (metric, loss) {
            self.cross = CrossValidation { metric, loss };
            self.rounds += 1;
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Every trial.
    pub study: Study,
    /// What this run did.
    pub summary: Summary,
    /// What was optimised.
    pub metrics: Vec<Metric>,
    /// What points mean.
    pub space: NetworkSpace,
    /// Epochs of the finalists' and the winner's training.
    pub final_epochs: usize,
    /// Key of every random number.
    pub seed: u64,
    /// Rows that trials were trained on.
    pub rows: usize,
    /// The best trials' networks, best first; none when the search was stopped.
    pub finalists: Vec<Finalist>,
    /// The first finalist.
    pub best: Option<Finalist>,
}

impl Found {
    /// The distinct networks of the `most` best complete trials, and of the Pareto front when there are several goals (its
    /// best in the first goal, as many again).
    fn candidates(&self, most: usize) -> Result<Vec<(u64, Architecture)>, SearchError> {
        let setting = self.study.setting();
        let mut trials: Vec<Trial> =
            self.study.trials()?.into_iter().filter(|t| t.state == State::Complete).collect();
        // Of trials with the same accuracy (there are few validation rows) the one with the lower loss is likely better.
        let key = |t: &Trial| {
            let loss = t.attributes.get("val_loss").copied().unwrap_or(f64::INFINITY);
            (setting.losses(t)[0], loss)
        };
        let order = |a: &Trial, b: &Trial| {
            let ((a0, a1), (b0, b1)) = (key(a), key(b));
            a0.total_cmp(&b0).then(a1.total_cmp(&b1)).then(a.number.cmp(&b.number))
        };
        trials.sort_by(order);
        let mut front = if setting.goals.len() > 1 { self.study.front()? } else { vec![] };
        front.sort_by(order);
        let mut chosen: Vec<(u64, Architecture)> = vec![];
        for list in [&trials, &front] {
            let before = chosen.len();
            for trial in list {
                if chosen.len() == before + most {
                    break;
                }
                let architecture = self.space.decode(&trial.point);
                if chosen.iter().all(|(_, known)| known.hash() != architecture.hash()) {
                    chosen.push((trial.number, architecture));
                }
            }
        }
        let default = trials
            .iter()
            .find(|t| t.number == 0)
            .filter(|t| default_in(&self.space, self.rows).is_some_and(|point| point == t.point));
        if let Some(trial) = default.filter(|_| chosen.iter().all(|(number, _)| *number != 0)) {
            chosen.push((0, self.space.decode(&trial.point)));
        }
        Ok(chosen)
    }

    /// Cross-validates the candidates in rounds: each adds a seed, and the better half goes on to the next.
    fn compare(
        &mut self,
        device: &Device,
        data: &Dataset,
        candidates: Vec<(u64, Architecture)>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), SearchError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let folds = data.folds(FOLDS.min(data.rows()), self.seed)?;
        let metric = self.metrics[0];
        let direction = metric.direction();
        let mut finalists: Vec<Finalist> = vec![];
        let mut going: Vec<(u64, Architecture)> = candidates;
        for round in 0.. {
            let architectures: Vec<Architecture> = going.iter().map(|(_, a)| a.clone()).collect();
            let seed = self.seed.wrapping_add(round * folds.len() as u64);
            let epochs = self.final_epochs;
            let measured =
                assess::cross_validate(device, &architectures, &folds, metric, epochs, seed, stop)?;
            let Some(outcomes) = measured else { return Ok(()) };
            for ((trial, architecture), outcome) in going.into_iter().zip(outcomes) {
                let known = finalists.iter().position(|f| f.trial == trial);
                match (known, outcome) {
                    (None, Ok(cross)) => finalists.push(Finalist { trial, architecture, cross, rounds: 1 }),
                    (Some(i), Ok(cross)) => finalists[i].add(cross),
                    // A network that fails from one seed is not to be relied on.
                    (Some(i), Err(_)) => drop(finalists.remove(i)),
                    (None, Err(_)) => {}
                }
            }
            let key = |f: &Finalist| (direction.loss(f.cross.metric.mean), f.cross.loss.mean);
            finalists.sort_by(|a, b| {
                let ((a0, a1), (b0, b1)) = (key(a), key(b));
                b.rounds.cmp(&a.rounds).then(a0.total_cmp(&b0)).then(a1.total_cmp(&b1))
            });
            let last = finalists.iter().filter(|f| f.rounds == round as usize + 1).count();
            if last < 2 {
                break;
            }
            let half = last.div_ceil(2);
            going = finalists.iter().take(half).map(|f| (f.trial, f.architecture.clone())).collect();
        }
        self.best = finalists.first().cloned();
        self.finalists = finalists;
        Ok(())
    }

    /// Trains an architecture on `train`, from as many seeds as `repeats`, and measures it on `test`: parts of which the search has
    /// seen the first alone.
    pub fn test(
        &self,
        device: &Device,
        architecture: &Architecture,
        parts: (&Dataset, &Dataset),
        repeats: u64,
    ) -> Result<Tested, SearchError> {
        let seeds = (self.seed, repeats);
        Ok(assess::test(device, architecture, parts, self.metrics[0], self.final_epochs, seeds)?)
    }

    /// The same of the [`baseline`], with the length it has.
    pub fn baseline(
        &self,
        device: &Device,
        parts: (&Dataset, &Dataset),
        repeats: u64,
    ) -> Result<Tested, SearchError> {
        let train = parts.0;
        let architecture = baseline(train.features().cols, train.outputs(), train.rows());
        let (epochs, seeds) = (baseline_epochs(), (self.seed, repeats));
        Ok(assess::test(device, &architecture, parts, self.metrics[0], epochs, seeds)?)
    }
}
