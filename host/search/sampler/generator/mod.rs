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
//! `tokens` makes sequences of points and valid points of sequences, `net` is the network as graphs of this project, `model`
//! trains and decodes on any device, `propose` turns a trained model into a list of points, and `report` measures how good
//! all that is ([`measure`]).
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
//! Trials that run when a generation begins may be anything that the one before listed, so with a lag above 1 its points
//! are left out of the new list. What is remembered of told trials is bounded too, but for a 64-bit key each.
//!
//! # What differs from NAO, and why
//!
//! * The network learns to encode and decode from points that are drawn from the space, before any trial is told: they cost
//!   nothing. Each generation starts from there and needs few steps, and reconstruction does not wait for data.
//! * Targets are ranks, not min-max-normalised values: a few failures (an accuracy of 10 % among ones about 90 %) would
//!   leave no room for the differences that matter. Several goals are ranked by non-dominated fronts and crowding distance.
//! * The predictor has a hidden layer: a linear one on the unit sphere has little to tell points apart by.
//! * Logits of illegal tokens are masked in training too, so that the network learns nothing that the masks know.
//! * The gradient is scaled to unit length, so that lambda is a share of the sphere's radius.
//! * Decoded points compete with mutations of the best by their prediction, and every fourth point is one that was not
//!   selected: a predictor of a hundred trials has blind spots.
//! * No augmentation: it takes a symmetry, and a space does not say which it has.
//! * 32 units instead of 64 and batches of 64 instead of 100: measured on NAS-Bench-201, a step takes less than half the
//!   time and the predictor ranks about as well.

mod model;
mod net;
mod propose;
mod report;
mod score;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{HashMap, HashSet};

pub use model::Stretch;
pub use report::{Report, measure};

use model::{Example, Model};
use net::Net;
use propose::Pool;
use tokens::{Token, Vocabulary};

use super::{FRESH_DRAWS, Merit, Sampler, key, purpose};
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
    /// Training on the told trials, every generation; more steps where those would not make 24 passes over them.
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

impl Options {
    /// Checks ranges. Errors name the option and the range.
    pub fn validate(&self) -> Result<(), SearchError> {
        let bad = |text: String| Err(SearchError::Options(format!("generator: {text}")));
        let sizes = [
            ("every", self.every),
            ("most", self.most),
            ("examples", self.examples),
            ("elites", self.elites),
            ("embed", self.embed),
            ("hidden", self.hidden),
            ("predictor", self.predictor),
            ("batch", self.batch),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return bad(format!("{name} is 0: give at least 1"));
        }
        if self.levels < 2 {
            return bad(format!("{} levels: give at least 2", self.levels));
        }
        if !(0.0..=1.0).contains(&self.explore) || !(0.0..=1.0).contains(&self.share) {
            return bad(format!("explore {} and share {}: give numbers in [0, 1]", self.explore, self.share));
        }
        if !(self.clip.is_finite() && self.clip > 0.0) {
            return bad(format!("gradient norm limit {}: give a positive number", self.clip));
        }
        for rate in [self.pretraining.learning_rate, self.training.learning_rate] {
            if !(rate.is_finite() && rate > 0.0) {
                return bad(format!("learning rate {rate}: give a positive number, such as 0.003"));
            }
        }
        Ok(())
    }
}

/// A trial as the generator remembers it.
#[derive(Clone, Debug)]
struct Told {
    point: Point,
    tokens: Vec<Token>,
    losses: Vec<f64>,
    merit: Merit,
}

impl Told {
    fn new(setting: &Setting, vocabulary: &Vocabulary, trial: &Trial) -> Told {
        let (losses, merit) = (setting.losses(trial), Merit::of(setting, trial));
        Told { point: trial.point.clone(), tokens: vocabulary.encode(&trial.point), losses, merit }
    }
}

/// What a generation is made of.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    /// Trials that were told before it.
    start: usize,
    /// What the network is trained on.
    examples: Vec<Example>,
    /// Where gradient steps and mutations start from: the best with different tokens, the best first.
    elites: Vec<Point>,
}

