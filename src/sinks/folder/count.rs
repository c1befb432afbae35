//! Counting the rows of a data file by reading all of it, which also checks that it is readable.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};
use crate::panics::caught;

const BATCH_ROWS: usize = 1 << 13;

/// Counts the rows of a data file.
///
/// # Errors
///
/// If it can't be read completely, or has an unknown extension.
pub(crate) fn count_rows(path: &Path) -> Result<u64> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".parquet") {
        return count_parquet(path, File::open(path).map_err(Error::reading(path))?);
    }
    let (content, name) = (uncompressed(path)?, name.trim_end_matches(".gz").trim_end_matches(".zst"));
    // JSON lines are counted as CSV records with quoting disabled.
    let mut lines = csv::ReaderBuilder::new();
    lines.has_headers(name.ends_with(".csv")).quoting(name.ends_with(".csv")).flexible(true);
    if !name.ends_with(".csv") && !name.ends_with(".jsonl") {
        return Err(Error::unusable(format!("{}: unknown extension, wanted .parquet, .csv or .jsonl", path.display())));
    }
    let (mut lines, mut record, mut rows) = (lines.from_reader(content), ByteRecord::new(), 0);
    while lines.read_byte_record(&mut record).map_err(Error::reading(path))? {
        rows += 1;
    }
    Ok(rows)
}

/// The content of a text file, as it is without compression.
///
/// # Errors
///
/// If it can't be opened.
pub(crate) fn uncompressed(path: &Path) -> Result<Box<dyn Read>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = File::open(path).map_err(Error::reading(path))?;
    Ok(match () {
        () if name.ends_with(".gz") => Box::new(MultiGzDecoder::new(file)),
        () if name.ends_with(".zst") => Box::new(zstd::Decoder::new(file).map_err(Error::reading(path))?),
        () => Box::new(file),
    })
}

fn count_parquet(path: &Path, file: File) -> Result<u64> {
    caught(|| count_rows_of(path, file))
        .unwrap_or_else(|panic| Err(Error::unusable(format!("{}: the file is damaged: {panic}", path.display()))))
}

fn count_rows_of(path: &Path, file: File) -> Result<u64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::reading(path))?;
    let batches = reader.with_batch_size(BATCH_ROWS).build().map_err(Error::reading(path))?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.map_err(Error::reading(path))?.num_rows() as u64;
    }
    Ok(rows)
}
