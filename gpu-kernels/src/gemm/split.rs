//! The second half of a product whose K was split: partial sums are added in the order of k, so that the result is the
//! same from run to run, and finished. [`gemm_reduce()`] adds matrices, [`gemm_reduce_tiles()`] the parts of a schedule's cut tiles.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::epilogue::{Calls, Epilogue};
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
use super::schedule::{Schedule, Tiles};
use crate::vector::{load4, load_quad, zip4, F32x4};
use cuda_std::prelude::*;

/// Threads of a block; each finishes four elements of a row.
pub const BLOCK: u32 = 256;

/// `load(0) + load(1) + ...`, `parts` of them from left to right; four are on their way at a time.
#[inline(always)]
unsafe fn sum(parts: u32, load: impl Fn(usize) -> F32x4) -> F32x4 {
    let add = |x: F32x4, y: F32x4| zip4!(x, y, |x, y| x + y);
    let mut sum = load(0);
    let mut part = 1;
    while part + 3 < parts {
        let i = part as usize;
        let (a, b, c, d) = (load(i), load(i + 1), load(i + 2), load(i + 3));
        sum = add(add(add(add(sum, a), b), c), d);
        part += 4;
    }
    while part < parts {
        sum = add(sum, load(part as usize));
        part += 1;
    }
    sum
}

/// `C[z] <- epilogue(partial[0][z] + partial[1][z] + ...)`, `parts` of them, each `batch` contiguous M x N matrices.
///
/// Grid: x covers M rows of `N / 4` quads (rounded up), y = batches (any number).
///
/// # Safety
/// - `partial` has `parts * batch * m * n` elements; `c`, `bias`, `extra` are as for the product's kernel.
/// - `m`, `n`, `batch`, `parts` are at least 1.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, 4))]
pub unsafe fn gemm_reduce(
    m: u32,
    n: u32,
    batch: u32,
    parts: u32,
    partial: *const f32,
    alpha: f32,
    beta: f32,
    c: *mut u8,
    ldc: u32,
    stride_c: u64,
    bias: *const f32,
    extra: *const u8,
    ld_extra: u32,
    stride_extra: u64,
    activation: u32,
    parameter: f32,
    kind: u32,
) {
    let quads = n.div_ceil(4).max(1);
    let i = thread::index_1d();
    let (row, col) = (i / quads, i % quads * 4);
    if row >= m {
        return;
    }
    let out = Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, activation, parameter, kind };
    let matrix = m as usize * n as usize;
    let mut z = thread::block_idx_y();
    while z < batch {
        let at = partial.add(z as usize * matrix + row as usize * n as usize);
        let sum = sum(parts, |part| load4(at.add(part * batch as usize * matrix), col, n));
        out.of_batch(z as usize, stride_c, stride_extra).store::<Calls>(row, col, sum);
        z += thread::grid_dim_y();
    }
}

/// Finishes the cut tiles of a [`Schedule`], each from its parts.
///
/// Grid: x covers the quads of a tile exactly, y = cut tiles.
///
/// # Safety
/// - `panels`, `whole`, `share` are those of the schedule of the product of tiles of `tile_rows` by `tile_columns`, which
///   wrote `partial`, a multiple of 16; `tile_columns` is a multiple of 4.
/// - `c`, `bias`, `extra` are as for the product's kernel; `m`, `n` are at least 1.
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, 4))]
pub unsafe fn gemm_reduce_tiles(
    m: u32,
    n: u32,
    tile_rows: u32,
    tile_columns: u32,
    panels: u32,
    whole: u32,
    share: u32,
    partial: *const f32,
    alpha: f32,
    beta: f32,
    c: *mut u8,
    ldc: u32,
    stride_c: u64,
    bias: *const f32,
    extra: *const u8,
    ld_extra: u32,
    stride_extra: u64,
    activation: u32,
    parameter: f32,
    kind: u32,
) {
    let cut = thread::grid_dim_y();
    let (slot, parts) = Schedule { panels, whole, cut, share }.parts(thread::block_idx_y());
    let tiles = Tiles::new(m, n, tile_rows.max(1), tile_columns.max(1));
    let [row, column, z] = tiles.at(whole + thread::block_idx_y());
    let at = 4 * thread::index_1d();
    let (i, j) = (at / tile_columns.max(1), at % tile_columns.max(1));
    let (row, column) = (row * tile_rows + i, column * tile_columns + j);
    if row >= m || column >= n {
        return;
    }
    let tile = tile_rows as usize * tile_columns as usize;
    let at = partial.add(slot as usize * tile + at as usize);
    let sum = sum(parts, |part| load_quad(at.add(part * tile)));
    let out = Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, activation, parameter, kind };
    out.of_batch(z as usize, stride_c, stride_extra).store::<Calls>(row, column, sum);
}
