//! How property tests draw instances of an operation.
//!
//! A [`Draw`] turns a stream of numbers (made, recorded and shrunk by proptest) into choices, so that an operation's file
//! can say in a few lines which attributes and shapes it accepts, without knowing the test framework: smaller numbers
//! mean simpler instances.

use std::sync::Arc;

use super::{Op, TensorType};

/// A source of choices.
#[derive(Debug)]
pub struct Draw {
    choices: Vec<u32>,
    next: usize,
    /// The longest extent that [`dim`](Draw::dim) gives.
    pub max_dim: usize,
}

impl Draw {
    /// Choices read from `choices`, then zeros (the simplest choice) for ever.
    pub fn new(choices: Vec<u32>, max_dim: usize) -> Draw {
        Draw { choices, next: 0, max_dim }
    }

    fn raw(&mut self) -> u32 {
        let c = self.choices.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        c
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.raw() as usize) % n.max(1)
    }

    /// One of `options`; earlier ones are simpler.
    pub fn pick<T: Clone>(&mut self, options: &[T]) -> T {
        let i = self.below(options.len());
        options[i].clone()
    }

    /// A coin.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A number in [lo, hi].
    pub fn float(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * (self.raw() as f32 / u32::MAX as f32)
    }

    /// An extent from 1 to `max_dim`: 1, primes, powers of two and their neighbours more often than chance would.
    pub fn dim(&mut self) -> usize {
        const CORNERS: [usize; 24] =
            [1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 37, 63, 64, 65, 97, 127, 128, 129, 131];
        let d = if self.below(3) == 0 { 1 + self.below(self.max_dim) } else { self.pick(&CORNERS) };
        d.min(self.max_dim)
    }

    /// An extent of at most `max`.
    pub fn dim_to(&mut self, max: usize) -> usize {
        self.dim().min(max).max(1)
    }
}

/// What values an input takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Uniform in [lo, hi].
    Uniform(f32, f32),
    /// Uniform in [lo, hi], but at least `gap` away from every multiple of `period` shifted by `offset` (period 0: from
    /// `offset` alone): keeps finite differences off kinks.
    Away {
        /// Lower end.
        lo: f32,
        /// Upper end.
        hi: f32,
        /// The kink.
        kink: f32,
        /// The distance kept.
        gap: f32,
    },
    /// Mostly uniform in [-4, 4], with zeros, subnormals, huge values, infinities and NaN among them. Operations whose
    /// contract names special values draw this; the tests then compare NaN with NaN and infinity with infinity.
    Special,
    /// Integers below the bound (for `U32` inputs).
    Index(u32),
    /// All distinct integers `0..len` in random order, each plus 0 (for `U32` permutations).
    Permutation,
    /// Exactly this value everywhere (for counters and scalars that have a meaning).
    Exactly(f32),
    /// Random bits of finite numbers (for half-precision inputs).
    Bits,
}

/// One input of an instance.
#[derive(Clone, Debug)]
pub struct SampleInput {
    /// Type and shape.
    pub ty: TensorType,
    /// Values.
    pub domain: Domain,
    /// Whether the gradient check may perturb it.
    pub differentiable: bool,
}

impl SampleInput {
    /// A differentiable `f32` input in [lo, hi].
    pub fn uniform(shape: impl Into<Vec<usize>>, lo: f32, hi: f32) -> SampleInput {
        SampleInput { ty: TensorType::f32(shape), domain: Domain::Uniform(lo, hi), differentiable: true }
    }
    /// An `f32` input over `domain`; differentiable unless the domain is special or exact.
    pub fn f32(shape: impl Into<Vec<usize>>, domain: Domain) -> SampleInput {
        let differentiable = !matches!(domain, Domain::Special | Domain::Exactly(_));
        SampleInput { ty: TensorType::f32(shape), domain, differentiable }
    }
    /// A `u32` input of integers below `bound`.
    pub fn index(shape: impl Into<Vec<usize>>, bound: u32) -> SampleInput {
        SampleInput { ty: TensorType::u32(shape), domain: Domain::Index(bound), differentiable: false }
    }
    /// The same, never perturbed.
    pub fn constant(self) -> SampleInput {
        SampleInput { differentiable: false, ..self }
    }
}

/// How far a device's `f32` result may be from the oracle: `eps * constant * sqrt(k) * (|want| + scale)`, with eps =
/// 2^-23, `k` the length of the longest sum, and `scale` the magnitude of what is summed (0: purely relative).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The operation's constant.
    pub constant: f64,
    /// Length of the longest sum.
    pub k: usize,
    /// Magnitude of the terms.
    pub scale: f64,
}

impl Tolerance {
    /// Results are the same bits (copies, integers, selections).
    pub const EXACT: Tolerance = Tolerance { constant: 0.0, k: 1, scale: 0.0 };

    /// `constant` roundings, relative.
    pub fn ulps(constant: f64) -> Tolerance {
        Tolerance { constant, k: 1, scale: 0.0 }
    }
    /// With sums of `k` terms of magnitude `scale`.
    pub fn sum(constant: f64, k: usize, scale: f64) -> Tolerance {
        Tolerance { constant, k, scale }
    }
    /// With an absolute part of magnitude `scale`.
    pub fn absolute(self, scale: f64) -> Tolerance {
        Tolerance { scale, ..self }
    }
    /// The bound on |got - want|.
    pub fn bound(&self, want: f64) -> f64 {
        f64::from(f32::EPSILON) * self.constant * (self.k as f64).sqrt() * (want.abs() + self.scale)
    }
}

/// An instance of an operation, ready to be run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operation with its attributes.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<SampleInput>,
    /// How exact each device must be.
    pub tolerance: Tolerance,
    /// Of an operation on rounded operands, whose steps no finite difference measures: the same one without rounding, and how far
    /// the gradients of a cotangent in [-1, 1] may be from its own.
    pub unrounded: Option<(Arc<dyn Op>, f64)>,
}

impl Sample {
    /// An instance.
    pub fn new(op: impl Op, inputs: Vec<SampleInput>, tolerance: Tolerance) -> Sample {
        Sample { op: Arc::new(op), inputs, tolerance, unrounded: None }
    }

    /// With [`unrounded`](Sample::unrounded), where `bound` on what rounding does is not 0.
    pub fn unrounded(self, exact: impl Op, bound: f64) -> Sample {
        Sample { unrounded: (bound != 0.0).then(|| (Arc::new(exact) as Arc<dyn Op>, bound)), ..self }
    }
}
