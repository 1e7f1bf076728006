//! Spaces of networks as TOML.
//!
//! A file names the settings that are searched; what it does not name is fixed as in [`Ranges::default`]. Numbers are one,
//! a list, or a range `{ low = .., high = .., step = .., log = .. }`; names are one or a list. `examples/space.toml` shows
//! every setting.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::super::file::{Spread, lines, read};
use super::codec::{init_name, norm_name};
use super::{Ints, Limits, LinearLatency, NetworkSpace, Numbers, Ranges};
use crate::nn::{Norm, WeightInit};
use crate::ops::activation::Activation;
use crate::search::SearchError;
use crate::search::architecture::{optimizer_words, read_optimizer};
use crate::search::names::unknown;
use crate::train::Schedule;

/// The file's fields, in the order in which they are written.
const FIELDS: [&str; 21] = [
    "depth",
    "width",
    "shared_width",
    "activation",
    "shared_activation",
    "dropout",
    "norm",
    "skip",
    "init",
    "optimizer",
    "momentum",
    "lr",
    "weight_decay",
    "batch",
    "schedule",
    "smoothing",
    "max_params",
    "max_flop",
    "max_memory",
    "max_latency",
    "latency_model",
];

/// The file; a field that lacks has its default.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    depth: Option<Spread<usize>>,
    width: Option<Spread<usize>>,
    shared_width: Option<bool>,
    activation: Option<Words>,
    shared_activation: Option<bool>,
    dropout: Option<Spread<f64>>,
    norm: Option<Words>,
    skip: Option<bool>,
    init: Option<Words>,
    optimizer: Option<Words>,
    momentum: Option<Spread<f64>>,
    lr: Option<Spread<f64>>,
    weight_decay: Option<Spread<f64>>,
    batch: Option<Spread<usize>>,
    schedule: Option<Words>,
    smoothing: Option<Spread<f64>>,
    max_params: Option<u64>,
    max_flop: Option<u64>,
    max_memory: Option<Quantity<Bytes>>,
    max_latency: Option<Quantity<Seconds>>,
    latency_model: Option<LinearLatency>,
}

/// One name or a list of names.
#[derive(Serialize)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Words, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Words, E> {
                Ok(Words(vec![name.into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut names = vec![];
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Words(names))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// What a quantity is counted in.
trait Unit {
    /// For errors.
    const WHAT: &'static str;
    /// Units with what to multiply by and what to divide by (so that both are exact).
    const UNITS: &'static [(&'static str, f64, f64)];
}

/// Bytes.
struct Bytes;
impl Unit for Bytes {
    const WHAT: &'static str =
        "a number of bytes, or a text such as \"2 MiB\" (B, kB, MB, GB, KiB, MiB, GiB)";
    const UNITS: &'static [(&'static str, f64, f64)] = &[
        ("B", 1.0, 1.0),
        ("kB", 1e3, 1.0),
        ("MB", 1e6, 1.0),
        ("GB", 1e9, 1.0),
        ("KiB", 1024.0, 1.0),
        ("MiB", 1_048_576.0, 1.0),
        ("GiB", 1_073_741_824.0, 1.0),
    ];
}

/// Seconds.
struct Seconds;
impl Unit for Seconds {
    const WHAT: &'static str = "a number of seconds, or a text such as \"50 us\" (s, ms, us)";
    const UNITS: &'static [(&'static str, f64, f64)] = &[("s", 1.0, 1.0), ("ms", 1.0, 1e3), ("us", 1.0, 1e6)];
}

/// A number, with a unit if it is a text.
struct Quantity<U> {
    value: f64,
    unit: std::marker::PhantomData<U>,
}

impl<U> From<f64> for Quantity<U> {
    fn from(value: f64) -> Quantity<U> {
        Quantity { value, unit: std::marker::PhantomData }
    }
}

impl<U> Serialize for Quantity<U> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers below 2^53 as such.
        if self.value.fract() == 0.0 && self.value.abs() < 9e15 {
            serializer.serialize_i64(self.value as i64)
        } else {
            serializer.serialize_f64(self.value)
        }
    }
}

impl<'de, U: Unit> Deserialize<'de> for Quantity<U> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity<U>, D::Error> {
        struct Number<U>(std::marker::PhantomData<U>);
        impl<U: Unit> Visitor<'_> for Number<U> {
            type Value = Quantity<U>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(U::WHAT)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Quantity<U>, E> {
                Ok((value as f64).into())
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Quantity<U>, E> {
                Ok(value.into())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity<U>, E> {
                let text = text.trim();
                let split = text.find(char::is_alphabetic).unwrap_or(text.len());
                let (number, name) = text.split_at(split);
                let size = U::UNITS.iter().find(|(unit, ..)| *unit == name);
                match (number.trim().replace('_', "").parse::<f64>(), size) {
                    (Ok(number), Some((_, times, by))) => Ok((number * times / by).into()),
                    _ => Err(E::custom(format!("'{text}' is not {}", U::WHAT))),
                }
            }
        }
        deserializer.deserialize_any(Number::<U>(std::marker::PhantomData))
    }
}

