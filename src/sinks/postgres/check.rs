//! Checking a sink before it is used. Nothing is changed there.

use crate::error::{Error, Result};
use crate::postgres::server_error;

use super::layout::{check_server, is_foreign};
use super::target::PostgresTarget;

/// Connects, and looks at the version of the server, the rights, and tables of other owners. Each finding has a name;
/// the first that fails is the last.
pub(crate) fn check(config: &PostgresTarget, tables: &[String]) -> Vec<(String, Result<String>)> {
    let mut findings = Vec::new();
    let mut found = |what: &str, finding: Result<String>| {
        let is_well = finding.is_ok();
        findings.push((format!("sink {}: {what}", config.name), finding));
        is_well
    };
    let client = config.address.connect();
    if !found("the server can be reached", client.as_ref().map(|_| config.address.to_string()).map_err(Error::clone)) {
        return findings;
    }
    let Ok(mut client) = client else { return findings };
    let version = check_server(&mut client);
    if !found("the server is new enough", version.map(|version| format!("PostgreSQL {version}"))) {
        return findings;
    }
    let schema = &config.schema;
    let right = client.query_one(
        "SELECT has_database_privilege(current_database(), 'TEMPORARY') AND
                CASE WHEN EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)
                THEN has_schema_privilege($1, 'CREATE') AND has_schema_privilege($1, 'USAGE')
                ELSE has_database_privilege(current_database(), 'CREATE') END",
        &[schema],
    );
    let right = right.map_err(server_error).and_then(|row| match row.get(0) {
        true => Ok(format!("schema {schema}")),
        false => Err(Error::usage(format!(
            "schema {schema}: a right is missing; wanted CREATE and USAGE on it, or CREATE on the database if it is \
             not there, and TEMPORARY on the database"
        ))),
    });
    if !found("tables can be made", right) {
        return findings;
    }
    let others: Result<Vec<&String>> = tables
        .iter()
        .filter_map(|table| {
            let foreign = is_foreign(&mut client, schema, table);
            foreign.map(|is| is.then_some(table)).transpose()
        })
        .collect();
    found(
        "no table is somebody else's",
        others.and_then(|others| match others.first() {
            None => Ok(format!("{} tables", tables.len())),
            Some(table) => Err(Error::usage(format!(
                "table {schema}.{table} was not made by millstream; drop it, or choose another schema"
            ))),
        }),
    );
    findings
}
