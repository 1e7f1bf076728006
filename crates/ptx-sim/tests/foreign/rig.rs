//! What all tests of foreign kernels share: both targets, three seeds, typed buffers, random numbers, comparisons.

use ptx_sim::{Arg, LaunchConfig, LaunchStats, Module, Sim, SimError};
use std::fmt::Debug;

/// Seeds of the simulator's schedule and of the data; every test runs under each.
const SEEDS: [u64; 3] = [1, 0x5EED, 0xDEAD_BEEF_0BAD_CAFE];

/// The PTX of a `.cu` file for both targets, or for one.
macro_rules! kernels {
    ($name:literal) => {
        &[include_str!(concat!($name, "_sm_80.ptx")), include_str!(concat!($name, "_sm_90a.ptx"))]
    };
    ($name:literal, sm_90a) => {
        &[include_str!(concat!($name, "_sm_90a.ptx"))]
    };
}
pub(crate) use kernels;

/// Kernel arguments by their Rust types; pointers are `u64`.
macro_rules! args {
    ($($a:expr),* $(,)?) => { &[$($crate::foreign::rig::ToArg::arg($a)),*] };
}
pub(crate) use args;

/// Numbers that go into buffers.
pub trait Pod: Copy + Debug + PartialEq {
    /// Appends the little-endian bytes.
    fn bytes(self, out: &mut Vec<u8>);
    /// Reads them back.
    fn parse(raw: &[u8]) -> Self;
}

/// Values that can be kernel arguments.
pub trait ToArg {
    /// The argument.
    fn arg(self) -> Arg;
}

macro_rules! pod {
    ($($t:ty, $v:ident);*) => {$(
        impl Pod for $t {
            fn bytes(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn parse(raw: &[u8]) -> Self {
                <$t>::from_le_bytes(raw.try_into().unwrap())
            }
        }
        impl ToArg for $t {
            fn arg(self) -> Arg {
                Arg::$v(self)
            }
        }
    )*};
}
pod!(u8, U8; i8, I8; u16, U16; i16, I16; u32, U32; i32, I32; u64, U64; i64, I64; f32, F32; f64, F64);

impl ToArg for Vec<u8> {
    fn arg(self) -> Arg {
        Arg::Bytes(self)
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    /// From `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.u64() % n as u64) as usize
    }

    /// From `low..high`.
    pub fn f64(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn f32(&mut self, low: f32, high: f32) -> f32 {
        self.f64(low as f64, high as f64) as f32
    }

    pub fn list<T>(&mut self, n: usize, mut f: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..n).map(|_| f(self)).collect()
    }

    pub fn f32s(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        self.list(n, |r| r.f32(low, high))
    }

    pub fn u32s(&mut self, n: usize) -> Vec<u32> {
        self.list(n, Random::u32)
    }
}

/// One module on one simulator.
pub struct Rig {
    pub sim: Sim,
    pub module: Module,
    pub random: Random,
    what: String,
}

/// Runs a test with every check on, for every PTX text and seed.
pub fn each(sources: &[&str], test: impl Fn(&mut Rig)) {
    for source in sources {
        let module = Module::parse(source).unwrap_or_else(|e| panic!("{e}"));
        let target = source.lines().find(|l| l.starts_with(".target")).unwrap_or("no target");
        for seed in SEEDS {
            let sim = Sim::builder().seed(seed).build();
            let what = format!("{target}, seed {seed}");
            test(&mut Rig { sim, module: module.clone(), random: Random(seed), what });
        }
    }
}

impl Rig {
    /// A buffer with these elements.
    pub fn put<T: Pod>(&mut self, v: &[T]) -> u64 {
        let mut data = Vec::new();
        v.iter().for_each(|x| x.bytes(&mut data));
        let a = self.sim.alloc(data.len());
        self.sim.write(a, &data).unwrap_or_else(|e| panic!("{e}"));
        a
    }

    /// A buffer of uninitialised elements.
    pub fn room<T: Pod>(&mut self, n: usize) -> u64 {
        self.sim.alloc(n * size_of::<T>())
    }

    /// The elements of a buffer, every one of which must have been written.
    pub fn get<T: Pod>(&self, addr: u64, n: usize) -> Vec<T> {
        let mut raw = vec![0; n * size_of::<T>()];
        self.sim.read_checked(addr, &mut raw).unwrap_or_else(|e| panic!("{}: {e}", self.what));
        raw.chunks_exact(size_of::<T>()).map(T::parse).collect()
    }

    /// Launches and expects no finding.
    pub fn run(&mut self, kernel: &str, config: LaunchConfig, args: &[Arg]) -> LaunchStats {
        self.attempt(kernel, config, args).unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }

    /// Launches.
    pub fn attempt(
        &mut self,
        kernel: &str,
        config: LaunchConfig,
        args: &[Arg],
    ) -> Result<LaunchStats, SimError> {
        self.sim.launch(&self.module, kernel, &config, args)
    }
}

/// A launch in one dimension.
pub fn line(blocks: u32, threads: u32) -> LaunchConfig {
    LaunchConfig::new([blocks, 1, 1], [threads, 1, 1])
}

/// Equality with the first difference named.
#[track_caller]
pub fn same<T: PartialEq + Debug>(got: &[T], want: &[T]) {
    assert_eq!(got.len(), want.len());
    if let Some(i) = (0..got.len()).find(|&i| got[i] != want[i]) {
        panic!("element {i} of {}: {:?}, should be {:?}", got.len(), got[i], want[i]);
    }
}

/// Agreement within an absolute bound of each element.
#[track_caller]
pub fn close(got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) {
    let wide: Vec<f64> = got.iter().map(|&v| v as f64).collect();
    close64(&wide, want, bound);
}

/// [`close`] for doubles.
#[track_caller]
pub fn close64(got: &[f64], want: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len());
    for i in 0..got.len() {
        let (g, w, b) = (got[i], want[i], bound(i));
        let agree = (g - w).abs() <= b || g == w || (g.is_nan() && w.is_nan());
        assert!(agree, "element {i}: {g}, should be {w} within {b:e}");
    }
}

/// `y` is the rows of `x` with mean 0 and variance 1 (epsilon 1e-3), times `gamma` plus `beta`.
pub fn normalised(y: &[f32], x: &[f32], gamma: &[f32], beta: &[f32]) {
    let columns = gamma.len();
    let mut want = Vec::new();
    for row in x.chunks(columns) {
        let mean = row.iter().map(|&v| v as f64).sum::<f64>() / columns as f64;
        let var = row.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / columns as f64;
        let scale = 1.0 / (var + 1e-3f32 as f64).sqrt();
        want.extend((0..columns).map(|c| (row[c] as f64 - mean) * scale * gamma[c] as f64 + beta[c] as f64));
    }
    // A scale of at most 32 multiplies the rounding errors of values below three.
    close(y, &want, |_| 32.0 * 40.0 * f32::EPSILON as f64);
}
