//! Philox 4x32-10, the counter-based generator behind initialisers and dropout, and the maps from its words to numbers.
//!
//! Source: Salmon, Moraes, Dror, Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011. A block of four words is
//! a pure function of a 128-bit counter and a 64-bit key, so element `i` of a tensor is the same number whatever the
//! launch shape, the device or the number of workers:
//!
//! ```text
//! key     = (seed low, seed high)
//! counter = (i / 4, stream, step low, step high)        word i % 4 of the block belongs to element i
//! ```
//!
//! `stream` tells the tensors of one program apart and `step` the executions of one operation. Every function here is
//! plain integer and IEEE arithmetic that rounds correctly, with fused multiply-adds written out as such, so kernels and
//! host code that call it get the same bits. The host crate calls these functions too.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

/// 2^-24: the spacing of [`uniform`].
const SPACING: f32 = 1.0 / 16_777_216.0;

/// One block of Philox 4x32 with ten rounds.
#[inline(always)]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    let mut round = 0;
    while round < 10 {
        let p0 = 0xd251_1f53_u64 * c0 as u64;
        let p1 = 0xcd9e_8d57_u64 * c2 as u64;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
        round += 1;
    }
    [c0, c1, c2, c3]
}

/// A number of [0, 1) from a word: its top 24 bits times 2^-24, exactly.
#[inline(always)]
pub fn uniform(word: u32) -> f32 {
    // The top 24 bits fit an i32, whose conversion vectorises everywhere.
    (word >> 8) as i32 as f32 * SPACING
}

/// The natural logarithm of a positive normal number: `m * 2^e` with m in [sqrt(1/2), sqrt(2)), `f = m - 1`, and
/// `ln m = f - f^2/2 + f^3 P(f)` with a minimax `P` of degree 8. Within 1.5 ulp over the arguments used here.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let bits = x.to_bits();
    let e = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((e << 23) as u32)) - 1.0;
    let e = e as f32;
    let mut p = 0.069_152_97_f32;
    p = p.mul_add(f, -0.117_897_82);
    p = p.mul_add(f, 0.118_729_94);
    p = p.mul_add(f, -0.123_843_54);
    p = p.mul_add(f, 0.142_186_57);
    p = p.mul_add(f, -0.166_692_51);
    p = p.mul_add(f, 0.200_022_27);
    p = p.mul_add(f, -0.249_999_87);
    p = p.mul_add(f, 0.333_333_1);
    let square = f * f;
    // No product meets a plain sum anywhere below: a compiler that contracts could not change the bits.
    let tail = square.mul_add(-0.5, square * f * p);
    let tail = e.mul_add(LN2_LO, tail);
    e.mul_add(LN2_HI, f + tail)
}

/// Cosine and sine of 2 pi times the uniform number of `word`. The angle is reduced to an eighth of a turn in integers,
/// exactly; then `sin(2 pi t) = t S(t^2)` and `cos(2 pi t) = C(t^2)`, minimax of degree 4. Within 2 ulp.
#[inline(always)]
fn cos_sin_turn(word: u32) -> (f32, f32) {
    let k = (word >> 8) as i32;
    let quadrant = (k + (1 << 21)) >> 22;
    let t = (k - (quadrant << 22)) as f32 * SPACING;
    let z = t * t;
    let mut s = 41.472_95_f32;
    s = s.mul_add(z, -76.697_87);
    s = s.mul_add(z, 81.605_2);
    s = s.mul_add(z, -41.341_7);
    s = s.mul_add(z, 6.283_185_5);
    let s = s * t;
    let mut c = 59.220_406_f32;
    c = c.mul_add(z, -85.442_856);
    c = c.mul_add(z, 64.939_316);
    c = c.mul_add(z, -19.739_208);
    c = c.mul_add(z, 1.0);
    // Quadrants 1 and 3 swap the two; the signs follow from the quadrant's bits (4 is 0 again).
    let quadrant = quadrant as u32;
    let (cos, sin) = if quadrant & 1 == 1 { (s, c) } else { (c, s) };
    let negate = |x: f32, bit: u32| f32::from_bits(x.to_bits() ^ (bit << 30));
    (negate(cos, (quadrant + 1) & 2), negate(sin, quadrant & 2))
}

/// Two independent standard normal numbers from two words, by Box and Muller: `sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)`
/// with `u = (top 24 bits of a + 1) 2^-24`, in (0, 1], and `v` the [`uniform`] of `b`. At most 5.77 in magnitude; within
/// 4 ulp of the exact value.
#[inline(always)]
pub fn normal_pair(a: u32, b: u32) -> (f32, f32) {
    let u = ((a >> 8) as i32 + 1) as f32 * SPACING;
    let radius = (-2.0 * ln(u)).sqrt();
    let (cos, sin) = cos_sin_turn(b);
    (radius * cos, radius * sin)
}

/// Four standard normal numbers from one block.
#[inline(always)]
pub fn normal4(block: [u32; 4]) -> [f32; 4] {
    let (a, b) = normal_pair(block[0], block[1]);
    let (c, d) = normal_pair(block[2], block[3]);
    [a, b, c, d]
}

/// Writes block `i` of `n`, under counter `counters[4 i..]` and key `keys[2 i..]`, to `out[4 i..]`: what the generator's
/// known-answer test runs.
///
/// # Safety
/// - `counters` and `out` cover `4 n` words, `keys` covers `2 n`; `out` overlaps neither.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
pub unsafe fn philox_blocks(n: u32, counters: *const u32, keys: *const u32, out: *mut u32) {
    let i = thread::index_1d();
    if i < n {
        let i = i as usize;
        // SAFETY: i < n, and the buffers cover n blocks (the kernel's contract).
        unsafe {
            let c = counters.add(4 * i);
            let k = keys.add(2 * i);
            let block = philox4x32_10([*c, *c.add(1), *c.add(2), *c.add(3)], [*k, *k.add(1)]);
            let o = out.add(4 * i);
            *o = block[0];
            *o.add(1) = block[1];
            *o.add(2) = block[2];
            *o.add(3) = block[3];
        }
    }
}
