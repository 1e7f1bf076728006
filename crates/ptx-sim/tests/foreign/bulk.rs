//! Bulk copies in one dimension, and programmatic dependent launch.

use super::rig::*;
use ptx_sim::LaunchConfig;

#[test]
fn loads_and_stores() {
    each(kernels!("bulk", sm_90a), |r| {
        let n = 4 * (1 + r.random.below(700));
        let (a, b) = (r.random.f32s(n, -1.0, 1.0), r.random.f32s(n, -1.0, 1.0));
        let (da, db, c) = (r.put(&a), r.put(&b), r.room::<f32>(n));
        r.run("bulk_add", line(n.div_ceil(1024) as u32, 128), args![da, db, c, n as i32]);
        same(&r.get::<f32>(c, n), &a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<_>>());
    });
}

#[test]
fn a_ring_of_loads() {
    each(kernels!("bulk", sm_90a), |r| {
        let (rows, blocks) = (1 + r.random.below(14), 1 + r.random.below(3));
        let x = r.random.list(256 * rows * blocks, |r| r.u32() as i32 >> 8);
        let (dx, out) = (r.put(&x), r.room::<i32>(256 * blocks));
        r.run("bulk_ring", line(blocks as u32, 160), args![dx, out, rows as i32]);
        let want: Vec<i32> = (0..256 * blocks)
            .map(|i| {
                let (b, c) = (i / 256, i % 256);
                let weight = |k: usize| if c < 128 { 1 } else { k as i32 + 1 };
                (0..rows).map(|k| x[(b * rows + k) * 256 + c] * weight(k)).sum()
            })
            .collect();
        same(&r.get::<i32>(out, 256 * blocks), &want);
    });
}

#[test]
fn reductions() {
    each(kernels!("bulk", sm_90a), |r| {
        let blocks = 1 + r.random.below(6);
        let x = r.random.list(256 * blocks, |r| r.u32() as i32);
        let (dx, sum) = (r.put(&x), r.put(&[5u32; 256]));
        let (floats, maximum) = (r.put(&[0.5f32; 256]), r.put(&[i32::MIN; 256]));
        r.run("bulk_reductions", line(blocks as u32, 64), args![dx, sum, floats, maximum]);
        let column = |c: usize| (0..blocks).map(move |b| 256 * b + c);
        let sums = |c: usize| column(c).fold(5u32, |s, i| s.wrapping_add(x[i] as u32));
        same(&r.get::<u32>(sum, 256), &(0..256).map(sums).collect::<Vec<_>>());
        let wide = |c: usize| 0.5 + column(c).map(|i| (x[i] & 255) as f32).sum::<f32>();
        same(&r.get::<f32>(floats, 256), &(0..256).map(wide).collect::<Vec<_>>());
        let most = |c: usize| column(c).map(|i| x[i]).max().unwrap();
        same(&r.get::<i32>(maximum, 256), &(0..256).map(most).collect::<Vec<_>>());
    });
}

#[test]
fn dependent_grids() {
    each(kernels!("bulk", sm_90a), |r| {
        let n = 1 + r.random.below(300);
        let x = r.random.f32s(n, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(n));
        r.run("dependent", LaunchConfig::linear(n as u32, 64), args![dx, out, n as i32]);
        same(&r.get::<f32>(out, n), &x.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
    });
}
