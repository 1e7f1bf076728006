//! The driver functions this layer calls itself, declared with plain integers as results.
//!
//! `cust` has wrappers for contexts, streams and devices, and this layer uses them. It calls the rest here,
//! because `cust_raw` declares results as a Rust enum of the codes known in 2021: a newer driver returning a
//! newer code would be undefined behaviour. Signatures are those of the CUDA driver API (`cuda.h`); the
//! symbols are those of `trampolines.rs`.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::error::DriverCode;

pub(super) use cust::sys::{CUcontext, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream};

/// `CUdevice_attribute` values.
pub(super) mod attribute {
    pub const MAX_THREADS_PER_BLOCK: i32 = 1;
    pub const MAX_SHARED_MEMORY_PER_BLOCK: i32 = 8;
    pub const CLOCK_RATE: i32 = 13;
    pub const MULTIPROCESSOR_COUNT: i32 = 16;
    pub const MEMORY_CLOCK_RATE: i32 = 36;
    pub const GLOBAL_MEMORY_BUS_WIDTH: i32 = 37;
    pub const L2_CACHE_SIZE: i32 = 38;
    pub const COMPUTE_CAPABILITY_MAJOR: i32 = 75;
    pub const COMPUTE_CAPABILITY_MINOR: i32 = 76;
    pub const MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: i32 = 97;
}

/// `CUfunction_attribute` values.
pub(super) mod function {
    pub const MAX_THREADS_PER_BLOCK: i32 = 0;
    pub const SHARED_SIZE_BYTES: i32 = 1;
    pub const LOCAL_SIZE_BYTES: i32 = 3;
    pub const NUM_REGS: i32 = 4;
    pub const MAX_DYNAMIC_SHARED_SIZE_BYTES: i32 = 8;
}

/// `CUjit_option` values.
pub(super) mod jit {
    pub const ERROR_LOG_BUFFER: i32 = 5;
    pub const ERROR_LOG_BUFFER_SIZE_BYTES: i32 = 6;
}

/// `CU_STREAM_CAPTURE_MODE_RELAXED`: calls that are not captured, such as allocations, stay allowed during a
/// capture.
pub(super) const CAPTURE_MODE_RELAXED: c_int = 2;
/// `CU_MEMHOSTREGISTER_PORTABLE`: pinned for every context.
pub(super) const HOST_REGISTER_PORTABLE: c_uint = 1;

impl DriverCode {
    /// `Ok` for zero, which is `CUDA_SUCCESS`.
    pub(super) fn check(raw: u32) -> Result<(), Self> {
        if raw == 0 { Ok(()) } else { Err(Self(raw)) }
    }
}

/// A driver handle or a pinned address that may move between threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle<T>(pub(super) *mut T);

// SAFETY: the driver API is thread-safe and its handles are not tied to the thread that made them (CUDA
// Driver API, "API thread safety"); whoever dereferences the pointer itself has to say why it may.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

unsafe extern "C" {
    pub(super) fn cuInit(flags: c_uint) -> u32;
    pub(super) fn cuDriverGetVersion(version: *mut c_int) -> u32;
    pub(super) fn cuGetProcAddress(
        name: *const c_char,
        address: *mut *mut c_void,
        version: c_int,
        flags: u64,
    ) -> u32;
    pub(super) fn cuDeviceGetCount(count: *mut c_int) -> u32;
    pub(super) fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: c_int) -> u32;
    pub(super) fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32;
    pub(super) fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> u32;
    pub(super) fn cuDevicePrimaryCtxReset_v2(device: c_int) -> u32;
    pub(super) fn cuCtxSetCurrent(context: CUcontext) -> u32;
    pub(super) fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32;
    pub(super) fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32;
    pub(super) fn cuMemFree_v2(address: u64) -> u32;
    pub(super) fn cuMemHostRegister_v2(memory: *mut c_void, bytes: usize, flags: c_uint) -> u32;
    pub(super) fn cuMemHostUnregister(memory: *mut c_void) -> u32;
    pub(super) fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: CUstream) -> u32;
    pub(super) fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: CUstream) -> u32;
    pub(super) fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: CUstream) -> u32;
    pub(super) fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: CUstream) -> u32;
    pub(super) fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: CUstream) -> u32;
    pub(super) fn cuStreamSynchronize(stream: CUstream) -> u32;
    pub(super) fn cuStreamBeginCapture_v2(stream: CUstream, mode: c_int) -> u32;
    pub(super) fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) -> u32;
    pub(super) fn cuEventCreate(event: *mut CUevent, flags: c_uint) -> u32;
    pub(super) fn cuEventRecord(event: CUevent, stream: CUstream) -> u32;
    pub(super) fn cuEventSynchronize(event: CUevent) -> u32;
    pub(super) fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) -> u32;
    pub(super) fn cuEventDestroy_v2(event: CUevent) -> u32;
    pub(super) fn cuModuleLoadDataEx(
        module: *mut CUmodule,
        image: *const c_void,
        options: c_uint,
        names: *mut c_int,
        values: *mut *mut c_void,
    ) -> u32;
    pub(super) fn cuModuleUnload(module: CUmodule) -> u32;
    pub(super) fn cuModuleGetFunction(
        function: *mut CUfunction,
        module: CUmodule,
        name: *const c_char,
    ) -> u32;
    pub(super) fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: CUfunction) -> u32;
    pub(super) fn cuFuncSetAttribute(function: CUfunction, attribute: c_int, value: c_int) -> u32;
    pub(super) fn cuLaunchKernel(
        function: CUfunction,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: CUstream,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> u32;
    pub(super) fn cuGraphGetNodes(graph: CUgraph, nodes: *mut c_void, count: *mut usize) -> u32;
    pub(super) fn cuGraphInstantiateWithFlags(
        executable: *mut CUgraphExec,
        graph: CUgraph,
        flags: u64,
    ) -> u32;
    pub(super) fn cuGraphUpload(executable: CUgraphExec, stream: CUstream) -> u32;
    pub(super) fn cuGraphLaunch(executable: CUgraphExec, stream: CUstream) -> u32;
    pub(super) fn cuGraphExecDestroy(executable: CUgraphExec) -> u32;
    pub(super) fn cuGraphDestroy(graph: CUgraph) -> u32;
}
