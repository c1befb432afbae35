//! What numbers and bytes mean whose schema has a name for it, as Kafka Connect and Debezium write them.

use chrono::Datelike;

use crate::model::Day;

const DATES: [&str; 2] = ["io.debezium.time.Date", "org.apache.kafka.connect.data.Date"];
/// A decimal whose scale is in the schema.
pub(super) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
/// A decimal beside its scale.
pub(super) const VARIABLE_DECIMAL: &str = "io.debezium.data.VariableScaleDecimal";
/// Points in time, by how many of their units are in a second.
const TIMES: [(&str, i64); 4] = [
    ("io.debezium.time.Timestamp", 1_000),
    ("org.apache.kafka.connect.data.Timestamp", 1_000),
    ("io.debezium.time.MicroTimestamp", 1_000_000),
    ("io.debezium.time.NanoTimestamp", 1_000_000_000),
];
/// The most digits of a decimal.
const DIGITS_MAX: usize = 38;

/// True if values of this name mean something else than they are written as.
pub(super) fn has_meaning(name: &str) -> bool {
    DATES.contains(&name)
        || [DECIMAL, VARIABLE_DECIMAL].contains(&name)
        || TIMES.iter().any(|(known, _)| *known == name)
}

/// What a number of this name means, as JSON: a day, or a point in time.
pub(super) fn number(name: &str, number: i64) -> Option<String> {
    if DATES.contains(&name) {
        return day(number);
    }
    TIMES.iter().find(|(known, _)| *known == name).and_then(|(_, units)| time(number, *units, "Z"))
}

/// A day, as JSON.
pub(super) fn day(number: i64) -> Option<String> {
    Some(format!("\"{}\"", Day::new(i32::try_from(number).ok()?)?))
}

/// A point in time, as JSON; so many units are a second. `zone` is `Z`, or nothing for a time that has no zone.
pub(super) fn time(number: i64, units: i64, zone: &str) -> Option<String> {
    let (seconds, rest) = (number.div_euclid(units), number.rem_euclid(units));
    let nanos = u32::try_from(rest * (1_000_000_000 / units)).ok()?;
    let time = chrono::DateTime::from_timestamp(seconds, nanos)?;
    (1..=9999).contains(&time.year()).then(|| format!("\"{}{zone}\"", time.format("%Y-%m-%dT%H:%M:%S%.f")))
}

/// A decimal, from the big-endian bytes of an integer, with all its places; `None` if it has more than 38 digits.
pub(super) fn decimal(bytes: &[u8], scale: i64) -> Option<String> {
    let number = integer(bytes)?;
    let places = usize::try_from(scale.max(0)).ok().filter(|places| *places <= DIGITS_MAX)?;
    let zeros = usize::try_from(scale.min(0).checked_neg()?).ok().filter(|zeros| *zeros <= DIGITS_MAX)?;
    let mut digits = number.unsigned_abs().to_string();
    if number != 0 {
        digits.extend(std::iter::repeat_n('0', zeros));
    }
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let point = if places > 0 { "." } else { "" };
    Some(format!("{}{whole}{point}{fraction}", if number < 0 { "-" } else { "" }))
}

/// An integer of at most sixteen bytes, besides those that only repeat its sign.
fn integer(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 != 0 { u8::MAX } else { 0 };
    let needless = bytes.len().saturating_sub(16);
    let (repeated, bytes) = bytes.split_at(needless);
    let is_whole = needless == 0 || (bytes[0] ^ sign) & 0x80 == 0;
    if !is_whole || repeated.iter().any(|byte| *byte != sign) {
        return None;
    }
    let mut wide = [sign; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_has_all_its_places() {
        for (bytes, scale, wanted) in [
            (&[5][..], 2, Some("0.05")),
            (&[0xff], 2, Some("-0.01")),
            (&[0x01, 0xf4], 2, Some("5.00")),
            (&[0x05], 0, Some("5")),
            (&[0x05], -2, Some("500")),
            (&[0], -2, Some("0")),
            (&[0; 20], 1, Some("0.0")),
            (&[0xff; 20], 0, Some("-1")),
            (&[], 0, None),
            (&[5], 39, None),
            (&[5], i64::MIN, None),
            (&[5], -38, None),
            (&[0x7f; 17], 0, None),
        ] {
            assert_eq!(decimal(bytes, scale).as_deref(), wanted, "{bytes:?}, {scale}");
        }
        let mut padded = [0; 17];
        padded[1] = 0x80;
        assert_eq!(decimal(&padded, 0), None, "it has its sign in the byte before");
    }

    #[test]
    fn days_and_times_are_those_of_the_calendar() {
        assert_eq!(number(DATES[0], 19_723).as_deref(), Some("\"2024-01-01\""));
        assert_eq!(number(TIMES[2].0, -1).as_deref(), Some("\"1969-12-31T23:59:59.999999Z\""));
        assert_eq!(time(253_402_300_799, 1, "").as_deref(), Some("\"9999-12-31T23:59:59\""));
        assert_eq!((time(253_402_300_800, 1, "Z"), time(i64::MIN, 1, "Z"), day(i64::MAX)), (None, None, None));
    }
}
