//! Files that are replaced as a whole: readers see the former content or the new one.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// A new content for a file, written beside it to `.<name>.<tag>.staged` and then moved into its place.
///
/// Creating it shows whether the file can be written at all. If it is dropped before, the file stays as it was.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// `None` for what is not a regular file, such as a pipe, which is written directly.
    staged: Option<PathBuf>,
    /// Locked, so that nobody takes it for a leftover.
    file: File,
}

const STAGED: &str = ".staged";

impl AtomicFile {
    /// Creates the staged file. Nobody else may have used the tag for this file.
    ///
    /// # Errors
    ///
    /// If it can't be created, or `path` is a folder.
    pub(crate) fn create(path: &Path, tag: &str) -> Result<AtomicFile> {
        let found = fs::metadata(path);
        if found.as_ref().is_ok_and(|found| found.is_dir()) || path.file_name().is_none() {
            return Err(Error::usage(format!("{}: found a folder, wanted a file", path.display())));
        }
        if found.is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(path).map_err(Error::writing(path))?;
            return Ok(AtomicFile { path: path.to_owned(), staged: None, file });
        }
        let path = resolved(path);
        let staged = folder_of(&path).join(format!("{}{tag}{STAGED}", prefix(&path)));
        let file = File::create_new(&staged).map_err(Error::writing(&path))?;
        // A file system without locks is rather one without leftovers.
        let _ = file.lock();
        Ok(AtomicFile { path, staged: Some(staged), file })
    }

    /// As [`create`](Self::create), with a tag of its own.
    ///
    /// # Errors
    ///
    /// As `create`.
    pub(crate) fn replacing(path: &Path) -> Result<AtomicFile> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        AtomicFile::create(path, &format!("{:x}-{:x}", now.as_nanos(), process::id()))
    }

    /// Removes what killed processes have left.
    ///
    /// # Errors
    ///
    /// If the folder can't be read.
    pub(crate) fn clean_up(path: &Path) -> Result<()> {
        for (_, left) in AtomicFile::leftovers(path)? {
            let _ = fs::remove_file(left);
        }
        Ok(())
    }

    /// The staged files of a path that no process holds any more, by their tags.
    ///
    /// # Errors
    ///
    /// If the folder can't be read.
    pub(crate) fn leftovers(path: &Path) -> Result<Vec<(String, PathBuf)>> {
        let (mut found, path) = (Vec::new(), resolved(path));
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Ok(found);
        }
        for entry in fs::read_dir(folder_of(&path)).map_err(Error::writing(&path))? {
            let staged = entry.map_err(Error::writing(&path))?.path();
            let name = staged.file_name().unwrap_or_default().to_string_lossy();
            let tag = name.strip_prefix(&prefix(&path)).and_then(|rest| rest.strip_suffix(STAGED));
            if let Some(tag) = tag.filter(|_| is_left(&staged)) {
                found.push((tag.to_owned(), staged.clone()));
            }
        }
        Ok(found)
    }

    /// Writes the content.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<()> {
        self.file.write_all(content).map_err(Error::writing(&self.path))
    }

    /// Brings what was written to stable storage, under the name of the staged file.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.staged.is_none() {
            return Ok(());
        }
        self.file.sync_all().and_then(|()| sync_names(folder_of(&self.path))).map_err(Error::writing(&self.path))
    }

    /// Moves the content into its place.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn put_in_place(self) -> Result<()> {
        let Some(staged) = &self.staged else { return Ok(()) };
        place(staged, &self.path).map_err(Error::writing(&self.path))
    }

    /// Replaces a file by this content, which is on stable storage then.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(crate) fn replace_durably(path: &Path, content: &[u8]) -> Result<()> {
        AtomicFile::clean_up(path)?;
        let mut file = AtomicFile::replacing(path)?;
        file.write(content)?;
        file.sync()?;
        file.put_durably()
    }

    /// As [`put_in_place`](Self::put_in_place), durably; the content is [synced](Self::sync) already.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced. The staged file is left then.
    pub(crate) fn put_durably(mut self) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        AtomicFile::settle(&staged, &self.path)
    }

    /// Moves one of the [`leftovers`](Self::leftovers) of a path into its place, durably.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced. The staged file is left then.
    pub(crate) fn settle(staged: &Path, path: &Path) -> Result<()> {
        let path = resolved(path);
        place(staged, &path).and_then(|()| sync_names(folder_of(&path))).map_err(Error::writing(&path))
    }

    /// Leaves the staged file to a later process.
    pub(crate) fn leave(mut self) {
        self.staged = None;
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        self.staged.iter().for_each(|staged| drop(fs::remove_file(staged)));
    }
}

/// A link stays one: what it points to is replaced.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Moves a staged file into its place.
fn place(staged: &Path, path: &Path) -> std::io::Result<()> {
    match fs::rename(staged, path) {
        // The file is a mount of its own, as in containers. It is copied, and readers may see the copy half done.
        Err(cause) if matches!(cause.kind(), ErrorKind::ResourceBusy | ErrorKind::CrossesDevices) => {
            fs::copy(staged, path)?;
            File::open(path)?.sync_all()?;
            fs::remove_file(staged)
        }
        moved => moved,
    }
}

/// True if no process holds this file.
fn is_left(staged: &Path) -> bool {
    File::open(staged).is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The folder that a file or folder is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Syncs the names of a folder's entries. File systems that can't do that are trusted to do it by themselves.
pub(crate) fn sync_names(folder: &Path) -> std::io::Result<()> {
    match File::open(folder).and_then(|file| file.sync_all()) {
        Err(cause) if matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_former_content_until_it_is_put_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let files = || fs::read_dir(folder.path()).expect("listed").count();
        fs::write(&path, "former").expect("written");
        let mut dropped = AtomicFile::replacing(&path).expect("created");
        dropped.write(b"dropped").expect("written");
        assert_eq!(AtomicFile::leftovers(&path).expect("listed"), [], "it is in use");
        drop(dropped);
        assert_eq!((fs::read(&path).expect("read"), files()), (b"former".to_vec(), 1));
        let mut new = AtomicFile::create(&path, "tag").expect("created");
        assert!(AtomicFile::create(&path, "tag").is_err(), "a tag is used once");
        new.write(b"new").expect("written");
        new.sync().expect("synced");
        new.put_durably().expect("in place");
        assert_eq!((fs::read(&path).expect("read"), files()), (b"new".to_vec(), 1));
        AtomicFile::create(&path, "left").expect("created").leave();
        assert_eq!(AtomicFile::leftovers(&path).expect("listed")[0].0, "left");
        AtomicFile::clean_up(&path).expect("cleaned up");
        AtomicFile::replacing(&path).expect("created").put_in_place().expect("in place");
        assert_eq!((fs::read(&path).expect("read"), files()), (Vec::new(), 1), "what was left is removed");
        assert!(AtomicFile::replacing(folder.path()).is_err());
        assert!(AtomicFile::create(&folder.path().join("none/file"), "3").is_err());
    }
}
