//! Minimal pairs: what orders two accesses, and what does not, by form of synchronisation and by scope.

use super::rig::{Shape, clean, kernel, launch, racy, shape};
use ptx_sim::ErrorKind::{GlobalRace, SharedRace};
use ptx_sim::{Arg, LaunchConfig, Sim};

/// Every thread stores its word, `sync` happens, every thread loads the word of thread `xor`.
fn exchange(sync: &str, xor: u32, shared: bool) -> String {
    if shared {
        return format!(
            "st.shared.u32 [%r5], %r1; {sync} xor.b32 %r8, %r1, {xor}; shl.b32 %r8, %r8, 2; mov.u32 %r9, a; add.u32 %r9, %r9, %r8; ld.shared.u32 %r10, [%r9];"
        );
    }
    format!(
        "st.global.u32 [%d1], %r1; {sync} xor.b32 %r8, %r0, {xor}; mul.wide.u32 %d2, %r8, 4; add.u64 %d2, %d0, %d2; ld.global.u32 %r10, [%d2];"
    )
}

#[test]
fn within_a_warp() {
    let halves =
        "mov.u32 %r11, 0xffff; setp.gt.u32 %p4, %r3, 15; @%p4 mov.u32 %r11, 0xffff0000; bar.warp.sync %r11;";
    for (shared, kind) in [(true, SharedRace), (false, GlobalRace)] {
        let s = shape(2, 64);
        clean("warp sync", &exchange("bar.warp.sync -1;", 5, shared), s);
        racy("nothing", &exchange("", 5, shared), s, kind);
        clean("own word", &exchange("", 0, shared), s);
        clean("half warps", &exchange(halves, 9, shared), s);
        racy("the other half", &exchange(halves, 17, shared), s, kind);
        racy("the other warp", &exchange("bar.warp.sync -1;", 32, shared), s, kind);
        // The ISA gives shuffles and votes no order of memory.
        racy("shuffle", &exchange("shfl.sync.bfly.b32 %r12, %r1, 1, 31, -1;", 1, shared), s, kind);
        racy("vote", &exchange("vote.sync.ballot.b32 %r12, %p1, -1;", 1, shared), s, kind);
    }
    // Lanes that store different values to one place together.
    racy("one word", "st.global.u32 [%d0], %r1;", shape(1, 32), GlobalRace);
    clean("one word, one value", "st.global.u32 [%d0], 7;", shape(1, 32));
    racy("one word, one value, two warps", "st.global.u32 [%d0], 7;", shape(1, 64), GlobalRace);
    racy(
        "pairs",
        "and.b32 %r8, %r1, 30; mov.u32 %r9, a; add.u32 %r9, %r9, %r8; add.u32 %r9, %r9, %r8; st.shared.u32 [%r9], %r1;",
        shape(1, 32),
        SharedRace,
    );
    clean(
        "one lane",
        "@%p3 st.global.u32 [%d0], 7; bar.warp.sync -1; ld.global.u32 %r8, [%d0];",
        shape(1, 32),
    );
    // A store after other lanes' reads.
    let anti = "ld.global.u32 %r8, [%d0]; SYNC @%p3 st.global.u32 [%d0], %r8;";
    racy("read, then written", &anti.replace("SYNC", ""), shape(1, 32), GlobalRace);
    clean("read, then written", &anti.replace("SYNC", "bar.warp.sync -1;"), shape(1, 32));
    // Bytes of one word, and a word over bytes.
    let bytes = "cvt.u64.u32 %d3, %r1; add.u64 %d3, %d0, %d3; st.global.u8 [%d3], %r1; SYNC";
    clean("bytes", &bytes.replace("SYNC", ""), shape(1, 64));
    racy(
        "word over bytes",
        &bytes.replace("SYNC", "@%p3 ld.global.u32 %r8, [%d0];"),
        shape(1, 64),
        GlobalRace,
    );
    racy(
        "word under bytes",
        &format!("@%p3 ld.global.u32 %r8, [%d0]; {}", bytes.replace("SYNC", "")),
        shape(1, 64),
        GlobalRace,
    );
}

