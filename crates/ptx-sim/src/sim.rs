//! The simulator as its users see it: buffers, launches, options.

use crate::access::Placed;
use crate::async_ops::Engine;
use crate::block::{Grid, Launch};
use crate::cluster::Cluster;
use crate::config::{Arg, Checks, LaunchConfig, MAX_CLUSTER, MAX_SHARED, MAX_THREADS, pack};
use crate::isa::{FUNC_BASE, SharedVar};
use crate::ledger::{DEFAULT_LIMIT, Ledger};
use crate::link::Program;
use crate::memory::Global;
use crate::race::Races;
use crate::stats::LaunchStats;
use crate::{Accumulation, ErrorKind, Module, SimError};
use std::collections::HashMap;
use std::sync::Arc;

/// Options of a simulator.
#[derive(Clone, Debug)]
pub struct SimBuilder {
    checks: Checks,
    seed: Option<u64>,
    budget: u64,
    memory: u64,
    threads: Option<usize>,
    accumulation: Accumulation,
    profile: bool,
}

impl SimBuilder {
    /// Which checks to make (default: all).
    pub fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Shuffles the order of blocks, and of warps between barriers, by this seed. Without one both run in order.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Warp instructions a launch may execute before it counts as an infinite loop (default: 2^36).
    pub fn instruction_budget(mut self, warp_instructions: u64) -> Self {
        self.budget = warp_instructions;
        self
    }

    /// Bytes the simulator may use for buffers and for what running kernels need: their shared memory, registers and local
    /// memory (default: 8 GiB). Beyond it allocations and launches end in [`ErrorKind::MemoryLimit`].
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How tensor-core instructions sum (default: [`Accumulation::Sequential`]).
    pub fn accumulation(mut self, accumulation: Accumulation) -> Self {
        self.accumulation = accumulation;
        self
    }

    /// Whether launches gather a [`Profile`](crate::profile::Profile) (default: no). They then run slower.
    pub fn profile(mut self, on: bool) -> Self {
        self.profile = on;
        self
    }

    /// Most threads that run the blocks of a launch, where nothing a launch reports depends on their order: with
    /// [`Checks::none`], without a seed, without a profile, in kernels that print nothing and read no clock.
    ///
    /// Without a number it is the machine's, but kernels whose results may depend on the order of blocks (sums of floats by
    /// atomics, atomics whose result is used) run on one thread, so that they give the same bits every time.
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = Some(n.max(1));
        self
    }

    /// The simulator.
    pub fn build(self) -> Sim {
        Sim {
            checks: self.checks,
            seed: self.seed,
            budget: self.budget,
            ledger: Ledger::new(self.memory),
            threads: self.threads,
            accumulation: self.accumulation,
            profile: self.profile,
            global: Global::default(),
            modules: HashMap::new(),
            programs: HashMap::new(),
            races: Races::default(),
            spare: Vec::new(),
        }
    }
}

/// A simulated device: memory, and the means to launch kernels.
///
/// ```
/// use ptx_sim::{Arg, LaunchConfig, Module, Sim};
///
/// let module = Module::parse(
///     ".version 7.0 .target sm_80 .visible .entry double(.param .u64 p) {
///        .reg .b32 %r<3>; .reg .b64 %d<3>;
///        ld.param.u64 %d0, [p];  mov.u32 %r0, %tid.x;  mul.wide.u32 %d1, %r0, 4;  add.s64 %d2, %d0, %d1;
///        ld.global.f32 %r1, [%d2];  add.rn.f32 %r2, %r1, %r1;  st.global.f32 [%d2], %r2;  ret; }",
/// )?;
/// let mut sim = Sim::builder().build();
/// let x = sim.alloc(8);
/// sim.write(x, &[1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat())?;
/// sim.launch(&module, "double", &LaunchConfig::new([1, 1, 1], [2, 1, 1]), &[Arg::U64(x)])?;
/// let mut out = [0; 8];
/// sim.read(x, &mut out)?;
/// assert_eq!(out, [3f32.to_le_bytes(), (-4f32).to_le_bytes()].concat()[..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sim {
    checks: Checks,
    seed: Option<u64>,
    budget: u64,
    ledger: Ledger,
    threads: Option<usize>,
    accumulation: Accumulation,
    profile: bool,
    pub(crate) global: Global,
    /// Addresses of each module's variables.
    modules: HashMap<u64, Vec<u64>>,
    programs: HashMap<(u64, String), Arc<Program>>,
    races: Races,
    /// Clusters of earlier launches, whose memory the next ones use again.
    spare: Vec<Cluster>,
}

