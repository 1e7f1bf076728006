//! A block: its warps in turn until all have exited, and the barriers between them.

use crate::access::{Placed, Shared};
use crate::async_ops::Engine;
use crate::cluster::located;
use crate::config::{Checks, LaunchConfig};
use crate::error::Fault;
use crate::isa::{BarKind, NONE};
use crate::ledger::Ledger;
use crate::link::Program;
use crate::matrix::wgmma::Group;
use crate::memory::Global;
use crate::module::Inner;
use crate::race::{Actor, Races};
use crate::sim::{random, shuffle};
use crate::stats::LaunchStats;
use crate::warp::{Located, Park, Warp, report};
use crate::{ErrorKind, SimError};

/// What all blocks of a launch share and none changes.
pub(crate) struct Grid<'a> {
    pub config: &'a LaunchConfig,
    pub params: &'a [u8],
    pub placed: &'a [Placed],
    pub shared_total: usize,
    pub seed: Option<u64>,
    pub accumulation: crate::Accumulation,
}

/// A running launch.
pub(crate) struct Launch<'a> {
    pub module: &'a Inner,
    pub program: &'a Program,
    pub grid: &'a Grid<'a>,
    pub checks: &'a Checks,
    pub global: &'a mut Global,
    pub stats: &'a mut LaunchStats,
    pub budget: &'a mut u64,
    pub ledger: &'a Ledger,
    /// Asynchronous work of the running cluster.
    pub engine: &'a mut Engine,
    pub races: &'a mut Races,
}

impl Launch<'_> {
    /// Bytes of memory a cluster takes that calls nothing.
    pub(crate) fn footprint(&self) -> u64 {
        let c = self.grid.config;
        let warps = c.block.iter().product::<u32>().div_ceil(32) as u64;
        let registers =
            self.program.funcs[self.program.entry as usize].as_ref().map_or(0, |l| l.func.register_bytes());
        let shared = crate::access::Shared::footprint(self.grid.shared_total);
        c.cluster.iter().product::<u32>() as u64 * (shared + warps * registers)
    }
}

/// What a running warp sees of its surroundings.
pub(crate) struct Env<'a> {
    pub module: &'a Inner,
    pub program: &'a Program,
    pub grid: &'a Grid<'a>,
    pub checks: &'a Checks,
    pub global: &'a mut Global,
    /// Shared memory of each block of the cluster, by rank.
    pub shared: &'a mut [Shared],
    pub stats: &'a mut LaunchStats,
    pub budget: &'a mut u64,
    pub ledger: &'a Ledger,
    pub engine: &'a mut Engine,
    pub races: &'a mut Races,
    /// Index of the block in the grid.
    pub index: [u32; 3],
    /// Rank of the block in its cluster.
    pub rank: usize,
    /// How often the cluster barrier has completed.
    pub cluster_phase: u32,
    /// `bar.arrive`s since the block last looked.
    pub arrivals: &'a mut Vec<Arrival>,
    /// `wgmma` under way, by warpgroup.
    pub warpgroups: &'a mut Vec<Group>,
}

impl Env<'_> {
    /// Lanes of a warp of the running block, for the race detector.
    pub(crate) fn actor(&self, warp: u32, lanes: u32) -> Actor {
        Actor { block: self.shared[self.rank].block, warp, lanes }
    }
}

/// A `bar.arrive`: barrier, thread count operand, threads.
pub(crate) type Arrival = (u32, u32, u32);

/// A barrier of the block.
#[derive(Clone, Copy, Debug, Default)]
struct Barrier {
    arrived: u32,
    /// Thread count operand; 0 stands for the whole block.
    count: u32,
}

/// A block that runs.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Index in the grid.
    index: [u32; 3],
    /// Rank in its cluster.
    rank: usize,
    cluster_phase: u32,
    /// Warps of this block, and spare ones of earlier, larger blocks.
    pool: Vec<Warp>,
    count: usize,
    bars: [Barrier; 16],
    order: Vec<usize>,
    arrivals: Vec<Arrival>,
    warpgroups: Vec<Group>,
    /// State of the generator that orders warps.
    random: u64,
}

