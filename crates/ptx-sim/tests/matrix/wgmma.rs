//! `wgmma`: every type, shapes of all sizes, all layouts of shared operands, A from registers, and a product in a pipeline.

use super::support::*;
use proptest::prelude::*;
use ptx_sim::{Arg, Checks, LaunchConfig, LaunchStats, Module, Sim, SimError};

/// How an operand lies in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of the swizzle, 0 for none.
    pub swizzle: usize,
    pub mn_major: bool,
    /// Spare chunks of 16 bytes between blocks, to make the strides unlike each other.
    pub spare: usize,
}

impl Layout {
    /// Leading and stride byte offsets for an operand of `mn` by `k` elements of `size` bytes.
    pub fn offsets(&self, mn: usize, k: usize, size: usize) -> (usize, usize) {
        let w = self.swizzle;
        match (w, self.mn_major) {
            // 8x16-byte core matrices, those along K next to each other.
            (0, false) => {
                (128 + 16 * self.spare, (128 + 16 * self.spare) * (k * size / 16) + 16 * self.spare)
            }
            // ... and those along MN, the ones along K behind them.
            (0, true) => ((128 + 16 * self.spare) * (mn / 8) + 16 * self.spare, 128 + 16 * self.spare),
            // Eight rows of the swizzle's width; the leading offset means nothing.
            (_, false) => (16, 8 * w + 1024 * self.spare),
            // Blocks of w / 2 elements of MN by 8 of K: those along K behind each other.
            (_, true) => (8 * w * (k / 8) + 1024 * self.spare, 8 * w),
        }
    }

    /// Byte of element (mn, k), from the start of the operand.
    pub fn at(&self, mn: usize, k: usize, extent: (usize, usize), size: usize) -> usize {
        let (leading, stride) = self.offsets(extent.0, extent.1, size);
        let byte = k * size;
        let plain = match (self.swizzle, self.mn_major) {
            (0, false) => (mn / 8) * stride + (byte / 16) * leading + (mn % 8) * 16 + byte % 16,
            (0, true) => (mn / 8) * stride + (k / 8) * leading + (k % 8) * 16 + (mn % 8) * 2,
            (w, false) => (mn / 8) * stride + (mn % 8) * w + byte,
            (w, true) => {
                let across = w / 2;
                (mn / across) * leading + (k / 8) * stride + (k % 8) * w + (mn % across) * 2
            }
        };
        match self.swizzle {
            0 => plain,
            w => plain ^ ((plain >> 7 & (w / 16 - 1)) << 4),
        }
    }

    /// Descriptor bits but for the address.
    pub fn descriptor(&self, mn: usize, k: usize, size: usize) -> u64 {
        let (leading, stride) = self.offsets(mn, k, size);
        let mode = [(0, 0u64), (128, 1), (64, 2), (32, 3)].iter().find(|m| m.0 == self.swizzle).unwrap().1;
        mode << 62 | (stride as u64 / 16) << 32 | (leading as u64 / 16) << 16
    }

    /// The operand as bytes; `x` is indexed (mn, k). Gaps hold what must not matter.
    pub fn image(&self, x: &dyn Fn(usize, usize) -> u64, mn: usize, k: usize, size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for i in 0..mn {
            for j in 0..k {
                let at = self.at(i, j, (mn, k), size);
                if out.len() < at + size {
                    out.resize((at + size).next_multiple_of(1024), 0x5a);
                }
                out[at..at + size].copy_from_slice(&x(i, j).to_le_bytes()[..size]);
            }
        }
        out
    }
}

/// Fills shared memory `tile` from the input: `words` 32-bit words, by 128 threads.
pub fn fill(words: usize) -> String {
    format!(
        "mov.u32 %i, %lane; mov.u32 %tile, tile;\nFILL: setp.ge.u32 %q, %i, {words}; @%q bra FILLED;\n\
         mad.wide.u32 %p, %i, 4, %in; ld.global.b32 %v, [%p]; mad.lo.u32 %s, %i, 4, %tile; st.shared.b32 [%s], %v;\n\
         add.u32 %i, %i, 128; bra FILL;\nFILLED: fence.proxy.async.shared::cta; bar.sync 0;\n\
         and.b32 %i, %tile, 0x3ffff; shr.u32 %i, %i, 4; cvt.u64.u32 %base, %i;\n"
    )
}

pub const REGS: &str =
    ".reg .b32 %i, %v, %s, %tile, %d<132>, %a<8>; .reg .b64 %base, %da, %db; .reg .pred %q, %scale;";

