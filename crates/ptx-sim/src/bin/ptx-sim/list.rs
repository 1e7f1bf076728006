//! `list`: the kernels of a file, and what a launch needs to know of them.

use super::args::Source;
use super::{Outcome, output};
use ptx_sim::KernelInfo;
use serde_json::json;
use std::path::PathBuf;

/// List the kernels of a PTX file
#[derive(clap::Args)]
pub struct Args {
    /// The PTX file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn block(k: &KernelInfo) -> String {
    match (k.required_threads, k.max_threads) {
        (Some(d), _) => output::size(d),
        (None, Some(d)) => format!("at most {}", output::size(d)),
        (None, None) => "any".into(),
    }
}

pub fn run(args: &Args) -> Outcome {
    let source = Source::read(&args.file)?;
    let kernels: Vec<&KernelInfo> = source.module.kernels().collect();
    if args.json {
        let kernels: Vec<_> = kernels
            .iter()
            .map(|k| {
                let params: Vec<_> = k
                    .params
                    .iter()
                    .map(|p| json!({"name": p.name, "type": p.ty, "bytes": p.size, "align": p.align}))
                    .collect();
                json!({
                    "name": k.name,
                    "line": k.line,
                    "parameters": params,
                    "required_threads": k.required_threads,
                    "max_threads": k.max_threads,
                    "max_registers": k.max_registers,
                    "min_blocks_per_sm": k.min_blocks_per_sm,
                    "required_cluster": k.required_cluster,
                    "max_cluster": k.max_cluster,
                    "shared_bytes": k.static_shared,
                    "dynamic_shared": k.uses_dynamic_shared,
                    "local_memory": k.has_local,
                })
            })
            .collect();
        output::print_json(&json!({"command": "list", "file": source.path, "kernels": kernels}));
        return Ok(true);
    }
    let mut text = String::new();
    for k in kernels {
        let params: Vec<String> = k
            .params
            .iter()
            .map(|p| match p.ty.as_str() {
                "b8" | "u8" | "s8" if p.size > 1 => format!("{}[{}] {}", p.ty, p.size, p.name),
                ty => format!("{ty} {}", p.name),
            })
            .collect();
        let dynamic = if k.uses_dynamic_shared { " and dynamic" } else { "" };
        let cluster =
            k.required_cluster.map_or(String::new(), |c| format!(", clusters of {}", output::size(c)));
        let local = if k.has_local { ", local memory" } else { "" };
        text += &format!(
            "{}:{}: {}({})\n    block {}, {} bytes of shared memory{dynamic}{cluster}{local}\n",
            source.path.display(),
            k.line,
            k.name,
            params.join(", "),
            block(k),
            k.static_shared
        );
    }
    output::print(&text);
    Ok(true)
}
