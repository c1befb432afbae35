//! Runs of several processes.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Done, Shop};

/// How long anything here may take before it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that goes on.
pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<String>>,
}

/// So many addresses on this machine at which nobody listens, as `--hosts` takes them. They are not of those that the system
/// gives to whoever connects to something.
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

    /// Runs the job on several processes, which start in the reverse of their order.
    pub fn run_on(&self, processes: usize, args: &[&str]) -> Vec<Done> {
        let hosts = hosts(processes);
        let start = |process| Running::start(self.process(process, &hosts, args));
        let mut running: Vec<_> = (0..processes).rev().map(start).collect();
        running.reverse();
        running.into_iter().map(Running::end).collect()
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
        let read = move || {
            let mut text = String::new();
            let _ = BufReader::new(stdout).read_to_string(&mut text);
            text
        };
        Running { child, log, readers: vec![thread::spawn(read), thread::spawn(follow)] }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panicked").clone()
    }

    /// Waits until it has said this.
    pub fn await_line(&mut self, words: &str) {
        let started = Instant::now();
        while !self.log().contains(words) {
            assert!(started.elapsed() < PATIENCE, "{words:?} was not said: {}", self.log());
            assert!(self.child.try_wait().expect("its status").is_none(), "it ended without {words:?}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
    }

    /// Waits until it ends; the status is -1 if it was killed.
    pub fn end(mut self) -> Done {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("its status") {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(5)),
            }
            if started.elapsed() > PATIENCE {
                self.kill();
                panic!("it went on and on: {}", self.log());
            }
        };
        let stdout = self.readers.remove(0).join().expect("read");
        self.readers.remove(0).join().expect("read");
        Done { status: status.code().unwrap_or(-1), stdout, stderr: self.log() }
    }
}
