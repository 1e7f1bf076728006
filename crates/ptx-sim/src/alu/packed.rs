//! What newer targets pack or mix: pairs of f32 (`f32x2`), sums of f32 with 16-bit floats, `min` and `max` of three, and
//! integer bytes four to a register.

use super::float::{add32, extreme32, fma32, input, mul32, output};
use super::half::Half;
use super::{FTZ, Opcode};
use crate::lanes::{Spec, Two, alu};
use half::{bf16, f16};

type Pair = Two<f32>;

fn pairs(op: &Opcode<'_>) -> Option<Spec> {
    macro_rules! both {
        (|$($x:ident),+| $e:expr) => {
            alu!(fl; |$($x: Pair),+| -> Pair {
                let f = |$($x: f32),+| output({ $(let $x = input($x, fl);)+ $e(($($x),+), fl & 3) }, fl);
                Two(f($($x.0),+), f($($x.1),+))
            })
        };
    }
    let s = match op.base {
        "add" => both!(|a, b| |(a, b), m| add32(a, b, m)),
        "sub" => both!(|a, b| |(a, b): (f32, f32), m| add32(a, -b, m)),
        "mul" => both!(|a, b| |(a, b), m| mul32(a, b, m)),
        "fma" => both!(|a, b, c| |(a, b, c), m| fma32(a, b, c, m)),
        _ => return None,
    };
    Some(s.flags(op.flags()))
}

/// `add`, `sub` and `fma` of 16-bit factors and an f32 term: the factors are converted without loss, the result is rounded
/// once.
fn mixed(op: &Opcode<'_>, half: &str) -> Option<Spec> {
    macro_rules! of {
        ($T:ty) => {
            match op.base {
                "add" => alu!(fl; |a: $T, c: f32| -> f32 { output(add32(a.wide() as f32, c, fl & 3), fl) }),
                "sub" => alu!(fl; |a: $T, c: f32| -> f32 { output(add32(a.wide() as f32, -c, fl & 3), fl) }),
                "fma" => alu!(fl; |a: $T, b: $T, c: f32| -> f32 {
                    output(fma32(a.wide() as f32, b.wide() as f32, c, fl & 3), fl)
                }),
                _ => return None,
            }
        };
    }
    let s = if half == "f16" { of!(f16) } else { of!(bf16) };
    Some(s.flags(op.flags() & !FTZ))
}

/// Byte lanes: `add`, `sub`, `min`, `max`, `neg` of `u8x4` and `s8x4`.
fn bytes(op: &Opcode<'_>, signed: bool) -> Option<Spec> {
    macro_rules! each {
        ($f:expr) => {
            alu!(|a: u32, b: u32| -> u32 {
                let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
                u32::from_le_bytes(std::array::from_fn(|i| $f(a[i], b[i])))
            })
        };
    }
    Some(match (op.base, signed) {
        ("add", _) => each!(u8::wrapping_add),
        ("sub", _) => each!(u8::wrapping_sub),
        ("min", false) => each!(u8::min),
        ("max", false) => each!(u8::max),
        ("min", true) => each!(|a: u8, b: u8| (a as i8).min(b as i8) as u8),
        ("max", true) => each!(|a: u8, b: u8| (a as i8).max(b as i8) as u8),
        ("neg", true) => {
            alu!(|a: u32| -> u32 { u32::from_le_bytes(a.to_le_bytes().map(u8::wrapping_neg)) })
        }
        _ => return None,
    })
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    match op.mods[..] {
        [.., "f32x2"] => pairs(op),
        [.., "f32", half @ ("f16" | "bf16")] if matches!(op.base, "add" | "sub" | "fma") => mixed(op, half),
        [.., ty @ ("u8x4" | "s8x4")] => bytes(op, ty == "s8x4"),
        _ => None,
    }
}

/// `min` and `max` of three f32, with `.abs` of each first.
pub(crate) fn three(op: &Opcode<'_>) -> Option<Spec> {
    const MAX: u32 = 16;
    const NAN: u32 = 32;
    const ABS: u32 = 64;
    if op.ty() != "f32" || op.has("xorsign") {
        return None;
    }
    let flags = op.flags()
        | if op.base == "max" { MAX } else { 0 }
        | if op.has("NaN") { NAN } else { 0 }
        | if op.has("abs") { ABS } else { 0 };
    let s = alu!(fl; |a: f32, b: f32, c: f32| -> f32 {
        let [a, b, c] = [a, b, c].map(|x| {
            let x = input(x, fl);
            if fl & ABS != 0 { x.abs() } else { x }
        });
        let (max, nan) = (fl & MAX != 0, fl & NAN != 0);
        extreme32(extreme32(a, b, max, nan), c, max, nan)
    });
    Some(s.flags(flags))
}
