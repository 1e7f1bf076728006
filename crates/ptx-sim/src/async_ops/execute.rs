//! Execution of the asynchronous instructions, lane by lane.

use super::isa::{Addr, Async, End, Wait};
use super::issue::{BYTES, Plan, addresses, at, by, one, optional};
use super::mbarrier::{Arrival, Outcome};
use super::{Ctx, Engine, Origin, Place, Route, Segment, Target, copy, map_edit, tensor};
use crate::ErrorKind;
use crate::access::{Kind, Local, Memory, deliver32, deliver64, value};
use crate::block::Env;
use crate::error::{Fault, Step};
use crate::isa::{NONE, Space, WEAK};
use crate::lanes::{Lane, Regs};
use crate::warp::Park;

/// Who executes an instruction, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issue {
    pub warp: u32,
    /// Lanes of the warp that have not exited.
    pub live: u32,
    /// Lanes that execute it.
    pub mask: u32,
    pub line: u32,
    /// Local memory of the running frame.
    pub frame: u32,
    pub func: u32,
    pub pc: u32,
}

impl Issue {
    fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        (0..32).filter(move |l| mask >> l & 1 != 0)
    }

    fn origin(&self, rank: usize, lane: usize) -> Origin {
        let Issue { warp, line, func, pc, .. } = *self;
        Origin { rank, warp, lane: lane as u32, func, pc, line }
    }

    /// The place of the mbarrier that a lane names; `write`: the instruction begins or ends its life.
    fn barrier(
        &self,
        rank: usize,
        lane: usize,
        (a, address): (&Addr, u64),
        write: bool,
        ctx: &mut Ctx<'_>,
    ) -> Step<Option<Place>> {
        let place = ctx.shared_place(rank, a.space, address, 8, 8).map_err(by(lane))?;
        if let Some(p) = place {
            let actor = self.origin(rank, lane).actor(ctx);
            ctx.touch(actor, p, write, self.line).map_err(by(lane))?;
        }
        Ok(place)
    }

    fn all(&self, what: &str, checks: &crate::Checks) -> Step {
        let missing = self.live & !self.mask;
        if missing == 0 || !checks.barriers {
            return Ok(());
        }
        let text = format!("{what} executed by lanes {:#010x} of the warp only, without this one", self.mask);
        let mut f = Fault::new(ErrorKind::DivergentCollective, text);
        f.lane = Some(missing.trailing_zeros());
        Err(f)
    }
}

