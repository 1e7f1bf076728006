//! What each warp knows of the others: the clocks, and what barriers, warp syncs and fences do to them.
//!
//! Knowledge lies in layers, so that the common case costs one comparison: what the last block barrier told all warps of the
//! block (`known` of its own warps, `foreign` of all others), what a whole warp has learned since (`rest`), and what single
//! lanes have learned on top (`split`). A warp's own lanes know of each other what was before the last sync of the whole warp
//! (`synced`). A clock advances with every change, so an access's (agent, clock, lane) fixes what its thread knew.

use super::clock::{Clock, Entry, join};
use super::sync::{PENDING, Parts, Shape};
use super::table::Record;
use crate::isa::Scope;
use std::sync::Arc;

/// What a fence of some lanes will publish through their later strong writes.
#[derive(Debug)]
struct Fence {
    lanes: u32,
    scope: Scope,
    clock: Arc<Clock>,
    /// The warp's clock at the fence, and what its lanes knew of each other.
    now: u32,
    synced: u32,
}

/// What relaxed reads of some lanes saw, for a fence to acquire.
#[derive(Debug)]
struct Pending {
    lanes: u32,
    scope: Scope,
    parts: Arc<Parts>,
}

/// A running warp.
#[derive(Debug)]
pub(super) struct Warp {
    agent: u32,
    /// Lanes it started with.
    all: u32,
    pub now: u32,
    synced: u32,
    rest: Arc<Clock>,
    split: Option<Box<[Arc<Clock>; 32]>>,
    fences: Vec<Fence>,
    pending: Vec<Pending>,
    /// The last thing an acquire read, to be quick in a loop that waits.
    seen: Option<(u32, Scope, Arc<Parts>)>,
    /// Line of the last acquire that read what a release of too narrow a scope (or its own) hid.
    pub narrow: Option<u32>,
}

/// A resident block.
#[derive(Debug, Default)]
pub(super) struct Resident {
    /// Number in the grid.
    pub linear: u64,
    /// Agent of its first warp.
    base: u32,
    known: Vec<u32>,
    foreign: Arc<Clock>,
    /// Fences before the last barrier, by scope: whoever passed it publishes them.
    fences: [Option<Arc<Clock>>; 4],
    pub warps: Vec<Warp>,
    /// [`Table::marks`](super::table::Table::marks) at the last block barrier.
    pub marks: [u32; 2],
}

const SCOPES: [Scope; 4] = [Scope::Cta, Scope::Cluster, Scope::Gpu, Scope::Sys];

/// What an actor knows.
pub(super) struct View<'a> {
    pub agent: u32,
    pub now: u32,
    /// A warp is ordered with itself, lane by lane; an asynchronous operation only with itself.
    warp: bool,
    synced: u32,
    base: u32,
    known: &'a [u32],
    foreign: &'a Clock,
    rest: &'a Clock,
    split: Option<&'a [Arc<Clock>; 32]>,
}

impl<'a> View<'a> {
    /// Of an asynchronous operation.
    pub(super) fn flight(agent: u32, now: u32, know: &'a Clock, none: &'a Clock) -> Self {
        View {
            agent,
            now,
            warp: false,
            synced: 0,
            base: 0,
            known: &[],
            foreign: none,
            rest: know,
            split: None,
        }
    }

    /// Clock below which the accesses of all lanes of an agent are known to all of mine.
    #[inline]
    fn full(&self, agent: u32) -> u32 {
        let near = match self.known.get(agent.wrapping_sub(self.base) as usize) {
            Some(&k) if agent == self.agent => k.max(self.synced),
            Some(&k) => k,
            None => self.foreign.full(agent),
        };
        near.max(self.rest.full(agent))
    }

    /// Whether access `m` is ordered before mine, if that is the same wherever the two meet.
    #[inline]
    pub(super) fn uniform(&self, r: &Record, m: u32, mine: &Record, id: u32) -> Option<bool> {
        let own = r.agent == self.agent;
        let alike = r.lanes == 0 && mine.lanes == 0 && r.how.shift == mine.how.shift;
        if own && alike && m & 31 == id & 31 && (self.warp || r.clock == self.now) {
            return Some(true);
        }
        if r.clock < self.full(r.agent) {
            return Some(true);
        }
        let near = (r.agent.wrapping_sub(self.base) as usize) < self.known.len();
        let exact = own && !alike
            || self.split.is_some()
            || self.rest.partial(r.agent)
            || !near && self.foreign.partial(r.agent);
        if exact { None } else { Some(false) }
    }

    /// Whether an access by lanes `theirs` is ordered before one by my lanes `mine`.
    pub(super) fn exact(&self, r: &Record, theirs: u32, mine: u32) -> bool {
        let own = r.agent == self.agent;
        if r.clock < self.full(r.agent) || (own && !self.warp && r.clock == self.now) {
            return true;
        }
        bits(theirs).all(|k| {
            bits(mine).all(|l| {
                own && self.warp && k == l
                    || self.rest.knows(r.agent, r.clock, k)
                    || self.foreign.knows(r.agent, r.clock, k)
                    || self.split.is_some_and(|s| s[l as usize].knows(r.agent, r.clock, k))
            })
        })
    }
}

