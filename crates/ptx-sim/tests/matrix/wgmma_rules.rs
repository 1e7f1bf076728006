//! The rules of `wgmma`: each broken in one place of a clean kernel, and found by its name on every schedule.

use super::support::*;
use super::wgmma::{Layout, REGS, d_place, fill, list, run};
use ptx_sim::{Checks, ErrorKind};

const L: Layout = Layout { swizzle: 0, mn_major: false, spare: 0 };

/// A (64 x 16) and B (16 x 16) in shared memory.
fn input(seed: u64) -> (Matrix, Matrix, Vec<u8>) {
    let mut r = Random(seed);
    let (a, b) = (Matrix::random(64, 16, "bf16", &mut r), Matrix::random(16, 16, "bf16", &mut r));
    let mut input = L.image(&|m, k| a.at(m, k), 64, 16, 2);
    assert_eq!(input.len(), 2048);
    input.extend(L.image(&|m, k| b.at(k, m), 16, 16, 2));
    input.truncate(2048 + 512);
    (a, b, input)
}

const FENCE: &str = "wgmma.fence.sync.aligned;\n";
const COMMIT: &str = "wgmma.commit_group.sync.aligned;\n";
const WAIT: &str = "wgmma.wait_group.sync.aligned 0;\n";

fn issue() -> String {
    format!(
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {}, %da, %db, %scale, 1, 1, 0, 0;\n",
        list("d", 8)
    )
}

fn issue_registers() -> String {
    issue().replace("%da,", "{%a0,%a1,%a2,%a3},").replace(", 0, 0;", ", 0;")
}

fn store() -> String {
    let stores: String = (0..8).map(|i| format!("st.global.b32 [%p+{}], %d{i};", 4 * i)).collect();
    format!("mad.wide.u32 %p, %lane, 32, %out; {stores}\n")
}

/// The kernel up to its first wgmma: operands in shared memory, descriptors, accumulators zero.
fn head() -> String {
    let zero: String = (0..8).map(|i| format!("mov.b32 %d{i}, 0;")).collect();
    let load: String = (0..4).map(|i| format!("mov.b32 %a{i}, %lane;")).collect();
    format!(
        "{}or.b64 %da, %base, {:#x}; add.u64 %db, %base, 128; or.b64 %db, %db, {:#x};\n{zero}{load}\nsetp.eq.u32 %scale, %lane, %lane;\n",
        fill(640),
        L.descriptor(64, 16, 2),
        L.descriptor(16, 16, 2)
    )
}

fn whole(body: &str) -> String {
    kernel(&format!("{REGS} .shared .align 1024 .b8 tile[2560]; .shared .align 1024 .b8 empty[4096];"), body)
}

fn outcome(body: &str, threads: u32) -> Result<Vec<u8>, ErrorKind> {
    let (_, _, input) = input(1);
    let mut kinds: Vec<Result<Vec<u8>, ErrorKind>> = (0..4)
        .map(|seed| {
            run(&whole(body), Checks::all(), seed, threads, &input, 4096).map(|o| o.0).map_err(|e| e.kind)
        })
        .collect();
    let last = kinds.pop().unwrap();
    assert!(kinds.iter().all(|k| *k == last), "schedules disagree: {kinds:?}");
    last
}

fn finds(kind: ErrorKind, what: &str, body: String) {
    assert_eq!(outcome(&body, 128).err(), Some(kind), "{what}");
}

fn expect(out: &[u8], times: usize) {
    let (a, b, _) = input(1);
    let t = Types { a: "bf16", b: "bf16", c: "f32", d: "f32" };
    let mut want = Matrix::zero(64, 16);
    for _ in 0..times {
        want = reference(&a, &b, &want, t, false, false);
    }
    for (i, got) in words(out).into_iter().enumerate() {
        let (row, column) = d_place(i / 8, i % 8);
        assert_eq!(got as u64, want.at(row, column), "({row}, {column})");
    }
}

#[test]
fn clean_kernels_are_silent() {
    let (h, i, s) = (head(), issue(), store());
    expect(&outcome(&format!("{h}{FENCE}{i}{COMMIT}{WAIT}{s}"), 128).unwrap(), 1);
    // A chain on one accumulator in two groups, both in flight.
    let chain = format!("{h}{FENCE}{i}{i}{COMMIT}{i}{COMMIT}wgmma.wait_group.sync.aligned 1;\n{WAIT}{s}");
    expect(&outcome(&chain, 128).unwrap(), 3);
    // The first group waited for, with the second chained on it still in flight; a third without a new fence.
    let again = format!("{h}{FENCE}{i}{COMMIT}{WAIT}{i}{COMMIT}{WAIT}{s}");
    expect(&outcome(&again, 128).unwrap(), 2);
    // Compilers leave moves of accumulators in flight to the assembler.
    let copy: String = (0..8).map(|r| format!("mov.b32 %d{}, %d{r};", 20 + r)).collect();
    let back: String = (0..8).map(|r| format!("mov.b32 %d{r}, %d{};", 20 + r)).collect();
    let other = i.replace(&list("d", 8), "{%d20,%d21,%d22,%d23,%d24,%d25,%d26,%d27}");
    let moved = format!("{h}{FENCE}{i}{COMMIT}{copy}{other}{COMMIT}{back}{WAIT}{s}");
    expect(&outcome(&moved, 128).unwrap(), 2);
    // Factors in registers may serve two operations.
    outcome(&format!("{h}{FENCE}{0}{0}{COMMIT}{WAIT}{s}", issue_registers()), 128).unwrap();
    // scale-d of zero needs no accumulator.
    let unset: String = (0..8).map(|i| format!("mov.b32 %d{i}, 0;")).collect();
    let overwrite = h.replace(&unset, "").replace("setp.eq.u32 %scale", "setp.ne.u32 %scale");
    expect(&outcome(&format!("{overwrite}{FENCE}{i}{COMMIT}{WAIT}{s}"), 128).unwrap(), 1);
    let missing = h.replace(&unset, "");
    finds(
        ErrorKind::UninitialisedRegister,
        "no accumulator",
        format!("{missing}{FENCE}{i}{COMMIT}{WAIT}{s}"),
    );
}

