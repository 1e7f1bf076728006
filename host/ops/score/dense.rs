//! Symmetric matrices in `f64` on the host: Cholesky's factor, and eigenvalues by way of a tridiagonal matrix. Row-major slices; sums in a
//! fixed order, wide enough to vectorise.

use crate::ops::cpu::simd;

/// Sums that an inner product carries side by side.
const LANES: usize = 8;

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a8, b8) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for l in 0..LANES {
            sums[l] += x[l] * y[l];
        }
    }
    let pairs = [sums[0] + sums[4], sums[1] + sums[5], sums[2] + sums[6], sums[3] + sums[7]];
    (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]) + rest
}

simd! {
    /// `to[i, j] = <row i, row j>` of a matrix `[n, depth]`, all of it or only the lower triangle.
    pub(super) fn gram(a: &[f64], n: usize, depth: usize, lower: bool, to: &mut [f64]) {
        for i in 0..n {
            for j in 0..=i {
                let v = dot(&a[i * depth..(i + 1) * depth], &a[j * depth..(j + 1) * depth]);
                to[i * n + j] = v;
                if !lower {
                    to[j * n + i] = v;
                }
            }
        }
    }
}

simd! {
    /// Factors a positive definite matrix, given by its lower triangle, into L Lᵀ in place.
    pub(super) fn cholesky(a: &mut [f64], n: usize) {
        for i in 0..n {
            let (above, rest) = a.split_at_mut(i * n);
            let row = &mut rest[..=i];
            for j in 0..i {
                let other = &above[j * n..=j * n + j];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            row[i] = (row[i] - dot(&row[..i], &row[..i])).sqrt();
        }
    }
}

/// The log-determinant of L Lᵀ.
pub(super) fn log_determinant(factor: &[f64], n: usize) -> f64 {
    2.0 * (0..n).map(|i| factor[i * n + i].ln()).sum::<f64>()
}

simd! {
    /// The inverse of L, to the lower triangle of `inverse`: row i is (e_i - sum of L(i, k) row k) / L(i, i).
    pub(super) fn invert(factor: &[f64], n: usize, inverse: &mut [f64]) {
        for i in 0..n {
            let (above, rest) = inverse.split_at_mut(i * n);
            let row = &mut rest[..=i];
            row.fill(0.0);
            for k in 0..i {
                let l = factor[i * n + k];
                for (x, y) in row[..=k].iter_mut().zip(&above[k * n..=k * n + k]) {
                    *x -= l * y;
                }
            }
            row[i] = 1.0;
            let pivot = factor[i * n + i];
            for x in row {
                *x /= pivot;
            }
        }
    }
}

/// The trace of the inverse of L Lᵀ, given the inverse of L.
pub(super) fn trace_of_inverse(inverse: &[f64], n: usize) -> f64 {
    (0..n).map(|i| dot(&inverse[i * n..=i * n + i], &inverse[i * n..=i * n + i])).sum()
}

simd! {
    /// Householder's reflections: brings a symmetric matrix (all of it given, and overwritten) to the tridiagonal one with
    /// diagonal `d` and a number beside `d[i]` and `d[i + 1]` whose square is `e[i]`. `e` has as many numbers as `d`, the
    /// last of them 0; `work` too.
    fn tridiagonal(a: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64], work: &mut [f64]) {
        for k in 0..n {
            d[k] = a[k * n + k];
            if k + 1 == n {
                e[k] = 0.0;
                break;
            }
            let m = n - k - 1;
            // Column k below the diagonal, which row k has too, is reflected onto its first element.
            let (head, below) = a.split_at_mut((k + 1) * n);
            let v = &mut head[k * n + k + 1..];
            let norm = dot(v, v).sqrt();
            let alpha = if v[0] > 0.0 { -norm } else { norm };
            e[k] = alpha * alpha;
            v[0] -= alpha;
            let square = dot(v, v);
            if square == 0.0 {
                continue;
            }
            let beta = 2.0 / square;
            // A <- A - v wᵀ - w vᵀ, with p = beta A v and w = p - beta/2 <p, v> v.
            for i in 0..m {
                work[i] = beta * dot(&below[i * n + k + 1..(i + 1) * n], v);
            }
            let share = 0.5 * beta * dot(&work[..m], v);
            for i in 0..m {
                work[i] -= share * v[i];
            }
            for i in 0..m {
                let (vi, wi) = (v[i], work[i]);
                let row = &mut below[i * n + k + 1..(i + 1) * n];
                for j in 0..m {
                    row[j] -= vi * work[j] + wi * v[j];
                }
            }
        }
    }
}

/// The eigenvalues of a symmetric matrix, in no order, to `values`. The matrix is overwritten; `work` has `2 n` numbers.
/// Householder's reflections, then QL without square roots in its inner loop, on the squares of what stands beside the
/// diagonal (Ortega and Kaiser 1963, in the form of Pal, Walker and Kahan: Parlett, "The Symmetric Eigenvalue Problem", 8.15).
pub(super) fn eigenvalues(a: &mut [f64], n: usize, values: &mut [f64], work: &mut [f64]) {
    let (d, (e, work)) = (values, work.split_at_mut(n));
    tridiagonal(a, n, d, e, work);
    for l in 0..n {
        // 60 rounds an eigenvalue: two are usual; NaN would never converge.
        for _ in 0..60 {
            let small = |i: usize| e[i] <= f64::EPSILON.powi(2) * (d[i] * d[i + 1]).abs();
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let beside = e[l].sqrt();
            let g = (d[l + 1] - d[l]) / (2.0 * beside);
            let shift = d[l] - beside / (g + g.hypot(1.0).copysign(g));
            let (mut c, mut s) = (1.0, 0.0);
            let mut gamma = d[m] - shift;
            let mut p = gamma * gamma;
            for i in (l..m).rev() {
                let square = e[i];
                let r = p + square;
                if i + 1 < m {
                    e[i + 1] = s * r;
                }
                let (before, old) = (c, gamma);
                (c, s) = (p / r, square / r);
                gamma = c * (d[i] - shift) - s * old;
                d[i + 1] = old + (d[i] - gamma);
                p = if c != 0.0 { gamma * gamma / c } else { before * square };
            }
            e[l] = s * p;
            d[l] = shift + gamma;
        }
    }
}

