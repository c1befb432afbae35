//! Sums over the rows of an arrangement, added up before they are sent.
//!
//! A sum lives in the *diff* of an update: union is addition and removal is negation, so one update a group is all the
//! state that a count, a sum or a mean needs. Rows that arrive together are added up per group in place, so that six
//! million rows become a few thousand updates before anything is sorted or sent.
//!
//! *Cost per change*: O(1). *State*: none; arrange the result and count it (`count_total`), or apply
//! [`totals`](crate::totals()), to see the sums.

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::{BatchCursor, BatchDiff, BatchKey, BatchVal, Cursor, Navigable, TraceReader};
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::sums::{Group, Sums};

/// Sums the terms of each group's rows, times their weights: the sum is the group's diff. `logic` returns the group and
/// the term of a row.
///
/// A row for which `logic` returns `None` is not counted. The arrangement may have any layout, and any diff by which
/// terms can be multiplied.
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
    BatchCursor<Tr>: Cursor<Time = Tr::Time>,
    G: Group,
    R: Semigroup + Multiply<BatchDiff<Tr>, Output = R> + 'static,
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
