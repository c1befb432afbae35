//! Segments of the log: frames in blocks.
//!
//! A frame is its length (4 bytes), its kind (1 byte, not 0) and its payload. These five bytes lie in one block; where
//! there is no room for them, and at the end of what is written together, zeros follow up to the next block. The first
//! block of a segment has nothing but its header.

use std::io;
use std::ops::Range;

use crate::error::{Error, Result};

use super::blocks::{self, BLOCK, DATA};
use super::disk::DiskFile;

/// Bytes before the payload of a frame.
const HEAD: usize = 5;
/// How much is collected before it is written.
const WRITTEN_TOGETHER: usize = 1 << 20;
const MAGIC: &[u8] = b"millstream log 1";

/// A segment that is being written.
pub(super) struct SegmentWriter {
    file: Box<dyn DiskFile>,
    number: u64,
    /// The number of blocks of the file.
    capacity: u32,
    /// The first block that is not written.
    next: u32,
    /// The blocks before this one are synced.
    synced: u32,
    /// Data that is not written yet, from the start of a block.
    waiting: Vec<u8>,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// Begins a segment in a new file with this number of blocks.
    pub(super) fn begin(file: Box<dyn DiskFile>, number: u64, capacity: u32) -> io::Result<SegmentWriter> {
        let (waiting, buffer) = (MAGIC.to_vec(), Vec::new());
        let mut segment = SegmentWriter { file, number, capacity, next: 0, synced: 0, waiting, buffer };
        segment.sync()?;
        Ok(segment)
    }

    /// The number of blocks that hold a frame, wherever it begins.
    pub(super) fn blocks_for(payload: usize) -> usize {
        (HEAD + payload).div_ceil(DATA) + 1
    }

    /// True if a frame fits into what is left of the segment.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        let used = self.next as usize + self.waiting.len().div_ceil(DATA);
        used + SegmentWriter::blocks_for(payload) <= self.capacity as usize
    }

    /// Appends a frame. It is durable after the next [`sync`](Self::sync).
    pub(super) fn append(&mut self, kind: u8, payload: &[&[u8]]) -> io::Result<()> {
        if DATA - self.waiting.len() % DATA < HEAD {
            self.fill_block();
        }
        let length: usize = payload.iter().map(|part| part.len()).sum();
        self.waiting.extend_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
        self.waiting.push(kind);
        payload.iter().for_each(|part| self.waiting.extend_from_slice(part));
        if self.waiting.len() >= WRITTEN_TOGETHER {
            self.write(self.waiting.len() / DATA * DATA)?;
        }
        Ok(())
    }

    /// Ends what is written together: what follows begins in another block.
    pub(super) fn end_block(&mut self) {
        self.fill_block();
    }

    /// Writes all that waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.fill_block();
        self.write(self.waiting.len())
    }

    /// Brings all frames to stable storage.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.synced < self.next {
            self.file.sync()?;
            self.synced = self.next;
        }
        Ok(())
    }

    /// The blocks that are written.
    pub(super) fn written(&self) -> u32 {
        self.next
    }

    fn fill_block(&mut self) {
        self.waiting.resize(self.waiting.len().next_multiple_of(DATA), 0);
    }

    /// Writes so many bytes of what waits, which are whole blocks.
    fn write(&mut self, bytes: usize) -> io::Result<()> {
        self.buffer.clear();
        blocks::encode(self.number, self.next, self.synced, &self.waiting[..bytes], &mut self.buffer);
        self.file.write_at(u64::from(self.next) * BLOCK as u64, &self.buffer)?;
        self.next += u32::try_from(bytes / DATA).map_err(io::Error::other)?;
        self.waiting.drain(..bytes);
        Ok(())
    }
}

/// A segment that was read.
pub(super) struct SegmentData {
    data: Vec<u8>,
}

/// A frame of a segment.
pub(super) struct FoundFrame {
    pub(super) kind: u8,
    pub(super) payload: Range<usize>,
    /// The number of blocks up to its end.
    pub(super) blocks: u32,
}

impl SegmentData {
    /// Reads a segment: the blocks before `end`, or without it, all that were written.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub(super) fn read(file: &[u8], number: u64, capacity: u32, end: Option<u32>) -> Result<SegmentData> {
        // One that has ended is cut.
        let (found, wanted) = (file.len() as u64, u64::from(end.unwrap_or(capacity)) * BLOCK as u64);
        if found < wanted {
            return Err(Error::unusable(format!(
                "damaged: found {found} bytes, wanted {wanted}; restore the state from a copy"
            )));
        }
        let data = blocks::read(number, file, end)?;
        match data.starts_with(MAGIC) {
            true => Ok(SegmentData { data }),
            false => Err(Error::unusable("not a log of this version of millstream")),
        }
    }

    pub(super) fn payload(&self, frame: Range<usize>) -> &[u8] {
        &self.data[frame]
    }

    /// The frames that are whole. The last may have been cut off when the process died.
    pub(super) fn frames(&self) -> impl Iterator<Item = FoundFrame> + '_ {
        let mut at = DATA;
        std::iter::from_fn(move || {
            loop {
                let left = DATA - at % DATA;
                let head = self.data.get(at..at + HEAD)?;
                let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
                if left < HEAD || head[4] == 0 {
                    at += left;
                    continue;
                }
                let payload = at + HEAD..at + HEAD + length;
                (payload.end <= self.data.len()).then_some(())?;
                at = payload.end;
                let blocks = u32::try_from(at.div_ceil(DATA)).ok()?;
                return Some(FoundFrame { kind: head[4], payload, blocks });
            }
        })
    }
}
