//! A number measured several times: its mean, and how well it is known.

use serde::{Deserialize, Serialize};

/// Mean of repeated measurements with a 95 % confidence interval for it (Student's t, the measurements taken as independent
/// and normal). With one measurement there is no interval: both ends are the value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The measurements in order.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (n - 1 in the denominator); 0 for one.
    pub sd: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Of these measurements; `None` when there are none.
    pub fn of(values: Vec<f64>) -> Option<Estimate> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        if values.len() == 1 {
            return Some(Estimate { values, mean, sd: 0.0, low: mean, high: mean });
        }
        let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let half = student(values.len() - 1) * sd / n.sqrt();
        Some(Estimate { values, mean, sd, low: mean - half, high: mean + half })
    }

    /// The interval of the difference `self - other` of paired measurements (same split, same seed); `None` when the numbers of
    /// measurements differ.
    pub fn difference(&self, other: &Estimate) -> Option<Estimate> {
        if self.values.len() != other.values.len() {
            return None;
        }
        Estimate::of(self.values.iter().zip(&other.values).map(|(a, b)| a - b).collect())
    }
}

/// The 97.5 % quantile of Student's t with `freedom` degrees: a table up to 30, then Cornish and Fisher's expansion about
/// the normal quantile (within 1e-4 there).
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788,
        2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639,
        2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
    ];
    if let Some(quantile) = TABLE.get(freedom.wrapping_sub(1)) {
        return *quantile;
    }
    let (z, n) = (1.959_964f64, freedom as f64);
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::rng::Rng;

    #[test]
    fn the_interval_covers_the_mean_as_often_as_it_says() {
        for n in [2, 5, 40] {
            let covered = (0..4000)
                .filter(|&i| {
                    let mut rng = Rng::new(11, n as u32, i);
                    let e = Estimate::of((0..n).map(|_| 3.0 + 2.0 * rng.normal()).collect()).expect("values");
                    (e.low..=e.high).contains(&3.0)
                })
                .count();
            // 95 % within five standard errors (0.345 %).
            assert!((3731..=3869).contains(&covered), "{covered} of 4000 for n = {n}");
        }
    }

    #[test]
    fn quantiles_go_on_where_the_table_ends() {
        assert!((student(31) - 2.0395).abs() < 1e-4, "{}", student(31));
        assert!((student(100) - 1.9840).abs() < 1e-4, "{}", student(100));
    }

    #[test]
    fn one_measurement_has_no_interval_and_none_no_mean() {
        let one = Estimate::of(vec![0.5]).expect("a value");
        assert_eq!((one.low, one.mean, one.high, one.sd), (0.5, 0.5, 0.5, 0.0));
        assert_eq!(Estimate::of(vec![]), None);
        let two = Estimate::of(vec![0.5, 0.7]).expect("values");
        assert!(two.difference(&one).is_none());
        assert!(two.difference(&two).is_some_and(|d| d.mean == 0.0 && d.sd == 0.0));
    }
}
