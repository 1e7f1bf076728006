//! Softmax and log-softmax over rows, with their gradients.
//!
//! A group of `1 << log2` threads a row: part of a warp for short rows, the block for long ones. Forward reads a row
//! twice: once for the maximum and the sum of exponentials together ([`ExpSum`]), once to
//! write. No exponential overflows, because the maximum is subtracted first. Minus infinity gives 0 (log: minus
//! infinity); a row with NaN, with plus infinity, or of nothing but minus infinity is NaN throughout, as in PyTorch.

use crate::collective::{group_all, ExpSum, Sum, BLOCK};
use crate::math::{exp, ln};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Longest row that a warp takes; longer ones get a block.
pub const WARP_ROW: u32 = 1024;

/// This thread's row, its lane in the row's group, and the row's length: 0 past the last row.
#[inline(always)]
pub(crate) fn my_row(rows: u32, n: u32, log2: u32) -> (usize, usize, usize) {
    let thread = thread::thread_idx_x();
    let row = (thread::block_idx_x() as usize * BLOCK as usize + thread as usize) >> log2;
    let lane = (thread & ((1 << log2) - 1)) as usize;
    (row, lane, if row < rows as usize { n as usize } else { 0 })
}

/// Maximum and sum of exponentials of the row at `x`, in every thread of its group.
///
/// # Safety
/// - As [`group_all`]; `x` has `n` elements.
#[inline(always)]
pub(crate) unsafe fn exp_sum(x: *const f32, n: usize, lane: usize, log2: u32) -> (f32, f32) {
    let mut acc = <ExpSum as crate::collective::Fold>::identity();
    let mut j = lane;
    while j < n {
        // SAFETY: j < n.
        acc = ExpSum::push(acc, unsafe { *x.add(j) });
        j += 1 << log2;
    }
    // SAFETY: the caller's contract.
    let acc = unsafe { group_all::<ExpSum>(acc, log2, shared_array![(f32, f32); 8]) };
    (acc.0, ExpSum::sum(acc))
}

/// `y[r, j] = each(x[r, j] - m, of_row(s))`, with m the row's maximum and s the row's sum of `e^(x - m)`.
///
/// # Safety
/// - As [`softmax_rows()`].
#[inline(always)]
unsafe fn normalise(
    (rows, n, log2): (u32, u32, u32),
    (x, y): (*const f32, *mut f32),
    of_row: impl Fn(f32) -> f32,
    each: impl Fn(f32, f32) -> f32,
) {
    let (row, lane, len) = my_row(rows, n, log2);
    let at = row * n as usize;
    let (m, s) = exp_sum(x.wrapping_add(at), len, lane, log2);
    let of_row = of_row(s);
    let mut j = lane;
    while j < len {
        *y.add(at + j) = each(*x.add(at + j) - m, of_row);
        j += 1 << log2;
    }
}

/// `dx[r, j] = each(y[r, j], dy[r, j], sum of term(y, dy) over the row)`.
///
/// # Safety
/// - As [`softmax_backward_rows()`].
#[inline(always)]
unsafe fn backward(
    (rows, n, log2): (u32, u32, u32),
    (y, dy, dx): (*const f32, *const f32, *mut f32),
    term: impl Fn(f32, f32) -> f32,
    each: impl Fn(f32, f32, f32) -> f32,
) {
    let (row, lane, len) = my_row(rows, n, log2);
    let at = row * n as usize;
    let mut sum = 0.0;
    let mut j = lane;
    while j < len {
        sum += term(*y.add(at + j), *dy.add(at + j));
        j += 1 << log2;
    }
    let sum = group_all::<Sum>(sum, log2, shared_array![f32; 8]);
    let mut j = lane;
    while j < len {
        *dx.add(at + j) = each(*y.add(at + j), *dy.add(at + j), sum);
        j += 1 << log2;
    }
}

/// `y[r, j] = e^(x[r, j] - m) / s`, with m the row's maximum and s the row's sum of those exponentials.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, `1 << log2` of them (at most 32, or all) a row, enough blocks for `rows`.
/// - `x` and `y` have `rows * n` elements.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn softmax_rows(rows: u32, n: u32, log2: u32, x: *const f32, y: *mut f32) {
    normalise((rows, n, log2), (x, y), |s| 1.0 / s, |d, inverse| exp(d) * inverse);
}

/// `y[r, j] = x[r, j] - m - ln s`, as in `softmax_rows`.
///
/// # Safety
/// - As `softmax_rows`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn log_softmax_rows(rows: u32, n: u32, log2: u32, x: *const f32, y: *mut f32) {
    normalise((rows, n, log2), (x, y), ln, |d, log| d - log);
}

/// `dx = y (dy - sum of y dy over the row)`, for `y = softmax(x)`.
///
/// # Safety
/// - As `softmax_rows`, for three tensors.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn softmax_backward_rows(
    rows: u32,
    n: u32,
    log2: u32,
    y: *const f32,
    dy: *const f32,
    dx: *mut f32,
) {
    backward((rows, n, log2), (y, dy, dx), |y, dy| y * dy, |y, dy, dot| y * (dy - dot));
}

/// `dx = dy - e^y * sum of dy over the row`, for `y = log_softmax(x)`.
///
/// # Safety
/// - As `softmax_backward_rows`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn log_softmax_backward_rows(
    rows: u32,
    n: u32,
    log2: u32,
    y: *const f32,
    dy: *const f32,
    dx: *mut f32,
) {
    backward((rows, n, log2), (y, dy, dx), |_, dy| dy, |y, dy, sum| dy - exp(y) * sum);
}
