//! From a trained model to a list of points.
//!
//! 1. *Improve*: the best told points are encoded, moved up the predictor's gradient by growing lambda, and decoded, until
//!    there are several times as many new points as are wanted or lambda is at its end.
//! 2. *Mutate*: neighbours of the best told points, one parameter changed.
//! 3. *Select*: the new points of both kinds by their prediction, the best first; at every fourth place
//!    ([`Options::explore`]) a mutation that was not selected.
//!
//! New means that no told point and none listed before has the same tokens. Where the space has nothing new left, the prior
//! fills the list.

use std::collections::HashSet;

use super::model::Model;
use super::tokens::Token;
use super::{Options, Told, score};
use crate::search::Setting;
use crate::search::rng::Rng;
use crate::search::space::{Domain, Point};
use crate::train::TrainError;

/// Steps of lambda: from [`FIRST_LAMBDA`], each [`GROWTH`] times the one before.
const LAMBDAS: usize = 12;
const FIRST_LAMBDA: f32 = 0.1;
const GROWTH: f32 = 1.4;
/// New points for each one wanted, before selection.
const SURPLUS: usize = 8;
/// Most points that are decoded for one list.
const MOST_DECODED: usize = 2048;
/// Tries for each mutation that is wanted.
const TRIES: usize = 20;

type Candidate = (Point, Vec<Token>);

/// `count` points to try next, the most promising first. `seen` holds the tokens of what is told or running.
pub fn propose(
    model: &mut Model,
    setting: &Setting,
    options: &Options,
    told: &[Told],
    mut seen: HashSet<Vec<Token>>,
    count: usize,
    rng: &mut Rng,
) -> Result<Vec<Candidate>, TrainError> {
    let elites = elites(told, options.elites.max(1));
    let wanted = count.saturating_mul(SURPLUS).min(MOST_DECODED);
    let mut pool: Vec<Candidate> = vec![];
    let mut lambda = FIRST_LAMBDA;
    for _ in 0..LAMBDAS {
        if pool.len() >= wanted {
            break;
        }
        for candidate in improved(model, &elites, lambda, rng)? {
            if setting.space.check(&candidate.0).is_ok() && seen.insert(candidate.1.clone()) {
                pool.push(candidate);
            }
        }
        lambda *= GROWTH;
    }
    mutations(model, setting, &elites, wanted, &mut seen, &mut pool, rng);
    let sequences: Vec<Vec<Token>> = pool.iter().map(|c| c.1.clone()).collect();
    let said = model.predict(&sequences)?;
    let mut order: Vec<usize> = (0..pool.len()).collect();
    order.sort_by(|&a, &b| said[b].total_cmp(&said[a]));
    let explored = (count as f64 * options.explore.clamp(0.0, 1.0)) as usize;
    let selected = order.len().min(count - explored);
    let (best, rest) = order.split_at(selected);
    let mut rest = rest.to_vec();
    rng.shuffle(&mut rest);
    let mut best = best.iter().peekable();
    let mut rest = rest.iter().peekable();
    let mut list: Vec<Candidate> = vec![];
    for j in 0..count {
        // Explored places are spread evenly.
        let explore = (j + 1) * explored / count > j * explored / count;
        let next =
            if explore { rest.next().or_else(|| best.next()) } else { best.next().or_else(|| rest.next()) };
        match next {
            Some(&i) => list.push(pool[i].clone()),
            None => match setting.space.draw(rng) {
                Ok(point) => {
                    let tokens = model.vocabulary().encode(&point);
                    list.push((point, tokens));
                }
                // The caller draws, and says why it cannot.
                Err(_) => break,
            },
        }
    }
    Ok(list)
}

/// The best told points with different tokens, the best first.
fn elites(told: &[Told], most: usize) -> Vec<&Point> {
    let losses: Vec<&[f64]> = told.iter().map(|t| t.losses.as_slice()).collect();
    let mut taken: HashSet<&[Token]> = HashSet::new();
    let order = score::ranking(&losses).order;
    order.into_iter().filter(|&i| taken.insert(&told[i].tokens)).take(most).map(|i| &told[i].point).collect()
}

fn improved(
    model: &mut Model,
    elites: &[&Point],
    lambda: f32,
    rng: &mut Rng,
) -> Result<Vec<Candidate>, TrainError> {
    model.improve(elites, lambda, true, rng)
}

/// Adds up to `wanted` new neighbours of the elites to `pool`.
fn mutations(
    model: &Model,
    setting: &Setting,
    elites: &[&Point],
    wanted: usize,
    seen: &mut HashSet<Vec<Token>>,
    pool: &mut Vec<Candidate>,
    rng: &mut Rng,
) {
    let mut left = wanted;
    for _ in 0..wanted * TRIES {
        if left == 0 {
            break;
        }
        let Some(parent) = rng.pick(elites) else { break };
        let point = mutated(setting, parent, rng);
        if setting.space.check(&point).is_err() {
            continue;
        }
        let tokens = model.vocabulary().encode(&point);
        if seen.insert(tokens.clone()) {
            pool.push((point, tokens));
            left -= 1;
        }
    }
}

/// Width of a mutation of an ordered value, as a share of its range.
const WIDTH: f64 = 0.2;

/// `parent` with one of its parameters changed: a choice to another, an ordered value to one nearby.
fn mutated(setting: &Setting, parent: &Point, rng: &mut Rng) -> Point {
    let space = &setting.space;
    let mut point = parent.clone();
    let there: Vec<usize> = (0..point.0.len()).filter(|&i| point.0[i].is_some()).collect();
    let Some(&i) = rng.pick(&there) else { return point };
    let domain = &space.parameters()[i].domain;
    point.0[i] = point.0[i].map(|old| match domain {
        Domain::Choice { options } if options.len() > 1 => {
            let step = 1 + rng.below(options.len() - 1) as u64;
            domain.nth((domain.position(old).unwrap_or(0) + step) % options.len() as u64)
        }
        Domain::Choice { .. } => old,
        _ => {
            let moved = domain.unit(old) + WIDTH * rng.normal();
            domain.at(if (0.0..=1.0).contains(&moved) { moved } else { rng.uniform() })
        }
    });
    space.mend(&point, rng)
}
