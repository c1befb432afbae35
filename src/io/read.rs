//! From files to record batches, in units that workers share.

mod csv;
mod json;
mod parquet;

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

use ::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use arrow::array::{ArrayRef, Int64Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use twox_hash::XxHash64;

use crate::error::{Error, Result};

use super::InputTable;
use super::files::{self, Format, InputFile};
use super::schema::{self, FilePlan, Kind, Place, Renames, TableSchema};

/// A table that can be read: its files have been opened, and their schemas agree.
pub(crate) struct Source {
    pub(crate) schema: TableSchema,
    files: Vec<Opened>,
}

/// A file whose columns are known.
struct Opened {
    file: InputFile,
    schema: Schema,
    /// What the end of a Parquet file says of it.
    metadata: Option<ArrowReaderMetadata>,
}

/// A part of a table that one worker reads: a row group of a Parquet file, or a whole file of another format.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) file: usize,
    row_group: Option<usize>,
    /// How many rows of the file lie before it.
    first_row: u64,
    /// How many rows it has, where that is known before it is read.
    pub(crate) rows: Option<u64>,
}

/// Rows as they were read, column by column.
pub(crate) struct RawBatch {
    /// The number of each row in its file, from 0.
    pub(crate) numbers: Numbers,
    /// The core columns; an optional one that the file does not have is all null.
    pub(crate) cores: Vec<ArrayRef>,
    pub(crate) further: Vec<ArrayRef>,
    /// Rows that are none: what could not be read as a row at all.
    pub(crate) malformed: Vec<Malformed>,
}

/// The numbers of a batch's rows.
pub(crate) enum Numbers {
    Consecutive { first: u64, count: usize },
    Listed(Vec<u64>),
}

/// What could not be read as a row.
pub(crate) struct Malformed {
    pub(crate) number: u64,
    pub(crate) reason: String,
    pub(crate) json: String,
}

impl Numbers {
    pub(crate) fn len(&self) -> usize {
        match self {
            Numbers::Consecutive { count, .. } => *count,
            Numbers::Listed(numbers) => numbers.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> u64 {
        match self {
            Numbers::Consecutive { first, .. } => first + index as u64,
            Numbers::Listed(numbers) => numbers[index],
        }
    }
}

/// Batches of a unit. Each error names the file.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<RawBatch>> + 'a>;

impl Source {
    /// Finds and opens the files of a table.
    ///
    /// # Errors
    ///
    /// If there are none, one can't be opened or is not what its ending says, or their schemas can't be used.
    pub(crate) fn open(input: &Path, table: InputTable, renames: &Renames) -> Result<Source> {
        let files = files::find(input, table)?;
        let opened = files.into_iter().map(|file| Opened::open(file, table, renames)).collect::<Result<Vec<_>>>()?;
        let schemas: Vec<_> = opened.iter().map(|opened| (opened.file.clone(), opened.schema.clone())).collect();
        Ok(Source { schema: schema::unify(table, &schemas, renames)?, files: opened })
    }

    /// The parts in which the table is read.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let units = self.files.iter().enumerate().flat_map(|(file, opened)| match &opened.metadata {
            Some(metadata) => parquet::units(file, metadata),
            None => vec![Unit { file, row_group: None, first_row: 0, rows: None }],
        });
        units.collect()
    }

    /// How many files, bytes and parts there are, and a checksum of their names and sizes and of the schema.
    ///
    /// # Errors
    ///
    /// If a file is not there any more.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        let (mut hasher, mut bytes) = (XxHash64::with_seed(0), 0);
        for Opened { file, schema, .. } in &self.files {
            let length = fs::metadata(&file.path).map_err(Error::reading(&file.path))?.len();
            (&file.name, length, format!("{schema:?}")).hash(&mut hasher);
            bytes += length;
        }
        let (files, parts, checksum) = (self.files.len(), self.units().len(), hasher.finish());
        Ok(format!("{files} files, {bytes} bytes, {parts} parts, checksum {checksum:016x}"))
    }

    /// The name of a file below the input folder.
    pub(crate) fn file_name(&self, file: usize) -> &str {
        &self.files[file].file.name
    }

    /// How many files there are.
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// About how many rows a unit has: where that is not known, a row is taken to have some sixty bytes.
    pub(crate) fn rows_about(&self, unit: &Unit) -> u64 {
        unit.rows.unwrap_or_else(|| fs::metadata(&self.files[unit.file].file.path).map_or(0, |file| file.len() / 64))
    }

    /// Reads a unit, `batch_size` rows at a time.
    ///
    /// # Errors
    ///
    /// If the file can't be opened any more; each batch may be an error too.
    pub(crate) fn read(&self, unit: &Unit, batch_size: usize) -> Result<Batches<'_>> {
        let (opened, plan) = (&self.files[unit.file], &self.schema.files[unit.file]);
        let table = Columns { schema: &self.schema, plan, path: &opened.file.path };
        match (&opened.metadata, opened.file.format) {
            (Some(metadata), _) => parquet::read(table, metadata, unit, batch_size),
            (None, Format::JsonLines) => json::read(table, &opened.schema, batch_size),
            (None, _) => csv::read(table, batch_size),
        }
    }
}

