//! Tensor maps: the 128-byte descriptors `cp.async.bulk.tensor` takes, made on the host.
//!
//! [`TensorMapBuilder`] takes the arguments of the driver's `cuTensorMapEncodeTiled` and refuses what the driver refuses. The driver's
//! own bytes are opaque; this simulator has a layout of its own, which a kernel may copy about and edit with
//! `tensormap.replace`, but not make up:
//!
//! | bytes | content |
//! |-------|---------|
//! | 0..7, 7 | `PTXSIM\0`, layout version (1) |
//! | 8..16 | global address |
//! | 16..22 | data type, rank, interleave, swizzle, L2 promotion, out-of-bounds fill; numbered as in `cuda.h` |
//! | 24..44 | five sizes of the tensor, minus one, 32 bits each |
//! | 44..54 | five sizes of the box, 16 bits each |
//! | 54..59 | five element strides |
//! | 64..96 | four strides in bytes, 64 bits each, of dimensions 1 to 4 |
//!
//! All else is zero. Dimension 0 is the one whose elements are neighbours in memory.

/// Type of a tensor's elements (`CUtensorMapDataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum TensorMapType {
    U8,
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    F32,
    F64,
    Bf16,
    /// Subnormal values become zeros of their sign on the way.
    F32Ftz,
    /// f32 in global memory: loads round it to tf32, to nearest and halves away from zero as `cvt.rna.tf32.f32` does (that
    /// loads round is known from CUTLASS, which relies on it; how halves go is an assumption).
    Tf32,
    /// As [`TensorMapType::Tf32`], and subnormal values become zeros of their sign.
    Tf32Ftz,
}

impl TensorMapType {
    /// All types, as `CUtensorMapDataType` numbers them.
    pub const ALL: [TensorMapType; 13] = [
        TensorMapType::U8,
        TensorMapType::U16,
        TensorMapType::U32,
        TensorMapType::S32,
        TensorMapType::U64,
        TensorMapType::S64,
        TensorMapType::F16,
        TensorMapType::F32,
        TensorMapType::F64,
        TensorMapType::Bf16,
        TensorMapType::F32Ftz,
        TensorMapType::Tf32,
        TensorMapType::Tf32Ftz,
    ];

    /// Bytes of an element.
    pub fn bytes(self) -> u32 {
        match self {
            TensorMapType::U8 => 1,
            TensorMapType::U16 | TensorMapType::F16 | TensorMapType::Bf16 => 2,
            TensorMapType::U64 | TensorMapType::S64 | TensorMapType::F64 => 8,
            _ => 4,
        }
    }

    fn is_float(self) -> bool {
        !matches!(
            self,
            TensorMapType::U8
                | TensorMapType::U16
                | TensorMapType::U32
                | TensorMapType::S32
                | TensorMapType::U64
                | TensorMapType::S64
        )
    }

    /// The type `tensormap.replace` numbers so (PTX ISA, table of `.elemtype`).
    pub(crate) fn of_ptx(n: u64) -> Option<Self> {
        use TensorMapType::*;
        [U8, U16, U32, S32, U64, S64, F16, F32, F32Ftz, F64, Bf16, Tf32, Tf32Ftz].get(n as usize).copied()
    }
}

/// How channels are grouped (`CUtensorMapInterleave`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interleave {
    /// Not at all.
    #[default]
    None,
    /// NC/8HWC8. The simulator encodes such maps, but does not execute copies with them.
    Bytes16,
    /// NC/16HWC16. The simulator encodes such maps, but does not execute copies with them.
    Bytes32,
}

/// How 16-byte chunks are permuted in shared memory (`CUtensorMapSwizzle`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Swizzle {
    /// Not at all: a dense box.
    #[default]
    None,
    /// Inside 32 bytes, by address bit 7.
    Bytes32,
    /// Inside 64 bytes, by address bits 7 and 8.
    Bytes64,
    /// Inside 128 bytes, by address bits 7 to 9.
    Bytes128,
}

impl Swizzle {
    /// Bytes inside which chunks move, which is also the pitch of the box's rows; 0 without a swizzle.
    pub fn span(self) -> u32 {
        match self {
            Swizzle::None => 0,
            Swizzle::Bytes32 => 32,
            Swizzle::Bytes64 => 64,
            Swizzle::Bytes128 => 128,
        }
    }

