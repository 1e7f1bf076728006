//! `bench gemm --grouped N`: N products in one launch, beside the same products launched one by one.
//!
//! The shapes are taken in turn until there are N problems, each with operands of its own. A side computes all of them:
//! the group, each product by the kernel that the library chooses for it, and, where cuBLASLt is there, each by its fastest
//! algorithm. On `cuda` and `cpu` blocks of the sides alternate ([`rounds`](super::rounds)) on the same copies of the
//! operands; `sim` counts launches and instructions. The results of both of our sides are checked first.

use std::time::Instant;

use anyhow::{Context, Result};
use ironwarp::device::{Device, DeviceKind};
use ironwarp::ops::matmul::grouped::{self, Group};
use ironwarp::ops::matmul::tune::{self, Gate, Operands, SIM_FLOP};
use ironwarp::ops::matmul::{Candidate, Precision, Problem};
use serde_json::{Value, json};

#[cfg(any(feature = "cuda", ironwarp_cuda))]
use super::gpu;
use super::rounds::alternate;
use super::{Args, SEED};
use crate::cli::fail::usage_error;
use crate::cli::out;
use crate::cli::products::{layouts, peaks};

/// Shapes where none are given.
const USUAL: [&str; 4] = ["64x64x64", "128x64x96", "96x128x64", "32x192x128"];
/// The same in the simulator.
const USUAL_SIM: [&str; 4] = ["16x24x32", "33x16x8", "8x8x64", "40x40x16"];

/// Computes all products by another library, on this copy of their operands.
pub type Theirs<'a> = Box<dyn Fn(&[Operands], usize) -> Result<()> + 'a>;

/// Who computes all products.
#[derive(Clone, Copy)]
enum Side {
    /// The group.
    Together,
    /// One launch after the other.
    Apart,
    /// cuBLASLt, one product after the other.
    Theirs,
}

/// The products, ready to run either way.
struct Members {
    operands: Vec<Operands>,
    gates: Vec<Gate>,
    /// What the library runs each by; none on cpu.
    kernels: Vec<Option<&'static Candidate>>,
    /// The group of each copy.
    groups: Vec<Group>,
}

fn members(operands: &mut [Operands], copy: usize) -> Vec<grouped::Operands<'_>> {
    operands.iter_mut().map(|o| o.member(copy)).collect()
}

impl Members {
    fn new(device: &Device, problems: &[Problem]) -> Result<Members> {
        let mut operands = Operands::group(device, problems, SEED)?;
        let gates = operands.iter().map(Gate::new).collect();
        let kernel = |p| match device.kind() {
            DeviceKind::Cpu => Ok(None),
            _ => tune::choose(device, p).map(Some),
        };
        let kernels = problems.iter().map(kernel).collect::<Result<_, _>>()?;
        let copies = operands.first().map_or(1, Operands::copies);
        let mut group = |copy| Group::new(device, problems, &members(&mut operands, copy));
        let groups = (0..copies).map(&mut group).collect::<Result<_, _>>()?;
        Ok(Members { operands, gates, kernels, groups })
    }

    /// One run on a copy.
    fn run(&mut self, side: Side, copy: usize, theirs: Option<&Theirs<'_>>) -> Result<()> {
        match (side, theirs) {
            (Side::Theirs, Some(theirs)) => theirs(&self.operands, copy),
            (Side::Together, _) => {
                let copy = copy % self.groups.len();
                Ok(self.groups[copy].run(&members(&mut self.operands, copy))?)
            }
            _ => {
                let mut both = self.operands.iter_mut().zip(&self.kernels);
                Ok(both.try_for_each(|(o, kernel)| o.run(*kernel, copy))?)
            }
        }
    }

