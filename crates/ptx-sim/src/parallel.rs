//! The clusters of a launch: one after the other, or on several threads at once.
//!
//! A cluster that runs long shares the time of its thread with those behind it, as it may wait for them. Threads take
//! clusters in order, from one counter, each with registers, shared memory, counts and a view of global memory
//! ([`crate::alias`]) of its own; counts are added up at the end, so they are the same for any number of threads.
//!
//! Several threads serve a launch that asks for nothing an order of execution could show in: no check, no seed, no
//! profile, and a kernel without clocks and printed text. Unless a number of threads is asked for, it must not update global
//! memory in a way that the order of blocks shows in either (sums of floats, values from before an update): the same launch
//! then gives the same bits every time. The first cluster runs alone; only when it was long enough for the whole
//! grid to be worth it do others join.

use crate::aftermath::{self, Aftermath, Next};
use crate::async_ops::Engine;
use crate::block::Launch;
use crate::cluster::{Cluster, Progress};
use crate::config::Checks;
use crate::isa::{AtomOp, AtomType, Func, NONE, Op, Space, Special};
use crate::link::Program;
use crate::memory::Global;
use crate::module::Inner;
use crate::race::Races;
use crate::sim::shuffle;
use crate::stats::LaunchStats;
use crate::{ErrorKind, SimError};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Instructions a cluster may execute before others get a turn.
const SLICE: u64 = 1 << 15;
/// Most clusters that are under way at once on one thread.
const RESIDENT: usize = 1024;
/// Turns that clusters get after another one failed.
const GRACE: u32 = 64;
/// Warp instructions of a launch, by the measure of its first cluster, from which more threads pay.
const WORTH: u64 = 1 << 14;

/// What the threads of a launch share.
struct Queue<'a> {
    /// How many clusters have been taken.
    taken: AtomicU64,
    clusters: u64,
    /// Order of a seed.
    order: Option<Vec<u32>>,
    /// Place in the order of the first cluster that failed: those behind it need not run.
    stop: AtomicU64,
    failure: Mutex<Option<(u64, SimError)>>,
    /// Instructions that are left of the launch's budget.
    budget: AtomicI64,
    spare: &'a Mutex<Vec<Cluster>>,
}

