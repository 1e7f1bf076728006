//! Networks that fit on a chip: one block each, all in one launch (`ops::population`).
//!
//! A network's parameters and moments rest in device memory of its own between launches. A launch has a table of the
//! networks that advance and of nothing else, so those that were removed or failed cost nothing: there is no hole to close.

use std::collections::HashMap;
use std::time::Instant;

use super::{Candidate, Failure, Progress};
use crate::data::permutation;
use crate::device::{Buffer, Device, DeviceError};
use crate::nn::{DROPOUT_STREAM, Mlp, Norm};
use crate::ops::optim::Optimizer;
use crate::ops::population::{self as op, DenseSpec, Job, Objective, Part, Placed, Record, Spec, Tables};
use crate::train::{Loss, SharedData};

/// Bytes of permutations that a launch brings along at most: where there are more, `advance` takes several launches.
const ORDERS: usize = 256 << 20;

/// A network on the chip.
pub(super) struct OnChip {
    placed: Placed,
    loss: Loss,
    batch: usize,
    /// Parameters and moments, made when the network first advances.
    state: Option<Buffer<f32>>,
    epoch: usize,
}

/// One network of an `advance`: what it is, and where its epochs go.
pub(super) struct Entry<'a> {
    pub candidate: &'a Candidate,
    pub chip: &'a mut OnChip,
    pub history: &'a mut Vec<Progress>,
    pub failed: &'a mut Option<Failure>,
    pub seconds: &'a mut f64,
}

impl OnChip {
    /// The network in a block's shared memory, if it fits there.
    pub fn place(device: &Device, candidate: &Candidate, loss: Loss, batch: usize) -> Option<OnChip> {
        let Candidate { net, options } = candidate;
        if net.layers.iter().any(|layer| layer.norm != Norm::None) {
            return None;
        }
        let dense = |(i, layer): (usize, &crate::nn::Dense)| DenseSpec {
            units: layer.units,
            activation: layer.activation,
            dropout: layer.dropout,
            stream: DROPOUT_STREAM + i as u32,
            skip: layer.skip,
        };
        let spec = Spec {
            inputs: net.inputs,
            layers: net.layers.iter().enumerate().map(dense).collect(),
            batch,
            objective: match loss {
                Loss::CrossEntropy { smoothing } => Objective::CrossEntropy { smoothing },
                Loss::BceWithLogits => Objective::Bce,
                Loss::Mse => Objective::Mse,
                Loss::Mae => Objective::Mae,
                Loss::Huber { delta } => Objective::Huber { delta },
            },
            optimizer: options.optimizer,
            clip_norm: options.clip_norm,
            seed: options.seed,
        };
        let placed = spec.place(device.shared_memory_limit()).ok()?;
        Some(OnChip { placed, loss, batch, state: None, epoch: 0 })
    }

    /// Parameters as they are now, in order of definition; those of the initialiser before the first advance.
    pub fn parameters(&self, candidate: &Candidate) -> Result<Vec<f32>, DeviceError> {
        let mut values = match &self.state {
            Some(state) => state.to_vec()?,
            None => initial(&candidate.net, candidate.options.seed),
        };
        values.truncate(candidate.net.parameter_count());
        Ok(values)
    }

    fn state(&mut self, device: &Device, candidate: &Candidate) -> Result<&mut Buffer<f32>, DeviceError> {
        match &mut self.state {
            Some(state) => Ok(state),
            empty => {
                let mut values = initial(&candidate.net, candidate.options.seed);
                values.resize(self.placed.state_len(), 0.0);
                Ok(empty.insert(device.buffer(&values)?))
            }
        }
    }
}

/// The network's first parameters: the bits that [`Mlp::init_graph`] gives.
fn initial(net: &Mlp, seed: u64) -> Vec<f32> {
    let mut values = Vec::with_capacity(net.parameter_count());
    for (stream, p) in net.parameters().iter().enumerate() {
        let at = values.len();
        values.resize(at + p.shape.iter().product::<usize>(), 0.0);
        p.init.distribution(p.fan_in, p.fan_out).fill(&mut values[at..], seed, stream as u32);
    }
    values
}

