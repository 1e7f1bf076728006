//! The test itself: an access against the cells it touches.
//!
//! Cells that lie side by side and hold the same states are judged once. A cell keeps the last write, or several strong ones
//! that nothing orders, and the reads since. An access must be ordered after every other it conflicts with, or both must
//! be strong with scopes that include each other.

use super::know::View;
use super::shadow::{PAGE, Shadow};
use super::sync::Shape;
use super::table::{How, Record, SET, Table};
use super::{FIRST_STREAM, Place, Recent};
use crate::access::Kind;
use crate::arena::{Offsets, contiguous};

/// Two accesses that race: mine, and the other's id, at a byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clash {
    pub byte: usize,
    pub mine: u32,
    pub other: u32,
}

/// One access of an actor.
pub(super) struct Touch<'a> {
    pub table: &'a mut Table,
    pub shadow: &'a mut Shadow,
    pub place: Place,
    /// The warp's recent records; none of an asynchronous operation.
    pub recent: &'a mut [Recent],
    pub view: View<'a>,
    pub shape: &'a Shape,
    /// Warps of a block, and block of each stream, to know whose agents they are.
    pub warps: u32,
    pub streams: &'a [u64],
    /// States below these are ordered before whatever happens now.
    pub old: [u32; 2],
}

/// The block of an agent.
pub(super) fn home(agent: u32, warps: u32, streams: &[u64]) -> u64 {
    match agent.checked_sub(FIRST_STREAM) {
        None => (agent / warps.max(1)) as u64,
        Some(s) => streams.get(s as usize).copied().unwrap_or(0),
    }
}

impl Touch<'_> {
    /// The record of what the actor does now.
    #[inline]
    pub(super) fn record(&mut self, line: u32, lanes: u32, how: How) -> u32 {
        let slot = (line ^ lanes ^ lanes >> 11 ^ lanes >> 22) as usize % super::RECENT;
        let clock = self.view.now;
        let (agent, none) = (self.view.agent, self.recent.is_empty());
        if none {
            return self.table.add(Record { agent, clock, line, lanes, how });
        }
        let r = &mut self.recent[slot];
        if !(r.clock == clock && r.line == line && r.lanes == lanes && r.how == how) {
            let record = self.table.add(Record { agent, clock, line, lanes, how });
            *r = Recent { clock, line, lanes, how, record };
        }
        r.record
    }

    /// Lanes of `mask` access `bytes` bytes each; whether words there publish something. Lanes side by side in memory go
    /// together, and neighbouring lanes that read or update one place.
    #[inline]
    pub(super) fn lanes(
        &mut self,
        offsets: &Offsets,
        mask: u32,
        bytes: usize,
        how: How,
        line: u32,
    ) -> Result<bool, Clash> {
        let shift = how.shift;
        let even = 1 << shift == bytes;
        let turn = |lane: usize| (lane.wrapping_sub(offsets[lane] >> shift) & 31) as u32;
        if even && offsets[0] & (bytes - 1) == 0 && contiguous(offsets, mask, bytes) {
            let id = self.record(line, 0, how) * 32 + turn(0);
            return self.span(offsets[0], offsets[0] + 32 * bytes, id);
        }
        let mut todo = mask;
        let mut synced = false;
        while todo != 0 {
            let first = todo.trailing_zeros() as usize;
            let at = offsets[first];
            todo &= todo - 1;
            let mut next = first + 1;
            // A run of lanes side by side.
            if even && at & (bytes - 1) == 0 {
                while next < 32 && todo >> next & 1 != 0 && offsets[next] == at + (next - first) * bytes {
                    todo &= todo - 1;
                    next += 1;
                }
            }
            if next > first + 1 {
                let id = self.record(line, 0, how) * 32 + turn(first);
                synced |= self.span(at, at + (next - first) * bytes, id)?;
                continue;
            }
            let mut together = 1u32 << first;
            if how.kind != Kind::Write {
                while todo != 0 && offsets[todo.trailing_zeros() as usize] == at {
                    together |= todo & todo.wrapping_neg();
                    todo &= todo - 1;
                }
            }
            let alone = even && at & (bytes - 1) == 0 && together == 1 << first;
            let id = match alone {
                true => self.record(line, 0, how) * 32 + turn(first),
                false => self.record(line, together, how) * 32,
            };
            synced |= self.span(at, at + bytes, id)?;
        }
        Ok(synced)
    }

    /// Access `id` to bytes `from..to`; whether words there publish something.
    #[inline]
    pub(super) fn span(&mut self, from: usize, to: usize, id: u32) -> Result<bool, Clash> {
        let mine = *self.table.record(id);
        // A cell belongs to one lane.
        let grain = if mine.lanes != 0 { 2 } else { mine.how.shift.min(2) };
        let mut at = from;
        let mut synced = false;
        while at < to {
            let end = to.min((at / PAGE + 1) * PAGE);
            let page = self.shadow.page(self.place, at, end, grain);
            let grain = page.grain;
            let start = at / PAGE * PAGE;
            let (a, b) = ((at - start) >> grain, (end - start) >> grain);
            synced |= page.synced;
            let judge = Judge {
                table: self.table,
                view: &self.view,
                old: self.old,
                shape: self.shape,
                warps: self.warps,
                streams: self.streams,
                id,
                mine,
            };
            judge.cells(&mut page.write[a..b], &mut page.read[a..b], at, grain)?;
            at = end;
        }
        Ok(synced)
    }
}

