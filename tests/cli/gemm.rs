//! `tune`, `bench gemm` and `bench roofline`.

use std::path::Path;

use serde_json::{Value, json};

use super::{Run, cli, finish, program, read, temp, words, write};

/// With a tuning cache of its own.
fn tuned(dir: &Path, line: &str) -> Run {
    finish(program(dir).env("IRONWARP_TUNING", dir.join("cache/tuning.json")).args(words(line)))
}

#[test]
fn products_are_timed_on_cpu() {
    let dir = temp();
    let line = "bench gemm --dtype fp32,bf16 --shapes 33x17x64,1x1x1 --tb --device cpu";
    let json = cli(dir.path(), &format!("{line} --json")).ok().json();
    assert_eq!((json["model"].as_str(), &json["peaks"]), (Some("cpu"), &Value::Null));
    let results = json["results"].as_array().expect("results");
    assert_eq!(results.len(), 4);
    for result in results {
        let number = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("{name}: {result}"));
        let (low, high) = (result["us_spread"][0].as_f64(), result["us_spread"][1].as_f64());
        assert!(low > Some(0.0) && low <= Some(number("us")) && high >= Some(number("us")), "{result}");
        let flop = 2.0 * number("m") * number("n") * number("k");
        assert_eq!((number("flop"), result["layouts"].as_str()), (flop, Some("nt")));
        assert!((number("tflops") * number("us") * 1e6 / flop - 1.0).abs() < 1e-9, "{result}");
    }
    let text = cli(dir.path(), line).ok().stdout;
    assert!(text.contains("GFLOP/s") && text.contains("33x17x64"), "{text}");
}

#[test]
fn groups_stand_beside_their_products_one_by_one() {
    let dir = temp();
    let line = "bench gemm --dtype bf16,tf32 --shapes 16x24x32,9x8x7 --grouped 5 --device sim";
    let json = tuned(dir.path(), &format!("{line} --json")).ok().json();
    let results = json["results"].as_array().expect("results");
    let launches: Vec<_> =
        results.iter().map(|r| (r["launches"].as_u64(), r["one_by_one"]["launches"].as_u64())).collect();
    // Of 9x8x7 in bf16 A is packed; in tf32 each B is, and A of 9x8x7: one launch for all, or one each.
    assert_eq!(launches, [(Some(2), Some(7)), (Some(2), Some(12))], "{json}");
    for result in results {
        let flop = 2 * (3 * 16 * 24 * 32 + 2 * 9 * 8 * 7);
        assert_eq!((result["problems"].as_u64(), result["flop"].as_f64()), (Some(5), Some(f64::from(flop))));
        let counts = [&result["warp_instructions"], &result["one_by_one"]["warp_instructions"]];
        assert!(counts.iter().all(|n| n.as_u64() > Some(100)), "{result}");
    }
    assert!(tuned(dir.path(), line).ok().stdout.contains("one by one"));

    let line = "bench gemm --dtype fp32 --shapes 16x24x32 --grouped 3 --device cpu --json";
    let json = cli(dir.path(), line).ok().json();
    let (group, one) = (&json["results"][0], &json["results"][0]["one_by_one"]);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{json}"));
    assert!(number(&group["us"]) > 0.0 && number(&one["us"]) > 0.0 && number(&one["times"]) > 0.0, "{json}");
}

