//! Matrix products without tensor cores, layer normalisation, Fourier transforms, radix sort.

use super::rig::*;
use ptx_sim::LaunchConfig;

#[test]
fn float_gemm() {
    each(kernels!("dense"), |r| {
        let (m, n, k) =
            (64 * (1 + r.random.below(2)), 64 * (1 + r.random.below(2)), 8 * (1 + r.random.below(5)));
        let (alpha, beta) = (r.random.f32(0.5, 2.0), r.random.f32(-1.0, 1.0));
        let a = r.random.f32s(m * k, -1.0, 1.0);
        let b = r.random.f32s(k * n, -1.0, 1.0);
        let c = r.random.f32s(m * n, -1.0, 1.0);
        let (da, db, dc) = (r.put(&a), r.put(&b), r.put(&c));
        let config = LaunchConfig::new([n as u32 / 64, m as u32 / 64, 1], [256, 1, 1]);
        r.run("sgemm", config, args![m as i32, n as i32, k as i32, alpha, da, db, beta, dc]);
        let want: Vec<f64> = (0..m * n)
            .map(|i| {
                let dot: f64 = (0..k).map(|p| a[i / n * k + p] as f64 * b[p * n + i % n] as f64).sum();
                alpha as f64 * dot + beta as f64 * c[i] as f64
            })
            .collect();
        // k products below one, scaled by at most two.
        close(&r.get::<f32>(dc, m * n), &want, |_| (2 * k + 4) as f64 * f32::EPSILON as f64 * k as f64);
    });
}

#[test]
fn layer_normalisation() {
    each(kernels!("dense"), |r| {
        let (rows, columns) = (1 + r.random.below(20), 1 + r.random.below(100));
        let x = r.random.f32s(rows * columns, -1.0, 3.0);
        let (gamma, beta) = (r.random.f32s(columns, 0.5, 1.5), r.random.f32s(columns, -1.0, 1.0));
        let (dx, dg, db, out) = (r.put(&x), r.put(&gamma), r.put(&beta), r.room::<f32>(x.len()));
        let args = args![dx, dg, db, out, rows as i32, columns as i32, 1e-3f32];
        r.run("layer_norm", LaunchConfig::linear(32 * rows as u32, 128), args);
        normalised(&r.get::<f32>(out, x.len()), &x, &gamma, &beta);
    });
}

#[test]
fn fourier_transforms() {
    each(kernels!("dense"), |r| {
        let x = r.random.f32s(2 * 512, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(x.len()));
        r.run("fft256", line(2, 128), args![dx, out]);
        let mut want = Vec::new();
        for signal in x.chunks(512) {
            for k in 0..256 {
                let (mut re, mut im) = (0.0, 0.0);
                for t in 0..256 {
                    let (s, c) = (-2.0 * std::f64::consts::PI * (k * t % 256) as f64 / 256.0).sin_cos();
                    let (a, b) = (signal[2 * t] as f64, signal[2 * t + 1] as f64);
                    re += a * c - b * s;
                    im += a * s + b * c;
                }
                want.extend([re, im]);
            }
        }
        // Eight stages of a few roundings each on values that grow to about sixty.
        close(&r.get::<f32>(out, x.len()), &want, |_| 8.0 * 4.0 * 60.0 * f32::EPSILON as f64);
    });
}

#[test]
fn radix_sort() {
    each(kernels!("dense"), |r| {
        let mask = [!0, 0xff, 0x8000_0003][r.random.below(3)];
        let mut keys = r.random.list(512, |r| r.u32() & mask);
        let dk = r.put(&keys);
        r.run("radix_sort", line(2, 256), args![dk]);
        keys.chunks_mut(256).for_each(<[u32]>::sort_unstable);
        same(&r.get::<u32>(dk, 512), &keys);
    });
}
