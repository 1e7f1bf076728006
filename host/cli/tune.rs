//! `tune`: finds the fastest kernel for matrix products and keeps it in the user's tuning cache.

use anyhow::Result;
use ironwarp::device::{DeviceKind, Target};
use ironwarp::ops::matmul::tune::{Basis, Cache, CacheError, Tuned, Verdict, cache, tune};
use ironwarp::ops::matmul::{Precision, candidates};
use serde_json::{Value, json};

use super::args::{DeviceArg, target};
use super::fail::{line, usage_error};
use super::out;
use super::products::{Factors, Products, layouts};

const EXAMPLES: &str = "\
Examples:
  ironwarp tune --device cuda:0
  ironwarp tune --shapes 1024x512x784,1024x512x512 --tb --precision tf32
  ironwarp tune --device sim --shapes 96x64x80 --precision fp32 --json

Products choose by the results from then on. They are kept in $IRONWARP_TUNING, else in ironwarp/tuning.json of the user's
directory for caches; IRONWARP_TUNING= (empty) switches them off. A kernel counts when its result on the very shape is right.";

/// What is tuned where nothing is asked for: squares, a skinny product, a layer.
const USUAL: [&str; 7] = [
    "512x512x512",
    "1024x1024x1024",
    "2048x2048x2048",
    "4096x4096x4096",
    "8192x8192x8192",
    "16x4096x4096",
    "1024x512x784",
];
/// The same for the simulator.
const USUAL_SIM: [&str; 1] = ["128x128x128"];

/// Find the fastest kernel for matrix products, each checked on its shape first, and keep it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    products: Products,
    /// How factors are multiplied: fp32, tf32, bf16, f16, fp32-fast, fp8, fp8-fast, or types of 8-bit floats, as in e4m3xe5m2
    /// [default: all that the device has kernels for].
    #[arg(long, visible_alias = "dtype", value_name = "NAME,..", value_delimiter = ',')]
    precision: Vec<Factors>,
    #[command(flatten)]
    device: DeviceArg,
    /// With --device sim, the PTX: sm_80 or sm_90a.
    #[arg(long, value_name = "TARGET", value_parser = target)]
    target: Option<Target>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open_profiled(args.target)?;
    let usual = match device.kind() {
        DeviceKind::Cpu => {
            return Err(usage_error("there is nothing to tune on cpu: use --device cuda:N or --device sim"));
        }
        DeviceKind::Sim => &USUAL_SIM[..],
        DeviceKind::Cuda(_) => &USUAL[..],
    };
    let mut factors = args.precision.clone();
    if factors.is_empty() {
        let has = |p: &Precision| candidates(device.target()).any(|c| c.precision == *p);
        factors = Precision::ALL.into_iter().filter(has).map(Factors::of).collect();
    }
    let problems = args.products.problems(&device, &factors, usual)?;
    let path = cache::path().ok_or(CacheError::NoPlace)?;
    // Nobody wants to measure for minutes, and then hear that there is no place for it.
    Cache::load(&path)?;
    let mut all = vec![];
    for problem in &problems {
        let tuned = tune(&device, problem)?;
        match tuned.fastest() {
            Some((kernel, _)) => line(&format!("{problem}: {kernel}")),
            None => line(&format!("{problem}: no kernel")),
        }
        tuned.save(&path)?;
        all.push(tuned);
    }
    if args.json {
        let results: Vec<Value> = all.iter().map(object).collect();
        return out::print_json(&json!({
            "command": "tune", "device": device.kind().to_string(), "model": device.model().name,
            "cache": path.display().to_string(), "results": results,
        }));
    }
    let rows: Vec<Vec<String>> = all.iter().flat_map(rows).collect();
    let table = out::table(&["product", "kernel", "us", "by", "note"], &rows, &[1, 3, 4]);
    out::print(&format!("{table}kept in {}\n", path.display()))
}

/// Times of the heuristic have a unit of their own, which nobody reads.
fn microseconds(tuned: &Tuned, seconds: f64) -> Option<f64> {
    (tuned.basis != Basis::Heuristic).then_some(seconds * 1e6)
}

fn rows(tuned: &Tuned) -> Vec<Vec<String>> {
    let fastest = tuned.fastest().map(|f| f.0);
    let row = |(name, verdict): &(&str, Verdict)| {
        let (us, note) = match verdict {
            Verdict::Time(t) => {
                let us = microseconds(tuned, *t).map_or(String::new(), |us| format!("{us:.2}"));
                (us, if fastest == Some(*name) { "fastest".to_owned() } else { String::new() })
            }
            Verdict::Rejected(reason) => (String::new(), reason.clone()),
        };
        vec![tuned.problem.to_string(), (*name).to_owned(), us, tuned.basis.to_string(), note]
    };
    match tuned.kernels.as_slice() {
        [] => {
            vec![vec![tuned.problem.to_string(), "none".into(), String::new(), String::new(), String::new()]]
        }
        kernels => kernels.iter().map(row).collect(),
    }
}

fn object(tuned: &Tuned) -> Value {
    let kernel = |(name, verdict): &(&str, Verdict)| match verdict {
        Verdict::Time(t) => json!({"kernel": name, "us": microseconds(tuned, *t)}),
        Verdict::Rejected(reason) => json!({"kernel": name, "rejected": reason}),
    };
    let p = &tuned.problem;
    json!({
        "m": p.m, "n": p.n, "k": p.k, "layouts": layouts(p), "precision": p.precision.name(),
        "basis": tuned.basis.to_string(), "fastest": tuned.fastest().map(|f| f.0),
        "kernels": tuned.kernels.iter().map(kernel).collect::<Vec<_>>(),
    })
}
