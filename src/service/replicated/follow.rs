//! The thread that takes the transactions of a database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::columns::InputSchema;
use crate::durable::State;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::panics::caught;
use crate::service::activity::{FollowReport, FollowState, Followed, SourceKind};
use crate::service::admission::Admission;
use crate::service::following::{FollowEnd, follow_on};
use crate::service::inbox::{Arrival, ArrivedBatches, ArrivedFrom, Inbox};
use crate::service::offsets::{self, database_name};
use crate::sources::SourceBatch;
use crate::sources::postgres::{
    PostgresSourceConfig, ReplicatedTable, ReplicationSlot, ReplicationStream, Streamed, StreamedTransaction,
    position_of, shown_position,
};

use super::truncated::deletes_of_all;

/// How long to wait for what comes next, before it is looked what is committed.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often it is looked how much the slot holds back.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A warning is logged when the slot holds back so many bytes.
const HELD_BYTES_WARN: u64 = 1 << 30;
/// So much of the server's log may lie between the position that is in the log here and the one that was reached.
const LAGS_AT_MOST: u64 = 16 << 20;

/// Begins to take the transactions that come after those of a state.
///
/// # Errors
///
/// If the state was begun without this source.
pub(super) fn begin(
    config: PostgresSourceConfig,
    admission: &Arc<Admission>,
    state: &State,
    inbox: &Arc<Inbox>,
    watched: Followed,
) -> Result<()> {
    let offset = state.offsets().get(&database_name(&config.name));
    let text = |key: &str| offset.and_then(|offset| offset[key].as_str());
    let (position, system) = (text("position"), text("system"));
    let Some(position) = position else {
        let name = &config.name;
        return Err(Error::usage(format!(
            "source {name}: the state was begun without it, so it lacks the rows of its tables; wanted another state \
             (--state), which begins with them"
        )));
    };
    let position = position_of(position)?;
    let tables: BTreeMap<String, u64> =
        offset.and_then(|offset| serde_json::from_value(offset["tables"].clone()).ok()).unwrap_or_default();
    let wanted: BTreeSet<_> = config.tables.iter().map(|(table, _)| table.name().to_owned()).collect();
    if wanted != tables.keys().cloned().collect() {
        let (name, known) = (&config.name, tables.into_keys().collect::<Vec<_>>().join(", "));
        return Err(Error::usage(format!(
            "source {name}: tables: the state began with {known}; wanted the same, or another state (--state)"
        )));
    }
    let follower = TransactionFollower {
        schemas: InputTable::ALL.map(|table| (table, admission.schema(table).clone())).into(),
        config,
        admission: Arc::clone(admission),
        inbox: Arc::clone(inbox),
        watched,
        system: system.map(str::to_owned),
        tables,
        taken: position,
        put: position,
        committed: Arc::new(AtomicU64::new(position)),
    };
    thread::spawn(move || {
        let inbox = Arc::clone(&follower.inbox);
        let panicked = |message| Error::failed(format!("internal error: following a database panicked: {message}"));
        if let Err(error) = caught(|| follower.run()).map_err(panicked) {
            inbox.fail(error);
        }
    });
    Ok(())
}

/// What the thread works with.
struct TransactionFollower {
    config: PostgresSourceConfig,
    schemas: HashMap<InputTable, InputSchema>,
    admission: Arc<Admission>,
    inbox: Arc<Inbox>,
    watched: Followed,
    /// What identifies the server.
    system: Option<String>,
    /// What identifies the tables.
    tables: BTreeMap<String, u64>,
    /// The position behind the last transaction that was taken.
    taken: u64,
    /// The position behind the last one that was put into the inbox; others had no rows.
    put: u64,
    /// The position behind the last one that is committed.
    committed: Arc<AtomicU64>,
}

impl TransactionFollower {
    /// Takes transactions until nothing is taken any more.
    fn run(mut self) {
        let (name, place) = (self.config.name.clone(), self.config.address.to_string());
        let (inbox, watched) = (Arc::clone(&self.inbox), self.watched.clone());
        follow_on((&name, &place), &inbox, &watched, || {
            let taken = self.taken;
            (self.take_all(), self.taken > taken)
        });
    }

