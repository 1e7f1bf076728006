//! The entry points: names, signatures and results of the CUDA Driver API reference.
//!
//! Here are those that want no context; those that do are in `context.rs`. Each call holds the GPU for its length.
#![allow(non_snake_case, clippy::too_many_arguments, unused_variables)] // The API's names, and arguments without a meaning here.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};

use ptx_sim::{Interleave, L2Promotion, OobFill, Swizzle, TensorMap, TensorMapType};

use crate::gpu::{Gpu, SHARED_BYTES, code, hold, start};

/// CUDA 12.8.
const VERSION: c_int = 12_080;
/// The handle of the primary context, the only one.
const CONTEXT: usize = 0x1000;

thread_local! {
    /// The context that is current on this thread, or 0.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Handles are opaque to programs.
type Handle = *mut c_void;

fn handle(number: usize) -> Handle {
    std::ptr::without_provenance_mut(number)
}

/// Writes a result.
fn put<T>(to: *mut T, value: T) -> u32 {
    if to.is_null() {
        return code::INVALID_VALUE;
    }
    // SAFETY: results go to places that the caller gave for them, of the API's type; null was refused.
    unsafe { to.write(value) };
    code::SUCCESS
}

/// Writes a result that the caller may not want.
fn put_some<T>(to: *mut T, value: T) {
    if !to.is_null() {
        put(to, value);
    }
}

/// Entry points, and a table of them by name.
macro_rules! entry_points {
    ($table:ident; $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            // SAFETY: where this library is loaded it stands in for the driver: nobody else exports the driver's names.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> u32 $body
        )*

        pub(super) const $table: &[(&str, *const ())] = &[$((stringify!($name), $name as *const ())),*];
    };
}

/// Does something with the GPU where no context is needed.
fn started(body: impl FnOnce(&mut Gpu) -> u32) -> u32 {
    hold().get().map_or(code::NOT_INITIALIZED, body)
}

/// As [`started`], of device 0.
fn device(ordinal: c_int, body: impl FnOnce(&mut Gpu) -> u32) -> u32 {
    started(|gpu| if ordinal == 0 { body(gpu) } else { code::INVALID_DEVICE })
}

mod context;

