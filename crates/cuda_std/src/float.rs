//! [`GpuFloat`]: the float functions of `std` for kernels.
//!
//! On the host every method is `std`'s. On the GPU there is no libdevice; instead:
//!
//! * `floor`, `ceil`, `round`, `trunc`, `abs`, `copysign`, `mul_add` and `sqrt` are instructions, all exact or correctly
//!   rounded (`fma.rn`, `sqrt.rn`);
//! * everything else is the pure-Rust crate `libm`, in the method's own precision. Its largest errors, found by this file's
//!   tests on a sweep of each function's arguments:
//!
//! | functions                                                              | f32 ulp | f64 ulp |
//! |------------------------------------------------------------------------|---------|---------|
//! | `exp` `exp2` `exp_m1` `ln` `ln_1p` `log2` `log10` `cbrt` `hypot` `powf` | 1       | 1       |
//! | `sin` `cos` `tan` `asin` `acos` `atan`                                 | 1       | 1       |
//! | `atan2` `sinh` `cosh`                                                  | 2       | 2       |
//! | `tanh`                                                                 | 2.5     | 2.5     |
//! | `asinh` `acosh` `atanh`                                                | 3       | 3       |
//!
//! `powi` multiplies repeatedly, with an error of up to `n` ulp; `log(base)` divides two logarithms. Fused multiply-adds,
//! which the GPU's compiler makes of `a * b + c`, can move a result by one more ulp. Subnormals are kept.
//!
//! A kernel that is bound by such a function uses the hardware's approximations instead
//! ([`intrinsics::fast`](crate::intrinsics::fast)) and states their error.

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// One method of an impl: `std`'s on the host, `$device` on the GPU.
macro_rules! method {
    ($ty:ident, $name:ident, [$($arg:ident: $arg_ty:ty),*], $out:ty, $device:expr) => {
        #[inline(always)]
        fn $name(self $(, $arg: $arg_ty)*) -> $out {
            #[cfg(not(target_arch = "nvptx64"))]
            return <$ty>::$name(self $(, $arg)*);
            #[cfg(target_arch = "nvptx64")]
            return $device(self $(, $arg)*);
        }
    };
}

