//! Orders, spending and the first and last purchase of each customer.

use std::sync::Arc;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;

use crate::columns::build::{dates, ids, means, money, texts};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{CustomerPattern, Id};
use crate::pipeline::{Epochs, Job};

use super::{Layout, Table, TableColumn};

/// `customer_patterns`: see [`CustomerPattern`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CustomerPatternsTable;

impl Table for CustomerPatternsTable {
    type Row<I: Id> = CustomerPattern<I>;

    fn name(&self) -> &str {
        "customer_patterns"
    }

    fn key(&self) -> &[&str] {
        &["customer_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        job.customer_patterns()
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("customer_id".into(), ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?),
            ("customer_tier".into(), texts(rows.iter().map(|row| row.tier.map(|tier| layout.tiers.name(tier))))),
            ("total_orders".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.orders)))),
            ("total_spent".into(), money(rows.iter().map(|row| row.spent.get()), &layout.money)?),
            ("avg_order_value".into(), means(rows.iter().map(|row| row.spent), &layout.money)?),
            ("first_purchase".into(), dates(rows.iter().map(|row| row.first))),
            ("last_purchase".into(), dates(rows.iter().map(|row| row.last))),
        ])
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
