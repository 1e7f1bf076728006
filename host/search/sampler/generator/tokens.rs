//! Points as sequences of tokens: one token a parameter, in the order of the space.
//!
//! ```text
//! token 0        start of a sequence: what the decoder reads first, never part of one
//! token 1        the parameter does not exist here
//! token 2 ..     the values, a range of tokens for each different domain
//! ```
//!
//! Parameters with equal domains (the width of every layer, the operation on every edge) share their tokens, as they do in
//! NAO; where a parameter stands is told to the network apart ([`Vocabulary::write_input`]). A domain with few values has a
//! token for each; the others are cut into levels of equal prior probability.
//!
//! *Validity.* Which tokens may stand at a position depends on what was decoded before: a conditional parameter takes the
//! "does not exist" token exactly where its condition fails. A [`Decoding`] grows a point token by token and says at each
//! position which tokens are legal, so whatever a decoder prefers, the point that comes out has a value for each parameter
//! that exists and none for the others. What [`Space::allow`] refuses is not a matter of structure and is checked apart.

use crate::search::rng::Rng;
use crate::search::space::{Domain, Point, Space, Value};

/// A token; see the module's docs.
pub type Token = u16;

/// Starts every sequence that a decoder reads.
pub const START: Token = 0;
/// Stands where a parameter does not exist.
pub const ABSENT: Token = 1;

/// Number of the first token that stands for a value.
const FIRST: usize = 2;

/// What a token that is not legal gets added to its logit: its probability is 0 in `f32` and `f64` alike.
const NEVER: f32 = -1e4;

/// The tokens of one parameter.
#[derive(Clone, Debug)]
struct Slot {
    /// Its first token.
    first: usize,
    /// A value for each of its tokens; `None` where no value has that level (a level of integers may hold none).
    values: Vec<Option<Value>>,
    /// Whether a token is a value, not a level.
    exact: bool,
}

/// The tokens of a space.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    space: Space,
    slots: Vec<Slot>,
    size: usize,
}

impl Vocabulary {
    /// The tokens of `space`: domains of more than `2 levels` values are cut into `levels` (at least 2) levels.
    pub fn new(space: &Space, levels: usize) -> Vocabulary {
        let levels = levels.clamp(2, 1 << 10);
        let mut size = FIRST;
        let mut classes: Vec<(&Domain, Slot)> = vec![];
        let mut slots = vec![];
        for p in space.parameters() {
            let slot = match classes.iter().find(|(domain, _)| **domain == p.domain) {
                Some((_, slot)) => slot.clone(),
                None => {
                    let slot = Slot::new(&p.domain, size, levels);
                    size += slot.values.len();
                    classes.push((&p.domain, slot.clone()));
                    slot
                }
            };
            slots.push(slot);
        }
        Vocabulary { space: space.clone(), slots, size }
    }

    /// Tokens of a sequence: parameters of the space.
    pub fn length(&self) -> usize {
        self.slots.len()
    }

    /// Number of different tokens.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Elements of an input row: one for each token and one for each position.
    pub fn width(&self) -> usize {
        self.size + self.slots.len()
    }

    /// Whether different points always have different sequences.
    #[cfg(test)]
    pub fn is_exact(&self) -> bool {
        self.slots.iter().all(|slot| slot.exact)
    }

    /// The sequence of a point. A value outside its domain counts as the domain's first.
    pub fn encode(&self, point: &Point) -> Vec<Token> {
        let tokens = self.slots.iter().enumerate().map(|(i, slot)| {
            let value = point.0.get(i).copied().flatten();
            value.map_or(ABSENT, |v| slot.token(&self.space.parameters()[i].domain, v))
        });
        tokens.collect()
    }

    /// Writes what the network reads of `token` at `position` to `row` (of [`width`](Self::width) zeros): a one for the
    /// token and one for the position.
    pub fn write_input(&self, row: &mut [f32], position: usize, token: Token) {
        row[token as usize] = 1.0;
        row[self.size + position] = 1.0;
    }

    /// Writes 0 for each token that may stand at `position`, in a sequence whose parameter there does (not) exist, and a
    /// large negative number for the others, to `row` (of [`size`](Self::size)).
    pub fn write_mask(&self, row: &mut [f32], position: usize, exists: bool) {
        row.fill(NEVER);
        if !exists {
            row[ABSENT as usize] = 0.0;
            return;
        }
        let slot = &self.slots[position];
        for (x, value) in row[slot.first..].iter_mut().zip(&slot.values) {
            if value.is_some() {
                *x = 0.0;
            }
        }
    }

    /// Starts decoding a sequence; see [`Decoding`].
    pub fn decoding<'a>(&'a self, parent: Option<&'a Point>) -> Decoding<'a> {
        let tokens = parent.map(|p| self.encode(p)).unwrap_or_default();
        Decoding { vocabulary: self, parent, parent_tokens: tokens, values: vec![], tokens: vec![] }
    }
}

