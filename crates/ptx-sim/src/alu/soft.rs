//! Exact floating-point arithmetic in integers: every rounding mode, every format, subnormal numbers included.
//!
//! A finite number is `±m * 2^e`. Operations keep enough bits of the exact result, and whether anything non-zero lies behind
//! them ("sticky"); [`round`] then decides once. The directed modes of f64 and all narrow formats go through here.

use super::Mode;

/// A binary interchange format.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// Stored bits of the significand.
    pub mantissa: u32,
    /// Bits of the exponent.
    pub exponent: u32,
}

pub(crate) const F64: Format = Format { mantissa: 52, exponent: 11 };
pub(crate) const F16: Format = Format { mantissa: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { mantissa: 7, exponent: 8 };

/// `m * 2^e`, exactly.
#[derive(Clone, Copy)]
struct Number {
    negative: bool,
    m: u128,
    e: i32,
}

/// A finite f64.
fn unpack(x: f64) -> Number {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let m = bits & ((1 << 52) - 1);
    let (m, e) = if field == 0 { (m, -1074) } else { (m | 1 << 52, field - 1075) };
    Number { negative: x.is_sign_negative(), m: m as u128, e }
}

impl Number {
    /// The same value with `bits` significant bits (at least as many as it has).
    fn widen(self, bits: u32) -> Number {
        let k = (bits + self.m.leading_zeros()).saturating_sub(128);
        Number { m: self.m << k, e: self.e - k as i32, ..self }
    }
}

/// The bits, without sign, of `m * 2^e` plus something smaller than one unit of `m` if `sticky`. With `sticky`, `m` must
/// have at least two bits more than the format.
fn round(negative: bool, m: u128, e: i32, sticky: bool, mode: u32, f: Format) -> u64 {
    if m == 0 {
        return 0;
    }
    let bias = (1 << (f.exponent - 1)) - 1;
    let len = 128 - m.leading_zeros() as i32;
    let lowest = 1 - bias - f.mantissa as i32;
    let shift = (len - f.mantissa as i32 - 1).max(lowest - e);
    // What is kept, and how the rest compares to one half: less, equal, more; or nothing at all.
    let (q, rest, half) = match shift {
        i32::MIN..=0 => (m << -shift, 0, 1),
        1..=127 => (m >> shift, m & ((1 << shift) - 1), 1u128 << (shift - 1)),
        128 => (0, m, 1 << 127),
        _ => (0, 1, 2),
    };
    let inexact = rest != 0 || sticky;
    let up = match mode {
        Mode::RN => rest > half || (rest == half && (sticky || q & 1 == 1)),
        Mode::RM => negative && inexact,
        Mode::RP => !negative && inexact,
        _ => false,
    };
    // A carry out of the significand moves into the exponent field by itself.
    let q = q as u64 + up as u64;
    let field = if q >> f.mantissa == 0 { 0 } else { (e + shift - lowest + 1) as u64 };
    let bits = if field == 0 { q } else { ((field - 1) << f.mantissa) + q };
    let infinity = ((1u64 << f.exponent) - 1) << f.mantissa;
    if bits < infinity {
        return bits;
    }
    let finite = match mode {
        Mode::RN => false,
        Mode::RM => !negative,
        Mode::RP => negative,
        _ => true,
    };
    infinity - finite as u64
}

/// A number (an exact one, or one rounded to odd) in another format; NaN gives all ones below the sign.
pub(crate) fn narrow(v: f64, mode: u32, f: Format) -> u64 {
    let top = f.mantissa + f.exponent;
    if v.is_nan() {
        return (1 << top) - 1;
    }
    let sign = (v.is_sign_negative() as u64) << top;
    if v.is_infinite() {
        return sign | ((1 << f.exponent) - 1) << f.mantissa;
    }
    let n = unpack(v);
    sign | round(n.negative, n.m, n.e, false, mode, f)
}

fn pack(negative: bool, m: u128, e: i32, sticky: bool, mode: u32) -> f64 {
    f64::from_bits(round(negative, m, e, sticky, mode, F64) | (negative as u64) << 63)
}

/// `a * b + c`, rounded once.
pub(crate) fn fma(a: f64, b: f64, c: f64, mode: u32) -> f64 {
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return a.mul_add(b, c);
    }
    let (x, y, z) = (unpack(a), unpack(b), unpack(c));
    let p = Number { negative: x.negative != y.negative, m: x.m * y.m, e: x.e + y.e };
    if p.m == 0 && z.m == 0 {
        // Zeros of different signs cancel to +0, or to -0 when rounding down.
        let negative = if p.negative == z.negative { p.negative } else { mode == Mode::RM };
        return if negative { -0.0 } else { 0.0 };
    }
    if p.m == 0 {
        return c;
    }
    if z.m == 0 {
        return pack(p.negative, p.m, p.e, false, mode);
    }
    let (p, z) = (p.widen(124), z.widen(124));
    let (big, small) = if p.e >= z.e { (p, z) } else { (z, p) };
    let d = (big.e - small.e) as u32;
    let (moved, sticky) =
        if d >= 128 { (0, true) } else { (small.m >> d, d > 0 && small.m << (128 - d) != 0) };
    if big.negative == small.negative {
        return pack(big.negative, big.m + moved, big.e, sticky, mode);
    }
    match big.m.cmp(&moved) {
        std::cmp::Ordering::Equal => {
            if mode == Mode::RM {
                -0.0
            } else {
                0.0
            }
        }
        std::cmp::Ordering::Less => pack(small.negative, moved - big.m, big.e, false, mode),
        // What was cut off the smaller one still has to be taken away.
        _ => pack(big.negative, big.m - moved - sticky as u128, big.e, sticky, mode),
    }
}

