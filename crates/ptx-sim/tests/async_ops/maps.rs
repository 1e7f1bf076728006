//! Tensor maps: the driver's rules, where maps may lie, and edits on the device.

use super::harness::*;
use ptx_sim::{
    Arg, ErrorKind, Interleave, L2Promotion, LaunchConfig, OobFill, Sim, SimError, Swizzle, TensorMap,
    TensorMapBuilder, TensorMapError, TensorMapType,
};

fn builder(dims: &[u64], strides: &[u64], boxes: &[u32]) -> TensorMapBuilder {
    TensorMap::builder(TensorMapType::F16, 0x1000, dims, strides, boxes)
}

#[test]
fn the_drivers_rules() {
    use TensorMapError as E;
    let fine = || builder(&[100, 20], &[208], &[64, 8]);
    assert!(fine().swizzle(Swizzle::Bytes128).l2_promotion(L2Promotion::Bytes256).build().is_ok());
    let error = |b: TensorMapBuilder| b.build().expect_err("breaks a rule");
    assert_eq!(error(builder(&[], &[], &[])), E::Rank(0));
    assert_eq!(error(builder(&[8; 6], &[16; 5], &[8; 6])), E::Rank(6));
    assert_eq!(error(fine().interleave(Interleave::Bytes16)), E::Rank(2));
    let length = |what, found, wanted| E::Length { what, found, rank: 2, wanted };
    assert_eq!(error(builder(&[100, 20], &[], &[64, 8])), length("strides", 0, 1));
    assert_eq!(error(builder(&[100, 20], &[208], &[64])), length("box sizes", 1, 2));
    assert_eq!(error(fine().element_strides(&[1, 1, 1])), length("element strides", 3, 2));
    let at =
        |address| TensorMap::builder(TensorMapType::F16, address, &[64, 8, 8], &[1024, 8192], &[16, 8, 8]);
    assert_eq!(error(at(0x1008)), E::Address { address: 0x1008, align: 16 });
    let interleaved = at(0x1010).interleave(Interleave::Bytes32).swizzle(Swizzle::Bytes32);
    assert_eq!(error(interleaved), E::Address { address: 0x1010, align: 32 });
    assert_eq!(error(at(0x1000).interleave(Interleave::Bytes32)), E::InterleaveSwizzle);
    assert!(at(0x1000).interleave(Interleave::Bytes32).swizzle(Swizzle::Bytes32).build().is_ok());
    assert_eq!(error(builder(&[100, 0], &[208], &[64, 8])), E::Dim { dim: 1, size: 0 });
    assert_eq!(error(builder(&[(1 << 32) + 1, 1], &[208], &[64, 8])), E::Dim { dim: 0, size: (1 << 32) + 1 });
    assert!(builder(&[1 << 32], &[], &[64]).build().is_ok());
    assert_eq!(error(builder(&[100, 20], &[200], &[64, 8])), E::Stride { dim: 1, stride: 200, align: 16 });
    let far = 1 << 40;
    assert_eq!(error(builder(&[100, 20], &[far], &[64, 8])), E::Stride { dim: 1, stride: far, align: 16 });
    assert_eq!(error(builder(&[100, 20], &[208], &[64, 257])), E::Box { dim: 1, size: 257 });
    assert_eq!(error(builder(&[100, 20], &[208], &[0, 8])), E::Box { dim: 0, size: 0 });
    assert_eq!(error(builder(&[100, 20], &[208], &[60, 8])), E::BoxBytes(120));
    assert_eq!(error(fine().swizzle(Swizzle::Bytes64)), E::SwizzleSpan { bytes: 128, span: 64 });
    assert_eq!(error(fine().element_strides(&[1, 9])), E::ElementStride { dim: 1, stride: 9 });
    assert_eq!(error(fine().element_strides(&[0, 1])), E::ElementStride { dim: 0, stride: 0 });
    let integers = TensorMap::builder(TensorMapType::S32, 0, &[64], &[], &[16]).oob_fill(OobFill::Nan);
    assert_eq!(error(integers), E::Fill(TensorMapType::S32));
    // Each error is a sentence.
    assert_eq!(
        error(fine().swizzle(Swizzle::Bytes64)).to_string(),
        "the innermost dimension of the box has 128 bytes; a swizzle of 64 bytes allows 64"
    );
}