impl Snapshot {
    fn new(setting: &Setting, options: &Options, told: &[Told], start: usize) -> Snapshot {
        let ranking = score::ranking(told);
        let mut ranked: Vec<(usize, f32)> = ranking.order.into_iter().zip(ranking.targets).collect();
        let mut different: HashSet<&[Token]> = HashSet::new();
        let elites =
            ranked.iter().filter(|(i, _)| told[*i].merit.is_usable() && different.insert(&told[*i].tokens));
        let elites = elites.take(options.elites).map(|(i, _)| told[*i].point.clone()).collect();
        if ranked.len() > options.examples {
            let mut rng = Rng::new(setting.seed, purpose::GENERATOR, EXAMPLES | start as u64);
            rng.shuffle(&mut ranked[options.examples / 2..]);
            ranked.truncate(options.examples);
        }
        let example =
            |(i, target): (usize, f32)| Example { tokens: told[i].tokens.clone(), target: Some(target) };
        Snapshot { start, examples: ranked.into_iter().map(example).collect(), elites }
    }
}

/// The points of the trials up to the next generation.
struct Generation {
    start: usize,
    list: Vec<Point>,
    /// What the list would be if nothing were running.
    plain: Vec<u64>,
}

/// Most trials that are remembered from one generation to the next: the best half, and the latest of the others.
const REMEMBERED: usize = 4096;

/// Passes over the examples that a training makes at least.
const PASSES: usize = 24;

/// The random streams of one search, apart from those of the trials' own numbers.
const PRETRAINING: u64 = 1 << 60;
const EXAMPLES: u64 = 2 << 60;
const TRAINING: u64 = 3 << 60;
const PROPOSING: u64 = 4 << 60;

/// Proposes points by gradient steps in a learned latent space; see the module's docs.
pub struct Generator {
    device: Device,
    options: Options,
    /// Trials told so far.
    count: usize,
    /// Some of them: [`REMEMBERED`] and those since the generation began.
    told: Vec<Told>,
    /// When each point was told first.
    seen: HashMap<u64, usize>,
    vocabulary: Option<Vocabulary>,
    model: Option<Model>,
    /// When the next generation begins.
    next: usize,
    /// The material of the generation under way, and of the one before.
    snapshots: [Option<Snapshot>; 2],
    generation: Option<Generation>,
}

impl Generator {
    /// A generator that trains on `device`.
    pub fn new(device: &Device) -> Generator {
        Generator::build(device, Options::default())
    }

    /// The same with other options. Errors name the option and its range.
    pub fn with(device: &Device, options: Options) -> Result<Generator, SearchError> {
        options.validate()?;
        Ok(Generator::build(device, options))
    }

    fn build(device: &Device, options: Options) -> Generator {
        Generator {
            device: device.clone(),
            next: options.startup.max(2),
            options,
            count: 0,
            told: vec![],
            seen: HashMap::new(),
            vocabulary: None,
            model: None,
            snapshots: [None, None],
            generation: None,
        }
    }

    /// Trials from the generation that begins at `start` to the next. As many as can run at once at least, so that what runs
    /// when a generation begins is of the one before.
    fn length(&self, setting: &Setting, start: usize) -> usize {
        let lag = usize::try_from(setting.lag).unwrap_or(usize::MAX);
        (start / 5).min(self.options.most).max(self.options.every).max(lag)
    }

    /// The next generation begins: its material is put aside, and what it does not need is forgotten.
    fn begin(&mut self, setting: &Setting) {
        self.snapshots[1] = self.snapshots[0].take();
        self.snapshots[0] = Some(Snapshot::new(setting, &self.options, &self.told, self.count));
        self.next = self.count.saturating_add(self.length(setting, self.count));
        if self.told.len() > REMEMBERED {
            let order = score::ranking(&self.told).order;
            let mut keep: Vec<usize> = order[..REMEMBERED / 2].to_vec();
            let mut others = order[REMEMBERED / 2..].to_vec();
            others.sort_unstable_by(|a, b| b.cmp(a));
            keep.extend(&others[..REMEMBERED / 2]);
            keep.sort_unstable();
            self.told = keep.into_iter().map(|i| self.told[i].clone()).collect();
        }
    }

    /// Makes the list of the generation under way.
    fn advance(&mut self, setting: &Setting) -> Result<(), TrainError> {
        let [Some(now), before] = &self.snapshots else { return Ok(()) };
        if self.generation.as_ref().is_some_and(|g| g.start == now.start) {
            return Ok(());
        }
        let (now, before) = (now.clone(), before.clone());
        // What is told later than a generation began does not count for it.
        let mut running: Vec<u64> = vec![];
        if let Some(before) = before.filter(|_| setting.lag > 1) {
            running = match self.generation.take().filter(|g| g.start == before.start) {
                Some(generation) => generation.plain,
                None => {
                    let pool = self.pool(setting, &before)?;
                    let points = pool.list(setting, &[], &mut self.rng(setting, before.start));
                    points.iter().map(key).collect()
                }
            };
        }
        let pool = self.pool(setting, &now)?;
        let list = pool.list(setting, &running, &mut self.rng(setting, now.start));
        let plain = match running.is_empty() {
            true => list.iter().map(key).collect(),
            false => pool.list(setting, &[], &mut self.rng(setting, now.start)).iter().map(key).collect(),
        };
        self.generation = Some(Generation { start: now.start, list, plain });
        Ok(())
    }

