//! Groups of products: against the f64 oracle, with the bits of each product alone, in as few launches as promised.

use crate::common::gpu;
use crate::family::draw_problem;
use crate::{Case, Memory, assert_least_traffic, assert_lint_clean, same, simulators};
use ironwarp::device::{BUILTIN, DType, Device, SimOptions, Target};
use ironwarp::ops::Draw;
use ironwarp::ops::matmul::grouped::{self, Group, GroupError, Operands};
use ironwarp::ops::matmul::{Candidate, MatmulError, Name, Operand, OperandMut, Precision, Problem, Reduce};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The Cs of the cases after a group of them ran.
fn run(device: &Device, cases: &[Case], by: Option<&Candidate>) -> Result<Vec<Vec<f64>>, String> {
    let text = |e: GroupError| e.to_string();
    let memory: Result<Vec<_>, _> = cases.iter().map(|c| c.memory(device)).collect();
    let mut memory = memory.map_err(|e| e.to_string())?;
    let problems: Vec<Problem> = cases.iter().map(|c| c.problem).collect();
    let operands = operands(cases, &mut memory);
    let group = match by {
        Some(candidate) => Group::by(candidate, device, &problems, &operands),
        None => Group::new(device, &problems, &operands),
    };
    let group = group.map_err(text)?;
    group.run(&operands).map_err(text)?;
    cases.iter().zip(&memory).map(|(c, m)| c.result(m).map_err(|e| e.to_string())).collect()
}

fn operands<'a>(cases: &[Case], memory: &'a mut [Vec<Memory>]) -> Vec<Operands<'a>> {
    cases.iter().zip(memory).map(|(case, memory)| case.operands(memory)).collect()
}

/// Those that groups have kernels for.
fn precisions() -> impl Iterator<Item = Precision> {
    let all: Vec<Precision> =
        Precision::ALL.into_iter().filter(|p| !grouped::candidates(*p).is_empty()).collect();
    assert_eq!(all.len(), 5, "{all:?}");
    all.into_iter()
}

/// Runs `property` on random groups of 1 to 20 problems.
fn for_groups(precision: Precision, count: u32, property: impl Fn(&[Case], usize) -> Result<(), String>) {
    let count = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(count);
    let config = Config { failure_persistence: None, ..Config::with_cases(count) };
    let seed = [precision as u8 + 31; 32];
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let member = (proptest::collection::vec(any::<u32>(), 40), any::<u64>());
    let strategy = (proptest::collection::vec(member, 1..=20), 0..3usize);
    let result = runner.run(&strategy, |(members, which)| {
        // Short enough that the kernels for one product do not split K.
        let draw = |(choices, seed)| {
            let (problem, starts) = draw_problem(&mut Draw::new(choices, 110), precision, false);
            Case::random(Problem { reduce: Reduce::None, ..problem }, starts, seed)
        };
        let cases: Vec<Case> = members.into_iter().map(draw).collect();
        let problems: Vec<String> = cases.iter().map(|c| format!("{:?}", c.problem)).collect();
        property(&cases, which)
            .map_err(|e| TestCaseError::fail(format!("{e}\nin a group of\n{}", problems.join("\n"))))
    });
    result.unwrap_or_else(|e| panic!("{precision}: {e}"));
}

/// That every C of a group is right.
fn compare(cases: &[Case], results: &[Vec<f64>]) -> Result<(), String> {
    let check = |(i, (case, got)): (usize, (&Case, &Vec<f64>))| {
        case.compare(got).map_err(|e| format!("problem {i}: {e}"))
    };
    cases.iter().zip(results).enumerate().try_for_each(check)
}

fn sim_agrees(target: Target, count: u32) {
    let [device, shuffled] = simulators(target);
    for precision in precisions() {
        for_groups(precision, count, |cases, which| {
            let candidate = grouped::candidates(precision).get(which).copied();
            let got = run(&device, cases, candidate)?;
            compare(cases, &got)?;
            let again = run(&shuffled, cases, candidate)?;
            for (i, (case, got)) in cases.iter().zip(&got).enumerate() {
                if !same(got, &again[i]) {
                    return Err(format!("problem {i} has other bits in another order of warps"));
                }
                let Some(candidate) = candidate else { continue };
                let alone = case.run(&device, Some(candidate)).map_err(|e| e.to_string())?;
                if !same(got, &alone) {
                    return Err(format!("problem {i} has other bits than {} alone", candidate.name));
                }
            }
            Ok(())
        });
    }
}

