//! Floating point: the headers' library in single and double precision, directed rounding, half precision and bfloat16.

use super::rig::*;
use half::{bf16, f16};
use ptx_sim::LaunchConfig;

/// Kernel, its values a thread, and for one of them: which, the function, and the error allowed in ulps.
type Ulps<'a> = &'a [(usize, &'a dyn Fn(f64, f64) -> f64, f64)];

/// Compares each function's results, `per` a thread.
fn judge(name: &str, got: &[f64], per: usize, a: &[f64], b: &[f64], epsilon: f64, functions: Ulps<'_>) {
    for &(k, f, ulps) in functions {
        for i in 0..a.len() {
            let (g, w) = (got[per * i + k], f(a[i], b[i]));
            let bound = ulps * epsilon * w.abs();
            assert!(
                (g - w).abs() <= bound || g == w,
                "{name} {k} of {:e} and {:e}: {g:e}, should be {w:e}",
                a[i],
                b[i]
            );
        }
    }
}

fn nonzero(r: &mut Random, high: f64) -> f64 {
    let v = r.f64(-high, high);
    if v.abs() < 1e-3 { 0.25 } else { v }
}

#[test]
fn doubles() {
    each(kernels!("double"), |r| {
        let n = 1 + r.random.below(90);
        // Now and then far beyond what a sine reduces quickly.
        let x = r.random.list(n, |r| nonzero(r, 10.0) * 10f64.powi(r.below(12) as i32));
        let y = r.random.list(n, |r| nonzero(r, 5.0));
        let (dx, dy, out) = (r.put(&x), r.put(&y), r.room::<f64>(12 * n));
        r.run("doubles", LaunchConfig::linear(n as u32, 64), args![dx, dy, out, n as i32]);
        let got = r.get::<f64>(out, 12 * n);
        // Within the errors CUDA documents, plus one ulp for the host's own.
        let functions: Ulps<'_> = &[
            (0, &|x, y| x / y, 0.0),
            (1, &|x, _| x.abs().sqrt(), 0.0),
            (2, &|_, y| y.exp(), 2.0),
            (3, &|x, _| x.abs().ln(), 2.0),
            (4, &|x, _| x.sin(), 3.0),
            (5, &|x, _| x.cos(), 3.0),
            (6, &|x, y| x.abs().powf(y), 3.0),
            (7, &|_, y| y.tanh(), 3.0),
            (8, &|x, _| x.cbrt(), 2.0),
            (9, &|x, y| x % y, 0.0),
            (10, &f64::hypot, 3.0),
            (11, &f64::atan2, 3.0),
        ];
        judge("double", &got, 12, &x, &y, f64::EPSILON, functions);
    });
}

/// The error function by a series of positive terms.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn singles() {
    each(kernels!("double"), |r| {
        let n = 1 + r.random.below(120);
        let x = r.random.list(n, |r| nonzero(r, 10.0) as f32 * 10f32.powi(r.below(8) as i32));
        let y = r.random.list(n, |r| nonzero(r, 4.0) as f32);
        let (dx, dy, out) = (r.put(&x), r.put(&y), r.room::<f32>(12 * n));
        r.run("singles", LaunchConfig::linear(n as u32, 64), args![dx, dy, out, n as i32]);
        let got = r.get::<f32>(out, 12 * n);
        for i in 0..n {
            let o = &got[12 * i..];
            assert_eq!([o[0], o[1], o[10]], [x[i] / y[i], x[i].abs().sqrt(), x[i] % y[i]]);
        }
        let wide = |v: &[f32]| v.iter().map(|&v| v as f64).collect::<Vec<_>>();
        let functions: Ulps<'_> = &[
            (2, &|_, y| y.exp(), 1.5),
            (3, &|x, _| x.abs().ln(), 1.5),
            (4, &|x, _| x.sin(), 2.0),
            (5, &|x, _| x.cos(), 2.0),
            (6, &|x, y| x.abs().powf(y), 4.5),
            (7, &|_, y| y.tanh(), 2.0),
            (8, &|_, y| erf(y), 2.0),
        ];
        judge("single", &wide(&got), 12, &wide(&x), &wide(&y), f32::EPSILON as f64, functions);
        for i in 0..n {
            let (x, y) = (x[i] as f64, y[i] as f64);
            let pick = |k: usize| got[12 * i + k];
            close(&[pick(9)], &[x.abs().ln_1p() + y.exp_m1()], |_| 2e-7 * (x.abs().ln_1p() + y.exp() + 2.0));
            let fast = 1.0 / x.abs().sqrt() + y / x + y.exp() + x.abs().ln() + y.sin();
            close(&[pick(11)], &[fast], |_| 2e-6 * (x.abs().ln().abs() + y.exp() + (y / x).abs() + 32.0));
        }
    });
}

