//! The status file of a run, for health checks from outside the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::printable::printable;
use crate::runtime::Progress;

const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// A status file older than this belongs to a run that was killed.
const STALE_AFTER_SECONDS: u64 = 30;
/// A run without progress for this time hangs. Sorting a large table or closing all files is a single step.
const STILL_AFTER_SECONDS: u64 = 1800;

/// The content of the status file.
#[derive(Serialize, Deserialize)]
struct RunStatus {
    phase: String,
    rows_read: u64,
    rows_written: u64,
    /// The time of writing.
    unix_seconds: u64,
    /// The time since the last progress.
    still_seconds: u64,
}

/// Updates the status file every second, and removes it when dropped.
pub(super) struct StatusFile {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusFile {
    pub(super) fn keep(path: &Path, progress: &Arc<Progress>) -> Result<StatusFile> {
        AtomicFile::clean_up(path)?;
        write(path, progress, Duration::ZERO)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (kept, stop, progress) = (path.to_owned(), Arc::clone(&is_over), Arc::clone(progress));
        let thread = thread::spawn(move || {
            let (mut steps, mut moved) = (progress.steps(), Instant::now());
            while !stop.load(Ordering::Acquire) {
                if progress.steps() != steps {
                    (steps, moved) = (progress.steps(), Instant::now());
                }
                // If writing fails, the age of the file reveals it.
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
    let status = RunStatus {
        phase: progress.phase().to_string(),
        rows_read: progress.rows_read(),
        rows_written: progress.rows_written(),
        unix_seconds: now(),
        still_seconds: still.as_secs(),
    };
    let mut file = AtomicFile::replacing(path)?;
    file.write(&serde_json::to_vec(&status).map_err(Error::failed)?)?;
    file.put_in_place()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Describes the state of the run with this status file.
///
/// # Errors
///
/// If the file is missing or stale, or the run makes no progress.
pub(super) fn check(path: &Path) -> Result<String> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::unusable(format!("{}: no regular file, wanted a status file", path.display())));
    }
    let text = fs::read(path).map_err(|cause| Error::failed(format!("{}: no run: {cause}", path.display())))?;
    let status: RunStatus = serde_json::from_slice(&text).map_err(Error::reading(path))?;
    let (age, path) = (now().abs_diff(status.unix_seconds), path.display());
    if age > STALE_AFTER_SECONDS {
        let tense = if status.unix_seconds > now() { "written in the future, by" } else { "not updated for" };
        return Err(Error::failed(format!("{path}: {tense} {age} seconds")));
    }
    let RunStatus { phase, rows_read, rows_written, still_seconds, .. } = status;
    if still_seconds > STILL_AFTER_SECONDS {
        return Err(Error::failed(format!("{path}: {phase}: no progress for {still_seconds} seconds")));
    }
    let phase = printable(&phase);
    Ok(format!("{phase}: {} rows read, {} written", grouped(rows_read), grouped(rows_written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_status_files_are_refused_and_do_not_reach_the_terminal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("status");
        write(&path, &Progress::default(), Duration::ZERO).expect("written");
        let original = fs::read(&path).expect("a file");
        assert!(check(&path).is_ok_and(|shown| shown.starts_with("preparing")));
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut bytes = original.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(0..bytes.len());
                bytes[at] = rng.u8(..);
            }
            fs::write(&path, bytes).expect("written");
            let shown = check(&path).unwrap_or_else(|error| error.to_string());
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
        assert!(check(folder.path()).is_err_and(|error| error.to_string().contains("no regular file")));
        let escape = String::from_utf8_lossy(&original).replace("preparing", "\\u001b[31mred");
        fs::write(&path, escape).expect("written");
        assert!(check(&path).is_ok_and(|shown| shown.starts_with("\\u{1b}[31mred")));
    }
}
