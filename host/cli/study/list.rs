//! `study list`: the studies in some directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ironwarp::search::study::Study;
use serde_json::json;

use super::values;
use crate::cli::{fail, out};

/// List studies.
#[derive(clap::Args)]
pub struct Args {
    /// Directories to look in, and files [default: here, and runs/ with its directories].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let mut files = vec![];
    if args.paths.is_empty() {
        studies(Path::new("."), 0, &mut files)?;
        if Path::new("runs").is_dir() {
            studies(Path::new("runs"), 1, &mut files)?;
        }
    }
    for path in &args.paths {
        if path.is_dir() { studies(path, 0, &mut files)? } else { files.push(path.clone()) }
    }
    let (mut rows, mut list) = (vec![], vec![]);
    for file in files {
        let study = match Study::open(&file) {
            Ok(study) => study,
            // One that was named must be there; others do not spoil the list.
            Err(error) if args.paths.contains(&file) => return Err(error.into()),
            Err(error) => {
                fail::line(&format!("warning: {error}"));
                continue;
            }
        };
        let (counts, best) = (study.counts()?, study.best()?);
        let (identity, setting) = (study.identity(), study.setting());
        let shown = best.as_ref().map_or("-".into(), |trial| values(setting, trial));
        list.push(json!({
            "study": file.display().to_string(), "data": identity.data, "sampler": identity.sampler,
            "pruner": identity.pruner, "finished": counts.finished(), "running": counts.running,
            "workers": study.workers()?, "best": best.map(|trial| super::json(setting, &trial)),
        }));
        rows.push(vec![
            file.display().to_string(),
            identity.data.clone(),
            identity.sampler.clone(),
            out::grouped(counts.finished()),
            out::grouped(counts.running),
            shown,
        ]);
    }
    if args.json {
        return out::print_json(&json!({"command": "study list", "studies": list}));
    }
    if rows.is_empty() {
        return out::print("no studies here; 'ironwarp search DATA --study FILE' makes one\n");
    }
    out::print(&out::table(&["study", "data", "sampler", "finished", "running", "best"], &rows, &[1, 2, 5]))
}

/// The studies in a directory, and in directories within to `depth`, by name.
fn studies(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || dir.display().to_string();
    let mut paths = vec![];
    for entry in fs::read_dir(dir).with_context(context)? {
        paths.push(entry.with_context(context)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                studies(&path, depth - 1, files)?;
            }
        } else if Study::is_study(&path) {
            files.push(path.strip_prefix(".").unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}
