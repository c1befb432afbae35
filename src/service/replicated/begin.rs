//! The first rows of the tables of a database: those of the snapshot with which a slot begins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::atomic_file::AtomicFile;
use crate::config::PostgresSourceKeys;
use crate::crash;
use crate::durable::Offset;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::runtime::Progress;
use crate::service::databases::source_config;
use crate::service::offsets::{self, database_name};
use crate::service::settings::ServiceConfig;
use crate::sources::postgres::{NewSlot, PostgresSnapshot, PostgresSourceConfig, ReplicatedTable, ReplicationSlot};

/// The rows as of the beginning of a slot, and the slot, which is held until they are imported.
pub(in crate::service) struct SnapshotRows {
    pub(in crate::service) snapshot: PostgresSnapshot,
    pub(in crate::service) tables: Vec<InputTable>,
    slot: NewSlot,
    /// What identifies the tables there.
    followed: BTreeMap<String, u64>,
    source: String,
    folder: PathBuf,
}

impl SnapshotRows {
    /// Makes the slot of a source, and copies its tables into the state folder.
    ///
    /// # Errors
    ///
    /// If the database can't be reached or is not set up for it, or there is a slot of this name that is not left over
    /// from an earlier try.
    pub(in crate::service) fn copy(
        config: &ServiceConfig,
        keys: &PostgresSourceKeys,
        progress: &Progress,
    ) -> Result<SnapshotRows> {
        let source = source_config(keys)?;
        let in_source = |error: Error| {
            let (name, place) = (&source.name, &source.address);
            Error::new(error.kind(), format!("source {name}: {place}: {error}"))
        };
        SnapshotRows::copied(config, &source, progress).map_err(in_source)
    }

    fn copied(config: &ServiceConfig, source: &PostgresSourceConfig, progress: &Progress) -> Result<SnapshotRows> {
        let mut client = source.address.connect()?;
        let replicated = ReplicatedTable::all(&mut client, source)?;
        // Before there is a slot that would be left over.
        let tables = PostgresSnapshot::tables(&replicated, &config.run.input.files)?;
        let mark = config.state.join(format!("postgres-{}.slot", source.name));
        let is_ours = fs::read_to_string(&mark).is_ok_and(|slot| slot == source.slot);
        let mut found = ReplicationSlot::state(&mut client, &source.slot)?;
        // A start that was killed may still be noticed there.
        for _ in 0..50 {
            if !is_ours || found.as_ref().is_none_or(|state| !state.is_active) {
                break;
            }
            progress.check_not_stopped()?;
            thread::sleep(Duration::from_millis(200));
            found = ReplicationSlot::state(&mut client, &source.slot)?;
        }
        if let Some(state) = found {
            if !is_ours || state.is_active {
                let slot = &source.slot;
                return Err(Error::failed(format!(
                    "there is a slot {slot} already, of another state perhaps; choose another name (slot: NAME), or \
                     drop it: SELECT pg_drop_replication_slot('{slot}')"
                )));
            }
            // Of a start that was interrupted: what it kept was not read.
            ReplicationSlot::drop(&mut client, &source.slot)?;
        }
        fs::create_dir_all(&config.state).map_err(Error::writing(&config.state))?;
        AtomicFile::replace_durably(&mark, source.slot.as_bytes())?;
        crash::point("postgres: slot named");
        let slot = NewSlot::make(source, || progress.check_not_stopped())?;
        crash::point("postgres: slot made");
        tracing::info!(source = source.name, "source {}: copying its tables", source.name);
        let folder = config.state.join("postgres-snapshot");
        let go_on = || progress.check_not_stopped();
        let snapshot = match PostgresSnapshot::copy(source, tables, &slot.snapshot, &folder, go_on) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                drop(slot);
                // Or the next start does it.
                let _ = ReplicationSlot::drop(&mut client, &source.slot);
                return Err(error);
            }
        };
        crash::point("postgres: tables copied");
        let tables = source.tables.iter().map(|(table, _)| *table).collect();
        let followed = offsets::followed_tables(&replicated);
        Ok(SnapshotRows { snapshot, tables, slot, source: source.name.clone(), folder, followed })
    }

    /// What the commit of the first epoch says of it.
    pub(in crate::service) fn offset(&self) -> (String, Offset) {
        (database_name(&self.source), offsets::of_position(self.slot.position, &self.slot.system, &self.followed))
    }
}

/// The copied rows are in the log, or will be copied again.
impl Drop for SnapshotRows {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.folder));
    }
}