    fn rng(&self, setting: &Setting, start: usize) -> Rng {
        Rng::new(setting.seed, purpose::GENERATOR, PROPOSING | start as u64)
    }

    /// Trains on a snapshot and gathers points that were not told before it.
    fn pool(&mut self, setting: &Setting, snapshot: &Snapshot) -> Result<Pool, TrainError> {
        if self.model.is_none() {
            self.model = Some(pretrained(&self.device, setting, &self.options)?);
        }
        let count = self.length(setting, snapshot.start);
        let mut rng = Rng::new(setting.seed, purpose::GENERATOR, TRAINING | snapshot.start as u64);
        let Some(model) = &mut self.model else { return Ok(Pool::default()) };
        fit(model, setting, &self.options, &snapshot.examples, &mut rng)?;
        let seen = &self.seen;
        let known = |point: &Point| seen.get(&key(point)).is_some_and(|&at| at < snapshot.start);
        Pool::gather(model, setting, &self.options, &snapshot.elites, known, count, &mut rng)
    }
}

/// A network that encodes and decodes points of the space, and predicts nothing yet.
fn pretrained(device: &Device, setting: &Setting, options: &Options) -> Result<Model, TrainError> {
    let vocabulary = Vocabulary::new(&setting.space, options.levels);
    let net = Net {
        tokens: vocabulary.size(),
        length: vocabulary.length(),
        embed: options.embed,
        hidden: options.hidden,
        predictor: options.predictor,
    };
    let mut model = Model::new(device, &vocabulary, net, options, setting.seed)?;
    let mut rng = Rng::new(setting.seed, purpose::GENERATOR, PRETRAINING);
    model.train(options.pretraining, |_| unlabelled(&vocabulary, setting, options.batch, &mut rng))?;
    model.keep()?;
    Ok(model)
}

/// Sequences of points of the space, allowed or not: they only teach to encode and decode.
fn unlabelled(vocabulary: &Vocabulary, setting: &Setting, n: usize, rng: &mut Rng) -> Vec<Example> {
    let space = &setting.space;
    let draw = |rng: &mut Rng| space.build(|i, _| space.parameters()[i].domain.draw(rng));
    (0..n).map(|_| Example { tokens: vocabulary.encode(&draw(rng)), target: None }).collect()
}

/// Trains the network on examples with values, from where pretraining left it. A quarter of each batch has none.
fn fit(
    model: &mut Model,
    setting: &Setting,
    options: &Options,
    examples: &[Example],
    rng: &mut Rng,
) -> Result<(), TrainError> {
    model.restart()?;
    let labelled = options.batch - options.batch / 4;
    let vocabulary = model.vocabulary().clone();
    let mut order: Vec<usize> = vec![];
    let steps = options.training.steps.max(PASSES * examples.len() / labelled);
    model.train(Stretch { steps, ..options.training }, |_| {
        let mut out: Vec<Example> = vec![];
        for _ in 0..labelled {
            if order.is_empty() {
                order = (0..examples.len()).collect();
                rng.shuffle(&mut order);
            }
            out.extend(order.pop().map(|i| examples[i].clone()));
        }
        out.extend(unlabelled(&vocabulary, setting, options.batch - labelled, rng));
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
        self.told.push(Told::new(setting, vocabulary, trial));
        self.seen.entry(key(&trial.point)).or_insert(self.count);
        self.count += 1;
        if self.count == self.next {
            self.begin(setting);
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        if self.snapshots[0].is_some() {
            match self.device.kind() {
                DeviceKind::Cpu => on_workers(|| self.advance(setting))?,
                _ => self.advance(setting)?,
            }
            let generation = self.generation.as_ref();
            let listed = generation.and_then(|g| g.list.get(self.count - g.start));
            if let Some(point) = listed {
                return Ok(point.clone());
            }
        }
        let mut rng = Rng::new(setting.seed, purpose::GENERATOR, number);
        let mut point = setting.space.draw(&mut rng)?;
        for _ in 0..FRESH_DRAWS {
            if !self.seen.contains_key(&key(&point)) {
                break;
            }
            point = setting.space.draw(&mut rng)?;
        }
        Ok(point)
    }
}
