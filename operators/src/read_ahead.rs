//! Reading what is about to be looked up, so that cache misses overlap.
//!
//! While a processor waits for memory, it goes on with the next few hundred instructions. If each look-up is followed
//! by work on what it found, the next look-up is too far away to begin. Look-ups that follow each other directly
//! overlap, and the work then finds everything in the cache. (Prefetching would need `unsafe`, and the addresses, which
//! a look-up finds step by step.)

use std::hint::black_box;

/// How many look-ups are made together.
pub(crate) const TOGETHER: usize = 64;

/// Makes these reads. What they yield must have been read from memory: not a reference to it.
pub(crate) fn read_ahead<T>(reads: impl Iterator<Item = T>) {
    reads.for_each(|read| drop(black_box(read)));
}
