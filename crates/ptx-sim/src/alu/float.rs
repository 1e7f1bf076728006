//! f32 and f64 arithmetic, exact in every rounding mode.
//!
//! Directed modes of f32 round an f64 that was itself rounded to odd (the last bit set when inexact), which no second
//! rounding can spoil [Boldo and Melquiond 2008]; those of f64 are computed in integers ([`soft`]). NaN results are PTX's
//! canonical NaN.

use super::{FTZ, Mode, Opcode, SAT, approx, soft};
use crate::lanes::{Spec, alu};
use crate::stats::Class;

const NAN32: f32 = f32::from_bits(0x7fff_ffff);
const NAN64: f64 = f64::from_bits(0x7fff_ffff_ffff_ffff);

/// A zero of the same sign for a subnormal number.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    if bits & 0x7f80_0000 == 0 { f32::from_bits(bits & 0x8000_0000) } else { x }
}

#[inline(always)]
pub(super) fn input(x: f32, flags: u32) -> f32 {
    if flags & FTZ != 0 { flush(x) } else { x }
}

/// Applies `.ftz` and `.sat` to a result, and canonicalises NaN.
#[inline(always)]
pub(super) fn output(x: f32, flags: u32) -> f32 {
    let x = if flags & FTZ != 0 { flush(x) } else { x };
    if flags & SAT != 0 {
        // NaN saturates to +0.
        if x > 0.0 { x.min(1.0) } else { 0.0 }
    } else {
        canonical(x)
    }
}

/// `x`, or the one NaN that PTX makes. In integers: to LLVM all NaNs are as good as one another, and it drops a choice
/// between floats that only changes one into another (`x < 0 ? NaN : sqrt(x)` becomes `sqrt(x)`).
#[inline(always)]
pub(crate) fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    let nan = u32::from(bits & 0x7fff_ffff > 0x7f80_0000).wrapping_neg();
    f32::from_bits(bits & !nan | NAN32.to_bits() & nan)
}

#[inline(always)]
pub(crate) fn canonical64(x: f64) -> f64 {
    let bits = x.to_bits();
    let nan = u64::from(bits & (u64::MAX >> 1) > 0x7ff0_0000_0000_0000).wrapping_neg();
    f64::from_bits(bits & !nan | NAN64.to_bits() & nan)
}

/// `value` moved to the neighbour with an odd last bit when the exact result is `value + error`, `error != 0`.
#[inline]
pub(super) fn odd(value: f64, error: f64) -> f64 {
    let bits = value.to_bits();
    if error == 0.0 || error.is_nan() || !value.is_finite() || bits & 1 == 1 {
        value
    } else if value == 0.0 {
        f64::from_bits(1).copysign(error)
    } else if (error > 0.0) == (value > 0.0) {
        f64::from_bits(bits + 1)
    } else {
        f64::from_bits(bits - 1)
    }
}

/// Error of `s = a + b` [Knuth's TwoSum].
#[inline]
fn sum_error(a: f64, b: f64, s: f64) -> f64 {
    let t = s - a;
    (a - (s - t)) + (b - t)
}

/// `a + b`, rounded to odd.
#[inline]
pub(super) fn add_odd(a: f64, b: f64) -> f64 {
    let s = a + b;
    odd(s, sum_error(a, b, s))
}

/// `a * b + c` for operands of at most 26 significant bits, rounded to odd.
#[inline]
pub(super) fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    add_odd(a * b, c)
}

/// Rounds an f64 (exact, or rounded to odd) to f32.
#[inline]
pub(super) fn round32(v: f64, mode: u32) -> f32 {
    let r = v as f32;
    let (up, down) = ((r as f64) < v, r as f64 > v);
    match mode {
        Mode::RZ if v > 0.0 && down => r.next_down(),
        Mode::RZ if v < 0.0 && up => r.next_up(),
        Mode::RM if down => r.next_down(),
        Mode::RP if up => r.next_up(),
        _ => r,
    }
}

