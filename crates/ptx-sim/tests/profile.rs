//! The profile of kernels whose traffic, conflicts and operations are known by counting.

use proptest::prelude::*;
use ptx_sim::profile::{Gpu, LAUNCH_FLOOR_US, Profile, roofline};
use ptx_sim::{Arg, Class, LaunchConfig, LaunchStats, Module, Sim};

/// A kernel with two pointers and one integer; `%r1` is the thread's index in the grid, the body starts on PTX line 9.
fn kernel(body: &str) -> Module {
    let ptx = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.const .align 4 .b8 c[4] = {{1, 2, 3, 4}};\n\
         .visible .entry k(.param .u64 p, .param .u64 q, .param .u32 n)\n{{\n\
         .shared .align 16 .b8 s[8192]; .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %d<32>;\n\
         ld.param.u64 %d0, [p]; ld.param.u64 %d1, [q]; ld.param.u32 %r0, [n]; mov.u32 %r2, %ctaid.x; \
         mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r1, %r2, %r3, %r4;\n{body}\nret;\n}}\n"
    );
    Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

const BYTES: usize = 1 << 16;

fn launch(module: &Module, blocks: u32, threads: u32, n: u32, profile: bool) -> LaunchStats {
    let mut sim = Sim::builder().profile(profile).build();
    let (p, q) = (sim.alloc(BYTES), sim.alloc(BYTES));
    let data: Vec<u8> = (0..BYTES).map(|i| (i * 31 % 251) as u8).collect();
    sim.write(p, &data).unwrap();
    sim.write(q, &data).unwrap();
    let config = LaunchConfig::new([blocks, 1, 1], [threads, 1, 1]);
    sim.launch(module, "k", &config, &[Arg::U64(p), Arg::U64(q), Arg::U32(n)])
        .unwrap_or_else(|e| panic!("{e}"))
}

fn profile(body: &str, blocks: u32, threads: u32, n: u32) -> Profile {
    *launch(&kernel(body), blocks, threads, n, true).profile.expect("a profile")
}

/// Copies elements of `bytes` bytes whose index is `scale * thread`.
fn copy(bytes: u32, scale: u32) -> String {
    let (ty, regs) = match bytes {
        4 => ("b32", "%r5"),
        8 => ("b64", "%d5"),
        _ => ("v4.b32", "{%r5, %r6, %r7, %r8}"),
    };
    format!(
        "mul.lo.u32 %r10, %r1, {}; cvt.u64.u32 %d2, %r10; add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;\n\
         ld.global.{ty} {regs}, [%d3];\nst.global.{ty} [%d4], {regs};",
        bytes * scale
    )
}

#[test]
fn coalescing() {
    for (bytes, scale, sectors, ideal) in [
        (4, 1, 4.0, 4.0),
        (4, 2, 8.0, 4.0),
        (4, 8, 32.0, 4.0),
        (8, 1, 8.0, 8.0),
        (16, 1, 16.0, 16.0),
        (8, 4, 32.0, 8.0),
    ] {
        let p = profile(&copy(bytes, scale), 4, 64, 0);
        let (loads, stores) = (p.global.loads, p.global.stores);
        assert_eq!((loads.requests, stores.requests), (8, 8), "{bytes} {scale}");
        assert_eq!((loads.sectors_per_request(), stores.sectors_per_request()), (sectors, sectors));
        assert_eq!(loads.ideal_per_request(), ideal);
        assert_eq!(loads.bytes, 4 * 64 * bytes as u64);
        // Every sector is touched by one request alone.
        assert_eq!(p.global.footprint_loads, loads.moved());
        assert_eq!(p.global.footprint, loads.moved() + stores.moved());
        let line = p.lines.iter().find(|l| l.line == 10).unwrap();
        assert_eq!((line.global, line.warp_instructions), (loads, 8));
        assert!(line.text.starts_with("ld.global"));
    }
}

#[test]
fn a_footprint_counts_each_sector_once() {
    // All 256 threads load the same 128 bytes, and store the same 4.
    let p = profile(
        "and.b32 %r5, %r1, 31; mul.wide.u32 %d2, %r5, 4; add.s64 %d3, %d0, %d2;\nld.global.b32 %r6, [%d3];\n\
         atom.global.add.u32 %r7, [%d1], %r6;",
        4,
        64,
        0,
    );
    // Atomics read what they change.
    assert_eq!((p.global.loads.moved(), p.global.footprint_loads), (8 * 128, 128 + 32));
    assert_eq!((p.global.atomics.sectors_per_request(), p.global.footprint_stores), (1.0, 32));
    assert_eq!((p.atomics.requests, p.atomics.lanes, p.atomics.addresses, p.atomics.worst), (8, 256, 8, 32));
    assert_eq!(p.atomics.lanes_per_address(), 32.0);
}

