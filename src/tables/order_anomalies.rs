//! The unit price and anomaly score of each order.

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::columns::build::{floats, ids, money};
use crate::columns::{FurtherColumns, ShopId};
use crate::error::Result;
use crate::forest::{Point, point};
use crate::model::{Amount, Id, Line, Score, discounted};
use crate::operators::with_side_input;
use crate::pipeline::{Epochs, Job};

use super::{Layout, Table, TableColumn};

/// A row of `order_anomalies`; its key is `order`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderAnomaly<I> {
    /// The order's id.
    pub order: I,
    /// `final_price`: the price of one piece after the discount; `None` where the product is unknown.
    pub final_price: Option<Amount>,
    /// `anomaly_score`: `None` where the product is unknown, or there is no model.
    pub score: Option<Score>,
}

/// `order_anomalies`: see [`OrderAnomaly`].
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderAnomaliesTable;

impl Table for OrderAnomaliesTable {
    type Row<I: Id> = OrderAnomaly<I>;

    fn name(&self) -> &str {
        "order_anomalies"
    }

    fn key(&self) -> &[&str] {
        &["order_id"]
    }

    fn further_columns(&self) -> FurtherColumns {
        FurtherColumns::Only(&[])
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        with_side_input(job.lines_by_customer(), job.models(), "Order anomalies", |lines, model, rows| {
            let known = |line: &Line<I>| line.price.map(|price| point(line.quantity, price, line.discount));
            let points: Vec<Point> = lines.iter().filter_map(|(_, line)| known(line)).collect();
            let mut scores = Vec::with_capacity(points.len());
            model.iter().for_each(|model| model.score(&points, &mut scores));
            let mut scores = scores.into_iter();
            rows.extend(lines.iter().map(|(_, line)| OrderAnomaly {
                order: line.order.clone(),
                final_price: line.price.map(|price| discounted(price, line.discount)),
                score: line.price.and_then(|_| scores.next()),
            }));
        })
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("order_id".into(), ids(rows.iter().map(|row| Some(&row.order)), &layout.order_id)?),
            ("final_price".into(), money(rows.iter().map(|row| row.final_price), &layout.money)?),
            ("anomaly_score".into(), floats(rows.iter().map(|row| row.score.map(Score::to_f64)))),
        ])
    }

    fn is_default(&self) -> bool {
        false
    }

    fn is_sent_once(&self) -> bool {
        true
    }
}
