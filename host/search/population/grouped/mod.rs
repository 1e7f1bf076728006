//! Networks trained at once by grouped launches: how `sim` and `cuda` share themselves among larger networks.
//!
//! A step of all networks is a fixed number of launches ([`Grouped::launches`]), whatever their number: one gathers the
//! minibatches, at most two a level of depth multiply, one applies losses, and so on backward; one launch is the step of
//! all optimisers ([`ops::grouped`](crate::ops::grouped)). Networks differ in widths, depths, activations, dropout, skip
//! connections, losses, optimisers, rates, schedules, batches and seeds. Those with the same batch and seed share the gathered
//! minibatch, and their first layers are one wide product.
//!
//! What a network computes is what [`Trainer`](crate::train::Trainer) computes on the same device, operation for operation:
//! its parameters have the same bits where the trainer's sums are in the same order, and in any case they are the same bits
//! whatever else is in the population. The trainer's are in another order for minibatches of 512 rows and more (the sums of
//! a bias's gradient are cut into pieces), for products of a matrix by a vector (layers of one unit, minibatches of one
//! row), and for products that are few tiles with sums of 256 terms and more (K is split). Reported losses are sums in another
//! order than the trainer's.
//!
//! Networks with different numbers of steps an epoch begin their epochs together; who is done rests. A network that is
//! removed, has failed or is not asked to advance is in no table: tables are made for those that run, and made anew when these
//! change, so a pruner's survivors share the device alone. Memory of removed networks goes back to the device at once.

mod network;
mod program;

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Candidate, Failure, Id, Progress, Tensor};
use crate::data::permutation;
use crate::device::{Device, DeviceError};
use crate::graph::States;
use crate::nn::Norm;
use crate::ops::TensorType;
use crate::ops::grouped::Schedule;
use crate::ops::matmul::Precision;
use crate::train::{self, Model, SharedData};

use network::Network;
use program::{Member, Program};

/// Rows that an evaluation takes at once.
const EVALUATION_ROWS: usize = 256;
/// 32-bit words of live numbers uploaded at once.
const WINDOW: usize = 1 << 20;

/// Networks in training by grouped launches; see the module's docs.
pub struct Grouped {
    data: SharedData,
    networks: BTreeMap<Id, Network>,
    program: Option<Program>,
    /// Of each output, the sum of squared deviations of the validation targets from their mean; empty for classes.
    spread: Vec<f64>,
    next: u64,
}

impl Grouped {
    /// No networks yet, on data that is on a device that runs kernels. Error: the device is `cpu`.
    pub fn on(data: SharedData) -> Result<Grouped, Failure> {
        if !data.device().runs_kernels() {
            let text = "the cpu trains one network a core, not grouped launches; use Population";
            return Err(Failure::Invalid(text.into()));
        }
        let spread = data.validation().and_then(|v| v.values().map(|t| spread(t, v.rows())));
        Ok(Grouped {
            data,
            networks: BTreeMap::new(),
            program: None,
            spread: spread.unwrap_or_default(),
            next: 0,
        })
    }

    /// Whether a network can be trained here, in f32; those that cannot (with normalisation) are trained by the graph.
    pub fn supports(candidate: &Candidate) -> bool {
        candidate.options.precision == Precision::Fp32
            && candidate.net.layers.iter().all(|layer| layer.norm == Norm::None)
    }

    /// Number of networks.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether it has this network.
    pub fn contains(&self, id: Id) -> bool {
        self.networks.contains_key(&id)
    }

    fn device(&self) -> &Device {
        self.data.device()
    }

    /// Takes a network in, under the id that the population gives it. Errors: not supported; it does not fit options,
    /// data or memory.
    pub fn add(&mut self, candidate: Candidate) -> Result<Id, Failure> {
        let id = Id(self.next);
        self.insert(id, candidate)?;
        Ok(id)
    }

    /// As [`add`](Grouped::add), with a given id that is not taken.
    pub(super) fn insert(&mut self, id: Id, candidate: Candidate) -> Result<(), Failure> {
        if !Grouped::supports(&candidate) {
            let text =
                "layer and batch normalisation are not trained by grouped launches; train it by the graph";
            return Err(Failure::Invalid(text.into()));
        }
        let Candidate { net, options } = &candidate;
        options.validate()?;
        options.optimizer.check().map_err(train::TrainError::from)?;
        let loss = train::resolved_loss(options, self.data.train());
        let batch = train::resolved_batch(options, net, loss, &self.data)?;
        let evaluation = self.data.validation().map_or(0, |v| v.rows().min(EVALUATION_ROWS));
        let network = Network::new(
            self.device(),
            candidate.clone(),
            loss,
            batch,
            self.data.train().rows(),
            evaluation,
        )?;
        self.networks.insert(id, network);
        self.next = self.next.max(id.0 + 1);
        Ok(())
    }

