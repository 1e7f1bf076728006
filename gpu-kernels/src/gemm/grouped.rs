//! Grouped products: many, of any shapes, layouts and epilogues, in one launch. A block computes one tile of one of them.
//!
//! ```text
//! C_p <- epilogue_p(op(A_p) op(B_p))          for every product p of a table
//! ```
//!
//! The tiles and their loops are those of [`tensor`] and [`gemm`](mod@crate::gemm), so a product has the bits
//! that their kernels give it (K is not split: the group fills the device). The layout is a number in the table, by which
//! a block branches to one of four loops; all layouts share a launch, and a launch has one size of tile.
//!
//! # The table
//!
//! [`PRODUCT_WORDS`] words a product, one line of the cache:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0, 1, 2 | addresses of A, B, C | |
//! | 3, 4 | addresses of the bias and of the extra operand, or 0 | |
//! | 5 | m | n |
//! | 6 | k | [`layout()`] |
//! | 7 | leading dimension of A | of B |
//! | 8 | of C | of the extra operand |
//! | 9 | alpha (`f32`) | beta (`f32`) |
//! | 10 | the activation's parameter (`f32`) | its kind |
//! | 11 | [`kind()`](super::epilogue::kind()) of the epilogue | |
//!
//! Addresses are relative to an `origin` that is null: as what is reached from a kernel's parameter, the compiler knows them for
//! global memory. The epilogue's words are read when the sums are there, so that they take no registers from the loop.
//!
//! # The tasks
//!
//! A word a block, `product << 32 | tile` ([`task`](crate::grouped::task)): block b takes task b. A list costs 8 bytes a tile
//! and one load, where sums of tile counts would cost every block a search; and it leaves the order to the host, which
//! puts the longest sums first so that short ones fill the end of the launch.
//!
//! The simulator has executed these kernels; no GPU has.
#![allow(unsafe_op_in_unsafe_fn)] // As in `gemm`.

use super::arithmetic::{Bf16, Bf16x6, Tf32, F16};
use super::epilogue::Epilogue;
use super::inline::Inline;
use super::pack::{self, Packing};
use super::tensor::{self, place, GROUP};
use super::{Finish, LARGE, MEDIUM};
use crate::grouped::{halves, parts};
use crate::ptx::shared_address;
use cuda_std::prelude::*;
use cuda_std::shared::dynamic_shared_mem;
use cuda_std::shared_array;

/// Words of a product in the table; the last ones are not used.
pub const PRODUCT_WORDS: usize = 16;

/// The number of a layout: whether A and B are transposed as the kernel sees them. Kernels whose operands are K-major do not
/// look at it.
pub const fn layout(ta: bool, tb: bool) -> u32 {
    ta as u32 | (tb as u32) << 1
}

/// A product's words.
#[derive(Clone, Copy)]
struct Product {
    words: *const u64,
    origin: *mut u8,
}

impl Product {
    /// The product of this block, and which of its tiles.
    ///
    /// # Safety
    /// - `tasks` has a word for the block, and `products` what it names.
    #[inline(always)]
    unsafe fn of_block(origin: *mut u8, products: *const u64, tasks: *const u64) -> (Product, u32) {
        let (product, tile) = parts(*tasks.add(thread::block_idx_x() as usize));
        (Product { words: products.add(product as usize * PRODUCT_WORDS), origin }, tile)
    }

    /// The word of an address.
    ///
    /// # Safety
    /// - The table has the product; `word < PRODUCT_WORDS`.
    #[inline(always)]
    unsafe fn address(self, word: usize) -> *mut u8 {
        self.origin.wrapping_add(*self.words.add(word) as usize)
    }

    /// The halves of a word.
    ///
    /// # Safety
    /// - As for [`address`](Product::address).
    #[inline(always)]
    unsafe fn pair(self, word: usize) -> (u32, u32) {
        halves(*self.words.add(word))
    }

