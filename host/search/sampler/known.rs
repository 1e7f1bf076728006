//! Known points first: what is worth trying before anything is proposed.

use super::Sampler;
use crate::search::space::Point;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Proposes given points as the first trials, then what another sampler proposes, which learns of all of them.
pub struct Known {
    points: Vec<Point>,
    inner: Box<dyn Sampler>,
}

impl Known {
    /// `points` as trials 0, 1...; those that the space does not allow are left to `inner`.
    pub fn new(points: Vec<Point>, inner: Box<dyn Sampler>) -> Known {
        Known { points, inner }
    }
}

impl Sampler for Known {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.inner.tell(setting, trial);
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        match self.points.get(number as usize) {
            Some(point) if setting.space.check(point).is_ok() => Ok(point.clone()),
            _ => self.inner.ask(setting, number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Goal;
    use crate::search::sampler::Random;
    use crate::search::space::{Domain, Parameter, Space, Value};

    #[test]
    fn known_points_come_first_where_they_are_allowed() {
        let space = Space::new(vec![Parameter::new("x", Domain::int(0, 99))]).expect("a space");
        let space = space.allow(|_, point| {
            if point.0[0] == Some(Value::Int(7)) { Err("7 is not allowed".into()) } else { Ok(()) }
        });
        let setting = Setting { space, goals: vec![Goal::minimize("y")], seed: 1, steps: 1, lag: 1 };
        let points: Vec<Point> = [3, 7, 5].map(|x| Point(vec![Some(Value::Int(x))])).to_vec();
        let mut known = Known::new(points.clone(), Box::new(Random));
        let asked: Vec<Point> = (0..5).map(|n| known.ask(&setting, n).expect("a point")).collect();
        let drawn: Vec<Point> = (0..5).map(|n| Random.ask(&setting, n).expect("a point")).collect();
        assert_eq!([&asked[0], &asked[2]], [&points[0], &points[2]]);
        assert_eq!([&asked[1], &asked[3], &asked[4]], [&drawn[1], &drawn[3], &drawn[4]]);
    }
}
