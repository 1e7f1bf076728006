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
//! | kind | constants |
//! |---|---|
//! | [`SGD`] | |
//! | [`MOMENTUM`] | momentum; 1 for Nesterov, else 0 |
//! | [`RMSPROP`] | alpha, 1 - alpha, eps |
//! | [`RMSPROP_MOMENTUM`] | alpha, 1 - alpha, eps, momentum |
//! | [`ADAM`] | 1 - beta1, beta2, 1 - beta2, eps |
//!
//! The rates are live numbers. Blocks differ in their rule, threads of a block never do. Gradients are clipped per network:
//! `optim::global_norm_partial` sums the squares of all networks' chunks, and a block a network makes their factor of them.
#![allow(unsafe_op_in_unsafe_fn)] // A kernel is one contract, stated in its `# Safety` section.

use super::{halves, Live, ROWS};
use crate::optim::{norm_and_scale, rules, update_chunk, DECAY, GRAD_WEIGHT, INV_SQRT_BIAS2, LR, STEP_SIZE};
use cuda_std::prelude::*;
#[cfg(target_arch = "nvptx64")]
use cuda_std::GpuFloat;

/// Words of a chunk in the table.
pub const UPDATE_WORDS: usize = 6;
/// Words of a rule in its table.
pub const RULE_WORDS: usize = 4;
/// Words of a network in the table of [`grouped_norm_finish()`].
pub const NORM_WORDS: usize = 3;

/// SGD without momentum.
pub const SGD: u32 = 0;
/// SGD with momentum.
pub const MOMENTUM: u32 = 1;
/// RMSprop.
pub const RMSPROP: u32 = 2;
/// RMSprop with momentum.
pub const RMSPROP_MOMENTUM: u32 = 3;
/// Adam and AdamW.
pub const ADAM: u32 = 4;

/// One step of every network that does not rest; see the module.
///
/// # Safety
/// - Blocks of [`OPTIM_BLOCK`](crate::optim::OPTIM_BLOCK) threads, one a chunk; `chunks`, `rules` and `live` cover what is named.
/// - A chunk's tensors cover its length and overlap no other.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(crate::optim::OPTIM_BLOCK))]
pub unsafe fn grouped_optimizer(live: *const u32, chunks: *const u64, rules: *const u64) {
    let w = chunks.add(thread::block_idx_x() as usize * UPDATE_WORDS);
    let (len, slot) = halves(*w.add(4));
    let live = Live::of(live, slot);
    if live.word(ROWS) == 0 {
        return;
    }
    let chunk = ([*w, *w.add(1), *w.add(2), *w.add(3)], len);
    let r = rules.add(*w.add(5) as usize * RULE_WORDS);
    let scale = *r as *const f32;
    let scale = if scale.is_null() { 1.0 } else { *scale };
    let (kind, weight_decay) = halves(*r.add(1));
    let weight_decay = f32::from_bits(weight_decay);
    let ((c0, c1), (c2, c3)) = (halves(*r.add(2)), halves(*r.add(3)));
    let [c0, c1, c2, c3] = [c0, c1, c2, c3].map(f32::from_bits);
    let lr = live.hyper(LR);
    match kind {
        SGD => update_chunk::<0>(chunk, scale, |p, g, _, _| (rules::sgd(p, g, lr, weight_decay), 0.0, 0.0)),
        MOMENTUM => {
            let rates = (lr, live.hyper(GRAD_WEIGHT));
            update_chunk::<1>(chunk, scale, |p, g, b, _| {
                let (p, b) = rules::momentum((p, g, b), rates, weight_decay, c0, c1 != 0.0);
                (p, b, 0.0)
            });
        }
        RMSPROP => update_chunk::<1>(chunk, scale, |p, g, v, _| {
            let (v, d) = rules::rmsprop((p, g, v), weight_decay, (c0, c1, c2));
            ((-lr).mul_add(d, p), v, 0.0)
        }),
        RMSPROP_MOMENTUM => update_chunk::<2>(chunk, scale, |p, g, v, b| {
            let (v, d) = rules::rmsprop((p, g, v), weight_decay, (c0, c1, c2));
            let b = c3.mul_add(b, d);
            ((-lr).mul_add(b, p), v, b)
        }),
        _ => {
            let step = (live.hyper(STEP_SIZE), live.hyper(INV_SQRT_BIAS2), live.hyper(DECAY));
            let constants = (c0, c1, c2, c3);
            update_chunk::<2>(chunk, scale, |p, g, m, v| {
                rules::adam((p, g, m, v), step, weight_decay, constants)
            });
        }
    }
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
