//! `lint`: what can be said of a file without running it.

use super::args::Source;
use super::output::{self, Finding, Severity, Telling};
use super::{Failure, Outcome, sarif};
use ptx_sim::Report;
use ptx_sim::lint::{self, LintKind, LintOptions};
use ptx_sim::profile::find_ptxas;
use serde_json::json;
use std::path::PathBuf;

/// Judge the kernels of a PTX file without running them
#[derive(clap::Args)]
pub struct Args {
    /// The PTX file
    file: PathBuf,
    /// A kernel that somebody launches, may be given several times: the others count as unused
    #[arg(long, value_name = "KERNEL")]
    launched: Vec<String>,
    /// NVIDIA's assembler, for spills and stack frames; else $PTXAS, else `ptxas` in PATH
    #[arg(long, value_name = "FILE")]
    ptxas: Option<PathBuf>,
    /// The target that ptxas assembles for; else the file's
    #[arg(long, value_name = "SM")]
    target: Option<String>,
    #[command(flatten)]
    telling: Telling,
}

fn finding(f: lint::Finding) -> Finding {
    let mut report = Report::default();
    (report.kernel, report.line, report.source, report.message) =
        (f.kernel, Some(f.line), f.source, f.message);
    let name = f.kind.name();
    Finding { kind: name.into(), title: name.into(), severity: f.severity, report, seeds: vec![] }
}

pub fn run(args: &Args) -> Outcome {
    let kinds: Vec<(String, String)> =
        LintKind::ALL.iter().map(|k| (k.name().to_string(), k.about().to_string())).collect();
    args.telling.known(&kinds)?;
    let source = Source::read(&args.file)?;
    if let Some(k) = args.launched.iter().find(|k| source.module.kernel(k).is_none()) {
        return Err(source.error(1, format!("no kernel `{k}`")));
    }
    if let Some(p) = args.ptxas.as_ref().filter(|p| !p.is_file()) {
        return Err(Failure::Input(format!("{}: no such program", p.display())));
    }
    let mut options = LintOptions::default();
    options.ptxas = args.ptxas.clone().or_else(find_ptxas);
    options.file = Some(args.file.clone());
    options.target.clone_from(&args.target);
    options.launched = (!args.launched.is_empty()).then(|| args.launched.iter().cloned().collect());
    let mut findings: Vec<Finding> = lint::lint(&source.module, &options).into_iter().map(finding).collect();
    findings.retain(|f| !args.telling.disable.contains(&f.kind));
    let clean = findings.iter().all(|f| f.severity == Severity::Note);
    match args.telling.format() {
        output::Format::Text => {
            let mut text: String = findings.iter().map(|f| f.text(&source.path)).collect();
            let notes = findings.iter().filter(|f| f.severity == Severity::Note).count();
            text += &format!(
                "linted {}: {}, {}\n",
                output::count(source.module.kernels().count(), "kernel"),
                output::count(findings.len() - notes, "finding"),
                output::count(notes, "note")
            );
            output::print(&text);
        }
        output::Format::Json => output::print_json(&json!({
            "command": "lint",
            "file": source.path,
            "clean": clean,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        })),
        output::Format::Sarif => output::print_json(&sarif::log(&source.path, 1, &kinds, &findings)),
    }
    Ok(clean)
}
