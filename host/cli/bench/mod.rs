//! `bench`: time of a training step, of one operation, of matrix products, of training or scoring a population of networks,
//! of a suggestion; samplers and the generator on a table.

mod gemm;
mod generator;
mod mlp;
mod op;
mod population;
mod roofline;
mod score;
mod search;
mod study;
mod suggest;

use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;

use super::report;

const EXAMPLES: &str = "\
Examples:
  ironwarp bench mlp --dims 64,64,10 --batch 64 --steps 2000
  ironwarp bench mlp --dims 784,512,512,10 --batch 1024 --steps 50 --device cuda:0 --json
  ironwarp bench op linear --device cpu
  ironwarp bench gemm --dtype bf16,tf32 --shapes 4096x4096x4096,16x4096x4096 --device cuda:0
  ironwarp bench population --networks 256 --epochs 5
  ironwarp bench score --scores naswot,swap,synflow
  ironwarp bench search --table nasbench201
  ironwarp bench suggest
  ironwarp bench generator --table nasbench201";

/// Measure a training step, an operation, a population or a search.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Mlp(mlp::Args),
    Op(op::Args),
    Gemm(gemm::Args),
    Roofline(roofline::Args),
    Population(population::Args),
    Score(score::Args),
    #[command(hide = true)]
    Study(study::Args),
    Search(search::Args),
    Suggest(suggest::Args),
    Generator(generator::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Mlp(args) => mlp::run(args),
        What::Op(args) => op::run(args),
        What::Gemm(args) => gemm::run(args),
        What::Roofline(args) => roofline::run(args),
        What::Population(args) => population::run(args),
        What::Score(args) => score::run(args),
        What::Study(args) => study::run(args),
        What::Search(args) => search::run(args),
        What::Suggest(args) => suggest::run(args),
        What::Generator(args) => generator::run(args),
    }
}

/// Blocks that a measurement is divided into; the median block counts.
const BLOCKS: usize = 7;

/// Runs `body(n)` (n repetitions, waited for) for [`BLOCKS`] blocks that make `total` together, fewer where `total` is; the
/// median seconds of one repetition.
fn median_seconds(total: usize, mut body: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let each = total.div_ceil(BLOCKS).max(1);
    let mut times = vec![];
    let mut left = total.max(1);
    while left > 0 {
        let n = each.min(left);
        let began = Instant::now();
        body(n)?;
        times.push(began.elapsed().as_secs_f64() / n as f64);
        left -= n;
    }
    Ok(report::median(times))
}

/// Numbers for benchmarks: SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        (self.bits() % u64::from(n.max(1))) as u32
    }

    /// Uniform in [lo, hi).
    pub(super) fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * ((self.bits() >> 40) as f32 / (1u32 << 24) as f32)
    }
}
