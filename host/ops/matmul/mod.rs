//! The matrix products of the library: every precision, element type and epilogue, by named kernels.
//!
//! ```text
//! C[z] <- act(alpha op(A[z]) op(B[z]) + beta C[z] + bias) (+ E[z])         op(X) = X or its transpose
//! C[z] <- (alpha op(A[z]) op(B[z]) + beta C[z] + bias) * act'(E[z])
//! R[z] <- the sum of the rows, or of the columns, of C[z]
//! ```
//!
//! op(A) is M x K, op(B) K x N, C and E are M x N, all row-major with leading dimensions and strides of their own; the
//! bias has N elements of f32, the sums N or M. A [`Problem`] says all this, [`Precision`] how factors are multiplied: "fp32"
//! never becomes anything less. f32 operands of a narrower precision are converted on the way, to 8-bit floats those of 16
//! bits too.
//!
//! A [`Candidate`] is one way to do it: a kernel with its tile, by name. [`candidates`] lists those of a [`Target`],
//! [`choose`] picks one by a heuristic that depends on nothing but the problem, [`tune`] by measurement, [`matmul`] checks
//! operands, chooses ([`tune::choose`]) and runs. Every candidate gives the same bits from run to run; only stream-K's depend
//! on how many multiprocessors the device has.
//!
//! | family | kernels | for |
//! |---|---|---|
//! | [`gemv`] | `gpu_kernels::gemm::gemv` | M = 1 or N = 1, every precision but those of 8-bit floats, every GPU |
//! | [`simt`] | `gpu_kernels::gemm` | `Fp32`, every GPU |
//! | [`tensor`] | `gpu_kernels::gemm::tensor` | every other precision but those of 8-bit floats: tensor cores by `mma.sync`, since Ampere |
//! | [`hopper`] | `gpu_kernels::gemm::hopper` | the same but for `Fp32Fast`, and 8-bit floats: tensor cores by `wgmma`, Hopper alone |
//!
//! `cpu` has no candidates: [`cpu`] computes natively. [`grouped`] does many problems in one launch.

/// The kernel for (A, B) stored transposed or not, of a module that has one for each layout.
macro_rules! by_layout {
    ($layout:expr, $($module:ident)::+: $nn:ident $nt:ident $tn:ident $tt:ident) => {
        match $layout {
            (false, false) => $crate::kernel!($($module)::+::$nn),
            (false, true) => $crate::kernel!($($module)::+::$nt),
            (true, false) => $crate::kernel!($($module)::+::$tn),
            (true, true) => $crate::kernel!($($module)::+::$tt),
        }
    };
}

pub mod cpu;
pub mod gemv;
pub mod grouped;
pub mod hopper;
mod operand;
mod problem;
pub mod reference;
pub mod simt;
mod split;
mod sums;
pub mod tensor;
pub mod tune;

pub use operand::{Addresses, Epilogue, MatrixElement, Operand, OperandMut};
pub use problem::{Extra, MatmulError, Name, Precision, Problem, Reduce, Unsupported};

use ptx_sim::profile::Gpu;

use crate::device::{Buffer, Device, DeviceKind, Target};

/// The kernels of this folder that belong to no operation of the registry and are in the PTX of every target.
pub fn kernels() -> Vec<&'static str> {
    [tensor::KERNELS, gemv::KERNELS, grouped::KERNELS].concat()
}

/// One way to compute a product.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its name in tuning caches and tables: family, precision, tile.
    pub name: &'static str,
    /// The precision it computes in.
    pub precision: Precision,
    /// Rows, columns and depth of the tile that a block works on.
    pub tile: [u32; 3],
    /// What it reaches of the multipliers' peak when the device is full, in percent of what was published for kernels of its
    /// kind; compared only among candidates of one precision.
    pub rate: u32,
    /// Tells a family's candidates of one precision and tile apart.
    pub(crate) variant: u32,
    /// The family: the part of the rules, sizes and launches that depends on it.
    pub(crate) family: Family,
}

