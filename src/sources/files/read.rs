//! Reading files as record batches, in parts that are distributed over the workers.

mod csv;
mod file_columns;
mod json;
mod parquet;

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

use ::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use twox_hash::XxHash64;

use crate::columns::{ColumnKind, InputSchema};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::SourceBatches;

use file_columns::FileColumns;
pub(super) use file_columns::FilePart;

use super::find::{self, InputFile, InputFormat};
use super::schema::{self, FilePlan, Renames};

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
