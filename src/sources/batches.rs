//! Record batches in memory as a source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use crate::columns::InputSchema;
use crate::error::Result;
use crate::model::InputTable;

use super::source::{Source, SourceBatch, SourceBatches, Split};

/// Record batches in memory, one list for each table. If rows share an id, the last one wins.
pub struct BatchSource {
    tables: Vec<TableBatches>,
}

struct TableBatches {
    schema: InputSchema,
    batches: Vec<RecordBatch>,
    origin: Arc<str>,
}

impl BatchSource {
    /// Creates a source of three tables, each a schema and batches with its columns.
    ///
    /// # Errors
    ///
    /// If a column is missing or has a type that can't be read.
    pub fn new(
        orders: (&Schema, Vec<RecordBatch>),
        products: (&Schema, Vec<RecordBatch>),
        customers: (&Schema, Vec<RecordBatch>),
    ) -> Result<BatchSource> {
        let table = |table: InputTable, (schema, batches): (&Schema, Vec<RecordBatch>)| -> Result<TableBatches> {
            let origin = format!("{table} in memory").into();
            Ok(TableBatches { schema: InputSchema::of(table, schema)?, batches, origin })
        };
        let tables = [
            table(InputTable::Orders, orders)?,
            table(InputTable::Products, products)?,
            table(InputTable::Customers, customers)?,
        ];
        Ok(BatchSource { tables: tables.into() })
    }

    fn table(&self, table: InputTable) -> &TableBatches {
        self.tables.iter().find(|known| known.schema.table == table).expect("all three tables are there")
    }
}

impl Source for BatchSource {
    fn schema(&self, table: InputTable) -> &InputSchema {
        &self.table(table).schema
    }

    fn splits(&self) -> Vec<Split> {
        let splits = InputTable::ALL.iter().flat_map(|table| {
            self.table(*table).batches.iter().enumerate().map(|(index, batch)| {
                let rows = batch.num_rows() as u64;
                Split { table: *table, index, rows: Some(rows), rows_about: rows }
            })
        });
        splits.collect()
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        let TableBatches { schema, batches, origin } = self.table(split.table);
        let batch = &batches[split.index];
        let part = split.index;
        let slices = (0..batch.num_rows()).step_by(batch_size.max(1)).map(move |first| {
            let rows = batch.slice(first, batch_size.min(batch.num_rows() - first));
            SourceBatch::new(schema, part, origin, first as u64, &rows)
        });
        Ok(Box::new(slices))
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        let rows = |table: &TableBatches| table.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(self
            .tables
            .iter()
            .map(|table| (table.schema.table.name().into(), format!("{} rows", rows(table))))
            .collect())
    }
}
