//! Bad problems and operands: typed errors that name what is wrong.

use ironwarp::device::{DType, Device, Target};
use ironwarp::ops::matmul::{
    Epilogue, Extra, MatmulError, Name, Operand, OperandMut, Precision, Problem, Reduce, candidates, choose,
    matmul, matmul_by,
};

fn refused(p: &Problem) -> MatmulError {
    p.check().expect_err("must be refused")
}

#[test]
fn extents_and_strides_are_checked() {
    let p = Problem::new(3, 4, 5);
    assert!(p.check().is_ok());
    for (broken, what) in
        [(Problem { m: 0, ..p }, "M"), (Problem { k: 1 << 31, ..p }, "K"), (p.batched(0), "the batch")]
    {
        assert!(matches!(refused(&broken), MatmulError::Extent { what: w, .. } if w == what), "{broken:?}");
    }
    let narrow = Problem { lda: 4, ..p };
    assert!(matches!(refused(&narrow), MatmulError::Stride { name: Name::A, value: 4, least: 5, .. }));
    let overlapping = Problem { stride_c: 11, ..p.batched(2) };
    assert!(matches!(refused(&overlapping), MatmulError::Stride { name: Name::C, least: 12, .. }));
    let many = Problem { reduce: Reduce::Rows, ..Problem::new(1, 1 << 20, 1).batched(1 << 11) };
    assert!(matches!(refused(&many), MatmulError::Extent { what: "the number of sums", .. }));
    // The same A for every product is fine.
    assert!(Problem { stride_a: 0, ..p.batched(2) }.check().is_ok());
}

#[test]
fn bytes_that_overflow_are_refused() {
    let big = (1 << 31) - 1;
    let p = Problem { stride_b: usize::MAX / 8, ..Problem::new(3, 4, 5) }.batched(100);
    assert!(matches!(refused(&p), MatmulError::Overflow { name: Name::B, .. }), "{:?}", refused(&p));
    let text = refused(&Problem { lda: big, stride_a: usize::MAX, ..Problem::new(big, 1, big).batched(2) });
    assert!(text.to_string().contains("A of 2147483647 rows"), "{text}");
}

#[test]
fn mixes_without_a_kernel_name_themselves() {
    let p = Problem::new(8, 8, 8).operands(DType::Bf16, DType::F16, DType::F32);
    let error = choose(&p, Target::Sm80).expect_err("no such kernel").to_string();
    assert!(error.contains("bf16 x f16 -> f32") && error.contains("mma_bf16_128x128"), "{error}");
    let halves =
        Problem::new(8, 8, 8).operands(DType::Bf16, DType::Bf16, DType::F32).precision(Precision::Fp32);
    let c = choose(&halves, Target::Sm80).expect("f32 holds bf16");
    assert!(
        c.precision == Precision::Fp32,
        "fp32 of bf16 operands must not become something else: {}",
        c.name
    );
    // 8-bit floats are for Hopper, are no result, and are not widened on the way.
    let eight = |c| Problem::new(8, 8, 8).operands(DType::E4m3, DType::E5m2, c);
    let error = choose(&eight(DType::F32), Target::Sm80).expect_err("no such kernel").to_string();
    assert!(error.contains("in fp8") && error.contains("hopper_fp8_128x128: not for Sm80"), "{error}");
    assert!(choose(&eight(DType::F32), Target::Sm90a).is_ok());
    let error = refused(&eight(DType::E4m3));
    assert!(matches!(error, MatmulError::Type { name: Name::C, got: DType::E4m3, .. }), "{error}");
    let wide = eight(DType::F32).precision(Precision::Bf16);
    let error = choose(&wide, Target::Sm90a).expect_err("no such kernel").to_string();
    assert!(error.contains("A of e4m3 would have to be cast first"), "{error}");
    let labels = Problem::new(8, 8, 8).operands(DType::U32, DType::F32, DType::F32);
    assert!(matches!(refused(&labels), MatmulError::Type { name: Name::A, got: DType::U32, .. }));
}

