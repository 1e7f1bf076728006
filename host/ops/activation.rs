//! Activation functions: `y = f(x)`, element by element, and their gradients.
//!
//! | name         | f(x)                                                     | parameter (PyTorch's default) |
//! |--------------|----------------------------------------------------------|-------------------------------|
//! | `identity`   | x                                                        |                               |
//! | `relu`       | max(x, 0)                                                |                               |
//! | `leaky_relu` | x if x > 0, else slope x                                 | slope (0.01)                  |
//! | `elu`        | x if x > 0, else alpha (e^x - 1)                         | alpha (1)                     |
//! | `selu`       | 1.0507 elu(x) with alpha 1.6733                          |                               |
//! | `gelu`       | x (1 + erf(x / sqrt 2)) / 2                              |                               |
//! | `gelu_tanh`  | x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2        |                               |
//! | `silu`       | x / (1 + e^-x)                                           |                               |
//! | `mish`       | x tanh(ln(1 + e^x))                                      |                               |
//! | `sigmoid`    | 1 / (1 + e^-x)                                           |                               |
//! | `tanh`       | tanh x                                                   |                               |
//! | `softplus`   | ln(1 + e^x)                                              |                               |
//! | `hard_swish` | x min(max(x + 3, 0), 6) / 6                              |                               |
//!
//! Contract for special values: NaN gives NaN; infinities give the limits (0 at minus infinity for `gelu`, `gelu_tanh`,
//! `silu`, `mish` and `hard_swish`), where PyTorch's formulas can give `0 * inf`.
//!
//! Gradient: `dx = dy f'(x)` ([`ActivateGrad`]). Where the derivative can be had from `y` ([`Activation::grad_from_output`])
//! it is, so that `x` need not be kept: this lets a matrix product apply the activation before it stores anything. At a
//! kink the derivative is the one from below, as in PyTorch.
//!
//! Cost: 1 FLOP an element for `relu` and its kind, as many as [`Activation::flop`] says for the others.

use std::fmt;
use std::str::FromStr;

use gpu_kernels::activation as kernels;
use serde::{Deserialize, Serialize};

use super::chain::{self, Step};
use super::{
    Cost, CpuCtx, Domain, Draw, KernelCtx, Op, OpEntry, OpError, Sample, SampleInput, TensorType, Tolerance,
};
use crate::device::{DeviceError, Launch};
use crate::graph::{Graph, Value, Vjp};
use crate::kernel;
use crate::real::Real;

/// An activation function; the module's docs have the definitions. As text (and in serde's formats) it is its name,
/// with the parameter in parentheses where it is not the default: `leaky_relu(0.2)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[allow(missing_docs)] // the module's table
pub enum Activation {
    Identity,
    Relu,
    LeakyRelu(f32),
    Elu(f32),
    Selu,
    Gelu,
    GeluTanh,
    Silu,
    Mish,
    Sigmoid,
    Tanh,
    Softplus,
    HardSwish,
}

/// 1 / (1 + e^-x), without overflow.
#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    (if x < T::ZERO { e } else { T::ONE }) / (T::ONE + e)
}

/// `x` within [low, high]; NaN stays.
#[inline(always)]
fn clamp<T: Real>(x: T, low: f64, high: f64) -> T {
    let x = if x > T::of(high) { T::of(high) } else { x };
    if x < T::of(low) { T::of(low) } else { x }
}

/// 2 sqrt(2 / pi) (x + 0.044715 x^3)
#[inline(always)]
fn gelu_inner<T: Real>(x: T) -> T {
    let a = 2.0 * kernels::SQRT_2_OVER_PI;
    x * (T::of(a * kernels::GELU_CUBIC) * x).mul_add(x, T::of(a))
}

