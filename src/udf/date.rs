//! Days of the week.

use arrow::array::Int32Array;
use arrow::compute::cast;
use arrow::compute::kernels::numeric::add;
use arrow::compute::{DatePart, date_part};
use arrow::datatypes::DataType;

use crate::model::Day;

use super::function::Udf;

/// `weekday`: the ISO 8601 weekday, from 1 (Monday) to 7 (Sunday); null for null. Vectorised.
///
/// ```
/// use millstream::{model::Day, udf::weekday};
/// assert_eq!(weekday().call(Day::from_ymd(2024, 5, 1)), Ok(Some(3)));
/// ```
#[must_use]
pub fn weekday() -> Udf<Day, i64> {
    Udf::vectorised("weekday", |columns| {
        let from_zero = date_part(&columns[0], DatePart::DayOfWeekMonday0)?;
        cast(&add(&from_zero, &Int32Array::new_scalar(1))?, &DataType::Int64)
    })
}
