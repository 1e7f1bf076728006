//! Mbarriers without copies: phases, counts, tokens, remote arrivals.

use super::harness::*;
use proptest::prelude::*;
use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, Sim};

const SHARED: &str = ".shared .align 8 .b8 bar[16]; .shared .align 16 .b8 s[4096];";

fn run<'a>(ptx: &'a str, block: u32, output: usize) -> Run<'a> {
    Run { ptx, grid: 1, block, cluster: 1, input: &[1; 64], output, n: 0 }
}

/// What the PTX ISA says of an mbarrier, for one thread.
struct Model {
    expected: u32,
    pending: u32,
    tx: u32,
    phase: u64,
}

impl Model {
    fn settle(&mut self) {
        if self.pending == 0 && self.tx == 0 {
            self.phase += 1;
            self.pending = self.expected;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_histories(seed in any::<u64>(), expected in 1u32..7, length in 1usize..30) {
        let mut random = Random(seed);
        let mut m = Model { expected, pending: expected, tx: 0, phase: 0 };
        let mut body = format!("mov.u32 %r10, bar; mbarrier.init.shared::cta.b64 [%r10], {expected};\n");
        let mut wanted = Vec::new();
        // The last token and its phase.
        let mut token: Option<(u64, u32)> = None;
        let mut report = |body: &mut String, v: u32| {
            *body += &format!("st.global.u32 [%d1+{}], %r11;\n", 4 * wanted.len());
            wanted.push(v);
        };
        for _ in 0..length {
            match random.below(8) {
                0 | 1 if m.pending > 0 => {
                    let n = 1 + random.below(m.pending as u64) as u32;
                    token = Some((m.phase, m.pending));
                    body += &match random.below(3) {
                        0 => format!("mbarrier.arrive.release.cta.shared::cta.b64 %d5, [%r10], {n};\n"),
                        1 => format!("mov.u32 %r12, {n}; mbarrier.arrive.shared.b64 %d5, [%r10], %r12;\n"),
                        _ => format!("mov.u64 %d7, bar; cvta.shared.u64 %d6, %d7; mbarrier.arrive.b64 %d5, [%d6], {n};\n"),
                    };
                    m.pending -= n;
                    m.settle();
                }
                2 if m.pending > 0 && m.expected > 1 => {
                    token = Some((m.phase, m.pending));
                    body += "mbarrier.arrive_drop.shared.b64 %d5, [%r10];\n";
                    m.pending -= 1;
                    m.expected -= 1;
                    m.settle();
                }
                3 if m.pending > 0 => {
                    let n = 1 + random.below(1000) as u32;
                    token = Some((m.phase, m.pending));
                    body += &format!("mbarrier.arrive.expect_tx.shared.b64 %d5, [%r10], {n};\n");
                    m.tx += n;
                    m.pending -= 1;
                    m.settle();
                }
                4 if m.tx > 0 => {
                    let n = 1 + random.below(m.tx as u64) as u32;
                    body += &format!("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r10], {n};\n");
                    m.tx -= n;
                    m.settle();
                }
                5 => {
                    let p = random.below(2);
                    body += &format!("mbarrier.test_wait.parity.shared.b64 %p1, [%r10], {p}; selp.u32 %r11, 1, 0, %p1;\n");
                    report(&mut body, (m.phase & 1 != p) as u32);
                }
                6 => {
                    if let Some((phase, _)) = token.filter(|t| t.0 + 1 >= m.phase) {
                        body += "mbarrier.test_wait.acquire.cta.shared.b64 %p1, [%r10], %d5; selp.u32 %r11, 1, 0, %p1;\n";
                        report(&mut body, (phase < m.phase) as u32);
                    }
                }
                7 => {
                    if let Some((_, pending)) = token {
                        body += "mbarrier.pending_count.b64 %r11, %d5;\n";
                        report(&mut body, pending);
                    }
                }
                _ => {}
            }
        }
        body += "mov.u32 %r11, 5;\n";
        report(&mut body, 5);
        body += "mbarrier.inval.shared.b64 [%r10];";
        let ptx = kernel(SHARED, &body);
        run(&ptx, 1, 4 * wanted.len()).gives(&to_bytes(&wanted));
    }
}

/// 128 threads exchange values through shared memory `rounds` times, with nothing but an mbarrier between them.
fn exchange(wait: &str, count: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r10, bar; setp.eq.u32 %p1, %r1, 0; mov.u32 %r20, %r1;\n\
             @%p1 mbarrier.init.shared.b64 [%r10], {count};\nbar.sync 0;\n\
             mov.u32 %r15, s; shl.b32 %r9, %r1, 2; add.u32 %r16, %r15, %r9; mov.u32 %r14, 0;\n\
             LOOP: and.b32 %r13, %r14, 1; shl.b32 %r17, %r13, 9; add.u32 %r18, %r16, %r17;\n\
             st.shared.u32 [%r18], %r20;\n\
             mbarrier.arrive.shared.b64 %d5, [%r10];\n{wait}\n\
             add.u32 %r21, %r1, 45; and.b32 %r21, %r21, 127; shl.b32 %r21, %r21, 2; add.u32 %r21, %r21, %r15; add.u32 %r21, %r21, %r17;\n\
             ld.shared.u32 %r22, [%r21];\nmad.lo.u32 %r20, %r20, 3, %r22;\n\
             add.u32 %r14, %r14, 1; setp.lt.u32 %p3, %r14, 5; @%p3 bra LOOP;\n\
             cvt.u64.u32 %d4, %r9; add.u64 %d3, %d1, %d4; st.global.u32 [%d3], %r20;"
        ),
    )
}

