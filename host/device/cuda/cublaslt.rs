//! cuBLASLt, loaded when the program runs: the yardstick of `bench gemm`, and nothing else of this project uses it.
//!
//! The library is `libcublasLt.so` of CUDA 13, 12 or 11, found as the dynamic loader finds libraries; the environment variable
//! [`LIBRARY_VARIABLE`] names another (PyTorch's wheel of `nvidia-cublas` has one). Work goes to the context's own stream, so
//! that events time it like any launch. Enumerations and layouts are those of `cublasLt.h` and `library_types.h`, which CUDA
//! keeps from version to version.
//!
//! cuBLASLt's matrices are column-major. A row-major matrix is the transpose of the column-major one in the same memory, so
//! row-major `C = op(A) op(B)` is asked for as column-major `Cᵀ = op(B)ᵀ op(A)ᵀ`: the operands change places, and each keeps
//! its own flag.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;

use super::context::CudaContext;
use super::error::CudaError;
use super::loader::Library;
use super::sys::CUstream;

/// Environment variable that names the library to load.
pub const LIBRARY_VARIABLE: &str = "IRONWARP_LIBCUBLASLT";

const CANDIDATES: [&str; 4] =
    ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"];

/// Bytes that an algorithm may use beside the operands: what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Algorithms that the library's heuristics are asked for.
const ALGORITHMS: usize = 8;

/// Why there is no product by cuBLASLt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CublasLtError {
    /// The library could not be loaded.
    #[error(
        "cuBLASLt was not found ({0}): install CUDA's libraries, or set {LIBRARY_VARIABLE} to the path of its libcublasLt.so"
    )]
    Missing(String),
    /// The library lacks a function.
    #[error("cuBLASLt has no function {0}: set {LIBRARY_VARIABLE} to another version's libcublasLt.so")]
    NoFunction(&'static str),
    /// A call failed; the status is a `cublasStatus_t`.
    #[error("{call} failed with cuBLAS status {status}")]
    Status {
        /// The function.
        call: &'static str,
        /// What it returned.
        status: c_int,
    },
    /// 8-bit floats that the library does not multiply.
    #[error(
        "cuBLASLt multiplies 8-bit floats only where K is contiguous in A and B (A as it is, B transposed) and not both are e5m2"
    )]
    Float8,
    /// The heuristics know no algorithm for these operands.
    #[error("cuBLASLt has no algorithm for {0}")]
    NoAlgorithm(String),
    /// The device.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// The type of an operand, with its `cudaDataType_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    F32 = 0,
    F16 = 2,
    Bf16 = 14,
    E4m3 = 28,
    E5m2 = 29,
}

/// What products and sums are made in, with its `cublasComputeType_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// f32; operands of 16 or 8 bits are multiplied by the tensor cores all the same.
    F32 = 68,
    /// f32 operands rounded to tf32.
    Tf32 = 77,
}

/// A product of row-major matrices: `C = alpha op(A) op(B) + beta C`, op(A) `m x k`, op(B) `k x n`, densely stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CublasProblem {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Products, one after the other in memory.
    pub batch: usize,
    /// Whether A is stored `k x m`.
    pub ta: bool,
    /// Whether B is stored `n x k`.
    pub tb: bool,
    pub a: Type,
    pub b: Type,
    pub c: Type,
    pub compute: Compute,
    /// Whether all of a sum of products of 8-bit floats may stay in the tensor cores (`FAST_ACCUM`).
    pub fast: bool,
}

/// A column-major matrix as the library is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    ty: Type,
    rows: u64,
    cols: u64,
    transposed: bool,
}

impl CublasProblem {
    /// Whether A and B are 8-bit floats. Error: the library does not multiply them so (on Hopper, "TN" in its terms alone).
    fn float8(&self) -> Result<bool, CublasLtError> {
        let eight = |ty| matches!(ty, Type::E4m3 | Type::E5m2);
        let both = self.a == Type::E5m2 && self.b == Type::E5m2;
        match eight(self.a) || eight(self.b) {
            true if self.ta || !self.tb || both => Err(CublasLtError::Float8),
            float8 => Ok(float8),
        }
    }

