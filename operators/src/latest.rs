//! The last row written under each key.
//!
//! Rows of one epoch carry their position in the source, and the greatest wins, in whatever order they arrive and on
//! whichever worker they were read. A later epoch wins over an earlier one. `None` deletes.
//!
//! This is a timely operator and not a reduction because every row passes it: differential's `arrange_from_upsert`
//! keeps a heap and a tree of pending upserts, and a reduction would keep every version. Here a row is looked up
//! once, partition by partition in the cache, and stored once.
//!
//! *Cost per change*: O(1). *State*: one row for each key; none once the input is closed.

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::exchange::route;
use crate::stash::{Accepted, Stash};
use crate::state_log::StateLog;
use crate::upsert::Upsert;
use crate::upsert_table::UpsertTable;

/// The rows that upserts leave: for each key the last one written, unless that was `None`.
///
/// An upsert belongs to the epoch of the message that brings it. If two upserts of
/// one key share epoch and position, the greater row wins, and any row wins over a delete.
///
/// # Panics
///
/// If a worker has about 2³² keys: its table has 256 parts of at most 2²⁴ − 1 keys.
///
/// ```
/// use millstream_operators::{Position, latest};
/// use timely::dataflow::operators::capture::{Capture, Extract};
/// use timely::dataflow::operators::vec::Input;
///
/// const TEA: u32 = 7;
/// let updates = timely::execute_directly(|worker| {
///     let (mut prices, updates) = worker.dataflow::<u64, _, _>(|scope| {
///         let (prices, upserts) = scope.new_input();
///         (prices, latest(upserts, "Prices").inner.capture())
///     });
///     prices.send((TEA, Position::after(1), Some(250)));
///     prices.send((TEA, Position::after(0), Some(240))); // arrives later, but stands before
///     prices.advance_to(1);
///     prices.send((TEA, Position::after(0), None));
///     updates
/// });
/// let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
/// assert_eq!(updates, [((TEA, 250), 0, 1), ((TEA, 250), 1, -1)]);
/// ```
pub fn latest<'scope, T: Epochs, K: Key, V: ExchangeData>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    name: &str,
) -> VecCollection<'scope, T, (K, V)> {
    latest_inspect(upserts, name, |_, _, _| ())
}

/// As [`latest`], and calls `inspect` with each key under which one epoch writes different rows, and two of them.
/// Deletes are no rows.
///
/// # Panics
///
/// As `latest`.
pub fn latest_inspect<'scope, T: Epochs, K: Key, V: ExchangeData>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    name: &str,
    inspect: impl FnMut(&K, &V, &V) + 'static,
) -> VecCollection<'scope, T, (K, V)> {
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| route(key));
    let scope = upserts.scope();
    let rows = upserts.unary_frontier(by_key, name, |_, info| {
        let mut state_log = StateLog::new(&scope, info.global_id);
        let mut table = UpsertTable::new(format!("latest {name:?}"), inspect);
        let mut stash: Stash<T, Vec<Upsert<K, V>>> = Stash::default();
        move |(input, frontier), output| {
            let frontiers = [frontier];
            input.for_each(|message, upserts| match stash.accept(&message) {
                Some(Accepted::Open) => table.write_all(upserts.drain(..)),
                Some(Accepted::Held(waiting)) => waiting.append(upserts),
                None => (),
            });
            loop {
                // The earliest epoch is written as it arrives; a later one waits until no earlier one can begin.
                if let Some(waiting) = stash.open(&frontiers) {
                    table.write_all(waiting.drain(..));
                }
                let Some((epoch, _)) = stash.next_complete(&frontiers) else { break };
                let (mut session, time) = (output.session(&epoch), epoch.time());
                table.read_ahead();
                settle(&mut table, |key, row, diff| session.give(((key.clone(), row.clone()), time.clone(), diff)));
            }
            if stash.is_closed(&frontiers) {
                table.clear();
            }
            state_log.log(table.len(), || table.bytes());
        }
    });
    rows.as_collection()
}

/// Ends the open epoch: gives the rows that were replaced or deleted, and those written.
fn settle<K: Key, V: ExchangeData>(table: &mut UpsertTable<K, V>, mut give: impl FnMut(&K, &V, isize)) {
    while let Some(written) = table.settle() {
        for (slot, before) in written.slots() {
            let (key, after) = table.get(slot);
            if before.as_ref() != after {
                before.iter().for_each(|row| give(key, row, -1));
                after.iter().for_each(|row| give(key, row, 1));
            }
            if after.is_none() {
                table.remove(slot);
            }
        }
    }
}
