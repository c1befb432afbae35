//! Customers of each month.

use std::collections::BTreeMap;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;

use super::cells::{integers, text, texts};

/// The rows of `cohort_analysis`, by month.
#[derive(Default)]
pub(super) struct Cohorts(BTreeMap<String, i64>);

/// How many of the last months are told.
const MONTHS: usize = 36;

impl Cohorts {
    pub(super) const TABLE: &str = "cohort_analysis";

    pub(super) fn change(&mut self, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        let months = texts(minus, "cohort_month")?;
        for row in 0..months.len() {
            text(&months, row).map(|month| self.0.remove(month));
        }
        let (months, sizes) = (texts(plus, "cohort_month")?, integers(plus, "cohort_size")?);
        for row in 0..months.len() {
            text(&months, row).map(|month| self.0.insert(month.to_owned(), sizes.value(row)));
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let last = self.0.iter().rev().take(MONTHS).collect::<Vec<_>>();
        last.into_iter().rev().map(|(month, customers)| json!({ "month": month, "customers": customers })).collect()
    }
}
