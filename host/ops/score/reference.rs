//! The scores as plain loops, sample by sample, in any float type: in `f64` the oracle.
//!
//! Where there is a choice this takes another road than `cpu` and the kernels do: gradients are added up sample by sample,
//! determinants come from Gaussian elimination, eigenvalues from Jacobi's rotations one after the other.

#![allow(clippy::needless_range_loop)] // indices as in the formulas

use gpu_kernels::score as layout;

use super::{Batch, Group, Layer, Network, Target, Values, curvature, padded};
use crate::real::Real;

/// A network with parameters in `T`.
#[derive(Clone, Debug)]
pub struct Model<T> {
    /// From the input on.
    pub layers: Vec<Layer>,
    /// `[units, inputs]` for each layer.
    pub weights: Vec<Vec<T>>,
    /// `[units]` for each layer.
    pub biases: Vec<Vec<T>>,
}

/// One sample's way through a network.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    /// Pre-activations of each layer.
    pub z: Vec<Vec<T>>,
    /// The input, then the output of each layer.
    pub h: Vec<Vec<T>>,
}

/// Gradients along one sample's way.
#[derive(Clone, Debug)]
pub struct Pull<T> {
    /// Of each layer's pre-activations.
    pub dz: Vec<Vec<T>>,
    /// Of the input, then of each layer's output.
    pub dh: Vec<Vec<T>>,
}

fn real<T: Real>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&v| T::of(f64::from(v))).collect()
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&x, &y)| x * y).sum()
}

impl<T: Real> Model<T> {
    /// The same network in `T`.
    pub fn new(net: &Network<'_>) -> Model<T> {
        let (mut weights, mut biases, mut rest) = (vec![], vec![], net.parameters);
        for layer in &net.layers {
            let (w, after) = rest.split_at(layer.inputs * layer.units);
            let (b, after) = after.split_at(layer.units);
            weights.push(real(w));
            biases.push(real(b));
            rest = after;
        }
        Model { layers: net.layers.clone(), weights, biases }
    }

    fn row(&self, l: usize, o: usize) -> &[T] {
        let inputs = self.layers[l].inputs;
        &self.weights[l][o * inputs..(o + 1) * inputs]
    }

    fn slope(&self, l: usize, z: T) -> T {
        let f = self.layers[l].activation;
        f.derivative(if f.grad_from_output() { f.apply(z) } else { z })
    }

    /// Forward.
    pub fn trace(&self, x: Vec<T>) -> Trace<T> {
        let mut trace = Trace { z: vec![], h: vec![x] };
        for (l, layer) in self.layers.iter().enumerate() {
            let input = &trace.h[l];
            let z: Vec<T> =
                (0..layer.units).map(|o| dot(self.row(l, o), input) + self.biases[l][o]).collect();
            let skip = |o: usize| if layer.skip { input[o] } else { T::ZERO };
            let h = z.iter().enumerate().map(|(o, &z)| layer.activation.apply(z) + skip(o)).collect();
            trace.z.push(z);
            trace.h.push(h);
        }
        trace
    }

    /// Backward from the gradient of the output.
    pub fn pull(&self, trace: &Trace<T>, output: Vec<T>) -> Pull<T> {
        let depth = self.layers.len();
        let mut pull = Pull { dz: vec![vec![]; depth], dh: vec![vec![]; depth + 1] };
        pull.dh[depth] = output;
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let dh = &pull.dh[l + 1];
            let dz: Vec<T> = dh.iter().zip(&trace.z[l]).map(|(&d, &z)| d * self.slope(l, z)).collect();
            let down = (0..layer.inputs).map(|i| {
                let through: T = (0..layer.units).map(|o| self.row(l, o)[i] * dz[o]).sum();
                if layer.skip { through + dh[i] } else { through }
            });
            let down = down.collect();
            pull.dz[l] = dz;
            pull.dh[l] = down;
        }
        pull
    }
}

/// The softmax of logits.
fn softmax<T: Real>(h: &[T]) -> Vec<T> {
    let max = h.iter().fold(T::NEG_INFINITY, |m, &v| m.max(v));
    let e: Vec<T> = h.iter().map(|&v| (v - max).exp()).collect();
    let sum: T = e.iter().copied().sum();
    e.into_iter().map(|v| v / sum).collect()
}

