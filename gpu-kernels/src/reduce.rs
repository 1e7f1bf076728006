//! Reductions along one axis, seen as `[outer, n, inner]` -> `[outer, inner]`, and their inverse.
//!
//! Two access patterns, each for sum, max and argmax:
//!
//! * `*_rows` (`inner == 1`): a group of threads a row, neighbours reading neighbouring elements; the group is part of a
//!   warp for short rows and the block for long ones.
//! * `*_columns` (`inner > 1`): a block has `1 << log2_columns` threads along the outputs, neighbours reading neighbouring
//!   columns, and the rest of its threads along n; shared memory joins those. The bias gradient `[B, N] -> [N]`.
//!
//! Both split n into `chunks` pieces of `chunk` elements, piece c of an output by blocks of its own, and write
//! `[outer, chunks, inner]`; when there are several pieces the host reduces that again by the same kernel. Pieces and trees
//! depend on the shape alone: no atomics, and the same bits in every run. Four accumulators a thread keep four loads in flight.
//!
//! A tensor has less than 2^32 elements, so positions divide in 32 bits.
//!
//! NaN: sums and maxima pass it on; argmax gives the first NaN. Ties: argmax gives the lowest index.

use crate::collective::{columns, group_all, quotient, ArgMax, Fold, Max, Sum, BLOCK, LOG2_BLOCK};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Where a reduction reads and writes.
pub(crate) trait Source: Fold {
    /// What the accumulators are made from.
    type From: Copy;
    /// Element `at`, at position `j` of its row.
    ///
    /// # Safety
    /// - `from` has the element.
    unsafe fn load(from: Self::From, at: usize, j: usize) -> Self::Acc;
}
impl Source for Sum {
    type From = *const f32;
    #[inline(always)]
    unsafe fn load(from: *const f32, at: usize, _: usize) -> f32 {
        // SAFETY: the caller's bounds.
        unsafe { *from.add(at) }
    }
}
impl Source for Max {
    type From = *const f32;
    #[inline(always)]
    unsafe fn load(from: *const f32, at: usize, _: usize) -> f32 {
        // SAFETY: the caller's bounds.
        unsafe { *from.add(at) }
    }
}
impl Source for ArgMax {
    /// Values, their positions, and whether to read those (else the position is j).
    type From = (*const f32, *const u32, bool);
    #[inline(always)]
    unsafe fn load(from: Self::From, at: usize, j: usize) -> (f32, u32) {
        // SAFETY: the caller's bounds; positions are read only when they are there.
        unsafe { (*from.0.add(at), if from.2 { *from.1.add(at) } else { j as u32 }) }
    }
}

/// Elements `start + k * step` below `end` of the row at `base`, whose elements are `stride` apart.
///
/// # Safety
/// - Every such element can be loaded.
#[inline(always)]
pub(crate) unsafe fn fold<S: Source>(
    from: S::From,
    base: usize,
    stride: usize,
    start: usize,
    end: usize,
    step: usize,
) -> S::Acc {
    let mut acc = [S::identity(); 4];
    let mut j = start;
    // SAFETY: the caller's bounds; every j is below `end`.
    unsafe {
        while j + 3 * step < end {
            acc[0] = S::join(acc[0], S::load(from, base + j * stride, j));
            acc[1] = S::join(acc[1], S::load(from, base + (j + step) * stride, j + step));
            acc[2] = S::join(acc[2], S::load(from, base + (j + 2 * step) * stride, j + 2 * step));
            acc[3] = S::join(acc[3], S::load(from, base + (j + 3 * step) * stride, j + 3 * step));
            j += 4 * step;
        }
        while j < end {
            acc[0] = S::join(acc[0], S::load(from, base + j * stride, j));
            j += step;
        }
    }
    S::join(S::join(acc[0], acc[1]), S::join(acc[2], acc[3]))
}

