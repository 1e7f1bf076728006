//! Blocks on several threads: the same memory, the same counts, the same errors as on one.

use proptest::prelude::*;
use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, LaunchStats, Module, Sim, SimError};

const BLOCK: u32 = 96;

/// Each thread walks over `in` from its own element with a stride, mixes what it finds, updates counters with atomics of
/// several kinds and writes a part of `out`; some threads leave early.
const MIX: &str = "
    .version 8.0 .target sm_80
    .visible .entry mix(.param .u64 in, .param .u64 out, .param .u64 counters, .param .u32 n, .param .u32 rounds) {
      .reg .b32 %r<20>; .reg .b64 %d<12>; .reg .pred %p<3>; .shared .align 4 .b8 s[384];
      ld.param.u64 %d0, [in]; ld.param.u64 %d1, [out]; ld.param.u64 %d2, [counters];
      ld.param.u32 %r0, [n]; ld.param.u32 %r1, [rounds];
      mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r5, %r2, %r3, %r4;
      mov.u32 %r6, 0; mov.u32 %r7, %r5;
    L:rem.u32 %r8, %r7, %r0; mul.wide.u32 %d3, %r8, 4; add.u64 %d3, %d0, %d3; ld.global.u32 %r9, [%d3];
      mad.lo.u32 %r6, %r6, 31, %r9; add.u32 %r7, %r7, %r9; and.b32 %r7, %r7, 0xfffff; sub.u32 %r1, %r1, 1;
      setp.ne.u32 %p0, %r1, 0; @%p0 bra L;
      mov.u32 %r10, s; shl.b32 %r11, %r4, 2; add.u32 %r10, %r10, %r11; st.shared.u32 [%r10], %r6; bar.sync 0;
      xor.b32 %r11, %r11, 4; mov.u32 %r12, s; add.u32 %r12, %r12, %r11; ld.shared.u32 %r13, [%r12]; add.u32 %r6, %r6, %r13;
      red.global.add.u32 [%d2], %r6; red.global.max.u32 [%d2+4], %r6; red.global.xor.b32 [%d2+8], %r6;
      cvt.u64.u32 %d4, %r6; red.global.add.u64 [%d2+16], %d4; red.global.min.s32 [%d2+12], %r6;
      and.b32 %r14, %r6, 3; setp.eq.u32 %p1, %r14, 0; @%p1 exit;
      mul.wide.u32 %d5, %r5, 8; add.u64 %d5, %d1, %d5; st.global.u32 [%d5], %r6; st.global.u16 [%d5+4], %r13;
      ret; }";

struct Outcome {
    stats: LaunchStats,
    out: Vec<u8>,
    written: Vec<bool>,
    counters: Vec<u8>,
}

fn mix(threads: usize, blocks: u32, rounds: u32, data: &[u32]) -> Outcome {
    let module = Module::parse(MIX).expect("parses");
    let mut sim = Sim::builder().checks(Checks::none()).threads(threads).build();
    let bytes = (8 * BLOCK * blocks) as usize;
    let (input, out, counters) = (sim.alloc(4 * data.len()), sim.alloc(bytes), sim.alloc(24));
    sim.write(input, &data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).expect("inside");
    sim.fill(counters, 0, 24).expect("inside");
    let config = LaunchConfig::new([blocks, 1, 1], [BLOCK, 1, 1]);
    let args =
        [Arg::U64(input), Arg::U64(out), Arg::U64(counters), Arg::U32(data.len() as u32), Arg::U32(rounds)];
    let stats = sim.launch(&module, "mix", &config, &args).expect("runs");
    let mut o = Outcome { stats, out: vec![0; bytes], written: Vec::new(), counters: vec![0; 24] };
    sim.read(out, &mut o.out).expect("inside");
    sim.read(counters, &mut o.counters).expect("inside");
    o.written = (0..bytes as u64).map(|i| sim.read_checked(out + i, &mut [0]).is_ok()).collect();
    o
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn results_and_counts_do_not_depend_on_threads(
        blocks in 2u32..40,
        rounds in 1u32..200,
        data in proptest::collection::vec(any::<u32>(), 1..500),
    ) {
        let one = mix(1, blocks, rounds, &data);
        let four = mix(4, blocks, rounds, &data);
        prop_assert_eq!(&one.out, &four.out);
        prop_assert_eq!(&one.written, &four.written);
        prop_assert_eq!(&one.counters, &four.counters);
        prop_assert_eq!(&one.stats, &four.stats);
        // The reference: the same walk on the host.
        let n = data.len() as u32;
        let walk = |thread: u32| {
            let (mut sum, mut at) = (0u32, thread);
            for _ in 0..rounds {
                let v = data[(at % n) as usize];
                sum = sum.wrapping_mul(31).wrapping_add(v);
                at = at.wrapping_add(v) & 0xfffff;
            }
            sum
        };
        let mut total = 0u64;
        for t in 0..blocks * BLOCK {
            let (mine, other) = (walk(t), walk(t ^ 1));
            let v = mine.wrapping_add(other);
            total = total.wrapping_add(v as u64);
            let at = 8 * t as usize;
            let writes = v & 3 != 0;
            prop_assert_eq!(&one.written[at..at + 8], &[writes, writes, writes, writes, writes, writes, false, false]);
            if writes {
                prop_assert_eq!(&one.out[at..at + 4], &v.to_le_bytes());
                prop_assert_eq!(&one.out[at + 4..at + 6], &other.to_le_bytes()[..2]);
            }
        }
        prop_assert_eq!(&one.counters[16..24], &total.to_le_bytes());
    }
}

