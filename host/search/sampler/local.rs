//! Local search (White et al. 2021, Exploring the Loss Landscape in Neural Architecture Search): try the neighbours of
//! the best point; move as soon as one is better; when none is, start again elsewhere.
//!
//! A climb starts from the best of a few random points. The neighbours of a point are those that differ in one parameter (see
//! `moves::neighbours`), tried in random order. A point is done when all of its neighbours were told, or as many trials as
//! it has neighbours went by without a better one. Then the search goes on around the best of the 4 best points ever that is not
//! done yet, since where results are noisy the best may be a lucky one. When all 4 are done a new climb starts; trials that
//! were asked for before that are not part of it.

use super::{Merit, Sampler, Seen, moves, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Neighbours along a continuous parameter.
const DRAWS: usize = 6;

/// The best points whose neighbours are tried before a restart.
const BEAM: usize = 4;

#[derive(Clone, Debug)]
struct Spot {
    merit: Merit,
    point: Point,
    done: bool,
}

/// Local search with restarts.
#[derive(Clone, Debug)]
pub struct LocalSearch {
    startup: usize,
    /// The first trial of this climb.
    since: u64,
    /// Trials with values in this climb.
    climbed: usize,
    /// Trials since the search came to the point where it is.
    idle: usize,
    /// Where the search is.
    centre: Option<(Merit, Point)>,
    /// Empty while the climb has not started.
    neighbours: Vec<Point>,
    /// The best ever, in order.
    top: Vec<Spot>,
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
            since: 0,
            climbed: 0,
            idle: 0,
            centre: None,
            neighbours: vec![],
            top: vec![],
            seen: Seen::default(),
        }
    }

    /// Neighbours that were not told.
    fn fresh(&self) -> impl Iterator<Item = &Point> {
        self.neighbours.iter().filter(|p| !self.seen.has(p))
    }

    fn is_done(&self) -> bool {
        self.idle >= self.neighbours.len() || self.fresh().next().is_none()
    }

    fn go_to(&mut self, setting: &Setting, merit: Merit, point: Point, rng: &mut Rng) {
        self.neighbours = moves::neighbours(&setting.space, &point, DRAWS, rng);
        self.centre = Some((merit, point));
        self.idle = 0;
    }
}

impl Sampler for LocalSearch {
    fn name(&self) -> &'static str {
        "local"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.seen.tell(setting, &trial.point);
        let merit = Merit::of(setting, trial);
        if merit.is_usable() {
            let at = self.top.partition_point(|s| s.merit.order(&merit).is_le());
            self.top.insert(at, Spot { merit, point: trial.point.clone(), done: false });
            self.top.truncate(BEAM);
        }
        if trial.number < self.since {
            return;
        }
        self.idle += 1;
        self.climbed += usize::from(merit.is_usable());
        if merit.is_usable() && self.centre.as_ref().is_none_or(|(m, _)| merit.order(m).is_lt()) {
            self.centre = Some((merit, trial.point.clone()));
            self.neighbours.clear();
        }
        if self.climbed < self.startup {
            return;
        }
        // The stream of the trial that is told, apart from those of trials that are asked for.
        let mut rng = Rng::new(!setting.seed, purpose::LOCAL, trial.number);
        if self.neighbours.is_empty()
            && let Some((merit, point)) = self.centre.clone()
        {
            self.go_to(setting, merit, point, &mut rng);
        }
        while self.is_done() {
            let centre = self.centre.take().map(|(_, point)| point);
            self.top.iter_mut().filter(|s| Some(&s.point) == centre.as_ref()).for_each(|s| s.done = true);
            let Some(next) = self.top.iter().find(|s| !s.done).cloned() else {
                // Trials that know of the restart: `visible(n) > trial.number`.
                self.since = trial.number + setting.lag.max(1);
                (self.climbed, self.idle) = (0, 0);
                self.neighbours.clear();
                return;
            };
            self.go_to(setting, next.merit, next.point, &mut rng);
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
