//! `bench population`: many small networks trained at once on built-in data.

use std::time::Instant;

use anyhow::Result;
use ironwarp::data;
use ironwarp::nn;
use ironwarp::ops::activation::Activation;
use ironwarp::search::population::{Candidate, Population};
use ironwarp::train::{Options, Schedule};
use serde_json::json;

use super::Random;
use crate::cli::args::DeviceArg;
use crate::cli::fail::usage_error;
use crate::cli::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench population
  ironwarp bench population --networks 1000 --epochs 10 --device cuda:0 --json";

/// Widths that a hidden layer may have.
const WIDTHS: [usize; 4] = [16, 32, 64, 128];
const BATCH: usize = 64;

/// Networks trained a second: MLPs of 1-4 hidden layers of 16-128 on digits, batch 64, Adam.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Networks of the population.
    #[arg(long, value_name = "N", default_value_t = 256)]
    networks: usize,
    /// Epochs of each.
    #[arg(long, value_name = "N", default_value_t = 5)]
    epochs: usize,
    /// Print the hidden widths of the networks, one line each, and train nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// The hidden widths of network `i`.
fn hidden(random: &mut Random) -> Vec<usize> {
    let depth = 1 + random.below(4);
    (0..depth).map(|_| WIDTHS[random.below(WIDTHS.len() as u32) as usize]).collect()
}

pub fn run(args: &Args) -> Result<()> {
    for (option, value) in [("--networks", args.networks), ("--epochs", args.epochs)] {
        if value == 0 {
            return Err(usage_error(format!("{option} is 0: give at least 1")));
        }
    }
    let mut random = Random(7);
    let hidden: Vec<Vec<usize>> = (0..args.networks).map(|_| hidden(&mut random)).collect();
    if args.list {
        let line =
            |widths: &Vec<usize>| widths.iter().map(usize::to_string).collect::<Vec<_>>().join(",") + "\n";
        return out::print(&hidden.iter().map(line).collect::<String>());
    }
    let device = args.device.open()?;
    let digits = data::builtin("digits")?.standardized().stratified_split(0.8, 7)?;
    let (inputs, classes) = (digits.train.features().cols, digits.train.classes().len());
    let mut population = Population::new(&device, &digits.train, &digits.test)?;

    let began = Instant::now();
    let mut ids = vec![];
    let mut parameters = 0;
    for (seed, hidden) in hidden.iter().enumerate() {
        let net = nn::mlp(inputs, hidden, Activation::Relu, classes);
        parameters += net.parameter_count();
        let options = Options {
            epochs: args.epochs,
            batch: Some(BATCH),
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            seed: seed as u64,
            ..Options::default()
        };
        ids.push(population.add(Candidate { net, options })?);
    }
    let outcomes = population.advance(&ids, args.epochs);
    let seconds = began.elapsed().as_secs_f64();

    let accuracies: Vec<f64> = outcomes.iter().flatten().filter_map(|p| p.val_accuracy).collect();
    let failed = outcomes.iter().filter(|o| o.is_err()).count();
    let mean = accuracies.iter().sum::<f64>() / accuracies.len().max(1) as f64;
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    let rate = args.networks as f64 / seconds;
    if args.json {
        return out::print_json(&json!({
            "command": "bench population",
            "device": device.kind().to_string(),
            "networks": args.networks,
            "epochs": args.epochs,
            "batch": BATCH,
            "parameters_mean": parameters as f64 / args.networks as f64,
            "seconds": seconds,
            "networks_per_second": rate,
            "failed": failed,
            "val_accuracy_mean": mean,
            "val_accuracy_best": best,
        }));
    }
    out::print(&format!(
        "{} networks, {} epochs each, on {}: {seconds:.2} s, {rate:.1} networks/s; validation accuracy {mean:.3} on average, {best:.3} at best{}\n",
        args.networks,
        args.epochs,
        device.kind(),
        if failed > 0 { format!("; {failed} failed") } else { String::new() },
    ))
}
