//! NVIDIA's assembler, where there is one: registers, spills and stack of each kernel, as `ptxas -v` reports them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

/// What a kernel uses on one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes a thread stores because registers ran out.
    pub spill_stores: u32,
    /// Bytes it loads back.
    pub spill_loads: u32,
    /// Bytes of a thread's stack frame.
    pub stack: u32,
}

/// `$PTXAS`, else `ptxas` in PATH.
pub fn find() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("PTXAS").filter(|p| !p.is_empty()) {
        return Some(given.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("ptxas")).find(|file| file.is_file())
}

/// Assembles `ptx` for `target` (`sm_80`) and reads the report. Errors: it cannot be started, or it refuses the text.
pub fn usage(ptxas: &std::path::Path, ptx: &str, target: &str) -> Result<BTreeMap<String, Usage>> {
    let mut file =
        tempfile::Builder::new().suffix(".ptx").tempfile().context("a temporary file for ptxas")?;
    file.write_all(ptx.as_bytes()).context("a temporary file for ptxas")?;
    let cubin = tempfile::NamedTempFile::new().context("a temporary file for ptxas")?;
    let run = Command::new(ptxas)
        .args(["-v", &format!("-arch={target}"), "-o"])
        .args([cubin.path(), file.path()])
        .output()
        .with_context(|| {
            format!("{}: cannot be started; set PTXAS to NVIDIA's assembler, or unset it", ptxas.display())
        })?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    if !run.status.success() {
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        return Err(anyhow!("{}: refuses the kernels for {target}: {first}", ptxas.display()));
    }
    Ok(parse(&said))
}

/// Reads the report: a line that names the function, its stack and spills, its registers.
fn parse(report: &str) -> BTreeMap<String, Usage> {
    let mut kernels: BTreeMap<String, Usage> = BTreeMap::new();
    let mut current = None;
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            current = rest.split_once('\'').map(|(name, _)| name.to_owned());
            continue;
        }
        if let Some((_, name)) = line.split_once("Function properties for ") {
            current = Some(name.trim().to_owned());
            continue;
        }
        let Some(name) = &current else { continue };
        if line.contains("bytes stack frame") {
            let usage = kernels.entry(name.clone()).or_default();
            usage.stack = number_before(line, "bytes stack frame");
            usage.spill_stores = number_before(line, "bytes spill stores");
            usage.spill_loads = number_before(line, "bytes spill loads");
        } else if line.contains("Used ") && line.contains("registers") {
            kernels.entry(name.clone()).or_default().registers = number_before(line, "registers");
        }
    }
    kernels
}

/// The number just before `what`; 0 where there is none.
fn number_before(line: &str, what: &str) -> u32 {
    let number = line.split_once(what).and_then(|(before, _)| before.split_whitespace().next_back());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let report = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'saxpy' for 'sm_80'
ptxas info    : Function properties for saxpy
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, 380 bytes cmem[0]
ptxas info    : Compiling entry function 'gemm' for 'sm_80'
ptxas info    : Function properties for gemm
    16 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 16 bytes cumulative stack size, 16384 bytes smem
";
        let kernels = parse(report);
        assert_eq!(kernels["saxpy"], Usage { registers: 12, ..Usage::default() });
        assert_eq!(kernels["gemm"], Usage { registers: 128, spill_stores: 24, spill_loads: 32, stack: 16 });
        assert_eq!(kernels.len(), 2);
    }
}
