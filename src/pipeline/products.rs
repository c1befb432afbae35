//! What was sold of each product.

use std::sync::Arc;

use differential_dataflow::VecCollection;

use crate::model::{Amount, Id, Price, Product, ProductSales};
use crate::operators::{self, Epochs, left_join_unique};

use super::customers::CustomerReductions;
use super::totals::ProductTotals;

/// What was sold of each product id that was ordered. It has no price: when that changes, no sale does.
pub(super) fn totals<'scope, T: Epochs, I: Id>(
    customers: &CustomerReductions<'scope, T, I>,
) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
    let sums = customers.accumulate_distinct_unsorted(
        ProductTotals::ONE_CUSTOMER,
        |customer, line| customer.is_some().then(|| line.product.clone()),
        |_, product| product.clone(),
        |_, line| Some((line.product.clone(), ProductTotals::of_line(line))),
    );
    operators::totals(sums, "Totals of each product", |product, totals| (product.clone(), *totals))
}

/// A row for each product id that was ordered.
pub(super) fn product_sales<'scope, T: Epochs, I: Id>(
    totals: VecCollection<'scope, T, (Option<I>, ProductTotals)>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, ProductSales<I>> {
    let products = products.map(|(id, product)| (Some(id), product));
    left_join_unique(
        totals,
        products,
        "Product sales",
        |product, totals: &ProductTotals, item: Option<&Arc<Product>>| ProductSales {
            product: product.clone(),
            name: item.and_then(|item| item.name.clone()),
            category: item.map(|item| item.category.clone()),
            quantity: totals.quantity,
            revenue: item.map(|item| revenue(totals, item.price)),
            customers: totals.customers,
        },
    )
}

fn revenue(totals: &ProductTotals, price: Price) -> Amount {
    Amount::of_sum(totals.paid_pieces_e4.checked_mul(price.e4().into()))
}