/// The greatest eigenvalue of a symmetric matrix, which is overwritten; NaN for one that is not finite. `work` has `3 n`
/// numbers.
pub(super) fn greatest_eigenvalue(a: &mut [f64], n: usize, work: &mut [f64]) -> f64 {
    let (d, rest) = work.split_at_mut(n);
    let (e, work) = rest.split_at_mut(n);
    tridiagonal(a, n, d, e, work);
    // Gershgorin's circles; T - x has none but negative pivots just where x is above every eigenvalue.
    let (mut low, mut high, mut left) = (f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0);
    for (d, e) in d.iter().zip(&*e) {
        let right = e.sqrt();
        (low, high, left) = (low.max(*d), high.max(d + left + right), right);
    }
    if !d.iter().sum::<f64>().is_finite() {
        return f64::NAN;
    }
    for _ in 0..SECTIONS {
        let step = (high - low) / (PROBES + 1) as f64;
        let probes: [f64; PROBES] = std::array::from_fn(|i| low + (i + 1) as f64 * step);
        let mut above = [false; PROBES];
        pivots(d, e, &probes, &mut above);
        let first = above.iter().position(|&above| above);
        high = first.map_or(high, |i| probes[i]);
        low = first.map_or(Some(PROBES), Some).and_then(|i| i.checked_sub(1)).map_or(low, |i| probes[i]);
    }
    high
}

/// Numbers tried at once, and how often: 17^13 is 2^53.
const PROBES: usize = 16;
const SECTIONS: usize = 13;

simd! {
    /// Whether T - x has only negative pivots, for each x of `probes`; T as [`tridiagonal`] leaves it.
    fn pivots(d: &[f64], e: &[f64], probes: &[f64; PROBES], above: &mut [bool; PROBES]) {
        let (mut pivots, mut greatest) = ([f64::INFINITY; PROBES], [f64::NEG_INFINITY; PROBES]);
        let mut before = 0.0;
        for (d, e) in d.iter().zip(e) {
            for i in 0..PROBES {
                pivots[i] = d - probes[i] - before / pivots[i];
                greatest[i] = if greatest[i] > pivots[i] { greatest[i] } else { pivots[i] };
            }
            before = *e;
        }
        for i in 0..PROBES {
            above[i] = greatest[i] < 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    /// A symmetric matrix with `rank` random directions.
    fn matrix(n: usize, rank: usize, seed: u64) -> Vec<f64> {
        let mut s = seed;
        let mut next = || {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (s >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let vectors: Vec<f64> = (0..n * rank).map(|_| next()).collect();
        let mut a = vec![0.0; n * n];
        gram(&vectors, n, rank, false, &mut a);
        a
    }

    #[test]
    fn eigenvalues_are_those_of_jacobi() {
        for (n, rank) in [(1, 1), (2, 2), (3, 1), (7, 7), (16, 5), (33, 40), (64, 20), (40, 0)] {
            let a = matrix(n, rank, 7 + n as u64);
            let mut want = reference::eigenvalues(a.chunks(n).map(<[f64]>::to_vec).collect());
            let (mut got, mut work) = (vec![0.0; n], vec![0.0; 2 * n]);
            eigenvalues(&mut a.clone(), n, &mut got, &mut work);
            want.sort_by(f64::total_cmp);
            got.sort_by(f64::total_cmp);
            let norm = want.iter().map(|v| v.abs()).fold(1.0, f64::max);
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-12 * norm * n as f64, "{n} x {n} of rank {rank}: {g} for {w}");
            }
            let (greatest, want) =
                (greatest_eigenvalue(&mut a.clone(), n, &mut vec![0.0; 3 * n]), want[n - 1]);
            assert!(
                (greatest - want).abs() < 1e-12 * norm * n as f64,
                "{n} x {n} of rank {rank}: {greatest} for {want}"
            );
        }
    }

    #[test]
    fn the_factor_has_the_determinant_and_the_trace() {
        for n in [1, 2, 5, 16, 33, 64] {
            let mut a = matrix(n, n + 3, 3 + n as u64);
            (0..n).for_each(|i| a[i * n + i] += 0.5);
            let values = reference::eigenvalues(a.chunks(n).map(<[f64]>::to_vec).collect());
            let (log, trace) =
                (values.iter().map(|v| v.ln()).sum::<f64>(), values.iter().map(|v| 1.0 / v).sum::<f64>());
            let mut inverse = vec![0.0; n * n];
            cholesky(&mut a, n);
            invert(&a, n, &mut inverse);
            assert!((log_determinant(&a, n) - log).abs() < 1e-10 * (1.0 + log.abs()));
            assert!((trace_of_inverse(&inverse, n) - trace).abs() < 1e-10 * trace);
        }
    }
}
