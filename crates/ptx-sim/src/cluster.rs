//! A cluster: blocks that live at the same time, reach each other's shared memory and wait for each other. A launch
//! without clusters is one of clusters of one block.
//!
//! Within a cluster every warp gets its turn until all wait; then the barriers that are complete let their warps go. A
//! cluster that runs long is put aside for others ([`Progress::Slice`]): blocks may wait for blocks that come after them.

use crate::access::Shared;
use crate::async_ops::{Ctx, Engine, Origin, Place, Stall};
use crate::block::{Block, Env, Launch};
use crate::error::{Fault, Step};
use crate::isa::ClusterBar;
use crate::race::{Actor, Key};
use crate::sim::shuffle;
use crate::warp::{Located, Park, Warp};
use crate::{ErrorKind, SimError};

/// Why a cluster stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// Its share of time is used up.
    Slice,
}

/// The memory that copies of a cluster move between.
macro_rules! ctx {
    ($cluster:expr, $launch:expr) => {
        Ctx {
            global: $launch.global,
            shared: &mut $cluster.shared,
            checks: $launch.checks,
            stats: $launch.stats,
            races: $launch.races,
            ledger: $launch.ledger,
        }
    };
}

/// Blocks that run together.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    blocks: Vec<Block>,
    shared: Vec<Shared>,
    /// How often the cluster barrier has completed.
    phase: u32,
    /// State of the generator that orders blocks.
    random: u64,
    /// Copies in flight and mbarriers; in the launch while the cluster runs.
    engine: Engine,
}

impl Cluster {
    /// Readies the blocks of cluster number `n` of the grid.
    pub(crate) fn start(&mut self, n: u64, launch: &mut Launch<'_>) -> Result<(), SimError> {
        let c = launch.grid.config;
        let (grid, cluster) = (c.grid.map(u64::from), c.cluster.map(u64::from));
        let across = [0, 1].map(|a| grid[a] / cluster[a]);
        let first = [n % across[0], n / across[0] % across[1], n / across[0] / across[1]];
        let size = cluster.iter().product::<u64>();
        self.blocks.resize_with(size as usize, Block::default);
        self.shared.resize_with(size as usize, Shared::default);
        self.phase = 0;
        self.random = launch.grid.seed.unwrap_or(0) ^ n;
        self.engine.reset(self.random);
        for rank in 0..size {
            let inside = [rank % cluster[0], rank / cluster[0] % cluster[1], rank / cluster[0] / cluster[1]];
            let at = [0, 1, 2].map(|a| first[a] * cluster[a] + inside[a]);
            let rank = rank as usize;
            if self.shared[rank].arena.bytes.capacity() < launch.grid.shared_total {
                let bytes = crate::access::Shared::footprint(launch.grid.shared_total);
                let grown = launch.ledger.grow(bytes);
                grown.map_err(|f| SimError::new(f.kind, f.message))?;
            }
            self.shared[rank].reset(launch.grid.placed, launch.grid.shared_total);
            let linear = at[0] + grid[0] * (at[1] + grid[1] * at[2]);
            if launch.program.async_proxy && launch.checks.proxy {
                self.shared[rank].watch.watch_proxies();
            }
            self.shared[rank].block = launch.races.start(linear);
            let block = &mut self.blocks[rank];
            let started = block.start(at.map(|v| v as u32), rank, launch, &mut self.shared);
            started.map_err(|l| block.report(l, launch))?;
        }
        Ok(())
    }

    /// Runs until every thread has exited, or `slice` instructions have been executed.
    pub(crate) fn run(&mut self, launch: &mut Launch<'_>, slice: u64) -> Result<Progress, SimError> {
        std::mem::swap(&mut self.engine, launch.engine);
        let progress = self.rounds(launch, slice);
        std::mem::swap(&mut self.engine, launch.engine);
        progress
    }

    fn rounds(&mut self, launch: &mut Launch<'_>, slice: u64) -> Result<Progress, SimError> {
        let start = launch.stats.warp_instructions;
        let seeded = launch.grid.seed.is_some();
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        loop {
            if seeded && order.len() > 1 {
                shuffle(&mut order, &mut self.random);
            }
            let (mut ran, mut alive) = (false, false);
            for &i in &order {
                let block = &mut self.blocks[i];
                if block.done() {
                    continue;
                }
                let turn = block.turn(launch, &mut self.shared);
                ran |= turn.map_err(|l| block.report(l, launch))?;
                if block.done() {
                    self.shared[i].exited = true;
                    self.exited(i, launch)?;
                    if let Some(e) = self.left_behind(i, launch) {
                        return Err(e);
                    }
                } else {
                    alive = true;
                }
            }
            if !alive {
                let done = launch.engine.finish(&mut ctx!(self, launch));
                done.map_err(|(f, o)| self.placed(f, &o, launch))?;
                self.shared.iter().for_each(|s| launch.races.finish(s.block));
                return Ok(Progress::Done);
            }
            let mut released = self.release(launch);
            for block in &mut self.blocks {
                let r = block.release(launch, &mut self.shared);
                released |= r.map_err(|l| block.report(l, launch))?;
            }
            if !launch.engine.idle() {
                released |= self.mbarriers(!ran && !released, launch)?;
                if released {
                    launch.engine.progressed();
                } else if !ran && self.give_up(launch)? {
                    continue;
                }
            }
            if !released && !ran {
                return Err(self.stuck(launch));
            }
            if launch.races.take_pause() || launch.stats.warp_instructions - start > slice {
                return Ok(Progress::Slice);
            }
        }
    }

