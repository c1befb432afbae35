//! Isolation-forest scores as a vectorised function.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{Decimal128Type, Int64Type};
use arrow::error::ArrowError;

use crate::forest::{Forest, Point};
use crate::model::{Discount, Price};

use super::function::Udf;

/// `anomaly_score` of quantity, price and discount; null if any argument is null. Vectorised.
#[must_use]
pub fn anomaly_score(forest: &Arc<Forest>) -> Udf<(i64, Price, Discount), f64> {
    let forest = Arc::clone(forest);
    Udf::vectorised("anomaly_score", move |columns| score(&forest, columns))
}

fn score(forest: &Forest, columns: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
    let quantities = columns[0].as_primitive::<Int64Type>();
    let [prices, discounts] = [1, 2].map(|column: usize| columns[column].as_primitive::<Decimal128Type>());
    let is_known = |row: &usize| columns.iter().all(|column| column.is_valid(*row));
    let e4 =
        |value: i128| i64::try_from(value).map_err(|_| ArrowError::ComputeError(format!("{value} is out of range")));
    let known: Vec<usize> = (0..quantities.len()).filter(is_known).collect();
    let point = |row: &usize| Ok([quantities.value(*row), e4(prices.value(*row))?, e4(discounts.value(*row))?]);
    let points = known.iter().map(point).collect::<Result<Vec<Point>, ArrowError>>()?;
    let mut scores = Vec::with_capacity(points.len());
    forest.score(&points, &mut scores);
    let mut column = vec![None; quantities.len()];
    known.into_iter().zip(scores).for_each(|(row, score)| column[row] = Some(score.to_f64()));
    Ok(Arc::new(Float64Array::from(column)))
}
