//! `cvt` between every pair of types, in every rounding mode, and `cvt.pack`.
#![allow(clippy::precedence, reason = "written as PTX's definitions are")]

#[path = "support/isa.rs"]
mod support;

use half::{bf16, f16};
use proptest::prelude::*;
use support::*;

const INTS: [&str; 8] = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"];

/// Register kind that holds a type in these tests.
fn kind(ty: &str) -> char {
    match ty {
        t if t.ends_with("64") => 'd',
        t if t.ends_with("32") => 'r',
        _ => 'h',
    }
}

fn range(ty: &str) -> (i128, i128) {
    let bits: u32 = ty[1..].parse().unwrap();
    if ty.starts_with('u') { (0, (1 << bits) - 1) } else { (-1 << (bits - 1), (1 << (bits - 1)) - 1) }
}

/// The register's low bits as a value of the type.
fn value(ty: &str, v: u64) -> i128 {
    let bits: u32 = ty[1..].parse().unwrap();
    let v = v as i128 & ((1 << bits) - 1);
    if ty.starts_with('s') && v >> (bits - 1) == 1 { v - (1 << bits) } else { v }
}

/// The register a value of the type leaves, as wide as its kind.
fn register(ty: &str, v: i128) -> u64 {
    let wide = match kind(ty) {
        'h' => 0xffff,
        'r' => 0xffff_ffff,
        _ => u64::MAX,
    };
    value(ty, v as u64) as u64 & wide
}

