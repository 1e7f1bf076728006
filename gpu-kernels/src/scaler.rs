//! Dynamic loss scaling: gradients of a scaled loss are checked and brought back to their size, and the scale follows.
//!
//! The gradients lie anywhere in device memory; the host cuts them into chunks and writes a table of
//! [`NORM_WORDS`] words a chunk, as for the gradient norm. [`unscale_partial()`] handles a chunk a block, [`unscale_finish()`]
//! ends with the scalars: [`scale_after`] and [`hyper_after`], which the host shares.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use crate::optim::{
    block_sum, GRAD_WEIGHT, HYPER_LEN, INV_SQRT_BIAS2, LR, NORM_WORDS, OPTIM_BLOCK, STEP_SIZE,
};
use crate::vector::{load_quad, store_quad};

/// What the scale is multiplied by after enough good steps.
pub const GROWTH: f32 = 2.0;
/// What the scale is multiplied by when a gradient was not finite.
pub const BACKOFF: f32 = 0.5;

/// Scale and counters after a step: `good` steps since the scale last changed, `taken` steps in all. After `interval` good
/// ones the scale grows, unless it would not be finite any more.
#[inline(always)]
pub fn scale_after(overflow: bool, scale: f32, good: u32, taken: u32, interval: u32) -> (f32, u32, u32) {
    if overflow {
        return (scale * BACKOFF, 0, taken);
    }
    let (good, taken) = (good.wrapping_add(1), taken.wrapping_add(1));
    if good < interval {
        return (scale, good, taken);
    }
    let grown = scale * GROWTH;
    (if grown.is_finite() { grown } else { scale }, 0, taken)
}

/// `x` to the power `n`, by squaring.
#[inline(always)]
fn power(x: f64, n: u32) -> f64 {
    let (mut result, mut square, mut n) = (1.0, x, n);
    while n > 0 {
        if n & 1 == 1 {
            result *= square;
        }
        square *= square;
        n >>= 1;
    }
    result
}

/// What `hyper` says of the step that is number `step`, from 1, among those taken: step size, `1 / sqrt(1 - beta2^step)`
/// and the weight of the gradient in SGD's buffer, for learning rate `lr`.
#[inline(always)]
pub fn hyper_after(lr: f64, beta1: f64, beta2: f64, later_weight: f64, step: u32) -> (f64, f64, f64) {
    let step_size = lr / (1.0 - power(beta1, step));
    let correction = 1.0 / (1.0 - power(beta2, step)).sqrt();
    (step_size, correction, if step > 1 { later_weight } else { 1.0 })
}

/// Divides chunk `b` by the scale; `partial[b]` = how many of its numbers were not finite.
///
/// # Safety
/// - Blocks of [`OPTIM_BLOCK`] threads; `table` has [`NORM_WORDS`] words a block, of chunks that nobody else touches;
///   `scale` is one number, `partial` covers a number a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn unscale_partial(table: *const u64, scale: *const f32, partial: *mut f32) {
    let block = thread::block_idx_x() as usize;
    let (address, len) = (*table.add(block * NORM_WORDS), *table.add(block * NORM_WORDS + 1) as u32);
    let inverse = 1.0 / *scale;
    let quads = if address & 15 == 0 { len / 4 } else { 0 };
    let x = address as *mut f32;
    let mut bad = 0.0f32;
    let mut unscaled = |v: f32| {
        bad += if v.is_finite() { 0.0 } else { 1.0 };
        v * inverse
    };
    let mut q = thread::thread_idx_x();
    while q < quads {
        // 4 q + 3 < len, and x covers len elements and is aligned.
        let at = x.add(4 * q as usize);
        let mut v = load_quad(at);
        v.a = unscaled(v.a);
        v.b = unscaled(v.b);
        v.c = unscaled(v.c);
        v.d = unscaled(v.d);
        store_quad(at, v);
        q += OPTIM_BLOCK;
    }
    let mut i = 4 * quads + thread::thread_idx_x();
    while i < len {
        let at = x.add(i as usize);
        *at = unscaled(*at);
        i += OPTIM_BLOCK;
    }
    let bad = block_sum(bad);
    if thread::thread_idx_x() == 0 {
        *partial.add(block) = bad;
    }
}

/// From the counts of [`unscale_partial()`]: `overflow` is 1 when a gradient was not finite, else 0; `scale` and
/// `steps = [good, taken]` follow ([`scale_after`]); `corrected` is `hyper` with what depends on the number of the step
/// computed for the steps taken ([`hyper_after`]). One block.
///
/// # Safety
/// - `partial` covers `count` numbers, `scale` and `overflow` one, `steps` two, `hyper` and `corrected` [`HYPER_LEN`].
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(OPTIM_BLOCK))]
pub unsafe fn unscale_finish(
    count: u32,
    partial: *const f32,
    interval: u32,
    beta1: f64,
    beta2: f64,
    later_weight: f64,
    scale: *mut f32,
    steps: *mut u32,
    hyper: *const f32,
    overflow: *mut f32,
    corrected: *mut f32,
) {
    let mut bad = 0.0;
    let mut i = thread::thread_idx_x() as usize;
    while i < count as usize {
        bad += *partial.add(i);
        i += OPTIM_BLOCK as usize;
    }
    let bad = block_sum(bad) > 0.0;
    if thread::thread_idx_x() != 0 {
        return;
    }
    let step = (*steps.add(1)).wrapping_add(1);
    let (step_size, correction, weight) =
        hyper_after(f64::from(*hyper.add(LR)), beta1, beta2, later_weight, step);
    let mut k = 0;
    while k < HYPER_LEN {
        *corrected.add(k) = *hyper.add(k);
        k += 1;
    }
    *corrected.add(STEP_SIZE) = step_size as f32;
    *corrected.add(INV_SQRT_BIAS2) = correction as f32;
    *corrected.add(GRAD_WEIGHT) = weight as f32;
    let after = scale_after(bad, *scale, *steps, *steps.add(1), interval);
    (*scale, *steps, *steps.add(1)) = after;
    *overflow = if bad { 1.0 } else { 0.0 };
}
