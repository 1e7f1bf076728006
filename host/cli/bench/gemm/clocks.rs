//! Clocks of a GPU while it works, from `nvidia-smi` where it is there.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// What is asked for, and how results call it.
const QUERY: [(&str, &str); 4] = [
    ("clocks.sm", "sm_mhz"),
    ("clocks.mem", "memory_mhz"),
    ("power.draw", "watts"),
    ("temperature.gpu", "celsius"),
];
/// Milliseconds between samples.
const EVERY: &str = "50";
/// How long the first sample is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

type Samples = Arc<Mutex<Vec<(Instant, Vec<Option<f64>>)>>>;

/// `nvidia-smi`, sampling until it is dropped.
pub struct Clocks {
    child: Child,
    samples: Samples,
}

/// The GPU as `nvidia-smi`, which knows nothing of CUDA_VISIBLE_DEVICES, is to be told of it.
fn id(ordinal: usize) -> String {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let named = visible.split(',').nth(ordinal).map(str::trim).filter(|id| !id.is_empty());
    named.map_or_else(|| ordinal.to_string(), str::to_owned)
}

/// A line of numbers; what is no number (`[N/A]`) is none.
fn parse(line: &str) -> Vec<Option<f64>> {
    line.split(',').map(|cell| cell.trim().parse().ok()).collect()
}

impl Clocks {
    /// Starts sampling GPU `ordinal`; `None` where there is no `nvidia-smi`, or it says nothing.
    pub fn start(ordinal: usize) -> Option<Clocks> {
        let fields: Vec<&str> = QUERY.iter().map(|q| q.0).collect();
        let mut child = Command::new("nvidia-smi")
            .arg(format!("--id={}", id(ordinal)))
            .arg(format!("--query-gpu={}", fields.join(",")))
            .args(["--format=csv,noheader,nounits", "-lms", EVERY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = child.stdout.take();
        let samples = Samples::default();
        let clocks = Clocks { child, samples: samples.clone() };
        let output = BufReader::new(output?);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let sample = (Instant::now(), parse(&line));
                samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            }
        });
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if !clocks.samples.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return Some(clocks);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Lowest, middle and highest of each figure since `from`; `None` without a sample.
    pub fn since(&self, from: Instant) -> Option<Value> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&Vec<Option<f64>>> = samples.iter().filter(|s| s.0 >= from).map(|s| &s.1).collect();
        summary(&lines)
    }
}

fn summary(lines: &[&Vec<Option<f64>>]) -> Option<Value> {
    let mut all = Map::new();
    for (i, (_, name)) in QUERY.iter().enumerate() {
        let mut values: Vec<f64> = lines.iter().filter_map(|line| line.get(i).copied().flatten()).collect();
        values.sort_by(f64::total_cmp);
        if let (Some(low), Some(high)) = (values.first(), values.last()) {
            all.insert((*name).into(), json!([low, values[values.len() / 2], high]));
        }
    }
    if all.is_empty() {
        return None;
    }
    all.insert("samples".into(), json!(lines.len()));
    Some(Value::Object(all))
}

impl Drop for Clocks {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up() {
        let lines = ["1980, 2619, 650.12, 61", "1755, 2619, [N/A], 63", "1830, 2619, 699.50, 62"].map(parse);
        let value = summary(&lines.iter().collect::<Vec<_>>()).expect("a summary");
        assert_eq!(value["sm_mhz"], json!([1755.0, 1830.0, 1980.0]));
        assert_eq!((&value["watts"][0], &value["samples"]), (&json!(650.12), &json!(3)));
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[&parse("no devices were found")]), None);
    }
}
