//! Limits: each one reached is an error of its kind that names the option, and what was used before stays usable.

use proptest::prelude::*;
use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, Module, Sim};

fn module(body: &str) -> Module {
    let text = format!(".version 8.0 .target sm_80 {body}");
    Module::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn buffers_stay_within_the_memory_limit(sizes in proptest::collection::vec(0usize..200_000, 1..40)) {
        const LIMIT: u64 = 1 << 20;
        let mut sim = Sim::builder().memory_limit(LIMIT).build();
        let (mut used, mut list) = (0u64, Vec::new());
        for size in sizes {
            // A buffer, a bit for each byte, and its description.
            let wanted = (size + size / 8 + 256) as u64;
            match sim.try_alloc(size) {
                Ok(a) => {
                    used += wanted;
                    prop_assert!(used <= LIMIT);
                    list.push((a, wanted));
                }
                Err(e) => {
                    prop_assert!(used + wanted > LIMIT);
                    prop_assert_eq!(e.kind, ErrorKind::MemoryLimit);
                    prop_assert!(e.to_string().contains("memory_limit"), "{}", e);
                    // What is freed can be had again.
                    if let Some((a, bytes)) = list.pop() {
                        sim.free(a).expect("a buffer");
                        used -= bytes;
                    }
                }
            }
        }
    }
}

#[test]
fn variables_registers_local_and_shared_memory_count() {
    let calls = "
      .func deep(.param .b32 n) {
        .reg .b32 %r<4>; .reg .b64 %wide<3000>; .reg .pred %p;
        ld.param.b32 %r0, [n]; mov.u64 %wide2999, 1; setp.eq.u32 %p, %r0, 0; @%p ret; sub.u32 %r0, %r0, 1;
        { .param .b32 a; st.param.b32 [a], %r0; call deep, (a); } ret; }
      .visible .entry k(.param .u32 n) { .reg .b32 %r; ld.param.u32 %r, [n];
        { .param .b32 a; st.param.b32 [a], %r; call deep, (a); } ret; }";
    let local =
        ".visible .entry k(.param .u32 n) { .local .align 8 .b8 x[100000]; .reg .b32 %r; .reg .b64 %d;
        ld.param.u32 %r, [n]; mov.u64 %d, x; st.local.u32 [%d], %r; ret; }";
    let shared = ".visible .entry k(.param .u32 n) { .shared .align 8 .b8 x[200000]; .reg .b32 %r;
        ld.param.u32 %r, [n]; st.shared.u32 [x], %r; ret; }";
    let global = ".global .align 8 .b8 x[3000000000]; .visible .entry k(.param .u32 n) { .reg .b32 %r;
        ld.param.u32 %r, [n]; st.global.u32 [x], %r; ret; }";
    for (what, body, n, mib) in [
        ("registers", calls, 200, 32),
        ("local", local, 1, 32),
        ("shared", shared, 1, 1),
        ("global", global, 1, 1024),
    ] {
        let m = module(body);
        for checks in [Checks::all(), Checks::none()] {
            let run = |limit: u64, n: u32, threads: u32| {
                let mut sim = Sim::builder().checks(checks.clone()).memory_limit(limit << 20).build();
                sim.launch(&m, "k", &LaunchConfig::new([4, 1, 1], [threads, 1, 1]), &[Arg::U32(n)]).map(drop)
            };
            let e = run(mib, n, 1024).expect_err(what);
            assert_eq!(e.kind, ErrorKind::MemoryLimit, "{what}: {e}");
            assert!(e.to_string().contains("memory_limit"), "{e}");
            if what != "global" {
                run(8 << 10, n.min(10), 1).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
        }
    }
}

#[test]
fn a_launch_that_failed_for_memory_leaves_room_for_the_next() {
    let m = module(
        ".visible .entry big() { .shared .align 8 .b8 x[200000]; .reg .b32 %r; mov.u32 %r, 1; st.shared.u32 [x], %r; ret; }
         .visible .entry small() { .shared .align 8 .b8 x[2000]; .reg .b32 %r; mov.u32 %r, 1; st.shared.u32 [x], %r; ret; }",
    );
    let mut sim = Sim::builder().memory_limit(1 << 20).build();
    let config = LaunchConfig::new([3, 1, 1], [32, 1, 1]);
    for _ in 0..20 {
        assert_eq!(sim.launch(&m, "big", &config, &[]).expect_err("too large").kind, ErrorKind::MemoryLimit);
        sim.launch(&m, "small", &config, &[]).expect("room");
    }
}

#[test]
fn an_endless_grid_ends_with_its_budget() {
    let m = module(".visible .entry k() { ret; }");
    for checks in [Checks::all(), Checks::none()] {
        for threads in [1, 3] {
            let mut sim =
                Sim::builder().checks(checks.clone()).threads(threads).instruction_budget(5000).build();
            let config = LaunchConfig::new([i32::MAX as u32, 65535, 65535], [1024, 1, 1]);
            let e = sim.launch(&m, "k", &config, &[]).expect_err("endless");
            assert_eq!(e.kind, ErrorKind::InstructionBudget);
            assert!(e.to_string().contains("instruction_budget"), "{e}");
        }
    }
}

#[test]
fn the_budget_is_exact() {
    let m = module(
        ".visible .entry k(.param .u32 n) { .reg .b32 %r; .reg .pred %p; ld.param.u32 %r, [n];
           L: sub.u32 %r, %r, 1; setp.ne.u32 %p, %r, 0; @%p bra L; ret; }",
    );
    for n in [1u32, 7, 5461, 5462, 20_000] {
        let needed = 2 + 3 * n as u64;
        let run = |budget: u64| {
            let mut sim = Sim::builder().instruction_budget(budget).build();
            sim.launch(&m, "k", &LaunchConfig::new([1, 1, 1], [32, 1, 1]), &[Arg::U32(n)])
        };
        assert_eq!(run(needed).expect("enough").warp_instructions, needed);
        assert_eq!(run(needed - 1).expect_err("one too few").kind, ErrorKind::InstructionBudget);
    }
}