/// The result of one output's piece, and where it goes in `[outer, chunks, inner]`; `None` for threads that write nothing.
#[inline(always)]
unsafe fn rows<S: Source>(
    from: S::From,
    outer: u32,
    n: u32,
    chunk: u32,
    chunks: u32,
    log2: u32,
) -> Option<(S::Acc, usize)> {
    let thread = thread::thread_idx_x();
    let lane = thread & ((1 << log2) - 1);
    let task = (thread::block_idx_x() as usize * BLOCK as usize + thread as usize) >> log2;
    let tasks = outer as usize * chunks as usize;
    let row = if chunks == 1 { task } else { quotient(task as u32, chunks) as usize };
    let start = (task - row * chunks as usize) * chunk as usize;
    // Threads past the last task fold nothing, but take part in the shuffles.
    let end = if task < tasks { (start + chunk as usize).min(n as usize) } else { 0 };
    // SAFETY: row < outer and j < n.
    let acc = unsafe { fold::<S>(from, row * n as usize, 1, start + lane as usize, end, 1 << log2) };
    let scratch = shared_array![u64; 8] as *mut S::Acc;
    // SAFETY: all threads arrive; an accumulator has at most 8 bytes.
    let acc = unsafe { group_all::<S>(acc, log2, scratch) };
    if lane == 0 && task < tasks {
        Some((acc, task))
    } else {
        None
    }
}

/// As [`rows`], for columns.
#[inline(always)]
unsafe fn cols<S: Source>(
    from: S::From,
    outer: u32,
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
    log2_columns: u32,
) -> Option<(S::Acc, usize)> {
    let thread = thread::thread_idx_x();
    let block = thread::block_idx_x();
    let tile = if chunks == 1 { block } else { quotient(block, chunks) };
    let piece = (block - tile * chunks) as usize;
    let x = thread & ((1 << log2_columns) - 1);
    let y = thread >> log2_columns;
    let output = ((tile as usize) << log2_columns) + x as usize;
    let live = output < outer as usize * inner as usize;
    let o = quotient(output as u32, inner) as usize;
    let i = output - o * inner as usize;
    let start = piece * chunk as usize;
    let end = if live { (start + chunk as usize).min(n as usize) } else { 0 };
    let base = o * n as usize * inner as usize + i;
    let step = (BLOCK >> log2_columns) as usize;
    // SAFETY: o < outer, i < inner and j < n.
    let acc = unsafe { fold::<S>(from, base, inner as usize, start + y as usize, end, step) };
    let scratch = shared_array![u64; 256] as *mut S::Acc;
    // SAFETY: all threads arrive; an accumulator has at most 8 bytes, and there are BLOCK of them.
    let acc = unsafe { columns::<S>(acc, log2_columns, scratch) };
    if y == 0 && live {
        Some((acc, (o * chunks as usize + piece) * inner as usize + i))
    } else {
        None
    }
}

/// `y[r, c] = scale * sum of x[r, j]` over piece c of row r.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, `1 << log2` of them (at most 32, or all) a piece, enough blocks for `outer * chunks`.
/// - `x` has `outer * n` elements, `y` `outer * chunks`; `chunk * chunks >= n`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn sum_rows(
    outer: u32,
    n: u32,
    chunk: u32,
    chunks: u32,
    log2: u32,
    scale: f32,
    x: *const f32,
    y: *mut f32,
) {
    if let Some((acc, at)) = rows::<Sum>(x, outer, n, chunk, chunks, log2) {
        *y.add(at) = acc * scale;
    }
}

/// `y[r, c] = max of x[r, j]` over piece c of row r.
///
/// # Safety
/// - As `sum_rows`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn max_rows(outer: u32, n: u32, chunk: u32, chunks: u32, log2: u32, x: *const f32, y: *mut f32) {
    if let Some((acc, at)) = rows::<Max>(x, outer, n, chunk, chunks, log2) {
        *y.add(at) = acc;
    }
}

