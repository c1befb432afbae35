//! The transactions of a slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::postgres::{Client, SimpleQueryMessage};
use arrow::datatypes::FieldRef;
use bytes::Bytes;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationConfig, ReplicationEvent};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::{InputTable, Reason};
use crate::postgres::{literal, quoted};
use crate::sources::files::{FileOptions, ForeignTable};
use crate::sources::source::{MalformedRow, RowNumbers, SourceBatch};

use super::catalog::{Domains, Relation, asked, look_up_types, unknown_types};
use super::pgoutput::{OutputMessage, RelationMessage, SentValue};
use super::rows::TextRows;
use super::settings::PostgresSourceConfig;

/// What is streamed from a slot.
pub(crate) struct ReplicationStream {
    config: PostgresSourceConfig,
    options: FileOptions,
    /// The columns of the input tables, as the state has them.
    schemas: HashMap<InputTable, InputSchema>,
    client: ReplicationClient,
    /// Answers the server while nobody asks for the next transaction.
    runtime: Runtime,
    /// For questions about the catalog, and for values that were not sent.
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
    id: usize,
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

/// Rows are made a batch when there are so many.
const BATCH_ROWS: usize = 8192;
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
    /// The position from which on the slot keeps transactions.
    pub(crate) position: u64,
    pub(crate) snapshot: String,
}

impl NewSlot {
    /// Makes the slot of a source.
    ///
    /// # Errors
    ///
    /// If there is one of its name, or a right is missing.
    pub(crate) fn make(config: &PostgresSourceConfig) -> Result<NewSlot> {
        let runtime = runtime()?;
        let create = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')", quoted(&config.slot));
        let (client, made) = runtime
            .block_on(async {
                let mut client = ReplicationClient::connect_gated(replication(config, 0)?).await.map_err(failed)?;
                let made = client.simple_query(&create).await.map_err(failed)?;
                Ok::<_, Error>((client, made))
            })
            .map_err(|error| Error::failed(format!("slot {}: {error}", config.slot)))?;
        let text = |column: usize| {
            let value = made.first().and_then(|row| row.get(column)?.as_ref());
            value.map(|value: &Bytes| String::from_utf8_lossy(value).into_owned())
        };
        let (Some(position), Some(snapshot)) = (text(1), text(2)) else {
            return Err(Error::failed(format!("slot {}: the server says nothing of its snapshot", config.slot)));
        };
        let position = position_of(&position)?;
        Ok(NewSlot { _runtime: runtime, _client: client, position, snapshot })
    }
}

/// Reads a position as the server writes it.
pub(crate) fn position_of(text: &str) -> Result<u64> {
    let position = Lsn::parse(text).map_err(|error| Error::failed(format!("found the position {text}: {error}")))?;
    Ok(position.as_u64())
}

