//! The launches of a step of some networks: tables made of where their tensors lie.
//!
//! Forward, level i: the products of every network's layer i, then what dropout and skip connections add. Backward runs from
//! each network's last layer on: a pass where the way from an output to its affine map is more than the derivative in
//! the product's epilogue, then the products that lead to the layer below. The gradients of all weights, of all layers, are
//! one launch a tile size at the end; so are those of all biases.
//!
//! For a layer l with gradient dz at its affine map, input x and weight w, and the layer below it:
//!
//! ```text
//! dw = dzᵀ x      db = column sums of dz      dy_below = dz w (+ dy, if l skips)
//! dz_below = act'(s) * dropout(dy_below)      s: the activation's output or input
//! ```

use std::collections::BTreeMap;

use super::super::Id;
use super::EVALUATION_ROWS;
use super::network::{Layer, Network, Trainable};
use crate::device::{Buffer, DType, Device, DeviceError};
use crate::ops::Slot;
use crate::ops::activation::Activation;
use crate::ops::grouped::{
    Addend, Bias, Biases, Clip, Form, Live, LossKind, Losses, Minibatch, Minibatches, NetworkLoss, Norms,
    Numbers, Pass, Passes, Product, Products, Recorder, Rule, Schedule, Side, Step, Update, Updates,
    index_slot, slot, zeros,
};
use crate::train::{Loss, SharedData};

/// A network of a program; its place among the members is its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub id: Id,
    /// Which minibatch it reads.
    pub shared: usize,
}

/// A minibatch that networks of one batch size, seed and epoch share.
pub(super) struct Shared {
    pub seed: u64,
    pub epoch: u64,
    /// The epoch's permutation.
    pub order: Buffer<u32>,
    x: Buffer<f32>,
    /// Labels, or the bits of numbers.
    y: Buffer<u32>,
}

/// What was added up of each network, by slot.
pub(super) struct Totals {
    /// Sums of the rows' losses.
    pub sums: Vec<f32>,
    /// Right predictions.
    pub right: Vec<u32>,
    /// Squared residuals of each output.
    pub residuals: Vec<Vec<f32>>,
}

/// One level forward.
struct Level {
    products: Products,
    passes: Passes,
}

/// One level backward: from outputs to affine maps, and from those to the level below.
struct Back {
    passes: Passes,
    products: Products,
}

/// A training step.
struct Training {
    minibatches: Minibatches,
    levels: Vec<Level>,
    losses: Losses,
    back: Vec<Back>,
    weights: Products,
    biases: Biases,
    norms: Norms,
    updates: Updates,
}

impl Training {
    fn launch(&mut self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        self.minibatches.launch(device, live)?;
        for level in &self.levels {
            level.products.launch(device, live)?;
            level.passes.launch(device, live)?;
        }
        self.losses.launch(device, live)?;
        for back in &self.back {
            back.passes.launch(device, live)?;
            back.products.launch(device, live)?;
        }
        self.weights.launch(device, live)?;
        self.biases.launch(device, live)?;
        self.norms.launch(device, live)?;
        self.updates.launch(device, live)
    }
}

/// A step of the evaluation of the validation part.
struct Evaluation {
    levels: Vec<Level>,
    losses: Losses,
}

impl Evaluation {
    fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        for level in &self.levels {
            level.products.launch(device, live)?;
            level.passes.launch(device, live)?;
        }
        self.losses.launch(device, live)
    }
}

/// See the module's docs.
pub(super) struct Program {
    pub members: Vec<Member>,
    pub shared: Vec<Shared>,
    training: Training,
    evaluation: Option<Evaluation>,
    /// Of training steps, and of those of an evaluation.
    recorders: [Recorder; 2],
    sums: Buffer<f32>,
    right: Buffer<u32>,
    residuals: Buffer<f32>,
    /// Outputs of each network.
    outputs: Vec<usize>,
}

/// Element `at` and `len - 1` more of a buffer.
fn part<T: crate::device::Element>(buffer: &Buffer<T>, at: usize, len: usize, dtype: DType) -> Slot {
    Slot { address: buffer.address() + 4 * at as u64, len, dtype }
}

fn loss_kind(loss: Loss) -> LossKind {
    match loss {
        Loss::CrossEntropy { smoothing } => LossKind::CrossEntropy(smoothing),
        Loss::BceWithLogits => LossKind::Bce,
        Loss::Mse => LossKind::Mse,
        Loss::Mae => LossKind::Mae,
        Loss::Huber { delta } => LossKind::Huber(delta),
    }
}