    /// What becomes of the sums.
    ///
    /// # Safety
    /// - As for [`address`](Product::address).
    #[inline(always)]
    unsafe fn epilogue(self) -> Epilogue {
        let ((m, n), (ldc, ld_extra)) = (self.pair(5), self.pair(8));
        let ((alpha, beta), (parameter, activation)) = (self.pair(9), self.pair(10));
        Epilogue {
            alpha: f32::from_bits(alpha),
            beta: f32::from_bits(beta),
            c: self.address(2),
            ldc,
            m,
            n,
            bias: self.address(3) as *const f32,
            extra: self.address(4),
            ld_extra,
            sums: core::ptr::null_mut(),
            activation,
            parameter: f32::from_bits(parameter),
            // C is not summed: the code that would do it falls away.
            kind: self.pair(11).0 & 0xffff,
        }
    }
}

/// The epilogue of f32's kernels, whose threads hold their sums while they store.
#[derive(Clone, Copy)]
struct Finished(Epilogue);

impl Finish for Finished {
    #[inline(always)]
    unsafe fn store(&self, row: u32, col: u32, sum: [f32; 4]) {
        self.0.store::<Inline>(row, col, sum.into());
    }
}

/// A kernel on tensor cores, for these layouts.
macro_rules! tensor_kernels {
    ($($name:ident $x:ident $tile:ident $blocks:literal: $($layout:pat => $akc:literal $bkc:literal),+;)*) => {$(
        #[doc = concat!("Tiles [`", stringify!($tile), "`](tensor::", stringify!($tile), ") of many products in `",
            stringify!($x), "`; see the module.")]
        ///
        /// Grid: one block a task. Block: the tile's [`threads`](tensor::Tile::threads), with its
        /// [`shared`](tensor::Tile::shared) bytes.
        ///
        /// # Safety
        /// - `origin` is null, `tasks` has a word a block, `products` every product that a task names, and each of these the tile that it names.
        /// - The operands of a product cover its extents at their leading dimensions; C overlaps no other operand of the
        ///   launch.
        /// - A, B and their leading dimensions are multiples of 16 bytes; K times an element's size is below 2^32.
        /// - m, n, k are at least 1, m and n below 2^31.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(tensor::$tile.threads(), $blocks))]
        pub unsafe fn $name(origin: *mut u8, products: *const u64, tasks: *const u64) {
            const T: tensor::Tile = tensor::$tile;
            let shared = shared_address(dynamic_shared_mem::<u8>());
            let (p, i) = Product::of_block(origin, products, tasks);
            let ((m, n), (k, layout), (lda, ldb)) = (p.pair(5), p.pair(6), p.pair(7));
            let (tm, tn) = place::<GROUP>(i, m.div_ceil(T.bm), n.div_ceil(T.bn));
            let a = tensor::Operand { data: p.address(0), ld: lda, rows: m };
            let b = tensor::Operand { data: p.address(1), ld: ldb, rows: n };
            // The same for all threads of the block.
            match layout {
                $($layout => tensor::tile::<
                    $x, $akc, $bkc, { T.bm }, { T.bn }, { T.wm }, { T.wm as usize / 16 }, { T.threads() },
                >(a, b, || p.epilogue(), tm * T.bm, tn * T.bn, 0, k, shared),)+
            }
        }
    )*};
}

tensor_kernels! {
    gemm_grouped_bf16_128 Bf16 LARGE 2: 0 => true false, 1 => false false, 2 => true true, _ => false true;
    gemm_grouped_bf16_64 Bf16 SMALL 4: 0 => true false, 1 => false false, 2 => true true, _ => false true;
    gemm_grouped_f16_128 F16 LARGE 2: 0 => true false, 1 => false false, 2 => true true, _ => false true;
    gemm_grouped_f16_64 F16 SMALL 4: 0 => true false, 1 => false false, 2 => true true, _ => false true;
    gemm_grouped_tf32_128 Tf32 LARGE 2: _ => true true;
    gemm_grouped_tf32_64 Tf32 SMALL 4: _ => true true;
    gemm_grouped_bf16x6_128 Bf16x6 LARGE 1: _ => true true;
    gemm_grouped_bf16x6_64 Bf16x6 SMALL 2: _ => true true;
}

