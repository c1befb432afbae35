//! Timely's data connections, wrapped so that a lost one ends the run in order instead of panicking.
//!
//! Timely's communication threads panic on a lost connection and take the workers down. A broken stream therefore
//! reports the loss, then blocks reads and discards writes until the workers have stopped.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::membership::Membership;

/// The header of a timely message: six 8-byte integers, the fifth of which is the length of the payload.
const HEADER_BYTES: usize = 48;
const LENGTH: std::ops::Range<usize> = 32..40;

/// Tracks message boundaries. A message without payload is the last.
#[derive(Default)]
struct FrameTracker {
    header: Vec<u8>,
    /// Remaining payload bytes of the current message.
    rest: u64,
    is_last: bool,
}

impl FrameTracker {
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = if self.rest > 0 { self.rest } else { (HEADER_BYTES - self.header.len()) as u64 };
            let (some, more) = bytes.split_at(usize::try_from(wanted).map_or(bytes.len(), |n| n.min(bytes.len())));
            bytes = more;
            if self.rest > 0 {
                self.rest -= some.len() as u64;
                continue;
            }
            self.header.extend_from_slice(some);
            if self.header.len() == HEADER_BYTES {
                self.rest = self.header[LENGTH].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
                self.is_last = self.rest == 0;
                self.header.clear();
            }
        }
    }
}

/// A connection to another process.
pub(super) struct DataStream {
    stream: TcpStream,
    process: usize,
    membership: Arc<Membership>,
    framing: FrameTracker,
    is_broken: bool,
}

impl DataStream {
    pub(super) fn new(stream: TcpStream, process: usize, membership: &Arc<Membership>) -> DataStream {
        DataStream {
            stream,
            process,
            membership: Arc::clone(membership),
            framing: FrameTracker::default(),
            is_broken: false,
        }
    }

    /// Reports the broken connection once.
    fn report(&mut self, cause: &str) {
        if !self.is_broken {
            self.is_broken = true;
            self.membership.lost_data(self.process, cause);
        }
    }
}

impl Read for DataStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let cause = loop {
            match self.stream.read(buffer) {
                Ok(0) if self.framing.is_last => return Ok(0),
                Ok(0) => break "it ended early".to_owned(),
                Ok(read) => {
                    self.framing.follow(&buffer[..read]);
                    return Ok(read);
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => break cause.to_string(),
            }
        };
        self.report(&cause);
        self.membership.wait_until_left(None);
        // Ends timely's thread silently; it is never joined.
        std::panic::resume_unwind(Box::new("the run is over"))
    }
}

impl Write for DataStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.is_broken {
            return Ok(bytes.len());
        }
        match self.stream.write(bytes) {
            Err(cause) if cause.kind() != ErrorKind::Interrupted => {
                self.report(&cause.to_string());
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Stream for DataStream {
    fn try_clone(&self) -> Result<Self> {
        Ok(DataStream::new(self.stream.try_clone()?, self.process, &self.membership))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        // The peer may have disconnected already.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::unbounded;

    use super::super::super::failure::FirstError;
    use super::*;
    use crate::config::ClusterConfig;

    /// A stream to process 1, its other end, and the state of the run.
    fn connected() -> (DataStream, TcpStream, Arc<Membership>, Arc<FirstError>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let hosts = vec!["here:1".to_owned(), "there:2".to_owned()];
        let config = ClusterConfig { wait: Duration::ZERO, ..ClusterConfig::new(0, hosts) };
        let failure = Arc::default();
        let membership = Arc::new(Membership::new(&config, &failure, unbounded().0));
        (DataStream::new(listener.accept().expect("accepts").0, 1, &membership), other, membership, failure)
    }

    /// A message with a payload of zeros.
    fn message(length: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[LENGTH].copy_from_slice(&length.to_be_bytes());
        bytes.resize(HEADER_BYTES + usize::try_from(length).expect("short"), 0);
        bytes
    }

    #[test]
    fn a_stream_that_ends_as_timely_ends_it_is_over() {
        let (mut stream, mut other, _, failure) = connected();
        let sent = [message(1000), message(3), message(0)].concat();
        for some in sent.chunks(7) {
            other.write_all(some).expect("sent");
        }
        drop(other);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).expect("it ends");
        assert_eq!(read, sent);
        assert!(!failure.is_set());
    }

    #[test]
    fn a_stream_that_breaks_ends_the_run_and_then_swallows_all() {
        let (mut stream, mut other, membership, failure) = connected();
        // The payload looks like a final header, but is not one.
        other.write_all(&message(1000)[..900]).expect("sent");
        drop(other);
        let mut writer = stream.try_clone().expect("another handle");
        let reader = thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        assert!(failure.wait(Duration::from_secs(60)), "it is reported");
        let error = failure.check().expect_err("a failure").to_string();
        assert_eq!(error, "process 1 (there:2) was lost: the data connection closed: it ended early");
        for _ in 0..3 {
            writer.write_all(&[1; 1 << 16]).expect("it is swallowed");
        }
        assert!(!reader.is_finished(), "timely's thread waits until the workers have stopped");
        membership.end();
        assert!(reader.join().is_err(), "and ends");
    }
}
