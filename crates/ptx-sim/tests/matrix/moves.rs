//! `ldmatrix`, `stmatrix`, `movmatrix`, and a product whose operands they bring.

use super::support::*;
use proptest::prelude::*;
use ptx_sim::{Arg, ErrorKind, LaunchConfig, Module, Sim};

/// Copies 512 bytes into shared memory, 16 per lane.
const FILL: &str = "mad.wide.u32 %p, %lane, 16, %in; ld.global.v4.b32 {%r0,%r1,%r2,%r3}, [%p];\n\
    shl.b32 %a, %lane, 4; mov.u32 %s, tile; add.u32 %s, %s, %a; st.shared.v4.b32 [%s], {%r0,%r1,%r2,%r3}; bar.warp.sync -1;\n";
const REGS: &str = ".reg .b32 %r<8>, %a, %s, %row; .reg .b64 %q; .shared .align 128 .b8 tile[512];";

fn list(n: usize) -> String {
    let names: Vec<String> = (0..n).map(|i| format!("%r{i}")).collect();
    format!("{{{}}}", names.join(","))
}

fn store(n: usize) -> String {
    let stores: String = (0..n).map(|i| format!("st.global.b32 [%p+{}], %r{i};", 4 * i)).collect();
    format!("mad.wide.u32 %p, %lane, {}, %out; {stores}", 4 * n)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn loads_and_stores_of_rows(seed: u64) {
        let mut r = Random(seed);
        let memory: Vec<u8> = (0..512).map(|_| r.bits() as u8).collect();
        // Each row at a 16-byte place of its own, chosen by where the input word sends it: a random permutation.
        let mut rows: Vec<usize> = (0..32).collect();
        for i in (1..32).rev() {
            rows.swap(i, r.below(i as u64 + 1) as usize);
        }
        let at = |row: usize, column: usize| {
            let i = 16 * rows[row] + 2 * column;
            u16::from_le_bytes([memory[i], memory[i + 1]]) as u32
        };
        let table: Vec<u8> = rows.iter().flat_map(|&v| (16 * v as u32).to_le_bytes()).collect();
        let input = [memory.clone(), table].concat();
        let pointer = "mad.wide.u32 %p, %lane, 4, %in; ld.global.b32 %row, [%p+512]; mov.u32 %s, tile; add.u32 %s, %s, %row;\n";
        for n in [1, 2, 4] {
            for trans in [false, true] {
                let t = if trans { ".trans" } else { "" };
                let l = list(n);
                let load = format!("{FILL}{pointer}ldmatrix.sync.aligned.m8n8.x{n}{t}.shared.b16 {l}, [%s];{}", store(n));
                let got = words(&clean(&kernel(REGS, &load), &input, 128 * n));
                for lane in 0..32 {
                    for m in 0..n {
                        let (g, c) = (lane / 4, 2 * (lane % 4));
                        let want = if trans {
                            at(8 * m + c, g) | at(8 * m + c + 1, g) << 16
                        } else {
                            at(8 * m + g, c) | at(8 * m + g, c + 1) << 16
                        };
                        prop_assert_eq!(got[lane * n + m], want, "x{}{} lane {} register {}", n, t, lane, m);
                    }
                }
                // What a load gives, a store with the same addresses puts back; through a generic address this time.
                let back = format!(
                    "{FILL}{pointer}cvt.u64.u32 %q, %s; cvta.shared.u64 %q, %q;\n\
                     ldmatrix.sync.aligned.m8n8.x{n}{t}.shared.b16 {l}, [%s];\n\
                     xor.b32 %r0, %r0, 0x00010001; bar.warp.sync -1;\n\
                     stmatrix.sync.aligned.m8n8.x{n}{t}.b16 [%q], {l}; bar.warp.sync -1;\n\
                     shl.b32 %a, %lane, 4; mov.u32 %s, tile; add.u32 %s, %s, %a; ld.shared.v4.b32 {{%r0,%r1,%r2,%r3}}, [%s];\n\
                     mad.wide.u32 %p, %lane, 16, %out; st.global.v4.b32 [%p], {{%r0,%r1,%r2,%r3}};"
                );
                let mut want = memory.clone();
                for row in 0..8 {
                    for column in 0..8 {
                        want[16 * rows[row] + 2 * column] ^= 1;
                    }
                }
                prop_assert_eq!(clean(&kernel(REGS, &back), &input, 512), want);
            }
        }
        let moved = format!(
            "mad.wide.u32 %p, %lane, 4, %in; ld.global.b32 %r1, [%p]; movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r1;{}",
            store(1)
        );
        let got = words(&clean(&kernel(REGS, &moved), &input, 128));
        let plain = |row: usize, column: usize| {
            u16::from_le_bytes([memory[16 * row + 2 * column], memory[16 * row + 2 * column + 1]]) as u32
        };
        for lane in 0..32 {
            let (g, c) = (lane / 4, 2 * (lane % 4));
            prop_assert_eq!(got[lane], plain(c, g) | plain(c + 1, g) << 16);
        }
    }

    /// D (m x n) = A (m x k, row-major) * B (k x n, row-major): a warp per 16x8 tile, operands through shared memory.
    #[test]
    fn a_matrix_product_of_mma(seed: u64, tiles in (1usize..4, 1usize..4, 1usize..5)) {
        let (m, n, k) = (16 * tiles.0, 8 * tiles.1, 16 * tiles.2);
        let mut r = Random(seed);
        let (a, b) = (Matrix::random(m, k, "bf16", &mut r), Matrix::random(k, n, "bf16", &mut r));
        let module = Module::parse(PRODUCT).unwrap_or_else(|e| panic!("{e}"));
        let mut sim = Sim::builder().seed(seed).build();
        let halves = |x: &Matrix| x.bits.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect::<Vec<u8>>();
        let (pa, pb, pd) = (sim.alloc(2 * m * k), sim.alloc(2 * k * n), sim.alloc(4 * m * n));
        sim.write(pa, &halves(&a)).unwrap();
        sim.write(pb, &halves(&b)).unwrap();
        let config = LaunchConfig::new([tiles.1 as u32, tiles.0 as u32, 1], [32, 1, 1]);
        let args = [Arg::U64(pa), Arg::U64(pb), Arg::U64(pd), Arg::U32(n as u32), Arg::U32(k as u32)];
        sim.launch(&module, "product", &config, &args).unwrap_or_else(|e| panic!("{e}"));
        let mut out = vec![0; 4 * m * n];
        sim.read_checked(pd, &mut out).unwrap();
        let t = Types { a: "bf16", b: "bf16", c: "f32", d: "f32" };
        let want = reference(&a, &b, &Matrix::zero(m, n), t, false, false);
        for (i, (g, w)) in words(&out).into_iter().zip(want.bits).enumerate() {
            prop_assert_eq!(g as u64, w, "({}, {})", i / n, i % n);
        }
    }
}