impl Slot {
    fn new(domain: &Domain, first: usize, levels: usize) -> Slot {
        if let Some(n) = domain.count().filter(|&n| n <= 2 * levels as u64) {
            return Slot { first, values: (0..n).map(|i| Some(domain.nth(i))).collect(), exact: true };
        }
        let mut slot = Slot { first, values: vec![None; levels], exact: false };
        for level in 0..levels {
            slot.values[level] = slot.representative(domain, level);
        }
        slot
    }

    /// A value of the level: the middle one, or where rounding takes that elsewhere, the least.
    fn representative(&self, domain: &Domain, level: usize) -> Option<Value> {
        let middle = domain.at((level as f64 + 0.5) / self.values.len() as f64);
        if self.level(domain, middle) == level {
            return Some(middle);
        }
        // The first value that is not below the level; positions grow with the values.
        let (mut low, mut high) = (0, domain.count()?);
        while low < high {
            let at = low + (high - low) / 2;
            if self.level(domain, domain.nth(at)) < level { low = at + 1 } else { high = at }
        }
        let value = domain.nth(low);
        (self.level(domain, value) == level).then_some(value)
    }

    fn level(&self, domain: &Domain, value: Value) -> usize {
        let n = self.values.len();
        ((domain.unit(value) * n as f64) as usize).min(n - 1)
    }

    fn token(&self, domain: &Domain, value: Value) -> Token {
        let index =
            if self.exact { domain.position(value).unwrap_or(0) as usize } else { self.level(domain, value) };
        (self.first + index) as Token
    }

    /// A value that the token stands for: of a level, one drawn from it.
    fn value(&self, domain: &Domain, token: Token, rng: &mut Rng) -> Option<Value> {
        let index = (token as usize).checked_sub(self.first)?;
        let middle = (*self.values.get(index)?)?;
        if self.exact {
            return Some(middle);
        }
        let drawn = domain.at((index as f64 + rng.uniform()) / self.values.len() as f64);
        Some(if self.level(domain, drawn) == index { drawn } else { middle })
    }
}

/// A point that grows token by token.
///
/// Where the token is the one that the parent has there, the value is the parent's, exactly; otherwise one drawn from the
/// token's level.
#[derive(Clone, Debug)]
pub struct Decoding<'a> {
    vocabulary: &'a Vocabulary,
    parent: Option<&'a Point>,
    parent_tokens: Vec<Token>,
    values: Vec<Option<Value>>,
    tokens: Vec<Token>,
}

