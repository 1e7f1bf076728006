//! Integer and bit arithmetic, random numbers, printf and assert.

use super::rig::*;
use ptx_sim::{ErrorKind, LaunchConfig};

/// Applies `f` to corresponding parts of two words, each `bits` wide.
fn parts(a: u32, b: u32, bits: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    let keep = (1u64 << bits) as u32 - 1;
    (0..32 / bits)
        .fold(0, |o, k| o | (f(a >> (k * bits) & keep, b >> (k * bits) & keep) & keep) << (k * bits))
}

fn byte_perm(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
    u32::from_le_bytes([0, 4, 8, 12].map(|s| bytes[(selector >> s & 7) as usize]))
}

fn words(x: u32, y: u32, z: u32) -> [u32; 20] {
    let (i, j, k) = (x as i32, y as i32, z as i32);
    let (xb, yb) = (x.to_le_bytes(), y.to_le_bytes());
    let ffs = |v: u32| if v == 0 { 0 } else { v.trailing_zeros() + 1 };
    let both = (y as u64) << 32 | x as u64;
    let signed: i32 = (0..4).map(|n| xb[n] as i8 as i32 * yb[n] as i8 as i32).sum();
    let unsigned: u32 = (0..4).map(|n| xb[n] as u32 * yb[n] as u32).sum();
    let low = (i as i16 as i32) * (yb[0] as i8 as i32) + (i >> 16) * (yb[1] as i8 as i32);
    let high = (x & 0xffff) * yb[2] as u32 + (x >> 16) * yb[3] as u32;
    let s24 = |v: i32| v << 8 >> 8;
    [
        x.count_ones() + 64 * y.leading_zeros() + 4096 * ffs(z),
        x.reverse_bits(),
        byte_perm(x, y, z),
        signed.wrapping_add(k) as u32,
        unsigned.wrapping_add(z),
        low.wrapping_add(k) as u32,
        high.wrapping_add(z),
        (both << (z & 31) >> 32) as u32,
        (both >> (z & 63).min(32)) as u32,
        ((x as u64 * y as u64) >> 32) as u32,
        ((i as i64 * j as i64) >> 32) as u32,
        ((x & 0xff_ffff).wrapping_mul(y & 0xff_ffff)).wrapping_add(s24(j).wrapping_mul(s24(k)) as u32),
        i.abs_diff(j).wrapping_add(z),
        ((x as u64 + y as u64) >> 1) as u32 ^ ((i as i64 + j as i64 + 1) >> 1) as u32,
        (x & y) | (!y & z),
        (x / (y | 1)).wrapping_add(i.wrapping_rem(k | 1) as u32),
        (i >> (y & 31)) as u32 ^ (x << (z & 31)),
        i.max(j) as u32 ^ x.min(z),
        (x as i8 as u32).wrapping_add(y as i16 as u32).wrapping_add(z as u8 as u32),
        parts(x, y, 8, |a, b| a + b)
            ^ parts(y, z, 8, |a, b| (a + b) / 2)
            ^ parts(x, z, 16, |a, b| (a as i16).max(b as i16) as u16 as u32)
            ^ parts(x, y, 8, |a, b| if a > b { 255 } else { 0 }),
    ]
}

#[test]
fn words_and_bits() {
    each(kernels!("bits"), |r| {
        let n = 1 + r.random.below(300);
        let draw = |r: &mut Random| r.u32() >> r.below(32) << r.below(8);
        let [a, b, c] = [0; 3].map(|_| r.random.list(n, draw));
        let (da, db, dc, out) = (r.put(&a), r.put(&b), r.put(&c), r.room::<u32>(20 * n));
        r.run("words", LaunchConfig::linear(n as u32, 96), args![da, db, dc, out, n as i32]);
        let want: Vec<u32> = (0..n).flat_map(|i| words(a[i], b[i], c[i])).collect();
        same(&r.get::<u32>(out, 20 * n), &want);
    });
}

