//! Many networks in one launch: each grouped kernel against an f64 oracle on random tables, and whole populations against
//! networks trained alone.

#[path = "../common/mod.rs"]
mod common;
mod kernels;
mod products;
mod training;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
