//! Spaces as TOML: what the files of generic spaces and of [networks](super::network) share, and the generic form.
//!
//! ```
//! use ironwarp::search::space::Space;
//! let space = Space::from_toml(r#"
//!     [[parameter]]
//!     name = "optimizer"
//!     choice = ["sgd", "adam"]
//!
//!     [[parameter]]
//!     name = "momentum"
//!     float = { low = 0.5, high = 0.99 }
//!     when = { parameter = "optimizer", one_of = ["sgd"] }
//!
//!     [[parameter]]
//!     name = "depth"
//!     int = { low = 1, high = 3 }         # also step = 2, log = true; or a list: int = [1, 2, 4]
//!
//!     [[parameter]]
//!     name = "width.1"
//!     int = [16, 32, 64]
//!     when = { parameter = "depth", at_least = 2 }
//!
//!     [[parameter]]
//!     name = "lr"
//!     float = { low = 1e-4, high = 1e-1, log = true }
//! "#)?;
//! assert_eq!(space.parameters().len(), 5);
//! assert_eq!(Space::from_toml(&space.to_toml())?.parameters(), space.parameters());
//! # Ok::<(), ironwarp::search::SearchError>(())
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{F64Deserializer, I64Deserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Condition, Domain, Parameter, Space, Test};
use crate::search::SearchError;
use crate::search::names::unknown;

/// Numbers in a file: one, a list, or `{ low = .., high = .., step = .., log = .. }`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spread<T> {
    One(T),
    Of(Vec<T>),
    Range { low: T, high: T, step: Option<T>, log: Option<bool> },
}

/// A range as a table.
#[derive(Serialize)]
struct Table<'a, T> {
    low: &'a T,
    high: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: &'a Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: &'a Option<bool>,
}

impl<T: Serialize> Serialize for Spread<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Spread::One(value) => value.serialize(serializer),
            Spread::Of(values) => values.serialize(serializer),
            Spread::Range { low, high, step, log } => Table { low, high, step, log }.serialize(serializer),
        }
    }
}

struct SpreadVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpreadVisitor<T> {
    type Value = Spread<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a list of numbers, or a range such as { low = 1, high = 4 }")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Spread<T>, E> {
        T::deserialize(I64Deserializer::new(value)).map(Spread::One)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Spread<T>, E> {
        T::deserialize(F64Deserializer::new(value)).map(Spread::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Spread<T>, A::Error> {
        let mut values = vec![];
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Spread::Of(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spread<T>, A::Error> {
        let (mut low, mut high, mut step, mut log) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "low" => low = Some(map.next_value()?),
                "high" => high = Some(map.next_value()?),
                "step" => step = Some(map.next_value()?),
                "log" => log = Some(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&key, &["low", "high", "step", "log"])),
            }
        }
        let low = low.ok_or_else(|| A::Error::missing_field("low"))?;
        let high = high.ok_or_else(|| A::Error::missing_field("high"))?;
        Ok(Spread::Range { low, high, step, log })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spread<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spread<T>, D::Error> {
        deserializer.deserialize_any(SpreadVisitor(PhantomData))
    }
}

/// Reads TOML. The error is one line with the line's number and key, and the nearest name for one that is not known.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, SearchError> {
    toml::from_str(text).map_err(|e| {
        let place = e.span().map(|span| {
            let start = span.start.min(text.len());
            let number = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or_default();
            let key = line
                .split_once('=')
                .map(|(key, _)| key.trim())
                .filter(|k| !k.is_empty() && !k.starts_with('#'));
            key.map_or(format!("line {number}"), |key| format!("line {number}, {key}"))
        });
        let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
        // serde's words: unknown field `x`, expected one of `a`, `b`.
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let message = match (message.split_once(" `"), names.split_first()) {
            (Some(("unknown field", _)), Some((given, known))) => {
                unknown("field", given, known.iter().copied())
            }
            (Some(("unknown variant", _)), Some((given, known))) => {
                unknown("name", given, known.iter().copied())
            }
            _ => message,
        };
        SearchError::Space(place.map_or(message.clone(), |place| format!("{place}: {message}")))
    })
}

/// The document of a generic space.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    parameter: Vec<Entry>,
}

/// One parameter.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    int: Option<Spread<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float: Option<Spread<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<When>,
}

/// A condition.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    parameter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of: Option<Vec<String>>,
}

impl Entry {
    fn parameter(self) -> Result<Parameter, SearchError> {
        let bad = |text: &str| Err(SearchError::Space(format!("parameter '{}': {text}", self.name)));
        let domain = match (self.int, self.float, self.choice) {
            (Some(Spread::One(value)), None, None) => Domain::int(value, value),
            (Some(Spread::Of(values)), None, None) => Domain::levels(values),
            (Some(Spread::Range { low, high, step, log }), None, None) => {
                Domain::Int { low, high, step: step.unwrap_or(1), log: log.unwrap_or(false) }
            }
            (None, Some(Spread::One(value)), None) => Domain::float(value, value),
            (None, Some(Spread::Range { low, high, step: None, log }), None) => {
                Domain::Float { low, high, log: log.unwrap_or(false) }
            }
            (None, Some(_), None) => {
                return bad("float takes a range without steps; name single numbers in a choice");
            }
            (None, None, Some(options)) => Domain::choice(options),
            _ => return bad("give one of int, float and choice"),
        };
        let when = match self.when {
            None => None,
            Some(When { parameter, at_least: Some(least), one_of: None }) => {
                Some(Condition { parameter, test: Test::AtLeast(least) })
            }
            Some(When { parameter, at_least: None, one_of: Some(names) }) => {
                Some(Condition { parameter, test: Test::OneOf(names) })
            }
            Some(_) => return bad("when takes one of at_least and one_of"),
        };
        Ok(Parameter { name: self.name, domain, when })
    }

