//! An epoch of what has arrived.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::durable::{Offset, RowsFrame};
use crate::error::Result;
use crate::sinks::Committed;
use crate::sources::{FileLedger, SourceBatch};

use super::activity::{Activity, SourceKind, SourceReport};
use super::inbox::{Arrival, ArrivedFrom};
use super::offsets::{self, now_ms};
use super::request::WaitFor;
use super::request_keys::{self, DoneRequest, RequestKey, RequestKeys};
use super::stats::AppliedRows;

/// What has arrived, as an epoch.
pub(super) struct EpochOfArrivals {
    pub(super) epoch: Committed,
    pub(super) rows: u64,
    arrivals: Vec<Arrival>,
    applied: Vec<AppliedRows>,
    /// What came from each source.
    sources: BTreeMap<SourceKind, SourceReport>,
    /// How long it took to read its rows, and the longest that some had waited when it began.
    pub(super) waited: (Duration, Duration),
}

impl EpochOfArrivals {
    pub(super) fn new(epoch: u64, arrivals: Vec<Arrival>) -> EpochOfArrivals {
        let rows = arrivals.iter().map(|arrival| arrival.rows.rows).sum();
        let mut applied: Vec<AppliedRows> = Vec::new();
        for batch in arrivals.iter().flat_map(|arrival| &arrival.rows.batches) {
            let (table, rows, rejected) = (batch.table, batch.rows(), batch.malformed.len() as u64);
            match applied.iter_mut().find(|known| known.table == table) {
                Some(known) => (known.rows, known.rejected) = (known.rows + rows, known.rejected + rejected),
                None => applied.push(AppliedRows { table, rows, rejected }),
            }
        }
        let time_ms = now_ms();
        let mut sources = BTreeMap::<SourceKind, SourceReport>::new();
        for arrival in &arrivals {
            let (kind, of_source) = arrival.report(time_ms);
            sources.entry(kind).or_default().add(of_source);
        }
        let decoded = arrivals.iter().map(|arrival| arrival.decoded).sum();
        let queued = arrivals.iter().map(|arrival| arrival.since.elapsed().saturating_sub(arrival.decoded)).max();
        let queued = queued.unwrap_or_default();
        let epoch = Committed { epoch, time_ms };
        EpochOfArrivals { epoch, rows, arrivals, applied, sources, waited: (decoded, queued) }
    }

    /// Tells what came from each source.
    pub(super) fn report_to(&mut self, activity: &Activity) {
        activity.arrived(std::mem::take(&mut self.sources));
    }

    /// How many rows of each table it has.
    pub(super) fn applied(&self) -> &[AppliedRows] {
        &self.applied
    }

    /// What the commit of the epoch says of sources.
    pub(super) fn offsets(&self, folder: &Path, keys: &mut RequestKeys) -> Result<BTreeMap<String, Offset>> {
        let (mut files, mut columns) = (FileLedger::new(), Vec::new());
        for arrival in &self.arrivals {
            columns.extend(arrival.rows.new_columns.iter().cloned());
            if let ArrivedFrom::File { name, stamp } = &arrival.from {
                files.insert(name.clone(), *stamp);
            }
        }
        let seen = self.arrivals.iter().filter_map(|arrival| arrival.rows.seen).max();
        let mut offsets = offsets::of_epoch(folder, &files, seen, &columns)?;
        for arrival in &self.arrivals {
            if let ArrivedFrom::Followed { offsets: followed, .. } = &arrival.from {
                offsets.extend(followed.clone());
            }
        }
        let done: Vec<_> = self.done_requests().collect();
        let done = done.iter().map(|(key, done)| (*key, done));
        request_keys::add_to(&mut offsets, keys.forget(self.epoch.time_ms), done);
        Ok(offsets)
    }

    /// The rows, before they are taken.
    pub(super) fn batches(&self) -> impl Iterator<Item = &SourceBatch> {
        self.arrivals.iter().flat_map(|arrival| &arrival.rows.batches)
    }

