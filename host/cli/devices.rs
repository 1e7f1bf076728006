//! `devices`: where things can run on this machine.

use anyhow::Result;
use ironwarp::device::BUILTIN;
use serde_json::{Value, json};

use super::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp devices
  ironwarp devices --json";

/// List the devices: cpu, sim, and each GPU or why there is none.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (model, simd) = (cpu_model(), simd());
    let kernels = BUILTIN.sm_80.matches(".visible .entry").count();
    let gpus = gpus();
    if args.json {
        let cuda = match &gpus {
            Ok(gpus) => {
                json!({"available": true, "gpus": gpus.iter().map(|g| g.1.clone()).collect::<Vec<_>>()})
            }
            Err(reason) => json!({"available": false, "reason": reason, "gpus": []}),
        };
        return out::print_json(&json!({
            "command": "devices",
            "auto": if gpus.is_ok() { "cuda:0" } else { "cpu" },
            "cpu": {"cores": cores, "model": model, "simd": simd},
            "sim": {"kernels": kernels, "target": "sm_80"},
            "cuda": cuda,
        }));
    }
    let model = model.map_or(String::new(), |model| format!("{model}, "));
    let mut text = format!("cpu     {model}{cores} cores, {}\n", simd.join(" "));
    text += &format!("sim     the PTX of {kernels} kernels under the sanitizer\n");
    match gpus {
        Ok(gpus) => gpus.iter().for_each(|(line, _)| text += &format!("{line}\n")),
        Err(reason) => text += &format!("cuda    not available: {reason}\n"),
    }
    out::print(&text)
}

/// What the processor calls itself, where the system says it.
fn cpu_model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The vector instructions that matter here, of those the processor has.
fn simd() -> Vec<&'static str> {
    let mut found = vec![];
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("avx", is_x86_feature_detected!("avx")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
        ];
        found.extend(has.iter().filter(|(_, has)| *has).map(|(name, _)| *name));
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    if found.is_empty() {
        found.push("no vector instructions known");
    }
    found
}

/// A line and an object for each GPU; or why there is none, in a line.
#[cfg(any(feature = "cuda", ironwarp_cuda))]
fn gpus() -> Result<Vec<(String, Value)>, String> {
    use ironwarp::device::cuda::{CudaContext, device_count};
    let count = device_count().map_err(|e| e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
    let describe = |n: usize| match CudaContext::describe(n) {
        Ok(gpu) => {
            let (major, minor) = gpu.compute_capability;
            let gib = |bytes: usize| bytes as f64 / (1u64 << 30) as f64;
            let free = gpu.memory_free.map_or(String::new(), |free| format!(" ({:.1} free)", gib(free)));
            let line = format!(
                "cuda:{n}  {}, compute capability {major}.{minor}, {} multiprocessors, {:.1} GiB{free}, driver for CUDA {}.{}",
                gpu.name,
                gpu.multiprocessors,
                gib(gpu.memory_total),
                gpu.driver_version.0,
                gpu.driver_version.1
            );
            let object = json!({
                "device": format!("cuda:{n}"),
                "name": gpu.name,
                "compute_capability": format!("{major}.{minor}"),
                "multiprocessors": gpu.multiprocessors,
                "memory_bytes": gpu.memory_total,
                "memory_free_bytes": gpu.memory_free,
                "clock_khz": gpu.clock_khz,
                "l2_cache_bytes": gpu.l2_cache_bytes,
                "driver": format!("{}.{}", gpu.driver_version.0, gpu.driver_version.1),
            });
            (line, object)
        }
        Err(error) => {
            (format!("cuda:{n}  {error}"), json!({"device": format!("cuda:{n}"), "error": error.to_string()}))
        }
    };
    Ok((0..count).map(describe).collect())
}

/// A line and an object for each GPU; or why there is none, in a line.
#[cfg(not(any(feature = "cuda", ironwarp_cuda)))]
fn gpus() -> Result<Vec<(String, Value)>, String> {
    match ironwarp::Device::cuda(0) {
        Ok(_) => Ok(vec![("cuda:0".into(), json!({"device": "cuda:0"}))]),
        Err(ironwarp::device::DeviceError::Unavailable { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}
