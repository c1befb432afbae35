//! Parquet, read by row group.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Result};
use crate::panics::caught;

use super::file_columns::{FileColumns, FilePart};
use crate::sources::{RowNumbers, SourceBatches};

pub(super) fn open(path: &Path) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let unusable =
        |cause: &dyn Display| Error::unusable(format!("{}: not a Parquet file, or truncated: {cause}", path.display()));
    match caught(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())) {
        Ok(loaded) => loaded.map_err(|cause| unusable(&cause)),
        Err(panic) => Err(unusable(&panic)),
    }
}

pub(super) fn parts(file: usize, metadata: &ArrowReaderMetadata) -> Vec<FilePart> {
    let mut first_row = 0;
    let groups = metadata.metadata().row_groups().iter().enumerate().map(|(group, metadata)| {
        let rows = metadata.num_rows().unsigned_abs();
        let part = FilePart { file, row_group: Some(group), first_row, rows: Some(rows) };
        first_row += rows;
        part
    });
    groups.collect()
}

pub(super) fn read<'a>(
    columns: FileColumns<'a>,
    metadata: &ArrowReaderMetadata,
    part: &FilePart,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let path = columns.path;
    let file = File::open(path).map_err(Error::reading(path))?;
    let width = metadata.schema().fields().len();
    let read: Vec<usize> = (0..width).filter(|position| columns.plan.reads(*position)).collect();
    let projection = ProjectionMask::roots(metadata.parquet_schema(), read.iter().copied());
    let reader = caught(|| {
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_projection(projection)
            .with_batch_size(batch_size)
            .with_row_groups(part.row_group.into_iter().collect())
            .build()
    });
    let mut reader = Some(reader.map_err(|panic| damaged(path, &panic))?.map_err(Error::reading(path))?);
    let mut first = part.first_row;
    // A reader that has panicked is not used again.
    let batches = std::iter::from_fn(move || match caught(|| reader.as_mut()?.next()) {
        Ok(batch) => batch.map(|batch| batch.map_err(Error::reading(path))),
        Err(panic) => {
            reader = None;
            Some(Err(damaged(path, &panic)))
        }
    });
    Ok(Box::new(batches.map(move |batch| {
        let batch = batch?;
        let numbers = RowNumbers::Consecutive { first, count: batch.num_rows() };
        first += batch.num_rows() as u64;
        let mut all = vec![new_null_array(&DataType::Null, batch.num_rows()); width];
        read.iter().zip(batch.columns()).for_each(|(position, column)| all[*position] = Arc::clone(column));
        columns.arrange(&all, numbers, Vec::new())
    })))
}

/// The reader trusts some numbers of a file, and panics if they are wrong.
fn damaged(path: &Path, panic: &str) -> Error {
    Error::unusable(format!("{}: can't be read: the file is damaged: {panic}", path.display()))
}
