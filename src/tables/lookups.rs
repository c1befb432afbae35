//! Rows that a program looks up in a live job.
//!
//! ```text
//! program ── between epochs ──▶ queue of each worker ──▶ rows of the worker, as of that epoch ──▶ all: answer
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::model::{AnyId, Epoch};
use crate::pipeline::EnrichedRowsOf;

/// What is done with the rows that were found: batches of each worker, none of which is left out.
pub(crate) type AnswerLookup = Box<dyn FnOnce(Result<Vec<RecordBatch>>) + Send>;

/// The look-ups that wait for each worker. Clones share them.
#[derive(Clone)]
pub(crate) struct LookupQueues(Arc<[Mutex<VecDeque<Arc<Lookup>>>]>);

/// Rows that are looked up as of an epoch.
pub(crate) struct Lookup {
    pub(super) rows_of: EnrichedRowsOf<AnyId>,
    pub(super) epoch: Epoch,
    found: Mutex<FoundByWorkers>,
}

struct FoundByWorkers {
    /// How many workers have not answered.
    left: usize,
    batches: Vec<RecordBatch>,
    /// `None` once it is called.
    answer: Option<AnswerLookup>,
}

impl LookupQueues {
    /// The table whose rows are looked up.
    pub(crate) const TABLE: &str = "enriched_data";

    pub(crate) fn new(workers: usize) -> LookupQueues {
        LookupQueues((0..workers).map(|_| Mutex::default()).collect())
    }

    /// Looks rows up as of an epoch that all workers have, none of which has a later one.
    pub(crate) fn add(&self, rows_of: EnrichedRowsOf<AnyId>, epoch: Epoch, answer: AnswerLookup) {
        let found = FoundByWorkers { left: self.0.len(), batches: Vec::new(), answer: Some(answer) };
        let lookup = Arc::new(Lookup { rows_of, epoch, found: Mutex::new(found) });
        (0..self.0.len()).for_each(|worker| self.of(worker).push_back(Arc::clone(&lookup)));
    }

    /// Those of one worker.
    pub(super) fn of(&self, worker: usize) -> MutexGuard<'_, VecDeque<Arc<Lookup>>> {
        self.0[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    /// Adds what a worker has found. The last one answers, or the first one that fails.
    pub(super) fn add(&self, rows: Result<RecordBatch>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.left -= 1;
        let answer = match rows {
            Ok(rows) => {
                found.batches.push(rows);
                let batches = (found.left == 0).then(|| Ok(std::mem::take(&mut found.batches)));
                batches.and_then(|batches| Some((found.answer.take()?, batches)))
            }
            Err(error) => found.answer.take().map(|answer| (answer, Err(error))),
        };
        drop(found);
        answer.into_iter().for_each(|(answer, rows)| answer(rows));
    }
}
