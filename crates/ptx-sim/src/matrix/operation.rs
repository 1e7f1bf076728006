//! One `wgmma.mma_async`: its decoded form, and its life from the issue by four warps to the multiplication.

use super::Accumulation;
use super::descriptor::Descriptor;
use super::dot::{self, Pairing};
use super::fragment::{Fragment, Shape};
use super::number::{Format, canonical, f16_bits};
use crate::ErrorKind;
use crate::access::Memory;
use crate::error::{Fault, Step};
use crate::race::{Actor, Key};
use std::ops::Range;
use std::sync::Arc;

/// Where A comes from.
#[derive(Clone, Debug)]
pub(crate) enum Factor {
    Registers(Fragment),
    /// The operand that holds a descriptor.
    Shared(u32),
}

/// A decoded `wgmma.mma_async`.
#[derive(Clone, Debug)]
pub(crate) struct Wgmma {
    /// Of the whole warpgroup.
    pub shape: Shape,
    pub a: Factor,
    pub b: u32,
    /// Of one warp: 16 rows.
    pub d: Fragment,
    pub formats: [Format; 2],
    pub scale_d: u32,
    pub negate: [bool; 2],
    /// The operand lies MN-major in shared memory.
    pub transposed: [bool; 2],
    pub saturate: bool,
}

/// Where an instruction is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub warp: u32,
    pub frame: u32,
    pub func: u32,
    pub pc: u32,
    pub line: u32,
    /// Warps of the block that have 32 threads.
    pub warps: u32,
}

/// What a warp's part of D starts from: bits of 16 rows, or the result of an earlier operation.
#[derive(Debug)]
pub(super) enum Start {
    Zero,
    Values(Vec<u32>),
    Chained(u64),
}

/// An operand in shared memory: addresses of its chunks, and what they held at the time of issue.
#[derive(Debug, Default)]
pub(super) struct Tile {
    chunks: Vec<Option<u32>>,
    held: Vec<[u8; 16]>,
}

/// An operation that some warps of the warpgroup have issued.
#[derive(Debug)]
pub(super) struct Operation {
    pub x: Arc<Wgmma>,
    pub site: Site,
    /// To the race detector: who reads the shared operands, for each warp that issued it (each knows only what that warp
    /// knew), and what the landing is known by.
    pub actors: Vec<Actor>,
    pub key: Key,
    /// Descriptors and scale-d, which all warps must agree in.
    pub words: [u64; 3],
    /// Warps that have issued it.
    pub issued: u32,
    pub a: Tile,
    pub b: Tile,
    /// A from registers: elements of 64 x k.
    pub rows: Vec<f32>,
    pub integers: Vec<i32>,
    pub start: [Start; 4],
    /// Bits of D, row by row, once landed.
    pub result: Option<Vec<u32>>,
}

/// Elements of an operand along M or N, and along K.
fn extent(x: &Wgmma, which: usize) -> (u32, u32) {
    (if which == 0 { x.shape.m } else { x.shape.n }, x.shape.k)
}

/// Address of every chunk of an operand, in the order [`unpack`] reads them.
fn chunks(x: &Wgmma, which: usize, descriptor: u64) -> impl Iterator<Item = u64> {
    let d = Descriptor::new(descriptor);
    let (mn, k) = extent(x, which);
    let transposed = x.transposed[which];
    let (outer, inner) = if transposed { (k, mn / 8) } else { (mn, k * x.formats[which].bits() / 128) };
    (0..outer as u64).flat_map(move |o| {
        (0..inner as u64).map(move |i| if transposed { d.mn_major(i, o) } else { d.k_major(o, i) })
    })
}

/// Calls `f(mn, k, bits)` for every element.
fn unpack(x: &Wgmma, which: usize, held: &[[u8; 16]], mut f: impl FnMut(usize, usize, u32)) {
    let (mn, k) = extent(x, which);
    let bits = x.formats[which].bits() as usize;
    let per = 128 / bits;
    let inner = if x.transposed[which] { mn as usize / 8 } else { k as usize / per };
    let keep = if bits == 32 { !0 } else { (1u32 << bits) - 1 };
    for (n, chunk) in held.iter().enumerate() {
        let (o, i) = (n / inner, n % inner);
        let word = u128::from_le_bytes(*chunk);
        for j in 0..per {
            let v = (word >> (j * bits)) as u32 & keep;
            if x.transposed[which] { f(i * per + j, o, v) } else { f(o, i * per + j, v) }
        }
    }
}

pub(super) fn integer(f: Format) -> bool {
    matches!(f, Format::S8 | Format::U8 | Format::B1)
}

/// Checks every chunk of an operand: their places in shared memory.
pub(super) fn locate(
    x: &Wgmma,
    which: usize,
    descriptor: u64,
    mem: &mut Memory<'_>,
) -> Step<Vec<Option<u32>>> {
    let place = |address| {
        let at = mem.proxy_read(address, 16).map_err(|mut f| {
            f.message = format!("operand {}: {}", ["A", "B"][which], f.message);
            f
        })?;
        Ok(at.map(|a| a as u32))
    };
    chunks(x, which, descriptor).map(place).collect()
}

