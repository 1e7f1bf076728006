//! Ctrl-C: while training or searching the first one asks for a clean end, the second ends at once; at any other time the first
//! one ends the program. Files are written atomically, so ending at once loses nothing that was on disk.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};

use super::fail;

const IDLE: u8 = 0;
const TRAINING: u8 = 1;
const REQUESTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// The exit code after Ctrl-C: 128 + SIGINT.
const EXIT: i32 = 130;

/// Takes Ctrl-C over.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if STATE.compare_exchange(TRAINING, REQUESTED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            fail::line("\nstopping, with everything saved; Ctrl-C again ends at once");
        } else {
            fail::line("error: interrupted");
            std::process::exit(EXIT);
        }
    })
    .context("Ctrl-C cannot be handled")
}

/// Training or a search is under way until the guard is dropped.
pub struct Training;

impl Training {
    pub fn begin() -> Training {
        STATE.store(TRAINING, Ordering::SeqCst);
        Training
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::SeqCst);
    }
}

/// Whether Ctrl-C was pressed during it.
pub fn requested() -> bool {
    STATE.load(Ordering::Relaxed) == REQUESTED
}
