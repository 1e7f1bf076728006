//! Tensor maps on the device: where they may lie, `tensormap.replace`, `tensormap.cp_fenceproxy`.

use super::Ctx;
use super::isa::Field;
use super::issue::at;
use super::tensor_map::{self, TensorMap, TensorMapType};
use crate::ErrorKind;
use crate::access::Kind;
use crate::error::Step;
use crate::isa::{PARAM_BASE, SHARED_BASE, Space, WINDOW};

/// Alignment of a tensor map.
const ALIGN: u64 = 64;
const BYTES: u64 = 128;

/// Bytes of a tensor map that may be changed.
fn slot<'a>(
    space: Space,
    address: u64,
    rank: usize,
    kind: Kind,
    ctx: &'a mut Ctx<'_>,
) -> Step<Option<&'a mut [u8]>> {
    let shared =
        space == Space::Shared || (space == Space::Generic && address.wrapping_sub(SHARED_BASE) < WINDOW);
    if shared {
        let Some(p) = ctx.shared_place(rank, space, address, BYTES, ALIGN)? else { return Ok(None) };
        let own = &mut ctx.shared[p.rank];
        if ctx.checks.uninitialised_shared
            && let Some(missing) = own.arena.init.first_missing(p.at as usize, BYTES as usize)
            && kind != Kind::Write
        {
            return at(ErrorKind::UninitialisedShared, missing as u64, own.describe(missing as u64));
        }
        return Ok(Some(&mut own.arena.bytes[p.at as usize..][..BYTES as usize]));
    }
    if !address.is_multiple_of(ALIGN) && ctx.checks.misaligned {
        let text = format!("a tensor map has to lie at a multiple of {ALIGN}");
        return at(ErrorKind::Misaligned, address, text);
    }
    if !ctx.global_range(address, BYTES, kind)? {
        return Ok(None);
    }
    let Some(i) = ctx.global.index(address) else { return Ok(None) };
    let a = ctx.global.get_mut(i);
    let from = (address - a.base) as usize;
    if kind != Kind::Read {
        a.arena.init.set(from, BYTES as usize);
    }
    Ok(a.arena.bytes.get_mut(from..from + BYTES as usize))
}

/// The bytes of the tensor map at an address in parameter, constant or global memory, or in shared memory.
fn bytes(
    space: Space,
    address: u64,
    rank: usize,
    params: &[u8],
    ctx: &mut Ctx<'_>,
) -> Step<Option<[u8; 128]>> {
    let mut out = [0; BYTES as usize];
    let parameter = match space {
        Space::Param => Some(address),
        // A parameter's address that was not converted is no other address either.
        Space::Generic if address < params.len() as u64 => Some(address),
        Space::Generic => Some(address.wrapping_sub(PARAM_BASE)).filter(|a| *a < WINDOW),
        _ => None,
    };
    let Some(from) = parameter else {
        let Some(b) = slot(space, address, rank, Kind::Read, ctx)? else { return Ok(None) };
        out.copy_from_slice(b);
        return Ok(Some(out));
    };
    if !from.is_multiple_of(ALIGN) && ctx.checks.misaligned {
        let text =
            format!("a tensor map has to lie at a multiple of {ALIGN}; give the parameter `.align {ALIGN}`");
        return at(ErrorKind::Misaligned, address, text);
    }
    match params.get(from as usize..).and_then(|p| p.get(..BYTES as usize)) {
        Some(b) => out.copy_from_slice(b),
        None if !ctx.checks.out_of_bounds => return Ok(None),
        None => {
            let text = format!("a tensor map across the end of {} bytes of kernel parameters", params.len());
            return at(ErrorKind::OutOfBounds, address, text);
        }
    }
    Ok(Some(out))
}

/// The tensor map at an address; `None` when the access is to be ignored.
pub(super) fn read(
    space: Space,
    address: u64,
    rank: usize,
    params: &[u8],
    ctx: &mut Ctx<'_>,
) -> Step<Option<TensorMap>> {
    let Some(raw) = bytes(space, address, rank, params, ctx)? else { return Ok(None) };
    match TensorMap::decode(&raw) {
        Some(map) => Ok(Some(map)),
        None => {
            let text = "these 128 bytes are no tensor map; `ptx_sim::TensorMap` encodes one";
            at(ErrorKind::BadTensorMap, address, text)
        }
    }
}

/// `tensormap.replace` at an address.
pub(super) fn replace(
    (space, address): (Space, u64),
    rank: usize,
    field: Field,
    dim: u32,
    value: u64,
    ctx: &mut Ctx<'_>,
) -> Step {
    let Some(slot) = slot(space, address, rank, Kind::Atomic, ctx)? else { return Ok(()) };
    let mut raw = [0; BYTES as usize];
    raw.copy_from_slice(slot);
    let Some(mut map) = TensorMap::decode(&raw) else {
        return at(ErrorKind::BadTensorMap, address, "these 128 bytes are no tensor map");
    };
    let d = dim as usize;
    let unknown = || {
        let text = format!("a tensor map cannot take {value} as {field:?} of dimension {dim}");
        at(ErrorKind::BadTensorMap, address, text)
    };
    match (field, TensorMapType::of_ptx(value)) {
        (Field::Address, _) => map.address = value,
        // The instruction counts from zero.
        (Field::Rank, _) if value < 5 => map.rank = value as usize + 1,
        (Field::BoxDim, _) if d < 5 && value <= 256 => map.boxes[d] = value as u32,
        (Field::GlobalDim, _) if d < 5 && value > 0 => map.dims[d] = value,
        (Field::GlobalStride, _) if d < 4 => map.strides[d] = value,
        (Field::ElementStride, _) if d < 5 && value <= 8 => map.element_strides[d] = value as u32,
        (Field::ElementType, Some(ty)) => map.ty = ty,
        (Field::Interleave, _) => match tensor_map::interleave(value) {
            Some(v) => map.interleave = v,
            None => return unknown(),
        },
        (Field::Swizzle, _) => match tensor_map::swizzle(value) {
            Some(v) => map.swizzle = v,
            None => return unknown(),
        },
        (Field::Fill, _) => match tensor_map::fill(value) {
            Some(v) => map.fill = v,
            None => return unknown(),
        },
        _ => return unknown(),
    }
    slot.copy_from_slice(&map.encode());
    Ok(())
}

/// `tensormap.cp_fenceproxy`: shared to global.
pub(super) fn copy(dst: u64, src: (Space, u64), rank: usize, ctx: &mut Ctx<'_>) -> Step {
    let mut raw = [0; BYTES as usize];
    match slot(src.0, src.1, rank, Kind::Read, ctx)? {
        Some(b) => raw.copy_from_slice(b),
        None => return Ok(()),
    }
    if let Some(b) = slot(Space::Global, dst, rank, Kind::Write, ctx)? {
        b.copy_from_slice(&raw);
    }
    Ok(())
}
