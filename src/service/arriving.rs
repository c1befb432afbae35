//! The thread that reads the files that arrive, while the epoch before them is applied.
//!
//! ```text
//! folder ─ look, read, admit ─▶ inbox
//! ```

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::durable::State;
use crate::error::{Error, Result};
use crate::panics::caught;
use crate::sources::{ArrivedFile, FileLedger, FolderWatch};

use super::admission::Admission;
use super::inbox::{Arrival, ArrivedFrom, Inbox};
use super::offsets::ledger_of;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Begins to read what has arrived since a state, until the inbox is closed.
///
/// # Errors
///
/// If the state is damaged.
pub(super) fn begin(admission: &Arc<Admission>, state: &State, inbox: &Arc<Inbox>) -> Result<()> {
    let config = &admission.config;
    let reader = Reader {
        watch: FolderWatch::new(config.incoming(), &config.run.input.files),
        ledger: ledger_of(state, config.incoming())?,
        admission: Arc::clone(admission),
    };
    let inbox = Arc::clone(inbox);
    thread::spawn(move || {
        let panicked = |message| Error::failed(format!("internal error: reading files panicked: {message}"));
        if let Err(error) = caught(|| reader.read(&inbox)).map_err(panicked).flatten() {
            inbox.fail(error);
        }
    });
    Ok(())
}

/// What the thread works with.
struct Reader {
    admission: Arc<Admission>,
    watch: FolderWatch,
    /// The files that were read.
    ledger: FileLedger,
}

impl Reader {
    /// Reads what arrives until it is over, or the job's own columns are at fault.
    fn read(mut self, inbox: &Inbox) -> Result<()> {
        loop {
            let next_look = Instant::now() + LOOK_EVERY;
            for file in self.watch.look(&self.ledger) {
                if inbox.is_closed() {
                    return Ok(());
                }
                self.read_file(&file, inbox)?;
            }
            if inbox.closes_within(next_look.saturating_duration_since(Instant::now())) {
                return Ok(());
            }
        }
    }

    /// Puts the rows of a file into the inbox, unless it is not whole yet.
    fn read_file(&mut self, file: &ArrivedFile, inbox: &Inbox) -> Result<()> {
        let (table, admission, begun) = (file.table(), &self.admission, Instant::now());
        let read = self.watch.read(file, 0, admission.schema(table), |batch| admission.settled(batch))?;
        let Some(arrived) = read else { return Ok(()) };
        let (name, stamp) = (file.name().to_owned(), file.stamp());
        admission.admit(table, arrived.batches, &arrived.new_columns, |rows| {
            let from = ArrivedFrom::File { name: name.clone(), stamp };
            inbox.put(Arrival { rows, from, decoded: begun.elapsed(), since: begun });
            Ok::<_, Error>(())
        })?;
        self.ledger.insert(name, stamp);
        Ok(())
    }
}
