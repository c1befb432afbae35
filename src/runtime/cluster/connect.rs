//! How processes find each other, in whatever order they start.
//!
//! Each listens at its own address, and connects to those of lower numbers, again and again until they are there. Who
//! connects says who it is and what it was asked to do; who is asked compares, and lets it in or says why not. A process
//! has a seat for each other one, in which both of its connections are noted.
//!
//! ```text
//! process 1 ── Hello: number 1, control, what it was asked ──▶ process 0
//!           ◀───────── Welcome, or Refused: why, or Taken ────
//! process 1 ── Hello: number 1, data ────────────────────────▶ process 0      and then this one is timely's
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::config::ClusterConfig;
use crate::error::{Error, ErrorKind as Kind, Result};

use super::super::{Phase, Progress};
use super::LOOK;
use super::data::DataStream;
use super::facts::{Facts, difference};
use super::links::{Links, Listening};
use super::wire::{self, Answer, Failed, Hello, MAGIC, Purpose};

/// How long the other side may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// How long one try to connect may take.
const TRY: Duration = Duration::from_secs(2);
/// How long the own address may be taken by a run that ends.
const ENDING: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A connection that both sides want.
struct Connected {
    process: usize,
    purpose: Purpose,
    stream: TcpStream,
}

/// What the threads that connect share.
struct Meeting {
    links: Arc<Links>,
    facts: Facts,
    /// For each process: is it here, for control and for data, and if not, why not?
    seats: Mutex<Vec<Seat>>,
    connected: Sender<Connected>,
}

#[derive(Clone, Default)]
struct Seat {
    control: bool,
    data: bool,
    problem: Option<String>,
}

/// Connects to all other processes; gives the connections for timely.
pub(super) fn connect(
    config: &ClusterConfig,
    facts: Facts,
    links: &Arc<Links>,
    listening: Sender<Listening>,
    progress: &Progress,
) -> Result<Vec<Option<DataStream>>> {
    let (own, processes) = (config.process, config.hosts.len());
    let (connected, arrivals) = unbounded();
    let seats = Mutex::new(vec![Seat::default(); processes]);
    let meeting = Arc::new(Meeting { links: Arc::clone(links), facts, seats, connected });
    links.beat();
    let wait = Wait { started: Instant::now(), most: config.wait, progress };
    accept(&meeting, listen(&config.hosts[own], &wait)?);
    for process in 0..own {
        let (meeting, host) = (Arc::clone(&meeting), config.hosts[process].clone());
        thread::spawn(move || meeting.call(process, &host));
    }
    let mut data: Vec<Option<DataStream>> = (0..processes).map(|_| None).collect();
    for _ in 1..2 * processes - 1 {
        let Connected { process, purpose, stream } = meeting.next(&arrivals, &wait).inspect_err(|_| {
            // Who has just connected is told why all ends, too.
            for Connected { process, stream, .. } in arrivals.try_iter().filter(|new| new.purpose == Purpose::Control) {
                let _ = links.add(process, stream, listening.clone());
            }
        })?;
        match purpose {
            Purpose::Control => links.add(process, stream, listening.clone())?,
            Purpose::Data => {
                links.keep_data(stream.try_clone().map_err(Error::failed)?);
                data[process] = Some(DataStream::new(stream, process, links));
            }
        }
    }
    progress.enter(Phase::Preparing);
    Ok(data)
}

/// How long to wait, and who is told.
struct Wait<'a> {
    started: Instant,
    most: Duration,
    progress: &'a Progress,
}

impl Wait<'_> {
    /// Shows what is waited for, and fails when that has taken too long.
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

/// Listens at the own address; a name that is not known yet may become so.
fn listen(host: &str, wait: &Wait<'_>) -> Result<TcpListener> {
    loop {
        let cause = match TcpListener::bind(host) {
            Ok(listener) => return Ok(listener),
            Err(cause) => cause,
        };
        // An earlier run may be about to end.
        let is_taken = cause.kind() == ErrorKind::AddrInUse && wait.started.elapsed() > ENDING;
        if is_taken || cause.kind() == ErrorKind::PermissionDenied {
            return Err(Error::failed(format!("{host}: this process can't listen there: {cause}")));
        }
        wait.on(&format!("the own address {host}: {cause}"))?;
        thread::sleep(BETWEEN_TRIES);
    }
}

/// Lets others in, until this process leaves the run.
fn accept(meeting: &Arc<Meeting>, listener: TcpListener) {
    let meeting = Arc::clone(meeting);
    thread::spawn(move || {
        if listener.set_nonblocking(true).is_err() {
            return meeting.links.fail(Error::failed("a socket can't be looked at without waiting"));
        }
        loop {
            match listener.accept() {
                Ok((stream, from)) => {
                    let meeting = Arc::clone(&meeting);
                    thread::spawn(move || {
                        if let Err(cause) = meeting.receive(stream) {
                            tracing::warn!("a connection from {from} was closed: {cause}");
                        }
                    });
                }
                Err(_) if meeting.links.wait_until_over(Some(BETWEEN_LOOKS)) => return,
                Err(_) => {}
            }
        }
    });
}

