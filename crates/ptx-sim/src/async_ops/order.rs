//! What the race detector is told of asynchronous operations.
//!
//! An mbarrier's arrivals release its phase, a wait that sees the phase complete acquires it. A bulk copy is an actor of its own: it knows
//! what its issuer knew, acts when it lands, and releases the phases and groups that announce it. `cp.async` writes as its thread does,
//! when it is issued and again at the thread's wait: in between nobody may look.

use super::{Ctx, Flight, Origin, Place, Route};
use crate::access::Kind;
use crate::error::Step;
use crate::isa::{Order, Scope, Sem, WEAK};
use crate::race::{self, Actor, Key};

/// Operations on mbarriers are atomic for all that can reach them.
const ATOMIC: Order = Order { sem: Sem::Relaxed, scope: Scope::Cluster };

impl Origin {
    /// The thread as the race detector knows it.
    pub(super) fn actor(&self, ctx: &Ctx<'_>) -> Actor {
        ctx.actor(self.rank, self.warp, 1 << self.lane)
    }
}

impl Ctx<'_> {
    pub(super) fn actor(&self, rank: usize, warp: u32, lanes: u32) -> Actor {
        Actor { block: self.shared[rank].block, warp, lanes }
    }

    fn detects(&self) -> bool {
        self.checks.shared_races || self.checks.global_races
    }

    fn key(&self, at: Place, phase: u64) -> Key {
        Key::Mbarrier { block: self.shared[at.rank].block, address: at.at as u32, phase: phase as u32 }
    }

    /// An operation on an mbarrier; `write`: it begins or ends its life.
    pub(super) fn touch(&mut self, actor: Actor, at: Place, write: bool, line: u32) -> Step {
        if !self.checks.shared_races {
            return Ok(());
        }
        let (kind, order) = if write { (Kind::Write, WEAK) } else { (Kind::Atomic, ATOMIC) };
        let place = race::Place::Shared(self.shared[at.rank].block);
        self.races.access(actor, place, &[at.at as usize; 32].into(), actor.lanes, 8, kind, order, line)
    }

    /// What the actor did and knows is known to all that see the phase complete.
    pub(super) fn publish(&mut self, actor: Actor, at: Place, phase: u64) {
        if self.detects() {
            let key = self.key(at, phase);
            self.races.release(actor, key);
        }
    }

    /// Lanes of a warp see a phase complete.
    pub(super) fn learn(&mut self, actor: Actor, at: Place, phase: u64) {
        if self.detects() {
            let key = self.key(at, phase);
            self.races.acquire(actor, key);
        }
    }

    /// An operation that ends at an mbarrier and knows what the actor knows.
    pub(super) fn fork(&mut self, actor: Actor, at: Place, phase: u64) -> Actor {
        if !self.detects() {
            return actor;
        }
        let key = self.key(at, phase);
        self.races.fork(actor, key)
    }

    /// A forked operation is over.
    pub(super) fn retire(&mut self, actor: Actor) {
        if self.detects() {
            self.races.retire(actor);
        }
    }

    /// Threads see the sources of a bulk group read, or (`done`) the group complete.
    pub(super) fn learn_group(&mut self, o: &Origin, group: u32, done: bool) {
        if self.detects() {
            let (actor, key) = (o.actor(self), self.group(o, group, done));
            self.races.acquire(actor, key);
        }
    }

    fn group(&self, o: &Origin, group: u32, done: bool) -> Key {
        let (block, thread) = (self.shared[o.rank].block, 32 * o.warp + o.lane);
        if done { Key::Bulk { block, thread, group } } else { Key::BulkRead { block, thread, group } }
    }

    /// Lanes write their parts of a `cp.async`.
    pub(super) fn copy_writes(&mut self, o: &Origin, mask: u32, at: &[u64; 32], bytes: u8) -> Step {
        if !self.checks.shared_races || mask == 0 {
            return Ok(());
        }
        let actor = self.actor(o.rank, o.warp, mask);
        let place = race::Place::Shared(actor.block);
        let offsets = at.map(|a| a as usize);
        self.races.access(actor, place, &offsets.into(), mask, bytes as usize, Kind::Write, WEAK, o.line)
    }
}

impl Flight {
    /// The copy becomes an actor, before it is in flight.
    pub(super) fn fork(&mut self, ctx: &mut Ctx<'_>) {
        self.actor = self.origin.actor(ctx);
        if !ctx.detects() {
            return;
        }
        let key = match (self.targets.first().and_then(|t| t.mbar), self.group) {
            (Some((at, phase)), _) => ctx.key(at, phase),
            (None, group) => ctx.group(&self.origin, group.unwrap_or(0), true),
        };
        self.actor = ctx.races.fork(self.actor, key);
    }

    /// The copy reads (or writes) shared memory.
    pub(super) fn told_shared(&self, write: bool, ctx: &mut Ctx<'_>) -> Step {
        if !ctx.checks.shared_races {
            return Ok(());
        }
        let kind = match (write, self.reduce) {
            (false, _) => Kind::Read,
            (true, None) => Kind::Write,
            (true, Some(_)) => Kind::Atomic,
        };
        for (rank, at, len) in self.ranges(write) {
            let place = race::Place::Shared(ctx.shared[rank].block);
            let range = at as usize..(at + len) as usize;
            ctx.races.access_range(self.actor, place, range, kind, self.origin.line)?;
        }
        Ok(())
    }

    /// The copy reads or writes global memory.
    pub(super) fn told_global(&self, ctx: &mut Ctx<'_>) -> Step {
        if !ctx.checks.global_races || self.route == Route::Between {
            return Ok(());
        }
        let kind = match (self.route, self.reduce) {
            (Route::Load, _) => Kind::Read,
            (_, None) => Kind::Write,
            (_, Some(_)) => Kind::Atomic,
        };
        // Neighbouring segments are one range.
        let mut segments = self.segments.iter().filter_map(|s| s.far.map(|a| (a, s.len as u64))).peekable();
        while let Some((from, mut len)) = segments.next() {
            while let Some(&(next, more)) = segments.peek()
                && next == from + len
            {
                len += more;
                segments.next();
            }
            let Some(i) = ctx.global.index(from) else { continue };
            let at = (from - ctx.global.get(i).base) as usize;
            let place = race::Place::Global(i as u32);
            ctx.races.access_range(self.actor, place, at..at + len as usize, kind, self.origin.line)?;
        }
        Ok(())
    }

    /// The copy's sources have been read, or (`done`) all of it is over: who waits for its group may know.
    pub(super) fn announce(&self, done: bool, ctx: &mut Ctx<'_>) {
        if ctx.detects()
            && let Some(group) = self.group
        {
            let key = ctx.group(&self.origin, group, done);
            ctx.races.release(self.actor, key);
        }
    }
}