/// Stores and loads 4 shared bytes at `stride * thread`, loads with `back` in place of it.
fn banks(store: u32, load: u32) -> Profile {
    profile(
        &format!(
            "mov.u32 %r5, s; mad.lo.u32 %r6, %r4, {store}, %r5;\nst.shared.b32 [%r6], %r4;\nbar.sync 0;\n\
             mad.lo.u32 %r7, %r4, {load}, %r5;\nld.shared.b32 %r8, [%r7];"
        ),
        2,
        32,
        0,
    )
}

#[test]
fn bank_conflicts() {
    // A column of a 32 x 32 tile, the same padded by a word, neighbours, every other word.
    for (stride, wavefronts) in [(128, 32.0), (132, 1.0), (4, 1.0), (8, 2.0), (16, 4.0)] {
        let p = banks(stride, stride);
        for t in [p.shared.loads, p.shared.stores] {
            assert_eq!((t.requests, t.wavefronts_per_request()), (2, wavefronts), "stride {stride}");
            assert_eq!(t.conflicts(), 2 * (wavefronts as u64 - 1));
        }
        assert_eq!(p.lines.iter().find(|l| l.line == 13).unwrap().shared, p.shared.loads);
        assert_eq!((p.barriers, p.shared_bytes), (2, 8192));
    }
    assert_eq!(banks(4, 0).shared.loads.wavefronts_per_request(), 1.0, "a broadcast");
}

#[test]
fn divergence() {
    // Odd lanes jump over one instruction; whole warps agree at the second branch.
    let p = profile(
        "and.b32 %r5, %r4, 1; setp.eq.u32 %p1, %r5, 1;\n@%p1 bra skip;\nadd.u32 %r6, %r4, 1;\nskip:\n\
         setp.ge.u32 %p2, %r4, 32;\n@%p2 bra done;\nadd.u32 %r6, %r4, 2;\n@%p1 add.u32 %r6, %r4, 3;\ndone:",
        1,
        64,
        0,
    );
    assert_eq!((p.branches.executed, p.branches.divergent), (4, 2));
    let line = |n| p.lines.iter().find(|l| l.line == n).unwrap();
    assert_eq!((line(10).divergent_branches, line(14).divergent_branches), (2, 0));
    assert_eq!((line(11).warp_instructions, line(11).lane_instructions), (2, 32));
    assert_eq!((line(16).arrived_lanes, line(16).lane_instructions), (32, 16));
    assert_eq!(p.lines.iter().map(|l| l.lane_instructions).sum::<u64>(), p.lane_instructions);
    assert_eq!(p.lines.iter().map(|l| l.warp_instructions).sum::<u64>(), p.warp_instructions);
    assert!(p.lane_efficiency() < 1.0);
}

#[test]
fn operations_spaces_and_pipes() {
    let p = profile(
        ".local .align 8 .b8 l[16]; .reg .b64 %f<4>;\n\
         fma.rn.f32 %r5, %r1, %r1, %r1; mul.rn.f32 %r5, %r5, %r5; max.f32 %r5, %r5, %r1;\n\
         add.rn.f16x2 %r6, %r5, %r5; fma.rn.f16x2 %r6, %r6, %r6, %r6; rcp.approx.f32 %r7, %r5;\n\
         cvt.rn.f64.u32 %f1, %r1; fma.rn.f64 %f2, %f1, %f1, %f1;\n\
         @%p1 st.local.b64 [l], %f2; ld.const.b32 %r8, [c];\n"
            .replace("@%p1 ", "")
            .as_str(),
        1,
        64,
        0,
    );
    assert_eq!((p.flops.single, p.flops.half, p.flops.double), (64 * 4, 64 * 6, 64 * 2));
    assert_eq!((p.pipes.single, p.pipes.half, p.pipes.double, p.pipes.special), (6, 8, 2, 2));
    assert_eq!((p.local.requests, p.local.bytes, p.constant_requests), (2, 512, 2));
    assert_eq!(p.global.total().requests, 0, "constants are no global traffic");
    let n = |class| p.by_class.iter().find(|c| c.0 == class).map_or(0, |c| c.1);
    assert_eq!((n(Class::Convert), n(Class::Double), n(Class::Special)), (2, 2, 2));
}

