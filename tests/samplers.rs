//! Samplers on random spaces and on the table, against their contract: allowed points only, the same from run to run, a function
//! of what was told and of nothing else, better than random search, bounded.

use ironwarp::search::rng::Rng;
use ironwarp::search::sampler::{self, Evolution, Grid, Nsga2, Random, Sampler, Tpe};
use ironwarp::search::space::{Domain, Parameter, Point, Space};
use ironwarp::search::table::{Dataset, Table};
use ironwarp::search::trial::{Report, State, Trial};
use ironwarp::search::{Direction, Goal, Setting, pareto};
use proptest::prelude::*;
use std::collections::HashSet;

/// One parameter of a random space: a kind, a size, and whether and on which earlier one it depends.
type Draft = (u8, u8, bool, u8);

/// Spaces of 1 to 7 parameters of all kinds, some conditional; of the first one's values the first is refused where there is
/// another. `continuous` allows ranges.
fn space(drafts: &[Draft], continuous: bool) -> Space {
    let mut parameters: Vec<Parameter> = vec![];
    for (i, &(kind, size, depends, on)) in drafts.iter().enumerate() {
        let n = i64::from(size % 12);
        let domain = match kind % if continuous { 6 } else { 4 } {
            0 => Domain::int(-2, n - 2),
            1 => Domain::levels((0..=n.min(5)).map(|k| k * k + 16)),
            2 => Domain::choice((0..=n.min(4)).map(|k| format!("o{k}"))),
            3 => Domain::log_int(1, 1 + n),
            4 => Domain::float(-1.0, f64::from(size)),
            _ => Domain::log_float(1e-3, 1.0 + f64::from(size)),
        };
        let p = Parameter::new(format!("p{i}"), domain);
        let parent = parameters.get(usize::from(on)).map(|p| (p.name.clone(), p.domain.clone()));
        parameters.push(match parent.filter(|_| depends) {
            Some((name, domain)) => match domain.count() {
                Some(count) => {
                    let values = (0..count.div_ceil(2)).map(|k| domain.show(domain.nth(k)));
                    p.when_one_of(name, values.collect::<Vec<_>>())
                }
                None => p,
            },
            None => p,
        });
    }
    Space::new(parameters).expect("a space").allow(|space, point| {
        let domain = &space.parameters()[0].domain;
        let first = point.0[0].and_then(|v| domain.position(v)) == Some(0);
        if first && domain.count() != Some(1) { Err("the first value".into()) } else { Ok(()) }
    })
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    proptest::collection::vec((any::<u8>(), any::<u8>(), any::<bool>(), 0u8..6), 1..8)
}

fn setting(space: Space, goals: usize, seed: u64, lag: u64) -> Setting {
    let goals = [Goal::maximize("a"), Goal::minimize("b"), Goal::minimize("c")][..goals].to_vec();
    Setting { space, goals, seed, steps: 9, lag }
}

/// A finished trial with values that follow from the point and the number: some pruned, some failed, some NaN.
fn finished(setting: &Setting, number: u64, point: Point) -> Trial {
    let mut rng = Rng::new(setting.seed, 99, number);
    let loss: f64 = sphere(&setting.space, &point);
    let mut trial = Trial::new(number, point);
    trial.state = match rng.below(10) {
        0 => State::Failed,
        1 | 2 => State::Pruned,
        _ => State::Complete,
    };
    if trial.state != State::Failed {
        trial.values = setting.goals.iter().map(|_| loss + rng.normal()).collect();
        if rng.below(20) == 0 {
            trial.values[0] = f64::NAN;
        }
        let steps = if trial.state == State::Pruned { 1 + rng.below(8) as u64 } else { 9 };
        trial.reports = (1..=steps).map(|step| Report { step, value: rng.normal() }).collect();
    }
    trial
}

/// The distance of a point from 0.3 on every axis, squared; unordered options count by their index.
fn sphere(space: &Space, point: &Point) -> f64 {
    let parts = space.parameters().iter().zip(&point.0);
    parts.filter_map(|(p, v)| v.map(|v| (p.domain.unit(v) - 0.3).powi(2))).sum()
}

