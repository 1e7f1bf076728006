//! `bench gemm`: matrix products beside cuBLASLt's, and beside the device's peak.
//!
//! On `cuda` (see [`gpu`]) blocks of ours and of cuBLASLt alternate in one process, on random data in cold caches. On `cpu` our
//! side alone is timed. `sim` has no times: it counts instructions, and says what the roofline of the profile allows.
//! Every result is checked before its time counts.

mod clocks;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod gpu;

use anyhow::Result;
use clap::ValueEnum;
use ironwarp::device::{Device, DeviceKind, Target};
use ironwarp::ops::matmul::tune::{self, Gate, Operands};
use ironwarp::ops::matmul::{Candidate, Problem, candidates};
use ptx_sim::profile::{Profile, roofline};
use serde_json::{Value, json};

use super::median_seconds;
use crate::cli::args::{DeviceArg, target};
use crate::cli::out;
use crate::cli::products::{Factors, Products, bytes, layouts, peak, peaks};

const EXAMPLES: &str = "\
Examples:
  ironwarp bench gemm --dtype bf16,tf32,fp32 --shapes 4096x4096x4096,8192x8192x8192 --device cuda:0
  ironwarp bench gemm --dtype bf16 --shapes 16x4096x4096,4095x4097x4099 --tb --candidates all --json
  ironwarp bench gemm --dtype e4m3,e4m3-fast --shapes 8192x8192x8192 --tb
  ironwarp bench gemm --dtype fp32 --shapes 64x96x128 --device sim --candidates all
  ironwarp bench gemm --dtype fp32 --shapes 512x512x512 --device cpu

cuBLASLt is loaded if it is there: IRONWARP_LIBCUBLASLT names the library. `bench roofline` draws the JSON.";

/// Shapes where none are given, by device.
const USUAL_CUDA: &str = "4096x4096x4096";
const USUAL_CPU: &str = "512x512x512";
const USUAL_SIM: &str = "128x128x128";
/// Seconds that a product is measured on cpu, about.
const CPU_TIME: f64 = 0.3;
/// Seed of the operands.
const SEED: u64 = 11;

/// Which kernels are measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Every one of the precision.
    All,
    /// The one that the library runs.
    Chosen,
}

/// Matrix products: time, FLOP/s, bytes/s, share of the peak, ratio to cuBLASLt.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How factors are multiplied, and stored: bf16, f16, tf32, fp32, fp32-fast, or types of 8-bit floats: e4m3, e5m2, e4m3xe5m2
    /// (A by B), whose sums are promoted, or with -fast stay in the tensor cores.
    #[arg(
        long,
        visible_alias = "precision",
        value_name = "NAME,..",
        value_delimiter = ',',
        default_value = "bf16"
    )]
    dtype: Vec<Factors>,
    #[command(flatten)]
    products: Products,
    #[command(flatten)]
    device: DeviceArg,
    /// With --device sim, the PTX: sm_80 or sm_90a.
    #[arg(long, value_name = "TARGET", value_parser = target)]
    target: Option<Target>,
    /// Which kernels.
    #[arg(long, value_enum, default_value = "chosen")]
    candidates: Which,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// cuBLASLt's side.
struct Theirs {
    seconds: f64,
    /// The fastest algorithm's place among the heuristics', and how many there were.
    algorithm: (usize, usize),
    /// Our rate over theirs, round by round: lowest, middle, highest.
    ratio: [f64; 3],
}

/// A kernel on a product.
struct Measured {
    /// Seconds of a run: lowest, middle, highest block.
    seconds: [f64; 3],
    theirs: Option<Theirs>,
    clocks: Option<Value>,
}

/// A kernel in the simulator.
struct Simulated {
    instructions: u64,
    gpu: &'static str,
    microseconds: f64,
}

enum Outcome {
    Measured(Measured),
    Simulated(Simulated),
    Rejected(String),
}

