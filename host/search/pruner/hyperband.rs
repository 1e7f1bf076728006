//! Hyperband (Li et al. 2018, Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization): several brackets of
//! asynchronous successive halving, because nobody knows beforehand how early values may be trusted.
//!
//! Bracket `i` has its first rung after `first * reduction^i` steps. There is one bracket for each such number up to a trial's
//! steps, at most 6; the last one prunes nothing, or at one rung. Of `b` brackets, bracket `i` gets
//! `ceil(b / (r + 1) * reduction^r)` trials of each cycle with `r = b - 1 - i`, the numbers of the paper, so that
//! every bracket spends about as many steps. A trial's bracket follows from its number; the turns of a cycle are spread evenly.

use super::halving::Bracket;
use super::{Cutoffs, Pruner};
use crate::search::Setting;
use crate::search::trial::Trial;

/// Most brackets: with long trials the later ones would hardly prune.
const MOST_BRACKETS: usize = 6;

/// Hyperband.
#[derive(Clone, Debug)]
pub struct Hyperband {
    first: u64,
    reduction: u64,
    brackets: Vec<Bracket>,
    /// The bracket of trial `n` is number `n % len`.
    turns: Vec<usize>,
}

impl Default for Hyperband {
    /// The first rung of the first bracket after 1 step, one in 3 goes on.
    fn default() -> Self {
        Hyperband::new(1, 3)
    }
}

impl Hyperband {
    /// The first rung of the first bracket is after `first` steps (at least 1); one in `reduction` (at least 2) goes on.
    pub fn new(first: u64, reduction: u64) -> Hyperband {
        Hyperband { first: first.max(1), reduction: reduction.max(2), brackets: vec![], turns: vec![] }
    }

    /// The bracket of a trial, from 0.
    pub fn bracket(&mut self, setting: &Setting, number: u64) -> usize {
        if self.turns.is_empty() {
            let reduction = self.reduction;
            let next = |s: &u64| s.checked_mul(reduction);
            let firsts: Vec<u64> = std::iter::successors(Some(self.first), next)
                .take_while(|s| *s <= setting.steps.max(1))
                .take(MOST_BRACKETS)
                .collect();
            let firsts = if firsts.is_empty() { vec![self.first] } else { firsts };
            let n = firsts.len() as u64;
            let power = |rungs: u64| reduction.saturating_pow(rungs as u32).min(1 << 16);
            let shares: Vec<u64> = (0..n).map(|i| (n * power(n - 1 - i)).div_ceil(n - i)).collect();
            self.turns = turns(&shares);
            self.brackets = firsts.into_iter().map(|f| Bracket::new(f, reduction, None)).collect();
        }
        self.turns[(number % self.turns.len() as u64) as usize]
    }
}

impl Pruner for Hyperband {
    fn name(&self) -> &'static str {
        "hyperband"
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        let bracket = self.bracket(setting, trial.number);
        self.brackets[bracket].tell(setting, trial);
    }

    fn cutoffs(&mut self, setting: &Setting, number: u64) -> Cutoffs {
        let bracket = self.bracket(setting, number);
        self.brackets[bracket].cutoffs(setting)
    }
}

/// A cycle in which `i` has `shares[i]` turns, spread evenly: the one that is furthest behind its share is next.
fn turns(shares: &[u64]) -> Vec<usize> {
    let total: u64 = shares.iter().sum();
    let mut credit = vec![0i64; shares.len()];
    (0..total)
        .map(|_| {
            credit.iter_mut().zip(shares).for_each(|(c, s)| *c += *s as i64);
            let most = credit.iter().copied().max().unwrap_or(0);
            let next = credit.iter().position(|c| *c == most).unwrap_or(0);
            credit[next] -= total as i64;
            next
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_shared_and_spread() {
        let order = turns(&[9, 5, 3]);
        let count = |i| order.iter().filter(|&&t| t == i).count();
        assert_eq!([count(0), count(1), count(2)], [9, 5, 3]);
        assert!(order.windows(3).all(|w| !(w[0] == w[1] && w[1] == w[2])));
    }
}
