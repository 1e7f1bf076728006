//! The second half of a product whose K was split: partial products are added in their order, so that the result is the
//! same from run to run, and finished.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::epilogue::{Calls, Epilogue};
use crate::vector::load4;
use cuda_std::prelude::*;

/// Threads of a block; each finishes four elements of a row.
pub const BLOCK: u32 = 256;

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
    sums: *mut f32,
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
    let out =
        Epilogue { alpha, beta, c, ldc, m, n, bias, extra, ld_extra, sums, activation, parameter, kind };
    let matrix = m as usize * n as usize;
    let mut z = thread::block_idx_y();
    while z < batch {
        let mut at = partial.add(z as usize * matrix + row as usize * n as usize);
        let mut sum = load4(at, col, n);
        let mut part = 1;
        while part < parts {
            at = at.add(batch as usize * matrix);
            let next = load4(at, col, n);
            (sum.a, sum.b, sum.c, sum.d) = (sum.a + next.a, sum.b + next.b, sum.c + next.c, sum.d + next.d);
            part += 1;
        }
        out.of_batch(z as usize, stride_c, stride_extra).store::<Calls>(row, col, sum);
        z += thread::grid_dim_y();
    }
}
