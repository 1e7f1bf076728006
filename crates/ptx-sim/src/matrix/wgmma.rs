//! `wgmma`: four consecutive warps multiply asynchronously, D (64 x n) += A (64 x k) * B (k x n).
//!
//! The life of an operation: each warp of the warpgroup issues it, in the same order as the others; `wgmma.commit_group`
//! closes a group of them; `wgmma.wait_group N` waits for all groups but the last N. As late as that, and not before, an
//! operation lands: its shared operands are read, its result goes to the registers. A warp holds rows `16 * (warp % 4) ..` of
//! A and D. Its registers are read when it issues; an accumulator that an earlier operation still has to deliver is taken from
//! that operation (a chain).
//!
//! Rules (each an [`ErrorKind`]): the warps of a warpgroup issue the same operations; `wgmma.fence` comes before the first one and
//! after every write to a register it names; registers in flight are left alone ([`super::flight`]); shared operands
//! do not change before the wait; every operation is waited for before its warp ends.

use super::Accumulation;
use super::flight::{Accumulator, Flight, Hazard, Touch};
use super::fragment::Shape;
use super::multiply::kind;
use super::operation::{Operation, Start, Tile, integer, locate};
use crate::ErrorKind;
use crate::access::Memory;
use crate::error::{Fault, Step};
use crate::lanes::{Lane, Regs};
use crate::race::Key;
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use super::operation::{Factor, Site, Wgmma};

/// A decoded instruction of the family.
#[derive(Clone, Debug)]
pub(crate) enum Warpgroup {
    Issue(Arc<Wgmma>),
    Fence,
    Commit,
    Wait(u32),
}

impl Warpgroup {
    /// An operation that does not read its accumulator for any lane.
    pub(crate) fn overwrites(&self, regs: &Regs<'_>) -> bool {
        matches!(self, Warpgroup::Issue(x) if regs.pred(x.scale_d) == 0)
    }
}

#[derive(Debug, Default)]
struct Member {
    /// Operations issued, and those whose result the warp has.
    issued: u64,
    delivered: u64,
    /// Operations issued when each open group was committed.
    groups: VecDeque<u64>,
    /// Operations that all warps have to issue before this one can go on.
    waiting: u64,
}

/// The operations of a warpgroup.
#[derive(Debug, Default)]
pub(crate) struct Group {
    operations: VecDeque<Operation>,
    /// Number of the first of them.
    first: u64,
    members: [Member; 4],
}

/// One of the values all lanes must agree in.
fn uniform(v: &[u64; 32], what: &str) -> Step<u64> {
    match v.iter().position(|x| *x != v[0]) {
        None => Ok(v[0]),
        Some(l) => {
            let mut f = Fault::new(
                ErrorKind::WgmmaMismatch,
                format!(
                    "{what} is {:#x} in this thread and {:#x} in lane 0; it must be the same",
                    v[l], v[0]
                ),
            );
            f.lane = Some(l as u32);
            Err(f)
        }
    }
}

impl Group {
    fn operation(&self, number: u64) -> Option<&Operation> {
        self.operations.get(number.checked_sub(self.first)? as usize)
    }

    /// The finding for a register used while an operation is in flight.
    pub(crate) fn hazard(&self, h: Hazard) -> Box<Fault> {
        let name = self.operation(h.operation).map_or("a wgmma".into(), Operation::name);
        let role = if h.factor { "A" } else { "D" };
        let verb = if h.written { "written" } else { "read" };
        let text = format!(
            "register {} of operand {role} of {name} is {verb} before `wgmma.wait_group` has waited for it",
            h.register
        );
        Fault::new(ErrorKind::WgmmaRegisterInFlight, text)
    }

    /// Whether a warp that waits at `wgmma.wait_group` can go on: the others have issued what it waits for.
    pub(crate) fn ready(&self, warp: u32) -> bool {
        let target = self.members[warp as usize % 4].waiting;
        self.members.iter().all(|m| m.issued >= target)
    }

    /// An operation that a warp issued and nobody waited for: the warp, function and program counter, and what to say.
    pub(crate) fn abandoned(&self) -> Option<(u32, u32, u32, String)> {
        let number = (self.first..).zip(&self.operations);
        for (n, o) in number {
            for (w, m) in self.members.iter().enumerate() {
                if o.issued >> w & 1 != 0 && m.delivered <= n {
                    let text = format!("{} is not waited for before the kernel ends", o.name());
                    return Some((o.site.warp / 4 * 4 + w as u32, o.site.func, o.site.pc, text));
                }
            }
        }
        None
    }

