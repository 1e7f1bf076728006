//! Launches of `gpu_kernels::gemm::hopper`: tensor copies and `wgmma`, on Hopper alone.
//!
//! Operands are read through [tensor maps](TensorMap), which want every row, every matrix of a batch and the operand itself
//! to start at a multiple of 16 bytes; 16-bit types take all transposes, tf32 and 8-bit floats only operands whose K is
//! contiguous. Others are packed first, as for [`tensor`](super::tensor).
//!
//! 8-bit floats have kernels for each pair of types. The small tile promotes sums ([`Precision::Fp8`]); the large one leaves them
//! in the tensor cores ([`Precision::Fp8Fast`]), where the small one is welcome too.
//!
//! Every tile has two candidates: one computes tiles whole, the other (`_streamk`) cuts those that would not fill the device
//! along K ([`schedule`](gpu_kernels::gemm::schedule)), and is for few tiles and a long K. What it adds in which order depends on
//! the device's number of multiprocessors, and on nothing else.
//!
//! The simulator has executed every kernel; no GPU has.

use gpu_kernels::gemm::schedule::Schedule;
use gpu_kernels::gemm::{epilogue, hopper as kernels, split};
use gpu_kernels::ptx::{PANEL_BYTES, TensorMap as DeviceMap};

use super::sums::PartialSums;
use super::tensor::{Plan, element_code, packed, plan, supports_types};
use super::{
    Addresses, Candidate, Extra, Family, MULTIPROCESSORS, MatmulError, Name, Precision, Problem, Reduce,
    Unsupported, Walk,
};
use crate::device::{
    DType, Device, DeviceError, DevicePtr, DevicePtrMut, Kernel, Launch, MapElement, Target, TensorMap,
};
use crate::kernel;
use crate::ops::activation::Activation;

const FAMILY: Family =
    Family { targets: &[Target::Sm90a], supports, workspace, estimate: |c, p| c.time(p, walk(c, p)), run };

/// What [`Candidate::variant`] means here: whether tiles may be cut.
const WHOLE: u32 = 0;
const STREAM_K: u32 = 1;

const fn candidate(
    name: &'static str,
    precision: Precision,
    t: kernels::Tile,
    variant: u32,
    rate: u32,
) -> Candidate {
    let depth = PANEL_BYTES / precision.factor_bytes();
    Candidate { name, precision, tile: [kernels::BM, t.bn, depth], rate, variant, family: FAMILY }
}

/// The tiles, for every type. Those that are cut rate a little less, for where it gains no more than that, it is not done.
pub static CANDIDATES: &[Candidate] = &[
    candidate("hopper_bf16_128x256", Precision::Bf16, kernels::LARGE, WHOLE, 88),
    candidate("hopper_bf16_128x128", Precision::Bf16, kernels::SMALL, WHOLE, 70),
    candidate("hopper_bf16_128x256_streamk", Precision::Bf16, kernels::LARGE, STREAM_K, 85),
    candidate("hopper_bf16_128x128_streamk", Precision::Bf16, kernels::SMALL, STREAM_K, 68),
    candidate("hopper_f16_128x256", Precision::F16, kernels::LARGE, WHOLE, 88),
    candidate("hopper_f16_128x128", Precision::F16, kernels::SMALL, WHOLE, 70),
    candidate("hopper_f16_128x256_streamk", Precision::F16, kernels::LARGE, STREAM_K, 85),
    candidate("hopper_f16_128x128_streamk", Precision::F16, kernels::SMALL, STREAM_K, 68),
    candidate("hopper_tf32_128x256", Precision::Tf32, kernels::LARGE, WHOLE, 88),
    candidate("hopper_tf32_128x128", Precision::Tf32, kernels::SMALL, WHOLE, 70),
    candidate("hopper_tf32_128x256_streamk", Precision::Tf32, kernels::LARGE, STREAM_K, 85),
    candidate("hopper_tf32_128x128_streamk", Precision::Tf32, kernels::SMALL, STREAM_K, 68),
    candidate("hopper_fp8_128x128", Precision::Fp8, kernels::SMALL, WHOLE, 60),
    candidate("hopper_fp8_128x128_streamk", Precision::Fp8, kernels::SMALL, STREAM_K, 58),
    candidate("hopper_fp8_fast_128x256", Precision::Fp8Fast, kernels::LARGE, WHOLE, 88),
    candidate("hopper_fp8_fast_128x128", Precision::Fp8Fast, kernels::SMALL, WHOLE, 60),
    candidate("hopper_fp8_fast_128x256_streamk", Precision::Fp8Fast, kernels::LARGE, STREAM_K, 85),
    candidate("hopper_fp8_fast_128x128_streamk", Precision::Fp8Fast, kernels::SMALL, STREAM_K, 58),
];