/// Executes an instruction; the lanes that have to wait, and for what.
pub(crate) fn execute(
    a: &Async,
    i: &Issue,
    regs: &mut Regs<'_>,
    env: &mut Env<'_>,
) -> Step<Option<Vec<(u32, Park)>>> {
    let rank = env.rank;
    let engine = &mut *env.engine;
    let params = env.grid.params;
    let mut ctx = Ctx {
        global: env.global,
        shared: env.shared,
        checks: env.checks,
        stats: env.stats,
        races: env.races,
        ledger: env.ledger,
    };
    let own = |a: &Addr, regs: &Regs<'_>| addresses(a, regs, i.frame);
    let row = |regs: &Regs<'_>, r: u32, l: usize| u32::src(regs, r)[l];
    match a {
        Async::Copy { dst, src, bytes, size, ignore } => {
            let (to, from) = (own(dst, regs), own(src, regs));
            let ignored = if *ignore == NONE { 0 } else { regs.pred(*ignore) };
            let mut read = [0; 32];
            for l in i.lanes() {
                let n = optional(regs, *size, l).unwrap_or(*bytes as u32);
                if n > *bytes as u32 && ctx.checks.async_rules {
                    let text = format!("a source of {n} bytes for a copy of {bytes}");
                    return at(ErrorKind::BadCopy, from[l], text).map_err(by(l));
                }
                read[l] = if ignored >> l & 1 != 0 { 0 } else { n.min(*bytes as u32) as u8 };
            }
            let origin = i.origin(rank, i.mask.trailing_zeros() as usize);
            let mask = sources(src.space, &from, &mut read, i, rank, params, &mut ctx)?;
            let c = copy::Copy {
                id: 0,
                seq: 0,
                mask,
                group: [0; 32],
                dst: [0; 32],
                src: from,
                read,
                bytes: *bytes,
                origin,
            };
            engine.copy_async(c, (dst.space, to), &mut ctx)?;
        }
        Async::CopyCommit => {
            let w = engine.copies.entry((rank, i.warp)).or_default();
            i.lanes().for_each(|l| w.committed[l] = w.committed[l].saturating_add(1));
        }
        Async::CopyWait(keep) => engine.copies_wait(rank, i.warp, i.mask, *keep, &mut ctx)?,
        Async::CopyArrive { at, noinc } => {
            let to = own(at, regs);
            for l in i.lanes() {
                let Some(p) = i.barrier(rank, l, (at, to[l]), false, &mut ctx)? else { continue };
                engine.alive(p, &mut ctx).map_err(by(l))?;
                if !noinc {
                    engine.add_pending(p, &mut ctx).map_err(by(l))?;
                }
                let (id, origin) = (engine.id(), i.origin(rank, l));
                let seq = engine.copies.get(&(rank, i.warp)).map_or(0, |w| w.seq);
                let actor = ctx.fork(origin.actor(&ctx), p, engine.phase(p));
                let arrival = copy::Arrival { id, at: p, seq, origin, actor };
                engine.follow(arrival, &mut ctx).map_err(by(l))?;
            }
        }
        Async::Init { at, count } => {
            let to = own(at, regs);
            for l in i.lanes() {
                let Some(p) = i.barrier(rank, l, (at, to[l]), true, &mut ctx)? else { continue };
                engine.init(p, row(regs, *count, l), &mut ctx).map_err(by(l))?;
            }
        }
        Async::Invalidate(a) => {
            let to = own(a, regs);
            for l in i.lanes() {
                let Some(p) = i.barrier(rank, l, (a, to[l]), true, &mut ctx)? else { continue };
                engine.invalidate(p, &mut ctx).map_err(by(l))?;
            }
        }
        Async::Bytes { at, bytes, complete } => {
            let to = own(at, regs);
            for l in i.lanes() {
                let Some(p) = i.barrier(rank, l, (at, to[l]), false, &mut ctx)? else { continue };
                let n = row(regs, *bytes, l) as i64;
                let n = if *complete { -n } else { n };
                engine.add_bytes(p, n, &mut ctx).map_err(by(l))?;
                if *complete {
                    let phase = engine.phase(p);
                    engine.settle(p, &mut ctx).map_err(by(l))?;
                    engine.completed_by(p, phase, i.origin(rank, l).thread());
                }
            }
        }
        Async::Arrive { at, token, count, expect, drop, no_complete, relaxed } => {
            let to = own(at, regs);
            let mut tokens = [0; 32];
            for l in i.lanes() {
                let Some(p) = i.barrier(rank, l, (at, to[l]), false, &mut ctx)? else { continue };
                let arrival = Arrival {
                    count: optional(regs, *count, l).unwrap_or(1),
                    expect: optional(regs, *expect, l).unwrap_or(0),
                    drop: *drop,
                    no_complete: *no_complete,
                    actor: (!relaxed).then(|| i.origin(rank, l).actor(&ctx)),
                };
                let phase = engine.phase(p);
                tokens[l] = engine.arrive(p, arrival, &mut ctx).map_err(by(l))?;
                engine.completed_by(p, phase, i.origin(rank, l).thread());
            }
            if *token != NONE {
                deliver64(regs, *token, &tokens, i.mask);
            }
        }
        Async::Wait(w) => return wait(w, i, regs, engine, rank, &mut ctx),
        Async::PendingCount(d, token) => {
            let counts = u64::src(regs, *token).map(|t| t as u32 & super::mbarrier::MAX_COUNT);
            deliver32(regs, *d, &counts, false, i.mask);
        }
        Async::Bulk { dst, src, size, end, reduce } => {
            let (to, from) = (own(dst, regs), own(src, regs));
            for l in i.lanes() {
                let n = row(regs, *size, l);
                if !n.is_multiple_of(16) && ctx.checks.async_rules {
                    let text = format!("a bulk copy of {n} bytes; the size has to be a multiple of 16");
                    return at(ErrorKind::BadCopy, to[l], text).map_err(by(l));
                }
                let one = Ends { i, rank, lane: l, end };
                bulk(&one, (dst, to[l]), (src, from[l]), n, *reduce, regs, engine, &mut ctx)
                    .map_err(by(l))?;
            }
        }
        Async::Tensor { map, coordinates, shared, load, end, reduce } => {
            let (maps, to) = (own(map, regs), own(shared, regs));
            for l in i.lanes() {
                let read = map_edit::read(map.space, maps[l], rank, params, &mut ctx).map_err(by(l))?;
                let Some(m) = read else { continue };
                tensor::check(&m, coordinates.len()).map_err(by(l))?;
                let bytes = tensor::box_bytes(&m).0;
                let p = ctx.shared_place(rank, shared.space, to[l], bytes, tensor::ALIGN).map_err(by(l))?;
                let Some(p) = p else { continue };
                let from: Vec<i32> = coordinates.iter().map(|c| row(regs, *c, l) as i32).collect();
                let plan = tensor::plan(&m, &from, p.at, *load, *reduce).map_err(by(l))?;
                let one = Ends { i, rank, lane: l, end };
                one.issue(p, plan, regs, engine, &mut ctx).map_err(by(l))?;
            }
        }
        Async::Store { dst, values, size, mbar, reduce } => {
            let to = own(dst, regs);
            let values: Vec<[u64; 32]> = values.iter().map(|v| value(regs, *v)).collect();
            let end = End::Mbarrier(*mbar, NONE);
            for l in i.lanes() {
                let data: Vec<u8> =
                    values.iter().flat_map(|v| v[l].to_le_bytes().into_iter().take(*size as usize)).collect();
                let bytes = data.len() as u64;
                let p = ctx.shared_place(rank, dst.space, to[l], bytes, bytes).map_err(by(l))?;
                let Some(p) = p else { continue };
                let segments = vec![Segment { shared: p.at, far: None, len: bytes as u32 }];
                let (route, reduce, data) = (Route::Load, *reduce, Some(data));
                let plan = Plan { route, segments, bytes, reduce, elements: BYTES, data };
                let one = Ends { i, rank, lane: l, end: &end };
                one.issue(p, plan, regs, engine, &mut ctx).map_err(by(l))?;
            }
        }
        Async::Prefetch(a, size) => {
            let from = own(a, regs);
            for l in i.lanes() {
                let n = row(regs, *size, l);
                aligned(from[l], &ctx).map_err(by(l))?;
                ctx.global_range(from[l], n as u64, Kind::Write).map_err(by(l))?;
            }
        }
        Async::PrefetchTensor(map, coordinates) => {
            let maps = own(map, regs);
            for l in i.lanes() {
                let read = map_edit::read(map.space, maps[l], rank, params, &mut ctx).map_err(by(l))?;
                read.map_or(Ok(()), |m| tensor::check(&m, coordinates.len())).map_err(by(l))?;
            }
        }
        Async::BulkCommit => {
            for l in i.lanes() {
                engine.commit(&i.origin(rank, l), &mut ctx).map_err(by(l))?;
            }
        }
        Async::BulkWait(keep, read) => {
            for l in i.lanes() {
                let o = i.origin(rank, l);
                engine.wait_group(&o, *keep as usize, *read, &mut ctx).map_err(by(l))?;
            }
        }
        Async::ProxyFence { shared } => {
            if *shared {
                ctx.shared[rank].watch.fence(32 * i.warp, i.mask);
            }
        }
        Async::MapAcquire(a) => {
            let to = own(a, regs);
            for l in i.lanes() {
                map_edit::read(a.space, to[l], rank, params, &mut ctx).map_err(by(l))?;
            }
        }
        Async::Replace { map, field, dim, value } => {
            let to = own(map, regs);
            let values = *u64::src(regs, *value);
            for l in i.lanes() {
                let place = (map.space, to[l]);
                map_edit::replace(place, rank, *field, *dim, values[l], &mut ctx).map_err(by(l))?;
            }
        }
        Async::MapCopy(dst, src) => {
            i.all("`tensormap.cp_fenceproxy`", ctx.checks)?;
            let (to, from) = (own(dst, regs), own(src, regs));
            let l = i.mask.trailing_zeros() as usize;
            map_edit::copy(to[l], (src.space, from[l]), rank, &mut ctx).map_err(by(l))?;
        }
        Async::MaxRegisters(n, more) => {
            i.all("`setmaxnreg`", ctx.checks)?;
            if ctx.checks.async_rules {
                let name = &env.module.funcs[env.program.entry as usize].name;
                let bound = env.module.kernels.iter().find(|k| k.name == *name).is_some_and(|k| {
                    k.max_registers.is_some() || k.max_threads.is_some() || k.required_threads.is_some()
                });
                engine.max_registers(*n, *more, bound, i.origin(rank, 0))?;
            }
        }
    }
    Ok(None)
}