#[test]
fn tensor_cores() {
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r5, %r6, %r7, %r8}, {%r9, %r9, %r9, %r9}, {%r9, %r9}, \
        {%r10, %r10, %r10, %r10};";
    let p = profile(&format!("mov.u32 %r9, 0x3c003c00; mov.u32 %r10, 0;\n{mma}"), 2, 64, 0);
    assert_eq!(p.flops.tensor, [("f16".to_string(), 4 * 2 * 16 * 8 * 16)]);
    assert_eq!((p.flops.total(), p.flops.single), (4 * 4096, 0));
    let r = roofline(&p, &Gpu::A100, None);
    let tensor = r.bounds.iter().find(|b| b.name == "tensor cores (f16)").unwrap();
    // Two SMs do two each; 312 TFLOP/s are 2048 a clock and SM.
    assert!((tensor.microseconds - 2.0 * 4096.0 / 2048.0 / 1410.0).abs() < 1e-4, "{tensor:?}");
    // f64 on a machine whose tensor cores have none.
    let mma = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d5, %d6}, {%d7}, {%d7}, {%d8, %d8};";
    let p = profile(&format!("mov.b64 %d7, 0d3FF0000000000000; mov.b64 %d8, 0;\n{mma}"), 1, 32, 0);
    let r = roofline(&p, &Gpu::RTX_4090, None);
    assert!(r.assumptions.iter().any(|a| a.contains("no tensor-core peak is known for f64")), "{r}");
}

#[test]
fn asynchronous_copies() {
    // One thread fetches 2000 bytes, from the middle of a sector on, and stores 512 of them.
    let p = profile(
        ".shared .align 8 .b8 m[8]; mov.u32 %r5, s; mov.u32 %r6, m; add.s64 %d2, %d0, 16;\n\
         mbarrier.init.shared.b64 [%r6], 1; mbarrier.arrive.expect_tx.shared.b64 _, [%r6], 2000;\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r5], [%d2], 2000, [%r6];\nagain:\n\
         mbarrier.try_wait.parity.shared.b64 %p1, [%r6], 0;\n@!%p1 bra again;\n\
         cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r5], 512;\n\
         cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;",
        1,
        1,
        0,
    );
    let (loads, stores) = (p.global.loads, p.global.stores);
    assert_eq!((loads.requests, loads.bytes, loads.sectors, loads.ideal_sectors), (1, 2000, 63, 63));
    assert_eq!((stores.requests, stores.sectors, p.global.footprint), (1, 16, 32 * 79));
    assert_eq!((p.shared.stores.wavefronts, p.shared.loads.wavefronts), (16, 4));
    assert_eq!(p.lines.iter().find(|l| l.line == 11).unwrap().global.sectors, 63);
    // 16 bytes for each lane of two warps, all in one column of 128 bytes.
    let p = profile(
        "mul.wide.u32 %d2, %r4, 16; add.s64 %d3, %d0, %d2; shl.b32 %r6, %r4, 7; mov.u32 %r5, s; add.u32 %r5, %r5, %r6;\n\
         cp.async.cg.shared.global [%r5], [%d3], 16;\ncp.async.wait_all;",
        1,
        64,
        0,
    );
    assert_eq!((p.global.loads.requests, p.global.loads.sectors_per_request()), (2, 16.0));
    assert_eq!((p.shared.stores.requests, p.shared.stores.wavefronts_per_request()), (2, 32.0));
}

fn corpus() -> Module {
    Module::parse(include_str!("ptx/corpus_sm_80.ptx")).unwrap()
}

#[test]
fn a_gemm_adds_up() {
    let (n, tile) = (64u32, 16u32);
    let mut sim = Sim::builder().profile(true).seed(3).build();
    let bytes = 4 * (n * n) as usize;
    let buffers = [(); 3].map(|()| sim.alloc(bytes));
    for b in &buffers[..2] {
        sim.fill(*b, 0x3c, bytes).unwrap();
    }
    let config = LaunchConfig::new([n / tile, n / tile, 1], [tile, tile, 1]);
    let args: Vec<Arg> =
        [n, n, n].map(Arg::U32).into_iter().chain(buffers.iter().map(|&b| Arg::U64(b))).collect();
    let p = *sim.launch(&corpus(), "gemm_tiled", &config, &args).unwrap().profile.unwrap();
    assert_eq!(p.flops.single, 2 * (n as u64).pow(3));
    assert_eq!((p.global.footprint_loads, p.global.footprint_stores), (2 * bytes as u64, bytes as u64));
    // Each element of A and B is loaded by n / tile blocks, in rows of 16 floats: whole sectors.
    assert_eq!(p.global.loads.bytes, 2 * bytes as u64 * (n / tile) as u64);
    assert_eq!(p.global.loads.moved(), p.global.loads.bytes);
    assert_eq!((p.kernel.as_str(), p.blocks(), p.threads()), ("gemm_tiled", 16, 256));
    let text = p.to_string();
    for part in ["profile of `gemm_tiled`", "sectors each", "wavefronts each", "524,288 f32", "hottest lines"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.lines().skip_while(|l| !l.starts_with("hottest lines")).count(), 17);
    let sources = p.hottest_sources(3);
    // The innermost loop: two loads and a multiply-add for each of 16 x 16 x 64 x 64 x 64 / 32 steps.
    assert!(sources[0].0.ends_with("lib.rs") && sources[0].3 >= 64 * 64 * 64 / 32 * 3, "{sources:?}");
}

