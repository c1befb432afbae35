//! Bringing files and folders to stable storage, and removing folders.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use crate::atomic_file::{folder_of, sync_names};
use crate::error::{Error, Result};
use crate::printable::printable;

/// Syncs files in a few threads, while their writers go on.
///
/// There is no queue: a file for which no thread is free is synced by its writer. So few files are open at a time.
pub(crate) struct Syncer {
    /// `None` once all files are synced.
    files: Mutex<Option<Sender<(File, PathBuf)>>>,
    threads: Mutex<Vec<JoinHandle<Result<()>>>>,
}

/// File systems merge syncs that are waiting at the same time.
const THREADS: usize = 3;

/// Starts its threads.
impl Default for Syncer {
    fn default() -> Syncer {
        let (sender, files) = bounded::<(File, PathBuf)>(0);
        let thread = |_| {
            let files = files.clone();
            thread::spawn(move || files.into_iter().try_for_each(|(file, path)| sync(&file, &path)))
        };
        let threads = (0..THREADS).map(thread).collect();
        Syncer { files: Mutex::new(Some(sender)), threads: Mutex::new(threads) }
    }
}

impl Syncer {
    /// Syncs a file, now or by the time of [`finish`](Self::finish).
    ///
    /// # Errors
    ///
    /// If it can't be synced. What is stored of it is unknown then, so the run must not go on.
    pub(super) fn sync(&self, file: File, path: &Path) -> Result<()> {
        let threads = self.files.lock().expect("nobody panicked").clone();
        let Some(threads) = threads else { return sync(&file, path) };
        match threads.try_send((file, path.to_owned())) {
            Ok(()) => Ok(()),
            Err(busy) => sync(&busy.into_inner().0, path),
        }
    }

    /// Waits until all files are synced.
    ///
    /// # Errors
    ///
    /// If one could not be.
    pub(super) fn finish(&self) -> Result<()> {
        *self.files.lock().expect("nobody panicked") = None;
        let threads = std::mem::take(&mut *self.threads.lock().expect("nobody panicked"));
        let results: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("syncing does not panic")).collect();
        results.into_iter().collect()
    }
}

fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(Error::writing(path))
}

/// Syncs the names of a folder's entries.
///
/// # Errors
///
/// If it fails, or the folder is not there.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    sync_names(folder).map_err(Error::writing(folder))
}

/// The entries of a folder; none if it does not exist.
///
/// # Errors
///
/// If it can't be read.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(Error::writing(folder)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::writing(folder)(cause)),
    }
}

/// Creates a folder and those that it is in, unless they are there, and makes their names durable: whoever created one
/// may not have.
///
/// # Errors
///
/// If one can't be created or synced. One that was there may be in a folder that can't be read or written to.
pub(crate) fn create_folders(path: &Path) -> Result<()> {
    let named = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty());
    let missing: Vec<_> = named.take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(path).map_err(Error::writing(path))?;
    missing.into_iter().try_for_each(|created| sync_folder(folder_of(created)))?;
    let whole = fs::canonicalize(path).map_err(Error::writing(path))?;
    for folder in whole.ancestors().skip(1) {
        match sync_names(folder) {
            Err(cause) if matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {}
            synced => synced.map_err(Error::writing(folder))?,
        }
    }
    Ok(())
}

/// Creates a folder, unless it is there.
///
/// # Errors
///
/// If it can't be created, or something else has its name: a link is not followed.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists && is_own_folder(path) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            Err(Error::failed(format!("{}: found a file or a link, wanted a folder", path.display())))
        }
        created => created.map_err(Error::writing(path)),
    }
}

/// True if this is a folder, and not a link to one.
pub(super) fn is_own_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Removes a folder with all that it has, or a file, or a link but not what it points to. On failure, because a process
/// still uses it, it is left to a later run.
pub(super) fn remove_or_leave(path: &Path) {
    let removed = if is_own_folder(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            tracing::warn!("{}: can't be removed now: {cause}", printable(&path.to_string_lossy()));
        }
        _ => {}
    }
}
