//! What repeated runs of two models say, and quantiles.

use serde::Serialize;

use crate::search::Direction;
use crate::search::estimate::Estimate;

/// Which of two models is better, as far as their runs show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The 95 % interval of the difference lies on the good side of 0.
    Better,
    /// It lies on the bad side.
    Worse,
    /// It holds 0, or there are too few runs for an interval.
    Unclear,
}

/// The difference `a - b` of paired runs (same split, same seed), and what follows from it; `None` when they are not
/// paired or a value is not finite.
pub fn compare(direction: Direction, a: &Estimate, b: &Estimate) -> Option<(Estimate, Verdict)> {
    let difference = a.difference(b).filter(|d| d.mean.is_finite())?;
    let verdict = match direction {
        _ if difference.values.len() < 2 => Verdict::Unclear,
        Direction::Maximize if difference.low > 0.0 => Verdict::Better,
        Direction::Maximize if difference.high < 0.0 => Verdict::Worse,
        Direction::Minimize if difference.high < 0.0 => Verdict::Better,
        Direction::Minimize if difference.low > 0.0 => Verdict::Worse,
        _ => Verdict::Unclear,
    };
    Some((difference, verdict))
}

/// The value below which a share `q` of the finite values lies, by linear interpolation; `None` when there are none.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let place = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    let share = place.fract();
    Some(below * (1.0 - share) + above * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0, f64::NAN, 2.0], 0.25), Some(1.5));
        assert_eq!(quantile(&[f64::MAX, f64::MIN], 0.5), Some(0.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn verdicts_look_at_the_interval_and_the_direction() {
        let of = |values: &[f64]| Estimate::of(values.to_vec()).expect("values");
        let (a, b) = (of(&[0.980, 0.982, 0.984]), of(&[0.970, 0.973, 0.973]));
        let verdict = |d, a: &Estimate, b: &Estimate| compare(d, a, b).map(|(_, verdict)| verdict);
        assert_eq!(verdict(Direction::Maximize, &a, &b), Some(Verdict::Better));
        assert_eq!(verdict(Direction::Maximize, &b, &a), Some(Verdict::Worse));
        assert_eq!(verdict(Direction::Minimize, &a, &b), Some(Verdict::Worse));
        assert_eq!(verdict(Direction::Maximize, &a, &of(&[0.99, 0.90, 0.95])), Some(Verdict::Unclear));
        assert_eq!(verdict(Direction::Maximize, &of(&[0.9]), &of(&[0.5])), Some(Verdict::Unclear));
        assert_eq!(verdict(Direction::Maximize, &a, &of(&[0.9])), None, "not paired");
    }
}