entry_points! { ANYTIME;
    fn cuInit(flags: u32) { if flags == 0 { start() } else { code::INVALID_VALUE } }
    fn cuDriverGetVersion(version: *mut c_int) { put(version, VERSION) }
    fn cuGetErrorName(error: u32, text: *mut *const c_char) { error_text(error, text, |name, _| name) }
    fn cuGetErrorString(error: u32, text: *mut *const c_char) { error_text(error, text, |_, what| what) }

    fn cuDeviceGetCount(count: *mut c_int) { started(|_| put(count, 1)) }
    fn cuDeviceGet(out: *mut c_int, ordinal: c_int) { device(ordinal, |_| put(out, 0)) }
    fn cuDeviceGetName(name: *mut c_char, bytes: c_int, ordinal: c_int) {
        device(ordinal, |gpu| {
            let (major, minor) = gpu.settings.gpu.compute;
            let text = format!("ptx-sim {major}.{minor}");
            let room = usize::try_from(bytes).unwrap_or(0);
            if name.is_null() || room == 0 { return code::INVALID_VALUE; }
            let kept = &text.as_bytes()[..text.len().min(room - 1)];
            // SAFETY: the caller's buffer has `bytes` bytes; the text and its end are no more.
            unsafe {
                std::ptr::copy_nonoverlapping(kept.as_ptr(), name.cast(), kept.len());
                name.add(kept.len()).write(0);
            }
            code::SUCCESS
        })
    }
    fn cuDeviceTotalMem_v2(bytes: *mut usize, ordinal: c_int) { device(ordinal, |gpu| put(bytes, gpu.settings.memory)) }
    fn cuDeviceGetUuid(uuid: *mut [u8; 16], ordinal: c_int) { device(ordinal, |_| put(uuid, *b"ptx-sim's driver")) }
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, ordinal: c_int) {
        device(ordinal, |gpu| match self::attribute(gpu, attribute) {
            Some(known) => put(value, known as c_int),
            None => code::INVALID_VALUE,
        })
    }
    fn cuDevicePrimaryCtxRetain(context: *mut Handle, ordinal: c_int) { device(ordinal, |_| put(context, handle(CONTEXT))) }
    fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) { device(ordinal, |_| code::SUCCESS) }
    fn cuDevicePrimaryCtxReset_v2(ordinal: c_int) { device(ordinal, |gpu| { gpu.reset(); code::SUCCESS }) }
    fn cuDevicePrimaryCtxSetFlags_v2(ordinal: c_int, flags: u32) { device(ordinal, |_| code::SUCCESS) }
    fn cuDevicePrimaryCtxGetState(ordinal: c_int, flags: *mut u32, active: *mut c_int) {
        device(ordinal, |_| put(flags, 0) + put(active, 1))
    }

    fn cuCtxSetCurrent(context: Handle) { CURRENT.set(context.addr()); code::SUCCESS }
    fn cuCtxGetCurrent(context: *mut Handle) { put(context, handle(CURRENT.get())) }
    fn cuCtxPushCurrent_v2(context: Handle) { CURRENT.set(context.addr()); code::SUCCESS }
    fn cuCtxPopCurrent_v2(context: *mut Handle) {
        put_some(context, handle(CURRENT.get()));
        CURRENT.set(0);
        code::SUCCESS
    }
    fn cuCtxCreate_v2(context: *mut Handle, flags: u32, ordinal: c_int) {
        device(ordinal, |_| { CURRENT.set(CONTEXT); put(context, handle(CONTEXT)) })
    }
    fn cuCtxDestroy_v2(context: Handle) { CURRENT.set(0); started(|gpu| { gpu.reset(); code::SUCCESS }) }
    fn cuCtxGetApiVersion(context: Handle, version: *mut u32) { put(version, VERSION as u32) }

    // By name, as programs find functions that are newer than their headers.
    fn cuGetProcAddress(name: *const c_char, address: *mut Handle, version: c_int, flags: u64) {
        // SAFETY: names are NUL-terminated.
        let name = unsafe { CStr::from_ptr(name) };
        match exported(name) {
            Some(found) => put(address, found),
            None => put(address, std::ptr::null_mut()) + code::NOT_FOUND,
        }
    }
    fn cuGetProcAddress_v2(name: *const c_char, address: *mut Handle, version: c_int, flags: u64, status: *mut c_int) {
        // SAFETY: names are NUL-terminated.
        let found = exported(unsafe { CStr::from_ptr(name) });
        put_some(status, if found.is_some() { 0 } else { 1 });
        put(address, found.unwrap_or(std::ptr::null_mut()))
    }

    fn cuTensorMapEncodeTiled(
        map: *mut [u8; 128], data_type: u32, rank: u32, address: Handle, dims: *const u64, strides: *const u64,
        boxes: *const u32, element_strides: *const u32, interleave: u32, swizzle: u32, promotion: u32, fill: u32
    ) {
        let rank = rank as usize;
        if !(1..=5).contains(&rank) || [dims.is_null(), boxes.is_null(), element_strides.is_null()].contains(&true) {
            return code::INVALID_VALUE;
        }
        // SAFETY: the arrays have as many elements as the rank says, the strides one fewer.
        let (dims, boxes, steps, strides) = unsafe {
            (
                std::slice::from_raw_parts(dims, rank),
                std::slice::from_raw_parts(boxes, rank),
                std::slice::from_raw_parts(element_strides, rank),
                if rank > 1 { std::slice::from_raw_parts(strides, rank - 1) } else { &[] },
            )
        };
        let interleaves = [Interleave::None, Interleave::Bytes16, Interleave::Bytes32];
        let swizzles = [Swizzle::None, Swizzle::Bytes32, Swizzle::Bytes64, Swizzle::Bytes128];
        let promotions = [L2Promotion::None, L2Promotion::Bytes64, L2Promotion::Bytes128, L2Promotion::Bytes256];
        let at = |i: u32| i as usize;
        let (Some(&ty), Some(&interleave), Some(&swizzle), Some(&promotion), Some(&fill)) = (
            TensorMapType::ALL.get(at(data_type)),
            interleaves.get(at(interleave)),
            swizzles.get(at(swizzle)),
            promotions.get(at(promotion)),
            [OobFill::Zero, OobFill::Nan].get(at(fill)),
        ) else {
            return code::INVALID_VALUE;
        };
        let encoded = TensorMap::builder(ty, address.addr() as u64, dims, strides, boxes)
            .element_strides(steps)
            .interleave(interleave)
            .swizzle(swizzle)
            .l2_promotion(promotion)
            .oob_fill(fill)
            .build();
        match encoded {
            Ok(encoded) => put(map, encoded.encode()),
            Err(reason) => {
                eprintln!("ptx-sim-driver: cuTensorMapEncodeTiled: {reason}");
                code::INVALID_VALUE
            }
        }
    }
}