    /// Where the byte that a dense box has at shared address `at` really lies.
    pub(crate) fn apply(self, at: u64) -> u64 {
        let bits = (self.span() as u64 / 16).max(1) - 1;
        at ^ ((at >> 7 & bits) << 4)
    }
}

/// How far loads are widened on their way through L2 (`CUtensorMapL2promotion`); a hint without effect here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the sizes")]
pub enum L2Promotion {
    #[default]
    None,
    Bytes64,
    Bytes128,
    Bytes256,
}

/// What elements outside the tensor read as (`CUtensorMapFloatOOBfill`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OobFill {
    /// Zero.
    #[default]
    Zero,
    /// A NaN with all fraction bits set; floating-point types only.
    Nan,
}

/// What is wrong with the arguments of a tensor map. The driver returns `CUDA_ERROR_INVALID_VALUE` for each of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorMapError {
    /// Rank outside 1 to 5, or under 3 with an interleave.
    #[error("a tensor of rank {0}; 1 to 5 are possible, 3 to 5 with an interleave")]
    Rank(usize),
    /// An array has another length than the rank asks for.
    #[error("{found} {what} given, rank {rank} needs {wanted}")]
    Length {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The rank.
        rank: usize,
        /// Length it should have.
        wanted: usize,
    },
    /// Global address not a multiple of 16 (32 with the 32-byte interleave).
    #[error("global address {address:#x} is not a multiple of {align}")]
    Address {
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// A size of the tensor outside 1 to 2^32.
    #[error("dimension {dim} of the tensor has {size} elements; 1 to 2^32 are possible")]
    Dim {
        /// Which dimension.
        dim: usize,
        /// Its size.
        size: u64,
    },
    /// A stride that is no multiple of 16 (32 with the 32-byte interleave), or not under 2^40.
    #[error("the stride of dimension {dim} is {stride} bytes; it has to be a multiple of {align} under 2^40")]
    Stride {
        /// Which dimension.
        dim: usize,
        /// Its stride in bytes.
        stride: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// A size of the box outside 1 to 256.
    #[error("dimension {dim} of the box has {size} elements; 1 to 256 are possible")]
    Box {
        /// Which dimension.
        dim: usize,
        /// Its size.
        size: u32,
    },
    /// The box's innermost dimension is no multiple of 16 bytes.
    #[error("the innermost dimension of the box has {0} bytes; it has to be a multiple of 16")]
    BoxBytes(u32),
    /// The box's innermost dimension exceeds the swizzle span.
    #[error("the innermost dimension of the box has {bytes} bytes; a swizzle of {span} bytes allows {span}")]
    SwizzleSpan {
        /// Bytes of the innermost dimension.
        bytes: u32,
        /// Bytes of the swizzle.
        span: u32,
    },
    /// An element stride outside 1 to 8.
    #[error("the element stride of dimension {dim} is {stride}; 1 to 8 are possible")]
    ElementStride {
        /// Which dimension.
        dim: usize,
        /// Its element stride.
        stride: u32,
    },
    /// The 32-byte interleave goes with the 32-byte swizzle only.
    #[error("an interleave of 32 bytes needs a swizzle of 32 bytes")]
    InterleaveSwizzle,
    /// A NaN fill of integers.
    #[error("out-of-bounds elements of type {0:?} cannot be filled with NaN")]
    Fill(TensorMapType),
}

/// A tensor in global memory and the box that copies of it move.
///
/// ```
/// use ptx_sim::{Arg, Sim, Swizzle, TensorMap, TensorMapType};
///
/// let mut sim = Sim::builder().build();
/// let matrix = sim.alloc(256 * 128 * 2);
/// // 256 rows of 128 f16, in boxes of 64 rows of 64 elements.
/// let map = TensorMap::builder(TensorMapType::F16, matrix, &[128, 256], &[256], &[64, 64])
///     .swizzle(Swizzle::Bytes128)
///     .build()?;
/// let argument = Arg::Bytes(map.encode().to_vec());
/// # let _ = argument;
/// # Ok::<(), ptx_sim::TensorMapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub(crate) ty: TensorMapType,
    pub(crate) address: u64,
    pub(crate) rank: usize,
    pub(crate) dims: [u64; 5],
    /// Bytes, of dimensions 1 to 4.
    pub(crate) strides: [u64; 4],
    pub(crate) boxes: [u32; 5],
    pub(crate) element_strides: [u32; 5],
    pub(crate) interleave: Interleave,
    pub(crate) swizzle: Swizzle,
    pub(crate) l2: L2Promotion,
    pub(crate) fill: OobFill,
}

