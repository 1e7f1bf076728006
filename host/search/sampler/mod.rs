//! Samplers: what to try next.

pub mod generator;
mod random;

pub use random::Random;

use super::space::Point;
use super::trial::Trial;
use super::{SearchError, Setting};

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
