//! Floating point beyond rounding to nearest: every mode against exact integers, modifiers, pairs, mixed precision.
#![allow(clippy::precedence, reason = "written as PTX's definitions are")]

#[path = "support/isa.rs"]
mod support;

use half::{bf16, f16};
use proptest::prelude::*;
use support::*;

const MODES: [&str; 4] = ["rn", "rz", "rm", "rp"];

fn flush(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

/// Checks an f32 instruction with modes `{}` against an exact result in [`fixed`] point.
fn exactly(instr: &str, sig: &str, x: &[[u64; 4]], want: impl Fn([f64; 4]) -> i128) {
    for mode in MODES {
        for (v, got) in x.iter().zip(run(&instr.replace("{}", mode), sig, x)) {
            let r = f(got);
            let exact = want(v.map(|b| f(b) as f64));
            // Below 2^-61 the neighbours are finer than the fixed point, whose values f32 then holds exactly.
            let fine = if r.abs() < 2f32.powi(-61) {
                exact == fixed(r as f64)
            } else {
                rounds_to(mode, exact, r.next_down() as f64, r as f64, r.next_up() as f64, got & 1 == 0)
            };
            assert!(fine, "`{instr}` {mode} on {:?}: {r:e}", v.map(f));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sums_and_products_in_every_mode(x in lanes(tame().boxed())) {
        exactly("add.{}.f32 %D, %A, %B;", "rrr", &x, |v| fixed(v[0]) + fixed(v[1]));
        exactly("sub.{}.f32 %D, %A, %B;", "rrr", &x, |v| fixed(v[0]) - fixed(v[1]));
        exactly("mul.{}.f32 %D, %A, %B;", "rrr", &x, |v| fixed(v[0] * v[1]));
        exactly("fma.{}.f32 %D, %A, %B, %C;", "rrrr", &x, |v| fixed(v[0] * v[1]) + fixed(v[2]));
        exactly("mad.{}.f32 %D, %A, %B, %C;", "rrrr", &x, |v| fixed(v[0] * v[1]) + fixed(v[2]));
        // The halves of a pair, one by one.
        for half in [0, 32] {
            let pick = format!("shr.u64 %d22, %d23, {half}; cvt.u32.u64 %D, %d22;");
            let make = "mov.b64 %d20, {%A, %B}; mov.b64 %d21, {%B, %C}; mov.b64 %d19, {%C, %A};";
            let (a, b, c) = if half == 0 { (0, 1, 2) } else { (1, 2, 0) };
            exactly(&format!("{make} add.{{}}.f32x2 %d23, %d20, %d21; {pick}"), "rrrr", &x, |v| fixed(v[a]) + fixed(v[b]));
            exactly(&format!("{make} sub.{{}}.f32x2 %d23, %d20, %d21; {pick}"), "rrrr", &x, |v| fixed(v[a]) - fixed(v[b]));
            exactly(&format!("{make} mul.{{}}.f32x2 %d23, %d20, %d21; {pick}"), "rrrr", &x, |v| fixed(v[a] * v[b]));
            exactly(&format!("{make} fma.{{}}.f32x2 %d23, %d20, %d21, %d19; {pick}"), "rrrr", &x, |v| fixed(v[a] * v[b]) + fixed(v[c]));
        }
    }

    #[test]
    fn mixed_precision_rounds_once(x in lanes(tame().boxed())) {
        // The upper half of an f32 is a bf16; the f16 is made by conversion.
        let b = |v: f64| bf16::from_bits((v as f32).to_bits().wrapping_shr(16) as u16).to_f64();
        let h = |v: f64| f16::from_f32(v as f32).to_f64();
        let bf = "shr.u32 %r20, %A, 16; cvt.u16.u32 %h20, %r20; shr.u32 %r20, %B, 16; cvt.u16.u32 %h21, %r20;";
        let hf = "cvt.rn.f16.f32 %h20, %A; cvt.rn.f16.f32 %h21, %B;";
        // Beyond f16's range the conversion gives infinity: keep to what it holds.
        let y: Vec<[u64; 4]> = x.iter().map(|v| v.map(|b| if f(b).abs() > 6e4 { 0x3f80_0000 } else { b })).collect();
        exactly(&format!("{bf} add.{{}}.f32.bf16 %D, %h20, %C;"), "rrrr", &x, |v| fixed(b(v[0])) + fixed(v[2]));
        exactly(&format!("{bf} sub.{{}}.f32.bf16 %D, %h20, %C;"), "rrrr", &x, |v| fixed(b(v[0])) - fixed(v[2]));
        exactly(&format!("{bf} fma.{{}}.f32.bf16 %D, %h20, %h21, %C;"), "rrrr", &x, |v| fixed(b(v[0]) * b(v[1])) + fixed(v[2]));
        exactly(&format!("{hf} add.{{}}.f32.f16 %D, %h20, %C;"), "rrrr", &y, |v| fixed(h(v[0])) + fixed(v[2]));
        exactly(&format!("{hf} fma.{{}}.f32.f16 %D, %h20, %h21, %C;"), "rrrr", &y, |v| fixed(h(v[0]) * h(v[1])) + fixed(v[2]));
        exact(&format!("{hf} fma.rn.sat.f32.f16 %D, %h20, %h21, %C;"), "rrrr", &y, |v| {
            let r = (h(f(v[0]) as f64) as f32).mul_add(h(f(v[1]) as f64) as f32, f(v[2]));
            (if r > 0.0 { r.min(1.0) } else { 0.0 }).to_bits() as u64
        });
    }

    /// Quotients and roots: what they give back times the divisor brackets the dividend.
    #[test]
    fn quotients_and_roots_in_every_mode(x in lanes(tame().boxed())) {
        for mode in MODES {
            let q = run(&format!("div.{mode}.f32 %D, %A, %B;"), "rrr", &x);
            let r = run(&format!("rcp.{mode}.f32 %D, %B;"), "rrr", &x);
            let s = run(&format!("abs.f32 %r22, %A; sqrt.{mode}.f32 %D, %r22;"), "rr", &x);
            for (i, v) in x.iter().enumerate() {
                let (a, b) = (f(v[0]), f(v[1]));
                let side = |q: f32, a: f64| {
                    let product = q as f64 * b as f64;
                    if b > 0.0 { product.total_cmp(&a) } else { a.total_cmp(&product) }
                };
                if b != 0.0 {
                    for (q, a) in [(f(q[i]), a as f64), (f(r[i]), 1.0)] {
                        let (lo, mid, hi) = (side(q.next_down(), a), side(q, a), side(q.next_up(), a));
                        let fine = match mode {
                            "rm" => mid.is_le() && hi.is_gt(),
                            "rp" => mid.is_ge() && lo.is_lt(),
                            "rz" if q > 0.0 => mid.is_le() && hi.is_gt(),
                            "rz" if q < 0.0 => mid.is_ge() && lo.is_lt(),
                            "rn" => q == (a / b as f64) as f32,
                            _ => true,
                        };
                        prop_assert!(fine || a == 0.0, "div.{mode} {a:e} {b:e}: {q:e}");
                    }
                }
                let (root, a) = (f(s[i]), a.abs() as f64);
                let square = |r: f32| r as f64 * r as f64;
                let fine = match mode {
                    "rn" => root == a.sqrt() as f32,
                    "rp" => square(root) >= a && (root == 0.0 || square(root.next_down()) < a),
                    _ => square(root) <= a && square(root.next_up()) > a,
                };
                prop_assert!(fine, "sqrt.{mode} {a:e}: {root:e}");
            }
        }
    }

    #[test]
    fn modifiers_on_awkward_numbers(x in lanes(single().boxed())) {
        let ftz = |v: u64| flush(f(v));
        let sat = |r: f32| (if r > 0.0 { r.min(1.0) } else { 0.0 }).to_bits() as u64;
        exact("sub.ftz.f32 %D, %A, %B;", "rrr", &x, |v| nan32(flush(ftz(v[0]) - ftz(v[1]))));
        exact("fma.rn.ftz.f32 %D, %A, %B, %C;", "rrrr", &x, |v| nan32(flush(ftz(v[0]).mul_add(ftz(v[1]), ftz(v[2])))));
        exact("fma.rn.ftz.sat.f32 %D, %A, %B, %C;", "rrrr", &x, |v| sat(flush(ftz(v[0]).mul_add(ftz(v[1]), ftz(v[2])))));
        exact("add.sat.f32 %D, %A, %B;", "rrr", &x, |v| sat(f(v[0]) + f(v[1])));
        exact("div.rn.ftz.f32 %D, %A, %B;", "rrr", &x, |v| nan32(flush(ftz(v[0]) / ftz(v[1]))));
        exact("rcp.rn.ftz.f32 %D, %A;", "rr", &x, |v| nan32(flush(1.0 / ftz(v[0]))));
        exact("sqrt.rn.ftz.f32 %D, %A;", "rr", &x, |v| nan32(ftz(v[0]).sqrt()));
        exact("abs.ftz.f32 %D, %A;", "rr", &x, |v| ftz(v[0]).abs().to_bits() as u64);
        exact("neg.ftz.f32 %D, %A;", "rr", &x, |v| (-ftz(v[0])).to_bits() as u64);
        for (cmp, f2) in [("lt", 0), ("geu", 1), ("neu", 2)] {
            exact(&format!("setp.{cmp}.ftz.f32 %D, %A, %B;"), "prr", &x, |v| {
                let (a, b) = (ftz(v[0]), ftz(v[1]));
                (match f2 { 0 => a < b, 1 => a.partial_cmp(&b).is_none_or(|o| o.is_ge()), _ => a != b }) as u64
            });
        }
        exact("set.gt.f32.f32 %D, %A, %B;", "rrr", &x, |v| if f(v[0]) > f(v[1]) { 0x3f80_0000 } else { 0 });
        exact("set.nan.or.u32.f32 %D, %A, %B, %C;", "rrrp", &x, |v| {
            if f(v[0]).is_nan() || f(v[1]).is_nan() || v[2] & 1 == 1 { 0xffff_ffff } else { 0 }
        });
        for (kind, class) in [("finite", 0), ("infinite", 1), ("number", 2), ("notanumber", 3), ("normal", 4), ("subnormal", 5)] {
            exact(&format!("testp.{kind}.f32 %D, %A;"), "pr", &x, |v| {
                let a = f(v[0]);
                let exponent = v[0] >> 23 & 255;
                (match class { 0 => exponent != 255, 1 => a.is_infinite(), 2 => !a.is_nan(), 3 => a.is_nan(),
                    4 => (1..255).contains(&exponent) || a == 0.0, _ => exponent == 0 && a != 0.0 }) as u64
            });
        }
        exact("min.xorsign.abs.f32 %D, %A, %B;", "rrr", &x, |v| {
            let (a, b) = (f(v[0]).abs(), f(v[1]).abs());
            let sign = (v[0] ^ v[1]) & 0x8000_0000;
            if a.is_nan() && b.is_nan() { 0x7fff_ffff } else { a.min(b).to_bits() as u64 | sign }
        });
        exact("max.f32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let list: Vec<f32> = v[..3].iter().map(|b| f(*b)).filter(|a| !a.is_nan()).collect();
            // total_cmp puts +0 above -0, as PTX does.
            list.into_iter().max_by(f32::total_cmp).map_or(0x7fff_ffff, |m| m.to_bits() as u64)
        });
        exact("min.NaN.abs.f32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let list = [v[0], v[1], v[2]].map(|b| f(b).abs());
            if list.iter().any(|a| a.is_nan()) { 0x7fff_ffff } else { list[0].min(list[1]).min(list[2]).to_bits() as u64 }
        });
        exact("slct.b64.f32 %D, %A, %B, %C;", "dddr", &x, |v| if f(v[2]) >= 0.0 { v[0] } else { v[1] });
    }

    #[test]
    fn f64_in_every_mode(x in lanes(double().boxed())) {
        for (op, sig, text) in [("add", "ddd", "%A, %B"), ("sub", "ddd", "%A, %B"), ("mul", "ddd", "%A, %B"), ("div", "ddd", "%A, %B"),
            ("fma", "dddd", "%A, %B, %C"), ("rcp", "dd", "%A"), ("sqrt", "dd", "%A")] {
            let rows = MODES.map(|m| run(&format!("{op}.{m}.f64 %D, {text};"), sig, &x));
            for (i, v) in x.iter().enumerate() {
                let [near, zero, down, up] = [0, 1, 2, 3].map(|k: usize| d(rows[k][i]));
                let (a, b, c) = (d(v[0]), d(v[1]), d(v[2]));
                let want = match op { "add" => a + b, "sub" => a - b, "mul" => a * b, "div" => a / b, "fma" => a.mul_add(b, c), "rcp" => 1.0 / a, _ => a.sqrt() };
                prop_assert_eq!(nan64(near), nan64(want), "{} {:e} {:e}", op, a, b);
                if near.is_nan() {
                    continue;
                }
                prop_assert!(down <= near && near <= up && (down == up || up == down.next_up()), "{op} {a:e} {b:e} {c:e}: {down:e} {up:e}");
                prop_assert!(zero == if near > 0.0 { down } else { up } || near == 0.0, "{op} {a:e} {b:e}");
                // Where the error of rounding to nearest is known, it says on which side the exact value lies.
                let error = match op {
                    "add" => { let t = near - a; (a - (near - t)) + (b - t) }
                    "mul" if near.abs() > 1e-250 => a.mul_add(b, -near),
                    "sqrt" if a > 1e-250 => (-near).mul_add(near, a),
                    _ => continue,
                };
                if near.is_finite() && error.is_finite() {
                    prop_assert_eq!(down == up, error == 0.0, "{} {:e} {:e}", op, a, b);
                    prop_assert!(error >= 0.0 || down < near);
                    prop_assert!(error <= 0.0 || up > near);
                }
            }
        }
    }

    #[test]
    fn gross_f64_reciprocals(x in lanes(double().boxed())) {
        for (op, g) in [("rcp", (|v| 1.0 / v) as fn(f64) -> f64), ("rsqrt", |v| 1.0 / v.sqrt())] {
            for (v, got) in x.iter().zip(run(&format!("{op}.approx.ftz.f64 %D, %A;"), "dd", &x)) {
                let (a, r) = (d(v[0]), d(got));
                let a = if a.is_subnormal() { 0f64.copysign(a) } else { a };
                let want = g(a);
                prop_assert!(r.is_nan() || got & 0xffff_ffff == 0);
                let fine = (r.is_nan() && want.is_nan()) || r == want || ((r - want) / want).abs() < 2f64.powi(-19) || (r == 0.0 && want.is_subnormal());
                prop_assert!(fine, "{op} {a:e}: {r:e}, not {want:e}");
            }
        }
    }
}

#[test]
fn approximate_division_gives_up_on_huge_divisors() {
    let max = f32::MAX.to_bits() as u64;
    let x = [[1f32.to_bits() as u64, max, 0, 0], [f32::NEG_INFINITY.to_bits() as u64, max, 0, 0]];
    let got = run("div.approx.f32 %D, %A, %B;", "rrr", &x);
    assert_eq!(got, [0, 0x7fff_ffff]);
    // `.full` scales, and does not.
    let full = f(run("div.full.f32 %D, %A, %B;", "rrr", &x)[0]);
    assert!((full * f32::MAX - 1.0).abs() < 1e-6);
}
