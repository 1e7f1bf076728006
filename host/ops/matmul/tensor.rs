//! Launches of `gpu_kernels::gemm::tensor`: tensor cores by `mma.sync`, on every GPU since Ampere.
//!
//! An operand goes to the kernel as it is where it may: of the factor's type, 16-byte aligned in base, rows and batches,
//! and K-major where factors have 32 bits. Any other is packed first ([`gemm_pack`](gpu_kernels::gemm::pack)) into the
//! workspace. K is split where the tiles alone would leave most of a device idle (`split`).

use gpu_kernels::gemm::tensor::{DEPTH, LARGE, SMALL, Tile};
use gpu_kernels::gemm::{element, pack};

use super::simt::grid;
use super::split::Split;
use super::{Addresses, Candidate, Family, MatmulError, Name, Precision, Problem, Unsupported};
use crate::device::{DType, Device, DevicePtr, DevicePtrMut, Kernel, Launch, Target};
use crate::kernel;

/// The kernels that this file launches.
pub const KERNELS: &[&str] = &[
    "gemm_bf16_nn_128",
    "gemm_bf16_nt_128",
    "gemm_bf16_tn_128",
    "gemm_bf16_tt_128",
    "gemm_bf16_nn_64",
    "gemm_bf16_nt_64",
    "gemm_bf16_tn_64",
    "gemm_bf16_tt_64",
    "gemm_f16_nn_128",
    "gemm_f16_nt_128",
    "gemm_f16_tn_128",
    "gemm_f16_tt_128",
    "gemm_f16_nn_64",
    "gemm_f16_nt_64",
    "gemm_f16_tn_64",
    "gemm_f16_tt_64",
    "gemm_tf32_128",
    "gemm_tf32_64",
    "gemm_tf32x3_128",
    "gemm_tf32x3_64",
    "gemm_bf16x6_128",
    "gemm_bf16x6_64",
    "gemm_pack",
    "gemm_reduce",
];

/// The signature of the family's kernels, and of [`simt`](super::simt)'s.
pub(super) type Product = unsafe fn(
    u32,
    u32,
    u32,
    u32,
    u32,
    *const u8,
    u32,
    u64,
    *const u8,
    u32,
    u64,
    f32,
    f32,
    *mut u8,
    u32,
    u64,
    *const f32,
    *const u8,
    u32,
    u64,
    *mut f32,
    u32,
    f32,
    u32,
);

const FAMILY: Family = Family { targets: &[Target::Sm80, Target::Sm90a], supports, workspace, estimate, run };

/// What [`Candidate::variant`] means here: which arithmetic of `Fp32Fast`.
const TF32X3: u32 = 1;
const BF16X6: u32 = 2;

const fn candidate(name: &'static str, precision: Precision, t: Tile, variant: u32) -> Candidate {
    let k = DEPTH / precision.factor_bytes();
    Candidate { name, precision, tile: [t.bm, t.bn, k], rate: 65, variant, family: FAMILY }
}

/// Every precision with both tiles. Of `Fp32Fast` first the one whose main loop has fewer machine instructions (505 against
/// 577 for 16 elements of K and the large tile, by `nvdisasm` for sm_80) and whose bound is the lower.
pub static CANDIDATES: &[Candidate] = &[
    candidate("mma_bf16_128x128", Precision::Bf16, LARGE, 0),
    candidate("mma_bf16_64x64", Precision::Bf16, SMALL, 0),
    candidate("mma_f16_128x128", Precision::F16, LARGE, 0),
    candidate("mma_f16_64x64", Precision::F16, SMALL, 0),
    candidate("mma_tf32_128x128", Precision::Tf32, LARGE, 0),
    candidate("mma_tf32_64x64", Precision::Tf32, SMALL, 0),
    candidate("mma_bf16x6_128x128", Precision::Fp32Fast, LARGE, BF16X6),
    candidate("mma_bf16x6_64x64", Precision::Fp32Fast, SMALL, BF16X6),
    candidate("mma_tf32x3_128x128", Precision::Fp32Fast, LARGE, TF32X3),
    candidate("mma_tf32x3_64x64", Precision::Fp32Fast, SMALL, TF32X3),
];

/// The candidate of a precision and tile, the first of these.
pub(super) fn of(precision: Precision, tile: Tile) -> &'static Candidate {
    let fits = |c: &&Candidate| c.precision == precision && c.tile[0] == tile.bm;
    CANDIDATES.iter().find(fits).unwrap_or(&CANDIDATES[0])
}

/// The tile of a candidate.
fn tile(c: &Candidate) -> Tile {
    if c.tile[0] == LARGE.bm { LARGE } else { SMALL }
}

