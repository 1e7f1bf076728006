//! Activation functions, their derivatives, and the kernels that apply them to a tensor.
//!
//! [`apply`] and [`derivative`] take the kind as a number so that other kernels (a matrix product's epilogue, a fused
//! elementwise chain) can switch on it: the switch is the same for all threads of a launch, so it never diverges. The
//! definitions are PyTorch's; `param` is the slope of leaky ReLU and the alpha of ELU. At minus infinity the functions
//! take their limits, where PyTorch's formula sometimes gives `0 * inf`.
//!
//! The derivative takes the function's output where [`from_output`] says so (the input then need not be kept), else its
//! input.

use cuda_std::prelude::*;

use crate::math::{erf, exp, exp_m1, fma, sigmoid, softplus, tanh};
use crate::vector::{load4, map4, quad, store4, zip4};

/// x
pub const IDENTITY: u32 = 0;
/// max(x, 0)
pub const RELU: u32 = 1;
/// x above zero, else `param` x
pub const LEAKY_RELU: u32 = 2;
/// x above zero, else `param` (e^x - 1)
pub const ELU: u32 = 3;
/// [`SELU_SCALE`] times ELU with alpha [`SELU_ALPHA`]
pub const SELU: u32 = 4;
/// x (1 + erf(x / sqrt 2)) / 2
pub const GELU: u32 = 5;
/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
pub const GELU_TANH: u32 = 6;
/// x sigmoid(x)
pub const SILU: u32 = 7;
/// x tanh(softplus(x))
pub const MISH: u32 = 8;
/// 1 / (1 + e^-x)
pub const SIGMOID: u32 = 9;
/// tanh(x)
pub const TANH: u32 = 10;
/// ln(1 + e^x)
pub const SOFTPLUS: u32 = 11;
/// x min(max(x + 3, 0), 6) / 6
pub const HARD_SWISH: u32 = 12;

/// Klambauer et al. 2017, "Self-Normalizing Neural Networks", equation 14.
pub const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// As [`SELU_SCALE`].
pub const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
/// sqrt(2 / pi).
pub const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient in Hendrycks and Gimpel 2016, "Gaussian Error Linear Units".
pub const GELU_CUBIC: f64 = 0.044715;
/// Functions that vanish at minus infinity as x times something are evaluated no lower than here, where the second
/// factor is exactly zero in either precision.
pub const FLOOR: f64 = -750.0;

/// Threads in a block of the kernels in this file.
pub const BLOCK: u32 = 256;
/// Elements that a block covers.
pub const PER_BLOCK: u32 = BLOCK * 4;

/// `x`, but at least [`FLOOR`]; NaN stays.
#[inline(always)]
fn floored(x: f32) -> f32 {
    if x < FLOOR as f32 {
        FLOOR as f32
    } else {
        x
    }
}

/// `x` within `FLOOR` and `high`; NaN stays.
#[inline(always)]
fn clamped(x: f32, high: f32) -> f32 {
    floored(if x > high { high } else { x })
}

/// 2 sqrt(2 / pi) (x + 0.044715 x^3): GELU's tanh form is x sigmoid of this.
#[inline(always)]
fn gelu_inner(x: f32) -> f32 {
    const A: f32 = (2.0 * SQRT_2_OVER_PI) as f32;
    const B: f32 = (2.0 * SQRT_2_OVER_PI * GELU_CUBIC) as f32;
    x * fma(B * x, x, A)
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x <= 0.0 {
        0.0
    } else {
        x
    }
}
#[inline(always)]
fn leaky_relu(x: f32, slope: f32) -> f32 {
    if x > 0.0 {
        x
    } else {
        slope * x
    }
}
#[inline(always)]
fn elu(x: f32, alpha: f32) -> f32 {
    if x > 0.0 {
        x
    } else {
        alpha * exp_m1(x)
    }
}
#[inline(always)]
fn selu(x: f32) -> f32 {
    if x > 0.0 {
        SELU_SCALE as f32 * x
    } else {
        (SELU_SCALE * SELU_ALPHA) as f32 * exp_m1(x)
    }
}
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let x = floored(x);
    0.5 * x * (1.0 + erf(x * core::f32::consts::FRAC_1_SQRT_2))
}
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let x = floored(x);
    x * sigmoid(gelu_inner(x))
}
#[inline(always)]
fn silu(x: f32) -> f32 {
    let x = floored(x);
    x * sigmoid(x)
}
#[inline(always)]
fn mish(x: f32) -> f32 {
    let x = floored(x);
    // tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2); from 20 on that is 1.
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}
#[inline(always)]
fn hard_swish(x: f32) -> f32 {
    if x <= -3.0 {
        0.0
    } else if x >= 3.0 {
        x
    } else {
        x * (x + 3.0) * (1.0 / 6.0)
    }
}

