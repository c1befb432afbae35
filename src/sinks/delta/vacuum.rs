//! Files that nobody needs any more: of tables, once they were removed for long enough, and of their logs.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sinks::delivery_status::now_ms;

use super::files::is_ours;
use super::store::LakeStore;

/// Files of a table that it does not have any more, which readers of former versions may read.
pub(super) struct Vacuum {
    sink: String,
    table: String,
    keep_for: Duration,
    /// When each was removed, in milliseconds since 1970; or when it was first found to be, if that is not known.
    removed: BTreeMap<String, u64>,
}

impl Vacuum {
    pub(super) fn of(sink: &str, table: &str, keep_for: Duration) -> Vacuum {
        Vacuum { sink: sink.to_owned(), table: table.to_owned(), keep_for, removed: BTreeMap::new() }
    }

    /// Finds the files that the table, which has these, does not have any more.
    pub(super) fn begin(&mut self, store: &LakeStore, active: &HashSet<String>) -> Result<()> {
        let remembered = store.get(&self.memory())?;
        // What can't be read is as good as forgotten: the files are kept for longer.
        let remembered: BTreeMap<String, u64> =
            remembered.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let (own, now) = (format!("{}/", self.table), now_ms());
        for (path, _) in store.list(&self.table)? {
            let Some(name) = path.strip_prefix(&own).filter(|name| is_ours(name)) else { continue };
            if !active.contains(name) {
                let since = remembered.get(name).copied().unwrap_or(now);
                self.removed.insert(name.to_owned(), since);
            }
        }
        Ok(())
    }

    /// The table does not have these files any more.
    pub(super) fn note_removed(&mut self, names: impl Iterator<Item = String>) {
        let now = now_ms();
        self.removed.extend(names.filter(|name| is_ours(name)).map(|name| (name, now)));
    }

    /// Remembers when files were removed, beyond the end of this process.
    pub(super) fn remember(&self, store: &LakeStore) -> Result<()> {
        store.put(&self.memory(), serde_json::to_vec(&self.removed).map_err(Error::failed)?)
    }

    /// True if files can be deleted.
    pub(super) fn is_due(&self) -> bool {
        let before = self.before();
        self.removed.values().any(|since| *since <= before)
    }

    /// Deletes files that were removed for long enough, and are none of these.
    pub(super) fn run(&mut self, store: &LakeStore, active: &HashSet<String>) {
        let before = self.before();
        let (due, kept) = std::mem::take(&mut self.removed).into_iter().partition(|(_, since)| *since <= before);
        self.removed = kept;
        let due: BTreeMap<String, u64> = due;
        let due = due.into_keys().filter(|name| !active.contains(name));
        store.delete(&due.map(|name| format!("{}/{name}", self.table)).collect::<Vec<_>>());
    }

    /// Deletes commits and checkpoints before a checkpoint that has been there for long enough: the log of every
    /// version since that one stays.
    pub(super) fn trim_log(&self, store: &LakeStore) -> Result<()> {
        let files = store.list(&format!("{}/_delta_log", self.table))?;
        let before = self.before();
        let version = |path: &str| path.rsplit('/').next()?.split('.').next()?.parse::<u64>().ok();
        let is_old = |time: i64| u64::try_from(time).is_ok_and(|time| time <= before);
        let checkpoints = files
            .iter()
            .filter(|(path, meta)| path.contains(".checkpoint.") && is_old(meta.last_modified.timestamp_millis()));
        let Some(kept) = checkpoints.filter_map(|(path, _)| version(path)).max() else { return Ok(()) };
        let old = files.iter().filter(|(path, _)| version(path).is_some_and(|version| version < kept));
        let mut old: Vec<_> = old.map(|(path, _)| path.clone()).collect();
        // The oldest first, so that what is left is whole.
        old.sort();
        store.delete(&old);
        Ok(())
    }

    /// What was removed at this time has been for long enough.
    fn before(&self) -> u64 {
        now_ms().saturating_sub(u64::try_from(self.keep_for.as_millis()).unwrap_or(u64::MAX))
    }

    /// Where it is remembered when files were removed.
    fn memory(&self) -> String {
        format!("_millstream/{}/{}.json", self.sink, self.table)
    }
}
