//! Who accessed: records, and sets of accesses that nothing orders.
//!
//! A cell of the shadow memory holds a *state*: 0 for nobody, the *id* of one access, or (with bit 31) a set of several. All
//! accesses of one warp instruction share a [`Record`]; records are used again while the warp's clock stands. An id is
//! `record * 32 + rotation`: the lane that touched byte `b` is `(rotation + (b >> shift)) % 32`, where `1 << shift` bytes
//! belong to each lane. An instruction whose lanes touch memory in order thus leaves one and the same id everywhere, so that
//! whole runs of cells are judged and filled at once. Lanes that read one place together share a record with a lane mask.

use super::FIRST_STREAM;
use super::know::View;
use super::shadow::Shadow;
use crate::access::Kind;
use crate::isa::{Order, Scope, Sem};

/// Bit of a state: a set.
pub(super) const SET: u32 = 1 << 31;
/// Most members of a set; later ones are not kept, so that a race with them alone is missed.
const MEMBERS: usize = 64;
/// Records or members before the first collection.
const BOUND: usize = 1 << 16;
/// Ids fit 31 bits.
pub(super) const RECORDS: usize = 1 << 26;
/// Slots of the cache of joins.
const JOINS: usize = 1 << 12;

/// What a warp instruction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub agent: u32,
    pub clock: u32,
    /// PTX line.
    pub line: u32,
    /// Lanes that touched each byte together, or 0: one lane, by the rotation of the id.
    pub lanes: u32,
    pub how: How,
}

/// Kind and strength of an access, and bytes per lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    pub kind: Kind,
    /// Scope of a strong access, or `None` for a weak one.
    pub strong: Option<Scope>,
    pub shift: u8,
}

impl How {
    pub(super) fn new(kind: Kind, order: Order, shift: u8) -> Self {
        let strong = if order.sem != Sem::Weak {
            Some(order.scope)
        } else if kind.atomic() {
            Some(Scope::Gpu)
        } else {
            None
        };
        How { kind, strong, shift }
    }
}

