//! The latest orders of each customer, ranked.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::UInt32Array;
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{ids, money};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::model::{Amount, Id};
use crate::pipeline::{Epochs, Job};

use super::{Layout, Table, TableColumn};

/// A row of `customer_product_matrix`; its key is `customer` and `rank`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MatrixEntry<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// 1 for the latest order.
    pub rank: u32,
    /// The product; `None` if the order has none.
    pub product: Option<I>,
    /// The amount of the order; `None` where the product is unknown.
    pub amount: Option<Amount>,
}

/// `customer_product_matrix`: see [`MatrixEntry`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CustomerProductMatrixTable;

impl Table for CustomerProductMatrixTable {
    type Row<I: Id> = MatrixEntry<I>;

    fn name(&self) -> &str {
        "customer_product_matrix"
    }

    fn key(&self) -> &[&str] {
        &["customer_id", "rank"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let most = job.settings().matrix_size;
        job.customer_reductions().reduce_summed(
            |_, _| (),
            move |customer, lines, (), rows| {
                let each = lines.descending().flat_map(|(line, weight)| repeat_n(line, weight.unsigned_abs()));
                rows.extend((1..).zip(each.take(most)).map(|(rank, line)| MatrixEntry {
                    customer: customer.clone(),
                    rank,
                    product: line.product.clone(),
                    amount: line.amount(),
                }));
            },
        )
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("customer_id".into(), ids(rows.iter().map(|row| row.customer.as_ref()), &layout.customer_id)?),
            ("product_id".into(), ids(rows.iter().map(|row| row.product.as_ref()), &layout.product_id)?),
            ("total_amount".into(), money(rows.iter().map(|row| row.amount), &layout.money)?),
            ("rank".into(), Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.rank)))),
        ])
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