/// `index[r, c]` = position of the maximum over piece c of row r; with `again`, positions come from `positions`, beside
/// `x`. With `keep`, `y` receives the maxima.
///
/// # Safety
/// - As `sum_rows`; `index` has `outer * chunks` elements, `y` too where `keep`, `positions` as many as `x` where `again`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn argmax_rows(
    outer: u32,
    n: u32,
    chunk: u32,
    chunks: u32,
    log2: u32,
    again: u32,
    keep: u32,
    x: *const f32,
    positions: *const u32,
    y: *mut f32,
    index: *mut u32,
) {
    if let Some((acc, at)) = rows::<ArgMax>((x, positions, again != 0), outer, n, chunk, chunks, log2) {
        *index.add(at) = acc.1;
        if keep != 0 {
            *y.add(at) = acc.0;
        }
    }
}

/// `y[o, c, i] = scale * sum of x[o, j, i]` over piece c of n.
///
/// # Safety
/// - Blocks of [`BLOCK`] threads, `1 << log2_columns` of them along the outputs; enough blocks for all outputs, times `chunks`.
/// - `x` has `outer * n * inner` elements, `y` `outer * chunks * inner`; `chunk * chunks >= n`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn sum_columns(
    outer: u32,
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
    log2_columns: u32,
    scale: f32,
    x: *const f32,
    y: *mut f32,
) {
    if let Some((acc, at)) = cols::<Sum>(x, outer, n, inner, chunk, chunks, log2_columns) {
        *y.add(at) = acc * scale;
    }
}

/// `y[o, c, i] = max of x[o, j, i]` over piece c of n.
///
/// # Safety
/// - As `sum_columns`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn max_columns(
    outer: u32,
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
    log2_columns: u32,
    x: *const f32,
    y: *mut f32,
) {
    if let Some((acc, at)) = cols::<Max>(x, outer, n, inner, chunk, chunks, log2_columns) {
        *y.add(at) = acc;
    }
}

/// As `argmax_rows`, for columns.
///
/// # Safety
/// - As `sum_columns` and `argmax_rows`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn argmax_columns(
    outer: u32,
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
    log2_columns: u32,
    again: u32,
    keep: u32,
    x: *const f32,
    positions: *const u32,
    y: *mut f32,
    index: *mut u32,
) {
    let from = (x, positions, again != 0);
    if let Some((acc, at)) = cols::<ArgMax>(from, outer, n, inner, chunk, chunks, log2_columns) {
        *index.add(at) = acc.1;
        if keep != 0 {
            *y.add(at) = acc.0;
        }
    }
}

/// `y[o, j, i] = scale * x[o, i]`: the inverse of a reduction's shape.
///
/// # Safety
/// - One thread an element of `y`, which has `outer * n * inner`; `x` has `outer * inner`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn expand_axis(outer: u32, n: u32, inner: u32, scale: f32, x: *const f32, y: *mut f32) {
    let at = thread::block_idx_x() as usize * BLOCK as usize + thread::thread_idx_x() as usize;
    let slab = n * inner;
    if at < outer as usize * slab as usize {
        let o = quotient(at as u32, slab);
        let i = at as u32 - inner * quotient(at as u32, inner);
        *y.add(at) = scale * *x.add((o * inner + i) as usize);
    }
}

/// `dx[o, j, i] = dy[o, i]` where `j == index[o, i]`, else 0: the gradient of a maximum.
///
/// # Safety
/// - One thread an element of `dx`, which has `outer * n * inner`; `index` and `dy` have `outer * inner`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK))]
pub unsafe fn scatter_axis(outer: u32, n: u32, inner: u32, index: *const u32, dy: *const f32, dx: *mut f32) {
    let at = thread::block_idx_x() as usize * BLOCK as usize + thread::thread_idx_x() as usize;
    let slab = n * inner;
    if at < outer as usize * slab as usize {
        let o = quotient(at as u32, slab);
        let rest = at as u32 - o * slab;
        let j = quotient(rest, inner);
        let from = (o * inner + (rest - j * inner)) as usize;
        *dx.add(at) = if *index.add(from) == j { *dy.add(from) } else { 0.0 };
    }
}

const _: () = assert!(1 << LOG2_BLOCK == BLOCK);
