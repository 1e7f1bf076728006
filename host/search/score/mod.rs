//! Scoring networks without training them.
//!
//! A [`Score`] says of a network at initialisation how good it may become; the formulas are in [`ops::score`](crate::ops::score).
//! [`score`] computes some for a population on a device, [`correlation`] says how well they rank on data on which some
//! networks were trained, [`rank_aggregate`] makes one ranking of several.
//!
//! Weights start as [`Mlp::init_graph`] would start them from the same seed, or are given. Dropout and normalisation are
//! ignored. A network's scores depend on itself, the samples and the seed alone, not on the population around it; only
//! [`Score::AzNas`] ranks the population.

mod catalogue;
pub mod correlation;
mod minibatch;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::SearchError;
use crate::device::Device;
use crate::nn::Mlp;
use crate::ops::random::Distribution;
use crate::ops::score::{self as ops, Batch, Group, Layer, Network, ScoreError, Target};

pub use catalogue::Score;
pub use minibatch::{Minibatch, MinibatchTarget};

/// Streams of zen's and AZ-NAS's Gaussian samples, and of zen's displacements; zen's weights have the streams from
/// [`ZEN_WEIGHTS`] on, one a layer. Far from those of initialisers (one a parameter) and dropout.
const GAUSSIAN: u32 = 0x6000_0000;
const DISPLACEMENT: u32 = 0x6000_0001;
const ZEN_WEIGHTS: u32 = 0x6100_0000;
/// How far zen moves its samples.
const ZEN_STEP: f32 = 0.01;

/// The scores of one network: pairs in the order asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores(pub Vec<(Score, f64)>);

impl Scores {
    /// One of them.
    pub fn get(&self, score: Score) -> Option<f64> {
        self.0.iter().find(|(s, _)| *s == score).map(|&(_, value)| value)
    }
}

impl From<ScoreError> for SearchError {
    fn from(error: ScoreError) -> SearchError {
        match error {
            ScoreError::Device(error) => SearchError::Device(error),
            other => SearchError::Options(other.to_string()),
        }
    }
}

/// The layers of an MLP, as the scores see them.
fn layers(net: &Mlp) -> Vec<Layer> {
    let layer = |(inputs, dense): (usize, &crate::nn::Dense)| Layer {
        inputs,
        units: dense.units,
        activation: dense.activation,
        skip: dense.skip,
    };
    net.layers_with_inputs().map(layer).collect()
}

fn networks<'a>(nets: &[Mlp], parameters: &'a [Vec<f32>]) -> Vec<Network<'a>> {
    nets.iter().zip(parameters).map(|(net, p)| Network { layers: layers(net), parameters: p }).collect()
}

/// The weights and biases of the dense layers, layer after layer, as [`Mlp::init_graph`] starts them from `seed`; zeros
/// where a layer has no bias.
pub fn initial_parameters(net: &Mlp, seed: u64) -> Vec<f32> {
    let parameters = net.parameters();
    let mut all = vec![];
    for (l, layer) in layers(net).iter().enumerate() {
        for (part, n) in [("weight", layer.inputs * layer.units), ("bias", layer.units)] {
            let at = all.len();
            all.resize(at + n, 0.0);
            let name = format!("layers.{l}.{part}");
            if let Some(stream) = parameters.iter().position(|p| p.name == name) {
                let p = &parameters[stream];
                p.init.distribution(p.fan_in, p.fan_out).fill(&mut all[at..], seed, stream as u32);
            }
        }
    }
    all
}

/// Standard normal weights and no biases: zen's network.
fn gaussian_parameters(net: &Mlp, seed: u64) -> Vec<f32> {
    let mut all = vec![];
    for (l, layer) in layers(net).iter().enumerate() {
        let at = all.len();
        all.resize(at + layer.parameters(), 0.0);
        let weights = &mut all[at..at + layer.inputs * layer.units];
        Distribution::Normal(0.0, 1.0).fill(weights, seed, ZEN_WEIGHTS + l as u32);
    }
    all
}

