//! Starting the driver, and what it says about the GPUs.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use super::context::CudaContext;
use super::error::{CudaError, DriverCode};
use super::{loader, sys};

/// What `ironwarp devices` prints about one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaDeviceInfo {
    /// N of `cuda:N`.
    pub ordinal: usize,
    /// The product name.
    pub name: String,
    /// Major and minor; (9, 0) is Hopper.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Device memory, bytes.
    pub memory_total: usize,
    /// Free device memory, bytes; `None` where no context could be made on the device to ask it.
    pub memory_free: Option<usize>,
    /// Highest clock of the multiprocessors, kHz; 0 where the driver does not say.
    pub clock_khz: u32,
    /// Highest clock of the memory, kHz; 0 where the driver does not say.
    pub memory_clock_khz: u32,
    /// Width of the memory bus, bits.
    pub memory_bus_bits: u32,
    /// Second-level cache, bytes.
    pub l2_cache_bytes: u32,
    /// The most shared memory one block can have when its kernel opts in, bytes.
    pub shared_memory_per_block: u32,
    /// CUDA version that the driver serves, major and minor.
    pub driver_version: (u32, u32),
}

/// Loads and initialises the driver, once a process.
pub(super) fn initialise() -> Result<(), CudaError> {
    static STARTED: OnceLock<Result<(), CudaError>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            loader::library()?;
            // SAFETY: takes a number; flags must be 0.
            match DriverCode::check(unsafe { sys::cuInit(0) }) {
                Ok(()) => Ok(()),
                Err(DriverCode::NO_DEVICE) => Err(CudaError::NoGpu),
                Err(DriverCode::STUB_LIBRARY) => Err(CudaError::NoDriver {
                    library: "libcuda.so.1".into(),
                    reason: "a CUDA toolkit's stub library was found in its place".into(),
                }),
                Err(code) => Err(CudaError::DriverUnusable(code)),
            }
        })
        .clone()
}

pub(super) fn device_count() -> Result<usize, CudaError> {
    initialise()?;
    let mut count = 0;
    // SAFETY: the output is a live local.
    let raw = unsafe { sys::cuDeviceGetCount(&mut count) };
    match DriverCode::check(raw) {
        Ok(()) if count <= 0 => Err(CudaError::NoGpu),
        Ok(()) => Ok(count as usize),
        Err(code) => Err(CudaError::DriverUnusable(code)),
    }
}

/// The ordinal as the driver wants it, if there is such a device.
pub(super) fn checked_ordinal(ordinal: usize) -> Result<c_int, CudaError> {
    let count = device_count()?;
    if ordinal < count { Ok(ordinal as c_int) } else { Err(CudaError::NoSuchDevice { ordinal, count }) }
}

/// One `CUdevice_attribute`; 0 where the driver does not know it.
pub(super) fn attribute(device: c_int, attribute: i32) -> u32 {
    let mut value = 0;
    // SAFETY: the output is a live local; an unknown attribute is an error code, and the value stays 0.
    unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) };
    value.max(0) as u32
}

impl CudaContext {
    /// The number of GPUs; [`super::device_count`].
    ///
    /// # Errors
    /// As there.
    pub fn device_count() -> Result<usize, CudaError> {
        device_count()
    }

    /// What the driver says about `cuda:ordinal`. Opens the device for a moment if it is not open, to ask for
    /// its free memory.
    ///
    /// # Errors
    /// No CUDA here, or no such device.
    pub fn describe(ordinal: usize) -> Result<CudaDeviceInfo, CudaError> {
        let device = checked_ordinal(ordinal)?;
        let mut name: [c_char; 256] = [0; 256];
        let (mut memory_total, mut version) = (0, 0);
        // SAFETY: the outputs are live locals; the length is the buffer's, less one so that it always ends in
        // NUL.
        unsafe {
            let named = DriverCode::check(sys::cuDeviceGetName(name.as_mut_ptr(), 255, device));
            named.map_err(|code| CudaError::Driver { call: "cuDeviceGetName", code })?;
            let sized = DriverCode::check(sys::cuDeviceTotalMem_v2(&mut memory_total, device));
            sized.map_err(|code| CudaError::Driver { call: "cuDeviceTotalMem", code })?;
            let versioned = DriverCode::check(sys::cuDriverGetVersion(&mut version));
            versioned.map_err(|code| CudaError::Driver { call: "cuDriverGetVersion", code })?;
        }
        // SAFETY: the array ends in NUL, and is live.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let version = version.max(0) as u32;
        let get = |number| attribute(device, number);
        Ok(CudaDeviceInfo {
            ordinal,
            name,
            compute_capability: (
                get(sys::attribute::COMPUTE_CAPABILITY_MAJOR),
                get(sys::attribute::COMPUTE_CAPABILITY_MINOR),
            ),
            multiprocessors: get(sys::attribute::MULTIPROCESSOR_COUNT),
            memory_total,
            memory_free: CudaContext::new(ordinal)
                .and_then(|context| context.memory_info())
                .ok()
                .map(|(free, _)| free),
            clock_khz: get(sys::attribute::CLOCK_RATE),
            memory_clock_khz: get(sys::attribute::MEMORY_CLOCK_RATE),
            memory_bus_bits: get(sys::attribute::GLOBAL_MEMORY_BUS_WIDTH),
            l2_cache_bytes: get(sys::attribute::L2_CACHE_SIZE),
            shared_memory_per_block: get(sys::attribute::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
            driver_version: (version / 1000, version % 1000 / 10),
        })
    }
}
