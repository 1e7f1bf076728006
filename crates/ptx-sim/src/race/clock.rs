//! Vector clocks: what somebody knows of the others' past.
//!
//! An agent is a warp, or the stream of asynchronous operations of one mbarrier or one thread. Its clock advances whenever it
//! synchronises. An [`Entry`] says up to which clock (exclusive) an agent's accesses are known: those of all its lanes, and
//! perhaps more of single lanes.

use std::sync::Arc;

/// What is known of one agent: accesses with a clock below `full`, and of lane `l` those below `lanes[l]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub agent: u32,
    pub full: u32,
    pub lanes: Option<Arc<[u32; 32]>>,
}

impl Entry {
    pub(super) fn full(agent: u32, full: u32) -> Self {
        Entry { agent, full, lanes: None }
    }

    fn knows(&self, clock: u32, lane: u32) -> bool {
        clock < self.full || self.lanes.as_ref().is_some_and(|v| clock < v[lane as usize])
    }

    fn covers(&self, other: &Entry) -> bool {
        let lanes = match (&self.lanes, &other.lanes) {
            (_, None) => true,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => true,
            (a, Some(b)) => (0..32).all(|l| b[l] <= self.full || a.as_ref().is_some_and(|a| b[l] <= a[l])),
        };
        let full = other.full <= self.full
            || self.lanes.as_ref().is_some_and(|a| a.iter().all(|&v| other.full <= v));
        full && lanes
    }

    fn join(&mut self, other: &Entry) {
        self.full = self.full.max(other.full);
        let full = self.full;
        let lanes = match (self.lanes.take(), &other.lanes) {
            (None, None) => return,
            (Some(a), None) => a,
            (None, Some(b)) => b.clone(),
            (Some(a), Some(b)) if Arc::ptr_eq(&a, b) => a,
            (Some(a), Some(b)) => Arc::new(std::array::from_fn(|l| a[l].max(b[l]))),
        };
        if lanes.iter().any(|&v| v > full) {
            self.lanes = Some(lanes);
        }
    }
}

/// Entries by agent; agents without one are unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Clock {
    list: Vec<Entry>,
}

impl Clock {
    /// From entries sorted by agent.
    pub(super) fn sorted(list: Vec<Entry>) -> Self {
        Clock { list }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn get(&self, agent: u32) -> Option<&Entry> {
        if self.list.is_empty() {
            return None;
        }
        let i = self.list.partition_point(|e| e.agent < agent);
        self.list.get(i).filter(|e| e.agent == agent)
    }

    /// Clock below which all of the agent's lanes are known.
    pub(super) fn full(&self, agent: u32) -> u32 {
        self.get(agent).map_or(0, |e| e.full)
    }

    pub(super) fn knows(&self, agent: u32, clock: u32, lane: u32) -> bool {
        self.get(agent).is_some_and(|e| e.knows(clock, lane))
    }

    /// Some lanes of the agent are known better than others.
    pub(super) fn partial(&self, agent: u32) -> bool {
        self.get(agent).is_some_and(|e| e.lanes.is_some())
    }

    /// Adds knowledge of one agent.
    pub(super) fn raise(&mut self, e: Entry) {
        let i = self.list.partition_point(|o| o.agent < e.agent);
        match self.list.get_mut(i).filter(|o| o.agent == e.agent) {
            Some(o) => o.join(&e),
            None => self.list.insert(i, e),
        }
    }

    pub(super) fn covers(&self, other: &Clock) -> bool {
        if other.list.len() > self.list.len() {
            return false;
        }
        let mut i = 0;
        other.list.iter().all(|o| {
            while self.list.get(i).is_some_and(|e| e.agent < o.agent) {
                i += 1;
            }
            self.list.get(i).is_some_and(|e| e.agent == o.agent && e.covers(o))
        })
    }

    /// The knowledge of both.
    pub(super) fn merge(&self, other: &Clock) -> Clock {
        let (mut a, mut b) = (self.list.iter().peekable(), other.list.iter().peekable());
        let mut list = Vec::with_capacity(self.list.len().max(other.list.len()));
        loop {
            match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.agent == y.agent => {
                    let mut e = (*x).clone();
                    e.join(y);
                    list.push(e);
                    a.next();
                    b.next();
                }
                (Some(x), Some(y)) if x.agent < y.agent => list.extend(a.next().cloned()),
                (_, Some(_)) => list.extend(b.next().cloned()),
                (Some(_), None) => list.extend(a.next().cloned()),
                (None, None) => return Clock { list },
            }
        }
    }
}

/// The knowledge of both, shared with one of them where it can be.
pub(super) fn join(a: &Arc<Clock>, b: &Arc<Clock>) -> Arc<Clock> {
    if Arc::ptr_eq(a, b) || a.covers(b) {
        a.clone()
    } else if b.covers(a) {
        b.clone()
    } else {
        Arc::new(a.merge(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::random;

    fn any(state: &mut u64) -> Clock {
        let mut c = Clock::default();
        for _ in 0..random(state) % 6 {
            let agent = (random(state) % 8) as u32;
            let full = (random(state) % 9) as u32;
            let lanes = match random(state) % 2 {
                0 => None,
                _ => Some(Arc::new(std::array::from_fn(|_| (random(state) % 12) as u32))),
            };
            c.raise(Entry { agent, full, lanes });
        }
        c
    }

    #[test]
    fn join_knows_what_either_knows() {
        let mut state = 7;
        for _ in 0..400 {
            let (a, b) = (Arc::new(any(&mut state)), Arc::new(any(&mut state)));
            let j = join(&a, &b);
            let mut same = true;
            for (agent, clock, lane) in
                (0..8).flat_map(|a| (0..12).flat_map(move |c| (0..32).map(move |l| (a, c, l))))
            {
                let (ka, kb) = (a.knows(agent, clock, lane), b.knows(agent, clock, lane));
                assert_eq!(j.knows(agent, clock, lane), ka || kb);
                same &= ka || !kb;
            }
            assert!(j.covers(&a) && j.covers(&b));
            assert!(!a.covers(&b) || same);
        }
    }
}
