//! The GPUs that a profile is held against. Figures are the vendor's: clocks, bandwidths and tensor peaks from the data sheet
//! named in [`Gpu::source`]; results per clock from the table "Throughput of Native Arithmetic Instructions" and the limits
//! of an SM from the table "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide.

/// What an SM holds at a time, and in which pieces it hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmLimits {
    /// Resident warps.
    pub warps: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// 32-bit registers.
    pub registers: u32,
    /// Registers are given to warps in multiples of this.
    pub register_unit: u32,
    /// Warps are counted in multiples of this where registers are short.
    pub warp_unit: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// Most shared memory of one block.
    pub shared_per_block: u32,
    /// Shared memory the system takes of each block.
    pub shared_reserved: u32,
    /// Shared memory is given to blocks in multiples of this.
    pub shared_unit: u32,
}

/// Results per clock of an SM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lanes {
    /// f16 and bf16, packed.
    pub half: u32,
    /// f32.
    pub single: u32,
    /// f64.
    pub double: u32,
    /// 32-bit integer and logic.
    pub integer: u32,
    /// Conversions.
    pub convert: u32,
    /// Elementary functions.
    pub special: u32,
}

/// A GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gpu {
    /// Name, as [`Gpu::named`] takes it.
    pub name: &'static str,
    /// Compute capability.
    pub compute: (u32, u32),
    /// Streaming multiprocessors.
    pub sms: u32,
    /// Boost clock in MHz.
    pub clock_mhz: u32,
    /// Bandwidth of device memory, 10^9 bytes a second.
    pub memory_gb_s: f64,
    /// Bytes of second-level cache.
    pub l2_bytes: u64,
    /// Bytes a clock that the second-level cache delivers, where the vendor says so.
    pub l2_bytes_per_clock: Option<u32>,
    /// Dense tensor-core peaks by type of the factors (`f16`, `bf16`, `tf32`, `f64`, `fp8`, `int8`, `int4`, `binary`), in 10^12 operations a second, f32 (s32) accumulation.
    pub tensor: &'static [(&'static str, f64)],
    /// Limits of an SM.
    pub limits: SmLimits,
    /// Arithmetic of an SM.
    pub lanes: Lanes,
    /// Where clock, bandwidths and tensor peaks are from.
    pub source: &'static str,
}

const SM_80: SmLimits = SmLimits {
    warps: 64,
    blocks: 32,
    registers: 65536,
    register_unit: 256,
    warp_unit: 4,
    shared: 164 * 1024,
    shared_per_block: 163 * 1024,
    shared_reserved: 1024,
    shared_unit: 128,
};

const HOPPER: Gpu = Gpu {
    name: "H100",
    compute: (9, 0),
    sms: 132,
    clock_mhz: 1980,
    memory_gb_s: 3350.0,
    l2_bytes: 50 << 20,
    l2_bytes_per_clock: None,
    tensor: &[
        ("f64", 66.9),
        ("tf32", 494.7),
        ("f16", 989.4),
        ("bf16", 989.4),
        ("fp8", 1978.9),
        ("int8", 1978.9),
    ],
    limits: SmLimits { shared: 228 * 1024, shared_per_block: 227 * 1024, ..SM_80 },
    lanes: Lanes { half: 256, single: 128, double: 64, integer: 64, convert: 64, special: 16 },
    source: "NVIDIA H100 Tensor Core GPU Architecture whitepaper and data sheet (SXM5)",
};

/// No GPU of that name is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no GPU `{0}` is known; there are {names}", names = Gpu::ALL.map(|g| g.name).join(", "))]
pub struct UnknownGpu(pub String);

impl std::str::FromStr for Gpu {
    type Err = UnknownGpu;

    fn from_str(name: &str) -> Result<Gpu, UnknownGpu> {
        Gpu::named(name).ok_or_else(|| UnknownGpu(name.into()))
    }
}

