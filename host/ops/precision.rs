//! [`Precision`] in graphs and files: which products of a graph are rounded, how `cpu` rounds, how it is written.
//!
//! ```
//! use ironwarp::graph::Graph;
//! use ironwarp::ops::{TensorType, matmul::Precision};
//! let mut g = Graph::new();
//! g.autocast(Precision::Bf16);
//! let (x, w) = (g.input("x", TensorType::f32([8, 4]))?, g.input("w", TensorType::f32([3, 4]))?);
//! g.linear(x, w, None)?; // multiplies factors rounded to bf16, and so will its gradients
//! # Ok::<(), ironwarp::ops::OpError>(())
//! ```
//!
//! Tensors are f32 whatever the precision: operands are rounded on their way into a product, sums are f32.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cpu::{for_chunks, simd};
use super::matmul::Precision;
use crate::graph::Graph;

/// Nothing is rounded unless somebody asks for it.
#[allow(clippy::derivable_impls)] // The type belongs to `matmul`, which has no default: a product says its precision.
impl Default for Precision {
    fn default() -> Precision {
        Precision::Fp32
    }
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Precision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Precision, D::Error> {
        Precision::for_training(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Precision {
    /// Those that networks are trained in, and the files of runs and models know.
    pub const TRAINING: [Precision; 5] =
        [Precision::Fp32, Precision::Tf32, Precision::Bf16, Precision::F16, Precision::Fp32Fast];

    /// The one of [`TRAINING`](Precision::TRAINING) with this name. Error: there is none; it names them.
    pub fn for_training(name: &str) -> Result<Precision, String> {
        Precision::named(name, &Precision::TRAINING)
    }

    /// Whether factors lose digits on the way into a product.
    pub fn rounds(self) -> bool {
        !matches!(self, Precision::Fp32 | Precision::Fp32Fast)
    }

    /// How far a rounded factor may be off, relative: half a unit in the last place.
    pub fn roundoff(self) -> f64 {
        match self {
            Precision::Fp32 | Precision::Fp32Fast => 0.0,
            Precision::Tf32 | Precision::F16 => 2f64.powi(-11),
            Precision::Bf16 => 2f64.powi(-8),
            Precision::Fp8 | Precision::Fp8Fast => 2f64.powi(-4),
        }
    }
}

impl Graph {
    /// Matrix products that are appended from now on multiply factors rounded to `precision`, as do their gradients
    /// ([`matmul`](Graph::matmul), [`linear`](Graph::linear), [`batch_matmul`](Graph::batch_matmul),
    /// [`addmm`](Graph::addmm)). Everything else is f32, as every tensor is. `Fp32` at first.
    pub fn autocast(&mut self, precision: Precision) {
        self.precision = precision;
    }
}

/// `bits` of an f32 rounded to bf16: to nearest, ties to even. What overflows becomes infinity, NaN stays NaN.
#[inline(always)]
fn bf16(bits: u32) -> u32 {
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    if nan { bits } else { rounded }
}

/// The same, to tf32: to nearest, ties away from zero, as `cvt.rna.tf32` does.
#[inline(always)]
fn tf32(bits: u32) -> u32 {
    let finite = bits & 0x7f80_0000 != 0x7f80_0000;
    if finite { bits.wrapping_add(0x1000) & !0x1fff } else { bits }
}

/// The same, to f16: to nearest, ties to even.
#[inline(always)]
fn f16(bits: u32) -> u32 {
    let (sign, magnitude) = (bits & 0x8000_0000, bits & 0x7fff_ffff);
    let normal = magnitude.wrapping_add(0xfff + ((magnitude >> 13) & 1)) & !0x1fff;
    // 2^16 and above overflow; infinity is among them.
    let normal = if normal >= 0x4780_0000 { 0x7f80_0000 } else { normal };
    // Below 2^-14 the spacing is 2^-24, which is that of f32 just above 1/2: the sum rounds, the difference is exact.
    let small = ((f32::from_bits(magnitude) + 0.5) - 0.5).to_bits();
    let rounded = if magnitude < 0x3880_0000 { small } else { normal };
    sign | if magnitude > 0x7f80_0000 { magnitude } else { rounded }
}

/// The same, to e4m3: to nearest, ties to even. What is larger than 448 becomes 448.
#[inline(always)]
fn e4m3(bits: u32) -> u32 {
    let (sign, magnitude) = (bits & 0x8000_0000, bits & 0x7fff_ffff);
    let normal = magnitude.wrapping_add(0x7_ffff + ((magnitude >> 20) & 1)) & !0xf_ffff;
    let normal = normal.min(448f32.to_bits());
    // Below 2^-6 the spacing is 2^-9, which is that of f32 from 2^14 on: as for f16.
    let small = ((f32::from_bits(magnitude) + 16384.0) - 16384.0).to_bits();
    let rounded = if magnitude < 0x3c80_0000 { small } else { normal };
    sign | if magnitude > 0x7f80_0000 { magnitude } else { rounded }
}

simd! { fn bf16_all(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) { *y = f32::from_bits(bf16(x.to_bits())); }
} }
simd! { fn tf32_all(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) { *y = f32::from_bits(tf32(x.to_bits())); }
} }
simd! { fn f16_all(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) { *y = f32::from_bits(f16(x.to_bits())); }
} }
simd! { fn e4m3_all(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) { *y = f32::from_bits(e4m3(x.to_bits())); }
} }

