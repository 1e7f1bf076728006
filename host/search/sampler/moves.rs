//! Small changes of points: what evolution, NSGA-II and local search are made of.

use crate::search::rng::Rng;
use crate::search::space::{Domain, Point, Space, Value};

/// Standard deviation of a step in a domain of many ordered values, as a part of its range.
const STEP: f64 = 0.15;

/// Up to so many ordered values any other one is as likely as the next; beyond, near ones are likelier.
const FEW: u64 = 8;

/// Another value of the domain: of a choice and of few levels any one, else one near by. `None` when there is no other.
pub(super) fn other(domain: &Domain, value: Value, rng: &mut Rng) -> Option<Value> {
    let count = domain.count();
    if let (Some(n), Some(at)) = (count, domain.position(value))
        && (n <= FEW || !domain.is_ordered())
    {
        let i = rng.below(n.saturating_sub(1) as usize) as u64;
        return (n > 1).then(|| domain.nth(i + u64::from(i >= at)));
    }
    let unit = domain.unit(value);
    for _ in 0..16 {
        let moved = domain.at(reflect(unit + STEP * rng.normal()));
        if moved != value {
            return Some(moved);
        }
    }
    None
}

/// A number a little outside [0, 1], mirrored at the end.
fn reflect(u: f64) -> f64 {
    let u = u.abs();
    (if u > 1.0 { 2.0 - u } else { u }).clamp(0.0, 1.0)
}

/// `point` with one of its parameters changed, every one equally likely; what exists only now is drawn, what no longer exists
/// is dropped. Unchanged when no parameter has another value.
pub(super) fn mutate(space: &Space, point: &Point, rng: &mut Rng) -> Point {
    let domain = |i: usize| &space.parameters()[i].domain;
    let movable: Vec<(usize, Value)> = (point.0.iter().enumerate())
        .filter_map(|(i, value)| Some((i, (*value)?)))
        .filter(|(i, _)| domain(*i).count() != Some(1))
        .collect();
    let Some(&(i, value)) = rng.pick(&movable) else { return point.clone() };
    let mut changed = point.clone();
    changed.0[i] = other(domain(i), value, rng).or(Some(value));
    space.mend(&changed, rng)
}

/// Neighbours in the sense of local search: one parameter is another option of its choice, or a next level (of many levels
/// also one a sixteenth of the range away); continuous parameters give `draws` random steps of shrinking size.
/// What exists only now is drawn from `rng`.
pub(super) fn neighbours(space: &Space, point: &Point, draws: usize, rng: &mut Rng) -> Vec<Point> {
    let mut all = vec![];
    for (i, value) in point.0.iter().enumerate() {
        let (Some(value), domain) = (*value, &space.parameters()[i].domain) else { continue };
        let values: Vec<Value> = match (domain.count(), domain.position(value)) {
            (Some(n), Some(_)) if !domain.is_ordered() => (0..n).map(|k| domain.nth(k)).collect(),
            (Some(n), Some(at)) => {
                let far = (n / 16).max(1);
                let mut steps = vec![at.saturating_sub(1), at + 1, at.saturating_sub(far), at + far];
                steps.dedup();
                steps.into_iter().map(|k| domain.nth(k)).collect()
            }
            _ => {
                let unit = domain.unit(value);
                (0..draws)
                    .map(|k| domain.at(reflect(unit + STEP / (1 << k.min(8)) as f64 * rng.normal())))
                    .collect()
            }
        };
        for other in values {
            let mut moved = point.clone();
            moved.0[i] = Some(other);
            if other != value {
                let moved = space.mend(&moved, rng);
                if !all.contains(&moved) && space.check(&moved).is_ok() {
                    all.push(moved);
                }
            }
        }
    }
    all
}
