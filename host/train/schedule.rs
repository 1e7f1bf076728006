//! Learning-rate schedules: pure functions of the step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate changes from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Always the base rate.
    #[default]
    Constant,
    /// Multiplied by `gamma` every `every` epochs.
    Step {
        /// Epochs between drops, at least 1.
        every: usize,
        /// Factor of a drop.
        gamma: f64,
    },
    /// Half a cosine from the base rate to 0 over the whole run (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// Up from base/25 to the base rate over the first 30 % of the run and down to base/25e4, both along cosines (Smith
    /// and Topin 2018, with PyTorch's default factors).
    OneCycle,
}

impl std::str::FromStr for Schedule {
    type Err = String;
    fn from_str(s: &str) -> Result<Schedule, String> {
        let bad = || {
            format!(
                "unknown schedule '{s}': use constant, step:EVERY:GAMMA (as step:10:0.5), cosine or one-cycle"
            )
        };
        match s {
            "constant" => Ok(Schedule::Constant),
            "cosine" => Ok(Schedule::Cosine),
            "one-cycle" | "onecycle" | "one_cycle" => Ok(Schedule::OneCycle),
            _ => {
                let mut parts = s.strip_prefix("step:").ok_or_else(bad)?.split(':');
                let every = parts.next().and_then(|p| p.parse().ok()).filter(|&n| n >= 1).ok_or_else(bad)?;
                let gamma: f64 = parts.next().map_or(Ok(0.1), str::parse).map_err(|_| bad())?;
                if parts.next().is_some() || !gamma.is_finite() || gamma <= 0.0 {
                    return Err(bad());
                }
                Ok(Schedule::Step { every, gamma })
            }
        }
    }
}

impl std::fmt::Display for Schedule {
    /// The text that [`FromStr`](std::str::FromStr) reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            Schedule::Step { every, gamma } => write!(f, "step:{every}:{gamma}"),
            Schedule::Cosine => f.write_str("cosine"),
            Schedule::OneCycle => f.write_str("one-cycle"),
        }
    }
}

impl Schedule {
    /// The factor on the base learning rate at `step` (from 0) of `total`, with `per_epoch` steps an epoch, after a linear
    /// warm-up over the first `warmup` steps.
    pub fn factor(&self, step: u64, total: u64, per_epoch: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let (done, length) = ((step - warmup) as f64, total.saturating_sub(warmup).max(1) as f64);
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, gamma } => {
                let epoch = (step - warmup) / per_epoch.max(1);
                gamma.powi((epoch / every.max(1) as u64) as i32)
            }
            Schedule::Cosine => 0.5 * (1.0 + (PI * done / length).cos()),
            Schedule::OneCycle => {
                let (start, end) = (1.0 / 25.0, 1.0 / 25.0e4);
                let peak = 0.3 * length;
                let along =
                    |from: f64, to: f64, t: f64| to + (from - to) * 0.5 * (1.0 + (PI * t.min(1.0)).cos());
                if done < peak {
                    along(start, 1.0, done / peak)
                } else {
                    along(1.0, end, (done - peak) / (length - peak))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_ends_at_the_base_rate() {
        let at = |step| Schedule::Constant.factor(step, 100, 10, 5);
        assert_eq!((at(0), at(4), at(5), at(99)), (0.2, 1.0, 1.0, 1.0));
    }

    #[test]
    fn steps_count_epochs() {
        let schedule: Schedule = "step:2:0.5".parse().expect("well-formed");
        let at = |step| schedule.factor(step, 100, 10, 0);
        assert_eq!((at(0), at(19), at(20), at(40)), (1.0, 1.0, 0.5, 0.25));
        assert_eq!(schedule.to_string(), "step:2:0.5");
    }

    #[test]
    fn cosine_and_one_cycle_go_where_they_should() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(Schedule::Cosine.factor(0, 100, 10, 0), 1.0));
        assert!(close(Schedule::Cosine.factor(50, 100, 10, 0), 0.5));
        assert!(Schedule::Cosine.factor(99, 100, 10, 0) < 1e-3);
        assert!(close(Schedule::OneCycle.factor(0, 100, 10, 0), 0.04));
        assert!(close(Schedule::OneCycle.factor(30, 100, 10, 0), 1.0));
        assert!(Schedule::OneCycle.factor(99, 100, 10, 0) < 0.01);
    }

    #[test]
    fn bad_schedules_say_what_is_allowed() {
        for text in ["", "linear", "step:0:0.5", "step:2:-1", "step:2:0.5:9"] {
            let error = text.parse::<Schedule>().expect_err(text);
            assert!(error.contains("one-cycle"), "{error}");
        }
    }
}
