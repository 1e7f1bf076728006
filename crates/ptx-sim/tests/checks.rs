//! Planted bugs: each must be found, by the right rule, at the right line, block, thread and address, whatever the schedule.

use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, Module, Sim, SimError};

/// A kernel with one pointer and one integer parameter; the body starts on PTX line 8.
fn kernel(body: &str) -> Module {
    let ptx = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %d<32>;\n\
         ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;\n{body}\nret;\n}}\n"
    );
    Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

/// Runs with 2 blocks of `threads` under several seeds; `init` bytes of a 256-byte buffer are written before.
fn run(body: &str, threads: u32, init: usize, n: u32) -> Vec<(Result<(), SimError>, u64)> {
    let module = kernel(body);
    (0..6)
        .map(|seed| {
            let mut sim = Sim::builder().seed(seed).instruction_budget(200_000).build();
            let buffer = sim.alloc(256);
            let data: Vec<u8> = (0..init).map(|i| (i * 7 + seed as usize) as u8).collect();
            sim.write(buffer, &data).unwrap();
            let config = LaunchConfig::new([2, 1, 1], [threads, 1, 1]).shared(64);
            let r = sim.launch(&module, "k", &config, &[Arg::U64(buffer), Arg::U32(n)]);
            (r.map(|_| ()), buffer)
        })
        .collect()
}

struct Found {
    kind: ErrorKind,
    line: u32,
    thread: [u32; 3],
    address: Option<u64>,
    text: String,
}

/// The one finding all seeds agree on; addresses are relative to the buffer.
fn finding(body: &str, threads: u32, init: usize, n: u32) -> Found {
    let mut all = run(body, threads, init, n).into_iter().map(|(r, buffer)| {
        let e = r.expect_err("the planted bug was not found");
        let shown = e.to_string();
        let r = *e.report;
        assert_eq!(r.kernel, "k");
        assert!(r.block.is_some_and(|b| b[0] < 2), "{shown}");
        Found {
            kind: e.kind,
            line: r.line.expect("a line"),
            thread: r.thread.expect("a thread"),
            address: r.address.map(|a| a.wrapping_sub(buffer)),
            text: shown,
        }
    });
    let first = all.next().unwrap();
    for f in all {
        assert_eq!((f.kind, f.line, f.address), (first.kind, first.line, first.address), "{}", f.text);
    }
    first
}

fn clean(body: &str, threads: u32, init: usize, n: u32) {
    for (r, _) in run(body, threads, init, n) {
        r.unwrap_or_else(|e| panic!("false finding: {e}"));
    }
}

/// `%d1 = p + 4 * tid`.
const INDEX: &str = "mul.wide.u32 %d1, %r1, 4; add.s64 %d1, %d0, %d1;\n";

#[test]
fn out_of_bounds_read_and_write() {
    let f = finding(&format!("{INDEX}ld.global.f32 %r5, [%d1+132];"), 32, 256, 0);
    assert_eq!(
        (f.kind, f.line, f.thread, f.address),
        (ErrorKind::OutOfBounds, 9, [31, 0, 0], Some(256)),
        "{}",
        f.text
    );
    assert!(f.text.contains("0 bytes past the end of the buffer of 256 bytes"), "{}", f.text);
    let f = finding(&format!("{INDEX}st.b32 [%d1+-4], %r1;"), 32, 256, 0);
    assert_eq!(
        (f.kind, f.line, f.thread, f.address),
        (ErrorKind::OutOfBounds, 9, [0, 0, 0], Some(u64::MAX - 3))
    );
    assert!(f.text.contains("4 bytes before the buffer"), "{}", f.text);
    // An access that starts inside and ends outside.
    let f = finding("add.s64 %d2, %d0, 248;\nld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%d2];", 1, 256, 0);
    assert_eq!(f.kind, ErrorKind::Misaligned);
    let f = finding("ld.global.b64 %d2, [%d0+256];", 1, 256, 0);
    assert_eq!((f.kind, f.address), (ErrorKind::OutOfBounds, Some(256)));
    clean(&format!("{INDEX}ld.global.f32 %r5, [%d1+128];"), 32, 256, 0);
}

