//! `timezone`, which `AT TIME ZONE` stands for: converts between an instant and the local time in a zone.

use std::sync::Arc;

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result as QueryResult, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::sql::sql_state::QueryProblem;

/// `timezone(zone, time)`. A time with a zone gives what a clock in the zone shows then, without one; a time without a
/// zone is what a clock in the zone shows, and gives the moment. An hour that clocks show twice is the later one, and
/// one that they leave out goes on as if they had not been changed yet; both as in PostgreSQL.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimezoneFunction {
    signature: Signature,
}

impl Default for TimezoneFunction {
    fn default() -> TimezoneFunction {
        TimezoneFunction { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl ScalarUDFImpl for TimezoneFunction {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> QueryResult<Vec<DataType>> {
        match types {
            [_, DataType::Timestamp(_, None)] => Ok(vec![DataType::Utf8, LOCAL]),
            // A day, and a text whose type is not said, are moments in UTC.
            [_, time] if time.is_temporal() || time.is_string() || time.is_null() => Ok(vec![DataType::Utf8, moment()]),
            _ => plan_err!("AT TIME ZONE: wanted a timestamp and the name of a time zone"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> QueryResult<DataType> {
        Ok(if types[1] == LOCAL { moment() } else { LOCAL })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let times = args.args[1].to_array(args.number_rows)?;
        let is_local = *times.data_type() == LOCAL;
        let convert = |zone: Tz, time: i64| if is_local { moment_of(zone, time) } else { shown(zone, time) };
        let of = times.as_primitive::<TimestampMicrosecondType>();
        let converted: TimestampMicrosecondArray = match &args.args[0] {
            ColumnarValue::Scalar(zone) => match zone.try_as_str().flatten() {
                Some(zone) => {
                    let zone = zone_of(zone)?;
                    of.iter().map(|time| convert(zone, time?)).collect()
                }
                None => std::iter::repeat_n(None::<i64>, times.len()).collect(),
            },
            ColumnarValue::Array(zones) => {
                let zones = cast(zones, &DataType::Utf8)?;
                let each = zones.as_string::<i32>().iter().zip(of);
                let each = each.map(|(zone, time)| {
                    Ok(match (zone, time) {
                        (Some(zone), Some(time)) => convert(zone_of(zone)?, time),
                        _ => None,
                    })
                });
                each.collect::<QueryResult<_>>()?
            }
        };
        let converted: ArrayRef = match is_local {
            true => Arc::new(converted.with_timezone("UTC")),
            false => Arc::new(converted),
        };
        match (&args.args[0], &args.args[1]) {
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => {
                ScalarValue::try_from_array(&converted, 0).map(ColumnarValue::Scalar)
            }
            _ => Ok(ColumnarValue::Array(converted)),
        }
    }
}

/// The zone of a name, in whichever case.
pub(crate) fn zone_of(name: &str) -> Result<Tz, DataFusionError> {
    TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)).copied().ok_or_else(|| {
        let message = format!("time zone \"{name}\" not recognized");
        QueryProblem::new(QueryProblem::INVALID_PARAMETER, message)
            .with_hint("Wanted a name such as UTC or Europe/Berlin.")
            .into()
    })
}

/// What a clock in a zone shows at a moment.
fn shown(zone: Tz, moment: i64) -> Option<i64> {
    let moment = DateTime::from_timestamp_micros(moment)?.naive_utc();
    let offset = zone.offset_from_utc_datetime(&moment).fix();
    moment.checked_add_offset(offset).map(|local| local.and_utc().timestamp_micros())
}

/// When a clock in a zone shows this.
fn moment_of(zone: Tz, local: i64) -> Option<i64> {
    let local = DateTime::from_timestamp_micros(local)?.naive_utc();
    let at = |time: &NaiveDateTime| match zone.offset_from_local_datetime(time) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => Some(offset.fix()),
        LocalResult::None => None,
    };
    let offset = at(&local).or_else(|| at(&local.checked_sub_days(Days::new(1))?))?;
    local.checked_sub_offset(offset).map(|moment| moment.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("a time");
        time.and_utc().timestamp_micros()
    }

    #[test]
    fn clocks_that_are_changed_are_those_of_postgresql() {
        let zone = zone_of("europe/berlin").expect("a zone");
        for (moment, clock) in [
            ("2024-01-15 12:00", "2024-01-15 13:00"),
            ("2024-07-15 12:00", "2024-07-15 14:00"),
            ("2024-10-27 00:30", "2024-10-27 02:30"),
        ] {
            assert_eq!(shown(zone, micros(moment)), Some(micros(clock)), "{moment}");
        }
        for (clock, moment) in [
            ("2024-01-15 13:00", "2024-01-15 12:00"),
            ("2024-07-15 14:00", "2024-07-15 12:00"),
            // Shown twice.
            ("2024-10-27 02:30", "2024-10-27 01:30"),
            // Never shown.
            ("2024-03-31 02:30", "2024-03-31 01:30"),
        ] {
            assert_eq!(moment_of(zone, micros(clock)), Some(micros(moment)), "{clock}");
        }
        assert!(zone_of("Middle/Earth").is_err());
    }
}
