//! The connection on which epochs are delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ::postgres::{Client, Statement, Transaction};

use crate::crash;
use crate::error::{Error, Result};
use crate::postgres::{PostgresAddress, server_error};
use crate::sinks::changes::TableChanges;
use crate::sinks::committed::Committed;
use crate::sinks::delivery::{Delivery, DeliveryError, DeliveryStanding, Destination};

use super::layout::{TargetTable, prepare_schema};
use super::progress::{Recorded, SinkProgress};
use super::statements::{Changing, TextColumns};

/// The name of the temporary table of a snapshot.
const STAGED: &str = "pg_temp.millstream_staged";

/// Settings of a session: nobody's lock is waited for without an end, and the server notices soon when this process is
/// gone, so that it does not keep the locks of a transaction.
const SESSION: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET datestyle = ISO";

/// Delivers epochs.
pub(crate) struct PostgresWriter {
    address: PostgresAddress,
    schema: String,
    progress: SinkProgress,
    tables: Arc<[TargetTable]>,
    /// True once the tables are there and this process may write to them.
    is_prepared: bool,
    /// The epoch that the tables have.
    delivered: Option<Committed>,
    /// `None` before the first delivery and after a failure.
    session: Option<Session>,
}

/// A connection, and the statements that are prepared on it.
struct Session {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl Destination for PostgresWriter {
    fn prepare(&mut self) -> Result<Option<Committed>> {
        let prepared = self.prepare_session();
        let (session, delivered) = prepared.map_err(|error| self.named(error))?;
        (self.session, self.delivered, self.is_prepared) = (Some(session), delivered, true);
        Ok(delivered)
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let mut session = self.connect()?;
                if let DeliveryStanding::Delivered = self.look_at_progress(&mut session, delivery)? {
                    self.session = Some(session);
                    return Ok(());
                }
                session
            }
        };
        if !self.transact(&mut session, delivery)? {
            // The progress is not what it was. Either the last commit was not seen yet when it was looked up, or
            // somebody else has moved it.
            if let DeliveryStanding::Next = self.look_at_progress(&mut session, delivery)? {
                let error = self.named(Error::failed("the progress was moved and moved back"));
                return Err(DeliveryError::Transient(error));
            }
        }
        (self.delivered, self.session) = (Some(delivery.epoch), Some(session));
        Ok(())
    }
}

impl PostgresWriter {
    pub(super) fn new(
        address: PostgresAddress,
        schema: &str,
        progress: SinkProgress,
        tables: Vec<TargetTable>,
    ) -> PostgresWriter {
        let (schema, tables) = (schema.to_owned(), tables.into());
        PostgresWriter { address, schema, progress, tables, is_prepared: false, delivered: None, session: None }
    }

    /// In one transaction.
    fn prepare_session(&self) -> Result<(Session, Option<Committed>)> {
        let mut client = self.address.connect()?;
        client.batch_execute(SESSION).map_err(server_error)?;
        let mut transaction = client.transaction().map_err(server_error)?;
        prepare_schema(&mut transaction, &self.schema)?;
        self.progress.prepare(&mut transaction).map_err(server_error)?;
        let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
        if let Some((table, sink)) = self.progress.others(&mut transaction, &names).map_err(server_error)? {
            let schema = &self.schema;
            return Err(Error::usage(format!(
                "table {schema}.{table} is delivered by the sink {sink}; choose another schema, or if that sink is \
                 gone: DELETE FROM {schema}.millstream_progress WHERE sink = '{sink}'"
            )));
        }
        let mut is_other = false;
        for table in &*self.tables {
            is_other |= table.prepare(&mut transaction)?;
        }
        let layout = self.tables.iter().map(TargetTable::fingerprint).collect::<Vec<_>>().join("; ");
        let delivered = self.progress.take_over(&mut transaction, &layout, is_other).map_err(server_error)?;
        crash::point("postgres: tables prepared");
        transaction.commit().map_err(server_error)?;
        crash::point("postgres: tables taken over");
        Ok((Session { client, prepared: HashMap::new() }, delivered))
    }

