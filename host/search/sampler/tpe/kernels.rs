//! A mixture of product kernels over the points of a space.
//!
//! `p(x) = (prior(x) + sum_k K_k(x)) / (n + 1)`, and `K_k(x)` is a product over the parameters that `x` has:
//!
//! - a choice of `c` options: `(1 + a) / (1 + c a)` for that of the kernel's trial, `a / (1 + c a)` for each other, with
//!   `a = max(1 / n, 0.02)`: one observation more, spread over the options;
//! - ordered values: a normal distribution around the trial's place in the unit interval (see
//!   [`Domain::unit`](crate::search::space::Domain::unit)), cut off at its ends, with standard deviation
//!   `0.2 n^(-1 / (d + 4))` (Scott's rule over `d` parameters); up to 64 discrete values by its integral over the value's cell;
//! - a parameter that the kernel's trial lacks: the prior.

use std::f64::consts::{SQRT_2, TAU};

use crate::search::rng::Rng;
use crate::search::space::{Parameter, Point, Space};

/// Most discrete ordered values whose cells are integrated.
const MOST_CELLS: u64 = 64;

/// Least weight of an option that the kernel's trial does not have.
const LEAST: f64 = 0.02;

/// How a parameter is compared, and where the kernels' trials lie.
enum Axis {
    /// Log probabilities of the same option, of each other one, and of each under the prior.
    Choice { same: f64, other: f64, prior: f64, options: usize, at: Vec<u32> },
    /// `log p(j | i)` at `i * n + j`, and the log of the cells' widths.
    Cells { n: usize, log: Vec<f64>, prior: Vec<f64>, at: Vec<u32> },
    /// A density over the unit interval: mean, reciprocal of the standard deviation and log of the peak of each kernel; zeros
    /// where the trial lacks the parameter, which make the prior.
    Line { kernels: Vec<[f64; 3]> },
}

/// The mixture over some points.
pub(super) struct Kernels {
    axes: Vec<Axis>,
    points: Vec<Point>,
    sigma: f64,
}

/// The standard normal distribution function.
fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

impl Kernels {
    pub(super) fn new<'a>(space: &Space, points: impl Iterator<Item = &'a Point>) -> Kernels {
        let points: Vec<Point> = points.cloned().collect();
        let n = points.len().max(1) as f64;
        let d = space.parameters().len() as f64;
        let sigma = 0.2 * n.powf(-1.0 / (d + 4.0));
        let axis = |(i, p): (usize, &Parameter)| {
            let domain = &p.domain;
            // The index past the last value stands for a parameter that is not there.
            let places = |count: u64| -> Vec<u32> {
                let place = |p: &Point| p.0[i].and_then(|v| domain.position(v)).unwrap_or(count) as u32;
                points.iter().map(place).collect()
            };
            match domain.count() {
                Some(count) if !domain.is_ordered() => {
                    let (a, c) = ((1.0 / n).max(LEAST), count as f64);
                    let log = |x: f64| (x / (1.0 + c * a)).ln();
                    let (same, other, prior) = (log(1.0 + a), log(a), -c.ln());
                    Axis::Choice { same, other, prior, options: count as usize, at: places(count) }
                }
                Some(count) if count <= MOST_CELLS => {
                    let units: Vec<f64> = (0..count).map(|k| domain.unit(domain.nth(k))).collect();
                    let (log, prior) = cells(&units, sigma);
                    Axis::Cells { n: units.len(), log, prior, at: places(count) }
                }
                _ => {
                    let kernel = |p: &Point| {
                        p.0[i].map_or([0.0; 3], |value| {
                            let u = domain.unit(value);
                            let inside = phi((1.0 - u) / sigma) - phi(-u / sigma);
                            [u, 1.0 / sigma, -(sigma * TAU.sqrt() * inside).ln()]
                        })
                    };
                    Axis::Line { kernels: points.iter().map(kernel).collect() }
                }
            }
        };
        let axes = space.parameters().iter().enumerate().map(axis).collect();
        Kernels { axes, points, sigma }
    }

    /// The log of the mixture's density at a point.
    pub(super) fn log_density(&self, space: &Space, point: &Point) -> f64 {
        // One sum a kernel; the last is the prior's.
        let n = self.points.len();
        let mut logs = vec![0.0; n + 1];
        for (i, axis) in self.axes.iter().enumerate() {
            let (Some(value), domain) = (point.0[i], &space.parameters()[i].domain) else { continue };
            // The factor by the kernel's place, the prior's last.
            let (at, row) = match axis {
                Axis::Line { kernels } => {
                    let u = domain.unit(value);
                    for (log, [mean, scale, peak]) in logs.iter_mut().zip(kernels) {
                        let z = (u - mean) * scale;
                        *log += peak - 0.5 * z * z;
                    }
                    continue;
                }
                Axis::Choice { same, other, prior, options, at } => {
                    let mut row = vec![*other; options + 1];
                    row[*options] = *prior;
                    if let Some(same_at) = domain.position(value) {
                        row[same_at as usize] = *same;
                    }
                    (at, row)
                }
                Axis::Cells { n, log, prior, at } => {
                    let j = domain.position(value).unwrap_or(0) as usize;
                    (at, (0..*n).map(|i| log[i * n + j]).chain([prior[j]]).collect())
                }
            };
            logs.iter_mut().zip(at).for_each(|(log, place)| *log += row[*place as usize]);
            logs[n] += row[row.len() - 1];
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + logs.iter().map(|l| (l - most).exp()).sum::<f64>().ln() - (logs.len() as f64).ln()
    }

    /// A draw from the mixture.
    pub(super) fn draw(&self, space: &Space, rng: &mut Rng) -> Point {
        let kernel = self.points.get(rng.below(self.points.len() + 1));
        space.build(|i, _| {
            let domain = &space.parameters()[i].domain;
            let Some(value) = kernel.and_then(|k| k.0[i]) else { return domain.draw(rng) };
            match &self.axes[i] {
                Axis::Choice { other, options, .. } => {
                    if rng.uniform() < other.exp() * *options as f64 {
                        domain.draw(rng)
                    } else {
                        value
                    }
                }
                Axis::Cells { n, log, .. } => {
                    let row = domain.position(value).unwrap_or(0) as usize * n;
                    let mut left = rng.uniform();
                    let pick = log[row..row + n].iter().position(|l| {
                        left -= l.exp();
                        left < 0.0
                    });
                    domain.nth(pick.unwrap_or(n - 1) as u64)
                }
                Axis::Line { .. } => {
                    let u = domain.unit(value);
                    // At least half of the draws are inside, or nearly.
                    let inside =
                        (0..64).map(|_| u + self.sigma * rng.normal()).find(|x| (0.0..=1.0).contains(x));
                    domain.at(inside.unwrap_or(u))
                }
            }
        })
    }
}

