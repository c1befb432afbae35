//! Partitioning of a table's rows into folders and buckets.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::compute::{DatePart, SortOptions, can_cast_types, cast, date_part, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use twox_hash::XxHash64;

use crate::error::{Error, Result};
use crate::folder_names::{NULL_PARTITION, encode};
use crate::sinks::{Direction, TableInfo};

/// Partitioning, bucketing and sort order of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// Partition columns, which become `column=value` folders. `year`, `month` and `day` are derived from `order_date`
    /// unless the table has a column of that name.
    pub partition_by: Vec<String>,
    /// Bucket columns, by whose hash rows are assigned, and the number of buckets.
    pub bucket_by: Option<(Vec<String>, u32)>,
    /// Sort columns within a partition: ascending, nulls first.
    pub sort_by: Vec<String>,
}

/// A partition of a table: its folders and its bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OutputPartition {
    pub(crate) folders: Vec<String>,
    pub(crate) bucket: Option<u32>,
}

const DATE: &str = "order_date";
/// What file systems allow.
const LONGEST_NAME: usize = 255;

impl Placing {
    /// Checks the columns against the table's schema.
    ///
    /// # Errors
    ///
    /// If the table lacks one of the columns, or there are no buckets.
    pub(super) fn check(&self, schema: &Schema) -> Result<()> {
        let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let nameless = |option: &str, name: &String| {
            let field =
                schema.field_with_name(name).ok().filter(|field| !can_cast_types(field.data_type(), &DataType::Utf8));
            field.map(|field| {
                let cause = format!("column {name} is a {}, which can't be used in folder names", field.data_type());
                Error::usage(format!("output.{option}: {cause}; choose another column"))
            })
        };
        let missing = |option: &str, name: &String| {
            Err(Error::usage(format!("output.{option}: no column {name}; the table has {}", names())))
        };
        let known = |name: &String| schema.column_with_name(name).is_some();
        let derived = |name: &String| part_of(name).is_some() && schema.column_with_name(DATE).is_some();
        let buckets = self.bucket_by.iter().flat_map(|(columns, _)| columns);
        if self.bucket_by.as_ref().is_some_and(|(_, count)| *count == 0) {
            Err(Error::usage("output.bucket_by: 0 buckets are too few, wanted at least 1"))
        } else if let Some(name) = self.partition_by.iter().find(|name| !known(name) && !derived(name)) {
            missing("partition_by", name)
        } else if let Some(name) = buckets.clone().find(|name| !known(name)) {
            missing("bucket_by", name)
        } else if let Some(name) = self.sort_by.iter().find(|name| !known(name)) {
            missing("sort_by", name)
        } else if let Some(name) = self.sort_by.iter().find(|name| self.partition_by.contains(name)) {
            Err(Error::usage(format!(
                "output.sort_by: {name} is a partition column, so it is constant within each folder"
            )))
        } else if schema.fields().iter().all(|field| self.partition_by.contains(field.name())) {
            Err(Error::usage(
                "output.partition_by: all columns of the table are in it; leave one to be written to files",
            ))
        } else {
            let partitions = self.partition_by.iter().find_map(|name| nameless("partition_by", name));
            let buckets = || buckets.clone().find_map(|name| nameless("bucket_by", name));
            partitions.or_else(buckets).map_or(Ok(()), Err)
        }
    }

    /// The schema without the partition columns.
    pub(super) fn without_folders(&self, schema: &SchemaRef) -> SchemaRef {
        let left = schema.fields().iter().filter(|field| !self.partition_by.contains(field.name()));
        Arc::new(Schema::new(left.cloned().collect::<Vec<_>>()))
    }

    /// True if there is only one partition.
    pub(in crate::sinks::folder) fn is_trivial(&self) -> bool {
        self.partition_by.is_empty() && self.bucket_by.is_none()
    }

    /// How the rows of a partition of a table are sorted: as is asked for, or else in the order of the table.
    pub(in crate::sinks::folder) fn order_of(&self, table: &TableInfo) -> Vec<(String, SortOptions)> {
        let options = |direction| {
            let descending = direction == Direction::Descending;
            SortOptions { descending, nulls_first: !descending }
        };
        if self.sort_by.is_empty() {
            let order = table.order.iter().filter(|(column, _)| !self.partition_by.contains(column));
            return order.map(|(column, direction)| (column.clone(), options(*direction))).collect();
        }
        self.sort_by.iter().map(|column| (column.clone(), options(Direction::Ascending))).collect()
    }

