//! Global memory between blocks: last block, grid barrier, look-back, lock, histogram; fences, scopes and atomics.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind};

static LASTBLOCK: Kernel =
    Kernel { name: "lastblock", ptx: include_str!("ptx/lastblock.ptx"), run: lastblock };

fn lastblock(c: &mut Case<'_>) -> Outcome {
    let blocks = c.between(5, 12);
    let data = c.words(64 * blocks as usize);
    let (input, parts) = (c.upload(&data), c.output(blocks as usize));
    let (finished, total) = (c.upload(&[0]), c.output(1));
    c.launch(blocks, 64, &[Arg::U64(input), Arg::U64(parts), Arg::U64(finished), Arg::U64(total)])?;
    c.expect(finished, &[0])?;
    c.expect(total, &[data.iter().fold(0, |s, v| s.wrapping_add(*v))])
}

static GRIDSYNC: Kernel = Kernel { name: "gridsync", ptx: include_str!("ptx/gridsync.ptx"), run: gridsync };

fn gridsync(c: &mut Case<'_>) -> Outcome {
    // An even number: every block reads what another one has written.
    let blocks = 2 * c.between(1, 3);
    let data = c.words(64 * blocks as usize);
    // The row holds old values, so that a read that comes too early is no uninitialised one.
    let (input, row, out) = (c.upload(&data), c.upload(&data), c.output(data.len()));
    let arrived = c.upload(&[0]);
    c.launch(blocks, 64, &[Arg::U64(input), Arg::U64(row), Arg::U64(out), Arg::U64(arrived)])?;
    let want: Vec<u32> =
        data.iter().zip(data.iter().rev()).map(|(a, b)| a.wrapping_add(*b).wrapping_mul(2)).collect();
    c.expect(out, &want)
}

static LOOKBACK: Kernel = Kernel { name: "lookback", ptx: include_str!("ptx/lookback.ptx"), run: lookback };

fn lookback(c: &mut Case<'_>) -> Outcome {
    let blocks = c.between(4, 10) as usize;
    let data = c.words(32 * blocks);
    let (input, out) = (c.upload(&data), c.output(data.len()));
    let zero = vec![0; blocks];
    let [flags, sums, prefixes] = std::array::from_fn(|_| c.upload(&zero));
    let place = c.upload(&[0]);
    let args = [input, out, flags, sums, prefixes, place].map(Arg::U64);
    c.launch(blocks as u32, 32, &args)?;
    let mut sum = 0u32;
    let want: Vec<u32> = data
        .iter()
        .map(|v| {
            sum = sum.wrapping_add(*v);
            sum
        })
        .collect();
    c.expect(out, &want)
}

static ACCOUNT: Kernel = Kernel { name: "account", ptx: include_str!("ptx/account.ptx"), run: account };