/// The gradient of the mean loss in the outputs of sample `n`.
fn loss_gradient<T: Real>(batch: &Batch<'_>, n: usize, h: &[T]) -> Vec<T> {
    let rows = T::of(batch.rows as f64);
    match batch.target {
        Target::Classes(labels) => {
            let mut p = softmax(h);
            p[labels[n] as usize] += -T::ONE;
            p.into_iter().map(|v| v / rows).collect()
        }
        Target::Values(values) => {
            let target = &values[n * h.len()..];
            let scale = T::of(2.0 / (batch.rows * h.len()) as f64);
            h.iter().zip(target).map(|(&h, &t)| (h - T::of(f64::from(t))) * scale).collect()
        }
        Target::None => vec![T::ZERO; h.len()],
    }
}

fn sample<T: Real>(x: &[f32], rows: usize, n: usize) -> Vec<T> {
    let inputs = x.len() / rows;
    real(&x[n * inputs..(n + 1) * inputs])
}

/// The gradient of the loss in the weights of each layer, from samples `from..to` alone (but as shares of the mean over all).
pub fn gradient<T: Real>(model: &Model<T>, batch: &Batch<'_>, from: usize, to: usize) -> Vec<Vec<T>> {
    let mut g: Vec<Vec<T>> = model.weights.iter().map(|w| vec![T::ZERO; w.len()]).collect();
    for n in from..to {
        let trace = model.trace(sample(batch.x, batch.rows, n));
        let output = loss_gradient(batch, n, &trace.h[model.layers.len()]);
        let pull = model.pull(&trace, output);
        for (l, layer) in model.layers.iter().enumerate() {
            for (o, &dz) in pull.dz[l].iter().enumerate() {
                for (i, &h) in trace.h[l].iter().enumerate() {
                    g[l][o * layer.inputs + i] += dz * h;
                }
            }
        }
    }
    g
}

/// grad-norm, snip, fisher, ZiCo.
pub fn gradients<T: Real>(model: &Model<T>, batch: &Batch<'_>) -> [T; 4] {
    let (rows, half) = (batch.rows, batch.rows / 2);
    let parts = [gradient(model, batch, 0, half), gradient(model, batch, half, rows)];
    let mut fisher = T::ZERO;
    for n in 0..rows {
        let trace = model.trace(sample(batch.x, rows, n));
        let output = loss_gradient(batch, n, &trace.h[model.layers.len()]);
        let pull = model.pull(&trace, output);
        for (z, dz) in trace.z.iter().flatten().zip(pull.dz.iter().flatten()) {
            fisher += T::of(0.5 / rows as f64) * (*z * *dz) * (*z * *dz);
        }
    }
    let (mut norm, mut snip, mut zico) = (T::ZERO, T::ZERO, T::ZERO);
    let scales = [half, rows - half].map(|n| T::of(rows as f64 / n as f64));
    for (l, w) in model.weights.iter().enumerate() {
        let (mut square, mut ratio) = (T::ZERO, T::ZERO);
        for (k, &w) in w.iter().enumerate() {
            let (a, b) = (parts[0][l][k], parts[1][l][k]);
            square += (a + b) * (a + b);
            snip += (w * (a + b)).abs();
            let (a, b) = (a * scales[0], b * scales[1]);
            let mean = a.abs() + b.abs();
            if mean > T::ZERO {
                ratio += mean / ((a - b).abs() + T::of(layout::ZICO_FLOOR) * mean);
            }
        }
        norm += square.sqrt();
        if ratio > T::ZERO {
            zico += ratio.ln();
        }
    }
    [norm, snip, fisher, zico]
}

