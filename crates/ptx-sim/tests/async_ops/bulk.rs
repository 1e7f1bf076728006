//! `cp.async.bulk` and `cp.reduce.async.bulk`: every direction, operation and type.

use super::harness::*;
use half::{bf16, f16};
use proptest::prelude::*;
use ptx_sim::ErrorKind;

const SHARED: &str =
    ".shared .align 128 .b8 s[4096]; .shared .align 128 .b8 t[4096]; .shared .align 8 .b8 bar[8];";
/// One thread of the block prepares the mbarrier.
const INIT: &str = "mov.u32 %r10, s; mov.u32 %r11, t; mov.u32 %r12, bar; setp.eq.u32 %p1, %r1, 0;\n\
                    @%p1 mbarrier.init.shared::cta.b64 [%r12], 1;\n@%p1 fence.proxy.async.shared::cta;\nbar.sync 0;\n";
pub const WAIT: &str = "W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r12], 0;\n@!%p2 bra W;\n";
/// All threads copy `%r0` bytes of the shared memory at `%r13` to `b`, by words.
const DUMP: &str = "shl.b32 %r20, %r1, 2;\nDUMP: setp.ge.u32 %p3, %r20, %r0; @%p3 bra DUMPED;\n\
                    add.u32 %r21, %r13, %r20; ld.shared.u32 %r22, [%r21]; cvt.u64.u32 %d8, %r20; add.u64 %d9, %d1, %d8; st.global.u32 [%d9], %r22;\n\
                    mov.u32 %r23, %ntid.x; shl.b32 %r23, %r23, 2; add.u32 %r20, %r20, %r23; bra DUMP;\nDUMPED:\n";
/// All threads copy `%r0` bytes of `a` to the shared memory at `%r13`, by words, and fence.
const FILL: &str = "shl.b32 %r20, %r1, 2;\nFILL: setp.ge.u32 %p3, %r20, %r0; @%p3 bra FILLED;\n\
                    add.u32 %r21, %r13, %r20; cvt.u64.u32 %d8, %r20; add.u64 %d9, %d0, %d8; ld.global.u32 %r22, [%d9]; st.shared.u32 [%r21], %r22;\n\
                    mov.u32 %r23, %ntid.x; shl.b32 %r23, %r23, 2; add.u32 %r20, %r20, %r23; bra FILL;\nFILLED:\n\
                    fence.proxy.async.shared::cta;\nbar.sync 0;\n";

fn run<'a>(ptx: &'a str, input: &'a [u8], output: usize) -> Run<'a> {
    Run { ptx, grid: 1, block: 96, cluster: 1, input, output, n: output as u32 }
}

fn load(space: &str) -> String {
    let copy = format!(
        "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], %r0;\n\
         @%p1 cp.async.bulk.{space}.global.mbarrier::complete_tx::bytes [%r10], [%d0], %r0, [%r12];\n"
    );
    kernel(SHARED, &format!("{INIT}{copy}{WAIT}mov.u32 %r13, %r10;\n{DUMP}"))
}

fn store(wait: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "{INIT}mov.u32 %r13, %r10;\n{FILL}@!%p1 ret;\n\
             cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r10], %r0;\ncp.async.bulk.commit_group;\n{wait}"
        ),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn loads_and_stores(seed in any::<u64>(), chunks in 1usize..256) {
        let input = Random(seed).bytes(16 * chunks);
        for space in ["shared::cluster", "shared::cta"] {
            run(&load(space), &input, input.len()).gives(&input);
        }
        for wait in ["cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"] {
            run(&store(wait), &input, input.len()).gives(&input);
        }
    }
}

