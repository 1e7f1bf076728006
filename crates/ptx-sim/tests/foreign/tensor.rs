//! Tensor cores: wmma, mma.sync, ldmatrix, stmatrix.

use super::rig::*;
use half::{bf16, f16};

/// A row-major product in f64: `a` is m x k, `b` is n x k (that is, column-major k x n).
pub fn product(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    (0..m * n).map(|i| (0..k).map(|p| a[i / n * k + p] * b[i % n * k + p]).sum()).collect()
}

fn transposed<T: Copy>(v: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..v.len()).map(|i| v[i % rows * columns + i / rows]).collect()
}

pub fn halves(r: &mut Random, n: usize) -> Vec<u16> {
    r.list(n, |r| f16::from_f32(r.f32(-1.0, 1.0)).to_bits())
}

pub fn bfloats(r: &mut Random, n: usize) -> Vec<u16> {
    r.list(n, |r| bf16::from_f32(r.f32(-1.0, 1.0)).to_bits())
}

pub fn from_halves(v: &[u16]) -> Vec<f64> {
    v.iter().map(|&b| f16::from_bits(b).to_f64()).collect()
}

pub fn from_bfloats(v: &[u16]) -> Vec<f64> {
    v.iter().map(|&b| bf16::from_bits(b).to_f64()).collect()
}

/// Error of an f32 sum of k products below one, whatever the order and whether the adder truncates.
pub fn bound(k: usize) -> f64 {
    2.0 * (k + 2) as f64 * f32::EPSILON as f64 * k as f64
}

#[test]
fn wmma_of_halves() {
    each(kernels!("wmma"), |r| {
        let (warps, tiles) = (1 + r.random.below(4), 1 + r.random.below(4));
        let k = 16 * tiles;
        let (a, b) = (halves(&mut r.random, 16 * k * warps), halves(&mut r.random, 16 * k * warps));
        let c = r.random.f32s(256 * warps, -1.0, 1.0);
        let (da, db, dc, d) = (r.put(&a), r.put(&b), r.put(&c), r.room::<f32>(256 * warps));
        r.run("wmma_half", line(1, 32 * warps as u32), args![da, db, dc, d, tiles as i32]);
        let (a, b) = (from_halves(&a), from_halves(&b));
        let want: Vec<f64> = (0..warps)
            .flat_map(|w| product(&a[16 * k * w..], &b[16 * k * w..], 16, 16, k))
            .zip(&c)
            .map(|(p, &c)| 0.5 * (p + c as f64))
            .collect();
        close(&r.get::<f32>(d, 256 * warps), &want, |_| bound(k + 1));

        let (a, b) = (halves(&mut r.random, 512), halves(&mut r.random, 128));
        let (da, db, d) = (r.put(&a), r.put(&b), r.room::<u16>(256));
        r.run("wmma_half_sum", line(1, 32), args![da, db, d]);
        // A is k x m, B is k x n, D is n x m as stored.
        let want =
            product(&transposed(&from_halves(&b), 16, 8), &transposed(&from_halves(&a), 16, 32), 8, 32, 16);
        // Sums of 16 products below one in halves, which may round after each.
        close64(&from_halves(&r.get::<u16>(d, 256)), &want, |_| 16.0 * 8.0 * 2f64.powi(-11));
    });
}

