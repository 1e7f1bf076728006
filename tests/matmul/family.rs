//! Every candidate on problems of its precision: shapes of 1, primes and past tiles, all layouts and epilogues.

use std::cell::RefCell;

use crate::common::gpu;
use crate::{Case, same, simulators};
use ironwarp::device::{DType, Device, Target};
use ironwarp::ops::Draw;
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Candidate, Extra, Precision, Problem, Reduce, candidates};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// A problem of this precision, and where its operands begin; where `vector` says so, of a matrix by a vector.
pub(crate) fn draw_problem(d: &mut Draw, precision: Precision, vector: bool) -> (Problem, [usize; 5]) {
    let (mut m, mut n, mut k) = (d.dim(), d.dim(), d.dim());
    if vector {
        *(if d.coin() { &mut m } else { &mut n }) = 1;
        k *= d.pick(&[1, 1, 13]);
    }
    let mut p = Problem::new(m, n, k).transposed(d.coin(), d.coin());
    let factor = precision.factor();
    // f32 holds every type of 16 bits.
    let any = precision == Precision::Fp32 || (vector && factor == DType::F32);
    let types: &[DType] = if precision.is_fp8() {
        &[DType::E4m3, DType::E5m2, DType::E4m3, DType::Bf16, DType::F32, DType::F16]
    } else if any {
        &[factor, factor, DType::Bf16, DType::F16]
    } else {
        &[factor, factor, factor, DType::F32]
    };
    (p.a, p.b) = (d.pick(types), d.pick(types));
    let result = if precision.is_fp8() { DType::Bf16 } else { factor };
    p.c = d.pick(&[DType::F32, result, DType::Bf16, DType::F16]);
    p.precision = precision;
    p.batch = d.pick(&[1, 1, 2, 3]);
    // Rows further apart than they are long: by multiples of 16 bytes and not.
    let gap = |d: &mut Draw| d.pick(&[0, 0, 8, 1, 3]);
    (p.lda, p.ldb, p.ldc) = (p.lda + gap(d), p.ldb + gap(d), p.ldc + gap(d));
    p.ld_extra = n + gap(d);
    p.stride_a = p.stored_a().0 * p.lda + gap(d);
    p.stride_b = if d.below(4) == 3 { 0 } else { p.stored_b().0 * p.ldb + gap(d) };
    p.stride_c = m * p.ldc + gap(d);
    p.stride_extra = m * p.ld_extra;
    p.alpha = d.pick(&[1.0, -0.5, 1.75]);
    p.beta = d.pick(&[0.0, 1.0, -0.375]);
    p.bias = d.coin();
    // Parameters that are not the defaults, and exact.
    p.activation = match d.pick(&Activation::ALL) {
        Activation::LeakyRelu(_) => Activation::LeakyRelu(0.125),
        Activation::Elu(_) => Activation::Elu(0.75),
        other => other,
    };
    p.extra = d.pick(&[Extra::None, Extra::Residual, Extra::Gradient]);
    p.reduce = d.pick(&[Reduce::None, Reduce::Rows, Reduce::Columns]);
    let mut start = || d.pick(&[0, 0, 8, 1, 5]);
    let starts = [start(), start(), start(), start(), start()];
    (p, starts)
}

/// Runs `property` on problems that `candidate` does; a failure names the shrunk problem.
pub(crate) fn for_problems(
    candidate: &Candidate,
    cases: u32,
    property: impl Fn(&Case) -> Result<(), String>,
) -> Result<(), String> {
    let seed = candidate.name.bytes().fold([11u8; 32], |mut s, b| {
        s.rotate_left(3);
        s[0] ^= b;
        s
    });
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let strategy = (proptest::collection::vec(any::<u32>(), 40), any::<u64>());
    let vector = candidate.name.starts_with("gemv");
    let result = runner.run(&strategy, |(choices, seed)| {
        let (mut p, starts) = draw_problem(&mut Draw::new(choices, 170), candidate.precision, vector);
        let done = |p: &Problem| {
            [Target::Sm80, Target::Sm90a].iter().any(|&target| candidate.supports(p, target).is_ok())
        };
        // Some candidates have no sums of C.
        if !done(&p) {
            p.reduce = Reduce::None;
        }
        p.check().map_err(|e| TestCaseError::fail(format!("{p:?}: {e}")))?;
        if !done(&p) {
            return Ok(());
        }
        let case = Case::random(p, starts, seed);
        property(&case).map_err(|e| TestCaseError::fail(format!("{e}\n{p:?} from {starts:?}")))
    });
    result.map_err(|e| format!("{}: {e}", candidate.name))
}

fn sim_agrees(target: Target, cases: u32) {
    let [device, shuffled] = simulators(target);
    let mut failures = vec![];
    for candidate in candidates(target) {
        let done = RefCell::new(0);
        let result = for_problems(candidate, cases, |case| {
            let got = case.check(&device, Some(candidate))?;
            let again = case.run(&shuffled, Some(candidate)).map_err(|e| e.to_string())?;
            *done.borrow_mut() += 1;
            if same(&got, &again) { Ok(()) } else { Err("another order of warps gives other bits".into()) }
        });
        failures.extend(result.err());
        assert!(*done.borrow() > 0 || !failures.is_empty(), "{} did no problem", candidate.name);
    }
    assert!(failures.is_empty(), "{} candidates fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn candidates_agree_with_the_oracle_on_ampere() {
    sim_agrees(Target::Sm80, 12);
}

#[test]
fn candidates_agree_with_the_oracle_on_hopper() {
    sim_agrees(Target::Sm90a, 4);
}

#[test]
fn cpu_agrees_with_the_oracle() {
    let device = Device::cpu();
    let mut seen = vec![];
    for candidate in candidates(Target::Sm80).chain(candidates(Target::Sm90a)) {
        if seen.contains(&candidate.precision) {
            continue;
        }
        seen.push(candidate.precision);
        for_problems(candidate, 24, |case| case.check(&device, None).map(drop))
            .unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(seen.len(), Precision::ALL.len(), "{seen:?}");
}

#[test]
fn cuda_agrees_with_the_oracle() {
    let Some(device) = gpu() else { return };
    for candidate in candidates(device.target()) {
        for_problems(candidate, 64, |case| {
            let got = case.check(&device, Some(candidate))?;
            let again = case.run(&device, Some(candidate)).map_err(|e| e.to_string())?;
            if same(&got, &again) { Ok(()) } else { Err("a second run gives other bits".into()) }
        })
        .unwrap_or_else(|e| panic!("{e}"));
    }
}
