//! Shared memory and block barriers: stencil, reduction, scan, histogram, transpose, matrix product.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind, LaunchConfig};

static HEAT: Kernel = Kernel { name: "heat", ptx: include_str!("ptx/heat.ptx"), run: heat };

fn heat(c: &mut Case<'_>) -> Outcome {
    let n = 384;
    let cells = c.whole(n);
    let (input, out) = (c.upload_floats(&cells), c.output(n));
    c.launch(3, 128, &[Arg::U64(input), Arg::U64(out), Arg::F32(0.25)])?;
    let want: Vec<f32> = (0..n)
        .map(|i| {
            let (left, right) = (cells[i.saturating_sub(1)], cells[(i + 1).min(n - 1)]);
            cells[i] + 0.25 * (left - 2.0 * cells[i] + right)
        })
        .collect();
    c.expect_floats(out, &want, 0.0)
}

static REDUCE: Kernel = Kernel { name: "reduce", ptx: include_str!("ptx/reduce.ptx"), run: reduce };

fn reduce(c: &mut Case<'_>) -> Outcome {
    let n = c.between(900, 1000) as usize;
    let data = c.words(n);
    let (input, out) = (c.upload(&data), c.output(2));
    c.launch(2, 256, &[Arg::U64(input), Arg::U64(out), Arg::U32(n as u32)])?;
    let want: Vec<u32> = data.chunks(512).map(|b| b.iter().fold(0, |s: u32, v| s.wrapping_add(*v))).collect();
    c.expect(out, &want)
}

static SCAN: Kernel = Kernel { name: "scan", ptx: include_str!("ptx/scan.ptx"), run: scan };

fn scan(c: &mut Case<'_>) -> Outcome {
    let data = c.words(256);
    let (input, out) = (c.upload(&data), c.output(256));
    let config = LaunchConfig::new([2, 1, 1], [128, 1, 1]).shared(1024);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(out)])?;
    let sums = |b: &[u32]| {
        let mut sum = 0u32;
        b.iter()
            .map(|v| {
                sum = sum.wrapping_add(*v);
                sum
            })
            .collect::<Vec<_>>()
    };
    c.expect(out, &data.chunks_exact(128).flat_map(sums).collect::<Vec<_>>())
}

static HISTOGRAM: Kernel =
    Kernel { name: "histogram", ptx: include_str!("ptx/histogram.ptx"), run: histogram };

fn histogram(c: &mut Case<'_>) -> Outcome {
    let n = c.between(1500, 2500) as usize;
    let mut text: Vec<u8> = (0..n).map(|_| c.random() as u8).collect();
    // The highest bin is hit in every block.
    text[..512].iter_mut().step_by(37).for_each(|b| *b = 255);
    let input = c.upload_bytes(&text);
    let counts = c.upload(&[0; 256]);
    let config = LaunchConfig::new([2, 1, 1], [256, 1, 1]).shared(1024);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(counts), Arg::U32(n as u32)])?;
    let mut want = [0; 256];
    text.iter().for_each(|b| want[*b as usize] += 1);
    c.expect(counts, &want)
}

static TRANSPOSE: Kernel =
    Kernel { name: "transpose", ptx: include_str!("ptx/transpose.ptx"), run: transpose };

fn transpose(c: &mut Case<'_>) -> Outcome {
    let (rows, cols) = (64, 32 * c.between(3, 5) as usize);
    let data = c.words(rows * cols);
    let (input, out) = (c.upload(&data), c.output(rows * cols));
    let config = LaunchConfig::new([cols as u32 / 32, 2, 1], [32, 8, 1]);
    c.launch_as(&config, &[Arg::U64(input), Arg::U64(out), Arg::U32(rows as u32), Arg::U32(cols as u32)])?;
    let want: Vec<u32> = (0..cols * rows).map(|i| data[i % rows * cols + i / rows]).collect();
    c.expect(out, &want)
}

static GEMM: Kernel = Kernel { name: "gemm", ptx: include_str!("ptx/gemm.ptx"), run: gemm };

