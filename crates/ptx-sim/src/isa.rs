//! The dense form a function is decoded into, once: registers are indices, immediates rows of a constant table, labels
//! program counters.

use crate::lanes::{Alu, File, Ops};
use crate::profile::flops::Flops;
use crate::stats::Class;

/// No guard, no register, no frame.
pub(crate) const NONE: u32 = u32::MAX;
/// Bit of a [`Slot`]: the register lies in the 64-bit file.
pub(crate) const WIDE: u32 = 1 << 29;

/// A data register of either file, or `NONE` for the sink `_`.
pub(crate) type Slot = u32;

/// Address of the shared window in the generic address space; shared addresses are offsets into it.
pub(crate) const SHARED_BASE: u64 = 0x7000_0000_0000;
/// Bits of a shared address that hold the offset inside a block's shared memory. Above them stands 1 + the rank of the block in
/// its cluster, or 0 for the block itself.
pub(crate) const RANK_SHIFT: u32 = 24;
/// Address of the local window.
pub(crate) const LOCAL_BASE: u64 = 0x7100_0000_0000;
/// Address of the kernel-parameter window.
pub(crate) const PARAM_BASE: u64 = 0x7200_0000_0000;
/// Address of the first function; function `i` is at `FUNC_BASE + 16 * i`.
pub(crate) const FUNC_BASE: u64 = 0x7300_0000_0000;
/// Size of each window.
pub(crate) const WINDOW: u64 = 1 << 40;

/// State spaces as execution sees them; constant memory is global memory that is read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Param,
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    R64(u32),
    R32(u32),
    /// The frame's local memory.
    Frame,
    /// Zero: the offset is the address.
    Abs,
}

/// How strong a memory operation is, weakest first (PTX ISA, memory consistency model).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sem {
    /// A plain access: races with any other of another thread that nothing orders.
    Weak,
    /// `.volatile`: as `.relaxed.sys`.
    Volatile,
    /// `.mmio`: as `.relaxed.sys`.
    Mmio,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    Sc,
}

/// Who a strong operation is ordered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Cta,
    Cluster,
    Gpu,
    Sys,
}

/// Semantics and scope of a load, store, atomic or fence; the scope of a weak access means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub sem: Sem,
    pub scope: Scope,
}

/// A plain access.
pub(crate) const WEAK: Order = Order { sem: Sem::Weak, scope: Scope::Cta };

