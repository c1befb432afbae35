//! Products among those of their category.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{CategoryProducts, CategoryStats, Id, Product, ProductRanking, ProductSales, Standing, Text};
use crate::operators::window::WindowExt;
use crate::operators::{Covariance, Moments, aggregate_total, collect_list, collect_set, left_join_unique};

use super::totals::ProductTotals;

/// How each product stands in its category by revenue, nulls first; of those that brought as much, by id, which is what rows
/// of sales are ordered by. The unknown products are a category.
pub(super) fn product_ranking<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    sales: VecCollection<'scope, T, ProductSales<I>>,
) -> VecCollection<'scope, T, ProductRanking<I>> {
    let revenue = |sales: &ProductSales<I>| sales.revenue;
    let ranked = sales.window_named("Product ranking", |sales| sales.category.clone(), revenue).select(|w| {
        let places = (w.row_number(), w.rank(), w.dense_rank(), w.ntile(4));
        let neighbours = (w.lag(1, revenue), w.lead(1, revenue));
        let frame = (w.first_value(revenue), w.last_value(revenue), w.nth_value(2, revenue));
        (places, neighbours, frame, (w.cume_dist(), w.percent_rank()))
    });
    ranked.map(|(sales, (places, (previous, next), (first, last, second), shares))| {
        let (row_number, rank, dense_rank, quartile) = places;
        let (cumulative_dist, percentile_rank) = shares;
        let [previous, next, first, last, second] = [previous, next, first, last, second].map(Option::flatten);
        let standing = Standing {
            row_number,
            rank,
            dense_rank,
            previous,
            next,
            first,
            last,
            second,
            cumulative_dist,
            percentile_rank,
            quartile,
        };
        ProductRanking { sales, standing }
    })
}

/// A row for each category that has products.
///
/// An order line's price is its product's, so that the pairs of price and quantity of all lines of a product follow from
/// the sums of their quantities: a new price changes one product's part of its category's sum.
pub(super) fn category_stats<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    totals: VecCollection<'scope, T, (Option<I>, ProductTotals)>,
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, CategoryStats> {
    let prices = aggregate_total(products.clone(), "Prices by category", |(_, product)| {
        Some((product.category.clone(), Moments::of(product.price.e4())))
    });
    let places = products.clone().map(|(id, product)| (Some(id), (product.category.clone(), product.price)));
    let pairs = left_join_unique(totals, places, "Prices and quantities", |_, totals, place| {
        place.map(|(category, price)| (category.clone(), Covariance::of_same_x(price.e4(), &totals.quantities())))
    });
    let pairs =
        aggregate_total(pairs.flat_map(|pair| pair), "Prices and quantities by category", |pair| Some(pair.clone()));
    let stats = left_join_unique(prices, pairs, "Statistics by category", |category: &Text, prices, pairs| {
        (category.clone(), (*prices, pairs.copied().unwrap_or_default()))
    });
    left_join_unique(stats, names(products), "Category statistics", |category, (prices, lines), products| {
        CategoryStats {
            category: category.clone(),
            prices: *prices,
            lines: *lines,
            products: products.cloned().unwrap_or_default(),
        }
    })
}

/// The names and brands in each category that has any.
fn names<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    products: VecCollection<'scope, T, (I, Arc<Product>)>,
) -> VecCollection<'scope, T, (Text, CategoryProducts)> {
    let categories =
        aggregate_total(products.clone(), "Categories", |(_, product)| Some((product.category.clone(), ())));
    let names =
        products.clone().flat_map(|(id, product)| Some((product.category.clone(), (id, product.name.clone()?))));
    let brands = products.flat_map(|(_, product)| Some((product.category.clone(), product.brand.clone()?)));
    let names = collect_list(names, "Names by category").map(|(category, names)| (category, Arc::from(names)));
    let brands = collect_set(brands, "Brands by category").map(|(category, brands)| (category, Arc::from(brands)));
    let named = left_join_unique(categories, names, "Categories with names", |category: &Text, (), names| {
        (category.clone(), names.map(Arc::clone).unwrap_or_default())
    });
    left_join_unique(named, brands, "Categories with brands", |category, names: &Arc<[Text]>, brands| {
        let brands = brands.map(Arc::clone).unwrap_or_default();
        (category.clone(), CategoryProducts { names: Arc::clone(names), brands })
    })
}