/// The `scores` of each network, whose weights start from `seed`. Errors: a network that does not fit the samples or is wrong,
/// scores that need targets where there are none.
///
/// ```
/// use ironwarp::search::score::{Minibatch, Score, score};
/// use ironwarp::{Device, data, nn, ops::activation::Activation};
/// let digits = data::builtin("digits")?.standardized().prepared()?;
/// let batch = Minibatch::draw(&digits, 64, 1);
/// let nets = [nn::mlp(64, [16], Activation::Relu, 10), nn::mlp(64, [64, 64], Activation::Relu, 10)];
/// let scores = score(&Device::cpu(), &nets, &batch, 1, &[Score::Naswot, Score::Synflow])?;
/// assert!(scores[1].get(Score::Naswot) > scores[0].get(Score::Naswot));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn score(
    device: &Device,
    nets: &[Mlp],
    batch: &Minibatch,
    seed: u64,
    scores: &[Score],
) -> Result<Vec<Scores>, SearchError> {
    // Sizes need no weights, and zen brings its own.
    let weighed = |s: &Score| *s == Score::AzNas || s.place().is_some_and(|(group, _)| group != Group::Zen);
    let start = |net: &Mlp| if scores.iter().any(weighed) { initial_parameters(net, seed) } else { vec![] };
    let parameters: Vec<Vec<f32>> = nets.par_iter().map(start).collect();
    score_with(device, nets, &parameters, batch, seed, scores)
}

/// As [`score`], with given parameters: weights `[units, inputs]`, then biases, layer after layer.
pub fn score_with(
    device: &Device,
    nets: &[Mlp],
    parameters: &[Vec<f32>],
    batch: &Minibatch,
    seed: u64,
    scores: &[Score],
) -> Result<Vec<Scores>, SearchError> {
    if parameters.len() != nets.len() {
        let (n, given) = (nets.len(), parameters.len());
        return Err(SearchError::Options(format!("{n} networks, parameters for {given}")));
    }
    for (i, net) in nets.iter().enumerate() {
        net.validate().map_err(|e| SearchError::Options(format!("network {i}: {e}")))?;
        if net.inputs != batch.inputs {
            let (takes, given) = (net.inputs, batch.inputs);
            return Err(SearchError::Options(format!(
                "network {i} takes {takes} features, the samples have {given}"
            )));
        }
    }
    let target = match &batch.target {
        MinibatchTarget::Classes(labels) => Target::Classes(labels),
        MinibatchTarget::Values(values) => Target::Values(values),
        MinibatchTarget::None => Target::None,
    };
    if let (Target::None, Some(needy)) = (target, scores.iter().find(|s| s.needs_targets())) {
        return Err(SearchError::Options(format!("score {needy} needs targets, and the data has none")));
    }
    let mut wanted: Vec<Score> = scores.to_vec();
    if scores.contains(&Score::AzNas) {
        wanted.extend(Score::AZ_NAS);
    }
    let group_of = |score: &Score| score.place().map(|(group, _)| group);
    let wants = |group: &Group| wanted.iter().any(|score| group_of(score) == Some(*group));

    // Scores on the data, scores on Gaussian samples, and zen, whose weights are Gaussian too.
    let mut found: Vec<(Group, Vec<ops::Values>)> = vec![];
    let mut run =
        |groups: Vec<Group>, parameters: &[Vec<f32>], batch: &Batch<'_>| -> Result<(), SearchError> {
            if !groups.is_empty() {
                let values = ops::run(device, &groups, &networks(nets, parameters), batch, seed)?;
                found.extend(groups.into_iter().zip(values));
            }
            Ok(())
        };
    let on_data = [Group::Gradients, Group::Grasp, Group::Codes, Group::Jacobian, Group::Synflow];
    let samples = Batch { rows: batch.rows, x: &batch.x, target, moved: &[] };
    run(on_data.into_iter().filter(wants).collect(), parameters, &samples)?;
    if wants(&Group::AzNas) || wants(&Group::Zen) {
        let gaussian = |stream| {
            let mut x = vec![0.0; batch.x.len()];
            Distribution::Normal(0.0, 1.0).fill(&mut x, seed, stream);
            x
        };
        let x = gaussian(GAUSSIAN);
        let moved: Vec<f32> = x.iter().zip(gaussian(DISPLACEMENT)).map(|(x, e)| x + ZEN_STEP * e).collect();
        let noise = Batch { rows: batch.rows, x: &x, target: Target::None, moved: &moved };
        run([Group::AzNas].into_iter().filter(wants).collect(), parameters, &noise)?;
        if wants(&Group::Zen) {
            let gaussian: Vec<Vec<f32>> = nets.par_iter().map(|net| gaussian_parameters(net, seed)).collect();
            run(vec![Group::Zen], &gaussian, &noise)?;
        }
    }

    let column = |score: Score| -> Vec<f64> {
        match (score, score.place()) {
            (Score::Params, _) => nets.iter().map(|net| net.parameter_count() as f64).collect(),
            (Score::Flop, _) => nets.iter().map(|net| net.flop() as f64).collect(),
            (_, Some((group, place))) => {
                let values = found.iter().find(|(g, _)| *g == group).map(|(_, values)| values.as_slice());
                values.unwrap_or_default().iter().map(|v| v[place]).collect()
            }
            (_, None) => vec![],
        }
    };
    let columns: Vec<(Score, Vec<f64>)> = scores
        .iter()
        .map(|&score| match score {
            Score::AzNas => (score, rank_aggregate(&Score::AZ_NAS.map(column))),
            other => (other, column(other)),
        })
        .collect();
    let row = |i: usize| Scores(columns.iter().map(|(score, values)| (*score, values[i])).collect());
    Ok((0..nets.len()).map(row).collect())
}

