//! Grouped products: many problems of any shapes, layouts and epilogues, in one launch of `gpu_kernels::gemm::grouped`.
//!
//! A [`Group`] is made once of a list of problems and their operands: it checks them, writes a table of addresses, extents
//! and epilogues to the device, and keeps room for operands that kernels cannot read as they lie. It runs any number of
//! times on the same operands, and then neither allocates nor uploads:
//!
//! | launch | when |
//! |---|---|
//! | `gemm_grouped_pack` | some operand has to be packed, by the rules of [`tensor`]; each once, whoever shares it |
//! | the tile of 128 x 128 | products of more than 64 rows and columns, where such tiles are enough to fill a GPU |
//! | the tile of 64 x 64 | all others |
//!
//! so a launch or two where nothing is packed. Layouts share a launch: a block reads its product's from the table. A
//! product has the bits that [`matmul_by`](super::matmul_by) gives it by the candidate of the same tile where that does
//! not split K; what else is in the group changes nothing. Tiles of long sums are listed first, so that short ones fill
//! the end of a launch; of equal ones those of the earlier product. A batch is as many products of the table. Sums of C
//! ([`Reduce`]) are refused.
//!
//! All problems of a group have one precision, by `mma.sync`, and for `Fp32` by FMA. Hopper's `wgmma` is not grouped, and so
//! there are no groups of 8-bit floats but on `cpu`, where the problems are computed one after the other.
//!
//! The simulator has executed these launches; no GPU has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use gpu_kernels::gemm::epilogue::{REDUCE_NONE, kind};
use gpu_kernels::gemm::tensor::{LARGE, SMALL};
use gpu_kernels::gemm::{self as kernels, grouped, pack};
use gpu_kernels::grouped::task;

use super::tensor::{element_code, plan};
use super::{
    Addresses, Candidate, Epilogue, MULTIPROCESSORS, MatmulError, Name, Operand, OperandMut, Precision,
    Problem, Reduce, Unsupported, cpu, simt, tensor,
};
use crate::device::{Buffer, DType, Device, DeviceError, DeviceKind, DevicePtrMut, Kernel, Launch};
use crate::kernel;
use crate::ops::grouped::{Table, word};

/// The kernels that this file launches.
pub const KERNELS: &[&str] = &[
    "gemm_grouped_bf16_128",
    "gemm_grouped_bf16_64",
    "gemm_grouped_f16_128",
    "gemm_grouped_f16_64",
    "gemm_grouped_tf32_128",
    "gemm_grouped_tf32_64",
    "gemm_grouped_bf16x6_128",
    "gemm_grouped_bf16x6_64",
    "gemm_grouped_f32_128",
    "gemm_grouped_f32_64",
    "gemm_grouped_pack",
];

/// What is wrong with a group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A problem, its operands, or that no kernel does it.
    #[error("problem {index} of the group: {source}")]
    Member {
        /// Its place.
        index: usize,
        /// What is wrong with it.
        source: MatmulError,
    },
    /// Problems of different precisions.
    #[error(
        "problem {index} of the group computes in {got}, problem 0 in {expected}; make a group for each precision"
    )]
    Precision {
        /// Its place.
        index: usize,
        /// Its precision.
        got: Precision,
        /// That of the first.
        expected: Precision,
    },
    /// More or fewer operands than problems.
    #[error("the group has {problems} problems, and operands of {operands}")]
    Count {
        /// Problems.
        problems: usize,
        /// Operands given.
        operands: usize,
    },
    /// The group was made for other memory.
    #[error(
        "problem {index} of the group: {name} is not the memory that the group was made for; make another group"
    )]
    Moved {
        /// The problem's place.
        index: usize,
        /// The operand.
        name: Name,
    },
    /// The device failed, or a launch has more blocks than a grid.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn member(index: usize) -> impl FnOnce(MatmulError) -> GroupError {
    move |source| GroupError::Member { index, source }
}

/// The operands of one problem of a group.
#[derive(Debug)]
pub struct Operands<'a> {
    /// A.
    pub a: Operand<'a>,
    /// B.
    pub b: Operand<'a>,
    /// C.
    pub c: OperandMut<'a>,
    /// Those of the epilogue.
    pub epilogue: Epilogue<'a>,
}

