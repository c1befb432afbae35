//! Orders with their products and customers.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Account, Day, Discount, Enriched, Id, Line, Order, Payload, Price, Product};
use crate::operators::{ByKey, complete, inner_join, present_keys};

/// An order among those of its product: in the order of customers, so that a customer's lie side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Sale<I> {
    pub(super) customer: Option<I>,
    order: I,
    day: Option<Day>,
    pub(super) quantity: i32,
    pub(super) discount: Discount,
    extra: Payload,
}

/// The orders of each product.
pub(super) fn by_product<'scope, T: Timestamp + Lattice, I: Id>(
    orders: VecCollection<'scope, T, Order<I>>,
) -> ByKey<'scope, T, Option<I>, Sale<I>> {
    let sales = orders.map(|order| {
        let Order { id, customer, product, day, quantity, discount, extra } = order;
        (product, Sale { customer, order: id, day, quantity, discount, extra })
    });
    sales.arrange_by_key_named("Orders by product")
}

/// Each product, and `None` for each product id of the orders that `products` does not have.
pub(super) fn catalog<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_product: &ByKey<'scope, T, Option<I>, Sale<I>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> ByKey<'scope, T, Option<I>, Option<Arc<Product>>> {
    let sold = present_keys(by_product.clone(), "Products sold");
    complete(sold, products.map(|(id, product)| (Some(id), product)), "Catalog")
}

/// The order lines of each customer, in the order of days and order ids.
pub(super) fn by_customer<'scope, T: Timestamp + Lattice, I: Id>(
    by_product: &ByKey<'scope, T, Option<I>, Sale<I>>,
    catalog: &ByKey<'scope, T, Option<I>, Option<Arc<Product>>>,
) -> ByKey<'scope, T, Option<I>, Line<I>> {
    let lines = inner_join(by_product.clone(), catalog.clone(), "Order lines", |product, sale, item| {
        let line = Line {
            day: sale.day,
            order: sale.order.clone(),
            product: product.clone(),
            quantity: sale.quantity,
            discount: sale.discount,
            price: item.as_ref().map_or(Price::default(), |item| item.price),
            item: item.clone(),
            extra: sale.extra.clone(),
        };
        (sale.customer.clone(), line)
    });
    lines.arrange_by_key_named("Order lines by customer")
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
