//! Shared-memory sizes, and the device heap (feature `alloc`).

use crate::gpu_only;

#[cfg(target_arch = "nvptx64")]
pub use core::arch::nvptx::{free, malloc};

/// The device heap as a global allocator: CUDA's `malloc` and `free`, 8 MiB unless the host asks for more. With the
/// feature `alloc` it is the kernel crate's global allocator.
pub struct CUDAAllocator;

// SAFETY: the device's malloc gives blocks aligned to 16 bytes or null, free takes what malloc gave; a layout aligned
// to more than 16 is refused with null.
#[cfg(all(target_arch = "nvptx64", feature = "alloc"))]
unsafe impl core::alloc::GlobalAlloc for CUDAAllocator {
    unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
        if layout.align() > 16 {
            return core::ptr::null_mut();
        }
        // SAFETY: malloc has no precondition.
        unsafe { malloc(layout.size()).cast() }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _layout: core::alloc::Layout) {
        // SAFETY: the caller's pointer came from `alloc`, so from malloc.
        unsafe { free(ptr.cast()) }
    }
}

/// The kernel crate's global allocator.
#[cfg(all(target_arch = "nvptx64", feature = "alloc"))]
#[global_allocator]
pub static GLOBAL_ALLOCATOR: CUDAAllocator = CUDAAllocator;

/// The bytes of dynamic shared memory that the launch gave each block.
#[inline(always)]
#[gpu_only]
pub fn dynamic_smem_size() -> u32 {
    let bytes: u32;
    // SAFETY: reading a special register has no precondition.
    unsafe {
        core::arch::asm!("mov.u32 {}, %dynamic_smem_size;", out(reg32) bytes, options(pure, nomem, nostack, preserves_flags));
    }
    bytes
}

/// The bytes of shared memory of a block, static and dynamic together, rounded up to the hardware's unit.
#[inline(always)]
#[gpu_only]
pub fn total_smem_size() -> u32 {
    let bytes: u32;
    // SAFETY: reading a special register has no precondition.
    unsafe {
        core::arch::asm!("mov.u32 {}, %total_smem_size;", out(reg32) bytes, options(pure, nomem, nostack, preserves_flags));
    }
    bytes
}