#[test]
fn groups_agree_with_the_oracle_on_ampere() {
    sim_agrees(Target::Sm80, 2);
}

#[test]
fn groups_agree_with_the_oracle_on_hopper() {
    sim_agrees(Target::Sm90a, 1);
}

#[test]
fn cpu_agrees_with_the_oracle() {
    for precision in Precision::ALL {
        for_groups(precision, 3, |cases, _| compare(cases, &run(&Device::cpu(), cases, None)?));
    }
}

#[test]
fn cuda_agrees_with_the_oracle() {
    let Some(device) = gpu() else { return };
    for precision in precisions() {
        for_groups(precision, 64, |cases, which| {
            let candidate = grouped::candidates(precision).get(which).copied();
            let got = run(&device, cases, candidate)?;
            compare(cases, &got)?;
            let again = run(&device, cases, candidate)?;
            let other = got.iter().zip(&again).position(|(x, y)| !same(x, y));
            other.map_or(Ok(()), |i| Err(format!("problem {i} has other bits in a second run")))
        });
    }
}

fn bf16(m: usize, n: usize, k: usize) -> Problem {
    Problem::new(m, n, k).operands(DType::Bf16, DType::Bf16, DType::F32)
}

/// Problems of many tiles each, of long sums, and of all layouts.
fn large(precision: Precision) -> Vec<Case> {
    let factor = precision.factor();
    let shapes = [(150, 70, 33, 0), (70, 200, 24, 1), (64, 130, 40, 2), (130, 130, 1, 3), (1, 1, 400, 0)];
    let case = |(i, (m, n, k, t)): (usize, (usize, usize, usize, u32))| {
        let p = Problem::new(m, n, k).transposed(t & 1 != 0, t & 2 != 0);
        Case::random(p.operands(factor, factor, DType::F32).precision(precision), [0; 5], i as u64)
    };
    shapes.into_iter().enumerate().map(case).collect()
}

#[test]
fn a_product_has_its_bits_whatever_the_group() {
    let device = Device::sim();
    for precision in precisions() {
        let cases = large(precision);
        for candidate in grouped::candidates(precision) {
            let together = run(&device, &cases, Some(candidate)).expect("runs");
            compare(&cases, &together).unwrap_or_else(|e| panic!("{}: {e}", candidate.name));
            for (case, together) in cases.iter().zip(&together) {
                let alone = run(&device, std::slice::from_ref(case), Some(candidate)).expect("runs");
                assert!(same(together, &alone[0]), "{}: {}", candidate.name, case.problem);
            }
        }
    }
}

