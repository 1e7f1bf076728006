//! How many blocks of a kernel an SM holds at a time, and what that makes of a grid.
//!
//! The rules are those of NVIDIA's occupancy calculator for compute capability 8.0 to 9.0: registers are given to a warp in
//! units of 256, warps that registers allow are rounded down to a multiple of 4, shared memory is given in units of 128
//! bytes after 1 KiB for the system.

use super::gpu::Gpu;
use std::fmt;

/// What keeps an SM from holding more blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Warps (threads) of an SM.
    Warps,
    /// Blocks of an SM.
    Blocks,
    /// Registers.
    Registers,
    /// Shared memory.
    Shared,
}

/// How many blocks an SM holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Name of the GPU.
    pub gpu: &'static str,
    /// Resident blocks of an SM; 0 when not even one fits.
    pub blocks: u32,
    /// Resident warps of an SM, and ...
    pub warps: u32,
    /// ... the most it could hold.
    pub max_warps: u32,
    /// What limits the blocks: every limit that is reached first.
    pub limits: Vec<Limit>,
    /// Registers per thread it was worked out with; without them registers count as no limit.
    pub registers: Option<u32>,
    /// Multiprocessors of the GPU.
    pub sms: u32,
}

/// Occupancy of blocks of `threads` threads, `registers` registers per thread and `shared_bytes` of shared memory.
pub fn occupancy(gpu: &Gpu, threads: u32, registers: Option<u32>, shared_bytes: u32) -> Occupancy {
    let sm = gpu.limits;
    let warps = threads.div_ceil(32).max(1);
    let by_registers = match registers {
        Some(r) if r > 255 => 0,
        Some(r) => {
            let per_warp = (32 * r.max(1)).next_multiple_of(sm.register_unit);
            let fit = sm.registers / per_warp;
            (fit - fit % sm.warp_unit) / warps
        }
        None => u32::MAX,
    };
    let by_shared = if shared_bytes > sm.shared_per_block {
        0
    } else {
        sm.shared / (shared_bytes + sm.shared_reserved).next_multiple_of(sm.shared_unit)
    };
    let by = [
        (Limit::Warps, if threads > 1024 { 0 } else { sm.warps / warps }),
        (Limit::Blocks, sm.blocks),
        (Limit::Registers, by_registers),
        (Limit::Shared, by_shared),
    ];
    let blocks = by.iter().map(|b| b.1).min().unwrap_or(0);
    Occupancy {
        gpu: gpu.name,
        blocks,
        warps: blocks * warps,
        max_warps: sm.warps,
        limits: by.iter().filter(|b| b.1 == blocks).map(|b| b.0).collect(),
        registers,
        sms: gpu.sms,
    }
}

/// How a grid falls on the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Waves {
    /// Blocks the whole GPU holds at a time.
    pub blocks_per_wave: u64,
    /// Waves of blocks, the last one counted by its part.
    pub waves: f64,
    /// Blocks of the last wave.
    pub tail: u64,
    /// Work against the time the waves take, all blocks taken as equally long, from 0 to 1.
    pub efficiency: f64,
}

impl Occupancy {
    /// Resident warps against the most possible, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.warps as f64 / self.max_warps as f64
    }

    /// How a grid of so many blocks falls on the machine; `None` when not even one block fits an SM.
    pub fn waves(&self, blocks: u64) -> Option<Waves> {
        let blocks_per_wave = self.blocks as u64 * self.sms as u64;
        if blocks_per_wave == 0 || blocks == 0 {
            return None;
        }
        let waves = blocks as f64 / blocks_per_wave as f64;
        let tail = (blocks - 1) % blocks_per_wave + 1;
        Some(Waves { blocks_per_wave, waves, tail, efficiency: waves / waves.ceil() })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Warps => "threads",
            Limit::Blocks => "blocks",
            Limit::Registers => "registers",
            Limit::Shared => "shared memory",
        })
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<String> = self.limits.iter().map(Limit::to_string).collect();
        let limits = limits.join(" and ");
        if self.blocks == 0 {
            return write!(f, "occupancy on {}: not one block fits an SM ({limits})", self.gpu);
        }
        write!(
            f,
            "occupancy on {}: {} blocks, {} of {} warps of an SM ({:.0} %), limited by {limits}",
            self.gpu,
            self.blocks,
            self.warps,
            self.max_warps,
            100.0 * self.fraction()
        )?;
        match self.registers {
            Some(r) => write!(f, "; {r} registers a thread"),
            None => write!(f, "; registers not known, counted as no limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warps(gpu: Gpu, threads: u32, registers: u32, shared: u32) -> (u32, u32) {
        let o = occupancy(&gpu, threads, Some(registers), shared);
        (o.blocks, o.warps)
    }

    /// The example of the CUDA C++ Best Practices Guide, "Calculating Occupancy": 37 registers give 12 blocks of 128 threads
    /// (75 %), but only 4 of 320 (63 %).
    #[test]
    fn the_guides_example() {
        assert_eq!(warps(Gpu::A100, 128, 37, 0), (12, 48));
        assert_eq!(warps(Gpu::H100, 320, 37, 0), (4, 40));
        let o = occupancy(&Gpu::H100, 320, Some(37), 0);
        assert_eq!((o.limits.as_slice(), (100.0 * o.fraction()).round()), (&[Limit::Registers][..], 63.0));
        // "Each thread can use at most 32 registers" for a full SM.
        assert_eq!(warps(Gpu::H100, 256, 32, 0), (8, 64));
        assert!(warps(Gpu::H100, 256, 33, 0).1 < 64);
    }

    #[test]
    fn other_limits() {
        assert_eq!(warps(Gpu::RTX_4090, 256, 32, 0), (6, 48));
        assert_eq!(warps(Gpu::RTX_4090, 1024, 40, 0), (1, 32));
        assert_eq!(warps(Gpu::A100, 32, 16, 0), (32, 32), "32 blocks, however small");
        assert_eq!(warps(Gpu::A100, 128, 32, 48 * 1024), (3, 12), "49 KiB of 164 each");
        assert_eq!(warps(Gpu::H100, 128, 168, 227 * 1024), (1, 4));
        assert_eq!(warps(Gpu::A100, 128, 168, 227 * 1024), (0, 0), "163 KiB are the most");
        assert_eq!(occupancy(&Gpu::A100, 64, None, 0).limits, [Limit::Warps, Limit::Blocks]);
        assert_eq!(warps(Gpu::H100, 1024, 65, 0), (0, 0), "65536 registers do not hold 1024 threads of 72");
    }

    #[test]
    fn waves_and_tail() {
        let o = occupancy(&Gpu::A100, 256, Some(32), 0);
        let w = o.waves(865).unwrap();
        assert_eq!((w.blocks_per_wave, w.tail), (864, 1));
        assert!((w.efficiency - 865.0 / 1728.0).abs() < 1e-12);
        assert_eq!(o.waves(864).unwrap().efficiency, 1.0);
        assert!(occupancy(&Gpu::A100, 128, None, 200 << 10).waves(1).is_none());
    }
}
