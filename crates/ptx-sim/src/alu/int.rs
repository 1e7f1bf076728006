//! Integer arithmetic. Everything wraps unless the opcode says `.sat`; a division by zero gives all ones (its value is
//! unspecified in PTX), so that inactive lanes can compute on garbage.

use super::Opcode;
use crate::lanes::{CARRY, File, Lane, Ops, Regs, Spec, Two, alu, put, spec};

macro_rules! by_type {
    ($ty:expr, $T:ident: [$($name:literal => $t:ty),*], $e:expr) => {
        match $ty {
            $($name => {
                type $T = $t;
                Some($e)
            })*
            _ => None,
        }
    };
}
macro_rules! ints {
    ($ty:expr, $T:ident, $e:expr) => {
        by_type!($ty, $T: ["u16" => u16, "s16" => i16, "u32" => u32, "s32" => i32, "u64" => u64, "s64" => i64], $e)
    };
}
macro_rules! bits {
    ($ty:expr, $T:ident, $e:expr) => {
        by_type!($ty, $T: ["b16" => u16, "b32" => u32, "b64" => u64], $e)
    };
}

/// Both halves of the double-width product.
trait Product: Sized {
    type Wide;
    fn wide(self, b: Self) -> Self::Wide;
    fn high(self, b: Self) -> Self;
}
macro_rules! product {
    ($($t:ty, $w:ty);*) => {$(
        impl Product for $t {
            type Wide = $w;
            #[inline(always)]
            fn wide(self, b: $t) -> $w {
                (self as $w).wrapping_mul(b as $w)
            }
            #[inline(always)]
            fn high(self, b: $t) -> $t {
                (self.wide(b) >> <$t>::BITS) as $t
            }
        }
    )*};
}
product!(u16, u32; i16, i32; u32, u64; i32, i64; u64, u128; i64, i128);

macro_rules! wides {
    ($ty:expr, $T:ident, $e:expr) => {
        by_type!($ty, $T: ["u16" => u16, "s16" => i16, "u32" => u32, "s32" => i32], $e)
    };
}

/// Adds with carry in and out. A subtraction adds the complement, and its flag is the carry of that sum (set when nothing
/// was borrowed), as on the hardware: `addc` after `sub.cc` reads it so, and nvcc's 128-bit division relies on it.
#[inline(always)]
fn carry<T: Lane<Store: Into<u64>> + Copy>(
    r: &mut Regs<'_>,
    o: &Ops,
    mask: u32,
    store: impl Fn(u64) -> T::Store,
    bits: u32,
) {
    // Flags: 1 = subtract, 2 = use the flag, 4 = set the flag.
    let fl = o[4];
    let (a, b) = (T::src(r, o[1]), T::src(r, o[2]));
    let cin = match fl & 3 {
        0 => 0,
        1 => !0,
        _ => r.preds[CARRY as usize],
    };
    let mut out = [T::Store::default(); 32];
    let mut cout = 0u32;
    for l in 0..32 {
        let (x, y): (u64, u64) = (a[l].into(), b[l].into());
        let y = if fl & 1 != 0 { !y & (!0 >> (64 - bits)) } else { y };
        let sum = x as i128 + y as i128 + (cin >> l & 1) as i128;
        out[l] = store(sum as u64);
        cout |= ((sum >> bits & 1) as u32) << l;
    }
    put::<T>(r, o[0], &out, mask);
    if fl & 4 != 0 {
        r.set_pred(CARRY, cout, mask);
    }
}

fn carry32(r: &mut Regs<'_>, o: &Ops, mask: u32) {
    carry::<u32>(r, o, mask, |v| v as u32, 32);
}

fn carry64(r: &mut Regs<'_>, o: &Ops, mask: u32) {
    carry::<u64>(r, o, mask, |v| v, 64);
}