impl ReplicationStream {
    /// Streams what was committed there after a position. What lies before `confirmed` is committed here. `schemas` are
    /// the columns of the state.
    ///
    /// # Errors
    ///
    /// If the server can't be reached, or the slot is in use.
    pub(crate) fn start(
        config: &PostgresSourceConfig,
        options: &FileOptions,
        schemas: HashMap<InputTable, InputSchema>,
        position: u64,
        confirmed: u64,
    ) -> Result<ReplicationStream> {
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let mut client =
                ReplicationClient::connect(replication(config, position)?.with_ack_lsn(Lsn::from_u64(confirmed)))
                    .await
                    .map_err(failed)?;
            client.wait_started().await.map_err(failed)?;
            Ok::<_, Error>(client)
        })?;
        let (relations, domains) = (HashMap::new(), Domains::new());
        let (config, options) = (config.clone(), options.clone());
        Ok(ReplicationStream {
            config,
            options,
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
            OutputMessage::Insert { relation, new } => self.push(relation, &new, None),
            OutputMessage::Update { relation, old, new } => {
                let new = self.with_unchanged(relation, old.as_deref(), new)?;
                if let Some(old) = old.filter(|old| self.has_another_key(relation, old, &new)) {
                    self.push(relation, &old, Some("d"))?;
                }
                let new: Vec<_> =
                    new.iter().map(|value| value.as_deref().map_or(SentValue::Null, SentValue::Text)).collect();
                self.push(relation, &new, None)
            }
            OutputMessage::Delete { relation, old } => self.push(relation, &old, Some("d")),
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
        let is_it = |(schema, name): &(String, String)| *schema == message.schema && *name == message.name;
        let Some((table, _)) = self.config.tables.iter().find(|(_, name)| is_it(name)).cloned() else {
            self.relations.insert(id, None);
            return Ok(());
        };
        let types = unknown_types(&message, &self.domains);
        if !types.is_empty() {
            let mut control = self.control()?;
            asked(look_up_types(&mut control, &types, &mut self.domains))?;
            self.control = Some(control);
        }
        let relation = Relation::of_message(message, &self.domains);
        let schema = &self.schemas[&table];
        let (foreign, new_columns) =
            match ForeignTable::fit(schema, &relation.shown(), &relation.to_arrow(), &self.options) {
                Ok((foreign, new)) => (Ok(foreign), new),
                Err(error) => {
                    tracing::warn!(source = self.config.name, "{error}; its rows are rejected until it has");
                    (Err(error), Vec::new())
                }
            };
        let position = self.relations.len();
        self.relations.insert(id, Some(StreamedTable { relation, foreign, table, new_columns, id: position }));
        Ok(())
    }

    /// Adds a row to the transaction.
    fn push(&mut self, relation: u32, values: &[SentValue], operation: Option<&str>) -> Result<()> {
        let Some(Some(table)) = self.relations.get(&relation) else { return Ok(()) };
        let open = self.open.get_or_insert_default();
        let rows = open.rows.entry(relation).or_insert_with(|| TextRows::new(table.relation.columns.len()));
        rows.push(values.iter().map(|value| value.text()), operation);
        if rows.len() >= BATCH_ROWS {
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
            Ok(foreign) => rows.take(&table.relation, foreign, &origin, 0, *first),
            Err(error) => Err(error.clone()),
        };
        let batch = batch.or_else(|error| rejected(&self.schemas[&table.table], &origin, *first, count, &error))?;
        *first += count;
        open.batches.push(batch);
        Ok(())
    }

    /// Ends the transaction.
    fn end(&mut self, end: u64) -> Result<StreamedTransaction> {
        let mut described: Vec<(usize, u32)> =
            self.relations.iter().filter_map(|(id, table)| Some((table.as_ref()?.id, *id))).collect();
        described.sort_unstable();
        for (_, relation) in &described {
            self.flush(*relation)?;
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
    /// there, and otherwise those that the table has now.
    fn with_unchanged(
        &mut self,
        relation: u32,
        old: Option<&[SentValue]>,
        new: Vec<SentValue>,
    ) -> Result<Vec<Option<String>>> {
        let of_old = |position: usize| old.and_then(|old| old.get(position).copied());
        let mut values = Vec::with_capacity(new.len());
        let mut missing = Vec::new();
        for (position, value) in new.iter().enumerate() {
            let value = if *value == SentValue::Unchanged { of_old(position).unwrap_or(*value) } else { *value };
            match value {
                SentValue::Text(text) => values.push(Some(text.to_owned())),
                SentValue::Null if new[position] == SentValue::Unchanged => {
                    // A key alone has nulls for what it does not have.
                    missing.push(position);
                    values.push(None);
                }
                SentValue::Null => values.push(None),
                SentValue::Unchanged => {
                    missing.push(position);
                    values.push(None);
                }
            }
        }
        if missing.is_empty() {
            return Ok(values);
        }
        let Some(Some(table)) = self.relations.get(&relation) else { return Ok(values) };
        let columns = &table.relation.columns;
        let keys: Vec<usize> = (0..columns.len()).filter(|position| columns[*position].is_key).collect();
        let names = missing.iter().map(|position| quoted(&columns[*position].name)).collect::<Vec<_>>().join(", ");
        let conditions = keys.iter().map(|position| {
            let key = literal(values[*position].as_deref().unwrap_or_default());
            format!("{} = {key}", quoted(&columns[*position].name))
        });
        let conditions = conditions.collect::<Vec<_>>().join(" AND ");
        let query = format!("SELECT {names} FROM {} WHERE {conditions}", table.relation.qualified());
        let mut control = self.control()?;
        let found = asked(control.simple_query(&query))?;
        let row =
            found.iter().find_map(|found| if let SimpleQueryMessage::Row(row) = found { Some(row) } else { None });
        for (place, position) in missing.iter().enumerate() {
            // If the row is gone by now, that comes later.
            values[*position] = row.and_then(|row| row.get(place).map(str::to_owned));
        }
        self.control = Some(control);
        Ok(values)
    }

    /// The connection for questions.
    fn control(&mut self) -> Result<Client> {
        match self.control.take() {
            Some(client) if !client.is_closed() => Ok(client),
            _ => {
                let mut client = self.config.address.connect()?;
                let settings =
                    "SET datestyle = ISO; SET timezone = UTC; SET bytea_output = hex; SET extra_float_digits = 1";
                asked(client.batch_execute(settings))?;
                Ok(client)
            }
        }
    }
}

/// Rows of which none can be used, for one reason.
fn rejected(schema: &InputSchema, origin: &Arc<str>, first: u64, count: u64, error: &Error) -> Result<SourceBatch> {
    let mut batch = SourceBatch::new(schema, 0, origin, 0, &schema.empty())?;
    batch.numbers = RowNumbers::Listed(Vec::new());
    let reason = Reason::new("the table can't be read", error.to_string());
    let row = |number| MalformedRow { number, reason: reason.clone(), json: String::new() };
    batch.malformed = (first..first + count).map(row).collect();
    Ok(batch)
}

/// A runtime with a thread of its own, so that the server is answered whatever this one waits for.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::failed)
}

/// How to connect.
fn replication(config: &PostgresSourceConfig, position: u64) -> Result<ReplicationConfig> {
    let mut replication = config.address.replication(&config.slot, &config.publication)?;
    replication = replication.with_options(OPTIONS).with_application_name("millstream");
    replication = replication.with_status_interval(CONFIRM_EVERY).with_start_lsn(Lsn::from_u64(position));
    Ok(replication)
}

fn failed(error: pgwire_replication::PgWireError) -> Error {
    Error::failed(error.to_string()).caused_by(error)
}
