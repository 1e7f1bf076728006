//! What a setting of a network may be: one value, some, or a range.

use std::ops::RangeInclusive;

use crate::search::SearchError;
use crate::search::architecture::number;
use crate::search::space::{Domain, Value};

/// Integers that a setting may take. From a number, a list or a range `a..=b`.
#[derive(Clone, Debug, PartialEq)]
pub enum Ints {
    /// These; neighbours are alike. One alone is fixed and no parameter of the space.
    Of(Vec<usize>),
    /// `low, low + step, ..` up to `high`.
    Range {
        /// The least.
        low: usize,
        /// The greatest.
        high: usize,
        /// Distance of neighbours.
        step: usize,
        /// Whether small ones come more often: uniform in the logarithm.
        log: bool,
    },
}

impl Ints {
    /// The integers from `low` to `high`, uniform in the logarithm.
    pub fn log(low: usize, high: usize) -> Ints {
        Ints::Range { low, high, step: 1, log: true }
    }

    /// The domain of the parameter.
    pub(super) fn domain(&self) -> Domain {
        let int = |x: usize| i64::try_from(x).unwrap_or(i64::MAX);
        match self {
            Ints::Of(values) => {
                let mut values: Vec<i64> = values.iter().map(|&v| int(v)).collect();
                values.sort_unstable();
                values.dedup();
                Domain::levels(values)
            }
            Ints::Range { low, high, step, log } => {
                Domain::Int { low: int(*low), high: int(*high), step: int(*step), log: *log }
            }
        }
    }

    /// The only value, if there is one.
    pub(super) fn fixed(&self) -> Option<usize> {
        match self {
            Ints::Of(values) => values.first().copied().filter(|first| values.iter().all(|v| v == first)),
            Ints::Range { .. } => Some(self.bounds()).filter(|(low, high)| low == high).map(|b| b.0),
        }
    }

    /// The least and the greatest.
    pub(super) fn bounds(&self) -> (usize, usize) {
        match self {
            Ints::Of(values) => {
                (values.iter().copied().min().unwrap_or(0), values.iter().copied().max().unwrap_or(0))
            }
            Ints::Range { low, high, step, .. } => {
                let steps = high.saturating_sub(*low) / (*step).max(1);
                (*low, low + steps * step)
            }
        }
    }
}

impl From<usize> for Ints {
    fn from(value: usize) -> Ints {
        Ints::Of(vec![value])
    }
}
impl From<RangeInclusive<usize>> for Ints {
    fn from(range: RangeInclusive<usize>) -> Ints {
        Ints::Range { low: *range.start(), high: *range.end(), step: 1, log: false }
    }
}
impl<const N: usize> From<[usize; N]> for Ints {
    fn from(values: [usize; N]) -> Ints {
        Ints::Of(values.to_vec())
    }
}
impl From<Vec<usize>> for Ints {
    fn from(values: Vec<usize>) -> Ints {
        Ints::Of(values)
    }
}

/// Numbers that a setting may take. From a number, a list or a range `a..=b`.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// These, a choice. One alone is fixed and no parameter of the space.
    Of(Vec<f64>),
    /// All from `low` to `high`.
    Range {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
        /// Whether the prior is uniform in the logarithm; `None`: for learning rate and weight decay, if `low` is above 0.
        log: Option<bool>,
    },
}

impl Numbers {
    /// All numbers from `low` to `high`, uniform in the logarithm.
    pub fn log(low: f64, high: f64) -> Numbers {
        Numbers::Range { low, high, log: Some(true) }
    }
    /// All numbers from `low` to `high`, uniform in themselves.
    pub fn linear(low: f64, high: f64) -> Numbers {
        Numbers::Range { low, high, log: Some(false) }
    }

    /// The least of them.
    pub fn least(&self) -> f64 {
        match self {
            Numbers::Of(values) => values.iter().copied().fold(f64::INFINITY, f64::min),
            Numbers::Range { low, .. } => *low,
        }
    }

    /// The range with its prior settled: logarithmic where `log`.
    pub(super) fn settled(self, log: bool) -> Numbers {
        match self {
            Numbers::Range { low, high, log: None } => {
                Numbers::Range { low, high, log: Some(log && low > 0.0) }
            }
            other => other,
        }
    }

    pub(super) fn domain(&self) -> Domain {
        match *self {
            Numbers::Of(ref values) => Domain::choice(values.iter().map(|&x| number(x))),
            Numbers::Range { low, high, log } => Domain::Float { low, high, log: log.unwrap_or(false) },
        }
    }

    /// The only value, if there is one.
    pub(super) fn fixed(&self) -> Option<f64> {
        match self {
            Numbers::Of(values) => values.first().copied().filter(|_| values.len() == 1),
            Numbers::Range { low, high, .. } => (low == high).then_some(*low),
        }
    }

    /// The number that a value of the domain stands for: a drawn one to four digits, as far as they stay within the range.
    pub(super) fn at(&self, value: Option<Value>) -> f64 {
        match (self, value) {
            (Numbers::Of(values), Some(Value::Choice(i))) => {
                values.get(i as usize).or(values.first()).copied().unwrap_or(0.0)
            }
            (Numbers::Of(values), _) => values.first().copied().unwrap_or(0.0),
            (Numbers::Range { low, high, .. }, Some(Value::Float(x))) => four_digits(x, *low, *high),
            (Numbers::Range { low, .. }, _) => *low,
        }
    }

    /// The value of the domain that stands for `x`.
    pub(super) fn value_of(&self, x: f64) -> Option<Value> {
        match self {
            Numbers::Of(values) => values.iter().position(|v| *v == x).map(|i| Value::Choice(i as u32)),
            Numbers::Range { low, high, .. } => (*low..=*high).contains(&x).then_some(Value::Float(x)),
        }
    }

    /// Error: one of them, or an end, is not in `range`, which `takes` says in words.
    pub(super) fn within(
        &self,
        name: &str,
        takes: &str,
        range: impl Fn(f64) -> bool,
    ) -> Result<(), SearchError> {
        let ends = match self {
            Numbers::Of(values) => values.clone(),
            Numbers::Range { low, high, .. } => vec![*low, *high],
        };
        match ends.iter().find(|x| !range(**x)) {
            Some(x) => Err(SearchError::Space(format!("{name} of {}: give {takes}", number(*x)))),
            None => Ok(()),
        }
    }
}

/// `x` rounded to four significant digits, if that lies within the range; else `x`. Later digits change no training that
/// matters, and people read them.
fn four_digits(x: f64, low: f64, high: f64) -> f64 {
    let rounded = format!("{x:.3e}").parse().unwrap_or(x);
    if (low..=high).contains(&rounded) { rounded } else { x }
}

impl From<f64> for Numbers {
    fn from(value: f64) -> Numbers {
        Numbers::Of(vec![value])
    }
}
impl From<RangeInclusive<f64>> for Numbers {
    fn from(range: RangeInclusive<f64>) -> Numbers {
        Numbers::Range { low: *range.start(), high: *range.end(), log: None }
    }
}
impl<const N: usize> From<[f64; N]> for Numbers {
    fn from(values: [f64; N]) -> Numbers {
        Numbers::Of(values.to_vec())
    }
}
impl From<Vec<f64>> for Numbers {
    fn from(values: Vec<f64>) -> Numbers {
        Numbers::Of(values)
    }
}
