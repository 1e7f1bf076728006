//! Products whose K is cut into parts for blocks of their own: how it is cut, where the sums go, and their second half,
//! [`gemm_reduce`](gpu_kernels::gemm::split), which adds the parts in their order: the result does not depend on chance.

use gpu_kernels::gemm::{element, epilogue, split as kernels};

use super::simt::grid;
use super::tensor::element_code;
use super::{Addresses, MULTIPROCESSORS, MatmulError, Precision, Problem};
use crate::device::{Device, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::kernel;

/// How K is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// How many parts.
    pub parts: usize,
    /// Elements of each but the last, which has at least one.
    pub k_split: usize,
}

/// Parts, at most.
const MOST: usize = 64;

/// Clocks of a multiprocessor that a second launch takes, about: 2 microseconds.
const LAUNCH: u64 = 3500;
/// Bytes of memory that a device moves in a clock: 3.35 TB/s at 1.75 GHz.
const BYTES: u64 = 1900;

impl Split {
    /// For `blocks` blocks a part: as many parts as still give each multiprocessor one block and every part `least` elements
    /// of K; each a multiple of `unit` elements.
    pub fn new(p: &Problem, blocks: usize, unit: usize, least: usize) -> Split {
        let parts = (MULTIPROCESSORS / blocks.max(1)).min(p.k / least).clamp(1, MOST);
        let k_split = p.k.div_ceil(unit).div_ceil(parts) * unit;
        Split { parts: p.k.div_ceil(k_split), k_split }
    }

    /// K as it is.
    pub fn none(p: &Problem) -> Split {
        Split { parts: 1, k_split: p.k }
    }

    /// Bytes of the partial products.
    pub fn bytes(self, p: &Problem) -> usize {
        if self.parts > 1 { 4 * self.parts * p.batch * p.m * p.n } else { 0 }
    }

    /// What the second half adds to [`Candidate::estimate`](super::Candidate): a launch, and partial products written
    /// and read.
    pub fn time(self, p: &Problem) -> u64 {
        if self.parts == 1 {
            return 0;
        }
        // Multiplications of a multiprocessor in a clock: an H100's peaks.
        let clock = match p.precision {
            Precision::Fp32 => 128,
            Precision::Fp32Fast => 2048 / 6,
            Precision::Tf32 => 1024,
            Precision::Bf16 | Precision::F16 => 2048,
        };
        (LAUNCH + 2 * self.bytes(p) as u64 / BYTES).saturating_mul(clock)
    }

    /// Launches by `launch`, whose blocks along z are the parts; where there are several, into the workspace at `partial`, and
    /// adds them.
    pub fn run(
        self,
        device: &Device,
        p: &Problem,
        at: Addresses,
        partial: u64,
        launch: impl FnOnce(Output) -> Result<(), DeviceError>,
    ) -> Result<(), MatmulError> {
        let whole = Output {
            alpha: p.alpha,
            beta: p.beta,
            c: at.c,
            ldc: p.ldc,
            stride_c: p.stride_c,
            bias: at.bias,
            extra: at.extra,
            activation: p.activation.kind(),
            kind: epilogue::kind(element_code(p.c), p.extra.code(), epilogue::REDUCE_NONE),
        };
        if self.parts == 1 {
            return Ok(launch(whole)?);
        }
        launch(Output {
            alpha: 1.0,
            beta: 0.0,
            c: partial,
            ldc: p.n,
            stride_c: p.m * p.n,
            bias: 0,
            extra: 0,
            activation: 0,
            kind: epilogue::kind(element::F32, epilogue::EXTRA_NONE, epilogue::REDUCE_NONE),
        })?;
        let quads = p.m as u64 * p.n.div_ceil(4) as u64;
        let (x, y) = grid("gemm_reduce", quads.div_ceil(kernels::BLOCK.into()), p.batch)?;
        let args = (
            p.m as u32,
            p.n as u32,
            p.batch as u32,
            self.parts as u32,
            DevicePtr::<f32>::new(partial),
            whole.alpha,
            whole.beta,
            DevicePtrMut::<u8>::new(whole.c),
            whole.ldc as u32,
            whole.stride_c as u64,
            DevicePtr::<f32>::new(whole.bias),
            DevicePtr::<u8>::new(whole.extra),
            p.ld_extra as u32,
            p.stride_extra as u64,
            DevicePtrMut::<f32>::new(0),
            whole.activation,
            p.activation.param(),
            whole.kind,
        );
        Ok(device.launch(kernel!(gemm::split::gemm_reduce), Launch::new((x, y), kernels::BLOCK), args)?)
    }
}

/// Where a kernel's sums go: to C by the epilogue, or as they are to a workspace. What a launch says of C, bias and E.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub alpha: f32,
    pub beta: f32,
    pub c: u64,
    pub ldc: usize,
    pub stride_c: usize,
    pub bias: u64,
    pub extra: u64,
    pub activation: u32,
    pub kind: u32,
}
