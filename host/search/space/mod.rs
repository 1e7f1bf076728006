//! Search spaces: parameters, conditions, points.
//!
//! A [`Space`] is a list of [`Parameter`]s. A parameter with a condition exists only in the points where an earlier
//! parameter's value meets it. A [`Point`] has a value for each parameter that exists, in the order of the list.
//! [`Space::allow`] adds a test on whole points (a limit on the parameters of a network, say); what fails it is never
//! proposed.
//!
//! ```
//! use ironwarp::search::{rng::Rng, space::{Domain, Parameter, Space}};
//! let space = Space::new(vec![
//!     Parameter::new("depth", Domain::int(1, 3)),
//!     Parameter::new("width.0", Domain::levels([16, 32, 64])),
//!     Parameter::new("width.1", Domain::levels([16, 32, 64])).when_at_least("depth", 2),
//!     Parameter::new("lr", Domain::log_float(1e-4, 1e-1)),
//! ])?;
//! let point = space.draw(&mut Rng::new(7, 0, 0))?;
//! println!("{}", space.show(&point)); // depth=1 width.0=64 lr=0.0023
//! assert_eq!(space.read(&space.show(&point))?, point);
//! # Ok::<(), ironwarp::search::SearchError>(())
//! ```

mod domain;
mod file;
pub mod network;

use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use domain::{Domain, Value};

use super::SearchError;
use super::rng::Rng;

/// When a parameter exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// An earlier parameter.
    pub parameter: String,
    /// What its value must be.
    pub test: Test,
}

/// What a condition asks of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// An integer of at least this.
    AtLeast(i64),
    /// One of these, written as [`Domain::show`] writes them.
    OneOf(Vec<String>),
}

/// One dimension of a space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Unique in the space; no white space, no `=`.
    pub name: String,
    /// Its values.
    pub domain: Domain,
    /// When it exists; `None`: always.
    pub when: Option<Condition>,
}

impl Parameter {
    /// A parameter that always exists.
    pub fn new(name: impl Into<String>, domain: Domain) -> Parameter {
        Parameter { name: name.into(), domain, when: None }
    }

    /// The same, existing only where the integer `parameter` is at least `least`.
    pub fn when_at_least(self, parameter: impl Into<String>, least: i64) -> Parameter {
        Parameter {
            when: Some(Condition { parameter: parameter.into(), test: Test::AtLeast(least) }),
            ..self
        }
    }

    /// The same, existing only where `parameter` is one of `values`.
    pub fn when_one_of<S: Into<String>>(
        self,
        parameter: impl Into<String>,
        values: impl IntoIterator<Item = S>,
    ) -> Parameter {
        let test = Test::OneOf(values.into_iter().map(Into::into).collect());
        Parameter { when: Some(Condition { parameter: parameter.into(), test }), ..self }
    }
}

/// A value for every parameter of a space that exists here; `None` for the others. In the order of
/// [`Space::parameters`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point(pub Vec<Option<Value>>);

/// Why a point is not allowed, in words that complete "not allowed: ...".
pub type Verdict = Result<(), String>;

type Allow = Arc<dyn Fn(&Space, &Point) -> Verdict + Send + Sync>;

/// Parameters with their conditions, and what else is asked of a point.
#[derive(Clone)]
pub struct Space {
    parameters: Vec<Parameter>,
    /// Index of the parameter that each condition looks at.
    parents: Vec<Option<usize>>,
    allow: Vec<Allow>,
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

/// Draws before a space is said to hold no allowed point.
const MOST_DRAWS: usize = 20_000;

impl Space {
    /// A space of these parameters. Errors name the parameter: a name that is taken or unfit, an empty domain, a condition on
    /// what does not come before.
    pub fn new(parameters: Vec<Parameter>) -> Result<Space, SearchError> {
        let bad = |text: String| Err(SearchError::Space(text));
        if parameters.is_empty() {
            return bad("the search space is empty: give it at least one parameter".into());
        }
        let mut parents = vec![];
        for (i, p) in parameters.iter().enumerate() {
            let name = &p.name;
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '=') {
                return bad(format!("parameter name '{name}': use letters, digits, '.', '-' and '_'"));
            }
            if parameters[..i].iter().any(|q| q.name == *name) {
                return bad(format!("parameter '{name}' is there twice: rename one"));
            }
            p.domain.check().map_err(|e| SearchError::Space(format!("parameter '{name}': {e}")))?;
            let parent = match &p.when {
                None => None,
                Some(when) => {
                    let Some(at) = parameters[..i].iter().position(|q| q.name == when.parameter) else {
                        let other = &when.parameter;
                        return bad(format!(
                            "parameter '{name}' depends on '{other}', which no earlier parameter is called"
                        ));
                    };
                    parameters[at].domain.check_test(&when.test).map_err(|e| {
                        SearchError::Space(format!("parameter '{name}' depends on '{}': {e}", when.parameter))
                    })?;
                    Some(at)
                }
            };
            parents.push(parent);
        }
        Ok(Space { parameters, parents, allow: vec![] })
    }

