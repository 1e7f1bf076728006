//! A trial that runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::rows::{self, Asked};
use super::{Shared, Study};
use crate::search::pruner::{Cutoff, Cutoffs};
use crate::search::space::{Point, Value};
use crate::search::trial::{Report, State, Trial};
use crate::search::{SearchError, Setting};

/// One value a goal, in the order of [`Setting::goals`].
pub type Values = Vec<f64>;

/// What a trial should do after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// It missed a bar: end with the values that it has.
    Prune,
    /// The search is being stopped: end with [`Failure::Stopped`]; the trial is run again when the study is resumed.
    Stop,
}

/// Why a trial has no values.
#[derive(Debug)]
pub enum Failure {
    /// The trial is recorded as failed with this reason, and the study goes on.
    Failed(String),
    /// It was told to stop ([`Verdict::Stop`]): it waits to be tried again.
    Stopped,
    /// No trial can run: the trial waits to be tried again, and the search ends with this error.
    Fatal(SearchError),
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure::Failed(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Failure {
        Failure::Failed(reason.into())
    }
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Failure {
        Failure::Fatal(error)
    }
}

/// A trial that was asked for and has not ended. Dropped without an end, it waits to be tried again.
pub struct Running {
    study: Study,
    asked: Asked,
    reports: Vec<Report>,
    attributes: BTreeMap<String, f64>,
    missed: Option<Cutoff>,
    began: Instant,
    stop: Arc<AtomicBool>,
    ended: bool,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("asked", &self.asked)
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}

impl Running {
    pub(super) fn new(study: Study, asked: Asked, stop: Arc<AtomicBool>) -> Running {
        Running {
            study,
            asked,
            reports: vec![],
            attributes: BTreeMap::new(),
            missed: None,
            began: Instant::now(),
            stop,
            ended: false,
        }
    }

    /// Its number: with the study's seed the key of every random number of the trial.
    pub fn number(&self) -> u64 {
        self.asked.number
    }

    /// What is tried.
    pub fn point(&self) -> &Point {
        &self.asked.point
    }

    /// The value of a parameter, if it exists here.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.setting().space.get(&self.asked.point, name)
    }

    /// The bars that [`report`](Running::report) holds it to.
    pub fn cutoffs(&self) -> &Cutoffs {
        &self.asked.cutoffs
    }

    /// How many earlier attempts ended with the death of their process.
    pub fn deaths(&self) -> u64 {
        self.asked.deaths
    }

    /// The study's setting.
    pub fn setting(&self) -> &Setting {
        self.study.setting()
    }

    /// What was reported so far.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Takes the first goal's value after `step` (from 1, increasing: an earlier step than the last one is left out), and says
    /// how to go on. Costs nothing: reports are recorded with the end of the trial.
    pub fn report(&mut self, step: u64, value: f64) -> Verdict {
        if self.reports.last().is_none_or(|last| last.step < step) {
            self.reports.push(Report { step, value });
            if self.missed.is_none() {
                let direction = self.setting().goals[0].direction;
                self.missed = self.asked.cutoffs.missed(direction, &self.reports);
            }
        }
        self.verdict()
    }

    /// How to go on, between reports.
    pub fn verdict(&self) -> Verdict {
        if self.missed.is_some() {
            Verdict::Prune
        } else if self.stop.load(Ordering::Relaxed) {
            Verdict::Stop
        } else {
            Verdict::Continue
        }
    }

    /// Keeps something worth knowing about the trial: `params`, `flop`...
    pub fn attribute(&mut self, name: impl Into<String>, value: f64) {
        self.attributes.insert(name.into(), value);
    }

    /// Ends the trial with its values: pruned when a report missed a bar, else complete. Values that are not one finite number
    /// a goal make it a failed one. Returns what was recorded; `None`: nothing, because another process has taken the
    /// trial over (this one seemed dead).
    pub fn finish(self, values: Values) -> Result<Option<Trial>, SearchError> {
        let goals = &self.setting().goals;
        if values.len() != goals.len() {
            let reason = format!("{} instead of {} values", values.len(), goals.len());
            return self.fail(reason);
        }
        if let Some((goal, value)) = goals.iter().zip(&values).find(|(_, v)| !v.is_finite()) {
            let reason = format!("{} is {value}", goal.name);
            return self.fail(reason);
        }
        let state = if self.missed.is_some() { State::Pruned } else { State::Complete };
        let reason = self.missed.zip(self.reports.last()).map(|(bar, _)| {
            let value = self.reports.iter().find(|r| r.step == bar.step).map_or(f64::NAN, |r| r.value);
            format!("{value} after step {} misses the bar of {}", bar.step, bar.value)
        });
        self.end(state, values, reason)
    }

    /// Ends the trial without values.
    pub fn fail(self, reason: impl Into<String>) -> Result<Option<Trial>, SearchError> {
        self.end(State::Failed, vec![], Some(reason.into()))
    }

    /// Lets the trial wait to be tried again, from its start, by any worker.
    pub fn release(mut self) -> Result<(), SearchError> {
        self.let_go()
    }

    fn end(
        mut self,
        state: State,
        values: Values,
        reason: Option<String>,
    ) -> Result<Option<Trial>, SearchError> {
        let trial = Trial {
            number: self.asked.number,
            point: self.asked.point.clone(),
            state,
            values,
            reports: std::mem::take(&mut self.reports),
            reason,
            attributes: std::mem::take(&mut self.attributes),
            seconds: self.began.elapsed().as_secs_f64(),
        };
        let recorded = self.shared().change(|conn, shared| match shared.worker {
            Some(worker) => rows::finish(conn, &trial, worker),
            None => Ok(false),
        })?;
        self.ended = true;
        Ok(recorded.then_some(trial))
    }

    fn let_go(&mut self) -> Result<(), SearchError> {
        self.ended = true;
        let number = self.asked.number;
        self.shared().change(|conn, shared| match shared.worker {
            Some(worker) => rows::release(conn, number, worker),
            None => Ok(()),
        })
    }

    fn shared(&self) -> &Shared {
        &self.study.shared
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // If this fails the trial waits for the end of this process.
            let _ = self.let_go();
        }
    }
}