/// The kernels' names.
pub const KERNELS: &[&str] = &[
    "hopper_bf16_nn_256",
    "hopper_bf16_nt_256",
    "hopper_bf16_tn_256",
    "hopper_bf16_tt_256",
    "hopper_bf16_nn_128",
    "hopper_bf16_nt_128",
    "hopper_bf16_tn_128",
    "hopper_bf16_tt_128",
    "hopper_f16_nn_256",
    "hopper_f16_nt_256",
    "hopper_f16_tn_256",
    "hopper_f16_tt_256",
    "hopper_f16_nn_128",
    "hopper_f16_nt_128",
    "hopper_f16_tn_128",
    "hopper_f16_tt_128",
    "hopper_tf32_256",
    "hopper_tf32_128",
    "hopper_e4m3_e4m3_256",
    "hopper_e4m3_e5m2_256",
    "hopper_e5m2_e4m3_256",
    "hopper_e5m2_e5m2_256",
    "hopper_e4m3_e4m3_128",
    "hopper_e4m3_e5m2_128",
    "hopper_e5m2_e4m3_128",
    "hopper_e5m2_e5m2_128",
    "gemm_reduce_tiles",
];

/// The tile of a candidate.
fn tile(c: &Candidate) -> kernels::Tile {
    if c.tile[1] == kernels::LARGE.bn { kernels::LARGE } else { kernels::SMALL }
}

/// A matrix as a tensor map describes it: rows and columns as stored, leading dimension, stride of the batch.
struct Stored {
    element: MapElement,
    rows: usize,
    columns: usize,
    ld: usize,
    stride: usize,
}

impl Stored {
    /// An operand as the kernel reads it, packed or not.
    fn factor(p: &Problem, x: &Plan) -> Stored {
        let (rows, columns) = if x.k_major { (x.rows, p.k) } else { (p.k, x.rows) };
        Stored { element: element(x.factor), rows, columns, ld: x.ld, stride: x.stride }
    }

    /// Whether tensor maps can describe it: rows and matrices begin at multiples of 16 bytes, and matrices lie apart.
    fn fits(&self, batch: usize) -> bool {
        let aligned = |elements: usize| (elements as u64 * self.element.bytes()).is_multiple_of(16);
        aligned(self.ld) && (batch == 1 || (aligned(self.stride) && self.stride >= self.rows * self.ld))
    }

    /// The map of the tensor at `address`, in boxes of these columns and rows.
    fn map(&self, address: u64, batch: usize, boxes: [u32; 2]) -> TensorMap {
        let bytes = self.element.bytes();
        let row = self.ld as u64 * bytes;
        // A single matrix has no stride; the driver wants one all the same.
        let matrix = if batch > 1 { self.stride as u64 * bytes } else { self.rows as u64 * row };
        TensorMap {
            element: self.element,
            address,
            dims: [self.columns as u64, self.rows as u64, batch as u64],
            strides: [row, matrix],
            boxes,
        }
    }
}

/// An element type as tensor maps have it; f32 is read for products in tf32.
fn element(dtype: DType) -> MapElement {
    match dtype {
        DType::Bf16 => MapElement::Bf16,
        DType::F16 => MapElement::F16,
        DType::E4m3 | DType::E5m2 => MapElement::U8,
        DType::F32 | DType::U32 => MapElement::Tf32,
    }
}

fn supports(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    supports_types(c, p)?;
    for name in [Name::A, Name::B] {
        if !Stored::factor(p, &plan(p, name)).fits(p.batch) {
            return Err(Unsupported::new(c.name, format!("the matrices of {name}'s batch overlap")));
        }
    }
    if c.variant == STREAM_K && p.reduce != Reduce::None {
        return Err(Unsupported::new(c.name, "cut tiles have no sums of rows or columns"));
    }
    Ok(())
}

/// Bytes of the packed operands, the first of them first.
fn packed_bytes(p: &Problem, name: Name) -> usize {
    super::tensor::packed_bytes(p, plan(p, name))
}

/// Bytes of both.
fn packed_all(p: &Problem) -> usize {
    packed_bytes(p, Name::A).saturating_add(packed_bytes(p, Name::B))
}

/// Tiles of the launch: a cluster's each.
fn tiles(t: kernels::Tile, p: &Problem) -> u64 {
    (p.m as u64).div_ceil(t.rows().into()) * (p.n as u64).div_ceil(t.bn.into()) * p.batch as u64
}

