//! Kernels whose compiled PTX is the simulator's test corpus.
#![no_std]
#![feature(abi_ptx, stdarch_nvptx, asm_experimental_arch, core_intrinsics)]
#![allow(internal_features)]

use core::arch::asm;
use core::arch::nvptx::*;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// out[i] = alpha * x[i] + y[i].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn saxpy(n: u32, alpha: f32, x: *const f32, y: *const f32, out: *mut f32) { // SAFETY: x, y and out cover n elements (the launch).
    unsafe {
        let i = (_block_idx_x() * _block_dim_x() + _thread_idx_x()) as usize;
        if i < n as usize {
            *out.add(i) = core::intrinsics::fmuladdf32(alpha, *x.add(i), *y.add(i));
        }
    }
}

const T: usize = 16;

/// C[m,n] = A[m,k] * B[k,n], 16x16 blocks of one element per thread, tiles in static shared memory.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gemm_tiled(m: u32, n: u32, k: u32, a: *const f32, b: *const f32, c: *mut f32) { // SAFETY: the matrices cover m x k, k x n and m x n; tile indices stay below 16 x 16.
    unsafe {
        let (ta, tb): (*mut f32, *mut f32);
        asm!("{{ .shared .align 16 .b8 t[{n}]; .reg .u64 a; mov.u64 a, t; cvta.shared.u64 {0}, a; }}", out(reg64) ta, n = const 4 * T * T);
        asm!("{{ .shared .align 16 .b8 t[{n}]; .reg .u64 a; mov.u64 a, t; cvta.shared.u64 {0}, a; }}", out(reg64) tb, n = const 4 * T * T);
        let tx = _thread_idx_x() as usize;
        let ty = _thread_idx_y() as usize;
        let col = _block_idx_x() as usize * T + tx;
        let row = _block_idx_y() as usize * T + ty;
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let mut acc = 0f32;
        let mut k0 = 0;
        while k0 < k {
            *ta.add(ty * T + tx) = if row < m && k0 + tx < k { *a.add(row * k + k0 + tx) } else { 0.0 };
            *tb.add(ty * T + tx) = if col < n && k0 + ty < k { *b.add((k0 + ty) * n + col) } else { 0.0 };
            _syncthreads();
            let mut p = 0;
            while p < T {
                acc = core::intrinsics::fmuladdf32(*ta.add(ty * T + p), *tb.add(p * T + tx), acc);
                p += 1;
            }
            _syncthreads();
            k0 += T;
        }
        if row < m && col < n {
            *c.add(row * n + col) = acc;
        }
    }
}

#[inline(always)]
unsafe fn shfl_down(v: f32, d: u32) -> f32 { // SAFETY: all lanes of the warp execute it.
    unsafe {
        let o: f32;
        asm!("shfl.sync.down.b32 {0}, {1}, {2}, 0x1f, 0xffffffff;", out(reg32) o, in(reg32) v, in(reg32) d);
        o
    }
}

// Dynamic shared memory of `block_sum`: one partial sum per warp.
core::arch::global_asm!(".extern .shared .align 1024 .b8 dyn_smem[];");

#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn block_sum(n: u32, x: *const f32, out: *mut f32) { // SAFETY: x covers n elements, out one a block; the dynamic array has a place for each warp.
    unsafe {
        let smem: u32;
        asm!("mov.u32 {0}, dyn_smem;", out(reg32) smem);
        let tid = _thread_idx_x();
        let stride = _block_dim_x() * _grid_dim_x();
        let mut i = _block_idx_x() * _block_dim_x() + tid;
        let mut s = 0f32;
        while i < n {
            s += *x.add(i as usize);
            i += stride;
        }
        let mut d = 16;
        while d > 0 {
            s += shfl_down(s, d);
            d /= 2;
        }
        if tid % 32 == 0 {
            asm!("st.shared.f32 [{0}], {1};", in(reg32) smem + tid / 32 * 4, in(reg32) s);
        }
        _syncthreads();
        if tid == 0 {
            let warps = (_block_dim_x() + 31) / 32;
            let mut t = 0f32;
            let mut w = 0;
            while w < warps {
                let v: f32;
                asm!("ld.shared.f32 {1}, [{0}];", in(reg32) smem + w * 4, out(reg32) v);
                t += v;
                w += 1;
            }
            *out.add(_block_idx_x() as usize) = t;
        }
    }
}

