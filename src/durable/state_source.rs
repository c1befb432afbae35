//! The durable state as a source: the rows of the checkpoint, and behind them those of the log.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::{Source, SourceBatch, SourceBatches, Split};

use super::checkpoint;
use super::log::LogContent;
use super::manifest::{CheckpointFile, ManifestFile};
use super::record;

/// The rows of a state, in the order in which they count.
pub struct StateSource {
    manifest: ManifestFile,
    schemas: Arc<BTreeMap<InputTable, InputSchema>>,
    /// Until it is released.
    log: Mutex<Option<Arc<LogContent>>>,
    splits: Vec<StateSplit>,
}

struct StateSplit {
    table: InputTable,
    rows: u64,
    /// Its first part of the source. Each file of rows, and each frame, is a part.
    first_part: usize,
    content: Content,
}

enum Content {
    /// A file of the checkpoint.
    File(CheckpointFile),
    /// Frames of the log.
    Frames(Vec<FramePlace>),
}

/// Where a frame of rows is.
#[derive(Clone)]
struct FramePlace {
    segment: usize,
    payload: Range<usize>,
    /// True if a later epoch has its rows forgotten that can't be used.
    is_forgotten: bool,
}

/// About how many rows of the log a split has.
const SPLIT_ROWS: u64 = 100_000;

impl StateSource {
    pub(super) fn new(
        manifest: ManifestFile,
        schemas: Arc<BTreeMap<InputTable, InputSchema>>,
        log: Arc<LogContent>,
    ) -> Result<StateSource> {
        let mut files = manifest.current().checkpoint.map_or_else(Vec::new, |checkpoint| checkpoint.files);
        if log.epochs.iter().any(|epoch| epoch.commit.forgets_unusable) {
            files.retain(|file| file.frames.is_none());
        }
        let frames = frames_in_order(&log)?;
        let mut source = StateSource { manifest, schemas, log: Mutex::new(Some(log)), splits: Vec::new() };
        let mut next_part: BTreeMap<InputTable, usize> = BTreeMap::new();
        for file in files {
            let (table, parts) = (file.table()?, file.frames.unwrap_or(1));
            let first_part = next_part.entry(table).or_default();
            let split = StateSplit { table, rows: file.rows, first_part: *first_part, content: Content::File(file) };
            *first_part += parts;
            source.splits.push(split);
        }
        for (table, frames) in frames {
            let first_part = next_part.entry(table).or_default();
            let (mut rows, mut chunk) = (0, Vec::new());
            let mut frames = frames.into_iter().peekable();
            while let Some((of_frame, frame)) = frames.next() {
                rows += of_frame;
                chunk.push(frame);
                if rows >= SPLIT_ROWS || frames.peek().is_none() {
                    let parts = chunk.len();
                    let content = Content::Frames(std::mem::take(&mut chunk));
                    source.splits.push(StateSplit { table, rows, first_part: *first_part, content });
                    *first_part += parts;
                    rows = 0;
                }
            }
        }
        // Small tables first, as other sources have them.
        let order = |table| InputTable::ALL.iter().position(|known| *known == table);
        source.splits.sort_by_key(|split| order(split.table));
        Ok(source)
    }

    /// The files of the checkpoint that have rows of a table.
    pub(super) fn files(&self, table: InputTable) -> impl Iterator<Item = &CheckpointFile> {
        let files = self.splits.iter().filter(move |split| split.table == table);
        files.filter_map(|split| if let Content::File(file) = &split.content { Some(file) } else { None })
    }

    /// The rows of a file of the checkpoint.
    pub(super) fn read_file(&self, file: &CheckpointFile, batch_size: usize) -> Result<SourceBatches<'_>> {
        checkpoint::read(&self.manifest, file, self.schema(file.table()?), 0, batch_size)
    }

    /// How many rows of a table the log has.
    pub(super) fn log_rows(&self, table: InputTable) -> u64 {
        self.log_splits(table).map(|split| split.rows).sum()
    }

    /// The rows of a table in the log.
    pub(super) fn log_batches(&self, table: InputTable) -> Result<impl Iterator<Item = Result<SourceBatch>>> {
        let splits = self.log_splits(table).map(|split| self.read_split(split, usize::MAX));
        Ok(splits.collect::<Result<Vec<_>>>()?.into_iter().flatten())
    }

    fn log_splits(&self, table: InputTable) -> impl Iterator<Item = &StateSplit> {
        let is_log = |split: &&StateSplit| matches!(split.content, Content::Frames(_));
        self.splits.iter().filter(move |split| split.table == table).filter(is_log)
    }

    /// Forgets the log, once all is read.
    pub(crate) fn release(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The frames of a table: the rows of each, and where it is.
type Frames = Vec<(u64, FramePlace)>;

/// The frames of each table in the order in which their rows count: by epoch, part and number.
fn frames_in_order(log: &LogContent) -> Result<BTreeMap<InputTable, Frames>> {
    let mut tables: BTreeMap<InputTable, Frames> = BTreeMap::new();
    let forgets = log.epochs.iter().filter(|epoch| epoch.commit.forgets_unusable).map(|epoch| epoch.commit.epoch);
    let forgotten_before = forgets.max().unwrap_or(0);
    for epoch in &log.epochs {
        let is_forgotten = epoch.commit.epoch < forgotten_before;
        let head = |(segment, payload): &(usize, Range<usize>)| {
            let head = record::decode_head(log.segments[*segment].payload(payload.clone()))?;
            let place = FramePlace { segment: *segment, payload: payload.clone(), is_forgotten };
            Ok((head.table()?, head.part, head.numbers.first(), head.count(), place))
        };
        let mut frames = epoch.rows.iter().map(head).collect::<Result<Vec<_>>>()?;
        frames.sort_by_key(|(table, part, first, ..)| (*table, *part, *first));
        for (table, _, _, rows, frame) in frames {
            tables.entry(table).or_default().push((rows, frame));
        }
    }
    Ok(tables)
}

impl Source for StateSource {
    fn schema(&self, table: InputTable) -> &InputSchema {
        &self.schemas[&table]
    }

    fn splits(&self) -> Vec<Split> {
        let split = |(index, split): (usize, &StateSplit)| {
            let StateSplit { table, rows, .. } = split;
            Split { table: *table, index, rows: Some(*rows), rows_about: *rows }
        };
        self.splits.iter().enumerate().map(split).collect()
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        self.read_split(&self.splits[split.index], batch_size)
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        Err(Error::usage("a live job runs in one process"))
    }
}

impl StateSource {
    fn read_split<'a>(&'a self, split: &'a StateSplit, batch_size: usize) -> Result<SourceBatches<'a>> {
        let StateSplit { table, first_part, content, .. } = split;
        let (schema, first_part) = (&self.schemas[table], *first_part);
        match content {
            Content::File(file) => checkpoint::read(&self.manifest, file, schema, first_part, batch_size),
            Content::Frames(frames) => {
                let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let log = log.ok_or_else(|| Error::failed("internal error: the log is released"))?;
                let batches = frames.iter().zip(first_part..).map(move |(frame, part)| {
                    let payload = log.segments[frame.segment].payload(frame.payload.clone());
                    let mut batch = record::decode(payload)?.into_batch(schema, part)?;
                    if frame.is_forgotten {
                        batch.malformed.clear();
                    }
                    Ok(batch)
                });
                Ok(Box::new(batches))
            }
        }
    }
}