#[test]
fn a_block_can_synchronise_by_one() {
    let mut v: Vec<u32> = (0..128).collect();
    for _ in 0..5 {
        v = (0..128).map(|t| v[t].wrapping_mul(3).wrapping_add(v[(t + 45) % 128])).collect();
    }
    let waits = [
        "W: mbarrier.try_wait.shared.b64 %p2, [%r10], %d5;\n@!%p2 bra W;",
        "W: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p2, [%r10], %r13, 1000;\n@%p2 bra D; bra W; D:",
        "W: mbarrier.test_wait.shared.b64 %p2, [%r10], %d5;\n@!%p2 nanosleep.u32 20; @!%p2 bra W;",
        "W: mbarrier.test_wait.parity.shared.b64 %p2, [%r10], %r13;\n@!%p2 bra W;",
    ];
    for wait in waits {
        run(&exchange(wait, "128"), 128, 512).gives(&to_bytes(&v));
    }
    let wait = waits[0];
    // More arrivals expected than ever come.
    run(&exchange(wait, "129"), 128, 512).fails(ErrorKind::Deadlock, "mbarrier.try_wait");
    run(&exchange(wait, "64"), 32, 512).fails(ErrorKind::Deadlock, "mbarrier.try_wait");
    run(&exchange(waits[3], "129"), 128, 512).fails(ErrorKind::Deadlock, "mbarrier.test_wait");
    // The parity of the phase after: each thread waits for what it would itself have to complete.
    let wrong = exchange(waits[3], "128").replace("[%r10], %r13", "[%r10], %r19");
    let wrong = wrong.replace("st.shared.u32 [%r18]", "xor.b32 %r19, %r13, 1; st.shared.u32 [%r18]");
    for seed in 0..SEEDS {
        assert!(run(&wrong, 128, 512).launch(seed).is_err());
    }
}

