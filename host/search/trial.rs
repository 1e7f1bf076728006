//! What is recorded of a trial.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::space::Point;

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for and not told yet.
    Running,
    /// Ran all its steps; has its values.
    Complete,
    /// Stopped by the pruner; its values are those of its last step.
    Pruned,
    /// Has no values; [`Trial::reason`] says why.
    Failed,
}

impl State {
    /// Whether nothing more will be recorded.
    pub fn is_finished(self) -> bool {
        self != State::Running
    }
}

/// The first goal's value after a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Steps (epochs) done, from 1.
    pub step: u64,
    /// The value.
    pub value: f64,
}

/// One trial of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From 0, without gaps.
    pub number: u64,
    /// What was tried.
    pub point: Point,
    /// How far it is.
    pub state: State,
    /// One value a goal; empty until it finished, and when it failed.
    pub values: Vec<f64>,
    /// The first goal's value after each step that reported one, in order of steps.
    pub reports: Vec<Report>,
    /// Why it failed, or was pruned.
    pub reason: Option<String>,
    /// What else is worth keeping: `params`, `flop`, `val_loss`, the scores...
    pub attributes: BTreeMap<String, f64>,
    /// Seconds that it ran.
    pub seconds: f64,
}

impl Trial {
    /// A trial that has just been asked for.
    pub fn new(number: u64, point: Point) -> Trial {
        Trial {
            number,
            point,
            state: State::Running,
            values: vec![],
            reports: vec![],
            reason: None,
            attributes: BTreeMap::new(),
            seconds: 0.0,
        }
    }

    /// The last report.
    pub fn last(&self) -> Option<Report> {
        self.reports.last().copied()
    }

    /// The value reported at `step`.
    pub fn at(&self, step: u64) -> Option<f64> {
        self.reports.binary_search_by_key(&step, |r| r.step).ok().map(|i| self.reports[i].value)
    }
}
