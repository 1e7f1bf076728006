//! The inner loop: one group of lanes runs straight on until it diverges, calls, waits or ends.

use crate::ErrorKind;
use crate::access::{Memory, deliver64, value};
use crate::async_ops::Issue;
use crate::block::Env;
use crate::error::{Fault, Step};
use crate::isa::*;
use crate::lanes::{File, Lane, NEGATED, Regs};
use crate::link::Linked;
use crate::race::Key;
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
        Base::R64(i) => u64::src(regs, i).map(|a| a.wrapping_add(offset as u64)),
        Base::R32(i) => u32::src(regs, i).map(|a| a.wrapping_add(offset as u32) as u64),
        Base::Frame => [(frame as u64).wrapping_add(offset as u64); 32],
        Base::Abs => [offset as u64; 32],
    }
}

/// Run-time check of the registers that definite assignment could not clear.
fn track(linked: &Linked, pc: u32, inst: &Inst, written: &mut [u32], mask: u32, active: u32) -> Step {
    let Some(t) = linked.func.tracks.get(&pc) else { return Ok(()) };
    let guard = (File::Pred, inst.guard & !NEGATED);
    for (r, name) in &t.reads {
        let is_guard = inst.guard != NONE && linked.func.tracked[*r as usize] == guard;
        if t.copies && !is_guard {
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

impl Warp {
    /// Runs one group straight on.
    pub(crate) fn step(
        &mut self,
        group: &mut Group,
        frame: &mut Frame,
        limit: u32,
        env: &mut Env<'_>,
        quantum: &mut u32,
    ) -> Result<Event, (Box<Fault>, u32, u32)> {
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
        let profiling = env.stats.recorder.is_some();
        macro_rules! leave {
            ($e:expr) => {{
                group.pc = pc;
                return Ok($e);
            }};
        }
        loop {
            if pc >= limit {
                leave!(Event::Next(Next::Again));
            }
            if *quantum == 0 {
                leave!(Event::Next(Next::Quantum));
            }
            *quantum -= 1;
            let inst = &code[pc as usize];
            let m = if inst.guard == NONE { mask } else { mask & regs.pred(inst.guard) };
            if !inst.extra {
                if *env.budget == 0 {
                    let text = "raise it with `SimBuilder::instruction_budget` if the kernel is just long";
                    return Err((Fault::new(ErrorKind::InstructionBudget, text), mask.trailing_zeros(), pc));
                }
                *env.budget -= 1;
                env.stats.warp_instructions += 1;
                env.stats.lane_instructions += m.count_ones() as u64;
                env.stats.by_class[inst.class as usize] += 1;
            }
            if profiling && let Some(r) = &mut env.stats.recorder {
                r.issue(frame.func, pc, mask, m, inst.extra);
            }
            if inst.tracked && env.checks.uninitialised_registers {
                track(linked, pc, inst, &mut frame.written, mask, m)
                    .map_err(|f| (f, m.trailing_zeros(), pc))?;
            }
            if m == 0 {
                pc += 1;
                continue;
            }
            let actor = env.actor(self.index, m);
            macro_rules! memory {
                () => {
                    memory!(WEAK)
                };
                ($order:expr) => {
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
                        actor,
                        races: env.races,
                        order: $order,
                        line: linked.func.lines[pc as usize].0,
                    }
                };
            }
            let place = |f: Box<Fault>| (f, m.trailing_zeros(), pc);
            if m != mask && inst.op.aligned() && env.checks.barriers {
                // The other lanes are here, too, and pass by: they cannot join later.
                let text = format!("only lanes {m:#010x} of {mask:#010x} execute this aligned instruction");
                return Err(place(Fault::new(ErrorKind::DivergentCollective, text)));
            }
            match &inst.op {
                Op::Alu(f, o) => f(&mut regs, o, m),
                Op::Pred(f, [d, a, b]) => {
                    let v = f(regs.pred(*a), regs.pred(*b));
                    regs.set_pred(*d, v, m);
                }
                Op::Load(mem) => {
                    let addrs = address(&regs, mem.base, mem.offset, frame.local_base);
                    memory!(mem.order).load(mem, &addrs, &mut regs, m).map_err(place)?;
                    if mem.order.sem != Sem::Weak && mem.space != Space::Shared && env.races.pause() {
                        pc += 1;
                        leave!(Event::Next(Next::Pause));
                    }
                }
                Op::Store(mem) => {
                    let addrs = address(&regs, mem.base, mem.offset, frame.local_base);
                    memory!(mem.order).store(mem, &addrs, &regs, m).map_err(place)?;
                }
                Op::Atom(a) => {
                    let addrs = address(&regs, a.base, a.offset, frame.local_base);
                    crate::atomic::atomic(&mut memory!(a.order), a, &addrs, &mut regs, m).map_err(place)?;
                    let asks = a.dst != NONE && a.space != Space::Shared && self.pauses < PAUSES;
                    if asks && env.races.pause() {
                        self.pauses += 1;
                        pc += 1;
                        leave!(Event::Next(Next::Pause));
                    }
                }
                Op::Discard(mem) => {
                    let addrs = address(&regs, mem.base, mem.offset, frame.local_base);
                    crate::atomic::discard(&mut memory!(mem.order), mem, &addrs, m).map_err(place)?;
                }
                Op::Special(s, d) => {
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
                    if m == mask {
                        pc = *t;
                        continue;
                    }
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
                                return Ok(Event::Call(same, i as u32));
                            }
                            (i as u32, same)
                        }
                    };
                    let entry = &env.module.funcs[callee.0 as usize];
                    if !entry.has_body {
                        let base = frame.local_base;
                        let name = entry.name.as_str();
                        crate::printf::builtin(name, c, base, &mut memory!(), m).map_err(place)?;
                    } else {
                        leave!(Event::Call(callee.1, callee.0));
                    }
                }
                Op::Return => leave!(Event::Return(m)),
                Op::Exit => leave!(Event::Exit(m)),
                Op::Trap => return Err(place(Fault::new(ErrorKind::Trap, "the kernel executed `trap`"))),
                // Weak memory is not modelled: memory is already as ordered as any fence makes it.
                Op::Fence(order) => env.races.fence(actor, *order),
                Op::Nop => {}
                Op::Collective(w) => {
                    let complete = crate::collective::execute(w, &mut regs, m, self.live, env.checks);
                    match complete.map_err(place)? {
                        true if w.kind == Collective::Sync => {
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
                    crate::matrix::execute(x, &mut memory!(WEAK), &mut regs, &addrs, m, mode)
                        .map_err(place)?;
                    if x.orders_lanes() {
                        env.races.warp_sync(actor);
                    }
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