    /// The library's A, B and C: see the module's docs.
    fn layouts(&self) -> [Layout; 3] {
        // A row-major `r x c` matrix is column-major `c x r`.
        let layout = |ty, transposed: bool, r: usize, c: usize| {
            let (r, c) = if transposed { (c, r) } else { (r, c) };
            Layout { ty, rows: c as u64, cols: r as u64, transposed }
        };
        [
            layout(self.b, self.tb, self.k, self.n),
            layout(self.a, self.ta, self.m, self.k),
            layout(self.c, false, self.m, self.n),
        ]
    }
}

type Status = c_int;
type Pointer = *mut c_void;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

type Create = unsafe extern "C" fn(*mut Pointer) -> Status;
type Destroy = unsafe extern "C" fn(Pointer) -> Status;
type Set = unsafe extern "C" fn(Pointer, c_int, *const c_void, usize) -> Status;
/// `cublasLtMatmulDescCreate`: compute type, scale type.
type CreateDesc = unsafe extern "C" fn(*mut Pointer, c_int, c_int) -> Status;
/// `cublasLtMatrixLayoutCreate`: type, rows, columns, leading dimension.
type CreateLayout = unsafe extern "C" fn(*mut Pointer, c_int, u64, u64, i64) -> Status;
/// `cublasLtMatmulAlgoGetHeuristic`: handle, descriptor, A, B, C, D, preference, results wanted, results, their number.
type GetHeuristic = unsafe extern "C" fn(
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    Pointer,
    c_int,
    *mut Heuristic,
    *mut c_int,
) -> Status;

/// `cublasLtMatmul`.
type Matmul = unsafe extern "C" fn(
    Pointer,
    Pointer,
    *const c_void,
    *const c_void,
    Pointer,
    *const c_void,
    Pointer,
    *const c_void,
    *const c_void,
    Pointer,
    *mut c_void,
    Pointer,
    *const [u64; 8],
    *mut c_void,
    usize,
    CUstream,
) -> Status;

/// The functions used.
struct Functions {
    create: Create,
    destroy: Destroy,
    desc_create: CreateDesc,
    desc_destroy: Destroy,
    desc_set: Set,
    layout_create: CreateLayout,
    layout_destroy: Destroy,
    layout_set: Set,
    preference_create: Create,
    preference_destroy: Destroy,
    preference_set: Set,
    heuristic: GetHeuristic,
    matmul: Matmul,
}

/// Attribute numbers of descriptors, layouts and preferences.
const DESC_TRANSPOSE_A: c_int = 3;
const DESC_TRANSPOSE_B: c_int = 4;
const DESC_FAST_ACCUM: c_int = 25;
const LAYOUT_BATCH: c_int = 5;
const LAYOUT_STRIDE: c_int = 6;
const PREFERENCE_WORKSPACE: c_int = 1;

