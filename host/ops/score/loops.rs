//! The loops under the scores on `cpu`: matrix products through the blocked one of [`sgemm`](crate::ops::sgemm), activations
//! and their derivatives, sign codes, flows. Written once each, compiled for every instruction set.

use gpu_kernels::score as layout;

use super::curvature;
use crate::ops::activation::Activation;
use crate::ops::cpu::simd;
use crate::ops::random::for_each_group;
use crate::ops::sgemm::{self, Product, sgemm};

/// The first `n` elements, allocated if need be; contents arbitrary.
pub(super) fn room<T: Copy + Default>(v: &mut Vec<T>, n: usize) -> &mut [T] {
    if v.len() < n {
        v.resize(n, T::default());
    }
    &mut v[..n]
}

/// A row-major matrix, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    p: &'a [f32],
    row: usize,
    col: usize,
}

pub(super) fn rows(p: &[f32], cols: usize) -> View<'_> {
    View { p, row: cols, col: 1 }
}
pub(super) fn transposed(p: &[f32], cols: usize) -> View<'_> {
    View { p, row: 1, col: cols }
}

/// `c = a b + beta c + bias`.
pub(super) fn product(
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    bias: Option<&[f32]>,
    beta: f32,
    c: &mut [f32],
    packed: &mut Vec<f32>,
) {
    let (a_row, a_k) = (a.row, a.col);
    let (b_k, b_col) = (b.row, b.col);
    let activation = Activation::Identity;
    let x = Product { m, n, k, a: a.p, a_row, a_k, b: b.p, b_k, b_col, alpha: 1.0, beta, bias, activation };
    sgemm(&x, c, room(packed, sgemm::workspace(m, n, k)));
}

