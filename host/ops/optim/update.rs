//! The optimisers' arithmetic on the host: one pass over a tensor's parameter, gradient and moments.
//!
//! The rules are those of the kernels (`gpu_kernels::optim`), operation for operation.

use gpu_kernels::optim::{DECAY, GRAD_WEIGHT, INV_SQRT_BIAS2, LR, STEP_SIZE};
use multiversion::multiversion;

use super::Optimizer;
use crate::real::Real;

/// Elements from which a tensor is shared between threads: below, waking another one costs more than it saves.
const PARALLEL: usize = 1 << 16;

/// An update rule with this step's numbers, in the precision it runs in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule<T> {
    Sgd { lr: T },
    Momentum { lr: T, weight: T, momentum: T, nesterov: bool },
    RmsProp { lr: T, alpha: T, rest: T, eps: T },
    RmsPropMomentum { lr: T, alpha: T, rest: T, eps: T, momentum: T },
    Adam { step_size: T, inv_sqrt_bias2: T, decay: T, rest1: T, beta2: T, rest2: T, eps: T },
}

/// A rule, and what it does to gradients first: `g = g scale + weight_decay p`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update<T> {
    pub rule: Rule<T>,
    pub scale: T,
    pub weight_decay: T,
}

impl<T: Real> Update<T> {
    /// From the attributes, rounded to `f32` as the kernels get them, and the step's `hyper`.
    pub fn new(optimizer: &Optimizer, hyper: &[T], scale: T) -> Update<T> {
        let of = |x: f64| T::of(f64::from(x as f32));
        let lr = hyper[LR];
        let rule = match *optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => Rule::Sgd { lr },
            Optimizer::Sgd { momentum, nesterov, .. } => {
                Rule::Momentum { lr, weight: hyper[GRAD_WEIGHT], momentum: of(momentum), nesterov }
            }
            Optimizer::RmsProp { alpha, eps, momentum: 0.0, .. } => {
                Rule::RmsProp { lr, alpha: of(alpha), rest: of(1.0 - alpha), eps: of(eps) }
            }
            Optimizer::RmsProp { alpha, eps, momentum, .. } => {
                let (rest, momentum) = (of(1.0 - alpha), of(momentum));
                Rule::RmsPropMomentum { lr, alpha: of(alpha), rest, eps: of(eps), momentum }
            }
            Optimizer::Adam { beta1, beta2, eps, .. } | Optimizer::AdamW { beta1, beta2, eps, .. } => {
                Rule::Adam {
                    step_size: hyper[STEP_SIZE],
                    inv_sqrt_bias2: hyper[INV_SQRT_BIAS2],
                    decay: hyper[DECAY],
                    rest1: of(1.0 - beta1),
                    beta2: of(beta2),
                    rest2: of(1.0 - beta2),
                    eps: of(eps),
                }
            }
        };
        Update { rule, scale, weight_decay: of(optimizer.coupled_weight_decay()) }
    }
}

/// One tensor: `a` and `b` are its moments, empty where the rule has none.
#[inline(always)]
fn apply<T: Real>(update: &Update<T>, p: &mut [T], g: &[T], a: &mut [T], b: &mut [T]) {
    let gradient = |g: T, p: T| update.weight_decay.mul_add(p, g * update.scale);
    match update.rule {
        Rule::Sgd { lr } => {
            for (p, &g) in p.iter_mut().zip(g) {
                *p = (-lr).mul_add(gradient(g, *p), *p);
            }
        }
        Rule::Momentum { lr, weight, momentum, nesterov } => {
            for ((p, &g), b) in p.iter_mut().zip(g).zip(a) {
                let g = gradient(g, *p);
                *b = momentum.mul_add(*b, weight * g);
                let d = if nesterov { momentum.mul_add(*b, g) } else { *b };
                *p = (-lr).mul_add(d, *p);
            }
        }
        Rule::RmsProp { lr, alpha, rest, eps } => {
            for ((p, &g), v) in p.iter_mut().zip(g).zip(a) {
                let g = gradient(g, *p);
                *v = alpha.mul_add(*v, rest * g * g);
                *p = (-lr).mul_add(g / (v.sqrt() + eps), *p);
            }
        }
        Rule::RmsPropMomentum { lr, alpha, rest, eps, momentum } => {
            for (((p, &g), v), b) in p.iter_mut().zip(g).zip(a).zip(b) {
                let g = gradient(g, *p);
                *v = alpha.mul_add(*v, rest * g * g);
                *b = momentum.mul_add(*b, g / (v.sqrt() + eps));
                *p = (-lr).mul_add(*b, *p);
            }
        }
        Rule::Adam { step_size, inv_sqrt_bias2, decay, rest1, beta2, rest2, eps } => {
            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(a).zip(b) {
                let g = gradient(g, *p);
                *m = rest1.mul_add(g - *m, *m);
                *v = beta2.mul_add(*v, rest2 * g * g);
                let d = *m / v.sqrt().mul_add(inv_sqrt_bias2, eps);
                *p = (-step_size).mul_add(d, decay * *p);
            }
        }
    }
}

/// [`apply`] in `f32`, compiled for each instruction set.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(super) fn apply_f32(update: &Update<f32>, p: &mut [f32], g: &[f32], a: &mut [f32], b: &mut [f32]) {
    apply(update, p, g, a, b);
}

/// [`apply`] in `f64`: the oracle.
pub(super) fn apply_f64(update: &Update<f64>, p: &mut [f64], g: &[f64], a: &mut [f64], b: &mut [f64]) {
    apply(update, p, g, a, b);
}

/// What [`apply_f32`] and [`apply_f64`] are.
pub(super) type Apply<T> = fn(&Update<T>, &mut [T], &[T], &mut [T], &mut [T]);

/// Runs `apply` over a tensor, shared between threads where it is long; elements are independent, so the numbers do not
/// depend on how.
pub(super) fn shared<T: Real>(
    update: &Update<T>,
    apply: Apply<T>,
    p: &mut [T],
    g: &[T],
    a: &mut [T],
    b: &mut [T],
) {
    if p.len() < PARALLEL {
        return apply(update, p, g, a, b);
    }
    // A multiple of a cache line, so that no line is written by two threads.
    let middle = (p.len() / 2).next_multiple_of(16);
    let (p0, p1) = p.split_at_mut(middle);
    let (g0, g1) = g.split_at(middle);
    let (a0, a1) = a.split_at_mut(middle.min(a.len()));
    let (b0, b1) = b.split_at_mut(middle.min(b.len()));
    rayon::join(|| shared(update, apply, p0, g0, a0, b0), || shared(update, apply, p1, g1, a1, b1));
}
