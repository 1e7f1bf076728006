//! Clusters: distributed shared memory, and blocks that signal each other.

use super::rig::*;

#[test]
fn histogram_spread_over_a_cluster() {
    each(kernels!("cluster", sm_90a), |r| {
        let n = 1 + r.random.below(4000);
        let x = r.random.list(n, |r| (r.u32() >> 24) as u8);
        let (dx, bins) = (r.put(&x), r.put(&[0u32; 256]));
        r.run("cluster_histogram", line(8, 96).cluster([4, 1, 1]), args![dx, n as i32, bins]);
        let mut want = vec![0u32; 256];
        x.iter().for_each(|&v| want[v as usize] += 1);
        same(&r.get::<u32>(bins, 256), &want);
    });
}

#[test]
fn sums_over_clusters() {
    each(kernels!("cluster", sm_90a), |r| {
        let (ranks, rows, warps) = (1 << r.random.below(4), 1 + r.random.below(3), 1 + r.random.below(4));
        let columns = 1 + r.random.below(900);
        let x = r.random.f32s(rows * columns, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(rows * ranks));
        let config = line((rows * ranks) as u32, 32 * warps as u32).cluster([ranks as u32, 1, 1]);
        r.run("cluster_sums", config, args![dx, out, columns as i32]);
        let row = |i: usize| x[i / ranks * columns..(i / ranks + 1) * columns].iter().map(|&v| v as f64);
        let want: Vec<f64> = (0..rows * ranks).map(|i| row(i).sum()).collect();
        close(&r.get::<f32>(out, rows * ranks), &want, |_| 40.0 * columns as f64 * f32::EPSILON as f64);
    });
}
