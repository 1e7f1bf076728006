//! The tree-structured Parzen estimator, multivariate (Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization;
//! the joint kernels of Falkner et al. 2018, BOHB).
//!
//! The told trials are split into good and bad. Over each part lies a mixture of kernels, `l` over
//! the good and `g` over the bad: one kernel a trial, a product over all parameters at once, and one that is the prior.
//! Candidates are drawn from `l`; the one with the largest `l / g` is proposed, which is the one with the largest expected
//! improvement.
//!
//! - **Good** are the best `ceil(part * n)` of `n` trials, at most 25. One goal: complete trials by their loss, then pruned ones,
//!   those that came further first. Several goals: complete trials by front, then by crowding distance (in the manner of
//!   Ozaki et al. 2020, MOTPE), then the pruned ones likewise. Failed trials are bad.
//! - **Bad** are those of the newest 256 trials that are not good.
//! - **Bounded**: the best 25 trials ever (64 with several goals, ranked among themselves) and the newest 256 are all that is
//!   kept, so a suggestion costs the same after 100,000 trials as after 300.
//! - **Conditions**: a candidate follows one kernel from the first parameter to the last; where the candidate has a parameter
//!   that the kernel's trial lacks, the kernel is the prior there. A density over the tree, which sums to 1.
//! - **Finite spaces**: points that were told are not proposed again, as long as others are found.

use std::collections::VecDeque;

use super::{Merit, Sampler, Seen, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting, pareto};
use kernels::Kernels;

mod kernels;

/// Most trials that are good.
const MOST_GOOD: usize = 25;

/// Trials that compete to be good when there are several goals.
const ARCHIVE: usize = 64;

/// Newest trials that are kept.
const RECENT: usize = 256;

/// Rounds of candidates before a point that was told is proposed again.
const ROUNDS: usize = 4;

/// What is kept of a trial.
#[derive(Clone, Debug)]
struct Observed {
    number: u64,
    merit: Merit,
    losses: Vec<f64>,
    point: Point,
}

/// The multivariate tree-structured Parzen estimator.
#[derive(Clone, Debug)]
pub struct Tpe {
    startup: usize,
    candidates: usize,
    part: f64,
    /// The best first.
    best: Vec<Observed>,
    /// The newest last.
    recent: VecDeque<Observed>,
    /// Trials that have values.
    usable: usize,
    seen: Seen,
}

impl Default for Tpe {
    /// 10 random trials first, 24 candidates, the best tenth is good.
    fn default() -> Self {
        Tpe::new(10, 24, 0.1)
    }
}

impl Tpe {
    /// The first `startup` trials are random; then the best of `candidates` is proposed, with the best `part` (0 to 1) of the
    /// trials as the good ones.
    pub fn new(startup: usize, candidates: usize, part: f64) -> Tpe {
        Tpe {
            startup: startup.max(2),
            candidates: candidates.max(1),
            part,
            best: vec![],
            recent: VecDeque::new(),
            usable: 0,
            seen: Seen::default(),
        }
    }

    /// Trials that are kept, and keys of told points: what the memory and the time of a suggestion depend on.
    pub fn kept(&self) -> (usize, usize) {
        (self.best.len() + self.recent.len(), self.seen.len())
    }

    fn rank(&mut self, goals: usize) {
        if goals == 1 {
            self.best.sort_by(|a, b| a.merit.order(&b.merit).then(a.number.cmp(&b.number)));
            self.best.truncate(MOST_GOOD);
            return;
        }
        // Ranked within its class: complete, pruned.
        let (mut complete, mut pruned): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.best).into_iter().partition(|o| o.merit.class() == 0);
        for class in [&mut complete, &mut pruned] {
            let losses: Vec<Vec<f64>> = class.iter().map(|o| o.losses.clone()).collect();
            self.best.extend(pareto::order(&losses).into_iter().map(|i| class[i].clone()));
        }
        self.best.truncate(ARCHIVE);
    }
}

impl Sampler for Tpe {
    fn name(&self) -> &'static str {
        "tpe"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.seen.tell(setting, &trial.point);
        let observed = Observed {
            number: trial.number,
            merit: Merit::of(setting, trial),
            losses: setting.losses(trial),
            point: trial.point.clone(),
        };
        if observed.merit.is_usable() {
            self.usable += 1;
            self.best.push(observed.clone());
            self.rank(setting.goals.len());
        }
        self.recent.push_back(observed);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let mut rng = Rng::new(setting.seed, purpose::TPE, number);
        if self.usable < self.startup {
            return self.seen.draw(setting, &mut rng);
        }
        let most = ((self.part * self.usable as f64).ceil() as usize).clamp(1, MOST_GOOD);
        let good = &self.best[..most.min(self.best.len())];
        let is_bad = |o: &&Observed| good.iter().all(|g| g.number != o.number);
        let space = &setting.space;
        let bad = Kernels::new(space, self.recent.iter().filter(is_bad).map(|o| &o.point));
        let good = Kernels::new(space, good.iter().map(|o| &o.point));
        let mut best: Option<(f64, Point)> = None;
        for _ in 0..ROUNDS {
            for _ in 0..self.candidates {
                let point = good.draw(space, &mut rng);
                if self.seen.has(&point) || space.check(&point).is_err() {
                    continue;
                }
                let score = good.log_density(space, &point) - bad.log_density(space, &point);
                if best.as_ref().is_none_or(|(s, _)| score > *s) {
                    best = Some((score, point));
                }
            }
            if let Some((_, point)) = best {
                return Ok(point);
            }
        }
        self.seen.draw(setting, &mut rng)
    }
}
