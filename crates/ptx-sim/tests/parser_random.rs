//! The parser, the decoder and the lints on text that no compiler wrote: random modules from a grammar, real modules with
//! tokens moved, cut off, and numbers blown up. What parses prints and parses to the same; nothing panics; errors have a place.

use proptest::prelude::*;
use ptx_sim::parse::parse;
use ptx_sim::{Arg, LaunchConfig, Module, Sim, lint};

const CORPUS: [&str; 2] = [include_str!("ptx/corpus_sm_80.ptx"), include_str!("ptx/corpus_sm_90a.ptx")];

/// The code of a corpus module, without its debug sections.
fn code(which: usize) -> &'static str {
    CORPUS[which].split(".section").next().unwrap()
}

/// Parses; on success prints and parses again, loads, lints and starts every kernel with a small budget. On failure the
/// error's place is in the text.
fn survives(text: &str) {
    match parse(text) {
        Ok(ast) => {
            let printed = ast.to_string();
            let again = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{text}\n---\n{printed}"));
            assert_eq!(ast, again, "{text}\n---\n{printed}");
        }
        Err(e) => {
            let line = text.lines().nth(e.line as usize - 1).unwrap_or("");
            assert!(e.line >= 1 && e.line as usize <= text.lines().count() + 1, "{e}");
            assert!(e.column >= 1 && e.column as usize <= line.len() + 1, "{e}\n{line}");
            return;
        }
    }
    let Ok(m) = Module::parse(text) else { return };
    let found = lint::lint(&m, &lint::LintOptions::default());
    assert!(found.iter().all(|f| f.line >= 1 && !f.message.is_empty()));
    for k in m.kernels() {
        let mut sim = Sim::builder().instruction_budget(2000).build();
        let a = sim.alloc(256);
        let args: Vec<Arg> = k
            .params
            .iter()
            .map(|p| match p.size {
                8 => Arg::U64(a),
                4 => Arg::U32(40),
                n => Arg::Bytes(vec![1; n as usize]),
            })
            .collect();
        let _ = sim.launch(&m, &k.name, &LaunchConfig::linear(32, 32).shared(64), &args);
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "%(r|d|f|q|v)[0-9]{1,2}",
        1 => "%p[0-9]",
        1 => "[a-z_$][a-z0-9_$]{0,6}",
        1 => prop::sample::select(vec!["%tid.x", "_", "WARP_SZ", "%clock64", "%v1.x", "generic", "%envreg3"]).prop_map(String::from),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|v| v.to_string()),
        any::<u64>().prop_map(|v| format!("0x{v:X}U")),
        any::<u8>().prop_map(|v| format!("0b{v:b}")),
        any::<u8>().prop_map(|v| format!("0{v:o}")),
        any::<u32>().prop_map(|v| format!("0f{v:08X}")),
        any::<u64>().prop_map(|v| format!("0d{v:016x}")),
        (any::<i32>(), 0u32..9999).prop_map(|(a, b)| format!("{a}.{b}e-3")),
    ]
}

fn operand() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => name(),
        2 => number(),
        1 => (name(), -5000i64..5000).prop_map(|(n, v)| format!("{n}+{v}")),
        1 => (name(), name()).prop_map(|(a, b)| format!("{a}|{b}")),
        1 => name().prop_map(|n| format!("!{n}")),
        1 => "[a-z]{1,5}".prop_map(|n| format!("generic({n})+8")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let list = prop::collection::vec(inner, 0..4).prop_map(|v| v.join(", "));
        (list, 0usize..3).prop_map(|(l, k)| match k {
            0 => format!("{{{l}}}"),
            1 => format!("[{l}]"),
            _ => format!("({l})"),
        })
    })
}

