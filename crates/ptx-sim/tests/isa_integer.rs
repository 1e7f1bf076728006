//! Integer instructions the first test program leaves out: 24-bit products, carries over 64 bits, dot products, byte
//! permutation modes, masks, packed lanes.
#![allow(clippy::precedence, reason = "written as PTX's definitions are")]

#[path = "support/isa.rs"]
mod support;

use proptest::prelude::*;
use support::*;

fn r(v: u64) -> u32 {
    v as u32
}

fn s(v: u64) -> i32 {
    v as u32 as i32
}

/// A signed or unsigned 24-bit number.
fn low24(v: u64, signed: bool) -> i64 {
    let v = (v & 0xff_ffff) as i64;
    if signed && v >> 23 == 1 { v - (1 << 24) } else { v }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn products_of_24_bits(x in lanes(word().boxed())) {
        for (ty, signed) in [("u32", false), ("s32", true)] {
            let product = |v: [u64; 4]| low24(v[0], signed) * low24(v[1], signed);
            exact(&format!("mul24.lo.{ty} %D, %A, %B;"), "rrr", &x, |v| product(v) as u32 as u64);
            exact(&format!("mul24.hi.{ty} %D, %A, %B;"), "rrr", &x, |v| (product(v) >> 16) as u32 as u64);
            exact(&format!("mad24.lo.{ty} %D, %A, %B, %C;"), "rrrr", &x, |v| (product(v) as u32).wrapping_add(r(v[2])) as u64);
            exact(&format!("mad24.hi.{ty} %D, %A, %B, %C;"), "rrrr", &x, |v| ((product(v) >> 16) as u32).wrapping_add(r(v[2])) as u64);
        }
        exact("mad24.hi.sat.s32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let sum = (low24(v[0], true) * low24(v[1], true) >> 16) + s(v[2]) as i64;
            sum.clamp(i32::MIN as i64, i32::MAX as i64) as u32 as u64
        });
        exact("mad.hi.sat.s32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let sum = (s(v[0]) as i64 * s(v[1]) as i64 >> 32) + s(v[2]) as i64;
            sum.clamp(i32::MIN as i64, i32::MAX as i64) as u32 as u64
        });
        exact("mad.lo.s16 %D, %A, %B, %C;", "hhhh", &x, |v| (v[0] as u16).wrapping_mul(v[1] as u16).wrapping_add(v[2] as u16) as u64);
        exact("mul.hi.s16 %D, %A, %B;", "hhh", &x, |v| (v[0] as i16 as i32 * v[1] as i16 as i32 >> 16) as u16 as u64);
        exact("mad.wide.s16 %D, %A, %B, %C;", "rhhr", &x, |v| (v[0] as i16 as i32 * v[1] as i16 as i32).wrapping_add(s(v[2])) as u32 as u64);
        exact("mad.hi.u64 %D, %A, %B, %C;", "dddd", &x, |v| ((v[0] as u128 * v[1] as u128 >> 64) as u64).wrapping_add(v[2]));
        exact("sub.sat.s32 %D, %A, %B;", "rrr", &x, |v| s(v[0]).saturating_sub(s(v[1])) as u32 as u64);
    }

    #[test]
    fn carries(x in lanes(word().boxed())) {
        // (A, B) + (C, E) in 128 bits, then the carry itself.
        let wide = |lo: u64, hi: u64| lo as u128 | (hi as u128) << 64;
        exact("add.cc.u64 %d22, %A, %C; addc.cc.u64 %D, %B, %E; addc.u64 %d23, 0, 0; add.u64 %D, %D, %d23;", "ddddd", &x, |v| {
            let (sum, over) = wide(v[0], v[1]).overflowing_add(wide(v[2], v[3]));
            ((sum >> 64) as u64).wrapping_add(over as u64)
        });
        exact("sub.cc.u64 %d22, %A, %C; subc.cc.u64 %D, %B, %E; subc.u64 %d23, 0, 0; xor.b64 %D, %D, %d23;", "ddddd", &x, |v| {
            let (difference, under) = wide(v[0], v[1]).overflowing_sub(wide(v[2], v[3]));
            (difference >> 64) as u64 ^ if under { u64::MAX } else { 0 }
        });
        exact("mad.lo.cc.u64 %d22, %A, %B, %C; madc.hi.u64 %D, %A, %B, %E;", "ddddd", &x, |v| {
            let sum = (v[0] as u128 * v[1] as u128).wrapping_add(wide(v[2], v[3]));
            (sum >> 64) as u64
        });
        exact("mad.lo.cc.s32 %r22, %A, %B, %C; madc.hi.s32 %D, %A, %B, %E;", "rrrrr", &x, |v| {
            let sum = (s(v[0]) as i64 * s(v[1]) as i64).wrapping_add((r(v[2]) as u64 | (r(v[3]) as u64) << 32) as i64);
            (sum >> 32) as u32 as u64
        });
        // Behind a subtraction the flag says that nothing was borrowed.
        exact("sub.cc.u32 %r22, %A, %B; addc.u32 %D, 0, 0;", "rrr", &x, |v| (r(v[0]) >= r(v[1])) as u64);
        // The flag survives instructions in between that do not set it.
        exact("add.cc.u32 %r22, %A, %B; mul.lo.u32 %r23, %A, %B; addc.u32 %D, %r23, 0;", "rrr", &x, |v| {
            r(v[0]).wrapping_mul(r(v[1])).wrapping_add(r(v[0]).overflowing_add(r(v[1])).1 as u32) as u64
        });
    }

    #[test]
    fn dot_products(x in lanes(word().boxed())) {
        for (ta, sa) in [("u32", false), ("s32", true)] {
            for (tb, sb) in [("u32", false), ("s32", true)] {
                let byte = |v: u64, i: usize, signed: bool| if signed { (v >> (8 * i)) as i8 as i64 } else { (v >> (8 * i)) as u8 as i64 };
                let half = |v: u64, i: usize, signed: bool| if signed { (v >> (16 * i)) as i16 as i64 } else { (v >> (16 * i)) as u16 as i64 };
                exact(&format!("dp4a.{ta}.{tb} %D, %A, %B, %C;"), "rrrr", &x, |v| {
                    (0..4).map(|i| byte(v[0], i, sa) * byte(v[1], i, sb)).fold(s(v[2]) as i64, |a, p| a + p) as u32 as u64
                });
                for (which, first) in [("lo", 0), ("hi", 2)] {
                    exact(&format!("dp2a.{which}.{ta}.{tb} %D, %A, %B, %C;"), "rrrr", &x, |v| {
                        (0..2).map(|i| half(v[0], i, sa) * byte(v[1], first + i, sb)).fold(s(v[2]) as i64, |a, p| a + p) as u32 as u64
                    });
                }
            }
        }
    }

    #[test]
    fn permutations_and_masks(x in lanes(word().boxed())) {
        // The table of the modes, most significant byte first, by selector.
        let table: [(&str, [[usize; 4]; 4]); 6] = [
            ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
            ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
            ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
            ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
            ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
            ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
        ];
        for (mode, rows) in table {
            exact(&format!("prmt.b32.{mode} %D, %A, %B, %C;"), "rrrr", &x, |v| {
                let bytes = [r(v[0]).to_le_bytes(), r(v[1]).to_le_bytes()].concat();
                rows[(v[2] & 3) as usize].iter().fold(0, |acc, &i| acc << 8 | bytes[i] as u64)
            });
        }
        exact("bmsk.clamp.b32 %D, %A, %B;", "rrr", &x, |v| {
            (0..32).filter(|&i| i >= r(v[0]) as u64 && i < r(v[0]) as u64 + r(v[1]) as u64).fold(0, |m, i| m | 1 << i)
        });
        exact("bmsk.wrap.b32 %D, %A, %B;", "rrr", &x, |v| {
            let (at, n) = (v[0] & 31, v[1] & 31);
            (0..32).filter(|&i| i >= at && i < at + n).fold(0, |m, i| m | 1 << i)
        });
        for (mode, wrap) in [("clamp", false), ("wrap", true)] {
            exact(&format!("szext.{mode}.s32 %D, %A, %B;"), "rrr", &x, |v| {
                let n = if wrap { v[1] & 31 } else { (r(v[1]) as u64).min(32) };
                let sign = n > 0 && v[0] >> (n - 1) & 1 == 1;
                (0..32).fold(0, |acc, i| acc | (if i < n { v[0] >> i & 1 } else { sign as u64 }) << i)
            });
            exact(&format!("szext.{mode}.u32 %D, %A, %B;"), "rrr", &x, |v| {
                let n = if wrap { v[1] & 31 } else { (r(v[1]) as u64).min(32) };
                (0..n).fold(0, |acc, i| acc | (v[0] >> i & 1) << i)
            });
        }
        exact("and.b32 %r22, %B, 31; cvt.s32.s8 %r23, %C; fns.b32 %D, %A, %r22, %r23;", "rrrr", &x, |v| {
            let (base, n) = ((v[1] & 31) as i64, v[2] as i8 as i64);
            let set = |i: &i64| v[0] >> i & 1 == 1;
            let found = match n {
                0 => Some(base).filter(set),
                n if n > 0 => (base..32).filter(set).nth(n as usize - 1),
                n => (0..=base).rev().filter(set).nth(-n as usize - 1),
            };
            found.map_or(0xffff_ffff, |i| i as u64)
        });
        exact("lop3.or.b32 _|%D, %A, %B, %C, 0x96, %E;", "prrrp", &x, |v| (r(v[0] ^ v[1] ^ v[2]) != 0) as u64 | v[3] & 1);
        exact("lop3.and.b32 %D|%p22, %A, %B, %C, 0xe8, %E;", "rrrrp", &x, |v| r(v[0] & v[1] | v[0] & v[2] | v[1] & v[2]) as u64);
        exact("shf.l.clamp.b32 %D, %A, %B, %C;", "rrrr", &x, |v| {
            let n = r(v[2]).min(32);
            ((r(v[1]) as u64) << 32 | r(v[0]) as u64) << n >> 32 & 0xffff_ffff
        });
        exact("sad.s32 %D, %A, %B, %C;", "rrrr", &x, |v| r(v[2]).wrapping_add(s(v[0]).abs_diff(s(v[1]))) as u64);
        exact("sad.u64 %D, %A, %B, %C;", "dddd", &x, |v| v[2].wrapping_add(v[0].abs_diff(v[1])));
        exact("cnot.b64 %D, %A;", "dd", &x, |v| (v[0] == 0) as u64);
    }

    #[test]
    fn packed_lanes(x in lanes(word().boxed())) {
        let halves = |v: [u64; 4], f: &dyn Fn(u16, u16) -> u16| f(v[0] as u16, v[1] as u16) as u64 | (f((v[0] >> 16) as u16, (v[1] >> 16) as u16) as u64) << 16;
        exact("add.u16x2 %D, %A, %B;", "rrr", &x, |v| halves(v, &u16::wrapping_add));
        exact("min.s16x2 %D, %A, %B;", "rrr", &x, |v| halves(v, &|a, b| (a as i16).min(b as i16) as u16));
        exact("max.u16x2 %D, %A, %B;", "rrr", &x, |v| halves(v, &u16::max));
        exact("max.s16x2.relu %D, %A, %B;".replace("s16x2.relu", "relu.s16x2").as_str(), "rrr", &x, |v| halves(v, &|a, b| (a as i16).max(b as i16).max(0) as u16));
        exact("min.relu.s32 %D, %A, %B;", "rrr", &x, |v| s(v[0]).min(s(v[1])).max(0) as u64);
        let bytes = |v: [u64; 4], f: &dyn Fn(u8, u8) -> u8| (0..4).fold(0, |acc, i| acc | (f((v[0] >> (8 * i)) as u8, (v[1] >> (8 * i)) as u8) as u64) << (8 * i));
        exact("add.u8x4 %D, %A, %B;", "rrr", &x, |v| bytes(v, &u8::wrapping_add));
        exact("sub.s8x4 %D, %A, %B;", "rrr", &x, |v| bytes(v, &u8::wrapping_sub));
        exact("min.s8x4 %D, %A, %B;", "rrr", &x, |v| bytes(v, &|a, b| (a as i8).min(b as i8) as u8));
        exact("max.u8x4 %D, %A, %B;", "rrr", &x, |v| bytes(v, &u8::max));
        exact("vabsdiff4.u32.u32.u32 %D, %A, %B, %C;", "rrrr", &x, |v| bytes(v, &u8::abs_diff));
        exact("vadd4.u32.u32.u32.sat %D, %A, %B, %C;", "rrrr", &x, |v| bytes(v, &u8::saturating_add));
        exact("vsub4.s32.s32.s32.sat %D, %A, %B, %C;", "rrrr", &x, |v| bytes(v, &|a, b| (a as i8).saturating_sub(b as i8) as u8));
        exact("vmin2.s32.s32.s32 %D, %A, %B, %C;", "rrrr", &x, |v| halves(v, &|a, b| (a as i16).min(b as i16) as u16));
        exact("vavrg4.u32.u32.u32 %D, %A, %B, %C;", "rrrr", &x, |v| bytes(v, &|a, b| (a as u16 + b as u16).div_ceil(2) as u8));
        exact("vabsdiff4.u32.u32.u32.add %D, %A, %B, %C;", "rrrr", &x, |v| {
            (0..4).fold(r(v[2]), |acc, i| acc.wrapping_add(((v[0] >> (8 * i)) as u8).abs_diff((v[1] >> (8 * i)) as u8) as u32)) as u64
        });
        exact("neg.s8x4 %D, %A;", "rr", &x, |v| bytes(v, &|a, _| a.wrapping_neg()));
    }

    #[test]
    fn f32_reductions_over_a_warp(x in lanes(single().boxed())) {
        let all = |abs: bool| x.iter().map(move |v| if abs { f(v[0]).abs() } else { f(v[0]) });
        let bits = |v: f32| nan32(v);
        let lowest = all(false).filter(|v| !v.is_nan()).min_by(f32::total_cmp).unwrap_or(f32::NAN);
        let highest = all(true).filter(|v| !v.is_nan()).max_by(f32::total_cmp).unwrap_or(f32::NAN);
        exact("redux.sync.min.f32 %D, %A, -1;", "rr", &x, |_| bits(lowest));
        exact("redux.sync.max.abs.f32 %D, %A, -1;", "rr", &x, |_| bits(highest));
        let nan = all(false).any(f32::is_nan);
        exact("redux.sync.max.abs.NaN.f32 %D, %A, -1;", "rr", &x, |_| if nan { 0x7fff_ffff } else { bits(highest) });
    }
}
