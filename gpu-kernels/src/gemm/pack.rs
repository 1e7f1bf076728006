//! Copies op(X) into a K-major workspace that tensor-core kernels can read: rows of K elements that begin at multiples of
//! 16 bytes, converted to the factor's type, zeros between K and the row's end. For operands that are misaligned, of
//! another type, or not K-major where the kernel needs that.
//!
//! 8-bit floats are copied bit by bit; other types become e4m3 where the target is Hopper, whose kernels alone multiply it.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::element::{bytes, load1, store1, E4M3};
use crate::ptx::{ld_shared_f32, shared_address, st_shared_f32};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Rows, and elements of K, that a block copies.
pub const TILE: u32 = 32;
/// Threads of a block: each copies four elements.
pub const BLOCK: u32 = 256;

/// Floats of shared memory. Rows of one word more than there are banks: columns meet no conflict.
pub(super) const SHARED: usize = (TILE * (TILE + 1)) as usize;

/// The copy of one matrix: see [`gemm_pack()`].
pub(super) struct Packing {
    pub rows: u32,
    pub k: u32,
    pub transposed: bool,
    pub from: *const u8,
    pub from_type: u32,
    pub ld_from: u32,
    pub to: *mut u8,
    pub to_type: u32,
    pub ld_to: u32,
}

impl Packing {
    /// Copies tile `i`, those along K next to each other, by way of [`SHARED`] floats at shared address `tile`.
    ///
    /// # Safety
    /// - All threads of a block of [`BLOCK`] call it with the same arguments; there is such a tile.
    /// - `from` and `to` cover their matrices and do not overlap; no other thread writes this tile of `to`.
    #[inline(always)]
    pub unsafe fn tile(&self, i: u32, tile: u32) {
        let (x, y) = (thread::thread_idx_x() % TILE, thread::thread_idx_x() / TILE);
        let across = self.ld_to.div_ceil(TILE).max(1);
        let (row0, k0) = (i / across * TILE, i % across * TILE);
        // Lanes go along the rows in memory, on either side.
        let mut i = y;
        while i < TILE {
            let (row, p) = if self.transposed { (row0 + x, k0 + i) } else { (row0 + i, k0 + x) };
            let mut value = 0.0;
            if row < self.rows && p < self.k {
                let (outer, inner) = if self.transposed { (p, row) } else { (row, p) };
                let at = outer as usize * self.ld_from as usize + inner as usize;
                value = get(self.from_type, self.from, at);
            }
            let at = if self.transposed { x * (TILE + 1) + i } else { i * (TILE + 1) + x };
            st_shared_f32(tile + 4 * at, value);
            i += BLOCK / TILE;
        }
        thread::sync_threads();
        let mut i = y;
        while i < TILE {
            let (row, p) = (row0 + i, k0 + x);
            if row < self.rows && p < self.ld_to {
                let value = ld_shared_f32(tile + 4 * (i * (TILE + 1) + x));
                let at = row as usize * self.ld_to as usize + p as usize;
                if self.from_type >= E4M3 {
                    *self.to.add(at) = value.to_bits() as u8;
                } else {
                    put(self.to_type, self.to, at, value);
                }
            }
            i += BLOCK / TILE;
        }
        thread::sync_threads();
    }
}

/// Bytes of an element of any type.
#[inline(always)]
fn size(element: u32) -> usize {
    if element >= E4M3 {
        1
    } else {
        bytes(element)
    }
}

/// Element `i` of `p` in f32; of an 8-bit type its code, as an f32 of these bits, so that no code is lost.
#[inline(always)]
unsafe fn get(element: u32, p: *const u8, i: usize) -> f32 {
    if element >= E4M3 {
        f32::from_bits(*p.add(i) as u32)
    } else {
        load1(element, p, i)
    }
}

/// Writes `x` as element `i` of `p`, of any type but e5m2.
#[inline(always)]
unsafe fn put(element: u32, p: *mut u8, i: usize, x: f32) {
    #[cfg(any(not(target_arch = "nvptx64"), target_feature = "sm_90a"))]
    if element == E4M3 {
        *p.add(i) = crate::ptx::f32_to_e4m3(x);
        return;
    }
    store1(element, p, i, x);
}

/// `to[z][r, p] <- op(from[z])[r, p]` for `rows` rows of `k` elements, and 0 for `p` in `k .. ld_to`.
///
/// `op(from)` is `from` (rows x k), or with `transposed != 0` its transpose (`from` is k x rows). Types are numbers of
/// [`super::element`]; an 8-bit `from_type` is also the `to_type`, and no other type becomes e5m2. Grid: x = tiles of `rows` by `ld_to`, tiles along K next to each other; y = batches (any number).
///
/// # Safety
/// - Each batch of `from` covers its matrix at its leading dimension and stride; `to` has `batch` matrices of
///   `rows * ld_to` elements and overlaps nothing.
/// - `rows`, `k`, `batch` are at least 1, `ld_to >= k`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, 4))]
pub unsafe fn gemm_pack(
    rows: u32,
    k: u32,
    batch: u32,
    transposed: u32,
    from: *const u8,
    from_type: u32,
    ld_from: u32,
    stride_from: u64,
    to: *mut u8,
    to_type: u32,
    ld_to: u32,
) {
    let tile = shared_address(shared_array![f32; SHARED]);
    let (from_bytes, to_bytes) = (size(from_type), size(to_type));
    let mut z = thread::block_idx_y();
    while z < batch {
        let from = from.add(z as usize * stride_from as usize * from_bytes);
        let to = to.add(z as usize * rows as usize * ld_to as usize * to_bytes);
        let copy =
            Packing { rows, k, transposed: transposed != 0, from, from_type, ld_from, to, to_type, ld_to };
        copy.tile(thread::block_idx_x(), tile);
        z += thread::grid_dim_y();
    }
}
