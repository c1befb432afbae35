//! Runs of several processes: rendezvous, agreement on config and input, commit, and a common end.
//!
//! ```text
//! process 0   join ─ compare inputs ─ take the output ─▶ begin ─ work ─▶ all shares written ─ publish ─▶ report
//! process 1   join ─ its input ──────▲                    └──── work ─ its share ▲                      └ end
//! ```
//!
//! Workers exchange data over timely's connections, one per pair of processes. A control connection beside each carries
//! the protocol messages and heartbeats; a process without a heartbeat for ten seconds is lost. Any failure is
//! broadcast and ends the run in every process.
//!
//! Process 0 locks the output folder, and publishes the tables once every process has written its share. That is the
//! commit point: a failure before it aborts the run everywhere and the former tables remain; after it, only a failure
//! of process 0 matters.

mod connect;
mod data;
mod fingerprint;
mod handshake;
mod membership;
mod poll;
mod wire;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use crate::config::{ClusterConfig, JobConfig};
use crate::error::{Error, Result};
use crate::report::{ProcessShare, Report};

use super::failure::FirstError;
use super::{Phase, Progress};
use data::DataStream;
use fingerprint::Fingerprint;
use membership::{ListenerGuard, Membership};
pub(super) use poll::POLL_INTERVAL;
use wire::Message;

/// How long a process waits on exit for the others to disconnect.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// This process's view of the processes of a run.
pub(super) struct Cluster {
    membership: Arc<Membership>,
    /// Timely's connection to each other process, until the workers start.
    data: Mutex<Vec<Option<DataStream>>>,
    /// Messages from other processes, with their sender.
    messages: Receiver<(usize, Message)>,
    /// Disconnects when the last listener thread ends.
    listeners: Receiver<ListenerGuard>,
    progress: Arc<Progress>,
}

impl Cluster {
    /// Connects to the other processes, and checks that all have the same version and config.
    ///
    /// # Errors
    ///
    /// If one does not connect in time, or has another version or config.
    pub(super) fn join(
        run: &JobConfig,
        config: &ClusterConfig,
        failure: &Arc<FirstError>,
        progress: &Arc<Progress>,
    ) -> Result<Cluster> {
        let (sender, messages) = unbounded();
        let (guard, listeners) = unbounded();
        let membership = Arc::new(Membership::new(config, failure, sender));
        let mut cluster =
            Cluster { membership, data: Mutex::default(), messages, listeners, progress: Arc::clone(progress) };
        let facts = fingerprint::of_config(run, config);
        let data = match connect::connect(config, facts, &cluster.membership, guard, progress) {
            Ok(data) => data,
            failed => cluster.leave(failed)?,
        };
        cluster.data = Mutex::new(data);
        Ok(cluster)
    }

    /// The number of this process.
    pub(super) fn process(&self) -> usize {
        self.membership.process()
    }

    /// The number of processes.
    pub(super) fn processes(&self) -> usize {
        self.membership.processes()
    }

    /// True for process 0, which locks the output folder and publishes.
    pub(super) fn is_first(&self) -> bool {
        self.process() == 0
    }

