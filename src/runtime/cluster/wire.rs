//! The control protocol: length-prefixed JSON messages.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::report::{ProcessShare, Report};

use super::Fingerprint;

/// The first bytes of every connection; the last one is the protocol version.
pub(super) const MAGIC: [u8; 8] = *b"millstr\x02";
/// The maximum length of a message, and of one in a handshake.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
const HANDSHAKE_BYTES_MAX: u32 = 1 << 20;

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ConnectionKind {
    /// The messages of this module.
    Control,
    /// Timely's data exchange.
    Data,
}

/// Random bytes, which the other side signs.
pub(super) type Challenge = [u8; 32];

/// The first message on a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JoinRequest {
    pub(super) process: usize,
    pub(super) purpose: ConnectionKind,
    pub(super) facts: Fingerprint,
    /// That the sender knows the secret, by the challenge of the receiver.
    pub(super) proof: Vec<u8>,
    /// For the receiver's proof.
    pub(super) challenge: Challenge,
}

/// The response to a join request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum JoinResponse {
    /// With a proof that the receiver knows the secret.
    Accepted(Vec<u8>),
    /// Permanently: both processes end.
    Refused(RunFailure),
    /// Temporarily, with the reason: the process number is in use.
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

/// A message during a run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The process is alive.
    Heartbeat,
    /// The fingerprint of its input.
    Input(Fingerprint),
    /// The run with this id starts.
    Begin(String),
    /// What the process has read and written.
    Share(Box<ProcessShare>),
    /// All shares are written, and process 0 publishes.
    Publishing,
    /// The tables are published.
    Published(Box<Report>),
    /// The run has failed.
    Failed(RunFailure),
}

pub(super) fn send(stream: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "message too long"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(json);
    stream.write_all(&bytes)
}

pub(super) fn receive<M: DeserializeOwned>(stream: &mut impl Read) -> Result<M> {
    receive_at_most(MESSAGE_BYTES_MAX, stream)
}

/// Receives a message of a process that may be a stranger.
pub(super) fn receive_in_handshake<M: DeserializeOwned>(stream: &mut impl Read) -> Result<M> {
    receive_at_most(HANDSHAKE_BYTES_MAX, stream)
}

fn receive_at_most<M: DeserializeOwned>(most: u32, stream: &mut impl Read) -> Result<M> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > most {
        return Err(Error::new(ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    // Memory is taken as bytes arrive, not as they are announced.
    let mut json = Vec::new();
    if stream.take(length.into()).read_to_end(&mut json)? < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
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

    /// Changed messages are read or refused, and neither panic nor take the memory that they announce.
    #[test]
    fn damaged_messages_are_refused() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut request, mut message) = (Vec::new(), Vec::new());
        let facts = [("version".to_owned(), "0.1.0".to_owned())].into_iter().collect();
        let (purpose, challenge) = (ConnectionKind::Data, [7; 32]);
        let join = JoinRequest { process: 1, purpose, facts, proof: vec![1; 32], challenge };
        send(&mut request, &join).expect("sent");
        let failed = RunFailure { kind: error::ErrorKind::Failed, message: "because".into() };
        send(&mut message, &Message::Failed(failed)).expect("sent");
        for original in [request, message] {
            for _ in 0..5000 {
                let mut bytes = original.clone();
                for _ in 0..rng.usize(1..6) {
                    let at = rng.usize(0..bytes.len());
                    bytes[at] = rng.u8(..);
                }
                bytes.truncate(rng.usize(0..=bytes.len()));
                let _ = receive_in_handshake::<JoinRequest>(&mut bytes.as_slice());
                let _ = receive::<Message>(&mut bytes.as_slice());
            }
        }
    }
}
