//! The C mathematics library. Errors are those of the crate `libm` (below 1 ulp for most; see `cuda_std::float`) and of
//! [`special`].

use super::special;

/// A pair's first, with its second stored at `at`.
///
/// # Safety
///
/// `at` is valid for writing.
#[inline(always)]
unsafe fn put2<A, B>((first, second): (A, B), at: *mut B) -> A {
    // SAFETY: the caller's contract.
    unsafe { *at = second };
    first
}

/// Stores both of a pair.
///
/// # Safety
///
/// Both pointers are valid for writing.
#[inline(always)]
unsafe fn put_both<A>((first, second): (A, A), a: *mut A, b: *mut A) {
    // SAFETY: the caller's contract.
    unsafe {
        *a = first;
        *b = second;
    }
}

macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $value:expr;)*) => {$(
        #[doc = concat!("libdevice's `", stringify!($name), "`.")]
        #[inline(always)]
        #[allow(unused_unsafe)]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: pointers are valid by the caller's contract; the rest has no precondition.
            unsafe { $value }
        }
    )*};
}

functions! {
    acos(x: f64) -> f64 = libm::acos(x);
    acosf(x: f32) -> f32 = libm::acosf(x);
    acosh(x: f64) -> f64 = crate::float::acosh_f64(x);
    acoshf(x: f32) -> f32 = crate::float::acosh_f32(x);
    asin(x: f64) -> f64 = libm::asin(x);
    asinf(x: f32) -> f32 = libm::asinf(x);
    asinh(x: f64) -> f64 = libm::asinh(x);
    asinhf(x: f32) -> f32 = libm::asinhf(x);
    atan(x: f64) -> f64 = libm::atan(x);
    atan2(x: f64, y: f64) -> f64 = libm::atan2(x, y);
    atan2f(x: f32, y: f32) -> f32 = libm::atan2f(x, y);
    atanf(x: f32) -> f32 = libm::atanf(x);
    atanh(x: f64) -> f64 = libm::atanh(x);
    atanhf(x: f32) -> f32 = libm::atanhf(x);
    cbrt(x: f64) -> f64 = libm::cbrt(x);
    cbrtf(x: f32) -> f32 = libm::cbrtf(x);
    ceil(x: f64) -> f64 = libm::ceil(x);
    ceilf(x: f32) -> f32 = libm::ceilf(x);
    copysign(x: f64, y: f64) -> f64 = libm::copysign(x, y);
    copysignf(x: f32, y: f32) -> f32 = libm::copysignf(x, y);
    cos(x: f64) -> f64 = libm::cos(x);
    cosf(x: f32) -> f32 = libm::cosf(x);
    cosh(x: f64) -> f64 = libm::cosh(x);
    coshf(x: f32) -> f32 = libm::coshf(x);
    cospi(x: f64) -> f64 = special::cospi(x);
    cospif(x: f32) -> f32 = special::cospi(x as f64) as f32;
    erf(x: f64) -> f64 = libm::erf(x);
    erfc(x: f64) -> f64 = libm::erfc(x);
    erfcf(x: f32) -> f32 = libm::erfcf(x);
    erfcinv(x: f64) -> f64 = special::erfcinv(x);
    erfcinvf(x: f32) -> f32 = special::erfcinv(x as f64) as f32;
    erfcx(x: f64) -> f64 = special::erfcx(x);
    erfcxf(x: f32) -> f32 = special::erfcx(x as f64) as f32;
    erff(x: f32) -> f32 = libm::erff(x);
    erfinv(x: f64) -> f64 = special::erfinv(x);
    erfinvf(x: f32) -> f32 = special::erfinv(x as f64) as f32;
    exp(x: f64) -> f64 = libm::exp(x);
    exp10(x: f64) -> f64 = libm::exp10(x);
    exp10f(x: f32) -> f32 = libm::exp10f(x);
    exp2(x: f64) -> f64 = libm::exp2(x);
    exp2f(x: f32) -> f32 = libm::exp2f(x);
    expf(x: f32) -> f32 = libm::expf(x);
    expm1(x: f64) -> f64 = libm::expm1(x);
    expm1f(x: f32) -> f32 = libm::expm1f(x);
    fabs(x: f64) -> f64 = libm::fabs(x);
    fabsf(x: f32) -> f32 = libm::fabsf(x);
    fdim(x: f64, y: f64) -> f64 = libm::fdim(x, y);
    fdimf(x: f32, y: f32) -> f32 = libm::fdimf(x, y);
    finitef(x: f32) -> i32 = x.is_finite() as i32;
    floor(x: f64) -> f64 = libm::floor(x);
    floorf(x: f32) -> f32 = libm::floorf(x);
    fma(x: f64, y: f64, z: f64) -> f64 = crate::GpuFloat::mul_add(x, y, z);
    fmaf(x: f32, y: f32, z: f32) -> f32 = crate::GpuFloat::mul_add(x, y, z);
    fmax(x: f64, y: f64) -> f64 = libm::fmax(x, y);
    fmaxf(x: f32, y: f32) -> f32 = libm::fmaxf(x, y);
    fmin(x: f64, y: f64) -> f64 = libm::fmin(x, y);
    fminf(x: f32, y: f32) -> f32 = libm::fminf(x, y);
    fmod(x: f64, y: f64) -> f64 = libm::fmod(x, y);
    fmodf(x: f32, y: f32) -> f32 = libm::fmodf(x, y);
    frexp(x: f64, b: *mut i32) -> f64 = put2(libm::frexp(x), b);
    frexpf(x: f32, b: *mut i32) -> f32 = put2(libm::frexpf(x), b);
    hypot(x: f64, y: f64) -> f64 = libm::hypot(x, y);
    hypotf(x: f32, y: f32) -> f32 = libm::hypotf(x, y);
    ilogb(x: f64) -> i32 = libm::ilogb(x);
    ilogbf(x: f32) -> i32 = libm::ilogbf(x);
    isfinited(x: f64) -> i32 = x.is_finite() as i32;
    isinfd(x: f64) -> i32 = x.is_infinite() as i32;
    isinff(x: f32) -> i32 = x.is_infinite() as i32;
    isnand(x: f64) -> i32 = x.is_nan() as i32;
    isnanf(x: f32) -> i32 = x.is_nan() as i32;
    j0(x: f64) -> f64 = libm::j0(x);
    j0f(x: f32) -> f32 = libm::j0f(x);
    j1(x: f64) -> f64 = libm::j1(x);
    j1f(x: f32) -> f32 = libm::j1f(x);
    jn(n: i32, x: f64) -> f64 = libm::jn(n, x);
    jnf(n: i32, x: f32) -> f32 = libm::jnf(n, x);
    ldexp(x: f64, y: i32) -> f64 = libm::ldexp(x, y);
    ldexpf(x: f32, y: i32) -> f32 = libm::ldexpf(x, y);
    lgamma(x: f64) -> f64 = libm::lgamma(x);
    lgammaf(x: f32) -> f32 = libm::lgammaf(x);
    llrint(x: f64) -> i64 = libm::rint(x) as i64;
    llrintf(x: f32) -> i64 = libm::rintf(x) as i64;
    llround(x: f64) -> i64 = libm::round(x) as i64;
    llroundf(x: f32) -> i64 = libm::roundf(x) as i64;
    log(x: f64) -> f64 = libm::log(x);
    log10(x: f64) -> f64 = libm::log10(x);
    log10f(x: f32) -> f32 = libm::log10f(x);
    log1p(x: f64) -> f64 = libm::log1p(x);
    log1pf(x: f32) -> f32 = libm::log1pf(x);
    log2(x: f64) -> f64 = libm::log2(x);
    log2f(x: f32) -> f32 = libm::log2f(x);
    logb(x: f64) -> f64 = special::logb(x);
    logbf(x: f32) -> f32 = special::logb_f32(x);
    logf(x: f32) -> f32 = libm::logf(x);
    modf(x: f64, b: *mut f64) -> f64 = put2(libm::modf(x), b);
    modff(x: f32, b: *mut f32) -> f32 = put2(libm::modff(x), b);
    nan(_tagp: *mut i8) -> f64 = f64::NAN;
    nanf(_tagp: *mut i8) -> f32 = f32::NAN;
    nearbyint(x: f64) -> f64 = libm::rint(x);
    nearbyintf(x: f32) -> f32 = libm::rintf(x);
    nextafter(x: f64, y: f64) -> f64 = libm::nextafter(x, y);
    nextafterf(x: f32, y: f32) -> f32 = libm::nextafterf(x, y);
    normcdf(x: f64) -> f64 = special::normcdf(x);
    normcdff(x: f32) -> f32 = special::normcdf(x as f64) as f32;
    normcdfinv(x: f64) -> f64 = special::normcdfinv(x);
    normcdfinvf(x: f32) -> f32 = special::normcdfinv(x as f64) as f32;
    pow(x: f64, y: f64) -> f64 = libm::pow(x, y);
    powf(x: f32, y: f32) -> f32 = libm::powf(x, y);
    powi(x: f64, y: i32) -> f64 = crate::GpuFloat::powi(x, y);
    powif(x: f32, y: i32) -> f32 = crate::GpuFloat::powi(x, y);
    rcbrt(x: f64) -> f64 = 1.0 / libm::cbrt(x);
    rcbrtf(x: f32) -> f32 = 1.0 / libm::cbrtf(x);
    remainder(x: f64, y: f64) -> f64 = libm::remainder(x, y);
    remainderf(x: f32, y: f32) -> f32 = libm::remainderf(x, y);
    remquo(x: f64, y: f64, c: *mut i32) -> f64 = put2(libm::remquo(x, y), c);
    remquof(x: f32, y: f32, c: *mut i32) -> f32 = put2(libm::remquof(x, y), c);
    rint(x: f64) -> f64 = libm::rint(x);
    rintf(x: f32) -> f32 = libm::rintf(x);
    round(x: f64) -> f64 = libm::round(x);
    roundf(x: f32) -> f32 = libm::roundf(x);
    rsqrt(x: f64) -> f64 = 1.0 / libm::sqrt(x);
    rsqrtf(x: f32) -> f32 = 1.0 / libm::sqrtf(x);
    saturatef(x: f32) -> f32 = if x > 0.0 { libm::fminf(x, 1.0) } else { 0.0 };
    scalbn(x: f64, y: i32) -> f64 = libm::scalbn(x, y);
    scalbnf(x: f32, y: i32) -> f32 = libm::scalbnf(x, y);
    signbitd(x: f64) -> i32 = x.is_sign_negative() as i32;
    signbitf(x: f32) -> i32 = x.is_sign_negative() as i32;
    sin(x: f64) -> f64 = libm::sin(x);
    sincos(x: f64, sptr: *mut f64, cptr: *mut f64) -> () = put_both(libm::sincos(x), sptr, cptr);
    sincosf(x: f32, sptr: *mut f32, cptr: *mut f32) -> () = put_both(libm::sincosf(x), sptr, cptr);
    sincospi(x: f64, sptr: *mut f64, cptr: *mut f64) -> () = put_both((special::sinpi(x), special::cospi(x)), sptr, cptr);
    sincospif(x: f32, sptr: *mut f32, cptr: *mut f32) -> () = put_both((special::sinpi(x as f64) as f32, special::cospi(x as f64) as f32), sptr, cptr);
    sinf(x: f32) -> f32 = libm::sinf(x);
    sinh(x: f64) -> f64 = libm::sinh(x);
    sinhf(x: f32) -> f32 = libm::sinhf(x);
    sinpi(x: f64) -> f64 = special::sinpi(x);
    sinpif(x: f32) -> f32 = special::sinpi(x as f64) as f32;
    sqrt(x: f64) -> f64 = libm::sqrt(x);
    sqrtf(x: f32) -> f32 = libm::sqrtf(x);
    tan(x: f64) -> f64 = libm::tan(x);
    tanf(x: f32) -> f32 = libm::tanf(x);
    tanh(x: f64) -> f64 = libm::tanh(x);
    tanhf(x: f32) -> f32 = libm::tanhf(x);
    tgamma(x: f64) -> f64 = libm::tgamma(x);
    tgammaf(x: f32) -> f32 = libm::tgammaf(x);
    trunc(x: f64) -> f64 = libm::trunc(x);
    truncf(x: f32) -> f32 = libm::truncf(x);
    y0(x: f64) -> f64 = libm::y0(x);
    y0f(x: f32) -> f32 = libm::y0f(x);
    y1(x: f64) -> f64 = libm::y1(x);
    y1f(x: f32) -> f32 = libm::y1f(x);
    yn(n: i32, x: f64) -> f64 = libm::yn(n, x);
    ynf(n: i32, x: f32) -> f32 = libm::ynf(n, x);
}
