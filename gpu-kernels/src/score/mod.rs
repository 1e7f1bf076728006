//! Scores of networks without training, a population at once: one block of [`BLOCK`] threads a network.
//!
//! | kernel                            | scores                                          | passes                          |
//! |-----------------------------------|-------------------------------------------------|---------------------------------|
//! | `gradients::score_gradients`    | grad-norm, snip, fisher, ZiCo                   | forward, backward               |
//! | `grasp::score_grasp`            | grasp (after `score_gradients`)                 | R-forward, R-backward           |
//! | `codes::score_codes`            | NASWOT, SWAP                                    | forward                         |
//! | `jacobian::score_jacobian`      | jacob_cov                                       | forward, backward to the input  |
//! | `synflow::score_synflow`        | synflow                                         | one sample forward and backward |
//! | `zen::score_zen`                | zen                                             | two forward                     |
//! | `az_nas::score_az_nas`          | expressivity, progressivity, trainability       | forward, a layer backward each  |
//!
//! The host's `ops::score` has the formulas and launches the kernels. A network is a row of two tables in global memory:
//! `nets` says where its layers and its workspace are ([`NetEntry`]), `layers` what each layer is ([`LayerEntry`]); `params`
//! holds weights `[units, inputs]` and biases of layer after layer. So networks of any shape share a launch, and what a
//! block computes depends on its own network alone: a score has the same bits in any population.
//!
//! The workspace of a network is `lead` floats for what a kernel needs besides, then *regions* of `rows * units` floats
//! (`units` over all layers), each with one matrix `[rows, units]` a layer: the pre-activations [`Z`], the outputs [`H`], their
//! gradients. Matrices `[rows, rows]` and the like are `f64`, in a workspace of their own.
//!
//! Every sum is a fixed tree or a loop in order, in `f64` where it runs over a whole matrix; no atomics.

pub mod az_nas;
pub mod codes;
mod curvature;
mod dense;
pub mod gradients;
pub mod grasp;
pub mod jacobian;
mod network;
pub mod synflow;
pub mod zen;

pub use crate::collective::BLOCK;
pub use curvature::curvature;

/// Results of a network, in each kernel: `f64[VALUES]` of which it writes the first few.
pub const VALUES: usize = 4;
/// `u64` words of a [`NetEntry`].
pub const NET_WORDS: usize = 5;
/// `u64` words of a [`LayerEntry`].
pub const LAYER_WORDS: usize = 4;

/// Region of the pre-activations z.
pub const Z: usize = 0;
/// Region of the outputs h.
pub const H: usize = 1;
/// Region of dL/dz.
pub const DZ: usize = 2;
/// Region of dL/dh.
pub const DH: usize = 3;
/// The first of the four regions of the same things' directional derivatives, in the same order.
pub const R: usize = 4;

/// Added to the diagonal of NASWOT's kernel matrix.
pub const NASWOT_RIDGE: f64 = 1e-6;
/// The k of jacob_cov.
pub const JACOB_COV_K: f64 = 1e-5;
/// Share of the mean gradient that ZiCo adds to its deviation: below that, a deviation in `f32` is rounding.
pub const ZICO_FLOOR: f64 = 1e-4;
/// Samples that make up a SWAP code.
pub const SWAP_SAMPLES: usize = 32;
/// What AZ-NAS adds to a share before the logarithm.
pub const ENTROPY_EPSILON: f64 = 1e-8;
/// What AZ-NAS adds to a singular value before division.
pub const SINGULAR_EPSILON: f64 = 1e-6;
/// Stream of the random signs of layer 0 in AZ-NAS's trainability; the next layers' follow.
pub const SIGN_STREAM: u32 = 0x0a5a_0000;

/// One network, as the kernels read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetEntry {
    /// Number of layers, at least 1.
    pub layers: u32,
    /// Units of all layers together.
    pub units: u32,
    /// Index of its first layer in the layer table.
    pub first: u64,
    /// Where its workspace begins, in `f32`.
    pub work: u64,
    /// Floats before the first region.
    pub lead: u64,
    /// Where its workspace of `f64` begins.
    pub work64: u64,
}

impl NetEntry {
    /// As the table holds it.
    pub fn words(&self) -> [u64; NET_WORDS] {
        let sizes = self.layers as u64 | (self.units as u64) << 32;
        [sizes, self.first, self.work, self.lead, self.work64]
    }
}

/// One dense layer, as the kernels read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerEntry {
    /// Inputs of a unit.
    pub inputs: u32,
    /// Width.
    pub units: u32,
    /// `crate::activation`'s number.
    pub kind: u32,
    /// The activation's parameter.
    pub param: f32,
    /// Whether the input is added to the output.
    pub skip: bool,
    /// Where its weights are among the parameters; its biases follow them.
    pub weight: u64,
    /// Units of the network's layers before.
    pub before: u64,
}

impl LayerEntry {
    /// As the table holds it.
    pub fn words(&self) -> [u64; LAYER_WORDS] {
        let shape = self.inputs as u64 | (self.units as u64) << 32;
        let activation = self.kind as u64 | (self.skip as u64) << 31 | (self.param.to_bits() as u64) << 32;
        [shape, activation, self.weight, self.before]
    }

    /// From the table.
    ///
    /// # Safety
    /// - `words` is the address of [`LAYER_WORDS`] words.
    #[inline(always)]
    pub unsafe fn load(words: *const u64) -> LayerEntry {
        // SAFETY: the caller's contract.
        let (shape, activation, weight, before) =
            unsafe { (*words, *words.add(1), *words.add(2), *words.add(3)) };
        LayerEntry {
            inputs: shape as u32,
            units: (shape >> 32) as u32,
            kind: activation as u32 & 0x7fff_ffff,
            param: f32::from_bits((activation >> 32) as u32),
            skip: activation >> 31 & 1 != 0,
            weight,
            before,
        }
    }
}
