//! Several processes that make one run: they find each other, agree on what is to be done, and end together.
//!
//! ```text
//! process 0   join ─ compare inputs ─ take the output ─▶ begin ─ work ─▶ all shares there ─ publish ─▶ report
//! process 1   join ─ its input ──────▲                    └──── work ─ its share ▲                      └ end
//! ```
//!
//! Timely does the work: what workers send each other goes through its own connections, one for each two processes. Beside
//! each lies one of ours, for what processes have to say to each other as such, and it beats: a process of which
//! nothing is heard is lost. Whatever goes wrong anywhere is reported to all, and ends the run everywhere.
//!
//! Process 0 takes the output folder, and puts the tables into their places once the shares of all are written. Until
//! it begins to, whatever is lost ends the run, and the former tables stay; from then on the run is done.

mod connect;
mod data;
mod fingerprint;
mod membership;
mod wire;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use crate::config::{ClusterConfig, RunConfig};
use crate::error::{Error, Result};
use crate::report::Report;

use super::failure::FirstError;
use super::{Phase, Progress};
use data::DataStream;
use fingerprint::Fingerprint;
use membership::{ListenerGuard, Membership};
use wire::Message;

/// How long a process that ends waits for the others to hear of it.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long what one process made may take to be seen by another, on a network volume.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that waits looks whether it still should.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The processes of a run, as one of them sees them.
pub(super) struct Cluster {
    membership: Arc<Membership>,
    /// To each other process, for timely; until the workers begin.
    data: Mutex<Vec<Option<DataStream>>>,
    /// What others say, and who says it.
    said: Receiver<(usize, Message)>,
    /// Ends when nobody else is listened to any more.
    listening: Receiver<ListenerGuard>,
    progress: Arc<Progress>,
}

