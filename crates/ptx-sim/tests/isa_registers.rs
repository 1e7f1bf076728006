//! 128-bit and vector registers, register parameters, indirect calls, the stack, and atomics on them all; and that what
//! cannot be executed fails when executed, not before.

use half::{bf16, f16};
use proptest::prelude::*;
use ptx_sim::{Arg, ErrorKind, LaunchConfig, Module, Sim, SimError};

const HEAD: &str = ".version 9.0\n.target sm_100a\n";

/// Runs `k` of a module on 32 threads with a buffer that starts as `data`, and returns the buffer.
fn run(ptx: &str, data: &[u8]) -> Result<Vec<u8>, SimError> {
    let m = Module::parse(ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut sim = Sim::builder().build();
    let p = sim.alloc(data.len());
    sim.write(p, data)?;
    sim.launch(&m, "k", &LaunchConfig::linear(32, 32), &[Arg::U64(p)])?;
    let mut out = vec![0; data.len()];
    sim.read(p, &mut out)?;
    Ok(out)
}

fn body(text: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 p) {{\n.reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .b64 %d<20>; .reg .b128 %q<5>;\n\
         ld.param.u64 %d0, [p]; mov.u32 %r0, %tid.x; mad.wide.u32 %d1, %r0, 32, %d0;\n{text}\nret; }}"
    )
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn wide_and_vector_registers_move_data(data in prop::collection::vec(any::<u8>(), 1024)) {
        let ptx = body(
            ".reg .v4 .b32 %v; .reg .v2 .f32 %w<3>; .reg .b128 one;\n\
             ld.global.b128 %q1, [%d1]; mov.b128 {%d2, %d3}, %q1; mov.b128 %q2, {%d3, %d2}; mov.b128 one, %q2;\n\
             ld.global.v4.b32 %v, [%d1+16]; mov.v4.b32 {%r1, %r2, %r3, %r4}, %v; mov.b32 %r5, %v.z;\n\
             mov.v2.b32 %w2, {%v.w, %r1}; mov.b32 %v.y, %w2.x; xor.b32 %v.x, %r5, %w2.y;\n\
             st.global.b128 [%d1], one; st.global.v4.b32 [%d1+16], %v;",
        );
        let out = run(&ptx, &data).unwrap_or_else(|e| panic!("{e}"));
        for (t, (a, b)) in data.chunks(32).zip(out.chunks(32)).enumerate() {
            let (a, b) = (words(a), words(b));
            prop_assert_eq!(&b[..4], &[a[2], a[3], a[0], a[1]], "thread {}", t);
            prop_assert_eq!(&b[4..], &[a[6] ^ a[4], a[7], a[6], a[7]], "thread {}", t);
        }
    }

    #[test]
    fn parameters_in_registers(data in prop::collection::vec(any::<u8>(), 1024)) {
        let ptx = format!(
            "{HEAD}.func (.reg .u32 r, .reg .pred odd) mix (.reg .u32 a, .reg .u64 b, .reg .f32 c, .reg .pred add) {{\n\
             .reg .b32 t, u; .reg .pred small;\ncvt.u32.u64 t, b; mov.b32 u, c; xor.b32 r, t, u; @add add.u32 r, r, a;\n\
             and.b32 t, r, 1; setp.ne.u32 odd, t, 0; setp.lt.u32 small, r, 0x80000000; @small ret; not.b32 r, r; ret; }}\n\
             .func (.param .b32 out) twice (.param .b32 in) {{ .reg .b32 t; ld.param.b32 t, [in]; shl.b32 t, t, 1; st.param.b32 [out], t; ret; }}\n\
             .func (.reg .u16 h) narrow (.reg .u32 a) {{ cvt.u16.u32 h, a; }}\n\
             {}",
            body(
                "ld.global.b32 %r1, [%d1]; ld.global.b64 %d2, [%d1+8]; ld.global.b32 %r2, [%d1+4]; setp.lt.u32 %p1, %r1, %r2;\n\
                 call (%r3, %p2), mix, (%r1, %d2, 0f3F800000, %p1); selp.u32 %r4, 1, 0, %p2;\n\
                 call.uni (%r5), twice, (%r3); mov.u64 %d4, twice; T: .calltargets twice;\n\
                 call (%r6), %d4, (77), T; call (%h1), narrow, (%r2); cvt.u32.u16 %r7, %h1;\n\
                 st.global.v4.b32 [%d1], {%r3, %r4, %r5, %r6}; st.global.b32 [%d1+16], %r7;"
            )
            .trim_start_matches(HEAD)
        );
        let out = run(&ptx, &data).unwrap_or_else(|e| panic!("{e}"));
        for (a, b) in data.chunks(32).zip(out.chunks(32)) {
            let (a, b) = (words(a), words(b));
            let mut r = a[2] ^ 0x3f80_0000;
            if a[0] < a[1] {
                r = r.wrapping_add(a[0]);
            }
            let odd = r & 1;
            if r >= 0x8000_0000 {
                r = !r;
            }
            prop_assert_eq!(&b[..5], &[r, odd, r << 1, 154, a[1] & 0xffff]);
        }
    }

    #[test]
    fn vector_and_wide_atomics(values in prop::collection::vec(-8i32..8, 32)) {
        // Small integers: sums are exact in every format and every order.
        let mut data = vec![0u8; 1024];
        for (t, v) in values.iter().enumerate() {
            data[32 * t..32 * t + 4].copy_from_slice(&v.to_le_bytes());
        }
        let zero = "mov.b32 %r9, 0; st.shared.v4.b32 [acc], {%r9, %r9, %r9, %r9}; st.shared.v4.b32 [acc+16], {%r9, %r9, %r9, %r9}; bar.sync 0;";
        let ptx = body(&format!(
            ".shared .align 16 .b8 acc[32];\nsetp.eq.u32 %p1, %r0, 0; @!%p1 bra Z;\n{}\nZ: bar.sync 0;\n\
             ld.global.s32 %r1, [%d1]; cvt.rn.f32.s32 %r2, %r1; neg.f32 %r3, %r2; cvt.rn.f16.s32 %h1, %r1; mov.b32 %r4, {{%h1, %h1}};\n\
             cvt.rn.bf16.s32 %h2, %r1; mov.b32 %r5, {{%h2, %h2}};\n\
             mov.u64 %d5, acc; cvta.shared.u64 %d5, %d5;\n\
             red.relaxed.gpu.add.v2.f32 [%d5], {{%r2, %r3}}; red.shared.add.noftz.v2.f16x2 [acc+8], {{%r4, %r4}};\n\
             red.shared.max.noftz.bf16x2 [acc+16], %r5; atom.shared.min.noftz.f16x2 %r6, [acc+20], %r4; bar.sync 0;\n\
             setp.ne.u32 %p2, %r0, 0; @%p2 ret; ld.shared.v4.b32 {{%r6, %r7, %r8, %r9}}, [acc]; st.global.v4.b32 [%d0], {{%r6, %r7, %r8, %r9}};\n\
             ld.shared.v2.b32 {{%r6, %r7}}, [acc+16]; st.global.v2.b32 [%d0+16], {{%r6, %r7}};",
            zero.replace(" bar.sync 0;", "")
        ));
        let out = words(&run(&ptx, &data).unwrap_or_else(|e| panic!("{e}")));
        let sum: i32 = values.iter().sum();
        let f16s = |v: f32| { let h = f16::from_f32(v).to_bits() as u32; h | h << 16 };
        let bf = bf16::from_f32(*values.iter().max().unwrap().max(&0) as f32).to_bits() as u32;
        let plus = |v: f32| if v == 0.0 { 0.0 } else { v };
        prop_assert_eq!(f32::from_bits(out[0]), sum as f32);
        prop_assert_eq!(f32::from_bits(out[1]), -sum as f32);
        prop_assert_eq!(&out[2..6], &[f16s(plus(sum as f32)), f16s(plus(sum as f32)), bf | bf << 16, f16s(*values.iter().min().unwrap().min(&0) as f32)]);
    }

    #[test]
    fn wide_exchange_and_swap(data in prop::collection::vec(any::<u8>(), 1024)) {
        let ptx = body(
            "ld.global.b128 %q1, [%d1+16]; atom.global.exch.b128 %q2, [%d1], %q1; atom.global.cas.b128 %q3, [%d1], %q1, %q2;\n\
             atom.global.cas.b128 %q4, [%d1], %q1, %q3; st.global.b128 [%d1+16], %q3;",
        );
        let out = run(&ptx, &data).unwrap_or_else(|e| panic!("{e}"));
        for (a, b) in data.chunks(32).zip(out.chunks(32)) {
            // Exchanged, then swapped back; the second swap finds the first value, and differs (unless both are equal).
            prop_assert!(a[..16] == b[..16] || a[..16] == a[16..]);
            prop_assert_eq!(&a[16..], &b[16..]);
        }
    }
}

