//! The inner loop: one group of lanes runs straight on until it diverges, calls, waits or ends.

use crate::ErrorKind;
use crate::access::{Memory, deliver64, value};
use crate::arena::Offsets;
use crate::async_ops::Issue;
use crate::block::Env;
use crate::error::{Fault, Step};
use crate::isa::*;
use crate::lanes::{File, Lane, NEGATED, Regs};
use crate::link::Linked;
use crate::matrix::wgmma::{Site, execute as wgmma, touched};
use crate::race::{Actor, Key};
use crate::warp::{Frame, Group, Next, Park, Warp};

/// Atomics of a warp behind which other blocks get a turn; loads that are strong always do so, as programs wait by them.
const PAUSES: u32 = 4;

/// Why a group stopped.
pub(crate) enum Event {
    Next(Next),
    /// The other half of a divergent branch.
    Split(Group),
    Many(Vec<Group>),
    Call(u32, u32),
    Return(u32),
    Exit(u32),
    Park(u32, Park),
}

/// The lanes' addresses.
#[inline(always)]
pub(crate) fn address(regs: &Regs<'_>, base: Base, offset: i64, frame: u32) -> [u64; 32] {
    match base {
        // Loops, as `map` on arrays is not always inlined.
        Base::R64(i) => {
            let mut out = *u64::src(regs, i);
            out.iter_mut().for_each(|a| *a = a.wrapping_add(offset as u64));
            out
        }
        Base::R32(i) => {
            let mut out = [0; 32];
            out.iter_mut()
                .zip(u32::src(regs, i))
                .for_each(|(o, a)| *o = a.wrapping_add(offset as u32) as u64);
            out
        }
        Base::Frame => [(frame as u64).wrapping_add(offset as u64); 32],
        Base::Abs => [offset as u64; 32],
    }
}

/// Run-time check of the registers that definite assignment could not clear.
fn track(
    linked: &Linked,
    pc: u32,
    inst: &Inst,
    regs: &Regs<'_>,
    written: &mut [u32],
    mask: u32,
    active: u32,
) -> Step {
    let Some(t) = linked.func.tracks.get(&pc) else { return Ok(()) };
    let overwrites = matches!(&inst.op, Op::Warpgroup(x) if x.overwrites(regs));
    let guard = (File::Pred, inst.guard & !NEGATED);
    for (r, name) in &t.reads {
        let is_guard = inst.guard != NONE && linked.func.tracked[*r as usize] == guard;
        if (t.copies && !is_guard) || (overwrites && t.writes.contains(r)) {
            continue;
        }
        let missing = if is_guard { mask } else { active } & !written[*r as usize];
        if missing != 0 {
            let mut f = Fault::new(
                ErrorKind::UninitialisedRegister,
                format!("register `{name}` was never written by this thread"),
            );
            f.lane = Some(missing.trailing_zeros());
            return Err(f);
        }
    }
    let source = if t.copies { t.reads.first().map(|r| written[r.0 as usize]) } else { None };
    for &w in &t.writes {
        let w = &mut written[w as usize];
        *w = match source {
            Some(s) => (*w & !active) | (s & active),
            None => *w | active,
        };
    }
    Ok(())
}

/// What a group ended with: an event, or a fault with the lane and the program counter it happened at.
pub(crate) type Outcome = Result<Event, (Box<Fault>, u32, u32)>;

crate::vector::leveled! {
    /// Runs one group straight on, up to `limit` or until `quantum` is used up.
    pub(crate) fn step(
        warp: &mut Warp,
        group: &mut Group,
        frame: &mut Frame,
        limit: u32,
        env: &mut Env<'_>,
        quantum: &mut u32,
    ) -> Outcome = Warp::step
}

/// Instructions executed and not yet told to the launch.
#[derive(Default)]
struct Tally {
    /// How many there may be; counts down.
    left: u32,
    allowed: u32,
    /// Of those executed, how many are no PTX instructions of their own.
    extra: u32,
    lanes: u64,
}

impl Tally {
    /// As many as both the quantum and the launch's budget allow.
    #[inline(always)]
    fn new(env: &Env<'_>, quantum: u32) -> Tally {
        let allowed = (quantum as u64).min(*env.budget) as u32;
        Tally { left: allowed, allowed, ..Tally::default() }
    }

    /// Tells the launch, and allows anew.
    #[inline(always)]
    fn settle(&mut self, env: &mut Env<'_>, quantum: &mut u32) {
        let executed = self.allowed - self.left;
        *quantum -= executed;
        let counted = (executed - self.extra) as u64;
        *env.budget -= counted;
        env.stats.warp_instructions += counted;
        env.stats.lane_instructions += self.lanes;
        *self = Tally::new(env, *quantum);
    }
}

