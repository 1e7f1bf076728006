//! What a search found: the finalists, how they are compared, and the test of the winner.
//!
//! The best trials' networks are cross-validated over the whole search part, in rounds: each adds a seed, and the better half
//! goes on to the next. What is tested is tested on rows that nothing was selected on.

use super::architecture::Architecture;
use super::assess::{self, CrossValidation, Tested};
use super::estimate::Estimate;
use super::metric::Metric;
use super::space::network::NetworkSpace;
use super::study::{Study, Summary};
use super::trial::{State, Trial};
use super::{SearchError, baseline};
use crate::data::Dataset;
use crate::device::Device;

/// Folds that the finalists are compared on.
const FOLDS: usize = 5;

/// A network that cross-validation measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalist {
    /// The trial that it was.
    pub trial: u64,
    /// The network and its recipe.
    pub architecture: Architecture,
    /// Its figures over the folds of the search part, for each round one after the other.
    pub cross: CrossValidation,
    /// Rounds that it was in: times that each fold was trained on, each from another seed.
    pub rounds: usize,
}

impl Finalist {
    /// Adds a round.
    fn add(&mut self, cross: CrossValidation) {
        let join = |a: &Estimate, b: Estimate| Estimate::of([a.values.clone(), b.values].concat());
        let metric = join(&self.cross.metric, cross.metric);
        let loss = join(&self.cross.loss, cross.loss);
        if let (Some(metric), Some(loss)) = (metric, loss) {
            self.cross = CrossValidation { metric, loss };
            self.rounds += 1;
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Every trial.
    pub study: Study,
    /// What this run did.
    pub summary: Summary,
    /// What was optimised.
    pub metrics: Vec<Metric>,
    /// What points mean.
    pub space: NetworkSpace,
    /// Epochs of the finalists' and the winner's training.
    pub final_epochs: usize,
    /// Key of every random number.
    pub seed: u64,
    /// Rows that trials were trained on.
    pub rows: usize,
    /// The best trials' networks, best first; none when the search was stopped.
    pub finalists: Vec<Finalist>,
    /// The first finalist.
    pub best: Option<Finalist>,
}

impl Found {
    /// The distinct networks of the `most` best complete trials, and of the Pareto front when there are several goals (its
    /// best in the first goal, as many again).
    pub(super) fn candidates(&self, most: usize) -> Result<Vec<(u64, Architecture)>, SearchError> {
        let setting = self.study.setting();
        let mut trials: Vec<Trial> =
            self.study.trials()?.into_iter().filter(|t| t.state == State::Complete).collect();
        // Of trials with the same accuracy (there are few validation rows) the one with the lower loss is likely better.
        let key = |t: &Trial| {
            let loss = t.attributes.get("val_loss").copied().unwrap_or(f64::INFINITY);
            (setting.losses(t)[0], loss)
        };
        let order = |a: &Trial, b: &Trial| {
            let ((a0, a1), (b0, b1)) = (key(a), key(b));
            a0.total_cmp(&b0).then(a1.total_cmp(&b1)).then(a.number.cmp(&b.number))
        };
        trials.sort_by(order);
        let mut front = if setting.goals.len() > 1 { self.study.front()? } else { vec![] };
        front.sort_by(order);
        let mut chosen: Vec<(u64, Architecture)> = vec![];
        for list in [&trials, &front] {
            let before = chosen.len();
            for trial in list {
                if chosen.len() == before + most {
                    break;
                }
                let architecture = self.space.decode(&trial.point);
                if chosen.iter().all(|(_, known)| known.hash() != architecture.hash()) {
                    chosen.push((trial.number, architecture));
                }
            }
        }
        let default = trials
            .iter()
            .find(|t| t.number == 0)
            .filter(|t| baseline::point_in(&self.space, self.rows).is_some_and(|point| point == t.point));
        if let Some(trial) = default.filter(|_| chosen.iter().all(|(number, _)| *number != 0)) {
            chosen.push((0, self.space.decode(&trial.point)));
        }
        Ok(chosen)
    }

    /// Cross-validates the candidates in rounds: each adds a seed, and the better half goes on to the next.
    pub(super) fn compare(
        &mut self,
        device: &Device,
        data: &Dataset,
        candidates: Vec<(u64, Architecture)>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), SearchError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let folds = data.folds(FOLDS.min(data.rows()), self.seed)?;
        let metric = self.metrics[0];
        let direction = metric.direction();
        let mut finalists: Vec<Finalist> = vec![];
        let mut going: Vec<(u64, Architecture)> = candidates;
        for round in 0.. {
            let architectures: Vec<Architecture> = going.iter().map(|(_, a)| a.clone()).collect();
            let seed = self.seed.wrapping_add(round * folds.len() as u64);
            let epochs = self.final_epochs;
            let measured =
                assess::cross_validate(device, &architectures, &folds, metric, epochs, seed, stop)?;
            let Some(outcomes) = measured else { return Ok(()) };
            for ((trial, architecture), outcome) in going.into_iter().zip(outcomes) {
                let known = finalists.iter().position(|f| f.trial == trial);
                match (known, outcome) {
                    (None, Ok(cross)) => finalists.push(Finalist { trial, architecture, cross, rounds: 1 }),
                    (Some(i), Ok(cross)) => finalists[i].add(cross),
                    // A network that fails from one seed is not to be relied on.
                    (Some(i), Err(_)) => drop(finalists.remove(i)),
                    (None, Err(_)) => {}
                }
            }
            let key = |f: &Finalist| (direction.loss(f.cross.metric.mean), f.cross.loss.mean);
            finalists.sort_by(|a, b| {
                let ((a0, a1), (b0, b1)) = (key(a), key(b));
                b.rounds.cmp(&a.rounds).then(a0.total_cmp(&b0)).then(a1.total_cmp(&b1))
            });
            let last = finalists.iter().filter(|f| f.rounds == round as usize + 1).count();
            if last < 2 {
                break;
            }
            let half = last.div_ceil(2);
            going = finalists.iter().take(half).map(|f| (f.trial, f.architecture.clone())).collect();
        }
        self.best = finalists.first().cloned();
        self.finalists = finalists;
        Ok(())
    }

    /// Trains an architecture on `train`, from as many seeds as `repeats`, and measures it on `test`: parts of which the search has
    /// seen the first alone.
    pub fn test(
        &self,
        device: &Device,
        architecture: &Architecture,
        parts: (&Dataset, &Dataset),
        repeats: u64,
    ) -> Result<Tested, SearchError> {
        let seeds = (self.seed, repeats);
        Ok(assess::test(device, architecture, parts, self.metrics[0], self.final_epochs, seeds)?)
    }

    /// The same of the [`baseline::network`], with the length it has.
    pub fn baseline(
        &self,
        device: &Device,
        parts: (&Dataset, &Dataset),
        repeats: u64,
    ) -> Result<Tested, SearchError> {
        let train = parts.0;
        let architecture = baseline::network(train.features().cols, train.outputs(), train.rows());
        let (epochs, seeds) = (baseline::epochs(), (self.seed, repeats));
        Ok(assess::test(device, &architecture, parts, self.metrics[0], epochs, seeds)?)
    }
}