#[test]
fn null_and_shared_overruns() {
    let f = finding("mov.b64 %d2, 0;\nst.b32 [%d2], %r1;", 1, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::OutOfBounds, 9));
    assert!(f.text.contains("null pointer"), "{}", f.text);
    // One past the end of a static array does not reach the next one.
    let two = ".shared .align 4 .b8 a[128]; .shared .align 4 .b8 b[128];\n";
    let f = finding(
        &format!(
            "{two}shl.b32 %r3, %r1, 2; mov.u32 %r4, a; add.u32 %r4, %r4, %r3;\nst.shared.b32 [%r4], %r1;"
        ),
        33,
        0,
        0,
    );
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::OutOfBounds, 10, [32, 0, 0]), "{}", f.text);
    assert!(f.text.contains("0 bytes past the end of shared `a` of 128 bytes"), "{}", f.text);
}

#[test]
fn dynamic_shared_memory_ends_where_the_launch_says() {
    let ptx = ".version 7.0\n.target sm_80\n.extern .shared .align 16 .b8 dyn[];\n.visible .entry k(.param .u32 at)\n{\n\
               .reg .b32 %r<4>;\nld.param.u32 %r0, [at]; mov.u32 %r1, dyn; add.u32 %r1, %r1, %r0;\nst.shared.b32 [%r1], %r0;\nret;\n}";
    let m = Module::parse(ptx).unwrap();
    for (bytes, at, fine) in [(64, 60, true), (64, 64, false), (0, 0, false)] {
        let c = LaunchConfig::new([1, 1, 1], [1, 1, 1]).shared(bytes);
        let r = Sim::builder().build().launch(&m, "k", &c, &[Arg::U32(at)]);
        assert_eq!(
            r.map(|_| ()).map_err(|e| (e.kind, e.report.line)),
            if fine { Ok(()) } else { Err((ErrorKind::OutOfBounds, Some(8))) }
        );
    }
}

#[test]
fn misaligned() {
    let f = finding(&format!("{INDEX}ld.global.b32 %r5, [%d1+2];"), 8, 256, 0);
    assert_eq!((f.kind, f.line, f.thread, f.address), (ErrorKind::Misaligned, 9, [0, 0, 0], Some(2)));
    let f = finding("atom.global.add.u64 %d2, [%d0+4], 1;", 1, 256, 0);
    assert_eq!((f.kind, f.address), (ErrorKind::Misaligned, Some(4)));
}

#[test]
fn use_after_free_and_double_free() {
    let m = kernel("ld.global.b32 %r5, [%d0+8];");
    let mut sim = Sim::builder().build();
    let (a, b) = (sim.alloc(64), sim.alloc(64));
    sim.fill(a, 1, 64).unwrap();
    sim.free(a).unwrap();
    let e = sim.launch(&m, "k", &LaunchConfig::linear(1, 1), &[Arg::U64(a), Arg::U32(0)]).unwrap_err();
    assert_eq!((e.kind, e.report.line, e.report.address), (ErrorKind::UseAfterFree, Some(8), Some(a + 8)));
    assert!(e.to_string().contains("8 bytes into the freed buffer of 64 bytes"), "{e}");
    assert_eq!(sim.free(a).unwrap_err().kind, ErrorKind::UseAfterFree);
    assert_eq!(sim.free(b + 4).unwrap_err().kind, ErrorKind::BadAddress);
    assert_eq!(sim.write(a, &[1]).unwrap_err().kind, ErrorKind::UseAfterFree);
    assert_eq!(sim.write(b + 60, &[1; 5]).unwrap_err().kind, ErrorKind::BadAddress);
}

#[test]
fn uninitialised_memory() {
    let f = finding(&format!("{INDEX}ld.global.b32 %r5, [%d1];"), 32, 102, 0);
    assert_eq!(
        (f.kind, f.line, f.thread, f.address),
        (ErrorKind::UninitialisedGlobal, 9, [25, 0, 0], Some(100)),
        "{}",
        f.text
    );
    clean(&format!("{INDEX}ld.global.b32 %r5, [%d1];"), 32, 128, 0);
    let shared = ".shared .align 4 .b8 a[256]; shl.b32 %r3, %r1, 2; mov.u32 %r4, a; add.u32 %r4, %r4, %r3;\n";
    let f = finding(
        &format!(
            "{shared}setp.ne.u32 %p1, %r1, 5;\n@%p1 st.shared.b32 [%r4], %r1;\nbar.sync 0;\nld.shared.b32 %r5, [%r4];"
        ),
        32,
        0,
        0,
    );
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::UninitialisedShared, 12, [5, 0, 0]), "{}", f.text);
    let local = ".local .align 8 .b8 depot[16]; mov.b64 %d3, depot; cvta.local.u64 %d4, %d3;\n";
    let f = finding(&format!("{local}st.b32 [%d4+8], %r1;\nld.local.b64 %d5, [%d3+8];"), 3, 0, 0);
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::UninitialisedLocal, 10, [0, 0, 0]), "{}", f.text);
    clean(&format!("{local}st.b32 [%d4+8], %r1;\nld.local.b32 %r5, [%d3+8];"), 3, 0, 0);
    // Shared memory does not outlive a block.
    let f = finding(&format!("{shared}ld.shared.b32 %r5, [%r4];\nst.shared.b32 [%r4], %r1;"), 4, 0, 0);
    assert_eq!(f.kind, ErrorKind::UninitialisedShared);
}