impl Activation {
    /// Every activation, with default parameters.
    pub const ALL: [Activation; 13] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.01),
        Activation::Elu(1.0),
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Mish,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::HardSwish,
    ];

    /// The name without the parameter.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::Elu(_) => "elu",
            Activation::Selu => "selu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Softplus => "softplus",
            Activation::HardSwish => "hard_swish",
        }
    }

    /// The slope of leaky ReLU or the alpha of ELU; 0 for the others.
    pub fn param(self) -> f32 {
        match self {
            Activation::LeakyRelu(p) | Activation::Elu(p) => p,
            _ => 0.0,
        }
    }

    /// The number that kernels know this activation by (`gpu_kernels::activation`).
    pub fn kind(self) -> u32 {
        match self {
            Activation::Identity => kernels::IDENTITY,
            Activation::Relu => kernels::RELU,
            Activation::LeakyRelu(_) => kernels::LEAKY_RELU,
            Activation::Elu(_) => kernels::ELU,
            Activation::Selu => kernels::SELU,
            Activation::Gelu => kernels::GELU,
            Activation::GeluTanh => kernels::GELU_TANH,
            Activation::Silu => kernels::SILU,
            Activation::Mish => kernels::MISH,
            Activation::Sigmoid => kernels::SIGMOID,
            Activation::Tanh => kernels::TANH,
            Activation::Softplus => kernels::SOFTPLUS,
            Activation::HardSwish => kernels::HARD_SWISH,
        }
    }

    /// Whether [`derivative`](Activation::derivative) takes the function's output rather than its input.
    pub fn grad_from_output(self) -> bool {
        kernels::from_output(self.kind(), self.param())
    }

    /// Floating-point operations an element, a transcendental function counting one.
    pub fn flop(self) -> u64 {
        match self {
            Activation::Identity => 0,
            Activation::Relu | Activation::LeakyRelu(_) | Activation::Tanh => 1,
            Activation::Elu(_) | Activation::Selu | Activation::Sigmoid | Activation::Softplus => 3,
            Activation::Silu | Activation::HardSwish => 4,
            Activation::Gelu => 5,
            Activation::Mish => 6,
            Activation::GeluTanh => 8,
        }
    }

    /// f(x).
    #[inline(always)]
    pub fn apply<T: Real>(self, x: T) -> T {
        // Zero at minus infinity: from FLOOR down the factor beside x is exactly 0 in either type.
        let floored = if x < T::of(kernels::FLOOR) { T::of(kernels::FLOOR) } else { x };
        match self {
            Activation::Identity => x,
            Activation::Relu if x <= T::ZERO => T::ZERO,
            Activation::Relu => x,
            Activation::LeakyRelu(slope) => {
                let below = T::of(f64::from(slope)) * x;
                if x > T::ZERO { x } else { below }
            }
            Activation::Elu(alpha) => {
                let below = T::of(f64::from(alpha)) * x.exp_m1();
                if x > T::ZERO { x } else { below }
            }
            Activation::Selu => {
                let below = T::of(kernels::SELU_SCALE * kernels::SELU_ALPHA) * x.exp_m1();
                if x > T::ZERO { T::of(kernels::SELU_SCALE) * x } else { below }
            }
            Activation::Gelu => {
                let phi = T::ONE + (floored * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf();
                T::of(0.5) * floored * phi
            }
            Activation::GeluTanh => floored * sigmoid(gelu_inner(floored)),
            Activation::Silu => floored * sigmoid(floored),
            Activation::Mish => {
                // tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2); from 20 on that is 1.
                let e = clamp(floored, kernels::FLOOR, 20.0).exp();
                let n = e * (e + T::of(2.0));
                floored * (n / (n + T::of(2.0)))
            }
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Softplus => {
                let positive = if x < T::ZERO { T::ZERO } else { x };
                positive + (-x.abs()).exp().ln_1p()
            }
            Activation::HardSwish => {
                let middle = x * (x + T::of(3.0)) * T::of(1.0 / 6.0);
                let y = if x >= T::of(3.0) { x } else { middle };
                if x <= T::of(-3.0) { T::ZERO } else { y }
            }
        }
    }

    /// f'(x), given f(x) where [`grad_from_output`](Activation::grad_from_output), else x.
    #[inline(always)]
    pub fn derivative<T: Real>(self, s: T) -> T {
        let x = clamp(s, kernels::FLOOR, -kernels::FLOOR);
        match self {
            Activation::Identity => T::ONE,
            Activation::Relu if s <= T::ZERO => T::ZERO,
            Activation::Relu => T::ONE,
            Activation::LeakyRelu(slope) => {
                if s > T::ZERO {
                    T::ONE
                } else {
                    T::of(f64::from(slope))
                }
            }
            Activation::Elu(alpha) => {
                let p = T::of(f64::from(alpha));
                let below = if alpha >= 0.0 { s + p } else { p * s.exp() };
                if s > T::ZERO { T::ONE } else { below }
            }
            Activation::Selu => {
                let below = s + T::of(kernels::SELU_SCALE * kernels::SELU_ALPHA);
                if s > T::ZERO { T::of(kernels::SELU_SCALE) } else { below }
            }
            Activation::Gelu => {
                let half = T::of(0.5);
                let cdf = (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf().mul_add(half, half);
                let pdf = (T::of(-0.5) * x * x).exp() * T::of(0.5 * kernels::SQRT_2_OVER_PI);
                x.mul_add(pdf, cdf)
            }
            Activation::GeluTanh => {
                let u = gelu_inner(x);
                let a = 2.0 * kernels::SQRT_2_OVER_PI;
                let slope = (T::of(3.0 * a * kernels::GELU_CUBIC) * x).mul_add(x, T::of(a));
                let p = sigmoid(u);
                (x * p * sigmoid(-u)).mul_add(slope, p)
            }
            Activation::Silu => sigmoid(x) * x.mul_add(sigmoid(-x), T::ONE),
            Activation::Mish => {
                let x = clamp(x, kernels::FLOOR, 20.0);
                let e = x.exp();
                let n = e * (e + T::of(2.0));
                let d = T::ONE / (n + T::of(2.0));
                x.mul_add(T::of(4.0) * e * (T::ONE + e) * d * d, n * d)
            }
            Activation::Sigmoid => s * (T::ONE - s),
            Activation::Tanh => (-s).mul_add(s, T::ONE),
            Activation::Softplus => -(-s).exp_m1(),
            Activation::HardSwish => {
                let middle = s.mul_add(T::of(1.0 / 3.0), T::of(0.5));
                let d = if s >= T::of(3.0) { T::ONE } else { middle };
                if s <= T::of(-3.0) { T::ZERO } else { d }
            }
        }
    }

    /// The parameter must be finite.
    pub(super) fn check(self) -> Result<(), OpError> {
        if self.param().is_finite() {
            return Ok(());
        }
        Err(OpError::attribute("activation", format!("the parameter of {} must be finite", self.name())))
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if Activation::ALL.contains(self) {
            f.write_str(self.name())
        } else {
            write!(f, "{}({})", self.name(), self.param())
        }
    }
}

impl From<Activation> for String {
    fn from(a: Activation) -> String {
        a.to_string()
    }
}

/// The text names no activation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown activation '{0}': use identity, relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, sigmoid, tanh, \
     softplus or hard_swish; leaky_relu and elu take a finite number, as in leaky_relu(0.2)"
)]
pub struct ParseActivationError(String);

