//! Clusters: shared memory of peers, the cluster barrier, special registers, and blocks that wait for later blocks.

use proptest::prelude::*;
use ptx_sim::{Arg, ErrorKind, LaunchConfig, Module, Sim};

/// Every block writes its number times 1000 plus the thread into its own shared memory; after the cluster barrier each thread
/// reads its right neighbour's. `{arrive}` is the first half of the barrier.
fn ring(arrive: &str, last: &str) -> String {
    format!(
        ".version 8.0 .target sm_90a .visible .entry ring(.param .u64 out) {{
           .reg .b32 %r<20>; .reg .b64 %d<8>; .reg .pred %p; .shared .align 4 .b8 mine[128];
           mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %cluster_ctarank; mov.u32 %r3, %cluster_nctarank;
           mov.u32 %r4, mine; shl.b32 %r5, %r0, 2; add.u32 %r6, %r4, %r5;
           mad.lo.u32 %r7, %r1, 1000, %r0; st.shared.u32 [%r6], %r7;
           {arrive} barrier.cluster.wait.aligned;
           add.u32 %r8, %r2, 1; rem.u32 %r8, %r8, %r3;
           mapa.shared::cluster.u32 %r9, %r6, %r8; ld.shared::cluster.u32 %r10, [%r9];
           mov.u32 %r14, 77; getctarank.shared::cluster.u32 %r14, %r9; sub.u32 %r14, %r14, %r8; add.u32 %r10, %r10, %r14;
           ld.param.u64 %d0, [out]; mad.lo.u32 %r11, %r1, 32, %r0; mul.wide.u32 %d1, %r11, 4; add.u64 %d0, %d0, %d1;
           {last} st.global.u32 [%d0], %r10; ret; }}"
    )
}

const BARRIER: &str = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn peers_share_memory(clusters in 1u32..4, size in 1u32..9, seed in any::<u64>()) {
        let module = Module::parse(&ring("barrier.cluster.arrive.aligned;", BARRIER)).expect("parses");
        let mut sim = Sim::builder().seed(seed).build();
        let blocks = clusters * size;
        let out = sim.alloc(128 * blocks as usize);
        let config = LaunchConfig::new([blocks, 1, 1], [32, 1, 1]).cluster([size, 1, 1]);
        sim.launch(&module, "ring", &config, &[Arg::U64(out)]).expect("runs");
        let mut bytes = vec![0; 128 * blocks as usize];
        sim.read_checked(out, &mut bytes).expect("written");
        for (i, v) in bytes.chunks_exact(4).enumerate() {
            let (block, thread) = (i as u32 / 32, i as u32 % 32);
            let neighbour = block / size * size + (block % size + 1) % size;
            prop_assert_eq!(u32::from_le_bytes(v.try_into().expect("4 bytes")), 1000 * neighbour + thread);
        }
    }
}

fn fails(ptx: &str, grid: u32, size: u32, seed: u64) -> ErrorKind {
    let module = Module::parse(ptx).expect("parses");
    let mut sim = Sim::builder().seed(seed).build();
    let out = sim.alloc(128 * grid as usize);
    let config = LaunchConfig::new([grid, 1, 1], [32, 1, 1]).cluster([size, 1, 1]);
    sim.launch(&module, "ring", &config, &[Arg::U64(out)]).expect_err("a finding").kind
}

#[test]
fn misuse_is_found_on_every_seed() {
    let aligned = "barrier.cluster.arrive.aligned;";
    for seed in 0..8 {
        // Waiting without arriving, arriving twice, only some blocks arriving, a block leaving while a peer reads.
        assert_eq!(fails(&ring("", BARRIER), 4, 2, seed), ErrorKind::DivergentBarrier);
        assert_eq!(fails(&ring(&aligned.repeat(2), BARRIER), 4, 2, seed), ErrorKind::DivergentBarrier);
        let half = "setp.eq.u32 %p, %r2, 0; @%p barrier.cluster.arrive.aligned; @!%p bra W; W:";
        assert_eq!(fails(&ring(half, BARRIER), 4, 2, seed), ErrorKind::DivergentBarrier);
        let late = ring(aligned, "").replace(
            "mapa",
            "setp.ne.u32 %p, %r2, 0; @%p bra OUT; mov.u32 %r15, 0;
             L: add.u32 %r15, %r15, 1; setp.lt.u32 %p, %r15, 40000; @%p bra L; mapa",
        );
        let late = late.replace("ret;", "OUT: ret;");
        assert_eq!(fails(&late, 4, 2, seed), ErrorKind::ClusterExited);
        // A rank the cluster does not have.
        let outside = ring(aligned, BARRIER).replace("rem.u32 %r8, %r8, %r3;", "add.u32 %r8, %r8, 7;");
        assert_eq!(fails(&outside, 4, 2, seed), ErrorKind::OutOfBounds);
    }
    assert_eq!(fails(&ring(aligned, BARRIER), 5, 2, 0), ErrorKind::BadLaunch);
    assert_eq!(fails(&ring(aligned, BARRIER), 34, 17, 0), ErrorKind::BadLaunch);
}