/// `mad.lo.cc`, `madc.hi` and so on: product part in 64 bits, then the carry chain. Flags as in [`carry`], 8 = high half,
/// 16 = signed.
#[inline(always)]
fn mad_carry<T: Lane<Store: Into<u64>>>(
    r: &mut Regs<'_>,
    o: &Ops,
    mask: u32,
    store: impl Fn(u64) -> T::Store,
    bits: u32,
) {
    let fl = o[4];
    let (a, b, c) = (T::src(r, o[1]), T::src(r, o[2]), T::src(r, o[3]));
    let cin = if fl & 2 != 0 { r.preds[CARRY as usize] } else { 0 };
    let mut out = [T::Store::default(); 32];
    let mut cout = 0u32;
    let widen = |v: u64| {
        if fl & 16 == 0 {
            v as i128
        } else if bits == 32 {
            v as i32 as i128
        } else {
            v as i64 as i128
        }
    };
    let low = if bits == 32 { u32::MAX as i128 } else { u64::MAX as i128 };
    for l in 0..32 {
        let p = widen(a[l].into()).wrapping_mul(widen(b[l].into()));
        let part = if fl & 8 != 0 { p >> bits & low } else { p & low };
        let sum = part + Into::<u64>::into(c[l]) as i128 + (cin >> l & 1) as i128;
        out[l] = store(sum as u64);
        cout |= ((sum >> bits & 1) as u32) << l;
    }
    put::<T>(r, o[0], &out, mask);
    if fl & 4 != 0 {
        r.set_pred(CARRY, cout, mask);
    }
}

fn mad_carry32(r: &mut Regs<'_>, o: &Ops, mask: u32) {
    mad_carry::<u32>(r, o, mask, |v| v as u32, 32);
}

fn mad_carry64(r: &mut Regs<'_>, o: &Ops, mask: u32) {
    mad_carry::<u64>(r, o, mask, |v| v, 64);
}

fn bfe(value: u64, sign: bool, bits: u32, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let msb = bits - 1;
    let top = if sign && len > 0 { value >> (pos + len - 1).min(msb) & 1 } else { 0 };
    let fill = if top != 0 { !0u64 } else { 0 };
    if len == 0 {
        return 0;
    }
    let body = if pos > msb { fill } else { value >> pos };
    // Bits of the result that come from the field; the rest repeats the sign.
    let valid = len.min(if pos > msb { 0 } else { bits - pos });
    let keep = if valid >= 64 { !0 } else { (1u64 << valid) - 1 };
    (body & keep) | (fill & !keep)
}

fn bfi(insert: u64, base: u64, bits: u32, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos >= bits || len == 0 {
        return base;
    }
    let len = len.min(bits - pos);
    let field = if len >= 64 { !0 } else { ((1u64 << len) - 1) << pos };
    (base & !field) | (insert << pos & field)
}

fn bfind(v: u64, bits: u32, shift: bool) -> u32 {
    if v == 0 {
        return u32::MAX;
    }
    let top = 63 - v.leading_zeros();
    if shift { bits - 1 - top } else { top }
}

/// `prmt`: picks four bytes out of eight.
pub(crate) fn prmt(a: u32, b: u32, sel: u32) -> u32 {
    let all = (b as u64) << 32 | a as u64;
    let mut out = 0;
    for i in 0..4 {
        let s = sel >> (4 * i) & 15;
        let byte = (all >> (8 * (s & 7))) as u32 & 0xff;
        let byte = if s & 8 != 0 { if byte & 0x80 != 0 { 0xff } else { 0 } } else { byte };
        out |= byte << (8 * i);
    }
    out
}

/// The selector that a `prmt` mode with selector `c` stands for.
fn prmt_mode(mode: u32, c: u32) -> u32 {
    let s = c & 3;
    let pick = |f: &dyn Fn(u32) -> u32| (0..4).fold(0, |acc, i| acc | f(i) << (4 * i));
    match mode {
        1 => pick(&|i| s + i),
        2 => pick(&|i| (s.wrapping_sub(i)) & 7),
        3 => pick(&|_| s),
        4 => pick(&|i| i.max(s)),
        5 => pick(&|i| i.min(s)),
        _ => {
            if s & 1 == 0 {
                0x1010
            } else {
                0x3232
            }
        }
    }
}

fn dot(a: u32, b: u32, c: u32, flags: u32) -> u32 {
    let byte = |v: u32, i: u32, signed: bool| {
        if signed { (v >> (8 * i)) as i8 as i32 } else { (v >> (8 * i)) as u8 as i32 }
    };
    (0..4)
        .fold(c, |acc, i| acc.wrapping_add((byte(a, i, flags & 1 != 0) * byte(b, i, flags & 2 != 0)) as u32))
}

fn dot2(a: u32, b: u32, c: u32, flags: u32) -> u32 {
    let half =
        |i: u32| if flags & 1 != 0 { (a >> (16 * i)) as i16 as i32 } else { (a >> (16 * i)) as u16 as i32 };
    let byte = |i: u32| {
        let v = b >> (8 * (i + if flags & 4 != 0 { 2 } else { 0 }));
        if flags & 2 != 0 { v as i8 as i32 } else { v as u8 as i32 }
    };
    (0..2).fold(c, |acc, i| acc.wrapping_add(half(i).wrapping_mul(byte(i)) as u32))
}