/// The kernel, by candidate and by whether A and B are transposed as it sees them.
fn kernel_of(c: &Candidate, layout: (bool, bool)) -> Kernel<Product> {
    match (c.precision, c.variant, c.tile[0] == LARGE.bm) {
        (Precision::Bf16, _, true) => {
            by_layout!(layout, gemm::tensor: gemm_bf16_nn_128 gemm_bf16_nt_128 gemm_bf16_tn_128 gemm_bf16_tt_128)
        }
        (Precision::Bf16, _, false) => {
            by_layout!(layout, gemm::tensor: gemm_bf16_nn_64 gemm_bf16_nt_64 gemm_bf16_tn_64 gemm_bf16_tt_64)
        }
        (Precision::F16, _, true) => {
            by_layout!(layout, gemm::tensor: gemm_f16_nn_128 gemm_f16_nt_128 gemm_f16_tn_128 gemm_f16_tt_128)
        }
        (Precision::F16, _, false) => {
            by_layout!(layout, gemm::tensor: gemm_f16_nn_64 gemm_f16_nt_64 gemm_f16_tn_64 gemm_f16_tt_64)
        }
        (Precision::Tf32, _, true) => kernel!(gemm::tensor::gemm_tf32_128),
        (Precision::Tf32, _, false) => kernel!(gemm::tensor::gemm_tf32_64),
        (_, BF16X6, true) => kernel!(gemm::tensor::gemm_bf16x6_128),
        (_, BF16X6, false) => kernel!(gemm::tensor::gemm_bf16x6_64),
        (_, _, true) => kernel!(gemm::tensor::gemm_tf32x3_128),
        (_, _, false) => kernel!(gemm::tensor::gemm_tf32x3_64),
    }
}

/// The number by which kernels know an element type.
pub(super) fn element_code(dtype: DType) -> u32 {
    match dtype {
        DType::F32 | DType::U32 => element::F32,
        DType::F16 => element::F16,
        DType::Bf16 => element::BF16,
        DType::E4m3 => element::E4M3,
        DType::E5m2 => element::E5M2,
    }
}

/// Whether A and B are of the factors' type, or one that packing converts: f32, and for 8-bit floats bf16 and f16 too.
pub(super) fn supports_types(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    for (name, t) in [(Name::A, p.a), (Name::B, p.b)] {
        let factor = p.factor(name);
        if t != factor && t != DType::F32 && factor.bytes() > 1 {
            let reason = format!("multiplies {factor}; {name} of {t} would have to be cast first");
            return Err(Unsupported::new(c.name, reason));
        }
    }
    Ok(())
}

fn supports(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    if p.k >= 1 << 29 {
        return Err(Unsupported::new(c.name, format!("K is {}, and must be below 2^29", p.k)));
    }
    supports_types(c, p)
}

/// How one operand gets to the kernel.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Whether it is packed first: every matrix of the batch, one after another.
    pub packed: bool,
    /// K-major as the kernel sees it.
    pub k_major: bool,
    /// Leading dimension as the kernel sees it.
    pub ld: usize,
    pub stride: usize,
    /// Type of an element as the kernel sees it.
    pub factor: DType,
    /// The operand as it lies in memory: M or N, type, leading dimension, stride, whether K is not contiguous.
    pub rows: usize,
    pub dtype: DType,
    pub ld_from: usize,
    pub stride_from: usize,
    pub transposed: bool,
}

/// Where the workspace's parts begin, and its size.
struct Layout {
    a: Plan,
    b: Plan,
    b_at: usize,
    partial_at: usize,
    split: Split,
    bytes: usize,
}

/// Elements of a row of `k` factors of `bytes` bytes, in units of 16 bytes.
fn padded(k: usize, bytes: usize) -> usize {
    k.next_multiple_of(16 / bytes)
}

pub(super) fn plan(p: &Problem, name: Name) -> Plan {
    let factor = p.factor(name);
    let (rows, ld, stride, dtype, transposed) = match name {
        Name::A => (p.m, p.lda, p.stride_a, p.a, p.ta),
        _ => (p.n, p.ldb, p.stride_b, p.b, !p.tb),
    };
    let unit = 16 / factor.bytes();
    let aligned = p.align >= 16 && ld.is_multiple_of(unit) && (p.batch == 1 || stride.is_multiple_of(unit));
    // Tensor cores want it so; f32's own kernels, which read any layout, do not.
    let fits = p.precision == Precision::Fp32 || (aligned && !(transposed && factor.bytes() != 2));
    let packed = dtype != factor || !fits;
    let row = padded(p.k, factor.bytes());
    Plan {
        packed,
        k_major: packed || !transposed,
        ld: if packed { row } else { ld },
        stride: if packed { rows * row } else { stride },
        factor,
        rows,
        dtype,
        ld_from: ld,
        stride_from: stride,
        transposed,
    }
}