/// A kernel of f32's tiles.
macro_rules! simt_kernels {
    ($($name:ident $tile:ident: $($layout:pat => $akc:literal $bkc:literal),+;)*) => {$(
        #[doc = concat!("Tiles [`", stringify!($tile), "`](super::", stringify!($tile),
            ") of many products in f32; see the module.")]
        ///
        /// Grid: one block a task. Block: the tile's [`threads`](super::Tile::threads).
        ///
        /// # Safety
        /// - As for [`gemm_grouped_bf16_64()`], but that operands need no other alignment than f32's.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds($tile.threads(), if $tile.bm > 64 { 1 } else { 2 }))]
        pub unsafe fn $name(origin: *mut u8, products: *const u64, tasks: *const u64) {
            const T: super::Tile = $tile;
            let shared = shared_address(shared_array![f32; $tile.shared()]);
            let (p, i) = Product::of_block(origin, products, tasks);
            let ((m, n), (k, layout), (lda, ldb)) = (p.pair(5), p.pair(6), p.pair(7));
            let (tm, tn) = place::<GROUP>(i, m.div_ceil(T.bm), n.div_ceil(T.bn));
            let a = super::Operand::new(p.address(0) as *const f32, lda, m, k);
            let b = super::Operand::new(p.address(1) as *const f32, ldb, n, k);
            let (row0, col0) = (tm * T.bm, tn * T.bn);
            // The same for all threads of the block.
            let sums = match layout {
                $($layout => super::sums::<$akc, $bkc, { T.bm }, { T.bn }, { T.bk }, { T.tm }, { T.tn },
                    { (T.bm * T.bk / 4 / T.threads()) as usize },
                    { (T.bn * T.bk / 4 / T.threads()) as usize },
                    { (T.tm * T.tn / 4) as usize },
                    { T.threads() }>(a, b, row0, col0, shared),)+
            };
            super::finish::<_, { T.bm }, { T.bn }, { T.tm }, { T.tn }, { (T.tm * T.tn / 4) as usize }>(
                Finished(p.epilogue()), sums, row0, col0,
            );
        }
    )*};
}

simt_kernels! {
    gemm_grouped_f32_128 LARGE: 0 => true false, 1 => false false, 2 => true true, _ => false true;
    gemm_grouped_f32_64 MEDIUM: 0 => true false, 1 => false false, 2 => true true, _ => false true;
}

/// Words of a copy in the table of [`gemm_grouped_pack()`].
pub const COPY_WORDS: usize = 5;

/// As [`gemm_pack`](pack::gemm_pack()), for many matrices. [`COPY_WORDS`] words a copy:
///
/// | word | low half | high half |
/// |---|---|---|
/// | 0, 1 | where from, where to | |
/// | 2 | rows | k |
/// | 3 | leading dimension there | here |
/// | 4 | type there, and in bit 8 whether it is transposed | type here |
///
/// Grid: one block a task. Block: [`pack::BLOCK`].
///
/// # Safety
/// - `origin` is null, `tasks` has a word a block, `copies` every copy that a task names, and each of these the tile that it names.
/// - The source of a copy covers its matrix at its leading dimension, the target has `rows` times its leading dimension of
///   elements, at least `k` each, and overlaps nothing. Rows and k are at least 1.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(pack::BLOCK, 4))]
pub unsafe fn gemm_grouped_pack(origin: *mut u8, copies: *const u64, tasks: *const u64) {
    let tile = shared_address(shared_array![f32; pack::SHARED]);
    let (copy, i) = parts(*tasks.add(thread::block_idx_x() as usize));
    let w = copies.add(copy as usize * COPY_WORDS);
    let ((rows, k), (ld_from, ld_to), (source, to_type)) =
        (halves(*w.add(2)), halves(*w.add(3)), halves(*w.add(4)));
    let (from, to) = (origin.wrapping_add(*w as usize), origin.wrapping_add(*w.add(1) as usize));
    let (from_type, transposed) = (source & 0xff, source >> 8 != 0);
    Packing { rows, k, transposed, from, from_type, ld_from, to, to_type, ld_to }.tile(i, tile);
}