#[inline(always)]
fn tanh(x: f32) -> f32 { // SAFETY: one instruction on registers.
    unsafe {
        let o: f32;
        asm!("tanh.approx.f32 {0}, {1};", out(reg32) o, in(reg32) x, options(pure, nomem, nostack));
        o
    }
}
#[inline(always)]
fn ex2(x: f32) -> f32 { // SAFETY: one instruction on registers.
    unsafe {
        let o: f32;
        asm!("ex2.approx.ftz.f32 {0}, {1};", out(reg32) o, in(reg32) x, options(pure, nomem, nostack));
        o
    }
}
#[inline(always)]
fn lg2(x: f32) -> f32 { // SAFETY: one instruction on registers.
    unsafe {
        let o: f32;
        asm!("lg2.approx.f32 {0}, {1};", out(reg32) o, in(reg32) x, options(pure, nomem, nostack));
        o
    }
}

/// One of several activations, chosen by a run-time code (a switch that may become brx.idx).
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn activation(kind: u32, n: u32, x: *const f32, y: *mut f32) { // SAFETY: x and y cover n elements.
    unsafe {
        let i = _block_idx_x() * _block_dim_x() + _thread_idx_x();
        if i >= n {
            return;
        }
        let v = *x.add(i as usize);
        let r = match kind {
            0 => v.max(0.0),
            1 => tanh(v),
            2 => 1.0 / (1.0 + ex2(-v * core::f32::consts::LOG2_E)),
            3 => 0.5 * v * (1.0 + tanh(0.797_884_56 * (v + 0.044_715 * v * v * v))),
            4 => lg2(1.0 + ex2(v * core::f32::consts::LOG2_E)) * core::f32::consts::LN_2,
            5 => v.abs(),
            6 => v.copysign(-1.0),
            7 => core::intrinsics::sqrtf32(v.abs()),
            8 => core::intrinsics::floorf32(v),
            9 => if v.is_nan() { 0.0 } else { v.clamp(-1.0, 1.0) },
            10 => (v as i32) as f32,
            11 => (v as u8) as f32,
            12 => core::intrinsics::round_ties_even_f32(v),
            _ => v,
        };
        *y.add(i as usize) = r;
    }
}

#[inline(always)]
fn round4(c: [u32; 4], k: [u32; 2]) -> [u32; 4] {
    let p0 = 0xD251_1F53u64 * c[0] as u64;
    let p1 = 0xCD9E_8D57u64 * c[2] as u64;
    [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32]
}

/// Philox 4x32-10: four words per thread.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn philox(seed: u64, n: u32, out: *mut u32) { // SAFETY: out covers 4 n words.
    unsafe {
        let i = _block_idx_x() * _block_dim_x() + _thread_idx_x();
        if i < n {
            let mut c = [i, 0, 0, 0];
            let mut k = [seed as u32, (seed >> 32) as u32];
            let mut r = 0;
            while r < 10 {
                c = round4(c, k);
                k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
                r += 1;
            }
            let o = out.add(4 * i as usize);
            *o = c[0];
            *o.add(1) = c[1];
            *o.add(2) = c[2];
            *o.add(3) = c[3];
        }
    }
}

/// Integer torture: divisions, shifts, bit counts, 64-bit and 128-bit arithmetic.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn integers(n: u32, a: *const u64, b: *const u64, out: *mut u64) { // SAFETY: a, b and out cover what n threads read and write.
    unsafe {
        let i = (_block_idx_x() * _block_dim_x() + _thread_idx_x()) as usize;
        if i >= n as usize {
            return;
        }
        let (x, y) = (*a.add(i), *b.add(i) | 1);
        let mut h = x.wrapping_div(y) ^ x.wrapping_rem(y);
        h = h.wrapping_mul(31).wrapping_add(((x as i64).wrapping_rem((y as i64) | 3)) as u64);
        h = h.rotate_left((y & 63) as u32) ^ (x.count_ones() as u64) ^ (((x as u32).leading_zeros() as u64) << 8);
        h ^= (x.leading_zeros() as u64) << 16 ^ (y.trailing_zeros() as u64) << 24;
        h ^= x.reverse_bits() ^ (y as u32).reverse_bits() as u64 ^ x.swap_bytes();
        h = h.wrapping_add(((x as u128 * y as u128) >> 64) as u64);
        h ^= ((x as i32).wrapping_shr(y as u32 & 31)) as i64 as u64;
        h ^= (x as u32).rotate_right(y as u32 & 31) as u64;
        h ^= (x as u16 as i16 as i64 as u64) & (y as u8 as i8 as i64 as u64);
        h ^= x.max(y) ^ ((x as i64).min(y as i64)) as u64;
        h ^= (x as u8).wrapping_mul(y as u8) as u64 ^ ((x as u16) / (y as u16 | 1)) as u64;
        h ^= x.saturating_sub(y) ^ (x as u32).saturating_add(y as u32) as u64;
        let (s, c) = x.overflowing_add(y);
        let big = ((x as u128) << 64 | y as u128).wrapping_add((y as u128) << 64 | x as u128);
        h ^= s.wrapping_add(c as u64) ^ (big >> 64) as u64 ^ big as u64;
        *out.add(i) = h;
    }
}

