//! What processes say to each other: a length, and so many bytes of JSON.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::report::Report;

use super::Fingerprint;

/// How a connection of ours begins: who begins otherwise is a stranger. The last byte is the version of what follows.
pub(super) const MAGIC: [u8; 8] = *b"millstr\x01";
/// No message is longer.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ConnectionKind {
    /// What is said in this file.
    Control,
    /// Timely's.
    Data,
}

/// What a process says first when it connects.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JoinRequest {
    pub(super) process: usize,
    pub(super) purpose: ConnectionKind,
    pub(super) facts: Fingerprint,
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum JoinResponse {
    Accepted,
    /// Never: both end.
    Refused(RunFailure),
    /// Not now, for this reason: another has its number.
    Taken(String),
}

/// Why a run has failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunFailure {
    pub(super) kind: error::ErrorKind,
    pub(super) message: String,
}

impl From<RunFailure> for error::Error {
    fn from(failed: RunFailure) -> error::Error {
        error::Error::new(failed.kind, failed.message)
    }
}

/// What is said while a run goes on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The process is there.
    Heartbeat,
    /// The input that it sees.
    Input(Fingerprint),
    /// The run of this name begins.
    Begin(String),
    /// What the process has written.
    Share(Box<Report>),
    /// All shares are there, and process 0 puts the tables into place.
    Publishing,
    /// The tables are in place.
    Published(Box<Report>),
    /// The run is over.
    Failed(RunFailure),
}

pub(super) fn send(stream: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the message is too long"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(json);
    stream.write_all(&bytes)
}

pub(super) fn receive<M: DeserializeOwned>(stream: &mut impl Read) -> Result<M> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut json = vec![0; length as usize];
    stream.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_nonsense_is_an_error() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Message::Begin("a run".into())).expect("sent");
        send(&mut bytes, &Message::Heartbeat).expect("sent");
        let mut stream = bytes.as_slice();
        assert!(matches!(receive(&mut stream), Ok(Message::Begin(run)) if run == "a run"));
        assert!(matches!(receive(&mut stream), Ok(Message::Heartbeat)));
        assert_eq!(receive::<Message>(&mut stream).expect_err("nothing more").kind(), ErrorKind::UnexpectedEof);
        let kind = |mut bytes: &[u8]| receive::<Message>(&mut bytes).expect_err("nonsense").kind();
        assert_eq!(kind(b"GET / HTTP/1.1\r\n"), ErrorKind::InvalidData);
        assert_eq!(kind(b"\0\0\0\x02{}"), ErrorKind::InvalidData);
    }
}