#[test]
fn uninitialised_registers() {
    let f = finding("setp.gt.u32 %p1, %r1, 6;\n@%p1 mov.b32 %r9, 1;\nadd.u32 %r10, %r9, 1;", 32, 0, 0);
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::UninitialisedRegister, 10, [0, 0, 0]), "{}", f.text);
    assert!(f.text.contains("`%r9`"), "{}", f.text);
    let f = finding("@%p3 add.u32 %r10, %r0, 1;", 32, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::UninitialisedRegister, 8));
    // Copying is no use; the copy is as uninitialised as its source.
    let f = finding("mov.b32 %r9, %r8;\nadd.u32 %r10, %r9, 1;", 2, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::UninitialisedRegister, 9));
    clean("mov.b32 %r9, %r8;", 2, 0, 0);
    // Written on both ways, and by complementary guards of which each lane takes one.
    clean(
        "setp.gt.u32 %p1, %r1, 6;\n@%p1 bra A;\nmov.b32 %r9, 1; bra B;\nA: mov.b32 %r9, 2;\nB: add.u32 %r10, %r9, 1;",
        32,
        0,
        0,
    );
    clean(
        "setp.gt.u32 %p1, %r1, 6;\n@%p1 mov.b32 %r9, 1;\n@!%p1 mov.b32 %r9, 1;\nadd.u32 %r10, %r9, 1;",
        32,
        0,
        0,
    );
}

#[test]
fn divergent_and_missing_barriers() {
    // Inside one warp.
    let f =
        finding("setp.gt.u32 %p1, %r1, 6;\n@%p1 bra A;\nbar.sync 0;\nbra B;\nA: bar.sync 0;\nB:", 32, 0, 0);
    assert_eq!(f.kind, ErrorKind::DivergentBarrier, "{}", f.text);
    // Some threads leave before.
    let f = finding("setp.gt.u32 %p1, %r1, 40;\n@%p1 ret;\nbar.sync 0;", 64, 0, 0);
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::DivergentBarrier, 10, [41, 0, 0]), "{}", f.text);
    // A whole warp leaves before.
    let f = finding("setp.gt.u32 %p1, %r1, 31;\n@%p1 exit;\nbar.sync 0;", 64, 0, 0);
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::DivergentBarrier, 10, [32, 0, 0]), "{}", f.text);
    // Different barriers.
    let f = finding("shr.u32 %r5, %r1, 5;\nbar.sync %r5;", 64, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::DivergentBarrier, 9), "{}", f.text);
    // Lanes that come late, through code placed elsewhere, are no divergence.
    clean(
        "setp.gt.u32 %p1, %r1, 6;\n@%p1 bra A;\nB: bar.sync 0;\nbra C;\nA: add.u32 %r5, %r1, 1; bra B;\nC:",
        32,
        0,
        0,
    );
    clean(
        "shr.u32 %r5, %r1, 5; setp.eq.u32 %p1, %r5, 0;\n@%p1 bra A;\nbar.sync 0;\nbra B;\nA: bar.sync 0;\nB:",
        64,
        0,
        0,
    );
}

