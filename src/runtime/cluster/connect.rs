//! The rendezvous: processes connect to each other, in whatever order they start.
//!
//! Each process listens at its own address and connects to those with lower numbers, with retries. The connecting side
//! sends its number and config fingerprint; the listening side compares, and accepts or refuses it. Both the control
//! and the data connection of every peer are tracked.
//!
//! ```text
//! process 1 ── MAGIC ──────────────────────────────────▶ process 0
//!           ◀── challenge ──────────────────────────────
//!           ── JoinRequest: 1, control, fingerprint ───▶
//!           ◀── Accepted, Refused (why) or Taken ───────
//! process 1 ── likewise: 1, data ──────────────────────▶ process 0      handed to timely
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::config::{ClusterConfig, Secret};
use crate::error::{Error, ErrorKind as Kind, Result};

use super::super::{Phase, Progress};
use super::data::DataStream;
use super::fingerprint::{Fingerprint, difference};
use super::handshake::{Handshake, Handshakes, Statement, new_challenge};
use super::membership::{ListenerGuard, Membership};
use super::poll::POLL_INTERVAL;
use super::wire::{self, Challenge, ConnectionKind, JoinRequest, JoinResponse, MAGIC, RunFailure};

/// How long one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a process that fails tries to reach those that are not connected yet, to report why.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the own address may remain in use by an ending run.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const ACCEPT_INTERVAL: Duration = Duration::from_millis(20);

/// An accepted connection.
struct Connection {
    process: usize,
    purpose: ConnectionKind,
    stream: TcpStream,
}

/// State shared by the connecting threads.
struct Rendezvous {
    membership: Arc<Membership>,
    facts: Fingerprint,
    secret: Secret,
    /// The connections of each process, and why one is missing.
    peers: Mutex<Vec<PeerConnections>>,
    connected: Sender<Connection>,
}

#[derive(Clone, Default)]
struct PeerConnections {
    control: bool,
    data: bool,
    /// True if one of the two has refused the other, so that both know of the failure.
    is_refused: bool,
    problem: Option<String>,
}

/// Connects to all other processes; returns timely's connections.
pub(super) fn connect(
    config: &ClusterConfig,
    facts: Fingerprint,
    membership: &Arc<Membership>,
    listening: Sender<ListenerGuard>,
    progress: &Arc<Progress>,
) -> Result<Vec<Option<DataStream>>> {
    let (own, processes) = (config.process, config.hosts.len());
    let (connected, accepted) = unbounded();
    let peers = Mutex::new(vec![PeerConnections::default(); processes]);
    let rendezvous = Arc::new(Rendezvous {
        membership: Arc::clone(membership),
        facts,
        secret: config.secret.clone(),
        peers,
        connected,
    });
    membership.send_heartbeats(progress);
    let wait = JoinDeadline { started: Instant::now(), most: config.wait, progress };
    accept(&rendezvous, listen(&config.hosts[own], &wait)?);
    for process in 0..own {
        let (rendezvous, host) = (Arc::clone(&rendezvous), config.hosts[process].clone());
        thread::spawn(move || rendezvous.join(process, &host));
    }
    let mut data: Vec<Option<DataStream>> = (0..processes).map(|_| None).collect();
    for _ in 1..2 * processes - 1 {
        let Connection { process, purpose, stream } = rendezvous
            .next(&accepted, &wait)
            .inspect_err(|_| rendezvous.reach_rest(&accepted, &listening, progress))?;
        match purpose {
            ConnectionKind::Control => membership.add(process, stream, listening.clone())?,
            ConnectionKind::Data => {
                membership.register_data(stream.try_clone().map_err(Error::failed)?);
                data[process] = Some(DataStream::new(stream, process, membership));
            }
        }
    }
    progress.enter(Phase::Preparing);
    Ok(data)
}

/// The deadline of the rendezvous, and where waiting is displayed.
struct JoinDeadline<'a> {
    started: Instant,
    most: Duration,
    progress: &'a Progress,
}

impl JoinDeadline<'_> {
    /// Displays what is waited for; fails after the deadline.
    fn on(&self, what: &str) -> Result<()> {
        self.progress.check_not_stopped()?;
        let (waited, most) = (self.started.elapsed(), self.most.as_secs());
        if waited >= self.most {
            return Err(Error::failed(format!("waited {most} seconds for {what}")));
        }
        self.progress.enter(Phase::Waiting(format!("{what}; {} of {most} seconds", waited.as_secs())));
        Ok(())
    }
}

