//! How long a GPU needs at the least: each resource's share of the work over its peak; the largest is the estimate.
//!
//! A bound that the busiest SM sets is scaled by the blocks that SM gets (`ceil(blocks / SMs)` of all). The estimate is a
//! lower bound with stated assumptions, for comparing variants of a kernel and for seeing what to improve first; it is no
//! prediction of a measured time.

use super::gpu::Gpu;
use super::occupancy::{Occupancy, occupancy};
use super::{Profile, ratio};
use std::fmt;

/// Shortest time that any kernel is taken to need, in microseconds.
pub const LAUNCH_FLOOR_US: f64 = 2.0;
/// Instructions an SM issues in a clock: one per scheduler.
const SCHEDULERS: u64 = 4;

/// One resource and the time it needs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bound {
    /// The resource.
    pub name: String,
    /// Microseconds.
    pub microseconds: f64,
    /// The work and the peak it is held against.
    pub how: String,
}

/// What bounds a kernel on a GPU.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Roofline {
    /// Name of the GPU.
    pub gpu: &'static str,
    /// Every resource with work to do, longest first.
    pub bounds: Vec<Bound>,
    /// Floating-point and tensor operations.
    pub operations: u64,
    /// Bytes taken to move to and from device memory.
    pub bytes: u64,
    /// The grid on this GPU.
    pub occupancy: Occupancy,
    /// What the figures take for granted.
    pub assumptions: Vec<String>,
}

impl Roofline {
    /// The resource that needs longest.
    pub fn bound(&self) -> &str {
        self.bounds.first().map_or("", |b| &b.name)
    }

    /// The estimate in microseconds: the longest bound.
    pub fn microseconds(&self) -> f64 {
        self.bounds.first().map_or(0.0, |b| b.microseconds)
    }

    /// Operations per byte of device memory.
    pub fn intensity(&self) -> f64 {
        ratio(self.operations, self.bytes)
    }
}

