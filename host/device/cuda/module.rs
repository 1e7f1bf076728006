//! Modules: PTX compiled by the driver for the device at hand, and launches of the kernels in them.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::context::{CudaContext, Op, Shared, lock};
use super::error::{CudaError, DriverCode};
use super::loader;
use super::sys::{self, CUfunction, Handle};

/// PTX loaded on a device. Kernels are looked up once each. Graphs that launch its kernels keep it loaded.
pub struct CudaModule {
    inner: Arc<Loaded>,
}

/// The module itself, unloaded with the last that uses it.
pub(super) struct Loaded {
    shared: Arc<Shared>,
    module: Handle<cust::sys::CUmod_st>,
    kernels: Mutex<HashMap<String, Arc<Kernel>>>,
}

impl std::fmt::Debug for CudaModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CudaModule(cuda:{})", self.inner.shared.ordinal)
    }
}

/// What the driver's compiler made of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// The largest block it can be launched with, threads.
    pub max_threads_per_block: u32,
    /// Registers a thread uses.
    pub registers: u32,
    /// Local memory a thread uses, bytes; more than the kernel declares means spilled registers.
    pub local_bytes: u32,
    /// Shared memory the kernel itself declares, bytes a block.
    pub static_shared_bytes: u32,
}

/// A kernel of a loaded module.
struct Kernel {
    function: Handle<cust::sys::CUfunc_st>,
    name: Arc<str>,
    info: KernelInfo,
    /// Sizes of the parameters, where the driver can tell (CUDA 12.4 and later).
    parameters: Option<Vec<usize>>,
    /// Bytes of dynamic shared memory opted in to so far.
    dynamic_shared: AtomicU32,
}

/// One argument of a launch: the bytes of a scalar or a device address, or of a structure passed by value.
#[derive(Debug, Clone, Copy)]
pub struct KernelArg<'a>(Argument<'a>);

#[derive(Debug, Clone, Copy)]
enum Argument<'a> {
    Value(Aligned, u8),
    Bytes(&'a [u8]),
}

/// Bytes at an address where any scalar may stand.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Aligned([u8; 8]);

impl<'a> KernelArg<'a> {
    /// A scalar of up to 8 bytes, such as `u32`, `f32` or a device address as `u64`. A larger type does not
    /// compile.
    pub fn value<T: bytemuck::NoUninit>(value: T) -> KernelArg<'static> {
        const { assert!(size_of::<T>() <= 8, "pass values of more than 8 bytes with KernelArg::bytes") };
        let mut bytes = [0; 8];
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(&value));
        KernelArg(Argument::Value(Aligned(bytes), size_of::<T>() as u8))
    }

    /// A value of any size, as the bytes the kernel's parameter has.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self(Argument::Bytes(bytes))
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Argument::Value(Aligned(bytes), length) => &bytes[..usize::from(*length)],
            Argument::Bytes(bytes) => bytes,
        }
    }
}

/// More parameters than any kernel here has; keeps the list of their addresses off the heap.
const MAX_ARGUMENTS: usize = 64;

/// Bytes kept of the compiler's log.
const LOG_BYTES: usize = 16 << 10;

