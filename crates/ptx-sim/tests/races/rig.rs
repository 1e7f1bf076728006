//! A kernel around a body, run on random data under many seeds.

use ptx_sim::{Arg, Checks, ErrorKind, LaunchConfig, Module, Sim, SimError};

/// Grid, block and cluster in x.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub blocks: u32,
    pub threads: u32,
    pub cluster: u32,
}

/// A launch of so many blocks of so many threads.
pub const fn shape(blocks: u32, threads: u32) -> Shape {
    Shape { blocks, threads, cluster: 1 }
}

/// Step of SplitMix64.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A kernel with `%r1` the thread, `%r2` the block, `%r3` the lane, `%r4` the warp, `%r0` the thread in the grid, `%d0` a buffer of 4096
/// bytes of which the last 2048 are zero, `%r5` and `%d1` where thread `%r1` and `%r0` have a word of their own in shared
/// array `a` and in the buffer.
pub fn kernel(body: &str) -> Module {
    let ptx = format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n\
         .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<40>; .reg .b64 %d<40>; .shared .align 16 .b8 a[1024];\n\
         ld.param.u64 %d0, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r6, %ntid.x; mad.lo.u32 %r0, %r2, %r6, %r1;\n\
         mov.u32 %r3, %laneid; shr.u32 %r4, %r1, 5; mov.u32 %r5, a; shl.b32 %r7, %r1, 2; add.u32 %r5, %r5, %r7;\n\
         mul.wide.u32 %d1, %r0, 4; add.u64 %d1, %d0, %d1;\n\
         setp.eq.u32 %p1, %r2, 0; setp.eq.u32 %p2, %r1, 0; setp.eq.u32 %p3, %r0, 0;\n{body}\nret;\n}}\n"
    );
    Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

/// One launch on random data.
pub fn launch(module: &Module, s: Shape, seed: u64) -> Result<(), SimError> {
    // What a race leaves unwritten is read, too.
    let mut checks = Checks::all();
    checks.uninitialised_shared = false;
    let mut sim = Sim::builder().checks(checks).seed(seed).instruction_budget(4_000_000).build();
    let buffer = sim.alloc(4096);
    let mut state = seed;
    let data: Vec<u8> = (0..2048).map(|_| next(&mut state) as u8).collect();
    sim.write(buffer, &data)?;
    sim.fill(buffer + 2048, 0, 2048)?;
    let config = LaunchConfig::new([s.blocks, 1, 1], [s.threads, 1, 1]).cluster([s.cluster, 1, 1]);
    sim.launch(module, "k", &config, &[Arg::U64(buffer)])?;
    let touched = 4 * s.blocks as usize * s.threads as usize + 4096 + 1024 * s.blocks as usize;
    assert!(sim.shadow_bytes() <= 8 * touched + (3 << 20), "{} bytes of shadow", sim.shadow_bytes());
    Ok(())
}

/// Silent under 16 seeds.
pub fn clean(name: &str, body: &str, s: Shape) {
    let module = kernel(body);
    for seed in 0..16 {
        launch(&module, s, seed)
            .unwrap_or_else(|e| panic!("{name}, seed {seed}: false finding: {e}\n{body}"));
    }
}

/// Found under each of 16 seeds, as this kind.
pub fn racy(name: &str, body: &str, s: Shape, kind: ErrorKind) {
    let module = kernel(body);
    for seed in 0..16 {
        match launch(&module, s, seed) {
            Ok(()) => panic!("{name}, seed {seed}: not found\n{body}"),
            Err(e) => {
                assert_eq!(e.kind, kind, "{name}, seed {seed}: {e}\n{body}");
                assert!(e.report.other.is_some(), "{name}: {e}");
            }
        }
    }
}