/// The roofline of a profiled launch on a GPU. `registers` per thread bound the occupancy where they are known.
pub fn roofline(p: &Profile, gpu: &Gpu, registers: Option<u32>) -> Roofline {
    let occupancy = occupancy(gpu, p.threads(), registers, p.shared_bytes);
    let clock = gpu.hertz() / 1e6;
    let (blocks, sms) = (p.blocks().max(1), gpu.sms as u64);
    let most = blocks.div_ceil(sms);
    // Part of all work that the busiest SM has.
    let share = most as f64 / blocks as f64;
    let resident = most.min(occupancy.blocks.max(1) as u64);
    let schedulers = SCHEDULERS.min(resident * p.threads().div_ceil(32).max(1) as u64);
    let mut bounds: Vec<Bound> = Vec::new();
    let mut bound = |name: &str, work: u64, unit: &str, per_us: f64, peak: String| {
        if work > 0 {
            let how = format!("{} {unit} at {peak}", super::report::grouped(work));
            bounds.push(Bound { name: name.into(), microseconds: work as f64 / per_us, how });
        }
    };

    let total = p.global.total();
    let fits = p.global.footprint <= gpu.l2_bytes;
    let bytes = if fits { p.global.footprint_loads + p.global.footprint_stores } else { total.moved() };
    let rate = gpu.memory_gb_s * 1e3;
    bound("device memory", bytes, "bytes", rate, format!("{} GB/s", gpu.memory_gb_s));
    if let Some(per_clock) = gpu.l2_bytes_per_clock {
        let peak = format!("{per_clock} bytes per clock");
        bound("L2 cache", total.moved(), "bytes of sectors", per_clock as f64 * clock, peak);
    }
    let mut per_sm = |name: &str, work: u64, unit: &str, per_clock: f64| {
        let peak =
            format!("{per_clock} per clock and SM, {:.1} % of it on the busiest of {sms} SMs", 100.0 * share);
        bound(name, work, unit, per_clock * clock / share, peak);
    };
    per_sm("instruction issue", p.warp_instructions, "warp instructions", schedulers as f64);
    let lanes = gpu.lanes;
    let pipes = [
        ("f16 and bf16 arithmetic", p.pipes.half, lanes.half),
        ("f32 arithmetic", p.pipes.single, lanes.single),
        ("f64 arithmetic", p.pipes.double, lanes.double),
        ("integer arithmetic", p.pipes.integer, lanes.integer),
        ("conversions", p.pipes.convert, lanes.convert),
        ("elementary functions", p.pipes.special, lanes.special),
    ];
    for (name, warp_instructions, per_clock) in pipes {
        per_sm(name, 32 * warp_instructions, "results", per_clock as f64);
    }
    per_sm("load-store issue", p.pipes.memory, "warp instructions", 1.0);
    per_sm("shared memory", p.shared.total().wavefronts, "wavefronts", 1.0);
    let mut unknown = Vec::new();
    for (ty, operations) in &p.flops.tensor {
        match gpu.peak_tensor(ty) {
            Some(peak) => {
                let per_clock = peak * 1e12 / gpu.hertz() / sms as f64;
                per_sm(&format!("tensor cores ({ty})"), *operations, "operations", per_clock.round());
            }
            None => unknown.push(ty.clone()),
        }
    }
    bounds.push(Bound {
        name: "launch".into(),
        microseconds: LAUNCH_FLOOR_US,
        how: "the least any kernel takes".into(),
    });
    bounds.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));

    let mut assumptions = vec![
        format!(
            "{}: {} SMs at their boost clock of {} MHz, {} GB/s; peaks from the {}",
            gpu.name, gpu.sms, gpu.clock_mhz, gpu.memory_gb_s, gpu.source
        ),
        if fits {
            format!(
                "the {} bytes touched fit the L2 cache of {} bytes: each is loaded once and stored once",
                super::report::grouped(p.global.footprint),
                super::report::grouped(gpu.l2_bytes)
            )
        } else {
            format!(
                "the {} bytes touched exceed the L2 cache of {} bytes: every sector of every request comes from \
                 device memory",
                super::report::grouped(p.global.footprint),
                super::report::grouped(gpu.l2_bytes)
            )
        },
        "the caches are cold; every resource reaches its peak, and all overlap without loss".into(),
        "PTX instructions stand for machine instructions: ptxas drops, merges and adds some".into(),
        format!(
            "blocks are equally long; an SM issues {schedulers} instructions a clock with the warps it has"
        ),
        "moves, predicates, branches and synchronisation cost issue slots alone".into(),
        format!("any kernel takes {LAUNCH_FLOOR_US} us (an assumption, from no data sheet)"),
    ];
    if gpu.l2_bytes_per_clock.is_none() {
        assumptions.push("the bandwidth of the L2 cache is not published: it is no bound".into());
    }
    if p.cluster.iter().product::<u32>() > 1 {
        assumptions.push("the blocks of a cluster find room like any others".into());
    }
    if registers.is_none() {
        assumptions
            .push("registers are not known (no ptxas, no --registers): they limit no occupancy".into());
    }
    if !p.flops.tensor.is_empty() {
        assumptions
            .push("operands that tensor cores fetch from shared memory themselves cost no wavefronts".into());
    }
    if !unknown.is_empty() {
        let types = unknown.join(", ");
        assumptions.push(format!("no tensor-core peak is known for {types}: left out"));
    }
    Roofline { gpu: gpu.name, bounds, operations: p.flops.total(), bytes, occupancy, assumptions }
}

impl fmt::Display for Roofline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "roofline on {}: at least {:.2} us, bound by {}; {:.2} operations per byte",
            self.gpu,
            self.microseconds(),
            self.bound(),
            self.intensity()
        )?;
        for b in &self.bounds {
            writeln!(f, "  {:>10.3} us  {:<24} {}", b.microseconds, b.name, b.how)?;
        }
        writeln!(f, "  assuming that")?;
        for a in &self.assumptions {
            writeln!(f, "  - {a}")?;
        }
        Ok(())
    }
}
