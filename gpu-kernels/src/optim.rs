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

use crate::vector::{load_quad, store_quad, F32x4};

/// Threads of a block of every kernel here.
pub const OPTIM_BLOCK: u32 = 256;
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

/// The tensors of a chunk: addresses of parameter, gradient, first and second moment, and the number of elements.
pub(crate) type Chunk = ([u64; 4], u32);

/// Runs `rule` over this block's chunk of `table`; see [`update_chunk`].
///
/// # Safety
/// - `table` covers [`UPDATE_WORDS`] words a block; each chunk's tensors cover its length and do not overlap.
#[inline(always)]
unsafe fn update<const MOMENTS: u32>(
    table: *const u64,
    scale: *const f32,
    rule: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32),
) {
    // SAFETY: table covers this block's words; scale is null or one number (the kernel's contract).
    unsafe {
        let w = table.add(thread::block_idx_x() as usize * UPDATE_WORDS);
        let scale = if scale.is_null() { 1.0 } else { *scale };
        let chunk = ([*w, *w.add(1), *w.add(2), *w.add(3)], *w.add(4) as u32);
        update_chunk::<MOMENTS>(chunk, scale, rule);
    }
}

/// Runs `rule(parameter, gradient * scale, first, second) -> (parameter, first, second)` over a chunk by a block of
/// [`OPTIM_BLOCK`], with `MOMENTS` of the two moments in memory.
///
/// # Safety
/// - The chunk's tensors cover its length and do not overlap; no other block has them.
#[inline(always)]
pub(crate) unsafe fn update_chunk<const MOMENTS: u32>(
    ([p, g, m, v], len): Chunk,
    scale: f32,
    rule: impl Fn(f32, f32, f32, f32) -> (f32, f32, f32),
) {
    // Quads where all tensors are aligned, the rest one by one.
    let quads = if (p | g | m | v) & 15 == 0 { len / 4 } else { 0 };
    let (p, g, m, v) = (p as *mut f32, g as *const f32, m as *mut f32, v as *mut f32);
    let mut q = thread::thread_idx_x();
    while q < quads {
        // SAFETY: 4 q + 3 < len, the tensors cover len elements and are aligned.
        unsafe {
            let at = 4 * q as usize;
            let (p, m, v) = (p.add(at), m.add(at), v.add(at));
            let (mut ps, g) = (load_quad(p), load_quad(g.add(at)));
            let zero = F32x4::from([0.0; 4]);
            let mut ms = if MOMENTS > 0 { load_quad(m) } else { zero };
            let mut vs = if MOMENTS > 1 { load_quad(v) } else { zero };
            (ps.a, ms.a, vs.a) = rule(ps.a, g.a * scale, ms.a, vs.a);
            (ps.b, ms.b, vs.b) = rule(ps.b, g.b * scale, ms.b, vs.b);
            (ps.c, ms.c, vs.c) = rule(ps.c, g.c * scale, ms.c, vs.c);
            (ps.d, ms.d, vs.d) = rule(ps.d, g.d * scale, ms.d, vs.d);
            store_quad(p, ps);
            if MOMENTS > 0 {
                store_quad(m, ms);
            }
            if MOMENTS > 1 {
                store_quad(v, vs);
            }
        }
        q += OPTIM_BLOCK;
    }
    let mut i = 4 * quads + thread::thread_idx_x();
    while i < len {
        // SAFETY: i < len, and the tensors cover len elements.
        unsafe {
            let at = i as usize;
            let m0 = if MOMENTS > 0 { *m.add(at) } else { 0.0 };
            let v0 = if MOMENTS > 1 { *v.add(at) } else { 0.0 };
            let (p1, m1, v1) = rule(*p.add(at), *g.add(at) * scale, m0, v0);
            *p.add(at) = p1;
            if MOMENTS > 0 {
                *m.add(at) = m1;
            }
            if MOMENTS > 1 {
                *v.add(at) = v1;
            }
        }
        i += OPTIM_BLOCK;
    }
}

/// The rules: (parameter, gradient, moments) and the step's numbers in, (parameter, moments) out. The kernels below and those
/// of [`grouped`](crate::grouped) share them.
pub(crate) mod rules {
    #[cfg(target_arch = "nvptx64")]
    use cuda_std::GpuFloat;

    /// SGD without momentum.
    #[inline(always)]
    pub(crate) fn sgd(p: f32, g: f32, lr: f32, weight_decay: f32) -> f32 {
        let g = weight_decay.mul_add(p, g);
        (-lr).mul_add(g, p)
    }

    /// SGD with momentum: (p, b). `weight` is the gradient's in the buffer.
    #[inline(always)]
    pub(crate) fn momentum(
        (p, g, b): (f32, f32, f32),
        (lr, weight): (f32, f32),
        weight_decay: f32,
        momentum: f32,
        nesterov: bool,
    ) -> (f32, f32) {
        let g = weight_decay.mul_add(p, g);
        let b = momentum.mul_add(b, weight * g);
        let d = if nesterov { momentum.mul_add(b, g) } else { b };
        ((-lr).mul_add(d, p), b)
    }

