//! Column values as ids, texts, days, quantities and money, converted on access.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type, Int64Type, TimeUnit, i256};
use arrow::util::display::{ArrayFormatter, FormatOptions, array_value_to_string};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::model::money::{decimal_to_e4, f64_to_e4, text_to_e4_moved};
use crate::model::{AnyId, Day, Id, IntId, Reason, Text, Version};

use super::core::{decimal_scale, is_text};
use super::date_format::DateFormat;
use super::integer_text::{is_canonical, whole};

/// A value, a null, or the reason why it can't be read.
pub type CellValue<T> = std::result::Result<Option<T>, Reason>;

/// Reads the value in a row of a column.
pub type CellReader<T> = Box<dyn Fn(usize) -> CellValue<T>>;

/// An id type of a job whose input and output are Arrow columns: [`IntId`] or [`AnyId`].
pub trait ShopId: Id {
    /// True if ids may be text.
    const HAS_TEXT: bool;

    /// The id with this integer value; `None` if the type can't represent it.
    fn of_integer(integer: i64) -> Option<Self>;

    /// The id with this text value; `None` if the type can't represent it.
    fn of_text(text: &str) -> Option<Self>;

    /// The id with the value of any other; `None` if the type can't represent it.
    fn of_any(id: &AnyId) -> Option<Self> {
        match id {
            AnyId::Int(integer) => Self::of_integer(*integer),
            AnyId::Text(text) => Self::of_text(text),
        }
    }

    /// Builds a column of ids.
    fn column<'a>(ids: impl Iterator<Item = Option<&'a Self>>) -> ArrayRef;
}

impl ShopId for IntId {
    const HAS_TEXT: bool = false;

    fn of_integer(integer: i64) -> Option<Self> {
        IntId::new(integer)
    }

    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn column<'a>(ids: impl Iterator<Item = Option<&'a Self>>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(ids.map(|id| id.map(|id| id.get()))))
    }
}

impl ShopId for AnyId {
    const HAS_TEXT: bool = true;

    fn of_integer(integer: i64) -> Option<Self> {
        Some(AnyId::Int(integer))
    }

    fn of_text(text: &str) -> Option<Self> {
        Some(AnyId::Text(text.into()))
    }

    fn column<'a>(ids: impl Iterator<Item = Option<&'a Self>>) -> ArrayRef {
        Arc::new(StringArray::from_iter(ids.map(|id| id.map(AnyId::to_string))))
    }
}

/// Ids, read as text if any table has text ids for the same entity, otherwise as integers.
pub(crate) fn ids<I: ShopId>(column: &ArrayRef, name: &'static str, as_text: bool) -> Result<CellReader<I>> {
    if as_text {
        each_text(column, name, move |text| I::of_text(text).map(Some).ok_or("is a text, wanted an integer"))
    } else if is_text(column.data_type()) {
        each_text(column, name, move |text| {
            let text = whole(text);
            // `007` is a text, and not the same as 7.
            let integer = text.parse().ok().filter(|_| is_canonical(text)).ok_or("is not an integer")?;
            I::of_integer(integer).map(Some).ok_or("is out of range: wanted above -2^63")
        })
    } else {
        each::<Int64Type, _>(column, &DataType::Int64, name, move |number| {
            I::of_integer(number).map(Some).ok_or("is out of range: wanted above -2^63")
        })
    }
}

/// Text, from any string layout.
pub(crate) fn texts(column: &ArrayRef, name: &'static str) -> Result<CellReader<Text>> {
    each_text(column, name, move |text| Ok(Some(Text::from(text))))
}

