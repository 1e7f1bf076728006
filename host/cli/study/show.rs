//! `study show` and `study best`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use ironwarp::search::study::Study;
use serde_json::{Map, Value, json};

use super::values;
use crate::cli::{fail, out};

/// Show what a study is, how far it is, and what it has found.
#[derive(clap::Args)]
pub struct Args {
    /// The study.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many of the last trials to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u64,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Show the best trial; with several objectives, the Pareto front too.
#[derive(clap::Args)]
pub struct BestArgs {
    /// The study.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let study = Study::open(&args.file)?;
    if args.json {
        let mut map = description(&study)?;
        map.insert("command".into(), json!("study show"));
        return out::print_json(&Value::Object(map));
    }
    let (setting, identity, counts) = (study.setting(), study.identity(), study.counts()?);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11}{value}");
    };
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    line("study", args.file.display().to_string());
    line("data", or_none(&identity.data));
    line("objectives", setting.goals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    line("sampler", or_none(&identity.sampler));
    line("pruner", or_none(&identity.pruner));
    let (seed, steps, lag) = (setting.seed, setting.steps, setting.lag);
    line("seed", format!("{seed}; {steps} steps a trial; {lag} trials at once"));
    let points = setting.space.count().map_or(String::new(), |n| format!(", {} points", out::grouped(n)));
    line("space", format!("{} parameters{points}", setting.space.parameters().len()));
    let waiting = if counts.waiting > 0 { format!(" ({} wait)", counts.waiting) } else { String::new() };
    line(
        "trials",
        format!(
            "{} finished: {} complete, {} pruned, {} failed; {} running{waiting}",
            out::grouped(counts.finished()),
            out::grouped(counts.complete),
            out::grouped(counts.pruned),
            out::grouped(counts.failed),
            counts.running
        ),
    );
    line("workers", format!("{} at work", study.workers()?));
    if let Some(best) = study.best()? {
        line("best", format!("trial {}: {}", best.number, values(setting, &best)));
        line("", setting.space.show(&best.point));
    }
    let end = counts.finished() + counts.running;
    let last = study.trials_in(end.saturating_sub(args.last)..end)?;
    if !last.is_empty() {
        let row = |trial: &ironwarp::search::trial::Trial| {
            let state = format!("{:?}", trial.state).to_lowercase();
            let seconds =
                if trial.state.is_finished() { format!("{:.2}", trial.seconds) } else { "-".into() };
            let what = trial.reason.clone().unwrap_or_else(|| values(setting, trial));
            vec![trial.number.to_string(), state, seconds, what, setting.space.show(&trial.point)]
        };
        let rows: Vec<Vec<String>> = last.iter().map(row).collect();
        text.push('\n');
        text += &out::table(&["trial", "state", "seconds", "values", "point"], &rows, &[1, 3, 4]);
    }
    out::print(&text)
}

/// What a study is and how far it is, for JSON.
pub fn description(study: &Study) -> Result<Map<String, Value>> {
    let (setting, identity, counts) = (study.setting(), study.identity(), study.counts()?);
    let goals: Vec<Value> =
        setting.goals.iter().map(|g| json!({"name": g.name, "direction": g.direction})).collect();
    let best = study.best()?.map(|trial| super::json(setting, &trial));
    let map = json!({
        "study": study.path().map(|p| p.display().to_string()),
        "data": identity.data, "data_hash": format!("{:016x}", identity.data_hash),
        "sampler": identity.sampler, "pruner": identity.pruner, "options": identity.objective,
        "objectives": goals, "seed": setting.seed, "steps": setting.steps, "lag": setting.lag,
        "space": setting.space.parameters(), "space_hash": format!("{:016x}", setting.space.hash()),
        "trials": {
            "finished": counts.finished(), "complete": counts.complete, "pruned": counts.pruned,
            "failed": counts.failed, "running": counts.running, "waiting": counts.waiting,
        },
        "workers": study.workers()?, "created": study.created()?, "about": study.about()?, "best": best,
    });
    let Value::Object(map) = map else { unreachable!("an object") };
    Ok(map)
}

pub fn best(args: &BestArgs) -> Result<()> {
    let study = Study::open(&args.file)?;
    let setting = study.setting();
    let best = study.best()?;
    let front = if setting.goals.len() > 1 { study.front()? } else { vec![] };
    if args.json {
        let front: Vec<Value> = front.iter().map(|trial| super::json(setting, trial)).collect();
        let best = best.map(|trial| super::json(setting, &trial));
        return out::print_json(&json!({"command": "study best", "best": best, "pareto": front}));
    }
    let Some(best) = best else {
        fail::line("no trial is complete yet");
        return Ok(());
    };
    let mut text =
        format!("trial {}: {}\n{}\n", best.number, values(setting, &best), setting.space.show(&best.point));
    if front.len() > 1 {
        let row = |trial: &ironwarp::search::trial::Trial| {
            vec![trial.number.to_string(), values(setting, trial), setting.space.show(&trial.point)]
        };
        let rows: Vec<Vec<String>> = front.iter().map(row).collect();
        text += &format!("\nPareto front, {} trials\n", rows.len());
        text += &out::table(&["trial", "values", "point"], &rows, &[1, 2]);
    }
    out::print(&text)
}
