//! 16-bit floats and their pairs: exact `fma`, modifiers, comparisons, approximations.
#![allow(clippy::precedence, reason = "written as PTX's definitions are")]

#[path = "support/isa.rs"]
mod support;

use half::{bf16, f16};
use proptest::prelude::*;
use support::*;

/// f16 bit patterns of all kinds.
fn any16() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0u64..0x1_0000,
        3 => (-4f32..4.0).prop_map(|v| f16::from_f32(v).to_bits() as u64),
        1 => prop::sample::select(vec![0u64, 0x8000, 0x3c00, 0x7c00, 0xfc00, 0x7e01, 1, 0x8001, 0x7bff, 0x0400]),
    ]
}

/// The 16-bit float of `mantissa` stored bits nearest to `exact / 2^scale`, ties to even, subnormals included, by counting in
/// units of its last place. `lowest` is the exponent of the smallest subnormal, `max` the largest finite number's bits.
fn nearest(exact: i128, scale: i32, mantissa: u32, lowest: i32, max: u64) -> u64 {
    let (sign, m) = ((exact < 0) as u64, exact.unsigned_abs());
    let len = 128 - m.leading_zeros() as i32;
    // Exponent of the unit in the last place.
    let unit = (len - scale - 1 - mantissa as i32).max(lowest);
    let shift = unit + scale;
    let mut q = if shift <= 0 { m << -shift } else { m >> shift };
    if shift > 0 {
        let rest = m & ((1 << shift) - 1);
        let half = 1u128 << (shift - 1);
        q += (rest > half || (rest == half && q & 1 == 1)) as u128;
    }
    let bits =
        if q >> mantissa == 0 { q as u64 } else { ((unit - lowest) as u64 * (1 << mantissa)) + q as u64 };
    sign << 15 | bits.min(max + 1)
}

/// A finite 16-bit float in units of 2^-`scale`.
fn units(v: f64, scale: i32) -> i128 {
    (v * 2f64.powi(scale)) as i128
}

