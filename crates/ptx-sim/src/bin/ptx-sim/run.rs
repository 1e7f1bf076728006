//! `run`: one launch, with the checks that hardware makes, and the outputs written back.

use super::args::{Launch, hardware_checks};
use super::output::{self, Finding};
use super::{Failure, Outcome, npy};
use serde_json::json;

/// Run a kernel and write its outputs
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    launch: Launch,
    /// Shuffle the order of blocks and warps by this number
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    let launch = args.launch.prepare()?;
    let ran = launch.execute(hardware_checks(), args.seed, false)?;
    let stats = match &ran.result {
        Ok(stats) => stats,
        Err(e) => {
            // Nothing is written: outputs of a launch that failed are not the kernel's results.
            let finding = Finding::from_error(e, args.seed.into_iter().collect());
            if args.json {
                output::print_json(&json!({
                    "command": "run",
                    "file": launch.source.path,
                    "kernel": launch.kernel.name,
                    "clean": false,
                    "findings": [finding.json()],
                }));
            } else {
                output::print(&finding.text(&launch.source.path));
            }
            return Ok(false);
        }
    };
    let mut outputs = vec![];
    for (b, addr) in launch.outputs(&ran) {
        let array = ran.read(b, addr)?;
        npy::write(&b.target, &array)
            .map_err(|e| Failure::Work(format!("{}:1:1: cannot be written: {e}", b.target.display())))?;
        outputs.push((b.target.clone(), array.shape));
    }
    if args.json {
        let outputs: Vec<_> =
            outputs.iter().map(|(path, shape)| json!({"file": path, "shape": shape})).collect();
        output::print_json(&json!({
            "command": "run",
            "file": launch.source.path,
            "kernel": launch.kernel.name,
            "clean": true,
            "findings": [],
            "statistics": output::stats(stats),
            "printf": stats.printf,
            "outputs": outputs,
        }));
        return Ok(true);
    }
    let mut text = stats.printf.concat();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &format!(
        "ran `{}`: grid {}, block {}, {} warp instructions\n",
        launch.kernel.name,
        output::size(launch.config.grid),
        output::size(launch.config.block),
        stats.warp_instructions
    );
    for (path, shape) in outputs {
        let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
        text += &format!("wrote {}: {}\n", path.display(), dims.join("x"));
    }
    output::print(&text);
    Ok(true)
}