#[test]
fn rooflines_of_counted_kernels() {
    // A copy of 2 x 32 KiB: on an H100 the launch itself takes longer; its memory bound is bytes over bandwidth.
    let p = profile(&copy(4, 1), 32, 256, 0);
    for gpu in Gpu::ALL {
        let r = roofline(&p, &gpu, Some(16));
        let memory = r.bounds.iter().find(|b| b.name == "device memory").unwrap();
        assert_eq!((r.bytes, r.operations), (65536, 0));
        assert!((memory.microseconds - 65536.0 / gpu.memory_gb_s / 1e3).abs() < 1e-9);
        assert_eq!((r.bound(), r.microseconds()), ("launch", LAUNCH_FLOOR_US));
        let text = r.to_string();
        assert!(text.contains(gpu.source) && text.contains("assuming that"), "{text}");
        assert!(r.assumptions.len() >= 7 && r.bounds.is_sorted_by(|a, b| a.microseconds >= b.microseconds));
    }
    // One block of long arithmetic: the busiest SM does all of it. 20000 x 4 fma of 8 warps at 128 lanes a clock.
    let body = "mov.u32 %r5, 0;\nloop:\n\
        fma.rn.f32 %r6, %r6, %r6, %r6; fma.rn.f32 %r7, %r7, %r7, %r7; fma.rn.f32 %r8, %r8, %r8, %r8; \
        fma.rn.f32 %r9, %r9, %r9, %r9;\nadd.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, %r0;\n@%p1 bra loop;";
    let body =
        format!("mov.b32 %r6, 0f3F000000; mov.b32 %r7, %r6; mov.b32 %r8, %r6; mov.b32 %r9, %r6;\n{body}");
    let p = profile(&body, 1, 256, 5000);
    let r = roofline(&p, &Gpu::H100, None);
    let f32s = r.bounds.iter().find(|b| b.name == "f32 arithmetic").unwrap();
    assert_eq!(p.flops.single, 2 * 4 * 5000 * 256);
    assert!((f32s.microseconds - 4.0 * 5000.0 * 256.0 / 128.0 / 1980.0).abs() < 1e-6);
    assert_eq!(r.bound(), "instruction issue", "{r}");
    assert!(r.assumptions.iter().any(|a| a.contains("registers are not known")));
    let all = roofline(&profile(&body, 132, 256, 50), &Gpu::H100, Some(32));
    let one = roofline(&profile(&body, 1, 256, 50), &Gpu::H100, Some(32));
    let issue = |r: &ptx_sim::profile::Roofline| {
        r.bounds.iter().find(|b| b.name == "instruction issue").unwrap().microseconds
    };
    assert!((issue(&all) - issue(&one)).abs() < 1e-9, "132 blocks run side by side");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Profiling changes no count and no result, and its own numbers agree with a model of random gathers.
    #[test]
    fn random_gathers(stride in 0u32..40, offset in 0u32..64, threads in 1u32..130, blocks in 1u32..5) {
        let body = format!(
            "mul.lo.u32 %r5, %r1, {stride}; add.u32 %r5, %r5, {offset}; and.b32 %r5, %r5, 16383; \
             mul.wide.u32 %d2, %r5, 4; add.s64 %d3, %d0, %d2;\nld.global.b32 %r6, [%d3];\n\
             mul.wide.u32 %d4, %r1, 4; add.s64 %d5, %d1, %d4; st.global.b32 [%d5], %r6;"
        );
        let module = kernel(&body);
        let mut with = launch(&module, blocks, threads, 0, true);
        let profile = *with.profile.take().unwrap();
        prop_assert_eq!(&with, &launch(&module, blocks, threads, 0, false));
        prop_assert_eq!(with.sectors, profile.global.total().sectors);
        let (mut sectors, mut all) = (0, std::collections::BTreeSet::new());
        for block in 0..blocks {
            for warp in 0..threads.div_ceil(32) {
                let lanes = 32 * warp..threads.min(32 * warp + 32);
                let here: std::collections::BTreeSet<u32> = lanes
                    .map(|t| ((block * threads + t) * stride + offset) % 16384 / 8)
                    .collect();
                sectors += here.len() as u64;
                all.extend(here);
            }
        }
        prop_assert_eq!(profile.global.loads.sectors, sectors);
        prop_assert_eq!(profile.global.footprint_loads, 32 * all.len() as u64);
    }
}
