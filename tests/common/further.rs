//! The oracle of the optional tables.

use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::difference::Semigroup;
use millstream::model::{Amount, Id, Order, Product, ProductSales, Score, Text, TextMap};
use millstream::operators::window::Fraction;
use millstream::operators::{Covariance, Moments};
use millstream::tables::{CategoryProducts, CategoryStats, OrderAnomaly, ProductFeatures, ProductRanking, Standing};

use super::history::{Tables, model};

/// The rank of a product within its category.
pub fn ranking<I: Id>(all: &[ProductSales<I>], sales: &ProductSales<I>) -> ProductRanking<I> {
    let mut rows: Vec<_> = all.iter().filter(|other| other.category == sales.category).collect();
    rows.sort_by_key(|row| (row.revenue, row.product.clone()));
    let at = rows.iter().position(|row| row.product == sales.product).expect("it is among them");
    let before = rows.iter().filter(|row| row.revenue < sales.revenue).count();
    let through_peers = rows.iter().filter(|row| row.revenue <= sales.revenue).count();
    let distinct: BTreeSet<_> = rows.iter().take(through_peers).map(|row| row.revenue).collect();
    let (tiles, left) = (rows.len() / 4, rows.len() % 4);
    let ends = (1..=4).map(|tile| tile * tiles + tile.min(left));
    let revenue = |at: Option<usize>| rows.get(at?).and_then(|row| row.revenue);
    let standing = Standing {
        row_number: number(at + 1),
        rank: number(before + 1),
        dense_rank: number(distinct.len()),
        previous: revenue(at.checked_sub(1)),
        next: revenue(Some(at + 1)),
        first: revenue(Some(0)),
        last: revenue(Some(through_peers - 1)),
        second: revenue((through_peers > 1).then_some(1)),
        cumulative_dist: Fraction { part: number(through_peers), whole: number(rows.len()) },
        percentile_rank: Fraction { part: number(before), whole: number(rows.len() - 1).max(1) },
        quartile: number(ends.take_while(|end| *end <= at).count() + 1),
    };
    ProductRanking { sales: sales.clone(), standing }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).expect("few")
}

/// The categories with products.
pub fn categories<I: Id>(tables: &Tables<I>) -> impl Iterator<Item = &Text> {
    tables.products.values().map(|product| &product.category).collect::<BTreeSet<_>>().into_iter()
}

/// The statistics of a category, row by row.
pub fn stats<I: Id>(tables: &Tables<I>, category: &Text) -> CategoryStats {
    let products: BTreeMap<&I, _> =
        tables.products.iter().filter(|(_, product)| product.category == *category).collect();
    let (mut prices, mut lines) = (Moments::default(), Covariance::default());
    products.values().for_each(|product| prices.plus_equals(&Moments::of(product.price.e4())));
    for order in tables.orders.values() {
        if let Some(product) = order.product.as_ref().and_then(|id| products.get(id)) {
            lines.plus_equals(&Covariance::of(product.price.e4(), order.quantity));
        }
    }
    let names = products.values().filter_map(|product| product.name.clone()).collect();
    let brands: BTreeSet<Text> = products.values().filter_map(|product| product.brand.clone()).collect();
    let products = CategoryProducts { names, brands: brands.into_iter().collect() };
    CategoryStats { category: category.clone(), prices, lines, products }
}

/// The expected features of the products in the histories.
pub fn features<I: Id>(id: &I, product: &Product) -> ProductFeatures<I> {
    let name = product.name.as_deref().map(|name| match name {
        " Big  MUG " => "big mug".into(),
        name => name.into(),
    });
    let metadata: Vec<(Text, Option<Text>)> = match product.metadata.as_deref() {
        Some(r#"{"colour": "red", "size": 1.50}"#) => {
            vec![("colour".into(), Some("red".into())), ("size".into(), Some("1.50".into()))]
        }
        Some(r#"{"a": null}"#) => vec![("a".into(), None)],
        _ => vec![],
    };
    let price_category = match product.price.e4() {
        ..100_0000 => "Low",
        100_0000..500_0000 => "Medium",
        _ => "High",
    };
    let metadata = TextMap(metadata.into_iter().collect());
    ProductFeatures { product: id.clone(), name, price_category: price_category.into(), metadata }
}

/// An order's price and score.
pub fn anomaly<I: Id>(tables: &Tables<I>, id: &I, order: &Order<I>) -> OrderAnomaly<I> {
    let price = order.product.as_ref().and_then(|id| tables.products.get(id)).map(|product| product.price);
    let score = |price_e4: i64| -> Option<Score> {
        let point = [order.quantity.into(), price_e4, order.discount.e4().into()];
        let mut scores = Vec::new();
        model(tables.model?).score(&[point], &mut scores);
        scores.pop()
    };
    let left_e4 = 10_000 - i128::from(order.discount.e4());
    OrderAnomaly {
        order: id.clone(),
        final_price: price.map(|price| Amount::from_e8(i128::from(price.e4()) * left_e4)),
        score: price.and_then(|price| score(price.e4())),
    }
}
