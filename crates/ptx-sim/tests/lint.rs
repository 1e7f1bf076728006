//! Every lint fires on a minimal kernel, is silent on its repaired twin, and on code that real compilers write.

use ptx_sim::Module;
use ptx_sim::lint::{Finding, LintKind, LintOptions, Severity, lint};

const HEAD: &str = ".version 8.6\n.target sm_90a\n.file 1 \"a.cu\"\n";

fn of(ptx: &str, options: &LintOptions) -> Vec<Finding> {
    let ptx = format!("{HEAD}{ptx}");
    lint(&Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}")), options)
}

/// A kernel around a body, whose first line is line 6.
fn kernel(body: &str) -> String {
    format!(
        ".visible .entry k(.param .u64 p, .param .u32 n) {{\n.reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %d<20>; .reg .f32 %f<40>;\n{body}\nret;\n}}"
    )
}

fn kinds(body: &str) -> Vec<LintKind> {
    of(&kernel(body), &LintOptions::default()).iter().map(|f| f.kind).collect()
}

/// The only finding of a body: its kind and line.
fn one(body: &str) -> (LintKind, u32) {
    let found = of(&kernel(body), &LintOptions::default());
    assert_eq!(found.len(), 1, "{body}\n{found:#?}");
    (found[0].kind, found[0].line)
}

fn silent(body: &str) {
    let found = of(&kernel(body), &LintOptions::default());
    assert!(found.is_empty(), "{body}\n{found:#?}");
}

#[test]
fn local_memory() {
    assert_eq!(one("mov.u32 %r1, 1;\n.local .align 4 .b8 depot[64];"), (LintKind::LocalMemory, 7));
    silent(".shared .align 4 .b8 tile[64];");
}

#[test]
fn setmaxnreg_needs_bounds() {
    let body = "setmaxnreg.dec.sync.aligned.u32 40;";
    assert_eq!(one(body), (LintKind::UnboundedRegisters, 6));
    for (bounds, clean) in [
        (".maxnreg 168", true),
        (".maxntid 384, 1, 1 .minnctapersm 1", true),
        (".reqntid 384 .minnctapersm 1", true),
        (".maxntid 384", false),
        (".minnctapersm 1", false),
    ] {
        let ptx = kernel(body).replace("n) {", &format!("n) {bounds} {{"));
        assert_eq!(of(&ptx, &LintOptions::default()).is_empty(), clean, "{bounds}");
    }
}

#[test]
fn generic_accesses_in_loops() {
    let text = "ld.param.u64 %d1, [p]; mov.u32 %r1, 0; ld.f32 %f1, [%d1];\nL:\nld.f32 %f2, [%d1];\nadd.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 9;\n@%p1 bra L;";
    assert_eq!(one(text), (LintKind::GenericInLoop, 8));
    silent(&text.replace("L:\nld.f32", "L:\nld.global.f32"));
    // An inner loop, a store, an atomic; a symbol is no generic address.
    let nest = |inner: &str| {
        format!(
            "ld.param.u64 %d1, [p]; mov.u32 %r1, 0;\n.shared .align 4 .b8 s[8];\nA:\nmov.u32 %r2, 0;\nB:\n{inner}\nadd.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 9;\n@%p1 bra B;\nadd.u32 %r1, %r1, 1; setp.lt.u32 %p2, %r1, 9;\n@%p2 bra A;"
        )
    };
    assert_eq!(one(&nest("st.v2.f32 [%d1+8], {%f1, %f2};")), (LintKind::GenericInLoop, 11));
    assert_eq!(one(&nest("atom.relaxed.gpu.add.u32 %r5, [%d1], 1;")), (LintKind::GenericInLoop, 11));
    silent(&nest("st.f32 [s], %f1;"));
    // One finding a loop.
    let found = of(&kernel(&nest("st.f32 [%d1], %f1;\nld.f32 %f2, [%d1+8];")), &LintOptions::default());
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("2 accesses"), "{}", found[0]);
}

