//! `study resume`: runs the command that began a study again, on its file.
//!
//! A command that begins a study keeps, in [`Identity::about`](ironwarp::search::study::Identity::about), its own command line
//! (`command`, a list of words without the program's name) and where it ran (`directory`); [`about`] makes both.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ironwarp::search::study::Study;
use serde_json::{Value, json};

use crate::cli::{execute, fail};

/// Commands that begin studies: others are never run from a file.
const COMMANDS: [&[&str]; 2] = [&["search"], &["bench", "study"]];

/// Go on with a study: run the command that began it again, on this file.
#[derive(clap::Args)]
pub struct Args {
    /// The study.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Go on to so many trials in all [default: as the study was begun].
    #[arg(long, value_name = "N")]
    trials: Option<u64>,
    /// For so long, as in 60s [default: as the study was begun].
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// On so many threads [default: as the study was begun].
    #[arg(long, value_name = "N")]
    workers: Option<u64>,
}

/// What this process was called with, to be kept in a study.
pub fn about() -> Value {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    json!({"command": words, "directory": std::env::current_dir().ok()})
}

pub fn run(args: &Args) -> Result<()> {
    let about = Study::open(&args.file)?.about()?;
    let file = std::path::absolute(&args.file)?;
    let mut words = command(&about).ok_or_else(|| {
        anyhow!("{}: the study was not begun by this program: resume it where it was", file.display())
    })?;
    set(&mut words, "--study", &file.to_string_lossy());
    let options = [
        ("--trials", args.trials.map(|n| n.to_string())),
        ("--time", args.time.clone()),
        ("--workers", args.workers.map(|n| n.to_string())),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            set(&mut words, name, &value);
        }
    }
    if let Some(directory) = about["directory"].as_str().map(Path::new).filter(|d| d.is_dir()) {
        std::env::set_current_dir(directory).with_context(|| directory.display().to_string())?;
    }
    fail::line(&format!("ironwarp {}", words.join(" ")));
    execute(&words)
}

/// The command line in a study's notes, if it is one that begins studies.
fn command(about: &Value) -> Option<Vec<String>> {
    let words = about["command"].as_array()?.iter().map(|w| w.as_str().map(str::to_owned));
    let words: Vec<String> = words.collect::<Option<_>>()?;
    let begins = |with: &&[&str]| words.len() >= with.len() && with.iter().zip(&words).all(|(a, b)| a == b);
    COMMANDS.iter().any(begins).then_some(words)
}

/// Gives an option a value, whatever it had.
fn set(words: &mut Vec<String>, name: &str, value: &str) {
    let prefix = format!("{name}=");
    if let Some(word) = words.iter_mut().find(|w| w.starts_with(&prefix)) {
        *word = format!("{prefix}{value}");
        return;
    }
    match words.iter().position(|w| w == name).map(|at| at + 1) {
        Some(at) if at < words.len() => words[at] = value.to_owned(),
        Some(_) => words.push(value.to_owned()),
        None => words.extend([name.to_owned(), value.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_replaced_or_added() {
        let with = |line: &str| {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            set(&mut words, "--study", "new.db");
            words.join(" ")
        };
        assert_eq!(with("search a --study old.db --seed 1"), "search a --study new.db --seed 1");
        assert_eq!(with("search a --study=old.db"), "search a --study=new.db");
        assert_eq!(with("search a"), "search a --study new.db");
    }

    #[test]
    fn only_what_begins_studies_is_run() {
        let of = |words: Value| command(&json!({ "command": words }));
        assert!(of(json!(["search", "digits"])).is_some());
        assert!(of(json!(["bench", "study", "--trials", "3"])).is_some());
        for words in [
            json!(["study", "delete", "x.db", "--yes"]),
            json!(["bench"]),
            json!([]),
            json!("search"),
            json!([1]),
        ] {
            assert!(of(words.clone()).is_none(), "{words}");
        }
    }
}
