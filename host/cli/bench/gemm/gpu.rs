//! The measurement on a GPU.
//!
//! For each kernel, [`ROUNDS`] rounds of a block of ours and a block of cuBLASLt's, in turn first and second, each about
//! [`BLOCK`] long and between two events on the one stream that both use. The median block counts; the ratio is the median of
//! the rounds' ratios. Both sides rotate through the same copies of random operands, which together are several times
//! the second-level cache. Before the rounds both run for [`WARM`] seconds, so that the clocks have settled; what
//! `nvidia-smi` says of them during the rounds is kept.
//!
//! cuBLASLt runs the fastest, by a block each, of the algorithms that its heuristics name, with a workspace of 32 MiB. Its
//! product must pass the gate too. The yardstick of fp32's accuracy from tensor cores is its fp32. Of 8-bit floats it multiplies
//! operands whose K is contiguous alone, and not e5m2 by e5m2; there is no comparison elsewhere.

use std::time::Instant;

use anyhow::Result;
use ironwarp::device::cuda::CudaContext;
use ironwarp::device::cuda::cublaslt::{Compute, CublasGemm, CublasLt, CublasLtError, CublasProblem, Type};
use ironwarp::device::{DType, Device};
use ironwarp::ops::matmul::tune::{self, Gate, Operands};
use ironwarp::ops::matmul::{Candidate, Precision, Problem};
use serde_json::{Value, json};

use super::clocks::Clocks;
use super::{Measured, Outcome, Row, SEED, Theirs, Which, kernels, spread};
use crate::cli::fail::line;

/// Rounds.
const ROUNDS: usize = 15;
/// Seconds of a block, about.
const BLOCK: f64 = 10e-3;
/// Runs of a block: at least, at most.
const RUNS: (usize, usize) = (2, 2000);
/// Seconds of work before the rounds.
const WARM: f64 = 0.2;

/// What the products of one run of the command share.
pub struct Bench {
    device: Device,
    lt: Result<CublasLt, CublasLtError>,
    clocks: Option<Clocks>,
}

/// A product by cuBLASLt.
struct Plan<'a> {
    gemm: CublasGemm<'a>,
    algorithm: usize,
}

/// Whose block it is.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

fn runs(once: f64) -> usize {
    ((BLOCK / once.max(1e-9)).ceil() as usize).clamp(RUNS.0, RUNS.1)
}

/// The product as cuBLASLt is asked for it.
fn asked(p: &Problem) -> CublasProblem {
    let ty = |t: DType| match t {
        DType::Bf16 => Type::Bf16,
        DType::F16 => Type::F16,
        DType::E4m3 => Type::E4m3,
        DType::E5m2 => Type::E5m2,
        DType::F32 | DType::U32 => Type::F32,
    };
    let compute = if p.precision == Precision::Tf32 { Compute::Tf32 } else { Compute::F32 };
    let (a, b, c) = (ty(p.a), ty(p.b), ty(p.c));
    let fast = p.precision == Precision::Fp8Fast;
    CublasProblem { m: p.m, n: p.n, k: p.k, batch: p.batch, ta: p.ta, tb: p.tb, a, b, c, compute, fast }
}

impl Bench {
    /// Loads cuBLASLt, if it is there, and starts to watch the clocks, if that is possible; says once what is not.
    pub fn open(device: &Device, ordinal: usize) -> Result<Bench> {
        // The device's own: there is one context for a device in a process.
        let lt = CublasLt::new(&CudaContext::new(ordinal)?);
        if let Err(error) = &lt {
            line(&format!("{error}; our side is measured alone"));
        }
        let clocks = Clocks::start(ordinal);
        if clocks.is_none() {
            line("clocks are not logged: nvidia-smi is not there or does not answer");
        }
        Ok(Bench { device: device.clone(), lt, clocks })
    }

    /// What ours is held against, for the result.
    pub fn yardstick(&self) -> Value {
        match &self.lt {
            Ok(_) => json!({"library": "cuBLASLt"}),
            Err(error) => json!({"library": null, "reason": error.to_string()}),
        }
    }

    /// Measures kernels on a problem.
    pub fn measure(&self, problem: &Problem, which: Which, rows: &mut Vec<Row>) -> Result<()> {
        let (all, chosen) = kernels(&self.device, problem, which)?;
        let mut operands = Operands::new(&self.device, problem, SEED)?;
        let gate = Gate::new(&operands);
        let plan = match &self.lt {
            Ok(lt) => match plan(lt, &mut operands, &gate) {
                Ok(plan) => Some(plan),
                Err(error) => {
                    line(&format!("{problem}: no comparison: {error}"));
                    None
                }
            },
            Err(_) => None,
        };
        for candidate in all {
            let outcome = match tune::admitted(&mut operands, &gate, candidate)? {
                Err(reason) => Outcome::Rejected(reason),
                Ok(()) => Outcome::Measured(self.alternate(&mut operands, candidate, plan.as_ref())?),
            };
            let chosen = candidate.name == chosen;
            rows.push(Row { problem: *problem, kernel: candidate.name, chosen, outcome });
        }
        Ok(())
    }