#[test]
fn fences() {
    let (h, i, s) = (head(), issue(), store());
    let rest = format!("{COMMIT}{WAIT}{s}");
    let kind = ErrorKind::WgmmaMissingFence;
    finds(kind, "no fence", format!("{h}{i}{rest}"));
    finds(kind, "accumulator written after it", format!("{h}{FENCE}add.u32 %d3, %lane, 1;{i}{rest}"));
    finds(
        kind,
        "factor written after it",
        format!("{h}{FENCE}add.u32 %a2, %lane, 1;{}{rest}", issue_registers()),
    );
    let again = format!("{h}{FENCE}{i}{COMMIT}{WAIT}add.f32 %d1, %d1, %d1;{i}{rest}");
    finds(kind, "accumulator scaled between two", again.clone());
    let fenced = again.replace("add.f32 %d1, %d1, %d1;", &format!("add.f32 %d1, %d1, %d1;{FENCE}"));
    outcome(&fenced, 128).unwrap();
}

#[test]
fn registers_in_flight() {
    let (h, i, s) = (head(), issue(), store());
    let kind = ErrorKind::WgmmaRegisterInFlight;
    finds(kind, "read before the wait", format!("{h}{FENCE}{i}{COMMIT}{s}{WAIT}"));
    finds(
        kind,
        "waited for too few",
        format!("{h}{FENCE}{i}{COMMIT}wgmma.wait_group.sync.aligned 1;{s}{WAIT}"),
    );
    finds(kind, "waited for without a commit", format!("{h}{FENCE}{i}{WAIT}{s}{COMMIT}{WAIT}"));
    finds(kind, "accumulator written", format!("{h}{FENCE}{i}{COMMIT}mov.b32 %d5, 0;{WAIT}{s}"));
    let f = issue_registers();
    finds(kind, "factor written", format!("{h}{FENCE}{f}{COMMIT}add.u32 %a1, %lane, 1;{WAIT}{s}"));
    finds(kind, "factor read", format!("{h}{FENCE}{f}{COMMIT}add.u32 %i, %a1, 1;{WAIT}{s}"));
    outcome(&format!("{h}{FENCE}{f}{COMMIT}{WAIT}add.u32 %a1, %a1, 1;{s}"), 128).unwrap();
    let narrow = i.replace("n16", "n8").replace(&list("d", 8), &list("d", 4));
    finds(kind, "another shape", format!("{h}{FENCE}{i}{narrow}{COMMIT}{WAIT}{s}"));
    let shifted = i.replace(&list("d", 8), "{%d1,%d0,%d2,%d3,%d4,%d5,%d6,%d7}");
    finds(kind, "another order", format!("{h}{FENCE}{i}{shifted}{COMMIT}{WAIT}{s}"));
    let as_factor = f.replace("{%a0,%a1,%a2,%a3}", "{%d0,%d1,%d2,%d3}").replacen(
        &list("d", 8),
        "{%d10,%d11,%d12,%d13,%d14,%d15,%d16,%d17}",
        1,
    );
    let more: String = (10..18).map(|r| format!("mov.b32 %d{r}, 0;")).collect();
    finds(kind, "a result as a factor", format!("{h}{more}{FENCE}{i}{as_factor}{COMMIT}{WAIT}{s}"));
}

#[test]
fn waits_and_groups() {
    let (h, i) = (head(), issue());
    let kind = ErrorKind::WgmmaNeverWaited;
    finds(kind, "no wait", format!("{h}{FENCE}{i}{COMMIT}"));
    finds(kind, "no commit", format!("{h}{FENCE}{i}{WAIT}"));
    finds(
        kind,
        "the last group",
        format!("{h}{FENCE}{i}{COMMIT}{i}{COMMIT}wgmma.wait_group.sync.aligned 1;"),
    );
}