#[test]
fn within_a_block() {
    for (shared, kind) in [(true, SharedRace), (false, GlobalRace)] {
        let s = shape(2, 128);
        clean("barrier", &exchange("bar.sync 0;", 37, shared), s);
        clean("another barrier", &exchange("barrier.sync 3;", 37, shared), s);
        clean("reducing barrier", &exchange("bar.red.popc.u32 %r12, 1, %p1;", 37, shared), s);
        racy("fence only", &exchange("membar.cta;", 37, shared), s, kind);
        // Pairs of warps meet at barriers of their own.
        let pairs = "shr.u32 %r12, %r4, 1; add.u32 %r12, %r12, 1; bar.sync %r12, 64;";
        clean("pairs of warps", &exchange(pairs, 37, shared), s);
        racy("the other pair", &exchange(pairs, 67, shared), s, kind);
        // A warp that has left was not at the barrier of the others.
        let left = exchange("setp.gt.u32 %p5, %r4, 1; @%p5 bra READ; bar.sync 2, 64; READ:", 64, shared);
        racy(
            "a barrier of those left",
            &format!("{} OUT:", left.replace("READ:", "READ: @%p5 bra OUT;")),
            shape(2, 128),
            kind,
        );
        // Warp 0 arrives, the others wait: they see it, it does not see them.
        let one_way = |who: &str| {
            exchange(
                &format!(
                    "setp.eq.u32 %p5, %r4, 0; @%p5 bar.arrive 4, 128; @!%p5 bar.sync 4, 128; {who} bra OUT;"
                ),
                96,
                shared,
            ) + " OUT:"
        };
        clean("producer arrives", &one_way("@%p5"), s);
        // All but warp 0 leave: warp 0 reads what warp 3 wrote.
        racy("producer reads", &one_way("@!%p5"), s, kind);
    }
    let rounds = |sync: &str| {
        format!(
            "mov.u32 %r20, 0; st.shared.u32 [%r5], %r1; L: bar.sync 0; xor.b32 %r8, %r1, 33; shl.b32 %r8, %r8, 2; mov.u32 %r9, a; add.u32 %r9, %r9, %r8;
             ld.shared.u32 %r10, [%r9]; {sync} st.shared.u32 [%r5], %r10; add.u32 %r20, %r20, 1; setp.lt.u32 %p6, %r20, 5; @%p6 bra L;"
        )
    };
    clean("two barriers a round", &rounds("bar.sync 0;"), shape(1, 64));
    racy("one barrier a round", &rounds(""), shape(1, 64), SharedRace);
}

#[test]
fn within_a_cluster() {
    let ring = |arrive: &str| {
        format!(
            "st.shared.u32 [%r5], %r1; barrier.cluster.arrive{arrive}; barrier.cluster.wait.aligned; mov.u32 %r20, %cluster_ctarank; mov.u32 %r21, %cluster_nctarank;
             add.u32 %r20, %r20, 1; rem.u32 %r20, %r20, %r21; mapa.shared::cluster.u32 %r22, %r5, %r20; ld.shared::cluster.u32 %r23, [%r22];
             LAST barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
        )
    };
    let s = Shape { blocks: 8, threads: 64, cluster: 4 };
    clean("cluster barrier", &ring(".aligned").replace("LAST", ""), s);
    racy("relaxed arrival", &ring(".relaxed.aligned").replace("LAST", ""), s, SharedRace);
    clean(
        "write after the barrier",
        &ring(".release.aligned").replace(
            "LAST",
            "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned; st.shared.u32 [%r5], 1;",
        ),
        s,
    );
    racy("write too early", &ring(".aligned").replace("LAST", "st.shared.u32 [%r5], 1;"), s, SharedRace);
    // A remote counter.
    let count = "@%p2 st.shared.u32 [%r5], 0; SYNC mov.u32 %r20, 0; mov.u32 %r21, a; mapa.shared::cluster.u32 %r22, %r21, %r20; RED
                 barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";
    let sync = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;";
    let with = |sync: &str, red: &str| count.replace("SYNC", sync).replace("RED", red);
    clean("remote atomics", &with(sync, "red.relaxed.cluster.shared::cluster.add.u32 [%r22], 1;"), s);
    racy(
        "remote atomics of the block",
        &with(sync, "red.relaxed.cta.shared::cluster.add.u32 [%r22], 1;"),
        s,
        SharedRace,
    );
    racy(
        "initialised too late",
        &with("", "red.relaxed.cluster.shared::cluster.add.u32 [%r22], 1;"),
        s,
        SharedRace,
    );
}