/// Networks by slot, with where their first layer's input lies.
struct Networks<'a> {
    all: Vec<&'a Network>,
    inputs: Vec<Slot>,
    features: usize,
    training: bool,
}

impl Networks<'_> {
    /// What layer `l` of a network gives the next: h, unless dropout or a skip connection changes it.
    fn output(&self, layer: &Layer) -> Slot {
        match &layer.y {
            Some(y) if self.training || layer.skip => slot(y),
            _ => slot(&layer.h),
        }
    }

    /// Where layer `l` of the network in `at` reads, and how wide that is.
    fn input(&self, at: usize, l: usize) -> (Slot, usize) {
        match l.checked_sub(1).map(|below| &self.all[at].layers[below]) {
            Some(below) => (self.output(below), below.units),
            None => (self.inputs[at], self.features),
        }
    }

    /// Rows of a launch at most.
    fn rows(&self, network: &Network) -> usize {
        if self.training { network.batch } else { network.evaluated }
    }

    fn depth(&self) -> usize {
        self.all.iter().map(|n| n.layers.len()).max().unwrap_or(0)
    }

    fn forward(&self, device: &Device) -> Result<Vec<Level>, DeviceError> {
        let mut levels = vec![];
        for l in 0..self.depth() {
            let (mut products, mut passes) = (vec![], vec![]);
            for (at, network) in self.all.iter().enumerate() {
                let Some(layer) = network.layers.get(l) else { continue };
                let ((a, k), m) = (self.input(at, l), self.rows(network));
                products.push(Product {
                    a,
                    b: slot(&layer.weight.value),
                    c: slot(&layer.h),
                    m,
                    n: layer.units,
                    k,
                    slot: at,
                    shift: l == 0 && !self.training,
                    bias: Some(slot(&layer.bias.value)),
                    activation: layer.activation,
                    side: layer.z.as_ref().filter(|_| self.training).map(|z| Side::Store(slot(z))),
                    addend: None,
                });
                let dropout = layer.dropout.filter(|_| self.training);
                if dropout.is_some() || layer.skip {
                    passes.push(Pass {
                        from: slot(&layer.h),
                        other: layer.skip.then_some(a),
                        to: self.output(layer),
                        width: layer.units,
                        capacity: m,
                        slot: at,
                        activation: Activation::Identity,
                        shift: l == 0 && !self.training,
                        dropout,
                    });
                }
            }
            let products = Products::new(device, Form::Forward, &products)?;
            levels.push(Level { products, passes: Passes::forward(device, &passes)? });
        }
        Ok(levels)
    }

    fn backward(&self, device: &Device) -> Result<Vec<Back>, DeviceError> {
        let mut back = vec![];
        for j in 0..self.depth() {
            let (mut passes, mut products) = (vec![], vec![]);
            for (at, network) in self.all.iter().enumerate() {
                let Some(l) = network.layers.len().checked_sub(1 + j) else { continue };
                let (layer, m) = (&network.layers[l], network.batch);
                if let Some(dy) = &layer.dy {
                    passes.push(Pass {
                        from: slot(dy),
                        other: derivative_at(layer),
                        to: slot(&layer.dz),
                        width: layer.units,
                        capacity: m,
                        slot: at,
                        activation: layer.activation,
                        shift: false,
                        dropout: layer.dropout,
                    });
                }
                let Some(below) = l.checked_sub(1).map(|below| &network.layers[below]) else { continue };
                let addend = layer.dy.as_ref().filter(|_| layer.skip);
                // Where the layer below has no pass of its own, this product's epilogue takes its derivative.
                let (c, side, activation) = match &below.dy {
                    Some(dy) => (slot(dy), None, Activation::Identity),
                    None => (slot(&below.dz), derivative_at(below).map(Side::Derivative), below.activation),
                };
                products.push(Product {
                    a: slot(&layer.dz),
                    b: slot(&layer.weight.value),
                    c,
                    m,
                    n: below.units,
                    k: layer.units,
                    slot: at,
                    shift: false,
                    bias: None,
                    activation,
                    side,
                    addend: addend.map(|dy| Addend { tensor: slot(dy), beta: 1.0 }),
                });
            }
            let passes = Passes::backward(device, &passes)?;
            back.push(Back { passes, products: Products::new(device, Form::Input, &products)? });
        }
        Ok(back)
    }

    fn gradients(&self, device: &Device) -> Result<(Products, Biases), DeviceError> {
        let (mut weights, mut biases) = (vec![], vec![]);
        for (at, network) in self.all.iter().enumerate() {
            for (l, layer) in network.layers.iter().enumerate() {
                let (b, n) = self.input(at, l);
                weights.push(Product {
                    a: slot(&layer.dz),
                    b,
                    c: slot(&layer.weight.gradient),
                    m: layer.units,
                    n,
                    k: network.batch,
                    slot: at,
                    shift: false,
                    bias: None,
                    activation: Activation::Identity,
                    side: None,
                    addend: None,
                });
                biases.push(Bias {
                    from: slot(&layer.dz),
                    to: slot(&layer.bias.gradient),
                    width: layer.units,
                    capacity: network.batch,
                    slot: at,
                });
            }
        }
        Ok((Products::new(device, Form::Weight, &weights)?, Biases::new(device, &biases)?))
    }

    fn optimizers(&self, device: &Device) -> Result<(Norms, Updates), DeviceError> {
        let (mut clips, mut rules, mut updates) = (vec![], vec![], vec![]);
        for (at, network) in self.all.iter().enumerate() {
            let trainable = || network.layers.iter().flat_map(|l| [&l.weight, &l.bias]);
            let options = &network.candidate.options;
            if let (Some(scale), Some(bound)) = (&network.scale, options.clip_norm) {
                let gradients = trainable().map(|t| slot(&t.gradient)).collect();
                clips.push(Clip { gradients, bound, scale: slot(scale), slot: at });
            }
            let scale = network.scale.as_ref().map(slot);
            rules.push(Rule { optimizer: options.optimizer, scale, slot: at });
            let update = |t: &Trainable| Update {
                parameter: slot(&t.value),
                gradient: slot(&t.gradient),
                moments: t.moments.iter().map(slot).collect(),
                rule: at,
            };
            updates.extend(trainable().map(update));
        }
        Ok((Norms::new(device, &clips)?, Updates::new(device, &rules, &updates)?))
    }
}

