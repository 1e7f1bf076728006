//! Number formats of matrix operands: how the bits of an element become a number, and the 8-bit floats both ways.
//!
//! - `e4m3`: 4 exponent bits (bias 7), 3 fraction bits, no infinity, NaN is `S.1111.111`, largest 448.
//! - `e5m2`: 5 exponent bits (bias 15), 2 fraction bits, infinities and NaNs as in IEEE 754, largest 57344.
//! - `tf32`: an f32 whose low 13 bits an instruction ignores.
//!
//! `cvt` ([`crate::alu`]) and the matrix instructions share this file.

use half::f16;

/// The element type of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    F32,
    F64,
    S8,
    U8,
    S4,
    U4,
    B1,
    S32,
}

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Format> {
        Some(match name {
            "f16" => Format::F16,
            "bf16" => Format::Bf16,
            "tf32" => Format::Tf32,
            "e4m3" => Format::E4m3,
            "e5m2" => Format::E5m2,
            "f32" => Format::F32,
            "f64" => Format::F64,
            "s8" => Format::S8,
            "u8" => Format::U8,
            "s4" => Format::S4,
            "u4" => Format::U4,
            "b1" => Format::B1,
            "s32" => Format::S32,
            _ => return None,
        })
    }

    /// Bits an element takes in a register and in memory.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Format::F64 => 64,
            Format::F32 | Format::Tf32 | Format::S32 => 32,
            Format::F16 | Format::Bf16 => 16,
            Format::E4m3 | Format::E5m2 | Format::S8 | Format::U8 => 8,
            Format::S4 | Format::U4 => 4,
            Format::B1 => 1,
        }
    }

    /// Elements in one register (of 32 bits; of 64 for f64).
    pub(crate) fn per_register(self) -> u32 {
        32u32.div_ceil(self.bits())
    }

    /// The number a float operand stands for, exactly.
    pub(crate) fn float(self, bits: u32) -> f32 {
        match self {
            Format::F16 => half(bits),
            Format::Bf16 => f32::from_bits(bits << 16),
            Format::Tf32 => f32::from_bits(bits & !0x1fff),
            Format::E4m3 => e4m3(bits as u8),
            Format::E5m2 => e5m2(bits as u8),
            _ => f32::from_bits(bits),
        }
    }

    /// The number an integer operand stands for.
    pub(crate) fn integer(self, bits: u32) -> i32 {
        match self {
            Format::S8 => bits as i8 as i32,
            Format::U8 => bits as u8 as i32,
            Format::S4 => ((bits << 28) as i32) >> 28,
            Format::U4 => (bits & 15) as i32,
            Format::B1 => (bits & 1) as i32,
            _ => bits as i32,
        }
    }
}

/// An f16 number: the bits of its exponent and fraction, scaled, are an f32; infinities and NaNs are put right. Without a
/// branch, so that it vectorises.
#[inline(always)]
pub(crate) fn half(bits: u32) -> f32 {
    let scaled = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}

/// 2 to the power of `e`, for exponents of normal f64.
pub(crate) fn power(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

fn decode(bits: u8, fraction: u32, bias: i32) -> f32 {
    let e = ((bits & 0x7f) >> fraction) as i32;
    let f = (bits & ((1 << fraction) - 1)) as i32;
    let (significand, e) = if e == 0 { (f, 1) } else { (f | 1 << fraction, e) };
    let v = (significand as f64 * power(e - bias - fraction as i32)) as f32;
    if bits & 0x80 != 0 { -v } else { v }
}

/// An `e4m3` number.
pub(crate) fn e4m3(bits: u8) -> f32 {
    if bits & 0x7f == 0x7f { f32::NAN } else { decode(bits, 3, 7) }
}

/// An `e5m2` number.
pub(crate) fn e5m2(bits: u8) -> f32 {
    match bits & 0x7f {
        0x7c if bits & 0x80 != 0 => f32::NEG_INFINITY,
        0x7c => f32::INFINITY,
        m if m > 0x7c => f32::NAN,
        _ => decode(bits, 2, 15),
    }
}

/// Rounds to the nearest 8-bit float, ties to even, overflow (infinity too) to the largest finite number, `largest`.
fn encode(v: f64, fraction: i32, bias: i32, largest: u32) -> u8 {
    if v.is_nan() {
        return 0x7f;
    }
    let sign = if v.is_sign_negative() { 0x80 } else { 0 };
    let exponent = ((v.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(1 - bias);
    if exponent > 64 {
        return sign | largest as u8;
    }
    // The significand with its leading bit, as an integer: adding it to the exponent field carries by itself.
    let significand = (v.abs() * power(fraction - exponent)).round_ties_even() as u32;
    let code = (((exponent + bias - 1) as u32) << fraction) + significand;
    sign | code.min(largest) as u8
}

/// `cvt.rn.satfinite.e4m3`.
pub(crate) fn to_e4m3(v: f64) -> u8 {
    encode(v, 3, 7, 0x7e)
}

/// `cvt.rn.satfinite.e5m2`.
pub(crate) fn to_e5m2(v: f64) -> u8 {
    encode(v, 2, 15, 0x7b)
}

/// An f32 result with PTX's NaN for any NaN, chosen in integers.
pub(crate) fn canonical(v: f32) -> f32 {
    let bits = v.to_bits();
    let nan = u32::from(bits & 0x7fff_ffff > 0x7f80_0000).wrapping_neg();
    f32::from_bits(bits & !nan | 0x7fff_ffff & nan)
}

/// Bits of an f16 result.
pub(crate) fn f16_bits(v: f32) -> u16 {
    if v.is_nan() { 0x7fff } else { f16::from_f32(v).to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_widens_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (have, want) = (half(bits as u32), f16::from_bits(bits).to_f32());
            assert!(have.to_bits() == want.to_bits() || (have.is_nan() && want.is_nan()), "{bits:#x}");
        }
    }

    /// Every code decodes to a value that encodes to the code, and the midpoint of two neighbours goes to the even one.
    #[test]
    fn eight_bit_floats_round_trip_and_break_ties_to_even() {
        for (decode, encode, last) in
            [(e4m3 as fn(u8) -> f32, to_e4m3 as fn(f64) -> u8, 0x7eu8), (e5m2, to_e5m2, 0x7b)]
        {
            for code in 0..=last {
                let v = decode(code) as f64;
                assert_eq!(encode(v), code);
                assert_eq!(encode(-v), code | 0x80);
                if code < last {
                    let next = decode(code + 1) as f64;
                    let middle = (v + next) / 2.0;
                    assert_eq!(encode(middle), code + (code & 1), "between {v} and {next}");
                    assert_eq!(encode(middle.next_down()), code);
                    assert_eq!(encode(middle.next_up()), code + 1);
                }
            }
            assert_eq!(encode(f64::INFINITY), last);
            assert_eq!(encode(f64::NEG_INFINITY), last | 0x80);
            assert_eq!(encode(1e30), last);
            assert_eq!(encode(f64::NAN), 0x7f);
            assert_eq!(encode(1e-300), 0);
        }
        assert_eq!((e4m3(0x7e), e5m2(0x7b), e4m3(1), e5m2(1)), (448.0, 57344.0, 0.001953125, 1.0 / 65536.0));
        assert!(e4m3(0xff).is_nan() && e5m2(0x7d).is_nan() && e5m2(0xfc) == f32::NEG_INFINITY);
    }
}