fn gemm(c: &mut Case<'_>) -> Outcome {
    let [m, n, k] = std::array::from_fn(|_| c.between(17, 32) as usize);
    let (a, b) = (c.whole(m * k), c.whole(k * n));
    let (pa, pb, pc) = (c.upload_floats(&a), c.upload_floats(&b), c.output(m * n));
    let config = LaunchConfig::new([2, 2, 1], [16, 16, 1]);
    let sizes = [m, n, k].map(|v| Arg::U32(v as u32));
    let args: Vec<Arg> = [pa, pb, pc].map(Arg::U64).into_iter().chain(sizes).collect();
    c.launch_as(&config, &args)?;
    let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
    c.expect_floats(pc, &(0..m * n).map(|i| dot(i / n, i % n)).collect::<Vec<_>>(), 0.0)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "cell before the buffer",
        kernel: &HEAT,
        from: "  max.s32 %c, %c, 0; // left end\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %left"],
    },
    Bug {
        name: "cell past the buffer",
        kernel: &HEAT,
        from: "  min.u32 %c, %c, %n; // right end\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %right"],
    },
    Bug {
        name: "tile read without a barrier",
        kernel: &HEAT,
        from: "  bar.sync 0; // tile complete\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.f32", "st.shared.f32"],
    },
    Bug {
        name: "warp barrier where a block barrier is needed",
        kernel: &HEAT,
        from: "bar.sync 0; // tile complete",
        to: "bar.warp.sync 0xffffffff;",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.f32", "st.shared.f32"],
    },
    Bug {
        name: "halo cell never loaded",
        kernel: &HEAT,
        from: "setp.eq.u32 %first, %t, 0;",
        to: "setp.eq.u32 %first, %t, 128;",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["ld.shared.f32 %left"],
    },
    Bug {
        name: "tile overrun by the last thread",
        kernel: &HEAT,
        from: "ld.shared.f32 %right, [%s+8];",
        to: "ld.shared.f32 %right, [%s+12];",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.shared.f32 %right"],
    },
    Bug {
        name: "tile index scaled by two",
        kernel: &HEAT,
        from: "shl.b32 %s, %t, 2;",
        to: "shl.b32 %s, %t, 1;",
        expect: &[ErrorKind::Misaligned],
        at: &["st.shared.f32 [%s+4]"],
    },
    Bug {
        name: "tree starts before the values are stored",
        kernel: &REDUCE,
        from: "  bar.sync 0; // stored\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %w, [%other]; // upper", "st.shared.u32 [%s]"],
    },
    Bug {
        name: "no barrier between the levels",
        kernel: &REDUCE,
        from: "  bar.sync 0; // level\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %w", "st.shared.u32 [%s], %v;"],
    },
    Bug {
        name: "barrier inside the branch",
        kernel: &REDUCE,
        from: "MEET:\n  bar.sync 0; // level\n",
        to: "  bar.sync 0; // level\nMEET:\n",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.sync 0; // level"],
    },
    Bug {
        name: "threads without input leave early",
        kernel: &REDUCE,
        from: "@%active ld.global.u32 %w, [%p+1024];",
        to: "@!%active ret;\n  ld.global.u32 %w, [%p+1024];",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.sync 0; // stored"],
    },
    Bug {
        name: "warp-synchronous read and write unordered",
        kernel: &REDUCE,
        from: "  bar.warp.sync 0xffffffff; // read in step\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%s], %v; // partial sum"],
    },
    Bug {
        name: "warp-synchronous write and read unordered",
        kernel: &REDUCE,
        from: "  bar.warp.sync 0xffffffff; // written in step\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["// partner"],
    },
    Bug {
        name: "mask of the warp barrier leaves out half of it",
        kernel: &REDUCE,
        from: "bar.warp.sync 0xffffffff; // read in step",
        to: "bar.warp.sync 0x0000ffff;",
        expect: &[ErrorKind::DivergentCollective],
        at: &["bar.warp.sync 0x0000ffff;"],
    },
    Bug {
        name: "step before the first row is complete",
        kernel: &SCAN,
        from: "  bar.sync 0; // first row\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %w", "st.shared.u32 [%from]"],
    },
    Bug {
        name: "one row instead of two",
        kernel: &SCAN,
        from: "add.u32 %to, %from, 512; // second row",
        to: "mov.u32 %to, %from;",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%to]", "ld.shared.u32 %w"],
    },
    Bug {
        name: "rows not exchanged",
        kernel: &SCAN,
        from: "mov.u32 %from, %to;",
        to: "mov.u32 %from, %from;",
        expect: &[ErrorKind::SharedRace],
        at: &["st.shared.u32 [%to]", "ld.shared.u32 %w"],
    },
    Bug {
        name: "element before the row",
        kernel: &SCAN,
        from: "setp.lt.u32 %low, %t, %d;",
        to: "setp.lt.s32 %low, %t, 0;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.shared.u32 %w, [%back];"],
    },
    Bug {
        name: "second row past the dynamic shared memory",
        kernel: &SCAN,
        from: "add.u32 %to, %from, 512; // second row",
        to: "add.u32 %to, %from, 1024;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["st.shared.u32 [%to]"],
    },
    Bug {
        name: "bins not cleared",
        kernel: &HISTOGRAM,
        from: "  st.shared.u32 [%mine], 0; // clear\n",
        to: "",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["atom.shared.add.u32"],
    },
    Bug {
        name: "counting starts before the bins are cleared",
        kernel: &HISTOGRAM,
        from: "  bar.sync 0; // cleared\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["atom.shared.add.u32", "st.shared.u32 [%mine]"],
    },
    Bug {
        name: "bins read while others count",
        kernel: &HISTOGRAM,
        from: "  bar.sync 0; // counted\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["atom.shared.add.u32", "ld.shared.u32 %old, [%mine];"],
    },
    Bug {
        name: "count by load and store",
        kernel: &HISTOGRAM,
        from: "atom.shared.add.u32 %old, [%bin], 1;",
        to: "ld.shared.u32 %old, [%bin];\n  add.u32 %old, %old, 1;\n  st.shared.u32 [%bin], %old;",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %old, [%bin];", "st.shared.u32 [%bin], %old;"],
    },
    Bug {
        name: "bins of two words",
        kernel: &HISTOGRAM,
        from: "mad.lo.u32 %bin, %bin, 4, %base;",
        to: "mad.lo.u32 %bin, %bin, 8, %base;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["atom.shared.add.u32"],
    },
    Bug {
        name: "atomic at an odd address",
        kernel: &HISTOGRAM,
        from: "atom.shared.add.u32 %old, [%bin], 1;",
        to: "atom.shared.add.u32 %old, [%bin+2], 1;",
        expect: &[ErrorKind::Misaligned],
        at: &["atom.shared.add.u32"],
    },
    Bug {
        name: "wider atomic than the bins",
        kernel: &HISTOGRAM,
        from: "red.relaxed.gpu.global.add.u32 [%p], %old;",
        to: "cvt.u64.u32 %off, %old;\n  red.relaxed.gpu.global.add.u64 [%p], %off;",
        expect: &[ErrorKind::Misaligned],
        at: &["red.relaxed.gpu.global.add.u64"],
    },
    Bug {
        name: "column read while rows are written",
        kernel: &TRANSPOSE,
        from: "  bar.sync 0; // tile complete\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.u32 %w", "st.shared.u32 [%s]"],
    },
    Bug {
        name: "rows and columns of the matrix exchanged",
        kernel: &TRANSPOSE,
        from: "mul.lo.u32 %i, %i, %rows;",
        to: "mul.lo.u32 %i, %i, %cols;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["st.global.u32 [%p], %w;"],
    },
    Bug {
        name: "tile rows of 66 words",
        kernel: &TRANSPOSE,
        from: "mad.lo.u32 %s, %x, 33, %k;",
        to: "mad.lo.u32 %s, %x, 66, %k;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.shared.u32 %w"],
    },
    Bug {
        name: "half of the rows loaded",
        kernel: &TRANSPOSE,
        from: "add.u32 %k, %k, 8; // next rows",
        to: "add.u32 %k, %k, 16;",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["ld.shared.u32 %w"],
    },
    Bug {
        name: "half of the columns stored",
        kernel: &TRANSPOSE,
        from: "setp.lt.u32 %more, %k, 32; // columns",
        to: "setp.lt.u32 %more, %k, 16;",
        expect: &[ErrorKind::UninitialisedGlobal],
        at: &[],
    },
    Bug {
        name: "tiles used before they are loaded",
        kernel: &GEMM,
        from: "  bar.sync 0; // tiles loaded\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.f32", "st.shared.f32"],
    },
    Bug {
        name: "tiles loaded again while others use them",
        kernel: &GEMM,
        from: "  bar.sync 0; // tiles used\n",
        to: "",
        expect: &[ErrorKind::SharedRace],
        at: &["ld.shared.f32", "st.shared.f32"],
    },
    Bug {
        name: "row bound forgotten",
        kernel: &GEMM,
        from: "  and.pred %in_a, %in_a, %in_row;\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %va"],
    },
    Bug {
        name: "depth bound forgotten",
        kernel: &GEMM,
        from: "and.pred %in_b, %in_b, %in_col;",
        to: "mov.pred %in_b, %in_col;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %vb"],
    },
    Bug {
        name: "outside elements skipped instead of stored as zero",
        kernel: &GEMM,
        from: "st.shared.f32 [%sa], %va;",
        to: "@%in_a st.shared.f32 [%sa], %va;",
        expect: &[ErrorKind::UninitialisedShared],
        at: &["ld.shared.f32 %va"],
    },
    Bug {
        name: "threads right of the matrix leave early",
        kernel: &GEMM,
        from: "  setp.lt.u32 %in_col, %col, %n;\n",
        to: "  setp.lt.u32 %in_col, %col, %n;\n  @!%in_col ret;\n",
        expect: &[ErrorKind::DivergentBarrier],
        at: &["bar.sync 0; // tiles loaded"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
