//! Products whose K is cut into parts for blocks of their own: how it is cut, where the sums go, and their second half,
//! [`gemm_reduce`](gpu_kernels::gemm::split), which adds the parts in their order: the result does not depend on chance.

use gpu_kernels::gemm::{element, epilogue, split as kernels};

use super::simt::grid;
use super::sums::PartialSums;
use super::tensor::element_code;
use super::{Addresses, Candidate, MULTIPROCESSORS, MatmulError, Problem, Reduce, Walk, reduction_time};
use crate::device::{Device, DeviceError, DevicePtr, DevicePtrMut, Launch};
use crate::kernel;

/// How K is cut, and who finishes C.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// How many parts.
    pub parts: usize,
    /// Elements of each but the last, which has at least one.
    pub k_split: usize,
    /// Whether sums go to a workspace, and [`gemm_reduce`](gpu_kernels::gemm::split) finishes them: there are several parts,
    /// or sums of C are wanted that the product's kernel cannot do.
    apart: bool,
    /// The sums of C, by whoever finishes it.
    sums: PartialSums,
}

/// Parts, at most.
const MOST: usize = 64;

impl Split {
    /// For `blocks` blocks a part: as many parts as still give each multiprocessor one block and every part `least` elements
    /// of K; each a multiple of `unit` elements. `part`: the part of C whose [sums](PartialSums) the kernel writes, if it
    /// does that.
    pub fn new(p: &Problem, blocks: usize, unit: usize, least: usize, part: Option<[u32; 2]>) -> Split {
        let parts = (MULTIPROCESSORS / blocks.max(1)).min(p.k / least).clamp(1, MOST);
        let k_split = p.k.div_ceil(unit).div_ceil(parts) * unit;
        let parts = p.k.div_ceil(k_split);
        let part = part.filter(|_| parts == 1);
        let apart = parts > 1 || (part.is_none() && p.reduce != Reduce::None);
        Split { parts, k_split, apart, sums: PartialSums::new(p, part.unwrap_or(kernels::PART)) }
    }

    /// Partial sums: none where C is finished at once.
    fn partial_sums(self, p: &Problem) -> usize {
        if self.apart { self.parts * p.batch * p.m * p.n } else { 0 }
    }

    /// Bytes of the partial products.
    fn partial(self, p: &Problem) -> usize {
        (4 * self.partial_sums(p)).next_multiple_of(256)
    }

    /// Bytes of workspace.
    pub fn bytes(self, p: &Problem) -> usize {
        self.partial(p).saturating_add(self.sums.bytes())
    }

    /// The course of a product whose blocks compute a tile each, of one part.
    pub fn walk(self, c: &Candidate, p: &Problem) -> Walk {
        let [tm, tn, depth] = c.tile.map(u64::from);
        let tiles = (p.m as u64).div_ceil(tm) * (p.n as u64).div_ceil(tn) * p.batch as u64;
        let waves = tiles.saturating_mul(self.parts as u64).div_ceil(MULTIPROCESSORS as u64);
        let k = (self.k_split.min(p.k) as u64).next_multiple_of(depth);
        Walk { k: waves.saturating_mul(k), partial: self.partial_sums(p) as u64 }
    }

    /// What the second half adds to [`Candidate::estimate`].
    pub fn time(self, p: &Problem) -> u64 {
        reduction_time(p.precision, self.partial_sums(p) as u64)
    }

    /// Launches by `launch`, whose blocks along z are the parts; then, where that is for others, finishes and sums C. The
    /// workspace at `workspace` has [`bytes`](Split::bytes).
    pub fn run(
        self,
        device: &Device,
        p: &Problem,
        at: Addresses,
        workspace: u64,
        launch: impl FnOnce(Output) -> Result<(), DeviceError>,
    ) -> Result<(), MatmulError> {
        let sums_at = workspace + self.partial(p) as u64;
        let whole = Output {
            alpha: p.alpha,
            beta: p.beta,
            c: at.c,
            ldc: p.ldc,
            stride_c: p.stride_c,
            bias: at.bias,
            extra: at.extra,
            sums: self.sums.written(at, sums_at),
            activation: p.activation.kind(),
            kind: epilogue::kind(element_code(p.c), p.extra.code(), p.reduce.code()),
        };
        if !self.apart {
            launch(whole)?;
            return self.sums.finish(device, at, sums_at);
        }
        launch(Output {
            alpha: 1.0,
            beta: 0.0,
            c: workspace,
            ldc: p.n,
            stride_c: p.m * p.n,
            bias: 0,
            extra: 0,
            sums: DevicePtrMut::new(0),
            activation: 0,
            kind: epilogue::kind(element::F32, epilogue::EXTRA_NONE, epilogue::REDUCE_NONE),
        })?;
        let blocks = if p.reduce == Reduce::None {
            (p.m as u64 * p.n.div_ceil(4) as u64).div_ceil(kernels::BLOCK.into())
        } else {
            let [rows, columns] = kernels::PART.map(|x| x as usize);
            p.m.div_ceil(rows) as u64 * p.n.div_ceil(columns) as u64
        };
        let (x, y) = grid("gemm_reduce", blocks, p.batch)?;
        let args = (
            p.m as u32,
            p.n as u32,
            p.batch as u32,
            self.parts as u32,
            DevicePtr::<f32>::new(workspace),
            whole.alpha,
            whole.beta,
            DevicePtrMut::<u8>::new(whole.c),
            whole.ldc as u32,
            whole.stride_c as u64,
            DevicePtr::<f32>::new(whole.bias),
            DevicePtr::<u8>::new(whole.extra),
            p.ld_extra as u32,
            p.stride_extra as u64,
            whole.sums,
            whole.activation,
            p.activation.param(),
            whole.kind,
        );
        device.launch(kernel!(gemm::split::gemm_reduce), Launch::new((x, y), kernels::BLOCK), args)?;
        self.sums.finish(device, at, sums_at)
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
    pub sums: DevicePtrMut<f32>,
    pub activation: u32,
    pub kind: u32,
}
