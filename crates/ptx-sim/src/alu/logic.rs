//! Bit logic, comparisons, selects and moves.

use super::{FTZ, Opcode};
use crate::lanes::{File, Spec, alu, select, spec};
use half::{bf16, f16};

macro_rules! bits {
    ($ty:expr, $T:ident, $e:expr) => {
        match $ty {
            "b16" | "u16" | "s16" | "f16" | "bf16" => {
                type $T = u16;
                Some($e)
            }
            "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => {
                type $T = u32;
                Some($e)
            }
            "b64" | "u64" | "s64" | "f64" => {
                type $T = u64;
                Some($e)
            }
            _ => None,
        }
    };
}

macro_rules! ordered {
    ($cmp:expr, $T:ty) => {
        match $cmp {
            "eq" => Some(alu!(|a: $T, b: $T| -> bool { a == b })),
            "ne" => Some(alu!(|a: $T, b: $T| -> bool { a != b })),
            "lt" | "lo" => Some(alu!(|a: $T, b: $T| -> bool { a < b })),
            "le" | "ls" => Some(alu!(|a: $T, b: $T| -> bool { a <= b })),
            "gt" | "hi" => Some(alu!(|a: $T, b: $T| -> bool { a > b })),
            "ge" | "hs" => Some(alu!(|a: $T, b: $T| -> bool { a >= b })),
            _ => None,
        }
    };
}

/// Comparisons of floats that also hold when an operand is NaN (`ltu`), or that ask for NaN.
macro_rules! unordered {
    ($cmp:expr, $T:ty) => {
        match $cmp {
            "ne" => Some(alu!(|a: $T, b: $T| -> bool { a.partial_cmp(&b).is_some_and(|o| o.is_ne()) })),
            "equ" => Some(alu!(|a: $T, b: $T| -> bool { a.partial_cmp(&b).is_none_or(|o| o.is_eq()) })),
            "neu" => Some(alu!(|a: $T, b: $T| -> bool { a != b })),
            "ltu" => Some(alu!(|a: $T, b: $T| -> bool { !matches!(a.partial_cmp(&b), Some(o) if o.is_ge()) })),
            "leu" => Some(alu!(|a: $T, b: $T| -> bool { !matches!(a.partial_cmp(&b), Some(o) if o.is_gt()) })),
            "gtu" => Some(alu!(|a: $T, b: $T| -> bool { !matches!(a.partial_cmp(&b), Some(o) if o.is_le()) })),
            "geu" => Some(alu!(|a: $T, b: $T| -> bool { !matches!(a.partial_cmp(&b), Some(o) if o.is_lt()) })),
            "num" => Some(alu!(|a: $T, b: $T| -> bool { a.partial_cmp(&b).is_some() })),
            "nan" => Some(alu!(|a: $T, b: $T| -> bool { a.partial_cmp(&b).is_none() })),
            other => ordered!(other, $T),
        }
    };
}

/// f32 whose subnormals count as zero, for comparisons with `.ftz`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Flushed(f32);
impl crate::lanes::Lane for Flushed {
    type Store = u32;
    const FILE: File = File::R32;
    #[inline(always)]
    fn of(s: u32) -> Self {
        Flushed(super::float::flush(f32::from_bits(s)))
    }
    fn to(self) -> u32 {
        self.0.to_bits()
    }
    #[inline(always)]
    fn src<'a>(r: &'a crate::lanes::Regs<'_>, i: u32) -> &'a [u32; 32] {
        u32::src(r, i)
    }
    fn dst<'a>(r: &'a mut crate::lanes::Regs<'_>, i: u32) -> &'a mut [u32; 32] {
        u32::dst(r, i)
    }
}

/// f16 whose subnormals count as zero.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct FlushedHalf(f16);
impl crate::lanes::Lane for FlushedHalf {
    type Store = u32;
    const FILE: File = File::R32;
    #[inline(always)]
    fn of(s: u32) -> Self {
        FlushedHalf(f16::from_bits(if s & 0x7c00 == 0 { s as u16 & 0x8000 } else { s as u16 }))
    }
    fn to(self) -> u32 {
        self.0.to_bits() as u32
    }
    #[inline(always)]
    fn src<'a>(r: &'a crate::lanes::Regs<'_>, i: u32) -> &'a [u32; 32] {
        u32::src(r, i)
    }
    fn dst<'a>(r: &'a mut crate::lanes::Regs<'_>, i: u32) -> &'a mut [u32; 32] {
        u32::dst(r, i)
    }
}

/// The comparison `cmp` on operands of type `ty`, into a predicate.
pub(crate) fn compare(cmp: &str, ty: &str, flags: u32) -> Option<Spec> {
    match ty {
        "u16" | "b16" => ordered!(cmp, u16),
        "s16" => ordered!(cmp, i16),
        "u32" | "b32" => ordered!(cmp, u32),
        "s32" => ordered!(cmp, i32),
        "u64" | "b64" => ordered!(cmp, u64),
        "s64" => ordered!(cmp, i64),
        "f32" if flags & FTZ != 0 => unordered!(cmp, Flushed),
        "f32" => unordered!(cmp, f32),
        "f64" => unordered!(cmp, f64),
        "f16" if flags & FTZ != 0 => unordered!(cmp, FlushedHalf),
        "f16" => unordered!(cmp, f16),
        "bf16" => unordered!(cmp, bf16),
        _ => None,
    }
}

fn lop3(a: u64, b: u64, c: u64, lut: u32) -> u64 {
    let mut out = 0;
    for i in 0..8 {
        if lut >> i & 1 != 0 {
            out |= (if i & 4 != 0 { a } else { !a })
                & (if i & 2 != 0 { b } else { !b })
                & (if i & 1 != 0 { c } else { !c });
        }
    }
    out
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    let ty = op.ty();
    match op.base {
        "and" => bits!(ty, T, alu!(|a: T, b: T| -> T { a & b })),
        "or" => bits!(ty, T, alu!(|a: T, b: T| -> T { a | b })),
        "xor" => bits!(ty, T, alu!(|a: T, b: T| -> T { a ^ b })),
        "not" => bits!(ty, T, alu!(|a: T| -> T { !a })),
        "cnot" => bits!(ty, T, alu!(|a: T| -> T { (a == 0) as T })),
        "mov" => bits!(ty, T, alu!(|a: T| -> T { a })),
        "selp" => match ty {
            "b16" | "u16" | "s16" | "f16" | "bf16" | "b32" | "u32" | "s32" | "f32" => {
                Some(spec(select::<u32>, &[File::R32, File::R32, File::R32, File::Pred]))
            }
            "b64" | "u64" | "s64" | "f64" => {
                Some(spec(select::<u64>, &[File::R64, File::R64, File::R64, File::Pred]))
            }
            _ => None,
        },
        "slct" => {
            let [.., d, s] = op.mods[..] else { return None };
            match s {
                "s32" => bits!(d, T, alu!(|a: T, b: T, c: i32| -> T { if c >= 0 { a } else { b } })),
                "f32" if op.has("ftz") => {
                    bits!(d, T, alu!(|a: T, b: T, c: Flushed| -> T { if c.0 >= 0.0 { a } else { b } }))
                }
                "f32" => bits!(d, T, alu!(|a: T, b: T, c: f32| -> T { if c >= 0.0 { a } else { b } })),
                _ => None,
            }
        }
        // The look-up table arrives as a constant in operand 4.
        "lop3" => Some(alu!(|a: u32, b: u32, c: u32, t: u32| -> u32 {
            lop3(a as u64, b as u64, c as u64, t) as u32
        })),
        _ => None,
    }
}