impl<'a> Operands<'a> {
    /// Those of a problem whose epilogue has none.
    pub fn new(
        a: impl Into<Operand<'a>>,
        b: impl Into<Operand<'a>>,
        c: impl Into<OperandMut<'a>>,
    ) -> Operands<'a> {
        Operands { a: a.into(), b: b.into(), c: c.into(), epilogue: Epilogue::default() }
    }

    /// Each with its address, length and type.
    fn memory(&self) -> [Memory; 6] {
        let one = |x: Operand<'_>| (x.address, x.len, x.dtype);
        let some = |x: Option<Operand<'_>>| x.map_or((0, 0, DType::F32), one);
        let Epilogue { bias, extra, sums } = &self.epilogue;
        let sums = sums.as_ref().map(|x| x.at);
        [one(self.a), one(self.b), one(self.c.at), some(*bias), some(*extra), some(sums)]
    }
}

/// Where an operand is, its elements and their type.
type Memory = (u64, usize, DType);

/// The signature of the kernels.
type Product = unsafe fn(*mut u8, *const u64, *const u64);

/// A tile: whose rules and bits it has, and how it is launched.
#[derive(Clone, Copy, Debug)]
struct Tile {
    candidate: &'static Candidate,
    kernel: Kernel<Product>,
    threads: u32,
    shared: u32,
}

impl Tile {
    fn tensor(precision: Precision, tile: kernels::tensor::Tile, kernel: Kernel<Product>) -> Tile {
        let candidate = tensor::of(precision, tile);
        Tile { candidate, kernel, threads: tile.threads(), shared: tile.shared() }
    }

    fn simt(tile: kernels::Tile, kernel: Kernel<Product>) -> Tile {
        Tile { candidate: simt::of(tile), kernel, threads: tile.threads(), shared: 0 }
    }

    /// Tiles of a problem, its batch included.
    fn count(&self, p: &Problem) -> u64 {
        let [m, n, _] = self.candidate.tile.map(|x| x as usize);
        (p.m.div_ceil(m) as u64 * p.n.div_ceil(n) as u64).saturating_mul(p.batch as u64)
    }
}

/// The tiles of a precision, the larger first; none of 8-bit floats.
fn tiles(precision: Precision) -> Option<[Tile; 2]> {
    macro_rules! pair {
        ($large:ident $small:ident) => {
            [
                Tile::tensor(precision, LARGE, kernel!(gemm::grouped::$large)),
                Tile::tensor(precision, SMALL, kernel!(gemm::grouped::$small)),
            ]
        };
    }
    Some(match precision {
        Precision::Bf16 => pair!(gemm_grouped_bf16_128 gemm_grouped_bf16_64),
        Precision::F16 => pair!(gemm_grouped_f16_128 gemm_grouped_f16_64),
        Precision::Tf32 => pair!(gemm_grouped_tf32_128 gemm_grouped_tf32_64),
        Precision::Fp32Fast => pair!(gemm_grouped_bf16x6_128 gemm_grouped_bf16x6_64),
        Precision::Fp32 => [
            Tile::simt(kernels::LARGE, kernel!(gemm::grouped::gemm_grouped_f32_128)),
            Tile::simt(kernels::MEDIUM, kernel!(gemm::grouped::gemm_grouped_f32_64)),
        ],
        Precision::Fp8 | Precision::Fp8Fast => return None,
    })
}

/// The candidates whose tiles groups of this precision use, the larger first; none where there are no kernels.
pub fn candidates(precision: Precision) -> Vec<&'static Candidate> {
    tiles(precision).iter().flatten().map(|t| t.candidate).collect()
}

/// Many products, ready to run. See the [module](self).
///
/// ```
/// use ironwarp::Device;
/// use ironwarp::ops::matmul::{Problem, grouped};
/// let device = Device::sim();
/// let a = device.buffer(&[1f32, 2.0, 3.0, 4.0])?;
/// let (mut c, mut d) = (device.alloc::<f32>(4)?, device.alloc::<f32>(1)?);
/// let problems = [Problem::new(2, 2, 2), Problem::new(1, 1, 3)];
/// let operands = [grouped::Operands::new(&a, &a, &mut c), grouped::Operands::new(&a, &a, &mut d)];
/// grouped::Group::new(&device, &problems, &operands)?.run(&operands)?;
/// assert_eq!((c.to_vec()?, d.to_vec()?), (vec![7.0, 10.0, 15.0, 22.0], vec![14.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Group {
    device: Device,
    /// What it was made for.
    memory: Vec<[Memory; 6]>,
    /// The problems and where their operands are, on `cpu`.
    native: Vec<(Problem, Addresses)>,
    packs: Option<Table>,
    buckets: Vec<(Tile, Table)>,
    /// The packed operands, which the tables point to.
    workspace: Option<Buffer<u8>>,
}

