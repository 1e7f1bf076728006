//! A warp: lanes in groups, each group with one program counter and one frame.
//!
//! The group in the deepest frame with the lowest program counter runs first. Diverged lanes so wait at higher addresses
//! until the others arrive there, and groups that meet at one address of one frame merge: reconvergence without a stack of
//! masks. Barriers and warp-level instructions park a group until its partners arrive. A group that runs long while
//! others could gets put behind them for a while, so that lanes spinning on each other make progress.

use crate::access::{LOCAL_FIRST, Local, deliver32};
use crate::block::{Env, Launch};
use crate::error::{Fault, Step};
use crate::isa::*;
use crate::lanes::{File, NEGATED, Regs};
use crate::matrix::flight::Flight;
use crate::step::Event;
use crate::{ErrorKind, SimError};

/// Instructions a group runs before others get a turn.
const QUANTUM: u32 = 1 << 14;
/// Deepest call nesting.
const MAX_FRAMES: u32 = 1000;

/// What a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Park {
    Run,
    /// A block barrier: number, thread count (0: the whole block), whether the block knows of the arrival.
    Barrier {
        id: u32,
        count: u32,
        arrived: bool,
    },
    /// A warp-level instruction whose other lanes are missing.
    Collective,
    /// `barrier.cluster.wait`, in the phase of that parity.
    Cluster(u32),
    /// `wgmma.wait_group`, for a `wgmma` that other warps of the warpgroup have yet to issue.
    Warpgroup,
    /// A phase of the mbarrier at offset `at` of block `rank`.
    Mbarrier {
        rank: u16,
        at: u32,
        phase: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub mask: u32,
    pub pc: u32,
    pub frame: u32,
    pub park: Park,
}

/// One invocation of a function by some lanes.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub func: u32,
    parent: u32,
    ret_pc: u32,
    depth: u32,
    lanes: u32,
    pub(crate) local_base: u32,
    pub(crate) r32: Vec<[u32; 32]>,
    pub(crate) r64: Vec<[u64; 32]>,
    pub(crate) preds: Vec<u32>,
    /// Lanes that wrote each tracked register.
    pub(crate) written: Vec<u32>,
    /// Where the caller wants results: offsets in its frame.
    returns: Box<[u32]>,
}

#[derive(Debug, Default)]
pub(crate) struct Warp {
    /// Index in the block.
    pub index: u32,
    /// Lanes that have not exited.
    pub live: u32,
    /// Lanes that ever ran.
    pub all: u32,
    pub groups: Vec<Group>,
    frames: Vec<Frame>,
    free: Vec<u32>,
    pub local: Local,
    pub tid: [[u32; 32]; 3],
    /// Lanes that arrived at the cluster barrier and have not waited for it yet, by the parity of its phase.
    pub cluster_arrived: [u32; 2],
    /// Registers of `wgmma`.
    pub flight: Flight,
    turn: u32,
    /// Atomics behind which other blocks had a turn.
    pub(crate) pauses: u32,
}

/// A fault with the place it happened at.
pub(crate) struct Located {
    pub fault: Box<Fault>,
    pub warp: u32,
    pub lane: u32,
    pub func: u32,
    pub pc: u32,
}

/// What to do with the groups after one stopped.
pub(crate) enum Next {
    /// Ran into the program counter of other groups, diverged, called or returned: groups are to be sorted anew.
    Again,
    Quantum,
    /// Other blocks should have a turn.
    Pause,
}

impl Warp {
    /// Readies the warp for a block.
    pub(crate) fn start(&mut self, index: u32, env: &Env<'_>) -> Step {
        let [x, y, z] = env.grid.config.block;
        let threads = x * y * z;
        let lanes = threads.saturating_sub(32 * index).min(32);
        self.index = index;
        self.live = if lanes == 32 { !0 } else { (1 << lanes) - 1 };
        self.all = self.live;
        for l in 0..32 {
            let t = 32 * index + l as u32;
            self.tid[0][l] = t % x;
            self.tid[1][l] = t / x % y;
            self.tid[2][l] = t / x / y;
        }
        self.groups.clear();
        self.free = (0..self.frames.len() as u32).collect();
        self.turn = 0;
        self.pauses = 0;
        self.cluster_arrived = [0; 2];
        self.flight.reset();
        let f = self.enter(env, env.program.entry, NONE, 0, self.live)?;
        self.groups.push(Group { mask: self.live, pc: 0, frame: f, park: Park::Run });
        Ok(())
    }

