//! Grid search: every point once, in a shuffled order; then again.
//!
//! Points are numbered (mixed radix over the parameters that exist), and the order is a permutation of the numbers that needs no
//! list: a Feistel network over the next power of four, walked until the result is in range (Black and Rogaway 2002,
//! Ciphers with Arbitrary Finite Domains). Points that are not allowed are passed over. Continuous parameters get a stated
//! number of levels from end to end. A grid of more than 2^64 points is drawn from at random.

use super::{Sampler, purpose};
use crate::search::rng::Rng;
use crate::search::space::{Point, Space, Value};
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Points that are passed over before the space is said to hold no allowed one (or, if less, a whole grid).
const MOST_REFUSED: u64 = 200_000;

/// Every so many trials their place in the order is kept.
const STRIDE: u64 = 256;

/// Grid search.
#[derive(Clone, Debug)]
pub struct Grid {
    levels: u64,
    /// The place of trial `STRIDE * i`, for each `i` that was passed.
    places: Vec<u64>,
    /// A trial and its place: where to go on from.
    cursor: Option<(u64, u64)>,
    /// Points of the grid; `Some(None)`: more than 2^64.
    count: Option<Option<u64>>,
}

impl Default for Grid {
    /// 5 levels for continuous parameters.
    fn default() -> Self {
        Grid::new(5)
    }
}

impl Grid {
    /// Continuous parameters get `levels` levels, at least 1.
    pub fn new(levels: u64) -> Grid {
        Grid { levels: levels.max(1), places: vec![], cursor: None, count: None }
    }

    fn count_of(&self, space: &Space, i: usize) -> u64 {
        space.parameters()[i].domain.count().unwrap_or(self.levels)
    }

    fn value(&self, space: &Space, i: usize, k: u64) -> Value {
        let domain = &space.parameters()[i].domain;
        match domain.count() {
            Some(_) => domain.nth(k),
            None if self.levels == 1 => domain.at(0.5),
            None => domain.at(k as f64 / (self.levels - 1) as f64),
        }
    }

    /// Ways to fill the parameters from `earlier.len()` on; `None` past 2^64. Values are told apart only of parameters that
    /// others depend on.
    fn ways(&self, space: &Space, earlier: &mut Vec<Option<Value>>) -> Option<u64> {
        let i = earlier.len();
        if i == space.parameters().len() {
            return Some(1);
        }
        if !space.exists(i, earlier) {
            return self.ways_after(space, earlier, None);
        }
        let count = self.count_of(space, i);
        if !self.is_parent(space, i) {
            return self.ways_after(space, earlier, Some(self.value(space, i, 0)))?.checked_mul(count);
        }
        let each = (0..count).map(|k| self.ways_after(space, earlier, Some(self.value(space, i, k))));
        each.into_iter().try_fold(0u64, |sum, ways| sum.checked_add(ways?))
    }

    fn ways_after(
        &self,
        space: &Space,
        earlier: &mut Vec<Option<Value>>,
        value: Option<Value>,
    ) -> Option<u64> {
        earlier.push(value);
        let ways = self.ways(space, earlier);
        earlier.pop();
        ways
    }

    fn is_parent(&self, space: &Space, i: usize) -> bool {
        let name = &space.parameters()[i].name;
        space.parameters()[i + 1..].iter().any(|p| p.when.as_ref().is_some_and(|w| w.parameter == *name))
    }

    /// Point number `code` of the grid.
    fn point(&self, space: &Space, mut code: u64) -> Point {
        let mut values = vec![];
        for i in 0..space.parameters().len() {
            if !space.exists(i, &values) {
                values.push(None);
                continue;
            }
            let count = self.count_of(space, i);
            let mut k = 0;
            if self.is_parent(space, i) {
                loop {
                    let value = Some(self.value(space, i, k));
                    let ways = self.ways_after(space, &mut values, value).unwrap_or(u64::MAX);
                    if code < ways || k + 1 == count {
                        break;
                    }
                    code -= ways;
                    k += 1;
                }
            } else {
                k = code % count;
                code /= count;
            }
            values.push(Some(self.value(space, i, k)));
        }
        Point(values)
    }

    /// The place of trial `number`: of the allowed points in the order, the one it gets.
    fn find(&mut self, setting: &Setting, number: u64, count: u64) -> Result<(u64, Point), SearchError> {
        let kept = (self.places.len() as u64).min(number / STRIDE + 1).checked_sub(1);
        let kept = kept.map(|i| (i * STRIDE, self.places[i as usize]));
        let near = self.cursor.filter(|(n, _)| *n <= number);
        let start = near.into_iter().chain(kept).max_by_key(|(n, _)| *n);
        let (mut n, mut place) = start.unwrap_or((0, 0));
        let mut refused = 0;
        loop {
            let code = permuted(place % count, count, setting.seed);
            let point = self.point(&setting.space, code);
            match setting.space.check(&point) {
                Ok(()) => {
                    refused = 0;
                    if n == self.places.len() as u64 * STRIDE {
                        self.places.push(place);
                    }
                    if n == number {
                        self.cursor = Some((n, place));
                        return Ok((place, point));
                    }
                    n += 1;
                }
                Err(why) => {
                    refused += 1;
                    if refused >= MOST_REFUSED.min(count) {
                        return Err(SearchError::Space(format!(
                            "no point of the grid is allowed ({refused} in a row were tried; the last one's reason: {why}): \
                             loosen the constraints or widen the space"
                        )));
                    }
                }
            }
            place += 1;
        }
    }
}

impl Sampler for Grid {
    fn name(&self) -> &'static str {
        "grid"
    }

    fn tell(&mut self, _: &Setting, _: &Trial) {}

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let counted = self.count.unwrap_or_else(|| self.ways(&setting.space, &mut vec![]));
        self.count = Some(counted);
        match counted {
            Some(count) => Ok(self.find(setting, number, count)?.1),
            None => {
                let mut rng = Rng::new(setting.seed, purpose::GRID, number);
                let draw = |space: &Space| {
                    space.build(|i, _| {
                        self.value(space, i, rng.below(self.count_of(space, i) as usize) as u64)
                    })
                };
                setting.space.first_allowed(draw)
            }
        }
    }
}

/// A permutation of `0..count`, one for every seed.
fn permuted(i: u64, count: u64, seed: u64) -> u64 {
    let half = (64 - (count - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut x = i;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..6u64 {
            let mixed = Rng::new(seed ^ right.rotate_left(32), purpose::GRID, round << 32 | right).u64();
            (left, right) = (right, left ^ (mixed & mask));
        }
        x = left << half | right;
        if x < count {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_order_is_a_permutation() {
        for count in [1, 2, 3, 5, 16, 17, 1000] {
            let order: Vec<u64> = (0..count).map(|i| permuted(i, count, 9)).collect();
            assert_eq!(order.iter().collect::<HashSet<_>>().len() as u64, count);
            assert!(order.iter().all(|&x| x < count));
        }
        assert_ne!((0..99).map(|i| permuted(i, 99, 1)).collect::<Vec<_>>(), (0..99).collect::<Vec<_>>());
        assert!(permuted(12345, u64::MAX, 1) != permuted(12345, u64::MAX, 2));
    }
}