impl Meeting {
    /// The next connection.
    fn next(&self, arrivals: &Receiver<Connected>, wait: &Wait<'_>) -> Result<Connected> {
        loop {
            match arrivals.recv_timeout(LOOK) {
                Ok(connected) => return Ok(connected),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::failed("a bug: nobody connects any more")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.links.has_failed() {
                self.links.check()?;
            }
            wait.on(&self.absent())?;
        }
    }

    /// The processes that are not here yet.
    fn absent(&self) -> String {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let absent = seats
            .iter()
            .enumerate()
            .filter(|(process, seat)| *process != self.links.process() && !(seat.control && seat.data));
        let names = absent.map(|(process, seat)| {
            let problem = seat.problem.as_deref().unwrap_or("it has not connected");
            format!("{}: {problem}", self.links.name(process))
        });
        names.collect::<Vec<_>>().join("; ")
    }

    /// Connects to a process, again and again until it is there.
    fn call(&self, process: usize, host: &str) {
        for purpose in [Purpose::Control, Purpose::Data] {
            loop {
                match self.introduce(host, purpose) {
                    Ok((stream, Answer::Welcome)) => {
                        self.seat(process, |seat| *seat.of(purpose) = true);
                        let _ = self.connected.send(Connected { process, purpose, stream });
                        break;
                    }
                    Ok((_, Answer::Refused(failed))) => return self.links.spread(failed),
                    Ok((_, Answer::Taken(problem))) => self.seat(process, |seat| seat.problem = Some(problem)),
                    Err(cause) => self.seat(process, |seat| seat.problem = Some(cause.to_string())),
                }
                if self.links.has_failed() || self.links.wait_until_over(Some(BETWEEN_TRIES)) {
                    return;
                }
            }
        }
    }

    /// Connects once, and says who this is.
    fn introduce(&self, host: &str, purpose: Purpose) -> io::Result<(TcpStream, Answer)> {
        let mut stream = open(host)?;
        in_time(&stream, Some(INTRODUCTION))?;
        stream.write_all(&MAGIC)?;
        let hello = Hello { process: self.links.process(), purpose, facts: self.facts.clone() };
        wire::send(&mut stream, &hello)?;
        let answer = wire::receive(&mut stream)?;
        in_time(&stream, None)?;
        Ok((stream, answer))
    }

    /// Hears who connects, and lets it in or says why not.
    fn receive(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        in_time(&stream, Some(INTRODUCTION))?;
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic)?;
        let (ours, version) = MAGIC.split_at(MAGIC.len() - 1);
        if magic.starts_with(ours) && !magic.ends_with(version) {
            let message = "a process has another version, and does not speak as this one does".to_owned();
            let failed = Failed { kind: Kind::Usage, message };
            self.links.spread(failed.clone());
            return wire::send(&mut stream, &Answer::Refused(failed));
        }
        if magic != MAGIC {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is no process of this version of millstream"));
        }
        let Hello { process, purpose, facts } = wire::receive(&mut stream)?;
        if let Err(answer) = self.admit(process, purpose, &facts) {
            return wire::send(&mut stream, &answer);
        }
        wire::send(&mut stream, &Answer::Welcome)?;
        in_time(&stream, None)?;
        let _ = self.connected.send(Connected { process, purpose, stream });
        Ok(())
    }

    /// Lets a process in if it is expected and asked to do the same. One that has no business here does this run no harm.
    fn admit(&self, process: usize, purpose: Purpose, facts: &Facts) -> Result<(), Answer> {
        let ours = self.links.name(self.links.process());
        if let Some(failed) = self.links.told() {
            return Err(Answer::Refused(failed));
        }
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seat) = seats.get_mut(process).filter(|_| process > self.links.process()) else {
            let message = format!("{ours} does not expect process {process}; is its number given twice?");
            return Err(Answer::Refused(Failed { kind: Kind::Usage, message }));
        };
        if *seat.of(purpose) {
            let cause = "is its number given twice, or has it started again while another run goes on?";
            return Err(Answer::Taken(format!("{ours} is connected to a process {process} already; {cause}")));
        }
        if let Some((name, theirs, own)) = difference(facts, &self.facts) {
            let message = format!("process {process} has another {name}: {theirs}; {ours} has {own}");
            let failed = Failed { kind: Kind::Usage, message };
            self.links.spread(failed.clone());
            return Err(Answer::Refused(failed));
        }
        *seat.of(purpose) = true;
        Ok(())
    }

    fn seat(&self, process: usize, change: impl FnOnce(&mut Seat)) {
        change(&mut self.seats.lock().unwrap_or_else(PoisonError::into_inner)[process]);
    }
}

impl Seat {
    fn of(&mut self, purpose: Purpose) -> &mut bool {
        match purpose {
            Purpose::Control => &mut self.control,
            Purpose::Data => &mut self.data,
        }
    }
}

/// Connects to one of a host's addresses.
fn open(host: &str) -> io::Result<TcpStream> {
    let mut problem = io::Error::new(ErrorKind::NotFound, "its name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TRY) {
            Ok(stream) => return Ok(stream),
            Err(cause) => problem = cause,
        }
    }
    Err(problem)
}

/// What is said must come in this time, and goes at once.
fn in_time(stream: &TcpStream, most: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(most)?;
    stream.set_write_timeout(most)
}
