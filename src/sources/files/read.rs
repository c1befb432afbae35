//! Reading files as record batches, in parts that are distributed over the workers.

mod arrow_stream;
mod csv;
mod file_columns;
mod infer;
mod json;
mod parquet;
mod text;

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use ::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use arrow::datatypes::{FieldRef, Schema};
use twox_hash::XxHash64;

use crate::columns::{ColumnKind, InputSchema};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::SourceBatches;

pub(super) use file_columns::{FileColumns, FilePart};
use infer::{as_wanted, kind_of};
#[cfg(feature = "kafka")]
pub(crate) use json::JsonObject;

use super::find::{self, InputFile, InputFormat};
use super::options::{CsvDialect, FileOptions, Renames};
use super::schema::{self, FilePlan};

/// The opened files of a table, with one unified schema.
pub(super) struct TableFiles {
    pub(super) schema: InputSchema,
    plans: Vec<FilePlan>,
    files: Vec<OpenedFile>,
    dialect: CsvDialect,
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
    pub(super) fn open(input: &Path, table: InputTable, options: &FileOptions) -> Result<TableFiles> {
        let none = Renames::new();
        let (renames, dialect) = (options.columns.get(table.name()).unwrap_or(&none), &options.csv);
        let files = find::find(input, table, options.order)?;
        let open = |file| OpenedFile::open(file, table, renames, dialect);
        let opened = at_once(files, open).into_iter().collect::<Result<Vec<_>>>()?;
        let schemas: Vec<_> = opened.iter().map(|opened| (opened.file.clone(), opened.schema.clone())).collect();
        let (schema, plans) = schema::unify(table, &schemas, renames, options)?;
        Ok(TableFiles { schema, plans, files: opened, dialect: dialect.clone() })
    }

    /// Opens a file that came after the columns of its table were known; returns the columns that are new, too.
    ///
    /// # Errors
    ///
    /// If it can't be opened, does not match its extension, or lacks a column.
    pub(super) fn open_arrived(
        file: InputFile,
        schema: &InputSchema,
        options: &FileOptions,
    ) -> Result<(TableFiles, Vec<FieldRef>)> {
        let none = Renames::new();
        let (renames, dialect) = (options.columns.get(schema.table.name()).unwrap_or(&none), &options.csv);
        let opened = OpenedFile::open(file, schema.table, renames, dialect)?;
        let (plan, new) = schema::fit(schema, &opened.file, &opened.schema, renames, options)?;
        let (schema, dialect) = (schema.clone(), dialect.clone());
        Ok((TableFiles { schema, plans: vec![plan], files: vec![opened], dialect }, new))
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

    pub(super) fn files(&self) -> impl Iterator<Item = &InputFile> {
        self.files.iter().map(|opened| &opened.file)
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
            (None, InputFormat::ArrowStream) => arrow_stream::read(table),
            (None, InputFormat::JsonLines) => json::read(table, &opened.file, &opened.schema, batch_size),
            (None, _) => csv::read(table, &opened.file, &opened.schema, &self.dialect, batch_size),
        }
    }
}

impl OpenedFile {
    fn open(file: InputFile, table: InputTable, renames: &Renames, dialect: &CsvDialect) -> Result<OpenedFile> {
        let (schema, metadata) = match file.format {
            InputFormat::Parquet => {
                let metadata = parquet::open(&file.path)?;
                (metadata.schema().as_ref().clone(), Some(metadata))
            }
            InputFormat::ArrowStream => (arrow_stream::schema(&file.path)?.as_ref().clone(), None),
            InputFormat::Csv => {
                let is_id = |name: &str| kind_of(name, table, renames) == Some(ColumnKind::Id);
                (as_wanted(&csv::infer(&file, dialect, &is_id)?, table, renames), None)
            }
            InputFormat::JsonLines => (as_wanted(&json::infer(&file)?, table, renames), None),
        };
        Ok(OpenedFile { file, schema, metadata })
    }
}

/// Opens files in several threads: on a network volume, each takes its time.
fn at_once<F: Send, R: Send>(files: Vec<F>, open: impl Fn(F) -> R + Sync) -> Vec<R> {
    const THREADS: usize = 8;
    let threads = THREADS.min(files.len());
    let files = Mutex::new(files.into_iter().enumerate());
    let next = || files.lock().expect("no thread panicked").next();
    let work = || std::iter::from_fn(next).map(|(index, file)| (index, open(file))).collect::<Vec<_>>();
    let mut opened: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("opening does not panic")).collect()
    });
    opened.sort_by_key(|(index, _)| *index);
    opened.into_iter().map(|(_, opened)| opened).collect()
}
