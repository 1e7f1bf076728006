//! Trials ranked: what the predictor learns, and which trials gradient steps start from.

use super::Told;
use crate::search::pareto;

/// Trials from the best to the worst.
pub struct Ranking {
    /// Their indices, the best first.
    pub order: Vec<usize>,
    /// In the same order: 1 for the best, 0 for the worst, equals alike.
    pub targets: Vec<f32>,
}

/// Ranks trials: with one goal complete ones by their loss, then pruned ones, then failed ones
/// ([`Merit`](super::super::Merit)); with several goals by front and, within a front, by crowding distance, failed ones last.
pub fn ranking(told: &[Told]) -> Ranking {
    let (order, equal): (Vec<usize>, Vec<bool>) = if told.first().is_none_or(|t| t.losses.len() < 2) {
        let compare = |a: usize, b: usize| told[a].merit.order(&told[b].merit);
        let mut by: Vec<usize> = (0..told.len()).collect();
        by.sort_by(|&a, &b| compare(a, b));
        let equal = by.windows(2).map(|w| compare(w[0], w[1]).is_eq()).collect();
        (by, equal)
    } else {
        let losses: Vec<Vec<f64>> = told.iter().map(|t| t.losses.clone()).collect();
        let mut by = pareto::order(&losses);
        by.sort_by_key(|&i| told[i].merit.class());
        let equal = vec![false; by.len()];
        (by, equal)
    };
    let n = order.len();
    let mut targets = vec![];
    while targets.len() < n {
        let at = targets.len();
        let more = equal[at.min(equal.len())..].iter().take_while(|&&e| e).count();
        let rank = at as f64 + more as f64 / 2.0;
        let target = if n > 1 { 1.0 - rank / (n - 1) as f64 } else { 0.5 };
        targets.resize(at + more + 1, target as f32);
    }
    Ranking { order, targets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::sampler::Merit;
    use crate::search::space::{Domain, Parameter, Point, Space};
    use crate::search::trial::{State, Trial};
    use crate::search::{Goal, Setting};

    fn told(goals: usize, values: &[&[f64]]) -> Vec<Told> {
        let space = Space::new(vec![Parameter::new("a", Domain::int(0, 9))]).expect("a space");
        let goals = (0..goals).map(|i| Goal::minimize(format!("g{i}"))).collect();
        let setting = Setting { space, goals, seed: 0, steps: 1, lag: 1 };
        let told = values.iter().enumerate().map(|(i, values)| {
            let mut trial = Trial::new(i as u64, Point(vec![None]));
            trial.state = if values.is_empty() { State::Failed } else { State::Complete };
            trial.values = values.to_vec();
            let (losses, merit) = (setting.losses(&trial), Merit::of(&setting, &trial));
            Told { point: trial.point, tokens: vec![], losses, merit }
        });
        told.collect()
    }

    #[test]
    fn one_goal_is_ranked_by_value() {
        let ranking = ranking(&told(1, &[&[3.0], &[1.0], &[], &[1.0], &[2.0]]));
        assert_eq!(ranking.order, [1, 3, 4, 0, 2]);
        assert_eq!(ranking.targets, [0.875, 0.875, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn several_goals_are_ranked_by_front() {
        // 0 and 3 are the front's ends, 1 between them, 4 is dominated by 1, 2 failed.
        let ranking = ranking(&told(2, &[&[0.0, 9.0], &[4.0, 4.0], &[], &[9.0, 0.0], &[5.0, 4.0]]));
        assert_eq!(ranking.order, [0, 3, 1, 4, 2]);
        assert_eq!(ranking.targets, [1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn none_and_one_are_ranked() {
        assert!(ranking(&[]).order.is_empty());
        assert_eq!(ranking(&told(1, &[&[1.0]])).targets, [0.5]);
        assert_eq!(ranking(&told(2, &[&[1.0, 2.0]])).order, [0]);
    }
}