fn account(c: &mut Case<'_>) -> Outcome {
    let blocks = c.between(5, 12) as usize;
    let data = c.words(blocks);
    let deposits = c.upload(&data);
    let [lock, balance, entries] = std::array::from_fn(|_| c.upload(&[0]));
    c.launch(blocks as u32, 32, &[deposits, lock, balance, entries].map(Arg::U64))?;
    c.expect(balance, &[data.iter().fold(0, |s, v| s.wrapping_add(*v))])?;
    c.expect(entries, &[blocks as u32])
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "part not fenced before the ticket",
        kernel: &LASTBLOCK,
        from: "  fence.acq_rel.gpu; // part before ticket\n",
        to: "",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %v, [%p]; // low parts", "st.global.u32 [%p], %v; // part"],
    },
    Bug {
        name: "fence of the block where the grid is meant",
        kernel: &LASTBLOCK,
        from: "fence.acq_rel.gpu; // part before ticket",
        to: "membar.cta; // part before ticket",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %v, [%p]; // low parts", "st.global.u32 [%p], %v; // part"],
    },
    Bug {
        name: "ticket drawn at the scope of the block",
        kernel: &LASTBLOCK,
        from: "atom.relaxed.gpu.global.inc",
        to: "atom.relaxed.cta.global.inc",
        expect: &[ErrorKind::GlobalRace],
        at: &["atom.relaxed.cta.global.inc"],
    },
    Bug {
        name: "flag of the last block read without a barrier",
        kernel: &LASTBLOCK,
        from: "  bar.sync 0; // flag\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %flag", "st.shared.u32 [is_last]"],
    },
    Bug {
        name: "every block adds the parts",
        kernel: &LASTBLOCK,
        from: "  @%last ret;\n",
        to: "",
        expect: &[ErrorKind::GlobalRace],
        at: &[
            "ld.global.u32 %v, [%p]; // low parts",
            "st.global.u32 [%p], %v; // part",
            "st.global.u32 [%total]",
        ],
    },
    Bug {
        name: "grid barrier forgotten",
        kernel: &GRIDSYNC,
        from: "  @%first bra MEET;\n",
        to: "  bra MEET;\n",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %w, [%p]; // mirror", "st.global.u32 [%p], %v; // row"],
    },
    Bug {
        name: "grid barrier left one block early",
        kernel: &GRIDSYNC,
        from: "setp.lt.u32 %wait, %seen, %blocks;",
        to: "sub.u32 %n, %blocks, 1;\n  setp.lt.u32 %wait, %seen, %n;",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %w, [%p]; // mirror", "st.global.u32 [%p], %v; // row"],
    },
    Bug {
        name: "arrival that releases nothing",
        kernel: &GRIDSYNC,
        from: "red.release.gpu",
        to: "red.relaxed.gpu",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %w, [%p]; // mirror", "st.global.u32 [%p], %v; // row"],
    },
    Bug {
        name: "spinning load that is not even volatile",
        kernel: &GRIDSYNC,
        from: "ld.acquire.gpu.global.u32 %seen",
        to: "ld.global.u32 %seen",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %seen", "red.release.gpu"],
    },
    Bug {
        name: "acquire at the scope of the block",
        kernel: &GRIDSYNC,
        from: "ld.acquire.gpu.global.u32 %seen",
        to: "ld.acquire.cta.global.u32 %seen",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.acquire.cta.global.u32 %seen", "red.release.gpu"],
    },
    Bug {
        name: "arrival announced before the block is complete",
        kernel: &GRIDSYNC,
        from: "  bar.sync 0; // block complete\n",
        to: "",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %w, [%p]; // mirror", "st.global.u32 [%p], %v; // row"],
    },
    Bug {
        name: "others do not wait for the thread that spins",
        kernel: &GRIDSYNC,
        from: "  bar.sync 0; // grid complete\n",
        to: "",
        expect: &[ErrorKind::GlobalRace],
        at: &["ld.global.u32 %w, [%p]; // mirror", "st.global.u32 [%p], %v; // row"],
    },
    Bug {
        name: "grid barrier that waits for one block too many",
        kernel: &GRIDSYNC,
        from: "setp.lt.u32 %wait, %seen, %blocks;",
        to: "setp.le.u32 %wait, %seen, %blocks;",
        expect: &[ErrorKind::InstructionBudget],
        at: &["ld.acquire.gpu.global.u32 %seen", "setp.le.u32 %wait", "@%wait bra SPIN;"],
    },
    Bug {
        name: "sum published by a plain flag",
        kernel: &LOOKBACK,
        from: "st.release.gpu.global.u32 [%f], 1; // sum ready",
        to: "st.global.u32 [%f], 1; // sum ready",
        expect: &[ErrorKind::GlobalRace],
        at: &["st.global.u32 [%f], 1;", "ld.acquire.gpu.global.u32 %flag"],
    },
    Bug {
        name: "prefix published without a release",
        kernel: &LOOKBACK,
        from: "st.release.gpu.global.u32 [%f], 2;",
        to: "st.relaxed.gpu.global.u32 [%f], 2;",
        expect: &[ErrorKind::GlobalRace],
        at: &["// predecessor's prefix", "// own prefix"],
    },
    Bug {
        name: "flag read without an acquire",
        kernel: &LOOKBACK,
        from: "ld.acquire.gpu.global.u32 %flag",
        to: "ld.volatile.global.u32 %flag",
        expect: &[ErrorKind::GlobalRace],
        at: &["// predecessor's", "// own"],
    },
    Bug {
        name: "flag set before the prefix is stored",
        kernel: &LOOKBACK,
        from: "  st.global.u32 [%p], %value; // own prefix\n  add.u64 %f, %flags, %off;\n  st.release.gpu.global.u32 [%f], 2; // prefix ready\n",
        to: "  add.u64 %f, %flags, %off;\n  st.release.gpu.global.u32 [%f], 2; // prefix ready\n  st.global.u32 [%p], %value; // own prefix\n",
        expect: &[ErrorKind::GlobalRace],
        at: &["// predecessor's prefix", "// own prefix"],
    },
    Bug {
        name: "lock taken without an acquire",
        kernel: &ACCOUNT,
        from: "atom.acquire.gpu.global.cas.b32",
        to: "atom.relaxed.gpu.global.cas.b32",
        expect: &[ErrorKind::GlobalRace],
        at: &["%sum", "%count"],
    },
    Bug {
        name: "lock given back without a release",
        kernel: &ACCOUNT,
        from: "st.release.gpu.global.u32 [%lock], 0;",
        to: "st.relaxed.gpu.global.u32 [%lock], 0;",
        expect: &[ErrorKind::GlobalRace],
        at: &["%sum", "%count"],
    },
    Bug {
        name: "lock of the scope of a block",
        kernel: &ACCOUNT,
        from: "atom.acquire.gpu.global.cas.b32",
        to: "atom.acquire.cta.global.cas.b32",
        expect: &[ErrorKind::GlobalRace],
        at: &["atom.acquire.cta.global.cas.b32", "st.release.gpu.global.u32 [%lock]"],
    },
    Bug {
        name: "lock given back by a plain store",
        kernel: &ACCOUNT,
        from: "st.release.gpu.global.u32 [%lock], 0;",
        to: "membar.gl;\n  st.global.u32 [%lock], 0;",
        expect: &[ErrorKind::GlobalRace],
        at: &["atom.acquire.gpu.global.cas.b32", "st.global.u32 [%lock], 0;"],
    },
    Bug {
        name: "counter outside of the lock",
        kernel: &ACCOUNT,
        from: "  st.global.u32 [%entries], %count;\n  st.release.gpu.global.u32 [%lock], 0; // unlock\n",
        to: "  st.release.gpu.global.u32 [%lock], 0; // unlock\n  st.global.u32 [%entries], %count;\n",
        expect: &[ErrorKind::GlobalRace],
        at: &["%count"],
    },
    Bug {
        name: "lock never given back",
        kernel: &ACCOUNT,
        from: "  st.release.gpu.global.u32 [%lock], 0; // unlock\n",
        to: "",
        expect: &[ErrorKind::InstructionBudget],
        at: &["atom.acquire.gpu.global.cas.b32", "setp.ne.u32 %taken", "@%taken bra LOCK;"],
    },
    Bug {
        name: "lock taken with the values of compare and swap exchanged",
        kernel: &ACCOUNT,
        from: "cas.b32 %old, [%lock], 0, 1;",
        to: "cas.b32 %old, [%lock], 1, 0;",
        expect: &[ErrorKind::GlobalRace],
        at: &["%sum", "%count"],
    },
    Bug {
        name: "no lock at all",
        kernel: &ACCOUNT,
        from: "  @%taken bra LOCK;\n",
        to: "",
        expect: &[ErrorKind::GlobalRace],
        at: &["%sum", "%count"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
