//! Issue of copies: addresses are resolved and all that can be checked is checked, then the copy is in flight.

use super::isa::Addr;
use super::{Ctx, Elements, Engine, Flight, Origin, Place, Route, Segment, Target, copy};
use crate::ErrorKind;
use crate::access::Kind;
use crate::error::{Fault, Step};
use crate::isa::{AtomOp, AtomType, NONE, RANK_SHIFT, SHARED_BASE, Space, WINDOW};
use crate::lanes::Regs;

/// A fault at an address.
pub(super) fn at<T>(kind: ErrorKind, address: u64, text: impl Into<String>) -> Step<T> {
    let mut f = Fault::new(kind, text);
    f.address = Some(address);
    Err(f)
}

/// Puts a fault down to a lane.
pub(super) fn by(lane: usize) -> impl Fn(Box<Fault>) -> Box<Fault> {
    move |mut f| {
        f.lane.get_or_insert(lane as u32);
        f
    }
}

/// The lanes' addresses.
pub(super) fn addresses(a: &Addr, regs: &Regs<'_>, frame: u32) -> [u64; 32] {
    crate::step::address(regs, a.base, a.offset, frame)
}

impl Ctx<'_> {
    /// The place of `bytes` bytes in shared memory of the cluster, checked; `None` when the access is to be ignored.
    pub(super) fn shared_place(
        &self,
        rank: usize,
        space: Space,
        address: u64,
        bytes: u64,
        align: u64,
    ) -> Step<Option<Place>> {
        if !address.is_multiple_of(align) && self.checks.misaligned {
            return at(
                ErrorKind::Misaligned,
                address,
                format!("the address has to be a multiple of {align}"),
            );
        }
        let inside = match space {
            Space::Shared => Some(address),
            Space::Generic => Some(address.wrapping_sub(SHARED_BASE)).filter(|a| *a < WINDOW),
            _ => None,
        };
        let Some(inside) = inside else {
            if !self.checks.out_of_bounds {
                return Ok(None);
            }
            return at(ErrorKind::OutOfBounds, address, "this is no address of shared memory");
        };
        let (high, low) = (inside >> RANK_SHIFT, inside & ((1 << RANK_SHIFT) - 1));
        let rank = if high == 0 { rank } else { usize::try_from(high - 1).unwrap_or(usize::MAX) };
        let Some(own) = self.shared.get(rank) else {
            if !self.checks.out_of_bounds {
                return Ok(None);
            }
            let text = format!("in no block's shared memory: the cluster has {} blocks", self.shared.len());
            return at(ErrorKind::OutOfBounds, address, text);
        };
        let fits = |v: &&crate::access::Placed| low >= v.start && low < v.end && bytes <= v.end - low;
        if own.vars.iter().find(fits).is_none() {
            if !self.checks.out_of_bounds {
                return Ok(None);
            }
            let text = format!("{bytes} bytes; the address is {}", own.describe(low));
            return at(ErrorKind::OutOfBounds, address, text);
        }
        if own.exited && self.checks.cluster {
            let text = format!("shared memory of block {rank} of the cluster, whose threads have all exited");
            return at(ErrorKind::ClusterExited, address, text);
        }
        Ok(Some(Place { rank, at: low }))
    }

    /// Checks `bytes` bytes of global memory; `false` when the access is to be ignored.
    pub(super) fn global_range(&mut self, address: u64, bytes: u64, kind: Kind) -> Step<bool> {
        if bytes == 0 {
            return Ok(true);
        }
        let found = self.global.index(address).map(|i| self.global.get(i));
        let Some(a) = found.filter(|a| bytes <= a.size - (address - a.base)) else {
            if !self.checks.out_of_bounds {
                return Ok(false);
            }
            let what = if address < 4096 { "a null pointer".into() } else { self.global.describe(address) };
            let text = format!("a copy of {bytes} bytes; the address is {what}");
            return at(ErrorKind::OutOfBounds, address, text);
        };
        if a.freed {
            if !self.checks.use_after_free {
                return Ok(false);
            }
            return at(ErrorKind::UseAfterFree, address, self.global.describe(address));
        }
        if a.read_only && kind != Kind::Read {
            return at(ErrorKind::ReadOnly, address, self.global.describe(address));
        }
        let offset = (address - a.base) as usize;
        if kind != Kind::Write
            && self.checks.uninitialised_global
            && !a.arena.init.test(offset, bytes as usize)
        {
            let missing = a.arena.init.first_missing(offset, bytes as usize).unwrap_or(offset);
            let place = a.base + missing as u64;
            return at(ErrorKind::UninitialisedGlobal, place, self.global.describe(place));
        }
        if let Some(r) = &mut self.stats.recorder {
            r.bulk(a.base, offset, bytes as usize, kind);
        }
        self.stats.sectors += (address + bytes - 1) / 32 - address / 32 + 1;
        if kind != Kind::Write {
            self.stats.global_load_bytes += bytes;
        }
        if kind != Kind::Read {
            self.stats.global_store_bytes += bytes;
        }
        Ok(true)
    }

    /// Checks a range of shared memory that a copy is going to read or write.
    fn shared_range(&self, p: Place, bytes: u64, write: bool) -> Step {
        let own = &self.shared[p.rank];
        if self.checks.async_rules
            && let Some((kind, place, text)) = own.watch.conflict(p.at, bytes, write, true)
        {
            return at(kind, place, format!("{text}: {}", own.describe(place)));
        }
        if !write
            && self.checks.uninitialised_shared
            && !own.arena.init.test(p.at as usize, bytes as usize)
            && let Some(missing) = own.arena.init.first_missing(p.at as usize, bytes as usize)
        {
            let place = missing as u64;
            return at(ErrorKind::UninitialisedShared, place, own.describe(place));
        }
        Ok(())
    }
}