/// Every block draws a ticket, adds to a float and to itself by compare-and-swap, then waits for the block that drew the next one.
const TICKETS: &str = "
    .version 8.0 .target sm_80
    .visible .entry tickets(.param .u64 p, .param .u32 spin) {
      .reg .b32 %r<20>; .reg .b64 %d<8>; .reg .pred %p<3>; .reg .f32 %f<4>;
      ld.param.u64 %d0, [p]; ld.param.u32 %r9, [spin]; mov.u32 %r8, %nctaid.x;
    W:sub.u32 %r9, %r9, 1; setp.ne.u32 %p0, %r9, 0; @%p0 bra W;
      atom.global.add.u32 %r0, [%d0], 1; mov.f32 %f0, 0f3F800000; atom.global.add.f32 %f1, [%d0+4], %f0;
      ld.global.u32 %r1, [%d0+8];
    C:add.u32 %r2, %r1, 3; atom.global.cas.b32 %r3, [%d0+8], %r1, %r2; setp.ne.u32 %p0, %r3, %r1; mov.u32 %r1, %r3; @%p0 bra C;
      mul.wide.u32 %d1, %r0, 4; add.u64 %d1, %d0, %d1; mov.u32 %r4, %ctaid.x; add.u32 %r4, %r4, 1;
      st.release.gpu.global.u32 [%d1+12], %r4;
      add.u32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, %r8; @%p1 ret;
    S:ld.acquire.gpu.global.u32 %r6, [%d1+16]; setp.eq.u32 %p1, %r6, 0; @%p1 bra S;
      ret; }";

#[test]
fn blocks_on_threads_wait_for_each_other() {
    let module = Module::parse(TICKETS).expect("parses");
    for (threads, blocks) in [(1, 40u32), (2, 40), (4, 300)] {
        let mut sim = Sim::builder().checks(Checks::none()).threads(threads).build();
        let bytes = 12 + 4 * blocks as usize;
        let p = sim.alloc(bytes);
        sim.fill(p, 0, bytes).expect("inside");
        let config = LaunchConfig::new([blocks, 1, 1], [1, 1, 1]);
        sim.launch(&module, "tickets", &config, &[Arg::U64(p), Arg::U32(3000)])
            .expect("every block gets its turn");
        let mut out = vec![0; bytes];
        sim.read(p, &mut out).expect("inside");
        let words: Vec<u32> =
            out.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().expect("4"))).collect();
        assert_eq!(words[..3], [blocks, (blocks as f32).to_bits(), 3 * blocks]);
        // Every block drew one ticket.
        let mut drawn = words[3..].to_vec();
        drawn.sort_unstable();
        assert_eq!(drawn, (1..=blocks).collect::<Vec<_>>());
    }
}

/// Blocks from the `from`th on trap after a while; the `from`th takes longest.
fn traps(threads: usize, from: u32, budget: u64) -> SimError {
    let ptx = "
    .version 8.0 .target sm_80
    .visible .entry traps(.param .u32 from) {
      .reg .b32 %r<8>; .reg .pred %p<3>;
      ld.param.u32 %r0, [from]; mov.u32 %r1, %ctaid.x; mov.u32 %r2, 2000; setp.eq.u32 %p0, %r0, %r1; @%p0 mov.u32 %r2, 60000;
    W:sub.u32 %r2, %r2, 1; setp.ne.u32 %p1, %r2, 0; @%p1 bra W;
      setp.ge.u32 %p0, %r1, %r0; @%p0 trap; ret; }";
    let module = Module::parse(ptx).expect("parses");
    let mut sim = Sim::builder().checks(Checks::none()).threads(threads).instruction_budget(budget).build();
    let config = LaunchConfig::new([64, 1, 1], [32, 1, 1]);
    sim.launch(&module, "traps", &config, &[Arg::U32(from)]).expect_err("a trap")
}

#[test]
fn the_first_error_is_the_first_block_s() {
    for from in [0, 1, 2, 17, 63] {
        let one = traps(1, from, u64::MAX);
        assert_eq!((one.kind, one.report.block), (ErrorKind::Trap, Some([from, 0, 0])));
        assert_eq!(traps(3, from, u64::MAX), one);
    }
}

#[test]
fn threads_share_one_budget() {
    // 63 blocks of 6000 and one of 180000 instructions.
    for threads in [1, 4] {
        assert_eq!(traps(threads, 63, 300_000).kind, ErrorKind::InstructionBudget);
        assert_eq!(traps(threads, 63, 600_000).kind, ErrorKind::Trap);
    }
}
