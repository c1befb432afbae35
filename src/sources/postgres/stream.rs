//! The transactions of a slot.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::postgres::{Client, SimpleQueryMessage};
use arrow::datatypes::FieldRef;
use bytes::Bytes;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationConfig, ReplicationEvent};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::columns::InputSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{InputTable, Reason};
use crate::postgres::{literal, quoted, server_error};
use crate::sources::files::{FileOptions, ForeignTable};
use crate::sources::source::{MalformedRow, RowNumbers, SourceBatch};

use super::catalog::{Domains, Relation, ReplicatedTable, asked, look_up_types, unknown_types};
use super::pgoutput::{OutputMessage, RelationMessage, SentValue};
use super::rows::TextRows;
use super::settings::{PostgresSourceConfig, SESSION};
use super::snapshot::check_identity;

/// What is streamed from a slot.
pub(crate) struct ReplicationStream {
    config: PostgresSourceConfig,
    options: FileOptions,
    /// The tables that are followed, by their ids there: a table that is renamed is still the same.
    tables: HashMap<u32, InputTable>,
    /// The columns of the input tables, as the state has them.
    schemas: HashMap<InputTable, InputSchema>,
    client: ReplicationClient,
    /// Answers the server while nobody asks for the next transaction.
    runtime: Runtime,
    /// For catalog queries, and for values that were not sent.
    control: Option<Client>,
    /// The tables that were described, by their ids; `None` for those that are not replicated.
    relations: HashMap<u32, Option<StreamedTable>>,
    domains: Domains,
    /// The transaction that has begun.
    open: Option<OpenTransaction>,
}

/// A table that was described.
struct StreamedTable {
    relation: Relation,
    /// An error if its rows can't be used, which rejects them.
    foreign: Result<ForeignTable>,
    table: InputTable,
    new_columns: Vec<FieldRef>,
}

/// A transaction, up to now.
#[derive(Default)]
struct OpenTransaction {
    /// Rows that are not in a batch yet, by the table they are of.
    rows: HashMap<u32, TextRows>,
    batches: Vec<SourceBatch>,
    /// How many rows of each input table there were.
    counts: HashMap<InputTable, u64>,
    truncated: Vec<InputTable>,
    final_lsn: u64,
}

/// A transaction that was committed there.
pub(crate) struct StreamedTransaction {
    /// The position behind it.
    pub(crate) end: u64,
    /// Its rows, in order.
    pub(crate) batches: Vec<SourceBatch>,
    /// The columns that tables have and the state has not.
    pub(crate) new_columns: Vec<(InputTable, Vec<FieldRef>)>,
    /// The tables of which all former rows are gone, and that is not among the rows.
    pub(crate) truncated: Vec<InputTable>,
}

/// What comes next.
pub(crate) enum Streamed {
    Transaction(StreamedTransaction),
    /// Nothing of interest lies before this position.
    Nothing(u64),
    /// Nothing has come.
    Silence,
}

/// How long a handshake may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether to stop, and after which time a warning says what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TELL_AFTER: Duration = Duration::from_secs(5);
/// So many messages are read ahead.
const READ_AHEAD: usize = 1024;
/// How often the server is told what is confirmed.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// The settings that make values look as those of a snapshot do.
const OPTIONS: &str = "-c datestyle=ISO -c timezone=UTC -c bytea_output=hex -c extra_float_digits=1";

/// A position as the server writes it.
pub(crate) fn shown_position(position: u64) -> String {
    Lsn::from_u64(position).to_pg_string()
}

/// Makes a slot and exports a snapshot of its beginning, which is there until the session is dropped.
pub(crate) struct NewSlot {
    _runtime: Runtime,
    _client: ReplicationClient,
    /// Identifies the server.
    pub(crate) system: String,
    /// The position from which on the slot keeps transactions.
    pub(crate) position: u64,
    pub(crate) snapshot: String,
}

