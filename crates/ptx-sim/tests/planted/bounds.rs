//! Addresses: bounds, alignment, lifetime, initialisation and read-only memory, outside of shared memory.

use super::harness::{Bug, Case, Kernel, Outcome, prove};
use ptx_sim::{Arg, ErrorKind};

static SAXPY: Kernel = Kernel { name: "saxpy", ptx: include_str!("ptx/saxpy.ptx"), run: saxpy };

fn saxpy(c: &mut Case<'_>) -> Outcome {
    let n = 4 * c.between(75, 250) as usize + c.between(2, 4) as usize;
    let (x, y) = (c.whole(n), c.whole(n));
    let a = c.between(1, 9) as f32;
    let (px, py) = (c.upload_floats(&x), c.upload_floats(&y));
    c.launch(2, 64, &[Arg::U32(n as u32), Arg::F32(a), Arg::U64(px), Arg::U64(py)])?;
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| a * x + y).collect();
    c.expect_floats(py, &want, 0.0)
}

static RECORDS: Kernel = Kernel { name: "records", ptx: include_str!("ptx/records.ptx"), run: records };

fn records(c: &mut Case<'_>) -> Outcome {
    let n = c.between(40, 200) as usize;
    let step = c.between(0, 3) as usize;
    let (values, weights) = (c.words(n), c.words(n));
    let buffers: [u64; 3] = std::array::from_fn(|_| c.sim.alloc(8 * n));
    let source = buffers[step];
    for i in 0..n {
        // The padding stays unwritten.
        c.sim.write(source + 8 * i as u64, &[weights[i] as u8])?;
        c.sim.write(source + 8 * i as u64 + 4, &values[i].to_le_bytes())?;
    }
    let table: Vec<u8> = buffers.iter().flat_map(|b| b.to_le_bytes()).collect();
    let table = c.upload_bytes(&table);
    c.sim.free(buffers[(step + 2) % 3])?;
    c.launch(7, 32, &[Arg::U64(table), Arg::U32(step as u32), Arg::U32(n as u32)])?;
    let target = buffers[(step + 1) % 3];
    for i in 0..n {
        let weight = weights[i] & 0xff;
        c.expect(target + 8 * i as u64 + 4, &[values[i].wrapping_mul(weight)])?;
        let mut low = [0];
        c.sim.read_checked(target + 8 * i as u64, &mut low)?;
        if low[0] != (weight * weight) as u8 {
            return Err(super::harness::Failure::Wrong(format!("weight {i} is {}", low[0])));
        }
    }
    Ok(())
}

static POLYNOMIAL: Kernel =
    Kernel { name: "polynomial", ptx: include_str!("ptx/polynomial.ptx"), run: polynomial };

fn polynomial(c: &mut Case<'_>) -> Outcome {
    let x = c.whole(96);
    let (scale, shift) = (c.between(1, 5) as f32, c.between(0, 100) as f32);
    let (px, py) = (c.upload_floats(&x), c.output(96));
    let affine = [scale.to_le_bytes(), shift.to_le_bytes()].concat();
    c.launch(3, 32, &[Arg::U64(px), Arg::U64(py), Arg::Bytes(affine)])?;
    let want: Vec<f32> =
        x.iter().map(|x| shift + scale * (2.0 - x + 3.0 * x * x + 0.5 * x * x * x)).collect();
    c.expect_floats(py, &want, 0.0)
}

static MEDIAN: Kernel = Kernel { name: "median", ptx: include_str!("ptx/median.ptx"), run: median };

fn median(c: &mut Case<'_>) -> Outcome {
    let data = c.words(15 * 64);
    let (input, out) = (c.upload(&data), c.output(64));
    c.launch(2, 32, &[Arg::U64(input), Arg::U64(out)])?;
    let want: Vec<u32> = data
        .chunks_exact(15)
        .map(|g| {
            let mut g = g.to_vec();
            g.sort_unstable();
            g[7]
        })
        .collect();
    c.expect(out, &want)
}

