//! Rows that a program looks up in a live job.
//!
//! ```text
//! program ── between epochs ──▶ queue of each worker ──▶ rows of the worker, as of that epoch ──▶ all: answer
//! ```
//!
//! All workers answer as of one epoch, because
//!
//! 1. a look-up is queued while the epoch E is in all tables, and none is on its way;
//! 2. so it is in the queues before the rows of E + 1 are sent, and before E + 1 is complete at any worker;
//! 3. a worker empties its queue before it applies what is complete, which is E at most by then.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::model::{AnyId, Epoch};
use crate::pipeline::EnrichedRowsOf;

/// What is called with the rows that were found: a batch of each worker.
pub(crate) type GiveRows = Box<dyn FnOnce(Result<Vec<RecordBatch>>) + Send>;

/// The most rows of a look-up.
pub(super) const ROWS_MAX: usize = 200_000;

/// The look-ups that wait for each worker. Clones share them.
#[derive(Clone)]
pub(crate) struct LookupQueues(Arc<Mutex<Queues>>);

struct Queues {
    of_workers: Vec<VecDeque<Arc<Lookup>>>,
    /// True once a worker takes no more.
    is_closed: bool,
}

/// Rows that are looked up as of an epoch.
pub(crate) struct Lookup {
    pub(super) rows_of: EnrichedRowsOf<AnyId>,
    pub(super) epoch: Epoch,
    found: Mutex<LookedUp>,
}

struct LookedUp {
    /// How many workers have not answered.
    left: usize,
    batches: Vec<RecordBatch>,
    /// `None` once it is called.
    give: Option<GiveRows>,
}

impl LookupQueues {
    /// The table whose rows are looked up.
    pub(crate) const TABLE: &str = "enriched_data";

    pub(crate) fn new(workers: usize) -> LookupQueues {
        LookupQueues(Arc::new(Mutex::new(Queues { of_workers: vec![VecDeque::new(); workers], is_closed: false })))
    }

    /// Looks rows up as of an epoch that is in all tables, while no other is on its way. If nobody takes it, `give` is
    /// dropped.
    pub(crate) fn add(&self, rows_of: EnrichedRowsOf<AnyId>, epoch: Epoch, give: GiveRows) {
        let mut queues = self.lock();
        if queues.is_closed {
            return;
        }
        let found = LookedUp { left: queues.of_workers.len(), batches: Vec::new(), give: Some(give) };
        let lookup = Arc::new(Lookup { rows_of, epoch, found: Mutex::new(found) });
        queues.of_workers.iter_mut().for_each(|queue| queue.push_back(Arc::clone(&lookup)));
    }

    /// What waits for a worker.
    pub(super) fn take(&self, worker: usize) -> VecDeque<Arc<Lookup>> {
        std::mem::take(&mut self.lock().of_workers[worker])
    }

    /// Drops what waits; a worker takes no more.
    pub(super) fn close(&self) {
        let mut queues = self.lock();
        queues.is_closed = true;
        let dropped: Vec<_> = queues.of_workers.iter_mut().map(std::mem::take).collect();
        drop(queues);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    /// Adds what a worker has found. The last one answers, or the first one that fails.
    pub(super) fn add(&self, rows: Result<RecordBatch>) {
        let mut found = self.lock();
        found.left -= 1;
        let (rows, is_answer) = match rows {
            Ok(rows) => {
                found.batches.push(rows);
                let has_too_many = found.batches.iter().map(RecordBatch::num_rows).sum::<usize>() > ROWS_MAX;
                let rows = if has_too_many { Err(Lookup::too_many()) } else { Ok(()) };
                (rows, has_too_many || found.left == 0)
            }
            Err(error) => (Err(error), true),
        };
        let Some(give) = found.give.take_if(|_| is_answer) else { return };
        let batches = std::mem::take(&mut found.batches);
        drop(found);
        give(rows.map(|()| batches));
    }

    /// True until it is answered.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().give.is_some()
    }

    pub(super) fn too_many() -> Error {
        Error::usage(format!("that are more than {ROWS_MAX} rows of {}; read the published files", LookupQueues::TABLE))
    }

    fn lock(&self) -> MutexGuard<'_, LookedUp> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