/// Loads the box at the origin of the map `%d7` into shared memory, 256 bytes, and writes them to `b`.
fn load(prepare: &str, rank: usize) -> String {
    let coordinates = vec!["0"; rank].join(", ");
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.const .align 64 .b8 constant[128];\n\
         .visible .entry k(.param .u64 a, .param .u64 b, .param .u64 t, .param .align 64 .b8 map[128])\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<40>; .reg .b64 %d<20>;\n\
         .shared .align 1024 .b8 s[4096]; .shared .align 128 .b8 edit[128]; .shared .align 8 .b8 bar[8];\n\
         ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; ld.param.u64 %d2, [t];\n\
         mov.u32 %r1, %tid.x; mov.u32 %r10, s; mov.u32 %r12, bar; mov.u32 %r13, edit; setp.eq.u32 %p1, %r1, 0;\n\
         shl.b32 %r14, %r1, 2; cvt.u64.u32 %d10, %r14; add.u64 %d11, %d0, %d10;\n\
         {prepare}\n\
         @%p1 mbarrier.init.shared::cta.b64 [%r12], 1;\nbar.sync 0;\n\
         @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r12], 128;\n\
         @%p1 cp.async.bulk.tensor.{rank}d.shared::cta.global.mbarrier::complete_tx::bytes [%r10], [%d7, {{{coordinates}}}], [%r12];\n\
         W: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r12], 0;\n@!%p2 bra W;\n\
         add.u32 %r15, %r10, %r14; ld.shared.u32 %r16, [%r15]; add.u64 %d12, %d1, %d10; st.global.u32 [%d12], %r16;\nret;\n}}\n"
    )
}

/// `a` holds the map, too; `t` is where the tensor lies.
fn go(ptx: &str, map: impl Fn(u64) -> [u8; 128], tensor: &[u8], seed: u64) -> Result<Vec<u8>, SimError> {
    let mut sim = Sim::builder().checks(Run::checks()).seed(seed).build();
    let (a, b, t) = (sim.alloc(256), sim.alloc(128), sim.alloc(tensor.len()));
    sim.write(t, tensor)?;
    sim.write(a, &[map(t), map(t)].concat())?;
    let args = [Arg::U64(a), Arg::U64(b), Arg::U64(t), Arg::Bytes(map(t).to_vec())];
    sim.launch(&module(ptx), "k", &LaunchConfig::new([1, 1, 1], [32, 1, 1]), &args)?;
    let mut out = vec![0; 128];
    sim.read_checked(b, &mut out)?;
    Ok(out)
}

fn rows(t: u64) -> [u8; 128] {
    TensorMap::builder(TensorMapType::U32, t, &[16, 8], &[64], &[8, 4]).build().expect("valid").encode()
}

#[test]
fn maps_lie_in_parameters_or_global_memory() {
    let tensor = Random(1).bytes(512);
    let wanted: Vec<u8> = (0..4).flat_map(|r| tensor[64 * r..64 * r + 32].to_vec()).collect();
    let places = [
        "mov.b64 %d6, map; cvta.param.u64 %d7, %d6;",
        "mov.b64 %d7, map;",
        "mov.b64 %d7, %d0;",
        "add.u64 %d7, %d0, 128; prefetch.tensormap [%d7];",
        "mov.b64 %d6, map; cvta.param.u64 %d7, %d6; cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%d7, {0, 0}];",
        "mov.b64 %d7, %d0; fence.proxy.tensormap::generic.acquire.gpu [%d7], 128;",
    ];
    for prepare in places {
        for seed in 0..SEEDS {
            let out = go(&load(prepare, 2), rows, &tensor, seed).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(out, wanted);
        }
    }
    let fails = |prepare: &str, map: fn(u64) -> [u8; 128], kind: ErrorKind, text: &str| {
        for seed in 0..SEEDS {
            let e = go(&load(prepare, 2), map, &tensor, seed).expect_err(text);
            assert_eq!(e.kind, kind, "{e}");
            assert!(e.to_string().contains(text), "{e}");
        }
    };
    let random = |t: u64| -> [u8; 128] { Random(t).bytes(128).try_into().expect("128 bytes") };
    fails(places[0], random, ErrorKind::BadTensorMap, "no tensor map");
    fails(places[2], random, ErrorKind::BadTensorMap, "no tensor map");
    fails("mov.u64 %d7, constant;", rows, ErrorKind::BadTensorMap, "no tensor map");
    fails("add.u64 %d7, %d0, 32;", rows, ErrorKind::Misaligned, "multiple of 64");
    fails("add.u64 %d7, %d0, 192;", rows, ErrorKind::OutOfBounds, "128 bytes");
    let wide = |t: u64| {
        TensorMap::builder(TensorMapType::U32, t, &[16, 4, 2], &[64, 256], &[8, 4, 1])
            .build()
            .expect("valid")
            .encode()
    };
    fails(places[0], wide, ErrorKind::BadTensorMap, "rank 3");
    let interleaved = |t: u64| {
        let map = TensorMap::builder(TensorMapType::U32, t, &[16, 4, 2], &[64, 256], &[8, 4, 1]);
        map.interleave(Interleave::Bytes16).build().expect("valid").encode()
    };
    let e = go(&load(places[0], 3), interleaved, &tensor, 0).expect_err("not executed");
    assert_eq!(e.kind, ErrorKind::UnsupportedInstruction, "{e}");
}

