//! A table that is kept as sorted runs, and grows by an epoch at a time.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::sinks::{RowChanges, TableInfo};

use super::merge::merged;
use super::run::{KeyEncoder, Run};

/// A table as of an epoch.
#[derive(Clone)]
pub(super) struct KeptTable {
    pub(super) info: Arc<TableInfo>,
    pub(super) encoder: Arc<KeyEncoder>,
    /// The oldest first.
    pub(super) runs: Vec<Arc<Run>>,
    /// The number of rows.
    pub(super) rows: i64,
}

impl KeptTable {
    /// A table without rows.
    pub(super) fn new(info: &TableInfo) -> Result<KeptTable> {
        let places = info.key.iter().map(|name| info.schema.index_of(name).map_err(Error::failed));
        let encoder = Arc::new(KeyEncoder::new(&info.schema, places.collect::<Result<_>>()?)?);
        Ok(KeptTable { info: Arc::new(info.clone()), encoder, runs: Vec::new(), rows: 0 })
    }

    /// What changes if this table takes the place of another one; `None` if their columns are not the same.
    pub(super) fn difference(&self, former: &KeptTable) -> Result<Option<Vec<Arc<Run>>>> {
        if self.info.schema != former.info.schema || self.info.key != former.info.key {
            return Ok(None);
        }
        // What both have cancels.
        let only_in = |table: &KeptTable, other: &KeptTable| {
            let is_shared = |run: &Arc<Run>| other.runs.iter().any(|known| Arc::ptr_eq(known, run));
            table.runs.iter().filter(|run| !is_shared(run)).cloned().collect::<Vec<_>>()
        };
        let mut runs = only_in(self, former);
        for run in only_in(former, self) {
            runs.push(Arc::new(run.negated(&self.encoder)?));
        }
        if runs.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let run = merged(&runs, &self.encoder, false)?;
        Ok(Some(if run.len() > 0 { vec![Arc::new(run)] } else { Vec::new() }))
    }

    pub(super) fn key_columns(&self) -> Vec<FieldRef> {
        self.encoder.columns().iter().map(|place| Arc::clone(&self.info.schema.fields()[*place])).collect()
    }
}

/// A table to which epochs are added.
pub(super) struct GrowingTable {
    pub(super) kept: KeptTable,
    merge: Option<RunningMerge>,
}

/// A merge of some runs of a table, in a thread of its own.
struct RunningMerge {
    first: usize,
    runs: usize,
    thread: JoinHandle<Result<Run>>,
}

/// Merges of more rows are done in a thread of their own.
const MERGED_AT_ONCE: usize = 1 << 14;
/// With more runs than these, an epoch waits until some are merged.
const RUNS_MAX: usize = 48;
/// Runs of more bytes are not merged: the offsets of texts have 32 bits.
const RUN_BYTES_MAX: usize = 1 << 30;

impl GrowingTable {
    pub(super) fn new(info: &TableInfo) -> Result<GrowingTable> {
        Ok(GrowingTable { kept: KeptTable::new(info)?, merge: None })
    }

    /// Adds the rows of an epoch, and returns them. If that fails, the job ends.
    pub(super) fn add(&mut self, changes: &[RowChanges]) -> Result<Vec<Arc<Run>>> {
        let side = |of: fn(&RowChanges) -> &Option<RecordBatch>| -> Vec<RecordBatch> {
            let batches = changes.iter().filter_map(|changes| of(changes).clone());
            batches.filter(|batch| batch.num_rows() > 0).collect()
        };
        let (plus, minus) = (side(|changes| &changes.plus), side(|changes| &changes.minus));
        if plus.is_empty() && minus.is_empty() {
            return self.merge_large().map(|()| Vec::new());
        }
        let rows = |batches: &[RecordBatch]| batches.iter().map(|batch| batch.num_rows() as i64).sum::<i64>();
        let (mut runs, mut added) = (self.kept.runs.clone(), Vec::new());
        let (rows, parts) = (rows(&plus) - rows(&minus), in_parts(plus));
        for (part, plus) in (1..).zip(&parts) {
            let minus = if part == parts.len() { &minus[..] } else { &[] };
            added.push(Arc::new(Run::of_changes(&self.kept.info.schema, plus, minus, &self.kept.encoder)?));
        }
        runs.extend(added.iter().cloned());
        self.merge_small(&mut runs)?;
        (self.kept.runs, self.kept.rows) = (runs, self.kept.rows + rows);
        self.merge_large().map(|()| added)
    }

    /// The first run that no thread is merging.
    fn free(&self) -> usize {
        self.merge.as_ref().map_or(0, |merge| merge.first + merge.runs)
    }

    /// Merges the last runs while they are small, and not much smaller than those before them.
    fn merge_small(&self, runs: &mut Vec<Arc<Run>>) -> Result<()> {
        while let Some(first) = to_merge(runs, self.free()) {
            if runs[first..].iter().map(|run| run.len()).sum::<usize>() > MERGED_AT_ONCE {
                break;
            }
            let run = merged(&runs[first..], &self.kept.encoder, first == 0)?;
            runs.truncate(first);
            runs.extend((run.len() > 0).then(|| Arc::new(run)));
        }
        Ok(())
    }

    /// Takes what a thread has merged, and begins the next large merge.
    fn merge_large(&mut self) -> Result<()> {
        let must_wait = self.kept.runs.len() > RUNS_MAX;
        if let Some(done) = self.merge.take_if(|merge| must_wait || merge.thread.is_finished()) {
            let run = done.thread.join().map_err(|_| Error::failed("internal error: a merge panicked"))??;
            let merged = (run.len() > 0).then(|| Arc::new(run));
            self.kept.runs.splice(done.first..done.first + done.runs, merged);
        }
        if self.merge.is_none()
            && let Some(first) = to_merge(&self.kept.runs, 0)
        {
            let (runs, encoder) = (self.kept.runs[first..].to_vec(), Arc::clone(&self.kept.encoder));
            let count = runs.len();
            let thread = thread::spawn(move || merged(&runs, &encoder, first == 0));
            self.merge = Some(RunningMerge { first, runs: count, thread });
        }
        Ok(())
    }
}

/// Batches in parts of not too many bytes; at least one.
fn in_parts(batches: Vec<RecordBatch>) -> Vec<Vec<RecordBatch>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for batch in batches {
        bytes += batch.get_array_memory_size();
        if bytes > RUN_BYTES_MAX {
            bytes = batch.get_array_memory_size();
            parts.push(Vec::new());
        }
        parts.last_mut().expect("there is one").push(batch);
    }
    parts
}

/// The first of the last runs that are to be merged: each of them is at most twice as large as those after it together.
fn to_merge(runs: &[Arc<Run>], free: usize) -> Option<usize> {
    let (mut first, mut rows, mut bytes) = (runs.len(), 0, 0);
    let mut wanted = None;
    while first > free {
        let run = &runs[first - 1];
        bytes += run.bytes();
        if bytes > RUN_BYTES_MAX || (rows > 0 && run.len() > 2 * rows) {
            break;
        }
        rows += run.len();
        first -= 1;
        wanted = (runs.len() - first > 1).then_some(first);
    }
    wanted
}