    fn issue(
        &mut self,
        x: &Arc<Wgmma>,
        site: Site,
        mem: &mut Memory<'_>,
        regs: &Regs<'_>,
        flight: &mut Flight,
    ) -> Step {
        let w = site.warp as usize % 4;
        let checked = mem.checks.wgmma;
        if site.warp / 4 * 4 + 4 > site.warps {
            let text = "a warpgroup is four whole warps, the first of them a multiple of four; this block ends before";
            return Err(Fault::new(ErrorKind::DivergentCollective, text));
        }
        let scale = regs.pred(x.scale_d);
        if scale != 0 && scale != !0 && checked {
            let text = "scale-d is not the same in all threads of the warp";
            return Err(Fault::new(ErrorKind::WgmmaMismatch, text));
        }
        let a = match x.a {
            Factor::Shared(s) => uniform(u64::src(regs, s), "the descriptor of A")?,
            Factor::Registers(_) => 0,
        };
        let words = [a, uniform(u64::src(regs, x.b), "the descriptor of B")?, (scale != 0) as u64];

        // Registers.
        let factor = match &x.a {
            Factor::Registers(f) => &f.regs[..],
            Factor::Shared(_) => &[],
        };
        let mut chained = None;
        match flight.accumulator(&x.d.regs) {
            Accumulator::Ready => {}
            Accumulator::Chained(n) => {
                let same = |o: &Operation| o.x.shape == x.shape && o.x.d.format == x.d.format;
                if checked && !self.operation(n).is_some_and(same) {
                    let h = Hazard { operation: n, register: 0, factor: false, written: true };
                    return Err(self.hazard(h));
                }
                chained = Some(n);
            }
            Accumulator::Broken(h) if checked => return Err(self.hazard(h)),
            Accumulator::Broken(_) => {}
        }
        if checked {
            if let Some(h) = flight.factor(factor) {
                return Err(self.hazard(h));
            }
            let missing =
                match (flight.frame == site.frame, flight.unfenced(&x.d.regs), flight.unfenced(factor)) {
                    (false, ..) => Some("`wgmma.fence` has to come before the first wgmma".to_string()),
                    (_, Some(i), _) => {
                        Some(format!("register {i} of operand D was written after the last `wgmma.fence`"))
                    }
                    (_, _, Some(i)) => {
                        Some(format!("register {i} of operand A was written after the last `wgmma.fence`"))
                    }
                    _ => None,
                };
            if let Some(text) = missing {
                return Err(Fault::new(ErrorKind::WgmmaMissingFence, text));
            }
        }

        // The operation, new or known from the other warps.
        let number = self.members[w].issued;
        let index = (number - self.first) as usize;
        if index == self.operations.len() {
            let a_tile = match x.a {
                Factor::Shared(_) => Tile::new(x, 0, words[0], mem)?,
                Factor::Registers(_) => Tile::default(),
            };
            let size = (x.shape.m * x.shape.k) as usize * factor.len().min(1);
            let ints = integer(x.formats[0]);
            let b_tile = Tile::new(x, 1, words[1], mem)?;
            let block = mem.shared[mem.rank].block;
            let key = Key::Wgmma { block, warp: site.warp / 4 * 4, group: number as u32 };
            self.operations.push_back(Operation {
                x: x.clone(),
                site,
                actors: Vec::new(),
                key,
                words,
                issued: 0,
                a: a_tile,
                b: b_tile,
                rows: vec![0.0; if ints { 0 } else { size }],
                integers: vec![0; if ints { size } else { 0 }],
                start: [const { Start::Zero }; 4],
                result: None,
            });
        } else if checked {
            // The memory has to be ready for each of the warps.
            for which in 0..2 {
                if which == 1 || factor.is_empty() {
                    locate(x, which, words[which], mem)?;
                }
            }
        }
        let o = &mut self.operations[index];
        if checked && ((o.site.func, o.site.pc) != (site.func, site.pc) || o.words != words) {
            let text = if (o.site.func, o.site.pc) != (site.func, site.pc) {
                format!("another warp of the warpgroup has issued {} in its place", o.name())
            } else {
                let what = ["the descriptor of A", "the descriptor of B", "scale-d"];
                let i = (0..3).find(|&i| o.words[i] != words[i]).unwrap_or(0);
                format!(
                    "{} is {:#x} here and {:#x} in warp {} of the warpgroup",
                    what[i],
                    words[i],
                    o.words[i],
                    o.site.warp % 4
                )
            };
            return Err(Fault::new(ErrorKind::WgmmaMismatch, text));
        }
        if let Factor::Registers(f) = &x.a {
            let part = 16 * x.shape.k as usize;
            if integer(f.format) {
                f.integers(regs, &mut o.integers[w * part..][..part]);
            } else {
                f.floats(regs, &mut o.rows[w * part..][..part]);
            }
        }
        o.start[w] = match chained {
            _ if scale == 0 => Start::Zero,
            Some(n) => Start::Chained(n),
            None => {
                let mut v = vec![0; 16 * x.shape.n as usize];
                x.d.raw(regs, &mut v);
                Start::Values(v)
            }
        };
        o.issued |= 1 << w;
        let block = mem.shared[mem.rank].block;
        let stream = Key::Wgmma { block, warp: site.warp, group: number as u32 };
        o.actors.push(mem.races.fork(mem.actor, stream));
        self.members[w].issued += 1;
        flight.issue(site.frame, regs.r32.len(), number, &x.d.regs, factor);
        let Shape { m, n, k } = x.shape;
        // A quarter of the warpgroup's.
        mem.stats.tensor_flop[kind(x.formats[0]) as usize] += 2 * m as u64 * n as u64 * k as u64 / 4;
        Ok(())
    }

