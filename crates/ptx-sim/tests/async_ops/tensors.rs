//! Tensor copies: random tensors, boxes and coordinates of every rank, type and swizzle against a reference of its own.

use super::harness::*;
use proptest::prelude::*;
use ptx_sim::{Arg, ErrorKind, LaunchConfig, OobFill, Sim, SimError, Swizzle, TensorMap, TensorMapType};

/// Bytes of the shared buffer.
const BUFFER: usize = 32768;

/// A kernel that writes `a` to the shared buffer, makes a tensor copy, and writes the buffer to `b`.
pub fn kernel(rank: usize, op: &str, load: bool) -> String {
    let coordinates = (0..rank).map(|i| format!("%c{i}")).collect::<Vec<_>>().join(", ");
    let params: String = (0..5).map(|i| format!("ld.param.u32 %c{i}, [c+{}]; ", 4 * i)).collect();
    let tensor = format!("[%d7, {{{coordinates}}}]");
    let copy = match load {
        true => format!(
            "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], %r0;\n\
             @%p1 cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r10], {tensor}, [%r12];\n\
             W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r12], 0;\n@!%p2 bra W;\n"
        ),
        false => format!(
            "@%p1 cp{op}.tensor.{rank}d.global.shared::cta{red}.tile.bulk_group {tensor}, [%r10];\n\
             @%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\nbar.sync 0;\n",
            red = op,
            op = if op.is_empty() { ".async.bulk" } else { ".reduce.async.bulk" },
        ),
    };
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n\
         .visible .entry k(.param .u64 a, .param .u64 b, .param .align 64 .b8 map[128], .param .align 4 .b8 c[20], .param .u32 n)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<40>, %c<5>; .reg .b64 %d<20>;\n\
         .shared .align 1024 .b8 s[{BUFFER}]; .shared .align 8 .b8 bar[8];\n\
         ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; ld.param.u32 %r0, [n]; {params}\n\
         mov.b64 %d6, map; cvta.param.u64 %d7, %d6;\n\
         mov.u32 %r1, %tid.x; mov.u32 %r10, s; mov.u32 %r12, bar; setp.eq.u32 %p1, %r1, 0;\n\
         @%p1 mbarrier.init.shared::cta.b64 [%r12], 1;\n\
         shl.b32 %r20, %r1, 4;\n\
         FILL: add.u32 %r21, %r10, %r20; cvt.u64.u32 %d8, %r20; add.u64 %d9, %d0, %d8;\n\
         ld.global.v4.u32 {{%r22, %r23, %r24, %r25}}, [%d9]; st.shared.v4.u32 [%r21], {{%r22, %r23, %r24, %r25}};\n\
         add.u32 %r20, %r20, 2048; setp.lt.u32 %p3, %r20, {BUFFER}; @%p3 bra FILL;\n\
         fence.proxy.async.shared::cta;\nbar.sync 0;\n{copy}\
         shl.b32 %r20, %r1, 4;\n\
         DUMP: add.u32 %r21, %r10, %r20; cvt.u64.u32 %d8, %r20; add.u64 %d9, %d1, %d8;\n\
         ld.shared.v4.u32 {{%r22, %r23, %r24, %r25}}, [%r21]; st.global.v4.u32 [%d9], {{%r22, %r23, %r24, %r25}};\n\
         add.u32 %r20, %r20, 2048; setp.lt.u32 %p3, %r20, {BUFFER}; @%p3 bra DUMP;\nret;\n}}\n"
    )
}

/// A tensor, a box, and where the box lies.
#[derive(Clone, Debug)]
pub struct Case {
    pub ty: TensorMapType,
    pub dims: Vec<u64>,
    pub strides: Vec<u64>,
    pub boxes: Vec<u32>,
    pub steps: Vec<u32>,
    pub swizzle: Swizzle,
    pub fill: OobFill,
    pub at: Vec<i32>,
}

const SWIZZLES: [Swizzle; 4] = [Swizzle::None, Swizzle::Bytes32, Swizzle::Bytes64, Swizzle::Bytes128];