/// Checks and counts the sources of a `cp.async`; the lanes whose copy is to be made.
fn sources(
    space: Space,
    from: &[u64; 32],
    read: &mut [u8; 32],
    i: &Issue,
    rank: usize,
    params: &[u8],
    ctx: &mut Ctx<'_>,
) -> Step<u32> {
    let mut local = Local::default();
    let actor = ctx.actor(rank, i.warp, i.mask);
    let mut todo = i.lanes().filter(|l| read[*l] > 0).fold(0, |m, l| m | 1u32 << l);
    while todo != 0 {
        let n = read[todo.trailing_zeros() as usize];
        let mut same = (0..32).filter(|l| read[*l] == n).fold(0, |m, l| m | 1u32 << l) & todo;
        todo &= !same;
        while same != 0 {
            let mut memory = Memory {
                global: ctx.global,
                shared: ctx.shared,
                rank,
                local: &mut local,
                params,
                checks: ctx.checks,
                stats: ctx.stats,
                local_top: 0,
                actor,
                races: ctx.races,
                ledger: ctx.ledger,
                repeats: 0,
                order: WEAK,
                line: i.line,
            };
            let align = if n.is_power_of_two() { n as u32 } else { 1 };
            let (arena, _, part) = memory.part(space, from, same, n as u32, align, Kind::Read)?;
            if arena.is_none() {
                (0..32).filter(|l| part >> l & 1 != 0).for_each(|l| read[l] = 0);
            }
            same &= !part;
        }
    }
    Ok(i.mask)
}

