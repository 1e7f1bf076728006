//! Copies between the blocks of a cluster.

use super::rig::*;
use super::tensormap::{F32, Tensor};

#[test]
fn tiles_around_a_ring() {
    each(kernels!("cluster", sm_90a), |r| {
        let (ranks, clusters) = (1 + r.random.below(8), 1 + r.random.below(2));
        let x = r.random.list(128 * ranks * clusters, |r| r.u32() as i32 >> 4);
        let (dx, out) = (r.put(&x), r.room::<i32>(x.len()));
        let config = line((ranks * clusters) as u32, 128).cluster([ranks as u32, 1, 1]);
        r.run("ring_sum", config, args![dx, out, ranks as i32]);
        let sum = |i: usize| {
            let first = i / 128 / ranks * ranks;
            (first..first + ranks).map(|b| x[128 * b + i % 128]).sum()
        };
        same(&r.get::<i32>(out, x.len()), &(0..x.len()).map(sum).collect::<Vec<_>>());
    });
}

#[test]
fn multicast_loads() {
    each(kernels!("cluster", sm_90a), |r| {
        let (columns, rows) = (4 * (1 + r.random.below(12)), 1 + r.random.below(40));
        let tensor = Tensor::random(r, F32, &[columns, rows], &[32, 8], 0);
        let out = r.room::<f32>(6 * 512);
        r.run("multicast", line(6, 64).cluster([2, 1, 1]), args![tensor.map(), out]);
        let want: Vec<f32> = (0..6 * 512)
            .map(|i| tensor.at(&[i as i64 % 32, (i / 1024 * 16 + i / 32 % 16) as i64]) + (i / 512 % 2) as f32)
            .collect();
        same(&r.get::<f32>(out, 6 * 512), &want);
    });
}