#[test]
fn sums_in_global_memory_flush_subnormal_numbers_and_shared_ones_do_not() {
    let ptx = body(
        ".shared .align 4 .b8 s[4];\nsetp.ne.u32 %p1, %r0, 0; @%p1 ret;\nmov.b32 %r1, 0x00000005; st.shared.b32 [s], %r1;\n\
         atom.shared.add.f32 %r2, [s], %r1; ld.shared.b32 %r3, [s]; atom.global.add.f32 %r2, [%d0], %r1; st.global.b32 [%d0+4], %r3;\n\
         mov.b32 %r4, 0x7fa00000; red.add.f32 [%d0+8], %r4;",
    );
    let mut data = vec![0; 16];
    data[0] = 7;
    assert_eq!(words(&run(&ptx, &data).unwrap()), [0, 10, 0x7fff_ffff, 0]);
}

#[test]
fn the_stack_grows_and_shrinks() {
    let ptx = body(
        "stacksave.u64 %d9; and.b32 %r1, %r0, 3; add.u32 %r1, %r1, 1; mul.wide.u32 %d2, %r1, 8; alloca.u64 %d3, %d2, 16; st.local.u64 [%d3], %d2;\n\
         alloca.u64 %d4, 32; st.local.u32 [%d4+28], %r0; cvta.local.u64 %d5, %d4; ld.u32 %r2, [%d5+28]; ld.local.u64 %d6, [%d3];\n\
         sub.u64 %d7, %d4, %d3; stackrestore.u64 %d9; alloca.u64 %d8, 8, 16; sub.u64 %d8, %d8, %d3;\n\
         st.global.v2.u64 [%d1], {%d6, %d7}; st.global.u64 [%d1+16], %d8; st.global.u32 [%d1+24], %r2;",
    );
    let out = run(&ptx, &[0; 1024]).unwrap_or_else(|e| panic!("{e}"));
    for (t, c) in out.chunks(32).enumerate() {
        let long = |i: usize| u64::from_le_bytes(c[i..i + 8].try_into().unwrap());
        let size = 8 * (t as u64 % 4 + 1);
        assert_eq!((long(0), long(8), long(16), c[24] as usize), (size, size, 0, t));
    }
    let e =
        run(&body("alloca.u64 %d3, 1000000; add.u64 %d3, %d3, 999992; st.local.u64 [%d3], %d0;"), &[0; 64]);
    assert_eq!(e.unwrap_err().kind, ErrorKind::OutOfBounds);
}

