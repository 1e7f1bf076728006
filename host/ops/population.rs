//! Training a population of small networks in one launch (`gpu_kernels::population`): no graph operation, but a whole
//! training loop a block. This file places a network in a block's shared memory and launches the kernel;
//! `search::population` keeps the networks.
//!
//! ```text
//! shared words:  parameters (rows of odd length) | moments, if they fit | minibatch | outputs and saved values of each
//!                layer | gradient by a layer's outputs
//! ```

use gpu_kernels::population::table::{
    self, HYPER_WORDS, Layer, MAX_LAYERS, NETWORK_WORDS, Network, RECORD_WORDS,
};
use gpu_kernels::population::{BLOCK, STATIC_SHARED};

use super::activation::Activation;
use super::optim::Optimizer;
use super::{KernelCtx, Slot};
use crate::device::{Buffer, DType, Device, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::kernel;

/// The kernels of this file, which belong to no operation of the registry.
pub const KERNELS: &[&str] = &["population_train"];

/// What is minimised, as `train::Loss` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Objective {
    CrossEntropy { smoothing: f32 },
    Bce,
    Mse,
    Mae,
    Huber { delta: f32 },
}

/// A dense layer: `dropout(activation(x wᵀ + b))`, plus x if it skips.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenseSpec {
    pub units: usize,
    pub activation: Activation,
    pub dropout: f32,
    /// Stream of the dropout's random numbers.
    pub stream: u32,
    pub skip: bool,
}

/// A network to train.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub inputs: usize,
    pub layers: Vec<DenseSpec>,
    pub batch: usize,
    pub objective: Objective,
    pub optimizer: Optimizer,
    pub clip_norm: Option<f32>,
    /// Key of the dropout's random numbers.
    pub seed: u64,
}

/// A network that has its place in shared memory.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    network: Network,
    /// Bytes of dynamic shared memory.
    shared: u32,
    labels: bool,
    outputs: usize,
}

/// Hands out words one after another.
struct Words(u64);