impl NewSlot {
    /// Makes the slot of a source. `go_on` fails when it is to stop.
    ///
    /// # Errors
    ///
    /// If there is one of its name, or a right is missing.
    pub(crate) fn make(config: &PostgresSourceConfig, go_on: impl Fn() -> Result<()>) -> Result<NewSlot> {
        let runtime = runtime()?;
        let in_slot = |error: Error| Error::new(error.kind(), format!("slot {}: {error}", config.slot));
        let (mut client, system) = runtime.block_on(connected(config, 0, 0)).map_err(in_slot)?;
        let create = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')", quoted(&config.slot));
        let made = runtime.block_on(async {
            let mut making = pin!(client.simple_query(&create));
            let started = Instant::now();
            let mut is_told = false;
            loop {
                if let Ok(made) = timeout(LOOK_EVERY, &mut making).await {
                    return made.map_err(failed);
                }
                go_on()?;
                if !is_told && started.elapsed() >= TELL_AFTER {
                    is_told = true;
                    let name = &config.name;
                    tracing::warn!(source = name, "source {name}: the slot waits for transactions that are open there");
                }
            }
        });
        let made = made.map_err(in_slot)?;
        let text = |column: usize| {
            let value = made.first().and_then(|row| row.get(column)?.as_ref());
            value.map(|value: &Bytes| String::from_utf8_lossy(value).into_owned())
        };
        let (Some(position), Some(snapshot)) = (text(1), text(2)) else {
            return Err(Error::failed(format!("slot {}: the server says nothing of its snapshot", config.slot)));
        };
        let position = position_of(&position)?;
        Ok(NewSlot { _runtime: runtime, _client: client, system, position, snapshot })
    }
}

/// Reads a position as the server writes it.
pub(crate) fn position_of(text: &str) -> Result<u64> {
    let position = Lsn::parse(text).map_err(|error| Error::failed(format!("found the position {text}: {error}")))?;
    Ok(position.as_u64())
}