/// `$name(activation, z, y)`: y = `$body` of each z, one loop for each activation.
macro_rules! elementwise {
    ($(#[$doc:meta])* $name:ident, |$f:ident, $x:ident| $body:expr) => {
        simd! {
            $(#[$doc])*
            pub(super) fn $name(activation: Activation, z: &[f32], y: &mut [f32]) {
                macro_rules! each {
                    ($function:expr) => {{
                        let $f = $function;
                        for (y, &$x) in y.iter_mut().zip(z) {
                            *y = $body;
                        }
                    }};
                }
                match activation {
                    Activation::Identity => each!(Activation::Identity),
                    Activation::Relu => each!(Activation::Relu),
                    Activation::LeakyRelu(p) => each!(Activation::LeakyRelu(p)),
                    Activation::Elu(p) => each!(Activation::Elu(p)),
                    Activation::Selu => each!(Activation::Selu),
                    Activation::Gelu => each!(Activation::Gelu),
                    Activation::GeluTanh => each!(Activation::GeluTanh),
                    Activation::Silu => each!(Activation::Silu),
                    Activation::Mish => each!(Activation::Mish),
                    Activation::Sigmoid => each!(Activation::Sigmoid),
                    Activation::Tanh => each!(Activation::Tanh),
                    Activation::Softplus => each!(Activation::Softplus),
                    Activation::HardSwish => each!(Activation::HardSwish),
                }
            }
        }
    };
}
elementwise!(
    /// f(z).
    apply, |f, x| f.apply(x)
);
elementwise!(
    /// f'(z).
    slopes, |f, x| f.derivative(if f.grad_from_output() { f.apply(x) } else { x })
);
elementwise!(
    /// f''(z).
    curvatures, |f, x| curvature(f, x)
);

simd! {
    /// Bits of `z > 0` for each row, from word `first` of its `words` on; the greatest |z|, and the least above zero.
    pub(super) fn signs(z: &[f32], units: usize, first: usize, words: usize, codes: &mut [u32], sizes: &mut [f32; 2]) {
        for (row, z) in z.chunks_exact(units).enumerate() {
            for (w, z) in z.chunks(32).enumerate() {
                let mut word = 0u32;
                for (bit, &v) in z.iter().enumerate() {
                    word |= u32::from(v > 0.0) << bit;
                }
                codes[row * words + first + w] = word;
            }
        }
        let (mut greatest, mut least) = (0.0f32, f32::INFINITY);
        for &v in z {
            let size = v.abs();
            greatest = if size > greatest { size } else { greatest };
            let size = if size > 0.0 { size } else { f32::INFINITY };
            least = if size < least { size } else { least };
        }
        *sizes = [greatest, least];
    }
}

simd! {
    /// For each unit a bit for each of the first samples.
    pub(super) fn unit_codes(z: &[f32], units: usize, codes: &mut [u32]) {
        for (bit, z) in z.chunks_exact(units).take(layout::SWAP_SAMPLES).enumerate() {
            for (code, &v) in codes.iter_mut().zip(z) {
                *code |= u32::from(v > 0.0) << bit;
            }
        }
    }
}

simd! {
    /// NASWOT's kernel matrix, the lower triangle.
    pub(super) fn agreements(codes: &[u32], words: usize, units: usize, n: usize, kernel: &mut [f64]) {
        for i in 0..n {
            for j in 0..=i {
                let (a, b) = (&codes[i * words..(i + 1) * words], &codes[j * words..(j + 1) * words]);
                let mut distance = 0;
                for (x, y) in a.iter().zip(b) {
                    distance += (x ^ y).count_ones();
                }
                kernel[i * n + j] = (units - distance as usize) as f64;
            }
            kernel[i * n + i] += layout::NASWOT_RIDGE;
        }
    }
}

simd! {
    /// `to = |w| from`.
    pub(super) fn pass(w: &[f32], from: &[f32], to: &mut [f32]) {
        for (row, to) in w.chunks_exact(from.len()).zip(to) {
            let mut sums = [0.0f32; 16];
            let (w16, f16) = (row.chunks_exact(16), from.chunks_exact(16));
            let mut rest = 0.0;
            for (w, f) in w16.remainder().iter().zip(f16.remainder()) {
                rest += w.abs() * f;
            }
            for (w, f) in w16.zip(f16) {
                for l in 0..16 {
                    sums[l] += w[l].abs() * f[l];
                }
            }
            *to = sums.iter().sum::<f32>() + rest;
        }
    }
}

simd! {
    /// `to = |w|ᵀ from`.
    pub(super) fn pull(w: &[f32], from: &[f32], to: &mut [f32]) {
        to.fill(0.0);
        for (row, &f) in w.chunks_exact(to.len()).zip(from) {
            for (t, w) in to.iter_mut().zip(row) {
                *t += w.abs() * f;
            }
        }
    }
}

/// Divides a vector by the power of two below its greatest element, exactly, and returns the exponent (0 for a vector of
/// zeros).
pub(super) fn rescale(v: &mut [f32]) -> i32 {
    let greatest = v.iter().fold(0.0f32, |m, &x| m.max(x));
    if greatest <= 0.0 {
        return 0;
    }
    let e = ((greatest.to_bits() >> 23) as i32 - 127).clamp(-126, 126);
    let factor = f32::from_bits(((127 - e) as u32) << 23);
    v.iter_mut().for_each(|x| *x *= factor);
    e
}

simd! {
    /// The random signs of the gradient of layer `l`'s output, as [`sign`](super::reference::sign) says them.
    pub(super) fn random_signs(seed: u64, l: usize, to: &mut [f32]) {
        let key = [seed as u32, (seed >> 32) as u32];
        let sign = |word: u32| if word >> 31 == 0 { 1.0 } else { -1.0 };
        let map = |w: [u32; 4]| [sign(w[0]), sign(w[1]), sign(w[2]), sign(w[3])];
        for_each_group(to.len(), 0, key, layout::SIGN_STREAM + l as u32, [0, 0], map, |j, numbers| {
            let n = numbers.len().min(to.len() - j);
            to[j..j + n].copy_from_slice(&numbers[..n]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::sign;
    use super::*;

    #[test]
    fn signs_are_those_of_the_reference() {
        for n in [1, 5, 64, 131] {
            let mut signs = vec![0.0; n];
            random_signs(77, 3, &mut signs);
            let want: Vec<f32> = (0..n).map(|i| sign(77, 3, i)).collect();
            assert_eq!(signs, want);
        }
    }
}