/// One lane of a warp comes late to an aligned barrier, and another has left before it.
#[test]
fn lanes_may_come_late_or_have_left() {
    let late = "setp.eq.u32 %p, %r0, 3; @!%p bra ON; mov.u32 %r15, 0;
        SPIN: add.u32 %r15, %r15, 1; setp.lt.u32 %p, %r15, 40000; @%p bra SPIN;
        ON: barrier.cluster.arrive.aligned;";
    let left = "setp.eq.u32 %p, %r0, 31; @%p bra OUT; barrier.cluster.arrive.aligned;";
    for (arrive, lanes) in [(late, 32), (left, 31)] {
        let ptx = ring(arrive, BARRIER).replace("ret;", "OUT: ret;");
        let module = Module::parse(&ptx).expect("parses");
        for seed in 0..8 {
            let mut sim = Sim::builder().seed(seed).build();
            let out = sim.alloc(4 * 128);
            let config = LaunchConfig::new([4, 1, 1], [32, 1, 1]).cluster([2, 1, 1]);
            sim.launch(&module, "ring", &config, &[Arg::U64(out)]).unwrap_or_else(|e| panic!("{e}"));
            let mut bytes = [0; 4];
            for block in 0..4 {
                for lane in 0..lanes {
                    sim.read_checked(out + 4 * (32 * block + lane), &mut bytes).expect("written");
                    assert_eq!(u32::from_le_bytes(bytes) as u64, 1000 * (block ^ 1) + lane);
                }
            }
        }
    }
}

/// Block `i` waits for a flag that block `i + 1` sets.
#[test]
fn blocks_may_wait_for_later_blocks() {
    let ptx = ".version 7.0 .target sm_80 .visible .entry chain(.param .u64 flags) {
        .reg .b32 %r<8>; .reg .b64 %d<8>; .reg .pred %p;
        mov.u32 %r0, %ctaid.x; mov.u32 %r1, %nctaid.x; ld.param.u64 %d0, [flags]; mul.wide.u32 %d1, %r0, 4; add.u64 %d0, %d0, %d1;
        add.u32 %r2, %r0, 1; setp.eq.u32 %p, %r2, %r1; @%p bra SET;
        WAIT: atom.acquire.gpu.global.add.u32 %r3, [%d0+4], 0; setp.eq.u32 %p, %r3, 0; @%p bra WAIT;
        SET: add.u32 %r3, %r3, 1; @%p mov.u32 %r3, 1; atom.release.gpu.global.exch.b32 %r4, [%d0], %r3; ret; }";
    let ptx = ptx.replace("@%p mov.u32 %r3, 1;", "setp.eq.u32 %p, %r2, %r1; @%p mov.u32 %r3, 1;");
    let ptx = ptx.replace("add.u32 %r2, %r0, 1;", "mov.u32 %r3, 0; add.u32 %r2, %r0, 1;");
    let module = Module::parse(&ptx).expect("parses");
    for seed in 0..4 {
        let mut sim = Sim::builder().seed(seed).build();
        let flags = sim.alloc(4 * 24);
        sim.fill(flags, 0, 4 * 24).expect("inside");
        let config = LaunchConfig::new([24, 1, 1], [1, 1, 1]);
        sim.launch(&module, "chain", &config, &[Arg::U64(flags)]).expect("every block gets its turn");
        let mut bytes = [0; 4 * 24];
        sim.read(flags, &mut bytes).expect("inside");
        let values: Vec<u32> =
            bytes.chunks_exact(4).map(|v| u32::from_le_bytes(v.try_into().expect("4"))).collect();
        assert_eq!(values, (1..=24).rev().collect::<Vec<u32>>());
    }
}
