//! Loads and stores: from a lane's addresses to its registers and back, in as many parts as spaces and allocations the
//! lanes' addresses fall into.
//!
//! Nearly all instructions have one part of 32 lanes; that way is inlined into the inner loop, the other is not.

use crate::ErrorKind;
use crate::access::{Kind, Memory, deliver32, deliver64, first, value};
use crate::arena::{Arena, Offsets};
use crate::error::{Fault, Step};
use crate::isa::{Mem, NONE, Order, PARAM_BASE, Space, WIDE, WINDOW};
use crate::lanes::{Lane, Regs};

impl Memory<'_> {
    /// Readies the view for the next instruction: its lanes, strength and line.
    #[inline(always)]
    pub(crate) fn turn(&mut self, lanes: u32, order: Order, line: u32) {
        self.actor.lanes = lanes;
        self.order = order;
        self.line = line;
        self.repeats = 0;
    }

    /// `ld`.
    #[inline(always)]
    pub(crate) fn load(
        &mut self,
        m: &Mem,
        addrs: &[u64; 32],
        regs: &mut Regs<'_>,
        mask: u32,
        offs: &mut Offsets,
    ) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        if mask == !0
            && let Some(arena) = self.whole(m.space, addrs, bytes, Kind::Read, offs)?
        {
            fetch(arena, m, regs, !0, offs);
            return Ok(());
        }
        self.load_parts(m, addrs, regs, mask, offs)
    }

    #[inline(never)]
    fn load_parts(
        &mut self,
        m: &Mem,
        addrs: &[u64; 32],
        regs: &mut Regs<'_>,
        mask: u32,
        offs: &mut Offsets,
    ) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        let mut todo = mask;
        while todo != 0 {
            let in_params = m.space == Space::Param
                || (m.space == Space::Generic && addrs[first(todo)].wrapping_sub(PARAM_BASE) < WINDOW);
            if in_params {
                todo &= !self.load_param(m, addrs, regs, todo)?;
                continue;
            }
            let (arena, part) = self.part_into(m.space, addrs, todo, bytes, bytes, Kind::Read, offs)?;
            todo &= !part;
            if let Some(arena) = arena {
                fetch(arena, m, regs, part, offs);
                continue;
            }
            let poison = u64::from_le_bytes([crate::memory::POISON; 8]);
            for &slot in m.regs[..m.count as usize].iter().filter(|s| **s != NONE) {
                match m.size {
                    8 => deliver64(regs, slot, &[poison; 32], part),
                    _ => deliver32(regs, slot, &[poison as u32; 32], m.signed, part),
                }
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn load_param(&mut self, m: &Mem, addrs: &[u64; 32], regs: &mut Regs<'_>, mask: u32) -> Step<u32> {
        let base = if m.space == Space::Param { 0 } else { PARAM_BASE };
        let lead = addrs[first(mask)];
        let at = lead.wrapping_sub(base);
        // Lanes that ask for the same place: nearly always all of them.
        let part = (0..32).filter(|&l| addrs[l] == lead).fold(0, |p, l| p | 1u32 << l) & mask;
        let bytes = m.size as usize * m.count as usize;
        let Some(data) = usize::try_from(at).ok().and_then(|a| self.params.get(a..a.checked_add(bytes)?))
        else {
            let l = first(mask) as u32;
            return Err(Fault::lane(ErrorKind::OutOfBounds, l, lead, self.describe(Space::Param, at)));
        };
        if at % bytes.max(1) as u64 != 0 && self.checks.misaligned {
            let text = format!("{bytes} bytes at offset {at} of the kernel's parameters");
            return Err(Fault::lane(ErrorKind::Misaligned, first(mask) as u32, lead, text));
        }
        for k in 0..m.count as usize {
            let mut raw = [0; 8];
            raw[..m.size as usize].copy_from_slice(&data[k * m.size as usize..(k + 1) * m.size as usize]);
            let v = u64::from_le_bytes(raw);
            let v = match (m.signed, m.size) {
                (true, 1) => v as i8 as i64 as u64,
                (true, 2) => v as i16 as i64 as u64,
                (true, 4) => v as i32 as i64 as u64,
                _ => v,
            };
            if m.regs[k] != NONE {
                deliver64(regs, m.regs[k], &[v; 32], part);
            }
        }
        Ok(part)
    }

    /// `st`.
    #[inline(always)]
    pub(crate) fn store(
        &mut self,
        m: &Mem,
        addrs: &[u64; 32],
        regs: &Regs<'_>,
        mask: u32,
        offs: &mut Offsets,
    ) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        if self.checks.shared_races || self.checks.global_races {
            let keep = !0u64 >> (64 - 8 * (m.size as u32).min(8));
            let alike =
                |slot: u32, a: usize, b: usize| (value(regs, slot)[a] ^ value(regs, slot)[b]) & keep == 0;
            let equal = |a, b| m.regs[..m.count as usize].iter().all(|&slot| alike(slot, a, b));
            self.repeats = crate::repeat::repeats(addrs, mask, equal);
        }
        if mask == !0
            && let Some(arena) = self.whole(m.space, addrs, bytes, Kind::Write, offs)?
        {
            deposit(arena, m, regs, !0, offs);
            return Ok(());
        }
        self.store_parts(m, addrs, regs, mask, offs)
    }

    #[inline(never)]
    fn store_parts(
        &mut self,
        m: &Mem,
        addrs: &[u64; 32],
        regs: &Regs<'_>,
        mask: u32,
        offs: &mut Offsets,
    ) -> Step {
        let bytes = m.size as u32 * m.count as u32;
        let mut todo = mask;
        while todo != 0 {
            let (arena, part) = self.part_into(m.space, addrs, todo, bytes, bytes, Kind::Write, offs)?;
            todo &= !part;
            if let Some(arena) = arena {
                deposit(arena, m, regs, part, offs);
            }
        }
        Ok(())
    }
}

