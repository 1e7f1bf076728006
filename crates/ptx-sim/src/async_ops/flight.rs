//! Landing of bulk copies.

use super::{Ctx, Engine, Flight, Origin, Place, Route, Segment};
use crate::error::{Fault, Step};
use crate::isa::{AtomOp, AtomType};
use crate::sim::shuffle;

/// Bytes of elements outside the tensor.
fn fill(out: &mut [u8], f: &super::Elements) {
    if !f.nan {
        return out.fill(0);
    }
    for e in out.chunks_mut(f.size as usize) {
        e.fill(0xff);
        if let Some(high) = e.last_mut() {
            *high = 0x7f;
        }
    }
}

/// Subnormal f32 become zeros of their sign.
fn flush(bytes: &mut [u8]) {
    for e in bytes.chunks_exact_mut(4) {
        if e[3] & 0x7f == 0 && e[2] & 0x80 == 0 {
            e[..3].fill(0);
        }
    }
}

/// Finite f32 are rounded to tf32, halves away from zero.
fn round_to_tf32(bytes: &mut [u8]) {
    for e in bytes.chunks_exact_mut(4) {
        let bits = u32::from_le_bytes([e[0], e[1], e[2], e[3]]);
        if bits & 0x7f80_0000 != 0x7f80_0000 {
            e.copy_from_slice(&(bits.wrapping_add(0x1000) & !0x1fff).to_le_bytes());
        }
    }
}

/// Combines the elements of `new` into `old`; f32 sums flush subnormal numbers (PTX ISA, `cp.reduce.async.bulk`).
fn reduce(old: &mut [u8], new: &[u8], (op, ty): (AtomOp, AtomType)) {
    let n = ty.bytes() as usize;
    let value = |b: &[u8]| {
        let mut raw = [0; 8];
        raw[..n].copy_from_slice(b);
        u64::from_le_bytes(raw)
    };
    for (o, b) in old.chunks_exact_mut(n).zip(new.chunks_exact(n)) {
        let r = crate::atomic::combine(op, ty, value(o), value(b), 0, true).to_le_bytes();
        o.copy_from_slice(&r[..n]);
    }
}

impl Flight {
    /// Bytes of a segment where they come from.
    fn fetch(&self, s: &Segment, ctx: &mut Ctx<'_>) -> Vec<u8> {
        let mut out = vec![0; s.len as usize];
        match (s.far, self.route) {
            (None, _) => fill(&mut out, &self.elements),
            (Some(a), Route::Load) => {
                if let Some(i) = ctx.global.index(a) {
                    let g = ctx.global.get(i);
                    let at = (a - g.base) as usize;
                    if let Some(bytes) = g.arena.bytes.get(at..at + out.len()) {
                        out.copy_from_slice(bytes);
                    }
                }
            }
            (Some(a), Route::Between) => {
                let from = &ctx.shared[self.origin.rank].arena.bytes;
                out.copy_from_slice(&from[a as usize..a as usize + s.len as usize]);
            }
            (Some(_), Route::Store) => {
                let from = &ctx.shared[self.origin.rank].arena.bytes;
                out.copy_from_slice(&from[s.shared as usize..s.shared as usize + s.len as usize]);
            }
        }
        if self.elements.flush {
            flush(&mut out);
        }
        if self.elements.tf32 {
            round_to_tf32(&mut out);
        }
        out
    }

    /// Reads a store's source.
    fn capture(&mut self, ctx: &mut Ctx<'_>) -> Step {
        if self.captured.is_some() {
            return Ok(());
        }
        self.told_shared(false, ctx)?;
        self.announce(false, ctx);
        let all = self.segments.iter().flat_map(|s| self.fetch(s, ctx)).collect();
        self.captured = Some(all);
        self.let_go(ctx, false);
        Ok(())
    }

    /// Ends the watch over what the copy writes (or reads) in shared memory.
    fn let_go(&self, ctx: &mut Ctx<'_>, write: bool) {
        if ctx.checks.async_rules {
            for (rank, at, len) in self.ranges(write) {
                ctx.shared[rank].watch.release(self.id, at, len, write);
            }
        }
    }

    /// Ranges of shared memory that the copy writes (or reads): block, offset, bytes.
    pub(super) fn ranges(&self, write: bool) -> Vec<(usize, u64, u64)> {
        let mut out: Vec<(usize, u64, u64)> = Vec::new();
        let mut add = |rank: usize, at: u64, len: u32| match out.last_mut() {
            Some(r) if r.0 == rank && r.1 + r.2 == at => r.2 += len as u64,
            _ => out.push((rank, at, len as u64)),
        };
        for s in &self.segments {
            match (self.route, write) {
                (Route::Load | Route::Between, true) => {
                    self.targets.iter().for_each(|t| add(t.rank, s.shared, s.len))
                }
                (Route::Store, false) => add(self.origin.rank, s.shared, s.len),
                (Route::Between, false) => add(self.origin.rank, s.far.unwrap_or(0), s.len),
                _ => {}
            }
        }
        out
    }

