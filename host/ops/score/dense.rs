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
    /// diagonal `d` and `e[i]` beside `d[i]` and `d[i + 1]`. `e` has as many numbers as `d`; `work` too.
    fn tridiagonal(a: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64], work: &mut [f64]) {
        for k in 0..n {
            d[k] = a[k * n + k];
            if k + 1 == n {
                break;
            }
            let m = n - k - 1;
            // Column k below the diagonal, which row k has too, is reflected onto its first element.
            let (head, below) = a.split_at_mut((k + 1) * n);
            let v = &mut head[k * n + k + 1..];
            let norm = dot(v, v).sqrt();
            let alpha = if v[0] > 0.0 { -norm } else { norm };
            e[k] = alpha;
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
/// Householder's reflections, then QL with implicit shifts (Bowdler, Martin, Reinsch and Wilkinson 1968).
pub(super) fn eigenvalues(a: &mut [f64], n: usize, values: &mut [f64], work: &mut [f64]) {
    let (d, (e, work)) = (values, work.split_at_mut(n));
    tridiagonal(a, n, d, e, work);
    e[n - 1] = 0.0;
    for l in 0..n {
        // 60 rounds an eigenvalue: three are usual; NaN would never converge.
        for _ in 0..60 {
            let small = |i: usize| e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
            let m = (l..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            let mut g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut broke = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    broke = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                let q = d[i + 1] - p;
                let t = (d[i] - q) * s + 2.0 * c * b;
                p = s * t;
                d[i + 1] = q + p;
                g = c * t - b;
            }
            if !broke {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
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
