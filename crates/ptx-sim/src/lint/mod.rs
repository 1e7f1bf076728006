//! Lints: what can be said of a kernel without running it.
//!
//! [`lint`] reads the module's text once more and looks at each function's control flow. A finding is advice, not a proof; what
//! each kind means, and what it cannot see:
//!
//! | kind | says |
//! |------|------|
//! | [`LintKind::LocalMemory`] | a kernel (or a function it may call) has `.local` variables: per-thread memory behind the caches |
//! | [`LintKind::Spills`], [`LintKind::StackFrame`] | ptxas put registers, or a stack frame, into local memory (only with a ptxas) |
//! | [`LintKind::UnboundedRegisters`] | `setmaxnreg` in a kernel whose register count nothing fixes |
//! | [`LintKind::GenericInLoop`] | a generic address in a loop: each access first finds out which memory it means |
//! | [`LintKind::DivergentBarrier`] | a barrier, or an instruction of a whole warp, where threads may have gone different ways |
//! | [`LintKind::Unused`] | a function nothing calls, or a kernel the caller does not list |
//! | [`LintKind::Unreachable`] | instructions no way leads to |
//!
//! Divergence is followed through registers within one function (`taint`), from thread numbers, atomics and what is loaded
//! through different addresses; parameters count as uniform. A branch's reach ends at its post-dominator.

mod cfg;
mod flat;
mod reach;
mod rules;
mod taint;

use crate::Module;
use crate::parse::parse;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintKind {
    /// `.local` variables.
    LocalMemory,
    /// Registers that ptxas spills.
    Spills,
    /// A stack frame that ptxas lays out.
    StackFrame,
    /// `setmaxnreg` without a known register count.
    UnboundedRegisters,
    /// A generic load, store or atomic in a loop.
    GenericInLoop,
    /// A barrier or warp-level instruction in divergent code.
    DivergentBarrier,
    /// A kernel or function nobody uses.
    Unused,
    /// Code no way leads to.
    Unreachable,
}

impl LintKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: &[LintKind] = &[
        LintKind::LocalMemory,
        LintKind::Spills,
        LintKind::StackFrame,
        LintKind::UnboundedRegisters,
        LintKind::GenericInLoop,
        LintKind::DivergentBarrier,
        LintKind::Unused,
        LintKind::Unreachable,
    ];

    /// What a finding of the kind is, for tools that explain their rules.
    pub fn about(self) -> &'static str {
        match self {
            LintKind::LocalMemory => "per-thread memory in a kernel",
            LintKind::Spills => "registers that spill into local memory",
            LintKind::StackFrame => "a stack frame in local memory",
            LintKind::UnboundedRegisters => "setmaxnreg without a known register count",
            LintKind::GenericInLoop => "a generic address in a loop",
            LintKind::DivergentBarrier => "a barrier or warp-level instruction in divergent code",
            LintKind::Unused => "a kernel or function nobody uses",
            LintKind::Unreachable => "code no way leads to",
        }
    }

    /// A short name for tools, e.g. `divergent-barrier`.
    pub fn name(self) -> &'static str {
        match self {
            LintKind::LocalMemory => "local-memory",
            LintKind::Spills => "spills",
            LintKind::StackFrame => "stack-frame",
            LintKind::UnboundedRegisters => "unbounded-registers",
            LintKind::GenericInLoop => "generic-in-loop",
            LintKind::DivergentBarrier => "divergent-barrier",
            LintKind::Unused => "unused",
            LintKind::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for LintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Costs time, or is probably a mistake.
    Warning,
    /// Undefined or refused when run, unless what decides it happens to be the same everywhere.
    Error,
}

impl Severity {
    /// In one word, as compilers and SARIF have it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub kind: LintKind,
    /// How bad it is.
    pub severity: Severity,
    /// The kernel or function.
    pub kernel: String,
    /// 1-based line of the PTX text.
    pub line: u32,
    /// Source file and 1-based line, from `.loc`.
    pub source: Option<(String, u32)>,
    /// What is the matter, and what to do about it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in `{}`, PTX line {}: {}", self.kind, self.kernel, self.line, self.message)?;
        match &self.source {
            Some((file, line)) => write!(f, "\n  from {file}:{line}"),
            None => Ok(()),
        }
    }
}

/// What [`lint`] is told beside the module.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LintOptions {
    /// NVIDIA's assembler, for spills and stack frames; see [`crate::profile::find_ptxas`]. Without one these two lints are
    /// silent.
    pub ptxas: Option<PathBuf>,
    /// The file the module was read from, which ptxas reads again, and the target to assemble for (default: the module's).
    pub file: Option<PathBuf>,
    /// Target for ptxas, e.g. `sm_90a`.
    pub target: Option<String>,
    /// The kernels somebody launches; others count as unused. `None`: all are used.
    pub launched: Option<HashSet<String>>,
}

/// Every finding of a module, in the order of its text.
///
/// ```
/// use ptx_sim::{Module, lint};
/// let ptx = ".version 8.0 .target sm_80 .visible .entry k() { .reg .pred %p; .reg .b32 %r;
///     mov.u32 %r, %tid.x; setp.lt.u32 %p, %r, 7; @%p bra DONE; bar.sync 0; DONE: ret; }";
/// let findings = lint::lint(&Module::parse(ptx)?, &lint::LintOptions::default());
/// assert_eq!(findings[0].kind, lint::LintKind::DivergentBarrier);
/// # Ok::<(), ptx_sim::ParseError>(())
/// ```
pub fn lint(module: &Module, options: &LintOptions) -> Vec<Finding> {
    let Ok(ast) = parse(module.inner.source()) else { return Vec::new() };
    let mut findings = rules::module(module, &ast, options);
    findings.extend(rules::assembler(module, &ast, options));
    findings.sort_by_key(|f| f.line);
    findings
}
