//! Warpgroup products: a warp-specialised GEMM, A from registers, every operand type.

use super::rig::*;
use super::tensor::{bfloats, bound, from_bfloats, from_halves, halves, product};
use super::tensormap::Tensor;
use half::{bf16, f16};
use ptx_sim::{LaunchConfig, TensorMapType};

#[test]
fn specialised_gemm() {
    each(kernels!("wgmma", sm_90a), |r| {
        let (m, n, k) = (1 + r.random.below(200), 1 + r.random.below(120), 8 * (1 + r.random.below(50)));
        let (a, b) = (bfloats(&mut r.random, m * k), bfloats(&mut r.random, n * k));
        let map_a = Tensor::from_words(r, TensorMapType::Bf16, &a, &[k, m], &[64, 128], 128);
        let map_b = Tensor::from_words(r, TensorMapType::Bf16, &b, &[k, n], &[64, 64], 128);
        let c = r.room::<f32>(m * n);
        let config = LaunchConfig::new([n.div_ceil(64) as u32, m.div_ceil(128) as u32, 1], [384, 1, 1]);
        let args = args![map_a.map(), map_b.map(), c, m as i32, n as i32, k as i32];
        r.run("gemm", config.shared(3 * 64 * (128 + 64) * 2), args);
        let want = product(&from_bfloats(&a), &from_bfloats(&b), m, n, k);
        close(&r.get::<f32>(c, m * n), &want, |_| bound(k));
    });
}

#[test]
fn operands_from_registers() {
    each(kernels!("wgmma", sm_90a), |r| {
        let (a, b) = (halves(&mut r.random, 64 * 16), halves(&mut r.random, 256));
        let (da, db, d) = (r.put(&a), r.put(&b), r.room::<f32>(64 * 16));
        r.run("from_registers", line(1, 128), args![da, db, d]);
        let (a, b) = (from_halves(&a), from_halves(&b));
        let across: Vec<f64> = (0..256).map(|i| b[i % 16 * 16 + i / 16]).collect();
        let want: Vec<f64> = product(&a, &across, 64, 16, 16).iter().map(|v| 2.0 * v).collect();
        close(&r.get::<f32>(d, 64 * 16), &want, |_| bound(32));
    });
}

/// A number of eight bits with this many bits of exponent, none of them meaning infinity or NaN.
fn from_byte(v: u8, exponent_bits: u32) -> f64 {
    let mantissa_bits = 7 - exponent_bits;
    let bias = (1 << (exponent_bits - 1)) - 1;
    let exponent = (v >> mantissa_bits & ((1 << exponent_bits) - 1)) as i32;
    let mantissa = (v & ((1 << mantissa_bits) - 1)) as f64 / (1 << mantissa_bits) as f64;
    let size = if exponent == 0 {
        mantissa * 2f64.powi(1 - bias)
    } else {
        (1.0 + mantissa) * 2f64.powi(exponent - bias)
    };
    if v & 0x80 != 0 { -size } else { size }
}

#[test]
fn operands_of_every_type() {
    each(kernels!("wgmma", sm_90a), |r| {
        for which in 0..5 {
            // Random bytes with exponents that stay near one.
            let draw = |r: &mut Random, exponent_bits: u32| -> u32 {
                match which {
                    0 => f16::from_f32(r.f32(-1.0, 1.0)).to_bits() as u32 | 0x3800_0000 & r.u32(),
                    1 => {
                        let pair = [0; 2].map(|_| bf16::from_f32(r.f32(-1.0, 1.0)).to_bits() as u32);
                        pair[0] | pair[1] << 16
                    }
                    2 => r.f32(-1.0, 1.0).to_bits() & !0x1fff,
                    3 => {
                        // Exponents up to the bias: numbers below two.
                        let byte = |r: &mut Random| {
                            let most = 1 << (exponent_bits - 1);
                            let e = r.below(most) as u32;
                            (r.u32() & 0x80)
                                | e << (7 - exponent_bits)
                                | r.u32() & ((1 << (7 - exponent_bits)) - 1)
                        };
                        (0..4).fold(0, |w, _| w << 8 | byte(r))
                    }
                    _ => r.u32(),
                }
            };
            let a = r.random.list(512, |r| draw(r, 4));
            let b = r.random.list(64, |r| draw(r, 5));
            let (da, db) = (r.put(&a), r.put(&b));
            let (floats, ints) = (r.room::<f32>(512), r.room::<i32>(512));
            r.run("types", line(1, 128), args![da, db, floats, ints, which]);
            let halves = |v: &[u32]| v.iter().flat_map(|w| [*w as u16, (w >> 16) as u16]).collect::<Vec<_>>();
            let bytes = |v: &[u32]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
            let (a, b): (Vec<f64>, Vec<f64>) = match which {
                0 => (from_halves(&halves(&a)), from_halves(&halves(&b))),
                // The instruction negates B.
                1 => (from_bfloats(&halves(&a)), from_bfloats(&halves(&b)).iter().map(|v| -v).collect()),
                2 => [a, b].map(|v| v.iter().map(|&w| f32::from_bits(w) as f64).collect()).into(),
                3 => (
                    bytes(&a).iter().map(|&v| from_byte(v, 4)).collect(),
                    bytes(&b).iter().map(|&v| from_byte(v, 5)).collect(),
                ),
                _ => (
                    bytes(&a).iter().map(|&v| v as i8 as f64).collect(),
                    bytes(&b).iter().map(|&v| v as f64).collect(),
                ),
            };
            let k = a.len() / 64;
            let want = product(&a, &b, 64, 8, k);
            if which == 4 {
                same(&r.get::<i32>(ints, 512), &want.iter().map(|&v| v as i32).collect::<Vec<_>>());
                same(&r.get::<f32>(floats, 512), &[0.0; 512]);
            } else {
                // Products below four; sums of eight-bit floats may keep as few as 14 bits.
                let epsilon = if which == 3 { 2f64.powi(-12) } else { 8.0 * f32::EPSILON as f64 };
                close(&r.get::<f32>(floats, 512), &want, |_| 4.0 * k as f64 * epsilon);
                same(&r.get::<i32>(ints, 512), &[0; 512]);
            }
        }
    });
}