impl Case {
    pub fn random(r: &mut Random, rank: usize, ty: TensorMapType, swizzle: Swizzle) -> Case {
        let size = ty.bytes() as u64;
        // Whole 16-byte chunks, and no more than the swizzle allows.
        let most = if swizzle.span() == 0 { 128 } else { swizzle.span() as u64 };
        let inner = 16 * (1 + r.below(most / 16)) / size;
        let mut case = Case {
            ty,
            dims: vec![],
            strides: vec![],
            boxes: vec![],
            steps: vec![],
            swizzle,
            fill: OobFill::Zero,
            at: vec![],
        };
        let mut rows = BUFFER as u64 / most.max(inner * size);
        let mut stride = 0;
        for d in 0..rank {
            let dim = if d == 0 { 1 + r.below(3 * inner) } else { 1 + r.below(7) };
            let (bx, step) = if d == 0 { (inner, 1) } else { (1 + r.below(rows.min(5)), 1 + r.below(3)) };
            if d > 0 {
                case.strides.push(stride);
                rows /= bx;
            }
            stride = if d == 0 { (dim * size).next_multiple_of(16) } else { stride * dim } + 16 * r.below(3);
            case.dims.push(dim);
            case.boxes.push(bx as u32);
            case.steps.push(step as u32);
            let reach = (bx + 2) as i64;
            case.at.push((r.below((dim as i64 + 2 * reach) as u64) as i64 - reach) as i32);
        }
        case
    }

    fn count(&self, d: usize) -> u64 {
        (self.boxes[d] as u64).div_ceil(if d == 0 { 1 } else { self.steps[d] as u64 })
    }

    pub fn bytes(&self) -> u64 {
        (0..self.dims.len()).map(|d| self.count(d)).product::<u64>() * self.ty.bytes() as u64
    }

    /// Bytes of the tensor's memory.
    pub fn memory(&self) -> usize {
        let far: u64 = (1..self.dims.len()).map(|d| (self.dims[d] - 1) * self.strides[d - 1]).sum();
        (far + self.dims[0] * self.ty.bytes() as u64) as usize
    }

    /// Where each element of the box lies: bytes into shared memory, and bytes into the tensor if it is inside.
    pub fn elements(&self) -> Vec<(usize, Option<usize>)> {
        let size = self.ty.bytes() as u64;
        let inner = self.count(0) * size;
        let span = self.swizzle.span() as u64;
        let pitch = if span == 0 { inner } else { span };
        let total: u64 = self.bytes() / size;
        (0..total)
            .map(|n| {
                let (mut rest, mut far, mut inside, mut row, mut scale) = (n, 0i64, true, 0, 1);
                for d in 0..self.dims.len() {
                    let i = rest % self.count(d);
                    rest /= self.count(d);
                    let c = self.at[d] as i64 + (i * if d == 0 { 1 } else { self.steps[d] as u64 }) as i64;
                    inside &= c >= 0 && c < self.dims[d] as i64;
                    far += c * if d == 0 { size as i64 } else { self.strides[d - 1] as i64 };
                    if d > 0 {
                        row += i * scale;
                        scale *= self.count(d);
                    }
                }
                let column = n % self.count(0) * size;
                // The pattern of 128 bytes repeats every 8 rows, of 64 every 8 rows in pairs, of 32 every 8 rows in fours.
                let turn = match span {
                    128 => row % 8,
                    64 => row / 2 % 4,
                    32 => row / 4 % 2,
                    _ => 0,
                };
                let place = row * pitch + ((column / 16) ^ turn) * 16 + column % 16;
                (place as usize, inside.then_some(far as usize))
            })
            .collect()
    }

