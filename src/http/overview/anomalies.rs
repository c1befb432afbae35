//! Orders that are unusual, as they come.

use std::collections::VecDeque;

use arrow::array::{Array, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::http::stamp::timestamp;
use crate::model::AnyId;
use crate::sinks::Committed;

use super::cells::{Money, amounts, id_json, ids};

/// The orders of `order_anomalies` with a score below zero that came while the shop was watched, the newest first.
#[derive(Default)]
pub(super) struct Anomalies(VecDeque<Anomaly>);

struct Anomaly {
    epoch: Committed,
    order: AnyId,
    price: Option<Money>,
    score: f64,
}

/// How many are told.
const ANOMALIES: usize = 20;

impl Anomalies {
    pub(super) const TABLE: &str = "order_anomalies";

    /// An order that is not an anomaly any more, or is gone, is taken out.
    pub(super) fn change(&mut self, epoch: Committed, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        if !self.0.is_empty() {
            let gone = ids(minus, "order_id")?;
            for order in (0..minus.num_rows()).filter_map(|row| gone.get(row)) {
                self.0.retain(|anomaly| anomaly.order != order);
            }
        }
        let (orders, prices, scores) = (ids(plus, "order_id")?, amounts(plus, "final_price")?, scores(plus)?);
        for row in (0..plus.num_rows()).filter(|row| scores.is_valid(*row) && scores.value(*row) < 0.0) {
            if let Some(order) = orders.get(row) {
                self.0.push_front(Anomaly { epoch, order, price: prices.get(row), score: scores.value(row) });
            }
        }
        self.0.truncate(ANOMALIES);
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let anomaly = |Anomaly { epoch, order, price, score }: &Anomaly| {
            json!({
                "epoch": epoch.epoch,
                "committed_at": timestamp(epoch.time_ms),
                "order_id": id_json(Some(order)),
                "final_price": price.map(Money::json),
                "anomaly_score": score,
            })
        };
        self.0.iter().map(anomaly).collect()
    }
}

fn scores(rows: &RecordBatch) -> Result<Float64Array> {
    let found = rows.column_by_name("anomaly_score");
    let found = found.ok_or_else(|| Error::failed("internal error: no column anomaly_score"))?;
    let scores = cast(found, &DataType::Float64).map_err(Error::failed)?;
    Ok(scores.as_primitive::<Float64Type>().clone())
}
