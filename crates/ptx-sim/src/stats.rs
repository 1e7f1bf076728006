//! What a launch cost: counts kept while it runs.

use crate::profile::{Profile, record::Recorder};

/// Classes of instructions that [`LaunchStats::by_class`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Class {
    /// Integer and logic.
    Integer,
    /// f16, bf16 and f32 arithmetic.
    Float,
    /// f64 arithmetic.
    Double,
    /// Approximate functions and exact division and square root.
    Special,
    /// Conversions.
    Convert,
    /// Moves, selects and predicates.
    Move,
    /// Loads and stores of global, constant and parameter memory, and through generic addresses.
    Global,
    /// Loads and stores of shared memory.
    Shared,
    /// Loads and stores of local memory.
    Local,
    /// Atomics and reductions.
    Atomic,
    /// Branches, calls, returns.
    Control,
    /// Barriers, fences, shuffles, votes.
    Sync,
    /// Matrix instructions: multiplications, and moves of fragments.
    Tensor,
}

impl Class {
    /// All classes, in the order of [`LaunchStats::by_class`].
    pub const ALL: [Class; 13] = [
        Class::Integer,
        Class::Float,
        Class::Double,
        Class::Special,
        Class::Convert,
        Class::Move,
        Class::Global,
        Class::Shared,
        Class::Local,
        Class::Atomic,
        Class::Control,
        Class::Sync,
        Class::Tensor,
    ];
}

/// Kinds of tensor-core arithmetic that [`LaunchStats::tensor_flop`] counts, by the type of the factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum TensorType {
    /// f16.
    F16,
    /// bf16.
    Bf16,
    /// tf32.
    Tf32,
    /// f64.
    F64,
    /// 8-bit floats: e4m3 and e5m2.
    Fp8,
    /// s8 and u8.
    Int8,
    /// s4 and u4.
    Int4,
    /// Single bits.
    Binary,
}

impl TensorType {
    /// All types, in the order of [`LaunchStats::tensor_flop`].
    pub const ALL: [TensorType; 8] = [
        TensorType::F16,
        TensorType::Bf16,
        TensorType::Tf32,
        TensorType::F64,
        TensorType::Fp8,
        TensorType::Int8,
        TensorType::Int4,
        TensorType::Binary,
    ];
}

/// Counts of one launch.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LaunchStats {
    /// Instructions issued, one per warp.
    pub warp_instructions: u64,
    /// Instructions times active lanes.
    pub lane_instructions: u64,
    /// Warp instructions by [`Class`], indexed by `class as usize`.
    pub by_class: [u64; 13],
    /// Bytes loaded from global memory, over all lanes.
    pub global_load_bytes: u64,
    /// Bytes stored to global memory, over all lanes.
    pub global_store_bytes: u64,
    /// 32-byte sectors touched by global requests, counted per request.
    pub sectors: u64,
    /// Global requests (warp instructions).
    pub requests: u64,
    /// Multiplications plus additions of tensor-core instructions, by [`TensorType`], indexed by `kind as usize`.
    pub tensor_flop: [u64; 8],
    /// Block barriers completed.
    pub barriers: u64,
    /// What the kernel printed, one entry per `printf` call.
    pub printf: Vec<String>,
    /// What [`SimBuilder::profile`](crate::SimBuilder::profile) asked for.
    pub profile: Option<Box<Profile>>,
    /// Its counts while the launch runs.
    pub(crate) recorder: Option<Box<Recorder>>,
}

impl LaunchStats {
    /// Adds another launch's counts; profiles stay with their launches.
    pub fn merge(&mut self, other: &LaunchStats) {
        self.warp_instructions += other.warp_instructions;
        self.lane_instructions += other.lane_instructions;
        for (a, b) in self.by_class.iter_mut().zip(other.by_class) {
            *a += b;
        }
        self.global_load_bytes += other.global_load_bytes;
        self.global_store_bytes += other.global_store_bytes;
        self.sectors += other.sectors;
        self.requests += other.requests;
        for (a, b) in self.tensor_flop.iter_mut().zip(other.tensor_flop) {
            *a += b;
        }
        self.barriers += other.barriers;
        self.printf.extend(other.printf.iter().cloned());
        if let Some(theirs) = &other.recorder {
            self.recorder.get_or_insert_default().merge(theirs);
        }
    }
}
