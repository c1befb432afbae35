//! From rows of tables to record batches.

mod columns;
pub(crate) mod enriched;
mod further;

use std::cmp::{Ordering, Reverse};
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use differential_dataflow::ExchangeData;

use crate::error::{Error, Result};
use crate::model::{
    CategoryStats, CohortSize, CustomerPattern, DailySales, Enriched, MatrixEntry, Number, OrderAnomaly,
    ProductFeatures, ProductRanking, ProductSales, Rfm, Sum,
};

use super::OutputTable;
use super::cells::IdColumn;
use super::derived::Made;
use super::layout::Layout;
use columns::{dates, ids, int32s, means, money, texts};

/// A row of a table that is written.
pub(crate) trait TableRow: ExchangeData + Hash {
    /// The table.
    const TABLE: OutputTable;

    /// The columns, without those that functions make.
    fn schema(layout: &Layout) -> SchemaRef;

    /// Rows, column by column as the schema has them.
    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>>;

    /// How the table's rows are ordered; `None` where the order does not matter.
    const ORDER: Option<fn(&Self, &Self) -> Ordering> = None;

    /// Rows as a record batch, with the columns that functions make.
    fn batch(rows: &[Self], layout: &Layout) -> Result<Made> {
        let own = RecordBatch::try_new(Self::schema(layout), Self::columns(rows, layout)?).map_err(Error::failed)?;
        layout.derived.add(Self::TABLE, own)
    }
}

/// The columns of a table, the derived ones included.
pub(crate) fn schema_of(table: OutputTable, layout: &Layout) -> SchemaRef {
    layout.derived.schema(table, own_schema_of(table, layout))
}

/// The columns of a table without the derived ones; they do not depend on the type of ids in memory.
pub(crate) fn own_schema_of(table: OutputTable, layout: &Layout) -> SchemaRef {
    match table {
        OutputTable::EnrichedData => Enriched::<Number>::schema(layout),
        OutputTable::DailySales => DailySales::schema(layout),
        OutputTable::ProductSales => ProductSales::<Number>::schema(layout),
        OutputTable::CustomerPatterns => CustomerPattern::<Number>::schema(layout),
        OutputTable::RfmAnalysis => Rfm::<Number>::schema(layout),
        OutputTable::CohortAnalysis => CohortSize::schema(layout),
        OutputTable::CustomerProductMatrix => MatrixEntry::<Number>::schema(layout),
        OutputTable::ProductRanking => ProductRanking::<Number>::schema(layout),
        OutputTable::CategoryStats => CategoryStats::schema(layout),
        OutputTable::ProductFeatures => ProductFeatures::<Number>::schema(layout),
        OutputTable::OrderAnomalies => OrderAnomaly::<Number>::schema(layout),
    }
}

fn schema<const N: usize>(columns: [(&str, &DataType); N]) -> SchemaRef {
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type.clone(), true)).to_vec()))
}

impl<I: IdColumn> TableRow for Enriched<I> {
    const TABLE: OutputTable = OutputTable::EnrichedData;

    fn schema(layout: &Layout) -> SchemaRef {
        layout.enriched_schema()
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        enriched::joined(rows, layout)
    }
}

impl TableRow for DailySales {
    const TABLE: OutputTable = OutputTable::DailySales;

    const ORDER: Option<fn(&Self, &Self) -> Ordering> = Some(|a, b| a.day.cmp(&b.day));

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("order_date", &DataType::Date32),
            ("daily_revenue", &layout.money),
            ("daily_customers", &DataType::Int64),
            ("avg_order_value", &layout.money),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            dates(rows.iter().map(|row| row.day)),
            money(rows.iter().map(|row| row.revenue.get()), &layout.money)?,
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers))),
            means(rows.iter().map(|row| row.revenue), &layout.money)?,
        ])
    }
}

impl<I: IdColumn> TableRow for ProductSales<I> {
    const TABLE: OutputTable = OutputTable::ProductSales;

    /// The best first; those without revenue last, as descending order has nulls in SQL, and ties by product.
    const ORDER: Option<fn(&Self, &Self) -> Ordering> =
        Some(|a, b| (Reverse(a.revenue), &a.product).cmp(&(Reverse(b.revenue), &b.product)));

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("product_id", &layout.product_id),
            ("product_name", &DataType::Utf8),
            ("category", &DataType::Utf8),
            ("total_quantity", &DataType::Int64),
            ("total_revenue", &layout.money),
            ("unique_customers", &DataType::Int64),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| row.product.as_ref()), &layout.product_id)?,
            texts(rows.iter().map(|row| row.name.as_deref())),
            texts(rows.iter().map(|row| row.category.as_deref())),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.quantity))),
            money(rows.iter().map(|row| row.revenue), &layout.money)?,
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers))),
        ])
    }
}

impl<I: IdColumn> TableRow for CustomerPattern<I> {
    const TABLE: OutputTable = OutputTable::CustomerPatterns;

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("customer_id", &layout.customer_id),
            ("customer_tier", &DataType::Utf8),
            ("total_orders", &DataType::Int64),
            ("total_spent", &layout.money),
            ("avg_order_value", &layout.money),
            ("first_purchase", &DataType::Date32),
            ("last_purchase", &DataType::Date32),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?,
            texts(rows.iter().map(|row| row.tier.map(|tier| layout.tiers.name(tier)))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.orders))),
            money(rows.iter().map(|row| Sum::get(row.spent)), &layout.money)?,
            means(rows.iter().map(|row| row.spent), &layout.money)?,
            dates(rows.iter().map(|row| row.first)),
            dates(rows.iter().map(|row| row.last)),
        ])
    }
}

impl<I: IdColumn> TableRow for Rfm<I> {
    const TABLE: OutputTable = OutputTable::RfmAnalysis;

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("customer_id", &layout.customer_id),
            ("recency", &DataType::Int32),
            ("frequency", &DataType::Int64),
            ("monetary", &layout.money),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?,
            int32s(rows.iter().map(|row| row.recency)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.frequency))),
            money(rows.iter().map(|row| row.monetary), &layout.money)?,
        ])
    }
}

impl TableRow for CohortSize {
    const TABLE: OutputTable = OutputTable::CohortAnalysis;

    const ORDER: Option<fn(&Self, &Self) -> Ordering> = Some(|a, b| a.month.cmp(&b.month));

    fn schema(_: &Layout) -> SchemaRef {
        schema([("cohort_month", &DataType::Utf8), ("cohort_size", &DataType::Int64)])
    }

    fn columns(rows: &[Self], _: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            texts(rows.iter().map(|row| row.month.map(|month| month.to_string()))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers))),
        ])
    }
}

impl<I: IdColumn> TableRow for MatrixEntry<I> {
    const TABLE: OutputTable = OutputTable::CustomerProductMatrix;

    fn schema(layout: &Layout) -> SchemaRef {
        schema([
            ("customer_id", &layout.customer_id),
            ("product_id", &layout.product_id),
            ("total_amount", &layout.money),
            ("rank", &DataType::UInt32),
        ])
    }

    fn columns(rows: &[Self], layout: &Layout) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?,
            ids(rows.iter().map(|row| row.product.as_ref()), &layout.product_id)?,
            money(rows.iter().map(|row| row.amount), &layout.money)?,
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.rank))),
        ])
    }
}
