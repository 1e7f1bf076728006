//! Local search (White et al. 2021, Exploring the Loss Landscape in Neural Architecture Search): try the neighbours of
//! the best point; move as soon as one is better; when none is, start again elsewhere.
//!
//! A climb starts from the best of a few random points. Its neighbours are all points that differ in one parameter (see
//! `moves::neighbours`), tried in random order. A climb is over when all of them were told, or as many trials as there are
//! neighbours went by without a better point (points that are no neighbours, or were told before, included). Then the next
//! climb starts; trials that were asked for before that are not part of it.

use super::{Merit, Sampler, Seen, moves, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Neighbours along a continuous parameter.
const DRAWS: usize = 6;

/// Local search with restarts.
#[derive(Clone, Debug)]
pub struct LocalSearch {
    startup: usize,
    /// Trials told.
    told: u64,
    /// The first trial of this climb.
    since: u64,
    /// Trials with values in this climb.
    climbed: usize,
    /// Trials since the best of the climb was found.
    idle: usize,
    best: Option<(Merit, Point)>,
    neighbours: Vec<Point>,
    seen: Seen,
}

impl Default for LocalSearch {
    /// Climbs start from the best of 10 random points.
    fn default() -> Self {
        LocalSearch::new(10)
    }
}

impl LocalSearch {
    /// Climbs that start from the best of `startup` random points, at least 1.
    pub fn new(startup: usize) -> LocalSearch {
        LocalSearch {
            startup: startup.max(1),
            told: 0,
            since: 0,
            climbed: 0,
            idle: 0,
            best: None,
            neighbours: vec![],
            seen: Seen::default(),
        }
    }

    fn fresh(&self) -> impl Iterator<Item = &Point> {
        self.neighbours.iter().filter(|p| !self.seen.has(p))
    }
}

impl Sampler for LocalSearch {
    fn name(&self) -> &'static str {
        "local"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.told = trial.number + 1;
        self.seen.tell(setting, &trial.point);
        if trial.number < self.since {
            return;
        }
        let merit = Merit::of(setting, trial);
        self.climbed += usize::from(merit.is_usable());
        self.idle += 1;
        if merit.is_usable() && self.best.as_ref().is_none_or(|(m, _)| merit.order(m).is_lt()) {
            self.best = Some((merit, trial.point.clone()));
            self.idle = 0;
            self.neighbours.clear();
        }
        let Some((_, point)) = &self.best else { return };
        if self.climbed < self.startup {
            return;
        }
        if self.neighbours.is_empty() {
            // The stream of the trial that is told, apart from those of trials that are asked for.
            let mut rng = Rng::new(!setting.seed, purpose::LOCAL, trial.number);
            self.neighbours = moves::neighbours(&setting.space, point, DRAWS, &mut rng);
            self.idle = 0;
        }
        if self.idle >= self.neighbours.len() || self.fresh().next().is_none() {
            // Trials that know of the restart: `visible(n) >= told`.
            self.since = self.told + setting.lag.max(1) - 1;
            (self.climbed, self.idle, self.best) = (0, 0, None);
            self.neighbours.clear();
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let mut rng = Rng::new(setting.seed, purpose::LOCAL, number);
        let fresh: Vec<&Point> = self.fresh().collect();
        match rng.pick(&fresh) {
            Some(&point) => Ok(point.clone()),
            None => self.seen.draw(setting, &mut rng),
        }
    }
}