impl Sim {
    /// Options with their defaults.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            checks: Checks::all(),
            seed: None,
            budget: 1 << 36,
            memory: DEFAULT_LIMIT,
            threads: None,
            accumulation: Accumulation::default(),
            profile: false,
        }
    }

    /// Allocates a buffer: 256-byte aligned, uninitialised. Addresses are never used twice.
    ///
    /// # Panics
    /// When the buffer would exceed the memory limit, as a host's own allocation does; see [`Sim::try_alloc`].
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.try_alloc(bytes).unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`Sim::alloc`], but an error of kind [`ErrorKind::MemoryLimit`] beyond [`SimBuilder::memory_limit`].
    pub fn try_alloc(&mut self, bytes: usize) -> Result<u64, SimError> {
        self.global.alloc(bytes, &mut self.ledger)
    }

    /// Releases a buffer by its first address.
    pub fn free(&mut self, addr: u64) -> Result<(), SimError> {
        self.global.free(addr, &mut self.ledger)
    }

    /// Copies host bytes into a buffer and marks them initialised.
    pub fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), SimError> {
        let i = self.global.host(addr, data.len())?;
        let a = self.global.get_mut(i);
        let at = (addr - a.base) as usize;
        a.arena.bytes[at..at + data.len()].copy_from_slice(data);
        a.arena.init.set(at, data.len());
        Ok(())
    }

    /// Copies device bytes to the host. Bytes nobody wrote read as 0xff.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), SimError> {
        let a = self.global.get(self.global.host(addr, out.len())?);
        let at = (addr - a.base) as usize;
        out.copy_from_slice(&a.arena.bytes[at..at + out.len()]);
        Ok(())
    }

    /// [`Sim::read`], but an error when a byte of the range was never written.
    pub fn read_checked(&self, addr: u64, out: &mut [u8]) -> Result<(), SimError> {
        let a = self.global.get(self.global.host(addr, out.len())?);
        let at = (addr - a.base) as usize;
        if !a.arena.init.complete()
            && let Some(missing) = a.arena.init.first_missing(at, out.len())
        {
            let address = a.base + missing as u64;
            return Err(SimError::new(
                ErrorKind::UninitialisedGlobal,
                format!(
                    "the host reads {} bytes, this one was never written: {}",
                    out.len(),
                    self.global.describe(address)
                ),
            )
            .at(address));
        }
        self.read(addr, out)
    }

    /// Copies between buffers; uninitialised bytes stay uninitialised.
    pub fn copy(&mut self, dst: u64, src: u64, bytes: usize) -> Result<(), SimError> {
        let (s, d) = (self.global.host(src, bytes)?, self.global.host(dst, bytes)?);
        let from = self.global.get(s);
        let at = (src - from.base) as usize;
        let data = from.arena.bytes[at..at + bytes].to_vec();
        let missing: Vec<usize> = match from.arena.init.complete() {
            true => Vec::new(),
            false => (0..bytes).filter(|i| !from.arena.init.test(at + i, 1)).collect(),
        };
        let to = self.global.get_mut(d);
        let at = (dst - to.base) as usize;
        to.arena.bytes[at..at + bytes].copy_from_slice(&data);
        to.arena.init.set(at, bytes);
        let len = to.size as usize;
        for i in missing {
            to.arena.init.unset(at + i, 1, len);
        }
        Ok(())
    }

    /// Sets every byte of a range.
    pub fn fill(&mut self, addr: u64, byte: u8, bytes: usize) -> Result<(), SimError> {
        let i = self.global.host(addr, bytes)?;
        let a = self.global.get_mut(i);
        let at = (addr - a.base) as usize;
        a.arena.bytes[at..at + bytes].fill(byte);
        a.arena.init.set(at, bytes);
        Ok(())
    }

    /// Forgets that a range was written, for sub-allocators that hand it out again.
    pub fn poison(&mut self, addr: u64, bytes: usize) -> Result<(), SimError> {
        let i = self.global.host(addr, bytes)?;
        let a = self.global.get_mut(i);
        let at = (addr - a.base) as usize;
        a.arena.bytes[at..at + bytes].fill(crate::memory::POISON);
        let len = a.size as usize;
        a.arena.init.unset(at, bytes, len);
        Ok(())
    }

    /// Names a buffer in reports, by its first address, and says whether kernels may write it.
    pub fn label(&mut self, addr: u64, name: &str, read_only: bool) -> Result<(), SimError> {
        let i = self.global.host(addr, 0)?;
        let a = self.global.get_mut(i);
        a.name = name.to_string();
        a.read_only = read_only;
        Ok(())
    }

    /// Bytes of memory that the race checks of the last launch took at most: shadow of the memory touched, at most 8 bytes a
    /// byte, and tables of who touched it.
    pub fn shadow_bytes(&self) -> usize {
        self.races.bytes()
    }

    /// Runs a kernel to its end. On an error memory keeps what was written before it.
    pub fn launch(
        &mut self,
        module: &Module,
        kernel: &str,
        config: &LaunchConfig,
        args: &[Arg],
    ) -> Result<LaunchStats, SimError> {
        self.launch_inner(module, kernel, config, args).map_err(|mut e| {
            if e.report.kernel.is_empty() {
                e.report.kernel = kernel.to_string();
            }
            e
        })
    }

    fn launch_inner(
        &mut self,
        module: &Module,
        kernel: &str,
        config: &LaunchConfig,
        args: &[Arg],
    ) -> Result<LaunchStats, SimError> {
        let info = module.kernel(kernel).ok_or_else(|| {
            let names: Vec<&str> = module.kernels().map(|k| k.name.as_str()).take(8).collect();
            SimError::new(ErrorKind::NoSuchKernel, format!("the module's kernels are {}", names.join(", ")))
        })?;
        let bad = |m: String| Err(SimError::new(ErrorKind::BadLaunch, m));
        let [x, y, z] = config.block;
        let threads = x as u64 * y as u64 * z as u64;
        if threads == 0 || threads > MAX_THREADS as u64 || z > 64 {
            return bad(format!("a block of {x}x{y}x{z} threads; 1 to {MAX_THREADS} are possible, 64 in z"));
        }
        let [gx, gy, gz] = config.grid;
        if gx == 0 || gy == 0 || gz == 0 || gx > i32::MAX as u32 || gy > 65535 || gz > 65535 {
            return bad(format!(
                "a grid of {gx}x{gy}x{gz} blocks; 1 to 2147483647 in x and 65535 in y and z are possible"
            ));
        }
        if let Some(r) = info.required_threads.filter(|r| *r != config.block) {
            return bad(format!(
                "the kernel requires blocks of {r:?} threads, the launch has {:?}",
                config.block
            ));
        }
        if let Some(m) = info.max_threads.filter(|m| threads > m.iter().map(|&v| v as u64).product()) {
            return bad(format!(
                "the kernel allows blocks of at most {m:?} threads, the launch has {:?}",
                config.block
            ));
        }
        let [cx, cy, cz] = config.cluster;
        let size = cx as u64 * cy as u64 * cz as u64;
        if size == 0 || size > MAX_CLUSTER as u64 || gx % cx != 0 || gy % cy != 0 || gz % cz != 0 {
            return bad(format!(
                "clusters of {cx}x{cy}x{cz} blocks in a grid of {gx}x{gy}x{gz}; a cluster has 1 to {MAX_CLUSTER} blocks and divides the grid"
            ));
        }
        let params = pack(info, args)?;
        let program = self.program(module, kernel)?;
        let (placed, total) = program.place(config.shared_bytes);
        if program.shared_bytes(config.shared_bytes) > MAX_SHARED as u64 {
            return bad(format!(
                "{} bytes of shared memory; a block has at most {MAX_SHARED}",
                program.shared_bytes(config.shared_bytes)
            ));
        }
        let mut stats = LaunchStats { recorder: self.profile.then(Box::default), ..LaunchStats::default() };
        let grid = Grid {
            config,
            params: &params,
            placed: &placed,
            shared_total: total,
            seed: self.seed,
            accumulation: self.accumulation,
        };
        let clusters = gx as u64 * gy as u64 * gz as u64 / size;
        let racing = self.checks.shared_races || self.checks.global_races;
        self.races.begin(racing, config.grid, config.cluster, threads as u32);
        let workers = match self.threads {
            Some(n) => (n, true),
            None => (std::thread::available_parallelism().map_or(1, |n| n.get()), false),
        };
        let mut launch = Launch {
            module: &module.inner,
            program: &program,
            grid: &grid,
            checks: &self.checks,
            global: &mut self.global,
            stats: &mut stats,
            budget: &mut self.budget.clone(),
            ledger: &self.ledger,
            engine: &mut Engine::default(),
            races: &mut self.races,
        };
        let outcome = crate::parallel::run(&mut launch, clusters, &mut self.spare, workers);
        if outcome.is_err() || self.ledger.crowded() {
            self.spare.clear();
            self.ledger.forget_working();
        }
        outcome?;
        if let Some(r) = stats.recorder.take() {
            stats.profile = Some(Box::new(r.finish(&module.inner, &program, config, &stats)));
        }
        Ok(stats)
    }

    fn program(&mut self, module: &Module, kernel: &str) -> Result<Arc<Program>, SimError> {
        let key = (module.inner.id, kernel.to_string());
        if let Some(p) = self.programs.get(&key) {
            return Ok(p.clone());
        }
        self.load(module)?;
        let addresses = &self.modules[&module.inner.id];
        let p = Arc::new(Program::link(&module.inner, kernel, addresses)?);
        self.programs.insert(key, p.clone());
        Ok(p)
    }

    /// Address and size of a module's variable in global or constant memory; the module's variables are allocated and
    /// initialised if they are not.
    pub fn variable(&mut self, module: &Module, name: &str) -> Result<Option<(u64, usize)>, SimError> {
        self.load(module)?;
        let Some(&index) = module.inner.global_names.get(name) else { return Ok(None) };
        let address = self.modules[&module.inner.id][index as usize];
        Ok(Some((address, module.inner.globals[index as usize].size as usize)))
    }

    /// Allocates and initialises a module's variables, once.
    fn load(&mut self, module: &Module) -> Result<(), SimError> {
        let m = &module.inner;
        if self.modules.contains_key(&m.id) {
            return Ok(());
        }
        let mut addresses = Vec::new();
        for v in &m.globals {
            let addr = self.global.alloc(v.size as usize, &mut self.ledger)?;
            if let Some(i) = self.global.index(addr) {
                let a = self.global.get_mut(i);
                a.name = v.name.clone();
                a.read_only = v.read_only;
                a.constant = v.read_only;
                a.arena.bytes.fill(0);
                let n = v.data.len().min(a.arena.bytes.len());
                a.arena.bytes[..n].copy_from_slice(&v.data[..n]);
                a.arena.init = crate::arena::InitBits::full();
            }
            addresses.push(addr);
        }
        for (v, &addr) in m.globals.iter().zip(&addresses) {
            for (at, bytes, shift, name, addend) in &v.pointers {
                let target = match (m.global_names.get(name), m.func_names.get(name)) {
                    (Some(&g), _) => addresses[g as usize],
                    (_, Some(&f)) => FUNC_BASE + 16 * f as u64,
                    _ => 0,
                };
                let value = (target.wrapping_add(*addend as u64) >> shift).to_le_bytes();
                if let Some(i) = self.global.index(addr)
                    && let Some(slot) = self.global.get_mut(i).arena.bytes.get_mut(*at..at + *bytes as usize)
                {
                    for (d, s) in slot.iter_mut().zip(value) {
                        *d = s;
                    }
                }
            }
        }
        self.modules.insert(m.id, addresses);
        Ok(())
    }
}

/// One step of SplitMix64.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Fisher-Yates.
pub(crate) fn shuffle<T>(list: &mut [T], state: &mut u64) {
    for i in (1..list.len()).rev() {
        list.swap(i, (random(state) % (i as u64 + 1)) as usize);
    }
}

/// Where shared variables go: in order, each at its alignment, with a gap that catches overruns.
pub(crate) fn place(vars: &[SharedVar], dynamic: u32) -> (Vec<Placed>, u64) {
    let mut at = crate::link::SHARED_FIRST;
    let mut out = Vec::new();
    for v in vars.iter().filter(|v| !v.dynamic).chain(vars.iter().filter(|v| v.dynamic)) {
        let size = if v.dynamic { dynamic as u64 } else { v.size };
        let start = at.next_multiple_of(v.align.max(16) as u64);
        out.push(Placed { name: v.name.clone(), start, end: start + size });
        // All `.extern .shared` arrays are one and the same memory.
        at = if v.dynamic { at } else { start + size + crate::link::SHARED_GAP };
    }
    let end = out.iter().map(|p| p.end).max().unwrap_or(at);
    (out, end)
}
