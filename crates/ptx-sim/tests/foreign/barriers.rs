//! The C++ library's barriers, asynchronous copies and pipelines.

use super::rig::*;

#[test]
fn arriving_and_waiting_apart() {
    each(kernels!("barrier"), |r| {
        let (threads, blocks, rounds) =
            (1 + r.random.below(128), 1 + r.random.below(3), 1 + r.random.below(5));
        let n = threads * blocks;
        let x = r.random.f32s(n, -1.0, 1.0);
        let (dx, out, side) = (r.put(&x), r.room::<f32>(n), r.room::<f32>(n));
        r.run("split_barrier", line(blocks as u32, threads as u32), args![dx, out, side, rounds as i32]);
        let mut v: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        for _ in 0..rounds {
            v = (0..n)
                .map(|i| {
                    let (b, t) = (i / threads * threads, i % threads);
                    0.5 * v[i] + 0.25 * (v[b + (t + 1) % threads] + v[b + (t + threads - 1) % threads])
                })
                .collect();
        }
        close(&r.get::<f32>(out, n), &v, |_| 3.0 * rounds as f64 * f32::EPSILON as f64);
        let want: Vec<f32> = (0..n).map(|i| (0..rounds).map(|k| (k + i % threads) as f32).sum()).collect();
        same(&r.get::<f32>(side, n), &want);
    });
}

#[test]
fn producers_and_consumers() {
    each(kernels!("barrier"), |r| {
        let batches = 1 + r.random.below(9);
        let x = r.random.list(96 * batches, |r| r.u32() as i32);
        let (dx, out) = (r.put(&x), r.room::<i32>(96));
        r.run("producer_consumer", line(1, 128), args![dx, out, batches as i32]);
        let want: Vec<i32> = (0..96)
            .map(|c| x.chunks(96).fold(0i32, |s, batch| s.wrapping_mul(3).wrapping_add(batch[95 - c])))
            .collect();
        same(&r.get::<i32>(out, 96), &want);
    });
}

#[test]
fn asynchronous_copies() {
    each(kernels!("barrier"), |r| {
        let (tiles, threads) = (1 + r.random.below(6), 32 * (1 + r.random.below(4)));
        let x = r.random.list(256 * tiles, |r| r.u32() as i32 >> 8);
        let (dx, out) = (r.put(&x), r.room::<i32>(threads));
        r.run("copy_async", line(1, threads as u32), args![dx, out, tiles as i32]);
        let want: Vec<i32> = (0..threads)
            .map(|t| {
                let one = |k: usize, i: usize| x[256 * k + (t * 5 + i * 17) % 256] * (k as i32 + 1);
                (0..tiles).flat_map(|k| (0..4).map(move |i| one(k, i))).sum()
            })
            .collect();
        same(&r.get::<i32>(out, threads), &want);
    });
}

#[test]
fn pipelines() {
    each(kernels!("barrier"), |r| {
        let n = 1 + r.random.below(7);
        let x = r.random.f32s(4 * 64 * n, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(x.len()));
        r.run("thread_pipeline", line(1, 64), args![dx, out, n as i32]);
        let want: Vec<f32> = x
            .chunks(4)
            .enumerate()
            .flat_map(|(i, v)| [v[3], v[2] + (i / 64 + 2) as f32, v[1], v[0]])
            .collect();
        same(&r.get::<f32>(out, x.len()), &want);

        let x = r.random.list(128 * n, |r| r.u32() as i32 >> 1);
        let (dx, out) = (r.put(&x), r.room::<i32>(x.len()));
        r.run("block_pipeline", line(1, 128), args![dx, out, n as i32]);
        let want: Vec<i32> = (0..x.len()).map(|i| x[i / 128 * 128 + 127 - i % 128] + 1).collect();
        same(&r.get::<i32>(out, x.len()), &want);
    });
}
