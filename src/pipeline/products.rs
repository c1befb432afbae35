//! What was sold of each product.

use std::sync::Arc;

use differential_dataflow::VecCollection;

use crate::model::{Amount, Id, Line, Price, Product, ProductSales};
use crate::operators::{ByKey, Epochs, accumulate_distinct, arrange, left_join_unique, totals};

use super::totals::{ProductTotals, Sale};

/// The sales of each product. A price is not among them: when it changes, no sale does.
pub(super) fn by_product<'scope, T: Epochs, I: Id>(
    by_customer: &ByKey<'scope, T, Option<I>, Line<I>>,
) -> ByKey<'scope, T, Option<I>, Sale<I>> {
    let sales = by_customer.clone().as_collection(|customer, line| {
        let sale = Sale { customer: customer.clone(), quantity: line.quantity, discount: line.discount };
        (line.product.clone(), sale)
    });
    arrange(sales, "Sales by product")
}

/// What was sold of each product id that was ordered.
pub(super) fn totals_by_product<'scope, T: Epochs, I: Id>(
    by_product: ByKey<'scope, T, Option<I>, Sale<I>>,
) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
    let sums = accumulate_distinct(
        by_product,
        "Sales and customers by product",
        ProductTotals::ONE_CUSTOMER,
        |_, sale| sale.customer.clone(),
        |product, _| product.clone(),
        |product, sale| Some((product.clone(), ProductTotals::of_sale(sale))),
    );
    totals(sums, "Totals of each product", |product, totals| (product.clone(), *totals))
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
