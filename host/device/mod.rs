//! Devices: where memory lives and operations run.
//!
//! One [`Device`] type, three kinds behind it: `cpu` (native code, fast, no set-up), `sim` (the shipped PTX in
//! [`ptx_sim`] under its sanitizer, on any machine) and `cuda:N` (the shipped PTX on a GPU). A [`Buffer`] is typed
//! memory on a device; [`Device::launch`] starts a kernel whose arguments were checked against its signature at compile
//! time. Operations (`crate::ops`) run natively on `cpu` and by kernel launches on the other two; a kernel launched by
//! hand on `cpu` runs its PTX in the simulator over the same memory.

mod backend;
mod buffer;
mod cpu;
pub mod cuda;
#[cfg(any(feature = "cuda", ironwarp_cuda))]
mod cuda_backend;
pub mod float8;
mod launch;
mod model;
mod sim;
mod tensor_map;

use std::fmt;
use std::sync::Arc;

pub(crate) use backend::{Backend, Replay};
pub use buffer::{Buffer, DType, Element};
pub use float8::{E4m3, E5m2};
pub use launch::{
    ArgValue, DevicePtr, DevicePtrMut, Dim, Kernel, KernelArg, Launch, LaunchArgs, MAX_ARGS, PtxModule,
};
pub use model::Model;
pub use sim::{SimOptions, Target};
pub use tensor_map::{MapElement, TensorMap};

/// The kernels of this library, as PTX.
pub static BUILTIN: PtxModule = PtxModule {
    name: "ironwarp",
    sm_80: include_str!(env!("IRONWARP_PTX_SM_80")),
    sm_90a: include_str!(env!("IRONWARP_PTX_SM_90A")),
};

/// What went wrong on a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text is not `auto`, `cpu`, `sim` or `cuda:N`.
    #[error("unknown device '{0}': use auto, cpu, sim, cuda or cuda:N (see `ironwarp devices`)")]
    Unknown(String),
    /// The device is not there or not compiled in.
    #[error("device {device} is not available: {reason}")]
    Unavailable {
        /// The device asked for.
        device: String,
        /// Why, and the remedy.
        reason: String,
    },
    /// No memory left.
    #[error("out of memory on {device}: {bytes} bytes asked for; use a smaller batch or model")]
    OutOfMemory {
        /// The device.
        device: String,
        /// Size of the allocation that failed.
        bytes: usize,
    },
    /// Host and device lengths differ.
    #[error("{what}: {got} elements given, {expected} expected")]
    Length {
        /// What was being done.
        what: &'static str,
        /// Elements given.
        got: usize,
        /// Elements expected.
        expected: usize,
    },
    /// A launch that no device accepts.
    #[error("kernel {kernel}: invalid launch: {reason}")]
    InvalidLaunch {
        /// The kernel.
        kernel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel broke a rule or failed; the text names kernel, place and remedy.
    #[error("{0}")]
    Kernel(String),
    /// The driver refused a call.
    #[error("{0}")]
    Driver(String),
}

/// Which kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The host's cores, native code.
    Cpu,
    /// The shipped PTX in the simulator.
    Sim,
    /// A GPU by ordinal.
    Cuda(usize),
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Sim => f.write_str("sim"),
            DeviceKind::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// Counts since the device was opened; for tests and profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Kernels launched (on `cpu`: only kernels launched by hand).
    pub launches: u64,
    /// Allocations that reached the underlying allocator.
    pub allocations: u64,
    /// Bytes in use now, as they were asked for.
    pub bytes_in_use: usize,
}

/// A device. Cheap to clone; clones share the device.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<dyn Backend>);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.kind())
    }
}

impl Device {
    /// `cuda:0` if a driver and a GPU are there, else `cpu`.
    pub fn auto() -> Result<Device, DeviceError> {
        match Device::cuda(0) {
            Ok(device) => Ok(device),
            Err(_) => Ok(Device::cpu()),
        }
    }

    /// The host's cores.
    pub fn cpu() -> Device {
        Device(Arc::new(cpu::Cpu::default()))
    }

    /// The simulator, with every check on: the `sm_80` PTX, warps and blocks in order.
    pub fn sim() -> Device {
        Device::sim_with(SimOptions::default())
    }

    /// The simulator, with every check on, and `options`.
    pub fn sim_with(options: SimOptions) -> Device {
        Device(Arc::new(sim::SimDevice::new(options)))
    }