const PRODUCT: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry product(.param .u64 a, .param .u64 b, .param .u64 d, .param .u32 n, .param .u32 k) {
  .reg .b32 %n, %k, %lane, %bx, %by, %i, %t, %row, %col, %sa, %sb, %pa, %pb;
  .reg .b32 %a<4>, %b<2>, %d<4>, %v<4>; .reg .b64 %A, %B, %D, %p, %o; .reg .pred %q;
  .shared .align 16 .b8 As[512]; .shared .align 16 .b8 Bs[256];
  ld.param.u64 %A, [a]; ld.param.u64 %B, [b]; ld.param.u64 %D, [d]; ld.param.u32 %n, [n]; ld.param.u32 %k, [k];
  mov.u32 %lane, %tid.x; mov.u32 %bx, %ctaid.x; mov.u32 %by, %ctaid.y;
  mov.u32 %sa, As; mov.u32 %sb, Bs;
  mov.b32 %d0, 0; mov.b32 %d1, 0; mov.b32 %d2, 0; mov.b32 %d3, 0; mov.u32 %i, 0;
LOOP:
  // A: lane l brings half a row of 16: row l / 2, columns 8 * (l % 2) ..
  shr.u32 %row, %lane, 1; and.b32 %col, %lane, 1; shl.b32 %col, %col, 3;
  mad.lo.u32 %t, %by, 16, %row; mul.lo.u32 %t, %t, %k; add.u32 %t, %t, %i; add.u32 %t, %t, %col;
  mad.wide.u32 %p, %t, 2, %A; ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%p];
  shl.b32 %t, %lane, 4; add.u32 %pa, %sa, %t; st.shared.v4.b32 [%pa], {%v0, %v1, %v2, %v3};
  // B: lanes 0 to 15 bring a row of 8 each.
  setp.gt.u32 %q, %lane, 15; @%q bra FILLED;
  add.u32 %t, %i, %lane; mul.lo.u32 %t, %t, %n; mad.lo.u32 %t, %bx, 8, %t;
  mad.wide.u32 %p, %t, 2, %B; ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%p];
  shl.b32 %t, %lane, 4; add.u32 %pb, %sb, %t; st.shared.v4.b32 [%pb], {%v0, %v1, %v2, %v3};
