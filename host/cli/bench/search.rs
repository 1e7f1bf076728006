//! `bench search`: samplers on a table of results, where a trial costs a look-up, many times with different seeds.
//!
//! Every trial yields one repetition (one seed of the training), drawn at random. A sampler is judged by the mean over the
//! repetitions of the point with the best value it saw; random search by the best mean among its points, as in the published
//! figures.

use std::path::Path;

use anyhow::Result;
use ironwarp::search::sampler::{self, Sampler};
use ironwarp::search::table::{Dataset, Table};
use ironwarp::search::trial::Trial;
use ironwarp::search::{Direction, Goal, SearchError, pareto};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::fail::usage_error;
use crate::cli::out;
use crate::cli::report;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench search --table nasbench201
  ironwarp bench search --table nasbench201 --sampler random,evolution --dataset cifar10 --evaluations 500 --json
  ironwarp bench search --table runs.csv --parameters width,depth,lr --minimize loss --evaluations 50";

/// Evaluations after which the choice is looked at.
const LOOKS: [u64; 4] = [50, 100, 200, 500];

/// What samplers find in a table of results.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// `nasbench201`, or a CSV file of your own.
    #[arg(long, value_name = "TABLE", default_value = "nasbench201")]
    table: String,
    /// The samplers, with commas between.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "random,evolution,tpe,nsga2,local"
    )]
    sampler: Vec<String>,
    /// Of nasbench201: cifar10, cifar100 or imagenet [default: all three].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    dataset: Vec<String>,
    /// Trials of each run.
    #[arg(long, value_name = "N", default_value_t = 200)]
    evaluations: u64,
    /// Runs of each sampler.
    #[arg(long, value_name = "N", default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Columns of a file of your own that are parameters.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    parameters: Vec<String>,
    /// The column of a file of your own to maximise; NAME_seed0, NAME_seed1, .. are repetitions.
    #[arg(long, value_name = "NAME", conflicts_with = "minimize")]
    maximize: Option<String>,
    /// The same, to minimise.
    #[arg(long, value_name = "NAME")]
    minimize: Option<String>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// A table and what is optimised in it.
