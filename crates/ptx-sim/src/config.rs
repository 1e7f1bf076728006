//! What a launch is told: which checks to make, the shape of the grid, the kernel's arguments.

use crate::{ErrorKind, SimError};

/// Most shared memory of a block, static and dynamic: what Hopper offers (227 KiB).
pub const MAX_SHARED: u32 = 232_448;
/// Most blocks of a cluster: what Hopper can be asked for (8 without `cudaFuncAttributeNonPortableClusterSizeAllowed`).
pub const MAX_CLUSTER: u32 = 16;
/// Most threads of a block.
pub const MAX_THREADS: u32 = 1024;

/// Which checks a simulator makes. All are on by default; switched-off accesses read poison and write nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checks {
    /// Accesses outside every allocation or across the end of one.
    pub out_of_bounds: bool,
    /// Addresses that are not a multiple of the access size.
    pub misaligned: bool,
    /// Accesses to freed buffers.
    pub use_after_free: bool,
    /// Reads of global memory nobody wrote, byte by byte.
    pub uninitialised_global: bool,
    /// Reads of shared memory nobody wrote.
    pub uninitialised_shared: bool,
    /// Reads of local memory the thread did not write.
    pub uninitialised_local: bool,
    /// Reads of registers the thread did not write.
    pub uninitialised_registers: bool,
    /// Barriers that part of the block cannot reach, and divergence at `.aligned` ones.
    pub barriers: bool,
    /// Races in shared memory, between threads of a block or a cluster.
    pub shared_races: bool,
    /// Races in global memory, within and across blocks.
    pub global_races: bool,
    /// Use of a cluster peer's shared memory after its block has exited.
    pub cluster: bool,
    /// The rules of `wgmma`: fences, waits, registers and operands in flight, agreement of the warpgroup.
    pub wgmma: bool,
    /// Rules of mbarriers and asynchronous copies: use before the wait, counts, phases, sizes, what is left at the exit.
    pub async_rules: bool,
    /// Shared memory written by ordinary stores and read by the async proxy without a proxy fence.
    pub proxy: bool,
}

impl Checks {
    /// Every check.
    pub fn all() -> Self {
        Checks {
            out_of_bounds: true,
            misaligned: true,
            use_after_free: true,
            uninitialised_global: true,
            uninitialised_shared: true,
            uninitialised_local: true,
            uninitialised_registers: true,
            barriers: true,
            shared_races: true,
            global_races: true,
            cluster: true,
            wgmma: true,
            async_rules: true,
            proxy: true,
        }
    }

    /// No check. Accesses outside memory still touch nothing else.
    pub fn none() -> Self {
        Checks {
            out_of_bounds: false,
            misaligned: false,
            use_after_free: false,
            uninitialised_global: false,
            uninitialised_shared: false,
            uninitialised_local: false,
            uninitialised_registers: false,
            barriers: false,
            shared_races: false,
            global_races: false,
            cluster: false,
            wgmma: false,
            async_rules: false,
            proxy: false,
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Checks::all()
    }
}

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaunchConfig {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Blocks of a cluster in x, y, z; 1, 1, 1 launches without clusters.
    pub cluster: [u32; 3],
}

impl LaunchConfig {
    /// A launch without dynamic shared memory.
    pub fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        LaunchConfig { grid, block, shared_bytes: 0, cluster: [1, 1, 1] }
    }

    /// Enough blocks of `block` threads for `n` threads in x.
    pub fn linear(n: u32, block: u32) -> Self {
        LaunchConfig::new([n.div_ceil(block.max(1)).max(1), 1, 1], [block, 1, 1])
    }

    /// Groups blocks into clusters of so many in x, y, z, which must divide the grid.
    pub fn cluster(mut self, blocks: [u32; 3]) -> Self {
        self.cluster = blocks;
        self
    }

    /// Sets the bytes of dynamic shared memory.
    pub fn shared(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }
}

/// A kernel argument. Pointers are `U64`; structs and arrays by value are `Bytes`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum Arg {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bytes(Vec<u8>),
}

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Arg::U8(v) => v.to_le_bytes().to_vec(),
            Arg::I8(v) => v.to_le_bytes().to_vec(),
            Arg::U16(v) => v.to_le_bytes().to_vec(),
            Arg::I16(v) => v.to_le_bytes().to_vec(),
            Arg::U32(v) => v.to_le_bytes().to_vec(),
            Arg::I32(v) => v.to_le_bytes().to_vec(),
            Arg::U64(v) => v.to_le_bytes().to_vec(),
            Arg::I64(v) => v.to_le_bytes().to_vec(),
            Arg::F32(v) => v.to_le_bytes().to_vec(),
            Arg::F64(v) => v.to_le_bytes().to_vec(),
            Arg::Bytes(v) => v.clone(),
        }
    }
}

/// Argument bytes in the layout of the kernel's parameters.
pub(crate) fn pack(info: &crate::KernelInfo, args: &[Arg]) -> Result<Vec<u8>, SimError> {
    if args.len() != info.params.len() {
        return Err(SimError::new(
            ErrorKind::BadArguments,
            format!("the kernel has {} parameters, the launch {} arguments", info.params.len(), args.len()),
        ));
    }
    let mut out = vec![0; info.params.last().map_or(0, |p| (p.offset + p.size) as usize)];
    for (i, (p, a)) in info.params.iter().zip(args).enumerate() {
        let bytes = a.bytes();
        if bytes.len() != p.size as usize {
            return Err(SimError::new(
                ErrorKind::BadArguments,
                format!(
                    "parameter {i} `{}` ({}) has {} bytes, the argument {}",
                    p.name,
                    p.ty,
                    p.size,
                    bytes.len()
                ),
            ));
        }
        out[p.offset as usize..p.offset as usize + bytes.len()].copy_from_slice(&bytes);
    }
    Ok(out)
}
