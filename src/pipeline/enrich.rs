//! Orders with their products and customers.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::dataflow::StreamVec;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Account, Enriched, Id, Line, Order, Price, Product};
use crate::operators::{ByKey, Upsert, arrange, inner_join, latest_joined};

/// Every order with its product, of each order id the last one written, and who ordered.
pub(super) fn lines<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, (Option<I>, Line<I>)> {
    let product = |_: &I, order: &Order<I>| order.product.clone();
    latest_joined(orders, products, "Order lines", product, |id, order, item: Option<&Arc<Product>>| {
        let line = Line {
            day: order.day,
            order: id.clone(),
            product: order.product.clone(),
            quantity: order.quantity,
            discount: order.discount,
            price: item.map_or(Price::default(), |item| item.price),
            item: item.cloned(),
            extra: order.extra.clone(),
        };
        (order.customer.clone(), line)
    })
}

/// The order lines of each customer, in the order of days and order ids.
pub(super) fn by_customer<'scope, T: Timestamp + Lattice, I: Id>(
    lines: VecCollection<'scope, T, (Option<I>, Line<I>)>,
) -> ByKey<'scope, T, Option<I>, Line<I>> {
    arrange(lines, "Order lines by customer")
}

/// Every order line with what is known of its customer.
pub(super) fn enriched<'scope, T: Timestamp + Lattice, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
    accounts: ByKey<'scope, T, Option<I>, Arc<Account>>,
) -> VecCollection<'scope, T, Enriched<I>> {
    inner_join(by_customer.clone(), accounts, "Enriched orders", |customer, line, account| Enriched {
        customer: customer.clone(),
        line: line.clone(),
        account: Arc::clone(account),
    })
}
