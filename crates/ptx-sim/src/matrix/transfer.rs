//! Matrices between memory and registers: `ldmatrix`, `stmatrix`, `movmatrix` (8x8 matrices of 16-bit elements, a row address
//! per lane) and `wmma.load`, `wmma.store` (whole fragments, one address and a stride).
//!
//! Every byte passes through [`Memory::part`], so bounds, initialisation and races are checked as for any access; the thread
//! that a finding names is the one whose address it is.

use super::fragment::{Fragment, Role, Shape, registers};
use crate::access::{Kind, Memory, deliver32, deliver64, value};
use crate::error::Step;
use crate::isa::{NONE, Slot, Space};
use crate::lanes::{Lane, Regs};

/// The data of an `ldmatrix` or `stmatrix`: register `i` belongs to matrix `i`, whose rows lanes `8 * i ..` point to.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub regs: Box<[Slot]>,
    pub transposed: bool,
}

/// Reads `bytes` (at most 16) per lane of `mask`, little-endian.
fn gather(mem: &mut Memory<'_>, space: Space, addrs: &[u64; 32], bytes: u32, mask: u32) -> Step<[u128; 32]> {
    let mut out = [u128::from_le_bytes([crate::memory::POISON; 16]); 32];
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(space, addrs, todo, bytes, bytes, Kind::Read)?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            let mut raw = [0; 16];
            arena.read(offs[l], &mut raw[..bytes as usize]);
            out[l] = u128::from_le_bytes(raw);
        }
    }
    Ok(out)
}

/// Writes `bytes` (at most 16) per lane of `mask`.
fn scatter(
    mem: &mut Memory<'_>,
    space: Space,
    addrs: &[u64; 32],
    bytes: u32,
    mask: u32,
    v: &[u128; 32],
) -> Step {
    let mut todo = mask;
    while todo != 0 {
        let (arena, offs, part) = mem.part(space, addrs, todo, bytes, bytes, Kind::Write)?;
        todo &= !part;
        let Some(arena) = arena else { continue };
        for l in (0..32).filter(|l| part >> l & 1 != 0) {
            let raw = v[l].to_le_bytes();
            arena.write(offs[l], &raw[..bytes as usize]);
        }
    }
    Ok(())
}

/// Place of the two elements that `lane` holds of an 8x8 matrix: (row, column) each.
fn pair(lane: usize, transposed: bool) -> [(usize, usize); 2] {
    let (g, t) = (lane / 4, 2 * (lane % 4));
    if transposed { [(t, g), (t + 1, g)] } else { [(g, t), (g, t + 1)] }
}

impl Rows {
    /// Lanes whose addresses count.
    fn lanes(&self) -> u32 {
        ((1u64 << (8 * self.regs.len())) - 1) as u32
    }

    pub(super) fn load(
        &self,
        mem: &mut Memory<'_>,
        space: Space,
        addrs: &[u64; 32],
        regs: &mut Regs<'_>,
        mask: u32,
    ) -> Step {
        let rows = gather(mem, space, addrs, 16, self.lanes() & mask)?;
        for (i, &slot) in self.regs.iter().enumerate() {
            let mut out = [0u32; 32];
            for (l, out) in out.iter_mut().enumerate() {
                let [lo, hi] =
                    pair(l, self.transposed).map(|(r, c)| (rows[8 * i + r] >> (16 * c)) as u16 as u32);
                *out = lo | hi << 16;
            }
            deliver32(regs, slot, &out, false, mask);
        }
        Ok(())
    }

