//! Admitting rows: what can be used, what is rejected, and both as the log has them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::FieldRef;

use crate::columns::InputSchema;
use crate::durable::{LogWriter, State};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::panics::caught;
use crate::sources::{Lateness, NewColumns, RowDecoder, SourceBatch};

use super::inbox::ArrivedBatches;
use super::offsets;
use super::settings::ServiceConfig;

/// Admits rows as they were read. Shared by all who read.
pub(super) struct Admission {
    tables: BTreeMap<InputTable, AdmittedTable>,
    lateness: Option<Mutex<Lateness>>,
    new_columns: Mutex<NewColumns>,
    pub(super) config: ServiceConfig,
}

/// An input table of a service.
struct AdmittedTable {
    schema: InputSchema,
    decoder: RowDecoder,
}

impl Admission {
    /// Admits rows into a state.
    ///
    /// # Errors
    ///
    /// If the state is damaged.
    pub(super) fn new(config: &ServiceConfig, state: &State) -> Result<Admission> {
        let source = state.source()?;
        let table = |table: &InputTable| {
            let decoder = RowDecoder::of(&source, *table, config.run.job.conversion())?;
            Ok((*table, AdmittedTable { schema: state.schema(*table).clone(), decoder }))
        };
        let tables = InputTable::ALL.iter().map(table).collect::<Result<BTreeMap<_, _>>>()?;
        let lateness = config.reject_after.map(|days| -> Result<_> {
            let seen = offsets::greatest_day(state, &tables[&InputTable::Orders].decoder, config.today())?;
            Ok(Mutex::new(Lateness::new(days, seen)))
        });
        let (lateness, new_columns) = (lateness.transpose()?, Mutex::default());
        Ok(Admission { tables, lateness, new_columns, config: config.clone() })
    }

    /// The columns of a table.
    pub(super) fn schema(&self, table: InputTable) -> &InputSchema {
        &self.tables[&table].schema
    }

    /// A batch as it may come into the log: what can't even be decoded must not, or no start could read it.
    pub(super) fn settled(&self, batch: SourceBatch) -> Result<SourceBatch> {
        let decoder = &self.tables[&batch.table].decoder;
        caught(|| decoder.settled(batch)).map_err(Error::failed)?
    }

    /// Gives the settled batches of a file or request to a function that puts them into the inbox, with the columns
    /// that their table has not. If it refuses them, they have not been seen.
    ///
    /// # Errors
    ///
    /// If the job's own columns are at fault, and those of the function.
    pub(super) fn admit<E: From<Error>>(
        &self,
        table: InputTable,
        batches: Vec<SourceBatch>,
        new_columns: &[FieldRef],
        put: impl FnOnce(ArrivedBatches) -> Result<(), E>,
    ) -> Result<(), E> {
        let AdmittedTable { schema, decoder } = &self.tables[&table];
        let mut known = self.new_columns.lock().unwrap_or_else(PoisonError::into_inner);
        let new_columns = known.found(table, new_columns);
        drop(known);
        let mut arrived = ArrivedBatches { batches, new_columns, ..ArrivedBatches::default() };
        // What is late is decided in the order in which rows are applied.
        let mut lateness =
            self.lateness.as_ref().map(|lateness| lateness.lock().unwrap_or_else(PoisonError::into_inner));
        let mut seen = lateness.as_deref().cloned();
        if let Some(lateness) = &mut seen {
            lateness.begin();
            let on_time = arrived.batches.into_iter().map(|batch| lateness.reject(batch, self.config.today(), decoder));
            arrived.batches = on_time.collect::<Result<_>>()?;
            arrived.seen = lateness.seen();
        }
        arrived.frames = arrived.batches.iter().map(|batch| LogWriter::encode(schema, batch)).collect::<Result<_>>()?;
        arrived.rows = arrived.batches.iter().map(SourceBatch::rows).sum();
        arrived.bytes = arrived.frames.iter().map(|frame| frame.bytes()).sum();
        put(arrived)?;
        lateness.iter_mut().zip(seen).for_each(|(lateness, seen)| **lateness = seen);
        Ok(())
    }
}
