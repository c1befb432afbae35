//! What a sink in PostgreSQL is configured with.

use crate::error::Result;
use crate::postgres::PostgresAddress;
use crate::sinks::delivery::{DeliveredTables, DeliveryTarget};
use crate::sinks::sink::{SinkContext, TableInfo};

use super::layout::TargetTable;
use super::progress::SinkProgress;
use super::writer::PostgresWriter;

/// A schema of a database that has tables of a job.
#[derive(Clone, Debug)]
pub(crate) struct PostgresTarget {
    /// The name of the sink.
    pub(crate) name: String,
    /// The database.
    pub(crate) address: PostgresAddress,
    /// The schema of its tables, which is made if it is not there.
    pub(crate) schema: String,
    /// The tables.
    pub(crate) tables: DeliveredTables,
}

impl DeliveryTarget for PostgresTarget {
    type Destination = PostgresWriter;

    fn name(&self) -> &str {
        &self.name
    }

    fn tables(&self) -> &DeliveredTables {
        &self.tables
    }

    fn destination(&self, job: &SinkContext, tables: &[&TableInfo]) -> Result<PostgresWriter> {
        let (address, schema) = (self.address.clone(), &self.schema);
        let progress = SinkProgress::new(schema, &self.name, job.run_id.clone());
        let targets = tables.iter().map(|table| TargetTable::new(schema, table)).collect();
        Ok(PostgresWriter::new(address, schema, progress, targets))
    }
}
