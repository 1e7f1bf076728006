//! What travels from releases to acquires: through locations that strong operations write and read, and through keys.
//!
//! A strong write publishes what its thread did and knew if it is a release, or what a fence before it made ready. A strong
//! read takes it if it is an acquire; a relaxed one leaves it for the next fence. A plain or strong store ends what others
//! published through the location, an atomic adds to it (release sequence). Either side must be in the other's scope.

use super::clock::{Clock, join};
use super::{Actor, Key, Place, Races};
use crate::access::Kind;
use crate::isa::{Order, Scope, Sem};
use std::sync::Arc;

/// Most blocks whose device-wide releases to one place are also kept one by one, for acquires of narrower scope.
const NEAR: usize = 8;
/// Most relaxed reads remembered for a later fence.
pub(super) const PENDING: usize = 256;

/// Extent of the grid, to tell which block is in which cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    grid: [u64; 3],
    cluster: [u64; 3],
}

impl Shape {
    pub(super) fn new(grid: [u32; 3], cluster: [u32; 3]) -> Self {
        Shape { grid: grid.map(u64::from), cluster: cluster.map(u64::from) }
    }

    /// The grid has more than one cluster.
    pub(super) fn shared_grid(&self) -> bool {
        self.grid != self.cluster
    }

    /// The block's place in the grid.
    pub(super) fn index(&self, linear: u64) -> [u64; 3] {
        let [x, y, _] = self.grid;
        [linear % x, linear / x % y, linear / x / y]
    }

    /// Whether a scope around a thread of block `a` includes one of block `b`.
    pub(super) fn reaches(&self, scope: Scope, a: u64, b: u64) -> bool {
        let cluster = |l| {
            let at = self.index(l);
            [0, 1, 2].map(|i| at[i] / self.cluster[i])
        };
        scope >= Scope::Gpu || a == b || (scope == Scope::Cluster && cluster(a) == cluster(b))
    }
}

/// What was published through a location.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// By all releases of at least device scope.
    wide: Arc<Clock>,
    /// By the releases of a block with a scope.
    near: Vec<(u64, Scope, Arc<Clock>)>,
    /// Some device-wide releases are in `wide` only.
    dropped: bool,
}

impl Parts {
    fn add(&mut self, block: u64, scope: Scope, clock: &Arc<Clock>) {
        if scope >= Scope::Gpu {
            self.wide = join(&self.wide, clock);
        }
        if let Some(n) = self.near.iter_mut().find(|n| n.0 == block && n.1 == scope) {
            n.2 = join(&n.2, clock);
        } else if scope < Scope::Gpu || self.near.len() < NEAR {
            self.near.push((block, scope, clock.clone()));
        } else {
            self.dropped = true;
        }
    }

    /// What a thread of `block` sees that acquires with `scope`, and whether a scope hid something from it.
    pub(super) fn visible(&self, scope: Scope, block: u64, shape: &Shape) -> (Arc<Clock>, bool) {
        let mut out = if scope >= Scope::Gpu || self.dropped { self.wide.clone() } else { Arc::default() };
        let mut hidden = false;
        for (from, s, clock) in &self.near {
            if *s >= Scope::Gpu && scope >= Scope::Gpu {
                continue;
            }
            if shape.reaches(*s, *from, block) && shape.reaches(scope, *from, block) {
                out = join(&out, clock);
            } else {
                hidden = true;
            }
        }
        (out, hidden)
    }
}

impl Races {
    /// The synchronising side of a strong access of a warp's lanes to one location.
    pub(super) fn strong(
        &mut self,
        a: Actor,
        place: Place,
        offset: usize,
        kind: Kind,
        order: Order,
        line: u32,
    ) {
        let at = (place, offset as u32 / 4);
        let block = &mut self.blocks[a.block as usize];
        let linear = block.linear;
        let before = self.vars.get(&at).cloned();
        if kind != Kind::Write
            && let Some(parts) = &before
        {
            if matches!(order.sem, Sem::Acquire | Sem::AcqRel | Sem::Sc) {
                if !block.again(a.warp, a.lanes, order.scope, parts) {
                    let (clock, hidden) = parts.visible(order.scope, linear, &self.shape);
                    if hidden {
                        block.warps[a.warp as usize].narrow = Some(line);
                    }
                    block.learn(a.warp, a.lanes, &clock);
                }
            } else {
                block.saw(a.warp, a.lanes, order.scope, parts, &self.shape);
            }
        }
        if kind == Kind::Read {
            return;
        }
        let mut parts = match (&before, kind) {
            (Some(p), Kind::Atomic | Kind::Swap) => (**p).clone(),
            _ => Parts::default(),
        };
        let mut news = false;
        if matches!(order.sem, Sem::Release | Sem::AcqRel | Sem::Sc) {
            let clock = block.publish(a.warp, a.lanes);
            parts.add(linear, order.scope, &clock);
            news = true;
        }
        for (scope, clock) in block.fenced(a.warp, a.lanes) {
            parts.add(linear, scope.min(order.scope), &clock);
            news = true;
        }
        if news {
            self.vars.insert(at, Arc::new(parts));
            self.shadow.page(place, offset / 4 * 4, offset / 4 * 4 + 4, 2).synced = true;
        } else if kind == Kind::Write && before.is_some() {
            self.vars.remove(&at);
        }
    }

