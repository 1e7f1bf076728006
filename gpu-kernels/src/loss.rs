//! Losses fused with their gradients.
//!
//! Each kernel writes the gradient of the *mean* loss, and one number a block: the sum of its losses, times `scale`. A
//! launch of one block passes `scale = 1 / count` and the loss's own address, and is done; otherwise the partial sums go
//! to a workspace and `sum_rows` adds them in a fixed order. No atomics, so the loss has the same bits in every run.

use crate::collective::{group_all, Sum, BLOCK, LOG2_BLOCK};
use crate::math::{exp, ln, ln_1p};
use crate::softmax::{exp_sum, my_row};
use crate::vector::switch;
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Elements that a block of an elementwise loss takes at least.
pub const ELEMENTS_PER_BLOCK: u32 = 1024;
/// Blocks of an elementwise loss at most; beyond, each takes more elements.
pub const MAX_BLOCKS: u32 = 512;

/// Softmax cross-entropy with label smoothing.
pub const CROSS_ENTROPY: u32 = 0;
/// Binary cross-entropy with logits.
pub const BCE: u32 = 1;
/// Squared error.
pub const MSE: u32 = 2;
/// Absolute error.
pub const MAE: u32 = 3;
/// Huber's loss.
pub const HUBER: u32 = 4;

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

/// The loss of one row of softmax cross-entropy, as `cross_entropy_rows` defines it: what this lane has of it. Element j of
/// the gradient, before the division by the number of rows, goes to `gradient(j, value)`. `len` is 0 past the last row, and
/// then `label` is read nowhere.
///
/// # Safety
/// - All threads of the block of [`BLOCK`] arrive, with the same `log2`; `x` has `len` elements.
#[inline(always)]
pub(crate) unsafe fn cross_entropy_row(
    x: *const f32,
    label: usize,
    n: u32,
    (len, lane, log2): (usize, usize, u32),
    smoothing: f32,
    gradient: impl Fn(usize, f32),
) -> f32 {
    let (m, s) = exp_sum(x, len, lane, log2);
    let valid = label < len;
    let on = 1.0 - smoothing;
    let off = smoothing / n as f32;
    // NaN poisons the row when the label is outside; nothing is read there.
    let inverse = if valid { 1.0 / s } else { f32::NAN };
    // What a lane has of the loss beyond ln s: -(1 - e) (x[label] - m) - e / n * (x - m), summed over the row.
    let mut part = 0.0;
    let mut j = lane;
    while j < len {
        let d = *x.add(j) - m;
        let target = if j == label { on + off } else { off };
        // 0 * infinity is NaN: a class without weight must not count, even if its logit is minus infinity.
        part -= if target == 0.0 { 0.0 } else { target * d };
        gradient(j, exp(d) * inverse - target);
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
    part + log
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
    let label = if len > 0 { *labels.add(row) as usize } else { 0 };
    let store = |j, g: f32| *dx.add(at + j) = g * inverse_rows;
    let loss = cross_entropy_row(x.wrapping_add(at), label, n, (len, lane, log2), smoothing, store);
    block_sum(loss, scale, partial);
}

/// Elementwise loss `kind` of `x` against `t`, and its derivative by x. `parameter` is Huber's delta.
#[inline(always)]
pub(crate) fn element(kind: u32, parameter: f32, x: f32, t: f32) -> (f32, f32) {
    let d = x - t;
    match kind {
        BCE => {
            let e = exp(-x.abs());
            // `x < 0` is false for NaN, which then comes through.
            let positive = if x < 0.0 { 0.0 } else { x };
            let sigmoid = (if x < 0.0 { e } else { 1.0 }) / (1.0 + e);
            ((positive - x * t) + ln_1p(e), sigmoid - t)
        }
        MAE => {
            // A difference of zero or NaN stays what it is.
            let sign = if d > 0.0 { 1.0 } else { d };
            (d.abs(), if d < 0.0 { -1.0 } else { sign })
        }
        HUBER => {
            let (a, delta) = (d.abs(), parameter);
            let clamped = if d > delta { delta } else { d };
            let clamped = if clamped < -delta { -delta } else { clamped };
            (if a < delta { 0.5 * d * d } else { delta * (a - 0.5 * delta) }, clamped)
        }
        _ => (d * d, 2.0 * d),
    }
}

/// The elementwise losses, with d = x - t; `dx` is the derivative times `inverse`:
///
/// | kind | loss | derivative |
/// |---|---|---|
/// | [`BCE`] | max(x, 0) - x t + ln(1 + e^-abs(x)) | sigmoid(x) - t |
/// | [`MSE`] | d^2 | 2 d |
/// | [`MAE`] | abs(d) | sign(d), with sign(0) = 0 |
/// | [`HUBER`] | d^2 / 2 for abs(d) < delta, else delta (abs(d) - delta / 2) | d clamped to [-delta, delta] |
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, any number of them; `x`, `t` and `dx` have `n` elements, `partial` one a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn elementwise_loss(
    n: u32,
    kind: u32,
    delta: f32,
    inverse: f32,
    scale: f32,
    x: *const f32,
    t: *const f32,
    dx: *mut f32,
    partial: *mut f32,
) {
    let mut sum = 0.0;
    switch!(kind, KIND in [BCE MAE HUBER; MSE] => {
        let mut i = thread::block_idx_x() as usize * BLOCK as usize + thread::thread_idx_x() as usize;
        while i < n as usize {
            let (loss, slope) = element(KIND, delta, *x.add(i), *t.add(i));
            sum += loss;
            *dx.add(i) = slope * inverse;
            i += thread::grid_dim_x() as usize * BLOCK as usize;
        }
    });
    block_sum(sum, scale, partial);
}