/// An access that meets cells.
struct Judge<'a, 'b> {
    table: &'a mut Table,
    view: &'a View<'b>,
    old: [u32; 2],
    shape: &'a Shape,
    warps: u32,
    streams: &'a [u64],
    id: u32,
    mine: Record,
}

impl Judge<'_, '_> {
    #[inline]
    fn cells(mut self, write: &mut [u32], read: &mut [u32], byte: usize, grain: u8) -> Result<(), Clash> {
        let mut done = 0;
        while done < write.len() {
            let (w, r) = (write[done], read[done]);
            let rest = write[done..].iter().zip(&read[done..]);
            let differ = rest.fold(0, |d, (&x, &y)| d | (x ^ w) | (y ^ r));
            let end = if differ == 0 {
                write.len()
            } else {
                let same = write[done..].iter().zip(&read[done..]).take_while(|(x, y)| (**x, **y) == (w, r));
                done + same.count()
            };
            let first = byte + (done << grain);
            let (nw, nr) = self.run(w, r, first, end - done, grain)?;
            if nw != w {
                write[done..end].fill(nw);
            }
            if nr != r {
                read[done..end].fill(nr);
            }
            done = end;
        }
        Ok(())
    }

    #[inline]
    fn fresh(&self, state: u32) -> bool {
        state < self.old[(state >> 31) as usize] || state == 0
    }

    /// States after access `id` of `cells` cells that hold `w` and `r`.
    #[inline]
    fn run(&mut self, w: u32, r: u32, byte: usize, cells: usize, grain: u8) -> Result<(u32, u32), Clash> {
        let (id, kind) = (self.id, self.mine.how.kind);
        let (fresh_w, fresh_r) = (self.fresh(w), self.fresh(r));
        if !fresh_w {
            self.check(w, byte, cells, grain)?;
        }
        if kind == Kind::Read {
            let nr = match () {
                () if fresh_r => id,
                () if r == id => r,
                () => self.table.join(r, id, true, self.view),
            };
            return Ok((w, nr));
        }
        if !fresh_r {
            self.check(r, byte, cells, grain)?;
        }
        if self.mine.how.strong.is_none() {
            return Ok((id, 0));
        }
        let nw = if fresh_w { id } else { self.table.join(w, id, true, self.view) };
        let nr = if fresh_r { 0 } else { self.table.join(r, id, false, self.view) };
        Ok((nw, nr))
    }

    fn check(&self, state: u32, byte: usize, cells: usize, grain: u8) -> Result<(), Clash> {
        let (id, mine) = (self.id, &self.mine);
        for &m in self.table.members(&state) {
            let r = self.table.record(m);
            let clash = |byte| Err(Clash { byte, mine: id, other: m });
            match self.view.uniform(r, m, mine, id) {
                Some(true) => {}
                _ if self.both_strong(r, mine) => {}
                Some(false) => return clash(byte),
                None => {
                    for b in (byte..).step_by(1 << grain).take(cells) {
                        if !self.view.exact(r, r.touched(m, b), mine.touched(id, b)) {
                            return clash(b);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Both are strong, and each is in the other's scope. A plain read beside a compare and swap passes, too: a loop of those
    /// begins with a guess, and CUDA's own headers read it plainly.
    fn both_strong(&self, a: &Record, b: &Record) -> bool {
        let guess = |r: &Record, s: &Record| {
            r.how.kind == Kind::Read && r.how.strong.is_none() && s.how.kind == Kind::Swap
        };
        if guess(a, b) || guess(b, a) {
            return true;
        }
        let (Some(s), Some(t)) = (a.how.strong, b.how.strong) else { return false };
        let (from, to) = (home(a.agent, self.warps, self.streams), home(b.agent, self.warps, self.streams));
        self.shape.reaches(s, from, to) && self.shape.reaches(t, from, to)
    }
}

/// Marks under which no state is old.
pub(super) const NONE_OLD: [u32; 2] = [0, SET];