#[test]
fn fp32_is_never_less() {
    for target in [Target::Sm80, Target::Sm90a] {
        for (m, n, k) in [(1, 1, 1), (64, 64, 64), (4096, 4096, 4096)] {
            let c = choose(&Problem::new(m, n, k), target).expect("f32 is always there");
            let name = if m == 1 { "gemv_fp32" } else { "simt_fp32" };
            assert!(c.precision == Precision::Fp32 && c.name.starts_with(name), "{}", c.name);
        }
    }
}

#[test]
fn operands_are_checked() {
    let device = Device::sim();
    let p = Problem::new(4, 4, 4);
    let (a, short) = (device.buffer(&[1f32; 16]).unwrap(), device.buffer(&[1f32; 15]).unwrap());
    let halves = device.buffer(&[half::bf16::ONE; 16]).unwrap();
    let mut c = device.alloc::<f32>(16).unwrap();
    let e = matmul(&device, &p, &a, &short, &mut c, Epilogue::default()).unwrap_err();
    assert!(matches!(e, MatmulError::Short { name: Name::B, got: 15, needed: 16 }), "{e}");
    let e = matmul(&device, &p, Operand::new(&a, 1), &a, &mut c, Epilogue::default()).unwrap_err();
    assert!(matches!(e, MatmulError::Short { name: Name::A, got: 15, needed: 16 }), "{e}");
    let e = matmul(&device, &p, &halves, &a, &mut c, Epilogue::default()).unwrap_err();
    assert!(matches!(e, MatmulError::Type { name: Name::A, got: DType::Bf16, .. }), "{e}");
    let e = matmul(&device, &p, &a, &a, &mut c, Epilogue { bias: Some((&a).into()), ..Epilogue::default() })
        .unwrap_err();
    assert!(matches!(e, MatmulError::Operands { name: Name::Bias, state: "not used" }), "{e}");
    let with = Problem { extra: Extra::Residual, precision: Precision::Tf32, ..p };
    let e = matmul(&device, &with, &a, &a, &mut c, Epilogue::default()).unwrap_err();
    assert!(matches!(e, MatmulError::Operands { name: Name::Extra, state: "missing" }), "{e}");
    let sums = Problem { reduce: Reduce::Columns, precision: Precision::Tf32, m: 3, ..p };
    let e = matmul(&device, &sums, &a, &a, &mut c, Epilogue::default()).unwrap_err();
    assert!(matches!(e, MatmulError::Operands { name: Name::Sums, state: "missing" }), "{e}");
    let mut two = device.alloc::<f32>(2).unwrap();
    fn into(sums: OperandMut<'_>) -> Epilogue<'_> {
        Epilogue { sums: Some(sums), ..Epilogue::default() }
    }
    let e = matmul(&device, &sums, &a, &a, &mut c, into((&mut two).into())).unwrap_err();
    assert!(matches!(e, MatmulError::Short { name: Name::Sums, got: 2, needed: 3 }), "{e}");
    let e = matmul(&device, &p, &a, &a, &mut c, into((&mut two).into())).unwrap_err();
    assert!(matches!(e, MatmulError::Operands { name: Name::Sums, state: "not used" }), "{e}");
    let mut narrow = device.alloc::<half::bf16>(4).unwrap();
    let e = matmul(&device, &sums, &a, &a, &mut c, into((&mut narrow).into())).unwrap_err();
    assert!(matches!(e, MatmulError::Type { name: Name::Sums, got: DType::Bf16, .. }), "{e}");
    // A candidate of another precision does not run.
    let tf32 = candidates(Target::Sm80).find(|c| c.precision == Precision::Tf32).expect("tf32 is there");
    let e = matmul_by(tf32, &device, &p, &a, &a, &mut c, Epilogue::default()).unwrap_err();
    assert!(e.to_string().contains("computes in tf32, not in fp32"), "{e}");
}

#[test]
fn precisions_have_names() {
    for p in Precision::ALL {
        assert_eq!(p.name().parse(), Ok(p));
    }
    assert!("fp64".parse::<Precision>().unwrap_err().contains("fp32-fast"));
}
