//! Data races in shared and global memory: two accesses to one byte, at least one a write, that no chain of
//! synchronisation orders and that are not both strong for each other (PTX ISA, memory consistency model).
//!
//! One [`Races`] serves a launch; a launch boundary orders everything, so it starts empty. Whoever touches memory is an
//! [`Actor`]: lanes of a warp, or an asynchronous operation that was [forked](Races::fork) from some. Every access is told
//! through [`Races::access`] or [`Races::access_range`], every synchronisation through one of these:
//!
//! - [`barrier`](Races::barrier): a barrier of a block completed.
//! - [`release`](Races::release) and [`acquire`](Races::acquire) on a [`Key`]: arrivals at named barriers, `barrier.cluster`, mbarriers,
//!   groups of copies. What the releasing actor did and knew is known to all that acquire the key later. A phase or group
//!   is part of its key; a phase also knows what the one before it knew. [`forget`](Races::forget) ends a key.
//! - [`warp_sync`](Races::warp_sync): lanes of a warp synchronised (`bar.warp.sync`; `match.sync` too, for libcu++ needs it).
//! - [`fence`](Races::fence): `fence` and `membar`.
//! - Atomics and strong loads and stores synchronise by themselves in [`Races::access`], by their [`Order`].
//!
//! The life of an asynchronous operation: `let a = races.fork(issuer, stream)` when it is issued: it knows what its issuer
//! knows then; `access_range(a, ...)` when it lands; `release(a, key)` for every key that announces it; `retire(a)`. The
//! stream is where it completes in order (an mbarrier, the copies of a thread): operations of one stream that complete together
//! or one after the other share one clock. Two operations of one stream are unordered all the same.
//!
//! Where the ISA leaves room, or programs rely on more than it says:
//!
//! - Lanes of a warp are threads of their own: only `bar.warp.sync` and barriers order them, not shuffles or votes.
//! - A block barrier completes what a relaxed read or a fence of one of its threads began (see `Resident::barrier`).
//! - A plain read beside a compare and swap is no race (see `Judge::both_strong`).
//! - `fence.sc` orders as `fence.acq_rel` does: two such fences alone, without a value read, order nothing.
//! - Of more than 64 accesses to one place that nothing orders the first 64 are kept.

mod clock;
mod exit;
mod know;
mod report;
mod shadow;
mod sync;
mod table;
mod touch;

use crate::access::Kind;
use crate::arena::Offsets;
use crate::error::Step;
use crate::isa::{Order, WEAK};
use clock::Clock;
use know::{Resident, View, bits};
use shadow::Shadow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use sync::{Parts, Shape};
use table::{How, RECORDS, Table};
use touch::{NONE_OLD, Touch};

/// Agents from here on are streams of asynchronous operations; those below are warps, numbered through the grid.
const FIRST_STREAM: u32 = 1 << 31;
/// The block of an [`Actor`] that is an asynchronous operation.
const FLIGHT: u32 = u32::MAX;
/// Records a warp remembers to use again.
const RECENT: usize = 64;

/// Who touches memory or synchronises: lanes of a warp, or an asynchronous operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    /// The resident block, as [`Races::start`] numbered it.
    pub block: u32,
    /// Index of the warp in its block, or of the asynchronous operation.
    pub warp: u32,
    /// Lanes that act.
    pub lanes: u32,
}

/// What is touched; offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Shared memory of a resident block.
    Shared(u32),
    /// A global allocation, by its index.
    Global(u32),
}

/// What knowledge travels through. Blocks are numbers of [`Races::start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A named barrier of a block.
    Barrier { block: u32, id: u32 },
    /// The barrier of the cluster, named by its first block.
    Cluster { block: u32, phase: u32 },
    /// An mbarrier in a block's shared memory.
    Mbarrier { block: u32, address: u32, phase: u32 },
    /// A bulk group of a thread: complete.
    Bulk { block: u32, thread: u32, group: u32 },
    /// A bulk group of a thread: its sources have been read.
    BulkRead { block: u32, thread: u32, group: u32 },
    /// A wgmma group of a warp.
    Wgmma { block: u32, warp: u32, group: u32 },
}

/// An asynchronous operation under way.
#[derive(Debug)]
struct Flight {
    agent: u32,
    clock: u32,
    know: Arc<Clock>,
}

/// A record a warp made, to be used again by the same instruction at the same clock.
#[derive(Clone, Copy, Debug)]
struct Recent {
    clock: u32,
    line: u32,
    lanes: u32,
    how: How,
    record: u32,
}

/// The detector of a launch.
#[derive(Debug, Default)]
pub(crate) struct Races {
    /// Whether anything is to be checked.
    enabled: bool,
    shape: Shape,
    /// Threads and warps of a block.
    threads: u32,
    warps: u32,
    blocks: Vec<Resident>,
    free: Vec<u32>,
    flights: Vec<Flight>,
    free_flights: Vec<u32>,
    /// Agent number of each stream, less [`FIRST_STREAM`].
    streams: HashMap<Key, u32>,
    stream_homes: Vec<u64>,
    stream_clocks: Vec<u32>,
    table: Table,
    shadow: Shadow,
    /// [`RECENT`] per warp of a resident block.
    recent: Vec<Recent>,
    vars: HashMap<(Place, u32), Arc<Parts>>,
    keys: HashMap<Key, Arc<Clock>>,
    nothing: Arc<Clock>,
    /// Most bytes the tables held.
    peak: usize,
    /// More accesses are remembered than can be numbered: nothing is checked any more.
    overflow: bool,
    /// Other blocks should have a turn.
    paused: bool,
}

