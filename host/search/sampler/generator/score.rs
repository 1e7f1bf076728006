//! Trials ranked by their losses: what the predictor learns, and which trials gradient steps start from.

/// Trials from the best to the worst.
pub struct Ranking {
    /// Their indices, the best first.
    pub order: Vec<usize>,
    /// By index: 1 for the best, 0 for the worst, equals alike.
    pub targets: Vec<f32>,
}

/// Ranks trials by their losses: one goal by its value; several by non-dominated front (Deb et al. 2002) and, in a front,
/// by crowding distance. Losses that are infinite come last.
pub fn ranking(losses: &[&[f64]]) -> Ranking {
    let n = losses.len();
    let keys: Vec<(f64, f64)> = match losses.first().map_or(0, |l| l.len()) {
        0 | 1 => losses.iter().map(|l| (l.first().copied().unwrap_or(f64::INFINITY), 0.0)).collect(),
        _ => fronts(losses),
    };
    let compare =
        |&a: &usize, &b: &usize| keys[a].0.total_cmp(&keys[b].0).then(keys[a].1.total_cmp(&keys[b].1));
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(compare);
    let mut targets = vec![0.5; n];
    let mut at = 0;
    while at < n {
        let equal = order[at..].iter().take_while(|i| compare(&order[at], i).is_eq()).count();
        let rank = at as f64 + (equal - 1) as f64 / 2.0;
        for &i in &order[at..at + equal] {
            if n > 1 {
                targets[i] = (1.0 - rank / (n - 1) as f64) as f32;
            }
        }
        at += equal;
    }
    Ranking { order, targets }
}

/// Most trials whose fronts are found exactly; of more, those beyond count as one front that follows.
const MOST: usize = 4096;

/// (front, minus the crowding distance) of each trial.
fn fronts(losses: &[&[f64]]) -> Vec<(f64, f64)> {
    let n = losses.len();
    let dominates = |a: usize, b: usize| {
        let pairs = || losses[a].iter().zip(losses[b]);
        pairs().all(|(x, y)| x <= y) && pairs().any(|(x, y)| x < y)
    };
    let mut keys = vec![(f64::INFINITY, 0.0); n];
    // Who is dominated comes after who dominates in the order of the sums of ranks, so the first that are left suffice.
    let mut sums = vec![0usize; n];
    for goal in 0..losses[0].len() {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| losses[a][goal].total_cmp(&losses[b][goal]));
        let mut rank = 0;
        for (k, &i) in order.iter().enumerate() {
            if k > 0 && losses[i][goal] != losses[order[k - 1]][goal] {
                rank = k;
            }
            sums[i] += rank;
        }
    }
    let mut left: Vec<usize> = (0..n).collect();
    left.sort_by_key(|&i| (sums[i], i));
    left.truncate(MOST);
    let mut front = 0.0;
    while !left.is_empty() {
        let mut members: Vec<usize> = vec![];
        let mut rest = vec![];
        for &i in &left {
            if members.iter().any(|&m| dominates(m, i)) { rest.push(i) } else { members.push(i) }
        }
        let crowding = crowding(losses, &members);
        for (&i, distance) in members.iter().zip(crowding) {
            keys[i] = (front, -distance);
        }
        left = rest;
        front += 1.0;
    }
    keys
}

/// The crowding distance of each member of a front (Deb et al. 2002, section III-B).
fn crowding(losses: &[&[f64]], members: &[usize]) -> Vec<f64> {
    let mut distance = vec![0.0; members.len()];
    for goal in 0..losses[members[0]].len() {
        let value = |k: usize| losses[members[k]][goal];
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (low, high) = (value(order[0]), value(order[order.len() - 1]));
        distance[order[0]] = f64::INFINITY;
        distance[order[order.len() - 1]] = f64::INFINITY;
        let range = high - low;
        if !(range.is_finite() && range > 0.0) {
            continue;
        }
        for w in order.windows(3) {
            distance[w[1]] += (value(w[2]) - value(w[0])) / range;
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goal_is_ranked_by_value() {
        let losses: [&[f64]; 5] = [&[3.0], &[1.0], &[f64::INFINITY], &[1.0], &[2.0]];
        let ranking = ranking(&losses);
        assert_eq!(ranking.order, [1, 3, 4, 0, 2]);
        assert_eq!(ranking.targets, [0.25, 0.875, 0.0, 0.875, 0.5]);
    }

    #[test]
    fn several_goals_are_ranked_by_front() {
        // 0 and 3 are the front's ends, 1 between them, 4 is dominated by 1, 2 by all.
        let losses: [&[f64]; 5] =
            [&[0.0, 9.0], &[4.0, 4.0], &[f64::INFINITY, f64::INFINITY], &[9.0, 0.0], &[5.0, 4.0]];
        let ranking = ranking(&losses);
        assert_eq!(ranking.order, [0, 3, 1, 4, 2]);
        assert_eq!(ranking.targets[0], ranking.targets[3]);
        assert!(ranking.targets[3] > ranking.targets[1]);
        assert_eq!(ranking.targets[2], 0.0);
    }

    #[test]
    fn nothing_and_one_trial_are_ranked() {
        assert!(ranking(&[]).order.is_empty());
        assert_eq!(ranking(&[&[1.0]]).targets, [0.5]);
        assert_eq!(ranking(&[&[1.0, 2.0]]).order, [0]);
    }
}