pub const BUGS: &[Bug] = &[
    Bug {
        name: "loop runs one group past the end",
        kernel: &SAXPY,
        from: "setp.ge.u32 %done, %q, %quads;",
        to: "setp.gt.u32 %done, %q, %quads;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.v4.f32 {%x0"],
    },
    Bug {
        name: "tail guard off by one",
        kernel: &SAXPY,
        from: "setp.ge.u32 %done, %i, %rest;",
        to: "setp.gt.u32 %done, %i, %rest;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %x0"],
    },
    Bug {
        name: "no tail guard",
        kernel: &SAXPY,
        from: "  @%done bra END;\n",
        to: "",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.f32 %x0"],
    },
    Bug {
        name: "offset in pages instead of groups reaches into the gap before a foreign buffer",
        kernel: &SAXPY,
        from: "mul.wide.u32 %off, %q, 16;",
        to: "mul.wide.u32 %off, %q, 4096;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.v4.f32 {%x0", "ld.global.v4.f32 {%y0"],
    },
    Bug {
        name: "vector of four at a multiple of eight",
        kernel: &SAXPY,
        from: "mul.wide.u32 %off, %q, 16;",
        to: "mul.wide.u32 %off, %q, 8;",
        expect: &[ErrorKind::Misaligned],
        at: &["ld.global.v4.f32 {%x0"],
    },
    Bug {
        name: "element index scaled by two",
        kernel: &SAXPY,
        from: "mul.wide.u32 %off, %i, 4;",
        to: "mul.wide.u32 %off, %i, 2;",
        expect: &[ErrorKind::Misaligned],
        at: &["ld.global.f32 %x0"],
    },
    Bug {
        name: "null pointer",
        kernel: &SAXPY,
        from: "ld.param.u64 %y, [y];",
        to: "mov.u64 %y, 0;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.v4.f32 {%y0"],
    },
    Bug {
        name: "parameter never loaded",
        kernel: &SAXPY,
        from: "  ld.param.f32 %a, [a];\n",
        to: "",
        expect: &[ErrorKind::UninitialisedRegister],
        at: &["fma.rn.f32 %y0, %a, %x0, %y0;"],
    },
    Bug {
        name: "guard that nobody set",
        kernel: &SAXPY,
        from: "mov.u32 %q, %i;",
        to: "@%done mov.u32 %q, %i;",
        expect: &[ErrorKind::UninitialisedRegister],
        at: &["@%done mov.u32 %q, %i;"],
    },
    Bug {
        name: "parameter read past the last one",
        kernel: &SAXPY,
        from: "ld.param.u64 %y, [y];",
        to: "ld.param.u64 %y, [y+8];",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.param.u64 %y"],
    },
    Bug {
        name: "output buffer is the freed one",
        kernel: &RECORDS,
        from: "add.u32 %to, %step, 1;",
        to: "add.u32 %to, %step, 2;",
        expect: &[ErrorKind::UseAfterFree],
        at: &["st.global.u8 [%dst]"],
    },
    Bug {
        name: "input buffer is the freed one",
        kernel: &RECORDS,
        from: "rem.u32 %from, %step, 3;",
        to: "add.u32 %from, %step, 2;\n  rem.u32 %from, %from, 3;",
        expect: &[ErrorKind::UseAfterFree],
        at: &["ld.global.u8 %weight"],
    },
    Bug {
        name: "input and output exchanged",
        kernel: &RECORDS,
        from: "add.u64 %src, %src, %off;",
        to: "add.u64 %src, %dst, %off;",
        expect: &[ErrorKind::UninitialisedGlobal],
        at: &["ld.global.u8 %weight"],
    },
    Bug {
        name: "byte field read as a word with its padding",
        kernel: &RECORDS,
        from: "ld.global.u8 %weight",
        to: "ld.global.u32 %weight",
        expect: &[ErrorKind::UninitialisedGlobal],
        at: &["ld.global.u32 %weight"],
    },
    Bug {
        name: "field offset off by two",
        kernel: &RECORDS,
        from: "ld.global.u32 %value, [%src+4];",
        to: "ld.global.u32 %value, [%src+2];",
        expect: &[ErrorKind::Misaligned],
        at: &["[%src+2]"],
    },
    Bug {
        name: "last record never written",
        kernel: &RECORDS,
        from: "ld.param.u32 %n, [n];",
        to: "ld.param.u32 %n, [n];\n  sub.u32 %n, %n, 1;",
        expect: &[ErrorKind::UninitialisedGlobal],
        at: &[],
    },
    Bug {
        name: "table index past the table",
        kernel: &RECORDS,
        from: "rem.u32 %to, %to, 3;",
        to: "add.u32 %to, %to, 3;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.global.u64 %dst"],
    },
    Bug {
        name: "result stored over the coefficients",
        kernel: &POLYNOMIAL,
        from: "st.f32 [%y], %sum;",
        to: "st.f32 [%c0], %sum;",
        expect: &[ErrorKind::ReadOnly],
        at: &["st.f32 [%c0]"],
    },
    Bug {
        name: "result stored into a parameter",
        kernel: &POLYNOMIAL,
        from: "st.f32 [%y], %sum;",
        to: "st.f32 [%affine], %sum;",
        expect: &[ErrorKind::ReadOnly],
        at: &["st.f32 [%affine]"],
    },
    Bug {
        name: "one coefficient too many",
        kernel: &POLYNOMIAL,
        from: "mov.u32 %k, 3;",
        to: "mov.u32 %k, 4;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.f32 %c, [%at];"],
    },
    Bug {
        name: "field past the end of the structure",
        kernel: &POLYNOMIAL,
        from: "ld.f32 %shift, [%affine+4];",
        to: "ld.f32 %shift, [%affine+8];",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.f32 %shift"],
    },
    Bug {
        name: "field of a parameter structure at a wrong offset",
        kernel: &POLYNOMIAL,
        from: "ld.f32 %shift, [%affine+4];",
        to: "ld.f32 %shift, [%affine+2];",
        expect: &[ErrorKind::Misaligned],
        at: &["ld.f32 %shift"],
    },
    Bug {
        name: "sum not initialised",
        kernel: &POLYNOMIAL,
        from: "  mov.f32 %sum, 0f00000000;\n",
        to: "",
        expect: &[ErrorKind::UninitialisedRegister],
        at: &["fma.rn.f32 %sum, %sum, %v, %c;"],
    },
    Bug {
        name: "local array overrun",
        kernel: &MEDIAN,
        from: "add.u64 %at, %copy, %off; // copy[k]",
        to: "add.u64 %at, %copy, %off;\n  add.u64 %at, %at, 8;",
        expect: &[ErrorKind::OutOfBounds],
        at: &["st.local.u32 [%at], %w;", "st.local.u32 [%at], %v;"],
    },
    Bug {
        name: "element before the local array",
        kernel: &MEDIAN,
        from: "  @%stop bra PLACE;\n  ld.local",
        to: "  ld.local",
        expect: &[ErrorKind::OutOfBounds],
        at: &["ld.local.u32 %w"],
    },
    Bug {
        name: "element of a local array nobody wrote",
        kernel: &MEDIAN,
        from: "[%copy+28]",
        to: "[%copy+60]",
        expect: &[ErrorKind::UninitialisedLocal],
        at: &["ld.local.u32 %v, [%copy+60]"],
    },
    Bug {
        name: "local word read of which a byte was written",
        kernel: &MEDIAN,
        from: "st.local.u32 [%at], %v;",
        to: "st.local.u8 [%at], %v;",
        expect: &[ErrorKind::UninitialisedLocal],
        at: &["ld.local.u32 %w"],
    },
    Bug {
        name: "local word at an odd address",
        kernel: &MEDIAN,
        from: "[%copy+28]",
        to: "[%copy+30]",
        expect: &[ErrorKind::Misaligned],
        at: &["ld.local.u32 %v"],
    },
];

#[test]
fn found() {
    prove(BUGS);
}