impl Record {
    /// Lanes that touched a byte through an id of this record.
    pub(super) fn touched(&self, id: u32, byte: usize) -> u32 {
        if self.lanes != 0 { self.lanes } else { 1 << ((id as usize + (byte >> self.how.shift)) & 31) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Set {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Joined {
    state: u32,
    id: u32,
    add: bool,
    result: u32,
}

/// All records and sets of a launch.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) records: Vec<Record>,
    sets: Vec<Set>,
    members: Vec<u32>,
    joins: Vec<Joined>,
    bound: usize,
    /// Warps of a block.
    warps: u32,
}

impl Default for Table {
    fn default() -> Self {
        let mut t = Table {
            records: Vec::new(),
            sets: Vec::new(),
            members: Vec::new(),
            joins: vec![Joined::default(); JOINS],
            bound: BOUND,
            warps: 1,
        };
        t.clear(1);
        t
    }
}

impl Table {
    pub(super) fn clear(&mut self, warps: u32) {
        self.warps = warps.max(1);
        let nobody = How { kind: Kind::Read, strong: None, shift: 0 };
        self.records.clear();
        // Id 0 stands for nobody.
        self.records.push(Record { agent: u32::MAX, clock: 0, line: 0, lanes: 0, how: nobody });
        self.sets.clear();
        self.members.clear();
        self.joins.fill(Joined::default());
        self.bound = BOUND;
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.records.len() * size_of::<Record>()
            + self.sets.len() * size_of::<Set>()
            + self.members.len() * 4
            + self.joins.len() * size_of::<Joined>()
    }

    /// Numbers of the next record and the next set: states below were there before.
    pub(super) fn marks(&self) -> [u32; 2] {
        [self.records.len() as u32 * 32, self.sets.len() as u32 | SET]
    }

    #[inline]
    pub(super) fn record(&self, id: u32) -> &Record {
        &self.records[(id >> 5) as usize]
    }

    pub(super) fn add(&mut self, r: Record) -> u32 {
        self.records.push(r);
        self.records.len() as u32 - 1
    }

    /// The accesses of a state.
    pub(super) fn members<'a>(&'a self, state: &'a u32) -> &'a [u32] {
        match *state {
            0 => &[],
            s if s & SET != 0 => {
                let set = self.sets[(s & !SET) as usize];
                &self.members[set.start as usize..(set.start + set.len) as usize]
            }
            _ => std::slice::from_ref(state),
        }
    }

    /// Whether whatever races with `old`, which is ordered before `new`, and comes later, races with `new` as well. Not if
    /// the new access is strong and forgives what the old one does not. (A set that is full makes no such difference.)
    fn replaces(&self, new: &Record, old: &Record) -> bool {
        let Some(scope) = new.how.strong else { return true };
        let near = new.agent == old.agent
            || new.agent.max(old.agent) < FIRST_STREAM && new.agent / self.warps == old.agent / self.warps;
        let forgives = new.how.kind == Kind::Swap && old.how.kind != Kind::Swap;
        near && !forgives && old.how.strong.is_some_and(|s| s >= scope)
    }

    /// The state after an access `id`: members ordered before it go that it replaces; it joins them if `add`. The result
    /// holds for every place, so only those go that are ordered at all places.
    pub(super) fn join(&mut self, state: u32, id: u32, add: bool, view: &View<'_>) -> u32 {
        let slot = (state.wrapping_mul(0x9E37_79B9) ^ id.wrapping_mul(0x85EB_CA6B)) >> 16;
        let slot = slot as usize % JOINS;
        let known = self.joins[slot];
        if known.state == state && known.id == id && known.add == add && state != 0 {
            return known.result;
        }
        let result = self.joined(state, id, add, view);
        self.joins[slot] = Joined { state, id, add, result };
        result
    }

    fn joined(&mut self, state: u32, id: u32, add: bool, view: &View<'_>) -> u32 {
        let mine = *self.record(id);
        let members = self.members(&state);
        let mut kept = [0; MEMBERS + 1];
        let mut n = 0;
        for &m in members {
            let r = self.record(m);
            let same = r.agent == mine.agent
                && r.clock == mine.clock
                && r.lanes == mine.lanes
                && m & 31 == id & 31
                && r.how.shift == mine.how.shift;
            // The same thread at the same time: the weaker of the two stands for both.
            let alike = r.how.kind == mine.how.kind || mine.how.kind == Kind::Swap;
            if add && same && (r.how.strong.is_none() || alike && r.how.strong == mine.how.strong) {
                return state;
            }
            let ordered = view.uniform(r, m, &mine, id) == Some(true);
            if !ordered || !self.replaces(&mine, r) && members.len() < MEMBERS {
                kept[n] = m;
                n += 1;
            }
        }
        if n == members.len() && (!add || n >= MEMBERS) {
            return state;
        }
        if add {
            kept[n] = id;
            n += 1;
        }
        match n {
            0 => 0,
            1 => kept[0],
            _ => {
                let set = Set { start: self.members.len() as u32, len: n as u32 };
                self.members.extend_from_slice(&kept[..n]);
                self.sets.push(set);
                (self.sets.len() as u32 - 1) | SET
            }
        }
    }

    /// Time to collect, when the shadow has so many bytes: the more cells, the more a collection costs.
    #[inline]
    pub(super) fn full(&self, shadow: usize) -> bool {
        self.records.len().max(self.members.len()) > self.bound.max(shadow / 32)
    }

    /// Keeps what the states of the shadow still name, in order, and rewrites them. Returns how to rewrite marks.
    pub(super) fn collect(&mut self, shadow: &mut Shadow) -> Moves {
        let mut sets = vec![false; self.sets.len()];
        let mut records = vec![false; self.records.len()];
        records[0] = true;
        shadow.cells(|s| match *s {
            s if s & SET != 0 => sets[(s & !SET) as usize] = true,
            s => records[(s >> 5) as usize] = true,
        });
        for (set, _) in self.sets.iter().zip(&sets).filter(|(_, live)| **live) {
            for m in &self.members[set.start as usize..(set.start + set.len) as usize] {
                records[(m >> 5) as usize] = true;
            }
        }
        let number = |live: &[bool]| {
            let mut next = 0;
            let mut v: Vec<u32> = Vec::with_capacity(live.len() + 1);
            for &l in live {
                v.push(next);
                next += l as u32;
            }
            v.push(next);
            v
        };
        let moves = Moves { records: number(&records), sets: number(&sets) };
        let mut i = 0;
        self.records.retain(|_| {
            i += 1;
            records[i - 1]
        });
        let mut members = Vec::new();
        let mut kept = Vec::new();
        for (set, _) in self.sets.iter().zip(&sets).filter(|(_, live)| **live) {
            let start = members.len() as u32;
            let old = &self.members[set.start as usize..(set.start + set.len) as usize];
            members.extend(old.iter().map(|&m| moves.state(m)));
            kept.push(Set { start, len: set.len });
        }
        self.sets = kept;
        self.members = members;
        shadow.cells(|s| *s = moves.state(*s));
        self.joins.fill(Joined::default());
        self.bound = (2 * self.records.len().max(self.members.len())).max(BOUND);
        moves
    }
}

/// New numbers of records and sets after a collection.
pub(super) struct Moves {
    records: Vec<u32>,
    sets: Vec<u32>,
}

impl Moves {
    /// The new name of a state that lives on, or of a mark.
    pub(super) fn state(&self, s: u32) -> u32 {
        match s {
            0 => 0,
            s if s & SET != 0 => self.sets[(s & !SET) as usize] | SET,
            s => self.records[(s >> 5) as usize] * 32 + (s & 31),
        }
    }
}
