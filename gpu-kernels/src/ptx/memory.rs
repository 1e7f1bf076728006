//! Loads and stores that say their state space and width. Shared memory is addressed by the 32-bit offsets that the
//! hardware uses ([`shared_address`]); global memory by ordinary pointers.

use cuda_std::gpu_only;

#[cfg(target_arch = "nvptx64")]
use core::arch::asm;

/// The 32-bit shared-memory address of a pointer from `shared_array!` or `dynamic_shared_mem`.
///
/// # Safety
/// - `pointer` points into shared memory.
#[inline(always)]
#[gpu_only]
pub unsafe fn shared_address<T>(pointer: *const T) -> u32 {
    let address: u32;
    asm!(
        "{{ .reg .u64 t; cvta.to.shared.u64 t, {1}; cvt.u32.u64 {0}, t; }}",
        out(reg32) address,
        in(reg64) pointer,
        options(pure, nomem, nostack, preserves_flags),
    );
    address
}

/// One f32 from shared memory (`ld.shared.f32`).
///
/// # Safety
/// - `address` is that of a written f32 in shared memory, aligned to 4.
#[inline(always)]
#[gpu_only]
pub unsafe fn ld_shared_f32(address: u32) -> f32 {
    let value: f32;
    asm!(
        "ld.shared.f32 {}, [{}];",
        out(reg32) value,
        in(reg32) address,
        options(readonly, nostack, preserves_flags),
    );
    value
}

/// Four f32 from shared memory (`ld.shared.v4.f32`).
///
/// # Safety
/// - `address` is that of four written f32 in shared memory, aligned to 16.
#[inline(always)]
#[gpu_only]
pub unsafe fn ld_shared_f32x4(address: u32) -> [f32; 4] {
    let (a, b, c, d): (f32, f32, f32, f32);
    asm!(
        "ld.shared.v4.f32 {{{}, {}, {}, {}}}, [{}];",
        out(reg32) a,
        out(reg32) b,
        out(reg32) c,
        out(reg32) d,
        in(reg32) address,
        options(readonly, nostack, preserves_flags),
    );
    [a, b, c, d]
}

/// One f32 to shared memory (`st.shared.f32`).
///
/// # Safety
/// - `address` is that of an f32 in shared memory, aligned to 4, that no other thread accesses before a barrier.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_shared_f32(address: u32, value: f32) {
    asm!(
        "st.shared.f32 [{}], {};",
        in(reg32) address,
        in(reg32) value,
        options(nostack, preserves_flags),
    );
}

/// Two f32 to shared memory (`st.shared.v2.f32`).
///
/// # Safety
/// - `address` is that of two f32 in shared memory, aligned to 8, that no other thread accesses before a barrier.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_shared_f32x2(address: u32, [a, b]: [f32; 2]) {
    asm!(
        "st.shared.v2.f32 [{}], {{{}, {}}};",
        in(reg32) address,
        in(reg32) a,
        in(reg32) b,
        options(nostack, preserves_flags),
    );
}

/// Four f32 to shared memory (`st.shared.v4.f32`).
///
/// # Safety
/// - `address` is that of four f32 in shared memory, aligned to 16, that no other thread accesses before a barrier.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_shared_f32x4(address: u32, [a, b, c, d]: [f32; 4]) {
    asm!(
        "st.shared.v4.f32 [{}], {{{}, {}, {}, {}}};",
        in(reg32) address,
        in(reg32) a,
        in(reg32) b,
        in(reg32) c,
        in(reg32) d,
        options(nostack, preserves_flags),
    );
}

/// A load of `$n` f32 from global memory.
macro_rules! load_global {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[gpu_only]
        pub unsafe fn $name(pointer: *const f32) -> [f32; 4] {
            let (a, b, c, d): (f32, f32, f32, f32);
            asm!(
                "{{ .reg .u64 t; cvta.to.global.u64 t, {p};",
                concat!($instruction, " {{{a}, {b}, {c}, {d}}}, [t]; }}"),
                a = out(reg32) a,
                b = out(reg32) b,
                c = out(reg32) c,
                d = out(reg32) d,
                p = in(reg64) pointer,
                options(readonly, nostack, preserves_flags),
            );
            [a, b, c, d]
        }
    };
}

load_global!(
    /// Four f32 from global memory (`ld.global.v4.f32`).
    ///
    /// # Safety
    /// - `pointer` is valid for reading four f32 of global memory and aligned to 16.
    ld_global_f32x4, "ld.global.v4.f32"
);
load_global!(
    /// Four f32 from global memory through the read-only cache (`ld.global.nc.v4.f32`).
    ///
    /// # Safety
    /// - `pointer` is valid for reading four f32 of global memory and aligned to 16, and no thread writes them while the
    ///   kernel runs.
    ld_global_nc_f32x4, "ld.global.nc.v4.f32"
);

/// One f32 from global memory through the read-only cache (`ld.global.nc.f32`).
///
/// # Safety
/// - `pointer` is valid for reading an f32 of global memory that no thread writes while the kernel runs.
#[inline(always)]
#[gpu_only]
pub unsafe fn ld_global_nc_f32(pointer: *const f32) -> f32 {
    let value: f32;
    asm!(
        "{{ .reg .u64 t; cvta.to.global.u64 t, {1}; ld.global.nc.f32 {0}, [t]; }}",
        out(reg32) value,
        in(reg64) pointer,
        options(readonly, nostack, preserves_flags),
    );
    value
}

/// Four f32 to global memory (`st.global.v4.f32`).
///
/// # Safety
/// - `pointer` is valid for writing four f32 of global memory and aligned to 16.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_global_f32x4(pointer: *mut f32, [a, b, c, d]: [f32; 4]) {
    asm!(
        "{{ .reg .u64 t; cvta.to.global.u64 t, {}; st.global.v4.f32 [t], {{{}, {}, {}, {}}}; }}",
        in(reg64) pointer,
        in(reg32) a,
        in(reg32) b,
        in(reg32) c,
        in(reg32) d,
        options(nostack, preserves_flags),
    );
}

/// Adds `value` to the counter at `at` (`red.global.add.u32`); the old value is not returned. Exact in any order.
///
/// # Safety
/// - `at` points to global memory that other threads touch only through this function while the kernel runs.
#[inline(always)]
#[gpu_only]
pub unsafe fn atomic_add(at: *mut u32, value: u32) {
    asm!(
        "{{ .reg .u64 a; cvta.to.global.u64 a, {at}; red.relaxed.gpu.global.add.u32 [a], {value}; }}",
        at = in(reg64) at,
        value = in(reg32) value,
        options(nostack, preserves_flags),
    );
}
