//! The columns of the tables that are made on request.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::io::OutputTable;
use crate::io::cells::IdColumn;
use crate::io::layout::Layout;
use crate::model::{
    Amount, CategoryStats, OrderAnomaly, ProductFeatures, ProductRanking, ProductSales, Score, Sum, TextMap,
};
use crate::operators::Statistic;
use crate::operators::window::Share;
use crate::udf::Value;

use super::columns::{floats, ids, lists, means, money, texts};
use super::{TableRow, schema};

impl<I: IdColumn> TableRow for ProductRanking<I> {
    const TABLE: OutputTable = OutputTable::ProductRanking;

    /// By category, the unknown one first, and by place.
    const ORDER: Option<fn(&Self, &Self) -> Ordering> =
        Some(|a, b| (&a.sales.category, a.standing.row_number).cmp(&(&b.sales.category, b.standing.row_number)));

    fn schema(layout: &Layout) -> SchemaRef {
        let money = &layout.money;
        let standing = schema([
            ("row_num", &DataType::Int64),
            ("rank", &DataType::Int64),
            ("dense_rank", &DataType::Int64),
            ("prev_sales", money),
            ("next_sales", money),
            ("first_sales", money),
            ("last_sales", money),
            ("second_sales", money),
            ("cumulative_dist", &DataType::Float64),
            ("percentile_rank", &DataType::Float64),
            ("quartile", &DataType::Int64),
        ]);
        let sales = ProductSales::<I>::schema(layout);
        let fields: Vec<_> = sales.fields().iter().chain(standing.fields()).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        let sales: Vec<_> = rows.iter().map(|row| row.sales.clone()).collect();
        let standings = || rows.iter().map(|row| row.standing);
        let amounts = |of: fn(&ProductRanking<I>) -> Option<Amount>| money(rows.iter().map(of), &layout.money);
        let mut columns = ProductSales::columns(&sales, layout)?;
        columns.extend([
            integers(standings().map(|standing| standing.row_number)),
            integers(standings().map(|standing| standing.rank)),
            integers(standings().map(|standing| standing.dense_rank)),
            amounts(|row| row.standing.previous)?,
            amounts(|row| row.standing.next)?,
            amounts(|row| row.standing.first)?,
            amounts(|row| row.standing.last)?,
            amounts(|row| row.standing.second)?,
            shares(standings().map(|standing| standing.cumulative_dist)),
            shares(standings().map(|standing| standing.percentile_rank)),
            integers(standings().map(|standing| standing.quartile)),
        ]);
        Ok(columns)
    }
}

fn integers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers.map(u64::cast_signed)))
}

fn shares(shares: impl Iterator<Item = Share>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(shares.map(Share::to_f64)))
}

impl TableRow for CategoryStats {
    const TABLE: OutputTable = OutputTable::CategoryStats;

    const ORDER: Option<fn(&Self, &Self) -> Ordering> = Some(|a, b| a.category.cmp(&b.category));

    fn schema(layout: &Layout) -> SchemaRef {
        let texts = &DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        schema([
            ("category", &DataType::Utf8),
            ("count", &DataType::Int64),
            ("avg_price", &layout.money),
            ("stddev_price", &DataType::Float64),
            ("variance_price", &DataType::Float64),
            ("skewness_price", &DataType::Float64),
            ("kurtosis_price", &DataType::Float64),
            ("all_products", texts),
            ("unique_brands", texts),
            ("corr_price_quantity", &DataType::Float64),
            ("covar_pop", &DataType::Float64),
            ("covar_samp", &DataType::Float64),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        let prices = rows.iter().map(CategoryStats::price_sum).collect::<Result<Vec<_>>>()?;
        Ok(vec![
            texts(rows.iter().map(|row| Some(&row.category))),
            Arc::new(Int64Array::from_iter_values(prices.iter().map(|sum| sum.count))),
            means(prices.iter().copied(), &layout.money)?,
            statistics(rows, |row| row.prices.variance().sample_stddev())?,
            statistics(rows, |row| row.prices.variance().sample())?,
            statistics(rows, |row| row.prices.skewness())?,
            statistics(rows, |row| row.prices.kurtosis())?,
            lists(rows.iter().map(|row| &*row.products.names)),
            lists(rows.iter().map(|row| &*row.products.brands)),
            statistics(rows, |row| row.lines.correlation())?,
            statistics(rows, |row| row.lines.population())?,
            statistics(rows, |row| row.lines.sample())?,
        ])
    }
}

impl CategoryStats {
    /// The prices of the products, added up.
    fn price_sum(&self) -> Result<Sum> {
        let prices = self.prices.variance().sum();
        let total_e4 = prices.total().map_err(Error::failed)?.unwrap_or_default();
        let count = prices.count().map_err(Error::failed)?;
        Ok(Sum { total: Amount::from_e8(total_e4.wrapping_mul(10_000)), count })
    }
}

fn statistics(rows: &[CategoryStats], of: impl Fn(&CategoryStats) -> Statistic) -> Result<ArrayRef> {
    let values = rows.iter().map(of).collect::<std::result::Result<Vec<_>, _>>();
    Ok(floats(values.map_err(Error::failed)?.into_iter()))
}

impl<I: IdColumn> TableRow for ProductFeatures<I> {
    const TABLE: OutputTable = OutputTable::ProductFeatures;

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("product_id", &layout.product_id),
            ("clean_name", &DataType::Utf8),
            ("price_category", &DataType::Utf8),
            ("metadata", &TextMap::data_type()),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| Some(&row.product)), &layout.product_id)?,
            texts(rows.iter().map(|row| row.name.as_deref())),
            texts(rows.iter().map(|row| Some(&row.price_category))),
            TextMap::column(rows.iter().map(|row| Some(row.metadata.clone()))),
        ])
    }
}

impl<I: IdColumn> TableRow for OrderAnomaly<I> {
    const TABLE: OutputTable = OutputTable::OrderAnomalies;

    fn schema(layout: &Layout) -> SchemaRef {
        schema([("order_id", &layout.order_id), ("final_price", &layout.money), ("anomaly_score", &DataType::Float64)])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| Some(&row.order)), &layout.order_id)?,
            money(rows.iter().map(|row| row.final_price), &layout.money)?,
            floats(rows.iter().map(|row| row.score.map(Score::to_f64))),
        ])
    }
}
