#![doc = include_str!("../README.md")]
#![allow(
    clippy::needless_range_loop,
    reason = "lanes index several arrays at once, and such loops vectorise"
)]

mod access;
mod aftermath;
mod alias;
mod alu;
mod arena;
pub mod ast;
mod async_ops;
mod atomic;
mod block;
mod cluster;
mod collective;
mod config;
mod decode;
mod error;
mod initial;
mod isa;
mod lanes;
mod ledger;
mod lex;
mod link;
pub mod lint;
mod loadstore;
mod matrix;
mod memory;
mod module;
mod parallel;
pub mod parse;
mod print;
mod printf;
pub mod profile;
mod proxy;
mod race;
mod repeat;
mod sim;
mod stats;
mod step;
mod vector;
mod warp;

pub use async_ops::{
    Interleave, L2Promotion, OobFill, Swizzle, TensorMap, TensorMapBuilder, TensorMapError, TensorMapType,
};
pub use config::{Arg, Checks, LaunchConfig, MAX_CLUSTER, MAX_SHARED, MAX_THREADS};
pub use error::{ErrorKind, OtherAccess, Report, SimError};
pub use matrix::Accumulation;
pub use module::{KernelInfo, Module, ParamInfo};
pub use parse::ParseError;
pub use sim::{Sim, SimBuilder};
pub use stats::{Class, LaunchStats, TensorType};
