//! Rejected rows and their reasons.

use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use differential_dataflow::VecCollection;

use crate::columns::ShopId;
use crate::columns::build::texts;
use crate::error::Result;
use crate::model::{Id, Rejection};
use crate::pipeline::{Epochs, Job};
use crate::sinks::Direction;

use super::{Layout, Table, TableColumn};

/// `rejected`: the rows of sources and tables that could not be used.
///
/// They come from sources and from the functions of the config, not from the job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RejectedTable;

impl RejectedTable {
    /// The name of the table.
    pub(crate) const NAME: &str = "rejected";
}

impl Table for RejectedTable {
    type Row<I: Id> = Rejection;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn key(&self) -> &[&str] {
        &["table", "file", "row_number", "row", "reason"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, _: &Job<'scope, T, I>) -> VecCollection<'scope, T, Rejection> {
        unreachable!("rejected rows do not come from the job")
    }

    /// `row_number` counts from 1. Rows rejected by a function have neither a file nor a number.
    fn columns<I: ShopId>(&self, rows: &[Rejection], _: &Layout) -> Result<Vec<TableColumn>> {
        let origins = || rows.iter().map(|row| row.origin.as_ref());
        Ok(vec![
            ("table".into(), Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.table)))),
            ("file".into(), texts(origins().map(|origin| origin.map(|origin| &*origin.file)))),
            (
                "row_number".into(),
                Arc::new(UInt64Array::from_iter(origins().map(|origin| origin.map(|origin| origin.row + 1)))),
            ),
            ("reason".into(), Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.reason.text)))),
            ("row".into(), Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.row)))),
        ])
    }

    fn order(&self) -> &[(&str, Direction)] {
        &[
            ("table", Direction::Ascending),
            ("file", Direction::Ascending),
            ("row_number", Direction::Ascending),
            ("reason", Direction::Ascending),
            ("row", Direction::Ascending),
        ]
    }
}
