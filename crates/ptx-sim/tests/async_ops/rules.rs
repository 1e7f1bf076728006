//! Rules: each fires on every seed and is silent on its clean twin.

use super::harness::*;
use ptx_sim::ErrorKind;

const SHARED: &str = ".shared .align 128 .b8 s[1024]; .shared .align 8 .b8 bar[16];";

/// 64 threads fill 1024 bytes of shared memory, thread 0 stores them to `b` in bulk.
fn store(before: &str, after: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r10, s; shl.b32 %r11, %r1, 4; add.u32 %r12, %r10, %r11; setp.eq.u32 %p1, %r1, 0;\n\
             cvt.u64.u32 %d4, %r11; add.u64 %d5, %d0, %d4; ld.global.v4.u32 {{%r20, %r21, %r22, %r23}}, [%d5];\n\
             st.shared.v4.u32 [%r12], {{%r20, %r21, %r22, %r23}};\n{before}\n\
             @!%p1 bra END;\n{after}\ncp.async.bulk.global.shared::cta.bulk_group [%d1], [%r10], 1024;\n\
             cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nEND:"
        ),
    )
}

#[test]
fn the_async_proxy_needs_a_fence() {
    let input = Random(1).bytes(1024);
    let clean = |before: &str, after: &str| {
        Run { ptx: &store(before, after), grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 }
            .gives(&input)
    };
    let fails = |before: &str, after: &str| {
        Run { ptx: &store(before, after), grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 }
            .fails(ErrorKind::MissingProxyFence, "cp.async.bulk.global")
    };
    // Every thread fences its own writes; or the one that issues the copy fences for all, behind the barrier.
    clean("fence.proxy.async.shared::cta;\nbar.sync 0;", "");
    clean("fence.proxy.async;\nbar.sync 0;", "");
    clean("bar.sync 0;", "fence.proxy.async.shared::cta;");
    clean("bar.sync 0;", "fence.proxy.async;");
    // None; of global memory only; too early; by one thread for itself only.
    fails("bar.sync 0;", "");
    fails("fence.proxy.async.global;\nbar.sync 0;", "");
    fails("setp.eq.u32 %p4, %r1, 0;\n@%p4 fence.proxy.async;\nbar.sync 0;", "");
    fails("setp.ne.u32 %p4, %r1, 40;\n@%p4 fence.proxy.async;\nbar.sync 0;", "");
    fails("fence.proxy.async;\nst.shared.u32 [%r12], %r20;\nbar.sync 0;", "");
    fails("bar.sync 0;\nst.shared.u32 [%r12], %r20;\nbar.warp.sync -1;", "bar.warp.sync 1;");
    fails("fence.acq_rel.cta;\nmembar.cta;\nbar.sync 0;", "");
}

#[test]
fn what_cp_async_wrote_needs_a_fence_too() {
    let input = Random(2).bytes(1024);
    let copy = |rest: &str| {
        store("", "")
            .replace(
                "ld.global.v4.u32 {%r20, %r21, %r22, %r23}, [%d5];",
                "cp.async.ca.shared.global [%r12], [%d5], 16;",
            )
            .replace("st.shared.v4.u32 [%r12], {%r20, %r21, %r22, %r23};\n", rest)
    };
    let run = |ptx: &str, clean: bool| {
        let run = Run { ptx, grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 };
        if clean {
            run.gives(&input)
        } else {
            run.fails(ErrorKind::MissingProxyFence, "cp.async.bulk.global")
        }
    };
    run(&copy("cp.async.wait_all;\nfence.proxy.async;\nbar.sync 0;"), true);
    run(&copy("cp.async.wait_all;\nbar.sync 0;"), false);
    run(&copy("fence.proxy.async;\ncp.async.wait_all;\nbar.sync 0;"), false);
}

/// Thread 0 loads 1024 bytes; all threads read them.
fn load(before: &str, between: &str) -> String {
    kernel(
        SHARED,
        &format!(
            "mov.u32 %r10, s; mov.u32 %r13, bar; shl.b32 %r11, %r1, 4; add.u32 %r12, %r10, %r11; setp.eq.u32 %p1, %r1, 0;\n\
             @%p1 mbarrier.init.shared::cta.b64 [%r13], 1;\n{before}\nbar.sync 0;\n\
             @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r13], 1024;\n\
             @%p1 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r10], [%d0], 1024, [%r13];\n\
             {between}\nW: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r13], 0;\n@!%p2 bra W;\n\
             ld.shared.v4.u32 {{%r20, %r21, %r22, %r23}}, [%r12]; cvt.u64.u32 %d4, %r11; add.u64 %d5, %d1, %d4;\n\
             st.global.v4.u32 [%d5], {{%r20, %r21, %r22, %r23}};"
        ),
    )
}

