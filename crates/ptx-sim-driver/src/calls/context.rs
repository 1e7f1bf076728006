//! The entry points that want a context: memory, streams, events, modules, launches, graphs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use ptx_sim::{Arg, LaunchConfig, Module};

use super::{CURRENT, Handle, handle, put, put_some};
use crate::gpu::{Event, Function, Gpu, Host, SHARED_BYTES, Work, code, hold};

/// The GPU, where a context is current and not lost.
fn with(body: impl FnOnce(&mut Gpu) -> u32) -> u32 {
    let mut held = hold();
    match held.get() {
        None => code::NOT_INITIALIZED,
        Some(_) if CURRENT.get() == 0 => code::INVALID_CONTEXT,
        Some(gpu) if gpu.lost != 0 => gpu.lost,
        Some(gpu) => body(gpu),
    }
}

/// As [`with`], for calls that wait: a stream that captures refuses them.
fn waiting(body: impl FnOnce(&mut Gpu) -> u32) -> u32 {
    with(|gpu| if gpu.captures.is_empty() { body(gpu) } else { code::STREAM_CAPTURE_UNSUPPORTED })
}

/// Does what is queued, then `body`.
fn after_all(body: impl FnOnce(&mut Gpu) -> u32) -> u32 {
    waiting(|gpu| match gpu.finish(None) {
        code::SUCCESS => body(gpu),
        lost => lost,
    })
}

/// Queues a copy to the device.
fn upload(gpu: &mut Gpu, to: u64, from: *const c_void, bytes: usize, stream: Handle) -> u32 {
    if !gpu.is_memory(to, bytes) || from.is_null() {
        return code::INVALID_VALUE;
    }
    let address = from.expose_provenance();
    // A captured copy reads its source whenever the graph runs.
    let late = gpu.is_pinned(address, bytes) || gpu.captures.contains_key(&stream.addr());
    let from = if late {
        Host::Pinned { address, bytes }
    } else {
        // SAFETY: the caller's memory has so many bytes.
        Host::Taken(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec())
    };
    gpu.enqueue(stream.addr(), Work::Upload { to, from })
}

/// Queues a copy to the host; to memory that is not pinned it is done at once.
fn download(gpu: &mut Gpu, to: *mut c_void, from: u64, bytes: usize, stream: Handle) -> u32 {
    if !gpu.is_memory(from, bytes) || to.is_null() {
        return code::INVALID_VALUE;
    }
    let address = to.expose_provenance();
    let late = gpu.is_pinned(address, bytes) || gpu.captures.contains_key(&stream.addr());
    gpu.enqueue(stream.addr(), Work::Download { to: address, from, bytes });
    if late { code::SUCCESS } else { gpu.finish(None) }
}

fn copy(gpu: &mut Gpu, to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    if !gpu.is_memory(to, bytes) || !gpu.is_memory(from, bytes) {
        return code::INVALID_VALUE;
    }
    gpu.enqueue(stream.addr(), Work::Copy { to, from, bytes })
}

fn fill(gpu: &mut Gpu, to: u64, pattern: &[u8], count: usize, stream: Handle) -> u32 {
    if !gpu.is_memory(to, pattern.len() * count) || !to.is_multiple_of(pattern.len() as u64) {
        return code::INVALID_VALUE;
    }
    gpu.enqueue(stream.addr(), Work::Fill { to, pattern: pattern.to_vec(), count })
}

fn alloc(gpu: &mut Gpu, address: *mut u64, bytes: usize) -> u32 {
    if bytes == 0 {
        return code::INVALID_VALUE;
    }
    if bytes > gpu.settings.memory - gpu.used() {
        return code::OUT_OF_MEMORY;
    }
    match gpu.sim.try_alloc(bytes) {
        Ok(at) => {
            gpu.memory.insert(at, bytes);
            put(address, at)
        }
        Err(_) => code::OUT_OF_MEMORY,
    }
}

