//! Tensor cores in step with the warp: ldmatrix and mma.sync.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use half::f16;
use ptx_sim::{Arg, ErrorKind};

static MMA: Kernel = Kernel { name: "mma", ptx: include_str!("ptx/mma.ptx"), run: mma };

fn mma(c: &mut Case<'_>) -> Outcome {
    let k = 16 * c.between(2, 4) as usize;
    let (a, b) = (c.whole(16 * k), c.whole(16 * k));
    let bytes = |m: &[f32]| m.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>();
    let (pa, pb, pc) = (c.upload_bytes(&bytes(&a)), c.upload_bytes(&bytes(&b)), c.output(256));
    c.launch(1, 64, &[Arg::U64(pa), Arg::U64(pb), Arg::U64(pc), Arg::U32(k as u32)])?;
    let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f32>();
    c.expect_floats(pc, &(0..256).map(|i| dot(i / 16, i % 16)).collect::<Vec<_>>(), 0.0)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "ldmatrix before the tiles are loaded",
        kernel: &MMA,
        from: "  bar.sync 0; // tiles loaded\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ldmatrix", "st.shared.b64"],
    },
    Bug {
        name: "tiles of ldmatrix overwritten by faster warps",
        kernel: &MMA,
        from: "  bar.sync 0; // tiles used\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ldmatrix", "st.shared.b64"],
    },
    Bug {
        name: "ldmatrix by the lanes whose addresses count",
        kernel: &MMA,
        from: "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%b0, %b1}, [%rb];",
        to: "mov.u32 %b0, 0;\n  mov.u32 %b1, 0;\n  setp.lt.u32 %low, %lane, 16;\n  @%low ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%b0, %b1}, [%rb];",
        expect: &[ErrorKind::DivergentCollective],
        at: &["@%low ldmatrix"],
    },
    Bug {
        name: "mma by half of the warp",
        kernel: &MMA,
        from: "  mma.sync.aligned",
        to: "  setp.lt.u32 %low, %lane, 16;\n  @%low mma.sync.aligned",
        expect: &[ErrorKind::DivergentCollective],
        at: &["@%low mma.sync"],
    },
    Bug {
        name: "matrix rows at multiples of eight bytes",
        kernel: &MMA,
        from: "mad.lo.u32 %ra, %half, 16, %ra;",
        to: "mad.lo.u32 %ra, %half, 8, %ra;",
        expect: &[ErrorKind::Misaligned],
        at: &["ldmatrix.sync.aligned.m8n8.x4"],
    },
    Bug {
        name: "matrix rows of all lanes instead of sixteen",
        kernel: &MMA,
        from: "and.b32 %row, %lane, 15;",
        to: "mov.b32 %row, %lane;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ldmatrix.sync.aligned.m8n8.x4"],
    },
    Bug {
        name: "matrix loaded in part",
        kernel: &MMA,
        from: "st.shared.b64 [%sa], %va;",
        to: "st.shared.b32 [%sa], %kk;",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["ldmatrix.sync.aligned.m8n8.x4"],
    },
    Bug {
        name: "accumulator not initialised",
        kernel: &MMA,
        from: "  mov.f32 %c3, 0f00000000;\n",
        to: "",
        expect: &[ErrorKind::UninitialisedRegister],
        at: &["mma.sync.aligned"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