/// The trait and its two impls: for each method its docs, name, and the GPU's functions for `f32` and `f64`.
macro_rules! gpu_float {
    (
        unary { $($(#[$u_doc:meta])* $u:ident = $u32_:expr, $u64_:expr;)* }
        binary { $($(#[$b_doc:meta])* $b:ident($b_arg:ident) = $b32:expr, $b64:expr;)* }
        other { $($(#[$o_doc:meta])* $o:ident($($o_arg:ident: $o_ty:ty),*) -> $o_out:ty = $o32:expr, $o64:expr;)* }
    ) => {
        /// `std`'s float functions for kernels, under `std`'s names; see the [module's docs](self) for their errors.
        pub trait GpuFloat: Copy + PartialOrd + private::Sealed {
            $($(#[$u_doc])* fn $u(self) -> Self;)*
            $($(#[$b_doc])* fn $b(self, $b_arg: Self) -> Self;)*
            $($(#[$o_doc])* fn $o(self $(, $o_arg: $o_ty)*) -> $o_out;)*
        }

        impl GpuFloat for f32 {
            $(method!(f32, $u, [], f32, $u32_);)*
            $(method!(f32, $b, [$b_arg: f32], f32, $b32);)*
            $(method!(f32, $o, [$($o_arg: $o_ty),*], $o_out, $o32);)*
        }

        impl GpuFloat for f64 {
            $(method!(f64, $u, [], f64, $u64_);)*
            $(method!(f64, $b, [$b_arg: f64], f64, $b64);)*
            $(method!(f64, $o, [$($o_arg: $o_ty),*], $o_out, $o64);)*
        }
    };
}

gpu_float! {
    unary {
        /// The largest integer that is not above `self`.
        floor = core::f32::math::floor, core::f64::math::floor;
        /// The smallest integer that is not below `self`.
        ceil = core::f32::math::ceil, core::f64::math::ceil;
        /// The nearest integer; halves away from 0.
        round = core::f32::math::round, core::f64::math::round;
        /// The integer toward 0.
        trunc = core::f32::math::trunc, core::f64::math::trunc;
        /// `self - self.trunc()`.
        fract = core::f32::math::fract, core::f64::math::fract;
        /// The absolute value.
        abs = f32::abs, f64::abs;
        /// 1 with the sign of `self`, zero's too; NaN of NaN.
        signum = f32::signum, f64::signum;
        /// The square root.
        sqrt = core::f32::math::sqrt, core::f64::math::sqrt;
        /// `e^self`.
        exp = libm::expf, libm::exp;
        /// `2^self`.
        exp2 = libm::exp2f, libm::exp2;
        /// The natural logarithm.
        ln = libm::logf, libm::log;
        /// The logarithm in base 2.
        log2 = libm::log2f, libm::log2;
        /// The logarithm in base 10.
        log10 = libm::log10f, libm::log10;
        /// The cube root.
        cbrt = libm::cbrtf, libm::cbrt;
        /// The sine, of radians.
        sin = libm::sinf, libm::sin;
        /// The cosine, of radians.
        cos = libm::cosf, libm::cos;
        /// The tangent, of radians.
        tan = libm::tanf, libm::tan;
        /// The arc sine, in radians.
        asin = libm::asinf, libm::asin;
        /// The arc cosine, in radians.
        acos = libm::acosf, libm::acos;
        /// The arc tangent, in radians.
        atan = libm::atanf, libm::atan;
        /// `e^self - 1`, accurate near 0.
        exp_m1 = libm::expm1f, libm::expm1;
        /// `ln(1 + self)`, accurate near 0.
        ln_1p = libm::log1pf, libm::log1p;
        /// The hyperbolic sine.
        sinh = libm::sinhf, libm::sinh;
        /// The hyperbolic cosine.
        cosh = libm::coshf, libm::cosh;
        /// The hyperbolic tangent.
        tanh = libm::tanhf, libm::tanh;
        /// The inverse hyperbolic sine.
        asinh = libm::asinhf, libm::asinh;
        /// The inverse hyperbolic cosine.
        acosh = acosh_f32, acosh_f64;
        /// The inverse hyperbolic tangent.
        atanh = libm::atanhf, libm::atanh;
    }
    binary {
        /// The magnitude of `self` with the sign of `sign`.
        copysign(sign) = f32::copysign, f64::copysign;
        /// The quotient of Euclidean division, an integer.
        div_euclid(rhs) = core::f32::math::div_euclid, core::f64::math::div_euclid;
        /// The remainder of Euclidean division, not negative.
        rem_euclid(rhs) = core::f32::math::rem_euclid, core::f64::math::rem_euclid;
        /// `self^n`.
        powf(n) = libm::powf, libm::pow;
        /// The logarithm in this base.
        log(base) = |x: f32, base| libm::logf(x) / libm::logf(base), |x: f64, base| libm::log(x) / libm::log(base);
        /// `sqrt(self^2 + other^2)` without overflow on the way.
        hypot(other) = libm::hypotf, libm::hypot;
        /// The angle of the point (`other`, `self`), in radians.
        atan2(other) = libm::atan2f, libm::atan2;
    }
    other {
        /// `self * a + b`, rounded once.
        mul_add(a: Self, b: Self) -> Self = core::f32::math::mul_add, core::f64::math::mul_add;
        /// `self^n`.
        powi(n: i32) -> Self = powi_f32, powi_f64;
        /// Sine and cosine.
        sin_cos() -> (Self, Self) = libm::sincosf, libm::sincos;
    }
}

/// The inverse hyperbolic cosine: `libm`'s, which below 1 gives numbers of no meaning, and NaN there.
#[inline(always)]
pub(crate) fn acosh_f32(x: f32) -> f32 {
    if x < 1.0 { f32::NAN } else { libm::acoshf(x) }
}

/// The inverse hyperbolic cosine: `libm`'s, which below 1 gives numbers of no meaning, and NaN there.
#[inline(always)]
pub(crate) fn acosh_f64(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

/// Square and multiply.
macro_rules! powi {
    ($name:ident, $ty:ty) => {
        #[cfg(any(target_arch = "nvptx64", test))]
        #[inline(always)]
        fn $name(mut x: $ty, n: i32) -> $ty {
            let (mut rest, mut out) = (n.unsigned_abs(), 1.0);
            while rest != 0 {
                if rest & 1 == 1 {
                    out *= x;
                }
                x *= x;
                rest >>= 1;
            }
            if n < 0 { 1.0 / out } else { out }
        }
    };
}
powi!(powi_f32, f32);
powi!(powi_f64, f64);

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance of `got` from `want` in units of a result with `digits` binary digits and this smallest exponent.
    fn ulps(got: f64, want: f64, digits: i32, smallest: i32) -> f64 {
        if got == want || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let exponent = if want == 0.0 { smallest } else { libm::ilogb(want).max(smallest) };
        let largest = libm::ldexp(2.0 - libm::ldexp(1.0, 1 - digits), -smallest + 1);
        if got.is_infinite() && want.abs() >= largest {
            return 0.0;
        }
        if !want.is_finite() || got.is_nan() {
            return f64::INFINITY;
        }
        (got - want).abs() / libm::ldexp(1.0, exponent + 1 - digits)
    }

    // std's own inverse hyperbolic functions lose digits at the ends of their domains.
    fn asinh(x: f64) -> f64 {
        let large = x.abs().ln() + core::f64::consts::LN_2;
        if x.abs() > 1e10 { large.copysign(x) } else { x.asinh() }
    }
    fn acosh(x: f64) -> f64 {
        if x > 1e10 { x.ln() + core::f64::consts::LN_2 } else { x.acosh() }
    }
    fn atanh(x: f64) -> f64 {
        let a = x.abs();
        (0.5 * (2.0 * a / (1.0 - a)).ln_1p()).copysign(x)
    }

    type Unary = (&'static str, fn(f32) -> f32, fn(f64) -> f64, fn(f64) -> f64, f64);

    /// Name, the GPU's f32 and f64 functions, std's f64 function, and the bound that the table above states.
    const UNARY: [Unary; 20] = [
        ("exp", libm::expf, libm::exp, f64::exp, 1.0),
        ("exp2", libm::exp2f, libm::exp2, f64::exp2, 1.0),
        ("exp_m1", libm::expm1f, libm::expm1, f64::exp_m1, 1.0),
        ("ln", libm::logf, libm::log, f64::ln, 1.0),
        ("ln_1p", libm::log1pf, libm::log1p, f64::ln_1p, 1.0),
        ("log2", libm::log2f, libm::log2, f64::log2, 1.0),
        ("log10", libm::log10f, libm::log10, f64::log10, 1.0),
        ("cbrt", libm::cbrtf, libm::cbrt, f64::cbrt, 1.0),
        ("sin", libm::sinf, libm::sin, f64::sin, 1.0),
        ("cos", libm::cosf, libm::cos, f64::cos, 1.0),
        ("tan", libm::tanf, libm::tan, f64::tan, 1.0),
        ("asin", libm::asinf, libm::asin, f64::asin, 1.0),
        ("acos", libm::acosf, libm::acos, f64::acos, 1.0),
        ("atan", libm::atanf, libm::atan, f64::atan, 1.0),
        ("sinh", libm::sinhf, libm::sinh, f64::sinh, 2.0),
        ("cosh", libm::coshf, libm::cosh, f64::cosh, 2.0),
        ("tanh", libm::tanhf, libm::tanh, f64::tanh, 2.5),
        ("asinh", libm::asinhf, libm::asinh, asinh, 3.0),
        ("acosh", acosh_f32, acosh_f64, acosh, 3.0),
        ("atanh", libm::atanhf, libm::atanh, atanh, 3.0),
    ];

    #[test]
    fn f32_errors_stay_within_the_table() {
        let mut failed = Vec::new();
        for (name, f, _, oracle, bound) in UNARY {
            let mut worst = (0.0, 0.0);
            for bits in (0..=u32::MAX).step_by(if cfg!(debug_assertions) { 40_009 } else { 4_001 }) {
                let x = f32::from_bits(bits);
                let error = ulps(f(x) as f64, oracle(x as f64), 24, -126);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{name}: {:.3} ulp at {:e}", worst.0, worst.1);
            if worst.0 > bound {
                failed.push((name, worst));
            }
        }
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn f64_errors_stay_within_the_table() {
        // std's own functions are the oracle here, and not exact either: half an ulp more.
        let mut failed = Vec::new();
        for (name, _, f, oracle, bound) in UNARY {
            let mut worst = (0.0, 0.0);
            for i in 0..50_000u64 {
                // Exponents from -60 to 60 for most, every exponent for some; both signs.
                let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let exponent = if i % 8 == 0 { mixed >> 53 & 0x7fe } else { 1023 - 60 + i % 121 };
                let x = f64::from_bits((i & 1) << 63 | exponent << 52 | mixed >> 12);
                let error = ulps(f(x), oracle(x), 53, -1022);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{name}: {:.3} ulp at {:e}", worst.0, worst.1);
            if worst.0 > bound + 0.5 {
                failed.push((name, worst));
            }
        }
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn functions_of_two_arguments_stay_within_the_table() {
        let value = |i: u32| f32::from_bits((i.wrapping_mul(0x9e37_79b9) >> 4) + (111 << 23));
        let mut worst = [0f64; 4];
        for i in 1..200_000u32 {
            let (x, y) = (value(i), value(i.wrapping_mul(7) ^ 0x55));
            let (a, b) = (x as f64, y as f64);
            let errors = [
                ulps(libm::powf(x, y % 8.0) as f64, a.powf((y % 8.0) as f64), 24, -126),
                ulps(libm::hypotf(x, y) as f64, a.hypot(b), 24, -126),
                ulps(libm::atan2f(x, -y) as f64, a.atan2(-b), 24, -126) / 2.0,
                ulps(powi_f64(a % 4.0 + 0.5, -7), (a % 4.0 + 0.5).powf(-7.0), 53, -1022) / 8.0,
            ];
            for (worst, error) in worst.iter_mut().zip(errors) {
                *worst = worst.max(error);
            }
        }
        println!("powf, hypot, atan2 / 2, powi / 8: {worst:?}");
        assert!(worst.iter().all(|&error| error <= 1.0), "{worst:?}");
        assert_eq!((powi_f32(2.0, -3), powi_f32(-3.0, 3), powi_f32(0.0, 0)), (0.125, -27.0, 1.0));
    }
}
