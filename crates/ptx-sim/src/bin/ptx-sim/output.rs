//! Findings, and everything the program writes: text, JSON, files.

use super::Failure;
pub use ptx_sim::lint::Severity;
use ptx_sim::{ErrorKind, LaunchStats, Report, SimError};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

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

/// What findings are told, and how.
#[derive(clap::Args)]
pub struct Telling {
    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// A kind of finding to leave out; may be given several times
    #[arg(long, value_name = "KIND")]
    pub disable: Vec<String>,
}

impl Telling {
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Refuses a disabled name that is none of the kinds.
    pub fn known(&self, kinds: &[(String, String)]) -> Result<(), Failure> {
        match self.disable.iter().find(|n| !kinds.iter().any(|k| k.0 == **n)) {
            None => Ok(()),
            Some(n) => {
                let all: Vec<&str> = kinds.iter().map(|k| k.0.as_str()).collect();
                Err(Failure::Input(format!("no kind `{n}` to disable; there are {}", all.join(", "))))
            }
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
    /// Notes do not count for the exit code.
    pub severity: Severity,
    pub report: Report,
    pub seeds: Vec<u64>,
}

impl Finding {
    pub fn from_error(e: &SimError, seeds: Vec<u64>) -> Self {
        let mut report = Report::clone(&e.report);
        report.message = message(e);
        Finding { kind: e.kind.name(), title: e.kind.to_string(), severity: Severity::Error, report, seeds }
    }

    /// One line of text: what, where in the grid, and why.
    pub fn sentence(&self) -> String {
        format!("{}{}: {}", self.title, self.report.place(), self.report.message)
    }

    pub fn text(&self, file: &Path) -> String {
        let r = &self.report;
        let line = r.line.unwrap_or(1);
        let mut s = format!("{}:{line}:1: {}: {}\n", file.display(), self.severity.name(), self.sentence());
        if !r.instruction.is_empty() {
            s += &format!("    {}\n", r.instruction.replace('\t', " "));
        }
        if let Some((file, line)) = &r.source {
            s += &format!("    from {file}:{line}\n");
        }
        if let Some(o) = &r.other {
            s += &format!("    the other access: {o}\n");
        }
        s
    }

    pub fn json(&self) -> Value {
        let source = |s: &Option<(String, u32)>| s.as_ref().map(|(f, l)| json!({"file": f, "line": l}));
        let r = &self.report;
        let other = r.other.as_ref().map(
            |o| json!({"line": o.line, "source": source(&o.source), "block": o.block, "thread": o.thread}),
        );
        json!({
            "kind": self.kind,
            "severity": self.severity.name(),
            "kernel": r.kernel,
            "line": r.line,
            "source": source(&r.source),
            "instruction": r.instruction,
            "block": r.block,
            "thread": r.thread,
            "address": r.address.map(|a| format!("{a:#x}")),
            "message": r.message,
            "other": other,
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