struct Problem {
    name: String,
    table: Table,
    goal: Goal,
    /// The goal that is weighed against it in a search for a Pareto front.
    cost: Option<&'static str>,
    published: Vec<(&'static str, [[f64; 2]; 4])>,
}

/// Published mean and standard deviation of the chosen cell's accuracy after [`LOOKS`] evaluations, over 300 seeds.
fn published(dataset: Dataset) -> Vec<(&'static str, [[f64; 2]; 4])> {
    let (random, evolution) = match dataset {
        Dataset::Cifar10 => (
            [[90.80, 0.42], [91.03, 0.27], [91.18, 0.20], [91.33, 0.15]],
            [[91.13, 0.43], [91.39, 0.23], [91.50, 0.14], [91.58, 0.04]],
        ),
        Dataset::Cifar100 => (
            [[70.99, 0.81], [71.40, 0.72], [71.87, 0.69], [72.41, 0.57]],
            [[71.93, 1.07], [72.69, 0.82], [73.16, 0.40], [73.29, 0.13]],
        ),
        Dataset::ImageNet => (
            [[44.91, 0.72], [45.32, 0.60], [45.71, 0.52], [46.05, 0.39]],
            [[45.50, 0.81], [46.00, 0.56], [46.23, 0.36], [46.25, 0.25]],
        ),
    };
    vec![("reference: random", random), ("reference: evolution", evolution)]
}

fn problems(args: &Args) -> Result<Vec<Problem>> {
    if args.table == "nasbench201" {
        let mut datasets = vec![];
        for name in &args.dataset {
            datasets.push(name.parse::<Dataset>()?);
        }
        let datasets = if datasets.is_empty() { Dataset::ALL.to_vec() } else { datasets };
        let problem = |dataset: Dataset| {
            Ok(Problem {
                name: format!("nasbench201 {}", dataset.name()),
                table: Table::nasbench201(dataset)?,
                goal: Goal::maximize("val_acc"),
                cost: Some("params_m"),
                published: published(dataset),
            })
        };
        return datasets.into_iter().map(problem).collect();
    }
    let goal = match (&args.maximize, &args.minimize) {
        (Some(name), None) => Goal::maximize(name),
        (None, Some(name)) => Goal::minimize(name),
        _ => return Err(usage_error("a table of your own needs --maximize NAME or --minimize NAME")),
    };
    if args.parameters.is_empty() {
        return Err(usage_error(
            "a table of your own needs --parameters NAME,NAME,..: the columns to search over",
        ));
    }
    if !args.dataset.is_empty() {
        return Err(usage_error("--dataset is for nasbench201: leave it out"));
    }
    if !Path::new(&args.table).exists() {
        return Err(usage_error(format!(
            "'{}' is no file; the table inside the program is nasbench201",
            args.table
        )));
    }
    let parameters: Vec<&str> = args.parameters.iter().map(String::as_str).collect();
    let table = Table::read(&args.table, &parameters, [goal.clone()])?;
    Ok(vec![Problem { name: args.table.clone(), table, goal, cost: None, published: vec![] }])
}

/// Mean and standard deviation over the seeds, after each look.
struct Line {
    sampler: String,
    looks: Vec<[f64; 2]>,
}

/// Runs a sampler with every seed, over the cores; `measure` judges the first trials of a run.
fn runs(
    args: &Args,
    problem: &Problem,
    name: &str,
    goals: &[&str],
    looks: &[u64],
    measure: impl Fn(&[Trial]) -> Result<f64, SearchError> + Sync,
) -> Result<Line> {
    let run = |seed: u64| -> Result<Vec<f64>, SearchError> {
        let setting = problem.table.setting(goals, seed)?;
        let mut sampler: Box<dyn Sampler> = sampler::by_name(name, &ironwarp::Device::cpu())?;
        let trials = problem.table.search(&setting, sampler.as_mut(), args.evaluations)?;
        looks.iter().map(|n| measure(&trials[..*n as usize])).collect()
    };
    let runs: Vec<Vec<f64>> =
        (0..args.seeds).into_par_iter().map(|i| run(args.seed.wrapping_add(i))).collect::<Result<_, _>>()?;
    let n = runs.len() as f64;
    let statistics = |look: usize| {
        let mean = runs.iter().map(|r| r[look]).sum::<f64>() / n;
        [mean, (runs.iter().map(|r| (r[look] - mean).powi(2)).sum::<f64>() / n).sqrt()]
    };
    Ok(Line { sampler: name.to_owned(), looks: (0..looks.len()).map(statistics).collect() })
}

/// The hypervolume of trials by their means, as a part of that of the whole table. Both goals are scaled: the accuracy from the
/// table's median to its best, the cost from its least to its most.
struct Volume<'a> {
    problem: &'a Problem,
    cost: &'static str,
    /// Losses of the reference point and of the best of each goal alone.
    worst: [f64; 2],
    best: [f64; 2],
    whole: f64,
}