    /// Takes transactions on one connection.
    fn take_all(&mut self) -> Result<(), FollowEnd> {
        self.watched.update(|report| report.state = FollowState::Connecting);
        let mut control = self.config.address.connect()?;
        let replicated = self.look_at_tables(&mut control)?;
        self.look_at_slot(&mut control)?;
        let (taken, committed) = (self.taken, self.committed.load(Ordering::Acquire));
        let (options, schemas) = (&self.admission.config.run.input.files, self.schemas.clone());
        let system = self.system.as_deref();
        let mut stream =
            ReplicationStream::start(&self.config, options, schemas, taken, committed, system, &replicated)
                .map_err(|error| self.ended(error))?;
        self.watched.update(|report| report.state = FollowState::Streaming);
        let (mut looked, mut since, mut idle, mut shown) = (Instant::now(), Instant::now(), 0, 0);
        loop {
            if self.inbox.is_closed() {
                return Ok(());
            }
            match stream.next(PATIENCE).map_err(|error| self.ended(error))? {
                Streamed::Transaction(transaction) if transaction.end > self.taken => self.put(transaction)?,
                Streamed::Transaction(_) | Streamed::Silence => {}
                Streamed::Nothing(position) => idle = position,
            }
            let committed = self.committed.load(Ordering::Acquire);
            stream.confirm(committed);
            if committed > shown {
                shown = committed;
                self.watched.update(|report| report.position = Some(shown_position(committed)));
            }
            // What is confirmed must be in the log. So the position is, from time to time, while there is nothing else
            // to take than transactions without rows for this job.
            let reached = idle.max(self.taken);
            if committed >= self.put && reached > committed + LAGS_AT_MOST && since.elapsed() >= LOOK_EVERY {
                (self.taken, since) = (reached, Instant::now());
                self.put_rows(ArrivedBatches::default(), reached, since);
            }
            if looked.elapsed() >= LOOK_EVERY {
                self.look_at_tables(&mut control)?;
                self.look_at_slot(&mut control)?;
                looked = Instant::now();
            }
        }
    }

    /// Puts a transaction into the inbox.
    fn put(&mut self, transaction: StreamedTransaction) -> Result<(), FollowEnd> {
        let (since, admission) = (Instant::now(), Arc::clone(&self.admission));
        let StreamedTransaction { end, mut batches, new_columns, truncated } = transaction;
        let mut rows = ArrivedBatches::default();
        let mut deletes = Vec::new();
        for table in truncated {
            // What is committed by then is all there is of the table.
            while self.committed.load(Ordering::Acquire) < self.put {
                if self.inbox.closes_within(PATIENCE) {
                    return Err(FollowEnd::Closed);
                }
            }
            let Some(snapshot) = self.inbox.snapshot()? else { return Err(FollowEnd::Closed) };
            let name = format!("{} (truncated)", self.config.name);
            deletes.extend(deletes_of_all(table, &snapshot, admission.schema(table), &admission.config, &name)?);
        }
        for table in InputTable::ALL {
            let mut of_table: Vec<SourceBatch> = deletes.extract_if(.., |batch| batch.table == table).collect();
            let deleted = of_table.iter().map(SourceBatch::rows).sum();
            for mut batch in batches.extract_if(.., |batch| batch.table == table) {
                batch.shift(deleted);
                of_table.push(admission.settled(batch)?);
            }
            let new = new_columns.iter().filter(|(of, _)| *of == table).flat_map(|(_, new)| new.clone());
            let new: Vec<_> = new.collect();
            if !of_table.is_empty() {
                admission.admit(table, of_table, &new, |admitted| {
                    rows.append(admitted);
                    Ok::<_, Error>(())
                })?;
            }
        }
        self.taken = end;
        if rows.rows > 0 {
            self.put_rows(rows, end, since);
        }
        Ok(())
    }

