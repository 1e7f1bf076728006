//! Arithmetic with an explicit rounding mode: `rn` to the nearest, `rz` toward zero, `ru` up, `rd` down. One instruction
//! each, on the GPU only.

use super::instructions;

instructions! { reg64 <- reg64 reg64;
    dadd_rd(x: f64, y: f64) -> f64 = "add.rm.f64";
    dadd_rn(x: f64, y: f64) -> f64 = "add.rn.f64";
    dadd_ru(x: f64, y: f64) -> f64 = "add.rp.f64";
    dadd_rz(x: f64, y: f64) -> f64 = "add.rz.f64";
    ddiv_rd(x: f64, y: f64) -> f64 = "div.rm.f64";
    ddiv_rn(x: f64, y: f64) -> f64 = "div.rn.f64";
    ddiv_ru(x: f64, y: f64) -> f64 = "div.rp.f64";
    ddiv_rz(x: f64, y: f64) -> f64 = "div.rz.f64";
    dmul_rd(x: f64, y: f64) -> f64 = "mul.rm.f64";
    dmul_rn(x: f64, y: f64) -> f64 = "mul.rn.f64";
    dmul_ru(x: f64, y: f64) -> f64 = "mul.rp.f64";
    dmul_rz(x: f64, y: f64) -> f64 = "mul.rz.f64";
}

instructions! { reg64 <- reg64;
    drcp_rd(x: f64) -> f64 = "rcp.rm.f64";
    drcp_rn(x: f64) -> f64 = "rcp.rn.f64";
    drcp_ru(x: f64) -> f64 = "rcp.rp.f64";
    drcp_rz(x: f64) -> f64 = "rcp.rz.f64";
    dsqrt_rd(x: f64) -> f64 = "sqrt.rm.f64";
    dsqrt_rn(x: f64) -> f64 = "sqrt.rn.f64";
    dsqrt_ru(x: f64) -> f64 = "sqrt.rp.f64";
    dsqrt_rz(x: f64) -> f64 = "sqrt.rz.f64";
}

instructions! { reg64 <- reg64 reg64 reg64;
    fma_rd(x: f64, y: f64, z: f64) -> f64 = "fma.rm.f64";
    fma_rn(x: f64, y: f64, z: f64) -> f64 = "fma.rn.f64";
    fma_ru(x: f64, y: f64, z: f64) -> f64 = "fma.rp.f64";
    fma_rz(x: f64, y: f64, z: f64) -> f64 = "fma.rz.f64";
}

instructions! { reg32 <- reg32 reg32;
    fadd_rd(x: f32, y: f32) -> f32 = "add.rm.f32";
    fadd_rn(x: f32, y: f32) -> f32 = "add.rn.f32";
    fadd_ru(x: f32, y: f32) -> f32 = "add.rp.f32";
    fadd_rz(x: f32, y: f32) -> f32 = "add.rz.f32";
    fdiv_rd(x: f32, y: f32) -> f32 = "div.rm.f32";
    fdiv_rn(x: f32, y: f32) -> f32 = "div.rn.f32";
    fdiv_ru(x: f32, y: f32) -> f32 = "div.rp.f32";
    fdiv_rz(x: f32, y: f32) -> f32 = "div.rz.f32";
    fmul_rd(x: f32, y: f32) -> f32 = "mul.rm.f32";
    fmul_rn(x: f32, y: f32) -> f32 = "mul.rn.f32";
    fmul_ru(x: f32, y: f32) -> f32 = "mul.rp.f32";
    fmul_rz(x: f32, y: f32) -> f32 = "mul.rz.f32";
    fsub_rd(x: f32, y: f32) -> f32 = "sub.rm.f32";
    fsub_rn(x: f32, y: f32) -> f32 = "sub.rn.f32";
    fsub_ru(x: f32, y: f32) -> f32 = "sub.rp.f32";
    fsub_rz(x: f32, y: f32) -> f32 = "sub.rz.f32";
}

instructions! { reg32 <- reg32;
    frcp_rd(x: f32) -> f32 = "rcp.rm.f32";
    frcp_rn(x: f32) -> f32 = "rcp.rn.f32";
    frcp_ru(x: f32) -> f32 = "rcp.rp.f32";
    frcp_rz(x: f32) -> f32 = "rcp.rz.f32";
    fsqrt_rd(x: f32) -> f32 = "sqrt.rm.f32";
    fsqrt_rn(x: f32) -> f32 = "sqrt.rn.f32";
    fsqrt_ru(x: f32) -> f32 = "sqrt.rp.f32";
    fsqrt_rz(x: f32) -> f32 = "sqrt.rz.f32";
}

instructions! { reg32 <- reg32 reg32 reg32;
    fmaf_rd(x: f32, y: f32, z: f32) -> f32 = "fma.rm.f32";
    fmaf_rn(x: f32, y: f32, z: f32) -> f32 = "fma.rn.f32";
    fmaf_ru(x: f32, y: f32, z: f32) -> f32 = "fma.rp.f32";
    fmaf_rz(x: f32, y: f32, z: f32) -> f32 = "fma.rz.f32";
}

/// libdevice's `frsqrt_rn`: 1/sqrt(x), computed in f64 and rounded once (to the nearest but for double rounding).
#[inline(always)]
pub unsafe fn frsqrt_rn(x: f32) -> f32 {
    (1.0 / libm::sqrt(x as f64)) as f32
}
