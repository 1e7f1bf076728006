//! The GPU behind the entry points: its memory, modules, events and graphs, and the queue of what it was told to do.
//!
//! Work is queued by the calls and done by [`Gpu::finish`], when somebody waits. All streams share the queue. A stream that
//! captures has a list of its own, which becomes a graph.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ptx_sim::{Arg, ErrorKind, KernelInfo, LaunchConfig, Module, Sim, SimError};

use crate::settings::Settings;

/// Results of the driver API (`CUresult`).
pub(crate) mod code {
    pub const SUCCESS: u32 = 0;
    pub const INVALID_VALUE: u32 = 1;
    pub const OUT_OF_MEMORY: u32 = 2;
    pub const NOT_INITIALIZED: u32 = 3;
    pub const NO_DEVICE: u32 = 100;
    pub const INVALID_DEVICE: u32 = 101;
    pub const INVALID_IMAGE: u32 = 200;
    pub const INVALID_CONTEXT: u32 = 201;
    pub const NO_BINARY_FOR_GPU: u32 = 209;
    pub const INVALID_PTX: u32 = 218;
    pub const INVALID_HANDLE: u32 = 400;
    pub const NOT_FOUND: u32 = 500;
    pub const ILLEGAL_ADDRESS: u32 = 700;
    pub const LAUNCH_OUT_OF_RESOURCES: u32 = 701;
    pub const HOST_MEMORY_ALREADY_REGISTERED: u32 = 712;
    pub const HOST_MEMORY_NOT_REGISTERED: u32 = 713;
    pub const ASSERT: u32 = 710;
    pub const MISALIGNED_ADDRESS: u32 = 716;
    pub const LAUNCH_FAILED: u32 = 719;
    pub const NOT_SUPPORTED: u32 = 801;
    pub const STREAM_CAPTURE_UNSUPPORTED: u32 = 900;
    pub const STREAM_CAPTURE_INVALIDATED: u32 = 901;
    pub const INVALID_CLUSTER_SIZE: u32 = 912;
}

/// Shared memory of a block without opting in.
pub(crate) const SHARED_BYTES: u32 = 48 << 10;

/// A kernel of a loaded module.
#[derive(Debug)]
pub(crate) struct Function {
    pub module: Module,
    pub info: KernelInfo,
    /// The module's handle.
    pub owner: usize,
}

/// Bytes of the host, to be uploaded.
#[derive(Clone, Debug)]
pub(crate) enum Host {
    /// Taken when the call was made, as the driver does with memory that is not pinned.
    Taken(Vec<u8>),
    /// Pinned: read when the copy is done.
    Pinned { address: usize, bytes: usize },
}

/// Something the GPU was told to do.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Launch { function: Arc<Function>, config: LaunchConfig, args: Vec<Arg> },
    Upload { to: u64, from: Host },
    Download { to: usize, from: u64, bytes: usize },
    Copy { to: u64, from: u64, bytes: usize },
    Fill { to: u64, pattern: Vec<u8>, count: usize },
    Record(usize),
}

/// An event: when the queue came to it last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Event {
    pub reached: Option<Instant>,
    /// Records that the queue has not come to.
    pub pending: usize,
}

pub(crate) struct Gpu {
    pub settings: Settings,
    pub sim: Sim,
    pub modules: HashMap<usize, Module>,
    pub functions: HashMap<usize, Arc<Function>>,
    /// Bytes of dynamic shared memory that a function opted in to, by its handle.
    pub opted_in: HashMap<usize, u32>,
    pub queue: VecDeque<Work>,
    /// What each capturing stream has gathered.
    pub captures: HashMap<usize, Vec<Work>>,
    pub graphs: HashMap<usize, Vec<Work>>,
    pub events: HashMap<usize, Event>,
    pub streams: Vec<usize>,
    /// Sizes of device memory by address.
    pub memory: BTreeMap<u64, usize>,
    /// The same of modules' variables that were asked for.
    pub variables: BTreeMap<u64, usize>,
    /// Sizes of pinned host memory by address.
    pub pinned: BTreeMap<usize, usize>,
    /// The error that the context was lost to, else 0.
    pub lost: u32,
    handles: usize,
}

// SAFETY: nothing in it is tied to a thread: handles are numbers, and pinned addresses are dereferenced only while a call
// holds the lock, on behalf of a caller who keeps the memory alive until it has waited.
unsafe impl Send for Gpu {}

static GPU: Mutex<Option<Gpu>> = Mutex::new(None);