/// Thread 0 of block 0 stores a word and sets a flag, thread 0 of block 1 waits for it and loads the word.
fn message(set: &str, get: &str) -> String {
    format!(
        "@!%p2 bra OUT; @!%p1 bra GET; st.global.u32 [%d0+64], %r1; {set} bra OUT;
         GET: mov.u32 %r20, 0; L: {get} setp.eq.u32 %p6, %r20, 0; @%p6 bra L; AFTER ld.global.u32 %r21, [%d0+64]; OUT:"
    )
}

#[test]
fn messages_between_blocks() {
    let set = |how: &str| format!("st{how}.global.u32 [%d0+2048], 1;");
    let get = |how: &str| format!("ld{how}.global.u32 %r20, [%d0+2048];");
    let far = shape(2, 32);
    let near = Shape { cluster: 2, ..far };
    // (set, get, behind the loop, clean as two clusters, clean in one cluster)
    let table = [
        (set(".release.gpu"), get(".acquire.gpu"), "", true, true),
        (set(".release.sys"), get(".acquire.gpu"), "", true, true),
        (set(".release.cluster"), get(".acquire.cluster"), "", false, true),
        (set(".release.cluster"), get(".acquire.gpu"), "", false, true),
        (set(".release.gpu"), get(".acquire.cluster"), "", false, true),
        (set(".release.cta"), get(".acquire.gpu"), "", false, false),
        (set(".release.gpu"), get(".acquire.cta"), "", false, false),
        (set(".relaxed.gpu"), get(".acquire.gpu"), "", false, false),
        (set(".release.gpu"), get(".relaxed.gpu"), "", false, false),
        (set(".release.gpu"), get(".relaxed.gpu"), "fence.acq_rel.gpu;", true, true),
        (set(".release.gpu"), get(".relaxed.gpu"), "fence.acq_rel.cluster;", false, true),
        (set(".release.gpu"), get(".relaxed.gpu"), "fence.acq_rel.cta;", false, false),
        (format!("fence.acq_rel.gpu; {}", set(".relaxed.gpu")), get(".acquire.gpu"), "", true, true),
        (format!("fence.sc.gpu; {}", set(".relaxed.sys")), get(".acquire.gpu"), "", true, true),
        (format!("fence.acq_rel.cta; {}", set(".relaxed.gpu")), get(".acquire.gpu"), "", false, false),
        (format!("{} fence.acq_rel.gpu;", set(".relaxed.gpu")), get(".acquire.gpu"), "", false, false),
        (format!("membar.gl; {}", set(".volatile")), get(".volatile"), "membar.gl;", true, true),
        (format!("membar.cta; {}", set(".volatile")), get(".volatile"), "membar.gl;", false, false),
        (format!("membar.gl; {}", set(".volatile")), get(".volatile"), "", false, false),
        (set(".volatile"), get(".volatile"), "", false, false),
        (set(""), get(".acquire.gpu"), "", false, false),
        (set(".release.gpu"), get(""), "", false, false),
        ("red.release.gpu.global.add.u32 [%d0+2048], 1;".into(), get(".acquire.gpu"), "", true, true),
        ("red.relaxed.gpu.global.add.u32 [%d0+2048], 1;".into(), get(".acquire.gpu"), "", false, false),
        ("membar.gl; red.global.add.u32 [%d0+2048], 1;".into(), get(".acquire.gpu"), "", true, true),
        (set(".release.gpu"), "atom.acquire.gpu.global.add.u32 %r20, [%d0+2048], 0;".into(), "", true, true),
        (
            set(".release.gpu"),
            "atom.acq_rel.gpu.global.cas.b32 %r20, [%d0+2048], 1, 2;".into(),
            "",
            true,
            true,
        ),
        (set(".release.gpu"), "atom.global.exch.b32 %r20, [%d0+2048], 0;".into(), "", false, false),
        (set(".release.gpu"), "atom.global.exch.b32 %r20, [%d0+2048], 0;".into(), "membar.gl;", true, true),
    ];
    for (set, get, after, two, one) in table {
        let body = message(&set, &get).replace("AFTER", after);
        for (s, fine) in [(far, two), (near, one)] {
            let name = format!("{set} | {get} {after} | {s:?}");
            if fine { clean(&name, &body, s) } else { racy(&name, &body, s, GlobalRace) }
        }
    }
}

