//! The encoder-decoder generator: points are embedded in a latent space in which quality is predicted and improved by
//! gradient, after NAO (Luo et al. 2018, "Neural Architecture Optimization"; the recipe of its second version).
//!
//! ```text
//! told trials --tokens--> encoder -> latent -> predictor          trained on the told trials
//!                                       |  ^                      (and, without a value, on points drawn from the space)
//!                                       |  '-- + lambda * gradient of the prediction
//!                                       '----> decoder -> tokens -> new points
//! ```
//!
//! [`tokens`] makes sequences of points and valid points of sequences, [`net`] is the network as graphs of this project,
//! [`model`] trains and decodes on any device, [`propose`] turns a trained model into a list of points, and
//! [`report`] measures how good all that is.
//!
//! # Generations
//!
//! The first [`Options::startup`] trials are drawn from the prior. When that many are told, and again whenever a fifth more
//! are (at least [`Options::every`], at most [`Options::most`]), a *generation* begins: the network is trained on the trials
//! told so far and lists as many points as it takes to the next generation; trial `n` gets the one at its place in the list.
//! A generation depends on the setting and on the trials told before it began, so asks are what
//! [`Sampler`] demands: a function of (setting, number, told trials). A search costs one training a generation, on a bounded
//! number of examples, however long it gets.
//!
//! # What differs from NAO, and why
//!
//! * The network learns to encode and decode from points that are drawn from the space, before any trial is told: they cost
//!   nothing. Each generation starts from there and needs few steps, and reconstruction does not wait for data.
//! * Targets are ranks, not min-max-normalised values: a few failures (an accuracy of 10 % among ones about 90 %) would
//!   leave no room for the differences that matter. Several goals are ranked by non-dominated fronts and crowding distance.
//! * The predictor has a hidden layer: a linear one on the unit sphere ranks too coarsely after few trials.
//! * The gradient is scaled to unit length, so that lambda is a share of the sphere's radius.
//! * Decoded points compete with mutations of the best by their prediction, and every fourth point is a mutation that was
//!   not selected: a predictor of a hundred trials has blind spots.
//! * The network has [`Options::hidden`] units instead of 64 and a batch of 64 instead of 100: a whole search of 200 trials
//!   then costs about a second of one core.

pub mod model;
pub mod net;
pub mod propose;
mod score;
pub mod tokens;

use std::collections::HashSet;

use model::{Example, Model, Stretch};
use net::Net;
use tokens::{Token, Vocabulary};

use super::{Sampler, purpose};
use crate::device::{Device, DeviceKind};
use crate::graph::on_workers;
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};
use crate::train::TrainError;

/// What can be chosen of a [`Generator`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Trials drawn from the prior at first.
    pub startup: usize,
    /// Least number of trials between two trainings.
    pub every: usize,
    /// Greatest number of trials between two trainings.
    pub most: usize,
    /// Told trials that a training looks at: the best half, and others at random.
    pub examples: usize,
    /// Levels that a continuous or long domain is cut into.
    pub levels: usize,
    /// Best trials that gradient steps and mutations start from.
    pub elites: usize,
    /// Share of the points that are mutations of the best, not selected by the predictor.
    pub explore: f64,
    /// Elements of a token's embedding.
    pub embed: usize,
    /// Units of the encoder and the decoder.
    pub hidden: usize,
    /// Hidden units of the predictor.
    pub predictor: usize,
    /// Sequences of a training step.
    pub batch: usize,
    /// Share of the loss that is the predictor's.
    pub share: f32,
    /// Greatest norm of a gradient.
    pub clip: f32,
    /// Training without values, once.
    pub pretraining: Stretch,
    /// Training on the told trials, every generation.
    pub training: Stretch,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            startup: 40,
            every: 20,
            most: 1000,
            examples: 1024,
            levels: 8,
            elites: 16,
            explore: 0.25,
            embed: 32,
            hidden: 32,
            predictor: 64,
            batch: 64,
            share: 0.8,
            clip: 5.0,
            pretraining: Stretch { steps: 400, learning_rate: 5e-3 },
            training: Stretch { steps: 100, learning_rate: 3e-3 },
        }
    }
}

/// A trial as the generator remembers it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What was tried.
    pub point: Point,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its values as losses.
    pub losses: Vec<f64>,
}

/// The points of a stretch of trials.
struct Generation {
    /// Told trials when it began.
    start: usize,
    /// The points in order, with their tokens.
    list: Vec<(Point, Vec<Token>)>,
}

/// Proposes points by gradient steps in a learned latent space; see the module's docs.
pub struct Generator {
    device: Device,
    options: Options,
    told: Vec<Told>,
    vocabulary: Option<Vocabulary>,
    model: Option<Model>,
    generation: Option<Generation>,
}

impl Generator {
    /// A generator that trains on `device`.
    pub fn new(device: &Device) -> Generator {
        Generator::with(device, Options::default())
    }

    /// The same with other options.
    pub fn with(device: &Device, options: Options) -> Generator {
        let device = device.clone();
        Generator { device, options, told: vec![], vocabulary: None, model: None, generation: None }
    }

    /// Trials from the generation that begins at `start` told trials to the next.
    fn length(&self, setting: &Setting, start: usize) -> usize {
        let (least, most) = (self.options.every.max(1), self.options.most.max(1));
        (start / 5).min(most).max(least).max(usize::try_from(setting.lag).unwrap_or(usize::MAX))
    }