#[test]
fn a_group_is_a_launch_a_tile_and_allocates_once() {
    let device = Device::sim();
    let layouts = [(false, false), (true, false), (false, true), (true, true)];
    let small = layouts.map(|(ta, tb)| bf16(40, 24, 16).transposed(ta, tb));
    // As many large tiles as fill a GPU: the large products have a launch of their own.
    let many = bf16(65, 72, 8).batched(132);
    // An operand that begins off 16 bytes is packed first.
    let [plain, odd] = [[0; 5], [1, 0, 0, 0, 0]];
    let small: Vec<_> = small.iter().map(|p| (*p, plain)).collect();
    let with = |more: &[(Problem, [usize; 5])]| [&small, more].concat();
    let groups = [
        (vec![], 0),
        (with(&[]), 1),
        (with(&[(bf16(65, 72, 8), plain)]), 1),
        (with(&[(many, plain)]), 2),
        (with(&[(many, plain), (bf16(5, 6, 7), odd)]), 3),
    ];
    for (members, launches) in groups {
        let cases: Vec<Case> = members.iter().map(|(p, starts)| Case::random(*p, *starts, 3)).collect();
        let problems: Vec<Problem> = members.iter().map(|m| m.0).collect();
        let mut memory: Vec<_> = cases.iter().map(|c| c.memory(&device).expect("fits")).collect();
        let operands = operands(&cases, &mut memory);
        let group = Group::new(&device, &problems, &operands).expect("is a group");
        assert_eq!(group.launches(), launches);
        for _ in 0..2 {
            let before = device.stats();
            group.run(&operands).expect("runs");
            let after = device.stats();
            assert_eq!(after.launches - before.launches, launches as u64);
            assert_eq!((after.allocations, after.bytes_in_use), (before.allocations, before.bytes_in_use));
        }
        for (case, memory) in cases.iter().zip(&memory) {
            case.compare(&case.result(memory).expect("reads")).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn shared_operands_are_packed_once_and_c_may_be_one_buffer() {
    let device = Device::sim();
    // tf32 wants B K-major: it is packed, for both problems together.
    let problem = Problem::new(3, 40, 20).precision(Precision::Tf32);
    let case = Case::random(Problem { stride_b: 0, ..problem.batched(2) }, [0; 5], 8);
    let values = |range: std::ops::Range<usize>| {
        let data: Vec<f32> = case.data[0][range].iter().map(|&x| x as f32).collect();
        device.buffer(&data).expect("fits")
    };
    let (first, second) = (values(0..60), values(60..120));
    let b: Vec<f32> = case.data[1].iter().map(|&x| x as f32).collect();
    let b = device.buffer(&b).expect("fits");
    let mut c = device.alloc::<f32>(240).expect("fits");
    let (upper, lower) = OperandMut::from(&mut c).split_at(120);
    let operands = [Operands::new(&first, &b, upper), Operands::new(&second, &b, lower)];
    let group = Group::new(&device, &[problem; 2], &operands).expect("is a group");
    let alone = Group::new(&device, &[problem], &operands[..1]).expect("is a group");
    // A second product costs its words and that of its tile, and no copy.
    assert_eq!((group.launches(), group.bytes() - alone.bytes()), (2, 8 * (16 + 1)));
    group.run(&operands).expect("runs");
    let got: Vec<f64> = c.to_vec().expect("reads").iter().map(|&x| f64::from(x)).collect();
    case.compare(&got).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn groups_move_no_byte_twice() {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    let transposed = [(false, true), (false, false), (true, false), (true, true)];
    for (precision, layouts) in [(Precision::Bf16, 4), (Precision::Tf32, 1), (Precision::Fp32, 1)] {
        let factor = precision.factor();
        let case = |&(ta, tb): &(bool, bool)| {
            let p = Problem::new(64, 64, 32).transposed(ta, tb).operands(factor, factor, DType::F32);
            Case::random(p.precision(precision), [0; 5], 9)
        };
        let cases: Vec<Case> = transposed[..layouts].iter().map(case).collect();
        run(&device, &cases, None).expect("runs");
        let profiles = device.take_profiles();
        assert_eq!(profiles.len(), 1, "{precision}: one launch");
        let p = &profiles[0];
        if precision == Precision::Fp32 {
            // Its panels meet a few bank conflicts, as those of one product do.
            assert_eq!((p.local.requests, p.global.loads.sectors), (0, p.global.loads.ideal_sectors), "{p}");
        } else {
            assert_least_traffic(p, &p.kernel);
        }
    }
}

#[test]
fn what_is_wrong_names_its_place() {
    let device = Device::sim();
    let (a, halves) = (device.buffer(&[1f32; 16]).unwrap(), device.buffer(&[half::bf16::ONE; 16]).unwrap());
    let (mut c, mut d) = (device.alloc::<f32>(16).unwrap(), device.alloc::<f32>(16).unwrap());
    let p = Problem::new(4, 4, 4);
    let with = |second: Operands<'_>, problem: Problem, c: &mut _| {
        Group::new(&device, &[p, problem], &[Operands::new(&a, &a, c), second]).map(|_| ()).unwrap_err()
    };
    let mut error = |problem: Problem| with(Operands::new(&a, &a, &mut d), problem, &mut c);
    let broken = [
        (Problem { m: 0, ..p }, "M is 0"),
        (Problem { lda: 3, ..p }, "A: the leading dimension is 3"),
        (Problem { stride_b: usize::MAX / 8, ..p.batched(100) }, "B of 4 rows of 4 elements, 100 times"),
        (Problem::new(4, 5, 4), "B has 16 elements, 20 are needed"),
        (Problem { bias: true, ..p }, "the bias is missing"),
        (Problem { k: 4, precision: Precision::Bf16, a: DType::Bf16, b: DType::Bf16, ..p }, "A holds f32"),
    ];
    for (problem, text) in broken {
        let e = error(problem);
        assert!(matches!(e, GroupError::Member { index: 1, .. }), "{e}");
        assert!(e.to_string().starts_with("problem 1 of the group") && e.to_string().contains(text), "{e}");
    }
    let e = error(p.precision(Precision::Tf32));
    let (got, expected) = (Precision::Tf32, Precision::Fp32);
    assert!(
        matches!(e, GroupError::Precision { index: 1, got: g, expected: e } if (g, e) == (got, expected))
    );
    let summed = Problem { reduce: Reduce::Rows, ..p };
    let mut sums = device.alloc::<f32>(4).unwrap();
    let mut operands = Operands::new(&a, &a, &mut c);
    operands.epilogue.sums = Some((&mut sums).into());
    let e = Group::new(&device, &[summed], &[operands]).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("C is not summed in a group"), "{e}");
    // A type that no kernel multiplies.
    let mixed = bf16(4, 4, 4).precision(Precision::F16);
    let group = Group::new(&device, &[mixed], &[Operands::new(&halves, &halves, &mut c)]).map(|_| ());
    let e = group.unwrap_err();
    assert!(
        matches!(&e, GroupError::Member { index: 0, source: MatmulError::Unsupported { .. } })
            && e.to_string().contains("mma_f16"),
        "{e}"
    );
    let wrong = grouped::candidates(Precision::Bf16)[0];
    let e = Group::by(wrong, &device, &[p], &[Operands::new(&a, &a, &mut c)]).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("mma_bf16_128x128: has no kernel for groups"), "{e}");

    let e = Group::new(&device, &[p; 2], &[Operands::new(&a, &a, &mut c)]).map(|_| ()).unwrap_err();
    assert!(matches!(e, GroupError::Count { problems: 2, operands: 1 }), "{e}");
    for device in [&device, &Device::cpu()] {
        let (a, mut c) = (device.buffer(&[1f32; 32]).unwrap(), device.alloc::<f32>(16).unwrap());
        let mut other = device.alloc::<f32>(16).unwrap();
        let group = Group::new(device, &[p], &[Operands::new(&a, &a, &mut c)]).unwrap();
        let e = group.run(&[Operands::new(&a, &a, &mut other)]).unwrap_err();
        assert!(matches!(e, GroupError::Moved { index: 0, name: Name::C }), "{e}");
        let e = group.run(&[Operands::new(&a, Operand::new(&a, 1), &mut c)]).unwrap_err();
        assert!(matches!(e, GroupError::Moved { index: 0, name: Name::B }), "{e}");
        let e = group.run(&[]).unwrap_err();
        assert!(matches!(e, GroupError::Count { problems: 1, operands: 0 }), "{e}");
        group.run(&[Operands::new(&a, &a, &mut c)]).unwrap();
        assert_eq!(c.to_vec().unwrap(), [4.0; 16]);
    }
}

#[test]
fn kernels_are_clean() {
    for ptx in [BUILTIN.sm_80, BUILTIN.sm_90a] {
        let module = ptx_sim::Module::parse(ptx).expect("the shipped PTX parses");
        for name in grouped::KERNELS {
            assert!(module.kernel(name).is_some(), "{name} is not in the PTX");
        }
        assert_lint_clean(&module, grouped::KERNELS);
    }
}
