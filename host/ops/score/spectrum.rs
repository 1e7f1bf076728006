//! What AZ-NAS asks of a matrix's singular values, on `cpu` in `f64`.

use gpu_kernels::score as layout;

use super::dense;
use super::loops::room;

/// Memory for it, used again and again.
#[derive(Default)]
pub(super) struct Spectrum {
    vectors: Vec<f64>,
    matrix: Vec<f64>,
    values: Vec<f64>,
}

impl Spectrum {
    /// H = - sum of p ln(p + 1e-8), p the normalised eigenvalues of the covariance of features `[n, width]`, a row a sample.
    pub fn entropy(&mut self, features: &[f32], n: usize, width: usize) -> f64 {
        let size = self.gram(features, n, width, true);
        let (values, work) = room(&mut self.values, 3 * size).split_at_mut(size);
        dense::eigenvalues(&mut self.matrix[..size * size], size, values, work);
        let total: f64 = values.iter().sum();
        if total <= 0.0 {
            return 0.0;
        }
        values.iter().map(|v| (v / total).max(0.0)).map(|p| -p * (p + layout::ENTROPY_EPSILON).ln()).sum()
    }

    /// The greatest singular value of a matrix `[n, width]`.
    pub fn norm(&mut self, a: &[f32], n: usize, width: usize) -> f64 {
        let size = self.gram(a, n, width, false);
        let work = room(&mut self.values, 3 * size);
        dense::greatest_eigenvalue(&mut self.matrix[..size * size], size, work).sqrt()
    }

    /// aᵀ a or a aᵀ, whichever is smaller, of a matrix `[n, width]` less each column's mean if `centred`, to `matrix`; returns
    /// its size. The eigenvalues other than zero are the same, and the squares of the singular values.
    fn gram(&mut self, a: &[f32], n: usize, width: usize, centred: bool) -> usize {
        let (size, by_rows) = (n.min(width), n <= width);
        let (vectors, means) = room(&mut self.vectors, n * width + width).split_at_mut(n * width);
        means.fill(0.0);
        if centred {
            for row in a.chunks_exact(width) {
                means.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
            }
            means.iter_mut().for_each(|m| *m /= n as f64);
        }
        for (i, row) in a.chunks_exact(width).enumerate() {
            for (j, (&v, m)) in row.iter().zip(&*means).enumerate() {
                vectors[if by_rows { i * width + j } else { j * n + i }] = f64::from(v) - m;
            }
        }
        dense::gram(vectors, size, n.max(width), false, room(&mut self.matrix, size * size));
        size
    }
}
