//! What a source is, and the batches that it hands over.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::InputTable;

/// Where rows come from. Workers share it.
pub trait Source: Send + Sync {
    /// The columns of a table.
    fn schema(&self, table: InputTable) -> &InputSchema;

    /// The splits of all tables, which may be read at the same time.
    fn splits(&self) -> Vec<Split>;

    /// Reads a split, `batch_size` rows at a time.
    ///
    /// # Errors
    ///
    /// If it can't be read any more; each batch may be an error too. Errors name the file.
    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>>;

    /// What the source has, table by table, in words that differ if another process of the run sees something else.
    ///
    /// # Errors
    ///
    /// If the source is not there any more.
    fn fingerprint(&self) -> Result<BTreeMap<String, String>>;
}

/// A part of a table that one worker reads.
#[derive(Clone, Debug)]
pub struct Split {
    /// The table.
    pub table: InputTable,
    /// Identifies the split among those of its source.
    pub index: usize,
    /// How many rows it has, if that is known before it is read.
    pub rows: Option<u64>,
    /// How many rows it has, about.
    pub rows_about: u64,
}

/// Batches of a split.
pub type SourceBatches<'a> = Box<dyn Iterator<Item = Result<SourceBatch>> + 'a>;

/// Rows of a table, column by column.
pub struct SourceBatch {
    /// The part of the source: a file, a partition. Later parts have later rows.
    pub(crate) part: usize,
    /// The name of the part, for messages.
    pub(crate) origin: Arc<str>,
    /// The number of each row in its part, from 0.
    pub(crate) numbers: RowNumbers,
    /// The core columns; an optional one that the part does not have is all null.
    pub(crate) cores: Vec<ArrayRef>,
    pub(crate) carried: Vec<ArrayRef>,
    /// What could not be read as a row at all.
    pub(crate) malformed: Vec<MalformedRow>,
}

impl SourceBatch {
    /// Rows of a part of a source, the first of which has this number there. Columns that the schema has and the rows do
    /// not are null.
    ///
    /// # Errors
    ///
    /// If a carried column does not have the type that the schema says.
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
        Ok(SourceBatch {
            part,
            origin: Arc::clone(origin),
            numbers: RowNumbers::Consecutive { first: first_row, count },
            cores: cores.collect(),
            carried: carried.collect::<Result<_>>()?,
            malformed: Vec::new(),
        })
    }

    /// How many rows it has, malformed ones included.
    pub(crate) fn rows(&self) -> u64 {
        (self.numbers.len() + self.malformed.len()) as u64
    }
}

/// The numbers of a batch's rows.
pub(crate) enum RowNumbers {
    Consecutive { first: u64, count: usize },
    Listed(Vec<u64>),
}

/// What could not be read as a row.
pub(crate) struct MalformedRow {
    pub(crate) number: u64,
    pub(crate) reason: String,
    pub(crate) json: String,
}

impl RowNumbers {
    pub(crate) fn len(&self) -> usize {
        match self {
            RowNumbers::Consecutive { count, .. } => *count,
            RowNumbers::Listed(numbers) => numbers.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        match self {
            RowNumbers::Consecutive { first, .. } => first + index as u64,
            RowNumbers::Listed(numbers) => numbers[index],
        }
    }
}
