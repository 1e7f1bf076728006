//! Shared by the property tests: random tensors by domain, an operation run on a device, the comparison.

#![allow(dead_code)] // each test program uses its part

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ironwarp::device::{DType, Device, DeviceError, SimOptions, Target};
use ironwarp::graph::{Executor, Graph, HostTensor, Plan, States, Value};
use ironwarp::ops::{Domain, Sample, SampleInput, Tolerance};

/// SplitMix64: enough randomness for test data, the same on every machine.
pub struct Rng(pub u64);

impl Rng {
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.u64() >> 40) as f32 / (1u64 << 24) as f32
    }
    pub fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.unit()
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.u64() % n
    }
}

thread_local! {
    /// Held from a test's first use of the GPU to its end: each test has a thread of its own.
    static TURN: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// The GPU, where there is one, for one test after the other: its counters are the process's. `IRONWARP_REQUIRE_CUDA=1`
/// makes a missing one a failure; else the reason is printed.
pub fn gpu() -> Option<Device> {
    static ONE: Mutex<()> = Mutex::new(());
    let reason = match Device::cuda(0) {
        Ok(device) => {
            TURN.with_borrow_mut(|turn| {
                turn.get_or_insert_with(|| ONE.lock().unwrap_or_else(PoisonError::into_inner));
            });
            return Some(device);
        }
        Err(reason) => reason,
    };
    let required = std::env::var_os("IRONWARP_REQUIRE_CUDA").is_some_and(|v| !v.is_empty() && v != "0");
    assert!(!required, "IRONWARP_REQUIRE_CUDA is set, and there is no GPU: {reason}");
    println!("no GPU here, nothing was run on cuda: {reason}");
    None
}

/// Devices that run the shipped PTX: a simulator for each target, with warps and blocks in an order of `seed`, and the
/// GPU where there is one.
pub fn kernel_devices(seed: u64) -> Vec<Device> {
    let sim = |target| Device::sim_with(SimOptions { seed, target, ..SimOptions::default() });
    [Target::Sm80, Target::Sm90a].map(sim).into_iter().chain(gpu()).collect()
}

/// The GPU, else a simulator.
pub fn kernel_device() -> Device {
    gpu().unwrap_or_else(Device::sim)
}

/// A tensor's elements on the host.
#[derive(Clone, Debug)]
pub enum Data {
    F32(Vec<f32>),
    U32(Vec<u32>),
    Half(Vec<u16>),
}

impl Data {
    pub fn host(&self) -> HostTensor {
        match self {
            Data::F32(v) => HostTensor::from_f32(v),
            Data::U32(v) => HostTensor::U32(v.clone()),
            Data::Half(v) => HostTensor::Half(v.clone()),
        }
    }
}

const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-42,
    -1e-42,
    1e30,
    -1e30,
    88.0,
    -88.0,
    -104.0,
    1e-6,
    -1e-6,
];

/// Random elements for `input`.
pub fn draw_data(input: &SampleInput, rng: &mut Rng) -> Data {
    let n = input.ty.len();
    match (input.ty.dtype, input.domain) {
        (DType::U32, Domain::Permutation) => {
            let mut v: Vec<u32> = (0..n as u32).collect();
            for i in (1..n).rev() {
                v.swap(i, rng.below(i as u64 + 1) as usize);
            }
            Data::U32(v)
        }
        (DType::U32, Domain::Index(bound)) => {
            Data::U32((0..n).map(|_| rng.below(u64::from(bound.max(1))) as u32).collect())
        }
        (DType::U32, Domain::Exactly(x)) => Data::U32(vec![x as u32; n]),
        (DType::U32, _) => Data::U32((0..n).map(|_| rng.u64() as u32).collect()),
        (DType::F16, _) => {
            Data::Half((0..n).map(|_| half::f16::from_f32(rng.range(-8.0, 8.0)).to_bits()).collect())
        }
        (DType::Bf16, _) => {
            Data::Half((0..n).map(|_| half::bf16::from_f32(rng.range(-8.0, 8.0)).to_bits()).collect())
        }
        (DType::F32, domain) => Data::F32((0..n).map(|_| draw_f32(domain, rng)).collect()),
        (DType::E4m3 | DType::E5m2, _) => unreachable!("operations of graphs take no 8-bit floats"),
    }
}

fn draw_f32(domain: Domain, rng: &mut Rng) -> f32 {
    match domain {
        Domain::Uniform(lo, hi) => rng.range(lo, hi),
        Domain::Away { lo, hi, kink, gap } => loop {
            let x = rng.range(lo, hi);
            if (x - kink).abs() >= gap {
                return x;
            }
        },
        Domain::Special if rng.below(4) == 0 => SPECIAL[rng.below(SPECIAL.len() as u64) as usize],
        Domain::Special => rng.range(-4.0, 4.0),
        Domain::Exactly(x) => x,
        Domain::Index(bound) => rng.below(u64::from(bound.max(1))) as f32,
        Domain::Permutation | Domain::Bits => rng.range(-4.0, 4.0),
    }
}