/// One ranking of several: for each network the sum over the columns of `ln(rank / m)` among the m networks, the worst having
/// rank 1 (AZ-NAS, Lee and Ham 2024, equation 8). NaN ranks lowest; ties share their mean rank.
///
/// ```
/// # use ironwarp::search::score::rank_aggregate;
/// let both = rank_aggregate(&[[1.0, 2.0].to_vec(), [10.0, 20.0].to_vec()]);
/// assert_eq!(both, [2.0 * 0.5f64.ln(), 0.0]);
/// ```
pub fn rank_aggregate(columns: &[Vec<f64>]) -> Vec<f64> {
    let m = columns.first().map_or(0, Vec::len);
    let ranks: Vec<Vec<f64>> = columns.iter().map(|column| correlation::ranks(column)).collect();
    (0..m).map(|i| ranks.iter().map(|r| (r[i] / m as f64).ln()).sum()).collect()
}

/// The [`rank_aggregate`] of networks by some of their scores; a score that is missing is NaN.
pub fn rank_by(scored: &[Scores], by: &[Score]) -> Vec<f64> {
    let column = |score: &Score| scored.iter().map(|s| s.get(*score).unwrap_or(f64::NAN)).collect();
    rank_aggregate(&by.iter().map(column).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Executor, Plan, States};
    use crate::nn;
    use crate::ops::activation::Activation;

    #[test]
    fn weights_start_as_in_training() {
        for init in [nn::WeightInit::Torch, nn::WeightInit::KaimingNormal, nn::WeightInit::XavierUniform] {
            let net = nn::mlp(7, [5, 9], Activation::Gelu, 3).init(init);
            let states = States::new(&Device::cpu());
            let plan = Plan::new(&net.init_graph(11).expect("a graph")).expect("a plan");
            Executor::new(&plan, &states).expect("bound").run().expect("runs");
            let mut want: Vec<f32> = vec![];
            for p in net.parameters() {
                want.extend(states.read::<f32>(&p.name).expect("a state"));
            }
            assert_eq!(initial_parameters(&net, 11), want);
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let batch = Minibatch { rows: 2, inputs: 3, x: vec![0.5; 6], target: MinibatchTarget::None };
        let nets = [nn::mlp(4, [3], Activation::Relu, 2)];
        let refused = |nets: &[Mlp], scores: &[Score]| {
            score(&Device::cpu(), nets, &batch, 1, scores).expect_err("refused").to_string()
        };
        assert!(refused(&nets, &[Score::Naswot]).contains("network 0 takes 4 features"));
        let fits = [nn::mlp(3, [3], Activation::Relu, 2)];
        assert!(refused(&fits, &[Score::Snip]).contains("snip needs targets"));
        assert!(refused(&[nn::mlp(3, [0], Activation::Relu, 2)], &[Score::Swap]).contains("width 0"));
    }
}
