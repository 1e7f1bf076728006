//! `bench suggest`: what a sampler's suggestion and a pruner's bars cost after few and after many trials.
//!
//! The space is that of networks on digits (64 inputs, 10 classes), the objective a formula, so what is measured is the
//! search itself: `ask` and `tell`, of pruners `cutoffs` and `tell`. Trials are dropped once told, so the growth of the resident
//! set is what samplers and pruners keep.

use std::time::Instant;

use anyhow::Result;
use ironwarp::search::pruner::{self, Pruner};
use ironwarp::search::sampler::{self, Sampler};
use ironwarp::search::space::network::NetworkSpace;
use ironwarp::search::space::{Point, Space};
use ironwarp::search::trial::{Report, State, Trial};
use ironwarp::search::{Goal, SearchError, Setting};
use serde_json::{Value, json};

use crate::cli::fail::usage_error;
use crate::cli::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench suggest
  ironwarp bench suggest --sampler tpe --pruner hyperband --trials 10000 --json";

/// Numbers of trials at which the time is taken.
const LOOKS: [u64; 4] = [100, 1_000, 10_000, 100_000];

/// Trials before each of them that are timed.
const TIMED: u64 = 100;

/// Rows of digits.
const ROWS: usize = 1797;

/// Steps of a trial.
const STEPS: u64 = 20;

/// Time of a suggestion after 100, 1,000, 10,000 and 100,000 trials.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The samplers, with commas between.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "random,grid,evolution,tpe,nsga2,local"
    )]
    sampler: Vec<String>,
    /// The pruners, with commas between.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "median,percentile,halving,asha,hyperband"
    )]
    pruner: Vec<String>,
    /// Goals: 1 (accuracy) or 2 (and parameters).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    goals: u8,
    /// Most trials.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    trials: u64,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Microseconds a trial at each look, and kilobytes that came on top.
struct Line {
    name: String,
    micros: Vec<f64>,
    kilobytes: Option<i64>,
}

pub fn run(args: &Args) -> Result<()> {
    let looks: Vec<u64> = LOOKS.into_iter().filter(|n| *n <= args.trials).collect();
    if looks.is_empty() {
        return Err(usage_error("--trials: give at least 100"));
    }
    for name in &args.sampler {
        sampler::by_name(name, &ironwarp::Device::cpu())?;
    }
    for name in &args.pruner {
        pruner::by_name(name)?;
    }
    let goals = [Goal::maximize("accuracy"), Goal::minimize("params")];
    let setting = Setting {
        space: NetworkSpace::default_for(64, 10, ROWS).space()?,
        goals: goals[..usize::from(args.goals)].to_vec(),
        seed: 1,
        steps: STEPS,
        lag: 1,
    };
    let mut samplers = vec![];
    for name in &args.sampler {
        let mut sampler: Box<dyn Sampler> = sampler::by_name(name, &ironwarp::Device::cpu())?;
        samplers.push(time(name, &looks, |number| {
            let trial = finished(&setting, number, sampler.ask(&setting, number)?);
            sampler.tell(&setting, &trial);
            Ok(())
        })?);
    }
    let mut pruners = vec![];
    for name in &args.pruner {
        let mut pruner: Box<dyn Pruner> = pruner::by_name(name)?;
        let mut random = sampler::Random;
        // The points are no part of what a pruner costs.
        let points: Vec<Point> = (0..64).map(|n| random.ask(&setting, n)).collect::<Result<_, _>>()?;
        pruners.push(time(name, &looks, |number| {
            let bars = pruner.cutoffs(&setting, number);
            let mut trial = finished(&setting, number, points[(number % 64) as usize].clone());
            let goal = setting.goals[0].direction;
            if let Some(end) =
                (1..=trial.reports.len()).find(|n| bars.missed(goal, &trial.reports[..*n]).is_some())
            {
                trial.reports.truncate(end);
                trial.state = State::Pruned;
            }
            pruner.tell(&setting, &trial);
            Ok(())
        })?);
    }
    if args.json {
        let record = |l: &Line| json!({"name": l.name, "us": l.micros, "kilobytes": l.kilobytes});
        let records = |lines: &[Line]| lines.iter().map(record).collect::<Vec<Value>>();
        return out::print_json(&json!({
            "command": "bench suggest", "trials": looks, "samplers": records(&samplers), "pruners": records(&pruners),
        }));
    }
    let names: Vec<String> = looks.iter().map(|n| format!("us at {}", out::grouped(*n))).collect();
    let show = |title: &'static str, lines: &[Line]| {
        let mut header = vec![title];
        header.extend(names.iter().map(String::as_str));
        header.push("memory kB");
        let row = |l: &Line| {
            let memory = l.kilobytes.map_or("-".into(), |k| k.to_string());
            let times = l.micros.iter().map(|us| format!("{us:.1}"));
            std::iter::once(l.name.clone()).chain(times).chain([memory]).collect::<Vec<String>>()
        };
        out::table(&header, &lines.iter().map(row).collect::<Vec<_>>(), &[])
    };
    out::print(&format!("{}\n{}", show("sampler", &samplers), show("pruner", &pruners)))
}

/// Runs `step` for every trial; the mean time of the last [`TIMED`] before each look.
fn time(name: &str, looks: &[u64], mut step: impl FnMut(u64) -> Result<(), SearchError>) -> Result<Line> {
    let before = resident();
    let mut micros = vec![];
    let mut number = 0;
    for look in looks {
        while number < look - TIMED {
            step(number)?;
            number += 1;
        }
        let began = Instant::now();
        while number < *look {
            step(number)?;
            number += 1;
        }
        micros.push(began.elapsed().as_secs_f64() / TIMED as f64 * 1e6);
    }
    let kilobytes = before.zip(resident()).map(|(before, after)| after - before);
    Ok(Line { name: name.to_owned(), micros, kilobytes })
}

/// A trial of this point: good near a place of the space, with a learning curve.
fn finished(setting: &Setting, number: u64, point: Point) -> Trial {
    let value = quality(&setting.space, &point);
    let mut trial = Trial::new(number, point);
    // Not quite the order of the final values early on.
    let wobble = |step: u64| 0.1 * ((number * 7 + step) % 11) as f64 / step as f64;
    trial.reports = (1..=STEPS).map(|step| Report { step, value: value - wobble(step) }).collect();
    let worth = [value, trial.point.0.iter().flatten().count() as f64];
    trial.values = worth[..setting.goals.len()].to_vec();
    trial.state = State::Complete;
    trial
}

fn quality(space: &Space, point: &Point) -> f64 {
    let loss = space.parameters().iter().zip(&point.0).filter_map(|(p, value)| {
        let unit = p.domain.unit((*value)?);
        Some((unit - 0.3) * (unit - 0.3))
    });
    -loss.sum::<f64>()
}

/// Kilobytes of memory in use, where the system says so.
fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