/// Arguments of a [`TensorMap`].
#[derive(Clone, Debug)]
pub struct TensorMapBuilder {
    ty: TensorMapType,
    address: u64,
    dims: Vec<u64>,
    strides: Vec<u64>,
    boxes: Vec<u32>,
    element_strides: Vec<u32>,
    interleave: Interleave,
    swizzle: Swizzle,
    l2: L2Promotion,
    fill: OobFill,
}

impl TensorMapBuilder {
    /// Element strides of the box, one per dimension (default: all 1). The first one is ignored without an interleave.
    pub fn element_strides(mut self, strides: &[u32]) -> Self {
        self.element_strides = strides.to_vec();
        self
    }

    /// Interleave (default: none).
    pub fn interleave(mut self, interleave: Interleave) -> Self {
        self.interleave = interleave;
        self
    }

    /// Swizzle (default: none).
    pub fn swizzle(mut self, swizzle: Swizzle) -> Self {
        self.swizzle = swizzle;
        self
    }

    /// L2 promotion (default: none).
    pub fn l2_promotion(mut self, l2: L2Promotion) -> Self {
        self.l2 = l2;
        self
    }

    /// Fill of out-of-bounds elements (default: zero).
    pub fn oob_fill(mut self, fill: OobFill) -> Self {
        self.fill = fill;
        self
    }

    /// The map, or the first rule of the driver that the arguments break.
    pub fn build(self) -> Result<TensorMap, TensorMapError> {
        let rank = self.dims.len();
        let least = if self.interleave == Interleave::None { 1 } else { 3 };
        if rank < least || rank > 5 {
            return Err(TensorMapError::Rank(rank));
        }
        let lengths = [
            ("strides", self.strides.len(), rank - 1),
            ("box sizes", self.boxes.len(), rank),
            ("element strides", self.element_strides.len(), rank),
        ];
        for (what, found, wanted) in lengths {
            if found != wanted {
                return Err(TensorMapError::Length { what, found, rank, wanted });
            }
        }
        let copy = |from: &[u32]| {
            let mut to = [1; 5];
            to[..from.len()].copy_from_slice(from);
            to
        };
        let mut map = TensorMap {
            ty: self.ty,
            address: self.address,
            rank,
            dims: [1; 5],
            strides: [0; 4],
            boxes: copy(&self.boxes),
            element_strides: copy(&self.element_strides),
            interleave: self.interleave,
            swizzle: self.swizzle,
            l2: self.l2,
            fill: self.fill,
        };
        map.dims[..rank].copy_from_slice(&self.dims);
        map.strides[..rank - 1].copy_from_slice(&self.strides);
        map.check()?;
        Ok(map)
    }
}

const MAGIC: [u8; 8] = *b"PTXSIM\0\x01";

impl TensorMap {
    /// A map from `cuTensorMapEncodeTiled`'s arguments: `dims` are the sizes of the tensor in elements, innermost first; `strides`
    /// the distances in bytes along all dimensions but the first; `boxes` the sizes of a copy in elements.
    pub fn builder(
        ty: TensorMapType,
        address: u64,
        dims: &[u64],
        strides: &[u64],
        boxes: &[u32],
    ) -> TensorMapBuilder {
        TensorMapBuilder {
            ty,
            address,
            dims: dims.to_vec(),
            strides: strides.to_vec(),
            boxes: boxes.to_vec(),
            element_strides: vec![1; dims.len()],
            interleave: Interleave::None,
            swizzle: Swizzle::None,
            l2: L2Promotion::None,
            fill: OobFill::Zero,
        }
    }