#[test]
fn barriers_in_divergent_code() {
    let divergent = LintKind::DivergentBarrier;
    let tid = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 40;\n";
    assert_eq!(one(&format!("{tid}@%p1 bra L;\nbar.sync 0;\nL:")), (divergent, 8));
    assert_eq!(one(&format!("{tid}@%p1 bar.sync 0;")), (divergent, 7));
    // Left early.
    assert_eq!(one(&format!("{tid}@%p1 ret;\nbar.sync 0;")), (divergent, 8));
    // A loop that some threads leave before others.
    assert_eq!(
        one(
            "mov.u32 %r1, %tid.x;\nL:\nbar.sync 0;\nadd.u32 %r1, %r1, 32; setp.lt.u32 %p1, %r1, 400;\n@%p1 bra L;"
        ),
        (divergent, 8)
    );
    // Behind the meeting point, and under a condition all threads share.
    silent(&format!("{tid}@%p1 bra L;\nmov.u32 %r2, 1;\nL:\nbar.sync 0;"));
    silent("ld.param.u32 %r1, [n]; setp.lt.u32 %p1, %r1, 40;\n@%p1 bra L;\nbar.sync 0;\nL:");
    silent("mov.u32 %r1, %ctaid.x; setp.lt.u32 %p1, %r1, 40;\n@%p1 ret;\nbar.sync 0;");
    // Data: through a uniform address it is the same for all, through another it is not.
    let load = |offset: &str| {
        format!(
            "ld.param.u64 %d1, [p]; mov.u32 %r9, %tid.x; {offset}\nld.global.u32 %r1, [%d1]; setp.eq.u32 %p1, %r1, 0;\n@%p1 bra L;\nbar.sync 0;\nL:"
        )
    };
    silent(&load(""));
    assert_eq!(one(&load("mad.wide.u32 %d1, %r9, 4, %d1;")), (divergent, 9));
    // A value that tells which way a thread went.
    assert_eq!(
        one(&format!(
            "{tid}mov.u32 %r2, 0;\n@%p1 bra L;\nmov.u32 %r2, 1;\nL:\nsetp.eq.u32 %p2, %r2, 0;\n@%p2 bra M;\nbar.sync 0;\nM:"
        )),
        (divergent, 13)
    );
    // Atomics give each thread another value, what a call returns may be one, too.
    assert_eq!(
        one(
            "ld.param.u64 %d1, [p]; atom.global.add.u32 %r1, [%d1], 1; setp.eq.u32 %p1, %r1, 0;\n@%p1 bra L;\nbar.sync 0;\nL:"
        ),
        (divergent, 8)
    );
}

