//! Many networks in one launch: host side of the kernels in `gpu_kernels::grouped`.
//!
//! Not operations of a graph, but launches that `search::population` makes of many networks' layers at once. Each type here
//! is a table on a device: it is built from a list of problems (where tensors lie, what is done to them), and launched any
//! number of times with another step's [`Live`] numbers.
//!
//! | type | what a launch does |
//! |---|---|
//! | [`Minibatches`] | gathers the rows of every minibatch |
//! | [`Products`] | matrix products of one form, with their epilogues: one launch a tile size, so at most two |
//! | [`Passes`] | dropout and skip connections of one level, forward or backward |
//! | [`Biases`] | gradients of biases |
//! | [`Losses`] | losses, their gradients, right predictions |
//! | [`Norms`] | factors that clip gradients, per network (two launches) |
//! | [`Updates`] | a step of every optimiser, whatever its rule |
//!
//! An empty list launches nothing. Costs are those of the operations for one network; a launch costs the same few
//! microseconds for a thousand networks as for one.
//!
//! Constructors check that every tensor has room for its extents, and that extents fit the table's words. What they cannot
//! check: that addresses are those of live memory ([`Slot`]s of buffers that outlive the table), and that problems of one
//! launch do not overlap; the `sim` device does.

mod data;
mod loss;
mod optim;
mod passes;
mod products;

use bytemuck::cast_slice;
use gpu_kernels::grouped as kernels;
use gpu_kernels::optim::HYPER_LEN;

pub use data::{Minibatch, Minibatches};
pub use loss::{LossKind, Losses, NetworkLoss};
pub use optim::{Clip, Norms, Rule, Update, Updates};
pub use passes::{Bias, Biases, Dropout, Pass, Passes};
pub use products::{Addend, Form, Product, Products, Side};

use super::Slot;
use crate::device::{Buffer, DType, Device, DeviceError, DevicePtr, Element, Replay};

/// The kernels that are launched here.
pub const KERNELS: &[&str] = &[
    "grouped_gather",
    "grouped_nt_32",
    "grouped_nt_64",
    "grouped_nn_32",
    "grouped_nn_64",
    "grouped_tn_32",
    "grouped_tn_64",
    "grouped_forward_pass",
    "grouped_backward_pass",
    "grouped_bias_gradient",
    "grouped_loss",
    "grouped_norm_finish",
    "grouped_optimizer",
];

/// Where the elements of a buffer of numbers are.
pub fn slot(buffer: &Buffer<f32>) -> Slot {
    Slot { address: buffer.address(), len: buffer.len(), dtype: DType::F32 }
}

/// Where the elements of a buffer of integers are.
pub fn index_slot(buffer: &Buffer<u32>) -> Slot {
    Slot { address: buffer.address(), len: buffer.len(), dtype: DType::U32 }
}

/// What one network does in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Rows of its minibatch; 0: it rests.
    pub rows: usize,
    /// First row: a place in the epoch's permutation, or a row of the data.
    pub offset: usize,
    /// The step counter of dropout.
    pub step: u64,
    /// Numbers of the optimiser ([`Optimizer::hyper`](super::optim::Optimizer::hyper)).
    pub hyper: [f32; HYPER_LEN],
}

/// The live numbers of some steps of some networks, on the host.
#[derive(Clone, Debug)]
pub struct Schedule {
    words: Vec<u32>,
    networks: usize,
    data: usize,
}

impl Schedule {
    /// `steps` steps in which all of `networks` networks rest; minibatches are of `data` rows.
    pub fn new(steps: usize, networks: usize, data: usize) -> Schedule {
        Schedule { words: vec![0; steps * networks * kernels::LIVE_WORDS], networks, data }
    }

    /// What the network in `slot` does in step `at`. Error: rows past the end of the data.
    ///
    /// # Panics
    /// When there is no such step or slot.
    pub fn set(&mut self, at: usize, slot: usize, step: &Step) -> Result<(), DeviceError> {
        if step.offset.checked_add(step.rows).is_none_or(|end| end > self.data) {
            let reason = format!("rows {} .. + {} of {}", step.offset, step.rows, self.data);
            return Err(invalid("grouped", reason));
        }
        assert!(slot < self.networks, "slot {slot} of {}", self.networks);
        let start = (at * self.networks + slot) * kernels::LIVE_WORDS;
        let words = &mut self.words[start..start + kernels::LIVE_WORDS];
        words[kernels::ROWS] = step.rows as u32;
        words[kernels::OFFSET] = step.offset as u32;
        words[kernels::STEP] = step.step as u32;
        words[kernels::STEP + 1] = (step.step >> 32) as u32;
        words[kernels::HYPER..kernels::HYPER + HYPER_LEN].copy_from_slice(cast_slice(&step.hyper));
        Ok(())
    }

    /// The numbers on `device`.
    pub fn upload(&self, device: &Device) -> Result<Live, DeviceError> {
        Ok(Live { words: device.buffer(&self.words)?, networks: self.networks })
    }
}

