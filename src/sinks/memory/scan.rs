//! Reading a table in the order of its keys.

use std::sync::Arc;

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

use super::keys::KeyRange;
use super::merge::{Merge, Picked, Piece};
use super::run::Run;

/// The rows of a table whose keys are in a range, in the order of their keys, some at a time.
pub struct TableScan {
    merge: Merge,
    /// The places of the columns that are read; `None` for all.
    columns: Option<Vec<usize>>,
    /// Rows of one run that were met while others were picked.
    next: Option<Piece>,
}

/// The most rows of a batch, unless they have one key.
const BATCH_ROWS: usize = 8192;
/// So many rows of one run are given as they lie there.
const AS_THEY_LIE: usize = 512;

impl TableScan {
    pub(super) fn new(runs: Vec<Arc<Run>>, range: &KeyRange) -> TableScan {
        TableScan { merge: Merge::of(runs, &range.from, range.to.as_deref()), columns: None, next: None }
    }

    /// The same rows, of which only the columns at these places are read.
    #[must_use]
    pub fn with_columns(self, columns: Vec<usize>) -> TableScan {
        TableScan { columns: Some(columns), ..self }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let mut picked = Picked::new(true);
            while picked.len() < BATCH_ROWS
                && let Some(piece) = self.next.take().or_else(|| self.merge.next_piece(BATCH_ROWS))
            {
                match &piece {
                    Piece::Alone { run, rows } if rows.len() >= AS_THEY_LIE => {
                        if picked.is_empty() {
                            let of_run = self.merge.run(*run).columns(self.columns.as_deref())?;
                            return Ok(Some(of_run.slice(rows.start, rows.len())));
                        }
                        self.next = Some(piece);
                        break;
                    }
                    _ => picked.add(piece),
                }
            }
            if picked.is_empty() {
                return Ok(None);
            }
            let rows = repeated(picked.finish(&self.merge, self.columns.as_deref())?)?;
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
    }
}

impl Iterator for TableScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// Rows, each as often as its weight says.
fn repeated((rows, weights): (RecordBatch, Vec<i64>)) -> Result<RecordBatch> {
    if weights.iter().all(|weight| *weight == 1) {
        return Ok(rows);
    }
    let times = |weight: i64| {
        usize::try_from(weight).map_err(|_| Error::failed("an epoch deletes a row that the table does not have"))
    };
    let mut places = Vec::new();
    for (row, weight) in (0_u64..).zip(weights) {
        places.extend(std::iter::repeat_n(row, times(weight)?));
    }
    take_record_batch(&rows, &UInt64Array::from(places)).map_err(Error::failed)
}