fn layout(c: &Candidate, p: &Problem) -> Layout {
    let (a, b) = (plan(p, Name::A), plan(p, Name::B));
    let bytes = |x: Plan| packed_bytes(p, x);
    let (b_at, partial_at) = (bytes(a), bytes(a).saturating_add(bytes(b)));
    let split = split(c, p);
    Layout { a, b, b_at, partial_at, split, bytes: partial_at.saturating_add(split.bytes(p)) }
}

/// Elements of K that a part has at least: fewer are no work beside a second launch.
const LEAST: usize = 128;

/// How the tiles of a candidate cut K.
fn split(c: &Candidate, p: &Problem) -> Split {
    let [bm, bn, bk] = c.tile.map(|x| x as usize);
    // The kernels of f32 leave sums of C to others.
    let part = (p.precision != Precision::Fp32).then(|| tile(c).part());
    Split::new(p, p.m.div_ceil(bm) * p.n.div_ceil(bn) * p.batch, bk, LEAST, part)
}

pub(super) fn estimate(c: &Candidate, p: &Problem) -> u64 {
    c.time(p, split(c, p).walk(c, p))
}

/// Bytes of workspace of an operand; saturated, where the device has no such memory anyway.
pub(super) fn packed_bytes(p: &Problem, x: Plan) -> usize {
    let all = p.batch.saturating_mul(x.stride).saturating_mul(x.factor.bytes());
    if x.packed { all.checked_next_multiple_of(256).unwrap_or(usize::MAX) } else { 0 }
}

pub(super) fn workspace(c: &Candidate, p: &Problem, _: &Device) -> usize {
    layout(c, p).bytes
}

/// Packs one operand and gives the address that the kernel reads.
pub(super) fn packed(device: &Device, p: &Problem, x: Plan, from: u64, to: u64) -> Result<u64, MatmulError> {
    if !x.packed {
        return Ok(from);
    }
    let tiles = x.rows.div_ceil(pack::TILE as usize) as u64 * x.ld.div_ceil(pack::TILE as usize) as u64;
    let shape = Launch::new(grid("gemm_pack", tiles, p.batch)?, pack::BLOCK);
    let args = (
        x.rows as u32,
        p.k as u32,
        p.batch as u32,
        u32::from(x.transposed),
        DevicePtr::<u8>::new(from),
        element_code(x.dtype),
        x.ld_from as u32,
        x.stride_from as u64,
        DevicePtrMut::<u8>::new(to),
        element_code(x.factor),
        x.ld as u32,
    );
    device.launch(kernel!(gemm::pack::gemm_pack), shape, args)?;
    Ok(to)
}

fn run(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    workspace: u64,
) -> Result<(), MatmulError> {
    let t = tile(c);
    launch(c, device, p, at, workspace, [t.threads(), t.shared()], |layout| kernel_of(c, layout))
}

/// Launches the kernel that `kernel` gives for the layout of A and B, once these are packed where they must be: blocks of
/// so many threads and bytes of shared memory, one for each tile of the candidate and part of K.
pub(super) fn launch(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    workspace: u64,
    [threads, shared]: [u32; 2],
    kernel: impl FnOnce((bool, bool)) -> Kernel<Product>,
) -> Result<(), MatmulError> {
    let l = layout(c, p);
    let a = packed(device, p, l.a, at.a, workspace)?;
    let b = packed(device, p, l.b, at.b, workspace + l.b_at as u64)?;
    let [bm, bn, _] = c.tile.map(|x| x as usize);
    let (x, y) = grid(c.name, p.m.div_ceil(bm) as u64 * p.n.div_ceil(bn) as u64, p.batch)?;
    let shape = Launch::new((x, y, l.split.parts as u32), threads).shared(shared);
    l.split.run(device, p, at, workspace + l.partial_at as u64, |out| {
        let args = (
            p.m as u32,
            p.n as u32,
            p.k as u32,
            p.batch as u32,
            l.split.k_split as u32,
            DevicePtr::<u8>::new(a),
            l.a.ld as u32,
            l.a.stride as u64,
            DevicePtr::<u8>::new(b),
            l.b.ld as u32,
            l.b.stride as u64,
            out.alpha,
            out.beta,
            DevicePtrMut::<u8>::new(out.c),
            out.ldc as u32,
            out.stride_c as u64,
            DevicePtr::<f32>::new(out.bias),
            DevicePtr::<u8>::new(out.extra),
            p.ld_extra as u32,
            p.stride_extra as u64,
            out.sums,
            out.activation,
            p.activation.param(),
            out.kind,
        );
        device.launch(kernel((!l.a.k_major, l.b.k_major)), shape, args)
    })
}
