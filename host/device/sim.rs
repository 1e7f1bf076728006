//! The `sim` device: the shipped PTX in `ptx_sim`, under every check.
//!
//! Every tensor is an allocation of its own, so that an access past one is never an access into the next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use ptx_sim::profile::{Gpu, Profile};
use ptx_sim::{Arg, Checks, LaunchConfig, Module, Sim, SimError, Swizzle, TensorMapType};

use super::backend::Backend;
use super::tensor_map::{self, BYTES, MapElement, Maps, TensorMap};
use super::{ArgValue, DeviceError, DeviceKind, DeviceStats, Launch, Model, PtxModule};

/// Which of the two variants of the shipped PTX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// For every GPU since Ampere.
    #[default]
    Sm80,
    /// For Hopper.
    Sm90a,
}

impl Target {
    /// The GPU that stands for those that execute it: `sim` has its limits, and estimates are for it.
    pub fn gpu(self) -> Gpu {
        match self {
            Target::Sm80 => Gpu::A100,
            Target::Sm90a => Gpu::H100,
        }
    }
}

/// How the simulator runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimOptions {
    /// Shuffles the order of warps and blocks; 0 leaves them in order.
    pub seed: u64,
    /// The PTX that is executed.
    pub target: Target,
    /// Multiprocessors that persistent kernels are told of; 0 for those of the GPU that the PTX is for.
    pub multiprocessors: u32,
    /// Gathers a profile of every launch, for [`Device::take_profiles`](super::Device::take_profiles).
    pub profile: bool,
    /// How tensor cores sum: rounding each product in turn, or cutting off as the hardware's adder.
    pub accumulation: ptx_sim::Accumulation,
}

/// A simulator and the modules it has parsed.
pub(super) struct Simulator {
    pub sim: Sim,
    target: Target,
    multiprocessors: u32,
    profiles: Vec<Profile>,
    modules: HashMap<*const PtxModule, Module>,
    maps: Maps,
    pub stats: DeviceStats,
}

// SAFETY: the raw pointers are only keys: addresses of statics, never dereferenced.
unsafe impl Send for Simulator {}

impl Simulator {
    pub fn new(options: SimOptions) -> Simulator {
        let builder =
            Sim::builder().checks(Checks::all()).profile(options.profile).accumulation(options.accumulation);
        let builder = if options.seed == 0 { builder } else { builder.seed(options.seed) };
        Simulator {
            sim: builder.build(),
            target: options.target,
            multiprocessors: match options.multiprocessors {
                0 => options.target.gpu().sms,
                n => n,
            },
            profiles: Vec::new(),
            modules: HashMap::new(),
            maps: Maps::default(),
            stats: DeviceStats::default(),
        }
    }

    pub fn launch(
        &mut self,
        module: &'static PtxModule,
        kernel: &str,
        launch: &Launch,
        args: &[ArgValue],
    ) -> Result<(), DeviceError> {
        let parsed = match self.modules.get(&std::ptr::from_ref(module)) {
            Some(parsed) => parsed.clone(),
            None => {
                let text = match self.target {
                    Target::Sm80 => module.sm_80,
                    Target::Sm90a => module.sm_90a,
                };
                let parsed = Module::parse(text)
                    .map_err(|e| DeviceError::Kernel(format!("module {}: {e}", module.name)))?;
                self.modules.insert(module, parsed.clone());
                parsed
            }
        };
        let args: Vec<Arg> = args
            .iter()
            .map(|a| match *a {
                ArgValue::U32(x) => Arg::U32(x),
                ArgValue::I32(x) => Arg::I32(x),
                ArgValue::U64(x) | ArgValue::Pointer(x) => Arg::U64(x),
                ArgValue::F32(x) => Arg::F32(x),
                ArgValue::F64(x) => Arg::F64(x),
            })
            .collect();
        let config = LaunchConfig::new(launch.grid, launch.block).shared(launch.shared);
        // As the driver does: the kernel's own clusters.
        let cluster = parsed.kernel(kernel).and_then(|k| k.required_cluster).unwrap_or([1; 3]);
        let config = config.cluster(cluster);
        self.stats.launches += 1;
        let stats = self.sim.launch(&parsed, kernel, &config, &args).map_err(kernel_error)?;
        self.profiles.extend(stats.profile.map(|p| *p));
        Ok(())
    }