pub fn list(name: &str, n: usize) -> String {
    let v: Vec<String> = (0..n).map(|i| format!("%{name}{i}")).collect();
    format!("{{{}}}", v.join(","))
}

pub fn run(
    ptx: &str,
    checks: Checks,
    seed: u64,
    threads: u32,
    input: &[u8],
    out: usize,
) -> Result<(Vec<u8>, LaunchStats), SimError> {
    launch(Sim::builder().checks(checks).seed(seed), ptx, threads, input, out)
}

/// Row and column of element `i` of D in a thread of the warpgroup.
pub fn d_place(thread: usize, i: usize) -> (usize, usize) {
    let (warp, lane) = (thread / 32, thread % 32);
    (16 * warp + lane / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + 2 * (lane % 4) + i % 2)
}

/// Row and column of element `i` of A in a thread, for elements of `bits` bits.
fn a_place(thread: usize, i: usize, bits: u32) -> (usize, usize) {
    let (warp, g, t) = (thread / 32, thread % 32 / 4, thread % 4);
    let e = 32 / bits as usize;
    // Registers 0 and 1 are columns of the first half, 1 and 3 the rows further down.
    let (register, j) = (i / e, i % e);
    (16 * warp + g + 8 * (register % 2), e * t + j + 4 * e * (register / 2))
}

struct Case<'a> {
    n: usize,
    t: Types<'a>,
    layouts: [Layout; 2],
    from_registers: bool,
    negate: [bool; 2],
    scale: bool,
    saturate: bool,
}

fn sign(ty: &str, v: u64) -> u64 {
    v ^ 1 << (width(ty).min(32) - 1)
}

fn check(c: &Case<'_>, r: &mut Random) {
    let bits = width(c.t.a);
    let (n, k, size) = (c.n, (256 / bits) as usize, (bits as usize / 8).max(1));
    let a = Matrix::random(64, k, c.t.a, r);
    let b = Matrix::random(k, n, c.t.b, r);
    let x = if c.scale { Matrix::random(64, n, c.t.d, r) } else { Matrix::zero(64, n) };
    let [la, lb] = c.layouts;
    let mut input = if c.from_registers { Vec::new() } else { la.image(&|m, k| a.at(m, k), 64, k, size) };
    let b_at = input.len();
    input.extend(lb.image(&|m, k| b.at(k, m), n, k, size));
    let shared = input.len();
    // Registers behind: per thread A, then D.
    let per = (32 / width(c.t.d)) as usize;
    let (na, nd) = (if c.from_registers { 4 } else { 0 }, n / 2 / per);
    for thread in 0..128 {
        for reg in 0..na {
            let e = (32 / bits) as usize;
            let v = (0..e).fold(0, |v, j| {
                let (row, column) = a_place(thread, reg * e + j, bits);
                v | a.at(row, column) << (j as u32 * bits)
            });
            input.extend((v as u32).to_le_bytes());
        }
        for reg in 0..nd {
            let v = (0..per).fold(0, |v, j| {
                let (row, column) = d_place(thread, reg * per + j);
                v | x.at(row, column) << (j as u32 * width(c.t.d))
            });
            input.extend((v as u32).to_le_bytes());
        }
    }
    let mut body = fill(shared / 4);
    body += &format!("mad.wide.u32 %p, %lane, {}, %in; add.u64 %p, %p, {shared};\n", 4 * (na + nd));
    for i in 0..na {
        body += &format!("ld.global.b32 %a{i}, [%p+{}];", 4 * i);
    }
    if c.scale {
        for i in 0..nd {
            body += &format!("ld.global.b32 %d{i}, [%p+{}];", 4 * (na + i));
        }
    }
    // Without scale-d the accumulator may hold anything, or nothing yet.
    let integer = c.t.d == "s32";
    let mut tail = String::from("%scale");
    if !integer {
        c.negate.iter().for_each(|n| tail += if *n { ", -1" } else { ", 1" });
    }
    if bits == 16 {
        let trans = if c.from_registers { &c.layouts[1..] } else { &c.layouts[..] };
        trans.iter().for_each(|l| tail += if l.mn_major { ", 1" } else { ", 0" });
    }
    let factor = if c.from_registers { list("a", na) } else { "%da".into() };
    let sat = if c.saturate { ".satfinite" } else { "" };
    body += &format!(
        "or.b64 %da, %base, {:#x}; add.u64 %db, %base, {}; or.b64 %db, %db, {:#x};\nsetp.{} %scale, %lane, %lane;\n\
         wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n{n}k{k}{sat}.{}.{}.{} {}, {factor}, %db, {tail};\n\
         wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nmad.wide.u32 %p, %lane, {}, %out;\n",
        la.descriptor(64, k, size),
        b_at / 16,
        lb.descriptor(n, k, size),
        if c.scale { "eq.u32" } else { "ne.u32" },
        c.t.d,
        c.t.a,
        c.t.b,
        list("d", nd),
        4 * nd
    );
    for i in 0..nd {
        body += &format!("st.global.b32 [%p+{}], %d{i};", 4 * i);
    }
    let ptx = kernel(&format!("{REGS} .shared .align 1024 .b8 tile[{shared}];"), &body);
    let (out, stats) = run(&ptx, Checks::all(), r.bits(), 128, &input, 128 * 4 * nd)
        .unwrap_or_else(|e| panic!("{e}\n{:?} {:?}\n{ptx}", c.t, c.layouts));
    assert_eq!(stats.tensor_flop.iter().sum::<u64>(), 2 * 64 * (n * k) as u64);
    let negated = |x: &Matrix, ty: &str, on: bool| {
        let mut x = x.clone();
        if on {
            x.bits.iter_mut().for_each(|v| *v = sign(ty, *v));
        }
        x
    };
    let (a, b) = (negated(&a, c.t.a, c.negate[0]), negated(&b, c.t.b, c.negate[1]));
    let want = reference(&a, &b, &x, c.t, c.saturate, false);
    let words = words(&out);
    for thread in 0..128 {
        for i in 0..n / 2 {
            let (row, column) = d_place(thread, i);
            let w = width(c.t.d);
            let keep = if w == 32 { !0 } else { 0xffff };
            let got = (words[thread * nd + i / per] >> ((i % per) as u32 * w)) & keep;
            let want = want.at(row, column) as u32;
            assert_eq!(got, want, "({row}, {column}) of {:?} {:?} n {n}", c.t, c.layouts);
        }
    }
}