/// An exact zero sum is -0 when rounding down, unless both terms are +0.
#[inline]
fn zero_sign(sum: f64, a: f64, b: f64, mode: u32) -> f64 {
    if sum == 0.0 && mode == Mode::RM && (a != 0.0 || a.is_sign_negative() || b.is_sign_negative()) {
        -0.0
    } else {
        sum
    }
}

#[inline]
pub(super) fn add32(a: f32, b: f32, mode: u32) -> f32 {
    if mode == Mode::RN {
        return a + b;
    }
    let (a, b) = (a as f64, b as f64);
    round32(zero_sign(add_odd(a, b), a, b, mode), mode)
}

#[inline]
pub(super) fn mul32(a: f32, b: f32, mode: u32) -> f32 {
    if mode == Mode::RN { a * b } else { round32(a as f64 * b as f64, mode) }
}

#[inline]
pub(super) fn fma32(a: f32, b: f32, c: f32, mode: u32) -> f32 {
    if mode == Mode::RN {
        return a.mul_add(b, c);
    }
    let p = a as f64 * b as f64;
    round32(zero_sign(add_odd(p, c as f64), p, c as f64, mode), mode)
}

#[inline]
fn div32(a: f32, b: f32, mode: u32) -> f32 {
    if mode == Mode::RN {
        return a / b;
    }
    let (a, b) = (a as f64, b as f64);
    let q = a / b;
    let residual = (-q).mul_add(b, a);
    round32(odd(q, residual * b.signum()), mode)
}

#[inline]
fn sqrt32(a: f32, mode: u32) -> f32 {
    if mode == Mode::RN {
        return a.sqrt();
    }
    let q = (a as f64).sqrt();
    round32(odd(q, (-q).mul_add(q, a as f64)), mode)
}

macro_rules! rounded {
    ($name:ident($($x:ident),+), $host:expr) => {
        #[inline]
        pub(super) fn $name($($x: f64),+, mode: u32) -> f64 {
            if mode == Mode::RN { $host } else { soft::$name($($x),+, mode) }
        }
    };
}
mod exact {
    use super::{Mode, soft};
    rounded!(add(a, b), a + b);
    rounded!(mul(a, b), a * b);
    rounded!(fma(a, b, c), a.mul_add(b, c));
    rounded!(div(a, b), a / b);
    rounded!(sqrt(a), a.sqrt());
}

/// `min` and `max`: a NaN operand loses, -0 is below +0.
macro_rules! extreme {
    ($name:ident, $t:ty, $nan:expr) => {
        #[inline(always)]
        pub(crate) fn $name(a: $t, b: $t, max: bool, nan: bool) -> $t {
            if a.is_nan() || b.is_nan() {
                return if nan || (a.is_nan() && b.is_nan()) {
                    $nan
                } else if a.is_nan() {
                    b
                } else {
                    a
                };
            }
            let a_first = if a == b { a.is_sign_negative() } else { a < b };
            if a_first != max { a } else { b }
        }
    };
}
extreme!(extreme32, f32, NAN32);
extreme!(extreme64, f64, NAN64);

/// Flags of `min`/`max` beyond the common ones.
const MAX: u32 = 16;
const NAN: u32 = 32;
const XORSIGN: u32 = 64;

#[inline(always)]
fn minmax(a: f32, b: f32, fl: u32) -> f32 {
    let (a, b) = (input(a, fl), input(b, fl));
    if fl & XORSIGN != 0 {
        let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
        let r = extreme32(a.abs(), b.abs(), fl & MAX != 0, fl & NAN != 0);
        return if r.is_nan() { r } else { f32::from_bits(r.to_bits() | sign) };
    }
    extreme32(a, b, fl & MAX != 0, fl & NAN != 0)
}

/// The class of a floating-point opcode.
pub(super) fn class(op: &Opcode<'_>, plain: Class) -> Class {
    match op.base {
        "div" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => Class::Special,
        "mov" => Class::Move,
        _ => plain,
    }
}

