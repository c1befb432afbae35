//! The log: every epoch, in order, on stable storage.
//!
//! It is a sequence of segments. A process begins a segment of its own, and the manifest says where the one before it
//! ends, so nothing that an earlier process left unfinished is ever read again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::columns::InputSchema;
use crate::crash;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::SourceBatch;

use super::blocks::BLOCK;
use super::manifest::{ManifestFile, NotReplaced, SegmentFile};
use super::record::{self, COMMIT, Commit, ROWS, RowsFrame};
use super::segment::{SegmentData, SegmentWriter};

/// When a commit is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// Once it is on stable storage: it survives a power cut.
    #[default]
    Fsync,
    /// Once the operating system has it: it survives a killed process.
    Os,
    /// Some time later, at the latest when the process ends in order. A killed process loses its last epochs.
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
            Durability::None => "none",
        })
    }
}

/// The usual size of a segment, in blocks: 64 MiB.
pub(super) const SEGMENT_BLOCKS: u32 = 1 << 17;

/// The end of the log, where epochs are appended.
pub struct LogWriter {
    manifest: ManifestFile,
    durability: Durability,
    segment_blocks: u32,
    /// `None` before the first frame.
    segment: Option<SegmentWriter>,
    /// What made the log unusable.
    broken: Option<Error>,
}

impl LogWriter {
    pub(super) fn new(manifest: ManifestFile, durability: Durability, segment_blocks: u32) -> LogWriter {
        LogWriter { manifest, durability, segment_blocks, segment: None, broken: None }
    }

    /// Appends rows of the epoch that is open. They count once it is committed.
    ///
    /// # Errors
    ///
    /// If they can't be written. Unless there was merely no room for a segment, every later call fails, too.
    pub fn rows(&mut self, schema: &InputSchema, batch: &SourceBatch) -> Result<()> {
        self.frame(&LogWriter::encode(schema, batch)?)
    }

    /// Rows in the form of the log, so that several threads can prepare them.
    pub(crate) fn encode(schema: &InputSchema, batch: &SourceBatch) -> Result<RowsFrame> {
        record::encode(schema, batch)
    }

    /// Appends rows as [`rows`](Self::rows) does.
    pub(crate) fn frame(&mut self, frame: &RowsFrame) -> Result<()> {
        self.append(ROWS, &frame.payload()?.each_ref().map(|part| &**part))
    }

    /// True unless a write or a sync has failed.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.broken.is_none()
    }

    /// The bytes of the log that are not in the checkpoint.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let ended: u64 = self.manifest.current().segments.iter().filter_map(|segment| segment.end).map(u64::from).sum();
        let written = self.segment.as_ref().map_or(0, |segment| u64::from(segment.written()));
        (ended + written) * BLOCK as u64
    }

    /// The bytes of the checkpoint.
    #[must_use]
    pub fn checkpoint_bytes(&self) -> u64 {
        let checkpoint = self.manifest.current().checkpoint;
        checkpoint.map_or(0, |checkpoint| checkpoint.files.iter().map(|file| file.file.bytes).sum())
    }

    /// Commits the epoch that is open. It is durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub fn commit(&mut self, commit: &Commit) -> Result<()> {
        self.append(COMMIT, &[&serde_json::to_vec(commit).map_err(Error::failed)?])?;
        // So that a log that is cut off behind it has nothing of the next epoch.
        self.segment.iter_mut().for_each(SegmentWriter::end_block);
        Ok(())
    }

    /// Makes all epochs durable that were committed.
    ///
    /// # Errors
    ///
    /// If that fails. The log is then unusable, for nothing tells what of it is on stable storage.
    pub fn sync(&mut self) -> Result<()> {
        self.check()?;
        crash::point("log written");
        let synced = self.segment.as_mut().map_or(Ok(()), |segment| match self.durability {
            Durability::Fsync => segment.sync(),
            Durability::Os => segment.flush(),
            Durability::None => Ok(()),
        });
        synced.map_err(|cause| self.fail(cause))?;
        crash::point("log synced");
        Ok(())
    }

    /// Ends the segment, so that what is written next is in another one. All epochs are durable then.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync). If there is no room to say so, the log goes on as before.
    pub(super) fn end_segment(&mut self) -> Result<()> {
        self.check()?;
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let end = match segment.sync() {
            Ok(()) => segment.written(),
            Err(cause) => return Err(self.fail(cause)),
        };
        let changed = self.manifest.change(|manifest| {
            manifest.segments.iter_mut().for_each(|segment| _ = segment.end.get_or_insert(end));
        });
        match changed {
            Ok(()) => {}
            Err(NotReplaced::AsItWas(cause)) => return Err(Error::writing(&self.manifest.folder)(cause)),
            Err(NotReplaced::Unknown(cause)) => return Err(self.fail(cause)),
        }
        self.segment = None;
        crash::point("segment ended");
        self.manifest.cut_last_segment();
        Ok(())
    }

    /// Ends the log in order.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    pub fn end(&mut self) -> Result<()> {
        self.end_segment()
    }

    pub(super) fn manifest(&self) -> &ManifestFile {
        &self.manifest
    }

    fn append(&mut self, kind: u8, payload: &[&[u8]]) -> Result<()> {
        self.check()?;
        let length = payload.iter().map(|part| part.len()).sum();
        if self.segment.as_ref().is_none_or(|segment| !segment.has_room(length)) {
            self.begin_segment(length)?;
        }
        let segment = self.segment.as_mut().expect("it was just begun");
        segment.append(kind, payload).map_err(|cause| self.fail(cause))
    }

    /// Ends the segment, and begins one that has room for a frame.
    fn begin_segment(&mut self, frame: usize) -> Result<()> {
        self.end_segment()?;
        let wanted = u32::try_from(1 + SegmentWriter::blocks_for(frame)).map_err(Error::failed)?;
        let (number, capacity) = (self.manifest.next_number(), self.segment_blocks.max(wanted));
        let file = SegmentFile { number, capacity, end: None };
        let path = self.manifest.path(&file.name());
        let bytes = u64::from(capacity) * BLOCK as u64;
        // Without room, nothing has changed, and the caller may try again.
        let created = self.manifest.disk.create(&path, bytes).map_err(Error::writing(&path))?;
        crash::point("segment created");
        let begun = SegmentWriter::begin(created, number, capacity)
            .and_then(|segment| self.manifest.disk.sync_folder(&self.manifest.folder).map(|()| segment));
        let segment = begun.map_err(|cause| self.fail(cause))?;
        match self.manifest.change(|manifest| manifest.segments.push(file)) {
            Ok(()) => self.segment = Some(segment),
            Err(NotReplaced::AsItWas(cause)) => {
                let _ = self.manifest.disk.remove(&path);
                return Err(Error::writing(&self.manifest.folder)(cause));
            }
            Err(NotReplaced::Unknown(cause)) => return Err(self.fail(cause)),
        }
        crash::point("segment begun");
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, cause: io::Error) -> Error {
        let error = Error::writing(&self.manifest.folder)(cause);
        self.broken.get_or_insert(error).clone()
    }
}