/// A family's functions; problems given to them passed [`Problem::check`] and have the candidate's precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// The targets whose PTX has the kernels.
    pub targets: &'static [Target],
    /// Whether the candidate does the problem.
    pub supports: fn(&Candidate, &Problem) -> Result<(), Unsupported>,
    /// Bytes of device memory that `run` wants, aligned to 256.
    pub workspace: fn(&Candidate, &Problem, &Device) -> usize,
    /// Estimated time of the product, in multiplications of a multiprocessor: candidates of one precision are compared by
    /// it. See [`Candidate::time`].
    pub estimate: fn(&Candidate, &Problem) -> u64,
    /// Launches. The last argument is the workspace's address.
    pub run: fn(&Candidate, &Device, &Problem, Addresses, u64) -> Result<(), MatmulError>,
}

/// A product's course on a device of [`MULTIPROCESSORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Elements of K that the busiest multiprocessor walks, tile after tile.
    pub k: u64,
    /// Partial sums that are written, and read by a second kernel; 0: there is none.
    pub partial: u64,
}

impl Candidate {
    /// Whether it does `problem` on `target`.
    pub fn supports(&self, problem: &Problem, target: Target) -> Result<(), Unsupported> {
        let no = |reason: String| Err(Unsupported::new(self.name, reason));
        if !self.family.targets.contains(&target) {
            return no(format!("not for {target:?}"));
        }
        if problem.precision != self.precision {
            return no(format!("computes in {}, not in {}", self.precision, problem.precision));
        }
        (self.family.supports)(self, problem)
    }

    /// Bytes of memory of `device` that the product needs beside its operands.
    pub fn workspace(&self, problem: &Problem, device: &Device) -> usize {
        (self.family.workspace)(self, problem, device)
    }

    /// Launches the product; `workspace` is the address of as many bytes as [`workspace`](Candidate::workspace) says, aligned
    /// to 256 (any address where that is 0). The problem must pass [`Problem::check`] and the addresses be those of
    /// operands that cover it and are aligned
    /// as it says: [`matmul`] proves that.
    pub(crate) fn run(
        &self,
        device: &Device,
        problem: &Problem,
        at: Addresses,
        workspace: u64,
    ) -> Result<(), MatmulError> {
        if let Err(reason) = self.supports(problem, device.target()) {
            return Err(MatmulError::Unsupported { problem: problem.to_string(), reasons: vec![reason] });
        }
        (self.family.run)(self, device, problem, at, workspace)
    }

    /// Estimated time of the product.
    fn estimate(&self, p: &Problem) -> u64 {
        (self.family.estimate)(self, p)
    }

    /// The estimate for kernels whose blocks compute tiles: what the busiest walks of K, times the tile's work for an element
    /// of K, in which an element loaded weighs as much as [`LOAD`] multiplications; and the reduction of partial sums.
    fn time(&self, p: &Problem, Walk { k, partial }: Walk) -> u64 {
        let [tm, tn, _] = self.tile.map(u64::from);
        let time = k.saturating_mul(tm * tn + LOAD * (tm + tn)).saturating_mul(100) / u64::from(self.rate);
        time.saturating_add(reduction_time(p.precision, partial))
    }
}

/// See [`Candidate::time`].
const LOAD: u64 = 32;
/// Clocks of a multiprocessor that a second launch takes, about: 2 microseconds.
const LAUNCH: u64 = 3500;
/// Bytes that a device moves in a clock: an H100's 3.35 TB/s at 1.75 GHz; partial sums stay, for the most part, in the
/// second-level cache, which is taken for twice as fast.
const BYTES: u64 = 2 * 1900;

/// What a second launch adds to an estimate that writes `partial` sums, and reads them again; nothing where it writes none.
fn reduction_time(precision: Precision, partial: u64) -> u64 {
    if partial == 0 {
        return 0;
    }
    // Multiplications of a multiprocessor in a clock: an H100's peaks.
    let clock = match precision {
        Precision::Fp32 => 128,
        Precision::Fp32Fast => 2048 / 6,
        Precision::Tf32 => 1024,
        Precision::Bf16 | Precision::F16 => 2048,
        Precision::Fp8 | Precision::Fp8Fast => 4096,
    };
    (LAUNCH + partial.saturating_mul(8) / BYTES).saturating_mul(clock)
}

/// Multiprocessors that heuristics fill: those of an H100.
pub(super) const MULTIPROCESSORS: usize = Gpu::H100.sms as usize;