impl Group {
    /// A group of `problems` with these `operands`, in the same order; none is a group that launches nothing. Errors:
    /// those of [`matmul`](super::matmul()) with the problem's place; different precisions; no memory.
    pub fn new(
        device: &Device,
        problems: &[Problem],
        operands: &[Operands<'_>],
    ) -> Result<Group, GroupError> {
        Group::with(device, problems, operands, None)
    }

    /// As [`new`](Group::new), every product with the tile of `candidate`, one of [`candidates`]. Error besides: no tile of
    /// the problems' precision is that candidate's.
    pub fn by(
        candidate: &Candidate,
        device: &Device,
        problems: &[Problem],
        operands: &[Operands<'_>],
    ) -> Result<Group, GroupError> {
        Group::with(device, problems, operands, Some(candidate))
    }

    fn with(
        device: &Device,
        problems: &[Problem],
        operands: &[Operands<'_>],
        only: Option<&Candidate>,
    ) -> Result<Group, GroupError> {
        if problems.len() != operands.len() {
            return Err(GroupError::Count { problems: problems.len(), operands: operands.len() });
        }
        let mut members = vec![];
        for (index, (p, o)) in problems.iter().zip(operands).enumerate() {
            let p = p.aligned_as(o.a, o.b);
            let at = p.addresses(o.a, o.b, &o.c, &o.epilogue).map_err(member(index))?;
            let (got, expected) = (p.precision, problems[0].precision);
            if got != expected {
                return Err(GroupError::Precision { index, got, expected });
            }
            if p.reduce != Reduce::None {
                let no = Unsupported::new("groups", "C is not summed in a group; do that product alone");
                return Err(unsupported(index, &p, no));
            }
            members.push((p, at));
        }
        let memory = operands.iter().map(Operands::memory).collect();
        let device = device.clone();
        let mut group =
            Group { device, memory, native: vec![], packs: None, buckets: vec![], workspace: None };
        if group.device.kind() == DeviceKind::Cpu {
            group.native = members;
        } else if let Some((first, _)) = members.first() {
            let no =
                || Unsupported::new("groups", "have no kernels for 8-bit floats; do these products alone");
            let tiles = tiles(first.precision).ok_or_else(|| unsupported(0, first, no()))?;
            group.fill(tiles, &members, only)?;
        }
        Ok(group)
    }

    /// Makes the tables.
    fn fill(
        &mut self,
        tiles: [Tile; 2],
        members: &[(Problem, Addresses)],
        only: Option<&Candidate>,
    ) -> Result<(), GroupError> {
        let places = match only {
            None => bucketed(&tiles, members),
            Some(only) => {
                let place = tiles.iter().position(|t| t.candidate.name == only.name);
                let no = || Unsupported::new(only.name, "has no kernel for groups of this precision");
                vec![place.ok_or_else(no).map_err(|no| unsupported(0, &members[0].0, no))?; members.len()]
            }
        };
        for (index, ((p, _), &place)) in members.iter().zip(&places).enumerate() {
            let supported = tiles[place].candidate.supports(p, self.device.target());
            supported.map_err(|no| unsupported(index, p, no))?;
        }
        let mut packs = Packs::default();
        for (p, at) in members {
            for z in 0..p.batch {
                packs.add(&Factor::of(p, Name::A, at.a, z));
                packs.add(&Factor::of(p, Name::B, at.b, z));
            }
        }
        if packs.bytes > 0 {
            let workspace = self.device.alloc(packs.bytes)?;
            self.packs = packs.table(&self.device, workspace.address())?;
            self.workspace = Some(workspace);
        }
        let base = self.workspace.as_ref().map_or(0, Buffer::address);
        for (i, tile) in tiles.into_iter().enumerate() {
            let of_tile = members.iter().zip(&places).filter(|(_, place)| **place == i).map(|(m, _)| m);
            let mut of_tile: Vec<&(Problem, Addresses)> = of_tile.collect();
            of_tile.sort_by_key(|(p, _)| std::cmp::Reverse(p.k));
            let (mut products, mut tasks) = (vec![], vec![]);
            check_blocks(tile.kernel.name, of_tile.iter().map(|(p, _)| tile.count(p)))?;
            for (p, at) in of_tile {
                for z in 0..p.batch {
                    let product = (products.len() / grouped::PRODUCT_WORDS) as u32;
                    products.extend(words(p, at, z, |f| packs.address(f, base)));
                    let count = (tile.count(p) / p.batch as u64) as u32;
                    tasks.extend((0..count).map(|i| task(product, i)));
                }
            }
            let table = Table::new(&self.device, tile.kernel.name, &products, &tasks)?;
            self.buckets.extend(table.map(|table| (tile, table)));
        }
        Ok(())
    }

    /// Computes the products. The operands are those that the group was made for. Errors: they are others; the device's.
    pub fn run(&self, operands: &[Operands<'_>]) -> Result<(), GroupError> {
        if operands.len() != self.memory.len() {
            return Err(GroupError::Count { problems: self.memory.len(), operands: operands.len() });
        }
        for (index, (was, now)) in self.memory.iter().zip(operands).enumerate() {
            let now = now.memory();
            if let Some(i) = (0..now.len()).find(|&i| was[i] != now[i]) {
                let name = [Name::A, Name::B, Name::C, Name::Bias, Name::Extra, Name::Sums][i];
                return Err(GroupError::Moved { index, name });
            }
        }
        for (index, (p, at)) in self.native.iter().enumerate() {
            cpu::run(&self.device, p, *at).map_err(member(index))?;
        }
        let origin = DevicePtrMut::<u8>::new(0);
        if let Some(table) = &self.packs {
            let shape = Launch::new(table.blocks, pack::BLOCK);
            let args = (origin, &table.problems, &table.tasks);
            self.device.launch(kernel!(gemm::grouped::gemm_grouped_pack), shape, args)?;
        }
        for (tile, table) in &self.buckets {
            let shape = Launch::new(table.blocks, tile.threads).shared(tile.shared);
            self.device.launch(tile.kernel, shape, (origin, &table.problems, &table.tasks))?;
        }
        Ok(())
    }

    /// Launches of [`run`](Group::run).
    pub fn launches(&self) -> usize {
        self.buckets.len() + usize::from(self.packs.is_some())
    }

    /// Bytes of device memory that it holds.
    pub fn bytes(&self) -> usize {
        let tables = self.packs.iter().chain(self.buckets.iter().map(|(_, table)| table));
        tables.map(Table::bytes).sum::<usize>() + self.workspace.as_ref().map_or(0, Buffer::len)
    }
}

fn unsupported(index: usize, p: &Problem, reason: Unsupported) -> GroupError {
    member(index)(MatmulError::Unsupported { problem: p.to_string(), reasons: vec![reason] })
}

/// Each problem's tile: the larger one for problems of more rows and columns than the smaller has, if together they are
/// tiles enough to fill a GPU.
fn bucketed([large, small]: &[Tile; 2], members: &[(Problem, Addresses)]) -> Vec<usize> {
    let [m, n, _] = small.candidate.tile.map(|x| x as usize);
    let is_large = |p: &Problem| p.m > m && p.n > n;
    let blocks = members.iter().filter(|(p, _)| is_large(p)).map(|(p, _)| large.count(p));
    let fills = blocks.fold(0, u64::saturating_add) >= MULTIPROCESSORS as u64;
    members.iter().map(|(p, _)| usize::from(!(fills && is_large(p)))).collect()
}

/// Error: more blocks together than a grid has; before they are listed.
fn check_blocks(kernel: &str, counts: impl Iterator<Item = u64>) -> Result<(), DeviceError> {
    let blocks = counts.fold(0, u64::saturating_add);
    if blocks < 1 << 31 {
        return Ok(());
    }
    let reason = format!("{blocks} tiles are more blocks than a grid has; split the group");
    Err(DeviceError::InvalidLaunch { kernel: kernel.into(), reason })
}

/// How an operand of one product gets to the kernel.
struct Factor {
    /// Where it is.
    address: u64,
    /// If it is packed, the words of the copy.
    copy: Option<Source>,
    /// K-major as the kernel sees it.
    k_major: bool,
    /// Leading dimension as the kernel sees it.
    ld: usize,
    /// M or N.
    rows: usize,
    /// Bytes that it takes packed.
    bytes: usize,
}

/// The words of a copy but for the second, where to.
type Source = [u64; grouped::COPY_WORDS - 1];

impl Factor {
    /// Operand `name` of product `z` of the batch, whose first one is at `address`.
    fn of(p: &Problem, name: Name, address: u64, z: usize) -> Factor {
        let x = plan(p, name);
        let address = address + (z * x.stride_from * x.dtype.bytes()) as u64;
        let copy = x.packed.then(|| {
            let from = element_code(x.dtype) | u32::from(x.transposed) << 8;
            [
                address,
                word(x.rows as u32, p.k as u32),
                word(x.ld_from as u32, x.ld as u32),
                word(from, element_code(x.factor)),
            ]
        });
        let bytes = x.rows.saturating_mul(x.ld).saturating_mul(x.factor.bytes());
        let bytes = bytes.checked_next_multiple_of(256).unwrap_or(usize::MAX);
        Factor { address, copy, k_major: x.k_major, ld: x.ld, rows: x.rows, bytes }
    }
}

/// The operands to be packed, each once whoever shares it.
#[derive(Default)]
struct Packs {
    /// Words, offset of the target, tiles.
    copies: Vec<(Source, usize, u64)>,
    offsets: HashMap<Source, usize>,
    bytes: usize,
}

impl Packs {
    fn add(&mut self, x: &Factor) {
        let Some(source) = x.copy else { return };
        if let Entry::Vacant(place) = self.offsets.entry(source) {
            place.insert(self.bytes);
            let tiles = |n: usize| n.div_ceil(pack::TILE as usize) as u64;
            self.copies.push((source, self.bytes, tiles(x.rows) * tiles(x.ld)));
            self.bytes = self.bytes.saturating_add(x.bytes);
        }
    }

    /// Where the kernel finds an operand, the packed ones being at `base`.
    fn address(&self, x: &Factor, base: u64) -> u64 {
        let offset = x.copy.and_then(|source| self.offsets.get(&source));
        offset.map_or(x.address, |&offset| base + offset as u64)
    }

    /// The table of the copies to `base`.
    fn table(&self, device: &Device, base: u64) -> Result<Option<Table>, DeviceError> {
        const NAME: &str = "gemm_grouped_pack";
        check_blocks(NAME, self.copies.iter().map(|c| c.2))?;
        let words = |(s, offset, _): &(Source, usize, u64)| [s[0], base + *offset as u64, s[1], s[2], s[3]];
        let copies: Vec<u64> = self.copies.iter().flat_map(words).collect();
        let tasks = self.copies.iter().zip(0..).flat_map(|(c, i)| (0..c.2 as u32).map(move |t| task(i, t)));
        Table::new(device, NAME, &copies, &tasks.collect::<Vec<_>>())
    }
}

/// The words of product `z` of a problem, whose operands the kernel finds where `address` says.
fn words(
    p: &Problem,
    at: &Addresses,
    z: usize,
    address: impl Fn(&Factor) -> u64,
) -> [u64; grouped::PRODUCT_WORDS] {
    let (a, b) = (Factor::of(p, Name::A, at.a, z), Factor::of(p, Name::B, at.b, z));
    let of_batch = |address: u64, stride: usize| match address {
        0 => 0,
        first => first + (z * stride * p.c.bytes()) as u64,
    };
    let kind = kind(element_code(p.c), p.extra.code(), REDUCE_NONE);
    let mut words = [0; grouped::PRODUCT_WORDS];
    words[..12].copy_from_slice(&[
        address(&a),
        address(&b),
        of_batch(at.c, p.stride_c),
        at.bias,
        of_batch(at.extra, p.stride_extra),
        word(p.m as u32, p.n as u32),
        word(p.k as u32, grouped::layout(!a.k_major, b.k_major)),
        word(a.ld as u32, b.ld as u32),
        word(p.ldc as u32, p.ld_extra as u32),
        word(p.alpha.to_bits(), p.beta.to_bits()),
        word(p.activation.param().to_bits(), p.activation.kind()),
        word(kind, 0),
    ]);
    words
}
