//! The rejected rows of a service: listing them, forgetting them, trying them again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::columns::InputSchema;
use crate::durable::{Commit, Durability, State};
use crate::error::{Error, Result};
use crate::model::{InputTable, Reason, Rejection};
use crate::panics::caught;
use crate::sources::{
    FileOptions, InputFormat, LATE, MalformedRow, RowDecoder, RowNumbers, Source, SourceBatch, read_body,
};

use super::offsets::now_ms;
use super::settings::ServiceConfig;
use super::state_commands;

/// Where rows are from that are tried again.
const AGAIN: &str = "rejected rows, tried again";
/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;

/// Calls a function with each rejected row of a service that has stopped.
///
/// # Errors
///
/// If the service is running, there is no state, or it is damaged; and those of the function.
pub fn each_rejected(config: &ServiceConfig, row: impl FnMut(&Rejection) -> Result<()>) -> Result<()> {
    let (_lock, state) = state_commands::open(config)?;
    each_of(&state, config, row)
}

fn each_of(state: &State, config: &ServiceConfig, mut row: impl FnMut(&Rejection) -> Result<()>) -> Result<()> {
    let source = state.source()?;
    let mut decoders = BTreeMap::new();
    for split in source.splits() {
        let decoder = match decoders.entry(split.table) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(RowDecoder::of(&source, split.table, config.run.job.conversion())?),
        };
        for batch in source.read(&split, BATCH_ROWS)? {
            decoder.rejections(&batch?)?.iter().try_for_each(&mut row)?;
        }
    }
    Ok(())
}

/// Forgets the rejected rows of a service that has stopped.
///
/// # Errors
///
/// If the service is running, there is no state, it is damaged, or it can't be written.
pub fn drop_rejected(config: &ServiceConfig) -> Result<()> {
    let (_lock, state) = state_commands::open(config)?;
    replace(&state, &[])
}

/// What became of rejected rows that were tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// How many are accepted now.
    pub accepted: u64,
    /// How many are still rejected.
    pub rejected: u64,
}

/// Reads the rejected rows of a service that has stopped once more, with the settings of now. Those that can be used
/// count as rows that have just arrived: unless the table has versions, they replace a row that has their id. Late ones
/// are left alone while late orders are rejected.
///
/// # Errors
///
/// If the service is running, there is no state, it is damaged, or it can't be written. Nothing has changed then.
pub fn retry_rejected(config: &ServiceConfig) -> Result<Retried> {
    let (_lock, state) = state_commands::open(config)?;
    let (batches, retried) = read_again(config, &state, rejected_of(&state)?)?;
    if retried.accepted > 0 {
        replace(&state, &batches)?;
    }
    Ok(retried)
}

/// Rejected rows by table.
pub(super) type RejectedByTable = BTreeMap<InputTable, Vec<Rejection>>;

/// The rows that a state keeps as rejected. Rows that are whole are read with the settings of now in any case.
pub(super) fn rejected_of(state: &State) -> Result<RejectedByTable> {
    let mut rows = RejectedByTable::new();
    let source = state.source()?;
    for split in source.splits() {
        for batch in source.read(&split, BATCH_ROWS)? {
            rows.entry(split.table).or_default().extend(batch?.rejected());
        }
    }
    Ok(rows)
}

/// Rejected rows as they are read now: those that can be used, and those that can't.
pub(super) fn read_again(
    config: &ServiceConfig,
    state: &State,
    rows: RejectedByTable,
) -> Result<(Vec<SourceBatch>, Retried)> {
    let (mut batches, mut retried) = (Vec::new(), Retried::default());
    for (table, rows) in rows {
        let again = RejectedOfTable { config, state, schema: state.schema(table), rows };
        for batch in again.read()? {
            retried.accepted += batch.numbers.len() as u64;
            retried.rejected += batch.malformed.len() as u64;
            batches.push(batch);
        }
    }
    batches.iter_mut().zip(0..).for_each(|(batch, part)| batch.part = part);
    Ok((batches, retried))
}

