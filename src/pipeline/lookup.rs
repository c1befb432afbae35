//! Who bought a product that changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::{Cursor, TraceReader};
use differential_dataflow::{Hashable, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::AntichainRef;

use crate::model::{Id, Product};
use crate::operators::{ByKey, Epochs};

use super::totals::Sale;

/// The customers who bought a product that changed in another column than its price, in the epoch in which it did.
///
/// A product whose price changes is not among them: its order lines change themselves.
///
/// *Cost per change*: the sales of the product. *State*: none of its own.
///
/// # Panics
///
/// If the trace of `sales` was compacted past what this reads, which other readers of the trace can't bring about.
pub(super) fn buyers_of_changed<'scope, T: Epochs, I: Id>(
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    sales: ByKey<'scope, T, Option<I>, Sale<I>>,
) -> StreamVec<'scope, T, (Option<I>, T, isize)> {
    let Arranged { stream, mut trace } = sales;
    let by_product = Exchange::new(|((id, _), _, _): &((I, Arc<Product>), T, isize)| Some(id.clone()).hashed());
    products.inner.binary_frontier(stream, by_product, Pipeline, "Buyers of changed products", move |_, _| {
        let mut waiting = BTreeMap::new();
        move |(products, products_frontier), (sales, sales_frontier), output| {
            products.for_each(|message, updates| {
                // A message may have no time, and then has no effect.
                for (row, epoch, diff) in updates.drain(..).filter(|_| !message.stamp().is_empty()) {
                    let entry = waiting.entry(epoch.clone());
                    let (_, rows) = entry.or_insert_with(|| (message.delayed(&epoch, 0), Vec::new()));
                    rows.push((row, diff));
                }
            });
            sales.for_each(|_, spans| spans.clear());
            let is_over = |epoch: &T| !products_frontier.less_equal(epoch) && !sales_frontier.less_equal(epoch);
            while let Some(entry) = waiting.first_entry().filter(|entry| is_over(entry.key())) {
                let (epoch, (capability, rows)) = entry.remove_entry();
                let changed = changed_beside_price(rows);
                if changed.is_empty() {
                    continue;
                }
                let batches = trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read");
                let (mut cursor, storage) = cursor_list(batches);
                let mut session = output.session(&capability);
                for product in changed {
                    cursor.seek_key(&storage, &Some(product.clone()));
                    if cursor.get_key(&storage) != Some(&Some(product)) {
                        continue;
                    }
                    while let Some(sale) = cursor.get_val(&storage) {
                        session.give((sale.customer.clone(), epoch.clone(), 1));
                        cursor.step_val(&storage);
                    }
                }
            }
            trace.set_logical_compaction(sales_frontier.frontier());
            trace.set_physical_compaction(sales_frontier.frontier());
        }
    })
}

/// The products that are there before and after, at the same price, but differ; in order.
fn changed_beside_price<I: Id>(mut rows: Vec<((I, Arc<Product>), isize)>) -> Vec<I> {
    let mut before_and_after: HashMap<I, (Option<Arc<Product>>, Option<Arc<Product>>)> = HashMap::new();
    consolidate(&mut rows);
    for ((id, product), diff) in rows {
        let (before, after) = before_and_after.entry(id).or_default();
        *(if diff < 0 { before } else { after }) = Some(product);
    }
    let changed = before_and_after.into_iter().filter(|(_, versions)| match versions {
        (Some(before), Some(after)) => before.price == after.price && before != after,
        _ => false,
    });
    let mut changed: Vec<I> = changed.map(|(id, _)| id).collect();
    changed.sort();
    changed
}