fn opcode() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => "[a-z]{2,6}(\\.[a-z0-9]{1,5}){0,4}",
        4 => prop::sample::select(vec![
            "ld.global.v4.f32", "st.shared.b32", "add.rn.f32", "setp.lt.and.u32", "mov.b128", "mov.v4.b32", "cvt.rn.f16x2.f32", "bra", "ret",
            "bar.sync", "call", "call.uni", "brx.idx", "atom.global.cas.b128", "red.add.v2.f32", "fma.rn.f32x2", "set.lt.f16x2.f16x2",
            "alloca.u64", "stacksave.u64", "discard.global.L2", "selp.b32", "shfl.sync.idx.b32", "mad.wide.u32", "lop3.or.b32", "prmt.b32",
            "vabsdiff4.u32.u32.u32", "cvt.pack.sat.u4.s32.b32", "createpolicy.fractional.L2::evict_last.b64", "membar.gl", "setmaxnreg.dec.sync.aligned.u32",
        ]).prop_map(String::from),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    let inst =
        (prop::option::of(name()), opcode(), prop::collection::vec(operand(), 0..5)).prop_map(|(g, o, v)| {
            format!("{}{o} {};", g.map(|g| format!("@{g} ")).unwrap_or_default(), v.join(", "))
        });
    let leaf = prop_oneof![
        10 => inst,
        1 => "L[0-9]{1,2}:",
        1 => (0u32..70_000).prop_map(|n| format!(".reg .b32 %r<{n}>; .reg.b64 %d<9>, one; .reg .v4 .f32 %v<3>; .reg .b128 %q<4>; .reg .pred %p<9>;")),
        1 => (1u64..1 << 40).prop_map(|n| format!(".local .align 8 .b8 t[{n}][2];")),
        1 => Just(".param .align 8 .b8 a[16], b;".replace(", b", "")),
        1 => (1u32..9, 1u32..900).prop_map(|(f, l)| format!(".loc {f} {l} 7, function_name $L__x+3, inlined_at 1 2 3")),
        1 => Just("T: .branchtargets L1, L2; C: .calltargets f, g; P: .callprototype (.param .b32 _) _ (.reg .u64 _) .noreturn .abi_preserve 3;".to_string()),
        1 => "[.][a-z]{3,8} [a-z0-9 ]{0,8};",
        1 => Just(".pragma \"nounroll\", \"used_bytes_mask 0xff\";".to_string()),
    ];
    leaf.prop_recursive(2, 20, 5, |inner| {
        prop::collection::vec(inner, 0..5).prop_map(|v| format!("{{ {} }}", v.join("\n")))
    })
}

fn initialiser() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        number(),
        "[a-z]{1,4}",
        "[a-z]{1,4}".prop_map(|n| format!("generic({n})+16")),
        "[a-z]{1,4}".prop_map(|n| format!("0xFF00({n})")),
        "[a-z]{1,4}".prop_map(|n| format!("\"{n}\\n\"")),
        "[a-z]{1,4}".prop_map(|n| format!("addr_mode_0 = {n}")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|v| format!("{{{}}}", v.join(", ")))
    })
}

fn item() -> impl Strategy<Value = String> {
    let ty = || {
        prop::sample::select(vec![".b8", ".u16", ".s32", ".f64", ".b128", ".f16x2", ".texref", ".v4 .f32"])
    };
    let space = || {
        prop::sample::select(vec![
            ".global",
            ".const",
            ".shared",
            ".weak .global",
            ".visible .const",
            ".extern .global",
            ".common .global",
            ".tex",
        ])
    };
    let dims = || {
        prop_oneof![
            Just(String::new()),
            Just("[]".into()),
            (0u64..40).prop_map(|n| format!("[{n}][2]")),
            any::<u64>().prop_map(|n| format!("[{n}]"))
        ]
    };
    let bounds = prop::collection::vec(
        prop::sample::select(vec![
            ".maxntid 128, 1, 1",
            ".reqntid 32",
            ".minnctapersm 2",
            ".maxnreg 64",
            ".noreturn",
            ".explicitcluster",
            ".reqnctapercluster 2, 1, 1",
            ".maxclusterrank 8",
            ".blocksareclusters",
            ".abi_preserve 4",
            ".pragma \"x\";",
            ".attribute(.unified(1, 2))",
        ]),
        0..3,
    );
    let body = prop::collection::vec(statement(), 0..16);
    prop_oneof![
        3 => (space(), ty(), "[a-z]{1,4}", dims(), prop::option::of(initialiser()))
            .prop_map(|(s, t, n, d, i)| format!("{s} .align 8 {t} {n}{d}{};", i.map(|i| format!(" = {i}")).unwrap_or_default())),
        4 => (any::<bool>(), "[a-z]{1,4}", bounds, body).prop_map(|(entry, n, d, b)| {
            let head = if entry {
                format!(".visible .entry {n}(.param .u64 .ptr .global .align 16 a, .param .align 8 .b8 s[16])")
            } else {
                format!(".func (.reg .b32 r, .param .b64 q) {n}(.param .b32 a, .reg .pred c)")
            };
            format!("{head} {}\n{{\n.reg .b32 %r<90>; .reg .pred %p<9>; .reg .b64 %d<90>; .reg .f32 %f<90>;\n{}\n}}", d.join(" "), b.join("\n"))
        }),
        1 => Just(".alias f, g;\n.file 1 \"a.cu\", 3, 4\n.pragma \"x\";\n@@DWARF .byte 0x11 ; { [\n.section .debug_info { .b8 1, 2 /* } */ }".to_string()),
        1 => "[a-z]{1,4}".prop_map(|n| format!(".extern .func (.param .b32 r) {n}(.param .b64 a) .noreturn;")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_modules(items in prop::collection::vec(item(), 0..8)) {
        survives(&format!(".version 8.10\n.target sm_100a, debug\n.address_size 64\n{}", items.join("\n")));
    }

    #[test]
    fn truncated_modules(which in 0usize..2, at in any::<prop::sample::Index>()) {
        let text = code(which);
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        survives(&text[..at]);
    }

    /// Tokens of a real module moved, doubled and dropped.
    #[test]
    fn shuffled_tokens(which in 0usize..2, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..3), 1..8)) {
        let mut tokens: Vec<&str> = code(which).split_inclusive([' ', '\t', '\n', ',', ';', '{', '}', '[', ']']).collect();
        for (a, b, what) in &edits {
            let (a, b) = (a.index(tokens.len()), b.index(tokens.len()));
            match what {
                0 => tokens.swap(a, b),
                1 => { let t = tokens[b]; tokens.insert(a, t); }
                _ => { tokens.remove(a); }
            }
        }
        survives(&tokens.concat());
    }

    /// Numbers of a real module replaced by others, huge ones among them.
    #[test]
    fn blown_up_numbers(which in 0usize..2, picks in prop::collection::vec((any::<prop::sample::Index>(), number()), 1..6), wide in "[0-9]{1,60}") {
        let text = code(which);
        let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|m| m.0).collect();
        let mut out = text.to_string();
        let mut at: Vec<(usize, &str)> = picks.iter().map(|(i, n)| (digits[i.index(digits.len())], &n[..])).collect();
        at.push((digits[wide.len() * 7 % digits.len()], &wide));
        at.sort();
        for (i, n) in at.into_iter().rev() {
            out.replace_range(i..i + 1, n);
        }
        survives(&out);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), header in any::<bool>()) {
        let text = String::from_utf8_lossy(&bytes);
        survives(&if header { format!(".version 7.0 .entry k() {{ {text} }}") } else { text.into_owned() });
    }
}