impl ReplicationStream {
    /// Streams what was committed there after a position. What lies before `confirmed` is committed here. `schemas` are
    /// the columns of the state; `system` identifies the server that it follows.
    ///
    /// # Errors
    ///
    /// If the server can't be reached or is another one, or the slot is in use.
    pub(crate) fn start(
        config: &PostgresSourceConfig,
        options: &FileOptions,
        schemas: HashMap<InputTable, InputSchema>,
        position: u64,
        confirmed: u64,
        system: Option<&str>,
        replicated: &[ReplicatedTable],
    ) -> Result<ReplicationStream> {
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let (mut client, found) = connected(config, position, confirmed).await?;
            if let Some(known) = system.filter(|known| *known != found) {
                let cause = format!("found the system {found}, wanted {known}, from which the state is");
                return Err(Error::usage(format!("it is another server: {cause}")));
            }
            within(client.start()).await?;
            within(client.wait_started()).await?;
            Ok::<_, Error>(client)
        })?;
        let (relations, domains) = (HashMap::new(), Domains::new());
        let tables = replicated.iter().map(|replicated| (replicated.id, replicated.table)).collect();
        let (config, options) = (config.clone(), options.clone());
        Ok(ReplicationStream {
            config,
            options,
            tables,
            schemas,
            client,
            runtime,
            control: None,
            relations,
            domains,
            open: None,
        })
    }

    /// Tells the server that everything before a position is committed here.
    pub(crate) fn confirm(&self, position: u64) {
        self.client.update_applied_lsn(Lsn::from_u64(position));
    }

    /// What comes next, within some time.
    ///
    /// # Errors
    ///
    /// If the connection is lost, or what comes is not understood.
    pub(crate) fn next(&mut self, within: Duration) -> Result<Streamed> {
        loop {
            let client = &mut self.client;
            let event = self.runtime.block_on(async { timeout(within, client.recv()).await });
            let Ok(event) = event else { return Ok(Streamed::Silence) };
            let Some(event) = event.map_err(failed)? else {
                return Err(Error::failed("the server has ended the stream"));
            };
            match event {
                ReplicationEvent::Begin { final_lsn, .. } => {
                    let final_lsn = final_lsn.as_u64();
                    self.open = Some(OpenTransaction { final_lsn, ..OpenTransaction::default() });
                }
                ReplicationEvent::XLogData { data, .. } => self.take(&data)?,
                ReplicationEvent::Commit { end_lsn, .. } => {
                    return self.end(end_lsn.as_u64()).map(Streamed::Transaction);
                }
                ReplicationEvent::KeepAlive { wal_end, .. } if self.open.is_none() => {
                    return Ok(Streamed::Nothing(wal_end.as_u64()));
                }
                ReplicationEvent::KeepAlive { .. }
                | ReplicationEvent::Message { .. }
                | ReplicationEvent::StoppedAt { .. } => {}
            }
        }
    }

    /// Takes a message of a transaction.
    fn take(&mut self, data: &[u8]) -> Result<()> {
        let message = OutputMessage::decode(data).map_err(|cause| Error::failed(format!("pgoutput: {cause}")))?;
        match message {
            OutputMessage::Relation(message) => self.describe(message),
            OutputMessage::Insert { relation, new } => self.push(relation, &new, None, None),
            OutputMessage::Update { relation, old, new } => {
                let (new, unusable) = self.with_unchanged(relation, old.as_deref(), new)?;
                if let Some(old) = old.filter(|old| self.has_another_key(relation, old, &new)) {
                    self.push(relation, &old, Some("d"), None)?;
                }
                let new: Vec<_> =
                    new.iter().map(|value| value.as_deref().map_or(SentValue::Null, SentValue::Text)).collect();
                self.push(relation, &new, None, unusable)
            }
            OutputMessage::Delete { relation, old } => self.push(relation, &old, Some("d"), None),
            OutputMessage::Truncate { relations } => {
                for relation in relations {
                    self.flush(relation)?;
                    if let (Some(Some(table)), Some(open)) = (self.relations.get(&relation), &mut self.open) {
                        let table = table.table;
                        // What the transaction itself wrote before is gone as well.
                        open.batches.retain(|batch| batch.table != table);
                        open.truncated.push(table);
                    }
                }
                Ok(())
            }
            OutputMessage::Other => Ok(()),
        }
    }

    /// A table is described, for the first time or anew.
    fn describe(&mut self, message: RelationMessage) -> Result<()> {
        let id = message.id;
        self.flush(id)?;
        let Some(table) = self.tables.get(&id).copied() else {
            self.relations.insert(id, None);
            return Ok(());
        };
        let types = unknown_types(&message, &self.domains);
        if !types.is_empty() {
            let mut control = self.control()?;
            asked(look_up_types(&mut control, &types, &mut self.domains))?;
            self.control = Some(control);
        }
        let relation = Relation::of_message(message, &self.domains).for_table(table, &self.options);
        let schema = &self.schemas[&table];
        let (foreign, new_columns) =
            match ForeignTable::fit(schema, &relation.shown(), &relation.to_arrow(), &self.options)
                .and_then(|(foreign, new)| check_identity(table, &relation, &foreign).map(|()| (foreign, new)))
            {
                Ok((foreign, new)) => (Ok(foreign), new),
                Err(error) => {
                    tracing::warn!(source = self.config.name, "{error}; its rows are rejected until it has");
                    (Err(error), Vec::new())
                }
            };
        self.relations.insert(id, Some(StreamedTable { relation, foreign, table, new_columns }));
        Ok(())
    }

    /// Adds a row to the transaction.
    fn push(
        &mut self,
        relation: u32,
        values: &[SentValue],
        operation: Option<&str>,
        unusable: Option<Reason>,
    ) -> Result<()> {
        let Some(Some(table)) = self.relations.get(&relation) else { return Ok(()) };
        let open = self.open.get_or_insert_default();
        let rows = open.rows.entry(relation).or_insert_with(|| TextRows::new(table.relation.columns.len()));
        // What a delete does not need can't make it unusable.
        let ids = operation.and(table.foreign.as_ref().ok()).map(ForeignTable::id_positions);
        let is_taken = |position: usize| ids.as_ref().is_none_or(|ids| ids.contains(&position));
        let texts = values.iter().enumerate().map(|(position, value)| value.text().filter(|_| is_taken(position)));
        match unusable {
            None => rows.push(texts, operation),
            Some(reason) => rows.push_unusable(texts, reason),
        }
        if rows.is_full() {
            self.flush(relation)?;
        }
        Ok(())
    }

    /// Makes a batch of the rows of a table that are in none.
    fn flush(&mut self, relation: u32) -> Result<()> {
        let (Some(Some(table)), Some(open)) = (self.relations.get(&relation), &mut self.open) else { return Ok(()) };
        let Some(mut rows) = open.rows.remove(&relation).filter(|rows| rows.len() > 0) else { return Ok(()) };
        let (count, first) = (rows.len() as u64, open.counts.entry(table.table).or_default());
        let origin: Arc<str> = format!("{} at {}", table.relation.shown(), shown_position(open.final_lsn)).into();
        let batch = match &table.foreign {
            Ok(foreign) => rows.take(&table.relation, foreign, &origin, 0, *first)?,
            Err(error) => {
                let reason = Reason::new("the table can't be read", error.to_string());
                let rejections = rows.take_rejected(&table.relation, *first, &reason);
                rejected(&self.schemas[&table.table], &origin, rejections)?
            }
        };
        *first += count;
        open.batches.push(batch);
        Ok(())
    }

    /// Ends the transaction.
    fn end(&mut self, end: u64) -> Result<StreamedTransaction> {
        let described: Vec<u32> = self.relations.keys().copied().collect();
        for relation in described {
            self.flush(relation)?;
        }
        let open = self.open.take().unwrap_or_default();
        let tables = self.relations.values().flatten();
        let new_columns = tables.filter(|table| open.counts.contains_key(&table.table));
        let new_columns = new_columns.map(|table| (table.table, table.new_columns.clone())).collect();
        Ok(StreamedTransaction { end, batches: open.batches, new_columns, truncated: open.truncated })
    }

    /// True if the old row has another id than the new one.
    fn has_another_key(&self, relation: u32, old: &[SentValue], new: &[Option<String>]) -> bool {
        let Some(Some(table)) = self.relations.get(&relation) else { return false };
        let ids = table.foreign.as_ref().map_or_else(|_| Vec::new(), ForeignTable::id_positions);
        ids.iter().any(|id| old.get(*id).and_then(|old| old.text()) != new.get(*id).and_then(Option::as_deref))
    }

    /// A new row with the values that were not sent, because they have not changed: those of the old row, if it is
    /// there, and otherwise those that the table has now. If these can't be found out, also why.
    fn with_unchanged(
        &mut self,
        relation: u32,
        old: Option<&[SentValue]>,
        new: Vec<SentValue>,
    ) -> Result<(Vec<Option<String>>, Option<Reason>)> {
        let mut values = Vec::with_capacity(new.len());
        let mut missing = Vec::new();
        for (position, value) in new.iter().enumerate() {
            // An old row that is a key alone has nulls for what it does not have; a null is not stored apart.
            let of_old = || old.and_then(|old| old.get(position)?.text());
            let is_unchanged = *value == SentValue::Unchanged;
            let text = value.text().or_else(|| if is_unchanged { of_old() } else { None });
            if is_unchanged && text.is_none() && self.reads(relation, position) {
                missing.push(position);
            }
            values.push(text.map(str::to_owned));
        }
        if missing.is_empty() {
            return Ok((values, None));
        }
        let found = match self.look_up(relation, &values, &missing) {
            // The table has changed since, for instance.
            Err(error) if error.kind() == ErrorKind::Usage => {
                let cause = format!("a large value was not sent, and can't be read: {error}");
                return Ok((values, Some(Reason::new("a large value can't be read", cause))));
            }
            found => found?,
        };
        for (position, text) in missing.into_iter().zip(found) {
            values[position] = text;
        }
        Ok((values, None))
    }

    /// True if the job needs a column of a table.
    fn reads(&self, relation: u32, position: usize) -> bool {
        let table = self.relations.get(&relation).and_then(Option::as_ref);
        table.and_then(|table| table.foreign.as_ref().ok()).is_some_and(|foreign| foreign.reads(position))
    }

    /// Values that a row has now; nulls if it is gone, which is still to come then.
    fn look_up(&mut self, relation: u32, row: &[Option<String>], wanted: &[usize]) -> Result<Vec<Option<String>>> {
        let Some(Some(table)) = self.relations.get(&relation) else { return Ok(Vec::new()) };
        let columns = &table.relation.columns;
        let names = wanted.iter().map(|position| quoted(&columns[*position].name)).collect::<Vec<_>>().join(", ");
        let keys = columns.iter().zip(row).filter(|(column, _)| column.is_key);
        let conditions = keys.map(|(column, value)| {
            format!("{} = {}", quoted(&column.name), literal(value.as_deref().unwrap_or_default()))
        });
        let conditions = conditions.collect::<Vec<_>>().join(" AND ");
        let query = format!("SELECT {names} FROM {} WHERE {conditions}", table.relation.qualified());
        let mut control = self.control()?;
        let found = control.simple_query(&query).map_err(server_error)?;
        let row =
            found.iter().find_map(|found| if let SimpleQueryMessage::Row(row) = found { Some(row) } else { None });
        let values = (0..wanted.len()).map(|place| row.and_then(|row| row.get(place).map(str::to_owned)));
        let values = values.collect();
        self.control = Some(control);
        Ok(values)
    }

    /// The connection for queries.
    fn control(&mut self) -> Result<Client> {
        match self.control.take() {
            Some(client) if !client.is_closed() => Ok(client),
            _ => {
                let mut client = self.config.address.connect()?;
                asked(client.batch_execute(SESSION))?;
                Ok(client)
            }
        }
    }
}

