//! Parquet files of a table.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatchReader;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::sinks::delivery_status::now_ms;

use super::file_stats::file_stats;
use super::log::AddedFile;
use super::store::LakeStore;

/// The names of the files that a process writes: no other one's are the same.
pub(super) struct FileNames {
    /// Identifies the process.
    run: String,
    next: AtomicU64,
}

/// What the names of our files, and of nobody else's, begin and end with.
const PREFIX: &str = "millstream-";
const SUFFIX: &str = ".snappy.parquet";
/// How many files are encoded before they are written.
const FILES_AT_A_TIME: usize = 8;

impl FileNames {
    pub(super) fn new(run: &str) -> FileNames {
        FileNames { run: run.to_owned(), next: AtomicU64::new(0) }
    }

    /// A number of the process.
    pub(super) fn writer(&self) -> u64 {
        // Versions of transactions are signed.
        twox_hash::XxHash64::oneshot(0, self.run.as_bytes()) >> 1
    }

    fn next(&self) -> String {
        format!("{PREFIX}{}-{:06}{SUFFIX}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// True for the name of a file that we have written.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX) && !name.contains('/')
}

/// Writes a file for each of these, and returns what a commit adds.
pub(super) fn write_files(
    store: &LakeStore,
    table: &str,
    names: &FileNames,
    files: &[RecordBatch],
) -> Result<Vec<AddedFile>> {
    let mut added = Vec::new();
    for files in files.chunks(FILES_AT_A_TIME) {
        let mut written = Vec::new();
        for rows in files {
            let (name, bytes, stats) = (names.next(), encoded(rows)?, file_stats(rows)?);
            added.push(AddedFile { name: name.clone(), bytes: bytes.len() as u64, time_ms: now_ms(), stats });
            written.push((format!("{table}/{name}"), bytes));
        }
        store.put_all(written)?;
    }
    Ok(added)
}

/// The rows of files, in their order.
pub(super) fn read_files(
    store: &LakeStore,
    table: &str,
    names: &[String],
    columns: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let paths: Vec<_> = names.iter().map(|name| format!("{table}/{name}")).collect();
    let files = store.get_all(&paths)?;
    files.into_iter().zip(&paths).map(|(bytes, path)| read_file(bytes, columns, &store.place, path)).collect()
}

fn encoded(rows: &RecordBatch) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).map_err(Error::failed)?;
    writer.write(rows).map_err(Error::failed)?;
    writer.into_inner().map_err(Error::failed)
}

/// The rows of one file.
pub(super) fn read_file(bytes: Bytes, columns: &SchemaRef, place: &str, path: &str) -> Result<RecordBatch> {
    let wrong = |cause: &dyn std::fmt::Display| Error::failed(format!("{place}/{path}: {cause}"));
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.with_batch_size(1 << 16).build());
    let reader = reader.map_err(|cause| wrong(&cause))?;
    let schema = reader.schema();
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(|cause| wrong(&cause))?;
    let rows = concat_batches(&schema, &batches).map_err(|cause| wrong(&cause))?;
    RecordBatch::try_new(columns.clone(), rows.columns().to_vec()).map_err(|cause| wrong(&cause))
}