    fn enter(&mut self, env: &Env<'_>, func: u32, parent: u32, ret_pc: u32, lanes: u32) -> Step<u32> {
        let Some(linked) = &env.program.funcs[func as usize] else {
            return Err(Fault::new(ErrorKind::BadCall, "the function has no body"));
        };
        let f = &linked.func;
        let (depth, base) = match self.frames.get(parent as usize) {
            Some(p) if parent != NONE => (p.depth + 1, p.local_base + self.bytes(env, p.func)),
            _ => (0, LOCAL_FIRST),
        };
        if depth >= MAX_FRAMES {
            return Err(Fault::new(ErrorKind::StackOverflow, format!("calls nest deeper than {MAX_FRAMES}")));
        }
        self.local.enter(base, base + f.frame_bytes, lanes, env.ledger)?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Frame::default());
            self.frames.len() as u32 - 1
        });
        let frame = &mut self.frames[id as usize];
        let (wide, narrow) = (f.n64.saturating_sub(frame.r64.len()), f.n32.saturating_sub(frame.r32.len()));
        env.ledger.grow(256 * wide as u64 + 128 * narrow as u64)?;
        frame.func = func;
        frame.parent = parent;
        frame.ret_pc = ret_pc;
        frame.depth = depth;
        frame.lanes = lanes;
        frame.local_base = base;
        // Rows of a larger frame before this one stay.
        frame.r32.resize(f.n32.max(frame.r32.len()), [0; 32]);
        frame.r64.resize(f.n64.max(frame.r64.len()), [0; 32]);
        frame.preds.resize(f.preds.max(frame.preds.len()), 0);
        frame.written.clear();
        frame.written.resize(f.tracked.len(), 0);
        // Definite assignment cleared all other registers: only these can be seen before they are written.
        for &(file, i) in &f.tracked {
            match file {
                File::R32 => frame.r32[i as usize] = [0x7fff_dead; 32],
                File::R64 => frame.r64[i as usize] = [0x7fff_dead_7fff_dead; 32],
                File::Pred => frame.preds[i as usize] = 0,
            }
        }
        frame.preds[crate::lanes::CARRY as usize] = 0;
        Ok(id)
    }

    fn bytes(&self, env: &Env<'_>, func: u32) -> u32 {
        env.program.funcs[func as usize].as_ref().map_or(0, |l| l.func.frame_bytes)
    }

    /// Index of the group to run next.
    fn pick(&self) -> Option<usize> {
        let mut runnable = self.groups.iter().enumerate().filter(|(_, g)| g.park == Park::Run);
        if self.turn % 2 == 1 {
            let n = runnable.clone().count().max(1);
            return runnable.nth((self.turn / 2) as usize % n).map(|(i, _)| i);
        }
        runnable
            .min_by_key(|(_, g)| (std::cmp::Reverse(self.frames[g.frame as usize].depth), g.pc, g.frame))
            .map(|(i, _)| i)
    }

    /// Adds a group, merged with one at the same place.
    fn add(&mut self, group: Group) {
        if group.mask == 0 {
            return;
        }
        let same = |g: &&mut Group| g.frame == group.frame && g.pc == group.pc && g.park == Park::Run;
        match self.groups.iter_mut().find(same) {
            Some(g) if group.park == Park::Run => g.mask |= group.mask,
            _ => self.groups.push(group),
        }
    }

    /// Whether lanes wait at an instruction for others to join them.
    pub(crate) fn waits_at(&self, frame: u32, pc: u32) -> bool {
        self.groups.iter().any(|g| g.park == Park::Collective && g.frame == frame && g.pc == pc)
    }

    pub(crate) fn runnable(&self) -> bool {
        self.groups.iter().any(|g| g.park == Park::Run)
    }

    /// Runs until every group is parked or gone, or a quantum is used up.
    pub(crate) fn run(&mut self, env: &mut Env<'_>) -> Result<(), Located> {
        let mut quantum = QUANTUM;
        while let Some(i) = self.pick() {
            let mut group = self.groups.swap_remove(i);
            let limit = self
                .groups
                .iter()
                .filter(|g| g.park == Park::Run && g.frame == group.frame && g.pc > group.pc)
                .map(|g| g.pc)
                .min()
                .unwrap_or(u32::MAX);
            let mut frame = std::mem::take(&mut self.frames[group.frame as usize]);
            let outcome = crate::step::step(self, &mut group, &mut frame, limit, env, &mut quantum);
            let func = frame.func;
            let home = group.frame;
            self.frames[home as usize] = frame;
            let next = outcome.and_then(|e| {
                let lane = group.mask.trailing_zeros() & 31;
                match e {
                    Event::Next(n) => {
                        self.add(group);
                        Ok(n)
                    }
                    Event::Split(other) => {
                        self.add(group);
                        self.add(other);
                        Ok(Next::Again)
                    }
                    Event::Many(list) => {
                        list.into_iter().for_each(|g| self.add(g));
                        Ok(Next::Again)
                    }
                    Event::Call(mask, callee) => {
                        let pc = group.pc;
                        self.call(group, mask, callee, env).map_err(|f| (f, lane, pc))?;
                        Ok(Next::Again)
                    }
                    Event::Return(mask) => {
                        self.leave(group, mask, env);
                        Ok(Next::Again)
                    }
                    Event::Exit(mask) => {
                        self.exit(group.frame, mask);
                        self.add(Group { mask: group.mask & !mask, pc: group.pc + 1, ..group });
                        Ok(Next::Again)
                    }
                    Event::Park(mask, park) => {
                        let rest = Group { mask: group.mask & !mask, pc: group.pc + 1, ..group };
                        self.add(rest);
                        let here =
                            |g: &&mut Group| g.frame == group.frame && g.pc == group.pc && g.park == park;
                        match self.groups.iter_mut().find(here) {
                            Some(g) => {
                                g.mask |= mask;
                                if park == Park::Collective {
                                    g.park = Park::Run;
                                }
                            }
                            None => self.groups.push(Group { mask, park, ..group }),
                        }
                        Ok(Next::Again)
                    }
                }
            });
            match next {
                Ok(Next::Again) => {}
                Ok(Next::Quantum) => {
                    self.turn += 1;
                    return Ok(());
                }
                Ok(Next::Pause) => return Ok(()),
                Err((fault, lane, pc)) => {
                    let lane = fault.lane.unwrap_or(lane);
                    return Err(Located { fault, warp: self.index, lane, func, pc });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn frame_mut(&mut self, g: &Group) -> &mut Frame {
        &mut self.frames[g.frame as usize]
    }

    /// Where a parked group stands, for reports.
    pub(crate) fn place(&self, g: &Group) -> (u32, u32) {
        (self.frames[g.frame as usize].func, g.pc)
    }

    /// The instruction a parked group waits at, as a barrier.
    pub(crate) fn bar<'a>(&self, g: &Group, env: &'a Env<'_>) -> Option<&'a Bar> {
        let linked = env.program.funcs[self.frames[g.frame as usize].func as usize].as_ref()?;
        match &linked.func.code.get(g.pc as usize)?.op {
            Op::Bar(b) => Some(b),
            _ => None,
        }
    }

    /// The predicate votes of a group parked at a reducing barrier.
    pub(crate) fn votes(&self, g: &Group, bar: &Bar) -> u32 {
        let f = &self.frames[g.frame as usize];
        let v = match bar.source {
            NONE => 0,
            i if i & crate::lanes::CONST != 0 => {
                if i & 1 != 0 {
                    !0
                } else {
                    0
                }
            }
            i => {
                let p = f.preds[(i & !NEGATED) as usize];
                if i & NEGATED != 0 { !p } else { p }
            }
        };
        v & g.mask
    }

    /// Writes a reducing barrier's result for a group.
    pub(crate) fn deliver(&mut self, g: &Group, bar: &Bar, value: u32) {
        let f = &mut self.frames[g.frame as usize];
        match bar.kind {
            BarKind::And | BarKind::Or => {
                let p = &mut f.preds[bar.dst as usize];
                *p = (*p & !g.mask) | if value != 0 { g.mask } else { 0 };
            }
            BarKind::Popc => {
                let mut regs =
                    Regs { r32: &mut f.r32, r64: &mut f.r64, preds: &mut f.preds, c32: &[], c64: &[] };
                deliver32(&mut regs, bar.dst, &[value; 32], false, g.mask);
            }
            _ => {}
        }
    }

    fn call(&mut self, group: Group, mask: u32, callee: u32, env: &Env<'_>) -> Step {
        let Some(linked) = env.program.funcs.get(callee as usize).and_then(|f| f.as_ref()) else {
            return Err(Fault::new(ErrorKind::BadCall, "the callee has no body"));
        };
        let caller = &self.frames[group.frame as usize];
        let (caller_base, caller_func) = (caller.local_base, caller.func);
        let Some(from) = &env.program.funcs[caller_func as usize] else { return Ok(()) };
        let Op::Call(call) = &from.func.code[group.pc as usize].op else { return Ok(()) };
        let f = &linked.func;
        if call.args.len() != f.params.len() || call.returns.len() > f.returns.len() {
            return Err(Fault::new(
                ErrorKind::BadCall,
                format!(
                    "`{}` takes {} arguments and returns {}, the call has {} and {}",
                    f.name,
                    f.params.len(),
                    f.returns.len(),
                    call.args.len(),
                    call.returns.len()
                ),
            ));
        }
        let id = self.enter(env, callee, group.frame, group.pc + 1, mask)?;
        self.frames[id as usize].returns = call.returns.clone();
        let base = self.frames[id as usize].local_base;
        for (arg, formal) in call.args.iter().zip(&f.params) {
            self.move_local(caller_base + arg, base + formal.offset, formal.size, mask);
        }
        self.add(Group { mask: group.mask & !mask, pc: group.pc + 1, ..group });
        self.groups.push(Group { mask, pc: 0, frame: id, park: Park::Run });
        Ok(())
    }

    /// Copies local bytes with their initialisation, lane by lane.
    fn move_local(&mut self, from: u32, to: u32, bytes: u32, mask: u32) {
        let arena = &mut self.local.arena;
        let len = arena.bytes.len();
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            let (f, t) = (l * self.local.stride + from as usize, l * self.local.stride + to as usize);
            arena.bytes.copy_within(f..f + bytes as usize, t);
            for i in 0..bytes as usize {
                if arena.init.test(f + i, 1) {
                    arena.init.set(t + i, 1)
                } else {
                    arena.init.unset(t + i, 1, len)
                }
            }
        }
    }

    fn leave(&mut self, group: Group, mask: u32, env: &Env<'_>) {
        self.add(Group { mask: group.mask & !mask, pc: group.pc + 1, ..group });
        let f = &mut self.frames[group.frame as usize];
        let parent = f.parent;
        if parent == NONE {
            return self.exit(group.frame, mask);
        }
        f.lanes &= !mask;
        let (pc, base, empty) = (f.ret_pc, f.local_base, f.lanes == 0);
        let returns = f.returns.clone();
        let func = f.func;
        if empty {
            self.free.push(group.frame);
        }
        let to = self.frames[parent as usize].local_base;
        if let Some(linked) = &env.program.funcs[func as usize] {
            for (at, formal) in returns.iter().zip(&linked.func.returns) {
                self.move_local(base + formal.offset, to + at, formal.size, mask);
            }
        }
        self.add(Group { mask, pc, frame: parent, park: Park::Run });
    }

    fn exit(&mut self, frame: u32, mask: u32) {
        self.live &= !mask;
        // Who waits for these lanes waits in vain: it looks again.
        for g in self.groups.iter_mut().filter(|g| g.park == Park::Collective) {
            g.park = Park::Run;
        }
        let mut id = frame;
        while id != NONE {
            let f = &mut self.frames[id as usize];
            f.lanes &= !mask;
            let parent = f.parent;
            if f.lanes == 0 {
                self.free.push(id);
            }
            id = parent;
        }
    }
}

/// A finished error from a located fault.
pub(crate) fn report(l: Located, env: &Launch<'_>, block: [u32; 3], thread: [u32; 3]) -> SimError {
    let mut e = SimError::new(l.fault.kind, l.fault.message);
    let r = &mut e.report;
    r.address = l.fault.address;
    r.block = Some(block);
    r.thread = Some(thread);
    r.kernel = env.module.funcs[env.program.entry as usize].name.clone();
    if let Some(linked) = &env.program.funcs[l.func as usize] {
        let line = linked.func.lines.get(l.pc as usize).map_or(0, |at| at.0);
        r.line = Some(line);
        r.instruction = env.module.line_text(line);
        r.source = source(&linked.func, l.pc as usize, env.module);
    }
    if let Some(o) = l.fault.other {
        let [x, y, _] = env.grid.config.block;
        let mut at = env.program.funcs.iter().flatten().filter_map(|f| {
            let pc = f.func.lines.iter().position(|at| at.0 == o.line)?;
            Some(source(&f.func, pc, env.module))
        });
        r.other = Some(crate::OtherAccess {
            line: o.line,
            source: at.next().flatten(),
            block: o.block.map(|v| v as u32),
            thread: o.thread.map(|t| [t % x, t / x % y, t / x / y]),
        });
    }
    e
}

/// Source file and line of an instruction. Inlined library code hides the line that called it: the nearest line before it
/// that is no library's.
fn source(func: &Func, pc: usize, module: &crate::module::Inner) -> Option<(String, u32)> {
    let named = |file: u32, row: u32| module.files.get(&file).filter(|_| row > 0).map(|n| (n.clone(), row));
    let before = func.lines[..(pc + 1).min(func.lines.len())].iter().rev();
    let own = before.filter_map(|&(_, f, row)| named(f, row)).find(|(name, _)| !name.contains("/library/"));
    own.or_else(|| func.lines.get(pc).and_then(|&(_, file, row)| named(file, row)))
}