impl From<Spread<usize>> for Ints {
    fn from(spread: Spread<usize>) -> Ints {
        match spread {
            Spread::One(value) => value.into(),
            Spread::Of(values) => Ints::Of(values),
            Spread::Range { low, high, step, log } => {
                Ints::Range { low, high, step: step.unwrap_or(1), log: log.unwrap_or(false) }
            }
        }
    }
}

impl From<&Ints> for Spread<usize> {
    fn from(ints: &Ints) -> Spread<usize> {
        match ints {
            Ints::Of(values) if values.len() == 1 => Spread::One(values[0]),
            Ints::Of(values) => Spread::Of(values.clone()),
            Ints::Range { low, high, step, log } => Spread::Range {
                low: *low,
                high: *high,
                step: (*step != 1).then_some(*step),
                log: log.then_some(true),
            },
        }
    }
}

/// The numbers of a field. Error: a step, which ranges of numbers do not have.
fn numbers(field: &str, spread: Spread<f64>) -> Result<Numbers, SearchError> {
    match spread {
        Spread::One(value) => Ok(value.into()),
        Spread::Of(values) => Ok(Numbers::Of(values)),
        Spread::Range { low, high, step: None, log } => Ok(Numbers::Range { low, high, log }),
        Spread::Range { step: Some(_), .. } => Err(SearchError::Space(format!(
            "{field}: a range of numbers takes no step; give a list, such as [0.1, 0.2]"
        ))),
    }
}

impl From<&Numbers> for Spread<f64> {
    fn from(numbers: &Numbers) -> Spread<f64> {
        match numbers {
            Numbers::Of(values) if values.len() == 1 => Spread::One(values[0]),
            Numbers::Of(values) => Spread::Of(values.clone()),
            Numbers::Range { low, high, log } => {
                Spread::Range { low: *low, high: *high, step: None, log: *log }
            }
        }
    }
}

