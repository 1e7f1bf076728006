//! Clusters: distributed shared memory and the cluster barrier.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind, LaunchConfig};

static SHIFT: Kernel = Kernel { name: "shift", ptx: include_str!("ptx/shift.ptx"), run: shift };

fn shift(c: &mut Case<'_>) -> Outcome {
    let (clusters, size) = (2, c.between(2, 6) as usize);
    let part = 64 * size;
    let data = c.words(clusters * part);
    let (input, out) = (c.upload(&data), c.output(data.len()));
    let config = LaunchConfig::new([(clusters * size) as u32, 1, 1], [64, 1, 1]).cluster([size as u32, 1, 1]);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(out)])?;
    let value =
        |i: usize| data[i / part * part + (i % part + part - 1) % part].wrapping_add((i % part / 64) as u32);
    c.expect(out, &(0..data.len()).map(value).collect::<Vec<_>>())
}

static TALLY: Kernel = Kernel { name: "tally", ptx: include_str!("ptx/tally.ptx"), run: tally };

fn tally(c: &mut Case<'_>) -> Outcome {
    let (clusters, size) = (2, c.between(2, 5) as usize);
    let data = c.words(256 * clusters * size);
    let (input, counts) = (c.upload(&data), c.output(64 * clusters));
    let config = LaunchConfig::new([(clusters * size) as u32, 1, 1], [64, 1, 1]).cluster([size as u32, 1, 1]);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(counts)])?;
    let mut want = vec![0; 64 * clusters];
    data.iter().enumerate().for_each(|(i, v)| want[i / (256 * size) * 64 + (v & 63) as usize] += 1);
    c.expect(counts, &want)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "neighbour's rank without the wrap",
        kernel: &SHIFT,
        from: "  rem.u32 %left, %left, %size;\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.shared::cluster.u32 %v, [%far+252];"],
    },
    Bug {
        name: "word past the neighbour's variable",
        kernel: &SHIFT,
        from: "[%far+252]",
        to: "[%far+256]",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.shared::cluster.u32 %v, [%far+256];"],
    },
    Bug {
        name: "block exits while its neighbour still reads",
        kernel: &SHIFT,
        from: "  barrier.cluster.arrive.release.aligned; // read\n  barrier.cluster.wait.acquire.aligned; // all have read\n",
        to: "",
        expect: &[ErrorKind::ClusterExited],
        at: &["ld.shared::cluster.u32 %v, [%far+252];"],
    },
    Bug {
        name: "wait without an arrival",
        kernel: &SHIFT,
        from: "  barrier.cluster.arrive.release.aligned; // stored\n",
        to: "",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["barrier.cluster.wait.acquire.aligned; // all have stored"],
    },
    Bug {
        name: "second arrival without a wait",
        kernel: &SHIFT,
        from: "barrier.cluster.wait.acquire.aligned; // all have stored",
        to: "barrier.cluster.arrive.release.aligned; // twice",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["// twice"],
    },
    Bug {
        name: "aligned cluster barrier by one lane",
        kernel: &SHIFT,
        from: "barrier.cluster.arrive.release.aligned; // read",
        to: "@%edge barrier.cluster.arrive.release.aligned; // edge",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["// edge", "wait.acquire.aligned; // all have read"],
    },
    Bug {
        name: "one block does not arrive",
        kernel: &TALLY,
        from: "barrier.cluster.arrive.release.aligned; // counted",
        to: "@%first bra DONE;\n  barrier.cluster.arrive.release.aligned; // counted\nDONE:",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["barrier.cluster.wait.acquire.aligned; // all have counted"],
    },
    Bug {
        name: "every block counts in the second one",
        kernel: &TALLY,
        from: "mov.u32 %k, 0;",
        to: "mov.u32 %k, 1;",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["atom.relaxed.cluster.shared::cluster.add.u32 %old, [%v], 1; // first"],
    },
    Bug {
        name: "remote atomic at an odd address",
        kernel: &TALLY,
        from: "[%v], 1; // last",
        to: "[%v+1], 1; // last",
        expect: &[ErrorKind::Misaligned],
        at: &["// last"],
    },
    Bug {
        name: "first block leaves before the others have counted",
        kernel: &TALLY,
        from: "barrier.cluster.arrive.release.aligned; // counted",
        to: "@%first ret;\n  barrier.cluster.arrive.release.aligned; // counted",
        expect: &[ErrorKind::ClusterExited],
        at: &["atom.relaxed.cluster.shared::cluster.add.u32"],
    },
    Bug {
        name: "neighbour's word read before it is stored",
        kernel: &SHIFT,
        from: "  barrier.cluster.arrive.release.aligned; // stored\n  barrier.cluster.wait.acquire.aligned; // all have stored\n",
        to: "  bar.sync 0;\n",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%s], %v; // mine", "ld.shared::cluster.u32 %v, [%far+252];"],
    },
    Bug {
        name: "cluster barrier that releases nothing",
        kernel: &SHIFT,
        from: "barrier.cluster.arrive.release.aligned; // stored",
        to: "barrier.cluster.arrive.relaxed.aligned; // stored",
        expect: &[ErrorKind::SharedRace],
        at: &[
            "@!%edge ld.shared.u32 %v",
            "st.shared.u32 [%s], %v; // mine",
            "ld.shared::cluster.u32 %v, [%far+252];",
        ],
    },
    Bug {
        name: "bins counted while they are cleared",
        kernel: &TALLY,
        from: "  barrier.cluster.arrive.release.aligned; // cleared\n  barrier.cluster.wait.acquire.aligned;\n",
        to: "  bar.sync 0;\n",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%s], 0; // clear", "atom.relaxed.cluster.shared::cluster.add.u32"],
    },
    Bug {
        name: "remote atomics of the scope of a block",
        kernel: &TALLY,
        from: "atom.relaxed.cluster.shared::cluster.add.u32 %old, [%v], 1; // last",
        to: "atom.relaxed.cta.shared::cluster.add.u32 %old, [%v], 1; // last",
        expect: &[ErrorKind::SharedRace],
        at: &["atom.relaxed"],
    },
    Bug {
        name: "bins read while peers still count",
        kernel: &TALLY,
        from: "  barrier.cluster.arrive.release.aligned; // counted\n  barrier.cluster.wait.acquire.aligned; // all have counted\n",
        to: "  bar.sync 0;\n",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%s];", "atom.relaxed.cluster.shared::cluster.add.u32"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
