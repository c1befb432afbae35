//! What each product sold.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::CountTotal;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Amount, Id, Product, ProductSales};
use crate::operators::{ByKey, accumulate, distinct_count, inner_join};

use super::enrich::Sale;
use super::totals::ProductTotals;

/// A row for each product id that was ordered.
pub(super) fn product_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_product: &ByKey<'scope, T, Option<I>, Sale<I>>,
    catalog: &ByKey<'scope, T, Option<I>, Option<Arc<Product>>>,
) -> VecCollection<'scope, T, ProductSales<I>> {
    let customers = distinct_count(
        by_product.clone(),
        "Customers of each product",
        |_, sale| sale.customer.clone(),
        |product, _| product.clone(),
    );
    let totals = accumulate(by_product.clone(), "Sales by product", |product, sale| {
        Some((product.clone(), ProductTotals::of_sale(sale)))
    })
    .concat(customers.explode(|product| Some((product, ProductTotals::ONE_CUSTOMER))))
    .arrange_by_self_named("Sums by product")
    .count_total()
    .arrange_by_key_named("Totals by product");
    inner_join(totals, catalog.clone(), "Product sales", |product, totals, item| ProductSales {
        product: product.clone(),
        name: item.as_ref().and_then(|item| item.name.clone()),
        category: item.as_ref().map(|item| item.category.clone()),
        quantity: totals.quantity,
        revenue: item.as_ref().map(|item| Amount::from_e8(totals.paid_pieces_e4 * i128::from(item.price.e4()))),
        customers: totals.customers,
    })
}
