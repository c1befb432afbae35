//! Receiving a body: decompressed, bounded, and on disk if it is large.
//!
//! ```text
//! pieces ─▶ decompress ─▶ elements to lines (of JSON arrays) ─▶ file, digest
//! ```
//!
//! The file has no name, so nothing is left of it whatever happens.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::json_elements::JsonElements;
use super::problem::Problem;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// A body that was received as a whole.
pub(super) struct ReceivedBody {
    /// The path is that of the body for as long as this file is open.
    _file: File,
    pub(super) path: PathBuf,
    /// Of what it has, in hexadecimal digits.
    pub(super) digest: String,
    pub(super) bytes: u64,
}

impl ReceivedBody {
    pub(super) fn is_small(&self) -> bool {
        self.bytes <= SMALL
    }
}

/// The most bytes of a body, as it is sent and decompressed.
pub(super) const BODY_MAX: u64 = 64 << 20;
/// Bodies up to this size stay in memory.
const SMALL: u64 = 1 << 20;
/// How long a body may take, and the bytes a second by which that is extended.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 50 << 10;

/// Receives a body. Larger ones are put into a folder.
pub(super) async fn receive(
    mut body: Body,
    encoding: Encoding,
    has_elements: bool,
    expected: Option<u64>,
    folder: &Path,
) -> Result<ReceivedBody, Problem> {
    if expected.is_some_and(|expected| expected > BODY_MAX) {
        return Err(too_large());
    }
    let file = if is_small(encoding, expected) { in_memory() } else { unnamed(folder) };
    let file = file.map_err(|cause| {
        Problem::retry(StatusCode::INSUFFICIENT_STORAGE, 60, format!("the body can't be stored: {cause}"))
    })?;
    let mut decoder = BodyDecoder::new(StoredBody { file, hasher: Sha256::new(), bytes: 0 }, encoding, has_elements)?;
    let (started, mut received) = (Instant::now(), 0);
    loop {
        let until = started + PATIENCE + Duration::from_secs(received / SLOWEST);
        let frame = tokio::time::timeout_at(until, body.frame()).await;
        let slow = "the body came too slowly: wanted 50 KiB a second after the first 30 seconds";
        let frame = frame.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, slow))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|cause| Problem::bad_request(format!("the body was cut off: {cause}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        received += piece.len() as u64;
        if received > BODY_MAX {
            return Err(too_large());
        }
        // What is compressed may be a thousand times as large.
        if encoding == Encoding::Identity {
            decoder.write_all(&piece).map_err(|cause| unreadable(&cause))?;
            continue;
        }
        let written = tokio::task::spawn_blocking(move || decoder.write_all(&piece).map(|()| decoder)).await;
        let written = written.unwrap_or_else(|_| Err(io::Error::other("decompressing panicked")));
        decoder = written.map_err(|cause| unreadable(&cause))?;
    }
    let stored = decoder.finish().map_err(|cause| unreadable(&cause))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", stored.file.as_raw_fd()));
    let digest = stored.hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(ReceivedBody { _file: stored.file, path, digest, bytes: stored.bytes })
}

/// True for a body that says itself that it is small.
pub(super) fn is_small(encoding: Encoding, expected: Option<u64>) -> bool {
    encoding == Encoding::Identity && expected.is_some_and(|expected| expected <= SMALL)
}

fn too_large() -> Problem {
    let most = BODY_MAX >> 20;
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {most} MiB; send it in several requests"),
    )
}

fn unreadable(cause: &io::Error) -> Problem {
    match cause.kind() {
        ErrorKind::FileTooLarge => too_large(),
        _ if cause.raw_os_error().is_some() => {
            Problem::retry(StatusCode::INSUFFICIENT_STORAGE, 60, format!("the body can't be stored: {cause}"))
        }
        _ => Problem::bad_request(format!("the body can't be read: {cause}")),
    }
}

fn in_memory() -> io::Result<File> {
    Ok(File::from(memfd_create("body", MemfdFlags::CLOEXEC)?))
}

/// A file without a name.
fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // Not every file system can.
        Err(_) => in_memory(),
    }
}

