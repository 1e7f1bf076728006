//! Threads, blocks and the grid: who am I, and where are the others.
//!
//! A kernel is executed by every thread of a *grid*. The grid is made of *blocks*, which run in any order; the threads of
//! a block share [shared memory](crate::shared) and can wait for each other ([`sync_threads`]); 32 threads of a block
//! make a [warp](crate::warp). Grid and block have up to three dimensions, chosen by the launch.

use cuda_std_macros::gpu_only;
use vek::{Vec2, Vec3};

#[cfg(target_arch = "nvptx64")]
use core::arch::{asm, nvptx};

#[cfg(target_arch = "nvptx64")]
#[allow(improper_ctypes)]
unsafe extern "C" {
    #[link_name = "llvm.nvvm.barrier0.popc"]
    fn barrier_popc(predicate: u32) -> u32;
    #[link_name = "llvm.nvvm.barrier0.and"]
    fn barrier_and(predicate: u32) -> u32;
    #[link_name = "llvm.nvvm.barrier0.or"]
    fn barrier_or(predicate: u32) -> u32;
}

/// A special register whose value lies in `$low..=$high` on every GPU: the compiler may use that.
macro_rules! register {
    ($(#[$doc:meta])* $name:ident = $intrinsic:ident in $low:literal..=$high:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[gpu_only]
        pub fn $name() -> u32 {
            // SAFETY: reading a special register has no precondition, and the bounds are the hardware's (CUDA C++
            // Programming Guide, "Compute Capabilities").
            unsafe {
                let value = nvptx::$intrinsic();
                core::hint::assert_unchecked(($low..=$high).contains(&value));
                value
            }
        }
    };
}

register!(/// This thread's x index in its block.
    thread_idx_x = _thread_idx_x in 0..=1023);
register!(/// This thread's y index in its block.
    thread_idx_y = _thread_idx_y in 0..=1023);
register!(/// This thread's z index in its block.
    thread_idx_z = _thread_idx_z in 0..=63);
register!(/// This block's x index in the grid.
    block_idx_x = _block_idx_x in 0..=2147483646);
register!(/// This block's y index in the grid.
    block_idx_y = _block_idx_y in 0..=65534);
register!(/// This block's z index in the grid.
    block_idx_z = _block_idx_z in 0..=65534);
register!(/// The number of threads of a block in x.
    block_dim_x = _block_dim_x in 1..=1024);
register!(/// The number of threads of a block in y.
    block_dim_y = _block_dim_y in 1..=1024);
register!(/// The number of threads of a block in z.
    block_dim_z = _block_dim_z in 1..=64);
register!(/// The number of blocks of the grid in x.
    grid_dim_x = _grid_dim_x in 1..=2147483647);
register!(/// The number of blocks of the grid in y.
    grid_dim_y = _grid_dim_y in 1..=65535);
register!(/// The number of blocks of the grid in z.
    grid_dim_z = _grid_dim_z in 1..=65535);

/// This thread's index in its block.
#[inline(always)]
#[gpu_only]
pub fn thread_idx() -> Vec3<u32> {
    Vec3::new(thread_idx_x(), thread_idx_y(), thread_idx_z())
}

/// This block's index in the grid.
#[inline(always)]
#[gpu_only]
pub fn block_idx() -> Vec3<u32> {
    Vec3::new(block_idx_x(), block_idx_y(), block_idx_z())
}

/// The number of threads of a block in each dimension.
#[inline(always)]
#[gpu_only]
pub fn block_dim() -> Vec3<u32> {
    Vec3::new(block_dim_x(), block_dim_y(), block_dim_z())
}

/// The number of blocks of the grid in each dimension.
#[inline(always)]
#[gpu_only]
pub fn grid_dim() -> Vec3<u32> {
    Vec3::new(grid_dim_x(), grid_dim_y(), grid_dim_z())
}

/// This thread's number in the whole grid: unique whatever the dimensions of grid and block. Blocks are counted first
/// along x, then y, then z; so are the threads of a block.
///
/// [`index_1d`] is cheaper and enough for a launch in one dimension.
#[inline(always)]
#[gpu_only]
pub fn index() -> u32 {
    let (grid, block) = (grid_dim(), block_dim());
    let (b, t) = (block_idx(), thread_idx());
    let block_number = b.x + grid.x * (b.y + grid.y * b.z);
    let thread_number = t.x + block.x * (t.y + block.y * t.z);
    block_number * (block.x * block.y * block.z) + thread_number
}

/// This thread's x index in the whole grid.
#[inline(always)]
pub fn index_1d() -> u32 {
    thread_idx_x() + block_idx_x() * block_dim_x()
}

/// This thread's x and y index in the whole grid.
#[inline(always)]
pub fn index_2d() -> Vec2<u32> {
    Vec2::new(index_1d(), thread_idx_y() + block_idx_y() * block_dim_y())
}

/// This thread's x, y and z index in the whole grid.
#[inline(always)]
pub fn index_3d() -> Vec3<u32> {
    let Vec2 { x, y } = index_2d();
    Vec3::new(x, y, thread_idx_z() + block_idx_z() * block_dim_z())
}

/// Whether this is thread 0 of block 0: true in exactly one thread of the grid.
#[inline(always)]
pub fn first() -> bool {
    block_idx() == Vec3::zero() && thread_idx() == Vec3::zero()
}

/// The number of threads of a warp: 32 on every GPU so far.
#[inline(always)]
#[gpu_only]
pub fn warp_size() -> u32 {
    let size: u32;
    // SAFETY: reading a constant register has no precondition.
    unsafe { asm!("mov.u32 {}, WARP_SZ;", out(reg32) size, options(pure, nomem, nostack, preserves_flags)) };
    size
}

/// Waits until every thread of the block has come here. What they wrote to global and shared memory before is visible to
/// all of them after.
///
/// Every thread of the block must reach the same call: a barrier in a branch that some threads do not take hangs the
/// block or corrupts it.
#[inline(always)]
#[gpu_only]
pub fn sync_threads() {
    // SAFETY: a barrier touches no memory; that all threads reach it is this function's contract.
    unsafe { nvptx::_syncthreads() }
}

/// [`sync_threads`] that also counts the threads whose `predicate` is not zero.
#[inline(always)]
#[gpu_only]
pub fn sync_threads_count(predicate: u32) -> u32 {
    // SAFETY: as sync_threads.
    unsafe { barrier_popc(predicate) }
}

/// [`sync_threads`] that also says whether `predicate` is not zero in every thread (1, else 0).
#[inline(always)]
#[gpu_only]
pub fn sync_threads_and(predicate: u32) -> u32 {
    // SAFETY: as sync_threads.
    unsafe { barrier_and(predicate) }
}

/// [`sync_threads`] that also says whether `predicate` is not zero in at least one thread (1, else 0).
#[inline(always)]
#[gpu_only]
pub fn sync_threads_or(predicate: u32) -> u32 {
    // SAFETY: as sync_threads.
    unsafe { barrier_or(predicate) }
}

/// A memory fence for the whole device: this thread's writes before it are seen by every thread of the grid that sees
/// one of its writes after it (`membar.gl`).
#[inline(always)]
#[gpu_only]
pub fn grid_fence() {
    // SAFETY: a fence has no precondition.
    unsafe { asm!("membar.gl;", options(nostack, preserves_flags)) }
}

/// A memory fence for the whole device, like [`grid_fence`] (`membar.gl`).
#[inline(always)]
#[gpu_only]
pub fn device_fence() {
    grid_fence()
}

/// A memory fence for the device, the host and other devices (`membar.sys`).
#[inline(always)]
#[gpu_only]
pub fn system_fence() {
    // SAFETY: a fence has no precondition.
    unsafe { asm!("membar.sys;", options(nostack, preserves_flags)) }
}

/// Sleeps for about `nanos` nanoseconds (at most a millisecond): the back-off of a spin lock.
#[inline(always)]
#[gpu_only]
pub fn nanosleep(nanos: u32) {
    // SAFETY: sleeping has no precondition.
    unsafe { asm!("nanosleep.u32 {};", in(reg32) nanos, options(nomem, nostack, preserves_flags)) }
}
