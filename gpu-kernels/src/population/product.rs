//! A block's matrix product on shared memory: `c(i, j) = sum over p < k of a(i, p) b(p, j)`.
//!
//! A thread has a tile of 4 x 4, 2 x 2 or 1 element, as large as the product is: its rows (and columns) lie as far apart as
//! there are threads along them, so that neighbouring lanes read neighbouring columns and no two the same bank. Each
//! element is one chain of fused multiply-adds in increasing p, whatever the tile: the order depends on nothing else.

use cuda_std::prelude::*;

use super::BLOCK;
use crate::math::fma;
use crate::ptx::ld_shared_f32;

/// A matrix in shared memory, in bytes.
#[derive(Clone, Copy)]
pub struct Operand {
    /// Address of element (0, 0).
    pub at: u32,
    /// From one row of a (column of b) to the next.
    pub outer: u32,
    /// From one p to the next.
    pub inner: u32,
}

/// Calls `each(i, j, c(i, j))` for the elements of this thread, those of all threads together being each of the `m x n`
/// elements once. `k` is at least 1.
///
/// # Safety
/// - Every thread of a block of [`BLOCK`] calls it; the operands were written before a barrier, and `each` changes neither.
#[inline(always)]
pub unsafe fn product(a: Operand, b: Operand, [m, n, k]: [u32; 3], mut each: impl FnMut(u32, u32, f32)) {
    let elements = m * n;
    // SAFETY: the caller's contract.
    unsafe {
        if elements >= 8 * BLOCK {
            tiles::<4, 16>(a, b, [m, n, k], &mut each);
        } else if elements >= 2 * BLOCK {
            tiles::<2, 4>(a, b, [m, n, k], &mut each);
        } else {
            tiles::<1, 1>(a, b, [m, n, k], &mut each);
        }
    }
}

/// The same with tiles of `R x R`; `Q` is `R * R`.
///
/// # Safety
/// - As [`product`].
#[inline(always)]
unsafe fn tiles<const R: usize, const Q: usize>(
    a: Operand,
    b: Operand,
    [m, n, k]: [u32; 3],
    each: &mut impl FnMut(u32, u32, f32),
) {
    let t = thread::thread_idx_x();
    // Threads along a row: as few as reach its end, at most a warp's.
    let mut log = 0;
    while log < 5 && (R as u32) << log < n {
        log += 1;
    }
    let (across, down) = (1 << log, BLOCK >> log);
    let (ti, tj) = (t >> log, t & (across - 1));
    let mut i0 = ti;
    while i0 < m {
        let mut j0 = tj;
        while j0 < n {
            let mut sums = [0.0f32; Q];
            // Rows and columns past the end repeat the last one: read, summed up, and not handed on.
            let mut rows = [0u32; R];
            let mut columns = [0u32; R];
            let mut r = 0;
            while r < R {
                let (i, j) = (i0 + r as u32 * down, j0 + r as u32 * across);
                rows[r] = a.at + (if i < m { i } else { m - 1 }) * a.outer;
                columns[r] = b.at + (if j < n { j } else { n - 1 }) * b.outer;
                r += 1;
            }
            let (mut at_a, mut at_b) = (0, 0);
            let mut p = 0;
            while p < k {
                let mut x = [0.0f32; R];
                let mut w = [0.0f32; R];
                let mut r = 0;
                while r < R {
                    // SAFETY: elements (i, p) of a and (p, j) of b, inside both.
                    unsafe {
                        x[r] = ld_shared_f32(rows[r] + at_a);
                        w[r] = ld_shared_f32(columns[r] + at_b);
                    }
                    r += 1;
                }
                let mut q = 0;
                while q < Q {
                    sums[q] = fma(x[q / R], w[q % R], sums[q]);
                    q += 1;
                }
                at_a += a.inner;
                at_b += b.inner;
                p += 1;
            }
            // The sums move through the first register: `each` is long, this loop is not unrolled, and registers have no
            // index.
            let mut q = 0;
            while q < Q as u32 {
                let (i, j) = (i0 + q / R as u32 * down, j0 + q % R as u32 * across);
                if i < m && j < n {
                    each(i, j, sums[0]);
                }
                let mut next = 1;
                while next < Q {
                    sums[next - 1] = sums[next];
                    next += 1;
                }
                q += 1;
            }
            j0 += across * R as u32;
        }
        i0 += down * R as u32;
    }
}
