//! How much each parameter matters: functional ANOVA on a random forest.
//!
//! After Hutter, Hoos and Leyton-Brown ("An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014): a forest
//! of regression trees predicts the first goal from the point; a parameter's main effect is how much the prediction, averaged
//! over all other parameters, varies along that one. With `f` the forest's prediction on the unit cube
//! ([`Domain::unit`](super::space::Domain::unit), so that draws from the prior are uniform) and
//! `f_j(x_j) = E[f | x_j]`, the share of parameter `j` is `Var f_j / Var f`. What the main effects leave is the share of
//! combinations.
//!
//! * `f_j` is taken from the mean of all trees, cell by cell of each parameter's [`BINS`] bins and exactly (a tree is
//!   constant on boxes); averaging first lets the noise that single trees fit cancel. `Var f` is estimated at
//!   [`POINTS`] random points.
//! * A parameter that does not exist in a trial gets a value drawn from its prior, another one in each tree: the tree can
//!   learn nothing from it there, so what a condition does counts for the parameter that it looks at.
//! * Complete and pruned trials count; of more than [`MOST_TRIALS`], a random part. Values beyond Tukey's outer fence on
//!   the bad side (a run that diverged) count as the fence, or one of them would be all of the variance.
//! * Deterministic from the seed.

use serde::Serialize;

use super::Setting;
use super::rng::Rng;
use super::trial::{State, Trial};

/// Cells of a parameter with a continuous range; of one with fewer values, as many as it has.
pub const BINS: usize = 32;
/// Trials that are looked at, at most.
pub const MOST_TRIALS: usize = 1500;
/// Points at which the variance of the forest is estimated.
pub const POINTS: usize = 2048;
/// Trials with values below which nothing is said.
pub const LEAST_TRIALS: usize = 10;

/// The purpose of the random streams here, apart from those of the samplers.
const PURPOSE: u32 = 64;
const TREES: usize = 48;
const DEPTH: usize = 10;
/// Trials in a leaf, at least.
const LEAF: usize = 3;

/// The share of a parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// The parameter; `None`: combinations of several.
    pub name: Option<String>,
    /// Its share of the variance, in [0, 1]. All shares add up to 1.
    pub share: f64,
}

