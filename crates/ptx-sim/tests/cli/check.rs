//! `check`: findings of many schedules as text, JSON and SARIF, and the two kinds of its own.

use super::*;
use serde_json::{Value, json};

const ARGS: &str = "--block 16 --arg u32=9 --arg f32=1 --arg in=x.npy --arg inout=y.npy";

fn folder() -> Folder {
    let f = Folder::new();
    f.write("k.ptx", SAXPY);
    for name in ["x.npy", "y.npy"] {
        f.write(name, npy("<f4", "(8,)", &bytes(&random(8))));
    }
    f
}

#[test]
fn clean_and_not() {
    let f = folder();
    let y = f.read("y.npy");
    let o = f.run("check k.ptx --block 4 --grid 2 --schedules 7 --arg u32=8 --arg f32=1 --arg in=x.npy --arg inout=y.npy");
    assert_eq!((o.code, o.err.as_str()), (0, ""));
    assert_eq!(o.out, "checked `saxpy`: 7 schedules, 0 findings, 0 notes\n");
    // One thread too many: one finding, however many schedules see it.
    let o = f.run(&format!("check k.ptx --schedules 3 --seed 5 {ARGS}"));
    assert_eq!(o.code, 1);
    let lines: Vec<&str> = o.out.lines().collect();
    assert!(lines[0].starts_with("k.ptx:17:1: error: out-of-bounds access in kernel `saxpy`, block (0, 0, 0), thread (8, 0, 0), address 0x"));
    assert_eq!(lines[1], "    ld.global.f32 %f1, [%d3];");
    assert_eq!(lines[2], "    from src/saxpy.rs:4");
    assert_eq!(lines[3], "    in 3 of 3 schedules, seed 5, 6, 7");
    assert_eq!(lines[4], "checked `saxpy`: 3 schedules, 1 finding, 0 notes");
    assert_eq!(f.read("y.npy"), y, "a check writes no file");
    // A kind that cannot be switched off ends the launch all the same, which is said.
    f.write("trap.ptx", blocks("trap;"));
    let o = f.run("check trap.ptx --block 1 --disable trap --schedules 2 --arg inout=y.npy");
    assert_eq!((o.code, o.out.lines().next()), (0, Some("2 schedules ended early at a disabled finding")));
    // Without the check the kernel does nothing worse than read poison.
    let o = f.run(&format!("check k.ptx --disable out-of-bounds {ARGS}"));
    assert_eq!(o.code, 0, "{}", o.out);
}

/// A race names both accesses, in every format.
#[test]
fn races_name_the_other_access() {
    let f = folder();
    f.write("race.ptx", blocks("st.global.u32 [%d0], %r0;"));
    let launch = "check race.ptx --block 1 --grid 2 --schedules 1 --arg inout=y.npy";
    let o = f.run(launch);
    assert_eq!(o.code, 1);
    assert!(o.out.lines().any(|l| l.starts_with("    the other access: PTX line ")), "{}", o.out);
    let v = f.json(&format!("{launch} --json"), 1);
    let (finding, other) = (&v["findings"][0], &v["findings"][0]["other"]);
    assert_eq!((&finding["kind"], &finding["line"]), (&json!("global-race"), &other["line"]));
    assert_ne!(finding["block"], other["block"]);
    let sarif = f.json(&format!("{launch} --format sarif"), 1);
    assert_eq!(&sarif["runs"][0]["results"][0]["properties"]["other"], other);
}

#[test]
fn json_output() {
    let f = folder();
    for flag in ["--json", "--format json"] {
        let v = f.json(&format!("check k.ptx {flag} --schedules 2 {ARGS}"), 1);
        assert_eq!(
            (&v["command"], &v["clean"], &v["schedules"]),
            (&json!("check"), &json!(false), &json!(2))
        );
        let finding = &v["findings"][0];
        assert_eq!(v["findings"].as_array().unwrap().len(), 1);
        for (key, value) in [
            ("kind", json!("out-of-bounds")),
            ("severity", json!("error")),
            ("kernel", json!("saxpy")),
            ("line", json!(17)),
            ("source", json!({"file": "src/saxpy.rs", "line": 4})),
            ("instruction", json!("ld.global.f32 %f1, [%d3];")),
            ("block", json!([0, 0, 0])),
            ("thread", json!([8, 0, 0])),
            ("seeds", json!([0, 1])),
        ] {
            assert_eq!(finding[key], value, "{key}");
        }
    }
}

