//! Instruction families against plain Rust, on random and on awkward operands.
#![allow(
    clippy::precedence,
    clippy::neg_cmp_op_on_partial_ord,
    clippy::int_plus_one,
    reason = "written as PTX's definitions are"
)]

#[path = "support/isa.rs"]
mod support;

use half::{bf16, f16};
use proptest::prelude::*;
use ptx_sim::{Arg, LaunchConfig, Module, Sim};
use support::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn integer_arithmetic(x in lanes(word().boxed())) {
        let r = |v: u64| v as u32;
        let s = |v: u64| v as u32 as i32;
        exact("add.s32 %D, %A, %B;", "rrr", &x, |v| r(v[0]).wrapping_add(r(v[1])) as u64);
        exact("sub.u64 %D, %A, %B;", "ddd", &x, |v| v[0].wrapping_sub(v[1]));
        exact("add.s16 %D, %A, %B;", "hhh", &x, |v| (v[0] as u16).wrapping_add(v[1] as u16) as u64);
        exact("add.sat.s32 %D, %A, %B;", "rrr", &x, |v| s(v[0]).saturating_add(s(v[1])) as u32 as u64);
        exact("mul.lo.s32 %D, %A, %B;", "rrr", &x, |v| r(v[0]).wrapping_mul(r(v[1])) as u64);
        exact("mul.hi.u32 %D, %A, %B;", "rrr", &x, |v| r(v[0]) as u64 * r(v[1]) as u64 >> 32);
        exact("mul.hi.s32 %D, %A, %B;", "rrr", &x, |v| (s(v[0]) as i64 * s(v[1]) as i64 >> 32) as u32 as u64);
        exact("mul.hi.s64 %D, %A, %B;", "ddd", &x, |v| (v[0] as i64 as i128 * v[1] as i64 as i128 >> 64) as u64);
        exact("mul.wide.s32 %D, %A, %B;", "drr", &x, |v| (s(v[0]) as i64 * s(v[1]) as i64) as u64);
        exact("mul.wide.u16 %D, %A, %B;", "rhh", &x, |v| (v[0] & 0xffff) * (v[1] & 0xffff));
        exact("mad.lo.s32 %D, %A, %B, %C;", "rrrr", &x, |v| r(v[0]).wrapping_mul(r(v[1])).wrapping_add(r(v[2])) as u64);
        exact("mad.wide.u32 %D, %A, %B, %C;", "drrd", &x, |v| (r(v[0]) as u64 * r(v[1]) as u64).wrapping_add(v[2]));
        exact("mad.hi.u32 %D, %A, %B, %C;", "rrrr", &x, |v| ((r(v[0]) as u64 * r(v[1]) as u64 >> 32) as u32).wrapping_add(r(v[2])) as u64);
        exact("mul24.lo.u32 %D, %A, %B;", "rrr", &x, |v| ((v[0] & 0xff_ffff) * (v[1] & 0xff_ffff)) & 0xffff_ffff);
        exact("div.s32 %D, %A, %B;", "rrr", &x, |v| if r(v[1]) == 0 { 0xffff_ffff } else { s(v[0]).wrapping_div(s(v[1])) as u32 as u64 });
        exact("rem.u64 %D, %A, %B;", "ddd", &x, |v| if v[1] == 0 { v[0] } else { v[0] % v[1] });
        exact("rem.s16 %D, %A, %B;", "hhh", &x, |v| {
            let (a, b) = (v[0] as i16, v[1] as i16);
            (if b == 0 { a } else { a.wrapping_rem(b) }) as u16 as u64
        });
        exact("min.s32 %D, %A, %B;", "rrr", &x, |v| s(v[0]).min(s(v[1])) as u32 as u64);
        exact("max.u64 %D, %A, %B;", "ddd", &x, |v| v[0].max(v[1]));
        exact("abs.s64 %D, %A;", "dd", &x, |v| (v[0] as i64).wrapping_abs() as u64);
        exact("neg.s32 %D, %A;", "rr", &x, |v| s(v[0]).wrapping_neg() as u32 as u64);
        exact("sad.u32 %D, %A, %B, %C;", "rrrr", &x, |v| r(v[2]).wrapping_add(r(v[0]).abs_diff(r(v[1]))) as u64);
        // 128-bit sum through the carry flag, and the difference.
        exact("add.cc.u64 %D, %A, %B; addc.u64 %D, %C, %E;", "ddddd", &x, |v| {
            v[2].wrapping_add(v[3]).wrapping_add(v[0].overflowing_add(v[1]).1 as u64)
        });
        exact("sub.cc.u32 %D, %A, %B; subc.u32 %D, %C, %E;", "rrrrr", &x, |v| {
            r(v[2]).wrapping_sub(r(v[3])).wrapping_sub(r(v[0]).overflowing_sub(r(v[1])).1 as u32) as u64
        });
        // The flag of a subtraction is a carry: set when there was no borrow.
        exact("sub.cc.u64 %D, %A, %B; addc.u32 %D, %C, %E;", "rddrr", &x, |v| {
            r(v[2]).wrapping_add(r(v[3])).wrapping_add((v[0] >= v[1]) as u32) as u64
        });
        exact("mad.lo.cc.u32 %D, %A, %B, %C; madc.hi.u32 %D, %A, %B, %E;", "rrrrr", &x, |v| {
            let p = r(v[0]) as u64 * r(v[1]) as u64;
            let carry = (p as u32).overflowing_add(r(v[2])).1 as u32;
            ((p >> 32) as u32).wrapping_add(r(v[3])).wrapping_add(carry) as u64
        });
        exact("dp4a.s32.u32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let t: i32 = (0..4).map(|i| (v[0] >> (8 * i)) as i8 as i32 * (v[1] >> (8 * i)) as u8 as i32).sum();
            r(v[2]).wrapping_add(t as u32) as u64
        });
    }

    #[test]
    fn bits(x in lanes(word().boxed())) {
        let r = |v: u64| v as u32;
        exact("shl.b32 %D, %A, %B;", "rrr", &x, |v| if r(v[1]) > 31 { 0 } else { (r(v[0]) << r(v[1])) as u64 });
        exact("shr.u64 %D, %A, %B;", "ddr", &x, |v| if r(v[1]) > 63 { 0 } else { v[0] >> r(v[1]) });
        exact("shr.s32 %D, %A, %B;", "rrr", &x, |v| (r(v[0]) as i32 >> r(v[1]).min(31)) as u32 as u64);
        exact("shr.s16 %D, %A, %B;", "hhr", &x, |v| (v[0] as i16 >> r(v[1]).min(15)) as u16 as u64);
        exact("shf.l.wrap.b32 %D, %A, %B, %C;", "rrrr", &x, |v| ((v[1] << 32 | r(v[0]) as u64) << (v[2] & 31)) >> 32);
        exact("shf.r.clamp.b32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            ((v[1] & 0xffff_ffff) << 32 | r(v[0]) as u64) >> r(v[2]).min(32) & 0xffff_ffff
        });
        exact("and.b64 %D, %A, %B;", "ddd", &x, |v| v[0] & v[1]);
        exact("xor.b16 %D, %A, %B;", "hhh", &x, |v| (v[0] ^ v[1]) & 0xffff);
        exact("not.b32 %D, %A;", "rr", &x, |v| !r(v[0]) as u64);
        exact("cnot.b32 %D, %A;", "rr", &x, |v| (r(v[0]) == 0) as u64);
        exact("popc.b64 %D, %A;", "rd", &x, |v| v[0].count_ones() as u64);
        exact("clz.b32 %D, %A;", "rr", &x, |v| r(v[0]).leading_zeros() as u64);
        exact("brev.b64 %D, %A;", "dd", &x, |v| v[0].reverse_bits());
        exact("bfind.u32 %D, %A;", "rr", &x, |v| if r(v[0]) == 0 { 0xffff_ffff } else { 31 - r(v[0]).leading_zeros() as u64 });
        exact("bfind.shiftamt.s64 %D, %A;", "rd", &x, |v| {
            let m = if (v[0] as i64) < 0 { !v[0] } else { v[0] };
            if m == 0 { 0xffff_ffff } else { m.leading_zeros() as u64 }
        });
        for lut in [0x80u32, 0xe8, 0x96, 0x1b] {
            exact(&format!("lop3.b32 %D, %A, %B, %C, {lut};"), "rrrr", &x, |v| {
                (0..32).fold(0, |acc, i| {
                    let index = (v[0] >> i & 1) << 2 | (v[1] >> i & 1) << 1 | (v[2] >> i & 1);
                    acc | (lut as u64 >> index & 1) << i
                })
            });
        }
        exact("prmt.b32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let bytes = [r(v[0]).to_le_bytes(), r(v[1]).to_le_bytes()].concat();
            let pick = |i: u32| {
                let s = r(v[2]) >> (4 * i);
                let b = bytes[(s & 7) as usize];
                if s & 8 != 0 { if b > 127 { 255 } else { 0 } } else { b }
            };
            u32::from_le_bytes([pick(0), pick(1), pick(2), pick(3)]) as u64
        });
        // Bit fields, by the definition: one bit at a time.
        exact("bfe.u32 %D, %A, %B, %C;", "rrrr", &x, |v| field(v[0] & 0xffff_ffff, false, 32, v[1] & 255, v[2] & 255));
        exact("bfe.s32 %D, %A, %B, %C;", "rrrr", &x, |v| field(v[0] & 0xffff_ffff, true, 32, v[1] & 255, v[2] & 255));
        exact("bfe.s64 %D, %A, %B, %C;", "ddrr", &x, |v| field(v[0], true, 64, v[1] & 255, v[2] & 255));
        exact("bfi.b32 %D, %A, %B, %C, %E;", "rrrrr", &x, |v| {
            let (p, n) = (v[2] & 255, v[3] & 255);
            (0..32).fold(v[1] & 0xffff_ffff, |acc, i| {
                if i >= p && i < p + n { (acc & !(1 << i)) | (v[0] >> (i - p) & 1) << i } else { acc }
            })
        });
    }

    #[test]
    fn comparisons_and_selects(x in lanes(word().boxed()), y in lanes(single().boxed())) {
        let s = |v: u64| v as u32 as i32;
        exact("setp.lt.s32 %D, %A, %B;", "prr", &x, |v| (s(v[0]) < s(v[1])) as u64);
        exact("setp.hi.u64 %D, %A, %B;", "pdd", &x, |v| (v[0] > v[1]) as u64);
        exact("setp.ge.and.u32 %D|%p22, %A, %B, !%C;", "prrp", &x, |v| (v[0] as u32 >= v[1] as u32 && v[2] & 1 == 0) as u64);
        exact("setp.eq.xor.u32 %p22|%D, %A, %B, %C;", "prrp", &x, |v| ((v[0] as u32 != v[1] as u32) ^ (v[2] & 1 == 1)) as u64);
        exact("selp.b64 %D, %A, %B, %C;", "dddp", &x, |v| if v[2] & 1 == 1 { v[0] } else { v[1] });
        exact("slct.b32.s32 %D, %A, %B, %C;", "rrrr", &x, |v| (if s(v[2]) >= 0 { v[0] } else { v[1] }) & 0xffff_ffff);
        exact("set.lt.u32.s32 %D, %A, %B;", "rrr", &x, |v| if s(v[0]) < s(v[1]) { 0xffff_ffff } else { 0 });
        exact("and.pred %D, %A, %B;", "ppp", &x, |v| v[0] & v[1] & 1);
        exact("not.pred %D, %A;", "pp", &x, |v| !v[0] & 1);
        exact("setp.ltu.f32 %D, %A, %B;", "prr", &y, |v| (!(f(v[0]) >= f(v[1]))) as u64);
        exact("setp.ne.f32 %D, %A, %B;", "prr", &y, |v| (f(v[0]) < f(v[1]) || f(v[0]) > f(v[1])) as u64);
        exact("setp.neu.f32 %D, %A, %B;", "prr", &y, |v| (f(v[0]) != f(v[1])) as u64);
        exact("setp.num.f32 %D, %A, %B;", "prr", &y, |v| (!f(v[0]).is_nan() && !f(v[1]).is_nan()) as u64);
        exact("testp.subnormal.f32 %D, %A;", "pr", &y, |v| f(v[0]).is_subnormal() as u64);
    }

    #[test]
    fn f32_arithmetic_rounds_to_nearest(x in lanes(single().boxed())) {
        exact("add.rn.f32 %D, %A, %B;", "rrr", &x, |v| nan32(f(v[0]) + f(v[1])));
        exact("sub.f32 %D, %A, %B;", "rrr", &x, |v| nan32(f(v[0]) - f(v[1])));
        exact("mul.rn.f32 %D, %A, %B;", "rrr", &x, |v| nan32(f(v[0]) * f(v[1])));
        exact("fma.rn.f32 %D, %A, %B, %C;", "rrrr", &x, |v| nan32(f(v[0]).mul_add(f(v[1]), f(v[2]))));
        exact("div.rn.f32 %D, %A, %B;", "rrr", &x, |v| nan32(f(v[0]) / f(v[1])));
        exact("rcp.rn.f32 %D, %A;", "rr", &x, |v| nan32(1.0 / f(v[0])));
        exact("sqrt.rn.f32 %D, %A;", "rr", &x, |v| nan32(f(v[0]).sqrt()));
        exact("abs.f32 %D, %A;", "rr", &x, |v| v[0] & 0x7fff_ffff);
        exact("neg.f32 %D, %A;", "rr", &x, |v| (v[0] ^ 0x8000_0000) & 0xffff_ffff);
        exact("copysign.f32 %D, %A, %B;", "rrr", &x, |v| (v[0] & 0x8000_0000) | (v[1] & 0x7fff_ffff));
        exact("min.f32 %D, %A, %B;", "rrr", &x, |v| {
            let (a, b) = (f(v[0]), f(v[1]));
            if a == b { (v[0] | v[1]) & 0xffff_ffff } else { nan32(a.min(b)) }
        });
        exact("max.NaN.f32 %D, %A, %B;", "rrr", &x, |v| {
            let (a, b) = (f(v[0]), f(v[1]));
            if a.is_nan() || b.is_nan() { 0x7fff_ffff } else if a == b { v[0] & v[1] & 0xffff_ffff } else { a.max(b).to_bits() as u64 }
        });
        let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
        exact("add.ftz.f32 %D, %A, %B;", "rrr", &x, |v| nan32(flush(flush(f(v[0])) + flush(f(v[1])))));
        exact("mul.sat.f32 %D, %A, %B;", "rrr", &x, |v| {
            let p = f(v[0]) * f(v[1]);
            (if p > 0.0 { p.min(1.0) } else { 0.0 }).to_bits() as u64
        });
    }

    /// Directed rounding: the result brackets the exact value, and its neighbour on the other side.
    #[test]
    fn directed_rounding_brackets(x in lanes((-1e3f32..1e3).prop_map(|v| v.to_bits() as u64).boxed())) {
        for op in ["add", "mul", "div"] {
            let rows = ["rm", "rp", "rz", "rn"].map(|m| run(&format!("{op}.{m}.f32 %D, %A, %B;"), "rrr", &x));
            for (i, v) in x.iter().enumerate() {
                let (a, b) = (f(v[0]), f(v[1]));
                let [down, up, zero, near] = [0, 1, 2, 3].map(|k: usize| f(rows[k][i]));
                // Exact side: sums and products in f64 with their error; quotients by multiplying back.
                let cmp = |r: f32| match op {
                    "add" => (r as f64 - a as f64).total_cmp(&(b as f64)),
                    "mul" => (r as f64).total_cmp(&(a as f64 * b as f64)),
                    _ => {
                        let o = (r as f64 * b as f64).total_cmp(&(a as f64));
                        if b < 0.0 { o.reverse() } else { o }
                    }
                };
                prop_assert!(cmp(down).is_le() && cmp(up).is_ge(), "{op} {a:e} {b:e}: {down:e} {up:e}");
                prop_assert!(up == down || up == down.next_up(), "{op} {a:e} {b:e}: {down:e} {up:e}");
                prop_assert!(near == up || near == down);
                prop_assert_eq!(zero, if near > 0.0 { down } else { up });
            }
        }
    }

    #[test]
    fn f64_arithmetic(x in lanes(double().boxed())) {
        exact("add.rn.f64 %D, %A, %B;", "ddd", &x, |v| nan64(d(v[0]) + d(v[1])));
        exact("mul.rn.f64 %D, %A, %B;", "ddd", &x, |v| nan64(d(v[0]) * d(v[1])));
        exact("fma.rn.f64 %D, %A, %B, %C;", "dddd", &x, |v| nan64(d(v[0]).mul_add(d(v[1]), d(v[2]))));
        exact("div.rn.f64 %D, %A, %B;", "ddd", &x, |v| nan64(d(v[0]) / d(v[1])));
        exact("sqrt.rn.f64 %D, %A;", "dd", &x, |v| nan64(d(v[0]).sqrt()));
        exact("setp.gt.f64 %D, %A, %B;", "pdd", &x, |v| (d(v[0]) > d(v[1])) as u64);
        exact("cvt.rn.f32.f64 %D, %A;", "rd", &x, |v| nan32(d(v[0]) as f32));
        exact("cvt.rzi.s64.f64 %D, %A;", "dd", &x, |v| if d(v[0]).is_nan() { 1 << 63 } else { d(v[0]) as i64 as u64 });
        exact("cvt.rni.f64.f64 %D, %A;", "dd", &x, |v| {
            nan64(d(v[0]).round_ties_even())
        });
    }

    #[test]
    fn approximations_keep_their_bounds(x in lanes((-80f32..80.0).prop_map(|v| v.to_bits() as u64).boxed())) {
        close("ex2.approx.f32 %D, %A;", "rr", &x, 2.0 * 2f64.powi(-22), |v| v[0].exp2());
        close("lg2.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-22), |v| v[0].log2());
        close("tanh.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-11), |v| v[0].tanh());
        close("rsqrt.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-22), |v| 1.0 / v[0].sqrt());
        close("rcp.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-23), |v| 1.0 / v[0]);
        close("sqrt.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-22), |v| v[0].sqrt());
        close("div.full.f32 %D, %A, %B;", "rrr", &x, 2f64.powi(-22), |v| v[0] / v[1]);
        close("sin.approx.f32 %D, %A;", "rr", &x, 2f64.powi(-20), |v| v[0].sin());
        close("cos.approx.ftz.f32 %D, %A;", "rr", &x, 2f64.powi(-20), |v| v[0].cos());
    }

    #[test]
    fn half_precision(x in lanes(prop_oneof![0u64..0x1_0000, (-60f32..60.0).prop_map(|v| f16::from_f32(v).to_bits() as u64)].boxed())) {
        let h = |v: u64| f16::from_bits(v as u16);
        let b = |v: u64| bf16::from_bits(v as u16);
        let nan = |v: f32, bits: u16| if v.is_nan() { 0x7fff } else { bits as u64 };
        // f32 holds sums and products of f16 exactly enough: one rounding to f16 is the correct one.
        exact("add.f16 %D, %A, %B;", "hhh", &x, |v| { let s = h(v[0]).to_f32() + h(v[1]).to_f32(); nan(s, f16::from_f32(s).to_bits()) });
        exact("mul.rn.f16 %D, %A, %B;", "hhh", &x, |v| { let s = h(v[0]).to_f32() * h(v[1]).to_f32(); nan(s, f16::from_f32(s).to_bits()) });
        exact("sub.bf16 %D, %A, %B;", "hhh", &x, |v| { let s = b(v[0]).to_f64() - b(v[1]).to_f64(); nan(s as f32, bf16::from_f64(s).to_bits()) });
        exact("cvt.f32.f16 %D, %A;", "rh", &x, |v| nan32(h(v[0]).to_f32()));
        exact("cvt.f32.bf16 %D, %A;", "rh", &x, |v| nan32(b(v[0]).to_f32()));
        exact("neg.f16x2 %D, %A;", "rr", &x, |v| (v[0] ^ 0x8000_8000) & 0xffff_ffff);
        exact("add.rn.f16x2 %D, %A, %B;", "rrr", &x, |v| {
            let half = |s: u32| { let t = h(v[0] >> s).to_f32() + h(v[1] >> s).to_f32(); nan(t, f16::from_f32(t).to_bits()) };
            half(0) | half(16) << 16
        });
        exact("setp.lt.f16 %D, %A, %B;", "phh", &x, |v| (h(v[0]) < h(v[1])) as u64);
    }

    #[test]
    fn conversions(x in lanes(word().boxed()), y in lanes(single().boxed())) {
        exact("cvt.s64.s8 %D, %A;", "dd", &x, |v| v[0] as i8 as i64 as u64);
        exact("cvt.u32.u16 %D, %A;", "rh", &x, |v| v[0] & 0xffff);
        exact("cvt.s32.s16 %D, %A;", "rh", &x, |v| v[0] as i16 as i32 as u32 as u64);
        exact("cvt.u16.u64 %D, %A;", "hd", &x, |v| v[0] & 0xffff);
        exact("cvt.sat.u8.s32 %D, %A;", "rr", &x, |v| (v[0] as i32).clamp(0, 255) as u64);
        exact("cvt.sat.s16.s64 %D, %A;", "hd", &x, |v| (v[0] as i64).clamp(-32768, 32767) as u16 as u64);
        exact("cvt.rn.f32.u64 %D, %A;", "rd", &x, |v| (v[0] as f32).to_bits() as u64);
        exact("cvt.rn.f32.s32 %D, %A;", "rr", &x, |v| (v[0] as i32 as f32).to_bits() as u64);
        exact("cvt.rn.f64.s64 %D, %A;", "dd", &x, |v| (v[0] as i64 as f64).to_bits());
        exact("cvt.rz.f32.u32 %D, %A;", "rr", &x, |v| {
            let r = v[0] as u32 as f32;
            (if r as f64 > v[0] as u32 as f64 { r.next_down() } else { r }).to_bits() as u64
        });
        exact("cvt.rn.f16.s32 %D, %A;", "hr", &x, |v| f16::from_f64(v[0] as i32 as f64).to_bits() as u64);
        exact("cvt.rzi.s32.f32 %D, %A;", "rr", &y, |v| f(v[0]) as i32 as u32 as u64);
        exact("cvt.rni.s32.f32 %D, %A;", "rr", &y, |v| f(v[0]).round_ties_even() as i32 as u32 as u64);
        exact("cvt.rmi.u16.f32 %D, %A;", "hr", &y, |v| f(v[0]).floor() as u16 as u64);
        exact("cvt.rpi.u64.f32 %D, %A;", "dr", &y, |v| if f(v[0]).is_nan() { 1 << 63 } else { f(v[0]).ceil() as u64 });
        exact("cvt.rni.f32.f32 %D, %A;", "rr", &y, |v| nan32(f(v[0]).round_ties_even()));
        exact("cvt.sat.f32.f32 %D, %A;", "rr", &y, |v| {
            let a = f(v[0]);
            (if a > 0.0 { a.min(1.0) } else { 0.0 }).to_bits() as u64
        });
        exact("cvt.f64.f32 %D, %A;", "dr", &y, |v| nan64(f(v[0]) as f64));
        exact("cvt.rn.f16.f32 %D, %A;", "hr", &y, |v| if f(v[0]).is_nan() { 0x7fff } else { f16::from_f32(f(v[0])).to_bits() as u64 });
        exact("cvt.rn.bf16x2.f32 %D, %A, %B;", "rrr", &y, |v| {
            let b = |v: u64| if f(v).is_nan() { 0x7fff } else { bf16::from_f32(f(v)).to_bits() as u64 };
            b(v[0]) << 16 | b(v[1])
        });
        exact("cvt.rz.bf16.f32 %D, %A;", "hr", &y, |v| if f(v[0]).is_nan() { 0x7fff } else { v[0] >> 16 & 0xffff });
        exact("mov.b64 %D, {%A, %B};", "drr", &x, |v| (v[0] & 0xffff_ffff) | v[1] << 32);
        exact("mov.b64 {%r22, %D}, %A;", "rd", &x, |v| v[0] >> 32);
        exact("mov.b32 %D, {%A, %B};", "rhh", &x, |v| (v[0] & 0xffff) | (v[1] & 0xffff) << 16);
    }

    #[test]
    fn warp_level(x in lanes(word().boxed()), delta in 0u32..32, width in 0u32..6) {
        let a: Vec<u32> = x.iter().map(|v| v[0] as u32 % 5).collect();
        let x: Vec<[u64; 4]> = x.iter().zip(&a).map(|(v, &a)| [a as u64, v[1], v[2], v[3]]).collect();
        let w = 1usize << width;
        let (clamp, up) = ((32 - w) << 8 | 31, (32 - w) << 8);
        let same = |l: usize, k: usize| if l / w == k / w && k < 32 { a[k] } else { a[l] } as u64;
        let check = |instr: String, want: &dyn Fn(usize) -> u64| {
            for (l, got) in run(&instr, "rr", &x).into_iter().enumerate() {
                assert_eq!(got, want(l), "`{instr}`, lane {l}");
            }
        };
        check(format!("shfl.sync.down.b32 %D, %A, {delta}, {clamp}, -1;"), &|l| same(l, l + delta as usize));
        check(format!("shfl.sync.up.b32 %D, %A, {delta}, {up}, -1;"), &|l| if l >= delta as usize { same(l, l - delta as usize) } else { a[l] as u64 });
        check(format!("shfl.sync.bfly.b32 %D, %A, {delta}, {clamp}, -1;"), &|l| {
            let k = l ^ delta as usize;
            if k <= (l & !(w - 1)) + w - 1 { a[k] as u64 } else { a[l] as u64 }
        });
        check(format!("shfl.sync.idx.b32 %D, %A, {delta}, {clamp}, -1;"), &|l| a[(l & !(w - 1)) | (delta as usize & (w - 1))] as u64);
        check("match.any.sync.b32 %D, %A, -1;".into(), &|l| (0..32).filter(|&k| a[k] == a[l]).fold(0, |m, k| m | 1 << k));
        check("redux.sync.add.s32 %D, %A, -1;".into(), &|_| a.iter().sum::<u32>() as u64);
        check("redux.sync.max.u32 %D, %A, -1;".into(), &|_| *a.iter().max().unwrap() as u64);
        check("setp.eq.u32 %p1, %A, 2; vote.sync.ballot.b32 %D, %p1, -1;".into(), &|_| (0..32).filter(|&k| a[k] == 2).fold(0, |m, k| m | 1 << k));
        check("setp.eq.u32 %p1, %A, 2; vote.sync.any.pred %p2, %p1, -1; selp.u32 %D, 1, 0, %p2;".into(), &|_| a.contains(&2) as u64);
        check("activemask.b32 %D; add.u32 %D, %D, %A;".into(), &|l| u32::MAX.wrapping_add(a[l]) as u64);
        check("mov.u32 %D, %lanemask_lt; xor.b32 %D, %D, %A;".into(), &|l| (((1u64 << l) - 1) as u32 ^ a[l]) as u64);
    }
}

/// `bfe` by its definition.
fn field(v: u64, signed: bool, bits: u64, pos: u64, len: u64) -> u64 {
    let msb = bits - 1;
    let sign = if !signed || len == 0 { 0 } else { v >> (pos + len - 1).min(msb) & 1 };
    (0..bits).fold(0, |acc, i| {
        let bit = if i < len && pos + i <= msb { v >> (pos + i) & 1 } else { sign };
        acc | bit << i
    })
}

#[test]
fn atomics_in_every_type() {
    // Each of 64 threads adds, and takes part in min, max, cas, inc, exch.
    let ptx = ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 p) {\n.reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<4>; .reg .f64 %g<3>;\n\
        ld.param.u64 %d0, [p]; mov.u32 %r0, %tid.x; cvt.u64.u32 %d1, %r0; cvt.rn.f32.u32 %f0, %r0; cvt.rn.f64.u32 %g0, %r0;\n\
        red.global.add.u32 [%d0], %r0; red.global.add.u64 [%d0+8], %d1; red.add.f32 [%d0+16], %f0; red.global.add.f64 [%d0+24], %g0;\n\
        atom.global.min.s32 %r1, [%d0+32], %r0; atom.global.max.u32 %r1, [%d0+36], %r0; atom.inc.u32 %r1, [%d0+40], 9;\n\
        atom.global.or.b32 %r1, [%d0+44], %r0; atom.global.cas.b32 %r1, [%d0+48], %r0, 1000; atom.global.relaxed.gpu.and.b32 %r1, [%d0+52], %r0;\n\
        mov.b32 %r2, 0x3c003c00; red.global.add.noftz.f16x2 [%d0+56], %r2; atom.global.dec.u32 %r1, [%d0+60], 7; ret; }";
    let m = Module::parse(ptx).unwrap();
    let mut sim = Sim::builder().seed(5).build();
    let p = sim.alloc(64);
    sim.fill(p, 0, 64).unwrap();
    sim.write(p + 32, &5i32.to_le_bytes()).unwrap();
    sim.write(p + 52, &u32::MAX.to_le_bytes()).unwrap();
    sim.launch(&m, "k", &LaunchConfig::linear(64, 64), &[Arg::U64(p)]).unwrap_or_else(|e| panic!("{e}"));
    let mut out = [0; 64];
    sim.read(p, &mut out).unwrap();
    let word = |i: usize| u32::from_le_bytes(out[i..i + 4].try_into().unwrap());
    let long = |i: usize| u64::from_le_bytes(out[i..i + 8].try_into().unwrap());
    assert_eq!((word(0), long(8)), (2016, 2016));
    assert_eq!((f32::from_bits(word(16)), f64::from_bits(long(24))), (2016.0, 2016.0));
    // 64 increments that wrap after 9, 64 decrements that wrap to 7.
    assert_eq!((word(32), word(36), word(40), word(44)), (0, 63, 64 % 10, 63));
    assert!(word(48) == 1000, "some thread saw its own number 0: {}", word(48));
    assert_eq!((word(52), word(56), word(60)), (0, 0x5400_5400, 0));
}

#[test]
fn spaces_and_widths() {
    let ptx = ".version 7.0\n.target sm_80\n.const .align 4 .b32 c[3] = {10, 20, 30};\n.global .align 8 .u64 ptr = generic(c)+8;\n\
        .visible .entry k(.param .u64 out, .param .align 4 .b8 s[8], .param .s8 t) {\n.reg .b16 %h<4>; .reg .b32 %r<9>; .reg .b64 %d<9>;\n\
        .local .align 8 .b8 l[16]; .shared .align 8 .b8 sh[16];\n\
        ld.param.u64 %d0, [out]; ld.param.v2.b32 {%r0, %r1}, [s]; ld.param.s8 %r2, [t];\n\
        ld.global.u64 %d1, [ptr]; ld.u32 %r3, [%d1]; ld.const.u32 %r4, [c+4];\n\
        mov.u64 %d2, l; cvta.local.u64 %d3, %d2; st.v2.b32 [%d3+8], {%r0, %r1}; ld.local.b64 %d4, [l+8];\n\
        mov.u64 %d5, sh; cvta.shared.u64 %d6, %d5; st.u8 [%d6+3], %r2; st.u8 [%d6+2], 1; ld.shared.u16 %h0, [sh+2];\n\
        cvt.s32.s16 %r5, %h0; ld.shared.s8 %d7, [sh+3];\n\
        st.global.v4.b32 [%d0], {%r2, %r3, %r4, %r5}; st.global.v2.b64 [%d0+16], {%d4, %d7}; ret; }";
    let m = Module::parse(ptx).unwrap();
    let k = m.kernel("k").unwrap();
    assert_eq!(k.params.iter().map(|p| (p.size, p.offset)).collect::<Vec<_>>(), [(8, 0), (8, 8), (1, 16)]);
    let mut sim = Sim::builder().build();
    let p = sim.alloc(32);
    let s = [11u32.to_le_bytes(), 12u32.to_le_bytes()].concat();
    sim.launch(&m, "k", &LaunchConfig::linear(1, 1), &[Arg::U64(p), Arg::Bytes(s), Arg::I8(-3)])
        .unwrap_or_else(|e| panic!("{e}"));
    let mut out = [0; 32];
    sim.read_checked(p, &mut out).unwrap();
    let words: Vec<i32> = out.chunks(4).map(|c| i32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(words, [-3, 30, 20, (0xfd01u16 as i16) as i32, 11, 12, -3, -1]);
}

#[test]
fn indirect_calls_and_branches_diverge_and_meet_again() {
    let ptx = ".version 7.0\n.target sm_80\n.func (.param .b32 r) twice(.param .b32 a) { .reg .b32 %r<3>; ld.param.b32 %r0, [a]; shl.b32 %r1, %r0, 1; st.param.b32 [r], %r1; ret; }\n\
        .func (.param .b32 r) next(.param .b32 a) { .reg .b32 %r<3>; ld.param.b32 %r0, [a]; add.u32 %r1, %r0, 1; st.param.b32 [r], %r1; ret; }\n\
        .global .align 8 .u64 table[2] = {twice, next};\n\
        .visible .entry k(.param .u64 out) {\n.reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %d<9>;\n\
        ld.param.u64 %d0, [out]; mov.u32 %r0, %tid.x; and.b32 %r1, %r0, 1; mul.wide.u32 %d1, %r1, 8; mov.u64 %d2, table; add.u64 %d2, %d2, %d1; ld.global.u64 %d3, [%d2];\n\
        P: .callprototype (.param .b32 _) _ (.param .b32 _);\n\
        { .param .b32 a0; .param .b32 r0; st.param.b32 [a0], %r0; call (r0), %d3, (a0), P; ld.param.b32 %r2, [r0]; }\n\
        rem.u32 %r3, %r0, 3; T: .branchtargets A, B, C; brx.idx %r3, T;\n\
        A: add.u32 %r2, %r2, 100; bra E; B: add.u32 %r2, %r2, 200; bra E; C: add.u32 %r2, %r2, 300;\n\
        E: activemask.b32 %r4; setp.ne.u32 %p0, %r4, -1; @%p0 trap;\n\
        mul.wide.u32 %d4, %r0, 4; add.u64 %d4, %d4, %d0; st.global.u32 [%d4], %r2; ret; }";
    let m = Module::parse(ptx).unwrap();
    let mut sim = Sim::builder().build();
    let p = sim.alloc(128);
    sim.launch(&m, "k", &LaunchConfig::linear(32, 32), &[Arg::U64(p)]).unwrap_or_else(|e| panic!("{e}"));
    let mut out = [0; 128];
    sim.read_checked(p, &mut out).unwrap();
    for (t, c) in out.chunks(4).enumerate() {
        let t = t as u32;
        let want = if t.is_multiple_of(2) { 2 * t } else { t + 1 } + 100 * (t % 3 + 1);
        assert_eq!(u32::from_le_bytes(c.try_into().unwrap()), want, "thread {t}");
    }
}

#[test]
fn statistics_count_coalescing() {
    let ptx = |stride: u32| {
        format!(
            ".version 7.0\n.target sm_80\n.visible .entry k(.param .u64 p) {{\n.reg .b32 %r<3>; .reg .b64 %d<3>;\nld.param.u64 %d0, [p]; mov.u32 %r0, %tid.x; \
                 mad.wide.u32 %d1, %r0, {stride}, %d0; st.global.u32 [%d1], %r0; ret; }}"
        )
    };
    for (stride, sectors) in [(4, 4), (8, 8), (32, 32), (128, 32)] {
        let mut sim = Sim::builder().build();
        let p = sim.alloc(4096);
        let m = Module::parse(&ptx(stride)).unwrap();
        let s = sim.launch(&m, "k", &LaunchConfig::linear(32, 32), &[Arg::U64(p)]).unwrap();
        assert_eq!(
            (s.sectors, s.global_store_bytes, s.warp_instructions, s.lane_instructions),
            (sectors, 128, 5, 160)
        );
    }
}
