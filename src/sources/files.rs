//! The file source: an input folder of Parquet, Arrow, CSV and JSON lines files.

mod arrivals;
mod common_type;
mod find;
#[cfg(feature = "postgres")]
mod foreign;
mod new_columns;
mod options;
mod read;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use crate::columns::InputSchema;
use crate::error::Result;
use crate::model::InputTable;

use super::{Source, SourceBatches, Split};
pub(crate) use arrivals::read_body;
pub use arrivals::{ArrivedFile, ArrivedRows, FileLedger, FileStamp, FolderWatch};
pub use find::InputFormat;
#[cfg(feature = "postgres")]
pub(crate) use foreign::ForeignTable;
pub(crate) use new_columns::NewColumns;
pub(crate) use options::NOT_IN_DIALECTS;
pub use options::{CsvDialect, FileColumn, FileOptions, FileOrder, Renames, SkippedColumns, VersionColumn};
#[cfg(feature = "kafka")]
pub(crate) use read::JsonObject;
use read::{FilePart, TableFiles};

/// The files of an input folder.
pub struct FileSource {
    tables: Vec<TableFiles>,
    parts: Vec<(InputTable, FilePart)>,
}

impl FileSource {
    /// Finds and opens the files of all tables.
    ///
    /// # Errors
    ///
    /// If a table has no files, a file can't be opened or does not match its extension, or the schemas are unusable.
    pub fn open(input: &Path, options: &FileOptions) -> Result<FileSource> {
        FileSource::open_some(input, &InputTable::ALL, options)
    }

    fn of(tables: Vec<TableFiles>) -> FileSource {
        let parts = tables.iter().flat_map(|files| files.parts().into_iter().map(|part| (files.schema.table, part)));
        FileSource { parts: parts.collect(), tables }
    }

    /// Finds and opens the files of some tables; the source then has only these.
    ///
    /// # Errors
    ///
    /// Like [`open`](Self::open).
    pub(crate) fn open_some(input: &Path, tables: &[InputTable], options: &FileOptions) -> Result<FileSource> {
        let open = |table: &InputTable| TableFiles::open(input, *table, options);
        Ok(FileSource::of(tables.iter().map(open).collect::<Result<_>>()?))
    }

    /// The files that were opened, with their size and modification time.
    ///
    /// # Errors
    ///
    /// If one of them is gone.
    pub(crate) fn ledger(&self) -> Result<FileLedger> {
        self.tables.iter().flat_map(TableFiles::files).map(arrivals::stamped).collect()
    }

    /// The files of some tables that there are in a folder, with their size and modification time.
    pub(crate) fn found(input: &Path, tables: &[InputTable], options: &FileOptions) -> FileLedger {
        let files = tables.iter().flat_map(|table| find::list(input, *table, options.order).0);
        files.filter_map(|file| arrivals::stamped(&file).ok()).collect()
    }

    /// The number of files of a table.
    pub(crate) fn file_count(&self, table: InputTable) -> usize {
        self.files(table).file_count()
    }

    fn files(&self, table: InputTable) -> &TableFiles {
        self.tables.iter().find(|known| known.schema.table == table).expect("the table was opened")
    }
}

impl Source for FileSource {
    fn schema(&self, table: InputTable) -> &InputSchema {
        &self.files(table).schema
    }

    fn splits(&self) -> Vec<Split> {
        let splits = self.parts.iter().enumerate().map(|(index, (table, part))| {
            let rows_about = self.files(*table).rows_about(part);
            Split { table: *table, index, rows: part.rows, rows_about }
        });
        splits.collect()
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        self.files(split.table).read(&self.parts[split.index].1, batch_size)
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        self.tables.iter().map(|files| Ok((files.schema.table.name().to_owned(), files.fingerprint()?))).collect()
    }
}
