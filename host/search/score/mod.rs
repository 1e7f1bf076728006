//! Scoring networks without training them.
//!
//! A [`Score`] says of a network at initialisation how good it may become; the formulas are in [`ops::score`](crate::ops::score).
//! [`score`] computes some for a population on a device, [`correlation`] says how well they rank on data on which some
//! networks were trained, [`rank_aggregate`] makes one ranking of several.
//!
//! Weights start as [`Mlp::init_graph`] would start them from the same seed, or are given. Dropout and normalisation are
//! ignored. A network's scores depend on itself, the samples and the seed alone, not on the population around it; only
//! [`Score::AzNas`] ranks the population.

pub mod correlation;

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::SearchError;
use super::names::unknown;
use super::rng::Rng;
use crate::data::{Dataset, Target as Known};
use crate::device::Device;
use crate::nn::Mlp;
use crate::ops::random::Distribution;
use crate::ops::score::{self as ops, Batch, Group, Layer, Network, ScoreError, Target};

/// A score; higher is better. As text (and in serde's formats) it is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Score {
    /// Number of parameters.
    Params,
    /// Floating-point operations of one sample's forward pass.
    Flop,
    /// Norms of the layers' gradients.
    GradNorm,
    /// Sensitivity of the loss to the weights' connection (Lee et al. 2019).
    Snip,
    /// Change of the gradient's norm along itself (Wang et al. 2020).
    Grasp,
    /// Fisher information of the units (Turner et al. 2020).
    Fisher,
    /// What flows through the weights' magnitudes (Tanaka et al. 2020), its logarithm.
    Synflow,
    /// Variety of the input's gradients (Mellor et al. 2020).
    JacobCov,
    /// Variety of activation patterns (Mellor et al. 2021).
    Naswot,
    /// Mean over deviation of gradients between minibatches (Li et al. 2023).
    Zico,
    /// Sensitivity of the outputs to Gaussian inputs (Lin et al. 2021).
    Zen,
    /// Number of distinct patterns of units over samples (Peng et al. 2024).
    Swap,
    /// AZ-NAS: entropy of the features' spectra (Lee and Ham 2024).
    Expressivity,
    /// AZ-NAS: least growth of that entropy from layer to layer.
    Progressivity,
    /// AZ-NAS: how nearly gradients keep their length.
    Trainability,
    /// AZ-NAS's rank aggregate of the three before and [`Score::Flop`], over the population.
    AzNas,
}

impl Score {
    /// Every score.
    pub const ALL: [Score; 16] = [
        Score::Params,
        Score::Flop,
        Score::GradNorm,
        Score::Snip,
        Score::Grasp,
        Score::Fisher,
        Score::Synflow,
        Score::JacobCov,
        Score::Naswot,
        Score::Zico,
        Score::Zen,
        Score::Swap,
        Score::Expressivity,
        Score::Progressivity,
        Score::Trainability,
        Score::AzNas,
    ];

    /// The name, as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Score::Params => "params",
            Score::Flop => "flop",
            Score::GradNorm => "grad_norm",
            Score::Snip => "snip",
            Score::Grasp => "grasp",
            Score::Fisher => "fisher",
            Score::Synflow => "synflow",
            Score::JacobCov => "jacob_cov",
            Score::Naswot => "naswot",
            Score::Zico => "zico",
            Score::Zen => "zen",
            Score::Swap => "swap",
            Score::Expressivity => "expressivity",
            Score::Progressivity => "progressivity",
            Score::Trainability => "trainability",
            Score::AzNas => "az_nas",
        }
    }

    /// Whether it looks at the samples.
    pub fn needs_data(self) -> bool {
        self.needs_targets() || matches!(self, Score::JacobCov | Score::Naswot | Score::Swap)
    }

    /// Whether it looks at the samples' targets.
    pub fn needs_targets(self) -> bool {
        matches!(self.place(), Some((Group::Gradients | Group::Grasp, _)))
    }

    /// Whether forward passes suffice.
    pub fn forward_only(self) -> bool {
        matches!(
            self,
            Score::Params
                | Score::Flop
                | Score::Naswot
                | Score::Swap
                | Score::Zen
                | Score::Expressivity
                | Score::Progressivity
        )
    }

    /// The kernel's group, and the place among its values.
    fn place(self) -> Option<(Group, usize)> {
        Some(match self {
            Score::GradNorm => (Group::Gradients, 0),
            Score::Snip => (Group::Gradients, 1),
            Score::Fisher => (Group::Gradients, 2),
            Score::Zico => (Group::Gradients, 3),
            Score::Grasp => (Group::Grasp, 0),
            Score::Naswot => (Group::Codes, 0),
            Score::Swap => (Group::Codes, 1),
            Score::JacobCov => (Group::Jacobian, 0),
            Score::Synflow => (Group::Synflow, 0),
            Score::Zen => (Group::Zen, 0),
            Score::Expressivity => (Group::AzNas, 0),
            Score::Progressivity => (Group::AzNas, 1),
            Score::Trainability => (Group::AzNas, 2),
            Score::Params | Score::Flop | Score::AzNas => return None,
        })
    }

    /// What AZ-NAS is made of.
    const AZ_NAS: [Score; 4] = [Score::Expressivity, Score::Progressivity, Score::Trainability, Score::Flop];
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Score {
    type Err = SearchError;
    fn from_str(text: &str) -> Result<Score, SearchError> {
        let normal = text.trim().to_ascii_lowercase().replace('-', "_");
        let found = Score::ALL.into_iter().find(|score| score.name() == normal);
        found.ok_or_else(|| SearchError::Options(unknown("score", text, Score::ALL.map(Score::name))))
    }
}