/// Log probabilities of the cells around the places of discrete values, for a kernel at each of them and for the prior.
fn cells(units: &[f64], sigma: f64) -> (Vec<f64>, Vec<f64>) {
    let n = units.len();
    let edges: Vec<f64> = (0..=n)
        .map(|j| match j {
            0 => 0.0,
            j if j == n => 1.0,
            j => 0.5 * (units[j - 1] + units[j]),
        })
        .collect();
    let mut log = Vec::with_capacity(n * n);
    for &mean in units {
        let at: Vec<f64> = edges.iter().map(|e| phi((e - mean) / sigma)).collect();
        let total = at[n] - at[0];
        // Far cells would have no probability at all in f64; this much is left to them.
        log.extend((0..n).map(|j| ((at[j + 1] - at[j]) / total).max(1e-12).ln()));
    }
    let prior = (0..n).map(|j| (edges[j + 1] - edges[j]).max(1e-12).ln()).collect();
    (log, prior)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::space::Domain;

    fn space() -> Space {
        Space::new(vec![
            Parameter::new("depth", Domain::int(1, 2)),
            Parameter::new("act", Domain::choice(["a", "b", "c"])),
            Parameter::new("width", Domain::levels([1, 2, 4])).when_at_least("depth", 2),
            Parameter::new("units", Domain::log_int(1, 5)),
        ])
        .expect("a space")
    }

    /// Every point of the space above.
    fn all(space: &Space) -> Vec<Point> {
        let mut points = vec![];
        for depth in [1, 2] {
            for act in ["a", "b", "c"] {
                for width in if depth == 1 { vec![""] } else { vec!["width=1", "width=2", "width=4"] } {
                    for units in 1..=5 {
                        let text = format!("depth={depth} act={act} {width} units={units}");
                        points.push(space.read(&text).expect("a point"));
                    }
                }
            }
        }
        points
    }

    #[test]
    fn the_density_sums_to_one_over_a_conditional_space() {
        let space = space();
        let points = all(&space);
        assert_eq!(points.len(), 60);
        for observed in [0, 1, 7] {
            let kernels = Kernels::new(&space, points.iter().step_by(9).take(observed));
            let total: f64 = points.iter().map(|p| kernels.log_density(&space, p).exp()).sum();
            assert!((total - 1.0).abs() < 1e-9, "{observed} observed: {total}");
        }
    }

    #[test]
    fn draws_follow_the_density() {
        let space = space();
        let points = all(&space);
        let kernels = Kernels::new(&space, points.iter().step_by(13));
        let mut rng = Rng::new(3, 0, 0);
        let n = 20_000;
        let mut counts = vec![0u32; points.len()];
        for _ in 0..n {
            let drawn = kernels.draw(&space, &mut rng);
            counts[points.iter().position(|p| *p == drawn).expect("a point of the space")] += 1;
        }
        for (point, count) in points.iter().zip(counts) {
            let p = kernels.log_density(&space, point).exp();
            // Six standard errors, and what the drawn cells' edges differ from the counted ones by (log integers).
            let error = 6.0 * (p * (1.0 - p) / f64::from(n)).sqrt() + 0.1 * p;
            assert!(
                (f64::from(count) / f64::from(n) - p).abs() < error,
                "{}: {count}, {p}",
                space.show(point)
            );
        }
    }

    #[test]
    fn a_density_on_a_line_integrates_to_one() {
        let space = Space::new(vec![Parameter::new("lr", Domain::log_float(1e-4, 1.0))]).expect("a space");
        let observed: Vec<Point> =
            ["lr=0.0001", "lr=0.02", "lr=0.9"].map(|t| space.read(t).expect("a point")).into();
        let kernels = Kernels::new(&space, observed.iter());
        let n = 4000;
        let domain = &space.parameters()[0].domain;
        let mean = (0..n)
            .map(|i| Point(vec![Some(domain.at((f64::from(i) + 0.5) / f64::from(n)))]))
            .map(|p| kernels.log_density(&space, &p).exp())
            .sum::<f64>()
            / f64::from(n);
        assert!((mean - 1.0).abs() < 1e-4, "{mean}");
    }
}