#[test]
fn groups_of_stores_read_their_sources_at_the_wait() {
    // Two stores in two groups; the first source may be used again when the first group has been read.
    let body = |wait: &str| {
        let text = format!(
            "{INIT}mov.u32 %r13, %r10;\n{FILL}@!%p1 ret;\nshr.u32 %r14, %r0, 1; cvt.u64.u32 %d5, %r14;\n\
             cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r10], %r14;\ncp.async.bulk.commit_group;\n\
             add.u32 %r15, %r10, %r14; add.u64 %d6, %d1, %d5;\n\
             cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%d6], [%r15], %r14, %d5;\ncp.async.bulk.commit_group;\n\
             {wait}\nst.shared.u32 [%r10], 77;\ncp.async.bulk.wait_group.read 0;"
        );
        kernel(SHARED, &text)
    };
    let input = Random(2).bytes(512);
    run(&body("cp.async.bulk.wait_group.read 1;"), &input, 512).gives(&input);
    run(&body("cp.async.bulk.wait_group 1;"), &input, 512).gives(&input);
    run(&body("cp.async.bulk.wait_group.read 2;"), &input, 512)
        .fails(ErrorKind::AsyncSourceOverwritten, "], 77;");
    run(&body(""), &input, 512).fails(ErrorKind::AsyncSourceOverwritten, "], 77;");
}

/// Each block of a cluster sends its half of the shared memory to the next block's other half.
fn between(reduce: &str) -> String {
    let op = if reduce.is_empty() { "cp.async.bulk".to_string() } else { "cp.reduce.async.bulk".to_string() };
    kernel(
        SHARED,
        &format!(
            "{INIT}barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
             mov.u32 %r13, %r10; mul.wide.u32 %d10, %r3, %r0; add.u64 %d0, %d0, %d10; add.u64 %d1, %d1, %d10;\n{FILL}\
             mov.u32 %r13, %r11;\n{FILL_AGAIN}\
             @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], %r0;\n\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
             mov.u32 %r14, %cluster_nctarank; add.u32 %r15, %r2, 1; rem.u32 %r15, %r15, %r14;\n\
             mapa.shared::cluster.u32 %r16, %r11, %r15; mapa.shared::cluster.u32 %r17, %r12, %r15;\n\
             @%p1 {op}.shared::cluster.shared::cta.mbarrier::complete_tx::bytes{reduce} [%r16], [%r10], %r0, [%r17];\n\
             {WAIT}mov.u32 %r13, %r11;\n{DUMP}barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
            FILL_AGAIN = FILL.replace("FILL", "AGAIN"),
        ),
    )
}

#[test]
fn copies_and_reductions_between_blocks() {
    let size = 3;
    let words = Random(4).words(64 * size);
    let input = to_bytes(&words);
    let go = |ptx: &str, f: &dyn Fn(usize, usize) -> u32| {
        let wanted: Vec<u32> = (0..64 * size).map(|i| f(i, (i + 64 * (size - 1)) % (64 * size))).collect();
        Run { ptx, grid: 3, block: 96, cluster: 3, input: &input, output: input.len(), n: 256 }
            .gives(&to_bytes(&wanted));
    };
    go(&between(""), &|_, from| words[from]);
    go(&between(".add.u32"), &|i, from| words[i].wrapping_add(words[from]));
    go(&between(".xor.b32"), &|i, from| words[i] ^ words[from]);
    go(&between(".min.s32"), &|i, from| (words[i] as i32).min(words[from] as i32) as u32);
    go(&between(".inc.u32"), &|i, from| if words[i] >= words[from] { 0 } else { words[i] + 1 });
    go(&between(".dec.u32"), &|i, from| {
        if words[i] == 0 || words[i] > words[from] { words[from] } else { words[i] - 1 }
    });
}

/// `b = b op a` through shared memory; `b` starts as the second half of `a`.
fn reduce(op: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "{INIT}mov.u32 %r13, %r10;\n{FILL}cvt.u64.u32 %d5, %r0; add.u64 %d0, %d0, %d5;\nmov.u32 %r13, %r11;\n{again}mov.u32 %r13, %r11;\n{DUMP}\
             bar.sync 0;\n@!%p1 ret;\n\
             cp.reduce.async.bulk.global.shared::cta.bulk_group{op} [%d1], [%r10], %r0;\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;",
            again = FILL.replace("FILL", "AGAIN"),
        ),
    )
}

