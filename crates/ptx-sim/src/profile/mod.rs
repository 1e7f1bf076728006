//! What a launch did to the machine: instructions, memory traffic, conflicts, divergence; and what a GPU makes of it.
//!
//! [`Profile`] is gathered when the simulator was built with [`SimBuilder::profile`](crate::SimBuilder::profile), and
//! arrives in [`LaunchStats::profile`](crate::LaunchStats::profile). All its counts are exact for the PTX that ran: sectors,
//! wavefronts and lanes are worked out from the addresses of every access; bulk copies count as perfectly spread over the banks. [`occupancy`] and [`roofline`] then say how many
//! blocks a named [`Gpu`] holds at a time and what bounds the kernel on it; a roofline is an estimate, and prints what it
//! assumes.
//!
//! ```
//! use ptx_sim::{Arg, LaunchConfig, Module, Sim, profile::{Gpu, roofline}};
//!
//! let module = Module::parse(
//!     ".version 7.0 .target sm_80 .visible .entry double(.param .u64 p) {
//!        .reg .b32 %r<3>; .reg .b64 %d<3>;
//!        ld.param.u64 %d0, [p];  mov.u32 %r0, %tid.x;  mul.wide.u32 %d1, %r0, 4;  add.s64 %d2, %d0, %d1;
//!        ld.global.f32 %r1, [%d2];  add.rn.f32 %r2, %r1, %r1;  st.global.f32 [%d2], %r2;  ret; }",
//! )?;
//! let mut sim = Sim::builder().profile(true).build();
//! let x = sim.alloc(128);
//! sim.fill(x, 1, 128)?;
//! let stats = sim.launch(&module, "double", &LaunchConfig::linear(32, 32), &[Arg::U64(x)])?;
//! let profile = stats.profile.expect("it was asked for");
//! assert_eq!(profile.global.loads.sectors_per_request(), 4.0);
//! assert_eq!((profile.flops.single, profile.global.footprint), (32, 128));
//! println!("{profile}\n{}", roofline(&profile, &Gpu::H100, None));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod flops;
mod gpu;
mod occupancy;
mod pattern;
mod ptxas;
pub(crate) mod record;
mod report;
mod roofline;

pub use gpu::{Gpu, Lanes, SmLimits, UnknownGpu};
pub use occupancy::{Limit, Occupancy, Waves, occupancy};
pub use ptxas::{PtxasError, Usage, find_ptxas, usage, usages};
pub use roofline::{Bound, LAUNCH_FLOOR_US, Roofline, roofline};

use std::collections::BTreeMap;

use crate::stats::{Class, LaunchStats, TensorType};

/// Requests to global memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Warp instructions that reached global memory.
    pub requests: u64,
    /// Bytes asked for, over all lanes.
    pub bytes: u64,
    /// 32-byte sectors moved, counted per request.
    pub sectors: u64,
    /// Sectors if the different bytes of each request lay side by side.
    pub ideal_sectors: u64,
}

/// Requests to shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedTraffic {
    /// Warp instructions that reached shared memory.
    pub requests: u64,
    /// Bytes asked for, over all lanes.
    pub bytes: u64,
    /// Passes over the 32 banks.
    pub wavefronts: u64,
    /// Passes if no two lanes wanted different words of one bank.
    pub ideal_wavefronts: u64,
}

/// Requests to local memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalTraffic {
    /// Warp instructions that reached local memory.
    pub requests: u64,
    /// Bytes loaded and stored, over all lanes.
    pub bytes: u64,
}

/// Atomics and reductions, in global and shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contention {
    /// Warp instructions.
    pub requests: u64,
    /// Lanes that took part.
    pub lanes: u64,
    /// Different addresses, counted per request: lanes beyond them wait for each other.
    pub addresses: u64,
    /// Most lanes of one request at one address.
    pub worst: u64,
}

/// Global memory by what the accesses did, and how much different memory they touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobalTraffic {
    /// Loads.
    pub loads: Traffic,
    /// Stores.
    pub stores: Traffic,
    /// Atomics and reductions.
    pub atomics: Traffic,
    /// Bytes of the different sectors that were loaded, by atomics too: the least a kernel with an endless cache moves.
    pub footprint_loads: u64,
    /// Bytes of the different sectors that were stored, by atomics too.
    pub footprint_stores: u64,
    /// Bytes of the different sectors that were touched at all.
    pub footprint: u64,
}

