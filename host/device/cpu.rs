//! The `cpu` device: host memory, 256-byte aligned. Operations run natively and never launch; a kernel launched by hand
//! runs its PTX in the simulator over copies of the buffers that its pointers lie in.
//!
//! Freed memory of moderate size is kept for the next buffer: where many small networks are trained one after another,
//! asking the system for zeroed pages each time costs a tenth of the whole.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::backend::Backend;
use super::sim::{SimOptions, Simulator};
use super::{ArgValue, DeviceError, DeviceKind, DeviceStats, Launch, Model, PtxModule};

const ALIGN: usize = 256;
/// Bytes of a buffer above which its memory goes back to the system.
const LARGE: usize = 4 << 20;
/// Bytes of freed memory that are kept at most.
const KEEP: usize = 64 << 20;

#[derive(Default)]
struct State {
    /// Live allocations: address and size.
    live: BTreeMap<u64, usize>,
    /// Freed memory: addresses by the size of their blocks, and bytes in all.
    free: BTreeMap<usize, Vec<u64>>,
    kept: usize,
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

/// The block of memory that a buffer of `bytes` gets: a size of which there are four between powers of two, so that one
/// buffer's memory does for others of about its size.
fn layout(bytes: usize) -> Option<Layout> {
    let bytes = bytes.max(1);
    let step = if bytes > LARGE { 1 } else { (bytes.next_power_of_two() / 8).max(ALIGN) };
    Layout::from_size_align(bytes.next_multiple_of(step), ALIGN).ok()
}

impl State {
    /// A kept block of this size.
    fn reuse(&mut self, layout: Layout) -> Option<u64> {
        let address = self.free.get_mut(&layout.size())?.pop()?;
        self.kept -= layout.size();
        Some(address)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for (&bytes, addresses) in &self.free {
            let Some(layout) = layout(bytes) else { continue };
            for &address in addresses {
                // SAFETY: `alloc` gave the address with this layout (a block's size is its own block's), and nobody has it.
                unsafe { dealloc(address as *mut u8, layout) };
            }
        }
    }
}

impl Backend for Cpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DeviceError> {
        let out_of_memory = || DeviceError::OutOfMemory { device: "cpu".into(), bytes };
        let layout = layout(bytes).ok_or_else(out_of_memory)?;
        let reused = self.lock().reuse(layout);
        let address = match reused {
            Some(address) => address,
            // SAFETY: the layout's size is not zero.
            None => unsafe { alloc_zeroed(layout) as u64 },
        };
        if address == 0 {
            return Err(out_of_memory());
        }
        let mut state = self.lock();
        state.live.insert(address, bytes);
        state.stats.allocations += 1;
        state.stats.bytes_in_use += bytes;
        Ok(address)
    }

    fn free(&self, address: u64, bytes: usize) {
        let mut state = self.lock();
        if state.live.remove(&address) == Some(bytes)
            && let Some(layout) = layout(bytes)
        {
            state.stats.bytes_in_use -= bytes;
            if layout.size() <= LARGE && state.kept + layout.size() <= KEEP {
                state.kept += layout.size();
                return state.free.entry(layout.size()).or_default().push(address);
            }
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
        let State { live, simulator, stats, .. } = &mut *guard;
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
        self.target().gpu().limits.shared_per_block
    }

    fn model(&self) -> Model {
        Model::cpu()
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn stats(&self) -> DeviceStats {
        self.lock().stats
    }
}