/// The live numbers of some steps, on a device.
#[derive(Debug)]
pub struct Live {
    words: Buffer<u32>,
    networks: usize,
}

impl Live {
    /// Those of step `at`.
    ///
    /// # Panics
    /// When there is no such step.
    pub fn at(&self, at: usize) -> Numbers {
        let start = at * self.networks * kernels::LIVE_WORDS;
        assert!(start < self.words.len(), "step {at} of {} words", self.words.len());
        Numbers(DevicePtr::new(self.words.address() + 4 * start as u64))
    }
}

/// The address of one step's live numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers(DevicePtr<u32>);

/// Runs the same launches step after step, on live numbers that are copied to one address first: so the launches of every
/// step are the same, and a GPU that can records them (the second time; the first loads modules) and then starts all of them as
/// one.
pub struct Recorder {
    current: Buffer<u32>,
    recorded: Option<Box<dyn Replay>>,
    runs: u64,
}

impl Recorder {
    /// For launches that name the slots of `networks` networks. Error: no memory.
    pub fn new(device: &Device, networks: usize) -> Result<Recorder, DeviceError> {
        Ok(Recorder { current: device.alloc(networks * kernels::LIVE_WORDS)?, recorded: None, runs: 0 })
    }

    /// Runs `launches`, always the same ones, on step `at` of `live`. Errors: theirs; numbers of more or fewer networks.
    pub fn run(
        &mut self,
        device: &Device,
        live: &Live,
        at: usize,
        mut launches: impl FnMut(Numbers) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let words = live.networks * kernels::LIVE_WORDS;
        if words != self.current.len() {
            return Err(DeviceError::Length { what: "live words", got: words, expected: self.current.len() });
        }
        device.0.copy(self.current.address(), live.at(at).0.address, 4 * words)?;
        self.runs += 1;
        if let Some(recorded) = &self.recorded {
            return recorded.replay();
        }
        let numbers = Numbers(DevicePtr::new(self.current.address()));
        if self.runs == 2
            && let Some(recorded) = device.0.capture(&mut || launches(numbers))?
        {
            recorded.replay()?;
            self.recorded = Some(recorded);
            return Ok(());
        }
        launches(numbers)
    }
}

/// Problems and tasks on a device.
#[derive(Debug)]
pub(in crate::ops) struct Table {
    pub problems: Buffer<u64>,
    pub tasks: Buffer<u64>,
    /// As many as there are tasks.
    pub blocks: u32,
}

impl Table {
    /// `None` without tasks.
    pub fn new(
        device: &Device,
        kernel: &str,
        problems: &[u64],
        tasks: &[u64],
    ) -> Result<Option<Table>, DeviceError> {
        let blocks = blocks(kernel, tasks.len())?;
        if blocks == 0 {
            return Ok(None);
        }
        Ok(Some(Table { problems: device.buffer(problems)?, tasks: device.buffer(tasks)?, blocks }))
    }

    /// Bytes of both.
    pub fn bytes(&self) -> usize {
        8 * (self.problems.len() + self.tasks.len())
    }
}

/// A number of blocks that a grid has.
fn blocks(kernel: &str, count: usize) -> Result<u32, DeviceError> {
    u32::try_from(count)
        .ok()
        .filter(|&n| n < 1 << 31)
        .ok_or_else(|| invalid(kernel, format!("{count} blocks are more than a grid has; do fewer at once")))
}

fn invalid(kernel: &str, reason: impl Into<String>) -> DeviceError {
    DeviceError::InvalidLaunch { kernel: kernel.into(), reason: reason.into() }
}

/// Two halves as a word of a table.
pub(in crate::ops) fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// An extent as a half word. Error: 2^31 or more.
fn half(kernel: &str, what: &str, extent: usize) -> Result<u32, DeviceError> {
    u32::try_from(extent)
        .ok()
        .filter(|&n| n < 1 << 31)
        .ok_or_else(|| invalid(kernel, format!("{what} of {extent}; at most 2^31 - 1")))
}

/// The address of `slot`, checked. Errors: fewer elements than `need`, other elements than `dtype`.
fn tensor(kernel: &str, what: &str, slot: Slot, dtype: DType, need: usize) -> Result<u64, DeviceError> {
    if slot.dtype != dtype || slot.len < need {
        let reason = format!("{what} has {} elements of {}, needs {need} of {dtype}", slot.len, slot.dtype);
        return Err(invalid(kernel, reason));
    }
    Ok(slot.address)
}

/// `a * b`, below 2^31. Error: more.
fn elements(kernel: &str, what: &str, a: usize, b: usize) -> Result<usize, DeviceError> {
    let n = a.saturating_mul(b);
    half(kernel, what, n).map(|n| n as usize)
}

/// A buffer of zeros.
pub fn zeros<T: Element>(device: &Device, len: usize) -> Result<Buffer<T>, DeviceError> {
    device.buffer(&vec![T::zeroed(); len])
}
