//! Regularised evolution (Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search, algorithm 1):
//! the population is the newest `population` trials, the parent the best of `sample` drawn from it with replacement, the child
//! its parent with one parameter changed. Trials leave by age, not by merit, so a lucky one does not stay.
//!
//! Failed trials never join. The first `population` trials are random.

use std::collections::VecDeque;

use super::{Merit, Sampler, Seen, moves, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Children that are tried before a random point is taken.
const TRIES: usize = 64;

/// Regularised evolution.
///
/// ```
/// use ironwarp::search::sampler::Evolution;
/// let evolution = Evolution::new(50, 10).without_duplicates();
/// ```
#[derive(Clone, Debug)]
pub struct Evolution {
    population: usize,
    sample: usize,
    duplicates: bool,
    members: VecDeque<(Merit, Point)>,
    seen: Seen,
}

impl Default for Evolution {
    /// 10 trials, parents the best of 5; duplicates are tried again, as in the paper.
    fn default() -> Self {
        Evolution::new(10, 5)
    }
}

impl Evolution {
    /// A population of `population` trials and parents that are the best of `sample`; each at least 1.
    pub fn new(population: usize, sample: usize) -> Evolution {
        Evolution {
            population: population.max(1),
            sample: sample.max(1),
            duplicates: true,
            members: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    /// The same, leaving out points of a finite space that were told. For objectives that give the same value each time.
    pub fn without_duplicates(self) -> Evolution {
        Evolution { duplicates: false, ..self }
    }
}

impl Sampler for Evolution {
    fn name(&self) -> &'static str {
        "evolution"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        if !self.duplicates {
            self.seen.tell(setting, &trial.point);
        }
        let merit = Merit::of(setting, trial);
        if merit.is_usable() {
            self.members.push_back((merit, trial.point.clone()));
            if self.members.len() > self.population {
                self.members.pop_front();
            }
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let mut rng = Rng::new(setting.seed, purpose::EVOLUTION, number);
        if self.members.len() < self.population {
            return self.seen.draw(setting, &mut rng);
        }
        for _ in 0..TRIES {
            let mut parent = &self.members[rng.below(self.members.len())];
            for _ in 1..self.sample {
                let rival = &self.members[rng.below(self.members.len())];
                if rival.0.order(&parent.0).is_lt() {
                    parent = rival;
                }
            }
            let child = moves::mutate(&setting.space, &parent.1, &mut rng);
            if setting.space.check(&child).is_ok() && !self.seen.has(&child) {
                return Ok(child);
            }
        }
        self.seen.draw(setting, &mut rng)
    }
}