/// A batch of rows of which none can be used.
fn rejected(schema: &InputSchema, origin: &Arc<str>, malformed: Vec<MalformedRow>) -> Result<SourceBatch> {
    let mut batch = SourceBatch::new(schema, 0, origin, 0, &schema.empty())?;
    (batch.numbers, batch.malformed) = (RowNumbers::Listed(Vec::new()), malformed);
    Ok(batch)
}

/// A runtime with a thread of its own, so that the server is answered whatever this one waits for.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::failed)
}

/// Connects for replication. Returns what identifies the server, too.
async fn connected(
    config: &PostgresSourceConfig,
    position: u64,
    confirmed: u64,
) -> Result<(ReplicationClient, String)> {
    let replication = replication(config, position)?.with_ack_lsn(Lsn::from_u64(confirmed));
    let mut client = within(ReplicationClient::connect_gated(replication)).await?;
    let system = within(client.identify_system()).await?.system_id;
    Ok((client, system))
}

/// What the server answers, unless that takes too long.
async fn within<T>(answer: impl Future<Output = pgwire_replication::Result<T>>) -> Result<T> {
    let answered = timeout(ANSWERS_WITHIN, answer).await;
    answered.map_err(|_| Error::failed("the server does not answer"))?.map_err(failed)
}

/// How to connect.
fn replication(config: &PostgresSourceConfig, position: u64) -> Result<ReplicationConfig> {
    let mut replication = config.address.replication(&config.slot, &quoted(&config.publication))?;
    replication = replication.with_options(OPTIONS).with_application_name("millstream");
    replication = replication.with_status_interval(CONFIRM_EVERY).with_buffer_size(READ_AHEAD);
    replication = replication.with_start_lsn(Lsn::from_u64(position));
    Ok(replication)
}

fn failed(error: pgwire_replication::PgWireError) -> Error {
    Error::failed(error.to_string()).caused_by(error)
}
