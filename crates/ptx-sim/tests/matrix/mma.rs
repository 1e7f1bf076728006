//! `mma`: fragments placed by the formulas of the PTX ISA's figures, each written out as it stands there.

use super::support::*;
use proptest::prelude::*;
use ptx_sim::{Accumulation, ErrorKind, Sim, TensorType};

/// Row and column of element `i` of A in `lane`.
fn a_place(m: usize, k: usize, bits: u32, lane: usize, i: usize) -> (usize, usize) {
    let (g, t) = (lane / 4, lane % 4);
    let up = |first: bool| if first { g } else { g + 8 };
    match (m, k, bits) {
        (16, 8, 16) => (up(i < 2), t * 2 + (i & 1)),
        (16, 16, 16) => {
            (up(i < 2 || (4..6).contains(&i)), if i < 4 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 })
        }
        (16, 4, 32 | 64) => (up(i == 0), t),
        (16, 8, 32 | 64) => (up(i == 0 || i == 2), if i < 2 { t } else { t + 4 }),
        (8, 4, 64) => (g, t),
        (16, 16, 64) => (up(i & 1 == 0), if i & 1 == 0 { i * 2 + t } else { i * 2 - 2 + t }),
        (8, 16, 8) => (g, t * 4 + i),
        (16, 16, 8) => (up(i < 4), t * 4 + (i & 3)),
        (16, 32, 8) => {
            (up(i < 4 || (8..12).contains(&i)), if i < 8 { t * 4 + (i & 3) } else { t * 4 + (i & 3) + 16 })
        }
        (8, 32, 4) => (g, t * 8 + i),
        (16, 32, 4) => (up(i < 8), t * 8 + (i & 7)),
        (16, 64, 4) => {
            (up(i < 8 || (16..24).contains(&i)), if i < 16 { t * 8 + (i & 7) } else { t * 8 + (i & 7) + 32 })
        }
        (8, 128, 1) => (g, t * 32 + i),
        (16, 128, 1) => (up(i < 32), t * 32 + (i & 31)),
        (16, 256, 1) => (
            up(i < 32 || (64..96).contains(&i)),
            if i < 64 { t * 32 + (i & 31) } else { t * 32 + (i & 31) + 128 },
        ),
        other => panic!("no figure for {other:?}"),
    }
}

/// Row and column of element `i` of B in `lane`.
fn b_place(k: usize, bits: u32, lane: usize, i: usize) -> (usize, usize) {
    let (g, t) = (lane / 4, lane % 4);
    let row = match (k, bits) {
        (8, 16) => t * 2 + i,
        (16, 16) => {
            if i < 2 {
                t * 2 + (i & 1)
            } else {
                t * 2 + (i & 1) + 8
            }
        }
        (4, 32 | 64) => t,
        (8 | 16, 32 | 64) => t + 4 * i,
        (16, 8) => t * 4 + i,
        (32, 8) => {
            if i < 4 {
                t * 4 + (i & 3)
            } else {
                t * 4 + (i & 3) + 16
            }
        }
        (32, 4) => t * 8 + i,
        (64, 4) => {
            if i < 8 {
                t * 8 + (i & 7)
            } else {
                t * 8 + (i & 7) + 32
            }
        }
        (128, 1) => t * 32 + i,
        (256, 1) => {
            if i < 32 {
                t * 32 + (i & 31)
            } else {
                t * 32 + (i & 31) + 128
            }
        }
        other => panic!("no figure for {other:?}"),
    };
    (row, g)
}

/// Row and column of element `i` of C or D in `lane`.
fn c_place(m: usize, lane: usize, i: usize) -> (usize, usize) {
    let (g, t) = (lane / 4, lane % 4);
    if m == 8 { (g, t * 2 + i) } else { (if i < 2 { g } else { g + 8 }, t * 2 + (i & 1)) }
}

/// Registers of a fragment of `x`: 64-bit words, as many elements in each as fit a register of its type.
fn pack(x: &Matrix, ty: &str, place: impl Fn(usize, usize) -> (usize, usize)) -> Vec<Vec<u64>> {
    let per = (32 / width(ty)).max(1) as usize;
    let elements = x.bits.len() / 32;
    (0..32)
        .map(|lane| {
            (0..elements / per)
                .map(|reg| {
                    (0..per).fold(0, |v, j| {
                        let (r, c) = place(lane, reg * per + j);
                        v | x.at(r, c) << (j as u32 * width(ty))
                    })
                })
                .collect()
        })
        .collect()
}

