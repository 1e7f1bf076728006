//! AZ-NAS's three scores besides the FLOP count: expressivity, progressivity, trainability.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::dense::jacobi;
use super::network::{forward, product, pull, report, share, total, Net, View};
use super::{DH, DZ, ENTROPY_EPSILON, H, SIGN_STREAM, SINGULAR_EPSILON, Z};
use crate::collective::BLOCK;
use crate::philox::philox4x32_10;

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

/// The eigenvalues of `a aᵀ` or `aᵀ a`, whichever is smaller, to the diagonal of `work`, for a matrix `[rows, cols]`, less
/// each column's mean if `centred`; returns their number. They are the squares of the singular values.
#[inline(always)]
unsafe fn spectrum(a: *const f32, rows: usize, cols: usize, centred: bool, work: *mut f64) -> usize {
    let (rows, cols) = (rows as u32, cols as u32);
    let by_rows = rows <= cols;
    let (size, depth) = if by_rows { (rows, cols) } else { (cols, rows) };
    let (matrix, mean) = (work, work.add((size * size + size + 1) as usize));
    let mut i = thread::thread_idx_x();
    while i < cols {
        let mut sum = 0.0;
        let mut n = 0;
        while centred && n < rows {
            sum += *a.add((n * cols + i) as usize) as f64;
            n += 1;
        }
        *mean.add(i as usize) = sum / rows as f64;
        i += BLOCK;
    }
    thread::sync_threads();
    // Element p of vector i is a[i * across + p * along].
    let (across, along) = if by_rows { (cols, 1) } else { (1, cols) };
    let (warp, column) = (thread::thread_idx_x() >> 5, thread::thread_idx_x() & 31);
    let mut i = warp;
    while i < size {
        let mut j = column;
        while j < size {
            let mut sum = 0.0;
            let mut p = 0;
            while p < depth {
                let (of_i, of_j) = if by_rows { (p, p) } else { (i, j) };
                let x = *a.add((i * across + p * along) as usize) as f64 - *mean.add(of_i as usize);
                let y = *a.add((j * across + p * along) as usize) as f64 - *mean.add(of_j as usize);
                sum += x * y;
                p += 1;
            }
            *matrix.add((i * size + j) as usize) = sum;
            j += 32;
        }
        i += BLOCK / 32;
    }
    thread::sync_threads();
    jacobi(matrix, size as usize, matrix.add((size * size) as usize));
    size as usize
}

/// H = - sum of p ln(p + 1e-8), p the eigenvalues on the diagonal of a matrix over their sum.
#[inline(always)]
unsafe fn entropy(matrix: *const f64, size: usize) -> f64 {
    let trace = total(size, |i| *matrix.add(i * size + i));
    total(if trace > 0.0 { size } else { 0 }, |i| {
        let p = *matrix.add(i * size + i) / trace;
        // Rounding may leave a zero eigenvalue below zero.
        let p = if p > 0.0 { p } else { 0.0 };
        -p * (p + ENTROPY_EPSILON).ln()
    })
}

/// The square root of the greatest number on the diagonal of a matrix. Every thread looks at all of them.
#[inline(always)]
unsafe fn greatest_root(matrix: *const f64, size: usize) -> f64 {
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

/// `mean_n g_in g_outᵀ` `[inputs, units]` of layer `l`, where g_out are random signs and g_in is what the layer makes of them
/// backwards; returns where it is.
#[inline(always)]
unsafe fn pulled_signs(net: &Net, l: usize, key: [u32; 2]) -> *const f32 {
    let layer = net.layer(l);
    let (rows, inputs, units) = (net.rows, layer.inputs, layer.units);
    let (z, dz, dh) = (net.at(Z, &layer), net.at(DZ, &layer), net.at(DH, &layer));
    share(rows * units, |e| {
        let g = sign(key, SIGN_STREAM + l as u32, e as u32);
        *dh.add(e) = g;
        *dz.add(e) = g * layer.slope(*z.add(e));
    });
    thread::sync_threads();
    let pulled = net.lead();
    pull(net, &layer, 0, pulled);
    let mean = pulled.add(rows * inputs);
    let (a, b) = (View::transposed(pulled, inputs), View::rows(dh, units));
    product((inputs, units, rows), a, b, |i, o, sum| {
        // SAFETY: i < inputs and o < units.
        unsafe { *mean.add(i * units + o) = sum / rows as f32 }
    });
    mean
}

/// Values: expressivity, progressivity, trainability, of the hidden layers; the input counts as features number 0.
///
/// # Safety
/// - One block of [`BLOCK`] threads a network; tables and workspaces as the module's docs say: 4 regions, and over all hidden
///   layers the most of `(rows + units) * inputs` as `lead`, and of what `spectrum` needs as `f64`:
///   `size^2 + size + 1 + cols` for the sizes of its matrices.
/// - `x` is `[rows, inputs]`; `out` has [`VALUES`](super::VALUES) numbers a network.
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
    let hidden = net.layers - 1;
    forward(&net, hidden, x);
    let (mut expressivity, mut progressivity, mut trainability) = (0.0, f64::INFINITY, 0.0);
    let mut before = 0.0;
    // Two spectra in turn, for l = 0 to the number of hidden layers: what enters layer l, then the gradient through it.
    let mut step = 0;
    while step <= 2 * hidden {
        let l = step / 2;
        let layer = net.layer(l);
        if step & 1 == 0 {
            let size = spectrum(net.input(H, l, x), net.rows, layer.inputs, true, net.work64);
            let features = entropy(net.work64, size);
            let growth = features - before;
            if l > 0 {
                expressivity += features;
                progressivity = if growth < progressivity { growth } else { progressivity };
            }
            before = features;
        } else {
            let mean = pulled_signs(&net, l, [seed_low, seed_high]);
            let size = spectrum(mean, layer.inputs, layer.units, false, net.work64);
            let s = greatest_root(net.work64, size);
            trainability += 2.0 - s - 1.0 / (s + SINGULAR_EPSILON);
        }
        thread::sync_threads();
        step += 1;
    }
    // Without a hidden layer there are no features: no entropy, and nothing that a gradient could pass.
    progressivity = if hidden == 0 { -before } else { progressivity };
    trainability = if hidden == 0 { 2.0 - 1.0 / SINGULAR_EPSILON } else { trainability / hidden as f64 };
    report(out, [expressivity, progressivity, trainability]);
}