/// Commits an epoch of these rows, with which the rejected rows so far are forgotten.
fn replace(state: &State, batches: &[SourceBatch]) -> Result<()> {
    let mut log = state.log(Durability::Fsync);
    for batch in batches {
        log.rows(state.schema(batch.table), batch)?;
    }
    let (epoch, time_ms) = (state.epoch() + 1, now_ms());
    log.commit(&Commit { epoch, time_ms, forgets_unusable: true, ..Commit::default() })?;
    log.end()
}

/// The rejected rows of a table.
struct RejectedOfTable<'a> {
    config: &'a ServiceConfig,
    state: &'a State,
    schema: &'a InputSchema,
    rows: Vec<Rejection>,
}

impl RejectedOfTable<'_> {
    /// The rows as they are read now: those that can be used, and those that can't.
    fn read(&self) -> Result<Vec<SourceBatch>> {
        let source = self.state.source()?;
        let decoder = RowDecoder::of(&source, self.schema.table, self.config.run.job.conversion())?;
        let path = self.config.state.join(format!("retried-{}.jsonl", self.schema.table));
        let (objects, others): (Vec<&Rejection>, Vec<_>) = self.rows.iter().partition(|row| self.is_retried(row));
        let lines: String = objects.iter().flat_map(|row| [&row.row, "\n"]).collect();
        let read = match objects.is_empty() {
            true => Ok(Vec::new()),
            false => fs::write(&path, lines)
                .map_err(Error::writing(&path))
                .and_then(|()| self.read_file(&path, &decoder, &objects)),
        };
        let _ = fs::remove_file(&path);
        let mut batches = read?;
        let others = others.into_iter();
        batches.extend(still_rejected(self.schema, others.map(|row| (row, row.reason.clone())))?);
        Ok(batches)
    }

    fn is_retried(&self, row: &Rejection) -> bool {
        is_object(&row.row) && !(row.reason.kind == LATE && self.config.reject_after.is_some())
    }

    fn read_file(&self, path: &Path, decoder: &RowDecoder, objects: &[&Rejection]) -> Result<Vec<SourceBatch>> {
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        // The rows have the names of the job.
        let options = FileOptions { columns: BTreeMap::new(), ..self.config.run.input.files.clone() };
        let mut read = Vec::new();
        read_body(path, InputFormat::JsonLines, AGAIN, self.schema, &options, |batch| {
            read.push(caught(|| decoder.settled(batch)).map_err(Error::failed)??);
            Ok(true)
        })?;
        for mut batch in read {
            for row in std::mem::take(&mut batch.malformed) {
                let number = usize::try_from(row.number).map_err(Error::failed)?;
                let known = objects.get(number).ok_or_else(|| Error::failed("a line that was not written"))?;
                rejected.push((*known, row.reason));
            }
            batches.push(batch);
        }
        batches.extend(still_rejected(self.schema, rejected.into_iter())?);
        Ok(batches)
    }
}

/// Rows that are rejected again, a batch for each file that they are from.
pub(super) fn still_rejected<'r>(
    schema: &InputSchema,
    rows: impl Iterator<Item = (&'r Rejection, Reason)>,
) -> Result<Vec<SourceBatch>> {
    let mut files: BTreeMap<Arc<str>, Vec<MalformedRow>> = BTreeMap::new();
    for (row, reason) in rows {
        let origin = row.origin.as_ref().ok_or_else(|| Error::failed("a rejected row without an origin"))?;
        let malformed = MalformedRow { number: origin.row, reason, json: row.row.clone() };
        files.entry(Arc::clone(&origin.file)).or_default().push(malformed);
    }
    let batch = |(file, malformed)| {
        let mut batch = SourceBatch::new(schema, 0, &file, 0, &schema.empty())?;
        (batch.numbers, batch.malformed) = (RowNumbers::Listed(Vec::new()), malformed);
        Ok(batch)
    };
    files.into_iter().map(batch).collect()
}

/// True if a rejected row is known in all its columns: as a JSON object on one line.
fn is_object(row: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(row).is_ok() && !row.contains('\n')
}
