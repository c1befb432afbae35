//! Checking a source before it is used. Nothing is changed there.

use std::io::Read;

use ::postgres::Client;

use crate::error::{Error, Result};
use crate::sources::files::FileOptions;

use super::catalog::{ReplicatedTable, asked};
use super::rows::TextRows;
use super::settings::PostgresSourceConfig;
use super::slot::ReplicationSlot;
use super::slot::SlotState;
use super::snapshot::{CopiedTable, PostgresSnapshot, push_line};

/// Connects, looks at publication, tables and slot, and reads one row of each table. Each finding has a name; the first
/// that fails is the last.
pub(crate) fn check(config: &PostgresSourceConfig, options: &FileOptions) -> Vec<(String, Result<String>)> {
    let mut findings = Vec::new();
    let mut found = |what: &str, finding: Result<String>| {
        let is_well = finding.is_ok();
        findings.push((format!("source {}: {what}", config.name), finding));
        is_well
    };
    let client = config.address.connect();
    if !found("the server can be reached", client.as_ref().map(|_| config.address.to_string()).map_err(Error::clone)) {
        return findings;
    }
    let Ok(mut client) = client else { return findings };
    let right =
        asked(client.query_one("SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user", &[]));
    let right = right.and_then(|row| match row.get(0) {
        true => Ok("the user has REPLICATION".to_owned()),
        false => Err(Error::usage("the user may not make slots; wanted ALTER ROLE … REPLICATION")),
    });
    found("slots can be made", right);
    let tables = ReplicatedTable::all(&mut client, config).and_then(|all| PostgresSnapshot::tables(&all, options));
    let shown = |tables: &Vec<CopiedTable>| {
        let names: Vec<_> = tables.iter().map(CopiedTable::shown).collect();
        format!("publication {} has {}", config.publication, names.join(", "))
    };
    if !found("its tables are published", tables.as_ref().map(shown).map_err(Error::clone)) {
        return findings;
    }
    for table in tables.into_iter().flatten() {
        found(&format!("{} can be read", table.shown()), one_row(&mut client, &table));
    }
    let slot = ReplicationSlot::state(&mut client, &config.slot).and_then(|state| slot(&config.slot, state));
    found("the slot can be used", slot);
    findings
}

fn one_row(client: &mut Client, table: &CopiedTable) -> Result<String> {
    let mut text = String::new();
    let copied = asked(client.copy_out(&table.copy_statement(" LIMIT 1")))?.read_to_string(&mut text);
    copied.map_err(|cause| Error::failed(cause.to_string()))?;
    let mut rows = TextRows::new(table.columns());
    text.lines().try_for_each(|line| push_line(&mut rows, line.as_bytes().to_vec()))?;
    let batch = table.take(&mut rows, 0, 0)?;
    match (batch.numbers.len(), batch.malformed.first()) {
        (_, Some(row)) => Err(Error::unusable(format!("its first row would be rejected: {}", row.reason.text))),
        (0, None) => Ok("it has no rows".to_owned()),
        (_, None) => Ok("a row was read".to_owned()),
    }
}

fn slot(name: &str, state: Option<SlotState>) -> Result<String> {
    match state {
        None => Ok(format!("{name} is made at the first start")),
        Some(state) if state.is_lost => Err(Error::unusable(format!("{name}: the server has given up what it held"))),
        Some(state) if !state.is_fitting => Err(Error::usage(format!("{name} is of another database or plugin"))),
        Some(state) => {
            let (megabytes, in_use) = (state.held_bytes >> 20, if state.is_active { ", and is in use" } else { "" });
            Ok(format!("{name} holds {megabytes} MB of the server's log{in_use}"))
        }
    }
}
