//! `profile`: the report and its JSON.

use super::*;

fn folder() -> Folder {
    let f = Folder::new();
    f.write("k.ptx", SAXPY);
    f.write("x.npy", npy("<f4", "(1024,)", &bytes(&random(1024))));
    f
}

const ARGS: &str =
    "--grid 8 --block 128 --arg u32=1024 --arg f32=2 --arg in=x.npy --arg inout=x.npy:never.npy";

#[test]
fn numbers() {
    let f = folder();
    let v = f.json(&format!("profile k.ptx --json --gpu a100 --gpu rtx4090 --registers 40 {ARGS}"), 0);
    let p = &v["profile"];
    assert_eq!(p["operations"]["f32"], 2048);
    assert_eq!(
        (&p["global"]["loads"]["requests"], &p["global"]["loads"]["sectors"]),
        (&64.into(), &256.into())
    );
    assert_eq!((&p["global"]["footprint"], &p["branches"]["divergent"]), (&8192.into(), &0.into()));
    let line = p["lines"].as_array().unwrap().iter().find(|l| l["line"] == 19).unwrap();
    assert_eq!((&line["source"]["line"], &line["operations"]), (&4.into(), &2048.into()));
    assert_eq!((&v["registers"], &v["gpus"].as_array().unwrap().len()), (&40.into(), &2));
    let a100 = &v["gpus"][0];
    // 40 registers: 1280 a warp, 48 warps, 12 blocks of 4.
    assert_eq!((&a100["gpu"], &a100["occupancy"]["blocks_per_sm"]), (&"A100".into(), &12.into()));
    assert_eq!(a100["roofline"]["bound"], "launch");
    assert!(a100["roofline"]["assumptions"].as_array().unwrap().len() >= 7);
    assert_eq!(f.files(), ["k.ptx", "x.npy"]);
}

#[test]
fn report() {
    let f = folder();
    let o = f.run(&format!("profile k.ptx {ARGS}"));
    assert_eq!((o.code, o.err.as_str()), (0, ""));
    for part in [
        "profile of `saxpy`, grid 8x1x1, block 128x1x1",
        "4.00 sectors each (least 4.00)",
        "st.global.f32 [%d4], %f3;",
        "saxpy.rs:4",
        "registers        not known: no ptxas",
        "occupancy on H100: 16 blocks, 64 of 64 warps of an SM (100 %), limited by threads",
        "roofline on H100: at least 2.00 us, bound by launch",
        "assuming that",
    ] {
        assert!(o.out.contains(part), "{part}: {}", o.out);
    }
    // A kernel that fails has no profile.
    let o = f.run(
        "profile k.ptx --grid 8 --block 256 --arg u32=2048 --arg f32=2 --arg in=x.npy --arg inout=x.npy",
    );
    assert_eq!(o.code, 1);
    assert!(o.out.contains("out-of-bounds"), "{}", o.out);
}
