//! Optimiser steps and the global gradient norm over lists of tensors, one launch a list.
//!
//! The tensors lie anywhere in device memory. The host cuts each into chunks of [`CHUNK`] elements and writes a table of
//! [`UPDATE_WORDS`] (optimisers) or [`NORM_WORDS`] (norm) 64-bit words a chunk; block `b` handles chunk `b`. Numbers that
//! change from step to step come from `hyper`, a tensor of [`HYPER_LEN`] numbers that the host computes in f64:
//!
//! | index | meaning |
//! |---|---|
//! | [`LR`] | learning rate |
//! | [`STEP_SIZE`] | learning rate / (1 - beta1^t) |
//! | [`INV_SQRT_BIAS2`] | 1 / sqrt(1 - beta2^t) |
//! | [`DECAY`] | 1 - learning rate * decoupled weight decay |
//! | [`GRAD_WEIGHT`] | weight of the gradient in SGD's momentum buffer: 1 at the first step, then 1 - dampening |
//!
//! All arithmetic is fused multiply-adds and correctly rounded operations in a fixed order; the norm's sums are fixed trees.

use cuda_std::prelude::*;
use cuda_std::shared_array;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use crate::collective::{columns, Sum, BLOCK};
use crate::vector::{load_quad, store_quad, F32x4};

/// Threads of a block of every kernel here.
pub const OPTIM_BLOCK: u32 = BLOCK;
/// Elements of a chunk: what one block handles.
pub const CHUNK: u32 = 4096;
/// Words of a chunk in an optimiser's table: addresses of parameter, gradient, first and second moment (0 where the
/// rule has none), and the number of elements.
pub const UPDATE_WORDS: usize = 5;
/// Words of a chunk in the norm's table: address of the gradient, and the number of elements.
pub const NORM_WORDS: usize = 2;

/// Numbers in `hyper`.
pub const HYPER_LEN: usize = 8;
/// Learning rate.
pub const LR: usize = 0;
/// Learning rate / (1 - beta1^t).
pub const STEP_SIZE: usize = 1;
/// 1 / sqrt(1 - beta2^t).
pub const INV_SQRT_BIAS2: usize = 2;
/// 1 - learning rate * decoupled weight decay.
pub const DECAY: usize = 3;
/// Weight of the gradient in SGD's momentum buffer.
pub const GRAD_WEIGHT: usize = 4;

/// SGD without momentum.
pub const SGD: u32 = 0;
/// SGD with momentum.
pub const SGD_MOMENTUM: u32 = 1;
/// RMSprop.
pub const RMSPROP: u32 = 2;
/// RMSprop with momentum.
pub const RMSPROP_MOMENTUM: u32 = 3;
/// Adam and AdamW.
pub const ADAM: u32 = 4;

/// Moments that a rule keeps for each parameter.
const fn moments(kind: u32) -> u32 {
    match kind {
        SGD => 0,
        SGD_MOMENTUM | RMSPROP => 1,
        _ => 2,
    }
}

/// The constants of a rule, and the numbers of one step. The kernels below, those of [`grouped`](crate::grouped) and that of
/// [`population`](crate::population) all step by it.
///
/// | kind | constants | moments |
/// |---|---|---|
/// | [`SGD`] | | |
/// | [`SGD_MOMENTUM`] | momentum; 1 for Nesterov, else 0 | buffer |
/// | [`RMSPROP`] | alpha, 1 - alpha, eps | mean square |
/// | [`RMSPROP_MOMENTUM`] | alpha, 1 - alpha, eps, momentum | mean square, buffer |
/// | [`ADAM`] | 1 - beta1, beta2, 1 - beta2, eps | mean, mean square |
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    weight_decay: f32,
    constants: [f32; 4],
    lr: f32,
    step_size: f32,
    inv_sqrt_bias2: f32,
    decay: f32,
    grad_weight: f32,
}

impl Rule {
    /// With coupled `weight_decay`, and number `k` of `hyper` from `rate(k)`.
    #[inline(always)]
    pub(crate) fn new(weight_decay: f32, constants: [f32; 4], rate: impl Fn(usize) -> f32) -> Rule {
        Rule {
            weight_decay,
            constants,
            lr: rate(LR),
            step_size: rate(STEP_SIZE),
            inv_sqrt_bias2: rate(INV_SQRT_BIAS2),
            decay: rate(DECAY),
            grad_weight: rate(GRAD_WEIGHT),
        }
    }

