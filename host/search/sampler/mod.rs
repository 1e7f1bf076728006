//! Samplers: what to try next.
//!
//! | name | method | goals | built from |
//! |---|---|---|---|
//! | `random` | [`Random`] | any | nothing |
//! | `grid` | [`Grid`] | any | nothing |
//! | `evolution` | [`Evolution`], regularised | the first | the last 10 trials |
//! | `tpe` | [`Tpe`], multivariate | all | the best 25 (64 with several goals) and the last 256 trials |
//! | `nsga2` | [`Nsga2`] | all | a population of 20 and the generation that is under way |
//! | `local` | [`LocalSearch`] | the first | the best trial since the last restart |
//! | `generator` | [`Generator`], encoder-decoder | all | the best and other trials, at most 1024, and a network that it trains |
//!
//! So no suggestion takes longer because there are more trials. What grows is a set of 64-bit keys of the points that were
//! told, and this for finite spaces alone.

mod evolution;
pub mod generator;
mod grid;
mod known;
mod local;
mod moves;
mod nsga2;
mod random;
mod screened;
mod tpe;

use std::cmp::Ordering;
use std::collections::HashSet;

pub use evolution::Evolution;
pub use generator::Generator;
pub use grid::Grid;
pub use known::Known;
pub use local::LocalSearch;
pub use nsga2::Nsga2;
pub use random::Random;
pub use screened::Screened;
pub use tpe::Tpe;

use super::names;
use super::rng::Rng;
use super::space::{Point, Value};
use super::trial::{State, Trial};
use super::{SearchError, Setting};
use crate::device::Device;
use crate::hash::fnv1a;

/// Proposes points. Bring your own by implementing this.
///
/// The caller [`tell`](Sampler::tell)s the finished trials in the order of their numbers, each once, and
/// [`ask`](Sampler::ask)s for trial `n` when it has told exactly the first [`Setting::visible`]`(n)` of them, or, where
/// that number did not change, several trials in a row. Several processes may do so on one study, each with a sampler of its
/// own that is asked for other numbers: so what is proposed for `n` must be a function of the setting, `n`, and what was
/// told, and not of earlier asks (a cache of something that is such a function is fine).
pub trait Sampler: Send {
    /// A name for tables and files.
    fn name(&self) -> &'static str;

    /// Learns of a finished trial, failed and pruned ones too.
    fn tell(&mut self, setting: &Setting, trial: &Trial);

    /// The point of trial `number`. Error: the space holds no point that is allowed.
    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError>;
}

/// Makes a sampler with its defaults.
type Make = fn(&Device) -> Box<dyn Sampler>;

/// The samplers by name.
const SAMPLERS: &[(&str, Make)] = &[
    ("random", |_| Box::new(Random)),
    ("grid", |_| Box::new(Grid::default())),
    ("evolution", |_| Box::new(Evolution::default())),
    ("tpe", |_| Box::new(Tpe::default())),
    ("nsga2", |_| Box::new(Nsga2::default())),
    ("local", |_| Box::new(LocalSearch::default())),
    ("generator", |device| Box::new(Generator::new(device))),
];

/// The names that [`by_name`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    SAMPLERS.iter().map(|(name, _)| *name)
}

/// The sampler of that name, with its defaults; one that learns a model does so on `device`. Error: there is none; it says
/// which name is nearest.
///
/// ```
/// use ironwarp::{Device, search::sampler};
/// assert_eq!(sampler::by_name("tpe", &Device::cpu())?.name(), "tpe");
/// let error = sampler::by_name("evolutoin", &Device::cpu()).err().expect("no such sampler").to_string();
/// assert!(error.contains("did you mean 'evolution'?"));
/// # Ok::<(), ironwarp::search::SearchError>(())
/// ```
pub fn by_name(name: &str, device: &Device) -> Result<Box<dyn Sampler>, SearchError> {
    match SAMPLERS.iter().find(|(known, _)| *known == name) {
        Some((_, make)) => Ok(make(device)),
        None => Err(SearchError::Options(names::unknown("sampler", name, names()))),
    }
}

/// The purposes of the samplers' random streams (see [`Rng::new`](super::rng::Rng::new)), one a sampler.
pub(crate) mod purpose {
    pub const RANDOM: u32 = 1;
    pub const EVOLUTION: u32 = 2;
    pub const TPE: u32 = 3;
    pub const NSGA2: u32 = 4;
    pub const LOCAL: u32 = 5;
    pub const GENERATOR: u32 = 6;
    pub const GRID: u32 = 7;
}

/// How good a trial is by the first goal, less is better: complete trials by their loss, then pruned ones (those that came
/// further first, then by their loss), then failed ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merit {
    class: u8,
    step: u64,
    loss: f64,
}

impl Merit {
    pub(crate) fn of(setting: &Setting, trial: &Trial) -> Merit {
        let loss = setting.losses(trial).first().copied().unwrap_or(f64::INFINITY);
        match trial.state {
            State::Complete => Merit { class: 0, step: 0, loss },
            State::Pruned => Merit { class: 1, step: trial.last().map_or(0, |r| r.step), loss },
            State::Running | State::Failed => Merit { class: 2, step: 0, loss: f64::INFINITY },
        }
    }

    /// Whether the trial has values: it did not fail.
    pub(crate) fn is_usable(&self) -> bool {
        self.class < 2
    }

    /// 0 complete, 1 pruned, 2 failed.
    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    pub(crate) fn order(&self, other: &Merit) -> Ordering {
        self.class.cmp(&other.class).then(other.step.cmp(&self.step)).then(self.loss.total_cmp(&other.loss))
    }
}

/// The points that were told, so that a finite space is not tried twice: 64-bit keys, hence two points are taken for one with a
/// probability of n^2 / 2^65. Spaces with a continuous parameter (or more than 2^64 points) are not remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    keys: HashSet<u64>,
    /// Whether the space is finite; found out at the first trial.
    finite: Option<bool>,
}

/// Draws in search of a point that was not told, before one that was is taken.
const FRESH_DRAWS: usize = 32;

impl Seen {
    pub(crate) fn tell(&mut self, setting: &Setting, point: &Point) {
        if *self.finite.get_or_insert_with(|| setting.space.count().is_some()) {
            self.keys.insert(key(point));
        }
    }

    pub(crate) fn has(&self, point: &Point) -> bool {
        !self.keys.is_empty() && self.keys.contains(&key(point))
    }

    /// Number of keys that are kept.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A draw from the prior that was not told, where one is found soon.
    pub(crate) fn draw(&self, setting: &Setting, rng: &mut Rng) -> Result<Point, SearchError> {
        let mut point = setting.space.draw(rng)?;
        for _ in 0..FRESH_DRAWS {
            if !self.has(&point) {
                break;
            }
            point = setting.space.draw(rng)?;
        }
        Ok(point)
    }
}

/// A hash of the point's values.
fn key(point: &Point) -> u64 {
    let words = point.0.iter().flat_map(|value| match value {
        None => [0, 0],
        Some(Value::Int(v)) => [1, *v as u64],
        Some(Value::Float(x)) => [2, x.to_bits()],
        Some(Value::Choice(i)) => [3, u64::from(*i)],
    });
    fnv1a(words.flat_map(u64::to_le_bytes))
}