fn f16_fma(a: u64, b: u64, c: u64) -> Option<u64> {
    let [x, y, z] = [a, b, c].map(|v| f16::from_bits(v as u16).to_f64());
    if !(x.is_finite() && y.is_finite() && z.is_finite()) {
        return None;
    }
    let sum = units(x * y, 48) + units(z, 48);
    if sum == 0 {
        // The sign of an exact zero is minus only if both terms are negative.
        let negative = (x.is_sign_negative() ^ y.is_sign_negative()) && z.is_sign_negative();
        return Some(if negative { 0x8000 } else { 0 });
    }
    Some(nearest(sum, 48, 10, -24, 0x7bff))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn f16_fma_rounds_once(x in lanes(any16().boxed())) {
        let reference = |v: [u64; 4]| {
            f16_fma(v[0], v[1], v[2]).unwrap_or_else(|| {
                let [a, b, c] = [v[0], v[1], v[2]].map(|v| f16::from_bits(v as u16).to_f32());
                let r = a.mul_add(b, c);
                if r.is_nan() { 0x7fff } else { f16::from_f32(r).to_bits() as u64 }
            })
        };
        exact("fma.rn.f16 %D, %A, %B, %C;", "hhhh", &x, reference);
        exact("fma.rn.relu.f16 %D, %A, %B, %C;", "hhhh", &x, |v| {
            let r = reference(v);
            if r != 0x7fff && r & 0x8000 != 0 { 0 } else { r }
        });
        exact("fma.rn.sat.f16 %D, %A, %B, %C;", "hhhh", &x, |v| {
            let r = f16::from_bits(reference(v) as u16);
            if r.is_nan() || r <= f16::ZERO { 0 } else { (if r > f16::ONE { f16::ONE } else { r }).to_bits() as u64 }
        });
        let pair = "mov.b32 %r20, {%A, %B}; mov.b32 %r21, {%B, %C}; mov.b32 %r22, {%C, %A};";
        exact(&format!("{pair} fma.rn.f16x2 %D, %r20, %r21, %r22;"), "rhhh", &x, |v| {
            reference([v[0], v[1], v[2], 0]) | reference([v[1], v[2], v[0], 0]) << 16
        });
        let flush = |v: u64| if v & 0x7c00 == 0 { v & 0x8000 } else { v };
        exact("fma.rn.ftz.f16 %D, %A, %B, %C;", "hhhh", &x, |v| flush(reference(v.map(flush))));
    }

    #[test]
    fn bf16_fma_and_product_round_once(x in lanes((0u64..0x1_0000).boxed())) {
        // Exponents near 1: products and sums fit an i128.
        let tame = |v: u64| v & 0x807f | 0x3f80 - 0x400 + (v >> 7 & 15) * 0x80;
        let y: Vec<[u64; 4]> = x.iter().map(|v| v.map(tame)).collect();
        let wide = |v: u64| bf16::from_bits(v as u16).to_f64();
        exact("fma.rn.bf16 %D, %A, %B, %C;", "hhhh", &y, |v| {
            let sum = units(wide(v[0]) * wide(v[1]), 60) + units(wide(v[2]), 60);
            if sum == 0 { 0 } else { nearest(sum, 60, 7, -133, 0x7f7f) }
        });
        // Tiny products become subnormal, with one rounding.
        let small = |v: u64| v & 0x80ff | 0x1f80;
        let z: Vec<[u64; 4]> = x.iter().map(|v| [small(v[0]), small(v[1]), 0, 0]).collect();
        exact("mul.bf16 %D, %A, %B;", "hhh", &z, |v| {
            let product = (wide(v[0]) * 2f64.powi(75)) as i128 * (wide(v[1]) * 2f64.powi(75)) as i128;
            nearest(product, 150, 7, -133, 0x7f7f)
        });
        exact("sub.bf16x2 %D, %A, %B;", "rrr", &y.iter().map(|v| [v[0] << 16 | v[1], v[2] << 16 | v[3], 0, 0]).collect::<Vec<_>>(), |v| {
            let half = |s: u32| {
                let sum = units(wide(v[0] >> s & 0xffff), 60) - units(wide(v[1] >> s & 0xffff), 60);
                if sum == 0 { 0 } else { nearest(sum, 60, 7, -133, 0x7f7f) }
            };
            half(0) | half(16) << 16
        });
    }

    #[test]
    fn comparisons_and_extremes(x in lanes(any16().boxed())) {
        let h = |v: u64| f16::from_bits(v as u16).to_f32();
        let nan = |v: u64| h(v).is_nan();
        let key = |v: u64| if v & 0x8000 != 0 { !(v as i16) ^ i16::MIN } else { v as i16 };
        let min = |a: u64, b: u64| if nan(a) && nan(b) { 0x7fff } else if nan(a) { b } else if nan(b) || key(a) < key(b) { a } else { b };
        exact("min.f16 %D, %A, %B;", "hhh", &x, |v| min(v[0], v[1]));
        exact("max.NaN.f16 %D, %A, %B;", "hhh", &x, |v| {
            if nan(v[0]) || nan(v[1]) { 0x7fff } else if key(v[0]) > key(v[1]) { v[0] } else { v[1] }
        });
        exact("min.NaN.xorsign.abs.f16 %D, %A, %B;", "hhh", &x, |v| {
            if nan(v[0]) || nan(v[1]) { 0x7fff } else { (v[0] & 0x7fff).min(v[1] & 0x7fff) | (v[0] ^ v[1]) & 0x8000 }
        });
        let pairs: Vec<[u64; 4]> = x.iter().map(|v| [v[0] | v[1] << 16, v[2] | v[3] << 16, v[1], v[0]]).collect();
        let each = |v: [u64; 4], f: &dyn Fn(u64, u64) -> u64| f(v[0] & 0xffff, v[1] & 0xffff) | f(v[0] >> 16, v[1] >> 16) << 16;
        exact("min.f16x2 %D, %A, %B;", "rrr", &pairs, |v| each(v, &min));
        let less = |a: u64, b: u64| h(a) < h(b);
        exact("setp.lt.f16x2 %D|%p22, %A, %B;", "prr", &pairs, |v| less(v[0] & 0xffff, v[1] & 0xffff) as u64);
        exact("setp.lt.xor.f16x2 %p22|%D, %A, %B, %C;", "prrp", &pairs, |v| less(v[0] >> 16, v[1] >> 16) as u64 ^ v[2] & 1);
        exact("set.lt.f16x2.f16x2 %D, %A, %B;", "rrr", &pairs, |v| each(v, &|a, b| if less(a, b) { 0x3c00 } else { 0 }));
        exact("set.ge.and.u32.f16x2 %D, %A, %B, %C;", "rrrp", &pairs, |v| {
            each(v, &|a, b| if h(a) >= h(b) && v[2] & 1 == 1 { 0xffff } else { 0 })
        });
        exact("set.eq.f16.f16 %D, %A, %B;", "hhh", &x, |v| if h(v[0]) == h(v[1]) { 0x3c00 } else { 0 });
        exact("set.ltu.u16.f16 %D, %A, %B;", "hhh", &x, |v| if less(v[0], v[1]) || nan(v[0]) || nan(v[1]) { 0xffff } else { 0 });
        exact("set.lt.bf16.s32 %D, %A, %B;", "hrr", &x, |v| if v[0] < v[1] { 0x3f80 } else { 0 });
        let flush = |v: u64| h(if v & 0x7c00 == 0 { v & 0x8000 } else { v });
        exact("setp.le.ftz.f16 %D, %A, %B;", "phh", &x, |v| (flush(v[0]) <= flush(v[1])) as u64);
        exact("abs.f16x2 %D, %A;", "rr", &pairs, |v| v[0] & 0x7fff_7fff);
    }

    #[test]
    fn approximations(x in lanes((-12f32..12.0).prop_map(|v| f16::from_f32(v).to_bits() as u64).boxed())) {
        for (op, f, tolerance) in [("ex2", f64::exp2 as fn(f64) -> f64, 2f64.powi(-9)), ("tanh", f64::tanh, 2f64.powi(-10))] {
            for (v, got) in x.iter().zip(run(&format!("{op}.approx.f16 %D, %A;"), "hh", &x)) {
                let (want, got) = (f(f16::from_bits(v[0] as u16).to_f64()), f16::from_bits(got as u16).to_f64());
                prop_assert!((want - got).abs() <= tolerance * want.abs() + 2f64.powi(-24), "{op}: {got:e}, not {want:e}");
            }
            let y: Vec<[u64; 4]> = x.iter().map(|v| [f16::from_bits(v[0] as u16).to_f32().to_bits() as u64, 0, 0, 0]).collect();
            let ftz = if op == "ex2" { ".ftz" } else { "" };
            let text = format!("shr.u32 %r20, %A, 16; cvt.u16.u32 %h20, %r20; {op}.approx{ftz}.bf16 %D, %h20;");
            for (v, got) in y.iter().zip(run(&text, "hr", &y)) {
                let a = bf16::from_bits((v[0] >> 16) as u16).to_f64();
                let (want, got) = (f(a), bf16::from_bits(got as u16).to_f64());
                prop_assert!((want - got).abs() <= 2f64.powi(-7) * want.abs(), "{op}: {got:e}, not {want:e}");
            }
        }
    }
}