#[test]
fn warp_level_instructions_need_their_warp_only() {
    let divergent = LintKind::DivergentBarrier;
    // The warp's number, from a lane all share: named barriers with counts, and matrix instructions, may depend on it.
    let warp = "mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 5; shfl.sync.idx.b32 %r3, %r2, 0, 31, -1; setp.eq.u32 %p1, %r3, 0;\n";
    let mma = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4}, {%r5,%r6,%r7,%r8}, {%r9,%r10}, {%f1,%f2,%f3,%f4};";
    for fine in [
        mma,
        "bar.sync 1, 64;",
        "bar.arrive 1, 64;",
        "shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;",
        "wgmma.fence.sync.aligned;",
    ] {
        silent(&format!("{warp}@%p1 bra L;\n{fine}\nL:"));
        assert_eq!(
            one(&format!("mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 7;\n@%p1 bra L;\n{fine}\nL:")),
            (divergent, 8),
            "{fine}"
        );
    }
    assert_eq!(one(&format!("{warp}@%p1 bra L;\nbar.sync 0;\nL:")), (divergent, 8));
    // Whole warps by number.
    for (condition, fine) in [
        ("shr.u32 %r2, %r1, 5; setp.eq.u32 %p1, %r2, 0;", true),
        ("shr.u32 %r2, %r1, 4; setp.eq.u32 %p1, %r2, 0;", false),
        ("div.u32 %r2, %r1, 64; setp.eq.u32 %p1, %r2, 0;", true),
        ("setp.gt.u32 %p1, %r1, 31;", true),
        ("setp.gt.u32 %p1, %r1, 32;", false),
        ("setp.lt.u32 %p1, %r1, 128;", true),
        ("setp.eq.u32 %p1, %r1, 32;", false),
        ("add.u32 %r2, %r1, 1; setp.lt.u32 %p1, %r2, 128;", false),
    ] {
        let body = format!("mov.u32 %r1, %tid.x; {condition}\n@%p1 bra L;\n{mma}\nL:");
        assert_eq!(kinds(&body).is_empty(), fine, "{condition}");
        // A barrier of the block needs them all.
        assert_eq!(kinds(&body.replace(mma, "bar.sync 0;")), [divergent], "{condition}");
    }
    // A mask that names some lanes is the programmer's word.
    silent(
        "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 7;\n@!%p1 bra L;\nshfl.sync.bfly.b32 %r4, %r1, 1, 31, 0x7f;\nL:",
    );
    // A vote is the same in the warp.
    silent(&format!(
        "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 7; vote.sync.any.pred %p2, %p1, -1;\n@%p2 bra L;\n{mma}\nL:"
    ));
}

#[test]
fn unused_kernels_and_functions() {
    let ptx = format!(
        ".func dead() {{ ret; }}\n.func helper() {{ ret; }}\n.func pointed() {{ ret; }}\n.func indirectly() {{ ret; }}\n.visible .func exported() {{ ret; }}\n.global .u64 table[1] = {{pointed}};\n{}",
        kernel("call helper;\nmov.u64 %d1, indirectly;")
    );
    let found = of(&ptx, &LintOptions::default());
    assert_eq!(
        found.iter().map(|f| (f.kind, &f.kernel[..])).collect::<Vec<_>>(),
        [(LintKind::Unused, "dead")]
    );
    let mut options = LintOptions::default();
    options.launched = Some(["k".to_string()].into());
    assert_eq!(of(&kernel(""), &options), []);
    options.launched = Some(["other".to_string()].into());
    assert_eq!(of(&kernel(""), &options)[0].kind, LintKind::Unused);
}

#[test]
fn unreachable_code() {
    assert_eq!(one("bra L;\nmov.u32 %r1, 1;\nadd.u32 %r1, %r1, 1;\nL:"), (LintKind::Unreachable, 7));
    // Compilers close what never returns with `trap; exit;`, and there may be a table.
    silent("bra L;\nexit;\nL: trap; exit;");
    silent(
        "ld.param.u32 %r1, [n];\nT: .branchtargets A, B;\nbrx.idx %r1, T;\nA: bra E;\nB: mov.u32 %r2, 1;\nE:",
    );
    assert_eq!(kinds("ret;\nL:\nmov.u32 %r1, 1;\nbra L;"), [LintKind::Unreachable]);
}

#[test]
fn findings_name_their_place() {
    let found = of(
        &kernel("mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 40;\n@%p1 bra L;\n.loc 1 77 3\nbar.sync 0;\nL:"),
        &LintOptions::default(),
    );
    let f = &found[0];
    assert_eq!((f.kernel.as_str(), f.line, f.severity), ("k", 9, Severity::Error));
    assert_eq!(f.source, Some(("a.cu".to_string(), 77)));
    assert!(f.to_string().contains("the branch at PTX line 7"), "{f}");
    assert!(f.to_string().starts_with("divergent-barrier in `k`, PTX line 9"), "{f}");
}