/// Position of the `n`-th set bit from `base`, forwards or backwards.
fn fns(mask: u32, base: u32, n: i32) -> u32 {
    if n == 0 {
        return if base < 32 && mask >> base & 1 != 0 { base } else { u32::MAX };
    }
    let (mut pos, mut left) = (base as i64, n.unsigned_abs());
    while (0..32).contains(&pos) {
        if mask >> pos & 1 != 0 {
            left -= 1;
            if left == 0 {
                return pos as u32;
            }
        }
        pos += if n > 0 { 1 } else { -1 };
    }
    u32::MAX
}

pub(super) fn lookup(op: &Opcode<'_>) -> Option<Spec> {
    let ty = op.ty();
    match op.base {
        "add" | "addc" | "sub" | "subc" if op.has("cc") || op.base.len() == 4 => {
            let flags = op.base.starts_with("sub") as u32
                | ((op.base.len() == 4) as u32) << 1
                | (op.has("cc") as u32) << 2;
            let s = match ty {
                "u32" | "s32" | "b32" => spec(carry32, &[File::R32; 3]),
                "u64" | "s64" | "b64" => spec(carry64, &[File::R64; 3]),
                _ => return None,
            };
            Some(s.flags(flags))
        }
        "add" if op.has("sat") => (ty == "s32").then(|| alu!(|a: i32, b: i32| -> i32 { a.saturating_add(b) })),
        "sub" if op.has("sat") => (ty == "s32").then(|| alu!(|a: i32, b: i32| -> i32 { a.saturating_sub(b) })),
        "add" if matches!(ty, "u16x2" | "s16x2") => {
            type D = Two<u16>;
            Some(alu!(|a: D, b: D| -> D { Two(a.0.wrapping_add(b.0), a.1.wrapping_add(b.1)) }))
        }
        "add" => ints!(ty, T, alu!(|a: T, b: T| -> T { a.wrapping_add(b) })),
        "sub" => ints!(ty, T, alu!(|a: T, b: T| -> T { a.wrapping_sub(b) })),
        "mul" if op.has("wide") => {
            wides!(ty, T, alu!(|a: T, b: T| -> <T as Product>::Wide { a.wide(b) }))
        }
        "mul" if op.has("hi") => ints!(ty, T, alu!(|a: T, b: T| -> T { a.high(b) })),
        "mul" => ints!(ty, T, alu!(|a: T, b: T| -> T { a.wrapping_mul(b) })),
        "mul24" | "mad24" => {
            // The low or high 32 bits of the 48-bit product of two 24-bit numbers.
            macro_rules! p24 {
                ($t:ty, $w:ty, $a:expr, $b:expr) => {
                    (($a << 8 >> 8) as $w).wrapping_mul(($b << 8 >> 8) as $w)
                };
            }
            Some(match (op.base, op.has("hi"), ty) {
                ("mul24", false, "u32") => alu!(|a: u32, b: u32| -> u32 { p24!(u32, u64, a, b) as u32 }),
                ("mul24", false, "s32") => alu!(|a: i32, b: i32| -> i32 { p24!(i32, i64, a, b) as i32 }),
                ("mul24", true, "u32") => alu!(|a: u32, b: u32| -> u32 { (p24!(u32, u64, a, b) >> 16) as u32 }),
                ("mul24", true, "s32") => alu!(|a: i32, b: i32| -> i32 { (p24!(i32, i64, a, b) >> 16) as i32 }),
                ("mad24", false, "u32") => {
                    alu!(|a: u32, b: u32, c: u32| -> u32 { (p24!(u32, u64, a, b) as u32).wrapping_add(c) })
                }
                ("mad24", false, "s32") => {
                    alu!(|a: i32, b: i32, c: i32| -> i32 { (p24!(i32, i64, a, b) as i32).wrapping_add(c) })
                }
                ("mad24", true, "u32") => {
                    alu!(|a: u32, b: u32, c: u32| -> u32 { ((p24!(u32, u64, a, b) >> 16) as u32).wrapping_add(c) })
                }
                ("mad24", true, "s32") if op.has("sat") => {
                    alu!(|a: i32, b: i32, c: i32| -> i32 { ((p24!(i32, i64, a, b) >> 16) as i32).saturating_add(c) })
                }
                ("mad24", true, "s32") => {
                    alu!(|a: i32, b: i32, c: i32| -> i32 { ((p24!(i32, i64, a, b) >> 16) as i32).wrapping_add(c) })
                }
                _ => return None,
            })
        }
        "mad" | "madc" if op.has("cc") || op.base == "madc" => {
            let flags = ((op.base == "madc") as u32) << 1
                | (op.has("cc") as u32) << 2
                | (op.has("hi") as u32) << 3
                | (ty.starts_with('s') as u32) << 4;
            let s = match ty {
                "u32" | "s32" => spec(mad_carry32, &[File::R32; 4]),
                "u64" | "s64" => spec(mad_carry64, &[File::R64; 4]),
                _ => return None,
            };
            Some(s.flags(flags))
        }
        "mad" if op.has("wide") => wides!(
            ty,
            T,
            alu!(|a: T, b: T, c: <T as Product>::Wide| -> <T as Product>::Wide { a.wide(b).wrapping_add(c) })
        ),
        "mad" if op.has("hi") && op.has("sat") => {
            (ty == "s32").then(|| alu!(|a: i32, b: i32, c: i32| -> i32 { a.high(b).saturating_add(c) }))
        }
        "mad" if op.has("hi") => ints!(ty, T, alu!(|a: T, b: T, c: T| -> T { a.high(b).wrapping_add(c) })),
        "mad" => ints!(ty, T, alu!(|a: T, b: T, c: T| -> T { a.wrapping_mul(b).wrapping_add(c) })),
        "div" => ints!(ty, T, alu!(|a: T, b: T| -> T { if b == 0 { !0 } else { a.wrapping_div(b) } })),
        "rem" => ints!(ty, T, alu!(|a: T, b: T| -> T { if b == 0 { a } else { a.wrapping_rem(b) } })),
        "abs" => by_type!(ty, T: ["s16" => i16, "s32" => i32, "s64" => i64], alu!(|a: T| -> T { a.wrapping_abs() })),
        "neg" => by_type!(ty, T: ["s16" => i16, "s32" => i32, "s64" => i64], alu!(|a: T| -> T { a.wrapping_neg() })),
        "min" | "max" if matches!(ty, "u16x2" | "s16x2") => {
            type D = Two<u16>;
            let flags = (ty == "s16x2") as u32 | ((op.base == "max") as u32) << 1 | (op.has("relu") as u32) << 2;
            Some(
                alu!(fl; |a: D, b: D| -> D {
                    let pick = |a: u16, b: u16| {
                        let a_less = if fl & 1 != 0 { (a as i16) < b as i16 } else { a < b };
                        let v = if a_less == (fl & 2 == 0) { a } else { b };
                        if fl & 4 != 0 { (v as i16).max(0) as u16 } else { v }
                    };
                    Two(pick(a.0, b.0), pick(a.1, b.1))
                })
                .flags(flags),
            )
        }
        "min" if op.has("relu") => Some(alu!(|a: i32, b: i32| -> i32 { a.min(b).max(0) })),
        "max" if op.has("relu") => Some(alu!(|a: i32, b: i32| -> i32 { a.max(b).max(0) })),
        "min" => ints!(ty, T, alu!(|a: T, b: T| -> T { a.min(b) })),
        "max" => ints!(ty, T, alu!(|a: T, b: T| -> T { a.max(b) })),
        "sad" => ints!(ty, T, alu!(|a: T, b: T, c: T| -> T { c.wrapping_add(a.abs_diff(b) as T) })),
        "popc" => bits!(ty, T, alu!(|a: T| -> u32 { a.count_ones() })),
        "clz" => bits!(ty, T, alu!(|a: T| -> u32 { a.leading_zeros() })),
        "brev" => bits!(ty, T, alu!(|a: T| -> T { a.reverse_bits() })),
        "bfind" => {
            let shift = op.has("shiftamt") as u32;
            let s = match ty {
                "u32" => alu!(fl; |a: u32| -> u32 { bfind(a as u64, 32, fl != 0) }),
                "s32" => alu!(fl; |a: i32| -> u32 { bfind((if a < 0 { !a } else { a }) as u64, 32, fl != 0) }),
                "u64" => alu!(fl; |a: u64| -> u32 { bfind(a, 64, fl != 0) }),
                "s64" => alu!(fl; |a: i64| -> u32 { bfind((if a < 0 { !a } else { a }) as u64, 64, fl != 0) }),
                _ => return None,
            };
            Some(s.flags(shift))
        }
        "bfe" => Some(match ty {
            "u32" => alu!(|a: u32, p: u32, n: u32| -> u32 { bfe(a as u64, false, 32, p, n) as u32 }),
            "s32" => alu!(|a: u32, p: u32, n: u32| -> u32 { bfe(a as u64, true, 32, p, n) as u32 }),
            "u64" => alu!(|a: u64, p: u32, n: u32| -> u64 { bfe(a, false, 64, p, n) }),
            "s64" => alu!(|a: u64, p: u32, n: u32| -> u64 { bfe(a, true, 64, p, n) }),
            _ => return None,
        }),
        "bfi" => Some(match ty {
            "b32" => alu!(|a: u32, b: u32, p: u32, n: u32| -> u32 { bfi(a as u64, b as u64, 32, p, n) as u32 }),
            "b64" => alu!(|a: u64, b: u64, p: u32, n: u32| -> u64 { bfi(a, b, 64, p, n) }),
            _ => return None,
        }),
        "bmsk" => Some(
            alu!(fl; |a: u32, b: u32| -> u32 {
                let (a, b) = if fl != 0 { (a & 31, b & 31) } else { (a.min(32), b.min(32)) };
                ((((1u64 << b) - 1) << a) & 0xffff_ffff) as u32
            })
            .flags(op.has("wrap") as u32),
        ),
        "szext" => Some(
            alu!(fl; |a: u32, b: u32| -> u32 {
                let n = if fl & 2 != 0 { b & 31 } else { b.min(32) };
                if n == 0 { 0 }
                else if fl & 1 != 0 { ((a as i32) << (32 - n) >> (32 - n)) as u32 }
                else { a << (32 - n) >> (32 - n) }
            })
            .flags((ty == "s32") as u32 | (op.has("wrap") as u32) << 1),
        ),
        "shl" => bits!(ty, T, alu!(|a: T, n: u32| -> T { a.checked_shl(n).unwrap_or(0) })),
        "shr" => by_type!(ty, T: ["b16" => u16, "u16" => u16, "b32" => u32, "u32" => u32, "b64" => u64, "u64" => u64],
            alu!(|a: T, n: u32| -> T { a.checked_shr(n).unwrap_or(0) }))
        .or_else(|| {
            by_type!(ty, T: ["s16" => i16, "s32" => i32, "s64" => i64], alu!(|a: T, n: u32| -> T { a >> n.min(T::BITS - 1) }))
        }),
        "shf" => {
            let flags = op.has("l") as u32 | (op.has("wrap") as u32) << 1;
            Some(
                alu!(fl; |a: u32, b: u32, c: u32| -> u32 {
                    let n = if fl & 2 != 0 { c & 31 } else { c.min(32) };
                    let wide = (b as u64) << 32 | a as u64;
                    if fl & 1 != 0 { (wide << n >> 32) as u32 } else { (wide >> n) as u32 }
                })
                .flags(flags),
            )
        }
        "prmt" => {
            let mode = match op.mods.last().copied() {
                Some("f4e") => 1,
                Some("b4e") => 2,
                Some("rc8") => 3,
                Some("ecl") => 4,
                Some("ecr") => 5,
                Some("rc16") => 6,
                _ => return (ty == "b32").then(|| alu!(|a: u32, b: u32, c: u32| -> u32 { prmt(a, b, c) })),
            };
            Some(alu!(fl; |a: u32, b: u32, c: u32| -> u32 { prmt(a, b, prmt_mode(fl, c)) }).flags(mode))
        }
        "dp4a" | "dp2a" => {
            let [.., ta, tb] = op.mods[..] else { return None };
            let flags = (ta == "s32") as u32 | ((tb == "s32") as u32) << 1 | (op.has("hi") as u32) << 2;
            Some(
                if op.base == "dp4a" {
                    alu!(fl; |a: u32, b: u32, c: u32| -> u32 { dot(a, b, c, fl) })
                } else {
                    alu!(fl; |a: u32, b: u32, c: u32| -> u32 { dot2(a, b, c, fl) })
                }
                .flags(flags),
            )
        }
        "fns" => Some(alu!(|m: u32, b: u32, n: i32| -> u32 { fns(m, b, n) })),
        _ => None,
    }
}
