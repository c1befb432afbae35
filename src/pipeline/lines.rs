//! Order lines: every order with its price.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::StreamVec;

use crate::model::{Id, Line, Order, Price, Product};
use crate::operators::{ByKey, Epochs, JoinHooks, Spill, Upsert, Waves, arrange, arrange_in_waves, latest_joined_with};

/// A function of an id and two of its rows.
pub type OnConflict<I, R> = Box<dyn FnMut(&I, &R, &R)>;

/// Every order with its price, the last write of each order id, keyed by customer; and the customers who bought a
/// product that changed in another column than its price, once for each such order, in the epoch in which it changed.
///
/// Those who bought a product whose price changed are not among them: their order lines change.
pub(super) fn priced<'scope, T: Epochs, I: Id>(
    orders: StreamVec<'scope, T, Upsert<I, Order<I>>>,
    mut on_conflict: Option<OnConflict<I, Order<I>>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    spill: Option<Spill>,
) -> (VecCollection<'scope, T, (Option<I>, Line<I>)>, StreamVec<'scope, T, (Option<I>, T, isize)>) {
    let product = |_: &I, order: &Order<I>| order.product.clone();
    let products = products.map(|(id, product)| (id, (product.price, product)));
    let line = |id: &I, order: &Order<I>, price: Option<&Price>| {
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
    };
    let inspect = move |id: &I, one: &Order<I>, other: &Order<I>| {
        on_conflict.iter_mut().for_each(|on_conflict| on_conflict(id, one, other));
    };
    let touch = |_: &I, order: &Order<I>| order.customer.clone();
    latest_joined_with(orders, products, "Order lines", product, line, JoinHooks { inspect, touch, spill })
}

/// The order lines of each customer, in the order of days and order ids; in waves, range by range of customers.
pub(super) fn by_customer<'scope, T: Epochs, I: Id>(
    lines: VecCollection<'scope, T, (Option<I>, Line<I>)>,
    waves: Option<Waves<T>>,
) -> ByKey<'scope, T, Option<I>, Line<I>> {
    match waves {
        Some(waves) => arrange_in_waves(lines, BY_CUSTOMER, waves),
        None => arrange(lines, BY_CUSTOMER),
    }
}

const BY_CUSTOMER: &str = "Order lines by customer";
