//! Recency, frequency and monetary value of each customer.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{ids, int32s, money};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Amount, Id};
use crate::pipeline::{Epochs, Job};

use super::{Layout, Table, TableColumn};

/// A row of `rfm_analysis`; its key is `customer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rfm<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// Days from the last purchase to the as-of date; negative where the purchase lies after it.
    pub recency: Option<i32>,
    /// All orders.
    pub frequency: i64,
    /// The total amount.
    pub monetary: Option<Amount>,
}

/// `rfm_analysis`: see [`Rfm`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RfmAnalysisTable;

impl Table for RfmAnalysisTable {
    type Row<I: Id> = Rfm<I>;

    fn name(&self) -> &str {
        "rfm_analysis"
    }

    fn key(&self) -> &[&str] {
        &["customer_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let as_of = job.settings().as_of.days();
        job.customer_patterns().map(move |pattern| Rfm {
            customer: pattern.customer,
            recency: pattern.last.map(|last| as_of - last.days()),
            frequency: pattern.orders,
            monetary: pattern.spent.get(),
        })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("customer_id".into(), ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?),
            ("recency".into(), int32s(rows.iter().map(|row| row.recency))),
            ("frequency".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.frequency)))),
            ("monetary".into(), money(rows.iter().map(|row| row.monetary), &layout.money)?),
        ])
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
