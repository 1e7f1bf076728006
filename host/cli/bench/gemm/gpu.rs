//! The measurement on a GPU.
//!
//! For each kernel, blocks of ours and of cuBLASLt's in turn ([`rounds`](super::rounds)), between two events on the one stream
//! that both use. Both sides rotate through the same copies of random operands, which together are several times the
//! second-level cache. What `nvidia-smi` says of the clocks during the rounds is kept.
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
use super::rounds::{alternate, runs};
use super::{Measured, Outcome, Row, SEED, Theirs, Which, grouped, kernels};
use crate::cli::fail::line;

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
        // Whatever is made once for an operand (a tensor map) is made in the first runs.
        let mut sides = vec![(Side::Ours, operands.copies())];
        sides.extend(plan.map(|_| (Side::Theirs, 2)));
        let mut turn = 0;
        let rounds = alternate(&sides, |side, n| {
            turn += n;
            match (side, plan) {
                (Side::Theirs, Some(plan)) => plan.block(operands, plan.algorithm, n, turn),
                _ => Ok(tune::block(operands, Some(candidate), n, turn)?),
            }
        })?;
        let theirs = plan.map(|plan| Theirs {
            seconds: rounds.seconds(1)[1],
            algorithm: (plan.algorithm, plan.gemm.algorithms()),
            ratio: rounds.ratio(1),
        });
        Ok(Measured { seconds: rounds.seconds(0), theirs, clocks: self.clocks(rounds.began) })
    }

    /// The clocks since then, where they are logged.
    pub fn clocks(&self, began: Instant) -> Option<Value> {
        self.clocks.as_ref().and_then(|clocks| clocks.since(began))
    }

    /// Each of these products by cuBLASLt; `None` where it is not there, or, as is then said, does not do one of them.
    pub fn one_by_one<'a>(
        &'a self,
        problems: &[Problem],
        operands: &mut [Operands],
        gates: &[Gate],
    ) -> Option<grouped::Theirs<'a>> {
        let lt = self.lt.as_ref().ok()?;
        let mut plans: Vec<(Problem, Plan<'a>)> = vec![];
        let mut which = vec![];
        for ((problem, operands), gate) in problems.iter().zip(operands).zip(gates) {
            let known = plans.iter().position(|(p, _)| p == problem);
            which.push(known.unwrap_or(plans.len()));
            if known.is_none() {
                match plan(lt, operands, gate) {
                    Ok(plan) => plans.push((*problem, plan)),
                    Err(error) => {
                        line(&format!("{problem}: no comparison: {error}"));
                        return None;
                    }
                }
            }
        }
        Some(Box::new(move |operands, copy| {
            let mut each = operands.iter().zip(&which);
            each.try_for_each(|(operands, &i)| plans[i].1.run(operands, plans[i].1.algorithm, copy))
        }))
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
        let each = || (from..from + n).try_for_each(|copy| self.run(operands, algorithm, copy));
        Ok(operands.device().seconds(each)? / n as f64)
    }

    /// The product of a copy.
    fn run(&self, operands: &Operands, algorithm: usize, copy: usize) -> Result<()> {
        let (p, at) = (operands.problem(), operands.addresses(copy));
        // SAFETY: the operands are memory of this device of the problem's sizes, dense, apart, and aligned to 256 bytes;
        // whoever frees them does so behind this work on the same stream.
        unsafe { self.gemm.run(algorithm, p.alpha, [at.a, at.b], p.beta, at.c)? };
        Ok(())
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
}
