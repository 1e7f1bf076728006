//! What the f32 kernels promise beyond correct results: memory traffic, instructions, split K, the choice of a tile, lint.

use crate::{Case, assert_least_traffic, assert_lint_clean, candidate, same};
use ironwarp::device::{BUILTIN, DType, Device, SimOptions, Target};
use ironwarp::ops::matmul::{Extra, Problem, choose};

#[test]
fn traffic_is_the_least_and_loads_serve_sixteen_multiplications() {
    let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    let c = candidate("simt_fp32_128x128");
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let p = Problem::new(128, 128, 128).transposed(ta, tb);
        Case::random(p, [0; 5], 1).check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
        let profiles = device.take_profiles();
        assert_eq!(profiles.len(), 1, "{p}: something was packed or split");
        let profile = &profiles[0];
        assert_least_traffic(profile, &format!("{} for {p}", profile.kernel));
        let flop = p.flop() / 64;
        println!("{}: {flop} of {} warp instructions multiply", profile.kernel, profile.warp_instructions);
        // A thread's 64 multiplications of an element of K take 4 loads.
        assert_eq!(profile.shared.loads.requests, flop / 16, "{profile}");
    }
}

#[test]
fn a_split_k_adds_in_a_fixed_order() {
    let plain = Problem { beta: 0.5, bias: true, extra: Extra::Residual, ..Problem::new(64, 70, 784) };
    let halves = plain.operands(DType::Bf16, DType::F16, DType::Bf16).precision(plain.precision);
    for p in [plain, plain.transposed(true, true), halves] {
        for name in ["simt_fp32_32x32", "simt_fp32_64x64", "simt_fp32_128x128"] {
            let c = candidate(name);
            assert!(c.workspace(&p, &Device::sim()) >= 2 * 4 * p.m * p.n, "{p} is not split");
            let case = Case::random(p, [0; 5], 5);
            let runs = [0, 1].map(|seed| {
                let device = Device::sim_with(SimOptions { seed, ..SimOptions::default() });
                case.check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"))
            });
            assert!(same(&runs[0], &runs[1]), "{name} of {p}");
        }
    }
}

#[test]
fn tiles_grow_with_the_product() {
    let of = |p: Problem| {
        let c = choose(&p, Target::Sm80).expect("there is a kernel");
        (c.tile[0], c.workspace(&p, &Device::sim()) > 0)
    };
    assert_eq!(of(Problem::new(64, 64, 64)), (32, false));
    assert_eq!(of(Problem::new(1024, 1024, 64)).0, 64);
    assert_eq!(of(Problem::new(4096, 4096, 64)), (128, false));
    // Many small products fill the device as one large one does.
    assert_eq!(of(Problem::new(128, 128, 64).batched(264)), (128, false));
    // Few tiles and a long K.
    assert!(of(Problem::new(64, 512, 784)).1);
}

#[test]
fn kernels_are_clean() {
    for ptx in [BUILTIN.sm_80, BUILTIN.sm_90a] {
        let module = ptx_sim::Module::parse(ptx).expect("the shipped PTX parses");
        for tile in [32, 64, 128] {
            let names = ["nn", "nt", "tn", "tt"].map(|layout| format!("gemm_{layout}_{tile}"));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert!(names.iter().all(|name| module.kernel(name).is_some()), "{names:?}");
            assert_lint_clean(&module, &names);
        }
    }
}