impl Functions {
    fn load() -> Result<Functions, CublasLtError> {
        let library = match std::env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty()) {
            Some(name) => Library::open(&name.to_string_lossy()),
            None => {
                let mut tried = CANDIDATES.iter().map(|name| Library::open(name));
                let first = tried.next().unwrap_or_else(|| Err(String::new()));
                first.or_else(|reason| tried.find_map(Result::ok).ok_or(reason))
            }
        }
        .map_err(CublasLtError::Missing)?;
        macro_rules! function {
            ($name:literal: $type:ty) => {{
                const NAME: &CStr =
                    match CStr::from_bytes_with_nul(concat!("cublasLt", $name, "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => unreachable!(),
                    };
                let symbol =
                    library.symbol(NAME).ok_or(CublasLtError::NoFunction(concat!("cublasLt", $name)))?;
                // SAFETY: the library's function of this name has the signature of the field, by cublasLt.h.
                unsafe { std::mem::transmute::<*mut c_void, $type>(symbol.as_ptr()) }
            }};
        }
        Ok(Functions {
            create: function!("Create": Create),
            destroy: function!("Destroy": Destroy),
            desc_create: function!("MatmulDescCreate": CreateDesc),
            desc_destroy: function!("MatmulDescDestroy": Destroy),
            desc_set: function!("MatmulDescSetAttribute": Set),
            layout_create: function!("MatrixLayoutCreate": CreateLayout),
            layout_destroy: function!("MatrixLayoutDestroy": Destroy),
            layout_set: function!("MatrixLayoutSetAttribute": Set),
            preference_create: function!("MatmulPreferenceCreate": Create),
            preference_destroy: function!("MatmulPreferenceDestroy": Destroy),
            preference_set: function!("MatmulPreferenceSetAttribute": Set),
            heuristic: function!("MatmulAlgoGetHeuristic": GetHeuristic),
            matmul: function!("Matmul": Matmul),
        })
    }
}

fn check(call: &'static str, status: Status) -> Result<(), CublasLtError> {
    if status == 0 { Ok(()) } else { Err(CublasLtError::Status { call, status }) }
}

/// An object of the library with the function that destroys it.
struct Object(Pointer, unsafe extern "C" fn(Pointer) -> Status);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object came from the library and is destroyed once. Nobody is there for an error.
        unsafe { (self.1)(self.0) };
    }
}

/// The library on a device.
pub struct CublasLt {
    context: CudaContext,
    functions: Functions,
    handle: Object,
    workspace: u64,
}

impl CublasLt {
    /// Loads the library for `context`. Errors: there is none; it does not start; no memory for its workspace.
    pub fn new(context: &CudaContext) -> Result<CublasLt, CublasLtError> {
        let functions = Functions::load()?;
        // The context must be current on this thread when the library is started.
        drop(context.shared.enter()?);
        let mut handle = null_mut();
        // SAFETY: the output is a live local.
        check("cublasLtCreate", unsafe { (functions.create)(&mut handle) })?;
        let handle = Object(handle, functions.destroy);
        let workspace = context.alloc(WORKSPACE)?;
        Ok(CublasLt { context: context.clone(), functions, handle, workspace })
    }

