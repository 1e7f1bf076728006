//! Scores of networks without training ("zero-cost proxies"), a population at once. Higher is better, for each.
//!
//! N samples x_n; layer l computes `z = W h + b` of its input h, and its output `f(z)`, plus h where it skips. L is the mean
//! loss of the N samples (cross-entropy for classes, mean squared error for numbers), g = dL/dW. Sums over w run over
//! weights, not biases. Dropout and normalisation play no part: networks are scored at initialisation, without them.
//!
//! | score | formula | source |
//! |-------|---------|--------|
//! | grad-norm | sum over l of `‖g_l‖` | Abdelfattah et al. 2021 |
//! | snip | sum over w of `abs(w g)` | Lee et al. 2019 |
//! | fisher | sum over l and units k of `1/2 mean_n (z_nk dL/dz_nk)^2` | Theis et al. 2018; Turner et al. 2020 |
//! | ZiCo | sum over l of `ln sum over w of (abs(g1) + abs(g2)) / abs(g1 - g2)` for minibatches 1 and 2, the halves of the samples | Li et al. 2023 |
//! | grasp | `- sum over w of w (H g)`, H the Hessian of L in the weights | Wang et al. 2020 |
//! | NASWOT | `ln det K`, `K_nm` = units of hidden layers with `z > 0` at both n and m, or at neither | Mellor et al. 2021 |
//! | SWAP | number of distinct codes among hidden units; a code is the signs of z at the first 32 samples | Peng et al. 2024 |
//! | jacob_cov | `- sum over i of ln(v_i + k) + 1 / (v_i + k)`, k = 1e-5, v the eigenvalues of the correlation of the rows of J; `J_n` = d(sum of outputs)/dx at x_n | Mellor et al. 2020 |
//! | synflow | `ln sum over v of v dR/dv`, R = sum of the outputs for an input of ones, with weights `v = abs(w)` | Tanaka et al. 2020 |
//! | zen | `ln mean_n sum over outputs of abs(f(x) - f(x + 0.01 e))`, with x, e and all weights standard normal, biases 0 | Lin et al. 2021 |
//! | expressivity | sum over hidden l of `H_l = - sum of p ln(p + 1e-8)`, p the normalised eigenvalues of the outputs' covariance | Lee and Ham 2024 (AZ-NAS) |
//! | progressivity | `min over hidden l of H_l - H_(l-1)`; the input has H_0 | AZ-NAS |
//! | trainability | mean over hidden l of `2 - s - 1 / (s + 1e-6)`, s the greatest singular value of `mean_n g_in g_outᵀ`, g_out random signs, g_in what layer l makes of them backwards | AZ-NAS |
//!
//! Choices that the formulas leave open:
//! * NASWOT adds 1e-6 to K's diagonal: samples that agree on all units would make it singular.
//! * ZiCo adds 1e-4 of the mean to the deviation: a smaller one is rounding in `f32`, and would rule the sum.
//! * synflow takes the network as linear, without biases and activations, so that what flows through each layer is conserved
//!   (Tanaka et al., theorem 1) whatever the activation. Its logarithm is returned: the flow itself overflows with depth.
//! * zen has no batch norm to undo: weights of variance 1 let the scale through.
//! * A row of J that does not vary is correlated with none but itself. No hidden layer: all features and gradients of AZ-NAS
//!   vanish.
//! * NASWOT and SWAP depend on signs. Where a z is so near zero that `f32` may have its sign wrong, both are computed in
//!   `f64`, on the host, for every device: the codes are those of exact arithmetic.
//!
//! [`run`] computes a [`Group`] of scores for a population: on `cpu` natively, networks spread over the cores; elsewhere
//! by one launch of a kernel of `gpu_kernels::score`, a block a network. A network's values have the same bits in every
//! population and for every number of threads. [`mod@reference`] has the same formulas as plain loops in any float type: the
//! oracle of the tests, and the referee of signs.
//!
//! Cost: a forward pass is 2 N P FLOP for P weights, a backward pass twice that; NASWOT and jacob_cov add N^3 / 3 to 2 N^3.

mod cpu;
mod curvature;
mod dense;
mod kernels;
mod loops;
pub mod reference;
mod spectrum;

pub use curvature::curvature;
use gpu_kernels::score as layout;

use crate::device::{Device, DeviceError};
use crate::ops::activation::Activation;

