//! What the tensor-core kernels of Ampere promise beyond correct results: accuracy, memory traffic, split K, lint.

use crate::common::Rng;
use crate::{Case, assert_least_traffic, assert_lint_clean, candidate, same};
use ironwarp::device::{BUILTIN, DType, Device, SimOptions, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Extra, Precision, Problem, Reduce, choose, reference, tensor};
use ptx_sim::Accumulation;

/// The largest error of `candidate` in units of the sum of magnitudes of the products, in log2.
pub(crate) fn error_of(device: &Device, name: &str, k: usize, low: f32) -> f64 {
    let candidate = candidate(name);
    // Factors that the tensor cores must split come as f32, others as they are.
    let of = if candidate.precision.is_fp8() { DType::E4m3 } else { DType::F32 };
    let p = Problem::new(24, 16, k).operands(of, of, DType::F32).precision(candidate.precision);
    let mut rng = Rng(77);
    let case = Case::new(p, [0; 5], || f64::from(rng.range(low, 1.0)) * 2f64.powi(rng.below(12) as i32 - 6));
    let got = case.run(device, Some(candidate)).expect("runs");
    let [a, b, ..] = &case.data;
    let mut worst = 0f64;
    for i in 0..p.m {
        for j in 0..p.n {
            let terms = (0..k).map(|q| a[i * k + q] * b[q * p.n + j]);
            let (sum, size) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + f64::abs(t)));
            worst = worst.max((got[i * p.n + j] - sum).abs() / size);
        }
    }
    worst.log2()
}

#[test]
fn sums_of_narrow_factors_are_as_accurate_as_stated() {
    let options = SimOptions { accumulation: Accumulation::Truncating, ..SimOptions::default() };
    let device = Device::sim_with(options);
    // Sums of one sign, where cutting off adds up, and of both.
    for low in [0.0, -1.0] {
        for k in [16, 1000] {
            let stated = reference::sum_error(Precision::Fp32Fast, k).log2();
            for name in ["mma_tf32x3_64x64", "mma_bf16x6_64x64", "mma_tf32x3_128x128", "mma_bf16x6_128x128"] {
                let error = error_of(&device, name, k, low);
                assert!(
                    error < stated,
                    "{name}, K = {k}: 2^{error:.1} of the magnitudes, 2^{stated:.1} stated"
                );
            }
            let (fast, six) = (
                error_of(&device, "mma_tf32x3_64x64", k, low),
                error_of(&device, "mma_bf16x6_64x64", k, low),
            );
            let plain = error_of(&device, "mma_tf32_64x64", k, low);
            println!("K = {k}, from {low}: tf32 2^{plain:.1}, 3 x tf32 2^{fast:.1}, bf16 x 6 2^{six:.1}");
            assert!(fast.max(six) < plain - 5.0, "K = {k}: no better than tf32");
        }
    }
}

#[test]
fn traffic_is_the_least_and_banks_do_not_conflict() {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    for (name, tile, t) in [("bf16", 128, 4), ("bf16", 64, 4), ("f16", 128, 4), ("f16", 64, 4)]
        .into_iter()
        .chain(["tf32", "tf32x3", "bf16x6"].into_iter().flat_map(|n| [(n, 128, 1), (n, 64, 1)]))
        .flat_map(|(name, tile, layouts)| (0..layouts).map(move |t| (name, tile, t)))
    {
        let c = candidate(&format!("mma_{name}_{tile}x{tile}"));
        let factor = c.precision.factor();
        // Factors of 32 bits are packed unless both are K-major.
        let (ta, tb) = if factor == DType::F32 { (false, true) } else { (t & 1 != 0, t & 2 != 0) };
        let p = Problem::new(tile, tile, 96)
            .transposed(ta, tb)
            .operands(factor, factor, if t == 0 { DType::F32 } else { factor })
            .precision(c.precision);
        Case::random(p, [0; 5], t).check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
        let profiles = device.take_profiles();
        assert_eq!(profiles.len(), 1, "{p}: something was packed or split");
        let profile = &profiles[0];
        println!(
            "{}: {:.0} flop a warp instruction, shared loads {:.2} wavefronts each",
            profile.kernel,
            p.flop() as f64 / profile.warp_instructions as f64,
            profile.shared.loads.wavefronts_per_request()
        );
        assert_least_traffic(profile, &format!("{} for {p}", profile.kernel));
    }
}

#[test]
fn a_split_k_adds_in_a_fixed_order() {
    // Few tiles and a long K: the candidate splits, which its workspace shows.
    let c = candidate("mma_bf16_64x64");
    for (m, n, k) in [(16, 70, 1000), (1, 33, 2111)] {
        let p = Problem::new(m, n, k).operands(DType::Bf16, DType::Bf16, DType::F32);
        assert!(c.workspace(&p) >= 2 * 4 * m * n, "{p} is not split");
        for reduce in [Reduce::None, Reduce::Rows, Reduce::Columns] {
            let case = Case::random(Problem { beta: 0.5, bias: true, reduce, ..p }, [0; 5], 5);
            let runs = [0, 1, 2].map(|seed| {
                let device = Device::sim_with(SimOptions { seed, ..SimOptions::default() });
                case.check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"))
            });
            assert!(same(&runs[0], &runs[1]) && same(&runs[0], &runs[2]), "{p}, {reduce:?}");
        }
    }
}

/// The bias gradient of a layer beside that of its input, with enough rows that the parts' sums take two passes; and what the
/// sums are of: values that C cannot hold.
#[test]
fn many_rows_are_summed_before_they_are_rounded() {
    let device = Device::sim();
    let c = candidate("mma_bf16_64x64");
    let long = Problem::new(16_500, 3, 8).operands(DType::Bf16, DType::Bf16, DType::Bf16);
    let p = Problem { reduce: Reduce::Rows, extra: Extra::Gradient, activation: Activation::Gelu, ..long };
    let case = Case::random(p, [0; 5], 2);
    let got = case.check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
    let (c_values, sums) = got.split_at(p.m * p.n);
    let apart = (0..p.n).map(|j| c_values.iter().skip(j).step_by(p.n).sum::<f64>() - sums[j]);
    let allowed = case.oracle().sums_bound[0];
    assert!(apart.map(f64::abs).fold(0.0, f64::max) > allowed, "sums of rounded values: within {allowed:e}");
}

#[test]
fn large_problems_get_large_tiles() {
    for precision in [Precision::Bf16, Precision::F16, Precision::Tf32, Precision::Fp32Fast] {
        let factor = precision.factor();
        let of = |n: usize| {
            let p = Problem::new(n, n, n).operands(factor, factor, DType::F32).precision(precision);
            choose(&p, Target::Sm80).expect("there is a kernel").tile[0]
        };
        assert_eq!((of(64), of(512), of(4096)), (64, 64, 128), "{precision}");
    }
}

#[test]
fn kernels_are_clean() {
    for ptx in [BUILTIN.sm_80, BUILTIN.sm_90a] {
        let module = ptx_sim::Module::parse(ptx).expect("the shipped PTX parses");
        let kernels: Vec<_> = module.kernels().map(|k| k.name.clone()).collect();
        for name in tensor::KERNELS {
            assert!(kernels.iter().any(|k| k == name), "{name} is not in the PTX");
        }
        assert_lint_clean(&module, tensor::KERNELS);
    }
}