/// Which clusters multiply what, on so many multiprocessors, in panels of `depth` elements of K.
fn schedule(t: kernels::Tile, p: &Problem, variant: u32, depth: u32, multiprocessors: u32) -> Schedule {
    // More tiles than a launch has are refused when it comes to one.
    let tiles = tiles(t, p).min(TILES) as u32;
    let panels = (p.k as u32).div_ceil(depth);
    match variant {
        STREAM_K => Schedule::stream_k(tiles, panels, clusters(t, multiprocessors)),
        _ => Schedule::whole(tiles, panels),
    }
}

/// More tiles than this are no launch.
const TILES: u64 = 1 << 30;

/// The clusters that so many multiprocessors run at a time.
fn clusters(t: kernels::Tile, multiprocessors: u32) -> u32 {
    (multiprocessors / t.cluster).max(1)
}

/// Elements of a slot of partial sums.
fn slot(t: kernels::Tile) -> usize {
    t.rows() as usize * t.bn as usize
}

fn workspace(c: &Candidate, p: &Problem, device: &Device) -> usize {
    let t = tile(c);
    let slots = schedule(t, p, c.variant, c.tile[2], device.model().multiprocessors).slots();
    let partial = 4 * slots as usize * slot(t);
    packed_all(p).saturating_add(PartialSums::new(p, t.part()).bytes()).saturating_add(partial)
}

fn walk(c: &Candidate, p: &Problem) -> Walk {
    let t = tile(c);
    let schedule = schedule(t, p, c.variant, c.tile[2], MULTIPROCESSORS as u32);
    let panels = schedule.longest(clusters(t, MULTIPROCESSORS as u32));
    Walk { k: panels * u64::from(c.tile[2]), partial: u64::from(schedule.slots()) * slot(t) as u64 }
}

/// The map through which C can be stored, if it is of the 16-bit type that the kernel stores so (the factors' own, bf16 for
/// 8-bit floats; kernels for f32 have none), the epilogue leaves everything but `alpha` alone and C's layout allows it.
fn map_c(p: &Problem, at: Addresses) -> Option<TensorMap> {
    let half = if p.precision.is_fp8() { DType::Bf16 } else { p.precision.factor() };
    let linear = p.activation == Activation::Identity && p.extra == Extra::None;
    let plain = linear && p.beta == 0.0 && !p.bias && p.reduce == Reduce::None;
    let c = Stored { element: element(p.c), rows: p.m, columns: p.n, ld: p.ldc, stride: p.stride_c };
    let fits = p.c == half && half != DType::F32 && at.c.is_multiple_of(16) && c.fits(p.batch);
    (plain && fits).then(|| c.map(at.c, p.batch, kernels::STORE_BOX))
}

/// The signature of the family's kernels.
type Product = unsafe fn(
    *const DeviceMap,
    *const DeviceMap,
    *const DeviceMap,
    u32,
    u32,
    u32,
    u32,
    f32,
    f32,
    *mut u8,
    u32,
    u64,
    *const f32,
    *const u8,
    u32,
    u64,
    *mut f32,
    u32,
    f32,
    u32,
    u32,
    u32,
    *mut f32,
);

/// The kernel for 8-bit floats of these types.
fn fp8_kernel(large: bool, types: (DType, DType)) -> Kernel<Product> {
    match (large, types) {
        (true, (DType::E5m2, DType::E5m2)) => kernel!(gemm::hopper::hopper_e5m2_e5m2_256),
        (true, (DType::E5m2, _)) => kernel!(gemm::hopper::hopper_e5m2_e4m3_256),
        (true, (_, DType::E5m2)) => kernel!(gemm::hopper::hopper_e4m3_e5m2_256),
        (true, _) => kernel!(gemm::hopper::hopper_e4m3_e4m3_256),
        (false, (DType::E5m2, DType::E5m2)) => kernel!(gemm::hopper::hopper_e5m2_e5m2_128),
        (false, (DType::E5m2, _)) => kernel!(gemm::hopper::hopper_e5m2_e4m3_128),
        (false, (_, DType::E5m2)) => kernel!(gemm::hopper::hopper_e4m3_e5m2_128),
        (false, _) => kernel!(gemm::hopper::hopper_e4m3_e4m3_128),
    }
}