    /// A peer's access to the shared memory of block `i`, which has exited without having waited for it.
    fn left_behind(&self, i: usize, launch: &mut Launch<'_>) -> Option<SimError> {
        if !launch.checks.cluster {
            return None;
        }
        let (other, offset) = launch.races.left_behind(self.shared[i].block)?;
        let what = self.shared[i].describe(offset as u64);
        let text = format!(
            "block {i} of the cluster has exited without having waited for this access to its shared memory; {what}"
        );
        let mut e = SimError::new(ErrorKind::ClusterExited, text).at(offset as u64);
        let [x, y, _] = launch.grid.config.block;
        e.report.kernel = launch.module.funcs[launch.program.entry as usize].name.clone();
        e.report.line = Some(other.line);
        e.report.instruction = launch.module.line_text(other.line);
        e.report.block = Some(other.block.map(|v| v as u32));
        e.report.thread = other.thread.map(|t| [t % x, t / x % y, t / x / y]);
        Some(e)
    }

    /// Completes the cluster barrier when every thread that has not exited has arrived; whether it did.
    fn release(&mut self, launch: &mut Launch<'_>) -> bool {
        let parity = (self.phase & 1) as usize;
        let (mut live, mut arrived) = (0, 0);
        for w in self.blocks.iter().flat_map(|b| b.warps()) {
            live += w.live.count_ones();
            arrived += (w.cluster_arrived[parity] & w.live).count_ones();
        }
        if arrived == 0 || arrived < live {
            return false;
        }
        let key = Key::Cluster { block: self.shared[0].block, phase: self.phase };
        self.phase += 1;
        for (block, shared) in self.blocks.iter_mut().zip(&mut self.shared) {
            block.pass_cluster(self.phase);
            for w in block.warps_mut() {
                for g in w.groups.iter_mut().filter(|g| g.park == Park::Cluster(parity as u32)) {
                    shared.watch.synced(32 * w.index, g.mask);
                    g.park = Park::Run;
                    g.pc += 1;
                    launch.races.acquire(Actor { block: shared.block, warp: w.index, lanes: g.mask }, key);
                    w.cluster_arrived[parity] &= !g.mask;
                }
            }
        }
        true
    }

    /// A fault of the instruction that issued something.
    fn placed(&self, fault: Box<Fault>, o: &Origin, launch: &Launch<'_>) -> SimError {
        let l = Located { fault, warp: o.warp, lane: o.lane, func: o.func, pc: o.pc };
        self.blocks[o.rank].report(l, launch)
    }

    /// Block `i` has exited.
    fn exited(&mut self, i: usize, launch: &mut Launch<'_>) -> Result<(), SimError> {
        launch.engine.progressed();
        let warps = self.blocks[i].warps().len();
        let done = launch.engine.exited(i, warps, &mut ctx!(self, launch));
        done.map_err(|(f, o)| self.placed(f, &o, launch))
    }

    /// Lets warps go on whose mbarrier's phase is complete, all that wait if `give_up`; whether there were any.
    fn wake(&mut self, give_up: bool, launch: &mut Launch<'_>) -> Result<bool, SimError> {
        let mut any = false;
        for i in 0..self.blocks.len() {
            for k in 0..self.blocks[i].warps().len() {
                let mut ctx = ctx!(self, launch);
                let w = &mut self.blocks[i].warps_mut()[k];
                match w.wake(i, give_up, launch.engine, &mut ctx, launch.program) {
                    Ok(woke) => any |= woke,
                    Err((fault, g)) => {
                        let lane = w.groups[g].mask.trailing_zeros();
                        let (func, pc) = w.place(&w.groups[g]);
                        let l = Located { fault, warp: w.index, lane, func, pc };
                        return Err(self.blocks[i].report(l, launch));
                    }
                }
            }
        }
        Ok(any)
    }