/// What a layer's derivative is taken at; nothing where it is 1.
fn derivative_at(layer: &Layer) -> Option<Slot> {
    let at = layer.z.as_ref().unwrap_or(&layer.h);
    (layer.activation != Activation::Identity).then(|| slot(at))
}

impl Program {
    /// The tables of `members`, which read the minibatches of `keys` (seed, batch, epoch). Error: no memory.
    pub fn new(
        data: &SharedData,
        networks: &BTreeMap<Id, Network>,
        members: Vec<Member>,
        keys: &[(u64, usize, u64)],
    ) -> Result<Program, DeviceError> {
        let device = data.device();
        let all: Vec<&Network> = members.iter().map(|m| &networks[&m.id]).collect();
        let (rows, features) = (data.train().rows(), data.train().features().cols);
        let (x, y) = (data.slot("train.x")?, data.slot("train.y")?);
        let targets = y.len / rows;
        let mut shared = vec![];
        let mut gather = vec![];
        for (i, &(seed, batch, epoch)) in keys.iter().enumerate() {
            let s = Shared {
                seed,
                epoch,
                order: device.alloc(rows)?,
                x: device.alloc(batch * features)?,
                y: device.alloc(batch * targets)?,
            };
            gather.push(Minibatch {
                x,
                y,
                order: index_slot(&s.order),
                to_x: slot(&s.x),
                to_y: Slot { dtype: y.dtype, ..index_slot(&s.y) },
                rows,
                features,
                targets,
                capacity: batch,
                slot: members.iter().position(|m| m.shared == i).unwrap_or(0),
            });
            shared.push(s);
        }
        let outputs: Vec<usize> = all.iter().map(|n| n.candidate.net.outputs()).collect();
        let sums = zeros(device, all.len())?;
        let right = zeros(device, all.len())?;
        let residuals = zeros(device, outputs.iter().sum())?;
        let inputs = members.iter().map(|m| slot(&shared[m.shared].x)).collect();
        let training = Networks { all, inputs, features, training: true };
        // The loss of each network; `evaluated` holds the targets of an evaluation.
        let losses = |evaluated: Option<Slot>| -> Result<Losses, DeviceError> {
            let mut first = 0;
            let mut list = vec![];
            for (at, network) in training.all.iter().enumerate() {
                let Some(last) = network.layers.last() else { continue };
                let n = outputs[at];
                let labels = network.loss.takes_labels();
                let train = evaluated.is_none();
                let stages = Networks { all: vec![], inputs: vec![], features, training: train };
                list.push(NetworkLoss {
                    outputs: stages.output(last),
                    targets: evaluated.unwrap_or(gather[members[at].shared].to_y),
                    gradient: train.then(|| slot(last.dy.as_ref().unwrap_or(&last.dz))),
                    sum: part(&sums, at, 1, DType::F32),
                    right: (labels && !train).then(|| part(&right, at, 1, DType::U32)),
                    residuals: (!labels && !train).then(|| part(&residuals, first, n, DType::F32)),
                    n,
                    capacity: stages.rows(network),
                    slot: at,
                    kind: loss_kind(if train { network.loss } else { network.loss.plain() }),
                    shift: !train,
                });
                first += n;
            }
            Losses::new(device, &list)
        };
        let evaluation = match data.validation() {
            Some(_) => {
                let (x, y) = (data.slot("val.x")?, data.slot("val.y")?);
                let all = training.all.clone();
                let inputs = vec![x; all.len()];
                let networks = Networks { all, inputs, features, training: false };
                Some(Evaluation { levels: networks.forward(device)?, losses: losses(Some(y))? })
            }
            None => None,
        };
        let (weights, biases) = training.gradients(device)?;
        let (norms, updates) = training.optimizers(device)?;
        let (losses, levels, back) = (losses(None)?, training.forward(device)?, training.backward(device)?);
        let minibatches = Minibatches::new(device, &gather)?;
        let count = members.len();
        Ok(Program {
            members,
            shared,
            training: Training { minibatches, levels, losses, back, weights, biases, norms, updates },
            evaluation,
            recorders: [Recorder::new(device, count)?, Recorder::new(device, count)?],
            sums,
            right,
            residuals,
            outputs,
        })
    }