impl Queue<'_> {
    /// The next cluster's place in the order, and its number.
    fn next(&self) -> Option<(u64, u64)> {
        if self.taken.load(Ordering::Relaxed) >= self.clusters.min(self.stop.load(Ordering::Relaxed)) {
            return None;
        }
        let at = self.taken.fetch_add(1, Ordering::Relaxed);
        let number = self.order.as_ref().map_or(at, |o| o[at as usize] as u64);
        (at < self.clusters).then_some((at, number))
    }

    fn fail(&self, at: u64, error: SimError) {
        self.stop.fetch_min(at, Ordering::Relaxed);
        // A poisoned lock holds what it held.
        let mut failure = self.failure.lock().unwrap_or_else(|e| e.into_inner());
        if failure.as_ref().is_none_or(|f| at < f.0) {
            *failure = Some((at, error));
        }
    }

    fn spare(&self) -> Option<Cluster> {
        self.spare.lock().unwrap_or_else(|e| e.into_inner()).pop()
    }

    fn done(&self, cluster: Cluster) {
        self.spare.lock().unwrap_or_else(|e| e.into_inner()).push(cluster);
    }

    /// Runs one slice of a cluster within the budget.
    fn slice(&self, c: &mut Cluster, launch: &mut Launch<'_>) -> Result<Progress, SimError> {
        let before = self.budget.load(Ordering::Relaxed).max(0) as u64;
        *launch.budget = before;
        let progress = c.run(launch, SLICE);
        self.budget.fetch_sub((before - *launch.budget) as i64, Ordering::Relaxed);
        progress
    }

    /// What a thread does: all clusters under way in turn, and one more each round. After a failure, those before the one that
    /// failed get `grace` more turns to fail, too: not for ever, as they may wait for the one that failed.
    fn work(
        &self,
        launch: &mut Launch<'_>,
        mut active: VecDeque<(u64, Cluster)>,
        limit: usize,
        mut grace: u32,
    ) {
        let footprint = launch.footprint();
        let mut aftermath = Aftermath::default();
        loop {
            // The first needs no leave: what it lacks is reported where it lacks it.
            let room = active.len() < limit && (active.is_empty() || launch.ledger.fits(footprint));
            if room
                && !aftermath.closed()
                && let Some((at, number)) = self.next()
            {
                let mut c = self.spare().unwrap_or_default();
                match c.start(number, launch) {
                    // Before those that wait or paused: it meets them half way.
                    Ok(()) => active.push_front((at, c)),
                    Err(e) => self.fail(at, e),
                }
            }
            let over = self.taken.load(Ordering::Relaxed) >= self.clusters || aftermath.closed();
            if active.is_empty() && over {
                if let Some((at, e)) = aftermath.end() {
                    self.fail(at, e);
                }
                return;
            }
            for _ in 0..active.len() {
                let Some((at, mut c)) = active.pop_front() else { break };
                match self.slice(&mut c, launch) {
                    _ if at > self.stop.load(Ordering::Relaxed) => {}
                    Ok(Progress::Done) => self.done(c),
                    Ok(Progress::Slice) => active.push_back((at, c)),
                    Err(e) => match aftermath.judge(at, e, launch.checks) {
                        Err(e) => self.fail(at, e),
                        Ok(next) => {
                            self.budget.fetch_min(aftermath::BUDGET, Ordering::Relaxed);
                            match next {
                                Next::Same => active.push_front((at, c)),
                                Next::Later => active.push_back((at, c)),
                                Next::Drop => {}
                            }
                        }
                    },
                }
            }
            if self.stop.load(Ordering::Relaxed) < u64::MAX {
                active.retain(|(at, _)| *at < self.stop.load(Ordering::Relaxed));
                if active.is_empty() || grace == 0 {
                    return;
                }
                grace -= 1;
            }
        }
    }
}

/// Runs all clusters of a launch. `threads`: how many at most, and whether the user asked for them.
pub(crate) fn run(
    launch: &mut Launch<'_>,
    clusters: u64,
    spare: &mut Vec<Cluster>,
    threads: (usize, bool),
) -> Result<(), SimError> {
    let kept = Mutex::new(std::mem::take(spare));
    let queue = Queue {
        taken: AtomicU64::new(0),
        clusters,
        order: order(clusters, launch.grid.seed),
        stop: AtomicU64::new(u64::MAX),
        failure: Mutex::new(None),
        budget: AtomicI64::new((*launch.budget).min(i64::MAX as u64) as i64),
        spare: &kept,
    };
    let apart = clusters > 1
        && launch.grid.seed.is_none()
        && launch.stats.recorder.is_none()
        && *launch.checks == Checks::none()
        && unordered(launch.module, launch.program, threads.1);
    let mut active = VecDeque::new();
    let mut many = 1;
    if apart && let Some((at, number)) = queue.next() {
        let mut c = queue.spare().unwrap_or_default();
        c.start(number, launch)?;
        match queue.slice(&mut c, launch)? {
            Progress::Done => queue.done(c),
            Progress::Slice => active.push_back((at, c)),
        }
        if threads.0 > 1 && launch.stats.warp_instructions.saturating_mul(clusters) >= WORTH {
            many = threads.0.min(clusters as usize);
        }
    }
    if many == 1 || !launch.global.shareable() {
        queue.work(launch, active, RESIDENT, if apart { GRACE } else { 0 });
    } else {
        at_once(&queue, launch, active, many);
    }
    *spare = queue.spare.lock().map(|mut s| std::mem::take(&mut *s)).unwrap_or_default();
    if let Some((_, error)) = queue.failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(error);
    }
    if queue.budget.into_inner() < 0 {
        // Threads ended at the same moment, having used it up together.
        let text = "raise it with `SimBuilder::instruction_budget` if the kernel is just long";
        return Err(SimError::new(ErrorKind::InstructionBudget, text));
    }
    Ok(())
}

