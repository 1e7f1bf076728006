//! Registers, spills and stack of a kernel, from NVIDIA's assembler where there is one: nothing else knows them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a kernel uses on one target, as `ptxas -v` reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's stack frame.
    pub stack: u32,
    /// Bytes a thread stores because registers ran out.
    pub spill_stores: u32,
    /// Bytes it loads back.
    pub spill_loads: u32,
}

/// Why the assembler gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PtxasError {
    /// It cannot be started.
    #[error("{path}: cannot be started ({reason}); name NVIDIA's assembler (in PTXAS, for one), or none")]
    NotStarted {
        /// The program.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It refuses the text.
    #[error("{path}: refuses the PTX: {reason}")]
    Refused {
        /// The program.
        path: String,
        /// Its first line of complaint.
        reason: String,
    },
    /// It accepts the text and does not speak of the kernel.
    #[error("{path}: says nothing of kernel `{kernel}`")]
    NoKernel {
        /// The program.
        path: String,
        /// The kernel.
        kernel: String,
    },
}

/// `$PTXAS`, else `ptxas` in `PATH`.
pub fn find_ptxas() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("PTXAS").filter(|p| !p.is_empty()) {
        return Some(given.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("ptxas")).find(|file| file.is_file())
}

/// Assembles the file for `target` (`sm_90a`) and reads what it says of each kernel and function.
pub fn usages(ptxas: &Path, file: &Path, target: &str) -> Result<BTreeMap<String, Usage>, PtxasError> {
    let path = || ptxas.display().to_string();
    let run = Command::new(ptxas)
        .args(["-v", &format!("-arch={target}"), "-o", if cfg!(windows) { "NUL" } else { "/dev/null" }])
        .arg(file)
        .output()
        .map_err(|e| PtxasError::NotStarted { path: path(), reason: e.to_string() })?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    if !run.status.success() {
        let reason = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("no reason given").to_string();
        return Err(PtxasError::Refused { path: path(), reason });
    }
    Ok(read(&said))
}

/// [`usages`] of one kernel.
pub fn usage(ptxas: &Path, file: &Path, target: &str, kernel: &str) -> Result<Usage, PtxasError> {
    usages(ptxas, file, target)?
        .remove(kernel)
        .ok_or_else(|| PtxasError::NoKernel { path: ptxas.display().to_string(), kernel: kernel.into() })
}

/// The report: a header that names a function, its stack and spills, its registers.
fn read(report: &str) -> BTreeMap<String, Usage> {
    let mut found: BTreeMap<String, Usage> = BTreeMap::new();
    let mut here = None;
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            here = rest.split_once('\'').map(|(name, _)| name.to_string());
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            here = Some(name.trim().to_string());
        } else if let Some(name) = &here {
            if line.contains("bytes stack frame") {
                let u = found.entry(name.clone()).or_default();
                u.stack = before(line, "bytes stack frame");
                u.spill_stores = before(line, "bytes spill stores");
                u.spill_loads = before(line, "bytes spill loads");
            } else if line.contains("Used ") && line.contains("registers") {
                found.entry(name.clone()).or_default().registers = before(line, "registers");
            }
        }
    }
    found
}

/// The number just before `what`; 0 where there is none.
fn before(line: &str, what: &str) -> u32 {
    let number = line.split_once(what).and_then(|(text, _)| text.split_whitespace().next_back());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "ptxas info    : Compiling entry function 'other' for 'sm_80'\n\
            ptxas info    : Function properties for other\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 8 registers, used 0 barriers, 352 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'k' for 'sm_80'\n\
            ptxas info    : Function properties for k\n    72 bytes stack frame, 68 bytes spill stores, 64 bytes spill loads\n\
            ptxas info    : Used 255 registers, used 1 barriers, 72 bytes cumulative stack size, 4096 bytes smem\n";
        let u = Usage { registers: 255, stack: 72, spill_stores: 68, spill_loads: 64 };
        let all = read(report);
        assert_eq!((all.get("k"), all["other"].registers, all.len()), (Some(&u), 8, 2));
    }

    #[test]
    fn a_missing_program_is_named() {
        let e = usage(Path::new("/nowhere/ptxas"), Path::new("k.ptx"), "sm_80", "k").unwrap_err();
        assert!(e.to_string().starts_with("/nowhere/ptxas: cannot be started"), "{e}");
    }
}
