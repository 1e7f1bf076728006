//! `cp.async`: copies of 4, 8 or 16 bytes per lane, in groups per thread.
//!
//! They belong to the generic proxy: what lands counts as written by the thread that issued it, at its wait.

use super::{Ctx, Engine, Origin, Place, mbarrier};
use crate::error::Step;
use crate::race::Actor;

/// One `cp.async` of a warp.
#[derive(Debug)]
pub(super) struct Copy {
    pub id: u64,
    pub seq: u64,
    /// Lanes whose copy has not landed.
    pub mask: u32,
    /// Each lane's group.
    pub group: [u32; 32],
    /// Offsets in the block's shared memory.
    pub dst: [u64; 32],
    /// Global addresses.
    pub src: [u64; 32],
    /// Bytes to read; the rest is zero.
    pub read: [u8; 32],
    pub bytes: u8,
    pub origin: Origin,
}

/// The copies of a warp.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub list: Vec<Copy>,
    /// Groups each lane has committed.
    pub committed: [u32; 32],
    pub seq: u64,
}

/// `cp.async.mbarrier.arrive` of one lane: it arrives when the lane's copies before it have landed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub id: u64,
    pub at: Place,
    pub seq: u64,
    pub origin: Origin,
    /// For the race detector.
    pub actor: Actor,
}

impl Copy {
    fn land(&mut self, lanes: u32, ctx: &mut Ctx<'_>) {
        let (rank, bytes) = (self.origin.rank, self.bytes as usize);
        for l in (0..32).filter(|l| self.mask & lanes & (1 << l) != 0) {
            let mut data = [0u8; 16];
            let n = self.read[l] as usize;
            if n > 0
                && let Some(i) = ctx.global.index(self.src[l])
            {
                let g = ctx.global.get(i);
                let from = (self.src[l] - g.base) as usize;
                if let Some(b) = g.arena.bytes.get(from..from + n) {
                    data[..n].copy_from_slice(b);
                }
            }
            let own = &mut ctx.shared[rank];
            let at = self.dst[l] as usize;
            own.arena.bytes[at..at + bytes].copy_from_slice(&data[..bytes]);
            own.arena.init.set(at, bytes);
            if ctx.checks.async_rules {
                own.watch.release(self.id, self.dst[l], bytes as u64, true);
            }
            own.watch.wrote(rank, 32 * self.origin.warp + l as u32, self.dst[l], bytes as u64);
        }
        self.mask &= !lanes;
    }
}

impl Copies {
    /// Lands the older half of too many copies.
    pub(super) fn bound(&mut self, ctx: &mut Ctx<'_>) -> Step {
        if self.list.len() < super::MAX_IN_FLIGHT {
            return Ok(());
        }
        let half = self.list[self.list.len() / 2].seq;
        self.land(!0, |c, _| c.seq < half, false, ctx)
    }

    /// Lands what `due` says of each lane of each copy; `waits`: the lanes themselves wait for it.
    fn land(
        &mut self,
        lanes: u32,
        due: impl Fn(&Copy, usize) -> bool,
        waits: bool,
        ctx: &mut Ctx<'_>,
    ) -> Step {
        for c in &mut self.list {
            let now = (0..32).filter(|&l| due(c, l)).fold(0, |m, l| m | 1u32 << l) & lanes;
            if waits {
                ctx.copy_writes(&c.origin, now & c.mask, &c.dst, c.bytes)?;
            }
            c.land(now, ctx);
        }
        self.list.retain(|c| c.mask != 0);
        Ok(())
    }
}

impl Engine {
    /// `cp.async.wait_group` (all but the last `keep` groups) and `.wait_all` of some lanes of a warp.
    pub(super) fn copies_wait(
        &mut self,
        rank: usize,
        warp: u32,
        mask: u32,
        keep: Option<u32>,
        ctx: &mut Ctx<'_>,
    ) -> Step {
        let Some(w) = self.copies.get_mut(&(rank, warp)) else { return Ok(()) };
        let committed = w.committed;
        w.land(mask, |c, l| keep.is_none_or(|n| c.group[l].saturating_add(n) < committed[l]), true, ctx)
    }

    /// `cp.async.mbarrier.arrive`: an arrival that waits for its copies.
    pub(super) fn follow(&mut self, a: Arrival, ctx: &mut Ctx<'_>) -> Step {
        if self.arrivals.len() >= super::MAX_IN_FLIGHT {
            self.copies_arrive(self.arrivals[0].id, ctx)?;
        }
        self.events += 1;
        self.arrivals.push(a);
        Ok(())
    }

    /// The arrival behind some copies.
    pub(super) fn copies_arrive(&mut self, id: u64, ctx: &mut Ctx<'_>) -> Step {
        let Some(i) = self.arrivals.iter().position(|a| a.id == id) else { return Ok(()) };
        let a = self.arrivals.swap_remove(i);
        if let Some(w) = self.copies.get_mut(&(a.origin.rank, a.origin.warp)) {
            w.land(1 << a.origin.lane, |c, _| c.seq < a.seq, false, ctx)?;
        }
        let actor = Some(a.actor);
        let arrival = mbarrier::Arrival { count: 1, expect: 0, drop: false, no_complete: false, actor };
        self.arrive(a.at, arrival, ctx)?;
        ctx.retire(a.actor);
        Ok(())
    }
}