impl Warp {
    #[inline(always)]
    fn step(
        &mut self,
        group: &mut Group,
        frame: &mut Frame,
        limit: u32,
        env: &mut Env<'_>,
        quantum: &mut u32,
    ) -> Outcome {
        let program = env.program;
        let Some(linked) = &program.funcs[frame.func as usize] else {
            return Err((Fault::new(ErrorKind::BadCall, "the function has no body"), 0, 0));
        };
        let code = &linked.func.code[..];
        let mask = group.mask;
        let local_top = (frame.local_base + linked.func.frame_bytes) as u64;
        let mut regs = Regs {
            r32: &mut frame.r32,
            r64: &mut frame.r64,
            preds: &mut frame.preds,
            c32: &linked.c32,
            c64: &linked.c64,
        };
        let mut pc = group.pc;
        let mut tally = Tally::new(env, *quantum);
        macro_rules! leave {
            ($e:expr) => {{
                tally.settle(env, quantum);
                group.pc = pc;
                return Ok($e);
            }};
        }
        macro_rules! memory {
            ($actor:expr, $order:expr, $line:expr) => {
                Memory {
                    global: env.global,
                    shared: env.shared,
                    rank: env.rank,
                    local: &mut self.local,
                    params: env.grid.params,
                    checks: env.checks,
                    stats: env.stats,
                    ledger: env.ledger,
                    local_top,
                    actor: $actor,
                    races: env.races,
                    order: $order,
                    repeats: 0,
                    line: $line,
                }
            };
        }
        let lines = &linked.func.lines[..];
        let everyone = env.actor(self.index, mask);
        let tracking = env.checks.uninitialised_registers;
        let local_base = frame.local_base;
        let mut offs = Offsets::default();
        loop {
            // Most of all instructions need no more than registers and one view of memory. The others end this loop.
            let (m, op) = {
                let mut memory = memory!(everyone, WEAK, 0);
                let profiling = memory.stats.recorder.is_some();
                loop {
                    if pc >= limit || tally.left == 0 {
                        break (0, None);
                    }
                    tally.left -= 1;
                    let inst = &code[pc as usize];
                    let m = if inst.guard == NONE { mask } else { mask & regs.pred(inst.guard) };
                    if inst.extra {
                        tally.extra += 1;
                    } else {
                        tally.lanes += m.count_ones() as u64;
                        memory.stats.by_class[inst.class as usize] += 1;
                    }
                    if profiling && let Some(r) = &mut memory.stats.recorder {
                        r.issue(frame.func, pc, mask, m, inst.extra);
                    }
                    if inst.tracked && tracking {
                        track(linked, pc, inst, &regs, &mut frame.written, mask, m)
                            .map_err(|f| (f, m.trailing_zeros(), pc))?;
                    }
                    if m == 0 {
                        pc += 1;
                        continue;
                    }
                    let place = |f: Box<Fault>| (f, m.trailing_zeros(), pc);
                    if inst.touches && self.flight.frame == group.frame {
                        let list = &linked.func.touches[&pc];
                        let found = touched(&mut self.flight, list, env.warpgroups, self.index);
                        if env.checks.wgmma {
                            found.map_err(place)?;
                        }
                    }
                    match &inst.op {
                        Op::Alu(f, o) => f(&mut regs, o, m),
                        Op::Pred(f, [d, a, b]) => {
                            let v = f(regs.pred(*a), regs.pred(*b));
                            regs.set_pred(*d, v, m);
                        }
                        Op::Load(x) => {
                            let addrs = address(&regs, x.base, x.offset, local_base);
                            memory.turn(m, x.order, lines[pc as usize].0);
                            memory.load(x, &addrs, &mut regs, m, &mut offs).map_err(place)?;
                            let strong = x.order.sem != Sem::Weak && x.space != Space::Shared;
                            if strong && memory.races.pause() {
                                break (m, Some(&inst.op));
                            }
                        }
                        Op::Store(x) => {
                            let addrs = address(&regs, x.base, x.offset, local_base);
                            memory.turn(m, x.order, lines[pc as usize].0);
                            memory.store(x, &addrs, &regs, m, &mut offs).map_err(place)?;
                        }
                        Op::Branch(t) if m == mask => {
                            pc = *t;
                            continue;
                        }
                        op => break (m, Some(op)),
                    }
                    pc += 1;
                }
            };
            let Some(op) = op else {
                if pc >= limit {
                    leave!(Event::Next(Next::Again));
                }
                tally.settle(env, quantum);
                if *quantum == 0 {
                    leave!(Event::Next(Next::Quantum));
                }
                if tally.left == 0 {
                    let text = "raise it with `SimBuilder::instruction_budget` if the kernel is just long";
                    return Err((Fault::new(ErrorKind::InstructionBudget, text), mask.trailing_zeros(), pc));
                }
                continue;
            };
            let actor = Actor { lanes: m, ..everyone };
            let line = lines[pc as usize].0;
            let place = |f: Box<Fault>| (f, m.trailing_zeros(), pc);
            if m != mask && op.aligned() && env.checks.barriers {
                // The other lanes are here, too, and pass by: they cannot join later.
                let text = format!("only lanes {m:#010x} of {mask:#010x} execute this aligned instruction");
                return Err(place(Fault::new(ErrorKind::DivergentCollective, text)));
            }
            match op {
                Op::Alu(..) | Op::Pred(..) | Op::Store(_) => {}
                // Others are to have a turn after this one.
                Op::Load(_) => {
                    pc += 1;
                    leave!(Event::Next(Next::Pause));
                }
                Op::Atom(a) => {
                    let addrs = address(&regs, a.base, a.offset, frame.local_base);
                    crate::atomic::atomic(&mut memory!(actor, a.order, line), a, &addrs, &mut regs, m)
                        .map_err(place)?;
                    let asks = a.dst != NONE && a.space != Space::Shared && self.pauses < PAUSES;
                    if asks && env.races.pause() {
                        self.pauses += 1;
                        pc += 1;
                        leave!(Event::Next(Next::Pause));
                    }
                }
                Op::Discard(mem) => {
                    let addrs = address(&regs, mem.base, mem.offset, frame.local_base);
                    crate::atomic::discard(&mut memory!(actor, mem.order, line), mem, &addrs, m)
                        .map_err(place)?;
                }
                Op::Special(s, d) => {
                    tally.settle(env, quantum);
                    let v = self.special(*s, env, mask);
                    deliver64(&mut regs, *d, &v, m);
                }
                Op::FrameAddr(d, off) => {
                    deliver64(&mut regs, *d, &[frame.local_base as u64 + *off as u64; 32], m);
                }
                Op::Pack(d, parts, bits) => {
                    let mut out = [0u64; 32];
                    for (k, &p) in parts.iter().enumerate() {
                        let v = value(&regs, p);
                        let keep = if *bits >= 64 { !0 } else { (1u64 << bits) - 1 };
                        for l in 0..32 {
                            out[l] |= (v[l] & keep) << (k as u32 * bits);
                        }
                    }
                    deliver64(&mut regs, *d, &out, m);
                }
                Op::Unpack(parts, s, bits) => {
                    let v = value(&regs, *s);
                    let keep = if *bits >= 64 { !0 } else { (1u64 << bits) - 1 };
                    for (k, &p) in parts.iter().enumerate() {
                        if p != NONE {
                            deliver64(&mut regs, p, &v.map(|x| x >> (k as u32 * bits) & keep), m);
                        }
                    }
                }
                Op::Branch(t) => {
                    let other = Group { mask: m, pc: *t, ..*group };
                    group.mask = mask & !m;
                    pc += 1;
                    if let Some(r) = &mut env.stats.recorder {
                        r.diverged();
                    }
                    leave!(Event::Split(other));
                }
                Op::BranchIndexed(i, targets) => {
                    let index = u32::src(&regs, *i);
                    let mut list = vec![Group { mask: mask & !m, pc: pc + 1, ..*group }];
                    let mut todo = m;
                    while todo != 0 {
                        let lead = index[todo.trailing_zeros() as usize];
                        let same = (0..32).filter(|&l| index[l] == lead).fold(0u32, |s, l| s | 1 << l) & todo;
                        let Some(&t) = targets.get(lead as usize) else {
                            let text = format!("branch index {lead} of a list of {}", targets.len());
                            return Err(place(Fault::new(ErrorKind::OutOfBounds, text)));
                        };
                        if same == mask {
                            list.clear();
                        }
                        list.push(Group { mask: same, pc: t, ..*group });
                        todo &= !same;
                    }
                    if let [only] = list[..] {
                        pc = only.pc;
                        continue;
                    }
                    if let Some(r) = &mut env.stats.recorder {
                        r.diverged();
                    }
                    leave!(Event::Many(list));
                }
                Op::Call(c) => {
                    let callee = match c.callee {
                        Callee::Function(f) => (f, m),
                        Callee::Register(r) => {
                            let v = u64::src(&regs, r);
                            let lead = v[m.trailing_zeros() as usize];
                            let same = (0..32).filter(|&l| v[l] == lead).fold(0u32, |s, l| s | 1 << l) & m;
                            let i = lead.wrapping_sub(FUNC_BASE) / 16;
                            if lead < FUNC_BASE || i >= program.funcs.len() as u64 {
                                let text = format!("{lead:#x} is not the address of a function");
                                return Err(place(Fault::new(ErrorKind::BadCall, text)));
                            }
                            if same != m {
                                // The other targets call when this group comes here again.
                                let rest = Group { mask: mask & !same, ..*group };
                                group.mask = same;
                                group.pc = pc;
                                // Two groups at one place would merge: this one calls now.
                                self.groups.push(Group { pc, ..rest });
                                tally.settle(env, quantum);
                                return Ok(Event::Call(same, i as u32));
                            }
                            (i as u32, same)
                        }
                    };
                    let entry = &env.module.funcs[callee.0 as usize];
                    if !entry.has_body {
                        let base = frame.local_base;
                        let name = entry.name.as_str();
                        crate::printf::builtin(name, c, base, &mut memory!(actor, WEAK, line), m)
                            .map_err(place)?;
                    } else {
                        leave!(Event::Call(callee.1, callee.0));
                    }
                }
                Op::Return => leave!(Event::Return(m)),
                Op::Exit => leave!(Event::Exit(m)),
                Op::Trap => return Err(place(Fault::new(ErrorKind::Trap, "the kernel executed `trap`"))),
                // Weak memory is not modelled: memory is already as ordered as any fence makes it.
                Op::Fence(order) => {
                    // Blocks may run on several threads of the host.
                    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
                    env.races.fence(actor, *order);
                }
                Op::Nop => {}
                Op::Collective(w) => {
                    let complete = crate::collective::execute(w, &mut regs, m, self.live, env.checks);
                    match complete.map_err(place)? {
                        // That `match` orders memory the ISA does not say, but CUDA's C++ library counts on it.
                        true if matches!(
                            w.kind,
                            Collective::Sync | Collective::MatchAny | Collective::MatchAll
                        ) =>
                        {
                            for lanes in crate::collective::sets(u32::src(&regs, w.members), m) {
                                env.races.warp_sync(env.actor(self.index, lanes));
                            }
                            env.shared[env.rank].watch.synced(32 * self.index, m);
                        }
                        true => {}
                        false => leave!(Event::Park(m, Park::Collective)),
                    }
                }
                Op::Bar(b) => {
                    let lane = m.trailing_zeros() as usize;
                    let id = u32::src(&regs, b.id)[lane];
                    let count = if b.count == NONE { 0 } else { u32::src(&regs, b.count)[lane] };
                    if id > 15 || count % 32 != 0 {
                        let text = format!(
                            "barrier {id} with {count} threads; numbers go to 15, counts are multiples of 32"
                        );
                        return Err(place(Fault::new(ErrorKind::DivergentBarrier, text)));
                    }
                    if b.kind == BarKind::Arrive {
                        let threads = if b.aligned { 32 } else { m.count_ones() };
                        env.arrivals.push((id, count, threads));
                        env.races.release(actor, Key::Barrier { block: actor.block, id });
                    } else {
                        leave!(Event::Park(m, Park::Barrier { id, count, arrived: false }));
                    }
                }
                Op::Matrix(x) => {
                    if !crate::matrix::complete(m, self.live, env.checks).map_err(place)? {
                        leave!(Event::Park(m, Park::Collective));
                    }
                    let addrs =
                        x.place().map_or([0; 32], |p| address(&regs, p.base, p.offset, frame.local_base));
                    let mode = env.grid.accumulation;
                    crate::matrix::execute(x, &mut memory!(actor, WEAK, line), &mut regs, &addrs, m, mode)
                        .map_err(place)?;
                    if x.orders_lanes() {
                        env.races.warp_sync(actor);
                    }
                }
                Op::Warpgroup(x) => {
                    if !crate::matrix::complete(m, self.live, env.checks).map_err(place)? {
                        leave!(Event::Park(m, Park::Collective));
                    }
                    let site = Site {
                        warp: self.index,
                        frame: group.frame,
                        func: frame.func,
                        pc,
                        line,
                        warps: env.grid.config.block.iter().product::<u32>() / 32,
                    };
                    let mode = env.grid.accumulation;
                    let mut memory = memory!(actor, WEAK, line);
                    let (groups, flight) = (&mut *env.warpgroups, &mut self.flight);
                    let done = wgmma(x, groups, site, &mut memory, &mut regs, flight, mode);
                    if !done.map_err(place)? {
                        leave!(Event::Park(m, Park::Warpgroup));
                    }
                }
                // Lanes under way may yet join, or wait here for these.
                Op::ClusterBar(b)
                    if b.aligned
                        && m != self.live
                        && m == mask
                        && (self.runnable() || self.waits_at(group.frame, pc)) =>
                {
                    leave!(Event::Park(m, Park::Collective));
                }
                Op::ClusterBar(b) => {
                    if let Some(park) = self.cluster_barrier(b, m, env).map_err(place)? {
                        leave!(Event::Park(park.0, park.1));
                    }
                    env.shared[env.rank].watch.synced(32 * self.index, m);
                }
                Op::Async(a) => {
                    let issue = Issue {
                        warp: self.index,
                        live: self.live,
                        mask: m,
                        line: linked.func.lines[pc as usize].0,
                        frame: frame.local_base,
                        func: frame.func,
                        pc,
                    };
                    let waits = crate::async_ops::execute(a, &issue, &mut regs, env).map_err(place)?;
                    if let Some(waits) = waits {
                        // Lanes that need not wait go on.
                        let held = waits.iter().fold(0, |held, w| held | w.0);
                        let mut list = vec![Group { mask: mask & !held, pc: pc + 1, ..*group }];
                        list.extend(waits.into_iter().map(|(mask, park)| Group { mask, pc, park, ..*group }));
                        leave!(Event::Many(list));
                    }
                }
                Op::Unsupported(what) => {
                    let text = format!("{what} cannot be executed");
                    return Err(place(Fault::new(ErrorKind::UnsupportedInstruction, text)));
                }
            }
            pc += 1;
        }
    }