/// Reads each word of a field; the error names the field.
fn each<T, E: fmt::Display>(
    field: &str,
    words: Words,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, SearchError> {
    let bad = |e: E| SearchError::Space(format!("{field}: {e}"));
    words.0.iter().map(|word| read(word).map_err(bad)).collect()
}

/// One of `all` by its name.
fn named<T: Copy, const N: usize>(all: [T; N], name: fn(T) -> &'static str, word: &str) -> Result<T, String> {
    all.into_iter().find(|x| name(*x) == word).ok_or_else(|| unknown("name", word, all.map(name)))
}

const NORMS: [Norm; 3] = [Norm::None, Norm::Layer, Norm::Batch];
const INITS: [WeightInit; 3] = [WeightInit::Torch, WeightInit::KaimingNormal, WeightInit::XavierUniform];

fn activation(word: &str) -> Result<Activation, String> {
    word.parse().map_err(|_| unknown("activation", word, Activation::ALL.map(Activation::name)))
}

impl File {
    fn ranges(self) -> Result<Ranges, SearchError> {
        let usual = Ranges::default();
        let latency = self.max_latency.map(|q| q.value);
        let memory = match self.max_memory.map(|q| q.value) {
            Some(bytes) if !(bytes.is_finite() && bytes >= 0.0) => {
                return Err(SearchError::Space(format!("max_memory of {bytes}: give {}", Bytes::WHAT)));
            }
            other => other.map(|bytes| bytes as u64),
        };
        fn or<T, U>(
            value: Option<T>,
            usual: U,
            read: impl FnOnce(T) -> Result<U, SearchError>,
        ) -> Result<U, SearchError> {
            value.map_or(Ok(usual), read)
        }
        let some = |field: &'static str| move |spread| numbers(field, spread).map(Some);
        Ok(Ranges {
            depth: self.depth.map_or(usual.depth, Ints::from),
            width: self.width.map_or(usual.width, Ints::from),
            shared_width: self.shared_width.unwrap_or(usual.shared_width),
            activation: or(self.activation, usual.activation, |w| each("activation", w, activation))?,
            shared_activation: self.shared_activation.unwrap_or(usual.shared_activation),
            dropout: or(self.dropout, usual.dropout, |s| numbers("dropout", s))?,
            norm: or(self.norm, usual.norm, |w| each("norm", w, |word| named(NORMS, norm_name, word)))?,
            skip: self.skip.unwrap_or(usual.skip),
            init: or(self.init, usual.init, |w| each("init", w, |word| named(INITS, init_name, word)))?,
            optimizer: or(self.optimizer, usual.optimizer, |w| each("optimizer", w, read_optimizer))?,
            momentum: or(self.momentum, None, some("momentum"))?,
            lr: or(self.lr, usual.lr, |s| numbers("lr", s))?,
            weight_decay: or(self.weight_decay, None, some("weight_decay"))?,
            batch: self.batch.map_or(usual.batch, Ints::from),
            schedule: or(self.schedule, usual.schedule, |w| each("schedule", w, Schedule::from_str))?,
            smoothing: or(self.smoothing, usual.smoothing, |s| numbers("smoothing", s))?,
            limits: Limits { params: self.max_params, flop: self.max_flop, memory, latency },
            latency_model: self.latency_model,
        })
    }

    /// What of `ranges` is not as usual.
    fn of(ranges: &Ranges) -> File {
        let usual = Ranges::default();
        fn other<T: PartialEq, U>(value: &T, usual: &T, write: impl FnOnce(&T) -> U) -> Option<U> {
            (value != usual).then(|| write(value))
        }
        fn words<T>(name: impl Fn(&T) -> String) -> impl FnOnce(&Vec<T>) -> Words {
            move |values| Words(values.iter().map(name).collect())
        }
        // TOML's integers have a sign.
        let count = |n: Option<u64>| n.map(|n| n.min(i64::MAX as u64));
        File {
            depth: other(&ranges.depth, &usual.depth, |i| i.into()),
            width: other(&ranges.width, &usual.width, |i| i.into()),
            shared_width: other(&ranges.shared_width, &usual.shared_width, |b| *b),
            activation: other(&ranges.activation, &usual.activation, words(Activation::to_string)),
            shared_activation: other(&ranges.shared_activation, &usual.shared_activation, |b| *b),
            dropout: other(&ranges.dropout, &usual.dropout, |n| n.into()),
            norm: other(&ranges.norm, &usual.norm, words(|n: &Norm| norm_name(*n).into())),
            skip: other(&ranges.skip, &usual.skip, |b| *b),
            init: other(&ranges.init, &usual.init, words(|i: &WeightInit| init_name(*i).into())),
            optimizer: other(&ranges.optimizer, &usual.optimizer, words(|o| optimizer_words(o).join(" "))),
            momentum: ranges.momentum.as_ref().map(Spread::from),
            lr: other(&ranges.lr, &usual.lr, |n| n.into()),
            weight_decay: ranges.weight_decay.as_ref().map(Spread::from),
            batch: other(&ranges.batch, &usual.batch, |i| i.into()),
            schedule: other(&ranges.schedule, &usual.schedule, words(Schedule::to_string)),
            smoothing: other(&ranges.smoothing, &usual.smoothing, |n| n.into()),
            max_params: count(ranges.limits.params),
            max_flop: count(ranges.limits.flop),
            max_memory: ranges.limits.memory.map(|bytes| (bytes as f64).into()),
            max_latency: ranges.limits.latency.map(Quantity::from),
            latency_model: ranges.latency_model,
        }
    }
}

impl NetworkSpace {
    /// Reads a space of networks with these inputs and outputs from TOML (`examples/space.toml` shows every setting). What
    /// the file does not name is fixed as in [`Ranges::default`]. Errors are one line and name the line of the file or the
    /// setting.
    ///
    /// ```
    /// use ironwarp::search::space::network::NetworkSpace;
    /// let networks = NetworkSpace::from_toml(r#"
    ///     depth = { low = 1, high = 3 }
    ///     width = [16, 32, 64]
    ///     lr = { low = 1e-4, high = 3e-2 }
    ///     max_params = 10_000
    /// "#, 64, 10)?;
    /// assert_eq!(networks.space()?.parameters().len(), 5);
    /// assert_eq!(NetworkSpace::from_toml(&networks.to_toml(), 64, 10)?.ranges(), networks.ranges());
    /// # Ok::<(), ironwarp::search::SearchError>(())
    /// ```
    pub fn from_toml(text: &str, inputs: usize, outputs: usize) -> Result<NetworkSpace, SearchError> {
        let networks = NetworkSpace::new(inputs, outputs, read::<File>(text)?.ranges()?);
        networks.check()?;
        Ok(networks)
    }

    /// The space as TOML, for [`from_toml`](NetworkSpace::from_toml): every setting that is not fixed at its default. A
    /// latency function that was given in Rust is not part of it.
    pub fn to_toml(&self) -> String {
        lines(&File::of(&self.ranges), &FIELDS)
    }
}