impl FromStr for Activation {
    type Err = ParseActivationError;
    fn from_str(text: &str) -> Result<Activation, ParseActivationError> {
        let error = || ParseActivationError(text.into());
        let normal = text.trim().to_ascii_lowercase().replace('-', "_");
        // A minus sign of the parameter was replaced too, hence the split of the original for it.
        let (name, param) = match (normal.split_once('('), text.trim().split_once('(')) {
            (Some((name, _)), Some((_, rest))) => {
                let number = rest.strip_suffix(')').ok_or_else(error)?;
                let p: f32 = number.trim().parse().map_err(|_| error())?;
                (name.trim_end(), Some(p).filter(|p| p.is_finite()).ok_or_else(error)?.into())
            }
            _ => (normal.as_str(), None),
        };
        let a = Activation::ALL.into_iter().find(|a| a.name() == name).ok_or_else(error)?;
        match (a, param) {
            (a, None) => Ok(a),
            (Activation::LeakyRelu(_), Some(p)) => Ok(Activation::LeakyRelu(p)),
            (Activation::Elu(_), Some(p)) => Ok(Activation::Elu(p)),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Activation {
    type Error = ParseActivationError;
    fn try_from(text: String) -> Result<Activation, ParseActivationError> {
        text.parse()
    }
}

/// y = activation(x). Input: any shape; output: the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate {
    /// Which one.
    pub activation: Activation,
}

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }
    fn attributes(&self) -> String {
        format!("kind={}", self.activation)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        self.activation.check()?;
        chain::infer_same(self.name(), 1, inputs)
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64 * self.activation.flop(), inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        ctx.launch(
            kernel!(activation::activation_forward),
            Launch::new(n.div_ceil(kernels::PER_BLOCK), kernels::BLOCK),
            (n, self.activation.kind(), self.activation.param(), ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<(), OpError> {
        let Some(dy) = vjp.grad(0) else { return Ok(()) };
        if self.activation == Activation::Identity {
            return vjp.add(0, dy);
        }
        let s = if self.activation.grad_from_output() { vjp.output(0) } else { vjp.input(0) };
        let dx = vjp.graph().push1(ActivateGrad { activation: self.activation }, &[dy, s])?;
        vjp.add(0, dx)
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<std::sync::Arc<dyn Op>> {
        chain::absorb(self, consumer, arg)
    }
    chain::pointwise_cpu!(|op| Step::Activate(op.activation));
}

/// dx = dy activation'(s), with `s` the activation's output or input. Inputs: dy, s of one shape; output: the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivateGrad {
    /// Which one.
    pub activation: Activation,
}

impl Op for ActivateGrad {
    fn name(&self) -> &'static str {
        "activation_grad"
    }
    fn attributes(&self) -> String {
        format!("kind={}", self.activation)
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
        self.activation.check()?;
        chain::infer_same(self.name(), 2, inputs)
    }
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64 * (self.activation.flop() + 2), inputs, outputs)
    }
    fn launch(&self, ctx: &KernelCtx<'_>) -> Result<(), DeviceError> {
        let n = chain::len_u32(self.name(), ctx.outputs[0].len)?;
        let (kind, param) = (self.activation.kind(), self.activation.param());
        ctx.launch(
            kernel!(activation::activation_backward),
            Launch::new(n.div_ceil(kernels::PER_BLOCK), kernels::BLOCK),
            (n, kind, param, ctx.input::<f32>(1), ctx.input::<f32>(0), ctx.output::<f32>(0)),
        )
    }
    fn absorb(&self, consumer: &dyn Op, arg: usize) -> Option<std::sync::Arc<dyn Op>> {
        chain::absorb(self, consumer, arg)
    }
    chain::pointwise_cpu!(|op| Step::ActivateGrad(op.activation));
}