/// The kernel, by candidate, the factors' types and whether A and B are transposed as it sees them.
fn kernel_of(c: &Candidate, types: (DType, DType), layout: (bool, bool)) -> Kernel<Product> {
    match (c.precision, tile(c) == kernels::LARGE) {
        (Precision::Fp8 | Precision::Fp8Fast, large) => fp8_kernel(large, types),
        (Precision::Bf16, true) => {
            by_layout!(layout, gemm::hopper: hopper_bf16_nn_256 hopper_bf16_nt_256 hopper_bf16_tn_256 hopper_bf16_tt_256)
        }
        (Precision::Bf16, false) => {
            by_layout!(layout, gemm::hopper: hopper_bf16_nn_128 hopper_bf16_nt_128 hopper_bf16_tn_128 hopper_bf16_tt_128)
        }
        (Precision::F16, true) => {
            by_layout!(layout, gemm::hopper: hopper_f16_nn_256 hopper_f16_nt_256 hopper_f16_tn_256 hopper_f16_tt_256)
        }
        (Precision::F16, false) => {
            by_layout!(layout, gemm::hopper: hopper_f16_nn_128 hopper_f16_nt_128 hopper_f16_tn_128 hopper_f16_tt_128)
        }
        (_, true) => kernel!(gemm::hopper::hopper_tf32_256),
        (_, false) => kernel!(gemm::hopper::hopper_tf32_128),
    }
}

fn run(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    workspace: u64,
) -> Result<(), MatmulError> {
    let (a, b) = (plan(p, Name::A), plan(p, Name::B));
    let at_a = packed(device, p, a, at.a, workspace)?;
    let at_b = packed(device, p, b, at.b, workspace + packed_bytes(p, Name::A) as u64)?;
    let t = tile(c);
    let schedule = schedule(t, p, c.variant, c.tile[2], device.model().multiprocessors);
    let sums = PartialSums::new(p, t.part());
    // Cut tiles have no sums, and whole ones no partial tiles: both begin behind the packed operands.
    let rest = workspace + packed_all(p) as u64;
    let tiles = tiles(t, p);
    if tiles >= TILES {
        let reason = format!("{tiles} tiles are more than a launch has; split the product");
        return Err(DeviceError::InvalidLaunch { kernel: c.name.into(), reason }.into());
    }
    let map = |map: &TensorMap| device.tensor_map(map).map(DevicePtr::new);
    // K-major operands come in lines along K, MN-major ones in squares.
    let factor = |x: &Plan, address: u64, rows: u32| {
        let line = PANEL_BYTES / x.factor.bytes() as u32;
        let boxes = if x.k_major { [line, rows] } else { kernels::MN_BOX };
        map(&Stored::factor(p, x).map(address, p.batch, boxes))
    };
    let clusters = schedule.clusters(clusters(t, device.model().multiprocessors));
    let shape = Launch::new(clusters * t.cluster, kernels::BLOCK).shared(t.shared());
    let (activation, parameter) = (p.activation.kind(), p.activation.param());
    let kind = epilogue::kind(element_code(p.c), p.extra.code(), p.reduce.code());
    let args = (
        factor(&a, at_a, t.box_a())?,
        factor(&b, at_b, t.box_b())?,
        map_c(p, at).map_or(Ok(DevicePtr::new(0)), |m| map(&m))?,
        p.m as u32,
        p.n as u32,
        p.k as u32,
        p.batch as u32,
        p.alpha,
        p.beta,
        DevicePtrMut::<u8>::new(at.c),
        p.ldc as u32,
        p.stride_c as u64,
        DevicePtr::<f32>::new(at.bias),
        DevicePtr::<u8>::new(at.extra),
        p.ld_extra as u32,
        p.stride_extra as u64,
        sums.written(at, rest),
        activation,
        parameter,
        kind,
        schedule.whole,
        schedule.share,
        DevicePtrMut::<f32>::new(rest),
    );
    device.launch(kernel_of(c, (a.factor, b.factor), (!a.k_major, b.k_major)), shape, args)?;
    if schedule.cut == 0 {
        return sums.finish(device, at, rest);
    }
    let blocks = slot(t) as u32 / 4 / split::BLOCK;
    let args = (
        p.m as u32,
        p.n as u32,
        t.rows(),
        t.bn,
        schedule.panels,
        schedule.whole,
        schedule.share,
        DevicePtr::<f32>::new(rest),
        p.alpha,
        p.beta,
        DevicePtrMut::<u8>::new(at.c),
        p.ldc as u32,
        p.stride_c as u64,
        DevicePtr::<f32>::new(at.bias),
        DevicePtr::<u8>::new(at.extra),
        p.ld_extra as u32,
        p.stride_extra as u64,
        activation,
        parameter,
        kind,
    );
    let shape = Launch::new((blocks, schedule.cut), split::BLOCK);
    Ok(device.launch(kernel!(gemm::split::gemm_reduce_tiles), shape, args)?)
}
