//! Events of changes, made once for all who follow a table at the same place.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use serde_json::json;

use crate::error::Result;
use crate::sinks::{ChangesAfter, MemoryTables};

use super::app::timestamp;
use super::event_text::{data_of, event};

/// Events that were made a short time ago.
#[derive(Default)]
pub(super) struct RecentEvents(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    made: VecDeque<(EventPlace, Vec<Bytes>)>,
    bytes: usize,
}

/// A table, an epoch, and the last one after it that the events are of.
type EventPlace = (String, u64, u64);

/// The most bytes of events that are kept.
const KEPT_BYTES: usize = 16 << 20;

impl RecentEvents {
    /// The events after an epoch, and the last epoch that they are of; `None` if its changes are not kept any more.
    pub(super) fn after(&self, tables: &MemoryTables, table: &str, epoch: u64) -> Result<Option<(Vec<Bytes>, u64)>> {
        let newest = tables.snapshot().epoch().unwrap_or_default();
        if let Some(known) = self.known(table, epoch, newest) {
            return Ok(Some((known, newest)));
        }
        let Some(changes) = tables.changes_after(table, epoch)? else { return Ok(None) };
        let last = changes.last.epoch;
        let events = events_of(&changes)?;
        self.keep((table.to_owned(), epoch, last), &events);
        Ok(Some((events, last)))
    }

    fn known(&self, table: &str, epoch: u64, last: u64) -> Option<Vec<Bytes>> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(name, from, to): &EventPlace| name == table && *from == epoch && *to == last;
        recent.made.iter().rev().find(|(place, _)| is_it(place)).map(|(_, events)| events.clone())
    }

    fn keep(&self, place: EventPlace, events: &[Bytes]) {
        const OF_A_PLACE: usize = 128;
        let size = |events: &[Bytes]| OF_A_PLACE + events.iter().map(Bytes::len).sum::<usize>();
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.bytes += size(events);
        recent.made.push_back((place, events.to_vec()));
        while recent.bytes > KEPT_BYTES
            && let Some((_, oldest)) = recent.made.pop_front()
        {
            recent.bytes -= size(&oldest);
        }
    }
}

fn events_of(changes: &ChangesAfter) -> Result<Vec<Bytes>> {
    let mut events = Vec::new();
    for of_epoch in &changes.epochs {
        let data = data_of(of_epoch.epoch, &[("plus", &of_epoch.plus), ("minus", &of_epoch.minus)])?;
        events.push(event("changes", Some(of_epoch.epoch.epoch), &data));
    }
    let has_last = changes.epochs.last().is_some_and(|of_epoch| of_epoch.epoch.epoch == changes.last.epoch);
    if !has_last {
        let last = changes.last;
        let data = json!({ "epoch": last.epoch, "committed_at": timestamp(last.time_ms) }).to_string();
        events.push(event("progress", Some(last.epoch), &data));
    }
    Ok(events)
}