    /// The rounds of one kernel.
    fn alternate(
        &self,
        operands: &mut Operands,
        candidate: &Candidate,
        plan: Option<&Plan<'_>>,
    ) -> Result<Measured> {
        let (mut turn, copies) = (0, operands.copies());
        let mut block = |side: Side, n: usize| -> Result<f64> {
            turn += n;
            match (side, plan) {
                (Side::Theirs, Some(plan)) => plan.block(operands, plan.algorithm, n, turn),
                _ => Ok(tune::block(operands, Some(candidate), n, turn)?),
            }
        };
        // Whatever is made once for an operand (a tensor map) is made here.
        block(Side::Ours, copies)?;
        let ours = runs(block(Side::Ours, 3)?);
        let theirs = match plan {
            Some(_) => {
                block(Side::Theirs, 2)?;
                runs(block(Side::Theirs, 3)?)
            }
            None => 0,
        };
        let sides = if plan.is_some() {
            &[(Side::Ours, ours), (Side::Theirs, theirs)][..]
        } else {
            &[(Side::Ours, ours)]
        };
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < WARM {
            sides.iter().try_for_each(|(side, n)| block(*side, *n).map(drop))?;
        }
        let began = Instant::now();
        let (mut our_times, mut their_times) = (vec![], vec![]);
        for round in 0..ROUNDS {
            let mut order = sides.to_vec();
            if round % 2 == 1 {
                order.reverse();
            }
            for (side, n) in order {
                let times = match side {
                    Side::Ours => &mut our_times,
                    Side::Theirs => &mut their_times,
                };
                times.push(block(side, n)?);
            }
        }
        let ratios: Vec<f64> = their_times.iter().zip(&our_times).map(|(t, o)| t / o).collect();
        let theirs = plan.map(|plan| Theirs {
            seconds: spread(their_times)[1],
            algorithm: (plan.algorithm, plan.gemm.algorithms()),
            ratio: spread(ratios),
        });
        let clocks = self.clocks.as_ref().and_then(|clocks| clocks.since(began));
        Ok(Measured { seconds: spread(our_times), theirs, clocks })
    }
}

/// cuBLASLt's fastest algorithm for the product of these operands. Errors: it has none; its result is wrong.
fn plan<'a>(lt: &'a CublasLt, operands: &mut Operands, gate: &Gate) -> Result<Plan<'a>> {
    let mut plan = Plan { gemm: lt.plan(&asked(operands.problem()))?, algorithm: 0 };
    let mut best = f64::INFINITY;
    for algorithm in 0..plan.gemm.algorithms() {
        // An algorithm that the library names and then refuses is none.
        let Ok(once) = plan.block(operands, algorithm, 2, 0) else { continue };
        let seconds = plan.block(operands, algorithm, runs(once), 2)?;
        if seconds < best {
            (plan.algorithm, best) = (algorithm, seconds);
        }
    }
    anyhow::ensure!(best.is_finite(), "cuBLASLt refuses every algorithm that it names");
    operands.restore()?;
    plan.block(operands, plan.algorithm, 1, 0)?;
    if let Err(reason) = gate.check(&operands.result()?) {
        anyhow::bail!("cuBLASLt's result is off: {reason}");
    }
    Ok(plan)
}

impl Plan<'_> {
    /// Seconds of a run in a block of `n`, the operands rotating from copy `from` on.
    fn block(&self, operands: &Operands, algorithm: usize, n: usize, from: usize) -> Result<f64> {
        let p = *operands.problem();
        let seconds = operands.device().seconds(|| -> Result<()> {
            for i in 0..n {
                let at = operands.addresses(from + i);
                // SAFETY: the operands are memory of this device of the problem's sizes, dense, apart, and aligned to 256
                // bytes; whoever frees them does so behind this work on the same stream.
                unsafe { self.gemm.run(algorithm, p.alpha, [at.a, at.b], p.beta, at.c)? };
            }
            Ok(())
        })?;
        Ok(seconds / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cublaslt_is_asked_for() {
        let p = Problem::new(3, 4, 5).transposed(false, true);
        let bf16 = asked(&p.operands(DType::Bf16, DType::Bf16, DType::F32));
        assert_eq!((bf16.a, bf16.b, bf16.c, bf16.compute), (Type::Bf16, Type::Bf16, Type::F32, Compute::F32));
        assert_eq!((bf16.m, bf16.n, bf16.k, bf16.ta, bf16.tb), (3, 4, 5, false, true));
        assert_eq!(asked(&p.precision(Precision::Tf32)).compute, Compute::Tf32);
        assert_eq!(asked(&p.precision(Precision::Fp32Fast)).compute, Compute::F32);
        let fp8 = asked(&p.operands(DType::E4m3, DType::E5m2, DType::Bf16));
        assert_eq!((fp8.a, fp8.b, fp8.c, fp8.fast), (Type::E4m3, Type::E5m2, Type::Bf16, false));
        assert!(asked(&p.precision(Precision::Fp8Fast)).fast);
    }

    #[test]
    fn blocks_have_about_the_same_length() {
        assert_eq!((runs(1e-3), runs(1.0), runs(0.0)), (10, RUNS.0, RUNS.1));
    }
}