/// Both parts of the data, as the kernel takes them.
pub(super) struct Parts {
    train: Part,
    validation: Option<Part>,
    /// Of each number to predict: its sum of squares about the mean over the validation part.
    variances: Vec<f64>,
}

impl Parts {
    pub fn of(data: &SharedData) -> Result<Parts, DeviceError> {
        let part = |rows, x, y| Ok::<_, DeviceError>(Part { rows, x: data.slot(x)?, y: data.slot(y)? });
        let train = part(data.train().rows(), "train.x", "train.y")?;
        let validation = data.validation().map(|v| part(v.rows(), "val.x", "val.y")).transpose()?;
        let variances = data.validation().and_then(|v| v.values().map(|t| (t, v.rows()))).map(|(t, rows)| {
            let width = t.len() / rows.max(1);
            let column = |k| t.iter().skip(k).step_by(width.max(1)).map(|&x| f64::from(x));
            let variance = |k| {
                let mean = column(k).sum::<f64>() / rows as f64;
                column(k).map(|x| (x - mean) * (x - mean)).sum::<f64>()
            };
            (0..width).map(variance).collect()
        });
        Ok(Parts { train, validation, variances: variances.unwrap_or_default() })
    }

    /// An epoch of a network as its record says; `seconds` so far.
    fn progress(&self, chip: &OnChip, record: &Record, epoch: usize, seconds: f64) -> Progress {
        let rows = self.validation.map_or(0, |v| v.rows);
        let mean = |sum: f32, rows: usize| f64::from(sum) / rows as f64;
        let classes = chip.loss.takes_labels();
        let accuracy = (classes && rows > 0).then(|| f64::from(record.right) / rows as f64);
        let errors = record.squared_errors.iter().zip(&self.variances);
        let r2 = errors.map(|(&error, variance)| 1.0 - f64::from(error) / variance).sum::<f64>();
        let r2 = (!classes && rows > 0).then(|| r2 / self.variances.len() as f64).filter(|r| !r.is_nan());
        Progress {
            epoch,
            train_loss: mean(record.train_loss, self.train.rows),
            val_loss: if rows > 0 { mean(record.validation_loss, rows) } else { f64::NAN },
            val_accuracy: accuracy,
            val_r2: r2,
            seconds,
        }
    }
}

/// Trains all entries `epochs` more, or as many as their schedules have left, in one launch (more where the permutations
/// would not fit into memory).
pub(super) fn advance(device: &Device, parts: &Parts, mut entries: Vec<Entry<'_>>, epochs: usize) {
    let seeds: std::collections::HashSet<u64> = entries.iter().map(|e| e.candidate.options.seed).collect();
    let per_epoch = 4 * parts.train.rows * seeds.len().max(1);
    let most = (ORDERS / per_epoch.max(1)).max(1);
    let mut left = epochs;
    while left > 0 {
        let now = left.min(most);
        entries.retain(|e| e.failed.is_none() && e.chip.epoch < e.candidate.options.epochs);
        if entries.is_empty() {
            return;
        }
        if let Err(error) = launch(device, parts, &mut entries, now) {
            // Which of them is to blame cannot be told; none has a state that is known.
            let failure = Failure::from(error);
            entries.iter_mut().for_each(|e| *e.failed = Some(failure.clone()));
        }
        left -= now;
    }
}