macro_rules! builders {
    ($($name:ident $kind:ident $doc:literal)*) => {
        impl Graph {
            /// `activation` of each element; the same shape.
            pub fn activation(&mut self, x: Value, activation: Activation) -> Result<Value, OpError> {
                if activation == Activation::Identity {
                    return Ok(x);
                }
                self.push1(Activate { activation }, &[x])
            }
            /// x where positive, else `slope` x.
            pub fn leaky_relu(&mut self, x: Value, slope: f32) -> Result<Value, OpError> {
                self.activation(x, Activation::LeakyRelu(slope))
            }
            /// x where positive, else `alpha` (e^x - 1).
            pub fn elu(&mut self, x: Value, alpha: f32) -> Result<Value, OpError> {
                self.activation(x, Activation::Elu(alpha))
            }
            $(
                #[doc = $doc]
                pub fn $name(&mut self, x: Value) -> Result<Value, OpError> {
                    self.activation(x, Activation::$kind)
                }
            )*
        }
    };
}
builders! {
    relu Relu "max(x, 0)."
    selu Selu "Scaled exponential linear unit."
    gelu Gelu "Gaussian error linear unit, exact."
    gelu_tanh GeluTanh "Gaussian error linear unit, by tanh."
    silu Silu "x sigmoid(x)."
    mish Mish "x tanh(softplus(x))."
    sigmoid Sigmoid "1 / (1 + e^-x)."
    tanh Tanh "Hyperbolic tangent."
    softplus Softplus "ln(1 + e^x)."
    hard_swish HardSwish "x min(max(x + 3, 0), 6) / 6."
}

/// One of all activations, with other parameters than the defaults too (zero and negative ones among them).
pub(super) fn draw(draw: &mut Draw) -> Activation {
    let a = draw.pick(&Activation::ALL);
    match (a, draw.coin()) {
        (Activation::LeakyRelu(_), true) => Activation::LeakyRelu(draw.pick(&[0.2, 0.0, -0.5])),
        (Activation::Elu(_), true) => Activation::Elu(draw.pick(&[0.5, 2.0, 0.0, -1.0])),
        _ => a,
    }
}

/// A range without kinks for `a`, special values (no gradient is checked there), or large magnitudes.
fn domain(a: Activation, draw: &mut Draw) -> Domain {
    match draw.below(4) {
        1 => Domain::Special,
        k => match a {
            Activation::HardSwish => [
                Domain::Uniform(-2.9, 2.9),
                Domain::Special,
                Domain::Uniform(3.1, 8.0),
                Domain::Uniform(-8.0, -3.1),
            ][k],
            Activation::Relu | Activation::LeakyRelu(_) | Activation::Elu(_) | Activation::Selu => {
                let r = [4.0, 0.0, 0.5, 20.0][k];
                Domain::Away { lo: -r, hi: r, kink: 0.0, gap: 0.01 }
            }
            _ => [
                Domain::Uniform(-4.0, 4.0),
                Domain::Special,
                Domain::Uniform(-0.5, 0.5),
                Domain::Uniform(-20.0, 20.0),
            ][k],
        },
    }
}

