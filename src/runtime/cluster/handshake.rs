//! What protects the rendezvous from strangers: deadlines, bounds, and proofs of a shared secret.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;

use super::wire::{Challenge, ConnectionKind};

/// How long a handshake may take in all, however slowly the other side sends.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are not accepted yet.
const HANDSHAKES_MAX: usize = 64;

/// A connection until it is accepted.
pub(super) struct Handshake {
    stream: TcpStream,
    until: Instant,
}

impl Handshake {
    pub(super) fn new(stream: TcpStream) -> io::Result<Handshake> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(Handshake { stream, until: Instant::now() + HANDSHAKE_TIMEOUT })
    }

    /// The connection, without a deadline.
    pub(super) fn accepted(self) -> io::Result<TcpStream> {
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        Ok(self.stream)
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        let late = || io::Error::new(ErrorKind::TimedOut, "the handshake took too long");
        Some(left).filter(|left| !left.is_zero()).ok_or_else(late).map(Some)
    }
}

impl Read for Handshake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Handshake {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The handshakes of a listener. If there are too many, the oldest makes room: that of a process takes milliseconds.
#[derive(Clone, Default)]
pub(super) struct Handshakes(Arc<Mutex<VecDeque<(u64, TcpStream)>>>);

/// One of them.
pub(super) struct HandshakeGuard {
    all: Handshakes,
    id: u64,
}

impl Handshakes {
    /// One more.
    pub(super) fn begin(&self, id: u64, stream: TcpStream) -> HandshakeGuard {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((id, stream));
        if all.len() > HANDSHAKES_MAX
            && let Some((_, oldest)) = all.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
        HandshakeGuard { all: self.clone(), id }
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != self.id);
    }
}

pub(super) fn new_challenge() -> io::Result<Challenge> {
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge).map_err(|cause| io::Error::other(format!("no random numbers: {cause}")))?;
    Ok(challenge)
}

/// What is signed: the side that proves, the process that joins, and for what.
pub(super) struct Statement<'a> {
    pub(super) side: &'a str,
    pub(super) process: usize,
    pub(super) purpose: ConnectionKind,
}

impl Statement<'_> {
    fn signature(&self, secret: &Secret, challenge: &Challenge) -> Hmac<Sha256> {
        let mut signature = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("a key may have any length");
        signature.update(challenge);
        signature.update(format!("{} {} {:?}", self.side, self.process, self.purpose).as_bytes());
        signature
    }

    /// A proof that this process knows the secret.
    pub(super) fn prove(&self, secret: &Secret, challenge: &Challenge) -> Vec<u8> {
        self.signature(secret, challenge).finalize().into_bytes().to_vec()
    }

    /// True if a proof was made with the same secret.
    pub(super) fn is_proved(&self, proof: &[u8], secret: &Secret, challenge: &Challenge) -> bool {
        self.signature(secret, challenge).verify_slice(proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_one_statement_one_challenge_and_one_secret() {
        let statement = |side, process| Statement { side, process, purpose: ConnectionKind::Data };
        let (secret, challenge) = (Secret::new(b"secret"), new_challenge().expect("random numbers"));
        let proof = statement("client", 1).prove(&secret, &challenge);
        assert!(statement("client", 1).is_proved(&proof, &secret, &challenge));
        assert!(!statement("server", 1).is_proved(&proof, &secret, &challenge));
        assert!(!statement("client", 2).is_proved(&proof, &secret, &challenge));
        assert!(!statement("client", 1).is_proved(&proof, &Secret::new(b"other"), &challenge));
        assert!(!statement("client", 1).is_proved(&proof, &secret, &new_challenge().expect("random numbers")));
        assert!(!statement("client", 1).is_proved(&[], &secret, &challenge));
    }

    #[test]
    fn the_oldest_handshake_makes_room() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("an address");
        let handshakes = Handshakes::default();
        let mut all = Vec::new();
        for id in 0..=HANDSHAKES_MAX as u64 {
            let stream = TcpStream::connect(address).expect("connects");
            let guard = handshakes.begin(id, stream.try_clone().expect("cloned"));
            all.push((stream, guard));
        }
        assert_eq!(all[0].0.read(&mut [0]).expect("closed"), 0);
        assert_eq!(handshakes.0.lock().expect("no panic").len(), HANDSHAKES_MAX);
        all.clear();
        assert_eq!(handshakes.0.lock().expect("no panic").len(), 0);
    }
}