    pub fn map(&self, address: u64) -> TensorMap {
        TensorMap::builder(self.ty, address, &self.dims, &self.strides, &self.boxes)
            .element_strides(&self.steps)
            .swizzle(self.swizzle)
            .oob_fill(self.fill)
            .build()
            .unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Runs the kernel: the buffer afterwards, and the tensor.
    fn run(
        &self,
        ptx: &str,
        shared: &[u8],
        tensor: &[u8],
        n: u32,
        seed: u64,
    ) -> Result<(Vec<u8>, Vec<u8>), SimError> {
        let mut sim = Sim::builder().checks(Run::checks()).seed(seed).build();
        let (a, b, t) = (sim.alloc(BUFFER), sim.alloc(BUFFER), sim.alloc(tensor.len()));
        sim.write(a, shared)?;
        sim.write(t, tensor)?;
        let mut at = [0u8; 20];
        for (to, c) in at.chunks_exact_mut(4).zip(&self.at) {
            to.copy_from_slice(&c.to_le_bytes());
        }
        let map = self.map(t).encode().to_vec();
        let args = [Arg::U64(a), Arg::U64(b), Arg::Bytes(map), Arg::Bytes(at.to_vec()), Arg::U32(n)];
        sim.launch(&module(ptx), "k", &LaunchConfig::new([1, 1, 1], [128, 1, 1]), &args)?;
        let (mut out, mut after) = (vec![0; BUFFER], vec![0; tensor.len()]);
        sim.read_checked(b, &mut out)?;
        sim.read_checked(t, &mut after)?;
        Ok((out, after))
    }
}

/// What a load makes of an element.
fn loaded(ty: TensorMapType, element: &[u8]) -> Vec<u8> {
    match (ty, element) {
        (TensorMapType::Tf32, &[a, b, c, d]) => {
            let bits = u32::from_le_bytes([a, b, c, d]);
            // 13 bits fewer, to nearest; infinities and NaN stay.
            let rounded = (bits >> 13) + (bits >> 12 & 1) << 13;
            if f32::from_bits(bits).is_finite() { rounded } else { bits }.to_le_bytes().to_vec()
        }
        _ => element.to_vec(),
    }
}

const TYPES: [TensorMapType; 9] = [
    TensorMapType::U8,
    TensorMapType::U16,
    TensorMapType::F16,
    TensorMapType::Bf16,
    TensorMapType::U32,
    TensorMapType::F32,
    TensorMapType::Tf32,
    TensorMapType::F64,
    TensorMapType::S64,
];

fn case() -> impl Strategy<Value = (u64, usize, TensorMapType, Swizzle)> {
    (any::<u64>(), 1usize..=5, prop::sample::select(&TYPES[..]), prop::sample::select(&SWIZZLES[..]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]
    #[test]
    fn loads((seed, rank, ty, swizzle) in case(), nan in any::<bool>()) {
        let mut r = Random(seed);
        let mut c = Case::random(&mut r, rank, ty, swizzle);
        let float = matches!(ty, TensorMapType::F16 | TensorMapType::Bf16 | TensorMapType::F32 | TensorMapType::Tf32 | TensorMapType::F64);
        if nan && float {
            c.fill = OobFill::Nan;
        }
        let (shared, tensor) = (r.bytes(BUFFER), r.bytes(c.memory()));
        let size = ty.bytes() as usize;
        let mut wanted = shared.clone();
        for (to, from) in c.elements() {
            match from {
                Some(f) => wanted[to..to + size].copy_from_slice(&loaded(ty, &tensor[f..f + size])),
                None if nan && float => {
                    wanted[to..to + size].fill(0xff);
                    wanted[to + size - 1] = 0x7f;
                }
                None => wanted[to..to + size].fill(0),
            }
        }
        let (out, after) = c.run(&kernel(rank, "", true), &shared, &tensor, c.bytes() as u32, seed).expect("runs");
        prop_assert!(out == wanted, "{:?}", c);
        prop_assert!(after == tensor);
    }

    #[test]
    fn stores((seed, rank, ty, swizzle) in case()) {
        let mut r = Random(seed);
        let c = Case::random(&mut r, rank, ty, swizzle);
        let (shared, tensor) = (r.bytes(BUFFER), r.bytes(c.memory()));
        let size = ty.bytes() as usize;
        let mut wanted = tensor.clone();
        for (from, to) in c.elements() {
            if let Some(t) = to {
                wanted[t..t + size].copy_from_slice(&shared[from..from + size]);
            }
        }
        let (_, after) = c.run(&kernel(rank, "", false), &shared, &tensor, 0, seed).expect("runs");
        prop_assert!(after == wanted, "{:?}", c);
    }

    #[test]
    fn reductions(
        seed in any::<u64>(),
        rank in 1usize..=5,
        swizzle in prop::sample::select(&SWIZZLES[..]),
        op in prop::sample::select(vec![".add", ".min", ".max", ".and", ".or", ".xor", ".inc", ".dec"]),
    ) {
        let mut r = Random(seed);
        let c = Case::random(&mut r, rank, TensorMapType::U32, swizzle);
        let (shared, tensor) = (r.bytes(BUFFER), r.bytes(c.memory()));
        let mut wanted = tensor.clone();
        for (from, to) in c.elements() {
            let Some(t) = to else { continue };
            let (o, n) = (to_words(&wanted[t..t + 4])[0], to_words(&shared[from..from + 4])[0]);
            let v = match op {
                ".add" => o.wrapping_add(n),
                ".min" => o.min(n),
                ".max" => o.max(n),
                ".and" => o & n,
                ".or" => o | n,
                ".xor" => o ^ n,
                ".inc" => if o >= n { 0 } else { o + 1 },
                _ => if o == 0 || o > n { n } else { o - 1 },
            };
            wanted[t..t + 4].copy_from_slice(&v.to_le_bytes());
        }
        let (_, after) = c.run(&kernel(rank, op, false), &shared, &tensor, 0, seed).expect("runs");
        prop_assert!(after == wanted, "{:?}", c);
    }
}

#[test]
fn flushing_types_flush_on_loads() {
    let mut r = Random(31);
    for ty in [TensorMapType::F32Ftz, TensorMapType::Tf32Ftz, TensorMapType::F32] {
        let case = Case { at: vec![0], ..Case::random(&mut r, 1, ty, Swizzle::None) };
        let case = Case { dims: vec![case.boxes[0] as u64], ..case };
        // Half of the values are subnormal.
        let words: Vec<u32> =
            (0..case.boxes[0]).map(|_| (r.next() as u32) & [!0, 0x807f_ffff][r.below(2) as usize]).collect();
        let flushed = |w: u32| match ty {
            TensorMapType::F32 => w,
            _ if w & 0x7f80_0000 == 0 => w & 0x8000_0000,
            TensorMapType::Tf32Ftz => to_words(&loaded(TensorMapType::Tf32, &w.to_le_bytes()))[0],
            _ => w,
        };
        let wanted: Vec<u32> = words.iter().map(|w| flushed(*w)).collect();
        let shared = r.bytes(BUFFER);
        let tensor = to_bytes(&words);
        let (out, _) =
            case.run(&kernel(1, "", true), &shared, &tensor, case.bytes() as u32, 1).expect("runs");
        assert_eq!(to_words(&out[..tensor.len()]), wanted);
    }
}

#[test]
fn misuse_is_found_on_every_seed() {
    let mut r = Random(40);
    let case = Case {
        ty: TensorMapType::F16,
        dims: vec![64, 8],
        strides: vec![128],
        boxes: vec![32, 4],
        steps: vec![1, 1],
        swizzle: Swizzle::Bytes64,
        fill: OobFill::Zero,
        at: vec![8, 2],
    };
    let (shared, tensor) = (r.bytes(BUFFER), r.bytes(case.memory()));
    let go = |ptx: &str, n: u32, seed: u64| case.run(ptx, &shared, &tensor, n, seed);
    let (load, store) = (kernel(2, "", true), kernel(2, "", false));
    let fails = |ptx: &str, from: &str, to: &str, n: u32, kind: ErrorKind| {
        assert!(ptx.contains(from), "{from}");
        for seed in 0..SEEDS {
            let e = go(&ptx.replace(from, to), n, seed).expect_err(&format!("{kind}"));
            assert_eq!(e.kind, kind, "{e}");
        }
    };
    go(&load, 256, 0).expect("clean");
    go(&store, 256, 0).expect("clean");
    let same = ("k(", "k(");
    // The bytes of the whole box count, no more and no fewer.
    fails(&load, same.0, same.1, 272, ErrorKind::TransactionCount);
    fails(&load, same.0, same.1, 240, ErrorKind::TransactionCount);
    fails(&load, "[%r10], [%d7", "[%r10+64], [%d7", 256, ErrorKind::Misaligned);
    fails(&load, "[%r10], [%d7", "[%r10+32640], [%d7", 256, ErrorKind::OutOfBounds);
    fails(&load, "tensor.2d", "tensor.3d", 256, ErrorKind::UnsupportedInstruction);
    fails(
        &load,
        ".tensor.2d.shared::cluster.global.tile.",
        ".tensor.2d.shared::cluster.global.im2col.",
        256,
        ErrorKind::UnsupportedInstruction,
    );
    fails(&load, "cvta.param.u64 %d7, %d6;", "mov.b64 %d7, %d0;", 256, ErrorKind::BadTensorMap);
    fails(
        &load,
        "cvta.param.u64 %d7, %d6;",
        "cvta.param.u64 %d7, %d6; add.u64 %d7, %d7, 32;",
        256,
        ErrorKind::Misaligned,
    );
    fails(
        &load,
        "cvta.param.u64 %d7, %d6;",
        "cvta.param.u64 %d7, %d6; add.u64 %d7, %d7, 64;",
        256,
        ErrorKind::OutOfBounds,
    );
    fails(&store, "fence.proxy.async.shared::cta;", "", 256, ErrorKind::MissingProxyFence);
    fails(&store, "bulk_group [%d7", "bulk_group.L2::none [%d0", 256, ErrorKind::BadTensorMap);
    // A tensor that is larger than the memory it lies in.
    let large = Case { dims: vec![64, 9], ..case.clone() };
    let large = Case { at: vec![0, 6], ..large };
    for seed in 0..SEEDS {
        let e = large.run(&load, &shared, &tensor, 256, seed).expect_err("out of bounds");
        assert_eq!(e.kind, ErrorKind::OutOfBounds, "{e}");
    }
    // A map of another rank.
    let one = Case {
        dims: vec![64],
        strides: vec![],
        boxes: vec![32],
        steps: vec![1],
        at: vec![0],
        ..case.clone()
    };
    let e = one.run(&load, &shared, &tensor, 256, 0).expect_err("another rank");
    assert_eq!(e.kind, ErrorKind::BadTensorMap, "{e}");
}
