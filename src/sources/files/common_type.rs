//! The type that holds the values of a column of which files have different types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

use crate::columns::is_text;

/// The narrowest type that holds all values of two types without loss; `None` if there is none.
pub(super) fn common_type(one: &DataType, other: &DataType) -> Option<DataType> {
    if one == other {
        return Some(one.clone());
    }
    match (one, other) {
        (DataType::Null, known) | (known, DataType::Null) => Some(known.clone()),
        (DataType::Dictionary(_, one), DataType::Dictionary(_, other)) if one == other => {
            Some(DataType::Dictionary(Box::new(DataType::Int32), one.clone()))
        }
        (DataType::Dictionary(_, values), other) | (other, DataType::Dictionary(_, values)) => {
            common_type(values, other)
        }
        (DataType::Timestamp(unit, zone), DataType::Timestamp(other, other_zone)) if zone == other_zone => {
            Some(DataType::Timestamp(finer(*unit, *other), zone.clone()))
        }
        (DataType::Date32, DataType::Date64) | (DataType::Date64, DataType::Date32) => Some(DataType::Date32),
        (DataType::List(one), DataType::List(other)) => common_list(one, other),
        _ if is_text(one) && is_text(other) => Some(match is_large(one) || is_large(other) {
            true => DataType::LargeUtf8,
            false => DataType::Utf8,
        }),
        _ if is_binary(one) && is_binary(other) => Some(match is_large(one) || is_large(other) {
            true => DataType::LargeBinary,
            false => DataType::Binary,
        }),
        _ => common_number(one, other),
    }
}

/// Lists differ in the names of their elements, too, which tell nothing.
fn common_list(one: &FieldRef, other: &FieldRef) -> Option<DataType> {
    let elements = common_type(one.data_type(), other.data_type())?;
    Some(DataType::List(Arc::new(Field::new_list_field(elements, true))))
}

fn common_number(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one.is_floating(), other.is_floating()) {
        (true, true) => Some(if bits(one) >= bits(other) { one.clone() } else { other.clone() }),
        // A double has 53 bits.
        (true, false) => (other.is_integer() && bits(other) <= 32).then_some(DataType::Float64),
        (false, true) => (one.is_integer() && bits(one) <= 32).then_some(DataType::Float64),
        (false, false) if one.is_integer() && other.is_integer() => Some(common_integer(one, other)),
        (false, false) => common_decimal(digits(one)?, digits(other)?),
    }
}

fn common_integer(one: &DataType, other: &DataType) -> DataType {
    if one.is_signed_integer() == other.is_signed_integer() {
        return if bits(one) >= bits(other) { one.clone() } else { other.clone() };
    }
    let (signed, unsigned) = if one.is_signed_integer() { (one, other) } else { (other, one) };
    match bits(signed).max(2 * bits(unsigned)) {
        16 => DataType::Int16,
        32 => DataType::Int32,
        64 => DataType::Int64,
        _ => DataType::Decimal128(20, 0),
    }
}

/// The type of decimals with these digits before and after the point.
fn common_decimal((whole, places): (u8, i8), (other_whole, other_places): (u8, i8)) -> Option<DataType> {
    let (whole, places) = (whole.max(other_whole), places.max(other_places));
    let precision = whole.checked_add_signed(places)?;
    match precision {
        0..=38 => Some(DataType::Decimal128(precision, places)),
        39..=76 => Some(DataType::Decimal256(precision, places)),
        _ => None,
    }
}

/// The digits of a decimal or an integer before and after the point.
fn digits(number: &DataType) -> Option<(u8, i8)> {
    match number {
        DataType::Decimal32(precision, places)
        | DataType::Decimal64(precision, places)
        | DataType::Decimal128(precision, places)
        | DataType::Decimal256(precision, places) => Some((precision.checked_add_signed(-places)?, *places)),
        integer if integer.is_integer() => Some((20, 0)),
        _ => None,
    }
}

fn bits(number: &DataType) -> usize {
    number.primitive_width().unwrap_or(0) * 8
}

fn finer(one: TimeUnit, other: TimeUnit) -> TimeUnit {
    let units = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond];
    units.into_iter().find(|unit| *unit == one || *unit == other).unwrap_or(one)
}

fn is_binary(found: &DataType) -> bool {
    matches!(found, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_large(found: &DataType) -> bool {
    matches!(found, DataType::LargeUtf8 | DataType::LargeBinary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{
        Boolean, Date32, Decimal128, Decimal256, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, UInt8,
        UInt32, UInt64, Utf8, Utf8View,
    };

    #[test]
    fn what_one_type_can_hold_is_widened_and_nothing_else() {
        let dictionary = |keys: DataType| DataType::Dictionary(Box::new(keys), Box::new(Utf8));
        let time = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
        let list = |name, elements| DataType::List(Arc::new(Field::new(name, elements, true)));
        let (micros, nanos) = (TimeUnit::Microsecond, TimeUnit::Nanosecond);
        for (one, other, common) in [
            (Int8, Int64, Some(Int64)),
            (UInt8, Int8, Some(Int16)),
            (UInt32, Int64, Some(Int64)),
            (UInt64, Int8, Some(Decimal128(20, 0))),
            (Float32, Float64, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Int64, Float64, None),
            (Decimal128(10, 2), Decimal128(12, 4), Some(Decimal128(12, 4))),
            (Decimal128(38, 0), Decimal128(38, 38), Some(Decimal256(76, 38))),
            (Int32, Decimal128(10, 2), Some(Decimal128(22, 2))),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (Utf8View, Utf8, Some(Utf8)),
            (dictionary(Int8), Utf8, Some(Utf8)),
            (dictionary(Int8), dictionary(Int16), Some(dictionary(Int32))),
            (time(micros, None), time(nanos, None), Some(time(nanos, None))),
            (time(micros, Some("UTC")), time(nanos, None), None),
            (Null, Boolean, Some(Boolean)),
            (Boolean, Int8, None),
            (Utf8, Int8, None),
            (Date32, time(nanos, None), None),
            (list("item", Int8), list("element", Int16), Some(list("item", Int16))),
        ] {
            assert_eq!(common_type(&one, &other), common, "{one} and {other}");
            assert_eq!(common_type(&other, &one), common, "{other} and {one}");
        }
    }
}