/// Days, from dates, timestamps and text in the given format or ISO 8601. Times with a zone are converted to `zone`;
/// others are local already.
pub(crate) fn days(
    column: &ArrayRef,
    name: &'static str,
    zone: Tz,
    format: Option<&DateFormat>,
) -> Result<CellReader<Day>> {
    let in_range = |day: Option<Day>| day.map(Some).ok_or("is not a date in the years 1 to 9999");
    match column.data_type() {
        DataType::Date32 => {
            each::<Date32Type, _>(column, &DataType::Date32, name, move |days| in_range(Day::new(days)))
        }
        DataType::Date64 => each::<Int64Type, _>(column, &DataType::Int64, name, move |milliseconds| {
            in_range(day_of(milliseconds.div_euclid(1000), Tz::UTC))
        }),
        DataType::Timestamp(unit, of_zone) => {
            let per_second = per_second(*unit);
            let zone = if of_zone.is_some() { zone } else { Tz::UTC };
            each::<Int64Type, _>(column, &DataType::Int64, name, move |since| {
                in_range(day_of(since.div_euclid(per_second), zone))
            })
        }
        _ if format.is_some() => {
            let format = format.cloned();
            each_text(column, name, move |text| {
                let date = format.as_ref().and_then(|format| format.date_of(text.trim()));
                let day = date.and_then(Day::from_date);
                day.map(Some).ok_or("is not a date in the years 1 to 9999 in the given format (date_format)")
            })
        }
        _ => each_text(column, name, move |text| {
            day_of_text(text.trim(), zone).map(Some).ok_or("is not an ISO 8601 date in the years 1 to 9999")
        }),
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The day in a zone of an instant in seconds since 1970; `None` outside the years 1 to 9999.
fn day_of(seconds: i64, zone: Tz) -> Option<Day> {
    // Far outside, no zone is known. A zone is less than two days away from UTC.
    const YEARS: RangeInclusive<i32> = 0..=10_000;
    let instant = DateTime::from_timestamp(seconds, 0).filter(|instant| YEARS.contains(&instant.year()))?;
    Day::from_date(instant.with_timezone(&zone).date_naive())
}

fn day_of_text(text: &str, zone: Tz) -> Option<Day> {
    match moment_of_text(text)? {
        Moment::Date(date) => Day::from_date(date),
        Moment::Local(local) => Day::from_date(local.date()),
        Moment::Instant(instant) => day_of(instant.timestamp(), zone),
    }
}

/// What an ISO 8601 text tells.
enum Moment {
    Date(NaiveDate),
    /// A time without a zone.
    Local(NaiveDateTime),
    Instant(DateTime<Utc>),
}

fn moment_of_text(text: &str) -> Option<Moment> {
    let date = || text.parse().ok().map(Moment::Date);
    let local = || {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        local.map(Moment::Local)
    };
    let instant = || {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
        let utc = text.strip_suffix(['Z', 'z']).map(|text| format!("{text}+00:00"));
        let text = utc.as_deref().unwrap_or(text);
        let instant = formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok());
        instant.map(|instant| Moment::Instant(instant.to_utc()))
    };
    date().or_else(local).or_else(instant)
}

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Delete,
}

/// Operations, from the letters of Debezium.
pub(crate) fn operations(column: &ArrayRef, name: &'static str) -> Result<CellReader<Operation>> {
    each_text(column, name, |text| match text {
        "c" | "u" | "r" => Ok(Some(Operation::Write)),
        "d" => Ok(Some(Operation::Delete)),
        _ => Err("is no operation: wanted c, u, r, d or null"),
    })
}

/// True if a column of this type can have versions.
pub(crate) fn has_versions(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => has_versions(values),
        DataType::Null | DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => true,
        found => found.is_integer() || found.is_floating() || is_text(found),
    }
}

/// Versions, from whole numbers, dates, timestamps, and texts that are one of these, dates in the given format or ISO
/// 8601. Times without a zone are taken to be UTC.
pub(crate) fn versions(
    column: &ArrayRef,
    name: &'static str,
    format: Option<&DateFormat>,
) -> Result<CellReader<Version>> {
    let instant = |unit: i64| move |since: i64| Ok(Some(Version::Instant(i128::from(since) * i128::from(unit))));
    let (day, milli) = (86_400_000_000_000, 1_000_000);
    match column.data_type() {
        DataType::Date32 => each::<Int64Type, _>(
            &cast(column, &DataType::Int32).map_err(Error::failed)?,
            &DataType::Int64,
            name,
            instant(day),
        ),
        DataType::Date64 => each::<Int64Type, _>(column, &DataType::Int64, name, instant(milli)),
        DataType::Timestamp(unit, _) => {
            each::<Int64Type, _>(column, &DataType::Int64, name, instant(1_000_000_000 / per_second(*unit)))
        }
        found if found.is_integer() => {
            each::<Int64Type, _>(column, &DataType::Int64, name, |number| Ok(Some(Version::Number(number))))
        }
        found if found.is_floating() => each_text(column, name, |text| match text {
            "NaN" => Ok(None),
            text => whole(text).parse().map(|number| Some(Version::Number(number))).map_err(|_| "is not an integer"),
        }),
        _ => {
            let format = format.cloned();
            each_text(column, name, move |text| {
                let text = text.trim();
                let in_format = || instant_of(Moment::Date(format.as_ref()?.date_of(text)?));
                let number = whole(text).parse().ok().map(Version::Number);
                let version = number.or_else(in_format).or_else(|| instant_of(moment_of_text(text)?));
                version.map(Some).ok_or("is neither an integer nor a date or time")
            })
        }
    }
}

