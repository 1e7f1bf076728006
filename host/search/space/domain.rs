//! The values that a parameter can have.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Test;
use crate::search::rng::Rng;

/// A value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Of [`Domain::Int`] and [`Domain::Levels`].
    Int(i64),
    /// Of [`Domain::Float`].
    Float(f64),
    /// Of [`Domain::Choice`]: the index.
    Choice(u32),
}

impl Value {
    /// The integer, if it is one.
    pub fn int(self) -> Option<i64> {
        if let Value::Int(i) = self { Some(i) } else { None }
    }
    /// The number, if it is one.
    pub fn number(self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(i as f64),
            Value::Float(x) => Some(x),
            Value::Choice(_) => None,
        }
    }
}

/// A set of values with a prior that is uniform over it (or over its logarithm).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Domain {
    /// `low, low + step, ..` up to `high`.
    Int {
        /// The least.
        low: i64,
        /// The greatest.
        high: i64,
        /// Distance of neighbours, at least 1.
        step: i64,
        /// Whether the prior is uniform in the logarithm; needs `low >= 1`.
        log: bool,
    },
    /// All numbers from `low` to `high`.
    Float {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
        /// Whether the prior is uniform in the logarithm; needs `low > 0`.
        log: bool,
    },
    /// These integers, in increasing order; neighbours are alike.
    Levels {
        /// The integers.
        values: Vec<i64>,
    },
    /// One of these names; none is nearer to another than the rest.
    Choice {
        /// The names.
        options: Vec<String>,
    },
}

impl Domain {
    /// The integers from `low` to `high`.
    pub fn int(low: i64, high: i64) -> Domain {
        Domain::Int { low, high, step: 1, log: false }
    }
    /// The integers from `low` to `high`, small ones more often: uniform in the logarithm.
    pub fn log_int(low: i64, high: i64) -> Domain {
        Domain::Int { low, high, step: 1, log: true }
    }
    /// The numbers from `low` to `high`.
    pub fn float(low: f64, high: f64) -> Domain {
        Domain::Float { low, high, log: false }
    }
    /// The numbers from `low` to `high`, uniform in the logarithm.
    pub fn log_float(low: f64, high: f64) -> Domain {
        Domain::Float { low, high, log: true }
    }
    /// These integers.
    pub fn levels(values: impl IntoIterator<Item = i64>) -> Domain {
        Domain::Levels { values: values.into_iter().collect() }
    }
    /// These names.
    pub fn choice<S: Into<String>>(options: impl IntoIterator<Item = S>) -> Domain {
        Domain::Choice { options: options.into_iter().map(Into::into).collect() }
    }