    /// Rules of the driver that do not concern the lengths of arrays.
    pub(crate) fn check(&self) -> Result<(), TensorMapError> {
        let align = if self.interleave == Interleave::Bytes32 { 32 } else { 16 };
        if !self.address.is_multiple_of(align) {
            return Err(TensorMapError::Address { address: self.address, align });
        }
        for (dim, &size) in self.dims[..self.rank].iter().enumerate() {
            if size == 0 || size > 1 << 32 {
                return Err(TensorMapError::Dim { dim, size });
            }
        }
        for (i, &stride) in self.strides[..self.rank - 1].iter().enumerate() {
            if !stride.is_multiple_of(align) || stride >= 1 << 40 {
                return Err(TensorMapError::Stride { dim: i + 1, stride, align });
            }
        }
        for (dim, &size) in self.boxes[..self.rank].iter().enumerate() {
            if size == 0 || size > 256 {
                return Err(TensorMapError::Box { dim, size });
            }
        }
        for (dim, &stride) in self.element_strides[..self.rank].iter().enumerate() {
            if stride == 0 || stride > 8 {
                return Err(TensorMapError::ElementStride { dim, stride });
            }
        }
        let bytes = self.boxes[0] * self.ty.bytes();
        if self.interleave == Interleave::None {
            if !bytes.is_multiple_of(16) {
                return Err(TensorMapError::BoxBytes(bytes));
            }
            let span = self.swizzle.span();
            if span != 0 && bytes > span {
                return Err(TensorMapError::SwizzleSpan { bytes, span });
            }
        }
        if self.interleave == Interleave::Bytes32 && self.swizzle != Swizzle::Bytes32 {
            return Err(TensorMapError::InterleaveSwizzle);
        }
        if self.fill == OobFill::Nan && !self.ty.is_float() {
            return Err(TensorMapError::Fill(self.ty));
        }
        Ok(())
    }

    /// Elements a copy moves along a dimension: the box in steps of the element stride.
    pub(crate) fn count(&self, dim: usize) -> u32 {
        // The innermost dimension has no stride without an interleave.
        let step = if dim == 0 { 1 } else { self.element_strides[dim] };
        self.boxes[dim].div_ceil(step)
    }

    /// The 128 bytes to pass as a kernel parameter (64-byte aligned) or to write to global memory.
    pub fn encode(&self) -> [u8; 128] {
        let mut out = [0; 128];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.address.to_le_bytes());
        let ty = TensorMapType::ALL.iter().position(|t| *t == self.ty).unwrap_or(0) as u8;
        out[16..22].copy_from_slice(&[
            ty,
            self.rank as u8,
            self.interleave as u8,
            self.swizzle as u8,
            self.l2 as u8,
            self.fill as u8,
        ]);
        for i in 0..5 {
            out[24 + 4 * i..28 + 4 * i].copy_from_slice(&(self.dims[i].wrapping_sub(1) as u32).to_le_bytes());
            out[44 + 2 * i..46 + 2 * i].copy_from_slice(&(self.boxes[i] as u16).to_le_bytes());
            out[54 + i] = self.element_strides[i] as u8;
        }
        for i in 0..4 {
            out[64 + 8 * i..72 + 8 * i].copy_from_slice(&self.strides[i].to_le_bytes());
        }
        out
    }

    /// The map in 128 bytes, whether or not it obeys the driver's rules (a kernel may be about to edit it); `None` when the bytes
    /// are no tensor map at all.
    pub(crate) fn decode(bytes: &[u8; 128]) -> Option<TensorMap> {
        if bytes[..8] != MAGIC {
            return None;
        }
        let word = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(raw)
        };
        let mut map = TensorMap {
            ty: *TensorMapType::ALL.get(bytes[16] as usize)?,
            address: word(8),
            rank: Some(bytes[17] as usize).filter(|r| (1..=5).contains(r))?,
            dims: [0; 5],
            strides: [0; 4],
            boxes: [0; 5],
            element_strides: [0; 5],
            interleave: interleave(bytes[18] as u64)?,
            swizzle: swizzle(bytes[19] as u64)?,
            l2: [L2Promotion::None, L2Promotion::Bytes64, L2Promotion::Bytes128, L2Promotion::Bytes256]
                .get(bytes[20] as usize)
                .copied()?,
            fill: fill(bytes[21] as u64)?,
        };
        for i in 0..5 {
            map.dims[i] = (word(24 + 4 * i) & 0xffff_ffff) + 1;
            map.boxes[i] = (word(44 + 2 * i) & 0xffff) as u32;
            map.element_strides[i] = bytes[54 + i] as u32;
        }
        for i in 0..4 {
            map.strides[i] = word(64 + 8 * i);
        }
        Some(map)
    }
}

pub(crate) fn interleave(n: u64) -> Option<Interleave> {
    [Interleave::None, Interleave::Bytes16, Interleave::Bytes32].get(n as usize).copied()
}

pub(crate) fn swizzle(n: u64) -> Option<Swizzle> {
    [Swizzle::None, Swizzle::Bytes32, Swizzle::Bytes64, Swizzle::Bytes128].get(n as usize).copied()
}

pub(crate) fn fill(n: u64) -> Option<OobFill> {
    [OobFill::Zero, OobFill::Nan].get(n as usize).copied()
}
