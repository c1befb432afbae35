//! A table of a lake, as one process delivers to it.
//!
//! ```text
//! files as known ─ write files ─▶ commit ─ made ─────────────▶ files as known, epoch delivered
//!        ▲                          └─ conflict, or unknown ─▶ the files are those before: try again
//!        └──────────────────────────────────────────────────┤  those after: delivered
//!                                                            └ others: displaced
//! ```
//!
//! What a commit changes is kept until it is known whether it was made, which the files of the table say.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::crash;
use crate::error::{Error, Result};
use crate::sinks::changes::TableChanges;
use crate::sinks::committed::Committed;
use crate::sinks::sink::TableInfo;

use super::change_log::{difference, logged};
use super::columns::delta_rows;
use super::files::{FileNames, write_files};
use super::key_ranges::{FileRewrite, RangeFile};
use super::keyed_table::KeyedTable;
use super::log::{CommitOutcome, LogEngine, SINK, TableCommit, TableLog};
use super::settings::{DeltaMode, DeltaTarget};
use super::store::LakeStore;
use super::vacuum::Vacuum;

/// A table as it is written.
pub(super) struct WrittenTable {
    /// With the types of Delta.
    pub(super) info: TableInfo,
    /// The columns of the Delta table.
    pub(super) columns: SchemaRef,
}

/// A table that this process delivers to.
pub(super) struct LakeTable {
    info: TableInfo,
    columns: SchemaRef,
    log: TableLog,
    contents: TableContents,
    /// The files of the table, as this process has left them.
    files: HashSet<String>,
    names: Arc<FileNames>,
    vacuum: Vacuum,
    /// The identifier of our transactions, whose version is an epoch.
    app: String,
    /// Identifies this process.
    writer: u64,
    /// The newest commit when the table was opened.
    found: u64,
    /// What this process has delivered last.
    delivered: Option<Committed>,
    /// A commit of which it is not known whether it was made.
    pending: Option<PendingCommit>,
}

/// What is known of the rows of a table.
enum TableContents {
    Rows(KeyedTable),
    Changes,
}

/// A commit, and what it does to the rows that are known.
struct PendingCommit {
    epoch: Committed,
    is_snapshot: bool,
    commit: TableCommit,
    rewrite: FileRewrite,
}

/// Why something was not delivered.
#[derive(Debug)]
pub(super) enum DeliveryFailure {
    /// It can be tried again.
    Failed(Error),
    /// Somebody else has changed the table.
    Displaced(Error),
}

impl From<Error> for DeliveryFailure {
    fn from(error: Error) -> DeliveryFailure {
        DeliveryFailure::Failed(error)
    }
}

/// The property of a table that says what it has.
const MODE: &str = "millstream.mode";
/// A checkpoint is written after so many commits.
const CHECKPOINT_EVERY: u64 = 10;
/// How often a commit is tried that others come before.
const ATTEMPTS: usize = 5;

impl LakeTable {
    /// Opens or makes a table. Nobody is kept from writing to it yet.
    pub(super) fn open(
        target: &DeltaTarget,
        engine: &LogEngine,
        store: &LakeStore,
        table: &WrittenTable,
        names: &Arc<FileNames>,
    ) -> Result<LakeTable> {
        let WrittenTable { info, columns } = table;
        let url = store.url_of(&info.name)?;
        let log = match TableLog::load(engine, url.clone(), Arc::clone(columns))? {
            Some(log) => log,
            None => {
                let properties = [(SINK, target.name.clone()), (MODE, target.mode.name().to_owned())];
                let description = target.mode.description(&info.name);
                TableLog::create(engine, url, Arc::clone(columns), &description, &properties)?
            }
        };
        log.check_owner(&target.name)?;
        if log.property(MODE).as_deref() != Some(target.mode.name()) {
            return Err(Error::usage("it was made in another mode; wanted the same, or another folder"));
        }
        if target.mode == DeltaMode::Changes && !log.has_columns()? {
            return Err(Error::usage("a log of changes can't have other columns; wanted another folder"));
        }
        let contents = match target.mode {
            DeltaMode::Rows => TableContents::Rows(KeyedTable::none(info.clone())?),
            DeltaMode::Changes => TableContents::Changes,
        };
        Ok(LakeTable {
            found: log.version(),
            vacuum: Vacuum::of(&target.name, &info.name, target.retention),
            info: info.clone(),
            columns: Arc::clone(columns),
            log,
            contents,
            files: HashSet::new(),
            names: Arc::clone(names),
            app: format!("millstream/{}", target.name),
            writer: names.writer(),
            delivered: None,
            pending: None,
        })
    }