    /// Lets warps go on whose mbarrier's phase is complete. If nothing else can run (`still`), copies land until one is.
    fn mbarriers(&mut self, still: bool, launch: &mut Launch<'_>) -> Result<bool, SimError> {
        let woke = self.wake(false, launch)?;
        let waiting: Vec<(Place, u64)> = self
            .blocks
            .iter()
            .flat_map(|b| b.warps())
            .flat_map(|w| w.mbarriers())
            .map(|(_, p, n)| (p, n))
            .collect();
        if woke || !launch.engine.impatient(!waiting.is_empty(), still) {
            return Ok(woke);
        }
        loop {
            let landed = launch.engine.land_for(&waiting, &mut ctx!(self, launch));
            let landed = landed.map_err(|(f, o)| self.placed(f, &o, launch))?;
            if !landed || self.wake(false, launch)? {
                return Ok(landed);
            }
        }
    }

    /// Nothing can run, nothing lands: waits return false for a while. Whether there were any.
    fn give_up(&mut self, launch: &mut Launch<'_>) -> Result<bool, SimError> {
        Ok(launch.engine.give_up() == Stall::GiveUp && self.wake(true, launch)?)
    }

    /// Why no warp of the cluster can run.
    fn stuck(&self, launch: &Launch<'_>) -> SimError {
        let waits = self.blocks.iter().enumerate().flat_map(|(i, b)| b.warps().iter().map(move |w| (i, w)));
        let mut hopeless: Option<(usize, Located)> = None;
        for (i, w) in waits {
            for (g, p, phase) in w.mbarriers() {
                let lane = g.mask.trailing_zeros();
                let thread = (i as u32) << 10 | (32 * w.index + lane);
                let fault = launch.engine.hopeless(p, phase, thread, &self.shared);
                let (func, pc) = w.place(g);
                // What is wrong with an mbarrier explains more than a missing arrival.
                let better = fault.kind != ErrorKind::Deadlock;
                if hopeless.is_none() || better {
                    hopeless = Some((i, Located { fault, warp: w.index, lane, func, pc }));
                }
            }
        }
        if let Some((i, l)) = hopeless {
            return self.blocks[i].report(l, launch);
        }
        // A block that waits for itself explains more than one that waits for others.
        let found = self.blocks.iter().filter(|b| !b.done()).map(|b| (b, b.stuck(launch.program.entry)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(_, l)| l.fault.message.contains("cluster barrier"));
        match found.into_iter().next() {
            Some((b, l)) => b.report(l, launch),
            None => SimError::new(ErrorKind::Deadlock, "no warp can run"),
        }
    }
}

impl Warp {
    /// `barrier.cluster.arrive` and `.wait` by the lanes of `mask`; the lanes that have to wait, and for what.
    pub(crate) fn cluster_barrier(
        &mut self,
        bar: &ClusterBar,
        mask: u32,
        env: &mut Env<'_>,
    ) -> Step<Option<(u32, Park)>> {
        let actor = env.actor(self.index, mask);
        let block = env.shared[0].block;
        let parity = (env.cluster_phase & 1) as usize;
        let fault = |missing: u32, text: String| {
            let mut f = Fault::new(ErrorKind::DivergentBarrier, text);
            f.lane = Some(missing.trailing_zeros());
            Err(f)
        };
        if bar.aligned && mask != self.live && env.checks.barriers {
            let missing = self.live & !mask;
            return fault(
                missing,
                format!("an aligned cluster barrier executed by lanes {mask:#010x} only, without this one"),
            );
        }
        if !bar.wait {
            let twice = mask & (self.cluster_arrived[0] | self.cluster_arrived[1]);
            if twice != 0 && env.checks.barriers {
                let text = "arrives at the cluster barrier again without having waited for its last arrival";
                return fault(twice, text.into());
            }
            self.cluster_arrived[parity] |= mask;
            if !bar.relaxed {
                env.races.release(actor, Key::Cluster { block, phase: env.cluster_phase });
            }
            return Ok(None);
        }
        let absent = mask & !(self.cluster_arrived[0] | self.cluster_arrived[1]);
        if absent != 0 && env.checks.barriers {
            return fault(absent, "waits for the cluster barrier without having arrived".into());
        }
        // Arrivals of the phase before this one are complete.
        self.cluster_arrived[1 - parity] &= !mask;
        let wait = mask & self.cluster_arrived[parity];
        let key = Key::Cluster { block, phase: env.cluster_phase.wrapping_sub(1) };
        env.races.acquire(Actor { lanes: mask & !wait, ..actor }, key);
        Ok((wait != 0).then_some((wait, Park::Cluster(parity as u32))))
    }
}

/// The fault of a group that can never go on.
pub(crate) fn located(
    w: &Warp,
    g: &crate::warp::Group,
    lane: u32,
    kind: ErrorKind,
    message: String,
) -> Located {
    let (func, pc) = w.place(g);
    let mut fault = Fault::new(kind, message);
    fault.lane = Some(lane);
    Located { fault, warp: w.index, lane, func, pc }
}