    /// The same space without the points that `allow` refuses.
    pub fn allow(mut self, allow: impl Fn(&Space, &Point) -> Verdict + Send + Sync + 'static) -> Space {
        self.allow.push(Arc::new(allow));
        self
    }

    /// The parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The index of a parameter.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.parameters.iter().position(|p| p.name == name)
    }

    /// The value of a parameter, if it exists in `point`.
    pub fn get(&self, point: &Point, name: &str) -> Option<Value> {
        point.0.get(self.index(name)?).copied().flatten()
    }

    /// Whether parameter `i` exists, given the values of those before it.
    pub fn exists(&self, i: usize, earlier: &[Option<Value>]) -> bool {
        match (&self.parameters[i].when, self.parents[i]) {
            (Some(when), Some(parent)) => match earlier[parent] {
                Some(value) => self.parameters[parent].domain.meets(value, &when.test),
                None => false,
            },
            _ => true,
        }
    }

    /// A point whose parameters `pick` chooses, one after the other: it is asked only for those that exist, with the values
    /// before. The point may be one that is not allowed.
    pub fn build(&self, mut pick: impl FnMut(usize, &[Option<Value>]) -> Value) -> Point {
        let mut values = Vec::with_capacity(self.parameters.len());
        for i in 0..self.parameters.len() {
            let value = self.exists(i, &values).then(|| pick(i, &values));
            values.push(value);
        }
        Point(values)
    }

    /// `point` with the values that its other values leave without meaning removed, and those that lack drawn.
    pub fn mend(&self, point: &Point, rng: &mut Rng) -> Point {
        self.build(|i, _| match point.0.get(i).copied().flatten() {
            Some(value) if self.parameters[i].domain.contains(value) => value,
            _ => self.parameters[i].domain.draw(rng),
        })
    }

    /// Whether the point may be tried: a value of its domain for each parameter that exists, none for others, and nothing
    /// refuses it.
    pub fn check(&self, point: &Point) -> Verdict {
        if point.0.len() != self.parameters.len() {
            return Err(format!("{} values for {} parameters", point.0.len(), self.parameters.len()));
        }
        for (i, (p, value)) in self.parameters.iter().zip(&point.0).enumerate() {
            match (self.exists(i, &point.0), value) {
                (true, Some(v)) if p.domain.contains(*v) => {}
                (true, Some(_)) => return Err(format!("'{}' is outside its range", p.name)),
                (true, None) => return Err(format!("'{}' has no value", p.name)),
                (false, Some(_)) => return Err(format!("'{}' has a value but does not exist here", p.name)),
                (false, None) => {}
            }
        }
        self.allow.iter().try_for_each(|allow| allow(self, point))
    }

    /// A point drawn from the prior: each parameter uniform over its domain (or its logarithm), points that are not allowed
    /// drawn again. Error: none of many draws is allowed.
    pub fn draw(&self, rng: &mut Rng) -> Result<Point, SearchError> {
        self.first_allowed(|space| space.build(|i, _| space.parameters[i].domain.draw(rng)))
    }

    /// The first allowed one of many points that `propose` makes. Error: none is.
    pub fn first_allowed(&self, mut propose: impl FnMut(&Space) -> Point) -> Result<Point, SearchError> {
        let mut why = String::new();
        for _ in 0..MOST_DRAWS {
            let point = propose(self);
            match self.check(&point) {
                Ok(()) => return Ok(point),
                Err(reason) => why = reason,
            }
        }
        Err(SearchError::Space(format!(
            "no point of the space is allowed ({MOST_DRAWS} were tried; the last one's reason: {why}): loosen the constraints \
             or widen the space"
        )))
    }

    /// How many points there are, when no parameter is continuous; `None` also when they are more than 2^64.
    /// Points that are not allowed count.
    pub fn count(&self) -> Option<u64> {
        // Counts the ways to fill parameters i.. given the earlier ones; conditions look at any of those, so the
        // recursion walks only over parameters that others depend on.
        fn ways(space: &Space, i: usize, earlier: &mut Vec<Option<Value>>) -> Option<u64> {
            let Some(p) = space.parameters.get(i) else { return Some(1) };
            if !space.exists(i, earlier) {
                earlier.push(None);
                let n = ways(space, i + 1, earlier);
                earlier.pop();
                return n;
            }
            let count = p.domain.count()?;
            let is_parent = space.parents.contains(&Some(i));
            let mut total = 0u64;
            for v in 0..if is_parent { count } else { 1 } {
                earlier.push(Some(p.domain.nth(v)));
                let n = ways(space, i + 1, earlier);
                earlier.pop();
                total = total.checked_add(n?)?;
            }
            if is_parent { Some(total) } else { total.checked_mul(count) }
        }
        ways(self, 0, &mut vec![])
    }

    /// The point as text: `name=value` for each parameter that exists, with a space between.
    pub fn show(&self, point: &Point) -> String {
        let mut text = String::new();
        for (p, value) in self.parameters.iter().zip(&point.0) {
            if let Some(value) = value {
                let space = if text.is_empty() { "" } else { " " };
                let _ = write!(text, "{space}{}={}", p.name, p.domain.show(*value));
            }
        }
        text
    }

    /// Reads what [`show`](Space::show) writes. Errors name the parameter and what it takes; the point may be one that is
    /// not allowed.
    pub fn read(&self, text: &str) -> Result<Point, SearchError> {
        let bad = |text: String| Err(SearchError::Space(text));
        let mut values = vec![None; self.parameters.len()];
        for word in text.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                return bad(format!("'{word}' in a point: write NAME=VALUE"));
            };
            let Some(i) = self.index(name) else {
                return bad(format!("the space has no parameter '{name}'"));
            };
            let domain = &self.parameters[i].domain;
            let Some(value) = domain.read(value) else {
                return bad(format!("'{name}={value}' in a point: {name} is {domain}"));
            };
            values[i] = Some(value);
        }
        let point = Point(values);
        for i in 0..self.parameters.len() {
            let name = &self.parameters[i].name;
            match (self.exists(i, &point.0), point.0[i]) {
                (true, None) => return bad(format!("a point lacks '{name}': give {name}=VALUE")),
                (false, Some(_)) => return bad(format!("a point has '{name}', which does not exist here")),
                _ => {}
            }
        }
        Ok(point)
    }

    /// A hash (FNV-1a, 64 bits) of the parameters: whether a study belongs to this space. What [`allow`](Space::allow)
    /// tests is not part of it.
    pub fn hash(&self) -> u64 {
        let mut text = String::new();
        for p in &self.parameters {
            let _ = writeln!(text, "{} {} {:?}", p.name, p.domain, p.when);
        }
        crate::hash::fnv1a(text.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditional() -> Space {
        Space::new(vec![
            Parameter::new("depth", Domain::int(1, 3)),
            Parameter::new("width.0", Domain::levels([16, 32, 64])),
            Parameter::new("width.1", Domain::levels([16, 32, 64])).when_at_least("depth", 2),
            Parameter::new("width.2", Domain::levels([16, 32, 64])).when_at_least("depth", 3),
            Parameter::new("optimizer", Domain::choice(["sgd", "adam"])),
            Parameter::new("momentum", Domain::levels([0, 1])).when_one_of("optimizer", ["sgd"]),
        ])
        .expect("a space")
    }

    #[test]
    fn counting_walks_the_conditions() {
        assert_eq!(conditional().count(), Some((3 + 9 + 27) * 3));
        let continuous =
            Space::new(vec![Parameter::new("lr", Domain::log_float(1e-4, 1.0))]).expect("a space");
        assert_eq!(continuous.count(), None);
    }

    #[test]
    fn drawn_points_are_allowed_and_round_trip() {
        let space = conditional().allow(|space, point| {
            let wide = space.get(point, "width.0") == Some(Value::Int(64));
            if wide { Err("width.0 is 64".into()) } else { Ok(()) }
        });
        for i in 0..200 {
            let point = space.draw(&mut Rng::new(1, 0, i)).expect("a point");
            assert_eq!(space.check(&point), Ok(()));
            assert_eq!(space.read(&space.show(&point)).expect("readable"), point);
            let json = serde_json::to_string(&point).expect("JSON");
            assert_eq!(serde_json::from_str::<Point>(&json).expect("a point"), point);
        }
    }

    #[test]
    fn an_impossible_space_says_so() {
        let space = conditional().allow(|_, _| Err("too large".into()));
        let error = space.draw(&mut Rng::new(1, 0, 0)).expect_err("nothing is allowed").to_string();
        assert!(error.contains("too large") && error.contains("loosen"), "{error}");
    }

    #[test]
    fn mending_follows_the_conditions() {
        let space = conditional();
        let deep = space.read("depth=3 width.0=16 width.1=32 width.2=64 optimizer=adam").expect("a point");
        let mut other = deep.clone();
        other.0[0] = Some(Value::Int(1));
        other.0[4] = Some(Value::Choice(0));
        let mended = space.mend(&other, &mut Rng::new(1, 0, 0));
        assert_eq!(space.check(&mended), Ok(()));
        assert_eq!(mended.0[2], None);
        assert!(mended.0[5].is_some());
    }

    #[test]
    fn wrong_spaces_are_refused_by_name() {
        let refused = |parameters: Vec<Parameter>| Space::new(parameters).expect_err("wrong").to_string();
        assert!(refused(vec![]).contains("empty"));
        let twice = vec![Parameter::new("a", Domain::int(1, 2)), Parameter::new("a", Domain::int(1, 2))];
        assert!(refused(twice).contains("'a' is there twice"));
        assert!(refused(vec![Parameter::new("a", Domain::int(2, 1))]).contains("'a'"));
        let orphan = vec![Parameter::new("a", Domain::int(1, 2)).when_at_least("b", 1)];
        assert!(refused(orphan).contains("depends on 'b'"));
        let unknown = vec![
            Parameter::new("a", Domain::choice(["x", "y"])),
            Parameter::new("b", Domain::int(1, 2)).when_one_of("a", ["z"]),
        ];
        assert!(refused(unknown).contains('z'));
    }
}
