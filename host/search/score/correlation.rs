//! How well scores rank networks: rank correlation with trained accuracy on the user's own data.
//!
//! * Spearman's rho is Pearson's correlation of the ranks, ties sharing their mean rank.
//! * Kendall's tau-b counts pairs: `(concordant - discordant) / sqrt((pairs - ties a)(pairs - ties b))`.
//! * The interval is the percentile bootstrap (Efron 1979) of rho: networks are drawn with replacement [`RESAMPLES`] times, and the
//!   interval holds the middle 95 % of the rhos. Draws are keyed by the seed alone, and are the same for every score.
//!
//! The yardstick is the number of parameters, which costs nothing and often ranks well. [`table`] switches off every score
//! that does not beat it, and says why; the search and the report print the table.

use serde::{Deserialize, Serialize};

use super::{Minibatch, Score, Scores};
use crate::device::Device;
use crate::nn::Mlp;
use crate::search::rng::Rng;
use crate::search::space::network::NetworkSpace;
use crate::search::trial::Trial;
use crate::search::{SearchError, Setting};

/// Bootstrap draws.
pub const RESAMPLES: usize = 1000;
/// Trained networks from which a correlation is worth a decision.
pub const ENOUGH: usize = 8;
/// Purpose of the random numbers, as [`Rng::new`] takes it.
const PURPOSE: u32 = 0x7363_6f72;

/// Ranks from 1 (the least), ties sharing their mean. NaN ranks below everything.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let key = |i: usize| if values[i].is_nan() { f64::NEG_INFINITY } else { values[i] };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let mut ranks = vec![0.0; values.len()];
    let mut i = 0;
    while i < order.len() {
        let ties = order[i..].iter().take_while(|&&at| key(at) == key(order[i])).count();
        for &at in &order[i..i + ties] {
            ranks[at] = i as f64 + (ties as f64 + 1.0) / 2.0;
        }
        i += ties;
    }
    ranks
}

/// Pearson's correlation; `None` for fewer than two values or where one side does not vary.
fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - mean_a) * (y - mean_b);
        aa += (x - mean_a).powi(2);
        bb += (y - mean_b).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rho, in [-1, 1]; `None` for fewer than two pairs or where one side does not vary. NaN ranks lowest.
///
/// ```
/// # use ironwarp::search::score::correlation::spearman;
/// assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0]), Some(1.0));
/// assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
/// ```
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "a correlation is of pairs");
    pearson(&ranks(a), &ranks(b))
}

/// Kendall's tau-b, in [-1, 1]; `None` as for [`spearman`]. NaN ranks lowest.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "a correlation is of pairs");
    let (a, b) = (ranks(a), ranks(b));
    let (mut balance, mut pairs, mut ties_a, mut ties_b) = (0i64, 0i64, 0i64, 0i64);
    for i in 0..a.len() {
        for j in 0..i {
            let order = |x: &[f64]| (x[i] > x[j]) as i64 - (x[i] < x[j]) as i64;
            let (x, y) = (order(&a), order(&b));
            balance += x * y;
            pairs += 1;
            ties_a += i64::from(x == 0);
            ties_b += i64::from(y == 0);
        }
    }
    let norm = ((pairs - ties_a) as f64 * (pairs - ties_b) as f64).sqrt();
    (norm > 0.0).then(|| balance as f64 / norm)
}

/// The middle 95 % of Spearman's rho over [`RESAMPLES`] bootstrap draws of the pairs; `None` where [`spearman`] has none.
/// Draws in which one side does not vary are left out.
pub fn interval(a: &[f64], b: &[f64], seed: u64) -> Option<(f64, f64)> {
    spearman(a, b)?;
    let mut rhos: Vec<f64> = (0..RESAMPLES)
        .filter_map(|draw| {
            let mut rng = Rng::new(seed, PURPOSE, draw as u64);
            let (x, y): (Vec<f64>, Vec<f64>) = (0..a.len())
                .map(|_| {
                    let i = rng.below(a.len());
                    (a[i], b[i])
                })
                .unzip();
            spearman(&x, &y)
        })
        .collect();
    rhos.sort_by(f64::total_cmp);
    let at = |share: f64| rhos.get(((rhos.len() as f64 - 1.0) * share).round() as usize).copied();
    Some((at(0.025)?, at(0.975)?))
}