    /// Whether a strong access may publish something.
    pub(super) fn may_release(&self, a: Actor, kind: Kind, sem: Sem) -> bool {
        let releases = matches!(sem, Sem::Release | Sem::AcqRel | Sem::Sc);
        kind != Kind::Read && (releases || self.blocks[a.block as usize].has_fences(a.warp))
    }

    /// A plain store ends what was published through its words.
    pub(super) fn overwritten(&mut self, place: Place, from: usize, to: usize) {
        for word in from / 4..to.div_ceil(4) {
            self.vars.remove(&(place, word as u32));
        }
    }

    pub(super) fn published(&mut self, a: Actor) -> Arc<Clock> {
        match self.flights.get(a.warp as usize).filter(|_| a.block == super::FLIGHT) {
            Some(f) => {
                let mut clock = (*f.know).clone();
                clock.raise(super::clock::Entry::full(f.agent, f.clock + 1));
                Arc::new(clock)
            }
            None => self.blocks[a.block as usize].publish(a.warp, a.lanes),
        }
    }

    /// Whoever acquires `key` from now on knows what the actor did and knew.
    pub(crate) fn release(&mut self, actor: Actor, key: Key) {
        if !self.enabled {
            return;
        }
        let clock = self.published(actor);
        let mut seed = None;
        if let Some((before, old)) = key.earlier() {
            if !self.keys.contains_key(&key) {
                seed = self.keys.get(&before).cloned();
            }
            self.keys.remove(&old);
        }
        let slot = self.keys.entry(key).or_insert_with(|| seed.unwrap_or_default());
        *slot = join(slot, &clock);
    }

    /// The actor's lanes know what was released to `key`.
    pub(crate) fn acquire(&mut self, actor: Actor, key: Key) {
        let Some(clock) = self.keys.get(&key).filter(|_| actor.lanes != 0) else { return };
        match self.flights.get_mut(actor.warp as usize).filter(|_| actor.block == super::FLIGHT) {
            Some(f) => f.know = join(&f.know, clock),
            None => self.blocks[actor.block as usize].learn(actor.warp, actor.lanes, clock),
        }
    }

    /// Nothing will be acquired from `key` any more (barrier complete, mbarrier invalidated).
    pub(crate) fn forget(&mut self, key: Key) {
        self.keys.remove(&key);
    }
}

impl Key {
    /// The phase before this one, whose releases it includes, and the one before that, which nobody waits for any more.
    fn earlier(self) -> Option<(Key, Key)> {
        match self {
            Key::Mbarrier { block, address, phase } => {
                let at = |back: u32| Key::Mbarrier { block, address, phase: phase.wrapping_sub(back) };
                Some((at(1), at(2)))
            }
            Key::Cluster { block, phase } => {
                let at = |back: u32| Key::Cluster { block, phase: phase.wrapping_sub(back) };
                Some((at(1), at(2)))
            }
            _ => None,
        }
    }

    /// The stream of operations that complete here, one after the other.
    pub(super) fn stream(self) -> Key {
        match self {
            Key::Barrier { .. } => self,
            Key::Cluster { block, .. } => Key::Cluster { block, phase: 0 },
            Key::Mbarrier { block, address, .. } => Key::Mbarrier { block, address, phase: 0 },
            Key::Bulk { block, thread, .. } => Key::Bulk { block, thread, group: 0 },
            Key::BulkRead { block, thread, .. } => Key::BulkRead { block, thread, group: 0 },
            Key::Wgmma { block, warp, .. } => Key::Wgmma { block, warp, group: 0 },
        }
    }

    /// The block it belongs to.
    pub(super) fn block(self) -> u32 {
        match self {
            Key::Barrier { block, .. }
            | Key::Cluster { block, .. }
            | Key::Mbarrier { block, .. }
            | Key::Bulk { block, .. }
            | Key::BulkRead { block, .. }
            | Key::Wgmma { block, .. } => block,
        }
    }
}
