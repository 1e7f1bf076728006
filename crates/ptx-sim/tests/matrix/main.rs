//! Matrix instructions against plain Rust: every shape and type of `mma`, `wmma`, and the moves of fragments.

#![allow(clippy::needless_range_loop, reason = "lanes index several arrays at once")]

mod fp8;
mod mma;
mod moves;
mod support;
mod wgmma;
mod wgmma_rules;
mod wmma;
