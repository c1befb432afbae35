//! What each product sold.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Amount, Discount, Id, Line, Product, ProductFeatures, ProductSales};
use crate::operators::{ByKey, accumulate_distinct, arrange, left_join_unique, totals};

use crate::udf::{PriceCategories, cleaned, parsed};

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

/// What was sold of each product id that was ordered.
pub(super) fn totals_by_product<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    by_product: ByKey<'scope, T, Option<I>, Sale<I>>,
) -> VecCollection<'scope, T, (Option<I>, ProductTotals)> {
    let sums = accumulate_distinct(
        by_product,
        "Sales and customers by product",
        |_, sale| sale.customer.clone(),
        |product, _| product.clone(),
        |product, sale| Some((product.clone(), ProductTotals::of_sale(sale))),
        ProductTotals::ONE_CUSTOMER,
    );
    totals(sums, "Totals of each product", |product, totals| (product.clone(), *totals))
}

/// A row for each product id that was ordered.
pub(super) fn product_sales<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
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
            revenue: item.map(|item| Amount::from_e8(totals.paid_pieces_e4 * i128::from(item.price.e4()))),
            customers: totals.customers,
        },
    )
}

/// A row for each product: what functions make of its columns. None of them fails, so no row is rejected.
pub(super) fn product_features<'scope, T: Timestamp, I: Id>(
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
    categories: &PriceCategories,
) -> VecCollection<'scope, T, ProductFeatures<I>> {
    let categories = categories.clone();
    products.map(move |(id, product)| ProductFeatures {
        product: id,
        name: product.name.as_deref().map(cleaned),
        price_category: categories.of(Some(product.price)).clone(),
        metadata: parsed(product.metadata.as_deref()),
    })
}