fn aligned(address: u64, ctx: &Ctx<'_>) -> Step {
    if !address.is_multiple_of(16) && ctx.checks.misaligned {
        return at(ErrorKind::Misaligned, address, "bulk copies need addresses that are a multiple of 16");
    }
    Ok(())
}

/// One lane's bulk copy: who issues it, and how its end is made known.
struct Ends<'a> {
    i: &'a Issue,
    rank: usize,
    lane: usize,
    end: &'a End,
}

impl Ends<'_> {
    /// Puts the copy in flight; `dst` is where it touches shared memory.
    fn issue(&self, dst: Place, plan: Plan, regs: &Regs<'_>, engine: &mut Engine, ctx: &mut Ctx<'_>) -> Step {
        let origin = self.i.origin(self.rank, self.lane);
        let (targets, group): (Vec<Target>, bool) = match self.end {
            End::Group => (Vec::new(), true),
            End::Mbarrier(a, mask) => {
                let address = addresses(a, regs, self.i.frame)[self.lane];
                let mbar = self.i.barrier(self.rank, self.lane, (a, address), false, ctx)?;
                let Some(mbar) = mbar else { return Ok(()) };
                let mask = optional(regs, *mask, self.lane).map(|m| m & 0xffff);
                (engine.targets(dst, mbar, mask, ctx)?, false)
            }
        };
        engine.bulk(origin, plan, targets, group, ctx)
    }
}

#[allow(clippy::too_many_arguments, reason = "the operands of one instruction")]
fn bulk(
    ends: &Ends<'_>,
    (dst, to): (&Addr, u64),
    (src, from): (&Addr, u64),
    n: u32,
    reduce: super::isa::Reduce,
    regs: &Regs<'_>,
    engine: &mut Engine,
    ctx: &mut Ctx<'_>,
) -> Step {
    let shared = |a: &Addr, at: u64, ctx: &Ctx<'_>| ctx.shared_place(ends.rank, a.space, at, n as u64, 16);
    let (route, place, segments) = match (dst.space, src.space) {
        (Space::Shared, Space::Shared) => {
            let (Some(d), Some(s)) = (shared(dst, to, ctx)?, shared(src, from, ctx)?) else { return Ok(()) };
            if s.rank != ends.rank {
                let text = "the source of a bulk copy has to be in the issuing block's own shared memory";
                return at(ErrorKind::BadCopy, from, text);
            }
            (Route::Between, d, one(d.at, s.at, n))
        }
        (Space::Shared, _) => {
            aligned(from, ctx)?;
            let Some(d) = shared(dst, to, ctx)? else { return Ok(()) };
            (Route::Load, d, one(d.at, from, n))
        }
        _ => {
            aligned(to, ctx)?;
            let Some(s) = shared(src, from, ctx)? else { return Ok(()) };
            if s.rank != ends.rank {
                let text = "the source of a bulk copy has to be in the issuing block's own shared memory";
                return at(ErrorKind::BadCopy, from, text);
            }
            (Route::Store, s, one(s.at, to, n))
        }
    };
    let plan = Plan { route, segments, bytes: n as u64, reduce, elements: BYTES, data: None };
    ends.issue(place, plan, regs, engine, ctx)
}