#[test]
fn integrals() {
    each(kernels!("double"), |r| {
        let n = 1 + r.random.below(40);
        let x = r.random.list(n, |r| r.f64(0.1, 3.0));
        let (dx, out, reference) = (r.put(&x), r.room::<f64>(n), r.room::<f64>(n));
        r.run("integral", LaunchConfig::linear(n as u32, 32), args![dx, out, reference, n as i32]);
        let want: Vec<f64> = x.iter().map(|&v| erf(v)).collect();
        close64(&r.get::<f64>(reference, n), &want, |_| 1e-15 * 3.0);
        let scaled: Vec<f64> = want.iter().map(|v| v / std::f64::consts::FRAC_2_SQRT_PI).collect();
        // Simpson's rule with h below 0.05 and a fourth derivative of at most 12.
        close64(&r.get::<f64>(out, n), &scaled, |i| x[i] * (x[i] / 64.0).powi(4) * 12.0 / 180.0 + 1e-14);
    });
}

/// `v` times 2^-80, rounded down.
fn floor_f64(v: i128) -> f64 {
    let shift = (128 - v.unsigned_abs().leading_zeros()).saturating_sub(53);
    (v >> shift) as f64 * 2f64.powi(shift as i32 - 80)
}

#[test]
fn directed_rounding() {
    each(kernels!("double"), |r| {
        let n = 1 + r.random.below(120);
        // Multiples of 2^-40 below 4096: products fit 128-bit integers.
        let a = r.random.list(n, |r| (r.u64() as i64 >> 11 >> r.below(30)) | 1);
        let b = r.random.list(n, |r| (r.u64() as i64 >> 11 >> r.below(30)) | 1);
        let scaled = |v: &[i64]| v.iter().map(|&v| v as f64 * 2f64.powi(-40)).collect::<Vec<_>>();
        let (x, y) = (scaled(&a), scaled(&b));
        let (dx, dy, out) = (r.put(&x), r.put(&y), r.room::<f64>(10 * n));
        r.run("roundings", LaunchConfig::linear(n as u32, 64), args![dx, dy, out, n as i32]);
        let mut want = Vec::new();
        for i in 0..n {
            let (x, y, p, q) = (x[i], y[i], a[i] as i128, b[i] as i128);
            let sum = (p + q) << 40;
            let quotient = {
                let near = x / y;
                // Sign of what is left tells whether the nearest number lies beyond the exact quotient.
                let left = (-near).mul_add(y, x);
                let beyond = left != 0.0 && (left < 0.0) != (x < 0.0);
                if beyond { f64::from_bits(near.to_bits() - 1) } else { near }
            };
            let single = x as f32;
            let up = if (single as f64) < x { single.next_up() } else { single };
            want.extend([
                -floor_f64(-sum) - floor_f64(sum),
                quotient,
                x.floor() + y.ceil(),
                x.round_ties_even() + y.round() + x.trunc(),
                floor_f64(p * q + (p << 40)),
                (x as i64) as f64 + (y.abs() as u32) as f64,
                single as f64 - up as f64,
                -x,
                (y.round_ties_even() as i32) as f64 + (x.abs().floor() as u64) as f64,
                x.min(y) * 1f64.copysign(x.max(-y)),
            ]);
        }
        same(&r.get::<f64>(out, 10 * n), &want);
    });
}

