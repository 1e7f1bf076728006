//! Findings as a SARIF 2.1.0 log: one run, one rule per kind of finding, the source line where `.loc` gives it, else the line of
//! the PTX file.

use super::output::Finding;
use serde_json::{Value, json};
use std::path::Path;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A path as a URI: relative to where the program runs if it lies below, so that a code host finds the file.
fn uri(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.as_deref().and_then(|h| path.strip_prefix(h).ok()).unwrap_or(path);
    let mut out = String::new();
    if relative.is_absolute() {
        out += "file://";
    }
    for b in relative.to_string_lossy().replace('\\', "/").bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => out.push(b as char),
            _ => out += &format!("%{b:02X}"),
        }
    }
    out
}

fn location(path: &Path, line: u32) -> Value {
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(path)},
        "region": {"startLine": line.max(1)},
    }})
}

/// The log, with a rule for each of `kinds` (name and what it is). Findings without a line belong to the kernel's header.
pub fn log(file: &Path, header: u32, kinds: &[(String, String)], findings: &[Finding]) -> Value {
    let rules: Vec<Value> = kinds
        .iter()
        .map(|(id, text)| json!({"id": id, "name": id, "shortDescription": {"text": text}}))
        .collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|f| {
            let ptx = location(file, f.report.line.unwrap_or(header));
            let mut result = json!({
                "ruleId": f.kind,
                "ruleIndex": kinds.iter().position(|k| k.0 == f.kind),
                "level": f.severity.name(),
                "message": {"text": f.sentence()},
                "properties": {
                    "kernel": f.report.kernel,
                    "instruction": f.report.instruction,
                    "block": f.report.block,
                    "thread": f.report.thread,
                    "other": f.json()["other"],
                    "seeds": f.seeds,
                },
            });
            match &f.report.source {
                Some((source, line)) => {
                    result["locations"] = json!([location(Path::new(source), *line)]);
                    let mut related = ptx;
                    related["id"] = json!(1);
                    related["message"] = json!({"text": f.report.instruction});
                    result["relatedLocations"] = json!([related]);
                }
                None => result["locations"] = json!([ptx]),
            }
            result
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "ptx-sim",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}