/// A line of the result.
struct Row {
    problem: Problem,
    kernel: &'static str,
    chosen: bool,
    outcome: Outcome,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open_profiled(args.target)?;
    let usual = match device.kind() {
        DeviceKind::Cpu => USUAL_CPU,
        DeviceKind::Sim => USUAL_SIM,
        DeviceKind::Cuda(_) => USUAL_CUDA,
    };
    let problems = args.products.problems(&device, &args.dtype, &[usual])?;
    let mut rows = vec![];
    let yardstick = match device.kind() {
        DeviceKind::Cpu => {
            problems.iter().try_for_each(|p| native(&device, p).map(|row| rows.push(row)))?;
            None
        }
        DeviceKind::Sim => {
            for problem in &problems {
                simulate(&device, problem, args.candidates, &mut rows)?;
            }
            None
        }
        #[cfg(any(feature = "cuda", ironwarp_cuda))]
        DeviceKind::Cuda(ordinal) => {
            let bench = gpu::Bench::open(&device, ordinal)?;
            for problem in &problems {
                bench.measure(problem, args.candidates, &mut rows)?;
            }
            Some(bench.yardstick())
        }
        #[cfg(not(any(feature = "cuda", ironwarp_cuda)))]
        DeviceKind::Cuda(_) => {
            anyhow::bail!("this program was built without CUDA; see 'CUDA' in Ironwarp's README")
        }
    };
    if args.json {
        let model = device.model();
        return out::print_json(&json!({
            "command": "bench gemm",
            "device": device.kind().to_string(),
            "model": model.name,
            "peaks": model.gpu().map(|gpu| peaks(&gpu)),
            "yardstick": yardstick,
            "results": rows.iter().map(|row| object(row, &device)).collect::<Vec<_>>(),
        }));
    }
    out::print(&table(&rows, &device))
}

/// The kernels to measure on a problem, and the name of the one that the library runs. Error: there is none.
fn kernels(
    device: &Device,
    problem: &Problem,
    which: Which,
) -> Result<(Vec<&'static Candidate>, &'static str)> {
    let chosen = tune::choose(device, problem)?;
    let all = match which {
        Which::Chosen => vec![chosen],
        Which::All => candidates(device.target()).filter(|c| c.precision == problem.precision).collect(),
    };
    Ok((all, chosen.name))
}

/// Lowest, middle and highest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => [0.0; 3],
        v => [v[0], v[v.len() / 2], v[v.len() - 1]],
    }
}

/// A product on cpu.
fn native(device: &Device, problem: &Problem) -> Result<Row> {
    let mut operands = Operands::new(device, problem, SEED)?;
    let row = |outcome| Row { problem: *problem, kernel: "native", chosen: true, outcome };
    operands.run(None, 0)?;
    if let Err(reason) = Gate::new(&operands).check(&operands.result()?) {
        return Ok(row(Outcome::Rejected(reason)));
    }
    let once = tune::block(&mut operands, None, 1, 0)?;
    let mut blocks = vec![];
    let repeats = ((CPU_TIME / once.max(1e-9)) as usize).clamp(1, 10_000);
    let middle = median_seconds(repeats, |n| {
        blocks.push(tune::block(&mut operands, None, n, 0)?);
        Ok(())
    })?;
    let [low, _, high] = spread(blocks);
    Ok(row(Outcome::Measured(Measured { seconds: [low, middle, high], theirs: None, clocks: None })))
}

/// A product in the simulator.
fn simulate(device: &Device, problem: &Problem, which: Which, rows: &mut Vec<Row>) -> Result<()> {
    let (all, chosen) = kernels(device, problem, which)?;
    let mut operands = Operands::new(device, problem, SEED)?;
    let gate = Gate::new(&operands);
    let gpu = device.target().gpu();
    for candidate in all {
        device.take_profiles();
        let outcome = match tune::admitted(&mut operands, &gate, candidate)? {
            Err(reason) => Outcome::Rejected(reason),
            Ok(()) => {
                let profiles: Vec<Profile> = device.take_profiles();
                Outcome::Simulated(Simulated {
                    instructions: profiles.iter().map(|p| p.warp_instructions).sum(),
                    gpu: gpu.name,
                    microseconds: profiles.iter().map(|p| roofline(p, &gpu, None).microseconds()).sum(),
                })
            }
        };
        rows.push(Row {
            problem: *problem,
            kernel: candidate.name,
            chosen: candidate.name == chosen,
            outcome,
        });
    }
    Ok(())
}