/// The kernels that this module launches.
pub const KERNELS: &[&str] = &[
    "score_gradients",
    "score_grasp",
    "score_codes",
    "score_jacobian",
    "score_synflow",
    "score_zen",
    "score_az_nas",
];

/// A dense layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Inputs of a unit.
    pub inputs: usize,
    /// Width.
    pub units: usize,
    /// f.
    pub activation: Activation,
    /// Whether the input is added to the output; needs `inputs == units`.
    pub skip: bool,
}

impl Layer {
    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        (self.inputs + 1) * self.units
    }
}

/// A network with its parameters.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    /// From the input on.
    pub layers: Vec<Layer>,
    /// Weights `[units, inputs]`, then biases, layer after layer.
    pub parameters: &'a [f32],
}

impl Network<'_> {
    fn units(&self) -> usize {
        self.layers.iter().map(|l| l.units).sum()
    }
    fn hidden(&self) -> &[Layer] {
        &self.layers[..self.layers.len() - 1]
    }
    fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].units
    }
}

/// What the networks are to say.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A class for each row.
    Classes(&'a [u32]),
    /// As many numbers for each row as networks have outputs.
    Values(&'a [f32]),
    /// Nothing: for scores that need none.
    None,
}

/// The samples.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// How many.
    pub rows: usize,
    /// `[rows, inputs]`.
    pub x: &'a [f32],
    /// For [`Group::Gradients`] and [`Group::Grasp`].
    pub target: Target<'a>,
    /// For [`Group::Zen`]: the samples moved, as `x`; else empty.
    pub moved: &'a [f32],
}

/// Scores that share their passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// grad-norm, snip, fisher, ZiCo. Needs a target and 2 rows.
    Gradients,
    /// grasp. Needs a target and 2 rows.
    Grasp,
    /// NASWOT, SWAP.
    Codes,
    /// jacob_cov.
    Jacobian,
    /// synflow, and the largest relative error of its conservation in any layer. Needs no samples.
    Synflow,
    /// zen. Needs the samples moved; parameters and samples should be standard normal.
    Zen,
    /// expressivity, progressivity, trainability. Samples should be standard normal.
    AzNas,
}

impl Group {
    /// Every group.
    pub const ALL: [Group; 7] = [
        Group::Gradients,
        Group::Grasp,
        Group::Codes,
        Group::Jacobian,
        Group::Synflow,
        Group::Zen,
        Group::AzNas,
    ];

    /// How many values it has for a network.
    pub fn len(self) -> usize {
        match self {
            Group::Gradients => 4,
            Group::AzNas => 3,
            Group::Codes | Group::Synflow => 2,
            Group::Grasp | Group::Jacobian | Group::Zen => 1,
        }
    }

    /// Whether it has no values: never.
    pub fn is_empty(self) -> bool {
        false
    }
}

/// The values of a group for one network, in the order of [`Group`]'s docs; the rest is NaN.
pub type Values = [f64; layout::VALUES];

/// Why a population cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Networks and samples do not fit.
    #[error("score: {0}")]
    Input(String),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Signs of z count as certain from this share of the layer's greatest |z| on: more than twice what `f32` is seen to lose in this
/// file's test (8e-7 of a sample's greatest |z|, with sums in one long chain).
const CERTAIN: f64 = 2e-6;