fn instant_of(moment: Moment) -> Option<Version> {
    let instant = match moment {
        Moment::Date(date) => date.and_time(NaiveTime::MIN).and_utc(),
        Moment::Local(local) => local.and_utc(),
        Moment::Instant(instant) => instant,
    };
    let seconds = i128::from(instant.timestamp()) * 1_000_000_000;
    Some(Version::Instant(seconds + i128::from(instant.timestamp_subsec_nanos())))
}

/// Integers with an absolute value below 2³¹. NaN is null.
pub(crate) fn quantities(column: &ArrayRef, name: &'static str) -> Result<CellReader<i32>> {
    const LIMIT: &str = "is out of range: wanted below 2^31";
    let in_range = |whole: i128| i32::try_from(whole).ok().filter(|whole| *whole != i32::MIN).map(Some).ok_or(LIMIT);
    let of_float = |float: f64| match float {
        float if float.is_nan() => Ok(None),
        float if float.abs() >= 2_f64.powi(31) => Err(LIMIT),
        float if float.fract() != 0.0 => Err("is not an integer"),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2³¹")]
        float => Ok(Some(float as i32)),
    };
    match column.data_type() {
        found if found.is_floating() => each::<Float64Type, _>(column, &DataType::Float64, name, of_float),
        found if found.is_integer() => {
            each::<Int64Type, _>(column, &DataType::Int64, name, move |whole| in_range(i128::from(whole)))
        }
        found if found.is_numeric() => {
            let scale = decimal_scale(found);
            let unit = i256::from_i128(10_i128.pow(scale.unsigned_abs().into()));
            each::<Decimal256Type, _>(column, &DataType::Decimal256(76, scale), name, move |value| {
                match value.wrapping_rem(unit) {
                    i256::ZERO => value.wrapping_div(unit).to_i128().ok_or(LIMIT).and_then(in_range),
                    _ => Err("is not an integer"),
                }
            })
        }
        _ => each_text(column, name, move |text| match (text.trim().parse::<i128>(), text.trim().parse::<f64>()) {
            (Ok(whole), _) => in_range(whole),
            (_, Ok(float)) => of_float(float),
            _ => Err("is not a number"),
        }),
    }
}

/// Money: exact to 10⁻⁴, rounded half-even where there are more digits. NaN is null. `make` knows the range. The point
/// of each value first moves to the left by `places`.
pub(crate) fn money<M>(
    column: &ArrayRef,
    name: &'static str,
    places: i32,
    make: impl Fn(i128) -> Option<M> + 'static,
    limit: &'static str,
) -> Result<CellReader<M>> {
    let in_range = move |e4: Option<i128>| e4.and_then(&make).map(Some).ok_or(limit);
    match column.data_type() {
        found if found.is_floating() => {
            each::<Float64Type, _>(column, &DataType::Float64, name, move |float| match float {
                float if float.is_nan() => Ok(None),
                float if places == 0 => in_range(f64_to_e4(float)),
                float => in_range(text_to_e4_moved(&float.to_string(), places)),
            })
        }
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            each::<Decimal256Type, _>(column, &DataType::Decimal256(76, scale), name, move |value| {
                in_range(wide_to_e4(value, i32::from(scale) + places))
            })
        }
        found if found.is_numeric() => {
            let scale = decimal_scale(found);
            each::<Decimal128Type, _>(column, &DataType::Decimal128(38, scale), name, move |value| {
                in_range(decimal_to_e4(value, i32::from(scale) + places))
            })
        }
        _ => each_text(column, name, move |text| match (text.trim(), text.trim().parse::<f64>()) {
            (_, Err(_)) => Err("is not a number"),
            (_, Ok(float)) if float.is_nan() => Ok(None),
            (_, Ok(float)) if float.is_infinite() => Err(limit),
            (text, Ok(_)) => in_range(text_to_e4_moved(text, places)),
        }),
    }
}

/// As [`decimal_to_e4`], for a decimal of any precision; `None` if it is out of range of any money.
fn wide_to_e4(value: i256, scale: i32) -> Option<i128> {
    // Digits that are not needed go; the last one then tells that there were some.
    let mut excess = 0;
    let (mut value, mut has_rest) = (value, false);
    while value.to_i128().is_none() && scale - excess > 5 {
        has_rest |= value.wrapping_rem(TEN) != i256::ZERO;
        value = value.wrapping_div(TEN);
        excess += 1;
    }
    let value = value.to_i128()?;
    let value = if has_rest { value / 10 * 10 + value.signum() } else { value };
    decimal_to_e4(value, scale - excess)
}

