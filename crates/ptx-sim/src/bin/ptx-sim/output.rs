//! Findings, and everything the program writes: text, JSON, files.

use super::Failure;
use ptx_sim::{ErrorKind, LaunchStats, SimError};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// How bad a finding is. Notes do not count for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// An `out` buffer with elements nobody wrote.
pub const UNWRITTEN: (&str, &str) = ("output-not-written", "output not written");
/// An output that differs from schedule to schedule.
pub const DEPENDENT: (&str, &str) = ("schedule-dependent-result", "schedule-dependent result");

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Sarif,
}

/// Refuses a name that is no kind.
pub fn known(names: &[String], kinds: &[(String, String)]) -> Result<(), Failure> {
    match names.iter().find(|n| !kinds.iter().any(|k| k.0 == **n)) {
        None => Ok(()),
        Some(n) => {
            let all: Vec<&str> = kinds.iter().map(|k| k.0.as_str()).collect();
            Err(Failure::Input(format!("no kind `{n}` to disable; there are {}", all.join(", "))))
        }
    }
}

/// Every kind of finding of a launch: name and what it is.
pub fn kinds() -> Vec<(String, String)> {
    let own = [UNWRITTEN, DEPENDENT].map(|(a, b)| (a.to_string(), b.to_string()));
    ErrorKind::ALL.iter().map(|k| (k.name(), k.to_string())).chain(own).collect()
}

/// A finding, and the schedules it was seen in.
#[derive(Clone, Debug)]
pub struct Finding {
    pub kind: String,
    pub title: String,
    pub severity: Severity,
    pub kernel: String,
    pub line: Option<u32>,
    pub source: Option<(String, u32)>,
    pub instruction: String,
    pub block: Option<[u32; 3]>,
    pub thread: Option<[u32; 3]>,
    pub address: Option<u64>,
    pub message: String,
    pub seeds: Vec<u64>,
}

impl Finding {
    pub fn from_error(e: &SimError, seeds: Vec<u64>) -> Self {
        let r = &e.report;
        Finding {
            kind: e.kind.name(),
            title: e.kind.to_string(),
            severity: Severity::Error,
            kernel: r.kernel.clone(),
            line: r.line,
            source: r.source.clone(),
            instruction: r.instruction.clone(),
            block: r.block,
            thread: r.thread,
            address: r.address,
            message: message(e),
            seeds,
        }
    }

    /// One line of text: what, where in the grid, and why.
    pub fn sentence(&self) -> String {
        let mut s = format!("{} in kernel `{}`", self.title, self.kernel);
        for (name, at) in [("block", self.block), ("thread", self.thread)] {
            if let Some([x, y, z]) = at {
                s += &format!(", {name} ({x}, {y}, {z})");
            }
        }
        if let Some(a) = self.address {
            s += &format!(", address {a:#x}");
        }
        s + ": " + &self.message
    }

    pub fn text(&self, file: &Path) -> String {
        let line = self.line.unwrap_or(1);
        let mut s = format!("{}:{line}:1: {}: {}\n", file.display(), self.severity.name(), self.sentence());
        if !self.instruction.is_empty() {
            s += &format!("    {}\n", self.instruction.replace('\t', " "));
        }
        if let Some((file, line)) = &self.source {
            s += &format!("    from {file}:{line}\n");
        }
        s
    }

    pub fn json(&self) -> Value {
        json!({
            "kind": self.kind,
            "severity": self.severity.name(),
            "kernel": self.kernel,
            "line": self.line,
            "source": self.source.as_ref().map(|(file, line)| json!({"file": file, "line": line})),
            "instruction": self.instruction,
            "block": self.block,
            "thread": self.thread,
            "address": self.address.map(|a| format!("{a:#x}")),
            "message": self.message,
            "seeds": self.seeds,
        })
    }
}

/// An error's message, with the command line's names for the simulator's options.
pub fn message(e: &SimError) -> String {
    let m = &e.report.message;
    m.replace("`SimBuilder::instruction_budget`", "--max-steps")
        .replace("`SimBuilder::memory_limit`", "--max-memory")
}

/// Writes to stdout. A reader that went away is no error of ours.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{newline}").and_then(|()| out.flush());
}

/// One JSON value on stdout.
pub fn print_json(value: &Value) {
    print(&format!("{value:#}"));
}

/// Replaces a file in one step: a temporary one beside it takes its name.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Temporary files are private; the result gets the rights any new file would.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o777);
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// `1 finding`, `2 findings`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `4x1x1`.
pub fn size([x, y, z]: [u32; 3]) -> String {
    format!("{x}x{y}x{z}")
}

pub fn stats(s: &LaunchStats) -> Value {
    let classes: serde_json::Map<String, Value> = ptx_sim::Class::ALL
        .iter()
        .map(|c| (format!("{c:?}").to_lowercase(), json!(s.by_class[*c as usize])))
        .collect();
    json!({
        "warp_instructions": s.warp_instructions,
        "lane_instructions": s.lane_instructions,
        "by_class": classes,
        "global_load_bytes": s.global_load_bytes,
        "global_store_bytes": s.global_store_bytes,
        "requests": s.requests,
        "sectors": s.sectors,
        "barriers": s.barriers,
    })
}