impl Block {
    /// Readies the block at `index` of the grid: its warps stand at the kernel's first instruction.
    pub(crate) fn start(
        &mut self,
        index: [u32; 3],
        rank: usize,
        launch: &mut Launch<'_>,
        shared: &mut [Shared],
    ) -> Result<(), Located> {
        let [grid_x, grid_y, _] = launch.grid.config.grid.map(u64::from);
        let linear = index[0] as u64 + grid_x * (index[1] as u64 + grid_y * index[2] as u64);
        self.count = launch.grid.config.block.iter().product::<u32>().div_ceil(32) as usize;
        if self.pool.len() < self.count {
            self.pool.resize_with(self.count, Warp::default);
        }
        self.index = index;
        self.rank = rank;
        self.cluster_phase = 0;
        self.bars = Default::default();
        self.order = (0..self.count).collect();
        self.arrivals.clear();
        self.warpgroups.clear();
        self.random = launch.grid.seed.unwrap_or(0) ^ linear.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        random(&mut self.random);
        let entry = launch.program.entry;
        let (env, warps, _) = self.env(launch, shared);
        for (i, w) in warps.iter_mut().enumerate() {
            let at = |fault| Located { fault, warp: i as u32, lane: 0, func: entry, pc: 0 };
            w.start(i as u32, &env).map_err(at)?;
        }
        Ok(())
    }

    /// The block's view of the launch, beside its own parts.
    fn env<'a>(
        &'a mut self,
        launch: &'a mut Launch<'_>,
        shared: &'a mut [Shared],
    ) -> (Env<'a>, &'a mut [Warp], &'a mut [Barrier; 16]) {
        let env = Env {
            module: launch.module,
            program: launch.program,
            grid: launch.grid,
            checks: launch.checks,
            global: launch.global,
            shared,
            stats: launch.stats,
            budget: launch.budget,
            ledger: launch.ledger,
            engine: launch.engine,
            races: launch.races,
            index: self.index,
            rank: self.rank,
            cluster_phase: self.cluster_phase,
            arrivals: &mut self.arrivals,
            warpgroups: &mut self.warpgroups,
        };
        (env, &mut self.pool[..self.count], &mut self.bars)
    }

    pub(crate) fn warps(&self) -> &[Warp] {
        &self.pool[..self.count]
    }

    pub(crate) fn warps_mut(&mut self) -> &mut [Warp] {
        &mut self.pool[..self.count]
    }

    /// Every thread has exited.
    pub(crate) fn done(&self) -> bool {
        self.warps().iter().all(|w| w.live == 0)
    }

    /// The cluster barrier has completed for the `phase`th time.
    pub(crate) fn pass_cluster(&mut self, phase: u32) {
        self.cluster_phase = phase;
    }

    /// Gives every warp that can run a turn; whether there was one.
    pub(crate) fn turn(&mut self, launch: &mut Launch<'_>, shared: &mut [Shared]) -> Result<bool, Located> {
        let mut order = std::mem::take(&mut self.order);
        if launch.grid.seed.is_some() {
            shuffle(&mut order, &mut self.random);
        }
        let (mut env, warps, bars) = self.env(launch, shared);
        let mut ran = false;
        for &i in &order {
            if warps[i].runnable() {
                ran = true;
                let turn = warps[i].run(&mut env);
                // What the warp did before an error counts, too.
                let came = arrive(warps, i, bars, &mut env);
                if let Err(l) = turn.and(came) {
                    self.order = order;
                    return Err(l);
                }
            }
        }
        self.order = order;
        if launch.checks.wgmma && self.done() {
            self.abandoned()?;
        }
        Ok(ran)
    }

    /// Fails if a `wgmma` was never waited for.
    fn abandoned(&self) -> Result<(), Located> {
        let Some((warp, func, pc, text)) = self.warpgroups.iter().find_map(Group::abandoned) else {
            return Ok(());
        };
        Err(Located { fault: Fault::new(ErrorKind::WgmmaNeverWaited, text), warp, lane: 0, func, pc })
    }

    /// Lets the groups go whose barrier is complete; whether there were any.
    pub(crate) fn release(
        &mut self,
        launch: &mut Launch<'_>,
        shared: &mut [Shared],
    ) -> Result<bool, Located> {
        let (mut env, warps, bars) = self.env(launch, shared);
        let mut any = false;
        for w in warps.iter_mut() {
            for g in w.groups.iter_mut().filter(|g| g.park == Park::Warpgroup) {
                // It executes its wait again.
                if env.warpgroups[w.index as usize / 4].ready(w.index) {
                    g.park = Park::Run;
                    any = true;
                }
            }
        }
        Ok(release(warps, bars, &mut env)? | any)
    }

    /// An error, placed in kernel, block and thread.
    pub(crate) fn report(&self, l: Located, launch: &Launch<'_>) -> SimError {
        let [x, y, _] = launch.grid.config.block;
        let t = 32 * l.warp + l.lane;
        let thread = [t % x, t / x % y, t / x / y];
        report(l, launch, self.index, thread)
    }

    /// Why no warp can run.
    pub(crate) fn stuck(&self, entry: u32) -> Located {
        stuck(self.warps(), entry)
    }
}

