//! `interval * number`, which DataFusion lacks.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::Result as QueryResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// `interval_product(interval, number)`: as in PostgreSQL, parts of months are days, of which a month has 30, and parts
/// of days are hours; to the microsecond. Null if it is out of range.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct IntervalProduct {
    signature: Signature,
}

impl Default for IntervalProduct {
    fn default() -> IntervalProduct {
        let types = vec![DataType::Interval(IntervalUnit::MonthDayNano), DataType::Float64];
        IntervalProduct { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IntervalProduct {
    fn name(&self) -> &str {
        "interval_product"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let intervals = args.args[0].to_array(args.number_rows)?;
        let numbers = args.args[1].to_array(args.number_rows)?;
        let pairs =
            intervals.as_primitive::<IntervalMonthDayNanoType>().iter().zip(numbers.as_primitive::<Float64Type>());
        let products: IntervalMonthDayNanoArray = pairs.map(|(interval, number)| product(interval?, number?)).collect();
        Ok(ColumnarValue::Array(Arc::new(products)))
    }
}

const NANOS_A_DAY: f64 = 86_400e9;

#[allow(clippy::cast_possible_truncation, reason = "what is out of range is null")]
fn product(interval: IntervalMonthDayNano, number: f64) -> Option<IntervalMonthDayNano> {
    let months = f64::from(interval.months) * number;
    let days = f64::from(interval.days) * number + months.fract() * 30.0;
    let nanos = interval.nanoseconds as f64 * number + days.fract() * NANOS_A_DAY;
    let micros = (nanos / 1000.0).round();
    let fits = |value: f64, most: f64| value.is_finite() && value.abs() < most;
    let all_fit = fits(months, f64::from(i32::MAX)) && fits(days, f64::from(i32::MAX)) && fits(micros, 9e15);
    all_fit.then(|| IntervalMonthDayNano::new(months.trunc() as i32, days.trunc() as i32, micros as i64 * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_postgresql() {
        let of = IntervalMonthDayNano::new;
        let minute = 60_000_000_000;
        for (interval, number, wanted) in [
            (of(0, 0, 5 * minute), 3.0, of(0, 0, 15 * minute)),
            (of(1, 0, 0), 1.5, of(1, 15, 0)),
            (of(0, 1, 0), 0.5, of(0, 0, 720 * minute)),
            (of(0, 0, minute), -2.0, of(0, 0, -2 * minute)),
        ] {
            assert_eq!(product(interval, number), Some(wanted), "{interval:?} * {number}");
        }
        assert_eq!(product(of(1, 0, 0), f64::INFINITY), None);
    }
}
