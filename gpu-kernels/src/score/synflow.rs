//! synflow of the linear network: what flows from the inputs to the outputs through the weights' magnitudes.

use cuda_std::prelude::*;
use cuda_std::shared_array;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::network::{lane, report, share, total, Net, Sum64};
use super::{H, Z};
use crate::collective::{group_all, Max, BLOCK, LOG2_BLOCK};

/// 2^e, for e within the normal numbers of `f64` (cut to 1000 either way).
#[inline(always)]
fn power(e: i32) -> f64 {
    let e = if e > 1000 { 1000 } else { e };
    let e = if e < -1000 { -1000 } else { e };
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// Divides a vector by the power of two below its greatest element, exactly, and returns the exponent (0 for a vector of
/// zeros).
#[inline(always)]
unsafe fn rescale(v: *mut f32, n: usize) -> i32 {
    let mut greatest = 0.0;
    share(n, |i| greatest = if *v.add(i) > greatest { *v.add(i) } else { greatest });
    let greatest = group_all::<Max>(greatest, LOG2_BLOCK, shared_array![f32; 8]);
    // One decision of the block.
    if thread::sync_threads_or(u32::from(greatest > 0.0)) == 0 {
        return 0;
    }
    // Within the exponents whose negative is that of a normal number too.
    let e = (greatest.to_bits() >> 23) as i32 - 127;
    let e = if e > 126 { 126 } else { e };
    let e = if e < -126 { -126 } else { e };
    let factor = f32::from_bits(((127 - e) as u32) << 23);
    share(n, |i| *v.add(i) *= factor);
    thread::sync_threads();
    e
}

/// The inner product of two vectors.
#[inline(always)]
unsafe fn inner(a: *const f32, b: *const f32, n: usize) -> f64 {
    total(n, |i| *a.add(i) as f64 * *b.add(i) as f64)
}

/// Values: synflow (its logarithm), and the largest relative difference between what passes a layer and the whole.
///
/// With |w| for weights, no biases and no activations, an input of ones gives R = sum of the outputs. What passes layer l is
/// F_l = sum of |w dR/d|w|| over its weights, plus, where it skips, what flows beside them: R for every layer. The value is
/// ln of the sum of the layers' F without skips. Vectors are divided by a power of two after every layer, and the exponents
/// added up: nothing overflows, however deep the network is, and nothing is rounded by it.
///
/// # Safety
/// - One block of [`BLOCK`] threads a network; tables and workspaces as the module's docs say: `lead` of `2 inputs`, 2 regions
///   for `rows = 1`, and `layers + 1` numbers of `f64`.
/// - `out` has [`VALUES`](super::VALUES) numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn score_synflow(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, 1, work, work64);
    let inputs = net.layer(0).inputs;
    let (ones, pulled) = (net.lead(), net.lead().add(inputs));
    share(inputs, |i| *ones.add(i) = 1.0);
    // Of layer l: what enters it, h, is the scaled vector times 2^exponents[l].
    let exponents = net.work64 as *mut i32;
    let mut exponent = 0;
    if lane() == 0 {
        *exponents = 0;
    }
    thread::sync_threads();
    let (warp, column) = (lane() >> 5, lane() & 31);
    let mut l = 0;
    while l < net.layers {
        let layer = net.layer(l);
        let (h, to) = (net.input(H, l, ones), net.at(H, &layer));
        // A warp a unit; every warp takes part in every round, so that the shuffles are whole.
        let mut first = 0;
        while first < layer.units {
            let o = first + warp;
            let mut sum = 0.0;
            let weights = layer.weights.add(o * layer.inputs);
            let mut i = if o < layer.units { column } else { layer.inputs };
            while i < layer.inputs {
                sum += (*weights.add(i)).abs() as f64 * *h.add(i) as f64;
                i += 32;
            }
            let sum = group_all::<Sum64>(sum, 5, shared_array![f64; 8]);
            if column == 0 && o < layer.units {
                let beside = if layer.skip { *h.add(o) as f64 } else { 0.0 };
                *to.add(o) = (sum + beside) as f32;
            }
            first += BLOCK as usize / 32;
        }
        thread::sync_threads();
        exponent += rescale(to, layer.units);
        if lane() == 0 {
            *exponents.add(l + 1) = exponent;
        }
        l += 1;
    }
    let last = net.layer(net.layers - 1);
    let (h, u) = (net.at(H, &last), net.at(Z, &last));
    share(last.units, |o| *u.add(o) = 1.0);
    thread::sync_threads();
    // R is this times 2^exponent; so are all the flows below.
    let whole = inner(h, u, last.units);

    let (mut flows, mut worst, mut back) = (0.0, 0.0, 0);
    let mut l = net.layers;
    while l > 0 {
        l -= 1;
        let layer = net.layer(l);
        let (h, u) = (net.input(H, l, ones), net.at(Z, &layer));
        let down = if l == 0 { pulled } else { net.at(Z, &net.layer(l - 1)) };
        share(layer.inputs, |i| {
            let mut sum = 0.0;
            let mut weights = layer.weights.add(i);
            let mut o = 0;
            while o < layer.units {
                sum += (*weights).abs() as f64 * *u.add(o) as f64;
                weights = weights.add(layer.inputs);
                o += 1;
            }
            *down.add(i) = sum as f32;
        });
        thread::sync_threads();
        let through = inner(h, down, layer.inputs);
        let beside = if layer.skip { inner(h, u, layer.inputs) } else { 0.0 };
        let scale = power(*exponents.add(l) + back - exponent);
        flows += through * scale;
        let off = ((through + beside) * scale / whole - 1.0).abs();
        worst = if off > worst { off } else { worst };
        if layer.skip {
            share(layer.inputs, |i| *down.add(i) += *u.add(i));
        }
        thread::sync_threads();
        back += rescale(down, layer.inputs);
    }
    report(out, [flows.ln() + exponent as f64 * core::f64::consts::LN_2, worst]);
}