impl Engine {
    /// A thread ended phase `before` of an mbarrier, if that is over.
    fn completed_by(&mut self, at: Place, before: u64, thread: u32) {
        if let Some(b) = self.barriers.get_mut(&at).filter(|b| b.phase > before) {
            b.completer = Some(thread);
        }
    }

    /// The last complete phase, if a thread has no other way to know that it is: it did not complete it itself, no barrier was
    /// since, and it is not the phase before the first.
    fn unexpected(&self, at: Place, thread: u32) -> Option<u64> {
        let b = self.barriers.get(&at)?;
        let known = b.completer == Some(thread) || b.completed != self.meetings;
        b.phase.checked_sub(1).filter(|_| !known)
    }

    /// Whether a lane asks for this phase here for the first time.
    fn refuse(&mut self, i: &Issue, rank: usize, at: Place, phase: u64, lane: usize) -> bool {
        let known = self.refused.entry(((rank, i.warp, i.func, i.pc), at)).or_insert((phase, 0));
        if known.0 != phase {
            *known = (phase, 0);
        }
        let first = known.1 >> lane & 1 == 0;
        known.1 |= 1 << lane;
        first
    }
}

/// `mbarrier.test_wait` and `.try_wait`: lanes whose phase is complete go on, the others are parked, but for the first time they ask.
fn wait(
    w: &Wait,
    i: &Issue,
    regs: &mut Regs<'_>,
    engine: &mut Engine,
    rank: usize,
    ctx: &mut Ctx<'_>,
) -> Step<Option<Vec<(u32, Park)>>> {
    let to = addresses(&w.at, regs, i.frame);
    let mut waits: Vec<(u32, Park)> = Vec::new();
    let (mut done, mut refused) = (0u32, 0u32);
    for l in i.lanes() {
        let Some(p) = i.barrier(rank, l, (&w.at, to[l]), false, ctx)? else {
            done |= 1 << l;
            continue;
        };
        let o = i.origin(rank, l);
        let outcome = if w.parity {
            engine.test_parity(p, u32::src(regs, w.phase)[l] as u64, o.thread(), ctx)
        } else {
            engine.test_token(p, u64::src(regs, w.phase)[l], o.thread(), ctx)
        };
        // A wait may return false as long as what completes the phase could still be to come: the first time it does, so that who
        // does not ask again goes wrong.
        let outcome = outcome.map_err(by(l))?;
        let asked = match outcome {
            Outcome::Complete => engine.unexpected(p, o.thread()),
            Outcome::Pending(phase) => Some(phase),
        };
        if ctx.checks.async_rules && asked.is_some_and(|n| engine.refuse(i, rank, p, n, l)) {
            refused |= 1 << l;
            continue;
        }
        match outcome {
            Outcome::Complete => {
                done |= 1 << l;
                if let (false, Some(phase)) = (w.relaxed, engine.phase(p).checked_sub(1)) {
                    ctx.learn(o.actor(ctx), p, phase);
                }
            }
            Outcome::Pending(phase) => {
                let park = Park::Mbarrier { rank: p.rank as u16, at: p.at as u32, phase };
                match waits.iter_mut().find(|(_, q)| *q == park) {
                    Some((m, _)) => *m |= 1 << l,
                    None => waits.push((1 << l, park)),
                }
            }
        }
    }
    regs.set_pred(w.done, done, done | refused);
    ctx.shared[rank].watch.synced(32 * i.warp, done);
    Ok((!waits.is_empty()).then_some(waits))
}
