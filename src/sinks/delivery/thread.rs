//! The thread that delivers.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::panics::caught;
use crate::sinks::delivery_status::{DeliveryState, DeliveryStatus, now_ms};

use super::destination::{Delivery, DeliveryError, DeliveryPace, Destination};
use super::queue::DeliveryQueue;

/// Delivers what it is given, in a thread of its own.
pub(crate) struct DeliveryThread {
    queue: Arc<DeliveryQueue>,
    thread: Option<JoinHandle<()>>,
}

/// How long the end of a job waits for what is not delivered yet.
const AT_END: Duration = Duration::from_secs(10);
/// The first and the longest time until something is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MOST: Duration = Duration::from_secs(30);

impl DeliveryThread {
    /// Begins to deliver; `name` is that of the sink, for messages.
    pub(crate) fn start(
        name: &str,
        status: DeliveryStatus,
        pace: DeliveryPace,
        destination: impl Destination,
    ) -> DeliveryThread {
        let queue = Arc::new(DeliveryQueue::new(status.clone(), pace));
        let route = DeliveryLoop { name: name.to_owned(), queue: Arc::clone(&queue), status, every: pace.every };
        let thread = thread::spawn(move || route.follow(destination));
        DeliveryThread { queue, thread: Some(thread) }
    }

    /// Takes an epoch to deliver. Waits while too much is not delivered yet, unless `gives_up` says so: from then on
    /// nothing is taken.
    pub(crate) fn send(&self, delivery: Delivery, gives_up: impl Fn() -> bool) {
        self.queue.put(delivery, gives_up);
    }

    /// Waits a while for what is not delivered yet; false if something is left.
    pub(crate) fn finish(&mut self) -> bool {
        self.queue.close();
        let is_delivered = self.queue.is_empty_within(AT_END);
        self.queue.give_up();
        if is_delivered {
            let _ = self.thread.take().map(JoinHandle::join);
        }
        is_delivered
    }
}

/// What the thread works with.
struct DeliveryLoop {
    name: String,
    queue: Arc<DeliveryQueue>,
    status: DeliveryStatus,
    /// The least time from one delivery to the next.
    every: Duration,
}

impl DeliveryLoop {
    fn follow(&self, mut destination: impl Destination) {
        if let Err(error) = self.deliver_all(&mut destination) {
            self.status.has_failed(DeliveryState::Displaced, &error.to_string());
            self.queue.give_up();
            tracing::error!(sink = self.name, "sink {}: {error}; nothing more is delivered to it", self.name);
        }
    }

    fn deliver_all(&self, destination: &mut impl Destination) -> Result<()> {
        let mut min_wait = Duration::ZERO;
        while let Some(delivery) = self.queue.take(min_wait)? {
            let begun = Instant::now();
            self.deliver(destination, delivery)?;
            min_wait = self.every.saturating_sub(begun.elapsed());
        }
        Ok(())
    }

    fn tell_failure(&self, error: &Error, retry_after: Duration) {
        self.status.has_failed(DeliveryState::Retrying, &error.to_string());
        let seconds = retry_after.as_secs_f64();
        tracing::warn!(sink = self.name, "sink {}: {error}; it is tried again in {seconds} s", self.name);
    }

    /// Delivers, however often it has to be tried, unless that is given up.
    fn deliver(&self, destination: &mut impl Destination, mut delivery: Delivery) -> Result<()> {
        let mut retry_after = RETRY_AFTER;
        while !self.queue.has_given_up() {
            let started = Instant::now();
            {
                let mut watched = self.status.lock();
                // What fails again and again is not to look well in between.
                if watched.report.state != DeliveryState::Retrying {
                    watched.report.state = DeliveryState::Delivering;
                }
            }
            let panicked = |message| DeliveryError::Transient(Error::failed(format!("internal error: {message}")));
            let mut is_refused = false;
            match caught(|| destination.deliver(&delivery)).map_err(panicked).flatten() {
                Ok(()) => {
                    let mut watched = self.status.lock();
                    watched.report.transactions += 1;
                    watched.report.rows += delivery.rows() as u64;
                    (watched.report.took, watched.report.delivered_ms) = (started.elapsed(), Some(now_ms()));
                    drop(watched);
                    self.queue.delivered(&delivery);
                    return Ok(());
                }
                Err(DeliveryError::Fenced(error)) => return Err(error),
                Err(DeliveryError::Refused(error)) => {
                    is_refused = true;
                    self.tell_failure(&error, retry_after);
                }
                Err(DeliveryError::Transient(error)) => self.tell_failure(&error, retry_after),
            }
            let until = Instant::now() + retry_after;
            while Instant::now() < until && !self.queue.has_given_up() {
                thread::sleep(RETRY_AFTER.min(until.saturating_duration_since(Instant::now())));
            }
            retry_after = RETRY_AFTER_MOST.min(2 * retry_after);
            if is_refused {
                delivery = self.queue.take_behind(delivery)?;
            }
        }
        Ok(())
    }
}
