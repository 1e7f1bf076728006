//! Launches of the f32 kernels of `gpu_kernels::gemm`: [`Precision::Fp32`](super::Precision) on every GPU.
//!
//! Operands of 16 bits are packed as f32 first, which holds them exactly; f32 operands are read as they are, whatever their
//! layout and alignment. K is split as for [`tensor`], whose launch this is.

use gpu_kernels::gemm::{self as kernels, Tile};

use super::problem::mix;
use super::{Addresses, Candidate, Family, MatmulError, Precision, Problem, Unsupported, tensor};
use crate::device::{DType, Device, DeviceError, Target};

const FAMILY: Family = Family {
    targets: &[Target::Sm80, Target::Sm90a],
    supports,
    workspace: tensor::workspace,
    estimate: tensor::estimate,
    run,
};

const fn candidate(name: &'static str, t: Tile) -> Candidate {
    Candidate {
        name,
        precision: Precision::Fp32,
        tile: [t.bm, t.bn, t.bk],
        rate: 80,
        variant: 0,
        family: FAMILY,
    }
}

/// The tiles.
pub static CANDIDATES: &[Candidate] = &[
    candidate("simt_fp32_128x128", kernels::LARGE),
    candidate("simt_fp32_64x64", kernels::MEDIUM),
    candidate("simt_fp32_32x32", kernels::SMALL),
];

/// The candidate of a tile.
pub(in crate::ops) fn of(t: Tile) -> &'static Candidate {
    match t {
        kernels::LARGE => &CANDIDATES[0],
        kernels::MEDIUM => &CANDIDATES[1],
        _ => &CANDIDATES[2],
    }
}

fn supports(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    if [p.a, p.b].iter().all(|t| matches!(t, DType::F32 | DType::Bf16 | DType::F16)) {
        return Ok(());
    }
    Err(Unsupported::new(c.name, format!("multiplies f32, and what packing makes f32 of: not {}", mix(p))))
}

/// The grid of `tiles` tiles a product and `batch` products, for kernels whose blocks stride over the batch.
pub(super) fn grid(name: &str, tiles: u64, batch: usize) -> Result<(u32, u32), DeviceError> {
    match u32::try_from(tiles) {
        Ok(x) if x < 1 << 31 => Ok((x, batch.min(65_535) as u32)),
        _ => Err(DeviceError::InvalidLaunch {
            kernel: name.into(),
            reason: format!("{tiles} tiles are more blocks than a grid has; split the product"),
        }),
    }
}

fn run(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    workspace: u64,
) -> Result<(), MatmulError> {
    let t =
        [kernels::LARGE, kernels::MEDIUM].into_iter().find(|t| t.bm == c.tile[0]).unwrap_or(kernels::SMALL);
    tensor::launch(c, device, p, at, workspace, [t.threads(), 0], |layout| match t {
        kernels::LARGE => by_layout!(layout, gemm: gemm_nn_128 gemm_nt_128 gemm_tn_128 gemm_tt_128),
        kernels::MEDIUM => by_layout!(layout, gemm: gemm_nn_64 gemm_nt_64 gemm_tn_64 gemm_tt_64),
        _ => by_layout!(layout, gemm: gemm_nn_32 gemm_nt_32 gemm_tn_32 gemm_tt_32),
    })
}