/// The values of each group (outer) for each network (inner). `seed` is the key of trainability's signs. Errors: networks
/// and samples that do not fit each other, what the device says.
pub fn run(
    device: &Device,
    groups: &[Group],
    networks: &[Network<'_>],
    batch: &Batch<'_>,
    seed: u64,
) -> Result<Vec<Vec<Values>>, ScoreError> {
    check(groups, networks, batch)?;
    if !device.runs_kernels() {
        return Ok(cpu::run(groups, networks, batch, seed));
    }
    let run = |&group: &Group| Ok(kernels::run(device, group, networks, batch, seed)?);
    groups.iter().map(run).collect()
}

/// Shapes, ranges and sizes.
fn check(groups: &[Group], networks: &[Network<'_>], batch: &Batch<'_>) -> Result<(), ScoreError> {
    let bad = |text: String| Err(ScoreError::Input(text));
    let rows = batch.rows;
    if rows == 0 {
        return bad("no samples; give at least 1".into());
    }
    let trained = groups.iter().any(|g| matches!(g, Group::Gradients | Group::Grasp));
    if trained && rows < 2 {
        return bad("1 sample makes no two minibatches; give at least 2".into());
    }
    for (i, net) in networks.iter().enumerate() {
        let Some(first) = net.layers.first() else { return bad(format!("network {i} has no layers")) };
        let chained = net.layers.windows(2).all(|pair| pair[0].units == pair[1].inputs);
        let skips = net.layers.iter().all(|l| !l.skip || l.inputs == l.units);
        if !chained || !skips || net.layers.iter().any(|l| l.inputs == 0 || l.units == 0) {
            return bad(format!("the layers of network {i} do not fit one another"));
        }
        let parameters: usize = net.layers.iter().map(Layer::parameters).sum();
        if net.parameters.len() != parameters {
            let given = net.parameters.len();
            return bad(format!("network {i} has {parameters} parameters, {given} given"));
        }
        // Positions within a matrix are 32-bit numbers in the kernels.
        let widest = net.layers.iter().map(|l| l.inputs.max(l.units)).max().unwrap_or(0);
        if rows.max(widest).saturating_mul(widest.max(rows)) > u32::MAX as usize / 2 {
            return bad(format!(
                "network {i} is too wide ({widest}) for {rows} samples; give fewer of either"
            ));
        }
        if batch.x.len() != rows * first.inputs {
            let (given, inputs) = (batch.x.len(), first.inputs);
            return bad(format!(
                "network {i} takes {inputs} features, {given} numbers given for {rows} samples"
            ));
        }
        if groups.contains(&Group::Zen) && batch.moved.len() != batch.x.len() {
            return bad("zen needs every sample moved too".into());
        }
        let outputs = net.outputs();
        match batch.target {
            _ if !trained => {}
            Target::None => return bad("scores of gradients need targets".into()),
            Target::Classes(labels) => {
                if labels.len() != rows || labels.iter().any(|&l| l as usize >= outputs) {
                    return bad(format!("network {i} has {outputs} outputs: give {rows} labels below that"));
                }
            }
            Target::Values(values) => {
                if values.len() != rows * outputs {
                    let given = values.len();
                    return bad(format!(
                        "network {i} has {outputs} outputs, {given} numbers given for {rows} samples"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// `values`, then NaN.
fn padded(values: &[f64]) -> Values {
    let mut all = [f64::NAN; layout::VALUES];
    all[..values.len()].copy_from_slice(values);
    all
}

/// The values of [`Group::Codes`] from what a device found and the margin of its signs.
fn decided(net: &Network<'_>, batch: &Batch<'_>, found: [f64; 2], margin: f64) -> Values {
    if margin < CERTAIN {
        padded(&reference::codes(&reference::Model::<f64>::new(net), batch))
    } else {
        padded(&found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::random::{Distribution, Init};

    #[test]
    fn signs_that_count_as_certain_are() {
        let mut worst = 0.0f64;
        for (case, activation) in Activation::ALL.into_iter().enumerate() {
            let widths = [64, 128, 32, 128, 16];
            let layer = |l: usize| Layer { inputs: widths[l], units: widths[l + 1], activation, skip: false };
            let layers: Vec<Layer> = (0..4).map(layer).collect();
            let mut parameters = vec![];
            for (l, layer) in layers.iter().enumerate() {
                let at = parameters.len();
                parameters.resize(at + layer.parameters(), 0.0);
                let init = [Init::Torch, Init::KaimingNormal][case % 2];
                init.distribution(layer.inputs, layer.units).fill(&mut parameters[at..], 5, l as u32);
            }
            let net = Network { layers, parameters: &parameters };
            let mut x = vec![0.0; 32 * 64];
            Distribution::Normal(0.0, 1.0).fill(&mut x, 6, case as u32);
            let (single, double) = (reference::Model::<f32>::new(&net), reference::Model::<f64>::new(&net));
            for x in x.chunks(64) {
                let (a, b) = (single.trace(x.to_vec()), double.trace(x.iter().map(|&v| v.into()).collect()));
                for (a, b) in a.z.iter().zip(&b.z) {
                    let greatest = b.iter().fold(0.0f64, |m, z| m.max(z.abs()));
                    let off = a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
                    worst = worst.max(off / greatest);
                }
            }
        }
        // In the order of one chain of additions, which loses more than the devices' orders do.
        assert!(worst < CERTAIN / 2.0, "f32 loses {worst:e} of a layer's greatest z");
    }
}