fn integral(mode: &str, v: f64) -> f64 {
    match mode {
        "rni" => v.round_ties_even(),
        "rzi" => v.trunc(),
        "rmi" => v.floor(),
        _ => v.ceil(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn integers_to_integers(x in lanes(word().boxed())) {
        for from in INTS {
            for to in INTS {
                let sig = format!("{}{}", kind(to), kind(from));
                exact(&format!("cvt.{to}.{from} %D, %A;"), &sig, &x, |v| register(to, value(from, v[0])));
                let (lo, hi) = range(to);
                exact(&format!("cvt.sat.{to}.{from} %D, %A;"), &sig, &x, |v| register(to, value(from, v[0]).clamp(lo, hi)));
            }
        }
    }

    #[test]
    fn floats_to_integers(x in lanes(double().boxed()), y in lanes(single().boxed()), z in lanes((0u64..0x1_0000).boxed())) {
        for to in INTS {
            let (lo, hi) = range(to);
            let bits: u32 = to[1..].parse().unwrap();
            for mode in ["rni", "rzi", "rmi", "rpi"] {
                let convert = |from: &str, a: f64| {
                    if a.is_nan() {
                        let top = from == "f64" || bits == 64;
                        return register(to, if top { 1 << (bits - 1) } else { 0 });
                    }
                    let r = integral(mode, a);
                    register(to, if r.abs() > 1e30 { if r > 0.0 { hi } else { lo } } else { (r as i128).clamp(lo, hi) })
                };
                exact(&format!("cvt.{mode}.{to}.f64 %D, %A;"), &format!("{}d", kind(to)), &x, |v| convert("f64", d(v[0])));
                exact(&format!("cvt.{mode}.{to}.f32 %D, %A;"), &format!("{}r", kind(to)), &y, |v| convert("f32", f(v[0]) as f64));
                exact(&format!("cvt.{mode}.ftz.{to}.f32 %D, %A;"), &format!("{}r", kind(to)), &y, |v| {
                    convert("f32", if f(v[0]).is_subnormal() { 0.0 } else { f(v[0]) as f64 })
                });
                exact(&format!("cvt.{mode}.{to}.f16 %D, %A;"), &format!("{}h", kind(to)), &z, |v| convert("f16", f16::from_bits(v[0] as u16).to_f64()));
                exact(&format!("cvt.{mode}.{to}.bf16 %D, %A;"), &format!("{}h", kind(to)), &z, |v| convert("bf16", bf16::from_bits(v[0] as u16).to_f64()));
            }
        }
    }

    /// Neighbours of the result lie on the right sides of the exact value.
    #[test]
    fn integers_to_floats(x in lanes(word().boxed())) {
        for from in INTS {
            for mode in ["rn", "rz", "rm", "rp"] {
                let k = kind(from);
                let rows = ["f64", "f32"].map(|to| run(&format!("cvt.{mode}.{to}.{from} %D, %A;"), &format!("{}{k}", kind(to)), &x));
                for (i, v) in x.iter().enumerate() {
                    let a = value(from, v[0]);
                    for (r, below, above, even) in [
                        (d(rows[0][i]), d(rows[0][i]).next_down(), d(rows[0][i]).next_up(), rows[0][i] & 1 == 0),
                        (f(rows[1][i]) as f64, f(rows[1][i]).next_down() as f64, f(rows[1][i]).next_up() as f64, rows[1][i] & 1 == 0),
                    ] {
                        // In units of 1/8: neighbours of large numbers are integers or close to it.
                        let at = |v: f64| (v * 8.0) as i128;
                        let (lo, x, hi, a8) = (at(below), at(r), at(above), a * 8);
                        let fine = match mode {
                            _ if r.abs() < 1e6 || x == a8 => x == a8,
                            "rm" => x <= a8 && a8 < hi,
                            "rp" => lo < a8 && a8 <= x,
                            "rz" => if a >= 0 { x <= a8 && a8 < hi } else { lo < a8 && a8 <= x },
                            _ => {
                                let far = (a8 - x).abs();
                                far <= (a8 - lo).abs() && far <= (a8 - hi).abs() && ((far != (a8 - lo).abs() && far != (a8 - hi).abs()) || even)
                            }
                        };
                        prop_assert!(fine, "cvt.{mode} {from} {a}: {r:e}");
                    }
                }
            }
        }
    }

    /// f64 and f32 to 16-bit floats: between neighbours, in every mode, with `.relu`, `.satfinite` and pairs.
    #[test]
    fn narrow_floats(x in lanes(prop_oneof![single().boxed(), (-7e4f32..7e4).prop_map(|v| v.to_bits() as u64).boxed(), (-1e-4f32..1e-4).prop_map(|v| v.to_bits() as u64).boxed()].boxed())) {
        for to in ["f16", "bf16"] {
            let wide = |b: u64| if to == "f16" { f16::from_bits(b as u16).to_f64() } else { bf16::from_bits(b as u16).to_f64() };
            let max = if to == "f16" { 0x7bffu64 } else { 0x7f7f };
            let rows = ["rn", "rz", "rm", "rp"].map(|m| run(&format!("cvt.{m}.{to}.f32 %D, %A;"), "hr", &x));
            let relu = run(&format!("cvt.rn.relu.{to}.f32 %D, %A;"), "hr", &x);
            let finite = run(&format!("cvt.rn.satfinite.{to}.f32 %D, %A;"), "hr", &x);
            let pair = run(&format!("cvt.rz.{to}x2.f32 %D, %A, %B;"), "rrr", &x);
            for (i, v) in x.iter().enumerate() {
                let a = f(v[0]) as f64;
                let [n, z, lo, hi] = [0, 1, 2, 3].map(|k: usize| wide(rows[k][i]));
                if a.is_nan() {
                    prop_assert!([rows[0][i], rows[1][i], relu[i], finite[i]] == [0x7fff; 4]);
                    continue;
                }
                prop_assert!(lo <= a && a <= hi && (n == lo || n == hi) && z.abs() <= a.abs() && (z == lo || z == hi), "{to} {a:e}: {lo:e} {hi:e}");
                if lo.is_finite() && hi.is_finite() {
                    let (down, up) = (a - lo, hi - a);
                    let tie_even = down != up || rows[0][i] & 1 == 0;
                    prop_assert!((n - a).abs() <= down.min(up) && tie_even, "{to} {a:e}: {n:e}");
                }
                // Adjacent: no number of the format lies in between.
                let next = |b: u64| if b == 0x8000 { 1 } else if b & 0x8000 != 0 { b - 1 } else { b + 1 };
                prop_assert!(lo == hi || wide(next(rows[2][i])) == hi || hi == 0.0, "{to} {a:e}: {lo:e} {hi:e}");
                prop_assert_eq!(relu[i], if n <= 0.0 { 0 } else { rows[0][i] });
                prop_assert_eq!(finite[i], if n.is_infinite() { max | rows[0][i] & 0x8000 } else { rows[0][i] });
                prop_assert_eq!(pair[i] >> 16, rows[1][i]);
            }
        }
        exact("cvt.rna.tf32.f32 %D, %A;", "rr", &x, |v| {
            let a = f(v[0]);
            if a.is_nan() { 0x7fff_ffff } else if a.is_infinite() { v[0] } else { (v[0] + 0x1000) & !0x1fff }
        });
        exact("cvt.rn.satfinite.relu.tf32.f32 %D, %A;", "rr", &x, |v| {
            let a = f(v[0]);
            let r = (v[0] + 0xfff + (v[0] >> 13 & 1)) & !0x1fff;
            if a.is_nan() { 0x7fff_ffff } else if v[0] >> 31 == 1 { 0 } else { r.min(0x7f7f_e000) }
        });
        // The largest number that is not rounded up to infinity, from f64.
        exact("cvt.f64.f32 %d22, %A; cvt.rz.f16.f64 %D, %d22;", "hr", &x, |v| {
            let a = f(v[0]);
            if a.is_nan() { return 0x7fff; }
            let r = f16::from_f32(a);
            // Towards zero: one step back where rounding to nearest went beyond.
            let back = r.to_f32().abs() > a.abs();
            r.to_bits() as u64 - back as u64
        });
    }

    #[test]
    fn integral_values_and_saturation(y in lanes(single().boxed()), x in lanes(double().boxed())) {
        for mode in ["rni", "rzi", "rmi", "rpi"] {
            exact(&format!("cvt.{mode}.f32.f32 %D, %A;"), "rr", &y, |v| nan32(integral(mode, f(v[0]) as f64) as f32));
            exact(&format!("cvt.{mode}.f64.f64 %D, %A;"), "dd", &x, |v| nan64(integral(mode, d(v[0]))));
            exact(&format!("cvt.rn.f16.f32 %h22, %A; cvt.{mode}.f16.f16 %D, %h22;"), "hr", &y, |v| {
                let h = f16::from_f32(f(v[0])).to_f64();
                if h.is_nan() { 0x7fff } else { f16::from_f32(integral(mode, h) as f32).to_bits() as u64 }
            });
        }
        exact("cvt.rn.sat.f32.f64 %D, %A;", "rd", &x, |v| (if d(v[0]) > 0.0 { d(v[0]).min(1.0) as f32 } else { 0.0 }).to_bits() as u64);
        exact("cvt.rn.ftz.f32.f64 %D, %A;", "rd", &x, |v| {
            let r = d(v[0]) as f32;
            nan32(if r.is_subnormal() { 0f32.copysign(r) } else { r })
        });
    }

    #[test]
    fn packing(x in lanes(prop_oneof![word().boxed(), (-300i64..300).prop_map(|v| v as u32 as u64).boxed()].boxed())) {
        let clamp = |v: u64, ty: &str| {
            let (lo, hi) = range(ty);
            let bits: u32 = ty[1..].parse().unwrap();
            (v as i32 as i128).clamp(lo, hi) as u64 & ((1 << bits) - 1)
        };
        for ty in ["u16", "s16"] {
            exact(&format!("cvt.pack.sat.{ty}.s32 %D, %A, %B;"), "rrr", &x, |v| clamp(v[0], ty) << 16 | clamp(v[1], ty));
        }
        for (ty, n) in [("u8", 8), ("s8", 8), ("u4", 4), ("s4", 4), ("u2", 2), ("s2", 2)] {
            exact(&format!("cvt.pack.sat.{ty}.s32.b32 %D, %A, %B, %C;"), "rrrr", &x, |v| {
                (v[2] << (2 * n) | clamp(v[0], ty) << n | clamp(v[1], ty)) & 0xffff_ffff
            });
        }
    }
}
