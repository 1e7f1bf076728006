//! Asking for trials: a sampler and a pruner, and what they have been told.
//!
//! For trial `n` they have been told exactly the first [`Setting::visible`]`(n)` trials, read from the study in the order of
//! their numbers. The number is taken and the point recorded in one transaction, so that no number is ever without a
//! point. Within it the sampler is asked, while other processes wait, unless that took long before: then it is asked
//! ahead, and again when another process was faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::rows::{self, Asked, Look};
use super::store::Stored;
use super::{Budget, Running, Study};
use crate::search::pruner::Pruner;
use crate::search::sampler::Sampler;
use crate::search::{SearchError, Setting};

/// What a sampler may take while other processes wait for the file.
const QUICK: Duration = Duration::from_millis(10);

/// How often a slow sampler is asked ahead in vain.
const ATTEMPTS: usize = 3;

/// Trials that are told at once.
const CHUNK: u64 = 1000;

/// The longest and the shortest pause while nothing can be asked for.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(1));

/// How long the first unfinished trial is waited for before its process is looked at.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks for trials of a study. One a process serves all its threads; several, in one process or many, share a study.
pub struct Worker {
    study: Study,
    mind: Mind,
    stop: Arc<AtomicBool>,
}

/// Sampler and pruner.
struct Mind {
    sampler: Box<dyn Sampler>,
    pruner: Box<dyn Pruner>,
    /// Trials that they have been told, from the first.
    told: u64,
    /// Whether they took long when last asked; unknown at first.
    slow: bool,
}

/// What a look at the study comes to.
enum Step {
    /// There is a trial.
    Take(Asked),
    /// Another worker was faster: look again.
    Again,
    /// Unfinished trials must end first.
    Wait,
    /// All trials of the budget are finished.
    Done,
}

