//! [`GpuFloat`]: the float functions of `std` for kernels.
//!
//! On the host every method is the one of `std`. On the GPU:

/// `std`'s float functions on the GPU, for `f32` and `f64`.
#[allow(missing_docs)]
pub trait GpuFloat: Copy + PartialOrd + private::Sealed {
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    fn trunc(self) -> Self;
    fn fract(self) -> Self;
    fn abs(self) -> Self;
    fn signum(self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn div_euclid(self, rhs: Self) -> Self;
    fn rem_euclid(self, rhs: Self) -> Self;
    fn powi(self, n: i32) -> Self;
    fn powf(self, n: Self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn exp2(self) -> Self;
    fn ln(self) -> Self;
    fn log(self, base: Self) -> Self;
    fn log2(self) -> Self;
    fn log10(self) -> Self;
    fn cbrt(self) -> Self;
    fn hypot(self, other: Self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn atan2(self, other: Self) -> Self;
    fn sin_cos(self) -> (Self, Self);
    fn exp_m1(self) -> Self;
    fn ln_1p(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn tanh(self) -> Self;
    fn asinh(self) -> Self;
    fn acosh(self) -> Self;
    fn atanh(self) -> Self;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// One method: `std`'s on the host, `$device` on the GPU.
macro_rules! method {
    ($ty:ty, $name:ident($($arg:ident: $arg_ty:ty),*) -> $out:ty, $device:expr) => {
        #[inline(always)]
        fn $name(self $(, $arg: $arg_ty)*) -> $out {
            #[cfg(not(target_arch = "nvptx64"))]
            return <$ty>::$name(self $(, $arg)*);
            #[cfg(target_arch = "nvptx64")]
            return $device(self $(, $arg)*);
        }
    };
}

impl GpuFloat for f32 {
    method!(f32, floor() -> f32, core::f32::math::floor);
    method!(f32, ceil() -> f32, core::f32::math::ceil);
    method!(f32, round() -> f32, core::f32::math::round);
    method!(f32, trunc() -> f32, core::f32::math::trunc);
    method!(f32, fract() -> f32, core::f32::math::fract);
    method!(f32, abs() -> f32, f32::abs);
    method!(f32, signum() -> f32, f32::signum);
    method!(f32, sqrt() -> f32, core::f32::math::sqrt);
    method!(f32, exp() -> f32, libm::expf);
    method!(f32, exp2() -> f32, libm::exp2f);
    method!(f32, ln() -> f32, libm::logf);
    method!(f32, log2() -> f32, libm::log2f);
    method!(f32, log10() -> f32, libm::log10f);
    method!(f32, cbrt() -> f32, libm::cbrtf);
    method!(f32, sin() -> f32, libm::sinf);
    method!(f32, cos() -> f32, libm::cosf);
    method!(f32, tan() -> f32, libm::tanf);
    method!(f32, asin() -> f32, libm::asinf);
    method!(f32, acos() -> f32, libm::acosf);
    method!(f32, atan() -> f32, libm::atanf);
    method!(f32, exp_m1() -> f32, libm::expm1f);
    method!(f32, ln_1p() -> f32, libm::log1pf);
    method!(f32, sinh() -> f32, libm::sinhf);
    method!(f32, cosh() -> f32, libm::coshf);
    method!(f32, tanh() -> f32, libm::tanhf);
    method!(f32, asinh() -> f32, libm::asinhf);
    method!(f32, acosh() -> f32, libm::acoshf);
    method!(f32, atanh() -> f32, libm::atanhf);
    method!(f32, sin_cos() -> (f32, f32), libm::sincosf);
    method!(f32, copysign(other: f32) -> f32, f32::copysign);
    method!(f32, div_euclid(other: f32) -> f32, core::f32::math::div_euclid);
    method!(f32, rem_euclid(other: f32) -> f32, core::f32::math::rem_euclid);
    method!(f32, powf(other: f32) -> f32, libm::powf);
    method!(f32, hypot(other: f32) -> f32, libm::hypotf);
    method!(f32, atan2(other: f32) -> f32, libm::atan2f);
    method!(f32, log(base: f32) -> f32, |x: f32, base: f32| libm::logf(x) / libm::logf(base));
    method!(f32, mul_add(a: f32, b: f32) -> f32, core::f32::math::mul_add);
    method!(f32, powi(n: i32) -> f32, |x: f32, n: i32| libm::powf(x, n as f32));
}

impl GpuFloat for f64 {
    method!(f64, floor() -> f64, core::f64::math::floor);
    method!(f64, ceil() -> f64, core::f64::math::ceil);
    method!(f64, round() -> f64, core::f64::math::round);
    method!(f64, trunc() -> f64, core::f64::math::trunc);
    method!(f64, fract() -> f64, core::f64::math::fract);
    method!(f64, abs() -> f64, f64::abs);
    method!(f64, signum() -> f64, f64::signum);
    method!(f64, sqrt() -> f64, core::f64::math::sqrt);
    method!(f64, exp() -> f64, libm::exp);
    method!(f64, exp2() -> f64, libm::exp2);
    method!(f64, ln() -> f64, libm::log);
    method!(f64, log2() -> f64, libm::log2);
    method!(f64, log10() -> f64, libm::log10);
    method!(f64, cbrt() -> f64, libm::cbrt);
    method!(f64, sin() -> f64, libm::sin);
    method!(f64, cos() -> f64, libm::cos);
    method!(f64, tan() -> f64, libm::tan);
    method!(f64, asin() -> f64, libm::asin);
    method!(f64, acos() -> f64, libm::acos);
    method!(f64, atan() -> f64, libm::atan);
    method!(f64, exp_m1() -> f64, libm::expm1);
    method!(f64, ln_1p() -> f64, libm::log1p);
    method!(f64, sinh() -> f64, libm::sinh);
    method!(f64, cosh() -> f64, libm::cosh);
    method!(f64, tanh() -> f64, libm::tanh);
    method!(f64, asinh() -> f64, libm::asinh);
    method!(f64, acosh() -> f64, libm::acosh);
    method!(f64, atanh() -> f64, libm::atanh);
    method!(f64, sin_cos() -> (f64, f64), libm::sincos);
    method!(f64, copysign(other: f64) -> f64, f64::copysign);
    method!(f64, div_euclid(other: f64) -> f64, core::f64::math::div_euclid);
    method!(f64, rem_euclid(other: f64) -> f64, core::f64::math::rem_euclid);
    method!(f64, powf(other: f64) -> f64, libm::pow);
    method!(f64, hypot(other: f64) -> f64, libm::hypot);
    method!(f64, atan2(other: f64) -> f64, libm::atan2);
    method!(f64, log(base: f64) -> f64, |x: f64, base: f64| libm::log(x) / libm::log(base));
    method!(f64, mul_add(a: f64, b: f64) -> f64, core::f64::math::mul_add);
    method!(f64, powi(n: i32) -> f64, |x: f64, n: i32| libm::pow(x, n as f64));
}