impl Cluster {
    /// Finds the other processes, and makes sure that they were asked to do the same.
    ///
    /// # Errors
    ///
    /// If one does not come in time, or has another version or config.
    pub(super) fn join(
        run: &RunConfig,
        config: &ClusterConfig,
        failure: &Arc<FirstError>,
        progress: &Arc<Progress>,
    ) -> Result<Cluster> {
        let (sender, said) = unbounded();
        let (is_listening, listening) = unbounded();
        let membership = Arc::new(Membership::new(config, failure, sender));
        let mut cluster =
            Cluster { membership, data: Mutex::default(), said, listening, progress: Arc::clone(progress) };
        let facts = fingerprint::of_config(run, config.hosts.len());
        let data = match connect::connect(config, facts, &cluster.membership, is_listening, progress) {
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

    /// How many processes there are.
    pub(super) fn processes(&self) -> usize {
        self.membership.processes()
    }

    /// True for the one that takes the output, and publishes.
    pub(super) fn is_first(&self) -> bool {
        self.process() == 0
    }

    /// What timely needs to connect so many workers here with as many in each other process.
    pub(super) fn workers(&self, workers: usize) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
        let data = std::mem::take(&mut *self.data.lock().unwrap_or_else(PoisonError::into_inner));
        let hooks = Hooks::default();
        let inner = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
        let connected = initialize_networking_from_sockets(inner, data, self.process(), workers, hooks);
        let (builders, threads) = connected.map_err(Error::failed)?;
        // Dropping this would wait for the threads that send and receive, and panic where a connection is lost. They end
        // by themselves: when the workers of all processes are done, or when this process leaves the run.
        std::mem::forget(threads);
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(())))
    }

    /// Makes sure that all processes see the same input. Process 0 compares; it goes on when all agree, others at once.
    ///
    /// # Errors
    ///
    /// If they do not agree, or the run ends while this waits.
    pub(super) fn compare(&self, input: &Fingerprint) -> Result<()> {
        if !self.is_first() {
            return self.membership.send(0, &Message::Input(input.clone()));
        }
        let inputs =
            self.all("the input", |message| if let Message::Input(facts) = message { Some(facts) } else { None })?;
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

    /// Process 0 says that the run begins, and what it is called.
    pub(super) fn begin(&self, run_id: &str) {
        self.membership.send_to_all(&Message::Begin(run_id.into()));
    }

    /// Other processes are reported so.
    ///
    /// # Errors
    ///
    /// If the run ends while this waits.
    pub(super) fn await_begin(&self) -> Result<String> {
        self.first("the beginning", |message| if let Message::Begin(run_id) = message { Some(run_id) } else { None })
    }

    /// Waits until this process can open a sink that process 0 has opened.
    ///
    /// # Errors
    ///
    /// If it can't, in a time that is long for a network volume, or the run ends while this waits.
    pub(super) fn await_opened(&self, mut open: impl FnMut() -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !open()? {
            if since.elapsed() > VISIBILITY_TIMEOUT {
                return Err(Error::failed(
                    "process 0 has begun a run in its output folder, but not in this one; all processes must share one",
                ));
            }
            self.membership.check()?;
            self.progress.check_not_stopped()?;
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// What the other processes have written, once they all have: from here on the run does not need them any more.
    ///
    /// # Errors
    ///
    /// If the run ends while this waits.
    pub(super) fn gather(&self) -> Result<Vec<Report>> {
        let shares =
            self.all("the shares", |message| if let Message::Share(share) = message { Some(*share) } else { None })?;
        if self.membership.commit() { Ok(shares.into_iter().map(|(_, share)| share).collect()) } else { self.ended() }
    }

    /// Process 0 says that the tables are in place.
    pub(super) fn announce(&self, report: &Report) {
        self.membership.send_to_all(&Message::Published(Box::new(report.clone())));
    }

    /// Another process says what it has written, and waits until process 0 has published it.
    ///
    /// # Errors
    ///
    /// If the run ends while this waits.
    pub(super) fn hand_over(&self, share: Report) -> Result<Report> {
        self.membership.require_first_only();
        self.membership.send(0, &Message::Share(Box::new(share)))?;
        self.first("the end", |message| if let Message::Published(report) = message { Some(*report) } else { None })
    }

    /// Ends the run here, and everywhere if it failed. What failed first is the result.
    pub(super) fn leave<R>(&self, done: Result<R>) -> Result<R> {
        let done = done.or_else(|error| {
            self.membership.fail(error);
            self.ended()
        });
        self.membership.resend_failure();
        self.membership.close();
        // Nothing is ever sent here: it ends when the last thread that listens does.
        let _ = self.listening.recv_timeout(SHUTDOWN_GRACE);
        self.membership.end();
        done
    }

    /// Tells all processes that the run has failed, if this is the first that goes wrong.
    pub(super) fn fail(&self, error: Error) {
        self.membership.fail(error);
    }

    fn ended<R>(&self) -> Result<R> {
        self.membership.check()?;
        Err(Error::failed("the run has ended"))
    }

    /// Waits until each other process has said this.
    fn all<R>(&self, what: &str, wanted: impl Fn(Message) -> Option<R>) -> Result<Vec<(usize, R)>> {
        let mut all: Vec<(usize, R)> = Vec::new();
        while all.len() + 1 < self.processes() {
            let missing = (1..self.processes()).filter(|process| all.iter().all(|(there, _)| there != process));
            let missing: Vec<_> = missing.map(|process| self.membership.name(process)).collect();
            let (process, message) = self.next(&format!("{what} of {}", missing.join(", ")))?;
            all.extend(wanted(message).map(|said| (process, said)));
        }
        Ok(all)
    }

    /// Waits until process 0 has said this.
    fn first<R>(&self, what: &str, wanted: impl Fn(Message) -> Option<R>) -> Result<R> {
        loop {
            if let (0, message) = self.next(&format!("{what} by {}", self.membership.name(0)))?
                && let Some(said) = wanted(message)
            {
                return Ok(said);
            }
        }
    }

    /// What is said next, while this waits for something.
    fn next(&self, what: &str) -> Result<(usize, Message)> {
        loop {
            match self.said.recv_timeout(POLL_INTERVAL) {
                Ok(said) => return Ok(said),
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

/// A process that panics ends the run for the others too.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.membership.has_left() {
            self.membership.fail(Error::failed("a bug: it panicked"));
            self.membership.close();
            self.membership.end();
        }
    }
}