    /// Keeps whoever has delivered before from committing, and looks at the files.
    pub(super) fn take_over(&mut self, store: &LakeStore) -> Result<()> {
        self.commit_writer()?;
        let files = self.log.files()?;
        self.files = files.iter().map(|file| file.name.clone()).collect();
        self.vacuum.begin(store, &self.files)?;
        if let TableContents::Rows(rows) = &mut self.contents {
            *rows = KeyedTable::open(self.info.clone(), files, store, self.log.has_columns()?)?;
        }
        Ok(())
    }

    /// Commits that this process delivers from now on: commits of others then fail.
    fn commit_writer(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            self.found = self.log.version();
            let transactions = vec![(writer_of(&self.app), self.writer)];
            match self.log.commit(&TableCommit { transactions, ..TableCommit::default() })? {
                CommitOutcome::Committed => return Ok(()),
                CommitOutcome::Conflict => self.log.refresh()?,
            }
        }
        Err(Error::failed("others commit to it all the time"))
    }

    pub(super) fn name(&self) -> &str {
        &self.info.name
    }

    pub(super) fn version(&self) -> u64 {
        self.log.version()
    }

    /// The newest commit before this process took the table over; `None` if its rows are to be replaced, whatever they
    /// are.
    pub(super) fn version_found(&self) -> Option<u64> {
        let is_ours = match &self.contents {
            TableContents::Rows(rows) => rows.is_ours(),
            TableContents::Changes => true,
        };
        is_ours.then_some(self.found)
    }

    /// Delivers an epoch.
    pub(super) fn deliver(
        &mut self,
        store: &LakeStore,
        epoch: Committed,
        is_snapshot: bool,
        changes: &TableChanges,
    ) -> Result<(), DeliveryFailure> {
        let delivered = self.deliver_once(store, epoch, is_snapshot, changes);
        let named = |error: Error| Error::new(error.kind(), format!("table {}: {error}", self.info.name));
        delivered.map_err(|failure| match failure {
            DeliveryFailure::Failed(error) => DeliveryFailure::Failed(named(error)),
            DeliveryFailure::Displaced(error) => DeliveryFailure::Displaced(named(error)),
        })
    }

    /// Writes a checkpoint if it is time for one, and removes what nobody needs.
    pub(super) fn tidy_up(&mut self, store: &LakeStore) {
        let tidied = (|| {
            if self.log.version() - self.log.checkpointed() >= CHECKPOINT_EVERY {
                self.log.checkpoint()?;
                self.vacuum.trim_log(store)?;
                self.vacuum.remember(store)?;
            }
            if self.vacuum.is_due() {
                // Somebody may have restored a former version.
                let active = self.log.newest_files()?.into_iter().map(|file| file.name).collect();
                self.vacuum.run(store, &active);
            }
            Ok::<_, Error>(())
        })();
        tidied.unwrap_or_else(|error| tracing::warn!("{}/{}: {error}", store.place, self.info.name));
    }

    fn deliver_once(
        &mut self,
        store: &LakeStore,
        epoch: Committed,
        is_snapshot: bool,
        changes: &TableChanges,
    ) -> Result<(), DeliveryFailure> {
        self.settle()?;
        if self.delivered == Some(epoch) {
            return Ok(());
        }
        if let Some(other) = self.pending.take_if(|pending| pending.epoch != epoch) {
            self.vacuum.note_removed(other.commit.added.into_iter().map(|file| file.name));
        }
        if self.pending.is_none() {
            self.pending = self.prepared(store, epoch, is_snapshot, changes)?;
        }
        for _ in 0..ATTEMPTS {
            let Some(PendingCommit { commit, .. }) = &self.pending else {
                self.delivered = Some(epoch);
                return Ok(());
            };
            match self.log.commit(commit) {
                Ok(CommitOutcome::Committed) => self.apply_pending()?,
                Ok(CommitOutcome::Conflict) => self.settle()?,
                Err(error) => return Err(DeliveryFailure::Failed(error)),
            }
        }
        match self.pending {
            None => Ok(()),
            Some(_) => Err(DeliveryFailure::Failed(Error::failed("others commit to it all the time"))),
        }
    }

    /// The commit that delivers changes, whose files are written; `None` if nothing changes.
    fn prepared(
        &self,
        store: &LakeStore,
        epoch: Committed,
        is_snapshot: bool,
        changes: &TableChanges,
    ) -> Result<Option<PendingCommit>, DeliveryFailure> {
        let (minus, plus) =
            (delta_rows(&changes.minus, &self.info.schema)?, delta_rows(&changes.plus, &self.info.schema)?);
        let rewrite = match &self.contents {
            TableContents::Rows(rows) if is_snapshot => rows.replace(store, plus)?,
            TableContents::Rows(rows) => rows.change(store, minus, plus)?.ok_or_else(|| self.has_other_rows())?,
            TableContents::Changes => {
                let (minus, plus) = match is_snapshot {
                    true => difference(&self.log, store, &self.info.name, &self.columns, &plus)?,
                    false => (minus, plus),
                };
                let rows = logged(&self.columns, epoch, &minus, &plus)?;
                FileRewrite { removed: Vec::new(), new: rows.into_iter().collect() }
            }
        };
        let removed = match &self.contents {
            TableContents::Rows(rows) => rows.removed(&rewrite, is_snapshot),
            TableContents::Changes => Vec::new(),
        };
        if removed.is_empty() && rewrite.new.is_empty() {
            return Ok(None);
        }
        let added = write_files(store, &self.info.name, &self.names, &rewrite.new)?;
        crash::point("delta: files written");
        let transactions = vec![
            (self.app.clone(), epoch.epoch),
            (format!("{}/time_ms", self.app), epoch.time_ms),
            (writer_of(&self.app), self.writer),
        ];
        let commit = TableCommit { added, removed, transactions };
        Ok(Some(PendingCommit { epoch, is_snapshot, commit, rewrite }))
    }

    /// Finds out whether the pending commit was made, if there is one. If it was not, it can still be.
    fn settle(&mut self) -> Result<(), DeliveryFailure> {
        let Some(pending) = &self.pending else { return Ok(()) };
        self.log.refresh()?;
        if self.log.transaction(&writer_of(&self.app))? != Some(self.writer) {
            return Err(DeliveryFailure::Displaced(Error::failed("another process delivers to it")));
        }
        let mut after = self.files.clone();
        for file in &pending.commit.removed {
            after.remove(&file.name);
        }
        after.extend(pending.commit.added.iter().map(|file| file.name.clone()));
        let found = self.log.files()?;
        let has_deletions = found.iter().any(|file| file.has_deletions);
        let found: HashSet<_> = found.into_iter().map(|file| file.name).collect();
        // A file that was not ours may have lost rows before; it is gone with the next commit.
        match (found == self.files, found == after) {
            (_, true) if !has_deletions => self.apply_pending(),
            (true, false) if !has_deletions || pending.is_snapshot => Ok(()),
            _ => Err(self.has_other_rows()),
        }
    }

    /// The pending commit was made.
    fn apply_pending(&mut self) -> Result<(), DeliveryFailure> {
        let Some(PendingCommit { epoch, is_snapshot, commit, rewrite }) = self.pending.take() else { return Ok(()) };
        for file in &commit.removed {
            self.files.remove(&file.name);
        }
        self.files.extend(commit.added.iter().map(|file| file.name.clone()));
        self.vacuum.note_removed(commit.removed.into_iter().map(|file| file.name));
        if let TableContents::Rows(rows) = &mut self.contents {
            let file = |(added, rows): (&super::log::AddedFile, &arrow::record_batch::RecordBatch)| RangeFile {
                name: added.name.clone(),
                bytes: added.bytes,
                rows: rows.num_rows() as u64,
            };
            let files = commit.added.iter().zip(&rewrite.new).map(file).collect();
            rows.apply(rewrite, files, is_snapshot)?;
        }
        self.delivered = Some(epoch);
        Ok(())
    }

    fn has_other_rows(&self) -> DeliveryFailure {
        let cause = "somebody else has changed its rows; restart the service, which delivers what differs";
        DeliveryFailure::Displaced(Error::failed(cause))
    }
}

/// The identifier whose version says which process delivers.
fn writer_of(app: &str) -> String {
    format!("{app}/writer")
}
