//! The compute capability the kernel is compiled for.

use cuda_std_macros::gpu_only;

/// A compute capability, ordered from old to new.
#[allow(missing_docs)]
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComputeCapability {
    Compute35,
    Compute37,
    Compute50,
    Compute52,
    Compute53,
    Compute60,
    Compute61,
    Compute62,
    Compute70,
    Compute72,
    Compute75,
    Compute80,
    Compute86,
    Compute87,
    Compute89,
    Compute90,
}

impl ComputeCapability {
    /// The capability this code is compiled for. It is a constant: the branches of a comparison that are not taken leave
    /// no code. Compiled without `cuda_builder`, which passes it in `CUDA_ARCH`, it is 7.0, the oldest supported.
    #[inline(always)]
    #[gpu_only]
    pub fn from_cuda_arch_env() -> Self {
        const fn number(text: &str) -> u32 {
            let (text, mut value, mut i) = (text.as_bytes(), 0, 0);
            while i < text.len() {
                value = value * 10 + (text[i] - b'0') as u32;
                i += 1;
            }
            value
        }
        const ARCH: u32 = match option_env!("CUDA_ARCH") {
            Some(text) => number(text),
            None => 700,
        };
        const {
            match ARCH {
                350 => Self::Compute35,
                370 => Self::Compute37,
                500 => Self::Compute50,
                520 => Self::Compute52,
                530 => Self::Compute53,
                600 => Self::Compute60,
                610 => Self::Compute61,
                620 => Self::Compute62,
                700 => Self::Compute70,
                720 => Self::Compute72,
                750 => Self::Compute75,
                800 => Self::Compute80,
                860 => Self::Compute86,
                870 => Self::Compute87,
                890 => Self::Compute89,
                900 => Self::Compute90,
                _ => panic!("CUDA_ARCH is not a compute capability this crate knows"),
            }
        }
    }
}
