//! Sums over the rows of an arrangement, added up before they are sent.
//!
//! A sum lives in the *diff* of an update: union is addition and removal is negation, so one update a group is all the
//! state that a count, a sum or a mean needs. What this operator adds is thrift: rows that arrive together are added
//! up per group where they lie, and six million rows become a few thousand updates before anything is sorted or sent.
//!
//! *Cost per change*: O(1). *State*: none; arrange the result and count it (`count_total`) to see the sums.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::exchange::LocalHash;
use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::{BatchCursor, BatchKey, BatchVal, Cursor, Navigable, TraceReader};
use differential_dataflow::{AsCollection, Data, VecCollection};
use indexmap::IndexMap;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// What names a group of rows.
pub trait Group: Data + Hash {}

impl<G: Data + Hash> Group for G {}

/// For each row, the group and the term that `logic` gives; the terms of a group, times the rows' weights, are its diff.
///
/// A row for which `logic` gives `None` counts nowhere.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use differential_dataflow::operators::CountTotal;
/// # use millstream_operators::accumulate;
/// # timely::example(|scope| {
/// let by_product = scope.new_collection_from([('T', 3), ('T', 4), ('M', 1)]).1.arrange_by_key();
/// let sold = accumulate(by_product, "Sold", |product, quantity| Some((*product, *quantity as isize)));
/// sold.count_total().assert_eq(scope.new_collection_from([('T', 7), ('M', 1)]).1);
/// # });
/// ```
pub fn accumulate<'scope, Tr, G, R>(
    arranged: Arranged<'scope, Tr>,
    name: &str,
    logic: impl Fn(BatchKey<'_, Tr>, BatchVal<'_, Tr>) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, Tr::Time, G, R>
where
    Tr: TraceReader<Batch: Navigable> + 'static,
    BatchCursor<Tr>: Cursor<Time = Tr::Time, Diff = isize>,
    G: Group,
    R: Semigroup + Multiply<isize, Output = R> + 'static,
{
    let sums = arranged.stream.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, spans| {
                let mut sums = Sums::default();
                for batch in spans.drain(..).filter_map(|span| span.inner) {
                    let mut cursor = batch.cursor();
                    while let Some(key) = cursor.get_key(&batch) {
                        while let Some(value) = cursor.get_val(&batch) {
                            if let Some((group, term)) = logic(key, value) {
                                cursor.map_times(&batch, |time, diff| {
                                    let time = <BatchCursor<Tr> as Cursor>::owned_time(time);
                                    let diff = <BatchCursor<Tr> as Cursor>::owned_diff(diff);
                                    sums.add(group.clone(), &time, term.clone().multiply(&diff));
                                });
                            }
                            cursor.step_val(&batch);
                        }
                        cursor.step_key(&batch);
                    }
                }
                output.session(&capability).give_iterator(sums.into_updates());
            });
        }
    });
    sums.as_collection()
}

/// Updates that are being added up. Those that come in a row for one group and time cost no look-up.
pub(crate) struct Sums<G, T, R> {
    epochs: BTreeMap<T, IndexMap<G, R, LocalHash>>,
    /// Which sum was added to last.
    last: usize,
}

impl<G, T, R> Default for Sums<G, T, R> {
    fn default() -> Self {
        Sums { epochs: BTreeMap::new(), last: 0 }
    }
}

impl<G: Group, T: Clone + Ord, R: Semigroup> Sums<G, T, R> {
    pub(crate) fn add(&mut self, group: G, time: &T, diff: R) {
        let sums = match self.epochs.get_mut(time) {
            Some(sums) => sums,
            None => self.epochs.entry(time.clone()).or_default(),
        };
        match sums.get_index_mut(self.last) {
            Some((last, sum)) if *last == group => sum.plus_equals(&diff),
            _ => match sums.get_full_mut(&group) {
                Some((index, _, sum)) => {
                    sum.plus_equals(&diff);
                    self.last = index;
                }
                None => self.last = sums.insert_full(group, diff).0,
            },
        }
    }

    /// How many sums there are.
    pub(crate) fn len(&self) -> usize {
        self.epochs.values().map(IndexMap::len).sum()
    }

    /// The sums that are not zero.
    pub(crate) fn into_updates(self) -> impl Iterator<Item = (G, T, R)> {
        let updates = self
            .epochs
            .into_iter()
            .flat_map(|(time, sums)| sums.into_iter().map(move |(group, diff)| (group, time.clone(), diff)));
        updates.filter(|(_, _, diff)| !diff.is_zero())
    }
}
