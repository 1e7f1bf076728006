//! Products of 8-bit floats: every pair of types by every kernel, what packing makes of other types and layouts, and how
//! accurate sums are that stay in the tensor cores or leave them.

use crate::common::Rng;
use crate::tensor::error_of;
use crate::{Case, candidate};
use half::{bf16, f16};
use ironwarp::device::{DType, Device, E4m3, E5m2, SimOptions, Target};
use ironwarp::ops::matmul::{Epilogue, MatrixElement, Precision, Problem, matmul_by, reference};
use ptx_sim::Accumulation;

const CANDIDATES: [&str; 3] = ["hopper_fp8_128x128", "hopper_fp8_fast_128x256", "hopper_fp8_fast_128x128"];

fn device(accumulation: Accumulation) -> Device {
    Device::sim_with(SimOptions { target: Target::Sm90a, accumulation, ..SimOptions::default() })
}

/// With an adder that rounds, products are exact but for the roundings of f32: no factor is anything but what is stored, in
/// any layout.
#[test]
fn products_of_all_types_and_layouts_are_exact_but_for_the_sums() {
    let device = device(Accumulation::Sequential);
    let mut rng = Rng(8);
    let mut layout = 0;
    for name in CANDIDATES {
        let c = candidate(name);
        for (a, b) in
            [DType::E4m3, DType::E5m2].into_iter().flat_map(|a| [(a, DType::E4m3), (a, DType::E5m2)])
        {
            let out = if a == b { DType::F32 } else { DType::Bf16 };
            let p = Problem { alpha: 0.5, ..Problem::new(70, 40, 209) }
                .transposed(layout & 1 != 0, layout & 2 != 0)
                .operands(a, b, out)
                .precision(c.precision);
            layout += 1;
            // Subnormal numbers too, and all exponents of e4m3.
            let case = Case::new(p, [0, 16, 0, 0, 0], || {
                f64::from(rng.range(-1.0, 1.0)) * 2f64.powi(rng.below(17) as i32 - 8)
            });
            let got = case.run(&device, Some(c)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let [x, y, old, ..] = &case.data;
            let values = reference::Values { a: x, b: y, c: old, bias: &[], extra: &[] };
            let exact = Problem { precision: Precision::Fp32, ..p };
            if let Some(text) = reference::mismatch(&p, &got, &reference::product(&exact, values)) {
                panic!("{name}: {text}");
            }
        }
    }
}

/// Products of K = 1 by 1 show the factors themselves.
#[test]
fn other_types_become_e4m3_and_codes_stay_what_they_are() {
    /// Asserts that op(A) of these elements is `want`.
    fn shows<T: MatrixElement>(device: &Device, elements: &[T], want: impl Iterator<Item = f32>) {
        let m = elements.len();
        let (a, one) = (device.buffer(elements).expect("memory"), device.buffer(&[E4m3::from_f32(1.0)]));
        let mut c = device.alloc::<f32>(m).expect("memory");
        let p = Problem::new(m, 1, 1).operands(T::DTYPE, DType::E4m3, DType::F32).precision(Precision::Fp8);
        let by = candidate("hopper_fp8_128x128");
        matmul_by(by, device, &p, &a, &one.expect("memory"), &mut c, Epilogue::default())
            .unwrap_or_else(|e| panic!("{e}"));
        for (i, (got, want)) in c.to_vec().expect("written").into_iter().zip(want).enumerate() {
            assert!(got == want || got.is_nan() && want.is_nan(), "{} {i}: {got}, not {want}", T::DTYPE);
        }
    }
    let device = device(Accumulation::Truncating);
    // Every number of e4m3, every tie and its neighbours, and what is too large or none.
    let mut values = vec![1e9, f32::INFINITY, f32::MAX, f32::NAN, 1e-9, 463.9, 464.0, 465.0];
    for code in 0..0x7eu8 {
        let (x, next) = (E4m3::from_bits(code).to_f32(), E4m3::from_bits(code + 1).to_f32());
        let middle = (x + next) / 2.0;
        values.extend([
            x,
            middle,
            f32::from_bits(middle.to_bits() - 1),
            f32::from_bits(middle.to_bits() + 1),
        ]);
    }
    values.extend(values.clone().iter().map(|x| -x));
    let nearest = |x: f32| E4m3::from_f32(x).to_f32();
    shows(&device, &values, values.iter().map(|&x| nearest(x)));
    let halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
    shows(&device, &halves, halves.iter().map(|x| nearest(x.to_f32())));
    let halves: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
    shows(&device, &halves, halves.iter().map(|x| nearest(x.to_f32())));
    // All codes, in rows at odd addresses, which are packed: infinities and NaN as they are.
    let codes: Vec<E4m3> = (0..=255).map(E4m3::from_bits).collect();
    shows(&device, &codes, codes.iter().map(|x| x.to_f32()));
    let codes: Vec<E5m2> = (0..=255).map(E5m2::from_bits).collect();
    shows(&device, &codes, codes.iter().map(|x| x.to_f32()));
}

#[test]
fn promoted_sums_keep_what_tensor_cores_lose() {
    let device = device(Accumulation::Truncating);
    let names = ["hopper_fp8_128x128", "hopper_fp8_fast_128x256"];
    for k in [128, 512] {
        for (name, precision) in names.into_iter().zip([Precision::Fp8, Precision::Fp8Fast]) {
            let error = error_of(&device, name, k, -1.0);
            let stated = reference::sum_error(precision, k).log2();
            println!("{name}, K = {k}: 2^{error:.1} of the magnitudes, 2^{stated:.1} stated");
            assert!(error < stated, "{name}, K = {k}: 2^{error:.1} of the magnitudes, 2^{stated:.1} stated");
        }
        // Terms of one sign.
        let [promoted, fast] = names.map(|name| error_of(&device, name, k, 0.0));
        println!("K = {k}, one sign: promoted 2^{promoted:.1}, in the tensor cores 2^{fast:.1}");
        assert!(promoted < (132.0 * 2f64.powi(-13)).log2(), "K = {k}: 2^{promoted:.1}");
        assert!(k <= 128 || promoted < fast - 1.0, "K = {k}: 2^{promoted:.1} is no better than 2^{fast:.1}");
    }
}
