//! A table all of whose rows are gone at once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use crate::columns::{InputSchema, OPERATION};
use crate::durable::Snapshot;
use crate::error::{Error, Result};
use crate::model::{AnyId, InputTable};
use crate::operators::Position;
use crate::service::settings::ServiceConfig;
use crate::sources::{RowDecoder, Source, SourceBatch};

/// How many rows are read, and deleted, at a time.
const BATCH_ROWS: usize = 10_000;

/// Deletes of all rows that a state has of a table. They take as much memory as the ids, while it is found which there
/// are.
///
/// # Errors
///
/// If the state is damaged.
pub(super) fn deletes_of_all(
    table: InputTable,
    snapshot: &Snapshot,
    schema: &InputSchema,
    config: &ServiceConfig,
    origin: &str,
) -> Result<Vec<SourceBatch>> {
    let source = snapshot.read()?.source()?;
    let decoder = RowDecoder::of(&source, table, config.run.job.conversion())?;
    let mut last: HashMap<AnyId, (Position, bool)> = HashMap::new();
    for split in source.splits().into_iter().filter(|split| split.table == table) {
        for batch in source.read(&split, BATCH_ROWS)? {
            let batch = batch?;
            for (row, id, _, is_delete) in decoder.keys(&batch)?.into_iter().flatten() {
                let position = batch.position(batch.numbers.get(row as usize));
                let known = last.entry(id).or_insert((position, is_delete));
                if position >= known.0 {
                    *known = (position, is_delete);
                }
            }
        }
    }
    let ids: Vec<String> =
        last.into_iter().filter(|(_, (_, is_delete))| !is_delete).map(|(id, _)| id.to_string()).collect();
    let origin: Arc<str> = origin.into();
    let firsts = (0..).step_by(BATCH_ROWS);
    ids.chunks(BATCH_ROWS).zip(firsts).map(|(ids, first)| deletes(schema, ids, &origin, first)).collect()
}

/// Deletes of rows with these ids, of which the first has this number.
fn deletes(schema: &InputSchema, ids: &[String], origin: &Arc<str>, first: u64) -> Result<SourceBatch> {
    let id = schema.table.cores()[0].name;
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let wanted = schema.cores[0].clone().unwrap_or(DataType::Utf8);
    let ids = cast(&texts, &wanted).map_err(Error::failed)?;
    let operations: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("d", ids.len())));
    let fields = [Field::new(id, wanted, true), Field::new(OPERATION, DataType::Utf8, true)];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![ids, operations]);
    SourceBatch::new(schema, 0, origin, first, &rows.map_err(Error::failed)?)
}
