//! The `cpu` device: host memory, 256-byte aligned. Operations run natively and never launch; a kernel launched by hand
//! runs its PTX in the simulator over copies of the buffers that its pointers lie in.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::backend::Backend;
use super::sim::{SimOptions, Simulator};
use super::{ArgValue, DeviceError, DeviceKind, DeviceStats, Launch, PtxModule};

const ALIGN: usize = 256;

#[derive(Default)]
struct State {
    /// Live allocations: address and size.
    live: BTreeMap<u64, usize>,
    stats: DeviceStats,
    simulator: Option<Simulator>,
}

/// Host memory as a device.
#[derive(Default)]
pub(super) struct Cpu(Mutex<State>);

impl Cpu {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGN).ok()
}

impl Backend for Cpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DeviceError> {
        let out_of_memory = || DeviceError::OutOfMemory { device: "cpu".into(), bytes };
        let layout = layout(bytes).ok_or_else(out_of_memory)?;
        // SAFETY: the layout's size is not zero.
        let p = unsafe { alloc_zeroed(layout) };
        if p.is_null() {
            return Err(out_of_memory());
        }
        let mut state = self.lock();
        state.live.insert(p as u64, bytes);
        state.stats.allocations += 1;
        state.stats.bytes_in_use += bytes;
        Ok(p as u64)
    }

    fn free(&self, address: u64, bytes: usize) {
        let mut state = self.lock();
        if state.live.remove(&address) == Some(bytes)
            && let Some(layout) = layout(bytes)
        {
            state.stats.bytes_in_use -= bytes;
            // SAFETY: `alloc` gave this address with this layout, and `live` proves that it was not freed since.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }

    fn upload(&self, dst: u64, src: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: buffers and executors pass ranges inside live allocations of theirs; `src` is host memory of the caller
        // and not device memory, which safe code cannot borrow.
        unsafe { std::ptr::copy_nonoverlapping(src.as_ptr(), dst as *mut u8, src.len()) };
        Ok(())
    }

    fn download(&self, src: u64, dst: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: as in `upload`.
        unsafe { std::ptr::copy_nonoverlapping(src as *const u8, dst.as_mut_ptr(), dst.len()) };
        Ok(())
    }

    fn copy(&self, dst: u64, src: u64, bytes: usize) -> Result<(), DeviceError> {
        // SAFETY: as in `upload`; the planner copies between distinct storages.
        unsafe { std::ptr::copy_nonoverlapping(src as *const u8, dst as *mut u8, bytes) };
        Ok(())
    }

    fn launch(
        &self,
        module: &'static PtxModule,
        kernel: &str,
        launch: &Launch,
        args: &[ArgValue],
    ) -> Result<(), DeviceError> {
        let mut guard = self.lock();
        let State { live, simulator, stats } = &mut *guard;
        let simulator = simulator.get_or_insert_with(|| Simulator::new(SimOptions::default()));
        stats.launches += 1;
        // Mirror every buffer that an argument points into, once each: host address -> (simulated address, bytes).
        let mut mirrors: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        let mut translated = args.to_vec();
        for arg in &mut translated {
            let ArgValue::Pointer(p) = arg else { continue };
            let Some((&base, &bytes)) = live.range(..=*p).next_back().filter(|(b, n)| *p <= **b + **n as u64)
            else {
                return Err(DeviceError::InvalidLaunch {
                    kernel: kernel.into(),
                    reason: format!("argument {p:#x} points into no buffer of this device"),
                });
            };
            let (mirror, _) = *mirrors.entry(base).or_insert_with(|| (simulator.sim.alloc(bytes), bytes));
            *arg = ArgValue::Pointer(mirror + (*p - base));
        }
        let failed = |e: ptx_sim::SimError| DeviceError::Kernel(e.to_string());
        for (&base, &(mirror, bytes)) in &mirrors {
            // SAFETY: `base` is a live allocation of `bytes` bytes; device memory counts as initialised once the host can
            // name it (it was allocated by the system, and its bits are only copied).
            let host = unsafe { std::slice::from_raw_parts(base as *const u8, bytes) };
            simulator.sim.write(mirror, host).map_err(failed)?;
        }
        let result = simulator.launch(module, kernel, launch, &translated);
        for (&base, &(mirror, bytes)) in &mirrors {
            if result.is_ok() {
                // SAFETY: as above; the launch has ended, nobody else holds the device's memory.
                let host = unsafe { std::slice::from_raw_parts_mut(base as *mut u8, bytes) };
                simulator.sim.read(mirror, host).map_err(failed)?;
            }
            simulator.sim.free(mirror).map_err(failed)?;
        }
        result
    }

    fn shared_limit(&self) -> u32 {
        SimOptions::default().target.shared_limit()
    }

    fn multiprocessors(&self) -> u32 {
        SimOptions::default().target.multiprocessors()
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn stats(&self) -> DeviceStats {
        self.lock().stats
    }
}