    /// Trains each of the networks `epochs` more, all at once, but none past the end of its schedule: one that is there
    /// says its last epoch again. One outcome for each of `ids`, in their order; a network that is named twice advances once.
    pub fn advance(&mut self, ids: &[Id], epochs: usize) -> Vec<Result<Progress, Failure>> {
        for _ in 0..epochs {
            let able = |(id, network): (&Id, &Network)| {
                (ids.contains(id) && network.failed.is_none() && !network.finished()).then_some(*id)
            };
            let active: Vec<Id> = self.networks.iter().filter_map(able).collect();
            if active.is_empty() {
                break;
            }
            if let Err(error) = self.epoch(&active) {
                // What was under way on the device is lost for all that took part.
                let failure = Failure::from(error);
                self.program = None;
                for id in active {
                    self.fail(id, failure.clone());
                }
            }
        }
        ids.iter().map(|&id| self.outcome(id)).collect()
    }

    /// A network's last epoch. Errors: no such network; it failed.
    pub(super) fn outcome(&self, id: Id) -> Result<Progress, Failure> {
        let network = self.network(id)?;
        super::outcome(&network.failed, &network.history)
    }

    fn fail(&mut self, id: Id, failure: Failure) {
        if let Some(network) = self.networks.get_mut(&id) {
            network.fail(failure);
        }
        // Its tables name memory that is gone.
        self.program = None;
    }

    /// One epoch of the networks `ids`.
    fn epoch(&mut self, ids: &[Id]) -> Result<(), DeviceError> {
        let began = Instant::now();
        self.prepare(ids)?;
        let Some(program) = &mut self.program else { return Ok(()) };
        let device = self.data.device().clone();
        let members: Vec<&Network> = ids.iter().filter_map(|id| self.networks.get(id)).collect();
        let rows = self.data.train().rows();
        for shared in &mut program.shared {
            shared.order.upload(&permutation(rows, shared.seed, shared.epoch))?;
        }
        program.clear()?;
        let steps = members.iter().map(|n| n.per_epoch).max().unwrap_or(0);
        let window = (WINDOW / (members.len() * gpu_kernels::grouped::LIVE_WORDS)).max(1);
        for first in (0..steps).step_by(window) {
            let count = window.min(steps - first);
            let mut schedule = Schedule::new(count, members.len(), rows);
            for (slot, network) in members.iter().enumerate() {
                for at in 0..count.min(network.per_epoch.saturating_sub(first)) {
                    schedule.set(at, slot, &network.step(first + at))?;
                }
            }
            let live = schedule.upload(&device)?;
            for at in 0..count {
                program.step(&device, &live, at)?;
            }
        }
        let trained = program.totals()?;
        let mut evaluated = None;
        if let Some(validation) = self.data.validation() {
            program.clear()?;
            let rows = validation.rows();
            let live = program.evaluation_steps(&device, rows)?;
            for at in 0..rows.div_ceil(EVALUATION_ROWS.min(rows)) {
                program.evaluate(&device, &live, at)?;
            }
            evaluated = Some((program.totals()?, rows));
        }
        let seconds = began.elapsed().as_secs_f64();
        let work: f64 = members.iter().map(|n| n.work()).sum();
        let mut failures = vec![];
        for (slot, id) in ids.iter().enumerate() {
            let Some(network) = self.networks.get_mut(id) else { continue };
            let share = seconds * network.work() / work;
            let train_loss = f64::from(trained.sums[slot]) / rows as f64;
            if !train_loss.is_finite() {
                let (epoch, step) = (network.epoch + 1, (network.epoch + 1) * network.per_epoch);
                let failure = Failure::Diverged { step: step as u64, epoch, loss: train_loss as f32 };
                failures.push((*id, failure));
                continue;
            }
            let mut progress = Progress {
                epoch: network.epoch + 1,
                train_loss,
                val_loss: f64::NAN,
                val_accuracy: None,
                val_r2: None,
                seconds: share + network.history.last().map_or(0.0, |p| p.seconds),
            };
            if let Some((totals, rows)) = &evaluated {
                progress.val_loss = f64::from(totals.sums[slot]) / *rows as f64;
                if network.loss.takes_labels() {
                    progress.val_accuracy = Some(f64::from(totals.right[slot]) / *rows as f64);
                } else {
                    let r2 = r2(&totals.residuals[slot], &self.spread);
                    progress.val_r2 = (!r2.is_nan()).then_some(r2);
                }
            }
            network.epoch += 1;
            network.history.push(progress);
        }
        for (id, failure) in failures {
            self.fail(id, failure);
        }
        Ok(())
    }

