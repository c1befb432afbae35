//! Orders that are unlike the others.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::model::{Id, Line, OrderAnomaly};
use crate::operators::{ByKey, with_side_input};
use crate::udf::discounted;
use crate::udf::forest::{Forest, Point, point};

/// A row for each order, scored by the model of its time.
pub(super) fn order_anomalies<'scope, T: Timestamp + Lattice + TotalOrder, I: Id>(
    lines: ByKey<'scope, T, Option<I>, Line<I>>,
    models: VecCollection<'scope, T, Arc<Forest>>,
) -> VecCollection<'scope, T, OrderAnomaly<I>> {
    with_side_input(lines, models, "Order anomalies", |lines, model, rows| {
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
