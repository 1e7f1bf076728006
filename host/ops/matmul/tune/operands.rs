//! Random operands of a problem on a device, in as many copies as keep its caches cold.

use rayon::prelude::*;

use super::super::cpu::{self, decode, encode};
use super::super::{Addresses, Candidate, Extra, MatmulError, Name, Problem};
use crate::device::{Buffer, DType, Device, DeviceError, DeviceKind, E4m3, E5m2};

/// Bytes that all copies have together, where there are copies: more than twice any known second-level cache.
const COLD: usize = 256 << 20;
/// Most copies.
const COPIES: usize = 1024;
/// From this size on, one set of operands leaves nothing of itself in a cache that would count.
const LARGE: usize = 1 << 30;
/// Elements that are put into the form of their type at a time.
const PART: usize = 1 << 22;
/// Addresses of operands are multiples of this.
const ALIGN: usize = 256;

/// The operands of a problem: uniform in [-1, 1), rounded to their types, the same for the same seed. C is random where
/// the problem reads it, else NaN, as sums are: what a kernel leaves out is found, and so is a read of what it must not read.
pub struct Operands {
    device: Device,
    problem: Problem,
    /// What the device holds, in f32, each its operand's span; empty where the problem has none.
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
    pub(super) c: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) extra: Vec<f32>,
    copies: usize,
    memory: [Memory; 6],
    workspace: Option<Buffer<u8>>,
}

/// The copies of an operand, one after the other.
struct Memory {
    buffer: Option<Buffer<u8>>,
    stride: usize,
}

impl Memory {
    fn new(device: &Device, dtype: DType, values: &[f32], copies: usize) -> Result<Memory, MatmulError> {
        if values.is_empty() {
            return Ok(Memory { buffer: None, stride: 0 });
        }
        let stride = (values.len() * dtype.bytes()).next_multiple_of(ALIGN);
        let mut buffer = device.alloc((copies - 1) * stride + values.len() * dtype.bytes())?;
        for (i, part) in values.chunks(PART).enumerate() {
            let bytes = encode(dtype, part);
            for copy in 0..copies {
                buffer.upload_at(copy * stride + i * PART * dtype.bytes(), &bytes)?;
            }
        }
        Ok(Memory { buffer: Some(buffer), stride })
    }

    fn address(&self, copy: usize) -> u64 {
        self.buffer.as_ref().map_or(0, |b| b.address() + (copy * self.stride) as u64)
    }
}

