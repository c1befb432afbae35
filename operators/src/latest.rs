//! The last row written under each key.
//!
//! Rows of one epoch carry their position in the source, and the greatest wins, in whatever order they arrive and on
//! whichever worker they were read. A later epoch wins over an earlier one. `None` deletes.
//!
//! This is a timely operator and not a reduction because it is where every row enters: differential's own
//! `arrange_from_upsert` keeps a heap and a tree of what is pending, and a reduction would keep every version.
//! Here a row is looked up once, part by part in the cache, and stored once.
//!
//! *Cost per change*: O(1). *State*: one row for each key; none once the input is closed.

mod table;

use std::collections::BTreeMap;
use std::hash::Hash;
use std::num::NonZeroU64;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::{retain, route};
pub(crate) use table::{PARTS, Slot, Table};

/// Where a row stands in its source: of two rows with one key in one epoch, the one with the greater position wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(NonZeroU64);

impl Position {
    /// The position after `rows_before` others.
    #[must_use]
    pub fn after(rows_before: u64) -> Position {
        Position(NonZeroU64::MIN.saturating_add(rows_before))
    }
}

/// A row to be written under a key, or `None` to delete what is there.
pub type Upsert<K, V> = (K, Position, Option<V>);

/// The rows that upserts leave: for each key the last one written, unless that was `None`.
///
/// An upsert belongs to the epoch of the message that brings it. If two upserts of
/// one key share epoch and position, the greater row wins, and any row wins over a delete.
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
pub fn latest<'scope, T, K, V>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    name: &str,
) -> VecCollection<'scope, T, (K, V)>
where
    T: Timestamp + TotalOrder,
    K: ExchangeData + Hash,
    V: ExchangeData,
{
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| route(key));
    let rows = upserts.unary_frontier(by_key, name, |_, _| {
        let mut table = Table::default();
        let mut pending: BTreeMap<T, (Capability<T>, Vec<Upsert<K, V>>)> = BTreeMap::new();
        let mut open: Option<Capability<T>> = None;
        move |(input, frontier), output| {
            input.for_each(|capability, upserts| {
                let capability = retain(&capability);
                match &open {
                    Some(epoch) if epoch.time() == capability.time() => table.write_all(upserts.drain(..)),
                    _ => {
                        let time = capability.time().clone();
                        let (_, waiting) = pending.entry(time).or_insert_with(|| (capability, Vec::new()));
                        waiting.append(upserts);
                    }
                }
            });
            loop {
                if let Some(epoch) = open.take_if(|open| !frontier.less_equal(open.time())) {
                    let (mut session, time) = (output.session(&epoch), epoch.time());
                    let mut give =
                        |key: &K, row: &V, diff| session.give(((key.clone(), row.clone()), time.clone(), diff));
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
                    if frontier.is_empty() && pending.is_empty() {
                        table = Table::default();
                    }
                }
                // The earliest epoch is written as it arrives; a later one waits until no earlier one can come.
                let Some(first) = pending.first_entry() else { break };
                if open.is_some() || frontier.less_than(first.key()) {
                    break;
                }
                let (capability, waiting) = first.remove();
                table.write_all(waiting.into_iter());
                open = Some(capability);
            }
        }
    });
    rows.as_collection()
}
