//! Tables of `pg_catalog` that `datafusion-pg-catalog` lacks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono_tz::TZ_VARIANTS;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::Result as QueryResult;
use serde_json::{Value, json};

use crate::sql::tables::service::rows_of_json;

/// The names of the tables and of their columns.
const MISSING: [(&str, &[&str]); 11] = [
    ("pg_available_extension_versions", &["name", "version", "installed", "superuser", "schema", "comment"]),
    ("pg_available_extensions", &["name", "default_version", "installed_version", "comment"]),
    ("pg_indexes", &["schemaname", "tablename", "indexname", "tablespace", "indexdef"]),
    (
        "pg_locks",
        &["locktype", "database", "relation", "transactionid", "pid", "mode", "granted", "virtualtransaction"],
    ),
    (
        "pg_stat_activity",
        &[
            "datid",
            "datname",
            "pid",
            "usesysid",
            "usename",
            "application_name",
            "client_addr",
            "client_hostname",
            "backend_start",
            "xact_start",
            "query_start",
            "state_change",
            "wait_event_type",
            "wait_event",
            "state",
            "backend_xid",
            "backend_xmin",
            "query",
            "backend_type",
        ],
    ),
    ("pg_stat_database", &["datid", "datname", "numbackends", "xact_commit", "xact_rollback", "stats_reset"]),
    ("pg_stats", &["schemaname", "tablename", "attname", "null_frac", "avg_width", "n_distinct", "most_common_vals"]),
    ("pg_timezone_abbrevs", &["abbrev", "utc_offset", "is_dst"]),
    ("pg_timezone_names", &["name", "abbrev", "utc_offset", "is_dst"]),
    ("pg_ts_config_map", &["mapcfg", "maptokentype", "mapseqno", "mapdict"]),
    ("pg_user", &["usename", "usesysid", "usecreatedb", "usesuper", "userepl", "usebypassrls", "passwd", "valuntil"]),
];

/// The tables, with the rows that there are of them, which are taken.
pub(crate) fn missing_tables(
    rows: &mut BTreeMap<&'static str, Vec<Value>>,
) -> QueryResult<HashMap<&'static str, Arc<MemTable>>> {
    let zones = TZ_VARIANTS.iter().map(|zone| json!({ "name": zone.name() }));
    rows.insert("pg_timezone_names", zones.collect());
    let owner = json!({ "usename": "postgres", "usesysid": 10, "usecreatedb": false, "usesuper": false });
    rows.insert("pg_user", vec![owner]);
    let table = |(name, columns): &(&'static str, &[&str])| {
        let field = |column: &&str| Field::new(*column, type_of(column), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let rows = rows_of_json(&rows.remove(name).unwrap_or_default(), &schema)?;
        Ok((*name, Arc::new(MemTable::try_new(schema, vec![vec![rows]])?)))
    };
    MISSING.iter().map(table).collect()
}

fn type_of(column: &str) -> DataType {
    match column {
        "granted" | "installed" | "is_dst" | "superuser" | "usebypassrls" | "usecreatedb" | "userepl" | "usesuper" => {
            DataType::Boolean
        }
        "datid" | "database" | "mapcfg" | "mapdict" | "mapseqno" | "maptokentype" | "numbackends" | "pid"
        | "relation" | "transactionid" | "usesysid" => DataType::Int32,
        "xact_commit" | "xact_rollback" => DataType::Int64,
        "avg_width" | "n_distinct" | "null_frac" => DataType::Float64,
        _ => DataType::Utf8,
    }
}