    /// Runs a side once and checks every result; the launches that it took.
    fn check(&mut self, device: &Device, side: Side) -> Result<u64> {
        self.operands.iter_mut().try_for_each(Operands::restore)?;
        let before = device.stats().launches;
        self.run(side, 0, None)?;
        let launches = device.stats().launches - before;
        for (i, (operands, gate)) in self.operands.iter().zip(&self.gates).enumerate() {
            let checked = gate.check(&operands.result()?).map_err(anyhow::Error::msg);
            checked.with_context(|| format!("problem {i} of the group is wrong"))?;
        }
        Ok(launches)
    }
}

/// What was found; of each pair the group's first.
enum Figures {
    Measured {
        /// Seconds of a run: lowest, middle, highest block.
        seconds: [[f64; 3]; 2],
        /// How many times as fast the group is as its products one by one.
        gain: [f64; 3],
        /// cuBLASLt's seconds, and how many times as fast the group is.
        theirs: Option<([f64; 3], [f64; 3])>,
        clocks: Option<Value>,
    },
    Simulated {
        instructions: [u64; 2],
    },
}

/// A line of the result.
struct Row {
    problems: Vec<Problem>,
    shapes: Vec<String>,
    launches: [u64; 2],
    figures: Figures,
}

pub fn run(args: &Args, device: &Device, count: usize) -> Result<()> {
    let sim = device.kind() == DeviceKind::Sim;
    let usual = if sim { &USUAL_SIM } else { &USUAL };
    #[cfg(any(feature = "cuda", ironwarp_cuda))]
    let bench = match device.kind() {
        DeviceKind::Cuda(ordinal) => Some(gpu::Bench::open(device, ordinal)?),
        _ => None,
    };
    let mut rows = vec![];
    for precision in &args.dtype {
        let shapes = args.products.problems(device, &[*precision], usual)?;
        let problems: Vec<Problem> = shapes.iter().copied().cycle().take(count).collect();
        if sim && flop(&problems) > SIM_FLOP as f64 {
            return Err(usage_error(format!(
                "{count} products are {:.0} operations, too many for the simulator: at most {SIM_FLOP}",
                flop(&problems)
            )));
        }
        let mut all = Members::new(device, &problems)?;
        device.take_profiles();
        let instructions = || device.take_profiles().iter().map(|p| p.warp_instructions).sum();
        let together = (all.check(device, Side::Together)?, instructions());
        let apart = (all.check(device, Side::Apart)?, instructions());
        let figures = if sim {
            Figures::Simulated { instructions: [together.1, apart.1] }
        } else {
            #[cfg(any(feature = "cuda", ironwarp_cuda))]
            {
                let theirs = bench
                    .as_ref()
                    .and_then(|bench| bench.one_by_one(&problems, &mut all.operands, &all.gates));
                let clocks = |began| bench.as_ref().and_then(|bench| bench.clocks(began));
                measure(device, &mut all, theirs, clocks)?
            }
            #[cfg(not(any(feature = "cuda", ironwarp_cuda)))]
            measure(device, &mut all, None, |_| None)?
        };
        let shapes = shapes.iter().map(|p| format!("{}x{}x{}", p.m, p.n, p.k)).collect();
        rows.push(Row { problems, shapes, launches: [together.0, apart.0], figures });
    }
    if args.json {
        let model = device.model();
        return out::print_json(&json!({
            "command": "bench gemm --grouped",
            "device": device.kind().to_string(),
            "model": model.name,
            "peaks": model.gpu().map(|gpu| peaks(&gpu)),
            "results": rows.iter().map(object).collect::<Vec<_>>(),
        }));
    }
    out::print(&table(&rows, sim))
}