const TEN: i256 = i256::from_i128(10);

/// Casts a column to `A` and reads each value. Values that the cast turns into nulls are out of range.
fn each<A: ArrowPrimitiveType, T>(
    column: &ArrayRef,
    data_type: &DataType,
    name: &'static str,
    read: impl Fn(A::Native) -> std::result::Result<Option<T>, &'static str> + 'static,
) -> Result<CellReader<T>> {
    let values = cast(column, data_type).map_err(Error::failed)?;
    // A column of type null, and a dictionary with nulls, have no null of their own.
    let nulls = column.logical_nulls();
    let (values, column) = (values.as_primitive::<A>().clone(), Arc::clone(column));
    Ok(Box::new(move |index| {
        if values.is_valid(index) {
            read(values.value(index)).map_err(|reason| describe(&column, index, name, reason))
        } else if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(index)) {
            Err(describe(&column, index, name, "is out of range, or not of the column's type"))
        } else {
            Ok(None)
        }
    }))
}

fn each_text<T>(
    column: &ArrayRef,
    name: &'static str,
    read: impl Fn(&str) -> std::result::Result<Option<T>, &'static str> + 'static,
) -> Result<CellReader<T>> {
    let values = cast(column, &DataType::Utf8).map_err(Error::failed)?;
    let (values, column) = (values.as_string::<i32>().clone(), Arc::clone(column));
    Ok(Box::new(move |index| {
        if values.is_null(index) {
            return Ok(None);
        }
        read(values.value(index)).map_err(|reason| describe(&column, index, name, reason))
    }))
}

/// The longest value in a reason, in characters.
const LONGEST_VALUE: usize = 1000;