/// Counts the threads of a warp that reached barriers.
fn arrive(warps: &mut [Warp], i: usize, bars: &mut [Barrier; 16], env: &mut Env<'_>) -> Result<(), Located> {
    for (id, count, threads) in env.arrivals.drain(..) {
        let b = &mut bars[id as usize];
        b.arrived += threads;
        b.count = count;
    }
    let w = &warps[i];
    let running = w.runnable();
    let mut done = Vec::new();
    for (k, g) in w.groups.iter().enumerate() {
        let Park::Barrier { id, count, arrived: false } = g.park else { continue };
        let aligned = w.bar(g, env).is_some_and(|b| b.aligned);
        if aligned && g.mask != w.live {
            // Lanes still under way may yet join.
            if running {
                continue;
            }
            if env.checks.barriers {
                let missing = w.live & !g.mask;
                return Err(located(
                    w,
                    g,
                    missing.trailing_zeros(),
                    ErrorKind::DivergentBarrier,
                    format!(
                        "an aligned barrier reached by lanes {:#010x} of warp {}, but this thread waits elsewhere",
                        g.mask, w.index
                    ),
                ));
            }
        }
        // A count speaks of whole warps.
        let threads = if aligned && count != 0 { 32 } else { g.mask.count_ones() };
        let b = &mut bars[id as usize];
        if b.arrived > 0 && b.count != count && env.checks.barriers {
            return Err(located(
                w,
                g,
                g.mask.trailing_zeros(),
                ErrorKind::DivergentBarrier,
                format!(
                    "barrier {id} is awaited with {} threads here and {} elsewhere",
                    name(count),
                    name(b.count)
                ),
            ));
        }
        b.arrived += threads;
        b.count = count;
        done.push(k);
    }
    for k in done {
        if let Park::Barrier { arrived, .. } = &mut warps[i].groups[k].park {
            *arrived = true;
        }
    }
    Ok(())
}

fn name(count: u32) -> String {
    if count == 0 { "all".into() } else { count.to_string() }
}