/// What one score is worth on this data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The score.
    pub score: Score,
    /// Spearman's rho with accuracy; `None` where the score or the accuracy does not vary.
    pub rho: Option<f64>,
    /// The middle 95 % of its bootstrap.
    pub interval: Option<(f64, f64)>,
    /// Kendall's tau-b.
    pub tau: Option<f64>,
    /// Trained networks.
    pub n: usize,
    /// Whether the score should be used.
    pub used: bool,
    /// Why, or why not: a sentence without its full stop.
    pub why: String,
}

/// The correlation of each score with `accuracy`, best first; a score is used if its rho is above that of the parameter
/// count, and its interval above zero. Networks whose accuracy is not finite are left out. `scored` are the scores of each
/// network, the same for all, [`Score::Params`] among them.
pub fn table(scored: &[Scores], accuracy: &[f64], seed: u64) -> Vec<Row> {
    let kept: Vec<usize> = (0..accuracy.len()).filter(|&i| accuracy[i].is_finite()).collect();
    let accuracy: Vec<f64> = kept.iter().map(|&i| accuracy[i]).collect();
    let column = |score: Score| -> Vec<f64> {
        kept.iter().map(|&i| scored[i].get(score).unwrap_or(f64::NAN)).collect()
    };
    let n = accuracy.len();
    let yardstick = spearman(&column(Score::Params), &accuracy);
    let row = |score: Score| {
        let values = column(score);
        let rho = spearman(&values, &accuracy);
        let interval = interval(&values, &accuracy, seed);
        let (used, why) = verdict(score, rho, interval, yardstick, n);
        Row { score, rho, interval, tau: kendall(&values, &accuracy), n, used, why }
    };
    let others = scored.first().into_iter().flat_map(|scores| &scores.0).map(|(score, _)| *score);
    let scores = std::iter::once(Score::Params).chain(others.filter(|score| *score != Score::Params));
    let mut rows: Vec<Row> = scores.map(row).collect();
    let key = |row: &Row| row.rho.unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
    rows
}

/// The [`table`] of complete trials: how well the scores rank them by the study's first goal. Of AZ-NAS its parts alone are
/// looked at, which need no population. Error: a network and the samples do not fit.
pub fn of_trials(
    setting: &Setting,
    space: &NetworkSpace,
    batch: &Minibatch,
    trials: &[Trial],
) -> Result<Vec<Row>, SearchError> {
    let nets: Vec<Mlp> = trials.iter().map(|t| space.decode(&t.point).net).collect();
    let asked: Vec<Score> = batch.scores().filter(|score| *score != Score::AzNas).collect();
    // On the host's cores whatever device trains: the numbers are the same for every study.
    let scored = super::score(&Device::cpu(), &nets, batch, setting.seed, &asked)?;
    let good: Vec<f64> = trials.iter().map(|t| -setting.losses(t)[0]).collect();
    Ok(table(&scored, &good, setting.seed))
}

