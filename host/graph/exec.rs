//! Executing plans: states that outlive runs, and executors bound to a device.
//!
//! [`States`] owns the memory of parameters, moments and data on a device, by name; any number of [`Executor`]s share it
//! (a training step, an evaluation, an initialisation), so nothing is copied between them. Binding allocates everything;
//! a run allocates nothing. On `cuda` the second run records a CUDA graph, which later runs replay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Plan;
use super::plan::{Place, Step, Storage};
use crate::device::{Buffer, DType, Device, DeviceError, DevicePtr, DevicePtrMut, Element, Replay};
use crate::ops::{CpuCtx, KernelCtx, Op, Slot, TensorType};

/// Named memory on a device that outlives runs. Cheap to clone; clones share the memory. A new state holds zeros.
#[derive(Clone)]
pub struct States {
    device: Device,
    entries: Arc<Mutex<BTreeMap<String, StateEntry>>>,
}

#[derive(Clone)]
struct StateEntry {
    ty: TensorType,
    buffer: Arc<Buffer<u8>>,
    /// Whether other [`States`] have it too: it may be read, not written.
    shared: bool,
}

impl States {
    /// No states yet.
    pub fn new(device: &Device) -> States {
        States { device: device.clone(), entries: Arc::default() }
    }

    /// The device they live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Locks the memory of all states: held while an executor runs, so that no two touch it at once.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StateEntry>> {
        // A panic while it was held cannot leave the map half-changed, so a poisoned lock is as good as any.
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Names and types, by name.
    pub fn list(&self) -> Vec<(String, TensorType)> {
        self.lock().iter().map(|(name, e)| (name.clone(), e.ty.clone())).collect()
    }

    fn entry(&self, name: &str) -> Result<StateEntry, DeviceError> {
        let entries = self.lock();
        entries.get(name).cloned().ok_or_else(|| DeviceError::Driver(format!("there is no state '{name}'")))
    }

    /// Makes the state `name` of type `ty`, holding zeros, unless it is there. Error: there with another type.
    pub fn ensure(&self, name: &str, ty: &TensorType) -> Result<(), DeviceError> {
        self.ensure_entry(name, ty).map(drop)
    }

    fn ensure_entry(&self, name: &str, ty: &TensorType) -> Result<StateEntry, DeviceError> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(name) {
            if entry.ty != *ty {
                let old = &entry.ty;
                return Err(DeviceError::Driver(format!(
                    "state '{name}' is {old} here and {ty} in the graph"
                )));
            }
            return Ok(entry.clone());
        }
        let buffer = Arc::new(self.device.buffer(&vec![0u8; ty.bytes()])?);
        let entry = StateEntry { ty: ty.clone(), buffer, shared: false };
        entries.insert(name.into(), entry.clone());
        Ok(entry)
    }

    /// Overwrites a state, making it if needed. Errors: `data` is not of the type's length and element size.
    pub fn write<E: Element>(&self, name: &str, ty: &TensorType, data: &[E]) -> Result<(), DeviceError> {
        if data.len() != ty.len() || size_of::<E>() != ty.dtype.bytes() {
            return Err(DeviceError::Length { what: "state", got: data.len(), expected: ty.len() });
        }
        let entry = self.ensure_entry(name, ty)?;
        if entry.shared {
            return Err(read_only(name));
        }
        let _run = self.lock();
        self.device.0.upload(entry.buffer.address(), bytemuck::cast_slice(data))
    }

    /// Takes the states `names` of `other` in, as they are, without a copy. From now on nobody can write them, here or there:
    /// executors of both sets of states read them, perhaps at the same time. Call it before executors that write them
    /// exist. Error: a name that `other` has not.
    pub(crate) fn share(&self, other: &States, names: &[&str]) -> Result<(), DeviceError> {
        for &name in names {
            let entry = {
                let mut entries = other.lock();
                let entry = entries
                    .get_mut(name)
                    .ok_or_else(|| DeviceError::Driver(format!("there is no state '{name}'")))?;
                entry.shared = true;
                entry.clone()
            };
            self.lock().insert(name.into(), entry);
        }
        Ok(())
    }

    /// Where a state's elements are, for as long as one of its sets of states lives. Error: no such state.
    pub(crate) fn slot(&self, name: &str) -> Result<Slot, DeviceError> {
        let entry = self.entry(name)?;
        Ok(Slot { address: entry.buffer.address(), len: entry.ty.len(), dtype: entry.ty.dtype })
    }

    /// A state's elements. Errors: no such state, another element size.
    pub fn read<E: Element>(&self, name: &str) -> Result<Vec<E>, DeviceError> {
        let entry = self.entry(name)?;
        if size_of::<E>() != entry.ty.dtype.bytes() {
            return Err(DeviceError::Length {
                what: "state element size",
                got: size_of::<E>(),
                expected: entry.ty.dtype.bytes(),
            });
        }
        let mut out = vec![E::zeroed(); entry.ty.len()];
        let _run = self.lock();
        self.device.0.download(entry.buffer.address(), bytemuck::cast_slice_mut(&mut out))?;
        Ok(out)
    }
}