    /// Moves the data of a copy whose source has been read, or is read now.
    fn deliver(&mut self, ctx: &mut Ctx<'_>) -> Step {
        match self.route {
            Route::Store => {
                self.capture(ctx)?;
                self.told_global(ctx)?;
                self.announce(true, ctx);
                let all = self.captured.take().unwrap_or_default();
                let mut rest = &all[..];
                for s in &self.segments {
                    let (now, later) = rest.split_at(s.len as usize);
                    rest = later;
                    let Some(a) = s.far else { continue };
                    let Some(i) = ctx.global.index(a) else { continue };
                    let g = ctx.global.get_mut(i);
                    let at = (a - g.base) as usize;
                    if let Some(to) = g.arena.bytes.get_mut(at..at + now.len()) {
                        match self.reduce {
                            Some(r) => reduce(to, now, r),
                            None => to.copy_from_slice(now),
                        }
                        g.arena.init.set(at, now.len());
                    }
                }
            }
            Route::Load | Route::Between => {
                self.told_global(ctx)?;
                self.told_shared(false, ctx)?;
                self.told_shared(true, ctx)?;
                let given = self.captured.take();
                for s in &self.segments {
                    let data = given.clone().unwrap_or_else(|| self.fetch(s, ctx));
                    let at = s.shared as usize;
                    for t in &self.targets {
                        let own = &mut ctx.shared[t.rank];
                        let to = &mut own.arena.bytes[at..at + data.len()];
                        match self.reduce {
                            Some(r) => reduce(to, &data, r),
                            None => to.copy_from_slice(&data),
                        }
                        own.arena.init.set(at, data.len());
                        own.watch.landed(s.shared, s.len as u64);
                    }
                }
                self.let_go(ctx, false);
                self.let_go(ctx, true);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Lands the copy of that number, if it is still in flight.
    pub(super) fn land(&mut self, id: u64, ctx: &mut Ctx<'_>) -> Step {
        let Some(i) = self.flights.iter().position(|f| f.id == id) else { return Ok(()) };
        let mut f = self.flights.swap_remove(i);
        self.events += 1;
        f.deliver(ctx)?;
        for t in &f.targets {
            if let Some((at, phase)) = t.mbar {
                ctx.publish(f.actor, at, phase);
                self.add_bytes(at, -(f.bytes as i64), ctx)?;
                self.settle(at, ctx)?;
            }
        }
        ctx.retire(f.actor);
        Ok(())
    }

    /// `cp.async.bulk.commit_group` of a thread.
    pub(super) fn commit(&mut self, o: &Origin, ctx: &mut Ctx<'_>) -> Step {
        let g = self.groups.entry(o.thread()).or_default();
        let open = std::mem::take(&mut g.open);
        g.committed.push_back(open);
        let many = g.committed.len() > super::MAX_IN_FLIGHT;
        if many { self.wait_group(o, super::MAX_IN_FLIGHT / 2, false, ctx) } else { Ok(()) }
    }

    /// `cp.async.bulk.wait_group` of a thread: all but its last `keep` groups are done, or have at least read their sources.
    pub(super) fn wait_group(&mut self, o: &Origin, keep: usize, read: bool, ctx: &mut Ctx<'_>) -> Step {
        let Some(g) = self.groups.get_mut(&o.thread()) else { return Ok(()) };
        let over = g.committed.len().saturating_sub(keep);
        let first = g.done;
        let numbers = (0..over as u32).map(move |n| first.wrapping_add(n));
        let mut ids: Vec<u64> = g.committed.iter().take(over).flatten().copied().collect();
        shuffle(&mut ids, &mut self.random);
        if read {
            for f in self.flights.iter_mut().filter(|f| ids.contains(&f.id)) {
                f.capture(ctx)?;
            }
            numbers.for_each(|n| ctx.learn_group(o, n, false));
            return Ok(());
        }
        g.committed.drain(..over);
        g.done = g.done.wrapping_add(over as u32);
        ids.into_iter().try_for_each(|id| self.land(id, ctx))?;
        numbers.for_each(|n| ctx.learn_group(o, n, true));
        Ok(())
    }

    /// The cluster has ended: stores still in flight are done.
    pub(crate) fn finish(&mut self, ctx: &mut Ctx<'_>) -> Result<(), (Box<Fault>, Origin)> {
        let stores = self.flights.iter().filter(|f| f.route == Route::Store);
        let mut list: Vec<(u64, Origin)> = stores.map(|f| (f.id, f.origin)).collect();
        shuffle(&mut list, &mut self.random);
        list.into_iter().try_for_each(|(id, o)| self.land(id, ctx).map_err(|f| (f, o)))
    }

    /// Puts a copy in flight.
    pub(super) fn launch(&mut self, mut f: Flight, ctx: &mut Ctx<'_>) {
        self.events += 1;
        if ctx.checks.async_rules {
            for write in [false, true] {
                for (rank, at, len) in f.ranges(write) {
                    ctx.shared[rank].watch.hold(f.id, at, len, write, f.origin.line);
                }
            }
        }
        f.fork(ctx);
        self.flights.push(f);
    }

    /// The phase of an mbarrier, if there is one.
    pub(super) fn phase(&self, at: Place) -> u64 {
        self.barriers.get(&at).map_or(0, |b| b.phase)
    }
}