#[test]
fn nobody_touches_what_is_in_flight() {
    let input = Random(3).bytes(1024);
    let run = |ptx: &str, kind: Option<ErrorKind>, at: &str| {
        let run = Run { ptx, grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 };
        match kind {
            None => run.gives(&input),
            Some(k) => run.fails(k, at),
        }
    };
    run(&load("", ""), None, "");
    let in_flight = Some(ErrorKind::AsyncInFlight);
    run(&load("", "@%p1 ld.shared.u32 %r30, [%r10+512];"), in_flight, "+512]");
    run(&load("", "@%p1 st.shared.u32 [%r10+1020], %r1;"), in_flight, "+1020]");
    run(&load("", "@%p1 red.shared.add.u32 [%r10], 1;"), in_flight, "red.shared");
    run(&load("", "bar.sync 0;\nld.shared.u32 %r30, [%r12];"), in_flight, "ld.shared.u32");
    let again =
        "@%p1 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r10], [%d0], 16, [%r13];";
    run(&load("", again), in_flight, "[%d0], 16,");
    let back = "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r10], 16;";
    run(&load("", back), in_flight, "[%d1], [%r10], 16;");
    run(&load("", "@%p1 mbarrier.inval.shared::cta.b64 [%r13];\nbar.sync 0;"), in_flight, "inval");
    // Into the mbarrier itself, and a wait that nobody makes.
    let over = load("", "")
        .replace("[%r10], [%d0], 1024", "[%r13], [%d0], 16")
        .replace(".align 8 .b8 bar", ".align 16 .b8 bar");
    run(&over, Some(ErrorKind::MbarrierAccess), "cp.async.bulk");
    let gone = load("", "ret;").replace("_, [%r13], 1024;", "_, [%r13], 1024;\n@%p1 st.global.u32 [%d1], 1;");
    run(&gone, Some(ErrorKind::AsyncUnfinished), "cp.async.bulk");
    // A phase that ends before all its bytes came.
    let two = load("", "@%p1 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r10+512], [%d0+512], 512, [%r13];")
        .replace("[%r10], [%d0], 1024", "[%r10], [%d0], 512");
    run(&two, None, "");
    run(
        &two.replace("_, [%r13], 1024;", "_, [%r13], 512;"),
        Some(ErrorKind::TransactionCount),
        "cp.async.bulk",
    );
}

#[test]
fn sources_stay_until_they_are_read() {
    let input = Random(4).bytes(1024);
    let fence = "fence.proxy.async.shared::cta;\nbar.sync 0;";
    let go = |wait: &str, kind: Option<(ErrorKind, &str)>| {
        let ptx = store(fence, "").replace("cp.async.bulk.wait_group 0;", wait);
        let run = Run { ptx: &ptx, grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 };
        match kind {
            None => run.gives(&input),
            Some((k, at)) => run.fails(k, at),
        }
    };
    let write = "st.shared.u32 [%r10+16], 5;";
    go(&format!("cp.async.bulk.wait_group.read 0;\n{write}"), None);
    go(&format!("cp.async.bulk.wait_group 0;\n{write}"), None);
    let overwritten = Some((ErrorKind::AsyncSourceOverwritten, "st.shared.u32 [%r10+16]"));
    go(&format!("{write}\ncp.async.bulk.wait_group.read 0;"), overwritten);
    go(&format!("cp.async.bulk.wait_group.read 1;\n{write}\ncp.async.bulk.wait_group 0;"), overwritten);
    // Reading it is harmless. So is writing after the wait, by another thread, behind a barrier.
    go("ld.shared.u32 %r30, [%r10+16];\ncp.async.bulk.wait_group.read 0;", None);
    // Not committed, a wait covers nothing; not waited for, the block must not exit.
    let open = store(fence, "").replace("cp.async.bulk.commit_group;\n", "");
    let run = Run { ptx: &open, grid: 1, block: 64, cluster: 1, input: &input, output: 1024, n: 0 };
    run.fails(ErrorKind::AsyncUnfinished, "cp.async.bulk.global");
    go("", Some((ErrorKind::AsyncUnfinished, "cp.async.bulk.global")));
}

