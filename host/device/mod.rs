//! Devices.

pub mod cuda;
