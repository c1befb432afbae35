//! A file that says what a run is doing, for who asks from outside whether it is alive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::grouped;
use crate::runtime::Progress;

const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// A run that has not written for so long is not alive.
const STALE_AFTER_SECONDS: u64 = 30;

/// What the file has.
#[derive(Serialize, Deserialize)]
struct Written {
    phase: String,
    rows_read: u64,
    rows_written: u64,
    unix_seconds: u64,
}

/// Keeps the file, until it is dropped; then the file is removed.
pub(super) struct Status {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Status {
    pub(super) fn keep(path: &Path, progress: &Arc<Progress>) -> Result<Status> {
        write(path, progress)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (kept, stop, progress) = (path.to_owned(), Arc::clone(&is_over), Arc::clone(progress));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                // Where the file can't be written any more, its age says so.
                let _ = write(&kept, &progress);
                thread::park_timeout(BETWEEN_WRITES);
            }
        });
        Ok(Status { path: path.to_owned(), is_over, thread: Some(thread) })
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn write(path: &Path, progress: &Progress) -> Result<()> {
    let written = Written {
        phase: progress.phase().to_string(),
        rows_read: progress.rows_read(),
        rows_written: progress.rows_written(),
        unix_seconds: now(),
    };
    // Who reads sees the former file or the new one.
    let whole = path.with_extension("writing");
    let json = serde_json::to_vec(&written).map_err(Error::failed)?;
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
    let written: Written = serde_json::from_slice(&text).map_err(Error::reading(path))?;
    let age = now().saturating_sub(written.unix_seconds);
    if age > STALE_AFTER_SECONDS {
        return Err(Error::failed(format!("{}: nothing was heard of the run for {age} seconds", path.display())));
    }
    let Written { phase, rows_read, rows_written, .. } = written;
    Ok(format!("{phase}: {} rows read, {} written", grouped(rows_read), grouped(rows_written)))
}