    fn tensor_map(&mut self, map: &TensorMap) -> Result<u64, DeviceError> {
        let ty = match map.element {
            MapElement::U8 => TensorMapType::U8,
            MapElement::F16 => TensorMapType::F16,
            MapElement::Bf16 => TensorMapType::Bf16,
            MapElement::Tf32 => TensorMapType::Tf32,
        };
        let boxes = [map.boxes[0], map.boxes[1], 1];
        let encoded = ptx_sim::TensorMap::builder(ty, map.address, &map.dims, &map.strides, &boxes)
            .swizzle(Swizzle::Bytes128)
            .build()
            .map_err(|e| tensor_map::refused(map, e))?
            .encode();
        const _: () = assert!(BYTES == 128);
        let Simulator { sim, maps, .. } = self;
        let sim = std::cell::RefCell::new(sim);
        maps.get(
            map,
            |bytes| Ok(sim.borrow_mut().alloc(bytes)),
            |at| sim.borrow_mut().write(at, &encoded).map_err(kernel_error),
        )
    }
}

fn kernel_error(e: SimError) -> DeviceError {
    DeviceError::Kernel(e.to_string())
}

/// The simulator as a device.
pub(super) struct SimDevice(Mutex<Simulator>);

impl SimDevice {
    pub fn new(options: SimOptions) -> SimDevice {
        SimDevice(Mutex::new(Simulator::new(options)))
    }

    fn lock(&self) -> MutexGuard<'_, Simulator> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Backend for SimDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Sim
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DeviceError> {
        let mut s = self.lock();
        s.stats.allocations += 1;
        s.stats.bytes_in_use += bytes;
        Ok(s.sim.alloc(bytes))
    }

    fn free(&self, address: u64, bytes: usize) {
        let mut s = self.lock();
        s.stats.bytes_in_use -= bytes;
        // Buffers free what they allocated, once; the simulator can only agree.
        let _ = s.sim.free(address);
    }

    fn upload(&self, dst: u64, src: &[u8]) -> Result<(), DeviceError> {
        self.lock().sim.write(dst, src).map_err(kernel_error)
    }

    fn download(&self, src: u64, dst: &mut [u8]) -> Result<(), DeviceError> {
        self.lock().sim.read(src, dst).map_err(kernel_error)
    }

    fn copy(&self, dst: u64, src: u64, bytes: usize) -> Result<(), DeviceError> {
        self.lock().sim.copy(dst, src, bytes).map_err(kernel_error)
    }

    fn launch(
        &self,
        module: &'static PtxModule,
        kernel: &str,
        launch: &Launch,
        args: &[ArgValue],
    ) -> Result<(), DeviceError> {
        self.lock().launch(module, kernel, launch, args)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn stats(&self) -> DeviceStats {
        self.lock().stats
    }

    fn take_profiles(&self) -> Vec<Profile> {
        std::mem::take(&mut self.lock().profiles)
    }

    fn target(&self) -> Target {
        self.lock().target
    }

    fn shared_limit(&self) -> u32 {
        self.target().gpu().limits.shared_per_block
    }

    fn model(&self) -> Model {
        let simulator = self.lock();
        Model::sim(simulator.target, simulator.multiprocessors)
    }

    fn tensor_map(&self, map: &TensorMap) -> Result<u64, DeviceError> {
        let mut simulator = self.lock();
        match simulator.target {
            Target::Sm90a => simulator.tensor_map(map),
            Target::Sm80 => Err(tensor_map::unavailable(self.kind())),
        }
    }

    fn arena(&self) -> bool {
        false
    }
}
