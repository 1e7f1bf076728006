//! Transposition, stencils, sparse products, n-body, Mandelbrot.

use super::rig::*;
use ptx_sim::LaunchConfig;

#[test]
fn transposes() {
    each(kernels!("transpose"), |r| {
        let (rows, columns) = (1 + r.random.below(70), 1 + r.random.below(70));
        let n = rows * columns;
        let x = r.random.f32s(n, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(n));
        let grid = [columns.div_ceil(16) as u32, rows.div_ceil(12) as u32, 1];
        let shape = args![dx, out, rows as i32, columns as i32];
        r.run("transpose_naive", LaunchConfig::new(grid, [16, 12, 1]), shape);
        let want: Vec<f32> = (0..n).map(|i| x[i % rows * columns + i / rows]).collect();
        same(&r.get::<f32>(out, n), &want);

        let x = r.random.list(n, |r| r.f64(-1.0, 1.0));
        let (dx, out) = (r.put(&x), r.room::<f64>(n));
        let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
        r.run(
            "transpose_tile",
            LaunchConfig::new(grid, [32, 8, 1]),
            args![dx, out, rows as i32, columns as i32],
        );
        let want: Vec<f64> = (0..n).map(|i| x[i % rows * columns + i / rows]).collect();
        same(&r.get::<f64>(out, n), &want);
    });
}

#[test]
fn transposes_of_bytes() {
    each(kernels!("transpose"), |r| {
        let (r4, c4) = (1 + r.random.below(20), 1 + r.random.below(20));
        let (rows, columns) = (4 * r4, 4 * c4);
        let x = r.random.list(rows * columns, |r| r.u32() as u8);
        let (dx, out) = (r.put(&x), r.room::<u8>(x.len()));
        let grid = [c4.div_ceil(8) as u32, r4.div_ceil(8) as u32, 1];
        r.run("transpose_bytes", LaunchConfig::new(grid, [8, 8, 1]), args![dx, out, r4 as i32, c4 as i32]);
        let want: Vec<u8> = (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect();
        same(&r.get::<u8>(out, x.len()), &want);
    });
}

#[test]
fn five_point_stencils() {
    each(kernels!("stencil"), |r| {
        let (w, h) = (1 + r.random.below(60), 1 + r.random.below(60));
        let x = r.random.f32s(w * h, -2.0, 2.0);
        let (centre, side) = (r.random.f32(0.0, 1.0), r.random.f32(0.0, 0.5));
        let (dx, out) = (r.put(&x), r.room::<f32>(w * h));
        let grid = [w.div_ceil(16) as u32, h.div_ceil(16) as u32, 1];
        let config = LaunchConfig::new(grid, [16, 16, 1]);
        r.run("stencil_2d", config, args![dx, out, w as i32, h as i32, centre, side]);
        let at = |x_: usize, y: usize| x[y * w + x_] as f64;
        let want: Vec<f64> = (0..w * h)
            .map(|i| match (i % w, i / w) {
                (x, y) if x == 0 || y == 0 || x + 1 == w || y + 1 == h => at(x, y),
                (x, y) => {
                    let sides = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1);
                    centre as f64 * at(x, y) + side as f64 * sides
                }
            })
            .collect();
        // Six roundings of values below ten.
        close(&r.get::<f32>(out, w * h), &want, |_| 6.0 * f32::EPSILON as f64 * 10.0);
    });
}

#[test]
fn seven_point_stencils() {
    each(kernels!("stencil"), |r| {
        let [nx, ny, nz] = [20, 15, 10].map(|m| 3 + r.random.below(m));
        let n = nx * ny * nz;
        let x = r.random.f32s(n, -2.0, 2.0);
        let (dx, out) = (r.put(&x), r.put(&x));
        let config = LaunchConfig::new([nx.div_ceil(8) as u32, ny.div_ceil(8) as u32, 1], [8, 8, 1]);
        r.run("stencil_3d", config, args![dx, out, nx as i32, ny as i32, nz as i32, 0.4f32, 0.1f32]);
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let (px, py, pz) = (i % nx, i / nx % ny, i / nx / ny);
                if [(px, nx), (py, ny), (pz, nz)].iter().any(|&(p, n)| p == 0 || p + 1 == n) {
                    return x[i] as f64;
                }
                let around = [1, nx, nx * ny].iter().map(|d| x[i - d] as f64 + x[i + d] as f64).sum::<f64>();
                0.4f32 as f64 * x[i] as f64 + 0.1f32 as f64 * around
            })
            .collect();
        close(&r.get::<f32>(out, n), &want, |_| 8.0 * f32::EPSILON as f64 * 12.0);
    });
}

