//! `bench op NAME`: the largest of many instances of an operation that its registry entry draws.

use std::time::Instant;

use anyhow::Result;
use ironwarp::device::{Device, DeviceKind};
use ironwarp::graph::{Executor, Plan};
use ironwarp::ops::{Cost, Sample};
use ironwarp::train::TrainError;
use serde_json::{Value, json};

use super::{BLOCKS, median_seconds};
use crate::cli::args::DeviceArg;
use crate::cli::fail::usage_error;
use crate::cli::{out, sample};

const EXAMPLES: &str = "\
Examples:
  ironwarp bench op linear
  ironwarp bench op softmax --device sim --max-dim 64
  ironwarp bench op adam --json";

/// Instances that are measured.
const SHOWN: usize = 6;

/// About how long one instance is measured, in seconds.
const TIME: f64 = 0.2;

/// Time of an operation at large sizes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The operation; an unknown name lists them all.
    name: String,
    #[command(flatten)]
    device: DeviceArg,
    /// The longest extent [default: 1024; 64 on sim].
    #[arg(long, value_name = "N")]
    max_dim: Option<usize>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// One instance, measured.
struct Timing {
    attributes: String,
    inputs: String,
    cost: Cost,
    seconds: f64,
}

pub fn run(args: &Args) -> Result<()> {
    let entry = sample::entry(&args.name)?;
    if args.max_dim == Some(0) {
        return Err(usage_error("--max-dim is 0: give at least 1"));
    }
    let device = args.device.open()?;
    let usual = if device.kind() == DeviceKind::Sim { 64 } else { 1024 };
    let samples = sample::largest(&entry, args.max_dim.unwrap_or(usual), SHOWN)?;
    let timings = samples.iter().map(|sample| time(&device, sample)).collect::<Result<Vec<_>>>()?;
    let rates = |t: &Timing| (t.cost.flop as f64 / t.seconds / 1e9, t.cost.bytes as f64 / t.seconds / 1e9);
    if args.json {
        let instance = |t: &Timing| {
            let (gflops, gbytes) = rates(t);
            json!({
                "attributes": t.attributes, "inputs": t.inputs, "flop": t.cost.flop, "bytes": t.cost.bytes,
                "us": t.seconds * 1e6, "gflops": gflops, "gb_per_second": gbytes,
            })
        };
        let instances: Vec<Value> = timings.iter().map(instance).collect();
        let device = device.kind().to_string();
        return out::print_json(
            &json!({"command": "bench op", "op": entry.name, "device": device, "instances": instances}),
        );
    }
    let row = |t: &Timing| {
        let (gflops, gbytes) = rates(t);
        let name = format!("{} {}", entry.name, t.attributes);
        let us = t.seconds * 1e6;
        vec![name, t.inputs.clone(), format!("{us:.1}"), format!("{gflops:.2}"), format!("{gbytes:.2}")]
    };
    let rows: Vec<Vec<String>> = timings.iter().map(row).collect();
    out::print(&out::table(&["operation", "inputs", "us", "GFLOP/s", "GB/s"], &rows, &[1]))
}

fn time(device: &Device, sample: &Sample) -> Result<Timing> {
    let (graph, states) = sample::graph(device, sample)?;
    let plan = Plan::new(&graph).map_err(TrainError::from)?;
    let mut exec = Executor::new(&plan, &states)?;
    let mut run = |n: usize| -> Result<()> {
        for _ in 0..n {
            exec.run()?;
        }
        Ok(device.synchronize()?)
    };
    run(2)?;
    let began = Instant::now();
    run(1)?;
    let once = began.elapsed().as_secs_f64().max(1e-9);
    let repeats = ((TIME / once) as usize).clamp(1, 1_000_000);
    let seconds = median_seconds(if repeats < BLOCKS { 1 } else { repeats }, run)?;
    Ok(Timing {
        attributes: sample.op.attributes(),
        inputs: sample::inputs(sample),
        cost: sample::cost(sample)?,
        seconds,
    })
}
