//! Asynchronous copies: cp.async, bulk copies and tensor copies, their groups, transaction counts and proxies.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind, TensorMap, TensorMapType};

static PIPELINE: Kernel = Kernel { name: "pipeline", ptx: include_str!("ptx/pipeline.ptx"), run: pipeline };

fn pipeline(c: &mut Case<'_>) -> Outcome {
    let rows = c.between(3, 7) as usize;
    let data = c.words(rows * 64);
    let (input, out) = (c.upload(&data), c.output(64));
    c.launch(1, 64, &[Arg::U64(input), Arg::U64(out), Arg::U32(rows as u32)])?;
    let sum = |i: usize| {
        let column = data.iter().skip((i + 1) % 64).step_by(64);
        column.fold(0, |s: u32, v| s.wrapping_add(*v))
    };
    c.expect(out, &(0..64).map(sum).collect::<Vec<_>>())
}

static BULK: Kernel = Kernel { name: "bulk", ptx: include_str!("ptx/bulk.ptx"), run: bulk };

fn bulk(c: &mut Case<'_>) -> Outcome {
    let tiles = c.between(3, 6);
    let data = c.words(64 * tiles as usize);
    let (input, out) = (c.upload(&data), c.output(data.len()));
    c.launch(1, 64, &[Arg::U64(input), Arg::U64(out), Arg::U32(tiles)])?;
    c.expect(out, &data.iter().map(|v| v.wrapping_mul(3)).collect::<Vec<_>>())
}

static TENSOR: Kernel = Kernel { name: "tensor", ptx: include_str!("ptx/tensor.ptx"), run: tensor };