/// Lets the groups go whose barrier is complete; whether there were any.
fn release(warps: &mut [Warp], bars: &mut [Barrier; 16], env: &mut Env<'_>) -> Result<bool, Located> {
    let live: u32 = warps.iter().map(|w| w.live.count_ones()).sum();
    let all: u32 = warps.iter().map(|w| w.all.count_ones()).sum();
    let mut any = false;
    for (id, bar) in bars.iter_mut().enumerate() {
        let needed = if bar.count == 0 { live } else { bar.count };
        if bar.arrived == 0 || bar.arrived < needed {
            continue;
        }
        let waits = |p: &Park| matches!(p, Park::Barrier { id: i, arrived: true, .. } if *i as usize == id);
        if bar.count == 0 && live < all && env.checks.barriers {
            // Somebody waits here, and somebody left without having come.
            let gone = warps.iter().find(|w| w.live != w.all);
            let waiting = warps.iter().find_map(|w| w.groups.iter().find(|g| waits(&g.park)).map(|g| (w, g)));
            if let (Some(gone), Some((w, g))) = (gone, waiting) {
                let lane = (gone.all & !gone.live).trailing_zeros();
                let mut l = located(
                    w,
                    g,
                    lane,
                    ErrorKind::DivergentBarrier,
                    format!(
                        "barrier {id} reached by {live} of {all} threads, this one and others have exited"
                    ),
                );
                l.warp = gone.index;
                return Err(l);
            }
        }
        // Reductions over everybody who waits.
        let (mut count, mut voters, mut reducing) = (0, 0, false);
        for w in warps.iter() {
            for g in w.groups.iter().filter(|g| waits(&g.park)) {
                if let Some(b) = w.bar(g, env).filter(|b| b.source != NONE) {
                    reducing = true;
                    count += w.votes(g, b).count_ones();
                }
                voters += g.mask.count_ones();
            }
        }
        let mut waited = Vec::new();
        for w in warps.iter_mut() {
            for k in 0..w.groups.len() {
                let g = w.groups[k];
                if !waits(&g.park) {
                    continue;
                }
                waited.push((w.index, g.mask));
                if reducing && let Some(b) = w.bar(&g, env).copied() {
                    let value = match b.kind {
                        BarKind::And => (count == voters) as u32,
                        BarKind::Or => (count > 0) as u32,
                        _ => count,
                    };
                    w.deliver(&g, &b, value);
                }
                env.shared[env.rank].watch.synced(32 * w.index, g.mask);
                w.groups[k].park = Park::Run;
                w.groups[k].pc += 1;
            }
        }
        *bar = Barrier::default();
        env.stats.barriers += 1;
        let block = env.shared[env.rank].block;
        env.races.barrier(block, id as u32, &waited, voters == all);
        any = true;
    }
    Ok(any)
}

/// Why no warp can run.
fn stuck(warps: &[Warp], entry: u32) -> Located {
    let mut waits = Vec::new();
    let mut first = None;
    let mut counted = true;
    for w in warps {
        for g in &w.groups {
            let lane = g.mask.trailing_zeros();
            match g.park {
                Park::Barrier { id, count, .. } => {
                    counted &= count != 0;
                    if !waits.contains(&id) {
                        waits.push(id);
                    }
                    first.get_or_insert((w, g));
                }
                Park::Warpgroup => {
                    let text =
                        "waits for a wgmma that the other warps of its warpgroup cannot issue any more";
                    return located(w, g, lane, ErrorKind::WgmmaMismatch, text.into());
                }
                Park::Cluster(_) => {
                    let text = "no warp can run: this one waits at the cluster barrier for threads that cannot arrive";
                    return located(w, g, lane, ErrorKind::Deadlock, text.into());
                }
                _ => {
                    return located(
                        w,
                        g,
                        lane,
                        ErrorKind::DivergentCollective,
                        format!("lanes {:#010x} of warp {} wait for lanes that cannot come", g.mask, w.index),
                    );
                }
            }
        }
    }
    let Some((w, g)) = first else {
        let fault = Fault::new(ErrorKind::Deadlock, "no warp can run");
        return Located { fault, warp: 0, lane: 0, func: entry, pc: 0 };
    };
    let lane = g.mask.trailing_zeros();
    if waits.len() > 1 {
        let text = format!("threads of the block wait at different barriers: {waits:?}");
        // Barriers of the whole block are meant to be met by all; with thread counts an arrival is missing somewhere.
        let kind = if counted { ErrorKind::Deadlock } else { ErrorKind::DivergentBarrier };
        return located(w, g, lane, kind, text);
    }
    let text = format!("no warp can run: all wait at barrier {}, which too few threads can reach", waits[0]);
    located(w, g, lane, ErrorKind::Deadlock, text)
}
