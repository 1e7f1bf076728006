//! Kernels, launches and random data of the other modules.

use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, Module, Sim, SimError};

/// Seeds every rule is tried on.
pub const SEEDS: u64 = 8;

/// A kernel with two pointers and an integer; `%d0` and `%d1` are the pointers, `%r0` the integer, `%r1` the thread, `%r2` the rank
/// in the cluster, `%r3` the block, `%w` the thread's warp. The body starts on PTX line 9.
pub fn kernel(shared: &str, body: &str) -> String {
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b, .param .u32 n) .maxntid 256\n{{\n\
         .reg .pred %p<16>; .reg .b16 %h<8>; .reg .b32 %r<64>, %w; .reg .b64 %d<32>; {shared}\n\
         ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; ld.param.u32 %r0, [n];\n\
         mov.u32 %r1, %tid.x; mov.u32 %r2, %cluster_ctarank; mov.u32 %r3, %ctaid.x; shr.u32 %w, %r1, 5;\n{body}\nret;\n}}\n"
    )
}

/// A small generator of random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    pub fn words(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.next() as u32).collect()
    }
}

pub fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

pub fn to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

pub fn module(ptx: &str) -> Module {
    Module::parse(ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

/// One launch of [`kernel`] with an input and an output buffer; the output's bytes.
pub struct Run<'a> {
    pub ptx: &'a str,
    pub grid: u32,
    pub block: u32,
    pub cluster: u32,
    pub input: &'a [u8],
    pub output: usize,
    pub n: u32,
}

impl Run<'_> {
    pub fn checks() -> Checks {
        Checks::all()
    }

    pub fn launch(&self, seed: u64) -> Result<Vec<u8>, SimError> {
        let mut sim = Sim::builder().checks(Self::checks()).seed(seed).instruction_budget(4_000_000).build();
        let (a, b) = (sim.alloc(self.input.len()), sim.alloc(self.output));
        sim.write(a, self.input).expect("inside");
        let config = LaunchConfig::new([self.grid, 1, 1], [self.block, 1, 1]).cluster([self.cluster, 1, 1]);
        let args = [Arg::U64(a), Arg::U64(b), Arg::U32(self.n)];
        sim.launch(&module(self.ptx), "k", &config, &args)?;
        let mut out = vec![0; self.output];
        sim.read_checked(b, &mut out)?;
        Ok(out)
    }

    /// The output is the same on every seed.
    pub fn gives(&self, wanted: &[u8]) {
        for seed in 0..SEEDS {
            match self.launch(seed) {
                Ok(out) => assert!(out == wanted, "seed {seed}: wrong output\n{}", self.ptx),
                Err(e) => panic!("seed {seed}: {e}\n{}", self.ptx),
            }
        }
    }

    /// The finding is the same on every seed, at an instruction that contains `at`.
    pub fn fails(&self, kind: ErrorKind, at: &str) {
        for seed in 0..SEEDS {
            let e = match self.launch(seed) {
                Err(e) => e,
                Ok(_) => panic!("seed {seed}: {kind} not found\n{}", self.ptx),
            };
            assert_eq!(e.kind, kind, "seed {seed}: {e}");
            assert!(e.report.instruction.contains(at), "seed {seed}: reported elsewhere: {e}");
            assert!(e.report.block.is_some() && e.report.thread.is_some(), "seed {seed}: {e}");
        }
    }
}
