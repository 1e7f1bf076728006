//! Asynchronous work of a cluster: `cp.async`, mbarriers, bulk and tensor copies, and the rules for them.
//!
//! A copy has a life: issued, in flight, landed, waited for. Legal programs cannot tell when in flight a copy lands, so the engine
//! lands each one as late as is legal, which makes a program that forgets a wait fail every time:
//!
//! - `cp.async` lands when its thread's `wait_group` or `wait_all` covers it, or for the mbarrier arrival behind it;
//! - a copy that signals an mbarrier lands when a thread waits for that mbarrier's phase and no warp of the cluster can run otherwise
//!   (or others have run for long), in a seeded order among all that could;
//! - a bulk store reads its source when `wait_group.read` demands it, and writes when `wait_group` does or the cluster ends.
//!
//! What a copy will touch is checked when it is issued, where a report helps most; while it is in flight, [`watch`] keeps
//! others off its source and destination. A thread that waits for an incomplete phase is parked. When nothing can run and
//! nothing is in flight that could help, waits return false a few times, as the hardware's time limit allows, and then the
//! cluster is deadlocked.

mod copy;
mod execute;
mod flight;
pub(crate) mod isa;
mod issue;
mod map_edit;
mod mbarrier;
mod order;
mod stall;
mod tensor;
mod tensor_map;
pub(crate) mod watch;

pub(crate) use execute::{Issue, execute};
pub(crate) use stall::Stall;
pub use tensor_map::{
    Interleave, L2Promotion, OobFill, Swizzle, TensorMap, TensorMapBuilder, TensorMapError, TensorMapType,
};

use crate::access::Shared;
use crate::config::Checks;
use crate::isa::{AtomOp, AtomType};
use crate::ledger::Ledger;
use crate::memory::Global;
use crate::race::{Actor, Races};
use crate::stats::LaunchStats;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Copies, arrivals and groups of a kind that may be in flight; older ones land when a newer one is issued. Landing early is always
/// legal: this only bounds memory.
const MAX_IN_FLIGHT: usize = 1 << 13;

/// A place in the shared memory of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Rank of the block.
    pub rank: usize,
    /// Offset in its shared memory.
    pub at: u64,
}

/// The instruction that issued something, and the thread that executed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub rank: usize,
    pub warp: u32,
    pub lane: u32,
    pub func: u32,
    pub pc: u32,
    pub line: u32,
}

impl Origin {
    /// The thread, unique in the cluster.
    fn thread(&self) -> u32 {
        (self.rank as u32) << 10 | (32 * self.warp + self.lane)
    }
}

/// Memory that copies move between.
pub(crate) struct Ctx<'a> {
    pub global: &'a mut Global,
    pub shared: &'a mut [Shared],
    pub checks: &'a Checks,
    pub stats: &'a mut LaunchStats,
    pub races: &'a mut Races,
    pub ledger: &'a Ledger,
}

/// A contiguous part of a copy.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Offset in shared memory.
    shared: u64,
    /// Address in global memory, or offset in the source block; `None` stands for elements outside the tensor.
    far: Option<u64>,
    len: u32,
}

/// Between what a copy moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Global to shared memory of the targets.
    Load,
    /// Shared memory of the issuing block to global.
    Store,
    /// Shared memory of the issuing block to the target's.
    Between,
}

/// A block that a copy writes to, and the mbarrier in it with the phase at the time of issue.
#[derive(Clone, Copy, Debug)]
struct Target {
    rank: usize,
    mbar: Option<(Place, u64)>,
}

/// Treatment of elements on the way.
#[derive(Clone, Copy, Debug)]
struct Elements {
    /// Bytes each.
    size: u32,
    /// Missing ones are NaN rather than zero.
    nan: bool,
    /// Subnormal f32 become zero.
    flush: bool,
    /// f32 are rounded to tf32.
    tf32: bool,
}

/// A bulk copy in flight.
#[derive(Debug)]
struct Flight {
    id: u64,
    origin: Origin,
    route: Route,
    segments: Vec<Segment>,
    /// Bytes an mbarrier is told of.
    bytes: u64,
    targets: Vec<Target>,
    reduce: Option<(AtomOp, AtomType)>,
    elements: Elements,
    /// For the race detector.
    actor: Actor,
    /// The thread's bulk group.
    group: Option<u32>,
    /// A store's source, once read, or what registers gave.
    captured: Option<Vec<u8>>,
}

impl Flight {
    /// Its end is signalled at an mbarrier.
    fn completes(&self, at: Place) -> bool {
        self.targets.iter().any(|t| t.barrier() == Some(at))
    }
}

/// Bulk groups of a thread.
#[derive(Debug, Default)]
struct Groups {
    open: Vec<u64>,
    /// Groups waited for.
    done: u32,
    committed: VecDeque<Vec<u64>>,
}

/// An instruction of a warp that waits at an mbarrier: block, warp, function, program counter.
type Site = ((usize, u32, u32, u32), Place);

/// Asynchronous state of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    barriers: HashMap<Place, mbarrier::Mbarrier>,
    flights: Vec<Flight>,
    /// Arrivals that follow `cp.async`s.
    arrivals: Vec<copy::Arrival>,
    /// `cp.async`s by block and warp.
    copies: BTreeMap<(usize, u32), copy::Copies>,
    /// Bulk groups by thread.
    groups: HashMap<u32, Groups>,
    /// `setmaxnreg`s by block and warp.
    registers: BTreeMap<(usize, u32), Vec<stall::SetRegisters>>,
    next: u64,
    /// Counts what might let a waiting thread go on.
    events: u64,
    /// [`Engine::events`] at the last standstill, and how many there were with that number.
    stalls: (u64, u32),
    /// Rounds since a copy could have landed for a waiting thread.
    patience: u32,
    random: u64,
    /// Barriers that completed, and exits.
    meetings: u64,
    /// Waits that returned false once, as they may: the phase asked for, and the lanes.
    refused: HashMap<Site, (u64, u32)>,
}

impl Engine {
    /// A new cluster.
    pub(crate) fn reset(&mut self, random: u64) {
        *self = Engine { random, ..Engine::default() };
    }

    /// Nothing asynchronous has happened in this cluster.
    pub(crate) fn idle(&self) -> bool {
        self.next == 0 && self.events == 0
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