fn layout(r: &mut Random, mn_major: bool) -> Layout {
    let swizzle = [0, 32, 64, 128][r.below(4) as usize];
    Layout { swizzle, mn_major, spare: r.below(3) as usize }
}

/// A random N that the layout allows: MN-major swizzles need whole blocks.
fn columns(r: &mut Random, l: &Layout) -> usize {
    let block = if l.mn_major { (l.swizzle / 2).max(8) } else { 8 };
    block * (1 + r.below(256 / block as u64 / 2) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn sixteen_bit_floats_in_every_layout(seed: u64) {
        let mut r = Random(seed);
        for (a, d) in [("f16", "f32"), ("f16", "f16"), ("bf16", "f32")] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let (la, lb) = (layout(&mut r, ta), layout(&mut r, tb));
                // 64 rows of A are one block of the widest swizzle.
                let case = Case {
                    n: columns(&mut r, &lb),
                    t: Types { a, b: a, c: d, d },
                    layouts: [la, lb],
                    from_registers: !ta && r.below(2) == 0,
                    negate: [r.below(3) == 0, r.below(3) == 0],
                    scale: r.below(3) != 0,
                    saturate: false,
                };
                check(&case, &mut r);
            }
        }
    }

    #[test]
    fn other_types(seed: u64) {
        let mut r = Random(seed);
        let types = [
            ("tf32", "tf32", "f32"), ("e4m3", "e4m3", "f32"), ("e4m3", "e5m2", "f16"), ("e5m2", "e4m3", "f32"),
            ("e5m2", "e5m2", "f16"), ("s8", "s8", "s32"), ("s8", "u8", "s32"), ("u8", "s8", "s32"), ("u8", "u8", "s32"),
        ];
        for (a, b, d) in types {
            let integer = d == "s32";
            let layouts = [layout(&mut r, false), layout(&mut r, false)];
            let n = if integer { [8, 16, 24, 32, 48, 96, 256][r.below(7) as usize] } else { columns(&mut r, &layouts[1]) };
            let case = Case {
                n,
                t: Types { a, b, c: d, d },
                layouts,
                from_registers: r.below(2) == 0,
                negate: if integer { [false; 2] } else { [r.below(3) == 0, r.below(3) == 0] },
                scale: r.below(3) != 0,
                saturate: integer && r.below(2) == 0,
            };
            check(&case, &mut r);
        }
    }

    /// A (64 x 128) * B (128 x 64), both K-major in 128-byte swizzled tiles of 64 columns, one warpgroup; the start address
    /// advances inside the swizzled rows, groups overlap, and the accumulators chain.
    #[test]
    fn a_product_with_groups_in_flight(seed: u64) {
        let mut r = Random(seed);
        let (a, b) = (Matrix::random(64, 128, "bf16", &mut r), Matrix::random(128, 64, "bf16", &mut r));
        let l = Layout { swizzle: 128, mn_major: false, spare: 0 };
        let mut input = Vec::new();
        for half in 0..2 {
            input.extend(l.image(&|m, k| a.at(m, 64 * half + k), 64, 64, 2));
            input.extend(l.image(&|m, k| b.at(64 * half + k, m), 64, 64, 2));
        }
        let d = list("d", 32);
        let bits = l.descriptor(64, 64, 2);
        let mut body = fill(input.len() / 4);
        (0..32).for_each(|i| body += &format!("mov.b32 %d{i}, 0;"));
        body += "setp.eq.u32 %scale, %lane, %lane; wgmma.fence.sync.aligned;\n";
        for half in 0..2 {
            for step in 0..4 {
                let at = (16384 * half + 32 * step) / 16;
                body += &format!(
                    "add.u64 %da, %base, {at}; or.b64 %da, %da, {bits:#x}; add.u64 %db, %base, {}; or.b64 %db, %db, {bits:#x};\n\
                     wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {d}, %da, %db, %scale, 1, 1, 0, 0;\n",
                    at + 8192 / 16
                );
            }
            body += &format!("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned {};\n", 1 - half);
        }
        body += "mad.wide.u32 %p, %lane, 128, %out;";
        (0..32).for_each(|i| body += &format!("st.global.b32 [%p+{}], %d{i};", 4 * i));
        let ptx = kernel(&format!("{REGS} .shared .align 1024 .b8 tile[32768];"), &body);
        let (out, _) = run(&ptx, Checks::all(), seed, 128, &input, 128 * 128).unwrap_or_else(|e| panic!("{e}"));
        let t = Types { a: "bf16", b: "bf16", c: "f32", d: "f32" };
        let want = reference(&a, &b, &Matrix::zero(64, 64), t, false, false);
        for (i, got) in words(&out).into_iter().enumerate() {
            let (row, column) = d_place(i / 32, i % 32);
            prop_assert_eq!(got as u64, want.at(row, column), "({}, {})", row, column);
        }
    }
}