/// `fma.rn.f32` with the machine's own instruction where it has one: the library function is ten times slower.
fn fma_rn() -> Spec {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        use crate::lanes::{File, Ops, Regs, map3, spec};
        #[target_feature(enable = "fma,avx2")]
        fn fast(r: &mut Regs<'_>, o: &Ops, m: u32) {
            map3::<f32, f32, f32, f32, _>(r, o, m, |a, b, c| canonical(a.mul_add(b, c)))
        }
        fn run(r: &mut Regs<'_>, o: &Ops, m: u32) {
            // SAFETY: this function is handed out only after fma and avx2 were detected on this machine.
            unsafe { fast(r, o, m) }
        }
        return spec(run, &[File::R32; 4]);
    }
    alu!(|a: f32, b: f32, c: f32| -> f32 { canonical(a.mul_add(b, c)) })
}

pub(super) fn f32(op: &Opcode<'_>) -> Option<Spec> {
    let fl = op.flags();
    let approx = op.has("approx");
    let s = match op.base {
        "add" if fl == 0 => alu!(|a: f32, b: f32| -> f32 { canonical(a + b) }),
        "sub" if fl == 0 => alu!(|a: f32, b: f32| -> f32 { canonical(a - b) }),
        "mul" if fl == 0 => alu!(|a: f32, b: f32| -> f32 { canonical(a * b) }),
        "fma" | "mad" if fl == 0 => fma_rn(),
        "add" => alu!(fl; |a: f32, b: f32| -> f32 { output(add32(input(a, fl), input(b, fl), fl & 3), fl) }),
        "sub" => alu!(fl; |a: f32, b: f32| -> f32 { output(add32(input(a, fl), -input(b, fl), fl & 3), fl) }),
        "mul" => alu!(fl; |a: f32, b: f32| -> f32 { output(mul32(input(a, fl), input(b, fl), fl & 3), fl) }),
        "fma" | "mad" => alu!(fl; |a: f32, b: f32, c: f32| -> f32 {
            output(fma32(input(a, fl), input(b, fl), input(c, fl), fl & 3), fl)
        }),
        "div" if approx => {
            alu!(fl; |a: f32, b: f32| -> f32 { output(approx::div(input(a, fl), input(b, fl)), fl) })
        }
        "div" => alu!(fl; |a: f32, b: f32| -> f32 { output(div32(input(a, fl), input(b, fl), fl & 3), fl) }),
        "rcp" => alu!(fl; |a: f32| -> f32 { output(div32(1.0, input(a, fl), fl & 3), fl) }),
        "sqrt" => alu!(fl; |a: f32| -> f32 { output(sqrt32(input(a, fl), fl & 3), fl) }),
        "rsqrt" => alu!(fl; |a: f32| -> f32 { output(approx::rsqrt(input(a, fl)), fl) }),
        "ex2" if approx => alu!(fl; |a: f32| -> f32 { output(approx::ex2(input(a, fl)), fl) }),
        "lg2" if approx => alu!(fl; |a: f32| -> f32 { output(approx::lg2(input(a, fl)), fl) }),
        "sin" if approx => alu!(fl; |a: f32| -> f32 { output(approx::sin(input(a, fl)), fl) }),
        "cos" if approx => alu!(fl; |a: f32| -> f32 { output(approx::cos(input(a, fl)), fl) }),
        "tanh" if approx => alu!(|a: f32| -> f32 { canonical(approx::tanh(a)) }),
        "abs" => alu!(fl; |a: f32| -> f32 { input(a, fl).abs() }),
        "neg" => alu!(fl; |a: f32| -> f32 { -input(a, fl) }),
        "min" | "max" => {
            let mut extra = if op.base == "max" { MAX } else { 0 };
            extra |= if op.has("NaN") { NAN } else { 0 };
            extra |= if op.has("xorsign") { XORSIGN } else { 0 };
            return Some(alu!(fl; |a: f32, b: f32| -> f32 { minmax(a, b, fl) }).flags(fl | extra));
        }
        // `copysign d, a, b`: the sign of a on b.
        "copysign" => alu!(|a: f32, b: f32| -> f32 { b.copysign(a) }),
        "testp" => return testp32(op),
        _ => return None,
    };
    Some(s.flags(fl))
}

