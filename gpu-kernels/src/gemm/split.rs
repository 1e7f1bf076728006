//! The second half of a product whose K was split: partial products are added in their order, so that the result is the
//! same from run to run, and finished.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::epilogue::{Calls, Epilogue, REDUCE_COLUMNS, REDUCE_NONE, REDUCE_ROWS};
use super::sums::{over_columns, over_rows};
use crate::ptx::{ld_shared_f32, shared_address, st_shared_f32x4};
use crate::vector::{load4, F32x4};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Threads of a block; each finishes four elements of a row.
pub const BLOCK: u32 = 256;
/// Rows and columns that a block finishes where [sums](super::sums) are wanted: its part.
pub const PART: [u32; 2] = [32, 32];
/// Lanes of a row of such a part.
const LANES: u32 = PART[1] / 4;

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
            let mut at = partial.add(z as usize * matrix + row as usize * n as usize);
            let mut sum = load4(at, col, n);
            let mut part = 1;
            while part < parts {
                at = at.add(batch as usize * matrix);
                let next = load4(at, col, n);
                (sum.a, sum.b, sum.c, sum.d) =
                    (sum.a + next.a, sum.b + next.b, sum.c + next.c, sum.d + next.d);
                part += 1;
            }
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