    /// The parameter after a step of rule `kind` along gradient `g`; its moments are at `m` and `v`.
    ///
    /// # Safety
    /// - The moments that the rule keeps are valid for reading and writing, and nobody else's.
    #[inline(always)]
    pub(crate) unsafe fn step(&self, kind: u32, p: f32, g: f32, m: *mut f32, v: *mut f32) -> f32 {
        let [a, b, c, d] = self.constants;
        let g = self.weight_decay.mul_add(p, g);
        match kind {
            ADAM => {
                let mean = a.mul_add(g - *m, *m);
                let square = b.mul_add(*v, c * g * g);
                (*m, *v) = (mean, square);
                let direction = mean / square.sqrt().mul_add(self.inv_sqrt_bias2, d);
                (-self.step_size).mul_add(direction, self.decay * p)
            }
            RMSPROP | RMSPROP_MOMENTUM => {
                let square = a.mul_add(*m, b * g * g);
                *m = square;
                let mut direction = g / (square.sqrt() + c);
                if kind == RMSPROP_MOMENTUM {
                    direction = d.mul_add(*v, direction);
                    *v = direction;
                }
                (-self.lr).mul_add(direction, p)
            }
            SGD_MOMENTUM => {
                let buffer = a.mul_add(*m, self.grad_weight * g);
                *m = buffer;
                let direction = if b != 0.0 { a.mul_add(buffer, g) } else { buffer };
                (-self.lr).mul_add(direction, p)
            }
            _ => (-self.lr).mul_add(g, p),
        }
    }
}

/// Steps a chunk by rule `KIND`, by a block of [`OPTIM_BLOCK`]: `chunk` is the address of its words in the table, gradients
/// are multiplied by `scale`.
///
/// # Safety
/// - `chunk` has [`UPDATE_WORDS`] words; its tensors cover its length and do not overlap; no other block has them.
#[inline(always)]
pub(crate) unsafe fn update_chunk<const KIND: u32>(chunk: *const u64, scale: f32, rule: Rule) {
    let [p, g, m, v] = [*chunk, *chunk.add(1), *chunk.add(2), *chunk.add(3)];
    let len = *chunk.add(4) as u32;
    let kept = moments(KIND);
    // Quads where all tensors are aligned, the rest one by one.
    let quads = if (p | g | m | v) & 15 == 0 { len / 4 } else { 0 };
    let (p, g, m, v) = (p as *mut f32, g as *const f32, m as *mut f32, v as *mut f32);
    let mut q = thread::thread_idx_x();
    while q < quads {
        // 4 q + 3 < len, the tensors cover len elements and are aligned.
        let at = 4 * q as usize;
        let (p, m, v) = (p.add(at), m.wrapping_add(at), v.wrapping_add(at));
        let (mut ps, g) = (load_quad(p), load_quad(g.add(at)));
        let zero = F32x4::from([0.0; 4]);
        let mut ms = if kept > 0 { load_quad(m) } else { zero };
        let mut vs = if kept > 1 { load_quad(v) } else { zero };
        ps.a = rule.step(KIND, ps.a, g.a * scale, &mut ms.a, &mut vs.a);
        ps.b = rule.step(KIND, ps.b, g.b * scale, &mut ms.b, &mut vs.b);
        ps.c = rule.step(KIND, ps.c, g.c * scale, &mut ms.c, &mut vs.c);
        ps.d = rule.step(KIND, ps.d, g.d * scale, &mut ms.d, &mut vs.d);
        store_quad(p, ps);
        if kept > 0 {
            store_quad(m, ms);
        }
        if kept > 1 {
            store_quad(v, vs);
        }
        q += OPTIM_BLOCK;
    }
    let mut i = 4 * quads + thread::thread_idx_x();
    while i < len {
        let at = i as usize;
        *p.add(at) = rule.step(KIND, *p.add(at), *g.add(at) * scale, m.wrapping_add(at), v.wrapping_add(at));
        i += OPTIM_BLOCK;
    }
}

/// What the kernels of one rule do: [`update_chunk`] over this block's chunk of `table`.
///
/// # Safety
/// - As [`sgd_step()`].
#[inline(always)]
unsafe fn update<const KIND: u32>(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
    constants: [f32; 4],
) {
    // The same in every thread of every block.
    if !skip.is_null() && *skip != 0.0 {
        return;
    }
    let chunk = table.add(thread::block_idx_x() as usize * UPDATE_WORDS);
    let scale = if scale.is_null() { 1.0 } else { *scale };
    update_chunk::<KIND>(chunk, scale, Rule::new(weight_decay, constants, |k| *hyper.add(k)));
}

/// SGD without momentum: `p -= lr (g + weight_decay p)`.
///
/// # Safety
/// - `table` is as the module says, a chunk a block, without moments; `hyper` covers [`HYPER_LEN`] numbers; `scale` is null or one
///   number that multiplies the gradients; `skip` is null or one number: not 0, and nothing changes.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn sgd_step(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
) {
    update::<SGD>(table, hyper, scale, skip, weight_decay, [0.0; 4]);
}

/// SGD with momentum: `b = momentum b + grad_weight g`, then `p -= lr b`, or with Nesterov `p -= lr (g + momentum b)`.
///
/// # Safety
/// - As [`sgd_step()`], with the first moment `b`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn sgd_momentum_step(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
    momentum: f32,
    nesterov: u32,
) {
    let nesterov = if nesterov != 0 { 1.0 } else { 0.0 };
    update::<SGD_MOMENTUM>(table, hyper, scale, skip, weight_decay, [momentum, nesterov, 0.0, 0.0]);
}

/// RMSprop: `v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps)`.
///
/// # Safety
/// - As [`sgd_step()`], with the first moment `v`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn rmsprop_step(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
) {
    update::<RMSPROP>(table, hyper, scale, skip, weight_decay, [alpha, one_minus_alpha, eps, 0.0]);
}

