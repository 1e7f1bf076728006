//! Tensor copies in tile mode: from a tensor map and coordinates to the segments a copy moves.
//!
//! Element `(i0, i1, ...)` of the box is the tensor's element at the coordinates plus `(i0, i1 * s1, i2 * s2, ...)`, with the element
//! strides `s`. The box lies densely in shared memory, dimension 0 innermost; with a swizzle each row of dimension 0 takes the full
//! width of the swizzle, and the 16-byte chunk at an address moves to the address with bits 4 to 6 (5, 4) replaced by their XOR
//! with bits 7 to 9 (8, 7), for 128 (64, 32) bytes. Elements outside the tensor are filled when loading and skipped when storing.

use super::issue::Plan;
use super::tensor_map::{Interleave, OobFill, Swizzle, TensorMap, TensorMapType};
use super::{Elements, Route, Segment};
use crate::ErrorKind;
use crate::error::{Fault, Step};
use crate::isa::{AtomOp, AtomType};

/// Bytes of shared memory that the box takes, and bytes of its elements.
pub(super) fn box_bytes(map: &TensorMap) -> (u64, u64) {
    let rows: u64 = (1..map.rank).map(|d| map.count(d) as u64).product();
    let inner = (map.count(0) * map.ty.bytes()) as u64;
    let pitch = (map.swizzle.span() as u64).max(inner);
    (rows * pitch, rows * inner)
}

/// A rule that the map breaks for a copy of `rank` dimensions.
pub(super) fn check(map: &TensorMap, rank: usize) -> Step {
    if map.rank != rank {
        let text = format!("the tensor map is of rank {}, the instruction of {rank}", map.rank);
        return Err(Fault::new(ErrorKind::BadTensorMap, text));
    }
    map.check().map_err(|e| Fault::new(ErrorKind::BadTensorMap, e.to_string()))?;
    if map.interleave != Interleave::None {
        let text = "tensor copies with an interleaved layout cannot be executed";
        return Err(Fault::new(ErrorKind::UnsupportedInstruction, text));
    }
    Ok(())
}

/// Alignment of the box in shared memory.
pub(super) const ALIGN: u64 = 128;

/// Segments of a copy between a box at `shared` and the tensor at `from`.
pub(super) fn plan(map: &TensorMap, from: &[i32], shared: u64, load: bool, op: Option<AtomOp>) -> Step<Plan> {
    let size = map.ty.bytes() as u64;
    let inner = map.count(0) as i64;
    let pitch = (map.swizzle.span() as u64).max(inner as u64 * size);
    // The part of each row that lies inside the tensor, in elements.
    let start = from[0] as i64;
    let low = (-start).clamp(0, inner);
    let high = (map.dims[0] as i64 - start).clamp(low, inner);
    let mut segments = Vec::new();
    let mut index = [0u32; 5];
    let mut row = shared;
    loop {
        let mut address = map.address.wrapping_add((start.wrapping_mul(size as i64)) as u64);
        let mut inside = true;
        for d in 1..map.rank {
            let c = from[d] as i64 + (index[d] * map.element_strides[d]) as i64;
            inside &= (0..map.dims[d] as i64).contains(&c);
            address = address.wrapping_add((c as u64).wrapping_mul(map.strides[d - 1]));
        }
        let (low, high) = if inside { (low as u64 * size, high as u64 * size) } else { (0, 0) };
        let cuts = [(0, low, false), (low, high, true), (high, inner as u64 * size, false)];
        for (from, to, real) in cuts {
            if real || load {
                part(&mut segments, row, from, to, real.then_some(address), map.swizzle);
            }
        }
        row += pitch;
        let mut d = 1;
        while d < map.rank {
            index[d] += 1;
            if index[d] < map.count(d) {
                break;
            }
            index[d] = 0;
            d += 1;
        }
        if d >= map.rank {
            break;
        }
    }
    let reduce = match op {
        Some(op) => Some((op, element(map.ty, op)?)),
        None => None,
    };
    let flush = matches!(map.ty, TensorMapType::F32Ftz | TensorMapType::Tf32Ftz);
    let tf32 = load && matches!(map.ty, TensorMapType::Tf32 | TensorMapType::Tf32Ftz);
    let elements = Elements { size: size as u32, nan: map.fill == OobFill::Nan, flush: flush && load, tf32 };
    let route = if load { Route::Load } else { Route::Store };
    Ok(Plan { route, segments, bytes: box_bytes(map).1, reduce, elements, data: None })
}

/// Bytes `from..to` of the row at shared address `row`, in pieces that stay together.
fn part(out: &mut Vec<Segment>, row: u64, from: u64, to: u64, address: Option<u64>, swizzle: Swizzle) {
    let mut at = from;
    while at < to {
        let end = if swizzle == Swizzle::None { to } else { to.min((at / 16 + 1) * 16) };
        let far = address.map(|a| a.wrapping_add(at));
        out.push(Segment { shared: swizzle.apply(row + at), far, len: (end - at) as u32 });
        at = end;
    }
}

/// The type a reduction computes in.
fn element(ty: TensorMapType, op: AtomOp) -> Step<AtomType> {
    let float = matches!(op, AtomOp::Add | AtomOp::Min | AtomOp::Max);
    let found = match ty {
        TensorMapType::U32 => Some(AtomType::U32),
        TensorMapType::S32 if !matches!(op, AtomOp::Inc | AtomOp::Dec) => Some(AtomType::S32),
        TensorMapType::U64 if !matches!(op, AtomOp::Inc | AtomOp::Dec) => Some(AtomType::U64),
        TensorMapType::S64 if !matches!(op, AtomOp::Inc | AtomOp::Dec) => Some(AtomType::S64),
        TensorMapType::F16 if float => Some(AtomType::F16),
        TensorMapType::Bf16 if float => Some(AtomType::Bf16),
        TensorMapType::F32 | TensorMapType::F32Ftz if op == AtomOp::Add => Some(AtomType::F32),
        TensorMapType::F64 if op == AtomOp::Add => Some(AtomType::F64),
        _ => None,
    };
    found.ok_or_else(|| {
        let text = format!("a tensor reduction by {op:?} of elements of type {ty:?} cannot be executed");
        Fault::new(ErrorKind::UnsupportedInstruction, text)
    })
}