fn reduces<const N: usize>(op: &str, halves: (&[u8], &[u8]), f: &dyn Fn([u8; N], [u8; N]) -> [u8; N]) {
    let (new, old) = halves;
    let input = [new, old].concat();
    let wanted: Vec<u8> = old
        .chunks_exact(N)
        .zip(new.chunks_exact(N))
        .flat_map(|(o, n)| f(o.try_into().expect("N bytes"), n.try_into().expect("N bytes")))
        .collect();
    let ptx = reduce(op);
    run(&ptx, &input, old.len()).gives(&wanted);
}

#[test]
fn reductions_of_integers() {
    let mut r = Random(9);
    let halves = (r.bytes(256), r.bytes(256));
    let halves = (&halves.0[..], &halves.1[..]);
    type B4 = [u8; 4];
    type B8 = [u8; 8];
    macro_rules! op {
        ($name:expr, $n:ty, $t:ty, $f:expr) => {
            reduces(concat!(".", $name), halves, &|o: $n, n: $n| {
                let f: fn($t, $t) -> $t = $f;
                f(<$t>::from_le_bytes(o), <$t>::from_le_bytes(n)).to_le_bytes()
            })
        };
    }
    op!("add.u32", B4, u32, u32::wrapping_add);
    op!("add.s32", B4, i32, i32::wrapping_add);
    op!("add.u64", B8, u64, u64::wrapping_add);
    op!("min.u32", B4, u32, Ord::min);
    op!("max.u32", B4, u32, Ord::max);
    op!("min.s32", B4, i32, Ord::min);
    op!("max.s32", B4, i32, Ord::max);
    op!("min.u64", B8, u64, Ord::min);
    op!("max.s64", B8, i64, Ord::max);
    op!("and.b32", B4, u32, |a, b| a & b);
    op!("or.b64", B8, u64, |a, b| a | b);
    op!("xor.b32", B4, u32, |a, b| a ^ b);
    op!("inc.u32", B4, u32, |a, b| if a >= b { 0 } else { a + 1 });
    op!("dec.u32", B4, u32, |a, b| if a == 0 || a > b { b } else { a - 1 });
}

#[test]
fn reductions_of_floats() {
    let mut r = Random(10);
    let mut floats =
        |n: usize| -> Vec<f32> { (0..n).map(|_| (r.below(4000) as f32 - 2000.0) / 16.0).collect() };
    let (a, b) = (floats(64), floats(64));
    let f16s = |v: &[f32]| v.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect::<Vec<u8>>();
    let bf16s = |v: &[f32]| v.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect::<Vec<u8>>();
    let f32s = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let f64s = |v: &[f32]| v.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect::<Vec<u8>>();
    type H = [u8; 2];
    let half = |op: &str, f: fn(f64, f64) -> f64| {
        reduces(op, (&f16s(&a), &f16s(&b)), &|o: H, n: H| {
            f16::from_f64(f(f16::from_le_bytes(o).to_f64(), f16::from_le_bytes(n).to_f64())).to_le_bytes()
        })
    };
    half(".add.noftz.f16", |x, y| x + y);
    half(".min.f16", f64::min);
    half(".max.f16", f64::max);
    reduces(".add.noftz.bf16", (&bf16s(&a), &bf16s(&b)), &|o: H, n: H| {
        bf16::from_f64(bf16::from_le_bytes(o).to_f64() + bf16::from_le_bytes(n).to_f64()).to_le_bytes()
    });
    reduces(".add.f32", (&f32s(&a), &f32s(&b)), &|o: [u8; 4], n: [u8; 4]| {
        (f32::from_le_bytes(o) + f32::from_le_bytes(n)).to_le_bytes()
    });
    reduces(".add.f64", (&f64s(&a), &f64s(&b)), &|o: [u8; 8], n: [u8; 8]| {
        (f64::from_le_bytes(o) + f64::from_le_bytes(n)).to_le_bytes()
    });
}

