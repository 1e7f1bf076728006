//! `bench roofline`: results of `bench gemm` on their device's roofline, as SVG.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use ironwarp::report::figure::{Point, Roof, Roofline, roofline};
use ironwarp::train::write_atomic;
use ptx_sim::profile::Gpu;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::fail::usage_error;
use crate::cli::{out, products};

const EXAMPLES: &str = "\
Examples:
  ironwarp bench gemm --dtype bf16,tf32,fp32 --shapes 4096x4096x4096,16x4096x4096 --json > gemm.json
  ironwarp bench roofline gemm.json --out gemm.svg
  ironwarp bench roofline benches/results/GPU-DATE.json     the products in a result of scripts/gpu-check";

/// Draw results of `bench gemm --json` on the device's roofline.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files that `bench gemm --json` or scripts/gpu-check wrote, of one device.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The SVG file.
    #[arg(long, value_name = "FILE", default_value = "roofline.svg")]
    out: PathBuf,
    /// Take the peaks of this GPU, where the device's are not known: A100, H100, H200 or RTX4090.
    #[arg(long, value_name = "NAME")]
    gpu: Option<Gpu>,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is read of a result; the rest is ignored.
#[derive(Deserialize)]
struct Document {
    model: String,
    peaks: Option<Peaks>,
    results: Vec<Row>,
}

#[derive(Deserialize)]
struct Peaks {
    flops: BTreeMap<String, f64>,
    bytes_per_second: f64,
}

#[derive(Deserialize)]
struct Row {
    dtype: String,
    m: u64,
    n: u64,
    k: u64,
    layouts: String,
    kernel: String,
    flop: f64,
    bytes: f64,
    us: Option<f64>,
    cublaslt: Option<Yardstick>,
}

#[derive(Deserialize)]
struct Yardstick {
    us: f64,
}

/// The results of `bench gemm` anywhere in a value.
fn find(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(map) if map.get("command").is_some_and(|c| c == "bench gemm") => {
            found.push(value.clone())
        }
        Value::Object(map) => map.values().for_each(|v| find(v, found)),
        Value::Array(all) => all.iter().for_each(|v| find(v, found)),
        _ => {}
    }
}

/// A file's results: it is JSON as a whole, or its last line is.
fn read(path: &PathBuf) -> Result<Vec<Document>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| name.to_string())?;
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let value: Value = serde_json::from_str(&text)
        .or_else(|e| serde_json::from_str(last).map_err(|_| e))
        .map_err(|e| anyhow!("{name} is no JSON ({e}): give what `ironwarp bench gemm --json` printed"))?;
    let mut found = vec![];
    find(&value, &mut found);
    if found.is_empty() {
        return Err(anyhow!("{name} has no result of `ironwarp bench gemm --json`"));
    }
    let read = |value| serde_json::from_value(value).map_err(|e| anyhow!("{name}: {e}; measure again"));
    found.into_iter().map(read).collect()
}

pub fn run(args: &Args) -> Result<()> {
    let mut documents = vec![];
    for file in &args.files {
        documents.extend(read(file)?);
    }
    let Some(first) = documents.first() else { return Err(usage_error("no files: give at least one")) };
    if let Some(other) = documents.iter().find(|d| d.model != first.model) {
        let (a, b) = (&first.model, &other.model);
        return Err(usage_error(format!("results of two devices, '{a}' and '{b}': draw them apart")));
    }
    let (device, flops, bandwidth) = match (&args.gpu, &first.peaks) {
        (Some(gpu), _) => {
            let peaks: Peaks = serde_json::from_value(products::peaks(gpu))?;
            (
                format!("{} with the peaks of the {}", first.model, gpu.name),
                peaks.flops,
                peaks.bytes_per_second,
            )
        }
        (None, Some(peaks)) => (first.model.clone(), peaks.flops.clone(), peaks.bytes_per_second),
        (None, None) => {
            return Err(usage_error(format!(
                "no peaks of '{}' are known: name a GPU with --gpu",
                first.model
            )));
        }
    };
    let point = |row: &Row| {
        let us = row.us?;
        Some(Point {
            roof: row.dtype.clone(),
            label: format!("{}x{}x{} {} {} {}", row.m, row.n, row.k, row.layouts, row.dtype, row.kernel),
            intensity: row.flop / row.bytes,
            flops: row.flop / us * 1e6,
            yardstick: row.cublaslt.as_ref().map(|y| row.flop / y.us * 1e6),
        })
    };
    let points: Vec<Point> = documents.iter().flat_map(|d| &d.results).filter_map(point).collect();
    let (n, yardstick) = (points.len(), "cuBLASLt".to_owned());
    let roofs = flops.into_iter().map(|(name, flops)| Roof { name, flops }).collect();
    let data = Roofline { device, bandwidth, roofs, yardstick, points };
    let figure = roofline(&data).ok_or_else(|| {
        anyhow!("no product in these files has a time and a known peak: measure on cpu or cuda")
    })?;
    write_atomic(&args.out, figure.standalone().as_bytes())?;
    if args.json {
        let path = args.out.display().to_string();
        return out::print_json(&json!({"command": "bench roofline", "out": path, "points": n}));
    }
    out::print(&format!("{n} products drawn to {}\n", args.out.display()))
}
