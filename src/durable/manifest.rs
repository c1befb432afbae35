//! The manifest: a small file that names everything that the state consists of.
//!
//! It is replaced as a whole. What it does not name is what a process left that died, and is removed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::InputTable;

use super::disk::Disk;

/// The version of the format of a state folder.
const FORMAT: u32 = 1;
const NAME: &str = "manifest.json";
const NEXT: &str = "manifest.json.next";

/// What a state folder consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// The next number of a segment or checkpoint.
    pub(super) next_number: u64,
    /// The columns of each input table, as an Arrow schema in its IPC form, in hexadecimal digits.
    pub(super) schemas: BTreeMap<String, String>,
    pub(super) checkpoint: Option<CheckpointFiles>,
    /// In the order of the log; the last is written to.
    pub(super) segments: Vec<SegmentFile>,
}

/// A segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    /// The blocks of the file.
    pub(super) capacity: u32,
    /// The blocks that count; `None` while it is written to.
    pub(super) end: Option<u32>,
}

/// A checkpoint: the current rows as of an epoch, and how far each source was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointFiles {
    pub(super) epoch: u64,
    pub(super) time_ms: u64,
    pub(super) files: Vec<CheckpointFile>,
    pub(super) offsets: CheckedFile,
}

/// A Parquet file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointFile {
    pub(super) table: String,
    /// The number of frames, if it has rows that could not be used.
    pub(super) frames: Option<usize>,
    pub(super) rows: u64,
    #[serde(flatten)]
    pub(super) file: CheckedFile,
}

impl CheckpointFile {
    pub(super) fn table(&self) -> Result<InputTable> {
        InputTable::named(&self.table).ok_or_else(|| Error::unusable(format!("an unknown table {}", self.table)))
    }
}

/// A file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// XXH64 of the content.
    pub(super) checksum: u64,
}

impl Manifest {
    pub(super) fn new(schemas: BTreeMap<String, String>) -> Manifest {
        Manifest { format: FORMAT, next_number: 1, schemas, checkpoint: None, segments: Vec::new() }
    }

    /// Reads the manifest of a folder; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it is damaged, or of another version.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Manifest>> {
        let path = folder.join(NAME);
        let bytes = match disk.read(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(Error::reading(&path))?,
        };
        let damaged = || Error::unusable(format!("{}: damaged; restore the state from a copy", path.display()));
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let (sum, json) = text.split_once('\n').ok_or_else(damaged)?;
        if sum != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
            return Err(damaged());
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_str(json).map_err(|_| damaged())?;
        if format != FORMAT {
            return Err(Error::unusable(format!(
                "{}: found format {format} of the state, wanted {FORMAT}: use the version of millstream that wrote it",
                path.display()
            )));
        }
        serde_json::from_str(json).map(Some).map_err(|_| damaged())
    }

    /// Replaces the manifest of a folder, durably.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes()));
        let next = folder.join(NEXT);
        match disk.remove(&next) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file = disk.create(&next, 0)?;
        file.write_at(0, text.as_bytes())?;
        file.sync()?;
        disk.rename(&next, &folder.join(NAME))?;
        disk.sync_folder(folder)
    }

    /// The names of all files.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let checkpoint = self.checkpoint.iter().flat_map(|checkpoint| {
            let files = checkpoint.files.iter().map(|file| file.file.name.clone());
            files.chain([checkpoint.offsets.name.clone()])
        });
        checkpoint.chain(self.segments.iter().map(SegmentFile::name)).chain([NAME.to_owned()])
    }

    /// Removes the files of a folder that the manifest does not name, and that have names as it gives them.
    pub(super) fn remove_others(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let own: Vec<String> = self.names().collect();
        for name in disk.list(folder)? {
            let is_ours = name.starts_with("log-") || name.starts_with("checkpoint-") || name == NEXT;
            if is_ours && !own.contains(&name) {
                disk.remove(&folder.join(name))?;
            }
        }
        Ok(())
    }
}

impl SegmentFile {
    pub(super) fn name(&self) -> String {
        format!("log-{:08}", self.number)
    }
}

/// The manifest of a folder, and who may change it.
#[derive(Clone)]
pub(super) struct ManifestFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    current: Arc<Mutex<Manifest>>,
}

impl ManifestFile {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path, manifest: Manifest) -> ManifestFile {
        ManifestFile { disk, folder: folder.to_owned(), current: Arc::new(Mutex::new(manifest)) }
    }

    /// The manifest as it is now, which does not change any more.
    pub(super) fn fixed(&self) -> ManifestFile {
        ManifestFile::new(Arc::clone(&self.disk), &self.folder, self.current())
    }

    pub(super) fn current(&self) -> Manifest {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the manifest; it stays as it was if it can't be written.
    pub(super) fn change(&self, change: impl FnOnce(&mut Manifest)) -> io::Result<()> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = current.clone();
        change(&mut next);
        next.write(&*self.disk, &self.folder)?;
        *current = next;
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A number that no other file of the folder has.
    pub(super) fn next_number(&self) -> u64 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.next_number += 1;
        current.next_number - 1
    }
}