/// What a bulk copy moves.
pub(super) struct Plan {
    pub route: Route,
    pub segments: Vec<Segment>,
    pub bytes: u64,
    pub reduce: Option<(AtomOp, AtomType)>,
    pub elements: Elements,
    /// What is written, if it comes from registers.
    pub data: Option<Vec<u8>>,
}

/// Copies without elements of their own.
pub(super) const BYTES: Elements = Elements { size: 1, nan: false, flush: false, tf32: false };

impl Engine {
    /// `cp.async` of a warp.
    pub(super) fn copy_async(
        &mut self,
        mut c: copy::Copy,
        dst: (Space, [u64; 32]),
        ctx: &mut Ctx<'_>,
    ) -> Step {
        c.id = self.id();
        let mask = c.mask;
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            let bytes = c.bytes as u64;
            let place = ctx.shared_place(c.origin.rank, dst.0, dst.1[l], bytes, bytes).map_err(by(l))?;
            let Some(place) = place else {
                c.mask &= !(1 << l);
                continue;
            };
            if place.rank != c.origin.rank {
                let text = "`cp.async` writes to shared memory of its own block only";
                return at(ErrorKind::OutOfBounds, dst.1[l], text).map_err(by(l));
            }
            ctx.shared_range(place, bytes, true).map_err(by(l))?;
            c.dst[l] = place.at;
            if ctx.checks.async_rules {
                ctx.shared[place.rank].watch.hold(c.id, place.at, bytes, true, c.origin.line);
            }
        }
        if let Some(r) = &mut ctx.stats.recorder {
            r.shared(&c.dst.map(|a| a as usize).into(), c.mask, c.bytes as usize, Kind::Write);
        }
        ctx.copy_writes(&c.origin, c.mask, &c.dst, c.bytes)?;
        self.events += 1;
        let w = self.copies.entry((c.origin.rank, c.origin.warp)).or_default();
        c.seq = w.seq;
        w.seq += 1;
        c.group = w.committed;
        w.list.push(c);
        w.bound(ctx)
    }

    /// Checks a bulk copy of one thread and puts it in flight. `group`: it belongs to the thread's bulk groups.
    pub(super) fn bulk(
        &mut self,
        origin: Origin,
        plan: Plan,
        targets: Vec<Target>,
        group: bool,
        ctx: &mut Ctx<'_>,
    ) -> Step {
        let Plan { route, segments, bytes, reduce, elements, data } = plan;
        let id = self.id();
        let number = |g: &super::Groups| g.done.wrapping_add(g.committed.len() as u32);
        let number = group.then(|| self.groups.get(&origin.thread()).map_or(0, number));
        let f = Flight {
            id,
            origin,
            route,
            segments,
            bytes,
            targets,
            reduce,
            elements,
            actor: origin.actor(ctx),
            group: number,
            captured: data,
        };
        for t in &f.targets {
            if let Some((at, _)) = t.mbar {
                self.alive(at, ctx)?;
            }
        }
        for write in [false, true] {
            for (rank, at, len) in f.ranges(write) {
                ctx.shared_range(Place { rank, at }, len, write)?;
                if !write {
                    let reader = 32 * origin.warp + origin.lane;
                    super::watch::proxy_read(ctx.shared, rank, at, len, reader, ctx.checks)?;
                }
            }
        }
        if let Some(r) = &mut ctx.stats.recorder {
            r.bulk_shared(f.bytes, if route == Route::Store { Kind::Read } else { Kind::Write });
        }
        ctx.stats.requests += (route != Route::Between) as u64;
        for s in &f.segments {
            let kind = match (route, reduce) {
                (Route::Between, _) => break,
                (Route::Load, _) => Kind::Read,
                (Route::Store, None) => Kind::Write,
                (Route::Store, Some(_)) => Kind::Atomic,
            };
            if let Some(a) = s.far
                && !ctx.global_range(a, s.len as u64, kind)?
            {
                return Ok(());
            }
        }
        if self.flights.len() >= super::MAX_IN_FLIGHT {
            self.land(self.flights[0].id, ctx)?;
        }
        self.launch(f, ctx);
        if group {
            self.groups.entry(origin.thread()).or_default().open.push(id);
        }
        Ok(())
    }

    /// The blocks a copy writes to: the one that holds its destination, or those of a multicast mask.
    pub(super) fn targets(
        &self,
        dst: Place,
        mbar: Place,
        mask: Option<u32>,
        ctx: &Ctx<'_>,
    ) -> Step<Vec<Target>> {
        let target = |rank: usize| {
            let mbar = Place { rank, at: mbar.at };
            Target { rank, mbar: Some((mbar, self.phase(mbar))) }
        };
        let Some(mask) = mask else {
            if dst.rank != mbar.rank {
                let text = format!(
                    "the destination is in block {} of the cluster, its mbarrier in block {}",
                    dst.rank, mbar.rank
                );
                return at(ErrorKind::BadCopy, mbar.at, text);
            }
            return Ok(vec![target(dst.rank)]);
        };
        let blocks = ctx.shared.len();
        if mask >> blocks != 0 {
            let text =
                format!("the multicast mask {mask:#x} names blocks that a cluster of {blocks} does not have");
            return at(ErrorKind::BadCopy, dst.at, text);
        }
        let ranks: Vec<usize> = (0..blocks).filter(|r| mask >> r & 1 != 0).collect();
        if let Some(r) = ranks.iter().find(|r| ctx.shared[**r].exited && ctx.checks.cluster) {
            let text = format!("a multicast to block {r} of the cluster, whose threads have all exited");
            return at(ErrorKind::ClusterExited, dst.at, text);
        }
        Ok(ranks.into_iter().map(target).collect())
    }
}

/// Segments of a copy that is contiguous on both sides.
pub(super) fn one(shared: u64, far: u64, bytes: u32) -> Vec<Segment> {
    vec![Segment { shared, far: Some(far), len: bytes }]
}

/// An optional operand of a lane.
pub(super) fn optional(regs: &Regs<'_>, row: u32, lane: usize) -> Option<u32> {
    (row != NONE).then(|| <u32 as crate::lanes::Lane>::src(regs, row)[lane])
}
