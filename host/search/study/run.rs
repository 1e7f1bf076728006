//! Running trials: an objective on threads, or populations, within a budget.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Failure, Running, Values, Worker};
use crate::search::SearchError;
use crate::search::space::Point;
use crate::search::trial::Trial;

/// How often the budget is looked at while trials run.
const TICK: Duration = Duration::from_millis(20);

/// What is searched over: runs a trial. Its result must depend on the study's setting and the trial's number and point alone.
///
/// A trial reports the first goal's value after its steps and does as it is told ([`Running::report`]). Closures are
/// objectives.
pub trait Objective: Sync {
    /// The values, one a goal; when pruned those of the last step.
    fn run(&self, trial: &mut Running) -> Result<Values, Failure>;
}

impl<F: Fn(&mut Running) -> Result<Values, Failure> + Sync> Objective for F {
    fn run(&self, trial: &mut Running) -> Result<Values, Failure> {
        self(trial)
    }
}

/// How long a search goes on. Without limits it does until it fails.
#[derive(Clone, Copy, Default)]
pub struct Budget<'a> {
    /// Trials of the study, those of earlier runs included.
    pub trials: Option<u64>,
    /// From then on no trial begins.
    pub until: Option<Instant>,
    /// How long after `until` trials may go on, before they are told to stop; `None`: to their end.
    pub grace: Option<Duration>,
    /// Whether to stop at once (Ctrl-C): trials that run are told to stop, and wait to be tried again.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("trials", &self.trials)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl<'a> Budget<'a> {
    /// No limits.
    pub fn unlimited() -> Budget<'a> {
        Budget::default()
    }

    /// Until the study has so many trials.
    pub fn trials(trials: u64) -> Budget<'a> {
        Budget { trials: Some(trials), ..Budget::default() }
    }

    /// The same, ending `time` from now.
    pub fn time(self, time: Duration) -> Budget<'a> {
        // A time that the clock cannot hold is no limit.
        Budget { until: Instant::now().checked_add(time), ..self }
    }

    /// The same, ending when `stop` says so.
    pub fn stop(self, stop: &'a (dyn Fn() -> bool + Sync)) -> Budget<'a> {
        Budget { stop: Some(stop), ..self }
    }

    /// Whether trial `number` is within it.
    pub(super) fn allows(&self, number: u64) -> bool {
        self.trials.is_none_or(|trials| number < trials)
    }

    /// Whether no trial may begin any more.
    pub(super) fn is_spent(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until) || self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop())
    }

    /// Whether trials must not go on.
    fn is_over(&self) -> bool {
        let end = self.until.zip(self.grace).and_then(|(until, grace)| until.checked_add(grace));
        end.is_some_and(|end| Instant::now() >= end) || self.is_stopped()
    }
}

/// What happens in a run, for a live view. Events of several threads may come in another order than that of the trials.
#[derive(Debug)]
pub enum Event<'a> {
    /// A trial begins.
    Started {
        /// Its number.
        number: u64,
        /// What is tried.
        point: &'a Point,
        /// Earlier attempts that ended with the death of their process.
        deaths: u64,
    },
    /// A trial is recorded.
    Finished {
        /// As recorded.
        trial: &'a Trial,
    },
    /// A trial was stopped, and waits to be tried again.
    Released {
        /// Its number.
        number: u64,
    },
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Trials that this run recorded.
    pub trials: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Whether [`Budget::stop`] ended it.
    pub stopped: bool,
}

