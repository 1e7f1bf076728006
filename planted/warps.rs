//! Warp-level instructions: shuffles, votes, reductions, and their member masks.

use super::harness::{Bug, Case, Failure, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind};

static SOFTMAX: Kernel = Kernel { name: "softmax", ptx: include_str!("ptx/softmax.ptx"), run: softmax };

fn softmax(c: &mut Case<'_>) -> Outcome {
    let (rows, cols) = (5, c.between(35, 63) as usize);
    let x: Vec<f32> = (0..rows * cols)
        .map(|i| if i < cols { f32::MIN } else { c.between(0, 4000) as f32 / 500.0 })
        .collect();
    let (px, py) = (c.upload_floats(&x), c.output(rows * cols));
    c.launch(3, 64, &[Arg::U64(px), Arg::U64(py), Arg::U32(rows as u32), Arg::U32(cols as u32)])?;
    let mut want = Vec::new();
    for row in x.chunks_exact(cols) {
        let max = row.iter().fold(f32::MIN, |m, v| m.max(*v));
        let sum: f64 = row.iter().map(|v| f64::from(v - max).exp()).sum();
        let part = |v: &f32| if max == f32::MIN { 0.0 } else { (f64::from(v - max).exp() / sum) as f32 };
        want.extend(row.iter().map(part));
    }
    // Sums of up to 63 terms and an approximate exponential with 2^-22.5 relative error.
    c.expect_floats(py, &want, 64.0 * f32::EPSILON)
}

static COMPACT: Kernel = Kernel { name: "compact", ptx: include_str!("ptx/compact.ptx"), run: compact };

fn compact(c: &mut Case<'_>) -> Outcome {
    let n = 32 * c.between(4, 8) as usize + c.between(1, 31) as usize;
    let data = c.words(n);
    let mut want: Vec<u32> = data.iter().copied().filter(|v| v % 2 == 1).collect();
    let (input, out, count) = (c.upload(&data), c.output(want.len()), c.upload(&[0]));
    c.launch(4, 96, &[Arg::U64(input), Arg::U64(out), Arg::U64(count), Arg::U32(n as u32)])?;
    c.expect(count, &[want.len() as u32])?;
    let mut have = c.download(out, want.len())?;
    have.sort_unstable();
    want.sort_unstable();
    if have == want { Ok(()) } else { Err(Failure::Wrong("other words are kept".into())) }
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "shuffle mask without the last lane",
        kernel: &SOFTMAX,
        from: "16, 31, 0xffffffff; // maximum of halves",
        to: "16, 31, 0x7fffffff;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["shfl.sync.bfly.b32 %w, %max, 16, 31, 0x7fffffff;"],
    },
    Bug {
        name: "shuffle inside the loop over columns",
        kernel: &SOFTMAX,
        from: "max.f32 %max, %max, %v;",
        to: "max.f32 %max, %max, %v;\n  shfl.sync.bfly.b32 %max, %max, 1, 31, 0xffffffff; // in the loop",
        expect: &[ErrorKind::DivergentCollective],
        at: &["shfl.sync"],
    },
    Bug {
        name: "shuffle of the lower half names all lanes",
        kernel: &SOFTMAX,
        from: "shfl.sync.idx.b32 %sum, %sum, 0, 31, 0xffffffff; // broadcast",
        to: "setp.gt.u32 %idle, %lane, 15;\n  @%idle ret;\n  shfl.sync.idx.b32 %sum, %sum, 0, 31, 0xffffffff; // half",
        expect: &[ErrorKind::DivergentCollective],
        at: &["// half"],
    },
    Bug {
        name: "shuffle reads a lane that takes no part",
        kernel: &SOFTMAX,
        from: "shfl.sync.idx.b32 %sum, %sum, 0, 31, 0xffffffff; // broadcast",
        to: "setp.lt.u32 %idle, %lane, 4;\n  @!%idle shfl.sync.idx.b32 %sum, %sum, 0, 31, 0xfffffff0;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["0xfffffff0"],
    },
    Bug {
        name: "mask from before some lanes left",
        kernel: &COMPACT,
        from: "%kept, %keep, %here; // who keeps",
        to: "%kept, %keep, 0xffffffff;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["vote.sync.ballot.b32 %kept"],
    },
    Bug {
        name: "mask of those who keep, executed by all",
        kernel: &COMPACT,
        from: "%leader, 31, %here;",
        to: "%leader, 31, %kept;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["shfl.sync.idx.b32"],
    },
    Bug {
        name: "broadcast from a lane outside",
        kernel: &COMPACT,
        from: "shfl.sync.idx.b32 %base, %base, %leader, 31, %here;",
        to: "shfl.sync.idx.b32 %base, %base, 31, 31, %here;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["shfl.sync.idx.b32"],
    },
    Bug {
        name: "vote in a branch",
        kernel: &COMPACT,
        from: "shfl.sync.idx.b32 %base, %base, %leader, 31, %here;",
        to: "@%keep shfl.sync.idx.b32 %base, %base, %leader, 31, %here;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["shfl.sync.idx.b32"],
    },
    Bug {
        name: "lanes outside leave before the first vote",
        kernel: &COMPACT,
        from: "  vote.sync.ballot.b32 %here, %inside, 0xffffffff; // who is inside\n  @!%inside ret;\n",
        to: "  @!%inside ret;\n  vote.sync.ballot.b32 %here, %inside, 0xffffffff; // who is inside\n",
        expect: &[ErrorKind::DivergentCollective],
        at: &["// who is inside"],
    },
    Bug {
        name: "base known to the leader only",
        kernel: &COMPACT,
        from: "  mov.u32 %base, 0;\n",
        to: "",
        expect: &[ErrorKind::UninitialisedRegister],
        at: &["shfl.sync.idx.b32 %base"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