/// `y <- x`, stored in f32, rounded as a factor of `precision`: what [`reference::rounded`](super::matmul::reference::rounded) says, fast.
pub(super) fn round(precision: Precision, x: &[f32], y: &mut [f32]) {
    let pass = match precision {
        Precision::Fp32 | Precision::Fp32Fast => return y.copy_from_slice(x),
        Precision::Tf32 => tf32_all,
        Precision::Bf16 => bf16_all,
        Precision::F16 => f16_all,
        Precision::Fp8 | Precision::Fp8Fast => e4m3_all,
    };
    for_chunks(y, |start, range| pass(&x[start..start + range.len()], range));
}

#[cfg(test)]
mod tests {
    use super::super::matmul::reference::rounded;
    use super::*;
    use crate::device::DType;

    #[test]
    fn rounding_is_the_oracles() {
        // Every exponent and sign with mantissas around ties, and bits from a generator.
        let ties = [
            0u32, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000,
            0x7f_ffff,
        ];
        let edges = (0..512u32).flat_map(|e| ties.map(|m| e << 23 | m));
        let mut state = 1u64;
        let random = std::iter::repeat_with(move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 32) as u32
        });
        let x: Vec<f32> = edges.chain(random.take(300_000)).map(f32::from_bits).collect();
        let mut y = vec![0.0; x.len()];
        for precision in Precision::ALL {
            round(precision, &x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let want = rounded(precision, DType::F32, f64::from(x)) as f32;
                let same = want.to_bits() == y.to_bits() || want.is_nan() && y.is_nan();
                assert!(same, "{precision}: {x:e} becomes {y:e}, not {want:e}");
                let off = (f64::from(y) - f64::from(x)).abs();
                let floor = match precision {
                    Precision::F16 => 2f64.powi(-25),
                    Precision::Fp8 | Precision::Fp8Fast => 2f64.powi(-10),
                    _ => 2f64.powi(-134),
                };
                let cut = precision.is_fp8() && y.abs() == 448.0;
                let near = off <= precision.roundoff() * f64::from(x.abs()) + floor;
                assert!(!y.is_finite() || cut || near, "{precision}: {x:e} becomes {y:e}");
            }
        }
    }

    #[test]
    fn files_hold_the_name_and_refuse_others() {
        for precision in Precision::TRAINING {
            let text = serde_json::to_string(&precision).expect("writes");
            assert_eq!(text, format!("\"{precision}\""));
            assert_eq!(serde_json::from_str::<Precision>(&text).expect("reads"), precision);
        }
        let error = serde_json::from_str::<Precision>("\"fp8\"").expect_err("no such precision").to_string();
        assert!(error.contains("fp8") && error.contains("bf16"), "{error}");
    }
}
