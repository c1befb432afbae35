//! Which epochs are in all tables.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Epoch;

/// The frontier at the ends of the tables, as one worker sees it.
#[derive(Clone)]
pub(super) struct EpochProbe(Vec<Rc<Cell<Epoch>>>);

impl EpochProbe {
    /// A frontier before the first epoch, and what moves it.
    pub(super) fn new() -> (EpochProbe, Rc<Cell<Epoch>>) {
        let cell = Rc::new(Cell::new(0));
        (EpochProbe(vec![Rc::clone(&cell)]), cell)
    }

    /// The lesser of two frontiers.
    pub(super) fn and(mut self, other: EpochProbe) -> EpochProbe {
        self.0.extend(other.0);
        self
    }

    /// The first epoch that is not in all tables; [`Epoch::MAX`] if no more come.
    pub(super) fn frontier(&self) -> Epoch {
        self.0.iter().map(|cell| cell.get()).min().unwrap_or(Epoch::MAX)
    }

    /// True if an epoch before this one is not in all tables.
    pub(super) fn is_open_before(&self, epoch: Epoch) -> bool {
        self.frontier() < epoch
    }
}

/// The epochs that each worker has handed over to the sinks.
pub(super) struct SealedEpochs(Vec<AtomicU64>);

impl SealedEpochs {
    pub(super) fn new(workers: usize) -> SealedEpochs {
        SealedEpochs((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// A worker has handed over all epochs before this one.
    pub(super) fn set(&self, worker: usize, upper: Epoch) {
        self.0[worker].store(upper, Ordering::Release);
    }

    /// True if all workers have handed over all epochs before this one.
    pub(super) fn all_before(&self, upper: Epoch) -> bool {
        self.0.iter().all(|sealed| sealed.load(Ordering::Acquire) >= upper)
    }
}
