//! The two 8-bit floats that Hopper's tensor cores multiply ("FP8 Formats for Deep Learning", arXiv:2209.05433), as their codes.
//!
//! | type | elsewhere | exponent, mantissa | largest | smallest normal, subnormal | special |
//! |---|---|---|---|---|---|
//! | [`E4m3`] | `float8_e4m3fn`, `F8E4M3FN` | 4 bits (bias 7), 3 | 448 | 2^-6, 2^-9 | NaN `S.1111.111`; no infinities |
//! | [`E5m2`] | `float8_e5m2`, `F8E5M2` | 5 bits (bias 15), 2 | 57344 | 2^-14, 2^-16 | infinities and NaN as in IEEE 754 |
//!
//! Numbers are rounded as `cvt.rn.satfinite` does it: to nearest, ties to even; what is too large, infinity too, becomes the
//! largest finite number of its sign; NaN becomes the code `0x7f`.

use bytemuck::{Pod, Zeroable};

/// The code of the number nearest to `x` in a format with `mantissa` bits of mantissa, this bias of the exponent and `last`
/// as the code of its largest number.
fn encode(x: f32, mantissa: u32, bias: i32, last: u8) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    // Below the smallest normal number the spacing stays. Powers of two are exact, and far from the ends of f64's range.
    let exponent = (((x.to_bits() >> 23) & 0xff) as i32 - 127).max(1 - bias);
    let units = (f64::from(x.abs()) * 2f64.powi(mantissa as i32 - exponent)).round_ties_even();
    // The leading bit adds itself to the exponent; so does a carry.
    let code = f64::from((exponent + bias - 1) << mantissa) + units;
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    sign | code.min(f64::from(last)) as u8
}

/// The number of a finite code.
fn decode(code: u8, mantissa: u32, bias: i32) -> f32 {
    let (exponent, fraction) = (i32::from((code & 0x7f) >> mantissa), code & ((1 << mantissa) - 1));
    let units = if exponent == 0 { fraction } else { fraction | 1 << mantissa };
    let x = f32::from(units) * 2f32.powi(exponent.max(1) - bias - mantissa as i32);
    if code & 0x80 != 0 { -x } else { x }
}

/// A type of 8-bit floats.
macro_rules! float8 {
    ($(#[$doc:meta])* $name:ident, $mantissa:literal, $bias:literal, last $last:literal, |$bits:ident| $special:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(u8);

        impl $name {
            /// The largest number.
            pub const MAX: $name = $name($last);

            /// The number with this code.
            pub const fn from_bits(code: u8) -> $name {
                $name(code)
            }
            /// The code.
            pub const fn to_bits(self) -> u8 {
                self.0
            }
            /// The number nearest to `x`: see the [module](self).
            pub fn from_f32(x: f32) -> $name {
                $name(encode(x, $mantissa, $bias, $last))
            }
            /// Its value, exactly.
            pub fn to_f32(self) -> f32 {
                let $bits = self.0;
                $special.unwrap_or_else(|| decode(self.0, $mantissa, $bias))
            }
        }
    };
}

float8!(
    /// 4 bits of exponent, 3 of mantissa: what weights and activations are stored in. Equality is that of codes.
    E4m3, 3, 7, last 0x7e, |code| (code & 0x7f == 0x7f).then_some(f32::NAN)
);
float8!(
    /// 5 bits of exponent, 2 of mantissa: what gradients are stored in. Equality is that of codes.
    E5m2, 2, 15, last 0x7b, |code| match code {
        0x7c => Some(f32::INFINITY),
        0xfc => Some(f32::NEG_INFINITY),
        _ => (code & 0x7f > 0x7c).then_some(f32::NAN),
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of a format: its value, where it is finite by the definition of the format, and the way back.
    fn codes(
        [mantissa, bias]: [i32; 2],
        last: u8,
        from: impl Fn(f32) -> u8,
        to: impl Fn(u8) -> f32,
        special: impl Fn(u8) -> Option<f32>,
    ) {
        for code in 0..=255u8 {
            let magnitude = i32::from(code & 0x7f);
            let (exponent, fraction) = (magnitude >> mantissa, magnitude & ((1 << mantissa) - 1));
            let unit = 2f64.powi(exponent.max(1) - bias - mantissa);
            let want = f64::from(fraction + if exponent > 0 { 1 << mantissa } else { 0 }) * unit;
            let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
            let got = to(code);
            if let Some(x) = special(code) {
                assert!(got.to_bits() == x.to_bits() || got.is_nan() && x.is_nan(), "{code:#x}: {got}");
                assert_eq!(from(got), if x.is_nan() { 0x7f } else { last | code & 0x80 }, "{code:#x}");
                continue;
            }
            assert_eq!(f64::from(got).to_bits(), (sign * want).to_bits(), "{code:#x}");
            assert_eq!(from(got), code);
            // Between this number and the next: the tie goes to the even code, what is beside it to the nearer one.
            if code & 0x7f < last {
                let next = to(code + 1);
                let middle = (got + next) / 2.0;
                let toward =
                    |up: bool| f32::from_bits(if up { middle.to_bits() + 1 } else { middle.to_bits() - 1 });
                assert_eq!(from(middle), code + (code & 1), "between {got} and {next}");
                assert_eq!((from(toward(false)), from(toward(true))), (code, code + 1), "beside {middle}");
            }
        }
        for sign in [1.0f32, -1.0] {
            let bit = if sign < 0.0 { 0x80 } else { 0 };
            for large in [f32::INFINITY, f32::MAX, 1e9, to(last) * 1.5] {
                assert_eq!(from(sign * large), last | bit, "{large}");
            }
            for small in [0.0, f32::from_bits(1), 1e-30, to(1) / 2.0] {
                assert_eq!(from(sign * small), bit, "{small}");
            }
        }
        assert_eq!((from(f32::NAN), from(-f32::NAN)), (0x7f, 0x7f));
    }

    #[test]
    fn all_codes_of_e4m3() {
        let nan = |code: u8| (code & 0x7f == 0x7f).then_some(f32::NAN);
        codes([3, 7], 0x7e, |x| E4m3::from_f32(x).to_bits(), |c| E4m3::from_bits(c).to_f32(), nan);
        assert_eq!((E4m3::MAX.to_f32(), E4m3::from_bits(1).to_f32()), (448.0, 2f32.powi(-9)));
    }

    #[test]
    fn all_codes_of_e5m2() {
        let special = |code: u8| match code & 0x7f {
            0x7c => Some(if code & 0x80 != 0 { f32::NEG_INFINITY } else { f32::INFINITY }),
            0x7d..=0x7f => Some(f32::NAN),
            _ => None,
        };
        codes([2, 15], 0x7b, |x| E5m2::from_f32(x).to_bits(), |c| E5m2::from_bits(c).to_f32(), special);
        assert_eq!((E5m2::MAX.to_f32(), E5m2::from_bits(1).to_f32()), (57344.0, 2f32.powi(-16)));
    }
}
