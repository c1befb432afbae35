//! How many distinct keys each group has, from rows that are not arranged.
//!
//! Where an arrangement by key exists, [`accumulate_distinct`](crate::accumulate_distinct()) reads it and keeps nothing
//! of its own. To arrange rows for that alone costs more than what is asked: every row would be sent to the worker of
//! its key and sorted. Here the terms of rows are added up where the rows are, and of a row only the part of its key
//! that it belongs to is sent, which may be much narrower.
//!
//! ```text
//! rows ─┬─ terms, added up by group ─────────────────────────┬─▶ sums by group
//!       └─ (key, part) ─ to its worker ─ first row, last row ┘
//! ```
//!
//! *Cost per change*: O(1). *State*: the number of rows of each part; none once the input is closed.

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::aggregate::{HeldSums, sums};
use crate::bounds::{Epochs, Key};
use crate::distinct_total::distinct_total;
use crate::sums::Group;

/// Sums by group of a term for each row and a term for each distinct part.
///
/// `term` gives a row's group and term, or `None` for a row that adds nothing. `part` gives what a row is counted as,
/// such as its customer and day, or `None` for a row that is not counted; each part that has a row adds `once` to its
/// `group`.
///
/// *Cost per change*: O(1). *State*: the number of rows of each part.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::{accumulate_distinct_rows, totals};
/// # timely::example(|scope| {
/// // Customers, days and pieces: how many customers and how many pieces has each day?
/// let orders = scope.new_collection_from([(1, 'M', 3), (1, 'M', 4), (1, 'T', 1), (2, 'M', 5)]).1;
/// let sums = accumulate_distinct_rows(
///     orders,
///     "Days",
///     (1_isize, 0_isize),
///     |(customer, day, _)| Some((*customer, *day)),
///     |(_, day)| *day,
///     |(_, day, pieces)| Some((*day, (0, *pieces))),
/// );
/// let days = totals(sums, "Totals", |day, (customers, pieces)| (*day, *customers, *pieces));
/// days.assert_eq(scope.new_collection_from([('M', 2, 12), ('T', 1, 1)]).1);
/// # });
/// ```
pub fn accumulate_distinct_rows<'scope, T, D, P, G, R>(
    rows: VecCollection<'scope, T, D>,
    name: &str,
    once: R,
    part: impl Fn(&D) -> Option<P> + 'static,
    group: impl Fn(&P) -> G + 'static,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, R>
where
    T: Epochs,
    D: Data,
    P: Key,
    G: Group,
    R: ExchangeData + Semigroup + Multiply<isize, Output = R>,
{
    let (terms, parts) = terms_and_parts(rows, name, term, part);
    let present = distinct_total(parts, &format!("{name}: distinct"));
    let counts = sums(present, &format!("{name}: counts"), move |part, weight| {
        Some((group(part), once.clone().multiply(weight)))
    });
    terms.concat(counts)
}

/// The sums of the rows' terms, and the part of each row.
fn terms_and_parts<'scope, T, D, P, G, R>(
    rows: VecCollection<'scope, T, D>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
    part: impl Fn(&D) -> Option<P> + 'static,
) -> (VecCollection<'scope, T, G, R>, VecCollection<'scope, T, P>)
where
    T: Epochs,
    D: Data,
    P: Data,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), rows.scope());
    let mut rows = builder.new_input(rows.inner, Pipeline);
    let (sum_output, sums) = builder.new_output();
    let mut sum_output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(G, T, R)>>>::from(sum_output);
    let (part_output, parts) = builder.new_output();
    let mut part_output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(P, T, isize)>>>::from(part_output);
    builder.build(move |_| {
        let mut held = HeldSums::default();
        move |frontiers| {
            let (mut sum_output, mut part_output) = (sum_output.activate(), part_output.activate());
            rows.for_each(|message, updates| {
                if message.stamp().is_empty() {
                    return;
                }
                held.hold(&message.retain_stamp(0));
                let stamp = message.retain_stamp(1);
                let mut parts = part_output.session(&stamp);
                for (row, time, weight) in updates.drain(..) {
                    if let Some((group, term)) = term(&row) {
                        held.sums.add(group, &time, term.multiply(&weight));
                    }
                    if let Some(part) = part(&row) {
                        parts.give((part, time, weight));
                    }
                }
            });
            if let Some((capabilities, sums)) = held.ready(&frontiers[0]) {
                sum_output.session(&capabilities).give_iterator(sums.into_updates());
            }
        }
    });
    (sums.as_collection(), parts.as_collection())
}
