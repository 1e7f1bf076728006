//! What can go wrong in a launch: the kinds, and the report that places a finding in kernel, source and thread.

use std::fmt;

/// Declares [`ErrorKind`]: each kind with its documentation and how messages name it.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What a finding is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ErrorKind {
            /// All kinds, in the order of their declaration.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$name),+];
        }

        impl fmt::Display for ErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(ErrorKind::$name => $text,)+
                })
            }
        }
    };
}

kinds! {
    /// Access outside every allocation (or across the end of one).
    OutOfBounds = "out-of-bounds access",
    /// Address not a multiple of the access size.
    Misaligned = "misaligned access",
    /// Access to, or release of, a buffer already freed.
    UseAfterFree = "use of a freed buffer",
    /// Read of global memory nobody wrote.
    UninitialisedGlobal = "read of uninitialised global memory",
    /// Read of shared memory nobody wrote in this block.
    UninitialisedShared = "read of uninitialised shared memory",
    /// Read of local memory this thread did not write.
    UninitialisedLocal = "read of uninitialised local memory",
    /// Read of a register this thread did not write.
    UninitialisedRegister = "read of an uninitialised register",
    /// Write to constant or parameter memory.
    ReadOnly = "write to read-only memory",
    /// A barrier that part of a warp or block cannot reach.
    DivergentBarrier = "divergent barrier",
    /// A warp-level instruction (`shfl.sync`, ...) whose member lanes cannot all reach it.
    DivergentCollective = "divergent warp-level instruction",
    /// No warp of the block can run.
    Deadlock = "deadlock",
    /// Two accesses to one byte of shared memory, at least one a write, that no synchronisation orders.
    SharedRace = "race in shared memory",
    /// Two accesses to one byte of global memory, at least one a write, that no synchronisation orders.
    GlobalRace = "race in global memory",
    /// Access to the shared memory of a block of the cluster whose threads have all exited.
    ClusterExited = "access to the shared memory of an exited block",
    /// An operation on an mbarrier where none is live: never initialised, or invalidated.
    MbarrierUninitialised = "use of an uninitialised mbarrier",
    /// `mbarrier.init` over a live mbarrier.
    MbarrierReinitialised = "initialisation of a live mbarrier",
    /// An ordinary access, or a copy, to the opaque bytes of a live mbarrier.
    MbarrierAccess = "access to the content of an mbarrier",
    /// More arrivals at an mbarrier than its phase expects, or a count out of range.
    MbarrierCount = "wrong number of arrivals at an mbarrier",
    /// A wait for an mbarrier phase that is over: two phases behind.
    MbarrierPhase = "wait for an mbarrier phase that is over",
    /// The bytes announced to an mbarrier (`expect_tx`) are not the bytes that copies deliver.
    TransactionCount = "wrong transaction count of an mbarrier",
    /// Shared memory written by ordinary stores and read by the async proxy without `fence.proxy.async` in between.
    MissingProxyFence = "missing proxy fence",
    /// The destination of a copy in flight is touched before the wait for it.
    AsyncInFlight = "access to the destination of a copy in flight",
    /// The source of a copy in flight is overwritten before the wait that says it has been read.
    AsyncSourceOverwritten = "overwritten source of a copy in flight",
    /// A block exits while copies that nobody waited for use its shared memory.
    AsyncUnfinished = "exit with copies in flight",
    /// Operands of an asynchronous copy that the instruction does not take, for example a size that is no multiple of 16.
    BadCopy = "bad asynchronous copy",
    /// The bytes given as a tensor map are none, or break its rules.
    BadTensorMap = "bad tensor map",
    /// `setmaxnreg` out of range, without a register bound, or not the same in a whole warpgroup.
    SetMaxRegisters = "misuse of setmaxnreg",
    /// A `wgmma` whose registers were written since the last `wgmma.fence`, or before the first.
    WgmmaMissingFence = "wgmma without wgmma.fence",
    /// An accumulator or a register of A used while a `wgmma` on it is in flight.
    WgmmaRegisterInFlight = "use of a register of a wgmma in flight",
    /// A shared-memory operand changed before the `wgmma` that reads it was waited for.
    WgmmaOperandOverwritten = "operand of a wgmma in flight overwritten",
    /// A `wgmma` that no `wgmma.wait_group` waits for.
    WgmmaNeverWaited = "wgmma never waited for",
    /// Threads of a warpgroup that disagree in the `wgmma` they issue, its descriptors or scale-d.
    WgmmaMismatch = "wgmma that differs within its warpgroup",
    /// The instruction budget is used up.
    InstructionBudget = "instruction budget used up (an infinite loop?)",
    /// Simulated memory would exceed the simulator's limit.
    MemoryLimit = "memory limit reached",
    /// `trap` was executed.
    Trap = "trap",
    /// `__assertfail` was called.
    AssertionFailed = "assertion failed",
    /// An instruction the simulator does not execute.
    UnsupportedInstruction = "unsupported instruction",
    /// A call to a function without a body, or through something that is no function.
    BadCall = "bad call",
    /// The call stack outgrew its limit.
    StackOverflow = "stack overflow",
    /// No kernel of that name.
    NoSuchKernel = "no such kernel",
    /// The number or size of the arguments does not match the kernel's parameters.
    BadArguments = "bad kernel arguments",
    /// A grid, block or shared-memory size outside the limits, or against the kernel's launch bounds.
    BadLaunch = "bad launch configuration",
    /// A host-side access outside an allocation, or a release of an address that is no buffer.
    BadAddress = "bad device address",
    /// The module cannot be decoded (for example an undeclared register).
    InvalidModule = "invalid module",
}

