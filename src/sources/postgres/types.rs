//! The types of the server as Arrow types.

use arrow::datatypes::{DataType, TimeUnit};

/// The id of the type `numeric`.
pub(super) const NUMERIC: u32 = 1700;

/// The Arrow type of a built-in type; all others are text, as the server writes them.
///
/// A `numeric` with digits and places is a decimal; one without is text, which has all its digits.
pub(super) fn arrow_type(type_id: u32, modifier: i32) -> DataType {
    const BOOL: u32 = 16;
    const BYTEA: u32 = 17;
    const INT8: u32 = 20;
    const INT2: u32 = 21;
    const INT4: u32 = 23;
    const FLOAT4: u32 = 700;
    const FLOAT8: u32 = 701;
    const DATE: u32 = 1082;
    const TIMESTAMP: u32 = 1114;
    const TIMESTAMPTZ: u32 = 1184;
    match type_id {
        BOOL => DataType::Boolean,
        BYTEA => DataType::Binary,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        DATE => DataType::Date32,
        TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        NUMERIC => decimal(modifier).unwrap_or(DataType::Utf8),
        _ => DataType::Utf8,
    }
}

/// A decimal of a modifier, which has the digits in its high half and the places in its low one, plus 4.
fn decimal(modifier: i32) -> Option<DataType> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let (digits, places) = (u8::try_from(packed >> 16 & 0xffff).ok()?, packed & 0x7ff);
    // Eleven bits, of which the highest is the sign.
    let places = i8::try_from((places ^ 0x400) - 0x400).ok()?;
    (digits <= 38 && (0..=i8::try_from(digits).ok()?).contains(&places)).then_some(DataType::Decimal128(digits, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_with_places_is_a_decimal() {
        let modifier = |digits: i32, places: i32| (digits << 16 | places & 0x7ff) + 4;
        assert_eq!(arrow_type(1700, modifier(10, 2)), DataType::Decimal128(10, 2));
        assert_eq!(arrow_type(1700, modifier(38, 0)), DataType::Decimal128(38, 0));
        for modifier in [-1, modifier(39, 2), modifier(5, -2), modifier(2, 5)] {
            assert_eq!(arrow_type(1700, modifier), DataType::Utf8, "{modifier}");
        }
        assert_eq!(arrow_type(2950, -1), DataType::Utf8, "uuid");
    }
}
