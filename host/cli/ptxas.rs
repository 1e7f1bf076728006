//! NVIDIA's assembler, where there is one: registers, spills and stack of each kernel of a module.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ptx_sim::profile::usages;
pub use ptx_sim::profile::{Usage, find_ptxas as find};

/// Assembles `ptx` for `target` (`sm_80`). Errors: it cannot be started, or it refuses the text.
pub fn usage(ptxas: &Path, ptx: &str, target: &str) -> Result<BTreeMap<String, Usage>> {
    let mut file =
        tempfile::Builder::new().suffix(".ptx").tempfile().context("a temporary file for ptxas")?;
    file.write_all(ptx.as_bytes()).context("a temporary file for ptxas")?;
    usages(ptxas, file.path(), target).with_context(|| format!("the kernels for {target}"))
}
