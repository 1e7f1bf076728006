//! What the kernels of Hopper's tensor cores promise beyond correct results: persistent grids, memory traffic, lint.

use crate::{Case, assert_least_traffic, assert_lint_clean, candidate, same};
use ironwarp::device::{BUILTIN, DType, Device, SimOptions, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::{Precision, Problem, Reduce, hopper};

fn device(options: SimOptions) -> Device {
    Device::sim_with(SimOptions { target: Target::Sm90a, ..options })
}

/// Two blocks that work through all tiles give what a block for each tile gives, in any order of warps: the ring goes on
/// from tile to tile, and the producer runs ahead.
#[test]
fn a_persistent_grid_changes_nothing() {
    for (name, m, n, k) in [
        ("hopper_bf16_128x256", 260, 264, 136),
        ("hopper_f16_128x128", 130, 264, 456),
        ("hopper_fp8_128x128", 130, 264, 272),
    ] {
        let c = candidate(name);
        let of = c.precision.factor();
        let out = if c.precision.is_fp8() { DType::Bf16 } else { of };
        let plain = Problem::new(m, n, k).operands(of, of, out);
        let busy = Problem { c: DType::F32, beta: 0.5, bias: true, activation: Activation::Relu, ..plain };
        // Sums of parts that several tiles, and both blocks of a cluster, contribute.
        let rows = Problem { reduce: Reduce::Rows, ..plain };
        let columns = Problem { reduce: Reduce::Columns, ..busy };
        for p in [plain, busy, rows, columns] {
            let case = Case::random(p, [0; 5], 3);
            let whole = case.check(&device(SimOptions::default()), Some(c)).unwrap_or_else(|e| panic!("{e}"));
            let options = SimOptions { multiprocessors: 2, seed: 11, ..SimOptions::default() };
            let few = case.run(&device(options), Some(c)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(same(&whole, &few), "{name} on two multiprocessors gives other bits");
        }
    }
}

#[test]
fn traffic_is_the_least_and_banks_do_not_conflict() {
    let device = device(SimOptions { profile: true, ..SimOptions::default() });
    for c in hopper::CANDIDATES {
        let of = c.precision.factor();
        let depth = c.tile[2] as usize;
        // Both operands in lines, C of f32 by quads; and (once for the types that have it) in squares, C by tensor copies.
        let squares = c.precision == Precision::Bf16;
        for (transposed, out) in
            [((false, true), DType::F32), ((true, false), of)].into_iter().take(1 + squares as usize)
        {
            let p = Problem::new(128, c.tile[1] as usize, depth)
                .transposed(transposed.0, transposed.1)
                .operands(of, of, out)
                .precision(c.precision);
            Case::random(p, [0; 5], 1).check(&device, Some(c)).unwrap_or_else(|e| panic!("{e}"));
            let profiles = device.take_profiles();
            assert_eq!(profiles.len(), 1, "{}: nothing is packed", c.name);
            assert_least_traffic(&profiles[0], c.name);
        }
    }
}

#[test]
fn kernels_are_clean_and_only_hoppers() {
    let module = ptx_sim::Module::parse(BUILTIN.sm_90a).expect("the shipped PTX parses");
    let older = ptx_sim::Module::parse(BUILTIN.sm_80).expect("the shipped PTX parses");
    for name in hopper::KERNELS {
        let kernel = module.kernel(name).unwrap_or_else(|| panic!("{name} is not in the PTX"));
        assert_eq!((kernel.required_threads, kernel.max_registers), (Some([384, 1, 1]), Some(168)), "{name}");
        assert!(older.kernel(name).is_none(), "{name} is in Ampere's PTX");
        let start = BUILTIN.sm_90a.find(&format!(".entry {name}(")).expect("it is there");
        let text = &BUILTIN.sm_90a[start..];
        let text = &text[..text.find("\n}").expect("a kernel's end")];
        let count = |what: &str| text.matches(what).count();
        assert_eq!(count("wgmma.mma_async"), 4, "{name}");
        assert_eq!((count("setmaxnreg.dec"), count("setmaxnreg.inc")), (1, 1), "{name}");
        assert_eq!(count("call") + count(".local"), 0, "{name} calls, or keeps data in local memory");
    }
    assert_lint_clean(&module, hopper::KERNELS);
}