/// Whether to use a score, and why.
fn verdict(
    score: Score,
    rho: Option<f64>,
    interval: Option<(f64, f64)>,
    yardstick: Option<f64>,
    n: usize,
) -> (bool, String) {
    if n < ENOUGH {
        return (false, format!("{n} trained networks say too little; train at least {ENOUGH}"));
    }
    let (Some(rho), Some((low, _))) = (rho, interval) else {
        return (false, "off: it does not tell these networks apart".into());
    };
    if low <= 0.0 {
        return (false, format!("off: its interval begins at {low:.2}, so it may not rank at all"));
    }
    if score == Score::Params {
        return (true, "the yardstick".into());
    }
    match yardstick {
        Some(params) if rho <= params => {
            (false, format!("off: rho {rho:.3} does not beat the parameter count's {params:.3}"))
        }
        Some(params) => (true, format!("rho {rho:.3} beats the parameter count's {params:.3}")),
        None => (true, "the parameter count does not vary here".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_rank_and_nan_is_last() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, f64::NAN, 2.0]), [4.5, 2.0, 4.5, 1.0, 3.0]);
    }

    #[test]
    fn correlations_are_those_of_the_textbook() {
        // Ranks 1 2 3.5 3.5 5 and 2 1 3 5 4 about their mean 3: products 2 + 2 + 0 + 1 + 2 = 7, squares 9.5 and 10.
        let (a, b) = ([10.0, 20.0, 30.0, 30.0, 40.0], [2.0, 1.0, 3.0, 5.0, 4.0]);
        let rho = spearman(&a, &b).expect("both vary");
        assert!((rho - 7.0 / 95f64.sqrt()).abs() < 1e-12, "{rho}");
        // Of 10 pairs one is tied in a; 7 of the others agree and 2 do not.
        let tau = kendall(&a, &b).expect("both vary");
        assert!((tau - 5.0 / 90f64.sqrt()).abs() < 1e-12, "{tau}");
        let down: Vec<f64> = a.iter().map(|x| -x).collect();
        assert_eq!(spearman(&a, &down), Some(-1.0));
        assert_eq!(kendall(&a, &down), Some(-1.0));
        assert_eq!(kendall(&[1.0, 1.0], &b[..2]), None);
    }

    /// `n` values of a hidden quality and of it with noise.
    fn noisy(n: u64, noise: f64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = Rng::new(5, 9, n);
        (0..n)
            .map(|_| {
                let quality = rng.normal();
                (quality, quality + noise * rng.normal())
            })
            .unzip()
    }

    #[test]
    fn the_interval_holds_rho_and_narrows() {
        let width = |n| {
            let (a, b) = noisy(n, 1.0);
            let rho = spearman(&a, &b).expect("both vary");
            let (low, high) = interval(&a, &b, 3).expect("both vary");
            assert!(low < rho && rho < high, "{low} {rho} {high}");
            assert_eq!(interval(&a, &b, 3), Some((low, high)));
            high - low
        };
        assert!(width(400) < 0.6 * width(40));
    }

    #[test]
    fn a_score_must_beat_the_parameter_count() {
        let (accuracy, good) = noisy(60, 0.3);
        let mut rng = Rng::new(1, 2, 3);
        let params: Vec<f64> = accuracy.iter().map(|a| a + 1.5 * rng.normal()).collect();
        let useless: Vec<f64> = accuracy.iter().map(|_| rng.normal()).collect();
        let constant = vec![1.0; 60];
        let columns =
            [(Score::Params, params), (Score::Synflow, good), (Score::Zen, useless), (Score::Swap, constant)];
        let of = |i: usize| Scores(columns.iter().map(|(score, values)| (*score, values[i])).collect());
        let scored: Vec<Scores> = (0..60).map(of).collect();
        let rows = table(&scored, &accuracy, 7);
        let used = |score| rows.iter().find(|row| row.score == score).map(|row| row.used);
        assert_eq!(rows[0].score, Score::Synflow);
        assert_eq!(used(Score::Synflow), Some(true));
        assert_eq!(used(Score::Params), Some(true));
        assert_eq!((used(Score::Zen), used(Score::Swap)), (Some(false), Some(false)));
        assert_eq!(rows.last().map(|row| row.rho), Some(None));
        // Failed trials do not count.
        let mut failed = accuracy.clone();
        failed[0] = f64::NAN;
        assert!(table(&scored, &failed, 7).iter().all(|row| row.n == 59));
        let few: Vec<f64> =
            accuracy.iter().enumerate().map(|(i, &a)| if i < 5 { a } else { f64::NAN }).collect();
        assert!(table(&scored, &few, 7).iter().all(|row| !row.used && row.why.contains("5 trained")));
    }
}
