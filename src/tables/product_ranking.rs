//! The rank of each product in its category.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::money;
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Amount, Id, ProductSales};
use crate::operators::window::{Fraction, window};
use crate::pipeline::{Epochs, Job};

use super::product_sales::ProductSalesTable;
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// A row of `product_ranking`: a row of `product_sales`, and its rank in its category.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductRanking<I> {
    /// The sales of the product.
    pub sales: ProductSales<I>,
    /// Its rank among the products of its category.
    pub standing: Standing,
}

/// The window functions of a product over its category, ordered by revenue, nulls first, and then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// `row_num`: its place.
    pub row_number: u64,
    /// The place of the first with its revenue.
    pub rank: u64,
    /// The place of its revenue among distinct ones.
    pub dense_rank: u64,
    /// `prev_sales`: the revenue of the product before it.
    pub previous: Option<Amount>,
    /// `next_sales`: the revenue of the product after it.
    pub next: Option<Amount>,
    /// `first_sales`: the lowest revenue.
    pub first: Option<Amount>,
    /// `last_sales`: the last revenue of the default frame, which is its own.
    pub last: Option<Amount>,
    /// `second_sales`: the second revenue of the default frame; `None` where that has one row.
    pub second: Option<Amount>,
    /// `cumulative_dist`: the share of rows up to its last peer.
    pub cumulative_dist: Fraction,
    /// `percentile_rank`: the share of the other rows before its first peer.
    pub percentile_rank: Fraction,
    /// `quartile`: its quarter of the category, from 1; the first quarters may have one row more.
    pub quartile: u64,
}

/// `product_ranking`: see [`ProductRanking`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductRankingTable;

impl Table for ProductRankingTable {
    type Row<I: Id> = ProductRanking<I>;

    fn name(&self) -> &str {
        "product_ranking"
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&["product_name"])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        // Equal revenues are ordered by id, which is the order of rows of sales. Unknown products are a category.
        let revenue = |sales: &ProductSales<I>| sales.revenue;
        let category = |sales: &ProductSales<I>| sales.category.clone();
        let ranked = window(job.product_sales(), "Product ranking", category, revenue).select(|w| {
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

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        let sales: Vec<_> = rows.iter().map(|row| row.sales.clone()).collect();
        let standings = || rows.iter().map(|row| row.standing);
        let amounts =
            |of: fn(&Standing) -> Option<Amount>| money(rows.iter().map(|row| of(&row.standing)), &layout.money);
        let mut columns = ProductSalesTable.columns(&sales, layout)?;
        columns.extend([
            ("row_num".into(), integers(standings().map(|standing| standing.row_number))),
            ("rank".into(), integers(standings().map(|standing| standing.rank))),
            ("dense_rank".into(), integers(standings().map(|standing| standing.dense_rank))),
            ("prev_sales".into(), amounts(|standing| standing.previous)?),
            ("next_sales".into(), amounts(|standing| standing.next)?),
            ("first_sales".into(), amounts(|standing| standing.first)?),
            ("last_sales".into(), amounts(|standing| standing.last)?),
            ("second_sales".into(), amounts(|standing| standing.second)?),
            ("cumulative_dist".into(), fractions(standings().map(|standing| standing.cumulative_dist))),
            ("percentile_rank".into(), fractions(standings().map(|standing| standing.percentile_rank))),
            ("quartile".into(), integers(standings().map(|standing| standing.quartile))),
        ]);
        Ok(columns)
    }

    fn order(&self) -> &[(&str, Direction)] {
        // The unknown category first.
        &[("category", Direction::Ascending), ("row_num", Direction::Ascending)]
    }

    fn is_default(&self) -> bool {
        false
    }
}

fn integers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers.map(u64::cast_signed)))
}

fn fractions(fractions: impl Iterator<Item = Fraction>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(fractions.map(Fraction::to_f64)))
}
