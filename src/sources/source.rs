//! The trait of sources, and their batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::columns::{InputSchema, OPERATION};
use crate::error::{Error, Result};
use crate::model::{InputTable, Origin, Reason, Rejection};
use crate::operators::Position;

/// Provides the rows of the three tables. Shared by the workers.
pub trait Source: Send + Sync {
    /// The columns of a table.
    fn schema(&self, table: InputTable) -> &InputSchema;

    /// The splits of all tables, which may be read concurrently.
    fn splits(&self) -> Vec<Split>;

    /// Reads a split, `batch_size` rows at a time.
    ///
    /// # Errors
    ///
    /// If it can't be read; each batch may be an error as well. Errors name the file.
    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>>;

    /// A description of the data by table, compared across processes.
    ///
    /// # Errors
    ///
    /// If the source is no longer available.
    fn fingerprint(&self) -> Result<BTreeMap<String, String>>;
}

/// A part of a table that one worker reads.
#[derive(Clone, Debug)]
pub struct Split {
    /// The table.
    pub table: InputTable,
    /// Identifies the split among those of its source.
    pub index: usize,
    /// The number of rows, if known before reading.
    pub rows: Option<u64>,
    /// The approximate number of rows.
    pub rows_about: u64,
}

/// Batches of a split.
pub type SourceBatches<'a> = Box<dyn Iterator<Item = Result<SourceBatch>> + 'a>;

/// Rows of a table, column by column.
///
/// The offset of a row is its part of the source and its number there. If rows share an id, the one with the greatest
/// offset wins, regardless of the order of reading. If the table has [versions](InputSchema::versioned_by), that is so
/// among the rows with the greatest one.
#[derive(Clone)]
pub struct SourceBatch {
    pub(crate) table: InputTable,
    /// The part of the source: a file, a partition.
    pub(crate) part: usize,
    /// The name of the part, for messages.
    pub(crate) origin: Arc<str>,
    /// The number of each row in its part, from 0.
    pub(crate) numbers: RowNumbers,
    /// The core columns; an optional one that the part does not have is all null.
    pub(crate) cores: Vec<ArrayRef>,
    pub(crate) carried: Vec<ArrayRef>,
    /// What each row does, if the table has such a column.
    pub(crate) operations: Option<ArrayRef>,
    /// The version of each row, if the table has versions.
    pub(crate) versions: Option<ArrayRef>,
    /// Records that are not rows.
    pub(crate) malformed: Vec<MalformedRow>,
}

/// Bits of a row's number in its [position](SourceBatch::position); the others are for the part.
const NUMBER_BITS: u32 = 40;
/// A source has fewer parts than this.
const PARTS_MAX: u64 = 1 << (u64::BITS - NUMBER_BITS);
/// A part has fewer rows than this.
const ROWS_MAX: u64 = 1 << NUMBER_BITS;

impl SourceBatch {
    /// Creates a batch of consecutive rows of a part, from row number `first_row`. Columns of the schema that the rows
    /// lack are null.
    ///
    /// `origin` is the name of the part, for messages and `rejected`.
    ///
    /// # Errors
    ///
    /// If `part` is not below 2²⁴, a row number is not below 2⁴⁰, or a carried column has another type than the
    /// schema. Greater offsets, such as log sequence numbers, must be made relative to the start of the source.
    pub fn new(
        schema: &InputSchema,
        part: usize,
        origin: &Arc<str>,
        first_row: u64,
        rows: &RecordBatch,
    ) -> Result<SourceBatch> {
        let count = rows.num_rows();
        let column = |name: &str, data_type: &DataType| {
            rows.column_by_name(name).cloned().unwrap_or_else(|| new_null_array(data_type, count))
        };
        let cores = schema.table.cores().iter().zip(&schema.cores);
        let cores = cores.map(|(core, written)| column(core.name, written.as_ref().unwrap_or(&DataType::Utf8)));
        let carried = schema.carried.iter().map(|field| {
            let values = column(field.name(), field.data_type());
            cast(&values, field.data_type())
                .map_err(|cause| Error::unusable(format!("{origin}: column {}: {cause}", field.name())))
        });
        let batch = SourceBatch {
            table: schema.table,
            part,
            origin: Arc::clone(origin),
            numbers: RowNumbers::Consecutive { first: first_row, count },
            cores: cores.collect(),
            carried: carried.collect::<Result<_>>()?,
            operations: schema.has_operations.then(|| column(OPERATION, &DataType::Utf8)),
            versions: schema.version.as_ref().map(|name| column(name, &DataType::Utf8)),
            malformed: Vec::new(),
        };
        batch.checked()
    }

    /// Checks that offsets are in range.
    ///
    /// # Errors
    ///
    /// If one is not: it would equal the offset of another row.
    pub(crate) fn checked(self) -> Result<SourceBatch> {
        let (origin, part) = (&self.origin, self.part);
        if part as u64 >= PARTS_MAX {
            return Err(Error::unusable(format!("{origin}: found part {part}, wanted one below 2^24 ({PARTS_MAX})")));
        }
        match self.numbers.greatest() {
            Some(number) if number >= ROWS_MAX => {
                Err(Error::unusable(format!("{origin}: found row number {number}, wanted one below 2^40 ({ROWS_MAX})")))
            }
            _ => Ok(self),
        }
    }

    /// The position of the row with this number among all rows of the table: by part, then by row.
    pub(crate) fn position(&self, number: u64) -> Position {
        Position::after((self.part as u64) << NUMBER_BITS | number)
    }

