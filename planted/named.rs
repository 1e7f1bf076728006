//! Named barriers: a producer and a consumer, and barriers that reduce.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind};

static QUEUE: Kernel = Kernel { name: "queue", ptx: include_str!("ptx/queue.ptx"), run: queue };

fn queue(c: &mut Case<'_>) -> Outcome {
    let rows = c.between(5, 9);
    let data = c.words(32 * rows as usize);
    let (input, out) = (c.upload(&data), c.output(data.len()));
    c.launch(1, 64, &[Arg::U64(input), Arg::U64(out), Arg::U32(rows)])?;
    c.expect(out, &data.iter().map(|v| v.wrapping_mul(3)).collect::<Vec<_>>())
}

static VOTES: Kernel = Kernel { name: "votes", ptx: include_str!("ptx/votes.ptx"), run: votes };

fn votes(c: &mut Case<'_>) -> Outcome {
    let data: Vec<u32> = (0..128).map(|_| c.between(0, 100)).collect();
    let limit = c.between(90, 110);
    let (input, out) = (c.upload(&data), c.output(512));
    c.launch(1, 128, &[Arg::U64(input), Arg::U64(out), Arg::U32(limit)])?;
    let below: Vec<bool> = data.iter().map(|v| *v < limit).collect();
    let count = |b: &[bool]| b.iter().filter(|b| **b).count() as u32;
    let want: Vec<u32> = (0..128)
        .flat_map(|t| {
            let warp = &below[t / 32 * 32..][..32];
            let same = (0..32).filter(|l| warp[*l] == below[t]).fold(0, |m, l| m | 1 << l);
            [(count(&below) == 128) as u32, count(&below), count(warp), same]
        })
        .collect();
    c.expect(out, &want)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "producer and consumer disagree on the threads",
        kernel: &QUEUE,
        from: "bar.sync %full, %both; // take",
        to: "bar.sync %full, 96; // take",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.sync %full, 96;", "bar.arrive %full, %both;"],
    },
    Bug {
        name: "barriers for more threads than there are",
        kernel: &QUEUE,
        from: "mov.u32 %both, 64;",
        to: "mov.u32 %both, 96;",
        expect: &[ErrorKind::Deadlock],
        at: &["bar.sync %full, %both; // take", "bar.sync %empty, %both; // wait"],
    },
    Bug {
        name: "thread count that is no multiple of the warp",
        kernel: &QUEUE,
        from: "mov.u32 %both, 64;",
        to: "mov.u32 %both, 48;",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar."],
    },
    Bug {
        name: "barrier number that does not exist",
        kernel: &QUEUE,
        from: "add.u32 %empty, %slot, 3; // to give back",
        to: "add.u32 %empty, %slot, 16;",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.arrive %empty"],
    },
    Bug {
        name: "slots never given back",
        kernel: &QUEUE,
        from: "  @%again bar.arrive %empty, %both; // give back\n",
        to: "",
        expect: &[ErrorKind::Deadlock],
        at: &["bar.sync"],
    },
    Bug {
        name: "only one slot given away at first",
        kernel: &QUEUE,
        from: "  bar.arrive 4, %both; // empty at first\n",
        to: "",
        expect: &[ErrorKind::Deadlock],
        at: &["bar.sync"],
    },
    Bug {
        name: "row filled and never announced",
        kernel: &QUEUE,
        from: "  bar.arrive %full, %both; // filled\n",
        to: "",
        expect: &[ErrorKind::Deadlock],
        at: &["bar.sync"],
    },
    Bug {
        name: "full and empty exchanged by the producer",
        kernel: &QUEUE,
        from: "bar.sync %empty, %both; // wait for the slot",
        to: "bar.sync %full, %both;",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%s], %v;", "ld.shared.u32 %v, [%s];"],
    },
    Bug {
        name: "producer that never waits laps the consumer",
        kernel: &QUEUE,
        from: "bar.sync %empty, %both; // wait for the slot",
        to: "bar.arrive %empty, %both;",
        expect: &[ErrorKind::Deadlock],
        at: &["bar.sync %full, %both; // take"],
    },
    Bug {
        name: "half of the block votes at another barrier",
        kernel: &VOTES,
        from: "bar.red.popc.u32 %count, 0, %below;",
        to: "shr.u32 %count, %t, 6;\n  bar.red.popc.u32 %count, %count, %below;",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.red"],
    },
    Bug {
        name: "vote of some lanes only",
        kernel: &VOTES,
        from: "bar.red.and.pred %all, 0, %below;",
        to: "setp.ne.u32 %all, %same, 0;\n  setp.lt.u32 %upper, %t, 48;\n  @%upper bar.red.and.pred %all, 0, %below;",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.red.and.pred"],
    },
    Bug {
        name: "upper warps skip a barrier",
        kernel: &VOTES,
        from: "bar.red.and.pred %all, 0, %below;",
        to: "setp.ge.u32 %upper, %t, 96;\n  setp.ne.u32 %all, %t, 0;\n  @!%upper bar.red.and.pred %all, 0, %below;",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.red.and.pred"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
