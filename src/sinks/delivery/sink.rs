//! The sink that gives its epochs to a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::record_batch::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Epoch;
use crate::sinks::changes::{ChangeFeed, GatheredChanges, TableChanges};
use crate::sinks::committed::{Committed, CurrentEpoch};
use crate::sinks::delivery_status::{DeliveryState, DeliveryStatus};
use crate::sinks::sink::{Opened, PartOptions, Sink, SinkContext, SinkPart, TableInfo, TableReport, check_known};

use super::destination::{Delivery, DeliveryPace, Destination};
use super::thread::DeliveryThread;

/// Another system as it is configured, before the tables of the job are known.
pub(crate) trait DeliveryTarget: Send + 'static {
    /// What delivers there.
    type Destination: Destination;

    /// The name of the sink.
    fn name(&self) -> &str;

    /// The tables that are delivered.
    fn tables(&self) -> &DeliveredTables;

    /// How much is delivered at a time.
    fn pace(&self) -> DeliveryPace {
        DeliveryPace::default()
    }

    /// What delivers these tables of a job.
    ///
    /// # Errors
    ///
    /// If one can't be written there.
    fn destination(&self, job: &SinkContext, tables: &[&TableInfo]) -> Result<Self::Destination>;
}

/// The tables that a sink delivers: those that are named, or all but `enriched_data`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveredTables(pub(crate) Option<Vec<String>>);

impl DeliveredTables {
    /// Checks that a job has the tables.
    ///
    /// # Errors
    ///
    /// If it lacks one, or the rows of one have no key that another system takes.
    pub(crate) fn check<'a>(&'a self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let wanted = || self.0.iter().flatten();
        if wanted().any(|table| table == REJECTED) {
            return Err(Error::usage(format!("table {REJECTED}: its rows are too long for a key there")));
        }
        check_known(names, wanted())
    }

    /// True if the table of this name is delivered.
    pub(crate) fn has(&self, table: &str) -> bool {
        match &self.0 {
            Some(tables) => tables.iter().any(|wanted| wanted == table),
            None => !LEFT_OUT.contains(&table),
        }
    }
}

/// The epochs of the state from which a job starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownEpochs {
    /// The one with which it starts.
    pub first: Committed,
    /// Those that it applies again, one by one, in order.
    pub applied_again: Vec<Committed>,
    /// False if the tables of these epochs were made in another way, as by another model.
    pub lead_here: bool,
}

/// Delivers tables to another system, every transaction with all of them as of one epoch.
pub(crate) struct DeliverySink<T> {
    target: T,
    known: KnownEpochs,
    current: CurrentEpoch,
    gives_up: Arc<AtomicBool>,
    /// True at the start of a service, which then fails if the other system refuses what is configured.
    is_first: bool,
    status: DeliveryStatus,
    feed: ChangeFeed,
    /// Those of the job.
    tables: Vec<TableInfo>,
    delivery: Option<DeliveryThread>,
    /// All rows, and what the epochs change that are applied again, until these are over.
    snapshot: Option<Vec<TableChanges>>,
    /// The newest epoch that was given to the thread, or that the system had.
    sent: Option<Committed>,
}

impl<T: DeliveryTarget> DeliverySink<T> {
    /// Creates a sink. `current` is the epoch that the job commits; once `gives_up` is true, no commit waits for the
    /// other system. `is_first` at the start of a service, which then fails if the other system refuses what is
    /// configured.
    #[must_use]
    pub(crate) fn new(
        target: T,
        known: KnownEpochs,
        current: CurrentEpoch,
        gives_up: Arc<AtomicBool>,
        is_first: bool,
        status: DeliveryStatus,
    ) -> DeliverySink<T> {
        let feed = ChangeFeed::default();
        DeliverySink {
            target,
            known,
            current,
            gives_up,
            is_first,
            status,
            feed,
            tables: Vec::new(),
            delivery: None,
            snapshot: None,
            sent: None,
        }
    }

    /// True if the other system has an epoch of this state, so that later ones lead from it to the newest.
    fn is_known(&self, epoch: Committed) -> bool {
        self.known.lead_here && (epoch == self.known.first || self.known.applied_again.contains(&epoch))
    }

