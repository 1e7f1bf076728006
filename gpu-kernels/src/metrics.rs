//! Metrics: correct predictions, the confusion matrix, and the sums that R2 is made of.
//!
//! A row's prediction is the position of its largest logit (the lowest one of equals; NaN is largest), found by a group of
//! threads as in `reduce`. Counts are integers, so atomics on them are exact in any order.

use crate::collective::{group_all, ArgMax, Count, Fold, Sum, BLOCK, LOG2_BLOCK};
use crate::ptx::atomic_add;
use crate::softmax::my_row;
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// The position of the largest of the `n` elements at `x`, in every thread of the group.
///
/// # Safety
/// - As [`group_all`]; `x` has `n` elements.
#[inline(always)]
pub(crate) unsafe fn predict(x: *const f32, n: usize, lane: usize, log2: u32) -> u32 {
    let mut acc = ArgMax::identity();
    let mut j = lane;
    while j < n {
        // SAFETY: j < n.
        acc = ArgMax::join(acc, (unsafe { *x.add(j) }, j as u32));
        j += 1 << log2;
    }
    // SAFETY: all threads of the block arrive.
    unsafe { group_all::<ArgMax>(acc, log2, shared_array![(f32, u32); 8]).1 }
}

/// `partial[block]` = how many of the block's rows have their largest logit at their label.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, `1 << log2` of them (at most 32, or all) a row, enough blocks for `rows`.
/// - `x` has `rows * n` elements, `labels` `rows`, `partial` one a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn correct_rows(
    rows: u32,
    n: u32,
    log2: u32,
    x: *const f32,
    labels: *const u32,
    partial: *mut u32,
) {
    let (row, lane, len) = my_row(rows, n, log2);
    let prediction = predict(x.wrapping_add(row * n as usize), len, lane, log2);
    let hit = lane == 0 && len > 0 && *labels.add(row) == prediction;
    let count = group_all::<Count>(hit as u32, LOG2_BLOCK, shared_array![u32; 8]);
    if thread::thread_idx_x() == 0 {
        *partial.add(thread::block_idx_x() as usize) = count;
    }
}

/// `y[0]` = sum of the `n` counts in `x`. One block.
///
/// # Safety
/// - One block of [`BLOCK`] threads; `x` has `n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn sum_counts(n: u32, x: *const u32, y: *mut u32) {
    let mut count = 0u32;
    let mut i = thread::thread_idx_x() as usize;
    while i < n as usize {
        count = count.wrapping_add(*x.add(i));
        i += BLOCK as usize;
    }
    let count = group_all::<Count>(count, LOG2_BLOCK, shared_array![u32; 8]);
    if thread::thread_idx_x() == 0 {
        *y = count;
    }
}

/// `matrix[label, prediction] += 1` for every row whose label is below n.
///
/// # Safety
/// - As `correct_rows`; `matrix` has `n * n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn confusion_rows(
    rows: u32,
    n: u32,
    log2: u32,
    x: *const f32,
    labels: *const u32,
    matrix: *mut u32,
) {
    let (row, lane, len) = my_row(rows, n, log2);
    let prediction = predict(x.wrapping_add(row * n as usize), len, lane, log2);
    if lane == 0 && len > 0 {
        let label = *labels.add(row);
        if label < n {
            atomic_add(matrix.add(label as usize * n as usize + prediction as usize), 1);
        }
    }
}

/// `partial[block] = [sum (p - t)^2, sum t, sum t^2]` over the block's elements.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, any number of them; `p` and `t` have `n` elements, `partial` three a block.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn regression_partials(n: u32, p: *const f32, t: *const f32, partial: *mut f32) {
    let (mut error, mut sum, mut square) = (0.0f32, 0.0f32, 0.0f32);
    let mut i = thread::block_idx_x() as usize * BLOCK as usize + thread::thread_idx_x() as usize;
    let step = thread::grid_dim_x() as usize * BLOCK as usize;
    while i < n as usize {
        let (p, t) = (*p.add(i), *t.add(i));
        error += (p - t) * (p - t);
        sum += t;
        square += t * t;
        i += step;
    }
    let scratch = shared_array![f32; 8];
    let error = group_all::<Sum>(error, LOG2_BLOCK, scratch);
    let sum = group_all::<Sum>(sum, LOG2_BLOCK, scratch);
    let square = group_all::<Sum>(square, LOG2_BLOCK, scratch);
    if thread::thread_idx_x() == 0 {
        let out = partial.add(3 * thread::block_idx_x() as usize);
        *out = error;
        *out.add(1) = sum;
        *out.add(2) = square;
    }
}