#[test]
fn the_simulator_counts_and_the_tuner_keeps_what_it_found() {
    let dir = temp();
    let line = "bench gemm --dtype fp32 --shapes 40x24x16 --device sim --candidates all";
    let json = tuned(dir.path(), &format!("{line} --json")).ok().json();
    let results = json["results"].as_array().expect("results");
    assert!(results.len() >= 3, "{json}");
    assert_eq!(results.iter().filter(|r| r["chosen"] == true).count(), 1);
    for result in results {
        if let Some(reason) = result["rejected"].as_str() {
            assert!(result["kernel"] == "gemv_fp32" && reason.contains("M or N is 1"), "{result}");
            continue;
        }
        assert!(result["warp_instructions"].as_u64() > Some(100), "{result}");
        assert!(result["estimate"]["us"].as_f64() > Some(0.0) && result.get("us").is_none(), "{result}");
    }
    assert!(tuned(dir.path(), line).ok().stdout.contains("warp instructions"));

    let line = "tune --precision fp32 --shapes 40x24x16 --device sim --json";
    let json = tuned(dir.path(), line).ok().json();
    let fastest = json["results"][0]["fastest"].as_str().expect("a kernel").to_owned();
    let kernels = json["results"][0]["kernels"].as_array().expect("kernels");
    assert_eq!(kernels.len(), results.len());
    let file = dir.path().join("cache/tuning.json");
    let cache: Value = serde_json::from_slice(&read(&file)).expect("JSON");
    assert_eq!((&cache["format"], &cache["version"]), (&json!("ironwarp-tuning"), &json!(1)));
    // What the library runs is what was found, also when the file says another than the heuristic would.
    let timed = kernels.iter().filter(|k| k.get("rejected").is_none());
    for kernel in timed.map(|k| k["kernel"].as_str().expect("a name")) {
        let mut changed = cache.clone();
        let entries = changed["devices"]["sim (8.0)"].as_object_mut().expect("the device");
        entries.values_mut().for_each(|entry| entry["us"] = json!({kernel: 1.0, "unknown": 0.1}));
        write(&file, changed.to_string());
        let json =
            tuned(dir.path(), "bench gemm --dtype fp32 --shapes 40x24x16 --device sim --json").ok().json();
        assert_eq!(json["results"][0]["kernel"], kernel, "{fastest} was the fastest");
    }
    let newer = "{\"format\": \"ironwarp-tuning\", \"version\": 7}";
    write(&file, newer);
    for line in [line, "bench gemm --dtype fp32 --shapes 40x24x16 --device sim"] {
        tuned(dir.path(), line).fails(1, &["tuning.json", "version 7", "IRONWARP_TUNING"]);
    }
    assert_eq!(read(&file), newer.as_bytes());
}

#[test]
fn eight_bit_floats_are_types_of_products() {
    let dir = temp();
    let json =
        cli(dir.path(), "bench gemm --dtype e4m3xe5m2 --shapes 17x9x33 --device cpu --json").ok().json();
    let result = &json["results"][0];
    assert_eq!((&result["dtype"], &result["kernel"]), (&json!("fp8"), &json!("native")), "{result}");
    assert_eq!((&result["a"], &result["b"], &result["c"]), (&json!("e4m3"), &json!("e5m2"), &json!("bf16")));
    assert!(result["us"].as_f64() > Some(0.0), "{result}");
    let line = "tune --dtype e4m3-fast --shapes 40x24x48 --device sim --target sm_90a --json";
    let json = tuned(dir.path(), line).ok().json();
    let kernels = json["results"][0]["kernels"].as_array().expect("kernels");
    assert!(kernels.len() >= 2 && kernels.iter().all(|k| k.get("rejected").is_none()), "{json}");
    // The PTX of Ampere has no such kernel.
    let line = "bench gemm --dtype e5m2 --shapes 17x9x33 --device sim";
    tuned(dir.path(), line).fails(1, &["fp8", "e5m2 x e5m2", "not for Sm80"]);
}

#[test]
fn what_cannot_be_measured() {
    let dir = temp();
    let wrong: [(&str, i32, &[&str]); 16] = [
        ("bench gemm --dtype e4m3xbf16", 2, &["e4m3xbf16", "e4m3xe5m2", "bf16, f16"]),
        ("bench gemm --dtype fp16", 2, &["fp16", "bf16, f16"]),
        ("bench gemm --shapes 12x12", 2, &["12x12", "MxNxK"]),
        ("bench gemm --shapes 12x0x12", 2, &["12x0x12"]),
        ("bench gemm --candidates some", 2, &["some"]),
        ("bench gemm --grouped 0 --device cpu", 2, &["--grouped", "1..=65536"]),
        ("bench gemm --grouped 2 --candidates all", 2, &["--grouped", "--candidates"]),
        ("bench gemm --grouped 65536 --device sim", 2, &["65536 products", "simulator"]),
        ("bench gemm --dtype fp32 --shapes 4096x4096x4096 --device sim", 2, &["4096x4096x4096", "simulator"]),
        (
            "bench gemm --dtype fp32 --shapes 2147483647x2147483647x2147483647 --device cpu",
            2,
            &["more bytes than memory"],
        ),
        ("bench gemm --device cpu --target sm_80", 2, &["--target", "sim"]),
        ("bench gemm --device sim --target sm_70", 2, &["sm_80 and sm_90a"]),
        ("tune --device cpu", 2, &["cpu", "--device"]),
        ("tune --device sim --shapes 2048x2048x2048", 2, &["simulator"]),
        ("bench roofline", 2, &["FILES"]),
        ("bench roofline none.json", 1, &["none.json"]),
    ];
    for (line, code, parts) in wrong {
        tuned(dir.path(), line).fails(code, parts);
    }
    assert!(std::fs::read_dir(dir.path()).expect("a directory").next().is_none(), "nothing is written");
    finish(program(dir.path()).env("IRONWARP_TUNING", "").args(["tune", "--device", "sim"]))
        .fails(1, &["IRONWARP_TUNING"]);
}

