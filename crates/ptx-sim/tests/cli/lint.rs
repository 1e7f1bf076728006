//! `lint`: findings without a run, as text, JSON and SARIF.

use super::*;
use serde_json::json;

/// A barrier that only some threads reach (line 9), and a kernel without fault (line 14).
const KERNELS: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .entry diverges()
{
.reg .pred %p; .reg .b32 %r;
mov.u32 %r, %tid.x; setp.lt.u32 %p, %r, 7;
@%p bra DONE;
bar.sync 0;
DONE:
ret;
}
.visible .entry fine(.param .u64 p)
{
.reg .b32 %r; .reg .b64 %d;
ld.param.u64 %d, [p]; mov.u32 %r, %tid.x; st.global.b32 [%d], %r;
ret;
}
";

#[test]
fn findings_as_text_json_and_sarif() {
    let f = Folder::new();
    f.write("k.ptx", KERNELS);
    let o = f.run("lint k.ptx");
    assert_eq!((o.code, o.err.as_str()), (1, ""), "{}", o.out);
    assert!(o.out.starts_with("k.ptx:9:1: "), "{}", o.out);
    assert!(o.out.contains("divergent-barrier in kernel `diverges`"), "{}", o.out);
    assert!(o.out.ends_with("linted 2 kernels: 1 finding, 0 notes\n"), "{}", o.out);
    let v = f.json("lint k.ptx --json", 1);
    let finding = &v["findings"][0];
    assert_eq!((&finding["kind"], &finding["line"]), (&json!("divergent-barrier"), &json!(9)));
    let v = f.json("lint k.ptx --format sarif", 1);
    let run = &v["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let result = &run["results"][0];
    assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], "divergent-barrier");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 9);
    let o = f.run("lint k.ptx --disable divergent-barrier");
    assert_eq!((o.code, o.out.as_str()), (0, "linted 2 kernels: 0 findings, 0 notes\n"));
    // A kernel that nobody launches is worth a note, which fails nothing.
    let v = f.json("lint k.ptx --json --disable divergent-barrier --launched diverges", 0);
    let note = &v["findings"][0];
    assert_eq!(
        (&note["kind"], &note["kernel"], &note["severity"]),
        (&json!("unused"), &json!("fine"), &json!("note"))
    );
}

#[test]
fn bad_input() {
    let f = Folder::new();
    f.write("k.ptx", KERNELS);
    f.write("cut.ptx", &KERNELS[..150]);
    for (args, says) in [
        ("missing.ptx", "missing.ptx:1:1: cannot be read"),
        ("cut.ptx", "cut.ptx:"),
        ("k.ptx --launched nobody", "k.ptx:1:1: no kernel `nobody`"),
        ("k.ptx --disable everything", "no kind `everything` to disable; there are local-memory"),
        ("k.ptx --ptxas nowhere/ptxas", "nowhere/ptxas: no such program"),
    ] {
        let o = f.run(&format!("lint {args}"));
        assert_eq!((o.code, o.out.as_str(), o.err.lines().count()), (2, "", 1), "{args}: {}{}", o.out, o.err);
        assert!(o.err.starts_with(&format!("error: {says}")), "{args}: {}", o.err);
    }
}
