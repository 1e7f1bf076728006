//! How good the generator's parts are, on points whose value is known: a table's.
//!
//! Trains as a generation does, and looks at
//! - the predictor: which share of the pairs of held-out points, of different value, it puts in the right order;
//! - encoder and decoder: which share of held-out points comes out again, token by token;
//! - the steps in latent space: whether what is decoded is a point of the space, and how good the new points are, beside the
//!   ones that the steps began at.

use std::collections::HashSet;
use std::time::Instant;

use serde::Serialize;

use super::tokens::{Token, Vocabulary};
use super::{Options, PROPOSING, Snapshot, TRAINING, Told, fit, key, pretrained, propose, purpose};
use crate::device::{Device, DeviceKind};
use crate::graph::on_workers;
use crate::search::rng::Rng;
use crate::search::space::{Point, Space};
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// What [`measure`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Trials that the network was trained on.
    pub trials: usize,
    /// Points that it was not trained on.
    pub held_out: usize,
    /// Share of pairs of held-out points that the predictor orders rightly.
    pub pairwise: f64,
    /// Share of held-out points that are decoded to their own tokens.
    pub reconstruction: f64,
    /// Sequences decoded from steps in latent space.
    pub decoded: usize,
    /// Share of those that are points of the space: a value for each parameter that exists, none for others.
    pub valid: f64,
    /// Different points among them that are allowed and were not told.
    pub generated: usize,
    /// Mean value of those.
    pub generated_mean: f64,
    /// Mean value of the best of those by prediction: as many as the steps began at.
    pub selected_mean: f64,
    /// Points that the steps began at.
    pub seeds: usize,
    /// Mean value of those.
    pub seeds_mean: f64,
    /// Seconds to learn to encode and decode, once a search.
    pub pretraining_seconds: f64,
    /// Seconds of a training on trials.
    pub training_seconds: f64,
}

/// Trains on `trials`, and measures on the points of `held_out` and on what `options.elites` of the best trials lead to.
/// `value` is the truth by the first goal's direction; a point without one is left out of means.
pub fn measure(
    device: &Device,
    options: &Options,
    setting: &Setting,
    trials: &[Trial],
    held_out: &[Point],
    value: impl Fn(&Point) -> Option<f64> + Sync,
) -> Result<Report, SearchError> {
    options.validate()?;
    let run = || run(device, options, setting, trials, held_out, &value);
    if device.kind() == DeviceKind::Cpu { on_workers(run) } else { run() }
}

fn run(
    device: &Device,
    options: &Options,
    setting: &Setting,
    trials: &[Trial],
    held_out: &[Point],
    value: &(dyn Fn(&Point) -> Option<f64> + Sync),
) -> Result<Report, SearchError> {
    let began = Instant::now();
    let mut model = pretrained(device, setting, options)?;
    let pretraining_seconds = began.elapsed().as_secs_f64();
    let vocabulary = Vocabulary::new(&setting.space, options.levels);
    let told: Vec<Told> = trials.iter().map(|t| Told::new(setting, &vocabulary, t)).collect();
    let snapshot = Snapshot::new(setting, options, &told, told.len());
    let began = Instant::now();
    let mut rng = Rng::new(setting.seed, purpose::GENERATOR, TRAINING | told.len() as u64);
    fit(&mut model, setting, options, &snapshot.examples, &mut rng)?;
    let training_seconds = began.elapsed().as_secs_f64();

    let mut rng = Rng::new(setting.seed, purpose::GENERATOR, PROPOSING | told.len() as u64);
    let sequences: Vec<Vec<Token>> = held_out.iter().map(|p| vocabulary.encode(p)).collect();
    let said = model.predict(&sequences)?;
    let loss = |p: &Point| setting.goals.first().zip(value(p)).map(|(goal, v)| goal.direction.loss(v));
    let truth: Vec<Option<f64>> = held_out.iter().map(loss).collect();
    let again = model.improve(held_out, 0.0, false, &mut rng)?;
    let same = again.iter().zip(&sequences).filter(|((_, tokens), sequence)| tokens == *sequence).count();

    let known: HashSet<u64> = trials.iter().map(|t| key(&t.point)).collect();
    let (mut decoded, mut valid) = (0, 0);
    let (mut generated, mut tokens): (Vec<Point>, Vec<Vec<Token>>) = (vec![], vec![]);
    let mut taken = HashSet::new();
    for lambda in propose::lambdas() {
        for (point, sequence) in model.improve(&snapshot.elites, lambda, true, &mut rng)? {
            decoded += 1;
            valid += usize::from(is_point(&setting.space, &point));
            let new = !known.contains(&key(&point)) && setting.space.check(&point).is_ok();
            if new && taken.insert(sequence.clone()) {
                generated.push(point);
                tokens.push(sequence);
            }
        }
    }
    let promise = model.predict(&tokens)?;
    let mut order: Vec<usize> = (0..generated.len()).collect();
    order.sort_by(|&a, &b| promise[b].total_cmp(&promise[a]));
    let selected = order.iter().take(snapshot.elites.len()).map(|&i| &generated[i]);
    Ok(Report {
        trials: trials.len(),
        held_out: held_out.len(),
        pairwise: pairwise(&said, &truth),
        reconstruction: same as f64 / held_out.len().max(1) as f64,
        decoded,
        valid: f64::from(valid as u32) / f64::from(decoded.max(1) as u32),
        generated: generated.len(),
        generated_mean: mean(generated.iter().filter_map(value)),
        selected_mean: mean(selected.filter_map(value)),
        seeds: snapshot.elites.len(),
        seeds_mean: mean(snapshot.elites.iter().filter_map(value)),
        pretraining_seconds,
        training_seconds,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

/// Share of the pairs with different losses in which the better point is predicted higher; NaN without such pairs.
fn pairwise(said: &[f32], losses: &[Option<f64>]) -> f64 {
    let known: Vec<(f32, f64)> = said.iter().zip(losses).filter_map(|(&s, &l)| Some((s, l?))).collect();
    let (mut right, mut all) = (0u64, 0u64);
    for (i, a) in known.iter().enumerate() {
        for b in &known[..i] {
            all += u64::from(a.1 != b.1);
            right += u64::from(a.1 < b.1 && a.0 > b.0 || a.1 > b.1 && a.0 < b.0);
        }
    }
    right as f64 / all as f64
}

/// Whether the point has a value of its domain for each parameter that exists, and none for others; constraints aside.
fn is_point(space: &Space, point: &Point) -> bool {
    let fits = |(i, value): (usize, &Option<_>)| match value {
        Some(value) => space.exists(i, &point.0) && space.parameters()[i].domain.contains(*value),
        None => !space.exists(i, &point.0),
    };
    point.0.len() == space.parameters().len() && point.0.iter().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted() {
        let losses = [Some(1.0), Some(2.0), Some(2.0), None, Some(3.0)];
        // Right: 0 before the rest, 1 before 4; wrong: 2 and 4; equal losses and unknown ones do not count.
        assert_eq!(pairwise(&[0.9, 0.8, 0.1, 0.0, 0.2], &losses), 0.8);
        // An equal prediction is not right.
        assert_eq!(pairwise(&[0.5, 0.5], &[Some(1.0), Some(2.0)]), 0.0);
        assert!(pairwise(&[0.5, 0.7], &[Some(1.0), Some(1.0)]).is_nan());
    }
}