    fn special(&self, s: Special, env: &Env<'_>, active: u32) -> [u64; 32] {
        let config = env.grid.config;
        let per_lane = |f: &dyn Fn(u32) -> u32| {
            let mut v = [0; 32];
            for (l, v) in v.iter_mut().enumerate() {
                *v = f(l as u32) as u64;
            }
            v
        };
        let same = |v: u64| [v; 32];
        match s {
            Special::Tid(a) => self.tid[a as usize].map(u64::from),
            Special::Ntid(a) => same(config.block[a as usize] as u64),
            Special::Ctaid(a) => same(env.index[a as usize] as u64),
            Special::Nctaid(a) => same(config.grid[a as usize] as u64),
            Special::LaneId => per_lane(&|l| l),
            Special::WarpId => same(self.index as u64),
            Special::NWarpId => same(config.block.iter().product::<u32>().div_ceil(32) as u64),
            Special::SmId | Special::GridId => same(0),
            Special::NSmId => same(1),
            Special::LaneMaskEq => per_lane(&|l| 1 << l),
            Special::LaneMaskLt => per_lane(&|l| (1 << l) - 1),
            Special::LaneMaskLe => per_lane(&|l| ((1u64 << (l + 1)) - 1) as u32),
            Special::LaneMaskGt => per_lane(&|l| !(((1u64 << (l + 1)) - 1) as u32)),
            Special::LaneMaskGe => per_lane(&|l| !((1 << l) - 1)),
            // Time is the number of instructions executed so far.
            Special::Clock => same(env.stats.warp_instructions),
            Special::Fixed(v) => same(v as u64),
            Special::ClockHigh => same(env.stats.warp_instructions >> 32),
            Special::DynamicShared => same(config.shared_bytes as u64),
            Special::TotalShared => same(env.program.shared_bytes(config.shared_bytes)),
            Special::ClusterId(a) => same((env.index[a as usize] / config.cluster[a as usize]) as u64),
            Special::NClusterId(a) => same((config.grid[a as usize] / config.cluster[a as usize]) as u64),
            Special::ClusterCtaid(a) => same((env.index[a as usize] % config.cluster[a as usize]) as u64),
            Special::ClusterNctaid(a) => same(config.cluster[a as usize] as u64),
            Special::ClusterRank => same(env.rank as u64),
            Special::ClusterSize => same(env.shared.len() as u64),
            Special::ExplicitCluster => same((env.shared.len() > 1) as u64),
            Special::ActiveMask => same(active as u64),
        }
    }
}