/// grasp: `w (H v)` sample by sample, each by the derivative of its gradient along v.
pub fn grasp<T: Real>(model: &Model<T>, batch: &Batch<'_>) -> T {
    let v = gradient(model, batch, 0, batch.rows);
    let depth = model.layers.len();
    let mut total = T::ZERO;
    for n in 0..batch.rows {
        let trace = model.trace(sample(batch.x, batch.rows, n));
        let output = loss_gradient(batch, n, &trace.h[depth]);
        let pull = model.pull(&trace, output);
        // Derivatives along v, forward ...
        let mut rh = vec![vec![T::ZERO; trace.h[0].len()]];
        let mut rz = vec![];
        for (l, layer) in model.layers.iter().enumerate() {
            let along = |o: usize| {
                let v = &v[l][o * layer.inputs..(o + 1) * layer.inputs];
                dot(v, &trace.h[l]) + dot(model.row(l, o), &rh[l])
            };
            let z: Vec<T> = (0..layer.units).map(along).collect();
            let skip = |o: usize| if layer.skip { rh[l][o] } else { T::ZERO };
            let h = (0..layer.units).map(|o| model.slope(l, trace.z[l][o]) * z[o] + skip(o)).collect();
            rz.push(z);
            rh.push(h);
        }
        // ... of the loss's gradient ...
        let out = &rh[depth];
        let mut rdh: Vec<T> = match batch.target {
            Target::Classes(_) => {
                let p = softmax(&trace.h[depth]);
                let mean = dot(&p, out);
                let rows = T::of(batch.rows as f64);
                p.iter().zip(out).map(|(&p, &r)| p * (r - mean) / rows).collect()
            }
            _ => {
                let scale = T::of(2.0 / (batch.rows * out.len()) as f64);
                out.iter().map(|&r| r * scale).collect()
            }
        };
        // ... and backward.
        for (l, layer) in model.layers.iter().enumerate().rev() {
            let z = &trace.z[l];
            let bent = |o: usize| pull.dh[l + 1][o] * curvature(layer.activation, z[o]) * rz[l][o];
            let rdz: Vec<T> = (0..layer.units).map(|o| rdh[o] * model.slope(l, z[o]) + bent(o)).collect();
            for o in 0..layer.units {
                for i in 0..layer.inputs {
                    let hv = rdz[o] * trace.h[l][i] + pull.dz[l][o] * rh[l][i];
                    total += model.row(l, o)[i] * hv;
                }
            }
            rdh = (0..layer.inputs)
                .map(|i| {
                    let through =
                        |o: usize| model.row(l, o)[i] * rdz[o] + v[l][o * layer.inputs + i] * pull.dz[l][o];
                    let sum: T = (0..layer.units).map(through).sum();
                    if layer.skip { sum + rdh[i] } else { sum }
                })
                .collect();
        }
    }
    -total
}

/// NASWOT, SWAP.
pub fn codes<T: Real>(model: &Model<T>, batch: &Batch<'_>) -> [f64; 2] {
    let rows = batch.rows;
    let signs: Vec<Vec<bool>> = (0..rows)
        .map(|n| {
            let trace = model.trace(sample(batch.x, rows, n));
            trace.z[..model.layers.len() - 1].iter().flatten().map(|&z| z > T::ZERO).collect()
        })
        .collect();
    let agree = |n: usize, m: usize| signs[n].iter().zip(&signs[m]).filter(|(a, b)| a == b).count() as f64;
    let mut kernel: Vec<Vec<f64>> = (0..rows).map(|n| (0..rows).map(|m| agree(n, m)).collect()).collect();
    kernel.iter_mut().enumerate().for_each(|(n, row)| row[n] += layout::NASWOT_RIDGE);
    let samples = rows.min(layout::SWAP_SAMPLES);
    let code = |unit: usize| (0..samples).map(|n| signs[n][unit]).collect::<Vec<bool>>();
    let mut units: Vec<Vec<bool>> = (0..signs[0].len()).map(code).collect();
    units.sort();
    units.dedup();
    [log_determinant(kernel), units.len() as f64]
}

/// ln |det A|, by Gaussian elimination with row pivots.
fn log_determinant(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut log = 0.0;
    for j in 0..n {
        let pivot = (j..n).max_by(|&p, &q| a[p][j].abs().total_cmp(&a[q][j].abs())).unwrap_or(j);
        a.swap(j, pivot);
        log += a[j][j].abs().ln();
        let (done, rest) = a.split_at_mut(j + 1);
        for row in rest {
            let factor = row[j] / done[j][j];
            row.iter_mut().zip(&done[j]).skip(j).for_each(|(x, y)| *x -= factor * y);
        }
    }
    log
}

