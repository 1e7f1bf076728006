//! Losses fused with their gradients.
//!
//! Each kernel writes the gradient of the *mean* loss, and one number a block: the sum of its losses, times `scale`. A
//! launch of one block passes `scale = 1 / count` and the loss's own address, and is done; otherwise the partial sums go
//! to a workspace and `sum_rows` adds them in a fixed order. No atomics, so the loss has the same bits in every run.

use crate::collective::{group_all, Sum, BLOCK, LOG2_BLOCK};
use crate::math::{exp, ln, ln_1p};
use crate::softmax::{exp_sum, my_row};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Elements that a block of an elementwise loss takes at least.
pub const ELEMENTS_PER_BLOCK: u32 = 1024;
/// Blocks of an elementwise loss at most; beyond, each takes more elements.
pub const MAX_BLOCKS: u32 = 512;

/// Writes the block's sum of `loss`, scaled.
#[inline(always)]
unsafe fn block_sum(loss: f32, scale: f32, partial: *mut f32) {
    // SAFETY: all threads of the block arrive, and `partial` has an element a block.
    unsafe {
        let sum = group_all::<Sum>(loss, LOG2_BLOCK, shared_array![f32; 8]);
        if thread::thread_idx_x() == 0 {
            *partial.add(thread::block_idx_x() as usize) = sum * scale;
        }
    }
}

/// Softmax cross-entropy with label smoothing e, as PyTorch defines it: with p = softmax(x), the row's loss is
/// `-(1 - e) ln p[label] - e / n * sum of ln p`, and the gradient `(p - (1 - e) [j == label] - e / n) * inverse_rows`.
/// A label of n or more makes the row's loss and gradient NaN.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, `1 << log2` of them (at most 32, or all) a row, enough blocks for `rows`.
/// - `x` and `dx` have `rows * n` elements, `labels` `rows`, `partial` one a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn cross_entropy_rows(
    rows: u32,
    n: u32,
    log2: u32,
    smoothing: f32,
    inverse_rows: f32,
    scale: f32,
    x: *const f32,
    labels: *const u32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let (row, lane, len) = my_row(rows, n, log2);
    let at = row * n as usize;
    let (m, s) = exp_sum(x.wrapping_add(at), len, lane, log2);
    let label = if len > 0 { *labels.add(row) as usize } else { 0 };
    let valid = label < len;
    let on = 1.0 - smoothing;
    let off = smoothing / n as f32;
    // NaN poisons the row when the label is outside; nothing is read there.
    let inverse = if valid { 1.0 / s } else { f32::NAN };
    // What a lane has of the loss beyond ln s: -(1 - e) (x[label] - m) - e / n * (x - m), summed over the row.
    let mut part = 0.0;
    let mut j = lane;
    while j < len {
        let d = *x.add(at + j) - m;
        let target = if j == label { on + off } else { off };
        // 0 * infinity is NaN: a class without weight must not count, even if its logit is minus infinity.
        part -= if target == 0.0 { 0.0 } else { target * d };
        *dx.add(at + j) = (exp(d) * inverse - target) * inverse_rows;
        j += 1 << log2;
    }
    let log = if lane == 0 && len > 0 {
        if valid {
            ln(s)
        } else {
            f32::NAN
        }
    } else {
        0.0
    };
    block_sum(part + log, scale, partial);
}

/// The elements of this thread: first, last and step of a grid-stride loop.
#[inline(always)]
fn my_elements(n: u32) -> (usize, usize, usize) {
    let first = thread::block_idx_x() as usize * BLOCK as usize + thread::thread_idx_x() as usize;
    (first, n as usize, thread::grid_dim_x() as usize * BLOCK as usize)
}

/// Binary cross-entropy with logits: `max(x, 0) - x t + ln(1 + e^-|x|)`, gradient `(sigmoid(x) - t) * inverse`.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, any number of them; `x`, `t` and `dx` have `n` elements, `partial` one a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn bce_with_logits_loss(
    n: u32,
    inverse: f32,
    scale: f32,
    x: *const f32,
    t: *const f32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let (mut i, end, step) = my_elements(n);
    let mut loss = 0.0;
    while i < end {
        let (x, t) = (*x.add(i), *t.add(i));
        let e = exp(-x.abs());
        // `x < 0` is false for NaN, which then comes through.
        let positive = if x < 0.0 { 0.0 } else { x };
        loss += (positive - x * t) + ln_1p(e);
        let sigmoid = (if x < 0.0 { e } else { 1.0 }) / (1.0 + e);
        *dx.add(i) = (sigmoid - t) * inverse;
        i += step;
    }
    block_sum(loss, scale, partial);
}

/// Squared error `(x - t)^2`, gradient `2 (x - t) * inverse`.
///
/// # Safety
/// - As `bce_with_logits_loss`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn mse_loss(
    n: u32,
    inverse: f32,
    scale: f32,
    x: *const f32,
    t: *const f32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let (mut i, end, step) = my_elements(n);
    let mut loss = 0.0;
    while i < end {
        let d = *x.add(i) - *t.add(i);
        loss += d * d;
        *dx.add(i) = 2.0 * d * inverse;
        i += step;
    }
    block_sum(loss, scale, partial);
}

/// Absolute error `|x - t|`, gradient `sign(x - t) * inverse` with sign(0) = 0.
///
/// # Safety
/// - As `bce_with_logits_loss`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn mae_loss(
    n: u32,
    inverse: f32,
    scale: f32,
    x: *const f32,
    t: *const f32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let (mut i, end, step) = my_elements(n);
    let mut loss = 0.0;
    while i < end {
        let d = *x.add(i) - *t.add(i);
        loss += d.abs();
        // A difference of zero or NaN stays what it is.
        *dx.add(i) = if d > 0.0 {
            inverse
        } else if d < 0.0 {
            -inverse
        } else {
            d
        };
        i += step;
    }
    block_sum(loss, scale, partial);
}

/// Huber's loss: `d^2 / 2` for `|d| < delta`, else `delta (|d| - delta / 2)`, with d = x - t; gradient d clamped to
/// [-delta, delta], times `inverse`.
///
/// # Safety
/// - As `bce_with_logits_loss`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn huber_loss(
    n: u32,
    delta: f32,
    inverse: f32,
    scale: f32,
    x: *const f32,
    t: *const f32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let (mut i, end, step) = my_elements(n);
    let mut loss = 0.0;
    while i < end {
        let d = *x.add(i) - *t.add(i);
        let a = d.abs();
        loss += if a < delta { 0.5 * d * d } else { delta * (a - 0.5 * delta) };
        let clamped = if d > delta { delta } else { d };
        let clamped = if clamped < -delta { -delta } else { clamped };
        *dx.add(i) = clamped * inverse;
        i += step;
    }
    block_sum(loss, scale, partial);
}
