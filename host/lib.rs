//! Ironwarp.

pub mod device;