fn testp32(op: &Opcode<'_>) -> Option<Spec> {
    Some(match *op.mods.first()? {
        "finite" => alu!(|a: f32| -> bool { a.is_finite() }),
        "infinite" => alu!(|a: f32| -> bool { a.is_infinite() }),
        "number" => alu!(|a: f32| -> bool { !a.is_nan() }),
        "notanumber" => alu!(|a: f32| -> bool { a.is_nan() }),
        // Zeros count as normal.
        "normal" => alu!(|a: f32| -> bool { a.is_normal() || a == 0.0 }),
        "subnormal" => alu!(|a: f32| -> bool { a.is_subnormal() }),
        _ => return None,
    })
}

fn testp64(op: &Opcode<'_>) -> Option<Spec> {
    Some(match *op.mods.first()? {
        "finite" => alu!(|a: f64| -> bool { a.is_finite() }),
        "infinite" => alu!(|a: f64| -> bool { a.is_infinite() }),
        "number" => alu!(|a: f64| -> bool { !a.is_nan() }),
        "notanumber" => alu!(|a: f64| -> bool { a.is_nan() }),
        "normal" => alu!(|a: f64| -> bool { a.is_normal() || a == 0.0 }),
        "subnormal" => alu!(|a: f64| -> bool { a.is_subnormal() }),
        _ => return None,
    })
}

pub(super) fn f64(op: &Opcode<'_>) -> Option<Spec> {
    let fl = op.flags();
    let s = match op.base {
        "add" => alu!(fl; |a: f64, b: f64| -> f64 { canonical64(exact::add(a, b, fl & 3)) }),
        "sub" => alu!(fl; |a: f64, b: f64| -> f64 { canonical64(exact::add(a, -b, fl & 3)) }),
        "mul" => alu!(fl; |a: f64, b: f64| -> f64 { canonical64(exact::mul(a, b, fl & 3)) }),
        "fma" | "mad" => {
            alu!(fl; |a: f64, b: f64, c: f64| -> f64 { canonical64(exact::fma(a, b, c, fl & 3)) })
        }
        "div" => alu!(fl; |a: f64, b: f64| -> f64 { canonical64(exact::div(a, b, fl & 3)) }),
        "rcp" if op.has("approx") => alu!(|a: f64| -> f64 { canonical64(approx::gross(a, |x| 1.0 / x)) }),
        "rsqrt" if op.has("ftz") => {
            alu!(|a: f64| -> f64 { canonical64(approx::gross(a, |x| 1.0 / x.sqrt())) })
        }
        "rcp" => alu!(fl; |a: f64| -> f64 { canonical64(exact::div(1.0, a, fl & 3)) }),
        "sqrt" => alu!(fl; |a: f64| -> f64 { canonical64(exact::sqrt(a, fl & 3)) }),
        "rsqrt" => alu!(|a: f64| -> f64 { canonical64(1.0 / a.sqrt()) }),
        "abs" => alu!(|a: f64| -> f64 { a.abs() }),
        "neg" => alu!(|a: f64| -> f64 { -a }),
        "min" => alu!(|a: f64, b: f64| -> f64 { extreme64(a, b, false, false) }),
        "max" => alu!(|a: f64, b: f64| -> f64 { extreme64(a, b, true, false) }),
        "copysign" => alu!(|a: f64, b: f64| -> f64 { b.copysign(a) }),
        "testp" => return testp64(op),
        _ => return None,
    };
    Some(s.flags(fl))
}
