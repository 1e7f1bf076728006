//! The parser: identity of parse, print, parse; no panic on anything; and no panic when what it accepts is run.

use proptest::prelude::*;
use ptx_sim::parse::parse;
use ptx_sim::{Arg, LaunchConfig, Module, Sim};

const CORPUS: [&str; 2] = [include_str!("ptx/corpus_sm_80.ptx"), include_str!("ptx/corpus_sm_90a.ptx")];

fn round_trips(src: &str) {
    let ast = parse(src).unwrap_or_else(|e| panic!("{e}\n{src}"));
    let text = ast.to_string();
    let again = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(ast, again);
}

#[test]
fn compiled_modules_round_trip() {
    CORPUS.iter().for_each(|s| round_trips(s));
}

#[test]
fn everything_nvcc_writes_at_module_level_round_trips() {
    round_trips(
        r#".version 8.5
.target sm_90a, debug
.address_size 64
.file 1 "a.cu", 12345, 678
.global .align 8 .u64 table[3] = {generic(x)+8, f, 0xFF00(x)};
.visible .const .align 4 .f32 c[2] = {0f3F800000, -1.5};
.extern .shared .align 16 .b8 dyn[];
.weak .global .align 4 .u32 x = 077;
.global .attribute(.managed) .align 4 .b32 m;
.alias g, f;
.pragma "nounroll";
.visible .func (.param .align 4 .b8 r[12]) f(.param .b64 a, .param .align 8 .b8 b[16]) .noreturn
{
	.reg .pred %p<3>; .reg .v4 .f32 %v; .reg .b32 a, b; .reg.b16 c; {.param.b64 q; .reg.v2.b32 d;}
	.loc 1 10 3, function_name $L__info_string0, inlined_at 1 20 1
	@!%p1 bra L;
	{ .shared .align 16 .b8 t[64]; mov.u64 %rd1, t; }
	T: .branchtargets L, L;
	P: .callprototype (.param .b32 _) _ (.param .b64 _, .param .b32 _);
	call (r0), %rd1, (a0, a1), P;
	mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};
	cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd2, {%r3, %r4}], [%r5];
	setp.lt.and.f32 %p1|%p2, 0f00000000, 1.5e-3, !%p1;
	ld.global.L1::no_allocate.v2.b64 {%rd1, _}, [%rd2+-16];
	.pragma "used_bytes_mask 0xfff";
L:	ret;
}
.entry k(.param .u64 .ptr .global .align 16 p, .param .f32 s) .maxntid 128, 1, 1 .minnctapersm 2 .maxnreg 64
{ ret; }
	.section .debug_info { .b8 1,2 .b32 L /* } */ .b64 a-b }
"#,
    );
}

#[test]
fn numbers_past_the_signed_range_round_trip_everywhere() {
    let n = "0xb569a04fa9871c50";
    round_trips(&format!(
        ".version 7.8 .target sm_80 .global .u64 g = {n}; .entry k() .maxnreg {n} .unheard_of -3\n\
         {{ .reg .b64 %d; .set .b64 x, {n}, -9223372036854775808; mov.u64 %d, {n}; ld.global.u64 %d, [{n}]; ret; }}"
    ));
}

#[test]
fn errors_carry_line_and_column() {
    let e = parse(".version 7.0\n.target sm_80\n.entry k() {\n  add.u32 %r1, ;\n}").unwrap_err();
    assert_eq!((e.line, e.message.as_str()), (4, "expected an operand, found `;`"));
    assert!(parse("").is_err());
    assert!(parse(&format!(".version 7.0 .entry k() {}", "{".repeat(100_000))).is_err());
    assert!(parse(&format!(".version 7.0 .entry k() {{ mov.b32 a, {}", "{".repeat(100_000))).is_err());
}

/// A random statement, as text.
fn statement() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "%r[0-9]{1,3}",
        "%p[0-9]",
        "[a-z_$][a-z0-9_$]{0,6}",
        Just("%tid.x".to_string()),
        Just("_".to_string())
    ];
    let operand = prop_oneof![
        name.clone(),
        any::<i64>().prop_map(|v| v.to_string()),
        any::<u32>().prop_map(|v| format!("0f{v:08X}")),
        any::<u64>().prop_map(|v| format!("0d{v:016X}")),
        (name.clone(), -5000i64..5000).prop_map(|(n, v)| format!("[{n}+{v}]")),
        prop::collection::vec(name.clone(), 1..5).prop_map(|v| format!("{{{}}}", v.join(", "))),
        (name.clone(), name.clone()).prop_map(|(a, b)| format!("{a}|{b}")),
        name.clone().prop_map(|n| format!("!{n}")),
        any::<f32>().prop_filter("a number", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
    ];
    let opcode = prop_oneof![
        "[a-z]{2,6}(\\.[a-z0-9]{1,5}){0,4}",
        Just("ld.global.v4.f32".to_string()),
        Just("add.rn.f32".to_string()),
        Just("setp.lt.and.u32".to_string()),
    ];
    let inst =
        (prop::option::of(name), opcode, prop::collection::vec(operand, 0..5)).prop_map(|(g, o, v)| {
            format!("{}{o} {};", g.map(|g| format!("@!{g} ")).unwrap_or_default(), v.join(", "))
        });
    prop_oneof![
        8 => inst,
        1 => "L[0-9]{1,2}:",
        1 => Just(".reg .b32 %r<9>, q;".to_string()),
        1 => (1u32..500).prop_map(|n| format!(".shared .align 8 .b8 t[{n}][2];")),
        1 => (1u32..9, 1u32..900).prop_map(|(f, l)| format!(".loc {f} {l} 7")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bodies_round_trip(body in prop::collection::vec(statement(), 0..30), cut in 0usize..30) {
        let (a, b) = body.split_at(cut.min(body.len()));
        round_trips(&format!(".version 8.0 .target sm_80 .visible .entry k(.param .u64 p) {{ {} {{ {} }} }}", a.join("\n"), b.join("\n")));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}", ascii in "[ -~\n\t]{0,300}") {
        let _ = parse(&text);
        let _ = parse(&format!(".version 7.0\n{ascii}"));
        let _ = parse(&format!(".version 7.0 .entry k() {{ {ascii} }}"));
    }

    /// Corrupted real modules: never a panic, neither in the parser nor in the simulator.
    #[test]
    fn corrupted_modules_never_panic(which in 0usize..2, edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[ -~]{0,6}"), 1..6)) {
        // The code only: the debug sections behind it are skipped anyway.
        let code = CORPUS[which].split(".section").next().unwrap();
        let mut text = code.as_bytes().to_vec();
        for (at, drop, insert) in &edits {
            let at = at.index(text.len());
            let end = (at + drop).min(text.len());
            text.splice(at..end, insert.bytes());
        }
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        let Ok(m) = Module::parse(&text) else { return Ok(()) };
        let names: Vec<_> = m.kernels().cloned().collect();
        for k in names {
            let mut sim = Sim::builder().instruction_budget(3000).build();
            let a = sim.alloc(512);
            sim.fill(a, 1, 512).unwrap();
            let args: Vec<Arg> = k.params.iter().map(|p| match p.size {
                8 => Arg::U64(a),
                4 => Arg::U32(40),
                n => Arg::Bytes(vec![1; n as usize]),
            }).collect();
            let _ = sim.launch(&m, &k.name, &LaunchConfig::linear(64, 64).shared(64), &args);
        }
    }
}
