//! `bench score`: networks scored a second, without training, on built-in data.

use std::time::Instant;

use anyhow::Result;
use ironwarp::data;
use ironwarp::nn::{self, Mlp};
use ironwarp::ops::activation::Activation;
use ironwarp::search::score::{Minibatch, Score, score};
use serde_json::json;

use super::Random;
use crate::cli::args::DeviceArg;
use crate::cli::fail::usage_error;
use crate::cli::{out, report};

const EXAMPLES: &str = "\
Examples:
  ironwarp bench score
  ironwarp bench score --scores naswot,swap,synflow --networks 5000 --json";

/// Widths that a hidden layer may have.
const WIDTHS: [usize; 4] = [16, 32, 64, 128];
/// What may follow it.
const ACTIVATIONS: [Activation; 4] = [Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh];
/// Measurements, of which the median counts.
const REPEATS: usize = 3;

/// Networks scored a second: MLPs of 1-4 hidden layers of 16-128 on digits, initial weights included.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Networks of the population.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    networks: usize,
    /// Samples that scores look at.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Scores to measure, each by itself and then all of them together [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    scores: Vec<String>,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

fn network(random: &mut Random, inputs: usize, classes: usize) -> Mlp {
    let depth = 1 + random.below(4);
    let hidden: Vec<usize> = (0..depth).map(|_| WIDTHS[random.below(WIDTHS.len() as u32) as usize]).collect();
    nn::mlp(inputs, hidden, ACTIVATIONS[random.below(ACTIVATIONS.len() as u32) as usize], classes)
}

pub fn run(args: &Args) -> Result<()> {
    for (option, value) in [("--networks", args.networks), ("--batch", args.batch)] {
        if value == 0 {
            return Err(usage_error(format!("{option} is 0: give at least 1")));
        }
    }
    let scores: Vec<Score> = match args.scores.as_slice() {
        [] => Score::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let device = args.device.open()?;
    let digits = data::builtin("digits")?.standardized().prepared()?;
    let batch = Minibatch::draw(&digits, args.batch, 7);
    let (inputs, classes) = (batch.inputs, digits.classes().len());
    let mut random = Random(7);
    let nets: Vec<Mlp> = (0..args.networks).map(|_| network(&mut random, inputs, classes)).collect();
    let rate = |scores: &[Score]| -> Result<f64> {
        let mut times = vec![];
        for _ in 0..REPEATS {
            let began = Instant::now();
            score(&device, &nets, &batch, 7, scores)?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(nets.len() as f64 / report::median(times))
    };
    let mut rates = vec![];
    for &score in &scores {
        rates.push((score.name().to_owned(), rate(&[score])?));
    }
    if scores.len() > 1 {
        rates.push(("together".into(), rate(&scores)?));
    }
    if args.json {
        let each: serde_json::Map<_, _> =
            rates.iter().map(|(name, rate)| (name.clone(), json!(rate))).collect();
        return out::print_json(&json!({
            "command": "bench score",
            "device": device.kind().to_string(),
            "networks": args.networks,
            "batch": batch.rows,
            "networks_per_second": each,
        }));
    }
    let rows: Vec<Vec<String>> =
        rates.iter().map(|(name, rate)| vec![name.clone(), out::grouped(*rate as u64)]).collect();
    out::print(&out::table(&["score", "networks/s"], &rows, &[]))
}
