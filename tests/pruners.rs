//! Pruners against their definitions, computed from the whole list of trials.

use ironwarp::search::pruner::{self, Asha, Cutoffs, Halving, Hyperband, Median, Percentile, Pruner};
use ironwarp::search::space::{Domain, Parameter, Point, Space};
use ironwarp::search::trial::{Report, State, Trial};
use ironwarp::search::{Direction, Goal, Setting};
use proptest::prelude::*;

fn setting(direction: Direction, goals: usize, steps: u64) -> Setting {
    let space = Space::new(vec![Parameter::new("a", Domain::int(1, 9))]).expect("a space");
    let mut all = vec![Goal { name: "value".into(), direction }];
    all.extend((1..goals).map(|i| Goal::minimize(format!("cost{i}"))));
    Setting { space, goals: all, seed: 1, steps, lag: 1 }
}

/// Trials as (state, values); few different values, so that there are ties.
fn histories(steps: usize) -> impl Strategy<Value = Vec<Trial>> {
    let value = prop_oneof![9 => (0u8..20).prop_map(f64::from), 1 => Just(f64::NAN)];
    let trial = (0u8..4, proptest::collection::vec(value, steps), 1..=steps);
    proptest::collection::vec(trial, 0..60).prop_map(move |trials| {
        let finish = |(number, (state, values, end)): (u64, (u8, Vec<f64>, usize))| {
            let mut trial = Trial::new(number, Point::default());
            trial.state =
                [State::Complete, State::Complete, State::Pruned, State::Failed][usize::from(state)];
            let end = if trial.state == State::Complete { steps } else { end };
            let reports = values.iter().zip(1..).take(end);
            trial.reports = reports.map(|(&value, step)| Report { step, value }).collect();
            trial
        };
        (0..).zip(trials).map(finish).collect()
    })
}

fn told(pruner: &mut dyn Pruner, setting: &Setting, trials: &[Trial]) -> Cutoffs {
    trials.iter().for_each(|t| pruner.tell(setting, t));
    pruner.cutoffs(setting, trials.len() as u64)
}

/// The bars of one bracket with these rungs over these trials: the `floor((n + 1) / reduction)`-th best of the `n` newest.
fn halving(
    trials: &[&Trial],
    direction: Direction,
    rungs: &[u64],
    reduction: usize,
    cohort: usize,
) -> Vec<(u64, f64)> {
    let mut bars = vec![];
    for &step in rungs {
        let at = |t: &&Trial| t.at(step).filter(|v| !v.is_nan());
        let mut values: Vec<f64> = trials.iter().filter_map(at).collect();
        values.drain(..values.len().saturating_sub(cohort));
        values.sort_by(|a, b| direction.loss(*a).total_cmp(&direction.loss(*b)));
        let keep = (values.len() + 1) / reduction;
        if keep > 0 {
            bars.push((step, values[keep - 1]));
        }
    }
    bars
}