#[test]
fn named_barriers_count_threads() {
    // Warps 0 and 1 meet at barrier 1, warps 2 and 3 at barrier 2; a producer only arrives.
    clean("shr.u32 %r5, %r1, 6; add.u32 %r5, %r5, 1;\nbar.sync %r5, 64;", 128, 0, 0);
    clean(
        "setp.lt.u32 %p1, %r1, 32;\n@%p1 bra P;\nbar.sync 3, 64;\nbra E;\nP: bar.arrive 3, 64;\nE:",
        64,
        0,
        0,
    );
    let f = finding("bar.sync 1, 96;", 64, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::Deadlock, 8), "{}", f.text);
    // Reductions.
    clean(
        "setp.lt.u32 %p1, %r1, 40;\nbar.red.popc.u32 %r5, 0, %p1;\nsetp.eq.u32 %p2, %r5, 40;\n@!%p2 trap;\n\
           bar.red.and.pred %p3, 0, %p1;\n@%p3 trap;\nbar.red.or.pred %p4, 0, %p1;\n@!%p4 trap;",
        64,
        0,
        0,
    );
}

#[test]
fn collectives_need_their_lanes() {
    let f =
        finding("setp.gt.u32 %p1, %r1, 20;\n@%p1 ret;\nshfl.sync.down.b32 %r5, %r1, 1, 31, -1;", 32, 0, 0);
    assert_eq!((f.kind, f.line), (ErrorKind::DivergentCollective, 10), "{}", f.text);
    let f = finding(
        "setp.gt.u32 %p1, %r1, 20;\n@%p1 bra A;\nshfl.sync.down.b32 %r5, %r1, 1, 31, -1;\nbra B;\nA: bar.sync 0;\nB:",
        32,
        0,
        0,
    );
    assert!(matches!(f.kind, ErrorKind::DivergentCollective | ErrorKind::DivergentBarrier), "{}", f.text);
    // Lane 20 reads lane 21, which is not in the mask.
    let f = finding(
        "setp.gt.u32 %p1, %r1, 20;\n@%p1 bra A;\nshfl.sync.down.b32 %r5, %r1, 1, 31, 0x1fffff;\nA:",
        32,
        0,
        0,
    );
    assert_eq!((f.kind, f.line, f.thread), (ErrorKind::DivergentCollective, 10, [20, 0, 0]), "{}", f.text);
    clean(
        "setp.gt.u32 %p1, %r1, 20;\n@%p1 bra A;\nshfl.sync.bfly.b32 %r5, %r1, 0, 31, 0x1fffff;\nA:",
        32,
        0,
        0,
    );
}

#[test]
fn infinite_loops_end() {
    let f = finding("L: add.u32 %r0, %r0, 1;\nbra L;", 32, 0, 0);
    assert_eq!(f.kind, ErrorKind::InstructionBudget);
    // Lanes that wait for each other inside a warp do make progress.
    clean(
        ".shared .align 4 .b8 lock[4]; mov.u32 %r4, lock; setp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.b32 [%r4], 0;\nbar.sync 0;\n\
         L: atom.shared.cas.b32 %r5, [%r4], 0, 1; setp.ne.u32 %p2, %r5, 0;\n@%p2 bra L;\natom.shared.exch.b32 %r5, [%r4], 0;",
        4,
        0,
        0,
    );
}