#[test]
fn discarded_bytes_are_unwritten() {
    let text = "setp.ne.u32 %p1, %r0, 0; @%p1 ret;\nst.global.u32 [%d0+128], %r0;\ndiscard.global.L2 [%d0], 128;\nld.global.u32 %r1, [%d0+AT];";
    assert!(run(&body(&text.replace("AT", "128")), &[1; 256]).is_ok());
    let e = run(&body(&text.replace("AT", "124")), &[1; 256]).unwrap_err();
    assert_eq!((e.kind, e.report.line), (ErrorKind::UninitialisedGlobal, Some(9)), "{e}");
    let e = run(&body("discard.global.L2 [%d0+64], 128;"), &[1; 256]).unwrap_err();
    assert_eq!(e.kind, ErrorKind::Misaligned);
}

#[test]
fn vector_atomics_need_the_alignment_of_the_vector() {
    let e = run(&body("red.global.add.v4.f32 [%d0+4], {%r0, %r0, %r0, %r0};"), &[0; 64]).unwrap_err();
    assert_eq!(e.kind, ErrorKind::Misaligned);
}

/// A construct of each kind that this version does not execute: the module loads, runs around it, and names it.
#[test]
fn what_cannot_be_executed_fails_only_there() {
    let cases = [
        (".reg .v2 .b128 %big;", "mov.b32 %r1, %big;", "%big"),
        ("", ".newdirective 3, 4;", ".newdirective"),
        ("", "tex.2d.v4.f32.f32 {%r1, %r2, %r3, %r4}, [t, {%r5, %r6}];", "tex.2d.v4.f32.f32"),
        ("", "multimem.red.relaxed.sys.global.add.f32 [%d0], %r1;", "multimem.red"),
        ("", "vadd.s32.u32.s32.sat %r1, %r2.b0, %r3.h1;", "vadd"),
        ("", "@%nothing add.u32 %r1, %r1, 1;", "%nothing"),
        (".local .align 8 .b8 huge[4000000000];", "mov.u64 %d1, huge;", "huge"),
        ("", "ld.global.frobnicated.u32 %r1, [%d0];", "frobnicated"),
        ("", "call (%r1), nowhere, (%r2);", "nowhere"),
    ];
    for (declaration, use_it, name) in cases {
        let module = format!(
            ".global .texref t; .global .samplerref s = {{addr_mode_0 = wrap, filter_mode = linear}};\n{}",
            body(&format!("{declaration}\nmov.b32 %r2, 1; mov.b32 %r3, %r2; mov.b32 %r5, %r2; mov.b32 %r6, %r2; mov.b32 %r1, %r2; bra OVER;\n{use_it}\nOVER:"))
                .trim_start_matches(HEAD)
        );
        let ptx = format!("{HEAD}{module}");
        run(&ptx, &[0; 64]).unwrap_or_else(|e| panic!("{use_it}: {e}"));
        let e = run(&ptx.replace("bra OVER;", ""), &[0; 64]).expect_err(use_it);
        assert_eq!(e.kind, ErrorKind::UnsupportedInstruction, "{use_it}: {e}");
        let line = ptx.lines().position(|l| l.contains(use_it)).unwrap() as u32 + 1;
        assert_eq!(e.report.line, Some(line), "{e}");
        assert!(e.to_string().contains(name), "{e}");
    }
}

