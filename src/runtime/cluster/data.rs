//! Connections as timely uses them: one that breaks ends the run in order, where timely would panic.
//!
//! Timely's threads panic on a lost connection, and take the workers with them. So a stream that breaks reports
//! that, and then reads nothing more, and swallows what is written, until the workers have stopped.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::links::Links;

/// Timely ends a connection with a header of zeros.
const END_BYTES: usize = 48;

/// A connection to another process.
pub(super) struct DataStream {
    stream: TcpStream,
    process: usize,
    links: Arc<Links>,
    /// How many zeros were read last.
    zeros: usize,
    is_broken: bool,
}

impl DataStream {
    pub(super) fn new(stream: TcpStream, process: usize, links: &Arc<Links>) -> DataStream {
        DataStream { stream, process, links: Arc::clone(links), zeros: 0, is_broken: false }
    }

    /// Says that the connection broke, if that ends the run.
    fn report(&mut self, cause: &str) {
        if !self.is_broken {
            self.is_broken = true;
            self.links.lost_data(self.process, cause);
        }
    }
}

impl Read for DataStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let cause = loop {
            match self.stream.read(buffer) {
                Ok(0) if self.zeros >= END_BYTES => return Ok(0),
                Ok(0) => break "it ended early".to_owned(),
                Ok(read) => {
                    let zeros = buffer[..read].iter().rev().take_while(|byte| **byte == 0).count();
                    self.zeros = if zeros == read { self.zeros + read } else { zeros };
                    return Ok(read);
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => break cause.to_string(),
            }
        };
        self.report(&cause);
        self.links.wait_until_over(None);
        // Ends timely's thread without a word; nobody waits for it.
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
        Ok(DataStream::new(self.stream.try_clone()?, self.process, &self.links))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        // The other side may have gone already.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}
