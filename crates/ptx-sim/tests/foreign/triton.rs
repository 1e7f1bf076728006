//! Kernels written in Triton, compiled by Triton's own compiler. Each has two more parameters than its source, scratch buffers none of
//! them uses.

use super::rig::*;
use super::tensor::{bound, from_halves, halves, product};
use ptx_sim::LaunchConfig;

#[test]
fn vector_addition() {
    each(kernels!("triton_vector_add"), |r| {
        let n = 1 + r.random.below(3000);
        let (x, y) = (r.random.f32s(n, -1.0, 1.0), r.random.f32s(n, -1.0, 1.0));
        let (dx, dy, out) = (r.put(&x), r.put(&y), r.room::<f32>(n));
        let config = line(n.div_ceil(512) as u32, 128);
        r.run("vector_add", config, args![dx, dy, out, n as i32, 0u64, 0u64]);
        same(&r.get::<f32>(out, n), &x.iter().zip(&y).map(|(x, y)| x + y).collect::<Vec<_>>());
    });
}

#[test]
fn softmax() {
    each(kernels!("triton_softmax"), |r| {
        let (rows, columns) = (1 + r.random.below(6), 1 + r.random.below(256));
        let stride = columns + r.random.below(9);
        let x = r.random.f32s(rows * stride, -5.0, 5.0);
        let (dx, out) = (r.put(&x), r.put(&x));
        let args = args![dx, out, stride as i32, columns as i32, 0u64, 0u64];
        r.run("softmax", line(rows as u32, 128).shared(16), args);
        let mut want: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        for row in want.chunks_mut(stride) {
            let sum: f64 = row[..columns].iter().map(|v| v.exp()).sum();
            row[..columns].iter_mut().for_each(|v| *v = v.exp() / sum);
        }
        // Beyond the columns nothing is written; inside, the exponent of a difference of up to ten.
        let bound = |i: usize| if i % stride < columns { want[i] * 40.0 * f32::EPSILON as f64 } else { 0.0 };
        close(&r.get::<f32>(out, x.len()), &want, bound);
    });
}

#[test]
fn layer_normalisation() {
    each(kernels!("triton_layer_norm"), |r| {
        let (rows, columns) = (1 + r.random.below(6), 2 + r.random.below(500));
        let x = r.random.f32s(rows * columns, -1.0, 3.0);
        let (gamma, beta) = (r.random.f32s(columns, 0.5, 1.5), r.random.f32s(columns, -1.0, 1.0));
        let (dx, dg, db, out) = (r.put(&x), r.put(&gamma), r.put(&beta), r.room::<f32>(x.len()));
        let args = args![dx, dg, db, out, columns as i32, columns as i32, 1e-3f32, 0u64, 0u64];
        r.run("layer_norm", line(rows as u32, 128).shared(16), args);
        normalised(&r.get::<f32>(out, x.len()), &x, &gamma, &beta);
    });
}

/// Sizes that need not be multiples of a tile, and strides that are multiples of 16 elements.
pub fn matmul(source: &str, shared: u32) {
    each(&[source], |r| {
        let [m, n, k] = [90, 90, 120].map(|most| 1 + r.random.below(most));
        let (sa, sb, sc) = (k.next_multiple_of(16), n.next_multiple_of(16), n.next_multiple_of(16) + 16);
        let (a, b) = (halves(&mut r.random, m * sa), halves(&mut r.random, k * sb));
        let (da, db, c) = (r.put(&a), r.put(&b), r.put(&vec![7f32; m * sc]));
        let config =
            LaunchConfig::new([m.div_ceil(64) as u32, n.div_ceil(64) as u32, 1], [128, 1, 1]).shared(shared);
        let [m32, n32, k32, sa32, sb32, sc32] = [m, n, k, sa, sb, sc].map(|v| v as i32);
        r.run("matmul", config, args![da, db, c, m32, n32, k32, sa32, sb32, sc32, 0u64, 0u64]);
        let (a, b) = (from_halves(&a), from_halves(&b));
        let dense: Vec<f64> = (0..m * k).map(|i| a[i / k * sa + i % k]).collect();
        let across: Vec<f64> = (0..n * k).map(|i| b[i % k * sb + i / k]).collect();
        let dots = product(&dense, &across, m, n, k);
        let want: Vec<f64> =
            (0..m * sc).map(|i| if i % sc < n { dots[i / sc * n + i % sc] } else { 7.0 }).collect();
        close(&r.get::<f32>(c, m * sc), &want, |i| if i % sc < n { bound(k) } else { 0.0 });
    });
}

#[test]
fn products_by_mma() {
    matmul(include_str!("triton_matmul_sm_80.ptx"), 8192);
}
