//! `check`: many launches of one kernel, each with another order of blocks and warps, all under every check.
//!
//! Each schedule starts from the same memory. A finding ends its schedule; equal ones (kind and line) are told once, with the
//! seeds they were seen under. `out` buffers must be written entirely, and all outputs be the same bits under every schedule:
//! a kernel with float atomics may legitimately fail that, which makes the finding a note. No file is written.

use super::args::{Launch, Prepared, Ran};
use super::output::{self, DEPENDENT, Finding, Severity, Telling, UNWRITTEN};
use super::{Failure, Outcome, args::Mode, npy, sarif};
use ptx_sim::ast::{Item, Stmt};
use ptx_sim::{Checks, Report};
use serde_json::json;

/// Check a kernel under many schedules; no file is written
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    launch: Launch,
    /// Orders of blocks and warps to try
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    schedules: u64,
    /// Seed of the first schedule; the others follow
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    telling: Telling,
}

/// All checks but those of the kinds named.
fn checks(telling: &Telling) -> Result<Checks, Failure> {
    telling.known(&output::kinds())?;
    let mut c = Checks::all();
    for name in &telling.disable {
        // Kinds without a switch of their own are dropped from the findings.
        match name.as_str() {
            "out-of-bounds" => c.out_of_bounds = false,
            "misaligned" => c.misaligned = false,
            "use-after-free" => c.use_after_free = false,
            "uninitialised-global" => c.uninitialised_global = false,
            "uninitialised-shared" => c.uninitialised_shared = false,
            "uninitialised-local" => c.uninitialised_local = false,
            "uninitialised-register" => c.uninitialised_registers = false,
            "divergent-barrier" => c.barriers = false,
            "shared-race" => c.shared_races = false,
            "global-race" => c.global_races = false,
            "cluster-exited" => c.cluster = false,
            "missing-proxy-fence" => c.proxy = false,
            _ => {}
        }
    }
    Ok(c)
}

pub fn run(args: &Args) -> Outcome {
    let checks = checks(&args.telling)?;
    let launch = args.launch.prepare()?;
    let mut findings: Vec<Finding> = vec![];
    // Outputs of the first schedule that ran to its end.
    let mut first: Option<(u64, Vec<Vec<u8>>)> = None;
    // Schedules that a kind without a switch ended although it is disabled: what came after was not looked at.
    let mut hidden = 0;
    for k in 0..args.schedules {
        let seed = args.seed.wrapping_add(k);
        let ran = launch.execute(checks.clone(), Some(seed), false)?;
        if let Err(e) = &ran.result {
            hidden += args.telling.disable.contains(&e.kind.name()) as usize;
            add(&mut findings, Finding::from_error(e, vec![seed]));
            continue;
        }
        for f in unwritten(&launch, &ran, seed) {
            add(&mut findings, f);
        }
        let outputs = launch
            .outputs(&ran)
            .iter()
            .map(|(b, a)| ran.read(b, *a).map(|array| array.data))
            .collect::<Result<Vec<_>, _>>()?;
        match &first {
            None => first = Some((seed, outputs)),
            Some((other, same)) => {
                for f in different(&launch, &ran, (*other, same), (seed, &outputs)) {
                    add(&mut findings, f);
                }
            }
        }
    }
    findings.retain(|f| !args.telling.disable.contains(&f.kind));
    let clean = findings.iter().all(|f| f.severity == Severity::Note);
    match args.telling.format() {
        output::Format::Text => output::print(&text(args, &launch, &findings, hidden)),
        output::Format::Json => output::print_json(&json!({
            "command": "check",
            "file": launch.source.path,
            "kernel": launch.kernel.name,
            "schedules": args.schedules,
            "seed": args.seed,
            "ended_early": hidden,
            "clean": clean,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        })),
        output::Format::Sarif => output::print_json(&sarif::log(
            &launch.source.path,
            launch.kernel.line,
            &output::kinds(),
            &findings,
        )),
    }
    Ok(clean)
}

/// Adds a finding, or its seed to an equal one.
fn add(all: &mut Vec<Finding>, f: Finding) {
    let same = |g: &&mut Finding| {
        g.kind == f.kind
            && g.report.line == f.report.line
            && (f.kind != UNWRITTEN.0 && f.kind != DEPENDENT.0 || g.report.message == f.report.message)
    };
    match all.iter_mut().find(same) {
        Some(g) => g.seeds.extend(&f.seeds),
        None => all.push(f),
    }
}

