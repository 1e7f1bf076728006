//! AZ-NAS's three scores besides the FLOP count: expressivity, progressivity, trainability.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::dense::jacobi;
use super::network::{block_sum, forward, lane, product, Net, View};
use super::{DH, DZ, ENTROPY_EPSILON, H, SIGN_STREAM, SINGULAR_EPSILON, VALUES, Z};
use crate::collective::BLOCK;
use crate::philox::philox4x32_10;

const STEP: usize = BLOCK as usize;

/// +1 or -1: the top bit of word `i` of a stream.
#[inline(always)]
pub fn sign(key: [u32; 2], stream: u32, i: u32) -> f32 {
    let [a, b, c, d] = philox4x32_10([i / 4, stream, 0, 0], key);
    // Selects: an index would put the block into local memory.
    let low = if i & 1 == 0 { a } else { b };
    let high = if i & 1 == 0 { c } else { d };
    let word = if i & 2 == 0 { low } else { high };
    if word >> 31 == 0 {
        1.0
    } else {
        -1.0
    }
}

/// `a a'` of the rows (`by_rows`) or `a' a` of the columns of a matrix `[rows, cols]`, less `mean` of each column, to `to`,
/// in f64.
#[inline(always)]
unsafe fn gram(a: *const f32, rows: usize, cols: usize, mean: *const f64, by_rows: bool, to: *mut f64) {
    let (size, depth) = if by_rows { (rows, cols) } else { (cols, rows) };
    // Element p of vector i is a[i * across + p * along].
    let (across, along) = if by_rows { (cols, 1) } else { (1, cols) };
    let (warp, lane) = (lane() >> 5, lane() & 31);
    let mut i = warp;
    while i < size {
        let mut j = lane;
        while j < size {
            let mut sum = 0.0;
            let mut p = 0;
            while p < depth {
                let (mean_i, mean_j) =
                    if by_rows { (*mean.add(p), *mean.add(p)) } else { (*mean.add(i), *mean.add(j)) };
                let x = *a.add(i * across + p * along) as f64 - mean_i;
                let y = *a.add(j * across + p * along) as f64 - mean_j;
                sum += x * y;
                p += 1;
            }
            *to.add(i * size + j) = sum;
            j += 32;
        }
        i += STEP / 32;
    }
    thread::sync_threads();
}

/// H = - sum of p ln(p + 1e-8), p the eigenvalues of the covariance of the features `[rows, width]` over their sum. The
/// eigenvalues other than zero are also those of the samples' Gram matrix: the smaller of the two is used.
#[inline(always)]
unsafe fn entropy(features: *const f32, rows: usize, width: usize, work: *mut f64) -> f64 {
    let size = if width < rows { width } else { rows };
    let (matrix, mean) = (work, work.add(size * size + size + 1));
    let mut i = lane();
    while i < width {
        let mut sum = 0.0;
        let mut n = 0;
        while n < rows {
            sum += *features.add(n * width + i) as f64;
            n += 1;
        }
        *mean.add(i) = sum / rows as f64;
        i += STEP;
    }
    thread::sync_threads();
    gram(features, rows, width, mean, rows <= width, matrix);
    jacobi(matrix, size, matrix.add(size * size));
    let mut trace = 0.0;
    let mut i = lane();
    while i < size {
        trace += *matrix.add(i * size + i);
        i += STEP;
    }
    let trace = block_sum(trace);
    let mut sum = 0.0;
    let mut i = lane();
    while i < size && trace > 0.0 {
        let share = *matrix.add(i * size + i) / trace;
        // Rounding may leave a zero eigenvalue below zero.
        let share = if share > 0.0 { share } else { 0.0 };
        sum -= share * (share + ENTROPY_EPSILON).ln();
        i += STEP;
    }
    block_sum(sum)
}

