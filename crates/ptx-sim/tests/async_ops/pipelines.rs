//! Producers and consumers: rings of buffers with full and empty mbarriers, in one block and across a cluster.

use super::harness::*;
use ptx_sim::ErrorKind;

const STAGES: u32 = 3;
/// Bytes of a stage: two words per consumer thread.
const STAGE: u32 = 512;

/// A producer warp (warp 0) and two consumer warps. Consumers sum up the tiles: thread `t` the words `t` and `64 + t` of each.
/// `n` tiles. The block's tiles follow each other in `a`, its 64 sums in `b`.
fn ring() -> String {
    kernel(
        &format!(
            ".shared .align 128 .b8 s[{}]; .shared .align 8 .b8 full[{}]; .shared .align 8 .b8 empty[{}];",
            STAGES * STAGE,
            8 * STAGES,
            8 * STAGES
        ),
        &format!(
            "mov.u32 %r10, s; mov.u32 %r11, full; mov.u32 %r12, empty; setp.ne.u32 %p1, %r1, 0; mov.u32 %r13, 0;\n\
             @%p1 bra READY;\n\
             INIT: shl.b32 %r14, %r13, 3; add.u32 %r15, %r11, %r14; add.u32 %r16, %r12, %r14;\n\
             mbarrier.init.shared::cta.b64 [%r15], 1;\nmbarrier.init.shared::cta.b64 [%r16], 64;\n\
             add.u32 %r13, %r13, 1; setp.lt.u32 %p2, %r13, {STAGES}; @%p2 bra INIT;\n\
             fence.proxy.async.shared::cta;\n\
             READY: bar.sync 0;\n\
             mul.lo.u32 %r17, %r3, %r0; mul.wide.u32 %d10, %r17, {STAGE}; add.u64 %d0, %d0, %d10;\n\
             mov.u32 %r18, 0; mov.u32 %r19, 0; mov.u32 %r20, 0; setp.ne.u32 %p3, %w, 0; @%p3 bra CONSUME;\n\
             @%p1 bra DONE;\n\
             PRODUCE: setp.ge.u32 %p4, %r18, %r0; @%p4 bra DONE;\n\
             shl.b32 %r14, %r19, 3; add.u32 %r15, %r11, %r14; add.u32 %r16, %r12, %r14; xor.b32 %r21, %r20, 1;\n\
             PW: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r16], %r21;\n@!%p5 bra PW;\n\
             mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r15], {STAGE};\n\
             mad.lo.u32 %r22, %r19, {STAGE}, %r10; mul.wide.u32 %d11, %r18, {STAGE}; add.u64 %d12, %d0, %d11;\n\
             cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r22], [%d12], {STAGE}, [%r15];\n\
             add.u32 %r18, %r18, 1; add.u32 %r19, %r19, 1; setp.eq.u32 %p6, %r19, {STAGES};\n\
             @%p6 mov.u32 %r19, 0; @%p6 xor.b32 %r20, %r20, 1; bra PRODUCE;\n\
             CONSUME: sub.u32 %r23, %r1, 32; shl.b32 %r24, %r23, 2; mov.u32 %r25, 0;\n\
             NEXT: setp.ge.u32 %p4, %r18, %r0; @%p4 bra SUM;\n\
             shl.b32 %r14, %r19, 3; add.u32 %r15, %r11, %r14; add.u32 %r16, %r12, %r14;\n\
             CW: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r15], %r20;\n@!%p5 bra CW;\n\
             mad.lo.u32 %r22, %r19, {STAGE}, %r10; add.u32 %r22, %r22, %r24;\n\
             ld.shared.u32 %r26, [%r22]; ld.shared.u32 %r27, [%r22+256];\nadd.u32 %r25, %r25, %r26; add.u32 %r25, %r25, %r27;\n\
             mbarrier.arrive.shared::cta.b64 _, [%r16];\n\
             add.u32 %r18, %r18, 1; add.u32 %r19, %r19, 1; setp.eq.u32 %p6, %r19, {STAGES};\n\
             @%p6 mov.u32 %r19, 0; @%p6 xor.b32 %r20, %r20, 1; bra NEXT;\n\
             SUM: mad.lo.u32 %r28, %r3, 64, %r23; mul.wide.u32 %d13, %r28, 4; add.u64 %d14, %d1, %d13; st.global.u32 [%d14], %r25;\n\
             DONE:"
        ),
    )
}