/// One launch for all entries, which all have an epoch left.
fn launch(
    device: &Device,
    parts: &Parts,
    entries: &mut [Entry<'_>],
    epochs: usize,
) -> Result<(), DeviceError> {
    let began = Instant::now();
    let rows = parts.train.rows;
    let epochs_of = |e: &Entry<'_>| epochs.min(e.candidate.options.epochs - e.chip.epoch);
    // Most work first: the last blocks to start are then short ones.
    let work = |e: &Entry<'_>| e.candidate.net.parameter_count() * epochs_of(e);
    entries.sort_by_key(|e| std::cmp::Reverse(work(e)));
    let total: f64 = entries.iter().map(|e| work(e) as f64).sum();

    let (mut orders, mut hyper, mut records) = (vec![], vec![], 0);
    // Networks of one seed see the rows in the same order.
    let mut known: HashMap<(u64, usize, usize), usize> = HashMap::new();
    let mut places = vec![];
    for e in entries.iter() {
        let (options, first, count) = (&e.candidate.options, e.chip.epoch, epochs_of(e));
        let order = *known.entry((options.seed, first, count)).or_insert_with(|| {
            let at = orders.len();
            (first..first + count)
                .for_each(|epoch| orders.extend(permutation(rows, options.seed, epoch as u64)));
            at
        });
        let steps = rows.div_ceil(e.chip.batch) as u64;
        places.push((order, hyper.len(), records));
        for step in first as u64 * steps..(first + count) as u64 * steps {
            let rate = options.rate(step, steps);
            hyper.extend(Optimizer::hyper(&options.optimizer, step + 1, rate));
        }
        records += count * e.chip.placed.record_len();
    }
    let (orders, hyper) = (device.buffer(&orders)?, device.buffer(&hyper)?);
    let mut written = device.buffer(&vec![0u32; records])?;
    {
        let mut jobs = Vec::with_capacity(entries.len());
        for (e, &(order, hyper, record)) in entries.iter_mut().zip(&places) {
            let epochs = epochs.min(e.candidate.options.epochs - e.chip.epoch);
            let step = e.chip.epoch as u64 * rows.div_ceil(e.chip.batch) as u64;
            e.chip.state(device, e.candidate)?;
            let OnChip { placed, state: Some(state), .. } = &mut *e.chip else { continue };
            jobs.push(Job { placed, state, step, epochs, order, hyper, record });
        }
        let tables = Tables { orders: &orders, hyper: &hyper, records: &mut written };
        op::train(device, parts.train, parts.validation, &mut jobs, tables)?;
    }
    let words = written.to_vec()?;
    let seconds = began.elapsed().as_secs_f64();
    for (e, &(_, _, record)) in entries.iter_mut().zip(&places) {
        let count = epochs.min(e.candidate.options.epochs - e.chip.epoch);
        let share = seconds * work(e) as f64 / total.max(1.0);
        let length = e.chip.placed.record_len();
        for (k, words) in words[record..record + count * length].chunks_exact(length).enumerate() {
            let record = Record::of(&e.chip.placed, words);
            let epoch = e.chip.epoch + 1;
            if let Some((step, loss)) = record.diverged {
                *e.failed = Some(Failure::Diverged { step, epoch, loss });
                e.chip.state = None;
                break;
            }
            let so_far = *e.seconds + share * (k + 1) as f64 / count as f64;
            let progress = parts.progress(e.chip, &record, epoch, so_far);
            let steps = epoch as u64 * rows.div_ceil(e.chip.batch) as u64;
            if let Some(failure) = progress.diverged(parts.validation.is_some(), steps) {
                *e.failed = Some(failure);
                e.chip.state = None;
                break;
            }
            e.history.push(progress);
            e.chip.epoch = epoch;
        }
        *e.seconds += share;
    }
    Ok(())
}

/// The parameters of `values` by name and shape.
pub(super) fn named(net: &Mlp, values: &[f32]) -> Vec<super::Tensor> {
    let mut rest = values;
    let mut tensors = vec![];
    for p in net.parameters() {
        let (own, others) = rest.split_at(p.shape.iter().product::<usize>().min(rest.len()));
        rest = others;
        tensors.push(super::Tensor { name: p.name, shape: p.shape, values: own.to_vec() });
    }
    tensors
}