FILLED:
  bar.warp.sync -1;
  // Matrices 0 and 1 are rows 0-7 and 8-15 of columns 0-7, matrices 2 and 3 of columns 8-15.
  and.b32 %row, %lane, 15; shr.u32 %col, %lane, 4; shl.b32 %row, %row, 5; shl.b32 %col, %col, 4;
  add.u32 %pa, %sa, %row; add.u32 %pa, %pa, %col;
  ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a0, %a1, %a2, %a3}, [%pa];
  and.b32 %row, %lane, 15; shl.b32 %row, %row, 4; add.u32 %pb, %sb, %row;
  ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%b0, %b1}, [%pb];
  mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, {%b0,%b1}, {%d0,%d1,%d2,%d3};
  bar.warp.sync -1;
  add.u32 %i, %i, 16; setp.lt.u32 %q, %i, %k; @%q bra LOOP;
  shr.u32 %row, %lane, 2; and.b32 %col, %lane, 3; shl.b32 %col, %col, 1;
  mad.lo.u32 %t, %by, 16, %row; mul.lo.u32 %t, %t, %n; mad.lo.u32 %t, %bx, 8, %t; add.u32 %t, %t, %col;
  mad.wide.u32 %p, %t, 4, %D; st.global.v2.b32 [%p], {%d0, %d1};
  mul.wide.u32 %o, %n, 32; add.u64 %p, %p, %o; st.global.v2.b32 [%p], {%d2, %d3};
  ret;
}";

#[test]
fn findings_at_rows() {
    let input = vec![7; 640];
    let kind = |body: &str| launch(Sim::builder(), &kernel(REGS, body), 32, &input, 128).unwrap_err().kind;
    let load = |address: &str| {
        format!("{FILL}{address} ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r0,%r1,%r2,%r3}}, [%s];")
    };
    // One row past the end, one row off its alignment, memory nobody wrote, a missing warp sync.
    assert_eq!(kind(&load("add.u32 %s, %s, 16;")), ErrorKind::OutOfBounds);
    assert_eq!(kind(&load("xor.b32 %s, %s, 8;")), ErrorKind::Misaligned);
    let empty = load("").replace(FILL, "shl.b32 %a, %lane, 4; mov.u32 %s, tile; add.u32 %s, %s, %a;");
    assert_eq!(kind(&empty), ErrorKind::UninitialisedShared);
    let racy =
        load("mov.u32 %s, tile; xor.b32 %a, %a, 16; add.u32 %s, %s, %a;").replace("bar.warp.sync -1;", "");
    assert_eq!(kind(&racy), ErrorKind::SharedRace);
}
