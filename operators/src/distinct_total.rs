//! The distinct records of a collection, where times are totally ordered.
//!
//! Records are dealt into parts by their hash as they arrive, and counted part by part when their epoch is complete:
//! the counts of a part fit the cache of a core.

use std::hash::BuildHasher;

use differential_dataflow::{AsCollection, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::chunked_vec::ChunkedVec;
use crate::exchange::{LocalHash, PARTS, part_of, route};
use crate::stash::Stash;
use crate::state_log::StateLog;

/// Each record with a weight other than zero, once.
///
/// It is differential's `distinct_total` for weights that are never negative, with hash tables of counts in place of
/// the arrangement. *Updates per change*: ≤ 1. *Cost per change*: O(1). *State*: a count for each record; none once the
/// input is closed.
pub(crate) fn distinct_total<'scope, T: Epochs, K: Key>(
    records: VecCollection<'scope, T, K>,
    name: &str,
) -> VecCollection<'scope, T, K> {
    let by_record = Exchange::new(|(record, _, _): &(K, T, isize)| route(record));
    let scope = records.scope();
    let distinct = records.inner.unary_frontier(by_record, name, move |_, info| {
        let mut state_log = StateLog::new(&scope, info.global_id);
        let mut counts: Vec<RecordCounts<K>> = (0..PARTS).map(|_| HashMap::default()).collect();
        let (mut net, mut held) = (RecordCounts::default(), 0_isize);
        let mut stash: Stash<T, DealtRecords<K>> = Stash::default();
        move |(input, frontier), output| {
            let frontiers = [frontier];
            input.for_each(|message, updates| {
                stash.accept_updates(&message, updates.drain(..), DealtRecords::push);
            });
            while let Some((epoch, records)) = stash.next_complete(&frontiers) {
                let is_last = stash.is_closed(&frontiers);
                let (mut session, time) = (output.session(&epoch), epoch.time());
                for (counts, changes) in counts.iter_mut().zip(records.parts) {
                    changes.into_iter().for_each(|(record, diff)| *net.entry(record).or_default() += diff);
                    let changed = net.drain().filter_map(|(record, change)| change_count(counts, record, change));
                    let changed = changed.inspect(|(_, diff)| held += diff);
                    session.give_iterator(changed.map(|(record, diff)| (record, time.clone(), diff)));
                    if is_last {
                        *counts = HashMap::default();
                    }
                }
            }
            if stash.is_closed(&frontiers) {
                counts.iter_mut().for_each(|counts| *counts = HashMap::default());
                held = 0;
            }
            let bytes = || counts.iter().map(HashMap::allocation_size).sum();
            state_log.log(held.cast_unsigned(), bytes);
        }
    });
    distinct.as_collection()
}

type RecordCounts<K> = HashMap<K, isize, LocalHash>;

/// The records of an epoch and their weights, by part.
struct DealtRecords<K> {
    parts: Vec<ChunkedVec<(K, isize)>>,
    hasher: LocalHash,
}

impl<K> Default for DealtRecords<K> {
    fn default() -> Self {
        DealtRecords { parts: (0..PARTS).map(|_| ChunkedVec::default()).collect(), hasher: LocalHash::default() }
    }
}

impl<K: Key> DealtRecords<K> {
    fn push(&mut self, record: K, weight: isize) {
        let part = part_of(self.hasher.hash_one(&record));
        self.parts[part].push((record, weight));
    }
}

/// Changes how often a record is there. Returns it, with its new weight, if it is there for the first time or no more.
fn change_count<K: Key>(counts: &mut RecordCounts<K>, record: K, change: isize) -> Option<(K, isize)> {
    match counts.get_mut(&record) {
        None if change == 0 => None,
        None => {
            counts.insert(record.clone(), change);
            Some((record, 1))
        }
        Some(count) => {
            *count += change;
            if *count != 0 {
                return None;
            }
            counts.remove(&record);
            Some((record, -1))
        }
    }
}