/// What SARIF 2.1.0 requires of a log, and what a code host needs to show a result in place.
fn sarif(v: &Value) -> &Vec<Value> {
    assert_eq!(v["version"], "2.1.0");
    assert!(v["$schema"].as_str().unwrap().ends_with("sarif-2.1.0.json"));
    let runs = v["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "ptx-sim");
    let rules = driver["rules"].as_array().unwrap();
    assert!(rules.len() >= 24);
    let mut ids: Vec<&str> = rules.iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert!(rules.iter().all(|r| !r["shortDescription"]["text"].as_str().unwrap().is_empty()));
    let results = runs[0]["results"].as_array().unwrap();
    for r in results {
        assert_eq!(r["ruleId"], ids[r["ruleIndex"].as_u64().unwrap() as usize]);
        assert!(["error", "note"].contains(&r["level"].as_str().unwrap()));
        assert!(!r["message"]["text"].as_str().unwrap().is_empty());
        for l in r["locations"].as_array().unwrap() {
            let p = &l["physicalLocation"];
            assert!(!p["artifactLocation"]["uri"].as_str().unwrap().is_empty());
            assert!(p["region"]["startLine"].as_u64().unwrap() >= 1);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules.len(), "rule ids are unique");
    results
}

#[test]
fn sarif_output() {
    let f = folder();
    let v = f.json(&format!("check k.ptx --format sarif {ARGS}"), 1);
    let results = sarif(&v);
    assert_eq!((results.len(), &results[0]["ruleId"]), (1, &json!("out-of-bounds")));
    // The source where `.loc` names it, the PTX beside it.
    let at = |l: &Value| {
        let p = &l["physicalLocation"];
        (
            p["artifactLocation"]["uri"].as_str().unwrap().to_string(),
            p["region"]["startLine"].as_u64().unwrap(),
        )
    };
    assert_eq!(at(&results[0]["locations"][0]), ("src/saxpy.rs".into(), 4));
    assert_eq!(at(&results[0]["relatedLocations"][0]), ("k.ptx".into(), 17));
    // The PTX alone where there is no `.loc`; an absolute source below the current folder becomes relative.
    f.write(
        "my k.ptx",
        SAXPY.lines().filter(|l| !l.starts_with(".loc")).map(|l| format!("{l}\n")).collect::<String>(),
    );
    let o = Command::new(env!("CARGO_BIN_EXE_ptx-sim"))
        .args(["check", "my k.ptx", "--format", "sarif"])
        .args(ARGS.split_whitespace())
        .current_dir(f.0.path())
        .output()
        .unwrap();
    let v: Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(at(&sarif(&v)[0]["locations"][0]), ("my%20k.ptx".into(), 15));
    let here = f.0.path().canonicalize().unwrap();
    f.write("k.ptx", SAXPY.replace("src/saxpy.rs", &format!("{}/src/saxpy.rs", here.display())));
    let v = f.json(&format!("check k.ptx --format sarif {ARGS}"), 1);
    assert_eq!(at(&sarif(&v)[0]["locations"][0]).0, "src/saxpy.rs");
    // A clean run is a log, too.
    let v = f.json(
        "check k.ptx --block 8 --format sarif --arg u32=8 --arg f32=1 --arg in=x.npy --arg inout=y.npy",
        0,
    );
    assert!(sarif(&v).is_empty());
}

/// One thread per block does `body` with `%d0` the buffer and `%r0` the block.
fn blocks(body: &str) -> String {
    format!(
        ".version 7.8\n.target sm_80\n.visible .entry k(.param .u64 p)\n{{\n.reg .b32 %r<4>; .reg .f32 %f<4>; .reg .b64 %d<4>;\n\
         ld.param.u64 %d0, [p]; mov.u32 %r0, %ctaid.x;\n{body}\nret;\n}}\n"
    )
}

#[test]
fn results_that_depend_on_the_schedule() {
    let f = Folder::new();
    f.write("exch.ptx", blocks("atom.global.exch.b32 %r1, [%d0], %r0;"));
    f.write("one.npy", npy("<u4", "(1,)", &[0; 4]));
    let v = f.json("check exch.ptx --grid 64 --block 1 --schedules 6 --json --arg inout=one.npy", 1);
    let finding = &v["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["severity"]),
        (&json!("schedule-dependent-result"), &json!("error"))
    );
    assert!(finding["message"].as_str().unwrap().contains("one.npy is not the same"));
    // Sums of floats depend on the order, too, which may be meant: a note, and no failure.
    f.write("add.ptx", blocks("cvt.rn.f32.u32 %f0, %r0; rcp.rn.f32 %f0, %f0; add.f32 %f0, %f0, 0f3DCCCCCD;\nmin.f32 %f0, %f0, 0f3F800000; red.global.add.f32 [%d0], %f0;"));
    let o = f.run("check add.ptx --grid 64 --block 1 --schedules 12 --arg inout=one.npy");
    assert_eq!(o.code, 0, "{}", o.out);
    assert!(
        o.out.contains("add.ptx:3:1: note: schedule-dependent result")
            && o.out.contains("0 findings, 1 note"),
        "{}",
        o.out
    );
    let o = f.run("check exch.ptx --grid 64 --block 1 --schedules 6 --disable schedule-dependent-result --arg inout=one.npy");
    assert_eq!(o.code, 0, "{}", o.out);
}

#[test]
fn outputs_are_to_be_written_entirely() {
    let f = Folder::new();
    f.write("k.ptx", blocks("mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1; st.global.u32 [%d1], %r0;"));
    let o = f.run("check k.ptx --grid 6 --block 1 --schedules 2 --arg out=o.npy:u32:2x4");
    assert_eq!(o.code, 1);
    assert!(
        o.out.contains(
            "k.ptx:3:1: error: output not written in kernel `k`: nobody wrote element 6 of o.npy (8 elements)"
        ),
        "{}",
        o.out
    );
    assert!(o.out.contains("in 2 of 2 schedules"));
    for args in [
        "--grid 8 --block 1 --arg out=o.npy:u32:2x4",
        "--grid 6 --block 1 --disable output-not-written --arg out=o.npy:u32:8",
    ] {
        let o = f.run(&format!("check k.ptx {args}"));
        assert_eq!(o.code, 0, "{}", o.out);
    }
    assert_eq!(f.files(), ["k.ptx"]);
}