/// Two warpgroups with tiles of their own, at the same time, as blocks of a grid.
#[test]
fn warpgroups_are_independent() {
    let mut r = Random(3);
    let l = Layout { swizzle: 0, mn_major: false, spare: 0 };
    let (a, b) = (Matrix::random(128, 16, "f16", &mut r), Matrix::random(16, 8, "f16", &mut r));
    let mut input = l.image(&|m, k| a.at(m, k), 64, 16, 2);
    input.extend(l.image(&|m, k| a.at(64 + m, k), 64, 16, 2));
    let at = input.len() / 16;
    input.extend(l.image(&|m, k| b.at(k, m), 8, 16, 2));
    let body = format!(
        "{}shr.u32 %i, %lane, 7; cvt.u64.u32 %da, %i; mad.lo.u64 %da, %da, 128, %base; or.b64 %da, %da, {:#x};\n\
         add.u64 %db, %base, {at}; or.b64 %db, %db, {:#x}; setp.ne.u32 %scale, %lane, %lane; wgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {{%d0,%d1,%d2,%d3}}, %da, %db, %scale, 1, 1, 0, 0;\n\
         wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n\
         mad.wide.u32 %p, %lane, 16, %out; st.global.v4.b32 [%p], {{%d0,%d1,%d2,%d3}};",
        fill(input.len() / 4).replace("add.u32 %i, %i, 128", "add.u32 %i, %i, 256"),
        l.descriptor(64, 16, 2),
        l.descriptor(8, 16, 2)
    );
    let ptx = kernel(&format!("{REGS} .shared .align 1024 .b8 tile[{}];", input.len()), &body);
    let m = Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}"));
    let t = Types { a: "f16", b: "f16", c: "f32", d: "f32" };
    let want = reference(&a, &b, &Matrix::zero(128, 8), t, false, false);
    for seed in 0..4 {
        let mut sim = Sim::builder().seed(seed).build();
        let (x, y) = (sim.alloc(input.len()), sim.alloc(4096));
        sim.write(x, &input).unwrap();
        let config = LaunchConfig::new([1, 1, 1], [256, 1, 1]);
        sim.launch(&m, "k", &config, &[Arg::U64(x), Arg::U64(y)]).unwrap_or_else(|e| panic!("{e}"));
        let mut out = vec![0; 4096];
        sim.read_checked(y, &mut out).unwrap();
        for (i, got) in words(&out).into_iter().enumerate() {
            let (row, column) = d_place(i / 4, i % 4);
            assert_eq!(got as u64, want.at(row, column), "({row}, {column})");
        }
    }
}