#[test]
fn relaxed_arrivals_and_waits_order_nothing() {
    let wait = "W: mbarrier.try_wait.parity.acquire.cta.shared.b64 %p2, [%r10], %r13;\n@!%p2 bra W;";
    let clean = exchange(wait, "128");
    assert!(run(&clean, 128, 512).launch(0).is_ok());
    let relaxed = clean.replace("try_wait.parity.acquire", "try_wait.parity.relaxed");
    run(&relaxed, 128, 512).fails(ErrorKind::SharedRace, "shared.u32");
    let relaxed = clean.replace("mbarrier.arrive.shared", "mbarrier.arrive.relaxed.cta.shared");
    run(&relaxed, 128, 512).fails(ErrorKind::SharedRace, "shared.u32");
    // Initialised by one thread, used by another without a barrier in between.
    let early = clean.replacen("\nbar.sync 0;", "", 1);
    for seed in 0..SEEDS {
        let e = run(&early, 128, 512).launch(seed).expect_err("nothing orders the initialisation");
        assert!(matches!(e.kind, ErrorKind::MbarrierUninitialised | ErrorKind::SharedRace), "{e}");
    }
}

#[test]
fn threads_may_go_on_after_a_failed_try() {
    // A wait that fails, then the arrival that makes the next one succeed.
    let body = "mov.u32 %r10, bar; mbarrier.init.shared.b64 [%r10], 1;\n\
                mbarrier.try_wait.parity.shared.b64 %p1, [%r10], 0; selp.u32 %r11, 1, 0, %p1; st.global.u32 [%d1], %r11;\n\
                mbarrier.arrive.shared.b64 _, [%r10];\n\
                mbarrier.try_wait.parity.shared.b64 %p1, [%r10], 0; selp.u32 %r11, 1, 0, %p1; st.global.u32 [%d1+4], %r11;";
    run(&kernel(SHARED, body), 1, 8).gives(&to_bytes(&[0, 1]));
}

/// Every block of a cluster arrives at the mbarrier of the next one, after writing into its shared memory.
fn ring(arrive: &str, exit: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r10, bar; mov.u32 %r11, s; setp.eq.u32 %p1, %r1, 0;\n\
             @%p1 mbarrier.init.shared::cta.b64 [%r10], 32;\n@%p1 fence.mbarrier_init.release.cluster;\n\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
             mov.u32 %r12, %cluster_nctarank; add.u32 %r13, %r2, 1; rem.u32 %r13, %r13, %r12;\n\
             mapa.shared::cluster.u32 %r14, %r10, %r13; mapa.shared::cluster.u32 %r15, %r11, %r13;\n\
             shl.b32 %r16, %r1, 2; add.u32 %r15, %r15, %r16; add.u32 %r17, %r11, %r16;\n\
             mad.lo.u32 %r18, %r2, 1000, %r1; st.shared::cluster.u32 [%r15], %r18;\n{arrive}\n\
             W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r10], 0;\n@!%p2 bra W;\n\
             ld.shared.u32 %r19, [%r17]; mad.lo.u32 %r20, %r3, 32, %r1; mul.wide.u32 %d4, %r20, 4; add.u64 %d3, %d1, %d4;\n\
             st.global.u32 [%d3], %r19;\n{exit}"
        ),
    )
}

#[test]
fn peers_arrive() {
    let both = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";
    for size in [1u32, 2, 4, 8] {
        let clean = ring("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r14];", both);
        let wanted: Vec<u32> = (0..2 * size * 32)
            .map(|i| {
                let (rank, thread) = (i / 32 % size, i % 32);
                (rank + size - 1) % size * 1000 + thread
            })
            .collect();
        let run = Run {
            ptx: &clean,
            grid: 2 * size,
            block: 32,
            cluster: size,
            input: &[0; 16],
            output: 4 * wanted.len(),
            n: 0,
        };
        run.gives(&to_bytes(&wanted));
    }
    let fails = |ptx: &str, kind, at| {
        Run { ptx, grid: 2, block: 32, cluster: 2, input: &[0; 16], output: 256, n: 0 }.fails(kind, at)
    };
    // A rank the cluster does not have, a block that has gone, arrivals in the wrong block.
    let arrive = "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r14];";
    fails(
        &ring(&format!("add.u32 %r14, %r14, 0x2000000;\n{arrive}"), both),
        ErrorKind::OutOfBounds,
        "mbarrier.arrive",
    );
    let gone = ring(
        &format!(
            "{both}\nsetp.eq.u32 %p4, %r2, 1;\n@%p4 bra OUT;\nmov.u32 %r30, 0;\n\
             SPIN: add.u32 %r30, %r30, 1; setp.lt.u32 %p5, %r30, 40000; @%p5 bra SPIN;\n{arrive}"
        ),
        "OUT:",
    );
    fails(&gone, ErrorKind::ClusterExited, "mbarrier.arrive");
    fails(
        &ring("setp.eq.u32 %p4, %r2, 1;\n@%p4 mbarrier.arrive.shared::cluster.b64 _, [%r14];", both),
        ErrorKind::Deadlock,
        "try_wait",
    );
}