/// Every thread of a block stores two words, or adds one, into the next block's shared memory.
#[test]
fn stores_from_registers() {
    let body = |store: &str, bytes: u32| {
        kernel(
            SHARED,
            &format!(
                "{INIT}shl.b32 %r13, %r1, 3; add.u32 %r14, %r10, %r13; add.u32 %r40, %r1, 5; st.shared.v2.u32 [%r14], {{%r40, %r1}};\n\
                 @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], {};\n\
                 barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
                 mov.u32 %r15, %cluster_nctarank; add.u32 %r16, %r2, 1; rem.u32 %r16, %r16, %r15;\n\
                 mapa.shared::cluster.u32 %r17, %r14, %r16; mapa.shared::cluster.u32 %r18, %r12, %r16;\n\
                 mad.lo.u32 %r19, %r3, 100, %r1; add.u32 %r20, %r19, 7;\n{store}\n{WAIT}\
                 ld.shared.v2.u32 {{%r21, %r22}}, [%r14]; mad.lo.u32 %r23, %r3, 96, %r1; mul.wide.u32 %d5, %r23, 8; add.u64 %d6, %d1, %d5;\n\
                 st.global.v2.u32 [%d6], {{%r21, %r22}};\nbarrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
                96 * bytes
            ),
        )
    };
    let go = |ptx: &str, f: &dyn Fn(u32, u32) -> [u32; 2]| {
        let wanted: Vec<u32> = (0..4 * 96).flat_map(|i| f((i / 96 + 3) % 4, i % 96)).collect();
        Run { ptx, grid: 4, block: 96, cluster: 4, input: &[0; 16], output: 4 * wanted.len(), n: 0 }
            .gives(&to_bytes(&wanted));
    };
    let end = "shared::cluster.mbarrier::complete_tx::bytes";
    let two = format!("st.async.weak.{end}.v2.b32 [%r17], {{%r19, %r20}}, [%r18];");
    go(&body(&two, 8), &|from, t| [100 * from + t, 100 * from + t + 7]);
    go(
        &body(&format!("mov.b64 %d7, {{%r20, %r19}}; st.async.{end}.b64 [%r17], %d7, [%r18];"), 8),
        &|from, t| [100 * from + t + 7, 100 * from + t],
    );
    let add = format!("red.async.relaxed.cluster.{end}.add.u32 [%r17], %r19, [%r18];");
    go(&body(&add, 4), &|from, t| [t + 5 + 100 * from + t, t]);
    let early = body(&two, 8).replace(WAIT, "");
    for seed in 0..SEEDS {
        let run = Run { ptx: &early, grid: 4, block: 96, cluster: 4, input: &[0; 16], output: 3072, n: 0 };
        let e = run.launch(seed).expect_err("nobody waits");
        assert!(matches!(e.kind, ErrorKind::AsyncInFlight | ErrorKind::SharedRace), "{e}");
    }
}