fn object(row: &Row, device: &Device) -> Value {
    let p = &row.problem;
    let (flop, bytes) = (p.flop() as f64, bytes(p) as f64);
    let Value::Object(mut all) = json!({
        "dtype": p.precision.name(), "a": p.a.to_string(), "b": p.b.to_string(), "c": p.c.to_string(),
        "m": p.m, "n": p.n, "k": p.k, "layouts": layouts(p),
        "kernel": row.kernel, "chosen": row.chosen, "flop": flop, "bytes": bytes,
    }) else {
        return Value::Null;
    };
    let mut more = |name: &str, value: Value| drop(all.insert(name.into(), value));
    match &row.outcome {
        Outcome::Measured(m) => {
            let [low, middle, high] = m.seconds;
            more("us", json!(middle * 1e6));
            more("us_spread", json!([low * 1e6, high * 1e6]));
            more("tflops", json!(flop / middle / 1e12));
            more("gb_per_second", json!(bytes / middle / 1e9));
            if let Some(share) = shares(p, middle, device) {
                more("peak_share", json!(share.0));
                more("bandwidth_share", json!(share.1));
            }
            if let Some(t) = &m.theirs {
                let us = t.seconds * 1e6;
                let of = json!({
                    "us": us, "tflops": flop / t.seconds / 1e12, "algorithm": t.algorithm.0,
                    "algorithms": t.algorithm.1, "ratio": t.ratio[1], "ratio_spread": [t.ratio[0], t.ratio[2]],
                });
                more("cublaslt", of);
            }
            if let Some(clocks) = &m.clocks {
                more("clocks", clocks.clone());
            }
        }
        Outcome::Simulated(s) => {
            more("warp_instructions", json!(s.instructions));
            more("estimate", json!({"gpu": s.gpu, "us": s.microseconds}));
        }
        Outcome::Rejected(reason) => more("rejected", json!(reason)),
    }
    Value::Object(all)
}

/// Shares of the peak of arithmetic and of the memory's bandwidth, where the device's are known.
fn shares(p: &Problem, seconds: f64, device: &Device) -> Option<(f64, f64)> {
    let gpu = device.model().gpu()?;
    let share = p.flop() as f64 / seconds / peak(&gpu, p.precision)?;
    Some((share, bytes(p) as f64 / seconds / (gpu.memory_gb_s * 1e9)))
}

fn table(rows: &[Row], device: &Device) -> String {
    let cells = |row: &Row| {
        let p = &row.problem;
        let kernel = if row.chosen { format!("{} *", row.kernel) } else { row.kernel.to_owned() };
        let shape = format!("{}x{}x{}", p.m, p.n, p.k);
        let mut cells = vec![Factors::in_problem(p).to_string(), shape, layouts(p), kernel];
        let figures = match &row.outcome {
            Outcome::Measured(m) => {
                let t = m.seconds[1];
                let percent = |x: Option<f64>| x.map_or(String::new(), |x| format!("{:.1}", 100.0 * x));
                let share = shares(p, t, device);
                let (theirs, ratio) = match &m.theirs {
                    Some(theirs) => {
                        (format!("{:.2}", theirs.seconds * 1e6), format!("{:.3}", theirs.ratio[1]))
                    }
                    None => (String::new(), String::new()),
                };
                vec![
                    format!("{:.2}", t * 1e6),
                    format!("{:.1}", p.flop() as f64 / t / 1e9),
                    format!("{:.1}", bytes(p) as f64 / t / 1e9),
                    percent(share.map(|s| s.0)),
                    theirs,
                    ratio,
                ]
            }
            Outcome::Simulated(s) => {
                let per = p.flop() as f64 / s.instructions.max(1) as f64;
                vec![s.instructions.to_string(), format!("{per:.1}"), format!("{:.2}", s.microseconds)]
            }
            Outcome::Rejected(reason) => vec![reason.clone()],
        };
        cells.extend(figures);
        cells
    };
    let product = ["dtype", "shape", "layouts", "kernel"];
    let gpu = device.target().gpu().name;
    let least = format!("us at least on {gpu}");
    let figures = match device.kind() {
        DeviceKind::Sim => vec!["warp instructions", "FLOP each", &least],
        _ => vec!["us", "GFLOP/s", "GB/s", "% of peak", "cuBLASLt us", "ratio"],
    };
    let (fine, out): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| !matches!(row.outcome, Outcome::Rejected(_)));
    let header: Vec<&str> = product.iter().copied().chain(figures).collect();
    let mut text = String::new();
    if !fine.is_empty() {
        text += &out::table(&header, &fine.into_iter().map(cells).collect::<Vec<_>>(), &[1, 2, 3]);
        text += "* what the library runs\n";
    }
    if !out.is_empty() {
        let header: Vec<&str> = product.into_iter().chain(["out, because"]).collect();
        text += &out::table(&header, &out.into_iter().map(cells).collect::<Vec<_>>(), &[1, 2, 3, 4]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!((spread(vec![3.0, 1.0, 2.0]), spread(vec![])), ([1.0, 2.0, 3.0], [0.0; 3]));
    }
}