impl<'a> Volume<'a> {
    fn new(problem: &'a Problem, cost: &'static str) -> Result<Volume<'a>, SearchError> {
        let direction = problem.goal.direction;
        let values = problem.table.means(&problem.goal.name)?;
        let losses: Vec<f64> = values.into_iter().map(|v| direction.loss(v)).collect();
        let costs = problem.table.means(cost)?;
        let least = |x: &[f64]| x.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = [report::median(losses.clone()), most(&costs)];
        let best = [least(&losses), least(&costs)];
        let mut volume = Volume { problem, cost, worst, best, whole: 1.0 };
        let points: Vec<[f64; 2]> = losses.into_iter().zip(costs).map(|(l, c)| [l, c]).collect();
        volume.whole = volume.of(&points);
        Ok(volume)
    }

    fn of(&self, points: &[[f64; 2]]) -> f64 {
        let scale = |p: &[f64; 2]| -> Vec<f64> {
            (0..2).map(|i| (p[i] - self.best[i]) / (self.worst[i] - self.best[i])).collect()
        };
        pareto::hypervolume(&points.iter().map(scale).collect::<Vec<_>>(), &[1.0, 1.0]) / self.whole
    }

    fn measure(&self, trials: &[Trial]) -> Result<f64, SearchError> {
        let table = &self.problem.table;
        let point = |t: &Trial| {
            let loss = self.problem.goal.direction.loss(table.mean(&t.point, &self.problem.goal.name)?);
            Ok([loss, table.mean(&t.point, self.cost)?])
        };
        Ok(self.of(&trials.iter().map(point).collect::<Result<Vec<_>, SearchError>>()?))
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.evaluations == 0 || args.seeds == 0 {
        return Err(usage_error("--evaluations and --seeds: give at least 1"));
    }
    for name in &args.sampler {
        sampler::by_name(name, &ironwarp::Device::cpu())?;
    }
    let problems = problems(args)?;
    let mut looks: Vec<u64> = LOOKS.into_iter().filter(|n| *n < args.evaluations).collect();
    looks.push(args.evaluations);
    let mut results = vec![];
    for problem in &problems {
        let goal = &problem.goal;
        let mut lines = vec![];
        for name in &args.sampler {
            lines.push(runs(args, problem, name, &[&goal.name], &looks, |trials| {
                if name == "random" {
                    problem.table.best_mean(trials, &goal.name, goal.direction)
                } else {
                    problem.table.chosen_mean(trials, &goal.name, goal.direction)
                }
            })?);
        }
        let means = problem.table.means(&goal.name)?;
        let optimum = means.into_iter().reduce(|a, b| if goal.direction.better(b, a) { b } else { a });
        let optimum = optimum.unwrap_or(f64::NAN);
        if !args.json {
            let word = if goal.direction == Direction::Maximize { "most" } else { "least" };
            out::print(&format!(
                "{}: {} after evaluations, mean ± sd of {} seeds; the {word} in the table is {optimum:.3}\n",
                problem.name, goal.name, args.seeds
            ))?;
            show(&looks, &lines, &problem.published, 2)?;
        }
        results.push(json!({
            "problem": problem.name, "goal": goal.name, "optimum": optimum,
            "samplers": lines.iter().map(|l| record(l, &looks)).collect::<Vec<Value>>(),
        }));
        // Several goals: the samplers that look at them all, beside random search.
        let several: Vec<&str> = ["random", "nsga2", "tpe"]
            .into_iter()
            .filter(|n| *n == "random" || args.sampler.iter().any(|s| s == n))
            .collect();
        if let Some(cost) = problem.cost.filter(|_| several.len() > 1) {
            let volume = Volume::new(problem, cost)?;
            let mut lines = vec![];
            for name in several {
                let measure = |trials: &[Trial]| volume.measure(trials);
                lines.push(runs(args, problem, name, &[&goal.name, cost], &looks, measure)?);
            }
            if !args.json {
                out::print(&format!("hypervolume of ({}, {cost}), as a part of the table's\n", goal.name))?;
                show(&looks, &lines, &[], 4)?;
            }
            results.push(json!({
                "problem": problem.name, "goal": format!("hypervolume of {}, {cost}", goal.name), "optimum": 1.0,
                "samplers": lines.iter().map(|l| record(l, &looks)).collect::<Vec<Value>>(),
            }));
        }
    }
    if args.json {
        let (evaluations, seeds) = (args.evaluations, args.seeds);
        return out::print_json(&json!({
            "command": "bench search", "table": args.table, "evaluations": evaluations, "seeds": seeds, "results": results,
        }));
    }
    Ok(())
}

fn record(line: &Line, looks: &[u64]) -> Value {
    let look = |(n, [mean, sd]): (&u64, &[f64; 2])| json!({"evaluations": n, "mean": mean, "sd": sd});
    json!({"sampler": line.sampler, "after": looks.iter().zip(&line.looks).map(look).collect::<Vec<Value>>()})
}

fn show(looks: &[u64], lines: &[Line], published: &[(&str, [[f64; 2]; 4])], digits: usize) -> Result<()> {
    let names: Vec<String> = looks.iter().map(u64::to_string).collect();
    let mut header = vec!["sampler"];
    header.extend(names.iter().map(String::as_str));
    let cell = |[mean, sd]: &[f64; 2]| format!("{mean:.digits$} ± {sd:.digits$}");
    let mut rows: Vec<Vec<String>> = vec![];
    for line in lines {
        rows.push(std::iter::once(line.sampler.clone()).chain(line.looks.iter().map(cell)).collect());
    }
    for (name, figures) in published {
        let figure = |n: &u64| LOOKS.iter().position(|l| l == n).map_or("-".into(), |i| cell(&figures[i]));
        rows.push(std::iter::once((*name).to_owned()).chain(looks.iter().map(figure)).collect());
    }
    out::print(&format!("{}\n", out::table(&header, &rows, &[])))
}