/// `a + b`.
pub(crate) fn add(a: f64, b: f64, mode: u32) -> f64 {
    fma(a, 1.0, b, mode)
}

/// `a * b`.
pub(crate) fn mul(a: f64, b: f64, mode: u32) -> f64 {
    if !(a.is_finite() && b.is_finite()) || a == 0.0 || b == 0.0 {
        return a * b;
    }
    let (x, y) = (unpack(a), unpack(b));
    pack(x.negative != y.negative, x.m * y.m, x.e + y.e, false, mode)
}

/// `a / b`.
pub(crate) fn div(a: f64, b: f64, mode: u32) -> f64 {
    if !(a.is_finite() && b.is_finite()) || a == 0.0 || b == 0.0 {
        return a / b;
    }
    let (x, y) = (unpack(a).widen(126), unpack(b).widen(53));
    let (q, r) = (x.m / y.m, x.m % y.m);
    pack(x.negative != y.negative, q, x.e - y.e, r != 0, mode)
}

/// The square root.
pub(crate) fn sqrt(a: f64, mode: u32) -> f64 {
    if !a.is_finite() || a <= 0.0 {
        return a.sqrt();
    }
    let n = unpack(a).widen(126);
    // The exponent must be even; the lowest of the 126 bits are zeros.
    let (m, e) = if n.e & 1 == 0 { (n.m, n.e) } else { (n.m >> 1, n.e + 1) };
    let r = m.isqrt();
    pack(false, r, e / 2, r * r != m, mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            -4.0f64..4.0,
            (-60i32..60, 0u64..4).prop_map(|(e, k)| (k as f64) * 2f64.powi(e) + 1.0),
            (any::<u64>(), 0u32..52).prop_map(|(b, z)| f64::from_bits((b % (0x40 << 52)) >> z << z)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Rounding to nearest is what the machine does; the directed modes bracket it and differ by one step at most.
        #[test]
        fn agrees_with_the_machine(a in number(), b in number(), c in number()) {
            type F = fn(f64, f64, f64, u32) -> f64;
            let ops: [(F, f64); 5] = [
                (|a, b, c, m| fma(a, b, c, m), a.mul_add(b, c)),
                (|a, b, _, m| add(a, b, m), a + b),
                (|a, b, _, m| mul(a, b, m), a * b),
                (|a, b, _, m| div(a, b, m), a / b),
                (|a, _, _, m| sqrt(a, m), a.sqrt()),
            ];
            for (i, (op, near)) in ops.into_iter().enumerate() {
                let [n, z, d, u] = [Mode::RN, Mode::RZ, Mode::RM, Mode::RP].map(|m| op(a, b, c, m));
                prop_assert!(same(n, near), "{i}: {a:e} {b:e} {c:e}: {n:e}, not {near:e}");
                if !near.is_nan() {
                    prop_assert!(d <= near && near <= u, "{i}: {d:e} {near:e} {u:e}");
                    prop_assert!(d == u || u == d.next_up(), "{i}: {a:e} {b:e} {c:e}: {d:e} {u:e}");
                    let inward = if near > 0.0 { d } else { u };
                    prop_assert!(z == inward || near == 0.0);
                }
            }
        }

        /// The narrow formats, against every neighbour.
        #[test]
        fn narrow_picks_the_right_neighbour(v in prop_oneof![-7e4f64..7e4, -1e-4f64..1e-4, any::<f32>().prop_map(f64::from)]) {
            let wide = |b: u64| half::f16::from_bits(b as u16).to_f64();
            let [n, z, d, u] = [Mode::RN, Mode::RZ, Mode::RM, Mode::RP].map(|m| wide(narrow(v, m, F16)));
            if v.is_nan() {
                prop_assert!(n.is_nan());
            } else {
                prop_assert!(d <= v && v <= u && z.abs() <= v.abs(), "{v:e}: {d:e} {u:e} {z:e}");
                prop_assert!(n == d || n == u);
                if n.is_finite() && d.is_finite() && u.is_finite() {
                    prop_assert!((n - v).abs() <= (v - d).min(u - v), "{v:e}: {n:e}");
                }
            }
        }
    }
}