fn pairs(cutoffs: &Cutoffs) -> Vec<(u64, f64)> {
    cutoffs.0.iter().map(|c| (c.step, c.value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn percentiles_are_those_of_the_complete_trials(
        trials in histories(6), maximize: bool, percent in 0.0..=100.0f64, startup in 1u64..8, warmup in 0u64..4,
        goals in 1usize..3,
    ) {
        let direction = if maximize { Direction::Maximize } else { Direction::Minimize };
        let setting = setting(direction, goals, 6);
        let complete: Vec<&Trial> = trials.iter().filter(|t| t.state == State::Complete).collect();
        let expected = |percent: f64| -> Vec<(u64, f64)> {
            if (complete.len() as u64) < startup {
                return vec![];
            }
            let bar = |step: u64| {
                let mut losses: Vec<f64> =
                    complete.iter().filter_map(|t| t.at(step)).filter(|v| !v.is_nan()).map(|v| direction.loss(v)).collect();
                losses.sort_by(f64::total_cmp);
                let place = percent / 100.0 * losses.len().checked_sub(1)? as f64;
                let (low, high) = (losses[place.floor() as usize], losses[place.ceil() as usize]);
                let loss = low + (high - low) * place.fract();
                Some((step, if maximize { -loss } else { loss }))
            };
            (warmup + 1..6).filter_map(bar).collect()
        };
        let near = |a: &[(u64, f64)], b: &[(u64, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9)
        };
        let median = told(&mut Median::new(startup, warmup), &setting, &trials);
        prop_assert!(near(&pairs(&median), &expected(50.0)), "{median:?} {:?}", expected(50.0));
        let any = told(&mut Percentile::new(percent, startup, warmup), &setting, &trials);
        prop_assert!(near(&pairs(&any), &expected(percent)), "{any:?} {:?}", expected(percent));
        prop_assert!(median.0.iter().chain(&any.0).all(|c| c.best));
    }

    #[test]
    fn rungs_keep_the_best_part(
        trials in histories(10), maximize: bool, first in 1u64..4, reduction in 2u64..5, cohort in 4usize..20,
        goals in 1usize..3,
    ) {
        let direction = if maximize { Direction::Maximize } else { Direction::Minimize };
        let setting = setting(direction, goals, 10);
        let rungs = |first: u64| -> Vec<u64> {
            std::iter::successors(Some(first), |s| Some(s * reduction)).take_while(|s| *s < 10).collect()
        };
        let all: Vec<&Trial> = trials.iter().collect();
        let eta = reduction as usize;
        let asha = told(&mut Asha::new(first, reduction), &setting, &trials);
        prop_assert_eq!(pairs(&asha), halving(&all, direction, &rungs(first), eta, usize::MAX));
        let windowed = told(&mut Halving::new(first, reduction, cohort), &setting, &trials);
        prop_assert_eq!(pairs(&windowed), halving(&all, direction, &rungs(first), eta, cohort));

        let mut hyperband = Hyperband::new(first, reduction);
        let bracket: Vec<usize> = (0..=trials.len() as u64 + 40).map(|n| hyperband.bracket(&setting, n)).collect();
        trials.iter().for_each(|t| hyperband.tell(&setting, t));
        for number in trials.len()..trials.len() + 40 {
            let mine: Vec<&Trial> = all.iter().copied().filter(|t| bracket[t.number as usize] == bracket[number]).collect();
            let rungs = rungs(first * reduction.pow(bracket[number] as u32));
            let cutoffs = hyperband.cutoffs(&setting, number as u64);
            prop_assert_eq!(pairs(&cutoffs), halving(&mine, direction, &rungs, eta, usize::MAX));
        }
    }
}

#[test]
fn good_learning_curves_are_kept_and_bad_ones_stopped() {
    // Trial n ends at n % 10 per cent, and rises to it.
    let setting = setting(Direction::Maximize, 2, 20);
    let value = |number: u64, step: u64| (number * 7 % 10) as f64 * (step as f64 / 20.0).sqrt();
    for name in pruner::names().filter(|n| *n != "none") {
        let mut pruner = pruner::by_name(name).expect("known");
        let (mut steps, mut lost) = (0, 0);
        for number in 0..400 {
            let bars = pruner.cutoffs(&setting, number);
            let mut trial = Trial::new(number, Point::default());
            trial.state = State::Complete;
            for step in 1..=20 {
                trial.reports.push(Report { step, value: value(number, step) });
                if bars.missed(Direction::Maximize, &trial.reports).is_some() {
                    trial.state = State::Pruned;
                    lost += u32::from(number * 7 % 10 == 9);
                    break;
                }
            }
            steps += trial.reports.len();
            trial.values = vec![value(number, 20), 1.0];
            pruner.tell(&setting, &trial);
        }
        assert_eq!(lost, 0, "{name} stopped the best");
        assert!(steps < 400 * 20 * 4 / 5, "{name} ran {steps} of 8000 steps");
    }
}

#[test]
fn brackets_of_hyperband_share_the_budget() {
    let setting = setting(Direction::Maximize, 1, 27);
    let mut hyperband = Hyperband::new(1, 3);
    let mut count = [0; 4];
    let cycle = 27 + 12 + 6 + 4;
    (0..cycle).for_each(|n| count[hyperband.bracket(&setting, n)] += 1);
    // The trials of the paper's table for R = 27.
    assert_eq!(count, [27, 12, 6, 4]);
}
