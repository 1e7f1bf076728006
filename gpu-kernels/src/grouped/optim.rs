//! The optimisers of many networks in one launch, each with its own rule, constants and rates.
//!
//! Tensors are cut into chunks as in [`optim`](mod@crate::optim), a block a chunk, with a table of [`UPDATE_WORDS`]
//! words a chunk: addresses of parameter, gradient, first and second moment (0 where the rule has none); elements and slot;
//! the index of its network's rule. [`RULE_WORDS`] words a rule:
//!
//! | word | low half | high half |
//! |---|---|---|
//! | 0 | address of the factor of the gradients, or 0 | |
//! | 1 | kind | coupled weight decay (`f32`) |
//! | 2, 3 | constants 0 and 2 (`f32`) | constants 1 and 3 |
//!
//! Kinds and constants are those of `optim::Rule`; its rates are live numbers. Blocks differ in their rule, threads of a
//! block never do. Gradients are clipped per network: `optim::global_norm_partial` sums the squares of all networks'
//! chunks, and a block a network makes their factor of them.

use super::{halves, Live, ROWS};
use crate::optim::{norm_and_scale, update_chunk, Rule};
pub use crate::optim::{ADAM, RMSPROP, RMSPROP_MOMENTUM, SGD, SGD_MOMENTUM};
use crate::vector::switch;
use cuda_std::prelude::*;

/// Words of a chunk in the table.
pub const UPDATE_WORDS: usize = 6;
/// Words of a rule in its table.
pub const RULE_WORDS: usize = 4;
/// Words of a network in the table of [`grouped_norm_finish()`].
pub const NORM_WORDS: usize = 3;

/// One step of every network that does not rest; see the module.
///
/// # Safety
/// - Blocks of [`OPTIM_BLOCK`](crate::optim::OPTIM_BLOCK) threads, one a chunk; `chunks`, `rules` and `live` cover what is named.
/// - A chunk's tensors cover its length and overlap no other.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(crate::optim::OPTIM_BLOCK))]
pub unsafe fn grouped_optimizer(live: *const u32, chunks: *const u64, rules: *const u64) {
    let w = chunks.add(thread::block_idx_x() as usize * UPDATE_WORDS);
    let (_, slot) = halves(*w.add(4));
    let live = Live::of(live, slot);
    if live.word(ROWS) == 0 {
        return;
    }
    let r = rules.add(*w.add(5) as usize * RULE_WORDS);
    let scale = *r as *const f32;
    let scale = if scale.is_null() { 1.0 } else { *scale };
    let (kind, weight_decay) = halves(*r.add(1));
    let ((c0, c1), (c2, c3)) = (halves(*r.add(2)), halves(*r.add(3)));
    switch!(kind, KIND in [SGD SGD_MOMENTUM RMSPROP RMSPROP_MOMENTUM; ADAM] => {
        let constants = [c0, c1, c2, c3].map(f32::from_bits);
        let rule = Rule::new(f32::from_bits(weight_decay), constants, |k| live.hyper(k));
        update_chunk::<KIND>(w, scale, rule);
    })
}

/// Each network's factor that brings its gradients' norm down to its bound. [`NORM_WORDS`] words a network: first and number
/// of its partial sums of squares; the bound (`f32`) and the slot; the address of the factor.
///
/// # Safety
/// - Blocks of [`OPTIM_BLOCK`](crate::optim::OPTIM_BLOCK) threads, one a network; `networks` and `live` cover them, `partial` what they name.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(crate::optim::OPTIM_BLOCK))]
pub unsafe fn grouped_norm_finish(live: *const u32, networks: *const u64, partial: *const f32) {
    let w = networks.add(thread::block_idx_x() as usize * NORM_WORDS);
    let ((first, count), (bound, slot)) = (halves(*w), halves(*w.add(1)));
    if Live::of(live, slot).word(ROWS) == 0 {
        return;
    }
    let (_, factor) = norm_and_scale(count, partial.add(first as usize), f32::from_bits(bound));
    if thread::thread_idx_x() == 0 {
        *(*w.add(2) as *mut f32) = factor;
    }
}
