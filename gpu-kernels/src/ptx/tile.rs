//! Shared memory by its 32-bit address, four floats at a time.
//!
//! A pointer to shared memory is generic, and loads through it are generic loads. Hot loops convert it once
//! ([`shared_address`]) and use these `ld.shared`/`st.shared` instructions.

use cuda_std::gpu_only;

/// Four floats that load and store as one 128-bit access.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Float4(pub [f32; 4]);

/// Whether `p` may be accessed as [`Float4`].
#[inline(always)]
pub fn is_aligned4(p: *const f32) -> bool {
    (p as usize).is_multiple_of(16)
}

/// The address of `p` within shared memory.
///
/// # Safety
/// - `p` points into shared memory.
#[inline(always)]
#[gpu_only]
pub unsafe fn shared_address(p: *const f32) -> u32 {
    let address: u32;
    // SAFETY: the asm computes an address; it touches no memory.
    unsafe {
        core::arch::asm!(
            "{{ .reg .u64 t; cvta.to.shared.u64 t, {1}; cvt.u32.u64 {0}, t; }}",
            out(reg32) address, in(reg64) p, options(pure, nomem, nostack, preserves_flags)
        );
    }
    address
}

/// `ld.shared.v4.f32`.
///
/// # Safety
/// - `address` is a multiple of 16, and 16 initialised bytes of shared memory start there.
#[inline(always)]
#[gpu_only]
pub unsafe fn ld_shared4(address: u32) -> [f32; 4] {
    let (a, b, c, d): (f32, f32, f32, f32);
    // SAFETY: the caller's contract.
    unsafe {
        core::arch::asm!(
            "ld.shared.v4.f32 {{{0}, {1}, {2}, {3}}}, [{4}];",
            out(reg32) a, out(reg32) b, out(reg32) c, out(reg32) d, in(reg32) address,
            options(readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// `st.shared.v4.f32`.
///
/// # Safety
/// - `address` is a multiple of 16, and 16 bytes of shared memory start there.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_shared4(address: u32, v: [f32; 4]) {
    // SAFETY: the caller's contract.
    unsafe {
        core::arch::asm!(
            "st.shared.v4.f32 [{4}], {{{0}, {1}, {2}, {3}}};",
            in(reg32) v[0], in(reg32) v[1], in(reg32) v[2], in(reg32) v[3], in(reg32) address,
            options(nostack, preserves_flags)
        );
    }
}

/// `st.shared.f32`.
///
/// # Safety
/// - `address` is a multiple of 4, and 4 bytes of shared memory start there.
#[inline(always)]
#[gpu_only]
pub unsafe fn st_shared(address: u32, v: f32) {
    // SAFETY: the caller's contract.
    unsafe {
        core::arch::asm!("st.shared.f32 [{1}], {0};", in(reg32) v, in(reg32) address, options(nostack, preserves_flags));
    }
}

/// `fma.rn.f32`: `a * b + c`, rounded once.
#[inline(always)]
#[gpu_only]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    let d: f32;
    // SAFETY: arithmetic on registers.
    unsafe {
        core::arch::asm!(
            "fma.rn.f32 {0}, {1}, {2}, {3};", out(reg32) d, in(reg32) a, in(reg32) b, in(reg32) c,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    d
}
