//! Vector registers for the matrix product's inner loop: AVX-512, AVX2 with FMA, and arrays for every other machine.
//!
//! The methods are `#[inline(always)]` and only called from functions compiled for the instruction set
//! (`#[target_feature]`), so that each is one instruction there.

/// One instruction set.
///
/// # Safety
/// Of every method: the machine has the instruction set; pointers cover what the method's name says, [`LANES`](Simd::LANES)
/// floats unless it takes a count.
pub(super) trait Simd: Copy {
    /// A register of floats.
    type V: Copy;
    /// Floats in a register.
    const LANES: usize;
    /// Rows of the largest micro-tile of two registers a row that fits the register file.
    const ROWS: usize;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    /// The first `n <= LANES` floats, then zeros.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V);
    /// a * b + c
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `dst[j * dst_ld + i] = src[i * src_ld + j]`, a block of `LANES x LANES` of whose rows `src` has the first `rows`; the
    /// others are zeros.
    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_ld: usize, rows: usize, dst: *mut f32, dst_ld: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller's blocks.
                unsafe { *dst.add(j * dst_ld + i) = if i < rows { *src.add(i * src_ld + j) } else { 0.0 } }
            }
        }
    }
}

/// Eight floats in an array: whatever the compiler makes of it.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 8] {
        // SAFETY: the trait's contract.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> [f32; 8] {
        // SAFETY: the trait's contract; only the first n are touched.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 8]) {
        // SAFETY: the trait's contract.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, n: usize, v: [f32; 8]) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the trait's contract; only the first n are touched.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Two roundings: a fused one is a function call where the instruction is missing.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    /// The lowest `n` bits.
    #[inline(always)]
    fn mask(n: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n)) as __mmask16
    }

    impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const ROWS: usize = 14;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: here and below, the trait's contract.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m512) {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f32, src_ld: usize, rows: usize, dst: *mut f32, dst_ld: usize) {
            // SAFETY: as above.
            unsafe {
                let mut r = [_mm512_setzero_ps(); 16];
                for (i, r) in r.iter_mut().enumerate().take(rows) {
                    *r = _mm512_loadu_ps(src.add(i * src_ld));
                }
                // Within 128-bit lanes: pairs of rows, then quadruples; lane l of q[4 g + c] is column 4 l + c of rows
                // 4 g .. 4 g + 4.
                let mut q = [_mm512_setzero_ps(); 16];
                for g in 0..4 {
                    let (a, b, c, d) = (r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]);
                    let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                    let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                    q[4 * g] = _mm512_shuffle_ps::<0x44>(ab0, cd0);
                    q[4 * g + 1] = _mm512_shuffle_ps::<0xee>(ab0, cd0);
                    q[4 * g + 2] = _mm512_shuffle_ps::<0x44>(ab1, cd1);
                    q[4 * g + 3] = _mm512_shuffle_ps::<0xee>(ab1, cd1);
                }
                // Between lanes: a 4 x 4 transpose of lanes for each c.
                for c in 0..4 {
                    let (a, b, d, e) = (q[c], q[4 + c], q[8 + c], q[12 + c]);
                    let (ab0, ab1) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                    let (de0, de1) = (_mm512_shuffle_f32x4::<0x44>(d, e), _mm512_shuffle_f32x4::<0xee>(d, e));
                    _mm512_storeu_ps(dst.add(c * dst_ld), _mm512_shuffle_f32x4::<0x88>(ab0, de0));
                    _mm512_storeu_ps(dst.add((4 + c) * dst_ld), _mm512_shuffle_f32x4::<0xdd>(ab0, de0));
                    _mm512_storeu_ps(dst.add((8 + c) * dst_ld), _mm512_shuffle_f32x4::<0x88>(ab1, de1));
                    _mm512_storeu_ps(dst.add((12 + c) * dst_ld), _mm512_shuffle_f32x4::<0xdd>(ab1, de1));
                }
            }
        }
    }

    /// AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    /// All ones in the first `n` lanes.
    #[inline(always)]
    unsafe fn first(n: usize) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: here and below, the trait's contract.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m256 {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm256_maskload_ps(p, first(n)) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m256) {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm256_maskstore_ps(p, first(n), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_mul_ps(a, b) }
        }
    }
}
