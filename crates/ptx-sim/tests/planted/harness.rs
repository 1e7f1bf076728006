//! What drives the table: kernels with their launch and reference, bugs, seeds, random data.

use ptx_sim::{Arg, ErrorKind, LaunchConfig, Module, Sim, SimError};
use std::collections::HashMap;

/// Schedules tried: in order, and shuffled by these seeds.
const SEEDS: [Option<u64>; 9] =
    [None, Some(0), Some(1), Some(2), Some(3), Some(0x5EED), Some(0xC0FFEE), Some(1 << 40), Some(u64::MAX)];

/// Warp instructions of a launch; all clean kernels need far fewer.
const BUDGET: u64 = 500_000;

/// A clean kernel. The entry has the kernel's name.
pub struct Kernel {
    /// Name of the entry.
    pub name: &'static str,
    /// The text.
    pub ptx: &'static str,
    /// Makes random data, launches, compares with the CPU.
    pub run: fn(&mut Case<'_>) -> Outcome,
}

/// One bug: `from`, which occurs once in the kernel's text, becomes `to`.
pub struct Bug {
    /// What the author of the bug overlooked.
    pub name: &'static str,
    /// The clean twin.
    pub kernel: &'static Kernel,
    pub from: &'static str,
    pub to: &'static str,
    /// The rule that must find it; several where it depends on the schedule which of them sees the bug first.
    pub expect: &'static [ErrorKind],
    /// The PTX line of the report holds one of these; empty when the host finds it, reading the output.
    pub at: &'static [&'static str],
}

/// Why a run was not clean.
#[derive(Debug)]
pub enum Failure {
    Finding(SimError),
    /// No finding, but another result than the CPU's.
    Wrong(String),
}

impl From<SimError> for Failure {
    fn from(e: SimError) -> Self {
        Failure::Finding(e)
    }
}

pub type Outcome = Result<(), Failure>;

/// One run: a simulator, a module, and a generator of data.
pub struct Case<'a> {
    pub sim: Sim,
    module: &'a Module,
    kernel: &'static str,
    state: u64,
}

impl Case<'_> {
    /// 64 random bits (SplitMix64).
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `low..high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.random() % (high - low) as u64) as u32
    }

    /// `n` random words.
    pub fn words(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.random() as u32).collect()
    }

    /// `n` floats that are whole numbers of -9 to 9: sums and products of a few are exact in any order.
    pub fn whole(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.between(0, 19) as f32 - 9.0).collect()
    }

    /// A buffer with these words.
    pub fn upload(&mut self, words: &[u32]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.upload_bytes(&bytes)
    }

    /// A buffer with these floats.
    pub fn upload_floats(&mut self, floats: &[f32]) -> u64 {
        let bytes: Vec<u8> = floats.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.upload_bytes(&bytes)
    }

    /// A buffer with these bytes.
    pub fn upload_bytes(&mut self, bytes: &[u8]) -> u64 {
        let at = self.sim.alloc(bytes.len());
        self.sim.write(at, bytes).expect("the buffer's own size");
        at
    }

    /// A buffer of `n` words nobody has written.
    pub fn output(&mut self, n: usize) -> u64 {
        self.sim.alloc(4 * n)
    }

    /// Launches the kernel on `grid` blocks of `block` threads.
    pub fn launch(&mut self, grid: u32, block: u32, args: &[Arg]) -> Outcome {
        self.launch_as(&LaunchConfig::new([grid, 1, 1], [block, 1, 1]), args)
    }

    /// Launches the kernel.
    pub fn launch_as(&mut self, config: &LaunchConfig, args: &[Arg]) -> Outcome {
        self.sim.launch(self.module, self.kernel, config, args)?;
        Ok(())
    }

    /// The `n` words of a buffer, all of which must have been written.
    pub fn download(&self, at: u64, n: usize) -> Result<Vec<u32>, Failure> {
        let mut bytes = vec![0; 4 * n];
        self.sim.read_checked(at, &mut bytes)?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The buffer holds exactly these words.
    pub fn expect(&self, at: u64, want: &[u32]) -> Outcome {
        let have = self.download(at, want.len())?;
        match have.iter().zip(want).position(|(h, w)| h != w) {
            None => Ok(()),
            Some(i) => Err(Failure::Wrong(format!("word {i} is {:#x}, not {:#x}", have[i], want[i]))),
        }
    }

    /// The buffer holds these floats, within `tolerance` times the larger of 1 and the expected value.
    pub fn expect_floats(&self, at: u64, want: &[f32], tolerance: f32) -> Outcome {
        let have: Vec<f32> = self.download(at, want.len())?.into_iter().map(f32::from_bits).collect();
        let close = |h: f32, w: f32| (h - w).abs() <= tolerance * w.abs().max(1.0);
        match have.iter().zip(want).position(|(&h, &w)| !close(h, w)) {
            None => Ok(()),
            Some(i) => Err(Failure::Wrong(format!("float {i} is {}, not {}", have[i], want[i]))),
        }
    }
}

fn run(kernel: &Kernel, module: &Module, seed: Option<u64>) -> Outcome {
    let builder = Sim::builder().instruction_budget(BUDGET);
    let sim = seed.map_or(builder.clone(), |s| builder.seed(s)).build();
    let state = seed.unwrap_or(0xDA7A).wrapping_mul(0x9E37_79B9);
    (kernel.run)(&mut Case { sim, module, kernel: kernel.name, state })
}

fn parse(name: &str, ptx: &str) -> Module {
    Module::parse(ptx).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Runs every clean twin and every bug of a topic under all seeds; panics with all that went wrong.
pub fn prove(bugs: &[Bug]) {
    let mut failures = Vec::new();
    let mut twins: HashMap<&str, &Kernel> = HashMap::new();
    for b in bugs {
        twins.insert(b.kernel.name, b.kernel);
    }
    for k in twins.values() {
        let module = parse(k.name, k.ptx);
        for seed in SEEDS {
            match run(k, &module, seed) {
                Ok(()) => {}
                Err(Failure::Finding(e)) => failures.push(format!("clean `{}`, seed {seed:?}: {e}", k.name)),
                Err(Failure::Wrong(e)) => failures.push(format!("clean `{}`, seed {seed:?}: {e}", k.name)),
            }
        }
    }
    for b in bugs {
        assert_eq!(b.kernel.ptx.matches(b.from).count(), 1, "`{}`: `{}` must occur once", b.name, b.from);
        let module = parse(b.name, &b.kernel.ptx.replace(b.from, b.to));
        let mut wrong: Vec<(Vec<Option<u64>>, String)> = Vec::new();
        for seed in SEEDS {
            let text = match run(b.kernel, &module, seed) {
                Ok(()) => "not found, and the result is right".into(),
                Err(Failure::Wrong(e)) => format!("not found; {e}"),
                Err(Failure::Finding(e)) => {
                    let line = &e.report.instruction;
                    let here = if b.at.is_empty() {
                        e.report.line.is_none()
                    } else {
                        b.at.iter().any(|a| line.contains(a))
                    };
                    if b.expect.contains(&e.kind) && here {
                        continue;
                    }
                    format!("{:?} at `{line}`: {e}", e.kind)
                }
            };
            match wrong.iter_mut().find(|w| w.1 == text) {
                Some(w) => w.0.push(seed),
                None => wrong.push((vec![seed], text)),
            }
        }
        for (seeds, text) in wrong {
            failures.push(format!("`{}` (expected {:?}), seeds {seeds:?}: {text}", b.name, b.expect));
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