type Observer<'a> = &'a (dyn Fn(Event<'_>) + Sync);

impl Worker {
    /// Runs trials on `threads` threads until the budget is spent. A trial that fails or panics is recorded with the reason.
    /// With a budget of trials it returns when all of them are finished, those of other processes too.
    ///
    /// Errors: [`Failure::Fatal`], the sampler's, the storage's; what ran is finished first or waits to be tried again.
    pub fn run(
        &mut self,
        objective: &dyn Objective,
        threads: usize,
        budget: &Budget<'_>,
        observer: Observer<'_>,
    ) -> Result<Summary, SearchError> {
        let began = Instant::now();
        let recorded = AtomicU64::new(0);
        let stop = self.stop().clone();
        let error: Mutex<Option<SearchError>> = Mutex::new(None);
        let end = |e: SearchError| {
            error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            stop.store(true, Ordering::Relaxed);
        };
        let worker = Mutex::new(&mut *self);
        let left = AtomicUsize::new(threads.max(1));
        let watch = std::thread::current();
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let _leave = Leave { left: &left, stop: &stop, watch: &watch };
                    loop {
                        let asked = worker.lock().unwrap_or_else(PoisonError::into_inner).ask(budget);
                        let done = match asked {
                            Ok(Some(trial)) => run_one(objective, trial, observer),
                            Ok(None) => break,
                            Err(e) => Err(e),
                        };
                        match done {
                            Ok(finished) => drop(recorded.fetch_add(finished.into(), Ordering::Relaxed)),
                            Err(e) => {
                                end(e);
                                break;
                            }
                        }
                    }
                });
            }
            while left.load(Ordering::Acquire) > 0 {
                std::thread::park_timeout(TICK);
                if budget.is_over() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        stop.store(false, Ordering::Relaxed);
        match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(summary(recorded.into_inner(), began, budget)),
        }
    }

    /// As [`run`](Worker::run) with populations: `train` gets the trials that may run at once, at most `most` (no more
    /// than [`Setting::lag`](crate::search::Setting::lag) are), and ends each; one that it drops waits to be tried again.
    pub fn run_populations(
        &mut self,
        most: usize,
        budget: &Budget<'_>,
        train: &mut dyn FnMut(Vec<Running>) -> Result<(), SearchError>,
    ) -> Result<Summary, SearchError> {
        let began = Instant::now();
        let before = self.study().counts()?.finished();
        let stop = self.stop().clone();
        let over = AtomicBool::new(false);
        let done = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    std::thread::park_timeout(TICK);
                    if budget.is_over() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
            // The watch must end even if `train` panics.
            let done = catch_unwind(AssertUnwindSafe(|| -> Result<(), SearchError> {
                loop {
                    let trials = self.ask_many(most.max(1), budget)?;
                    if trials.is_empty() {
                        return Ok(());
                    }
                    train(trials)?;
                }
            }));
            over.store(true, Ordering::Release);
            watch.thread().unpark();
            done
        });
        stop.store(false, Ordering::Relaxed);
        match done {
            Ok(done) => done?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let recorded = self.study().counts()?.finished().saturating_sub(before);
        Ok(summary(recorded, began, budget))
    }
}

/// A thread's end, by a panic of the sampler or the observer too: then the other threads must end as well.
struct Leave<'a> {
    left: &'a AtomicUsize,
    stop: &'a AtomicBool,
    watch: &'a std::thread::Thread,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.left.fetch_sub(1, Ordering::Release);
        self.watch.unpark();
    }
}

fn summary(trials: u64, began: Instant, budget: &Budget<'_>) -> Summary {
    Summary { trials, seconds: began.elapsed().as_secs_f64(), stopped: budget.is_stopped() }
}

/// Runs a trial and records its end; whether it was recorded.
fn run_one(
    objective: &dyn Objective,
    mut trial: Running,
    observer: Observer<'_>,
) -> Result<bool, SearchError> {
    let number = trial.number();
    observer(Event::Started { number, point: trial.point(), deaths: trial.deaths() });
    let ran = catch_unwind(AssertUnwindSafe(|| objective.run(&mut trial)));
    let recorded = match ran {
        Ok(Ok(values)) => trial.finish(values)?,
        Ok(Err(Failure::Failed(reason))) => trial.fail(reason)?,
        Ok(Err(Failure::Fatal(error))) => {
            trial.release()?;
            return Err(error);
        }
        Ok(Err(Failure::Stopped)) => {
            trial.release()?;
            observer(Event::Released { number });
            return Ok(false);
        }
        Err(panic) => trial.fail(format!("panicked: {}", panic_text(&*panic)))?,
    };
    if let Some(trial) = &recorded {
        observer(Event::Finished { trial });
    }
    Ok(recorded.is_some())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}
