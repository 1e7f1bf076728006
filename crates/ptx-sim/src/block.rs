//! A block: its warps in turn until all have exited, and the barriers between them.

use crate::access::{Placed, Shared};
use crate::error::Fault;
use crate::isa::{BarKind, NONE};
use crate::link::Program;
use crate::memory::Global;
use crate::module::Inner;
use crate::sim::{Checks, LaunchConfig, random, shuffle};
use crate::stats::LaunchStats;
use crate::warp::{Located, Park, Warp, report};
use crate::{ErrorKind, SimError};

/// What all blocks of a launch share.
pub(crate) struct Grid<'a> {
    pub config: &'a LaunchConfig,
    pub params: &'a [u8],
    pub placed: &'a [Placed],
    pub shared_total: usize,
    pub seed: Option<u64>,
    pub accumulation: crate::Accumulation,
}

/// A block about to run.
pub(crate) struct BlockRun<'a> {
    pub module: &'a Inner,
    pub program: &'a Program,
    pub grid: &'a Grid<'a>,
    pub checks: &'a Checks,
    pub global: &'a mut Global,
    pub shared: &'a mut Shared,
    pub stats: &'a mut LaunchStats,
    pub budget: &'a mut u64,
    pub index: [u32; 3],
    pub linear: u64,
}

/// What a running warp sees of its surroundings.
pub(crate) struct Env<'a> {
    pub module: &'a Inner,
    pub program: &'a Program,
    pub grid: &'a Grid<'a>,
    pub checks: &'a Checks,
    pub global: &'a mut Global,
    pub shared: &'a mut Shared,
    pub stats: &'a mut LaunchStats,
    pub budget: &'a mut u64,
    pub index: [u32; 3],
    /// `bar.arrive`s since the block last looked: barrier, thread count operand, threads.
    pub arrivals: Vec<(u32, u32, u32)>,
}

/// A barrier of the block.
#[derive(Clone, Copy, Debug, Default)]
struct Barrier {
    arrived: u32,
    /// Thread count operand; 0 stands for the whole block.
    count: u32,
}

impl BlockRun<'_> {
    pub(crate) fn run(self, pool: &mut Vec<Warp>) -> Result<(), SimError> {
        let [x, y, z] = self.grid.config.block;
        let n = (x * y * z).div_ceil(32) as usize;
        while pool.len() < n {
            pool.push(Warp::default());
        }
        let warps = &mut pool[..n];
        self.shared.reset(self.grid.placed, self.grid.shared_total);
        let mut state = self.grid.seed.unwrap_or(0) ^ self.linear.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let seeded = self.grid.seed.is_some();
        random(&mut state);
        let mut env = Env {
            module: self.module,
            program: self.program,
            grid: self.grid,
            checks: self.checks,
            global: self.global,
            shared: self.shared,
            stats: self.stats,
            budget: self.budget,
            index: self.index,
            arrivals: Vec::new(),
        };
        let entry = env.program.entry;
        let start = |fault, warp| Located { fault, warp, lane: 0, func: entry, pc: 0 };
        let mut outcome = Ok(());
        for (i, w) in warps.iter_mut().enumerate() {
            outcome = outcome.and_then(|()| w.start(i as u32, &env).map_err(|f| start(f, i as u32)));
        }
        let mut bars = [Barrier::default(); 16];
        let mut order: Vec<usize> = (0..n).collect();
        let outcome = outcome.and_then(|()| {
            loop {
                if seeded {
                    shuffle(&mut order, &mut state);
                }
                let mut ran = false;
                for &i in &order {
                    if warps[i].runnable() {
                        ran = true;
                        warps[i].run(&mut env)?;
                        arrive(warps, i, &mut bars, &mut env)?;
                    }
                }
                if warps.iter().all(|w| w.live == 0) {
                    return Ok(());
                }
                if !release(warps, &mut bars, &mut env)? && !ran {
                    return Err(stuck(warps, &env));
                }
            }
        });
        outcome.map_err(|l| {
            let t = 32 * l.warp + l.lane;
            let thread = [t % x, t / x % y, t / x / y];
            let kernel = &env.module.funcs[env.program.entry as usize].name;
            report(l, &env, thread, kernel)
        })
    }
}

fn located(w: &Warp, g: &crate::warp::Group, lane: u32, kind: ErrorKind, message: String) -> Located {
    let (func, pc) = w.place(g);
    let mut fault = Fault::new(kind, message);
    fault.lane = Some(lane);
    Located { fault, warp: w.index, lane, func, pc }
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
        for w in warps.iter_mut() {
            for k in 0..w.groups.len() {
                let g = w.groups[k];
                if !waits(&g.park) {
                    continue;
                }
                if reducing && let Some(b) = w.bar(&g, env).copied() {
                    let value = match b.kind {
                        BarKind::And => (count == voters) as u32,
                        BarKind::Or => (count > 0) as u32,
                        _ => count,
                    };
                    w.deliver(&g, &b, value);
                }
                w.groups[k].park = Park::Run;
                w.groups[k].pc += 1;
            }
        }
        *bar = Barrier::default();
        env.stats.barriers += 1;
        env.shared.races.barrier();
        any = true;
    }
    Ok(any)
}

/// Why no warp can run.
fn stuck(warps: &[Warp], env: &Env<'_>) -> Located {
    let mut waits = Vec::new();
    let mut first = None;
    for w in warps {
        for g in &w.groups {
            if let Park::Barrier { id, .. } = g.park {
                if !waits.contains(&id) {
                    waits.push(id);
                }
            } else {
                let lane = g.mask.trailing_zeros();
                return located(
                    w,
                    g,
                    lane,
                    ErrorKind::DivergentCollective,
                    format!("lanes {:#010x} of warp {} wait for lanes that cannot come", g.mask, w.index),
                );
            }
            first.get_or_insert((w, g));
        }
    }
    let Some((w, g)) = first else {
        let fault = Fault::new(ErrorKind::Deadlock, "no warp can run");
        return Located { fault, warp: 0, lane: 0, func: env.program.entry, pc: 0 };
    };
    let lane = g.mask.trailing_zeros();
    if waits.len() > 1 {
        let text = format!("threads of the block wait at different barriers: {waits:?}");
        return located(w, g, lane, ErrorKind::DivergentBarrier, text);
    }
    let text = format!("no warp can run: all wait at barrier {}, which too few threads can reach", waits[0]);
    located(w, g, lane, ErrorKind::Deadlock, text)
}