fn free(gpu: &mut Gpu, address: u64) -> u32 {
    if gpu.memory.remove(&address).is_none() {
        return code::INVALID_VALUE;
    }
    match gpu.sim.free(address) {
        Ok(()) => code::SUCCESS,
        Err(_) => code::INVALID_VALUE,
    }
}

fn event(gpu: &mut Gpu, out: *mut Handle) -> u32 {
    let new = gpu.handle();
    gpu.events.insert(new, Event::default());
    put(out, handle(new))
}

fn stream(gpu: &mut Gpu, out: *mut Handle) -> u32 {
    let new = gpu.handle();
    gpu.streams.push(new);
    put(out, handle(new))
}

/// A text to the buffer that a `CU_JIT_ERROR_LOG_BUFFER` (5) names, whose size is a `..._SIZE_BYTES` (6).
///
/// # Safety
/// - There are `count` names and values; a buffer has as many bytes as its size says.
unsafe fn write_log(text: &str, count: u32, names: *const c_int, values: *const *mut c_void) {
    if count == 0 || names.is_null() || values.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let (names, values) = unsafe {
        (
            std::slice::from_raw_parts(names, count as usize),
            std::slice::from_raw_parts(values, count as usize),
        )
    };
    let option = |number| names.iter().position(|&n| n == number).map(|i| values[i]);
    if let (Some(buffer), Some(size)) = (option(5), option(6)) {
        let kept = text.len().min(size.addr().saturating_sub(1));
        if !buffer.is_null() && size.addr() > 0 {
            // SAFETY: the buffer has `size` bytes, of which the text and its end are no more.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), kept);
                buffer.cast::<u8>().add(kept).write(0);
            }
        }
    }
}

/// Whether a GPU of this compute capability executes PTX of this target: `sm_80` on all from there, `sm_90a` on 9.0 alone.
fn executes((major, minor): (u32, u32), target: &str) -> bool {
    let digits = target.trim_start_matches("sm_");
    let (number, exact) = match digits.strip_suffix('a') {
        Some(number) => (number, true),
        None => (digits, false),
    };
    let own = 10 * major + minor;
    number.parse::<u32>().is_ok_and(|n| if exact { n == own } else { n <= own })
}

/// # Safety
/// - `image` is NUL-terminated text, or a binary that begins with other bytes; see [`write_log`] for the rest.
unsafe fn load(
    gpu: &mut Gpu,
    out: *mut Handle,
    image: *const c_void,
    count: u32,
    names: *const c_int,
    values: *const *mut c_void,
) -> u32 {
    if image.is_null() {
        return code::INVALID_VALUE;
    }
    // SAFETY: an image has at least four bytes, whatever it is.
    let start = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), 4) };
    // An ELF file or a fat binary: machine code.
    if start == b"\x7fELF" || start == [0x50, 0xed, 0x55, 0xba] {
        return code::NO_BINARY_FOR_GPU;
    }
    // SAFETY: else it is text.
    let Ok(text) = unsafe { CStr::from_ptr(image.cast()) }.to_str() else { return code::INVALID_IMAGE };
    let target = text.lines().find_map(|line| line.trim_start().strip_prefix(".target"));
    let target = target.and_then(|rest| rest.split([',', ' ', '\t', '/']).find(|word| !word.is_empty()));
    if !target.is_some_and(|target| executes(gpu.settings.gpu.compute, target)) {
        return code::INVALID_PTX;
    }
    match Module::parse(text) {
        Ok(module) => {
            let new = gpu.handle();
            gpu.modules.insert(new, module);
            put(out, handle(new))
        }
        Err(reason) => {
            // SAFETY: the caller's promise.
            unsafe { write_log(&reason.to_string(), count, names, values) };
            code::INVALID_PTX
        }
    }
}