#[test]
fn sparse_products() {
    each(kernels!("spmv"), |r| {
        let (rows, columns) = (1 + r.random.below(90), 1 + r.random.below(200));
        let mut row = vec![0i32];
        for _ in 0..rows {
            // Empty rows and long ones.
            let long = r.random.below(3) * r.random.below(40);
            row.push(row[row.len() - 1] + long as i32);
        }
        let nnz = row[rows] as usize;
        let column = r.random.list(nnz, |r| r.below(columns) as i32);
        let value = r.random.f32s(nnz, -1.0, 1.0);
        let x = r.random.f32s(columns, -1.0, 1.0);
        let sum = |k: usize, abs: bool| -> f64 {
            let range = row[k] as usize..row[k + 1] as usize;
            let terms = range.map(|j| value[j] as f64 * x[column[j] as usize] as f64);
            terms.map(|v| if abs { v.abs() } else { v }).sum()
        };
        let want: Vec<f64> = (0..rows).map(|k| sum(k, false)).collect();
        let (drow, dcol, dval, dx) = (r.put(&row), r.put(&column), r.put(&value), r.put(&x));
        let out = r.room::<f32>(rows);
        let config = LaunchConfig::linear(rows as u32, 64);
        r.run("spmv_scalar", config, args![rows as i32, drow, dcol, dval, dx, out]);
        close(&r.get::<f32>(out, rows), &want, |k| 80.0 * f32::EPSILON as f64 * sum(k, true));

        let wide: Vec<f64> = value.iter().map(|&v| v as f64).collect();
        let x64: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        let (dval, dx, out) = (r.put(&wide), r.put(&x64), r.room::<f64>(rows));
        let config = LaunchConfig::linear(32 * rows as u32, 128);
        r.run("spmv_vector", config, args![rows as i32, drow, dcol, dval, dx, out]);
        close64(&r.get::<f64>(out, rows), &want, |k| 80.0 * f64::EPSILON * sum(k, true));
    });
}

#[test]
fn gravity() {
    each(kernels!("nbody"), |r| {
        let (n, threads) = (1 + r.random.below(150), 32 * (1 + r.random.below(3)));
        let bodies = r.random.f32s(4 * n, 0.1, 2.0);
        let softening = 0.01f32;
        let (db, out) = (r.put(&bodies), r.room::<f32>(3 * n));
        let config = LaunchConfig::linear(n as u32, threads as u32).shared(16 * threads as u32);
        r.run("nbody", config, args![db, out, n as i32, softening]);
        let b = |i: usize, k: usize| bodies[4 * i + k] as f64;
        let mut sizes = vec![0.0; 3 * n];
        let mut want = vec![0.0; 3 * n];
        for i in 0..n {
            for j in 0..n {
                let d = [0, 1, 2].map(|k| b(j, k) - b(i, k));
                let q = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + softening as f64;
                for k in 0..3 {
                    let a = d[k] * b(j, 3) / (q * q.sqrt());
                    want[3 * i + k] += a;
                    sizes[3 * i + k] += a.abs();
                }
            }
        }
        // A sum of n terms, each with about a dozen roundings and two units of error in rsqrt, cubed.
        close(&r.get::<f32>(out, 3 * n), &want, |k| (n as f64 + 24.0) * f32::EPSILON as f64 * sizes[k]);
    });
}

#[test]
fn mandelbrot_escapes() {
    each(kernels!("mandelbrot"), |r| {
        let (w, h, limit) = (1 + r.random.below(40), 1 + r.random.below(30), 60);
        let (x0, y0, step) = (r.random.f64(-2.0, -0.5), r.random.f64(-1.0, 0.0), 0.05);
        let out = r.room::<u16>(w * h);
        let config = LaunchConfig::new([w.div_ceil(8) as u32, h.div_ceil(4) as u32, 1], [8, 4, 1]);
        r.run("mandelbrot", config, args![out, w as i32, h as i32, x0, y0, step, limit]);
        let want: Vec<u16> = (0..w * h)
            .map(|p| {
                // The kernel's coordinates are fused.
                let (cx, cy) = (((p % w) as f64).mul_add(step, x0), ((p / w) as f64).mul_add(step, y0));
                let (mut x, mut y, mut i) = (0.0f64, 0.0f64, 0);
                while i < limit && x * x + y * y <= 4.0 {
                    (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
                    i += 1;
                }
                i as u16
            })
            .collect();
        same(&r.get::<u16>(out, w * h), &want);
    });
}

#[test]
fn collatz_sequences() {
    each(kernels!("mandelbrot"), |r| {
        let n = 1 + r.random.below(200);
        let x = r.random.list(n, |r| r.below(1 << 16) as u32);
        let stop = [40, 160, 1][r.random.below(3)];
        let (dx, out) = (r.put(&x), r.room::<u32>(n));
        r.run("collatz", LaunchConfig::linear(n as u32, 96), args![dx, out, n as u32, stop]);
        let want: Vec<u32> = x.iter().map(|&v| collatz(v as u64, stop as u64)).collect();
        same(&r.get::<u32>(out, n), &want);
    });
}

fn collatz(mut v: u64, stop: u64) -> u32 {
    let mut steps = 0;
    while v != stop && v > 1 && steps <= 300 {
        // The limit is looked at once a round of halvings and one step up.
        while v.is_multiple_of(2) && v != stop {
            v /= 2;
            steps += 1;
        }
        if v > 1 && v != stop {
            v = 3 * v + 1;
            steps += 1;
        }
    }
    if v == stop && steps <= 300 { 0x8000_0000 | steps } else { steps }
}
