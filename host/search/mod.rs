//! Search for architectures and hyper-parameters: `Space -> Sampler -> Trial -> Study`.
//!
//! A [`Space`](space::Space) is a list of parameters, some of which exist only under a condition; a
//! [`Point`](space::Point) gives each its value. A [`Sampler`](sampler::Sampler) proposes points, a
//! [`Pruner`](pruner::Pruner) says how good a trial must be after how many steps to go on, and a study records every
//! [`Trial`](trial::Trial).
//!
//! # Same seed, same search
//!
//! What is proposed for trial `n`, and when trial `n` is stopped, depends on the study's seed, on `n`, and on the finished
//! trials before `n + 1 - lag` alone ([`Setting::visible`]), never on what else has finished by then. So a study has the same
//! trials and results for any number of workers, and after a kill and a resume. So `lag` trials can run at
//! once; random numbers are [`Rng`](rng::Rng)s keyed by (seed, purpose, trial).

pub mod architecture;
pub mod assess;
pub mod baseline;
pub mod builder;
pub mod estimate;
pub mod found;
pub mod importance;
pub mod metric;
pub mod names;
pub mod networks;
pub mod pareto;
pub mod population;
pub mod pruner;
pub mod rng;
pub mod sampler;
pub mod score;
pub mod space;
pub mod study;
pub mod table;
pub mod trial;

pub use builder::Search;
pub use found::Found;

use serde::{Deserialize, Serialize};

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better: losses, parameters.
    Minimize,
    /// More is better: accuracies.
    Maximize,
}

impl Direction {
    /// `value` as something to minimise; NaN as the worst.
    pub fn loss(self, value: f64) -> f64 {
        let loss = if self == Direction::Maximize { -value } else { value };
        if loss.is_nan() { f64::INFINITY } else { loss }
    }

    /// Whether `a` is better than `b`. NaN is worse than any number.
    pub fn better(self, a: f64, b: f64) -> bool {
        self.loss(a) < self.loss(b)
    }
}

/// One thing that a search optimises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// A name for tables and files: `accuracy`, `params`.
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
}

impl Goal {
    /// More of `name` is better.
    pub fn maximize(name: impl Into<String>) -> Goal {
        Goal { name: name.into(), direction: Direction::Maximize }
    }
    /// Less of `name` is better.
    pub fn minimize(name: impl Into<String>) -> Goal {
        Goal { name: name.into(), direction: Direction::Minimize }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.direction == Direction::Maximize { "maximize" } else { "minimize" };
        write!(f, "{verb} {}", self.name)
    }
}

/// What stays the same through a study: what samplers and pruners may rely on.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where the points are.
    pub space: space::Space,
    /// What is optimised; the first is also what trials report after each step, and what pruning looks at.
    pub goals: Vec<Goal>,
    /// Key of every random number.
    pub seed: u64,
    /// Steps (epochs) of a trial that is not pruned, at least 1.
    pub steps: u64,
    /// How many trials can run at once without waiting ([`visible`](Setting::visible)); at least 1.
    pub lag: u64,
}

impl Setting {
    /// How many trials, from the first, trial `number` may depend on: `number + 1 - lag`, so that `lag` trials can run at
    /// once; with lag 1 all before it.
    pub fn visible(&self, number: u64) -> u64 {
        (number + 1).saturating_sub(self.lag.max(1))
    }

    /// The values of a trial as losses, in the order of the goals; infinity where one is missing.
    pub fn losses(&self, trial: &trial::Trial) -> Vec<f64> {
        let value = |i| trial.values.get(i).copied().unwrap_or(f64::NAN);
        self.goals.iter().enumerate().map(|(i, goal)| goal.direction.loss(value(i))).collect()
    }
}

/// Why a search cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The space is wrong or holds no point that is allowed.
    #[error("{0}")]
    Space(String),
    /// An option is out of its range or names nothing.
    #[error("{0}")]
    Options(String),
    /// A study's file is not what it should be, or another process holds it.
    #[error("{path}: {reason}")]
    Study {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Training failed for a reason that every trial would meet.
    #[error(transparent)]
    Train(#[from] crate::train::TrainError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// The data is wrong.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}