#[test]
fn release_sequences() {
    // Block 0 publishes, block 1 goes on from there, block 2 waits for what block 1 left.
    let chain = |middle: &str| {
        format!(
            "@!%p2 bra OUT; setp.eq.u32 %p4, %r2, 1; @%p4 bra MID; @!%p1 bra GET;
             st.global.u32 [%d0+64], 5; st.release.gpu.global.u32 [%d0+2048], 1; bra OUT;
             MID: ld.relaxed.gpu.global.u32 %r20, [%d0+2048]; setp.eq.u32 %p6, %r20, 0; @%p6 bra MID; {middle} bra OUT;
             GET: ld.relaxed.gpu.global.u32 %r20, [%d0+2048]; setp.lt.u32 %p6, %r20, 2; @%p6 bra GET; ld.acquire.gpu.global.u32 %r20, [%d0+2048]; ld.global.u32 %r21, [%d0+64]; OUT:"
        )
    };
    clean(
        "atomics continue a release sequence",
        &chain("red.relaxed.gpu.global.add.u32 [%d0+2048], 1;"),
        shape(3, 32),
    );
    racy("a store ends it", &chain("st.relaxed.gpu.global.u32 [%d0+2048], 2;"), shape(3, 32), GlobalRace);
    clean(
        "acquired and released again",
        &chain("fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%d0+2048], 2;"),
        shape(3, 32),
    );
}

#[test]
fn lanes_synchronise_for_themselves() {
    // Lane 1 stores, lane 0 releases; lane 0 acquires, lane 1 loads.
    let text = "setp.eq.u32 %p4, %r1, 1; @!%p1 bra GET; @%p4 st.global.u32 [%d0+64], 3; SYNC1 @%p2 st.release.gpu.global.u32 [%d0+2048], 1; bra OUT;
                GET: @!%p2 bra NEXT; L: ld.acquire.gpu.global.u32 %r20, [%d0+2048]; setp.eq.u32 %p6, %r20, 0; @%p6 bra L;
                NEXT: SYNC2 @%p4 ld.global.u32 %r21, [%d0+64]; OUT:";
    let with = |one: &str, two: &str| text.replace("SYNC1", one).replace("SYNC2", two);
    let (warp, block) = ("bar.warp.sync -1;", "bar.sync 0;");
    for threads in [32, 96] {
        clean("warp syncs", &with(warp, warp), shape(2, threads));
        clean("barriers", &with(block, block), shape(2, threads));
        racy("none before the release", &with("", warp), shape(2, threads), GlobalRace);
        racy("none after the acquire", &with(warp, ""), shape(2, threads), GlobalRace);
        racy("another warp", &with(warp, warp).replace("%r1, 1;", "%r1, 40;"), shape(2, 64), GlobalRace);
    }
}

/// Every block stores its words, counts itself, and the last one adds up all.
fn last_block(before: &str, atom: &str) -> String {
    format!(
        "st.global.u32 [%d1], %r0; mov.u32 %r22, %nctaid.x; sub.u32 %r22, %r22, 1; {before} @!%p2 bra W; {atom} setp.eq.u32 %p5, %r21, %r22; selp.u32 %r23, 1, 0, %p5;
         st.shared.u32 [a], %r23; W: bar.sync 0; ld.shared.u32 %r24, [a]; setp.eq.u32 %p6, %r24, 0; @%p6 bra OUT;
         mov.u32 %r25, 0; mov.u64 %d5, %d0; L: mul.wide.u32 %d6, %r1, 4; add.u64 %d6, %d5, %d6; ld.global.u32 %r26, [%d6]; add.u64 %d5, %d5, 256;
         add.u32 %r25, %r25, 1; setp.le.u32 %p7, %r25, %r22; @%p7 bra L; OUT:"
    )
}

