//! A file that says what a run is doing, for who asks from outside whether it is alive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::runtime::Progress;

const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// A run that has not written for so long has ended without a word.
const STALE_AFTER_SECONDS: u64 = 30;
/// A run that has not moved for so long hangs. Sorting a large table is one step, and so is closing all files.
const STILL_AFTER_SECONDS: u64 = 1800;

/// What the file has.
#[derive(Serialize, Deserialize)]
struct RunStatus {
    phase: String,
    rows_read: u64,
    rows_written: u64,
    /// When the file was written.
    unix_seconds: u64,
    /// For how long the run had not moved then.
    still_seconds: u64,
}

/// Keeps the file, until it is dropped; then the file is removed.
pub(super) struct StatusFile {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusFile {
    pub(super) fn keep(path: &Path, progress: &Arc<Progress>) -> Result<StatusFile> {
        write(path, progress, Duration::ZERO)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (kept, stop, progress) = (path.to_owned(), Arc::clone(&is_over), Arc::clone(progress));
        let thread = thread::spawn(move || {
            let (mut steps, mut moved) = (progress.steps(), Instant::now());
            while !stop.load(Ordering::Acquire) {
                if progress.steps() != steps {
                    (steps, moved) = (progress.steps(), Instant::now());
                }
                // Where the file can't be written any more, its age says so.
                let _ = write(&kept, &progress, moved.elapsed());
                thread::park_timeout(BETWEEN_WRITES);
            }
        });
        Ok(StatusFile { path: path.to_owned(), is_over, thread: Some(thread) })
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn write(path: &Path, progress: &Progress, still: Duration) -> Result<()> {
    let alive = RunStatus {
        phase: progress.phase().to_string(),
        rows_read: progress.rows_read(),
        rows_written: progress.rows_written(),
        unix_seconds: now(),
        still_seconds: still.as_secs(),
    };
    // Who reads sees the former file or the new one.
    let whole = path.with_extension("writing");
    let json = serde_json::to_vec(&alive).map_err(Error::failed)?;
    fs::write(&whole, json).and_then(|()| fs::rename(&whole, path)).map_err(Error::writing(path))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the run is doing that keeps this file.
///
/// # Errors
///
/// If there is none, or it does not keep it any more.
pub(super) fn check(path: &Path) -> Result<String> {
    let text = fs::read(path).map_err(|cause| Error::failed(format!("{}: no run: {cause}", path.display())))?;
    let alive: RunStatus = serde_json::from_slice(&text).map_err(Error::reading(path))?;
    let (age, path) = (now().saturating_sub(alive.unix_seconds), path.display());
    if age > STALE_AFTER_SECONDS {
        return Err(Error::failed(format!("{path}: nothing was heard of the run for {age} seconds")));
    }
    let RunStatus { phase, rows_read, rows_written, still_seconds, .. } = alive;
    if still_seconds > STILL_AFTER_SECONDS {
        return Err(Error::failed(format!("{path}: {phase}: the run has not moved for {still_seconds} seconds")));
    }
    Ok(format!("{phase}: {} rows read, {} written", grouped(rows_read), grouped(rows_written)))
}