/// The eigenvalues of a symmetric matrix, by Jacobi's cyclic rotations.
pub fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    for _ in 0..60 {
        let sum = |diagonal: bool| -> f64 {
            (0..n)
                .flat_map(|i| (0..n).map(move |j| (i, j)))
                .filter(|&(i, j)| (i == j) == diagonal)
                .map(|(i, j)| a[i][j].powi(2))
                .sum()
        };
        if sum(false) <= 1e-28 * sum(true) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                let s = t * c;
                for row in &mut a {
                    let (x, y) = (row[p], row[q]);
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    (0..n).map(|i| a[i][i]).collect()
}

/// `<v_i, v_j>` for all pairs.
fn gram(vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    vectors.iter().map(|a| vectors.iter().map(|b| dot(a, b)).collect()).collect()
}

/// jacob_cov.
pub fn jacobian<T: Real>(model: &Model<T>, batch: &Batch<'_>) -> f64 {
    let outputs = model.layers[model.layers.len() - 1].units;
    let rows: Vec<Vec<f64>> = (0..batch.rows)
        .map(|n| {
            let trace = model.trace(sample(batch.x, batch.rows, n));
            let row = model.pull(&trace, vec![T::ONE; outputs]).dh.swap_remove(0);
            let row: Vec<f64> = row.into_iter().map(T::f64).collect();
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let row: Vec<f64> = row.iter().map(|v| v - mean).collect();
            let norm = dot(&row, &row).sqrt();
            row.iter().map(|v| if norm > 0.0 { v / norm } else { 0.0 }).collect()
        })
        .collect();
    let mut correlation = gram(&rows);
    correlation.iter_mut().enumerate().for_each(|(n, row)| row[n] = 1.0);
    let k = layout::JACOB_COV_K;
    -eigenvalues(correlation).into_iter().map(|v| (v + k).ln() + 1.0 / (v + k)).sum::<f64>()
}

/// What flows through each layer of the linear network, skips apart and together, as shares of R; and ln R.
pub fn flows<T: Real>(model: &Model<T>) -> (Vec<[T; 2]>, T) {
    let mut log = T::ZERO;
    let mut h = vec![vec![T::ONE; model.layers[0].inputs]];
    for (l, layer) in model.layers.iter().enumerate() {
        let next = (0..layer.units).map(|o| {
            let sum: T = model.row(l, o).iter().zip(&h[l]).map(|(w, &h)| w.abs() * h).sum();
            if layer.skip { sum + h[l][o] } else { sum }
        });
        // Dividing by the sum keeps the numbers in range; the shares below do not depend on it.
        let next: Vec<T> = next.collect();
        let sum: T = next.iter().copied().sum();
        log += sum.ln();
        h.push(next.into_iter().map(|v| v / sum).collect());
    }
    let mut u = vec![T::ONE; model.layers[model.layers.len() - 1].units];
    let mut flows = vec![];
    for (l, layer) in model.layers.iter().enumerate().rev() {
        let mut through = T::ZERO;
        let mut down = vec![T::ZERO; layer.inputs];
        for o in 0..layer.units {
            for (i, w) in model.row(l, o).iter().enumerate() {
                through += w.abs() * u[o] * h[l][i];
                down[i] += w.abs() * u[o];
            }
        }
        let beside = if layer.skip { dot(&u, &h[l]) } else { T::ZERO };
        if layer.skip {
            down.iter_mut().zip(&u).for_each(|(d, &u)| *d += u);
        }
        // u is scaled so that <u, h of this layer> is 1: R in that scale.
        let whole = dot(&down, &h[l]);
        flows.push([through / whole, (through + beside) / whole]);
        u = down.into_iter().map(|v| v / whole).collect();
    }
    flows.reverse();
    (flows, log)
}

/// synflow, and the worst relative error of conservation.
pub fn synflow<T: Real>(model: &Model<T>) -> [T; 2] {
    let (flows, log) = flows(model);
    let worst = flows.iter().map(|f| (f[1] - T::ONE).abs()).fold(T::ZERO, T::max);
    [log + flows.iter().map(|f| f[0]).sum::<T>().ln(), worst]
}

/// zen.
pub fn zen<T: Real>(model: &Model<T>, batch: &Batch<'_>) -> T {
    let depth = model.layers.len();
    let mut sum = T::ZERO;
    for n in 0..batch.rows {
        let output = |x: &[f32]| model.trace(sample::<T>(x, batch.rows, n)).h.swap_remove(depth);
        sum += output(batch.x).iter().zip(output(batch.moved)).map(|(&a, b)| (a - b).abs()).sum();
    }
    (sum / T::of(batch.rows as f64)).ln()
}

/// The entropy of the eigenvalues of the covariance of features, a row a sample.
fn entropy(features: &[Vec<f64>]) -> f64 {
    let (rows, width) = (features.len(), features[0].len());
    let mean: Vec<f64> =
        (0..width).map(|i| features.iter().map(|f| f[i]).sum::<f64>() / rows as f64).collect();
    let centred = |f: &Vec<f64>| f.iter().zip(&mean).map(|(v, m)| v - m).collect::<Vec<f64>>();
    let centred: Vec<Vec<f64>> = features.iter().map(centred).collect();
    let columns: Vec<Vec<f64>> = (0..width).map(|i| centred.iter().map(|f| f[i]).collect()).collect();
    // The eigenvalues other than zero are the same for samples and columns.
    let values = eigenvalues(gram(if rows <= width { &centred } else { &columns }));
    let total: f64 = values.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    values.iter().map(|v| (v / total).max(0.0)).map(|p| -p * (p + layout::ENTROPY_EPSILON).ln()).sum()
}

/// expressivity, progressivity, trainability.
pub fn az_nas<T: Real>(model: &Model<T>, batch: &Batch<'_>, seed: u64) -> [f64; 3] {
    let hidden = model.layers.len() - 1;
    let traces: Vec<Trace<T>> =
        (0..batch.rows).map(|n| model.trace(sample(batch.x, batch.rows, n))).collect();
    let features =
        |l: usize| traces.iter().map(|t| t.h[l].iter().map(|v| v.f64()).collect()).collect::<Vec<_>>();
    let entropies: Vec<f64> = (0..=hidden).map(|l| entropy(&features(l))).collect();
    if hidden == 0 {
        return [0.0, -entropies[0], 2.0 - 1.0 / layout::SINGULAR_EPSILON];
    }
    let expressivity = entropies[1..].iter().sum();
    let progressivity = entropies.windows(2).map(|h| h[1] - h[0]).fold(f64::INFINITY, f64::min);
    let mut trainability = 0.0;
    for (l, layer) in model.layers[..hidden].iter().enumerate() {
        let mut mean = vec![vec![0.0; layer.inputs]; layer.units];
        for (n, trace) in traces.iter().enumerate() {
            let signs: Vec<f64> =
                (0..layer.units).map(|o| f64::from(sign(seed, l, n * layer.units + o))).collect();
            for i in 0..layer.inputs {
                let through = |o: usize| T::of(signs[o]) * model.slope(l, trace.z[l][o]) * model.row(l, o)[i];
                let pulled: T = (0..layer.units).map(through).sum();
                let pulled = pulled.f64() + if layer.skip { signs[i] } else { 0.0 };
                for o in 0..layer.units {
                    mean[o][i] += pulled * signs[o] / batch.rows as f64;
                }
            }
        }
        let columns: Vec<Vec<f64>> =
            (0..layer.inputs).map(|i| mean.iter().map(|row| row[i]).collect()).collect();
        let smaller = if layer.units <= layer.inputs { &mean } else { &columns };
        let s = eigenvalues(gram(smaller)).into_iter().fold(0.0, f64::max).sqrt();
        trainability += 2.0 - s - 1.0 / (s + layout::SINGULAR_EPSILON);
    }
    [expressivity, progressivity, trainability / hidden as f64]
}

/// The random sign of element `i` of the gradient of layer `l`'s output.
pub(super) fn sign(seed: u64, l: usize, i: usize) -> f32 {
    layout::az_nas::sign([seed as u32, (seed >> 32) as u32], layout::SIGN_STREAM + l as u32, i as u32)
}

/// The values of a group.
pub fn values<T: Real>(group: Group, model: &Model<T>, batch: &Batch<'_>, seed: u64) -> Values {
    let real = |v: &[T]| padded(&v.iter().map(|x| x.f64()).collect::<Vec<_>>());
    match group {
        Group::Gradients => real(&gradients(model, batch)),
        Group::Grasp => real(&[grasp(model, batch)]),
        Group::Codes => padded(&codes(model, batch)),
        Group::Jacobian => padded(&[jacobian(model, batch)]),
        Group::Synflow => real(&synflow(model)),
        Group::Zen => real(&[zen(model, batch)]),
        Group::AzNas => padded(&az_nas(model, batch, seed)),
    }
}