/// Listens at the own address; retries while its host name does not resolve.
fn listen(host: &str, wait: &JoinDeadline<'_>) -> Result<TcpListener> {
    loop {
        let cause = match TcpListener::bind(host) {
            Ok(listener) => return Ok(listener),
            Err(cause) => cause,
        };
        // An earlier run may be ending.
        let is_taken = cause.kind() == ErrorKind::AddrInUse && wait.started.elapsed() > ADDRESS_TIMEOUT;
        if is_taken || cause.kind() == ErrorKind::PermissionDenied {
            return Err(Error::failed(format!("{host}: this process can't listen there: {cause}")));
        }
        wait.on(&format!("the own address {host}: {cause}"))?;
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Accepts connections until this process leaves the run.
fn accept(rendezvous: &Arc<Rendezvous>, listener: TcpListener) {
    let rendezvous = Arc::clone(rendezvous);
    thread::spawn(move || {
        if listener.set_nonblocking(true).is_err() {
            return rendezvous.membership.fail(Error::failed("the listening socket can't be set to non-blocking mode"));
        }
        let (handshakes, mut next) = (Handshakes::default(), 0);
        loop {
            match listener.accept() {
                Ok((stream, from)) => {
                    let Ok(guard) = stream.try_clone().map(|stream| handshakes.begin(next, stream)) else { continue };
                    next += 1;
                    let rendezvous = Arc::clone(&rendezvous);
                    thread::spawn(move || {
                        let _guard = guard;
                        if let Err(cause) = rendezvous.receive(stream) {
                            tracing::warn!("connection from {from} closed: {cause}");
                        }
                    });
                }
                Err(_) if rendezvous.membership.wait_until_left(Some(ACCEPT_INTERVAL)) => return,
                Err(_) => {}
            }
        }
    });
}

impl Rendezvous {
    /// The next connection.
    fn next(&self, accepted: &Receiver<Connection>, wait: &JoinDeadline<'_>) -> Result<Connection> {
        loop {
            match accepted.recv_timeout(POLL_INTERVAL) {
                Ok(connected) => return Ok(connected),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::failed("internal error: the connecting threads have ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.membership.has_failed() {
                self.membership.check()?;
            }
            wait.on(&self.missing())?;
        }
    }

    /// After a failure, adds the processes that have just connected, and waits a while for those that have not: two
    /// processes that disagree may have met before either reached a third, which would wait for them.
    fn reach_rest(&self, accepted: &Receiver<Connection>, listening: &Sender<ListenerGuard>, progress: &Progress) {
        let since = Instant::now();
        loop {
            let has_reached_all = self.has_reached_all();
            for Connection { process, stream, .. } in
                accepted.try_iter().filter(|new| new.purpose == ConnectionKind::Control)
            {
                let _ = self.membership.add(process, stream, listening.clone());
            }
            let is_over = since.elapsed() > REPORT_TIMEOUT || progress.check_not_stopped().is_err();
            if has_reached_all || is_over || !self.membership.has_failed() {
                return;
            }
            progress.enter(Phase::Waiting(format!("a failure to be reported: {}", self.missing())));
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// True if every other process has a control connection to this one, or was refused.
    fn has_reached_all(&self) -> bool {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.membership.process();
        peers.iter().enumerate().all(|(process, peer)| process == own || peer.control || peer.is_refused)
    }

    /// The processes that are not connected yet, with the reasons.
    fn missing(&self) -> String {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = peers
            .iter()
            .enumerate()
            .filter(|(process, peer)| *process != self.membership.process() && !(peer.control && peer.data));
        let names = missing.map(|(process, peer)| {
            let problem = peer.problem.as_deref().unwrap_or("it has not connected");
            format!("{}: {problem}", self.membership.name(process))
        });
        names.collect::<Vec<_>>().join("; ")
    }

    /// Connects to a process, with retries.
    fn join(&self, process: usize, host: &str) {
        for purpose in [ConnectionKind::Control, ConnectionKind::Data] {
            loop {
                match self.request(host, purpose) {
                    Ok((stream, JoinResponse::Accepted(_))) => {
                        let _ = self.connected.send(Connection { process, purpose, stream });
                        self.update_peer(process, |peer| *peer.of(purpose) = true);
                        break;
                    }
                    Ok((_, JoinResponse::Refused(failed))) => {
                        self.update_peer(process, |peer| peer.is_refused = true);
                        return self.membership.abort(failed);
                    }
                    Ok((_, JoinResponse::Taken(problem))) => {
                        self.update_peer(process, |peer| peer.problem = Some(problem))
                    }
                    Err(cause) => self.update_peer(process, |peer| peer.problem = Some(cause.to_string())),
                }
                if self.membership.wait_until_left(Some(RETRY_INTERVAL)) {
                    return;
                }
            }
        }
    }

    /// Connects once and requests to join.
    fn request(&self, host: &str, purpose: ConnectionKind) -> io::Result<(TcpStream, JoinResponse)> {
        let mut stream = Handshake::new(open(host)?)?;
        stream.write_all(&MAGIC)?;
        let mut theirs = Challenge::default();
        stream.read_exact(&mut theirs)?;
        let (process, challenge) = (self.membership.process(), new_challenge()?);
        let statement = |side| Statement { side, process, purpose };
        let proof = statement(JOINING).prove(&self.secret, &theirs);
        wire::send(&mut stream, &JoinRequest { process, purpose, facts: self.facts.clone(), proof, challenge })?;
        let answer = wire::receive_in_handshake(&mut stream)?;
        if let JoinResponse::Accepted(proof) = &answer
            && !statement(ACCEPTING).is_proved(proof, &self.secret, &challenge)
        {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "it has another secret"));
        }
        Ok((stream.accepted()?, answer))
    }

    /// Receives a join request, and accepts or refuses it.
    fn receive(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = Handshake::new(stream)?;
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic)?;
        let (ours, version) = MAGIC.split_at(MAGIC.len() - 1);
        if magic.starts_with(ours) && !magic.ends_with(version) {
            let message = "a process has another version, with an incompatible protocol".to_owned();
            let failed = RunFailure { kind: Kind::Usage, message };
            // It may be one that this run waits for. If nobody is missing, or strangers are expected, it is not.
            if !self.has_reached_all() && self.secret.is_empty() {
                self.membership.abort(failed.clone());
            }
            return wire::send(&mut stream, &JoinResponse::Refused(failed));
        }
        if magic != MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a process of this version of millstream"));
        }
        let challenge = new_challenge()?;
        stream.write_all(&challenge)?;
        let JoinRequest { process, purpose, facts, proof, challenge: theirs } =
            wire::receive_in_handshake(&mut stream)?;
        let statement = |side| Statement { side, process, purpose };
        if !statement(JOINING).is_proved(&proof, &self.secret, &challenge) {
            let message =
                format!("{} has another secret (--secret-file)", self.membership.name(self.membership.process()));
            wire::send(&mut stream, &JoinResponse::Refused(RunFailure { kind: Kind::Usage, message }))?;
            return Err(io::Error::new(ErrorKind::PermissionDenied, "it has another secret"));
        }
        if let Err(answer) = self.admit(process, purpose, &facts) {
            let sent = wire::send(&mut stream, &answer);
            if matches!(answer, JoinResponse::Refused(_)) && process < self.membership.processes() {
                self.update_peer(process, |peer| peer.is_refused = true);
            }
            return sent;
        }
        let accepted = JoinResponse::Accepted(statement(ACCEPTING).prove(&self.secret, &theirs));
        let accepted = wire::send(&mut stream, &accepted).and_then(|()| stream.accepted());
        // The process will try again.
        let stream = accepted.inspect_err(|_| self.update_peer(process, |peer| *peer.of(purpose) = false))?;
        let _ = self.connected.send(Connection { process, purpose, stream });
        Ok(())
    }

    /// Accepts a process that is expected and has the same config. An unexpected one is refused without affecting the
    /// run.
    fn admit(&self, process: usize, purpose: ConnectionKind, facts: &Fingerprint) -> Result<(), JoinResponse> {
        let ours = self.membership.name(self.membership.process());
        if let Some(failed) = self.membership.reported() {
            return Err(JoinResponse::Refused(failed));
        }
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = peers.get_mut(process).filter(|_| process > self.membership.process()) else {
            let message = format!("{ours} does not expect process {process}; is its number assigned twice?");
            return Err(JoinResponse::Refused(RunFailure { kind: Kind::Usage, message }));
        };
        if *peer.of(purpose) {
            let cause = "is its number assigned twice, or was it restarted during a run?";
            return Err(JoinResponse::Taken(format!("{ours} is connected to a process {process} already; {cause}")));
        }
        if let Some((name, theirs, own)) = difference(facts, &self.facts) {
            let message = format!("process {process} has another {name}: {theirs}; {ours} has {own}");
            let failed = RunFailure { kind: Kind::Usage, message };
            self.membership.abort(failed.clone());
            return Err(JoinResponse::Refused(failed));
        }
        *peer.of(purpose) = true;
        Ok(())
    }

    fn update_peer(&self, process: usize, change: impl FnOnce(&mut PeerConnections)) {
        change(&mut self.peers.lock().unwrap_or_else(PoisonError::into_inner)[process]);
    }
}

impl PeerConnections {
    fn of(&mut self, purpose: ConnectionKind) -> &mut bool {
        match purpose {
            ConnectionKind::Control => &mut self.control,
            ConnectionKind::Data => &mut self.data,
        }
    }
}

/// Connects to one of a host's addresses.
fn open(host: &str) -> io::Result<TcpStream> {
    let mut problem = io::Error::new(ErrorKind::NotFound, "host name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(cause) => problem = cause,
        }
    }
    Err(problem)
}

/// The sides of a connection, in proofs.
const JOINING: &str = "joining";
const ACCEPTING: &str = "accepting";