#[test]
fn misuse_is_found_on_every_seed() {
    let start = "mov.u32 %r10, bar; mov.u32 %r12, 0;\n";
    let init = "mbarrier.init.shared.b64 [%r10], 2;\n";
    let end = "st.global.u32 [%d1], 7;";
    let clean =
        |body: &str| run(&kernel(SHARED, &format!("{start}{body}{end}")), 1, 4).gives(&to_bytes(&[7]));
    let fails = |body: &str, kind: ErrorKind, at: &str| {
        run(&kernel(SHARED, &format!("{start}{body}{end}")), 1, 4).fails(kind, at)
    };
    let arrive = "mbarrier.arrive.shared.b64 %d5, [%r10];\n";
    clean(&format!("{init}{arrive}{arrive}mbarrier.inval.shared.b64 [%r10];\n{init}"));
    fails(arrive, ErrorKind::MbarrierUninitialised, "mbarrier.arrive");
    fails(
        "mbarrier.test_wait.parity.shared.b64 %p1, [%r10], 0;\n",
        ErrorKind::MbarrierUninitialised,
        "test_wait",
    );
    fails("mbarrier.inval.shared.b64 [%r10];\n", ErrorKind::MbarrierUninitialised, "inval");
    fails(
        &format!("{init}mbarrier.inval.shared.b64 [%r10];\n{arrive}"),
        ErrorKind::MbarrierUninitialised,
        "arrive",
    );
    fails(
        &format!("{init}mbarrier.init.shared.b64 [%r10], 3;\n"),
        ErrorKind::MbarrierReinitialised,
        "b64 [%r10], 3",
    );
    fails("mbarrier.init.shared.b64 [%r10], 0;\n", ErrorKind::MbarrierCount, "init");
    fails("mbarrier.init.shared.b64 [%r10], 1048576;\n", ErrorKind::MbarrierCount, "init");
    fails("mbarrier.init.shared.b64 [%r10+4], 1;\n", ErrorKind::Misaligned, "init");
    fails("mbarrier.init.shared.b64 [%r10+16], 1;\n", ErrorKind::OutOfBounds, "init");
    fails(
        &format!("{init}mbarrier.arrive.shared.b64 _, [%r10], 3;\n"),
        ErrorKind::MbarrierCount,
        "b64 _, [%r10], 3",
    );
    fails(
        &format!("{init}mbarrier.arrive.noComplete.shared.b64 %d5, [%r10], 2;\n"),
        ErrorKind::MbarrierCount,
        "noComplete",
    );
    clean(&format!("{init}mbarrier.arrive.noComplete.shared.b64 %d5, [%r10], 1;\n"));
    fails(
        &format!(
            "{init}mbarrier.expect_tx.relaxed.cta.shared.b64 [%r10], 1048575;\nmbarrier.expect_tx.relaxed.cta.shared.b64 [%r10], 9;\n"
        ),
        ErrorKind::TransactionCount,
        "], 9",
    );
    // Its bytes are nobody's business.
    fails(&format!("{init}ld.shared.b64 %d6, [%r10];\n"), ErrorKind::MbarrierAccess, "ld.shared");
    fails(&format!("{init}st.shared.b32 [%r10+4], %r12;\n"), ErrorKind::MbarrierAccess, "st.shared");
    fails(&format!("{init}atom.shared.add.u32 %r13, [%r10], 1;\n"), ErrorKind::MbarrierAccess, "atom.shared");
    clean(&format!("{init}st.shared.b32 [%r10+8], %r12;\n"));
    fails(
        &format!("{init}mbarrier.inval.shared.b64 [%r10];\nld.shared.b64 %d6, [%r10];\n"),
        ErrorKind::UninitialisedShared,
        "ld.shared",
    );
    // A token two phases old, and a wait that two phases pass by.
    let both = format!("{arrive}mbarrier.arrive.shared.b64 _, [%r10];\n");
    let other = "mbarrier.arrive.shared.b64 _, [%r10], 2;\n";
    clean(&format!("{init}{both}mbarrier.test_wait.shared.b64 %p1, [%r10], %d5;\n"));
    fails(
        &format!("{init}{both}{other}mbarrier.test_wait.shared.b64 %p1, [%r10], %d5;\n"),
        ErrorKind::MbarrierPhase,
        "test_wait",
    );
    let missed = format!(
        "{init}{other}mbarrier.try_wait.parity.shared.b64 %p1, [%r10], 0;\n{other}{other}\
         W: mbarrier.try_wait.parity.shared.b64 %p1, [%r10], 1;\n@!%p1 bra W;\n"
    );
    fails(&missed, ErrorKind::MbarrierPhase, "[%r10], 1");
    clean(&missed.replacen(&format!("{other}{other}"), other, 1));
}