/// What a GPU would have printed: two precisions, with a yardstick and without, and one that was rejected.
fn printed(model: &str) -> Value {
    let row = |dtype: &str, n: f64, tflops: f64, theirs: Option<f64>| {
        let flop = 2.0 * n * n * n;
        let mut row = json!({
            "dtype": dtype, "m": n as u64, "n": n as u64, "k": n as u64, "layouts": "nn", "kernel": "a < b", "chosen": true,
            "flop": flop, "bytes": 6.0 * n * n, "us": flop / tflops / 1e6,
        });
        if let Some(theirs) = theirs {
            row["cublaslt"] = json!({"us": flop / theirs / 1e6});
        }
        row
    };
    let mut rejected = row("tf32", 64.0, 1.0, None);
    rejected.as_object_mut().expect("an object").remove("us");
    json!({
        "command": "bench gemm", "model": model, "device": "cuda:0",
        "peaks": {"gpu": "H200", "flops": {"bf16": 989.4e12, "fp32": 66.9e12, "f16": 989.4e12}, "bytes_per_second": 4.8e12},
        "results": [
            row("bf16", 8192.0, 612.5, Some(655.25)), row("bf16", 256.0, 21.0, Some(17.5)), row("fp32", 1024.0, 41.0, None),
            rejected,
        ],
    })
}

#[test]
fn results_are_drawn_on_the_roofline() {
    let dir = temp();
    write(&dir.path().join("gemm.json"), format!("a line before\n{}\n", printed("NVIDIA H200")));
    write(&dir.path().join("check.json"), json!({"gpu": "x", "gemm": [printed("NVIDIA H200")]}).to_string());
    let json = cli(dir.path(), "bench roofline gemm.json check.json --out out/gemm.svg --json").ok().json();
    assert_eq!(json["points"], 6);
    let svg = String::from_utf8(read(&dir.path().join("out/gemm.svg"))).expect("text");
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    assert!(
        svg.contains("Matrix products on the NVIDIA H200") && svg.contains("bf16 989.4 TFLOP/s"),
        "{svg}"
    );
    assert!(svg.contains("8192x8192x8192 nn bf16 a &lt; b: 612.5 TFLOP/s"), "{svg}");
    // Six points and four of the yardstick, beside a legend's two and one; no roof without a point.
    let marks = |class: &str| svg.matches(&format!("class=\"{class} ")).count();
    assert_eq!((marks("dot"), marks("ring")), (8, 5));
    assert!(!svg.contains(">f16 "), "{svg}");

    write(&dir.path().join("other.json"), printed("NVIDIA A100").to_string());
    cli(dir.path(), "bench roofline gemm.json other.json").fails(2, &["two devices", "NVIDIA A100"]);
    let mut unknown = printed("NVIDIA H100 PCIe");
    unknown["peaks"] = Value::Null;
    write(&dir.path().join("unknown.json"), unknown.to_string());
    cli(dir.path(), "bench roofline unknown.json").fails(2, &["H100 PCIe", "--gpu"]);
    cli(dir.path(), "bench roofline unknown.json --gpu H100").ok();
    assert!(dir.path().join("roofline.svg").is_file());
    write(&dir.path().join("empty.json"), "{}");
    cli(dir.path(), "bench roofline empty.json").fails(1, &["empty.json", "bench gemm"]);
    write(&dir.path().join("text.json"), "not json");
    cli(dir.path(), "bench roofline text.json").fails(1, &["text.json", "no JSON"]);
}