fn tensor(c: &mut Case<'_>) -> Outcome {
    let (cols, rows) = (4 * c.between(6, 12) as usize, c.between(9, 20) as usize);
    let data = c.words(cols * rows);
    let old = c.words(cols * rows);
    let (input, out) = (c.upload(&data), c.upload(&old));
    // Sometimes over the edge.
    let (x, y) = (c.between(0, cols as u32), c.between(0, rows as u32));
    let map = |at: u64| {
        let map = TensorMap::builder(
            TensorMapType::U32,
            at,
            &[cols as u64, rows as u64],
            &[4 * cols as u64],
            &[16, 8],
        );
        Arg::Bytes(map.build().expect("a valid map").encode().to_vec())
    };
    let args = [map(input), map(out), Arg::U32(x), Arg::U32(y)];
    c.launch(1, 128, &args)?;
    let mut want = old;
    for (r, k) in (0..8).flat_map(|r| (0..16).map(move |k| (r, k))) {
        let (row, col) = (y as usize + r, x as usize + k);
        if row < rows && col < cols {
            want[row * cols + col] = data[row * cols + col].wrapping_add(1);
        }
    }
    c.expect(out, &want)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "copied row used without a wait",
        kernel: &PIPELINE,
        from: "  cp.async.wait_group 1; // this row\n",
        to: "",
        expect: &[ErrorKind::AsyncInFlight],
        at: &["ld.shared.u32 %v, [%s];"],
    },
    Bug {
        name: "wait that leaves two groups in flight",
        kernel: &PIPELINE,
        from: "cp.async.wait_group 1; // this row",
        to: "cp.async.wait_group 2;",
        expect: &[ErrorKind::AsyncInFlight],
        at: &["ld.shared.u32 %v, [%s];"],
    },
    Bug {
        name: "copies of the next row never committed",
        kernel: &PIPELINE,
        from: "  cp.async.commit_group; // next row\n",
        to: "",
        expect: &[ErrorKind::AsyncInFlight],
        at: &["ld.shared.u32 %v, [%s];"],
    },
    Bug {
        name: "no barrier between the wait and the use",
        kernel: &PIPELINE,
        from: "  bar.sync 0; // row complete\n",
        to: "",
        expect: &[ErrorKind::AsyncInFlight, ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%s];", "cp.async"],
    },
    Bug {
        name: "stage filled again while others read it",
        kernel: &PIPELINE,
        from: "  bar.sync 0; // row used\n",
        to: "",
        expect: &[ErrorKind::AsyncInFlight, ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%s];", "cp.async"],
    },
    Bug {
        name: "asynchronous copy from a multiple of eight",
        kernel: &PIPELINE,
        from: "mul.wide.u32 %off, %t, 16;",
        to: "mul.wide.u32 %off, %t, 8;",
        expect: &[ErrorKind::Misaligned],
        at: &["cp.async.cg.shared.global [%to]"],
    },
    Bug {
        name: "row past the last one copied",
        kernel: &PIPELINE,
        from: "setp.lt.u32 %fill, %next, %rows;",
        to: "setp.le.u32 %fill, %next, %rows;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["cp.async.cg.shared.global [%s]"],
    },
    Bug {
        name: "third stage of two",
        kernel: &PIPELINE,
        from: "and.b32 %stage, %next, 1;",
        to: "rem.u32 %stage, %next, 3;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["cp.async.cg.shared.global [%s]"],
    },
    Bug {
        name: "exit with a copy in flight",
        kernel: &PIPELINE,
        from: "setp.lt.u32 %more, %r, %rows;",
        to: "sub.u32 %i, %rows, 1;\n  setp.lt.u32 %more, %r, %i;",
        expect: &[ErrorKind::AsyncUnfinished],
        at: &["cp.async", "ret;"],
    },
    Bug {
        name: "bytes never announced",
        kernel: &BULK,
        from: "mbarrier.arrive.expect_tx.shared.b64 _, [%bar], 256; // announce",
        to: "mbarrier.arrive.shared.b64 _, [%bar]; // announce",
        expect: &[ErrorKind::TransactionCount, ErrorKind::AsyncInFlight],
        at: &["mbarrier.arrive", "cp.async.bulk.shared", "mbarrier.try_wait", "ld.shared.u32 %v, [%from];"],
    },
    Bug {
        name: "more bytes announced than come",
        kernel: &BULK,
        from: "[%bar], 256; // announce",
        to: "[%bar], 272; // announce",
        expect: &[ErrorKind::TransactionCount],
        at: &["mbarrier"],
    },
    Bug {
        name: "fewer bytes announced than come",
        kernel: &BULK,
        from: "[%bar], 256; // announce",
        to: "[%bar], 128; // announce",
        expect: &[ErrorKind::TransactionCount],
        at: &["mbarrier", "cp.async.bulk.shared"],
    },
    Bug {
        name: "tile used without a wait",
        kernel: &BULK,
        from: "  @!%done bra ARRIVED;\n",
        to: "",
        expect: &[ErrorKind::AsyncInFlight],
        at: &["ld.shared.u32 %v, [%from];", "cp.async.bulk.shared"],
    },
    Bug {
        name: "wait for the phase before",
        kernel: &BULK,
        from: "and.b32 %parity, %i, 1;",
        to: "add.u32 %parity, %i, 1;\n  and.b32 %parity, %parity, 1;",
        expect: &[ErrorKind::AsyncInFlight, ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%from];", "cp.async.bulk.shared"],
    },
    Bug {
        name: "parity that never changes",
        kernel: &BULK,
        from: "and.b32 %parity, %i, 1;",
        to: "mov.u32 %parity, 0;",
        expect: &[ErrorKind::AsyncInFlight],
        at: &["ld.shared.u32 %v, [%from];", "cp.async.bulk.shared"],
    },
    Bug {
        name: "every thread arrives at a barrier for one",
        kernel: &BULK,
        from: "  @!%first bra WAIT;\n",
        to: "  mbarrier.arrive.shared.b64 _, [%bar];\n  @!%first bra WAIT;\n",
        expect: &[ErrorKind::MbarrierCount, ErrorKind::MbarrierPhase],
        at: &["mbarrier", "ld.shared.u32 %v, [%from];", "cp.async.bulk.shared"],
    },
    Bug {
        name: "stores not fenced before the bulk copy",
        kernel: &BULK,
        from: "  fence.proxy.async.shared::cta; // stores before the copy\n",
        to: "",
        expect: &[ErrorKind::MissingProxyFence],
        at: &["cp.async.bulk.global"],
    },
    Bug {
        name: "fence by the thread that copies only",
        kernel: &BULK,
        from: "fence.proxy.async.shared::cta; // stores before the copy",
        to: "@%first fence.proxy.async.shared::cta;",
        expect: &[ErrorKind::MissingProxyFence],
        at: &["cp.async.bulk.global"],
    },
    Bug {
        name: "fence for another kind of memory",
        kernel: &BULK,
        from: "fence.proxy.async.shared::cta; // stores before the copy",
        to: "fence.proxy.async.global;",
        expect: &[ErrorKind::MissingProxyFence],
        at: &["cp.async.bulk.global"],
    },
    Bug {
        name: "outbox overwritten while it is sent",
        kernel: &BULK,
        from: "  @%first cp.async.bulk.wait_group.read 0; // outbox free\n",
        to: "",
        expect: &[ErrorKind::AsyncSourceOverwritten],
        at: &["st.shared.u32 [%to], %v;"],
    },
    Bug {
        name: "wait that leaves one copy in flight",
        kernel: &BULK,
        from: "cp.async.bulk.wait_group.read 0;",
        to: "cp.async.bulk.wait_group.read 1;",
        expect: &[ErrorKind::AsyncSourceOverwritten],
        at: &["st.shared.u32 [%to], %v;"],
    },
    Bug {
        name: "bulk copy never committed",
        kernel: &BULK,
        from: "  @%first cp.async.bulk.commit_group;\n",
        to: "",
        expect: &[ErrorKind::AsyncSourceOverwritten],
        at: &["st.shared.u32 [%to], %v;"],
    },
    Bug {
        name: "others do not wait for the thread that waits",
        kernel: &BULK,
        from: "  bar.sync 0; // inbox used, outbox free\n",
        to: "",
        expect: &[ErrorKind::AsyncSourceOverwritten, ErrorKind::SharedRace],
        at: &["st.shared.u32 [%to], %v;", "cp.async.bulk"],
    },
    Bug {
        name: "outbox sent before all have stored",
        kernel: &BULK,
        from: "  bar.sync 0; // outbox full\n",
        to: "",
        expect: &[
            ErrorKind::SharedRace,
            ErrorKind::MissingProxyFence,
            ErrorKind::AsyncSourceOverwritten,
            ErrorKind::UninitialisedShared,
        ],
        at: &["cp.async.bulk.wait_group.read", "st.shared.u32 [%to], %v;", "cp.async.bulk.global"],
    },
    Bug {
        name: "exit before the last tile is sent",
        kernel: &BULK,
        from: "  @%first cp.async.bulk.wait_group 0; // all sent\n",
        to: "",
        expect: &[ErrorKind::AsyncUnfinished],
        at: &["cp.async.bulk.global", "ret;"],
    },
    Bug {
        name: "bulk copy of a size that is no multiple of sixteen",
        kernel: &BULK,
        from: "[%out], [%outbox], 256; // send",
        to: "[%out], [%outbox], 248; // send",
        expect: &[ErrorKind::BadCopy],
        at: &["// send"],
    },
    Bug {
        name: "bulk copy from a multiple of eight",
        kernel: &BULK,
        from: "[%inbox], [%in], 256, [%bar]; // fetch",
        to: "[%inbox], [%in+8], 256, [%bar]; // fetch",
        expect: &[ErrorKind::Misaligned],
        at: &["// fetch"],
    },
    Bug {
        name: "bulk copy larger than its destination",
        kernel: &BULK,
        from: "[%inbox], [%in], 256, [%bar]; // fetch",
        to: "[%inbox], [%in], 272, [%bar]; // fetch",
        expect: &[ErrorKind::OutOfBounds],
        at: &["// fetch"],
    },
    Bug {
        name: "one tile too many",
        kernel: &BULK,
        from: "setp.lt.u32 %more, %i, %tiles;",
        to: "setp.le.u32 %more, %i, %tiles;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["// fetch"],
    },
    Bug {
        name: "tensor map that is none",
        kernel: &TENSOR,
        from: "mov.b64 %source, source;",
        to: "mov.b64 %source, x;",
        expect: &[ErrorKind::BadTensorMap, ErrorKind::Misaligned, ErrorKind::OutOfBounds],
        at: &["cp.async.bulk.tensor.2d.shared::cluster"],
    },
    Bug {
        name: "tensor map half way on",
        kernel: &TENSOR,
        from: "mov.b64 %target, target;",
        to: "mov.b64 %target, source;\n  add.u64 %target, %target, 64;",
        expect: &[ErrorKind::BadTensorMap],
        at: &["cp.async.bulk.tensor.2d.global"],
    },
    Bug {
        name: "tensor map at an odd place",
        kernel: &TENSOR,
        from: "cvta.param.u64 %target, %target;",
        to: "cvta.param.u64 %target, %target;\n  add.u64 %target, %target, 4;",
        expect: &[ErrorKind::Misaligned],
        at: &["cp.async.bulk.tensor.2d.global"],
    },
    Bug {
        name: "box at an address that is no multiple of 128",
        kernel: &TENSOR,
        from: "mov.u32 %box, box;",
        to: "mov.u32 %box, box+64;",
        expect: &[ErrorKind::Misaligned],
        at: &["cp.async.bulk.tensor.2d"],
    },
    Bug {
        name: "edge of the matrix not announced",
        kernel: &TENSOR,
        from: "[%bar], 512; // the whole box",
        to: "[%bar], 480; // all but a half row",
        expect: &[ErrorKind::TransactionCount],
        at: &["mbarrier", "cp.async.bulk.tensor.2d.shared"],
    },
    Bug {
        name: "two arrivals expected, one made",
        kernel: &TENSOR,
        from: "[%bar], 1; // one arrival",
        to: "[%bar], 2; // one arrival",
        expect: &[ErrorKind::Deadlock],
        at: &["mbarrier.try_wait"],
    },
    Bug {
        name: "box not fenced before the tensor copy",
        kernel: &TENSOR,
        from: "  fence.proxy.async.shared::cta; // stores before the copy\n",
        to: "",
        expect: &[ErrorKind::MissingProxyFence],
        at: &["cp.async.bulk.tensor.2d.global"],
    },
    Bug {
        name: "exit before the box is written",
        kernel: &TENSOR,
        from: "  cp.async.bulk.wait_group 0; // written\n",
        to: "",
        expect: &[ErrorKind::AsyncUnfinished],
        at: &["cp.async.bulk.tensor.2d.global", "ret;"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
