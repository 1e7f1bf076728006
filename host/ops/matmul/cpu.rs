//! Products on the `cpu` device: factors rounded as the precision says, multiplied and summed in f32 by `ops/sgemm.rs`,
//! then the epilogue element by element.

use half::{bf16, f16};

use super::problem::Name;
use super::{Addresses, Extra, MatmulError, Problem, Reduce};
use crate::device::{DType, Device, E4m3, E5m2};
use crate::ops::activation::Activation;
use crate::ops::precision::round;
use crate::ops::sgemm::{self, Product};

/// The operand `name`, its whole span, in f32.
fn read(device: &Device, p: &Problem, name: Name, dtype: DType, at: u64) -> Result<Vec<f32>, MatmulError> {
    let mut bytes = vec![0u8; p.span(name)? * dtype.bytes()];
    device.0.download(at, &mut bytes)?;
    Ok(decode(dtype, &bytes))
}

/// Elements of type `dtype` from their bytes.
pub(super) fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let halves = bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    match dtype {
        DType::F16 => halves.map(|b| f16::from_bits(b).to_f32()).collect(),
        DType::Bf16 => halves.map(|b| bf16::from_bits(b).to_f32()).collect(),
        DType::E4m3 => bytes.iter().map(|&b| E4m3::from_bits(b).to_f32()).collect(),
        DType::E5m2 => bytes.iter().map(|&b| E5m2::from_bits(b).to_f32()).collect(),
        DType::F32 | DType::U32 => {
            bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
    }
}

/// The bytes of `values` as `dtype`.
pub(super) fn encode(dtype: DType, values: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_ne_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_ne_bytes()).collect(),
        DType::E4m3 => values.iter().map(|&x| E4m3::from_f32(x).to_bits()).collect(),
        DType::E5m2 => values.iter().map(|&x| E5m2::from_f32(x).to_bits()).collect(),
        DType::F32 | DType::U32 => values.iter().flat_map(|x| x.to_ne_bytes()).collect(),
    }
}

/// Computes the product. The addresses are those of [`Problem::addresses`].
pub(super) fn run(device: &Device, p: &Problem, at: Addresses) -> Result<(), MatmulError> {
    let factor = |v: Vec<f32>, stored: DType| -> Vec<f32> {
        if !p.precision.rounds() || (p.precision.is_fp8() && stored.bytes() == 1) {
            return v;
        }
        let mut rounded = vec![0.0; v.len()];
        round(p.precision, &v, &mut rounded);
        rounded
    };
    let a = factor(read(device, p, Name::A, p.a, at.a)?, p.a);
    let b = factor(read(device, p, Name::B, p.b, at.b)?, p.b);
    let mut c = read(device, p, Name::C, p.c, at.c)?;
    let bias = if p.bias { Some(read(device, p, Name::Bias, DType::F32, at.bias)?) } else { None };
    let extra = match p.extra {
        Extra::None => Vec::new(),
        Extra::Residual | Extra::Gradient => read(device, p, Name::Extra, p.c, at.extra)?,
    };
    let (a_row, a_k) = if p.ta { (1, p.lda) } else { (p.lda, 1) };
    let (b_k, b_col) = if p.tb { (1, p.ldb) } else { (p.ldb, 1) };
    let mut products = vec![0f32; p.m * p.n];
    let mut sums = vec![0f64; p.batch * p.sums()];
    let mut space = vec![0f32; sgemm::workspace(p.m, p.n, p.k)];
    for z in 0..p.batch {
        let product = Product {
            m: p.m,
            n: p.n,
            k: p.k,
            a: &a[z * p.stride_a..],
            a_row,
            a_k,
            b: &b[z * p.stride_b..],
            b_k,
            b_col,
            alpha: p.alpha,
            beta: 0.0,
            bias: bias.as_deref(),
            activation: Activation::Identity,
        };
        sgemm::sgemm(&product, &mut products, &mut space);
        let sums = &mut sums[z * p.sums()..];
        for (i, row) in products.chunks_exact(p.n).enumerate() {
            for (j, &product) in row.iter().enumerate() {
                let y = &mut c[z * p.stride_c + i * p.ldc + j];
                let v = if p.beta != 0.0 { p.beta * *y + product } else { product };
                let e = || extra[z * p.stride_extra + i * p.ld_extra + j];
                *y = match p.extra {
                    Extra::None => p.activation.apply(v),
                    Extra::Residual => p.activation.apply(v) + e(),
                    Extra::Gradient => v * p.activation.derivative(e()),
                };
                match p.reduce {
                    Reduce::None => {}
                    Reduce::Rows => sums[j] += f64::from(*y),
                    Reduce::Columns => sums[i] += f64::from(*y),
                }
            }
        }
    }
    if p.reduce != Reduce::None {
        let sums: Vec<f32> = sums.iter().map(|&x| x as f32).collect();
        device.0.upload(at.sums, &encode(DType::F32, &sums))?;
    }
    // What lies between the rows of C goes back as it came: every value of a type survives f32.
    Ok(device.0.upload(at.c, &encode(p.c, &c))?)
}
