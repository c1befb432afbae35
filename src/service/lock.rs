//! One service at a time has a state.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::process;

use crate::error::{Error, Result};
use crate::printable::printable;
use crate::sinks::folder::create_folders;

/// The lock of a state folder, held while it exists. The kernel lets go of that of a process that is dead.
pub(super) struct StateLock(File);

impl StateLock {
    /// Takes the lock of a folder, which is created if there is none.
    ///
    /// # Errors
    ///
    /// If another process has it; the message names it.
    pub(super) fn take(folder: &Path) -> Result<StateLock> {
        create_folders(folder)?;
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

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