/// The greatest singular value of the matrix `[rows, cols]`.
#[inline(always)]
unsafe fn singular(a: *const f32, rows: usize, cols: usize, work: *mut f64) -> f64 {
    let size = if cols < rows { cols } else { rows };
    let (matrix, mean) = (work, work.add(size * size + size + 1));
    let mut i = lane();
    while i < cols {
        *mean.add(i) = 0.0;
        i += STEP;
    }
    thread::sync_threads();
    gram(a, rows, cols, mean, rows <= cols, matrix);
    jacobi(matrix, size, matrix.add(size * size));
    // Every thread looks at all of them.
    let mut greatest = 0.0;
    let mut i = 0;
    while i < size {
        let v = *matrix.add(i * size + i);
        greatest = if v > greatest { v } else { greatest };
        i += 1;
    }
    thread::sync_threads();
    greatest.sqrt()
}

/// Values: expressivity, progressivity, trainability, of the hidden layers; the input counts as features number 0.
///
/// # Safety
/// - One block of [`BLOCK`] threads a network; tables and workspaces as the module's docs say: 4 regions, and over all hidden
///   layers the most of `(rows + units) * inputs` as `lead`, and of what `entropy` and `singular` need as `f64`:
///   `size^2 + size + 1 + width` for the sizes of their matrices.
/// - `x` is `[rows, inputs]`; `out` has [`VALUES`] numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn score_az_nas(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    rows: u32,
    x: *const f32,
    seed_low: u32,
    seed_high: u32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, rows, work, work64);
    let (hidden, rows) = (net.layers - 1, net.rows);
    forward(&net, hidden, x);
    let mut before = entropy(x, rows, net.layer(0).inputs, net.work64);
    // Without a hidden layer there are no features: no entropy, and nothing that a gradient could pass.
    let (mut expressivity, mut trainability) = (0.0, 0.0);
    let mut progressivity = if hidden == 0 { -before } else { f64::INFINITY };
    let mut l = 0;
    while l < hidden {
        let layer = net.layer(l);
        let (inputs, units) = (layer.inputs, layer.units);
        let features = entropy(net.at(H, &layer), rows, units, net.work64);
        expressivity += features;
        progressivity = if features - before < progressivity { features - before } else { progressivity };
        before = features;

        // Random signs for the gradient of the output, pulled back to the input.
        let (z, dz, dh) = (net.at(Z, &layer), net.at(DZ, &layer), net.at(DH, &layer));
        let mut e = lane();
        while e < rows * units {
            let g = sign([seed_low, seed_high], SIGN_STREAM + l as u32, e as u32);
            *dh.add(e) = g;
            *dz.add(e) = g * layer.slope(*z.add(e));
            e += STEP;
        }
        thread::sync_threads();
        let pulled = net.lead();
        let weights = View::rows(layer.weights, inputs);
        product((rows, inputs, units), View::rows(dz, units), weights, |n, i, sum| {
            // SAFETY: n < rows and i < inputs; a layer that skips has as many inputs as units.
            unsafe {
                let through = if layer.skip { *dh.add(n * inputs + i) } else { 0.0 };
                *pulled.add(n * inputs + i) = sum + through;
            }
        });
        let mean = pulled.add(rows * inputs);
        let (a, b) = (View::transposed(pulled, inputs), View::rows(dh, units));
        product((inputs, units, rows), a, b, |i, o, sum| {
            // SAFETY: i < inputs and o < units.
            unsafe { *mean.add(i * units + o) = sum / rows as f32 }
        });
        let s = singular(mean, inputs, units, net.work64);
        trainability += -s - 1.0 / (s + SINGULAR_EPSILON) + 2.0;
        l += 1;
    }
    trainability = if hidden == 0 { 2.0 - 1.0 / SINGULAR_EPSILON } else { trainability / hidden as f64 };
    if lane() == 0 {
        let out = out.add(thread::block_idx_x() as usize * VALUES);
        *out = expressivity;
        *out.add(1) = progressivity;
        *out.add(2) = trainability;
    }
}
