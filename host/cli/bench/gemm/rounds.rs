//! Blocks of two or more sides in turn: how everything here is timed beside something else.
//!
//! Each side first runs alone, so that what is made once is made, and for the length of its blocks: about [`BLOCK`] each.
//! Then all run for [`WARM`] seconds, so that the clocks have settled, and [`ROUNDS`] rounds count: a block of each, in an
//! order that turns round. The median block counts; a ratio is the median of the rounds' ratios.

use std::time::Instant;

use anyhow::Result;

use super::spread;

/// Rounds.
pub const ROUNDS: usize = 15;
/// Seconds of a block, about.
const BLOCK: f64 = 10e-3;
/// Runs of a block: at least, at most.
const RUNS: (usize, usize) = (2, 2000);
/// Seconds of work before the rounds.
const WARM: f64 = 0.2;

/// Runs of a block, from the seconds of one.
pub fn runs(once: f64) -> usize {
    ((BLOCK / once.max(1e-9)).ceil() as usize).clamp(RUNS.0, RUNS.1)
}

/// The times of the rounds.
pub struct Rounds {
    /// When the first began.
    pub began: Instant,
    /// Seconds of a run, by side and round.
    times: Vec<Vec<f64>>,
}

impl Rounds {
    /// Seconds of a run of a side: lowest, middle, highest block.
    pub fn seconds(&self, side: usize) -> [f64; 3] {
        spread(self.times[side].clone())
    }

    /// How many times as long `side` took as the first, round by round: lowest, middle, highest.
    pub fn ratio(&self, side: usize) -> [f64; 3] {
        spread(self.times[side].iter().zip(&self.times[0]).map(|(t, first)| t / first).collect())
    }
}

/// The rounds of `sides`, each with its runs before all else; `block` gives the seconds of a run in a block of so many.
pub fn alternate<S: Copy>(
    sides: &[(S, usize)],
    mut block: impl FnMut(S, usize) -> Result<f64>,
) -> Result<Rounds> {
    let mut lengths = vec![];
    for (side, first) in sides {
        block(*side, *first)?;
        lengths.push((*side, runs(block(*side, 3)?)));
    }
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < WARM {
        lengths.iter().try_for_each(|(side, n)| block(*side, *n).map(drop))?;
    }
    let began = Instant::now();
    let mut times = vec![vec![]; sides.len()];
    for round in 0..ROUNDS {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for i in order {
            times[i].push(block(lengths[i].0, lengths[i].1)?);
        }
    }
    Ok(Rounds { began, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_about_the_same_length() {
        assert_eq!((runs(1e-3), runs(1.0), runs(0.0)), (10, RUNS.0, RUNS.1));
    }

    #[test]
    fn sides_take_turns() {
        let mut order = vec![];
        let rounds = alternate(&[('a', 7), ('b', 2)], |side, n| {
            order.push((side, n));
            Ok(if side == 'a' { 0.1 } else { 0.3 })
        });
        let rounds = rounds.expect("no error");
        assert_eq!(order[..4], [('a', 7), ('a', 3), ('b', 2), ('b', 3)]);
        let last: String = order[order.len() - 6..].iter().map(|o| o.0).collect();
        assert_eq!(last, "abbaab");
        assert_eq!(rounds.seconds(1), [0.3; 3]);
        assert!((rounds.ratio(1)[1] - 3.0).abs() < 1e-9);
    }
}
