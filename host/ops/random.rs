//! Random tensors and parameter initialisation.
//!
//! ```text
//! uniform: y[i] = lo + (hi - lo) u[i]        normal: y[i] = mean + std z[i]
//! ```
//!
//! with `u` and `z` from Philox 4x32-10 (`gpu_kernels::philox`): element `i` is a pure function of (seed, stream, i), the
//! same bits on every device. No inputs, no gradient. Cost: about 25 integer operations an element, 4 bytes written.
//! [`Init`] turns the initialisers of the literature into a [`Distribution`] from a layer's fan-in and fan-out.

use gpu_kernels::philox::{normal4, philox4x32_10, uniform};
use gpu_kernels::random::{RANDOM_BLOCK, RANDOM_PER_THREAD};
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use super::{Cost, CpuCtx, Draw, KernelCtx, Op, OpEntry, OpError, Sample, TensorType, Tolerance};
use crate::device::{DeviceError, Launch};
use crate::graph::{Graph, Value};
use crate::kernel;

/// Where random numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Uniform in [lo, hi); `hi` itself only by rounding. Equal ends give a constant.
    Uniform(f32, f32),
    /// Normal with this mean and standard deviation; at most 5.77 standard deviations away.
    Normal(f32, f32),
}

impl Distribution {
    /// Refuses ends that are not finite or in the wrong order, and negative deviations.
    fn check(self) -> Result<(), OpError> {
        match self {
            Distribution::Uniform(lo, hi) if !(lo <= hi && (hi - lo).is_finite()) => Err(OpError::attribute(
                "random",
                format!("uniform({lo}, {hi}): the ends must be finite and in order"),
            )),
            Distribution::Normal(mean, std) if !(mean.is_finite() && std >= 0.0 && std.is_finite()) => {
                Err(OpError::attribute(
                    "random",
                    format!(
                        "normal({mean}, {std}): the mean must be finite, the deviation finite and not negative"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Fills `out` on the host with the numbers that [`Graph::random`] gives for this seed and stream.
    pub fn fill(self, out: &mut [f32], seed: u64, stream: u32) {
        let key = [seed as u32, (seed >> 32) as u32];
        match self {
            Distribution::Uniform(lo, hi) => fill_uniform(out, key, stream, lo, hi - lo),
            Distribution::Normal(mean, std) => fill_normal(out, key, stream, mean, std),
        }
    }
}

/// Blocks made side by side, so that they vectorise.
const LANES: usize = 16;
/// Elements made together.
pub(super) const GROUP: usize = 4 * LANES;

/// Calls `each(j, numbers)` for every [`GROUP`] of the `n` elements from element `first` (a multiple of four) of a tensor
/// on: `numbers[i]` is what `map` makes of element `first + j + i`'s block. The last group may run past the end.
#[inline(always)]
pub(super) fn for_each_group(
    n: usize,
    first: usize,
    key: [u32; 2],
    stream: u32,
    step: [u32; 2],
    map: impl Fn([u32; 4]) -> [f32; 4],
    mut each: impl FnMut(usize, &[f32; GROUP]),
) {
    let mut j = 0;
    while j < n {
        let quad = ((first + j) / 4) as u32;
        // One plain loop from counter to number is what the compiler turns into vector instructions.
        let (mut a, mut b, mut c, mut d) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for l in 0..LANES {
            let block = philox4x32_10([quad.wrapping_add(l as u32), stream, step[0], step[1]], key);
            [a[l], b[l], c[l], d[l]] = map(block);
        }
        let mut numbers = [0.0; GROUP];
        for l in 0..LANES {
            numbers[4 * l] = a[l];
            numbers[4 * l + 1] = b[l];
            numbers[4 * l + 2] = c[l];
            numbers[4 * l + 3] = d[l];
        }
        each(j, &numbers);
        j += GROUP;
    }
}

/// `numbers` at `out[j..]`, cut at its end.
#[inline(always)]
fn put(out: &mut [f32], j: usize, numbers: &[f32; GROUP]) {
    let end = out.len().min(j + GROUP);
    out[j..end].copy_from_slice(&numbers[..end - j]);
}

/// [`Distribution::Uniform`] over `out`, compiled for each instruction set.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn fill_uniform(out: &mut [f32], key: [u32; 2], stream: u32, lo: f32, width: f32) {
    let map = |w: [u32; 4]| {
        let value = |w| uniform(w).mul_add(width, lo);
        [value(w[0]), value(w[1]), value(w[2]), value(w[3])]
    };
    for_each_group(out.len(), 0, key, stream, [0, 0], map, |j, numbers| put(out, j, numbers));
}

/// [`Distribution::Normal`] over `out`, compiled for each instruction set.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn fill_normal(out: &mut [f32], key: [u32; 2], stream: u32, mean: f32, std: f32) {
    let map = |w: [u32; 4]| {
        let z = normal4(w);
        let value = |z: f32| z.mul_add(std, mean);
        [value(z[0]), value(z[1]), value(z[2]), value(z[3])]
    };
    for_each_group(out.len(), 0, key, stream, [0, 0], map, |j, numbers| put(out, j, numbers));
}

/// The exact values (in f64) of the normal numbers of one block.
fn normal4_f64(block: [u32; 4]) -> [f64; 4] {
    let spacing = 1.0 / f64::from(1 << 24);
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * (f64::from((a >> 8) + 1) * spacing).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(b >> 8) * spacing;
        (radius * angle.cos(), radius * angle.sin())
    };
    let (a, b) = pair(block[0], block[1]);
    let (c, d) = pair(block[2], block[3]);
    [a, b, c, d]
}

/// `y = random numbers`; see the module's docs.
#[derive(Clone, Debug)]
struct Random {
    distribution: Distribution,
    seed: u64,
    stream: u32,
    shape: Vec<usize>,
}

impl Op for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn attributes(&self) -> String {
        format!("{:?} seed={} stream={} shape={:?}", self.distribution, self.seed, self.stream, self.shape)
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        self.distribution.check()?;
        if !inputs.is_empty() {
            return Err(OpError::shape("random", "takes no inputs", inputs));
        }
        let elements = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if self.shape.is_empty() || elements.is_none_or(|n| n == 0 || n > u32::MAX as usize) {
            let shape = &self.shape;
            return Err(OpError::attribute(
                "random",
                format!("shape {shape:?}: it needs 1 to 2^32 - 1 elements"),
            ));
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flop = match self.distribution {
            Distribution::Uniform(..) => 3,
            Distribution::Normal(..) => 20,
        };
        Cost::streaming(flop * outputs[0].len() as u64, inputs, outputs)
    }

    fn run_f32(&self, ctx: &CpuCtx<'_, f32>) {
        self.distribution.fill(ctx.output(0), self.seed, self.stream);
    }

    fn run_f64(&self, ctx: &CpuCtx<'_, f64>) {
        let out = ctx.output(0);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        for (quad, y) in out.chunks_mut(4).enumerate() {
            let block = philox4x32_10([quad as u32, self.stream, 0, 0], key);
            match self.distribution {
                // The single-precision rounding is part of what a uniform number is.
                Distribution::Uniform(lo, hi) => {
                    y.iter_mut()
                        .zip(block)
                        .for_each(|(y, w)| *y = f64::from(uniform(w).mul_add(hi - lo, lo)));
                }
                Distribution::Normal(mean, std) => {
                    let z = normal4_f64(block);
                    y.iter_mut().zip(z).for_each(|(y, z)| *y = f64::from(mean) + f64::from(std) * z);
                }
            }
        }
    }

    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = ctx.outputs[0].len as u32;
        let launch = Launch::blocks_of(n.div_ceil(RANDOM_PER_THREAD), RANDOM_BLOCK);
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        let out = ctx.output::<f32>(0);
        match self.distribution {
            Distribution::Uniform(lo, hi) => {
                let args = (n, out, low, high, self.stream, lo, hi - lo);
                ctx.launch(kernel!(random::random_uniform), launch, args)
            }
            Distribution::Normal(mean, std) => ctx.launch(
                kernel!(random::random_normal),
                launch,
                (n, out, low, high, self.stream, mean, std),
            ),
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Graph {
    /// A tensor of random numbers, the same in every run: see [`Distribution`]. Tensors of one program take different
    /// `stream`s. Errors: parameters out of range, an empty shape.
    pub fn random(
        &mut self,
        shape: &[usize],
        distribution: Distribution,
        seed: u64,
        stream: u32,
    ) -> Result<Value, OpError> {
        self.push1(Random { distribution, seed, stream, shape: shape.to_vec() }, &[])
    }

    /// A parameter's first value, by `init`: [`random`](Graph::random) with the distribution for these fans.
    pub fn init(
        &mut self,
        shape: &[usize],
        init: Init,
        fan_in: usize,
        fan_out: usize,
        seed: u64,
        stream: u32,
    ) -> Result<Value, OpError> {
        self.random(shape, init.distribution(fan_in, fan_out), seed, stream)
    }
}

/// How a parameter starts out. Fan-in and fan-out are the numbers of inputs and outputs of a unit (see [`fans`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All this number.
    Constant(f32),
    /// Uniform in [lo, hi).
    Uniform(f32, f32),
    /// Normal with this mean and standard deviation.
    Normal(f32, f32),
    /// Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out).
    XavierNormal,
    /// Uniform in +-sqrt(6 / fan_in), for ReLU (He et al. 2015, eq. 10).
    KaimingUniform,
    /// Normal with variance 2 / fan_in, for ReLU.
    KaimingNormal,
    /// Uniform in +-sqrt(3 / fan_in) (LeCun et al. 1998, section 4.6): for SELU.
    LecunUniform,
    /// Normal with variance 1 / fan_in.
    LecunNormal,
    /// Uniform in +-1 / sqrt(fan_in): what PyTorch's `nn.Linear` gives weights and biases (Kaiming uniform with slope
    /// sqrt 5).
    Torch,
}

impl Init {
    /// The distribution for a parameter of a layer with these fans (counted as at least 1).
    pub fn distribution(self, fan_in: usize, fan_out: usize) -> Distribution {
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out.max(1) as f64);
        let uniform = |bound: f64| Distribution::Uniform(-bound as f32, bound as f32);
        let normal = |std: f64| Distribution::Normal(0.0, std as f32);
        match self {
            Init::Zeros => Distribution::Uniform(0.0, 0.0),
            Init::Constant(value) => Distribution::Uniform(value, value),
            Init::Uniform(lo, hi) => Distribution::Uniform(lo, hi),
            Init::Normal(mean, std) => Distribution::Normal(mean, std),
            Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::XavierNormal => normal((2.0 / (fan_in + fan_out)).sqrt()),
            Init::KaimingUniform => uniform((6.0 / fan_in).sqrt()),
            Init::KaimingNormal => normal((2.0 / fan_in).sqrt()),
            Init::LecunUniform => uniform((3.0 / fan_in).sqrt()),
            Init::LecunNormal => normal((1.0 / fan_in).sqrt()),
            Init::Torch => uniform((1.0 / fan_in).sqrt()),
        }
    }
}

/// (fan-in, fan-out) of a weight `[out, in, receptive field...]`; `None` with fewer than two axes.
pub fn fans(shape: &[usize]) -> Option<(usize, usize)> {
    let [out, inputs, field @ ..] = shape else { return None };
    let field: usize = field.iter().product();
    Some((inputs * field, out * field))
}

fn sample_random(draw: &mut Draw) -> Sample {
    let shape = match draw.below(3) {
        0 => vec![draw.dim()],
        1 => vec![draw.dim(), draw.dim_to(40)],
        // More than one thread block, and not a multiple of anything.
        _ => vec![draw.pick(&[4099, 1024, 2053, 8191])],
    };
    let seed = u64::from(draw.below(u32::MAX as usize) as u32) << 32 | draw.below(u32::MAX as usize) as u64;
    let stream = draw.below(u32::MAX as usize) as u32;
    let uniform = [(0.0, 1.0), (-1.0, 1.0), (2.5, 2.5), (-3e-3, 7e-3), (-1e30, 1e30), (1e-40, 3e-39)];
    let normal = [(0.0, 1.0), (0.0, 0.02), (3.0, 0.5), (-2.0, 0.0), (1e4, 1e-3)];
    let (distribution, tolerance) = if draw.coin() {
        let (mean, std) = draw.pick(&normal);
        // z is within 4 ulp (its polynomials and products); its rounded product and sum with the mean add one each. Where
        // mean and z cancel, |std z| <= |y| + |mean|.
        (Distribution::Normal(mean, std), Tolerance::ulps(6.0).absolute(f64::from(mean.abs())))
    } else {
        let (lo, hi) = draw.pick(&uniform);
        (Distribution::Uniform(lo, hi), Tolerance::EXACT)
    };
    Sample::new(Random { distribution, seed, stream, shape }, vec![], tolerance)
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![OpEntry {
        name: "random",
        // `philox_blocks` runs the generator alone, for its known-answer test.
        kernels: &["random_uniform", "random_normal", "philox_blocks"],
        sample: sample_random,
        differentiable: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu_kernels::philox::normal_pair;

    /// Random123's known answers for `philox4x32 10` (its `tests/kat_vectors`): counter, key, block.
    const KNOWN_ANSWERS: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];

    #[test]
    fn philox_gives_the_known_answers_on_the_host_and_in_its_kernel() {
        for (counter, key, block) in KNOWN_ANSWERS {
            assert_eq!(philox4x32_10(counter, key), block);
        }
        let device = crate::Device::sim();
        let counters: Vec<u32> = KNOWN_ANSWERS.iter().flat_map(|k| k.0).collect();
        let keys: Vec<u32> = KNOWN_ANSWERS.iter().flat_map(|k| k.1).collect();
        let want: Vec<u32> = KNOWN_ANSWERS.iter().flat_map(|k| k.2).collect();
        let (counters, keys) = (device.buffer(&counters).unwrap(), device.buffer(&keys).unwrap());
        let mut out = device.alloc::<u32>(12).unwrap();
        let args = (3u32, &counters, &keys, &mut out);
        device.launch(kernel!(philox::philox_blocks), Launch::linear(3u32), args).unwrap();
        assert_eq!(out.to_vec().unwrap(), want);
    }

    #[test]
    fn uniform_numbers_are_the_top_24_bits() {
        assert_eq!(uniform(0), 0.0);
        assert_eq!(uniform(255), 0.0);
        assert_eq!(uniform(256), 2f32.powi(-24));
        assert_eq!(uniform(u32::MAX), 1.0 - 2f32.powi(-24));
        assert_eq!(uniform(1 << 31), 0.5);
    }

    /// Units in the last place of `want` between it and `got`.
    fn ulps(got: f32, want: f64) -> f64 {
        let ulp = f64::from(want.abs() as f32) * f64::from(f32::EPSILON) / 2.0;
        (f64::from(got) - want).abs() / ulp.max(1e-30)
    }

    #[test]
    fn normal_numbers_are_within_4_ulp_for_every_radius_and_every_angle() {
        let mut worst = 0f64;
        for k in 0..1u32 << 24 {
            // Every logarithm at a fixed angle, then every angle at a fixed radius.
            for (a, b) in [(k << 8, 0x1357_9b00), (0x2468_ac00, k << 8)] {
                let got = normal_pair(a, b);
                let want = normal4_f64([a, b, a, b]);
                for (got, want) in [(got.0, want[0]), (got.1, want[1])] {
                    // A multiple of a quarter turn: 0 here, about 1e-16 in f64.
                    if want.abs() > 1e-12 {
                        worst = worst.max(ulps(got, want));
                    } else {
                        assert_eq!(got, 0.0);
                    }
                }
            }
        }
        assert!(worst <= 8.0, "{worst} half units in the last place");
        assert!(worst > 0.5, "the comparison sees no rounding at all: {worst}");
    }

    #[test]
    fn a_prefix_does_not_depend_on_the_length() {
        for distribution in [Distribution::Uniform(-2.0, 3.0), Distribution::Normal(1.0, 2.0)] {
            let mut long = vec![0.0; 1000];
            distribution.fill(&mut long, 0x1234_5678_9abc_def0, 7);
            for n in [1, 2, 3, 4, 5, 63, 64, 65, 999] {
                let mut short = vec![0.0; n];
                distribution.fill(&mut short, 0x1234_5678_9abc_def0, 7);
                assert_eq!(short, long[..n], "{distribution:?} {n}");
            }
            let mut other = vec![0.0; 1000];
            distribution.fill(&mut other, 0x1234_5678_9abc_def0, 8);
            assert!(long.iter().zip(&other).filter(|(a, b)| a == b).count() < 5, "streams repeat each other");
        }
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        let n = 1 << 20;
        let mut x = vec![0.0; n];
        // Five standard errors of the mean and of the variance of n numbers.
        for (distribution, mean, variance, fourth) in [
            (Distribution::Uniform(-1.0, 3.0), 1.0, 4.0 / 3.0, 9.0 / 5.0),
            (Distribution::Normal(-2.0, 0.5), -2.0, 0.25, 3.0),
        ] {
            distribution.fill(&mut x, 42, 3);
            let m = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let v = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((m - mean).abs() < 5.0 * (variance / n as f64).sqrt(), "mean {m} of {distribution:?}");
            let spread = variance * ((fourth - 1.0) / n as f64).sqrt();
            assert!((v - variance).abs() < 5.0 * spread, "variance {v} of {distribution:?}");
        }
    }

    #[test]
    fn initialisers_have_the_published_bounds() {
        let bound = |init: Init| match init.distribution(300, 100) {
            Distribution::Uniform(lo, hi) => {
                assert_eq!(lo, -hi);
                hi
            }
            Distribution::Normal(mean, std) => {
                assert_eq!(mean, 0.0);
                std
            }
        };
        let close =
            |got: f32, want: f64| assert!((f64::from(got) - want).abs() < 1e-7 * want, "{got} {want}");
        close(bound(Init::XavierUniform), (6.0f64 / 400.0).sqrt());
        close(bound(Init::XavierNormal), (2.0f64 / 400.0).sqrt());
        close(bound(Init::KaimingUniform), (6.0f64 / 300.0).sqrt());
        close(bound(Init::KaimingNormal), (2.0f64 / 300.0).sqrt());
        close(bound(Init::Torch), (1.0f64 / 300.0).sqrt());
        close(bound(Init::LecunUniform), 0.1);
        close(bound(Init::LecunNormal), (1.0f64 / 300.0).sqrt());
        let mut x = [0.0; 9];
        Init::Constant(0.7).distribution(3, 3).fill(&mut x, 1, 2);
        assert_eq!(x, [0.7; 9]);
        assert_eq!(fans(&[10, 20]), Some((20, 10)));
        assert_eq!(fans(&[8, 4, 3, 3]), Some((36, 72)));
        assert_eq!(fans(&[8]), None);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let mut graph = Graph::new();
        for bad in [
            Distribution::Uniform(1.0, 0.0),
            Distribution::Uniform(f32::NAN, 1.0),
            Distribution::Uniform(-3e38, 3e38),
            Distribution::Normal(0.0, -1.0),
            Distribution::Normal(f32::INFINITY, 1.0),
        ] {
            assert!(matches!(graph.random(&[3], bad, 0, 0), Err(OpError::Attribute { .. })), "{bad:?}");
        }
        assert!(graph.random(&[], Distribution::Uniform(0.0, 1.0), 0, 0).is_err());
        assert!(graph.random(&[3, 0], Distribution::Uniform(0.0, 1.0), 0, 0).is_err());
    }
}
