//! Epochs that wait to be delivered.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::sinks::changes::{GatheredChanges, TableChanges};
use crate::sinks::delivery_status::DeliveryStatus;

use super::destination::{Delivery, DeliveryPace};

/// The queue is full with so many rows or bytes, a snapshot aside.
const ROWS: usize = 500_000;
const BYTES: usize = 128 << 20;

/// Epochs that wait, the oldest first.
pub(super) struct DeliveryQueue {
    waiting: Mutex<WaitingDeliveries>,
    changed: Condvar,
    status: DeliveryStatus,
    pace: DeliveryPace,
}

#[derive(Default)]
struct WaitingDeliveries {
    deliveries: VecDeque<Queued>,
    rows: usize,
    bytes: usize,
    /// True once nothing is added any more.
    is_closed: bool,
    /// True once what waits is not delivered any more.
    has_given_up: bool,
    /// Since when the oldest epoch has waited that the thread is delivering.
    taken_since: Option<Instant>,
}

struct Queued {
    delivery: Delivery,
    since: Instant,
}

impl Delivery {
    pub(super) fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.plus.num_rows() + table.minus.num_rows()).sum()
    }

    fn bytes(&self) -> usize {
        let of_table = |table: &TableChanges| table.plus.get_array_memory_size() + table.minus.get_array_memory_size();
        self.tables.iter().map(of_table).sum()
    }
}

impl DeliveryQueue {
    pub(super) fn new(status: DeliveryStatus, pace: DeliveryPace) -> DeliveryQueue {
        DeliveryQueue { waiting: Mutex::default(), changed: Condvar::new(), status, pace }
    }

    /// Adds an epoch once there is room. Drops it if nothing is taken any more, or `gives_up` says so while it waits.
    pub(super) fn put(&self, delivery: Delivery, gives_up: impl Fn() -> bool) {
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        let mut waiting = self.lock();
        while waiting.is_full() && !waiting.is_closed {
            if gives_up() {
                waiting.is_closed = true;
                break;
            }
            waiting = self.changed.wait_timeout(waiting, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        if waiting.is_closed {
            return;
        }
        (waiting.rows, waiting.bytes) = (waiting.rows + delivery.rows(), waiting.bytes + delivery.bytes());
        waiting.deliveries.push_back(Queued { delivery, since: Instant::now() });
        self.tell(&waiting);
        drop(waiting);
        self.changed.notify_all();
    }

    /// The epochs that wait, as one delivery; `None` once it is closed and empty. Nothing is taken within
    /// some time, unless there is enough for a transaction, or nothing else will come.
    pub(super) fn take(&self, min_wait: Duration) -> Result<Option<Delivery>> {
        let is_idle = |waiting: &mut WaitingDeliveries| waiting.deliveries.is_empty() && !waiting.is_closed;
        let is_early =
            |waiting: &mut WaitingDeliveries| waiting.rows < self.pace.rows && !waiting.is_full() && !waiting.is_closed;
        let waiting = self.changed.wait_timeout_while(self.lock(), min_wait, is_early);
        let waiting = self.changed.wait_while(waiting.unwrap_or_else(PoisonError::into_inner).0, is_idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let Some(first) = waiting.deliveries.pop_front() else { return Ok(None) };
        let (since, mut rows, mut taken) = (first.since, first.delivery.rows(), vec![first.delivery]);
        while rows < self.pace.rows
            && taken[0].is_snapshot == waiting.deliveries.front().is_some_and(|next| next.delivery.is_snapshot)
            && let Some(next) = waiting.deliveries.pop_front()
        {
            rows += next.delivery.rows();
            taken.push(next.delivery);
        }
        waiting.taken_since = Some(since);
        waiting.count();
        self.tell(&waiting);
        drop(waiting);
        self.changed.notify_all();
        together(taken).map(Some)
    }

    /// What was taken last, and was refused, together with the epochs behind it, up to a number of rows.
    pub(super) fn take_behind(&self, refused: Delivery) -> Result<Delivery> {
        let mut waiting = self.lock();
        let (mut rows, mut bytes, mut taken) = (refused.rows(), refused.bytes(), vec![refused]);
        while rows < ROWS
            && bytes < BYTES
            && waiting.deliveries.front().is_some_and(|next| !next.delivery.is_snapshot)
            && let Some(next) = waiting.deliveries.pop_front()
        {
            (rows, bytes) = (rows + next.delivery.rows(), bytes + next.delivery.bytes());
            taken.push(next.delivery);
        }
        waiting.count();
        self.tell(&waiting);
        drop(waiting);
        self.changed.notify_all();
        together(taken)
    }

    /// What was taken last is delivered.
    pub(super) fn delivered(&self, delivery: &Delivery) {
        let mut waiting = self.lock();
        waiting.taken_since = None;
        self.tell(&waiting);
        self.status.has(delivery.epoch);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Nothing is added any more, and what waits is dropped.
    pub(super) fn give_up(&self) {
        let mut waiting = self.lock();
        (waiting.is_closed, waiting.has_given_up) = (true, true);
        let dropped = std::mem::take(&mut waiting.deliveries);
        (waiting.rows, waiting.bytes, waiting.taken_since) = (0, 0, None);
        drop(waiting);
        self.changed.notify_all();
        drop(dropped);
    }

    /// Waits until what waited is delivered, but not longer than this; true if it is.
    pub(super) fn is_empty_within(&self, most: Duration) -> bool {
        let is_busy = |waiting: &mut WaitingDeliveries| waiting.taken_since.is_some() || !waiting.deliveries.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), most, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// True once what waits is not delivered any more.
    pub(super) fn has_given_up(&self) -> bool {
        self.lock().has_given_up
    }

    fn tell(&self, waiting: &WaitingDeliveries) {
        let mut watched = self.status.lock();
        watched.report.waiting_epochs = waiting.deliveries.len() as u64;
        watched.report.waiting_rows = waiting.rows as u64;
        // What waits for its turn is not late.
        let since = waiting.taken_since.or(waiting.deliveries.front().map(|queued| queued.since));
        watched.waits_since = since.map(|since| since + self.pace.every);
    }

    fn lock(&self) -> MutexGuard<'_, WaitingDeliveries> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingDeliveries {
    /// Counts anew: several epochs were taken.
    fn count(&mut self) {
        self.rows = self.deliveries.iter().map(|queued| queued.delivery.rows()).sum();
        self.bytes = self.deliveries.iter().map(|queued| queued.delivery.bytes()).sum();
    }

    fn is_full(&self) -> bool {
        let of_snapshot = |queued: &Queued| if queued.delivery.is_snapshot { queued.delivery.rows() } else { 0 };
        let of_snapshots: usize = self.deliveries.iter().map(of_snapshot).sum();
        self.rows - of_snapshots >= ROWS || (self.bytes >= BYTES && of_snapshots == 0)
    }
}

/// Several epochs as one.
fn together(mut deliveries: Vec<Delivery>) -> Result<Delivery> {
    let last = deliveries.pop().expect("at least one is taken");
    if deliveries.is_empty() {
        return Ok(last);
    }
    // Changes of a snapshot lead to a later one, which has every table.
    let is_snapshot = deliveries.iter().any(|delivery| delivery.is_snapshot);
    let Delivery { epoch, tables, .. } = last;
    let tables = deliveries.into_iter().flat_map(|delivery| delivery.tables).chain(tables).collect();
    let mut tables = GatheredChanges::of(tables).net_of_all()?;
    tables.retain(|table| is_snapshot || table.plus.num_rows() + table.minus.num_rows() > 0);
    Ok(Delivery { epoch, is_snapshot, tables })
}