#[test]
fn shared_races() {
    let a = ".shared .align 4 .b8 a[256]; shl.b32 %r3, %r1, 2; mov.u32 %r4, a; add.u32 %r5, %r4, %r3;\n";
    // The neighbour's value without a barrier.
    let racy = format!(
        "{a}st.shared.b32 [%r5], %r1;\nxor.b32 %r6, %r3, 4; add.u32 %r6, %r4, %r6;\nld.shared.b32 %r7, [%r6];"
    );
    for (r, _) in run(&racy, 64, 0, 0) {
        let e = r.expect_err("the race was not found");
        assert_eq!((e.kind, e.report.line), (ErrorKind::SharedRace, Some(11)), "{e}");
        assert!(e.to_string().contains("(PTX line 9)"), "{e}");
    }
    clean(&racy.replace("xor.b32", "bar.sync 0; xor.b32"), 64, 0, 0);
    clean(&racy.replace("xor.b32", "bar.warp.sync -1; xor.b32"), 64, 0, 0);
    // Read, then overwritten by another warp.
    let anti = format!(
        "{a}st.shared.b32 [%r5], %r1;\nbar.sync 0;\nxor.b32 %r6, %r3, 128; add.u32 %r6, %r4, %r6;\nld.shared.b32 %r7, [%r6];\n\
         st.shared.b32 [%r5], %r7;"
    );
    assert_eq!(finding_kind(&anti, 64), ErrorKind::SharedRace);
    clean(&anti.replace("\nst.shared.b32 [%r5], %r7;", "\nbar.sync 0;\nst.shared.b32 [%r5], %r7;"), 64, 0, 0);
    // Neighbouring bytes of one word belong to different threads, one byte does not.
    let byte = ".shared .align 4 .b8 a[256]; mov.u32 %r4, a; add.u32 %r5, %r4, %r1;\n";
    clean(
        &format!(
            "{byte}st.shared.u8 [%r5], %r1;\nbar.sync 0;\nld.shared.u8 %r6, [%r5];\nst.shared.u8 [%r5], %r6;"
        ),
        64,
        0,
        0,
    );
    let shifted = format!("{byte}and.b32 %r6, %r1, 62; add.u32 %r6, %r6, %r4;\nst.shared.u8 [%r6], %r1;");
    assert_eq!(finding_kind(&shifted, 64), ErrorKind::SharedRace);
    // Nobody can tell whose value stays where lanes of one store write the same; between warps nothing orders even those.
    clean(&shifted.replace("[%r6], %r1;", "[%r6], 1;"), 64, 0, 0);
    assert_eq!(finding_kind(&format!("{a}st.shared.b32 [%r4], 1;"), 64), ErrorKind::SharedRace);
    let mixed =
        format!("{byte}st.shared.u8 [%r5], 1;\nsetp.eq.u32 %p1, %r1, 7;\n@%p1 ld.shared.u32 %r7, [%r4];");
    assert_eq!(finding_kind(&mixed, 32), ErrorKind::SharedRace);
    // All lanes write one place.
    assert_eq!(finding_kind(&format!("{a}st.shared.b32 [%r4], %r1;"), 32), ErrorKind::SharedRace);
    clean(
        &format!(
            "{a}setp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.b32 [%r4], 0;\nbar.sync 0;\nred.shared.add.u32 [%r4], 1;"
        ),
        64,
        0,
        0,
    );
}

fn finding_kind(body: &str, threads: u32) -> ErrorKind {
    let kinds: Vec<_> =
        run(body, threads, 0, 0).into_iter().map(|(r, _)| r.expect_err("not found").kind).collect();
    assert!(kinds.iter().all(|k| *k == kinds[0]), "{kinds:?}");
    kinds[0]
}

#[test]
fn unknown_instructions_fail_when_executed() {
    clean("setp.eq.u32 %p1, %r0, 1;\n@%p1 frobnicate.sync.b32 %r5, %r6;", 32, 0, 0);
    let f = finding("setp.eq.u32 %p1, %r0, 1;\n@%p1 frobnicate.sync.b32 %r5, %r6;", 32, 0, 1);
    assert_eq!((f.kind, f.line), (ErrorKind::UnsupportedInstruction, 9));
    assert!(f.text.contains("`frobnicate.sync.b32`"), "{}", f.text);
    // A modifier that would change the result is not ignored.
    for op in [
        "cvt.rn.satfinite.e2m1x2.f32 %h1, %r0, %r1;",
        "mul.rn.satfinite.f32 %r5, %r0, %r1;",
        "add.rn.odd.f32 %r5, %r0, %r1;",
    ] {
        assert_eq!(finding(op, 32, 0, 1).kind, ErrorKind::UnsupportedInstruction, "{op}");
    }
}

#[test]
fn destinations_are_registers_or_the_sink() {
    let set = "setp.eq.u32 %p1, %r1, 0;";
    for op in [
        "bar.red.popc.u32 _, 0, %p1;",
        "mov.u32 _, %laneid;",
        "mov.b64 {_, %r3}, %d0;",
        "ld.param.u32 _, [n];",
        "atom.global.add.u32 _, [%d0], 1;",
        "shfl.sync.idx.b32 _, %r1, 0, 31, -1;",
        "vote.sync.ballot.b32 _, %p1, -1;",
        "redux.sync.add.u32 _, %r1, -1;",
        "activemask.b32 _;",
    ] {
        clean(&format!("{set} {op}"), 32, 256, 1);
    }
    for op in [
        "bar.red.popc.u32 -%r3, 0, %p1;",
        "bar.red.and.pred 5, 0, %p1;",
        "bar.red.popc.u32;",
        "mov.u32 7, %r1;",
    ] {
        assert_eq!(
            finding(&format!("{set} {op}"), 32, 256, 1).kind,
            ErrorKind::UnsupportedInstruction,
            "{op}"
        );
    }
}