    /// Gives a delivery to the thread.
    fn send(&mut self, delivery: Delivery) -> Result<()> {
        self.sent = Some(delivery.epoch);
        let thread = self.delivery.as_ref().ok_or_else(|| Error::failed("internal error: not open"))?;
        thread.send(delivery, || self.gives_up.load(Ordering::Relaxed));
        Ok(())
    }

    /// The same with the tables that have no rows.
    fn with_all_tables(&self, mut tables: Vec<TableChanges>) -> Vec<TableChanges> {
        for table in self.tables.iter().filter(|table| self.wanted(table)) {
            if !tables.iter().any(|known| known.table.name == table.name) {
                let none = || RecordBatch::new_empty(Arc::clone(&table.schema));
                tables.push(TableChanges { table: table.clone(), plus: none(), minus: none() });
            }
        }
        tables
    }

    fn wanted(&self, table: &TableInfo) -> bool {
        self.target.tables().has(&table.name)
    }

    /// Prepares the tables, and begins to deliver. If that is not possible at the moment, everything is delivered once
    /// it is.
    fn begin(&mut self, job: &SinkContext) -> Result<()> {
        let tables: Vec<_> = job.tables.iter().filter(|table| self.wanted(table)).collect();
        let mut destination = self.target.destination(job, &tables)?;
        let delivered = match destination.prepare() {
            Ok(delivered) => delivered,
            Err(error) if error.kind() == ErrorKind::Usage && self.is_first => return Err(error),
            Err(error) => {
                let name = self.target.name();
                tracing::warn!(sink = name, "sink {name}: {error}; it is tried again");
                self.status.has_failed(DeliveryState::Retrying, &error.to_string());
                None
            }
        };
        self.sent = delivered.filter(|epoch| self.is_known(*epoch));
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        self.feed = match self.sent {
            Some(epoch) => {
                self.status.has(epoch);
                ChangeFeed::of(&names)
            }
            None => ChangeFeed::with_snapshot_of(&names),
        };
        self.delivery =
            Some(DeliveryThread::start(self.target.name(), self.status.clone(), self.target.pace(), destination));
        Ok(())
    }
}

/// Tables that are left out unless they are named: each order changes many rows of the first; the rows of the second
/// are too long for a key.
const LEFT_OUT: [&str; 2] = ["enriched_data", REJECTED];
const REJECTED: &str = "rejected";

impl<T: DeliveryTarget> Sink for DeliverySink<T> {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        let names = job.tables.iter().map(|table| table.name.as_str());
        let opened = self.target.tables().check(names).and_then(|()| {
            self.tables.clone_from(&job.tables);
            self.begin(job)
        });
        let name = self.target.name();
        opened.map_err(|error| Error::new(error.kind(), format!("sink {name}: {error}")))?;
        self.feed.open(job)
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
        // What the other system has already, and epochs of the job that are none of the state.
        let is_newer = self.sent.is_none_or(|sent| sent.epoch < current.epoch);
        let is_first = epoch == 0 && self.sent.is_none();
        while let Some((_, tables)) = self.feed.take() {
            if is_first {
                self.snapshot = Some(self.with_all_tables(tables));
            } else if let Some(snapshot) = &mut self.snapshot {
                snapshot.extend(tables);
            } else if is_newer {
                self.send(Delivery { epoch: current, is_snapshot: false, tables })?;
            }
        }
        // The tables never go back: epochs that are applied again belong to the snapshot.
        if current.epoch >= self.known.applied_again.last().map_or(0, |last| last.epoch)
            && let Some(snapshot) = self.snapshot.take()
        {
            let tables = GatheredChanges::of(snapshot).net_of_all()?;
            self.send(Delivery { epoch: current, is_snapshot: true, tables })?;
        }
        Ok(())
    }

    fn end(&mut self, _: &Result<()>) {
        let Some(mut thread) = self.delivery.take() else { return };
        if !thread.finish() {
            let name = self.target.name();
            tracing::warn!(sink = name, "sink {name}: the last epochs are not delivered; the next start delivers them");
        }
    }
}
