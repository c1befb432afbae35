//! Of versioned upserts, those that leave the newest version of each key.
//!
//! Rows of one key may arrive in any order, in one epoch or in several, and the one with the greatest version is to
//! stay. [`latest`](super::latest()) behind this operator then keeps it.
//!
//! The definition is a reduction to the maximum of `(version, epoch, position, row)`. It would keep every version of
//! every row. This operator keeps the greatest version of each key and no row.
//!
//! *Cost per change*: O(1). *State*: a version for each key that was ever written, since a delete has one, too; none
//! once the input is closed.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use differential_dataflow::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::exchange::{LocalHash, route};
use crate::stash::{Accepted, Stash};
use crate::upsert::{Position, Upsert};

/// Passes on the upserts that leave, under each key, the row with the greatest version.
///
/// Of several rows of one key and version, the last one counts: that of the latest epoch, in it the one with the
/// greatest position, and of those the greatest row; any row wins over a delete. At most one upsert of a key is passed
/// on in an epoch, once the epoch is complete.
///
/// ```
/// use millstream_operators::{Position, latest, newest};
/// use timely::dataflow::operators::capture::{Capture, Extract};
/// use timely::dataflow::operators::vec::Input;
///
/// const TEA: u32 = 7;
/// const APRIL: u32 = 4;
/// const MAY: u32 = 5;
/// let updates = timely::execute_directly(|worker| {
///     let (mut prices, updates) = worker.dataflow::<u64, _, _>(|scope| {
///         let (prices, versions) = scope.new_input();
///         (prices, latest(newest(versions, "Newest prices"), "Prices").inner.capture())
///     });
///     prices.send((MAY, (TEA, Position::after(0), Some(250))));
///     prices.advance_to(1);
///     prices.send((APRIL, (TEA, Position::after(0), Some(240)))); // too late
///     prices.advance_to(2);
///     prices.send((MAY, (TEA, Position::after(0), None)));
///     updates
/// });
/// let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
/// assert_eq!(updates, [((TEA, 250), 0, 1), ((TEA, 250), 2, -1)]);
/// ```
pub fn newest<'scope, T: Epochs, W: ExchangeData, K: Key, V: ExchangeData>(
    upserts: StreamVec<'scope, T, (W, Upsert<K, V>)>,
    name: &str,
) -> StreamVec<'scope, T, Upsert<K, V>> {
    let by_key = Exchange::new(|(_, (key, _, _)): &(W, Upsert<K, V>)| route(key));
    upserts.unary_frontier(by_key, name, |_, _| {
        let mut versions: HashMap<K, W, LocalHash> = HashMap::default();
        let mut stash: Stash<T, EpochRows<W, K, V>> = Stash::default();
        move |(input, frontier), output| {
            let frontiers = [frontier];
            input.for_each(|message, upserts| {
                // No epoch is ever opened, so that all are held.
                if let Some(Accepted::Held(rows)) = stash.accept(&message) {
                    upserts.drain(..).for_each(|upsert| rows.write(upsert));
                }
            });
            while let Some((epoch, rows)) = stash.next_complete(&frontiers) {
                let is_last = stash.is_closed(&frontiers);
                let mut session = output.session(&epoch);
                for (key, (version, position, row)) in rows.0 {
                    match versions.entry(key) {
                        Entry::Occupied(known) if *known.get() > version => {}
                        Entry::Occupied(mut known) => {
                            session.give((known.key().clone(), position, row));
                            known.insert(version);
                        }
                        Entry::Vacant(vacant) if is_last => session.give((vacant.into_key(), position, row)),
                        Entry::Vacant(vacant) => {
                            session.give((vacant.key().clone(), position, row));
                            vacant.insert(version);
                        }
                    }
                }
            }
            if stash.is_closed(&frontiers) {
                versions = HashMap::default();
            }
        }
    })
}

/// The last row of each key in an epoch, with its version.
struct EpochRows<W, K, V>(HashMap<K, (W, Position, Option<V>), LocalHash>);

impl<W, K, V> Default for EpochRows<W, K, V> {
    fn default() -> Self {
        EpochRows(HashMap::default())
    }
}

impl<W: Ord, K: Key, V: Ord> EpochRows<W, K, V> {
    fn write(&mut self, (version, (key, position, row)): (W, Upsert<K, V>)) {
        let row = (version, position, row);
        match self.0.entry(key) {
            Entry::Occupied(mut known) if *known.get() < row => drop(known.insert(row)),
            Entry::Occupied(_) => {}
            Entry::Vacant(vacant) => drop(vacant.insert(row)),
        }
    }
}