/// Where a body is stored.
struct StoredBody {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Write for StoredBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > BODY_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a body is stored through once it is decompressed.
enum Contents {
    AsTheyAre(StoredBody),
    Elements(JsonElements<StoredBody>),
}

impl Contents {
    fn finish(self) -> io::Result<StoredBody> {
        match self {
            Contents::AsTheyAre(stored) => Ok(stored),
            Contents::Elements(elements) => elements.finish(),
        }
    }
}

impl Write for Contents {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Contents::AsTheyAre(stored) => stored.write(bytes),
            Contents::Elements(elements) => elements.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum BodyDecoder {
    Identity(Contents),
    Gzip(Box<MultiGzDecoder<Contents>>),
    Zstd(Box<ZstdDecoder>),
}

impl BodyDecoder {
    fn new(stored: StoredBody, encoding: Encoding, has_elements: bool) -> Result<BodyDecoder, Problem> {
        let contents = match has_elements {
            true => Contents::Elements(JsonElements::new(stored)),
            false => Contents::AsTheyAre(stored),
        };
        Ok(match encoding {
            Encoding::Identity => BodyDecoder::Identity(contents),
            Encoding::Gzip => BodyDecoder::Gzip(Box::new(MultiGzDecoder::new(contents))),
            Encoding::Zstd => {
                let mut decoder = Decoder::new().map_err(|cause| unreadable(&cause))?;
                let limited = decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX));
                limited.map_err(|cause| unreadable(&cause))?;
                BodyDecoder::Zstd(Box::new(ZstdDecoder { decoder, contents, is_within: true }))
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            BodyDecoder::Identity(contents) => contents.write_all(bytes),
            BodyDecoder::Gzip(decoder) => decoder.write_all(bytes),
            BodyDecoder::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<StoredBody> {
        match self {
            BodyDecoder::Identity(contents) => contents.finish(),
            BodyDecoder::Gzip(decoder) => decoder.finish()?.finish(),
            BodyDecoder::Zstd(decoder) if decoder.is_within => Err(ErrorKind::UnexpectedEof.into()),
            BodyDecoder::Zstd(decoder) => decoder.contents.finish(),
        }
    }
}

/// The largest window that a client may ask for (RFC 9659), as a power of two.
const WINDOW_LOG_MAX: u32 = 23;

/// A decoder that knows whether a frame has ended.
struct ZstdDecoder {
    decoder: Decoder<'static>,
    contents: Contents,
    is_within: bool,
}

impl ZstdDecoder {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (mut rest, mut buffer) = (bytes, [0_u8; 1 << 14]);
        loop {
            let mut input = InBuffer::around(rest);
            let mut output = OutBuffer::around(&mut buffer[..]);
            let hint = self.decoder.run(&mut input, &mut output)?;
            let (read, written) = (input.pos(), output.pos());
            self.is_within = hint != 0;
            self.contents.write_all(&buffer[..written])?;
            rest = &rest[read..];
            if rest.is_empty() && (hint == 0 || written < buffer.len()) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    async fn received(bytes: &[u8], encoding: Encoding, has_elements: bool) -> Result<String, String> {
        let body = Body::from(bytes.to_vec());
        let folder = std::env::temp_dir();
        let received = receive(body, encoding, has_elements, None, &folder).await;
        let received = received.map_err(|problem| format!("{problem:?}"))?;
        Ok(fs::read_to_string(&received.path).expect("it is there"))
    }

    #[tokio::test]
    async fn a_compressed_body_is_whole_or_refused() {
        // Also of exactly as many bytes as are decompressed at a time.
        let line = "{\"abcd\": 1234567}\n".repeat(1 << 10);
        let text = line[..1 << 14].to_owned();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).expect("written");
        let gzip = gzip.finish().expect("finished");
        let zstd = zstd::encode_all(text.as_bytes(), 0).expect("encoded");
        for (bytes, encoding) in [(gzip, Encoding::Gzip), (zstd, Encoding::Zstd)] {
            assert_eq!(received(&bytes, encoding, false).await.as_ref(), Ok(&text));
            let twice = [&bytes[..], &bytes].concat();
            assert_eq!(received(&twice, encoding, false).await, Ok(text.repeat(2)));
            for end in [0, 1, 5, bytes.len() / 2, bytes.len() - 5, bytes.len() - 1] {
                assert!(received(&bytes[..end], encoding, false).await.is_err(), "{encoding:?}: {end} bytes");
            }
            let bomb = vec![b' '; 65 << 20];
            let bomb = match encoding {
                Encoding::Zstd => zstd::encode_all(&bomb[..], 0).expect("encoded"),
                _ => {
                    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                    gzip.write_all(&bomb).expect("written");
                    gzip.finish().expect("finished")
                }
            };
            let refused = received(&bomb, encoding, false).await.expect_err("it is too large");
            assert!(refused.contains("64 MiB"), "{refused}");
        }
    }
}