/// A graph of one operation on inputs `x0, x1, ...`, with all its outputs readable as `y0, y1, ...`.
pub fn graph_of(sample: &Sample) -> (Graph, Vec<Value>, Vec<Value>) {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = sample
        .inputs
        .iter()
        .enumerate()
        .map(|(i, input)| graph.input(&format!("x{i}"), input.ty.clone()).expect("sampled shapes are valid"))
        .collect();
    let outputs = graph.push_shared(sample.op.clone(), &inputs).expect("sampled instances are valid");
    for (k, &v) in outputs.iter().enumerate() {
        graph.output(&format!("y{k}"), v);
    }
    (graph, inputs, outputs)
}

/// The feed of `data` under the names of [`graph_of`].
pub fn feed(data: &[Data]) -> HashMap<String, HostTensor> {
    data.iter().enumerate().map(|(i, d)| (format!("x{i}"), d.host())).collect()
}

/// Runs the one-operation graph on `device`.
pub fn run_on(
    device: &Device,
    graph: &Graph,
    outputs: &[Value],
    data: &[Data],
) -> Result<Vec<Data>, DeviceError> {
    let plan = Plan::new(graph).expect("one operation plans");
    let states = States::new(device);
    let mut exec = Executor::new(&plan, &states)?;
    for (i, d) in data.iter().enumerate() {
        let name = format!("x{i}");
        if exec.input(&name).is_err() {
            continue; // an input that the operation reads only the shape of
        }
        match d {
            Data::F32(v) => exec.set(&name, v)?,
            Data::U32(v) => exec.set(&name, v)?,
            Data::Half(v) => exec.set(&name, v)?,
        }
    }
    exec.run()?;
    outputs
        .iter()
        .enumerate()
        .map(|(k, &v)| {
            let name = format!("y{k}");
            Ok(match graph.ty(v).dtype {
                DType::F32 => Data::F32(exec.get(&name)?),
                DType::U32 => Data::U32(exec.get(&name)?),
                DType::F16 | DType::Bf16 => Data::Half(exec.get(&name)?),
                DType::E4m3 | DType::E5m2 => unreachable!("operations of graphs give no 8-bit floats"),
            })
        })
        .collect()
}

/// Whether `got` is the oracle's `want`, within `tolerance`; else what differs first.
pub fn compare(got: &Data, want: &HostTensor, tolerance: Tolerance) -> Result<(), String> {
    match (got, want) {
        (Data::U32(g), HostTensor::U32(w)) => exact(g, w),
        (Data::Half(g), HostTensor::Half(w)) => exact(g, w),
        (Data::F32(g), HostTensor::Real(w)) => {
            if g.len() != w.len() {
                return Err(format!("{} elements, {} expected", g.len(), w.len()));
            }
            for (i, (&g, &w)) in g.iter().zip(w).enumerate() {
                if !close(g, w, tolerance) {
                    return Err(format!(
                        "element {i}: got {g:e}, the oracle says {w:e}: off by {:e}, allowed {:e}",
                        (f64::from(g) - w).abs(),
                        tolerance.bound(w)
                    ));
                }
            }
            Ok(())
        }
        _ => Err("another element type than the oracle's".into()),
    }
}

fn exact<T: PartialEq + std::fmt::Debug>(got: &[T], want: &[T]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} elements, {} expected", got.len(), want.len()));
    }
    match got.iter().zip(want).position(|(g, w)| g != w) {
        Some(i) => Err(format!("element {i}: got {:?}, the oracle says {:?}", got[i], want[i])),
        None => Ok(()),
    }
}

/// NaN equals NaN; what overflows `f32` equals infinity; results in the subnormal range may be off by their spacing.
pub fn close(got: f32, want: f64, tolerance: Tolerance) -> bool {
    if want.is_nan() || got.is_nan() {
        return want.is_nan() && got.is_nan();
    }
    let rounded = want as f32;
    if rounded.is_infinite() || got.is_infinite() {
        // Just below the largest float either answer is a rounding away.
        return got == rounded
            || (want.abs() > 0.999 * f64::from(f32::MAX) && f64::from(got).signum() == want.signum());
    }
    let floor = if tolerance.constant == 0.0 { 0.0 } else { 4.0 * f64::from(f32::from_bits(1)) };
    let want = if tolerance.constant == 0.0 { f64::from(rounded) } else { want };
    (f64::from(got) - want).abs() <= tolerance.bound(want) + floor
}
