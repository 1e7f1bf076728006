//! A driver in Rust for the tests: one GPU, whose memory is the host's, behind the same entry points as the
//! real one.
//!
//! The stream is as lazy as a stream may be: nothing runs before somebody waits. So a staging buffer that is
//! overwritten too early, or a block that is given back too early, shows in the data. Kernels are
//! `fill(address, count, value)` for `f32`, `illegal` and `assertion`, which lose the context.
//!
//! The driver of a process cannot be changed, so each test runs in a process of its own: [`with_fake_driver`]
//! starts the test program again for the one test.

use super::error::LIBRARY_VARIABLE;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

const CHILD: &str = "IRONWARP_TEST_FAKE_DRIVER";
/// Device memory of the fake GPU.
pub(super) const MEMORY: usize = 16 << 20;
const INVALID_VALUE: u32 = 1;
const OUT_OF_MEMORY: u32 = 2;

#[derive(Clone)]
enum Work {
    Copy { to: u64, from: u64, bytes: usize },
    Fill { to: u64, pattern: Vec<u8> },
    Kernel { name: &'static str, args: Vec<Vec<u8>> },
    Mark(usize),
}

#[derive(Default)]
pub(super) struct Fake {
    /// The calls made so far, the uninteresting ones (errors, current context, version) left out.
    pub(super) calls: Vec<String>,
    queue: VecDeque<Work>,
    capturing: Option<Vec<Work>>,
    graphs: Vec<Vec<Work>>,
    pub(super) blocks: BTreeMap<u64, Vec<u64>>,
    sticky: u32,
    marks: HashMap<usize, u64>,
    next_handle: usize,
    clock: u64,
    /// Dynamic shared memory opted in to.
    pub(super) opted_in: i32,
    refuse_pinning: bool,
}

static FAKE: Mutex<Option<Fake>> = Mutex::new(None);

/// The fake driver's state.
pub(super) struct Guard(MutexGuard<'static, Option<Fake>>);

impl std::ops::Deref for Guard {
    type Target = Fake;
    fn deref(&self) -> &Fake {
        self.0.as_ref().expect("filled by `fake`")
    }
}

impl std::ops::DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Fake {
        self.0.as_mut().expect("filled by `fake`")
    }
}

pub(super) fn fake() -> Guard {
    let mut guard = FAKE.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_with(Fake::default);
    Guard(guard)
}

/// Runs `body` in a process whose driver is this one. `test` is the path of the test that calls this.
pub(super) fn with_fake_driver(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        super::loader::install_fake(lookup);
        return body();
    }
    run_alone(test, &[(CHILD, "1")]);
}

/// Runs `body` in a process whose driver library is the one named.
pub(super) fn with_library(library: &str, test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    run_alone(test, &[(CHILD, "1"), (LIBRARY_VARIABLE, library)]);
}

/// Runs one test of this program in a process of its own, and fails as it does.
fn run_alone(test: &str, environment: &[(&str, &str)]) {
    let program = std::env::current_exe().expect("a test program has a path");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .envs(environment.iter().copied())
        .output()
        .expect("the test program starts again");
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test} in its own process:\n{text}");
}

impl Fake {
    fn handle<T>(&mut self) -> *mut T {
        self.next_handle += 16;
        std::ptr::without_provenance_mut(0x1000 + self.next_handle)
    }

    fn enqueue(&mut self, work: Work) -> u32 {
        match &mut self.capturing {
            Some(nodes) => nodes.push(work),
            None => self.queue.push_back(work),
        }
        self.sticky
    }

    /// Runs the queue until `mark`, or to its end.
    fn run(&mut self, until: Option<usize>) -> u32 {
        while self.sticky == 0 {
            let Some(work) = self.queue.pop_front() else { break };
            self.clock += 1;
            match work {
                // SAFETY: the layer under test checks device ranges and keeps host memory alive and untouched
                // until the copy has run: that is what these tests are about.
                Work::Copy { to, from, bytes } => unsafe {
                    std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes)
                },
                // SAFETY: as above.
                Work::Fill { to, pattern } => unsafe {
                    std::ptr::copy_nonoverlapping(pattern.as_ptr(), to as *mut u8, pattern.len())
                },
                Work::Kernel { name: "fill", args, .. } => {
                    let address = u64::from_ne_bytes(args[0][..].try_into().expect("8 bytes"));
                    let count = u32::from_ne_bytes(args[1][..].try_into().expect("4 bytes"));
                    for i in 0..u64::from(count) {
                        // SAFETY: as above; the test passes a block of `count` floats.
                        unsafe {
                            std::ptr::copy_nonoverlapping(args[2].as_ptr(), (address + 4 * i) as *mut u8, 4)
                        };
                    }
                }
                Work::Kernel { name: "assertion", .. } => self.sticky = 710,
                Work::Kernel { .. } => self.sticky = 700,
                Work::Mark(event) => {
                    self.marks.insert(event, self.clock);
                    if until == Some(event)
                        && !self.queue.iter().any(|work| matches!(work, Work::Mark(e) if *e == event))
                    {
                        break;
                    }
                }
            }
        }
        self.sticky
    }
}