impl Races {
    /// A launch begins: everything before it is ordered before it.
    pub(crate) fn begin(&mut self, enabled: bool, grid: [u32; 3], cluster: [u32; 3], threads: u32) {
        self.enabled = enabled;
        self.shape = Shape::new(grid, cluster);
        self.threads = threads;
        self.warps = threads.div_ceil(32);
        self.free = (0..self.blocks.len() as u32).collect();
        self.blocks.iter_mut().for_each(|b| b.marks = NONE_OLD);
        self.flights.clear();
        self.free_flights.clear();
        self.streams.clear();
        self.stream_homes.clear();
        self.stream_clocks.clear();
        self.table.clear(self.warps);
        self.shadow.clear();
        self.recent.clear();
        self.vars.clear();
        self.keys.clear();
        self.peak = 0;
        self.overflow = false;
        self.paused = false;
    }

    /// A block becomes resident: its number in the grid. The number it has here is good until
    /// [`finish`](Races::finish).
    pub(crate) fn start(&mut self, linear: u64) -> u32 {
        if !self.enabled {
            return 0;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(Resident::default());
            self.blocks.len() as u32 - 1
        });
        let base = (linear.wrapping_mul(self.warps as u64) % FIRST_STREAM as u64) as u32;
        self.blocks[slot as usize].start(linear, base, self.threads, self.table.marks());
        self.forget_recent(slot);
        slot
    }

    /// The cluster of a block has ended, nobody can reach its shared memory any more.
    pub(crate) fn finish(&mut self, block: u32) {
        if !self.enabled {
            return;
        }
        let place = Place::Shared(block);
        self.shadow.forget(place);
        self.vars.retain(|(p, _), _| *p != place);
        self.keys.retain(|k, _| k.block() != block);
        self.streams.retain(|k, _| k.block() != block);
        self.blocks[block as usize].marks = NONE_OLD;
        self.free.push(block);
    }

    /// Most bytes of shadow memory and tables held at once.
    pub(crate) fn bytes(&self) -> usize {
        self.shadow.peak() + self.peak.max(self.table.bytes())
    }

    fn forget_recent(&mut self, slot: u32) {
        let per = RECENT * self.warps as usize;
        let how = How { kind: Kind::Read, strong: None, shift: 0 };
        let none = Recent { clock: 0, line: 0, lanes: 0, how, record: 0 };
        let at = per * slot as usize;
        if self.recent.len() < at + per {
            self.recent.resize(at + per, none);
        }
        self.recent[at..at + per].fill(none);
    }

    /// Lanes of `mask` access `bytes` bytes each, at their offsets. The error names a lane and the offset in `place`.
    #[expect(clippy::too_many_arguments, reason = "all of it describes one access")]
    pub(crate) fn access(
        &mut self,
        actor: Actor,
        place: Place,
        offsets: &Offsets,
        mask: u32,
        bytes: usize,
        kind: Kind,
        order: Order,
        line: u32,
    ) -> Step {
        if self.table.full(self.shadow.held()) {
            self.collect();
        }
        if self.overflow || mask == 0 || bytes == 0 {
            return Ok(());
        }
        let shift = bytes.trailing_zeros() as u8;
        let how = How::new(kind, order, shift);
        let synced = match self.touch(actor, place).lanes(offsets, mask, bytes, how, line) {
            Ok(s) => s,
            Err(c) => return Err(self.clash(c, actor, place)),
        };
        if actor.block == FLIGHT || (how.strong.is_none() && !synced) {
            return Ok(());
        }
        let mut todo = mask;
        while todo != 0 {
            let at = offsets[todo.trailing_zeros() as usize];
            let lanes = bits(todo).filter(|&l| offsets[l as usize] == at).fold(0, |m, l| m | 1 << l);
            todo &= !lanes;
            let some = Actor { lanes, ..actor };
            if how.strong.is_none() {
                if kind != Kind::Read {
                    self.overwritten(place, at, at + bytes);
                }
            } else if synced || self.may_release(some, kind, order.sem) {
                self.strong(some, place, at, kind, order, line);
            }
        }
        Ok(())
    }

    /// An asynchronous operation (or all lanes of the actor as one) accesses a range of bytes. The error names lane 0 and
    /// the offset in `place`.
    pub(crate) fn access_range(
        &mut self,
        actor: Actor,
        place: Place,
        range: Range<usize>,
        kind: Kind,
        line: u32,
    ) -> Step {
        if self.table.full(self.shadow.held()) {
            self.collect();
        }
        if self.overflow || !self.enabled || range.is_empty() {
            return Ok(());
        }
        let how = How::new(kind, WEAK, 0);
        let mut touch = self.touch(actor, place);
        let id = touch.record(line, actor.lanes, how) * 32;
        match touch.span(range.start, range.end, id) {
            Ok(synced) => {
                if synced && kind == Kind::Write {
                    self.overwritten(place, range.start, range.end);
                }
                Ok(())
            }
            Err(c) => Err(self.clash(c, actor, place)),
        }
    }

    /// Readies an access of an actor to a place.
    #[inline]
    fn touch(&mut self, actor: Actor, place: Place) -> Touch<'_> {
        let mut old = NONE_OLD;
        let (view, recent) = if actor.block == FLIGHT {
            if matches!(place, Place::Shared(_)) {
                self.shadow.place(place).mixed = true;
            }
            let f = &self.flights[actor.warp as usize];
            (View::flight(f.agent, f.clock, &f.know, &self.nothing), &mut [][..])
        } else {
            let block = &self.blocks[actor.block as usize];
            if let Place::Shared(owner) = place {
                let pages = self.shadow.place(place);
                pages.mixed |= owner != actor.block;
                if !pages.mixed {
                    old = block.marks;
                }
            }
            let at = RECENT * (actor.block * self.warps + actor.warp) as usize;
            (block.view(actor.warp), &mut self.recent[at..at + RECENT])
        };
        Touch {
            table: &mut self.table,
            shadow: &mut self.shadow,
            place,
            view,
            recent,
            shape: &self.shape,
            warps: self.warps,
            streams: &self.stream_homes,
            old,
        }
    }

    /// Drops what no cell names any more.
    #[cold]
    fn collect(&mut self) {
        self.peak = self.peak.max(self.table.bytes());
        let moves = self.table.collect(&mut self.shadow);
        for b in &mut self.blocks {
            b.marks = b.marks.map(|m| moves.state(m));
        }
        self.recent.iter_mut().for_each(|r| r.clock = 0);
        self.overflow = self.table.records.len() > RECORDS / 2;
    }

    /// An asynchronous operation that knows what the lanes of its issuer know. `stream` says where it will complete, in order
    /// with others.
    pub(crate) fn fork(&mut self, issuer: Actor, stream: Key) -> Actor {
        if !self.enabled {
            return issuer;
        }
        let know = self.published(issuer);
        let home = match self.flights.get(issuer.warp as usize).filter(|_| issuer.block == FLIGHT) {
            Some(f) => self.stream_homes[(f.agent - FIRST_STREAM) as usize],
            None => self.blocks[issuer.block as usize].linear,
        };
        let number = *self.streams.entry(stream.stream()).or_insert_with(|| {
            self.stream_homes.push(home);
            self.stream_clocks.push(0);
            self.stream_homes.len() as u32 - 1
        });
        let clock = &mut self.stream_clocks[number as usize];
        *clock += 1;
        let flight = Flight { agent: FIRST_STREAM + number, clock: *clock, know };
        let warp = match self.free_flights.pop() {
            Some(i) => {
                self.flights[i as usize] = flight;
                i
            }
            None => {
                self.flights.push(flight);
                self.flights.len() as u32 - 1
            }
        };
        Actor { block: FLIGHT, warp, lanes: 1 }
    }

    /// An asynchronous operation has landed and was released to its keys.
    pub(crate) fn retire(&mut self, actor: Actor) {
        if actor.block == FLIGHT {
            self.free_flights.push(actor.warp);
        }
    }

    /// A barrier of all threads of a block completed.
    fn block_barrier(&mut self, block: u32) {
        let (marks, shape) = (self.table.marks(), &self.shape);
        let b = &mut self.blocks[block as usize];
        let linear = b.linear;
        b.barrier(marks, |parts, scope| parts.visible(scope, linear, shape).0);
    }

    /// A barrier of a block completed: groups of lanes, by warp, that waited at it, and whether those are all threads. Who only
    /// arrived was released to its key then.
    pub(crate) fn barrier(&mut self, block: u32, id: u32, waited: &[(u32, u32)], all: bool) {
        if !self.enabled {
            return;
        }
        let key = Key::Barrier { block, id };
        if all {
            self.forget(key);
            return self.block_barrier(block);
        }
        for &(warp, lanes) in waited {
            self.release(Actor { block, warp, lanes }, key);
        }
        for &(warp, lanes) in waited {
            self.acquire(Actor { block, warp, lanes }, key);
        }
        self.forget(key);
    }

    /// The actor's lanes synchronised with each other.
    pub(crate) fn warp_sync(&mut self, actor: Actor) {
        if self.enabled {
            self.blocks[actor.block as usize].warp_sync(actor.warp, actor.lanes);
        }
    }

    /// `fence` or `membar` by the actor's lanes.
    pub(crate) fn fence(&mut self, actor: Actor, order: Order) {
        if !self.enabled {
            return;
        }
        let shape = &self.shape;
        let b = &mut self.blocks[actor.block as usize];
        let linear = b.linear;
        let visible = |parts: &Parts, scope| parts.visible(scope, linear, shape).0;
        b.fence(actor.warp, actor.lanes, order.scope, visible);
    }
}
