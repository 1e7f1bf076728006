//! `cp.async` and its groups.

use super::harness::*;
use proptest::prelude::*;
use ptx_sim::ErrorKind;

const SHARED: &str = ".shared .align 16 .b8 s[8192]; .shared .align 8 .b8 bar[8];";
/// `%d2 = a + 16 * tid`, `%r10 = s + 16 * tid`, `%d3 = b + 16 * tid`.
const INDEX: &str = "shl.b32 %r9, %r1, 4; mov.u32 %r10, s; add.u32 %r10, %r10, %r9; cvt.u64.u32 %d4, %r9;\n\
                     add.u64 %d2, %d0, %d4; add.u64 %d3, %d1, %d4;\n";
/// 16 bytes of `%r11` in shared memory to `%d3`.
const OUT: &str =
    "ld.shared.v4.b32 {%r20, %r21, %r22, %r23}, [%r11]; st.global.v4.b32 [%d3], {%r20, %r21, %r22, %r23};\n";

fn run<'a>(ptx: &'a str, input: &'a [u8], output: usize, n: u32) -> Run<'a> {
    Run { ptx, grid: 1, block: 64, cluster: 1, input, output, n }
}

/// Each thread reads what its neighbour in the other warp copied.
fn exchange(copy: &str, wait: &str) -> String {
    let read = "xor.b32 %r12, %r1, 32; shl.b32 %r12, %r12, 4; mov.u32 %r11, s; add.u32 %r11, %r11, %r12;\n";
    kernel(SHARED, &format!("{INDEX}{copy}\n{wait}\nbar.sync 0;\n{read}{OUT}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sizes_and_source_sizes(seed in any::<u64>(), bytes in prop::sample::select(vec![4u32, 8, 16]), read in 0u32..=16) {
        let input = Random(seed).bytes(64 * 16);
        let read = read.min(bytes) / 4 * 4;
        // The rest of the 16 bytes comes with ordinary stores.
        let rest: String = (bytes / 4..4).map(|i| format!("st.shared.b32 [%r10+{}], {};\n", 4 * i, 7 * i)).collect();
        let copy = format!(
            "{rest}mov.u32 %r30, {read};\ncp.async.{}.shared.global [%r10], [%d2], {bytes}, %r30;",
            if bytes == 16 { "cg" } else { "ca" }
        );
        let ptx = exchange(&copy, "cp.async.commit_group; cp.async.wait_group 0;");
        let mut wanted = Vec::new();
        for t in 0..64usize {
            for i in 0..4 {
                let at = (t ^ 32) * 16 + 4 * i;
                wanted.extend(match i as u32 * 4 {
                    b if b < read => input[at..at + 4].to_vec(),
                    b if b < bytes => vec![0; 4],
                    b => (7 * b / 4).to_le_bytes().to_vec(),
                });
            }
        }
        run(&ptx, &input, 1024, 0).gives(&wanted);
    }
}

#[test]
fn ignored_sources_and_cache_hints() {
    let input = Random(3).bytes(1024);
    // Threads at or past n get zeros, and may name any address.
    let copy = "createpolicy.fractional.L2::evict_first.b64 %d9, 1.0;\nsetp.ge.u32 %p1, %r1, %r0; @%p1 mov.b64 %d2, 64;\n\
                cp.async.cg.shared::cta.global.L2::cache_hint.L2::128B [%r10], [%d2], 16, %p1, %d9;";
    let ptx = exchange(copy, "cp.async.wait_all;");
    let mut wanted = Vec::new();
    for t in 0..64usize {
        let from = t ^ 32;
        wanted.extend(if from < 40 { input[16 * from..16 * from + 16].to_vec() } else { vec![0; 16] });
    }
    run(&ptx, &input, 1024, 40).gives(&wanted);
}

/// Four stages of 1024 bytes, copied ahead by `depth` groups; `keep` groups may be pending at the use.
fn stages(keep: u32) -> String {
    let body = format!(
        "{INDEX}mov.u32 %r15, 0;\n\
         ISSUE: shl.b32 %r16, %r15, 10; add.u32 %r17, %r10, %r16; cvt.u64.u32 %d5, %r16; add.u64 %d6, %d2, %d5;\n\
         cp.async.ca.shared.global [%r17], [%d6], 16;\ncp.async.commit_group;\n\
         add.u32 %r15, %r15, 1; setp.lt.u32 %p1, %r15, 4; @%p1 bra ISSUE;\n\
         mov.u32 %r15, 0; mov.u32 %r24, 0; mov.u32 %r25, 0; mov.u32 %r26, 0; mov.u32 %r27, 0;\n\
         USE: cp.async.wait_group {keep};\n\
         shl.b32 %r16, %r15, 10; add.u32 %r17, %r10, %r16;\n\
         ld.shared.v4.b32 {{%r20, %r21, %r22, %r23}}, [%r17];\n\
         add.u32 %r24, %r24, %r20; add.u32 %r25, %r25, %r21; add.u32 %r26, %r26, %r22; add.u32 %r27, %r27, %r23;\n\
         cp.async.commit_group;\n\
         add.u32 %r15, %r15, 1; setp.lt.u32 %p1, %r15, 4; @%p1 bra USE;\n\
         st.global.v4.b32 [%d3], {{%r24, %r25, %r26, %r27}};"
    );
    kernel(SHARED, &body)
}

#[test]
fn groups_complete_in_order() {
    let words = Random(5).words(1024);
    let wanted: Vec<u32> =
        (0..256).map(|i| (0..4).fold(0u32, |s, k| s.wrapping_add(words[256 * k + i]))).collect();
    let input = to_bytes(&words);
    let clean = stages(3);
    run(&clean, &input, 1024, 0).gives(&to_bytes(&wanted));
    let early = stages(4);
    run(&early, &input, 1024, 0).fails(ErrorKind::AsyncInFlight, "ld.shared.v4");
}

#[test]
fn lanes_have_groups_of_their_own() {
    // Odd lanes commit a second, empty group first: `wait_group 1` covers the copy of odd lanes only.
    let body = |wait: &str| {
        kernel(
            SHARED,
            &format!(
                "{INDEX}mov.u32 %r11, %r10;\ncp.async.ca.shared.global [%r10], [%d2], 16;\ncp.async.commit_group;\n\
                 and.b32 %r14, %r1, 1; setp.eq.u32 %p1, %r14, 1;\n@%p1 cp.async.commit_group;\n{wait}\n{OUT}"
            ),
        )
    };
    let input = Random(6).bytes(1024);
    let clean = body("@%p1 cp.async.wait_group 1;\n@!%p1 cp.async.wait_group 0;");
    run(&clean, &input, 1024, 0).gives(&input);
    let early = body("cp.async.wait_group 1;");
    run(&early, &input, 1024, 0).fails(ErrorKind::AsyncInFlight, "ld.shared.v4");
}

#[test]
fn arrivals_follow_copies() {
    let input = Random(7).bytes(1024);
    for (noinc, count, own) in [(".noinc", 64, ""), ("", 64, "mbarrier.arrive.shared.b64 _, [%r13];")] {
        let wait = format!(
            "cp.async.mbarrier.arrive{noinc}.shared.b64 [%r13];\n{own}\n\
             L: mbarrier.try_wait.parity.shared.b64 %p2, [%r13], 0;\n@!%p2 bra L;"
        );
        let copy = format!(
            "mov.u32 %r13, bar; setp.eq.u32 %p1, %r1, 0;\n@%p1 mbarrier.init.shared.b64 [%r13], {count};\nbar.sync 0;\n\
             cp.async.ca.shared.global [%r10], [%d2], 16;"
        );
        let mut wanted = input[512..].to_vec();
        wanted.extend(&input[..512]);
        let clean = exchange(&copy, &wait);
        run(&clean, &input, 1024, 0).gives(&wanted);
        let unwaited = clean.replace("@!%p2 bra L;", "").replace("mbarrier.try_wait.parity", "// ");
        run(&unwaited, &input, 1024, 0).fails(ErrorKind::AsyncInFlight, "ld.shared.v4");
    }
}

#[test]
fn misuse_is_found_on_every_seed() {
    let input = Random(8).bytes(1024);
    let copy = "cp.async.ca.shared.global [%r10], [%d2], 16;";
    let wait = "cp.async.wait_all;";
    let clean = exchange(copy, wait);
    let mut wanted = input[512..].to_vec();
    wanted.extend(&input[..512]);
    run(&clean, &input, 1024, 0).gives(&wanted);
    let bad = |from: &str, to: &str, kind: ErrorKind, at: &str| {
        assert!(clean.contains(from));
        let ptx = clean.replacen(from, to, 1);
        run(&ptx, &input, 1024, 0).fails(kind, at);
    };
    // No wait; a wait for another's copies only; a store into the destination; nothing waited for at the end.
    bad(wait, "", ErrorKind::AsyncInFlight, "ld.shared.v4");
    bad(wait, "cp.async.commit_group; cp.async.wait_group 1;", ErrorKind::AsyncInFlight, "ld.shared.v4");
    bad(copy, &format!("{copy}\nst.shared.b32 [%r10+4], %r1;"), ErrorKind::AsyncInFlight, "st.shared.b32");
    bad(copy, &format!("{copy}\n{copy}\n"), ErrorKind::AsyncInFlight, "cp.async.ca");
    bad("[%d2], 16;", "[%d2], 16, 20;", ErrorKind::BadCopy, "cp.async.ca");
    bad("[%r10], [%d2]", "[%r10+4], [%d2]", ErrorKind::Misaligned, "cp.async.ca");
    bad("[%r10], [%d2]", "[%r10], [%d2+8]", ErrorKind::Misaligned, "cp.async.ca");
    bad("[%r10], [%d2]", "[%r10], [%d2+16]", ErrorKind::OutOfBounds, "cp.async.ca");
    bad("[%r10], [%d2]", "[%r10+8192], [%d2]", ErrorKind::OutOfBounds, "cp.async.ca");
    let exits =
        clean.replace(wait, "").replace("bar.sync 0;", "st.global.v4.b32 [%d3], {%r1, %r1, %r1, %r1}; ret;");
    run(&exits, &input, 1024, 0).fails(ErrorKind::AsyncUnfinished, "cp.async.ca");
}
