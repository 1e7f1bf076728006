//! `wmma`: load, multiply, store, in every shape, type, layout and space, with strides.

use super::support::*;
use proptest::prelude::*;
use ptx_sim::{ErrorKind, Sim};

/// A matrix in memory: bits of its elements at a stride, rows or columns along memory.
fn image(x: &Matrix, ty: &str, row: bool, stride: usize) -> Vec<u8> {
    let (major, minor) = if row { (x.rows, x.columns) } else { (x.columns, x.rows) };
    let bits = width(ty) as usize;
    let mut out = vec![0u8; (major * stride * bits).div_ceil(8)];
    for i in 0..major {
        for j in 0..minor {
            let v = if row { x.at(i, j) } else { x.at(j, i) };
            let at = (i * stride + j) * bits;
            if bits < 8 {
                out[at / 8] |= (v << (at % 8)) as u8;
            } else {
                out[at / 8..at / 8 + bits / 8].copy_from_slice(&v.to_le_bytes()[..bits / 8]);
            }
        }
    }
    out
}

fn read(bytes: &[u8], rows: usize, columns: usize, ty: &str, row: bool, stride: usize) -> Matrix {
    let mut x = Matrix::zero(rows, columns);
    let size = width(ty) as usize / 8;
    for i in 0..rows {
        for j in 0..columns {
            let at = size * if row { i * stride + j } else { j * stride + i };
            x.bits[i * columns + j] = bytes[at..at + size].iter().rev().fold(0, |v, &b| v << 8 | b as u64);
        }
    }
    x
}

struct Case<'a> {
    shape: [usize; 3],
    t: Types<'a>,
    /// Registers of A, B, C, D.
    counts: [usize; 4],
    rows: [bool; 4],
    shared: bool,
    tail: &'a str,
}

fn layout(row: bool) -> &'static str {
    if row { "row" } else { "col" }
}

fn check(c: &Case<'_>, r: &mut Random) {
    let [m, n, k] = c.shape;
    let a = Matrix::random(m, k, c.t.a, r);
    let b = Matrix::random(k, n, c.t.b, r);
    let x = Matrix::random(m, n, c.t.c, r);
    let sizes = [(m, k, c.t.a), (k, n, c.t.b), (m, n, c.t.c), (m, n, c.t.d)];
    // A stride of the tile's own width, or wider by a multiple of 16 bytes.
    let strides: Vec<usize> = sizes
        .iter()
        .zip(c.rows)
        .map(|(&(rows, columns, ty), row)| {
            (if row { columns } else { rows }) + (128 / width(ty)) as usize * r.below(3) as usize
        })
        .collect();
    let parts = [(&a, c.t.a, 0), (&b, c.t.b, 1), (&x, c.t.c, 2)];
    let mut input = Vec::new();
    let mut offsets = Vec::new();
    for (x, ty, i) in parts {
        input.resize(input.len().next_multiple_of(32), 0);
        offsets.push(input.len());
        input.extend(image(x, ty, c.rows[i], strides[i]));
    }
    input.resize(input.len().next_multiple_of(4), 0);
    let shape = format!("m{m}n{n}k{k}");
    let wide = c.t.a == "f64";
    let list = |name: &str, n: usize| {
        let v: Vec<String> = (0..n).map(|i| format!("%{name}{i}")).collect();
        format!("{{{}}}", v.join(","))
    };
    let ss = if c.shared { ".shared" } else { ".global" };
    let mut body = String::new();
    if c.shared {
        // Lane by lane, word by word.
        body += &format!(
            "mov.u32 %i, %lane; LOOP: mad.wide.u32 %p, %i, 4, %in; ld.global.b32 %v, [%p]; mov.u32 %s, all; mad.lo.u32 %s, %i, 4, %s;\n\
             st.shared.b32 [%s], %v; add.u32 %i, %i, 32; setp.lt.u32 %q, %i, {}; @%q bra LOOP; bar.sync 0; mov.u64 %base, all;\n",
            input.len() / 4
        );
    } else {
        body += "mov.u64 %base, %in;\n";
    }
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        let frag = list(name, c.counts[i]);
        let own = if c.rows[i] { sizes[i].1 } else { sizes[i].0 };
        let stride = if strides[i] == own { String::new() } else { format!(", {}", strides[i]) };
        body += &format!(
            "add.u64 %p, %base, {}; wmma.load.{name}.sync.aligned.{}.{shape}{ss}.{} {frag}, [%p]{stride};\n",
            offsets[i],
            layout(c.rows[i]),
            sizes[i].2
        );
    }
    let [ra, rb] = [c.rows[0], c.rows[1]].map(layout);
    let Types { a: at, b: bt, c: ct, d: dt } = c.t;
    let types = if at == "f16" { format!("{dt}.{ct}") } else { format!("{dt}.{at}.{bt}.{ct}") };
    let op = match c.tail {
        "xor" | "and" => format!("wmma.mma.{}.popc.sync.aligned.{ra}.{rb}.{shape}.{types}", c.tail),
        tail => format!("wmma.mma.sync.aligned.{ra}.{rb}.{shape}.{types}{tail}"),
    };
    let [na, nb, nc, nd] = c.counts;
    body += &format!("{op} {}, {}, {}, {};\n", list("d", nd), list("a", na), list("b", nb), list("c", nc));
    body += &format!(
        "wmma.store.d.sync.aligned.{}.{shape}.global.{dt} [%out], {}, {};",
        layout(c.rows[3]),
        list("d", nd),
        strides[3]
    );
    let ty = if wide { "b64" } else { "b32" };
    let shared =
        if c.shared { format!(".shared .align 128 .b8 all[{}];", input.len()) } else { String::new() };
    let regs = format!(
        ".reg .{ty} %a<8>, %b<8>, %c<8>, %d<8>; .reg .b32 %i, %v, %s; .reg .b64 %base; .reg .pred %q; {shared}"
    );
    let ptx = kernel(&regs, &body);
    let major = if c.rows[3] { m } else { n };
    // The last row is as long as the tile is wide: nothing behind it is written.
    let bytes = ((major - 1) * strides[3] + if c.rows[3] { n } else { m }) * width(dt) as usize / 8;
    let module = ptx_sim::Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut sim = Sim::builder().build();
    let (px, py) = (sim.alloc(input.len()), sim.alloc(bytes));
    sim.write(px, &input).unwrap();
    let args = [ptx_sim::Arg::U64(px), ptx_sim::Arg::U64(py)];
    let config = ptx_sim::LaunchConfig::new([1, 1, 1], [32, 1, 1]);
    sim.launch(&module, "k", &config, &args).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut out = vec![0; bytes];
    sim.read(py, &mut out).unwrap();
    let got = read(&out, m, n, dt, c.rows[3], strides[3]);
    let want = reference(&a, &b, &x, c.t, c.tail == ".satfinite", c.tail == "xor");
    for (i, (g, w)) in got.bits.iter().zip(&want.bits).enumerate() {
        assert_eq!(g, w, "({}, {}) of\n{ptx}", i / n, i % n);
    }
}

