//! Membership: control connections, heartbeats, and which processes are lost or still required.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::ClusterConfig;
use crate::error::{Error, ErrorKind as Kind, Result};

use super::super::Progress;
use super::super::failure::FirstError;
use super::wire::{self, Message, RunFailure};

/// How often heartbeats are sent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is checked whether this process is cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);
/// A process is lost after this time without a message.
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a failure message after a data connection closes: a failing process reports before it exits.
const FAILURE_GRACE: Duration = Duration::from_secs(2);

/// Held by each listener thread while it runs.
#[derive(Clone)]
pub(super) enum ListenerGuard {}

/// The processes of the run, and the control connections to them.
pub(super) struct Membership {
    process: usize,
    hosts: Vec<String>,
    /// The sending side of each connected process.
    writers: Vec<OnceLock<Mutex<TcpStream>>>,
    /// Timely's connections, closed when the run fails.
    data: Mutex<Vec<TcpStream>>,
    /// Processes with this number or above may leave without failing the run: all are required while they work, only
    /// process 0 after a share was handed over, and none after the commit.
    required_peers: AtomicUsize,
    /// True once process 0 has announced that it publishes.
    is_publishing: AtomicBool,
    /// The failure reported to the others.
    reported: Mutex<Option<RunFailure>>,
    failure: Arc<FirstError>,
    messages: Sender<(usize, Message)>,
    has_left: Mutex<bool>,
    over: Condvar,
}

impl Membership {
    pub(super) fn new(
        config: &ClusterConfig,
        failure: &Arc<FirstError>,
        messages: Sender<(usize, Message)>,
    ) -> Membership {
        let hosts = config.hosts.clone();
        Membership {
            process: config.process,
            writers: hosts.iter().map(|_| OnceLock::new()).collect(),
            data: Mutex::default(),
            required_peers: AtomicUsize::new(hosts.len()),
            is_publishing: AtomicBool::new(false),
            reported: Mutex::default(),
            failure: Arc::clone(failure),
            messages,
            has_left: Mutex::new(false),
            over: Condvar::new(),
            hosts,
        }
    }

    pub(super) fn process(&self) -> usize {
        self.process
    }

    pub(super) fn processes(&self) -> usize {
        self.hosts.len()
    }

    /// The name of a process in messages.
    pub(super) fn name(&self, process: usize) -> String {
        format!("process {process} ({})", self.hosts[process])
    }

    /// Starts listening to a connected process.
    pub(super) fn add(self: &Arc<Self>, process: usize, stream: TcpStream, guard: Sender<ListenerGuard>) -> Result<()> {
        let reader = stream.try_clone().map_err(Error::failed)?;
        reader.set_read_timeout(Some(HEARTBEAT_TIMEOUT)).map_err(Error::failed)?;
        stream.set_write_timeout(Some(HEARTBEAT_TIMEOUT)).map_err(Error::failed)?;
        if self.writers[process].set(Mutex::new(stream)).is_err() {
            return Err(Error::failed(format!("internal error: {} is connected twice", self.name(process))));
        }
        let membership = Arc::clone(self);
        thread::spawn(move || {
            membership.listen(process, reader);
            drop(guard);
        });
        Ok(())
    }

    /// Sends a heartbeat every second, until this process leaves; and the failure as soon as it is cancelled, for its
    /// workers may be in the middle of a long step.
    pub(super) fn send_heartbeats(self: &Arc<Self>, progress: &Arc<Progress>) {
        let (membership, progress) = (Arc::clone(self), Arc::clone(progress));
        thread::spawn(move || {
            let mut last = Instant::now();
            while !membership.wait_until_left(Some(CANCEL_INTERVAL)) {
                if last.elapsed() >= HEARTBEAT_INTERVAL {
                    last = Instant::now();
                    membership.send_to_all(&Message::Heartbeat);
                }
                if let Err(error) = progress.check_may_go_on() {
                    membership.fail(error);
                }
            }
        });
    }