    /// Splits a batch by partition, and drops the partition columns.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<Vec<(OutputPartition, RecordBatch)>> {
        if self.is_trivial() {
            return Ok(vec![(OutputPartition::default(), batch.clone())]);
        }
        let folders = self.partition_by.iter().map(|name| folder_values(batch, name)).collect::<Result<Vec<_>>>()?;
        let buckets = self.buckets(batch)?;
        let mut rows: HashMap<(Vec<&str>, Option<u32>), Vec<u32>> = HashMap::new();
        for row in 0..batch.num_rows() {
            let folders: Vec<&str> = folders.iter().map(|values| values.value(row)).collect();
            let bucket = buckets.as_ref().map(|buckets| buckets[row]);
            let index = u32::try_from(row).expect("a batch has fewer than 2³² rows");
            rows.entry((folders, bucket)).or_default().push(index);
        }
        let left: Vec<usize> = (0..batch.num_columns())
            .filter(|column| !self.partition_by.contains(batch.schema().field(*column).name()))
            .collect();
        let left = batch.project(&left).map_err(Error::failed)?;
        let placed = rows.into_iter().map(|((values, bucket), rows)| {
            let name = |(name, value): (&String, &&str)| format!("{}={value}", encode(name));
            let folders = self.partition_by.iter().zip(&values).map(name).collect();
            let rows = take_record_batch(&left, &UInt32Array::from(rows)).map_err(Error::failed)?;
            Ok((OutputPartition { folders, bucket }, rows))
        });
        placed.collect()
    }

    /// The bucket of each row: xxHash64 (seed 0) of the values as text, each followed by a zero byte.
    fn buckets(&self, batch: &RecordBatch) -> Result<Option<Vec<u32>>> {
        let Some((columns, count)) = &self.bucket_by else { return Ok(None) };
        let texts = columns.iter().map(|name| as_text(&column(batch, name))).collect::<Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        let buckets = (0..batch.num_rows()).map(|row| {
            bytes.clear();
            for values in &texts {
                bytes.extend_from_slice(if values.is_valid(row) { values.value(row).as_bytes() } else { b"" });
                bytes.push(0);
            }
            let bucket = XxHash64::oneshot(0, &bytes) % u64::from(*count);
            u32::try_from(bucket).expect("a remainder by a u32 fits")
        });
        Ok(Some(buckets.collect()))
    }
}

/// The date part with this column name.
fn part_of(name: &str) -> Option<DatePart> {
    match name {
        "year" => Some(DatePart::Year),
        "month" => Some(DatePart::Month),
        "day" => Some(DatePart::Day),
        _ => None,
    }
}

/// The values of a partition column, escaped for folder names.
fn folder_values(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let values = match (batch.column_by_name(name), part_of(name)) {
        (None, Some(part)) => date_part(&column(batch, DATE), part).map_err(Error::failed)?,
        _ => column(batch, name),
    };
    let texts = as_text(&values)?;
    let names = texts.iter().map(|text| text.map_or_else(|| NULL_PARTITION.to_owned(), folder_name));
    let names = StringArray::from_iter_values(names);
    let longest = names.iter().flatten().map(str::len).max().unwrap_or(0) + encode(name).len() + 1;
    if longest > LONGEST_NAME {
        let cause = format!("column {name} has a value whose folder name would have {longest} bytes");
        return Err(Error::failed(format!("output.partition_by: {cause}, wanted at most {LONGEST_NAME}")));
    }
    Ok(names)
}

/// Empty texts share the folder of nulls, as in Hive.
fn folder_name(text: &str) -> String {
    if text.is_empty() { NULL_PARTITION.to_owned() } else { encode(text) }
}

fn as_text(values: &ArrayRef) -> Result<StringArray> {
    Ok(cast(values, &DataType::Utf8).map_err(Error::failed)?.as_string::<i32>().clone())
}

fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    Arc::clone(batch.column_by_name(name).expect("columns were checked on creation"))
}