    /// Asks the library's heuristics for algorithms. Errors: it has none.
    pub fn plan(&self, problem: &CublasProblem) -> Result<CublasGemm<'_>, CublasLtError> {
        let f = &self.functions;
        let float8 = problem.float8()?;
        let mut raw = null_mut();
        // SAFETY: the output is a live local. The scale type is f32.
        check("cublasLtMatmulDescCreate", unsafe {
            (f.desc_create)(&mut raw, problem.compute as c_int, Type::F32 as c_int)
        })?;
        let desc = Object(raw, f.desc_destroy);
        // `CUBLAS_OP_T`.
        let (layouts, transpose, workspace) = (problem.layouts(), 1 as c_int, WORKSPACE);
        for (attribute, layout) in [(DESC_TRANSPOSE_A, layouts[0]), (DESC_TRANSPOSE_B, layouts[1])] {
            if layout.transposed {
                // SAFETY: the descriptor is alive; the attribute is an int.
                check("cublasLtMatmulDescSetAttribute", unsafe {
                    (f.desc_set)(desc.0, attribute, (&raw const transpose).cast(), size_of::<c_int>())
                })?;
            }
        }
        if float8 {
            let fast = i8::from(problem.fast);
            // SAFETY: the descriptor is alive; the attribute is an int8.
            check("cublasLtMatmulDescSetAttribute", unsafe {
                (f.desc_set)(desc.0, DESC_FAST_ACCUM, (&raw const fast).cast(), size_of::<i8>())
            })?;
        }
        let layouts: Vec<Object> =
            layouts.iter().map(|l| self.layout(l, problem.batch)).collect::<Result<_, _>>()?;
        let mut raw = null_mut();
        // SAFETY: the output is a live local.
        check("cublasLtMatmulPreferenceCreate", unsafe { (f.preference_create)(&mut raw) })?;
        let preference = Object(raw, f.preference_destroy);
        // SAFETY: the preference is alive; the attribute is a size.
        check("cublasLtMatmulPreferenceSetAttribute", unsafe {
            (f.preference_set)(
                preference.0,
                PREFERENCE_WORKSPACE,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
        })?;
        let none = Heuristic { algorithm: [0; 8], workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] };
        let (mut found, mut count) = ([none; ALGORITHMS], 0);
        let [a, b, c] = [0, 1, 2].map(|i: usize| layouts[i].0);
        // SAFETY: all objects are alive, and the outputs are live locals with room for as many as are asked for.
        let status = unsafe {
            (f.heuristic)(
                self.handle.0,
                desc.0,
                a,
                b,
                c,
                c,
                preference.0,
                ALGORITHMS as c_int,
                found.as_mut_ptr(),
                &mut count,
            )
        };
        let usable =
            found[..usize::try_from(count).unwrap_or(0).min(ALGORITHMS)].iter().filter(|h| h.state == 0);
        let algorithms: Vec<Heuristic> = usable.copied().collect();
        if status != 0 || algorithms.is_empty() {
            return Err(CublasLtError::NoAlgorithm(format!("{problem:?} (status {status})")));
        }
        Ok(CublasGemm { lt: self, desc, layouts, algorithms })
    }

    fn layout(&self, layout: &Layout, batch: usize) -> Result<Object, CublasLtError> {
        let f = &self.functions;
        let mut raw = null_mut();
        // SAFETY: the output is a live local. Dense: a column is as long as the matrix has rows.
        check("cublasLtMatrixLayoutCreate", unsafe {
            (f.layout_create)(&mut raw, layout.ty as c_int, layout.rows, layout.cols, layout.rows as i64)
        })?;
        let object = Object(raw, f.layout_destroy);
        if batch > 1 {
            let (count, stride) = (batch as c_int, (layout.rows * layout.cols) as i64);
            // SAFETY: the layout is alive; the attributes are an int and an int64.
            check("cublasLtMatrixLayoutSetAttribute", unsafe {
                match (f.layout_set)(object.0, LAYOUT_BATCH, (&raw const count).cast(), size_of::<c_int>()) {
                    0 => {
                        (f.layout_set)(object.0, LAYOUT_STRIDE, (&raw const stride).cast(), size_of::<i64>())
                    }
                    status => status,
                }
            })?;
        }
        Ok(object)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // Only a lost context refuses, and then the memory is gone with it.
        let _ = self.context.free(self.workspace);
    }
}

/// A product that the library can run, with its algorithms in the order of its heuristics.
pub struct CublasGemm<'a> {
    lt: &'a CublasLt,
    desc: Object,
    layouts: Vec<Object>,
    algorithms: Vec<Heuristic>,
}

