//! Launches of `gpu_kernels::gemm::hopper`: tensor copies and `wgmma`, on Hopper alone.
//!
//! Operands are read through [tensor maps](TensorMap), which want every row, every matrix of a batch and the operand itself
//! to start at a multiple of 16 bytes. 16-bit types take all transposes; tf32 and fp8 only operands whose K is contiguous.
//! The simulator has executed every kernel; no GPU has.

use gpu_kernels::gemm::{element, epilogue, hopper as kernels};
use gpu_kernels::ptx::PANEL_BYTES;

use super::problem::mix;
use super::{Addresses, Candidate, Extra, Family, MatmulError, Precision, Problem, Unsupported};
use crate::device::{
    DType, Device, DeviceError, DevicePtr, DevicePtrMut, Launch, MapElement, Target, TensorMap,
};
use crate::kernel;
use crate::ops::activation::Activation;

const FAMILY: Family = Family { targets: &[Target::Sm90a], supports, workspace: |_, _| 0, run };

const fn candidate(
    name: &'static str,
    precision: Precision,
    t: kernels::Tile,
    depth: u32,
    rate: u32,
) -> Candidate {
    Candidate { name, precision, tile: [kernels::BM, t.bn, depth], rate, family: FAMILY }
}

/// The tiles, for every type.
pub static CANDIDATES: &[Candidate] = &[
    candidate("hopper_bf16_128x256", Precision::Bf16, kernels::LARGE, 64, 88),
    candidate("hopper_bf16_128x128", Precision::Bf16, kernels::SMALL, 64, 70),
    candidate("hopper_f16_128x256", Precision::F16, kernels::LARGE, 64, 88),
    candidate("hopper_f16_128x128", Precision::F16, kernels::SMALL, 64, 70),
    candidate("hopper_tf32_128x256", Precision::Tf32, kernels::LARGE, 32, 88),
    candidate("hopper_tf32_128x128", Precision::Tf32, kernels::SMALL, 32, 70),
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
];

/// The tile of a candidate.
fn tile(c: &Candidate) -> kernels::Tile {
    if c.tile[1] == kernels::LARGE.bn { kernels::LARGE } else { kernels::SMALL }
}

/// What a tensor map is made of: rows and columns as stored, leading dimension, stride of the batch.
struct Stored {
    element: MapElement,
    rows: usize,
    columns: usize,
    ld: usize,
    stride: usize,
}

impl Stored {
    fn a(p: &Problem, element: MapElement) -> Stored {
        let (rows, columns) = p.stored_a();
        Stored { element, rows, columns, ld: p.lda, stride: p.stride_a }
    }
    fn b(p: &Problem, element: MapElement) -> Stored {
        let (rows, columns) = p.stored_b();
        Stored { element, rows, columns, ld: p.ldb, stride: p.stride_b }
    }

