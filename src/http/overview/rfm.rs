//! Customers by recency and frequency.

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;

use super::cells::{Money, amounts, ids, integers};

/// The rows of `rfm_analysis`, counted by recency and frequency. Guests, and customers without a dated order, are left
/// out.
#[derive(Default)]
pub(super) struct RecencyFrequency {
    cells: [[OfCell; FREQUENCIES.len()]; RECENCIES.len()],
}

#[derive(Clone, Copy, Default)]
struct OfCell {
    customers: i64,
    monetary: Money,
}

/// The greatest number of days of each row of cells; the last has all others.
const RECENCIES: [i64; 6] = [7, 30, 90, 180, 365, i64::MAX];
/// The greatest number of orders of each column of cells; the last has all others.
const FREQUENCIES: [i64; 6] = [1, 3, 7, 15, 31, i64::MAX];

impl RecencyFrequency {
    pub(super) const TABLE: &str = "rfm_analysis";

    pub(super) fn change(&mut self, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        self.add(minus, -1)?;
        self.add(plus, 1)
    }

    fn add(&mut self, rows: &RecordBatch, sign: i64) -> Result<()> {
        let (customers, monetary) = (ids(rows, "customer_id")?, amounts(rows, "monetary")?);
        let (recencies, frequencies) = (integers(rows, "recency")?, integers(rows, "frequency")?);
        for row in (0..rows.num_rows()).filter(|row| recencies.is_valid(*row) && customers.get(*row).is_some()) {
            let cell =
                &mut self.cells[place(&RECENCIES, recencies.value(row))][place(&FREQUENCIES, frequencies.value(row))];
            cell.customers += sign;
            cell.monetary.add(monetary.get(row).unwrap_or_default(), sign);
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let bound = |most: &i64| if *most == i64::MAX { Value::Null } else { json!(most) };
        let customers = self.cells.map(|row| row.map(|cell| cell.customers));
        let monetary: Vec<Vec<Value>> =
            self.cells.iter().map(|row| row.iter().map(|cell| cell.monetary.json()).collect()).collect();
        json!({
            "recency_days_most": RECENCIES.iter().map(bound).collect::<Vec<_>>(),
            "frequency_most": FREQUENCIES.iter().map(bound).collect::<Vec<_>>(),
            "customers": customers,
            "monetary": monetary,
        })
    }
}

fn place(bounds: &[i64; 6], value: i64) -> usize {
    bounds.iter().position(|most| value <= *most).unwrap_or(bounds.len() - 1)
}