    /// One training step of every network that does not rest: step `at` of `live`.
    pub fn step(&mut self, device: &Device, live: &Live, at: usize) -> Result<(), DeviceError> {
        let training = &mut self.training;
        self.recorders[0].run(device, live, at, |numbers| training.launch(device, numbers))
    }

    /// Launches of [`step`](Program::step).
    pub fn launches(&self) -> usize {
        let t = &self.training;
        let levels = t.levels.iter().map(|l| l.products.launches() + l.passes.launches());
        let back = t.back.iter().map(|b| b.products.launches() + b.passes.launches());
        let rest = [
            t.minibatches.launches(),
            t.losses.launches(),
            t.weights.launches(),
            t.biases.launches(),
            t.norms.launches(),
            t.updates.launches(),
        ];
        levels.chain(back).chain(rest).sum()
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        let t = &self.training;
        let levels = self.evaluation.iter().flat_map(|e| &e.levels).chain(&t.levels);
        let levels = levels.map(|l| l.products.bytes() + l.passes.bytes());
        let back = t.back.iter().map(|b| b.products.bytes() + b.passes.bytes());
        let rest = [
            t.minibatches.bytes(),
            t.losses.bytes(),
            self.evaluation.as_ref().map_or(0, |e| e.losses.bytes()),
            t.weights.bytes(),
            t.biases.bytes(),
            t.norms.bytes(),
            t.updates.bytes(),
        ];
        levels.chain(back).chain(rest).sum()
    }

    /// The steps of an evaluation of `rows` rows: all networks take the same.
    pub fn evaluation_steps(&self, device: &Device, rows: usize) -> Result<Live, DeviceError> {
        let each = EVALUATION_ROWS.min(rows);
        let steps = rows.div_ceil(each);
        let mut schedule = Schedule::new(steps, self.members.len(), rows);
        for at in 0..steps {
            let offset = at * each;
            let step = Step { rows: each.min(rows - offset), offset, step: 0, hyper: [0.0; 8] };
            for slot in 0..self.members.len() {
                schedule.set(at, slot, &step)?;
            }
        }
        schedule.upload(device)
    }

    /// One step of an evaluation of the validation part: step `at` of `live`.
    pub fn evaluate(&mut self, device: &Device, live: &Live, at: usize) -> Result<(), DeviceError> {
        let Some(evaluation) = &self.evaluation else { return Ok(()) };
        self.recorders[1].run(device, live, at, |numbers| evaluation.launch(device, numbers))
    }

    /// Sets what is added up back to zero.
    pub fn clear(&mut self) -> Result<(), DeviceError> {
        self.sums.upload(&vec![0.0; self.sums.len()])?;
        self.right.upload(&vec![0; self.right.len()])?;
        self.residuals.upload(&vec![0.0; self.residuals.len()])
    }

    /// What was added up since [`clear`](Program::clear); waits for it.
    pub fn totals(&self) -> Result<Totals, DeviceError> {
        let residuals = self.residuals.to_vec()?;
        let mut rest = residuals.as_slice();
        let residuals = self.outputs.iter().map(|&n| {
            let (own, after) = rest.split_at(n);
            rest = after;
            own.to_vec()
        });
        Ok(Totals { residuals: residuals.collect(), sums: self.sums.to_vec()?, right: self.right.to_vec()? })
    }
}
