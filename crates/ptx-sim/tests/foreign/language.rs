//! What the language adds to arithmetic: calls, recursion, pointers to functions and data, address spaces, structures.

use super::rig::*;
use ptx_sim::LaunchConfig;

#[test]
fn structures_by_value() {
    each(kernels!("functions"), |r| {
        let n = 5 + r.random.below(100);
        let x = r.random.list(n, |r| r.u64() as i64 >> 3);
        let (dx, out, weight) = (r.put(&x), r.room::<i64>(2 * n), r.room::<f32>(n));
        r.run("structs", LaunchConfig::linear(n as u32, 64), args![dx, out, weight, n as i32]);
        let (mut want, mut weights) = (Vec::new(), Vec::new());
        for i in 0..n {
            let (mut low, mut high, mut w) = (x[i], x[i], 1.0f32);
            for k in 1..5 {
                let v = x[(i + k) % n];
                (low, high) = (low.min(v), high.max(v + k as i64));
                w += 0.5 * (k as f32 - 2.0);
            }
            want.extend([low, high]);
            weights.push(w);
        }
        same(&r.get::<i64>(out, 2 * n), &want);
        same(&r.get::<f32>(weight, n), &weights);
    });
}

fn ackermann(m: u32, n: u32) -> u32 {
    match (m, n) {
        (0, n) => n + 1,
        (m, 0) => ackermann(m - 1, 1),
        (m, n) => ackermann(m - 1, ackermann(m, n - 1)),
    }
}

#[test]
fn recursion() {
    each(kernels!("functions"), |r| {
        let n = 1 + r.random.below(70);
        let x = r.random.list(24 * n, |r| r.below(90) as i32 - 40);
        let (dx, out) = (r.put(&x), r.room::<i32>(24 * n));
        r.run("recursion", LaunchConfig::linear(n as u32, 64), args![dx, out, n as i32]);
        let mut want = x;
        for (i, c) in want.chunks_mut(24).enumerate() {
            c.sort_unstable();
            c[0] += ackermann(i as u32 % 3, i as u32 % 5) as i32 + if i % 20 % 2 == 0 { 1000 } else { 0 };
        }
        same(&r.get::<i32>(out, 24 * n), &want);
    });
}

#[test]
fn function_pointers_and_virtual_methods() {
    each(kernels!("functions"), |r| {
        let n = 1 + r.random.below(200);
        let which = r.random.list(n, |r| r.u32() as u8);
        let (a, b) = (r.random.f32s(n, 0.5, 4.0), r.random.f32s(n, 0.5, 4.0));
        let (dw, da, db) = (r.put(&which), r.put(&a), r.put(&b));
        let out = r.room::<f32>(n);
        r.run("pointers", LaunchConfig::linear(n as u32, 96), args![dw, da, db, out, n as i32]);
        let want: Vec<f32> = (0..n)
            .map(|i| match which[i] & 3 {
                0 => a[i] + b[i],
                1 => a[i] - b[i],
                2 => a[i] * b[i],
                _ => a[i] / b[i],
            })
            .collect();
        same(&r.get::<f32>(out, n), &want);

        let out = r.room::<f32>(n);
        r.run("virtuals", LaunchConfig::linear(n as u32, 96), args![da, db, out, n as i32]);
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let (a, b) = (a[i] as f64, b[i] as f64);
                if a > b { a * b * b - a * b } else { 3.0 * a * a * b * b - 3.0 * a * a }
            })
            .collect();
        close(&r.get::<f32>(out, n), &want, |_| 1000.0 * 6.0 * f32::EPSILON as f64);
    });
}

