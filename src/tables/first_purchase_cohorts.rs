//! The customers who bought for the first time in each month.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};

use crate::columns::build::texts;
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Day, Id, Month};
use crate::pipeline::{Epochs, Job};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// A row of `first_purchase_cohorts`; its key is `month`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NewCustomers {
    /// The month; `None` for customers none of whose orders has a date.
    pub month: Option<Month>,
    /// The customers whose first order was in that month, guests not counted.
    pub customers: i64,
}

/// `first_purchase_cohorts`: see [`NewCustomers`]. Each customer is counted once, other than in `cohort_analysis`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstPurchaseCohortsTable;

impl Table for FirstPurchaseCohortsTable {
    type Row<I: Id> = NewCustomers;

    fn name(&self) -> &str {
        "first_purchase_cohorts"
    }

    fn key(&self) -> &[&str] {
        &["cohort_month"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let months = job.customer_patterns().flat_map(|pattern| {
            let month = pattern.first.map(Day::month);
            pattern.customer.map(|_| month)
        });
        let cohort = |(month, customers): (Option<Month>, isize)| NewCustomers { month, customers: customers as i64 };
        months.count_total().map(cohort)
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], _: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("cohort_month".into(), texts(rows.iter().map(|row| row.month.map(|month| month.to_string())))),
            ("new_customers".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers)))),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        &[("cohort_month", Direction::Ascending)]
    }

    fn is_default(&self) -> bool {
        false
    }
}
