//! NASWOT and SWAP from the signs of the hidden layers' pre-activations.

use cuda_std::prelude::*;
use cuda_std::shared_array;

use super::dense::cholesky;
use super::network::{forward, lane, report, share, share_triangle, Net};
use super::{DZ, NASWOT_RIDGE, SWAP_SAMPLES, Z};
use crate::collective::{group_all, Count, Max, BLOCK, LOG2_BLOCK};
use crate::ptx::ballot;

/// Warps of a block.
const WARPS: usize = BLOCK as usize / 32;

/// Values: NASWOT, SWAP, and the margin: the least |z| above zero, as a share of its layer's greatest. Where that is within
/// the rounding of `f32`, a sign may be wrong, and the host decides in `f64`.
///
/// # Safety
/// - One block of [`BLOCK`] threads a network; tables and workspaces as the module's docs say: 3 regions and `rows * rows`
///   numbers of `f64`.
/// - `x` is `[rows, inputs]`; `out` has [`VALUES`](super::VALUES) numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn score_codes(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    rows: u32,
    x: *const f32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, rows, work, work64);
    let (hidden, rows) = (net.layers - 1, net.rows);
    forward(&net, hidden, x);

    // A sample's code: a bit for each unit, layer after layer, 32 a word; word w of sample n is codes[w rows + n].
    // A unit's code: a bit for each of the first samples. Both live where gradients would.
    let codes = net.at(DZ, &net.layer(0)) as *mut u32;
    let (warp, column) = (lane() >> 5, lane() & 31);
    let (mut words, mut units, mut margin) = (0, 0, f32::INFINITY);
    let mut l = 0;
    while l < hidden {
        let layer = net.layer(l);
        let z = net.at(Z, &layer) as *const f32;
        let in_layer = (layer.units + 31) >> 5;
        // A word a warp, a bit a lane.
        let mut w = 0;
        while w < in_layer {
            let o = w * 32 + column;
            let mut n = warp;
            while n < rows {
                let word = ballot(o < layer.units && *z.add(n * layer.units + o) > 0.0);
                if column == 0 {
                    *codes.add((words + w) * rows + n) = word;
                }
                n += WARPS;
            }
            w += 1;
        }
        let (mut greatest, mut least) = (0.0f32, f32::NEG_INFINITY);
        share(rows * layer.units, |e| {
            let size = (*z.add(e)).abs();
            greatest = if size > greatest { size } else { greatest };
            least = if size > 0.0 && -size > least { -size } else { least };
        });
        greatest = group_all::<Max>(greatest, LOG2_BLOCK, shared_array![f32; 8]);
        least = group_all::<Max>(least, LOG2_BLOCK, shared_array![f32; 8]);
        if greatest > 0.0 {
            let share = -least / greatest;
            margin = if share < margin { share } else { margin };
        }
        words += in_layer;
        units += layer.units;
        l += 1;
    }
    thread::sync_threads();

    // K(n, m) = units on which two samples agree = units - Hamming distance; the lower triangle.
    let kernel = net.work64;
    let (all, end) = (rows as u32, (words * rows) as u32);
    share_triangle(all, |n, m| {
        let (mut agree, mut w) = (units as u32, 0);
        while w < end {
            agree -= (*codes.add((w + n) as usize) ^ *codes.add((w + m) as usize)).count_ones();
            w += all;
        }
        let ridge = if n == m { NASWOT_RIDGE } else { 0.0 };
        *kernel.add((n * all + m) as usize) = agree as f64 + ridge;
    });
    thread::sync_threads();
    let naswot = cholesky(kernel, rows);

    let samples = if rows < SWAP_SAMPLES { rows } else { SWAP_SAMPLES };
    let mut l = 0;
    while l < hidden {
        let layer = net.layer(l);
        let z = net.at(Z, &layer) as *const f32;
        let mut o = warp;
        while o < layer.units {
            let code = ballot(column < samples && *z.add(column * layer.units + o) > 0.0);
            if column == 0 {
                *codes.add(layer.before + o) = code;
            }
            o += WARPS;
        }
        l += 1;
    }
    thread::sync_threads();
    let mut distinct = 0u32;
    share(units, |unit| {
        let code = *codes.add(unit);
        let mut earlier = 0;
        while earlier < unit && *codes.add(earlier) != code {
            earlier += 1;
        }
        distinct += (earlier == unit) as u32;
    });
    let distinct = group_all::<Count>(distinct, LOG2_BLOCK, shared_array![u32; 8]);
    report(out, [naswot, distinct as f64, margin as f64]);
}