/// The parameters' shares in decreasing order, then that of combinations. Empty when fewer than [`LEAST_TRIALS`] trials
/// have a value, or all have the same.
pub fn importance(setting: &Setting, trials: &[Trial]) -> Vec<Importance> {
    let mut rng = Rng::new(setting.seed, PURPOSE, 0);
    let mut usable: Vec<(&Trial, f64)> = trials.iter().filter_map(|t| Some((t, loss(setting, t)?))).collect();
    if usable.len() > MOST_TRIALS {
        rng.shuffle(&mut usable);
        usable.truncate(MOST_TRIALS);
    }
    if usable.len() < LEAST_TRIALS {
        return vec![];
    }
    let y = fenced(usable.iter().map(|(_, loss)| *loss).collect());
    let parameters = setting.space.parameters();
    let bins: Vec<usize> = parameters
        .iter()
        .map(|p| p.domain.count().map_or(BINS, |n| if (n as usize) < BINS { n as usize } else { BINS }))
        .collect();
    let cell = |j: usize, u: f64| ((u * bins[j] as f64) as usize).min(bins[j] - 1);
    let known: Vec<Vec<Option<usize>>> = usable
        .iter()
        .map(|(trial, _)| {
            let place = |(j, p): (usize, &super::space::Parameter)| {
                let value = trial.point.0.get(j).copied().flatten()?;
                // With one bin a value, exactly that one: a logarithmic range of few integers has uneven steps.
                let position = p.domain.position(value).filter(|_| p.domain.count() == Some(bins[j] as u64));
                Some(position.map_or_else(|| cell(j, p.domain.unit(value)), |i| i as usize))
            };
            parameters.iter().enumerate().map(place).collect()
        })
        .collect();

    let mut effects: Vec<Vec<f64>> = bins.iter().map(|n| vec![0.0; *n]).collect();
    let points: Vec<Vec<usize>> = (0..POINTS).map(|_| bins.iter().map(|n| rng.below(*n)).collect()).collect();
    let mut predictions = vec![0.0; POINTS];
    for tree in 0..TREES {
        let mut rng = Rng::new(setting.seed, PURPOSE, 1 + tree as u64);
        let x: Vec<Vec<usize>> = known
            .iter()
            .map(|row| row.iter().zip(&bins).map(|(c, n)| c.unwrap_or_else(|| rng.below(*n))).collect())
            .collect();
        let rows: Vec<usize> = (0..y.len()).map(|_| rng.below(y.len())).collect();
        let mut grower = Grower { x: &x, y: &y, bins: &bins, nodes: vec![], rng };
        grower.grow(rows, DEPTH);
        let nodes = grower.nodes;
        for (point, prediction) in points.iter().zip(&mut predictions) {
            *prediction += predict(&nodes, point) / TREES as f64;
        }
        let whole: Vec<(usize, usize)> = bins.iter().map(|n| (0, *n)).collect();
        marginals(&nodes, 0, &mut whole.clone(), &bins, &mut effects);
    }
    let total = variance(&predictions);
    if total <= 0.0 || !total.is_finite() {
        return vec![];
    }
    let shares: Vec<f64> = effects
        .iter()
        .map(|e| variance(&e.iter().map(|v| v / TREES as f64).collect::<Vec<_>>()) / total)
        .collect();
    // The total is an estimate: main effects alone may come out a little above it.
    let sum: f64 = shares.iter().sum();
    let scale = if sum > 1.0 { 1.0 / sum } else { 1.0 };
    let mut out: Vec<Importance> = parameters
        .iter()
        .zip(&shares)
        .map(|(p, share)| Importance { name: Some(p.name.clone()), share: share * scale })
        .collect();
    out.sort_by(|a, b| b.share.total_cmp(&a.share));
    out.push(Importance { name: None, share: (1.0 - sum * scale).max(0.0) });
    out
}

/// The first goal as a loss, of a trial that has it.
fn loss(setting: &Setting, trial: &Trial) -> Option<f64> {
    let goal = setting.goals.first()?;
    let finished = matches!(trial.state, State::Complete | State::Pruned);
    let value = trial.values.first().copied().filter(|v| finished && v.is_finite())?;
    Some(goal.direction.loss(value).clamp(-1e100, 1e100))
}

/// Losses above the upper quartile plus three times the distance of the quartiles become that; then scaled to be at
/// most 1 in size, so that squares stay finite.
fn fenced(mut y: Vec<f64>) -> Vec<f64> {
    let mut sorted = y.clone();
    sorted.sort_by(f64::total_cmp);
    let (q1, q3) = (sorted[sorted.len() / 4], sorted[sorted.len() * 3 / 4]);
    if q3 > q1 {
        y.iter_mut().for_each(|v| *v = v.min(q3 + 3.0 * (q3 - q1)));
    }
    let (low, high) = y.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    y.iter_mut().for_each(|v| *v = if high > low { (*v - low) / (high - low) } else { 0.0 });
    y
}

fn variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

/// A node of a tree: a leaf where `split` is `None`.
struct Node {
    value: f64,
    /// Parameter and the first bin of the right child; left and right child.
    split: Option<(usize, usize, usize, usize)>,
}

struct Grower<'a> {
    x: &'a [Vec<usize>],
    y: &'a [f64],
    bins: &'a [usize],
    nodes: Vec<Node>,
    rng: Rng,
}

