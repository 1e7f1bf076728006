//! grad-norm, snip, fisher and ZiCo from one backward pass of the mean loss.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::network::{
    backward, block_sum, forward, loss_gradient, product, report, total, Net, Target, View,
};
use super::{DZ, H, Z, ZICO_FLOOR};

/// Values: grad-norm, snip, fisher, ZiCo. Leaves [`Z`], [`H`], [`DZ`] and [`super::DH`] filled, and the gradient of the weights at
/// the start of the workspace, for `score_grasp`.
///
/// ZiCo's two minibatches are the first `rows / 2` rows and the rest: the gradient of the mean over one of them is its rows'
/// share of the gradient of the mean over all, scaled up.
///
/// # Safety
/// - One block of [`BLOCK`](super::BLOCK) threads a network; tables and workspaces as the module's docs say: `lead` as long as the
///   network's parameters, and 4 regions. `rows >= 2`.
/// - `x` is `[rows, inputs]`; `labels` has `rows` classes below the outputs, or is null and `values` is `[rows, outputs]`.
/// - `out` has [`VALUES`](super::VALUES) numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(super::BLOCK))]
pub unsafe fn score_gradients(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    rows: u32,
    x: *const f32,
    labels: *const u32,
    values: *const f32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, rows, work, work64);
    forward(&net, net.layers, x);
    loss_gradient(&net, Target { labels, values });
    backward(&net, core::ptr::null_mut());

    let rows = net.rows;
    let half = rows / 2;
    let (scale_1, scale_2) = (rows as f64 / half as f64, rows as f64 / (rows - half) as f64);
    let (mut grad_norm, mut snip, mut fisher, mut zico) = (0.0, 0.0, 0.0, 0.0);
    let mut l = 0;
    while l < net.layers {
        let layer = net.layer(l);
        let (inputs, units) = (layer.inputs, layer.units);
        let (z, dz, input) = (net.at(Z, &layer), net.at(DZ, &layer), net.input(H, l, x));
        let gradient = net.gradient(&layer);

        let sensitivity = total(rows * units, |e| {
            let product = (*z.add(e) * *dz.add(e)) as f64;
            product * product
        });
        fisher += 0.5 * sensitivity / rows as f64;

        // dL/dw(o, i) = sum over n of dz(n, o) input(n, i); first one minibatch, then the other on top.
        product(
            (units, inputs, half),
            View::transposed(dz, units),
            View::rows(input, inputs),
            |o, i, sum| {
                // SAFETY: o < units and i < inputs.
                unsafe { *gradient.add(o * inputs + i) = sum }
            },
        );
        let (mut square, mut saliency, mut ratio) = (0.0, 0.0, 0.0);
        let (dz, input) = (dz.add(half * units), input.add(half * inputs));
        let size = (units, inputs, rows - half);
        product(size, View::transposed(dz, units), View::rows(input, inputs), |o, i, second| {
            let at = o * inputs + i;
            // SAFETY: as above, and the same thread wrote the first minibatch's share.
            let (first, weight) = unsafe { (*gradient.add(at), *layer.weights.add(at)) };
            let g = first + second;
            // SAFETY: as above.
            unsafe { *gradient.add(at) = g };
            square += g as f64 * g as f64;
            saliency += (weight as f64 * g as f64).abs();
            let (g1, g2) = (first as f64 * scale_1, second as f64 * scale_2);
            let mean = g1.abs() + g2.abs();
            if mean > 0.0 {
                ratio += mean / ((g1 - g2).abs() + ZICO_FLOOR * mean);
            }
        });
        grad_norm += block_sum(square).sqrt();
        snip += block_sum(saliency);
        let ratio = block_sum(ratio);
        if ratio > 0.0 {
            zico += ratio.ln();
        }
        l += 1;
    }
    report(out, [grad_norm, snip, fisher, zico]);
}
