//! The sink.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::postgres::Client;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Epoch;
use crate::postgres::PostgresAddress;
use crate::sinks::changes::{ChangeFeed, TableChanges};
use crate::sinks::committed::{Committed, CurrentEpoch};
use crate::sinks::delivery::{Courier, Delivery};
use crate::sinks::delivery_status::DeliveryStatus;
use crate::sinks::sink::{Opened, PartOptions, Sink, SinkContext, SinkPart, TableInfo, TableReport};

use super::layout::{TargetTable, Unprepared, prepare_schema};
use super::progress::SinkProgress;
use super::writer::PostgresWriter;

/// What a sink in PostgreSQL is configured with.
#[derive(Clone, Debug)]
pub struct PostgresSinkConfig {
    /// Its name.
    pub name: String,
    /// The database.
    pub address: PostgresAddress,
    /// The schema of its tables, which is made if it is not there.
    pub schema: String,
    /// The tables; `None` for all but `enriched_data`.
    pub tables: Option<Vec<String>>,
}

/// The epochs of the state from which a job starts.
#[derive(Clone, Debug, Default)]
pub struct KnownEpochs {
    /// The one with which it starts.
    pub first: Committed,
    /// Those that it applies again, one by one, in order.
    pub applied_again: Vec<Committed>,
}

/// Delivers tables to PostgreSQL, every transaction with all of them as of one epoch.
pub struct PostgresSink {
    config: PostgresSinkConfig,
    known: KnownEpochs,
    current: CurrentEpoch,
    gives_up: Arc<AtomicBool>,
    status: DeliveryStatus,
    feed: ChangeFeed,
    /// Those of the job.
    tables: Vec<TableInfo>,
    courier: Option<Courier>,
    /// The newest epoch that was given to the courier, or that the server had.
    sent: Option<Committed>,
}

impl PostgresSink {
    /// Creates a sink. `current` is the epoch that the job commits; once `gives_up` is true, no commit waits for the
    /// server.
    #[must_use]
    pub(crate) fn new(
        config: PostgresSinkConfig,
        known: KnownEpochs,
        current: CurrentEpoch,
        gives_up: Arc<AtomicBool>,
        status: DeliveryStatus,
    ) -> PostgresSink {
        let feed = ChangeFeed::default();
        PostgresSink { config, known, current, gives_up, status, feed, tables: Vec::new(), courier: None, sent: None }
    }

    /// True if the server has an epoch of this state, so that later ones lead from it to the newest.
    fn is_known(&self, epoch: Committed) -> bool {
        epoch == self.known.first || self.known.applied_again.contains(&epoch)
    }

    /// Adds the tables that have no rows.
    fn add_empty(&self, tables: &mut Vec<TableChanges>) {
        for table in self.tables.iter().filter(|table| self.wanted(table)) {
            if !tables.iter().any(|known| known.table.name == table.name) {
                let none = || RecordBatch::new_empty(Arc::clone(&table.schema));
                tables.push(TableChanges { table: table.clone(), plus: none(), minus: none() });
            }
        }
    }

    fn wanted(&self, table: &TableInfo) -> bool {
        PostgresSink::takes(&self.config, &table.name)
    }

    /// True if a sink takes the table of this name.
    pub(crate) fn takes(config: &PostgresSinkConfig, table: &str) -> bool {
        match &config.tables {
            Some(tables) => tables.iter().any(|wanted| wanted == table),
            None => !LEFT_OUT.contains(&table),
        }
    }

