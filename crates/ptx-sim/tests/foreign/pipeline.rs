//! Copies that land later: cp.async with groups, feeding tensor cores.

use super::rig::*;
use super::tensor::{bound, from_halves, halves, product};
use ptx_sim::LaunchConfig;

#[test]
fn gemm_in_stages() {
    each(kernels!("pipeline"), |r| {
        let (m, n, k) = (1 + r.random.below(100), 1 + r.random.below(100), 32 * (1 + r.random.below(6)));
        let (a, b) = (halves(&mut r.random, m * k), halves(&mut r.random, n * k));
        let (da, db, c) = (r.put(&a), r.put(&b), r.room::<f32>(m * n));
        let config = LaunchConfig::new([n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1], [128, 1, 1]);
        r.run("gemm", config.shared(3 * 2 * 64 * 40 * 2), args![m as i32, n as i32, k as i32, da, db, c]);
        let want = product(&from_halves(&a), &from_halves(&b), m, n, k);
        close(&r.get::<f32>(c, m * n), &want, |_| bound(k));
    });
}

#[test]
fn copies_with_fewer_source_bytes() {
    each(kernels!("pipeline"), |r| {
        let x = r.random.list(64 * 32, |r| r.u32() as u8);
        let sizes = [4, 8, 16].map(|n| r.random.below(n + 1));
        let (dx, out) = (r.put(&x), r.room::<u8>(64 * 32));
        let [b4, b8, b16] = sizes.map(|n| n as i32);
        r.run("short_copies", line(1, 64), args![dx, out, b4, b8, b16]);
        let want: Vec<u8> = (0..64 * 32)
            .map(|i| match i % 32 {
                c @ 0..4 => (c < sizes[0]) as u8 * x[i],
                4..8 => 0xcc,
                c @ 8..16 => (c - 8 < sizes[1]) as u8 * x[i],
                c => (c - 16 < sizes[2]) as u8 * x[i],
            })
            .collect();
        same(&r.get::<u8>(out, 64 * 32), &want);
    });
}