/// What nvcc, Triton and LLVM wrote.
#[test]
fn foreign_modules_round_trip() {
    let mut files = 0;
    for path in std::fs::read_dir("tests/foreign").into_iter().flatten().map(|e| e.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "ptx") {
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let ast = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let printed = ast.to_string();
            assert_eq!(ast, parse(&printed).unwrap(), "{}", path.display());
        }
    }
    assert!(files > 0);
}

#[test]
fn nesting_is_bounded_wherever_it_occurs() {
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    for n in [10, 63, 70, 100_000] {
        let texts = [
            format!(".entry k() {{ {} }}", deep("{", "}", n)),
            format!(".entry k() {{ mov.b32 %r1, {}; }}", deep("{", "}", n)),
            format!(".entry k() {{ ld.b32 %r1, {}; }}", deep("[", "]", n)),
            format!(".entry k() {{ call f, {}; }}", deep("(", ")", n)),
            format!(".global .b32 x[4] = {};", deep("{", "}", n)),
            format!(".entry k() {{ mov.b32 %r1, {}1; }}", "-".repeat(n)),
            format!(".entry k() {{ mov.b32 %r1, a{}; }}", "+1".repeat(n)),
            format!(".global .b8 x{} = 1;", "[2]".repeat(n)),
        ];
        for t in texts {
            survives(&format!(".version 7.0\n.target sm_80\n{t}"));
        }
    }
}

#[test]
fn errors_stand_where_the_token_stands() {
    for (text, line, column) in [
        ("  .target sm_80", 1, 3),
        (".version 7.0\n.entry k() {\n  add.u32 %r1, ;\n}", 3, 16),
        (".version 7.0\n.entry k() {\n  .reg .b33 %r;\n}", 3, 8),
        (".version 7.0\n  .shraed .b32 x;", 2, 3),
        (".version 7.0\n.global .align 3 .b32 x;", 2, 16),
        (".version 7.0\n.entry k() { /* never closed", 2, 14),
        (".version 7.0\n.entry k() {\n mov.b32 %r1, 0xfg;", 3, 15),
        (".version 7.0\n.entry k() {", 2, 13),
        (".version seven", 1, 10),
    ] {
        let e = parse(text).expect_err(text);
        assert_eq!((e.line, e.column), (line, column), "{text}: {e}");
    }
}