    /// Timely's allocators for `workers` local workers and as many in each other process.
    pub(super) fn workers(&self, workers: usize) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
        let data = std::mem::take(&mut *self.data.lock().unwrap_or_else(PoisonError::into_inner));
        let hooks = Hooks::default();
        let inner = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
        let connected = initialize_networking_from_sockets(inner, data, self.process(), workers, hooks);
        let (builders, threads) = connected.map_err(Error::failed)?;
        // Dropping the guard would join the communication threads, and panic if a connection was lost. The threads end
        // by themselves: when the workers of all processes are done, or when this process leaves the run.
        std::mem::forget(threads);
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(())))
    }

    /// Checks that all processes read the same input. Process 0 waits for all fingerprints; others only send theirs.
    ///
    /// # Errors
    ///
    /// If the inputs differ, or the run ends meanwhile.
    pub(super) fn compare(&self, input: &Fingerprint) -> Result<()> {
        if !self.is_first() {
            return self.membership.send(0, &Message::Input(input.clone()));
        }
        let inputs = self.receive_from_all("the input fingerprint", |message| {
            if let Message::Input(facts) = message { Some(facts) } else { None }
        })?;
        let differing =
            inputs.iter().find_map(|(process, theirs)| Some((process, fingerprint::difference(theirs, input)?)));
        match differing {
            None => Ok(()),
            Some((process, (table, theirs, ours))) => Err(Error::unusable(format!(
                "{} reads other {table}: {theirs}; {} reads {ours}",
                self.membership.name(*process),
                self.membership.name(0),
            ))),
        }
    }

    /// Process 0 announces the start of the run and its id.
    pub(super) fn begin(&self, run_id: &str) {
        self.membership.send_to_all(&Message::Begin(run_id.into()));
    }

    /// Waits for process 0 to announce the run; returns its id.
    ///
    /// # Errors
    ///
    /// If the run ends meanwhile.
    pub(super) fn await_begin(&self) -> Result<String> {
        self.receive_from_first(
            "the start",
            |message| if let Message::Begin(run_id) = message { Some(run_id) } else { None },
        )
    }

    /// Waits for the shares of all other processes and commits: from here on they may end.
    ///
    /// # Errors
    ///
    /// If the run ends meanwhile.
    pub(super) fn gather(&self) -> Result<Vec<ProcessShare>> {
        let shares =
            self.receive_from_all(
                "the shares",
                |message| if let Message::Share(share) = message { Some(*share) } else { None },
            )?;
        if self.membership.commit() { Ok(shares.into_iter().map(|(_, share)| share).collect()) } else { self.ended() }
    }

    /// Process 0 announces that the tables are published.
    pub(super) fn announce(&self, report: &Report) {
        self.membership.send_to_all(&Message::Published(Box::new(report.clone())));
    }

    /// Another process reports its share, and waits until process 0 has published.
    ///
    /// # Errors
    ///
    /// If the run ends meanwhile.
    pub(super) fn hand_over(&self, share: ProcessShare) -> Result<Report> {
        self.membership.require_first_only();
        self.membership.send(0, &Message::Share(Box::new(share)))?;
        self.receive_from_first("the commit", |message| {
            if let Message::Published(report) = message { Some(*report) } else { None }
        })
    }

    /// Leaves the run; aborts it everywhere on failure. The first failure of the run is returned.
    pub(super) fn leave<R>(&self, done: Result<R>) -> Result<R> {
        let done = done.or_else(|error| {
            self.membership.fail(error);
            self.ended()
        });
        self.membership.resend_failure();
        self.membership.close();
        // Nothing is ever sent: the channel disconnects when the last listener thread ends.
        let _ = self.listeners.recv_timeout(SHUTDOWN_GRACE);
        self.membership.end();
        done
    }

    /// Aborts the run everywhere, if this is the first failure.
    pub(super) fn fail(&self, error: Error) {
        self.membership.fail(error);
    }

    fn ended<R>(&self) -> Result<R> {
        self.membership.check()?;
        Err(Error::failed("the run has ended"))
    }

    /// Waits for a matching message from every other process.
    fn receive_from_all<R>(&self, what: &str, wanted: impl Fn(Message) -> Option<R>) -> Result<Vec<(usize, R)>> {
        let mut all: Vec<(usize, R)> = Vec::new();
        while all.len() + 1 < self.processes() {
            let missing = (1..self.processes()).filter(|process| all.iter().all(|(sender, _)| sender != process));
            let missing: Vec<_> = missing.map(|process| self.membership.name(process)).collect();
            let (process, message) = self.receive(&format!("{what} of {}", missing.join(", ")))?;
            all.extend(wanted(message).map(|value| (process, value)));
        }
        Ok(all)
    }

    /// Waits for a matching message from process 0.
    fn receive_from_first<R>(&self, what: &str, wanted: impl Fn(Message) -> Option<R>) -> Result<R> {
        loop {
            if let (0, message) = self.receive(&format!("{what} of {}", self.membership.name(0)))?
                && let Some(value) = wanted(message)
            {
                return Ok(value);
            }
        }
    }

    /// Receives the next message, while waiting for `what`.
    fn receive(&self, what: &str) -> Result<(usize, Message)> {
        loop {
            match self.messages.recv_timeout(POLL_INTERVAL) {
                Ok(message) => return Ok(message),
                Err(_) if self.membership.has_failed() => return self.ended(),
                Err(_) if self.membership.is_publishing() => self.progress.enter(Phase::Publishing),
                Err(_) => {
                    self.progress.check_not_stopped()?;
                    self.progress.enter(Phase::Waiting(what.to_owned()));
                }
            }
        }
    }
}

/// A panic aborts the run in all processes.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.membership.has_left() {
            self.membership.fail(Error::failed("internal error: process panicked"));
            self.membership.close();
            self.membership.end();
        }
    }
}
