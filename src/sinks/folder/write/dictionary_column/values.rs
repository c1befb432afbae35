//! The distinct values of a column, as the dictionary page of a column chunk has them.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parquet::basic::Type;
use parquet::file::statistics::{Statistics, ValueStatistics};

use crate::error::{Error, Result};

/// Values in the order in which they were first seen, in `PLAIN` encoding.
#[derive(Default)]
pub(super) struct DistinctValues {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
    /// The indexes of the values, by hash.
    indexes: HashTable<u32>,
    /// The indexes of NaNs.
    nans: Vec<u32>,
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

    /// The index of the value of a row, which is not null.
    pub(super) fn index_of(&mut self, values: &dyn Array, row: usize) -> Result<u32> {
        self.value.clear();
        append_plain(values, row, &mut self.value)?;
        let DistinctValues { bytes, ends, indexes, nans, hasher, value } = self;
        let known = |index: &u32| &bytes[range(ends, *index)];
        let entry = indexes.entry(
            hasher.hash_one(&value[..]),
            |index| known(index) == &value[..],
            |index| hasher.hash_one(known(index)),
        );
        let index = match entry {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let index = u32::try_from(ends.len()).map_err(Error::failed)?;
                vacant.insert(index);
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
                if *values.data_type() == DataType::Float64 && values.as_primitive::<Float64Type>().value(row).is_nan()
                {
                    nans.push(index);
                }
                index
            }
        };
        Ok(index)
    }

    /// The indexes of values that are not numbers.
    pub(super) fn nans(&self) -> &[u32] {
        &self.nans
    }

    /// The statistics of a column that has all of these values, and so many rows with nulls and NaNs; `None` of texts.
    pub(super) fn statistics(&self, physical: Type, nulls: u64, nans: u64) -> Option<Statistics> {
        let values = || (0..).zip(&self.ends).map(|(index, _)| &self.bytes[range(&self.ends, index)]);
        let nulls = Some(nulls);
        Some(match physical {
            Type::INT32 => {
                let (least, most) = extremes(values().map(|value| i32::from_le_bytes(fixed(value))), i32::cmp);
                ValueStatistics::new(least, most, None, nulls, false).with_backwards_compatible_min_max(true).into()
            }
            Type::INT64 => {
                let (least, most) = extremes(values().map(|value| i64::from_le_bytes(fixed(value))), i64::cmp);
                ValueStatistics::new(least, most, None, nulls, false).with_backwards_compatible_min_max(true).into()
            }
            Type::DOUBLE => {
                // The order of doubles in the files is total; NaNs are left out unless there is nothing else.
                let all_nan = self.nans.len() == self.len();
                let numbers = values().map(|value| f64::from_le_bytes(fixed(value)));
                let (least, most) = extremes(numbers.filter(|number| all_nan || !number.is_nan()), f64::total_cmp);
                ValueStatistics::new(least, most, None, nulls, false).with_nan_count(Some(nans)).into()
            }
            _ => return None,
        })
    }
}

/// The least and the greatest value.
fn extremes<V: Copy>(values: impl Iterator<Item = V>, order: fn(&V, &V) -> Ordering) -> (Option<V>, Option<V>) {
    values.fold((None, None), |(least, most), value| {
        let least = least.filter(|least| order(least, &value).is_le()).unwrap_or(value);
        let most = most.filter(|most| order(most, &value).is_ge()).unwrap_or(value);
        (Some(least), Some(most))
    })
}

/// Where the value of an index lies.
fn range(ends: &[usize], index: u32) -> Range<usize> {
    let index = index as usize;
    index.checked_sub(1).map_or(0, |before| ends[before])..ends[index]
}

fn fixed<const N: usize>(value: &[u8]) -> [u8; N] {
    value.try_into().expect("all values have the size of their type")
}

/// Appends the value of a row in `PLAIN` encoding.
fn append_plain(values: &dyn Array, row: usize, bytes: &mut Vec<u8>) -> Result<()> {
    match values.data_type() {
        DataType::Utf8 => {
            let text = values.as_string::<i32>().value(row).as_bytes();
            bytes.extend_from_slice(&u32::try_from(text.len()).map_err(Error::failed)?.to_le_bytes());
            bytes.extend_from_slice(text);
        }
        DataType::Int32 => bytes.extend_from_slice(&values.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        DataType::Date32 => bytes.extend_from_slice(&values.as_primitive::<Date32Type>().value(row).to_le_bytes()),
        DataType::Int64 => bytes.extend_from_slice(&values.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Float64 => bytes.extend_from_slice(&values.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        other => return Err(Error::failed(format!("internal error: a dictionary of {other}"))),
    }
    Ok(())
}
