//! Trials over networks: what a point of a [`NetworkSpace`] is worth, found by training it.
//!
//! On `cpu` each thread trains one network ([`Networks`] is an [`Objective`]); on devices that run kernels the trials that
//! may run at once are a population in training together ([`Networks::train`]), which shrinks at every rung as the pruner
//! takes networks out. Trial `n` is trained from the study's seed plus `n`; its numbers do not depend on how it ran.

use super::SearchError;
use super::architecture::Architecture;
use super::assess::learned;
use super::metric::Metric;
use super::population::{self, Candidate, Id, Population, Progress};
use super::space::Point;
use super::space::network::{self, NetworkSpace};
use super::study::{Failure, Objective, Running, Values, Verdict};
use crate::train::SharedData;

/// Networks to try, the data to try them on, and what to measure.
pub struct Networks {
    /// What points mean.
    pub space: NetworkSpace,
    /// Training and validation part, on the device.
    pub data: SharedData,
    /// One value each; the first is learned, and reported after each epoch.
    pub metrics: Vec<Metric>,
    /// Epochs of a trial that is not pruned.
    pub epochs: usize,
}

impl Networks {
    fn candidate(&self, trial: &Running) -> (Architecture, Candidate) {
        let architecture = self.space.decode(trial.point());
        let seed = trial.setting().seed.wrapping_add(trial.number());
        let options = architecture.options(self.epochs, seed);
        let candidate = Candidate { net: architecture.net.clone(), options };
        (architecture, candidate)
    }

    /// Epochs until the trial's next bar, counted from `done`.
    fn until_bar(&self, trial: &Running, done: usize) -> usize {
        let end = self.epochs as u64;
        let bar = trial.cutoffs().0.iter().map(|c| c.step.min(end)).find(|&step| step > done as u64);
        (bar.unwrap_or(end) as usize).saturating_sub(done)
    }

    /// Reports the epochs of `history` from `from` on.
    fn report(&self, trial: &mut Running, history: &[Progress], from: usize) -> Verdict {
        for progress in history.iter().skip(from) {
            trial.report(progress.epoch as u64, learned(self.metrics[0], progress));
        }
        trial.verdict()
    }

    /// The values of a trial whose last epoch is `progress`.
    fn values(&self, architecture: &Architecture, progress: &Progress) -> Result<Values, SearchError> {
        let value = |metric: &Metric| -> Result<f64, SearchError> {
            Ok(match metric {
                Metric::Parameters => architecture.parameters() as f64,
                Metric::Flop => architecture.flop() as f64,
                Metric::Memory => architecture.memory() as f64,
                Metric::Latency => match self.space.latency_in_force() {
                    Some(model) => model.seconds(architecture),
                    None => network::measure(self.data.device(), architecture)?,
                },
                Metric::Accuracy | Metric::R2 | Metric::Loss => learned(*metric, progress),
            })
        };
        self.metrics.iter().map(value).collect()
    }

    /// Records what is known of the network whatever becomes of it.
    fn describe(&self, trial: &mut Running, architecture: &Architecture) {
        trial.attribute("params", architecture.parameters() as f64);
        trial.attribute("flop", architecture.flop() as f64);
    }

    fn describe_end(&self, trial: &mut Running, progress: &Progress) {
        for (name, value) in [("train_loss", progress.train_loss), ("val_loss", progress.val_loss)] {
            if value.is_finite() {
                trial.attribute(name, value);
            }
        }
    }

    /// Trains the trials together, and ends each; those that are stopped wait to be tried again. `ended` is told of each
    /// one that is recorded.
    pub fn train(
        &self,
        trials: Vec<Running>,
        mut ended: impl FnMut(&super::trial::Trial),
    ) -> Result<(), SearchError> {
        struct Member {
            trial: Running,
            architecture: Architecture,
            id: Id,
            epochs: usize,
        }
        let mut end = |recorded: Option<super::trial::Trial>| {
            if let Some(trial) = &recorded {
                ended(trial);
            }
        };
        let mut population = Population::on(self.data.clone());
        let mut members = vec![];
        for mut trial in trials {
            let (architecture, candidate) = self.candidate(&trial);
            self.describe(&mut trial, &architecture);
            match population.add(candidate) {
                Ok(id) => members.push(Member { trial, architecture, id, epochs: 0 }),
                Err(failure) => end(trial.fail(failure.to_string())?),
            }
        }
        while !members.is_empty() {
            // All go on to the nearest bar of any, so that whoever misses it costs no more epoch.
            let epochs = members.iter().map(|m| self.until_bar(&m.trial, m.epochs)).min().unwrap_or(0);
            let ids: Vec<Id> = members.iter().map(|m| m.id).collect();
            let outcomes = population.advance(&ids, epochs);
            let mut going = vec![];
            for (mut member, outcome) in members.into_iter().zip(outcomes) {
                let progress = match outcome {
                    Ok(progress) => progress,
                    Err(population::Failure::Device(text)) => return Err(device_failed(text)),
                    Err(failure) => {
                        population.remove(member.id);
                        end(member.trial.fail(failure.to_string())?);
                        continue;
                    }
                };
                let history =
                    population.history(member.id).map_err(|e| SearchError::Options(e.to_string()))?;
                let verdict = self.report(&mut member.trial, history, member.epochs);
                member.epochs = progress.epoch;
                if verdict == Verdict::Stop {
                    member.trial.release()?;
                } else if verdict == Verdict::Prune || progress.epoch >= self.epochs {
                    self.describe_end(&mut member.trial, &progress);
                    let values = self.values(&member.architecture, &progress)?;
                    end(member.trial.finish(values)?);
                } else {
                    going.push(member);
                    continue;
                }
                population.remove(member.id);
            }
            members = going;
        }
        Ok(())
    }

    /// The architecture of a point.
    pub fn architecture(&self, point: &Point) -> Architecture {
        self.space.decode(point)
    }
}

impl Objective for Networks {
    fn run(&self, trial: &mut Running) -> Result<Values, Failure> {
        let (architecture, candidate) = self.candidate(trial);
        self.describe(trial, &architecture);
        let mut population = Population::on(self.data.clone()).threads(1);
        let failed = |failure: population::Failure| match failure {
            population::Failure::Device(text) => Failure::Fatal(device_failed(text)),
            other => Failure::Failed(other.to_string()),
        };
        let id = population.add(candidate).map_err(failed)?;
        for done in 0..self.epochs {
            let progress = population.advance(&[id], 1).remove(0).map_err(failed)?;
            let verdict = self.report(trial, population.history(id).map_err(failed)?, done);
            if verdict == Verdict::Stop {
                return Err(Failure::Stopped);
            }
            if verdict == Verdict::Prune || progress.epoch >= self.epochs {
                self.describe_end(trial, &progress);
                return Ok(self.values(&architecture, &progress)?);
            }
        }
        Err(Failure::Failed("no epochs to train for".into()))
    }
}

/// What a device says that no other trial would survive either.
fn device_failed(text: String) -> SearchError {
    SearchError::Device(crate::device::DeviceError::Driver(text))
}
