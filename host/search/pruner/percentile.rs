//! Stops trials whose best value so far is worse than that of most complete trials at the same step.
//!
//! The bar at a step is the percentile, linearly interpolated, of the values that complete trials reported at that step (as
//! numpy computes it); what counts is the best value that the trial has reported by then. There are no bars before `startup`
//! trials are complete, up to step `warmup`, and at the last step. NaNs are left out. Median pruning (Golovin et al. 2017,
//! Google Vizier) is the percentile 50.

use std::collections::BTreeMap;

use super::ordered::Ordered;
use super::{Cutoff, Cutoffs, Pruner, direction, worth};
use crate::search::Setting;
use crate::search::trial::{State, Trial};

/// Keeps trials that are among the best `percentile` per cent.
#[derive(Clone, Debug)]
pub struct Percentile {
    name: &'static str,
    percentile: f64,
    startup: u64,
    warmup: u64,
    complete: u64,
    /// The losses of complete trials, by step.
    steps: BTreeMap<u64, Ordered>,
}

impl Default for Percentile {
    /// The best quarter goes on, after 5 complete trials and 1 step.
    fn default() -> Self {
        Percentile::new(25.0, 5, 1)
    }
}

impl Percentile {
    /// The best `percentile` (0 to 100) per cent go on, once `startup` trials (at least 1) are complete, and after step
    /// `warmup`.
    pub fn new(percentile: f64, startup: u64, warmup: u64) -> Percentile {
        let percentile = if percentile.is_nan() { 100.0 } else { percentile.clamp(0.0, 100.0) };
        let name = "percentile";
        Percentile { name, percentile, startup: startup.max(1), warmup, complete: 0, steps: BTreeMap::new() }
    }
}

impl Pruner for Percentile {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        if trial.state != State::Complete {
            return;
        }
        self.complete += 1;
        for report in &trial.reports {
            if report.step > self.warmup && report.step < setting.steps && !report.value.is_nan() {
                let losses = self.steps.entry(report.step).or_default();
                losses.insert(direction(setting).loss(report.value));
            }
        }
    }

    fn cutoffs(&mut self, setting: &Setting, _: u64) -> Cutoffs {
        if self.complete < self.startup {
            return Cutoffs::default();
        }
        let bar = |(step, losses): (&u64, &Ordered)| {
            let value = worth(direction(setting), losses.percentile(self.percentile)?);
            Some(Cutoff { step: *step, value, best: true })
        };
        Cutoffs(self.steps.iter().filter_map(bar).collect())
    }
}

/// Keeps trials that are at least as good as the median.
#[derive(Clone, Debug)]
pub struct Median(Percentile);

impl Default for Median {
    /// After 5 complete trials and 1 step.
    fn default() -> Self {
        Median::new(5, 1)
    }
}

impl Median {
    /// Once `startup` trials (at least 1) are complete, and after step `warmup`.
    pub fn new(startup: u64, warmup: u64) -> Median {
        Median(Percentile { name: "median", ..Percentile::new(50.0, startup, warmup) })
    }
}

impl Pruner for Median {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.0.tell(setting, trial);
    }

    fn cutoffs(&mut self, setting: &Setting, number: u64) -> Cutoffs {
        self.0.cutoffs(setting, number)
    }
}