#[test]
fn multicast_reaches_the_blocks_of_the_mask() {
    // Block 1 of four loads for blocks 0, 1 and 3; block 2 keeps what it wrote itself.
    let ptx = kernel(
        SHARED,
        &format!(
            "{INIT}setp.eq.u32 %p4, %r2, 2; setp.eq.and.u32 %p5, %r2, 1, %p1;\n\
             @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], %r14;\n\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\nmov.u16 %h1, 11;\n\
             @%p5 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r10], [%d0], %r0, [%r12], %h1;\n\
             shl.b32 %r15, %r1, 2; add.u32 %r15, %r10, %r15; setp.lt.and.u32 %p6, %r1, 64, %p4;\n@%p6 st.shared.u32 [%r15], %r1;\n\
             {WAIT}bar.sync 0;\nmov.u32 %r13, %r10; mul.wide.u32 %d10, %r2, %r0; add.u64 %d1, %d1, %d10;\n{DUMP}\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
        ),
    )
    .replace("setp.eq.u32 %p4, %r2, 2;", "setp.eq.u32 %p4, %r2, 2; selp.u32 %r14, 0, %r0, %p4;");
    let input = Random(12).bytes(256);
    let mut wanted = [&input[..]; 4].concat();
    wanted[512..768].copy_from_slice(&to_bytes(&(0..64).collect::<Vec<u32>>()));
    let run = Run { ptx: &ptx, grid: 4, block: 96, cluster: 4, input: &input, output: 1024, n: 256 };
    run.gives(&wanted);
    let fails = |from: &str, to: &str, kind| {
        assert!(ptx.contains(from));
        Run { ptx: &ptx.replace(from, to), ..run }.fails(kind, "multicast");
    };
    fails("mov.u16 %h1, 11;", "mov.u16 %h1, 27;", ErrorKind::BadCopy);
}

#[test]
fn operands_are_checked() {
    let input = Random(13).bytes(256);
    let fails = |ptx: &str, from: &str, to: &str, kind, at: &str| {
        assert!(ptx.contains(from), "{from}");
        run(&ptx.replace(from, to), &input, 256).fails(kind, at);
    };
    let load = load("shared::cluster");
    let copy = "[%r10], [%d0], %r0, [%r12]";
    fails(&load, copy, "[%r10], [%d0], 24, [%r12]", ErrorKind::BadCopy, "cp.async.bulk");
    fails(&load, copy, "[%r10+8], [%d0], %r0, [%r12]", ErrorKind::Misaligned, "cp.async.bulk");
    fails(&load, copy, "[%r10], [%d0+8], %r0, [%r12]", ErrorKind::Misaligned, "cp.async.bulk");
    fails(&load, copy, "[%r10], [%d0+16], %r0, [%r12]", ErrorKind::OutOfBounds, "cp.async.bulk");
    fails(&load, copy, "[%r10+3856], [%d0], %r0, [%r12]", ErrorKind::OutOfBounds, "cp.async.bulk");
    fails(&load, copy, "[%r10], [%d1], %r0, [%r12]", ErrorKind::UninitialisedGlobal, "cp.async.bulk");
    fails(&load, copy, "[%r10], [%d0], %r0, [%r11]", ErrorKind::MbarrierUninitialised, "cp.async.bulk");
    let store = store("cp.async.bulk.wait_group 0;");
    let copy = "[%d1], [%r10], %r0";
    fails(&store, copy, "[%d1+16], [%r10], %r0", ErrorKind::OutOfBounds, "cp.async.bulk");
    fails(&store, copy, "[%d1], [%r11], %r0", ErrorKind::UninitialisedShared, "cp.async.bulk");
    fails(&store, copy, "[%d1], [%r10+4], %r0", ErrorKind::Misaligned, "cp.async.bulk");
    fails(&store, copy, "[%d1], [%r10], 8", ErrorKind::BadCopy, "cp.async.bulk");
    // A prefetch only names addresses.
    let prefetch = |at: &str| {
        kernel(SHARED, &format!("cp.async.bulk.prefetch.L2.global [{at}], %r0;\nst.global.u32 [%d1], 1;"))
    };
    let out = to_bytes(&[1]);
    Run { ptx: &prefetch("%d0"), grid: 1, block: 1, cluster: 1, input: &input, output: 4, n: 256 }
        .gives(&out);
    Run { ptx: &prefetch("%d0+16"), grid: 1, block: 1, cluster: 1, input: &input, output: 4, n: 256 }
        .fails(ErrorKind::OutOfBounds, "prefetch");
}
