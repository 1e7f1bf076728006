//! From a trained model to a list of points.
//!
//! 1. *Improve*: the elites are encoded, moved up the predictor's gradient by growing lambda, and decoded, until there are
//!    several times as many new points as are wanted or lambda is at its end.
//! 2. *Mutate*: as many neighbours of the elites, one parameter changed.
//! 3. *Select*: the new points of both kinds by their prediction, the best first; in between, evenly spread, a share of
//!    [`Options::explore`] of points that were not selected.
//!
//! New means that no trial told before the generation has the point, and nothing that may be running. Where the space has
//! nothing new left, the prior fills the list.

use std::collections::HashSet;

use super::model::Model;
use super::tokens::Token;
use super::{Options, key};
use crate::search::Setting;
use crate::search::rng::Rng;
use crate::search::sampler::moves::mutate;
use crate::search::space::Point;
use crate::train::TrainError;

/// Steps of lambda, from [`FIRST_LAMBDA`], each [`GROWTH`] times the one before: from a tenth of the radius to four of them.
const LAMBDAS: i32 = 12;
const FIRST_LAMBDA: f32 = 0.1;
const GROWTH: f32 = 1.4;
/// New points of a kind for each one wanted, before selection.
const SURPLUS: usize = 8;
/// Most points of a kind.
const MOST: usize = 2048;
/// Tries for each mutation that is wanted.
const TRIES: usize = 10;

/// New points, the one with the best prediction first.
#[derive(Default)]
pub struct Pool {
    points: Vec<Point>,
    /// How many are wanted.
    count: usize,
    /// How many of those are not to be the best.
    explored: usize,
}

impl Pool {
    /// Gathers points that are not `known`, for a list of `count`.
    pub fn gather(
        model: &mut Model,
        setting: &Setting,
        options: &Options,
        elites: &[Point],
        known: impl Fn(&Point) -> bool,
        count: usize,
        rng: &mut Rng,
    ) -> Result<Pool, TrainError> {
        let wanted = count.saturating_mul(SURPLUS).min(MOST);
        let mut taken: HashSet<u64> = HashSet::new();
        let mut points: Vec<Point> = vec![];
        let mut sequences: Vec<Vec<Token>> = vec![];
        let mut add = |point: Point, tokens: Vec<Token>| {
            let new = !known(&point) && setting.space.check(&point).is_ok() && taken.insert(key(&point));
            if new {
                points.push(point);
                sequences.push(tokens);
            }
            new
        };
        let mut left = wanted;
        // A level's values differ from decoding to decoding: one of them is enough.
        let mut decoded: HashSet<Vec<Token>> = HashSet::new();
        for lambda in lambdas() {
            if left == 0 {
                break;
            }
            for (point, tokens) in model.improve(elites, lambda, true, rng)? {
                let new = decoded.insert(tokens.clone()) && add(point, tokens);
                left = left.saturating_sub(usize::from(new));
            }
        }
        let mut left = wanted;
        for _ in 0..wanted * TRIES {
            let Some(parent) = rng.pick(elites) else { break };
            let point = mutate(&setting.space, parent, rng);
            let tokens = model.vocabulary().encode(&point);
            left -= usize::from(add(point, tokens));
            if left == 0 {
                break;
            }
        }
        let said = model.predict(&sequences)?;
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| said[b].total_cmp(&said[a]));
        let points = order.into_iter().map(|i| points[i].clone()).collect();
        let explored = (count as f64 * options.explore) as usize;
        Ok(Pool { points, count, explored })
    }

    /// The points to try, the most promising first, without those with the keys of `running`.
    pub fn list(&self, setting: &Setting, running: &[u64], rng: &mut Rng) -> Vec<Point> {
        let (count, explored) = (self.count, self.explored);
        let running: HashSet<u64> = running.iter().copied().collect();
        let free: Vec<&Point> = self.points.iter().filter(|p| !running.contains(&key(p))).collect();
        let (best, rest) = free.split_at(free.len().min(count - explored));
        let mut rest = rest.to_vec();
        rng.shuffle(&mut rest);
        let (mut best, mut rest) = (best.iter(), rest.iter());
        let mut list: Vec<Point> = vec![];
        for j in 0..count {
            let explore = (j + 1) * explored / count > j * explored / count;
            let next = if explore {
                rest.next().or_else(|| best.next())
            } else {
                best.next().or_else(|| rest.next())
            };
            match next.map(|p| Ok((*p).clone())).unwrap_or_else(|| setting.space.draw(rng)) {
                Ok(point) => list.push(point),
                // The one who asks draws too, and says why it cannot.
                Err(_) => break,
            }
        }
        list
    }
}

/// The steps in latent space.
pub fn lambdas() -> impl Iterator<Item = f32> {
    (0..LAMBDAS).map(|k| FIRST_LAMBDA * GROWTH.powi(k))
}
