//! Dropout and skip connections of many layers, forward and backward, and the gradients of their biases.
//!
//! ```text
//! forward    y  = dropout(h) + x               x: the layer's input, if it skips
//! backward   dz = act'(s) * dropout(dy)        s: the activation's output, or input
//! bias       db[j] = sum over the rows of dz[i, j]
//! ```
//!
//! Masks are those of [`Graph::dropout`](crate::graph::Graph::dropout).

use gpu_kernels::grouped::{self as grouped, passes as kernels};

use super::{Numbers, Slot, Table, elements, half, tensor, word};
use crate::device::{DType, Device, DeviceError, Launch};
use crate::kernel;
use crate::ops::activation::Activation;

/// Dropout of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of dropping, in [0, 1).
    pub p: f32,
    /// Key of the random numbers.
    pub seed: u64,
    /// Tells layers apart.
    pub stream: u32,
}

/// One layer's pass. Tensors are `capacity x width`.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// h, or dy.
    pub from: Slot,
    /// x, or s.
    pub other: Option<Slot>,
    /// y, or dz; may be `from`.
    pub to: Slot,
    /// Units of the layer.
    pub width: usize,
    /// Rows that the tensors have room for.
    pub capacity: usize,
    /// Slot in the live table.
    pub slot: usize,
    /// Whose derivative is taken (backward).
    pub activation: Activation,
    /// Whether x begins at the live offset (forward).
    pub shift: bool,
    /// What is dropped.
    pub dropout: Option<Dropout>,
}

/// The passes of one direction.
#[derive(Debug)]
pub struct Passes {
    backward: bool,
    table: Option<Table>,
}

impl Passes {
    /// Tables of forward passes. Errors: tensors too small, extents too large; no memory.
    pub fn forward(device: &Device, passes: &[Pass]) -> Result<Passes, DeviceError> {
        Passes::new(device, false, passes)
    }

    /// Tables of backward passes; errors as [`forward`](Passes::forward).
    pub fn backward(device: &Device, passes: &[Pass]) -> Result<Passes, DeviceError> {
        Passes::new(device, true, passes)
    }

    fn new(device: &Device, backward: bool, passes: &[Pass]) -> Result<Passes, DeviceError> {
        const NAME: &str = "grouped pass";
        let (mut problems, mut tasks) = (vec![], vec![]);
        for (i, p) in passes.iter().enumerate() {
            let n = elements(NAME, "a layer", p.capacity, p.width)?;
            let real = |what: &str, slot| tensor(NAME, what, slot, DType::F32, n);
            let drop = p.dropout.unwrap_or(Dropout { p: 0.0, seed: 0, stream: 0 });
            let keep = (1.0 / (1.0 - f64::from(drop.p))) as f32;
            problems.extend([
                real("the source", p.from)?,
                p.other.map_or(Ok(0), |other| real("the other tensor", other))?,
                real("the target", p.to)?,
                word(half(NAME, "width", p.width)?, half(NAME, "slot", p.slot)?),
                word(
                    half(NAME, "capacity", p.capacity)?,
                    if backward { p.activation.kind() } else { u32::from(p.shift) },
                ),
                word(drop.p.to_bits(), p.activation.param().to_bits()),
                drop.seed,
                word(drop.stream, keep.to_bits()),
            ]);
            tasks.extend((0..n.div_ceil(kernels::CHUNK as usize)).map(|c| grouped::task(i as u32, c as u32)));
        }
        Ok(Passes { backward, table: Table::new(device, NAME, &problems, &tasks)? })
    }

    /// Runs all passes, in one launch.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        let Some(table) = &self.table else { return Ok(()) };
        let shape = Launch::new(table.blocks, grouped::BLOCK);
        let args = (live.0, &table.problems, &table.tasks);
        if self.backward {
            device.launch(kernel!(grouped::passes::grouped_backward_pass), shape, args)
        } else {
            device.launch(kernel!(grouped::passes::grouped_forward_pass), shape, args)
        }
    }

    /// Launches of [`launch`](Passes::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.table.is_some())
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, Table::bytes)
    }
}

/// The gradient of one bias.
#[derive(Clone, Copy, Debug)]
pub struct Bias {
    /// dz, `capacity x width`.
    pub from: Slot,
    /// db.
    pub to: Slot,
    /// Units of the layer.
    pub width: usize,
    /// Rows that dz has room for.
    pub capacity: usize,
    /// Slot in the live table.
    pub slot: usize,
}

/// The gradients of many biases.
#[derive(Debug)]
pub struct Biases {
    table: Option<Table>,
}

impl Biases {
    /// The tables. Errors: tensors too small, extents too large; no memory.
    pub fn new(device: &Device, biases: &[Bias]) -> Result<Biases, DeviceError> {
        const NAME: &str = "grouped bias gradient";
        let (mut problems, mut tasks) = (vec![], vec![]);
        for (i, b) in biases.iter().enumerate() {
            let n = elements(NAME, "a layer", b.capacity, b.width)?;
            let (width, capacity) = (half(NAME, "width", b.width)?, half(NAME, "capacity", b.capacity)?);
            problems.extend([
                tensor(NAME, "dz", b.from, DType::F32, n)?,
                tensor(NAME, "db", b.to, DType::F32, b.width)?,
                word(width, half(NAME, "slot", b.slot)?),
                u64::from(capacity),
            ]);
            // With fewer rows than the capacity a block takes as many columns or more: the tiles of the capacity suffice.
            let log2 = if b.width == 1 { 0 } else { kernels::column_log2(capacity, width) };
            tasks.extend((0..b.width.div_ceil(1 << log2)).map(|tile| grouped::task(i as u32, tile as u32)));
        }
        Ok(Biases { table: Table::new(device, NAME, &problems, &tasks)? })
    }

    /// Computes all gradients, in one launch.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        let Some(table) = &self.table else { return Ok(()) };
        let args = (live.0, &table.problems, &table.tasks);
        let shape = Launch::new(table.blocks, grouped::BLOCK);
        device.launch(kernel!(grouped::passes::grouped_bias_gradient), shape, args)
    }

    /// Launches of [`launch`](Biases::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.table.is_some())
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, Table::bytes)
    }
}