impl Gpu {
    /// A100 SXM4, 80 GB.
    pub const A100: Gpu = Gpu {
        name: "A100",
        compute: (8, 0),
        sms: 108,
        clock_mhz: 1410,
        memory_gb_s: 2039.0,
        l2_bytes: 40 << 20,
        l2_bytes_per_clock: Some(5120),
        tensor: &[
            ("f64", 19.5),
            ("tf32", 156.0),
            ("f16", 312.0),
            ("bf16", 312.0),
            ("int8", 624.0),
            ("int4", 1248.0),
            ("binary", 4992.0),
        ],
        limits: SM_80,
        lanes: Lanes { half: 256, single: 64, double: 32, integer: 64, convert: 64, special: 16 },
        source: "NVIDIA A100 Tensor Core GPU Architecture whitepaper and data sheet (SXM4, 80 GB)",
    };
    /// H100 SXM5, 80 GB.
    pub const H100: Gpu = HOPPER;
    /// H200 SXM5, 141 GB.
    pub const H200: Gpu = Gpu {
        name: "H200",
        memory_gb_s: 4800.0,
        source: "NVIDIA H200 Tensor Core GPU data sheet (SXM5)",
        ..HOPPER
    };
    /// GeForce RTX 4090.
    pub const RTX_4090: Gpu = Gpu {
        name: "RTX 4090",
        compute: (8, 9),
        sms: 128,
        clock_mhz: 2520,
        memory_gb_s: 1008.0,
        l2_bytes: 72 << 20,
        l2_bytes_per_clock: None,
        tensor: &[
            ("tf32", 82.6),
            ("f16", 165.2),
            ("bf16", 165.2),
            ("fp8", 330.3),
            ("int8", 660.6),
            ("int4", 1321.2),
        ],
        limits: SmLimits { warps: 48, blocks: 24, shared: 100 * 1024, shared_per_block: 99 * 1024, ..SM_80 },
        lanes: Lanes { half: 128, single: 128, double: 2, integer: 64, convert: 64, special: 16 },
        source: "NVIDIA Ada GPU Architecture whitepaper (GeForce RTX 4090)",
    };

    /// All of them.
    pub const ALL: [Gpu; 4] = [Gpu::A100, Gpu::H100, Gpu::H200, Gpu::RTX_4090];

    /// The GPU of that name, whatever its case, blanks, dashes and underscores.
    pub fn named(name: &str) -> Option<Gpu> {
        let plain = |s: &str| s.to_lowercase().replace([' ', '-', '_'], "");
        Gpu::ALL.into_iter().find(|g| {
            let own = plain(g.name);
            own == plain(name) || own.trim_start_matches("rtx") == plain(name)
        })
    }

    /// Clock in Hz.
    pub fn hertz(&self) -> f64 {
        self.clock_mhz as f64 * 1e6
    }

    /// Peak of f32 arithmetic, a fused multiply-add counted as two operations, in 10^12 a second.
    pub fn peak_single(&self) -> f64 {
        2.0 * self.lanes.single as f64 * self.sms as f64 * self.hertz() / 1e12
    }

    /// Dense tensor-core peak for operands of this type, in 10^12 operations a second.
    pub fn peak_tensor(&self, ty: &str) -> Option<f64> {
        self.tensor.iter().find(|t| t.0 == ty).map(|t| t.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_peaks_are_the_data_sheets() {
        for (gpu, teraflops) in
            [(Gpu::A100, 19.5), (Gpu::H100, 66.9), (Gpu::H200, 66.9), (Gpu::RTX_4090, 82.6)]
        {
            assert!((gpu.peak_single() - teraflops).abs() < 0.06, "{}: {}", gpu.name, gpu.peak_single());
        }
        // f64: 9.7, 33.5 and (a 64th of f32) 1.29.
        for (gpu, teraflops) in [(Gpu::A100, 9.7), (Gpu::H100, 33.5), (Gpu::RTX_4090, 1.29)] {
            let peak = gpu.peak_single() * gpu.lanes.double as f64 / gpu.lanes.single as f64;
            assert!((peak - teraflops).abs() < 0.06, "{}: {peak}", gpu.name);
        }
    }

    #[test]
    fn tensor_types_are_those_that_launches_count() {
        let counted: Vec<String> =
            crate::TensorType::ALL.iter().map(|t| format!("{t:?}").to_lowercase()).collect();
        for gpu in Gpu::ALL {
            assert!(gpu.tensor.iter().all(|t| counted.contains(&t.0.to_string())), "{}", gpu.name);
        }
    }

    #[test]
    fn names() {
        assert_eq!(Gpu::named("rtx-4090").map(|g| g.name), Some("RTX 4090"));
        assert_eq!(Gpu::named("4090").map(|g| g.name), Some("RTX 4090"));
        assert_eq!(Gpu::named("h200").map(|g| g.memory_gb_s), Some(4800.0));
        assert_eq!(Gpu::named("V100"), None);
    }
}
