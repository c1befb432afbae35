//! Runs of several processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Done, Shop, check};

/// The timeout after which a process is considered hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running process.
pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<String>>,
}

/// So many addresses on this machine at which nobody listens, as `--hosts` takes them. They are not of those that the
/// system gives to whoever connects to something.
pub fn hosts(processes: usize) -> String {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).filter(is_free);
    ports.take(processes).map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

impl Shop {
    /// The command that runs one process's part of the job on this shop.
    pub fn process(&self, process: usize, hosts: &str, args: &[&str]) -> Command {
        let mut command = self.command(&["--workers", "1", "--process", &process.to_string(), "--hosts", hosts]);
        command.args(args);
        command
    }

    /// Runs the job on several processes, started in reverse order.
    pub fn run_on(&self, processes: usize, args: &[&str]) -> Vec<Done> {
        let hosts = hosts(processes);
        let start = |process| Running::start(self.process(process, &hosts, args));
        let mut running: Vec<_> = (0..processes).rev().map(start).collect();
        running.reverse();
        running.into_iter().map(Running::end).collect()
    }
}

/// How long to wait for a process: until it has said nothing for a while, and not for ever. However slow the machine
/// is, a process at work says something every ten seconds.
pub struct Patience {
    begun: Instant,
    since: Instant,
    said: usize,
}

impl Patience {
    pub fn new() -> Patience {
        Patience { begun: Instant::now(), since: Instant::now(), said: 0 }
    }

    /// True while a process may still do what it is to do.
    pub fn has_with(&mut self, running: &Running) -> bool {
        let said = running.log.lock().expect("no reader panicked").len();
        if said != self.said {
            (self.since, self.said) = (Instant::now(), said);
        }
        self.since.elapsed() < PATIENCE && self.begun.elapsed() < 10 * PATIENCE
    }
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        let follow = move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("no reader panicked").push_str(&(line + "\n"));
            }
            String::new()
        };
        let output = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&output);
        let read = move || {
            let (mut stdout, mut bytes) = (stdout, [0; 1 << 12]);
            while let Some(read) = stdout.read(&mut bytes).ok().filter(|read| *read > 0) {
                shown.lock().expect("no reader panicked").extend_from_slice(&bytes[..read]);
            }
            String::from_utf8_lossy(&shown.lock().expect("no reader panicked")).into_owned()
        };
        Running { child, log, output, readers: vec![thread::spawn(read), thread::spawn(follow)] }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panicked").clone()
    }

    /// What it has written to standard output.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().expect("no reader panicked")).into_owned()
    }

    /// Waits for this text in its log.
    pub fn await_line(&mut self, words: &str) {
        let mut patience = Patience::new();
        while !self.log().contains(words) {
            assert!(patience.has_with(self), "{words:?} was not said: {}", self.log());
            assert!(self.child.try_wait().expect("its status").is_none(), "it ended without {words:?}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// True if it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Sends it a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &self.child.id().to_string()]).status().expect("kill").success());
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
    }

    /// Waits until it ends; the status is -1 if it was killed.
    pub fn end(mut self) -> Done {
        let mut patience = Patience::new();
        let status = loop {
            match self.child.try_wait().expect("its status") {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(5)),
            }
            if !patience.has_with(&self) {
                self.kill();
                panic!("it went on and on: {}", self.log());
            }
        };
        let stdout = self.readers.remove(0).join().expect("read");
        self.readers.remove(0).join().expect("read");
        Done { status: status.code().unwrap_or(-1), stdout, stderr: self.log() }
    }
}

/// No process outlives its test.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that all processes ended with this status and these words.
pub fn check_all(done: &[Done], status: i32, words: &[&str]) {
    done.iter().for_each(|done| check(done, status, words));
}

/// All rows of all tables, regardless of their files.
pub fn all_rows(shop: &Shop) -> Vec<(String, Vec<String>)> {
    let rows = |table: String| {
        assert!(shop.output().join(&table).join("_SUCCESS").is_file(), "{table}");
        let mut rows: Vec<_> = shop.read(&table).iter().flat_map(super::as_json).collect();
        rows.sort();
        (table, rows)
    };
    shop.tables().into_iter().map(rows).collect()
}

/// The files of all tables.
pub fn all_files(shop: &Shop) -> Vec<(String, Vec<String>)> {
    shop.tables().into_iter().map(|table| (table.clone(), shop.files(&table))).collect()
}

/// Starts two processes on the shop.
pub fn start_two(shop: &Shop, args: [&[&str]; 2]) -> [Running; 2] {
    let hosts = hosts(2);
    [0, 1].map(|process| Running::start(shop.process(process, &hosts, args[process])))
}

/// The staging folders of runs.
pub fn work_of_runs(shop: &Shop) -> Vec<PathBuf> {
    let staging = fs::read_dir(shop.output().join(".millstream/staging"));
    staging.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
