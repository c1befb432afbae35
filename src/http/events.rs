//! Events of changes, made once for all who follow a table.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use serde_json::json;

use crate::error::{Error, Result};
use crate::sinks::{ChangesAfter, Committed, MemoryTables};

use super::event_text::{data_of, event};
use super::stamp::timestamp;

/// Events that were made a short time ago.
#[derive(Default)]
pub(super) struct RecentEvents {
    recent: Mutex<Recent>,
    /// Held while events are made, so that they are made once.
    making: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Recent {
    made: HashMap<EventPlace, NextEvent>,
    /// The places, the oldest first.
    order: VecDeque<EventPlace>,
    bytes: usize,
}

/// A table, and an epoch.
type EventPlace = (String, u64);

/// The event that comes next after an epoch.
#[derive(Clone)]
pub(super) struct NextEvent {
    pub(super) event: Bytes,
    /// The epoch that it is of.
    pub(super) epoch: u64,
    /// False if up to that epoch the table has not changed.
    pub(super) is_change: bool,
}

/// The most bytes of events that are kept.
const KEPT_BYTES: usize = 32 << 20;

impl RecentEvents {
    /// The event that comes next after an epoch; `None` if its changes are not kept any more.
    pub(super) async fn after(&self, tables: &MemoryTables, table: &str, epoch: u64) -> Result<Option<NextEvent>> {
        let place = (table.to_owned(), epoch);
        if let Some(known) = self.known(&place, tables) {
            return Ok(Some(known));
        }
        let _making = self.making.lock().await;
        if let Some(known) = self.known(&place, tables) {
            return Ok(Some(known));
        }
        let (kept, table) = (tables.clone(), table.to_owned());
        let make = move || kept.changes_after(&table, epoch)?.map(|changes| event_of(&changes)).transpose();
        let made = tokio::task::spawn_blocking(make).await.map_err(Error::failed)??;
        made.iter().for_each(|made| self.keep(place.clone(), made));
        Ok(made)
    }

    /// The event of a place, unless epochs have come since that change nothing there.
    fn known(&self, place: &EventPlace, tables: &MemoryTables) -> Option<NextEvent> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.made.get(place)?;
        (known.is_change || tables.kept_changes().1 == known.epoch).then(|| known.clone())
    }

    fn keep(&self, place: EventPlace, made: &NextEvent) {
        const OF_A_PLACE: usize = 256;
        let size = |made: &NextEvent| OF_A_PLACE + made.event.len();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.bytes += size(made);
        match recent.made.insert(place.clone(), made.clone()) {
            Some(former) => recent.bytes -= size(&former),
            None => recent.order.push_back(place),
        }
        while recent.bytes > KEPT_BYTES
            && let Some(oldest) = recent.order.pop_front()
        {
            recent.bytes -= recent.made.remove(&oldest).map_or(0, |made| size(&made));
        }
    }
}

/// The event of the next epoch that changed a table, or that none has.
fn event_of(changes: &ChangesAfter) -> Result<NextEvent> {
    let Some(first) = changes.epochs.first() else {
        let Committed { epoch, time_ms } = changes.last;
        let data = json!({ "epoch": epoch, "committed_at": timestamp(time_ms) }).to_string();
        return Ok(NextEvent { event: event("progress", Some(epoch), &data), epoch, is_change: false });
    };
    let (data, epoch) = (data_of(first.epoch, &[("plus", &first.plus), ("minus", &first.minus)])?, first.epoch.epoch);
    Ok(NextEvent { event: event("changes", Some(epoch), &data), epoch, is_change: true })
}