#[test]
fn the_results_of_a_forgotten_wait_are_wrong_without_checks_too() {
    // Late landing: the global memory keeps its old content until the group is waited for.
    let ptx = store("fence.proxy.async;\nbar.sync 0;", "").replace(
        "cp.async.bulk.wait_group 0;",
        "cp.async.bulk.wait_group.read 0;\nld.global.u32 %r30, [%d1];\nst.global.u32 [%d1+1024], %r30;\n\
         cp.async.bulk.wait_group 0;\nld.global.u32 %r30, [%d1];\nst.global.u32 [%d1+1028], %r30;",
    );
    let input = Random(5).bytes(1024);
    for seed in 0..SEEDS {
        let mut sim = ptx_sim::Sim::builder().checks(ptx_sim::Checks::none()).seed(seed).build();
        let (a, b) = (sim.alloc(1024), sim.alloc(1032));
        sim.write(a, &input).expect("inside");
        sim.fill(b, 0x55, 1032).expect("inside");
        let config = ptx_sim::LaunchConfig::new([1, 1, 1], [64, 1, 1]);
        let args = [ptx_sim::Arg::U64(a), ptx_sim::Arg::U64(b), ptx_sim::Arg::U32(0)];
        sim.launch(&module(&ptx), "k", &config, &args).expect("no checks");
        let mut out = [0; 8];
        sim.read(b + 1024, &mut out).expect("inside");
        assert_eq!(out[..4], [0x55; 4]);
        assert_eq!(out[4..], input[..4]);
    }
}

#[test]
fn set_max_registers() {
    let run = |ptx: &str, block: u32, kind: Option<(ErrorKind, &str)>| {
        let run = Run { ptx, grid: 1, block, cluster: 1, input: &[0; 16], output: 4, n: 0 };
        match kind {
            None => run.gives(&to_bytes(&[1])),
            Some((k, at)) => run.fails(k, at),
        }
    };
    let body = |text: &str| {
        kernel(
            SHARED,
            &format!(
                "setp.ge.u32 %p1, %r1, 128;\n{text}\nsetp.eq.u32 %p2, %r1, 0;\n@%p2 st.global.u32 [%d1], 1;"
            ),
        )
    };
    let split = "@%p1 bra B;\nsetmaxnreg.dec.sync.aligned.u32 40;\nbra C;\nB: setmaxnreg.inc.sync.aligned.u32 232;\nC:";
    run(&body(split), 256, None);
    let bad = |n: u32| Some((ErrorKind::SetMaxRegisters, if n == 0 { "setmaxnreg" } else { "u32 40" }));
    run(&body("setmaxnreg.dec.sync.aligned.u32 36;"), 128, bad(0));
    run(&body("setmaxnreg.inc.sync.aligned.u32 264;"), 128, bad(0));
    run(&body("setmaxnreg.dec.sync.aligned.u32 16;"), 128, bad(0));
    run(&body(split).replace(".maxntid 256", ""), 256, bad(0));
    // Not the same in a warpgroup, not in all of its warps, not by all lanes.
    run(&body(split).replace("%r1, 128", "%r1, 64"), 256, bad(0));
    run(
        &body("setp.ge.u32 %p3, %r1, 96;\n@%p3 bra C;\nsetmaxnreg.dec.sync.aligned.u32 40;\nC:"),
        128,
        bad(1),
    );
    let half = body("setp.eq.u32 %p3, %r1, 5;\n@%p3 bra C;\nsetmaxnreg.dec.sync.aligned.u32 40;\nC:");
    run(&half, 128, Some((ErrorKind::DivergentCollective, "u32 40")));
}

#[test]
fn grid_dependencies_and_other_fences_execute() {
    let body = "griddepcontrol.launch_dependents;\ngriddepcontrol.wait;\nfence.proxy.alias;\nfence.mbarrier_init.release.cluster;\n\
                fence.proxy.async.global;\nfence.proxy.async.shared::cluster;\nfence.proxy.tensormap::generic.release.gpu;\n\
                elect.sync %r10|%p1, -1;\n@%p1 st.global.u32 [%d1], %r10;";
    let ptx = kernel(SHARED, body);
    Run { ptx: &ptx, grid: 1, block: 32, cluster: 1, input: &[0; 16], output: 4, n: 0 }
        .gives(&to_bytes(&[0]));
}
