//! f16, bf16 and their pairs. Sums and products of 16-bit floats are computed in f64 and rounded once more, which is exact
//! for them; `fma` rounds to odd in between.

use super::float::{extreme32, fma_odd};
use super::{FTZ, Mode, Opcode, SAT, soft};
use crate::lanes::{Lane, Spec, Two, alu};
use half::{bf16, f16};

/// Flags beyond the common ones.
const RELU: u32 = 16;
const NAN: u32 = 32;
const XORSIGN: u32 = 64;

/// What the two formats share.
pub(crate) trait Half: Lane {
    const FORMAT: soft::Format;
    fn wide(self) -> f64;
    fn narrow(v: f64) -> Self;
    fn bits(self) -> u16;
    fn raw(bits: u16) -> Self;
    /// Bits of the exponent.
    const EXPONENT: u16;
}

/// Rounds to nearest. The machine's conversion from f32 is fast and, for what f32 holds exactly, right; going to f32 first
/// would round all else twice.
#[inline(always)]
fn narrow<H: Half>(v: f64, fast: impl Fn(f32) -> H) -> H {
    let single = v as f32;
    if single as f64 == v { fast(single) } else { H::raw(soft::narrow(v, Mode::RN, H::FORMAT) as u16) }
}

impl Half for f16 {
    const FORMAT: soft::Format = soft::F16;
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(v: f64) -> Self {
        narrow(v, f16::from_f32)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn raw(bits: u16) -> Self {
        f16::from_bits(bits)
    }
    const EXPONENT: u16 = 0x7c00;
}

impl Half for bf16 {
    const FORMAT: soft::Format = soft::BF16;
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(v: f64) -> Self {
        narrow(v, bf16::from_f32)
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn raw(bits: u16) -> Self {
        bf16::from_bits(bits)
    }
    const EXPONENT: u16 = 0x7f80;
}

fn flush<H: Half>(h: H, fl: u32) -> H {
    if fl & FTZ != 0 && h.bits() & H::EXPONENT == 0 { H::raw(h.bits() & 0x8000) } else { h }
}

fn input<H: Half>(h: H, fl: u32) -> f64 {
    flush(h, fl).wide()
}

fn output<H: Half>(v: f64, fl: u32) -> H {
    let v = if fl & SAT != 0 {
        if v > 0.0 { v.min(1.0) } else { 0.0 }
    } else if fl & RELU != 0 && v <= 0.0 {
        0.0
    } else {
        v
    };
    if v.is_nan() { H::raw(0x7fff) } else { flush(H::narrow(v), fl) }
}

fn add<H: Half>(a: H, b: H, fl: u32) -> H {
    output(input(a, fl) + input(b, fl), fl)
}

fn sub<H: Half>(a: H, b: H, fl: u32) -> H {
    output(input(a, fl) - input(b, fl), fl)
}

fn mul<H: Half>(a: H, b: H, fl: u32) -> H {
    output(input(a, fl) * input(b, fl), fl)
}

fn fma<H: Half>(a: H, b: H, c: H, fl: u32) -> H {
    output(fma_odd(input(a, fl), input(b, fl), input(c, fl)), fl)
}

fn neg<H: Half>(a: H, fl: u32) -> H {
    H::raw(flush(a, fl).bits() ^ 0x8000)
}

fn abs<H: Half>(a: H, fl: u32) -> H {
    H::raw(flush(a, fl).bits() & 0x7fff)
}

/// `add.rn` of an atomic.
pub(crate) fn half_add<H: Half>(a: H, b: H) -> H {
    add(a, b, 0)
}

/// `min` or `max` of an atomic.
pub(crate) fn half_extreme<H: Half>(a: H, b: H, max: bool) -> H {
    extreme(a, b, 0, max)
}

fn extreme<H: Half>(a: H, b: H, fl: u32, max: bool) -> H {
    let (x, y) = (flush(a, fl), flush(b, fl));
    let sign = if fl & XORSIGN != 0 { (x.bits() ^ y.bits()) & 0x8000 } else { 0 };
    let (x, y) = if fl & XORSIGN != 0 { (abs(x, 0), abs(y, 0)) } else { (x, y) };
    let r = extreme32(x.wide() as f32, y.wide() as f32, max, fl & NAN != 0);
    if r.is_nan() { H::raw(0x7fff) } else { H::raw(H::narrow(r as f64).bits() | sign) }
}

fn min<H: Half>(a: H, b: H, fl: u32) -> H {
    extreme(a, b, fl, false)
}

fn max<H: Half>(a: H, b: H, fl: u32) -> H {
    extreme(a, b, fl, true)
}

fn ex2<H: Half>(a: H, fl: u32) -> H {
    output(input(a, fl).exp2(), fl)
}

fn tanh<H: Half>(a: H, fl: u32) -> H {
    output(input(a, fl).tanh(), fl)
}

/// One function for a scalar type and the same, twice, for its pair.
macro_rules! both {
    (1, $f:ident, $ty:expr) => {
        match $ty {
            "f16" => alu!(fl; |a: f16| -> f16 { $f(a, fl) }),
            "bf16" => alu!(fl; |a: bf16| -> bf16 { $f(a, fl) }),
            "f16x2" => {
                type D = Two<f16>;
                alu!(fl; |a: D| -> D { Two($f(a.0, fl), $f(a.1, fl)) })
            }
            _ => {
                type D = Two<bf16>;
                alu!(fl; |a: D| -> D { Two($f(a.0, fl), $f(a.1, fl)) })
            }
        }
    };
    (2, $f:ident, $ty:expr) => {
        match $ty {
            "f16" => alu!(fl; |a: f16, b: f16| -> f16 { $f(a, b, fl) }),
            "bf16" => alu!(fl; |a: bf16, b: bf16| -> bf16 { $f(a, b, fl) }),
            "f16x2" => {
                type D = Two<f16>;
                alu!(fl; |a: D, b: D| -> D { Two($f(a.0, b.0, fl), $f(a.1, b.1, fl)) })
            }
            _ => {
                type D = Two<bf16>;
                alu!(fl; |a: D, b: D| -> D { Two($f(a.0, b.0, fl), $f(a.1, b.1, fl)) })
            }
        }
    };
    (3, $f:ident, $ty:expr) => {
        match $ty {
            "f16" => alu!(fl; |a: f16, b: f16, c: f16| -> f16 { $f(a, b, c, fl) }),
            "bf16" => alu!(fl; |a: bf16, b: bf16, c: bf16| -> bf16 { $f(a, b, c, fl) }),
            "f16x2" => {
                type D = Two<f16>;
                alu!(fl; |a: D, b: D, c: D| -> D { Two($f(a.0, b.0, c.0, fl), $f(a.1, b.1, c.1, fl)) })
            }
            _ => {
                type D = Two<bf16>;
                alu!(fl; |a: D, b: D, c: D| -> D { Two($f(a.0, b.0, c.0, fl), $f(a.1, b.1, c.1, fl)) })
            }
        }
    };
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    let ty = op.ty();
    let mut flags = op.flags();
    flags |= if op.has("relu") { RELU } else { 0 };
    flags |= if op.has("NaN") { NAN } else { 0 };
    flags |= if op.has("xorsign") { XORSIGN } else { 0 };
    let s = match op.base {
        "add" => both!(2, add, ty),
        "sub" => both!(2, sub, ty),
        "mul" => both!(2, mul, ty),
        "fma" => both!(3, fma, ty),
        "min" => both!(2, min, ty),
        "max" => both!(2, max, ty),
        "neg" => both!(1, neg, ty),
        "abs" => both!(1, abs, ty),
        "ex2" => both!(1, ex2, ty),
        "tanh" => both!(1, tanh, ty),
        _ => return None,
    };
    Some(s.flags(flags))
}