/// Shared memory by what the accesses did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedMemory {
    /// Loads.
    pub loads: SharedTraffic,
    /// Stores.
    pub stores: SharedTraffic,
    /// Atomics and reductions.
    pub atomics: SharedTraffic,
}

/// Branch instructions of warps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Branches {
    /// Executed, unconditional ones included.
    pub executed: u64,
    /// Those whose lanes went different ways.
    pub divergent: u64,
}

/// Floating-point operations of active lanes; a fused multiply-add counts as two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flops {
    /// f16 and bf16.
    pub half: u64,
    /// f32.
    pub single: u64,
    /// f64.
    pub double: u64,
    /// Tensor cores, by type of the factors, named as in [`Gpu::tensor`].
    pub tensor: Vec<(String, u64)>,
}

/// Warp instructions by the unit of an SM that runs them; a packed instruction counts once per result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pipes {
    /// f16 and bf16 arithmetic.
    pub half: u64,
    /// f32 arithmetic.
    pub single: u64,
    /// f64 arithmetic.
    pub double: u64,
    /// Integer arithmetic and logic.
    pub integer: u64,
    /// Conversions.
    pub convert: u64,
    /// Elementary functions, division, roots.
    pub special: u64,
    /// Requests to global, shared and local memory.
    pub memory: u64,
}

/// What the instructions of one PTX line did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LineProfile {
    /// 1-based line of the PTX text.
    pub line: u32,
    /// The line.
    pub text: String,
    /// Function it belongs to.
    pub function: String,
    /// Source file and line, from `.loc`.
    pub source: Option<(String, u32)>,
    /// Instructions issued, one per warp.
    pub warp_instructions: u64,
    /// Lanes that came here, over all executions, and ...
    pub arrived_lanes: u64,
    /// ... those whose guard predicate held.
    pub lane_instructions: u64,
    /// Executions that sent lanes different ways.
    pub divergent_branches: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Global memory.
    pub global: Traffic,
    /// Shared memory.
    pub shared: SharedTraffic,
    /// Local memory.
    pub local: LocalTraffic,
    /// Atomics.
    pub atomics: Contention,
}

/// What a launch did. See the [module](self).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// Name of the kernel.
    pub kernel: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Blocks of a cluster in x, y, z.
    pub cluster: [u32; 3],
    /// Shared memory of a block, static and dynamic, in bytes.
    pub shared_bytes: u32,
    /// Instructions issued, one per warp.
    pub warp_instructions: u64,
    /// Lanes that came to an instruction, over all instructions, and ...
    pub arrived_lanes: u64,
    /// ... those that executed it, because they had no guard predicate or it held.
    pub lane_instructions: u64,
    /// Warp instructions by class, classes without any left out.
    pub by_class: Vec<(Class, u64)>,
    /// Warp instructions by the unit that runs them.
    pub pipes: Pipes,
    /// Floating-point operations.
    pub flops: Flops,
    /// Global memory.
    pub global: GlobalTraffic,
    /// Shared memory.
    pub shared: SharedMemory,
    /// Local memory: spills, stack frames, arrays with a dynamic index.
    pub local: LocalTraffic,
    /// Loads of `.const` variables, in warp instructions.
    pub constant_requests: u64,
    /// Atomics and reductions.
    pub atomics: Contention,
    /// Branches.
    pub branches: Branches,
    /// Block barriers completed.
    pub barriers: u64,
    /// The lines that were executed, in the order of the text.
    pub lines: Vec<LineProfile>,
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

impl Traffic {
    /// Mean sectors of a request: 4 is the least for 32 lanes of 4 bytes each, 32 the most.
    pub fn sectors_per_request(&self) -> f64 {
        ratio(self.sectors, self.requests)
    }

    /// The least sectors of a request for the bytes it wants.
    pub fn ideal_per_request(&self) -> f64 {
        ratio(self.ideal_sectors, self.requests)
    }

    /// Bytes moved: sectors of 32.
    pub fn moved(&self) -> u64 {
        32 * self.sectors
    }

    pub(crate) fn add(&mut self, o: &Traffic) {
        self.requests += o.requests;
        self.bytes += o.bytes;
        self.sectors += o.sectors;
        self.ideal_sectors += o.ideal_sectors;
    }
}

impl SharedTraffic {
    /// Mean wavefronts of a request.
    pub fn wavefronts_per_request(&self) -> f64 {
        ratio(self.wavefronts, self.requests)
    }