    /// RMSprop's mean square and the direction g / (sqrt(v) + eps): (v, d).
    #[inline(always)]
    pub(crate) fn rmsprop(
        (p, g, v): (f32, f32, f32),
        weight_decay: f32,
        (alpha, one_minus_alpha, eps): (f32, f32, f32),
    ) -> (f32, f32) {
        let g = weight_decay.mul_add(p, g);
        let v = alpha.mul_add(v, one_minus_alpha * g * g);
        (v, g / (v.sqrt() + eps))
    }

    /// Adam and AdamW: (p, m, v). `step` is (step size, 1 / sqrt(1 - beta2^t), decay).
    #[inline(always)]
    pub(crate) fn adam(
        (p, g, m, v): (f32, f32, f32, f32),
        step: (f32, f32, f32),
        weight_decay: f32,
        (one_minus_beta1, beta2, one_minus_beta2, eps): (f32, f32, f32, f32),
    ) -> (f32, f32, f32) {
        let (step_size, inv_sqrt_bias2, decay) = step;
        let g = weight_decay.mul_add(p, g);
        let m = one_minus_beta1.mul_add(g - m, m);
        let v = beta2.mul_add(v, one_minus_beta2 * g * g);
        let d = m / v.sqrt().mul_add(inv_sqrt_bias2, eps);
        ((-step_size).mul_add(d, decay * p), m, v)
    }
}

/// SGD without momentum: `p -= lr (g + weight_decay p)`.
///
/// # Safety
/// - `table` is as the module says, a chunk a block, without moments; `hyper` covers [`HYPER_LEN`] numbers; `scale` is null or one
///   number that multiplies the gradients.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn sgd_step(table: *const u64, hyper: *const f32, scale: *const f32, weight_decay: f32) {
    // SAFETY: the kernel's contract.
    unsafe {
        let lr = *hyper.add(LR);
        update::<0>(table, scale, |p, g, _, _| (rules::sgd(p, g, lr, weight_decay), 0.0, 0.0));
    }
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
    weight_decay: f32,
    momentum: f32,
    nesterov: u32,
) {
    // SAFETY: the kernel's contract.
    unsafe {
        let lr = *hyper.add(LR);
        let weight = *hyper.add(GRAD_WEIGHT);
        update::<1>(table, scale, |p, g, b, _| {
            let (p, b) = rules::momentum((p, g, b), (lr, weight), weight_decay, momentum, nesterov != 0);
            (p, b, 0.0)
        });
    }
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
    weight_decay: f32,
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
) {
    // SAFETY: the kernel's contract.
    unsafe {
        let lr = *hyper.add(LR);
        update::<1>(table, scale, |p, g, v, _| {
            let (v, d) = rules::rmsprop((p, g, v), weight_decay, (alpha, one_minus_alpha, eps));
            ((-lr).mul_add(d, p), v, 0.0)
        });
    }
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
    weight_decay: f32,
    alpha: f32,
    one_minus_alpha: f32,
    eps: f32,
    momentum: f32,
) {
    // SAFETY: the kernel's contract.
    unsafe {
        let lr = *hyper.add(LR);
        update::<2>(table, scale, |p, g, v, b| {
            let (v, d) = rules::rmsprop((p, g, v), weight_decay, (alpha, one_minus_alpha, eps));
            let b = momentum.mul_add(b, d);
            ((-lr).mul_add(b, p), v, b)
        });
    }
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
    weight_decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
) {
    // SAFETY: the kernel's contract.
    unsafe {
        let step_size = *hyper.add(STEP_SIZE);
        let inv_sqrt_bias2 = *hyper.add(INV_SQRT_BIAS2);
        let decay = *hyper.add(DECAY);
        let (step, betas) =
            ((step_size, inv_sqrt_bias2, decay), (one_minus_beta1, beta2, one_minus_beta2, eps));
        update::<2>(table, scale, |p, g, m, v| rules::adam((p, g, m, v), step, weight_decay, betas));
    }
}

/// The sum of `value` over the block's threads, by a tree of halves, in thread 0.
///
/// # Safety
/// - Every thread of the block of [`OPTIM_BLOCK`] calls it.
#[inline(always)]
unsafe fn block_sum(value: f32) -> f32 {
    let sums = shared_array![f32; 256];
    let t = thread::thread_idx_x() as usize;
    // SAFETY: t < 256, the block's size; barriers separate the writes of one level from the reads of the next, and every
    // thread takes part in each.
    unsafe {
        *sums.add(t) = value;
        thread::sync_threads();
        let mut half = OPTIM_BLOCK as usize / 2;
        while half > 0 {
            if t < half {
                *sums.add(t) += *sums.add(t + half);
            }
            thread::sync_threads();
            half /= 2;
        }
        *sums
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
    let factor = max_norm / (length + 1e-6);
    // Written so that NaN stays: a diverged step must not look like a clipped one.
    (length, if factor > 1.0 { 1.0 } else { factor })
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
