//! Bits and integers. Unsigned numbers travel as signed ones, as in libdevice. They work on the host too.

macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $value:expr;)*) => {$(
        #[doc = concat!("libdevice's `", stringify!($name), "`.")]
        #[inline(always)]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            $value
        }
    )*};
}

/// Byte `selector & 7` of the eight of `low` (0 to 3) and `high` (4 to 7).
#[inline(always)]
fn byte(low: i32, high: i32, selector: i32) -> u32 {
    let all = (low as u32 as u64) | ((high as u32 as u64) << 32);
    ((all >> (8 * (selector & 7))) & 0xff) as u32
}

/// The low 24 bits with their sign.
#[inline(always)]
fn low24(x: i32) -> i32 {
    (x << 8) >> 8
}

functions! {
    abs(x: i32) -> i32 = x.wrapping_abs();
    llabs(x: i64) -> i64 = x.wrapping_abs();
    brev(x: i32) -> i32 = x.reverse_bits();
    brevll(x: i64) -> i64 = x.reverse_bits();
    byte_perm(x: i32, y: i32, z: i32) -> i32 =
        (byte(x, y, z) | (byte(x, y, z >> 4) << 8) | (byte(x, y, z >> 8) << 16) | (byte(x, y, z >> 12) << 24)) as i32;
    clz(x: i32) -> i32 = x.leading_zeros() as i32;
    clzll(x: i64) -> i32 = x.leading_zeros() as i32;
    ffs(x: i32) -> i32 = if x == 0 { 0 } else { x.trailing_zeros() as i32 + 1 };
    ffsll(x: i64) -> i32 = if x == 0 { 0 } else { x.trailing_zeros() as i32 + 1 };
    popc(x: i32) -> i32 = x.count_ones() as i32;
    popcll(x: i64) -> i32 = x.count_ones() as i32;
    hadd(x: i32, y: i32) -> i32 = ((x as i64 + y as i64) >> 1) as i32;
    rhadd(x: i32, y: i32) -> i32 = ((x as i64 + y as i64 + 1) >> 1) as i32;
    uhadd(x: i32, y: i32) -> i32 = ((x as u32 as u64 + y as u32 as u64) >> 1) as i32;
    urhadd(x: i32, y: i32) -> i32 = ((x as u32 as u64 + y as u32 as u64 + 1) >> 1) as i32;
    max(x: i32, y: i32) -> i32 = if x > y { x } else { y };
    min(x: i32, y: i32) -> i32 = if x < y { x } else { y };
    llmax(x: i64, y: i64) -> i64 = if x > y { x } else { y };
    llmin(x: i64, y: i64) -> i64 = if x < y { x } else { y };
    umax(x: i32, y: i32) -> i32 = if x as u32 > y as u32 { x } else { y };
    umin(x: i32, y: i32) -> i32 = if (x as u32) < y as u32 { x } else { y };
    ullmax(x: i64, y: i64) -> i64 = if x as u64 > y as u64 { x } else { y };
    ullmin(x: i64, y: i64) -> i64 = if (x as u64) < y as u64 { x } else { y };
    mul24(x: i32, y: i32) -> i32 = low24(x).wrapping_mul(low24(y));
    umul24(x: i32, y: i32) -> i32 = (x & 0xff_ffff).wrapping_mul(y & 0xff_ffff);
    mulhi(x: i32, y: i32) -> i32 = ((x as i64 * y as i64) >> 32) as i32;
    umulhi(x: i32, y: i32) -> i32 = ((x as u32 as u64 * y as u32 as u64) >> 32) as i32;
    mul64hi(x: i64, y: i64) -> i64 = ((x as i128 * y as i128) >> 64) as i64;
    umul64hi(x: i64, y: i64) -> i64 = ((x as u64 as u128 * y as u64 as u128) >> 64) as i64;
    sad(x: i32, y: i32, z: i32) -> i32 = (x.abs_diff(y) as i32).wrapping_add(z);
    usad(x: i32, y: i32, z: i32) -> i32 = ((x as u32).abs_diff(y as u32) as i32).wrapping_add(z);
    float_as_int(x: f32) -> i32 = x.to_bits() as i32;
    int_as_float(x: i32) -> f32 = f32::from_bits(x as u32);
    double_as_longlong(x: f64) -> i64 = x.to_bits() as i64;
    longlong_as_double(x: i64) -> f64 = f64::from_bits(x as u64);
    double2hiint(d: f64) -> i32 = (d.to_bits() >> 32) as i32;
    double2loint(d: f64) -> i32 = d.to_bits() as i32;
    hiloint2double(x: i32, y: i32) -> f64 = f64::from_bits(((x as u32 as u64) << 32) | y as u32 as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_cuda() {
        // SAFETY: none of these has a precondition.
        unsafe {
            assert_eq!(byte_perm(0x3322_1100, 0x7766_5544, 0x7250) as u32, 0x7722_5500);
            assert_eq!((ffs(0), ffs(8), ffsll(1 << 40), clz(1), clzll(1), popc(-1)), (0, 4, 41, 31, 63, 32));
            assert_eq!((hadd(-3, 0), rhadd(-3, 0), uhadd(-1, 1), urhadd(-1, -1)), (-2, -1, i32::MIN, -1));
            assert_eq!((umax(-1, 1), umin(-1, 1), ullmax(-1, 1), ullmin(-1, 1)), (-1, 1, -1, 1));
            assert_eq!((mul24(0x00ff_ffff, 5), umul24(0x0100_0002, 3)), (-5, 6));
            assert_eq!((mulhi(-1, 2), umulhi(-1, 2), mul64hi(-1, 2), umul64hi(-1, 2)), (-1, 1, -1, 1));
            assert_eq!((sad(-5, 5, 1), usad(-5, 5, 1)), (11, -9));
            assert_eq!(hiloint2double(double2hiint(-1.25), double2loint(-1.25)), -1.25);
            assert_eq!(int_as_float(float_as_int(0.1)), 0.1);
            assert_eq!(abs(i32::MIN), i32::MIN);
        }
    }
}
