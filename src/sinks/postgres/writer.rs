//! The connection on which epochs are delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ::postgres::{Client, Error as ClientError, Statement};

use crate::crash;
use crate::error::{Error, Result};
use crate::postgres::{PostgresAddress, in_words};
use crate::sinks::changes::TableChanges;
use crate::sinks::committed::Committed;
use crate::sinks::delivery::{Delivery, Destination, Undelivered};

use super::layout::TargetTable;
use super::progress::SinkProgress;
use super::statements::{Changing, TextColumns};

/// The name of the temporary table of a snapshot.
const STAGED: &str = "pg_temp.millstream_staged";

/// Delivers epochs.
pub(super) struct PostgresWriter {
    pub(super) address: PostgresAddress,
    pub(super) progress: SinkProgress,
    pub(super) tables: Arc<[TargetTable]>,
    /// The epoch that was delivered last.
    pub(super) delivered: Option<Committed>,
    /// `None` after a failure.
    pub(super) connection: Option<Client>,
    /// The statements that are prepared on it.
    pub(super) prepared: HashMap<String, Statement>,
}

/// The rows of a table that an epoch changes, as the server reads them.
struct TableRows<'a> {
    table: &'a TargetTable,
    plus: TextColumns,
    /// The keys of the rows that are deleted and not inserted again.
    minus: TextColumns,
}

impl Destination for PostgresWriter {
    fn deliver(&mut self, delivery: &Delivery) -> Result<(), Undelivered> {
        if self.delivered == Some(delivery.epoch) {
            return Ok(());
        }
        let tables = Arc::clone(&self.tables);
        let rows = rows_of(delivery, &tables).map_err(Undelivered::Ever)?;
        let mut client = match self.connection.take() {
            Some(client) => client,
            None => self.connect_again(delivery.epoch)?,
        };
        if self.delivered == Some(delivery.epoch) {
            self.connection = Some(client);
            return Ok(());
        }
        match self.transact(&mut client, delivery, &rows) {
            Ok(true) => {
                (self.delivered, self.connection) = (Some(delivery.epoch), Some(client));
                Ok(())
            }
            Ok(false) => Err(self.displaced()),
            // It may be delivered: that is looked up on another connection.
            Err(error) => {
                self.prepared.clear();
                Err(self.failed(error))
            }
        }
    }
}

impl PostgresWriter {
    /// Connects after a failure, and finds out whether an epoch was delivered that this process was not told of.
    fn connect_again(&mut self, epoch: Committed) -> Result<Client, Undelivered> {
        let mut client = self.address.connect().map_err(Undelivered::Yet)?;
        let found = self.progress.read(&mut client).map_err(|error| self.failed(error))?;
        let Some(found) = found.filter(|found| found.writer == self.progress.writer()) else {
            return Err(self.displaced());
        };
        if found.epoch == Some(epoch) {
            self.delivered = found.epoch;
        }
        Ok(client)
    }

    /// Delivers in a transaction; false if this process may not write any more.
    fn transact(&mut self, client: &mut Client, delivery: &Delivery, rows: &[TableRows]) -> Result<bool, ClientError> {
        let mut transaction = client.transaction()?;
        if !self.progress.advance(&mut transaction, self.delivered, delivery.epoch)? {
            return Ok(false);
        }
        crash::point("postgres: progress moved");
        let mut changing = Changing { transaction, prepared: &mut self.prepared };
        for TableRows { table, plus, minus } in rows {
            if delivery.is_snapshot {
                let columns: Vec<usize> = (0..table.columns.len()).collect();
                let (names, from) = (table.names(&columns), table.qualified());
                let transaction = &mut changing.transaction;
                transaction.batch_execute(&format!(
                    "CREATE TEMPORARY TABLE millstream_staged ON COMMIT DROP AS SELECT {names} FROM {from} LIMIT 0"
                ))?;
                table.stage(transaction, STAGED, plus)?;
                table.take_from(transaction, STAGED)?;
                transaction.batch_execute(&format!("DROP TABLE {STAGED}"))?;
            } else {
                table.delete(&mut changing, minus)?;
                table.upsert(&mut changing, plus)?;
            }
            crash::point("postgres: table changed");
        }
        let Changing { transaction, .. } = changing;
        transaction.commit()?;
        crash::point("postgres: committed");
        Ok(true)
    }

    fn failed(&self, error: ClientError) -> Undelivered {
        Undelivered::Yet(Error::failed(format!("{}: {}", self.address, in_words(&error))).caused_by(error))
    }

    fn displaced(&self) -> Undelivered {
        let cause = "another process delivers to these tables, or somebody has changed their progress";
        Undelivered::Ever(Error::failed(format!("{}: {cause}", self.address)))
    }
}

/// The rows that are delivered, by table.
fn rows_of<'a>(delivery: &Delivery, tables: &'a [TargetTable]) -> Result<Vec<TableRows<'a>>> {
    let of_table = |changes: &TableChanges| {
        let table = tables.iter().find(|table| table.name == changes.table.name);
        let table = table.ok_or_else(|| Error::failed("internal error: an unknown table"))?;
        let (plus, mut minus) = (table.all_texts(&changes.plus)?, table.key_texts(&changes.minus)?);
        without(&mut minus, &table.key_texts(&changes.plus)?);
        Ok(TableRows { table, plus, minus })
    };
    delivery.tables.iter().map(of_table).collect()
}

/// Removes the keys that are among others.
fn without(keys: &mut TextColumns, others: &TextColumns) {
    let key = |columns: &TextColumns, row: usize| columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>();
    let rows = |columns: &TextColumns| columns.first().map_or(0, Vec::len);
    let others: HashSet<_> = (0..rows(others)).map(|row| key(others, row)).collect();
    let kept: Vec<bool> = (0..rows(keys)).map(|row| !others.contains(&key(keys, row))).collect();
    for column in keys {
        let mut kept = kept.iter();
        column.retain(|_| kept.next().copied().unwrap_or_default());
    }
}