impl ErrorKind {
    /// The kind as tools name it: `out-of-bounds`, `shared-race`.
    pub fn name(self) -> String {
        let mut out = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !out.is_empty() {
                out.push('-');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    }
}

/// Everything known about a finding; fields that do not apply are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Name of the kernel that ran.
    pub kernel: String,
    /// 1-based line of the PTX text.
    pub line: Option<u32>,
    /// 1-based column of that line, in bytes: for errors of the text itself.
    pub column: Option<u32>,
    /// Source file and 1-based line, from `.loc`.
    pub source: Option<(String, u32)>,
    /// The instruction's text.
    pub instruction: String,
    /// Block index in the grid.
    pub block: Option<[u32; 3]>,
    /// Thread index in the block.
    pub thread: Option<[u32; 3]>,
    /// Device address concerned.
    pub address: Option<u64>,
    /// What happened, and what the address is near to.
    pub message: String,
    /// The access this one races with.
    pub other: Option<OtherAccess>,
}

/// The other of two accesses that race.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OtherAccess {
    /// 1-based line of the PTX text.
    pub line: u32,
    /// Source file and 1-based line, from `.loc`.
    pub source: Option<(String, u32)>,
    /// Block index in the grid.
    pub block: [u32; 3],
    /// Thread index in the block; `None` for an asynchronous operation.
    pub thread: Option<[u32; 3]>,
}

/// A failed launch or host-side memory operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Where and how.
    pub report: Box<Report>,
}

impl SimError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        SimError { kind, report: Box::new(Report { message: message.into(), ..Report::default() }) }
    }

    pub(crate) fn at(mut self, address: u64) -> Self {
        self.report.address = Some(address);
        self
    }
}

/// `, block (x, y, z)`, and the like.
fn triple(name: &str, at: Option<[u32; 3]>) -> String {
    at.map_or(String::new(), |[x, y, z]| format!(", {name} ({x}, {y}, {z})"))
}

impl Report {
    /// Where in the grid and in memory: `` in kernel `k`, block (..), thread (..), address 0x.. ``, as far as it is known.
    pub fn place(&self) -> String {
        let kernel =
            if self.kernel.is_empty() { String::new() } else { format!(" in kernel `{}`", self.kernel) };
        let address = self.address.map_or(String::new(), |a| format!(", address {a:#x}"));
        kernel + &triple("block", self.block) + &triple("thread", self.thread) + &address
    }
}

impl fmt::Display for OtherAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (block, thread) = (triple("block", Some(self.block)), triple("thread", self.thread));
        write!(f, "PTX line {}{block}{thread}", self.line)?;
        match &self.source {
            Some((file, l)) => write!(f, ", from {file}:{l}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &*self.report;
        write!(f, "{}{}", self.kind, r.place())?;
        if !r.message.is_empty() {
            write!(f, ": {}", r.message)?;
        }
        if let Some(l) = r.line {
            write!(f, "\n  at PTX line {l}")?;
            if let Some(c) = r.column {
                write!(f, ", column {c}")?;
            }
            if !r.instruction.is_empty() {
                write!(f, ": {}", r.instruction)?;
            }
        }
        if let Some((file, l)) = &r.source {
            write!(f, "\n  from {file}:{l}")?;
        }
        match &r.other {
            Some(o) => write!(f, "\n  the other access: {o}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SimError {}

/// A finding before it is placed: raised deep in execution, completed by the warp that runs.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: ErrorKind,
    pub lane: Option<u32>,
    pub address: Option<u64>,
    pub message: String,
    /// The access this one races with.
    pub other: Option<Other>,
}

/// The other access of a race: PTX line, block, thread in the block (none of an asynchronous operation).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other {
    pub line: u32,
    pub block: [u64; 3],
    pub thread: Option<u32>,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Box<Self> {
        Box::new(Fault { kind, lane: None, address: None, message: message.into(), other: None })
    }

    pub(crate) fn lane(kind: ErrorKind, lane: u32, address: u64, message: impl Into<String>) -> Box<Self> {
        Box::new(Fault {
            kind,
            lane: Some(lane),
            address: Some(address),
            message: message.into(),
            other: None,
        })
    }
}

pub(crate) type Step<T = ()> = Result<T, Box<Fault>>;

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn names_are_words() {
        assert_eq!(ErrorKind::UninitialisedGlobal.name(), "uninitialised-global");
        let mut names: Vec<String> = ErrorKind::ALL.iter().map(|k| k.name()).collect();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