fn text(args: &Args, launch: &Prepared, findings: &[Finding], hidden: usize) -> String {
    let mut out = String::new();
    if hidden > 0 {
        out += &format!("{} ended early at a disabled finding\n", output::count(hidden, "schedule"));
    }
    for f in findings {
        out += &f.text(&launch.source.path);
        let list: Vec<String> = f.seeds.iter().take(8).map(u64::to_string).collect();
        let more = if f.seeds.len() > 8 { ", ..." } else { "" };
        out += &format!(
            "    in {} of {}, seed {}{more}\n",
            f.seeds.len(),
            output::count(args.schedules as usize, "schedule"),
            list.join(", ")
        );
    }
    let notes = findings.iter().filter(|f| f.severity == Severity::Note).count();
    out + &format!(
        "checked `{}`: {}, {}, {}\n",
        launch.kernel.name,
        output::count(args.schedules as usize, "schedule"),
        output::count(findings.len() - notes, "finding"),
        output::count(notes, "note")
    )
}

fn about(launch: &Prepared, (kind, title): (&str, &str), message: String, seed: u64) -> Finding {
    let mut report = Report::default();
    report.kernel.clone_from(&launch.kernel.name);
    report.line = Some(launch.kernel.line);
    report.message = message;
    Finding { kind: kind.into(), title: title.into(), severity: Severity::Error, report, seeds: vec![seed] }
}

/// `out` buffers with elements that nobody wrote.
fn unwritten(launch: &Prepared, ran: &Ran, seed: u64) -> Vec<Finding> {
    let mut found = vec![];
    for (b, addr) in launch.outputs(ran).into_iter().filter(|(b, _)| b.mode == Mode::Out) {
        let mut bytes = vec![0; npy::size(b.array.element, &b.array.shape).unwrap_or(0)];
        if let Err(e) = ran.sim.read_checked(addr, &mut bytes) {
            let at = e.report.address.map_or(0, |a| a - addr) as usize;
            let message = format!(
                "nobody wrote element {} of {} ({} elements); a kernel that writes a part takes `inout`",
                at / b.array.element.bytes,
                b.path.display(),
                bytes.len() / b.array.element.bytes
            );
            found.push(about(launch, UNWRITTEN, message, seed));
        }
    }
    found
}

/// Outputs that differ between two schedules.
fn different(launch: &Prepared, ran: &Ran, a: (u64, &[Vec<u8>]), b: (u64, &[Vec<u8>])) -> Vec<Finding> {
    let mut found = vec![];
    for ((buffer, _), (x, y)) in launch.outputs(ran).iter().zip(a.1.iter().zip(b.1)) {
        let bytes = buffer.array.element.bytes;
        let count = x.chunks(bytes).zip(y.chunks(bytes)).filter(|(x, y)| x != y).count();
        if count == 0 {
            continue;
        }
        let float = float_atomics(launch);
        let why =
            if float { "; the kernel adds floats with atomics, whose order no schedule fixes" } else { "" };
        let message =
            format!("{} is not the same under every order of blocks and warps{why}", buffer.path.display());
        let mut f = about(launch, DEPENDENT, message, b.0);
        if float {
            f.severity = Severity::Note;
        }
        found.push(f);
    }
    found
}

/// Whether the kernel, or a function it may call, adds floats with atomics.
fn float_atomics(launch: &Prepared) -> bool {
    let Ok(ast) = ptx_sim::parse::parse(&launch.source.text) else { return false };
    ast.items.iter().any(|item| match item {
        Item::Function(f) if !f.entry || f.name == launch.kernel.name => {
            f.body.as_deref().is_some_and(adds_floats)
        }
        _ => false,
    })
}

fn adds_floats(body: &[Stmt<'_>]) -> bool {
    body.iter().any(|s| match s {
        Stmt::Block(b) => adds_floats(b),
        Stmt::Inst(i) => {
            let mut words = i.opcode.split('.');
            let atomic = matches!(words.next(), Some("atom" | "red"));
            let words: Vec<&str> = words.collect();
            let float = words.last().is_some_and(|t| t.starts_with('f') || t.starts_with("bf"));
            atomic && words.contains(&"add") && float
        }
        _ => false,
    })
}
