//! The thread that reads what arrives, while the epoch before it is applied.
//!
//! ```text
//! folder ─ look, read, settle ─▶ open epoch ─ when the service is free ─▶ epoch
//! ```
//!
//! An epoch takes more files for as long as the service is busy, up to a number of rows and bytes; then the reading
//! waits. So the epochs are small while little arrives, and large when much does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::FieldRef;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::columns::InputSchema;
use crate::durable::{LogWriter, RowsFrame, State};
use crate::error::{Error, Result};
use crate::model::{Day, InputTable};
use crate::panics::caught;
use crate::sources::{ArrivedFile, FileLedger, FolderWatch, Lateness, RowDecoder, SourceBatch};

use super::offsets::{self, ledger_of};
use super::settings::ServiceConfig;

/// Rows that were read, and from where.
#[derive(Default)]
pub(super) struct ReadEpoch {
    pub(super) batches: Vec<SourceBatch>,
    /// The same rows, as the log has them.
    pub(super) frames: Vec<RowsFrame>,
    pub(super) files: FileLedger,
    /// The name of the last file.
    pub(super) last: String,
    /// Columns that a file had and the state has not.
    pub(super) new_columns: Vec<(InputTable, FieldRef)>,
    /// The greatest day of the orders so far; `None` if late ones are accepted.
    pub(super) seen: Option<Day>,
    pub(super) rows: u64,
    bytes: usize,
}

/// An epoch takes no more files once it has so many rows, or bytes in the form of the log.
const EPOCH_ROWS: u64 = 100_000;
const EPOCH_BYTES: usize = 64 << 20;

impl ReadEpoch {
    fn is_full(&self) -> bool {
        self.rows >= EPOCH_ROWS || self.bytes >= EPOCH_BYTES
    }
}

/// The epochs that a thread reads.
pub(super) struct Arriving {
    epochs: Receiver<Result<ReadEpoch>>,
    is_over: Arc<AtomicBool>,
}

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long either thread waits for the other before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(50);

impl Arriving {
    /// Begins to read what has arrived since a state.
    ///
    /// # Errors
    ///
    /// If the state is damaged.
    pub(super) fn begin(config: &ServiceConfig, state: &State) -> Result<Arriving> {
        let source = state.source()?;
        let table = |table: &InputTable| {
            let decoder = RowDecoder::of(&source, *table, config.run.job.conversion())?;
            Ok((*table, ServedTable { schema: state.schema(*table).clone(), decoder }))
        };
        let tables = InputTable::ALL.iter().map(table).collect::<Result<BTreeMap<_, _>>>()?;
        let lateness = config.reject_after.map(|days| -> Result<Lateness> {
            let seen = offsets::greatest_day(state, &tables[&InputTable::Orders].decoder, config.today())?;
            Ok(Lateness::new(days, seen))
        });
        let reader = Reader {
            watch: FolderWatch::new(config.incoming(), &config.run.input.files),
            ledger: ledger_of(state, config.incoming())?,
            lateness: lateness.transpose()?,
            config: config.clone(),
            arrived: VecDeque::new(),
            next_look: Instant::now(),
            tables,
        };
        // Without a queue: an epoch takes more files until the service asks for it.
        let (sender, epochs) = bounded(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || reader.read(&sender, &over));
        Ok(Arriving { epochs, is_over })
    }

    /// The next epoch; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// If the job's own columns are at fault.
    pub(super) fn next(&self) -> Result<Option<ReadEpoch>> {
        match self.epochs.recv_timeout(NAP) {
            Ok(epoch) => epoch.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::failed("internal error: the thread that reads files has ended; see the message above"))
            }
        }
    }
}

/// The thread ends on its own once it has read its file.
impl Drop for Arriving {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// An input table of a service.
struct ServedTable {
    schema: InputSchema,
    decoder: RowDecoder,
}

/// What the thread works with.
struct Reader {
    config: ServiceConfig,
    tables: BTreeMap<InputTable, ServedTable>,
    watch: FolderWatch,
    /// The files that were found at the last look and are not read yet.
    arrived: VecDeque<ArrivedFile>,
    /// The files that were read.
    ledger: FileLedger,
    lateness: Option<Lateness>,
    next_look: Instant,
}

impl Reader {
    /// Reads what arrives until it is over, or the job's own columns are at fault.
    fn read(mut self, epochs: &Sender<Result<ReadEpoch>>, is_over: &AtomicBool) {
        let mut open = ReadEpoch::default();
        while !is_over.load(Ordering::Relaxed) {
            let is_more = match self.next_file() {
                Some(file) if !open.is_full() => match self.add(&file, &mut open) {
                    Ok(()) => true,
                    Err(error) => return drop(epochs.send(Err(error))),
                },
                Some(file) => {
                    self.arrived.push_front(file);
                    false
                }
                None => false,
            };
            if open.files.is_empty() {
                if !is_more {
                    thread::sleep(NAP);
                }
                continue;
            }
            let patience = if is_more { Duration::ZERO } else { NAP };
            open = match epochs.send_timeout(Ok(open), patience) {
                Ok(()) => ReadEpoch::default(),
                Err(SendTimeoutError::Timeout(Ok(open))) => open,
                Err(_) => return,
            };
        }
    }

    /// The next file that has arrived.
    fn next_file(&mut self) -> Option<ArrivedFile> {
        if self.arrived.is_empty() && Instant::now() >= self.next_look {
            self.next_look = Instant::now() + LOOK_EVERY;
            self.arrived = self.watch.look(&self.ledger).into();
        }
        self.arrived.pop_front()
    }

    /// Adds the rows of a file to an epoch, unless it is not whole yet.
    fn add(&mut self, file: &ArrivedFile, epoch: &mut ReadEpoch) -> Result<()> {
        let ServedTable { schema, decoder } = &self.tables[&file.table()];
        // What can't even be decoded must not come into the log, or no start could read it.
        let settle = |batch: SourceBatch| caught(|| decoder.settled(batch)).map_err(Error::failed)?;
        let Some(arrived) = self.watch.read(file, epoch.files.len(), schema, settle)? else { return Ok(()) };
        self.lateness.iter_mut().for_each(Lateness::begin);
        for batch in arrived.batches {
            let batch = match &mut self.lateness {
                Some(lateness) => lateness.reject(batch, self.config.today(), decoder)?,
                None => batch,
            };
            let frame = LogWriter::encode(schema, &batch)?;
            epoch.rows += batch.rows();
            epoch.bytes += frame.bytes();
            epoch.frames.push(frame);
            epoch.batches.push(batch);
        }
        epoch.new_columns.extend(arrived.new_columns.into_iter().map(|field| (schema.table, field)));
        epoch.seen = self.lateness.as_ref().and_then(Lateness::seen);
        file.name().clone_into(&mut epoch.last);
        epoch.files.insert(file.name().to_owned(), file.stamp());
        self.ledger.insert(file.name().to_owned(), file.stamp());
        Ok(())
    }
}
