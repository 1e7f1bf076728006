//! The optimisers of many networks in one launch, and the clipping of each network's gradients.
//!
//! Formulas are those of [`ops::optim`](crate::ops::optim) and [`ops::clip`](crate::ops::clip), constants the network's own,
//! rates live.

use gpu_kernels::grouped::optim as kernels;
use gpu_kernels::optim::{CHUNK, NORM_WORDS, OPTIM_BLOCK};

use super::{Numbers, Slot, blocks, half, invalid, tensor, word};
use crate::device::{Buffer, DType, Device, DeviceError, Launch};
use crate::kernel;
use crate::ops::optim::Optimizer;

/// One network's optimiser.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which, with its constants.
    pub optimizer: Optimizer,
    /// The factor of its gradients, if they are clipped.
    pub scale: Option<Slot>,
    /// Slot in the live table.
    pub slot: usize,
}

impl Rule {
    fn words(&self) -> Result<[u64; kernels::RULE_WORDS], DeviceError> {
        let (kind, c): (u32, [f64; 4]) = match self.optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => (kernels::SGD, [0.0; 4]),
            Optimizer::Sgd { momentum, nesterov, .. } => {
                (kernels::SGD_MOMENTUM, [momentum, f64::from(u8::from(nesterov)), 0.0, 0.0])
            }
            Optimizer::RmsProp { alpha, eps, momentum, .. } => {
                let kind = if momentum == 0.0 { kernels::RMSPROP } else { kernels::RMSPROP_MOMENTUM };
                (kind, [alpha, 1.0 - alpha, eps, momentum])
            }
            Optimizer::Adam { beta1, beta2, eps, .. } | Optimizer::AdamW { beta1, beta2, eps, .. } => {
                (kernels::ADAM, [1.0 - beta1, beta2, 1.0 - beta2, eps])
            }
        };
        let c = c.map(|c| (c as f32).to_bits());
        let scale = self.scale.map_or(Ok(0), |s| tensor("grouped optimiser", "scale", s, DType::F32, 1))?;
        let decay = self.optimizer.coupled_weight_decay() as f32;
        Ok([scale, word(kind, decay.to_bits()), word(c[0], c[1]), word(c[2], c[3])])
    }
}

/// One parameter of a network.
#[derive(Clone, Debug)]
pub struct Update {
    /// The parameter.
    pub parameter: Slot,
    /// Its gradient.
    pub gradient: Slot,
    /// Its moments, as many as the rule has.
    pub moments: Vec<Slot>,
    /// Index of its network's [`Rule`].
    pub rule: usize,
}

/// A step of many networks' optimisers.
#[derive(Debug)]
pub struct Updates {
    chunks: Buffer<u64>,
    rules: Buffer<u64>,
    blocks: u32,
}

impl Updates {
    /// The tables. Errors: a parameter without its moments, tensors of other lengths; no memory.
    pub fn new(device: &Device, rules: &[Rule], updates: &[Update]) -> Result<Updates, DeviceError> {
        const NAME: &str = "grouped optimiser";
        let mut words = vec![];
        for rule in rules {
            words.extend(rule.words()?);
        }
        let (mut chunks, mut count) = (vec![], 0);
        for u in updates {
            let rule =
                rules.get(u.rule).ok_or_else(|| invalid(NAME, format!("there is no rule {}", u.rule)))?;
            if u.moments.len() != rule.optimizer.moments() {
                let (got, name) = (u.moments.len(), rule.optimizer);
                return Err(invalid(
                    NAME,
                    format!("{got} moments, {name} keeps {}", rule.optimizer.moments()),
                ));
            }
            let n = u.parameter.len;
            let tensors = [Some(&u.parameter), Some(&u.gradient), u.moments.first(), u.moments.get(1)];
            for start in (0..n).step_by(CHUNK as usize) {
                for slot in tensors {
                    let at = slot.map_or(Ok(0), |&s| {
                        tensor(NAME, "a tensor", s, DType::F32, n).map(|a| a + 4 * start as u64)
                    })?;
                    chunks.push(at);
                }
                let len = (n - start).min(CHUNK as usize) as u32;
                chunks.push(word(len, half(NAME, "slot", rule.slot)?));
                chunks.push(u.rule as u64);
                count += 1;
            }
        }
        let blocks = blocks(NAME, count)?;
        Ok(Updates { chunks: device.buffer(&chunks)?, rules: device.buffer(&words)?, blocks })
    }

