//! The distinct values of a column, as the dictionary page of a column chunk has them.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parquet::basic::Type;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use crate::error::{Error, Result};

/// Values in the order in which they were first seen, in `PLAIN` encoding.
#[derive(Default)]
pub(super) struct DistinctValues {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
    /// The codes of the values, by hash.
    codes: HashTable<u32>,
    hasher: FixedState,
    /// Where a value is encoded.
    value: Vec<u8>,
}

impl DistinctValues {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The code of the value of a row, which is not null.
    pub(super) fn code(&mut self, values: &dyn Array, row: usize) -> Result<u32> {
        self.value.clear();
        append_plain(values, row, &mut self.value)?;
        let DistinctValues { bytes, ends, codes, hasher, value } = self;
        let known = |code: &u32| &bytes[range(ends, *code)];
        let entry = codes.entry(
            hasher.hash_one(&value[..]),
            |code| known(code) == &value[..],
            |code| hasher.hash_one(known(code)),
        );
        let code = match entry {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let code = u32::try_from(ends.len()).map_err(Error::failed)?;
                vacant.insert(code);
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
                code
            }
        };
        Ok(code)
    }

    /// The statistics of a column that has all of these values, and so many nulls; `None` if the texts are long.
    pub(super) fn statistics(&self, physical: Type, nulls: u64) -> Option<Statistics> {
        let values = || (0..).zip(&self.ends).map(|(code, _)| &self.bytes[range(&self.ends, code)]);
        let nulls = Some(nulls);
        Some(match physical {
            Type::INT32 => {
                let (least, most) = extremes(values().map(|value| i32::from_le_bytes(fixed(value))));
                ValueStatistics::new(least, most, None, nulls, false).with_backwards_compatible_min_max(true).into()
            }
            Type::INT64 => {
                let (least, most) = extremes(values().map(|value| i64::from_le_bytes(fixed(value))));
                ValueStatistics::new(least, most, None, nulls, false).with_backwards_compatible_min_max(true).into()
            }
            Type::DOUBLE => {
                let numbers = values().map(|value| f64::from_le_bytes(fixed(value)));
                let (least, most) = extremes(numbers.filter(|number| !number.is_nan()));
                // As the format wants it, for readers that tell the zeros apart.
                let least = least.map(|least| if least == 0.0 { -0.0 } else { least });
                let most = most.map(|most| if most == 0.0 { 0.0 } else { most });
                ValueStatistics::new(least, most, None, nulls, false).with_backwards_compatible_min_max(true).into()
            }
            _ => {
                let (least, most) = extremes(values().map(|value| &value[LENGTH..]));
                if most.into_iter().chain(least).any(|text| text.len() > LONGEST) {
                    return None;
                }
                let [least, most] = [least, most].map(|text| text.map(|text| ByteArray::from(text.to_vec())));
                ValueStatistics::new(least, most, None, nulls, false).into()
            }
        })
    }
}

/// The longest text that statistics have.
const LONGEST: usize = 64;
/// The size of the length of a text.
const LENGTH: usize = size_of::<u32>();

/// The least and the greatest value.
fn extremes<V: PartialOrd + Copy>(values: impl Iterator<Item = V>) -> (Option<V>, Option<V>) {
    values.fold((None, None), |(least, most), value| {
        let least = least.filter(|least| *least <= value).unwrap_or(value);
        let most = most.filter(|most| *most >= value).unwrap_or(value);
        (Some(least), Some(most))
    })
}

/// Where the value of a code lies.
fn range(ends: &[usize], code: u32) -> Range<usize> {
    let code = code as usize;
    code.checked_sub(1).map_or(0, |before| ends[before])..ends[code]
}

fn fixed<const N: usize>(value: &[u8]) -> [u8; N] {
    value.try_into().expect("all values have the size of their type")
}

/// Appends the value of a row in `PLAIN` encoding.
fn append_plain(values: &dyn Array, row: usize, bytes: &mut Vec<u8>) -> Result<()> {
    match values.data_type() {
        DataType::Utf8 => append_text(values.as_string::<i32>().value(row), bytes),
        DataType::LargeUtf8 => append_text(values.as_string::<i64>().value(row), bytes),
        DataType::Int32 => bytes.extend_from_slice(&values.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        DataType::Date32 => bytes.extend_from_slice(&values.as_primitive::<Date32Type>().value(row).to_le_bytes()),
        DataType::Int64 => bytes.extend_from_slice(&values.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Float64 => bytes.extend_from_slice(&values.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        other => return Err(Error::failed(format!("internal error: a dictionary of {other}"))),
    }
    Ok(())
}

fn append_text(text: &str, bytes: &mut Vec<u8>) {
    // A column has fewer than 2³¹ bytes of text.
    let length = u32::try_from(text.len()).expect("a text is shorter than 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