#[test]
fn special_registers_have_values() {
    let ptx = body(
        "mov.u32 %r1, %envreg3; mov.u32 %r2, %pm7; mov.u64 %d2, %pm0_64; mov.u32 %r3, %clock_hi; mov.u32 %r4, %reserved_smem_offset_end;\n\
         add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; st.global.v2.u32 [%d1], {%r1, %r4}; mov.u64 %d3, %clock64; mov.u64 %d4, %globaltimer;\n\
         createpolicy.fractional.L2::evict_last.b64 %d5, 1.0; ld.global.L2::cache_hint.u32 %r5, [%d1], %d5;\n\
         applypriority.global.L2::evict_normal [%d0], 128; prefetch.global.L2 [%d1]; prefetchu.L1 [%d1]; nanosleep.u32 20; pmevent 3;\n\
         ld.mmio.relaxed.sys.global.u32 %r6, [%d1]; ld.global.nc.L1::no_allocate.L2::256B.v2.u32 {%r7, %r8}, [%d1];\n\
         st.release.gpu.global.u32 [%d1+8], %r8; ldu.global.u32 %r9, [%d1]; st.volatile.u32 [%d1+12], %r9;",
    );
    let out = words(&run(&ptx, &[9; 1024]).unwrap_or_else(|e| panic!("{e}")));
    assert!(out.chunks(8).all(|c| c[..4] == [0, 1024, 1024, 0]));
}

#[test]
fn kernels_tell_their_launch_bounds() {
    let ptx = format!(
        "{HEAD}.entry k() .maxntid 128, 1, 1 .minnctapersm 2 .maxnreg 64 .explicitcluster .reqnctapercluster 2, 1, 1 .maxclusterrank 4 {{ ret; }}\n\
         .func f() .noreturn .abi_preserve 4 .abi_preserve_control 2 {{ exit; }}"
    );
    let m = Module::parse(&ptx).unwrap();
    let k = m.kernel("k").unwrap();
    assert_eq!((k.max_threads, k.min_blocks_per_sm, k.max_registers), (Some([128, 1, 1]), Some(2), Some(64)));
    assert_eq!((k.required_cluster, k.max_cluster, k.explicit_cluster), (Some([2, 1, 1]), Some(4), true));
}

#[test]
fn initialisers_of_every_shape() {
    let ptx = format!(
        "{HEAD}.const .align 4 .s32 rows[2][3] = {{{{1, 2}}, {{3}}}};\n.global .align 1 .b8 text[] = \"hi\\n\";\n\
         .global .v4 .f32 v = {{1.0, 0f40000000, 3.0}};\n.const .u16 open[][2] = {{1, 2, 3}};\n.global .align 1 .b8 bytes[3] = {{0xFF(rows), 0xFF00(rows), 0xFF0000(rows)}};\n\
         .global .u64 here = generic(rows)+4; .global .f64 e = 1.5;\n{}",
        body(
            "setp.ne.u32 %p1, %r0, 0; @%p1 ret; ld.const.s32 %r1, [rows+4]; ld.const.s32 %r2, [rows+12]; ld.const.s32 %r3, [rows+8];\n\
             ld.global.u8 %r4, [text+2]; st.global.v4.u32 [%d0], {%r1, %r2, %r3, %r4}; ld.global.v4.f32 {%r1, %r2, %r3, %r4}, [v];\n\
             add.f32 %r1, %r1, %r2; add.f32 %r1, %r1, %r3; add.f32 %r1, %r1, %r4; ld.const.u16 %r2, [open+4]; ld.const.u16 %r3, [open+6];\n\
             mov.u64 %d2, rows; ld.global.u64 %d3, [here]; sub.u64 %d3, %d3, %d2; cvt.u32.u64 %r5, %d3; ld.global.u8 %r6, [bytes+1];\n\
             cvt.u32.u64 %r7, %d2; bfe.u32 %r7, %r7, 8, 8; setp.eq.u32 %p2, %r6, %r7; selp.u32 %r6, %r5, 0, %p2;\n\
             st.global.v4.u32 [%d0+16], {%r1, %r2, %r3, %r6};"
        )
        .trim_start_matches(HEAD)
    );
    let out = words(&run(&ptx, &[0; 32]).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(out, [2, 3, 0, '\n' as u32, 6f32.to_bits(), 3, 0, 4]);
}
