//! NSGA-II (Deb et al. 2002, A fast and elitist multiobjective genetic algorithm).
//!
//! A generation is as many told trials as the population is large. When one is complete, the best of it and of the population
//! before make the new population: by front, within a front by crowding distance. Parents are winners of tournaments of two
//! by the same order; a child takes each parameter from either of two parents and changes some.
//!
//! Only allowed points are proposed, so constraints need no ranking. Pruned trials come after complete ones, failed ones
//! never join. With one goal this is a genetic algorithm with elitism.

use super::{Merit, Sampler, Seen, moves, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting, pareto};

/// Children that are tried before a random point is taken.
const TRIES: usize = 64;

/// Probability that a child has two parents.
const CROSSOVER: f64 = 0.9;

#[derive(Clone, Debug)]
struct Member {
    merit: Merit,
    losses: Vec<f64>,
    point: Point,
}

/// NSGA-II.
#[derive(Clone, Debug)]
pub struct Nsga2 {
    size: usize,
    /// The best first.
    population: Vec<Member>,
    /// Told since the population was last renewed.
    generation: Vec<Member>,
    /// Trials of the generation, failed ones too.
    told: usize,
    seen: Seen,
}

impl Default for Nsga2 {
    /// A population of 20.
    fn default() -> Self {
        Nsga2::new(20)
    }
}

impl Nsga2 {
    /// A population (and generations) of `size` trials, at least 2.
    pub fn new(size: usize) -> Nsga2 {
        Nsga2 { size: size.max(2), population: vec![], generation: vec![], told: 0, seen: Seen::default() }
    }

    fn renew(&mut self) {
        let members = self.population.drain(..).chain(self.generation.drain(..));
        let (complete, pruned): (Vec<_>, Vec<_>) = members.partition(|m| m.merit.class() == 0);
        for class in [complete, pruned] {
            let losses: Vec<Vec<f64>> = class.iter().map(|m| m.losses.clone()).collect();
            self.population.extend(pareto::order(&losses).into_iter().map(|i| class[i].clone()));
        }
        self.population.truncate(self.size);
        self.told = 0;
    }

    /// The better of two members; the population is in order.
    fn parent(&self, rng: &mut Rng) -> &Point {
        let n = self.population.len();
        &self.population[rng.below(n).min(rng.below(n))].point
    }
}

impl Sampler for Nsga2 {
    fn name(&self) -> &'static str {
        "nsga2"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.seen.tell(setting, &trial.point);
        let merit = Merit::of(setting, trial);
        if merit.is_usable() {
            self.generation.push(Member { merit, losses: setting.losses(trial), point: trial.point.clone() });
        }
        self.told += 1;
        if self.told >= self.size {
            self.renew();
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let mut rng = Rng::new(setting.seed, purpose::NSGA2, number);
        if self.population.len() < 2 {
            return self.seen.draw(setting, &mut rng);
        }
        let space = &setting.space;
        for _ in 0..TRIES {
            let (a, b) = (self.parent(&mut rng), self.parent(&mut rng));
            let two = rng.uniform() < CROSSOVER;
            let mixed = Point(
                a.0.iter()
                    .zip(&b.0)
                    // Where one parent lacks a parameter that the child may have, the other's value serves.
                    .map(|(a, b)| if two && rng.u32() & 1 == 1 { b.or(*a) } else { a.or(*b) })
                    .collect(),
            );
            let mut child = space.mend(&mixed, &mut rng);
            // One change in the mean, and one at least in a child that is one of its parents.
            let present = child.0.iter().flatten().count().max(1);
            let changes = (0..present).filter(|_| rng.below(present) == 0).count();
            for _ in 0..changes.max(usize::from(child == *a || child == *b)) {
                child = moves::mutate(space, &child, &mut rng);
            }
            if space.check(&child).is_ok() && !self.seen.has(&child) {
                return Ok(child);
            }
        }
        self.seen.draw(setting, &mut rng)
    }
}
