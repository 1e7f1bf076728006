//! One parameter's step of the optimisers. The formulas are those of [`crate::optim`], with the same roundings.

#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::table::{Network, ADAM, HYPER_WORDS, RMSPROP, RMSPROP_MOMENTUM, SGD_MOMENTUM};
use crate::optim::{DECAY, GRAD_WEIGHT, INV_SQRT_BIAS2, LR, STEP_SIZE};

/// An optimiser at one step.
#[derive(Clone, Copy)]
pub struct Optimizer {
    kind: u32,
    weight_decay: f32,
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    lr: f32,
    step_size: f32,
    inv_sqrt_bias2: f32,
    decay: f32,
    grad_weight: f32,
}

impl Optimizer {
    /// The network's optimiser at step `step` of the launch.
    ///
    /// # Safety
    /// - The table of hyper-parameters has that step.
    #[inline(always)]
    pub unsafe fn at(net: &Network, step: u32) -> Optimizer {
        // SAFETY: the caller's contract.
        unsafe {
            let hyper = (net.hyper as *const f32).add(step as usize * HYPER_WORDS);
            Optimizer {
                kind: net.optimizer,
                weight_decay: net.weight_decay,
                a: net.a,
                b: net.b,
                c: net.c,
                d: net.d,
                lr: *hyper.add(LR),
                step_size: *hyper.add(STEP_SIZE),
                inv_sqrt_bias2: *hyper.add(INV_SQRT_BIAS2),
                decay: *hyper.add(DECAY),
                grad_weight: *hyper.add(GRAD_WEIGHT),
            }
        }
    }

    /// The parameter after a step along gradient `g`; `first` and `second` are its moments.
    ///
    /// # Safety
    /// - The moments that the optimiser keeps are valid for reading and writing, and nobody else's.
    #[inline(always)]
    pub unsafe fn step(&self, p: f32, g: f32, first: *mut f32, second: *mut f32) -> f32 {
        let g = self.weight_decay.mul_add(p, g);
        // SAFETY: the caller's contract.
        unsafe {
            match self.kind {
                ADAM => {
                    let m = self.a.mul_add(g - *first, *first);
                    let v = self.b.mul_add(*second, self.c * g * g);
                    *first = m;
                    *second = v;
                    let d = m / v.sqrt().mul_add(self.inv_sqrt_bias2, self.d);
                    (-self.step_size).mul_add(d, self.decay * p)
                }
                RMSPROP | RMSPROP_MOMENTUM => {
                    let v = self.a.mul_add(*first, self.b * g * g);
                    *first = v;
                    let mut d = g / (v.sqrt() + self.c);
                    if self.kind == RMSPROP_MOMENTUM {
                        d = self.d.mul_add(*second, d);
                        *second = d;
                    }
                    (-self.lr).mul_add(d, p)
                }
                SGD_MOMENTUM => {
                    let buffer = self.a.mul_add(*first, self.grad_weight * g);
                    *first = buffer;
                    let d = if self.b != 0.0 { self.a.mul_add(buffer, g) } else { buffer };
                    (-self.lr).mul_add(d, p)
                }
                _ => (-self.lr).mul_add(g, p),
            }
        }
    }
}
