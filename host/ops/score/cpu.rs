//! The scores on `cpu`: a network a task, spread over the cores; matrices `[rows, units]` in `f32` through the loops of
//! [`loops`](super::loops), everything `[rows, rows]` in `f64`.
//!
//! A core reuses one [`Space`] for all its networks. Nothing depends on which core has which network.

use gpu_kernels::score as layout;
use rayon::prelude::*;

use super::dense;
use super::loops::{
    agreements, apply, curvatures, pass, product, pull, random_signs, rescale, room, rows, signs, slopes,
    transposed, unit_codes,
};
use super::spectrum::Spectrum;
use super::{Batch, Group, Layer, Network, Target, Values, decided, padded};
use crate::real::Real;

/// As [`super::run`].
pub(super) fn run(
    groups: &[Group],
    networks: &[Network<'_>],
    batch: &Batch<'_>,
    seed: u64,
) -> Vec<Vec<Values>> {
    let input_entropy = match networks.first() {
        Some(net) if groups.contains(&Group::AzNas) => {
            Spectrum::default().entropy(batch.x, batch.rows, net.layers[0].inputs)
        }
        _ => 0.0,
    };
    let space = || Space { input_entropy, ..Space::default() };
    let scored: Vec<Vec<Values>> = networks
        .par_iter()
        .map_init(space, |space, net| {
            space.trained = false;
            groups.iter().map(|&group| space.values(group, net, batch, seed)).collect()
        })
        .collect();
    (0..groups.len()).map(|g| scored.iter().map(|values| values[g]).collect()).collect()
}

/// Memory of one core: matrices of each layer, one after the other.
#[derive(Default)]
struct Space {
    z: Vec<f32>,
    h: Vec<f32>,
    dz: Vec<f32>,
    dh: Vec<f32>,
    /// The same along a direction, for grasp.
    along: [Vec<f32>; 4],
    gradient: Vec<f32>,
    first: Vec<f32>,
    slopes: Vec<f32>,
    input: Vec<f32>,
    packed: Vec<f32>,
    matrix: Vec<f64>,
    other: Vec<f64>,
    codes: Vec<u32>,
    spectrum: Spectrum,
    /// The entropy of the batch itself, which all networks have in common.
    input_entropy: f64,
    /// Whether `z` to `gradient` hold this network's backward pass of the loss.
    trained: bool,
}

/// Where a layer's things are.
#[derive(Clone, Copy)]
struct Place {
    /// Its matrix `[rows, units]`.
    at: usize,
    len: usize,
    /// Its weights, and how many.
    weight: usize,
    weights: usize,
}

/// The places of a network's layers.
fn places(layers: &[Layer], n: usize) -> impl Iterator<Item = (usize, &Layer, Place)> {
    let (mut at, mut weight) = (0, 0);
    layers.iter().enumerate().map(move |(l, layer)| {
        let place = Place { at, len: n * layer.units, weight, weights: layer.inputs * layer.units };
        at += place.len;
        weight += layer.parameters();
        (l, layer, place)
    })
}

/// What a layer reads: `x` for the first, else the end of what lies before its matrix.
fn input<'a>(l: usize, layer: &Layer, n: usize, x: &'a [f32], before: &'a [f32]) -> &'a [f32] {
    if l == 0 { x } else { &before[before.len() - n * layer.inputs..] }
}

impl Space {
    /// Fills `z` and `h` of the first layers.
    fn forward(&mut self, net: &Network<'_>, layers: usize, x: &[f32], n: usize) {
        let total = n * net.units();
        let (z, h) = (room(&mut self.z, total), room(&mut self.h, total));
        for (l, layer, p) in places(&net.layers[..layers], n) {
            let (before, here) = h.split_at_mut(p.at);
            let (input, here) = (input(l, layer, n, x, before), &mut here[..p.len]);
            let z = &mut z[p.at..p.at + p.len];
            let (w, b) = net.parameters[p.weight..].split_at(p.weights);
            let size = (n, layer.units, layer.inputs);
            let bias = Some(&b[..layer.units]);
            product(
                size,
                rows(input, layer.inputs),
                transposed(w, layer.inputs),
                bias,
                0.0,
                z,
                &mut self.packed,
            );
            apply(layer.activation, z, here);
            if layer.skip {
                here.iter_mut().zip(input).for_each(|(h, i)| *h += i);
            }
        }
    }

    /// From `dh` of the last layer backwards, to the input too if asked.
    fn backward(&mut self, net: &Network<'_>, n: usize, to_input: bool) {
        let total = n * net.units();
        let (z, dz, dh) = (&self.z[..total], room(&mut self.dz, total), &mut self.dh[..total]);
        let places: Vec<_> = places(&net.layers, n).collect();
        for &(l, layer, p) in places.iter().rev() {
            let (before, here) = dh.split_at_mut(p.at);
            let here = &here[..p.len];
            let dz = &mut dz[p.at..p.at + p.len];
            slopes(layer.activation, &z[p.at..p.at + p.len], dz);
            dz.iter_mut().zip(here).for_each(|(d, h)| *d *= h);
            let to = match l {
                0 if !to_input => continue,
                0 => room(&mut self.input, n * layer.inputs),
                _ => {
                    let from = before.len() - n * layer.inputs;
                    &mut before[from..]
                }
            };
            let w = &net.parameters[p.weight..p.weight + p.weights];
            let size = (n, layer.inputs, layer.units);
            product(size, rows(dz, layer.units), rows(w, layer.inputs), None, 0.0, to, &mut self.packed);
            if layer.skip {
                to.iter_mut().zip(here).for_each(|(t, h)| *t += h);
            }
        }
    }

    /// Forward, the loss's gradient, backward, and the weights' gradient.
    fn train(&mut self, net: &Network<'_>, batch: &Batch<'_>) {
        if self.trained {
            return;
        }
        self.trained = true;
        let (n, total, outputs) = (batch.rows, batch.rows * net.units(), net.outputs());
        self.forward(net, net.layers.len(), batch.x, n);
        let h = &self.h[total - n * outputs..total];
        let dh = &mut room(&mut self.dh, total)[total - n * outputs..];
        for (row, (h, dh)) in h.chunks(outputs).zip(dh.chunks_mut(outputs)).enumerate() {
            loss_gradient(batch, row, h, dh);
        }
        self.backward(net, n, false);
    }

    fn values(&mut self, group: Group, net: &Network<'_>, batch: &Batch<'_>, seed: u64) -> Values {
        match group {
            Group::Gradients => padded(&self.gradients(net, batch)),
            Group::Grasp => padded(&[self.grasp(net, batch)]),
            Group::Codes => self.codes(net, batch),
            Group::Jacobian => padded(&[self.jacobian(net, batch)]),
            Group::Synflow => padded(&self.synflow(net)),
            Group::Zen => padded(&[self.zen(net, batch)]),
            Group::AzNas => padded(&self.az_nas(net, batch, seed)),
        }
    }

    /// The weights' gradient; each layer's, by minibatch, to `each(layer, weights, first share, whole)`.
    fn weight_gradients(
        &mut self,
        net: &Network<'_>,
        batch: &Batch<'_>,
        mut each: impl FnMut(&[f32], &[f32], &[f32]),
    ) {
        self.train(net, batch);
        let (n, half) = (batch.rows, batch.rows / 2);
        let gradient = room(&mut self.gradient, net.parameters.len());
        for (l, layer, p) in places(&net.layers, n) {
            let (inputs, units) = (layer.inputs, layer.units);
            let input = input(l, layer, n, batch.x, &self.h[..p.at]);
            let dz = &self.dz[p.at..p.at + p.len];
            let first = room(&mut self.first, p.weights);
            let a = transposed(dz, units);
            product((units, inputs, half), a, rows(input, inputs), None, 0.0, first, &mut self.packed);
            let g = &mut gradient[p.weight..p.weight + p.weights];
            g.copy_from_slice(first);
            let (a, b) = (transposed(&dz[half * units..], units), rows(&input[half * inputs..], inputs));
            product((units, inputs, n - half), a, b, None, 1.0, g, &mut self.packed);
            each(&net.parameters[p.weight..p.weight + p.weights], first, g);
        }
    }

    fn gradients(&mut self, net: &Network<'_>, batch: &Batch<'_>) -> [f64; 4] {
        let (n, half) = (batch.rows, batch.rows / 2);
        let (scale_1, scale_2) = (n as f64 / half as f64, n as f64 / (n - half) as f64);
        let (mut grad_norm, mut snip, mut zico) = (0.0, 0.0, 0.0);
        self.weight_gradients(net, batch, |weights, first, whole| {
            let (mut square, mut ratio) = (0.0, 0.0);
            for ((&w, &first), &g) in weights.iter().zip(first).zip(whole) {
                let (w, first, g) = (f64::from(w), f64::from(first), f64::from(g));
                square += g * g;
                snip += (w * g).abs();
                let (g1, g2) = (first * scale_1, (g - first) * scale_2);
                let mean = g1.abs() + g2.abs();
                if mean > 0.0 {
                    ratio += mean / ((g1 - g2).abs() + layout::ZICO_FLOOR * mean);
                }
            }
            grad_norm += f64::sqrt(square);
            if ratio > 0.0 {
                zico += f64::ln(ratio);
            }
        });
        let total = n * net.units();
        let sensitivity =
            self.z[..total].iter().zip(&self.dz[..total]).map(|(z, d)| f64::from(z * d).powi(2));
        [grad_norm, snip, 0.5 * sensitivity.sum::<f64>() / n as f64, zico]
    }

    fn grasp(&mut self, net: &Network<'_>, batch: &Batch<'_>) -> f64 {
        // The direction: the weights' gradient.
        self.weight_gradients(net, batch, |_, _, _| {});
        let (n, total) = (batch.rows, batch.rows * net.units());
        let places: Vec<_> = places(&net.layers, n).collect();
        let [rz, rh, rdz, rdh] = self.along.each_mut().map(|v| room(v, total));
        let slope = room(&mut self.slopes, total);
        for &(l, layer, p) in &places {
            let (inputs, units) = (layer.inputs, layer.units);
            let (before, here) = rh.split_at_mut(p.at);
            let (rz, here) = (&mut rz[p.at..p.at + p.len], &mut here[..p.len]);
            let slope = &mut slope[p.at..p.at + p.len];
            let input_h = input(l, layer, n, batch.x, &self.h[..p.at]);
            let (w, v) = (
                &net.parameters[p.weight..p.weight + p.weights],
                &self.gradient[p.weight..p.weight + p.weights],
            );
            let size = (n, units, inputs);
            product(size, rows(input_h, inputs), transposed(v, inputs), None, 0.0, rz, &mut self.packed);
            if l > 0 {
                let along = input(l, layer, n, &[], before);
                product(size, rows(along, inputs), transposed(w, inputs), None, 1.0, rz, &mut self.packed);
            }
            slopes(layer.activation, &self.z[p.at..p.at + p.len], slope);
            for ((h, &s), &z) in here.iter_mut().zip(&*slope).zip(&*rz) {
                *h = s * z;
            }
            if layer.skip && l > 0 {
                here.iter_mut().zip(input(l, layer, n, &[], before)).for_each(|(h, i)| *h += i);
            }
        }
        let outputs = net.outputs();
        let last = total - n * outputs..total;
        let (dh, rh_last) = (&self.dh[last.clone()], &rh[last.clone()]);
        for (row, out) in rdh[last].chunks_mut(outputs).enumerate() {
            let of = row * outputs..(row + 1) * outputs;
            loss_along(batch, row, &dh[of.clone()], &rh_last[of], out);
        }
        let mut dot = 0.0;
        for &(l, layer, p) in places.iter().rev() {
            let (inputs, units) = (layer.inputs, layer.units);
            let here = p.at..p.at + p.len;
            let (before, rdh_here) = rdh.split_at_mut(p.at);
            let (rdh_here, rdz) = (&rdh_here[..p.len], &mut rdz[here.clone()]);
            curvatures(layer.activation, &self.z[here.clone()], rdz);
            for (i, r) in rdz.iter_mut().enumerate() {
                let at = p.at + i;
                *r = self.dh[at] * *r * rz[at] + rdh_here[i] * slope[at];
            }
            let (w, v) = (
                &net.parameters[p.weight..p.weight + p.weights],
                &self.gradient[p.weight..p.weight + p.weights],
            );
            let dz = &self.dz[here];
            let hv = room(&mut self.first, p.weights);
            let input_h = input(l, layer, n, batch.x, &self.h[..p.at]);
            let size = (units, inputs, n);
            product(size, transposed(rdz, units), rows(input_h, inputs), None, 0.0, hv, &mut self.packed);
            if l > 0 {
                let along = input(l, layer, n, &[], &rh[..p.at]);
                product(size, transposed(dz, units), rows(along, inputs), None, 1.0, hv, &mut self.packed);
                let from = before.len() - n * inputs;
                let to = &mut before[from..];
                let size = (n, inputs, units);
                product(size, rows(rdz, units), rows(w, inputs), None, 0.0, to, &mut self.packed);
                product(size, rows(dz, units), rows(v, inputs), None, 1.0, to, &mut self.packed);
                if layer.skip {
                    to.iter_mut().zip(rdh_here).for_each(|(t, h)| *t += h);
                }
            }
            dot += w.iter().zip(&*hv).map(|(&w, &h)| f64::from(w) * f64::from(h)).sum::<f64>();
        }
        -dot
    }

    fn codes(&mut self, net: &Network<'_>, batch: &Batch<'_>) -> Values {
        self.trained = false;
        let n = batch.rows;
        let hidden = net.hidden().len();
        self.forward(net, hidden, batch.x, n);
        let words: usize = net.hidden().iter().map(|l| l.units.div_ceil(32)).sum();
        let units: usize = net.hidden().iter().map(|l| l.units).sum();
        let (codes, by_unit) = room(&mut self.codes, n * words + units).split_at_mut(n * words);
        by_unit.fill(0);
        let (mut word, mut unit, mut margin) = (0, 0, f64::INFINITY);
        for (_, layer, p) in places(net.hidden(), n) {
            let z = &self.z[p.at..p.at + p.len];
            let in_layer = layer.units.div_ceil(32);
            let mut sizes = [0.0, f32::INFINITY];
            signs(z, layer.units, word, words, codes, &mut sizes);
            unit_codes(z, layer.units, &mut by_unit[unit..unit + layer.units]);
            if sizes[0] > 0.0 {
                margin = margin.min(f64::from(sizes[1] / sizes[0]));
            }
            word += in_layer;
            unit += layer.units;
        }
        let kernel = room(&mut self.matrix, n * n);
        agreements(codes, words, units, n, kernel);
        dense::cholesky(kernel, n);
        let naswot = dense::log_determinant(kernel, n);
        by_unit.sort_unstable();
        let distinct = by_unit.chunk_by(|a, b| a == b).count();
        decided(net, batch, [naswot, distinct as f64], margin)
    }

    fn jacobian(&mut self, net: &Network<'_>, batch: &Batch<'_>) -> f64 {
        self.trained = false;
        let (n, total) = (batch.rows, batch.rows * net.units());
        self.forward(net, net.layers.len(), batch.x, n);
        room(&mut self.dh, total)[total - n * net.outputs()..].fill(1.0);
        self.backward(net, n, true);
        let inputs = net.layers[0].inputs;
        let normal = room(&mut self.other, (n * inputs).max(n * n));
        for (row, to) in self.input.chunks(inputs).zip(normal.chunks_mut(inputs)).take(n) {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / inputs as f64;
            to.iter_mut().zip(row).for_each(|(t, &v)| *t = f64::from(v) - mean);
            let square: f64 = to.iter().map(|v| v * v).sum();
            let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
            to.iter_mut().for_each(|t| *t *= scale);
        }
        let correlation = room(&mut self.matrix, n * n);
        dense::gram(normal, n, inputs, true, correlation);
        (0..n).for_each(|i| correlation[i * n + i] = 1.0 + layout::JACOB_COV_K);
        dense::cholesky(correlation, n);
        dense::invert(correlation, n, normal);
        -(dense::log_determinant(correlation, n) + dense::trace_of_inverse(normal, n))
    }

    fn synflow(&mut self, net: &Network<'_>) -> [f64; 2] {
        self.trained = false;
        let inputs = net.layers[0].inputs;
        let total = inputs + net.units();
        // `h`: what enters each layer, and the outputs; `dh`: what they are worth.
        let (h, u) = (room(&mut self.h, total), room(&mut self.dh, total));
        h[..inputs].fill(1.0);
        let mut exponents = vec![0];
        let mut at = 0;
        for (l, layer, p) in places(&net.layers, 1) {
            let (from, to) = h[at..].split_at_mut(layer.inputs);
            let to = &mut to[..layer.units];
            pass(&net.parameters[p.weight..p.weight + p.weights], from, to);
            if layer.skip {
                to.iter_mut().zip(&*from).for_each(|(t, f)| *t += f);
            }
            exponents.push(exponents[l] + rescale(to));
            at += layer.inputs;
        }
        let inner =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        u[at..].fill(1.0);
        // R is this times 2^exponent; so are all the flows below.
        let (whole, exponent) = (inner(&h[at..total], &u[at..total]), exponents[net.layers.len()]);
        let (mut flows, mut worst, mut back) = (0.0, 0.0f64, 0);
        for (l, layer, p) in places(&net.layers, 1).collect::<Vec<_>>().into_iter().rev() {
            let end = at + layer.units;
            at -= layer.inputs;
            let (down, up) = u[at..end].split_at_mut(layer.inputs);
            let from = &h[at..at + layer.inputs];
            pull(&net.parameters[p.weight..p.weight + p.weights], up, down);
            let through = inner(from, down);
            let beside = if layer.skip { inner(from, up) } else { 0.0 };
            let scale = 2f64.powi((exponents[l] + back - exponent).clamp(-1000, 1000));
            flows += through * scale;
            worst = worst.max(((through + beside) * scale / whole - 1.0).abs());
            if layer.skip {
                down.iter_mut().zip(&*up).for_each(|(d, u)| *d += u);
            }
            back += rescale(down);
        }
        [flows.ln() + f64::from(exponent) * std::f64::consts::LN_2, worst]
    }

    fn zen(&mut self, net: &Network<'_>, batch: &Batch<'_>) -> f64 {
        self.trained = false;
        let (n, total) = (batch.rows, batch.rows * net.units());
        let last = total - n * net.outputs()..total;
        self.forward(net, net.layers.len(), batch.x, n);
        room(&mut self.first, last.len()).copy_from_slice(&self.h[last.clone()]);
        self.forward(net, net.layers.len(), batch.moved, n);
        let sum: f64 = self.first.iter().zip(&self.h[last]).map(|(a, b)| f64::from((a - b).abs())).sum();
        (sum / n as f64).ln()
    }

    fn az_nas(&mut self, net: &Network<'_>, batch: &Batch<'_>, seed: u64) -> [f64; 3] {
        self.trained = false;
        let n = batch.rows;
        let hidden = net.hidden().len();
        self.forward(net, hidden, batch.x, n);
        let mut before = self.input_entropy;
        let (mut expressivity, mut trainability) = (0.0, 0.0);
        let mut progressivity = if hidden == 0 { -before } else { f64::INFINITY };
        for (l, layer, p) in places(net.hidden(), n) {
            let (inputs, units) = (layer.inputs, layer.units);
            let features = self.spectrum.entropy(&self.h[p.at..p.at + p.len], n, units);
            expressivity += features;
            progressivity = progressivity.min(features - before);
            before = features;
            let (dz, dh) = (room(&mut self.dz, p.len), room(&mut self.dh, p.len));
            slopes(layer.activation, &self.z[p.at..p.at + p.len], dz);
            random_signs(seed, l, dh);
            dz.iter_mut().zip(&*dh).for_each(|(dz, dh)| *dz *= dh);
            let w = &net.parameters[p.weight..p.weight + p.weights];
            let pulled = room(&mut self.input, n * inputs);
            product(
                (n, inputs, units),
                rows(dz, units),
                rows(w, inputs),
                None,
                0.0,
                pulled,
                &mut self.packed,
            );
            if layer.skip {
                pulled.iter_mut().zip(&*dh).for_each(|(t, h)| *t += h);
            }
            let mean = room(&mut self.first, p.weights);
            product(
                (inputs, units, n),
                transposed(pulled, inputs),
                rows(dh, units),
                None,
                0.0,
                mean,
                &mut self.packed,
            );
            mean.iter_mut().for_each(|m| *m /= n as f32);
            let s = self.spectrum.norm(mean, inputs, units);
            trainability += 2.0 - s - 1.0 / (s + layout::SINGULAR_EPSILON);
        }
        trainability =
            if hidden == 0 { 2.0 - 1.0 / layout::SINGULAR_EPSILON } else { trainability / hidden as f64 };
        [expressivity, progressivity, trainability]
    }
}

/// The gradient of the mean loss in the outputs of sample `row`.
fn loss_gradient(batch: &Batch<'_>, row: usize, h: &[f32], dh: &mut [f32]) {
    match batch.target {
        Target::Classes(labels) => {
            let max = h.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            dh.iter_mut().zip(h).for_each(|(d, &v)| *d = Real::exp(v - max));
            let sum: f32 = dh.iter().sum();
            for (o, d) in dh.iter_mut().enumerate() {
                let hit = if o == labels[row] as usize { 1.0 } else { 0.0 };
                *d = (*d / sum - hit) / batch.rows as f32;
            }
        }
        Target::Values(values) => {
            let scale = 2.0 / (batch.rows * h.len()) as f32;
            let target = &values[row * h.len()..];
            dh.iter_mut().zip(h).zip(target).for_each(|((d, h), t)| *d = (h - t) * scale);
        }
        Target::None => dh.fill(0.0),
    }
}

/// The derivative of the same along `rh`.
fn loss_along(batch: &Batch<'_>, row: usize, dh: &[f32], rh: &[f32], out: &mut [f32]) {
    let n = batch.rows as f32;
    if let Target::Classes(labels) = batch.target {
        // p is what the gradient was made of: (p - 1 where the label is) / rows.
        let p = |o: usize| dh[o] * n + if o == labels[row] as usize { 1.0 } else { 0.0 };
        let mean: f32 = rh.iter().enumerate().map(|(o, r)| p(o) * r).sum();
        out.iter_mut().zip(rh).enumerate().for_each(|(o, (out, r))| *out = p(o) * (r - mean) / n);
    } else {
        let scale = 2.0 / (batch.rows * rh.len()) as f32;
        out.iter_mut().zip(rh).for_each(|(out, r)| *out = r * scale);
    }
}
