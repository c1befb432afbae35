//! Pieces, revenue and customers of each product.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;

use crate::columns::build::{ids, money, texts};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Id, ProductSales};
use crate::pipeline::{Epochs, Job};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// `product_sales`: see [`ProductSales`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductSalesTable;

impl Table for ProductSalesTable {
    type Row<I: Id> = ProductSales<I>;

    fn name(&self) -> &str {
        "product_sales"
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&["product_name"])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        job.product_sales()
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("product_id".into(), ids(rows.iter().map(|row| row.product.as_ref()), &layout.product_id)?),
            ("product_name".into(), texts(rows.iter().map(|row| row.name.as_deref()))),
            ("category".into(), texts(rows.iter().map(|row| row.category.as_deref()))),
            ("total_quantity".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.quantity)))),
            ("total_revenue".into(), money(rows.iter().map(|row| row.revenue), &layout.money)?),
            ("unique_customers".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers)))),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        // The best first; without revenue last, as SQL orders nulls descending; ties by product.
        &[("total_revenue", Direction::Descending), ("product_id", Direction::Ascending)]
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
