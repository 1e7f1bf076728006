//! Programs of random asynchronous instructions with random operands: whatever they do, a launch ends, with a finding or without,
//! and what it does depends on nothing but the program and the seed.

use super::harness::*;
use proptest::prelude::*;
use ptx_sim::{Arg, Checks, LaunchConfig, Sim, SimError, Swizzle, TensorMap, TensorMapType};

const SHARED: &str = ".shared .align 128 .b8 s[2048]; .shared .align 8 .b8 bar[32];";

/// An instruction; registers hold: `%r10` shared memory, `%r11` the mbarriers, `%r12`/`%r13` the same of a peer, `%d0` and `%d1`
/// global memory, `%d2` a tensor map.
fn instruction(r: &mut Random, n: usize) -> String {
    let peer = r.below(4) == 0;
    let (s, bar) = if peer { ("%r12", "%r13") } else { ("%r10", "%r11") };
    let at = [0, 16, 128, 512, 1024, 2032, 4][r.below(7) as usize];
    let from = [0, 16, 64, 1000, 1024][r.below(5) as usize];
    let bar = format!("[{bar}+{}]", [0, 0, 0, 8, 8, 16, 4][r.below(7) as usize]);
    let size = [16, 32, 64, 256, 24, 0, 4096][r.below(7) as usize];
    let count = r.below(4);
    let shared = format!("[{s}+{at}]");
    let guard = ["@%p1 ", "@%p1 ", "@%p2 ", "", "@!%p1 "][r.below(5) as usize];
    let complete = "mbarrier::complete_tx::bytes";
    let text = match r.below(32) {
        0..=2 => format!("mbarrier.init.shared.b64 {bar}, {count};"),
        3 => format!("mbarrier.inval.shared.b64 {bar};"),
        4..=5 => format!("mbarrier.arrive.shared::cluster.b64 _, {bar};"),
        6 => format!("mbarrier.arrive_drop.shared.b64 %d5, {bar};"),
        7..=8 => format!("mbarrier.arrive.expect_tx.shared::cta.b64 _, {bar}, {size};"),
        9 => format!("mbarrier.complete_tx.relaxed.cta.shared.b64 {bar}, {size};"),
        10..=11 => format!("mbarrier.test_wait.parity.shared.b64 %p3, {bar}, {};", count & 1),
        12..=13 => {
            format!("L{n}: mbarrier.try_wait.parity.shared.b64 %p3, {bar}, {};\n@!%p3 bra L{n};", count & 1)
        }
        14 => format!("mbarrier.try_wait.shared.b64 %p3, {bar}, %d5;"),
        15..=16 => format!(
            "cp.async.ca.shared.global {shared}, [%d0+{from}], {}, {size};",
            [4, 8, 16][count as usize % 3]
        ),
        17 => "cp.async.commit_group;".into(),
        18 => format!("cp.async.wait_group {count};"),
        19 => format!("cp.async.mbarrier.arrive.noinc.shared.b64 {bar};"),
        20..=21 => {
            format!("cp.async.bulk.shared::cluster.global.{complete} {shared}, [%d0+{from}], {size}, {bar};")
        }
        22 => format!(
            "cp.async.bulk.shared::cluster.global.{complete}.multicast::cluster {shared}, [%d0], {size}, {bar}, {count};"
        ),
        23 => format!("cp.async.bulk.global.shared::cta.bulk_group [%d1+{from}], {shared}, {size};"),
        24 => format!(
            "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%d0+{from}], {shared}, {size};"
        ),
        25 => {
            format!("cp.async.bulk.shared::cluster.shared::cta.{complete} {shared}, [%r10], {size}, {bar};")
        }
        26 => format!(
            "cp.async.bulk.tensor.2d.shared::cluster.global.tile.{complete} {shared}, [%d2, {{{}, {count}}}], {bar};",
            from as i64 - 50
        ),
        27 => {
            format!("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%d2, {{{count}, 1}}], {shared};")
        }
        28 => "cp.async.bulk.commit_group;".into(),
        29 => format!("cp.async.bulk.wait_group{} {count};", ["", ".read"][r.below(2) as usize]),
        30 => format!("tensormap.replace.tile.box_dim.global.b1024.b32 [%d2], {}, {size};", count % 3),
        _ => format!("st.async.shared::cluster.{complete}.b32 {shared}, %r1, {bar};"),
    };
    let sync = match r.below(6) {
        0 => "bar.sync 0;\n",
        1 => "fence.proxy.async;\n",
        2 => "st.shared.u32 [%r10+1024], %r1;\n",
        _ => "",
    };
    let guard = if text.starts_with('L') { "" } else { guard };
    format!("{sync}{guard}{text}\n")
}

fn launch(ptx: &str, checks: Checks, cluster: u32, seed: u64) -> (Result<(), SimError>, Vec<u8>) {
    let mut sim = Sim::builder().checks(checks).seed(seed).instruction_budget(20_000).build();
    let (a, b) = (sim.alloc(2048), sim.alloc(2048));
    sim.write(a, &Random(seed).bytes(2048)).expect("inside");
    let map = TensorMap::builder(TensorMapType::U32, a, &[12, 5], &[64], &[8, 3]).swizzle(Swizzle::Bytes32);
    sim.write(b, &map.build().expect("valid").encode()).expect("inside");
    let config = LaunchConfig::new([2, 1, 1], [64, 1, 1]).cluster([cluster, 1, 1]);
    let args = [Arg::U64(a), Arg::U64(b), Arg::U32(0)];
    let result = sim.launch(&module(ptx), "k", &config, &args).map(|_| ());
    let mut out = vec![0; 4096];
    let (low, high) = out.split_at_mut(2048);
    sim.read(a, low).expect("inside");
    sim.read(b, high).expect("inside");
    (result, out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn launches_end_and_repeat(seed in any::<u64>(), length in 1usize..30, cluster in 1u32..=2) {
        let mut r = Random(seed);
        let mut body = "mov.u32 %r10, s; mov.u32 %r11, bar; mov.u64 %d2, %d1; mov.u64 %d5, 0; mov.u32 %r14, %cluster_nctarank;\n\
                        sub.u32 %r14, %r14, 1; sub.u32 %r14, %r14, %r2; mapa.shared::cluster.u32 %r12, %r10, %r14;\n\
                        mapa.shared::cluster.u32 %r13, %r11, %r14; setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 33;\n"
            .to_string();
        for n in 0..length {
            body += &instruction(&mut r, n);
        }
        let ptx = kernel(SHARED, &body);
        for checks in [Checks::all(), Checks::none()] {
            let once = launch(&ptx, checks.clone(), cluster, seed);
            let again = launch(&ptx, checks, cluster, seed);
            prop_assert_eq!(&once, &again);
        }
    }
}
