//! Order lines: every order with its price.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::StreamVec;

use crate::model::{Id, Line, Order, Price, Product};
use crate::operators::{ByKey, Epochs, Upsert, arrange, latest_joined_inspect};

/// A function of an id and two of its rows.
pub type OnConflict<I, R> = Box<dyn FnMut(&I, &R, &R)>;

/// Every order with its price, the last write of each order id, keyed by customer; and the customers who bought a product
/// that changed in another column than its price, in the epoch in which it did.
///
/// A customer who bought a product whose price changed is not among them: the order lines change themselves.
pub(super) fn priced<'scope, T: Epochs, I: Id>(
    orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    mut on_conflict: Option<OnConflict<I, Order<I>>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> (VecCollection<'scope, T, (Option<I>, Line<I>)>, VecCollection<'scope, T, Option<I>>) {
    let product = |_: &I, order: &Order<I>| order.product.clone();
    // The price lies beside the product, so that a line needs no further look into memory.
    let products = products.map(|(id, product)| (id, (product.price, product)));
    let line = |id: &I, order: &Order<I>, product: Option<&(Price, Arc<Product>)>| {
        let line = Line {
            day: order.day,
            order: id.clone(),
            product: order.product.clone(),
            quantity: order.quantity,
            discount: order.discount,
            price: product.map(|(price, _)| *price),
            extra: order.extra.clone(),
        };
        (order.customer.clone(), line)
    };
    let inspect = move |id: &I, one: &Order<I>, other: &Order<I>| {
        on_conflict.iter_mut().for_each(|on_conflict| on_conflict(id, one, other));
    };
    let buyer = |_: &I, order: &Order<I>| Some(order.customer.clone());
    latest_joined_inspect(orders, products, "Order lines", product, line, inspect, buyer)
}

/// The order lines of each customer, in the order of days and order ids.
pub(super) fn by_customer<'scope, T: Epochs, I: Id>(
    lines: VecCollection<'scope, T, (Option<I>, Line<I>)>,
) -> ByKey<'scope, T, Option<I>, Line<I>> {
    arrange(lines, "Order lines by customer")
}
