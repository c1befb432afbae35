//! What the last epochs changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::sinks::Committed;

use super::keys::KeyRange;
use super::merge::{merged, merged_within};
use super::run::{KeyEncoder, Run};

/// The rows that an epoch inserted into a table and deleted from it. A row whose values changed is in both.
#[derive(Clone, Debug)]
pub struct EpochOfTable {
    /// The epoch.
    pub epoch: Committed,
    /// The inserted rows, by key.
    pub plus: RecordBatch,
    /// The deleted rows, by key.
    pub minus: RecordBatch,
}

/// What some epochs changed in a table.
#[derive(Clone, Debug)]
pub struct ChangesAfter {
    /// The epochs that changed it, in order.
    pub epochs: Vec<EpochOfTable>,
    /// The last epoch that was looked at.
    pub last: Committed,
}

/// What the last epochs changed, up to a number of bytes.
#[derive(Default)]
pub(super) struct History {
    most: usize,
    bytes: usize,
    epochs: VecDeque<(Committed, ChangedTables)>,
    /// The last epoch that is not kept.
    before: u64,
}

/// What an epoch changed in a table.
pub(super) type ChangedRuns = (Committed, Vec<Arc<Run>>);

/// The changes of an epoch by table.
pub(super) type ChangedTables = BTreeMap<String, Vec<Arc<Run>>>;

impl History {
    pub(super) fn new(most: usize) -> History {
        History { most, ..History::default() }
    }

    /// Forgets all epochs up to this one, of which tables are complete.
    pub(super) fn begin(&mut self, epoch: Committed) {
        *self = History { most: self.most, before: epoch.epoch, ..History::default() };
    }

    pub(super) fn add(&mut self, epoch: Committed, changes: ChangedTables) {
        if epoch.epoch <= self.last() {
            // An epoch of the job that is not one of the log changes nothing, unless the tables are others.
            if changes.values().any(|runs| !runs.is_empty()) {
                self.begin(epoch);
            }
            return;
        }
        self.bytes += size_of_changes(&changes);
        self.epochs.push_back((epoch, changes));
        while self.bytes > self.most
            && let Some((epoch, changes)) = self.epochs.pop_front()
        {
            self.bytes -= size_of_changes(&changes);
            self.before = epoch.epoch;
        }
    }

    /// The epoch whose changes are the first that are known.
    pub(super) fn first(&self) -> u64 {
        self.before + 1
    }

    pub(super) fn epochs(&self) -> Vec<Committed> {
        self.epochs.iter().map(|(epoch, _)| *epoch).collect()
    }

    pub(super) fn last(&self) -> u64 {
        self.epochs.back().map_or(self.before, |(epoch, _)| epoch.epoch)
    }

    /// True if what epochs changed after one is known.
    pub(super) fn has_after(&self, epoch: u64) -> bool {
        (self.before..=self.last()).contains(&epoch)
    }

    /// What the epochs after one changed in a table, some at a time, and the last epoch that was looked at; `None` if
    /// they are not known.
    pub(super) fn after(&self, epoch: u64, table: &str, most: usize) -> Option<(Vec<ChangedRuns>, Committed)> {
        if !self.has_after(epoch) {
            return None;
        }
        let first = self.epochs.partition_point(|(known, _)| known.epoch <= epoch);
        let (mut found, mut last) = (Vec::new(), Committed { epoch, time_ms: 0 });
        for (epoch, changes) in self.epochs.range(first..) {
            if found.len() >= most {
                break;
            }
            found.extend(changes.get(table).map(|runs| (*epoch, runs.clone())));
            last = *epoch;
        }
        Some((found, last))
    }
}

impl History {
    /// What the epochs up to one changed in a table, the newest first.
    pub(super) fn through(&self, until: u64, table: &str) -> Vec<ChangedRuns> {
        let of_epoch = |(epoch, changes): &(Committed, ChangedTables)| Some((*epoch, changes.get(table)?.clone()));
        self.epochs.iter().rev().filter(|(epoch, _)| epoch.epoch <= until).filter_map(of_epoch).collect()
    }
}

fn size_of_changes(changes: &ChangedTables) -> usize {
    const OF_AN_EPOCH: usize = 256;
    OF_AN_EPOCH + changes.values().flatten().map(|run| run.bytes()).sum::<usize>()
}

impl EpochOfTable {
    /// True if an epoch has rows whose keys are in a range.
    pub(super) fn has_keys_of((_, runs): &ChangedRuns, range: &KeyRange) -> bool {
        runs.iter().any(|run| run.has_keys_of(range))
    }

    /// The net changes of the rows whose keys are in a range.
    pub(super) fn of_keys((epoch, runs): &ChangedRuns, range: &KeyRange, encoder: &KeyEncoder) -> Result<EpochOfTable> {
        let net = merged_within(runs, range, encoder)?;
        Ok(EpochOfTable { epoch: *epoch, plus: net.with_sign(1)?, minus: net.with_sign(-1)? })
    }
}

impl ChangesAfter {
    /// The net changes: rows that only moved between workers are left out.
    pub(super) fn of(runs: &[ChangedRuns], last: Committed, encoder: &KeyEncoder) -> Result<ChangesAfter> {
        let net = |(epoch, runs): &ChangedRuns| {
            let net = merged(runs, encoder, false)?;
            Ok(EpochOfTable { epoch: *epoch, plus: net.with_sign(1)?, minus: net.with_sign(-1)? })
        };
        let mut epochs = runs.iter().map(net).collect::<Result<Vec<_>>>()?;
        epochs.retain(|epoch| epoch.plus.num_rows() + epoch.minus.num_rows() > 0);
        Ok(ChangesAfter { epochs, last })
    }
}
