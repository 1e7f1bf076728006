//! `bench mlp`: a whole training step (gather, forward, cross-entropy, backward, optimiser) on random data that lives on the
//! device, without metrics.

use anyhow::Result;
use ironwarp::data::permutation;
use ironwarp::graph::{Executor, Plan, States, on_workers};
use ironwarp::nn;
use ironwarp::ops::TensorType;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::Precision;
use ironwarp::train::{Loss, Options, TrainError, step};
use serde_json::json;

use super::{Random, median_seconds};
use crate::cli::args::{DeviceArg, Widths, widths};
use crate::cli::fail::usage_error;
use crate::cli::out;
use crate::cli::train::OptimizerArg;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench mlp --dims 64,64,10 --batch 64 --steps 2000
  ironwarp bench mlp --dims 784,512,512,10 --batch 128 --steps 200 --device cpu --json";

/// Minibatches in the data, so that the gather has something to do.
const EPOCH: usize = 16;

/// Time of a training step of a multi-layer perceptron.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Widths from the input to the output.
    #[arg(long, value_name = "N,N,...", default_value = "64,64,10", value_parser = widths)]
    dims: Widths,
    /// Rows of a minibatch.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Steps that are timed.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: usize,
    /// Optimiser.
    #[arg(long, value_enum, default_value_t = OptimizerArg::Adam)]
    optimizer: OptimizerArg,
    /// How the factors of matrix products are rounded: fp32, tf32, bf16, f16 or fp32-fast.
    #[arg(long, value_name = "NAME", default_value = "fp32", value_parser = Precision::for_training)]
    precision: Precision,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let dims = &args.dims.0;
    let [inputs, hidden @ .., outputs] = dims.as_slice() else {
        return Err(usage_error("--dims needs at least the input and the output width, as in 64,64,10"));
    };
    for (option, value) in [("--batch", args.batch), ("--steps", args.steps)] {
        if value == 0 {
            return Err(usage_error(format!("{option} is 0: give at least 1")));
        }
    }
    let net = nn::mlp(*inputs, hidden, Activation::Relu, *outputs);
    net.validate()?;
    let rows = args.batch.checked_mul(EPOCH).filter(|rows| {
        let widest = dims.iter().max().copied().unwrap_or(1);
        rows.checked_mul(widest).is_some_and(|n| u32::try_from(n).is_ok())
    });
    let rows =
        rows.ok_or_else(|| usage_error(format!("--batch {} is too large for these --dims", args.batch)))?;
    let device = args.device.open()?;
    let optimizer = args.optimizer.build(None, None)?;
    let options = Options { optimizer, seed: 1, precision: args.precision, ..Options::default() };
    let loss = Loss::CrossEntropy { smoothing: 0.0 };

    let states = States::new(&device);
    let init = net.init_graph(options.seed).and_then(|graph| Plan::new(&graph)).map_err(TrainError::from)?;
    Executor::new(&init, &states)?.run()?;
    step::start_scaler(&states, &options)?;
    let mut random = Random(7);
    let x: Vec<f32> = (0..rows * inputs).map(|_| random.range(-1.0, 1.0)).collect();
    let y: Vec<u32> = (0..rows).map(|_| random.below(*outputs as u32)).collect();
    states.write("train.x", &TensorType::f32([rows, *inputs]), &x)?;
    states.write("train.y", &TensorType::u32([rows]), &y)?;
    states.write("train.order", &TensorType::u32([rows]), &permutation(rows, options.seed, 0))?;

    let graph =
        step::training_step(&net, &options, loss, rows, args.batch, false).map_err(TrainError::from)?;
    let plan = Plan::new(&graph.fuse()).map_err(TrainError::from)?;
    let summary = plan.summary();
    let mut exec = Executor::new(&plan, &states)?;
    let (hyper, input, output) = (exec.input("hyper")?, exec.input("step")?, exec.output("loss")?);
    let mut done = 0u64;
    let mut value = [0f32];
    let mut run = |n: usize| -> Result<()> {
        for _ in 0..n {
            exec.write(hyper, &options.optimizer.hyper(done + 1, 1e-3))?;
            let offset = (done % EPOCH as u64) as u32 * args.batch as u32;
            exec.write(input, &[done as u32, (done >> 32) as u32, offset, 0])?;
            exec.run()?;
            done += 1;
        }
        // Waits for the device.
        exec.read(output, &mut value)?;
        Ok(())
    };
    let seconds = on_workers(|| {
        run((args.steps / 5).clamp(3, 5000))?;
        median_seconds(args.steps, &mut run)
    })?;
    let rate = args.batch as f64 / seconds;
    let gflops = summary.flop as f64 / seconds / 1e9;
    if args.json {
        return out::print_json(&json!({
            "command": "bench mlp",
            "device": device.kind().to_string(),
            "dims": dims,
            "batch": args.batch,
            "steps": args.steps,
            "optimizer": options.optimizer.name(),
            "precision": options.precision,
            "parameters": net.parameter_count(),
            "samples_per_second": rate,
            "us_per_step": seconds * 1e6,
            "gflops": gflops,
            "flop_per_step": summary.flop,
            "bytes_per_step": summary.bytes,
            "peak_bytes": summary.peak_bytes(),
        }));
    }
    let widths: Vec<String> = dims.iter().map(usize::to_string).collect();
    out::print(&format!(
        "{} batch {} {} {} on {}: {:.1} us a step, {} samples/s, {gflops:.2} GFLOP/s\n{summary}\n",
        widths.join("-"),
        args.batch,
        options.optimizer,
        options.precision,
        device.kind(),
        seconds * 1e6,
        out::grouped(rate as u64),
    ))
}