    /// Waits for all groups but the last `pending`; `false` if other warps have yet to issue their part.
    fn wait(
        &mut self,
        pending: u32,
        site: Site,
        mem: &mut Memory<'_>,
        regs: &mut Regs<'_>,
        flight: &mut Flight,
        mode: Accumulation,
    ) -> Step<bool> {
        let w = site.warp as usize % 4;
        let me = &mut self.members[w];
        let Some(last) = me.groups.len().checked_sub(pending as usize + 1) else { return Ok(true) };
        let target = me.groups[last];
        me.waiting = target;
        if !self.ready(site.warp) {
            return Ok(false);
        }
        self.members[w].groups.drain(..=last);
        for number in self.members[w].delivered..target {
            self.land(number, mem, mode)?;
            let o = &self.operations[(number - self.first) as usize];
            let n = o.x.shape.n as usize;
            let Some(result) = &o.result else { continue };
            mem.races.acquire(mem.actor, o.key);
            let rows = &result[w * 16 * n..][..16 * n];
            let landed = flight.land(number);
            if flight.frame != site.frame {
                let text = "`wgmma.wait_group` in another function than its wgmma";
                return Err(Fault::new(ErrorKind::UnsupportedInstruction, text));
            }
            for (register, i) in landed {
                let d = &o.x.d;
                let e = d.format.per_register() as usize;
                for l in 0..32 {
                    let place = |j: usize| d.place[(i * e + j) * 32 + l] as usize;
                    regs.r32[register as usize][l] =
                        (0..e).fold(0, |v, j| v | rows[place(j)].wrapping_shl(j as u32 * d.format.bits()));
                }
            }
        }
        self.members[w].delivered = target;
        self.drop_landed(mem);
        Ok(true)
    }

    fn land(&mut self, number: u64, mem: &mut Memory<'_>, mode: Accumulation) -> Step {
        let index = (number - self.first) as usize;
        let (before, rest) = self.operations.make_contiguous().split_at_mut(index);
        let Some(o) = rest.first_mut().filter(|o| o.result.is_none()) else { return Ok(()) };
        let first = self.first;
        o.land(mem, mode, &|n| {
            let o = n.checked_sub(first).and_then(|i| before.get(i as usize));
            o.and_then(|o| o.result.clone()).unwrap_or_default()
        })
    }

    /// Forgets operations that all warps have the result of.
    fn drop_landed(&mut self, mem: &mut Memory<'_>) {
        let done = self.members.iter().map(|m| m.delivered).min().unwrap_or(0);
        while self.first < done {
            let Some(o) = self.operations.pop_front() else { return };
            mem.races.forget(o.key);
            // Chains on it start from its values now.
            let (number, n) = (self.first, o.x.shape.n as usize);
            for later in &mut self.operations {
                for (w, s) in later.start.iter_mut().enumerate() {
                    if matches!(s, Start::Chained(c) if *c == number) {
                        let rows = o.result.as_ref().map_or(&[][..], |r| &r[w * 16 * n..][..16 * n]);
                        *s = Start::Values(rows.to_vec());
                    }
                }
            }
            self.first += 1;
        }
    }
}

/// Another instruction of a warp uses registers of interest: what is wrong with that, if anything.
#[cold]
pub(crate) fn touched(flight: &mut Flight, list: &[Touch], groups: &[Group], warp: u32) -> Step {
    flight.touch(list).map_err(|h| groups[warp as usize / 4].hazard(h))
}

/// Executes an instruction of the family; `false`: the warp has to wait for others of its warpgroup.
pub(crate) fn execute(
    x: &Warpgroup,
    groups: &mut Vec<Group>,
    site: Site,
    mem: &mut Memory<'_>,
    regs: &mut Regs<'_>,
    flight: &mut Flight,
    mode: Accumulation,
) -> Step<bool> {
    let index = site.warp as usize / 4;
    if groups.len() <= index {
        groups.resize_with(index + 1, Group::default);
    }
    let group = &mut groups[index];
    match x {
        Warpgroup::Issue(x) => group.issue(x, site, mem, regs, flight)?,
        Warpgroup::Fence if flight.pending > 0 && flight.frame != site.frame => {
            let text = "`wgmma.fence` in another function than a wgmma in flight";
            return Err(Fault::new(ErrorKind::UnsupportedInstruction, text));
        }
        Warpgroup::Fence => flight.fence(site.frame, regs.r32.len()),
        Warpgroup::Commit => {
            let m = &mut group.members[site.warp as usize % 4];
            m.groups.push_back(m.issued);
        }
        Warpgroup::Wait(n) => return group.wait(*n, site, mem, regs, flight, mode),
    }
    Ok(true)
}
