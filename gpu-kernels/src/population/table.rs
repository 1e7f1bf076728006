//! What the host tells a block about its network: one [`Network`] each, in global memory.
//!
//! Everything in dynamic shared memory is placed by the host, which alone knows the block's limit; places are counted in
//! words of 4 bytes from its start. A row of `n` numbers takes [`row`]`(n)` words: an odd number, so that the 32 lanes
//! of a warp that read one column of 32 rows read 32 banks.

pub use crate::loss::{BCE, CROSS_ENTROPY, HUBER, MAE, MSE};
pub use crate::optim::{ADAM, RMSPROP, RMSPROP_MOMENTUM, SGD, SGD_MOMENTUM};

/// Layers of a network at most.
pub const MAX_LAYERS: usize = 16;
/// [`Network::moments_at`] of moments that stay in global memory.
pub const GLOBAL: u32 = u32::MAX;
/// Words of an epoch's record before the squared errors of each output: sum of the training losses, sum of the
/// validation losses (`f32` bits), right answers, step (low, high word; from 1) whose loss is not finite, and that loss.
pub const RECORD_WORDS: usize = 6;
/// Numbers of a step in the table of hyper-parameters: those of `optim`.
pub const HYPER_WORDS: usize = crate::optim::HYPER_LEN;

/// Words that a row of `n` numbers takes in shared memory.
#[inline(always)]
pub const fn row(n: u32) -> u32 {
    n | 1
}

/// One dense layer: `h = dropout(activation(x wᵀ + b))`, plus x itself if it skips.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Layer {
    /// Width of the output.
    pub units: u32,
    /// Width of the input.
    pub fan_in: u32,
    /// Kind and parameter of the activation, as in `activation`.
    pub activation: u32,
    /// See `activation`.
    pub activation_param: f32,
    /// Probability of dropping an output; 0: none is dropped.
    pub dropout: f32,
    /// What the others are multiplied by.
    pub keep_scale: f32,
    /// Stream of the dropout's random numbers.
    pub stream: u32,
    /// Whether the input is added to the output: 1 or 0.
    pub skip: u32,
    /// Place of the weights, `units` rows of `fan_in`.
    pub weight_at: u32,
    /// Place of the biases.
    pub bias_at: u32,
    /// Place of the outputs, `batch` rows of `units`.
    pub output_at: u32,
    /// Place of what the derivative is made from, then of the loss's derivative by the affine map; as the outputs.
    pub saved_at: u32,
    /// Where the weights are among the network's parameters, whose biases follow.
    pub first: u32,
    /// Unused.
    pub padding: u32,
}

/// One network; see the module's docs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Address of the parameters and, after them, each moment; `f32`, in order of definition.
    pub state: u64,
    /// Address of the rows' order, `u32`, one permutation an epoch.
    pub order: u64,
    /// Address of [`HYPER_WORDS`] numbers a step.
    pub hyper: u64,
    /// Address of a record an epoch, `record_words` words each.
    pub record: u64,
    /// Key of the dropout, low and high word.
    pub seed: [u32; 2],
    /// Steps done before, low and high word.
    pub step: [u32; 2],
    /// Epochs to train.
    pub epochs: u32,
    /// Words of an epoch's record.
    pub record_words: u32,
    /// Layers, at most [`MAX_LAYERS`].
    pub depth: u32,
    /// Width of the input.
    pub inputs: u32,
    /// Samples of a minibatch.
    pub batch: u32,
    /// Which loss: a constant of [`loss`](mod@crate::loss).
    pub loss: u32,
    /// Label smoothing of cross-entropy, delta of Huber's loss.
    pub loss_param: f32,
    /// Gradients are scaled down to this norm; 0: never.
    pub clip_norm: f32,
    /// Which optimiser: a constant of [`optim`](mod@crate::optim).
    pub optimizer: u32,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f32,
    /// Constants of the optimiser, as `optim::Rule` has them.
    pub a: f32,
    /// See `a`.
    pub b: f32,
    /// See `a`.
    pub c: f32,
    /// See `a`.
    pub d: f32,
    /// Number of parameters.
    pub parameters: u32,
    /// Moments that the optimiser keeps for each.
    pub moments: u32,
    /// Place of the moments, or [`GLOBAL`].
    pub moments_at: u32,
    /// Place of the minibatch, `batch` rows of `inputs`.
    pub x_at: u32,
    /// Place of the loss's derivative by a layer's output: `batch` rows of the widest layer.
    pub gradient_at: u32,
    /// Unused.
    pub padding: u32,
    /// The layers.
    pub layers: [Layer; MAX_LAYERS],
}

/// Words of a [`Network`].
pub const NETWORK_WORDS: usize = size_of::<Network>() / 4;

impl Network {
    /// The bytes that a kernel reads, as words.
    pub fn words(self) -> [u32; NETWORK_WORDS] {
        // SAFETY: both types have the same size; every field is a plain 32- or 64-bit number, and there is no padding:
        // the 64-bit fields come first, and the sizes of what follows are multiples of 8.
        unsafe { core::mem::transmute(self) }
    }
}