impl From<Score> for String {
    fn from(score: Score) -> String {
        score.name().into()
    }
}

impl TryFrom<String> for Score {
    type Error = SearchError;
    fn try_from(text: String) -> Result<Score, SearchError> {
        text.parse()
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

/// The samples that scores look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Minibatch {
    /// How many.
    pub rows: usize,
    /// Features of a sample.
    pub inputs: usize,
    /// `[rows, inputs]`.
    pub x: Vec<f32>,
    /// What is to be predicted.
    pub target: MinibatchTarget,
}

/// The targets of a [`Minibatch`].
#[derive(Clone, Debug, PartialEq)]
pub enum MinibatchTarget {
    /// A class for each row.
    Classes(Vec<u32>),
    /// Numbers for each row.
    Values(Vec<f32>),
    /// Not known.
    None,
}

impl Minibatch {
    /// `rows` rows of a prepared data set (or all, when there are fewer), drawn without replacement by the seed.
    pub fn draw(data: &Dataset, rows: usize, seed: u64) -> Minibatch {
        let features = data.features();
        let mut order: Vec<usize> = (0..features.rows).collect();
        Rng::new(seed, PURPOSE, 0).shuffle(&mut order);
        order.truncate(rows.max(1));
        let target = match data.target() {
            Known::Classes { labels, .. } => {
                MinibatchTarget::Classes(order.iter().map(|&row| labels[row]).collect())
            }
            Known::Values { values, outputs, .. } => MinibatchTarget::Values(
                order
                    .iter()
                    .flat_map(|&row| values[row * outputs..(row + 1) * outputs].iter().copied())
                    .collect(),
            ),
            Known::None => MinibatchTarget::None,
        };
        let x = order.iter().flat_map(|&row| features.row(row).iter().copied()).collect();
        Minibatch { rows: order.len(), inputs: features.cols, x, target }
    }
}

/// Purpose of the random numbers, as [`Rng::new`] takes it.
const PURPOSE: u32 = 0x6261_7463;
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

/// The layers of an MLP, as the scores see them.
fn layers(net: &Mlp) -> Vec<Layer> {
    let mut inputs = net.inputs;
    let layer = |dense: &crate::nn::Dense| {
        let from = std::mem::replace(&mut inputs, dense.units);
        Layer { inputs: from, units: dense.units, activation: dense.activation, skip: dense.skip }
    };
    net.layers.iter().map(layer).collect()
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

/// Floating-point operations of one sample's forward pass, as [`Architecture::flop`](super::architecture::Architecture::flop)
/// counts them: `2 inputs units` a layer.
pub fn flop(net: &Mlp) -> u64 {
    layers(net).iter().map(|l| 2 * l.inputs as u64 * l.units as u64).sum()
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
            (Score::Flop, _) => nets.iter().map(|net| flop(net) as f64).collect(),
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

/// What every score is worth on these networks, whose trained `accuracy` (or another value that is better the higher) is
/// known: [`correlation::table`] of all scores. Scores that need targets are left out where the data has none. Errors: as
/// [`score`].
pub fn correlations(
    device: &Device,
    nets: &[Mlp],
    batch: &Minibatch,
    accuracy: &[f64],
    seed: u64,
) -> Result<Vec<correlation::Row>, SearchError> {
    if accuracy.len() != nets.len() {
        let (n, given) = (nets.len(), accuracy.len());
        return Err(SearchError::Options(format!("{n} networks, {given} accuracies")));
    }
    let known = batch.target != MinibatchTarget::None;
    let asked: Vec<Score> = Score::ALL.into_iter().filter(|s| known || !s.needs_targets()).collect();
    let scored = score(device, nets, batch, seed, &asked)?;
    let column = |score: &Score| -> Vec<f64> {
        scored.iter().map(|scores| scores.get(*score).unwrap_or(f64::NAN)).collect()
    };
    let columns: Vec<(Score, Vec<f64>)> = asked.iter().map(|s| (*s, column(s))).collect();
    Ok(correlation::table(&columns, &column(&Score::Params), accuracy, seed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Executor, Plan, States};
    use crate::nn;
    use crate::ops::activation::Activation;

    #[test]
    fn names_are_read_back_and_slips_are_helped() {
        for score in Score::ALL {
            assert_eq!(score.name().parse::<Score>().expect("a name"), score);
            let json = serde_json::to_string(&score).expect("JSON");
            assert_eq!(serde_json::from_str::<Score>(&json).expect("a score"), score);
        }
        let slip = "synflw".parse::<Score>().expect_err("a slip").to_string();
        assert!(slip.contains("did you mean 'synflow'"), "{slip}");
    }

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
    fn operations_are_counted() {
        assert_eq!(flop(&nn::mlp(4, [3], Activation::Relu, 2)), 2 * 4 * 3 + 2 * 3 * 2);
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
