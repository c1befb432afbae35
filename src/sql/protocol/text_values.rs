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
    Float,
    Time,
}

impl TextValues {
    pub(crate) fn of(columns: &[FieldInfo]) -> TextValues {
        let kind = |column: &FieldInfo| match *column.datatype() {
            _ if column.format() != FieldFormat::Text => None,
            Type::FLOAT4 | Type::FLOAT8 => Some(Kind::Float),
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
                (Some(Kind::Float), Ok(text)) => Cow::Owned(float(text).into_bytes()),
                (Some(Kind::Time), Ok(text)) => Cow::Owned(time(text).into_bytes()),
                _ => Cow::Borrowed(value),
            };
            data.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
            data.put_slice(&text);
        }
        DataRow::new(data, row.field_count)
    }
}

/// A float as PostgreSQL writes it: without a point where there is nothing behind it, and with an exponent of two
/// digits and a sign.
fn float(text: &str) -> String {
    let (mantissa, exponent) =
        text.split_once('e').map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    match exponent {
        Some(exponent) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => match mantissa {
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            mantissa => mantissa.to_owned(),
        },
    }
}

/// A time without zeros at the end of its fraction.
fn time(text: &str) -> String {
    let Some(point) = text.find('.') else { return text.to_owned() };
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
        ] {
            assert_eq!(float(found), wanted);
        }
        for (found, wanted) in [
            ("2024-07-01 14:00:00.000000", "2024-07-01 14:00:00"),
            ("2024-07-01 14:00:00.500000+00", "2024-07-01 14:00:00.5+00"),
            ("2024-07-01 14:00:00+00:00", "2024-07-01 14:00:00+00:00"),
            ("14:00:10.000000", "14:00:10"),
        ] {
            assert_eq!(time(found), wanted);
        }
    }
}
