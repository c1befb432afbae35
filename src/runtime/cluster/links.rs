//! What is said between this process and each other one, and who is still there.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::config::ClusterConfig;
use crate::error::{Error, ErrorKind as Kind, Result};

use super::super::failure::Failure;
use super::wire::{self, Failed, Message};

/// How often a process says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// A process of which nothing is heard for so long is lost.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// How long what ends a data connection may take to be said: a process that fails says why, then it goes.
const REASON: Duration = Duration::from_secs(2);

/// Held by each thread that listens to another process, as long as it does.
#[derive(Clone)]
pub(super) enum Listening {}

/// Connections to the other processes.
pub(super) struct Links {
    process: usize,
    hosts: Vec<String>,
    /// To each process that is connected, to say something to it.
    writers: Vec<OnceLock<Mutex<TcpStream>>>,
    /// Timely's connections, to be cut when the run fails.
    data: Mutex<Vec<TcpStream>>,
    /// Processes of this number and above may go: this run does not need them any more.
    needed: AtomicUsize,
    failure: Arc<Failure>,
    said: Sender<(usize, Message)>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Links {
    pub(super) fn new(config: &ClusterConfig, failure: &Arc<Failure>, said: Sender<(usize, Message)>) -> Links {
        let hosts = config.hosts.clone();
        Links {
            process: config.process,
            writers: hosts.iter().map(|_| OnceLock::new()).collect(),
            data: Mutex::default(),
            needed: AtomicUsize::new(hosts.len()),
            failure: Arc::clone(failure),
            said,
            is_over: Mutex::new(false),
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
    pub(super) fn add(self: &Arc<Self>, process: usize, stream: TcpStream, listening: Sender<Listening>) -> Result<()> {
        let reader = stream.try_clone().map_err(Error::failed)?;
        reader.set_read_timeout(Some(SILENCE)).map_err(Error::failed)?;
        stream.set_write_timeout(Some(SILENCE)).map_err(Error::failed)?;
        if self.writers[process].set(Mutex::new(stream)).is_err() {
            return Err(Error::failed(format!("a bug: {} is connected twice", self.name(process))));
        }
        let links = Arc::clone(self);
        thread::spawn(move || {
            links.listen(process, reader);
            drop(listening);
        });
        Ok(())
    }

    /// Says every second that this process is there, until it leaves.
    pub(super) fn beat(self: &Arc<Self>) {
        let links = Arc::clone(self);
        thread::spawn(move || {
            while !links.wait_until_over(Some(BEAT)) {
                links.send_to_all(&Message::Beat);
            }
        });
    }

    fn listen(&self, process: usize, mut reader: TcpStream) {
        loop {
            match wire::receive(&mut reader) {
                Ok(Message::Beat) => {}
                Ok(Message::Failed(failed)) => self.spread(failed),
                Ok(message) => drop(self.said.send((process, message))),
                Err(cause) => {
                    let seconds = SILENCE.as_secs();
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
    pub(super) fn need_first_only(&self) {
        self.needed.fetch_min(1, Ordering::AcqRel);
    }

    /// From here on the run needs no other process, unless it has failed already: then false.
    pub(super) fn need_nobody(&self) -> bool {
        self.needed.store(0, Ordering::Release);
        !self.has_failed()
    }

    /// A process is not there any more.
    fn lost(&self, process: usize, reason: &str) {
        let needed = self.needed.load(Ordering::Acquire);
        if process < needed {
            let late =
                if needed == 1 { "; it had all shares, so each table is the new one or the former one" } else { "" };
            let message = format!("{} was lost: {reason}{late}", self.name(process));
            self.spread(Failed { kind: Kind::Failed, message });
        }
    }

    /// A connection of timely's is not there any more; if its process failed, it has said why, or is about to.
    pub(super) fn lost_data(&self, process: usize, cause: &str) {
        if !self.failure.wait(REASON) {
            self.lost(process, &format!("the connection for data was closed: {cause}"));
        }
    }

    /// This process has failed.
    pub(super) fn fail(&self, error: Error) {
        let message = format!("{} failed: {error}", self.name(self.process));
        let failed = Failed { kind: error.kind(), message };
        self.tell(error, failed);
    }

    /// The run has failed.
    pub(super) fn spread(&self, failed: Failed) {
        self.tell(failed.clone().into(), failed);
    }

    /// Ends the run with an error, if it is the first, and tells all other processes.
    fn tell(&self, error: Error, failed: Failed) {
        if self.failure.set(error) {
            self.send_to_all(&Message::Failed(failed));
            let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            data.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_set()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// Has nothing more to say.
    pub(super) fn close(&self) {
        self.needed.store(0, Ordering::Release);
        self.shut_down(Shutdown::Write);
    }

    /// Listens no more.
    pub(super) fn end(&self) {
        self.shut_down(Shutdown::Both);
        *self.lock_over() = true;
        self.over.notify_all();
    }

    fn shut_down(&self, how: Shutdown) {
        for writer in self.writers.iter().filter_map(OnceLock::get) {
            let _ = writer.lock().unwrap_or_else(PoisonError::into_inner).shutdown(how);
        }
    }

    /// Waits until this process has left the run, or for as long as that; true if it has.
    pub(super) fn wait_until_over(&self, most: Option<Duration>) -> bool {
        let (is_over, wait) = (self.lock_over(), |is_over: &mut bool| !*is_over);
        match most {
            None => *self.over.wait_while(is_over, wait).unwrap_or_else(PoisonError::into_inner),
            Some(most) => *self.over.wait_timeout_while(is_over, most, wait).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    fn lock_over(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