#[test]
fn a_deadlock_names_the_barrier() {
    let body = "mov.u32 %r10, bar; setp.eq.u32 %p1, %r1, 0;\n@%p1 mbarrier.init.shared.b64 [%r10+8], 65;\nbar.sync 0;\n\
                mbarrier.arrive.shared.b64 _, [%r10+8];\nW: mbarrier.try_wait.parity.shared.b64 %p2, [%r10+8], 0;\n@!%p2 bra W;\n\
                st.global.u32 [%d1], 1;";
    let ptx = kernel(SHARED, body);
    let e = run(&ptx, 64, 4).launch(1).expect_err("one arrival is missing");
    assert_eq!(e.kind, ErrorKind::Deadlock);
    for part in ["phase 0", "lacks 1 of 65 arrivals", "transaction count of 0", "8 bytes into shared `bar`"] {
        assert!(e.to_string().contains(part), "{part}: {e}");
    }
}

#[test]
fn unchecked_counts_have_twenty_bits() {
    // An initial count past them, arrivals that overflow it, and bytes beyond any announcement: no finding is asked for, and
    // the object goes on with what its fields can hold.
    let body = "mov.u32 %r10, bar; mbarrier.init.shared.b64 [%r10], 0xffffffff;\n\
                cp.async.mbarrier.arrive.shared.b64 [%r10];\n\
                mbarrier.init.shared.b64 [%r10+8], 0x500003;\n\
                mbarrier.arrive.shared.b64 %d5, [%r10+8];\n\
                mbarrier.pending_count.b64 %r12, %d5; st.global.u32 [%d1], %r12;\n\
                mbarrier.arrive.shared.b64 _, [%r10+8], 2;\n\
                W: mbarrier.try_wait.parity.shared.b64 %p2, [%r10+8], 0;\n@!%p2 bra W;\n\
                mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r10], 0x7fffffff;\n";
    let checks = Checks::none();
    let mut sim = Sim::builder().checks(checks).seed(3).instruction_budget(4_000_000).build();
    let out = sim.alloc(4);
    let config = LaunchConfig::new([1, 1, 1], [1, 1, 1]);
    let args = [Arg::U64(out), Arg::U64(out), Arg::U32(0)];
    sim.launch(&module(&kernel(SHARED, body)), "k", &config, &args).expect("nothing is checked");
    let mut count = [0; 4];
    sim.read_checked(out, &mut count).expect("written");
    assert_eq!(to_words(&count), [3]);
}
