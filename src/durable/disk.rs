//! The calls to the file system that the log, the checkpoint and the manifest need.
//!
//! There are few, so that a simulated disk can take the place of the real one and lose what is not synced.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::atomic_file::sync_names;

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file of zeros that does not exist yet, with room for all of them.
    ///
    /// # Errors
    ///
    /// If it can't be created, or there is no room.
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Writes the start of a file again, and brings the file to stable storage.
    ///
    /// # Errors
    ///
    /// If that fails.
    fn rewrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to a length. It need not survive a power cut.
    ///
    /// # Errors
    ///
    /// If it can't be cut.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Renames a file within its folder, and replaces what has the name.
    ///
    /// # Errors
    ///
    /// If it can't be renamed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// If it can't be removed.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Brings the names in a folder to stable storage.
    ///
    /// # Errors
    ///
    /// If that fails: what was renamed or removed may be lost.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a folder, sorted.
    ///
    /// # Errors
    ///
    /// If the folder can't be read.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Writes bytes at an offset.
    ///
    /// # Errors
    ///
    /// If they can't be written; some may have been.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Brings everything that was written to stable storage.
    ///
    /// # Errors
    ///
    /// If that fails. What was written since the last sync is then lost or not, and a second call does not tell.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        if length > 0 {
            match fallocate(&file, FallocateFlags::empty(), 0, length) {
                // Some file systems can't reserve room; an error comes when it is used, then.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(length)?,
                reserved => reserved.inspect_err(|_| drop(fs::remove_file(path)))?,
            }
        }
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rewrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_names(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