#[test]
fn types_and_predicates_keep_to_themselves() {
    let set = "setp.eq.u32 %p1, %r1, 0;";
    for op in ["mov.pred %p2, !%p1;", "setp.eq.and.u32 %p2, %r1, 0, !%p1;", "selp.u32 %r3, 1, 2, %p1;"] {
        clean(&format!("{set} {op}"), 32, 256, 1);
    }
    for op in [
        "mov.u32 %r3, !%tid.x;",
        "mov.u32 %r3, !%p1;",
        "add.u32 %r3, %r1, !%r1;",
        "mov.b64 {%r3, %r4}, {!%p1, %r1};",
        "setp.eq.and.u32 %p2, %r1, 0, %tid.x;",
        "setp.eq.and.u32 %p2, %r1, 0, !%laneid;",
        "selp.u32 %r3, 1, 2, !%clock64;",
        "@%tid.x mov.u32 %r3, 1;",
        "st.global.u32 [%d0], !%p1;",
        "shfl.sync.idx.b32 %r3, !%p1, 0, 31, -1;",
        "redux.sync.xor.b64 %r3, %r1, -1;",
        "redux.sync.add.u64 %r3, %d0, -1;",
    ] {
        assert_eq!(
            finding(&format!("{set} {op}"), 32, 256, 1).kind,
            ErrorKind::UnsupportedInstruction,
            "{op}"
        );
    }
}

#[test]
fn traps_and_read_only_memory() {
    assert_eq!(finding("trap;", 1, 0, 0).kind, ErrorKind::Trap);
    let ptx = ".version 7.0\n.target sm_80\n.const .align 4 .b32 c[2] = {7, 9};\n.visible .entry k()\n{\n.reg .b32 %r<2>;\n\
               ld.const.b32 %r0, [c+4];\nst.global.b32 [c], %r0;\nret;\n}";
    let e = Sim::builder()
        .build()
        .launch(&Module::parse(ptx).unwrap(), "k", &LaunchConfig::linear(1, 1), &[])
        .unwrap_err();
    assert_eq!((e.kind, e.report.line), (ErrorKind::ReadOnly, Some(8)), "{e}");
}

#[test]
fn bad_launches_are_typed() {
    let m = kernel("");
    let mut sim = Sim::builder().build();
    let fine = [Arg::U64(0), Arg::U32(0)];
    let mut kind =
        |name: &str, c: LaunchConfig, args: &[Arg]| sim.launch(&m, name, &c, args).unwrap_err().kind;
    assert_eq!(kind("q", LaunchConfig::linear(1, 1), &fine), ErrorKind::NoSuchKernel);
    assert_eq!(kind("k", LaunchConfig::linear(1, 1), &fine[..1]), ErrorKind::BadArguments);
    assert_eq!(kind("k", LaunchConfig::linear(1, 1), &[Arg::U32(0), Arg::U32(0)]), ErrorKind::BadArguments);
    assert_eq!(kind("k", LaunchConfig::new([0, 1, 1], [1, 1, 1]), &fine), ErrorKind::BadLaunch);
    assert_eq!(kind("k", LaunchConfig::new([1, 1, 1], [1025, 1, 1]), &fine), ErrorKind::BadLaunch);
    assert_eq!(kind("k", LaunchConfig::linear(1, 1).shared(1 << 20), &fine), ErrorKind::BadLaunch);
}

#[test]
fn everything_off_still_ends_without_harm() {
    let m = kernel(&format!(
        "{INDEX}ld.global.b32 %r5, [%d1+254];\nst.global.b32 [%d1+254], %r5;\nadd.u32 %r7, %r8, 1;"
    ));
    let mut sim = Sim::builder().checks(Checks::none()).build();
    let (a, b) = (sim.alloc(256), sim.alloc(256));
    sim.fill(b, 5, 256).unwrap();
    sim.launch(&m, "k", &LaunchConfig::linear(64, 64), &[Arg::U64(a), Arg::U32(0)])
        .unwrap_or_else(|e| panic!("{e}"));
    let mut out = [0; 256];
    sim.read_checked(b, &mut out).unwrap();
    assert_eq!(out, [5; 256]);
}