/// The GPU for the length of a call; the error of the settings where they are wrong.
pub(crate) struct Held(MutexGuard<'static, Option<Gpu>>);

impl Held {
    /// `None` before [`start`].
    pub fn get(&mut self) -> Option<&mut Gpu> {
        self.0.as_mut()
    }
}

/// Waits for the other threads' calls.
pub(crate) fn hold() -> Held {
    Held(GPU.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Makes the GPU, once.
pub(crate) fn start() -> u32 {
    let mut gpu = hold();
    if gpu.0.is_some() {
        return code::SUCCESS;
    }
    match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => {
            *gpu.0 = Some(Gpu::new(settings));
            code::SUCCESS
        }
        Err(reason) => {
            eprintln!("ptx-sim-driver: {reason}");
            code::NO_DEVICE
        }
    }
}

impl Gpu {
    pub fn new(settings: Settings) -> Gpu {
        Gpu {
            sim: settings.simulator(),
            settings,
            modules: HashMap::new(),
            functions: HashMap::new(),
            opted_in: HashMap::new(),
            queue: VecDeque::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            events: HashMap::new(),
            streams: Vec::new(),
            memory: BTreeMap::new(),
            variables: BTreeMap::new(),
            pinned: BTreeMap::new(),
            lost: 0,
            handles: 0,
        }
    }

    /// As new. Handles are not used again.
    pub fn reset(&mut self) {
        let handles = self.handles;
        *self = Gpu::new(self.settings.clone());
        self.handles = handles;
    }

    /// A number that looks like a pointer and is none.
    pub fn handle(&mut self) -> usize {
        self.handles += 1;
        0x1000 + 16 * self.handles
    }

    /// Bytes of device memory in use.
    pub fn used(&self) -> usize {
        self.memory.values().sum()
    }

    /// Whether `bytes` of the host from `address` on are pinned.
    pub fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let before = self.pinned.range(..=address).next_back();
        before.is_some_and(|(&start, &size)| address + bytes <= start + size)
    }

    /// Whether the device memory is there, and long enough.
    pub fn is_memory(&self, address: u64, bytes: usize) -> bool {
        [&self.memory, &self.variables].iter().any(|known| {
            let before = known.range(..=address).next_back();
            before.is_some_and(|(&start, &size)| address + bytes as u64 <= start + size as u64)
        })
    }

    /// Queues, or adds to what `stream` captures.
    pub fn enqueue(&mut self, stream: usize, work: Work) -> u32 {
        match self.captures.get_mut(&stream) {
            Some(nodes) => nodes.push(work),
            None => {
                if let Work::Record(event) = work {
                    self.events.entry(event).or_default().pending += 1;
                }
                self.queue.push_back(work);
            }
        }
        code::SUCCESS
    }

    /// Does what is queued, until `event` has been reached as often as it was recorded; all of it where there is none.
    /// The code of the fault, if the context is lost.
    pub fn finish(&mut self, event: Option<usize>) -> u32 {
        let pending = |gpu: &Gpu| event.is_none_or(|e| gpu.events.get(&e).is_some_and(|e| e.pending > 0));
        while self.lost == 0 && pending(self) {
            let Some(work) = self.queue.pop_front() else { break };
            if let Err(error) = self.perform(work) {
                eprintln!("ptx-sim-driver: {error}");
                self.lost = fault(error.kind);
                self.queue.clear();
            }
        }
        self.lost
    }

    fn perform(&mut self, work: Work) -> Result<(), SimError> {
        match work {
            Work::Launch { function, config, args } => {
                let stats = self.sim.launch(&function.module, &function.info.name, &config, &args)?;
                for text in stats.printf {
                    print!("{text}");
                }
            }
            Work::Upload { to, from: Host::Taken(bytes) } => self.sim.write(to, &bytes)?,
            Work::Upload { to, from: Host::Pinned { address, bytes } } => {
                // SAFETY: the caller keeps pinned memory alive, and does not write it, until it has waited for the copy.
                let from = unsafe {
                    std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), bytes)
                };
                self.sim.write(to, from)?;
            }
            Work::Download { to, from, bytes } => {
                let mut data = vec![0; bytes];
                self.sim.read(from, &mut data)?;
                // SAFETY: the caller keeps the memory alive, and leaves it alone, until it has waited for the copy.
                unsafe {
                    let to = std::ptr::with_exposed_provenance_mut::<u8>(to);
                    std::ptr::copy_nonoverlapping(data.as_ptr(), to, bytes);
                }
            }
            Work::Copy { to, from, bytes } => self.sim.copy(to, from, bytes)?,
            Work::Fill { to, pattern, count } => match pattern[..] {
                [byte] => self.sim.fill(to, byte, count)?,
                _ => self.sim.write(to, &pattern.repeat(count))?,
            },
            Work::Record(event) => {
                // An event that was destroyed since is nobody's.
                if let Some(event) = self.events.get_mut(&event) {
                    event.reached = Some(Instant::now());
                    event.pending = event.pending.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Queues a launch that the driver would accept; else its code.
    pub fn launch(
        &mut self,
        stream: usize,
        handle: usize,
        config: LaunchConfig,
        args: impl FnOnce(&KernelInfo) -> Vec<Arg>,
    ) -> u32 {
        let Some(function) = self.functions.get(&handle).cloned() else { return code::INVALID_HANDLE };
        let info = &function.info;
        let threads: u64 = config.block.iter().map(|&n| u64::from(n)).product();
        let count = |n: [u32; 3]| n.iter().map(|&n| u64::from(n)).product::<u64>();
        let grid = config.grid;
        let dynamic = self.opted_in.get(&handle).copied().unwrap_or(SHARED_BYTES - info.static_shared);
        if threads == 0 || threads > 1024 || config.block[2] > 64 || grid.contains(&0) {
            return code::INVALID_VALUE;
        }
        if grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 || config.shared_bytes > dynamic
        {
            return code::INVALID_VALUE;
        }
        if info.required_threads.is_some_and(|required| required != config.block) {
            return code::INVALID_VALUE;
        }
        if info.max_threads.is_some_and(|most| threads > count(most)) {
            return code::LAUNCH_OUT_OF_RESOURCES;
        }
        let cluster = info.required_cluster.unwrap_or([1; 3]);
        if grid.iter().zip(cluster).any(|(&blocks, each)| !blocks.is_multiple_of(each)) {
            return code::INVALID_CLUSTER_SIZE;
        }
        let args = args(info);
        self.enqueue(stream, Work::Launch { function, config: config.cluster(cluster), args })
    }
}

/// What the driver says of a kernel that the simulator found fault with.
fn fault(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::OutOfBounds | ErrorKind::UseAfterFree | ErrorKind::ReadOnly => code::ILLEGAL_ADDRESS,
        ErrorKind::Misaligned => code::MISALIGNED_ADDRESS,
        ErrorKind::AssertionFailed => code::ASSERT,
        _ => code::LAUNCH_FAILED,
    }
}
