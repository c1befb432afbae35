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

use crate::columns::{ColumnKind, InputSchema};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::{MalformedRow, RowNumbers, SourceBatch, SourceBatches};

use super::find::{self, InputFile, InputFormat};
use super::schema::{self, ColumnSource, FilePlan, Renames};

/// A table that can be read: its files have been opened, and their schemas agree.
pub(super) struct TableFiles {
    pub(super) schema: InputSchema,
    plans: Vec<FilePlan>,
    files: Vec<OpenedFile>,
}

/// A file whose columns are known.
struct OpenedFile {
    file: InputFile,
    schema: Schema,
    /// What the end of a Parquet file says of it.
    metadata: Option<ArrowReaderMetadata>,
}

/// A part of a table that one worker reads: a row group of a Parquet file, or a whole file of another format.
#[derive(Clone, Debug)]
pub(super) struct FilePart {
    pub(super) file: usize,
    row_group: Option<usize>,
    /// How many rows of the file lie before it.
    first_row: u64,
    /// How many rows it has, where that is known before it is read.
    pub(super) rows: Option<u64>,
}

impl TableFiles {
    /// Finds and opens the files of a table.
    ///
    /// # Errors
    ///
    /// If there are none, one can't be opened or is not what its ending says, or their schemas can't be used.
    pub(super) fn open(input: &Path, table: InputTable, renames: &Renames) -> Result<TableFiles> {
        let files = find::find(input, table)?;
        let opened =
            files.into_iter().map(|file| OpenedFile::open(file, table, renames)).collect::<Result<Vec<_>>>()?;
        let schemas: Vec<_> = opened.iter().map(|opened| (opened.file.clone(), opened.schema.clone())).collect();
        let (schema, plans) = schema::unify(table, &schemas, renames)?;
        Ok(TableFiles { schema, plans, files: opened })
    }

    /// The parts in which the table is read.
    pub(super) fn parts(&self) -> Vec<FilePart> {
        let parts = self.files.iter().enumerate().flat_map(|(file, opened)| match &opened.metadata {
            Some(metadata) => parquet::parts(file, metadata),
            None => vec![FilePart { file, row_group: None, first_row: 0, rows: None }],
        });
        parts.collect()
    }

    /// How many files, bytes and parts there are, and a checksum of their names and sizes and of the schema.
    ///
    /// # Errors
    ///
    /// If a file is not there any more.
    pub(super) fn fingerprint(&self) -> Result<String> {
        let (mut hasher, mut bytes) = (XxHash64::with_seed(0), 0);
        for OpenedFile { file, schema, .. } in &self.files {
            let length = fs::metadata(&file.path).map_err(Error::reading(&file.path))?.len();
            (&file.name, length, format!("{schema:?}")).hash(&mut hasher);
            bytes += length;
        }
        let (files, parts, checksum) = (self.files.len(), self.parts().len(), hasher.finish());
        Ok(format!("{files} files, {bytes} bytes, {parts} parts, checksum {checksum:016x}"))
    }

    /// How many files there are.
    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// About how many rows a unit has: where that is not known, a row is taken to have some sixty bytes.
    pub(super) fn rows_about(&self, part: &FilePart) -> u64 {
        part.rows.unwrap_or_else(|| fs::metadata(&self.files[part.file].file.path).map_or(0, |file| file.len() / 64))
    }

    /// Reads a unit, `batch_size` rows at a time.
    ///
    /// # Errors
    ///
    /// If the file can't be opened any more; each batch may be an error too.
    pub(super) fn read(&self, part: &FilePart, batch_size: usize) -> Result<SourceBatches<'_>> {
        let (opened, plan) = (&self.files[part.file], &self.plans[part.file]);
        let origin = Arc::from(opened.file.name.as_str());
        let table = FileColumns { schema: &self.schema, plan, path: &opened.file.path, part: part.file, origin };
        match (&opened.metadata, opened.file.format) {
            (Some(metadata), _) => parquet::read(table, metadata, part, batch_size),
            (None, InputFormat::JsonLines) => json::read(table, &opened.schema, batch_size),
            (None, _) => csv::read(table, batch_size),
        }
    }
}

impl OpenedFile {
    fn open(file: InputFile, table: InputTable, renames: &Renames) -> Result<OpenedFile> {
        let (schema, metadata) = match file.format {
            InputFormat::Parquet => {
                let metadata = parquet::open(&file.path)?;
                (metadata.schema().as_ref().clone(), Some(metadata))
            }
            InputFormat::Csv => (as_wanted(&csv::infer(&file.path)?, table, renames), None),
            InputFormat::JsonLines => (as_wanted(&json::infer(&file.path)?, table, renames), None),
        };
        Ok(OpenedFile { file, schema, metadata })
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
            ColumnKind::Id if *field.data_type() == DataType::Int64 => DataType::Int64,
            ColumnKind::Id | ColumnKind::Date | ColumnKind::Text => DataType::Utf8,
            ColumnKind::Quantity => DataType::Int64,
            ColumnKind::Money => DataType::Float64,
        });
        Field::new(field.name(), wanted.unwrap_or_else(|| field.data_type().clone()), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Arranges the columns of one file as its table has them.
#[derive(Clone)]
struct FileColumns<'a> {
    schema: &'a InputSchema,
    plan: &'a FilePlan,
    path: &'a Path,
    part: usize,
    origin: Arc<str>,
}

impl FileColumns<'_> {
    fn arrange(&self, columns: &[ArrayRef], numbers: RowNumbers, malformed: Vec<MalformedRow>) -> Result<SourceBatch> {
        let rows = numbers.len();
        let cores = self.plan.cores.iter().zip(self.schema.table.cores()).zip(&self.schema.cores);
        let cores = cores.map(|((place, core), written)| {
            // A folder names an id of the table's type, and anything else as text.
            let data_type = written.as_ref().filter(|_| core.kind == ColumnKind::Id).unwrap_or(&DataType::Utf8);
            column(place, columns, data_type, rows)
        });
        let carried = self.plan.carried.iter().zip(&self.schema.carried);
        let carried = carried.map(|(place, field)| {
            let array = column(place, columns, field.data_type(), rows);
            let same = array.data_type() == field.data_type();
            if same {
                Ok(array)
            } else {
                arrow::compute::cast(&array, field.data_type()).map_err(Error::reading(self.path))
            }
        });
        Ok(SourceBatch {
            part: self.part,
            origin: Arc::clone(&self.origin),
            numbers,
            cores: cores.collect(),
            carried: carried.collect::<Result<_>>()?,
            malformed,
        })
    }
}

/// A column's values; those that no column has are made as `data_type`.
fn column(place: &ColumnSource, columns: &[ArrayRef], data_type: &DataType, rows: usize) -> ArrayRef {
    match place {
        ColumnSource::Column(position) => Arc::clone(&columns[*position]),
        ColumnSource::Nowhere | ColumnSource::Folder(None) => new_null_array(data_type, rows),
        ColumnSource::Folder(Some(value)) => match value.parse() {
            Ok(integer) if *data_type == DataType::Int64 => Arc::new(Int64Array::from_value(integer, rows)),
            _ => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))),
        },
    }
}