fn run<'a>(ptx: &'a str, input: &'a [u8], tiles: u32) -> Run<'a> {
    Run { ptx, grid: 2, block: 96, cluster: 1, input, output: 512, n: tiles }
}

#[test]
fn a_ring_of_buffers() {
    let ptx = ring();
    for tiles in [1, 2, 3, 4, 11] {
        let words = Random(tiles as u64).words(2 * 128 * tiles as usize);
        let sum = |b: usize, t: usize| {
            let tile = |i: usize| &words[128 * (b * tiles as usize + i)..][..128];
            (0..tiles as usize).fold(0u32, |s, i| s.wrapping_add(tile(i)[t]).wrapping_add(tile(i)[64 + t]))
        };
        let wanted: Vec<u32> = (0..128).map(|i| sum(i / 64, i % 64)).collect();
        run(&ptx, &to_bytes(&words), tiles).gives(&to_bytes(&wanted));
    }
}

#[test]
fn broken_rings_are_found_on_every_seed() {
    let ptx = ring();
    let input = to_bytes(&Random(5).words(2 * 128 * 8));
    let fails = |from: &str, to: &str, kind: ErrorKind, at: &str| {
        assert!(ptx.contains(from), "{from}");
        run(&ptx.replacen(from, to, 1), &input, 8).fails(kind, at);
    };
    // The consumer does not wait, or waits for the other phase: it comes before the copy is issued, or before it lands.
    let wait = "CW: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r15], %r20;";
    let early = "xor.b32 %r29, %r20, 1;\nCW: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r15], %r29;";
    assert!(ptx.contains(wait));
    for ptx in [ptx.replace(wait, "").replace("@!%p5 bra CW;", ""), ptx.replace(wait, early)] {
        for seed in 0..SEEDS {
            let e = run(&ptx, &input, 8).launch(seed).expect_err("too early");
            assert!(matches!(e.kind, ErrorKind::AsyncInFlight | ErrorKind::UninitialisedShared), "{e}");
        }
    }
    // The consumer never frees a buffer; too few do; one does twice.
    fails("mbarrier.arrive.shared::cta.b64 _, [%r16];", "", ErrorKind::Deadlock, "try_wait");
    fails("b64 [%r16], 64;", "b64 [%r16], 65;", ErrorKind::Deadlock, "try_wait");
    // Bytes announced: too many, too few, none.
    fails("b64 _, [%r15], 512;", "b64 _, [%r15], 528;", ErrorKind::TransactionCount, "");
    fails("b64 _, [%r15], 512;", "b64 _, [%r15], 496;", ErrorKind::TransactionCount, "");
    fails("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r15], 512;", "", ErrorKind::Deadlock, "try_wait");
    let after =
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r22], [%d12], 512, [%r15];";
    let unannounced = ptx
        .replace("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r15], 512;", "")
        .replace(after, &format!("{after}\nmbarrier.arrive.shared::cta.b64 _, [%r15];"));
    run(&unannounced, &input, 8).fails(ErrorKind::TransactionCount, "mbarrier.arrive");
    // The producer forgets to wait for the empty buffers: three tiles are fine, a fourth is not.
    let from = "PW: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r16], %r21;\n@!%p5 bra PW;";
    for seed in 0..SEEDS {
        let e = run(&ptx.replacen(from, "", 1), &input, 8).launch(seed).expect_err("overwritten");
        let kinds = [ErrorKind::AsyncInFlight, ErrorKind::MbarrierCount, ErrorKind::SharedRace];
        assert!(kinds.contains(&e.kind), "{e}");
    }
    // The producer leaves before its last tile was waited for.
    let gone = ptx.replacen(
        "NEXT: setp.ge.u32 %p4, %r18, %r0;",
        "NEXT: add.u32 %r30, %r18, 1; setp.ge.u32 %p4, %r30, %r0;",
        1,
    );
    run(&gone, &input, 8).fails(ErrorKind::AsyncUnfinished, "cp.async.bulk");
}

