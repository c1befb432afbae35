//! Revenue, customers and the average order of each day.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{dates, means, money};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{AmountSum, Day, Id};
use crate::operators::totals;
use crate::pipeline::{Epochs, Job, Totals};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// A row of `daily_sales`; its key is `day`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DailySales {
    /// The day.
    pub day: Option<Day>,
    /// The amounts of the orders: `daily_revenue` is their sum, `avg_order_value` their mean.
    pub revenue: AmountSum,
    /// Distinct customers, guests not counted.
    pub customers: i64,
}

/// `daily_sales`: see [`DailySales`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DailySalesTable;

impl Table for DailySalesTable {
    type Row<I: Id> = DailySales;

    fn name(&self) -> &str {
        "daily_sales"
    }

    fn key(&self) -> &[&str] {
        &["order_date"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn reads_lines(&self) -> bool {
        false
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        totals(job.daily_totals(), "Daily sales", |day, totals: &Totals| DailySales {
            day: *day,
            revenue: totals.sum(),
            customers: totals.customers,
        })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("order_date".into(), dates(rows.iter().map(|row| row.day))),
            ("daily_revenue".into(), money(rows.iter().map(|row| row.revenue.get()), &layout.money)?),
            ("daily_customers".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers)))),
            ("avg_order_value".into(), means(rows.iter().map(|row| row.revenue), &layout.money)?),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        &[("order_date", Direction::Ascending)]
    }
}
