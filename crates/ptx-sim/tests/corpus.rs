//! Kernels compiled by rustc's own NVPTX back end (`tests/ptx/corpus.rs`), run under every check, against plain Rust.

use proptest::prelude::*;
use ptx_sim::{Arg, Checks, LaunchConfig, LaunchStats, Module, Sim, SimError};
use std::sync::OnceLock;

const SM80: &str = include_str!("ptx/corpus_sm_80.ptx");
const SM90: &str = include_str!("ptx/corpus_sm_90a.ptx");

fn modules() -> &'static [Module; 2] {
    static M: OnceLock<[Module; 2]> = OnceLock::new();
    M.get_or_init(|| [SM80, SM90].map(|p| Module::parse(p).unwrap_or_else(|e| panic!("{e}"))))
}

/// A simulator with typed buffers.
struct Rig {
    sim: Sim,
    module: Module,
}

impl Rig {
    fn new(which: usize, seed: u64) -> Rig {
        Rig { sim: Sim::builder().seed(seed).build(), module: modules()[which].clone() }
    }

    fn put<T: Copy>(&mut self, v: &[T], bytes: impl Fn(T) -> Vec<u8>) -> u64 {
        let data: Vec<u8> = v.iter().flat_map(|&x| bytes(x)).collect();
        let a = self.sim.alloc(data.len());
        self.sim.write(a, &data).unwrap();
        a
    }

    fn f32s(&mut self, v: &[f32]) -> u64 {
        self.put(v, |x| x.to_le_bytes().to_vec())
    }

    fn u32s(&mut self, v: &[u32]) -> u64 {
        self.put(v, |x| x.to_le_bytes().to_vec())
    }

    fn u64s(&mut self, v: &[u64]) -> u64 {
        self.put(v, |x| x.to_le_bytes().to_vec())
    }

    fn launch(&mut self, kernel: &str, config: LaunchConfig, args: &[Arg]) -> Result<LaunchStats, SimError> {
        self.sim.launch(&self.module, kernel, &config, args)
    }

    fn bytes(&self, addr: u64, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        self.sim.read_checked(addr, &mut out).unwrap_or_else(|e| panic!("{e}"));
        out
    }

    fn read_u32(&self, addr: u64, n: usize) -> Vec<u32> {
        self.bytes(addr, 4 * n).chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }

    fn read_u64(&self, addr: u64, n: usize) -> Vec<u64> {
        self.bytes(addr, 8 * n).chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
    }

    fn read_f32(&self, addr: u64, n: usize) -> Vec<f32> {
        self.read_u32(addr, n).into_iter().map(f32::from_bits).collect()
    }
}

fn ok<T>(r: Result<T, SimError>) -> T {
    r.unwrap_or_else(|e| panic!("{e}"))
}