/// Copies land although another warp runs all the time, waiting for a flag that the first one sets when it has them.
#[test]
fn copies_land_while_others_spin() {
    let ptx = kernel(
        ".shared .align 128 .b8 s[64]; .shared .align 8 .b8 bar[8]; .shared .align 4 .b8 flag[4];",
        "mov.u32 %r10, s; mov.u32 %r11, bar; mov.u32 %r12, flag; setp.eq.u32 %p1, %r1, 0;\n\
         @%p1 mbarrier.init.shared::cta.b64 [%r11], 1;\n@%p1 st.shared.u32 [%r12], 0;\nbar.sync 0;\n\
         setp.ne.u32 %p2, %w, 0; @%p2 bra SPIN; @!%p1 bra END;\n\
         mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r11], 64;\n\
         cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r10], [%d0], 64, [%r11];\n\
         W: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r11], 0;\n@!%p3 bra W;\n\
         ld.shared.u32 %r13, [%r10+60]; st.global.u32 [%d1], %r13; st.release.cta.shared.u32 [%r12], 1; bra END;\n\
         SPIN: ld.acquire.cta.shared.u32 %r14, [%r12]; setp.eq.u32 %p4, %r14, 0; @%p4 bra SPIN;\nEND:",
    );
    let input = Random(77).bytes(64);
    Run { ptx: &ptx, grid: 1, block: 64, cluster: 1, input: &input, output: 4, n: 0 }.gives(&input[60..]);
}

/// Each block of a cluster loads its part of every tile and multicasts it to all; all sum up whole tiles.
fn multicast(size: u32) -> String {
    let part = STAGE / size;
    let mask = (1 << size) - 1;
    ring()
        .replace("b64 [%r16], 64;", &format!("b64 [%r16], {};", 64 * size))
        .replace("fence.proxy.async.shared::cta;", "fence.mbarrier_init.release.cluster;")
        .replace("READY: bar.sync 0;", "READY: barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;")
        .replace("mul.lo.u32 %r17, %r3, %r0;", "mov.u32 %r17, %clusterid.x; mul.lo.u32 %r17, %r17, %r0;")
        .replace(
            &format!("complete_tx::bytes [%r22], [%d12], {STAGE}, [%r15];"),
            &format!("complete_tx::bytes.multicast::cluster [%r22], [%d12], {part}, [%r15], {mask};"),
        )
        .replace(
            &format!("mul.wide.u32 %d11, %r18, {STAGE};"),
            &format!("mad.lo.u32 %r22, %r2, {part}, %r22; mul.lo.u32 %r31, %r18, {STAGE}; mad.lo.u32 %r31, %r2, {part}, %r31; cvt.u64.u32 %d11, %r31;"),
        )
        .replace(
            "mbarrier.arrive.shared::cta.b64 _, [%r16];",
            &(0..size)
                .map(|r| format!("mapa.shared::cluster.u32 %r30, %r16, {r};\nmbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r30];\n"))
                .collect::<String>(),
        )
        .replace("DONE:", "DONE: barrier.cluster.arrive; barrier.cluster.wait;")
}

#[test]
fn a_ring_with_multicast_across_a_cluster() {
    for size in [2u32, 4] {
        let tiles = 7;
        let words = Random(size as u64).words(2 * 128 * tiles);
        let sum = |c: usize, t: usize| {
            let tile = |i: usize| &words[128 * (c * tiles + i)..][..128];
            (0..tiles).fold(0u32, |s, i| s.wrapping_add(tile(i)[t]).wrapping_add(tile(i)[64 + t]))
        };
        let wanted: Vec<u32> =
            (0..2 * size as usize * 64).map(|i| sum(i / 64 / size as usize, i % 64)).collect();
        let ptx = multicast(size);
        let input = to_bytes(&words);
        let run = Run {
            ptx: &ptx,
            grid: 2 * size,
            block: 96,
            cluster: size,
            input: &input,
            output: 4 * wanted.len(),
            n: tiles as u32,
        };
        run.gives(&to_bytes(&wanted));
        // A block that leaves while its peers still send to it.
        let gone = ptx.replace("DONE: barrier.cluster.arrive; barrier.cluster.wait;", "DONE:");
        for seed in 0..SEEDS {
            let e = Run { ptx: &gone, ..run }.launch(seed);
            let Err(e) = e else { continue };
            assert!(matches!(e.kind, ErrorKind::ClusterExited | ErrorKind::AsyncUnfinished), "{e}");
        }
    }
}
