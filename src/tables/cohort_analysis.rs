//! The customers who bought in each month.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::texts;
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Day, Id, Month};
use crate::operators::totals;
use crate::pipeline::{Epochs, Job, Totals};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// A row of `cohort_analysis`; its key is `month`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CohortSize {
    /// The month; `None` for the orders without a date.
    pub month: Option<Month>,
    /// Distinct customers, guests not counted.
    pub customers: i64,
}

/// `cohort_analysis`: see [`CohortSize`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CohortAnalysisTable;

impl Table for CohortAnalysisTable {
    type Row<I: Id> = CohortSize;

    fn name(&self) -> &str {
        "cohort_analysis"
    }

    fn key(&self) -> &[&str] {
        &["cohort_month"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let sizes = job.customer_reductions().accumulate_distinct(
            Totals::ONE_CUSTOMER,
            |customer, line| customer.is_some().then(|| line.day.map(Day::month)),
            |_, month| *month,
            // Amounts are left out: a corrected amount changes no month.
            |_, line| Some((line.day.map(Day::month), Totals::ONE_ORDER)),
        );
        totals(sizes, "Cohorts", |month, totals: &Totals| CohortSize { month: *month, customers: totals.customers })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], _: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("cohort_month".into(), texts(rows.iter().map(|row| row.month.map(|month| month.to_string())))),
            ("cohort_size".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customers)))),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        &[("cohort_month", Direction::Ascending)]
    }
}