    fn of(parameter: &Parameter) -> Entry {
        let (mut int, mut float, mut choice) = (None, None, None);
        match &parameter.domain {
            Domain::Int { low, high, step, log } => {
                let (step, log) = ((*step != 1).then_some(*step), log.then_some(true));
                int = Some(Spread::Range { low: *low, high: *high, step, log });
            }
            Domain::Levels { values } => int = Some(Spread::Of(values.clone())),
            Domain::Float { low, high, log } => {
                float = Some(Spread::Range { low: *low, high: *high, step: None, log: log.then_some(true) });
            }
            Domain::Choice { options } => choice = Some(options.clone()),
        }
        let when = parameter.when.as_ref().map(|when| {
            let (at_least, one_of) = match &when.test {
                Test::AtLeast(least) => (Some(*least), None),
                Test::OneOf(names) => (None, Some(names.clone())),
            };
            When { parameter: when.parameter.clone(), at_least, one_of }
        });
        Entry { name: parameter.name.clone(), int, float, choice, when }
    }
}

impl Space {
    /// Reads a space from TOML, a list of parameters each with its domain (`int`, `float` or `choice`) and perhaps a
    /// condition (`when`). Errors are one line and name the line of the file or the parameter.
    ///
    /// ```toml
    /// [[parameter]]
    /// name = "optimizer"
    /// choice = ["sgd", "adam"]
    ///
    /// [[parameter]]
    /// name = "momentum"
    /// float = { low = 0.5, high = 0.99 }
    /// when = { parameter = "optimizer", one_of = ["sgd"] }
    /// ```
    pub fn from_toml(text: &str) -> Result<Space, SearchError> {
        let document: Document = read(text)?;
        Space::new(document.parameter.into_iter().map(Entry::parameter).collect::<Result<_, _>>()?)
    }

    /// The parameters as TOML, for [`from_toml`](Space::from_toml).
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for parameter in self.parameters() {
            text += if text.is_empty() { "[[parameter]]\n" } else { "\n[[parameter]]\n" };
            text += &lines(&Entry::of(parameter), &["name", "int", "float", "choice", "when"]);
        }
        text
    }
}

/// One line for each of `keys` that `value` has.
pub(crate) fn lines(value: &impl Serialize, keys: &[&str]) -> String {
    let Ok(toml::Value::Table(table)) = toml::Value::try_from(value) else { return String::new() };
    keys.iter().filter_map(|key| Some(format!("{key} = {}\n", table.get(*key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::space::domain::tests::domains;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spaces_round_trip(domains in proptest::collection::vec(domains(), 1..6), conditions in any::<[bool; 6]>()) {
            let mut parameters: Vec<Parameter> = vec![];
            for (i, (domain, conditional)) in domains.into_iter().zip(conditions).enumerate() {
                let parameter = Parameter::new(format!("p.{i}"), domain);
                parameters.push(match parameters.last() {
                    Some(parent) if conditional => match &parent.domain {
                        Domain::Int { low, .. } => parameter.when_at_least(&parent.name, *low),
                        Domain::Choice { options } => parameter.when_one_of(&parent.name, options.clone()),
                        other => parameter.when_one_of(&parent.name, [other.show(other.nth(0))]),
                    },
                    _ => parameter,
                });
            }
            let space = Space::new(parameters).expect("a space");
            let text = space.to_toml();
            let back = Space::from_toml(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(back.parameters(), space.parameters(), "{}", text);
            prop_assert_eq!(back.hash(), space.hash());
        }
    }

    #[test]
    fn wrong_files_name_the_line() {
        let one = |body: &str| format!("[[parameter]]\nname = \"a\"\n{body}\n");
        for (text, parts) in [
            (String::new(), vec!["missing field", "parameter"]),
            ("parameter = []".into(), vec!["empty"]),
            (one("floot = 3"), vec!["line 3", "did you mean 'float'?"]),
            (one("int = \"many\""), vec!["line 3, int", "a number, a list"]),
            (one("int = { low = 1 }"), vec!["line 3, int", "high"]),
            (one("int = { low = 1, hihg = 2 }"), vec!["line 3", "did you mean 'high'?"]),
            (one("int = { low = 3, high = 1 }"), vec!["'a'", "holds nothing"]),
            (one("int = 1.5"), vec!["line 3, int", "1.5"]),
            (one("float = [0.1, 0.2]"), vec!["'a'", "choice"]),
            (one("float = 1\nint = 1"), vec!["'a'", "one of int, float and choice"]),
            (one(""), vec!["'a'", "one of int, float and choice"]),
            (one("int = 1\nwhen = { parameter = \"b\" }"), vec!["'a'", "at_least"]),
            (one("int = 1\nwhen = { parameter = \"b\", at_least = 1 }"), vec!["depends on 'b'"]),
            (one("int = = 1"), vec!["line 3"]),
            ("[[parameter]\n".into(), vec!["line 1"]),
        ] {
            let error = Space::from_toml(&text).expect_err(&text).to_string();
            assert!(!error.contains('\n') && parts.iter().all(|p| error.contains(p)), "{text}: {error}");
        }
    }
}