impl CudaContext {
    /// Compiles PTX for this device and loads it. The driver keeps compiled code on disk, so this is slow
    /// once per machine.
    ///
    /// # Errors
    /// [`CudaError::Jit`] with the compiler's log: broken PTX, PTX for a newer GPU, or a driver older than
    /// the PTX version.
    pub fn load_module(&self, ptx: &str) -> Result<CudaModule, CudaError> {
        let image = CString::new(ptx).map_err(|_| CudaError::Jit {
            code: DriverCode(200),
            log: "the PTX text contains a NUL byte: is the file damaged?".into(),
        })?;
        let op = self.shared.enter()?;
        op.refuse_in_capture("load_module")?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut names = [sys::jit::ERROR_LOG_BUFFER, sys::jit::ERROR_LOG_BUFFER_SIZE_BYTES];
        // The driver reads the size as a number in the pointer's place.
        let mut values = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(LOG_BYTES - 1)];
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is NUL-terminated; two options with two values, of which one is a buffer of at
        // least the size that the other says; all of them outlive the call.
        let raw = unsafe {
            sys::cuModuleLoadDataEx(
                &mut module,
                image.as_ptr().cast(),
                2,
                names.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        match op.check("cuModuleLoadDataEx", raw) {
            Ok(()) => {
                let kernels = Mutex::default();
                let inner = Loaded { shared: self.shared.clone(), module: Handle(module), kernels };
                Ok(CudaModule { inner: Arc::new(inner) })
            }
            Err(CudaError::Driver { code, .. }) => {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
                Err(CudaError::Jit { code, log })
            }
            Err(fault) => Err(fault),
        }
    }

    /// What the driver made of a kernel.
    ///
    /// # Errors
    /// [`CudaError::NoSuchKernel`]; a module of another context; the context is lost.
    pub fn kernel_info(&self, module: &CudaModule, name: &str) -> Result<KernelInfo, CudaError> {
        Ok(self.kernel(module, name)?.info)
    }

    fn kernel(&self, module: &CudaModule, name: &str) -> Result<Arc<Kernel>, CudaError> {
        if !Arc::ptr_eq(&self.shared, &module.inner.shared) {
            return Err(CudaError::Misuse {
                operation: "launch",
                reason: "the module belongs to another device",
            });
        }
        if let Some(known) = lock(&module.inner.kernels).get(name) {
            return Ok(known.clone());
        }
        let kernel = Arc::new(Kernel::find(&self.shared.enter()?, module, name)?);
        lock(&module.inner.kernels).insert(name.to_owned(), kernel.clone());
        Ok(kernel)
    }

    /// Enqueues a kernel: `grid` blocks of `block` threads with `shared` bytes of dynamic shared memory each.
    /// More than the default 48 KiB is opted in to where the device has it. Arguments are copied before this
    /// returns.
    ///
    /// # Errors
    /// [`CudaError::NoSuchKernel`]; [`CudaError::InvalidLaunch`] for an empty or too large grid or block, too
    /// much shared memory, or, where the driver can tell, arguments of another number or size than the
    /// kernel's parameters. Faults while the kernel runs are reported by a later call.
    ///
    /// # Safety
    /// The arguments are those of the kernel's signature, and it accesses nothing outside the allocations
    /// they point to, which stay live until it has run.
    pub unsafe fn launch(
        &self,
        module: &CudaModule,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: &[KernelArg<'_>],
    ) -> Result<(), CudaError> {
        let kernel = self.kernel(module, name)?;
        kernel.check(&self.shared, grid, block, shared, args)?;
        let mut pointers = [std::ptr::null_mut::<c_void>(); MAX_ARGUMENTS];
        for (pointer, arg) in pointers.iter_mut().zip(args) {
            *pointer = arg.as_bytes().as_ptr().cast_mut().cast();
        }
        let mut op = self.shared.enter()?;
        kernel.opt_in(&op, shared)?;
        match &mut op.state.capture {
            Some(capture) => capture.launched(kernel.name.clone(), &module.inner),
            None => op.state.launches.push(kernel.name.clone()),
        }
        // The driver reads as many arguments as the kernel has parameters, each of its size, before it returns.
        // SAFETY: function and stream are alive and of this context; the arguments are as the caller promises.
        let raw = unsafe {
            sys::cuLaunchKernel(
                kernel.function.0,
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                shared,
                self.shared.stream(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        match op.check("cuLaunchKernel", raw) {
            Err(CudaError::Driver { code, .. }) => Err(kernel.invalid(format!(
                "{code} (grid {grid:?}, block {block:?}, {shared} bytes of dynamic shared memory, {} registers a thread)",
                kernel.info.registers
            ))),
            other => other,
        }
    }
}

impl Kernel {
    fn find(op: &Op<'_>, module: &CudaModule, name: &str) -> Result<Self, CudaError> {
        let missing = || CudaError::NoSuchKernel { kernel: name.to_owned() };
        let symbol = CString::new(name).map_err(|_| missing())?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is alive, the name NUL-terminated, the output a live local.
        let raw = unsafe { sys::cuModuleGetFunction(&mut function, module.inner.module.0, symbol.as_ptr()) };
        if raw == DriverCode::NOT_FOUND.0 {
            return Err(missing());
        }
        op.check("cuModuleGetFunction", raw)?;
        let get = |attribute| {
            let mut value = 0;
            // SAFETY: the function is alive and the output a live local. This also makes a driver that loads
            // lazily load the kernel now, which it could not do during a capture.
            op.check("cuFuncGetAttribute", unsafe {
                sys::cuFuncGetAttribute(&mut value, attribute, function)
            })?;
            Ok::<u32, CudaError>(value.max(0) as u32)
        };
        let info = KernelInfo {
            max_threads_per_block: get(sys::function::MAX_THREADS_PER_BLOCK)?,
            registers: get(sys::function::NUM_REGS)?,
            local_bytes: get(sys::function::LOCAL_SIZE_BYTES)?,
            static_shared_bytes: get(sys::function::SHARED_SIZE_BYTES)?,
        };
        Ok(Self {
            function: Handle(function),
            name: name.into(),
            info,
            parameters: parameter_sizes(function),
            // Without opting in, static and dynamic shared memory together may take the default.
            dynamic_shared: AtomicU32::new(
                op.shared.limits.shared_bytes.saturating_sub(info.static_shared_bytes),
            ),
        })
    }

    fn invalid(&self, reason: String) -> CudaError {
        CudaError::InvalidLaunch { kernel: self.name.to_string(), reason }
    }

    /// What can be said about a launch without the driver.
    fn check(
        &self,
        context: &Shared,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: &[KernelArg<'_>],
    ) -> Result<(), CudaError> {
        let limits = &context.limits;
        if grid.contains(&0) || block.contains(&0) {
            return Err(self.invalid(format!("grid {grid:?} of blocks {block:?} has no threads")));
        }
        if grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 {
            return Err(self.invalid(format!("grid {grid:?} is larger than 2147483647 x 65535 x 65535")));
        }
        let threads = block.iter().map(|&side| u64::from(side)).product::<u64>();
        let most = limits.threads_per_block.min(self.info.max_threads_per_block);
        if threads > u64::from(most) {
            return Err(self.invalid(format!(
                "block {block:?} has {threads} threads and at most {most} fit (the kernel uses {} registers a thread)",
                self.info.registers
            )));
        }
        let bytes = u64::from(shared) + u64::from(self.info.static_shared_bytes);
        let most = limits.shared_bytes.max(limits.shared_bytes_optin);
        if bytes > u64::from(most) {
            return Err(self.invalid(format!(
                "it needs {bytes} bytes of shared memory a block and the device has {most}"
            )));
        }
        if args.len() > MAX_ARGUMENTS {
            return Err(self.invalid(format!("{} arguments are more than {MAX_ARGUMENTS}", args.len())));
        }
        let Some(parameters) = &self.parameters else { return Ok(()) };
        let given = args.iter().map(|arg| arg.as_bytes().len());
        if !given.clone().eq(parameters.iter().copied()) {
            let given: Vec<usize> = given.collect();
            return Err(self.invalid(format!(
                "its parameters have {parameters:?} bytes and the arguments {given:?}: was the PTX rebuilt?"
            )));
        }
        Ok(())
    }

    /// Asks for more dynamic shared memory than every kernel may have.
    fn opt_in(&self, op: &Op<'_>, shared: u32) -> Result<(), CudaError> {
        if shared <= self.dynamic_shared.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: the function is alive.
        let raw = unsafe {
            sys::cuFuncSetAttribute(
                self.function.0,
                sys::function::MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared as i32,
            )
        };
        match op.check("cuFuncSetAttribute", raw) {
            Ok(()) => {
                // The context's lock is held: no two threads opt in at once.
                self.dynamic_shared.store(shared, Ordering::Relaxed);
                Ok(())
            }
            Err(CudaError::Driver { code, .. }) => {
                Err(self.invalid(format!("{shared} bytes of dynamic shared memory were refused: {code}")))
            }
            Err(fault) => Err(fault),
        }
    }
}

/// The sizes of a kernel's parameters, from a driver that can tell.
fn parameter_sizes(function: CUfunction) -> Option<Vec<usize>> {
    /// `cuFuncGetParamInfo`, newer than `cust_raw`.
    type GetParamInfo = unsafe extern "C" fn(CUfunction, usize, *mut usize, *mut usize) -> u32;
    const NAME: &CStr = c"cuFuncGetParamInfo";
    let entry = loader::entry_point(NAME).ok()?;
    // SAFETY: the driver's function of this name has this signature.
    let get: GetParamInfo = unsafe { std::mem::transmute(entry.as_ptr()) };
    let mut sizes = Vec::new();
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the function is alive and the outputs live locals; an index past the last parameter is an
        // error code.
        match unsafe { get(function, sizes.len(), &mut offset, &mut size) } {
            0 => sizes.push(size),
            raw if raw == DriverCode::INVALID_VALUE.0 => return Some(sizes),
            _ => return None,
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let Ok(op) = self.shared.enter() else { return };
        // While a graph is captured (by this thread, of other modules) the stream cannot be waited for;
        // unloading then waits for the device itself, as cuModuleUnload does for running kernels.
        // SAFETY: the module is alive and unloaded once. No kernel of it runs after the wait; graphs that
        // could launch one hold the module and are gone.
        unsafe {
            if op.state.capture.is_none() {
                sys::cuStreamSynchronize(self.shared.stream());
            }
            sys::cuModuleUnload(self.module.0);
        }
    }
}
