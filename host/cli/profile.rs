//! `profile NAME`: the kernels of an operation in the simulator, access by access, and what bounds them on a GPU.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use ironwarp::device::{BUILTIN, Device, SimOptions, Target};
use ironwarp::graph::{Executor, Plan};
use ironwarp::ops::Sample;
use ironwarp::train::TrainError;
use ptx_sim::profile::{Gpu, Profile, Roofline, roofline};
use serde_json::{Value, json};

use super::args::target;
use super::fail::usage_error;
use super::{out, ptxas, sample};

const EXAMPLES: &str = "\
Examples:
  ironwarp profile linear
  ironwarp profile softmax --max-dim 256 --gpu A100 --gpu H200
  ironwarp profile adam --target sm_90a --json

Needs no GPU. Occupancy counts registers where NVIDIA's assembler is: in $PTXAS or as `ptxas` in PATH.";

/// Profile an operation's kernels: coalescing, bank conflicts, divergence, occupancy, roofline.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The operation; an unknown name lists them all.
    name: String,
    /// The longest extent of the instances drawn; the largest is profiled.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_dim: usize,
    /// How many instances, each with other attributes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    instances: usize,
    /// The PTX: sm_80 or sm_90a.
    #[arg(long, value_name = "TARGET", default_value = "sm_80", value_parser = target)]
    target: Target,
    /// A GPU for occupancy and roofline: A100, H100, H200 or RTX4090; may be given several times.
    #[arg(long, value_name = "NAME", default_value = "H200")]
    gpu: Vec<Gpu>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// One kernel of an instance.
struct Measured {
    profile: Profile,
    registers: Option<u32>,
    rooflines: Vec<Roofline>,
}

pub fn run(args: &Args) -> Result<()> {
    if args.max_dim == 0 || args.instances == 0 {
        return Err(usage_error("--max-dim and --instances are at least 1"));
    }
    let entry = sample::entry(&args.name)?;
    let (name, ptx) = match args.target {
        Target::Sm80 => ("sm_80", BUILTIN.sm_80),
        Target::Sm90a => ("sm_90a", BUILTIN.sm_90a),
    };
    let registers = match ptxas::find() {
        Some(program) => ptxas::usage(&program, ptx, name)?,
        None => BTreeMap::new(),
    };
    let options = SimOptions { target: args.target, profile: true, ..SimOptions::default() };
    let device = Device::sim_with(options);
    let mut text = String::new();
    let mut instances = vec![];
    for sample in sample::largest(&entry, args.max_dim, args.instances)? {
        let kernels: Vec<Measured> = profiles(&device, &sample)?
            .into_iter()
            .map(|profile| {
                let registers = registers.get(&profile.kernel).map(|u| u.registers);
                let rooflines = args.gpu.iter().map(|g| roofline(&profile, g, registers)).collect();
                Measured { profile, registers, rooflines }
            })
            .collect();
        let inputs = sample::inputs(&sample);
        writeln!(text, "{} {} on {inputs}\n", entry.name, sample.op.attributes())?;
        for k in &kernels {
            write!(text, "{}", k.profile)?;
            match k.registers {
                Some(n) => writeln!(text, "registers        {n} a thread, from ptxas for {name}")?,
                None => writeln!(text, "registers        not known: no ptxas")?,
            }
            for r in &k.rooflines {
                writeln!(text, "\n{}\n{r}", r.occupancy)?;
            }
            writeln!(text)?;
        }
        instances.push(json!({
            "attributes": sample.op.attributes(), "inputs": inputs,
            "kernels": kernels.iter().map(kernel_json).collect::<Vec<_>>(),
        }));
    }
    if args.json {
        return out::print_json(
            &json!({"command": "profile", "op": entry.name, "target": name, "instances": instances}),
        );
    }
    out::print(&text)
}

/// Runs an instance once.
fn profiles(device: &Device, sample: &Sample) -> Result<Vec<Profile>> {
    let (graph, states) = sample::graph(device, sample)?;
    let plan = Plan::new(&graph).map_err(TrainError::from)?;
    let mut exec = Executor::new(&plan, &states)?;
    device.take_profiles();
    exec.run().context("the simulator")?;
    Ok(device.take_profiles())
}

fn kernel_json(k: &Measured) -> Value {
    let p = &k.profile;
    let (global, shared) = (p.global.total(), p.shared.total());
    let gpus: Vec<Value> = k
        .rooflines
        .iter()
        .map(|r| {
            json!({
                "gpu": r.gpu, "occupancy": r.occupancy.fraction(), "bound": r.bound(),
                "us": r.microseconds(), "assumptions": r.assumptions,
            })
        })
        .collect();
    json!({
        "kernel": p.kernel, "grid": p.grid, "block": p.block, "shared_bytes": p.shared_bytes, "registers": k.registers,
        "warp_instructions": p.warp_instructions, "lane_efficiency": p.lane_efficiency(), "flop": p.flops.total(),
        "global": {
            "requests": global.requests, "sectors_per_request": global.sectors_per_request(),
            "ideal_sectors_per_request": global.ideal_per_request(), "moved": global.moved(),
            "touched": p.global.footprint,
        },
        "shared": {"requests": shared.requests, "bank_conflicts": shared.conflicts()},
        "divergent_branches": p.branches.divergent, "gpus": gpus,
    })
}
