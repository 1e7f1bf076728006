//! Grouped matrix products: each block computes one tile of one of many products, every product with its own operands,
//! extents and epilogue.
//!
//! | kernels | product | epilogue |
//! |---|---|---|
//! | `grouped_nt_*` | `A B^T`: a layer forward, x wᵀ | bias, stores what comes before the activation, activation |
//! | `grouped_nn_*` | `A B`: the gradient of a layer's input, dy w | times an activation's derivative |
//! | `grouped_tn_*` | `A^T B`: the gradient of a weight, dyᵀ x | |
//!
//! Each first adds `beta D` to the sum; D has C's extents and may be C. The tile and its loop are those of
//! [`gemm`](mod@crate::gemm): a sum runs over k in increasing order in one register. The two tile sizes have the same panel
//! depth, so even the zeros that fill the last panel are the same: a product has the same bits in either bucket.
//!
//! # The table
//!
//! [`PRODUCT_WORDS`] words a product:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0, 1, 2 | addresses of A, B, C | |
//! | 3 | address of the bias, or 0 | |
//! | 4 | `nt`: where what comes before the activation goes, or 0; `nn`: what the derivative is taken at, or 0 | |
//! | 5 | address of D, or 0 | |
//! | 6 | m | n |
//! | 7 | k | slot in the live table |
//! | 8 | leading dimension of A | of B |
//! | 9 | of C, D and the tensor of word 4 | flags: [`ROWS_M`], [`ROWS_K`], [`SHIFT_A`] |
//! | 10 | the activation's parameter (`f32`) | its kind |
//! | 11 | beta (`f32`) | |
//!
//! A task's place is `tile row << 16 | tile column`. The host lists the tiles of products with one A next to each other, row by
//! row: the first layers of all networks that share a minibatch X are then one wide product `X [W1 | W2 | ...]ᵀ`, and
//! the blocks that run at one time read the same few rows of X, which the first of them brings into L2.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use super::{halves, parts, Live, OFFSET};
use crate::activation::{self, for_kind};
use crate::gemm::{self, Finish, Operand, Tile, MEDIUM, SMALL};
use crate::ptx::{fma, shared_address};
use crate::vector::{load4, map4, store4, zip4, F32x4};
use cuda_std::prelude::*;
use cuda_std::shared_array;

/// Words of a product in the table.
pub const PRODUCT_WORDS: usize = 12;
/// M is the live number of rows.
pub const ROWS_M: u32 = 1;
/// K is the live number of rows.
pub const ROWS_K: u32 = 2;
/// A starts at the live offset: that many of its stored rows further on.
pub const SHIFT_A: u32 = 4;

/// The word of a tile: product, tile row and tile column (each below 65536).
pub const fn tile_task(product: u32, row: u32, col: u32) -> u64 {
    super::task(product, row << 16 | col)
}

/// Epilogue of a layer forward.
const FORWARD: u32 = 0;
/// Epilogue of a gradient by a layer's input.
const GRADIENT: u32 = 1;
/// No epilogue.
const PLAIN: u32 = 2;

/// An epilogue's operands; `KIND` is one of the above.
#[derive(Clone, Copy)]
struct Epilogue<const KIND: u32> {
    c: *mut f32,
    ldc: u32,
    m: u32,
    n: u32,
    bias: *const f32,
    side: *mut f32,
    addend: *const f32,
    beta: f32,
    activation: u32,
    parameter: f32,
}

impl<const KIND: u32> Finish for Epilogue<KIND> {
    #[inline(always)]
    unsafe fn store(&self, row: u32, col: u32, sum: [f32; 4]) {
        if row >= self.m || col >= self.n {
            return;
        }
        let at = row as usize * self.ldc as usize;
        let mut v: F32x4 = sum.into();
        if !self.addend.is_null() {
            let d = load4(self.addend.add(at), col, self.n);
            v = zip4!(v, d, |v, d| fma(self.beta, d, v));
        }
        if KIND == FORWARD {
            if !self.bias.is_null() {
                v = zip4!(v, load4(self.bias, col, self.n), |v, b| v + b);
            }
            if !self.side.is_null() {
                store4(self.side.add(at), col, self.n, v);
            }
            let p = self.parameter;
            v = for_kind!(self.activation, K => map4!(v, |x| activation::apply(K, p, x)));
        }
        if KIND == GRADIENT && !self.side.is_null() {
            let (s, p) = (load4(self.side.add(at), col, self.n), self.parameter);
            let d = for_kind!(self.activation, K => map4!(s, |s| activation::derivative(K, p, s)));
            v = zip4!(d, v, |d, g| d * g);
        }
        store4(self.c.add(at), col, self.n, v);
    }
}

