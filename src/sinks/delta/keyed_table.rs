//! A table that has the rows of the newest commit.

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::sinks::sink::TableInfo;

use super::files::{is_ours, read_file, read_files};
use super::key_order::KeyOrder;
use super::key_ranges::{Changed, FileRewrite, KeyRanges, RangeFile};
use super::log::LoggedFile;
use super::store::LakeStore;

/// The files of such a table, by their keys.
pub(super) struct KeyedTable {
    table: TableInfo,
    order: KeyOrder,
    ranges: KeyRanges,
    /// Files that are not ours, or have lost rows: all of them are replaced.
    others: Vec<LoggedFile>,
}

/// How many files are in memory at a time.
const FILES_AT_A_TIME: usize = 16;

impl KeyedTable {
    /// A table without files; its columns are those of Delta.
    pub(super) fn none(table: TableInfo) -> Result<KeyedTable> {
        let order = KeyOrder::of(&table)?;
        Ok(KeyedTable { table, order, ranges: KeyRanges::default(), others: Vec::new() })
    }

    /// A table with the files of its log, which may have other columns.
    pub(super) fn open(
        table: TableInfo,
        files: Vec<LoggedFile>,
        store: &LakeStore,
        has_columns: bool,
    ) -> Result<KeyedTable> {
        let mut kept = KeyedTable::none(table)?;
        let is_read = |file: &LoggedFile| has_columns && is_ours(&file.name) && !file.has_deletions && file.rows > 0;
        let (ours, others): (Vec<_>, Vec<_>) = files.into_iter().partition(is_read);
        kept.others = others;
        for files in ours.chunks(FILES_AT_A_TIME) {
            let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
            let contents = read_files(store, &kept.table.name, &names, &kept.table.schema)?;
            for (file, rows) in files.iter().zip(contents) {
                let range = RangeFile { name: file.name.clone(), bytes: file.bytes, rows: file.rows };
                // Somebody may have copied one of ours.
                if kept.insert(range, &rows)?.is_some() {
                    kept.others.push(file.clone());
                }
            }
        }
        Ok(kept)
    }

    /// True if nobody else has changed the files.
    pub(super) fn is_ours(&self) -> bool {
        self.others.is_empty()
    }

    /// How the files change with some rows; `None` if the deleted ones are not there.
    pub(super) fn change(
        &self,
        store: &LakeStore,
        minus: RecordBatch,
        plus: RecordBatch,
    ) -> Result<Option<FileRewrite>> {
        let changed = self.ranges.change(&self.order, minus, plus, |file| self.read(store, file))?;
        Ok(match changed {
            Changed::Files(rewrite) => Some(rewrite),
            Changed::OtherRows => None,
        })
    }

    /// How the files become those of these rows.
    pub(super) fn replace(&self, store: &LakeStore, rows: RecordBatch) -> Result<FileRewrite> {
        self.ranges.replace(&self.order, rows, |file| self.read(store, file))
    }

    /// The files that a rewrite removes. If everything is replaced, also those that are not ours.
    pub(super) fn removed(&self, rewrite: &FileRewrite, is_snapshot: bool) -> Vec<LoggedFile> {
        let of_ranges = rewrite.removed.iter().filter_map(|least| self.ranges.0.get(least));
        let logged = |file: &RangeFile| LoggedFile {
            name: file.name.clone(),
            bytes: file.bytes,
            rows: file.rows,
            has_deletions: false,
        };
        of_ranges.map(logged).chain(self.others.iter().filter(|_| is_snapshot).cloned()).collect()
    }

    /// A rewrite is committed, with files for its rows.
    pub(super) fn apply(&mut self, rewrite: FileRewrite, files: Vec<RangeFile>, is_snapshot: bool) -> Result<()> {
        for least in &rewrite.removed {
            self.ranges.0.remove(least);
        }
        if is_snapshot {
            self.others.clear();
        }
        files.into_iter().zip(&rewrite.new).try_for_each(|(file, rows)| self.insert(file, rows).map(drop))
    }

    /// Adds a file; returns it if another one has its least key.
    fn insert(&mut self, file: RangeFile, rows: &RecordBatch) -> Result<Option<RangeFile>> {
        let least = self.order.keys(&rows.slice(0, 1))?.row(0).data().to_vec();
        if self.ranges.0.contains_key(&least) {
            return Ok(Some(file));
        }
        self.ranges.0.insert(least, file);
        Ok(None)
    }

    fn read(&self, store: &LakeStore, file: &RangeFile) -> Result<RecordBatch> {
        let name = format!("{}/{}", self.table.name, file.name);
        let bytes = store.get(&name)?.ok_or_else(|| Error::failed(format!("{}/{name} is gone", store.place)))?;
        read_file(bytes, &self.table.schema, &store.place, &name)
    }
}
