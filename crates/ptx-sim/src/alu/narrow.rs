//! `cvt` to and from the formats that only matrix instructions compute with: pairs of 8-bit floats, and tf32 with `.satfinite`.
//!
//! - `cvt.rn.satfinite[.relu].{e4m3x2,e5m2x2}.f32 d, a, b`: `a` becomes the high byte;
//! - `cvt.rn.satfinite[.relu].{e4m3x2,e5m2x2}.{f16x2,bf16x2} d, a`;
//! - `cvt.rn[.relu].f16x2.{e4m3x2,e5m2x2} d, a`, exact;
//! - `cvt.{rn,rna}.satfinite[.relu].tf32.f32 d, a`.

use super::Opcode;
use super::half::Half;
use crate::lanes::{Spec, Two, alu};
use crate::matrix::number::{e4m3, e5m2, to_e4m3, to_e5m2};
use half::{bf16, f16};

/// Flags in operand 4: the format is e5m2, negative numbers become zero, halves round away from zero.
const E5M2: u32 = 1;
const RELU: u32 = 2;
const AWAY: u32 = 4;

fn byte(v: f64, flags: u32) -> u16 {
    let v = if flags & RELU != 0 && v <= 0.0 { 0.0 } else { v };
    (if flags & E5M2 != 0 { to_e5m2(v) } else { to_e4m3(v) }) as u16
}

fn pair(high: f64, low: f64, flags: u32) -> u16 {
    byte(high, flags) << 8 | byte(low, flags)
}

fn widen(bits: u16, flags: u32) -> f16 {
    let v = if flags & E5M2 != 0 { e5m2(bits as u8) } else { e4m3(bits as u8) };
    if v.is_nan() {
        f16::from_bits(0x7fff)
    } else if flags & RELU != 0 && v <= 0.0 {
        f16::ZERO
    } else {
        f16::from_f32(v)
    }
}

/// The largest finite tf32.
const TF32_MAX: u32 = 0x7f7f_e000;

fn tf32(a: f32, flags: u32) -> u32 {
    let bits = a.to_bits();
    if a.is_nan() {
        return 0x7fff_ffff;
    }
    if flags & RELU != 0 && a <= 0.0 {
        return 0;
    }
    let add = if flags & AWAY != 0 { 0x1000 } else { 0xfff + (bits >> 13 & 1) };
    let magnitude = (((bits & 0x7fff_ffff) + add) & !0x1fff).min(TF32_MAX);
    bits & 0x8000_0000 | magnitude
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    let [words @ .., to, from] = &op.mods[..] else { return None };
    let mut flags = 0;
    let (mut nearest, mut saturates) = (false, false);
    for w in words {
        match *w {
            "rn" => nearest = true,
            "rna" => flags |= AWAY,
            "satfinite" => saturates = true,
            "relu" => flags |= RELU,
            _ => return None,
        }
    }
    let away = flags & AWAY != 0;
    if *to == "tf32" {
        return (*from == "f32" && saturates && nearest != away)
            .then(|| alu!(fl; |a: f32| -> u32 { tf32(a, fl) }).flags(flags));
    }
    let small = |t: &str| match t {
        "e4m3x2" => Some(0),
        "e5m2x2" => Some(E5M2),
        _ => None,
    };
    if !nearest || away {
        return None;
    }
    if let Some(format) = small(from).filter(|_| *to == "f16x2" && !saturates) {
        type D = Two<f16>;
        return Some(
            alu!(fl; |a: u16| -> D { Two(widen(a & 0xff, fl), widen(a >> 8, fl)) }).flags(flags | format),
        );
    }
    let format = small(to).filter(|_| saturates)?;
    let s = match *from {
        "f32" => alu!(fl; |a: f32, b: f32| -> u16 { pair(a as f64, b as f64, fl) }),
        "f16x2" => {
            type D = Two<f16>;
            alu!(fl; |a: D| -> u16 { pair(a.1.wide(), a.0.wide(), fl) })
        }
        "bf16x2" => {
            type D = Two<bf16>;
            alu!(fl; |a: D| -> u16 { pair(a.1.wide(), a.0.wide(), fl) })
        }
        _ => return None,
    };
    Some(s.flags(flags | format))
}
