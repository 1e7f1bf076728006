//! Launches of the f32 kernels of `gpu_kernels::gemm`: [`Precision::Fp32`](super::Precision) on every GPU.

use gpu_kernels::gemm::{self as kernels, Tile};

use super::problem::mix;
use super::{
    Addresses, Candidate, Extra, Family, MatmulError, Precision, Problem, Reduce, Unsupported, Walk,
};
use crate::device::{DType, Device, DeviceError, DevicePtr, DevicePtrMut, Launch, Target};

const FAMILY: Family = Family {
    targets: &[Target::Sm80, Target::Sm90a],
    supports,
    workspace: |_, _, _| 0,
    walk: Walk::of_tiles,
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
    let no = |reason: String| Err(Unsupported::new(c.name, reason));
    if [p.a, p.b, p.c].iter().any(|&t| t != DType::F32) {
        return no(format!("multiplies f32 alone, not {}", mix(p)));
    }
    if p.extra != Extra::None {
        return no("has no residual and no gradient of the activation; do them apart".into());
    }
    if p.reduce != Reduce::None {
        return no("sums neither rows nor columns of C; do that apart".into());
    }
    Ok(())
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

fn run(c: &Candidate, device: &Device, p: &Problem, at: Addresses, _: u64) -> Result<(), MatmulError> {
    let [bm, bn, _] = c.tile;
    let tiles = p.m.div_ceil(bm as usize) as u64 * p.n.div_ceil(bn as usize) as u64;
    let layout = (p.ta, p.tb);
    let (t, kernel) = if bm == kernels::LARGE.bm {
        let kernel = by_layout!(layout, gemm: gemm_nn_128 gemm_nt_128 gemm_tn_128 gemm_tt_128);
        (kernels::LARGE, kernel)
    } else if bm == kernels::MEDIUM.bm {
        (kernels::MEDIUM, by_layout!(layout, gemm: gemm_nn_64 gemm_nt_64 gemm_tn_64 gemm_tt_64))
    } else {
        (kernels::SMALL, by_layout!(layout, gemm: gemm_nn_32 gemm_nt_32 gemm_tn_32 gemm_tt_32))
    };
    let shape = Launch::new(grid(c.name, tiles, p.batch)?, t.threads());
    let args = (
        p.m as u32,
        p.n as u32,
        p.k as u32,
        p.batch as u32,
        p.alpha,
        DevicePtr::<f32>::new(at.a),
        p.lda as u32,
        p.stride_a as u64,
        DevicePtr::<f32>::new(at.b),
        p.ldb as u32,
        p.stride_b as u64,
        p.beta,
        DevicePtrMut::<f32>::new(at.c),
        p.ldc as u32,
        p.stride_c as u64,
        DevicePtr::<f32>::new(at.bias),
        p.activation.kind(),
        p.activation.param(),
    );
    Ok(device.launch(kernel, shape, args)?)
}
