//! The files of the former version of a table.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sinks::folder::disk::entries;
use crate::sinks::folder::store::is_mark;
use crate::sinks::folder::write::{FileFormat, OutputPartition};

/// A file of the former version of a table.
pub(super) struct FormerFile {
    pub(super) path: PathBuf,
    pub(super) partition: OutputPartition,
    pub(super) bytes: u64,
}

/// The files of a table in its folder.
///
/// # Errors
///
/// If the folder can't be read, or has a file that this program does not write.
pub(super) fn files(folder: &Path, format: FileFormat) -> Result<Vec<FormerFile>> {
    let mut files = Vec::new();
    add_files(folder, format, &[], &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn add_files(folder: &Path, format: FileFormat, folders: &[String], files: &mut Vec<FormerFile>) -> Result<()> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let metadata = path.symlink_metadata().map_err(Error::reading(&path))?;
        if metadata.is_dir() {
            add_files(&path, format, &[folders, &[name]].concat(), files)?;
        } else if !is_mark(&name) {
            let bucket = format.bucket_of(&name);
            let bucket = bucket.ok_or_else(|| Error::unusable(format!("{}: an unknown file", path.display())))?;
            let partition = OutputPartition { folders: folders.to_vec(), bucket };
            files.push(FormerFile { path, partition, bytes: metadata.len() });
        }
    }
    Ok(())
}
