//! Pointers and the GPU's address spaces. An ordinary Rust pointer is *generic*: it can point into any of them.

use crate::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// Where a generic pointer may point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressSpace {
    /// The device's memory, read and written by all.
    Global,
    /// A block's memory, read and written by its threads.
    Shared,
    /// Memory that all read and none writes.
    Constant,
    /// One thread's own memory: spills and arrays.
    Local,
}

/// `asm!` with the instruction's address space chosen by a run-time value.
#[cfg(target_arch = "nvptx64")]
macro_rules! by_space {
    ($space:expr, $before:literal, $after:literal, $out:expr, $in:expr) => {
        match $space {
            AddressSpace::Global => by_space!(@ $before, "global", $after, $out, $in),
            AddressSpace::Shared => by_space!(@ $before, "shared", $after, $out, $in),
            AddressSpace::Constant => by_space!(@ $before, "const", $after, $out, $in),
            AddressSpace::Local => by_space!(@ $before, "local", $after, $out, $in),
        }
    };
    (@ $before:literal, $space:literal, $after:literal, $out:expr, $in:expr) => {
        asm!(concat!($before, $space, $after), out(reg64) $out, in(reg64) $in, options(pure, nomem, nostack))
    };
}

/// Whether `ptr` points into `address_space`.
///
/// # Safety
///
/// `ptr` must be valid for a `T`.
#[inline(always)]
#[gpu_only]
pub unsafe fn is_in_address_space<T>(ptr: *const T, address_space: AddressSpace) -> bool {
    let inside: u64;
    // SAFETY: the instruction looks at the address only.
    unsafe {
        by_space!(
            address_space,
            "{{ .reg .pred p; isspacep.",
            " p, {1}; selp.u64 {0}, 1, 0, p; }}",
            inside,
            ptr
        );
    }
    inside != 0
}

/// The address of a generic pointer within `address_space` (`cvta.to`).
///
/// # Safety
///
/// `ptr` must be valid for a `T` and point into `address_space`.
#[inline(always)]
#[gpu_only]
pub unsafe fn convert_generic_to_specific_address_space<T>(
    ptr: *const T,
    address_space: AddressSpace,
) -> *const T {
    let out: *const T;
    // SAFETY: the instruction computes an address only.
    unsafe { by_space!(address_space, "cvta.to.", ".u64 {0}, {1};", out, ptr) };
    out
}

/// The generic pointer for an address within `address_space` (`cvta`).
///
/// # Safety
///
/// `ptr` must be the address of a valid `T` within `address_space`.
#[inline(always)]
#[gpu_only]
pub unsafe fn convert_specific_address_space_to_generic<T>(
    ptr: *const T,
    address_space: AddressSpace,
) -> *const T {
    let out: *const T;
    // SAFETY: the instruction computes an address only.
    unsafe { by_space!(address_space, "cvta.", ".u64 {0}, {1};", out, ptr) };
    out
}