/// The kernels' polynomials are within 2.6 ulp and a handful of roundings follow. Most functions are accurate relative
/// to their result; in the two GELUs `1 + erf` cancels for negative x and `e^u` magnifies the rounding of a large u, both
/// where the result is small beside 1, hence the absolute part.
fn forward_tolerance(a: Activation) -> Tolerance {
    match a {
        Activation::Identity | Activation::Relu => Tolerance::EXACT,
        Activation::Gelu | Activation::GeluTanh => Tolerance::ulps(8.0).absolute(1.0),
        // A factor may underflow before its product with an x of up to 150 does, as it does in PyTorch.
        _ => Tolerance::ulps(8.0).absolute(16.0 * f64::from(f32::MIN_POSITIVE)),
    }
}

pub(super) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry {
            name: "activation",
            kernels: &["activation_forward"],
            sample: |d| {
                let activation = draw(d);
                let shape = chain::draw_shape(d);
                let x = SampleInput::f32(shape, domain(activation, d));
                Sample::new(Activate { activation }, vec![x], forward_tolerance(activation))
            },
            differentiable: true,
        },
        OpEntry {
            name: "activation_grad",
            kernels: &["activation_backward"],
            sample: |d| {
                let activation = draw(d);
                let shape = chain::draw_shape(d);
                let s = SampleInput::f32(shape.clone(), domain(activation, d));
                let dy = SampleInput::uniform(shape, -4.0, 4.0);
                // |dy| <= 4 times terms below 2 that cancel.
                let tolerance = Tolerance::ulps(8.0).absolute(8.0);
                Sample::new(ActivateGrad { activation }, vec![dy, s], tolerance)
            },
            differentiable: false,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Vec<Activation> {
        let mut all = Activation::ALL.to_vec();
        all.extend([Activation::LeakyRelu(-0.5), Activation::Elu(-1.5), Activation::Elu(0.25)]);
        all
    }

    #[test]
    fn text_and_back() {
        for a in everything() {
            assert_eq!(a.to_string().parse(), Ok(a));
            let json = serde_json::to_string(&a).unwrap();
            assert_eq!(serde_json::from_str::<Activation>(&json).unwrap(), a);
        }
        assert_eq!("Leaky-ReLU( -0.5 )".parse(), Ok(Activation::LeakyRelu(-0.5)));
        for bad in ["", "rellu", "relu(1)", "elu(", "elu(nan)", "elu(x)"] {
            let error = bad.parse::<Activation>().unwrap_err().to_string();
            assert!(error.contains("hard_swish"), "{error}");
        }
    }

    #[test]
    fn kernels_and_cpu_follow_the_oracle() {
        for a in everything() {
            let (bound, gradient) = (forward_tolerance(a), Tolerance::ulps(8.0).absolute(2.0));
            for x in (-20_000..20_000).map(|i| i as f32 * 1.003e-3) {
                let (want, slope) = (a.apply(f64::from(x)), a.derivative(f64::from(x)));
                // Zero tolerance means the right bits: compare as `f32`.
                let near = |got: f32, want: f64, t: Tolerance| {
                    (f64::from(got) - f64::from(want as f32)).abs() <= t.bound(want) + 1e-45
                };
                for got in [a.apply(x), kernels::apply(a.kind(), a.param(), x)] {
                    assert!(near(got, want, bound), "{a}({x}) = {got}, not {want}");
                }
                for got in [a.derivative(x), kernels::derivative(a.kind(), a.param(), x)] {
                    assert!(near(got, slope, gradient), "{a}'({x}) = {got}, not {slope}");
                }
            }
        }
    }

    #[test]
    fn special_values() {
        for a in everything() {
            for f in [
                |a: Activation, x: f32| a.apply(x),
                |a: Activation, x| kernels::apply(a.kind(), a.param(), x),
            ] {
                assert!(f(a, f32::NAN).is_nan(), "{a}(NaN)");
                let (low, high) = (f(a, f32::NEG_INFINITY), f(a, f32::INFINITY));
                let bounded = matches!(a, Activation::Sigmoid | Activation::Tanh);
                assert_eq!(high, if bounded { 1.0 } else { f32::INFINITY }, "{a}(inf)");
                let want = match a {
                    Activation::Identity => f32::NEG_INFINITY,
                    Activation::LeakyRelu(slope) => -slope * f32::INFINITY,
                    Activation::Elu(alpha) => -alpha,
                    Activation::Selu => -(kernels::SELU_SCALE * kernels::SELU_ALPHA) as f32,
                    Activation::Tanh => -1.0,
                    _ => 0.0,
                };
                assert_eq!(low, want, "{a}(-inf)");
            }
        }
    }
}