impl Opened {
    fn open(file: InputFile, table: InputTable, renames: &Renames) -> Result<Opened> {
        let (schema, metadata) = match file.format {
            Format::Parquet => {
                let metadata = parquet::open(&file.path)?;
                (metadata.schema().as_ref().clone(), Some(metadata))
            }
            Format::Csv => (as_wanted(&csv::infer(&file.path)?, table, renames), None),
            Format::JsonLines => (as_wanted(&json::infer(&file.path)?, table, renames), None),
        };
        Ok(Opened { file, schema, metadata })
    }
}

/// The schema of a text file, in which numbers and dates have no type of their own: a core column takes the one that
/// is wanted, and values that do not have it are rejected row by row.
fn as_wanted(inferred: &Schema, table: InputTable, renames: &Renames) -> Schema {
    let fields = inferred.fields().iter().map(|field| {
        let renamed = renames.iter().find(|(_, found)| *found == field.name());
        let name = renamed.map_or(field.name(), |(wanted, _)| wanted);
        let core = table.cores().iter().find(|core| core.name == name);
        let is_scalar = matches!(field.data_type(), DataType::Int64 | DataType::Float64 | DataType::Utf8);
        let wanted = core.filter(|_| is_scalar).map(|core| match core.kind {
            Kind::Id if *field.data_type() == DataType::Int64 => DataType::Int64,
            Kind::Id | Kind::Date | Kind::Text => DataType::Utf8,
            Kind::Quantity => DataType::Int64,
            Kind::Money => DataType::Float64,
        });
        Field::new(field.name(), wanted.unwrap_or_else(|| field.data_type().clone()), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Arranges the columns of one file as its table has them.
#[derive(Clone, Copy)]
struct Columns<'a> {
    schema: &'a TableSchema,
    plan: &'a FilePlan,
    path: &'a Path,
}

impl Columns<'_> {
    fn arrange(&self, columns: &[ArrayRef], numbers: Numbers, malformed: Vec<Malformed>) -> Result<RawBatch> {
        let rows = numbers.len();
        let cores = self.plan.cores.iter().zip(self.schema.table.cores()).zip(&self.schema.cores);
        let cores = cores.map(|((place, core), written)| {
            // A folder names an id of the table's type, and anything else as text.
            let data_type = written.as_ref().filter(|_| core.kind == Kind::Id).unwrap_or(&DataType::Utf8);
            column(place, columns, data_type, rows)
        });
        let further = self.plan.further.iter().zip(&self.schema.further);
        let further = further.map(|(place, field)| {
            let array = column(place, columns, field.data_type(), rows);
            let same = array.data_type() == field.data_type();
            if same {
                Ok(array)
            } else {
                arrow::compute::cast(&array, field.data_type()).map_err(Error::reading(self.path))
            }
        });
        Ok(RawBatch { cores: cores.collect(), further: further.collect::<Result<_>>()?, numbers, malformed })
    }
}

/// A column's values; those that no column has are made as `data_type`.
fn column(place: &Place, columns: &[ArrayRef], data_type: &DataType, rows: usize) -> ArrayRef {
    match place {
        Place::Column(position) => Arc::clone(&columns[*position]),
        Place::Nowhere | Place::Folder(None) => new_null_array(data_type, rows),
        Place::Folder(Some(value)) => match value.parse() {
            Ok(integer) if *data_type == DataType::Int64 => Arc::new(Int64Array::from_value(integer, rows)),
            _ => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))),
        },
    }
}
