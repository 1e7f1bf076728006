//! Kernels.
#![no_std]
pub mod optim;
pub mod philox;
mod quad;
pub mod random;