#[test]
fn operands_in_shared_memory() {
    let (h, i, s) = (head(), issue(), store());
    // One thread overwrites an element of A; the result is that of the new value when nobody checks.
    let poke = "setp.ne.u32 %q, %lane, 77; @%q bra KEEP; st.shared.b16 [%tile], 0x4000; KEEP:\n"
        .replace("0x4000", "%h");
    let poke = format!("mov.b16 %h, 0x4000; {poke}");
    let body = format!("{h}{FENCE}{i}{COMMIT}bar.sync 0; {poke}bar.sync 0;{WAIT}{s}")
        .replace("mov.u32 %i, %lane;", ".reg .b16 %h; mov.u32 %i, %lane;");
    finds(ErrorKind::WgmmaOperandOverwritten, "A overwritten", body.clone());
    let (_, _, input) = input(1);
    let mut late = Checks::all();
    late.wgmma = false;
    late.shared_races = false;
    let (out, _) = run(&whole(&body), late, 0, 128, &input, 4096).unwrap();
    let fenced = body.replace("KEEP:\n", "fence.proxy.async.shared::cta; KEEP:\n");
    let early = fenced
        .replace(&format!("{FENCE}{i}{COMMIT}"), "")
        .replace(WAIT, &format!("{FENCE}{i}{COMMIT}{WAIT}"));
    assert_eq!(Ok(out), outcome(&early, 128));

    let all = |h: String| format!("{h}{FENCE}{i}{COMMIT}{WAIT}{s}");
    finds(
        ErrorKind::OutOfBounds,
        "B behind the end",
        all(h.replace("add.u64 %db, %base, 128", "add.u64 %db, %base, 136")),
    );
    let global =
        h.replace("or.b64 %da, %base,", "shr.u64 %da, %in, 4; and.b64 %da, %da, 0x3fff; or.b64 %da, %da,");
    finds(ErrorKind::OutOfBounds, "a global address", all(global));
    let empty = h.replace("or.b64 %da, %base,", "mov.u64 %da, empty; shr.u64 %da, %da, 4; or.b64 %da, %da,");
    finds(ErrorKind::UninitialisedShared, "memory nobody wrote", all(empty));
    let unfenced = h.replace("fence.proxy.async.shared::cta;", "");
    finds(ErrorKind::MissingProxyFence, "no proxy fence", all(unfenced));
    // A second store of the same values, which nothing orders against the reads: other threads, no barrier.
    let again = "setp.ne.u32 %q, %lane, 77; @%q bra KEEP; ld.global.b32 %v, [%in]; st.shared.b32 [%tile], %v; fence.proxy.async.shared::cta; KEEP:\n";
    let racing = all(h).replace(FENCE, &format!("{again}{FENCE}"));
    finds(ErrorKind::SharedRace, "a store before the wgmma, without a barrier", racing);
}

#[test]
fn warps_of_a_warpgroup_agree() {
    let (h, i, s) = (head(), issue(), store());
    let all = |h: String| format!("{h}{FENCE}{i}{COMMIT}{WAIT}{s}");
    let kind = ErrorKind::WgmmaMismatch;
    let by_warp = "shr.u32 %i, %lane, 5; cvt.u64.u32 %da, %i; xor.b64 %da, %da, %base; or.b64 %da, %da,";
    // Descriptors of core matrices further on: inside, but not the same.
    let h_warp = h.replace("or.b64 %da, %base,", by_warp).replace("cvt.u64.u32 %da, %i;", "cvt.u64.u32 %da, %i; shr.u64 %da, %da, 1; shl.b64 %da, %da, 63; shr.u64 %da, %da, 63; mov.u64 %db, 0;");
    finds(
        kind,
        "a descriptor by warp",
        all(h_warp.replace(
            "xor.b64 %da, %da, %base",
            "mul.lo.u64 %da, %da, 0; shr.u32 %i, %lane, 6; cvt.u64.u32 %da, %i; xor.b64 %da, %da, %base",
        )),
    );
    let h_lane = h.replace(
        "or.b64 %da, %base,",
        "and.b32 %i, %lane, 1; cvt.u64.u32 %da, %i; xor.b64 %da, %da, %base; or.b64 %da, %da,",
    );
    finds(kind, "a descriptor by lane", all(h_lane));
    let h_scale = h.replace("setp.eq.u32 %scale, %lane, %lane", "setp.lt.u32 %scale, %lane, 64");
    finds(kind, "scale-d by warp", all(h_scale));
    // One warp leaves the multiplication out.
    let skip = format!("{h}{FENCE}setp.ge.u32 %q, %lane, 96; @%q bra SKIP;\n{i}SKIP:\n{COMMIT}{WAIT}{s}");
    finds(kind, "one warp without", skip);
    // Three warps are no warpgroup.
    assert_eq!(
        outcome(&all(h.replace("add.u32 %i, %i, 128", "add.u32 %i, %i, 96")), 96),
        Err(ErrorKind::DivergentCollective)
    );
    finds(
        ErrorKind::DivergentCollective,
        "half a warp",
        format!("{h}{FENCE}setp.eq.u32 %q, %lane, 5; @%q bra SKIP;\n{i}SKIP:\n{COMMIT}{WAIT}{s}"),
    );
}
