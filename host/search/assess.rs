//! How good an architecture is, measured apart from the search that found it.
//!
//! The best of many noisy validation numbers flatters itself. So the search's finalists are compared once more by
//! cross-validation over everything the search may see ([`cross_validate`]), and the winner's number for the world comes
//! from training it anew, from several seeds, and testing it on rows that nothing was selected on ([`test()`]).

use super::architecture::Architecture;
use super::estimate::Estimate;
use super::metric::Metric;
use super::population::{Candidate, Failure, Id, Population, Progress};
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::train::{Evaluation, Model, TrainError};

/// What [`cross_validate`] finds of one architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidation {
    /// The metric on each fold.
    pub metric: Estimate,
    /// The mean loss on each fold.
    pub loss: Estimate,
}

/// The learned metric of an epoch; NaN where it has none.
pub fn learned(metric: Metric, progress: &Progress) -> f64 {
    match metric {
        Metric::Accuracy => progress.val_accuracy.unwrap_or(f64::NAN),
        Metric::R2 => progress.val_r2.unwrap_or(f64::NAN),
        _ => progress.val_loss,
    }
}

/// Trains each architecture on each fold's training part, `epochs` long, and measures it on the part held out; all
/// architectures of a fold at once. One outcome for each architecture: a failure on one fold is the architecture's.
/// `stop` is asked between the folds; `None` when it said so.
pub fn cross_validate(
    device: &Device,
    architectures: &[Architecture],
    folds: &[Split],
    metric: Metric,
    epochs: usize,
    seed: u64,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Result<CrossValidation, Failure>>>, TrainError> {
    // Values and losses of each architecture.
    type Measured = (Vec<f64>, Vec<f64>);
    let mut outcomes: Vec<Result<Measured, Failure>> =
        architectures.iter().map(|_| Ok((vec![], vec![]))).collect();
    for (number, fold) in folds.iter().enumerate() {
        if stop() {
            return Ok(None);
        }
        let mut population = Population::new(device, &fold.train, &fold.test)?;
        let runs = architectures.iter().map(|a| (a, seed.wrapping_add(number as u64)));
        for (outcome, run) in outcomes.iter_mut().zip(run_all(&mut population, runs, epochs)) {
            match (&mut *outcome, run) {
                (Ok((values, losses)), Ok((_, progress))) => {
                    values.push(learned(metric, &progress));
                    losses.push(progress.val_loss);
                }
                (Ok(_), Err(failure)) => *outcome = Err(failure),
                (Err(_), _) => {}
            }
        }
    }
    let estimates = |(values, losses): Measured| {
        let none = || Failure::Invalid("there are no folds to measure on".into());
        Ok(CrossValidation {
            metric: Estimate::of(values).ok_or_else(none)?,
            loss: Estimate::of(losses).ok_or_else(none)?,
        })
    };
    Ok(Some(outcomes.into_iter().map(|outcome| outcome.and_then(estimates)).collect()))
}

/// An architecture trained anew and tested.
pub struct Tested {
    /// The metric on the test part, one value a seed.
    pub metric: Estimate,
    /// The model of the first seed.
    pub model: Model,
    /// The first seed's model on the test part.
    pub evaluation: Evaluation,
}

/// Trains the architecture on `train` from each of the seeds `seed..seed + seeds`, and tests each model once, at the
/// end, on `test`. Errors: it fails from one of the seeds; the device fails.
pub fn test(
    device: &Device,
    architecture: &Architecture,
    (train, test): (&Dataset, &Dataset),
    metric: Metric,
    epochs: usize,
    (seed, seeds): (u64, u64),
) -> Result<Tested, TrainError> {
    let mut population = Population::new(device, train, test)?;
    let runs = (0..seeds.max(1)).map(|i| (architecture, seed.wrapping_add(i)));
    let mut values = vec![];
    let mut first = None;
    for run in run_all(&mut population, runs, epochs) {
        let failed = |failure: Failure| TrainError::Mismatch(format!("{architecture}: {failure}"));
        let (id, progress) = run.map_err(failed)?;
        values.push(learned(metric, &progress));
        first.get_or_insert(id);
    }
    let (Some(metric), Some(first)) = (Estimate::of(values), first) else {
        unreachable!("at least one seed")
    };
    let model = population.model(first).map_err(|e| TrainError::Mismatch(format!("{architecture}: {e}")))?;
    let evaluation = model.evaluate(test)?;
    Ok(Tested { metric, model, evaluation })
}

/// Adds (architecture, seed) runs to the population and trains them to their end.
fn run_all<'a>(
    population: &mut Population,
    runs: impl Iterator<Item = (&'a Architecture, u64)>,
    epochs: usize,
) -> Vec<Result<(Id, Progress), Failure>> {
    let added: Vec<Result<Id, Failure>> = runs
        .map(|(architecture, seed)| {
            let options = architecture.options(epochs, seed);
            population.add(Candidate { net: architecture.net.clone(), options })
        })
        .collect();
    let ids: Vec<Id> = added.iter().filter_map(|id| id.as_ref().ok().copied()).collect();
    let mut advanced = population.advance(&ids, epochs).into_iter();
    let run = |id: Result<Id, Failure>| {
        let id = id?;
        let progress = advanced.next().ok_or(Failure::Unknown(id))??;
        Ok((id, progress))
    };
    added.into_iter().map(run).collect()
}