impl Tile {
    pub(super) fn new(x: &Wgmma, which: usize, descriptor: u64, mem: &mut Memory<'_>) -> Step<Tile> {
        let mut tile = Tile { chunks: locate(x, which, descriptor, mem)?, held: Vec::new() };
        if mem.checks.wgmma {
            tile.held = tile.read(mem);
        }
        Ok(tile)
    }

    /// The chunks as ranges of offsets, in order and merged.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at: Vec<u32> = self.chunks.iter().filter_map(|c| *c).collect();
        at.sort_unstable();
        let mut out: Vec<Range<usize>> = Vec::new();
        for a in at.into_iter().map(|a| a as usize) {
            match out.last_mut() {
                Some(r) if r.end >= a => r.end = r.end.max(a + 16),
                _ => out.push(a..a + 16),
            }
        }
        out.into_iter()
    }

    /// What the chunks hold now.
    fn read(&self, mem: &Memory<'_>) -> Vec<[u8; 16]> {
        let bytes = &mem.shared[mem.rank].arena.bytes;
        let mut out = vec![[crate::memory::POISON; 16]; self.chunks.len()];
        for (o, at) in out.iter_mut().zip(&self.chunks) {
            if let Some(at) = at {
                o.copy_from_slice(&bytes[*at as usize..*at as usize + 16]);
            }
        }
        out
    }
}

impl Operation {
    pub(super) fn name(&self) -> String {
        format!("the wgmma at PTX line {}", self.site.line)
    }

    /// Reads shared operands as they are now, and multiplies.
    pub(super) fn land(
        &mut self,
        mem: &mut Memory<'_>,
        mode: Accumulation,
        chained: &dyn Fn(u64) -> Vec<u32>,
    ) -> Step {
        let x = self.x.clone();
        let Shape { m, n, k } = x.shape;
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let now = [self.a.read(mem), self.b.read(mem)];
        if mem.checks.wgmma {
            for (which, tile) in [&self.a, &self.b].into_iter().enumerate() {
                if let Some(i) = now[which].iter().zip(&tile.held).position(|(a, b)| a != b) {
                    let address = tile.chunks[i].unwrap_or(0) as u64;
                    let what = mem.shared[mem.rank].describe(address);
                    let text = format!(
                        "operand {} of {} changed before its group was waited for: {what}",
                        ["A", "B"][which],
                        self.name()
                    );
                    return Err(Fault::lane(ErrorKind::WgmmaOperandOverwritten, 0, address, text));
                }
            }
        }
        for actor in std::mem::take(&mut self.actors) {
            for tile in [&self.a, &self.b] {
                mem.asynchronous_reads(actor, tile.ranges(), self.site.line)?;
            }
            mem.races.release(actor, self.key);
            mem.races.retire(actor);
        }
        let mut start = vec![0u32; m * n];
        for (w, s) in self.start.iter().enumerate() {
            let rows = &mut start[w * 16 * n..][..16 * n];
            match s {
                Start::Zero => {}
                Start::Values(v) => rows.copy_from_slice(v),
                Start::Chained(number) => rows.copy_from_slice(&chained(*number)[w * 16 * n..][..16 * n]),
            }
        }
        let in_registers = matches!(x.a, Factor::Registers(_));
        let [fa, fb] = x.formats;
        let result = if integer(fa) {
            let (mut a, mut b) = (std::mem::take(&mut self.integers), vec![0; k * n]);
            if !in_registers {
                a = vec![0; m * k];
                unpack(&x, 0, &now[0], |mn, k_, v| a[mn * k + k_] = fa.integer(v));
            }
            unpack(&x, 1, &now[1], |mn, k_, v| b[k_ * n + mn] = fb.integer(v));
            let mut acc: Vec<i32> = start.into_iter().map(|v| v as i32).collect();
            dot::integers(x.shape, &a, &b, &mut acc, Pairing::Multiply, x.saturate);
            acc.into_iter().map(|v| v as u32).collect()
        } else {
            let (mut a, mut b) = (std::mem::take(&mut self.rows), vec![0.0; k * n]);
            if !in_registers {
                a = vec![0.0; m * k];
                unpack(&x, 0, &now[0], |mn, k_, v| a[mn * k + k_] = fa.float(v));
            }
            unpack(&x, 1, &now[1], |mn, k_, v| b[k_ * n + mn] = fb.float(v));
            for (negate, factor) in x.negate.into_iter().zip([&mut a, &mut b]) {
                if negate {
                    factor.iter_mut().for_each(|v| *v = -*v);
                }
            }
            let half = x.d.format == Format::F16;
            let mut acc: Vec<f32> = start.into_iter().map(|v| x.d.format.float(v)).collect();
            dot::floats(x.shape, fa, &a, &b, &mut acc, half, mode);
            let bits = |v: f32| if half { f16_bits(v) as u32 } else { canonical(v).to_bits() };
            acc.into_iter().map(bits).collect()
        };
        self.result = Some(result);
        Ok(())
    }
}