#[test]
fn switches_and_jump_tables() {
    each(kernels!("functions"), |r| {
        let n = 1 + r.random.below(150);
        let length = 1 + r.random.below(60);
        let program = r.random.list(length, |r| r.u32() as u8);
        let x = r.random.u32s(n);
        let (dp, dx, out) = (r.put(&program), r.put(&x), r.room::<u32>(n));
        r.run("machine", LaunchConfig::linear(n as u32, 64), args![dp, length as i32, dx, out, n as i32]);
        let want: Vec<u32> = (0..n).map(|i| machine(&program, x[i], i as u32)).collect();
        same(&r.get::<u32>(out, n), &want);

        let which = r.random.list(n, |r| r.u32() >> 2);
        let (dw, out) = (r.put(&which), r.room::<u32>(n));
        r.run("jump_table", LaunchConfig::linear(n as u32, 64), args![dw, dx, out, n as i32]);
        let want: Vec<u32> = (0..n)
            .map(|i| {
                (0..3).fold(x[i], |v, k| match (which[i] + k) % 6 {
                    0 => v.wrapping_add(77),
                    1 => v ^ 0x55aa,
                    2 => v.reverse_bits(),
                    3 | 4 => v.wrapping_mul(2_654_435_761),
                    _ => v >> 1,
                })
            })
            .collect();
        same(&r.get::<u32>(out, n), &want);
    });
}

fn machine(program: &[u8], mut a: u32, mut b: u32) -> u32 {
    let mut c = 1u32;
    for pc in 0..program.len() {
        match program[(pc + (a & 1) as usize) % program.len()] % 12 {
            0 => a = a.wrapping_add(b),
            1 => a = a.wrapping_sub(c),
            2 => b = b.wrapping_mul(a | 1),
            3 => c ^= a >> 3,
            4 => a = b / (c | 1),
            5 => b = a % (c | 7),
            6 => c = c.reverse_bits(),
            7 => a = a.count_ones().wrapping_add(c),
            8 => b = b.rotate_left(5),
            9 => (a, b, c) = (b, c, a),
            10 if a > b => c = c.wrapping_add(17),
            10 => {}
            _ => a = a.wrapping_mul(1_664_525).wrapping_add(1_013_904_223),
        }
    }
    a ^ b ^ c
}

#[test]
fn local_arrays() {
    each(kernels!("memory"), |r| {
        let (n, columns) = (1 + r.random.below(90), 1 + r.random.below(40));
        let k = 1 + r.random.below(columns.min(16));
        let x = r.random.f32s(n * columns, -1.0, 1.0);
        let (dx, out) = (r.put(&x), r.room::<f32>(n * k));
        r.run(
            "local_arrays",
            LaunchConfig::linear(n as u32, 64),
            args![dx, columns as i32, k as i32, out, n as i32],
        );
        let want: Vec<f32> = x
            .chunks(columns)
            .flat_map(|row| {
                let mut row = row.to_vec();
                row.sort_by(f32::total_cmp);
                row.truncate(k);
                row
            })
            .collect();
        same(&r.get::<f32>(out, n * k), &want);
    });
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for b in bytes {
        crc ^= *b as u32;
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

#[test]
fn constant_tables() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    each(kernels!("memory"), |r| {
        let (n, length) = (1 + r.random.below(90), 1 + r.random.below(50));
        let x = r.random.list(n * length, |r| r.u32() as u8);
        let (dx, out) = (r.put(&x), r.room::<u32>(n));
        r.run("crc32", LaunchConfig::linear(n as u32, 64), args![dx, length as i32, out, n as i32]);
        same(&r.get::<u32>(out, n), &x.chunks(length).map(crc32).collect::<Vec<_>>());

        let x = r.random.f32s(n, -1.0, 1.0);
        let which = r.random.list(n, |r| r.u32() as u8);
        let (dx, dw, out, total) = (r.put(&x), r.put(&which), r.room::<f64>(n), r.room::<u32>(1));
        r.run("filtered", LaunchConfig::linear(n as u32, 64), args![dx, dw, out, n as i32]);
        r.run("letters", line(1, 1), args![total]);
        let taps = [
            ([1.0f32, -2.0, 0.5, 3.0, -1.0], 1i64, 0.25, 5u32),
            ([0.0, 1.0, 0.0, -1.0, 2.0], -2, 1.5, 6),
            ([0.1, 0.2, 0.4, 0.2, 0.1], 0, -3.0, 5),
        ];
        let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53];
        let mut letters = 7;
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let (tap, shift, gain, long) = taps[which[i] as usize % 3];
                letters += long;
                let mut s = 0f32;
                for (k, t) in tap.iter().enumerate() {
                    if let Ok(at) = usize::try_from(i as i64 + k as i64 + shift)
                        && at < n
                    {
                        s = t.mul_add(x[at], s);
                    }
                }
                s as f64 * gain + long as f64 + primes[i & 15] as f64
            })
            .collect();
        close64(&r.get::<f64>(out, n), &want, |_| 1e-13);
        same(&r.get::<u32>(total, 1), &[letters]);
    });
}

