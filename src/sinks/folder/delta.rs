//! Tables of a run in the format of Delta Lake: Parquet files, and a log.

use std::path::Path;

use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::sinks::TableInfo;

#[cfg(feature = "delta")]
use crate::sinks::delta;

/// A table as it is written.
#[cfg(feature = "delta")]
pub(super) fn table(table: &TableInfo) -> Result<TableInfo> {
    delta::delta_table(table)
}

/// Rows as they are written.
#[cfg(feature = "delta")]
pub(super) fn rows(rows: &RecordBatch, table: &TableInfo) -> Result<RecordBatch> {
    delta::rows_for_run(rows, table)
}

/// Writes the log of a staged table.
#[cfg(feature = "delta")]
pub(super) fn log(of: &TableInfo, staged: &Path, former: Option<&Path>) -> Result<()> {
    delta::log_version(&table(of)?, staged, former)
}

/// A build without the feature refuses the format.
#[cfg(not(feature = "delta"))]
pub(super) fn table(table: &TableInfo) -> Result<TableInfo> {
    Ok(table.clone())
}

#[cfg(not(feature = "delta"))]
pub(super) fn rows(rows: &RecordBatch, _: &TableInfo) -> Result<RecordBatch> {
    Ok(rows.clone())
}

#[cfg(not(feature = "delta"))]
pub(super) fn log(_: &TableInfo, _: &Path, _: Option<&Path>) -> Result<()> {
    Ok(())
}
