//! One service at a time has a state.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process;

use crate::atomic_file::sync_names;
use crate::error::{Error, Result};
use crate::printable::printable;

/// The lock of a state folder, held while it exists. The kernel lets go of that of a process that is dead.
pub(super) struct StateLock(File);

impl StateLock {
    /// Takes the lock of a folder, which is created if there is none.
    ///
    /// # Errors
    ///
    /// If another process has it; the message names it.
    pub(super) fn take(folder: &Path) -> Result<StateLock> {
        create_durably(folder).map_err(Error::writing(folder))?;
        let path = folder.join("lock");
        let file = File::options().create(true).read(true).append(true).open(&path).map_err(Error::writing(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = (&file).take(100).read_to_string(&mut owner);
                let (folder, owner) = (folder.display(), printable(owner.trim()));
                return Err(Error::failed(format!("{folder}: in use by {owner}; wanted a state that no process uses")));
            }
            Err(TryLockError::Error(cause)) => return Err(Error::writing(&path)(cause)),
        }
        let owner = format!("process {}", process::id());
        file.set_len(0).and_then(|()| (&file).write_all(owner.as_bytes())).map_err(Error::writing(&path))?;
        Ok(StateLock(file))
    }
}

/// Creates a folder and those above it, and brings their names to stable storage.
fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    create_durably(parent)?;
    match fs::create_dir(folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    sync_names(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
