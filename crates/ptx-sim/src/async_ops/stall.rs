//! When threads wait: who can go on, what lands when nobody can, and what is wrong when nothing does. Also what must be over when
//! a block exits.

use super::isa::{Async, Wait};
use super::{Ctx, Engine, Origin, Place, Route};
use crate::ErrorKind;
use crate::error::{Fault, Step};
use crate::isa::Op;
use crate::link::Program;
use crate::sim::random;
use crate::warp::{Group, Park, Warp};

/// Rounds of all warps that a waiting thread's copies stay in flight while others run.
const PATIENCE: u32 = 8;
/// Standstills in a row without an event before waits that return false count as a deadlock.
const STALLS: u32 = 64;

/// What a standstill means in which nothing lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// Waits are to return false.
    GiveUp,
    /// Nothing can help.
    Dead,
}

/// A `setmaxnreg`: function and program counter, registers, whether more.
pub(super) type SetRegisters = (u32, u32, u32, bool);

fn waits(g: &Group) -> Option<(Place, u64)> {
    match g.park {
        Park::Mbarrier { rank, at, phase } => Some((Place { rank: rank as usize, at: at as u64 }, phase)),
        _ => None,
    }
}

impl Warp {
    /// The mbarrier phases that groups of the warp wait for.
    pub(crate) fn mbarriers(&self) -> impl Iterator<Item = (&Group, Place, u64)> {
        self.groups.iter().filter_map(|g| waits(g).map(|(p, phase)| (g, p, phase)))
    }

    /// The instruction a group waits at.
    fn wait<'a>(&self, g: &Group, program: &'a Program) -> Option<&'a Wait> {
        let (func, pc) = self.place(g);
        match &program.funcs[func as usize].as_ref()?.func.code.get(pc as usize)?.op {
            Op::Async(a) => match &**a {
                Async::Wait(w) => Some(w),
                _ => None,
            },
            _ => None,
        }
    }

    /// Ends a group's wait with a result.
    fn answer(&mut self, k: usize, done: bool, program: &Program) {
        let g = self.groups[k];
        if let Some(w) = self.wait(&g, program) {
            let p = &mut self.frame_mut(&g).preds[w.done as usize];
            *p = if done { *p | g.mask } else { *p & !g.mask };
        }
        self.groups[k].park = Park::Run;
        self.groups[k].pc += 1;
    }

    /// Lets groups go whose phase is complete, or all that wait for one (`give_up`), with a false result; whether there were any.
    pub(crate) fn wake(
        &mut self,
        rank: usize,
        give_up: bool,
        engine: &mut Engine,
        ctx: &mut Ctx<'_>,
        program: &Program,
    ) -> Result<bool, (Box<Fault>, usize)> {
        let mut any = false;
        for k in 0..self.groups.len() {
            let Some((p, phase)) = waits(&self.groups[k]) else { continue };
            let mask = self.groups[k].mask;
            let thread0 = (rank as u32) << 10 | (32 * self.index);
            let lanes = (0..32).filter(|l| mask >> l & 1 != 0).map(|l| thread0 + l);
            let done = engine.waited(p, phase, lanes, ctx).map_err(|f| (f, k))?;
            if done {
                ctx.shared[rank].watch.synced(32 * self.index, mask);
                // A relaxed wait orders nothing.
                if self.wait(&self.groups[k], program).is_some_and(|w| !w.relaxed) {
                    let actor = ctx.actor(rank, self.index, mask);
                    ctx.learn(actor, p, phase);
                }
            }
            if done || give_up {
                self.answer(k, done, program);
                any = true;
            }
        }
        Ok(any)
    }
}

impl Engine {
    /// Whether it is time to land a copy for threads that wait while others run.
    pub(crate) fn impatient(&mut self, waiting: bool, still: bool) -> bool {
        if !waiting || (self.flights.is_empty() && self.arrivals.is_empty()) {
            self.patience = 0;
            return false;
        }
        self.patience += 1;
        still || self.patience > PATIENCE
    }

    /// Lands one of the copies that signal an mbarrier some thread waits for (`waiting`).
    pub(crate) fn land_for(
        &mut self,
        waiting: &[(Place, u64)],
        ctx: &mut Ctx<'_>,
    ) -> Result<bool, (Box<Fault>, Origin)> {
        let mut able: Vec<(u64, Origin)> = Vec::new();
        for f in &self.flights {
            if waiting.iter().any(|(p, _)| f.completes(*p)) {
                able.push((f.id, f.origin));
            }
        }
        for a in &self.arrivals {
            if waiting.iter().any(|(p, _)| a.at == *p) {
                able.push((a.id, a.origin));
            }
        }
        if able.is_empty() {
            return Ok(false);
        }
        self.patience = 0;
        let (id, origin) = able[(random(&mut self.random) % able.len() as u64) as usize];
        self.land(id, ctx).and_then(|()| self.copies_arrive(id, ctx)).map_err(|f| (f, origin))?;
        Ok(true)
    }