/// `CUdevice_attribute`.
fn attribute(gpu: &Gpu, attribute: c_int) -> Option<u32> {
    let model = &gpu.settings.gpu;
    Some(match attribute {
        1..=3 => 1024,                     // threads of a block, in x, in y
        4 => 64,                           // in z
        5 => i32::MAX as u32,              // blocks in x
        6 | 7 => 65_535,                   // in y and z
        8 => SHARED_BYTES,                 // shared memory of a block
        9 => 64 << 10,                     // constant memory
        10 => 32,                          // lanes of a warp
        12 | 82 => model.limits.registers, // registers of a block, of a multiprocessor
        13 => model.clock_mhz * 1000,      // clock, kHz
        16 => model.sms,                   // multiprocessors
        36 | 37 => 0,                      // memory clock and bus: there is none
        38 => model.l2_bytes as u32,       // second-level cache
        39 => 32 * model.limits.warps,     // threads of a multiprocessor
        41 => 0,                           // one address space with the host
        75 => model.compute.0,             // compute capability
        76 => model.compute.1,
        81 => model.limits.shared,           // shared memory of a multiprocessor
        97 => model.limits.shared_per_block, // of a block that opts in
        106 => model.limits.blocks,          // blocks of a multiprocessor
        _ => return None,
    })
}

/// Name and text of a result.
fn error_text(
    error: u32,
    text: *mut *const c_char,
    pick: fn(&'static CStr, &'static CStr) -> &'static CStr,
) -> u32 {
    let (name, what) = match error {
        code::SUCCESS => (c"CUDA_SUCCESS", c"no error"),
        code::INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        code::OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        code::NOT_INITIALIZED => (c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
        code::NO_DEVICE => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        code::INVALID_DEVICE => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        code::INVALID_IMAGE => (c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
        code::INVALID_CONTEXT => (c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
        code::NO_BINARY_FOR_GPU => {
            (c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image is available for execution on the device")
        }
        code::INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
        code::INVALID_HANDLE => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        code::NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        code::ILLEGAL_ADDRESS => (c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
        code::LAUNCH_OUT_OF_RESOURCES => {
            (c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch")
        }
        code::HOST_MEMORY_ALREADY_REGISTERED => (
            c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
            c"part or all of the requested memory range is already mapped",
        ),
        code::HOST_MEMORY_NOT_REGISTERED => (
            c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
            c"pointer does not correspond to a registered memory region",
        ),
        code::ASSERT => (c"CUDA_ERROR_ASSERT", c"device-side assert triggered"),
        code::MISALIGNED_ADDRESS => (c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
        code::LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        code::NOT_SUPPORTED => (c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
        code::STREAM_CAPTURE_UNSUPPORTED => {
            (c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"operation not permitted when stream is capturing")
        }
        code::STREAM_CAPTURE_INVALIDATED => (
            c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
            c"operation failed due to a previous error during capture",
        ),
        code::INVALID_CLUSTER_SIZE => (c"CUDA_ERROR_INVALID_CLUSTER_SIZE", c"invalid cluster size"),
        _ => {
            put_some(text, std::ptr::null());
            return code::INVALID_VALUE;
        }
    };
    put(text, pick(name, what).as_ptr())
}

/// The address of an entry point of this library, by the API's name: without the number of its version, or with it.
fn exported(name: &CStr) -> Option<Handle> {
    let name = name.to_str().ok()?;
    let named = |wanted: &str| {
        let mut all = ANYTIME.iter().chain(context::WITH_CONTEXT);
        all.find(|(known, _)| *known == wanted).map(|(_, function)| function.cast_mut().cast())
    };
    named(&format!("{name}_v2")).or_else(|| named(name))
}
