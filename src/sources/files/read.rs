//! Reading files as record batches, in parts that are distributed over the workers.

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

/// The opened files of a table, with one unified schema.
pub(super) struct TableFiles {
    pub(super) schema: InputSchema,
    plans: Vec<FilePlan>,
    files: Vec<OpenedFile>,
}

/// An opened file.
struct OpenedFile {
    file: InputFile,
    schema: Schema,
    /// The footer metadata of a Parquet file.
    metadata: Option<ArrowReaderMetadata>,
}

/// A part of a table, read by one worker: a Parquet row group, or a whole file of another format.
#[derive(Clone, Debug)]
pub(super) struct FilePart {
    pub(super) file: usize,
    row_group: Option<usize>,
    /// The number of rows before it in the file.
    first_row: u64,
    /// The number of rows, if known without reading.
    pub(super) rows: Option<u64>,
}

impl TableFiles {
    /// Finds and opens the files of a table.
    ///
    /// # Errors
    ///
    /// If no file exists, one can't be opened or does not match its extension, or the schemas are unusable.
    pub(super) fn open(input: &Path, table: InputTable, renames: &Renames) -> Result<TableFiles> {
        let files = find::find(input, table)?;
        let opened =
            files.into_iter().map(|file| OpenedFile::open(file, table, renames)).collect::<Result<Vec<_>>>()?;
        let schemas: Vec<_> = opened.iter().map(|opened| (opened.file.clone(), opened.schema.clone())).collect();
        let (schema, plans) = schema::unify(table, &schemas, renames)?;
        Ok(TableFiles { schema, plans, files: opened })
    }

    /// The parts of the table.
    pub(super) fn parts(&self) -> Vec<FilePart> {
        let parts = self.files.iter().enumerate().flat_map(|(file, opened)| match &opened.metadata {
            Some(metadata) => parquet::parts(file, metadata),
            None => vec![FilePart { file, row_group: None, first_row: 0, rows: None }],
        });
        parts.collect()
    }

    /// The number of files, bytes and parts, and a checksum of names, sizes and schemas.
    ///
    /// # Errors
    ///
    /// If a file has been removed.
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

    /// The number of files.
    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The approximate number of rows of a part; estimated at 64 bytes per row if unknown.
    pub(super) fn rows_about(&self, part: &FilePart) -> u64 {
        part.rows.unwrap_or_else(|| fs::metadata(&self.files[part.file].file.path).map_or(0, |file| file.len() / 64))
    }

    /// Reads a part in batches of `batch_size` rows.
    ///
    /// # Errors
    ///
    /// If the file can't be opened; each batch may be an error, too.
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

/// The schema of a text file, which does not store types: core columns take their expected type, and rows with other
/// values are rejected.
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

/// Maps the columns of a file to those of its table.
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
            // Ids in folder names have the table's id type; all other values are text.
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

/// The values of a column; missing and folder columns are created with `data_type`.
fn column(place: &ColumnSource, columns: &[ArrayRef], data_type: &DataType, rows: usize) -> ArrayRef {
    match place {
        ColumnSource::Column(position) => Arc::clone(&columns[*position]),
        ColumnSource::Missing | ColumnSource::Folder(None) => new_null_array(data_type, rows),
        ColumnSource::Folder(Some(value)) => match value.parse() {
            Ok(integer) if *data_type == DataType::Int64 => Arc::new(Int64Array::from_value(integer, rows)),
            _ => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))),
        },
    }
}
