//! Statistics of the prices and order lines of each category, and its products and brands.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{floats, lists, means, texts};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::{Error, Result};
use crate::model::{Amount, AmountSum, Id, Product, Text};
use crate::operators::{Covariance, Moments, Statistic, aggregate_total, collect_list, collect_set, left_join_unique};
use crate::pipeline::{Epochs, Job};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// A row of `category_stats`; its key is `category`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryStats {
    /// The category.
    pub category: Text,
    /// The moments of the prices of its products.
    pub prices: Moments<4>,
    /// The covariance of price and quantity over its order lines.
    pub lines: Covariance<4, 0>,
    /// Its products.
    pub products: CategoryProducts,
}

/// The names and brands of the products of a category.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryProducts {
    /// `all_products`: their names in the order of their ids; those without a name are left out.
    pub names: Arc<[Text]>,
    /// `unique_brands`: their brands, sorted, each once.
    pub brands: Arc<[Text]>,
}

/// `category_stats`: see [`CategoryStats`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CategoryStatsTable;

impl Table for CategoryStatsTable {
    type Row<I: Id> = CategoryStats;

    fn name(&self) -> &str {
        "category_stats"
    }

    fn key(&self) -> &[&str] {
        &["category"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&["product_name", "brand"])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        // The price of an order line is its product's, so the pairs of price and quantity follow from the sums of each
        // product's quantities: a new price changes one product's part of its category's sum.
        let prices = aggregate_total(job.products(), "Prices by category", |(_, product)| {
            Some((product.category.clone(), Moments::of(product.price.e4())))
        });
        let places = job.products().map(|(id, product)| (Some(id), (product.category.clone(), product.price)));
        let pairs = left_join_unique(job.product_totals(), places, "Prices and quantities", |_, totals, place| {
            place.map(|(category, price)| (category.clone(), Covariance::of_same_x(price.e4(), &totals.quantities())))
        });
        let pairs = aggregate_total(pairs.flat_map(|pair| pair), "Prices and quantities by category", |pair| {
            Some(pair.clone())
        });
        let stats = left_join_unique(prices, pairs, "Statistics by category", |category: &Text, prices, pairs| {
            (category.clone(), (*prices, pairs.copied().unwrap_or_default()))
        });
        left_join_unique(stats, names(job.products()), "Category statistics", |category, (prices, lines), products| {
            CategoryStats {
                category: category.clone(),
                prices: *prices,
                lines: *lines,
                products: products.cloned().unwrap_or_default(),
            }
        })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        let prices = rows.iter().map(CategoryStats::price_sum).collect::<Result<Vec<_>>>()?;
        Ok(vec![
            ("category".into(), texts(rows.iter().map(|row| Some(&row.category)))),
            ("count".into(), Arc::new(Int64Array::from_iter_values(prices.iter().map(|sum| sum.count)))),
            ("avg_price".into(), means(prices.iter().copied(), &layout.money)?),
            ("stddev_price".into(), statistics(rows, |row| row.prices.variance().sample_stddev())?),
            ("variance_price".into(), statistics(rows, |row| row.prices.variance().sample())?),
            ("skewness_price".into(), statistics(rows, |row| row.prices.skewness())?),
            ("kurtosis_price".into(), statistics(rows, |row| row.prices.kurtosis())?),
            ("all_products".into(), lists(rows.iter().map(|row| &*row.products.names))),
            ("unique_brands".into(), lists(rows.iter().map(|row| &*row.products.brands))),
            ("corr_price_quantity".into(), statistics(rows, |row| row.lines.correlation())?),
            ("covar_pop".into(), statistics(rows, |row| row.lines.population())?),
            ("covar_samp".into(), statistics(rows, |row| row.lines.sample())?),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        &[("category", Direction::Ascending)]
    }

    fn is_default(&self) -> bool {
        false
    }
}

/// The names and brands in each category that has any.
fn names<'scope, T: Epochs, I: Id>(
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

impl CategoryStats {
    /// The prices of the products, added up.
    fn price_sum(&self) -> Result<AmountSum> {
        let prices = self.prices.variance().sum();
        let total_e4 = prices.total().map_err(Error::failed)?.unwrap_or_default();
        let count = prices.count().map_err(Error::failed)?;
        let total = Amount::of_sum(total_e4.checked_mul(10_000));
        Ok(AmountSum { total, count })
    }
}

fn statistics(rows: &[CategoryStats], of: impl Fn(&CategoryStats) -> Statistic) -> Result<ArrayRef> {
    let values = rows.iter().map(of).collect::<std::result::Result<Vec<_>, _>>();
    Ok(floats(values.map_err(Error::failed)?.into_iter()))
}
