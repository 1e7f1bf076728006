//! Data races in shared and global memory: two accesses to one byte, at least one a write, that no chain of
//! synchronisation orders and that are not both strong for each other (PTX ISA, memory consistency model).
//!
//! One [`Races`] serves a launch; a launch boundary orders everything, so it starts empty. Whoever touches memory is an
//! [`Actor`]: lanes of a warp, or an asynchronous operation that was [forked](Races::fork) from some. Every access is told
//! through [`Races::access`] or [`Races::access_range`], every synchronisation through one of these:
//!
//! - [`block_barrier`](Races::block_barrier): a barrier of all threads of a block completed.
//! - [`release`](Races::release) and [`acquire`](Races::acquire) on a [`Key`]: named barriers, `barrier.cluster`, mbarriers,
//!   groups of copies. What the releasing actor did and knew is known to all that acquire the key later. A phase or group
//!   is part of its key; a phase also knows what the one before it knew. [`forget`](Races::forget) ends a key.
//! - [`warp_sync`](Races::warp_sync): lanes of a warp synchronised (`bar.warp.sync`).
//! - [`fence`](Races::fence): `fence` and `membar`.
//! - Atomics and strong loads and stores synchronise by themselves in [`Races::access`], by their [`Order`].
//!
//! The life of an asynchronous operation: `let a = races.fork(issuer, stream)` when it is issued: it knows what its issuer
//! knows then; `access_range(a, ...)` when it lands; `release(a, key)` for every key that announces it; `retire(a)`. The
//! stream is where it completes in order (an mbarrier, the copies of a thread): operations of one stream that complete together
//! or one after the other share one clock. Two operations of one stream are unordered all the same.

mod epoch;

use crate::access::Kind;
use crate::arena::Offsets;
use crate::error::Step;
use crate::isa::Order;
use epoch::Epochs;
use std::ops::Range;

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
#[allow(dead_code, reason = "some of them are for asynchronous operations")]
pub(crate) enum Key {
    /// A named barrier of a block.
    Barrier { block: u32, id: u32 },
    /// The barrier of the cluster, named by its first block.
    Cluster { block: u32, phase: u32 },
    /// An mbarrier in a block's shared memory.
    Mbarrier { block: u32, address: u32, phase: u32 },
    /// A group of `cp.async` of a thread of a block.
    Copies { block: u32, thread: u32, group: u32 },
    /// A bulk group of a thread: complete.
    Bulk { block: u32, thread: u32, group: u32 },
    /// A bulk group of a thread: its sources have been read.
    BulkRead { block: u32, thread: u32, group: u32 },
    /// A wgmma group of a warp.
    Wgmma { block: u32, warp: u32, group: u32 },
}

/// The detector of a launch.
#[derive(Debug, Default)]
pub(crate) struct Races {
    epochs: Vec<Epochs>,
    free: Vec<u32>,
}

#[allow(dead_code, unused_variables, reason = "the calls of asynchronous operations come with them")]
impl Races {
    /// A launch begins: everything before it is ordered before it.
    pub(crate) fn begin(&mut self) {
        self.free = (0..self.epochs.len() as u32).collect();
    }

    /// A block becomes resident: its number in the grid, its cluster's, its warps and bytes of shared memory. The number it
    /// has here is good until [`finish`](Races::finish).
    pub(crate) fn start(&mut self, linear: u64, cluster: u64, warps: u32, shared: usize) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.epochs.push(Epochs::default());
            self.epochs.len() as u32 - 1
        });
        self.epochs[slot as usize].reset(shared);
        slot
    }

    /// The cluster of a block has ended, nobody can reach its shared memory any more.
    pub(crate) fn finish(&mut self, block: u32) {
        self.free.push(block);
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
        match place {
            Place::Shared(b) if b == actor.block => {
                self.epochs[b as usize].access(offsets, mask, bytes, kind, 32 * actor.warp, line)
            }
            _ => Ok(()),
        }
    }

    /// An asynchronous operation (or all lanes of the actor as one) accesses a range of bytes.
    pub(crate) fn access_range(
        &mut self,
        actor: Actor,
        place: Place,
        range: Range<usize>,
        kind: Kind,
        line: u32,
    ) -> Step {
        Ok(())
    }

    /// An asynchronous operation that knows what the lanes of its issuer know.
    pub(crate) fn fork(&mut self, issuer: Actor, stream: Key) -> Actor {
        issuer
    }

    /// Whoever acquires `key` from now on knows what the actor did and knew.
    pub(crate) fn release(&mut self, actor: Actor, key: Key) {}

    /// The actor's lanes know what was released to `key`.
    pub(crate) fn acquire(&mut self, actor: Actor, key: Key) {}

    /// Nothing will be acquired from `key` any more (barrier complete, mbarrier invalidated).
    pub(crate) fn forget(&mut self, key: Key) {}

    /// An asynchronous operation has landed and was released to its keys.
    pub(crate) fn retire(&mut self, actor: Actor) {}

    /// A barrier of all threads of a block completed.
    pub(crate) fn block_barrier(&mut self, block: u32) {
        self.epochs[block as usize].barrier();
    }

    /// The actor's lanes synchronised with each other.
    pub(crate) fn warp_sync(&mut self, actor: Actor) {
        self.epochs[actor.block as usize].warp_sync(actor.warp as usize);
    }

    /// `fence` or `membar` by the actor's lanes.
    pub(crate) fn fence(&mut self, actor: Actor, order: Order) {}
}