impl Worker {
    pub(super) fn new(study: Study, sampler: Box<dyn Sampler>, pruner: Box<dyn Pruner>) -> Worker {
        let mind = Mind { sampler, pruner, told: 0, slow: true };
        Worker { study, mind, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// The study.
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Trials, from the first, that the sampler and the pruner have been told.
    pub fn told(&self) -> u64 {
        self.mind.told
    }

    /// Raised, it tells this worker's running trials to stop ([`Verdict::Stop`](super::Verdict::Stop)).
    pub(super) fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// A trial to run, once one may run. `None`: the budget is spent, and all its trials are finished, by whichever worker.
    pub fn ask(&mut self, budget: &Budget<'_>) -> Result<Option<Running>, SearchError> {
        let shared = self.study.shared.clone();
        let (mut pause, mut since) = (PAUSES.1, Instant::now());
        loop {
            if budget.is_spent() || self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seen = shared.lock().changes;
            match self.step(budget)? {
                Step::Take(asked) => {
                    return Ok(Some(Running::new(self.study.clone(), asked, self.stop.clone())));
                }
                Step::Done => return Ok(None),
                Step::Again => {}
                Step::Wait => {
                    shared.wait(seen, pause);
                    pause = (pause * 2).min(PAUSES.0);
                    if since.elapsed() >= PATIENCE {
                        self.check_first()?;
                        since = Instant::now();
                    }
                }
            }
        }
    }

    /// The trials that may run at once now, at most `most`: waits for the first alone. Empty: as [`ask`](Worker::ask).
    pub fn ask_many(&mut self, most: usize, budget: &Budget<'_>) -> Result<Vec<Running>, SearchError> {
        let mut trials = vec![];
        while trials.len() < most && !budget.is_spent() {
            if trials.is_empty() {
                match self.ask(budget)? {
                    Some(trial) => trials.push(trial),
                    None => break,
                }
                continue;
            }
            match self.step(budget)? {
                Step::Take(asked) => {
                    trials.push(Running::new(self.study.clone(), asked, self.stop.clone()));
                }
                Step::Again => {}
                Step::Wait | Step::Done => break,
            }
        }
        Ok(trials)
    }

    /// Whether the process of the trial that the study waits for lives.
    fn check_first(&self) -> Result<(), SearchError> {
        let shared = &self.study.shared;
        let owner = shared.read(|conn| match rows::look(conn)?.open {
            Some(first) => rows::owner(conn, first),
            None => Ok(None),
        })?;
        match owner {
            Some(owner) if Some(owner) != shared.worker => shared.bury(Some(owner)),
            _ => Ok(()),
        }
    }

    /// One attempt.
    fn step(&mut self, budget: &Budget<'_>) -> Result<Step, SearchError> {
        let study = self.study.clone();
        let shared = &study.shared;
        let Some(worker) = shared.worker else {
            let reason = "the study was opened to be read: resume it to run trials";
            return Err(super::store::study_error(&shared.path, reason));
        };
        let setting = &shared.setting;
        for _ in 0..ATTEMPTS {
            let look = shared.read(rows::look)?;
            if let Some(number) = look.waiting.filter(|n| budget.allows(*n)) {
                let taken = shared.write(|conn, shared| {
                    rows::beat(conn, worker, &shared.process)?;
                    rows::take(conn, &setting.space, number, worker)
                })?;
                return Ok(taken.map_or(Step::Again, Step::Take));
            }
            if let Some(step) = blocked(setting, &look, budget) {
                return Ok(step);
            }
            let number = look.next;
            let visible = setting.visible(number);
            while self.mind.told < visible {
                let to = visible.min(self.mind.told + CHUNK);
                shared.read(|conn| self.mind.tell(conn, setting, to))?;
            }
            if !self.mind.slow {
                break;
            }
            let asked = self.mind.ask(setting, number)?;
            let inserted = shared.write(|conn, shared| {
                let free = rows::look(conn)?.next == number;
                if free {
                    rows::beat(conn, worker, &shared.process)?;
                    rows::insert(conn, &setting.space, &asked, worker)?;
                }
                Ok(free)
            })?;
            if inserted {
                return Ok(Step::Take(asked));
            }
        }
        // Nobody can be faster now.
        shared.write(|conn, shared| {
            let look = rows::look(conn)?;
            if look.waiting.is_some_and(|n| budget.allows(n)) {
                return Ok(Step::Again);
            }
            if let Some(step) = blocked(setting, &look, budget) {
                return Ok(step);
            }
            self.mind.tell(conn, setting, setting.visible(look.next))?;
            let asked = self.mind.ask(setting, look.next)?;
            rows::beat(conn, worker, &shared.process)?;
            rows::insert(conn, &setting.space, &asked, worker)?;
            Ok(Step::Take(asked))
        })
    }
}

/// Why no new trial can be asked for, if so.
fn blocked(setting: &Setting, look: &Look, budget: &Budget<'_>) -> Option<Step> {
    if !budget.allows(look.next) {
        return Some(if look.open.is_some_and(|n| budget.allows(n)) { Step::Wait } else { Step::Done });
    }
    (setting.visible(look.next) > look.prefix()).then_some(Step::Wait)
}

impl Mind {
    /// Tells what has not been told of the first `to` trials, which are finished.
    fn tell(&mut self, conn: &Connection, setting: &Setting, to: u64) -> Stored<()> {
        if self.told >= to {
            return Ok(());
        }
        for trial in rows::load(conn, &setting.space, self.told, to)? {
            self.sampler.tell(setting, &trial);
            self.pruner.tell(setting, &trial);
        }
        self.told = to;
        Ok(())
    }

    /// Asks; what has been told is what `number` may depend on.
    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Asked, SearchError> {
        let began = Instant::now();
        let point = self.sampler.ask(setting, number)?;
        if let Err(reason) = setting.space.check(&point) {
            let (name, point) = (self.sampler.name(), setting.space.show(&point));
            return Err(SearchError::Space(format!(
                "the sampler '{name}' proposes '{point}', which is not allowed: {reason}"
            )));
        }
        let cutoffs = self.pruner.cutoffs(setting, number);
        self.slow = began.elapsed() > QUICK;
        Ok(Asked { number, point, cutoffs, deaths: 0 })
    }
}
