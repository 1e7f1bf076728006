//! Conversions to and from the formats of matrix factors.

use super::support::*;
use half::{bf16, f16};
use proptest::prelude::*;

/// Converts one 32-bit word per lane (a second operand `%b` is the next lane's, in a ring).
fn convert(instr: &str, input: &[u32; 32]) -> Vec<u32> {
    let body = format!(
        "mad.wide.u32 %p, %lane, 4, %in; ld.global.b32 %a, [%p]; add.u32 %i, %lane, 1; and.b32 %i, %i, 31;\n\
         mad.wide.u32 %p, %i, 4, %in; ld.global.b32 %b, [%p]; cvt.u16.u32 %h, %a; mov.b32 %d, 0; mov.b16 %e, 0;\n\
         {instr}\ncvt.u32.u16 %i, %e; or.b32 %d, %d, %i; mad.wide.u32 %p, %lane, 4, %out; st.global.b32 [%p], %d;"
    );
    let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
    words(&clean(&kernel(".reg .b32 %a, %b, %d, %i; .reg .b16 %h, %e;", &body), &bytes, 128))
}

/// The code of the finite number nearest to `v`, of two the one with an even code, by trying all.
fn nearest(ty: &str, v: f64) -> u32 {
    if v.is_nan() {
        return 0x7f;
    }
    let last = if ty == "e4m3" { 0x7e } else { 0x7b };
    let sign = if v.is_sign_negative() { 0x80 } else { 0 };
    let distance = |code: &u32| (number(ty, *code as u64) - v.abs()).abs();
    // Far beyond the last number every distance rounds to the same.
    let best = if v.abs() > 1e9 {
        last
    } else {
        (0..=last).min_by(|a, b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))).unwrap()
    };
    best | sign
}

fn relu(v: f64, on: bool) -> f64 {
    if on && v <= 0.0 { 0.0 } else { v }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn eight_bit_floats(seed: u64) {
        let mut r = Random(seed);
        let mut x = [0u32; 32];
        for v in &mut x {
            // All exponents that matter, exact halves between codes, and any bits.
            *v = match r.below(4) {
                0 => r.bits() as u32,
                1 => (r.unit() as f32 * 2f32.powi(r.below(40) as i32 - 24)).to_bits(),
                2 => (((r.below(33) as f64 + 0.5) * 2f64.powi(r.below(36) as i32 - 20)) as f32).to_bits(),
                _ => [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0, 0x8000_0000, 0x43e0_0000][r.below(6) as usize],
            };
        }
        for ty in ["e4m3", "e5m2"] {
            for (suffix, on) in [("", false), (".relu", true)] {
                let got = convert(&format!("cvt.rn.satfinite{suffix}.{ty}x2.f32 %e, %a, %b;"), &x);
                let code = |v: u32| nearest(ty, relu(f32::from_bits(v) as f64, on));
                for l in 0..32 {
                    let want = code(x[l]) << 8 | code(x[(l + 1) % 32]);
                    prop_assert_eq!(got[l], want, "{} of {:#x}, {:#x}", ty, x[l], x[(l + 1) % 32]);
                }
                let got = convert(&format!("cvt.rn.satfinite{suffix}.{ty}x2.f16x2 %e, %a;"), &x);
                let code = |v: u16| nearest(ty, relu(f16::from_bits(v).to_f64(), on));
                for l in 0..32 {
                    prop_assert_eq!(got[l], code((x[l] >> 16) as u16) << 8 | code(x[l] as u16));
                }
                let got = convert(&format!("cvt.rn.satfinite{suffix}.{ty}x2.bf16x2 %e, %a;"), &x);
                let code = |v: u16| nearest(ty, relu(bf16::from_bits(v).to_f64(), on));
                for l in 0..32 {
                    prop_assert_eq!(got[l], code((x[l] >> 16) as u16) << 8 | code(x[l] as u16));
                }
                let got = convert(&format!("cvt.rn{suffix}.f16x2.{ty}x2 %d, %h;"), &x);
                let half = |b: u32| match (ty, b & 0x7f) {
                    ("e4m3", 0x7f) | ("e5m2", 0x7d..) => 0x7fff,
                    ("e5m2", 0x7c) => if b & 0x80 == 0 { 0x7c00 } else if on { 0 } else { 0xfc00 },
                    _ => f16::from_f64(relu(number(ty, b as u64), on)).to_bits() as u32,
                };
                for l in 0..32 {
                    prop_assert_eq!(got[l], half(x[l] & 0xff) | half(x[l] >> 8 & 0xff) << 16);
                }
            }
        }
    }

    #[test]
    fn tf32_keeps_ten_bits(seed: u64) {
        let mut r = Random(seed);
        let mut x = [0u32; 32];
        for v in &mut x {
            *v = match r.below(3) {
                0 => r.bits() as u32,
                // Halfway, and just beside it.
                1 => (r.bits() as u32 & !0x1fff).wrapping_add(0xfff + r.below(3) as u32),
                _ => [0x7f80_0000, 0xff7f_ffff, 0x7f7f_ffff, 0x7fc0_0001, 0x8000_0000, 1][r.below(6) as usize],
            };
        }
        let round = |v: u32, away: bool| {
            let (low, kept) = (v & 0x1fff, v & !0x1fff);
            let up = low > 0x1000 || low == 0x1000 && (away || v >> 13 & 1 == 1);
            if up { kept + 0x2000 } else { kept }
        };
        for (mode, away) in [("rna", true), ("rn", false)] {
            for sat in ["", ".satfinite"] {
                let got = convert(&format!("cvt.{mode}{sat}.tf32.f32 %d, %a;"), &x);
                for l in 0..32 {
                    let v = f32::from_bits(x[l]);
                    let want = if v.is_nan() {
                        0x7fff_ffff
                    } else if sat.is_empty() {
                        if v.is_infinite() { x[l] } else { round(x[l], away) }
                    } else if v.is_infinite() || f32::from_bits(round(x[l], away)).is_infinite() {
                        x[l] & 0x8000_0000 | 0x7f7f_e000
                    } else {
                        round(x[l], away)
                    };
                    prop_assert_eq!(got[l], want, "{}{} of {:#x}", mode, sat, x[l]);
                }
            }
        }
    }
}