    /// Connects, makes or checks the tables, and takes them over.
    fn begin(&mut self, job: &SinkContext) -> Result<()> {
        let address = self.config.address.clone();
        let mut client = address.connect()?;
        let schema = &self.config.schema;
        let progress = SinkProgress::new(schema, &self.config.name, job.run_id.clone());
        let tables = job.tables.iter().filter(|table| self.wanted(table));
        let tables: Vec<_> = tables.map(|table| TargetTable::new(schema, table)).collect();
        let in_place = |error: Unprepared| {
            let error = error.into_error();
            Error::new(error.kind(), format!("{address}: {error}"))
        };
        let (delivered, is_whole) = prepared(&mut client, schema, &progress, &tables).map_err(in_place)?;
        self.sent = delivered.filter(|epoch| is_whole && self.is_known(*epoch));
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        self.feed = match self.sent {
            Some(epoch) => {
                self.status.has(epoch);
                ChangeFeed::of(&names)
            }
            None => ChangeFeed::with_snapshot_of(&names),
        };
        let (connection, prepared) = (Some(client), HashMap::new());
        let writer = PostgresWriter { address, progress, tables: tables.into(), delivered, connection, prepared };
        self.courier = Some(Courier::start(&self.config.name, self.status.clone(), writer));
        Ok(())
    }
}

/// Makes or checks the tables, and takes them over. Returns the epoch that they have, and whether all of them were
/// there.
fn prepared(
    client: &mut Client,
    schema: &str,
    progress: &SinkProgress,
    tables: &[TargetTable],
) -> Result<(Option<Committed>, bool), Unprepared> {
    prepare_schema(client, schema)?;
    progress.prepare(client)?;
    let mut is_whole = true;
    for table in tables {
        is_whole &= !table.prepare(client)?;
    }
    Ok((progress.take_over(client)?, is_whole))
}

/// Tables that are left out unless they are named: each order changes many rows of the first; the rows of the second
/// are too long for a key.
const LEFT_OUT: [&str; 2] = ["enriched_data", REJECTED];
const REJECTED: &str = "rejected";

impl Sink for PostgresSink {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        let named = |error: Error| Error::new(error.kind(), format!("sink {}: {error}", self.config.name));
        let tables = self.config.tables.iter().flatten();
        job.check_has(tables.clone()).map_err(named)?;
        if tables.clone().any(|table| table == REJECTED) {
            return Err(named(Error::usage(format!("table {REJECTED}: its rows are too long for a key there"))));
        }
        self.tables.clone_from(&job.tables);
        let name = self.config.name.clone();
        match self.begin(job) {
            Ok(()) => self.feed.open(job),
            Err(error) if error.kind() == ErrorKind::Failed => Ok(Opened::NotYet(format!("sink {name}: {error}"))),
            Err(error) => Err(Error::new(error.kind(), format!("sink {name}: {error}"))),
        }
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        self.feed.wants(table).filter(|_| self.wanted(table))
    }

    fn part(&mut self, table: &TableInfo, worker: usize) -> Result<Box<dyn SinkPart>> {
        self.feed.part(table, worker)
    }

    fn commit(&mut self, epoch: Epoch, written: &mut [TableReport]) -> Result<()> {
        self.feed.commit(epoch, written)?;
        let current = self.current.get();
        let is_snapshot = epoch == 0 && self.sent.is_none();
        let is_newer = self.sent.is_none_or(|sent| sent.epoch < current.epoch);
        while let Some((_, mut tables)) = self.feed.take() {
            // What the server has already, and epochs of the job that are none of the state.
            if !is_newer {
                continue;
            }
            if is_snapshot {
                self.add_empty(&mut tables);
            }
            let delivery = Delivery { epoch: current, is_snapshot, tables };
            let courier = self.courier.as_ref().ok_or_else(|| Error::failed("internal error: not open"))?;
            courier.send(delivery, || self.gives_up.load(Ordering::Relaxed));
            self.sent = Some(current);
        }
        Ok(())
    }

    fn end(&mut self, _: &Result<()>) {
        let Some(mut courier) = self.courier.take() else { return };
        if !courier.finish() {
            let name = &self.config.name;
            tracing::warn!(sink = name, "sink {name}: the last epochs are not delivered; the next start delivers them");
        }
    }
}
