//! `bench generator`: how good the encoder-decoder generator's parts are, and what it finds, on a table of results.

use std::time::Instant;

use anyhow::Result;
use ironwarp::device::{Device, DeviceKind};
use ironwarp::graph::on_workers;
use ironwarp::search::rng::Rng;
use ironwarp::search::sampler::generator::{Generator, Options, Report, measure};
use ironwarp::search::sampler::{Random, Sampler};
use ironwarp::search::space::Point;
use ironwarp::search::table::{Dataset, Table};
use ironwarp::search::{Direction, SearchError};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::args::DeviceArg;
use crate::cli::fail::usage_error;
use crate::cli::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench generator --table nasbench201
  ironwarp bench generator --table nasbench201 --trials 200
  ironwarp bench generator --table nasbench201 --searches 300 --json";

/// Points that the network is not trained on, for each seed.
const HELD_OUT: u64 = 1000;
/// Purpose of the random stream that draws them.
const PURPOSE: u32 = 102;
/// The goal of the searches and of the predictor.
const GOAL: &str = "val_acc";

/// Quality of the encoder-decoder generator on a table.
///
/// The network is trained on random trials of the table, and measured on points that it did not see; then the best trials are
/// improved in latent space. Means over the seeds.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The table: nasbench201.
    #[arg(long, value_name = "NAME", default_value = "nasbench201")]
    table: String,
    /// One of its data sets: cifar10, cifar100 or imagenet [default: all].
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Trials that the network is trained on.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    trials: u64,
    /// Best trials that steps in latent space begin at.
    #[arg(long, value_name = "N", default_value_t = 100)]
    top: usize,
    /// Networks, each with trials and held-out points of its own.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Whole searches with the generator.
    #[arg(long, value_name = "N", default_value_t = 0)]
    searches: u64,
    /// Trials of each search.
    #[arg(long, value_name = "N", default_value_t = 200)]
    evaluations: u64,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// Mean and standard deviation of what searches found, and the seconds they took together.
struct Found {
    mean: f64,
    deviation: f64,
    seconds: f64,
}

pub fn run(args: &Args) -> Result<()> {
    if args.table != "nasbench201" {
        let table = &args.table;
        return Err(usage_error(format!("--table {table}: there is no such table; give nasbench201")));
    }
    for (option, value) in [("--top", args.top as u64), ("--seeds", args.seeds)] {
        if value == 0 {
            return Err(usage_error(format!("{option} is 0: give at least 1")));
        }
    }
    if args.trials < 2 {
        return Err(usage_error(format!("--trials is {}: give at least 2", args.trials)));
    }
    let datasets = match &args.dataset {
        Some(name) => vec![name.parse::<Dataset>().map_err(|e| usage_error(e.to_string()))?],
        None => Dataset::ALL.to_vec(),
    };
    let device = args.device.open()?;
    let mut lines = vec![];
    let mut objects: Vec<Value> = vec![];
    for dataset in datasets {
        let table = Table::nasbench201(dataset)?;
        let reports = (0..args.seeds).map(|seed| report(args, &device, &table, seed));
        let reports = reports.collect::<Result<Vec<Report>, SearchError>>()?;
        let mean = |of: fn(&Report) -> f64| reports.iter().map(of).sum::<f64>() / reports.len() as f64;
        let quality = [
            mean(|r| r.pairwise),
            mean(|r| r.reconstruction),
            mean(|r| r.valid),
            mean(|r| r.seeds_mean),
            mean(|r| r.generated_mean),
            mean(|r| r.selected_mean),
            mean(|r| r.pretraining_seconds),
            mean(|r| r.training_seconds),
        ];
        let found = if args.searches > 0 { Some(search(args, &device, &table)?) } else { None };
        let [pairwise, reconstruction, valid, seeds, generated, selected, pretraining, training] = quality;
        objects.push(json!({
            "dataset": dataset.name(),
            "pairwise": pairwise,
            "reconstruction": reconstruction,
            "valid": valid,
            "seeds_mean": seeds,
            "generated_mean": generated,
            "selected_mean": selected,
            "pretraining_seconds": pretraining,
            "training_seconds": training,
            "found_mean": found.as_ref().map(|f| f.mean),
            "found_deviation": found.as_ref().map(|f| f.deviation),
            "search_seconds": found.as_ref().map(|f| f.seconds),
        }));
        let mut line = vec![dataset.name().to_owned(), format!("{pairwise:.3}")];
        line.extend([reconstruction, valid].map(|share| format!("{:.2} %", 100.0 * share)));
        line.extend([seeds, generated, selected].map(|value| format!("{value:.3}")));
        line.extend([pretraining, training].map(|seconds| format!("{seconds:.2}")));
        line.push(
            found.map_or("-".into(), |f| format!("{:.3} +- {:.2} ({:.0} s)", f.mean, f.deviation, f.seconds)),
        );
        lines.push(line);
    }
    if args.json {
        return out::print_json(&json!({
            "command": "bench generator",
            "table": args.table,
            "device": device.kind().to_string(),
            "trials": args.trials,
            "top": args.top,
            "seeds": args.seeds,
            "searches": args.searches,
            "evaluations": args.evaluations,
            "results": objects,
        }));
    }
    let header = [
        "data set",
        "pairwise",
        "reconstr.",
        "valid",
        "seeds",
        "generated",
        "selected",
        "pretrain s",
        "train s",
        "found",
    ];
    out::print(&out::table(&header, &lines, &[0]))
}

/// One network: trained on random trials, measured on points that are not among them.
fn report(args: &Args, device: &Device, table: &Table, seed: u64) -> Result<Report, SearchError> {
    let setting = table.setting(&[GOAL], seed)?;
    let trials = table.search(&setting, &mut Random as &mut dyn Sampler, args.trials)?;
    let mut held_out: Vec<Point> = vec![];
    for i in 0..HELD_OUT {
        let point = setting.space.draw(&mut Rng::new(seed, PURPOSE, i))?;
        if trials.iter().all(|t| t.point != point) {
            held_out.push(point);
        }
    }
    let options = Options { elites: args.top, ..Options::default() };
    measure(device, &options, &setting, &trials, &held_out, |point| table.mean(point, GOAL).ok())
}

/// Searches with the generator: on cpu several at once, one a core.
fn search(args: &Args, device: &Device, table: &Table) -> Result<Found, SearchError> {
    let began = Instant::now();
    let one = |seed: u64| -> Result<f64, SearchError> {
        let setting = table.setting(&[GOAL], seed)?;
        let trials = table.search(&setting, &mut Generator::new(device), args.evaluations)?;
        table.chosen_mean(&trials, GOAL, Direction::Maximize)
    };
    let found: Vec<f64> = match device.kind() {
        DeviceKind::Cpu => {
            on_workers(|| (0..args.searches).into_par_iter().map(one).collect::<Result<_, _>>())?
        }
        _ => (0..args.searches).map(one).collect::<Result<_, _>>()?,
    };
    let n = found.len() as f64;
    let mean = found.iter().sum::<f64>() / n;
    let deviation = (found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    Ok(Found { mean, deviation, seconds: began.elapsed().as_secs_f64() })
}