/// Every candidate, the preferred families first.
fn all() -> impl Iterator<Item = &'static Candidate> {
    [gemv::CANDIDATES, hopper::CANDIDATES, tensor::CANDIDATES, simt::CANDIDATES].into_iter().flatten()
}

/// Every candidate of `target`, the preferred families first.
pub fn candidates(target: Target) -> impl Iterator<Item = &'static Candidate> {
    all().filter(move |c| c.family.targets.contains(&target))
}

/// The candidate for `problem` when nothing was tuned: of those that do it the one with the least estimated time, the
/// first of equals.
pub fn choose(problem: &Problem, target: Target) -> Result<&'static Candidate, MatmulError> {
    let mut reasons = Vec::new();
    let mut best: Option<(&'static Candidate, u64)> = None;
    for candidate in all().filter(|c| c.precision == problem.precision) {
        match candidate.supports(problem, target) {
            Ok(()) => {
                let time = candidate.estimate(problem);
                if best.is_none_or(|(_, least)| time < least) {
                    best = Some((candidate, time));
                }
            }
            Err(reason) => reasons.push(reason),
        }
    }
    best.map(|(c, _)| c).ok_or_else(|| MatmulError::Unsupported { problem: problem.to_string(), reasons })
}

/// Computes `problem` on `device` by the candidate that [`tune::choose`] picks. Operands are buffers of `device`, or parts of them
/// ([`Operand::new`]); those of the epilogue are given exactly where the problem has them.
///
/// ```
/// use half::bf16;
/// use ironwarp::Device;
/// use ironwarp::device::DType;
/// use ironwarp::ops::matmul::{Epilogue, Problem, Reduce, matmul};
/// let device = Device::sim();
/// let a = device.buffer(&[1.0, 2.0, 3.0, 4.0].map(bf16::from_f32))?;
/// let b = device.buffer(&[5.0, 6.0, 7.0, 8.0].map(bf16::from_f32))?;
/// let mut c = device.alloc::<f32>(4)?;
/// let problem = Problem::new(2, 2, 2).operands(DType::Bf16, DType::Bf16, DType::F32);
/// matmul(&device, &problem, &a, &b, &mut c, Epilogue::default())?;
/// assert_eq!(c.to_vec()?, [19.0, 22.0, 43.0, 50.0]);
/// // Beside C, the sum of its rows.
/// let mut sums = device.alloc::<f32>(2)?;
/// let epilogue = Epilogue { sums: Some((&mut sums).into()), ..Epilogue::default() };
/// matmul(&device, &Problem { reduce: Reduce::Rows, ..problem }, &a, &b, &mut c, epilogue)?;
/// assert_eq!(sums.to_vec()?, [62.0, 72.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn matmul<'a>(
    device: &Device,
    problem: &Problem,
    a: impl Into<Operand<'a>>,
    b: impl Into<Operand<'a>>,
    c: impl Into<OperandMut<'a>>,
    epilogue: Epilogue<'a>,
) -> Result<(), MatmulError> {
    let (a, b, c) = (a.into(), b.into(), c.into());
    if device.kind() == DeviceKind::Cpu {
        let at = problem.addresses(a, b, &c, &epilogue)?;
        return cpu::run(device, problem, at);
    }
    problem.check()?;
    let candidate = tune::choose(device, &problem.aligned_as(a, b))?;
    matmul_by(candidate, device, problem, a, b, c, epilogue)
}

/// As [`matmul`], by this candidate.
pub fn matmul_by<'a>(
    candidate: &Candidate,
    device: &Device,
    problem: &Problem,
    a: impl Into<Operand<'a>>,
    b: impl Into<Operand<'a>>,
    c: impl Into<OperandMut<'a>>,
    epilogue: Epilogue<'a>,
) -> Result<(), MatmulError> {
    let (a, b, c) = (a.into(), b.into(), c.into());
    let problem = &problem.aligned_as(a, b);
    let at = problem.addresses(a, b, &c, &epilogue)?;
    let bytes = candidate.workspace(problem, device);
    // Freed in stream order: after the kernels.
    let workspace: Option<Buffer<u8>> = if bytes > 0 { Some(device.alloc(bytes)?) } else { None };
    candidate.run(device, problem, at, workspace.as_ref().map_or(0, Buffer::address))
}