    /// Nothing can run, and nothing in flight helps: whether waits are to return false.
    pub(crate) fn give_up(&mut self) -> Stall {
        self.stalls = match self.stalls {
            (events, n) if events == self.events => (events, n + 1),
            _ => (self.events, 1),
        };
        if self.stalls.1 > STALLS { Stall::Dead } else { Stall::GiveUp }
    }

    /// A barrier or an exit let threads go on.
    pub(crate) fn progressed(&mut self) {
        self.events += 1;
        self.meetings += 1;
    }

    /// Block `rank`, of so many warps, has exited: nothing may be about to write to its shared memory, or to read it.
    pub(crate) fn exited(
        &mut self,
        rank: usize,
        warps: usize,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), (Box<Fault>, Origin)> {
        let touches = |f: &super::Flight, write: bool| f.ranges(write).iter().any(|r| r.0 == rank);
        if ctx.checks.async_rules {
            let found = self.flights.iter().find_map(|f| {
                let (write, read) = (touches(f, true), f.captured.is_none() && touches(f, false));
                let what = if write { "writes to" } else { "reads" };
                (write || read).then_some((what, f.origin))
            });
            let copies = self.copies.range((rank, 0)..(rank + 1, 0)).find_map(|(_, w)| {
                w.list.first().map(|c| {
                    let lane = c.mask.trailing_zeros() & 31;
                    ("writes to", Origin { lane, ..c.origin })
                })
            });
            if let Some((what, origin)) = found.or(copies) {
                let text = format!(
                    "block {rank} of the cluster exits while this copy, which {what} its shared memory, is in flight: nobody waited for it"
                );
                return Err((Fault::new(ErrorKind::AsyncUnfinished, text), origin));
            }
            self.registers_agree(rank, warps)?;
        }
        self.flights.retain(|f| f.route == Route::Store || !touches(f, true));
        self.arrivals.retain(|a| a.at.rank != rank && a.origin.rank != rank);
        Ok(())
    }

    /// `setmaxnreg` of a warp: the four warps of a warpgroup execute the same ones.
    pub(super) fn max_registers(&mut self, n: u32, more: bool, bound: bool, o: Origin) -> Step {
        let fault = |text: String| Err(Fault::new(ErrorKind::SetMaxRegisters, text));
        if !bound {
            let text =
                "the kernel has no bound on its registers: give it `.maxnreg`, `.maxntid` or `.reqntid`";
            return fault(text.into());
        }
        if !(24..=256).contains(&n) || !n.is_multiple_of(8) {
            return fault(format!("{n} registers; multiples of 8 from 24 to 256 are possible"));
        }
        let list = self.registers.entry((o.rank, o.warp)).or_default();
        let (k, mine) = (list.len(), (o.func, o.pc, n, more));
        if k < super::MAX_IN_FLIGHT {
            list.push(mine);
        }
        for other in o.warp / 4 * 4..o.warp / 4 * 4 + 4 {
            let theirs = self.registers.get(&(o.rank, other)).and_then(|l| l.get(k));
            if let Some(t) = theirs.filter(|t| **t != mine) {
                return fault(format!(
                    "warp {} sets {n} registers here, warp {other} of its warpgroup {} elsewhere",
                    o.warp, t.2
                ));
            }
        }
        Ok(())
    }

    /// No warp of an exited block has missed a `setmaxnreg` of its warpgroup.
    fn registers_agree(&self, rank: usize, warps: usize) -> Result<(), (Box<Fault>, Origin)> {
        for (&(_, warp), list) in self.registers.range((rank, 0)..(rank + 1, 0)) {
            for other in warp / 4 * 4..(warp / 4 * 4 + 4).min(warps as u32) {
                let n = self.registers.get(&(rank, other)).map_or(0, Vec::len);
                if let Some(&(func, pc, ..)) = list.get(n) {
                    let text = format!("warp {other} of the warpgroup never executes this");
                    let origin = Origin { rank, warp, lane: 0, func, pc, line: 0 };
                    return Err((Fault::new(ErrorKind::SetMaxRegisters, text), origin));
                }
            }
        }
        Ok(())
    }
}
