//! The second half of a product whose K was split: partial sums are added in the order of k, so that the result is the
//! same from run to run, and finished. [`gemm_reduce()`] adds matrices, [`gemm_reduce_tiles()`] the parts of a schedule's cut tiles.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::epilogue::{Calls, Epilogue, REDUCE_COLUMNS, REDUCE_NONE, REDUCE_ROWS};
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
use super::schedule::{Schedule, Tiles};
use super::sums::{over_columns, over_rows};
use crate::ptx::{ld_shared_f32, shared_address, st_shared_f32x4};
use crate::vector::{load4, load_quad, zip4, F32x4};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Threads of a block; each finishes four elements of a row.
pub const BLOCK: u32 = 256;
/// Rows and columns that a block finishes where sums (`super::sums`) are wanted: its part.
pub const PART: [u32; 2] = [32, 32];
/// Lanes of a row of such a part.
const LANES: u32 = PART[1] / 4;

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
/// Grid: x covers M rows of `N / 4` quads (rounded up), or the parts of [`PART`] of C, row by row, where sums are wanted;
/// y = batches (any number).
///
/// # Safety
/// - `partial` has `parts * batch * m * n` elements; `c`, `bias`, `extra` are as for the product's kernel, and so is `sums`,
///   of parts of [`PART`].
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
    sums: *mut f32,
    activation: u32,
    parameter: f32,
    kind: u32,
) {
    let out =
        Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
    let (block, t) = (thread::block_idx_x(), thread::thread_idx_x());
    let (part_row, part_col) = (block / n.div_ceil(PART[1]).max(1), block % n.div_ceil(PART[1]).max(1));
    let (row, col) = if out.reduce() == REDUCE_NONE {
        let (i, quads) = (thread::index_1d(), n.div_ceil(4).max(1));
        (i / quads, i % quads * 4)
    } else {
        (part_row * PART[0] + t / LANES, part_col * PART[1] + t % LANES * 4)
    };
    let matrix = m as usize * n as usize;
    let mut z = thread::block_idx_y();
    while z < batch {
        let out = out.of_batch(z as usize, stride_c, stride_extra, PART);
        let mut v = F32x4 { a: 0.0, b: 0.0, c: 0.0, d: 0.0 };
        if row < m && col < n {
            let at = partial.add(z as usize * matrix + row as usize * n as usize);
            let sum = sum(parts, |part| load4(at.add(part * batch as usize * matrix), col, n));
            v = out.store_for_sums::<Calls>(row, col, sum);
        }
        if out.reduce() == REDUCE_COLUMNS {
            let sum = over_columns::<LANES>(v);
            if t % LANES == 0 && row < m {
                *out.sums.add(part_col as usize * m as usize + row as usize) = sum;
            }
        }
        if out.reduce() == REDUCE_ROWS {
            sum_rows(&out, over_rows::<LANES>(v), part_row, part_col * PART[1]);
        }
        z += thread::grid_dim_y();
    }
}

/// Writes the sums of the columns of part `part`, from `col` on, whose rows each warp has summed: the first [`LANES`] lanes
/// hold them.
///
/// # Safety
/// - All threads of the block arrive; `out.sums` covers the partial sums.
#[inline(always)]
unsafe fn sum_rows(out: &Epilogue, of_warp: F32x4, part: u32, col: u32) {
    let t = thread::thread_idx_x();
    let shared = shared_address(shared_array![f32; (BLOCK / 32 * PART[1]) as usize]);
    if t % 32 < LANES {
        st_shared_f32x4(shared + t / 32 * (4 * PART[1]) + t % 32 * 16, of_warp.into());
    }
    thread::sync_threads();
    if t < PART[1] && col + t < out.n {
        let mut sum = 0.0;
        let mut warp = 0;
        while warp < BLOCK / 32 {
            sum += ld_shared_f32(shared + (warp * PART[1] + t) * 4);
            warp += 1;
        }
        *out.sums.add(part as usize * out.n as usize + (col + t) as usize) = sum;
    }
    // The next matrix's sums come to the same place.
    thread::sync_threads();
}

/// Finishes the cut tiles of a [`Schedule`], each from its parts.
///
/// Grid: x covers the quads of a tile exactly, y = cut tiles.
///
/// # Safety
/// - `panels`, `whole`, `share` are those of the schedule of the product of tiles of `tile_rows` by `tile_columns`, which
///   wrote `partial`, a multiple of 16; `tile_columns` is a multiple of 4.
/// - `c`, `bias`, `extra` are as for the product's kernel, and `kind`, which wants no sums; `m`, `n` are at least 1.
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
    let sums = core::ptr::null_mut();
    let out =
        Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
    out.of_batch(z as usize, stride_c, stride_extra, PART).store::<Calls>(row, column, sum);
}