    /// The rows for the dataflow.
    pub(super) fn take_batches(&mut self) -> Vec<SourceBatch> {
        self.arrivals.iter_mut().flat_map(|arrival| std::mem::take(&mut arrival.rows.batches)).collect()
    }

    /// The rows for the log.
    pub(super) fn frames(&self) -> impl Iterator<Item = &RowsFrame> {
        self.arrivals.iter().flat_map(|arrival| &arrival.rows.frames)
    }

    /// The epoch is durable.
    pub(super) fn finish(&self, keys: &mut RequestKeys) {
        self.done_requests().for_each(|(key, done)| keys.finish(key, done));
        for arrival in &self.arrivals {
            if let ArrivedFrom::Followed { end, committed, .. } = &arrival.from {
                committed.store(*end, Ordering::Release);
            }
        }
    }

    /// Answers the requests that wait for no more than this.
    pub(super) fn reached(&mut self, reached: WaitFor) {
        for arrival in &mut self.arrivals {
            if let ArrivedFrom::Request(request) = &mut arrival.from {
                request.reached(reached, self.epoch);
            }
        }
    }

    /// The requests that have a key, as they are known once the epoch is committed.
    fn done_requests(&self) -> impl Iterator<Item = (&RequestKey, DoneRequest)> {
        self.arrivals.iter().filter_map(|arrival| {
            let ArrivedFrom::Request(request) = &arrival.from else { return None };
            let key = request.key.as_ref()?;
            let Committed { epoch, time_ms } = self.epoch;
            Some((key, DoneRequest::new(key, epoch, time_ms, request.accepted, request.rejected)))
        })
    }

    /// Logs the epoch: at a level of its own if it has no file, for there may be a thousand of those a second.
    pub(super) fn log(&self) {
        let (mut files, mut last, mut requests, mut records, mut transactions) = (0, None, 0, 0, 0);
        for arrival in &self.arrivals {
            match &arrival.from {
                ArrivedFrom::File { name, .. } => (files, last) = (files + 1, Some(name)),
                ArrivedFrom::Request(_) => requests += 1,
                ArrivedFrom::Followed { kind: SourceKind::Kafka, .. } => records += arrival.rows.rows,
                ArrivedFrom::Followed { .. } => transactions += 1,
            }
        }
        let of_files = last.map(|last| ("folder", format!("{files} files, the last {last}")));
        let of_requests = (requests > 0).then(|| ("http", format!("{requests} requests")));
        let of_records = (records > 0).then(|| ("kafka", format!("{records} records")));
        let of_transactions = (transactions > 0).then(|| ("postgres", format!("{transactions} transactions")));
        let parts: Vec<_> = [of_files, of_requests, of_records, of_transactions].into_iter().flatten().collect();
        let source = parts.iter().map(|(source, _)| *source).collect::<Vec<_>>().join(", ");
        let what = parts.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>().join(", ");
        let (epoch, rows) = (self.epoch.epoch, self.rows);
        match files {
            0 => tracing::debug!(epoch, source, "epoch {epoch}: {rows} rows of {what}"),
            _ => tracing::info!(epoch, source, "epoch {epoch}: {rows} rows of {what}"),
        }
    }
}

impl Arrival {
    /// What there is to tell of it, as part of an epoch that begins now.
    fn report(&self, now_ms: u64) -> (SourceKind, SourceReport) {
        let (kind, offset) = match &self.from {
            ArrivedFrom::File { name, .. } => (SourceKind::Folder, Some(name.clone())),
            ArrivedFrom::Request(request) => (SourceKind::Http, request.key.as_ref().map(|key| key.key.clone())),
            ArrivedFrom::Followed { kind, shown, .. } => (*kind, Some(shown.clone())),
        };
        let rejected = self.rows.batches.iter().map(|batch| batch.malformed.len() as u64).sum();
        let last = self.rows.batches.iter().rev().find_map(|batch| batch.malformed.last());
        let last_rejected = last.map(|row| (now_ms, row.reason.text.clone()));
        (kind, SourceReport { arrivals: 1, rows: self.rows.rows, rejected, last_ms: now_ms, offset, last_rejected })
    }
}
