//! The minibatches of many networks, gathered in one launch.

use gpu_kernels::grouped::{self as grouped, data as kernels};

use super::{Numbers, Slot, Table, elements, half, invalid, tensor, word};
use crate::device::{DType, Device, DeviceError, Launch};
use crate::kernel;

/// One minibatch: rows `order[offset + i]` of the data.
#[derive(Clone, Copy, Debug)]
pub struct Minibatch {
    /// Features, `rows x features`.
    pub x: Slot,
    /// Targets: labels (`u32`), or `rows x targets` numbers.
    pub y: Slot,
    /// The epoch's permutation of the rows.
    pub order: Slot,
    /// Takes the features, `capacity x features`.
    pub to_x: Slot,
    /// Takes the targets.
    pub to_y: Slot,
    /// Rows of the data.
    pub rows: usize,
    /// Features of a row.
    pub features: usize,
    /// Targets of a row; 1 for labels.
    pub targets: usize,
    /// Rows of the largest minibatch.
    pub capacity: usize,
    /// Slot of one of the networks that share it.
    pub slot: usize,
}

/// Many minibatches.
#[derive(Debug)]
pub struct Minibatches {
    table: Option<Table>,
}

impl Minibatches {
    /// The tables. Errors: tensors too small, extents too large; no memory.
    pub fn new(device: &Device, minibatches: &[Minibatch]) -> Result<Minibatches, DeviceError> {
        const NAME: &str = "grouped gather";
        let (mut problems, mut tasks) = (vec![], vec![]);
        for (i, b) in minibatches.iter().enumerate() {
            if b.rows == 0 {
                return Err(invalid(NAME, "data without rows"));
            }
            let (data, rows) =
                (|d| elements(NAME, "data", b.rows, d), |d| elements(NAME, "rows", b.capacity, d));
            let (x, y) = (DType::F32, b.y.dtype);
            problems.extend([
                tensor(NAME, "x", b.x, x, data(b.features)?)?,
                tensor(NAME, "y", b.y, y, data(b.targets)?)?,
                tensor(NAME, "the order", b.order, DType::U32, b.rows)?,
                tensor(NAME, "the minibatch's x", b.to_x, x, rows(b.features)?)?,
                tensor(NAME, "the minibatch's y", b.to_y, y, rows(b.targets)?)?,
                word(half(NAME, "rows", b.rows)?, half(NAME, "slot", b.slot)?),
                word(half(NAME, "features", b.features)?, half(NAME, "targets", b.targets)?),
                u64::from(half(NAME, "capacity", b.capacity)?),
            ]);
            let groups = b.capacity.div_ceil(kernels::ROWS_PER_BLOCK as usize);
            tasks.extend((0..groups).map(|group| grouped::task(i as u32, group as u32)));
        }
        Ok(Minibatches { table: Table::new(device, NAME, &problems, &tasks)? })
    }

    /// Gathers all minibatches, in one launch.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        let Some(table) = &self.table else { return Ok(()) };
        let args = (live.0, &table.problems, &table.tasks);
        let shape = Launch::new(table.blocks, grouped::BLOCK);
        device.launch(kernel!(grouped::data::grouped_gather), shape, args)
    }

    /// Launches of [`launch`](Minibatches::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.table.is_some())
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, Table::bytes)
    }
}
