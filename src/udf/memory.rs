//! A bounded cache of function results by argument.

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::failure::{Outcome, RowFailure};
use super::value::Value;

/// The recently used outcomes of a function.
pub(super) struct Memory<O>(Cache<Box<[u8]>, O, ByBytes>);

/// Overhead per entry: a hash-table slot, a queue position and two lengths.
const ENTRY_BYTES: usize = 64;

#[derive(Clone)]
struct ByBytes;

impl<B: Value> Weighter<Box<[u8]>, Outcome<B>> for ByBytes {
    fn weight(&self, arguments: &Box<[u8]>, outcome: &Outcome<B>) -> u64 {
        let heap = match outcome {
            Ok(value) => value.as_ref().map_or(0, Value::heap_bytes),
            Err(RowFailure { reason, .. }) => reason.len(),
        };
        (ENTRY_BYTES + size_of::<Outcome<B>>() + arguments.len() + heap) as u64
    }
}

impl<B: Value> Memory<Outcome<B>> {
    pub(super) fn new(bytes_max: usize) -> Self {
        let entries = bytes_max / (ENTRY_BYTES + size_of::<Outcome<B>>() + 16);
        Memory(Cache::with_weighter(entries, bytes_max as u64, ByBytes))
    }

    /// The outcomes of `rows`: cached ones, and those of one `call` with the distinct uncached rows.
    pub(super) fn outcomes<R: Clone>(
        &self,
        rows: &[R],
        encode: impl Fn(&R, &mut Vec<u8>),
        call: impl FnOnce(&[R]) -> Vec<Outcome<B>>,
    ) -> Vec<Outcome<B>> {
        let mut bytes = Vec::new();
        let mut outcomes: Vec<Option<Outcome<B>>> = Vec::with_capacity(rows.len());
        // Uncached arguments, each with the indices of its rows.
        let mut unknown = indexmap::IndexMap::<Box<[u8]>, Vec<usize>, foldhash::fast::RandomState>::default();
        for (index, row) in rows.iter().enumerate() {
            bytes.clear();
            encode(row, &mut bytes);
            let known = self.0.get(bytes.as_slice());
            if known.is_none() {
                match unknown.get_mut(bytes.as_slice()) {
                    Some(same) => same.push(index),
                    None => drop(unknown.insert(bytes.as_slice().into(), vec![index])),
                }
            }
            outcomes.push(known);
        }
        let uncached: Vec<R> = unknown.values().map(|same| rows[same[0]].clone()).collect();
        let answers = if uncached.is_empty() { Vec::new() } else { call(&uncached) };
        for ((arguments, same), answer) in unknown.into_iter().zip(answers) {
            same.into_iter().for_each(|index| outcomes[index] = Some(answer.clone()));
            self.0.insert(arguments, answer);
        }
        outcomes.into_iter().map(|outcome| outcome.expect("uncached rows were called")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Text;

    #[test]
    fn a_memory_does_not_grow_beyond_its_bound() {
        let memory = Memory::<Outcome<Text>>::new(1 << 16);
        let encode = |row: &u32, bytes: &mut Vec<u8>| bytes.extend(row.to_le_bytes());
        for row in 0..10_000_u32 {
            let answer = Ok(Some(Text::from("x".repeat(row as usize % 200))));
            let given = memory.outcomes(&[row], encode, |_| vec![answer.clone()]);
            assert_eq!(given, std::slice::from_ref(&answer));
        }
        assert!((1 << 15..=1 << 16).contains(&memory.0.weight()), "{} bytes", memory.0.weight());
    }
}
