//! Symmetric matrices in `f64`, row-major in global memory, by one block: Cholesky's factor and Jacobi's eigenvalues.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::network::{block_sum, lane, share, total};
use crate::collective::{quotient, BLOCK};

const STEP: usize = BLOCK as usize;

/// Factors a positive definite `n x n` matrix, given by its lower triangle, into L Lᵀ in place, column by column, and
/// returns its log-determinant (NaN when the matrix is not positive definite).
///
/// # Safety
/// - All threads of the block arrive after a barrier behind the writing of `a`, which nobody else touches.
#[inline(always)]
pub unsafe fn cholesky(a: *mut f64, n: usize) -> f64 {
    let (warp, column) = (lane() >> 5, lane() & 31);
    let mut j = 0;
    while j < n {
        let inverse = 1.0 / (*a.add(j * n + j)).sqrt();
        thread::sync_threads();
        let mut i = j + lane();
        while i < n {
            *a.add(i * n + j) *= inverse;
            i += STEP;
        }
        thread::sync_threads();
        let mut i = j + 1 + warp;
        while i < n {
            let left = *a.add(i * n + j);
            let mut k = j + 1 + column;
            while k <= i {
                *a.add(i * n + k) -= left * *a.add(k * n + j);
                k += 32;
            }
            i += STEP / 32;
        }
        thread::sync_threads();
        j += 1;
    }
    2.0 * total(n, |i| (*a.add(i * n + i)).ln())
}

/// The trace of the inverse of L Lᵀ: the squared Frobenius norm of L's inverse, whose columns go to `inverse`
/// (`n x n`), a thread each.
///
/// # Safety
/// - As [`cholesky`], after it; `inverse` overlaps nothing.
#[inline(always)]
pub unsafe fn trace_of_inverse(factor: *const f64, n: usize, inverse: *mut f64) -> f64 {
    let mut sum = 0.0;
    share(n, |column| {
        let mut i = column;
        while i < n {
            let mut rest = if i == column { 1.0 } else { 0.0 };
            let mut k = column;
            while k < i {
                rest -= *factor.add(i * n + k) * *inverse.add(k * n + column);
                k += 1;
            }
            let x = rest / *factor.add(i * n + i);
            *inverse.add(i * n + column) = x;
            sum += x * x;
            i += 1;
        }
    });
    block_sum(sum)
}

/// Pair `k` of round `r` of a tournament in which each of `m` (even) players meets every other once in `m - 1` rounds:
/// the last one stays, the others sit in a circle.
#[inline(always)]
fn pair(m: u32, r: u32, k: u32) -> (u32, u32) {
    let circle = m - 1;
    let wrap = |i: u32| if i >= circle { i - circle } else { i };
    if k == 0 {
        (r, circle)
    } else {
        let (p, q) = (wrap(r + k), wrap(r + circle - k));
        if p < q {
            (p, q)
        } else {
            (q, p)
        }
    }
}

/// Brings a symmetric `n x n` matrix to its eigenvalues on the diagonal by Jacobi's rotations, `n / 2` disjoint ones at a
/// time, until what is off the diagonal has 1e-12 of the norm. `rotations` has `n + 1` numbers.
///
/// # Safety
/// - As [`cholesky`], but the whole matrix is given.
#[inline(always)]
pub unsafe fn jacobi(a: *mut f64, n: usize, rotations: *mut f64) {
    // Positions in 32 bits (the host checks the sizes): half the registers.
    let n = n as u32;
    let at = |i: u32, j: u32| a.wrapping_add((i * n + j) as usize);
    let lane = thread::thread_idx_x();
    let m = n + (n & 1);
    let pairs = m / 2;
    let mut sweep = 0;
    while sweep < 40 {
        let (mut off, mut all) = (0.0, 0.0);
        let mut e = lane;
        while e < n * n {
            let square = *a.add(e as usize) * *a.add(e as usize);
            all += square;
            let i = quotient(e, n);
            off += if e == i * n + i { 0.0 } else { square };
            e += BLOCK;
        }
        let (off, all) = (block_sum(off), block_sum(all));
        // Also left with NaN. One decision of the block.
        let done = off.is_nan() || off <= 1e-24 * all;
        if thread::sync_threads_or(u32::from(done)) != 0 {
            break;
        }
        let mut r = 0;
        while r < m - 1 {
            let mut k = lane;
            while k < pairs {
                let (p, q) = pair(m, r, k);
                let (mut c, mut s) = (1.0, 0.0);
                if q < n && *at(p, q) != 0.0 {
                    let tau = (*at(q, q) - *at(p, p)) / (2.0 * *at(p, q));
                    let t = 1.0 / (tau.abs() + (1.0 + tau * tau).sqrt());
                    let t = if tau < 0.0 { -t } else { t };
                    c = 1.0 / (1.0 + t * t).sqrt();
                    s = t * c;
                }
                *rotations.add(2 * k as usize) = c;
                *rotations.add(2 * k as usize + 1) = s;
                k += BLOCK;
            }
            thread::sync_threads();
            // First the rows of all pairs, then the columns.
            let mut side = 0;
            while side < 2 {
                let mut e = lane;
                while e < pairs * n {
                    let k = quotient(e, n);
                    let j = e - k * n;
                    let (p, q) = pair(m, r, k);
                    if q < n {
                        let (c, s) = (*rotations.add(2 * k as usize), *rotations.add(2 * k as usize + 1));
                        let (at_p, at_q) =
                            if side == 0 { (at(p, j), at(q, j)) } else { (at(j, p), at(j, q)) };
                        let (x, y) = (*at_p, *at_q);
                        *at_p = c * x - s * y;
                        *at_q = s * x + c * y;
                    }
                    e += BLOCK;
                }
                thread::sync_threads();
                side += 1;
            }
            r += 1;
        }
        sweep += 1;
    }
}
