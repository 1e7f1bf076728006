//! What can go wrong in a launch: the kinds, and the report that places a finding in kernel, source and thread.

use std::fmt;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Access outside every allocation (or across the end of one).
    OutOfBounds,
    /// Address not a multiple of the access size.
    Misaligned,
    /// Access to, or release of, a buffer already freed.
    UseAfterFree,
    /// Read of global memory nobody wrote.
    UninitialisedGlobal,
    /// Read of shared memory nobody wrote in this block.
    UninitialisedShared,
    /// Read of local memory this thread did not write.
    UninitialisedLocal,
    /// Read of a register this thread did not write.
    UninitialisedRegister,
    /// Write to constant or parameter memory.
    ReadOnly,
    /// A barrier that part of a warp or block cannot reach.
    DivergentBarrier,
    /// A warp-level instruction (`shfl.sync`, ...) whose member lanes cannot all reach it.
    DivergentCollective,
    /// No warp of the block can run.
    Deadlock,
    /// Two accesses to one byte of shared memory, at least one a write, that no synchronisation orders.
    SharedRace,
    /// Two accesses to one byte of global memory, at least one a write, that no synchronisation orders.
    GlobalRace,
    /// Access to the shared memory of a block of the cluster whose threads have all exited.
    ClusterExited,
    /// The instruction budget is used up.
    InstructionBudget,
    /// Simulated memory would exceed the simulator's limit.
    MemoryLimit,
    /// `trap` was executed.
    Trap,
    /// `__assertfail` was called.
    AssertionFailed,
    /// An instruction the simulator does not execute.
    UnsupportedInstruction,
    /// A call to a function without a body, or through something that is no function.
    BadCall,
    /// The call stack outgrew its limit.
    StackOverflow,
    /// No kernel of that name.
    NoSuchKernel,
    /// The number or size of the arguments does not match the kernel's parameters.
    BadArguments,
    /// A grid, block or shared-memory size outside the limits, or against the kernel's launch bounds.
    BadLaunch,
    /// A host-side access outside an allocation, or a release of an address that is no buffer.
    BadAddress,
    /// The module cannot be decoded (for example an undeclared register).
    InvalidModule,
}

impl ErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: &[ErrorKind] = &[
        ErrorKind::OutOfBounds,
        ErrorKind::Misaligned,
        ErrorKind::UseAfterFree,
        ErrorKind::UninitialisedGlobal,
        ErrorKind::UninitialisedShared,
        ErrorKind::UninitialisedLocal,
        ErrorKind::UninitialisedRegister,
        ErrorKind::ReadOnly,
        ErrorKind::DivergentBarrier,
        ErrorKind::DivergentCollective,
        ErrorKind::Deadlock,
        ErrorKind::SharedRace,
        ErrorKind::GlobalRace,
        ErrorKind::ClusterExited,
        ErrorKind::InstructionBudget,
        ErrorKind::Trap,
        ErrorKind::AssertionFailed,
        ErrorKind::UnsupportedInstruction,
        ErrorKind::BadCall,
        ErrorKind::StackOverflow,
        ErrorKind::NoSuchKernel,
        ErrorKind::BadArguments,
        ErrorKind::BadLaunch,
        ErrorKind::BadAddress,
        ErrorKind::InvalidModule,
    ];

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

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::OutOfBounds => "out-of-bounds access",
            ErrorKind::Misaligned => "misaligned access",
            ErrorKind::UseAfterFree => "use of a freed buffer",
            ErrorKind::UninitialisedGlobal => "read of uninitialised global memory",
            ErrorKind::UninitialisedShared => "read of uninitialised shared memory",
            ErrorKind::UninitialisedLocal => "read of uninitialised local memory",
            ErrorKind::UninitialisedRegister => "read of an uninitialised register",
            ErrorKind::ReadOnly => "write to read-only memory",
            ErrorKind::DivergentBarrier => "divergent barrier",
            ErrorKind::DivergentCollective => "divergent warp-level instruction",
            ErrorKind::Deadlock => "deadlock",
            ErrorKind::SharedRace => "race in shared memory",
            ErrorKind::GlobalRace => "race in global memory",
            ErrorKind::ClusterExited => "access to the shared memory of an exited block",
            ErrorKind::InstructionBudget => "instruction budget used up (an infinite loop?)",
            ErrorKind::MemoryLimit => "memory limit reached",
            ErrorKind::Trap => "trap",
            ErrorKind::AssertionFailed => "assertion failed",
            ErrorKind::UnsupportedInstruction => "unsupported instruction",
            ErrorKind::BadCall => "bad call",
            ErrorKind::StackOverflow => "stack overflow",
            ErrorKind::NoSuchKernel => "no such kernel",
            ErrorKind::BadArguments => "bad kernel arguments",
            ErrorKind::BadLaunch => "bad launch configuration",
            ErrorKind::BadAddress => "bad device address",
            ErrorKind::InvalidModule => "invalid module",
        })
    }
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &*self.report;
        write!(f, "{}", self.kind)?;
        if !r.kernel.is_empty() {
            write!(f, " in kernel `{}`", r.kernel)?;
        }
        if let Some([x, y, z]) = r.block {
            write!(f, ", block ({x}, {y}, {z})")?;
        }
        if let Some([x, y, z]) = r.thread {
            write!(f, ", thread ({x}, {y}, {z})")?;
        }
        if let Some(a) = r.address {
            write!(f, ", address {a:#x}")?;
        }
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
        if let Some(o) = &r.other {
            let [x, y, z] = o.block;
            write!(f, "\n  the other access: PTX line {}, block ({x}, {y}, {z})", o.line)?;
            if let Some([x, y, z]) = o.thread {
                write!(f, ", thread ({x}, {y}, {z})")?;
            }
            if let Some((file, l)) = &o.source {
                write!(f, ", from {file}:{l}")?;
            }
        }
        Ok(())
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

    /// The declaration is the list: a kind that is added there and not to `ALL` is missed by tools.
    #[test]
    fn every_kind_is_listed() {
        let source = include_str!("error.rs");
        let (_, body) = source.split_once("pub enum ErrorKind {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let declared: Vec<&str> = body
            .lines()
            .map(str::trim)
            .filter_map(|l| l.strip_suffix(','))
            .filter(|l| !l.contains(' '))
            .collect();
        let listed: Vec<String> = ErrorKind::ALL.iter().map(|k| format!("{k:?}")).collect();
        assert_eq!(declared, listed, "`ErrorKind::ALL` is to have the kinds in the order of the declaration");
        assert_eq!(ErrorKind::UninitialisedGlobal.name(), "uninitialised-global");
    }
}
