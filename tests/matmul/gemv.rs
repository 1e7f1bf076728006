//! What the kernels for a matrix by a vector promise beyond correct results: memory traffic, split K, the choice, lint.

use crate::{Case, assert_least_traffic, assert_lint_clean, candidate, same};
use ironwarp::device::{BUILTIN, DType, Device, SimOptions, Target};
use ironwarp::ops::matmul::{Extra, Problem, choose, gemv};

/// Both layouts of the matrix, as either operand: whether K is contiguous, and the problem.
fn layouts(outputs: usize, k: usize) -> [(bool, Problem); 4] {
    let (column, row) = (Problem::new(outputs, 1, k), Problem::new(1, outputs, k));
    [
        (true, column),
        (false, column.transposed(true, false)),
        (true, row.transposed(false, true)),
        (false, row),
    ]
}

#[test]
fn every_byte_of_an_aligned_matrix_is_read_once() {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    // Whole blocks of outputs; and K past what a block keeps of the vector.
    let all = [
        ("gemv_fp32", DType::F32, 288, 96, 4),
        ("gemv_fp32", DType::F32, 16, 2112, 2),
        ("gemv_bf16", DType::Bf16, 64, 192, 2),
        ("gemv_f16", DType::F16, 64, 192, 2),
    ];
    for (name, of, outputs, k, some) in all {
        let c = candidate(name);
        for (rows, p) in layouts(outputs, k).into_iter().take(some) {
            let p = Problem { precision: c.precision, ..p.operands(of, of, of) };
            Case::random(p, [0; 5], 3).check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
            let profiles = device.take_profiles();
            let profile = &profiles[0];
            let what = format!("{name} of {p} in blocks {:?}: {profile}", profile.grid);
            assert_eq!(profile.kernel, if rows { "gemv_rows" } else { "gemv_columns" }, "{what}");
            assert_eq!(profiles.len(), 1, "K is split");
            assert_least_traffic(profile, &what);
            // Beside the matrix, every block along the outputs reads the vector.
            let bytes = (p.m * p.n * k + profile.grid[0] as usize * k) * of.bytes();
            assert_eq!(profile.global.loads.sectors as usize * 32, bytes, "{what}");
        }
    }
}

#[test]
fn long_sums_are_split_and_added_in_a_fixed_order() {
    for (name, of) in [("gemv_fp32", DType::F32), ("gemv_bf16", DType::Bf16)] {
        let c = candidate(name);
        for (outputs, k) in [(1, 140_003), (6, 33_001), (70, 2311)] {
            // A part of K-contiguous rows, of which a block takes four, is long.
            let layouts = layouts(outputs, k).into_iter().filter(|(rows, _)| !rows || k > 30_000);
            for (_, p) in layouts {
                let p = Problem { precision: c.precision, ..p.operands(of, of, DType::F32) };
                let p = Problem { beta: 0.5, bias: true, extra: Extra::Residual, ..p };
                assert!(c.workspace(&p, &Device::sim()) >= 2 * 4 * outputs, "{p} is not split");
                let case = Case::random(p, [0; 5], 5);
                let runs = [0, 1].map(|seed| {
                    let device = Device::sim_with(SimOptions { seed, ..SimOptions::default() });
                    case.check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"))
                });
                assert!(same(&runs[0], &runs[1]), "{p}");
            }
        }
    }
}

#[test]
fn they_are_chosen_wherever_they_can_be() {
    for target in [Target::Sm80, Target::Sm90a] {
        for precision in gemv::CANDIDATES.iter().map(|c| c.precision) {
            for (outputs, k) in
                [(1, 1), (1, 100_000), (10, 64), (1000, 4096), (1 << 20, 3), (1 << 14, 1 << 14)]
            {
                for (_, p) in layouts(outputs, k) {
                    for batch in [1, 300] {
                        let p = p.precision(precision).batched(batch);
                        let chosen = choose(&p, target).expect("there is a kernel").name;
                        assert!(chosen.starts_with("gemv_"), "{chosen} for {p}");
                    }
                }
            }
            let square = Problem::new(2, 2, 64).precision(precision);
            assert!(!choose(&square, target).expect("there is a kernel").name.starts_with("gemv_"));
        }
    }
}

#[test]
fn kernels_are_clean() {
    for ptx in [BUILTIN.sm_80, BUILTIN.sm_90a] {
        let module = ptx_sim::Module::parse(ptx).expect("the shipped PTX parses");
        assert!(gemv::KERNELS.iter().all(|name| module.kernel(name).is_some()));
        assert_lint_clean(&module, gemv::KERNELS);
    }
}