/// # Safety
/// - `parameters` has an address for each of the kernel's parameters, of as many bytes.
unsafe fn launch(
    gpu: &mut Gpu,
    function: Handle,
    config: LaunchConfig,
    stream: Handle,
    parameters: *const *const u8,
    extra: *const Handle,
) -> u32 {
    if !extra.is_null() {
        return code::NOT_SUPPORTED;
    }
    gpu.launch(stream.addr(), function.addr(), config, |kernel| {
        let argument = |(i, p): (usize, &ptx_sim::ParamInfo)| {
            // SAFETY: the caller's promise.
            Arg::Bytes(unsafe { std::slice::from_raw_parts(*parameters.add(i), p.size as usize) }.to_vec())
        };
        kernel.params.iter().enumerate().map(argument).collect()
    })
}

/// `CUfunction_attribute`.
fn function_attribute(gpu: &Gpu, number: c_int, function: usize) -> Option<u32> {
    let info = &gpu.functions.get(&function)?.info;
    let most = |n: [u32; 3]| n.iter().product();
    let own = gpu.opted_in.get(&function).copied();
    Some(match number {
        0 => info.required_threads.or(info.max_threads).map_or(1024, most),
        1 => info.static_shared,
        2 | 5 | 6 | 7 => 0, // constant memory, versions, caching: not known here
        3 => u32::from(info.has_local), // local memory: some, where there is any
        4 => info.max_registers.unwrap_or(0), // registers: as bounded, for none are allotted
        8 => own.unwrap_or(SHARED_BYTES - info.static_shared),
        _ => return None,
    })
}

