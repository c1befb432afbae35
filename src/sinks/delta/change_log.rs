//! A table that is a log of changes: rows are only added to it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::{Error, Result};
use crate::sinks::committed::Committed;

use super::files::read_files;
use super::log::TableLog;
use super::store::LakeStore;

/// The columns of a log beside those of its table.
const EPOCH: &str = "_epoch";
const TIME: &str = "_committed_at";
const OPERATION: &str = "_op";
/// Operations.
const INSERT: &str = "insert";
const DELETE: &str = "delete";

/// The columns of the log of a table.
///
/// # Errors
///
/// If the table has one of them.
pub(super) fn log_columns(table: &SchemaRef) -> Result<SchemaRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let own = [(EPOCH, DataType::Int64), (TIME, time), (OPERATION, DataType::Utf8)];
    if let Some((name, _)) = own.iter().find(|(name, _)| table.index_of(name).is_ok()) {
        return Err(Error::usage(format!("column {name}: a log of changes has one of its own; wanted another name")));
    }
    let own = own.into_iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
    Ok(Arc::new(Schema::new(own.chain(table.fields().iter().cloned()).collect::<Vec<_>>())))
}

/// Changes as rows of the log: first what is deleted. Both have the columns of the table.
pub(super) fn logged(
    log: &SchemaRef,
    epoch: Committed,
    minus: &RecordBatch,
    plus: &RecordBatch,
) -> Result<Option<RecordBatch>> {
    let number = i64::try_from(epoch.epoch).map_err(Error::failed)?;
    let micros = i64::try_from(epoch.time_ms).unwrap_or_default().saturating_mul(1000);
    let of = |rows: &RecordBatch, operation: &str| {
        let count = rows.num_rows();
        let own: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(vec![number; count])),
            Arc::new(TimestampMicrosecondArray::from(vec![micros; count]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![operation; count])),
        ];
        let columns = own.into_iter().chain(rows.columns().iter().cloned()).collect();
        RecordBatch::try_new(Arc::clone(log), columns).map_err(Error::failed)
    };
    let rows = concat_batches(log, &[of(minus, DELETE)?, of(plus, INSERT)?]).map_err(Error::failed)?;
    Ok((rows.num_rows() > 0).then_some(rows))
}

/// The changes that lead from the rows of a log to these: what it has too much, and what it lacks.
pub(super) fn difference(
    log: &TableLog,
    store: &LakeStore,
    table: &str,
    columns: &SchemaRef,
    rows: &RecordBatch,
) -> Result<(RecordBatch, RecordBatch)> {
    let fields = rows.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(Error::failed)?;
    let mut weights: HashMap<OwnedRow, i64> = HashMap::new();
    let mut add = |rows: &RecordBatch, weight: &dyn Fn(usize) -> i64| {
        let encoded = converter.convert_columns(rows.columns()).map_err(Error::failed)?;
        for (place, row) in encoded.iter().enumerate() {
            let row = row.owned();
            let sum = weights.remove(&row).unwrap_or_default() + weight(place);
            if sum != 0 {
                weights.insert(row, sum);
            }
        }
        Ok::<_, Error>(())
    };
    add(rows, &|_| 1)?;
    let own = columns.fields().len() - rows.num_columns();
    for file in log.files()? {
        let logged = read_files(store, table, &[file.name], columns)?;
        for logged in logged {
            let operations = logged.column_by_name(OPERATION).and_then(|column| column.as_string_opt::<i32>()).cloned();
            let operations = operations.ok_or_else(|| Error::failed(format!("it has no column {OPERATION}")))?;
            let places: Vec<_> = (own..columns.fields().len()).collect();
            let of_table = logged.project(&places).map_err(Error::failed)?;
            add(&of_table, &|row| if operations.is_valid(row) && operations.value(row) == INSERT { -1 } else { 1 })?;
        }
    }
    let side = |is_plus: bool| {
        let of_row = |(row, weight): (&OwnedRow, &i64)| {
            let times = if is_plus { *weight } else { -*weight };
            let times = usize::try_from(times).unwrap_or_default();
            std::iter::repeat_n(row.clone(), times)
        };
        let found: Vec<_> = weights.iter().flat_map(of_row).collect();
        let columns = converter.convert_rows(found.iter().map(OwnedRow::row)).map_err(Error::failed)?;
        RecordBatch::try_new(rows.schema(), columns).map_err(Error::failed)
    };
    Ok((side(false)?, side(true)?))
}