    /// What is wrong with it, with the remedy.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Domain::Int { low, high, step, log } => {
                if low > high {
                    return Err(format!("from {low} to {high} holds nothing: give the lower end first"));
                }
                if *step < 1 {
                    return Err(format!("a step of {step}: give at least 1"));
                }
                if *log && *low < 1 {
                    return Err(format!("a logarithmic range from {low}: start at 1 or more"));
                }
                // Steps are counted and weighed in f64.
                if high.checked_sub(*low).is_none_or(|d| d >= 1 << 52) {
                    return Err(format!("from {low} to {high} is too wide: at most 2^52 integers"));
                }
            }
            Domain::Float { low, high, log } => {
                let is_range = low <= high && low.is_finite() && (high - low).is_finite();
                if !is_range {
                    return Err(format!(
                        "from {low} to {high} is no range: give two numbers, the lower first"
                    ));
                }
                if *log && *low <= 0.0 {
                    return Err(format!("a logarithmic range from {low}: start above 0"));
                }
            }
            Domain::Levels { values } => {
                if values.is_empty() {
                    return Err("no levels: give at least one".into());
                }
                if let Some(pair) = values.windows(2).find(|w| w[0] >= w[1]) {
                    return Err(format!("the levels {} and {} do not increase", pair[0], pair[1]));
                }
            }
            Domain::Choice { options } => {
                if options.is_empty() {
                    return Err("no options: give at least one".into());
                }
                for (i, option) in options.iter().enumerate() {
                    if option.is_empty() || option.chars().any(char::is_whitespace) {
                        return Err(format!("the option '{option}': give a word without spaces"));
                    }
                    if options[..i].contains(option) {
                        return Err(format!("the option '{option}' is there twice"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a condition on a parameter of this domain can be met.
    pub(super) fn check_test(&self, test: &Test) -> Result<(), String> {
        let met = match test {
            Test::AtLeast(least) => match self {
                Domain::Int { high, .. } => high >= least,
                Domain::Levels { values } => values.last().is_some_and(|v| v >= least),
                _ => return Err("'at least' needs an integer".into()),
            },
            Test::OneOf(names) => {
                if let Some(name) = names.iter().find(|n| self.read(n).is_none()) {
                    return Err(format!("'{name}' is none of its values ({self})"));
                }
                !names.is_empty()
            }
        };
        if met { Ok(()) } else { Err(format!("no value of {self} meets the condition")) }
    }

    /// Whether `value`, of this domain, meets a condition.
    pub fn meets(&self, value: Value, test: &Test) -> bool {
        match test {
            Test::AtLeast(least) => value.int().is_some_and(|v| v >= *least),
            Test::OneOf(names) => names.iter().any(|n| self.read(n) == Some(value)),
        }
    }

    /// Number of values; `None` for a continuous range of more than one.
    pub fn count(&self) -> Option<u64> {
        match self {
            Domain::Int { low, high, step, .. } => Some(((high - low) / step) as u64 + 1),
            Domain::Float { low, high, .. } => (low == high).then_some(1),
            Domain::Levels { values } => Some(values.len() as u64),
            Domain::Choice { options } => Some(options.len() as u64),
        }
    }

    /// Value number `i` in order, the last one past the end; for a continuous range its lower end.
    pub fn nth(&self, i: u64) -> Value {
        let i = i.min(self.count().unwrap_or(1) - 1);
        match self {
            Domain::Int { low, step, .. } => Value::Int(low + i as i64 * step),
            Domain::Float { low, .. } => Value::Float(*low),
            Domain::Levels { values } => Value::Int(values[i as usize]),
            Domain::Choice { .. } => Value::Choice(i as u32),
        }
    }

    /// The number of a value, so that [`nth`](Domain::nth) gives it back; `None` for continuous ranges and foreign values.
    pub fn position(&self, value: Value) -> Option<u64> {
        if !self.contains(value) {
            return None;
        }
        match (self, value) {
            (Domain::Int { low, step, .. }, Value::Int(v)) => Some(((v - low) / step) as u64),
            (Domain::Levels { values }, Value::Int(v)) => values.binary_search(&v).ok().map(|i| i as u64),
            (Domain::Choice { .. }, Value::Choice(i)) => Some(u64::from(i)),
            _ => None,
        }
    }

    /// Whether the value is of this domain.
    pub fn contains(&self, value: Value) -> bool {
        match (self, value) {
            (Domain::Int { low, high, step, .. }, Value::Int(v)) => {
                (low..=high).contains(&&v) && (v - low) % step == 0
            }
            (Domain::Float { low, high, .. }, Value::Float(x)) => (*low..=*high).contains(&x),
            (Domain::Levels { values }, Value::Int(v)) => values.binary_search(&v).is_ok(),
            (Domain::Choice { options }, Value::Choice(i)) => (i as usize) < options.len(),
            _ => false,
        }
    }

    /// Whether neighbours are alike: everything but a choice.
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Domain::Choice { .. })
    }

    /// The ends between which a draw is uniform: of the range or its logarithm; for levels and choices, of the index.
    /// Discrete domains reach half a step past their ends, so that all values are equally likely.
    fn scale(&self) -> (f64, f64) {
        match self {
            Domain::Int { low, high, step, log } => {
                let (half, last) = (*step as f64 / 2.0, (low + (high - low) / step * step) as f64);
                let (low, high) = (*low as f64 - half, last + half);
                if *log { (low.max(0.5).ln(), high.ln()) } else { (low, high) }
            }
            Domain::Float { low, high, log } => {
                if *log {
                    (low.ln(), high.ln())
                } else {
                    (*low, *high)
                }
            }
            Domain::Levels { values } => (-0.5, values.len() as f64 - 0.5),
            Domain::Choice { options } => (-0.5, options.len() as f64 - 0.5),
        }
    }

    /// The value at `u` in [0, 1]: uniform numbers give draws from the prior.
    pub fn at(&self, u: f64) -> Value {
        let (low, high) = self.scale();
        let x = low + (high - low) * u.clamp(0.0, 1.0);
        match self {
            Domain::Int { low, high, step, log } => {
                let x = if *log { x.exp() } else { x };
                let n = ((x - *low as f64) / *step as f64).round().clamp(0.0, ((high - low) / step) as f64);
                Value::Int(low + n as i64 * step)
            }
            Domain::Float { low, high, log } => {
                Value::Float(if *log { x.exp() } else { x }.clamp(*low, *high))
            }
            _ => self.nth(x.round().max(0.0) as u64),
        }
    }

    /// Where in [0, 1] a value lies: [`at`](Domain::at) gives it back (numbers up to rounding). 0.5 when there is one value.
    pub fn unit(&self, value: Value) -> f64 {
        let (low, high) = self.scale();
        let x = match (self, value) {
            (Domain::Int { log: true, .. }, Value::Int(v)) => (v as f64).ln(),
            (Domain::Int { .. }, Value::Int(v)) => v as f64,
            (Domain::Float { log: true, .. }, Value::Float(x)) => x.ln(),
            (Domain::Float { .. }, Value::Float(x)) => x,
            _ => self.position(value).unwrap_or(0) as f64,
        };
        if high > low { ((x - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// A draw from the prior.
    pub fn draw(&self, rng: &mut Rng) -> Value {
        match self.count() {
            Some(n) if !matches!(self, Domain::Int { log: true, .. }) => {
                self.nth(rng.below(n as usize) as u64)
            }
            _ => self.at(rng.uniform()),
        }
    }

    /// The value as text.
    pub fn show(&self, value: Value) -> String {
        match (self, value) {
            (Domain::Choice { options }, Value::Choice(i)) => {
                options.get(i as usize).cloned().unwrap_or_else(|| format!("#{i}"))
            }
            (_, Value::Int(v)) => v.to_string(),
            // The shortest text that reads back as the same number.
            (_, Value::Float(x)) => format!("{x:?}"),
            (_, Value::Choice(i)) => format!("#{i}"),
        }
    }

    /// Reads what [`show`](Domain::show) writes; `None` when it is no value of this domain.
    pub fn read(&self, text: &str) -> Option<Value> {
        let value = match self {
            Domain::Int { .. } | Domain::Levels { .. } => Value::Int(text.parse().ok()?),
            Domain::Float { .. } => Value::Float(text.parse().ok()?),
            Domain::Choice { options } => Value::Choice(options.iter().position(|o| o == text)? as u32),
        };
        self.contains(value).then_some(value)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = |log: &bool| if *log { ", logarithmic" } else { "" };
        match self {
            Domain::Int { low, high, step: 1, log: l } => {
                write!(f, "an integer from {low} to {high}{}", log(l))
            }
            Domain::Int { low, high, step, log: l } => {
                write!(f, "an integer from {low} to {high} in steps of {step}{}", log(l))
            }
            Domain::Float { low, high, log: l } => write!(f, "a number from {low} to {high}{}", log(l)),
            Domain::Levels { values } => {
                let names: Vec<String> = values.iter().map(i64::to_string).collect();
                write!(f, "one of {}", names.join(", "))
            }
            Domain::Choice { options } => write!(f, "one of {}", options.join(", ")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Domain, Value};
    use crate::search::rng::Rng;
    use proptest::prelude::*;

    /// Domains of all kinds, with options that a file must quote.
    pub fn domains() -> impl Strategy<Value = Domain> {
        prop_oneof![
            (-50i64..50, 0i64..80, 1i64..9).prop_map(|(low, n, step)| Domain::Int {
                low,
                high: low + n,
                step,
                log: false
            }),
            (1i64..50, 0i64..5000).prop_map(|(low, n)| Domain::log_int(low, low + n)),
            (-1e3..1e3, 0.0..1e3).prop_map(|(low, n): (f64, f64)| Domain::float(low, low + n)),
            (1e-12..1.0, 1.0..1e4).prop_map(|(low, n): (f64, f64)| Domain::log_float(low, low * n)),
            proptest::collection::btree_set(-100i64..100, 1..9).prop_map(Domain::levels),
            (1usize..9).prop_map(|n| Domain::choice((0..n).map(|i| format!("\"o'{i}")))),
        ]
    }

    proptest! {
        #[test]
        fn draws_are_inside_and_round_trip(domain in domains(), seed: u64) {
            prop_assert_eq!(domain.check(), Ok(()));
            let mut rng = Rng::new(seed, 0, 0);
            for _ in 0..20 {
                let value = domain.draw(&mut rng);
                prop_assert!(domain.contains(value), "{domain}: {value:?}");
                prop_assert_eq!(domain.read(&domain.show(value)), Some(value));
                match (domain.at(domain.unit(value)), value) {
                    (Value::Float(a), Value::Float(b)) => prop_assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs())),
                    (a, b) => prop_assert_eq!(a, b, "{}", domain),
                }
                if let Some(i) = domain.position(value) {
                    prop_assert_eq!(domain.nth(i), value);
                }
                prop_assert!(domain.contains(domain.at(rng.uniform())));
            }
            for u in [0.0, 1.0] {
                prop_assert!(domain.contains(domain.at(u)));
            }
        }
    }

    #[test]
    fn a_logarithmic_range_favours_small_numbers() {
        let domain = Domain::log_int(1, 1000);
        let mut rng = Rng::new(5, 0, 0);
        let small = (0..1000).filter(|_| domain.draw(&mut rng).int().is_some_and(|v| v <= 31)).count();
        assert!((400..620).contains(&small), "{small} of 1000 below the geometric middle");
    }

    #[test]
    fn wrong_domains_say_what_to_do() {
        for domain in [
            Domain::int(3, 1),
            Domain::log_int(0, 4),
            Domain::int(i64::MIN, i64::MAX),
            Domain::float(f64::NAN, 1.0),
            Domain::float(-f64::MAX, f64::MAX),
            Domain::log_float(0.0, 1.0),
            Domain::levels([]),
            Domain::levels([2, 2]),
            Domain::choice(Vec::<String>::new()),
            Domain::choice(["a", "a"]),
            Domain::choice(["a b"]),
            Domain::Int { low: 0, high: 4, step: 0, log: false },
        ] {
            assert!(domain.check().is_err(), "{domain:?}");
        }
    }
}