impl CublasGemm<'_> {
    /// How many algorithms there are, at least 1.
    pub fn algorithms(&self) -> usize {
        self.algorithms.len()
    }

    /// Enqueues the product by algorithm `index` (from 0; past the last it is the first) on the context's stream.
    ///
    /// # Safety
    /// - `a`, `b` and `c` are device addresses of live memory of the context that covers their matrices, as the problem says,
    ///   aligned to 256 bytes, and stay so until the device has passed this point; `c` overlaps neither `a` nor `b`.
    pub unsafe fn run(
        &self,
        index: usize,
        alpha: f32,
        [a, b]: [u64; 2],
        beta: f32,
        c: u64,
    ) -> Result<(), CublasLtError> {
        let chosen = self.algorithms.get(index).unwrap_or(&self.algorithms[0]);
        let op = self.lt.context.shared.enter()?;
        let c = c as *mut c_void;
        // SAFETY: all objects are alive; the operands are as the caller promises, in swapped order as the layouts are; the
        // workspace has the bytes that the preference named; the stream is the context's.
        let status = unsafe {
            (self.lt.functions.matmul)(
                self.lt.handle.0,
                self.desc.0,
                (&raw const alpha).cast(),
                b as *const c_void,
                self.layouts[0].0,
                a as *const c_void,
                self.layouts[1].0,
                (&raw const beta).cast(),
                c,
                self.layouts[2].0,
                c,
                self.layouts[2].0,
                &chosen.algorithm,
                self.lt.workspace as *mut c_void,
                WORKSPACE,
                op.shared.stream(),
            )
        };
        check("cublasLtMatmul", status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(ta: bool, tb: bool) -> CublasProblem {
        let (a, b, c) = (Type::Bf16, Type::F16, Type::F32);
        CublasProblem { m: 3, n: 4, k: 5, batch: 1, ta, tb, a, b, c, compute: Compute::F32, fast: false }
    }

    /// Element (i, j) of op(X), X column-major.
    fn at(x: &[f32], layout: &Layout, i: usize, j: usize) -> f32 {
        let (r, c) = if layout.transposed { (j, i) } else { (i, j) };
        assert!(r < layout.rows as usize && c < layout.cols as usize);
        x[c * layout.rows as usize + r]
    }

    #[test]
    fn swapped_column_major_operands_are_the_row_major_product() {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let p = problem(ta, tb);
            let numbers = |n: usize, s: f32| (0..n).map(|i| (i as f32 * s).sin()).collect::<Vec<f32>>();
            let (a, b) = (numbers(p.m * p.k, 1.3), numbers(p.k * p.n, 0.7));
            let [first, second, out] = p.layouts();
            assert_eq!((first.ty, second.ty, out.ty), (Type::F16, Type::Bf16, Type::F32));
            for i in 0..p.m {
                for j in 0..p.n {
                    let row_major: f32 = (0..p.k)
                        .map(|q| {
                            let x = if ta { a[q * p.m + i] } else { a[i * p.k + q] };
                            x * if tb { b[j * p.k + q] } else { b[q * p.n + j] }
                        })
                        .sum();
                    // Column-major C is n x m: element (j, i) lies where row-major (i, j) does.
                    let swapped: f32 = (0..p.k).map(|q| at(&b, &first, j, q) * at(&a, &second, q, i)).sum();
                    assert_eq!((out.rows, out.cols), (p.n as u64, p.m as u64));
                    assert!((row_major - swapped).abs() < 1e-6, "{ta} {tb}: {row_major} {swapped}");
                }
            }
        }
    }

    #[test]
    fn eight_bit_floats_are_multiplied_in_one_layout() {
        let of = |ta, tb, a, b| CublasProblem { a, b, ..problem(ta, tb) }.float8();
        let (e4, e5) = (Type::E4m3, Type::E5m2);
        for (a, b) in [(e4, e4), (e4, e5), (e5, e4)] {
            assert_eq!(of(false, true, a, b), Ok(true));
            for (ta, tb) in [(false, false), (true, false), (true, true)] {
                assert_eq!(of(ta, tb, a, b), Err(CublasLtError::Float8));
            }
        }
        assert_eq!(of(false, true, e5, e5), Err(CublasLtError::Float8));
        assert_eq!(problem(true, false).float8(), Ok(false));
        assert!(CublasLtError::Float8.to_string().contains("B transposed"));
    }

    #[test]
    fn a_result_of_the_heuristics_has_the_size_of_the_header() {
        assert_eq!((size_of::<Heuristic>(), std::mem::offset_of!(Heuristic, state)), (96, 72));
    }

    #[test]
    fn a_missing_library_is_one_clear_line() {
        let error = CublasLtError::Missing("libcublasLt.so: cannot open".into()).to_string();
        assert!(error.contains(LIBRARY_VARIABLE) && error.lines().count() == 1, "{error}");
    }
}
