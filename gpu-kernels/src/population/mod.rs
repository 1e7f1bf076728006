//! A population of small networks trained in one launch: one block trains one network wholly on the chip.
//!
//! Parameters, moments and activations live in the block's dynamic shared memory (moments in global memory, where the
//! cache keeps them, if they do not fit), gradients in registers; minibatches stream in from global memory through the
//! epoch's permutation of the rows. Every network has its own width, depth, activations, dropout, skip connections,
//! schedule, optimiser, batch size and loss: a [`table::Network`] says which, and blocks take networks from a table of
//! them. For each epoch a block does
//!
//! ```text
//! for each minibatch:                       for each minibatch of the validation part:
//!     gather its rows                           gather its rows
//!     forward (with dropout)                    forward
//!     loss, and its derivative                  loss, right answers
//!     backward
//!     (norm of the gradients) update
//! write the epoch's record
//! ```
//!
//! and at the end writes parameters and moments back, so that another launch can go on with them. A network whose loss
//! is no number stops there, with the step in its record.
//!
//! Sums have a fixed order that depends on the network and the minibatch alone, there are no atomics, and dropout draws
//! from the streams of the graph's operation: results are the same bits whatever else is in the table, and those of the
//! graph up to rounding. One network's data never meets another's.

pub mod loss;
pub mod network;
pub mod product;
pub mod table;

use cuda_std::prelude::*;

pub use crate::collective::BLOCK;
use loss::{Loss, Targets};
use network::{Dropout, OnChip, Transfer};
use table::{Network, CROSS_ENTROPY, RECORD_WORDS};

/// Bytes of static shared memory that the kernel needs besides the dynamic, at most.
pub const STATIC_SHARED: u32 = 1024;

/// The shared address of word `at` from `base`.
#[inline(always)]
fn word(base: u32, at: u32) -> u32 {
    base + 4 * at
}

/// One part of the data: `rows` samples.
#[derive(Clone, Copy)]
struct Part {
    rows: u32,
    x: *const f32,
    y: *const u32,
}

/// Trains `count` networks for their epochs. Blocks of [`BLOCK`] threads, any number of them; `x` holds a row of features
/// a sample, `y` labels, or numbers as bits.
///
/// # Safety
/// - `networks` holds `count` descriptions whose addresses cover what they say, no two of them the same memory; their
///   places lie in the launch's dynamic shared memory and do not overlap.
/// - The parts have as many rows as given (`train_rows` at least 1), as wide as each network's inputs and outputs; with
///   cross-entropy `y` has a label a row. Each network's batch is at least 1, its order below `train_rows`.
#[kernel]
#[cfg_attr(target_arch = "nvptx64", cuda_std::launch_bounds(BLOCK, max_registers = 168))]
pub unsafe fn population_train(
    count: u32,
    networks: *const Network,
    train_rows: u32,
    train_x: *const f32,
    train_y: *const u32,
    validation_rows: u32,
    validation_x: *const f32,
    validation_y: *const u32,
) {
    let train = Part { rows: train_rows, x: train_x, y: train_y };
    let validation = Part { rows: validation_rows, x: validation_x, y: validation_y };
    let mut n = thread::block_idx_x();
    while n < count {
        train_network(OnChip::new(&*networks.add(n as usize)), train, validation);
        thread::sync_threads();
        n += thread::grid_dim_x();
    }
}

/// All epochs of one network.
///
/// # Safety
/// - The kernel's contract, for this network.
#[inline(always)]
unsafe fn train_network(chip: OnChip<'_>, train: Part, validation: Part) {
    let net = chip.net;
    let first = thread::thread_idx_x() == 0;
    chip.copy(Transfer::In);
    let begin = u64::from(net.step[1]) << 32 | u64::from(net.step[0]);
    let steps = train.rows.div_ceil(net.batch.max(1));
    let evaluations = validation.rows.div_ceil(net.batch.max(1));
    let outputs = net.layers.get_unchecked(net.depth as usize - 1).units;
    let mut step = 0;
    let mut epoch = 0;
    while epoch < net.epochs {
        let record = (net.record as *mut u32).add((epoch * net.record_words) as usize);
        let order = (net.order as *const u32).add(epoch as usize * train.rows as usize);
        let (mut train_loss, mut validation_loss, mut right) = (0.0, 0.0, 0);
        let mut pass = 0;
        while pass < steps + evaluations {
            // Training first; one loop for both, so that the forward pass is in the program once.
            let training = pass < steps;
            let part = if training { train } else { validation };
            let start = net.batch * if training { pass } else { pass - steps };
            let left = part.rows - start;
            let rows = if left < net.batch { left } else { net.batch };
            let order = if training { order } else { core::ptr::null() };
            let targets = Targets { y: part.y, order, first: start };
            let now = begin + u64::from(step);
            let dropout = Dropout { on: training, step: [now as u32, (now >> 32) as u32] };
            chip.gather(part.x, targets, rows);
            chip.forward(rows, dropout);
            // Smoothing is a means of training: evaluations do without.
            let smoothing = net.loss == CROSS_ENTROPY && !training;
            let param = if smoothing { 0.0 } else { net.loss_param };
            let loss = Loss { kind: net.loss, param, rows, outputs };
            let (sum, hits) =
                loss.of(chip.outputs(), targets, if training { chip.gradient() } else { u32::MAX });
            if training {
                let mean = sum / rows as f32;
                // The barrier before the backward pass, which also makes it one decision of the block.
                if thread::sync_threads_or(u32::from(!mean.is_finite())) != 0 {
                    if first {
                        let number = now + 1;
                        *record.add(3) = number as u32;
                        *record.add(4) = (number >> 32) as u32;
                        *record.add(5) = mean.to_bits();
                    }
                    return;
                }
                train_loss += mean * rows as f32;
                chip.backward(rows, dropout);
                chip.update(rows, step);
                step += 1;
            } else {
                validation_loss += sum;
                right += hits;
                if net.loss != CROSS_ENTROPY {
                    chip.squared_errors(rows, targets, record.add(RECORD_WORDS) as *mut f32);
                }
                thread::sync_threads();
            }
            pass += 1;
        }
        if first {
            *record = train_loss.to_bits();
            *record.add(1) = validation_loss.to_bits();
            *record.add(2) = right;
        }
        epoch += 1;
    }
    chip.copy(Transfer::Out);
}