    pub(super) fn store(
        &self,
        mem: &mut Memory<'_>,
        space: Space,
        addrs: &[u64; 32],
        regs: &Regs<'_>,
        mask: u32,
    ) -> Step {
        let mut rows = [0u128; 32];
        for (i, &slot) in self.regs.iter().enumerate() {
            let v = value(regs, slot);
            for l in 0..32 {
                for (j, (r, c)) in pair(l, self.transposed).into_iter().enumerate() {
                    rows[8 * i + r] |= ((v[l] >> (16 * j) & 0xffff) as u128) << (16 * c);
                }
            }
        }
        scatter(mem, space, addrs, 16, self.lanes() & mask, &rows)
    }
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`.
pub(super) fn transpose(d: Slot, s: Slot, regs: &mut Regs<'_>, mask: u32) {
    let v = value(regs, s);
    let mut rows = [[0u32; 8]; 8];
    for l in 0..32 {
        for (j, (r, c)) in pair(l, false).into_iter().enumerate() {
            rows[r][c] = (v[l] >> (16 * j)) as u32 & 0xffff;
        }
    }
    let mut out = [0u32; 32];
    for (l, out) in out.iter_mut().enumerate() {
        let [lo, hi] = pair(l, true).map(|(r, c)| rows[r][c]);
        *out = lo | hi << 16;
    }
    deliver32(regs, d, &out, false, mask);
}

/// The data of a `wmma.load` or `wmma.store`.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub shape: Shape,
    pub role: Role,
    pub fragment: Fragment,
    /// Consecutive elements lie along a row (`.row`), or along a column.
    pub row_major: bool,
    /// Elements between rows (or columns): a row of the constant table or a register, `NONE` for the tile's own width.
    pub stride: u32,
}

impl Tile {
    /// Per lane, the distance in elements between rows (or columns).
    fn strides(&self, regs: &Regs<'_>) -> [u32; 32] {
        let (rows, columns) = self.shape.size(self.role);
        match self.stride {
            NONE => [if self.row_major { columns } else { rows }; 32],
            s => *u32::src(regs, s),
        }
    }

    /// Address of element `j` of register `r` in each lane.
    fn addresses(&self, addrs: &[u64; 32], strides: &[u32; 32], r: usize, j: usize) -> [u64; 32] {
        let (_, columns) = self.shape.size(self.role);
        let e = self.fragment.format.per_register() as usize;
        let place = &self.fragment.place[(r * e + j) * 32..][..32];
        let bits = self.fragment.format.bits() as u64;
        let mut out = [0; 32];
        for l in 0..32 {
            let (row, column) = (place[l] as u64 / columns as u64, place[l] as u64 % columns as u64);
            let (major, minor) = if self.row_major { (row, column) } else { (column, row) };
            let at = (major * strides[l] as u64).wrapping_add(minor) * bits / 8;
            out[l] = addrs[l].wrapping_add(at);
        }
        out
    }

    /// Whether the elements of a register lie side by side in memory.
    fn packed(&self) -> bool {
        self.fragment.format.bits() < 32 && self.row_major == (self.role != Role::B)
    }

    pub(super) fn load(
        &self,
        mem: &mut Memory<'_>,
        space: Space,
        addrs: &[u64; 32],
        regs: &mut Regs<'_>,
        mask: u32,
    ) -> Step {
        let strides = self.strides(regs);
        let format = self.fragment.format;
        let e = format.per_register() as usize;
        let distinct = registers(self.shape, self.role, format);
        let mut loaded: Vec<[u64; 32]> = Vec::with_capacity(distinct);
        for (r, &slot) in self.fragment.regs.iter().enumerate() {
            let mut v = [0u64; 32];
            if r >= distinct {
                v = loaded[r % distinct];
            } else if self.packed() {
                let at = self.addresses(addrs, &strides, r, 0);
                v = gather(mem, space, &at, 4, mask)?.map(|x| x as u32 as u64);
            } else {
                for j in 0..e {
                    let at = self.addresses(addrs, &strides, r, j);
                    let x = gather(mem, space, &at, format.bits() / 8, mask)?;
                    let keep = if format.bits() == 64 { !0 } else { (1u64 << format.bits()) - 1 };
                    for l in 0..32 {
                        v[l] |= (x[l] as u64 & keep) << (j as u32 * format.bits());
                    }
                }
            }
            loaded.push(v);
            deliver64(regs, slot, &v, mask);
        }
        Ok(())
    }

    pub(super) fn store(
        &self,
        mem: &mut Memory<'_>,
        space: Space,
        addrs: &[u64; 32],
        regs: &Regs<'_>,
        mask: u32,
    ) -> Step {
        let strides = self.strides(regs);
        let format = self.fragment.format;
        for (r, &slot) in self.fragment.regs.iter().enumerate() {
            let v = value(regs, slot);
            if self.packed() {
                let at = self.addresses(addrs, &strides, r, 0);
                scatter(mem, space, &at, 4, mask, &v.map(|x| x as u32 as u128))?;
                continue;
            }
            for j in 0..format.per_register() {
                let at = self.addresses(addrs, &strides, r, j as usize);
                let x = v.map(|x| (x >> (j * format.bits())) as u128);
                scatter(mem, space, &at, format.bits() / 8, mask, &x)?;
            }
        }
        Ok(())
    }
}
