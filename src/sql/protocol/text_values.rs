//! Numbers and times as PostgreSQL writes them in texts: `12177` rather than `12177.0`, and no zeros behind seconds.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse};
use pgwire::messages::data::DataRow;

/// The same rows, with values of text as PostgreSQL writes them.
pub(crate) fn as_postgresql(mut rows: QueryResponse) -> QueryResponse {
    let texts = TextValues::of(&rows.row_schema);
    if texts.0.iter().any(Option::is_some) {
        rows.data_rows = Box::pin(rows.data_rows.map(move |row| row.map(|row| texts.as_postgresql(row))));
    }
    rows
}

/// Which columns have values that PostgreSQL writes in another way.
pub(crate) struct TextValues(Vec<Option<Kind>>);

#[derive(Clone, Copy)]
enum Kind {
    Float { digits_max: i32 },
    Time,
}

impl TextValues {
    pub(crate) fn of(columns: &[FieldInfo]) -> TextValues {
        let kind = |column: &FieldInfo| match *column.datatype() {
            _ if column.format() != FieldFormat::Text => None,
            Type::FLOAT4 => Some(Kind::Float { digits_max: 6 }),
            Type::FLOAT8 => Some(Kind::Float { digits_max: 15 }),
            Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => Some(Kind::Time),
            _ => None,
        };
        TextValues(columns.iter().map(kind).collect())
    }

    pub(crate) fn as_postgresql(&self, row: DataRow) -> DataRow {
        let (mut rest, mut data) = (&row.data[..], BytesMut::with_capacity(row.data.len()));
        for kind in &self.0 {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break };
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                data.put_i32(-1);
                rest = behind;
                continue;
            };
            let (value, behind) = behind.split_at(length.min(behind.len()));
            rest = behind;
            let text = match (kind, std::str::from_utf8(value)) {
                (Some(Kind::Float { digits_max }), Ok(text)) => Cow::Owned(float(text, *digits_max).into_bytes()),
                (Some(Kind::Time), Ok(text)) => Cow::Owned(time(text).into_bytes()),
                _ => Cow::Borrowed(value),
            };
            data.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
            data.put_slice(&text);
        }
        DataRow::new(data, row.field_count)
    }
}

/// A float as PostgreSQL writes it: with the same digits, and with an exponent if it is below 10^-4 or has more digits
/// before the point than this.
fn float(text: &str, digits_max: i32) -> String {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    if number == "inf" {
        return format!("{sign}Infinity");
    }
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (Ok(exponent), all) = (exponent.parse::<i32>(), format!("{before}{behind}")) else { return text.to_owned() };
    let digits = all.trim_start_matches('0');
    if !all.bytes().all(|byte| byte.is_ascii_digit()) || digits.is_empty() {
        return text.strip_suffix(".0").unwrap_or(text).to_owned();
    }
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    // Of `0.0123` and `123`, the first digit counts hundredths and hundreds.
    let first = length(before) + exponent - 1 - (length(&all) - length(digits));
    let digits = digits.trim_end_matches('0');
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let place = usize::try_from(first + 1).unwrap_or(0);
    let written = match first {
        _ if first < -4 || first >= digits_max => {
            let rest = if digits.len() > 1 { format!(".{}", &digits[1..]) } else { String::new() };
            let sign = if first < 0 { '-' } else { '+' };
            format!("{}{rest}e{sign}{:02}", &digits[..1], first.abs())
        }
        ..0 => format!("0.{}{digits}", zeros(-first - 1)),
        _ if place >= digits.len() => format!("{digits}{}", zeros(first + 1 - length(digits))),
        _ => format!("{}.{}", &digits[..place], &digits[place..]),
    };
    format!("{sign}{written}")
}

/// A time without zeros at the end of its fraction.
fn time(text: &str) -> String {
    let seconds = text.rfind(':').unwrap_or(0);
    let Some(point) = text[seconds..].find('.').map(|point| seconds + point) else { return text.to_owned() };
    let digits = text[point + 1..].bytes().take_while(u8::is_ascii_digit).count();
    let (before, zone) = (&text[..point + 1 + digits], &text[point + 1 + digits..]);
    format!("{}{zone}", before.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_postgresql_does() {
        for (found, wanted) in [
            ("12177.0", "12177"),
            ("-0.5", "-0.5"),
            ("1e16", "1e+16"),
            ("1.5e-7", "1.5e-07"),
            ("1e-300", "1e-300"),
            ("NaN", "NaN"),
            ("-inf", "-Infinity"),
            ("0.00001", "1e-05"),
            ("0.0001234", "0.0001234"),
            ("1000000000000000.0", "1e+15"),
            ("123456789012345.6", "123456789012345.6"),
            ("1e15", "1e+15"),
            ("1.5e3", "1500"),
            ("0.0", "0"),
            ("-0.0", "-0"),
            ("120.0", "120"),
        ] {
            assert_eq!(float(found, 15), wanted);
        }
        assert_eq!((float("1000000.0", 6), float("100000.0", 6)), ("1e+06".to_owned(), "100000".to_owned()));
        for (found, wanted) in [
            ("2024-07-01 14:00:00.000000", "2024-07-01 14:00:00"),
            ("2024-07-01 14:00:00.500000+00", "2024-07-01 14:00:00.5+00"),
            ("2024-07-01 14:00:00+00:00", "2024-07-01 14:00:00+00:00"),
            ("14:00:10.000000", "14:00:10"),
            ("05.10.2024 12:00:00.000000", "05.10.2024 12:00:00"),
        ] {
            assert_eq!(time(found), wanted);
        }
    }
}