fn unpack(regs: &[u64], rows: usize, ty: &str) -> Matrix {
    let mut d = Matrix::zero(rows, 8);
    let per = (32 / width(ty)).max(1) as usize;
    let n = regs.len() / 32;
    let keep = if width(ty) == 64 { !0 } else { (1u64 << width(ty)) - 1 };
    for lane in 0..32 {
        for i in 0..n * per {
            let (r, c) = c_place(rows, lane, i);
            d.bits[r * 8 + c] = regs[lane * n + i / per] >> ((i % per) as u32 * width(ty)) & keep;
        }
    }
    d
}

struct Case<'a> {
    opcode: &'a str,
    m: usize,
    k: usize,
    t: Types<'a>,
    saturate: bool,
    xor: bool,
}

/// Builds a kernel that loads the fragments, multiplies, and stores D.
fn program(c: &Case<'_>, counts: [usize; 4]) -> String {
    let wide = c.t.a == "f64";
    let (size, ty) = if wide { (8, "b64") } else { (4, "b32") };
    let list = |name: &str, n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("%{name}{i}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let [na, nb, nc, nd] = counts;
    let mut body = format!("mad.wide.u32 %p, %lane, {}, %in;\n", size * (na + nb + nc));
    let mut at = 0;
    for (name, n) in [("a", na), ("b", nb), ("c", nc)] {
        for i in 0..n {
            body += &format!("ld.global.{ty} %{name}{i}, [%p+{at}];\n");
            at += size;
        }
    }
    let [d, a, b, x] = [("d", nd), ("a", na), ("b", nb), ("c", nc)].map(|(name, n)| list(name, n));
    body += &format!("{} {d}, {a}, {b}, {x};\nmad.wide.u32 %p, %lane, {}, %out;\n", c.opcode, size * nd);
    for i in 0..nd {
        body += &format!("st.global.{ty} [%p+{}], %d{i};\n", size * i);
    }
    kernel(&format!(".reg .{ty} %a<16>, %b<16>, %c<16>, %d<16>;"), &body)
}

fn run(c: &Case<'_>, seed: u64, mode: Accumulation) -> (Matrix, Matrix, [Matrix; 3]) {
    let mut r = Random(seed);
    let a = Matrix::random(c.m, c.k, c.t.a, &mut r);
    let b = Matrix::random(c.k, 8, c.t.b, &mut r);
    let mut x = Matrix::random(c.m, 8, c.t.c, &mut r);
    if c.t.c == "s32" {
        // Near the ends of the range, so that sums wrap or saturate, and near zero.
        x.bits.iter_mut().for_each(|v| {
            *v = match r.below(3) {
                0 => i32::MAX as u64 - r.below(5000),
                1 => (i32::MIN as i64 + r.below(5000) as i64) as u32 as u64,
                _ => r.below(100_000),
            }
        });
    }
    let fa = pack(&a, c.t.a, |lane, i| a_place(c.m, c.k, width(c.t.a), lane, i));
    let fb = pack(&b, c.t.b, |lane, i| b_place(c.k, width(c.t.b), lane, i));
    let fc = pack(&x, c.t.c, |lane, i| c_place(c.m, lane, i));
    let wide = c.t.a == "f64";
    let size = if wide { 8 } else { 4 };
    let mut input = Vec::new();
    for lane in 0..32 {
        for v in fa[lane].iter().chain(&fb[lane]).chain(&fc[lane]) {
            input.extend_from_slice(&v.to_le_bytes()[..size]);
        }
    }
    let nd = c.m * 8 / 32 * width(c.t.d) as usize / if wide { 64 } else { 32 };
    let ptx = program(c, [fa[0].len(), fb[0].len(), fc[0].len(), nd]);
    let builder = Sim::builder().accumulation(mode);
    let (out, stats) =
        launch(builder, &ptx, 32, &input, 32 * nd * size).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    assert_eq!(stats.tensor_flop.iter().sum::<u64>(), 2 * (c.m * 8 * c.k) as u64);
    let regs: Vec<u64> =
        out.chunks(size).map(|v| v.iter().rev().fold(0, |x, &b| x << 8 | b as u64)).collect();
    let want = reference(&a, &b, &x, c.t, c.saturate, c.xor);
    (unpack(&regs, c.m, c.t.d), want, [a, b, x])
}

fn check(opcode: &str, m: usize, k: usize, types: [&str; 4], seed: u64) {
    let [d, a, b, c] = types;
    let case = Case {
        opcode,
        m,
        k,
        t: Types { a, b, c, d },
        saturate: opcode.contains("satfinite"),
        xor: opcode.contains("xor"),
    };
    let (got, want, _) = run(&case, seed, Accumulation::Sequential);
    for (i, (g, w)) in got.bits.iter().zip(&want.bits).enumerate() {
        assert_eq!(g, w, "`{opcode}` at ({}, {}): got {g:#x}, want {w:#x}", i / 8, i % 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn sixteen_bit_floats(seed: u64) {
        for k in [8, 16] {
            for c in ["f32", "f16"] {
                check(&format!("mma.sync.aligned.m16n8k{k}.row.col.{c}.f16.f16.{c}"), 16, k, [c, "f16", "f16", c], seed);
            }
            let op = format!("mma.sync.aligned.m16n8k{k}.row.col.f32.bf16.bf16.f32");
            check(&op, 16, k, ["f32", "bf16", "bf16", "f32"], seed);
        }
    }

    #[test]
    fn tf32_ignores_the_low_bits(seed: u64) {
        for k in [4, 8] {
            let op = format!("mma.sync.aligned.m16n8k{k}.row.col.f32.tf32.tf32.f32");
            check(&op, 16, k, ["f32", "tf32", "tf32", "f32"], seed);
        }
    }

    #[test]
    fn f64_is_a_chain_of_fused_multiply_adds(seed: u64) {
        for (m, k) in [(8, 4), (16, 4), (16, 8), (16, 16)] {
            let op = format!("mma.sync.aligned.m{m}n8k{k}.row.col.f64.f64.f64.f64");
            check(&op, m, k, ["f64"; 4], seed);
        }
    }

    #[test]
    fn integers_wrap_or_saturate(seed: u64) {
        for (m, k, types) in [(8, 16, ["s8", "u8"]), (16, 16, ["s8", "u8"]), (16, 32, ["s8", "u8"]),
                              (8, 32, ["s4", "u4"]), (16, 32, ["s4", "u4"]), (16, 64, ["s4", "u4"])] {
            for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for sat in ["", ".satfinite"] {
                    let (a, b) = (types[a], types[b]);
                    let op = format!("mma.sync.aligned.m{m}n8k{k}.row.col{sat}.s32.{a}.{b}.s32");
                    check(&op, m, k, ["s32", a, b, "s32"], seed);
                }
            }
        }
        for (m, k) in [(8, 128), (16, 128), (16, 256)] {
            for op in ["xor", "and"] {
                let op = format!("mma.sync.aligned.m{m}n8k{k}.row.col.s32.b1.b1.s32.{op}.popc");
                check(&op, m, k, ["s32", "b1", "b1", "s32"], seed);
            }
        }
    }

    #[test]
    fn eight_bit_floats(seed: u64) {
        for k in [16, 32] {
            for (a, b) in [("e4m3", "e4m3"), ("e4m3", "e5m2"), ("e5m2", "e4m3"), ("e5m2", "e5m2")] {
                for c in ["f32", "f16"] {
                    let op = format!("mma.sync.aligned.m16n8k{k}.row.col.{c}.{a}.{b}.{c}");
                    check(&op, 16, k, [c, a, b, c], seed);
                }
            }
        }
    }

    /// The truncating adder loses less than one unit of its window per addend, and one unit of f32 at the end.
    #[test]
    fn truncation_stays_within_its_window(seed: u64) {
        let t = Types { a: "f16", b: "f16", c: "f32", d: "f32" };
        let opcode = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
        let case = Case { opcode, m: 16, k: 16, t, saturate: false, xor: false };
        let (got, sequential, [a, b, c]) = run(&case, seed, Accumulation::Truncating);
        let mut differ = 0;
        for i in 0..16 {
            for j in 0..8 {
                let terms: Vec<f64> = (0..16).map(|k| number("f16", a.at(i, k)) * number("f16", b.at(k, j)))
                    .chain([number("f32", c.at(i, j))]).collect();
                // All exact: 17 terms of 24 bits, 2^-48 and up.
                let exact: f64 = terms.iter().sum();
                let largest = terms.iter().fold(0f64, |m, t| m.max(t.abs()));
                let have = number("f32", got.at(i, j));
                let bound = 17.0 * largest * 2f64.powi(-25) + exact.abs() * 2f64.powi(-23);
                prop_assert!((have - exact).abs() <= bound, "({i}, {j}): {have:e}, exactly {exact:e}");
                differ += usize::from(got.at(i, j) != sequential.at(i, j));
            }
        }
        prop_assert!(differ > 0, "128 sums, and never a bit of difference between the two adders");
    }
}

const HALF: &str = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%r6}, {%r0,%r1,%r2,%r3};";

#[test]
fn an_incomplete_warp_is_a_finding() {
    let regs = ".reg .b32 %r<8>; .reg .pred %q;";
    let init: String = (0..8).map(|i| format!("mov.b32 %r{i}, %lane;")).collect();
    let end = "mad.wide.u32 %p, %lane, 4, %out; st.global.b32 [%p], %r0;";
    // Half of the lanes skip the multiplication for good.
    let skip = format!("{init} setp.lt.u32 %q, %lane, 16; @%q bra L; {HALF}\n L: {end}");
    let run =
        |body: &str, threads| launch(Sim::builder(), &kernel(regs, body), threads, &[0; 4], 128).map(|_| ());
    assert_eq!(run(&skip, 32).unwrap_err().kind, ErrorKind::DivergentCollective);
    let plain = format!("{init} {HALF} {end}");
    assert_eq!(run(&plain, 20).unwrap_err().kind, ErrorKind::DivergentCollective);
    run(&plain, 32).unwrap();
}

#[test]
fn an_operand_nobody_wrote_is_a_finding_and_flop_are_counted() {
    let regs = ".reg .b32 %r<8>;";
    let init: String = (0..7).map(|i| format!("mov.b32 %r{i}, %lane;")).collect();
    let end = "mad.wide.u32 %p, %lane, 4, %out; st.global.b32 [%p], %r0;";
    let run = |body: &str| launch(Sim::builder(), &kernel(regs, body), 32, &[0; 4], 128);
    let (_, stats) = run(&format!("{init} {HALF} {HALF} {end}")).unwrap();
    assert_eq!(stats.tensor_flop[TensorType::F16 as usize], 2 * 2 * 16 * 8 * 8);
    assert_eq!(stats.by_class[ptx_sim::Class::Tensor as usize], 2);
    let missing = init.replace("mov.b32 %r5, %lane;", "");
    let e = run(&format!("{missing} {HALF} {end}")).unwrap_err();
    assert_eq!(e.kind, ErrorKind::UninitialisedRegister);
    assert!(e.report.message.contains("%r5"), "{e}");
}

#[test]
fn forms_that_do_not_exist_are_refused_by_name() {
    let regs = ".reg .b32 %r<8>;";
    for op in [
        HALF.replace("m16n8k8", "m16n8k32"),
        HALF.replace("row.col", "row.row"),
        HALF.replace("f16.f16", "f16.bf16"),
        HALF.replace("f16.f16.f32", "f16.f16.f16").replace(", {%r0,%r1,%r2,%r3};", ", {%r0,%r1};"),
        HALF.replace("mma.sync", "mma.sp.sync"),
        HALF.replace("{%r6}", "{%r6, %r7}"),
    ] {
        let e = launch(Sim::builder(), &kernel(regs, &op), 32, &[0; 4], 4).unwrap_err();
        assert_eq!(e.kind, ErrorKind::UnsupportedInstruction, "{op}");
        assert!(e.report.message.contains("`mma."), "{e}");
    }
}
