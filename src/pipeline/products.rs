//! What each product sold.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Amount, Discount, Id, Line, Product, ProductSales};
use crate::operators::{ByKey, accumulate, arrange, complete, distinct_count, inner_join};

use super::totals::ProductTotals;

/// What counts of an order where it is its product's: in the order of customers, so that a customer's lie side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Sale<I> {
    customer: Option<I>,
    pub(super) quantity: i32,
    pub(super) discount: Discount,
}

/// The sales of each product. A price is not among them: when it changes, no sale does.
pub(super) fn by_product<'scope, T: Timestamp + Lattice, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> ByKey<'scope, T, Option<I>, Sale<I>> {
    let sales = by_customer.clone().as_collection(|customer, line| {
        let sale = Sale { customer: customer.clone(), quantity: line.quantity, discount: line.discount };
        (line.product.clone(), sale)
    });
    arrange(sales, "Sales by product")
}

/// A row for each product id that was ordered.
pub(super) fn product_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_product: &ByKey<'scope, T, Option<I>, Sale<I>>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, ProductSales<I>> {
    let customers = distinct_count(
        by_product.clone(),
        "Customers of each product",
        |_, sale| sale.customer.clone(),
        |product, _| product.clone(),
    );
    let totals = accumulate(by_product.clone(), "Sums of each product", |product, sale| {
        Some((product.clone(), ProductTotals::of_sale(sale)))
    })
    .concat(customers.explode(|product| Some((product, ProductTotals::ONE_CUSTOMER))))
    .arrange_by_self_named("Sums by product")
    .count_total()
    .arrange_by_key_named("Totals by product");
    let sold = totals.clone().as_collection(|product, _| product.clone());
    let catalog = complete(sold, products.map(|(id, product)| (Some(id), product)), "Catalog");
    inner_join(totals, catalog, "Product sales", |product, totals, item| ProductSales {
        product: product.clone(),
        name: item.as_ref().and_then(|item| item.name.clone()),
        category: item.as_ref().map(|item| item.category.clone()),
        quantity: totals.quantity,
        revenue: item.as_ref().map(|item| Amount::from_e8(totals.paid_pieces_e4 * i128::from(item.price.e4()))),
        customers: totals.customers,
    })
}
