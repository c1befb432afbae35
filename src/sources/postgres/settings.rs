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

/// The settings of a session that make values look as those of the stream do.
pub(super) const SESSION: &str =
    "SET datestyle = ISO; SET timezone = UTC; SET bytea_output = hex; SET extra_float_digits = 1";
