//! The losses of many networks, with their gradients and what is counted of them, in one launch.
//!
//! Formulas and gradients are those of [`ops::loss`](crate::ops::loss). A launch adds each network's sum over its rows of
//! the rows' losses (the mean of a row's outputs where the loss is elementwise) to its `sum`; likewise the number of right
//! predictions, and for each output the sum of `(x - t)^2`.

use gpu_kernels::grouped::{self as grouped, loss as kernels};

use super::{Numbers, Slot, blocks, elements, half, tensor, word};
use crate::device::{Buffer, DType, Device, DeviceError, Launch};
use crate::kernel;

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossKind {
    /// Softmax cross-entropy with label smoothing.
    CrossEntropy(f32),
    /// Binary cross-entropy with logits.
    Bce,
    /// Squared error.
    Mse,
    /// Absolute error.
    Mae,
    /// Huber's loss with this delta.
    Huber(f32),
}

impl LossKind {
    fn words(self) -> (u32, f32) {
        match self {
            LossKind::CrossEntropy(smoothing) => (kernels::CROSS_ENTROPY, smoothing),
            LossKind::Bce => (kernels::BCE, 0.0),
            LossKind::Mse => (kernels::MSE, 0.0),
            LossKind::Mae => (kernels::MAE, 0.0),
            LossKind::Huber(delta) => (kernels::HUBER, delta),
        }
    }
}

/// One network's loss.
#[derive(Clone, Copy, Debug)]
pub struct NetworkLoss {
    /// `capacity x n`.
    pub outputs: Slot,
    /// Labels (`u32`) for cross-entropy, else numbers like the outputs.
    pub targets: Slot,
    /// Takes the gradient of the mean over the rows.
    pub gradient: Option<Slot>,
    /// Sum of the rows' losses, `f32`, added to.
    pub sum: Slot,
    /// Right predictions, `u32`, added to (cross-entropy).
    pub right: Option<Slot>,
    /// `n` sums of squared residuals, added to (the other losses).
    pub residuals: Option<Slot>,
    /// Outputs of a row.
    pub n: usize,
    /// Rows that the outputs have room for.
    pub capacity: usize,
    /// Slot in the live table.
    pub slot: usize,
    /// Which loss.
    pub kind: LossKind,
    /// Whether the targets begin at the live offset.
    pub shift: bool,
}

/// The losses of many networks.
#[derive(Debug)]
pub struct Losses {
    problems: Buffer<u64>,
    blocks: u32,
}

impl Losses {
    /// The tables. Errors: tensors too small, extents too large; no memory.
    pub fn new(device: &Device, losses: &[NetworkLoss]) -> Result<Losses, DeviceError> {
        const NAME: &str = "grouped loss";
        let mut problems = vec![];
        for l in losses {
            let inside = elements(NAME, "outputs", l.capacity, l.n)?;
            let real = |what: &str, slot, need| tensor(NAME, what, slot, DType::F32, need);
            let targets = match l.kind {
                LossKind::CrossEntropy(_) => tensor(NAME, "the labels", l.targets, DType::U32, l.capacity)?,
                _ => real("the targets", l.targets, inside)?,
            };
            let (kind, parameter) = l.kind.words();
            problems.extend([
                real("the outputs", l.outputs, inside)?,
                targets,
                l.gradient.map_or(Ok(0), |g| real("the gradient", g, inside))?,
                real("the sum", l.sum, 1)?,
                l.right.map_or(Ok(0), |r| tensor(NAME, "the right predictions", r, DType::U32, 1))?,
                l.residuals.map_or(Ok(0), |r| real("the residuals", r, l.n))?,
                word(half(NAME, "outputs", l.n)?, half(NAME, "slot", l.slot)?),
                word(half(NAME, "capacity", l.capacity)?, kind),
                word(parameter.to_bits(), u32::from(l.shift)),
            ]);
        }
        Ok(Losses { problems: device.buffer(&problems)?, blocks: blocks(NAME, losses.len())? })
    }

    /// Computes all losses, in one launch.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        if self.blocks == 0 {
            return Ok(());
        }
        let shape = Launch::new(self.blocks, grouped::BLOCK);
        device.launch(kernel!(grouped::loss::grouped_loss), shape, (live.0, &self.problems))
    }

    /// Launches of [`launch`](Losses::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.blocks > 0)
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        8 * self.problems.len()
    }
}
