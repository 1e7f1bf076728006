//! jacob_cov: how differently the network's outputs depend on the input at different samples.

use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

use super::dense::{cholesky, trace_of_inverse};
use super::network::{backward, forward, report, share, share_triangle, Net};
use super::{DH, JACOB_COV_K};

/// Value: jacob_cov = - sum over the eigenvalues v of C of ln(v + k) + 1 / (v + k) = - (ln det(C + k I) + tr (C + k I)^-1),
/// where C is the correlation of the rows of J, and row n of J is the gradient of the sum of the outputs in the input, at
/// sample n. A row that does not vary is correlated with none but itself.
///
/// # Safety
/// - One block of [`BLOCK`](super::BLOCK) threads a network; tables and workspaces as the module's docs say: `lead` of `rows * inputs`, 4
///   regions, and `2 rows (rows + 1)` numbers of `f64`.
/// - `x` is `[rows, inputs]`; `out` has [`VALUES`](super::VALUES) numbers a network.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(super::BLOCK))]
pub unsafe fn score_jacobian(
    nets: *const u64,
    layers: *const u64,
    params: *const f32,
    rows: u32,
    x: *const f32,
    work: *mut f32,
    work64: *mut f64,
    out: *mut f64,
) {
    let net = Net::of_block(nets, layers, params, rows, work, work64);
    let rows = net.rows;
    forward(&net, net.layers, x);
    let last = net.layer(net.layers - 1);
    let dh = net.at(DH, &last);
    share(rows * last.units, |e| *dh.add(e) = 1.0);
    thread::sync_threads();
    let jacobian = net.lead();
    backward(&net, jacobian);

    // Mean and inverse norm of each row.
    let inputs = net.layer(0).inputs;
    let correlation = net.work64;
    let inverse = correlation.add(rows * rows);
    let (mean, scale) = (inverse.add(rows * rows), inverse.add(rows * rows + rows));
    share(rows, |n| {
        let row = jacobian.add(n * inputs);
        let (mut sum, mut square) = (0.0f64, 0.0f64);
        let mut i = 0;
        while i < inputs {
            sum += *row.add(i) as f64;
            i += 1;
        }
        let m = sum / inputs as f64;
        i = 0;
        while i < inputs {
            let d = *row.add(i) as f64 - m;
            square += d * d;
            i += 1;
        }
        *mean.add(n) = m;
        *scale.add(n) = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
    });
    thread::sync_threads();
    share_triangle(rows as u32, |n, m| {
        let (n, m) = (n as usize, m as usize);
        let (a, b) = (jacobian.add(n * inputs), jacobian.add(m * inputs));
        let (mean_a, mean_b) = (*mean.add(n), *mean.add(m));
        let mut sum = 0.0;
        let mut i = 0;
        while i < inputs {
            sum += (*a.add(i) as f64 - mean_a) * (*b.add(i) as f64 - mean_b);
            i += 1;
        }
        let c = if n == m { 1.0 + JACOB_COV_K } else { sum * *scale.add(n) * *scale.add(m) };
        *correlation.add(n * rows + m) = c;
    });
    thread::sync_threads();
    let log_determinant = cholesky(correlation, rows);
    let trace = trace_of_inverse(correlation, rows, inverse);
    report(out, [-(log_determinant + trace)]);
}