#[test]
fn wmma_of_other_types() {
    each(kernels!("wmma"), |r| {
        let (a, b) = (bfloats(&mut r.random, 128), bfloats(&mut r.random, 512));
        let (da, db, d) = (r.put(&a), r.put(&b), r.room::<f32>(256));
        r.run("wmma_bfloat", line(1, 32), args![da, db, d]);
        let want = product(&from_bfloats(&a), &transposed(&from_bfloats(&b), 16, 32), 8, 32, 16);
        let want: Vec<f64> = want.iter().map(|v| v + 1.0).collect();
        close(&r.get::<f32>(d, 256), &want, |_| bound(17));

        let (a, b) = (r.random.f32s(128, -1.0, 1.0), r.random.f32s(128, -1.0, 1.0));
        let (da, db, d) = (r.put(&a), r.put(&b), r.room::<f32>(256));
        r.run("wmma_tf32", line(1, 32), args![da, db, d]);
        let wide = |v: &[f32]| v.iter().map(|&v| v as f64).collect::<Vec<_>>();
        // Factors keep ten bits after the first.
        let want = product(&wide(&a), &wide(&b), 16, 16, 8);
        close(&r.get::<f32>(d, 256), &want, |_| 8.0 * 2.0 * 2f64.powi(-11) + bound(8));

        let (a, b) = (r.random.list(256, |r| r.u32() as i8), r.random.list(256, |r| r.u32() as i8));
        let c = r.random.list(256, |r| r.u32() as i32 >> 4);
        let (da, db, d) = (r.put(&a), r.put(&b), r.put(&c));
        r.run("wmma_bytes", line(1, 32), args![da, db, d]);
        let dot =
            |i: usize, j: usize| (0..16).map(|p| a[16 * i + p] as i32 * b[16 * j + p] as i32).sum::<i32>();
        let want: Vec<i32> = (0..256).map(|i| c[i] + dot(i / 16, i % 16)).collect();
        same(&r.get::<i32>(d, 256), &want);

        let [a, b] = [0; 2].map(|_| r.random.list(32, |r| r.f64(-1.0, 1.0)));
        let c = r.random.list(64, |r| r.f64(-1.0, 1.0));
        let (da, db, d) = (r.put(&a), r.put(&b), r.put(&c));
        r.run("wmma_double", line(1, 32), args![da, db, d]);
        let want: Vec<f64> = product(&a, &b, 8, 8, 4).iter().zip(&c).map(|(p, c)| p + c).collect();
        close64(&r.get::<f64>(d, 64), &want, |_| 5.0 * 5.0 * f64::EPSILON);
    });
}

#[test]
fn mma_of_sixteen_bits() {
    each(kernels!("mma"), |r| {
        let (ha, hb) = (halves(&mut r.random, 256), halves(&mut r.random, 128));
        let (ba, bb) = (bfloats(&mut r.random, 256), bfloats(&mut r.random, 128));
        let c = r.random.f32s(128, -1.0, 1.0);
        let ptrs = [&ha, &hb, &ba, &bb].map(|v| r.put(v));
        let (dc, hd, bd) = (r.put(&c), r.room::<f32>(128), r.room::<f32>(128));
        r.run("mma_16816", line(1, 32), args![ptrs[0], ptrs[1], ptrs[2], ptrs[3], dc, hd, bd]);
        for (a, b, d) in
            [(from_halves(&ha), from_halves(&hb), hd), (from_bfloats(&ba), from_bfloats(&bb), bd)]
        {
            let want: Vec<f64> =
                product(&a, &b, 16, 8, 16).iter().zip(&c).map(|(p, &c)| p + c as f64).collect();
            close(&r.get::<f32>(d, 128), &want, |_| bound(17));
        }
    });
}