const SHAPES: [[usize; 3]; 3] = [[16, 16, 16], [32, 8, 16], [8, 32, 16]];

fn flags(r: &mut Random) -> [bool; 4] {
    let v = r.bits();
    [v & 1 != 0, v & 2 != 0, v & 4 != 0, v & 8 != 0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sixteen_bit_floats(seed: u64) {
        let mut r = Random(seed);
        for shape in SHAPES {
            for (d, c) in [("f32", "f32"), ("f16", "f16"), ("f32", "f16"), ("f16", "f32")] {
                let n = |t| if t == "f16" { 4 } else { 8 };
                let t = Types { a: "f16", b: "f16", c, d };
                let rows = flags(&mut r);
                check(&Case { shape, t, counts: [8, 8, n(c), n(d)], rows, shared: seed & 1 != 0, tail: "" }, &mut r);
            }
            let t = Types { a: "bf16", b: "bf16", c: "f32", d: "f32" };
            let counts = [shape[0] / 4, shape[1] / 4, 8, 8];
            let rows = flags(&mut r);
            check(&Case { shape, t, counts, rows, shared: seed & 1 == 0, tail: "" }, &mut r);
        }
    }

    #[test]
    fn other_types(seed: u64) {
        let mut r = Random(seed);
        for shape in SHAPES {
            for ty in ["s8", "u8"] {
                for tail in ["", ".satfinite"] {
                    let t = Types { a: ty, b: ty, c: "s32", d: "s32" };
                    let counts = [shape[0] / 8, shape[1] / 8, 8, 8];
                    let rows = flags(&mut r);
                    check(&Case { shape, t, counts, rows, shared: seed & 1 != 0, tail }, &mut r);
                }
            }
        }
        let t = Types { a: "tf32", b: "tf32", c: "f32", d: "f32" };
        let rows = flags(&mut r);
        check(&Case { shape: [16, 16, 8], t, counts: [4, 4, 8, 8], rows, shared: false, tail: "" }, &mut r);
        let t = Types { a: "f64", b: "f64", c: "f64", d: "f64" };
        let rows = flags(&mut r);
        check(&Case { shape: [8, 8, 4], t, counts: [1, 1, 2, 2], rows, shared: true, tail: "" }, &mut r);
        let [_, _, c, d] = flags(&mut r);
        for ty in ["s4", "u4"] {
            let t = Types { a: ty, b: ty, c: "s32", d: "s32" };
            let rows = [true, false, c, d];
            check(&Case { shape: [8, 8, 32], t, counts: [1, 1, 2, 2], rows, shared: false, tail: "" }, &mut r);
        }
        for tail in ["xor", "and"] {
            let t = Types { a: "b1", b: "b1", c: "s32", d: "s32" };
            let rows = [true, false, c, d];
            check(&Case { shape: [8, 8, 128], t, counts: [1, 1, 2, 2], rows, shared: true, tail }, &mut r);
        }
    }
}

#[test]
fn a_tile_across_the_end_of_a_buffer_is_out_of_bounds() {
    let regs = ".reg .b32 %a<8>;";
    let load = |stride| {
        let body = format!(
            "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {{%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}}, [%in], {stride};\n\
             mad.wide.u32 %p, %lane, 4, %out; st.global.b32 [%p], %a0;"
        );
        launch(Sim::builder(), &kernel(regs, &body), 32, &[1; 512], 128).map(|_| ()).map_err(|e| e.kind)
    };
    assert_eq!(load(16), Ok(()));
    assert_eq!(load(24), Err(ErrorKind::OutOfBounds));
    assert_eq!(load(17), Err(ErrorKind::Misaligned));
}