/// `v` rounded to a binary format with this many digits, smallest normal exponent and largest number.
fn round_to(v: f64, digits: i32, least: i32, most: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let exponent = ((v.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(least);
    let ulp = 2f64.powi(exponent - digits + 1);
    let r = (v / ulp).round_ties_even() * ulp;
    if r.abs() > most { f64::INFINITY.copysign(v) } else { r }
}

fn to_half(v: f64) -> u16 {
    f16::from_f64(round_to(v, 11, -14, 65504.0)).to_bits()
}

fn to_bfloat(v: f64) -> u16 {
    bf16::from_f64(round_to(v, 8, -126, bf16::MAX.to_f64())).to_bits()
}

/// One 16-bit float type as the kernels of `half.cu` pair it: the kernel, how a number becomes one and back, and bit patterns to draw.
struct Halves {
    kernel: &'static str,
    pack: fn(f64) -> u16,
    unpack: fn(u16) -> f64,
    special: [u16; 4],
}

/// Runs the pairs' kernel; `own` gives the results in which the kernels differ: of the comparison, the signs and the last.
fn pairs(t: Halves, own: impl Fn(&[[u16; 2]; 3]) -> [[u16; 2]; 3]) {
    let Halves { kernel, pack, unpack, special } = t;
    each(kernels!("half"), |r| {
        let n = 1 + r.random.below(100);
        let draw = |r: &mut Random| match r.below(8) {
            0 => pack(r.f64(-1e-4, 1e-4)),
            1 => special[r.below(4)],
            _ => pack(r.f64(-40.0, 40.0)),
        };
        let [a, b, c] = [0; 3].map(|_| r.random.list(2 * n, draw));
        let (da, db, dc, out) = (r.put(&a), r.put(&b), r.put(&c), r.room::<u16>(18 * n));
        r.run(kernel, LaunchConfig::linear(n as u32, 64), args![da, db, dc, out, n as i32]);
        // Of equal zeros the negative one is the smaller.
        let least = |x: f64, y: f64| if x < y || (x == y && x.is_sign_negative()) { x } else { y };
        let mut want = Vec::new();
        for i in 0..n {
            let bits = [&a, &b, &c].map(|v| [v[2 * i], v[2 * i + 1]]);
            let pair = |f: &dyn Fn(f64, f64, f64) -> f64| {
                [0, 1].map(|k| pack(f(unpack(bits[0][k]), unpack(bits[1][k]), unpack(bits[2][k]))))
            };
            want.extend(pair(&|x, y, _| x + y));
            want.extend(pair(&|x, y, _| x * y));
            want.extend(pair(&f64::mul_add));
            want.extend(pair(&|x, _, z| x - z));
            want.extend(pair(&|x, y, _| least(x, y)));
            want.extend(pair(&|x, y, _| -least(-x, -y)));
            want.extend(own(&bits).concat());
        }
        same(&r.get::<u16>(out, 18 * n), &want);
    });
}

#[test]
fn pairs_of_halves() {
    let v = |h: u16| f16::from_bits(h).to_f64();
    let special = [0, 0x8000, 0x3c00, 0x0001];
    let t = Halves { kernel: "half_pairs", pack: to_half, unpack: |h| f16::from_bits(h).to_f64(), special };
    pairs(t, |[a, b, _]| {
        [
            [0, 1].map(|k| to_half((v(a[k]) > v(b[k])) as u8 as f64)),
            [a[0] ^ 0x8000, b[0] & 0x7fff],
            [0, 1].map(|k| to_half((v(a[k]) + v(b[k])).clamp(0.0, 1.0) + 0.0)),
        ]
    });
}

#[test]
fn pairs_of_bfloats() {
    let v = |h: u16| bf16::from_bits(h).to_f64();
    let special = [0, 0x8000, 0x3f80, 0xbf80];
    let t =
        Halves { kernel: "bfloat_pairs", pack: to_bfloat, unpack: |h| bf16::from_bits(h).to_f64(), special };
    pairs(t, |[a, b, c]| {
        [
            [0, 1].map(|k| to_bfloat((v(a[k]) <= v(b[k])) as u8 as f64)),
            [a[0] ^ 0x8000, b[1] & 0x7fff],
            [0, 1].map(|k| {
                let sum = v(a[k]).mul_add(v(b[k]), v(c[k]));
                to_bfloat(if sum > 0.0 { sum } else { 0.0 })
            }),
        ]
    });
}

#[test]
fn conversions_of_halves() {
    each(kernels!("half"), |r| {
        let n = 1 + r.random.below(100);
        let x = r.random.list(n, |r| r.f32(-1.0, 1.0) * [1e-6, 0.01, 10.0, 30000.0][r.below(4)]);
        let (dx, out, whole) = (r.put(&x), r.room::<f32>(6 * n), r.room::<u16>(2 * n));
        r.run("half_conversions", LaunchConfig::linear(n as u32, 64), args![dx, out, whole, n as i32]);
        let (got, whole) = (r.get::<f32>(out, 6 * n), r.get::<u16>(whole, 2 * n));
        for i in 0..n {
            let v = x[i] as f64;
            let near = f16::from_bits(to_half(v));
            let cut = {
                let bits = near.to_bits();
                // Beyond the number: one step towards zero.
                if near.to_f64().abs() > v.abs() { f16::from_bits(bits - 1) } else { near }
            };
            let bfloat = bf16::from_bits(to_bfloat(v)).to_f32();
            let o = &got[6 * i..6 * i + 6];
            same(&o[..4], &[near.to_f32(), cut.to_f32(), bfloat, 2.0 * near.to_f32()]);
            let (root, third) = (f16::from_bits(to_half(v.abs())).to_f64().sqrt(), near.to_f64() / 3.0);
            // One unit in the last place of a half, or of its smallest numbers.
            close(&o[4..], &[root, third], |k| 2f64.powi(-10) * [root, third.abs()][k] + 2f64.powi(-24));
            let short = near.to_f64().round_ties_even() as i16 as u16;
            same(&whole[2 * i..2 * i + 2], &[short, to_half(v.trunc() + 0.0)]);
        }
    });
}

#[test]
fn softmax_of_halves() {
    each(kernels!("half"), |r| {
        let (rows, pairs) = (1 + r.random.below(5), 1 + r.random.below(200));
        let x = r.random.list(2 * rows * pairs, |r| to_half(r.f64(-6.0, 6.0)));
        let (dx, out) = (r.put(&x), r.room::<u16>(x.len()));
        r.run("half_softmax", line(rows as u32, 64), args![dx, out, pairs as i32]);
        let got: Vec<f64> = r.get::<u16>(out, x.len()).iter().map(|&b| f16::from_bits(b).to_f64()).collect();
        let mut want = Vec::new();
        for row in x.chunks(2 * pairs) {
            let e: Vec<f64> = row.iter().map(|&b| f16::from_bits(b).to_f64().exp()).collect();
            let sum: f64 = e.iter().sum();
            want.extend(e.iter().map(|v| v / sum));
        }
        close64(&got, &want, |i| want[i] * (2f64.powi(-11) + 1e-5) + 2f64.powi(-25));
    });
}