    /// Which rule of tensor maps the layout breaks.
    fn check(&self, name: &str, batch: usize) -> Result<(), String> {
        let bytes = self.element.bytes();
        let multiple = |what: &str, elements: usize| match (elements as u64 * bytes) % 16 {
            0 => Ok(()),
            _ => Err(format!("{what} of {name} is {elements} elements, no multiple of 16 bytes")),
        };
        multiple("the leading dimension", self.ld)?;
        if batch > 1 {
            multiple("the stride of the batch", self.stride)?;
            if self.stride < self.rows * self.ld {
                return Err(format!("the matrices of {name}'s batch overlap"));
            }
        }
        Ok(())
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

/// The element type of operands, as tensor maps have it.
fn factor(precision: Precision) -> Option<MapElement> {
    match precision {
        Precision::Bf16 => Some(MapElement::Bf16),
        Precision::F16 => Some(MapElement::F16),
        Precision::Tf32 => Some(MapElement::Tf32),
        Precision::Fp32 | Precision::Fp32Fast => None,
    }
}

fn supports(c: &Candidate, p: &Problem) -> Result<(), Unsupported> {
    let no = |reason: String| Err(Unsupported::new(c.name, reason));
    let Some(element) = factor(c.precision) else {
        return no(format!("does not compute in {}", c.precision));
    };
    if p.a != c.precision.factor() || p.b != c.precision.factor() {
        return no(format!("reads {} operands, not {}", c.precision.factor(), mix(p)));
    }
    if element == MapElement::Tf32 && (p.ta || !p.tb) {
        return no("needs operands whose K is contiguous: A as it is, B transposed".into());
    }
    let layout =
        Stored::a(p, element).check("A", p.batch).and_then(|()| Stored::b(p, element).check("B", p.batch));
    layout.or_else(no)
}

/// The map through which C can be stored, if the epilogue leaves everything but `alpha` alone and C's layout allows it.
fn map_c(p: &Problem, at: Addresses) -> Option<TensorMap> {
    let element = match p.c {
        DType::F16 => MapElement::F16,
        DType::Bf16 => MapElement::Bf16,
        DType::F32 | DType::U32 => return None,
    };
    let plain = p.beta == 0.0 && !p.bias && p.activation == Activation::Identity && p.extra == Extra::None;
    let c = Stored { element, rows: p.m, columns: p.n, ld: p.ldc, stride: p.stride_c };
    let fits = p.c == p.a && at.c.is_multiple_of(16) && c.check("C", p.batch).is_ok();
    (plain && fits).then(|| c.map(at.c, p.batch, kernels::STORE_BOX))
}

fn run(c: &Candidate, device: &Device, p: &Problem, at: Addresses, _: u64) -> Result<(), MatmulError> {
    run_on(c, device, p, at, device.multiprocessors())
}

/// As [`Candidate::run`], on at most this many multiprocessors: fewer blocks, with more tiles each.
pub fn run_on(
    c: &Candidate,
    device: &Device,
    p: &Problem,
    at: Addresses,
    multiprocessors: u32,
) -> Result<(), MatmulError> {
    let unsupported =
        |reason: Unsupported| MatmulError::Unsupported { problem: p.to_string(), reasons: vec![reason] };
    c.supports(p, device.target()).map_err(unsupported)?;
    for (name, address) in [("A", at.a), ("B", at.b)] {
        if !address.is_multiple_of(16) {
            let reason = format!("{name} is at address {address:#x}, no multiple of 16");
            return Err(unsupported(Unsupported::new(c.name, reason)));
        }
    }
    let t = tile(c);
    let rows = (p.m as u64).div_ceil(u64::from(kernels::BM * t.cluster));
    let tiles = rows * (p.n as u64).div_ceil(u64::from(t.bn)) * p.batch as u64;
    if tiles >= 1 << 30 {
        let reason = format!("{tiles} tiles are more than a launch has; split the product");
        return Err(DeviceError::InvalidLaunch { kernel: c.name.into(), reason }.into());
    }
    let element = factor(c.precision).unwrap_or(MapElement::U8);
    let line = PANEL_BYTES / element.bytes() as u32;
    // K-major operands come in lines along K, MN-major ones in squares.
    let boxes = |mn_major: bool, rows: u32| if mn_major { kernels::MN_BOX } else { [line, rows] };
    let map = |map: &TensorMap| device.tensor_map(map).map(DevicePtr::new);
    let map_a = map(&Stored::a(p, element).map(at.a, p.batch, boxes(p.ta, t.box_a())))?;
    let map_b = map(&Stored::b(p, element).map(at.b, p.batch, boxes(!p.tb, t.box_b())))?;
    let map_c = map_c(p, at).map_or(Ok(DevicePtr::new(0)), |m| map(&m))?;

    let clusters = (multiprocessors / t.cluster).clamp(1, tiles as u32);
    let shape = Launch::new(clusters * t.cluster, kernels::BLOCK).shared(t.shared());
    let c_element = match p.c {
        DType::F16 => element::F16,
        DType::Bf16 => element::BF16,
        DType::F32 | DType::U32 => element::F32,
    };
    let args = (
        map_a,
        map_b,
        map_c,
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
        p.activation.kind(),
        p.activation.param(),
        epilogue::kind(c_element, p.extra.code()),
    );
    macro_rules! pick {
        ($nn:ident $nt:ident $tn:ident $tt:ident) => {
            match (p.ta, p.tb) {
                (false, false) => device.launch(kernel!(gemm::hopper::$nn), shape, args),
                (false, true) => device.launch(kernel!(gemm::hopper::$nt), shape, args),
                (true, false) => device.launch(kernel!(gemm::hopper::$tn), shape, args),
                (true, true) => device.launch(kernel!(gemm::hopper::$tt), shape, args),
            }
        };
    }
    Ok(match (element, t == kernels::LARGE) {
        (MapElement::Bf16, true) => {
            pick!(hopper_bf16_nn_256 hopper_bf16_nt_256 hopper_bf16_tn_256 hopper_bf16_tt_256)
        }
        (MapElement::Bf16, false) => {
            pick!(hopper_bf16_nn_128 hopper_bf16_nt_128 hopper_bf16_tn_128 hopper_bf16_tt_128)
        }
        (MapElement::F16, true) => {
            pick!(hopper_f16_nn_256 hopper_f16_nt_256 hopper_f16_tn_256 hopper_f16_tt_256)
        }
        (MapElement::F16, false) => {
            pick!(hopper_f16_nn_128 hopper_f16_nt_128 hopper_f16_tn_128 hopper_f16_tt_128)
        }
        (MapElement::Tf32 | MapElement::U8, true) => {
            device.launch(kernel!(gemm::hopper::hopper_tf32_256), shape, args)
        }
        (MapElement::Tf32 | MapElement::U8, false) => {
            device.launch(kernel!(gemm::hopper::hopper_tf32_128), shape, args)
        }
    }?)
}
