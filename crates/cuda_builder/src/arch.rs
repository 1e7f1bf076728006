//! The architectures PTX is compiled for.

use std::fmt;

/// A virtual architecture: Rust-CUDA's names, and the later ones. [`SM_80`](Self::SM_80) and [`SM_90A`](Self::SM_90A) are
/// the two this project ships.
///
/// PTX for `sm_80` runs on Ampere and everything later; PTX for `sm_90a` runs on Hopper only.
#[allow(missing_docs)]
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NvvmArch {
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
    /// Hopper with its own instructions (wgmma, setmaxnreg).
    Compute90a,
}

impl NvvmArch {
    /// Ampere and everything later.
    pub const SM_80: Self = Self::Compute80;
    /// Hopper, with the instructions that only Hopper has.
    pub const SM_90A: Self = Self::Compute90a;

    const ALL: [(Self, &'static str); 17] = [
        (Self::Compute35, "35"),
        (Self::Compute37, "37"),
        (Self::Compute50, "50"),
        (Self::Compute52, "52"),
        (Self::Compute53, "53"),
        (Self::Compute60, "60"),
        (Self::Compute61, "61"),
        (Self::Compute62, "62"),
        (Self::Compute70, "70"),
        (Self::Compute72, "72"),
        (Self::Compute75, "75"),
        (Self::Compute80, "80"),
        (Self::Compute86, "86"),
        (Self::Compute87, "87"),
        (Self::Compute89, "89"),
        (Self::Compute90, "90"),
        (Self::Compute90a, "90a"),
    ];

    fn number(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The name in PTX, `sm_80`.
    pub fn target(self) -> String {
        format!("sm_{}", self.number())
    }

    /// The architecture of a PTX name, `sm_80`.
    pub fn from_target(target: &str) -> Option<Self> {
        let number = target.strip_prefix("sm_")?;
        Self::ALL.iter().find(|(_, n)| *n == number).map(|(arch, _)| *arch)
    }

    /// What `cuda_std::cfg::ComputeCapability` reads from `CUDA_ARCH`: `800`.
    pub(crate) fn cuda_arch(self) -> String {
        format!("{}0", self.number().trim_end_matches('a'))
    }

    /// The PTX version to ask for: the lowest that has what the architecture brings, so that old drivers take it.
    pub(crate) fn ptx_feature(self) -> &'static str {
        match self {
            Self::Compute90 => "+ptx80",
            // 8.3 has the fence that a tensor map in global memory needs (CUDA 12.3).
            Self::Compute90a => "+ptx83",
            Self::Compute89 => "+ptx78",
            Self::Compute87 => "+ptx74",
            _ => "+ptx71",
        }
    }
}

impl fmt::Display for NvvmArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (arch, number) in NvvmArch::ALL {
            assert_eq!(arch.number(), number, "ALL is in the order of the enum");
            assert_eq!(NvvmArch::from_target(&arch.target()), Some(arch));
        }
        assert_eq!(NvvmArch::from_target("sm_13"), None);
        assert_eq!(NvvmArch::from_target("90a"), None);
        assert_eq!(NvvmArch::SM_90A.cuda_arch(), "900");
    }
}