/// A load or store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mem {
    pub order: Order,
    pub space: Space,
    /// Bytes per element.
    pub size: u8,
    /// Elements per lane.
    pub count: u8,
    /// Loads of signed types extend their sign into wider registers.
    pub signed: bool,
    pub base: Base,
    pub offset: i64,
    pub regs: [Slot; 8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

impl AtomOp {
    /// The operation among an opcode's modifiers.
    pub(crate) fn among(mods: &[&str]) -> Option<AtomOp> {
        mods.iter().find_map(|m| {
            Some(match *m {
                "add" => AtomOp::Add,
                "min" => AtomOp::Min,
                "max" => AtomOp::Max,
                "and" => AtomOp::And,
                "or" => AtomOp::Or,
                "xor" => AtomOp::Xor,
                "exch" => AtomOp::Exch,
                "cas" => AtomOp::Cas,
                "inc" => AtomOp::Inc,
                "dec" => AtomOp::Dec,
                _ => return None,
            })
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomType {
    U32,
    S32,
    U64,
    S64,
    B16,
    F32,
    F64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    /// Slots name the first of two rows of the 64-bit file.
    B128,
}

impl AtomType {
    pub(crate) fn bytes(self) -> u8 {
        match self {
            AtomType::B128 => 16,
            AtomType::U64 | AtomType::S64 | AtomType::F64 => 8,
            AtomType::B16 | AtomType::F16 | AtomType::Bf16 => 2,
            _ => 4,
        }
    }
}

/// An atomic (`atom`) or reduction (`red`, without destination).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atom {
    pub order: Order,
    pub space: Space,
    pub op: AtomOp,
    pub ty: AtomType,
    pub base: Base,
    pub offset: i64,
    /// Required alignment: that of the whole vector at its first element.
    pub align: u8,
    pub dst: Slot,
    pub b: Slot,
    pub c: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collective {
    ShflUp,
    ShflDown,
    ShflBfly,
    ShflIdx,
    VoteAll,
    VoteAny,
    VoteUni,
    Ballot,
    MatchAny,
    MatchAll,
    ReduxAdd,
    ReduxMinU,
    ReduxMaxU,
    ReduxMinS,
    ReduxMaxS,
    ReduxAnd,
    ReduxOr,
    ReduxXor,
    /// `min` or `max` of f32, of absolute values, with NaN winning.
    ReduxFloat {
        max: bool,
        abs: bool,
        nan: bool,
    },
    /// `bar.warp.sync`.
    Sync,
    Elect,
}

/// A warp-level instruction with a member mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warp {
    pub kind: Collective,
    pub dst: Slot,
    /// Predicate destination.
    pub pred: u32,
    pub a: Slot,
    pub b: u32,
    pub c: u32,
    pub members: u32,
    /// Predicate source of a vote.
    pub source: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarKind {
    Sync,
    Arrive,
    Popc,
    And,
    Or,
}

/// `barrier.cluster.arrive` or `.wait`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterBar {
    pub wait: bool,
    /// `.relaxed`: an arrival that orders no memory.
    pub relaxed: bool,
    pub aligned: bool,
}

/// A block barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub kind: BarKind,
    pub aligned: bool,
    pub id: u32,
    /// Thread count operand, or `NONE`.
    pub count: u32,
    pub dst: u32,
    pub source: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    Clock,
    /// The upper half of the clock.
    ClockHigh,
    /// A register whose value is the same for everybody.
    Fixed(u32),
    DynamicShared,
    TotalShared,
    ClusterId(u8),
    NClusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterRank,
    ClusterSize,
    ExplicitCluster,
    ActiveMask,
}

/// Who is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callee {
    Function(u32),
    Register(u32),
}

/// A call; offsets are into the caller's frame.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub callee: Callee,
    pub args: Box<[u32]>,
    pub returns: Box<[u32]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Alu(Alu, Ops),
    /// `d = f(a, b)` on predicate masks.
    Pred(fn(u32, u32) -> u32, [u32; 3]),
    Special(Special, Slot),
    /// Address of the frame's local memory plus an offset.
    FrameAddr(Slot, u32),
    /// `dst = {parts}`, each of so many bits.
    Pack(Slot, Box<[Slot]>, u32),
    Unpack(Box<[Slot]>, Slot, u32),
    Load(Box<Mem>),
    Store(Box<Mem>),
    Atom(Box<Atom>),
    /// `discard`: `size` bytes become uninitialised.
    Discard(Box<Mem>),
    Collective(Box<Warp>),
    Bar(Box<Bar>),
    Matrix(Box<crate::matrix::Matrix>),
    Warpgroup(crate::matrix::wgmma::Warpgroup),
    ClusterBar(ClusterBar),
    /// Copies in flight, mbarriers, and what belongs to them.
    Async(Box<crate::async_ops::isa::Async>),
    /// `fence` and `membar`.
    Fence(Order),
    Branch(u32),
    BranchIndexed(u32, Box<[u32]>),
    Call(Box<Call>),
    Return,
    Exit,
    Trap,
    Nop,
    Unsupported(Box<str>),
}

impl Op {
    /// All lanes of the warp must execute it together, and it is no barrier (these see to it themselves).
    pub(crate) fn aligned(&self) -> bool {
        matches!(self, Op::Matrix(_) | Op::Warpgroup(_))
    }
}

/// A decoded instruction.
#[derive(Clone, Debug)]
pub(crate) struct Inst {
    pub op: Op,
    /// Predicate operand, or `NONE`.
    pub guard: u32,
    pub class: Class,
    /// Reads or writes registers that may be uninitialised: see [`Track`].
    pub tracked: bool,
    /// Uses registers that `wgmma` uses: see [`Func::touches`].
    pub touches: bool,
    /// Not the first dense instruction of its PTX instruction: not counted.
    pub extra: bool,
    /// Floating-point operations of a lane.
    pub flops: Flops,
}

/// Run-time checks of an instruction whose registers definite assignment could not clear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// Tracked registers read, with their names.
    pub reads: Vec<(u32, Box<str>)>,
    pub writes: Vec<u32>,
    /// A plain move: it copies whether its source is initialised instead of complaining.
    pub copies: bool,
}

/// A row of the constant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Const {
    Value(u64),
    /// Address of module variable `.0` plus an offset.
    Global(u32, i64),
    /// Shared address of shared variable `.0` plus an offset.
    Shared(u32, i64),
}

/// A shared variable; ids are unique in the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedVar {
    pub id: u32,
    pub name: String,
    pub size: u64,
    pub align: u32,
    /// `.extern .shared x[]`: placed behind the static ones, as large as the launch says.
    pub dynamic: bool,
}

/// A formal parameter's place in the frame, or in kernel parameter memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formal {
    pub offset: u32,
    pub size: u32,
}

/// A decoded function.
#[derive(Debug, Default)]
pub(crate) struct Func {
    pub name: String,
    pub code: Vec<Inst>,
    /// PTX line and `.loc` (file, line) of each instruction.
    pub lines: Vec<(u32, u32, u32)>,
    pub n32: usize,
    pub n64: usize,
    pub preds: usize,
    pub c32: Vec<Const>,
    pub c64: Vec<Const>,
    pub tracks: std::collections::HashMap<u32, Track>,
    /// What instructions do to the registers of `wgmma`, in functions that have one.
    pub touches: std::collections::HashMap<u32, Box<[crate::matrix::flight::Touch]>>,
    /// Tracked registers, by (file, index).
    pub tracked: Vec<(File, u32)>,
    pub frame_bytes: u32,
    pub params: Vec<Formal>,
    pub returns: Vec<Formal>,
    /// Functions it may call, by index.
    pub calls: Vec<u32>,
    /// Takes function addresses or calls through registers.
    pub indirect: bool,
    /// Shared variables it names.
    pub shared: Vec<SharedVar>,
    /// Reads shared memory through the async proxy.
    pub async_proxy: bool,
    /// Module variables it names.
    pub globals: Vec<u32>,
}

impl Func {
    /// Bytes of registers of one warp in one frame.
    pub(crate) fn register_bytes(&self) -> u64 {
        128 * self.n32 as u64 + 256 * self.n64 as u64 + 4 * self.preds as u64
    }
}
