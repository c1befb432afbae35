//! The manifest: a small file that names everything that the state consists of.
//!
//! It is replaced as a whole. Files that it does not name are leftovers of a crash, and are removed at start. The log
//! appends segments to it and cuts the last one, a compaction replaces a prefix: their changes do not conflict.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::error::{Error, Result};
use crate::model::{AnyId, InputTable};

use super::blocks::BLOCK;
use super::disk::Disk;

/// The version of the format of a state folder.
const FORMAT: u32 = 2;
/// The versions that are read: 1 is one without parts of checkpoints, and without rows that are forgotten.
const READ: std::ops::RangeInclusive<u32> = 1..=FORMAT;
const NAME: &str = "manifest.json";
/// What the name of a manifest begins with that is not in its place yet.
const NEXT: &str = "manifest.next-";

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

/// Why a manifest was not replaced.
#[derive(Debug)]
pub(super) enum NotReplaced {
    /// It is as it was.
    AsItWas(io::Error),
    /// It may have been replaced on stable storage.
    Unknown(io::Error),
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
    /// Which ids it has; `None` if it may have any.
    #[serde(default)]
    pub(super) part: Option<PartOfIds>,
    pub(super) rows: u64,
    #[serde(flatten)]
    pub(super) file: CheckedFile,
}

/// A part of all ids, of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartOfIds {
    pub(super) part: u32,
    /// A power of two.
    pub(super) parts: u32,
}

impl PartOfIds {
    /// The part that an id is in. Files depend on it: it never changes.
    pub(super) fn of(id: &AnyId, parts: u32) -> u32 {
        let hash = match id {
            AnyId::Int(id) => XxHash64::oneshot(0, &id.to_le_bytes()),
            id => XxHash64::oneshot(1, id.to_string().as_bytes()),
        };
        u32::try_from(hash % u64::from(parts)).expect("a remainder by a u32 fits")
    }
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
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Manifest::none(disk, folder),
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
        if !READ.contains(&format) {
            return Err(Error::unusable(format!(
                "{}: found format {format} of the state, wanted {FORMAT}: use the version of millstream that wrote it",
                path.display()
            )));
        }
        let found = serde_json::from_str::<Manifest>(json).map_err(|_| damaged())?;
        // What is written from now on is of this version.
        Ok(Some(Manifest { format: FORMAT, ..found }))
    }

    /// That there is no manifest in a folder.
    ///
    /// # Errors
    ///
    /// If there are files that only a manifest can tell about.
    fn none(disk: &dyn Disk, folder: &Path) -> Result<Option<Manifest>> {
        let names = disk.list(folder).map_err(Error::reading(folder))?;
        match names.into_iter().find(|name| name.starts_with("log-") || name.starts_with("checkpoint-")) {
            None => Ok(None),
            Some(name) => Err(Error::unusable(format!(
                "{}: damaged: found {name}, but no {NAME}; restore the state from a copy",
                folder.display()
            ))),
        }
    }

    /// Replaces the manifest of a folder, durably.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), NotReplaced> {
        let next = self.write_next(disk, folder).map_err(NotReplaced::AsItWas)?;
        let replaced = disk.rename(&next, &folder.join(NAME)).and_then(|()| disk.sync_folder(folder));
        replaced.map_err(NotReplaced::Unknown)
    }

    /// Writes a manifest that is not in its place yet, under a name that no other one had.
    fn write_next(&self, disk: &dyn Disk, folder: &Path) -> io::Result<PathBuf> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes()));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|cause| io::Error::other(format!("no random numbers: {cause}")))?;
        let next = folder.join(format!("{NEXT}{:016x}", u64::from_le_bytes(random)));
        let written = disk.create(&next, 0).and_then(|mut file| {
            file.write_at(0, text.as_bytes())?;
            file.sync()
        });
        written.inspect_err(|_| drop(disk.remove(&next)))?;
        Ok(next)
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
            let is_ours = name.starts_with("log-") || name.starts_with("checkpoint-") || name.starts_with(NEXT);
            if is_ours && !own.contains(&name) {
                disk.remove(&folder.join(name))?;
            }
        }
        Ok(())
    }
}

impl NotReplaced {
    pub(super) fn cause(self) -> io::Error {
        match self {
            NotReplaced::AsItWas(cause) | NotReplaced::Unknown(cause) => cause,
        }
    }
}

impl SegmentFile {
    pub(super) fn name(&self) -> String {
        format!("log-{:08}", self.number)
    }
}

/// The manifest of a folder as it is now. Clones are the same.
#[derive(Clone)]
pub(super) struct ManifestFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    current: Arc<Mutex<Manifest>>,
    /// What made it unknown which manifest is on stable storage.
    broken: Arc<Mutex<Option<String>>>,
}

impl ManifestFile {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path, manifest: Manifest) -> ManifestFile {
        ManifestFile {
            disk,
            folder: folder.to_owned(),
            current: Arc::new(Mutex::new(manifest)),
            broken: Arc::default(),
        }
    }

    /// The manifest as it is now, which does not change any more.
    pub(super) fn fixed(&self) -> ManifestFile {
        ManifestFile::new(Arc::clone(&self.disk), &self.folder, self.current())
    }

    pub(super) fn current(&self) -> Manifest {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the manifest. The log appends to it and cuts its end, a compaction replaces its beginning.
    ///
    /// # Errors
    ///
    /// If it can't be written. Once it is not known which manifest is on stable storage, no change succeeds any more.
    pub(super) fn change(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), NotReplaced> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &*broken {
            return Err(NotReplaced::Unknown(io::Error::other(cause.clone())));
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = current.clone();
        change(&mut next);
        let replaced = next.write(&*self.disk, &self.folder);
        match &replaced {
            Ok(()) => *current = next,
            Err(NotReplaced::AsItWas(_)) => {}
            Err(NotReplaced::Unknown(cause)) => *broken = Some(cause.to_string()),
        }
        replaced
    }

    /// True unless it is unknown which manifest is on stable storage.
    pub(super) fn is_known(&self) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Checks that all files are there that the manifest names.
    ///
    /// # Errors
    ///
    /// If one is missing; the message names it.
    pub(super) fn check_files(&self) -> Result<()> {
        let names = self.disk.list(&self.folder).map_err(Error::reading(&self.folder))?;
        match self.current().names().find(|name| !names.contains(name)) {
            None => Ok(()),
            Some(missing) => {
                let path = self.path(&missing);
                Err(Error::unusable(format!("{}: it is missing; restore the state from a copy", path.display())))
            }
        }
    }

    /// Gives back the room that the last segment does not need.
    pub(super) fn cut_last_segment(&self) {
        if let Some(segment) = self.current().segments.last()
            && let Some(end) = segment.end
        {
            let length = u64::from(end) * BLOCK as u64;
            // It only takes room.
            let _ = self.disk.truncate(&self.path(&segment.name()), length);
        }
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
