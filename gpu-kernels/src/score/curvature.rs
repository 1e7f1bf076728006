//! Second derivatives of the activations, for grasp's Hessian.
//!
//! With s = sigmoid, s' = s (1 - s) and s'' = s' (1 - 2 s), and t = tanh(softplus(x)), whose derivatives are
//! t' = (1 - t^2) s and t'' = (1 - t^2) (s' - 2 t s^2):
//!
//! | activation | f''                                                                          |
//! |------------|------------------------------------------------------------------------------|
//! | ELU, SELU  | alpha e^x below zero (times SELU's scale)                                    |
//! | GELU       | pdf(x) (2 - x^2)                                                             |
//! | GELU tanh  | 2 s' u' + x (s'' u'^2 + s' u''), s of u = a x + b x^3                        |
//! | SiLU       | 2 s' + x s''                                                                 |
//! | Mish       | 2 t' + x t''                                                                 |
//! | sigmoid    | s''                                                                          |
//! | tanh       | -2 tanh(x) (1 - tanh(x)^2)                                                   |
//! | softplus   | s'                                                                           |
//! | hard swish | 1/3 within (-3, 3)                                                           |
//!
//! All others are piecewise linear. At a kink the value is 0 or the one from below.

use crate::activation as kinds;
use crate::math::{exp, fma, sigmoid, softplus, tanh};

/// f''(x) of activation `kind`.
#[inline(always)]
pub fn curvature(kind: u32, param: f32, x: f32) -> f32 {
    // Past these ends every second derivative but ELU's at minus infinity is zero in f32, and so is ELU's.
    let high = if x > 100.0 { 100.0 } else { x };
    let x = if high < -100.0 { -100.0 } else { high };
    let s = sigmoid(x);
    let ds = s * sigmoid(-x);
    match kind {
        kinds::ELU if x <= 0.0 => param * exp(x),
        kinds::SELU if x <= 0.0 => (kinds::SELU_SCALE * kinds::SELU_ALPHA) as f32 * exp(x),
        kinds::GELU => exp(-0.5 * x * x) * (0.5 * kinds::SQRT_2_OVER_PI) as f32 * fma(-x, x, 2.0),
        kinds::GELU_TANH => {
            const A: f32 = (2.0 * kinds::SQRT_2_OVER_PI) as f32;
            const B: f32 = (2.0 * kinds::SQRT_2_OVER_PI * kinds::GELU_CUBIC) as f32;
            let u = x * fma(B * x, x, A);
            let du = fma(3.0 * B * x, x, A);
            let s = sigmoid(u);
            let ds = s * sigmoid(-u);
            fma(2.0 * ds, du, x * ds * fma((1.0 - 2.0 * s) * du, du, 6.0 * B * x))
        }
        kinds::SILU => ds * fma(x, 1.0 - 2.0 * s, 2.0),
        kinds::MISH => {
            let t = tanh(softplus(x));
            let rest = (1.0 - t) * (1.0 + t);
            rest * fma(2.0, s, x * (ds - 2.0 * t * s * s))
        }
        kinds::SIGMOID => ds * (1.0 - 2.0 * s),
        kinds::TANH => {
            let t = tanh(x);
            -2.0 * t * (1.0 - t) * (1.0 + t)
        }
        kinds::SOFTPLUS => ds,
        kinds::HARD_SWISH if x > -3.0 && x < 3.0 => 1.0 / 3.0,
        _ => 0.0,
    }
}