    /// A connection, after a failure or for the first time.
    fn connect(&mut self) -> Result<Session, DeliveryError> {
        if !self.is_prepared {
            self.prepare().map_err(DeliveryError::Transient)?;
        }
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let connected = self.address.connect().and_then(|mut client| {
            client.batch_execute(SESSION).map_err(server_error)?;
            Ok(Session { client, prepared: HashMap::new() })
        });
        connected.map_err(|error| DeliveryError::Transient(self.named(error)))
    }

    /// Finds out where a delivery stands, after it is not known whether one was committed.
    fn look_at_progress(
        &mut self,
        session: &mut Session,
        delivery: &Delivery,
    ) -> Result<DeliveryStanding, DeliveryError> {
        let found = self
            .progress
            .read(&mut session.client)
            .map_err(|error| DeliveryError::Transient(self.named(server_error(error))))?;
        let other = "the tables have another epoch than was delivered, as after a failover; restart the service, which \
                     delivers the difference";
        match found {
            None => Err(self.fenced("the row of this sink in millstream_progress is gone; restart the service")),
            Some(Recorded { writer, .. }) if writer != self.progress.writer() => {
                Err(self.fenced("another process delivers to these tables"))
            }
            Some(Recorded { epoch, .. }) => {
                DeliveryStanding::of(epoch, &mut self.delivered, delivery).ok_or_else(|| self.fenced(other))
            }
        }
    }

    /// Delivers in a transaction; false if the progress is not the one that is known.
    fn transact(&self, session: &mut Session, delivery: &Delivery) -> Result<bool, DeliveryError> {
        let change = self.begin(session, delivery).map_err(|error| DeliveryError::Refused(self.named(error)))?;
        let Some(transaction) = change else { return Ok(false) };
        // It may be delivered whatever comes: that is looked up on another connection.
        let committed = transaction.commit().map_err(server_error);
        committed.map_err(|error| DeliveryError::Transient(self.named(error)))?;
        crash::point("postgres: committed");
        Ok(true)
    }

    /// Changes the tables in a transaction that is still open; `None` if the progress is not the one that is known.
    fn begin<'s>(&self, session: &'s mut Session, delivery: &Delivery) -> Result<Option<Transaction<'s>>> {
        let mut transaction = session.client.transaction().map_err(server_error)?;
        if !self.progress.advance(&mut transaction, self.delivered, delivery.epoch).map_err(server_error)? {
            return Ok(None);
        }
        crash::point("postgres: progress moved");
        let mut changing = Changing { transaction, prepared: &mut session.prepared };
        for changes in &delivery.tables {
            let table = self.tables.iter().find(|table| table.name == changes.table.name);
            let table = table.ok_or_else(|| Error::failed("internal error: an unknown table"))?;
            let changed = match delivery.is_snapshot {
                true => replace(&mut changing, table, changes),
                false => change(&mut changing, table, changes),
            };
            changed.map_err(|error| Error::new(error.kind(), format!("table {}: {error}", table.qualified())))?;
            crash::point("postgres: table changed");
        }
        Ok(Some(changing.transaction))
    }

    fn fenced(&self, cause: &str) -> DeliveryError {
        DeliveryError::Fenced(self.named(Error::failed(cause)))
    }

    fn named(&self, error: Error) -> Error {
        Error::new(error.kind(), format!("{}: {error}", self.address))
    }
}

/// Deletes and upserts the rows of a table that have changed.
fn change(changing: &mut Changing, table: &TargetTable, changes: &TableChanges) -> Result<()> {
    // A row that has changed is updated there, and not deleted and inserted.
    let mut gone = table.key_texts(&changes.minus)?;
    without(&mut gone, &table.key_texts(&changes.plus)?);
    table.delete(changing, &gone).map_err(server_error)?;
    table.upsert(changing, &changes.plus)
}

/// Makes a table have these rows, by those that differ.
fn replace(changing: &mut Changing, table: &TargetTable, changes: &TableChanges) -> Result<()> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let (names, from) = (table.names(&columns), table.qualified());
    let transaction = &mut changing.transaction;
    let stage =
        format!("CREATE TEMPORARY TABLE millstream_staged ON COMMIT DROP AS SELECT {names} FROM {from} LIMIT 0");
    transaction.batch_execute(&stage).map_err(server_error)?;
    table.stage(transaction, STAGED, &changes.plus)?;
    table.take_from(transaction, STAGED).map_err(server_error)?;
    transaction.batch_execute(&format!("DROP TABLE {STAGED}")).map_err(server_error)
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