    /// GPU number `ordinal`.
    #[cfg(any(feature = "cuda", ironwarp_cuda))]
    pub fn cuda(ordinal: usize) -> Result<Device, DeviceError> {
        Ok(Device(Arc::new(cuda_backend::CudaBackend::open(ordinal)?)))
    }

    /// GPU number `ordinal`.
    #[cfg(not(any(feature = "cuda", ironwarp_cuda)))]
    pub fn cuda(ordinal: usize) -> Result<Device, DeviceError> {
        Err(DeviceError::Unavailable {
            device: format!("cuda:{ordinal}"),
            reason: "this program was built without CUDA; see 'CUDA' in Ironwarp's README".into(),
        })
    }

    /// Parses `auto`, `cpu`, `sim`, `cuda` or `cuda:N` and opens that device.
    pub fn from_name(name: &str) -> Result<Device, DeviceError> {
        match name {
            "auto" => Device::auto(),
            "cpu" => Ok(Device::cpu()),
            "sim" => Ok(Device::sim()),
            "cuda" => Device::cuda(0),
            _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
                Some(ordinal) => Device::cuda(ordinal),
                None => Err(DeviceError::Unknown(name.into())),
            },
        }
    }

    /// Which kind this is.
    pub fn kind(&self) -> DeviceKind {
        self.0.kind()
    }

    /// Whether operations run by kernel launches here (`sim`, `cuda`), not natively (`cpu`).
    pub fn runs_kernels(&self) -> bool {
        self.kind() != DeviceKind::Cpu
    }

    /// Uninitialised memory for `len` elements.
    pub fn alloc<T: Element>(&self, len: usize) -> Result<Buffer<T>, DeviceError> {
        Buffer::new(self, len)
    }

    /// Memory holding a copy of `data`.
    pub fn buffer<T: Element>(&self, data: &[T]) -> Result<Buffer<T>, DeviceError> {
        let mut buffer = Buffer::new(self, data.len())?;
        buffer.upload(data)?;
        Ok(buffer)
    }

    /// Launches `kernel`; asynchronous on `cuda` (errors may come from a later call), done on return elsewhere.
    pub fn launch<F, A: LaunchArgs<F>>(
        &self,
        kernel: Kernel<F>,
        launch: Launch,
        args: A,
    ) -> Result<(), DeviceError> {
        let mut values = [ArgValue::U32(0); MAX_ARGS];
        let n = args.values(&mut values);
        self.0.launch(kernel.module, kernel.name, &launch, &values[..n])
    }

    /// Waits until everything launched has finished, and returns its errors.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.0.synchronize()
    }

    /// The profiles of the launches since the last call, of a device opened with [`SimOptions::profile`]; else none.
    ///
    /// ```
    /// # use ironwarp::device::{Device, SimOptions};
    /// let device = Device::sim_with(SimOptions { profile: true, ..SimOptions::default() });
    /// // ... launches ...
    /// for profile in device.take_profiles() {
    ///     println!("{profile}");
    /// }
    /// ```
    pub fn take_profiles(&self) -> Vec<ptx_sim::profile::Profile> {
        self.0.take_profiles()
    }

    /// How long `body` takes on the device, in seconds: on `cuda` between two events on its stream, elsewhere by the clock
    /// until all that was launched is done. What was launched before does not count.
    pub fn seconds<E: From<DeviceError>>(&self, body: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
        let (mut body, mut failed) = (Some(body), None);
        let mut once = || match body.take().map_or(Ok(()), |body| body()) {
            Ok(()) => true,
            Err(e) => {
                failed = Some(e);
                false
            }
        };
        let seconds = self.0.seconds(&mut once);
        match failed {
            Some(e) => Err(e),
            None => Ok(seconds?),
        }
    }

    /// What it is.
    pub fn model(&self) -> Model {
        self.0.model()
    }

    /// The variant of the shipped PTX that it executes: Hopper's on a Hopper GPU, Ampere's elsewhere; `sim` as asked for.
    pub fn target(&self) -> Target {
        self.0.target()
    }

    /// Most shared memory that a block of a launch may have, static and dynamic, in bytes: what the GPU offers to who asks
    /// for it; on `sim` that of the A100 or the H100, by the PTX it runs.
    pub fn shared_memory_limit(&self) -> u32 {
        self.0.shared_limit()
    }

    /// Counters.
    pub fn stats(&self) -> DeviceStats {
        self.0.stats()
    }
}