/// Runs what is left on `threads` threads, this one among them.
fn at_once(queue: &Queue<'_>, launch: &mut Launch<'_>, active: VecDeque<(u64, Cluster)>, threads: usize) {
    let limit = (RESIDENT / threads).max(1);
    // SAFETY: the views are gone at the end of the scope below; until then `launch.global` is not used.
    let views = unsafe { launch.global.share(threads) };
    let (module, program, grid) = (launch.module, launch.program, launch.grid);
    let (checks, ledger) = (launch.checks, launch.ledger);
    let serve = |mut view: Global, active| {
        let mut stats = LaunchStats::default();
        let mut races = Races::default();
        races.begin(false, grid.config.grid, grid.config.cluster, grid.config.block.iter().product());
        let mut part = Launch {
            module,
            program,
            grid,
            checks,
            global: &mut view,
            stats: &mut stats,
            budget: &mut 0,
            ledger,
            races: &mut races,
            engine: &mut Engine::default(),
        };
        queue.work(&mut part, active, limit, GRACE);
        stats
    };
    let mut views = views.into_iter();
    let first = views.next();
    std::thread::scope(|scope| {
        let others: Vec<_> = views.map(|v| scope.spawn(|| serve(v, VecDeque::new()))).collect();
        if let Some(view) = first {
            launch.stats.merge(&serve(view, active));
        }
        for other in others {
            match other.join() {
                Ok(stats) => launch.stats.merge(&stats),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    launch.global.unshare();
}

/// Whether nothing of a kernel shows the order its blocks ran in. `asked`: the order of updates of global memory may show.
fn unordered(module: &Inner, program: &Program, asked: bool) -> bool {
    program.funcs.iter().flatten().all(|l| l.func.code.iter().all(|i| blind(&i.op, &l.func, module, asked)))
}

/// [`unordered`], for one instruction. What is not known here is not blind: new instructions run in order until they are added.
fn blind(op: &Op, func: &Func, module: &Inner, asked: bool) -> bool {
    match op {
        Op::Special(s, _) => *s != Special::Clock,
        Op::Call(_) => {
            !func.indirect && func.calls.iter().all(|&f| module.funcs[f as usize].name != "vprintf")
        }
        Op::Atom(a) => {
            let whole = !matches!(
                a.ty,
                AtomType::F32
                    | AtomType::F64
                    | AtomType::F16
                    | AtomType::Bf16
                    | AtomType::F16x2
                    | AtomType::Bf16x2
                    | AtomType::B128
            );
            let commutes = match a.op {
                AtomOp::Add => whole,
                AtomOp::Min | AtomOp::Max | AtomOp::And | AtomOp::Or | AtomOp::Xor | AtomOp::Inc => true,
                _ => false,
            };
            a.ty != AtomType::B128 && (asked || a.space == Space::Shared || commutes && a.dst == NONE)
        }
        Op::Alu(..)
        | Op::Pred(..)
        | Op::FrameAddr(..)
        | Op::Pack(..)
        | Op::Unpack(..)
        | Op::Load(_)
        | Op::Store(_)
        | Op::Collective(_)
        | Op::Bar(_)
        | Op::Matrix(_)
        | Op::ClusterBar(_)
        | Op::Fence(_)
        | Op::Branch(_)
        | Op::BranchIndexed(..)
        | Op::Return
        | Op::Exit
        | Op::Trap
        | Op::Nop
        | Op::Unsupported(_) => true,
        _ => false,
    }
}

/// A seeded order of blocks; grids too large to list run in order.
fn order(blocks: u64, seed: Option<u64>) -> Option<Vec<u32>> {
    let mut state = seed?;
    if blocks > 1 << 22 {
        return None;
    }
    let mut v: Vec<u32> = (0..blocks as u32).collect();
    shuffle(&mut v, &mut state);
    Some(v)
}