/// The lanes of a mask.
pub(super) fn bits(mask: u32) -> impl Iterator<Item = u32> + Clone {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

impl Resident {
    /// Readies it for a block whose first warp is agent `base`.
    pub(super) fn start(&mut self, linear: u64, base: u32, threads: u32, marks: [u32; 2]) {
        let warps = threads.div_ceil(32);
        let nothing = Arc::new(Clock::default());
        self.linear = linear;
        self.base = base;
        self.marks = marks;
        self.known = vec![0; warps as usize];
        self.foreign = nothing.clone();
        self.fences = Default::default();
        self.warps.clear();
        self.warps.extend((0..warps).map(|w| Warp {
            agent: base + w,
            all: if threads >= 32 * (w + 1) { !0 } else { (1 << (threads - 32 * w)) - 1 },
            now: 1,
            synced: 1,
            rest: nothing.clone(),
            split: None,
            fences: Vec::new(),
            pending: Vec::new(),
            seen: None,
            narrow: None,
        }));
    }

    #[inline]
    pub(super) fn view(&self, warp: u32) -> View<'_> {
        let w = &self.warps[warp as usize];
        View {
            agent: w.agent,
            now: w.now,
            warp: true,
            synced: w.synced,
            base: self.base,
            known: &self.known,
            foreign: &self.foreign,
            rest: &w.rest,
            split: w.split.as_deref(),
        }
    }

    /// What a warp knows as a whole, but for its own lanes.
    fn knowledge(&self, warp: u32) -> Clock {
        let w = &self.warps[warp as usize];
        let own = (self.base..).zip(&self.known).filter(|(_, k)| **k > 1);
        let own = Clock::sorted(own.map(|(a, &k)| Entry::full(a, k)).collect());
        let far = join(&self.foreign, &w.rest);
        if far.is_empty() { own } else { own.merge(&far) }
    }

    /// What some lanes did and know, from now on the past.
    pub(super) fn publish(&mut self, warp: u32, lanes: u32) -> Arc<Clock> {
        let mut clock = self.knowledge(warp);
        let w = &mut self.warps[warp as usize];
        if let Some(split) = &w.split {
            for l in bits(lanes) {
                clock = clock.merge(&split[l as usize]);
            }
        }
        clock.raise(own(w.agent, lanes, w.all, w.now, w.synced));
        w.now += 1;
        Arc::new(clock)
    }

    /// Lanes of a warp learn something.
    pub(super) fn learn(&mut self, warp: u32, lanes: u32, clock: &Arc<Clock>) {
        let w = &mut self.warps[warp as usize];
        if clock.is_empty() || w.rest.covers(clock) {
            return;
        }
        if lanes & w.all == w.all {
            w.rest = join(&w.rest, clock);
            w.synced = w.synced.max(clock.full(w.agent).min(w.now));
            w.now += 1;
            return;
        }
        let split = w.split.get_or_insert_with(|| Box::new(std::array::from_fn(|_| Arc::default())));
        let mut news = false;
        // Lanes that knew the same before share what they know after.
        let mut last: Option<(Arc<Clock>, Arc<Clock>)> = None;
        for l in bits(lanes) {
            let s = &mut split[l as usize];
            if let Some((before, after)) = &last
                && Arc::ptr_eq(before, s)
            {
                *s = after.clone();
                continue;
            }
            let before = s.clone();
            *s = join(s, clock);
            news |= !Arc::ptr_eq(&before, s);
            last = Some((before, s.clone()));
        }
        w.now += news as u32;
    }

    /// Lanes of a warp synchronise.
    pub(super) fn warp_sync(&mut self, warp: u32, lanes: u32) {
        let w = &mut self.warps[warp as usize];
        if lanes & w.all != w.all {
            let clock = self.publish(warp, lanes);
            return self.learn(warp, lanes, &clock);
        }
        w.gather();
        w.now += 1;
        w.synced = w.now;
    }

    /// All threads passed a barrier. What their relaxed reads saw counts as acquired, and their fences as everybody's: programs
    /// put one fence before or behind a barrier for the whole block, and nothing they run on breaks them.
    pub(super) fn barrier(&mut self, marks: [u32; 2], visible: impl Fn(&Parts, Scope) -> Arc<Clock>) {
        self.marks = marks;
        let mut foreign = self.foreign.clone();
        for w in &mut self.warps {
            w.gather();
            for p in w.pending.drain(..) {
                foreign = join(&foreign, &visible(&p.parts, p.scope));
            }
            if !w.rest.is_empty() {
                foreign = join(&foreign, &w.rest);
                w.rest = Arc::default();
            }
            for f in w.fences.drain(..) {
                let clock = Arc::new(f.published(w.agent, f.lanes, w.all));
                let slot = &mut self.fences[f.scope as usize];
                *slot = Some(slot.as_ref().map_or(clock.clone(), |s| join(s, &clock)));
            }
            w.now += 1;
            w.synced = w.now;
        }
        self.foreign = foreign;
        for (k, w) in self.known.iter_mut().zip(&self.warps) {
            *k = w.now;
        }
    }

    /// A fence: acquires what relaxed reads saw, and readies what strong writes will publish.
    pub(super) fn fence(
        &mut self,
        warp: u32,
        lanes: u32,
        scope: Scope,
        visible: impl Fn(&Parts, Scope) -> Arc<Clock>,
    ) {
        let w = &mut self.warps[warp as usize];
        let seen = w.pending.iter().filter(|p| p.lanes & lanes != 0);
        let seen: Vec<_> = seen.map(|p| (p.lanes & lanes, visible(&p.parts, p.scope.min(scope)))).collect();
        for p in w.pending.iter_mut().filter(|p| p.scope <= scope) {
            p.lanes &= !lanes;
        }
        w.pending.retain(|p| p.lanes != 0);
        for (l, clock) in seen {
            self.learn(warp, l, &clock);
        }
        let common = Arc::new(self.knowledge(warp));
        let w = &mut self.warps[warp as usize];
        for f in w.fences.iter_mut().filter(|f| f.scope <= scope) {
            f.lanes &= !lanes;
        }
        w.fences.retain(|f| f.lanes != 0);
        let mut add = |lanes, clock| {
            w.fences.push(Fence { lanes, scope, clock, now: w.now, synced: w.synced });
        };
        match &w.split {
            None => add(lanes, common),
            Some(split) => bits(lanes).for_each(|l| add(1 << l, join(&common, &split[l as usize]))),
        }
        w.now += 1;
    }

    /// A relaxed read saw what was published. Should a thread read very much and never fence, it acquires the oldest.
    pub(super) fn saw(&mut self, warp: u32, lanes: u32, scope: Scope, parts: &Arc<Parts>, shape: &Shape) {
        let w = &mut self.warps[warp as usize];
        if let Some(p) = w.pending.iter_mut().find(|p| p.scope == scope && Arc::ptr_eq(&p.parts, parts)) {
            p.lanes |= lanes;
            return;
        }
        w.pending.push(Pending { lanes, scope, parts: parts.clone() });
        if w.pending.len() > PENDING {
            let p = w.pending.remove(0);
            let clock = p.parts.visible(p.scope, self.linear, shape).0;
            self.learn(warp, p.lanes, &clock);
        }
    }

    /// Whether the lanes' last acquire read this already; remembers it.
    pub(super) fn again(&mut self, warp: u32, lanes: u32, scope: Scope, parts: &Arc<Parts>) -> bool {
        let w = &mut self.warps[warp as usize];
        let same = |s: &(u32, Scope, Arc<Parts>)| s.0 == lanes && s.1 == scope && Arc::ptr_eq(&s.2, parts);
        let again = w.seen.as_ref().is_some_and(same);
        w.seen = Some((lanes, scope, parts.clone()));
        again
    }

    /// What fences made ready to be published by a strong write of some lanes, with the scope of each.
    pub(super) fn fenced(&self, warp: u32, lanes: u32) -> Vec<(Scope, Arc<Clock>)> {
        let w = &self.warps[warp as usize];
        let mine = w.fences.iter().filter(|f| f.lanes & lanes != 0);
        let mine = mine.map(|f| (f.scope, Arc::new(f.published(w.agent, f.lanes & lanes, w.all))));
        let block = SCOPES.iter().zip(&self.fences).filter_map(|(s, c)| Some((*s, c.clone()?)));
        mine.chain(block).collect()
    }

    /// Whether strong writes of a warp may publish anything.
    pub(super) fn has_fences(&self, warp: u32) -> bool {
        !self.warps[warp as usize].fences.is_empty() || self.fences.iter().any(|f| f.is_some())
    }
}

/// What lanes of a warp did up to a clock, and knew of each other.
fn own(agent: u32, lanes: u32, all: u32, now: u32, synced: u32) -> Entry {
    if lanes & all == all {
        return Entry::full(agent, now + 1);
    }
    let v = std::array::from_fn(|l| if lanes >> l & 1 != 0 { now + 1 } else { synced });
    Entry { agent, full: synced, lanes: Some(Arc::new(v)) }
}

impl Fence {
    fn published(&self, agent: u32, lanes: u32, all: u32) -> Clock {
        let mut c = (*self.clock).clone();
        c.raise(own(agent, lanes, all, self.now, self.synced));
        c
    }
}

impl Warp {
    /// What single lanes learned becomes the warp's.
    fn gather(&mut self) {
        if let Some(split) = self.split.take() {
            for s in split.iter() {
                self.rest = join(&self.rest, s);
            }
        }
    }
}