impl Words {
    fn take(&mut self, words: u64) -> u32 {
        let at = self.0;
        self.0 = self.0.saturating_add(words);
        // Beyond `u32` nothing fits anyway; `place` looks at the total.
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}

impl Spec {
    /// Places the network in a block with `limit` bytes of shared memory. Error: the bytes it needs at least, or
    /// `None` where no memory would do (too many layers).
    pub fn place(&self, limit: u32) -> Result<Placed, Option<u64>> {
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return Err(None);
        }
        let limit = u64::from(limit.saturating_sub(STATIC_SHARED));
        let widest = self.layers.iter().map(|l| l.units).chain([self.inputs, self.batch]).max().unwrap_or(0);
        // Past this no single matrix fits, and products of two extents stay far within `u64`.
        if widest > 1 << 20 {
            return Err(Some(4 * widest as u64));
        }
        let row = |n: usize| u64::from(table::row(n as u32));
        let batch = self.batch as u64;
        let mut words = Words(0);
        let mut layers = [Layer::default(); MAX_LAYERS];
        let (mut fan_in, mut first, mut skips) = (self.inputs, 0u64, 0);
        for (layer, spec) in layers.iter_mut().zip(&self.layers) {
            let units = spec.units as u64;
            *layer = Layer {
                units: spec.units as u32,
                fan_in: fan_in as u32,
                activation: spec.activation.kind(),
                activation_param: spec.activation.param(),
                dropout: spec.dropout,
                keep_scale: (1.0 / (1.0 - f64::from(spec.dropout))) as f32,
                stream: spec.stream,
                skip: u32::from(spec.skip),
                weight_at: words.take(units * row(fan_in)),
                bias_at: words.take(units),
                first: u32::try_from(first).unwrap_or(u32::MAX),
                ..Layer::default()
            };
            skips += usize::from(spec.skip && fan_in != spec.units);
            first += units * fan_in as u64 + units;
            fan_in = spec.units;
        }
        if skips > 0 {
            return Err(None);
        }
        let x_at = words.take(batch * row(self.inputs));
        for layer in &mut layers[..self.layers.len()] {
            layer.output_at = words.take(batch * row(layer.units as usize));
            layer.saved_at = words.take(batch * row(layer.units as usize));
        }
        let widest = self.layers.iter().map(|l| row(l.units)).max().unwrap_or(0);
        let gradient_at = words.take(batch * widest);
        let bytes = words.0.saturating_mul(4);
        if bytes > limit {
            return Err(Some(bytes + u64::from(STATIC_SHARED)));
        }
        let moments = self.optimizer.moments();
        let mut moments_at = table::GLOBAL;
        if moments > 0 && bytes + 4 * first * moments as u64 <= limit {
            moments_at = words.take(first * moments as u64);
        }
        let (loss, loss_param) = match self.objective {
            Objective::CrossEntropy { smoothing } => (table::CROSS_ENTROPY, smoothing),
            Objective::Bce => (table::BCE, 0.0),
            Objective::Mse => (table::MSE, 0.0),
            Objective::Mae => (table::MAE, 0.0),
            Objective::Huber { delta } => (table::HUBER, delta),
        };
        let labels = matches!(self.objective, Objective::CrossEntropy { .. });
        let (optimizer, weight_decay, [a, b, c, d]) = constants(&self.optimizer);
        let network = Network {
            state: 0,
            order: 0,
            hyper: 0,
            record: 0,
            seed: [self.seed as u32, (self.seed >> 32) as u32],
            step: [0; 2],
            epochs: 0,
            record_words: record_words(fan_in) as u32,
            depth: self.layers.len() as u32,
            inputs: self.inputs as u32,
            batch: self.batch as u32,
            loss,
            loss_param,
            clip_norm: self.clip_norm.unwrap_or(0.0),
            optimizer,
            weight_decay,
            a,
            b,
            c,
            d,
            parameters: first as u32,
            moments: moments as u32,
            moments_at,
            x_at,
            gradient_at,
            padding: 0,
            layers,
        };
        Ok(Placed { network, shared: words.0 as u32 * 4, labels, outputs: fan_in })
    }
}

/// Kind, coupled weight decay and constants of an optimiser, as the kernel's table has them.
fn constants(optimizer: &Optimizer) -> (u32, f32, [f32; 4]) {
    let of = |values: [f64; 4]| values.map(|v| v as f32);
    match *optimizer {
        Optimizer::Sgd { momentum: 0.0, weight_decay, .. } => (table::SGD, weight_decay as f32, [0.0; 4]),
        Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
            let nesterov = f64::from(u8::from(nesterov));
            (table::SGD_MOMENTUM, weight_decay as f32, of([momentum, nesterov, 0.0, 0.0]))
        }
        Optimizer::RmsProp { alpha, eps, momentum, weight_decay } => {
            let kind = if momentum == 0.0 { table::RMSPROP } else { table::RMSPROP_MOMENTUM };
            (kind, weight_decay as f32, of([alpha, 1.0 - alpha, eps, momentum]))
        }
        Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
            (table::ADAM, weight_decay as f32, of([1.0 - beta1, beta2, 1.0 - beta2, eps]))
        }
        // The decay is in the table of hyper-parameters.
        Optimizer::AdamW { beta1, beta2, eps, .. } => {
            (table::ADAM, 0.0, of([1.0 - beta1, beta2, 1.0 - beta2, eps]))
        }
    }
}

/// Words of an epoch's record of a network with `outputs`.
fn record_words(outputs: usize) -> usize {
    (RECORD_WORDS + outputs).next_multiple_of(2)
}

impl Placed {
    /// Numbers of the network's state: parameters in order of definition, then each moment.
    pub fn state_len(&self) -> usize {
        self.network.parameters as usize * (1 + self.network.moments as usize)
    }

    /// Words of the record of one epoch.
    pub fn record_len(&self) -> usize {
        self.network.record_words as usize
    }

    /// Bytes of dynamic shared memory.
    #[cfg(test)]
    pub fn shared(&self) -> u32 {
        self.shared
    }
}