impl Grower<'_> {
    /// Grows a tree on these rows; returns its root's index.
    fn grow(&mut self, rows: Vec<usize>, depth: usize) -> usize {
        let value = rows.iter().map(|r| self.y[*r]).sum::<f64>() / rows.len() as f64;
        let at = self.nodes.len();
        self.nodes.push(Node { value, split: None });
        if depth > 0
            && rows.len() >= 2 * LEAF
            && let Some((j, first)) = self.best_split(&rows)
        {
            let (left, right): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| self.x[*r][j] < first);
            let left = self.grow(left, depth - 1);
            let right = self.grow(right, depth - 1);
            self.nodes[at].split = Some((j, first, left, right));
        }
        at
    }

    /// The split that lowers the sum of squares most, among five sixths of the parameters.
    fn best_split(&mut self, rows: &[usize]) -> Option<(usize, usize)> {
        let mut order: Vec<usize> = (0..self.bins.len()).collect();
        self.rng.shuffle(&mut order);
        order.truncate((self.bins.len() * 5).div_ceil(6));
        let total: f64 = rows.iter().map(|r| self.y[*r]).sum();
        let n = rows.len() as f64;
        let mut best: Option<(f64, usize, usize)> = None;
        for j in order {
            let mut sums = [(0.0, 0usize); BINS];
            for r in rows {
                let bin = &mut sums[self.x[*r][j]];
                (bin.0, bin.1) = (bin.0 + self.y[*r], bin.1 + 1);
            }
            let (mut left, mut count) = (0.0, 0usize);
            let mut last = None;
            for (b, (sum, k)) in sums[..self.bins[j]].iter().enumerate().filter(|(_, (_, k))| *k > 0) {
                if count >= LEAF && rows.len() - count >= LEAF {
                    let right = total - left;
                    let gain = left * left / count as f64 + right * right / (rows.len() - count) as f64
                        - total * total / n;
                    if gain > 1e-12 && best.is_none_or(|(g, ..)| gain > g) {
                        // Empty bins between the two sides are shared out.
                        let middle = last.map_or(b, |l: usize| (l + b).div_ceil(2));
                        best = Some((gain, j, middle));
                    }
                }
                (left, count, last) = (left + sum, count + k, Some(b));
            }
        }
        best.map(|(_, j, first)| (j, first))
    }
}

fn predict(nodes: &[Node], point: &[usize]) -> f64 {
    let mut at = 0;
    while let Some((j, first, left, right)) = nodes[at].split {
        at = if point[j] < first { left } else { right };
    }
    nodes[at].value
}