/// A map of something else, edited field by field in shared memory, then copied to global memory.
#[test]
fn maps_are_edited_on_the_device() {
    let tensor = Random(2).bytes(512);
    let start = |_: u64| {
        let b = TensorMap::builder(TensorMapType::Bf16, 0x4000, &[64, 3, 3], &[512, 2048], &[32, 2, 2]);
        b.element_strides(&[1, 2, 1])
            .swizzle(Swizzle::Bytes64)
            .oob_fill(OobFill::Nan)
            .build()
            .expect("valid")
            .encode()
    };
    let replace = |space: &str, at: &str| {
        let field = |f: &str, ty: &str, rest: &str| {
            format!("@%p1 tensormap.replace.tile.{f}.{space}.b1024.{ty} [{at}], {rest};\n")
        };
        [
            field("global_address", "b64", "%d2"),
            field("rank", "b32", "1"),
            field("box_dim", "b32", "0, 8"),
            field("box_dim", "b32", "1, %r20"),
            field("global_dim", "b32", "0, 16"),
            field("global_dim", "b32", "1, 8"),
            field("global_stride", "b64", "0, %d13"),
            field("element_stride", "b32", "1, 1"),
            field("elemtype", "b32", "2"),
            field("interleave_layout", "b32", "0"),
            field("swizzle_mode", "b32", "0"),
            field("fill_mode", "b32", "0"),
        ]
        .concat()
    };
    let values = "mov.u32 %r20, 4; mov.u64 %d13, 64;\n";
    let wanted: Vec<u8> = (0..4).flat_map(|r| tensor[64 * r..64 * r + 32].to_vec()).collect();
    // In global memory; and in shared memory, then copied back.
    let global = format!("{values}mov.b64 %d7, %d0;\n{}", replace("global", "%d7"));
    let shared = format!(
        "{values}ld.global.u32 %r21, [%d11]; add.u32 %r22, %r13, %r14; st.shared.u32 [%r22], %r21;\nbar.warp.sync -1;\n{}\
         bar.warp.sync -1;\nmov.b64 %d7, %d0;\n\
         tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%d7], [%r13], 128;\n\
         fence.proxy.tensormap::generic.acquire.gpu [%d7], 128;\n",
        replace("shared::cta", "%r13")
    );
    for prepare in [&global, &shared] {
        for seed in 0..SEEDS {
            let out = go(&load(prepare, 2), start, &tensor, seed).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(out, wanted);
        }
    }
    // Half-edited maps break the driver's rules, impossible values none of its fields take.
    for (from, to) in [
        ("fill_mode.global.b1024.b32 [%d7], 0;", "fill_mode.global.b1024.b32 [%d7], 1;"),
        ("global_stride.global.b1024.b64 [%d7], 0, %d13;", "global_stride.global.b1024.b64 [%d7], 0, 40;"),
        ("elemtype.global.b1024.b32 [%d7], 2;", "elemtype.global.b1024.b32 [%d7], 77;"),
        ("rank.global.b1024.b32 [%d7], 1;", "rank.global.b1024.b32 [%d7], 5;"),
        ("box_dim.global.b1024.b32 [%d7], 0, 8;", "box_dim.global.b1024.b32 [%d7], 0, 6;"),
    ] {
        assert!(global.contains(from), "{from}");
        let e = go(&load(&global.replace(from, to), 2), start, &tensor, 0).expect_err(to);
        assert_eq!(e.kind, ErrorKind::BadTensorMap, "{to}: {e}");
    }
}
