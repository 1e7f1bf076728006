//! The packed video instructions that CUDA's SIMD intrinsics compile to: `vadd4`, `vsub4`, `vavrg4`, `vabsdiff4`, `vmin4`,
//! `vmax4` and the same on two halves, on whole registers (no masks, no lane selectors).
//!
//! Each lane is computed exactly, then wrapped or, with `.sat`, clamped to the destination type; with `.add` the lanes'
//! results are summed into the third operand.

use super::Opcode;
use crate::lanes::{Spec, alu};

const SAT: u32 = 64;
const ADD: u32 = 128;

/// A lane of `bits` bits at `shift`.
fn lane(v: u32, shift: u32, bits: u32, signed: bool) -> i32 {
    let v = v << (32 - bits - shift);
    if signed { v as i32 >> (32 - bits) } else { (v >> (32 - bits)) as i32 }
}

/// Flags: operation in bits 0-2, signed destination 8, a 16, b 32.
fn lanes(fl: u32, bits: u32, a: u32, b: u32, c: u32) -> u32 {
    let signed = fl & 8 != 0;
    let (mut out, mut sum) = (0u32, c);
    for shift in (0..32).step_by(bits as usize) {
        let (x, y) = (lane(a, shift, bits, fl & 16 != 0), lane(b, shift, bits, fl & 32 != 0));
        let r = match fl & 7 {
            0 => x + y,
            1 => x - y,
            2 => (x + y + (x + y >= 0) as i32) >> 1,
            3 => (x - y).abs(),
            4 => x.min(y),
            _ => x.max(y),
        };
        let r = match (fl & SAT != 0, signed) {
            (false, _) => r,
            (true, true) => r.clamp(-1 << (bits - 1), (1 << (bits - 1)) - 1),
            (true, false) => r.clamp(0, (1 << bits) - 1),
        };
        let r = r as u32 & (!0 >> (32 - bits));
        out |= r << shift;
        sum = sum.wrapping_add(lane(r, 0, bits, signed) as u32);
    }
    if fl & ADD != 0 { sum } else { out }
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    let (name, bits) = match (op.base.strip_suffix('4'), op.base.strip_suffix('2')) {
        (Some(n), _) => (n, 8),
        (_, Some(n)) => (n, 16),
        _ => return None,
    };
    let kind = ["vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"].iter().position(|n| *n == name)? as u32;
    let [d, a, b, ref more @ ..] = op.mods[..] else { return None };
    let mut flags = kind;
    for (ty, bit) in [(d, 8), (a, 16), (b, 32)] {
        flags |= match ty {
            "s32" => bit,
            "u32" => 0,
            _ => return None,
        };
    }
    flags |= match more {
        [] => 0,
        ["sat"] => SAT,
        ["add"] => ADD,
        _ => return None,
    };
    let s = if bits == 8 {
        alu!(fl; |a: u32, b: u32, c: u32| -> u32 { lanes(fl, 8, a, b, c) })
    } else {
        alu!(fl; |a: u32, b: u32, c: u32| -> u32 { lanes(fl, 16, a, b, c) })
    };
    Some(s.flags(flags))
}
