//! f16, bf16 and 8-bit floats as their bits: the asm of rustc has no class for them, and kernels compute in f32 anyway. tf32 is an f32
//! whose low 13 bits are 0.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// A conversion between f32 and 16 bits.
macro_rules! convert {
    ($(#[$doc:meta])* $name:ident($from:ty) -> $to:ty, $instruction:literal, $out:ident, $in:ident) => {
        $(#[$doc])*
        #[inline(always)]
        #[gpu_only]
        pub fn $name(x: $from) -> $to {
            let y: $to;
            // SAFETY: a conversion has no precondition.
            unsafe {
                asm!(
                    concat!($instruction, " {}, {};"),
                    out($out) y,
                    in($in) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            y
        }
    };
}

convert!(
    /// The f16 nearest to `x`, ties to even, as bits (`cvt.rn.f16.f32`).
    f32_to_f16(f32) -> u16, "cvt.rn.f16.f32", reg16, reg32
);
convert!(
    /// The value of an f16, exactly (`cvt.f32.f16`).
    f16_to_f32(u16) -> f32, "cvt.f32.f16", reg32, reg16
);
convert!(
    /// The bf16 nearest to `x`, ties to even, as bits (`cvt.rn.bf16.f32`, sm_80).
    f32_to_bf16(f32) -> u16, "cvt.rn.bf16.f32", reg16, reg32
);
convert!(
    /// The tf32 nearest to `x`, halves away from zero, as bits (`cvt.rna.tf32.f32`, sm_80). Infinities and NaN stay.
    f32_to_tf32(f32) -> u32, "cvt.rna.tf32.f32", reg32, reg32
);

/// The e4m3 nearest to `x`, ties to even, as bits; what is larger than 448, infinity too, becomes 448
/// (`cvt.rn.satfinite.e4m3x2.f32`, sm_89).
#[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
#[inline(always)]
#[gpu_only]
pub fn f32_to_e4m3(x: f32) -> u8 {
    let y: u16;
    // SAFETY: a conversion has no precondition.
    unsafe {
        asm!(
            "cvt.rn.satfinite.e4m3x2.f32 {y}, {x}, {x};",
            y = out(reg16) y,
            x = in(reg32) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    y as u8
}

/// Two f32 rounded to 16 bits each, in a word.
macro_rules! convert_pair {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[gpu_only]
        pub fn $name(high: f32, low: f32) -> u32 {
            let y: u32;
            // SAFETY: a conversion has no precondition.
            unsafe {
                asm!(
                    concat!($instruction, " {}, {}, {};"),
                    out(reg32) y,
                    in(reg32) high,
                    in(reg32) low,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            y
        }
    };
}

convert_pair!(
    /// The f16 nearest to `high` in the upper half, to `low` in the lower (`cvt.rn.f16x2.f32`, sm_80).
    f32_to_f16x2, "cvt.rn.f16x2.f32"
);
convert_pair!(
    /// The bf16 nearest to `high` in the upper half, to `low` in the lower (`cvt.rn.bf16x2.f32`, sm_80).
    f32_to_bf16x2, "cvt.rn.bf16x2.f32"
);

/// The value of a bf16, exactly: its bits are the upper half of the f32's.
#[inline(always)]
pub fn bf16_to_f32(x: u16) -> f32 {
    f32::from_bits((x as u32) << 16)
}
