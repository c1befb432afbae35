//! Files that are replaced as a whole: readers see the former content or the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A new content for a file, written beside it to `.<name>.<tag>.staged` and then moved into its place.
///
/// Creating it shows whether the file can be written at all. If it is dropped before, the file stays as it was.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// `None` for what is not a regular file, such as a pipe, which is written directly.
    staged: Option<PathBuf>,
    file: File,
}

const STAGED: &str = ".staged";

impl AtomicFile {
    /// Creates the staged file. `tag` must be unique among those who replace the file at the same time.
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
        let staged = folder(&path).join(format!("{}{tag}{STAGED}", prefix(&path)));
        let file = File::create(&staged).map_err(Error::writing(&path))?;
        Ok(AtomicFile { path, staged: Some(staged), file })
    }

    /// The staged files of a path, by their tags.
    ///
    /// # Errors
    ///
    /// If the folder can't be read.
    pub(crate) fn staged(path: &Path) -> Result<Vec<(String, PathBuf)>> {
        let (mut found, path) = (Vec::new(), resolved(path));
        for entry in fs::read_dir(folder(&path)).map_err(Error::writing(&path))? {
            let staged = entry.map_err(Error::writing(&path))?.path();
            let name = staged.file_name().unwrap_or_default().to_string_lossy();
            if let Some(tag) = name.strip_prefix(&prefix(&path)).and_then(|rest| rest.strip_suffix(STAGED)) {
                found.push((tag.to_owned(), staged.clone()));
            }
        }
        Ok(found)
    }

    /// The staged file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes the content and brings it to stable storage.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<()> {
        let written = self.file.write_all(content);
        let synced = written.and_then(|()| if self.staged.is_some() { self.file.sync_all() } else { Ok(()) });
        synced.map_err(Error::writing(&self.path))
    }

    /// Moves the content into its place.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced.
    pub(crate) fn put_in_place(self) -> Result<()> {
        let moved = self.staged.as_ref().map_or(Ok(()), |staged| fs::rename(staged, &self.path));
        moved.map_err(Error::writing(&self.path))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        self.staged.iter().for_each(|staged| drop(fs::remove_file(staged)));
    }
}

/// A link stays one: what it points to is replaced.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_former_content_until_it_is_put_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "former").expect("written");
        let mut dropped = AtomicFile::create(&path, "1").expect("created");
        dropped.write(b"dropped").expect("written");
        assert_eq!(AtomicFile::staged(&path).expect("listed").len(), 1);
        drop(dropped);
        assert_eq!(fs::read(&path).expect("read"), b"former");
        let mut new = AtomicFile::create(&path, "2").expect("created");
        new.write(b"new").expect("written");
        new.put_in_place().expect("in place");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing else is left");
        assert!(AtomicFile::create(folder.path(), "3").is_err());
        assert!(AtomicFile::create(&folder.path().join("none/file"), "3").is_err());
    }
}