/// Every sampler, with populations small enough that 60 trials make several generations.
fn samplers() -> Vec<Box<dyn Sampler>> {
    let mut all: Vec<Box<dyn Sampler>> = sampler::names()
        .filter(|n| *n != "generator")
        .map(|n| sampler::by_name(n, &ironwarp::Device::cpu()).expect("known"))
        .collect();
    all.push(Box::new(Evolution::new(8, 3).without_duplicates()));
    all.push(Box::new(Nsga2::new(6)));
    all.push(Box::new(Tpe::new(4, 5, 0.3)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn samplers_keep_their_contract(drafts in drafts(), goals in 1usize..4, seed: u64, lag in 1u64..9) {
        let setting = setting(space(&drafts, true), goals, seed, lag);
        for (mut first, mut second) in samplers().into_iter().zip(samplers()) {
            let name = first.name();
            let mut trials: Vec<Trial> = vec![];
            let mut told = [0, 0];
            for number in 0..60 {
                let visible = setting.visible(number) as usize;
                trials[told[0]..visible].iter().for_each(|t| first.tell(&setting, t));
                told[0] = visible;
                let point = first.ask(&setting, number).expect("a point");
                prop_assert_eq!(setting.space.check(&point), Ok(()), "{}: {}", name, setting.space.show(&point));
                // Another process, which is asked for some of the trials only, and for those twice, with others between.
                if number % 3 == 1 {
                    trials[told[1]..visible].iter().for_each(|t| second.tell(&setting, t));
                    told[1] = visible;
                    let other = second.ask(&setting, number).expect("a point");
                    prop_assert_eq!(&other, &point, "{} at {}", name, number);
                    second.ask(&setting, number + 1000).expect("a point");
                    prop_assert_eq!(second.ask(&setting, number).expect("a point"), other, "{}, asked again", name);
                }
                trials.push(finished(&setting, number, point));
            }
        }
    }

    #[test]
    fn the_grid_has_every_allowed_point_once(drafts in drafts(), seed: u64) {
        let setting = setting(space(&drafts[..drafts.len().min(3)], false), 1, seed, 1);
        let text = |grid: &mut Grid, n| setting.space.show(&grid.ask(&setting, n).expect("a point"));
        let mut grid = Grid::default();
        let mut seen = HashSet::new();
        while seen.insert(text(&mut grid, seen.len() as u64)) {}
        // Points drawn at random are all there, and what came twice came first.
        for n in 0..200 {
            let drawn = setting.space.draw(&mut Rng::new(seed, 98, n)).expect("a point");
            prop_assert!(seen.contains(&setting.space.show(&drawn)));
        }
        let len = seen.len() as u64;
        prop_assert_eq!(text(&mut grid, len), text(&mut Grid::default(), 0));
        let count = setting.space.count().expect("finite");
        prop_assert!(len <= count && (count == 1 || len < count || setting.space.parameters()[0].domain.count() == Some(1)));
        for n in [len / 2, 0, len - 1, len / 3] {
            prop_assert_eq!(text(&mut grid, n), text(&mut Grid::default(), n));
        }
    }
}

/// Ordered, unordered, logarithmic, continuous and conditional parameters.
fn mixed() -> Space {
    Space::new(vec![
        Parameter::new("depth", Domain::int(1, 4)),
        Parameter::new("act", Domain::choice(["a", "b", "c", "d", "e"])),
        Parameter::new("lr", Domain::log_float(1e-4, 1.0)),
        Parameter::new("width.0", Domain::levels([16, 32, 64, 128, 256])),
        Parameter::new("width.1", Domain::levels([16, 32, 64, 128, 256])).when_at_least("depth", 2),
        Parameter::new("decay", Domain::float(0.0, 1.0)),
        Parameter::new("batch", Domain::log_int(8, 512)),
    ])
    .expect("a space")
}

fn trials(
    setting: &Setting,
    sampler: &mut dyn Sampler,
    n: u64,
    value: impl Fn(&Point) -> Vec<f64>,
) -> Vec<Trial> {
    let mut trials: Vec<Trial> = vec![];
    for number in 0..n {
        if let Some(last) = trials.last() {
            sampler.tell(setting, last);
        }
        let mut trial = Trial::new(number, sampler.ask(setting, number).expect("a point"));
        (trial.values, trial.state) = (value(&trial.point), State::Complete);
        trials.push(trial);
    }
    trials
}

#[test]
fn samplers_find_more_than_random_search() {
    let seeds = 20;
    let best = |name: &str, seed: u64| {
        let setting = setting(mixed(), 1, seed, 1);
        let mut sampler = sampler::by_name(name, &ironwarp::Device::cpu()).expect("known");
        let trials = trials(&setting, sampler.as_mut(), 120, |p| vec![-sphere(&setting.space, p)]);
        trials.iter().map(|t| t.values[0]).fold(f64::NEG_INFINITY, f64::max)
    };
    for name in ["evolution", "tpe", "nsga2", "local"] {
        let wins = (0..seeds).filter(|&seed| best(name, seed) > best("random", seed)).count();
        assert!(wins >= 16, "{name} wins {wins} of {seeds}");
    }
}

#[test]
fn samplers_of_several_goals_find_better_fronts_than_random_search() {
    let seeds = 12;
    // Two spheres with different centres: no point is best for both.
    let volume = |sampler: &mut dyn Sampler, seed: u64| {
        let setting = setting(mixed(), 2, seed, 1);
        let value = |p: &Point| {
            let at = |centre: f64| {
                let parts = setting.space.parameters().iter().zip(&p.0);
                parts.filter_map(|(q, v)| v.map(|v| (q.domain.unit(v) - centre).powi(2))).sum::<f64>()
            };
            vec![-at(0.2), at(0.8)]
        };
        let trials = trials(&setting, sampler, 150, value);
        let losses: Vec<Vec<f64>> = trials.iter().map(|t| setting.losses(t)).collect();
        pareto::hypervolume(&losses, &[3.0, 3.0])
    };
    for name in ["nsga2", "tpe"] {
        let wins = (0..seeds)
            .filter(|&seed| {
                volume(sampler::by_name(name, &ironwarp::Device::cpu()).expect("known").as_mut(), seed)
                    > volume(&mut Random, seed)
            })
            .count();
        assert!(wins >= 10, "{name} wins {wins} of {seeds}");
    }
}

#[test]
fn finite_spaces_are_not_tried_twice() {
    let space = Space::new(
        (0..4).map(|i| Parameter::new(format!("p{i}"), Domain::choice(["a", "b", "c"]))).collect(),
    );
    let setting = setting(space.expect("a space"), 1, 3, 1);
    for name in ["grid", "tpe", "nsga2", "local"] {
        let mut sampler = sampler::by_name(name, &ironwarp::Device::cpu()).expect("known");
        let trials = trials(&setting, sampler.as_mut(), 60, |p| vec![-sphere(&setting.space, p)]);
        let points: HashSet<String> = trials.iter().map(|t| setting.space.show(&t.point)).collect();
        assert_eq!(points.len(), 60, "{name}");
        // Past the last point there is always another suggestion.
        for number in 60..120 {
            let point = sampler.ask(&setting, number).expect("a point");
            sampler.tell(&setting, &finished(&setting, number, point));
        }
    }
}

#[test]
fn what_tpe_keeps_is_bounded() {
    for (goals, most) in [(1, 25 + 256), (3, 64 + 256)] {
        let setting = setting(mixed(), goals, 5, 1);
        let mut tpe = Tpe::default();
        for number in 0..3000 {
            let point = Random.ask(&setting, number).expect("a point");
            tpe.tell(&setting, &finished(&setting, number, point));
        }
        assert_eq!(tpe.kept(), (most, 0));
        let point = tpe.ask(&setting, 3000).expect("a point");
        assert_eq!(setting.space.check(&point), Ok(()));
    }
}

#[test]
fn no_allowed_point_is_an_error_that_says_so() {
    let space = Space::new(vec![Parameter::new("a", Domain::int(1, 9))]).expect("a space");
    let setting = setting(space.allow(|_, _| Err("too large".into())), 1, 0, 1);
    for mut sampler in samplers() {
        let error = sampler.ask(&setting, 0).expect_err("nothing is allowed").to_string();
        assert!(error.contains("too large") && error.contains("loosen"), "{}: {error}", sampler.name());
    }
}

/// Chosen accuracy on CIFAR-10 after 200 evaluations, mean over 40 seeds.
fn chosen(name: &str) -> f64 {
    let table = Table::nasbench201(Dataset::Cifar10).expect("the table");
    let seeds = 40;
    let one = |seed| {
        let setting = table.setting(&["val_acc"], seed).expect("a setting");
        let mut sampler = sampler::by_name(name, &ironwarp::Device::cpu()).expect("known");
        let trials = table.search(&setting, sampler.as_mut(), 200).expect("trials");
        match name {
            "random" => table.best_mean(&trials, "val_acc", Direction::Maximize),
            _ => table.chosen_mean(&trials, "val_acc", Direction::Maximize),
        }
        .expect("a mean")
    };
    (0..seeds).map(one).sum::<f64>() / seeds as f64
}

#[test]
fn the_table_gives_the_published_figures() {
    // Published mean and standard deviation over 300 runs; four standard errors of ours and theirs together.
    for (name, mean, sd) in [("random", 91.18, 0.20), ("evolution", 91.50, 0.14f64)] {
        let found = chosen(name);
        let error = sd * (1.0f64 / 40.0 + 1.0 / 300.0).sqrt();
        assert!((found - mean).abs() < 4.0 * error, "{name}: {found:.3}, published {mean}");
    }
    for name in ["tpe", "local"] {
        let (found, error) = (chosen(name), 0.14 * (1.0f64 / 40.0 + 1.0 / 300.0).sqrt());
        assert!(found > 91.50 - 2.0 * error, "{name}: {found:.3}");
    }
}
