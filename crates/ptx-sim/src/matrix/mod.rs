//! Matrix instructions: `mma`, `wmma`, `ldmatrix`, `stmatrix`, `movmatrix`, `wgmma`.
//!
//! The decoder ([`crate::decode`]) turns an instruction into a [`Matrix`], with the place of every element already worked out
//! ([`fragment`]); [`execute`] runs it for a whole warp. Arithmetic is in [`dot`], number formats in [`number`]. All of them
//! are `.sync.aligned`: the 32 lanes of the warp execute them together, and [`complete`] says whether they do.

mod descriptor;
mod dot;
pub(crate) mod flight;
mod fragment;
mod multiply;
pub(crate) mod number;
mod operation;
mod transfer;
pub(crate) mod wgmma;

use crate::ErrorKind;
use crate::access::Memory;
use crate::config::Checks;
use crate::error::{Fault, Step};
use crate::isa::{Base, Slot, Space};
use crate::lanes::Regs;

pub use dot::Accumulation;
pub(crate) use dot::Pairing;
pub(crate) use fragment::{Fragment, Role, Shape, registers};
pub(crate) use multiply::Multiply;
pub(crate) use number::Format;
pub(crate) use transfer::{Rows, Tile};

/// An address operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub space: Space,
    pub base: Base,
    pub offset: i64,
}

/// A decoded matrix instruction.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    /// `mma` and `wmma.mma`.
    Multiply(Multiply),
    /// `ldmatrix`.
    LoadRows(Place, Rows),
    /// `stmatrix`.
    StoreRows(Place, Rows),
    /// `movmatrix`: destination and source.
    Transpose(Slot, Slot),
    /// `wmma.load`.
    LoadTile(Place, Tile),
    /// `wmma.store`.
    StoreTile(Place, Tile),
}

impl Matrix {
    /// The address operand, if it has one.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Matrix::LoadRows(p, _)
            | Matrix::StoreRows(p, _)
            | Matrix::LoadTile(p, _)
            | Matrix::StoreTile(p, _) => Some(*p),
            _ => None,
        }
    }

    /// Whether lanes may rely on all lanes' accesses having happened: loads hand every lane what others' addresses named.
    pub(crate) fn orders_lanes(&self) -> bool {
        matches!(self, Matrix::LoadRows(..) | Matrix::LoadTile(..))
    }
}

/// Whether a whole warp is at the instruction; `false` sends the `active` lanes to wait for the rest of the `live` ones.
pub(crate) fn complete(active: u32, live: u32, checks: &Checks) -> Step<bool> {
    if active == !0 {
        return Ok(true);
    }
    if active != live {
        return Ok(false);
    }
    if !checks.barriers {
        return Ok(true);
    }
    let mut f = Fault::new(
        ErrorKind::DivergentCollective,
        format!("needs all 32 lanes of the warp; lanes {:#010x} have exited or were never launched", !active),
    );
    f.lane = Some(active.trailing_zeros());
    Err(f)
}

/// Runs an instruction for the lanes of `mask`; `addrs` are the lanes' values of its address operand.
pub(crate) fn execute(
    x: &Matrix,
    mem: &mut Memory<'_>,
    regs: &mut Regs<'_>,
    addrs: &[u64; 32],
    mask: u32,
    mode: Accumulation,
) -> Step {
    match x {
        Matrix::Multiply(m) => {
            let (kind, flop) = m.cost();
            mem.stats.tensor_flop[kind as usize] += flop;
            m.execute(regs, mask, mode);
            Ok(())
        }
        Matrix::LoadRows(p, rows) => rows.load(mem, p.space, addrs, regs, mask),
        Matrix::StoreRows(p, rows) => rows.store(mem, p.space, addrs, regs, mask),
        Matrix::Transpose(d, s) => {
            transfer::transpose(*d, *s, regs, mask);
            Ok(())
        }
        Matrix::LoadTile(p, tile) => tile.load(mem, p.space, addrs, regs, mask),
        Matrix::StoreTile(p, tile) => tile.store(mem, p.space, addrs, regs, mask),
    }
}
