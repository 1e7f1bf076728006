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
//! The default network ([`baseline::network`]) is trial 0 where the space has it, and always a finalist. The finalist with the
//! best cross-validated metric wins. [`Found::test`] trains it on the whole search part and measures it on rows that nothing
//! was selected on.

use std::path::PathBuf;
use std::time::Duration;

use super::found::Found;
use super::metric::Metric;
use super::networks::Networks;
use super::pruner::{Hyperband, Pruner};
use super::rng::Rng;
use super::sampler::{Known, Nsga2, Sampler, Screened, Tpe};
use super::score::Minibatch;
use super::space::network::{LinearLatency, NetworkSpace};
use super::study::{Budget, Event, Identity, Study};
use super::{SearchError, Setting, baseline};
use crate::data::{Dataset, Task};
use crate::device::{Device, DeviceKind};
use crate::train::{Options, SharedData};

/// Where a study keeps its model of the latency.
const LATENCY: &str = "latency_model";

/// Samples that screening looks at.
const SCREEN_SAMPLES: usize = 64;

/// Trials of a search that is given neither a number nor a time.
const DEFAULT_TRIALS: u64 = 600;

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

    /// Trials of the study in all; `None`: as many as the time allows.
    pub fn trial_limit(&self) -> Option<u64> {
        self.trials.or(self.time.is_none().then_some(DEFAULT_TRIALS))
    }

    /// Checks what can be known before anything is measured or made: the objectives fit data of `task`, there are epochs to
    /// train for, and the space has a point that is allowed (where latency is limited, [`run`](Search::run) finds out). Errors
    /// name the option and the remedy.
    pub fn check(&self, task: Task) -> Result<(), SearchError> {
        if !self.metrics.is_empty() {
            Metric::check(&self.metrics, task)?;
        }
        if self.epochs == 0 || self.final_epochs == 0 {
            return Err(SearchError::Options("0 epochs: give at least 1".into()));
        }
        if !self.space.needs_latency() {
            self.space.space()?.draw(&mut Rng::new(self.seed, 0, 0))?;
        }
        Ok(())
    }

    /// What proposes points for this search: the sampler, after the default network and under screening.
    fn proposer(&mut self, train: &Dataset) -> Box<dyn Sampler> {
        let mut sampler: Box<dyn Sampler> = match self.sampler.take() {
            Some(sampler) => sampler,
            None if self.metrics.len() > 1 => Box::new(Nsga2::default()),
            None => Box::new(Tpe::default()),
        };
        if self.screen > 1 {
            let batch = Minibatch::draw(train, SCREEN_SAMPLES, self.seed);
            sampler = Box::new(Screened::new(sampler, self.space.clone(), batch, self.screen));
        }
        let known = baseline::point_in(&self.space, train.rows()).into_iter().collect();
        Box::new(Known::new(known, sampler))
    }

    /// What the study is begun with, besides its setting.
    fn identity(&self, device: &Device, data: &Dataset, sampler: &str) -> Identity {
        let kind = match device.kind() {
            DeviceKind::Cuda(_) => "cuda".into(),
            kind => kind.to_string(),
        };
        let screened =
            if self.screen > 1 { format!(", best of {} by score", self.screen) } else { String::new() };
        Identity {
            sampler: format!("{sampler}{screened}"),
            pruner: self.pruner.name().into(),
            data: data.name().into(),
            data_hash: data.hash(),
            objective: format!(
                "networks on {kind}, validation {}, {:?}",
                self.validation,
                self.space.ranges().limits
            ),
            about: self.about.clone(),
        }
    }

    /// Searches on `data`, the search part (raw data is prepared first). Errors: options, space and data do not fit; the
    /// study's file is of another search or damaged; the device fails.
    pub fn run(mut self, device: &Device, data: &Dataset) -> Result<Found, SearchError> {
        let data = data.clone().prepared()?;
        let task = data.task().unwrap_or(Task::Classification);
        self.check(task)?;
        if self.metrics.is_empty() {
            self.metrics = vec![Metric::default_for(task)];
        }
        let (train, validation) = data.validation_split(self.validation, self.seed)?;
        // A measurement in each trial would differ from run to run: a model of it, kept with the study, does not.
        let wanted = self.metrics.contains(&Metric::Latency) && self.space.latency_in_force().is_none();
        if wanted || self.space.needs_latency() {
            let model = self.latency(device)?;
            self.space = self.space.latency_model(model);
            self.check(task)?;
        }
        let shared = SharedData::new(device, &train, Some(&validation))?;
        let setting = Setting {
            space: self.space.space()?,
            goals: self.metrics.iter().map(|m| m.goal()).collect(),
            seed: self.seed,
            steps: self.epochs as u64,
            lag: self.lag.unwrap_or(if device.runs_kernels() { 256 } else { 16 }),
        };
        let sampler = self.proposer(&train);
        let identity = self.identity(device, &data, sampler.name());
        let trials = self.trial_limit();
        let networks =
            Networks { space: self.space, data: shared, metrics: self.metrics, epochs: self.epochs };
        let study = match &self.study {
            Some(path) => Study::create_or_resume(path, setting, identity)?,
            None => Study::in_memory(setting, identity)?,
        };
        let tell = |step: Step<'_>| {
            if let Some(observer) = &self.observer {
                observer(step);
            }
        };
        tell(Step::Opened { study: &study });
        let stop = || self.stop.as_ref().is_some_and(|stop| stop());
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
            rows: train.rows(),
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
