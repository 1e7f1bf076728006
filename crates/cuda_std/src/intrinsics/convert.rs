//! Conversions with an explicit rounding mode: `rn` to the nearest, `rz` toward zero, `ru` up, `rd` down. One instruction
//! each, on the GPU only. Unsigned numbers travel as signed ones, as in libdevice.

use super::instructions;

instructions! { reg32 <- reg64;
    double2int_rn(d: f64) -> i32 = "cvt.rni.s32.f64";
    double2uint_rn(d: f64) -> i32 = "cvt.rni.u32.f64";
    double2int_rz(d: f64) -> i32 = "cvt.rzi.s32.f64";
    double2uint_rz(d: f64) -> i32 = "cvt.rzi.u32.f64";
    double2int_ru(d: f64) -> i32 = "cvt.rpi.s32.f64";
    double2uint_ru(d: f64) -> i32 = "cvt.rpi.u32.f64";
    double2int_rd(d: f64) -> i32 = "cvt.rmi.s32.f64";
    double2uint_rd(d: f64) -> i32 = "cvt.rmi.u32.f64";
    double2float_rn(d: f64) -> f32 = "cvt.rn.f32.f64";
    ll2float_rn(l: i64) -> f32 = "cvt.rn.f32.s64";
    ull2float_rn(l: i64) -> f32 = "cvt.rn.f32.u64";
    double2float_rz(d: f64) -> f32 = "cvt.rz.f32.f64";
    ll2float_rz(l: i64) -> f32 = "cvt.rz.f32.s64";
    ull2float_rz(l: i64) -> f32 = "cvt.rz.f32.u64";
    double2float_ru(d: f64) -> f32 = "cvt.rp.f32.f64";
    ll2float_ru(l: i64) -> f32 = "cvt.rp.f32.s64";
    ull2float_ru(l: i64) -> f32 = "cvt.rp.f32.u64";
    double2float_rd(d: f64) -> f32 = "cvt.rm.f32.f64";
    ll2float_rd(l: i64) -> f32 = "cvt.rm.f32.s64";
    ull2float_rd(l: i64) -> f32 = "cvt.rm.f32.u64";
}

instructions! { reg64 <- reg64;
    double2ll_rn(f: f64) -> i64 = "cvt.rni.s64.f64";
    double2ull_rn(f: f64) -> i64 = "cvt.rni.u64.f64";
    double2ll_rz(f: f64) -> i64 = "cvt.rzi.s64.f64";
    double2ull_rz(f: f64) -> i64 = "cvt.rzi.u64.f64";
    double2ll_ru(f: f64) -> i64 = "cvt.rpi.s64.f64";
    double2ull_ru(f: f64) -> i64 = "cvt.rpi.u64.f64";
    double2ll_rd(f: f64) -> i64 = "cvt.rmi.s64.f64";
    double2ull_rd(f: f64) -> i64 = "cvt.rmi.u64.f64";
    ll2double_rn(l: i64) -> f64 = "cvt.rn.f64.s64";
    ull2double_rn(l: i64) -> f64 = "cvt.rn.f64.u64";
    ll2double_rz(l: i64) -> f64 = "cvt.rz.f64.s64";
    ull2double_rz(l: i64) -> f64 = "cvt.rz.f64.u64";
    ll2double_ru(l: i64) -> f64 = "cvt.rp.f64.s64";
    ull2double_ru(l: i64) -> f64 = "cvt.rp.f64.u64";
    ll2double_rd(l: i64) -> f64 = "cvt.rm.f64.s64";
    ull2double_rd(l: i64) -> f64 = "cvt.rm.f64.u64";
}

instructions! { reg32 <- reg32;
    float2int_rn(in_: f32) -> i32 = "cvt.rni.s32.f32";
    float2uint_rn(in_: f32) -> i32 = "cvt.rni.u32.f32";
    float2int_rz(in_: f32) -> i32 = "cvt.rzi.s32.f32";
    float2uint_rz(in_: f32) -> i32 = "cvt.rzi.u32.f32";
    float2int_ru(in_: f32) -> i32 = "cvt.rpi.s32.f32";
    float2uint_ru(in_: f32) -> i32 = "cvt.rpi.u32.f32";
    float2int_rd(in_: f32) -> i32 = "cvt.rmi.s32.f32";
    float2uint_rd(in_: f32) -> i32 = "cvt.rmi.u32.f32";
    int2float_rn(in_: i32) -> f32 = "cvt.rn.f32.s32";
    uint2float_rn(in_: i32) -> f32 = "cvt.rn.f32.u32";
    int2float_rz(in_: i32) -> f32 = "cvt.rz.f32.s32";
    uint2float_rz(in_: i32) -> f32 = "cvt.rz.f32.u32";
    int2float_ru(in_: i32) -> f32 = "cvt.rp.f32.s32";
    uint2float_ru(in_: i32) -> f32 = "cvt.rp.f32.u32";
    int2float_rd(in_: i32) -> f32 = "cvt.rm.f32.s32";
    uint2float_rd(in_: i32) -> f32 = "cvt.rm.f32.u32";
}

instructions! { reg64 <- reg32;
    float2ll_rn(f: f32) -> i64 = "cvt.rni.s64.f32";
    float2ull_rn(f: f32) -> i64 = "cvt.rni.u64.f32";
    float2ll_rz(f: f32) -> i64 = "cvt.rzi.s64.f32";
    float2ull_rz(f: f32) -> i64 = "cvt.rzi.u64.f32";
    float2ll_ru(f: f32) -> i64 = "cvt.rpi.s64.f32";
    float2ull_ru(f: f32) -> i64 = "cvt.rpi.u64.f32";
    float2ll_rd(f: f32) -> i64 = "cvt.rmi.s64.f32";
    float2ull_rd(f: f32) -> i64 = "cvt.rmi.u64.f32";
    int2double_rn(i: i32) -> f64 = "cvt.rn.f64.s32";
    uint2double_rn(i: i32) -> f64 = "cvt.rn.f64.u32";
}

instructions! { reg16 <- reg32;
    float2half_rn(f: f32) -> i16 = "cvt.rn.f16.f32";
}

instructions! { reg32 <- reg16;
    half2float(h: i16) -> f32 = "cvt.f32.f16";
}