    /// Puts rows into the inbox, up to a position.
    fn put_rows(&mut self, rows: ArrivedBatches, end: u64, since: Instant) {
        self.put = end;
        let system = self.system.as_deref().unwrap_or_default();
        let offset = (database_name(&self.config.name), offsets::of_position(end, system, &self.tables));
        let (kind, shown, committed) = (SourceKind::Postgres, shown_position(end), Arc::clone(&self.committed));
        let from = ArrivedFrom::Followed { kind, offsets: [offset].into(), shown, end, committed };
        self.inbox.put(Arrival { rows, from, decoded: since.elapsed(), since });
    }

    /// Looks whether the tables are there and published, and are those that the state began with.
    fn look_at_tables(&self, control: &mut ::postgres::Client) -> Result<Vec<ReplicatedTable>, FollowEnd> {
        let replicated = ReplicatedTable::all(control, &self.config)?;
        let found = offsets::followed_tables(&replicated);
        if let Some(table) =
            self.tables.iter().find(|(table, id)| found.get(*table) != Some(*id)).map(|(table, _)| table)
        {
            let cause = "it was dropped and made again, or has changed its place with another";
            return Err(FollowEnd::Lost(Error::failed(format!(
                "{table}: it is another table than the one that the state began with: {cause}; begin anew with another \
                 state (--state)"
            ))));
        }
        Ok(replicated)
    }

    /// How the stream ended with an error.
    fn ended(&self, error: Error) -> FollowEnd {
        let publication = &self.config.publication;
        let is_gone = error.to_string().contains(&format!("publication \"{publication}\" does not exist"));
        if !is_gone {
            return FollowEnd::Failed(error);
        }
        // It is there now, but was not when the next transaction was committed.
        let cause = format!("publication {publication} was dropped and made again: the slot can't be read over that");
        FollowEnd::Lost(Error::failed(format!("{cause}; begin anew with another state (--state)")))
    }

    /// Looks whether the slot is there, and how much it holds back.
    fn look_at_slot(&self, control: &mut ::postgres::Client) -> Result<(), FollowEnd> {
        let (slot, position) = (&self.config.slot, shown_position(self.taken));
        let begin_anew = format!(
            "what was committed there since {position} can't be had any more; begin anew with another state (--state)"
        );
        let Some(found) = ReplicationSlot::state(control, slot)? else {
            return Err(FollowEnd::Lost(Error::failed(format!("slot {slot} is gone: {begin_anew}"))));
        };
        if found.is_lost {
            let cause = "the server has given up what it held back (max_slot_wal_keep_size)";
            return Err(FollowEnd::Lost(Error::failed(format!("slot {slot}: {cause}: {begin_anew}"))));
        }
        let committed = self.committed.load(Ordering::Acquire);
        if found.confirmed > committed {
            let (found, wanted) = (shown_position(found.confirmed), shown_position(committed));
            let cause =
                format!("the server was told that everything up to {found} is done, but the state has {wanted}");
            let why = "another service used the slot, the state is an older copy, or its last epochs were not durable";
            return Err(FollowEnd::Lost(Error::failed(format!("slot {slot}: {cause}: {why}: {begin_anew}"))));
        }
        if !found.is_fitting {
            let wanted = "wanted one of this database with the output plugin pgoutput";
            return Err(FollowEnd::Lost(Error::failed(format!("slot {slot} is of another kind: {wanted}"))));
        }
        let mut had = 0;
        self.watched.update(|report: &mut FollowReport| {
            had = report.held_bytes.replace(found.held_bytes).unwrap_or_default();
        });
        if found.held_bytes >= HELD_BYTES_WARN && had < HELD_BYTES_WARN {
            let (name, gigabytes) = (&self.config.name, found.held_bytes >> 30);
            tracing::warn!(source = name, "source {name}: slot {slot} holds back {gigabytes} GB of the server's log");
        }
        Ok(())
    }
}
