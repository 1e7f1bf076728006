//! Ironwarp.

pub mod data;