/// The kernels of one tile size.
macro_rules! kernels {
    ($tile:ident: $($name:ident $akc:literal $bkc:literal $epilogue:ident $what:literal;)*) => {$(
        #[doc = concat!("Tiles of many products `", $what, "`, with the tile [`", stringify!($tile), "`]; see the module.")]
        ///
        /// Grid: one block a task. Block: the tile's [`threads`](Tile::threads).
        ///
        /// # Safety
        /// - `tasks` covers a word a block, `problems` every product that a task names, `live` every slot that one names.
        /// - The tensors of a product cover its extents at their leading dimensions; C, and the tensor of word 4 where it is
        ///   written, overlap nothing that another block of the launch accesses; D may be C.
        /// - m, n, k are at least 1 and below 2^31; C has fewer than 2^32 elements.
        #[kernel]
        #[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds($tile.threads(), $tile.min_blocks()))]
        pub unsafe fn $name(live: *const u32, problems: *const u64, tasks: *const u64) {
            const T: Tile = $tile;
            let shared = shared_address(shared_array![f32; $tile.shared()]);
            let (product, place) = parts(*tasks.add(thread::block_idx_x() as usize));
            let w = problems.add(product as usize * PRODUCT_WORDS);
            let ((m, n), (k, slot)) = (halves(*w.add(6)), halves(*w.add(7)));
            let ((lda, ldb), (ldc, flags)) = (halves(*w.add(8)), halves(*w.add(9)));
            let (parameter, activation) = halves(*w.add(10));
            let live = Live::of(live, slot);
            let m = if flags & ROWS_M != 0 { live.rows(m) } else { m };
            let k = if flags & ROWS_K != 0 { live.rows(k) } else { k };
            let (row0, col0) = ((place >> 16) * T.bm, (place & 0xffff) * T.bn);
            // The same for all threads of the block: they leave together, before any barrier.
            if k == 0 || row0 >= m {
                return;
            }
            let a = *w as *const f32;
            let a = if flags & SHIFT_A != 0 { a.add(live.word(OFFSET) as usize * lda as usize) } else { a };
            let out = Epilogue::<$epilogue> {
                c: *w.add(2) as *mut f32,
                ldc,
                m,
                n,
                bias: *w.add(3) as *const f32,
                side: *w.add(4) as *mut f32,
                addend: *w.add(5) as *const f32,
                beta: f32::from_bits(*w.add(11) as u32),
                activation,
                parameter: f32::from_bits(parameter),
            };
            let (a, b) = (Operand::new(a, lda, m, k), Operand::new(*w.add(1) as *const f32, ldb, n, k));
            gemm::tile::<_, $akc, $bkc, { T.bm }, { T.bn }, { T.bk }, { T.tm }, { T.tn },
                { (T.bm * T.bk / 4 / T.threads()) as usize },
                { (T.bn * T.bk / 4 / T.threads()) as usize },
                { (T.tm * T.tn / 4) as usize },
                { T.threads() }>(a, b, out, row0, col0, shared);
        }
    )*};
}

kernels! { MEDIUM:
    grouped_nt_64 true true FORWARD "act(A B^T + bias)";
    grouped_nn_64 true false GRADIENT "(A B + beta D) act'(s)";
    grouped_tn_64 false false PLAIN "A^T B";
}
kernels! { SMALL:
    grouped_nt_32 true true FORWARD "act(A B^T + bias)";
    grouped_nn_32 true false GRADIENT "(A B + beta D) act'(s)";
    grouped_tn_32 false false PLAIN "A^T B";
}

const _: () = assert!(MEDIUM.bk == SMALL.bk);
