//! `bench op NAME`: the largest of many instances of an operation that its registry entry draws.

use std::time::Instant;

use anyhow::Result;
use ironwarp::device::{DType, Device, DeviceKind};
use ironwarp::graph::{Executor, Graph, Plan, States};
use ironwarp::ops::{Cost, Domain, Draw, OpEntry, Sample, SampleInput, TensorType, registry};
use ironwarp::train::TrainError;
use serde_json::{Value, json};

use super::{BLOCKS, Random, median_seconds};
use crate::cli::args::DeviceArg;
use crate::cli::fail::usage_error;
use crate::cli::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench op linear
  ironwarp bench op softmax --device sim --max-dim 64
  ironwarp bench op adam --json";

/// Instances that are drawn.
const DRAWN: usize = 2000;

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
    let entries = registry();
    let Some(entry) = entries.iter().find(|e| e.name == args.name) else {
        let mut names: Vec<&str> = entries.iter().map(|e| e.name).collect();
        names.sort_unstable();
        names.dedup();
        return Err(usage_error(format!(
            "there is no operation '{}'; there are {}",
            args.name,
            names.join(", ")
        )));
    };
    if args.max_dim == Some(0) {
        return Err(usage_error("--max-dim is 0: give at least 1"));
    }
    let device = args.device.open()?;
    let usual = if device.kind() == DeviceKind::Sim { 64 } else { 1024 };
    let samples = largest(entry, args.max_dim.unwrap_or(usual))?;
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

fn types(sample: &Sample) -> Vec<TensorType> {
    sample.inputs.iter().map(|input| input.ty.clone()).collect()
}

fn cost(sample: &Sample) -> Result<Cost> {
    let inputs = types(sample);
    let outputs = sample.op.infer(&inputs)?;
    Ok(sample.op.cost(&inputs, &outputs))
}

/// The largest instances by traffic: one for each set of attributes, then other shapes.
fn largest(entry: &OpEntry, max_dim: usize) -> Result<Vec<Sample>> {
    let mut random = Random(1);
    let mut drawn = vec![];
    for _ in 0..DRAWN {
        let choices = (0..256).map(|_| random.bits() as u32).collect();
        let sample = (entry.sample)(&mut Draw::new(choices, max_dim));
        drawn.push((cost(&sample)?.bytes, sample));
    }
    drawn.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    // Where attributes are few, further shapes fill the table.
    let mut chosen: Vec<Sample> = vec![];
    let by_attributes = |a: &Sample, b: &Sample| a.op.attributes() != b.op.attributes();
    let by_shape = |a: &Sample, b: &Sample| types(a) != types(b);
    for differ in [&by_attributes as &dyn Fn(&Sample, &Sample) -> bool, &by_shape] {
        for (_, sample) in &drawn {
            if chosen.len() < SHOWN && chosen.iter().all(|c| differ(c, sample)) {
                chosen.push(sample.clone());
            }
        }
    }
    Ok(chosen)
}

fn time(device: &Device, sample: &Sample) -> Result<Timing> {
    let mut graph = Graph::new();
    let states = States::new(device);
    let mut random = Random(2);
    let mut values = vec![];
    for (i, input) in sample.inputs.iter().enumerate() {
        let name = format!("x{i}");
        values.push(graph.state(&name, input.ty.clone())?);
        fill(&states, &name, input, &mut random)?;
    }
    let outputs = graph.push_shared(sample.op.clone(), &values)?;
    for (input, output) in sample.op.in_place_pairs(values.len()) {
        // As a training step uses it: no copy before the operation.
        graph.assign(values[input], outputs[output])?;
    }
    outputs.iter().enumerate().for_each(|(k, &v)| graph.output(&format!("y{k}"), v));
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
    Ok(Timing { attributes: sample.op.attributes(), inputs: inputs(sample), cost: cost(sample)?, seconds })
}

/// The types of the inputs, each kind once with its number: `4x f32[100] f32[8]`.
fn inputs(sample: &Sample) -> String {
    let mut kinds: Vec<(String, usize)> = vec![];
    for ty in types(sample) {
        let ty = ty.to_string();
        match kinds.iter_mut().find(|(kind, _)| *kind == ty) {
            Some((_, n)) => *n += 1,
            None => kinds.push((ty, 1)),
        }
    }
    let text = |(kind, n): &(String, usize)| if *n == 1 { kind.clone() } else { format!("{n}x {kind}") };
    kinds.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Random elements of the input's domain.
fn fill(states: &States, name: &str, input: &SampleInput, random: &mut Random) -> Result<()> {
    let n = input.ty.len();
    match input.ty.dtype {
        DType::U32 => {
            let data: Vec<u32> = match input.domain {
                Domain::Permutation => ironwarp::data::permutation(n, 3, 0),
                Domain::Index(bound) => (0..n).map(|_| random.below(bound)).collect(),
                Domain::Exactly(x) => vec![x as u32; n],
                _ => (0..n).map(|_| random.bits() as u32).collect(),
            };
            states.write(name, &input.ty, &data)?;
        }
        DType::F16 | DType::Bf16 => {
            // The sign and the lower fraction bits of a number near 1 in either format.
            let data: Vec<u16> = (0..n).map(|_| 0x3c00 ^ (random.bits() as u16 & 0x807f)).collect();
            states.write(name, &input.ty, &data)?;
        }
        DType::F32 => {
            let mut element = || match input.domain {
                Domain::Uniform(lo, hi) => random.range(lo, hi),
                // One side of the kink is enough here.
                Domain::Away { lo, hi, kink, gap } if kink + gap < hi => {
                    random.range((kink + gap).max(lo), hi)
                }
                Domain::Exactly(x) => x,
                Domain::Index(bound) => random.below(bound) as f32,
                _ => random.range(-1.0, 1.0),
            };
            let data: Vec<f32> = (0..n).map(|_| element()).collect();
            states.write(name, &input.ty, &data)?;
        }
    }
    Ok(())
}
