//! Scales: numbers to pixels, and the round numbers to label.

use super::text::{Format, grouped, short};

/// Numbers larger than this are drawn as this: differences stay finite.
const MOST: f64 = 1e150;

/// A linear or logarithmic map of [low, high] to pixels; what lies outside is drawn at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
    start: f64,
    end: f64,
    format: Format,
    labels: bool,
}

/// A labelled place of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where, in pixels.
    pub at: f64,
    /// What it says.
    pub label: String,
}

impl Scale {
    /// A scale over all finite values (positive ones, if logarithmic); around a single value it is opened a little, for none
    /// it is [0, 1] or [1, 10].
    pub fn over(values: impl IntoIterator<Item = f64>, log: bool) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.into_iter().filter(|v| v.is_finite() && (!log || *v > 0.0)) {
            (low, high) = (low.min(v), high.max(v));
        }
        if low > high {
            (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        Scale::new(low, high, log)
    }

    /// A scale from `low` to `high`, finite and positive if logarithmic.
    pub fn new(low: f64, high: f64, log: bool) -> Scale {
        let (mut low, mut high) = (low.clamp(-MOST, MOST), high.clamp(-MOST, MOST));
        if log {
            (low, high) = (low.max(1e-150), high.max(1e-150));
            if high / low < 1.0 + 1e-9 {
                (low, high) = (low / 2.0, high * 2.0);
            }
        } else if high - low <= 1e-9 * (low.abs() + high.abs()) || high <= low {
            let room = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
            (low, high) = (low - room, high + room);
        }
        Scale { low, high, log, start: 0.0, end: 1.0, format: Format::Plain, labels: true }
    }

    /// The same with a share of its length added at both ends.
    pub fn padded(mut self, share: f64) -> Scale {
        if self.log {
            let factor = (self.high / self.low).powf(share);
            (self.low, self.high) = (self.low / factor, self.high * factor);
        } else {
            let room = (self.high - self.low) * share;
            (self.low, self.high) = (self.low - room, self.high + room);
        }
        self
    }

    /// The same on these pixels.
    pub fn onto(self, start: f64, end: f64) -> Scale {
        Scale { start, end, ..self }
    }

    /// The same with labels of another kind.
    pub fn format(self, format: Format) -> Scale {
        Scale { format, ..self }
    }

    /// The same without ticks: the caller labels it.
    pub fn unlabelled(self) -> Scale {
        Scale { labels: false, ..self }
    }

    /// The pixel of `value`; NaN is at the start.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(1e-300) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.start + (self.end - self.start) * share
    }

    /// Whether `value` is within the scale.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Whether it is logarithmic.
    pub fn is_log(&self) -> bool {
        self.log
    }

    /// About as many round numbers as asked for, in increasing order, labels all different.
    pub fn ticks(&self, about: usize) -> Vec<Tick> {
        self.round_values(about)
            .into_iter()
            .map(|(value, label)| Tick { at: self.at(value), label })
            .collect()
    }

    /// What [`ticks`](Scale::ticks) are at, as numbers.
    pub fn round_values(&self, about: usize) -> Vec<(f64, String)> {
        if !self.labels {
            return vec![];
        }
        let about = about.max(2);
        let mut values = if self.log { self.log_ticks(about) } else { self.linear_ticks(about) };
        values.dedup_by(|a, b| a.1 == b.1);
        values
    }

    fn linear_ticks(&self, about: usize) -> Vec<(f64, String)> {
        let step = round_step((self.high - self.low) / about as f64);
        let slack = step * 1e-6;
        let first = ((self.low - slack) / step).ceil();
        (0..4 * about)
            .map(|i| (first + i as f64) * step)
            .take_while(|v| *v <= self.high + slack)
            .map(|v| (v, self.label(v, step)))
            .collect()
    }

    fn log_ticks(&self, about: usize) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        if decades < 1.0 {
            return self.linear_ticks(about);
        }
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let factors: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = ((last - first) as usize).div_ceil(2 * about).max(1);
        let mut ticks = vec![];
        for exponent in (first..=last).step_by(stride) {
            for factor in factors {
                let value = factor * 10f64.powi(exponent);
                if value >= self.low * (1.0 - 1e-9) && value <= self.high * (1.0 + 1e-9) {
                    ticks.push((value, self.label(value, value)));
                }
            }
        }
        ticks
    }

    /// A round number as text, with as many decimals as the distance of the ticks needs.
    fn label(&self, value: f64, step: f64) -> String {
        let percent = self.format == Format::Percent;
        let (value, step) = if percent { (value * 100.0, step * 100.0) } else { (value, step) };
        let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
        let places = (-(step.log10() + 1e-9).floor()).max(0.0);
        let text = if value == 0.0 {
            "0".into()
        } else if places > 3.0 || value.abs() >= 1e15 {
            // One digit where that is all there is.
            let text = format!("{value:.1e}");
            text.replace(".0e", "e")
        } else if value.abs() >= 1e4 && step >= 1.0 && (value.abs() >= 1e5 || self.format == Format::Short) {
            short_to(value, step)
        } else if places == 0.0 {
            let sign = if value < 0.0 { "-" } else { "" };
            let size = value.abs().round() as u64;
            if self.format == Format::Short {
                short_to(value, step)
            } else {
                format!("{sign}{}", grouped(size))
            }
        } else {
            format!("{value:.*}", places as usize)
        };
        let text = text.replace('-', "−").replace("e−", "e-");
        if percent { format!("{text} %") } else { text }
    }
}

/// A large number with k, M, ..., exact to the step where three digits are not.
fn short_to(value: f64, step: f64) -> String {
    let text = short(value);
    let digits = (value.abs() / step).log10();
    if digits < 2.9 || value.abs() >= 1e15 { text } else { grouped(value.abs().round() as u64) }
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| factor <= f * (1.0 + 1e-9)).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(scale: Scale, about: usize) -> Vec<String> {
        scale.ticks(about).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Scale::new(0.0, 1.0, false), 5), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(Scale::new(0.951, 0.989, false).format(Format::Percent), 4),
            ["96 %", "97 %", "98 %"]
        );
        assert_eq!(labels(Scale::new(1e-4, 1e-1, true), 5), ["1e-4", "0.001", "0.01", "0.1"]);
        assert_eq!(
            labels(Scale::new(900.0, 42_000.0, true).format(Format::Short), 5),
            ["1k", "2k", "5k", "10k", "20k"]
        );
        assert_eq!(
            labels(Scale::new(0.0, 5000.0, false), 5),
            ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
        );
    }

    proptest! {
        #[test]
        fn pixels_and_ticks_stay_inside(
            values in proptest::collection::vec(proptest::num::f64::ANY, 0..8), log: bool, about in 0usize..12,
        ) {
            let scale = Scale::over(values.iter().copied(), log).padded(0.05).onto(10.0, 200.0);
            for v in values {
                prop_assert!((10.0..=200.0).contains(&scale.at(v)), "{v}");
            }
            let ticks = scale.ticks(about);
            prop_assert!(ticks.len() <= 60, "{}", ticks.len());
            for pair in ticks.windows(2) {
                prop_assert!(pair[0].at <= pair[1].at);
            }
            for tick in ticks {
                prop_assert!((10.0..=200.0).contains(&tick.at) && !tick.label.contains("NaN"), "{tick:?}");
            }
        }
    }
}
