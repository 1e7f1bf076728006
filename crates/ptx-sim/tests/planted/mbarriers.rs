//! Mbarriers within a block and across a cluster, and the registers of specialised warps.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind, LaunchConfig};

static RING: Kernel = Kernel { name: "ring", ptx: include_str!("ptx/ring.ptx"), run: ring };

fn ring(c: &mut Case<'_>) -> Outcome {
    let rows = c.between(5, 9);
    let data = c.words(32 * rows as usize);
    let (input, out) = (c.upload(&data), c.output(data.len()));
    c.launch(1, 64, &[Arg::U64(input), Arg::U64(out), Arg::U32(rows)])?;
    c.expect(out, &data.iter().map(|v| v.wrapping_add(7)).collect::<Vec<_>>())
}

static TOKEN: Kernel = Kernel { name: "token", ptx: include_str!("ptx/token.ptx"), run: token };

fn token(c: &mut Case<'_>) -> Outcome {
    let (clusters, size) = (2, c.between(2, 6) as usize);
    let data = c.words(32 * clusters * size);
    let (input, out) = (c.upload(&data), c.output(32 * clusters));
    let config = LaunchConfig::new([(clusters * size) as u32, 1, 1], [32, 1, 1]).cluster([size as u32, 1, 1]);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(out)])?;
    let sum = |i: usize| {
        let lane = data.iter().skip(i / 32 * size * 32 + i % 32).step_by(32).take(size);
        lane.fold(0, |s: u32, v| s.wrapping_add(*v))
    };
    c.expect(out, &(0..32 * clusters).map(sum).collect::<Vec<_>>())
}

static SPECIALISED: Kernel =
    Kernel { name: "specialised", ptx: include_str!("ptx/specialised.ptx"), run: specialised };

