//! What is said between this process and each other one, and who is still there.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::config::ClusterConfig;
use crate::error::{Error, ErrorKind as Kind, Result};

use super::super::failure::FirstError;
use super::wire::{self, Message, RunFailure};

/// How often a process says that it is there.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A process of which nothing is heard for so long is lost.
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what ends a data connection may take to be said: a process that fails says why, then it goes.
const FAILURE_GRACE: Duration = Duration::from_secs(2);

/// Held by each thread that listens to another process, as long as it does.
#[derive(Clone)]
pub(super) enum ListenerGuard {}

/// Connections to the other processes.
pub(super) struct Membership {
    process: usize,
    hosts: Vec<String>,
    /// To each process that is connected, to say something to it.
    writers: Vec<OnceLock<Mutex<TcpStream>>>,
    /// Timely's connections, to be cut when the run fails.
    data: Mutex<Vec<TcpStream>>,
    /// What becomes of processes of this number and above does not matter any more: all matter while they work, process 0
    /// to one that has handed over its share, and none once the tables are being put into place, for process 0, or are there.
    required_peers: AtomicUsize,
    /// True once process 0 has said that it puts tables into place.
    is_publishing: AtomicBool,
    /// What the others were reported.
    reported: Mutex<Option<RunFailure>>,
    failure: Arc<FirstError>,
    said: Sender<(usize, Message)>,
    has_left: Mutex<bool>,
    over: Condvar,
}

impl Membership {
    pub(super) fn new(config: &ClusterConfig, failure: &Arc<FirstError>, said: Sender<(usize, Message)>) -> Membership {
        let hosts = config.hosts.clone();
        Membership {
            process: config.process,
            writers: hosts.iter().map(|_| OnceLock::new()).collect(),
            data: Mutex::default(),
            required_peers: AtomicUsize::new(hosts.len()),
            is_publishing: AtomicBool::new(false),
            reported: Mutex::default(),
            failure: Arc::clone(failure),
            said,
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

    /// A process as messages name it.
    pub(super) fn name(&self, process: usize) -> String {
        format!("process {process} ({})", self.hosts[process])
    }

    /// Begins to listen to a process that has connected.
    pub(super) fn add(
        self: &Arc<Self>,
        process: usize,
        stream: TcpStream,
        listening: Sender<ListenerGuard>,
    ) -> Result<()> {
        let reader = stream.try_clone().map_err(Error::failed)?;
        reader.set_read_timeout(Some(HEARTBEAT_TIMEOUT)).map_err(Error::failed)?;
        stream.set_write_timeout(Some(HEARTBEAT_TIMEOUT)).map_err(Error::failed)?;
        if self.writers[process].set(Mutex::new(stream)).is_err() {
            return Err(Error::failed(format!("a bug: {} is connected twice", self.name(process))));
        }
        let membership = Arc::clone(self);
        thread::spawn(move || {
            membership.listen(process, reader);
            drop(listening);
        });
        Ok(())
    }

    /// Says every second that this process is there, until it leaves.
    pub(super) fn send_heartbeats(self: &Arc<Self>) {
        let membership = Arc::clone(self);
        thread::spawn(move || {
            while !membership.wait_until_left(Some(HEARTBEAT_INTERVAL)) {
                membership.send_to_all(&Message::Heartbeat);
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
                    // All is done: what process 0 does now is of no interest.
                    if matches!(message, Message::Published(_)) {
                        self.required_peers.store(0, Ordering::Release);
                    }
                    let _ = self.said.send((process, message));
                }
                Err(cause) => {
                    let seconds = HEARTBEAT_TIMEOUT.as_secs();
                    let reason = match cause.kind() {
                        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                            format!("nothing was heard of it for {seconds} seconds")
                        }
                        ErrorKind::InvalidData => format!("what it said is not understood: {cause}"),
                        _ => "it closed the connection, because it ended or was stopped".into(),
                    };
                    return self.lost(process, &reason);
                }
            }
        }
    }

    /// Says something to a process.
    pub(super) fn send(&self, process: usize, message: &Message) -> Result<()> {
        let Some(writer) = self.writers[process].get() else { return Ok(()) };
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&mut *writer, message).map_err(|cause| Error::failed(format!("{}: {cause}", self.name(process))))
    }

    /// Says something to all that are connected. Who can't be reached is found out by who listens to it.
    pub(super) fn send_to_all(&self, message: &Message) {
        for process in 0..self.processes() {
            let _ = self.send(process, message);
        }
    }

    /// Keeps a connection of timely's.
    pub(super) fn keep_data(&self, stream: TcpStream) {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        data.push(stream);
    }

    /// From here on the run does not need other processes than process 0; they may end.
    pub(super) fn require_first_only(&self) {
        self.required_peers.fetch_min(1, Ordering::AcqRel);
    }

    /// From here on the run needs no other process, unless it has failed already: then false.
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

    /// True once process 0 puts tables into place: nothing ends the run any more but what becomes of process 0.
    pub(super) fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Acquire)
    }

    /// A process is not there any more.
    fn lost(&self, process: usize, reason: &str) {
        if !self.is_required(process) {
            return;
        }
        let publishing = "; it was putting tables into place: each is the new one or the former one";
        let what_now = if self.is_publishing() { publishing } else { "" };
        let message = format!("{} was lost: {reason}{what_now}", self.name(process));
        self.abort(RunFailure { kind: Kind::Failed, message });
    }

    /// A connection of timely's is not there any more; if its process failed, it has said why, or is about to.
    pub(super) fn lost_data(&self, process: usize, cause: &str) {
        if !self.failure.wait(FAILURE_GRACE) {
            self.lost(process, &format!("the connection for data was closed: {cause}"));
        }
    }

    /// This process has failed.
    pub(super) fn fail(&self, error: Error) {
        let message = format!("{} failed: {error}", self.name(self.process));
        let failed = RunFailure { kind: error.kind(), message };
        self.report_failure(error, failed);
    }

    /// The run has failed.
    pub(super) fn abort(&self, failed: RunFailure) {
        self.report_failure(failed.clone().into(), failed);
    }

    /// Ends the run with an error, if it is the first, and tells all other processes.
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

    /// Tells all that are connected why the run has failed, if it has. Who knows already does not mind.
    pub(super) fn resend_failure(&self) {
        if let Some(failed) = self.reported() {
            self.send_to_all(&Message::Failed(failed));
        }
    }

    /// Why the run has failed, if it has.
    pub(super) fn reported(&self) -> Option<RunFailure> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_set()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// Has nothing more to say.
    pub(super) fn close(&self) {
        self.required_peers.store(0, Ordering::Release);
        self.shut_down(Shutdown::Write);
    }

    /// Listens no more.
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

    /// Waits until this process has left the run, or for as long as that; true if it has.
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
