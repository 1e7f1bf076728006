//! Random search (Bergstra and Bengio 2012): every point is drawn for itself.

use super::{Sampler, purpose};
use crate::search::rng::Rng;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Draws every point from the space's prior.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Sampler for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn tell(&mut self, _: &Setting, _: &Trial) {}

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        setting.space.draw(&mut Rng::new(setting.seed, purpose::RANDOM, number))
    }
}
