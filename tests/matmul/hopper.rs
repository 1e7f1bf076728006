//! What the kernels of Hopper's tensor cores promise beyond correct results: persistent grids, memory traffic, fp8, lint.

use crate::common::Rng;
use crate::{Case, assert_least_traffic, assert_lint_clean, candidate, same};
use ironwarp::device::{BUILTIN, Buffer, DType, Device, SimOptions, Target};
use ironwarp::ops::activation::Activation;
use ironwarp::ops::matmul::hopper::{self, Fp8, fp8};
use ironwarp::ops::matmul::{Addresses, Precision, Problem, Reduce, reference};

fn device(options: SimOptions) -> Device {
    Device::sim_with(SimOptions { target: Target::Sm90a, ..options })
}

/// Two blocks that work through all tiles give what a block for each tile gives, in any order of warps: the ring goes on
/// from tile to tile, and the producer runs ahead.
#[test]
fn a_persistent_grid_changes_nothing() {
    for (name, m, n, k) in [("hopper_bf16_128x256", 260, 264, 136), ("hopper_f16_128x128", 130, 264, 456)] {
        let c = candidate(name);
        let of = c.precision.factor();
        let plain = Problem::new(m, n, k).operands(of, of, of);
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
    // What cuts tiles runs the same kernels.
    for c in hopper::CANDIDATES.iter().filter(|c| !c.name.ends_with("_streamk")) {
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

/// An 8-bit float: its bits and its value.
fn draw(ty: Fp8, rng: &mut Rng) -> (u8, f64) {
    let (mantissa, bias, top) = match ty {
        Fp8::E4m3 => (3, 7, 14),
        Fp8::E5m2 => (2, 15, 18),
    };
    let (sign, fraction) = (rng.below(2), rng.below(1 << mantissa));
    // Subnormal numbers too, but none so large that sums lose the small ones.
    let exponent = rng.below(top);
    let scale = 2f64.powi(exponent.max(1) as i32 - bias - mantissa);
    let value = ((u64::from(exponent > 0) << mantissa) + fraction) as f64 * scale;
    ((sign << 7 | exponent << mantissa | fraction) as u8, if sign == 1 { -value } else { value })
}

#[test]
fn fp8_products_are_exact_but_for_the_sums() {
    let device = device(SimOptions { seed: 5, ..SimOptions::default() });
    let mut rng = Rng(8);
    for (types, c) in [
        ([Fp8::E4m3, Fp8::E4m3], DType::F32),
        ([Fp8::E4m3, Fp8::E5m2], DType::Bf16),
        ([Fp8::E5m2, Fp8::E4m3], DType::F32),
        ([Fp8::E5m2, Fp8::E5m2], DType::F32),
    ] {
        let p = Problem { c, alpha: 0.5, ..Problem::new(70, 40, 208).transposed(false, true) };
        let mut matrix = |ty, n: usize| -> (Vec<u8>, Vec<f64>) { (0..n).map(|_| draw(ty, &mut rng)).unzip() };
        let ((a_bits, a), (b_bits, b)) = (matrix(types[0], 70 * 208), matrix(types[1], 40 * 208));
        let (da, db) = (device.buffer(&a_bits).expect("memory"), device.buffer(&b_bits).expect("memory"));
        let values = reference::Values { a: &a, b: &b, c: &vec![0.0; 70 * 40], bias: &[], extra: &[] };
        let at = |c: u64| Addresses { a: da.address(), b: db.address(), c, ..Addresses::default() };
        let got: Vec<f64> = if c == DType::F32 {
            let out: Buffer<f32> = device.alloc(70 * 40).expect("memory");
            fp8(&device, &p, types, at(out.address())).unwrap_or_else(|e| panic!("{e}"));
            out.to_vec().expect("written").into_iter().map(f64::from).collect()
        } else {
            let out: Buffer<half::bf16> = device.alloc(70 * 40).expect("memory");
            fp8(&device, &p, types, at(out.address())).unwrap_or_else(|e| panic!("{e}"));
            out.to_vec().expect("written").into_iter().map(half::bf16::to_f64).collect()
        };
        // The oracle takes the values as they are.
        let oracle = reference::product(&Problem { precision: Precision::Fp32, ..p }, values);
        if let Some(text) = reference::mismatch(&p, &got, &oracle) {
            panic!("{types:?}: {text}");
        }
        let refused =
            fp8(&device, &Problem::new(70, 40, 208), types, at(0)).expect_err("B is not transposed");
        assert!(refused.to_string().contains("K is contiguous"), "{refused}");
        let sums = Problem { reduce: Reduce::Rows, ..p };
        let refused = fp8(&device, &sums, types, at(0)).expect_err("no sums");
        assert!(refused.to_string().contains("sums neither"), "{refused}");
    }
}

#[test]
fn kernels_are_clean_and_only_hoppers() {
    let module = ptx_sim::Module::parse(BUILTIN.sm_90a).expect("the shipped PTX parses");
    let older = ptx_sim::Module::parse(BUILTIN.sm_80).expect("the shipped PTX parses");
    let (products, others): (Vec<_>, Vec<_>) =
        hopper::KERNELS.iter().copied().partition(|name| name.starts_with("hopper_"));
    assert!(others.iter().all(|name| module.kernel(name).is_some() && older.kernel(name).is_none()));
    for name in products {
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
