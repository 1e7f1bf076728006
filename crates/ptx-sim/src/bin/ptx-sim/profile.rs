//! `profile`: one launch with every access counted, then occupancy and roofline on the GPUs named.

use super::args::{Launch, Prepared, hardware_checks};
use super::output::{self, Finding};
use super::{Failure, Outcome};
use ptx_sim::profile::{
    Gpu, LineProfile, Occupancy, Profile, Roofline, SharedTraffic, Traffic, find_ptxas, roofline, usage,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Profile a kernel: traffic, conflicts, divergence, occupancy, roofline; no file is written
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    launch: Launch,
    /// A GPU for occupancy and roofline: A100, H100, H200 or RTX4090; may be given several times
    #[arg(long, value_name = "NAME", default_value = "H100")]
    gpu: Vec<Gpu>,
    /// Registers of a thread; else ptxas is asked where there is one
    #[arg(long, value_name = "N")]
    registers: Option<u32>,
    /// NVIDIA's assembler; else $PTXAS, else `ptxas` in PATH
    #[arg(long, value_name = "FILE")]
    ptxas: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Registers of a thread, and who says so.
fn registers(args: &Args, launch: &Prepared) -> Result<(Option<u32>, String), Failure> {
    if args.registers.is_some() {
        return Ok((args.registers, "given".into()));
    }
    let Some(ptxas) = args.ptxas.clone().or_else(find_ptxas) else {
        return Ok((None, "not known: no ptxas".into()));
    };
    let ast = ptx_sim::parse::parse(&launch.source.text).ok();
    let target = ast.and_then(|a| a.target.first().map(|t| t.to_string())).unwrap_or_else(|| "sm_80".into());
    match usage(&ptxas, &launch.source.path, &target, &launch.kernel.name) {
        Ok(u) => Ok((Some(u.registers), format!("from ptxas for {target}"))),
        Err(e) if args.ptxas.is_some() => Err(Failure::Input(e.to_string())),
        Err(e) => Ok((None, format!("not known: {e}"))),
    }
}

pub fn run(args: &Args) -> Outcome {
    let launch = args.launch.prepare()?;
    let (registers, origin) = registers(args, &launch)?;
    let ran = launch.execute(hardware_checks(), None, true)?;
    let stats = match &ran.result {
        Ok(stats) => stats,
        Err(e) => {
            let finding = Finding::from_error(e, vec![]);
            if args.json {
                output::print_json(
                    &json!({"command": "profile", "clean": false, "findings": [finding.json()]}),
                );
            } else {
                output::print(&finding.text(&launch.source.path));
            }
            return Ok(false);
        }
    };
    let Some(profile) = &stats.profile else {
        return Err(Failure::Work("the launch gave no profile".into()));
    };
    let rooflines: Vec<(Roofline, &Gpu)> =
        args.gpu.iter().map(|g| (roofline(profile, g, registers), g)).collect();
    if args.json {
        let gpus: Vec<Value> = rooflines.iter().map(|(r, g)| gpu_json(r, g, profile)).collect();
        output::print_json(&json!({
            "command": "profile",
            "file": launch.source.path,
            "clean": true,
            "registers": registers,
            "registers_origin": origin,
            "profile": profile_json(profile),
            "gpus": gpus,
        }));
        return Ok(true);
    }
    let mut text = profile.to_string();
    let known = registers.map_or(String::new(), |r| format!("{r} a thread, "));
    text += &format!("registers        {known}{origin}\n");
    for (r, _) in &rooflines {
        text += &format!("\n{}\n", r.occupancy);
        text += &waves(&r.occupancy, profile.blocks());
        text += &r.to_string();
    }
    output::print(&text);
    Ok(true)
}

fn waves(o: &Occupancy, blocks: u64) -> String {
    match o.waves(blocks) {
        Some(w) => format!(
            "the {blocks} blocks make {:.2} waves of {}; the last holds {}, efficiency {:.1} %\n",
            w.waves,
            w.blocks_per_wave,
            w.tail,
            100.0 * w.efficiency
        ),
        None => String::new(),
    }
}

fn gpu_json(r: &Roofline, gpu: &Gpu, profile: &Profile) -> Value {
    let o = &r.occupancy;
    let waves = o.waves(profile.blocks()).map(|w| {
        json!({"blocks_per_wave": w.blocks_per_wave, "waves": w.waves, "tail": w.tail, "efficiency": w.efficiency})
    });
    let bounds: Vec<Value> = r
        .bounds
        .iter()
        .map(|b| json!({"name": b.name, "microseconds": b.microseconds, "how": b.how}))
        .collect();
    json!({
        "gpu": gpu.name,
        "occupancy": {
            "blocks_per_sm": o.blocks,
            "warps_per_sm": o.warps,
            "fraction": o.fraction(),
            "limited_by": o.limits.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "waves": waves,
        },
        "roofline": {
            "microseconds": r.microseconds(),
            "bound": r.bound(),
            "operations": r.operations,
            "bytes": r.bytes,
            "operations_per_byte": r.intensity(),
            "bounds": bounds,
            "assumptions": r.assumptions,
        },
    })
}

fn traffic(t: &Traffic) -> Value {
    json!({"requests": t.requests, "bytes": t.bytes, "sectors": t.sectors, "ideal_sectors": t.ideal_sectors})
}

fn shared(t: &SharedTraffic) -> Value {
    json!({
        "requests": t.requests,
        "bytes": t.bytes,
        "wavefronts": t.wavefronts,
        "ideal_wavefronts": t.ideal_wavefronts,
    })
}

fn line(l: &LineProfile) -> Value {
    json!({
        "line": l.line,
        "text": l.text,
        "function": l.function,
        "source": l.source.as_ref().map(|(file, line)| json!({"file": file, "line": line})),
        "warp_instructions": l.warp_instructions,
        "lane_instructions": l.lane_instructions,
        "divergent_branches": l.divergent_branches,
        "operations": l.flops,
        "global": traffic(&l.global),
        "shared": shared(&l.shared),
        "local_bytes": l.local.bytes,
        "cycles": l.cycles(),
    })
}

fn profile_json(p: &Profile) -> Value {
    let classes: serde_json::Map<String, Value> =
        p.by_class.iter().map(|(c, n)| (format!("{c:?}").to_lowercase(), json!(n))).collect();
    let tensor: serde_json::Map<String, Value> =
        p.flops.tensor.iter().map(|(t, n)| (t.clone(), json!(n))).collect();
    json!({
        "kernel": p.kernel,
        "grid": p.grid,
        "block": p.block,
        "cluster": p.cluster,
        "shared_bytes": p.shared_bytes,
        "warp_instructions": p.warp_instructions,
        "lane_instructions": p.lane_instructions,
        "lane_efficiency": p.lane_efficiency(),
        "by_class": classes,
        "operations": {"f16": p.flops.half, "f32": p.flops.single, "f64": p.flops.double, "tensor": tensor},
        "global": {
            "loads": traffic(&p.global.loads),
            "stores": traffic(&p.global.stores),
            "atomics": traffic(&p.global.atomics),
            "footprint_loads": p.global.footprint_loads,
            "footprint_stores": p.global.footprint_stores,
            "footprint": p.global.footprint,
        },
        "shared": {
            "loads": shared(&p.shared.loads),
            "stores": shared(&p.shared.stores),
            "atomics": shared(&p.shared.atomics),
        },
        "local": {"requests": p.local.requests, "bytes": p.local.bytes},
        "constant_requests": p.constant_requests,
        "atomics": {
            "requests": p.atomics.requests,
            "lanes": p.atomics.lanes,
            "addresses": p.atomics.addresses,
            "worst": p.atomics.worst,
        },
        "branches": {"executed": p.branches.executed, "divergent": p.branches.divergent},
        "barriers": p.barriers,
        "lines": p.lines.iter().map(line).collect::<Vec<_>>(),
    })
}