/// The rounds of the sides.
fn measure(
    device: &Device,
    all: &mut Members,
    theirs: Option<Theirs<'_>>,
    clocks: impl FnOnce(Instant) -> Option<Value>,
) -> Result<Figures> {
    let copies = all.groups.len();
    let mut sides = vec![(Side::Together, copies), (Side::Apart, copies)];
    sides.extend(theirs.iter().map(|_| (Side::Theirs, 2)));
    let mut turn = 0;
    let rounds = alternate(&sides, |side, n| {
        turn += n;
        let seconds = device.seconds(|| (0..n).try_for_each(|i| all.run(side, turn + i, theirs.as_ref())))?;
        Ok(seconds / n as f64)
    })?;
    Ok(Figures::Measured {
        seconds: [rounds.seconds(0), rounds.seconds(1)],
        gain: rounds.ratio(1),
        theirs: theirs.map(|_| (rounds.seconds(2), rounds.ratio(2))),
        clocks: clocks(rounds.began),
    })
}

/// Floating-point operations of all.
fn flop(problems: &[Problem]) -> f64 {
    problems.iter().map(|p| p.flop() as f64).sum()
}

fn first(row: &Row) -> (Precision, String) {
    row.problems.first().map_or((Precision::Fp32, String::new()), |p| (p.precision, layouts(p)))
}

fn object(row: &Row) -> Value {
    let (precision, layouts) = first(row);
    let mut all = json!({
        "dtype": precision.name(), "problems": row.problems.len(), "shapes": row.shapes, "layouts": layouts,
        "flop": flop(&row.problems), "launches": row.launches[0], "one_by_one": {"launches": row.launches[1]},
    });
    match &row.figures {
        Figures::Measured { seconds: [together, apart], gain, theirs, clocks } => {
            let us = |s: &[f64; 3]| (json!(s[1] * 1e6), json!([s[0] * 1e6, s[2] * 1e6]));
            (all["us"], all["us_spread"]) = us(together);
            all["tflops"] = json!(flop(&row.problems) / together[1] / 1e12);
            let one = &mut all["one_by_one"];
            (one["us"], one["us_spread"]) = us(apart);
            (one["times"], one["times_spread"]) = (json!(gain[1]), json!([gain[0], gain[2]]));
            if let Some((seconds, ratio)) = theirs {
                let (us, spread) = us(seconds);
                all["cublaslt"] = json!({
                    "us": us, "us_spread": spread, "ratio": ratio[1], "ratio_spread": [ratio[0], ratio[2]],
                });
            }
            if let Some(clocks) = clocks {
                all["clocks"] = clocks.clone();
            }
        }
        Figures::Simulated { instructions: [together, apart] } => {
            all["warp_instructions"] = json!(together);
            all["one_by_one"]["warp_instructions"] = json!(apart);
        }
    }
    all
}

fn table(rows: &[Row], sim: bool) -> String {
    let cells = |row: &Row| {
        let (precision, layouts) = first(row);
        let mut cells =
            vec![precision.to_string(), row.problems.len().to_string(), layouts, row.launches[0].to_string()];
        let apart = row.launches[1].to_string();
        cells.extend(match &row.figures {
            Figures::Measured { seconds, gain, theirs, .. } => {
                let us = |s: [f64; 3]| format!("{:.2}", s[1] * 1e6);
                let gflops = flop(&row.problems) / seconds[0][1] / 1e9;
                let (theirs, ratio) =
                    theirs.map_or_else(Default::default, |t| (us(t.0), format!("{:.2}", t.1[1])));
                vec![
                    us(seconds[0]),
                    format!("{gflops:.1}"),
                    apart,
                    us(seconds[1]),
                    format!("{:.2}", gain[1]),
                    theirs,
                    ratio,
                ]
            }
            Figures::Simulated { instructions } => {
                vec![instructions[0].to_string(), apart, instructions[1].to_string()]
            }
        });
        cells
    };
    let group = ["dtype", "products", "layouts", "launches"];
    let figures = if sim {
        &["warp instructions", "one by one: launches", "warp instructions"][..]
    } else {
        &["us", "GFLOP/s", "one by one: launches", "us", "times", "cuBLASLt one by one: us", "times"]
    };
    let header: Vec<&str> = group.iter().chain(figures).copied().collect();
    out::table(&header, &rows.iter().map(cells).collect::<Vec<_>>(), &[2])
}