entry_points! { WITH_CONTEXT;
    fn cuCtxSynchronize() { after_all(|_| code::SUCCESS) }
    fn cuCtxGetDevice(device: *mut c_int) { with(|_| put(device, 0)) }
    fn cuCtxGetFlags(flags: *mut u32) { with(|_| put(flags, 0)) }
    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        with(|_| { put_some(least, 0); put_some(greatest, 0); code::SUCCESS })
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        with(|gpu| put(free, gpu.settings.memory - gpu.used()) + put(total, gpu.settings.memory))
    }
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) { with(|gpu| alloc(gpu, address, bytes)) }
    // Waits, as the driver does.
    fn cuMemFree_v2(address: u64) {
        if address == 0 { return code::SUCCESS; }
        with(|gpu| match gpu.finish(None) { code::SUCCESS => free(gpu, address), lost => lost })
    }
    fn cuMemHostRegister_v2(memory: *mut c_void, bytes: usize, flags: u32) {
        with(|gpu| {
            let address = memory.expose_provenance();
            if memory.is_null() || bytes == 0 { return code::INVALID_VALUE; }
            let before = gpu.pinned.range(..address + bytes).next_back();
            if before.is_some_and(|(&start, &size)| start + size > address) {
                return code::HOST_MEMORY_ALREADY_REGISTERED;
            }
            gpu.pinned.insert(address, bytes);
            code::SUCCESS
        })
    }
    fn cuMemHostUnregister(memory: *mut c_void) {
        with(|gpu| match gpu.finish(None) {
            code::SUCCESS if gpu.pinned.remove(&memory.addr()).is_none() => code::HOST_MEMORY_NOT_REGISTERED,
            done => done,
        })
    }
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        after_all(|gpu| { upload(gpu, to, from, bytes, handle(0)) + gpu.finish(None) })
    }
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        after_all(|gpu| { download(gpu, to, from, bytes, handle(0)) + gpu.finish(None) })
    }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) { waiting(|gpu| copy(gpu, to, from, bytes, handle(0))) }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) {
        with(|gpu| upload(gpu, to, from, bytes, stream))
    }
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) {
        with(|gpu| download(gpu, to, from, bytes, stream))
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        with(|gpu| copy(gpu, to, from, bytes, stream))
    }
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) { waiting(|gpu| fill(gpu, to, &[value], count, handle(0))) }
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        waiting(|gpu| fill(gpu, to, &value.to_ne_bytes(), count, handle(0)))
    }
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        waiting(|gpu| fill(gpu, to, &value.to_ne_bytes(), count, handle(0)))
    }
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) { with(|gpu| fill(gpu, to, &[value], count, stream)) }
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        with(|gpu| fill(gpu, to, &value.to_ne_bytes(), count, stream))
    }
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        with(|gpu| fill(gpu, to, &value.to_ne_bytes(), count, stream))
    }

    fn cuStreamCreate(out: *mut Handle, flags: u32) { with(|gpu| stream(gpu, out)) }
    fn cuStreamCreateWithPriority(out: *mut Handle, flags: u32, priority: c_int) { with(|gpu| stream(gpu, out)) }
    fn cuStreamDestroy_v2(stream: Handle) {
        with(|gpu| match gpu.streams.iter().position(|&s| s == stream.addr()) {
            Some(i) => { gpu.streams.swap_remove(i); code::SUCCESS }
            None => code::INVALID_HANDLE,
        })
    }
    fn cuStreamSynchronize(stream: Handle) { after_all(|_| code::SUCCESS) }
    // What is asked about is done first: a program that polls comes to an end.
    fn cuStreamQuery(stream: Handle) { after_all(|_| code::SUCCESS) }
    // One queue: what was recorded before comes before.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32) { with(|_| code::SUCCESS) }
    fn cuStreamIsCapturing(stream: Handle, status: *mut c_int) {
        with(|gpu| put(status, c_int::from(gpu.captures.contains_key(&stream.addr()))))
    }
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) {
        with(|gpu| match gpu.captures.insert(stream.addr(), Vec::new()) {
            None => code::SUCCESS,
            Some(_) => code::STREAM_CAPTURE_INVALIDATED,
        })
    }
    fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) {
        with(|gpu| {
            let Some(nodes) = gpu.captures.remove(&stream.addr()) else { return code::STREAM_CAPTURE_INVALIDATED };
            let new = gpu.handle();
            gpu.graphs.insert(new, nodes);
            put(graph, handle(new))
        })
    }

    fn cuEventCreate(out: *mut Handle, flags: u32) { with(|gpu| event(gpu, out)) }
    fn cuEventRecord(event: Handle, stream: Handle) {
        with(|gpu| {
            if !gpu.events.contains_key(&event.addr()) { return code::INVALID_HANDLE; }
            gpu.enqueue(stream.addr(), Work::Record(event.addr()))
        })
    }
    fn cuEventSynchronize(event: Handle) { with(|gpu| gpu.finish(Some(event.addr()))) }
    fn cuEventQuery(event: Handle) { with(|gpu| gpu.finish(Some(event.addr()))) }
    fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) {
        with(|gpu| {
            let reached = |event: Handle| gpu.events.get(&event.addr()).and_then(|e| e.reached);
            match (reached(start), reached(end)) {
                (Some(start), Some(end)) => put(milliseconds, (end - start).as_secs_f32() * 1e3),
                _ => code::INVALID_HANDLE,
            }
        })
    }
    fn cuEventDestroy_v2(event: Handle) {
        with(|gpu| if gpu.events.remove(&event.addr()).is_some() { code::SUCCESS } else { code::INVALID_HANDLE })
    }

    fn cuModuleLoadData(module: *mut Handle, image: *const c_void) {
        // SAFETY: an image is text or a binary that says so.
        with(|gpu| unsafe { load(gpu, module, image, 0, std::ptr::null(), std::ptr::null()) })
    }
    fn cuModuleLoadDataEx(
        module: *mut Handle, image: *const c_void, count: u32, names: *const c_int, values: *const *mut c_void,
    ) {
        // SAFETY: as above; there are as many names and values as `count` says.
        with(|gpu| unsafe { load(gpu, module, image, count, names, values) })
    }
    fn cuModuleUnload(module: Handle) {
        with(|gpu| {
            if gpu.modules.remove(&module.addr()).is_none() { return code::INVALID_HANDLE; }
            gpu.functions.retain(|_, function| function.owner != module.addr());
            code::SUCCESS
        })
    }
    fn cuModuleGetFunction(out: *mut Handle, module: Handle, name: *const c_char) {
        with(|gpu| {
            let Some(owner) = gpu.modules.get(&module.addr()).cloned() else { return code::INVALID_HANDLE };
            // SAFETY: names are NUL-terminated.
            let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() else { return code::NOT_FOUND };
            let Some(info) = owner.kernel(name).cloned() else { return code::NOT_FOUND };
            let new = gpu.handle();
            gpu.functions.insert(new, Arc::new(Function { module: owner, info, owner: module.addr() }));
            put(out, handle(new))
        })
    }
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: Handle, name: *const c_char) {
        with(|gpu| {
            let Some(module) = gpu.modules.get(&module.addr()) else { return code::INVALID_HANDLE };
            // SAFETY: names are NUL-terminated.
            let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
            match gpu.sim.variable(module, &name) {
                Ok(Some((at, size))) => {
                    gpu.variables.insert(at, size);
                    put_some(address, at);
                    put_some(bytes, size);
                    code::SUCCESS
                }
                _ => code::NOT_FOUND,
            }
        })
    }
    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: Handle) {
        with(|gpu| match function_attribute(gpu, attribute, function.addr()) {
            Some(known) => put(value, known as c_int),
            None => code::INVALID_VALUE,
        })
    }
    fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) {
        with(|gpu| {
            let Some(known) = gpu.functions.get(&function.addr()) else { return code::INVALID_HANDLE };
            let most = gpu.settings.gpu.limits.shared_per_block - known.info.static_shared;
            match (attribute, u32::try_from(value)) {
                (8, Ok(bytes)) if bytes <= most => { gpu.opted_in.insert(function.addr(), bytes); code::SUCCESS }
                (8, _) => code::INVALID_VALUE,
                (9, _) => code::SUCCESS,                 // how shared memory and the first-level cache share
                _ => code::INVALID_VALUE,
            }
        })
    }
    fn cuFuncSetCacheConfig(function: Handle, config: u32) { with(|_| code::SUCCESS) }
    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: *mut usize, size: *mut usize) {
        with(|gpu| {
            let Some(function) = gpu.functions.get(&function.addr()) else { return code::INVALID_HANDLE };
            let Some(p) = function.info.params.get(index) else { return code::INVALID_VALUE };
            put_some(size, p.size as usize);
            put(offset, p.offset as usize)
        })
    }
    fn cuLaunchKernel(
        function: Handle, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: Handle,
        parameters: *const *const u8, extra: *const Handle,
    ) {
        let config = LaunchConfig::new([gx, gy, gz], [bx, by, bz]).shared(shared);
        // SAFETY: there is an address for each parameter.
        with(|gpu| unsafe { launch(gpu, function, config, stream, parameters, extra) })
    }

    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) {
        with(|gpu| match gpu.graphs.get(&graph.addr()) {
            Some(all) if nodes.is_null() => put(count, all.len()),
            Some(_) => code::NOT_SUPPORTED,
            None => code::INVALID_HANDLE,
        })
    }
    fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, flags: u64) {
        with(|gpu| {
            let Some(nodes) = gpu.graphs.get(&graph.addr()).cloned() else { return code::INVALID_HANDLE };
            let new = gpu.handle();
            gpu.graphs.insert(new, nodes);
            put(executable, handle(new))
        })
    }
    fn cuGraphUpload(executable: Handle, stream: Handle) { with(|_| code::SUCCESS) }
    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        with(|gpu| {
            let Some(nodes) = gpu.graphs.get(&executable.addr()).cloned() else { return code::INVALID_HANDLE };
            for work in nodes { gpu.enqueue(stream.addr(), work); }
            code::SUCCESS
        })
    }
    fn cuGraphExecDestroy(executable: Handle) { with(|gpu| destroy(gpu, executable)) }
    fn cuGraphDestroy(graph: Handle) { with(|gpu| destroy(gpu, graph)) }
}

/// Forgets a graph, or an executable of one.
fn destroy(gpu: &mut Gpu, graph: Handle) -> u32 {
    if gpu.graphs.remove(&graph.addr()).is_some() { code::SUCCESS } else { code::INVALID_HANDLE }
}