/// SplitMix64's number `index`.
pub(super) fn bits(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `len` numbers from `one`, on all cores. Error: the host has no memory for them.
fn filled(len: usize, one: impl Fn(usize) -> f32 + Sync + Send) -> Result<Vec<f32>, DeviceError> {
    let mut values = Vec::new();
    let bytes = len.saturating_mul(size_of::<f32>());
    values
        .try_reserve_exact(len)
        .map_err(|_| DeviceError::OutOfMemory { device: "the host".into(), bytes })?;
    values.par_extend((0..len).into_par_iter().map(one));
    Ok(values)
}

/// `len` numbers in [-1, 1) that `dtype` holds.
fn random(dtype: DType, len: usize, seed: u64) -> Result<Vec<f32>, DeviceError> {
    let one = |i: usize| {
        let x = (bits(seed, i as u64) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        match dtype {
            DType::F32 | DType::U32 => x,
            DType::Bf16 => half::bf16::from_f32(x).to_f32(),
            DType::F16 => half::f16::from_f32(x).to_f32(),
            DType::E4m3 => E4m3::from_f32(x).to_f32(),
            DType::E5m2 => E5m2::from_f32(x).to_f32(),
        }
    };
    filled(len, one)
}

impl Operands {
    /// Operands of `problem` on `device`; on `cuda` in several copies, for [`run`](Operands::run) to go through. Errors:
    /// the problem breaks a rule, or the host's memory or the device's is short.
    pub fn new(device: &Device, problem: &Problem, seed: u64) -> Result<Operands, MatmulError> {
        problem.check()?;
        let p = problem;
        let span = |name| p.span(name);
        let of = |dtype, len, stream: u64| random(dtype, len, bits(seed, stream));
        let a = of(p.a, span(Name::A)?, 0)?;
        let b = of(p.b, span(Name::B)?, 1)?;
        let c = match p.beta {
            0.0 => filled(span(Name::C)?, |_| f32::NAN)?,
            _ => of(p.c, span(Name::C)?, 2)?,
        };
        let bias = if p.bias { of(DType::F32, p.n, 3)? } else { vec![] };
        let extra = if p.extra == Extra::None { vec![] } else { of(p.c, span(Name::Extra)?, 4)? };
        let sums = filled(span(Name::Sums)?, |_| f32::NAN)?;
        let f32 = DType::F32;
        let operands = [(p.a, &a), (p.b, &b), (p.c, &c), (f32, &bias), (p.c, &extra), (f32, &sums)];
        let set: usize = operands.iter().map(|(t, v)| (v.len() * t.bytes()).next_multiple_of(ALIGN)).sum();
        let copies = match device.kind() {
            DeviceKind::Cuda(_) if set < LARGE => COLD.div_ceil(set).clamp(2, COPIES),
            _ => 1,
        };
        let [ma, mb, mc, mbias, mextra, msums] = operands.map(|(t, v)| Memory::new(device, t, v, copies));
        let memory = [ma?, mb?, mc?, mbias?, mextra?, msums?];
        let (device, problem) = (device.clone(), *problem);
        Ok(Operands { device, problem, a, b, c, bias, extra, copies, memory, workspace: None })
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many copies there are.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// Where copy `copy` (modulo their number) is, aligned to 256 bytes.
    pub fn addresses(&self, copy: usize) -> Addresses {
        let [a, b, c, bias, extra, sums] =
            [0, 1, 2, 3, 4, 5].map(|i: usize| self.memory[i].address(copy % self.copies));
        Addresses { a, b, c, bias, extra, sums }
    }

    /// Computes the product of copy `copy` by this candidate; without one, natively (`cpu`).
    pub fn run(&mut self, candidate: Option<&Candidate>, copy: usize) -> Result<(), MatmulError> {
        let at = self.addresses(copy);
        let Some(candidate) = candidate else { return cpu::run(&self.device, &self.problem, at) };
        let bytes = candidate.workspace(&self.problem);
        let workspace = match &self.workspace {
            _ if bytes == 0 => 0,
            Some(there) if there.len() >= bytes => there.address(),
            // What a smaller one held is freed behind its last use.
            _ => self.workspace.insert(self.device.alloc(bytes)?).address(),
        };
        candidate.run(&self.device, &self.problem, at, workspace)
    }

    /// C of copy 0, and its sums, as they were in the beginning.
    pub fn restore(&mut self) -> Result<(), MatmulError> {
        if let Some(buffer) = &mut self.memory[5].buffer {
            buffer.upload(&encode(DType::F32, &vec![f32::NAN; self.problem.span(Name::Sums)?]))?;
        }
        let (dtype, values) = (self.problem.c, &self.c);
        if let Some(buffer) = &mut self.memory[2].buffer {
            for (i, part) in values.chunks(PART).enumerate() {
                buffer.upload_at(i * PART * dtype.bytes(), &encode(dtype, part))?;
            }
        }
        Ok(())
    }

    /// C of copy 0 as it is now, its span in f32.
    pub fn result(&self) -> Result<Vec<f32>, MatmulError> {
        let mut bytes = vec![0u8; self.c.len() * self.problem.c.bytes()];
        self.device.0.download(self.addresses(0).c, &mut bytes)?;
        Ok(decode(self.problem.c, &bytes))
    }

    /// The sums of copy 0 as they are now; none where the problem has none.
    pub fn sums(&self) -> Result<Vec<f32>, MatmulError> {
        let mut bytes = vec![0u8; self.problem.span(Name::Sums)? * DType::F32.bytes()];
        if !bytes.is_empty() {
            self.device.0.download(self.addresses(0).sums, &mut bytes)?;
        }
        Ok(decode(DType::F32, &bytes))
    }
}
