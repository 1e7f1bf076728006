//! `kernels`: every kernel of the embedded PTX.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use ironwarp::device::BUILTIN;
use ptx_sim::{KernelInfo, Module};
use serde_json::{Value, json};

use super::{fail, out, ptxas};

const EXAMPLES: &str = "\
Examples:
  ironwarp kernels
  PTXAS=/usr/local/cuda/bin/ptxas ironwarp kernels      with registers and spills
  ironwarp kernels --json

Registers, spills and stack are known where NVIDIA's assembler is: in $PTXAS or as `ptxas` in PATH.";

/// List the kernels: targets, block, shared memory, parameters; registers and spills if ptxas is there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

/// The kernels of one target.
struct Target {
    name: &'static str,
    kernels: BTreeMap<String, KernelInfo>,
    /// Empty without ptxas.
    usage: BTreeMap<String, ptxas::Usage>,
}

pub fn run(args: &Args) -> Result<()> {
    let assembler = ptxas::find();
    let mut targets = vec![];
    for (name, ptx) in [("sm_80", BUILTIN.sm_80), ("sm_90a", BUILTIN.sm_90a)] {
        let module = Module::parse(ptx).map_err(|e| anyhow!("the embedded PTX for {name}: {e}"))?;
        let kernels = module.kernels().map(|k| (k.name.clone(), k.clone())).collect();
        let usage = match &assembler {
            Some(program) => ptxas::usage(program, ptx, name)?,
            None => BTreeMap::new(),
        };
        targets.push(Target { name, kernels, usage });
    }
    let names: BTreeSet<&String> = targets.iter().flat_map(|t| t.kernels.keys()).collect();
    if args.json {
        let kernels: Vec<Value> = names.iter().map(|name| kernel_json(name, &targets)).collect();
        let assembler = assembler.map(|p| p.display().to_string());
        return out::print_json(&json!({"command": "kernels", "ptxas": assembler, "kernels": kernels}));
    }
    let mut header = vec!["kernel", "targets", "block", "shared"];
    if assembler.is_some() {
        header.extend(["registers", "spills", "stack"]);
    }
    header.push("parameters");
    let rows: Vec<Vec<String>> = names.iter().map(|name| row(name, &targets, assembler.is_some())).collect();
    out::print(&out::table(&header, &rows, &[1, header.len() - 1]))?;
    if assembler.is_none() {
        fail::line(
            "ptxas was not found: registers and spills are not shown (set PTXAS, or put it into PATH)",
        );
    }
    Ok(())
}

/// The block a kernel asks for: required, or the most it is compiled for.
fn block(kernel: &KernelInfo) -> String {
    let text = |d: [u32; 3]| match d {
        [x, 1, 1] => x.to_string(),
        [x, y, 1] => format!("{x}x{y}"),
        [x, y, z] => format!("{x}x{y}x{z}"),
    };
    match (kernel.required_threads, kernel.max_threads) {
        (Some(d), _) => text(d),
        (None, Some(d)) => format!("<= {}", text(d)),
        (None, None) => "any".into(),
    }
}

fn having<'t>(name: &str, targets: &'t [Target]) -> impl Iterator<Item = (&'t Target, &'t KernelInfo)> {
    targets.iter().filter_map(move |t| Some((t, t.kernels.get(name)?)))
}

fn row(name: &str, targets: &[Target], assembled: bool) -> Vec<String> {
    let each = |f: &dyn Fn(&Target, &KernelInfo) -> String| {
        let mut texts: Vec<String> = having(name, targets).map(|(t, k)| f(t, k)).collect();
        texts.dedup();
        texts.join(" / ")
    };
    let usage = |t: &Target| t.usage.get(name).copied().unwrap_or_default();
    let mut row = vec![name.to_owned()];
    row.push(having(name, targets).map(|(t, _)| t.name).collect::<Vec<_>>().join(" "));
    row.push(each(&|_, k| block(k)));
    row.push(each(&|_, k| format!("{}{}", k.static_shared, if k.uses_dynamic_shared { "+" } else { "" })));
    if assembled {
        row.push(each(&|t, _| usage(t).registers.to_string()));
        row.push(each(&|t, _| (usage(t).spill_stores + usage(t).spill_loads).to_string()));
        row.push(each(&|t, _| usage(t).stack.to_string()));
    }
    row.push(each(&|_, k| k.params.iter().map(|p| p.ty.as_str()).collect::<Vec<_>>().join(" ")));
    row
}

fn kernel_json(name: &str, targets: &[Target]) -> Value {
    let mut object = json!({"name": name, "targets": {}});
    for (target, kernel) in having(name, targets) {
        let params: Vec<Value> =
            kernel.params.iter().map(|p| json!({"type": p.ty, "bytes": p.size})).collect();
        let mut facts = json!({
            "max_threads": kernel.max_threads,
            "required_threads": kernel.required_threads,
            "shared_bytes": kernel.static_shared,
            "dynamic_shared": kernel.uses_dynamic_shared,
            "local_memory": kernel.has_local,
            "parameters": params,
        });
        if let Some(usage) = target.usage.get(name) {
            facts["registers"] = json!(usage.registers);
            facts["spill_store_bytes"] = json!(usage.spill_stores);
            facts["spill_load_bytes"] = json!(usage.spill_loads);
            facts["stack_bytes"] = json!(usage.stack);
        }
        object["targets"][target.name] = facts;
    }
    object
}