/// One part of the data on the device: features `f32[rows, inputs]`, and labels `u32[rows]` or numbers
/// `f32[rows, outputs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub rows: usize,
    pub x: Slot,
    pub y: Slot,
}

/// What a network does in a launch.
pub(crate) struct Job<'a> {
    pub placed: &'a Placed,
    /// [`Placed::state_len`] numbers.
    pub state: &'a mut Buffer<f32>,
    /// Steps done before.
    pub step: u64,
    /// Epochs to train, at least 1.
    pub epochs: usize,
    /// Where in the launch's orders its permutations begin, one after another.
    pub order: usize,
    /// Where in the launch's hyper-parameters its steps begin.
    pub hyper: usize,
    /// Where in the launch's records its epochs begin.
    pub record: usize,
}

/// What the jobs of a launch read and write besides their states.
pub(crate) struct Tables<'a> {
    /// Permutations of the training rows.
    pub orders: &'a Buffer<u32>,
    /// [`Optimizer::hyper`] a step.
    pub hyper: &'a Buffer<f32>,
    /// [`Placed::record_len`] words an epoch, all zero.
    pub records: &'a mut Buffer<u32>,
}

/// What an epoch's record says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Sums over the samples.
    pub train_loss: f32,
    pub validation_loss: f32,
    pub right: u32,
    /// The step (from 1) whose loss is not finite, and that loss.
    pub diverged: Option<(u64, f32)>,
    /// Squared errors over the validation part, an output each.
    pub squared_errors: Vec<f32>,
}

impl Record {
    pub fn of(placed: &Placed, words: &[u32]) -> Record {
        let step = u64::from(words[4]) << 32 | u64::from(words[3]);
        let errors = &words[RECORD_WORDS..RECORD_WORDS + placed.outputs];
        Record {
            train_loss: f32::from_bits(words[0]),
            validation_loss: f32::from_bits(words[1]),
            right: words[2],
            diverged: (step > 0).then(|| (step, f32::from_bits(words[5]))),
            squared_errors: errors.iter().map(|&bits| f32::from_bits(bits)).collect(),
        }
    }
}

