//! The directory of a run: found or made, and known to be writable before any work is done.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use ironwarp::train::CHECKPOINT_FILE;

/// Where runs go without `--out`.
const RUNS: &str = "runs";

/// The most that is written to see whether the disk has room.
const PROBE_LIMIT: usize = 64 << 20;

/// A run's directory.
pub struct RunDir {
    path: PathBuf,
    /// Made by this run, and not yet used.
    fresh: bool,
}

impl RunDir {
    /// `out` as it is; else a new `runs/NAME`, `runs/NAME-2`, ...; when resuming, the last of these that has a checkpoint.
    pub fn choose(out: Option<&Path>, name: &str, resume: bool) -> Result<RunDir> {
        if let Some(out) = out {
            let fresh = !out.exists();
            fs::create_dir_all(out).map_err(|e| unusable(out, &e))?;
            return Ok(RunDir { path: out.into(), fresh });
        }
        let numbered =
            |n: usize| Path::new(RUNS).join(if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        if resume {
            let last = (1..)
                .map(numbered)
                .take_while(|p| p.exists())
                .filter(|p| p.join(CHECKPOINT_FILE).exists())
                .last();
            if let Some(path) = last {
                return Ok(RunDir { path, fresh: false });
            }
        }
        fs::create_dir_all(RUNS).map_err(|e| unusable(Path::new(RUNS), &e))?;
        for path in (1..).map(numbered) {
            // Made here and now, so that two runs that start together do not share it.
            match fs::create_dir(&path) {
                Ok(()) => return Ok(RunDir { path, fresh: true }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(unusable(&path, &e)),
            }
        }
        unreachable!("some number is free")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` bytes to a temporary file there (64 MiB at most), and removes it.
    pub fn check_writable(&self, bytes: usize) -> Result<()> {
        let probe = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            let block = vec![0xa5u8; 1 << 16];
            for _ in 0..bytes.min(PROBE_LIMIT).div_ceil(block.len()) {
                file.write_all(&block)?;
            }
            file.as_file().sync_data()
        };
        probe().map_err(|e| unusable(&self.path, &e))
    }

    /// Keeps the directory.
    pub fn keep(&mut self) {
        self.fresh = false;
    }
}

impl Drop for RunDir {
    /// A directory made for a run that did not come to anything goes away again, if nothing is in it.
    fn drop(&mut self) {
        if self.fresh {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    // The tempfile crate puts the path of the temporary file into its message; the system's own text is enough.
    let text = error
        .raw_os_error()
        .map_or_else(|| error.to_string(), |n| std::io::Error::from_raw_os_error(n).to_string());
    let path = path.display();
    anyhow!(
        "{path}: the run's directory cannot be written: {text}; give another --out, or free space and permissions there"
    )
}