    /// Makes the generation that begins at `start`.
    fn advance(&mut self, setting: &Setting, start: usize) -> Result<(), TrainError> {
        let count = self.length(setting, start);
        if self.model.is_none() {
            self.model = Some(pretrained(&self.device, setting, &self.options)?);
        }
        let Some(model) = &mut self.model else { return Ok(()) };
        let told = &self.told[..start];
        let mut rng = Rng::new(setting.seed, purpose::GENERATOR, GENERATION | start as u64);
        fit(model, setting, &self.options, told, &mut rng)?;
        // What was listed before and is not told yet is running.
        let mut seen: HashSet<Vec<Token>> = told.iter().map(|t| t.tokens.clone()).collect();
        seen.extend(self.generation.iter().flat_map(|g| &g.list).map(|(_, tokens)| tokens.clone()));
        let list = propose::propose(model, setting, &self.options, told, seen, count, &mut rng)?;
        self.generation = Some(Generation { start, list });
        Ok(())
    }
}

/// The random streams of one search: apart from those of the trials' own numbers.
const PRETRAINING: u64 = 1 << 62;
const GENERATION: u64 = 1 << 63;

/// A network that encodes and decodes points of the space, and predicts nothing yet.
pub fn pretrained(device: &Device, setting: &Setting, options: &Options) -> Result<Model, TrainError> {
    let vocabulary = Vocabulary::new(&setting.space, options.levels);
    let net = Net {
        tokens: vocabulary.size(),
        length: vocabulary.length(),
        embed: options.embed.max(1),
        hidden: options.hidden.max(1),
        predictor: options.predictor.max(1),
    };
    let batch = options.batch.max(1);
    let mut model = Model::new(device, &vocabulary, net, batch, (options.share, options.clip), setting.seed)?;
    let mut rng = Rng::new(setting.seed, purpose::GENERATOR, PRETRAINING);
    model.train(options.pretraining, |_| unlabelled(&vocabulary, setting, batch, &mut rng))?;
    model.keep()?;
    Ok(model)
}

/// Sequences of points of the space, allowed or not: they only teach to encode and decode.
fn unlabelled(vocabulary: &Vocabulary, setting: &Setting, n: usize, rng: &mut Rng) -> Vec<Example> {
    let space = &setting.space;
    let draw = |rng: &mut Rng| space.build(|i, _| space.parameters()[i].domain.draw(rng));
    (0..n).map(|_| Example { tokens: vocabulary.encode(&draw(rng)), target: None }).collect()
}

/// Trains the network on told trials, from where pretraining left it.
pub fn fit(
    model: &mut Model,
    setting: &Setting,
    options: &Options,
    told: &[Told],
    rng: &mut Rng,
) -> Result<(), TrainError> {
    model.restart()?;
    let losses: Vec<&[f64]> = told.iter().map(|t| t.losses.as_slice()).collect();
    let ranking = score::ranking(&losses);
    let mut chosen = ranking.order.clone();
    if chosen.len() > options.examples {
        let best = options.examples / 2;
        rng.shuffle(&mut chosen[best..]);
        chosen.truncate(options.examples.max(1));
    }
    let examples: Vec<Example> = chosen
        .iter()
        .map(|&i| Example { tokens: told[i].tokens.clone(), target: Some(ranking.targets[i]) })
        .collect();
    let batch = options.batch.max(1);
    let labelled = (batch * 3 / 4).max(1);
    let vocabulary = model.vocabulary().clone();
    let mut order: Vec<usize> = vec![];
    model.train(options.training, |_| {
        let mut out: Vec<Example> = vec![];
        for _ in 0..labelled {
            if order.is_empty() {
                order = (0..examples.len()).collect();
                rng.shuffle(&mut order);
            }
            out.extend(order.pop().map(|i| examples[i].clone()));
        }
        out.extend(unlabelled(&vocabulary, setting, batch - labelled, rng));
        out
    })?;
    Ok(())
}

impl Sampler for Generator {
    fn name(&self) -> &'static str {
        "generator"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        let levels = self.options.levels;
        let vocabulary = self.vocabulary.get_or_insert_with(|| Vocabulary::new(&setting.space, levels));
        let tokens = vocabulary.encode(&trial.point);
        self.told.push(Told { point: trial.point.clone(), tokens, losses: setting.losses(trial) });
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let told = self.told.len();
        let startup = self.options.startup.max(2);
        if told < startup {
            return setting.space.draw(&mut Rng::new(setting.seed, purpose::GENERATOR, number));
        }
        // Where this ask's generation begins, and those that are missing before it: their lists say what may be running.
        let mut start = startup;
        let mut missing = vec![];
        loop {
            if self.generation.as_ref().is_none_or(|g| g.start < start) {
                missing.push(start);
            }
            let next = start + self.length(setting, start);
            if next > told {
                break;
            }
            start = next;
        }
        if self.generation.as_ref().is_some_and(|g| g.start > start) {
            // Asked for an earlier trial than before: begin anew.
            self.generation = None;
            return self.ask(setting, number);
        }
        if setting.lag <= 1 {
            // Nothing runs when a generation begins.
            missing = missing.split_off(missing.len().saturating_sub(1));
        }
        for start in missing {
            match self.device.kind() {
                DeviceKind::Cpu => on_workers(|| self.advance(setting, start))?,
                _ => self.advance(setting, start)?,
            }
        }
        let generation = self.generation.as_ref();
        let point = generation.and_then(|g| g.list.get(told - start)).map(|(point, _)| point.clone());
        match point {
            Some(point) => Ok(point),
            None => setting.space.draw(&mut Rng::new(setting.seed, purpose::GENERATOR, number)),
        }
    }
}
