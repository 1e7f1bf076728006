//! Launches of `gpu_kernels::gemm::gemv`: products of which M or N is 1, in every precision, on every GPU.
//!
//! One operand is the matrix, the other the vector: with N = 1 they are A and B, with M = 1 B and A. Each may be of any
//! element type that needs no other rounding than that of an f32 to the precision's factor. Sums are f32's in every precision.
//! K is split where a device would be idle else.

use gpu_kernels::gemm::gemv as kernels;

use super::problem::mix;
use super::simt::grid;
use super::split::Split;
use super::{
    Addresses, Candidate, Family, LOAD, MULTIPROCESSORS, MatmulError, Precision, Problem, Unsupported,
};
use crate::device::{DType, Device, DevicePtr, DevicePtrMut, Launch, Target};
use crate::kernel;

/// The kernels that this file launches.
pub const KERNELS: &[&str] = &["gemv_rows", "gemv_columns"];

const FAMILY: Family = Family { targets: &[Target::Sm80, Target::Sm90a], supports, workspace, estimate, run };

const fn candidate(name: &'static str, precision: Precision) -> Candidate {
    // Tiles are as the problem wants them; this is a block's of K-contiguous matrices and long rows.
    let outputs = kernels::ROWS * kernels::BLOCK / 32;
    let tile = [outputs, 1, kernels::CHUNK];
    Candidate { name, precision, tile, rate: 100, variant: 0, family: FAMILY }
}

/// One for each precision.
pub static CANDIDATES: &[Candidate] = &[
    candidate("gemv_fp32", Precision::Fp32),
    candidate("gemv_tf32", Precision::Tf32),
    candidate("gemv_bf16", Precision::Bf16),
    candidate("gemv_f16", Precision::F16),
    candidate("gemv_fp32_fast", Precision::Fp32Fast),
];

/// The kind of factor that an operand of this type holds, if there is one for the precision.
fn kind(precision: Precision, dtype: DType) -> Option<u32> {
    let wide = precision.factor() == DType::F32;
    Some(match (dtype, precision) {
        (DType::F32, Precision::Fp32 | Precision::Fp32Fast) => kernels::F32,
        (DType::F32, Precision::Tf32) => kernels::F32_AS_TF32,
        (DType::F32, Precision::Bf16) => kernels::F32_AS_BF16,
        (DType::F32, Precision::F16) => kernels::F32_AS_F16,
        // 16 bits are exact in f32 and in tf32.
        (DType::Bf16, _) if wide || precision == Precision::Bf16 => kernels::BF16,
        (DType::F16, _) if wide || precision == Precision::F16 => kernels::F16,
        _ => return None,
    })
}

fn supports(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    let no = |reason: String| Err(Unsupported::new(c.name, reason));
    if p.m > 1 && p.n > 1 {
        return no(format!("multiplies a matrix by a vector: M or N is 1, not {} and {}", p.m, p.n));
    }
    if kind(p.precision, p.a).is_none() || kind(p.precision, p.b).is_none() {
        return no(format!("does not round the factors of {} to {}", mix(p), p.precision.factor()));
    }
    Ok(())
}

/// How a launch sees a problem.
struct View {
    /// Whether the matrix is A, and the outputs are a column.
    of_a: bool,
    /// Whether K is contiguous in it.
    rows: bool,
    /// Kind, leading dimension (elements between those of a vector) and stride.
    matrix: (u32, usize, usize),
    vector: (u32, usize, usize),
    outputs: usize,
    /// Threads that share an output (a row of outputs where these are contiguous), in log2.
    log2: u32,
    /// Blocks along the outputs.
    blocks: usize,
    split: Split,
}

fn view(p: &Problem) -> View {
    let of_a = p.n == 1;
    let kind = |dtype| kind(p.precision, dtype).unwrap_or(kernels::F32);
    let (a, b) = ((kind(p.a), p.lda, p.stride_a), (kind(p.b), p.ldb, p.stride_b));
    let (matrix, transposed, vector, line) = if of_a { (a, p.ta, b, p.tb) } else { (b, !p.tb, a, !p.ta) };
    let vector = (vector.0, if line { 1 } else { vector.1 }, vector.2);
    let outputs = p.m.max(p.n);
    let rows = !transposed || (outputs == 1 && matrix.1 == 1);
    let width = kernels::width(matrix.0) as usize;
    let enough = |blocks: usize| blocks * p.batch >= MULTIPROCESSORS;
    let (log2, per_block) = if rows {
        let per_block = |log2: u32| (kernels::ROWS * (kernels::BLOCK >> log2)) as usize;
        // Two 16-byte loads a lane and output at least. A whole block for four outputs where warps for each were too few
        // blocks, and K is long.
        let vectors = p.k.div_ceil(width);
        let log2 = (vectors / 2).max(1).ilog2().min(5);
        let block = !enough(outputs.div_ceil(per_block(5))) && vectors >= 2 * kernels::BLOCK as usize;
        let log2 = if block { kernels::LOG2_BLOCK } else { log2 };
        (log2, per_block(log2))
    } else {
        // As many lanes as there are outputs for: up to a warp (more where K is too short for other threads), but from 128 bytes
        // on rather more blocks.
        let lanes = outputs.div_ceil(width).next_power_of_two().ilog2();
        let most = lanes.min(kernels::LOG2_BLOCK - p.k.ilog2().min(3));
        let log2 = (3..most).rev().find(|&l| enough(outputs.div_ceil(width << (l + 1))));
        let log2 = log2.map_or(most.min(3), |l| l + 1);
        (log2, width << log2)
    };
    let blocks = outputs.div_ceil(per_block);
    // A part reads 128 KiB at least.
    let least = ((1 << 17) / (per_block.min(outputs) * 16 / width)).max(256);
    let split = Split::new(p, blocks * p.batch, 64, least, None);
    View { of_a, rows, matrix, vector, outputs, log2, blocks, split }
}

fn workspace(_: &Candidate, p: &Problem, _: &Device) -> usize {
    view(p).split.bytes(p)
}

/// Every element of the matrix is loaded once.
fn estimate(_: &Candidate, p: &Problem) -> u64 {
    let View { outputs, split, .. } = view(p);
    let elements = [outputs, p.k, p.batch].iter().fold(1u64, |all, &n| all.saturating_mul(n as u64));
    (elements / MULTIPROCESSORS as u64).saturating_mul(LOAD + 1).saturating_add(split.time(p))
}

fn run(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    workspace: u64,
) -> Result<(), MatmulError> {
    let v = view(p);
    let (x, y) = grid(c.name, v.blocks as u64, p.batch)?;
    let shape = Launch::new((x, y, v.split.parts as u32), kernels::BLOCK);
    let (matrix, vector) = if v.of_a { (at.a, at.b) } else { (at.b, at.a) };
    let kernel = if v.rows { kernel!(gemm::gemv::gemv_rows) } else { kernel!(gemm::gemv::gemv_columns) };
    v.split.run(device, p, at, workspace, |out| {
        let args = (
            kernels::form(v.matrix.0, v.vector.0, v.log2, v.of_a),
            v.outputs as u32,
            p.k as u32,
            p.batch as u32,
            v.split.k_split as u32,
            DevicePtr::<u8>::new(matrix),
            v.matrix.1 as u32,
            v.matrix.2 as u64,
            DevicePtr::<u8>::new(vector),
            v.vector.1 as u32,
            v.vector.2 as u64,
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
        device.launch(kernel, shape, args)
    })
}