    /// Wavefronts that bank conflicts add.
    pub fn conflicts(&self) -> u64 {
        self.wavefronts.saturating_sub(self.ideal_wavefronts)
    }

    pub(crate) fn add(&mut self, o: &SharedTraffic) {
        self.requests += o.requests;
        self.bytes += o.bytes;
        self.wavefronts += o.wavefronts;
        self.ideal_wavefronts += o.ideal_wavefronts;
    }
}

impl LocalTraffic {
    pub(crate) fn add(&mut self, o: &LocalTraffic) {
        self.requests += o.requests;
        self.bytes += o.bytes;
    }
}

impl Contention {
    /// Mean lanes that meet at one address: 1 is none.
    pub fn lanes_per_address(&self) -> f64 {
        ratio(self.lanes, self.addresses)
    }

    pub(crate) fn add(&mut self, o: &Contention) {
        self.requests += o.requests;
        self.lanes += o.lanes;
        self.addresses += o.addresses;
        self.worst = self.worst.max(o.worst);
    }
}

impl GlobalTraffic {
    /// Loads, stores and atomics together.
    pub fn total(&self) -> Traffic {
        let mut t = self.loads;
        t.add(&self.stores);
        t.add(&self.atomics);
        t
    }
}

impl SharedMemory {
    /// Loads, stores and atomics together.
    pub fn total(&self) -> SharedTraffic {
        let mut t = self.loads;
        t.add(&self.stores);
        t.add(&self.atomics);
        t
    }
}

impl Flops {
    /// Operations of every kind.
    pub fn total(&self) -> u64 {
        self.half + self.single + self.double + self.tensor.iter().map(|t| t.1).sum::<u64>()
    }
}

impl LineProfile {
    /// Cycles of one SM that the line's instructions keep its schedulers (four instructions a cycle) or its memory pipe (one
    /// request, one wavefront or four sectors a cycle) busy: what the report sorts by.
    pub fn cycles(&self) -> f64 {
        let memory = self.shared.wavefronts as f64 + self.global.sectors as f64 / 4.0;
        let requests = self.global.requests + self.shared.requests + self.local.requests;
        (self.warp_instructions as f64 / 4.0).max(requests as f64).max(memory)
    }
}

impl Profile {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Blocks of the grid.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&v| v as u64).product()
    }

    /// Lanes at work of the 32 that each instruction could have used, from 0 to 1.
    pub fn lane_efficiency(&self) -> f64 {
        ratio(self.lane_instructions, 32 * self.warp_instructions)
    }

    /// The lines that keep an SM busy longest, longest first.
    pub fn hottest(&self, n: usize) -> Vec<&LineProfile> {
        let mut lines: Vec<&LineProfile> = self.lines.iter().collect();
        lines.sort_by(|a, b| b.cycles().total_cmp(&a.cycles()).then(a.line.cmp(&b.line)));
        lines.truncate(n);
        lines
    }

    /// The source lines that keep an SM busy longest, longest first: file, line, cycles as [`LineProfile::cycles`] counts
    /// them, and warp instructions. Empty for PTX without `.loc`.
    pub fn hottest_sources(&self, n: usize) -> Vec<(&str, u32, f64, u64)> {
        let mut sums: BTreeMap<(&str, u32), (f64, u64)> = BTreeMap::new();
        for l in &self.lines {
            if let Some((file, row)) = &l.source {
                let sum = sums.entry((file, *row)).or_default();
                sum.0 += l.cycles();
                sum.1 += l.warp_instructions;
            }
        }
        let mut lines: Vec<_> = sums.into_iter().map(|((f, r), (c, w))| (f, r, c, w)).collect();
        lines.sort_by(|a, b| b.2.total_cmp(&a.2));
        lines.truncate(n);
        lines
    }

    /// Takes over what [`LaunchStats`] counts by itself.
    fn adopt(&mut self, stats: &LaunchStats) {
        self.warp_instructions = stats.warp_instructions;
        self.lane_instructions = stats.lane_instructions;
        self.barriers = stats.barriers;
        let tensor = TensorType::ALL.iter().zip(stats.tensor_flop).filter(|t| t.1 > 0);
        self.flops.tensor = tensor.map(|(ty, n)| (format!("{ty:?}").to_lowercase(), n)).collect();
        let count = |c: &Class| (*c, stats.by_class[*c as usize]);
        self.by_class = Class::ALL.iter().map(count).filter(|c| c.1 > 0).collect();
    }
}