#[test]
fn long_words() {
    each(kernels!("bits"), |r| {
        let n = 1 + r.random.below(200);
        let draw = |r: &mut Random| r.u64() >> r.below(64) << r.below(8);
        let [a, b] = [0; 2].map(|_| r.random.list(n, draw));
        let (da, db, out) = (r.put(&a), r.put(&b), r.room::<u64>(10 * n));
        r.run("long_words", LaunchConfig::linear(n as u32, 64), args![da, db, out, n as i32]);
        let mut want = Vec::new();
        for (&x, &y) in a.iter().zip(&b) {
            let (i, j) = (x as i64, y as i64);
            let ffs = |v: u64| if v == 0 { 0 } else { v.trailing_zeros() as u64 + 1 };
            let fold = |v: u128| (v >> 64) as u64 ^ v as u64;
            want.extend([
                x / (y | 1),
                x % (y | 1),
                (i.wrapping_div(j | 1) ^ i.wrapping_rem(j | 1)) as u64,
                ((x as u128 * y as u128) >> 64) as u64,
                ((i as i128 * j as i128) >> 64) as u64,
                x.count_ones() as u64 + 128 * y.leading_zeros() as u64 + 32768 * ffs(x & y),
                x.reverse_bits() ^ (x << (y & 63)) ^ (i >> (y >> 58)) as u64,
                fold((x as u128 * y as u128).wrapping_add((y as u128) << 37)),
                fold(((x as u128) << 64 | y as u128) / ((y >> 20 | 1) as u128)),
                if x > y { x - y } else { y as i32 as i64 as u64 },
            ]);
        }
        same(&r.get::<u64>(out, 10 * n), &want);
    });
}

#[test]
fn random_numbers() {
    each(kernels!("bits"), |r| {
        let n = 1 + r.random.below(200);
        let key = [r.random.u32(), r.random.u32()];
        let (raw, normal) = (r.room::<u32>(4 * n), r.room::<f32>(2 * n));
        let mut bytes = Vec::new();
        key.iter().for_each(|k| k.bytes(&mut bytes));
        r.run("random_numbers", LaunchConfig::linear(n as u32, 64), args![bytes, raw, normal, n as i32]);
        let (mut want, mut normals) = (Vec::new(), Vec::new());
        for i in 0..n as u32 {
            let (mut c, mut k) = ([i, 0, 0, 0u32], key);
            for _ in 0..10 {
                let (p, q) = (0xD251_1F53 * c[0] as u64, 0xCD9E_8D57 * c[2] as u64);
                c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
                k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
            }
            want.extend(c);
            let (u, angle) = ((c[0] as f32 + 0.5) * 2.328_306_4e-10, (c[1] as f32 * 1.462_918_1e-9) as f64);
            let radius = (-2.0 * (u as f64).ln()).sqrt();
            normals.extend([radius * angle.cos(), radius * angle.sin()]);
        }
        same(&r.get::<u32>(raw, 4 * n), &want);
        close(&r.get::<f32>(normal, 2 * n), &normals, |_| 4e-6);
    });
}

#[test]
fn printed_text() {
    each(kernels!("talk"), |r| {
        let n = 1 + r.random.below(9);
        let x = r.random.list(n, |r| r.f64(1.0, 9.9));
        let (dx, who) = (r.put(&x), r.put(b"world\0".as_slice()));
        let stats = r.run("talk", line(1, 32), args![dx, who, n as i32]);
        let mut got = stats.printf;
        assert_eq!(got.iter().filter(|t| *t == "no arguments\n").count(), 1);
        got.retain(|t| t != "no arguments\n");
        let want: Vec<String> = (0..n)
            .map(|i| {
                let letter = (b'a' + i as u8) as char;
                // C writes two digits of the exponent, and no prefix to a zero.
                let e = format!("{:.1e}", x[i]).replace('e', "e+0");
                let hex = if i == 0 { "0".to_string() } else { format!("{:#x}", 255 * i) };
                let long = -((i as i64) << 40);
                format!("world: {i} of {n} has {:.3}, {e} and {letter}%; {long} {hex} {:08.2}\n", x[i], -x[i])
            })
            .collect();
        same(&got, &want);
    });
}

#[test]
fn asserts() {
    each(kernels!("talk"), |r| {
        let n = 1 + r.random.below(100);
        let mut x = r.random.list(n, |r| r.below(1000) as i32);
        let out = r.room::<i32>(n);
        let dx = r.put(&x);
        r.run("check", LaunchConfig::linear(n as u32, 64), args![dx, n as i32, out]);
        same(&r.get::<i32>(out, n), &x.iter().map(|v| 2 * v).collect::<Vec<_>>());
        let bad = r.random.below(n);
        x[bad] = -1;
        let dx = r.put(&x);
        let e = r.attempt("check", LaunchConfig::linear(n as u32, 64), args![dx, n as i32, out]).unwrap_err();
        assert_eq!(e.kind, ErrorKind::AssertionFailed);
        assert_eq!(e.report.thread, Some([bad as u32 % 64, 0, 0]));
        assert_eq!(e.report.block, Some([bad as u32 / 64, 0, 0]));
        assert!(e.report.message.contains("x[i] >= 0") && e.report.message.contains("talk.cu:16"), "{e}");
    });
}