#[test]
fn the_last_block_and_grid_barriers() {
    let s = shape(6, 64);
    let relaxed = "atom.global.inc.u32 %r21, [%d0+2048], 100;";
    clean("fence by every thread", &last_block("membar.gl; bar.sync 0;", relaxed), s);
    clean("fence by one thread", &last_block("bar.sync 0; membar.gl;", relaxed), s);
    clean(
        "acquire and release",
        &last_block("bar.sync 0;", "atom.acq_rel.gpu.global.add.u32 %r21, [%d0+2048], 1;"),
        s,
    );
    racy("no fence", &last_block("bar.sync 0;", relaxed), s, GlobalRace);
    racy("no barrier", &last_block("membar.gl;", relaxed), s, GlobalRace);
    racy("fence of the block", &last_block("bar.sync 0; membar.cta;", relaxed), s, GlobalRace);

    let grid = |count: &str, wait: &str| {
        let one = |k: u32| {
            format!(
                "bar.sync 0; @!%p2 bra W{k}; {count} L{k}: {wait} setp.lt.u32 %p6, %r20, {}; @%p6 bra L{k}; W{k}: bar.sync 0;",
                6 * k
            )
        };
        // The word of the same thread in the next block, and back.
        format!(
            "mov.u32 %r30, 6; add.u32 %r31, %r2, 1; rem.u32 %r31, %r31, %r30; shl.b32 %r31, %r31, 6; add.u32 %r31, %r31, %r1; mul.wide.u32 %d7, %r31, 4; add.u64 %d7, %d0, %d7;
             st.global.u32 [%d1], %r0; {} ld.global.u32 %r32, [%d7]; {} st.global.u32 [%d1], %r32; {} ld.global.u32 %r32, [%d7];",
            one(1),
            one(2),
            one(3)
        )
    };
    let count = "red.release.gpu.global.add.u32 [%d0+2048], 1;";
    let wait = "ld.acquire.gpu.global.u32 %r20, [%d0+2048];";
    clean("grid barrier", &grid(count, wait), s);
    clean(
        "with fences",
        &grid(
            "membar.gl; red.global.add.u32 [%d0+2048], 1;",
            "ld.volatile.global.u32 %r20, [%d0+2048]; membar.gl;",
        ),
        s,
    );
    racy("relaxed arrival", &grid("red.global.add.u32 [%d0+2048], 1;", wait), s, GlobalRace);
    racy(
        "arrival for the cluster",
        &grid("fence.acq_rel.cluster; red.global.add.u32 [%d0+2048], 1;", wait),
        s,
        GlobalRace,
    );
}

