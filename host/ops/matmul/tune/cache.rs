//! The tuning cache: a JSON file of what was measured, by device and problem.
//!
//! ```text
//! {"format": "ironwarp-tuning", "version": 1, "devices": {"DEVICE (COMPUTE CAPABILITY)": {
//!   "4096x4096x4096 x1 nn bf16 x bf16 -> bf16 in bf16, plain": {
//!     "basis": "measured", "us": {"KERNEL": MICROSECONDS, ..}, "rejected": {"KERNEL": "why", ..}}, ..}, ..}}
//! ```
//!
//! * The file is replaced whole: a reader sees the old one or the new one. Writers take turns by a lock on `FILE.lock`, and
//!   each adds to what is there then: none loses what another wrote.
//! * A file that is damaged, or that a newer version wrote, is an error that says so; nothing overwrites it.
//! * Names of kernels that this version does not have are kept, and ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Environment variable that names the cache's file; empty: nothing that was tuned is used.
pub const VARIABLE: &str = "IRONWARP_TUNING";

const FORMAT: &str = "ironwarp-tuning";
const VERSION: u64 = 1;

/// What is wrong with a tuning cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It is no tuning cache, or a part of one.
    #[error(
        "the tuning cache {path} is damaged ({reason}): delete it and run `ironwarp tune`, or let {VARIABLE} name another"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of the program wrote it.
    #[error(
        "the tuning cache {path} has version {version}, this program knows {VERSION}: update the program, or let {VARIABLE} \
         name another file"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        version: u64,
    },
    /// It cannot be read or written.
    #[error(
        "the tuning cache {path}: {reason}; let {VARIABLE} name a file in a directory that can be written"
    )]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// There is no place for one.
    #[error("there is no place for a tuning cache: let {VARIABLE} name a file")]
    NoPlace,
}

/// What is known of a problem on a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `measured`, `estimated` or `heuristic`.
    pub basis: String,
    /// Microseconds by kernel.
    pub us: BTreeMap<String, f64>,
    /// Why other kernels are out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, String>,
}

/// Everything in the file: entries by device, then by problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cache {
    devices: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    version: u64,
    devices: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// Where the user's cache is: the file that [`VARIABLE`] names, else `ironwarp/tuning.json` in the user's directory for
/// caches. `None`: the variable is set and empty, or there is no such directory.
pub fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match std::env::var_os(VARIABLE) {
        Some(name) => (!name.is_empty()).then(|| name.into()),
        None => {
            let directory = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
            Some(directory.or_else(|| set("LOCALAPPDATA"))?.join("ironwarp").join("tuning.json"))
        }
    }
}

fn io(path: &Path, error: impl ToString) -> CacheError {
    CacheError::Io { path: path.display().to_string(), reason: error.to_string() }
}

impl Cache {
    /// Reads a file; an empty cache where there is none.
    pub fn load(path: &Path) -> Result<Cache, CacheError> {
        let damaged = |reason: String| CacheError::Damaged { path: path.display().to_string(), reason };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Cache::default()),
            Err(e) => return Err(io(path, e)),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if value["format"] != FORMAT {
            return Err(damaged(format!("it does not say \"format\": \"{FORMAT}\"")));
        }
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(version) if version > VERSION => {
                return Err(CacheError::Newer { path: path.display().to_string(), version });
            }
            _ => return Err(damaged(format!("version {} never was", value["version"]))),
        }
        let document: Document = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        Ok(Cache { devices: document.devices })
    }

    /// Adds entries of `device`, by problem, to the file; what it has of the same problems is replaced, all else stays.
    pub fn add(path: &Path, device: &str, entries: BTreeMap<String, Entry>) -> Result<(), CacheError> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(|e| io(path, e))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&beside);
        let lock = lock.map_err(|e| io(path, e))?;
        // Held until it is dropped, or the process ends.
        lock.lock().map_err(|e| io(path, e))?;
        let mut cache = Cache::load(path)?;
        cache.devices.entry(device.to_owned()).or_default().extend(entries);
        let document = Document { format: FORMAT.into(), version: VERSION, devices: cache.devices };
        let text = serde_json::to_string_pretty(&document).map_err(|e| io(path, e))? + "\n";
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|e| io(path, e))?;
        file.write_all(text.as_bytes()).map_err(|e| io(path, e))?;
        file.as_file().sync_all().map_err(|e| io(path, e))?;
        file.persist(path).map_err(|e| io(path, e.error))?;
        Ok(())
    }

    /// What is known of a problem on a device.
    pub fn entry(&self, device: &str, problem: &str) -> Option<&Entry> {
        self.devices.get(device)?.get(problem)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.devices.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    /// The kernels, the fastest first; of equals by name.
    pub fn fastest(&self) -> Vec<&str> {
        let mut order: Vec<(&str, f64)> = self.us.iter().map(|(name, us)| (name.as_str(), *us)).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        order.into_iter().map(|(name, _)| name).collect()
    }
}
