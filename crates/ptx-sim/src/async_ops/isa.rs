//! The decoded form of the asynchronous instructions.

use crate::isa::{AtomOp, AtomType, Base, Slot, Space};

/// An address operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr {
    pub space: Space,
    pub base: Base,
    pub offset: i64,
}

/// What the elements of a destination become, instead of the source's.
pub(crate) type Reduce = Option<(AtomOp, AtomType)>;

/// An asynchronous instruction. Operands are register or constant rows of the 32-bit file unless said otherwise; [`crate::isa::NONE`]
/// stands for an absent one.
#[derive(Clone, Debug)]
pub(crate) enum Async {
    /// `cp.async`: global to shared, 4, 8 or 16 bytes per lane.
    Copy {
        dst: Addr,
        src: Addr,
        bytes: u8,
        /// Bytes to read; the rest is zero.
        size: u32,
        /// Predicate: zeros instead of the source.
        ignore: u32,
    },
    /// `cp.async.commit_group`.
    CopyCommit,
    /// `cp.async.wait_group` (so many may be pending) and `cp.async.wait_all` (`None`).
    CopyWait(Option<u32>),
    /// `cp.async.mbarrier.arrive`.
    CopyArrive { at: Addr, noinc: bool },
    /// `mbarrier.init`.
    Init { at: Addr, count: u32 },
    /// `mbarrier.inval`.
    Invalidate(Addr),
    /// `mbarrier.expect_tx` and, negated, `mbarrier.complete_tx`.
    Bytes { at: Addr, bytes: u32, complete: bool },
    /// `mbarrier.arrive` and `.arrive_drop`.
    Arrive {
        at: Addr,
        /// 64-bit destination of the token, or `NONE`.
        token: Slot,
        count: u32,
        expect: u32,
        drop: bool,
        no_complete: bool,
        relaxed: bool,
    },
    /// `mbarrier.test_wait` and `.try_wait`.
    Wait(Wait),
    /// `mbarrier.pending_count`: 32-bit destination, 64-bit token.
    PendingCount(Slot, u32),
    /// `cp.async.bulk` and `cp.reduce.async.bulk`.
    Bulk { dst: Addr, src: Addr, size: u32, end: End, reduce: Reduce },
    /// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor`.
    Tensor { map: Addr, coordinates: Box<[u32]>, shared: Addr, load: bool, end: End, reduce: Option<AtomOp> },
    /// `st.async` and `red.async`: registers to shared memory of the cluster.
    Store {
        dst: Addr,
        values: Box<[Slot]>,
        /// Bytes of each.
        size: u8,
        mbar: Addr,
        reduce: Reduce,
    },
    /// `cp.async.bulk.prefetch`: address, size.
    Prefetch(Addr, u32),
    /// `cp.async.bulk.prefetch.tensor`.
    PrefetchTensor(Addr, Box<[u32]>),
    /// `cp.async.bulk.commit_group`.
    BulkCommit,
    /// `cp.async.bulk.wait_group`: groups that may be pending, whether having read the source is enough.
    BulkWait(u32, bool),
    /// `fence.proxy.async`; whether it covers shared memory.
    ProxyFence { shared: bool },
    /// `fence.proxy.tensormap::generic.acquire` of the map at an address.
    MapAcquire(Addr),
    /// `tensormap.replace`: field, dimension, new value (a row of the 64-bit file).
    Replace { map: Addr, field: Field, dim: u32, value: u32 },
    /// `tensormap.cp_fenceproxy`: destination, source.
    MapCopy(Addr, Addr),
    /// `setmaxnreg`: registers, whether it increases their number.
    MaxRegisters(u32, bool),
}

/// How the end of a bulk copy is made known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// At an mbarrier in the destination block; the mask of blocks to write to, or `NONE`.
    Mbarrier(Addr, u32),
    /// By the issuing thread's bulk groups.
    Group,
}

/// `mbarrier.test_wait` or `.try_wait`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub at: Addr,
    /// Predicate destination.
    pub done: u32,
    /// A row of the 64-bit file: the token; or of the 32-bit file: the parity.
    pub phase: u32,
    pub parity: bool,
    pub relaxed: bool,
}

/// A field of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Address,
    Rank,
    BoxDim,
    GlobalDim,
    GlobalStride,
    ElementStride,
    ElementType,
    Interleave,
    Swizzle,
    Fill,
}