fn floats(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-4f32..4.0, n)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn saxpy_is_a_fused_multiply_add(which in 0usize..2, seed: u64, alpha in -3f32..3.0, x in floats(1..700)) {
        let mut r = Rig::new(which, seed);
        let y: Vec<f32> = x.iter().map(|v| v * 0.7 - 1.3).collect();
        let (dx, dy, out) = (r.f32s(&x), r.f32s(&y), r.sim.alloc(4 * x.len()));
        let n = x.len() as u32;
        ok(r.launch("saxpy", LaunchConfig::linear(n, 96), &[Arg::U32(n), Arg::F32(alpha), Arg::U64(dx), Arg::U64(dy), Arg::U64(out)]));
        let want: Vec<f32> = x.iter().zip(&y).map(|(&a, &b)| alpha.mul_add(a, b)).collect();
        prop_assert_eq!(r.read_f32(out, x.len()), want);
    }

    #[test]
    fn tiled_gemm_matches_f64(which in 0usize..2, seed: u64, m in 1usize..40, n in 1usize..40, k in 1usize..40, s in 0.1f32..2.0) {
        let mut r = Rig::new(which, seed);
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * s).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i * 53 % 97) as f32 / 48.0 - s).collect();
        let (da, db, dc) = (r.f32s(&a), r.f32s(&b), r.sim.alloc(4 * m * n));
        let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
        let args = [Arg::U32(m as u32), Arg::U32(n as u32), Arg::U32(k as u32), Arg::U64(da), Arg::U64(db), Arg::U64(dc)];
        let stats = ok(r.launch("gemm_tiled", LaunchConfig::new(grid, [16, 16, 1]), &args));
        prop_assert_eq!(stats.barriers, (2 * k.div_ceil(16) * (grid[0] * grid[1]) as usize) as u64);
        let c = r.read_f32(dc, m * n);
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|p| a[i * k + p] as f64 * b[p * n + j] as f64);
                let (want, size) = terms.fold((0.0, 0.0), |(s, t), v| (s + v, t + v.abs()));
                // Recursive summation of k products: k rounding errors of at most eps/2 each.
                let bound = k as f64 * f32::EPSILON as f64 * size + 1e-30;
                prop_assert!((c[i * n + j] as f64 - want).abs() <= bound, "{} vs {want}", c[i * n + j]);
            }
        }
    }

    #[test]
    fn block_sums_use_dynamic_shared_memory(which in 0usize..2, seed: u64, warps in 1u32..9, blocks in 1u32..5, x in floats(1..2000)) {
        let mut r = Rig::new(which, seed);
        let (dx, out) = (r.f32s(&x), r.sim.alloc(4 * blocks as usize));
        let config = LaunchConfig::new([blocks, 1, 1], [32 * warps, 1, 1]).shared(4 * warps);
        ok(r.launch("block_sum", config, &[Arg::U32(x.len() as u32), Arg::U64(dx), Arg::U64(out)]));
        let total: f64 = r.read_f32(out, blocks as usize).iter().map(|&v| v as f64).sum();
        let want: f64 = x.iter().map(|&v| v as f64).sum();
        let size: f64 = x.iter().map(|&v| v.abs() as f64).sum();
        prop_assert!((total - want).abs() <= 64.0 * f32::EPSILON as f64 * size + 1e-20);
    }

    #[test]
    fn activations_take_every_branch(which in 0usize..2, seed: u64, x in prop::collection::vec(prop_oneof![-300f32..300.0, -2f32..2.0], 1..90)) {
        let n = x.len() as u32;
        for kind in 0..15u32 {
            let mut r = Rig::new(which, seed);
            let (dx, dy) = (r.f32s(&x), r.sim.alloc(4 * x.len()));
            ok(r.launch("activation", LaunchConfig::linear(n, 64), &[Arg::U32(kind), Arg::U32(n), Arg::U64(dx), Arg::U64(dy)]));
            for (&v, got) in x.iter().zip(r.read_f32(dy, x.len())) {
                let w = v as f64;
                let want = match kind {
                    0 => w.max(0.0),
                    1 => w.tanh(),
                    2 => 1.0 / (1.0 + (-w).exp()),
                    3 => 0.5 * w * (1.0 + (0.797_884_56 * (w + 0.044_715 * w * w * w)).tanh()),
                    4 if v > 88.0 => continue,
                    4 => w.exp().ln_1p(),
                    5 => w.abs(),
                    6 => -w.abs(),
                    7 => w.abs().sqrt(),
                    8 => w.floor(),
                    9 => w.clamp(-1.0, 1.0),
                    10 => (v as i32) as f64,
                    11 => (v as u8) as f64,
                    12 => w.round_ties_even(),
                    _ => w,
                };
                // f32 arithmetic with cancellation inside: the magnitude of the input counts.
                let bound = 8.0 * f32::EPSILON as f64 * (1.0 + w.abs() + want.abs());
                prop_assert!((got as f64 - want).abs() <= bound, "kind {kind}: f({v}) = {got}, want {want}");
            }
        }
    }

    #[test]
    fn histograms_count_with_atomics(which in 0usize..2, seed: u64, x in prop::collection::vec(any::<u8>(), 1..3000)) {
        let mut r = Rig::new(which, seed);
        let dx = r.put(&x, |v| vec![v]);
        let bins = r.u32s(&[0; 64]);
        ok(r.launch("histogram", LaunchConfig::new([3, 1, 1], [96, 1, 1]), &[Arg::U32(x.len() as u32), Arg::U64(dx), Arg::U64(bins)]));
        let mut want = vec![0; 64];
        x.iter().for_each(|v| want[(v & 63) as usize] += 1);
        prop_assert_eq!(r.read_u32(bins, 64), want);
    }

    #[test]
    fn integer_arithmetic_is_exact(which in 0usize..2, seed: u64, v in prop::collection::vec((any::<u64>(), any::<u64>(), 0u32..64, 0u32..64), 1..70)) {
        // Shifted, so that small operands are common.
        let a: Vec<u64> = v.iter().map(|t| t.0 >> t.2).collect();
        let b: Vec<u64> = v.iter().map(|t| t.1 >> t.3).collect();
        let mut r = Rig::new(which, seed);
        let (da, db, out) = (r.u64s(&a), r.u64s(&b), r.sim.alloc(8 * a.len()));
        let n = a.len() as u32;
        ok(r.launch("integers", LaunchConfig::linear(n, 32), &[Arg::U32(n), Arg::U64(da), Arg::U64(db), Arg::U64(out)]));
        let want: Vec<u64> = a.iter().zip(&b).map(|(&x, &y)| integers(x, y)).collect();
        prop_assert_eq!(r.read_u64(out, a.len()), want);
    }

    #[test]
    fn recursion_and_local_arrays(which in 0usize..2, seed: u64, x in prop::collection::vec(any::<u32>(), 1..80)) {
        let mut r = Rig::new(which, seed);
        let (dx, out) = (r.u32s(&x), r.sim.alloc(4 * x.len()));
        let n = x.len() as u32;
        ok(r.launch("recursive", LaunchConfig::linear(n, 64), &[Arg::U32(n), Arg::U64(dx), Arg::U64(out)]));
        let want: Vec<u32> = x.iter().map(|&x| recursive(x)).collect();
        prop_assert_eq!(r.read_u32(out, x.len()), want);
    }

    #[test]
    fn vectors_structs_and_doubles(which in 0usize..2, seed: u64, x in prop::collection::vec(0.1f32..9.0, 1..60), s in 0.5f32..4.0) {
        let n = x.len() / 4;
        prop_assume!(n > 0);
        let mut r = Rig::new(which, seed);
        let (dx, dy, dz) = (r.f32s(&x[..4 * n]), r.sim.alloc(16 * n), r.sim.alloc(8 * n));
        let p: Vec<u8> = [s, s + 1.0, s + 2.0, s + 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        ok(r.launch("vectors", LaunchConfig::linear(n as u32, 32), &[Arg::U32(n as u32), Arg::Bytes(p), Arg::U64(dx), Arg::U64(dy), Arg::U64(dz)]));
        let (y, z) = (r.read_f32(dy, 4 * n), r.read_u64(dz, n));
        for i in 0..n {
            let v = &x[4 * i..4 * i + 4];
            prop_assert_eq!(&y[4 * i..4 * i + 4], &[v[0] * s, v[1] / (s + 1.0), v[2] - (s + 2.0), v[3] + (s + 3.0)]);
            let d = [v[0] as f64, v[1] as f64, v[2] as f64];
            prop_assert_eq!(f64::from_bits(z[i]), d[0] / (d[1] * d[1] + 1.0) + (d[2] * d[2]).sqrt());
        }
    }

    #[test]
    fn philox_is_philox(which in 0usize..2, seed: u64, key: u64, n in 1u32..100) {
        let mut r = Rig::new(which, seed);
        let out = r.sim.alloc(16 * n as usize);
        ok(r.launch("philox", LaunchConfig::linear(n, 64), &[Arg::U64(key), Arg::U32(n), Arg::U64(out)]));
        let got = r.read_u32(out, 4 * n as usize);
        for i in 0..n {
            let mut c = [i, 0, 0, 0u32];
            let mut k = [key as u32, (key >> 32) as u32];
            for _ in 0..10 {
                let (p0, p1) = (0xD251_1F53u64 * c[0] as u64, 0xCD9E_8D57u64 * c[2] as u64);
                c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
                k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
            }
            prop_assert_eq!(&got[4 * i as usize..4 * i as usize + 4], &c);
        }
    }
}