fn describe(column: &ArrayRef, index: usize, name: &str, reason: &str) -> Reason {
    let options = FormatOptions::default().with_display_error(false);
    let value = ArrayFormatter::try_new(column.as_ref(), &options).and_then(|cells| cells.value(index).try_to_string());
    // A time that no calendar has.
    let number = || cast(column, &DataType::Int64).and_then(|numbers| array_value_to_string(&numbers, index));
    let value: String = value.or_else(|_| number()).unwrap_or_default().chars().take(LONGEST_VALUE).collect();
    Reason::new(format!("{name} {reason}"), format!("{name} {value} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date64Array, Decimal128Array, Decimal256Array, Float64Array, TimestampMicrosecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };

    /// The first values of a column.
    fn first<T>(cells: Result<CellReader<T>>, many: usize) -> Vec<CellValue<T>> {
        (0..many).map(cells.expect("the column is read")).collect()
    }

    fn text(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }

    #[test]
    fn quantities_are_whole_numbers_below_two_to_the_31() {
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(3.0), Some(f64::NAN), None, Some(2.5), Some(3e9)]));
        let cells = first(quantities(&floats, "quantity"), 5);
        assert_eq!(cells[..3], [Ok(Some(3)), Ok(None), Ok(None)]);
        assert_eq!(cells[3], Err(Reason::new("quantity is not an integer", "quantity 2.5 is not an integer")));
        assert!(cells[4].is_err());
        let texts = first(quantities(&text(&["7", "7.0", "-2147483648", "seven"]), "quantity"), 4);
        assert_eq!(texts[..2], [Ok(Some(7)), Ok(Some(7))]);
        assert!(texts[2].is_err() && texts[3].is_err());
        let decimals: ArrayRef =
            Arc::new(Decimal128Array::from(vec![700, 750]).with_precision_and_scale(10, 2).expect("fits"));
        let cells = first(quantities(&decimals, "quantity"), 2);
        assert_eq!(cells[0], Ok(Some(7)));
        assert!(cells[1].is_err());
    }

    #[test]
    fn an_integer_id_beyond_64_bits_is_no_id() {
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![Some(1), Some(u64::MAX), None]));
        let cells = first(ids::<IntId>(&column, "order_id", false), 3);
        assert_eq!(cells[0], Ok(IntId::new(1)));
        assert!(cells[1].as_ref().is_err_and(|reason| reason.text.contains("18446744073709551615")));
        assert_eq!(cells[2], Ok(None));
    }

    #[test]
    fn a_time_with_a_zone_is_a_day_elsewhere() {
        let zone: Tz = "America/New_York".parse().expect("a zone");
        let day = |text: &str| day_of_text(text, zone).map(|day| day.to_string());
        assert_eq!(day("2024-03-01").as_deref(), Some("2024-03-01"));
        assert_eq!(day("2024-03-01T03:00:00Z").as_deref(), Some("2024-02-29"));
        assert_eq!(day("2024-03-01 03:00:00+02:00").as_deref(), Some("2024-02-29"));
        assert_eq!(day("2024-03-01 03:00:00").as_deref(), Some("2024-03-01"));
        assert_eq!(day("01.03.2024"), None);
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![3600]).with_timezone("UTC"));
        let cells = first(days(&seconds, "order_date", zone, None), 1);
        assert_eq!(cells, [Ok(Day::from_ymd(1969, 12, 31))]);
    }

    #[test]
    fn instants_that_no_zone_knows_are_no_days_and_those_before_1970_fall_on_theirs() {
        let zone: Tz = "America/New_York".parse().expect("a zone");
        for text in ["+262142-12-31T23:59:59Z", "-262143-01-01T00:00:00Z", "0000-12-31T23:59:59Z"] {
            assert_eq!(day_of_text(text, zone), None, "{text}");
        }
        assert_eq!(day_of_text("9999-12-31T23:59:59Z", zone), Day::from_ymd(9999, 12, 31));
        assert_eq!(day_of_text("10000-01-01T00:00:00Z", zone), None);
        let nanoseconds: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 0, i64::MIN, i64::MAX]));
        let cells = first(days(&nanoseconds, "order_date", Tz::UTC, None), 4);
        assert_eq!(cells[..2], [Ok(Day::from_ymd(1969, 12, 31)), Ok(Day::from_ymd(1970, 1, 1))]);
        assert_eq!(cells[2], Ok(Day::from_ymd(1677, 9, 21)));
        let micros = TimestampMicrosecondArray::from(vec![-1, i64::MIN, i64::MAX]);
        for micros in [Arc::new(micros.clone().with_timezone("UTC")) as ArrayRef, Arc::new(micros)] {
            let cells = first(days(&micros, "order_date", zone, None), 3);
            assert_eq!(cells[0], Ok(Day::from_ymd(1969, 12, 31)));
            let reason = cells[1].as_ref().expect_err("no day").text.clone();
            assert_eq!(reason, "order_date -9223372036854775808 is not a date in the years 1 to 9999");
            assert!(cells[2].is_err());
        }
        let dates: ArrayRef = Arc::new(Date64Array::from(vec![-1, 86_400_000]));
        let cells = first(days(&dates, "order_date", zone, None), 2);
        assert_eq!(cells, [Ok(Day::from_ymd(1969, 12, 31)), Ok(Day::from_ymd(1970, 1, 2))]);
    }

    #[test]
    fn decimals_of_any_precision_are_rounded() {
        let wide = |text: &str, scale| {
            let values = Decimal256Array::from(vec![i256::from_string(text).expect("a number")]);
            let column: ArrayRef = Arc::new(values.with_precision_and_scale(76, scale).expect("fits"));
            let money = first(money(&column, "price", 0, Some, "is out of range"), 1).remove(0);
            (money.ok().flatten(), first(quantities(&column, "quantity"), 1).remove(0).ok().flatten())
        };
        let zeros = |many| "0".repeat(many);
        assert_eq!(wide(&format!("105{}", zeros(37)), 38), (Some(105_000), None));
        assert_eq!(wide(&format!("9999999999{}", zeros(38)), 38), (Some(99_999_999_990_000), None));
        assert_eq!(wide(&format!("7{}", zeros(38)), 38), (Some(70_000), Some(7)));
        assert_eq!(wide(&format!("-5{}", zeros(33)), 38), (Some(0), None), "a tie goes to the even neighbour");
        assert_eq!(wide(&format!("-5{}1", zeros(32)), 38), (Some(-1), None));
        assert_eq!(wide(&"9".repeat(76), 38).0, None, "out of range");
    }

    #[test]
    fn the_point_of_a_percentage_moves_before_it_is_rounded() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![15.0, 12.345, 0.005, 0.015]));
        let decimals: ArrayRef = Arc::new(
            Decimal128Array::from(vec![150_000, 123_450, 50, 150]).with_precision_and_scale(10, 4).expect("fits"),
        );
        for column in [floats, decimals, text(&["15", "1.2345e1", "0.005", "1.5e-2"])] {
            let cells = first(money(&column, "discount", 2, Some, "is out of range"), 4);
            assert_eq!(cells, [Ok(Some(1500)), Ok(Some(1234)), Ok(Some(0)), Ok(Some(2))], "{column:?}");
        }
    }
}
