//! What a source in PostgreSQL is configured with.

use crate::model::InputTable;
use crate::postgres::PostgresAddress;

/// What is replicated from a database.
#[derive(Clone, Debug)]
pub(crate) struct PostgresSourceConfig {
    /// The name of the source.
    pub(crate) name: String,
    /// The database.
    pub(crate) address: PostgresAddress,
    /// The publication that has the tables.
    pub(crate) publication: String,
    /// The replication slot.
    pub(crate) slot: String,
    /// The tables there, as schema and name.
    pub(crate) tables: Vec<(InputTable, (String, String))>,
}