/// Adds to `effects[j][b]` the mean prediction of a tree where parameter `j` is in bin `b`: each leaf's value times the
/// share of the other parameters' cells that its box holds.
fn marginals(
    nodes: &[Node],
    at: usize,
    region: &mut Vec<(usize, usize)>,
    bins: &[usize],
    effects: &mut [Vec<f64>],
) {
    if let Some((j, first, left, right)) = nodes[at].split {
        let whole = region[j];
        region[j] = (whole.0, first);
        marginals(nodes, left, region, bins, effects);
        region[j] = (first, whole.1);
        marginals(nodes, right, region, bins, effects);
        region[j] = whole;
        return;
    }
    let side = |j: usize| (region[j].1 - region[j].0) as f64 / bins[j] as f64;
    let volume: f64 = (0..bins.len()).map(side).product();
    for j in 0..bins.len() {
        let others = volume / side(j);
        for cell in &mut effects[j][region[j].0..region[j].1] {
            *cell += nodes[at].value * others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::{Domain, Parameter, Point, Space, Value};
    use super::super::{Direction, Goal};
    use super::*;

    fn setting(parameters: Vec<Parameter>, direction: Direction) -> Setting {
        Setting {
            space: Space::new(parameters).expect("a space"),
            goals: vec![Goal { name: "value".into(), direction }],
            seed: 11,
            steps: 1,
            lag: 1,
        }
    }

    /// Complete trials at random points with the values of a function of the point's units, and a little noise.
    fn trials(setting: &Setting, n: u64, f: impl Fn(&Point) -> f64) -> Vec<Trial> {
        (0..n)
            .map(|number| {
                let mut rng = Rng::new(5, 99, number);
                let point = setting.space.draw(&mut rng).expect("a point");
                let value = f(&point) + 0.02 * rng.normal();
                let mut trial = Trial::new(number, point);
                (trial.state, trial.values) = (State::Complete, vec![value]);
                trial
            })
            .collect()
    }

    fn number(point: &Point, i: usize) -> f64 {
        point.0[i].and_then(Value::number).expect("a number")
    }

    fn share(shares: &[Importance], name: &str) -> f64 {
        shares.iter().find(|i| i.name.as_deref() == Some(name)).expect("the parameter").share
    }

    fn unit_floats() -> Vec<Parameter> {
        ["a", "b", "c", "d"].map(|n| Parameter::new(n, Domain::float(0.0, 1.0))).into()
    }

    #[test]
    fn additive_functions_have_the_shares_of_their_variances() {
        let setting = setting(unit_floats(), Direction::Minimize);
        // Variances 9/12, 4/12 and 1/12: shares 9/14, 4/14, 1/14.
        let data = trials(&setting, 400, |p| 3.0 * number(p, 0) + 2.0 * number(p, 1) + number(p, 2));
        let shares = importance(&setting, &data);
        let names: Vec<_> = shares.iter().map(|i| i.name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("b"), Some("c"), Some("d"), None]);
        for (name, truth) in [("a", 9.0 / 14.0), ("b", 4.0 / 14.0), ("c", 1.0 / 14.0), ("d", 0.0)] {
            assert!((share(&shares, name) - truth).abs() < 0.08, "{name}: {shares:?}");
        }
        assert!(share(&shares, "d") < 0.005, "{shares:?}");
        assert!((shares.iter().map(|i| i.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(shares, importance(&setting, &data), "the same trials, the same shares");
    }

    #[test]
    fn what_only_acts_together_is_the_share_of_combinations() {
        let setting = setting(unit_floats(), Direction::Maximize);
        let data =
            trials(&setting, 800, |p| if (number(p, 0) > 0.5) == (number(p, 1) > 0.5) { 1.0 } else { 0.0 });
        let shares = importance(&setting, &data);
        assert!(shares.last().expect("rows").share > 0.8, "{shares:?}");
        assert!(["a", "b", "c", "d"].iter().all(|n| share(&shares, n) < 0.1), "{shares:?}");
    }

    #[test]
    fn logarithms_choices_and_conditions() {
        let setting = setting(
            vec![
                Parameter::new("depth", Domain::int(1, 3)),
                Parameter::new("width.1", Domain::levels([16, 32, 64, 128])).when_at_least("depth", 2),
                Parameter::new("activation", Domain::choice(["relu", "tanh", "gelu"])),
                Parameter::new("lr", Domain::log_float(1e-5, 1e-1)),
                Parameter::new("dropout", Domain::float(0.0, 0.5)),
            ],
            Direction::Maximize,
        );
        // An optimum of lr in the middle of its logarithmic range; tanh is worse; depth adds; width.1 and dropout do nothing.
        let data = trials(&setting, 500, |p| {
            let lr = number(p, 3).log10() + 3.0;
            let tanh = f64::from(u8::from(p.0[2] == Some(Value::Choice(1))));
            1.0 - 0.25 * lr * lr - 0.5 * tanh + 0.15 * number(p, 0)
        });
        let shares = importance(&setting, &data);
        let names: Vec<_> = shares.iter().map(|i| i.name.as_deref()).collect();
        assert_eq!(names[..3], [Some("lr"), Some("activation"), Some("depth")], "{shares:?}");
        assert!(share(&shares, "width.1") < 0.01 && share(&shares, "dropout") < 0.01, "{shares:?}");
    }

    #[test]
    fn one_diverged_trial_does_not_hide_the_rest() {
        let setting = setting(unit_floats(), Direction::Minimize);
        let mut data = trials(&setting, 300, |p| number(p, 0));
        data[7].values = vec![1e30];
        data[8].values = vec![f64::NAN];
        data[9].state = State::Failed;
        assert!(share(&importance(&setting, &data), "a") > 0.8);
    }

    #[test]
    fn nothing_is_said_of_too_little() {
        let setting = setting(unit_floats(), Direction::Minimize);
        assert_eq!(importance(&setting, &[]), []);
        assert_eq!(importance(&setting, &trials(&setting, 9, |p| number(p, 0))), []);
        let mut same = trials(&setting, 50, |_| 0.0);
        same.iter_mut().for_each(|t| t.values = vec![0.5]);
        assert_eq!(importance(&setting, &same), []);
    }
}