#[test]
fn mma_of_bytes_tf32_and_doubles() {
    each(kernels!("mma"), |r| {
        let (a, b) = (r.random.list(512, |r| r.u32() as u8), r.random.list(256, |r| r.u32() as u8));
        let (da, db, ss, us) = (r.put(&a), r.put(&b), r.room::<i32>(128), r.room::<i32>(128));
        r.run("mma_bytes", line(1, 32), args![da, db, ss, us]);
        let dot = |i: usize, widen: fn(u8) -> i32| -> i32 {
            (0..32).map(|p| widen(a[i / 8 * 32 + p]) * b[i % 8 * 32 + p] as i8 as i32).sum()
        };
        same(&r.get::<i32>(ss, 128), &(0..128).map(|i| dot(i, |v| v as i8 as i32)).collect::<Vec<_>>());
        same(&r.get::<i32>(us, 128), &(0..128).map(|i| dot(i, |v| v as i32)).collect::<Vec<_>>());

        // Low bits of tf32 operands are ignored: clear ones make the comparison exact.
        let draw = |r: &mut Random| r.f32(-1.0, 1.0).to_bits() & !0x1fff;
        let (a, b) = (r.random.list(128, draw), r.random.list(64, draw));
        let (a64, b64) = (r.random.list(32, |r| r.f64(-1.0, 1.0)), r.random.list(32, |r| r.f64(-1.0, 1.0)));
        let (da, db, d) = (r.put(&a), r.put(&b), r.room::<f32>(128));
        let (da64, db64, d64) = (r.put(&a64), r.put(&b64), r.room::<f64>(64));
        r.run("mma_tf32_double", line(1, 32), args![da, db, d, da64, db64, d64]);
        let wide = |v: &[u32]| v.iter().map(|&v| f32::from_bits(v) as f64).collect::<Vec<_>>();
        close(&r.get::<f32>(d, 128), &product(&wide(&a), &wide(&b), 16, 8, 8), |_| bound(8));
        let want: Vec<f64> = product(&a64, &b64, 8, 8, 4)
            .iter()
            .enumerate()
            .map(|(i, p)| p + if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        close64(&r.get::<f64>(d64, 64), &want, |_| 5.0 * 5.0 * f64::EPSILON);
    });
}

/// Two neighbours of a row, or of a column, as the lanes of a warp hold an 8 x 8 matrix at `(row, column)` of a 16 x 16 tile.
fn fragment(tile: &[u16], lane: usize, row: usize, column: usize, across: bool) -> u32 {
    let (g, t) = (lane / 4, 2 * (lane % 4));
    let at = |i: usize, j: usize| {
        let (i, j) = if across { (j, i) } else { (i, j) };
        tile[(row + i) * 16 + column + j] as u32
    };
    at(g, t) | at(g, t + 1) << 16
}

#[test]
fn matrices_from_shared_memory() {
    each(kernels!("mma"), |r| {
        let tile = r.random.list(256, |r| r.u32() as u16);
        let (dt, plain, trans, two) =
            (r.put(&tile), r.room::<u32>(128), r.room::<u32>(128), r.room::<u32>(64));
        r.run("load_matrices", line(1, 32), args![dt, plain, trans, two]);
        // Matrices in the order of the address lanes: down the left half, then down the right half.
        let all = |n: usize, across: bool| {
            (0..32 * n)
                .map(|i| fragment(&tile, i / n, i % n % 2 * 8, i % n / 2 * 8, across))
                .collect::<Vec<_>>()
        };
        same(&r.get::<u32>(plain, 128), &all(4, false));
        same(&r.get::<u32>(trans, 128), &all(4, true));
        same(&r.get::<u32>(two, 64), &all(2, false));
    });
}

#[test]
fn matrices_to_shared_memory() {
    each(kernels!("stmatrix", sm_90a), |r| {
        let tile = r.random.list(256, |r| r.u32() as u16);
        let held: Vec<u32> =
            (0..128).map(|i| fragment(&tile, i / 4, i % 4 % 2 * 8, i % 4 / 2 * 8, false)).collect();
        let (dh, plain, trans, moved) =
            (r.put(&held), r.room::<u16>(256), r.room::<u16>(256), r.room::<u32>(32));
        r.run("store_matrices", line(1, 32), args![dh, plain, trans, moved]);
        same(&r.get::<u16>(plain, 256), &tile);
        // Each of the four matrices is transposed in its place.
        let want: Vec<u16> = (0..256)
            .map(|p| {
                let (i, j) = (p / 16, p % 16);
                tile[(i / 8 * 8 + j % 8) * 16 + j / 8 * 8 + i % 8]
            })
            .collect();
        same(&r.get::<u16>(trans, 256), &want);
        same(&r.get::<u32>(moved, 32), &(0..32).map(|l| fragment(&tile, l, 0, 0, true)).collect::<Vec<_>>());
    });
}
