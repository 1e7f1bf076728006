//! Pruners: when a trial is not worth going on with.
//!
//! A pruner decides before a trial starts: it knows the trials that this one may depend on, so the bar at each rung
//! is known, and a worker needs nothing from others while it trains ([`Cutoff`]). That is what makes pruning the same for
//! any number of workers.
//!
//! | name | stops a trial at a step when | compares with |
//! |---|---|---|
//! | `none` | never ([`Never`]) | nothing |
//! | `median` | its best value so far is worse than the median ([`Median`]) | complete trials |
//! | `percentile` | its best value so far is not among the best quarter ([`Percentile`]) | complete trials |
//! | `halving` | it is not among the best third at a rung ([`Halving`]) | the newest 27 trials at the rung |
//! | `asha` | the same ([`Asha`]) | all trials at the rung |
//! | `hyperband` | the same, with several sequences of rungs ([`Hyperband`]) | the trials of its bracket |
//!
//! All look at the first goal, whatever the number of goals. What they keep is one number for each trial and rung (or step),
//! in order, so that bars cost the same after 100,000 trials.

mod halving;
mod hyperband;
mod ordered;
mod percentile;

use serde::{Deserialize, Serialize};

pub use halving::{Asha, Halving};
pub use hyperband::Hyperband;
pub use percentile::{Median, Percentile};

use super::names;
use super::trial::{Report, Trial};
use super::{Direction, SearchError, Setting};

/// A bar: the trial is stopped at `step` unless its value there is at least as good as `value`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cutoff {
    /// Steps done, from 1.
    pub step: u64,
    /// What the first goal must have reached.
    pub value: f64,
    /// Whether the best value of the trial so far counts, not that of this step.
    pub best: bool,
}

/// The bars of one trial, in increasing order of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cutoffs(pub Vec<Cutoff>);

impl Cutoffs {
    /// The bar that a trial with these reports misses at its last report, if any. NaN misses every bar.
    pub fn missed(&self, direction: Direction, reports: &[Report]) -> Option<Cutoff> {
        let last = reports.last()?;
        let cutoff = *self.0.iter().find(|c| c.step == last.step)?;
        let values = reports.iter().map(|r| direction.loss(r.value));
        let loss =
            if cutoff.best { values.fold(f64::INFINITY, f64::min) } else { direction.loss(last.value) };
        (loss > direction.loss(cutoff.value) || loss == f64::INFINITY).then_some(cutoff)
    }
}

/// Sets the bars. Bring your own by implementing this; what a [`Sampler`](super::sampler::Sampler) may depend on holds
/// here too.
pub trait Pruner: Send {
    /// A name for tables and files.
    fn name(&self) -> &'static str;

    /// Learns of a finished trial, failed and pruned ones too; in the order of their numbers, each once.
    fn tell(&mut self, setting: &Setting, trial: &Trial);

    /// The bars of trial `number`.
    fn cutoffs(&mut self, setting: &Setting, number: u64) -> Cutoffs;
}

/// Makes a pruner with its defaults.
type Make = fn() -> Box<dyn Pruner>;

/// The pruners by name.
const PRUNERS: &[(&str, Make)] = &[
    ("none", || Box::new(Never)),
    ("median", || Box::new(Median::default())),
    ("percentile", || Box::new(Percentile::default())),
    ("halving", || Box::new(Halving::default())),
    ("asha", || Box::new(Asha::default())),
    ("hyperband", || Box::new(Hyperband::default())),
];

/// The names that [`by_name`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRUNERS.iter().map(|(name, _)| *name)
}

/// The pruner of that name, with its defaults. Error: there is none; it says which name is nearest.
///
/// ```
/// use ironwarp::search::pruner;
/// assert_eq!(pruner::by_name("asha")?.name(), "asha");
/// let error = pruner::by_name("hyperbnad").err().expect("no such pruner").to_string();
/// assert!(error.contains("did you mean 'hyperband'?"));
/// # Ok::<(), ironwarp::search::SearchError>(())
/// ```
pub fn by_name(name: &str) -> Result<Box<dyn Pruner>, SearchError> {
    match PRUNERS.iter().find(|(known, _)| *known == name) {
        Some((_, make)) => Ok(make()),
        None => Err(SearchError::Options(names::unknown("pruner", name, names()))),
    }
}

/// Which way is better of what trials report.
fn direction(setting: &Setting) -> Direction {
    setting.goals.first().map_or(Direction::Minimize, |goal| goal.direction)
}

/// The value that has this loss.
fn worth(direction: Direction, loss: f64) -> f64 {
    if direction == Direction::Maximize { -loss } else { loss }
}

/// Prunes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Pruner for Never {
    fn name(&self) -> &'static str {
        "none"
    }

    fn tell(&mut self, _: &Setting, _: &Trial) {}

    fn cutoffs(&mut self, _: &Setting, _: u64) -> Cutoffs {
        Cutoffs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_missed_at_their_step_alone() {
        let bars = Cutoffs(vec![
            Cutoff { step: 2, value: 0.5, best: false },
            Cutoff { step: 4, value: 0.7, best: true },
        ]);
        let reports = |values: &[f64]| -> Vec<Report> {
            values.iter().zip(1..).map(|(&value, step)| Report { step, value }).collect()
        };
        let missed = |values: &[f64]| bars.missed(Direction::Maximize, &reports(values)).map(|c| c.step);
        assert_eq!(missed(&[0.1]), None);
        assert_eq!(missed(&[0.9, 0.4]), Some(2));
        assert_eq!(missed(&[0.1, 0.5]), None);
        assert_eq!(missed(&[0.1, 0.5, 0.1]), None);
        assert_eq!(missed(&[0.8, 0.5, 0.1, 0.1]), None, "the best counts");
        assert_eq!(missed(&[0.6, 0.5, 0.1, 0.6]), Some(4));
        assert_eq!(missed(&[0.6, f64::NAN]), Some(2));
        assert_eq!(bars.missed(Direction::Minimize, &reports(&[0.9, 0.4])), None);
        assert_eq!(bars.missed(Direction::Minimize, &[]), None);
    }
}