/// Activation `kind` of `x`.
#[inline(always)]
pub fn apply(kind: u32, param: f32, x: f32) -> f32 {
    match kind {
        RELU => relu(x),
        LEAKY_RELU => leaky_relu(x, param),
        ELU => elu(x, param),
        SELU => selu(x),
        GELU => gelu(x),
        GELU_TANH => gelu_tanh(x),
        SILU => silu(x),
        MISH => mish(x),
        SIGMOID => sigmoid(x),
        TANH => tanh(x),
        SOFTPLUS => softplus(x),
        HARD_SWISH => hard_swish(x),
        _ => x,
    }
}

/// Whether [`derivative`] of `kind` takes the function's output; for leaky ReLU and ELU only where `param >= 0`, so that
/// the output's sign is the input's.
pub const fn from_output(kind: u32, param: f32) -> bool {
    match kind {
        LEAKY_RELU | ELU => param >= 0.0,
        GELU | GELU_TANH | SILU | MISH | HARD_SWISH => false,
        _ => true,
    }
}

/// A select.
#[inline(always)]
fn step(condition: bool, yes: f32, no: f32) -> f32 {
    if condition {
        yes
    } else {
        no
    }
}

/// The derivative of activation `kind`, from its output or its input ([`from_output`]).
#[inline(always)]
pub fn derivative(kind: u32, param: f32, s: f32) -> f32 {
    match kind {
        RELU => step(s <= 0.0, 0.0, 1.0),
        LEAKY_RELU => step(s > 0.0, 1.0, param),
        ELU => step(s > 0.0, 1.0, if param >= 0.0 { s + param } else { param * exp(s) }),
        SELU => step(s > 0.0, SELU_SCALE as f32, s + (SELU_SCALE * SELU_ALPHA) as f32),
        GELU => {
            let x = clamped(s, -FLOOR as f32);
            let cdf = fma(0.5, erf(x * core::f32::consts::FRAC_1_SQRT_2), 0.5);
            let pdf = exp(-0.5 * x * x) * (0.5 * SQRT_2_OVER_PI) as f32;
            fma(x, pdf, cdf)
        }
        GELU_TANH => {
            let x = clamped(s, -FLOOR as f32);
            let u = gelu_inner(x);
            const A: f32 = (2.0 * SQRT_2_OVER_PI) as f32;
            const B: f32 = (6.0 * SQRT_2_OVER_PI * GELU_CUBIC) as f32;
            let p = sigmoid(u);
            fma(x * p * sigmoid(-u), fma(B * x, x, A), p)
        }
        SILU => {
            let x = clamped(s, -FLOOR as f32);
            sigmoid(x) * fma(x, sigmoid(-x), 1.0)
        }
        MISH => {
            let x = clamped(s, 20.0);
            let e = exp(x);
            let n = e * (e + 2.0);
            let d = 1.0 / (n + 2.0);
            // tanh + x sech^2 sigmoid, with sech^2 sigmoid = 4 e (1 + e) / (n + 2)^2
            fma(x, 4.0 * e * (1.0 + e) * d * d, n * d)
        }
        SIGMOID => s * (1.0 - s),
        TANH => fma(-s, s, 1.0),
        SOFTPLUS => -exp_m1(-s),
        HARD_SWISH => {
            if s <= -3.0 {
                0.0
            } else if s >= 3.0 {
                1.0
            } else {
                fma(s, 1.0 / 3.0, 0.5)
            }
        }
        _ => 1.0,
    }
}

/// `switch!` over every kind.
macro_rules! for_kind {
    ($value:expr, $kind:ident => $body:expr) => {{
        use $crate::activation::*;
        $crate::vector::switch!($value, $kind in [
            RELU LEAKY_RELU ELU SELU GELU GELU_TANH SILU MISH SIGMOID TANH SOFTPLUS HARD_SWISH; IDENTITY
        ] => $body)
    }};
}
pub(crate) use for_kind;

/// y = activation(x), element by element; four elements a thread.
///
/// # Safety
/// - `x` and `y` hold `n` elements; they are the same memory or do not overlap.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn activation_forward(n: u32, kind: u32, param: f32, x: *const f32, y: *mut f32) {
    let i = quad();
    if i < n {
        // SAFETY: `i < n`, and both helpers stay below `n`.
        let v = unsafe { load4(x, i, n) };
        let v = for_kind!(kind, KIND => map4!(v, |x| apply(KIND, param, x)));
        // SAFETY: as above.
        unsafe { store4(y, i, n, v) };
    }
}

/// dx = dy activation'(s), where `s` is the activation's output or input ([`from_output`]); four elements a thread.
///
/// # Safety
/// - `s`, `dy` and `dx` hold `n` elements; `dx` is one of the others or overlaps neither.
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(256))]
#[kernel]
pub unsafe fn activation_backward(
    n: u32,
    kind: u32,
    param: f32,
    s: *const f32,
    dy: *const f32,
    dx: *mut f32,
) {
    let i = quad();
    if i < n {
        // SAFETY: `i < n`, and the helpers stay below `n`.
        let (s, dy) = unsafe { (load4(s, i, n), load4(dy, i, n)) };
        let d = for_kind!(kind, KIND => map4!(s, |s| derivative(KIND, param, s)));
        // SAFETY: as above.
        unsafe { store4(dx, i, n, zip4!(d, dy, |d, g| d * g)) };
    }
}
