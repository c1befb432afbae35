//! Revenue and customers of each day.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;
use crate::model::Day;

use super::cells::{Money, amounts, dates, day, integers};

/// The rows of `daily_sales`, by day. Orders without a date are left out.
#[derive(Default)]
pub(super) struct Days(BTreeMap<Day, OfDay>);

struct OfDay {
    revenue: Option<Money>,
    customers: i64,
    average: Option<Money>,
}

/// How many of the last days are told.
const DAYS: usize = 180;

impl Days {
    pub(super) const TABLE: &str = "daily_sales";

    pub(super) fn change(&mut self, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        let days = dates(minus, "order_date")?;
        for row in 0..days.len() {
            day(&days, row).map(|day| self.0.remove(&day));
        }
        let days = dates(plus, "order_date")?;
        let (revenues, averages) = (amounts(plus, "daily_revenue")?, amounts(plus, "avg_order_value")?);
        let customers = integers(plus, "daily_customers")?;
        for row in 0..days.len() {
            let (revenue, average, customers) = (revenues.get(row), averages.get(row), customers.value(row));
            day(&days, row).map(|day| self.0.insert(day, OfDay { revenue, customers, average }));
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let last = self.0.iter().rev().take(DAYS).collect::<Vec<_>>();
        let day = |(day, of_day): (&Day, &OfDay)| {
            let OfDay { revenue, customers, average } = of_day;
            json!({
                "day": day.to_string(),
                "revenue": revenue.map(Money::json),
                "customers": customers,
                "average_order_value": average.map(Money::json),
            })
        };
        last.into_iter().rev().map(day).collect()
    }
}
