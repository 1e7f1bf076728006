//! Successive halving: of the trials that reach a rung, one in `reduction` goes on.
//!
//! Rungs are after `first, first * reduction, first * reduction^2, ..` steps, as long as that is less than a trial's steps.
//! With `n` values known at a rung, a trial goes on when its own is among the best `floor((n + 1) / reduction)` of the
//! `n + 1`; where that is none, every trial does. Nobody waits for a rung to fill (Li et al. 2018, A System for Massively
//! Parallel Hyperparameter Tuning: ASHA).
//!
//! - [`Asha`] compares with all trials so far.
//! - [`Halving`] compares with the newest `cohort` at the rung, as successive halving does with its own cohort (Jamieson and
//!   Talwalkar 2016); good where the sampler improves from cohort to cohort.
//! - [`Hyperband`](super::Hyperband) divides the trials among several brackets of this kind.

use std::collections::VecDeque;

use super::ordered::Ordered;
use super::{Cutoff, Cutoffs, Pruner, direction, worth};
use crate::search::Setting;
use crate::search::trial::Trial;

/// The rungs of one bracket.
#[derive(Clone, Debug)]
pub(super) struct Bracket {
    first: u64,
    reduction: u64,
    cohort: Option<usize>,
    rungs: Vec<Rung>,
}

#[derive(Clone, Debug, Default)]
struct Rung {
    losses: Ordered,
    /// In the order they came; kept with a cohort alone.
    newest: VecDeque<f64>,
}

impl Bracket {
    pub(super) fn new(first: u64, reduction: u64, cohort: Option<usize>) -> Bracket {
        Bracket { first: first.max(1), reduction: reduction.max(2), cohort, rungs: vec![] }
    }

    /// Steps of the rungs of trials of `steps` steps.
    pub(super) fn steps(&self, steps: u64) -> impl Iterator<Item = u64> {
        let next = |s: &u64| s.checked_mul(self.reduction);
        std::iter::successors(Some(self.first), next).take_while(move |s| *s < steps)
    }

    pub(super) fn tell(&mut self, setting: &Setting, trial: &Trial) {
        let steps: Vec<u64> = self.steps(setting.steps).collect();
        self.rungs.resize(steps.len(), Rung::default());
        for (rung, step) in self.rungs.iter_mut().zip(steps) {
            let Some(value) = trial.at(step).filter(|v| !v.is_nan()) else { continue };
            let loss = direction(setting).loss(value);
            rung.losses.insert(loss);
            if let Some(cohort) = self.cohort {
                rung.newest.push_back(loss);
                if rung.newest.len() > cohort
                    && let Some(oldest) = rung.newest.pop_front()
                {
                    rung.losses.remove(oldest);
                }
            }
        }
    }

    pub(super) fn cutoffs(&self, setting: &Setting) -> Cutoffs {
        let bar = |(rung, step): (&Rung, u64)| {
            let go_on = (rung.losses.len() + 1) / self.reduction as usize;
            let loss = rung.losses.nth(go_on.checked_sub(1)?)?;
            Some(Cutoff { step, value: worth(direction(setting), loss), best: false })
        };
        Cutoffs(self.rungs.iter().zip(self.steps(setting.steps)).filter_map(bar).collect())
    }
}

/// Asynchronous successive halving.
#[derive(Clone, Debug)]
pub struct Asha(Bracket);

impl Default for Asha {
    /// The first rung after 1 step, one in 3 goes on.
    fn default() -> Self {
        Asha::new(1, 3)
    }
}

impl Asha {
    /// The first rung is after `first` steps (at least 1); one in `reduction` (at least 2) goes on.
    pub fn new(first: u64, reduction: u64) -> Asha {
        Asha(Bracket::new(first, reduction, None))
    }
}

impl Pruner for Asha {
    fn name(&self) -> &'static str {
        "asha"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.0.tell(setting, trial);
    }

    fn cutoffs(&mut self, setting: &Setting, _: u64) -> Cutoffs {
        self.0.cutoffs(setting)
    }
}

/// Successive halving against the newest trials at each rung.
#[derive(Clone, Debug)]
pub struct Halving(Bracket);

impl Default for Halving {
    /// The first rung after 1 step, one in 3 goes on, cohorts of 27.
    fn default() -> Self {
        Halving::new(1, 3, 27)
    }
}

impl Halving {
    /// The first rung is after `first` steps (at least 1); one in `reduction` (at least 2) of `cohort` (at least as many) goes
    /// on.
    pub fn new(first: u64, reduction: u64, cohort: usize) -> Halving {
        Halving(Bracket::new(first, reduction, Some(cohort.max(reduction.max(2) as usize))))
    }
}

impl Pruner for Halving {
    fn name(&self) -> &'static str {
        "halving"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.0.tell(setting, trial);
    }

    fn cutoffs(&mut self, setting: &Setting, _: u64) -> Cutoffs {
        self.0.cutoffs(setting)
    }
}