    fn listen(&self, process: usize, mut reader: TcpStream) {
        loop {
            match wire::receive(&mut reader) {
                Ok(Message::Heartbeat) => {}
                Ok(Message::Failed(failed)) if self.is_required(process) => self.abort(failed),
                Ok(Message::Failed(_)) => {}
                Ok(Message::Publishing) => self.is_publishing.store(true, Ordering::Release),
                Ok(message) => {
                    // The run is complete: process 0 may leave.
                    if matches!(message, Message::Published(_)) {
                        self.required_peers.store(0, Ordering::Release);
                    }
                    let _ = self.messages.send((process, message));
                }
                Err(cause) => {
                    let seconds = HEARTBEAT_TIMEOUT.as_secs();
                    let reason = match cause.kind() {
                        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                            format!("no heartbeat for {seconds} seconds")
                        }
                        ErrorKind::InvalidData => format!("invalid message: {cause}"),
                        _ => "it closed the connection, because it ended or was stopped".into(),
                    };
                    return self.lost(process, &reason);
                }
            }
        }
    }

    /// Sends a message to a process, if it is connected.
    pub(super) fn send(&self, process: usize, message: &Message) -> Result<()> {
        let Some(writer) = self.writers[process].get() else { return Ok(()) };
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&mut *writer, message).map_err(|cause| Error::failed(format!("{}: {cause}", self.name(process))))
    }

    /// Sends a message to all connected processes. Errors are ignored: the listener threads detect lost processes.
    pub(super) fn send_to_all(&self, message: &Message) {
        for process in 0..self.processes() {
            let _ = self.send(process, message);
        }
    }

    /// Registers a data connection, to close it on failure.
    pub(super) fn register_data(&self, stream: TcpStream) {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        data.push(stream);
    }

    /// Requires only process 0 from here on; the others may leave.
    pub(super) fn require_first_only(&self) {
        self.required_peers.fetch_min(1, Ordering::AcqRel);
    }

    /// The commit point: no other process is required from here on. Returns false if the run has failed already.
    pub(super) fn commit(&self) -> bool {
        self.required_peers.store(0, Ordering::Release);
        let may_publish = !self.has_failed();
        if may_publish {
            self.send_to_all(&Message::Publishing);
        }
        may_publish
    }

    fn is_required(&self, process: usize) -> bool {
        process < self.required_peers.load(Ordering::Acquire)
    }

    /// True once process 0 publishes: only a failure of process 0 can end the run.
    pub(super) fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Acquire)
    }

    /// Handles the loss of a process.
    fn lost(&self, process: usize, reason: &str) {
        if !self.is_required(process) {
            return;
        }
        let publishing = "; it was publishing: the tables are all new ones, or all former ones";
        let what_now = if self.is_publishing() { publishing } else { "" };
        let message = format!("{} was lost: {reason}{what_now}", self.name(process));
        self.abort(RunFailure { kind: Kind::Failed, message });
    }

    /// Handles the loss of a data connection; a failing process usually reports the reason itself.
    pub(super) fn lost_data(&self, process: usize, cause: &str) {
        if !self.failure.wait(FAILURE_GRACE) {
            self.lost(process, &format!("the data connection closed: {cause}"));
        }
    }

    /// Aborts the run because this process failed.
    pub(super) fn fail(&self, error: Error) {
        let message = format!("{} failed: {error}", self.name(self.process));
        let failed = RunFailure { kind: error.kind(), message };
        self.report_failure(error, failed);
    }

    /// Aborts the run.
    pub(super) fn abort(&self, failed: RunFailure) {
        self.report_failure(failed.clone().into(), failed);
    }

    /// Records the error if it is the first, and reports it to all other processes.
    fn report_failure(&self, error: Error, failed: RunFailure) {
        if self.failure.set(error) {
            *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
            self.resend_failure();
            self.cut_data();
        }
    }

    fn cut_data(&self) {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        data.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Reports the failure, if any, to all connected processes again.
    pub(super) fn resend_failure(&self) {
        if let Some(failed) = self.reported() {
            self.send_to_all(&Message::Failed(failed));
        }
    }

    /// The reported failure, if any.
    pub(super) fn reported(&self) -> Option<RunFailure> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_set()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// Closes the sending side of all connections.
    pub(super) fn close(&self) {
        self.required_peers.store(0, Ordering::Release);
        self.shut_down(Shutdown::Write);
    }

    /// Closes all connections.
    pub(super) fn end(&self) {
        self.shut_down(Shutdown::Both);
        self.cut_data();
        *self.lock_over() = true;
        self.over.notify_all();
    }

    /// True if this process has left the run.
    pub(super) fn has_left(&self) -> bool {
        *self.lock_over()
    }

    fn shut_down(&self, how: Shutdown) {
        for writer in self.writers.iter().filter_map(OnceLock::get) {
            let _ = writer.lock().unwrap_or_else(PoisonError::into_inner).shutdown(how);
        }
    }

    /// Waits until this process has left the run, or for at most `most`; returns whether it has left.
    pub(super) fn wait_until_left(&self, most: Option<Duration>) -> bool {
        let (has_left, wait) = (self.lock_over(), |has_left: &mut bool| !*has_left);
        match most {
            None => *self.over.wait_while(has_left, wait).unwrap_or_else(PoisonError::into_inner),
            Some(most) => *self.over.wait_timeout_while(has_left, most, wait).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    fn lock_over(&self) -> MutexGuard<'_, bool> {
        self.has_left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