    /// Moves the rows behind others, of which there are so many.
    #[cfg(feature = "postgres")]
    pub(crate) fn shift(&mut self, by: u64) {
        match &mut self.numbers {
            RowNumbers::Consecutive { first, .. } => *first += by,
            RowNumbers::Listed(numbers) => numbers.iter_mut().for_each(|number| *number += by),
        }
        self.malformed.iter_mut().for_each(|row| row.number += by);
    }

    /// Some of the rows, without the malformed ones.
    pub(crate) fn select(&self, rows: &[u32]) -> Result<SourceBatch> {
        let indices = UInt32Array::from(rows.to_vec());
        let select = |column: &ArrayRef| take(column, &indices, None).map_err(Error::failed);
        let numbers = rows.iter().map(|row| self.numbers.get(*row as usize)).collect();
        Ok(SourceBatch {
            table: self.table,
            part: self.part,
            origin: Arc::clone(&self.origin),
            numbers: RowNumbers::Listed(numbers),
            cores: self.cores.iter().map(select).collect::<Result<_>>()?,
            carried: self.carried.iter().map(select).collect::<Result<_>>()?,
            operations: self.operations.as_ref().map(select).transpose()?,
            versions: self.versions.as_ref().map(select).transpose()?,
            malformed: Vec::new(),
        })
    }

    /// The malformed rows, as they are rejected.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = Rejection> {
        self.malformed.iter().map(|row| {
            let origin = Some(Origin { file: Arc::clone(&self.origin), row: row.number });
            let row_text = shortened(row.json.clone());
            Rejection { table: self.table.name().into(), origin, reason: row.reason.clone(), row: row_text }
        })
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.cores.iter().chain(&self.carried).chain(&self.operations).chain(&self.versions);
        let malformed = self.malformed.iter().map(|row| row.json.len() + size_of::<MalformedRow>());
        // Several arrays may share a buffer, of which each has a slice.
        let of_column = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
        columns.map(of_column).sum::<usize>() + malformed.sum::<usize>()
    }

    /// The number of rows, including malformed ones.
    pub(crate) fn rows(&self) -> u64 {
        (self.numbers.len() + self.malformed.len()) as u64
    }
}

/// The longest text of a rejected row, in bytes: a batch of 4,096 of them must fit into one text column, 2 GiB.
const LONGEST_ROW: usize = 1 << 18;
/// Room for how long a text was.
const LENGTH: usize = 40;

/// A text of a rejected row that is not too long. What was shortened stays as it is.
pub(crate) fn shortened(mut json: String) -> String {
    if json.len() > LONGEST_ROW {
        let length = json.len();
        let end = (0..LONGEST_ROW - LENGTH).rev().find(|end| json.is_char_boundary(*end));
        json.truncate(end.unwrap_or(0));
        json.push_str(&format!("… ({length} bytes)"));
    }
    json
}

/// The numbers of a batch's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RowNumbers {
    Consecutive {
        first: u64,
        count: usize,
    },
    /// In ascending order.
    Listed(Vec<u64>),
}

/// A record that is not a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MalformedRow {
    pub(crate) number: u64,
    pub(crate) reason: Reason,
    pub(crate) json: String,
}

impl RowNumbers {
    pub(crate) fn len(&self) -> usize {
        match self {
            RowNumbers::Consecutive { count, .. } => *count,
            RowNumbers::Listed(numbers) => numbers.len(),
        }
    }

    /// The first number; 0 if there is none.
    pub(crate) fn first(&self) -> u64 {
        match self {
            RowNumbers::Consecutive { first, .. } => *first,
            RowNumbers::Listed(numbers) => numbers.first().copied().unwrap_or(0),
        }
    }

    /// The greatest number; of consecutive ones that overflow, the greatest possible.
    fn greatest(&self) -> Option<u64> {
        match self {
            RowNumbers::Consecutive { count: 0, .. } => None,
            RowNumbers::Consecutive { first, count } => Some(first.saturating_add(*count as u64 - 1)),
            RowNumbers::Listed(numbers) => numbers.last().copied(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        match self {
            RowNumbers::Consecutive { first, .. } => first + index as u64,
            RowNumbers::Listed(numbers) => numbers[index],
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn a_text_is_shortened_once() {
        let once = shortened("ä".repeat(LONGEST_ROW));
        assert!(once.len() <= LONGEST_ROW && once.ends_with("… (524288 bytes)"));
        assert_eq!(shortened(once.clone()), once);
    }

    #[test]
    fn offsets_that_would_be_taken_for_others_are_refused() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_from_iter([("customer_id", ids)]).expect("a batch");
        let schema = InputSchema::of(InputTable::Customers, &rows.schema()).expect("a schema");
        let new = |part, first| SourceBatch::new(&schema, part, &Arc::from("wal"), first, &rows);
        let last = new((1 << 24) - 1, (1 << 40) - 2).expect("the greatest offset");
        let before = new((1 << 24) - 2, (1 << 40) - 2).expect("one part before it");
        assert!(last.position((1 << 40) - 2) > before.position((1 << 40) - 1));
        for (part, first, message) in [
            (0, (1 << 40) - 1, "wal: found row number 1099511627776, wanted one below 2^40 (1099511627776)"),
            (0, u64::MAX, "wal: found row number 18446744073709551615, wanted one below 2^40"),
            (1 << 24, 0, "wal: found part 16777216, wanted one below 2^24 (16777216)"),
        ] {
            let error = new(part, first).err().expect("refused").to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
