//! The `cuda:N` device: [`cuda::CudaContext`](super::cuda) as a backend.
//!
//! Hopper (compute capability 9.0) gets the `sm_90a` variant of a module, every other GPU the `sm_80` one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::backend::{Backend, Replay};
use super::cuda::{CudaContext, CudaError, CudaGraph, CudaModule, KernelArg};
use super::tensor_map::{self, Maps, TensorMap};
use super::{ArgValue, DeviceError, DeviceKind, DeviceStats, Launch, MAX_ARGS, Model, PtxModule, Target};

impl From<CudaError> for DeviceError {
    fn from(e: CudaError) -> DeviceError {
        DeviceError::Driver(e.to_string())
    }
}

/// One GPU.
pub(super) struct CudaBackend {
    context: CudaContext,
    model: Model,
    hopper: bool,
    maps: Mutex<Maps>,
    /// Modules loaded so far, by the address of their static.
    modules: Mutex<HashMap<usize, Arc<CudaModule>>>,
    launches: AtomicU64,
}

impl CudaBackend {
    pub fn open(ordinal: usize) -> Result<CudaBackend, DeviceError> {
        let unavailable = |e: CudaError| DeviceError::Unavailable {
            device: format!("cuda:{ordinal}"),
            reason: e.to_string(),
        };
        let context = CudaContext::new(ordinal).map_err(unavailable)?;
        let info = CudaContext::describe(ordinal).map_err(unavailable)?;
        let hopper = info.compute_capability == (9, 0);
        let model = Model {
            name: info.name,
            compute_capability: Some(info.compute_capability),
            multiprocessors: info.multiprocessors,
        };
        Ok(CudaBackend {
            context,
            model,
            hopper,
            maps: Mutex::default(),
            modules: Mutex::default(),
            launches: AtomicU64::new(0),
        })
    }

    fn module(&self, module: &'static PtxModule) -> Result<Arc<CudaModule>, DeviceError> {
        let mut modules = self.modules.lock().unwrap_or_else(|e| e.into_inner());
        let key = std::ptr::from_ref(module) as usize;
        if let Some(loaded) = modules.get(&key) {
            return Ok(loaded.clone());
        }
        let ptx = if self.hopper { module.sm_90a } else { module.sm_80 };
        let loaded = Arc::new(self.context.load_module(ptx)?);
        modules.insert(key, loaded.clone());
        Ok(loaded)
    }
}

struct Recorded {
    context: CudaContext,
    graph: CudaGraph,
}

impl Replay for Recorded {
    fn replay(&self) -> Result<(), DeviceError> {
        Ok(self.context.replay(&self.graph)?)
    }
}

impl Backend for CudaBackend {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cuda(self.context.ordinal())
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.context.alloc(bytes.max(1)).map_err(|e| match e {
            CudaError::OutOfMemory { .. } => {
                DeviceError::OutOfMemory { device: self.kind().to_string(), bytes }
            }
            other => other.into(),
        })
    }

    fn free(&self, address: u64, _bytes: usize) {
        // Only a lost context refuses, and then the memory is gone with it.
        let _ = self.context.free(address);
    }

    fn upload(&self, dst: u64, src: &[u8]) -> Result<(), DeviceError> {
        Ok(self.context.upload(dst, src)?)
    }

    fn download(&self, src: u64, dst: &mut [u8]) -> Result<(), DeviceError> {
        Ok(self.context.download(src, dst)?)
    }

    fn copy(&self, dst: u64, src: u64, bytes: usize) -> Result<(), DeviceError> {
        Ok(self.context.copy(dst, src, bytes)?)
    }

    fn launch(
        &self,
        module: &'static PtxModule,
        kernel: &str,
        launch: &Launch,
        args: &[ArgValue],
    ) -> Result<(), DeviceError> {
        let loaded = self.module(module)?;
        let mut values = [KernelArg::value(0u32); MAX_ARGS];
        for (value, arg) in values.iter_mut().zip(args) {
            *value = match *arg {
                ArgValue::U32(x) => KernelArg::value(x),
                ArgValue::I32(x) => KernelArg::value(x),
                ArgValue::U64(x) | ArgValue::Pointer(x) => KernelArg::value(x),
                ArgValue::F32(x) => KernelArg::value(x),
                ArgValue::F64(x) => KernelArg::value(x),
            };
        }
        self.launches.fetch_add(1, Ordering::Relaxed);
        let (context, args) = (&self.context, &values[..args.len()]);
        // What a kernel does with the lengths it is told is its own; an access outside a buffer stays in device memory
        // (see `launch`'s module docs).
        // SAFETY: the arguments' types were checked against the kernel's signature when the host compiled, and buffers
        // are freed in stream order, after the kernels that were launched before.
        let done = unsafe { context.launch(&loaded, kernel, launch.grid, launch.block, launch.shared, args) };
        done.map_err(|e| match e {
            CudaError::InvalidLaunch { kernel, reason } => DeviceError::InvalidLaunch { kernel, reason },
            other => other.into(),
        })
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(self.context.synchronize()?)
    }

    fn seconds(&self, body: &mut dyn FnMut() -> bool) -> Result<f64, DeviceError> {
        let (from, to) = (self.context.event()?, self.context.event()?);
        // Passes when what was launched before is done.
        from.record()?;
        if !body() {
            return Ok(0.0);
        }
        to.record()?;
        Ok(f64::from(from.elapsed_ms(&to)?) / 1e3)
    }

    fn model(&self) -> Model {
        self.model.clone()
    }

    fn stats(&self) -> DeviceStats {
        let allocator = self.context.allocator_stats();
        DeviceStats {
            launches: self.launches.load(Ordering::Relaxed),
            allocations: allocator.driver_allocations,
            bytes_in_use: allocator.requested_bytes,
        }
    }

    fn target(&self) -> Target {
        if self.hopper { Target::Sm90a } else { Target::Sm80 }
    }

    fn shared_limit(&self) -> u32 {
        self.context.shared_limit()
    }

    fn tensor_map(&self, map: &TensorMap) -> Result<u64, DeviceError> {
        if !self.hopper {
            return Err(tensor_map::unavailable(self.kind()));
        }
        let mut maps = self.maps.lock().unwrap_or_else(|e| e.into_inner());
        maps.get(
            map,
            |bytes| self.alloc(bytes),
            |at| {
                if self.context.is_capturing()? {
                    let reason =
                        "it is not known yet, and a graph is being captured: run the operation once before";
                    return Err(tensor_map::refused(map, reason));
                }
                let encoded = self.context.encode_tensor_map(map).map_err(|e| tensor_map::refused(map, e))?;
                Ok(self.context.upload(at, &encoded.0)?)
            },
        )
    }

    fn capture(
        &self,
        body: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<Box<dyn Replay>>, DeviceError> {
        let graph = self.context.capture::<DeviceError>(body)?;
        Ok(Some(Box::new(Recorded { context: self.context.clone(), graph })))
    }
}