/// What compilers wrote from correct kernels: nothing is called divergent, unreachable or unbounded, and what is called
/// generic or local is.
#[test]
fn compiled_kernels() {
    let mut files = 0;
    for dir in ["tests/ptx", "tests/foreign", "../../gpu-kernels/ptx"] {
        let Ok(list) = std::fs::read_dir(dir) else { continue };
        for path in list.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "ptx")) {
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for f in lint(&Module::parse(&text).unwrap(), &LintOptions::default()) {
                let line = text.lines().nth(f.line as usize - 1).unwrap();
                let fine = match f.kind {
                    LintKind::LocalMemory => line.contains(".local"),
                    LintKind::GenericInLoop => {
                        ["ld.", "st.", "atom.", "red."]
                            .iter()
                            .any(|o| line.trim().starts_with(o) || line.contains(&format!(" {o}")))
                            && ![".global", ".shared", ".local", ".param", ".const"]
                                .iter()
                                .any(|s| line.contains(s))
                    }
                    _ => false,
                };
                assert!(fine, "{}: {f}\n{line}", path.display());
            }
        }
    }
    assert!(files >= 2);
}

/// Inline assembly in scopes of its own: registers and labels of one name are different ones.
#[test]
fn scopes_keep_names_apart() {
    silent(
        "{ .reg .pred %p1; .reg .b32 t; mov.u32 t, %tid.x; setp.lt.u32 %p1, t, 3; @%p1 bra L; mov.u32 t, 1; L: }\n\
         { .reg .b32 t; mov.u32 t, 1; setp.eq.u32 %p1, t, 1; }\n@%p1 bra L;\nbar.sync 0;\nL:",
    );
}

/// What ptxas says, without one: a script in its place.
#[cfg(unix)]
#[test]
fn spills_and_stack_frames() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("ptx-sim-lint-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (tool, file) = (dir.join("ptxas"), dir.join("k.ptx"));
    std::fs::write(&file, format!("{HEAD}{}", kernel(""))).unwrap();
    let mut options = LintOptions::default();
    options.file = Some(file);
    options.ptxas = Some(tool.clone());
    for (stack, spills, want) in [
        (0, 0, vec![]),
        (48, 0, vec![LintKind::StackFrame]),
        (64, 24, vec![LintKind::Spills, LintKind::StackFrame]),
    ] {
        let report = format!(
            "ptxas info    : Compiling entry function 'k' for 'sm_90a'\nptxas info    : Function properties for k\n    \
             {stack} bytes stack frame, {spills} bytes spill stores, {spills} bytes spill loads\nptxas info    : Used 40 registers\n"
        );
        std::fs::write(&tool, format!("#!/bin/sh\ncat >&2 <<'END'\n{report}END\n")).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = of(&kernel(""), &options);
        assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), want);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What a barrier reduced is one decision of the block, and a register is what was last written to it.
#[test]
fn decisions_follow_what_was_written_last() {
    let divergent = LintKind::DivergentBarrier;
    let lane = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 7;";
    silent(&format!("{lane} bar.red.or.pred %p2, 0, %p1;\n@%p2 bra L;\nbar.sync 0;\nL:"));
    silent(&format!(
        "{lane} mov.u32 %r2, %r1; mov.u32 %r2, %ctaid.x; setp.eq.u32 %p2, %r2, 0;\n@%p2 bra L;\nbar.sync 0;\nL:"
    ));
    // A guarded write leaves what was there before in some threads.
    let guarded = format!(
        "{lane} mov.u32 %r2, 0; @%p1 mov.u32 %r2, %ctaid.x; setp.eq.u32 %p2, %r2, 0;\n@%p2 bra L;\nbar.sync 0;\nL:"
    );
    assert_eq!(one(&guarded), (divergent, 8));
    // Around a loop: the first round's value is uniform, the later ones' is not.
    let around = format!(
        "{lane} mov.u32 %r2, 0; mov.u32 %r3, 0;\nT: setp.eq.u32 %p2, %r2, 3;\n@%p2 bra L;\nbar.sync 0;\nL: mov.u32 %r2, %r1;\n\
         add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 4; @%p3 bra T;"
    );
    assert_eq!(one(&around), (divergent, 9));
}