fn read_only(name: &str) -> DeviceError {
    DeviceError::Driver(format!("state '{name}' is shared by several networks and can only be read"))
}

/// One bound step: everything a run needs, resolved.
struct BoundStep {
    copies: Vec<(u64, u64, usize)>,
    op: Option<Arc<dyn Op>>,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    workspace: Slot,
    table: Option<Buffer<u64>>,
    /// Address and bytes of the kernels' scratch memory.
    scratch: (u64, usize),
}

/// A [`Plan`] bound to a device and its states, ready to run any number of times.
pub struct Executor {
    device: Device,
    states: States,
    steps: Vec<BoundStep>,
    /// Input and output tensors by name.
    inputs: Vec<(String, TensorType, u64)>,
    outputs: Vec<(String, TensorType, u64)>,
    /// Memory that the addresses above point into; kept alive, not read.
    _owned: Vec<Buffer<u8>>,
    _states: Vec<Arc<Buffer<u8>>>,
    runs: u64,
    recorded: Option<Box<dyn Replay>>,
}

/// An input of an executor, found once and written often.
#[derive(Clone, Copy, Debug)]
pub struct InputId(usize);

/// An output of an executor, found once and read often.
#[derive(Clone, Copy, Debug)]
pub struct OutputId(usize);

impl Executor {
    /// Allocates the plan's memory on the states' device and resolves every address. Errors: out of memory; a state
    /// exists with another type.
    pub fn new(plan: &Plan, states: &States) -> Result<Executor, DeviceError> {
        let device = states.device().clone();
        let mut owned = vec![];
        let mut kept = vec![];
        let mut inputs = vec![];
        let arena_base = if device.0.arena() && plan.arena_bytes > 0 {
            owned.push(device.alloc::<u8>(plan.arena_bytes)?);
            owned[0].address()
        } else {
            0
        };
        let mut addresses = Vec::with_capacity(plan.storages.len());
        for (storage, ty) in &plan.storages {
            let address = match storage {
                Storage::State { name } => {
                    let entry = states.ensure_entry(name, ty)?;
                    if entry.shared && plan.writes(Place(addresses.len())) {
                        return Err(read_only(name));
                    }
                    kept.push(entry.buffer.clone());
                    entry.buffer.address()
                }
                Storage::Temp { offset } if device.0.arena() => arena_base + *offset as u64,
                _ => {
                    let mut buffer = device.alloc::<u8>(ty.bytes())?;
                    match storage {
                        Storage::Constant(data) => buffer.upload(bytemuck::cast_slice(data))?,
                        Storage::Input { name } => {
                            buffer.upload(&vec![0u8; ty.bytes()])?;
                            inputs.push((name.clone(), ty.clone(), buffer.address()));
                        }
                        _ => {}
                    }
                    let address = buffer.address();
                    owned.push(buffer);
                    address
                }
            };
            addresses.push(address);
        }
        let slot = |p: Place| {
            let ty = &plan.storages[p.0].1;
            Slot { address: addresses[p.0], len: ty.len(), dtype: ty.dtype }
        };
        // An empty tensor for operations without workspace: never read, aligned, not null.
        let none = Slot { address: ALIGNED_NOWHERE, len: 0, dtype: DType::F32 };
        // One scratch for all operations, which follow one another; where an access past its end would go unseen, each its own.
        let scratch = |step: &Step| match &step.op {
            Some(op) if device.runs_kernels() => op.scratch(&device),
            _ => 0,
        };
        let scratch: Vec<usize> = plan.steps.iter().map(scratch).collect();
        let most = scratch.iter().copied().max().unwrap_or(0);
        let shared = if device.0.arena() && most > 0 { Some(device.alloc::<u8>(most)?) } else { None };
        let shared_at = shared.as_ref().map_or(ALIGNED_NOWHERE, Buffer::address);
        owned.extend(shared);
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (step, bytes) in plan.steps.iter().zip(scratch) {
            let inputs: Vec<Slot> = step.inputs.iter().map(|&p| slot(p)).collect();
            let outputs: Vec<Slot> = step.outputs.iter().map(|&p| slot(p)).collect();
            let table = match &step.op {
                Some(op) if device.runs_kernels() => op.table(&inputs, &outputs),
                _ => vec![],
            };
            let mut at = shared_at;
            if bytes > 0 && !device.0.arena() {
                owned.push(device.alloc::<u8>(bytes)?);
                at = owned[owned.len() - 1].address();
            }
            let copy = |(from, to): &(Place, Place)| {
                (slot(*from).address, slot(*to).address, plan.storages[from.0].1.bytes())
            };
            steps.push(BoundStep {
                copies: step.copies.iter().map(copy).collect(),
                op: step.op.clone(),
                inputs,
                outputs,
                workspace: step.workspace.map_or(none, slot),
                table: if table.is_empty() { None } else { Some(device.buffer(&table)?) },
                scratch: (at, bytes),
            });
        }
        let outputs = plan
            .outputs
            .iter()
            .map(|(name, p)| (name.clone(), plan.storages[p.0].1.clone(), addresses[p.0]))
            .collect();
        Ok(Executor {
            device,
            states: states.clone(),
            steps,
            inputs,
            outputs,
            _owned: owned,
            _states: kept,
            runs: 0,
            recorded: None,
        })
    }