#[test]
fn large_parameters() {
    each(kernels!("memory"), |r| {
        let n = 1 + r.random.below(200);
        let sign = r.random.u32() as i8;
        let offset = r.random.list(7, |r| r.u32() as i16);
        let scale = r.random.f64(-2.0, 2.0);
        let table = r.random.f32s(32, -1.0, 1.0);
        let bytes = r.random.list(3, |r| r.u32() as u8);
        let wide = r.random.u32() as i64 - (1 << 31);
        let out = r.room::<f32>(n);
        let mut raw = Vec::new();
        sign.bytes(&mut raw);
        raw.resize(2, 0);
        offset.iter().for_each(|o| o.bytes(&mut raw));
        scale.bytes(&mut raw);
        table.iter().for_each(|t| t.bytes(&mut raw));
        raw.extend(&bytes);
        raw.resize(raw.len().next_multiple_of(8), 0);
        wide.bytes(&mut raw);
        out.bytes(&mut raw);
        r.run("settings", LaunchConfig::linear(n as u32, 64), args![raw.clone(), n as i32]);
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let near = sign as f64 * table[i % 32] as f64 + offset[i % 7] as f64;
                near + scale * bytes[i % 3] as f64 + wide as f64
            })
            .collect();
        close(&r.get::<f32>(out, n), &want, |i| 5.0 * f32::EPSILON as f64 * (want[i].abs() + 1e5));

        r.run("changed_settings", LaunchConfig::linear(n as u32, 64), args![raw, n as i32]);
        let sum: f64 = table.iter().map(|&v| v as f64).sum();
        let want: Vec<f64> = (0..n).map(|i| sum + i as f64 + offset[(i + 3) % 7] as f64).collect();
        close(&r.get::<f32>(out, n), &want, |i| 40.0 * f32::EPSILON as f64 * (300.0 + want[i].abs()));
    });
}

#[test]
fn dynamic_shared_memory_cut_up() {
    each(kernels!("memory"), |r| {
        let m = 1 + r.random.below(120);
        let blocks = 1 + r.random.below(3);
        let n = 1 + r.random.below(m * blocks);
        let x = r.random.list(n, |r| r.f64(-100.0, 100.0));
        let (dx, out) = (r.put(&x), r.room::<f64>(n));
        r.run("carved", line(blocks as u32, m as u32).shared(15 * m as u32), args![dx, out, n as i32]);
        let want: Vec<f64> = (0..n)
            .map(|i| {
                let (base, t) = (i / m * m, i % m);
                let v = |u: usize| x.get(base + u).copied().unwrap_or(0.0);
                let u = m - 1 - t;
                let f = v((t + 1) % m) as f32 as f64;
                let h = (v((t + 2) % m) * 8.0) as i16 as f64;
                v(u) + f + h + (u as i8) as f64
            })
            .collect();
        close64(&r.get::<f64>(out, n), &want, |_| 1e-11);
    });
}

#[test]
fn vectors_of_all_widths() {
    each(kernels!("memory"), |r| {
        let n = 1 + r.random.below(100);
        let (x, a) = (r.random.u32s(4 * n), r.random.list(2 * n, |r| r.u32() as u16));
        let (dx, out, da, b) = (r.put(&x), r.room::<u32>(4 * n), r.put(&a), r.room::<u8>(2 * n));
        r.run("vectors", LaunchConfig::linear(n as u32, 64), args![dx, out, da, b, n as i32]);
        let want: Vec<u32> = x
            .chunks(4)
            .flat_map(|v| [v[0] ^ v[3], v[1].wrapping_add(v[2]), (v[2] as i32 >> 3) as u32, v[3]])
            .collect();
        same(&r.get::<u32>(out, 4 * n), &want);
        let want: Vec<u8> = a.chunks(2).flat_map(|s| [(s[0] >> 4) as u8, s[1] as u8]).collect();
        same(&r.get::<u8>(b, 2 * n), &want);
    });
}
