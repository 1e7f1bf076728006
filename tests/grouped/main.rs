//! Many networks in one launch: each grouped kernel against an f64 oracle on random tables, and whole populations against
//! networks trained alone.

#[path = "../common/mod.rs"]
mod common;
mod kernels;
mod products;
mod training;

use ironwarp::device::{Device, SimOptions, Target};

/// A simulator for the PTX of each target, with warps and blocks in an order of `seed`.
fn sims(seed: u64) -> [Device; 2] {
    [Target::Sm80, Target::Sm90a]
        .map(|target| Device::sim_with(SimOptions { seed, target, ..SimOptions::default() }))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