/// Histogram over 64 bins: shared-memory atomics, then global atomics.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn histogram(n: u32, x: *const u8, bins: *mut u32) { // SAFETY: x covers n bytes, bins 64 counters; the tile has 64.
    unsafe {
        let t: u64;
        asm!("{{ .shared .align 16 .b8 t[{n}]; .reg .u64 a; mov.u64 a, t; cvta.shared.u64 {0}, a; }}", out(reg64) t, n = const 256);
        let tid = _thread_idx_x();
        let t = t as *mut u32;
        if tid < 64 {
            *t.add(tid as usize) = 0;
        }
        _syncthreads();
        let mut i = _block_idx_x() * _block_dim_x() + tid;
        while i < n {
            let b = (*x.add(i as usize) & 63) as usize;
            (*(t.add(b) as *const core::sync::atomic::AtomicU32)).fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            i += _block_dim_x() * _grid_dim_x();
        }
        _syncthreads();
        if tid < 64 {
            (*(bins.add(tid as usize) as *const core::sync::atomic::AtomicU32))
                .fetch_add(*t.add(tid as usize), core::sync::atomic::Ordering::AcqRel);
        }
    }
}

#[inline(never)]
fn ackermann(m: u32, n: u32) -> u32 {
    if m == 0 {
        n + 1
    } else if n == 0 {
        ackermann(m - 1, 1)
    } else {
        ackermann(m - 1, ackermann(m, n - 1))
    }
}

#[inline(never)]
fn sort(v: &mut [u32; 24], n: usize) {
    let mut i = 1;
    while i < n {
        let mut j = i; // SAFETY: j stays below n, which is at most 24.
        unsafe {
            while j > 0 && *v.get_unchecked(j - 1) > *v.get_unchecked(j) {
                let t = *v.get_unchecked(j);
                *v.get_unchecked_mut(j) = *v.get_unchecked(j - 1);
                *v.get_unchecked_mut(j - 1) = t;
                j -= 1;
            }
        }
        i += 1;
    }
}

static TABLE: [u32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];

/// Calls, recursion, local arrays, constant tables.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn recursive(n: u32, x: *const u32, out: *mut u32) { // SAFETY: x and out cover what n threads read and write; v has 24 places.
    unsafe {
        let i = _block_idx_x() * _block_dim_x() + _thread_idx_x();
        if i >= n {
            return;
        }
        let mut v = [0u32; 24];
        let mut j = 0;
        while j < 24 {
            *v.get_unchecked_mut(j) = (*x.add(i as usize)).wrapping_mul(j as u32 + 7) ^ *TABLE.get_unchecked(j & 7);
            j += 1;
        }
        sort(&mut v, 24);
        let k = *x.add(i as usize) % 24;
        *out.add(i as usize) = *v.get_unchecked(k as usize) ^ ackermann(k & 1, k % 5);
    }
}

#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct F4(f32, f32, f32, f32);

/// Vector loads, a struct parameter by value, f64.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn vectors(n: u32, s: F4, x: *const F4, y: *mut F4, z: *mut f64) { // SAFETY: x, y and z cover n elements, aligned as their types.
    unsafe {
        let i = (_block_idx_x() * _block_dim_x() + _thread_idx_x()) as usize;
        if i < n as usize {
            let v = *x.add(i);
            *y.add(i) = F4(v.0 * s.0, v.1 / s.1, v.2 - s.2, v.3 + s.3);
            *z.add(i) = v.0 as f64 / (v.1 as f64 * v.1 as f64 + 1.0) + core::intrinsics::sqrtf64(v.2 as f64 * v.2 as f64);
        }
    }
}

/// printf and assert.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn talk(limit: u32) { // SAFETY: the strings end in a zero; the argument block outlives the call.
    unsafe {
        let i = _thread_idx_x();
        #[repr(C)]
        struct Args(u32, f64);
        let a = Args(i, i as f64 * 0.5);
        vprintf(c"thread %d half %g\n".as_ptr() as *const u8, &a as *const Args as *const core::ffi::c_void);
        if i >= limit {
            __assert_fail(c"i < limit".as_ptr() as *const u8, c"lib.rs".as_ptr() as *const u8, 7, c"talk".as_ptr() as *const u8);
        }
    }
}