impl Decoding<'_> {
    /// Whether the parameter at the next position exists.
    pub fn exists(&self) -> bool {
        self.vocabulary.space.exists(self.values.len(), &self.values)
    }

    /// The token decoded last, or the start.
    pub fn last(&self) -> Token {
        self.tokens.last().copied().unwrap_or(START)
    }

    /// Appends the legal token with the largest of the logits (one a token of the vocabulary; the lowest of equals, NaN the
    /// smallest). Every position has a legal token. Does nothing when the sequence is complete.
    pub fn push_best(&mut self, logits: &[f32], rng: &mut Rng) {
        let Some(slot) = self.vocabulary.slots.get(self.values.len()) else { return };
        if !self.exists() {
            self.tokens.push(ABSENT);
            self.values.push(None);
            return;
        }
        let legal = slot.values.iter().enumerate().filter(|(_, v)| v.is_some()).map(|(i, _)| slot.first + i);
        let logit = |t: usize| logits.get(t).copied().filter(|x| !x.is_nan()).unwrap_or(f32::NEG_INFINITY);
        let best = legal.reduce(|a, b| if logit(b) > logit(a) { b } else { a }).unwrap_or(slot.first);
        self.push(best as Token, rng);
    }

    /// Appends a legal token of an existing parameter.
    fn push(&mut self, token: Token, rng: &mut Rng) {
        let i = self.values.len();
        let domain = &self.vocabulary.space.parameters()[i].domain;
        let same = self.parent_tokens.get(i) == Some(&token);
        let kept = self.parent.filter(|_| same).and_then(|p| p.0[i]);
        let value = kept.or_else(|| self.vocabulary.slots[i].value(domain, token, rng));
        self.values.push(value.or_else(|| Some(domain.nth(0))));
        self.tokens.push(token);
    }

    /// The point and its tokens, once the sequence is complete.
    pub fn finish(self) -> (Point, Vec<Token>) {
        (Point(self.values), self.tokens)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::search::rng::Rng;
    use crate::search::space::Parameter;
    use proptest::prelude::*;

    /// Spaces with conditions on integers and choices, shared domains, and domains that are cut into levels.
    pub fn any_space() -> impl Strategy<Value = Space> {
        let domain = prop_oneof![
            (-5i64..5, 0i64..9).prop_map(|(low, n)| Domain::int(low, low + n)),
            (1i64..9, 1i64..5000, 1i64..40).prop_map(|(low, n, step)| Domain::Int {
                low,
                high: low + n,
                step,
                log: true
            }),
            (-2.0..2.0f64, 0.0..3.0f64).prop_map(|(low, d)| Domain::float(low, low + d)),
            (1e-5..1e-2f64, 1.0..1e4f64).prop_map(|(low, f)| Domain::log_float(low, low * f)),
            Just(Domain::levels([16, 32, 64, 128])),
            Just(Domain::choice(["relu", "tanh", "gelu"])),
        ];
        let parameter = (domain, any::<prop::sample::Index>(), 0usize..3, 0u64..1 << 40);
        prop::collection::vec(parameter, 1..12).prop_map(|drawn| {
            let mut parameters: Vec<Parameter> = vec![];
            for (i, (domain, parent, kind, at)) in drawn.into_iter().enumerate() {
                let mut p = Parameter::new(format!("p{i}"), domain);
                if let (true, Some(other)) = (kind > 0, parameters.get(parent.index(i.max(1)))) {
                    let value = other.domain.nth(at % other.domain.count().unwrap_or(1));
                    p = match value {
                        Value::Int(v) if kind == 1 => p.when_at_least(&other.name, v),
                        Value::Float(_) => p,
                        v => p.when_one_of(&other.name, [other.domain.show(v)]),
                    };
                }
                parameters.push(p);
            }
            Space::new(parameters).expect("a space")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// A point's own tokens, decoded with the point as parent, give the point back, bit for bit.
        #[test]
        fn tokens_round_trip(space in any_space(), levels in 2usize..12, seed: u64) {
            let vocabulary = Vocabulary::new(&space, levels);
            let mut rng = Rng::new(seed, 0, 0);
            for _ in 0..8 {
                let point = space.draw(&mut rng).expect("a point");
                let tokens = vocabulary.encode(&point);
                prop_assert!(tokens.iter().all(|&t| t != START && usize::from(t) < vocabulary.size()));
                for parent in [Some(&point), None] {
                    let mut decoding = vocabulary.decoding(parent);
                    for &token in &tokens {
                        let mut logits = vec![0.0; vocabulary.size()];
                        logits[usize::from(token)] = 1.0;
                        decoding.push_best(&logits, &mut rng);
                    }
                    let (decoded, again) = decoding.finish();
                    // A level may hold values on both sides of a condition's threshold, where only the parent's is sure to
                    // keep what follows.
                    if parent.is_some() || vocabulary.is_exact() {
                        prop_assert_eq!(&again, &tokens);
                        prop_assert_eq!(&decoded, &point);
                    }
                    prop_assert_eq!(space.check(&decoded), Ok(()));
                    prop_assert_eq!(vocabulary.encode(&decoded), again);
                }
            }
        }

        /// Whatever the logits, infinite and NaN too, what comes out is a point of the space.
        #[test]
        fn every_decoding_is_valid(space in any_space(), levels in 2usize..12, seed: u64) {
            let vocabulary = Vocabulary::new(&space, levels);
            let mut rng = Rng::new(seed, 0, 0);
            let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
            for _ in 0..8 {
                let mut decoding = vocabulary.decoding(None);
                for i in 0..vocabulary.length() {
                    let mut mask = vec![7.0; vocabulary.size()];
                    vocabulary.write_mask(&mut mask, i, decoding.exists());
                    prop_assert!(mask.contains(&0.0));
                    let mut draw = || match rng.below(6) {
                        k if k < 4 => special[k],
                        _ => rng.normal() as f32,
                    };
                    let logits: Vec<f32> = mask.iter().map(|_| draw()).collect();
                    decoding.push_best(&logits, &mut rng);
                    prop_assert_eq!(mask[usize::from(decoding.last())], 0.0);
                }
                let (point, tokens) = decoding.finish();
                prop_assert_eq!(space.check(&point), Ok(()));
                prop_assert_eq!(vocabulary.encode(&point), tokens);
            }
        }
    }

    #[test]
    fn equal_domains_share_tokens() {
        let edges =
            (0..6).map(|i| Parameter::new(format!("edge.{i}"), Domain::choice(["none", "skip", "conv"])));
        let space = Space::new(edges.collect()).expect("a space");
        let vocabulary = Vocabulary::new(&space, 8);
        assert_eq!((vocabulary.size(), vocabulary.length(), vocabulary.width()), (5, 6, 11));
        let point = space
            .read("edge.0=none edge.1=conv edge.2=skip edge.3=none edge.4=conv edge.5=conv")
            .expect("a point");
        assert_eq!(vocabulary.encode(&point), [2, 4, 3, 2, 4, 4]);
    }
}
