//! grasp: the Hessian times the gradient, by Pearlmutter's R-operator.

use cuda_std::prelude::*;

use super::curvature::curvature;
use super::network::{block_sum, product, pull, report, share, Net, Target, View};
use super::{DH, DZ, H, R, Z};

/// `R{.}`, the derivative along the gradient v of the weights (biases stay): fills the regions `R + Z` and `R + H`.
#[inline(always)]
unsafe fn forward_along(net: &Net, x: *const f32) {
    let mut l = 0;
    while l < net.layers {
        let layer = net.layer(l);
        let (inputs, units) = (layer.inputs, layer.units);
        let (input, along) = (net.input(H, l, x), net.input(R + H, l, core::ptr::null()));
        let (z, rz, rh) = (net.at(Z, &layer), net.at(R + Z, &layer), net.at(R + H, &layer));
        let size = (net.rows, units, inputs);
        // R{z} = input vᵀ + R{input} wᵀ
        let direction = View::transposed(net.gradient(&layer), inputs);
        product(size, View::rows(input, inputs), direction, |n, o, sum| {
            // SAFETY: n < rows and o < units.
            unsafe { *rz.add(n * units + o) = sum }
        });
        if l > 0 {
            let weights = View::transposed(layer.weights, inputs);
            product(size, View::rows(along, inputs), weights, |n, o, sum| {
                // SAFETY: as above, and the same thread wrote it.
                unsafe { *rz.add(n * units + o) += sum }
            });
        }
        share(net.rows * units, |e| {
            let y = layer.slope(*z.add(e)) * *rz.add(e);
            *rh.add(e) = if layer.skip && l > 0 { y + *along.add(e) } else { y };
        });
        thread::sync_threads();
        l += 1;
    }
}

/// `R{dL/dh}` of the last layer. With p = softmax(h) it is `p (R{h} - <p, R{h}>) / rows`; for squared errors `2 R{h}` over
/// the number of elements.
#[inline(always)]
unsafe fn loss_along(net: &Net, target: Target) {
    let layer = net.layer(net.layers - 1);
    let outputs = layer.units;
    let (dh, rh, rdh) = (net.at(DH, &layer), net.at(R + H, &layer), net.at(R + DH, &layer));
    share(net.rows, |n| {
        let (dh, rh, rdh) = (dh.add(n * outputs), rh.add(n * outputs), rdh.add(n * outputs));
        let mut o = 0;
        if target.labels.is_null() {
            while o < outputs {
                *rdh.add(o) = 2.0 * *rh.add(o) / (net.rows * outputs) as f32;
                o += 1;
            }
        } else {
            // p is what the loss's gradient was made of: (p - 1 where the label is) / rows.
            let label = *target.labels.add(n) as usize;
            let rows = net.rows as f32;
            let hit = |o: usize| if o == label { 1.0 } else { 0.0 };
            let mut mean = 0.0;
            while o < outputs {
                mean += (*dh.add(o) * rows + hit(o)) * *rh.add(o);
                o += 1;
            }
            o = 0;
            while o < outputs {
                *rdh.add(o) = (*dh.add(o) * rows + hit(o)) * (*rh.add(o) - mean) / rows;
                o += 1;
            }
        }
    });
    thread::sync_threads();
}

/// Value: grasp = - sum over the weights of w (H v), with v = dL/dw and H the Hessian of the mean loss in the weights.
///
/// # Safety
/// - As `score_gradients`, which ran before on the same workspace with 8 regions.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(super::BLOCK))]
pub unsafe fn score_grasp(
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
    forward_along(&net, x);
    loss_along(&net, Target { labels, values });

    let mut dot = 0.0;
    let mut l = net.layers;
    while l > 0 {
        l -= 1;
        let layer = net.layer(l);
        let (inputs, units) = (layer.inputs, layer.units);
        let (z, dz, dh) = (net.at(Z, &layer), net.at(DZ, &layer), net.at(DH, &layer));
        let (rz, rdz, rdh) = (net.at(R + Z, &layer), net.at(R + DZ, &layer), net.at(R + DH, &layer));
        share(net.rows * units, |e| {
            let bent = *dh.add(e) * curvature(layer.kind, layer.param, *z.add(e)) * *rz.add(e);
            *rdz.add(e) = *rdh.add(e) * layer.slope(*z.add(e)) + bent;
        });
        thread::sync_threads();

        // H v = R{dL/dw} = R{dz}ᵀ input + dzᵀ R{input}
        let (input, along) = (net.input(H, l, x), net.input(R + H, l, core::ptr::null()));
        let size = (units, inputs, net.rows);
        product(size, View::transposed(rdz, units), View::rows(input, inputs), |o, i, sum| {
            // SAFETY: o < units and i < inputs.
            dot += unsafe { *layer.weights.add(o * inputs + i) } as f64 * sum as f64;
        });
        if l > 0 {
            product(size, View::transposed(dz, units), View::rows(along, inputs), |o, i, sum| {
                // SAFETY: as above.
                dot += unsafe { *layer.weights.add(o * inputs + i) } as f64 * sum as f64;
            });
            // R{dL/dinput} = R{dz} w + dz v, and what the skip connection brings.
            let to = net.at(R + DH, &net.layer(l - 1));
            pull(&net, &layer, R, to);
            let direction = View::rows(net.gradient(&layer), inputs);
            product((net.rows, inputs, units), View::rows(dz, units), direction, |n, i, sum| {
                // SAFETY: n < rows and i < inputs, and the same thread wrote it.
                unsafe { *to.add(n * inputs + i) += sum }
            });
        }
    }
    report(out, [-block_sum(dot)]);
}