/// Random123's known answer for counter 0 and key 0.
#[test]
fn philox_known_answer() {
    let mut r = Rig::new(0, 3);
    let out = r.sim.alloc(16);
    ok(r.launch("philox", LaunchConfig::linear(1, 32), &[Arg::U64(0), Arg::U32(1), Arg::U64(out)]));
    assert_eq!(r.read_u32(out, 4), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
}

#[test]
fn printf_prints_and_assert_stops() {
    for which in 0..2 {
        let mut r = Rig::new(which, 1);
        let stats = ok(r.launch("talk", LaunchConfig::linear(3, 3), &[Arg::U32(3)]));
        assert_eq!(stats.printf, ["thread 0 half 0\n", "thread 1 half 0.5\n", "thread 2 half 1\n"]);
        let e = r.launch("talk", LaunchConfig::linear(8, 8), &[Arg::U32(5)]).unwrap_err();
        assert_eq!(e.kind, ptx_sim::ErrorKind::AssertionFailed);
        assert_eq!(e.report.thread, Some([5, 0, 0]));
        assert_eq!(e.report.message, "`i < limit` at lib.rs:7 in talk");
        assert!(e.report.source.as_ref().is_some_and(|s| s.0 == "corpus/src/lib.rs"), "{e}");
    }
}

#[test]
fn checks_can_be_switched_off_one_by_one() {
    let mut checks = Checks::all();
    checks.out_of_bounds = false;
    let mut sim = Sim::builder().checks(checks).build();
    let x = sim.alloc(64);
    sim.fill(x, 0, 64).unwrap();
    let y = sim.alloc(64);
    let args = [Arg::U32(32), Arg::F32(2.0), Arg::U64(x), Arg::U64(x), Arg::U64(y)];
    // 32 elements in buffers of 16: the reads past the end give poison, the writes go nowhere.
    ok(sim.launch(&modules()[0], "saxpy", &LaunchConfig::linear(32, 32), &args));
    let mut out = [1; 64];
    sim.read_checked(y, &mut out).unwrap();
    assert_eq!(out, [0; 64]);
}

#[test]
fn kernel_headers_say_what_a_launch_needs() {
    let m = &modules()[0];
    let g = m.kernel("gemm_tiled").unwrap();
    assert_eq!(g.params.iter().map(|p| p.size).collect::<Vec<_>>(), [4, 4, 4, 8, 8, 8]);
    assert_eq!((g.static_shared, g.uses_dynamic_shared, g.has_local), (2048, false, false));
    let b = m.kernel("block_sum").unwrap();
    assert_eq!((b.static_shared, b.uses_dynamic_shared), (0, true));
    assert!(m.kernel("recursive").unwrap().has_local);
}

fn ackermann(m: u32, n: u32) -> u32 {
    match (m, n) {
        (0, n) => n + 1,
        (m, 0) => ackermann(m - 1, 1),
        (m, n) => ackermann(m - 1, ackermann(m, n - 1)),
    }
}

fn recursive(x: u32) -> u32 {
    let table = [3u32, 1, 4, 1, 5, 9, 2, 6];
    let mut v: Vec<u32> = (0..24).map(|j| x.wrapping_mul(j as u32 + 7) ^ table[j & 7]).collect();
    v.sort_unstable();
    let k = x % 24;
    v[k as usize] ^ ackermann(k & 1, k % 5)
}

/// The `integers` kernel of the corpus, in host Rust.
fn integers(x: u64, y: u64) -> u64 {
    let y = y | 1;
    let mut h = x.wrapping_div(y) ^ x.wrapping_rem(y);
    h = h.wrapping_mul(31).wrapping_add(((x as i64).wrapping_rem((y as i64) | 3)) as u64);
    h = h.rotate_left((y & 63) as u32) ^ (x.count_ones() as u64) ^ (((x as u32).leading_zeros() as u64) << 8);
    h ^= ((x.leading_zeros() as u64) << 16) ^ ((y.trailing_zeros() as u64) << 24);
    h ^= x.reverse_bits() ^ (y as u32).reverse_bits() as u64 ^ x.swap_bytes();
    h = h.wrapping_add(((x as u128 * y as u128) >> 64) as u64);
    h ^= ((x as i32).wrapping_shr(y as u32 & 31)) as i64 as u64;
    h ^= (x as u32).rotate_right(y as u32 & 31) as u64;
    h ^= (x as u16 as i16 as i64 as u64) & (y as u8 as i8 as i64 as u64);
    h ^= x.max(y) ^ ((x as i64).min(y as i64)) as u64;
    h ^= (x as u8).wrapping_mul(y as u8) as u64 ^ ((x as u16) / (y as u16 | 1)) as u64;
    h ^= x.saturating_sub(y) ^ (x as u32).saturating_add(y as u32) as u64;
    let (s, c) = x.overflowing_add(y);
    let big = ((x as u128) << 64 | y as u128).wrapping_add((y as u128) << 64 | x as u128);
    h ^ s.wrapping_add(c as u64) ^ (big >> 64) as u64 ^ big as u64
}
