//! The blocks of a log segment.
//!
//! A segment is a file of blocks of one sector each, created at its full length, all zeros. A block is written once:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | CRC-32 of the segment's number, the block's number and everything below |
//! | 4 | the number of blocks that were synced when this one was written |
//! | 504 | data |
//!
//! A disk writes a sector as a whole or not at all. So after a power cut a block is whole or still all zeros, and
//! anything else is damage. A block that is zeros, although a later one says that it was synced, is damage, too.

use crate::error::{Error, Result};

/// The size of a block, which is that of a sector.
pub(super) const BLOCK: usize = 512;
/// The data of a block.
pub(super) const DATA: usize = BLOCK - HEADER;
const HEADER: usize = 8;

/// Appends the blocks of some data; the last is filled up with zeros.
pub(super) fn encode(segment: u64, first: u32, synced: u32, data: &[u8], blocks: &mut Vec<u8>) {
    for (number, data) in (first..).zip(data.chunks(DATA)) {
        let start = blocks.len();
        blocks.extend_from_slice(&[0; 4]);
        blocks.extend_from_slice(&synced.to_le_bytes());
        blocks.extend_from_slice(data);
        blocks.resize(start + BLOCK, 0);
        let sum = checksum(segment, number, &blocks[start + 4..]);
        blocks[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn checksum(segment: u64, number: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// What a block is found to be.
enum Found<'a> {
    Zeros,
    Whole { synced: u32, data: &'a [u8] },
    Damaged,
}

fn decode(segment: u64, number: u32, block: &[u8]) -> Found<'_> {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    match word(0) == checksum(segment, number, &block[4..]) {
        true => Found::Whole { synced: word(4), data: &block[HEADER..] },
        false if block.iter().all(|byte| *byte == 0) => Found::Zeros,
        false => Found::Damaged,
    }
}

/// The data of the blocks of a segment up to the first one that was not written, or up to `end`.
///
/// # Errors
///
/// If a block is damaged; the message names its offset in the file.
pub(super) fn read(segment: u64, file: &[u8], end: Option<u32>) -> Result<Vec<u8>> {
    let mut data = Vec::with_capacity(file.len());
    let mut missing = None;
    let damaged = |number: u32, what: &str| {
        let offset = u64::from(number) * BLOCK as u64;
        Error::unusable(format!("damaged at byte {offset}: {what}; restore the state from a copy"))
    };
    for (number, block) in (0..).zip(file.chunks(BLOCK)).take_while(|(number, _)| end.is_none_or(|end| *number < end)) {
        match decode(segment, number, block) {
            Found::Damaged => return Err(damaged(number, "a block has the wrong checksum")),
            Found::Zeros if end.is_some() || number == 0 => return Err(damaged(number, "a block is missing")),
            Found::Zeros => missing = missing.or(Some(number)),
            Found::Whole { synced, data: content } => match missing {
                Some(missing) if synced > missing => return Err(damaged(missing, "a block is missing")),
                // It was written, but not synced, when the process died.
                Some(_) => {}
                None => data.extend_from_slice(content),
            },
        }
    }
    Ok(data)
}
