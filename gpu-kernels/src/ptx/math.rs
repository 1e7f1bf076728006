//! Arithmetic instructions. Errors are the PTX ISA's bounds; denormals are kept (no `.ftz`).

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// A function of one f32 that is one instruction.
macro_rules! unary {
    ($(#[$doc:meta])* $name:ident = $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[gpu_only]
        pub fn $name(x: f32) -> f32 {
            let y: f32;
            // SAFETY: arithmetic on registers has no precondition.
            unsafe {
                asm!(
                    concat!($instruction, " {}, {};"),
                    out(reg32) y,
                    in(reg32) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            y
        }
    };
}

unary!(
    /// `2^x` (`ex2.approx.f32`): at most 2 ulp; 2^-inf = +0, 2^inf = inf, NaN stays NaN.
    ex2_approx = "ex2.approx.f32"
);
unary!(
    /// `log2(x)` (`lg2.approx.f32`): absolute error at most 2^-22.6 for x in (0.5, 2), relative elsewhere; -inf at 0, NaN
    /// below.
    lg2_approx = "lg2.approx.f32"
);
unary!(
    /// `1/x` (`rcp.approx.f32`): at most 1 ulp.
    rcp_approx = "rcp.approx.f32"
);
unary!(
    /// `1/sqrt(x)` (`rsqrt.approx.f32`): relative error at most 2^-22.9; inf at 0, NaN below.
    rsqrt_approx = "rsqrt.approx.f32"
);
unary!(
    /// `tanh(x)` (`tanh.approx.f32`): relative error at most 2^-11, so about half of f32's digits.
    tanh_approx = "tanh.approx.f32"
);
unary!(
    /// `sqrt(x)`, correctly rounded (`sqrt.rn.f32`); NaN below 0.
    sqrt_rn = "sqrt.rn.f32"
);

/// `a * b + c` with one rounding (`fma.rn.f32`), whatever the compiler's setting.
#[inline(always)]
#[gpu_only]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    cuda_std::GpuFloat::mul_add(a, b, c)
}

/// `x`, as a number that the compiler does not know: a loop up to it stays a loop.
#[inline(always)]
#[gpu_only]
pub fn opaque(x: u32) -> u32 {
    let y: u32;
    // SAFETY: a move has no precondition.
    unsafe {
        asm!("mov.b32 {}, {};", out(reg32) y, in(reg32) x, options(pure, nomem, nostack, preserves_flags))
    };
    y
}

/// `x`, known from here on: what follows from it is not computed before, where it would take registers until it is used.
#[inline(always)]
#[gpu_only]
pub fn late(x: u32) -> u32 {
    let y: u32;
    // SAFETY: a move has no precondition. It is not `pure`, so that it stays in its place.
    unsafe { asm!("mov.b32 {}, {};", out(reg32) y, in(reg32) x, options(nomem, nostack, preserves_flags)) };
    y
}

/// The high 32 bits of the 64-bit product (`mul.hi.u32`).
#[inline(always)]
pub fn mulhi_u32(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}

/// Four bytes chosen from the eight of `low` (0 to 3) and `high` (4 to 7) by the nibbles of `selector` (`prmt.b32`).
#[inline(always)]
#[gpu_only]
pub fn prmt(low: u32, high: u32, selector: u32) -> u32 {
    let out: u32;
    // SAFETY: arithmetic on registers has no precondition.
    unsafe {
        asm!(
            "prmt.b32 {}, {}, {}, {};",
            out(reg32) out,
            in(reg32) low,
            in(reg32) high,
            in(reg32) selector,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}