const KERNELS: [(&str, &[usize]); 3] = [("fill", &[8, 4, 4]), ("illegal", &[]), ("assertion", &[])];

/// The entry points. Each body has the state as `$fake` and gives a `CUresult`; a lost context gives its
/// error before the body runs, except where the real driver's function works without a context.
macro_rules! entry_points {
    ($fake:ident; $($(#[$always:ident])? fn $name:ident($($arg:ident: $type:ty),*) $body:block)*) => {
        $(
            #[allow(non_snake_case, unused_variables, unused_mut)]
            unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
                let mut $fake = fake();
                $fake.calls.push(stringify!($name).to_owned());
                entry_points!(@check $fake $($always)?);
                $body
            }
        )*

        fn lookup(name: &CStr) -> Option<NonNull<c_void>> {
            let address = match name.to_str().ok()? {
                $(stringify!($name) => $name as *mut c_void,)*
                _ => return None,
            };
            NonNull::new(address)
        }
    };
    (@check $fake:ident) => { if $fake.sticky != 0 { return $fake.sticky; } };
    (@check $fake:ident always) => {};
}

/// Writes an output parameter.
fn put<T>(to: *mut T, value: T) -> u32 {
    // SAFETY: entry points are called with places for their outputs.
    unsafe { to.write(value) };
    0
}

entry_points! { fake;
    #[always] fn cuInit(flags: u32) { 0 }
    #[always] fn cuDriverGetVersion(version: *mut c_int) { fake.calls.pop(); put(version, 12_080) }
    #[always] fn cuDeviceGetCount(count: *mut c_int) { fake.calls.pop(); put(count, 1) }
    #[always] fn cuDeviceGet(device: *mut c_int, ordinal: c_int) { fake.calls.pop(); put(device, ordinal) }
    #[always] fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: c_int) {
        // SAFETY: the caller's buffer has `bytes` bytes, more than these.
        unsafe { std::ptr::copy_nonoverlapping(c"Fake GPU".as_ptr(), name, 9) };
        0
    }
    #[always] fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) { put(bytes, MEMORY) }
    #[always] fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) {
        fake.calls.pop();
        put(value, match attribute { 1 => 1024, 8 => 48 << 10, 16 => 132, 75 => 9, 76 => 0, 97 => 227 << 10, _ => return INVALID_VALUE })
    }
    #[always] fn cuDevicePrimaryCtxRetain(context: *mut *mut u8, device: c_int) { let new = fake.handle(); put(context, new) }
    #[always] fn cuDevicePrimaryCtxRelease_v2(device: c_int) { 0 }
    #[always] fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        let calls = std::mem::take(&mut fake.calls);
        let next_handle = fake.next_handle;
        *fake = Fake { calls, next_handle, ..Fake::default() };
        0
    }
    fn cuCtxSetCurrent(context: *mut u8) { fake.calls.pop(); 0 }
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let used: usize = fake.blocks.values().map(|block| block.len() * 8).sum();
        put(free, MEMORY - used) + put(total, MEMORY)
    }
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) {
        let used: usize = fake.blocks.values().map(|block| block.len() * 8).sum();
        if used + bytes > MEMORY { return OUT_OF_MEMORY; }
        let block = vec![0u64; bytes.div_ceil(8)];
        let start = block.as_ptr() as u64;
        fake.blocks.insert(start, block);
        put(address, start)
    }
    fn cuMemFree_v2(address: u64) { fake.run(None); if fake.blocks.remove(&address).is_some() { 0 } else { INVALID_VALUE } }
    fn cuMemHostRegister_v2(memory: *mut c_void, bytes: usize, flags: u32) { if fake.refuse_pinning { 801 } else { 0 } }
    fn cuMemHostUnregister(memory: *mut c_void) { 0 }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut u8) {
        fake.enqueue(Work::Copy { to, from: from as u64, bytes })
    }
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut u8) {
        fake.enqueue(Work::Copy { to: to as u64, from, bytes })
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut u8) { fake.enqueue(Work::Copy { to, from, bytes }) }
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: *mut u8) { fake.enqueue(Work::Fill { to, pattern: vec![value; count] }) }
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: *mut u8) {
        fake.enqueue(Work::Fill { to, pattern: value.to_ne_bytes().repeat(count) })
    }
    fn cuStreamCreateWithPriority(stream: *mut *mut u8, flags: u32, priority: c_int) { let new = fake.handle(); put(stream, new) }
    fn cuStreamDestroy_v2(stream: *mut u8) { 0 }
    fn cuStreamSynchronize(stream: *mut u8) { if fake.capturing.is_some() { 900 } else { fake.run(None) } }
    fn cuStreamBeginCapture_v2(stream: *mut u8, mode: c_int) { fake.capturing = Some(Vec::new()); 0 }
    fn cuStreamEndCapture(stream: *mut u8, graph: *mut *mut u8) {
        let Some(nodes) = fake.capturing.take() else { return 901 };
        fake.graphs.push(nodes);
        put(graph, std::ptr::without_provenance_mut(fake.graphs.len()))
    }
    fn cuEventCreate(event: *mut *mut u8, flags: u32) { let new = fake.handle(); put(event, new) }
    fn cuEventRecord(event: *mut u8, stream: *mut u8) { fake.enqueue(Work::Mark(event.addr())) }
    fn cuEventSynchronize(event: *mut u8) {
        let recorded = fake.queue.iter().any(|work| matches!(work, Work::Mark(e) if *e == event.addr()));
        if recorded { fake.run(Some(event.addr())) } else { 0 }
    }
    fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut u8, end: *mut u8) {
        match (fake.marks.get(&start.addr()), fake.marks.get(&end.addr())) {
            (Some(start), Some(end)) => put(milliseconds, (end - start) as f32),
            _ => 400,
        }
    }
    fn cuEventDestroy_v2(event: *mut u8) { 0 }
    fn cuModuleLoadDataEx(module: *mut *mut u8, image: *const c_char, options: u32, names: *const c_int, values: *const *mut c_char) {
        // SAFETY: an image is NUL-terminated text here, and there are as many values as options.
        let (text, values) = unsafe { (CStr::from_ptr(image), std::slice::from_raw_parts(values, options as usize)) };
        if text.to_string_lossy().contains("broken") {
            let log = c"ptxas application ptx input, line 3; error: unexpected token";
            assert!(values[1].addr() > log.count_bytes());
            // SAFETY: the second option says that the first one's buffer has room.
            unsafe { std::ptr::copy_nonoverlapping(log.as_ptr(), values[0], log.count_bytes() + 1) };
            return 218;
        }
        let new = fake.handle();
        put(module, new)
    }
    fn cuModuleUnload(module: *mut u8) { 0 }
    fn cuModuleGetFunction(function: *mut *mut u8, module: *mut u8, name: *const c_char) {
        // SAFETY: names are NUL-terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        match KERNELS.iter().position(|kernel| kernel.0 == name) {
            Some(index) => put(function, std::ptr::without_provenance_mut(index + 1)),
            None => 500,
        }
    }
    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: *mut u8) {
        fake.calls.pop();
        put(value, match attribute { 0 => 512, 1 => 1024, 4 => 40, _ => 0 })
    }
    fn cuFuncSetAttribute(function: *mut u8, attribute: c_int, value: c_int) { fake.opted_in = value; 0 }
    fn cuFuncGetParamInfo(function: *mut u8, index: usize, offset: *mut usize, size: *mut usize) {
        fake.calls.pop();
        match KERNELS[function.addr() - 1].1.get(index) { Some(&bytes) => put(offset, 0) + put(size, bytes), None => INVALID_VALUE }
    }
    fn cuLaunchKernel(
        function: *mut u8, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: *mut u8,
        parameters: *const *const u8, extra: *const u8
    ) {
        let (name, sizes) = KERNELS[function.addr() - 1];
        // SAFETY: as many arguments as the kernel has parameters, each of the parameter's size.
        let args = sizes.iter().enumerate()
            .map(|(i, &size)| unsafe { std::slice::from_raw_parts(*parameters.add(i), size) }.to_vec()).collect();
        fake.calls.push(format!("{name} {:?} {:?} {shared} {}", [gx, gy, gz], [bx, by, bz], extra.is_null()));
        fake.enqueue(Work::Kernel { name, args })
    }
    fn cuGraphGetNodes(graph: *mut u8, nodes: *mut u8, count: *mut usize) { put(count, fake.graphs[graph.addr() - 1].len()) }
    fn cuGraphInstantiateWithFlags(executable: *mut *mut u8, graph: *mut u8, flags: u64) { put(executable, graph) }
    fn cuGraphUpload(executable: *mut u8, stream: *mut u8) { 0 }
    fn cuGraphLaunch(executable: *mut u8, stream: *mut u8) {
        let nodes = fake.graphs[executable.addr() - 1].clone();
        fake.queue.extend(nodes);
        0
    }
    fn cuGraphExecDestroy(executable: *mut u8) { 0 }
    fn cuGraphDestroy(graph: *mut u8) { 0 }
}

/// Makes the driver refuse to pin host memory, as some containers do.
pub(super) fn refuse_pinning() {
    fake().refuse_pinning = true;
}