    /// Makes the step, in one launch.
    pub fn launch(&self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        if self.blocks == 0 {
            return Ok(());
        }
        let args = (live.0, &self.chunks, &self.rules);
        device.launch(kernel!(grouped::optim::grouped_optimizer), Launch::new(self.blocks, OPTIM_BLOCK), args)
    }

    /// Launches of [`launch`](Updates::launch).
    pub fn launches(&self) -> usize {
        usize::from(self.blocks > 0)
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        8 * (self.chunks.len() + self.rules.len())
    }
}

/// One network whose gradients are clipped.
#[derive(Clone, Debug)]
pub struct Clip {
    /// All its gradients, in order of its parameters.
    pub gradients: Vec<Slot>,
    /// The norm they are brought down to.
    pub bound: f32,
    /// Takes their factor.
    pub scale: Slot,
    /// Slot in the live table.
    pub slot: usize,
}

/// The clipping factors of many networks.
#[derive(Debug)]
pub struct Norms {
    chunks: Buffer<u64>,
    networks: Buffer<u64>,
    partial: Buffer<f32>,
    blocks: u32,
    count: u32,
}

impl Norms {
    /// The tables. Errors: a factor without memory; no memory.
    pub fn new(device: &Device, clips: &[Clip]) -> Result<Norms, DeviceError> {
        const NAME: &str = "grouped norm";
        let (mut chunks, mut networks) = (vec![], vec![]);
        for clip in clips {
            let first = chunks.len() / NORM_WORDS;
            for g in &clip.gradients {
                for start in (0..g.len).step_by(CHUNK as usize) {
                    let len = (g.len - start).min(CHUNK as usize) as u64;
                    chunks.extend([tensor(NAME, "a gradient", *g, DType::F32, 1)? + 4 * start as u64, len]);
                }
            }
            let count = chunks.len() / NORM_WORDS - first;
            networks.extend([
                word(half(NAME, "chunks", first)?, half(NAME, "chunks", count)?),
                word(clip.bound.to_bits(), half(NAME, "slot", clip.slot)?),
                tensor(NAME, "the scale", clip.scale, DType::F32, 1)?,
            ]);
        }
        let blocks = blocks(NAME, chunks.len() / NORM_WORDS)?;
        Ok(Norms {
            partial: device.alloc(blocks as usize)?,
            chunks: device.buffer(&chunks)?,
            networks: device.buffer(&networks)?,
            blocks,
            count: clips.len() as u32,
        })
    }

    /// Computes all factors: a launch for the sums of squares, one for the factors.
    pub fn launch(&mut self, device: &Device, live: Numbers) -> Result<(), DeviceError> {
        if self.blocks == 0 {
            return Ok(());
        }
        let shape = Launch::new(self.blocks, OPTIM_BLOCK);
        device.launch(kernel!(optim::global_norm_partial), shape, (&self.chunks, &mut self.partial))?;
        let args = (live.0, &self.networks, &self.partial);
        device.launch(
            kernel!(grouped::optim::grouped_norm_finish),
            Launch::new(self.count, OPTIM_BLOCK),
            args,
        )
    }

    /// Launches of [`launch`](Norms::launch).
    pub fn launches(&self) -> usize {
        if self.blocks > 0 { 2 } else { 0 }
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        8 * (self.chunks.len() + self.networks.len())
    }
}