/// The epochs of a log.
#[derive(Default)]
pub(super) struct LogContent {
    pub(super) segments: Vec<Arc<SegmentData>>,
    pub(super) epochs: Vec<LoggedEpoch>,
    /// Where the segments end that have epochs, by number.
    pub(super) ends: Vec<(u64, u32)>,
}

/// An epoch of the log.
#[derive(Clone)]
pub(super) struct LoggedEpoch {
    pub(super) commit: Commit,
    /// Its frames of rows: the segment, and where in it.
    pub(super) rows: Vec<(usize, Range<usize>)>,
}

impl LogContent {
    /// The log without its last epochs.
    pub(super) fn up_to(&self, epochs: usize) -> LogContent {
        let (segments, ends) = (self.segments.clone(), self.ends.clone());
        LogContent { segments, epochs: self.epochs[..epochs].to_vec(), ends }
    }

    /// The rows of an epoch, as a source gives them.
    pub(super) fn rows_of(
        &self,
        epoch: &LoggedEpoch,
        schemas: &BTreeMap<InputTable, InputSchema>,
    ) -> Result<Vec<SourceBatch>> {
        let batch = |(segment, payload): &(usize, Range<usize>)| {
            let rows = record::decode(self.segments[*segment].payload(payload.clone()))?;
            let (table, part) = (rows.head.table()?, rows.head.part);
            rows.into_batch(&schemas[&table], part)
        };
        epoch.rows.iter().map(batch).collect()
    }

    /// How many rows an epoch has.
    pub(super) fn count_of(&self, epoch: &LoggedEpoch) -> Result<u64> {
        let count = |(segment, payload): &(usize, Range<usize>)| {
            Ok(record::decode_head(self.segments[*segment].payload(payload.clone()))?.count())
        };
        epoch.rows.iter().map(count).sum()
    }
}

/// Brings to stable storage what an earlier process has written to the last segment and may not have synced. It is
/// written again: after a sync that has failed, the system takes what is not on the disk for written.
pub(super) fn rewrite_last(manifest: &ManifestFile, log: &LogContent) -> Result<()> {
    let Some((number, end)) = log.ends.last() else { return Ok(()) };
    let segments = manifest.current().segments;
    let Some(last) = segments.iter().find(|segment| segment.number == *number && segment.end.is_none()) else {
        return Ok(());
    };
    let path = manifest.path(&last.name());
    let bytes = manifest.disk.read(&path).map_err(Error::reading(&path))?;
    manifest.disk.rewrite(&path, &bytes[..*end as usize * BLOCK]).map_err(Error::writing(&path))
}

/// Reads the log.
///
/// # Errors
///
/// If it is damaged; the message names the file.
pub(super) fn read(manifest: &ManifestFile) -> Result<LogContent> {
    let mut content = LogContent::default();
    let mut open = Vec::new();
    for (index, file) in manifest.current().segments.iter().enumerate() {
        let path = manifest.path(&file.name());
        let named = |error: Error| Error::unusable(format!("{}: {error}", path.display()));
        let bytes = manifest.disk.read(&path).map_err(Error::reading(&path))?;
        let segment = SegmentData::read(&bytes, file.number, file.capacity, file.end).map_err(named)?;
        for frame in segment.frames() {
            match frame.kind {
                ROWS => open.push((index, frame.payload)),
                COMMIT => {
                    let commit = serde_json::from_slice(segment.payload(frame.payload)).map_err(|cause| {
                        Error::unusable(format!("{}: a commit can't be read: {cause}", path.display()))
                    })?;
                    content.epochs.push(LoggedEpoch { commit, rows: std::mem::take(&mut open) });
                    match content.ends.last_mut() {
                        Some((number, end)) if *number == file.number => *end = frame.blocks,
                        _ => content.ends.push((file.number, frame.blocks)),
                    }
                }
                kind => {
                    return Err(Error::unusable(format!("{}: a frame of the unknown kind {kind}", path.display())));
                }
            }
        }
        content.segments.push(Arc::new(segment));
    }
    Ok(content)
}