fn specialised(c: &mut Case<'_>) -> Outcome {
    let data = c.words(256);
    let (input, out) = (c.upload(&data), c.output(256));
    c.launch(1, 256, &[Arg::U64(input), Arg::U64(out)])?;
    c.expect(out, &(0..256u32).map(|i| data[i as usize].wrapping_mul(i)).collect::<Vec<_>>())
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "mbarrier never initialised",
        kernel: &RING,
        from: "  mbarrier.init.shared.b64 [%base+264], 32; // full 1\n",
        to: "",
        expect: &[ErrorKind::MbarrierUninitialised],
        at: &["[%bar+256]", "[%base+264]"],
    },
    Bug {
        name: "mbarriers used while they are initialised",
        kernel: &RING,
        from: "  bar.sync 0; // barriers ready\n",
        to: "",
        expect: &[ErrorKind::MbarrierUninitialised, ErrorKind::SharedRace],
        at: &["mbarrier"],
    },
    Bug {
        name: "every thread initialises the mbarriers",
        kernel: &RING,
        from: "  @%first bra READY;\n",
        to: "",
        expect: &[ErrorKind::MbarrierReinitialised, ErrorKind::SharedRace],
        at: &["mbarrier.init.shared.b64 [%base+256], 32;"],
    },
    Bug {
        name: "one mbarrier initialised twice",
        kernel: &RING,
        from: "mbarrier.init.shared.b64 [%base+264], 32; // full 1",
        to: "mbarrier.init.shared.b64 [%base+256], 32; // full 1",
        expect: &[ErrorKind::MbarrierReinitialised],
        at: &["// full 1"],
    },
    Bug {
        name: "one arrival more expected than is made",
        kernel: &RING,
        from: "[%base+256], 32; // full 0",
        to: "[%base+256], 33; // full 0",
        expect: &[ErrorKind::Deadlock],
        at: &["mbarrier.try_wait"],
    },
    Bug {
        name: "every lane arrives twice over",
        kernel: &RING,
        from: "mbarrier.arrive.shared.b64 _, [%bar+256]; // filled",
        to: "mbarrier.arrive.shared.b64 _, [%bar+256], 3; // filled",
        expect: &[ErrorKind::MbarrierCount],
        at: &["// filled"],
    },
    Bug {
        name: "mbarrier for no arrivals",
        kernel: &RING,
        from: "[%base+272], 32; // empty 0",
        to: "[%base+272], 0; // empty 0",
        expect: &[ErrorKind::MbarrierCount],
        at: &["// empty 0"],
    },
    Bug {
        name: "producer waits for a slot that was never full",
        kernel: &RING,
        from: "xor.b32 %parity, %round, 1;",
        to: "mov.b32 %parity, %round;",
        expect: &[ErrorKind::Deadlock],
        at: &["mbarrier.try_wait"],
    },
    Bug {
        name: "consumer that never changes its parity",
        kernel: &RING,
        from: "and.b32 %parity, %round, 1; // of the consumer",
        to: "mov.u32 %parity, 0;",
        expect: &[ErrorKind::MbarrierPhase],
        at: &["mbarrier.try_wait", "ld.shared.u32 %v, [%s]; // use", "st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "slot filled without a wait for it",
        kernel: &RING,
        from: "  @!%done bra EMPTY;\n",
        to: "",
        expect: &[ErrorKind::SharedRace, ErrorKind::MbarrierPhase, ErrorKind::Deadlock],
        at: &["mbarrier.try_wait", "ld.shared.u32 %v, [%s]; // use", "st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "slot used without a wait for it",
        kernel: &RING,
        from: "  @!%done bra FULL;\n",
        to: "",
        expect: &[ErrorKind::SharedRace, ErrorKind::MbarrierPhase],
        at: &["mbarrier.try_wait", "ld.shared.u32 %v, [%s]; // use", "st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "arrival before the slot is filled",
        kernel: &RING,
        from: "  st.shared.u32 [%s], %v; // fill\n  mbarrier.arrive.shared.b64 _, [%bar+256]; // filled\n",
        to: "  mbarrier.arrive.shared.b64 _, [%bar+256]; // filled\n  st.shared.u32 [%s], %v; // fill\n",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%s]; // use", "st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "slot given back before it is used",
        kernel: &RING,
        from: "  ld.shared.u32 %v, [%s]; // use\n  mbarrier.arrive.shared.b64 _, [%bar+272]; // given back\n",
        to: "  mbarrier.arrive.shared.b64 _, [%bar+272]; // given back\n  ld.shared.u32 %v, [%s]; // use\n",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %v, [%s]; // use", "st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "slots never given back to the ring",
        kernel: &RING,
        from: "  mbarrier.arrive.shared.b64 _, [%bar+272]; // given back\n",
        to: "",
        expect: &[ErrorKind::Deadlock],
        at: &["mbarrier.try_wait", "bar.sync 0; // nobody"],
    },
    Bug {
        name: "slots further apart than they are long reach the mbarriers",
        kernel: &RING,
        from: "mad.lo.u32 %s, %slot, 128, %mine; // to fill",
        to: "mad.lo.u32 %s, %slot, 160, %mine; // to fill",
        expect: &[ErrorKind::MbarrierAccess],
        at: &["st.shared.u32 [%s], %v; // fill"],
    },
    Bug {
        name: "mbarrier at an odd address",
        kernel: &RING,
        from: "[%bar+272], %parity; // slot empty",
        to: "[%bar+274], %parity; // slot empty",
        expect: &[ErrorKind::Misaligned],
        at: &["// slot empty"],
    },
    Bug {
        name: "mbarriers invalidated while others wait",
        kernel: &RING,
        from: "  bar.sync 0; // nobody waits any more\n",
        to: "",
        expect: &[ErrorKind::MbarrierUninitialised, ErrorKind::SharedRace],
        at: &["mbarrier.inval", "mbarrier.try_wait", "mbarrier.arrive"],
    },
    Bug {
        name: "remote arrival before the mbarrier is there",
        kernel: &TOKEN,
        from: "  barrier.cluster.arrive.release.aligned; // ready\n  barrier.cluster.wait.acquire.aligned; // all ready\n",
        to: "",
        expect: &[ErrorKind::MbarrierUninitialised, ErrorKind::SharedRace],
        at: &["mbarrier"],
    },
    Bug {
        name: "block exits before its token returns",
        kernel: &TOKEN,
        from: "  @!%starts ret;\n",
        to: "  ret;\n",
        expect: &[ErrorKind::ClusterExited],
        at: &["st.shared::cluster.u32 [%far], %v; // send", "mbarrier.arrive.release.cluster"],
    },
    Bug {
        name: "token sent after it is announced",
        kernel: &TOKEN,
        from: "  st.shared::cluster.u32 [%far], %v; // send\n  mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%far_bar]; // announce\n",
        to: "  mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%far_bar]; // announce\n  st.shared::cluster.u32 [%far], %v; // send\n",
        expect: &[ErrorKind::SharedRace, ErrorKind::ClusterExited],
        at: &["// send", "ld.shared.u32 %w, [%mine];"],
    },
    Bug {
        name: "token read without a wait",
        kernel: &TOKEN,
        from: "  @!%done bra COMES;\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["// send", "ld.shared.u32 %w, [%mine]; // token"],
    },
    Bug {
        name: "announcement that releases nothing",
        kernel: &TOKEN,
        from: "mbarrier.arrive.release.cluster.shared",
        to: "mbarrier.arrive.relaxed.cluster.shared",
        expect: &[ErrorKind::SharedRace],
        at: &["// send", "ld.shared.u32 %w, [%mine];"],
    },
    Bug {
        name: "right neighbour without the wrap",
        kernel: &TOKEN,
        from: "  rem.u32 %right, %right, %size;\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["// send"],
    },
    Bug {
        name: "token awaited twice",
        kernel: &TOKEN,
        from: "[%bar], 0; // total",
        to: "[%bar], 1; // total",
        expect: &[ErrorKind::SharedRace],
        at: &["// send", "ld.shared.u32 %w, [%mine]; // total"],
    },
    Bug {
        name: "register count that is no multiple of eight",
        kernel: &SPECIALISED,
        from: "setmaxnreg.dec.sync.aligned.u32 40;",
        to: "setmaxnreg.dec.sync.aligned.u32 36;",
        expect: &[ErrorKind::SetMaxRegisters],
        at: &["setmaxnreg.dec"],
    },
    Bug {
        name: "register count out of range",
        kernel: &SPECIALISED,
        from: "setmaxnreg.inc.sync.aligned.u32 240;",
        to: "setmaxnreg.inc.sync.aligned.u32 264;",
        expect: &[ErrorKind::SetMaxRegisters],
        at: &["setmaxnreg.inc"],
    },
    Bug {
        name: "part of a warpgroup gives registers back",
        kernel: &SPECIALISED,
        from: "setp.lt.u32 %small, %t, 128;",
        to: "setp.lt.u32 %small, %t, 96;",
        expect: &[ErrorKind::SetMaxRegisters],
        at: &["setmaxnreg"],
    },
    Bug {
        name: "part of a warp gives registers back",
        kernel: &SPECIALISED,
        from: "setp.lt.u32 %small, %t, 128;",
        to: "setp.lt.u32 %small, %t, 112;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["setmaxnreg"],
    },
    Bug {
        name: "registers moved in a kernel without a bound",
        kernel: &SPECIALISED,
        from: ".maxntid 256, 1, 1\n.minnctapersm 1\n",
        to: "",
        expect: &[ErrorKind::SetMaxRegisters],
        at: &["setmaxnreg"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