/// RMSprop with momentum: as [`rmsprop_step()`], with `b = momentum b + g / (sqrt(v) + eps); p -= lr b`.
///
/// # Safety
/// - As [`sgd_step()`], with the first moment `v` and the second `b`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn rmsprop_momentum_step(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
    momentum: f32,
) {
    let constants = [alpha, one_minus_alpha, eps, momentum];
    update::<RMSPROP_MOMENTUM>(table, hyper, scale, skip, weight_decay, constants);
}

/// Adam (`decay` in `hyper` is 1) and AdamW (`weight_decay` is 0):
/// `m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; p = decay p - step_size m / (sqrt(v) inv_sqrt_bias2 + eps)`.
///
/// # Safety
/// - As [`sgd_step()`], with the moments `m` and `v`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn adam_step(
    table: *const u64,
    hyper: *const f32,
    scale: *const f32,
    skip: *const f32,
    weight_decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
) {
    let constants = [one_minus_beta1, beta2, one_minus_beta2, eps];
    update::<ADAM>(table, hyper, scale, skip, weight_decay, constants);
}

/// The sum of `value` over the block's threads, by a tree of halves, in thread 0.
///
/// # Safety
/// - Every thread of the block of [`OPTIM_BLOCK`] calls it.
#[inline(always)]
pub(crate) unsafe fn block_sum(value: f32) -> f32 {
    columns::<Sum>(value, 0, shared_array![f32; BLOCK as usize])
}

/// What gradients of that norm are multiplied by to keep to a bound: `min(1, bound / (norm + 1e-6))`.
#[inline(always)]
pub(crate) fn clip_factor(norm: f32, bound: f32) -> f32 {
    let factor = bound / (norm + 1e-6);
    // Written so that NaN stays: a diverged step must not look like a clipped one.
    if factor > 1.0 {
        1.0
    } else {
        factor
    }
}

/// `partial[b]` = the sum of squares of chunk `b`.
///
/// # Safety
/// - `table` is as the module says, [`NORM_WORDS`] words a block; `partial` covers a number a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn global_norm_partial(table: *const u64, partial: *mut f32) {
    let block = thread::block_idx_x() as usize;
    // SAFETY: table covers this block's words (the kernel's contract).
    let (address, len) =
        unsafe { (*table.add(block * NORM_WORDS), *table.add(block * NORM_WORDS + 1) as u32) };
    let quads = if address & 15 == 0 { len / 4 } else { 0 };
    let x = address as *const f32;
    let mut sum = 0.0f32;
    let mut q = thread::thread_idx_x();
    while q < quads {
        // SAFETY: 4 q + 3 < len, and x covers len elements and is aligned.
        let v = unsafe { load_quad(x.add(4 * q as usize)) };
        sum = v.a.mul_add(v.a, sum);
        sum = v.b.mul_add(v.b, sum);
        sum = v.c.mul_add(v.c, sum);
        sum = v.d.mul_add(v.d, sum);
        q += OPTIM_BLOCK;
    }
    let mut i = 4 * quads + thread::thread_idx_x();
    while i < len {
        // SAFETY: i < len, and x covers len elements.
        let v = unsafe { *x.add(i as usize) };
        sum = v.mul_add(v, sum);
        i += OPTIM_BLOCK;
    }
    // SAFETY: every thread reaches this; partial covers a number a block.
    unsafe {
        let sum = block_sum(sum);
        if thread::thread_idx_x() == 0 {
            *partial.add(block) = sum;
        }
    }
}

/// The norm and the scale of a list of gradients from the partial sums of squares of its chunks, in thread 0:
/// `norm = sqrt(sum)` and `scale = min(1, max_norm / (norm + 1e-6))`.
///
/// # Safety
/// - Every thread of the block of [`OPTIM_BLOCK`] calls it; `partial` covers `count` numbers.
#[inline(always)]
pub(crate) unsafe fn norm_and_scale(count: u32, partial: *const f32, max_norm: f32) -> (f32, f32) {
    let mut sum = 0.0;
    let mut i = thread::thread_idx_x() as usize;
    while i < count as usize {
        // SAFETY: i < count.
        sum += unsafe { *partial.add(i) };
        i += OPTIM_BLOCK as usize;
    }
    // SAFETY: every thread reaches this.
    let length = unsafe { block_sum(sum) }.sqrt();
    (length, clip_factor(length, max_norm))
}

/// From the partial sums of squares: `norm = sqrt(sum)` and `scale = min(1, max_norm / (norm + 1e-6))`. One block.
///
/// # Safety
/// - `partial` covers `count` numbers, `scale` and `norm` one each.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn global_norm_finish(
    count: u32,
    partial: *const f32,
    max_norm: f32,
    scale: *mut f32,
    norm: *mut f32,
) {
    // SAFETY: every thread reaches this; scale and norm are one number each.
    unsafe {
        let (length, factor) = norm_and_scale(count, partial, max_norm);
        if thread::thread_idx_x() == 0 {
            *norm = length;
            *scale = factor;
        }
    }
}
