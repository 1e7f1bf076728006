//! wgmma: fences, groups, operands and accumulators in flight.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use half::f16;
use ptx_sim::{Arg, ErrorKind};

static WGMMA: Kernel = Kernel { name: "wgmma", ptx: include_str!("ptx/wgmma.ptx"), run: |c| wgmma(c, 3) };
/// Without a second step, so that nothing overwrites the operands.
static WGMMA_ONCE: Kernel =
    Kernel { name: "wgmma", ptx: include_str!("ptx/wgmma.ptx"), run: |c| wgmma(c, 1) };

fn wgmma(c: &mut Case<'_>, steps: usize) -> Outcome {
    let k = 32 * steps;
    let (a, b) = (c.whole(64 * k), c.whole(8 * k));
    // Rows of 64 (A) or 8 (B^T) as core matrices: for each depth of 16, for each eight rows, two pieces of eight rows of eight.
    let pack = |m: &[f32], rows: usize| {
        let mut bytes = Vec::new();
        for half_step in 0..2 * steps {
            for (group, piece) in (0..rows / 8).flat_map(|g| [(g, 0), (g, 1)]) {
                for (r, e) in (0..8).flat_map(|r| (0..8).map(move |e| (r, e))) {
                    let at = (8 * group + r) * k + 16 * half_step + 8 * piece + e;
                    bytes.extend(f16::from_f32(m[at]).to_le_bytes());
                }
            }
        }
        bytes
    };
    let (pa, pb, pc) = (c.upload_bytes(&pack(&a, 64)), c.upload_bytes(&pack(&b, 8)), c.output(512));
    c.launch(1, 128, &[Arg::U64(pa), Arg::U64(pb), Arg::U64(pc), Arg::U32(steps as u32)])?;
    let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f32>();
    c.expect_floats(pc, &(0..512).map(|i| dot(i / 8, i % 8)).collect::<Vec<_>>(), 0.0)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "wgmma without its fence",
        kernel: &WGMMA,
        from: "  wgmma.fence.sync.aligned;\n",
        to: "",
        expect: &[ErrorKind::WgmmaMissingFence],
        at: &["wgmma.mma_async"],
    },
    Bug {
        name: "accumulator set between the fence and the wgmma",
        kernel: &WGMMA,
        from: "  wgmma.fence.sync.aligned;\n",
        to: "  wgmma.fence.sync.aligned;\n  add.f32 %c1, %c1, %c1;\n",
        expect: &[ErrorKind::WgmmaMissingFence],
        at: &["wgmma.mma_async"],
    },
    Bug {
        name: "operands overwritten before the wait",
        kernel: &WGMMA,
        from: "wgmma.wait_group.sync.aligned 0; // both",
        to: "wgmma.wait_group.sync.aligned 1; // all but the last",
        expect: &[ErrorKind::WgmmaOperandOverwritten],
        at: &["st.shared.v4.b32", "wgmma.mma_async", "// all but the last"],
    },
    Bug {
        name: "wait that leaves the last group in flight",
        kernel: &WGMMA_ONCE,
        from: "wgmma.wait_group.sync.aligned 0; // both",
        to: "wgmma.wait_group.sync.aligned 1;",
        expect: &[ErrorKind::WgmmaRegisterInFlight],
        at: &["st.global.v2.f32 [%c], {%c0, %c1}; // upper rows"],
    },
    Bug {
        name: "accumulators stored without a wait",
        kernel: &WGMMA_ONCE,
        from: "  wgmma.wait_group.sync.aligned 0; // both\n",
        to: "",
        expect: &[ErrorKind::WgmmaRegisterInFlight],
        at: &["st.global.v2.f32 [%c], {%c0, %c1}; // upper rows"],
    },
    Bug {
        name: "second group never committed",
        kernel: &WGMMA_ONCE,
        from: "  wgmma.commit_group.sync.aligned; // high half\n",
        to: "",
        expect: &[ErrorKind::WgmmaRegisterInFlight],
        at: &["st.global.v2.f32 [%c], {%c0, %c1}; // upper rows"],
    },
    Bug {
        name: "accumulator scaled while in flight",
        kernel: &WGMMA,
        from: "  wgmma.commit_group.sync.aligned; // high half\n",
        to: "  wgmma.commit_group.sync.aligned; // high half\n  mul.f32 %c0, %c0, 0f40000000;\n",
        expect: &[ErrorKind::WgmmaRegisterInFlight],
        at: &["mul.f32 %c0"],
    },
    Bug {
        name: "result never waited for nor used",
        kernel: &WGMMA_ONCE,
        from: "  wgmma.wait_group.sync.aligned 0; // both\n",
        to: "  ret;\n",
        expect: &[ErrorKind::WgmmaNeverWaited],
        at: &["wgmma.mma_async", "ret;"],
    },
    Bug {
        name: "tiles stored without a fence for wgmma",
        kernel: &WGMMA,
        from: "  fence.proxy.async.shared::cta; // tiles for wgmma\n",
        to: "",
        expect: &[ErrorKind::MissingProxyFence],
        at: &["wgmma.mma_async"],
    },
    Bug {
        name: "wgmma before all warps have stored",
        kernel: &WGMMA,
        from: "  bar.sync 0; // tiles loaded\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["wgmma", "st.shared.v4.b32"],
    },
    Bug {
        name: "one warp of the group skips a wgmma",
        kernel: &WGMMA,
        from: "  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%c0, %c1, %c2, %c3}, %next_a",
        to: "  @%low bra HIGH;\n  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%c0, %c1, %c2, %c3}, %next_a",
        expect: &[ErrorKind::WgmmaMismatch],
        at: &["wgmma"],
    },
    Bug {
        name: "wgmma by half of each warp",
        kernel: &WGMMA,
        from: "  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%c0, %c1, %c2, %c3}, %desc_a",
        to: "  and.b32 %lane, %t, 16;\n  setp.eq.u32 %more, %lane, 0;\n  @%more wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%c0, %c1, %c2, %c3}, %desc_a",
        expect: &[ErrorKind::DivergentCollective],
        at: &["@%more wgmma.mma_async"],
    },
    Bug {
        name: "descriptor of each warp's own part",
        kernel: &WGMMA,
        from: "cvt.u64.u32 %desc_a, %base_a;",
        to: "cvt.u64.u32 %desc_a, %sa;",
        expect: &[ErrorKind::WgmmaMismatch],
        at: &["wgmma.mma_async"],
    },
    Bug {
        name: "descriptor past the tile",
        kernel: &WGMMA,
        from: "add.u64 %next_a, %desc_a, 128;",
        to: "add.u64 %next_a, %desc_a, 256;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["wgmma.mma_async"],
    },
    Bug {
        name: "second half of the tile never stored",
        kernel: &WGMMA,
        from: "  st.shared.v4.b32 [%sa+2048], {%a0, %a1, %a2, %a3}; // second half of A\n",
        to: "",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["wgmma.mma_async"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
