//! `study`: what searches have recorded.

mod export;
mod list;
mod resume;
mod show;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use ironwarp::search::study::Study;
use ironwarp::search::{Setting, trial::Trial};

use super::fail::usage_error;
use super::out;
pub use resume::about;

const EXAMPLES: &str = "\
Examples:
  ironwarp study list                          the studies here and in runs/
  ironwarp study show digits.db
  ironwarp study best digits.db --json
  ironwarp study export csv digits.db > trials.csv
  ironwarp study resume digits.db --trials 500  go on, to 500 trials
  ironwarp study delete digits.db --yes";

/// Look at, export, resume or delete the studies that searches record.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    List(list::Args),
    Show(show::Args),
    Best(show::BestArgs),
    Export(export::Args),
    Resume(resume::Args),
    Delete(DeleteArgs),
}

/// Remove a study's file.
#[derive(clap::Args)]
struct DeleteArgs {
    /// The study.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Really: there is no way back.
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::List(args) => list::run(args),
        What::Show(args) => show::run(args),
        What::Best(args) => show::best(args),
        What::Export(args) => export::run(args),
        What::Resume(args) => resume::run(args),
        What::Delete(args) => delete(args),
    }
}

fn delete(args: &DeleteArgs) -> Result<()> {
    let study = Study::open(&args.file)?;
    let (file, trials) = (args.file.display(), study.counts()?.finished());
    if !args.yes {
        return Err(usage_error(format!(
            "{file} holds {} finished trials: give --yes to delete it",
            out::grouped(trials)
        )));
    }
    study.delete()?;
    out::print(&format!("deleted {file} ({} finished trials)\n", out::grouped(trials)))
}

/// `accuracy=0.975 params=1234`: a trial's values by name, to five digits.
fn values(setting: &Setting, trial: &Trial) -> String {
    let named = setting.goals.iter().zip(&trial.values);
    named.map(|(goal, v)| format!("{}={}", goal.name, figure(*v))).collect::<Vec<_>>().join(" ")
}

/// A number for people: five digits, whole ones as they are.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value}");
    }
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    if (1e-4..1e15).contains(&rounded.abs()) { rounded.to_string() } else { format!("{rounded:e}") }
}

/// A trial as JSON: the point with its parameters' names, text for choices.
fn json(setting: &Setting, trial: &Trial) -> serde_json::Value {
    use ironwarp::search::space::Value;
    use serde_json::{Map, json};
    let mut parameters = Map::new();
    for (parameter, value) in setting.space.parameters().iter().zip(&trial.point.0) {
        let Some(value) = value else { continue };
        let value = match value {
            Value::Int(v) => json!(v),
            Value::Float(v) => json!(v),
            Value::Choice(_) => json!(parameter.domain.show(*value)),
        };
        parameters.insert(parameter.name.clone(), value);
    }
    let names = setting.goals.iter().map(|goal| goal.name.clone());
    let values: Map<_, _> = names.zip(trial.values.iter().map(|v| json!(v))).collect();
    let reports: Vec<_> = trial.reports.iter().map(|r| json!([r.step, r.value])).collect();
    json!({
        "number": trial.number, "state": trial.state, "values": values, "parameters": parameters,
        "architecture": setting.space.show(&trial.point), "reports": reports, "attributes": trial.attributes,
        "reason": trial.reason, "seconds": trial.seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.9790396647795586, 1234.0, 1e-7 / 3.0, -0.5, 123456.78, f64::NAN].map(figure);
        assert_eq!(shown, ["0.97904", "1234", "3.3333e-8", "-0.5", "123460", "NaN"]);
    }
}
