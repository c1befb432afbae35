//! Orders with their products and customers.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::dataflow::StreamVec;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Account, Enriched, Id, Line, Order, Price, Product};
use crate::operators::{ByKey, Upsert, arrange, arrange_in_place, inner_join, latest_joined, upserts};

/// Every order with its price, of each order id the last one written, and who ordered.
pub(super) fn lines<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, (Option<I>, Line<I>)> {
    let product = |_: &I, order: &Order<I>| order.product.clone();
    let prices = products.map(|(id, product)| (id, product.price));
    latest_joined(orders, prices, "Order lines", product, |id, order, price: Option<&Price>| {
        let line = Line {
            day: order.day,
            order: id.clone(),
            product: order.product.clone(),
            quantity: order.quantity,
            discount: order.discount,
            price: price.copied(),
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

/// Every order line with what is known of its customer and its product.
pub(super) fn enriched<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
    accounts: VecCollection<'scope, T, (Option<I>, Arc<Account>)>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, Enriched<I>> {
    let accounts = arrange_in_place(accounts, "Accounts by customer");
    let ordered = inner_join(by_customer.clone(), accounts, "Orders with accounts", |customer, line, account| {
        (line.order.clone(), (customer.clone(), line.clone(), Arc::clone(account)))
    });
    let ordered = upserts(ordered, "Orders with accounts by id");
    let product = |_: &I, (_, line, _): &(_, Line<I>, _)| line.product.clone();
    latest_joined(ordered, products, "Enriched orders", product, |_, (customer, line, account), item| Enriched {
        customer: customer.clone(),
        line: line.clone(),
        item: item.cloned(),
        account: Arc::clone(account),
    })
}