#[test]
fn atomics_and_strong_accesses() {
    let s = shape(2, 64);
    let red = "red.global.add.u32 [%d0], 1;";
    clean("atomics", red, s);
    racy("of one block only", "red.relaxed.cta.global.add.u32 [%d0], 1;", s, GlobalRace);
    clean("of one block", "red.relaxed.cta.global.add.u32 [%d0], 1;", shape(1, 64));
    racy(
        "mixed scopes",
        "@%p1 red.relaxed.cta.global.add.u32 [%d0], 1; @!%p1 red.global.add.u32 [%d0], 1;",
        s,
        GlobalRace,
    );
    clean("volatile reads", &format!("{red} ld.volatile.global.u32 %r8, [%d0];"), s);
    clean("relaxed stores", &format!("{red} st.relaxed.gpu.global.u32 [%d0], 4;"), s);
    racy("plain reads", &format!("{red} ld.global.u32 %r8, [%d0];"), s, GlobalRace);
    racy("plain reads first", &format!("ld.global.u32 %r8, [%d0]; {red}"), s, GlobalRace);
    racy("plain stores", &format!("@%p3 st.global.u32 [%d0], 1; {red}"), s, GlobalRace);
    racy(
        "plain stores of the same block",
        &format!("@%p3 st.global.u32 [%d0], 1; {red}"),
        shape(1, 64),
        GlobalRace,
    );
    clean(
        "stores before a barrier",
        &format!("@%p3 st.global.u32 [%d0], 1; bar.sync 0; {red} bar.sync 0; ld.global.u32 %r8, [%d0];"),
        shape(1, 64),
    );
    // A loop of compare and swap that begins with a plain guess.
    clean(
        "compare and swap",
        "ld.global.u32 %r8, [%d0]; L: add.u32 %r9, %r8, 3; atom.global.cas.b32 %r10, [%d0], %r8, %r9; setp.ne.u32 %p6, %r10, %r8; mov.u32 %r8, %r10; @%p6 bra L;",
        s,
    );
    clean(
        "shared",
        "@%p2 st.shared.u32 [a], 0; bar.sync 0; atom.shared.add.u32 %r8, [a], 1; bar.sync 0; ld.shared.u32 %r9, [a];",
        s,
    );
    racy(
        "shared, late",
        "@%p2 st.shared.u32 [a], 0; bar.sync 0; atom.shared.add.u32 %r8, [a], 1; ld.shared.u32 %r9, [a];",
        s,
        SharedRace,
    );
    clean("a lock", "@!%p2 bra OUT; L: atom.acquire.gpu.global.cas.b32 %r8, [%d0+2048], 0, 1; setp.ne.u32 %p6, %r8, 0; @%p6 bra L;
           ld.global.u32 %r9, [%d0]; add.u32 %r9, %r9, 1; st.global.u32 [%d0], %r9; atom.release.gpu.global.exch.b32 %r8, [%d0+2048], 0; OUT:", shape(5, 32));
    racy("a relaxed lock", "@!%p2 bra OUT; L: atom.global.cas.b32 %r8, [%d0+2048], 0, 1; setp.ne.u32 %p6, %r8, 0; @%p6 bra L;
           ld.global.u32 %r9, [%d0]; add.u32 %r9, %r9, 1; st.global.u32 [%d0], %r9; atom.global.exch.b32 %r8, [%d0+2048], 0; OUT:", shape(5, 32), GlobalRace);
}

#[test]
fn many_readers_and_one_writer() {
    // All threads of many blocks read, one thread of a later one writes; and a read by each of many words.
    let all = "ld.global.u32 %r8, [%d0]; WRITE";
    clean("readers", &all.replace("WRITE", ""), shape(70, 64));
    racy("a writer", &all.replace("WRITE", "@%p3 st.global.u32 [%d0], 1;"), shape(70, 64), GlobalRace);
    // The table of accesses is emptied several times: nothing is lost, nothing comes back.
    let long = "mov.u32 %r20, 0; @%p3 st.global.u32 [%d0+128], 1; L: st.shared.u32 [%r5], %r20; bar.sync 0; xor.b32 %r8, %r5, 128; ld.shared.u32 %r9, [%r8]; bar.sync 0;
                add.u32 %r20, %r20, 1; setp.lt.u32 %p6, %r20, 9000; @%p6 bra L; LAST";
    let module = kernel(&long.replace("LAST", ""));
    launch(&module, shape(2, 64), 3).unwrap_or_else(|e| panic!("{e}"));
    let module = kernel(&long.replace("LAST", "ld.global.u32 %r8, [%d0+128];"));
    assert_eq!(launch(&module, shape(2, 64), 3).expect_err("a race").kind, GlobalRace);
}

#[test]
fn launches_are_ordered() {
    let module = kernel("st.global.u32 [%d1], %r0; ld.global.u32 %r8, [%d1];");
    let mut sim = Sim::builder().seed(9).build();
    let buffer = sim.alloc(4096);
    for (blocks, threads) in [(4, 64), (8, 32), (2, 128)] {
        let config = LaunchConfig::new([blocks, 1, 1], [threads, 1, 1]);
        sim.launch(&module, "k", &config, &[Arg::U64(buffer)]).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn reports_name_both_sides() {
    let body =
        message("st.release.cta.global.u32 [%d0+2048], 1;", "ld.acquire.gpu.global.u32 %r20, [%d0+2048];");
    let e = launch(&kernel(&body.replace("AFTER", "")), shape(2, 32), 1).expect_err("a race");
    let other = e.report.other.clone().expect("the other access");
    assert_eq!(
        (other.block[0] + e.report.block.map_or(9, |b| b[0]), other.thread),
        (1, Some([0, 0, 0])),
        "{e}"
    );
    assert!(e.to_string().contains("scopes"), "{e}");
    assert!(e.to_string().contains("2048 bytes into the buffer"), "{e}");
    assert!(e.to_string().contains("the other access: PTX line"), "{e}");
}