    /// Finds an input. Error: the plan has none of that name.
    pub fn input(&self, name: &str) -> Result<InputId, DeviceError> {
        let found = self.inputs.iter().position(|i| i.0 == name);
        found.map(InputId).ok_or_else(|| DeviceError::Driver(format!("the plan has no input '{name}'")))
    }

    /// Finds an output. Error: the plan has none of that name.
    pub fn output(&self, name: &str) -> Result<OutputId, DeviceError> {
        let found = self.outputs.iter().position(|o| o.0 == name);
        found.map(OutputId).ok_or_else(|| DeviceError::Driver(format!("the plan has no output '{name}'")))
    }

    /// Sets an input for the runs that follow.
    pub fn write<E: Element>(&mut self, input: InputId, data: &[E]) -> Result<(), DeviceError> {
        let (_, ty, address) = &self.inputs[input.0];
        if data.len() != ty.len() || size_of::<E>() != ty.dtype.bytes() {
            return Err(DeviceError::Length { what: "input", got: data.len(), expected: ty.len() });
        }
        self.device.0.upload(*address, bytemuck::cast_slice(data))
    }

    /// Sets an input by name.
    pub fn set<E: Element>(&mut self, name: &str, data: &[E]) -> Result<(), DeviceError> {
        let id = self.input(name)?;
        self.write(id, data)
    }

    /// Copies an output of the last run to `out`, waiting for it.
    pub fn read<E: Element>(&self, output: OutputId, out: &mut [E]) -> Result<(), DeviceError> {
        let (_, ty, address) = &self.outputs[output.0];
        if out.len() != ty.len() || size_of::<E>() != ty.dtype.bytes() {
            return Err(DeviceError::Length { what: "output", got: out.len(), expected: ty.len() });
        }
        let _run = self.states.lock();
        self.device.0.download(*address, bytemuck::cast_slice_mut(out))
    }

    /// An output of the last run, by name.
    pub fn get<E: Element>(&self, name: &str) -> Result<Vec<E>, DeviceError> {
        let id = self.output(name)?;
        let mut out = vec![E::zeroed(); self.outputs[id.0].1.len()];
        self.read(id, &mut out)?;
        Ok(out)
    }

    /// Executes the plan once. On `cuda` it returns when the work is queued. On `cpu` it allocates nothing when the caller
    /// is [`on_workers`]; from other threads, large operations queue work for the pool, whose queue grows now and then.
    pub fn run(&mut self) -> Result<(), DeviceError> {
        let states = self.states.clone();
        let _run = states.lock();
        self.runs += 1;
        if let Some(recorded) = &self.recorded {
            return recorded.replay();
        }
        // The first run loads modules and warms caches, which may not be recorded; the second is.
        if self.runs == 2 && self.device.runs_kernels() {
            let (device, steps) = (&self.device, &self.steps);
            if let Some(recorded) = device.0.capture(&mut || run_kernels(device, steps))? {
                recorded.replay()?;
                self.recorded = Some(recorded);
                return Ok(());
            }
        }
        if self.device.runs_kernels() { run_kernels(&self.device, &self.steps) } else { self.run_cpu() }
    }

    fn run_cpu(&self) -> Result<(), DeviceError> {
        for step in &self.steps {
            for &(from, to, bytes) in &step.copies {
                self.device.0.copy(to, from, bytes)?;
            }
            let Some(op) = &step.op else { continue };
            // The planner gives overlapping places only to values that are not alive together, and to in-place pairs.
            // What several sets of states share, nobody writes.
            // SAFETY: the slots point into memory that `self` keeps alive, of the planned sizes and types; the lock on
            // the states keeps other executors away from it.
            let ctx = unsafe { CpuCtx::<f32>::new(&step.inputs, &step.outputs, step.workspace) };
            op.run_f32(&ctx);
        }
        Ok(())
    }
}

/// Runs `body` on a thread of the pool that large operations share on `cpu`: what trains in a loop belongs here, for then
/// handing parts to other cores is cheap and allocates nothing.
pub fn on_workers<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() { body() } else { rayon::scope(|_| body()) }
}

/// A non-null address that every alignment divides, for empty slices.
const ALIGNED_NOWHERE: u64 = 4096;

fn run_kernels(device: &Device, steps: &[BoundStep]) -> Result<(), DeviceError> {
    for step in steps {
        for &(from, to, bytes) in &step.copies {
            device.0.copy(to, from, bytes)?;
        }
        let Some(op) = &step.op else { continue };
        op.launch(&KernelCtx {
            device,
            inputs: &step.inputs,
            outputs: &step.outputs,
            workspace: DevicePtrMut::new(step.workspace.address),
            scratch: step.scratch,
            table: DevicePtr::new(step.table.as_ref().map_or(ALIGNED_NOWHERE, Buffer::address)),
            table_len: step.table.as_ref().map_or(0, Buffer::len),
        })?;
    }
    Ok(())
}