/// Loaded elements, into their registers.
#[inline(always)]
fn fetch(a: &Arena, m: &Mem, regs: &mut Regs<'_>, mask: u32, offs: &Offsets) {
    for k in 0..m.count as usize {
        let (slot, add) = (m.regs[k], k * m.size as usize);
        match m.size {
            _ if slot == NONE => {}
            // Registers of the element's width take it as it is.
            4 if slot & WIDE == 0 => a.gather32(offs, add, mask, u32::dst(regs, slot)),
            8 if slot & WIDE != 0 => a.gather64(offs, add, mask, u64::dst(regs, slot & !WIDE)),
            _ => fetch_converted(a, m, slot, add, regs, mask, offs),
        }
    }
}

/// A loaded element into a register of another width.
#[inline(never)]
fn fetch_converted(
    a: &Arena,
    m: &Mem,
    slot: u32,
    add: usize,
    regs: &mut Regs<'_>,
    mask: u32,
    offs: &Offsets,
) {
    match m.size {
        8 => {
            let mut v = [0; 32];
            a.gather64(offs, add, mask, &mut v);
            deliver64(regs, slot, &v, mask);
        }
        4 => {
            let mut v = [0; 32];
            a.gather32(offs, add, mask, &mut v);
            deliver32(regs, slot, &v, m.signed, mask);
        }
        2 => {
            let mut v = [0; 32];
            a.gather16(offs, add, mask, &mut v);
            let wide = v.map(|x| if m.signed { x as i16 as i32 as u32 } else { x as u32 });
            deliver32(regs, slot, &wide, m.signed, mask);
        }
        _ => {
            let mut v = [0; 32];
            a.gather8(offs, add, mask, &mut v);
            let wide = v.map(|x| if m.signed { x as i8 as i32 as u32 } else { x as u32 });
            deliver32(regs, slot, &wide, m.signed, mask);
        }
    }
}

/// Elements to store, from their registers.
#[inline(always)]
fn deposit(arena: &mut Arena, m: &Mem, regs: &Regs<'_>, mask: u32, offs: &Offsets) {
    for k in 0..m.count as usize {
        let (slot, add) = (m.regs[k], k * m.size as usize);
        match m.size {
            4 if slot & WIDE == 0 => arena.scatter32(offs, add, mask, u32::src(regs, slot)),
            8 if slot & WIDE != 0 => arena.scatter64(offs, add, mask, u64::src(regs, slot & !WIDE)),
            _ => deposit_converted(arena, m, slot, add, regs, mask, offs),
        }
    }
}

/// An element to store from a register of another width.
#[inline(never)]
fn deposit_converted(
    arena: &mut Arena,
    m: &Mem,
    slot: u32,
    add: usize,
    regs: &Regs<'_>,
    mask: u32,
    offs: &Offsets,
) {
    match m.size {
        8 => arena.scatter64(offs, add, mask, &value(regs, slot)),
        4 => arena.scatter32(offs, add, mask, &value(regs, slot).map(|v| v as u32)),
        2 => arena.scatter16(offs, add, mask, &value(regs, slot).map(|v| v as u16)),
        _ => arena.scatter8(offs, add, mask, &value(regs, slot).map(|v| v as u8)),
    }
}