/// Trains all jobs in one launch. Errors: something is shorter than a job needs, or the device fails.
pub(crate) fn train(
    device: &Device,
    train: Part,
    validation: Option<Part>,
    jobs: &mut [Job<'_>],
    tables: Tables<'_>,
) -> Result<(), DeviceError> {
    let mut words = Vec::with_capacity(jobs.len() * NETWORK_WORDS);
    let mut shared = 0;
    for job in jobs.iter_mut() {
        let net = &job.placed.network;
        let steps = job.epochs * train.rows.div_ceil(net.batch as usize);
        let need = |what, got: usize, expected: usize| {
            if got >= expected { Ok(()) } else { Err(DeviceError::Length { what, got, expected }) }
        };
        for part in [Some(train), validation].into_iter().flatten() {
            let per_row = if job.placed.labels { 1 } else { job.placed.outputs };
            let dtype = if job.placed.labels { DType::U32 } else { DType::F32 };
            need("population features", part.x.len, part.rows * net.inputs as usize)?;
            need(
                "population targets",
                if part.y.dtype == dtype { part.y.len } else { 0 },
                part.rows * per_row,
            )?;
        }
        need("population minibatch", train.rows, net.batch as usize)?;
        need("population state", job.state.len(), job.placed.state_len())?;
        need("population orders", tables.orders.len(), job.order + job.epochs * train.rows)?;
        need("population hyper-parameters", tables.hyper.len(), job.hyper + steps * HYPER_WORDS)?;
        need("population records", tables.records.len(), job.record + job.epochs * job.placed.record_len())?;
        let at = |address: u64, word: usize| address + 4 * word as u64;
        let network = Network {
            state: job.state.address(),
            order: at(tables.orders.address(), job.order),
            hyper: at(tables.hyper.address(), job.hyper),
            record: at(tables.records.address(), job.record),
            step: [job.step as u32, (job.step >> 32) as u32],
            epochs: job.epochs as u32,
            ..*net
        };
        words.extend(network.words());
        shared = shared.max(job.placed.shared);
    }
    let count = super::layout::len_u32("population", jobs.len())?;
    if count == 0 {
        return Ok(());
    }
    let networks = device.buffer(&words)?;
    let none = Slot { address: 0, len: 0, dtype: DType::F32 };
    let validation = validation.unwrap_or(Part { rows: 0, x: none, y: none });
    let rows = |part: &Part| super::layout::len_u32("population", part.rows);
    let ctx = KernelCtx {
        scratch: (0, 0),
        device,
        inputs: &[],
        outputs: &[],
        workspace: DevicePtrMut::new(0),
        table: DevicePtr::new(0),
        table_len: 0,
    };
    ctx.launch(
        kernel!(population::population_train),
        Launch::new(count, BLOCK).shared(shared),
        (
            count,
            DevicePtr::<Network>::new(networks.address()),
            rows(&train)?,
            DevicePtr::<f32>::new(train.x.address),
            DevicePtr::<u32>::new(train.y.address),
            rows(&validation)?,
            DevicePtr::<f32>::new(validation.x.address),
            DevicePtr::<u32>::new(validation.y.address),
        ),
    )?;
    // The table must outlive the launch; buffers are freed in stream order, so this is its end.
    drop(networks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(widths: &[usize], batch: usize, optimizer: Optimizer) -> Spec {
        let layer =
            |&units| DenseSpec { units, activation: Activation::Relu, dropout: 0.0, stream: 0, skip: false };
        Spec {
            inputs: 64,
            layers: widths.iter().map(layer).collect(),
            batch,
            objective: Objective::CrossEntropy { smoothing: 0.0 },
            optimizer,
            clip_norm: None,
            seed: 1,
        }
    }

    #[test]
    fn places_do_not_overlap_and_stay_within_the_limit() {
        for (widths, batch) in
            [(&[64usize, 10][..], 64), (&[5, 7, 3], 17), (&[1], 1), (&[32, 32, 32, 10], 32)]
        {
            let placed = spec(widths, batch, Optimizer::adam()).place(227 << 10).expect("fits");
            let net = &placed.network;
            let row = |n: u32| u64::from(table::row(n));
            let mut taken: Vec<(u64, u64)> = vec![];
            let mut take = |at: u32, words: u64| taken.push((u64::from(at), u64::from(at) + words));
            let batch = batch as u64;
            for l in &net.layers[..widths.len()] {
                take(l.weight_at, u64::from(l.units) * row(l.fan_in));
                take(l.bias_at, u64::from(l.units));
                take(l.output_at, batch * row(l.units));
                take(l.saved_at, batch * row(l.units));
            }
            take(net.x_at, batch * row(net.inputs));
            let widest = net.layers[..widths.len()].iter().map(|l| row(l.units)).max().expect("has layers");
            take(net.gradient_at, batch * widest);
            take(net.moments_at, u64::from(net.parameters * net.moments));
            taken.sort_unstable();
            assert!(taken.windows(2).all(|w| w[0].1 <= w[1].0), "{taken:?}");
            assert!(taken.last().expect("has some").1 * 4 <= u64::from(placed.shared()));
            assert!(placed.shared() + STATIC_SHARED <= 227 << 10);
        }
    }

    #[test]
    fn moments_leave_the_chip_before_the_network_does() {
        let limit = 227 << 10;
        let of = |widths: &[usize]| spec(widths, 64, Optimizer::adam()).place(limit);
        assert_ne!(of(&[64, 10]).expect("fits").network.moments_at, table::GLOBAL);
        assert_eq!(of(&[128, 10]).expect("fits").network.moments_at, table::GLOBAL);
        let bytes = of(&[128, 128, 10]).expect_err("is too large").expect("needs bytes");
        assert!(bytes > u64::from(limit), "{bytes}");
        assert_eq!(of(&[2; MAX_LAYERS + 1]).expect_err("has too many layers"), None);
        assert!(of(&[usize::MAX / 8]).is_err());
    }
}