    /// Makes the tables for `ids`, unless those of the last epoch will do.
    fn prepare(&mut self, ids: &[Id]) -> Result<(), DeviceError> {
        let mut keys: Vec<(u64, usize, u64)> = vec![];
        let members: Vec<Member> = ids
            .iter()
            .map(|&id| {
                let network = &self.networks[&id];
                let key = (network.candidate.options.seed, network.batch, network.epoch as u64);
                let shared = keys.iter().position(|&k| k == key).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                });
                Member { id, shared }
            })
            .collect();
        match &mut self.program {
            Some(program) if program.members == members => {}
            program => {
                // The old tables go first: their memory is the new ones'.
                *program = None;
                *program = Some(Program::new(&self.data, &self.networks, members, &keys)?);
            }
        }
        for (shared, &(seed, _, epoch)) in self.program.iter_mut().flat_map(|p| &mut p.shared).zip(&keys) {
            (shared.seed, shared.epoch) = (seed, epoch);
        }
        Ok(())
    }

    /// Forgets a network: its memory is free for others, and it is in no table any more.
    pub fn remove(&mut self, id: Id) {
        if self.networks.remove(&id).is_some() {
            self.program = None;
        }
    }

    fn network(&self, id: Id) -> Result<&Network, Failure> {
        self.networks.get(&id).ok_or(Failure::Unknown(id))
    }

    /// A network's epochs so far. Error: no such network.
    pub fn history(&self, id: Id) -> Result<&[Progress], Failure> {
        Ok(&self.network(id)?.history)
    }

    /// A network's trainable numbers as they are now, in order of definition. Errors: no such network; it failed.
    pub fn parameters(&self, id: Id) -> Result<Vec<Tensor>, Failure> {
        let network = self.network(id)?;
        match &network.failed {
            Some(failure) => Err(failure.clone()),
            None => Ok(network.parameters()?),
        }
    }

    /// A network as it is now. Errors: no such network; it failed; a parameter is not finite.
    pub fn model(&self, id: Id) -> Result<Model, Failure> {
        let network = self.network(id)?;
        let states = States::new(self.device());
        for tensor in self.parameters(id)? {
            if tensor.values.iter().any(|x| !x.is_finite()) {
                let step = (network.epoch * network.per_epoch) as u64;
                return Err(Failure::Diverged { step, epoch: network.epoch, loss: f32::NAN });
            }
            states.write(&tensor.name, &TensorType::f32(tensor.shape), &tensor.values)?;
        }
        let Candidate { net, options } = &network.candidate;
        Ok(Model {
            net: net.clone(),
            loss: network.loss,
            options: options.clone(),
            preprocessing: self.data.train().preprocessing().cloned(),
            states,
            history: super::records(&network.history, &self.data, options, network.batch),
        })
    }

    /// Launches of one training step of the networks that advanced last; 0 before.
    pub fn launches(&self) -> usize {
        self.program.as_ref().map_or(0, Program::launches)
    }

    /// Bytes of the tables of the networks that advanced last; 0 before.
    pub fn table_bytes(&self) -> usize {
        self.program.as_ref().map_or(0, Program::bytes)
    }
}

/// Of each of `targets`' columns, the sum of squared deviations from the mean.
fn spread(targets: &[f32], rows: usize) -> Vec<f64> {
    let width = targets.len() / rows;
    let column = |k: usize| targets.iter().skip(k).step_by(width).map(|&t| f64::from(t));
    (0..width)
        .map(|k| {
            let mean = column(k).sum::<f64>() / rows as f64;
            column(k).map(|t| (t - mean) * (t - mean)).sum()
        })
        .collect()
}

/// Coefficient of determination, averaged over outputs.
fn r2(residuals: &[f32], spread: &[f64]) -> f64 {
    let each = residuals.iter().zip(spread).map(|(&r, s)| 1.0 - f64::from(r) / s);
    each.sum::<f64>() / spread.len() as f64
}
