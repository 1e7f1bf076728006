//! Second derivatives of the activations on the host; the table is in `gpu_kernels::score`'s `curvature`.

use gpu_kernels::activation as kinds;

use crate::ops::activation::Activation;
use crate::real::Real;

/// f''(x). At a kink 0, or the value from below.
#[inline(always)]
pub fn curvature<T: Real>(activation: Activation, x: T) -> T {
    let x = if x > T::of(100.0) { T::of(100.0) } else { x };
    let x = if x < T::of(-100.0) { T::of(-100.0) } else { x };
    let two = T::of(2.0);
    let sigmoid = |x: T| {
        let e = (-x.abs()).exp();
        (if x < T::ZERO { e } else { T::ONE }) / (T::ONE + e)
    };
    match activation {
        Activation::Elu(alpha) if x <= T::ZERO => T::of(f64::from(alpha)) * x.exp(),
        Activation::Selu if x <= T::ZERO => T::of(kinds::SELU_SCALE * kinds::SELU_ALPHA) * x.exp(),
        Activation::Gelu => {
            let pdf = (T::of(-0.5) * x * x).exp() * T::of(0.5 * kinds::SQRT_2_OVER_PI);
            pdf * (two - x * x)
        }
        Activation::GeluTanh => {
            let a = 2.0 * kinds::SQRT_2_OVER_PI;
            let b = a * kinds::GELU_CUBIC;
            let u = x * (T::of(b) * x * x + T::of(a));
            let (du, ddu) = (T::of(3.0 * b) * x * x + T::of(a), T::of(6.0 * b) * x);
            let s = sigmoid(u);
            let ds = s * sigmoid(-u);
            two * ds * du + x * ds * ((T::ONE - two * s) * du * du + ddu)
        }
        Activation::Silu => {
            let s = sigmoid(x);
            s * sigmoid(-x) * (two + x * (T::ONE - two * s))
        }
        Activation::Mish => {
            let positive = if x < T::ZERO { T::ZERO } else { x };
            let t = (positive + (-x.abs()).exp().ln_1p()).tanh();
            let s = sigmoid(x);
            let rest = (T::ONE - t) * (T::ONE + t);
            rest * (two * s + x * (s * sigmoid(-x) - two * t * s * s))
        }
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x) * (T::ONE - two * sigmoid(x)),
        Activation::Tanh => {
            let t = x.tanh();
            -two * t * (T::ONE - t) * (T::ONE + t)
        }
        Activation::Softplus => sigmoid(x) * sigmoid(-x),
        Activation::HardSwish if x > T::of(-3.0) && x < T::of(3.0) => T::of(1.0 / 3.0),
        _ => T::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(activation: Activation, x: f64) -> f64 {
        activation.derivative(if activation.grad_from_output() { activation.apply(x) } else { x })
    }

    #[test]
    fn curvature_is_the_slope_of_the_slope() {
        for activation in
            Activation::ALL.into_iter().chain([Activation::Elu(0.3), Activation::LeakyRelu(0.2)])
        {
            for i in 0..400 {
                // Between the kinks at 0 and +-3.
                let x = -8.0 + 0.0401 * f64::from(i);
                let h = 1e-5;
                let numeric = (slope(activation, x + h) - slope(activation, x - h)) / (2.0 * h);
                let exact = curvature(activation, x);
                assert!(
                    (numeric - exact).abs() < 1e-8,
                    "{activation} at {x}: {exact}, differences say {numeric}"
                );
            }
        }
    }

    #[test]
    fn kernels_and_host_say_the_same() {
        for activation in Activation::ALL {
            for i in -3000..3000 {
                let x = 0.01f32 * i as f32 + 0.003;
                let kernel = gpu_kernels::score::curvature(activation.kind(), activation.param(), x);
                let host = curvature(activation, f64::from(x));
                // A few ulp of terms of size 1; GELU's tanh form multiplies them by u'^2, below 20 where it matters.
                assert!((f64::from(kernel) - host).abs() < 4e-6, "{activation} at {x}: {kernel} for {host}");
            }
        }
    }
}
