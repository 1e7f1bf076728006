//! `cvt`: between all integer and float formats. Floats to integers saturate and NaN gives 0; integers to integers wrap
//! unless `.sat`; everything inexact goes through an f64 rounded to odd, then once to the target format.

use super::float::{canonical, canonical64, flush, odd, round32};
use super::half::Half;
use super::{FTZ, Mode, Opcode, SAT, soft};
use crate::lanes::{Lane, Spec, Two, alu};
use half::{bf16, f16};

/// Flag: the rounding mode rounds to an integral value (`.rni`, ...).
const INTEGRAL: u32 = 16;
const RELU: u32 = 32;
/// Flag: `.satfinite`, results beyond the largest finite number become it.
const FINITE: u32 = 64;
/// Flag: NaN becomes the integer with only its top bit set; without it, 0.
const NAN_TOP: u32 = 128;

fn integral(v: f64, mode: u32) -> f64 {
    match mode {
        Mode::RN => v.round_ties_even(),
        Mode::RZ => v.trunc(),
        Mode::RM => v.floor(),
        _ => v.ceil(),
    }
}

/// An integer as f64, rounded to odd.
fn int_odd(v: i128) -> f64 {
    let f = v as f64;
    // f64 holds any 64-bit integer's magnitude, so the error is an exact small integer.
    odd(f, (v - f as i128) as f64)
}

/// A number of any kind, widened without loss to f64 (floats) or i128 (integers).
trait Source: Lane {
    fn float(self, fl: u32) -> f64;
}
trait Target: Lane {
    fn from_float(v: f64, fl: u32) -> Self;
}

macro_rules! int_number {
    ($($t:ty),*) => {$(
        impl Source for $t {
            fn float(self, _: u32) -> f64 {
                int_odd(self as i128)
            }
        }
        impl Target for $t {
            fn from_float(v: f64, fl: u32) -> Self {
                if v.is_nan() && fl & NAN_TOP != 0 {
                    return 1 << (<$t>::BITS - 1);
                }
                integral(v, fl & 3) as $t
            }
        }
    )*};
}
int_number!(u8, i8, u16, i16, u32, i32, u64, i64);

fn shape(v: f64, fl: u32) -> f64 {
    let v = if fl & INTEGRAL != 0 { integral(v, fl & 3) } else { v };
    if fl & SAT != 0 {
        if v > 0.0 { v.min(1.0) } else { 0.0 }
    } else if fl & RELU != 0 && v <= 0.0 {
        0.0
    } else {
        v
    }
}

impl Source for f32 {
    fn float(self, fl: u32) -> f64 {
        (if fl & FTZ != 0 { flush(self) } else { self }) as f64
    }
}
impl Target for f32 {
    fn from_float(v: f64, fl: u32) -> Self {
        let r = canonical(round32(shape(v, fl), fl & 3));
        if fl & FTZ != 0 { flush(r) } else { r }
    }
}
impl Source for f64 {
    fn float(self, _: u32) -> f64 {
        self
    }
}
impl Target for f64 {
    fn from_float(v: f64, fl: u32) -> Self {
        canonical64(shape(v, fl))
    }
}

/// Rounds to a 16-bit float in any mode.
fn narrow<H: Half>(v: f64, fl: u32) -> H {
    let v = shape(v, fl);
    let max = H::raw(H::EXPONENT - 1).wide();
    if fl & FINITE != 0 && v.abs() > max {
        return H::raw((H::EXPONENT - 1) | if v < 0.0 { 0x8000 } else { 0 });
    }
    let r: H = match fl & 3 {
        Mode::RN if !v.is_nan() => H::narrow(v),
        mode => H::raw(soft::narrow(v, mode, H::FORMAT) as u16),
    };
    // Rounding up may overflow what was just below.
    if fl & FINITE != 0 && r.bits() & 0x7fff == H::EXPONENT { H::raw(r.bits() - 1) } else { r }
}

macro_rules! half_number {
    ($($t:ty),*) => {$(
        impl Source for $t {
            fn float(self, _: u32) -> f64 {
                self.wide()
            }
        }
        impl Target for $t {
            fn from_float(v: f64, fl: u32) -> Self {
                narrow(v, fl)
            }
        }
    )*};
}
half_number!(f16, bf16);

macro_rules! kinds {
    ([$($name:literal => $t:ty),*], $ty:expr, $T:ident, $e:expr) => {
        match $ty {
            $($name => {
                type $T = $t;
                $e
            })*
            _ => None,
        }
    };
}
macro_rules! ints {
    ($ty:expr, $T:ident, $e:expr) => {
        kinds!(["u8" => u8, "s8" => i8, "u16" => u16, "s16" => i16, "u32" => u32, "s32" => i32, "u64" => u64, "s64" => i64],
            $ty, $T, $e)
    };
}
macro_rules! floats {
    ($ty:expr, $T:ident, $e:expr) => {
        kinds!(["f16" => f16, "bf16" => bf16, "f32" => f32, "f64" => f64], $ty, $T, $e)
    };
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    if op.mods.first() == Some(&"pack") {
        return pack(op);
    }
    let [.., to, from] = op.mods[..] else { return None };
    let int = |t: &str| t.starts_with(['u', 's']);
    let mut flags = op.flags();
    for (i, name) in ["rni", "rzi", "rmi", "rpi"].iter().enumerate() {
        if op.has(name) {
            flags = flags & !3 | i as u32 | INTEGRAL;
        }
    }
    flags |= if op.has("relu") { RELU } else { 0 };
    if op.has("satfinite") {
        if !matches!(to, "f16" | "bf16" | "f16x2" | "bf16x2" | "tf32") {
            return None;
        }
        flags |= FINITE;
    }
    // PTX: NaN gives 0 unless the source is f64 or the destination has 64 bits.
    if int(to) && (from == "f64" || to.ends_with("64")) {
        flags |= NAN_TOP;
    }
    if to == "f32" && flags == 0 {
        // The common, vectorisable ones.
        match from {
            "s32" => return Some(alu!(|a: i32| -> f32 { a as f32 })),
            "u32" => return Some(alu!(|a: u32| -> f32 { a as f32 })),
            "f64" => return Some(alu!(|a: f64| -> f32 { canonical(a as f32) })),
            _ => {}
        }
    }
    if to == "tf32" {
        let mode = if op.has("rna") { NAN_TOP } else { 0 };
        // 10 bits of mantissa stay; `.rna` rounds halves away from zero, `.rn` to even, `.rz` truncates.
        return Some(
            alu!(fl; |a: f32| -> u32 {
                let bits = a.to_bits();
                let add = if fl & NAN_TOP != 0 { 0x1000 } else if fl & 3 == Mode::RZ { 0 } else { 0xfff + (bits >> 13 & 1) };
                let r = if a.is_nan() { 0x7fff_ffff } else if a.is_infinite() { bits } else { bits.wrapping_add(add) & !0x1fff };
                let r = if fl & FINITE != 0 && r & 0x7fff_ffff == 0x7f80_0000 { r - 0x2000 } else { r };
                if fl & RELU != 0 && r >> 31 != 0 { 0 } else { r }
            })
            .flags(flags & (3 | RELU | FINITE) | mode),
        );
    }
    if matches!(to, "f16x2" | "bf16x2") && from == "f32" {
        // The first operand becomes the high half.
        return Some(
            if to == "f16x2" {
                type D = Two<f16>;
                alu!(fl; |a: f32, b: f32| -> D { Two(narrow(b as f64, fl), narrow(a as f64, fl)) })
            } else {
                type D = Two<bf16>;
                alu!(fl; |a: f32, b: f32| -> D { Two(narrow(b as f64, fl), narrow(a as f64, fl)) })
            }
            .flags(flags),
        );
    }
    let s = match (int(to), int(from)) {
        (true, true) if flags & SAT != 0 => ints!(
            to,
            R,
            ints!(
                from,
                A,
                Some(alu!(|a: A| -> R { (a as i128).clamp(R::MIN as i128, R::MAX as i128) as R }))
            )
        ),
        (true, true) => ints!(to, R, ints!(from, A, Some(alu!(|a: A| -> R { a as R })))),
        (true, false) => {
            ints!(to, R, floats!(from, A, Some(alu!(fl; |a: A| -> R { R::from_float(a.float(fl), fl) }))))
        }
        (false, true) if to == "f64" => {
            ints!(from, A, Some(alu!(fl; |a: A| -> f64 { int_to_f64(a as i128, fl) })))
        }
        (false, true) => {
            floats!(to, R, ints!(from, A, Some(alu!(fl; |a: A| -> R { R::from_float(a.float(fl), fl) }))))
        }
        (false, false) => {
            floats!(to, R, floats!(from, A, Some(alu!(fl; |a: A| -> R { R::from_float(a.float(fl), fl) }))))
        }
    };
    s.map(|s| s.flags(flags))
}

/// Integer to f64 in any mode; round-to-odd would be one rounding too many for this target.
fn int_to_f64(v: i128, fl: u32) -> f64 {
    let r = v as f64;
    let (up, down) = ((r as i128) < v, r as i128 > v);
    match fl & 3 {
        Mode::RZ if v > 0 && down => r.next_down(),
        Mode::RZ if v < 0 && up => r.next_up(),
        Mode::RM if down => r.next_down(),
        Mode::RP if up => r.next_up(),
        _ => r,
    }
}

/// `cvt.pack.sat.{u16,s16}.s32 d, a, b`, and `cvt.pack.sat.{u8,s8,u4,s4,u2,s2}.s32.b32 d, a, b, c`, which puts both in
/// front of the low bits of `c`.
fn pack(op: &Opcode<'_>) -> Option<Spec> {
    let (to, shifts) = match op.mods[..] {
        ["pack", "sat", to @ ("u16" | "s16"), "s32"] => (to, false),
        ["pack", "sat", to @ ("u8" | "s8" | "u4" | "s4" | "u2" | "s2"), "s32", "b32"] => (to, true),
        _ => return None,
    };
    fn clamp(v: i32, fl: u32) -> u32 {
        let bits = fl & 31;
        let (lo, hi) =
            if fl & 32 != 0 { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        v.clamp(lo, hi) as u32 & ((1 << bits) - 1)
    }
    let s = if shifts {
        alu!(fl; |a: i32, b: i32, c: u32| -> u32 {
            let bits = fl & 31;
            c << (2 * bits) | clamp(a, fl) << bits | clamp(b, fl)
        })
    } else {
        alu!(fl; |a: i32, b: i32| -> u32 { clamp(a, fl) << 16 | clamp(b, fl) })
    };
    Some(s.flags(to[1..].parse::<u32>().ok()? | (to.starts_with('s') as u32) << 5))
}
